//! Coming and going: so many sinks a second leave, and as many who left before join again. What the server keeps of those who are gone shows in
//! the slope of its memory.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::engine::Order;
use super::report::{Churn, MediaSample};
use super::run::Run;

/// How long a client stays away.
const AWAY: Duration = Duration::from_secs(2);
/// The share of the time that is not counted into the slope.
const WARM_UP: f64 = 0.1;

impl Run {
    /// Runs it.
    pub(super) fn churn(&mut self, rate: f64) -> Churn {
        let minutes = self.args.minutes;
        let first = self.args.publishers + self.args.full;
        let mut inside: VecDeque<u32> = (first..first + self.args.sinks).collect();
        let mut outside: VecDeque<(Instant, u32)> = VecDeque::new();
        let figures = |run: &Self| {
            (run.live.get(|it| &it.connects), run.live.get(|it| &it.failed) + run.signaling.state().failed)
        };
        let before = figures(self);
        let begin = self.sample("churn");
        let (start, mut left) = (Instant::now(), 0);
        let end = start + Duration::from_secs_f64(minutes * 60.0);
        while Instant::now() < end && !self.is_broken() {
            let due = (start.elapsed().as_secs_f64() * rate) as u64;
            // Somebody stays, so that the conference does.
            while left < due && inside.len() > 1 {
                let Some(index) = inside.pop_front() else { break };
                self.routes.send(index, Order::Leave(index));
                outside.push_back((Instant::now(), index));
                left += 1;
            }
            while let Some((since, index)) = outside.front().copied()
                && since.elapsed() >= AWAY
            {
                outside.pop_front();
                self.routes.send(index, Order::Join(index));
                inside.push_back(index);
            }
            std::thread::sleep(Duration::from_millis(5));
            self.look("churn");
        }
        self.watch("churn", AWAY.as_secs_f64());
        for (_, index) in outside.drain(..) {
            self.routes.send(index, Order::Join(index));
        }
        self.watch("churn", 5.0);
        let last = self.sample("churn");
        let after = figures(self);
        let samples = &self.samples[begin..=last];
        let warm = samples[0].t + WARM_UP * (samples[samples.len() - 1].t - samples[0].t);
        let steady: Vec<&MediaSample> = samples.iter().filter(|it| it.t >= warm).collect();
        let slope = slope(&steady);
        Churn {
            rate,
            minutes,
            left,
            connected: after.0 - before.0,
            failed: after.1 - before.1,
            rss_begin: steady.first().and_then(|it| it.server_rss),
            rss_end: steady.last().and_then(|it| it.server_rss),
            kib_per_minute: slope.map(|it| it * 60.0 / 1_024.0),
            bytes_per_1000_joins: slope.map(|it| it / rate * 1_000.0),
        }
    }
}

/// Bytes per second, by least squares.
fn slope(samples: &[&MediaSample]) -> Option<f64> {
    let points: Vec<(f64, f64)> = samples.iter().filter_map(|it| Some((it.t, it.server_rss? as f64))).collect();
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), it| (x + it.0 / n, y + it.1 / n));
    let (above, below) =
        points.iter().fold((0.0, 0.0), |(a, b), it| (a + (it.0 - x) * (it.1 - y), b + (it.0 - x) * (it.0 - x)));
    (below > 0.0).then(|| above / below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_line_through_the_samples() {
        let sample = |t: f64, rss: u64| MediaSample {
            t,
            phase: "",
            connected: 0,
            packets: 0,
            bytes: 0,
            server_cpu: None,
            server_rss: Some(rss),
            generator_cpu: None,
        };
        let all: Vec<MediaSample> =
            (0..50).map(|n| sample(f64::from(n), 1_000 + 30 * n as u64 + u64::from(n % 2 == 0))).collect();
        let all: Vec<&MediaSample> = all.iter().collect();
        assert!((slope(&all).unwrap() - 30.0).abs() < 0.1);
        assert_eq!(slope(&all[..1]), None);
    }
}
