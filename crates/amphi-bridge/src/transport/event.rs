//! What goes into a pool and comes out of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use amphi_media::ids::EndpointId;

use super::{Counters, Failure, Keys, LocalTransport, Peer, RemoteTransport, Restart, SendError};

/// Bounds of a pool.
#[derive(Clone, Debug)]
pub struct PoolLimits {
    /// Peers; more are refused. Default 20,000.
    pub peers: usize,
    /// 5-tuples of a peer; the oldest goes. Default 16.
    pub bindings: usize,
    /// How long after a peer was last heard on a 5-tuple a mere request of another peer, which may be forged, does not take it over. Default
    /// 8 s. An answer to a check takes over at once.
    pub binding_hold: Duration,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { peers: 20_000, bindings: 16, binding_hold: Duration::from_secs(8) }
    }
}

/// What control wants.
#[derive(Debug)]
pub enum Command {
    /// Take this peer. An id in use is replaced.
    Add {
        /// Its name from now.
        id: EndpointId,
        /// The peer, made by control so that its description was there at once.
        peer: Box<Peer>,
    },
    /// The other side's description or an update of it.
    SetRemote {
        /// Whose.
        id: EndpointId,
        /// The description.
        remote: Box<RemoteTransport>,
    },
    /// Restart ICE in place; [`Event::Restart`] answers.
    Restart {
        /// Whose.
        id: EndpointId,
    },
    /// Send a message on the channel.
    Send {
        /// Whose.
        id: EndpointId,
        /// The message; shared messages are shared until they are sent.
        text: Arc<str>,
    },
    /// Close (the other side is told) and forget. No events follow but [`Event::Unbound`].
    Remove {
        /// Whose.
        id: EndpointId,
    },
}

/// What happened to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Datagrams from `remote` to `local` are this peer's from now. For shards.
    Bound {
        /// Our address.
        local: SocketAddr,
        /// The other side.
        remote: SocketAddr,
        /// It answered a check of ours from there. Said anew when that happens after the peer was bound.
        proven: bool,
    },
    /// They are not any more. For shards.
    Unbound {
        /// Our address.
        local: SocketAddr,
        /// The other side.
        remote: SocketAddr,
    },
    /// First valid pair. For control.
    Connected {
        /// Our address.
        local: SocketAddr,
        /// The other side.
        remote: SocketAddr,
    },
    /// The pair to send on. For shards.
    Selected {
        /// Our address.
        local: SocketAddr,
        /// The other side.
        remote: SocketAddr,
    },
    /// Keys for SRTP. For shards.
    Keys(Box<Keys>),
    /// The channel is open. For control.
    ChannelOpen {
        /// Its label.
        label: String,
        /// Its protocol.
        protocol: String,
    },
    /// A message on the channel. For control.
    ChannelMessage(String),
    /// The channel is gone. For control.
    ChannelClosed,
    /// The other side is there; at most one a second. For control.
    Activity,
    /// Answer to [`Command::Restart`]. For control.
    Restart(Restart),
    /// A restart was done. For control.
    Restarted(Box<LocalTransport>),
    /// A restart was given up. For control.
    RestartAbandoned,
    /// A [`Command::Send`] was not done. For control.
    SendFailed(SendError),
    /// The peer ended and is forgotten. For control.
    Failed(Failure),
    /// A [`Command::Add`] above [`PoolLimits::peers`] was refused. For control.
    Refused,
}

/// What a pool counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolCounters {
    /// Datagrams that were nobody's.
    pub unroutable: u64,
    /// 5-tuples that went from one peer to another.
    pub rebound: u64,
    /// Peers whose code panicked.
    pub broken: u64,
    /// Sums of the peers that are gone.
    pub peers: Counters,
}
