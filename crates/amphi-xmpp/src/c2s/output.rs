//! What a negotiation gives to its caller, and its bounds.

use std::sync::Arc;

use bytes::Bytes;

use amphi_stanza::FullJid;

use super::{HostProfile, UrlParams};
use crate::sasl::Mechanism;
use crate::{StreamError, sm};

/// Bounds on a stream that has not proved who it is. The caller adds a time limit for the whole negotiation (30 s) and
/// gives its reader `element_bytes` as limit until [`Output::Bound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NegotiationLimits {
    /// Bytes of one element. 10 KiB; a token is not among them, it comes in the URL.
    pub element_bytes: usize,
    /// Headers and elements altogether. 16.
    pub steps: u32,
    /// Failed logins before the stream is closed. 3.
    pub failures: u32,
}

impl Default for NegotiationLimits {
    fn default() -> Self {
        Self { element_bytes: 10 * 1024, steps: 16, failures: 3 }
    }
}

/// A stream that has its address.
#[derive(Debug)]
pub struct Bound<I> {
    /// Its address. If another stream has it, that one is closed with `conflict` (RFC 6120 §7.7.2.2).
    pub jid: FullJid,
    /// Its host.
    pub host: Arc<HostProfile>,
    /// What the login found out.
    pub identity: I,
    /// What the URL said.
    pub params: UrlParams,
    /// How the user logged in.
    pub mechanism: Mechanism,
    /// The answer to bind. Not sent yet: the service announcement goes out before it (`spec/signaling.md` 2.7).
    pub bind_result: Bytes,
}

/// A request to resume an earlier stream.
#[derive(Debug)]
pub struct ResumeRequest<I> {
    /// Host.
    pub host: Arc<HostProfile>,
    /// Local part that this login gave; ids are valid only under the same one.
    pub localpart: String,
    /// Resumption id.
    pub previd: String,
    /// Stanzas that the client has handled.
    pub h: u32,
    /// Which version of stream management the client speaks; the answer must use the same.
    pub version: sm::Version,
    /// What the new login found out; it replaces the old (a refreshed token).
    pub identity: I,
    /// What the new URL said.
    pub params: UrlParams,
}

/// What must happen next.
#[derive(Debug)]
pub enum Output<I> {
    /// Send one complete element (or a TCP stream's header or end). Consecutive ones belong into one write.
    Send(Bytes),
    /// Start TLS after what was sent; drop what was received in clear, then call [`Negotiation::on_tls`](super::Negotiation::on_tls).
    StartTls,
    /// A header comes next.
    Restart,
    /// Done: write the announcement, then `bind_result`, and drop the negotiation.
    Bound(Box<Bound<I>>),
    /// Resume, and drop the negotiation; or call [`Negotiation::resume_failed`](super::Negotiation::resume_failed).
    Resume(Box<ResumeRequest<I>>),
    /// Close the transport once everything was sent. The stream error, if any, is among it.
    Close {
        /// Why, if something went wrong.
        error: Option<StreamError>,
    },
}
