//! Whether a queue grows on the way: packets grouped by send time, the trend of their delay, a threshold that adapts.

/// What the delay says about the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Usage {
    /// Queues stay.
    #[default]
    Normal,
    /// Queues grow.
    Over,
    /// Queues drain.
    Under,
}

/// Packets sent within this time are one group.
const GROUP: i64 = 5_000;
/// Packets that arrive closer than this, though sent further apart, were queued together.
const BURST_GAP: i64 = 5_000;
/// Such a burst is no longer than this.
const BURST: i64 = 100_000;
/// A receiver's clock that jumps by more than this begins anew.
const CLOCK_JUMP: i64 = 3_000_000;
/// Without packets for so long, old groups say nothing.
const STALE: i64 = 2_000_000;
/// Groups in the trend.
const WINDOW: usize = 20;
const SMOOTHING: f64 = 0.9;
const GAIN: f64 = 4.0;
const K_UP: f64 = 0.0087;
const K_DOWN: f64 = 0.039;
const THRESHOLD: f64 = 12.5;
const THRESHOLD_MIN: f64 = 6.0;
const THRESHOLD_MAX: f64 = 600.0;
/// Beyond the threshold by more than this, it does not adapt: such is a sudden loss of capacity.
const MAX_ADAPT: f64 = 15.0;
/// Overuse must last so many ms.
const OVERUSE_MS: f64 = 10.0;

/// A queue that holds packets for so long more than the path takes, in microseconds, needs no trend to be seen.
const QUEUE: i64 = 150_000;
/// It is one if so many packets in a row were held, arrived over this time in microseconds, and the last one no less than the first. What was
/// merely held up (radio links do that) arrives all at once, and the last one was held for the least time.
const QUEUED_PACKETS: u8 = 4;
const QUEUED_TIME: i64 = 60_000;
/// The least delay counts for so long, in microseconds: clocks drift and paths change.
const LEAST: i64 = 10_000_000;

/// Sees a long queue at once, which the trend of a few frames per second takes most of a second for.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    /// Least delay of the present and of the former period, and when the present one began.
    least: (i64, i64),
    since: i64,
    started: bool,
    /// First arrival of the packets in a row that were held, its delay, and how many there are.
    held: (i64, i64, u8),
}

impl Queue {
    fn on_packet(&mut self, sent: i64, arrival: i64) -> bool {
        let delay = arrival - sent;
        if !self.started {
            *self = Self { least: (delay, delay), since: arrival, started: true, held: (0, 0, 0) };
        }
        if arrival - self.since > LEAST {
            (self.least, self.since) = ((delay, self.least.0), arrival);
        }
        self.least.0 = self.least.0.min(delay);
        if delay - self.least.0.min(self.least.1) < QUEUE {
            self.held.2 = 0;
            return false;
        }
        if self.held.2 == 0 {
            (self.held.0, self.held.1) = (arrival, delay);
        }
        self.held.2 = self.held.2.saturating_add(1);
        let (first, at_first, count) = self.held;
        let long = count >= QUEUED_PACKETS && arrival - first >= QUEUED_TIME;
        if long {
            self.held = (arrival, delay, 1);
        }
        long && delay >= at_first
    }
}

/// Times in microseconds: sent by our clock, arrived by the receiver's.
#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: i64,
    last_sent: i64,
    first_arrival: i64,
    last_arrival: i64,
}

impl Group {
    fn of(sent: i64, arrival: i64) -> Self {
        Self { first_sent: sent, last_sent: sent, first_arrival: arrival, last_arrival: arrival }
    }

    fn takes(&self, sent: i64, arrival: i64) -> bool {
        let (send, arrive) = (sent - self.last_sent, arrival - self.last_arrival);
        let queued_together = arrive < send && arrive <= BURST_GAP && arrival - self.first_arrival < BURST;
        send == 0 || queued_together || sent - self.first_sent <= GROUP
    }
}

/// The trend of the delay towards one receiver.
#[derive(Clone, Debug)]
pub(super) struct DelayTrend {
    current: Option<Group>,
    previous: Option<Group>,
    reordered: u8,
    /// Arrival in microseconds, wrapped, and smoothed delay in ms; a ring.
    window: [(u32, f32); WINDOW],
    /// Groups since the start, up to 1000.
    deltas: u32,
    accumulated: f64,
    smoothed: f64,
    threshold: f64,
    previous_trend: f64,
    /// Time in overuse in ms and groups of it; below zero: none.
    overuse: (f64, u32),
    adapted: i64,
    last_packet: i64,
    usage: Usage,
    queue: Queue,
    /// A long queue was seen since this was asked.
    sudden: bool,
}

impl DelayTrend {
    pub(super) fn new() -> Self {
        Self {
            current: None,
            previous: None,
            reordered: 0,
            window: [(0, 0.0); WINDOW],
            deltas: 0,
            accumulated: 0.0,
            smoothed: 0.0,
            threshold: THRESHOLD,
            previous_trend: 0.0,
            overuse: (-1.0, 0),
            adapted: 0,
            last_packet: 0,
            usage: Usage::Normal,
            queue: Queue::default(),
            sudden: false,
        }
    }

    /// Whether a long queue was seen since this was asked last.
    pub(super) fn take_sudden(&mut self) -> bool {
        std::mem::take(&mut self.sudden)
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// A packet arrived; `now` is when we learn it.
    pub(super) fn on_packet(&mut self, now: i64, sent: i64, arrival: i64) {
        if now - self.last_packet > STALE {
            self.restart();
        }
        self.last_packet = now;
        self.sudden |= self.queue.on_packet(sent, arrival);
        // Whole milliseconds, so that what left together is not torn apart by its arrival.
        let sent = (sent + 500) / 1000 * 1000;
        let Some(current) = &mut self.current else {
            self.current = Some(Group::of(sent, arrival));
            return;
        };
        if (arrival - current.last_arrival) - (sent - current.last_sent) > CLOCK_JUMP
            || current.last_arrival - arrival > CLOCK_JUMP
        {
            self.restart();
            self.current = Some(Group::of(sent, arrival));
            return;
        }
        if sent < current.first_sent {
            return;
        }
        if current.takes(sent, arrival) {
            current.last_sent = current.last_sent.max(sent);
            current.last_arrival = current.last_arrival.max(arrival);
            return;
        }
        let complete = *current;
        self.current = Some(Group::of(sent, arrival));
        if let Some(previous) = self.previous.replace(complete) {
            let send = complete.last_sent - previous.last_sent;
            let arrive = complete.last_arrival - previous.last_arrival;
            if arrive < 0 {
                self.reordered += 1;
                if self.reordered >= 3 {
                    self.restart();
                }
                return;
            }
            self.reordered = 0;
            self.on_group(now, send as f64 / 1000.0, arrive as f64 / 1000.0, complete.last_arrival);
        }
    }

    /// Forgets groups and trend, keeps the threshold.
    fn restart(&mut self) {
        *self = Self { threshold: self.threshold, adapted: self.adapted, last_packet: self.last_packet, ..Self::new() };
    }

    fn on_group(&mut self, now: i64, send: f64, arrive: f64, arrival: i64) {
        self.accumulated += arrive - send;
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.accumulated;
        self.window[self.deltas as usize % WINDOW] = (arrival as u32, self.smoothed as f32);
        // The ring's place follows from the count, so the count goes on from 1000 by whole windows.
        self.deltas = if self.deltas == 1000 + WINDOW as u32 { 1001 } else { self.deltas + 1 };
        if (self.deltas as usize) < WINDOW {
            return;
        }
        let trend = self.slope().unwrap_or(self.previous_trend);
        self.detect(now, trend, send);
    }

    /// Delay per time by linear regression over the window.
    fn slope(&self) -> Option<f64> {
        let origin = self.window[self.deltas as usize % WINDOW].0;
        let x = |at: u32| f64::from(at.wrapping_sub(origin) as i32) / 1000.0;
        let (sum_x, sum_y) =
            self.window.iter().fold((0.0, 0.0), |(sx, sy), &(at, delay)| (sx + x(at), sy + f64::from(delay)));
        let (mean_x, mean_y) = (sum_x / WINDOW as f64, sum_y / WINDOW as f64);
        let (over, under) = self.window.iter().fold((0.0, 0.0), |(over, under), &(at, delay)| {
            let dx = x(at) - mean_x;
            (over + dx * (f64::from(delay) - mean_y), under + dx * dx)
        });
        (under > 0.0).then(|| over / under)
    }

    fn detect(&mut self, now: i64, trend: f64, send: f64) {
        let modified = f64::from(self.deltas.min(60)) * trend * GAIN;
        if modified > self.threshold {
            let (lasted, groups) = self.overuse;
            // Taken to have begun half way to the group before.
            self.overuse = (if lasted < 0.0 { send / 2.0 } else { lasted + send }, groups + 1);
            if self.overuse.0 > OVERUSE_MS && self.overuse.1 > 1 && trend >= self.previous_trend {
                self.overuse = (0.0, 0);
                self.usage = Usage::Over;
            }
        } else {
            self.overuse = (-1.0, 0);
            self.usage = if modified < -self.threshold { Usage::Under } else { Usage::Normal };
        }
        self.previous_trend = trend;
        self.adapt(now, modified.abs());
    }

    fn adapt(&mut self, now: i64, modified: f64) {
        let elapsed = ((now - std::mem::replace(&mut self.adapted, now)) as f64 / 1000.0).clamp(0.0, 100.0);
        if modified > self.threshold + MAX_ADAPT {
            return;
        }
        let k = if modified < self.threshold { K_DOWN } else { K_UP };
        self.threshold += k * (modified - self.threshold) * elapsed;
        self.threshold = self.threshold.clamp(THRESHOLD_MIN, THRESHOLD_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of two packets every 33 ms, arriving with the delay that `delay` says, in microseconds.
    fn run(trend: &mut DelayTrend, frames: std::ops::Range<i64>, delay: impl Fn(i64) -> i64) -> Usage {
        for n in frames {
            let sent = n * 33_000;
            for packet in 0..2 {
                trend.on_packet(sent + 50_000, sent, sent + delay(n) + packet * 100);
            }
        }
        trend.usage()
    }

    #[test]
    fn a_growing_delay_is_overuse_and_a_falling_one_underuse_4_10() {
        let mut trend = DelayTrend::new();
        assert_eq!(run(&mut trend, 0..60, |_| 20_000), Usage::Normal);
        assert_eq!(run(&mut trend, 60..90, |n| 20_000 + (n - 60) * 5_000), Usage::Over);
        assert_eq!(run(&mut trend, 90..140, |_| 170_000), Usage::Normal);
        assert_eq!(run(&mut trend, 140..160, |n| 170_000 - (n - 140) * 5_000), Usage::Under);
    }

    #[test]
    fn the_trend_needs_a_window_of_20_groups_4_10() {
        let mut trend = DelayTrend::new();
        assert_eq!(run(&mut trend, 0..20, |n| n * 10_000), Usage::Normal);
        assert_eq!(run(&mut trend, 20..26, |n| n * 10_000), Usage::Over);
    }

    #[test]
    fn a_long_queue_is_seen_within_few_packets_and_a_short_stall_is_none() {
        let mut trend = DelayTrend::new();
        run(&mut trend, 0..60, |_| 20_000);
        assert!(!trend.take_sudden());
        // Six packets of each frame at 400 kbit/s: 22 ms for each.
        let mut free = 0;
        let seen = (60..80).position(|n| {
            let sent = n * 33_000;
            for _ in 0..6 {
                free = free.max(sent + 20_000) + 22_000;
                trend.on_packet(free + 20_000, sent, free);
            }
            trend.take_sudden()
        });
        assert!(seen.is_some_and(|frames| frames <= 3), "{seen:?}");
        let mut trend = DelayTrend::new();
        run(&mut trend, 0..60, |_| 20_000);
        // What was sent in 400 ms arrives at once.
        for n in 60..72 {
            let (sent, arrival) = (n * 33_000, 72 * 33_000 + (n - 60) * 200);
            trend.on_packet(arrival + 20_000, sent, arrival);
        }
        assert!(!trend.take_sudden());
        run(&mut trend, 73..90, |_| 20_000);
        assert!(!trend.take_sudden());
    }

    #[test]
    fn a_receivers_clock_that_jumps_says_nothing() {
        let mut trend = DelayTrend::new();
        run(&mut trend, 0..60, |_| 20_000);
        assert_eq!(run(&mut trend, 60..120, |_| 50_000_000), Usage::Normal);
        assert_eq!(run(&mut trend, 120..200, |_| -50_000_000), Usage::Normal);
    }

    #[test]
    fn a_slow_clock_for_hours_is_no_overuse() {
        let mut trend = DelayTrend::new();
        for n in 0..200_000 {
            assert_eq!(run(&mut trend, n..n + 1, |n| n * 33 * 100 / 1000), Usage::Normal, "100 ppm, frame {n}");
        }
    }
}
