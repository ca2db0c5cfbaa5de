//! Generated video: three encodings of one picture as a browser's VP8 encoder makes them (simulcast, three temporal layers), with valid payload
//! descriptors and keyframe headers and made-up pixels. Says what to send and when; sends nothing. Every packet ends with a [`Stamp`].

use super::stamp::{STAMP_LEN, Stamp};

/// Frames a second.
pub(crate) const FPS: u64 = 30;
/// Ticks of the RTP clock from frame to frame.
pub(crate) const TICKS: u32 = 90_000 / FPS as u32;
/// Most bytes of a payload, descriptor included.
const MAX_PAYLOAD: usize = 1_150;
/// Descriptor: X, I, L and T with a picture id of 15 bits (RFC 7741 section 4.2).
pub(crate) const DESCRIPTOR_LEN: usize = 6;
/// Frame tag, start code, width and height (RFC 6386 section 9.1).
const KEYFRAME_HEADER_LEN: usize = 10;
/// What a keyframe weighs, in frames.
const KEYFRAME_WEIGHT: f64 = 5.0;
/// Frames of the three layers weigh differently; the mean of four in a row is 1.
const PATTERN: [(u8, bool, f64); 4] = [(0, false, 1.6), (2, true, 0.7), (1, true, 1.0), (2, false, 0.7)];
/// Heights and shares of the bitrate, lowest first.
const ENCODINGS: [(u16, f64); 3] = [(180, 0.08), (360, 0.20), (720, 0.72)];
/// How much of a frame may be left out to make good for a keyframe.
const REPAY: f64 = 0.2;

/// Number of encodings.
pub(crate) const COUNT: usize = ENCODINGS.len();

/// One packet to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    /// Encoding, lowest first.
    pub(crate) encoding: usize,
    /// Packet number within the encoding, unwrapped.
    pub(crate) seq: u64,
    /// Last of its frame.
    pub(crate) marker: bool,
    /// Payload with room for the stamp at its end.
    pub(crate) bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Encoding {
    height: u16,
    /// Bytes of a frame in the mean.
    mean: f64,
    /// Bytes sent too much so far.
    debt: f64,
    seq: u64,
    picture_id: u16,
    tl0: u8,
    /// Place in the pattern.
    step: usize,
    frames: u32,
    /// Whether it is sent.
    active: bool,
    key_wanted: bool,
}

/// The encoder.
#[derive(Clone, Debug)]
pub(crate) struct Video {
    encodings: Vec<Encoding>,
    random: u64,
    /// Keyframes so far.
    pub(crate) keyframes: u64,
}

impl Video {
    /// An encoder with this bitrate over all encodings.
    pub(crate) fn new(bits_per_second: f64, seed: u64) -> Self {
        let encodings = ENCODINGS.iter().enumerate().map(|(n, (height, share))| Encoding {
            height: *height,
            mean: (bits_per_second * share / 8.0 / FPS as f64).max(100.0),
            debt: 0.0,
            seq: 1_000 * (n as u64 + 1),
            picture_id: 100 * (n as u16 + 1),
            tl0: 7,
            step: 0,
            frames: 0,
            active: true,
            key_wanted: true,
        });
        Self { encodings: encodings.collect(), random: seed | 1, keyframes: 0 }
    }

    /// All that is sent begins anew: what any encoding's receiver asks for, every encoding gives, as browsers do.
    pub(crate) fn ask_keyframe(&mut self) {
        self.encodings.iter_mut().for_each(|it| it.key_wanted = true);
    }

    /// Nobody wants more than this height (`SenderSourceConstraints`); negative: no limit.
    pub(crate) fn limit(&mut self, max_height: i64) {
        for (n, it) in self.encodings.iter_mut().enumerate() {
            // The lowest one goes on below its height, as browsers scale down.
            let active = max_height < 0 || max_height > 0 && (n == 0 || i64::from(it.height) <= max_height);
            it.key_wanted |= active && !it.active;
            it.active = active;
        }
    }

    /// The next frame of every active encoding.
    pub(crate) fn frame(&mut self) -> Vec<Payload> {
        let mut out = Vec::new();
        for n in 0..self.encodings.len() {
            self.frame_of(n, &mut out);
        }
        out
    }

    fn frame_of(&mut self, n: usize, out: &mut Vec<Payload>) {
        let noise = self.noise();
        let it = &mut self.encodings[n];
        if !it.active {
            return;
        }
        let key = std::mem::take(&mut it.key_wanted);
        if key {
            it.step = 0;
            self.keyframes += u64::from(n == 0);
        }
        let (temporal, sync, weight) = PATTERN[it.step];
        it.step = (it.step + 1) % PATTERN.len();
        it.picture_id = (it.picture_id + 1) & 0x7fff;
        if temporal == 0 {
            it.tl0 = it.tl0.wrapping_add(1);
        }
        let wanted = it.mean * if key { KEYFRAME_WEIGHT } else { weight } * noise;
        let repaid = it.debt.clamp(0.0, wanted * REPAY);
        let size = (wanted - if key { 0.0 } else { repaid }).max(80.0);
        it.debt += size - it.mean * if key { 1.0 } else { weight };
        it.frames += 1;
        let parts = (size as usize).div_ceil(MAX_PAYLOAD - DESCRIPTOR_LEN).max(1);
        for part in 0..parts {
            // About equal parts, as packetizers make them; the larger ones come last.
            let share = (size as usize + part) / parts;
            let mut bytes = Vec::with_capacity(MAX_PAYLOAD);
            bytes.extend_from_slice(&[0x80 | if part == 0 { 0x10 } else { 0 }, 0xe0]);
            bytes.extend_from_slice(&(it.picture_id | 0x8000).to_be_bytes());
            bytes.extend_from_slice(&[it.tl0, temporal << 6 | u8::from(sync) << 5]);
            if part == 0 {
                header(&mut bytes, key, size as u32, it.height);
            }
            let len = (DESCRIPTOR_LEN + share).max(bytes.len() + STAMP_LEN);
            bytes.resize(len - STAMP_LEN, 0x5a ^ part as u8);
            let stamp = Stamp { encoding: n as u8, frame: it.frames, part: part as u8, parts: parts as u8, micros: 0 };
            stamp.write(&mut bytes);
            out.push(Payload { encoding: n, seq: it.seq, marker: part + 1 == parts, bytes });
            it.seq += 1;
        }
    }

    /// 0.75 to 1.25.
    fn noise(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        0.75 + (self.random >> 11) as f64 / (1_u64 << 53) as f64 / 2.0
    }
}

/// The payload header of VP8: the frame tag, and for keyframes start code and size.
fn header(out: &mut Vec<u8>, key: bool, size: u32, height: u16) {
    // P bit, version 0, show_frame, size of the first partition in 19 bits.
    let tag = u32::from(!key) | 1 << 4 | (size.min(0x7_ffff)) << 5;
    out.extend_from_slice(&tag.to_le_bytes()[..3]);
    if key {
        let [w, h] = [height * 16 / 9, height].map(u16::to_le_bytes);
        out.extend_from_slice(&[0x9d, 0x01, 0x2a, w[0], w[1], h[0], h[1]]);
        debug_assert_eq!(KEYFRAME_HEADER_LEN, 10);
    }
}

#[cfg(test)]
mod tests {
    use amphi_media::codec::vp8;

    use super::*;

    #[test]
    fn packets_are_what_the_bridges_parser_takes_for_vp8_with_temporal_layers() {
        let mut video = Video::new(2_500_000.0, 7);
        let mut last: [Option<(u16, u8)>; COUNT] = [None; COUNT];
        let mut seqs = [None; COUNT];
        for n in 0..200 {
            if n == 50 {
                video.ask_keyframe();
            }
            let frame = video.frame();
            for (at, it) in frame.iter().enumerate() {
                let first = at == 0 || frame[at - 1].encoding != it.encoding;
                let read = vp8::parse(&it.bytes).unwrap();
                let d = read.descriptor.unwrap();
                assert_eq!(read.start, first);
                assert_eq!(read.keyframe, first && (n == 0 || n == 50));
                if read.keyframe {
                    let height = ENCODINGS[it.encoding].0;
                    assert_eq!(read.size, Some((height * 16 / 9, height)));
                    assert_eq!(d.temporal, 0);
                }
                let tl0 = d.tl0.unwrap();
                if let Some((picture, before)) = last[it.encoding].filter(|_| first) {
                    assert_eq!(d.picture_id, (picture + 1) & 0x7fff);
                    assert_eq!(tl0, before.wrapping_add(u8::from(d.temporal == 0)));
                }
                last[it.encoding] = Some((d.picture_id, tl0));
                assert!(seqs[it.encoding].is_none_or(|seq: u64| it.seq == seq + 1));
                seqs[it.encoding] = Some(it.seq);
                assert!(it.bytes.len() <= MAX_PAYLOAD);
                assert!(Stamp::read(&it.bytes).is_some_and(|s| usize::from(s.encoding) == it.encoding));
            }
        }
        assert_eq!(video.keyframes, 2);
    }

    #[test]
    fn the_bitrate_is_kept() {
        let mut video = Video::new(2_500_000.0, 3);
        let (mut bytes, mut top) = (0, 0);
        for _ in 0..FPS * 20 {
            for it in video.frame() {
                bytes += it.bytes.len();
                top += usize::from(it.encoding == 2) * it.bytes.len();
            }
        }
        let rate = |bytes: usize| bytes as f64 * 8.0 / 20.0;
        assert!((2_300_000.0..2_800_000.0).contains(&rate(bytes)), "{}", rate(bytes));
        assert!((1_600_000.0..2_000_000.0).contains(&rate(top)), "{}", rate(top));
    }

    #[test]
    fn what_nobody_wants_is_not_sent_and_comes_back_with_a_keyframe() {
        let mut video = Video::new(2_500_000.0, 3);
        video.frame();
        video.limit(180);
        assert!(video.frame().iter().all(|it| it.encoding == 0));
        video.limit(0);
        assert!(video.frame().is_empty());
        video.limit(-1);
        let frame = video.frame();
        assert!(frame.iter().any(|it| it.encoding == 2 && vp8::parse(&it.bytes).unwrap().keyframe));
    }
}
