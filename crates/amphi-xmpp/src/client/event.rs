//! What a service account hears from its node, whatever carries it: a stream, or the memory of one process.

use amphi_stanza::{FullJid, Stanza};

/// One thing that happened to a login.
#[derive(Debug)]
pub enum ClientEvent {
    /// Logged in and bound.
    Up {
        /// Our address.
        jid: FullJid,
        /// Whether the earlier session goes on, with nothing lost; otherwise rooms must be joined again.
        resumed: bool,
    },
    /// The connection broke; it is made again.
    Down,
    /// A stanza from the node.
    Stanza(Stanza),
}
