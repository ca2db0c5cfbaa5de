//! What a video packet costs once per stream, and once per receiver.
//!
//! `cargo bench -p amphi-media --bench projection`

use std::time::{Duration, Instant};

use amphi_media::codec::{Codec, Parser};
use amphi_media::ids::{LayerIndex, MediaKind, SourceId};
use amphi_media::packet::MediaPacket;
use amphi_media::projection::template::PayloadPatch;
use amphi_media::projection::{Numbers, Projected, Stream, StreamConfig, StreamKey, Subscription};
use bytes::Bytes;
use divan::{Bencher, black_box, counter::ItemsCount};

fn main() {
    divan::main();
}

const TARGET: LayerIndex = LayerIndex(1);
const KEY: StreamKey = StreamKey { source: SourceId(0), target: TARGET, generation: 0 };

/// Frames of four packets, three temporal layers, 30 frames per second.
fn packets(count: usize) -> Vec<MediaPacket> {
    let start = Instant::now();
    let mut parser = Parser::new();
    let mut tl0 = 0u8;
    (0..count)
        .map(|n| {
            let (frame, part) = (n / 4, n % 4);
            let temporal = [0u8, 2, 1, 2][frame % 4];
            tl0 = tl0.wrapping_add(u8::from(temporal == 0 && part == 0));
            let [high, low] = (frame as u16 & 0x7fff | 0x8000).to_be_bytes();
            let first = if part == 0 { 0x90 } else { 0x80 };
            let payload = vec![first, 0xe0, high, low, tl0, temporal << 6, u8::from(frame > 0), 0];
            MediaPacket {
                source: SourceId(0),
                kind: MediaKind::Video,
                encoding: 0,
                ssrc: 1,
                payload_type: 96,
                marker: part == 3,
                seq: 70_000 + n as u64,
                timestamp: frame as u32 * 3000,
                arrival: start + Duration::from_millis(frame as u64 * 33),
                audio_level: None,
                orientation: None,
                dependency_descriptor: None,
                frame: parser.parse(Codec::Vp8, &payload, None, part == 3).unwrap(),
                payload: Bytes::from(payload),
            }
        })
        .collect()
}

/// Parsing the payload of a packet.
#[divan::bench]
fn parse(b: Bencher) {
    let packets = packets(1000);
    b.counter(ItemsCount::new(packets.len())).bench_local(|| {
        let mut parser = Parser::new();
        for p in &packets {
            let _ = black_box(parser.parse(Codec::Vp8, black_box(&p.payload), None, p.marker));
        }
    });
}

/// One packet for one stream.
#[divan::bench]
fn project(b: Bencher) {
    let packets = packets(1000);
    b.counter(ItemsCount::new(packets.len()))
        .with_inputs(|| Stream::new(TARGET, StreamConfig::default()))
        .bench_local_refs(|stream| {
            for p in &packets {
                black_box(stream.push(black_box(p)));
            }
        });
}

fn forwarded() -> Vec<(Projected, MediaPacket)> {
    let mut stream = Stream::new(TARGET, StreamConfig::default());
    packets(64).into_iter().filter_map(|p| Some((stream.push(&p)?, p))).collect()
}

fn receivers(count: usize, (first, packet): &(Projected, MediaPacket)) -> Vec<Subscription> {
    let receiver = |_| {
        let mut sub = Subscription::new();
        sub.switch_to(Some(KEY));
        sub.join(packet.arrival, KEY, first, packet).expect("a keyframe");
        sub
    };
    (0..count).map(receiver).collect()
}

/// One packet for each of many receivers.
#[divan::bench(args = [1000, 10_000])]
fn accept(b: Bencher, count: usize) {
    let forwarded = forwarded();
    let mut receivers = receivers(count, &forwarded[0]);
    let mut turn = 0;
    b.counter(ItemsCount::new(count)).bench_local(|| {
        turn = (turn + 1) % forwarded.len();
        let (projected, packet) = &forwarded[turn];
        for r in &mut receivers {
            black_box(r.accept(packet.arrival, KEY, projected, packet));
        }
    });
}

/// The same, with the numbers written into a copy of the payload's beginning.
#[divan::bench(args = [1000])]
fn accept_and_patch(b: Bencher, count: usize) {
    let forwarded = forwarded();
    let mut receivers = receivers(count, &forwarded[0]);
    let mut turn = 0;
    b.counter(ItemsCount::new(count)).bench_local(|| {
        turn = (turn + 1) % forwarded.len();
        let (projected, packet) = &forwarded[turn];
        let patch = PayloadPatch::of(&packet.frame);
        let mut head = [0; 16];
        let prefix = patch.prefix();
        for r in &mut receivers {
            let numbers: Option<Numbers> = r.accept(packet.arrival, KEY, projected, packet);
            if let Some(numbers) = numbers {
                head[..prefix].copy_from_slice(&packet.payload[..prefix]);
                patch.apply(&mut head[..prefix], &numbers);
                black_box(&head);
            }
        }
    });
}
