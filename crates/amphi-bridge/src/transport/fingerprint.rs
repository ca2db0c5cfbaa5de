//! Fingerprints of certificates (RFC 8122 section 5): the strongest hash that was signaled decides.

use aws_lc_rs::digest;

use super::Fingerprint;

/// Functions that are accepted, strongest first.
const HASHES: [(&str, &digest::Algorithm); 4] = [
    ("sha-512", &digest::SHA512),
    ("sha-384", &digest::SHA384),
    ("sha-256", &digest::SHA256),
    ("sha-1", &digest::SHA1_FOR_LEGACY_USE_ONLY),
];

/// The sha-256 fingerprint of a certificate as it is signaled.
pub(super) fn sha256(der: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, der);
    let mut text = String::with_capacity(3 * hash.as_ref().len());
    for byte in hash.as_ref() {
        if !text.is_empty() {
            text.push(':');
        }
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789ABCDEF"[usize::from(nibble)]));
        }
    }
    text
}

/// A fingerprint that can be compared.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Expected {
    algorithm: &'static digest::Algorithm,
    accepted: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expected").field("algorithm", self.algorithm).finish_non_exhaustive()
    }
}

impl Expected {
    /// Of what was signaled: all values of the strongest known hash. None if no hash is known or its values are not well-formed.
    pub(super) fn strongest(signaled: &[Fingerprint]) -> Option<Self> {
        HASHES.iter().find_map(|(name, algorithm)| {
            let mut of_hash = signaled.iter().filter(|f| f.hash.trim().eq_ignore_ascii_case(name)).peekable();
            of_hash.peek()?;
            let accepted: Vec<_> =
                of_hash.filter_map(|f| bytes(&f.value)).filter(|b| b.len() == algorithm.output_len()).collect();
            Some(Self { algorithm, accepted })
        })
    }

    /// Whether the certificate is one of the expected.
    pub(super) fn matches(&self, der: &[u8]) -> bool {
        let hash = digest::digest(self.algorithm, der);
        self.accepted.iter().any(|accepted| accepted.as_slice() == hash.as_ref())
    }
}

fn bytes(value: &str) -> Option<Vec<u8>> {
    value.trim().split(':').map(|pair| (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok()).flatten()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signaled(hash: &str, value: &str) -> Fingerprint {
        Fingerprint { hash: hash.into(), value: value.into(), setup: None }
    }

    #[test]
    fn strongest_hash_decides() {
        let good = sha256(b"certificate");
        let weak = "AA:".repeat(19) + "AA";
        assert!(
            Expected::strongest(&[signaled("sha-1", &weak), signaled("SHA-256", &good)])
                .unwrap()
                .matches(b"certificate")
        );
        assert!(Expected::strongest(&[signaled("sha-256", &good.to_lowercase())]).unwrap().matches(b"certificate"));
        assert!(!Expected::strongest(&[signaled("sha-256", &good)]).unwrap().matches(b"other"));
        assert!(Expected::strongest(&[signaled("md5", "AA")]).is_none());
        assert!(Expected::strongest(&[]).is_none());
    }

    #[test]
    fn a_malformed_value_of_the_strongest_hash_matches_nothing() {
        for value in ["", "AA", "zz", "+1:+2", &("AA:".repeat(63) + "AA")] {
            let of_weaker = signaled("sha-256", &sha256(b"certificate"));
            assert!(!Expected::strongest(&[signaled("sha-512", value), of_weaker]).unwrap().matches(b"certificate"));
        }
    }
}
