//! Counting over a sliding time, and spending at a rate.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many there were in the last while, in a hundred buckets.
#[derive(Debug)]
pub(crate) struct Window {
    span: Duration,
    buckets: VecDeque<(Instant, u32)>,
    sum: u32,
}

impl Window {
    pub(crate) fn new(span: Duration) -> Self {
        Self { span, buckets: VecDeque::new(), sum: 0 }
    }

    pub(crate) fn add(&mut self, now: Instant, n: u32) {
        self.trim(now);
        self.sum = self.sum.saturating_add(n);
        match self.buckets.back_mut() {
            Some((at, count)) if now < *at + self.span / 100 => *count = count.saturating_add(n),
            _ => self.buckets.push_back((now, n)),
        }
    }

    fn trim(&mut self, now: Instant) {
        while let Some((at, n)) = self.buckets.front().copied() {
            if at + self.span > now {
                break;
            }
            self.sum -= n.min(self.sum);
            self.buckets.pop_front();
        }
    }

    pub(crate) fn count(&mut self, now: Instant) -> u32 {
        self.trim(now);
        self.sum
    }

    /// As [`Window::count`], without forgetting.
    pub(crate) fn peek(&self, now: Instant) -> u32 {
        let old: u32 = self.buckets.iter().take_while(|(at, _)| *at + self.span <= now).map(|(_, n)| n).sum();
        self.sum - old.min(self.sum)
    }
}

/// A token bucket that holds what comes in one second.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: f64,
    tokens: f64,
    filled: Option<Instant>,
}

impl Bucket {
    pub(crate) fn new(per_second: u32) -> Self {
        let rate = f64::from(per_second.max(1));
        Self { rate, tokens: rate, filled: None }
    }

    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let since = self.filled.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.tokens = (self.tokens + since.as_secs_f64() * self.rate).min(self.rate);
        self.filled = Some(now);
        if self.tokens < 1.0 - 1e-6 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    /// When there is a token again.
    pub(crate) fn next(&self) -> Option<Instant> {
        let missing = (1.0 - self.tokens).max(0.0);
        self.filled.map(|at| at + Duration::from_secs_f64(missing / self.rate))
    }
}

/// Requests of one client within bounds.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    at: VecDeque<Instant>,
}

impl Recent {
    /// Whether one more is allowed now; it is counted then.
    pub(crate) fn allow(&mut self, now: Instant, l: crate::RestartLimits) -> bool {
        while self.at.front().is_some_and(|at| *at + l.interval <= now) {
            self.at.pop_front();
        }
        let spaced = self.at.back().is_none_or(|at| *at + l.min_interval <= now);
        if !spaced || self.at.len() >= l.max_requests as usize {
            return false;
        }
        self.at.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_forgets() {
        let t = Instant::now();
        let s = Duration::from_secs(1);
        let mut w = Window::new(s * 20);
        w.add(t, 3);
        w.add(t + s * 10, 2);
        assert_eq!(w.peek(t + s * 19), 5);
        assert_eq!(w.peek(t + s * 20), 2);
        assert_eq!((w.count(t + s * 20), w.count(t + s * 31)), (2, 0));
    }

    #[test]
    fn restarts_are_spaced_and_bounded() {
        let t = Instant::now();
        let s = Duration::from_secs(1);
        let l = crate::RestartLimits { min_interval: s * 5, max_requests: 2, interval: s * 60 };
        let mut r = Recent::default();
        assert!(r.allow(t, l) && !r.allow(t + s * 4, l) && r.allow(t + s * 5, l));
        assert!(!r.allow(t + s * 20, l));
        assert!(r.allow(t + s * 60, l));
    }

    #[test]
    fn a_bucket_refills() {
        let t = Instant::now();
        let mut b = Bucket::new(2);
        assert!(b.take(t) && b.take(t) && !b.take(t));
        let next = b.next().unwrap();
        assert!(next > t && b.take(next) && !b.take(next));
    }
}
