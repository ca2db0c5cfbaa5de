//! The surface between rooms and the IO layer.

use std::sync::Arc;
use std::time::Instant;

use amphi_stanza::{Frame, Jid, Stanza};
use bytes::Bytes;

use crate::{ConnId, Session};

/// A room of one hub, for the IO layer's tables. Never reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub u64);

/// Who sent a stanza.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A connection of this node. Its `from` attribute, if any, is ignored: [`Session::jid`] is the sender.
    Local(Arc<Session>),
    /// A link; the IO layer has checked that `from` belongs to the peer's authenticated domain.
    Remote,
}

/// Whether stanzas to a remote domain can be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// The link is up. `fresh`: the peer lost what was sent before (no stream was resumed), so it must be told again.
    Up {
        /// Nothing sent earlier may be relied upon.
        fresh: bool,
    },
    /// The link is down; what is sent is lost or waits for resumption.
    Down,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A stanza for a room of this hub, or for a component that acts for one.
    Stanza {
        /// Sender.
        from: Origin,
        /// The `to` address in real form (tenant mapped: `[acme]demo@conference.meet.example`).
        to: Jid,
        /// As received.
        stanza: Stanza,
    },
    /// A connection has ended for good: closed by its owner, or not resumed in time. It leaves all its rooms.
    Gone {
        /// The connection.
        session: Arc<Session>,
    },
    /// A session was replaced: same connection id and address, new token or attributes.
    Changed {
        /// The new attributes.
        session: Arc<Session>,
    },
    /// A remote domain became reachable or unreachable.
    Peer {
        /// Domain, for example `conference.v1.meet.jitsi`.
        domain: String,
        /// Its state.
        state: PeerState,
    },
    /// The deadline of [`Hub::poll_timeout`] has come.
    Tick,
}

/// A part of a room's local occupants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Participants and moderators with a connection on this node.
    Stage,
    /// Visitors.
    Audience,
    /// The focus.
    Focus,
}

/// A set of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups(u8);

impl Groups {
    /// Everybody.
    pub const ALL: Self = Self(7);

    /// Just one group.
    pub const fn only(g: Group) -> Self {
        Self(1 << g as u8)
    }

    /// This set and one group more.
    pub const fn and(self, g: Group) -> Self {
        Self(self.0 | 1 << g as u8)
    }

    /// Whether `g` is in the set.
    pub const fn has(self, g: Group) -> bool {
        self.0 & 1 << g as u8 != 0
    }
}

/// The same stanza for many local connections.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// The room whose members receive it.
    pub room: RoomId,
    /// Which of them.
    pub to: Groups,
    /// Who gets it in another form, or not at all.
    pub except: Option<ConnId>,
    /// The bytes, with a hole for each receiver's address.
    pub frame: Arc<Frame>,
}

/// One thing to do, in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// From now on the connection belongs to a group of the room.
    Join {
        /// Room.
        room: RoomId,
        /// Connection.
        conn: ConnId,
        /// Group.
        group: Group,
    },
    /// The connection no longer belongs to the room.
    Leave {
        /// Room.
        room: RoomId,
        /// Connection.
        conn: ConnId,
    },
    /// Deliver to a part of the room.
    Broadcast(Broadcast),
    /// Deliver one stanza, complete with its `to`, to a connection.
    Send {
        /// Receiver.
        conn: ConnId,
        /// The stanza.
        stanza: Bytes,
    },
    /// Deliver frames (a roster, say) to a connection, each with its address filled in.
    SendFrames {
        /// Receiver.
        conn: ConnId,
        /// Frames in order.
        frames: Vec<Arc<Frame>>,
    },
    /// Route by `to`, in real form: a local connection by its full address, a local component, or a link.
    Route(Stanza),
    /// The room is gone; its id is not used again.
    Destroyed {
        /// Room.
        room: RoomId,
    },
}

/// A share of a node's rooms.
pub struct Hub {
    _now: Option<Instant>,
}
