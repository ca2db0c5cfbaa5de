//! A bridge alone: logs in beside its brewery as a focus does, creates the endpoints of all clients by colibri2, and hands the bridge's transports
//! to them as offers. So any bridge that speaks colibri2 is measured by the same tool, without rooms and without a focus.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use amphi_jingle::colibri2::{
    Capabilities, ConferenceModified, ConferenceModify, Endpoint, Media, MediaSource, Sctp, Transport,
};
use amphi_jingle::{
    Feedback, Fingerprint, Formats, HeaderExtension, IceTransport, Limits, MediaSources, MediaType, Parameter,
    PayloadType, Semantics, Setup, Source, SourceSet, SsrcGroup,
};
use amphi_signal::{Retry, ServiceLink};
use amphi_stanza::{Stanza, XmlWriter};
use amphi_xmpp::client::{ClientConfig, ClientEvent, Credentials};
use anyhow::{Context, bail};
use tokio::sync::mpsc;

use super::args::MediaArgs;
use super::description::{AUDIO_LEVEL, Answer, Bridge, Numbers, Sources, TRANSPORT_CC};
use super::engine::{Offered, Order, Part};
use super::report::Creates;
use super::signaling::{Ended, Routes, Session, Signaling, State};
use crate::histogram::Histogram;

/// How long the bridge may take to appear.
const PATIENCE: Duration = Duration::from_secs(20);
/// Creates of a burst under way at once.
const WINDOW: u32 = 64;

enum Do {
    Join(u32),
    Leave(u32),
    Answer(u32, Answer),
    Burst(u32, std::sync::mpsc::Sender<Creates>),
    BurstGone,
    Stop(std::sync::mpsc::Sender<()>),
}

#[derive(Debug, Default)]
struct Figures {
    joined: AtomicU64,
    failed: AtomicU64,
    errors: Mutex<HashMap<String, u64>>,
}

impl Figures {
    fn error(&self, what: String) {
        *self.errors.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_default() += 1;
    }
}

/// A bridge's brewery.
pub(crate) struct Colibri {
    orders: mpsc::UnboundedSender<Do>,
    figures: Arc<Figures>,
    /// Ends with the last task.
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
    meeting: String,
}

impl Colibri {
    /// Logs in and finds the bridge.
    pub(crate) fn start(args: &MediaArgs, at: &str, run: u32, routes: Routes) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let domain = args.colibri_domain.clone().unwrap_or_else(|| format!("auth.{}", args.domain));
        let brewery = args.brewery.clone().unwrap_or_else(|| format!("jvbbrewery@internal.auth.{}", args.domain));
        let password = args.colibri_password.clone().or_else(|| std::env::var("AMPHI_COLIBRI_PASSWORD").ok());
        let password = password.context("--colibri-password is missing")?;
        let credentials = Credentials::Password { user: args.colibri_user.clone(), password };
        let mut config = ClientConfig::new(domain, credentials);
        config.resource = Some(format!("load-{run:08x}"));
        config.require_certificate = false;
        config.plain_without_tls = true;
        config.stream_management = false;
        let retry = Retry { first: Duration::from_millis(200), later: Duration::from_secs(1) };
        let figures = Arc::new(Figures::default());
        let (orders, receiver) = mpsc::unbounded_channel();
        let meeting = format!("load-{run:08x}");
        let (link, bridge) = runtime.block_on(async {
            let mut link = ServiceLink::tcp(at.to_owned(), config, retry);
            let found = tokio::time::timeout(PATIENCE, find(&mut link, &brewery, args.bridge.as_deref(), run)).await;
            let bridge = found.context("no bridge in the brewery")??;
            anyhow::Ok((link, bridge))
        })?;
        let driver = Driver {
            link,
            bridge,
            meeting: meeting.clone(),
            run,
            media: media().into(),
            routes,
            figures: Arc::clone(&figures),
            pending: HashMap::new(),
            ids: 0,
            names: HashMap::new(),
            generation: 0,
            begun: false,
        };
        runtime.spawn(driver.work(receiver));
        Ok(Self { orders, figures, runtime: Mutex::new(Some(runtime)), meeting })
    }

    /// Creates endpoints without media in a conference of their own.
    pub(crate) fn burst(&self, count: u32) -> anyhow::Result<Creates> {
        let (tell, told) = std::sync::mpsc::channel();
        let _ = self.orders.send(Do::Burst(count, tell));
        told.recv_timeout(Duration::from_secs(120)).context("the bridge does not answer")
    }

    /// Expires what a burst created.
    pub(crate) fn end_burst(&self) {
        let _ = self.orders.send(Do::BurstGone);
    }
}

impl Signaling for Colibri {
    fn join(&self, index: u32) {
        let _ = self.orders.send(Do::Join(index));
    }

    fn leave(&self, index: u32) {
        let _ = self.orders.send(Do::Leave(index));
    }

    fn answer(&self, index: u32, _: Session, answer: Answer) {
        let _ = self.orders.send(Do::Answer(index, answer));
    }

    fn state(&self) -> State {
        let of = |it: &AtomicU64| it.load(Ordering::Relaxed);
        State { failed: of(&self.figures.failed), joined: of(&self.figures.joined) }
    }

    fn stop(&self) -> Ended {
        let (tell, told) = std::sync::mpsc::channel();
        let _ = self.orders.send(Do::Stop(tell));
        let _ = told.recv_timeout(Duration::from_secs(10));
        if let Some(runtime) = self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
        let mut ended = Ended { place: self.meeting.clone(), ..Ended::default() };
        let errors = self.figures.errors.lock().unwrap_or_else(PoisonError::into_inner);
        ended.stats.errors.extend(errors.iter().map(|(kind, n)| (kind.clone(), *n)));
        ended
    }
}

/// Joins the brewery and waits for a bridge.
async fn find(link: &mut ServiceLink, room: &str, nick: Option<&str>, run: u32) -> anyhow::Result<String> {
    loop {
        match link.events.recv().await.context("the connection ended")? {
            ClientEvent::Up { .. } => {
                let mut w = XmlWriter::new();
                w.open_ns("presence", "jabber:client").attr("to", format!("{room}/load-{run:08x}"));
                w.empty("x", "http://jabber.org/protocol/muc").close();
                link.out.send(w.stanza())?;
            }
            ClientEvent::Stanza(s) if s.child("stats", "http://jitsi.org/protocol/colibri").is_some() => {
                let from = s.attr("from").context("presence without sender")?.into_owned();
                if nick.is_none_or(|nick| from.rsplit('/').next() == Some(nick)) {
                    return Ok(from);
                }
            }
            ClientEvent::Stanza(s) if s.ty().as_deref() == Some("error") => bail!("brewery: {s}"),
            ClientEvent::Stanza(_) => {}
            ClientEvent::Down => bail!("login failed or the connection broke"),
        }
    }
}

enum Pending {
    Create { index: u32, started: Instant },
    Burst { started: Instant },
    Other,
}

struct Driver {
    link: ServiceLink,
    bridge: String,
    meeting: String,
    run: u32,
    media: Arc<[Media]>,
    routes: Routes,
    figures: Arc<Figures>,
    pending: HashMap<String, Pending>,
    ids: u64,
    /// Endpoint of each client.
    names: HashMap<u32, String>,
    generation: u32,
    begun: bool,
}

impl Driver {
    async fn work(mut self, mut orders: mpsc::UnboundedReceiver<Do>) {
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Do::Join(index)) => self.join(index),
                    Some(Do::Leave(index)) => self.leave(index),
                    Some(Do::Answer(index, answer)) => self.answer(index, &answer),
                    Some(Do::Burst(count, tell)) => {
                        let creates = self.burst(count).await;
                        let _ = tell.send(creates);
                    }
                    Some(Do::BurstGone) => {
                        let mut request = ConferenceModify::new(self.burst_meeting());
                        request.expire = true;
                        self.ask(&request, Pending::Other);
                    }
                    Some(Do::Stop(tell)) => {
                        if self.begun {
                            let mut request = self.request();
                            request.expire = true;
                            self.ask(&request, Pending::Other);
                            // The answer tells that all is gone.
                            let _ = tokio::time::timeout(Duration::from_secs(5), self.settle()).await;
                        }
                        let _ = tell.send(());
                        return;
                    }
                    None => return,
                },
                event = self.link.events.recv() => match event {
                    Some(ClientEvent::Stanza(s)) => self.heard(&s),
                    Some(ClientEvent::Up { .. }) => {}
                    Some(ClientEvent::Down) => self.figures.error("colibri: the connection broke".into()),
                    None => return,
                },
            }
        }
    }

    async fn settle(&mut self) {
        while !self.pending.is_empty() {
            match self.link.events.recv().await {
                Some(ClientEvent::Stanza(s)) => self.heard(&s),
                Some(_) => {}
                None => return,
            }
        }
    }

    fn burst_meeting(&self) -> String {
        format!("{}-burst", self.meeting)
    }

    fn request(&self) -> ConferenceModify {
        ConferenceModify::new(self.meeting.clone())
    }

    fn ask(&mut self, request: &ConferenceModify, pending: Pending) {
        self.ids += 1;
        let id = format!("m{}", self.ids);
        let mut w = XmlWriter::new();
        w.open_ns("iq", "jabber:client").attr("type", "get").attr("id", &id).attr("to", &self.bridge);
        request.write(&mut w);
        w.close();
        self.pending.insert(id, pending);
        if self.link.out.send(w.stanza()).is_err() {
            self.figures.error("colibri: the connection ended".into());
        }
    }

    fn endpoint(&self, id: String, visitor: bool) -> Endpoint {
        Endpoint {
            create: true,
            stats_id: Some("Cathryn-P4c".into()),
            visitor,
            media: Arc::clone(&self.media),
            transport: Some(Transport { ice_controlling: true, sctp: Some(Sctp::default()), ..Transport::default() }),
            sources: Some(Vec::new()),
            capabilities: Capabilities {
                source_names: true,
                ssrc_rewriting: true,
                private_addresses: true,
                ..Capabilities::default()
            },
            ..Endpoint::new(id)
        }
    }

    fn join(&mut self, index: u32) {
        self.generation = self.generation.wrapping_add(1);
        let id = format!("{:08x}", self.generation ^ self.run << 20);
        self.names.insert(index, id.clone());
        let mut request = self.request();
        if !self.begun {
            self.begun = true;
            request.create = true;
            request.name = Some(format!("{}@load.invalid", self.meeting));
        }
        request.endpoints.push(self.endpoint(id, self.routes.part(index) != Part::Publisher));
        self.ask(&request, Pending::Create { index, started: Instant::now() });
    }

    fn leave(&mut self, index: u32) {
        let Some(id) = self.names.remove(&index) else { return };
        let mut request = self.request();
        request.endpoints.push(Endpoint::expired(id));
        if self.names.is_empty() {
            // A conference without anybody ends; whoever comes next begins another.
            (request.expire, self.begun) = (true, false);
        }
        self.figures.joined.fetch_sub(1, Ordering::Relaxed);
        self.ask(&request, Pending::Other);
    }

    fn answer(&mut self, index: u32, answer: &Answer) {
        let Some(id) = self.names.get(&index).cloned() else { return };
        let mut endpoint = Endpoint::new(id.clone());
        let fingerprint = Fingerprint {
            hash: answer.hash.clone(),
            value: answer.fingerprint.clone(),
            setup: Some(Setup::Active),
            cryptex: false,
        };
        let ice = IceTransport {
            ufrag: Some(answer.ufrag.clone()),
            pwd: Some(answer.password.clone()),
            fingerprints: vec![fingerprint],
            rtcp_mux: true,
            ..IceTransport::default()
        };
        endpoint.transport = Some(Transport { ice: Some(ice), ..Transport::default() });
        endpoint.sources = answer.sources.as_ref().map(|it| MediaSource::from_set(&id, &source_set(&id, it)));
        let mut request = self.request();
        request.endpoints.push(endpoint);
        self.ask(&request, Pending::Other);
    }

    fn heard(&mut self, s: &Stanza) {
        let Some(pending) = s.id().and_then(|id| self.pending.remove(id.as_ref())) else { return };
        let failed = s.ty().as_deref() == Some("error");
        if failed {
            let what = amphi_jingle::colibri2::ColibriError::parse(s);
            self.figures.error(format!("colibri: {} {}", what.condition, what.text.unwrap_or_default()));
        }
        let Pending::Create { index, started } = pending else { return };
        match (failed, self.offer(s, index, started)) {
            (false, Ok(offered)) => {
                self.figures.joined.fetch_add(1, Ordering::Relaxed);
                self.routes.send(index, Order::Offer(Box::new(offered)));
            }
            (_, result) => {
                if let Err(e) = result.map(drop)
                    && !failed
                {
                    self.figures.error(format!("colibri: {e}"));
                }
                self.figures.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn offer(&self, s: &Stanza, index: u32, started: Instant) -> anyhow::Result<Offered> {
        let element = s.child("conference-modified", "jitsi:colibri2").context("no answer of a bridge")?;
        let done = ConferenceModified::parse(element, &Limits::default())?;
        let transport = done.endpoints.first().and_then(|it| it.transport.as_ref()).context("no transport")?;
        let ice = transport.ice.as_ref().context("no transport")?;
        let bridge = Bridge::new(ice, transport.sctp.is_some())?;
        let (part, numbers) = (self.routes.part(index), Numbers::default());
        Ok(Offered { index, part, started, bridge, numbers, session: Session::Colibri })
    }

    async fn burst(&mut self, count: u32) -> Creates {
        let meeting = self.burst_meeting();
        let mut latency = Histogram::default();
        let begin = Instant::now();
        let (mut sent, mut done, mut refused) = (0, 0, 0);
        while done < count {
            while sent < count && sent - done < WINDOW {
                let mut request = ConferenceModify::new(meeting.clone());
                request.create = sent == 0;
                request.endpoints.push(self.endpoint(format!("{:08x}", 0xb000_0000 | sent), true));
                self.ask(&request, Pending::Burst { started: Instant::now() });
                sent += 1;
            }
            match self.link.events.recv().await {
                Some(ClientEvent::Stanza(s)) => {
                    let id = s.id().map(|id| id.into_owned()).unwrap_or_default();
                    match self.pending.get(&id) {
                        Some(Pending::Burst { started }) => {
                            latency.record(started.elapsed().as_nanos() as u64);
                            self.pending.remove(&id);
                            refused += u64::from(s.ty().as_deref() == Some("error"));
                            done += 1;
                        }
                        _ => self.heard(&s),
                    }
                }
                Some(_) => {}
                None => break,
            }
        }
        let seconds = begin.elapsed().as_secs_f64();
        let count = u64::from(done);
        let (per_second, latency) = (count as f64 / seconds, latency.summary());
        Creates { count, refused, seconds, per_second, latency, ..Creates::default() }
    }
}

fn source_set(id: &str, sources: &Sources) -> SourceSet {
    let named = |ssrc: u32, name: &str| Source { ssrc, name: Some(format!("{id}-{name}")), ..Source::default() };
    let mut set = SourceSet::default();
    set.audio.sources.push(named(sources.audio, "a0"));
    let MediaSources { sources: list, groups } = &mut set.video;
    for (ssrc, rtx) in &sources.video {
        list.extend([named(*ssrc, "v0"), named(*rtx, "v0")]);
    }
    let ssrcs = sources.video.iter().map(|it| it.0).collect();
    groups.push(SsrcGroup { semantics: Semantics::Sim, ssrcs });
    groups.extend(
        sources.video.iter().map(|(ssrc, rtx)| SsrcGroup { semantics: Semantics::Fid, ssrcs: vec![*ssrc, *rtx] }),
    );
    set
}

/// What a focus offers, as far as it is used here.
fn media() -> Vec<Media> {
    let n = Numbers::default();
    let parameter = |name: &str, value: &str| Parameter { name: Some(name.into()), value: value.into() };
    let extension = |id: Option<u8>, uri: &str| id.map(|id| HeaderExtension { id, uri: uri.into() });
    let opus = PayloadType {
        id: n.opus,
        name: "opus".into(),
        clockrate: 48_000,
        channels: 2,
        parameters: vec![parameter("minptime", "10"), parameter("useinbandfec", "1")],
        ..PayloadType::default()
    };
    let vp8 = PayloadType {
        id: n.vp8,
        name: "VP8".into(),
        clockrate: 90_000,
        channels: 1,
        feedback: vec![
            Feedback::new("ccm", Some("fir")),
            Feedback::new("nack", None),
            Feedback::new("nack", Some("pli")),
            Feedback::new("transport-cc", None),
        ],
        ..PayloadType::default()
    };
    let rtx = PayloadType {
        id: n.rtx,
        name: "rtx".into(),
        clockrate: 90_000,
        channels: 1,
        parameters: vec![parameter("apt", &n.vp8.to_string())],
        ..PayloadType::default()
    };
    let audio = Formats {
        payload_types: vec![opus],
        extensions: extension(n.audio_level, AUDIO_LEVEL).into_iter().collect(),
        extmap_allow_mixed: false,
    };
    let video = Formats {
        payload_types: vec![vp8, rtx],
        extensions: extension(n.transport_cc, TRANSPORT_CC).into_iter().collect(),
        extmap_allow_mixed: false,
    };
    vec![Media { ty: MediaType::Audio, formats: audio }, Media { ty: MediaType::Video, formats: video }]
}
