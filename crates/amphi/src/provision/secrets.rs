//! Passwords and certificates of a deployment. Each is made once and kept: provisioning again never changes a secret.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use rand::Rng as _;
use rand::distr::Alphanumeric;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// Where the secrets of a deployment are.
pub(super) struct Secrets {
    folder: PathBuf,
    /// Files that were made now.
    pub(super) made: Vec<PathBuf>,
}

impl Secrets {
    pub(super) fn of(out: &Path) -> Self {
        Self { folder: out.join("secrets"), made: Vec::new() }
    }

    /// The password of a name.
    pub(super) fn password(&mut self, name: &str) -> anyhow::Result<String> {
        let path = self.folder.join(name);
        if path.exists() {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let text = text.trim_end().to_owned();
            if text.is_empty() {
                return Err(anyhow!("{} is empty; remove it and provision again", path.display()));
            }
            return Ok(text);
        }
        let password: String = rand::rng().sample_iter(Alphanumeric).take(32).map(char::from).collect();
        write_private(&path, format!("{password}\n").as_bytes())?;
        self.made.push(path);
        Ok(password)
    }

    /// Certificate and key of a node in PEM form, and the fingerprint that its peers pin.
    pub(super) fn certificate(&mut self, node: &str, names: Vec<String>) -> anyhow::Result<Identity> {
        let (chain, key) = (self.folder.join(format!("{node}.pem")), self.folder.join(format!("{node}.key")));
        match (chain.exists(), key.exists()) {
            (true, true) => {}
            (false, false) => {
                let pair = KeyPair::generate().context("a key for a certificate")?;
                let certificate = CertificateParams::new(names)?.self_signed(&pair)?;
                write_private(&key, pair.serialize_pem().as_bytes())?;
                write_private(&chain, certificate.pem().as_bytes())?;
                self.made.extend([key.clone(), chain.clone()]);
            }
            _ => return Err(anyhow!("of {} and {} one is missing", chain.display(), key.display())),
        }
        Ok(Identity {
            fingerprint: fingerprint(&chain)?,
            chain: fs::read_to_string(&chain)?,
            key: fs::read_to_string(&key)?,
        })
    }
}

/// A certificate, its key, and how peers know it.
pub(super) struct Identity {
    pub(super) chain: String,
    pub(super) key: String,
    /// With `sha256:` before it.
    pub(super) fingerprint: String,
}

/// Fingerprint of the first certificate of a PEM file, with `sha256:` before it.
pub(super) fn fingerprint(path: &Path) -> anyhow::Result<String> {
    let der = CertificateDer::from_pem_file(path).map_err(|e| anyhow!("{}: {e}", path.display()))?;
    Ok(format!("sha256:{}", amphi_signal::fingerprint(&der)))
}

/// Writes a file that only its owner reads.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write(path, bytes, 0o600)
}

/// Writes a file with a mode, with its folders; an existing one keeps no other mode.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let context = || path.display().to_string();
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(folder).with_context(context)?;
    }
    // Beside it first, so that a full disk leaves the old file.
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside).with_context(context)?;
    file.write_all(bytes).with_context(context)?;
    file.sync_all().with_context(context)?;
    fs::rename(&beside, path).with_context(context)
}
