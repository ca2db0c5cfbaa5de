//! Client streams, server side: from the first header to a bound address or a request to resume.
//!
//! [`Negotiation`] lives for those few steps and is dropped after them; what remains of a stream is the IO layer's and
//! the outbox of [`crate::sm`]. It knows no accounts: those are behind [`Backend`].
//!
//! The IO layer's part: read with [`NegotiationLimits::element_bytes`] as limit until bound, give up after a time of its
//! own, write consecutive [`Output::Send`]s at once, and, once bound, write the announcement
//! ([`crate::services::HostServices::announcement`]) and the bind result in one go.

mod backend;
mod bind;
mod framing;
mod host;
mod login;
mod negotiation;
mod output;
mod params;
#[cfg(test)]
mod tests;

pub use backend::{Backend, Login, Verdict};
pub use framing::{CLOSE, Framing, STREAM_END, Security};
pub use host::{HostInfo, HostProfile, ResourcePolicy, Resumption, StartTlsPolicy};
pub use negotiation::Negotiation;
pub use output::{Bound, NegotiationLimits, Output, ResumeRequest};
pub use params::UrlParams;
