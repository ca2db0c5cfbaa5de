//! BOSH (XEP-0124, XEP-0206): an XMPP stream in pairs of HTTP requests and answers, the server's part.
//!
//! [`BoshSession`] puts requests in order, hands out the elements in them, and decides which request is answered when and
//! with what. It knows neither HTTP nor what the elements mean: [`crate::c2s::Negotiation`] does, fed by the IO layer.

mod body;
mod session;
#[cfg(test)]
mod tests;

pub use body::{BoshCondition, terminate_body};
pub use session::{BoshConfig, BoshError, BoshSession, Ended, Output, RequestId};
