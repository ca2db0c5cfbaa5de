//! HMAC-SHA1 of STUN (RFC 8489 section 14.5) for the ICE agent, by aws-lc.

use aws_lc_rs::hmac;
use is::Sha1HmacProvider;

/// What the ICE agent computes MESSAGE-INTEGRITY with.
#[derive(Debug)]
pub(super) struct Sha1Hmac;

impl Sha1HmacProvider for Sha1Hmac {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
        let mut context = hmac::Context::with_key(&key);
        for payload in payloads {
            context.update(payload);
        }
        let mut mac = [0; 20];
        mac.copy_from_slice(context.sign().as_ref());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_hmac_sha1() {
        // RFC 2202, test case 2.
        let mac = Sha1Hmac.sha1_hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"]);
        let wanted = [239, 252, 223, 106, 229, 235, 47, 162, 210, 116, 22, 213, 241, 132, 223, 156, 37, 154, 124, 121];
        assert_eq!(mac, wanted);
    }
}
