//! BOSH (XEP-0124, XEP-0206): an XMPP stream in pairs of HTTP requests and answers, the server's part.
//!
//! [`BoshSession`] puts requests in order, hands out the elements in them, and decides which request is answered when and
//! with what. It knows neither HTTP nor what the elements mean: [`crate::c2s::Negotiation`] does, fed by the IO layer.
//!
//! The IO layer's loop: after every call, take outputs until there are none, and push what each of them causes before
//! taking the next. An answer is put together only once nothing else is left to do, so whatever an element causes at once
//! travels in the answer to the request that brought it, or to the one before.

mod body;
mod output;
mod session;
#[cfg(test)]
mod tests;

pub use body::{BoshCondition, terminate_body};
pub use output::{BoshConfig, BoshError, Ended, Output, RequestId};
pub use session::BoshSession;
