//! The client's side of a stream to a server over TCP (RFC 6120, XEP-0198; `spec/focus.md` 1.1): login, bind, and
//! resumption after a lost connection. Used by the focus and by load generators; it knows no room and no IQ but bind.

mod config;
mod event;
mod output;
mod stream;

pub use crate::link::{Input, QueueLimits};
pub use config::{ClientConfig, Credentials};
pub use event::ClientEvent;
pub use output::{ClientOutput, CloseReason, NotSent};
pub use stream::ClientStream;
