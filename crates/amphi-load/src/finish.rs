//! The end of a run: threads stop, and samples and counters become the report.

use crate::{
    engine::Command,
    marker::Carrier,
    report::{Fanout, Joins, Offers, Report, Sample, Storm, Traffic},
    run::{AudienceMarks, PART, Run},
    stats::Stats,
};

impl Run {
    /// Stops the threads and reports.
    pub(crate) fn finish(mut self) -> anyhow::Result<Report> {
        self.mailboxes.iter().for_each(|m| m.send(Command::Stop));
        let mut stats = Stats::default();
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(counted) => stats.merge_thread(&counted),
                Err(_) => self.problems.push("a thread of the generator panicked".into()),
            }
        }
        stats.merge(&self.counted);
        self.bar.finish_and_clear();
        self.joining(&stats);
        if let Some(marks) = self.audience_marks.take() {
            self.server_cost(&marks);
        }
        let last = self.samples.last();
        self.generator.seconds = last.map_or(0.0, |s| s.t);
        self.generator.cpu_seconds = last.and_then(|s| s.generator_cpu);
        self.server.idle_cpu_percent = self.idle.map(|rate| rate * 100.0);
        let chat = Fanout::new(self.sent_so_far(Carrier::Chat), &stats.chat);
        let presence = Fanout::new(self.sent_so_far(Carrier::Presence), &stats.presence);
        self.judge(&stats, &chat, &presence);
        let storm = self.args.storm.then(|| self.storm(&stats));
        Ok(Report {
            ok: self.problems.is_empty(),
            problems: self.problems,
            run: format!("{:08x}", self.rooms[0].script.run),
            room: self.rooms[0].script.room.clone(),
            url: self.args.url,
            joins: self.joins,
            chat,
            presence,
            echo: stats.echo.summary(),
            offers: self.args.offers.then(|| Offers {
                received: stats.offers,
                accepted: stats.accepted,
                offer: stats.offer.summary(),
                accept: stats.accept.summary(),
            }),
            server: self.server,
            generator: self.generator,
            bare: self.comparison,
            storm,
            rooms: self.many_rooms,
            errors: stats.errors,
            traffic: Traffic {
                stanzas: stats.stanzas,
                bytes_in: stats.bytes_in,
                bytes_out: stats.bytes_out,
                connects: stats.connects,
                acks: stats.acks,
                pings: stats.pings,
                disco_answers: stats.disco_answers,
                history: stats.history,
                checked: stats.checked,
                malformed: stats.malformed,
                strays: stats.strays,
            },
            samples: self.samples,
        })
    }

    fn joining(&mut self, stats: &Stats) {
        self.joins = Joins {
            joined: stats.join.count(),
            failed: self.shared.failed.load(std::sync::atomic::Ordering::Relaxed),
            dropped: self.shared.dropped.load(std::sync::atomic::Ordering::Relaxed),
            refused_connections: stats.refused,
            not_ready: stats.not_ready,
            retries: stats.retries,
            latency: stats.join.summary(),
            entry: stats.entry.summary(),
            nodes: stats.nodes.clone(),
            ..std::mem::take(&mut self.joins)
        };
    }

    /// What the boards of all rooms show as sent.
    pub(crate) fn sent_so_far(&self, carrier: Carrier) -> u64 {
        self.rooms.iter().map(|room| room.board.total(carrier)).sum()
    }

    fn storm(&self, stats: &Stats) -> Storm {
        let j = &self.joins;
        let (at_once, seconds) = match &self.many_rooms {
            Some(r) => (r.rooms * r.people, r.cycles.iter().map(|c| c.join_seconds).fold(0.0, f64::max)),
            None => (j.audience, j.seconds),
        };
        Storm {
            at_once,
            most_connecting: stats.most_connecting,
            refused_connections: stats.refused,
            own_errors: stats.own_errors,
            all_in_seconds: (j.joined == j.stage + j.audience).then_some(seconds),
            connect: stats.connect.summary(),
            join: j.latency.clone(),
        }
    }

    /// What a join and a held visitor cost.
    fn server_cost(&mut self, marks: &AudienceMarks) {
        let (start, end) = (&self.samples[marks.start], &self.samples[marks.end]);
        let came = end.joins.saturating_sub(start.joins);
        if came == 0 {
            return;
        }
        let per_visitor = self.idle.map(|rate| rate / came as f64);
        let net = |a: usize, b: usize| self.net_cpu(a, b, marks.start, per_visitor.unwrap_or(0.0));
        let share = |cost: Option<(f64, u64)>| cost.filter(|c| c.1 > 0).map(|(cpu, n)| cpu * 1e3 / n as f64);
        let server = &mut self.server.clone();
        server.join_cpu_seconds = start.server_cpu.zip(end.server_cpu).map(|(a, b)| b - a);
        server.cpu_ms_per_join = server.join_cpu_seconds.map(|s| s * 1e3 / came as f64);
        server.net_cpu_ms_per_join = share(net(marks.start, marks.end));
        server.net_cpu_ms_per_join_first_1000 = marks.first.and_then(|first| share(net(marks.start, first)));
        server.net_cpu_ms_per_join_last_1000 = marks.last.and_then(|last| share(net(last, marks.end)));
        server.holding_us_per_visitor_second = per_visitor.map(|s| s * 1e6);
        server.rss_start = start.server_rss;
        server.rss_end = end.server_rss;
        server.socket_memory_end = end.socket_memory;
        // The first thousand pay for buffers and caches that do not grow with the audience.
        let from = match marks.first {
            Some(first) if came > PART => {
                server.rss_1000 = self.samples[first].server_rss;
                &self.samples[first]
            }
            _ => start,
        };
        let grown = (end.joined.saturating_sub(from.joined)).max(1) as f64;
        let growth = |a: Option<u64>, b: Option<u64>| a.zip(b).map(|(a, b)| (b as f64 - a as f64) / grown);
        server.rss_bytes_per_visitor = growth(from.server_rss, end.server_rss);
        server.socket_memory_bytes_per_visitor = growth(from.socket_memory, end.socket_memory);
        let own = start.generator_cpu.zip(end.generator_cpu).map(|(a, b)| b - a);
        self.generator.join_cpu_seconds = own;
        self.generator.cpu_ms_per_join = own.map(|s| s * 1e3 / came as f64);
        self.generator.rss_end = end.generator_rss;
        self.server = server.clone();
    }

    /// Server CPU between two samples without holding those who were there, and how many joined in between.
    fn net_cpu(&self, a: usize, b: usize, base: usize, holding_per_visitor: f64) -> Option<(f64, u64)> {
        let there = |s: &Sample| s.joined.saturating_sub(self.samples[base].joined) as f64;
        let held: f64 =
            self.samples[a..=b].windows(2).map(|w| (w[1].t - w[0].t) * (there(&w[0]) + there(&w[1])) / 2.0).sum();
        let (a, b) = (&self.samples[a], &self.samples[b]);
        let cpu = b.server_cpu? - a.server_cpu?;
        Some(((cpu - held * holding_per_visitor).max(0.0), b.joins.saturating_sub(a.joins)))
    }

    fn judge(&mut self, stats: &Stats, chat: &Fanout, presence: &Fanout) {
        let wanted = self.joins.stage + self.joins.audience;
        if self.joins.joined < wanted {
            self.problems.push(format!("{} of {wanted} clients did not join", wanted - self.joins.joined));
        }
        if self.args.offers && stats.accepted < self.joins.joined {
            let missing = self.joins.joined - stats.accepted;
            self.problems.push(format!("{missing} clients have not got and accepted an offer"));
        }
        let counts = [
            (self.joins.dropped, "clients lost their connection"),
            (chat.lost, "chat lines lost"),
            (chat.duplicated, "chat lines duplicated"),
            (chat.out_of_order, "chat lines out of order"),
            (presence.lost, "presences lost"),
            (presence.duplicated, "presences duplicated"),
            (presence.out_of_order, "presences out of order"),
            (stats.malformed, "malformed frames or counts"),
            (stats.strays, "lines or presences in a wrong room"),
            (stats.own_errors, "connections that the generator could not open"),
        ];
        self.problems.extend(counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
        let unsent = self.args.lines.saturating_sub(chat.sent) + self.args.presence.saturating_sub(presence.sent);
        if unsent > 0 {
            self.problems.push(format!("{unsent} lines or presences could not be sent"));
        }
    }
}
