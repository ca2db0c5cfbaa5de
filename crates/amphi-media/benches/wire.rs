//! What a packet costs on the wire side: reading, opening, sealing. `cargo bench -p amphi-media --bench wire`.

use amphi_media::rtcp::{Arrival, Packet as Control, TransportCcFeedback, Writer, compound};
use amphi_media::rtp::{ExtensionKind, ExtensionMap, ExtensionValues, HeaderFields, Packet, patch, write_header};
use amphi_media::srtp::{Inbound, MasterKey, Outbound, Profile};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

const PROFILES: [Profile; 3] = Profile::PREFERRED;
const SIZES: [usize; 2] = [120, 1150];
const SSRC: u32 = 7;

fn main() {
    println!("size of Outbound {} B, of Inbound {} B", size_of::<Outbound>(), size_of::<Inbound>());
    divan::main();
}

fn key(profile: Profile, n: u32) -> MasterKey {
    let mut key = vec![1; profile.key_len()];
    key[..4].copy_from_slice(&n.to_be_bytes());
    MasterKey::new(profile, &key, &[2; 14][..profile.salt_len()]).unwrap()
}

fn map() -> ExtensionMap {
    let mut map = ExtensionMap::new();
    for (kind, id) in [(ExtensionKind::AudioLevel, 1), (ExtensionKind::TransportCc, 5), (ExtensionKind::Mid, 10)] {
        map.set(kind, id).unwrap();
    }
    map
}

/// A header with the extensions that video has, and its length.
fn header(buf: &mut [u8]) -> usize {
    let fields = HeaderFields { payload_type: 100, marker: false, seq: 1, timestamp: 2, ssrc: SSRC };
    let extensions: &[(ExtensionKind, &[u8])] = &[(ExtensionKind::TransportCc, &[0, 1]), (ExtensionKind::Mid, b"v0")];
    write_header(buf, &fields, &map(), extensions).unwrap().header_len()
}

#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    let mut buf = vec![0; 1200];
    header(&mut buf);
    let map = map();
    bencher.bench(|| {
        let packet = Packet::parse(black_box(&buf)).unwrap();
        black_box(ExtensionValues::read(packet.extensions(), &map));
        black_box(packet.payload_range())
    });
}

#[divan::bench(args = SIZES, consts = [0, 1])]
fn open<const PROFILE: usize>(bencher: Bencher<'_, '_>, size: usize) {
    let key = key(PROFILES[PROFILE], 0);
    let out = Outbound::new(&key).unwrap();
    let mut inbound = Inbound::new(&key).unwrap();
    let mut index = 0;
    let mut template = vec![0; size + 60];
    let head = header(&mut template);
    bencher
        .counter(BytesCount::new(size))
        .with_inputs(|| {
            index += 1;
            let mut buf = template.clone();
            patch::seq(&mut buf, index as u16);
            let len = out.seal(&mut buf, head, size, SSRC, index).unwrap();
            buf.truncate(len);
            buf
        })
        .bench_local_refs(|buf| inbound.open(buf).unwrap());
}

fn seal_with(bencher: Bencher<'_, '_>, profile: Profile, size: usize, receivers: u32, shared: bool) {
    let out: Vec<_> = (0..receivers).map(|n| Outbound::new(&key(profile, n)).unwrap()).collect();
    let mut buf = vec![0; size + 60];
    let head = header(&mut buf);
    let payload = vec![3; size];
    let mut index = 0u64;
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        index += 1;
        patch::seq(&mut buf, index as u16);
        let out = &out[index as usize % out.len()];
        if shared {
            out.seal_from(&mut buf, head, head, &payload, SSRC, index)
        } else {
            out.seal(&mut buf, head, size, SSRC, index)
        }
        .unwrap()
    });
}

#[divan::bench(args = SIZES, consts = [0, 1])]
fn seal<const PROFILE: usize>(bencher: Bencher<'_, '_>, size: usize) {
    seal_with(bencher, PROFILES[PROFILE], size, 1, false);
}

#[divan::bench(args = SIZES, consts = [0, 1])]
fn seal_1000_keys<const PROFILE: usize>(bencher: Bencher<'_, '_>, size: usize) {
    seal_with(bencher, PROFILES[PROFILE], size, 1000, false);
}

#[divan::bench(args = SIZES, consts = [0, 1])]
fn seal_shared_1000_keys<const PROFILE: usize>(bencher: Bencher<'_, '_>, size: usize) {
    seal_with(bencher, PROFILES[PROFILE], size, 1000, true);
}

/// As [`seal_shared_1000_keys`], with six bytes of the payload that differ per receiver.
#[divan::bench(args = SIZES)]
fn seal_descriptor_and_shared_1000_keys(bencher: Bencher<'_, '_>, size: usize) {
    let out: Vec<_> = (0..1000).map(|n| Outbound::new(&key(Profile::AeadAes128Gcm, n)).unwrap()).collect();
    let mut buf = vec![0; size + 60];
    let head = header(&mut buf);
    let payload = vec![3; size - 6];
    let mut index = 0u64;
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        index += 1;
        patch::seq(&mut buf, index as u16);
        out[index as usize % out.len()].seal_from(&mut buf, head, head + 6, &payload, SSRC, index).unwrap()
    });
}

/// The library's part of [`seal`] with GCM, to compare with.
#[divan::bench(args = SIZES)]
fn aead_alone(bencher: Bencher<'_, '_>, size: usize) {
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[1; 16]).unwrap());
    let mut payload = vec![3; size];
    let mut tag = [0; 16];
    let mut index = 0u64;
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        index += 1;
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&index.to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_scatter(nonce, Aad::from([9; 24]), &mut payload, &[], &mut tag).unwrap();
    });
}

#[divan::bench(consts = [0, 1])]
fn new_contexts<const PROFILE: usize>() -> (Inbound, Outbound) {
    let key = key(PROFILES[PROFILE], 0);
    (Inbound::new(&key).unwrap(), Outbound::new(&key).unwrap())
}

fn feedback(out: &mut Vec<u8>, arrivals: &[Arrival]) {
    let feedback = TransportCcFeedback { sender_ssrc: 1, media_ssrc: 2, base_seq: 0, feedback_count: 0, arrivals };
    assert_eq!(Writer::new(out).transport_cc(&feedback, 1200), arrivals.len());
}

/// 25 packets in two bursts with one lost: what 100 ms of video are.
fn arrivals() -> Vec<Arrival> {
    (0..26)
        .filter(|n| *n != 9)
        .map(|seq| Arrival { seq, micros: (seq / 13) as i64 * 33_000 + seq as i64 * 300 })
        .collect()
}

#[divan::bench]
fn write_transport_cc(bencher: Bencher<'_, '_>) {
    let arrivals = arrivals();
    let mut out = Vec::with_capacity(1200);
    bencher.bench_local(|| {
        out.clear();
        feedback(&mut out, &arrivals);
        out.len()
    });
}

#[divan::bench]
fn read_transport_cc(bencher: Bencher<'_, '_>) {
    let mut out = Vec::new();
    feedback(&mut out, &arrivals());
    bencher.bench(|| {
        let Some(Ok(Control::TransportCc(feedback))) = compound(black_box(&out)).next() else { unreachable!() };
        feedback.statuses().filter_map(|s| s.arrival).sum::<i64>()
    });
}
