//! The media bridge.
//!
//! ```text
//! control (colibri2, bridge channel, brewery)      tokio
//!    │ commands          ▲ events
//!    ▼                   │
//! transports (ICE, DTLS, SCTP)  ──keys──►  media plane (RTP, one pinned thread per shard)
//! ```
//!
//! Rules of media are in `amphi-media`, wire forms of control in `amphi-jingle`.

pub mod control;
pub mod plane;
pub mod transport;
