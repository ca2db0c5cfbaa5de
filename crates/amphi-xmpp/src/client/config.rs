//! Settings of a client's stream.

use std::time::Duration;

use crate::link::QueueLimits;
use crate::s2s::Tls;

/// How a client proves who it is.
#[derive(Clone)]
pub enum Credentials {
    /// SASL ANONYMOUS; the server gives a name.
    Anonymous,
    /// The strongest of SCRAM-SHA-256, SCRAM-SHA-1 and PLAIN that the server offers.
    Password {
        /// Local part of the account.
        user: String,
        /// Its password.
        password: String,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Password { user, .. } => f.debug_struct("Password").field("user", user).finish_non_exhaustive(),
        }
    }
}

/// Settings of a client's stream.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Domain of the account; `to` of the stream.
    pub domain: String,
    /// How to log in.
    pub credentials: Credentials,
    /// Wanted resource; the server chooses if `None`.
    pub resource: Option<String>,
    /// TLS; used if the server offers it.
    pub tls: Tls,
    /// Whether the server must have a certificate for its domain; yes by default.
    pub require_certificate: bool,
    /// SHA-256 fingerprints of its certificate, in lower-case hex digits; whoever makes the connection compares them.
    pub pins: Vec<String>,
    /// Whether PLAIN may be used without TLS, or with a server whose certificate is not known: loopback and trusted networks only;
    /// no by default.
    pub plain_without_tls: bool,
    /// Whether stream management is asked for; yes by default.
    pub stream_management: bool,
    /// Time from the connection until the stream is bound; 30 s.
    pub negotiation_timeout: Duration,
    /// Silence of our side after which a space or an acknowledgement request is sent; 30 s.
    pub keepalive: Duration,
    /// Silence of the server, after an acknowledgement was asked for, that means the connection is dead; 60 s.
    pub dead_after: Duration,
    /// Stanzas sent before an acknowledgement is asked for; 16.
    pub ack_every: usize,
    /// Age of the oldest unacknowledged stanza at which one is asked for all the same; 1 s.
    pub ack_delay: Duration,
    /// Stanzas that wait for an acknowledgement, or for a connection that resumes.
    pub queue: QueueLimits,
}

impl ClientConfig {
    /// The defaults for an account.
    pub fn new(domain: impl Into<String>, credentials: Credentials) -> Self {
        Self {
            domain: domain.into(),
            credentials,
            resource: None,
            tls: Tls::IfOffered,
            require_certificate: true,
            pins: Vec::new(),
            plain_without_tls: false,
            stream_management: true,
            negotiation_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(30),
            dead_after: Duration::from_secs(60),
            ack_every: 16,
            ack_delay: Duration::from_secs(1),
            queue: QueueLimits::default(),
        }
    }
}
