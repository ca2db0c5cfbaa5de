//! The few URLs that a run needs: scheme, host, port, path. No credentials, no fragments.

use anyhow::{Context, bail};

/// Where to connect and what to ask for there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    /// `wss` or `https`.
    pub(crate) tls: bool,
    /// Name or address, without brackets.
    pub(crate) host: String,
    /// Given or the scheme's.
    pub(crate) port: u16,
    /// Path and query, at least `/`.
    pub(crate) target: String,
}

impl Url {
    /// Reads a `ws`, `wss`, `http` or `https` URL.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let (scheme, rest) = text.split_once("://").with_context(|| format!("{text}: no scheme"))?;
        let tls = match scheme {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => bail!("{text}: the scheme must be ws, wss, http or https"),
        };
        let (authority, target) = match rest.find(['/', '?']) {
            Some(at) if rest[at..].starts_with('/') => (&rest[..at], rest[at..].to_owned()),
            Some(at) => (&rest[..at], format!("/{}", &rest[at..])),
            None => (rest, "/".to_owned()),
        };
        let default = if tls { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().with_context(|| format!("{text}: bad port"))?)
            }
            _ => (authority, default),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            bail!("{text}: no host");
        }
        Ok(Self { tls, host: host.to_owned(), port, target })
    }

    /// The path with more query parameters; values are percent-encoded.
    pub(crate) fn target_with(&self, parameters: &[(&str, &str)]) -> String {
        let mut target = self.target.clone();
        for (name, value) in parameters {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(name);
            target.push('=');
            for b in value.bytes() {
                match b {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => target.push(char::from(b)),
                    _ => target.push_str(&format!("%{b:02X}")),
                }
            }
        }
        target
    }

    /// Value of the `Host` header.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("ws://127.0.0.1:5280/xmpp-websocket").unwrap();
        assert_eq!((url.tls, url.host.as_str(), url.port), (false, "127.0.0.1", 5280));
        assert_eq!(url.target_with(&[("vnode", "v1"), ("room", "a b")]), "/xmpp-websocket?vnode=v1&room=a%20b");
        assert_eq!(Url::parse("wss://[::1]/x?y=1").unwrap().target_with(&[("z", "2")]), "/x?y=1&z=2");
        assert_eq!(Url::parse("https://h").unwrap().port, 443);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "localhost:1", "ftp://h/", "ws:///x", "ws://h:99999/"] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }
}
