//! PLAIN (RFC 4616).

use super::Failure;

/// A decoded PLAIN message.
#[derive(Clone, PartialEq, Eq)]
pub struct Plain {
    /// Identity to act as; `None` when left empty.
    pub authzid: Option<String>,
    /// Account.
    pub user: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plain").field("authzid", &self.authzid).field("user", &self.user).finish_non_exhaustive()
    }
}

/// Reads `[authzid] NUL authcid NUL passwd`.
///
/// # Errors
/// `malformed-request` if it is anything else.
pub fn plain(message: &[u8]) -> Result<Plain, Failure> {
    let text = std::str::from_utf8(message).map_err(|_| Failure::malformed("not UTF-8"))?;
    let mut parts = text.split('\0');
    let (Some(authzid), Some(user), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Failure::malformed("three parts are wanted"));
    };
    if user.is_empty() || password.is_empty() {
        return Err(Failure::malformed("user name or password is empty"));
    }
    Ok(Plain {
        authzid: (!authzid.is_empty()).then(|| authzid.to_owned()),
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_parts_and_nothing_else() {
        let p = plain(b"\0focus\0secret").unwrap();
        assert_eq!((p.authzid.as_deref(), p.user.as_str(), p.password.as_str()), (None, "focus", "secret"));
        let p = plain(b"focus@auth.x\0focus\0se cret").unwrap();
        assert_eq!(p.authzid.as_deref(), Some("focus@auth.x"));
        for bad in [&b""[..], b"a", b"a\0b", b"\0a\0b\0c", b"\0\0pw", b"\0user\0", b"\0u\0\xff"] {
            assert!(plain(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn debug_output_hides_the_password() {
        assert!(!format!("{:?}", plain(b"\0focus\0hush").unwrap()).contains("hush"));
    }
}
