//! Section `[[services]]`: STUN and TURN servers that clients are told of (`spec/signaling.md` 2.9).

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::check::Check;
use super::units::Span;

/// One STUN or TURN server.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceFile {
    /// What it is.
    pub kind: ServiceKind,
    /// Host name or address, as clients reach it.
    pub host: String,
    /// Port. Unset: 3478, and 5349 for `turns`.
    pub port: Option<u16>,
    /// `udp` or `tcp`. Unset: `udp`, and `tcp` for `turns`.
    pub transport: Option<Transport>,
    /// Secret that is shared with the TURN server (`static-auth-secret` of coturn); credentials are made from it for each client.
    #[serde(skip_serializing)]
    #[schemars(with = "Option<String>")]
    pub secret: Option<SecretString>,
    /// File with that secret.
    pub secret_file: Option<PathBuf>,
    /// How long credentials are good.
    pub ttl: Span,
}

impl Default for ServiceFile {
    fn default() -> Self {
        Self {
            kind: ServiceKind::Turn,
            host: String::new(),
            port: None,
            transport: None,
            secret: None,
            secret_file: None,
            ttl: Span::seconds(86_400),
        }
    }
}

/// What a server for media is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceKind {
    /// Tells clients their public address.
    Stun,
    /// Relays media.
    Turn,
    /// Relays media, over TLS.
    Turns,
}

/// How it is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// A server for media that clients are told of.
#[derive(Clone, Debug)]
pub struct Service {
    /// `stun`, `turn` or `turns`.
    pub kind: &'static str,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `udp` or `tcp`.
    pub transport: &'static str,
    /// Shared secret; `None` for STUN.
    pub secret: Option<SecretString>,
    /// Validity of credentials.
    pub ttl: Duration,
}

impl Check<'_> {
    pub(super) fn services(&mut self) -> Vec<Service> {
        let file = self.file;
        let mut services = Vec::new();
        for (n, said) in file.services.iter().enumerate() {
            let at = |field: &str| format!("services[{n}].{field}");
            if said.host.is_empty() || said.host.contains(|c: char| c.is_whitespace() || c == '/' || c == '@') {
                self.wrong(&at("host"), format!("{:?} is not a host name or an address", said.host));
            }
            let secret = self.secret(&at("secret"), said.secret.as_ref(), said.secret_file.as_deref());
            let stun = said.kind == ServiceKind::Stun;
            if !stun && secret.is_none() && said.secret_file.is_none() {
                self.wrong(
                    &format!("services[{n}]"),
                    "a TURN server needs secret or secret_file, the secret that it shares",
                );
            }
            if said.ttl.0 < Duration::from_secs(60) {
                self.wrong(&at("ttl"), "at least 1m");
            }
            let tls = said.kind == ServiceKind::Turns;
            services.push(Service {
                kind: match said.kind {
                    ServiceKind::Stun => "stun",
                    ServiceKind::Turn => "turn",
                    ServiceKind::Turns => "turns",
                },
                host: said.host.clone(),
                port: said.port.unwrap_or(if tls { 5349 } else { 3478 }),
                transport: match said.transport {
                    Some(Transport::Tcp) => "tcp",
                    Some(Transport::Udp) => "udp",
                    None if tls => "tcp",
                    None => "udp",
                },
                secret: secret.filter(|_| !stun),
                ttl: said.ttl.0,
            });
        }
        services
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Layers};

    fn config(text: &str) -> Result<Config, String> {
        let layers = Layers { file: Some(("amphi.toml".to_owned(), text.to_owned())), ..Layers::default() };
        Config::check(&layers.join().map_err(|e| e.to_string())?).map_err(|e| e.to_string())
    }

    #[test]
    fn ports_and_transports_are_those_of_the_kind() {
        let text = "[[services]]\nhost = \"turn.example\"\nsecret = \"s\"\n[[services]]\nkind = \"turns\"\nhost = \"turn.example\"\n\
                    secret = \"s\"\n[[services]]\nkind = \"stun\"\nhost = \"192.0.2.1\"\n";
        let services = config(text).unwrap().services;
        let told: Vec<_> = services.iter().map(|s| (s.kind, s.port, s.transport, s.secret.is_some())).collect();
        assert_eq!(told, [("turn", 3478, "udp", true), ("turns", 5349, "tcp", true), ("stun", 3478, "udp", false)]);
    }

    #[test]
    fn a_turn_server_needs_a_secret_and_a_host() {
        let text = config("[[services]]\nhost = \"turn.example\"\n").unwrap_err();
        assert!(text.contains("needs secret or secret_file"), "{text}");
        let text = config("[[services]]\nkind = \"stun\"\n").unwrap_err();
        assert!(text.contains("services[0].host"), "{text}");
    }
}
