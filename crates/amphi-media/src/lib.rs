//! Media without IO: packets, protection, layers, feedback, bandwidth, allocation, speakers.
//!
//! ```text
//! datagram ─► srtp ─► rtp ─► receive (RTX, NACK, statistics) ─► codec ─► MediaPacket
//!                                                                          │ once per stream
//!                                                                     projection
//!                                                                          │ once per receiver
//! datagram ◄─ srtp ◄──────────────── egress (numbers, feedback, bwe) ◄─────┘
//! ```
//!
//! Decisions (`speech`, `allocation`, `slots`, gathered in `conference`) are made apart from packets, by classes of receivers. Nothing here
//! knows sockets, clocks or XMPP.

pub mod allocation;
pub mod bwe;
pub mod codec;
pub mod conference;
pub mod egress;
pub mod ids;
pub mod keyframe;
pub mod packet;
pub mod projection;
pub mod receive;
pub mod red;
pub mod rtcp;
pub mod rtp;
pub mod send;
pub mod seq;
pub mod slots;
pub mod source;
pub mod speech;
pub mod srtp;
