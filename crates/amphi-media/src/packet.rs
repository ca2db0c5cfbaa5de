//! The packet that all receivers of a publisher share.

use std::time::Instant;

use bytes::Bytes;

use crate::codec::Frame;
use crate::ids::{MediaKind, SourceId};

/// Audio level of a packet (RFC 6464).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// 0 (loudest) to 127 (silence), in -dBov.
    pub level: u8,
    /// Whether the sender thinks that it is speech.
    pub voice: bool,
}

/// One packet of a publisher: opened, freed of padding and RTX, parsed once. Immutable, behind an `Arc`.
#[derive(Clone, Debug)]
pub struct MediaPacket {
    /// Whose it is.
    pub source: SourceId,
    /// Audio or video.
    pub kind: MediaKind,
    /// Encoding of the source; 0 is the lowest.
    pub encoding: u8,
    /// SSRC as received (for RTX: of the original).
    pub ssrc: u32,
    /// Payload type as received (for RTX: of the original).
    pub payload_type: u8,
    /// Marker bit as received.
    pub marker: bool,
    /// Sequence number as received, unwrapped.
    pub seq: u64,
    /// RTP timestamp as received.
    pub timestamp: u32,
    /// When it came.
    pub arrival: Instant,
    /// Extension RFC 6464.
    pub audio_level: Option<AudioLevel>,
    /// Extension `urn:3gpp:video-orientation`, as is.
    pub orientation: Option<u8>,
    /// Extension dependency descriptor as received; [`Frame`] holds it parsed.
    pub dependency_descriptor: Option<Bytes>,
    /// What the codec's headers say.
    pub frame: Frame,
    /// Payload, without padding.
    pub payload: Bytes,
}
