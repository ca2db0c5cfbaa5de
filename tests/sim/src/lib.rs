//! The simulated world: a main node, visitor nodes, the focus and clients as sans-IO cores on one thread, in virtual time,
//! over a network that delays, breaks and loses as a seed says.
//!
//! A [`Schedule`] is a list of things that happen to a [`World`]; after it comes quiet time, and then [`check::settled`]
//! compares what everybody sees. There are no sockets, no threads and no real time in here; the same seed gives the same
//! run. Called by the tests of this crate alone.

pub mod check;
mod client;
mod config;
mod node;
mod pipe;
mod play;
mod schedule;
mod world;

pub use config::Options;
pub use play::{PlayError, play, play_with, replay};
pub use schedule::{Loss, Op, Schedule};
pub use world::World;
