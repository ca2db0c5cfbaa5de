//! RTCP (RFC 3550, RFC 4585, RFC 5104, RFC 5506, transport-wide feedback, REMB): a compound packet as an iterator, and writers for what the bridge
//! originates. What packets mean is the business of `receive`, `send`, `keyframe` and `bwe`; who may see them that of the media plane.

mod compound;
mod feedback;
mod report;
mod transport_cc;
mod write;

pub use compound::{Compound, Packet, compound};
pub use feedback::{Fir, FirEntry, Nack, Remb};
pub use report::{Bye, ReceiverReport, ReportBlock, Sdes, SdesItem, SenderInfo, SenderReport};
pub use transport_cc::{
    Arrival, MAX_STATUSES, PacketStatus, TICK_MICROS, TransportCc, TransportCcFeedback, TransportCcStatuses,
};
pub use write::{MAX_REPORT_BLOCKS, Writer};

/// Packet types (RFC 3550 section 12.1, RFC 4585 section 6.1).
mod packet_type {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SDES: u8 = 202;
    pub(super) const BYE: u8 = 203;
    pub(super) const APP: u8 = 204;
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
    pub(super) const EXTENDED_REPORT: u8 = 207;
}

/// Formats of feedback packets.
mod format {
    pub(super) const NACK: u8 = 1;
    pub(super) const TRANSPORT_CC: u8 = 15;
    pub(super) const PLI: u8 = 1;
    pub(super) const FIR: u8 = 4;
    pub(super) const APPLICATION: u8 = 15;
}

/// Why a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// Shorter than its header says.
    #[error("packet is truncated")]
    Truncated,
    /// Not version 2.
    #[error("version is not 2")]
    Version,
    /// Padding that does not fit.
    #[error("padding does not fit the packet")]
    Padding,
    /// A transport-wide feedback with more packets than [`MAX_STATUSES`].
    #[error("feedback reports on {0} packets")]
    TooManyStatuses(u16),
    /// More report blocks, SSRCs or bytes than the format can count.
    #[error("too much for one packet")]
    TooLong,
}

fn be16(data: &[u8], at: usize) -> Result<u16, RtcpError> {
    data.get(at..).and_then(|d| d.first_chunk()).map(|b| u16::from_be_bytes(*b)).ok_or(RtcpError::Truncated)
}

fn be32(data: &[u8], at: usize) -> Result<u32, RtcpError> {
    data.get(at..).and_then(|d| d.first_chunk()).map(|b| u32::from_be_bytes(*b)).ok_or(RtcpError::Truncated)
}

#[cfg(test)]
mod tests;
