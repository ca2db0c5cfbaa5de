//! Single values: domains, addresses, URLs, secrets. Each reader tells its mistake with the key and the accepted form, and
//! returns nothing then.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use amphi_stanza::Jid;
use secrecy::SecretString;

use super::check::Check;
use super::checked::Peer;
use super::secret::Password;

impl Check<'_> {
    /// A domain in its normal form.
    pub(super) fn domain(&mut self, key: &str, text: &str) -> Option<String> {
        match Jid::parse(text) {
            Ok(jid) if jid.local().is_none() && jid.resource().is_none() => Some(jid.domain().to_owned()),
            _ => {
                self.wrong(key, format!("{text:?} is not a domain"));
                None
            }
        }
    }

    pub(super) fn domains(&mut self, key: &str, texts: &[String]) -> Vec<String> {
        let texts = texts.iter().enumerate();
        texts.filter_map(|(n, text)| self.domain(&format!("{key}[{n}]"), text)).collect()
    }

    /// Domains and bare addresses.
    pub(super) fn addresses(&mut self, key: &str, texts: &[String]) -> Vec<Jid> {
        let mut parsed = Vec::new();
        for (n, text) in texts.iter().enumerate() {
            match Jid::parse(text) {
                Ok(jid) if jid.resource().is_none() => parsed.push(jid),
                _ => self.wrong(&format!("{key}[{n}]"), format!("{text:?} is neither a domain nor a bare address")),
            }
        }
        parsed
    }

    pub(super) fn label(&mut self, key: &str, text: &str) {
        let fine = !text.is_empty()
            && text.len() <= 63
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fine {
            self.wrong(key, format!("{text:?} is not a label: lower-case letters, digits and hyphens"));
        }
    }

    pub(super) fn address(&mut self, key: &str, text: &str) -> Option<SocketAddr> {
        if text == "off" {
            return None;
        }
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.wrong(key, format!("{text:?} is neither an address like 127.0.0.1:5222 nor off"));
        }
        parsed
    }

    pub(super) fn host_port(&mut self, key: &str, text: &str) -> Option<(String, u16)> {
        let parsed = text.rsplit_once(':').and_then(|(host, port)| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let port: u16 = port.parse().ok()?;
            (!host.is_empty() && port != 0 && !host.contains(['/', ' '])).then(|| (host.to_owned(), port))
        });
        if parsed.is_none() {
            self.wrong(key, format!("{text:?} is not host:port"));
        }
        parsed
    }

    pub(super) fn url(&mut self, key: &str, text: &str) -> Option<String> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        match rest {
            Some(rest) if !rest.is_empty() && !rest.contains(char::is_whitespace) => {
                Some(text.trim_end_matches('/').to_owned())
            }
            _ => {
                self.wrong(key, format!("{text:?} is not an http:// or https:// address"));
                None
            }
        }
    }

    pub(super) fn override_of(&mut self, key: &str, text: &str) -> Option<Peer> {
        let (direct_tls, rest) = match (text.strip_prefix("tcp://"), text.strip_prefix("tls://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => {
                self.wrong(key, format!("{text:?} begins with neither tcp:// nor tls://"));
                return None;
            }
        };
        // `spec/signaling.md` 4.14: the port may be left out.
        let usual = if direct_tls { 5270 } else { 5269 };
        let with_port = match rest.rsplit_once(':') {
            Some((host, _)) if !host.ends_with(':') && (!host.contains(':') || host.ends_with(']')) => rest.to_owned(),
            _ => format!("{rest}:{usual}"),
        };
        let (host, port) = self.host_port(key, &with_port)?;
        Some(Peer { host, port, direct_tls, fingerprint: None })
    }

    pub(super) fn fingerprint(&mut self, key: &str, text: Option<&str>) -> Option<[u8; 32]> {
        let text = text?;
        let hex: String = text.strip_prefix("sha256:").unwrap_or_default().chars().filter(|c| *c != ':').collect();
        let mut bytes = [0; 32];
        let fine = hex.len() == 64
            && hex.is_ascii()
            && bytes
                .iter_mut()
                .enumerate()
                .all(|(n, byte)| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).map(|parsed| *byte = parsed).is_ok());
        if !fine {
            self.wrong(key, format!("{text:?} is not sha256: and 64 hex digits"));
        }
        fine.then_some(bytes)
    }

    pub(super) fn read(&mut self, key: &str, path: &Path) -> Option<String> {
        match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) => {
                self.wrong(key, format!("cannot read {}: {error}", path.display()));
                None
            }
        }
    }

    /// A secret that stands in the configuration or in a file of its own; `key` names the first form.
    pub(super) fn secret(
        &mut self,
        key: &str,
        here: Option<&SecretString>,
        file: Option<&Path>,
    ) -> Option<SecretString> {
        match (here, file) {
            (Some(_), Some(_)) => {
                self.wrong(&format!("{key}_file"), "contradicts the secret that stands in the configuration itself");
                None
            }
            (Some(secret), None) => Some(secret.clone()),
            (None, Some(path)) => {
                let text = self.read(&format!("{key}_file"), path)?;
                Some(SecretString::from(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
            (None, None) => None,
        }
    }

    /// Where a password that nobody gave is kept.
    pub(super) fn kept(&self, host: &str, user: &str) -> Password {
        Password::Kept(self.file.data_dir.join("passwords").join(host).join(user))
    }
}

/// `10.0.0.0/8` or a single address.
pub(super) fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some((address, bits))
}
