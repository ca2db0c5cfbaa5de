//! The certificate by which the other side knows us (`spec/bridge.md` 2.4).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use dimpl::{Config, DtlsCertificate};
use rcgen::{CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::fingerprint;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// Key or signature failed.
    #[error("certificate generation failed: {0}")]
    Generate(#[from] rcgen::Error),
}

/// A self-signed ECDSA P-256 certificate, valid from a day before to a week after. New transports take one that is not older than a day, live
/// ones keep theirs.
pub struct Certificate {
    certificate: DtlsCertificate,
    fingerprint: String,
    renew_at: SystemTime,
    /// What all associations with this certificate share, for the last timeout asked for.
    config: Mutex<Option<(Duration, Arc<Config>)>>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl Certificate {
    /// A new certificate.
    pub fn generate(now: SystemTime) -> Result<Arc<Self>, CertificateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut parameters = CertificateParams::new(Vec::<String>::new())?;
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, "amphi");
        parameters.is_ca = IsCa::NoCa;
        parameters.not_before = (now - DAY).into();
        parameters.not_after = (now + 7 * DAY).into();
        // Firefox takes two certificates of equal issuer and serial for the same.
        parameters.serial_number = Some(rand::random::<[u8; 16]>().to_vec().into());
        let der = parameters.self_signed(&key)?.der().to_vec();
        Ok(Arc::new(Self {
            fingerprint: fingerprint::sha256(&der),
            certificate: DtlsCertificate { certificate: der, private_key: key.serialize_der() },
            renew_at: now + DAY,
            config: Mutex::new(None),
        }))
    }

    /// The sha-256 fingerprint as it is signaled.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// When new transports are to have another one.
    pub fn renew_at(&self) -> SystemTime {
        self.renew_at
    }

    /// The library checks all of its cryptography whenever a configuration is made, so it is made once.
    pub(super) fn config(&self, handshake_timeout: Duration) -> Result<Arc<Config>, dimpl::Error> {
        let mut shared = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        match &*shared {
            Some((timeout, config)) if *timeout == handshake_timeout => Ok(config.clone()),
            _ => {
                let config = Arc::new(super::dtls::config(handshake_timeout)?);
                *shared = Some((handshake_timeout, config.clone()));
                Ok(config)
            }
        }
    }

    pub(super) fn dtls(&self) -> DtlsCertificate {
        self.certificate.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_differ_and_are_renewed_after_a_day() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let first = Certificate::generate(now).unwrap();
        let second = Certificate::generate(now).unwrap();
        assert_ne!(first.fingerprint(), second.fingerprint());
        assert_eq!(first.fingerprint().len(), 95);
        assert_eq!(first.renew_at(), now + DAY);
    }
}
