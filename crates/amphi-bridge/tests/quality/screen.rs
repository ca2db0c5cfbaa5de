//! A decoder, as far as it can be seen from outside: which frames it could have shown and when. Knows nothing of the bridge's own parsers.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::camera::{AV1, AV1_DIFFERENCES, VP8, VP9};

/// A packet of video.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) payload_type: u8,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload: Vec<u8>,
    pub(crate) descriptor: Option<Vec<u8>>,
}

/// A frame that was shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) at: Instant,
    pub(crate) height: u16,
}

#[derive(Clone, Copy, Debug)]
struct Parsed {
    start: bool,
    key: bool,
    picture: u32,
    /// Modulo of picture numbers.
    wrap: u32,
    temporal: u8,
    spatial: u8,
    height: Option<u16>,
    tl0: Option<u8>,
    refers: Reference,
}

/// What a frame needs. Where frames are left out, VP8's numbers close up and the others' do not.
#[derive(Clone, Copy, Debug)]
enum Reference {
    /// The frame of the number before.
    Before,
    /// The one of so many numbers before.
    Back(u32),
    /// What the template of this number in the dependency descriptor says.
    Template(u8),
}

/// What is received on one SSRC.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    pieces: BTreeMap<u64, Piece>,
    next: Option<u64>,
    last: Option<(u32, u32, Option<u8>)>,
    /// AV1: number of the structure's first template.
    first_template: u8,
    /// Numbers of the frames that were shown last.
    pictures: VecDeque<u32>,
    heights: [u16; 3],
    /// Frames in the order in which they were shown.
    pub(crate) shown: Vec<Shown>,
    /// Frames that refer to others that were not shown, or whose numbers make no sense.
    pub(crate) broken: Vec<String>,
    /// When something came last, and how many bytes so far.
    pub(crate) packets: Vec<(Instant, usize)>,
    /// Numbers that were passed over for a keyframe.
    pub(crate) given_up: u64,
    waits: Option<Instant>,
}

fn parse(piece: &Piece) -> Option<Parsed> {
    let p = &piece.payload;
    Some(match piece.payload_type {
        VP8 => {
            let start = p.first()? & 0x10 != 0;
            let key = start && p.get(6)? & 1 == 0;
            let height = key.then(|| u16::from_le_bytes([p[14], p[15]]));
            Parsed {
                start,
                key,
                picture: u32::from(u16::from_be_bytes([*p.get(2)?, *p.get(3)?]) & 0x7fff),
                wrap: 0x8000,
                temporal: p.get(5)? >> 6,
                spatial: 0,
                height,
                tl0: Some(*p.get(4)?),
                refers: Reference::Before,
            }
        }
        VP9 => {
            let (flags, layers) = (*p.first()?, *p.get(3)?);
            let spatial = layers >> 1 & 7;
            Parsed {
                // Between keyframes a picture may be of its highest layer alone.
                start: flags & 8 != 0,
                key: flags & 0x40 == 0 && spatial == 0 && flags & 8 != 0,
                picture: u32::from(u16::from_be_bytes([*p.get(1)?, *p.get(2)?]) & 0x7fff),
                wrap: 0x8000,
                temporal: layers >> 5,
                spatial,
                height: None,
                tl0: Some(*p.get(4)?),
                // Two temporal layers: the upper refers to the lower just before.
                refers: Reference::Back(if layers >> 5 == 0 { 2 } else { 1 }),
            }
        }
        AV1 => {
            let d = piece.descriptor.as_ref()?;
            let start = d.first()? & 0x80 != 0;
            // The structure is the longer one; the height is its last field.
            let key = start && d.len() > 5;
            let height = key.then(|| last_bits(d));
            Parsed {
                start,
                key,
                picture: u32::from(u16::from_be_bytes([*d.get(1)?, *d.get(2)?])),
                wrap: 0x1_0000,
                temporal: 0,
                spatial: 0,
                height,
                tl0: None,
                refers: Reference::Template(d[0] & 0x3f),
            }
        }
        _ => return None,
    })
}

/// The height in a structure that the camera of these tests writes: its bits are always at the same place, unless a mask of active targets follows.
fn last_bits(d: &[u8]) -> u16 {
    // 24 bits of the mandatory part, 5 flags, 11 of offset and targets, 10 of layers, 30 of indications, 25 of differences, 22 of chains, 1 + 16.
    let at = 24 + 5 + 11 + 10 + 30 + (1 + 6 + 6 + 6 + 6) + 22 + 1 + 16;
    (0..16).fold(0, |all, n| all << 1 | u16::from(d.get((at + n) / 8).copied().unwrap_or(0) >> (7 - (at + n) % 8) & 1))
        + 1
}

impl Screen {
    /// A packet came.
    pub(crate) fn push(&mut self, now: Instant, seq: u64, piece: Piece) {
        self.packets.push((now, piece.payload.len()));
        if self.next.is_some_and(|next| seq < next) {
            return;
        }
        if let Some(other) = self.pieces.get(&seq)
            && other.payload != piece.payload
        {
            self.broken.push(format!("two packets of number {seq}"));
        }
        self.pieces.insert(seq, piece);
        while self.show(now) {}
        if self.pieces.len() > 4_000 {
            self.pieces.pop_first();
        }
    }

    /// Shows the next frame, if it is complete; else a keyframe that is.
    fn show(&mut self, now: Instant) -> bool {
        if let Some(next) = self.next
            && let Some(end) = self.end_of(next)
        {
            let whole = self.picture(now, next, end, false);
            self.forget(end);
            return whole;
        }
        let from = self.next.unwrap_or(0);
        let keys = self.pieces.range(from..).filter(|(_, it)| parse(it).is_some_and(|it| it.start && it.key));
        let complete = keys.map(|(seq, _)| *seq).find_map(|seq| Some((seq, self.end_of(seq)?)));
        let Some((seq, end)) = complete else { return false };
        if let Some(next) = self.next {
            self.given_up += seq - next;
        }
        self.picture(now, seq, end, true);
        self.forget(end);
        true
    }

    fn forget(&mut self, end: u64) {
        self.next = Some(end + 1);
        self.pieces = self.pieces.split_off(&(end + 1));
    }

    /// The last packet of the frame that begins with this number.
    fn end_of(&self, first: u64) -> Option<u64> {
        let mut seq = first;
        loop {
            let piece = self.pieces.get(&seq)?;
            if piece.marker {
                return Some(seq);
            }
            seq += 1;
        }
    }

    fn picture(&mut self, now: Instant, first: u64, end: u64, jump: bool) -> bool {
        let pieces: Vec<Parsed> = self.pieces.range(first..=end).filter_map(|(_, it)| parse(it)).collect();
        let times: Vec<u32> = self.pieces.range(first..=end).map(|(_, it)| it.timestamp).collect();
        let Some(head) = pieces.first().copied() else {
            self.broken.push(format!("packets {first} to {end} cannot be read"));
            return true;
        };
        let mut wrong = |what: &str| self.broken.push(format!("{what}, packets {first} to {end}: {head:?}"));
        if pieces.len() as u64 != end - first + 1 {
            wrong("not all can be read");
        }
        if times.windows(2).any(|it| it[0] != it[1]) {
            wrong("a frame of several times");
        }
        if !head.start {
            wrong("no start");
        }
        if pieces.iter().any(|it| it.picture != head.picture) {
            wrong("a frame of several numbers");
        }
        if let Some((picture, time, tl0)) = self.last {
            if !head.key && !jump {
                let step = (head.picture + head.wrap - picture) % head.wrap;
                let back = match head.refers {
                    Reference::Before => None,
                    Reference::Back(by) => Some(by),
                    Reference::Template(it) => {
                        let template = usize::from(it.wrapping_sub(self.first_template) & 0x3f);
                        AV1_DIFFERENCES.get(template).copied().or(Some(0))
                    }
                };
                let goes_on = back.map_or(step == 1, |by| {
                    let needed = (head.picture + head.wrap - by) % head.wrap;
                    (1..head.wrap / 2).contains(&step) && self.pictures.contains(&needed)
                });
                if !goes_on {
                    wrong("frames are missing");
                }
                if let (Some(before), Some(tl0)) = (tl0, head.tl0)
                    && tl0.wrapping_sub(before) != u8::from(head.temporal == 0)
                {
                    wrong("base frames are missing");
                }
            }
            let step = times[0].wrapping_sub(time);
            if step == 0 || step > 90_000 * 60 {
                wrong("time goes back");
            }
        } else if !head.key {
            wrong("begins without keyframe");
        }
        if let Some(height) = head.height {
            self.heights = [height; 3];
        }
        if let Some(d) = self.pieces.get(&first).and_then(|it| it.descriptor.as_ref()).filter(|_| head.key) {
            // After the mandatory part and five flags.
            self.first_template = d[3] << 5 >> 2 | d[4] >> 5;
        }
        if head.key {
            self.pictures.clear();
        }
        self.pictures.push_back(head.picture);
        if self.pictures.len() > 64 {
            self.pictures.pop_front();
        }
        if head.key
            && let Some(structure) = self.pieces.get(&first).filter(|it| it.payload_type == VP9).map(|it| &it.payload)
        {
            for n in 0..3 {
                self.heights[n] = u16::from_be_bytes([structure[6 + 4 * n + 2], structure[6 + 4 * n + 3]]);
            }
        }
        self.last = Some((head.picture, times[0], head.tl0));
        let top = pieces.iter().map(|it| it.spatial).max().unwrap_or(0);
        let height = self.heights[usize::from(top).min(2)];
        self.shown.push(Shown { at: now, height });
        self.waits = None;
        true
    }

    /// Whether a browser would ask for a keyframe now: nothing to be shown for 200 ms at the beginning, for a second later.
    pub(crate) fn needs_keyframe(&mut self, now: Instant) -> bool {
        if self.pieces.is_empty() {
            self.waits = None;
            return false;
        }
        let patience = if self.shown.is_empty() { 200 } else { 1_000 };
        let since = *self.waits.get_or_insert(now);
        let due = now.saturating_duration_since(since) > Duration::from_millis(patience);
        if due {
            self.waits = Some(now);
        }
        due
    }

    /// Height of what was shown last.
    pub(crate) fn height(&self) -> u16 {
        self.shown.last().map_or(0, |it| it.height)
    }

    /// The longest time without a new frame since then.
    pub(crate) fn longest_freeze(&self, since: Instant, now: Instant) -> Duration {
        let times = self.shown.iter().map(|it| it.at).filter(|at| *at >= since);
        let times: Vec<_> = [since].into_iter().chain(times).chain([now]).collect();
        times.windows(2).map(|it| it[1] - it[0]).max().unwrap_or_default()
    }

    /// Frames that were shown since then.
    pub(crate) fn since(&self, since: Instant) -> impl Iterator<Item = &Shown> {
        self.shown.iter().filter(move |it| it.at >= since)
    }

    /// Bits per second since then.
    pub(crate) fn rate(&self, since: Instant, now: Instant) -> u64 {
        let bytes: usize = self.packets.iter().filter(|(at, _)| *at >= since).map(|(_, len)| len).sum();
        (bytes as f64 * 8.0 / now.duration_since(since).as_secs_f64()) as u64
    }
}
