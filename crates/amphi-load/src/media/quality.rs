//! Judges the video that a viewer receives, as its decoder would: packets in order, frames whole, references there, no freeze. Late packets are
//! waited for; what does not come is lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use amphi_media::codec::vp8;

/// How long a missing packet holds the following ones up.
const PATIENCE: Duration = Duration::from_millis(800);
/// A picture that stands for longer is a freeze.
pub(crate) const FREEZE: Duration = Duration::from_secs(1);
/// Most packets that wait for a missing one.
const MAX_WAITING: usize = 4_096;

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Packets that came.
    pub(crate) packets: u64,
    /// Packets that never came, those of frames that a switch cut short not counted.
    pub(crate) lost: u64,
    /// Packets that came after a later one.
    pub(crate) late: u64,
    /// Frames that can be decoded.
    pub(crate) frames: u64,
    /// Of those, keyframes.
    pub(crate) keyframes: u64,
    /// Frames with packets missing.
    pub(crate) incomplete: u64,
    /// Whole frames whose references are missing.
    pub(crate) undecodable: u64,
    /// Frames that the bridge left unfinished because a keyframe followed.
    pub(crate) cut: u64,
    /// Pictures that stood for longer than [`FREEZE`].
    pub(crate) freezes: u64,
    /// Changes of the encoding.
    pub(crate) switches: u64,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    marker: bool,
    start: bool,
    key: bool,
    temporal: u8,
    sync: bool,
    tl0: u8,
    encoding: u8,
    at: Instant,
}

/// The stream of one SSRC.
#[derive(Debug, Default)]
pub(crate) struct Quality {
    /// What was seen so far.
    pub(crate) counts: Counts,
    /// When it came; none: padding.
    waiting: BTreeMap<u64, (Instant, Option<Packet>)>,
    next: Option<u64>,
    highest: u64,
    /// The frame under way is whole so far.
    open: Option<Packet>,
    broken: bool,
    /// TL0PICIDX of the last base frame that was decoded.
    base: Option<u8>,
    /// Temporal layer 1 of the current group was decoded.
    middle: bool,
    last_frame: Option<Instant>,
    encoding: Option<u8>,
    /// First frame, first keyframe.
    pub(crate) first_frame: Option<Instant>,
}

impl Quality {
    /// A packet came. `encoding`: from its stamp. Returns whether it is new.
    pub(crate) fn take(&mut self, at: Instant, seq: u64, marker: bool, payload: &[u8], encoding: u8) -> bool {
        let Some(read) = vp8::parse(payload) else { return false };
        let Some(d) = read.descriptor else { return false };
        let next = *self.next.get_or_insert(seq);
        if seq < next || self.waiting.contains_key(&seq) {
            return false;
        }
        self.counts.packets += 1;
        self.counts.late += u64::from(seq < self.highest);
        self.highest = self.highest.max(seq);
        let (temporal, sync) = (d.temporal, d.layer_sync);
        let tl0 = d.tl0.unwrap_or(0);
        let key = read.keyframe;
        let packet = Packet { marker, start: read.start, key, temporal, sync, tl0, encoding, at };
        self.waiting.insert(seq, (at, Some(packet)));
        self.advance(at);
        true
    }

    /// A packet of nothing but padding came: it has a number and no part in any frame.
    pub(crate) fn pad(&mut self, at: Instant, seq: u64) {
        if self.next.is_some_and(|next| seq >= next) {
            self.waiting.entry(seq).or_insert((at, None));
            self.advance(at);
        }
    }

    /// Time goes on: gives up on what is missing for long.
    pub(crate) fn advance(&mut self, now: Instant) {
        while let (Some(next), Some((&seq, packet))) = (self.next, self.waiting.first_key_value()) {
            let (came, packet) = *packet;
            if seq != next {
                // What follows a cut frame is known not to come: the bridge leaves out one number and goes on with a keyframe, which a decoder takes
                // at once.
                let before = self.open.map(|it| it.encoding).or(self.encoding);
                let other = |it: Packet| before.is_some_and(|own| own != it.encoding);
                let one = self.open.is_some() && seq == next + 1;
                let cut = packet.is_some_and(|it| it.start && it.key && (one || other(it)));
                if !cut && now.saturating_duration_since(came) < PATIENCE && self.waiting.len() < MAX_WAITING {
                    return;
                }
                if cut {
                    self.counts.cut += 1;
                } else {
                    self.counts.lost += seq - next;
                    self.counts.incomplete += u64::from(self.open.is_some());
                }
                self.broken = self.open.take().is_some();
            }
            self.waiting.remove(&seq);
            self.next = Some(seq + 1);
            if let Some(packet) = packet {
                self.packet(packet);
            }
        }
    }

    fn packet(&mut self, packet: Packet) {
        if packet.start {
            if self.open.is_some() {
                self.counts.incomplete += 1;
            }
            self.open = Some(packet);
            self.broken = false;
        } else if self.open.is_none() && !self.broken {
            // Begins in the middle of a frame: joined just now, or the begin is missing.
            self.broken = true;
            self.counts.incomplete += u64::from(self.first_frame.is_some());
        }
        if packet.marker
            && let Some(first) = self.open.take()
        {
            self.frame(first, packet.at);
        }
    }

    fn frame(&mut self, frame: Packet, at: Instant) {
        let decodable = match (frame.key, frame.temporal) {
            (true, _) => true,
            (false, 0) => self.base.is_some_and(|it| frame.tl0 == it.wrapping_add(1)),
            (false, _) if self.base != Some(frame.tl0) => false,
            (false, 1) => true,
            (false, _) => frame.sync || self.middle,
        };
        if !decodable {
            // Before the first keyframe nothing can be decoded, and nobody is to blame.
            self.counts.undecodable += u64::from(self.first_frame.is_some());
            return;
        }
        match frame.temporal {
            0 => (self.base, self.middle) = (Some(frame.tl0), false),
            1 => self.middle = true,
            _ => {}
        }
        self.counts.frames += 1;
        self.counts.keyframes += u64::from(frame.key);
        self.counts.switches += u64::from(self.encoding.is_some_and(|it| it != frame.encoding));
        self.encoding = Some(frame.encoding);
        if self.last_frame.is_some_and(|it| at.saturating_duration_since(it) > FREEZE) {
            self.counts.freezes += 1;
        }
        self.first_frame.get_or_insert(at);
        self.last_frame = Some(at);
    }

    /// Sending was stopped on purpose and goes on now.
    pub(crate) fn resume(&mut self, now: Instant) {
        if let Some(last) = &mut self.last_frame {
            *last = now;
        }
    }

    /// How long the last picture stands.
    pub(crate) fn stands(&self, now: Instant) -> Option<Duration> {
        self.last_frame.map(|it| now.saturating_duration_since(it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::stamp::Stamp;
    use crate::media::video::{Payload, Video};

    fn top(video: &mut Video) -> Vec<Payload> {
        video.frame().into_iter().filter(|it| it.encoding == 2).collect()
    }

    fn feed(quality: &mut Quality, at: Instant, packets: &[Payload]) {
        for it in packets {
            let encoding = Stamp::read(&it.bytes).unwrap().encoding;
            quality.take(at, it.seq, it.marker, &it.bytes, encoding);
        }
    }

    const FRAME: Duration = Duration::from_millis(33);

    #[test]
    fn a_stream_without_loss_is_decodable_frame_by_frame() {
        let (mut video, mut quality, start) = (Video::new(2e6, 1), Quality::default(), Instant::now());
        for n in 0..100 {
            feed(&mut quality, start + FRAME * n, &top(&mut video));
        }
        let c = quality.counts;
        assert_eq!((c.frames, c.keyframes, c.lost, c.incomplete, c.undecodable, c.freezes), (100, 1, 0, 0, 0, 0));
    }

    #[test]
    fn late_packets_are_waited_for() {
        let (mut video, mut quality, start) = (Video::new(2e6, 1), Quality::default(), Instant::now());
        feed(&mut quality, start, &top(&mut video));
        let mut two = top(&mut video);
        two.extend(top(&mut video));
        let late = two.remove(1);
        feed(&mut quality, start + FRAME, &two);
        assert_eq!(quality.counts.frames, 1);
        feed(&mut quality, start + FRAME * 3, &[late]);
        let c = quality.counts;
        assert_eq!((c.frames, c.lost, c.late, c.incomplete), (3, 0, 1, 0));
    }

    #[test]
    fn a_lost_base_frame_spoils_all_until_a_keyframe() {
        let (mut video, mut quality, start) = (Video::new(2e6, 1), Quality::default(), Instant::now());
        let mut frames: Vec<Vec<Payload>> = (0..12).map(|_| top(&mut video)).collect();
        video.ask_keyframe();
        frames.push(top(&mut video));
        frames[4].remove(0);
        for (n, frame) in frames.iter().enumerate() {
            feed(&mut quality, start + Duration::from_millis(250) * n as u32, frame);
        }
        let c = quality.counts;
        assert_eq!((c.frames, c.keyframes, c.lost, c.incomplete, c.undecodable), (5, 2, 1, 1, 7));
        assert_eq!(c.freezes, 1);
    }

    #[test]
    fn a_frame_that_the_bridge_leaves_unfinished_is_followed_by_its_keyframe_at_once() {
        let (mut video, mut quality, start) = (Video::new(2e6, 1), Quality::default(), Instant::now());
        feed(&mut quality, start, &top(&mut video));
        let mut cut = top(&mut video);
        let left_out = cut.split_off(2);
        assert!(!left_out.is_empty());
        feed(&mut quality, start + FRAME, &cut);
        video.ask_keyframe();
        // One number stands for all that is left out.
        let less = left_out.len() as u64 - 1;
        let next: Vec<Payload> = top(&mut video).into_iter().map(|it| Payload { seq: it.seq - less, ..it }).collect();
        feed(&mut quality, start + FRAME * 2, &next);
        let c = quality.counts;
        assert_eq!((c.frames, c.keyframes, c.cut, c.lost, c.incomplete, c.undecodable), (2, 2, 1, 0, 0, 0));
    }

    #[test]
    fn a_lost_frame_of_the_highest_layer_spoils_nothing_else() {
        let (mut video, mut quality, start) = (Video::new(2e6, 1), Quality::default(), Instant::now());
        for n in 0..40 {
            let mut frame = top(&mut video);
            if n == 7 {
                frame.pop();
            }
            feed(&mut quality, start + FRAME * n, &frame);
        }
        quality.advance(start + Duration::from_secs(9));
        let c = quality.counts;
        assert_eq!((c.frames, c.lost, c.incomplete, c.undecodable), (39, 1, 1, 0));
    }
}
