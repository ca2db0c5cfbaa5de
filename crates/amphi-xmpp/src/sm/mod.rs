//! Stream management (XEP-0198), the server's part: elements, the queue of one connection, and counters.
//!
//! Who may resume what, how long a broken stream is kept and what happens when a queue is too long is decided by the IO
//! layer.

mod elements;
mod outbox;

pub use elements::{SmElement, Version, ack, enabled, failed, request, resumed};
pub use outbox::{Entry, Inbound, Outbox, SmError};
