//! How much one client may send: bytes a second, twice as many in a burst. Whoever has used that up is read more slowly; nothing is
//! lost. Used by every transport.

use std::time::{Duration, Instant};

/// What is left of a client's rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    bytes: i64,
    at: Instant,
}

impl Budget {
    pub(crate) fn new(rate: u32, now: Instant) -> Self {
        Self { bytes: i64::from(rate) * 2, at: now }
    }

    /// Counts what was read.
    #[must_use]
    pub(crate) fn less(self, bytes: usize) -> Self {
        Self { bytes: self.bytes - bytes as i64, ..self }
    }

    /// How long to wait until the client may be read again. `rate` 0: there is none.
    pub(crate) fn wait(&mut self, rate: u32, now: Instant) -> Option<Duration> {
        let rate = i64::from(rate);
        if self.bytes > 0 || rate == 0 {
            return None;
        }
        let earned = now.duration_since(self.at).as_millis() as i64 * rate / 1000;
        self.at = now;
        self.bytes = (self.bytes + earned).min(rate * 2);
        (self.bytes <= 0).then(|| Duration::from_millis((-self.bytes * 1000 / rate) as u64 + 20))
    }
}
