//! SASL (RFC 6120 §6): the mechanisms as small state machines over decoded messages, and the wire form of failures.
//!
//! The server side is called by [`crate::c2s`] and by server streams (EXTERNAL), the [`client`] side by whoever opens a
//! stream. Nothing here knows accounts: credentials come in as arguments.

pub mod client;
mod external;
mod failure;
mod hash;
mod plain;
mod scram;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use amphi_stanza::{Element, XmlWriter, ns};

pub use external::external;
pub use failure::{Failure, SaslCondition};
pub use hash::Hash;
pub use plain::{Plain, plain};
pub use scram::{ScramCredentials, ScramServer, ScramUser};

/// A mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mechanism {
    /// ANONYMOUS (RFC 4505).
    Anonymous,
    /// PLAIN (RFC 4616).
    Plain,
    /// EXTERNAL (RFC 4422 appendix A).
    External,
    /// SCRAM-SHA-1 (RFC 5802).
    ScramSha1,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
}

impl Mechanism {
    /// All of them, the strongest first.
    pub const ALL: [Self; 5] = [Self::External, Self::ScramSha256, Self::ScramSha1, Self::Plain, Self::Anonymous];

    /// Registered name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "ANONYMOUS",
            Self::Plain => "PLAIN",
            Self::External => "EXTERNAL",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// The mechanism of this registered name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.as_str() == name)
    }

    /// The hash of a SCRAM mechanism.
    pub fn scram_hash(self) -> Option<Hash> {
        match self {
            Self::ScramSha1 => Some(Hash::Sha1),
            Self::ScramSha256 => Some(Hash::Sha256),
            _ => None,
        }
    }
}

/// Mechanisms in a features element (`stream:features`) that this crate knows, in the order offered.
pub fn offered(features: Element<'_>) -> Vec<Mechanism> {
    let Some(list) = features.child("mechanisms", ns::SASL) else { return Vec::new() };
    list.children().filter(|c| c.name() == "mechanism").filter_map(|c| Mechanism::parse(c.text().trim())).collect()
}

/// Decodes the content of `<auth/>`, `<response/>`, `<challenge/>` or `<success/>`: `None` when there is none, an empty
/// message for `=` (RFC 6120 §6.4.2).
///
/// # Errors
/// `incorrect-encoding` for anything that is not Base64.
pub fn decode(e: Element<'_>) -> Result<Option<Vec<u8>>, Failure> {
    let text = e.text();
    match text.trim() {
        "" => Ok(None),
        "=" => Ok(Some(Vec::new())),
        t => STANDARD.decode(t).map(Some).map_err(|_| Failure::new(SaslCondition::IncorrectEncoding)),
    }
}

/// Writes one element of the exchange: `auth` (with a mechanism), `challenge`, `response` or `success`.
pub fn encode(name: &'static str, mechanism: Option<Mechanism>, message: Option<&[u8]>) -> Bytes {
    let mut w = XmlWriter::new();
    w.open_ns(name, ns::SASL).attr_opt("mechanism", mechanism.map(Mechanism::as_str));
    match message {
        None => {}
        Some([]) => {
            w.text("=");
        }
        Some(m) => {
            w.text(STANDARD.encode(m));
        }
    }
    w.finish()
}
