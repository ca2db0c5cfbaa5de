//! What feedback costs: one report of 100 packets into the estimator, one NACK, one packet kept, one packet numbered.
//!
//! `cargo bench -p amphi-media --bench feedback`

use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_media::bwe::{Bwe, BweConfig, Demand};
use amphi_media::receive::{ArrivalConfig, ArrivalRecorder, NackConfig, NackGenerator};
use amphi_media::send::{HistoryConfig, RetransmitConfig, Retransmitter, SendHistory, Store, StoreConfig};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// 100 packets sent in 100 ms and the receiver's report about them, joined and estimated.
#[divan::bench]
fn transport_feedback_of_100_packets(b: Bencher) {
    let start = Instant::now();
    let mut bwe = Bwe::new(start, Arc::new(BweConfig::default()));
    bwe.set_demand(start, Demand { target: 1_000_000, ideal: 1_000_000 });
    let mut history = SendHistory::new(start, HistoryConfig::default());
    let mut ms = 0;
    let mut statuses = Vec::with_capacity(100);
    b.bench_local(|| {
        statuses.clear();
        for n in 0..100 {
            let at = ms + n;
            let seq = history.record(start + Duration::from_millis(at), 1200);
            statuses.push((seq, (n % 25 != 7).then_some(at * 1000 + 20_000)));
        }
        ms += 100;
        let now = start + Duration::from_millis(ms + 40);
        bwe.on_feedback(now, history.resolve(now, statuses.iter().copied()));
        black_box(bwe.estimate())
    });
}

/// From the number in the stream to the stored packet, allowed to be sent.
#[divan::bench]
fn nacked_packet(b: Bencher) {
    let start = Instant::now();
    let mut store = Store::new(StoreConfig::default());
    (0..300).for_each(|n| store.push(start, 70_000 + n, Arc::new(n)));
    let (config, mut rtx) = (RetransmitConfig { share: 1e6, ..RetransmitConfig::default() }, Retransmitter::new(start));
    let (mut now, mut seq) = (start + Duration::from_millis(500), 0_u16);
    b.bench_local(|| {
        now += Duration::from_micros(10);
        seq = (seq + 7) % 200;
        let (sent, packet) = store.get(start, 70_000 + u64::from(seq)).unwrap();
        let verdict = rtx.judge(&config, now, 3, seq, sent, 1200, Some(Duration::from_millis(40)), 2_000_000);
        black_box((verdict, Arc::clone(packet)))
    });
}

#[divan::bench]
fn packet_stored(b: Bencher) {
    let (start, packet) = (Instant::now(), Arc::new([0_u8; 64]));
    let mut store = Store::new(StoreConfig::default());
    let mut seq = 0;
    b.bench_local(|| {
        seq += 1;
        store.push(start + Duration::from_millis(4) * seq as u32, black_box(seq), Arc::clone(&packet));
    });
}

#[divan::bench]
fn packet_numbered(b: Bencher) {
    let start = Instant::now();
    let mut history = SendHistory::new(start, HistoryConfig::default());
    let mut us = 0;
    b.bench_local(|| {
        us += 4000;
        history.record(start + Duration::from_micros(us), black_box(1200))
    });
}

/// On the way in: recorded for feedback, and looked at for gaps.
#[divan::bench]
fn packet_received(b: Bencher) {
    let start = Instant::now();
    let mut recorder = ArrivalRecorder::new(start, ArrivalConfig::default());
    let mut nacks = NackGenerator::new(NackConfig::default());
    let mut n = 0_u64;
    b.bench_local(|| {
        n += 1;
        let now = start + Duration::from_millis(4) * n as u32;
        nacks.on_packet(now, black_box(65_536 + n));
        if recorder.record(now, n as u16, 7, n.is_multiple_of(8)) {
            while let Some(batch) = recorder.take(now) {
                black_box(batch.arrivals().count());
            }
        }
        nacks.poll(now, |seq| _ = black_box(seq))
    });
}
