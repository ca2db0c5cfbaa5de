//! Media sessions: bridges, where each member's endpoint is, offers and answers, sources (`spec/focus.md` 4 to 6). The
//! signaling half tells who is there; this half gives them sessions. It sends nothing but IQs, and its state hangs on the
//! conference.

mod brewery;
mod bridge;
mod bridges;
mod cascade;
mod codecs;
pub(crate) mod config;
mod drive;
pub(crate) mod facts;
mod features;
mod formats;
mod invite;
mod jingle;
mod members;
pub(crate) mod mute;
mod offer;
mod presence;
mod react;
mod select;
mod signal;
mod sources;
pub(crate) mod state;
mod topology;
mod window;

pub(crate) use state::{MediaCore, RoomMedia};
