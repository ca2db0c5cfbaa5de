//! Latency histograms: log-linear buckets of fixed number, 1.6 % wide, so that any count of samples costs the same
//! memory. No sample is kept; quantiles are read from the buckets.

use serde::Serialize;

const SUB_BITS: u32 = 6;
const SUB: usize = 1 << SUB_BITS;
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) * SUB;

/// Counts of durations in nanoseconds.
#[derive(Clone)]
pub(crate) struct Histogram {
    buckets: Box<[u64]>,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS].into_boxed_slice(), count: 0, sum: 0, min: u64::MAX, max: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn record(&mut self, nanos: u64) {
        self.buckets[bucket_of(nanos)] += 1;
        self.count += 1;
        self.sum += u128::from(nanos);
        self.min = self.min.min(nanos);
        self.max = self.max.max(nanos);
    }

    /// Adds the counts of another histogram.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Number of durations counted.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The duration below or at which the share `q` (0 to 1) of all durations lies; `None` without any.
    pub(crate) fn quantile(&self, q: f64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let rank = ((q * self.count as f64).ceil() as u64).clamp(1, self.count);
        let mut seen = 0;
        for (index, &n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return Some(upper_end(index).clamp(self.min, self.max));
            }
        }
        Some(self.max)
    }

    /// The usual figures in milliseconds.
    pub(crate) fn summary(&self) -> Latency {
        let ms = |q| self.quantile(q).map(|n| n as f64 / 1e6);
        Latency {
            count: self.count,
            mean_ms: (self.count > 0).then(|| self.sum as f64 / self.count as f64 / 1e6),
            p50_ms: ms(0.50),
            p90_ms: ms(0.90),
            p99_ms: ms(0.99),
            max_ms: (self.count > 0).then(|| self.max as f64 / 1e6),
        }
    }
}

/// What is told about a histogram.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    /// Number of durations.
    pub count: u64,
    /// Arithmetic mean.
    pub mean_ms: Option<f64>,
    /// Half of all durations are at most this.
    pub p50_ms: Option<f64>,
    /// Nine tenths are at most this.
    pub p90_ms: Option<f64>,
    /// All but one per cent are at most this.
    pub p99_ms: Option<f64>,
    /// The longest (exact).
    pub max_ms: Option<f64>,
}

fn bucket_of(v: u64) -> usize {
    if v < SUB as u64 {
        return v as usize;
    }
    let shift = 63 - v.leading_zeros() - SUB_BITS;
    (shift as usize + 1) * SUB + ((v >> shift) as usize - SUB)
}

fn upper_end(index: usize) -> u64 {
    if index < SUB {
        return index as u64;
    }
    let shift = (index / SUB - 1) as u32;
    let low = ((index % SUB + SUB) as u64) << shift;
    low + ((1u64 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_per_cent() {
        let mut h = Histogram::default();
        for n in 1..=100_000u64 {
            h.record(n * 1_000);
        }
        for q in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let exact = q * 100_000.0 * 1_000.0;
            let got = h.quantile(q).unwrap() as f64;
            assert!((got - exact).abs() / exact < 0.02, "{q}: {got} instead of {exact}");
        }
    }

    #[test]
    fn every_value_lies_in_a_bucket_whose_end_is_not_below_it() {
        for shift in 0..64 {
            for v in [1u64 << shift, (1u64 << shift) | 1, u64::MAX >> shift] {
                assert!(upper_end(bucket_of(v)) >= v, "{v}");
            }
        }
    }

    #[test]
    fn merging_counts_both() {
        let (mut a, mut b) = (Histogram::default(), Histogram::default());
        a.record(10);
        b.record(20);
        a.merge(&b);
        assert_eq!((a.count(), a.quantile(1.0), a.quantile(0.5)), (2, Some(20), Some(10)));
    }

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
