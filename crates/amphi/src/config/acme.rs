//! Section `[tls.acme]`: certificates of HTTPS from an authority that speaks ACME, such as Let's Encrypt.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Check;
use super::units::Span;

/// Certificates for HTTPS of the front from an authority that speaks ACME (RFC 8555), renewed by themselves. They are kept in
/// `data_dir/acme`; until the first one is there, HTTPS shows a certificate made here. Links between servers keep `tls.certificate`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AcmeFile {
    /// Names in the certificate, such as `["meet.example.com"]`; none: ACME is off. Needs `tls.front = true`.
    pub domains: Vec<String>,
    /// Address at which the authority warns of trouble.
    pub email: Option<String>,
    /// Whether you agree to the authority's terms of service; nothing is asked of it otherwise.
    pub agree_to_terms: bool,
    /// The authority's directory. For tries take `https://acme-staging-v02.api.letsencrypt.org/directory`, whose bounds are wide and
    /// whose certificates no browser trusts.
    pub directory: String,
    /// PEM file of the authority that signs for the directory's own HTTPS, for an authority of your own.
    pub directory_ca: Option<PathBuf>,
    /// HTTP where the authority looks for its proof (HTTP-01); it comes to port 80 of every name. Everybody else is sent to HTTPS.
    pub listen: String,
    /// A certificate is renewed when it has so long left.
    pub renew_before: Span,
}

impl Default for AcmeFile {
    fn default() -> Self {
        Self {
            domains: Vec::new(),
            email: None,
            agree_to_terms: false,
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            directory_ca: None,
            listen: "0.0.0.0:80".to_owned(),
            renew_before: Span::seconds(30 * 24 * 3600),
        }
    }
}

/// ACME that is on.
#[derive(Clone, Debug)]
pub struct Acme {
    /// Names, of which there is at least one.
    pub domains: Vec<String>,
    /// Contact.
    pub email: Option<String>,
    /// Directory of the authority.
    pub directory: String,
    /// What signs for it.
    pub directory_ca: Option<PathBuf>,
    /// Where the authority looks.
    pub listen: SocketAddr,
    /// How long before the end.
    pub renew_before: Duration,
    /// Folder for account and certificate.
    pub dir: PathBuf,
}

impl Check<'_> {
    pub(super) fn acme(&mut self) -> Option<Acme> {
        let said = &self.file.tls.acme;
        if said.domains.is_empty() {
            return None;
        }
        if !self.file.tls.front {
            self.wrong("tls.acme.domains", "needs tls.front = true: the certificate is for HTTPS of the front");
        }
        if !said.agree_to_terms {
            self.wrong(
                "tls.acme.agree_to_terms",
                "must be true: the authority gives nothing to those who do not agree",
            );
        }
        let domains: Vec<String> = said
            .domains
            .iter()
            .enumerate()
            .filter_map(|(n, d)| self.domain(&format!("tls.acme.domains[{n}]"), d))
            .collect();
        let directory = self.url("tls.acme.directory", &said.directory)?;
        if let Some(path) = &said.directory_ca {
            self.read("tls.acme.directory_ca", path);
        }
        let Some(listen) = self.address("tls.acme.listen", &said.listen) else {
            if said.listen == "off" {
                self.wrong("tls.acme.listen", "must be an address: the authority comes there by port 80");
            }
            return None;
        };
        Some(Acme {
            domains,
            email: said.email.clone(),
            directory,
            directory_ca: said.directory_ca.clone(),
            listen,
            renew_before: said.renew_before.0,
            dir: self.file.data_dir.join("acme"),
        })
    }
}
