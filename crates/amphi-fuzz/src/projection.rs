//! The way of video packets from payload to a receiver's numbers, for one codec.
//!
//! Input: packets, each a byte of length, a byte of flags (marker, two bits of encoding, milliseconds since the one before), a byte of steps in the
//! sequence number (signed), then the payload (`dependency`: the descriptor).

use std::collections::HashSet;
use std::time::{Duration, Instant};

use amphi_media::codec::{Codec, Headers, Parser, dependency};
use amphi_media::ids::{LayerIndex, MediaKind, SourceId};
use amphi_media::packet::MediaPacket;
use amphi_media::projection::template::{PayloadPatch, patch_descriptor};
use amphi_media::projection::{Numbers, Projected, Runs, Stream, StreamConfig, StreamKey, Subscription};
use bytes::Bytes;

/// No number is given twice, what is patched reads as what was meant, and every number that was sent has an origin.
pub(crate) fn projection(codec: Codec, mut data: &[u8]) {
    let start = Instant::now();
    let targets =
        [LayerIndex::new(0, 0, 0), LayerIndex::new(1, 0, 2), LayerIndex::new(1, 1, 1), LayerIndex::new(3, 7, 7)];
    let mut streams: Vec<_> = (0..)
        .zip(targets)
        .map(|(generation, target)| {
            let key = StreamKey { source: SourceId(1), target, generation };
            (key, Stream::new(target, StreamConfig::default()), HashSet::new())
        })
        .collect();
    let mut parsers: [Parser; 4] = Default::default();
    let mut seqs = [100_000u64; 4];
    let (mut sub, mut runs, mut sent) = (Subscription::new(), Runs::new(), HashSet::new());
    let mut at = Duration::ZERO;
    for turn in 0usize.. {
        let [length, flags, step, rest @ ..] = data else {
            return;
        };
        let (payload, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        data = rest;
        let encoding = usize::from(flags >> 1 & 3);
        let marker = flags & 1 == 1;
        at += Duration::from_millis(u64::from(flags >> 3) * 8);
        let seq = seqs[encoding].saturating_add_signed((*step as i8).into());
        seqs[encoding] = seqs[encoding].max(seq) + 1;
        let dd = (codec == Codec::Av1).then_some(payload);
        let Ok(frame) = parsers[encoding].parse(codec, payload, dd, marker) else {
            continue;
        };
        let packet = MediaPacket {
            source: SourceId(1),
            kind: MediaKind::Video,
            encoding: encoding as u8,
            ssrc: 1,
            payload_type: 96,
            marker,
            seq,
            timestamp: at.as_millis() as u32 * 90,
            arrival: start + at,
            audio_level: None,
            orientation: None,
            dependency_descriptor: dd.map(Bytes::copy_from_slice),
            frame,
            payload: Bytes::copy_from_slice(payload),
        };
        if turn % 5 == 0 {
            sub.switch_to(Some(streams[turn / 5 % streams.len()].0));
        }
        let mut projected = Vec::new();
        for (key, stream, given) in &mut streams {
            if let Some(p) = stream.push(&packet) {
                assert!(given.insert(p.seq), "a stream gives number {} twice", p.seq);
                projected.push((*key, p));
            }
        }
        let now = packet.arrival;
        let joined = projected.iter().find_map(|(key, p)| Some((p, sub.join(now, *key, p, &packet)?)));
        if joined.is_some() {
            runs.begin(&sub);
        }
        let got =
            joined.or_else(|| projected.iter().find_map(|(key, p)| Some((p, sub.accept(now, *key, p, &packet)?))));
        if let Some((p, numbers)) = got {
            assert!(sent.insert(numbers.seq), "a receiver gets number {} twice", numbers.seq);
            let origin = runs.origin(&sub, numbers.seq as u16).expect("it was sent just now");
            assert_eq!(origin.seq, p.seq);
            patched(codec, &packet, p, &numbers);
        }
    }
}

/// What is written reads as what was meant.
fn patched(codec: Codec, packet: &MediaPacket, p: &Projected, numbers: &Numbers) {
    let patch = PayloadPatch::of(&packet.frame);
    let mut payload = packet.payload.to_vec();
    patch.apply(&mut payload[..patch.prefix()], numbers);
    let read = |payload: &[u8]| Parser::new().parse(codec, payload, None, packet.marker).expect("still well-formed");
    match &packet.frame.headers {
        Headers::Vp8(d) => {
            let Headers::Vp8(after) = read(&payload).headers else { panic!("another header") };
            let id = if d.long_picture_id { numbers.picture_id } else { numbers.picture_id & 0x7f };
            assert_eq!((after.picture_id, after.tl0), (id, d.tl0.map(|_| numbers.tl0)));
            assert_eq!((after.temporal, after.layer_sync), (d.temporal, d.layer_sync));
        }
        Headers::Vp9(d) => {
            let Headers::Vp9(after) = read(&payload).headers else { panic!("another header") };
            let id = if d.long_picture_id { numbers.picture_id } else { numbers.picture_id & 0x7f };
            assert_eq!((after.picture_id, after.tl0), (id, d.tl0.map(|_| numbers.tl0)));
            assert_eq!((after.spatial, after.temporal), (d.spatial, d.temporal));
        }
        Headers::Dependency(d) => {
            let mut raw = p.descriptor.clone().expect("a descriptor for a descriptor");
            patch_descriptor(&mut raw, numbers);
            if d.attached {
                let after = dependency::Reader::new().read(&raw).expect("still well-formed");
                assert_eq!(after.frame_number, numbers.frame_number);
                assert_eq!((after.targets(), after.references()), (d.targets(), d.references()));
                assert_eq!(after.structure.templates, d.structure.templates);
            }
        }
        Headers::None => {}
    }
}
