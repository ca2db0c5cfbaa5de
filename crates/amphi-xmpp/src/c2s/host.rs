//! What a host offers to its clients, with the bytes that every join needs made once.

use std::time::Duration;

use bytes::Bytes;

use amphi_stanza::{XmlWriter, ns};

use super::framing::{Framing, Security};
use crate::sasl::Mechanism;

/// Who chooses the resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResourcePolicy {
    /// The server, always: people.
    #[default]
    Generated,
    /// The client, if it asks for one: service accounts.
    Requested,
}

/// Whether TCP streams must be protected before they log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartTlsPolicy {
    /// STARTTLS first.
    #[default]
    Required,
    /// No certificate: STARTTLS is not offered, and unprotected TCP streams cannot log in.
    Unavailable,
}

/// Stream management of a host (`spec/signaling.md` 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumption {
    /// How long a stream may be resumed after its transport broke. 60 s; 15 s for service accounts.
    pub max: Duration,
}

impl Default for Resumption {
    fn default() -> Self {
        Self { max: Duration::from_secs(60) }
    }
}

/// What an operator says about a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInfo {
    /// Domain, normalised.
    pub name: String,
    /// Mechanisms in the order to offer. PLAIN is left out on unprotected streams.
    pub mechanisms: Vec<Mechanism>,
    /// STARTTLS on TCP.
    pub starttls: StartTlsPolicy,
    /// Stream management; `None` when not offered. Never offered on BOSH.
    pub sm: Option<Resumption>,
    /// Who chooses the resource.
    pub resource: ResourcePolicy,
}

/// A host, ready to serve: make it once per host and share it.
#[derive(Debug)]
pub struct HostProfile {
    info: HostInfo,
    websocket_header: (Bytes, Bytes),
    tcp_header: (Bytes, Bytes),
    starttls: Bytes,
    /// STARTTLS and mechanisms: streams that may do without TLS.
    trusted: Bytes,
    mechanisms: Bytes,
    mechanisms_unprotected: Bytes,
    bind: Bytes,
    bind_sm: Bytes,
}

impl HostProfile {
    /// Writes everything that does not depend on the stream.
    pub fn new(info: HostInfo) -> Self {
        let features = |write: &dyn Fn(&mut XmlWriter)| {
            let mut w = XmlWriter::new();
            w.open("stream:features").attr("xmlns:stream", ns::STREAM).attr("xmlns", ns::CLIENT);
            write(&mut w);
            Bytes::from(w.finish_string().into_boxed_str().into_boxed_bytes())
        };
        let bind = |w: &mut XmlWriter| {
            w.open_ns("bind", ns::BIND).open("required").close().close();
        };
        let mechanisms = |w: &mut XmlWriter, fits: &dyn Fn(Mechanism) -> bool| {
            w.open_ns("mechanisms", ns::SASL);
            for m in info.mechanisms.iter().filter(|m| fits(**m)) {
                w.text_element("mechanism", m.as_str());
            }
            w.close();
        };
        Self {
            websocket_header: Framing::WebSocket.header_parts(&info.name),
            tcp_header: Framing::Tcp.header_parts(&info.name),
            starttls: features(&|w| {
                if info.starttls == StartTlsPolicy::Required {
                    w.open_ns("starttls", ns::TLS).open("required").close().close();
                }
            }),
            trusted: features(&|w| {
                if info.starttls == StartTlsPolicy::Required {
                    w.empty("starttls", ns::TLS);
                }
                mechanisms(w, &|_| true);
            }),
            mechanisms: features(&|w| mechanisms(w, &|_| true)),
            mechanisms_unprotected: features(&|w| mechanisms(w, &|m| m != Mechanism::Plain)),
            bind: features(&bind),
            bind_sm: features(&|w| {
                bind(w);
                w.empty("sm", ns::SM2).empty("sm", ns::SM);
            }),
            info,
        }
    }

    /// What the operator said.
    pub fn info(&self) -> &HostInfo {
        &self.info
    }

    /// Domain.
    pub fn name(&self) -> &str {
        &self.info.name
    }

    /// Whether stream management is offered in this framing.
    pub fn sm(&self, framing: Framing) -> Option<Resumption> {
        if framing == Framing::Bosh { None } else { self.info.sm }
    }

    /// Whether a stream may ask for TLS: it must, or it is trusted without and may still want it.
    pub(super) fn offers_tls(framing: Framing, security: Security) -> bool {
        framing == Framing::Tcp && security != Security::Encrypted
    }

    /// Whether a stream must ask for TLS before it logs in.
    pub(super) fn wants_tls(framing: Framing, security: Security) -> bool {
        framing == Framing::Tcp && security == Security::Plain
    }

    /// The answer to a header: one allocation for the id.
    pub(super) fn header(&self, framing: Framing, id: &str) -> Option<Bytes> {
        let (head, tail) = match framing {
            Framing::WebSocket => &self.websocket_header,
            Framing::Tcp => &self.tcp_header,
            Framing::Bosh => return None,
        };
        Some([&head[..], id.as_bytes(), &tail[..]].concat().into())
    }

    /// Features before the login.
    pub(super) fn features_before(&self, framing: Framing, security: Security) -> Bytes {
        if Self::wants_tls(framing, security) {
            self.starttls.clone()
        } else if framing == Framing::Tcp && security == Security::Trusted {
            self.trusted.clone()
        } else if security == Security::Plain {
            self.mechanisms_unprotected.clone()
        } else {
            self.mechanisms.clone()
        }
    }

    /// Features after the login. `session` is left out: it would cost a round trip (`spec/client.md` 4).
    pub(super) fn features_after(&self, framing: Framing) -> Bytes {
        if self.sm(framing).is_some() { self.bind_sm.clone() } else { self.bind.clone() }
    }
}
