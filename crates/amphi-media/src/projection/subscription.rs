//! One receiver's slot: which stream it follows, and how its own numbers go on (`spec/bridge.md` 4.6.2 to 4.6.4, 4.8).

use std::time::Instant;

use super::{Projected, StreamKey};
use crate::ids::{MediaKind, SourceId};
use crate::packet::MediaPacket;

/// What is added to a stream's numbers to make a receiver's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// To the sequence number.
    pub seq: u64,
    /// To the RTP timestamp.
    pub timestamp: u32,
    /// To the picture id, modulo 2^15.
    pub picture_id: u16,
    /// To the frame number.
    pub frame_number: u16,
    /// To TL0PICIDX.
    pub tl0: u8,
    /// To template ids, modulo 64.
    pub template: u8,
}

impl Offsets {
    /// A receiver's numbers of a packet.
    #[inline]
    pub fn apply(&self, packet: &Projected) -> Numbers {
        Numbers {
            seq: packet.seq.wrapping_add(self.seq),
            timestamp: packet.timestamp.wrapping_add(self.timestamp),
            picture_id: packet.picture_id.wrapping_add(self.picture_id) & 0x7fff,
            frame_number: packet.frame_number.wrapping_add(self.frame_number),
            tl0: packet.tl0.wrapping_add(self.tl0),
            template_shift: self.template,
            joined: false,
        }
    }
}

/// The numbers with which a packet is sent to a receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Sequence number, unwrapped: the low 16 bits go on the wire, the rest is SRTP's rollover counter.
    pub seq: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Picture id of 15 bits.
    pub picture_id: u16,
    /// Frame number of the dependency descriptor.
    pub frame_number: u16,
    /// TL0PICIDX.
    pub tl0: u8,
    /// What is added to template ids in the bytes of `Projected::descriptor`.
    pub template_shift: u8,
    /// The receiver begins a stream with this packet: [`super::Runs::begin`] is to be told.
    pub joined: bool,
}

/// What was sent last: where the next stream goes on.
#[derive(Clone, Copy, Debug)]
struct Last {
    seq: u64,
    at: Instant,
    /// Sequence number as received of the latest packet sent.
    source_seq: u64,
    source: SourceId,
    /// Receiver's timestamp less the source's.
    source_timestamp: u32,
    timestamp: u32,
    picture_id: u16,
    frame_number: u16,
    /// Receiver's frame number less the source's.
    source_frame: u16,
    encoding: u8,
    tl0: u8,
    /// Receiver's TL0PICIDX less the source's.
    source_tl0: u8,
    /// Receiver's template ids less the source's.
    source_template: u8,
    /// The template id after the last structure that was sent.
    next_template: u8,
    /// Whether the last packet ended its picture.
    ended: bool,
}

/// A receiver's slot. Its output numbers never repeat and never go back, whatever streams and sources it follows.
#[derive(Clone, Debug, Default)]
pub struct Subscription {
    current: Option<StreamKey>,
    pending: Option<StreamKey>,
    stopover: Option<StreamKey>,
    offsets: Offsets,
    /// First sequence number of the current stream that is ours.
    from: u64,
    last: Option<Last>,
}

impl Subscription {
    /// A slot on which nothing was sent.
    pub fn new() -> Self {
        Self::default()
    }

    /// The stream that is followed.
    pub fn current(&self) -> Option<StreamKey> {
        self.current
    }

    /// The stream that is waited for.
    pub fn pending(&self) -> Option<StreamKey> {
        self.pending
    }

    /// Follows a stream from its next switch point on; until then the present one goes on. `None` ends what is sent and waited for.
    pub fn switch_to(&mut self, stream: Option<StreamKey>) {
        self.stopover = None;
        self.pending = stream.filter(|s| self.current != Some(*s));
        if stream.is_none() {
            self.current = None;
        }
    }
}

impl Subscription {
    /// As [`Self::switch_to`], with another stream to be followed in between, as soon as that is possible ([`super::stopover`]).
    pub fn switch_via(&mut self, stopover: StreamKey, stream: StreamKey) {
        unreachable!("{stopover:?}{stream:?}")
    }

    /// Offers a packet of a stream that this receiver waits for (pending or stopover).
    #[inline]
    pub fn join(
        &mut self,
        now: Instant,
        stream: StreamKey,
        projected: &Projected,
        packet: &MediaPacket,
    ) -> Option<Numbers> {
        unreachable!("{now:?}{stream:?}{projected:?}{packet:?}")
    }

    /// Offers a packet of the stream that this receiver follows; of any other nothing is sent.
    #[inline]
    pub fn accept(
        &mut self,
        now: Instant,
        stream: StreamKey,
        projected: &Projected,
        packet: &MediaPacket,
    ) -> Option<Numbers> {
        unreachable!("{now:?}{stream:?}{projected:?}{packet:?}")
    }

    /// Source and encoding that was sent last, and what is added to its RTP timestamps: for sender reports.
    pub fn timestamp_offset(&self) -> Option<(SourceId, u8, u32)> {
        self.last.map(|l| (l.source, l.encoding, l.source_timestamp))
    }

    /// The highest sequence number sent, unwrapped.
    pub fn last_seq(&self) -> Option<u64> {
        self.last.map(|l| l.seq)
    }
}
