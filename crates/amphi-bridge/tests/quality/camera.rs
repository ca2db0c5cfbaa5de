//! A camera with its encoder: simulcast and layers as browsers send them. Frames of the right size at the right pace, keyframes when asked for, encodings above the
//! wanted height not sent.

use std::time::{Duration, Instant};

use str0m::rtp::ExtensionValues;

/// Bytes of a packet's payload at most.
const PACKET: usize = 1_100;
const FRAME: Duration = Duration::from_micros(33_333);
/// Keyframes are so many times as large as others.
const KEY_SIZE: usize = 4;

pub(crate) const VP8: u8 = 96;
pub(crate) const VP9: u8 = 98;
pub(crate) const AV1: u8 = 45;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Vp8,
    /// Three spatial layers that depend on each other in keyframes only, two temporal ones, in one stream.
    Vp9,
    /// One spatial layer and three temporal ones per encoding, with dependency descriptor.
    Av1,
}

/// A dependency descriptor, as str0m takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor(pub(crate) Vec<u8>);

#[derive(Clone, Debug)]
pub(crate) struct Encoding {
    pub(crate) ssrc: u32,
    pub(crate) rtx: u32,
    pub(crate) height: u16,
    pub(crate) bps: usize,
    seq: u64,
    picture_id: u16,
    tl0: u8,
    /// Since the last keyframe.
    frame: u64,
    sending: bool,
}

/// One packet to be sent.
pub(crate) struct Out {
    pub(crate) ssrc: u32,
    pub(crate) payload_type: u8,
    pub(crate) seq: u64,
    pub(crate) time: u32,
    pub(crate) marker: bool,
    pub(crate) payload: Vec<u8>,
    pub(crate) extensions: ExtensionValues,
}

#[derive(Clone, Debug)]
pub(crate) struct Camera {
    pub(crate) name: String,
    pub(crate) codec: Codec,
    pub(crate) desktop: bool,
    pub(crate) encodings: Vec<Encoding>,
    pub(crate) on: bool,
    /// As the bridge said; -1 is no limit.
    pub(crate) wanted: i64,
    /// Heights that were wanted, in the order of the messages.
    pub(crate) told: Vec<i64>,
    /// A keyframe is due.
    pub(crate) key: bool,
    /// Keyframe requests so far.
    pub(crate) asked: usize,
    pub(crate) keyframes: usize,
    /// Sent in place of the payload type of the codec.
    pub(crate) payload_type: Option<u8>,
    time: u32,
    next: Option<Instant>,
}

impl Camera {
    /// Encodings of these heights and bit rates; SSRCs count from `ssrc`.
    pub(crate) fn new(name: &str, codec: Codec, ssrc: u32, encodings: &[(u16, usize)]) -> Self {
        let encodings = (0..).zip(encodings).map(|(n, (height, bps))| Encoding {
            ssrc: ssrc + 2 * n,
            rtx: ssrc + 2 * n + 1,
            height: *height,
            bps: *bps,
            seq: 20_000 + 1_000 * u64::from(n),
            picture_id: 100 + n as u16,
            tl0: 7,
            frame: 0,
            sending: false,
        });
        Self {
            name: name.to_owned(),
            codec,
            desktop: false,
            encodings: encodings.collect(),
            on: true,
            wanted: -1,
            told: Vec::new(),
            key: true,
            asked: 0,
            keyframes: 0,
            payload_type: None,
            time: 90_000,
            next: None,
        }
    }

    /// As browsers do it at 720p.
    pub(crate) fn simulcast(name: &str, ssrc: u32) -> Self {
        Self::new(name, Codec::Vp8, ssrc, &[(180, 150_000), (360, 450_000), (720, 1_500_000)])
    }

    /// A camera that restarted: other SSRCs, all numbers anew.
    pub(crate) fn renewed(&self, ssrc: u32) -> Self {
        let encodings: Vec<_> = self.encodings.iter().map(|it| (it.height, it.bps)).collect();
        Self { desktop: self.desktop, wanted: self.wanted, ..Self::new(&self.name, self.codec, ssrc, &encodings) }
    }

    /// As it is signaled.
    pub(crate) fn signaled(&self) -> String {
        let ns = "xmlns='urn:xmpp:jingle:apps:rtp:ssma:0'";
        let name = &self.name;
        let kind = if self.desktop { "desktop" } else { "camera" };
        let mut xml = format!("<media-source type='video' id='{name}'>");
        for it in &self.encodings {
            for ssrc in [it.ssrc, it.rtx] {
                xml += &format!("<source {ns} ssrc='{ssrc}' name='{name}' videoType='{kind}'/>");
            }
        }
        if self.encodings.len() > 1 {
            xml += &format!("<ssrc-group {ns} semantics='SIM'>");
            self.encodings.iter().for_each(|it| xml += &format!("<source ssrc='{}'/>", it.ssrc));
            xml += "</ssrc-group>";
        }
        for it in &self.encodings {
            xml += &format!(
                "<ssrc-group {ns} semantics='FID'><source ssrc='{}'/><source ssrc='{}'/></ssrc-group>",
                it.ssrc, it.rtx
            );
        }
        xml + "</media-source>"
    }

    /// The bridge says how much of it is wanted.
    pub(crate) fn limit(&mut self, height: i64) {
        self.wanted = height;
        self.told.push(height);
    }

    fn wants(&self, n: usize) -> bool {
        // The lowest encoding is sent for any height.
        let height = i64::from(self.encodings[n].height);
        self.wanted < 0 || (self.wanted > 0 && (height <= self.wanted || n == 0))
    }

    /// The packets that are due.
    pub(crate) fn play(&mut self, now: Instant, out: &mut Vec<Out>) {
        let next = self.next.get_or_insert(now);
        // What was missed by far is not made up for.
        if now.saturating_duration_since(*next) > Duration::from_millis(300) {
            self.time = self.time.wrapping_add((now.duration_since(*next).as_millis() * 90) as u32);
            *next = now;
        }
        while self.next.is_some_and(|at| at <= now) {
            self.next = self.next.map(|at| at + FRAME);
            self.time = self.time.wrapping_add(3_000);
            if self.on {
                self.picture(out);
            }
        }
    }

    fn picture(&mut self, out: &mut Vec<Out>) {
        for n in 0..self.encodings.len() {
            let wants = self.wants(n);
            // An encoder that is switched on begins with a keyframe, and browsers key all.
            self.key |= wants && !self.encodings[n].sending;
            self.encodings[n].sending = wants;
        }
        let key = std::mem::take(&mut self.key);
        self.keyframes += usize::from(key);
        for n in 0..self.encodings.len() {
            if self.encodings[n].sending {
                match self.codec {
                    Codec::Vp8 => self.vp8(n, key, out),
                    Codec::Vp9 => self.vp9(n, key, out),
                    Codec::Av1 => self.av1(n, key, out),
                }
            }
        }
    }

    fn packets(
        &mut self,
        n: usize,
        payloads: Vec<Vec<u8>>,
        last: bool,
        descriptor: Option<&dyn Fn(bool, bool) -> Vec<u8>>,
        out: &mut Vec<Out>,
    ) {
        let own = match self.codec {
            Codec::Vp8 => VP8,
            Codec::Vp9 => VP9,
            Codec::Av1 => AV1,
        };
        let (time, payload_type, encoding) = (self.time, self.payload_type.unwrap_or(own), &mut self.encodings[n]);
        let count = payloads.len();
        for (at, payload) in payloads.into_iter().enumerate() {
            let mut extensions = ExtensionValues::default();
            if let Some(write) = descriptor {
                extensions.user_values.set(Descriptor(write(at == 0, at + 1 == count)));
            }
            let (ssrc, seq, marker) = (encoding.ssrc, encoding.seq, last && at + 1 == count);
            encoding.seq += 1;
            out.push(Out { ssrc, payload_type, seq, time, marker, payload, extensions });
        }
    }

    fn vp8(&mut self, n: usize, key: bool, out: &mut Vec<Out>) {
        let it = &mut self.encodings[n];
        if key {
            it.frame = 0;
        }
        let temporal = [0, 2, 1, 2][it.frame as usize % 4];
        it.frame += 1;
        it.picture_id = (it.picture_id + 1) & 0x7fff;
        it.tl0 = it.tl0.wrapping_add(u8::from(temporal == 0));
        let size = it.bps / 240 * if key { KEY_SIZE } else { 1 };
        let count = size.div_ceil(PACKET).max(1);
        let payloads = (0..count).map(|at| {
            let mut p = vec![0x80 | if at == 0 { 0x10 } else { 0 }, 0xe0];
            p.extend((it.picture_id | 0x8000).to_be_bytes());
            p.extend([it.tl0, temporal << 6 | 0x20]);
            if at == 0 {
                let [w, h] = [it.height / 9 * 16, it.height].map(u16::to_le_bytes);
                p.extend([u8::from(!key), 0, 0, 0x9d, 1, 0x2a, w[0], w[1], h[0], h[1]]);
            }
            p.resize((size / count).max(20), at as u8);
            p
        });
        let payloads = payloads.collect();
        self.packets(n, payloads, true, None, out);
    }

    /// Three spatial layers of a quarter, a half and the whole height.
    fn vp9(&mut self, n: usize, key: bool, out: &mut Vec<Out>) {
        let it = &mut self.encodings[n];
        if key {
            it.frame = 0;
        }
        let temporal = (it.frame % 2) as u8;
        it.frame += 1;
        it.picture_id = (it.picture_id + 1) & 0x7fff;
        it.tl0 = it.tl0.wrapping_add(u8::from(temporal == 0));
        let it = it.clone();
        for spatial in 0..3_u8 {
            let share = [1, 3, 8][usize::from(spatial)];
            let size = it.bps / 240 * share / 12 * if key { KEY_SIZE } else { 1 };
            let count = size.div_ceil(PACKET).max(1);
            let payloads = (0..count).map(|at| {
                let (begin, end) = (at == 0, at + 1 == count);
                let structure = key && spatial == 0 && begin;
                let inter = key && spatial > 0;
                // I P L F B E V Z; Z: not used by higher layers, but in keyframes.
                let not_reference = !key || spatial == 2;
                let flags = 0x80
                    | u8::from(!key) << 6
                    | 0x20
                    | u8::from(begin) << 3
                    | u8::from(end) << 2
                    | u8::from(structure) << 1
                    | u8::from(not_reference);
                let mut p = vec![flags];
                p.extend((it.picture_id | 0x8000).to_be_bytes());
                // T U S D; an upper temporal layer may be begun with at once.
                p.extend([temporal << 5 | u8::from(temporal > 0) << 4 | spatial << 1 | u8::from(inter), it.tl0]);
                if structure {
                    p.push(2 << 5 | 1 << 4);
                    for divisor in [4, 2, 1] {
                        let height = it.height / divisor;
                        p.extend((height / 9 * 16).to_be_bytes());
                        p.extend(height.to_be_bytes());
                    }
                }
                p.resize((size / count).max(40), at as u8);
                p
            });
            let payloads = payloads.collect();
            self.packets(n, payloads, spatial == 2, None, out);
        }
    }

    fn av1(&mut self, n: usize, key: bool, out: &mut Vec<Out>) {
        let it = &mut self.encodings[n];
        if key {
            it.frame = 0;
        }
        // Templates of the structure: key, T0, T1, T2 after T0, T2 after T1.
        let template = if key { 0 } else { [1, 3, 2, 4][it.frame as usize % 4] };
        it.frame += 1;
        it.picture_id = it.picture_id.wrapping_add(1);
        let (frame, height) = (it.picture_id, it.height);
        let size = it.bps / 240 * if key { KEY_SIZE } else { 1 };
        let count = size.div_ceil(PACKET).max(1);
        let payloads = (0..count).map(|at| {
            // Aggregation header: continues, goes on, number of elements, new sequence.
            let header = u8::from(at > 0) << 7 | u8::from(at + 1 < count) << 6 | 1 << 4 | u8::from(key && at == 0) << 3;
            let mut p = vec![header];
            p.resize((size / count).max(20), at as u8);
            p
        });
        let payloads = payloads.collect();
        let write = |start: bool, end: bool| descriptor(start, end, template, frame, (key && start).then_some(height));
        self.packets(n, payloads, true, Some(&write), out);
    }
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn put(&mut self, value: u32, width: usize) {
        for bit in (0..width).rev() {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.len() - 1;
            self.bytes[last] |= ((value >> bit & 1) as u8) << (7 - self.count % 8);
            self.count += 1;
        }
    }
}

/// How far back the frame is that one of each template refers to; a keyframe refers to none.
pub(crate) const AV1_DIFFERENCES: [u32; 5] = [0, 4, 2, 1, 1];

/// L1T3. With a height: and the structure.
fn descriptor(start: bool, end: bool, template: u32, frame: u16, structure: Option<u16>) -> Vec<u8> {
    let mut w = Bits::default();
    w.put(start.into(), 1);
    w.put(end.into(), 1);
    w.put(template, 6);
    w.put(frame.into(), 16);
    let Some(height) = structure else { return w.bytes };
    // Structure, then active targets, indications, differences and chains of this frame: no.
    w.put(0b10000, 5);
    w.put(0, 6);
    w.put(2, 5);
    // Layers: the same, next temporal, next temporal, the same, none more.
    [0, 1, 1, 0, 3].into_iter().for_each(|it| w.put(it, 2));
    // Indications of each template for each target: 0 not there, 1 discardable, 2 switch, 3 required.
    for dtis in [[2, 2, 2], [2, 2, 2], [0, 1, 2], [0, 0, 1], [0, 0, 1]] {
        dtis.into_iter().for_each(|it| w.put(it, 2));
    }
    for diff in AV1_DIFFERENCES {
        if diff > 0 {
            w.put(1, 1);
            w.put(diff - 1, 4);
        }
        w.put(0, 1);
    }
    // One chain, as ns(4); it protects all targets; differences of templates.
    w.put(1, 2);
    [0, 4, 2, 1, 3].into_iter().for_each(|it| w.put(it, 4));
    w.put(1, 1);
    w.put(u32::from(height / 9 * 16 - 1), 16);
    w.put(u32::from(height - 1), 16);
    w.bytes
}
