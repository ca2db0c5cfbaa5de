//! Visitors who were redirected and have not appeared yet: they count for their node, for a while (`spec/focus.md` 3.4).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Redirects this close together share an entry, so that a storm costs no memory.
const BUCKET: Duration = Duration::from_millis(100);

/// A sliding window of redirects.
#[derive(Debug, Default)]
pub(crate) struct PendingCount {
    buckets: VecDeque<(Instant, u32)>,
    total: u32,
}

impl PendingCount {
    pub(crate) fn add(&mut self, now: Instant) {
        self.total += 1;
        match self.buckets.back_mut() {
            Some((at, n)) if now.saturating_duration_since(*at) < BUCKET => *n += 1,
            _ => self.buckets.push_back((now, 1)),
        }
    }

    /// A visitor appeared: it cancels the oldest entry. False if nobody was awaited.
    pub(crate) fn cancel_one(&mut self) -> bool {
        let Some((_, n)) = self.buckets.front_mut() else { return false };
        *n -= 1;
        if *n == 0 {
            self.buckets.pop_front();
        }
        self.total -= 1;
        true
    }

    /// Forgets entries that are older than `ttl`; returns how many.
    pub(crate) fn expire(&mut self, now: Instant, ttl: Duration) -> u32 {
        let before = self.total;
        while let Some((at, n)) = self.buckets.front() {
            if *at + ttl > now {
                break;
            }
            self.total -= n;
            self.buckets.pop_front();
        }
        before - self.total
    }

    /// Forgets everything; returns how many.
    pub(crate) fn clear(&mut self) -> u32 {
        self.buckets.clear();
        std::mem::take(&mut self.total)
    }

    pub(crate) fn total(&self) -> u32 {
        self.total
    }

    pub(crate) fn deadline(&self, ttl: Duration) -> Option<Instant> {
        self.buckets.front().map(|(at, _)| *at + ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_shares_entries_and_expires_after_the_window() {
        let t0 = Instant::now();
        let ttl = Duration::from_secs(60);
        let mut p = PendingCount::default();
        for i in 0..1000 {
            p.add(t0 + Duration::from_micros(i * 50));
        }
        assert_eq!((p.total(), p.buckets.len()), (1000, 1));
        assert!(p.cancel_one());
        assert_eq!(p.expire(t0 + Duration::from_secs(59), ttl), 0);
        assert_eq!(p.expire(p.deadline(ttl).unwrap(), ttl), 999);
        assert!(!p.cancel_one());
    }
}
