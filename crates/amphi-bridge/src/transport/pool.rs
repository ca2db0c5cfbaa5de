//! All peers of one transport thread: who gets a datagram, whose turn it is, and what they say, in batches.
//!
//! The thread that owns a pool owns its sockets and clock too: it gives datagrams and commands in, and after that drains
//! [`Pool::transmits`] and [`Pool::events`]. Shards learn 5-tuples, pairs and keys from events, control the rest.

use std::net::SocketAddr;
use std::time::Instant;

use amphi_media::ids::EndpointId;

use super::{Failure, Keys, LocalTransport, Peer, Receive, RemoteTransport, Transmit};

/// Bounds of a pool.
#[derive(Clone, Debug)]
pub struct PoolLimits {
    /// Peers; more are refused. Default 20,000.
    pub peers: usize,
    /// How long a 5-tuple stays with a peer that was heard there, while another peer's checks come from it unanswered. Default 8 s.
    pub binding: std::time::Duration,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { peers: 20_000, binding: std::time::Duration::from_secs(8) }
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
        text: std::sync::Arc<str>,
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
    Restart(super::Restart),
    /// A restart was done. For control.
    Restarted(Box<LocalTransport>),
    /// A restart was given up. For control.
    RestartAbandoned,
    /// A [`Command::Send`] was not done. For control.
    SendFailed(super::SendError),
    /// The peer ended and is forgotten. For control.
    Failed(Failure),
    /// A [`Command::Add`] above [`PoolLimits::peers`] was refused. For control.
    Refused,
}

/// All peers of one transport thread.
#[derive(Debug)]
pub struct Pool {
    limits: PoolLimits,
    transmits: Vec<Transmit>,
    events: Vec<(EndpointId, Event)>,
}

impl Pool {
    /// A pool without peers.
    pub fn new(limits: PoolLimits) -> Self {
        Self { limits, transmits: Vec::new(), events: Vec::new() }
    }

    /// Does what control wants.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        let _ = (now, command, &self.limits);
    }

    /// Takes a STUN or DTLS datagram. What is nobody's is dropped.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Receive<'_>) {
        let _ = (now, datagram);
    }

    /// Lets those peers work whose time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When [`Pool::handle_timeout`] is to be called at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Datagrams to send, in order.
    pub fn transmits(&mut self) -> std::vec::Drain<'_, Transmit> {
        self.transmits.drain(..)
    }

    /// What happened, in order.
    pub fn events(&mut self) -> std::vec::Drain<'_, (EndpointId, Event)> {
        self.events.drain(..)
    }

    /// Peers in the pool.
    pub fn len(&self) -> usize {
        0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
