//! The course of a run: stage, audience, rest, lines, presences, hold, leave; with samples of what server and generator use
//! in between. It runs on the calling thread and only commands and watches the engine's threads.

use std::{
    collections::HashMap,
    io::IsTerminal,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    args::SignalingArgs,
    bare::Bare,
    client::Role,
    engine::{Command, Engine, Group, Mailbox, OfferTaker, Pace, Shared, Surroundings},
    process::{self, CpuClock},
    report::{Comparison, ComparisonTurn, Cycle, Generator, Joins, Report, Rooms, Sample, Server},
    script::{Admission, Script},
    seats::{self, RoomScene},
    stats::{Board, Stats},
    transport,
    url::Url,
};

/// How often the coordinator looks at the counters.
const LOOK: Duration = Duration::from_millis(20);
/// Descriptors that a run needs besides its clients.
const SPARE_DESCRIPTORS: u64 = 200;
/// Most rooms at once.
const MAX_ROOMS: u32 = 10_000;
/// Size of the first and last part of the audience whose cost is told apart.
pub(crate) const PART: u64 = 1_000;

/// Opens a stage and an audience, measures, closes, reports. Blocks for the whole run.
pub fn run_signaling(args: &SignalingArgs) -> anyhow::Result<Report> {
    let mut args = args.clone();
    if args.probe {
        args.stage = args.probe_clients.max(1);
        args.audience = 0;
        args.lines = args.probe_samples;
        args.line_rate = 1e3 / args.probe_interval.max(0.001);
        args.presence = 0;
        args.settle = 0.0;
        args.bare = false;
    }
    check(&args)?;
    if let Some(rooms) = args.rooms {
        args.lines = u64::from(rooms) * u64::from(args.stage) * u64::from(args.cycles);
        args.presence = 0;
    }
    let mut run = Run::start(args)?;
    run.course()?;
    run.finish()
}

fn check(args: &SignalingArgs) -> anyhow::Result<()> {
    if args.stage == 0 && (args.lines > 0 || args.presence > 0) {
        bail!("lines and presences need somebody on stage: give --stage, or --lines 0 --presence 0");
    }
    if args.rate.is_some_and(|rate| rate.is_nan() || rate <= 0.0) {
        bail!("--rate must be above 0; leave it out to join as fast as --concurrency allows");
    }
    if args.rooms.is_some_and(|n| n == 0 || n > MAX_ROOMS) || args.cycles == 0 {
        bail!("--rooms must be from 1 to {MAX_ROOMS}, --cycles above 0");
    }
    for (name, value) in [
        ("settle", args.settle),
        ("hold", args.hold),
        ("join-timeout", args.join_timeout),
        ("drain", args.drain),
        ("pause", args.pause),
    ] {
        // A week; beyond lies only what a typing mistake can mean.
        if !(0.0..=604_800.0).contains(&value) {
            bail!("--{name} {value}: must be from 0 to 604800 seconds");
        }
    }
    let requests = if args.conference_request.is_some() { http_connections(args) as u64 } else { 0 };
    let wanted = people(args) + requests.min(people(args)) + SPARE_DESCRIPTORS;
    if process::descriptor_limit().is_some_and(|limit| limit < wanted) {
        bail!("{wanted} descriptors are needed: raise the limit (ulimit -n) or run several generators");
    }
    Ok(())
}

/// Everybody who is in at the same time.
fn people(args: &SignalingArgs) -> u64 {
    u64::from(args.rooms.unwrap_or(1)) * (u64::from(args.stage) + u64::from(args.audience))
}

/// In a storm nobody waits for somebody else's request.
fn http_connections(args: &SignalingArgs) -> usize {
    let usual = if args.storm { people(args).try_into().unwrap_or(usize::MAX) } else { 64 };
    args.http_connections.unwrap_or(usual).max(1)
}

/// All rooms of a run, each with a number of its own, so that a line in the wrong room is noticed.
pub(crate) fn rooms(args: &SignalingArgs, run: u32) -> anyhow::Result<Arc<[RoomScene]>> {
    let Some(count) = args.rooms else {
        let board = Board::new(args.stage + seats::speakers(args));
        return Ok(Arc::new([RoomScene { script: Arc::new(script(args, run)?), board: Arc::new(board) }]));
    };
    let scenes = (0..count).map(|n| {
        let mut args = args.clone();
        args.room = args.room.map(|room| format!("{room}-{n}"));
        let mut script = script(&args, run + n)?;
        script.runs = run..run + count;
        Ok(RoomScene { script: Arc::new(script), board: Arc::new(Board::after(n * args.stage, args.stage)) })
    });
    scenes.collect()
}

fn script(args: &SignalingArgs, run: u32) -> anyhow::Result<Script> {
    let url = |text: &str| {
        let mut url = Url::parse(text)?;
        if args.tls && !url.tls {
            url.tls = true;
            if !text.contains(&url.authority()) {
                url.port = 443;
            }
        }
        anyhow::Ok(url)
    };
    let admission = if args.no_conference_request {
        Admission::None { audience_node: args.audience_vnode.clone() }
    } else if let Some(request) = &args.conference_request {
        Admission::Http(url(request)?)
    } else {
        Admission::Iq(args.focus.clone().unwrap_or_else(|| format!("focus.{}", args.domain)))
    };
    let muc = args.muc.clone().unwrap_or_else(|| format!("conference.{}", args.domain));
    let room = args.room.clone().unwrap_or_else(|| format!("load-{run:08x}"));
    let mut script = Script::new(url(&args.url)?, &args.domain, &muc, &room, admission, run);
    let mut vnode_urls = HashMap::new();
    for pair in &args.vnode_url {
        let (node, at) = pair.split_once('=').with_context(|| format!("--vnode-url {pair}: must be NODE=URL"))?;
        vnode_urls.insert(node.to_owned(), url(at)?);
    }
    script.vnode_urls = vnode_urls;
    script.vnode_parent = args.vnode_parent.clone();
    script.join_timeout = nanos(args.join_timeout);
    script.retries = args.retries;
    script.ping_after = nanos(args.ping);
    script.queries = !args.no_queries;
    script.strict_every = args.strict_every;
    script.line_bytes = args.line_bytes;
    script.accepts = args.offers;
    Ok(script)
}

fn nanos(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1e9) as u64
}

/// A run under way.
pub(crate) struct Run {
    pub(crate) args: SignalingArgs,
    pub(crate) rooms: Arc<[RoomScene]>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) base: Instant,
    pub(crate) mailboxes: Vec<Arc<Mailbox>>,
    pub(crate) threads: Vec<JoinHandle<Stats>>,
    pub(crate) bar: ProgressBar,
    pub(crate) samples: Vec<Sample>,
    pub(crate) next_sample: Instant,
    pub(crate) server: Server,
    pub(crate) generator: Generator,
    pub(crate) joins: Joins,
    pub(crate) comparison: Option<Comparison>,
    pub(crate) many_rooms: Option<Rooms>,
    /// Cycles that are over.
    pub(crate) cycles: Vec<Cycle>,
    /// Counted in them.
    pub(crate) counted: Stats,
    pub(crate) problems: Vec<String>,
    pub(crate) server_cpu: Vec<CpuClock>,
    pub(crate) own_cpu: CpuClock,
    /// CPU seconds per second at rest.
    pub(crate) idle: Option<f64>,
    pub(crate) audience_marks: Option<AudienceMarks>,
}

/// What a phase cost the server.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// CPU seconds.
    cpu: f64,
    /// Its length.
    seconds: f64,
}

/// Numbers of the samples around the joins of the audience.
pub(crate) struct AudienceMarks {
    pub(crate) start: usize,
    pub(crate) first: Option<usize>,
    pub(crate) last: Option<usize>,
    pub(crate) end: usize,
}

/// What the threads of a run share.
pub(crate) fn surroundings(
    args: &SignalingArgs,
    rooms: &Arc<[RoomScene]>,
    base: Instant,
    offers: Option<OfferTaker>,
) -> anyhow::Result<Surroundings> {
    Ok(Surroundings {
        rooms: Arc::clone(rooms),
        shared: Arc::default(),
        base,
        sources: args.sources.clone().into(),
        tls: transport::tls_config(args.ca.as_deref())?,
        http_connections: http_connections(args),
        offers,
    })
}

impl Run {
    fn start(args: SignalingArgs) -> anyhow::Result<Self> {
        // The upper half of the numbers is left to the rooms after the first.
        let rooms = rooms(&args, rand::random::<u32>() >> 1)?;
        let base = Instant::now();
        let threads = args.threads.max(1);
        let around = surroundings(&args, &rooms, base, None)?;
        let shared = Arc::clone(&around.shared);
        let (mut mailboxes, mut handles) = (Vec::new(), Vec::new());
        for (n, share) in seats::shares(&args, &rooms, threads).into_iter().enumerate() {
            let engine = Engine::new(around.clone(), share)?;
            mailboxes.push(engine.mailbox());
            handles.push(std::thread::Builder::new().name(format!("load-{n}")).spawn(move || engine.run())?);
        }
        let quiet = args.quiet || !std::io::stderr().is_terminal();
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(people(&args)) };
        bar.set_style(ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg}")?);
        let server = Server { pids: args.server_pid.clone(), ..Server::default() };
        let times = args.rooms.map_or(1, |rooms| u64::from(rooms) * u64::from(args.cycles));
        let (stage, audience) = (u64::from(args.stage) * times, u64::from(args.audience) * times);
        let joins = Joins { stage, audience, ..Joins::default() };
        Ok(Self {
            server_cpu: args.server_pid.iter().map(|pid| CpuClock::new(&pid.to_string())).collect(),
            own_cpu: CpuClock::new("self"),
            generator: Generator { threads, ..Generator::default() },
            args,
            rooms,
            shared,
            base,
            mailboxes,
            threads: handles,
            bar,
            samples: Vec::new(),
            next_sample: base,
            server,
            joins,
            comparison: None,
            many_rooms: None,
            cycles: Vec::new(),
            counted: Stats::default(),
            problems: Vec::new(),
            idle: None,
            audience_marks: None,
        })
    }

    fn course(&mut self) -> anyhow::Result<()> {
        self.sample("start");
        if self.args.rooms.is_some() {
            return self.fill_and_empty();
        }
        self.join_stage()?;
        self.join_audience()?;
        self.await_offers();
        self.rest();
        if self.args.audience_chat > 0.0 {
            let speakers = self.args.audience_speakers.min(self.args.audience).max(1);
            let each = self.args.audience_chat / f64::from(speakers);
            self.mailboxes.iter().for_each(|m| m.send(Command::AudienceChat(each)));
        }
        self.lines()?;
        self.presences();
        self.watch("hold", Duration::from_secs_f64(self.args.hold.max(0.0)), |_| false);
        if self.args.audience_chat > 0.0 {
            self.mailboxes.iter().for_each(|m| m.send(Command::AudienceChat(0.0)));
            self.drain("hold", u64::MAX);
        }
        self.sample("end");
        Ok(())
    }

    // Joining

    fn join_stage(&mut self) -> anyhow::Result<()> {
        if self.args.stage == 0 {
            return Ok(());
        }
        // One after the other: the first one creates the room.
        self.mailboxes[0].send(Command::Join(Group::Role(Role::Stage), Pace { rate: 0.0, concurrency: 1 }));
        let wanted = u64::from(self.args.stage);
        self.watch("stage joins", self.patience(wanted), |s| s.settled() >= wanted);
        if self.shared.joined.load(Ordering::Relaxed) == 0 {
            self.problems.push("nobody could join the stage; the audience was not tried".into());
            self.args.audience = 0;
            self.args.lines = 0;
            self.args.presence = 0;
        }
        Ok(())
    }

    /// Everybody on stage and in the audience waits for an offer and its acceptance.
    fn await_offers(&mut self) {
        if !self.args.offers {
            return;
        }
        let (mut seen, mut since) = (0, Instant::now());
        let patience = Duration::from_secs_f64(self.args.drain);
        loop {
            let accepted = self.shared.accepted.load(Ordering::Relaxed);
            if accepted >= self.shared.joined.load(Ordering::Relaxed) || self.is_broken() {
                return;
            }
            if accepted != seen {
                (seen, since) = (accepted, Instant::now());
            } else if since.elapsed() > patience {
                return;
            }
            std::thread::sleep(LOOK);
            self.look("offers");
        }
    }

    fn join_audience(&mut self) -> anyhow::Result<()> {
        if self.args.audience == 0 {
            return Ok(());
        }
        let pace = self.pace();
        let before = self.shared.settled();
        let n = u64::from(self.args.audience);
        let start = self.sample("audience joins");
        let began = self.now();
        self.mailboxes.iter().for_each(|m| m.send(Command::Join(Group::Role(Role::Audience), pace)));
        // Moments at which the cost so far is noted: after the first part, before the last one.
        let (mut first, mut last) = (None, None);
        let until = Instant::now() + self.patience(n);
        while self.shared.settled() < before + n && Instant::now() < until && !self.is_broken() {
            std::thread::sleep(LOOK);
            self.look("audience joins");
            let done = self.shared.settled() - before;
            if first.is_none() && done >= PART {
                first = Some(self.sample("audience joins"));
            }
            if last.is_none() && n >= PART && done >= n - PART {
                last = Some(self.sample("audience joins"));
            }
        }
        let end = self.sample("audience joins");
        let last_join = self.shared.last_join.load(Ordering::Relaxed);
        self.joins.seconds = last_join.saturating_sub(began) as f64 / 1e9;
        let came = self.samples[end].joins.saturating_sub(self.samples[start].joins);
        if self.joins.seconds > 0.0 {
            self.joins.per_second = came as f64 / self.joins.seconds;
        }
        self.audience_marks = Some(AudienceMarks { start, first, last, end });
        Ok(())
    }

    /// How fast each thread starts joins.
    pub(crate) fn pace(&self) -> Pace {
        let threads = self.mailboxes.len();
        let unbounded = self.args.storm || self.args.rate.is_some();
        Pace {
            rate: self.args.rate.unwrap_or(0.0) / threads as f64,
            concurrency: if unbounded { usize::MAX } else { self.args.concurrency.div_ceil(threads).max(1) },
        }
    }

    /// How long so many joins may take.
    pub(crate) fn patience(&self, clients: u64) -> Duration {
        let pace = self.args.rate.map_or(0.0, |rate| clients as f64 / rate.max(0.001));
        let unbounded = self.args.storm || self.args.rate.is_some();
        let turns = if unbounded { 1.0 } else { (clients as f64 / self.args.concurrency.max(1) as f64).ceil() };
        Duration::from_secs_f64(pace + self.args.join_timeout * turns.clamp(1.0, 1e4) + 5.0)
    }

    /// Nothing happens: what the server uses now is the cost of holding everybody.
    fn rest(&mut self) {
        if self.args.settle <= 0.0 {
            return;
        }
        self.watch("rest", Duration::from_secs_f64(self.args.settle / 5.0), |_| false);
        let a = self.sample("rest");
        self.watch("rest", Duration::from_secs_f64(self.args.settle), |_| false);
        let b = self.sample("rest");
        let (a, b) = (&self.samples[a], &self.samples[b]);
        self.idle = a.server_cpu.zip(b.server_cpu).map(|(x, y)| (y - x) / (b.t - a.t).max(1e-9));
    }

    // Fan-out

    fn lines(&mut self) -> anyhow::Result<()> {
        let turns = if self.args.bare { self.args.bare_turns.clamp(1, self.args.lines.max(1)) } else { 1 };
        let mut bare = None;
        let mut all = Vec::new();
        let (mut cost, mut delivered) = (Some(Cost::default()), 0);
        for turn in 0..turns {
            let count = self.args.lines / turns + u64::from(turn < self.args.lines % turns);
            if count == 0 {
                continue;
            }
            let rate = self.args.line_rate;
            let (cpu, n) = self.fan_out("lines", Command::Lines(count, rate), count);
            cost = cost.zip(cpu).map(|(a, b)| Cost { cpu: a.cpu + b.cpu, seconds: a.seconds + b.seconds });
            delivered += n;
            if !self.args.bare {
                continue;
            }
            let sockets = self.shared.joined.load(Ordering::Relaxed) as usize;
            // Head of a server's frame beyond 125 bytes.
            let bytes = self.shared.line_bytes.load(Ordering::Relaxed) as usize + 4;
            if n == 0 || sockets == 0 {
                // Nothing to compare with; why is told by the rest of the report.
                continue;
            }
            let every = if rate > 0.0 { Duration::from_secs_f64(1.0 / rate) } else { Duration::ZERO };
            if bare.is_none() {
                self.bar.set_message("bare writes: connecting");
                bare = Some((Bare::start(sockets, bytes, &self.args.sources)?, sockets, bytes));
            }
            let Some((process, _, bytes)) = &mut bare else { continue };
            self.bar.set_message("bare writes");
            let took = process.turn(count, *bytes, every)?;
            let bare_us = took.cpu_ns as f64 / 1e3 / took.writes.max(1) as f64;
            let server_us = cpu.filter(|_| n > 0).map(|cost| cost.cpu * 1e6 / n as f64);
            all.push(ComparisonTurn {
                server_us_per_delivery: server_us,
                bare_us_per_write: bare_us,
                ratio: server_us.map(|s| s / bare_us),
                bare: took,
            });
        }
        (self.server.cpu_us_per_chat_delivery, self.server.net_cpu_us_per_chat_delivery) =
            self.per_delivery(cost, delivered);
        if let Some((_, sockets, bytes)) = bare {
            let mut ratios: Vec<f64> = all.iter().filter_map(|t| t.ratio).collect();
            ratios.sort_by(f64::total_cmp);
            let ratio = ratios.get(ratios.len() / 2).copied();
            self.comparison =
                Some(Comparison { sockets: sockets as u64, frame_bytes: bytes as u64, turns: all, ratio });
        }
        Ok(())
    }

    fn presences(&mut self) {
        let count = self.args.presence;
        if count == 0 {
            return;
        }
        let (cpu, n) = self.fan_out("presences", Command::Presences(count, self.args.presence_rate), count);
        (self.server.cpu_us_per_presence_delivery, self.server.net_cpu_us_per_presence_delivery) =
            self.per_delivery(cpu, n);
    }

    /// Lets the stage send and waits for the deliveries; returns what that cost, and the number of deliveries.
    fn fan_out(&mut self, phase: &'static str, command: Command, count: u64) -> (Option<Cost>, u64) {
        let a = self.sample(phase);
        let sent = self.shared.sent.load(Ordering::Relaxed);
        let before = self.shared.delivered.load(Ordering::Relaxed);
        self.mailboxes[0].send(command);
        self.watch(phase, Duration::MAX, |s| s.sent.load(Ordering::Relaxed) >= sent + count);
        // With the audience chatting too, its deliveries blur the count; the lines are through when nothing is missing.
        let wanted = if self.args.audience_chat > 0.0 {
            before
        } else {
            before + count * self.shared.joined.load(Ordering::Relaxed)
        };
        self.drain(phase, wanted);
        let b = self.sample(phase);
        let (a, b) = (&self.samples[a], &self.samples[b]);
        let cpu = a.server_cpu.zip(b.server_cpu).map(|(x, y)| Cost { cpu: y - x, seconds: b.t - a.t });
        (cpu, b.delivered - a.delivered)
    }

    /// Microseconds per delivery, gross and without the cost of holding. The net figure is too low where holding is mostly
    /// pings, because clients that hear something do not ping.
    fn per_delivery(&self, cost: Option<Cost>, deliveries: u64) -> (Option<f64>, Option<f64>) {
        let Some(cost) = cost.filter(|_| deliveries > 0) else { return (None, None) };
        let each = |seconds: f64| seconds.max(0.0) * 1e6 / deliveries as f64;
        (Some(each(cost.cpu)), self.idle.map(|idle| each(cost.cpu - idle * cost.seconds)))
    }

    /// Waits until this many deliveries came, or none came for long.
    pub(crate) fn drain(&mut self, phase: &'static str, wanted: u64) {
        let patience =
            Duration::from_secs_f64(if wanted == u64::MAX { self.args.drain.min(2.0) } else { self.args.drain });
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            let delivered = self.shared.delivered.load(Ordering::Relaxed);
            if delivered >= wanted || self.is_broken() {
                return;
            }
            if delivered != seen {
                (seen, since) = (delivered, Instant::now());
            } else if since.elapsed() > patience {
                return;
            }
            std::thread::sleep(LOOK);
            self.look(phase);
        }
    }

    // Watching

    pub(crate) fn watch(&mut self, phase: &'static str, at_most: Duration, done: impl Fn(&Shared) -> bool) {
        let began = Instant::now();
        while began.elapsed() < at_most && !done(&self.shared) && !self.is_broken() {
            std::thread::sleep(LOOK.min(at_most.saturating_sub(began.elapsed())));
            self.look(phase);
        }
    }

    /// A thread of the engine has ended before its time: there is nothing left to wait for.
    pub(crate) fn is_broken(&self) -> bool {
        self.shared.broken.load(Ordering::Relaxed) || self.threads.iter().any(JoinHandle::is_finished)
    }

    fn look(&mut self, phase: &'static str) {
        if Instant::now() < self.next_sample {
            return;
        }
        self.sample(phase);
    }

    pub(crate) fn now(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }

    /// Takes a sample; returns its number.
    pub(crate) fn sample(&mut self, phase: &'static str) -> usize {
        self.next_sample = Instant::now() + Duration::from_secs(1);
        let watched = !self.server_cpu.is_empty();
        let rss = self.args.server_pid.iter().map(|pid| process::resident(&pid.to_string())).sum::<Option<u64>>();
        let joined = self.shared.joined.load(Ordering::Relaxed);
        let sample = Sample {
            t: self.base.elapsed().as_secs_f64(),
            phase,
            joins: self.shared.entered.load(Ordering::Relaxed),
            joined,
            delivered: self.shared.delivered.load(Ordering::Relaxed),
            server_cpu: self.server_cpu.iter_mut().map(CpuClock::read).sum::<Option<f64>>().filter(|_| watched),
            server_rss: rss.filter(|_| watched),
            socket_memory: process::socket_memory(),
            generator_cpu: self.own_cpu.read(),
            generator_rss: process::resident("self"),
        };
        self.bar.set_position(joined);
        let failed = self.shared.failed.load(Ordering::Relaxed) + self.shared.dropped.load(Ordering::Relaxed);
        self.bar.set_message(format!("{phase}, {failed} failed, {} delivered", sample.delivered));
        self.samples.push(sample);
        self.samples.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{LoadCommand, parsed};

    fn args(text: &str) -> SignalingArgs {
        match parsed("signaling", text) {
            LoadCommand::Signaling(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn impossible_wishes_are_refused_before_anything_is_opened() {
        for (text, why) in [
            ("--stage 0", "need somebody on stage"),
            ("--rate 0", "--rate must be above 0"),
            ("--settle NaN", "--settle"),
            ("--audience 4000000000", "descriptors"),
        ] {
            let error = check(&args(text)).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(check(&args("--stage 2 --audience 10 --rate 5")).is_ok());
    }

    #[test]
    fn addresses_follow_from_the_domain_and_tls_turns_the_schemes() {
        let s = script(&args("--domain meet.example --tls --vnode-url v1=ws://127.0.0.2:5290/x"), 1).unwrap();
        assert_eq!((s.muc.as_str(), s.url.tls, s.url.port), ("conference.meet.example", true, 5280));
        assert_eq!(s.admission, Admission::Iq("focus.meet.example".into()));
        let place = s.place(Some("v1"));
        assert_eq!((place.url.host.as_str(), place.url.tls), ("127.0.0.2", true));
        assert!(script(&args("--vnode-url v1"), 1).is_err());
    }
}
