//! What is pending towards one source.

use std::time::{Duration, Instant};

use super::KeyframeConfig;

/// Encodings of a source that can be told apart.
pub(super) const ENCODINGS: usize = 4;

/// Somebody waits for a keyframe of an encoding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    /// When the request leaves.
    pub(super) due: Instant,
    /// Times it left already, for no keyframe came.
    pub(super) tries: u8,
}

/// One source.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// By encoding.
    pub(super) pending: [Option<Pending>; ENCODINGS],
    /// When a request left last.
    pub(super) sent: Option<Instant>,
    /// When a keyframe began last, by encoding.
    pub(super) keyframe: [Option<Instant>; ENCODINGS],
    /// Receivers of the source, as told last.
    pub(super) audience: u32,
    /// Who came in the second that began at the instant, and in the second before: a bit per hash.
    joins: (Instant, u64, u64),
}

impl Record {
    pub(super) fn new(now: Instant) -> Self {
        Self { pending: [None; ENCODINGS], sent: None, keyframe: [None; ENCODINGS], audience: 0, joins: (now, 0, 0) }
    }

    /// When the next request is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.pending.iter().flatten().map(|pending| pending.due).min()
    }

    /// The last time that the source was asked or made a keyframe of the encoding anyway.
    pub(super) fn last(&self, encoding: usize) -> Option<Instant> {
        self.sent.max(self.keyframe[encoding])
    }

    /// Counts a first-time viewer; the same one again does not count.
    pub(super) fn on_join(&mut self, now: Instant, requester: u32) {
        let elapsed = now.saturating_duration_since(self.joins.0);
        if elapsed >= Duration::from_secs(1) {
            self.joins = (now, 0, if elapsed < Duration::from_secs(2) { self.joins.1 } else { 0 });
        }
        self.joins.1 |= 1 << (requester.wrapping_mul(0x9e37_79b1) >> 26);
    }

    /// Different viewers that came within a second, estimated from the bits that are set.
    fn joins(&self) -> f64 {
        let set = f64::from(self.joins.1.count_ones().max(self.joins.2.count_ones()).min(63));
        -64.0 * (1.0 - set / 64.0).ln()
    }

    /// How far the audience is from small (0) to large (1).
    fn largeness(&self, config: &KeyframeConfig) -> f64 {
        (f64::from(self.audience.max(1)) / f64::from(config.small_audience.max(1))).log10() / 2.0
    }

    /// The merge window (`spec/bridge.md` 4.9): grows with the audience and with the rate of joins.
    pub(super) fn window(&self, config: &KeyframeConfig) -> Duration {
        let joins = self.joins() / f64::from(config.join_storm.max(1));
        let part = self.largeness(config).max(joins - 0.1);
        between(config.merge_window, config.max_merge_window, part).max(config.source_interval)
    }

    /// How old the last keyframe must be for upgrades (`spec/bridge.md` 4.6.6).
    pub(super) fn epoch(&self, config: &KeyframeConfig) -> Duration {
        between(config.min_epoch, config.max_epoch, self.largeness(config))
    }

    /// Takes out what is due. All encodings that anybody waits for are asked for at once, for clients key all of them anyway; each is asked
    /// for again later unless its keyframe comes.
    pub(super) fn send(&mut self, config: &KeyframeConfig, now: Instant) -> Option<u8> {
        let mut encodings = 0;
        for (encoding, slot) in self.pending.iter_mut().enumerate() {
            let Some(pending) = slot else { continue };
            if pending.tries > config.max_retries {
                *slot = None;
                continue;
            }
            encodings |= 1 << encoding;
            pending.tries += 1;
            // 1, 2, 3 ... times the interval: a source that does not answer is asked less and less.
            pending.due = now + config.retry * u32::from(pending.tries);
        }
        if encodings == 0 {
            return None;
        }
        self.sent = Some(now);
        Some(encodings)
    }
}

/// Between two durations, `part` of the way.
pub(super) fn between(low: Duration, high: Duration, part: f64) -> Duration {
    low + high.saturating_sub(low).mul_f64(part.clamp(0.0, 1.0))
}
