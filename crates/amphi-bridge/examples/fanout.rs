//! What sending one publisher's video to many costs: first a bare loop (seal and send to a socket on loopback, nothing else), then the whole
//! plane with the same packets, keys and destination. `fanout [receivers] [seconds] [packets per frame]`.
//!
//! Receivers are made with known keys and never answer; nobody reads the socket that they stand for.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_bridge::plane::command::{AddConnected, Codec, Command, CreateConference, Media, PayloadType, Role};
use amphi_bridge::plane::socket::Socket;
use amphi_bridge::plane::stats::PlaneStats;
use amphi_bridge::plane::{Plane, PlaneConfig};
use amphi_bridge::transport::{DtlsRole, KeyPair, Keys, LocalAddress, Profile as Negotiated};
use amphi_media::allocation::{Rung, Staircase};
use amphi_media::codec::Codec as Video;
use amphi_media::conference::{Class, Output};
use amphi_media::egress::Run;
use amphi_media::ids::{ClassId, ConferenceId, EndpointId, LayerIndex, MediaKind, SourceId};
use amphi_media::rtp::{ExtensionKind, ExtensionMap};
use amphi_media::slots::SlotSsrc;
use amphi_media::source::{Signaled, SourceDesc};
use amphi_media::speech::SpeechConfig;
use amphi_media::srtp::{MasterKey, Outbound, Profile};

const PAYLOAD: usize = 1_110;
const FPS: u64 = 30;
const CONFERENCE: ConferenceId = ConferenceId(1);

fn key(n: u32, salt: u8) -> KeyPair {
    let mut key = vec![salt; 16];
    key[..4].copy_from_slice(&n.to_be_bytes());
    KeyPair { key, salt: vec![salt; 12] }
}

fn outbound(pair: &KeyPair) -> Outbound {
    Outbound::new(&MasterKey::new(Profile::AeadAes128Gcm, &pair.key, &pair.salt).unwrap()).unwrap()
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|it| it.parse().expect("a number"));
    let receivers: u32 = arguments.next().unwrap_or(1_000) as u32;
    let seconds: u64 = arguments.next().unwrap_or(5);
    let packets: usize = arguments.next().unwrap_or(8) as usize;
    let sink = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let bare = bare(&sink, receivers, seconds, packets);
    let plane = plane(&sink, receivers, seconds, packets);
    println!("bare loop: {bare:.0} ns per packet");
    println!("plane:     {plane:.0} ns per packet, {:.0} % of the bare loop's speed", bare / plane * 100.0);
}

/// Nothing but sealing and sending.
fn bare(sink: &UdpSocket, receivers: u32, seconds: u64, packets: usize) -> f64 {
    let socket = Socket::bind("127.0.0.1:0".parse().unwrap(), 16 << 20, true).expect("a socket");
    let to = sink.local_addr().unwrap();
    let keys: Vec<Outbound> = (0..receivers).map(|n| outbound(&key(n, 1))).collect();
    let payload = vec![1; PAYLOAD];
    let head = [0x90; 20];
    let mut run = Run::new();
    let (start, mut index, mut sent) = (Instant::now(), 0, 0_u64);
    while start.elapsed() < Duration::from_secs(seconds) {
        for key in &keys {
            for n in 0..packets as u64 {
                let space = run.space();
                space[..20].copy_from_slice(&head);
                let size = key.seal_from(space, 20, 20, &payload, 7, index + n).expect("sealed");
                run.commit(size);
            }
            let _ = socket.send_run(run.bytes(), run.segment(), to);
            sent += run.count() as u64;
            run.clear();
        }
        index += packets as u64;
    }
    start.elapsed().as_nanos() as f64 / sent as f64
}

fn media() -> Media {
    let mut extensions = ExtensionMap::new();
    extensions.set(ExtensionKind::TransportCc, 5).unwrap();
    let video = PayloadType {
        number: 100,
        codec: Codec::Video(Video::Vp8),
        clock_rate: 90_000,
        nack: true,
        pli: true,
        fir: false,
        transport_cc: true,
    };
    let rtx = PayloadType { number: 101, codec: Codec::Rtx { apt: 100 }, ..video };
    let payload_types = [video, rtx].into_iter().collect();
    Media { accepts_audio: true, accepts_video: true, ssrc_rewriting: true, payload_types, extensions }
}

/// Time that shards worked, per packet that they sent.
fn plane(sink: &UdpSocket, receivers: u32, seconds: u64, packets: usize) -> f64 {
    let base = "127.0.0.1:0".parse().unwrap();
    let config =
        PlaneConfig { shards: 1, addresses: vec![LocalAddress { base, public: None }], ..PlaneConfig::default() };
    let (plane, mut events) = Plane::start(config).expect("a plane");
    std::thread::spawn(move || while events.blocking_recv().is_some() {});
    let local = plane.addresses()[0].base;
    let send = |command| plane.send(command).expect("taken");
    let speech = SpeechConfig::default();
    send(Command::CreateConference(CreateConference { id: CONFERENCE, feedback_audio: 1, feedback_video: 2, speech }));
    let decide = |output| send(Command::Decision { conference: CONFERENCE, output });
    decide(Output::SlotSsrcs { video: [SlotSsrc { ssrc: 7_000, rtx: 7_001 }].into(), audio: Arc::new([]) });
    let publisher = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    publisher.connect(local).expect("connected");
    let add = |id, role, remote, send: KeyPair, receive: KeyPair| {
        let keys = Keys { profile: Negotiated::AeadAes128Gcm, role: DtlsRole::Server, send, receive };
        let keys = Box::new(keys);
        let add =
            AddConnected { id: EndpointId(id), conference: CONFERENCE, role, media: media(), local, remote, keys };
        Command::AddConnected(Box::new(add))
    };
    send(add(0, Role::Participant, publisher.local_addr().unwrap(), key(0, 2), key(0, 3)));
    let signaled = Signaled {
        id: SourceId(1),
        name: "a-v0".into(),
        kind: MediaKind::Video,
        video_type: None,
        ssrcs: vec![31],
        groups: Vec::new(),
        synthetic: false,
    };
    let sources = vec![SourceDesc::new(EndpointId(0), signaled)];
    send(Command::SetSources { endpoint: EndpointId(0), sources });
    let rung = Rung { at: 0, targets: [(SourceId(1), LayerIndex::new(0, 0, 2))].into(), bps: 1, oversending: false };
    decide(Output::Class(Arc::new(Class {
        id: ClassId(1),
        version: 1,
        staircase: Arc::new(Staircase { rungs: vec![rung], ideal_bps: 1 }),
        slots: [Some(SourceId(1))].into(),
        excluded: None,
    })));
    for n in 1..=receivers {
        send(add(n, Role::Visitor, sink.local_addr().unwrap(), key(n, 1), key(n, 4)));
        decide(Output::SetClass { receiver: EndpointId(n), class: ClassId(1) });
    }
    let sealed = outbound(&key(0, 3));
    let mut seq = 1_000_u64;
    let mut frame = 0_u32;
    let mut play = |count: u64, key: bool| {
        let begun = Instant::now();
        for n in 0..count {
            frame += 1;
            for part in 0..packets {
                let mut packet = vec![0; 2_048];
                let last = part + 1 == packets;
                packet[..2].copy_from_slice(&[0x80, 100 | u8::from(last) << 7]);
                packet[2..4].copy_from_slice(&(seq as u16).to_be_bytes());
                packet[4..8].copy_from_slice(&(frame * 3_000).to_be_bytes());
                packet[8..12].copy_from_slice(&31_u32.to_be_bytes());
                let start = if part == 0 { 0x90 } else { 0x80 };
                packet[12..14].copy_from_slice(&[start, 0xe0]);
                packet[14..16].copy_from_slice(&(frame as u16 | 0x8000).to_be_bytes());
                packet[16..18].copy_from_slice(&[frame as u8, 0x20]);
                let keyframe = key && n == 0;
                packet[18..28].copy_from_slice(&[u8::from(!keyframe), 0, 0, 0x9d, 1, 0x2a, 64, 1, 180, 0]);
                let len = sealed.seal(&mut packet, 12, PAYLOAD, 31, seq).expect("sealed");
                publisher.send(&packet[..len]).expect("sent");
                seq += 1;
            }
            std::thread::sleep(
                (Duration::from_micros(1_000_000 / FPS) * (n as u32 + 1)).saturating_sub(begun.elapsed()),
            );
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    // Answered when all that was said before is done. Everybody joins at the second keyframe.
    runtime.block_on(plane.stats());
    play(10, true);
    play(10, true);
    let before = runtime.block_on(plane.stats());
    play(FPS * seconds, false);
    std::thread::sleep(Duration::from_millis(200));
    let after = runtime.block_on(plane.stats());
    let sent = after.total.rtp_sent - before.total.rtp_sent;
    let busy = |stats: &PlaneStats| stats.shards.iter().map(|it| it.busy).sum::<Duration>();
    let busy = busy(&after) - busy(&before);
    let expected = FPS * seconds * packets as u64 * u64::from(receivers);
    let sends = after.total.sends - before.total.sends;
    println!(
        "{sent} of {expected} packets in {sends} sends, shard busy {:.0} %, longest pass {:?}, dropped {} + {} in queues",
        busy.as_secs_f64() / seconds as f64 * 100.0,
        after.shards[0].longest_pass,
        after.total.dropped_video + after.total.send_errors,
        after.total.queue_drops,
    );
    plane.send(Command::Shutdown).expect("taken");
    plane.join();
    busy.as_nanos() as f64 / sent.max(1) as f64
}
