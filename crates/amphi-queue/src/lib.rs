//! The visitor queue: where an audience waits until its meeting is live (`spec/signaling.md` 4.11).
//!
//! Sans-IO. [`Session`] is the server's side of one STOMP 1.2 connection, [`Destination`] what may be subscribed to, [`Hall`]
//! the people who wait for one meeting, [`list`] the texts of the visitors' list. The crate knows no sockets, no tokens and
//! no rooms; `amphi-signal` brings these together.

mod destination;
mod frame;
mod hall;
pub mod list;
mod session;

pub use destination::{BadDestination, Destination, Endpoint};
pub use frame::{Command, Frame, FrameError, FrameReader, FrameWriter, Limits};
pub use hall::{Hall, LiveRule, RoomState, Spread, live_message, state_message};
pub use session::{Input, Output, Session, SessionConfig};
