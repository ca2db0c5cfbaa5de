//! TURN and STUN services with time-limited credentials (`spec/signaling.md` 2.9), for metadata and XEP-0215 answers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// A service that clients may use for their media.
#[derive(Clone, Debug)]
pub struct ExternalService {
    /// `stun`, `turn` or `turns`.
    pub kind: String,
    /// `udp` or `tcp`.
    pub transport: Option<String>,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Shared secret of the TURN server; `None` for a service without credentials.
    pub secret: Option<String>,
    /// Seconds for which credentials are good.
    pub ttl: u64,
}

/// Attributes of one service, as they go into XML and JSON alike.
pub type ServiceAttributes = Vec<(&'static str, String)>;

impl ExternalService {
    /// The service with fresh credentials. `wall`: milliseconds since the epoch.
    pub fn attributes(&self, wall: u64) -> ServiceAttributes {
        let mut a = vec![("type", self.kind.clone()), ("host", self.host.clone()), ("port", self.port.to_string())];
        if let Some(t) = &self.transport {
            a.push(("transport", t.clone()));
        }
        if let Some(secret) = &self.secret {
            let expires = wall / 1000 + self.ttl;
            let username = expires.to_string();
            let password = STANDARD.encode(hmac_sha1(secret.as_bytes(), username.as_bytes()));
            a.push(("username", username));
            a.push(("password", password));
            a.push(("expires", crate::context::stamp(expires * 1000)));
            a.push(("restricted", "1".to_owned()));
        }
        a
    }
}

/// RFC 2104. TURN's REST credentials ask for exactly this.
fn hmac_sha1(key: &[u8], message: &[u8]) -> [u8; 20] {
    let mut block = [0u8; 64];
    if key.len() > block.len() {
        block[..20].copy_from_slice(&Sha1::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |x: u8| block.map(|b| b ^ x);
    let inner = Sha1::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha1::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mac_is_that_of_rfc_2202() {
        let hex = |b: [u8; 20]| b.iter().map(|x| format!("{x:02x}")).collect::<String>();
        assert_eq!(hex(hmac_sha1(&[0x0b; 20], b"Hi There")), "b617318655057264e28bc0b6fb378c8ef146be00");
        assert_eq!(
            hex(hmac_sha1(&[0xaa; 80], b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "aa4ae5e15272d00e95705637ce8a3b55ed402112"
        );
    }

    #[test]
    fn credentials_expire_after_their_time() {
        let s = ExternalService {
            kind: "turns".into(),
            transport: Some("tcp".into()),
            host: "turn.example".into(),
            port: 443,
            secret: Some("s".into()),
            ttl: 60,
        };
        let a = s.attributes(1_767_225_540_000);
        assert!(a.contains(&("username", "1767225600".into())));
        assert!(a.contains(&("expires", "2026-01-01T00:00:00Z".into())));
    }
}
