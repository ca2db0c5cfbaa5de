//! SCRAM, server side (RFC 5802, RFC 7677), without channel binding.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::{Failure, Hash, SaslCondition};

/// What a server keeps of a password: enough to verify it, not enough to log in elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramCredentials {
    /// Hash function that the keys were made with.
    pub hash: Hash,
    /// Salt.
    pub salt: Vec<u8>,
    /// Iteration count.
    pub iterations: NonZeroU32,
    /// `H(HMAC(SaltedPassword, "Client Key"))`.
    pub stored_key: Vec<u8>,
    /// `HMAC(SaltedPassword, "Server Key")`.
    pub server_key: Vec<u8>,
}

impl std::fmt::Debug for ScramCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScramCredentials").field("hash", &self.hash).finish_non_exhaustive()
    }
}

impl ScramCredentials {
    /// Iterations for new credentials; RFC 7677 §4 asks for at least as many.
    pub const DEFAULT_ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).unwrap();

    /// Derives credentials from a password, which is prepared with SASLprep where it can be.
    pub fn derive(hash: Hash, password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        let salted = salted_password(hash, password, salt, iterations);
        let client_key = hash.hmac(&salted, b"Client Key");
        Self {
            hash,
            salt: salt.to_vec(),
            iterations,
            stored_key: hash.digest(&client_key),
            server_key: hash.hmac(&salted, b"Server Key"),
        }
    }

    /// Credentials that no password fits, always the same for one name: so that nobody learns which accounts exist.
    pub fn decoy(hash: Hash, user: &str, key: &[u8]) -> Self {
        let mut salt = Hash::Sha256.hmac(key, user.as_bytes());
        let stored_key = Hash::Sha256.hmac(key, &salt)[..hash.digest_len()].to_vec();
        salt.truncate(16);
        Self { hash, salt, iterations: Self::DEFAULT_ITERATIONS, server_key: stored_key.clone(), stored_key }
    }
}

pub(super) fn salted_password(hash: Hash, password: &str, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
    let prepared = stringprep::saslprep(password).unwrap_or(std::borrow::Cow::Borrowed(password));
    hash.pbkdf2(prepared.as_bytes(), salt, iterations)
}

pub(super) fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(x, y)| x ^ y).collect()
}

/// Whoever has proved to know the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScramUser {
    /// Account.
    pub user: String,
    /// Identity to act as, if one was asked for.
    pub authzid: Option<String>,
}

/// A server between its challenge and the client's proof.
#[derive(Debug)]
pub struct ScramServer {
    who: ScramUser,
    credentials: ScramCredentials,
    /// `client-first-message-bare "," server-first-message`
    transcript: String,
    /// The full nonce.
    nonce: String,
    /// What `c=` must be: the GS2 header in Base64.
    binding: String,
}

impl ScramServer {
    /// Takes the client's first message; returns the machine and the challenge. `lookup` gives the credentials of an
    /// account; for an unknown account it gives [`ScramCredentials::decoy`].
    ///
    /// # Errors
    /// A malformed message, or a demand for channel binding.
    pub fn start(
        client_first: &[u8],
        server_nonce: &str,
        lookup: impl FnOnce(&str) -> ScramCredentials,
    ) -> Result<(Self, String), Failure> {
        let text = std::str::from_utf8(client_first).map_err(|_| Failure::malformed("not UTF-8"))?;
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Failure::malformed("GS2 header is incomplete"));
        };
        match flag {
            "n" | "y" => {}
            f if f.starts_with("p=") => return Err(Failure::malformed("channel binding is not offered")),
            _ => return Err(Failure::malformed("GS2 flag")),
        }
        let authzid = match authzid {
            "" => None,
            a => Some(unescape(a.strip_prefix("a=").ok_or_else(|| Failure::malformed("GS2 authzid"))?)?),
        };
        let mut attrs = bare.split(',');
        // `m=` would announce an extension that must be understood (RFC 5802 §5.1).
        let user = attrs.next().and_then(|a| a.strip_prefix("n=")).ok_or_else(|| Failure::malformed("user name"))?;
        let user = unescape(user)?;
        let nonce = attrs.next().and_then(|a| a.strip_prefix("r=")).filter(|n| is_nonce(n));
        let nonce = nonce.ok_or_else(|| Failure::malformed("nonce"))?;
        if user.is_empty() {
            return Err(Failure::malformed("user name is empty"));
        }
        let credentials = lookup(&user);
        let nonce = [nonce, server_nonce].concat();
        let challenge = format!("r={nonce},s={},i={}", STANDARD.encode(&credentials.salt), credentials.iterations);
        let header_len = text.len() - bare.len();
        let machine = Self {
            who: ScramUser { user, authzid },
            credentials,
            transcript: format!("{bare},{challenge}"),
            nonce,
            binding: STANDARD.encode(&text[..header_len]),
        };
        Ok((machine, challenge))
    }

    /// Takes the client's final message; returns who it is and the message that goes into `<success/>`.
    ///
    /// # Errors
    /// `not-authorized` if the proof is wrong, `malformed-request` if the message is.
    pub fn finish(self, client_final: &[u8]) -> Result<(ScramUser, String), Failure> {
        let text = std::str::from_utf8(client_final).map_err(|_| Failure::malformed("not UTF-8"))?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or_else(|| Failure::malformed("no proof"))?;
        let proof = STANDARD.decode(proof).map_err(|_| Failure::new(SaslCondition::IncorrectEncoding))?;
        let mut attrs = without_proof.split(',');
        let binding = attrs.next().and_then(|a| a.strip_prefix("c="));
        let nonce = attrs.next().and_then(|a| a.strip_prefix("r="));
        if binding != Some(&self.binding) {
            return Err(Failure::malformed("channel binding does not match"));
        }
        if nonce != Some(&self.nonce) {
            return Err(Failure::malformed("nonce does not match"));
        }
        let c = &self.credentials;
        if proof.len() != c.hash.digest_len() {
            return Err(Failure::malformed("length of the proof"));
        }
        let auth_message = format!("{},{without_proof}", self.transcript);
        let client_signature = c.hash.hmac(&c.stored_key, auth_message.as_bytes());
        let stored = c.hash.digest(&xor(&proof, &client_signature));
        if !bool::from(stored.ct_eq(&c.stored_key)) {
            return Err(Failure::not_authorized());
        }
        let server_signature = c.hash.hmac(&c.server_key, auth_message.as_bytes());
        Ok((self.who, format!("v={}", STANDARD.encode(server_signature))))
    }
}

/// `printable` of RFC 5802 §7, and not empty.
pub(super) fn is_nonce(n: &str) -> bool {
    !n.is_empty() && n.bytes().all(|b| matches!(b, 0x21..=0x7e) && b != b',')
}

/// Undoes the escaping of a name: `=2C` is a comma, `=3D` an equals sign, anything else after `=` is an error.
fn unescape(s: &str) -> Result<String, Failure> {
    let mut out = String::with_capacity(s.len());
    let mut rest = s;
    while let Some(i) = rest.find('=') {
        out.push_str(&rest[..i]);
        out.push(match rest.get(i + 1..i + 3) {
            Some("2C") => ',',
            Some("3D") => '=',
            _ => return Err(Failure::malformed("escape in a name")),
        });
        rest = &rest[i + 3..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(hash: Hash, salt: &str) -> ScramCredentials {
        let salt = STANDARD.decode(salt).unwrap();
        ScramCredentials::derive(hash, "pencil", &salt, ScramCredentials::DEFAULT_ITERATIONS)
    }

    #[test]
    fn vector_of_rfc_5802() {
        let (m, challenge) =
            ScramServer::start(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j", |user| {
                assert_eq!(user, "user");
                credentials(Hash::Sha1, "QSXCR+Q6sek8bf92")
            })
            .unwrap();
        assert_eq!(challenge, "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096");
        let (who, last) =
            m.finish(b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=").unwrap();
        assert_eq!(who, ScramUser { user: "user".into(), authzid: None });
        assert_eq!(last, "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=");
    }

    #[test]
    fn vector_of_rfc_7677() {
        let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let (m, challenge) = ScramServer::start(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", nonce, |_| {
            credentials(Hash::Sha256, "W22ZaJ0SNY7soEsUEjb6gQ==")
        })
        .unwrap();
        assert_eq!(challenge, "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(m.finish(last.as_bytes()).unwrap().1, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    fn start(first: &str) -> Result<(ScramServer, String), Failure> {
        ScramServer::start(first.as_bytes(), "srv", |_| credentials(Hash::Sha1, "QSXCR+Q6sek8bf92"))
    }

    #[test]
    fn malformed_first_messages_are_refused() {
        for bad in [
            "",
            "n",
            "n,,",
            "n,,r=abc,n=user",
            "n,,n=user",
            "n,,n=user,r=",
            "n,,n=,r=abc",
            "n,,n=us=er,r=abc",
            "n,,n=us=2",
            "n,,m=x,n=user,r=abc",
            "x,,n=user,r=abc",
            "n,b=c,n=user,r=abc",
            "p=tls-unique,,n=user,r=abc",
        ] {
            let e = start(bad).unwrap_err();
            assert_eq!(e.condition, SaslCondition::MalformedRequest, "{bad}");
        }
        assert!(ScramServer::start(b"n,,n=\xff,r=a", "s", |_| unreachable!()).is_err());
    }

    #[test]
    fn names_are_unescaped_and_authzid_is_kept() {
        let (m, _) = start("y,a=boss=2Cx,n=a=3Db,r=abc").unwrap();
        assert_eq!(m.who, ScramUser { user: "a=b".into(), authzid: Some("boss,x".into()) });
    }

    #[test]
    fn wrong_proof_nonce_or_binding_is_refused() {
        let ok = STANDARD.encode([0; 20]);
        let cases = [
            (format!("c=biws,r=abcsrv,p={ok}"), SaslCondition::NotAuthorized),
            (format!("c=biws,r=abcsrx,p={ok}"), SaslCondition::MalformedRequest),
            (format!("c=eSws,r=abcsrv,p={ok}"), SaslCondition::MalformedRequest),
            ("c=biws,r=abcsrv,p=AAAA".into(), SaslCondition::MalformedRequest),
            ("c=biws,r=abcsrv,p=!".into(), SaslCondition::IncorrectEncoding),
            ("c=biws,r=abcsrv".into(), SaslCondition::MalformedRequest),
        ];
        for (last, want) in cases {
            let (m, _) = start("n,,n=user,r=abc").unwrap();
            assert_eq!(m.finish(last.as_bytes()).unwrap_err().condition, want, "{last}");
        }
    }

    #[test]
    fn decoy_is_stable_for_a_name_and_differs_between_names() {
        let d = |u| ScramCredentials::decoy(Hash::Sha1, u, b"key");
        assert!(d("a") == d("a"));
        assert_ne!(d("a").salt, d("b").salt);
        assert_eq!(d("a").stored_key.len(), 20);
    }
}
