//! What an outbound link tells its owner.

use amphi_stanza::Stanza;
use bytes::Bytes;

use crate::StreamError;
use crate::s2s::{DialbackOutcome, Pair, VerifyRequest};

/// Why a link has no stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailReason {
    /// The connection could not be made or was lost.
    #[error("no connection")]
    Unreachable,
    /// Negotiation, an acknowledgement or resumption took too long.
    #[error("timed out: {0}")]
    Timeout(&'static str),
    /// The peer has no TLS, or no acceptable certificate.
    #[error("TLS: {0}")]
    Tls(&'static str),
    /// Neither EXTERNAL nor dialback convinced the peer.
    #[error("authentication failed: {0}")]
    Auth(String),
    /// The peer ended the stream with an error.
    #[error("stream error: {0}")]
    StreamError(StreamError),
    /// The peer does not keep to the protocol.
    #[error("protocol: {0}")]
    Protocol(&'static str),
    /// The stream ended in order.
    #[error("stream closed")]
    Ended,
}

/// A stanza that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Its addresses are not those of a pair of this link.
    #[error("not a stanza of this link")]
    OtherPair(Stanza),
    /// The queue is full.
    #[error("queue is full")]
    Full(Stanza),
}

/// What the owner of an outbound link must do, in order.
#[derive(Debug)]
pub enum OutgoingOutput {
    /// Make a connection, then give [`Input::Connected`](super::Input::Connected), or [`Input::Closed`](super::Input::Closed) if it fails. An old one is closed.
    Connect,
    /// Write these bytes.
    Send(Bytes),
    /// Once everything is written: clear the reader and start TLS as the client, then give [`Input::Secured`](super::Input::Secured).
    StartTls,
    /// The reader must expect a new stream header.
    Restart,
    /// Stanzas flow; with `resumed`, exactly where they stopped.
    Ready {
        /// Whether an older session continues.
        resumed: bool,
    },
    /// The peer has lost our session: what it had not acknowledged and what waited comes back. A new session follows.
    Fresh {
        /// Sent, maybe handled.
        unacked: Vec<Stanza>,
        /// Never sent.
        unsent: Vec<Stanza>,
    },
    /// The peer does not take this pair on a shared stream; these were for it and were never sent.
    PairRefused {
        /// The pair; it is no longer one of this link.
        pair: Pair,
        /// Its stanzas.
        unsent: Vec<Stanza>,
    },
    /// A stanza that came backwards on a bidirectional stream, in `jabber:client`.
    Stanza(Stanza),
    /// Answer to [`Outgoing::verify`](super::Outgoing::verify).
    VerifyResult(VerifyRequest, DialbackOutcome),
    /// The connection was lost, the session is kept; `Connect` follows after a pause.
    Interrupted,
    /// Write what is pending and close the connection. No input may come from it any more: the next one is about the
    /// connection that the next `Connect` asks for.
    Close,
    /// The link is down and holds nothing any more. The next stanza starts anew.
    Failed {
        /// Why.
        reason: FailReason,
        /// Sent or not, all that was not acknowledged, in order. Without stream management, what was sent is not here.
        unsent: Vec<Stanza>,
    },
}

impl From<Bytes> for OutgoingOutput {
    fn from(b: Bytes) -> Self {
        Self::Send(b)
    }
}
