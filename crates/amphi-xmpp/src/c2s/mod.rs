//! Client streams, server side: from the first header to a bound address or a request to resume.
//!
//! [`Negotiation`] lives for those few steps and is dropped after them; what remains of a stream is the IO layer's and
//! the outbox of [`crate::sm`]. It knows no accounts: those are behind [`Backend`].

mod backend;
mod framing;
mod host;
mod negotiation;
mod params;
#[cfg(test)]
mod tests;

pub use backend::{Backend, Login, Verdict};
pub use framing::{CLOSE, Framing, Security, WHITESPACE_CLOSE};
pub use host::{HostInfo, HostProfile, ResourcePolicy, Resumption, StartTlsPolicy};
pub use negotiation::{Bound, Negotiation, NegotiationLimits, Output, ResumeRequest};
pub use params::UrlParams;
