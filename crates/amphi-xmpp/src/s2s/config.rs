//! Settings of the streams between servers.

use std::time::Duration;

use super::Pair;
use crate::link::QueueLimits;

/// How TLS is used on a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// STARTTLS before anything else; a stream without it is refused.
    #[default]
    Required,
    /// STARTTLS if the other side has it.
    IfOffered,
    /// No TLS: trusted networks and tests.
    Off,
    /// The connection is in TLS from its first byte.
    Direct,
}

/// Settings of an inbound stream.
#[derive(Clone, Debug)]
pub struct IncomingConfig {
    /// TLS; required by default.
    pub tls: Tls,
    /// Whether dialback (XEP-0220) may authenticate; yes by default.
    pub dialback: bool,
    /// Whether the peer may ask us to use the stream backwards (XEP-0288); yes by default.
    pub bidi: bool,
    /// Whether several pairs may be listed by our own extension; yes by default.
    pub pairs: bool,
    /// Domain pairs that one stream may carry; 256.
    pub max_pairs: usize,
    /// Dialback keys of one stream under verification at a time; 16.
    pub max_pending_dialback: usize,
    /// Refused attempts to authenticate before the stream is closed; 8.
    pub max_refusals: u32,
    /// Time from the connection to the first authenticated pair; 30 s.
    pub negotiation_timeout: Duration,
    /// Silence of our side after which a space or an acknowledgement request is sent; 30 s.
    pub keepalive: Duration,
    /// Silence of the peer, after an acknowledgement was asked for, that means the connection is dead; 60 s.
    pub dead_after: Duration,
    /// How long the peer may resume after its connection was lost; 600 s. The caller drops [`super::Suspended`] then.
    pub resume_timeout: Duration,
    /// How long stanzas for the other direction wait for the peer to resume or enable stream management; 2 s.
    pub hold_back: Duration,
    /// Stanzas sent backwards before an acknowledgement is asked for; 16.
    pub ack_every: usize,
    /// Stanzas for the other direction of a bidirectional stream.
    pub queue: QueueLimits,
}

impl Default for IncomingConfig {
    fn default() -> Self {
        Self {
            tls: Tls::Required,
            dialback: true,
            bidi: true,
            pairs: true,
            max_pairs: 256,
            max_pending_dialback: 16,
            max_refusals: 8,
            negotiation_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(30),
            dead_after: Duration::from_secs(60),
            resume_timeout: Duration::from_secs(600),
            hold_back: Duration::from_secs(2),
            ack_every: 16,
            queue: QueueLimits::default(),
        }
    }
}

/// What an outbound stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Stanzas of its pairs: it authenticates.
    Stanzas,
    /// Only to ask the authoritative server about dialback keys: it does not authenticate, so that two servers which
    /// verify each other do not open streams without end.
    Verify,
}

/// Settings of an outbound stream.
#[derive(Clone, Debug)]
pub struct OutgoingConfig {
    /// The pair in the stream header, and the only one towards stock peers.
    pub pair: Pair,
    /// Further pairs, if the peer knows our extension.
    pub more_pairs: Vec<Pair>,
    /// What the stream is for; stanzas by default.
    pub purpose: Purpose,
    /// TLS; required by default.
    pub tls: Tls,
    /// Whether the peer must have a certificate for its domain; yes by default.
    pub require_certificate: bool,
    /// Whether SASL EXTERNAL is tried; yes by default.
    pub external: bool,
    /// Whether dialback is tried where EXTERNAL is not offered or fails; yes by default.
    pub dialback: bool,
    /// Whether to ask the peer to use the stream backwards (XEP-0288); yes by default.
    pub bidi: bool,
    /// Whether stream management is asked for; yes by default.
    pub stream_management: bool,
    /// Time from the wish to connect until stanzas may flow; 30 s.
    pub negotiation_timeout: Duration,
    /// Silence of our side after which a space or an acknowledgement request is sent; 30 s.
    pub keepalive: Duration,
    /// Silence of the peer, after an acknowledgement was asked for, that means the connection is dead; 60 s.
    pub dead_after: Duration,
    /// Stanzas sent before an acknowledgement is asked for; 16.
    pub ack_every: usize,
    /// Age of the oldest unacknowledged stanza at which one is asked for all the same; 1 s.
    pub ack_delay: Duration,
    /// How long resumption is tried if the peer does not say how long it keeps the session; 600 s.
    pub resume_timeout: Duration,
    /// First pause before a lost connection that can be resumed is made again; doubles up to `retry_max`. 200 ms.
    pub retry_first: Duration,
    /// Longest such pause; 10 s.
    pub retry_max: Duration,
    /// Stanzas that wait for a connection or an acknowledgement.
    pub queue: QueueLimits,
    /// Questions about dialback keys that wait for an answer; 64.
    pub max_verifications: usize,
}

impl OutgoingConfig {
    /// The defaults for a pair.
    pub fn new(pair: Pair) -> Self {
        Self {
            pair,
            more_pairs: Vec::new(),
            purpose: Purpose::Stanzas,
            tls: Tls::Required,
            require_certificate: true,
            external: true,
            dialback: true,
            bidi: true,
            stream_management: true,
            negotiation_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(30),
            dead_after: Duration::from_secs(60),
            ack_every: 16,
            ack_delay: Duration::from_secs(1),
            resume_timeout: Duration::from_secs(600),
            retry_first: Duration::from_millis(200),
            retry_max: Duration::from_secs(10),
            queue: QueueLimits::default(),
            max_verifications: 64,
        }
    }
}
