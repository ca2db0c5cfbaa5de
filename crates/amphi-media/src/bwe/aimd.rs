//! The rate that the delay allows: up by 8 % a second or by packets near a known limit, down to 85 % of what arrives.

use std::time::Duration;

use super::delay::Usage;

const BETA: f64 = 0.85;
const GROWTH: f64 = 1.08;
/// The estimate does not grow beyond this multiple of what arrives, plus 10 kbit/s.
const MAX_RATIO: f64 = 1.5;
const MIN_ADDITIVE: f64 = 4_000.0;

/// What the path could carry when it was last overused: mean and relative deviation, in kbit/s.
#[derive(Clone, Copy, Debug)]
struct Capacity {
    mean: Option<f64>,
    deviation: f64,
}

impl Capacity {
    const NEW: Self = Self { mean: None, deviation: 0.4 };
    const ALPHA: f64 = 0.05;

    fn on_overuse(&mut self, rate: f64) {
        let sample = rate / 1000.0;
        let mean = self.mean.map_or(sample, |mean| mean + Self::ALPHA * (sample - mean));
        let error = (mean - sample).powi(2) / mean.max(1.0);
        self.deviation = ((1.0 - Self::ALPHA) * self.deviation + Self::ALPHA * error).clamp(0.4, 2.5);
        self.mean = Some(mean);
    }

    fn spread(&self, mean: f64) -> f64 {
        3.0 * (self.deviation * mean).sqrt()
    }

    fn is_above(&self, rate: f64) -> bool {
        self.mean.is_some_and(|mean| rate / 1000.0 > mean + self.spread(mean))
    }

    fn is_below(&self, rate: f64) -> bool {
        self.mean.is_some_and(|mean| rate / 1000.0 < (mean - self.spread(mean)).max(0.0))
    }
}

/// Additive increase, multiplicative decrease.
#[derive(Clone, Debug)]
pub(super) struct Aimd {
    rate: f64,
    min: f64,
    max: f64,
    increasing: bool,
    changed: i64,
    capacity: Capacity,
}

impl Aimd {
    pub(super) fn new(rate: f64, min: f64, max: f64) -> Self {
        Self { rate: rate.clamp(min, max), min, max, increasing: true, changed: 0, capacity: Capacity::NEW }
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Found out otherwise: by a probe, or by silence.
    pub(super) fn set(&mut self, now: i64, rate: f64) {
        (self.rate, self.changed) = (rate.clamp(self.min, self.max), now);
    }

    /// What the delay says, with the rate at which packets arrive. True if the rate was reduced.
    pub(super) fn update(&mut self, now: i64, usage: Usage, arriving: Option<f64>, rtt: Option<Duration>) -> bool {
        match usage {
            Usage::Over => return self.decrease(now, arriving, rtt),
            Usage::Under => self.increasing = false,
            Usage::Normal => {
                if !self.increasing {
                    (self.increasing, self.changed) = (true, now);
                }
                self.increase(now, arriving, rtt);
            }
        }
        false
    }

    fn increase(&mut self, now: i64, arriving: Option<f64>, rtt: Option<Duration>) {
        let elapsed = ((now - self.changed) as f64 / 1e6).clamp(0.0, 1.0);
        self.changed = now;
        let arriving = arriving.unwrap_or(self.rate);
        if self.capacity.is_above(arriving) {
            self.capacity = Capacity::NEW;
        }
        let limit = MAX_RATIO * arriving + 10_000.0;
        if self.rate >= limit {
            return;
        }
        let step = if self.capacity.mean.is_some() {
            self.additive(rtt) * elapsed
        } else {
            ((GROWTH.powf(elapsed) - 1.0) * self.rate).max(1_000.0 * elapsed)
        };
        self.rate = (self.rate + step).min(limit).clamp(self.min, self.max);
    }

    /// Bit/s per second near the limit: a packet per response time.
    fn additive(&self, rtt: Option<Duration>) -> f64 {
        let frame = self.rate / 30.0;
        let packet = frame / (frame / 9_600.0).ceil().max(1.0);
        let response = (rtt.unwrap_or(Duration::from_millis(200)) + Duration::from_millis(100)).as_secs_f64();
        (packet / response).max(MIN_ADDITIVE)
    }

    fn decrease(&mut self, now: i64, arriving: Option<f64>, rtt: Option<Duration>) -> bool {
        let wait =
            rtt.unwrap_or(Duration::from_millis(200)).clamp(Duration::from_millis(10), Duration::from_millis(200));
        let rested = now - self.changed >= wait.as_micros() as i64;
        let Some(arriving) = arriving else {
            // Nothing is known yet but that it is too much.
            if rested {
                self.set(now, self.rate / 2.0);
            }
            return rested;
        };
        if !rested && arriving >= self.rate / 2.0 {
            return false;
        }
        let mut reduced = BETA * arriving;
        if reduced > self.rate {
            reduced = self.capacity.mean.map_or(reduced, |mean| BETA * mean * 1000.0);
        }
        if self.capacity.is_below(arriving) {
            self.capacity = Capacity::NEW;
        }
        self.capacity.on_overuse(arriving);
        self.increasing = false;
        self.set(now, self.rate.min(reduced));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    fn aimd(rate: f64) -> Aimd {
        Aimd::new(rate, 30e3, 20e6)
    }

    #[test]
    fn it_grows_by_8_percent_a_second_up_to_1_5_times_what_arrives_4_10() {
        let mut rate = aimd(1e6);
        (0..=10).for_each(|n| _ = rate.update(10 * S + n * S / 10, Usage::Normal, Some(1e6), None));
        assert!((rate.rate() / 1e6 - 1.08 * 1.08).abs() < 0.005, "{}", rate.rate());
        (0..100).for_each(|n| _ = rate.update(20 * S + n * S, Usage::Normal, Some(1e6), None));
        assert_eq!(rate.rate(), 1_510_000.0);
    }

    #[test]
    fn overuse_reduces_to_85_percent_of_what_arrives_once_per_round_trip_4_10() {
        let mut rate = aimd(2e6);
        let rtt = Some(Duration::from_millis(100));
        assert!(rate.update(S, Usage::Over, Some(1e6), rtt));
        assert_eq!(rate.rate(), 850e3);
        assert!(!rate.update(S + 99_000, Usage::Over, Some(0.9e6), rtt));
        assert!(rate.update(S + 100_000, Usage::Over, Some(0.9e6), rtt));
        assert_eq!(rate.rate(), 765e3);
        assert!(rate.update(S + 101_000, Usage::Over, Some(0.3e6), rtt), "far too much: at once");
    }

    #[test]
    fn near_a_known_limit_it_grows_by_packets_4_10() {
        let mut rate = aimd(2e6);
        rate.update(S, Usage::Over, Some(1e6), None);
        let before = rate.rate();
        (0..20).for_each(|n| _ = rate.update(2 * S + n * S / 10, Usage::Normal, Some(0.9e6), None));
        let per_second = (rate.rate() - before) / 1.9;
        assert!((4e3..60e3).contains(&per_second), "{per_second}");
        rate.update(4 * S, Usage::Normal, Some(1.4e6), None);
        rate.update(5 * S, Usage::Normal, Some(1.4e6), None);
        assert!(rate.rate() > before * 1.1, "the limit is gone, 8 % again");
    }

    #[test]
    fn bounds_hold_4_10() {
        let mut rate = aimd(1e6);
        rate.set(S, 1e9);
        assert_eq!(rate.rate(), 20e6);
        rate.update(3 * S, Usage::Over, Some(1.0), None);
        assert_eq!(rate.rate(), 30e3);
    }
}
