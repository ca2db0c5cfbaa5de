//! What was sent under which transport-wide number, until the receiver tells what became of it (`spec/bridge.md` 9.5.2 "Feedback").

use std::time::{Duration, Instant};

/// Limits of [`SendHistory`].
#[derive(Clone, Copy, Debug)]
pub struct HistoryConfig {
    /// Entries at the start, 8 bytes each; default 128. A power of two, as all sizes.
    pub initial: usize,
    /// Entries at most; default 1024. The ring doubles when it would overwrite packets younger than `age` that nothing is known of.
    pub max: usize,
    /// How long an entry counts; default 4 s.
    pub age: Duration,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        Self { initial: 128, max: 1024, age: Duration::from_secs(4) }
    }
}

/// What feedback says about one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// When it left.
    pub sent: Instant,
    /// Its bytes.
    pub size: u16,
    /// When it came, in microseconds of the receiver's clock; none if it is lost so far.
    pub arrival: Option<u64>,
    /// Whether it was told lost before.
    pub was_lost: bool,
}

const FREE: u16 = 0;
const LOST: u16 = 1 << 15;

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Microseconds since the start, wrapped; entries live far shorter than the 71 minutes of a cycle.
    sent: u32,
    seq: u16,
    /// Bytes; [`FREE`], or with [`LOST`] once reported lost.
    size: u16,
}

/// The last packets sent to one receiver by transport-wide number.
#[derive(Clone, Debug)]
pub struct SendHistory {
    start: Instant,
    ring: Box<[Entry]>,
    config: HistoryConfig,
    next: u16,
}

impl SendHistory {
    /// Nothing sent; the first number will be 1.
    pub fn new(start: Instant, config: HistoryConfig) -> Self {
        let initial = config.initial.clamp(16, 1 << 15).next_power_of_two();
        Self { start, ring: vec![Entry { sent: 0, seq: 0, size: FREE }; initial].into(), config, next: 1 }
    }

    /// Gives a packet of `size` bytes that leaves now its number.
    #[inline]
    pub fn record(&mut self, now: Instant, size: usize) -> u16 {
        let (seq, sent) = (self.next, self.clock(now));
        self.next = seq.wrapping_add(1);
        let size = size.clamp(1, usize::from(LOST - 1)) as u16;
        let mask = self.ring.len() - 1;
        let old = self.ring[usize::from(seq) & mask];
        if old.size != FREE && self.ring.len() < self.config.max && self.young(old, sent) {
            self.grow();
        }
        let mask = self.ring.len() - 1;
        self.ring[usize::from(seq) & mask] = Entry { sent, seq, size };
        seq
    }

    /// The number that the next packet gets.
    pub fn next_number(&self) -> u16 {
        self.next
    }

    /// Joins the statuses of one feedback packet with what was sent. A packet is told received once and lost once; received after lost is
    /// told again. Numbers that were never sent, are too old or known are left out.
    pub fn resolve<'a>(
        &'a mut self,
        now: Instant,
        statuses: impl Iterator<Item = (u16, Option<u64>)> + 'a,
    ) -> impl Iterator<Item = Acked> + 'a {
        let clock = self.clock(now);
        statuses.filter_map(move |(seq, arrival)| {
            let mask = self.ring.len() - 1;
            let entry = self.ring[usize::from(seq) & mask];
            if entry.seq != seq || entry.size == FREE || !self.young(entry, clock) {
                return None;
            }
            let size = entry.size & !LOST;
            match arrival {
                None if entry.size & LOST != 0 => return None,
                None => self.ring[usize::from(seq) & mask].size |= LOST,
                Some(_) => self.ring[usize::from(seq) & mask].size = FREE,
            }
            let ago = Duration::from_micros(u64::from(clock.wrapping_sub(entry.sent)));
            Some(Acked {
                sent: now.checked_sub(ago).unwrap_or(self.start),
                size,
                arrival,
                was_lost: entry.size & LOST != 0,
            })
        })
    }

    fn clock(&self, now: Instant) -> u32 {
        now.saturating_duration_since(self.start).as_micros() as u32
    }

    fn young(&self, entry: Entry, clock: u32) -> bool {
        u128::from(clock.wrapping_sub(entry.sent)) <= self.config.age.as_micros()
    }

    #[cold]
    fn grow(&mut self) {
        let mask = self.ring.len() * 2 - 1;
        let mut ring = vec![Entry { sent: 0, seq: 0, size: FREE }; mask + 1];
        let used = self.ring.iter().filter(|entry| entry.size != FREE);
        used.for_each(|entry| ring[usize::from(entry.seq) & mask] = *entry);
        self.ring = ring.into();
    }

    /// Bytes on the heap.
    pub fn heap_size(&self) -> usize {
        size_of_val(&*self.ring)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn resolve(history: &mut SendHistory, now: Instant, statuses: &[(u16, Option<u64>)]) -> Vec<Acked> {
        history.resolve(now, statuses.iter().copied()).collect()
    }

    #[test]
    fn feedback_is_joined_with_what_was_sent() {
        let start = Instant::now();
        let mut history = SendHistory::new(start, HistoryConfig::default());
        assert_eq!(history.record(start + MS, 1200), 1);
        assert_eq!(history.record(start + 2 * MS, 1100), 2);
        let acked = resolve(&mut history, start + 50 * MS, &[(1, Some(77)), (2, None), (3, Some(78))]);
        let expected = [
            Acked { sent: start + MS, size: 1200, arrival: Some(77), was_lost: false },
            Acked { sent: start + 2 * MS, size: 1100, arrival: None, was_lost: false },
        ];
        assert_eq!(acked, expected);
    }

    #[test]
    fn what_is_known_is_not_told_twice_but_lost_may_become_received() {
        let start = Instant::now();
        let mut history = SendHistory::new(start, HistoryConfig::default());
        history.record(start, 1200);
        assert_eq!(resolve(&mut history, start, &[(1, None), (1, None)]).len(), 1);
        let received = resolve(&mut history, start, &[(1, Some(5)), (1, Some(5)), (1, None)]);
        assert_eq!(received, [Acked { sent: start, size: 1200, arrival: Some(5), was_lost: true }]);
    }

    #[test]
    fn the_ring_grows_only_while_feedback_is_outstanding_and_only_to_its_maximum() {
        let start = Instant::now();
        let mut history = SendHistory::new(start, HistoryConfig::default());
        for n in 0..1000_u16 {
            let seq = history.record(start + MS * u32::from(n), 100);
            assert_eq!(resolve(&mut history, start + MS * u32::from(n), &[(seq, Some(1))]).len(), 1);
        }
        assert_eq!(history.heap_size(), 128 * 8);
        let now = start + 2000 * MS;
        (0..3000).for_each(|_| _ = history.record(now, 100));
        assert_eq!(history.heap_size(), 1024 * 8);
        assert_eq!(resolve(&mut history, now, &[(4000, Some(1)), (2977, Some(1)), (2976, Some(1))]).len(), 2);
    }

    #[test]
    fn entries_expire() {
        let start = Instant::now();
        let mut history = SendHistory::new(start, HistoryConfig::default());
        history.record(start, 1200);
        assert!(resolve(&mut history, start + 4001 * MS, &[(1, Some(5))]).is_empty());
    }

    proptest! {
        #[test]
        fn hostile_feedback_never_tells_more_than_was_sent(sent in 0_usize..2000, told in prop::collection::vec(any::<(u16, Option<u64>)>(), 0..300)) {
            let start = Instant::now();
            let mut history = SendHistory::new(start, HistoryConfig::default());
            (0..sent).for_each(|_| _ = history.record(start, 1));
            let received = resolve(&mut history, start, &told).iter().filter(|acked| acked.arrival.is_some()).count();
            prop_assert!(received <= sent.min(1024));
        }
    }
}
