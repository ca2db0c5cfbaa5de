//! Sans-IO XMPP streams: client and server side, SASL, bind, stream management, framings, server-to-server.
//!
//! Everything here takes elements and time and returns elements and events. Sockets, TLS and tasks belong to the IO
//! crates; rooms and routing to others.

pub mod bosh;
pub mod c2s;
pub mod client;
pub mod link;
pub mod s2s;
pub mod sasl;
pub mod services;
pub mod sm;
mod stream_error;

pub use stream_error::{StreamCondition, StreamError};
