//! Rooms: the MUC, its policies, and the side components that act for a room.
//!
//! Sans-IO. A [`Hub`] owns a share of a node's rooms (the share that hashes to its worker) and nothing else does. It takes
//! [`Input`]s, returns [`Output`]s and says when it wants to be called again. It knows connections only as [`Session`]
//! values, never as sockets, and never walks the audience: a broadcast is one output, and the connection shards know
//! which of their connections belong to which [`Group`] of which room.
//!
//! # What the IO layer does
//!
//! - It maps the `to` of what clients send with [`to_real`], asks [`Hub::room_of`] which room a stanza is about and gives it
//!   to that room's hub. What is about no room it answers itself; [`Hub::answer_service`] does so for MUC services.
//! - It checks that `from` on a link belongs to the peer. Local connections may write any `from`: it is not looked at.
//! - It does the outputs of one input in order. Everything written for local connections has virtual addresses, everything
//!   that is routed has real ones and must not be mapped again.
//! - Errors that come back from a visitor node to the full address of a participant are dropped, not delivered.
//!
//! The rules of a join are in `join.rs`, in the order in which they are asked; each has a file of its own.

pub mod address;
mod admin;
pub mod config;
mod context;
mod destroy;
mod disco;
mod error;
mod form;
mod history;
mod hub;
mod iq;
mod join;
mod knock;
mod leave;
mod live;
mod lobby;
mod lock;
mod lua_pattern;
mod main_side;
mod max_occupants;
mod message;
mod metadata;
mod nick;
mod node_side;
mod occupant;
mod operator;
mod owner;
mod password;
mod presence;
mod private;
mod rate;
mod room;
mod roster;
pub mod seats;
mod services;
mod session;
mod side;
mod token;
mod waiting;

pub use address::{to_real, to_virtual};
pub use config::{
    AddressList, ChatBudget, LobbyConfig, MainConfig, Mapper, MucConfig, MucKind, NodeConfig, Role, RoomLimits,
    TokenPolicy, VisitorNodeConfig,
};
pub use error::RoomError;
pub use hub::{Broadcast, Counters, Group, Groups, Hub, Input, LiveState, Origin, Output, PeerState, RoomId};
pub use operator::{Act, ActError, Hand, OccupantStatus, RoomStatus, Told};
pub use services::{ExternalService, ServiceAttributes};
pub use session::{Claims, ConnId, Session};
pub use token::{is_moderator, token_fits};
