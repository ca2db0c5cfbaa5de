//! Decode targets and template ids of dependency descriptors (`spec/bridge.md` 4.6.4).

use super::*;
use crate::codec::dependency::Reader;
use crate::codec::sample::{L1T3, L2T2_KEY, Sent, Sketch};

/// A sender of AV1.
struct Av1 {
    encoding: Encoding,
    sketch: &'static Sketch,
    offset: u8,
    number: u16,
}

impl Av1 {
    fn new(source: u32, index: u8, sketch: &'static Sketch, offset: u8) -> Self {
        let start = Instant::now();
        Self {
            encoding: Encoding::new(start, Codec::Av1, source, index),
            sketch,
            offset,
            number: 500 * (u16::from(index) + 1),
        }
    }

    /// One frame in one packet. Template 0 is a keyframe with the structure.
    fn frame(&mut self, template: u8, last: bool) -> MediaPacket {
        let sent = Sent {
            start: true,
            end: true,
            template,
            offset: self.offset,
            frame_number: self.number,
            structure: (template == 0).then_some(self.sketch),
            ..Sent::default()
        };
        self.send(&sent, last)
    }

    fn send(&mut self, sent: &Sent<'_>, last: bool) -> MediaPacket {
        let mut raw = sent.write();
        raw[0] = raw[0] & 0xc0 | (self.offset + sent.template) & 0x3f;
        self.number = self.number.wrapping_add(1);
        if self.sketch.templates[usize::from(sent.template)].0 == 0 {
            self.encoding.at += 33;
        }
        self.encoding.packet(vec![0x10], Some(raw), last)
    }
}

fn target(dt: u8) -> LayerIndex {
    LayerIndex::av1(0, dt)
}

#[test]
fn what_is_not_part_of_the_target_is_left_out_and_the_mask_says_so() {
    let mut av1 = Av1::new(0, 0, &L1T3, 0);
    let mut s = stream(target(0));
    let mut reader = Reader::new();
    let mut sent = Vec::new();
    for template in [0, 3, 2, 4, 1, 3, 2, 4, 1] {
        let packet = av1.frame(template, true);
        if let Some(p) = s.push(&packet) {
            let d = reader.read(p.descriptor.as_ref().unwrap()).unwrap();
            assert_eq!((d.frame_number, d.template_id), (p.frame_number, packet.frame_template()));
            sent.push((p, d));
        }
    }
    assert_eq!(sent.len(), 3);
    assert_eq!(sent[0].1.active, Some(0b001));
    assert_eq!(sent[1].0.seq, sent[0].0.seq + 1);
    assert_eq!(sent[1].0.frame_number, sent[0].0.frame_number + 4, "frame numbers do not close up");
}

impl MediaPacket {
    fn frame_template(&self) -> u8 {
        match &self.frame.headers {
            crate::codec::Headers::Dependency(d) => d.template_id,
            _ => panic!("no descriptor"),
        }
    }
}

#[test]
fn the_marker_ends_the_target_s_spatial_layer() {
    let mut av1 = Av1::new(0, 0, &L2T2_KEY, 0);
    let (mut low, mut high) = (stream(target(1)), stream(target(3)));
    let markers = |s: &mut Stream, packets: &[MediaPacket]| -> Vec<bool> {
        push_all(s, packets).into_iter().flatten().map(|p| p.marker).collect()
    };
    let key = [av1.frame(0, false), av1.frame(3, true)];
    assert_eq!(markers(&mut low, &key), [true]);
    assert_eq!(markers(&mut high, &key), [false, true]);
    let delta = [av1.frame(2, false), av1.frame(5, true)];
    assert_eq!(markers(&mut low, &delta), [true]);
    assert_eq!(markers(&mut high, &delta), [true]);
}

#[test]
fn a_receiver_changes_target_at_a_switch_indication() {
    let mut av1 = Av1::new(0, 0, &L1T3, 0);
    let mut s = stream(target(2));
    let mask = |s: &mut Stream, av1: &mut Av1, template| s.push(&av1.frame(template, true)).unwrap().joinable;
    mask(&mut s, &mut av1, 0);
    assert_eq!(mask(&mut s, &mut av1, 3), 0, "discardable");
    assert_eq!(mask(&mut s, &mut av1, 2), 0b111, "T1 is a switch for the target, and needs only what all have");
    assert_eq!(mask(&mut s, &mut av1, 4), 0);
    assert_eq!(mask(&mut s, &mut av1, 1), 0b111);
    // T1 that needs a frame of T2.
    let sent =
        Sent { start: true, end: true, template: 2, frame_number: av1.number, fdiffs: Some(&[2]), ..Sent::default() };
    av1.frame(3, true);
    let lost = av1.send(&Sent { frame_number: sent.frame_number + 1, ..sent.clone() }, true);
    assert_eq!(s.push(&lost).unwrap().joinable, 0, "after a loss one does not know");
}

#[test]
fn spatial_changes_need_a_keyframe_when_layers_meet_in_key_pictures_only() {
    let mut av1 = Av1::new(0, 0, &L2T2_KEY, 0);
    let mut s = stream(target(1));
    let key = s.push(&av1.frame(0, false)).unwrap();
    assert!(key.switch_in);
    s.push(&av1.frame(3, true));
    s.push(&av1.frame(2, false));
    s.push(&av1.frame(5, true));
    let base = s.push(&av1.frame(1, false)).unwrap();
    assert!(!base.switch_in);
    assert_eq!(base.joinable & 0b1000, 0, "S0 is not forwarded to receivers of S1");
}

#[test]
fn inactive_targets_are_replaced_by_the_next_lower_one() {
    let mut av1 = Av1::new(0, 0, &L1T3, 0);
    let mut s = stream(target(2));
    s.push(&av1.frame(0, true)).unwrap();
    for t in [3, 2, 4] {
        s.push(&av1.frame(t, true)).unwrap();
    }
    let less = Sent {
        start: true,
        end: true,
        template: 1,
        frame_number: av1.number,
        active: Some((0b001, 3)),
        ..Sent::default()
    };
    let p = s.push(&av1.send(&less, true)).unwrap();
    assert_eq!(Reader::new().read(&av1_key_then(&p)).map(|d| d.active), Ok(Some(0b001)));
    assert_eq!(s.push(&av1.frame(3, true)), None);
    assert!(!s.needs_keyframe());
}

/// The descriptor with the structure in front of it, for a reader of its own.
fn av1_key_then(p: &Projected) -> Vec<u8> {
    let mut reader = Reader::new();
    reader.read(&Sent { structure: Some(&L1T3), ..Sent::default() }.write()).unwrap();
    let d = reader.read(p.descriptor.as_ref().unwrap()).unwrap();
    Sent { structure: Some(&L1T3), template: 1, active: d.active.map(|a| (a, 3)), ..Sent::default() }.write()
}

#[test]
fn template_ids_of_the_next_encoding_follow_and_wrap_at_64() {
    // Five templates each: 58 to 62, then 63 to 3.
    let mut low = Av1::new(0, 0, &L1T3, 58);
    let mut high = Av1::new(0, 1, &L1T3, 0);
    let mut s = stream(LayerIndex::av1(1, 2));
    let mut reader = Reader::new();
    let first = s.push(&low.frame(0, true)).unwrap();
    assert_eq!(first.structure, Some((58, 5)));
    reader.read(first.descriptor.as_ref().unwrap()).unwrap();
    high.encoding.at = 100;
    let key = s.push(&high.frame(0, true)).unwrap();
    assert_eq!(key.structure, Some((63, 5)));
    assert_eq!((key.frame_number, key.seq), (first.frame_number + 1, first.seq + 1));
    let d = reader.read(key.descriptor.as_ref().unwrap()).unwrap();
    assert_eq!((d.structure.offset, d.template_id), (63, 63));
    let delta = s.push(&high.frame(3, true)).unwrap();
    let d = reader.read(delta.descriptor.as_ref().unwrap()).unwrap();
    assert_eq!((d.template_id, d.temporal, d.frame_number), (2, 2, key.frame_number + 1));
}

#[test]
fn a_receiver_s_template_ids_follow_over_sources() {
    let mut one = Av1::new(0, 0, &L1T3, 0);
    let mut two = Av1::new(1, 0, &L2T2_KEY, 30);
    two.encoding.at = 500;
    let (mut s1, mut s2) = (stream(target(2)), stream(target(3)));
    let k1 = StreamKey { source: SourceId(0), target: target(2), generation: 0 };
    let k2 = StreamKey { source: SourceId(1), target: target(3), generation: 0 };
    let mut sub = Subscription::new();
    let mut reader = Reader::new();
    let mut read = |p: &Projected, n: &Numbers| {
        let mut raw = p.descriptor.clone().unwrap();
        template::patch_descriptor(&mut raw, n);
        reader.read(&raw).unwrap()
    };
    sub.switch_to(Some(k1));
    let packet = one.frame(0, true);
    let p = s1.push(&packet).unwrap();
    let n = sub.join(packet.arrival, k1, &p, &packet).unwrap();
    assert_eq!(read(&p, &n).structure.offset, 0);
    sub.switch_to(Some(k2));
    let packet = two.frame(0, false);
    let p = s2.push(&packet).unwrap();
    let m = sub.join(packet.arrival, k2, &p, &packet).unwrap();
    let d = read(&p, &m);
    assert_eq!((d.structure.offset, d.template_id, d.frame_number), (5, 5, n.frame_number + 1));
    let packet = two.frame(3, true);
    let p = s2.push(&packet).unwrap();
    let m = sub.accept(packet.arrival, k2, &p, &packet).unwrap();
    let d = read(&p, &m);
    assert_eq!((d.template_id, d.spatial), (8, 1));
}

#[test]
fn template_ids_and_frame_numbers_are_kept_while_another_codec_is_sent() {
    let start = Instant::now();
    let mut av1 = Av1::new(0, 0, &L1T3, 7);
    let mut vp8 = Encoding::new(start, Codec::Vp8, 0, 0);
    let (all, base) = (target(2), target(0));
    let keys = [all, base].map(|target| StreamKey { source: SourceId(0), target, generation: 0 });
    let mut streams = [stream(all), stream(base)];
    let mut sub = Subscription::new();
    let mut push = |sub: &mut Subscription, packet: &MediaPacket| -> Option<(Projected, Numbers)> {
        let projected: Vec<_> =
            keys.iter().zip(&mut streams).filter_map(|(k, s)| Some((*k, s.push(packet)?))).collect();
        let joined = projected.iter().find_map(|(k, p)| Some((p.clone(), sub.join(packet.arrival, *k, p, packet)?)));
        let accepted =
            || projected.iter().find_map(|(k, p)| Some((p.clone(), sub.accept(packet.arrival, *k, p, packet)?)));
        joined.or_else(accepted)
    };
    sub.switch_to(Some(keys[0]));
    let (first, n1) = push(&mut sub, &av1.frame(0, true)).unwrap();
    assert_eq!(first.structure, Some((7, 5)));
    vp8.seq = av1.encoding.seq;
    vp8.at = av1.encoding.at;
    push(&mut sub, &vp8.frame(KEY)[0]).unwrap();
    // The source goes back while the receiver changes streams.
    sub.switch_to(Some(keys[1]));
    av1.encoding.seq = vp8.seq;
    av1.encoding.at = vp8.at;
    av1.offset = 0;
    let (p, n2) = push(&mut sub, &av1.frame(0, true)).unwrap();
    assert!(n2.joined);
    let mut raw = p.descriptor.clone().unwrap();
    template::patch_descriptor(&mut raw, &n2);
    let d = Reader::new().read(&raw).unwrap();
    assert_eq!(d.structure.offset, 12, "after the ids of the structure before");
    assert!(n2.frame_number.wrapping_sub(n1.frame_number) < 5);
    assert_eq!(n2.seq, n1.seq + 2);
}
