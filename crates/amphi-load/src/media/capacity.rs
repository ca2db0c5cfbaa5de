//! What a bridge does before there is media: creates of endpoints without clients, and connects of sinks to a conference in which nobody publishes.
//! Both are told per second and as CPU time of one, so that what a core of the bridge can do shows even where the generator is the slower one.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::counts::Counted;
use super::engine::Order;
use super::report::{Connects, Cost};
use super::run::Run;

/// How long the end of a phase may take.
const PATIENCE: Duration = Duration::from_secs(10);

impl Run {
    /// Creates endpoints, if that is wanted.
    pub(super) fn creates(&mut self) -> anyhow::Result<()> {
        let Some(colibri) = self.colibri.clone().filter(|_| self.args.creates > 0) else { return Ok(()) };
        let before = self.sample("creates");
        let mut creates = colibri.burst(self.args.creates)?;
        let after = self.sample("creates");
        creates.cost = self.cost(before, after, creates.count);
        self.report.creates = Some(creates);
        colibri.end_burst();
        self.watch("creates", 1.0);
        Ok(())
    }

    /// Connects sinks where nobody publishes, if that is wanted.
    pub(super) fn connects(&mut self) {
        if self.args.connects == 0 {
            return;
        }
        // Numbers of their own: what comes later has nothing to do with them.
        let first = self.args.publishers + self.args.full + self.args.sinks;
        let all = first..first + self.args.connects;
        let before = self.sample("connects");
        let (begin, channels) = (self.base.elapsed(), self.live.get(|it| &it.channels));
        let count = self.join("connects", all.clone(), None);
        let last = Duration::from_nanos(self.live.get(|it| &it.last_connect));
        let opened = channels + count;
        self.wait("connects", |run| run.live.get(|it| &it.channels) >= opened);
        let after = self.sample("connects");
        let counted = self.take();
        let seconds = last.saturating_sub(begin).as_secs_f64();
        self.report.connects = Some(Connects {
            count,
            failed: u64::from(self.args.connects) - count.min(u64::from(self.args.connects)),
            seconds,
            per_second: count as f64 / seconds.max(1e-3),
            latency: counted.connect.summary(),
            cost: self.cost(before, after, count),
        });
        all.for_each(|index| self.routes.send(index, Order::Leave(index)));
        self.wait("connects", |run| run.live.get(|it| &it.connected) == 0 && run.signaling.state().joined == 0);
        self.watch("connects", 1.0);
        self.channels_before = self.live.get(|it| &it.channels);
        // Of what this phase counted only errors stay.
        let errors = self.take().errors.into_iter().chain(counted.errors);
        errors.for_each(|(kind, n)| *self.report.errors.entry(kind).or_default() += n);
    }

    /// CPU time of each of `count`, between two samples.
    fn cost(&self, before: usize, after: usize, count: u64) -> Cost {
        let (a, b) = (&self.samples[before], &self.samples[after]);
        let each = |x: Option<f64>, y: Option<f64>| Some((y? - x?) * 1e3 / count as f64).filter(|_| count > 0);
        let server_ms = each(a.server_cpu, b.server_cpu);
        let per_server_core = server_ms.filter(|ms| *ms > 0.0).map(|ms| 1e3 / ms);
        Cost { server_ms, per_server_core, generator_ms: each(a.generator_cpu, b.generator_cpu) }
    }

    fn wait(&mut self, phase: &'static str, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) && Instant::now() < until && !self.is_broken() {
            self.watch(phase, 0.01);
        }
    }

    /// What threads have counted since this was asked last.
    fn take(&self) -> Counted {
        let mut sum = Counted::default();
        for mailbox in &self.mailboxes {
            let (tell, told) = mpsc::channel();
            mailbox.send(Order::Take(tell));
            if let Ok(counted) = told.recv_timeout(PATIENCE) {
                sum.merge(&counted);
            }
        }
        sum
    }
}
