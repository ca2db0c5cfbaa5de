//! Bad networks for tests, without privileges: a [`Link`] loses, delays, reorders and limits datagrams; a [`Proxy`] puts two of them between every
//! client and a server. Both are without IO; the binary of this crate runs a proxy on real sockets. Not part of what is deployed.

mod conditions;
mod link;
mod proxy;

pub use conditions::{Conditions, ConditionsError};
pub use link::Link;
pub use proxy::{Direction, Proxy};
