//! TLS for all roles: certificates from files or made here, reloaded when they change, and peers pinned by their keys.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use rustls::CipherSuite;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// Where a certificate comes from.
#[derive(Clone, Debug)]
pub enum CertificateSource {
    /// PEM files: chain and private key.
    Files {
        /// Certificate chain.
        chain: PathBuf,
        /// Private key.
        key: PathBuf,
    },
    /// Made once and kept in this folder.
    SelfSigned {
        /// Folder, usually `data_dir`.
        dir: PathBuf,
    },
    /// Made at each start: identity does not survive.
    Ephemeral,
}

/// A certificate could not be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has no certificate or key in it.
    #[error("{0}: no certificate and key in PEM form")]
    Pem(PathBuf),
    /// Making a certificate failed.
    #[error("making a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// Certificate and key do not fit.
    #[error("certificate: {0}")]
    Rustls(#[from] rustls::Error),
}

/// A chain and its key.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Identity {
    fn clone_key(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// TLS of a listener and of outgoing links, with the current certificate.
pub struct ServerTls {
    source: CertificateSource,
    names: Vec<String>,
    current: RwLock<Current>,
    peers: Peers,
}

/// Who comes to a listener with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Servers and service accounts: they are asked for a certificate.
    Servers,
    /// Browsers: they may speak HTTP/2.
    Browsers,
}

struct Current {
    server: Arc<rustls::ServerConfig>,
    identity: Identity,
    changed: Option<SystemTime>,
}

/// The crypto provider of all TLS here. AES-128 comes first: its handshake hashes with SHA-256, which processors do in hardware,
/// where that of AES-256 needs SHA-384.
pub(crate) fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<rustls::crypto::CryptoProvider>> = std::sync::OnceLock::new();
    PROVIDER
        .get_or_init(|| {
            let mut provider = rustls::crypto::aws_lc_rs::default_provider();
            provider.cipher_suites.sort_by_key(|suite| match suite.suite() {
                CipherSuite::TLS13_AES_128_GCM_SHA256 => 0,
                CipherSuite::TLS13_AES_256_GCM_SHA384 | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => 1,
                CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 2,
                _ => 3,
            });
            Arc::new(provider)
        })
        .clone()
}

/// SHA-256 of a certificate, in lower-case hex: how peers are pinned.
pub fn fingerprint(certificate: &[u8]) -> String {
    use std::fmt::Write as _;
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate).as_ref().iter().fold(
        String::new(),
        |mut s, b| {
            let _ = write!(s, "{b:02x}");
            s
        },
    )
}

impl ServerTls {
    /// Loads or makes the certificate. `names` go into a certificate that is made here.
    ///
    /// # Errors
    /// If files are missing or broken.
    pub fn load(source: CertificateSource, names: Vec<String>, peers: Peers) -> Result<Arc<Self>, TlsError> {
        let identity = load(&source, &names)?;
        let server = server_config(&identity, peers)?;
        let changed = changed(&source);
        Ok(Arc::new(Self { source, names, current: RwLock::new(Current { server, identity, changed }), peers }))
    }

    /// The current configuration.
    pub(crate) fn config(&self) -> Arc<rustls::ServerConfig> {
        self.current.read().server.clone()
    }

    /// The current certificate and key, to present as a client.
    pub(crate) fn identity(&self) -> Identity {
        self.current.read().identity.clone_key()
    }

    /// Fingerprint of the current certificate.
    pub fn fingerprint(&self) -> String {
        self.current.read().identity.chain.first().map(|c| fingerprint(c)).unwrap_or_default()
    }

    /// Whether the identity is lost at the next start.
    pub fn is_ephemeral(&self) -> bool {
        matches!(self.source, CertificateSource::Ephemeral)
    }

    /// Loads the files again if they changed. A broken new file keeps the old certificate.
    ///
    /// # Errors
    /// If the new files are broken.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let now = changed(&self.source);
        if now.is_none() || now == self.current.read().changed {
            return Ok(false);
        }
        let identity = load(&self.source, &self.names)?;
        let server = server_config(&identity, self.peers)?;
        *self.current.write() = Current { server, identity, changed: now };
        Ok(true)
    }

    /// Looks for changed files now and then, for ever.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut every = tokio::time::interval(Duration::from_secs(10));
        loop {
            every.tick().await;
            match self.reload() {
                Ok(true) => tracing::info!(fingerprint = %self.fingerprint(), "Certificate reloaded."),
                Ok(false) => {}
                Err(e) => tracing::error!(error = %e, "The new certificate is not used."),
            }
        }
    }
}

fn changed(source: &CertificateSource) -> Option<SystemTime> {
    let at = |p: &Path| std::fs::metadata(p).and_then(|m| m.modified()).ok();
    match source {
        CertificateSource::Files { chain, key } => at(chain).max(at(key)),
        CertificateSource::SelfSigned { dir } => at(&dir.join("certificate.pem")),
        CertificateSource::Ephemeral => None,
    }
}

fn load(source: &CertificateSource, names: &[String]) -> Result<Identity, TlsError> {
    match source {
        CertificateSource::Files { chain, key } => read(chain, key),
        CertificateSource::SelfSigned { dir } => {
            let (chain, key) = (dir.join("certificate.pem"), dir.join("key.pem"));
            if !chain.exists() || !key.exists() {
                let (c, k) = make(names)?;
                let file = |path: &Path, source| TlsError::File { path: path.to_owned(), source };
                std::fs::create_dir_all(dir).map_err(|e| file(dir, e))?;
                write_private(&key, k.as_bytes()).map_err(|e| file(&key, e))?;
                std::fs::write(&chain, c).map_err(|e| file(&chain, e))?;
            }
            read(&chain, &key)
        }
        CertificateSource::Ephemeral => {
            let (c, k) = make(names)?;
            let pem = |_| TlsError::Pem(PathBuf::from("(made)"));
            Ok(Identity {
                chain: vec![CertificateDer::from_pem_slice(c.as_bytes()).map_err(pem)?],
                key: PrivateKeyDer::from_pem_slice(k.as_bytes()).map_err(pem)?,
            })
        }
    }
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)
}

fn read(chain: &Path, key: &Path) -> Result<Identity, TlsError> {
    let text = |p: &Path| std::fs::read(p).map_err(|source| TlsError::File { path: p.to_owned(), source });
    let certs: Vec<_> = CertificateDer::pem_slice_iter(&text(chain)?)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Pem(chain.to_owned()))?;
    if certs.is_empty() {
        return Err(TlsError::Pem(chain.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(&text(key)?).map_err(|_| TlsError::Pem(key.to_owned()))?;
    Ok(Identity { chain: certs, key })
}

fn make(names: &[String]) -> Result<(String, String), rcgen::Error> {
    let key = rcgen::KeyPair::generate()?;
    let mut params = rcgen::CertificateParams::new(names.to_vec())?;
    params.distinguished_name.push(rcgen::DnType::CommonName, names.first().map_or("amphi", |n| n));
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn server_config(identity: &Identity, peers: Peers) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let builder = rustls::ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = if peers == Peers::Servers {
        builder.with_client_cert_verifier(Arc::new(AnyCertificate))
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    config.send_tls13_tickets = 0;
    config.ignore_client_order = true;
    if peers == Peers::Browsers {
        config.alpn_protocols = vec![crate::front::HTTP_2.to_vec(), b"http/1.1".to_vec()];
    }
    Ok(Arc::new(config))
}

/// TLS towards another server. Whose certificate it is gets checked by the caller, after the handshake: against pins, or
/// against the name.
///
/// # Errors
/// If our own certificate is broken.
pub(crate) fn client_config(identity: Option<Identity>) -> Result<Arc<rustls::ClientConfig>, rustls::Error> {
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate));
    Ok(Arc::new(match identity {
        Some(i) => builder.with_client_auth_cert(i.chain, i.key)?,
        None => builder.with_no_client_auth(),
    }))
}

/// Accepts every certificate, but only with proof of its key: signatures are checked.
#[derive(Debug)]
struct AnyCertificate;

mod any {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
    use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

    use super::{AnyCertificate, provider};

    macro_rules! signatures {
        () => {
            fn verify_tls12_signature(
                &self,
                m: &[u8],
                c: &CertificateDer<'_>,
                d: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, Error> {
                rustls::crypto::verify_tls12_signature(m, c, d, &provider().signature_verification_algorithms)
            }
            fn verify_tls13_signature(
                &self,
                m: &[u8],
                c: &CertificateDer<'_>,
                d: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, Error> {
                rustls::crypto::verify_tls13_signature(m, c, d, &provider().signature_verification_algorithms)
            }
            fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
                provider().signature_verification_algorithms.supported_schemes()
            }
        };
    }

    impl ServerCertVerifier for AnyCertificate {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }
        signatures!();
    }

    impl ClientCertVerifier for AnyCertificate {
        fn root_hint_subjects(&self) -> &[DistinguishedName] {
            &[]
        }
        fn client_auth_mandatory(&self) -> bool {
            false
        }
        fn verify_client_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: UnixTime,
        ) -> Result<ClientCertVerified, Error> {
            Ok(ClientCertVerified::assertion())
        }
        signatures!();
    }
}
