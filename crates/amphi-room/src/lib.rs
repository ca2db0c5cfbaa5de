//! Rooms: the MUC, its policies, and the side components that act for a room.
//!
//! Sans-IO. A [`Hub`] owns a share of a node's rooms (the share that hashes to its worker) and nothing else does. It takes
//! [`Input`]s, returns [`Output`]s and says when it wants to be called again. It knows connections only as [`Session`]
//! values, never as sockets, and never walks the audience: a broadcast is one output, and the connection shards know
//! which of their connections belong to which [`Group`] of which room.

mod hub;
mod session;

pub use hub::{Broadcast, Group, Groups, Hub, Input, Origin, Output, PeerState, RoomId};
pub use session::{Claims, ConnId, Session};
