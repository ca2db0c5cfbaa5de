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

    pub(super) fn host_port(&mut self, key: &str, text: &str) -> Option<String> {
        let fine = text.rsplit_once(':').is_some_and(|(host, port)| {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            let bracketed = host.starts_with('[') && host.ends_with(']');
            let named = !bare.is_empty() && !bare.contains(['/', ' ', '@']) && (bracketed || !bare.contains(':'));
            named && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        if !fine {
            self.wrong(key, format!("{text:?} is not host:port"));
        }
        fine.then(|| text.to_owned())
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
        let Some(rest) = text.strip_prefix("tcp://") else {
            self.wrong(key, format!("{text:?} does not begin with tcp://"));
            return None;
        };
        // `spec/signaling.md` 4.14: the port may be left out.
        let has_port = rest.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']'));
        let address = if has_port { rest.to_owned() } else { format!("{rest}:5269") };
        Some(Peer { address: self.host_port(key, &address)?, fingerprint: None })
    }

    /// Lower-case hex digits without colons.
    pub(super) fn fingerprint(&mut self, key: &str, text: Option<&str>) -> Option<String> {
        let text = text?;
        let digits: String = text.strip_prefix("sha256:").unwrap_or_default().chars().filter(|c| *c != ':').collect();
        let fine = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if !fine {
            self.wrong(key, format!("{text:?} is not sha256: and 64 hex digits"));
        }
        fine.then(|| digits.to_ascii_lowercase())
    }

    pub(super) fn ip_addresses(&mut self, key: &str, texts: &[String]) -> Vec<IpAddr> {
        let mut parsed = Vec::new();
        for (n, text) in texts.iter().enumerate() {
            match text.parse() {
                Ok(address) => parsed.push(address),
                Err(_) => self.wrong(&format!("{key}[{n}]"), format!("{text:?} is not an IP address")),
            }
        }
        parsed
    }

    /// A number of threads.
    pub(super) fn threads(&mut self, key: &str, said: Option<u32>) -> Option<usize> {
        let count = usize::try_from(said?).ok()?;
        // A connection's id keeps its shard in one byte.
        if !(1..=255).contains(&count) {
            self.wrong(key, "from 1 to 255");
        }
        Some(count)
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
