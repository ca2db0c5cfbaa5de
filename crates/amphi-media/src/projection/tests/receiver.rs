//! What one receiver gets while it changes streams (`spec/bridge.md` 4.6.2, 4.6.6, 4.8).

use super::*;

/// Streams of sources, with the receiver that is offered all they forward.
struct Bench {
    streams: Vec<(StreamKey, Stream)>,
    sub: Subscription,
    runs: Runs,
}

fn key(source: u32, encoding: u8, spatial: u8, temporal: u8) -> StreamKey {
    StreamKey { source: SourceId(source), target: LayerIndex::new(encoding, spatial, temporal), generation: 0 }
}

impl Bench {
    fn new(keys: &[StreamKey]) -> Self {
        let streams = keys.iter().map(|k| (*k, stream(k.target))).collect();
        Self { streams, sub: Subscription::new(), runs: Runs::new() }
    }

    /// What the receiver is sent of a packet.
    fn push(&mut self, packet: &MediaPacket) -> Option<Numbers> {
        let of_source = self.streams.iter_mut().filter(|(k, _)| k.source == packet.source);
        let projected: Vec<_> = of_source.filter_map(|(k, s)| Some((*k, s.push(packet)?))).collect();
        let now = packet.arrival;
        let joined = projected.iter().find_map(|(k, p)| self.sub.join(now, *k, p, packet));
        if joined.is_some() {
            self.runs.begin(&self.sub);
            return joined;
        }
        projected.iter().find_map(|(k, p)| self.sub.accept(now, *k, p, packet))
    }

    fn all(&mut self, packets: &[MediaPacket]) -> Vec<Option<Numbers>> {
        packets.iter().map(|p| self.push(p)).collect()
    }
}

fn vp8(source: u32, index: u8, start: Instant) -> Encoding {
    Encoding::new(start, Codec::Vp8, source, index)
}

#[test]
fn the_first_numbers_are_the_stream_s_below_half_of_the_range() {
    let k = key(0, 0, 0, 2);
    let mut b = Bench::new(&[k]);
    let mut e = vp8(0, 0, Instant::now());
    e.seq = 65_536 + 40_000;
    b.sub.switch_to(Some(k));
    let packet = &e.frame(KEY)[0];
    let n = b.push(packet).unwrap();
    assert_eq!(n.seq, 40_000 & 0x7fff);
    assert_eq!((n.timestamp, n.picture_id, n.tl0, n.joined), (packet.timestamp, 101, 11, true));
}

#[test]
fn a_switch_waits_for_a_keyframe_and_goes_on_in_all_numbers() {
    let (low, high) = (key(0, 0, 0, 2), key(0, 1, 0, 2));
    let start = Instant::now();
    let (mut e0, mut e1) = (vp8(0, 0, start), vp8(0, 1, start));
    let mut b = Bench::new(&[low, high]);
    b.sub.switch_to(Some(low));
    let first = b.push(&e0.frame(KEY)[0]).unwrap();
    b.sub.switch_to(Some(high));
    e1.at = 33;
    assert_eq!(b.push(&e1.frame(delta(0))[0]), None);
    assert!(b.push(&e0.frame(delta(0))[0]).is_some(), "the old one goes on");
    let last = b.push(&e0.frame(delta(0))[0]).unwrap();
    e1.at = 33 * 3;
    let n = b.push(&e1.frame(KEY)[0]).unwrap();
    assert_eq!((n.seq, n.picture_id, n.tl0), (last.seq + 1, last.picture_id + 1, last.tl0 + 1));
    assert_eq!(n.timestamp.wrapping_sub(last.timestamp), 3000);
    assert_eq!((b.sub.current(), b.sub.pending()), (Some(high), None));
    assert_eq!(b.push(&e0.frame(delta(0))[0]), None);
    assert!(n.seq > first.seq);
}

#[test]
fn who_sees_as_much_does_not_begin_a_better_stream_with_a_lower_encoding() {
    let (mid, high) = (key(0, 1, 0, 2), key(0, 2, 0, 2));
    let start = Instant::now();
    let mut es: Vec<_> = (0..3).map(|i| vp8(0, i, start)).collect();
    let mut b = Bench::new(&[mid, high]);
    b.sub.switch_to(Some(mid));
    for e in &mut es {
        b.push(&e.frame(KEY)[0]);
    }
    assert_eq!(b.sub.current(), Some(mid));
    b.sub.switch_to(Some(high));
    for e in &mut es {
        e.at += 400;
    }
    b.streams[1].1 = stream(high.target);
    let sent: Vec<_> = es.iter_mut().map(|e| b.push(&e.frame(KEY)[0])).collect();
    assert!(sent[0].is_none() && sent[1].is_some_and(|n| !n.joined) && sent[2].is_some_and(|n| n.joined));
}

#[test]
fn a_change_of_frame_rate_needs_no_keyframe_and_keeps_deltas() {
    let (all, base) = (key(0, 0, 0, 2), key(0, 0, 0, 0));
    let mut e = vp8(0, 0, Instant::now());
    let mut b = Bench::new(&[all, base]);
    b.sub.switch_to(Some(all));
    let mut sent = vec![b.push(&e.frame(KEY)[0]).unwrap()];
    let mut one = |b: &mut Bench, p: Picture| {
        let packet = e.frame(p).remove(0);
        let numbers = b.push(&packet);
        (packet.timestamp, numbers)
    };
    for p in [sync(2), sync(1), delta(2), delta(0)] {
        sent.push(one(&mut b, p).1.unwrap());
    }
    b.sub.switch_to(Some(base));
    for p in [sync(2), sync(1), delta(2)] {
        one(&mut b, p).1.inspect(|n| sent.push(*n));
    }
    let (timestamp, down) = one(&mut b, delta(0));
    assert!(down.unwrap().joined);
    assert_eq!(down.unwrap().timestamp, timestamp, "no jump in time");
    sent.push(down.unwrap());
    assert_eq!(one(&mut b, sync(2)).1, None);
    b.sub.switch_to(Some(all));
    assert_eq!(one(&mut b, delta(2)).1, None, "it builds upon what was left out");
    sent.push(one(&mut b, delta(0)).1.unwrap());
    let (timestamp, up) = one(&mut b, sync(2));
    assert!(up.unwrap().joined);
    assert_eq!(up.unwrap().timestamp, timestamp);
    sent.push(up.unwrap());
    for pair in sent.windows(2) {
        assert_eq!(pair[1].seq, pair[0].seq + 1);
        assert_eq!(pair[1].picture_id, pair[0].picture_id + 1);
    }
    assert_eq!(sent.last().unwrap().tl0, 14, "as in the source: every base frame was sent");
}

#[test]
fn a_source_that_comes_back_with_other_ssrcs_is_joined_at_a_keyframe() {
    let (old, new) = (key(0, 0, 0, 2), StreamKey { generation: 1, ..key(0, 0, 0, 2) });
    let start = Instant::now();
    let (mut before, mut after) = (vp8(0, 0, start), vp8(0, 0, start));
    after.ssrc += 1_000;
    after.seq += 5_000;
    let mut b = Bench::new(&[old, new]);
    b.sub.switch_to(Some(old));
    let last = b.push(&before.frame(KEY)[0]).unwrap();
    // The new stream has begun before the receiver hears of it.
    after.at = 33;
    b.streams[1].1.push(&after.frame(KEY)[0]);
    b.sub.switch_to(Some(new));
    for p in [sync(2), sync(1), delta(2), delta(0)] {
        let packet = after.frame(p).remove(0);
        let it = b.streams[1].1.push(&packet).unwrap();
        assert_eq!(b.sub.join(packet.arrival, new, &it, &packet), None, "nothing of it was shown");
    }
    let packet = after.frame(KEY).remove(0);
    let it = b.streams[1].1.push(&packet).unwrap();
    let n = b.sub.join(packet.arrival, new, &it, &packet).unwrap();
    assert_eq!((n.tl0, n.picture_id), (last.tl0 + 1, last.picture_id + 1));
    assert!((1..90_000).contains(&n.timestamp.wrapping_sub(last.timestamp)), "{} {}", n.timestamp, last.timestamp);
}

#[test]
fn suspension_and_resumption() {
    let k = key(0, 0, 0, 2);
    let mut e = vp8(0, 0, Instant::now());
    let mut b = Bench::new(&[k]);
    b.sub.switch_to(Some(k));
    let before = b.push(&e.frame(KEY)[0]).unwrap();
    b.sub.switch_to(None);
    for _ in 0..10 {
        assert_eq!(b.push(&e.frame(KEY)[0]), None);
    }
    b.sub.switch_to(Some(k));
    assert_eq!(b.push(&e.frame(delta(0))[0]), None);
    let packet = e.frame(KEY).remove(0);
    let n = b.push(&packet).unwrap();
    assert_eq!((n.seq, n.picture_id, n.tl0), (before.seq + 1, before.picture_id + 1, before.tl0 + 1));
    assert_eq!(n.timestamp, packet.timestamp, "linear");
}

#[test]
fn a_slot_goes_on_with_another_source() {
    let (one, two) = (key(0, 0, 0, 2), key(1, 0, 0, 2));
    let start = Instant::now();
    let (mut e1, mut e2) = (vp8(0, 0, start), vp8(1, 0, start));
    let mut b = Bench::new(&[one, two]);
    b.sub.switch_to(Some(one));
    let unfinished = e1.frame(Picture { packets: 2, ..KEY });
    let last = b.push(&unfinished[0]).unwrap();
    b.sub.switch_to(None);
    b.sub.switch_to(Some(two));
    assert_eq!(b.push(&unfinished[1]), None);
    e2.at = 33 + 67;
    let n = b.push(&e2.frame(KEY)[0]).unwrap();
    assert_eq!((n.seq, n.picture_id), (last.seq + 2, last.picture_id + 1));
    assert_eq!(n.timestamp.wrapping_sub(last.timestamp), 100 * 90);
    // And back.
    b.sub.switch_to(Some(one));
    e1.at = 200;
    let m = b.push(&e1.frame(KEY)[0]).unwrap();
    assert_eq!(m.seq, n.seq + 1);
}

#[test]
fn nacks_find_where_numbers_came_from() {
    let (low, high) = (key(0, 0, 0, 2), key(0, 1, 0, 2));
    let start = Instant::now();
    let (mut e0, mut e1) = (vp8(0, 0, start), vp8(0, 1, start));
    let mut b = Bench::new(&[low, high]);
    b.sub.switch_to(Some(low));
    let first = b.push(&e0.frame(KEY)[0]).unwrap();
    let lost = e0.frame(delta(0)).remove(0);
    b.push(&e0.frame(Picture { packets: 2, ..delta(0) })[0]).unwrap();
    b.sub.switch_to(Some(high));
    let joined = b.push(&e1.frame(KEY)[0]).unwrap();
    assert_eq!(joined.seq, first.seq + 4, "the frame before has no end");
    let origin = |b: &Bench, seq: u64| b.runs.origin(&b.sub, seq as u16);
    let o = origin(&b, first.seq).unwrap();
    assert_eq!((o.stream, o.out), (low, first.seq));
    let o = origin(&b, joined.seq).unwrap();
    assert_eq!(o.stream, high);
    assert_eq!(origin(&b, first.seq + 3), None, "a number that nothing may have");
    assert_eq!(origin(&b, joined.seq + 1), None, "not sent yet");
    assert_eq!(origin(&b, first.seq - 1), None);
    // What comes late is not forwarded after the switch, but a NACK may still bring it.
    assert_eq!(b.push(&lost), None);
    let o = origin(&b, first.seq + 1).unwrap();
    assert_eq!((o.stream, o.seq), (low, lost.seq));
}

#[test]
fn on_the_way_down_only_the_base_layer_is_sent() {
    let (full, small) = (key(0, 0, 2, 2), key(0, 0, 0, 2));
    assert_eq!(stopover(full.target, small.target, None), Some(LayerIndex::new(0, 2, 0)));
    assert_eq!(stopover(small.target, full.target, None), None, "upwards");
    assert_eq!(stopover(LayerIndex::new(0, 0, 2), LayerIndex::new(0, 0, 1), None), None, "needs no waiting");
    let via = key(0, 0, 2, 0);
    let mut b = Bench::new(&[full, small, via]);
    let mut e = Encoding::new(Instant::now(), Codec::Vp9, 0, 0);
    let mut picture = |key: bool, temporal: u8| {
        let p = Picture { key, temporal, upper_reference: key, structure: key.then_some(3), ..KEY };
        let mut packets = e.frame(p);
        packets[0].marker = false;
        for spatial in 1..3 {
            let p = Picture { spatial, inter_layer: key, upper_reference: key && spatial < 2, structure: None, ..p };
            packets.extend(e.layer(p, spatial == 2));
        }
        packets
    };
    let count = |sent: Vec<Option<Numbers>>| sent.iter().flatten().count();
    b.sub.switch_to(Some(full));
    assert_eq!(count(b.all(&picture(true, 0))), 3);
    assert_eq!(count(b.all(&picture(false, 2))), 1);
    b.sub.switch_via(via, small);
    assert_eq!(count(b.all(&picture(false, 0))), 1);
    assert_eq!((b.sub.current(), b.sub.pending()), (Some(via), Some(small)));
    assert_eq!(count(b.all(&picture(false, 2))), 0);
    assert_eq!(count(b.all(&picture(false, 0))), 1);
    assert_eq!(count(b.all(&picture(true, 0))), 1);
    assert_eq!((b.sub.current(), b.sub.pending()), (Some(small), None));
    assert_eq!(count(b.all(&picture(false, 1))), 1);
}

#[test]
fn audio_goes_on_in_a_slot() {
    let start = Instant::now();
    let target = LayerIndex::new(0, 0, 0);
    let keys: Vec<_> = (0..2).map(|s| StreamKey { source: SourceId(s), target, generation: 0 }).collect();
    let mut b = Bench::new(&keys);
    let mut es: Vec<_> = (0..2).map(|s| Encoding::new(start, Codec::Other, s, 0)).collect();
    let mut audio = |source: usize, at: u64| {
        es[source].at = at;
        MediaPacket { kind: MediaKind::Audio, ..es[source].packet(vec![1], None, false) }
    };
    b.sub.switch_to(Some(keys[0]));
    b.push(&audio(0, 0)).unwrap();
    let last = b.push(&audio(0, 20)).unwrap();
    b.sub.switch_to(Some(keys[1]));
    let n = b.push(&audio(1, 80)).unwrap();
    assert_eq!(n.seq, last.seq + 1);
    assert_eq!(n.timestamp.wrapping_sub(last.timestamp), 60 * 48);
}

#[test]
fn h264_simulcast_switches_at_keyframes() {
    let start = Instant::now();
    let (low, high) = (key(0, 0, 0, 0), key(0, 1, 0, 0));
    let mut b = Bench::new(&[low, high]);
    let mut es: Vec<_> = (0..2).map(|i| Encoding::new(start, Codec::H264, 0, i)).collect();
    let mut send = |b: &mut Bench, e: usize, at: u64, units: &[u8]| -> Vec<Option<Numbers>> {
        es[e].at = at;
        let count = units.len();
        let packets: Vec<_> =
            units.iter().enumerate().map(|(i, u)| es[e].packet(vec![*u, 0], None, i + 1 == count)).collect();
        b.all(&packets)
    };
    b.sub.switch_to(Some(low));
    assert_eq!(send(&mut b, 0, 0, &[0x41]), [None]);
    // Parameters, IDR picture in two slices.
    let sent = send(&mut b, 0, 33, &[0x67, 0x65, 0x65]);
    assert!(sent.iter().all(Option::is_some));
    b.sub.switch_to(Some(high));
    assert_eq!(send(&mut b, 1, 33, &[0x41]), [None]);
    let last = send(&mut b, 0, 66, &[0x41])[0].unwrap();
    let sent = send(&mut b, 1, 66, &[0x67, 0x65]);
    assert_eq!(sent[0].map(|n| (n.seq, n.joined)), Some((last.seq + 1, true)));
    assert_eq!(sent[1].map(|n| (n.seq, n.joined)), Some((last.seq + 2, false)));
    assert_eq!(send(&mut b, 0, 99, &[0x41]), [None]);
}
