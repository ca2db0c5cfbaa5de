//! Laws that hold whatever is lost, reordered and switched.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::codec::Headers;

/// Two sources of two VP8 encodings each, with the temporal pattern of a browser.
fn script(frames: usize, keys: &[bool]) -> Vec<MediaPacket> {
    let start = Instant::now();
    let mut all: Vec<_> = (0..2).flat_map(|s| (0..2).map(move |i| Encoding::new(start, Codec::Vp8, s, i))).collect();
    let mut packets = Vec::new();
    for n in 0..frames {
        let picture = match n % 4 {
            0 => delta(0),
            1 => sync(2),
            2 => sync(1),
            _ => delta(2),
        };
        let key = n == 0 || n % 4 == 0 && keys.get(n / 4).copied().unwrap_or(false);
        for e in &mut all {
            let picture = if key { KEY } else { picture };
            packets.extend(e.frame(Picture { packets: 1 + n % 3, ..picture }));
        }
    }
    packets
}

fn keys() -> Vec<StreamKey> {
    let targets = (0..2).flat_map(|e| (0..3).map(move |t| LayerIndex::new(e, 0, t)));
    (0..2)
        .flat_map(|s| targets.clone().map(move |target| StreamKey { source: SourceId(s), target, generation: 0 }))
        .collect()
}

/// What one receiver was sent: its numbers and which packet.
type Sent = Vec<(Numbers, MediaPacket)>;

/// Plays packets to a receiver that changes streams as `switches` say (position, stream or none).
fn play(
    packets: &[MediaPacket],
    switches: &[(usize, Option<usize>)],
) -> (Sent, Runs, Subscription, HashMap<(StreamKey, u64), u64>) {
    let keys = keys();
    let mut streams: Vec<_> = keys.iter().map(|k| stream(k.target)).collect();
    let (mut sub, mut runs, mut sent, mut store) = (Subscription::new(), Runs::new(), Vec::new(), HashMap::new());
    sub.switch_to(Some(keys[0]));
    for (n, packet) in packets.iter().enumerate() {
        for (_, to) in switches.iter().filter(|(at, _)| *at == n) {
            sub.switch_to(to.map(|i| keys[i % keys.len()]));
        }
        let mut projected = Vec::new();
        for (key, stream) in keys.iter().zip(&mut streams).filter(|(k, _)| k.source == packet.source) {
            if let Some(p) = stream.push(packet) {
                let name = u64::from(packet.encoding) << 60 | packet.seq;
                assert_eq!(store.insert((*key, p.seq), name), None, "a stream gives a number twice");
                projected.push((*key, p));
            }
        }
        let now = packet.arrival;
        let joined = projected.iter().find_map(|(k, p)| sub.join(now, *k, p, packet));
        if joined.is_some() {
            runs.begin(&sub);
        }
        let numbers = projected.iter().filter_map(|(k, p)| sub.accept(now, *k, p, packet));
        let mut numbers: Vec<_> = if joined.is_some() { joined.into_iter().collect() } else { numbers.collect() };
        assert!(numbers.len() <= 1, "a packet is sent once");
        sent.extend(numbers.pop().map(|n| (n, packet.clone())));
    }
    (sent, runs, sub, store)
}

fn switches(length: usize) -> impl Strategy<Value = Vec<(usize, Option<usize>)>> {
    prop::collection::vec((0..length, prop::option::weighted(0.9, 0usize..12)), 0..20)
}

/// The order of arrival after packets were delayed by some positions, and some lost (`None`).
fn disturbed(packets: &[MediaPacket], delays: &[Option<u8>]) -> Vec<MediaPacket> {
    let mut order: Vec<_> = packets
        .iter()
        .enumerate()
        .filter_map(|(n, p)| {
            let delay = delays.get(n).copied().unwrap_or(Some(0))?;
            Some((n + usize::from(delay), n, p.clone()))
        })
        .collect();
    order.sort_by_key(|(at, n, _)| (*at, *n));
    order.into_iter().map(|(.., p)| p).collect()
}

const FRAMES: usize = 40;

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(16);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn numbers_never_repeat_and_origins_are_right(
        keys in prop::collection::vec(any::<bool>(), FRAMES / 4),
        switches in switches(FRAMES * 8),
        delays in prop::collection::vec(prop::option::weighted(0.9, prop_oneof![6 => Just(0u8), 1 => 0u8..40]), FRAMES * 8),
    ) {
        let packets = disturbed(&script(FRAMES, &keys), &delays);
        let (sent, runs, sub, store) = play(&packets, &switches);
        let mut seen = HashSet::new();
        for (n, packet) in &sent {
            prop_assert!(seen.insert(n.seq), "number {} of two packets", n.seq);
            if let Some(origin) = runs.origin(&sub, n.seq as u16) {
                let name = u64::from(packet.encoding) << 60 | packet.seq;
                prop_assert_eq!(store.get(&(origin.stream, origin.seq)), Some(&name));
                prop_assert_eq!(origin.out, n.seq);
            }
        }
    }

    #[test]
    fn without_losses_numbers_have_no_gap_and_frames_their_references(
        keys in prop::collection::vec(any::<bool>(), FRAMES / 4),
        switches in switches(FRAMES * 8),
    ) {
        let packets = script(FRAMES, &keys);
        let (sent, ..) = play(&packets, &switches);
        let mut open = false;
        for pair in sent.windows(2) {
            let ((a, pa), (b, _)) = (&pair[0], &pair[1]);
            open = if pa.frame.end { false } else { open || pa.frame.start };
            let step = b.seq - a.seq;
            prop_assert!(step == 1 || step == 2 && open, "{a:?} {b:?}");
            prop_assert!(b.timestamp.wrapping_sub(a.timestamp) < 1 << 31);
            prop_assert!(b.picture_id.wrapping_sub(a.picture_id) & 0x7fff <= 1);
            prop_assert!(b.tl0.wrapping_sub(a.tl0) <= 1);
        }
        // Layers of which the latest frame in the encoding was sent.
        let mut have: Option<(SourceId, u8, [bool; 3])> = None;
        let mut latest: HashMap<(SourceId, u8, u8), u16> = HashMap::new();
        let mut got: HashMap<(SourceId, u8, u8), u16> = HashMap::new();
        let sent: HashSet<_> = sent.iter().map(|(_, p)| (p.source, p.encoding, p.seq)).collect();
        for packet in packets.iter().filter(|p| p.frame.start) {
            let Headers::Vp8(d) = &packet.frame.headers else { continue };
            let of = (packet.source, packet.encoding);
            if sent.contains(&(of.0, of.1, packet.seq)) {
                if packet.frame.keyframe {
                    have = Some((of.0, of.1, [true; 3]));
                } else {
                    let (source, encoding, _) = have.expect("a keyframe first");
                    prop_assert_eq!((source, encoding), of, "a keyframe between encodings");
                    let highest = if d.layer_sync { 0 } else { d.temporal };
                    for layer in 0..=highest {
                        let k = (of.0, of.1, layer);
                        prop_assert_eq!(latest.get(&k), got.get(&k), "layer {} before a frame of {}", layer, d.temporal);
                    }
                }
                got.insert((of.0, of.1, d.temporal), d.picture_id);
                if packet.frame.keyframe {
                    for layer in 0..3 {
                        got.insert((of.0, of.1, layer), d.picture_id);
                    }
                }
            }
            latest.insert((of.0, of.1, d.temporal), d.picture_id);
            if packet.frame.keyframe {
                for layer in 0..3 {
                    latest.insert((of.0, of.1, layer), d.picture_id);
                }
            }
        }
    }

    #[test]
    fn no_bytes_do_harm(
        packets in prop::collection::vec(
            (0u8..5, prop::collection::vec(any::<u8>(), 0..24), prop::option::of(prop::collection::vec(any::<u8>(), 0..24)), any::<bool>(), any::<u16>(), 0u8..3),
            1..60,
        ),
    ) {
        let start = Instant::now();
        let mut parsers: Vec<_> = (0..3).map(|_| Parser::new()).collect();
        let mut streams: Vec<_> = [0u16, 1, 66, 127, 191].map(|t| stream(LayerIndex(t))).into();
        let mut given = HashSet::new();
        for (n, (codec, payload, dd, marker, seq, encoding)) in packets.into_iter().enumerate() {
            let codec = [Codec::Other, Codec::Vp8, Codec::Vp9, Codec::Av1, Codec::H264][usize::from(codec)];
            let frame = parsers[usize::from(encoding)].parse(codec, &payload, dd.as_deref(), marker);
            let Ok(frame) = frame else { continue };
            let packet = MediaPacket {
                source: SourceId(0),
                kind: MediaKind::Video,
                encoding,
                ssrc: encoding.into(),
                payload_type: 96,
                marker,
                seq: 40_000 + u64::from(seq),
                timestamp: u32::from(seq) * 3000,
                arrival: start + Duration::from_millis(n as u64 * 20),
                audio_level: None,
                orientation: None,
                dependency_descriptor: dd.map(Bytes::from),
                frame,
                payload: Bytes::from(payload),
            };
            for (i, s) in streams.iter_mut().enumerate() {
                if let Some(p) = s.push(&packet) {
                    prop_assert!(given.insert((i, p.seq)));
                }
            }
        }
    }
}
