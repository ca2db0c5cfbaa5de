//! Control plane: colibri2, conferences, the bridge channel, brewery presence, REST.
//!
//! ```text
//! brewery ──requests──► colibri ──► conference ◄──► decisions (amphi_media::conference)
//!    ▲                     │ ▲          │
//!    └──────answers────────┘ │          ▼
//!                     events └── media plane, WebSockets
//! ```
//!
//! Everything but [`run`] and the HTTP parts is without IO.

pub mod addresses;
pub mod brewery;
mod channel;
mod check;
pub mod colibri;
mod conference;
mod describe;
mod dial;
mod formats;
mod handle;
pub mod health;
mod link;
pub mod load;
pub mod message;
mod refusal;
pub mod rest;
pub mod run;
pub mod settings;
mod shared;
pub mod shutdown;
pub mod stats;
#[cfg(test)]
mod tests;
pub mod websocket;

pub use colibri::{Colibri, Figures, Input, NotAdmitted};
pub use handle::BridgeHandle;
pub use link::SocketId;
pub use refusal::Refusal;
pub use run::{MediaPlane, NodeLink, Parts, prepare, start};
pub use shared::{Output, Peers, Shared, Totals};
