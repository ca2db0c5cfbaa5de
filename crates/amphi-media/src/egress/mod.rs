//! One receiver's way out: numbers, feedback, sealing (`spec/bridge.md` 4.3, 9.5).
//!
//! ```text
//! Projected + MediaPacket ─► Head (once per packet and header layout)
//!                              │ per receiver: Numbers of its slot, transport-wide number
//!                              ▼
//!                        Head::seal ─► Run (datagrams of one destination for one system call)
//! ```
//!
//! A [`Receiver`] is what a shard keeps for each endpoint that receives. It works on packets that all share and holds no packets itself. Streams
//! are not projected here, and nothing is sent: the shard offers packets, hands [`Run`]s to a socket and RTCP to [`Receiver::on_control`].

mod audio;
mod head;
mod receiver;
mod roles;
mod run;
#[cfg(test)]
mod tests;

pub use audio::{AudioPacket, Line, LineNumbers};
pub use head::Head;
pub use receiver::{Asked, Receiver, ReceiverConfig, VideoSlot};
pub use run::{MAX_RUN, MAX_SEGMENTS, Run};

use std::sync::Arc;

use crate::ids::EndpointId;
use crate::packet::MediaPacket;
use crate::projection::{Projected, StreamKey};

/// A packet of a stream, as all its receivers share it.
#[derive(Debug)]
pub struct StreamPacket {
    /// The stream.
    pub stream: StreamKey,
    /// Its numbers there.
    pub projected: Projected,
    /// The packet.
    pub packet: Arc<MediaPacket>,
}

/// A packet as relays get it: of every encoding, in the source's own numbers (`spec/bridge.md` 5.3).
#[derive(Debug)]
pub struct RawPacket {
    /// Who sends it.
    pub owner: EndpointId,
    /// The mesh that it came from; none: from here.
    pub mesh: Option<u32>,
    /// The packet.
    pub packet: Arc<MediaPacket>,
    /// Its numbers.
    pub numbers: LineNumbers,
    /// SSRC of retransmissions.
    pub rtx: Option<u32>,
}
