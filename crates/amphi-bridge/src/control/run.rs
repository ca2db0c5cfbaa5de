//! The task that runs a bridge: gives the core what comes from nodes, the media plane, WebSockets and operators, and carries out what it wants.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use amphi_jingle::colibri2::{ConferenceModify, KnownMedia};
use amphi_jingle::{Limits, ns};
use amphi_media::conference::ConferenceConfig;
use amphi_media::ids::EndpointId;
use amphi_stanza::{Condition, ErrorType, Stanza, StanzaError};
use amphi_xmpp::client::ClientEvent;
use tokio::sync::{mpsc, watch};

use super::brewery::{self, Brewery, Request};
use super::colibri::{Colibri, Input};
use super::dial;
use super::handle::{Ask, BridgeHandle, ToSocket};
use super::health::{self, Signs};
use super::link::SocketId;
use super::load::{Load, Sample, cpu_times, memory_share};
use super::refusal::Refusal;
use super::settings::BridgeSettings;
use super::shared::{Output, Peers, Shared};
use super::shutdown::Shutdown;
use super::stats::{Rates, Report};
use super::websocket::Line;
use crate::plane::Plane;
use crate::plane::command::{Command, PlaneError};
use crate::plane::event::Event;
use crate::plane::stats::PlaneStats;
use crate::transport::Certificate;

/// Where commands for the media plane go.
pub trait MediaPlane: Send + 'static {
    /// Hands a command over without waiting.
    ///
    /// # Errors
    /// If there is no room for what the command adds.
    fn send(&self, command: Command) -> Result<(), PlaneError>;

    /// How the plane is doing.
    fn stats(&self) -> Pin<Box<dyn Future<Output = PlaneStats> + Send>>;
}

impl MediaPlane for Plane {
    fn send(&self, command: Command) -> Result<(), PlaneError> {
        Self::send(self, command)
    }

    fn stats(&self) -> Pin<Box<dyn Future<Output = PlaneStats> + Send>> {
        let plane = self.clone();
        Box::pin(async move { Self::stats(&plane).await })
    }
}

/// A login at a node.
#[derive(Debug)]
pub struct NodeLink {
    /// Stanzas to the node.
    pub out: mpsc::UnboundedSender<Stanza>,
    /// What happens there.
    pub events: mpsc::Receiver<ClientEvent>,
}

/// What a bridge is made of.
pub struct Parts {
    /// Settings; its logins belong to `links`, in the same order.
    pub settings: BridgeSettings,
    /// How conferences decide.
    pub decisions: ConferenceConfig,
    /// What transports are made of.
    pub peers: Peers,
    /// The media plane.
    pub plane: Box<dyn MediaPlane>,
    /// What it tells.
    pub events: mpsc::Receiver<Event>,
    /// Logins.
    pub links: Vec<NodeLink>,
}

/// Name in version queries.
const NAME: &str = "amphi";
/// Questions and messages of WebSockets that may wait.
const ASKS: usize = 4096;
/// Without settings of WebSockets: silence before a ping, and before the end, of those opened from here.
const PING: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(60);
/// Events that are taken in one go.
const BATCH: usize = 256;

/// Starts a bridge on the current runtime. It ends when all handles are gone.
pub fn start(parts: Parts) -> BridgeHandle {
    let (handle, running) = prepare(parts);
    tokio::spawn(running);
    handle
}

/// A bridge, and what runs it, on whichever runtime that is polled.
pub fn prepare(parts: Parts) -> (BridgeHandle, impl Future<Output = ()> + Send + 'static) {
    let (asks, asked) = mpsc::channel(ASKS);
    let (reports, seen) = watch::channel(None);
    let settings = Arc::new(parts.settings.clone());
    let handle = BridgeHandle {
        asks,
        reports: seen,
        web_sockets: settings.web_sockets.clone().map(Arc::new),
        message_bytes: settings.limits.message_bytes,
        socket_queue: settings.limits.socket_queue.max(1),
    };
    (handle, Bridge::new(parts, settings, reports).run(asked))
}

/// What comes from nodes: one after the other, so that none of them waits for ever.
struct Links {
    events: Vec<Option<mpsc::Receiver<ClientEvent>>>,
    turn: usize,
}

impl Links {
    /// The next event and whose it is. Never, if all have ended.
    async fn next(&mut self) -> (usize, ClientEvent) {
        poll_fn(|cx| {
            for _ in 0..self.events.len() {
                let n = self.turn;
                self.turn = (n + 1) % self.events.len();
                let Some(events) = &mut self.events[n] else { continue };
                match events.poll_recv(cx) {
                    Poll::Ready(Some(e)) => return Poll::Ready((n, e)),
                    Poll::Ready(None) => self.events[n] = None,
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await
    }
}

struct Socket {
    endpoint: EndpointId,
    to: mpsc::Sender<ToSocket>,
}

/// A relay's channel that is kept open from here.
struct Dial {
    url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Dial {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What comes back from a request that was handed to the core.
struct Asked {
    link: usize,
    iq: Stanza,
}

struct Bridge {
    settings: Arc<BridgeSettings>,
    colibri: Colibri,
    plane: Box<dyn MediaPlane>,
    events: mpsc::Receiver<Event>,
    links: Vec<mpsc::UnboundedSender<Stanza>>,
    from_links: Links,
    breweries: Vec<Brewery>,
    asked: HashMap<u64, Asked>,
    sockets: HashMap<SocketId, Socket>,
    dials: HashMap<EndpointId, Dial>,
    from_dials: (mpsc::Sender<Ask>, mpsc::Receiver<Ask>),
    next: u64,
    limits: Limits,
    known_media: KnownMedia,
    shutdown: Shutdown,
    load: Load,
    illness: Option<String>,
    stats: PlaneStats,
    stats_at: Instant,
    rates: Rates,
    busy: Option<(u64, u64)>,
    shards_busy: Vec<Duration>,
    questions: mpsc::Receiver<PlaneStats>,
    answer_to: mpsc::Sender<PlaneStats>,
    question: Option<Instant>,
    lag: Duration,
    reports: watch::Sender<Option<Arc<Report>>>,
    renew_at: SystemTime,
    left: bool,
}

impl Bridge {
    fn new(parts: Parts, settings: Arc<BridgeSettings>, reports: watch::Sender<Option<Arc<Report>>>) -> Self {
        let (links, events) = parts.links.into_iter().map(|link| (link.out, Some(link.events))).unzip();
        let from_links = Links { events, turn: 0 };
        let version = settings.identity.version.clone();
        let breweries = settings.logins.iter().map(|l| Brewery::new(l, NAME, &version)).collect();
        let renew_at = parts.peers.certificate.renew_at();
        let (answer_to, questions) = mpsc::channel(1);
        Self {
            colibri: Colibri::new(Shared::new(settings.clone(), parts.decisions, parts.peers, rand::random())),
            plane: parts.plane,
            events: parts.events,
            links,
            from_links,
            breweries,
            asked: HashMap::new(),
            sockets: HashMap::new(),
            dials: HashMap::new(),
            from_dials: mpsc::channel(ASKS),
            next: 0,
            limits: Limits::default(),
            known_media: KnownMedia::default(),
            shutdown: Shutdown::new(&settings.times, settings.drain),
            load: Load::new(settings.load.clone()),
            illness: None,
            stats: PlaneStats::default(),
            stats_at: Instant::now(),
            rates: Rates::default(),
            busy: None,
            shards_busy: Vec::new(),
            questions,
            answer_to,
            question: None,
            lag: Duration::ZERO,
            reports,
            renew_at,
            left: false,
            settings,
        }
    }

    async fn run(mut self, mut asks: mpsc::Receiver<Ask>) {
        let mut events = Vec::with_capacity(BATCH);
        let (mut sample_at, mut presence_at) = (Instant::now(), Instant::now());
        let timer = tokio::time::sleep_until(sample_at.into());
        tokio::pin!(timer);
        self.sample(Instant::now());
        self.publish();
        loop {
            let now = Instant::now();
            if sample_at <= now {
                self.lag = now.saturating_duration_since(sample_at);
                self.sample(now);
                sample_at = now + self.settings.load.interval;
            }
            if presence_at <= now {
                self.publish();
                presence_at = now + self.settings.times.presence;
            }
            self.flush();
            let mut deadline = sample_at.min(presence_at);
            for other in [self.colibri.poll_timeout(), self.shutdown.poll_timeout()]
                .into_iter()
                .chain(self.breweries.iter().map(Brewery::poll_timeout))
                .flatten()
            {
                deadline = deadline.min(other);
            }
            // A timer that stays where it is costs nothing.
            if timer.deadline() != deadline.into() {
                timer.as_mut().reset(deadline.into());
            }
            tokio::select! {
                n = self.events.recv_many(&mut events, BATCH) => {
                    if n == 0 {
                        if self.left {
                            tracing::info!("The media plane has ended, as it was told to.");
                        } else {
                            tracing::error!("The media plane has ended; so does the bridge.");
                        }
                        return;
                    }
                    let now = Instant::now();
                    for e in events.drain(..) {
                        self.colibri.handle(now, Input::Plane(e));
                    }
                }
                (link, e) = self.from_links.next() => self.link_event(Instant::now(), link, e),
                ask = asks.recv() => match ask {
                    Some(ask) => self.ask(Instant::now(), ask),
                    None => {
                        self.leave();
                        self.flush();
                        self.command(Command::Shutdown);
                        return;
                    }
                },
                Some(ask) = self.from_dials.1.recv() => self.ask(Instant::now(), ask),
                Some(stats) = self.questions.recv() => self.answered(Instant::now(), stats),
                () = &mut timer => self.tick(Instant::now()),
            }
        }
    }

    fn tick(&mut self, now: Instant) {
        if self.colibri.poll_timeout().is_some_and(|at| at <= now) {
            self.colibri.handle(now, Input::Tick);
        }
        if !self.left && self.breweries.iter().any(|b| b.poll_timeout().is_some_and(|at| at <= now)) {
            let stats = self.presence();
            for b in &mut self.breweries {
                b.tick(now, &stats);
            }
        }
        // Counted only for a shutdown: it goes through everybody.
        if self.shutdown.poll_timeout().is_some() && self.shutdown.tick(now, self.colibri.local_endpoints()) {
            tracing::info!(phase = ?self.shutdown.phase(), "The shutdown goes on.");
            self.publish();
        }
    }

    /// Everything that the core wants done, until it wants nothing more.
    fn flush(&mut self) {
        while let Some(o) = self.colibri.poll_output() {
            match o {
                Output::Plane(c) => self.command(c),
                Output::Answer { id, result } => {
                    let Some(Asked { link, iq }) = self.asked.remove(&id) else { continue };
                    let answer = match result {
                        Ok(done) => Some(brewery::result(&iq, |w| done.write(w))),
                        Err(refusal) => refuse(&iq, &refusal),
                    };
                    if let (Some(b), Some(answer)) = (self.breweries.get_mut(link), answer) {
                        b.answer(answer);
                    }
                }
                Output::Socket { socket, text } => self.deliver(socket, ToSocket::Text(text)),
                Output::CloseSocket { socket, code, reason } => {
                    self.deliver(socket, ToSocket::Close(code, reason));
                    self.sockets.remove(&socket);
                }
                Output::Dial { endpoint, url } => self.dial(endpoint, url),
                Output::HangUp { endpoint } => drop(self.dials.remove(&endpoint)),
            }
        }
        for (b, out) in self.breweries.iter_mut().zip(&self.links) {
            while let Some(s) = b.poll_output() {
                let _ = out.send(s);
            }
        }
    }

    /// Opens a relay's channel, unless that is being done.
    fn dial(&mut self, endpoint: EndpointId, url: String) {
        if self.dials.get(&endpoint).is_some_and(|d| d.url == url) {
            return;
        }
        let times = self.settings.web_sockets.as_ref().map_or((PING, IDLE), |w| (w.ping, w.idle));
        let line = Line {
            asks: self.from_dials.0.clone(),
            message_bytes: self.settings.limits.message_bytes,
            queue: self.settings.limits.socket_queue.max(1),
            ping: times.0,
            idle: times.1,
        };
        let task = tokio::spawn(dial::keep_open(line, endpoint, url.clone()));
        self.dials.insert(endpoint, Dial { url, task });
    }

    fn command(&mut self, c: Command) {
        let added = match &c {
            Command::AddEndpoint(a) => Some(a.id),
            _ => None,
        };
        match (self.plane.send(c), added) {
            (Ok(()), _) => {}
            (Err(e), Some(endpoint)) => {
                tracing::warn!(error = %e, "The media plane did not take an endpoint.");
                self.colibri.handle(Instant::now(), Input::Plane(Event::Refused { endpoint }));
            }
            (Err(e), None) => tracing::warn!(error = %e, "The media plane did not take a command."),
        }
    }

    fn deliver(&mut self, id: SocketId, message: ToSocket) {
        let Some(socket) = self.sockets.get(&id) else { return };
        if socket.to.try_send(message).is_err() {
            // It does not read. Without its sender the socket's task ends, and says so.
            tracing::debug!(endpoint = ?socket.endpoint, "A WebSocket does not keep up and is closed.");
            self.sockets.remove(&id);
        }
    }

    // ---- nodes ---------------------------------------------------------------------------------------------------------

    fn link_event(&mut self, now: Instant, link: usize, e: ClientEvent) {
        // Statistics are told on arrival alone.
        let stats = if matches!(e, ClientEvent::Up { .. }) { self.presence() } else { Vec::new() };
        let left = self.left;
        let Some(b) = self.breweries.get_mut(link) else { return };
        let before = (b.is_online(), b.rooms());
        match e {
            ClientEvent::Up { jid, resumed } => {
                tracing::info!(%jid, resumed, "The bridge is connected to a node.");
                if !left {
                    b.connected(now, resumed, &stats);
                }
            }
            ClientEvent::Down => {
                tracing::warn!("The bridge lost its connection to a node.");
                b.disconnected();
            }
            ClientEvent::Stanza(s) => match b.handle(now, s) {
                Some(Request::Health(iq)) => {
                    let health = self.illness.clone().map_or(Ok(()), Err);
                    b.health(&iq, &health);
                }
                Some(Request::Colibri(iq)) => self.request(now, link, iq),
                None => {}
            },
        }
        if self.breweries.get(link).is_some_and(|b| (b.is_online(), b.rooms()) != before) {
            self.report();
        }
    }

    fn request(&mut self, now: Instant, link: usize, iq: Stanza) {
        let Some(modify) = iq.child("conference-modify", ns::COLIBRI2) else { return };
        match ConferenceModify::parse_knowing(modify, &self.limits, &mut self.known_media) {
            Ok(request) => {
                self.next += 1;
                self.asked.insert(self.next, Asked { link, iq });
                self.colibri.handle(now, Input::Request { id: self.next, request: Box::new(request) });
            }
            Err(e) => {
                let answer = refuse(&iq, &Refusal::Bad(e.to_string()));
                if let (Some(b), Some(answer)) = (self.breweries.get_mut(link), answer) {
                    b.answer(answer);
                }
            }
        }
    }

    // ---- operators and WebSockets --------------------------------------------------------------------------------------

    fn ask(&mut self, now: Instant, ask: Ask) {
        match ask {
            Ask::Admit { conference, name, password, relay, reply } => {
                let _ = reply.send(self.colibri.admits(&conference, &name, &password, relay));
            }
            Ask::Opened { endpoint, to, reply } => {
                self.next += 1;
                let socket = SocketId(self.next);
                if reply.send(socket).is_ok() {
                    self.sockets.insert(socket, Socket { endpoint, to });
                    self.colibri.handle(now, Input::SocketOpened { endpoint, socket });
                }
            }
            Ask::Message { endpoint, text } => self.colibri.handle(now, Input::SocketMessage { endpoint, text }),
            Ask::Closed { endpoint, socket } => {
                self.sockets.remove(&socket);
                self.colibri.handle(now, Input::SocketClosed { endpoint, socket });
            }
            Ask::Drain(drain) => {
                if std::mem::replace(&mut self.shutdown.drain, drain) != drain {
                    tracing::info!(drain, "Drain mode was switched.");
                    self.publish();
                }
            }
            Ask::Shutdown { graceful } => {
                tracing::info!(graceful, "A shutdown was asked for.");
                self.shutdown.begin(now, graceful);
                self.shutdown.tick(now, self.colibri.local_endpoints());
                self.publish();
            }
            Ask::Leave(reply) => {
                self.leave();
                self.flush();
                let _ = reply.send(());
            }
        }
    }

    fn leave(&mut self) {
        self.left = true;
        self.breweries.iter_mut().for_each(Brewery::leave);
    }

    // ---- what is told --------------------------------------------------------------------------------------------------

    fn sample(&mut self, now: Instant) {
        // One question at a time: one that stays open is an illness.
        if self.question.is_none() {
            self.question = Some(now);
            let (stats, to) = (self.plane.stats(), self.answer_to.clone());
            tokio::spawn(async move {
                let _ = to.send(stats.await).await;
            });
        }
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let before = self.busy;
        self.busy = cpu_times(&read("/proc/stat"));
        let cpu = match (before, self.busy) {
            (Some((b0, t0)), Some((b1, t1))) if t1 > t0 => b1.saturating_sub(b0) as f64 / (t1 - t0) as f64,
            _ => 0.0,
        };
        let shard = self.stats.shards.iter().enumerate().map(|(n, s)| {
            let before = self.shards_busy.get(n).copied().unwrap_or_default();
            s.busy.saturating_sub(before).as_secs_f64() / self.settings.load.interval.as_secs_f64()
        });
        let sample = Sample {
            cpu,
            shard: shard.fold(0.0, f64::max).min(1.0),
            memory: memory_share(&read("/proc/meminfo")).unwrap_or(0.0),
            bits: self.stats.total.bytes_sent.saturating_mul(8),
            packets: self.stats.total.datagrams_sent,
            endpoints: self.colibri.local_endpoints(),
        };
        self.shards_busy = self.stats.shards.iter().map(|s| s.busy).collect();
        self.load.sample(now, sample);
        self.colibri.refuse_conferences(self.shutdown.refuses_conferences());
        self.renew_certificate();
        let addresses = self.colibri.shared_mut().peers.addresses.iter();
        let addresses = addresses.flat_map(|a| [Some(a.base.ip()), a.public.map(|p| p.ip())]).flatten().collect();
        let signs = Signs { addresses, asked: self.question, lag: self.lag };
        let illness = health::check(now, &signs, &self.settings).err();
        if illness.is_some() != self.illness.is_some() {
            tracing::warn!(illness = illness.as_deref().unwrap_or("none"), "The health of the bridge changed.");
            self.illness = illness;
            self.publish();
        } else {
            self.illness = illness;
            self.report();
        }
    }

    fn answered(&mut self, now: Instant, stats: PlaneStats) {
        self.question = None;
        let passed = now.saturating_duration_since(self.stats_at);
        self.rates = Rates::between(&self.stats.total, &stats.total, passed);
        self.stats = stats;
        self.stats_at = now;
    }

    /// Transports that are made from now on get a new certificate once a day (`spec/bridge.md` 2.4).
    fn renew_certificate(&mut self) {
        let now = SystemTime::now();
        if now < self.renew_at {
            return;
        }
        match Certificate::generate(now) {
            Ok(new) => {
                self.renew_at = new.renew_at();
                self.colibri.shared_mut().peers.certificate = new;
            }
            Err(e) => {
                tracing::error!(error = %e, "No new certificate; the old one is used for another hour.");
                self.renew_at = now + Duration::from_secs(3600);
            }
        }
    }

    fn report(&mut self) -> Arc<Report> {
        let rooms: Vec<(usize, usize)> = self.breweries.iter().map(Brewery::rooms).collect();
        let report = Arc::new(Report {
            at: SystemTime::now(),
            identity: Arc::new(self.settings.identity.clone()),
            figures: self.colibri.figures(),
            totals: self.colibri.totals(),
            plane: self.stats.clone(),
            rates: self.rates,
            stress: self.load.stress(),
            per_endpoint: self.load.per_endpoint(),
            illness: self.illness.clone(),
            drain: self.shutdown.drain,
            phase: self.shutdown.phase(),
            logins: [
                self.breweries.len(),
                self.breweries.iter().filter(|b| b.is_online()).count(),
                rooms.iter().map(|r| r.0).sum(),
                rooms.iter().map(|r| r.1).sum(),
            ],
        });
        self.reports.send_replace(Some(report.clone()));
        report
    }

    fn presence(&mut self) -> Vec<(&'static str, String)> {
        let known = self.reports.borrow().clone();
        let report = known.unwrap_or_else(|| self.report());
        if self.settings.all_statistics_in_presence { report.all() } else { report.presence() }
    }

    /// Reports anew, to the focus too.
    fn publish(&mut self) {
        self.colibri.refuse_conferences(self.shutdown.refuses_conferences());
        self.report();
        let stats = self.presence();
        self.breweries.iter_mut().for_each(|b| b.publish(&stats));
    }
}

fn refuse(iq: &Stanza, refusal: &Refusal) -> Option<Stanza> {
    let error: StanzaError = refusal.stanza_error();
    let answer = error.answer(iq).or_else(|| StanzaError::new(ErrorType::Modify, Condition::BadRequest).answer(iq))?;
    Some(brewery::unsigned(&answer))
}
