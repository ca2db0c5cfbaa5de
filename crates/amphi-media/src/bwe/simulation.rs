//! The estimator over modelled links, in virtual time: a bridge with layers on one side, a receiver with transport-wide feedback on the other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::receive::{ArrivalConfig, ArrivalRecorder};
use crate::send::{HistoryConfig, SendHistory};

/// Rates of the layers that the bridge chooses from: what 4.6.6 has for three simulcast encodings and their temporal layers.
const LAYERS: [f64; 9] = [100e3, 200e3, 350e3, 500e3, 800e3, 1.2e6, 1.5e6, 2.2e6, 3.0e6];

struct Link {
    /// Bit/s at a time in ms.
    capacity: fn(u64) -> f64,
    /// Longest delay by queueing in ms; what would wait longer is lost.
    queue: f64,
    delay: u64,
    /// Uniform random delay on top, in ms; order is kept.
    jitter: f64,
    loss: f64,
    layers: &'static [f64],
}

const LINK: Link = Link { capacity: |_| 10e6, queue: 300.0, delay: 20, jitter: 0.0, loss: 0.0, layers: &LAYERS };

struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// By 100 ms: estimate, media rate that was chosen, delay by queueing in ms.
type Trace = Vec<(f64, f64, f64)>;

fn simulate(link: &Link, seconds: u64) -> Trace {
    let start = Instant::now();
    let at = |us: u64| start + Duration::from_micros(us);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut bwe = Bwe::new(start, Arc::new(BweConfig::default()));
    let mut history = SendHistory::new(start, HistoryConfig::default());
    let mut recorder = ArrivalRecorder::new(start, ArrivalConfig::default());
    let (mut free, mut last_arrival) = (0.0_f64, 0_u64);
    let mut flying = std::collections::VecDeque::<(u64, u16, bool)>::new();
    let mut feedback = std::collections::VecDeque::<(u64, Vec<(u16, Option<u64>)>)>::new();
    let (mut last_sent, mut trace) = (None, Trace::new());
    let ideal = *link.layers.last().unwrap();
    let mut target = 0.0;
    for ms in 0..seconds * 1000 {
        let us = ms * 1000;
        let mut packets = Vec::new();
        if ms % 100 == 0 || bwe.take_change().is_some() {
            let estimate = bwe.estimate() as f64;
            target = link.layers.iter().copied().filter(|rate| *rate <= estimate).fold(link.layers[0], f64::max);
            bwe.set_demand(at(us), Demand { target: target as u64, ideal: ideal as u64 });
        }
        if ms % 33 == 0 {
            // Key pictures are larger, the others vary.
            let size = target / 8.0 * 0.033 * (0.7 + 0.6 * random.next()) * if ms % 9900 == 0 { 4.0 } else { 1.0 };
            let count = (size / 1200.0).ceil().max(1.0) as usize;
            packets.extend((0..count).map(|n| ((size / count as f64) as usize, n + 1 == count)));
        }
        while bwe.poll_timeout().is_some_and(|due| due <= at(us)) {
            let Some(padding) = bwe.poll(at(us), last_sent) else { continue };
            // The newest packets once more, whole.
            let (mut bytes, mut count) = (0, 0);
            while bytes < padding.bytes || count < padding.packets {
                (bytes, count) = (bytes + 1100, count + 1);
                packets.push((1100, false));
            }
        }
        for (n, (size, marker)) in packets.into_iter().enumerate() {
            let now = us + n as u64 * 20;
            let seq = history.record(at(now), size);
            bwe.on_sent(at(now), size);
            last_sent = Some(at(now));
            let wait = (free - now as f64).max(0.0);
            if wait / 1000.0 > link.queue || random.next() < link.loss {
                continue;
            }
            free = free.max(now as f64) + size as f64 * 8e6 / (link.capacity)(ms);
            let jitter = (random.next() * link.jitter * 1000.0) as u64;
            last_arrival = last_arrival.max(free as u64 + link.delay * 1000 + jitter);
            flying.push_back((last_arrival, seq, marker));
        }
        while flying.front().is_some_and(|packet| packet.0 <= us) {
            let (arrival, seq, marker) = flying.pop_front().unwrap();
            if recorder.record(at(arrival), seq, 1, marker) {
                while let Some(batch) = recorder.take(at(arrival)) {
                    let numbered = batch.arrivals().enumerate();
                    let statuses =
                        numbered.map(|(n, at)| ((batch.base_seq as u16).wrapping_add(n as u16), at)).collect();
                    feedback.push_back((us + link.delay * 1000, statuses));
                }
            }
        }
        while feedback.front().is_some_and(|feedback| feedback.0 <= us) {
            let (_, statuses) = feedback.pop_front().unwrap();
            bwe.on_feedback(at(us), history.resolve(at(us), statuses.into_iter()));
        }
        if ms % 100 == 99 {
            trace.push((bwe.estimate() as f64, target, (free - us as f64).max(0.0) / 1000.0));
        }
        if ms % 1000 == 999 {
            bwe.on_rtt(at(us), Duration::from_millis(2 * link.delay));
        }
    }
    if std::env::var_os("AMPHI_SHOW").is_some() {
        println!("{}", show(&trace));
    }
    trace
}

/// Per second: estimate and media in kbit/s, queue in ms.
fn show(trace: &Trace) -> String {
    let seconds = trace
        .iter()
        .skip(9)
        .step_by(10)
        .map(|(rate, target, queue)| format!("{:.0}/{:.0}/{queue:.0}", rate / 1000.0, target / 1000.0));
    seconds.collect::<Vec<_>>().join(" ")
}

/// Mean of the estimate between two times in seconds.
fn mean(trace: &Trace, from: usize, to: usize) -> f64 {
    trace[from * 10..to * 10].iter().map(|at| at.0).sum::<f64>() / ((to - from) * 10) as f64
}

/// The first time in seconds, after `from`, at which the estimate is as wanted.
fn when(trace: &Trace, from: usize, wanted: impl Fn(f64) -> bool) -> Option<f64> {
    trace[from * 10..].iter().position(|at| wanted(at.0)).map(|n| n as f64 / 10.0)
}

#[test]
fn it_converges_to_a_link_of_1_mbit() {
    let trace = simulate(&Link { capacity: |_| 1e6, ..LINK }, 40);
    assert!(mean(&trace, 13, 15) > 0.8e6 && mean(&trace, 13, 15) < 1.15e6, "{}", show(&trace));
    assert!(mean(&trace, 15, 40) > 0.75e6 && mean(&trace, 15, 40) < 1.1e6, "{}", show(&trace));
}

#[test]
fn it_converges_to_a_link_of_3_mbit() {
    const LAYERS: [f64; 7] = [200e3, 500e3, 1.2e6, 2.0e6, 2.5e6, 4.0e6, 6.0e6];
    let trace = simulate(&Link { capacity: |_| 3e6, layers: &LAYERS, ..LINK }, 40);
    assert!(mean(&trace, 13, 15) > 2.4e6 && mean(&trace, 13, 15) < 3.4e6, "{}", show(&trace));
    assert!(mean(&trace, 15, 40) > 2.3e6 && mean(&trace, 15, 40) < 3.3e6, "{}", show(&trace));
}

#[test]
fn it_falls_with_the_link_within_3_s_and_recovers_within_20_s() {
    let capacity = |ms| if (15_000..30_000).contains(&ms) { 400e3 } else { 3e6 };
    let trace = simulate(&Link { capacity, ..LINK }, 60);
    assert!(mean(&trace, 12, 15) > 2e6, "{}", show(&trace));
    assert!(when(&trace, 15, |rate| rate < 400e3).is_some_and(|s| s < 3.0), "{}", show(&trace));
    assert!(mean(&trace, 20, 30) < 450e3 && mean(&trace, 20, 30) > 220e3, "{}", show(&trace));
    assert!(when(&trace, 30, |rate| rate > 2.2e6).is_some_and(|s| s < 20.0), "{}", show(&trace));
}

#[test]
fn a_link_that_stood_still_for_a_moment_is_used_again_soon() {
    let capacity = |ms| if (15_000..15_600).contains(&ms) { 60e3 } else { 1.2e6 };
    let trace = simulate(&Link { capacity, ..LINK }, 30);
    assert!(mean(&trace, 10, 15) > 0.9e6, "{}", show(&trace));
    let fell = when(&trace, 15, |rate| rate < 400e3).unwrap();
    let back = trace[150 + (fell * 10.0) as usize..].iter().position(|at| at.0 > 0.8e6).unwrap();
    assert!(back < 30, "{back} tenths of a second: {}", show(&trace));
    assert!(mean(&trace, 20, 30) < 1.35e6, "{}", show(&trace));
}

#[test]
fn queues_stay_short_on_a_full_link() {
    let trace = simulate(&Link { capacity: |_| 1e6, queue: 2000.0, ..LINK }, 60);
    let queued = trace[100..].iter().map(|at| at.2).sum::<f64>() / (trace.len() - 100) as f64;
    assert!(queued < 60.0, "{queued} ms: {}", show(&trace));
}

#[test]
fn random_loss_of_5_percent_does_not_make_it_collapse() {
    let trace = simulate(&Link { loss: 0.05, capacity: |_| 3e6, ..LINK }, 60);
    assert!(mean(&trace, 10, 60) > 0.7 * 3e6, "{}", show(&trace));
}

#[test]
fn it_starts_fast_on_a_wide_link() {
    const LAYERS: [f64; 4] = [200e3, 500e3, 1.5e6, 8.0e6];
    let trace = simulate(&Link { layers: &LAYERS, ..LINK }, 5);
    assert!(trace.iter().take(20).all(|at| at.0 > 2e6), "{}", show(&trace));
    assert!(when(&trace, 0, |rate| rate > 6e6).is_some_and(|s| s < 2.0), "{}", show(&trace));
}

#[test]
fn jitter_of_30_ms_does_not_move_it() {
    let trace = simulate(&Link { jitter: 30.0, ..LINK }, 60);
    assert!(trace.iter().all(|at| at.0 > 1.5e6), "{}", show(&trace));
    assert!(mean(&trace, 10, 60) > 2.5e6, "{}", show(&trace));
}

#[test]
fn a_full_link_with_jitter_is_still_used() {
    const LAYERS: [f64; 7] = [200e3, 500e3, 1.2e6, 2.0e6, 2.5e6, 4.0e6, 6.0e6];
    let trace = simulate(&Link { capacity: |_| 3e6, jitter: 30.0, layers: &LAYERS, ..LINK }, 60);
    assert!(mean(&trace, 10, 60) > 0.6 * 3e6 && mean(&trace, 10, 60) < 3.4e6, "{}", show(&trace));
}

#[test]
fn a_shallow_queue_limits_by_loss() {
    let trace = simulate(&Link { capacity: |_| 1e6, queue: 30.0, ..LINK }, 60);
    assert!(when(&trace, 0, |rate| rate < 1.2e6).is_some_and(|s| s < 2.0), "{}", show(&trace));
    assert!(mean(&trace, 2, 15) > 0.5e6, "{}", show(&trace));
    assert!(mean(&trace, 15, 60) > 0.6e6 && mean(&trace, 15, 60) < 1.15e6, "{}", show(&trace));
}

#[test]
fn a_receiver_with_all_it_wants_gets_no_padding_and_needs_a_timer_every_3_s_only() {
    let start = Instant::now();
    let mut bwe = Bwe::new(start, Arc::new(BweConfig::default()));
    bwe.set_demand(start, Demand { target: 1_000_000, ideal: 1_000_000 });
    assert_eq!(bwe.poll_timeout(), None);
    let acked = Acked { sent: start, size: 1200, arrival: Some(5), was_lost: false };
    bwe.on_feedback(start, std::iter::once(acked));
    let due = bwe.poll_timeout().unwrap();
    assert_eq!(due, start + Duration::from_secs(3));
    assert_eq!(bwe.poll(due, Some(start)), None);
    assert_eq!((bwe.poll_timeout(), bwe.estimate()), (Some(start + Duration::from_secs(6)), 2_500_000));
}

#[test]
fn silence_after_sending_makes_the_estimate_fall_once_a_second() {
    let start = Instant::now();
    let mut bwe = Bwe::new(start, Arc::new(BweConfig::default()));
    bwe.on_feedback(start, std::iter::once(Acked { sent: start, size: 1200, arrival: Some(5), was_lost: false }));
    let mut times = Vec::new();
    for _ in 0..3 {
        let due = bwe.poll_timeout().unwrap();
        assert_eq!(bwe.poll(due, Some(due)), None);
        times.push(((due - start).as_secs(), bwe.estimate()));
    }
    assert_eq!(times, [(3, 2_000_000), (4, 1_600_000), (5, 1_280_000)]);
}

#[test]
fn padding_fills_up_to_the_ideal_or_the_estimate_every_15_ms_4_10() {
    let start = Instant::now();
    let mut bwe =
        Bwe::new(start, Arc::new(BweConfig { probe_interval: Duration::from_secs(1000), ..BweConfig::default() }));
    bwe.set_demand(start, Demand { target: 1_500_000, ideal: 4_000_000 });
    let mut sent = (0, 0);
    while let Some(due) = bwe.poll_timeout().filter(|due| *due < start + Duration::from_secs(10)) {
        if let Some(Padding { packets, probe: false, .. }) = bwe.poll(due, None) {
            sent = (sent.0 + 1200 * u32::from(packets), sent.1 + 1);
        }
    }
    // BWE - target = 1 Mbit/s.
    assert!((1_200_000..=1_250_000).contains(&sent.0) && (600..=1100).contains(&sent.1), "{sent:?}");
    bwe.set_demand(start, Demand { target: 1_500_000, ideal: 1_500_000 });
    assert_eq!(bwe.poll(start + Duration::from_secs(20), None), None);
}

#[test]
fn receiver_reports_count_only_without_transport_feedback() {
    let start = Instant::now();
    let mut bwe = Bwe::new(start, Arc::new(BweConfig::default()));
    bwe.on_loss(start, 128);
    assert_eq!(bwe.estimate(), 1_875_000);
    bwe.on_feedback(start, std::iter::once(Acked { sent: start, size: 1200, arrival: Some(5), was_lost: false }));
    bwe.on_loss(start + Duration::from_secs(1), 128);
    assert!(bwe.estimate() >= 1_875_000);
}

#[test]
fn changes_above_15_percent_are_told_4_10() {
    let start = Instant::now();
    let mut bwe = Bwe::new(start, Arc::new(BweConfig::default()));
    bwe.on_loss(start, 30);
    bwe.on_loss(start, 30);
    assert_eq!(bwe.take_change(), None, "11.4 %");
    bwe.on_loss(start, 30);
    let told = bwe.take_change().unwrap();
    assert_eq!((told, bwe.take_change()), (bwe.estimate(), None));
}

#[test]
fn a_visitors_whole_state_is_below_4_kib() {
    let history = SendHistory::new(Instant::now(), HistoryConfig::default());
    let all = size_of::<Bwe>()
        + size_of::<SendHistory>()
        + history.heap_size()
        + size_of::<crate::send::Retransmitter>()
        + size_of::<crate::send::SentReports>()
        + 2 * size_of::<crate::projection::Runs>();
    assert!(all <= 4096, "{all}");
}

proptest::proptest! {
    #[test]
    fn hostile_feedback_keeps_the_estimate_within_bounds(steps in proptest::collection::vec(
        (0_u64..200_000, 0_u16..2000, proptest::option::of(proptest::prelude::any::<u64>()), proptest::bool::ANY), 1..300)
    ) {
        let start = Instant::now();
        let mut bwe = Bwe::new(start, Arc::new(BweConfig::default()));
        bwe.set_demand(start, Demand { target: u64::from(steps[0].1) * 1000, ideal: u64::MAX / 4 });
        let mut now = start;
        for (us, size, arrival, was_lost) in steps {
            now += Duration::from_micros(us);
            let sent = now - Duration::from_micros(us / 2);
            bwe.on_feedback(now, std::iter::once(Acked { sent, size, arrival, was_lost }));
            let mut polls = 0;
            while bwe.poll_timeout().is_some_and(|due| due <= now) {
                bwe.poll(now, was_lost.then_some(now));
                polls += 1;
                proptest::prop_assert!(polls < 10, "it asks to be called for nothing");
            }
            proptest::prop_assert!((30_000..=20_000_000).contains(&bwe.estimate()));
        }
    }
}
