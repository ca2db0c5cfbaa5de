//! EXTERNAL (RFC 4422 appendix A): who it is was proved below the stream, by the TLS certificate.

use super::Failure;

/// Reads the message: the identity to act as, or `None` to take the one that was proved.
///
/// # Errors
/// `malformed-request` if it is not text without NUL.
pub fn external(message: &[u8]) -> Result<Option<String>, Failure> {
    let text = std::str::from_utf8(message).map_err(|_| Failure::malformed("not UTF-8"))?;
    if text.contains('\0') {
        return Err(Failure::malformed("NUL in identity"));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_means_the_proved_identity() {
        assert_eq!(external(b""), Ok(None));
        assert_eq!(external(b"v1.meet.example"), Ok(Some("v1.meet.example".into())));
        assert!(external(b"a\0b").is_err());
        assert!(external(b"\xc3").is_err());
    }
}
