//! One packet of 1,150 bytes to a thousand receivers, without sockets: the bare AEAD, and all that a receiver's packet needs.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use amphi_media::bwe::BweConfig;
use amphi_media::codec::{Codec, Parser};
use amphi_media::egress::{Head, Receiver, ReceiverConfig, Run};
use amphi_media::ids::{LayerIndex, MediaKind, SourceId};
use amphi_media::packet::MediaPacket;
use amphi_media::projection::{Projected, Stream, StreamConfig, StreamKey};
use amphi_media::rtp::{ExtensionKind, ExtensionMap};
use amphi_media::srtp::{MasterKey, Outbound, Profile};
use divan::Bencher;
use divan::counter::ItemsCount;

const RECEIVERS: usize = 1_000;
const PAYLOAD: usize = 1_110;

fn main() {
    divan::main();
}

fn outbound(n: usize) -> Outbound {
    let mut key = [7; 16];
    key[..8].copy_from_slice(&(n as u64).to_be_bytes());
    Outbound::new(&MasterKey::new(Profile::AeadAes128Gcm, &key, &[9; 12]).unwrap()).unwrap()
}

struct Source {
    parser: Parser,
    stream: Stream,
    seq: u64,
    now: Instant,
}

impl Source {
    fn new() -> Self {
        let target = LayerIndex::new(0, 0, 2);
        let stream = Stream::new(target, StreamConfig::default());
        Self { parser: Parser::new(), stream, seq: 70_000, now: Instant::now() }
    }

    /// A frame of one packet.
    fn packet(&mut self) -> (MediaPacket, Projected) {
        self.seq += 1;
        let key = self.seq == 70_001;
        let [high, low] = ((self.seq & 0x7fff) as u16 | 0x8000).to_be_bytes();
        let mut payload = vec![0x90, 0xe0, high, low, self.seq as u8, 0x20];
        payload.extend([u8::from(!key), 0, 0, 0x9d, 1, 0x2a, 64, 1, 180, 0]);
        payload.resize(PAYLOAD, 1);
        let frame = self.parser.parse(Codec::Vp8, &payload, None, true).unwrap();
        let packet = MediaPacket {
            source: SourceId(1),
            kind: MediaKind::Video,
            encoding: 0,
            ssrc: 1,
            payload_type: 100,
            marker: true,
            seq: self.seq,
            timestamp: self.seq as u32 * 3_000,
            arrival: self.now,
            audio_level: None,
            orientation: None,
            dependency_descriptor: None,
            frame,
            payload: payload.into(),
        };
        let projected = self.stream.push(&packet).unwrap();
        (packet, projected)
    }
}

/// Seals out of place, each receiver with its key, into one buffer.
#[divan::bench]
fn bare_seal(bencher: Bencher<'_, '_>) {
    let receivers: Vec<Outbound> = (0..RECEIVERS).map(outbound).collect();
    let payload = vec![1; PAYLOAD];
    let mut buffer = vec![0; 2_048];
    let mut index = 0;
    bencher.counter(ItemsCount::new(RECEIVERS)).bench_local(|| {
        index += 1;
        for receiver in &receivers {
            buffer[..20].fill(0x80);
            black_box(receiver.seal_from(&mut buffer, 20, 20, &payload, 7, index).unwrap());
        }
    });
}

/// Subscription, transport-wide number and history, patched head, descriptor, sealing.
#[divan::bench]
fn fan_out(bencher: Bencher<'_, '_>) {
    let mut map = ExtensionMap::new();
    map.set(ExtensionKind::TransportCc, 5).unwrap();
    let now = Instant::now();
    let config = ReceiverConfig { bwe: Arc::new(BweConfig::default()), ..ReceiverConfig::default() };
    let key = StreamKey { source: SourceId(1), target: LayerIndex::new(0, 0, 2), generation: 1 };
    let mut receivers: Vec<Box<Receiver>> = (0..RECEIVERS)
        .map(|n| {
            let mut receiver = Box::new(Receiver::new(now, outbound(n), true, [(100, 101)], config.clone()));
            let slot = receiver.slot(7_000, Some(7_001)).unwrap();
            receiver.slots[slot].subscription.switch_to(Some(key));
            receiver
        })
        .collect();
    let mut source = Source::new();
    let mut run = Run::new();
    let (packet, projected) = source.packet();
    let head = Head::video(&map, &packet, &projected).unwrap();
    for receiver in &mut receivers {
        let numbers = receiver.slots[0].subscription.join(now, key, &projected, &packet).unwrap();
        receiver.video(now, 0, &numbers, &head, 0, &mut run);
        run.clear();
    }
    bencher.counter(ItemsCount::new(RECEIVERS)).bench_local(|| {
        let (packet, projected) = source.packet();
        let head = Head::video(&map, &packet, &projected).unwrap();
        for receiver in &mut receivers {
            let numbers = receiver.slots[0].subscription.accept(now, key, &projected, &packet).unwrap();
            black_box(receiver.video(now, 0, &numbers, &head, 0, &mut run));
            run.clear();
        }
    });
}
