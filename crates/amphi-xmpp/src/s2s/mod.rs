//! Streams between servers (RFC 6120, XEP-0178, XEP-0220, XEP-0288, XEP-0198; `spec/signaling.md` 4.14): [`Incoming`]
//! accepts them, [`Outgoing`] opens them. Both are sans-IO: the caller owns the socket, TLS and the stream reader, feeds
//! [`Input`]s and carries out the outputs. Neither knows a route or a room; the router of the node uses them.
//!
//! The IO layer's part: limits of the reader (small until `Authenticated`), one event of the reader at a time with the
//! outputs carried out in between, [`Input::Received`] for bytes without an event, and `set_congested` when its write
//! buffer is full.

mod config;
mod dialback;
mod incoming;
mod outgoing;
mod pair;

pub use crate::link::{Input, QueueLimits};
pub use config::{IncomingConfig, OutgoingConfig, Purpose, Tls};
pub use dialback::{DialbackOutcome, DialbackSecret, VerifyRequest};
pub use incoming::{Incoming, IncomingOutput, PeerCheck, StreamIds, Suspended, random_ids};
pub use outgoing::{FailReason, Outgoing, OutgoingOutput, SendError};
pub use pair::Pair;

/// Namespace of our own extensions between servers: several domain pairs on one stream.
///
/// Offered as the feature `<pairs/>`. After authentication the initiator sends `<pairs>` with a `<pair from='' to=''/>`
/// for each, and is answered with a `<pairs>` of those accepted. Stanzas of accepted pairs then share the stream, its
/// order and its acknowledgements. More pairs may follow at any time.
pub const PAIRS_NS: &str = "urn:amphi:s2s:0";

/// Text of the stream error for domains that are not on the list, as the reference has it.
pub const RESTRICTED: &str = "Communication with this domain is restricted";
