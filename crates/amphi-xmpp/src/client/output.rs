//! What a client's stream tells its owner.

use amphi_stanza::{FullJid, Stanza};
use bytes::Bytes;

use crate::StreamError;
use crate::sasl::client::ClientError;

/// Why a stream ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The connection could not be made or was lost.
    #[error("no connection")]
    Unreachable,
    /// Negotiation or an acknowledgement took too long.
    #[error("timed out: {0}")]
    Timeout(&'static str),
    /// The server has no TLS, or no acceptable certificate.
    #[error("TLS: {0}")]
    Tls(&'static str),
    /// The login was refused, or the server could not prove itself.
    #[error("login: {0}")]
    Login(#[from] ClientError),
    /// The server offers no mechanism that may be used.
    #[error("no usable SASL mechanism; PLAIN is used only with a server whose certificate is known")]
    NoMechanism,
    /// The server gave no address.
    #[error("bind refused: {0}")]
    Bind(String),
    /// The server ended the stream with an error.
    #[error("stream error: {0}")]
    StreamError(StreamError),
    /// The server does not keep to the protocol.
    #[error("protocol: {0}")]
    Protocol(&'static str),
    /// The stream ended in order.
    #[error("stream closed")]
    Ended,
}

/// A stanza that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// There is no session.
    #[error("offline")]
    Offline(Stanza),
    /// The queue is full.
    #[error("queue is full")]
    Full(Stanza),
}

/// What the owner of a client's stream must do, in order.
#[derive(Debug)]
pub enum ClientOutput {
    /// Write these bytes.
    Send(Bytes),
    /// Once everything is written: clear the reader and start TLS as the client, then give [`Input::Secured`](super::Input::Secured).
    StartTls,
    /// The reader must expect a new stream header.
    Restart,
    /// The server has lost the session that was to be resumed: rooms must be joined again. `Online` follows.
    Fresh {
        /// Sent, maybe handled; then those never sent.
        unacked: Vec<Stanza>,
    },
    /// Logged in and bound.
    Online {
        /// Our address.
        jid: FullJid,
        /// Whether the old session continues, with nothing lost.
        resumed: bool,
    },
    /// A stanza from the server.
    Stanza(Stanza),
    /// Write what is pending and close the connection; it may be gone already.
    Closed {
        /// Why.
        reason: CloseReason,
        /// Whether the next connection will try to resume: stanzas may be sent meanwhile.
        resumable: bool,
        /// What was not acknowledged, if nothing will be resumed.
        unacked: Vec<Stanza>,
    },
}

impl From<Bytes> for ClientOutput {
    fn from(b: Bytes) -> Self {
        Self::Send(b)
    }
}
