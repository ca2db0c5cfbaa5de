//! When the packets of a publisher came, for transport-wide feedback to it (`spec/bridge.md` 4.9).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rtcp::Arrival;
use crate::seq::Unwrap;

/// Limits of [`ArrivalRecorder`].
#[derive(Clone, Copy, Debug)]
pub struct ArrivalConfig {
    /// Feedback leaves when so much time passed since the last; default 100 ms.
    pub interval: Duration,
    /// With a packet that ends a frame it leaves already after this time; default 20 ms.
    pub marker_interval: Duration,
    /// Sequence numbers in one feedback packet; default 400.
    pub batch: usize,
    /// Sequence numbers that are kept, reported or not; default 2048.
    pub window: usize,
    /// Arrivals older than this are forgotten once they are reported; default 500 ms. Within it, a packet that comes late makes its
    /// surroundings be reported again.
    pub history: Duration,
}

impl Default for ArrivalConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(100),
            marker_interval: Duration::from_millis(20),
            batch: 400,
            window: 2048,
            history: Duration::from_millis(500),
        }
    }
}

/// One feedback packet's content.
#[derive(Debug)]
pub struct ArrivalBatch<'a> {
    /// First transport-wide number, unwrapped.
    pub base_seq: u64,
    /// Running number of the feedback packet.
    pub feedback_count: u8,
    /// Media SSRC: that of the packet that was recorded last.
    pub media_ssrc: u32,
    arrivals: std::collections::vec_deque::Iter<'a, Option<u64>>,
}

impl ArrivalBatch<'_> {
    /// Arrival times in microseconds since the recorder began, for the base and those that follow; none for a packet that did not come. The
    /// first and the last did come.
    pub fn arrivals(&self) -> impl ExactSizeIterator<Item = Option<u64>> + Clone + '_ {
        self.arrivals.clone().copied()
    }

    /// Those that came, as [`crate::rtcp::TransportCcFeedback`] wants them, in place of what `out` has.
    pub fn collect(&self, out: &mut Vec<Arrival>) {
        out.clear();
        let came = self.arrivals().enumerate().filter_map(|(n, at)| Some((self.base_seq + n as u64, at?)));
        out.extend(came.map(|(seq, at)| Arrival { seq, micros: at as i64 }));
    }
}

/// Arrivals of all packets with a transport-wide number from one publisher.
#[derive(Clone, Debug)]
pub struct ArrivalRecorder {
    config: ArrivalConfig,
    start: Instant,
    unwrap: Unwrap<16>,
    /// Number of the front of `arrivals`.
    first: u64,
    arrivals: VecDeque<Option<u64>>,
    /// First number to be reported next.
    next: u64,
    unreported: bool,
    last_sent: Option<Instant>,
    media_ssrc: u32,
    feedback_count: u8,
}

impl ArrivalRecorder {
    /// Nothing recorded; times are told relative to `start`.
    pub fn new(start: Instant, config: ArrivalConfig) -> Self {
        Self {
            config,
            start,
            unwrap: Unwrap::new(),
            first: 0,
            arrivals: VecDeque::new(),
            next: 0,
            unreported: false,
            last_sent: None,
            media_ssrc: 0,
            feedback_count: 0,
        }
    }

    /// A packet with transport-wide number `seq` came. True: feedback is due, call [`Self::take`] until it returns none.
    pub fn record(&mut self, now: Instant, seq: u16, ssrc: u32, marker: bool) -> bool {
        let seq = self.unwrap.unwrap(u64::from(seq));
        let at = now.saturating_duration_since(self.start).as_micros() as u64;
        self.media_ssrc = ssrc;
        let end = self.first + self.arrivals.len() as u64;
        if self.arrivals.is_empty() || seq >= end + self.config.window as u64 {
            self.arrivals.clear();
            (self.first, self.next) = (seq, seq);
        } else if seq < self.first {
            // Too late to be of use: its place in the history is gone.
            if end - seq > self.config.window as u64 {
                return self.due(now, marker);
            }
            (seq..self.first).for_each(|_| self.arrivals.push_front(None));
            self.first = seq;
        }
        let index = (seq - self.first) as usize;
        if index >= self.arrivals.len() {
            self.arrivals.resize(index + 1, None);
        }
        // The first arrival counts; a repeated number changes nothing.
        if self.arrivals[index].is_none() {
            self.arrivals[index] = Some(at);
            self.unreported = true;
            self.next = self.next.min(seq);
        }
        while self.arrivals.len() > self.config.window {
            self.pop_front();
        }
        let oldest = at.saturating_sub(self.config.history.as_micros() as u64);
        while self.first < self.next && self.arrivals.front().is_some_and(|front| front.is_none_or(|at| at < oldest)) {
            self.pop_front();
        }
        self.due(now, marker)
    }

    fn pop_front(&mut self) {
        self.arrivals.pop_front();
        self.first += 1;
        self.next = self.next.max(self.first);
    }

    fn due(&mut self, now: Instant, marker: bool) -> bool {
        let last = *self.last_sent.get_or_insert(now);
        let wait = if marker { self.config.marker_interval } else { self.config.interval };
        self.unreported && now.saturating_duration_since(last) >= wait
    }

    /// When feedback is due although no packet comes.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.last_sent.filter(|_| self.unreported).map(|last| last + self.config.interval)
    }

    /// The next feedback packet; call it when [`Self::record`] said so or [`Self::poll_timeout`] passed, until it returns none.
    pub fn take(&mut self, now: Instant) -> Option<ArrivalBatch<'_>> {
        if !self.unreported {
            return None;
        }
        let skipped = self.arrivals.range((self.next - self.first) as usize..).take_while(|at| at.is_none()).count();
        let from = (self.next - self.first) as usize + skipped;
        let mut to = (from + self.config.batch.max(1)).min(self.arrivals.len());
        while to > from + 1 && self.arrivals[to - 1].is_none() {
            to -= 1;
        }
        if from >= to {
            self.unreported = false;
            return None;
        }
        let base = self.first + from as u64;
        self.next = self.first + to as u64;
        self.unreported = to < self.arrivals.len();
        self.last_sent = Some(now);
        let feedback_count = self.feedback_count;
        self.feedback_count = feedback_count.wrapping_add(1);
        Some(ArrivalBatch {
            base_seq: base,
            feedback_count,
            media_ssrc: self.media_ssrc,
            arrivals: self.arrivals.range(from..to),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::rtcp::{Packet, TransportCcFeedback, Writer, compound};
    use crate::send::{HistoryConfig, SendHistory};

    const MS: Duration = Duration::from_millis(1);

    /// All feedback due: base, arrivals in ms.
    fn take(recorder: &mut ArrivalRecorder, now: Instant) -> Vec<(u16, Vec<Option<u64>>)> {
        let mut all = Vec::new();
        while let Some(batch) = recorder.take(now) {
            all.push((batch.base_seq as u16, batch.arrivals().map(|at| at.map(|at| at / 1000)).collect()));
        }
        all
    }

    #[test]
    fn feedback_leaves_after_100_ms_or_after_20_ms_with_a_marker_4_9() {
        let start = Instant::now();
        let mut recorder = ArrivalRecorder::new(start, ArrivalConfig::default());
        assert!(!recorder.record(start, 1, 7, true));
        assert!(!recorder.record(start + 19 * MS, 2, 7, true));
        assert!(!recorder.record(start + 20 * MS, 3, 7, false));
        assert!(recorder.record(start + 20 * MS, 4, 7, true));
        assert_eq!(take(&mut recorder, start + 20 * MS), [(1, vec![Some(0), Some(19), Some(20), Some(20)])]);
        assert!(!recorder.record(start + 119 * MS, 5, 7, false));
        assert_eq!(recorder.poll_timeout(), Some(start + 120 * MS));
        assert!(recorder.record(start + 120 * MS, 6, 7, false));
    }

    #[test]
    fn lost_packets_are_reported_as_not_received_and_the_ssrc_is_the_current_one_4_9() {
        let start = Instant::now();
        let mut recorder = ArrivalRecorder::new(start, ArrivalConfig::default());
        recorder.record(start, 65_534, 7, false);
        recorder.record(start, 1, 8, false);
        let batch = recorder.take(start).unwrap();
        assert_eq!((batch.base_seq as u16, batch.media_ssrc, batch.feedback_count), (65_534, 8, 0));
        assert_eq!(batch.arrivals().collect::<Vec<_>>(), [Some(0), None, None, Some(0)]);
        assert!(recorder.take(start).is_none());
    }

    #[test]
    fn the_other_side_reads_what_was_recorded() {
        let start = Instant::now();
        let mut recorder = ArrivalRecorder::new(start, ArrivalConfig::default());
        let mut history = SendHistory::new(start, HistoryConfig::default());
        for n in 0..400_u32 {
            let seq = history.record(start + MS * n, 1200);
            if n % 7 != 3 {
                recorder.record(start + MS * (n + 20), seq, 7, false);
            }
        }
        let (mut arrivals, mut packet) = (Vec::new(), Vec::new());
        let batch = recorder.take(start).unwrap();
        batch.collect(&mut arrivals);
        let feedback = TransportCcFeedback {
            sender_ssrc: 1,
            media_ssrc: batch.media_ssrc,
            base_seq: batch.base_seq,
            feedback_count: batch.feedback_count,
            arrivals: &arrivals,
        };
        assert_eq!(Writer::new(&mut packet).transport_cc(&feedback, 1200), arrivals.len(), "one batch is one packet");
        let Some(Ok(Packet::TransportCc(read))) = compound(&packet).next() else { panic!("{packet:?}") };
        let statuses = read.statuses().map(|status| (status.seq, status.arrival.map(|at| at as u64)));
        let acked: Vec<_> = history.resolve(start + 500 * MS, statuses).collect();
        assert_eq!(acked.len(), 400);
        for (n, acked) in acked.iter().enumerate() {
            assert_eq!(acked.sent, start + MS * n as u32);
            let late = acked.arrival.map(|at| at as i64 - (n as i64 + 20) * 1000);
            assert!(if n % 7 == 3 { late.is_none() } else { late.is_some_and(|late| late.abs() < 250) });
        }
    }

    #[test]
    fn a_late_packet_is_reported_with_what_followed_it() {
        let start = Instant::now();
        let mut recorder = ArrivalRecorder::new(start, ArrivalConfig::default());
        recorder.record(start, 10, 7, false);
        recorder.record(start + MS, 12, 7, false);
        assert_eq!(take(&mut recorder, start + MS), [(10, vec![Some(0), None, Some(1)])]);
        recorder.record(start + 2 * MS, 11, 7, false);
        assert_eq!(take(&mut recorder, start + 3 * MS), [(11, vec![Some(2), Some(1)])]);
    }

    #[test]
    fn feedback_that_is_too_large_is_split_4_9() {
        let start = Instant::now();
        let mut recorder = ArrivalRecorder::new(start, ArrivalConfig::default());
        (0..1000).for_each(|seq| _ = recorder.record(start, seq, 7, false));
        let sizes: Vec<_> = take(&mut recorder, start).iter().map(|batch| (batch.0, batch.1.len())).collect();
        assert_eq!(sizes, [(0, 400), (400, 400), (800, 200)]);
    }

    proptest! {
        /// In any order, with any jumps: memory is bounded, and what came and was not overtaken by a jump is reported.
        #[test]
        fn every_arrival_is_reported_once_taken(steps in prop::collection::vec((-30_i32..60, 0_u32..30), 1..300)) {
            let start = Instant::now();
            let mut recorder = ArrivalRecorder::new(start, ArrivalConfig::default());
            let (mut now, mut seq, mut came, mut told) = (start, 60_000_i32, HashSet::new(), HashSet::new());
            for (step, ms) in steps {
                (now, seq) = (now + MS * ms, seq + step);
                came.insert(seq as u16);
                recorder.record(now, seq as u16, 7, false);
                prop_assert!(recorder.arrivals.len() <= 2048);
                while let Some(batch) = recorder.take(now) {
                    let arrivals: Vec<_> = batch.arrivals().collect();
                    prop_assert!(arrivals.first().unwrap().is_some() && arrivals.last().unwrap().is_some());
                    for (n, at) in arrivals.into_iter().enumerate() {
                        if at.is_some() {
                            told.insert((batch.base_seq as u16).wrapping_add(n as u16));
                        }
                    }
                }
            }
            prop_assert_eq!(came, told);
        }

        #[test]
        fn hostile_numbers_do_not_make_it_grow_or_panic(seqs in prop::collection::vec(any::<u16>(), 1..300)) {
            let start = Instant::now();
            let mut recorder = ArrivalRecorder::new(start, ArrivalConfig::default());
            for (n, seq) in seqs.into_iter().enumerate() {
                recorder.record(start, seq, 7, false);
                prop_assert!(recorder.arrivals.len() <= 2048);
                if n % 3 == 0 {
                    while recorder.take(start).is_some() {}
                }
            }
        }
    }
}
