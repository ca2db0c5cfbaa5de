//! One receiver's slot: which stream it follows, and how its own numbers go on (`spec/bridge.md` 4.6.2 to 4.6.4, 4.8).

use std::time::{Duration, Instant};

use super::encoding::Source;
use super::{Projected, StreamKey, next_timestamp};
use crate::codec::{Codec, Headers};
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
    /// Low bits of the sequence number as received of the latest packet sent.
    source_seq: u32,
    /// Whose numbers the differences below are of: a source that comes back with other SSRCs counts anew.
    ssrc: u32,
    /// Receiver's timestamp less the source's.
    source_timestamp: u32,
    timestamp: u32,
    picture_id: u16,
    /// Receiver's picture id less the source's.
    source_picture: u16,
    frame_number: u16,
    /// Receiver's frame number less the source's.
    source_frame: u16,
    encoding: u8,
    codec: Codec,
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

/// Nothing was sent for this time: anything is better.
const SILENCE: Duration = Duration::from_millis(500);

/// A receiver's slot. Its output numbers never repeat and never go back, whatever streams and sources it follows.
#[derive(Clone, Debug, Default)]
pub struct Subscription {
    current: Option<StreamKey>,
    pending: Option<StreamKey>,
    stopover: Option<StreamKey>,
    offsets: Offsets,
    /// First sequence number of the current stream that is ours.
    from: u64,
    /// A number was left out before the current stream: that of the rest of an unfinished frame.
    skipped: bool,
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

    /// As [`Self::switch_to`], with another stream to be followed in between, as soon as that is possible ([`super::stopover`]).
    pub fn switch_via(&mut self, stopover: StreamKey, stream: StreamKey) {
        self.switch_to(Some(stream));
        if self.current.is_some() && self.pending.is_some() {
            self.stopover = Some(stopover).filter(|s| self.current != Some(*s) && self.pending != Some(*s));
        }
    }

    /// The stream that is followed in between while [`Self::pending`] is waited for, if it was not reached yet.
    pub fn waiting_via(&self) -> Option<StreamKey> {
        self.stopover
    }

    /// Offers a packet of a stream that this receiver waits for (pending, or on the way to it). If it can begin there, it follows that stream from
    /// this packet on.
    #[inline]
    pub fn join(
        &mut self,
        now: Instant,
        stream: StreamKey,
        projected: &Projected,
        packet: &MediaPacket,
    ) -> Option<Numbers> {
        if self.pending != Some(stream) && self.stopover != Some(stream)
            || !projected.switch_in && projected.joinable == 0
        {
            return None;
        }
        let offsets = self.offsets_at(now, stream, projected, packet)?;
        if self.pending == Some(stream) {
            self.pending = None;
        }
        self.stopover = None;
        self.current = Some(stream);
        self.from = projected.seq;
        self.skipped = self.last.is_some_and(|last| !last.ended);
        self.offsets = offsets;
        let numbers = offsets.apply(projected);
        self.remember(now, &numbers, projected, packet);
        Some(Numbers { joined: true, ..numbers })
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
        if self.current != Some(stream) || projected.seq < self.from {
            return None;
        }
        let numbers = self.offsets.apply(projected);
        if self.last.is_none_or(|last| numbers.seq > last.seq) {
            self.remember(now, &numbers, projected, packet);
        }
        Some(numbers)
    }

    /// The offsets with which a stream is followed from this packet on; `None` if one cannot begin here.
    fn offsets_at(
        &self,
        now: Instant,
        stream: StreamKey,
        projected: &Projected,
        packet: &MediaPacket,
    ) -> Option<Offsets> {
        let Some(last) = &self.last else {
            // Below half of the range: a receiver that misses the first packets must not miss a turn of SRTP's rollover counter with them.
            let seq = (projected.seq & 0x7fff).wrapping_sub(projected.seq);
            return projected.switch_in.then_some(Offsets { seq, ..Offsets::default() });
        };
        let same = last.ssrc == packet.ssrc && last.codec == packet.frame.codec;
        let follows = |key: StreamKey| key.source == packet.source && key.target.encoding() == packet.encoding;
        // What was sent so far goes on in the same frames, only more or fewer of them.
        let within = same && self.current.is_some_and(follows) && follows(stream);
        if within && (packet.seq as u32).wrapping_sub(last.source_seq) as i32 <= 0 {
            return None;
        }
        let changes = within && self.current.is_some_and(|c| projected.joinable >> (c.target.0 & 63) & 1 == 1);
        if !changes && !projected.switch_in {
            return None;
        }
        // A better stream begins with what it can show first; who sees as much already waits for the rest.
        let lower = packet.encoding < stream.target.encoding() && packet.encoding <= last.encoding;
        let watching = self.current.is_some_and(|c| c.source == packet.source);
        if lower && watching && now.saturating_duration_since(last.at) < SILENCE {
            return None;
        }
        let source = Source::of(packet);
        let seq = last.seq + if last.ended { 1 } else { 2 };
        let elapsed = next_timestamp(last.timestamp, last.at, now, packet.kind);
        let linear = packet.timestamp.wrapping_add(last.source_timestamp);
        let ahead = (1..1 << 31).contains(&linear.wrapping_sub(last.timestamp));
        let next_picture = last.picture_id.wrapping_add(1);
        let (timestamp, picture_id, frame_number, tl0, template);
        if within {
            timestamp = linear;
            frame_number = source.frame_number.wrapping_add(last.source_frame);
            tl0 = source.tl0.wrapping_add(last.source_tl0);
            template = last.source_template.wrapping_sub(projected.template_shift);
            picture_id = match packet.frame.headers {
                // Frames that were left out so far have taken no id.
                Headers::Vp8(_) => next_picture,
                _ => source.picture_id.wrapping_add(last.source_picture),
            };
        } else {
            timestamp = if same && ahead { linear } else { elapsed };
            frame_number = last.frame_number.wrapping_add(1);
            tl0 = last.tl0.wrapping_add(1);
            picture_id = next_picture;
            template = projected.structure.map_or(0, |(first, _)| last.next_template.wrapping_sub(first));
        }
        Some(Offsets {
            seq: seq.wrapping_sub(projected.seq),
            timestamp: timestamp.wrapping_sub(projected.timestamp),
            picture_id: picture_id.wrapping_sub(projected.picture_id) & 0x7fff,
            frame_number: frame_number.wrapping_sub(projected.frame_number),
            tl0: tl0.wrapping_sub(projected.tl0),
            template: template & 63,
        })
    }

    #[inline]
    fn remember(&mut self, now: Instant, numbers: &Numbers, projected: &Projected, packet: &MediaPacket) {
        let source = Source::of(packet);
        let before = self.last.map_or(0, |last| last.next_template);
        let next_template = match projected.structure {
            Some((first, count)) => first.wrapping_add(count).wrapping_add(numbers.template_shift) & 63,
            None => before,
        };
        self.last = Some(Last {
            seq: numbers.seq,
            at: now,
            source_seq: packet.seq as u32,
            ssrc: packet.ssrc,
            source_timestamp: numbers.timestamp.wrapping_sub(packet.timestamp),
            timestamp: numbers.timestamp,
            picture_id: numbers.picture_id,
            source_picture: numbers.picture_id.wrapping_sub(source.picture_id) & 0x7fff,
            frame_number: numbers.frame_number,
            source_frame: numbers.frame_number.wrapping_sub(source.frame_number),
            encoding: packet.encoding,
            codec: packet.frame.codec,
            tl0: numbers.tl0,
            source_tl0: numbers.tl0.wrapping_sub(source.tl0),
            source_template: projected.template_shift.wrapping_add(numbers.template_shift),
            next_template,
            ended: projected.end,
        });
    }

    /// The SSRC of which was sent last, as received, and what is added to its RTP timestamps: for sender reports.
    pub fn timestamp_offset(&self) -> Option<(u32, u32)> {
        self.last.map(|l| (l.ssrc, l.source_timestamp))
    }

    /// The highest sequence number sent, unwrapped.
    pub fn last_seq(&self) -> Option<u64> {
        self.last.map(|l| l.seq)
    }

    /// The stream that is followed, its offsets, the first number of the run, and the first that the run before did not use.
    pub(super) fn run(&self) -> Option<(StreamKey, Offsets, u64, u64)> {
        let start = self.from.wrapping_add(self.offsets.seq);
        Some((self.current?, self.offsets, start, start.saturating_sub(self.skipped.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_small() {
        assert!(size_of::<Subscription>() <= 128, "{}", size_of::<Subscription>());
    }
}
