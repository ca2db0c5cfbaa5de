//! The course of a run with many rooms: all join, everybody on stage sends one line, all leave, a pause until the server's
//! rooms are gone, and again. What the server keeps from cycle to cycle shows in the floor of its memory.

use std::{
    sync::{atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use crate::{
    engine::{Command, Group},
    gauge,
    marker::Carrier,
    report::{Cycle, Rooms},
    run::Run,
    stats::Stats,
    url::Url,
};

/// How long the server may take to close connections whose clients have left.
const CLOSING: Duration = Duration::from_secs(10);
/// How long a thread of the generator may take to hand its counts over.
const COUNTING: Duration = Duration::from_secs(60);
/// A repeated delivery comes close behind the first one.
const REPEATS: Duration = Duration::from_millis(200);
/// How often the gauge of rooms is read.
const GAUGE_EVERY: Duration = Duration::from_millis(200);

impl Run {
    /// All cycles.
    pub(crate) fn fill_and_empty(&mut self) -> anyhow::Result<()> {
        let people = u64::from(self.args.stage + self.args.audience);
        let metrics = self.args.metrics.as_deref().map(Url::parse).transpose()?;
        if metrics.as_ref().is_some_and(|url| url.tls) {
            anyhow::bail!("--metrics: only http is spoken");
        }
        // Rooms of others, if there are any, stay. A server that has had no room may not show the gauge yet.
        let before = metrics
            .as_ref()
            .map(|url| gauge::read(url, &self.args.rooms_gauge))
            .transpose()?
            .map(Option::unwrap_or_default);
        let mut rooms = Rooms {
            rooms: self.rooms.len() as u64,
            people,
            rss_start: self.samples.last().and_then(|s| s.server_rss),
            ..Rooms::default()
        };
        for number in 1..=self.args.cycles {
            let mut cycle = Cycle { cycle: number, people: rooms.rooms * people, ..Cycle::default() };
            let start = self.sample("joins");
            self.fill(&mut cycle);
            self.talk(&mut cycle);
            let end = self.sample("lines");
            cycle.rss_peak = self.samples[start..=end].iter().filter_map(|s| s.server_rss).max();
            self.empty(&mut cycle)?;
            self.pause(&mut cycle, metrics.as_ref().zip(before));
            self.judge_cycle(&cycle);
            self.joins.seconds += cycle.join_seconds;
            self.cycles.push(cycle);
            if self.is_broken() {
                break;
            }
        }
        rooms.cycles = std::mem::take(&mut self.cycles);
        let joined: u64 = rooms.cycles.iter().map(|c| c.joined).sum();
        if self.joins.seconds > 0.0 {
            self.joins.per_second = joined as f64 / self.joins.seconds;
        }
        let floor = |c: Option<&Cycle>| c.and_then(|c| c.rss_floor);
        let ends = floor(rooms.cycles.first()).zip(floor(rooms.cycles.last()));
        rooms.floor_ratio = ends.map(|(first, last)| last as f64 / first as f64);
        self.many_rooms = Some(rooms);
        self.sample("end");
        Ok(())
    }

    /// All join: first one of each room, who creates it, then the others.
    fn fill(&mut self, cycle: &mut Cycle) {
        let pace = self.pace();
        let began = self.now();
        let start = self.samples.len() - 1;
        let settled = self.shared.settled();
        for (group, wanted) in [(Group::Openers, self.rooms.len() as u64), (Group::Others, cycle.people)] {
            self.mailboxes.iter().for_each(|m| m.send(Command::Join(group, pace)));
            self.watch("joins", self.patience(wanted), |s| s.settled() >= settled + wanted);
        }
        let end = self.sample("joins");
        let last = self.shared.last_join.load(Ordering::Relaxed);
        cycle.join_seconds = last.saturating_sub(began) as f64 / 1e9;
        let (start, end) = (&self.samples[start], &self.samples[end]);
        let came = end.joins.saturating_sub(start.joins) as f64;
        if came > 0.0 && cycle.join_seconds > 0.0 {
            cycle.joins_per_second = came / cycle.join_seconds;
            cycle.cpu_ms_per_join = start.server_cpu.zip(end.server_cpu).map(|(a, b)| (b - a) * 1e3 / came);
        }
    }

    /// Everybody on the stages sends one line; waits for the deliveries.
    fn talk(&mut self, cycle: &mut Cycle) {
        let each = u64::from(self.args.stage);
        let all = each * self.rooms.len() as u64;
        let sent = self.shared.sent.load(Ordering::Relaxed);
        let before = self.shared.delivered.load(Ordering::Relaxed);
        let threads = self.mailboxes.len();
        for (n, mailbox) in self.mailboxes.iter().enumerate() {
            // Rooms are dealt out to the threads in turn.
            let rooms = self.rooms.len().saturating_sub(n).div_ceil(threads) as u64;
            mailbox.send(Command::Lines(rooms * each, self.args.line_rate * rooms as f64));
        }
        self.watch("lines", Duration::MAX, |s| s.sent.load(Ordering::Relaxed) >= sent + all);
        cycle.expected = all * u64::from(self.args.stage + self.args.audience);
        self.drain("lines", before + cycle.expected);
        self.watch("lines", REPEATS, |_| false);
    }

    /// All leave; their counts become those of the cycle.
    fn empty(&mut self, cycle: &mut Cycle) -> anyhow::Result<()> {
        let (counted, counts) = mpsc::channel();
        self.mailboxes.iter().for_each(|m| m.send(Command::Leave(counted.clone())));
        drop(counted);
        let mut stats = Stats::default();
        for _ in 0..self.mailboxes.len() {
            match counts.recv_timeout(COUNTING) {
                Ok(part) => stats.merge_thread(&part),
                Err(_) => anyhow::bail!("a thread of the generator has ended early"),
            }
        }
        self.watch("leaving", CLOSING, |s| s.leaving.load(Ordering::Relaxed) == 0);
        let earlier = |f: fn(&Cycle) -> u64| self.cycles.iter().map(f).sum::<u64>();
        cycle.unclosed = self.shared.leaving.load(Ordering::Relaxed);
        cycle.joined = stats.join.count();
        cycle.failed = self.shared.failed.load(Ordering::Relaxed) - earlier(|c| c.failed);
        cycle.dropped = self.shared.dropped.load(Ordering::Relaxed) - earlier(|c| c.dropped);
        cycle.refused_connections = stats.refused;
        cycle.latency = stats.join.summary();
        cycle.lines = self.sent_so_far(Carrier::Chat) - earlier(|c| c.lines);
        cycle.received = stats.chat.received;
        cycle.lost = stats.chat.lost();
        cycle.duplicated = stats.chat.duplicated;
        cycle.strays = stats.strays;
        cycle.delivery = stats.chat.latency.summary();
        self.counted.merge(&stats);
        Ok(())
    }

    /// Waits until the server's rooms are gone, then a while for its memory.
    fn pause(&mut self, cycle: &mut Cycle, gauge: Option<(&Url, f64)>) {
        let start = self.sample("pause");
        let began = Instant::now();
        let most = Duration::from_secs_f64(self.args.pause);
        loop {
            if let Some((url, before)) = gauge {
                match gauge::read(url, &self.args.rooms_gauge) {
                    Ok(None) => self.counted.error("metrics: no such gauge of rooms"),
                    Ok(Some(rooms)) => {
                        cycle.rooms_left = Some((rooms - before).max(0.0) as u64);
                        if rooms <= before {
                            cycle.emptied_seconds = Some(began.elapsed().as_secs_f64());
                            break;
                        }
                    }
                    Err(e) => self.counted.error(&format!("{e:#}")),
                }
            }
            let left = most.saturating_sub(began.elapsed());
            if left.is_zero() || self.is_broken() {
                break;
            }
            self.watch("pause", if gauge.is_some() { left.min(GAUGE_EVERY) } else { left }, |_| false);
        }
        self.watch("pause", Duration::from_secs_f64(self.args.settle), |_| false);
        let end = self.sample("pause");
        cycle.rss_floor = self.samples[start..=end].iter().filter_map(|s| s.server_rss).min();
    }

    fn judge_cycle(&mut self, cycle: &Cycle) {
        let number = cycle.cycle;
        if cycle.joined < cycle.people {
            self.problems.push(format!("cycle {number}: {} did not join", cycle.people - cycle.joined));
        }
        if cycle.received != cycle.expected {
            let (received, expected) = (cycle.received, cycle.expected);
            self.problems.push(format!("cycle {number}: {received} deliveries instead of {expected}"));
        }
        if cycle.unclosed > 0 {
            self.problems.push(format!("cycle {number}: {} connections not closed by the server", cycle.unclosed));
        }
    }
}
