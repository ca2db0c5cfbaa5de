//! Measured rates of the layers of one encoding: a window of 1 s in buckets of 20 ms (`spec/bridge.md` 4.1). Fed per packet by the shard that
//! receives the source, read about once a second.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::ids::LayerIndex;

const BUCKET: Duration = Duration::from_millis(20);
const BUCKETS: u64 = 50;

/// What a layer's rate contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nesting {
    /// Of its own encoding every layer of equal or lower spatial and temporal index (VP8, VP9, H.264).
    Cumulative,
    /// Only what was counted for it: a packet is counted for each AV1 decode target that contains it.
    Exact,
}

#[derive(Clone, Debug)]
struct Window {
    layer: LayerIndex,
    /// Number of the newest bucket.
    newest: u64,
    bytes: [u32; BUCKETS as usize],
    sum: u64,
}

impl Window {
    fn advance(&mut self, bucket: u64) {
        if bucket <= self.newest {
            return;
        }
        if bucket - self.newest >= BUCKETS {
            self.bytes.fill(0);
            self.sum = 0;
        } else {
            for stale in self.newest + 1..=bucket {
                let slot = &mut self.bytes[(stale % BUCKETS) as usize];
                self.sum -= u64::from(*slot);
                *slot = 0;
            }
        }
        self.newest = bucket;
    }
}

/// Rates of the layers of one encoding.
#[derive(Clone, Debug)]
pub struct LayerMeter {
    nesting: Nesting,
    start: Instant,
    windows: SmallVec<[Window; 3]>,
}

/// Layers that are told apart; packets of further ones are not counted.
const MAX_LAYERS: usize = 32;

impl LayerMeter {
    /// Nothing counted yet.
    pub fn new(now: Instant, nesting: Nesting) -> Self {
        Self { nesting, start: now, windows: SmallVec::new() }
    }

    /// Counts a packet of a layer. With [`Nesting::Exact`] called once per decode target that contains it.
    pub fn add(&mut self, now: Instant, layer: LayerIndex, bytes: usize) {
        let bucket = self.bucket(now);
        let at = match self.windows.iter().position(|it| it.layer == layer) {
            Some(at) => at,
            None if self.windows.len() == MAX_LAYERS => return,
            None => {
                self.windows.push(Window { layer, newest: bucket, bytes: [0; BUCKETS as usize], sum: 0 });
                self.windows.len() - 1
            }
        };
        let window = &mut self.windows[at];
        window.advance(bucket);
        // A late packet of an earlier bucket counts for the newest: the clock of callers does not go back.
        let slot = &mut window.bytes[(window.newest % BUCKETS) as usize];
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(u32::MAX - *slot);
        *slot += bytes;
        window.sum += u64::from(bytes);
    }

    /// Bits in the last second, per layer seen so far.
    pub fn rates(&mut self, now: Instant) -> SmallVec<[(LayerIndex, u64); 9]> {
        let bucket = self.bucket(now);
        self.windows.iter_mut().for_each(|it| it.advance(bucket));
        let contains = |outer: LayerIndex, inner: LayerIndex| match self.nesting {
            Nesting::Exact => outer == inner,
            Nesting::Cumulative => inner.spatial() <= outer.spatial() && inner.temporal() <= outer.temporal(),
        };
        let rate = |layer| self.windows.iter().filter(|it| contains(layer, it.layer)).map(|it| it.sum * 8).sum();
        // A layer of which nothing comes costs nothing, also if those below it do: it is not active.
        self.windows.iter().map(|it| (it.layer, if it.sum == 0 { 0 } else { rate(it.layer) })).collect()
    }

    fn bucket(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.start).as_millis() / BUCKET.as_millis()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_costs_what_it_needs_and_forgets_after_a_second() {
        let t0 = Instant::now();
        let mut meter = LayerMeter::new(t0, Nesting::Cumulative);
        let (base, top) = (LayerIndex::new(1, 0, 0), LayerIndex::new(1, 0, 2));
        for i in 0..50 {
            let now = t0 + Duration::from_millis(20 * i);
            meter.add(now, base, 500);
            meter.add(now, top, 1000);
        }
        let now = t0 + Duration::from_millis(20 * 49);
        assert_eq!(meter.rates(now).to_vec(), [(base, 200_000), (top, 600_000)]);
        assert_eq!(meter.rates(now + Duration::from_millis(500)).to_vec(), [(base, 100_000), (top, 300_000)]);
        assert_eq!(meter.rates(now + Duration::from_secs(5)).to_vec(), [(base, 0), (top, 0)]);
    }

    #[test]
    fn decode_targets_count_for_themselves() {
        let t0 = Instant::now();
        let mut meter = LayerMeter::new(t0, Nesting::Exact);
        meter.add(t0, LayerIndex::av1(0, 0), 100);
        meter.add(t0, LayerIndex::av1(0, 1), 300);
        assert_eq!(meter.rates(t0).to_vec(), [(LayerIndex::av1(0, 0), 800), (LayerIndex::av1(0, 1), 2400)]);
    }
}
