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

mod check;
pub mod brewery;
pub mod colibri;
mod conference;
mod describe;
mod formats;
mod link;
pub mod load;
pub mod message;
mod refusal;
pub mod settings;
mod shared;
pub mod shutdown;

pub use colibri::{Colibri, Figures, Input, NotAdmitted};
pub use link::SocketId;
pub use refusal::Refusal;
pub use shared::{Output, Peers, Shared, Totals};
