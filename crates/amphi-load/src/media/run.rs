//! The course of a media run: publishers, full viewers, sinks, measured turns with the bare loop in between, churn, the end. It runs on the calling
//! thread (which is the bare loop's too) and only commands and watches the others.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use amphi_media::srtp::Profile;
use anyhow::bail;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use super::args::MediaArgs;
use super::bare::Bare;
use super::colibri::Colibri;
use super::counts::{Counted, Live};
use super::engine::{Engine, Mailbox, Order, Program};
use super::report::{BareMedia, Joining, MediaReport, MediaSample, MediaServer, MediaTurn, Quality, Traffic, Viewers};
use super::signaling::{Ended, Room, Routes, Signaling};
use crate::args::SignalingArgs;
use crate::process::{self, CpuClock};

/// Descriptors that a run needs besides its clients.
const SPARE_DESCRIPTORS: u64 = 200;
/// How long what is under way takes when publishers pause or go on.
const CALM: f64 = 0.5;

/// Connects everybody, measures, closes, reports. Blocks for the whole run.
pub fn run_media(args: &MediaArgs) -> anyhow::Result<MediaReport> {
    check(args)?;
    let mut run = Run::start(args.clone())?;
    run.course()?;
    Ok(run.finish())
}

fn check(args: &MediaArgs) -> anyhow::Result<()> {
    if args.publishers == 0 || args.publishers + args.full + args.sinks < 2 {
        bail!("a publisher and a viewer are needed at least");
    }
    if args.rate.is_some_and(|it| it.is_nan() || it <= 0.0) || args.churn.is_some_and(|it| it.is_nan() || it <= 0.0) {
        bail!("--rate and --churn must be above 0");
    }
    for (name, value, most) in [
        ("settle", args.settle, 86_400.0),
        ("seconds", args.seconds, 86_400.0),
        ("join-timeout", args.join_timeout, 86_400.0),
        ("minutes", args.minutes, 10_080.0),
        ("pace", args.pace, 30.0),
        ("bitrate", args.bitrate, 100.0),
    ] {
        if !(0.0..=most).contains(&value) {
            bail!("--{name} {value}: must be from 0 to {most}");
        }
    }
    // A sink has a WebSocket; that it has a socket for media, too, is so if the bridge is on another machine.
    let people = u64::from(args.publishers) + u64::from(args.full) + u64::from(args.sinks.max(args.connects));
    let wanted = people * if args.colibri.is_some() { 1 } else { 2 } + SPARE_DESCRIPTORS;
    if process::descriptor_limit().is_some_and(|limit| limit < wanted) {
        bail!("{wanted} descriptors are needed: raise the limit (ulimit -n) or run several generators");
    }
    Ok(())
}

#[derive(Parser)]
struct Signals {
    #[command(flatten)]
    args: SignalingArgs,
}

/// The signaling generator's side of the same people.
fn signaling_args(args: &MediaArgs) -> anyhow::Result<SignalingArgs> {
    let mut it = Signals::try_parse_from(["load"])?.args;
    it.url = args.url.clone();
    it.conference_request = args.conference_request.clone();
    it.domain = args.domain.clone();
    it.muc = args.muc.clone();
    it.vnode_url = args.vnode_url.clone();
    it.room = args.room.clone();
    it.stage = args.publishers;
    it.audience = args.full + args.sinks;
    it.tls = args.tls;
    it.ca = args.ca.clone();
    it.sources = args.sources.clone();
    it.offers = true;
    Ok(it)
}

/// A run under way.
pub(super) struct Run {
    pub(super) args: MediaArgs,
    pub(super) live: Arc<Live>,
    pub(super) signaling: Arc<dyn Signaling>,
    pub(super) routes: Routes,
    pub(super) problems: Vec<String>,
    pub(super) samples: Vec<MediaSample>,
    run: u32,
    pub(super) base: Instant,
    pub(super) mailboxes: Vec<Arc<Mailbox>>,
    threads: Vec<JoinHandle<Counted>>,
    bar: ProgressBar,
    next_sample: Instant,
    server_cpu: Vec<CpuClock>,
    own_cpu: CpuClock,
    dropped: Option<u64>,
    pub(super) colibri: Option<Arc<Colibri>>,
    /// Channels that opened before the run proper.
    pub(super) channels_before: u64,
    pub(super) report: MediaReport,
}

/// What one measured turn came to.
#[derive(Clone, Copy, Default)]
struct Window {
    seconds: f64,
    cpu: Option<f64>,
    packets: u64,
    bytes: u64,
}

impl Run {
    fn start(args: MediaArgs) -> anyhow::Result<Self> {
        let run = rand::random::<u32>() >> 1;
        let base = Instant::now();
        let live = Arc::new(Live::default());
        let routes = Routes::new(args.publishers, args.full);
        let mut colibri = None;
        let signaling: Arc<dyn Signaling> = match &args.colibri {
            Some(at) => {
                let it = Arc::new(Colibri::start(&args, at, run, routes.clone())?);
                colibri = Some(Arc::clone(&it));
                it
            }
            None => Arc::new(Room::start(&signaling_args(&args)?, base, run, routes.clone())?),
        };
        let pace = Duration::from_secs_f64(args.pace / 1e3);
        let program = Program { bits_per_second: args.bitrate * 1e6, pace, run };
        let (mut mailboxes, mut threads) = (Vec::new(), Vec::new());
        for n in 0..2 + args.threads.max(1) {
            let engine = Engine::new(Arc::clone(&signaling), Arc::clone(&live), base, program)?;
            mailboxes.push(engine.mailbox());
            threads.push(std::thread::Builder::new().name(format!("media-{n}")).spawn(move || engine.run())?);
        }
        routes.set(mailboxes.clone());
        let quiet = args.quiet || !std::io::stderr().is_terminal();
        let people = u64::from(args.publishers) + u64::from(args.full) + u64::from(args.sinks);
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(people) };
        bar.set_style(ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg}")?);
        Ok(Self {
            server_cpu: args.server_pid.iter().map(|pid| CpuClock::new(&pid.to_string())).collect(),
            own_cpu: CpuClock::new("self"),
            args,
            live,
            signaling,
            routes,
            problems: Vec::new(),
            samples: Vec::new(),
            run,
            base,
            mailboxes,
            threads,
            bar,
            next_sample: base,
            dropped: process::receive_buffer_errors(),
            colibri,
            channels_before: 0,
            report: MediaReport::default(),
        })
    }

    fn course(&mut self) -> anyhow::Result<()> {
        self.sample("start");
        self.creates()?;
        self.connects();
        let (publishers, full, sinks) = (self.args.publishers, self.args.full, self.args.sinks);
        // The first of all creates the room; alone, nobody is offered anything.
        (0..publishers).for_each(|index| self.signaling.join(index));
        let until = Instant::now() + Duration::from_secs_f64(self.args.join_timeout);
        while self.signaling.state().joined < u64::from(publishers) && Instant::now() < until && !self.is_broken() {
            self.watch("publishers", 0.01);
        }
        let with_them = if full > 0 { full } else { sinks.min(1) };
        self.join("full viewers", publishers..publishers + with_them, self.args.rate);
        self.watch("full viewers", self.args.settle.min(2.0));
        if self.live.get(|it| &it.connected) == 0 {
            self.problems.push("nobody connected; the rest was not tried".into());
            return Ok(());
        }
        let before = self.sample("sinks");
        let begin = self.base.elapsed();
        let rest = publishers + with_them..publishers + full + sinks;
        let connected = self.join("sinks", rest, self.args.rate);
        let after = self.sample("sinks");
        let last = Duration::from_nanos(self.live.get(|it| &it.last_connect));
        self.report.joining.seconds = last.saturating_sub(begin).as_secs_f64();
        self.report.joining.connects_per_second = connected as f64 / self.report.joining.seconds.max(1e-3);
        self.watch("rest", self.args.settle);
        let held = self.sample("rest");
        self.report.server = self.costs(before, after, held, connected);
        self.turns()?;
        self.report.viewers.held = self.viewers();
        if let Some(rate) = self.args.churn {
            self.report.churn = Some(self.churn(rate));
        }
        self.sample("end");
        Ok(())
    }

    fn costs(&self, before: usize, after: usize, held: usize, connected: u64) -> MediaServer {
        let (a, b, c) = (&self.samples[before], &self.samples[after], &self.samples[held]);
        let each = |sum: f64| (connected > 0).then(|| sum / connected as f64);
        let cpu = a.server_cpu.zip(b.server_cpu).map(|(x, y)| y - x);
        let grown = a.server_rss.zip(c.server_rss).map(|(x, y)| y as f64 - x as f64);
        MediaServer {
            pids: self.args.server_pid.clone(),
            ms_per_connect: cpu.and_then(|it| each(it * 1e3)),
            viewers_before: a.connected.saturating_sub(u64::from(self.args.publishers)),
            rss_before: a.server_rss,
            rss_held: c.server_rss,
            rss_bytes_per_viewer: grown.and_then(each),
            ..MediaServer::default()
        }
    }

    fn viewers(&self) -> u64 {
        self.live.get(|it| &it.connected).saturating_sub(u64::from(self.args.publishers))
    }

    // Turns

    fn turns(&mut self) -> anyhow::Result<()> {
        let sinks = self.sinks();
        let mut bare = None;
        if self.args.bare && !sinks.is_empty() {
            bare = Some(Bare::new(&sinks, sinks[0].0)?);
        }
        let (mut all, mut turns) = (Window::default(), Vec::new());
        let mut cpu = Some(0.0);
        let viewers = self.viewers();
        for _ in 0..self.args.turns {
            let it = self.window();
            all.seconds += it.seconds;
            all.packets += it.packets;
            all.bytes += it.bytes;
            cpu = cpu.zip(it.cpu).map(|(a, b)| a + b);
            let Some(bare) = &mut bare else { continue };
            self.pause(true);
            self.watch("bare loop", CALM);
            self.sample("bare loop");
            let time = Duration::from_secs_f64(self.args.seconds);
            let turn = bare.turn(self.args.bitrate * 1e6, time, &self.live)?;
            self.pause(false);
            self.watch("turn", 2.0 * CALM);
            let bridge = it.cpu.filter(|_| it.packets > 0).map(|cpu| cpu * 1e6 / it.packets as f64);
            let percent = bridge.map(|us| turn.us_per_packet / us * 100.0);
            turns.push(MediaTurn { bridge_us_per_packet: bridge, bare: turn, percent });
        }
        if all.seconds > 0.0 {
            let t = &mut self.report.traffic;
            t.packets_per_second = all.packets as f64 / all.seconds;
            t.bits_per_second = all.bytes as f64 * 8.0 / all.seconds;
            t.packets_per_viewer_second = t.packets_per_second / viewers.max(1) as f64;
            if let Some(cpu) = cpu.filter(|cpu| *cpu > 0.0) {
                let s = &mut self.report.server;
                let cores = cpu / all.seconds;
                s.cores = Some(cores);
                s.viewers_per_core = Some(viewers as f64 / cores);
                s.us_per_viewer_second = (viewers > 0).then(|| cores * 1e6 / viewers as f64);
                s.us_per_packet = (all.packets > 0).then(|| cpu * 1e6 / all.packets as f64);
            }
        }
        if bare.is_some() {
            let mut percents: Vec<f64> = turns.iter().filter_map(|it| it.percent).collect();
            percents.sort_by(f64::total_cmp);
            let percent = percents.get(percents.len() / 2).copied();
            self.report.bare = Some(BareMedia { sinks: sinks.len() as u64, turns, percent });
        }
        Ok(())
    }

    fn window(&mut self) -> Window {
        let a = self.sample("turn");
        self.watch("turn", self.args.seconds);
        let b = self.sample("turn");
        let (a, b) = (&self.samples[a], &self.samples[b]);
        Window {
            seconds: b.t - a.t,
            cpu: a.server_cpu.zip(b.server_cpu).map(|(x, y)| y - x),
            packets: b.packets - a.packets,
            bytes: b.bytes - a.bytes,
        }
    }

    fn pause(&self, paused: bool) {
        self.mailboxes.iter().for_each(|it| it.send(Order::Pause(paused)));
    }

    fn sinks(&self) -> Vec<(SocketAddr, Profile)> {
        let mut all = Vec::new();
        for mailbox in &self.mailboxes {
            let (tell, told) = mpsc::channel();
            mailbox.send(Order::Sinks(tell));
            all.extend(told.recv_timeout(Duration::from_secs(10)).unwrap_or_default());
        }
        all
    }

    // Watching

    /// A thread has ended before its time.
    pub(super) fn is_broken(&self) -> bool {
        self.live.broken.load(Ordering::Relaxed) || self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Lets time pass.
    pub(super) fn watch(&mut self, phase: &'static str, seconds: f64) {
        let end = Instant::now() + Duration::from_secs_f64(seconds.max(0.0));
        while Instant::now() < end && !self.is_broken() {
            std::thread::sleep(end.saturating_duration_since(Instant::now()).min(Duration::from_millis(20)));
            self.look(phase);
        }
    }

    /// Takes a sample where a second has passed.
    pub(super) fn look(&mut self, phase: &'static str) {
        if Instant::now() >= self.next_sample {
            self.sample(phase);
        }
    }

    /// Takes a sample; returns its number.
    pub(super) fn sample(&mut self, phase: &'static str) -> usize {
        self.next_sample = Instant::now() + Duration::from_secs(1);
        let watched = !self.server_cpu.is_empty();
        let rss = self.args.server_pid.iter().map(|pid| process::resident(&pid.to_string())).sum::<Option<u64>>();
        let connected = self.live.get(|it| &it.connected);
        self.samples.push(MediaSample {
            t: self.base.elapsed().as_secs_f64(),
            phase,
            connected,
            packets: self.live.get(|it| &it.packets),
            bytes: self.live.get(|it| &it.bytes),
            server_cpu: self.server_cpu.iter_mut().map(CpuClock::read).sum::<Option<f64>>().filter(|_| watched),
            server_rss: rss.filter(|_| watched),
            generator_cpu: self.own_cpu.read(),
        });
        self.bar.set_position(connected);
        self.bar.set_message(phase);
        self.samples.len() - 1
    }

    // The end

    fn finish(mut self) -> MediaReport {
        let failed = self.live.get(|it| &it.failed);
        let not_admitted = self.signaling.state().failed;
        self.mailboxes.iter().for_each(|it| it.send(Order::Stop));
        let mut counted = Counted::default();
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(it) => counted.merge(&it),
                Err(_) => self.problems.push("a thread of the generator panicked".into()),
            }
        }
        let ended = self.signaling.stop();
        self.bar.finish_and_clear();
        let mut report = std::mem::take(&mut self.report);
        report.place = ended.place.clone();
        report.run = format!("{:08x}", self.run);
        let (publishers, full, sinks) = (self.args.publishers, self.args.full, self.args.sinks);
        let served = self.live.get(|it| &it.served);
        report.viewers = Viewers {
            publishers: publishers.into(),
            full: full.into(),
            sinks: sinks.into(),
            served,
            failed,
            not_admitted,
            ..report.viewers
        };
        fill(&mut report, &counted, self.live.get(|it| &it.channels) - self.channels_before);
        report.traffic.receive_buffer_errors =
            process::receive_buffer_errors().zip(self.dropped).map(|(after, before)| after - before);
        self.judge(&report, &counted, &ended);
        for (kind, n) in counted.errors.into_iter().chain(ended.stats.errors) {
            *report.errors.entry(kind).or_default() += n;
        }
        report.generator_cpu_seconds = self.samples.last().and_then(|it| it.generator_cpu);
        report.seconds = self.samples.last().map_or(0.0, |it| it.t);
        report.samples = self.samples;
        report.ok = self.problems.is_empty();
        report.problems = self.problems;
        report
    }

    fn judge(&mut self, report: &MediaReport, counted: &Counted, _: &Ended) {
        let v = &report.viewers;
        let wanted = v.full + v.sinks;
        if v.held < wanted {
            self.problems.push(format!("{} of {wanted} viewers were not held", wanted - v.held));
        }
        if self.args.churn.is_none() && v.served < wanted {
            self.problems.push(format!("{} of {wanted} viewers got no media", wanted - v.served));
        }
        let q = &report.quality;
        if v.full > q.judged {
            self.problems.push(format!("{} full viewers did not connect", v.full - q.judged));
        }
        for (count, what) in [
            (q.blank, "full viewers without a picture"),
            (q.incomplete, "frames with packets missing"),
            (q.undecodable, "frames whose references were missing"),
            (q.freezes, "freezes of more than a second"),
            (report.traffic.forged, "sampled packets that were not authentic"),
            (counted.strange, "packets that were not RTP"),
            (report.creates.as_ref().map_or(0, |it| it.refused), "creates refused"),
            (report.connects.as_ref().map_or(0, |it| it.failed), "connects without media failed"),
        ] {
            if count > 0 {
                self.problems.push(format!("{count} {what}"));
            }
        }
    }
}

fn fill(report: &mut MediaReport, c: &Counted, channels: u64) {
    report.joining = Joining {
        connect: c.connect.summary(),
        handshake: c.handshake.summary(),
        channel: c.channel.summary(),
        first_packet: c.first_packet.summary(),
        first_frame: c.first_frame.summary(),
        keyframe_wait: c.keyframe_wait.summary(),
        channels,
        ..std::mem::take(&mut report.joining)
    };
    report.quality = Quality {
        judged: c.judged,
        blank: c.blank,
        frames: c.video.frames,
        keyframes: c.video.keyframes,
        incomplete: c.video.incomplete,
        undecodable: c.video.undecodable,
        cut: c.video.cut,
        switches: c.video.switches,
        freezes: c.video.freezes,
        packets: c.video.packets,
        lost: c.video.lost,
        late: c.video.late,
        audio_packets: c.audio.0,
        audio_lost: c.audio.1.saturating_sub(c.audio.0),
        delay: c.delay.summary(),
        audio_delay: c.audio_delay.summary(),
        asked: c.asked,
        requests: c.requests,
        published_keyframes: c.keyframes,
    };
    let lost = c.sunk.1.saturating_sub(c.sunk.0);
    report.traffic = Traffic {
        sink_packets: c.sunk.0,
        sink_lost: lost,
        sink_loss_percent: lost as f64 * 100.0 / c.sunk.1.max(1) as f64,
        sampled: c.sampled,
        forged: c.forged,
        feedbacks: c.feedbacks,
        published_packets: c.published.0,
        published_bytes: c.published.1,
        ..std::mem::take(&mut report.traffic)
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{LoadCommand, parsed};

    fn args(text: &str) -> MediaArgs {
        match parsed("media", text) {
            LoadCommand::Media(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn impossible_wishes_are_refused_before_anything_is_opened() {
        for (text, why) in [
            ("--publishers 0", "a publisher and a viewer"),
            ("--full 0 --sinks 0", "a publisher and a viewer"),
            ("--rate 0", "above 0"),
            ("--seconds NaN", "--seconds"),
            ("--sinks 4000000000", "descriptors"),
        ] {
            let error = check(&args(text)).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(check(&args("--full 3 --sinks 10 --rate 5")).is_ok());
    }

    #[test]
    fn people_are_the_stage_and_audience_of_the_signaling_generator() {
        let it = signaling_args(&args("--publishers 2 --full 3 --sinks 10 --room town --domain meet.example")).unwrap();
        assert_eq!((it.stage, it.audience, it.offers, it.domain.as_str()), (2, 13, true, "meet.example"));
    }

    #[test]
    fn the_report_has_stable_keys_and_a_table() {
        let report =
            MediaReport { server: MediaServer { pids: vec![1], ..MediaServer::default() }, ..MediaReport::default() };
        let value = serde_json::to_value(&report).unwrap();
        for key in [
            "ok", "viewers", "joining", "quality", "traffic", "server", "bare", "creates", "connects", "churn",
            "samples",
        ] {
            assert!(value.get(key).is_some(), "{key}");
        }
        assert!(
            value["quality"]["delay"].get("p99_ms").is_some() && value["server"].get("rss_bytes_per_viewer").is_some()
        );
        assert!(report.to_string().contains("viewers: 0 of 0 held"));
    }
}
