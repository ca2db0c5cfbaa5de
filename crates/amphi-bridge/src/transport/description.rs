//! What the two sides of a transport tell each other, as the elements of ICE-UDP (XEP-0176) carry it.
//!
//! Control turns these from and to XML; nothing here is parsed or written.

use std::net::SocketAddr;

/// The type of a candidate (RFC 8445 section 5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CandidateType {
    /// `host`.
    Host,
    /// `srflx`.
    ServerReflexive,
    /// `prflx`.
    PeerReflexive,
    /// `relay`.
    Relayed,
}

impl CandidateType {
    /// The value of attribute `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ServerReflexive => "srflx",
            Self::PeerReflexive => "prflx",
            Self::Relayed => "relay",
        }
    }

    /// From the value of attribute `type`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "host" => Some(Self::Host),
            "srflx" => Some(Self::ServerReflexive),
            "prflx" => Some(Self::PeerReflexive),
            "relay" => Some(Self::Relayed),
            _ => None,
        }
    }
}

/// A candidate of ours: the attributes of `<candidate/>`. `component` is always 1, `network` 0, `protocol` `udp` (`spec/bridge.md` 2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCandidate {
    /// `id`: random hex.
    pub id: String,
    /// `foundation`.
    pub foundation: String,
    /// `priority`.
    pub priority: u32,
    /// `generation`.
    pub generation: u32,
    /// `type`: host or srflx.
    pub kind: CandidateType,
    /// `ip` and `port`.
    pub address: SocketAddr,
    /// `rel-addr` and `rel-port`.
    pub related: Option<SocketAddr>,
}

/// What a `setup` attribute says (RFC 4145): the sender's part in the DTLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Setup {
    /// Either; the other side chooses.
    Actpass,
    /// DTLS client.
    Active,
    /// DTLS server.
    Passive,
}

impl Setup {
    /// The value of attribute `setup`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Actpass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }

    /// From the value of attribute `setup`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "actpass" => Some(Self::Actpass),
            "active" => Some(Self::Active),
            "passive" => Some(Self::Passive),
            _ => None,
        }
    }
}

/// A `<fingerprint/>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// `hash`: the name of the function, `sha-256`.
    pub hash: String,
    /// The value: pairs of hex digits with colons between.
    pub value: String,
    /// `setup`; absent is none.
    pub setup: Option<Setup>,
}

/// What we say of ourselves: the content of `<transport/>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalTransport {
    /// `ufrag`.
    pub ufrag: String,
    /// `pwd`.
    pub password: String,
    /// `ice-generation`: set on descriptions that answer a restart.
    pub generation: Option<u32>,
    /// Candidates in the order of their priority.
    pub candidates: Vec<LocalCandidate>,
    /// Our certificate's fingerprint, `setup` always actpass.
    pub fingerprint: Fingerprint,
}

/// A candidate of the other side. Candidates of other components, protocols or host names are left out by control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteCandidate {
    /// `type`.
    pub kind: CandidateType,
    /// `ip` and `port`.
    pub address: SocketAddr,
    /// `priority`.
    pub priority: u32,
    /// `foundation`.
    pub foundation: String,
    /// `generation`; absent is none and fits all.
    pub generation: Option<u32>,
}

/// What the other side says of itself. All parts may come in updates of their own; absent parts say nothing new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteTransport {
    /// `ufrag`.
    pub ufrag: Option<String>,
    /// `pwd`.
    pub password: Option<String>,
    /// `ice-generation`: set on answers to a restart (`spec/bridge.md` 2.5).
    pub generation: Option<u32>,
    /// Candidates; may be none, clients usually send none.
    pub candidates: Vec<RemoteCandidate>,
    /// Fingerprints; the strongest hash that we know must match.
    pub fingerprints: Vec<Fingerprint>,
}
