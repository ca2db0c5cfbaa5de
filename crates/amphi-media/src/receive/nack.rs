//! Which packets of a publisher's video to ask for again (`spec/bridge.md` 4.5).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

/// Limits of [`NackGenerator`].
#[derive(Clone, Copy, Debug)]
pub struct NackConfig {
    /// A jump of so many packets or more is taken as a new start and nothing is asked for; default 100.
    pub reset_jump: u64,
    /// Time between two requests for one packet while the round trip is not known, and the longest; default 150 ms.
    pub interval: Duration,
    /// The shortest time, however near the publisher is; default 30 ms.
    pub min_interval: Duration,
    /// Requests for one packet; default 10.
    pub max_requests: u8,
    /// Missing packets that are kept; with more, the oldest are given up; default 512.
    pub max_missing: usize,
}

impl Default for NackConfig {
    fn default() -> Self {
        Self { reset_jump: 100, interval: MS * 150, min_interval: MS * 30, max_requests: 10, max_missing: 512 }
    }
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    seq: u64,
    due: Instant,
    asked: Instant,
    requests: u8,
}

/// The missing packets of one video SSRC.
#[derive(Clone, Debug)]
pub struct NackGenerator {
    config: NackConfig,
    highest: Option<u64>,
    /// In ascending order.
    missing: VecDeque<Missing>,
    next_due: Option<Instant>,
    /// Smoothed.
    rtt: Option<Duration>,
}

impl NackGenerator {
    /// Nothing received yet.
    pub fn new(config: NackConfig) -> Self {
        Self { config, highest: None, missing: VecDeque::new(), next_due: None, rtt: None }
    }

    /// A round trip to the publisher was measured; packets are asked for again after one and a half of them.
    pub fn on_rtt(&mut self, rtt: Duration) {
        self.rtt = Some(self.rtt.map_or(rtt, |before| (before * 3 + rtt) / 4));
    }

    /// A packet came as a retransmission. One that was asked for once shows the round trip; after more requests nobody knows which was answered.
    pub fn on_retransmission(&mut self, now: Instant, seq: u64) {
        let asked = self.missing.binary_search_by_key(&seq, |it| it.seq).ok().and_then(|at| self.missing.get(at));
        if let Some(asked) = asked.filter(|it| it.requests == 1) {
            self.on_rtt(now.saturating_duration_since(asked.asked));
        }
        self.on_packet(now, seq);
    }

    /// Time until a packet is asked for again.
    fn interval(&self) -> Duration {
        let NackConfig { interval, min_interval, .. } = self.config;
        self.rtt.map_or(interval, |rtt| (rtt * 3 / 2).max(min_interval).min(interval))
    }

    /// A packet came, itself or as retransmission; `seq` unwrapped. Afterwards [`Self::poll`] tells what to ask for at once.
    pub fn on_packet(&mut self, now: Instant, seq: u64) {
        let Some(highest) = self.highest else {
            self.highest = Some(seq);
            return;
        };
        if seq <= highest {
            if let Ok(at) = self.missing.binary_search_by_key(&seq, |missing| missing.seq) {
                self.missing.remove(at);
                if self.missing.is_empty() {
                    self.next_due = None;
                }
            }
            return;
        }
        self.highest = Some(seq);
        if seq - highest > self.config.reset_jump {
            self.missing.clear();
            self.next_due = None;
            return;
        }
        for seq in highest + 1..seq {
            if self.missing.len() >= self.config.max_missing {
                self.missing.pop_front();
            }
            self.missing.push_back(Missing { seq, due: now, asked: now, requests: 0 });
            self.next_due = Some(now);
        }
    }

    /// Hands every packet that is due to `ask`, in ascending order: one NACK. Returns how many there were.
    pub fn poll(&mut self, now: Instant, mut ask: impl FnMut(u16)) -> usize {
        if self.next_due.is_none_or(|due| due > now) {
            return 0;
        }
        let (config, interval, mut asked, mut next) = (self.config, self.interval(), 0, None);
        self.missing.retain_mut(|missing| {
            if missing.due <= now {
                if missing.requests >= config.max_requests {
                    return false;
                }
                ask(missing.seq as u16);
                asked += 1;
                missing.requests += 1;
                (missing.asked, missing.due) = (now, now + interval);
            }
            next = Some(next.map_or(missing.due, |next: Instant| next.min(missing.due)));
            true
        });
        self.next_due = next;
        asked
    }

    /// When [`Self::poll`] has something next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_due
    }

    /// How many packets are missing.
    pub fn missing(&self) -> usize {
        self.missing.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn asked(nacks: &mut NackGenerator, now: Instant) -> Vec<u16> {
        let mut seqs = Vec::new();
        nacks.poll(now, |seq| seqs.push(seq));
        seqs
    }

    #[test]
    fn a_jump_of_up_to_99_asks_for_all_at_once_4_5() {
        let (now, mut nacks) = (Instant::now(), NackGenerator::new(NackConfig::default()));
        nacks.on_packet(now, 65_534);
        nacks.on_packet(now, 65_538);
        assert_eq!(asked(&mut nacks, now), [65_535, 0, 1]);
        assert!(asked(&mut nacks, now).is_empty(), "only once");
        nacks.on_packet(now, 65_538 + 100);
        assert_eq!(asked(&mut nacks, now).len(), 99);
    }

    #[test]
    fn a_jump_of_100_or_more_resets_4_5() {
        let (now, mut nacks) = (Instant::now(), NackGenerator::new(NackConfig::default()));
        nacks.on_packet(now, 1000);
        nacks.on_packet(now, 1002);
        nacks.on_packet(now, 1002 + 101);
        assert!(asked(&mut nacks, now).is_empty());
        assert_eq!((nacks.missing(), nacks.poll_timeout()), (0, None));
    }

    #[test]
    fn requests_repeat_every_150_ms_at_most_10_times_4_5() {
        let (start, mut nacks) = (Instant::now(), NackGenerator::new(NackConfig::default()));
        nacks.on_packet(start, 1000);
        nacks.on_packet(start, 1002);
        let mut times = Vec::new();
        while let Some(due) = nacks.poll_timeout() {
            assert!(due == start || asked(&mut nacks, due - MS).is_empty());
            if !asked(&mut nacks, due).is_empty() {
                times.push((due - start).as_millis());
            }
        }
        assert_eq!(times, (0..10).map(|n| n * 150).collect::<Vec<_>>());
        assert_eq!(nacks.missing(), 0, "given up");
    }

    /// When a lost packet is asked for, in milliseconds.
    fn times(nacks: &mut NackGenerator, start: Instant) -> Vec<u128> {
        let mut times = Vec::new();
        while let Some(due) = nacks.poll_timeout() {
            if !asked(nacks, due).is_empty() {
                times.push((due - start).as_millis());
            }
        }
        times
    }

    #[test]
    fn who_is_near_is_asked_sooner_within_bounds() {
        for (rtt, interval) in [(2, 30), (40, 60), (80, 120), (400, 150)] {
            let (start, mut nacks) = (Instant::now(), NackGenerator::new(NackConfig::default()));
            nacks.on_rtt(MS * rtt);
            nacks.on_packet(start, 1000);
            nacks.on_packet(start, 1002);
            assert_eq!(
                times(&mut nacks, start),
                (0..10).map(|n| n * interval).collect::<Vec<_>>(),
                "round trip {rtt} ms"
            );
        }
    }

    #[test]
    fn a_retransmission_after_one_request_shows_the_round_trip() {
        let (mut now, mut nacks) = (Instant::now(), NackGenerator::new(NackConfig::default()));
        nacks.on_packet(now, 1000);
        nacks.on_packet(now, 1003);
        assert_eq!(asked(&mut nacks, now), [1001, 1002]);
        now += MS * 60;
        nacks.on_retransmission(now, 1001);
        nacks.on_packet(now, 1002);
        nacks.on_packet(now, 1005);
        assert_eq!(times(&mut nacks, now)[..3], [0, 90, 180]);
    }

    #[test]
    fn what_was_asked_for_twice_or_only_came_late_shows_nothing() {
        let (mut now, mut nacks) = (Instant::now(), NackGenerator::new(NackConfig::default()));
        nacks.on_packet(now, 1000);
        nacks.on_packet(now, 1003);
        asked(&mut nacks, now);
        nacks.on_packet(now + MS, 1001);
        now += MS * 150;
        asked(&mut nacks, now);
        nacks.on_retransmission(now + MS, 1002);
        nacks.on_packet(now, 1005);
        assert_eq!(times(&mut nacks, now)[..2], [0, 150]);
    }

    #[test]
    fn recovery_cancels_4_5() {
        let (now, mut nacks) = (Instant::now(), NackGenerator::new(NackConfig::default()));
        nacks.on_packet(now, 1000);
        nacks.on_packet(now, 1003);
        assert_eq!(asked(&mut nacks, now), [1001, 1002]);
        nacks.on_packet(now + MS, 1001);
        assert_eq!(asked(&mut nacks, now + 150 * MS), [1002]);
        nacks.on_packet(now + 151 * MS, 1002);
        assert_eq!(nacks.poll_timeout(), None);
    }

    #[test]
    fn a_sender_full_of_holes_cannot_make_the_list_grow() {
        let (now, mut nacks) = (Instant::now(), NackGenerator::new(NackConfig::default()));
        (0..10_000).for_each(|n| nacks.on_packet(now, 1000 + n * 90));
        assert_eq!(nacks.missing(), 512);
    }

    proptest! {
        /// Whatever comes in whatever order: nothing that came is asked for, nothing more than ten times, and all small holes are asked for.
        #[test]
        fn only_holes_are_asked_for(steps in prop::collection::vec((0_u64..12, 0_u64..60), 1..200)) {
            let (mut now, mut nacks) = (Instant::now(), NackGenerator::new(NackConfig::default()));
            let (mut came, mut count, mut highest) = (std::collections::HashSet::new(), HashMap::<u16, u32>::new(), 1000);
            nacks.on_packet(now, 1000);
            came.insert(1000_u16);
            for (step, ms) in steps {
                now += MS * ms as u32;
                let seq = (highest + step).saturating_sub(4).max(1000);
                highest = highest.max(seq);
                nacks.on_packet(now, seq);
                came.insert(seq as u16);
                for seq in asked(&mut nacks, now) {
                    prop_assert!(!came.contains(&seq));
                    *count.entry(seq).or_default() += 1;
                }
                for seq in 1000..highest {
                    prop_assert!(came.contains(&(seq as u16)) || count.contains_key(&(seq as u16)));
                }
            }
            prop_assert!(count.values().all(|&times| times <= 10));
        }
    }
}
