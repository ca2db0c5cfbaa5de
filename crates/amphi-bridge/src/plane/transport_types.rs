//! What control and transports say to each other through the plane. Stands in for `crate::transport`'s types until they are here.

use std::net::SocketAddr;

/// How a transport is made.
#[derive(Clone, Debug)]
pub struct Config {
    /// ICE role.
    pub ice_controlling: bool,
}

/// What the transport says about itself.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// ICE user name fragment.
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// SHA-256 of the certificate, as in SDP.
    pub fingerprint: String,
    /// Host candidates.
    pub candidates: Vec<SocketAddr>,
}

/// What the other side said about itself.
#[derive(Clone, Debug, Default)]
pub struct Remote {
    /// ICE user name fragment.
    pub ufrag: Option<String>,
    /// ICE password.
    pub pwd: Option<String>,
    /// Fingerprints: hash function and value, as in SDP.
    pub fingerprints: Vec<(String, String)>,
    /// `active`, `passive`, `actpass`.
    pub setup: Option<String>,
    /// Candidates.
    pub candidates: Vec<SocketAddr>,
}
