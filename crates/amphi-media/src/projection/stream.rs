//! One source at one quality: what is forwarded of it, in numbers without holes.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::Projected;
use super::encoding::{Encoding, Kind, Source, is_ordered};
use super::filter::Filter;
use super::frames::{Frames, Record};
use super::packets::{Gap, Packets};
use crate::codec::{Headers, dependency};
use crate::ids::{LayerIndex, MediaKind};
use crate::packet::MediaPacket;

/// Limits and delays of a [`Stream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// Keyframes of several encodings within this time are answers to one request (`spec/bridge.md` 4.6.1): 300 ms.
    pub keyframe_group: Duration,
    /// An encoding of which nothing came for this time is left for a lower one at a keyframe: 500 ms.
    pub silence: Duration,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self { keyframe_group: Duration::from_millis(300), silence: Duration::from_millis(500) }
    }
}

/// Encodings of a source that are looked at; packets of others are not forwarded.
const MAX_ENCODINGS: usize = 8;
/// Packets before the first one seen of a keyframe for which numbers are kept when nothing else is known (`spec/bridge.md` 4.6.3).
const ROOM: u64 = 16;

/// What was forwarded last.
#[derive(Clone, Copy, Debug)]
struct Last {
    seq: u64,
    at: Instant,
    timestamp: u32,
    source_timestamp: u32,
    picture_id: u16,
    frame_number: u16,
    tl0: u8,
    ended: bool,
}

/// What is added to the numbers of the encoding that is forwarded.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    timestamp: u32,
    picture_id: u16,
    frame_number: u16,
    tl0: u8,
    template: u8,
}

/// The frame of the highest packet so far, as far as holes after it are concerned.
#[derive(Clone, Copy, Debug)]
struct Edge {
    key: u64,
    accepted: bool,
    ended: bool,
}

/// A source at a target layer. Takes every packet of the source in order of arrival.
#[derive(Debug)]
pub struct Stream {
    target: LayerIndex,
    config: StreamConfig,
    kind: Option<Kind>,
    filter: Filter,
    encodings: SmallVec<[Encoding; 3]>,
    packets: Packets,
    frames: Frames,
    /// The encoding of the run.
    encoding: Option<u8>,
    run: Run,
    edge: Option<Edge>,
    last: Option<Last>,
    /// The template id after the last structure that was forwarded: kept when the codec changes and changes back.
    next_template: u8,
    /// Decode target that receivers were told of.
    told_target: Option<u8>,
}

/// The decision about a frame.
#[derive(Clone, Copy)]
struct Decision {
    accepted: bool,
    record: Option<Record>,
    /// It was a keyframe's, and this is the first packet that says so.
    keyframe: bool,
}

const REFUSED: Decision = Decision { accepted: false, record: None, keyframe: false };

impl Stream {
    /// Nothing forwarded yet.
    pub fn new(target: LayerIndex, config: StreamConfig) -> Self {
        Self {
            target,
            config,
            kind: None,
            filter: Filter::new(target, config),
            encodings: SmallVec::new(),
            packets: Packets::new(),
            frames: Frames::new(),
            encoding: None,
            run: Run::default(),
            edge: None,
            last: None,
            next_template: 0,
            told_target: None,
        }
    }

    /// The target.
    pub fn target(&self) -> LayerIndex {
        self.target
    }

    /// Whether it cannot go on without a keyframe of the source. To be asked after each packet; requests are merged elsewhere (`keyframe`).
    pub fn needs_keyframe(&self) -> bool {
        self.filter.needs_keyframe
    }

    /// The encoding that is forwarded at present: a lower one than the target's while that has no keyframe.
    pub fn encoding(&self) -> Option<u8> {
        self.encoding
    }

    /// A packet that could not be read for want of a keyframe (`ParseError::needs_keyframe`).
    pub fn unreadable(&mut self, encoding: u8) {
        if encoding <= self.target.encoding() && self.encoding.is_none_or(|e| e <= encoding) {
            self.filter.needs_keyframe = true;
        }
    }

    /// A packet that is never forwarded (padding alone): its number does not stay free.
    pub fn skip(&mut self, encoding: u8, seq: u64) {
        if self.encoding != Some(encoding) {
            return;
        }
        if seq >= self.packets.expected() {
            let gap = self.edge.map_or(Gap::default(), |e| Gap { first: !e.accepted && !e.ended, ..Gap::default() });
            self.packets.next(seq, false, gap);
            self.edge = None;
        } else if self.packets.late(seq).is_some() {
            self.packets.settle(seq, false);
        }
    }

    /// Decides about a packet; what is forwarded gets the stream's numbers.
    pub fn push(&mut self, packet: &MediaPacket) -> Option<Projected> {
        let index = usize::from(packet.encoding);
        if index >= MAX_ENCODINGS {
            return None;
        }
        if self.encodings.len() <= index {
            self.encodings.resize(index + 1, Encoding::default());
        }
        let kind = Kind::of(packet);
        if self.kind != Some(kind) {
            if self.encodings[index].highest_seq.is_some_and(|highest| packet.seq < highest) {
                // Late, from before the codec changed.
                return None;
            }
            if self.kind.is_some() {
                self.filter.reset();
                self.encoding = None;
                self.encodings.iter_mut().for_each(Encoding::restart_ids);
            }
            self.kind = Some(kind);
        }
        let current = self.encoding == Some(packet.encoding);
        let in_order = packet.seq >= self.packets.expected();
        let mut key = self.encodings[index].unwrap(packet);
        if current && in_order && is_ordered(kind) && self.frames.is_old(key) {
            // The sender's ids began anew. Nothing of it can be placed before a keyframe.
            if !(packet.frame.keyframe && packet.frame.start) {
                self.filter.needs_keyframe = true;
                return self.finish(packet, key, REFUSED);
            }
            self.encodings[index].restart_ids();
            key = self.encodings[index].unwrap(packet);
            self.encoding = None;
        }
        let decision = self.decide(packet, kind, key);
        let highest = self.encodings[index].highest_seq;
        let state = &mut self.encodings[index];
        state.highest_seq = Some(highest.map_or(packet.seq, |h| h.max(packet.seq)));
        state.last_at = Some(packet.arrival);
        if decision.accepted && self.encoding != Some(packet.encoding) {
            let decision = Decision { record: self.begin(packet, kind, key, highest), ..decision };
            return self.finish(packet, key, decision);
        }
        if self.encoding != Some(packet.encoding) {
            if packet.frame.temporal == 0 && !packet.frame.keyframe {
                state.left_out = Some(key);
            }
            return None;
        }
        self.finish(packet, key, decision)
    }

    /// Decides about the frame of a packet, once for all of its packets.
    fn decide(&mut self, packet: &MediaPacket, kind: Kind, key: u64) -> Decision {
        let current = self.encoding == Some(packet.encoding);
        let now = packet.arrival;
        if kind == Kind::Anything {
            let accepted = packet.kind == MediaKind::Audio || packet.encoding == self.target.encoding();
            if accepted {
                self.filter.needs_keyframe = false;
                self.filter.encoding = Some(packet.encoding);
            }
            return Decision { accepted, ..REFUSED };
        }
        if current && !matches!(kind, Kind::Keyframes { .. }) {
            if let Some(record) = self.frames.get(key) {
                if packet.frame.keyframe && packet.frame.start && record.accepted {
                    // Its first packet came late.
                    self.filter.needs_keyframe = false;
                }
                return Decision { accepted: record.accepted, record: Some(*record), keyframe: false };
            }
            if !self.frames.is_within(key) {
                return REFUSED;
            }
        }
        let state = &mut self.encodings[usize::from(packet.encoding)];
        let upper = matches!(&packet.frame.headers, Headers::Vp9(d) if d.spatial > 0 || d.inter_layer_dependent);
        let mut keyframe = packet.frame.keyframe && !upper;
        let mut accepted = false;
        if keyframe && state.decided == Some(key) {
            // A later packet of it. What was accepted is the current encoding, or was closed by another one.
            keyframe = false;
        } else if keyframe && !current && is_ordered(kind) && state.overtook(key, kind) {
            // It was overtaken by frames that build upon it and were left out (`spec/bridge.md` 4.6.2).
            keyframe = false;
        }
        if keyframe {
            state.decided = Some(key);
            let silent =
                self.filter.encoding.and_then(|e| self.encodings.get(usize::from(e))).is_some_and(|e| {
                    e.last_at.is_some_and(|at| now.saturating_duration_since(at) > self.config.silence)
                });
            let before = self.filter.encoding;
            accepted = self.filter.keyframe(now, packet.encoding, silent);
            if accepted {
                match &packet.frame.headers {
                    Headers::Vp9(d) => self.filter.vp9_structure(d),
                    Headers::Dependency(d) => {
                        self.filter.activate(d);
                        accepted = self.filter.dependency_keyframe(d);
                        if !accepted {
                            self.filter.encoding = before;
                        }
                    }
                    _ => {}
                }
            }
        } else if self.filter.is_current(now, packet.encoding) {
            accepted = current && self.belongs(packet, key);
            // Its numbers ended; they begin again with a keyframe.
            self.filter.needs_keyframe |= !current;
        }
        if !current || matches!(kind, Kind::Keyframes { .. }) {
            return Decision { accepted, record: None, keyframe };
        }
        Decision { accepted, record: Some(self.frames.insert(record(packet, key, accepted))), keyframe }
    }

    /// Whether a frame of the current encoding that is not a keyframe belongs to the target.
    fn belongs(&mut self, packet: &MediaPacket, key: u64) -> bool {
        match &packet.frame.headers {
            Headers::Vp8(d) => self.filter.vp8(d, key, &self.frames),
            Headers::Vp9(d) => {
                self.filter.vp9_structure(d);
                self.filter.vp9(d)
            }
            Headers::Dependency(d) => {
                if key >= self.frames.top() {
                    self.filter.activate(d);
                }
                self.filter.dependency(d, key, &self.frames)
            }
            Headers::None => true,
        }
    }

    /// Begins to forward another encoding, or the first one, with a packet of a keyframe (`spec/bridge.md` 4.6.2 to 4.6.4).
    fn begin(&mut self, packet: &MediaPacket, kind: Kind, key: u64, highest: Option<u64>) -> Option<Record> {
        let room = match highest {
            _ if packet.frame.start || !matches!(packet.frame.headers, Headers::Vp9(_)) => 0,
            Some(before) if before < packet.seq => (packet.seq - before - 1).min(ROOM),
            _ => ROOM,
        };
        self.encoding = Some(packet.encoding);
        self.edge = None;
        let source = Source::of(packet);
        let picture = source.picture_id;
        let (out, next_picture) = match self.last {
            None => {
                self.run = Run::default();
                (packet.seq, picture)
            }
            Some(last) => {
                let next_picture = last.picture_id.wrapping_add(1) & 0x7fff;
                self.run = Run {
                    timestamp: super::next_timestamp(last.timestamp, last.at, packet.arrival, packet.kind)
                        .wrapping_sub(packet.timestamp),
                    picture_id: next_picture.wrapping_sub(picture),
                    frame_number: last.frame_number.wrapping_add(1).wrapping_sub(source.frame_number),
                    tl0: last.tl0.wrapping_add(1).wrapping_sub(source.tl0),
                    template: self.run.template,
                };
                (last.seq + if last.ended { 1 } else { 2 } + room, next_picture)
            }
        };
        if let Headers::Dependency(d) = &packet.frame.headers {
            if self.last.is_some() {
                self.run.template = self.next_template.wrapping_sub(d.structure.offset) & 63;
            }
            self.told_target = None;
        }
        self.packets.begin(packet.seq, room, out);
        let first = if matches!(packet.frame.headers, Headers::Vp9(_)) { key & !7 } else { key };
        self.frames.begin(first, key.wrapping_sub(next_picture.into()));
        is_ordered(kind).then(|| self.frames.insert(record(packet, key, true)))
    }

    /// Gives an accepted packet of the current encoding its numbers; a refused one gives its number away.
    fn finish(&mut self, packet: &MediaPacket, key: u64, decision: Decision) -> Option<Projected> {
        let expected = self.packets.expected();
        let seq = if packet.seq >= expected {
            let gap = self.gap(packet, key, decision.accepted);
            self.edge = Some(Edge { key, accepted: decision.accepted, ended: packet.frame.end });
            self.packets.next(packet.seq, decision.accepted, gap)
        } else {
            let seq = self.packets.late(packet.seq)?;
            self.packets.settle(packet.seq, decision.accepted);
            seq
        };
        decision.accepted.then(|| self.project(packet, key, seq, packet.seq == expected, decision))
    }

    /// What is known about the packets missing before this one. A frame whose end was not seen has at least one more packet; a frame whose
    /// beginning was not seen has one before.
    fn gap(&self, packet: &MediaPacket, key: u64, accepted: bool) -> Gap {
        let Some(edge) = self.edge.filter(|_| !matches!(packet.frame.headers, Headers::None)) else {
            return Gap::default();
        };
        if edge.key == key {
            return Gap { all: !accepted, ..Gap::default() };
        }
        let first = !edge.accepted && !edge.ended;
        let last = !accepted && !packet.frame.start;
        let adjacent = match packet.frame.headers {
            Headers::Vp9(_) => key == edge.key + 1 && key & 7 != 0,
            _ => key == edge.key + 1,
        };
        let all = adjacent && (first && (packet.frame.start || last) || last && edge.ended);
        Gap { first, last, all }
    }

    fn project(&mut self, packet: &MediaPacket, key: u64, seq: u64, contiguous: bool, decision: Decision) -> Projected {
        let record = decision.record;
        let frame = &packet.frame;
        let source = Source::of(packet);
        // A frame may begin a picture only if nothing of the same time was forwarded.
        let new_picture =
            self.last.is_none_or(|l| l.source_timestamp != packet.timestamp) || self.packets.is_first(seq);
        let may_join = contiguous && frame.start && new_picture && self.filter.is_settled();
        let mut projected = Projected {
            seq,
            timestamp: packet.timestamp.wrapping_add(self.run.timestamp),
            marker: packet.marker,
            start: frame.start,
            end: frame.end,
            keyframe: frame.keyframe || record.is_some_and(|r| r.keyframe),
            switch_in: frame.keyframe && frame.start,
            joinable: 0,
            encoding: packet.encoding,
            picture_id: source.picture_id.wrapping_add(self.run.picture_id) & 0x7fff,
            tl0: source.tl0.wrapping_add(self.run.tl0),
            frame_number: source.frame_number.wrapping_add(self.run.frame_number),
            template_shift: 0,
            structure: None,
            descriptor: None,
        };
        match &frame.headers {
            Headers::Vp8(d) => {
                if let Some(record) = record {
                    projected.picture_id = (key.wrapping_sub(record.picture_shift) & 0x7fff) as u16;
                }
                if may_join {
                    projected.joinable = self.filter.vp8_joinable(d);
                }
            }
            Headers::Vp9(d) => {
                projected.switch_in &= d.spatial == 0 && !d.inter_layer_dependent;
                projected.marker = frame.end && (packet.marker || self.filter.vp9_is_top(d));
                projected.end = projected.marker;
                if may_join {
                    projected.joinable = self.filter.vp9_joinable(d);
                }
            }
            Headers::Dependency(d) => {
                if may_join {
                    projected.joinable = self.filter.dependency_joinable(d, key, &self.frames);
                }
                let top = d.structure.layers.get(usize::from(self.filter.decode_target)).map_or(0, |(s, _)| *s);
                projected.marker = frame.end && (packet.marker || d.spatial >= top);
                projected.end = projected.marker;
                self.describe(packet, d, &mut projected);
            }
            Headers::None => match self.kind {
                Some(Kind::Anything) => {
                    projected.switch_in = true;
                    projected.end = packet.kind == MediaKind::Audio || packet.marker;
                }
                // Any packet of it may look like its beginning.
                _ => projected.switch_in = decision.keyframe,
            },
        }
        if self.last.is_none_or(|l| seq > l.seq) {
            self.last = Some(Last {
                seq,
                at: packet.arrival,
                timestamp: projected.timestamp,
                source_timestamp: packet.timestamp,
                picture_id: projected.picture_id,
                frame_number: projected.frame_number,
                tl0: projected.tl0,
                ended: projected.end,
            });
        }
        projected
    }

    /// The dependency descriptor in the stream's numbers, with the mask of what is forwarded where receivers may need it.
    fn describe(&mut self, packet: &MediaPacket, d: &dependency::Descriptor, projected: &mut Projected) {
        projected.template_shift = self.run.template;
        if d.attached {
            let first = d.structure.offset.wrapping_add(self.run.template) & 63;
            let count = d.structure.templates.len() as u8;
            projected.structure = Some((first, count));
            self.next_template = first.wrapping_add(count) & 63;
        }
        let Some(raw) = &packet.dependency_descriptor else {
            return;
        };
        let news = self.told_target != Some(self.filter.decode_target);
        let mask = d.attached || d.active.is_some() || projected.joinable != 0 || news;
        let mut written = dependency::rewrite(raw, d, mask.then(|| self.filter.active_mask(&d.structure)));
        self.told_target = Some(self.filter.decode_target);
        dependency::patch(&mut written, projected.frame_number, self.run.template);
        projected.descriptor = Some(written);
    }
}

fn record(packet: &MediaPacket, key: u64, accepted: bool) -> Record {
    let targets = match &packet.frame.headers {
        Headers::Dependency(d) => d.targets(),
        _ => 0,
    };
    let (keyframe, temporal) = (packet.frame.keyframe, packet.frame.temporal);
    Record { key, run: 0, accepted, keyframe, temporal, picture_shift: 0, targets }
}
