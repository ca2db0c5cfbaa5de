//! What the ends of a TCP stream have in common: the inputs that an IO layer gives them, the order of bytes and events
//! they hand back, and the queue of stanzas that stream management keeps. Used by [`crate::s2s`] and [`crate::client`];
//! it knows no negotiation.

mod features;
mod outbox;
mod outlet;
pub(crate) mod wire;

use amphi_stanza::{StreamEvent, XmlError};

pub(crate) use features::Features;
pub(crate) use outbox::Outbox;
pub use outbox::QueueLimits;
pub(crate) use outlet::Outlet;

/// What happened to the connection that carries a stream.
#[derive(Debug)]
pub enum Input {
    /// The connection is there; for an initiator after `Connect`, for an acceptor never needed.
    Connected,
    /// The TLS handshake asked for by `StartTls` is done. The reader must have been cleared before it.
    Secured {
        /// Whether the certificate of the other side proves the domain we want to talk to. An acceptor asks its
        /// `PeerCheck` instead.
        certificate_ok: bool,
    },
    /// The next event of the stream reader. Outputs must be drained before the reader is asked again, because one of
    /// them may be `Restart`.
    Event(StreamEvent),
    /// The stream reader refused the bytes.
    Invalid(XmlError),
    /// Bytes arrived that may hold no element, such as a keep-alive space.
    Received,
    /// The connection ended or could not be made.
    Closed,
    /// A deadline passed.
    Tick,
}
