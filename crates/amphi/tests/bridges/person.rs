//! Somebody in a conference: XMPP over WebSocket, and a browser's media on a thread of its own that is begun anew with every session.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use amphi_bridge::transport::{
    CandidateType, Fingerprint, LocalCandidate, LocalTransport, RemoteTransport, Setup as TransportSetup,
};
use amphi_jingle::{
    Action, Content, Description, Fingerprint as Signaled, IceTransport, Jingle, Limits as WireLimits, MediaSources,
    MediaType, Semantics, Setup, Source, SourceSet, SsrcGroup,
};
use amphi_stanza::{Limits, Stanza, StanzaKind, XmlWriter, ns};
use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::client::{Client, Numbers};
use crate::process::http;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What a web client of today can do.
const FEATURES: [&str; 7] = [
    "urn:xmpp:jingle:apps:rtp:audio",
    "urn:xmpp:jingle:apps:rtp:video",
    "urn:xmpp:jingle:transports:dtls-sctp:1",
    "urn:ietf:rfc:4588",
    "http://jitsi.org/tcc",
    "http://jitsi.org/json-encoded-sources",
    "http://jitsi.org/ssrc-rewriting-1",
];

/// Of the focus's offers.
const NUMBERS: Numbers = Numbers { vp8: 100, rtx: 96, transport_cc: 5 };

/// A source as it is received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    /// Packets since the last reset.
    pub(crate) packets: u64,
    /// When the last one came.
    pub(crate) last: Option<Instant>,
    /// Longest time between two.
    pub(crate) gap: Duration,
    /// Of video: the SSRC of the encoding that the last one was made of.
    pub(crate) origin: u32,
    /// Where it comes in.
    pub(crate) ssrc: u32,
}

/// What a person is shown.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// By name of the source.
    pub(crate) flows: HashMap<String, Flow>,
    /// Of the bridge channel, since the session began.
    pub(crate) messages: Vec<Value>,
    /// Sessions so far.
    pub(crate) sessions: usize,
    /// Keyframes that were asked for in this session.
    pub(crate) asked: usize,
    /// SSRCs of own encodings, from the smallest.
    pub(crate) encodings: Vec<u32>,
    /// Whether the server ended the stream.
    pub(crate) closed: bool,
}

impl Seen {
    /// The last message of a class.
    pub(crate) fn message(&self, class: &str) -> Option<&Value> {
        self.messages.iter().rev().find(|m| m["colibriClass"] == class)
    }
}

enum Order {
    /// A session begins: the bridge's transport, and what to publish. Answered with the own transport.
    Begin(Box<LocalTransport>, Option<u32>, oneshot::Sender<RemoteTransport>),
    End,
    Text(String),
    Keyframe(u32),
    Level(i8),
}

/// Somebody in a conference.
pub(crate) struct Person {
    pub(crate) nick: String,
    pub(crate) visitor: bool,
    seen: Arc<Mutex<Seen>>,
    orders: Sender<Order>,
    _out: mpsc::UnboundedSender<String>,
}

impl Person {
    /// Asks the focus for a seat, and takes it.
    pub(crate) async fn join(front: SocketAddr, room: &str, machine: &str, visitor: bool) -> anyhow::Result<Self> {
        let body = json!({
            "room": format!("{room}@conference.localhost"),
            "machineUid": machine,
            "properties": { "visitors-version": 1, "visitor": visitor },
        });
        let answer = http(front, "POST", "/conference-request/v1", &body.to_string()).await?;
        let answer: Value = serde_json::from_str(&answer)?;
        let vnode = answer["vnode"].as_str();
        if answer["ready"] != true || vnode.is_some() != visitor {
            bail!("{answer}");
        }
        let domain = vnode.map_or_else(|| "localhost".to_owned(), |v| format!("{v}.meet.jitsi"));
        let query = vnode.map(|v| format!("&vnode={v}")).unwrap_or_default();
        let mut ask = format!("ws://{front}/xmpp-websocket?room={room}{query}").into_client_request()?;
        ask.headers_mut().insert("sec-websocket-protocol", "xmpp".parse()?);
        let (mut ws, _) = tokio_tungstenite::connect_async(ask).await?;
        let open = xml("open", ns::FRAMING, |w| {
            w.attr("to", &domain).attr("version", "1.0");
        });
        exchange(&mut ws, &open, "features").await?;
        let auth = xml("auth", ns::SASL, |w| {
            w.attr("mechanism", "ANONYMOUS");
        });
        exchange(&mut ws, &auth, "<success").await?;
        exchange(&mut ws, &open, "features").await?;
        let bind = xml("iq", ns::CLIENT, |w| {
            w.attr("type", "set").attr("id", "bind").empty("bind", ns::BIND);
        });
        let bound = exchange(&mut ws, &bind, "<jid>").await?;
        let nick = bound.split("<jid>").nth(1).context("no address")?[..8].to_owned();
        let room = format!("{room}@conference.{domain}");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (orders, orders_rx) = channel();
        let of_media = seen.clone();
        std::thread::spawn(move || media(&orders_rx, &of_media));
        let (out, rx) = mpsc::unbounded_channel();
        let _ = out.send(xml("presence", ns::CLIENT, |w| {
            w.attr("to", format!("{room}/{nick}")).empty("x", ns::MUC);
        }));
        let xmpp = Xmpp {
            nick: nick.clone(),
            visitor,
            seen: seen.clone(),
            orders: orders.clone(),
            out: out.clone(),
            base: u32::from_str_radix(&nick, 16).unwrap_or(7) | 1 << 30,
        };
        tokio::spawn(xmpp.run(ws, rx));
        Ok(Self { nick, visitor, seen, orders, _out: out })
    }

    pub(crate) fn look<T>(&self, f: impl FnOnce(&mut Seen) -> T) -> T {
        f(&mut self.seen.lock().unwrap())
    }

    /// Says something on the bridge channel.
    pub(crate) fn text(&self, v: &Value) {
        let _ = self.orders.send(Order::Text(v.to_string()));
    }

    /// Wants no more than so many lines of everybody.
    pub(crate) fn wants(&self, height: u32) {
        self.text(&json!({
            "colibriClass": "ReceiverVideoConstraints", "lastN": -1, "defaultConstraints": { "maxHeight": height }
        }));
    }

    /// Asks for a keyframe of a source.
    pub(crate) fn ask_keyframe(&self, source: &str) {
        let ssrc = self.look(|s| s.flows[source].ssrc);
        let _ = self.orders.send(Order::Keyframe(ssrc));
    }

    /// Speaks as loud as this: 0 is loudest.
    pub(crate) fn speaks(&self, level: i8) {
        let _ = self.orders.send(Order::Level(level));
    }

    pub(crate) fn audio(&self) -> String {
        format!("{}-a0", self.nick)
    }

    pub(crate) fn video(&self) -> String {
        format!("{}-v0", self.nick)
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool, state: impl Fn() -> String) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "never: {what}; {}", state());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn xml(name: &'static str, ns: &str, fill: impl FnOnce(&mut XmlWriter)) -> String {
    let mut w = XmlWriter::new();
    w.open_ns(name, ns);
    fill(&mut w);
    w.close();
    w.finish_string()
}

async fn exchange(ws: &mut Socket, frame: &str, answer: &str) -> anyhow::Result<String> {
    ws.send(Message::text(frame)).await?;
    let wait = async {
        loop {
            let Some(message) = ws.next().await else { bail!("the server closed before {answer}") };
            if let Message::Text(text) = message?
                && text.contains(answer)
            {
                return Ok(text.to_string());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.with_context(|| format!("no {answer}"))?
}

// ---- signaling -----------------------------------------------------------------------------------------------------------

struct Xmpp {
    nick: String,
    visitor: bool,
    seen: Arc<Mutex<Seen>>,
    orders: Sender<Order>,
    out: mpsc::UnboundedSender<String>,
    /// Every session has SSRCs of its own.
    base: u32,
}

impl Xmpp {
    async fn run(mut self, mut ws: Socket, mut rx: mpsc::UnboundedReceiver<String>) {
        loop {
            tokio::select! {
                frame = rx.recv() => match frame {
                    Some(frame) => {
                        if ws.send(Message::text(frame)).await.is_err() {
                            break;
                        }
                    }
                    None => break,
                },
                message = ws.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let s = Stanza::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap();
                        self.take(&s).await;
                    }
                    Some(Ok(_)) => {}
                    _ => break,
                },
            }
        }
        self.seen.lock().unwrap().closed = true;
        let _ = self.orders.send(Order::End);
    }

    async fn take(&mut self, s: &Stanza) {
        if !matches!(s.kind(), StanzaKind::Iq) || !matches!(s.ty().as_deref(), Some("get" | "set")) {
            return;
        }
        let from = s.attr("from").unwrap_or_default().into_owned();
        let disco = s.child("query", ns::DISCO_INFO).is_some();
        let _ = self.out.send(xml("iq", ns::CLIENT, |w| {
            w.attr("type", "result").attr("to", &from).attr_opt("id", s.id());
            if disco {
                w.open_ns("query", ns::DISCO_INFO);
                w.open("identity").attr("category", "client").attr("type", "web").close();
                for f in FEATURES {
                    w.open("feature").attr("var", f).close();
                }
                w.close();
            }
        }));
        let Some(j) = s.child("jingle", ns::JINGLE).map(|e| Jingle::parse(e, &WireLimits::default()).unwrap()) else {
            return;
        };
        match j.action {
            Action::SessionInitiate => self.accept(&from, &j).await,
            Action::SessionTerminate => {
                let _ = self.orders.send(Order::End);
            }
            _ => {}
        }
    }

    async fn accept(&mut self, focus: &str, offer: &Jingle) {
        self.base += 100;
        let bridge = bridge(offer.transport().unwrap());
        let (tx, rx) = oneshot::channel();
        let publish = (!self.visitor).then_some(self.base);
        let _ = self.orders.send(Order::Begin(Box::new(bridge), publish, tx));
        let Ok(own) = rx.await else { return };
        let f = &own.fingerprints[0];
        let transport = IceTransport {
            ufrag: own.ufrag.clone(),
            pwd: own.password.clone(),
            fingerprints: vec![Signaled {
                hash: f.hash.clone(),
                value: f.value.clone(),
                setup: Some(Setup::Active),
                cryptex: false,
            }],
            rtcp_mux: true,
            ..IceTransport::default()
        };
        let sources = if self.visitor { SourceSet::default() } else { sources(&self.nick, self.base) };
        let mut j = Jingle::new(Action::SessionAccept, offer.sid.clone());
        for ty in [MediaType::Audio, MediaType::Video] {
            j.contents.push(Content {
                name: ty.as_str().into(),
                creator: Some("responder".into()),
                description: Some(Description { media: Some(ty.as_str().into()), ..Description::default() }),
                sources: sources.media(ty).clone(),
                transport: Some(transport.clone()),
                ..Content::default()
            });
        }
        let id = format!("accept-{}", self.base);
        let _ = self.out.send(xml("iq", ns::CLIENT, |w| {
            w.attr("type", "set").attr("id", id).attr("to", focus);
            j.write(w);
        }));
    }
}

/// Of stage members: audio, and video in three encodings.
fn sources(nick: &str, base: u32) -> SourceSet {
    let source = |ssrc: u32, kind: &str| Source {
        ssrc,
        name: Some(format!("{nick}-{kind}0")),
        msid: Some(format!("{nick}-{kind}0-{base} x")),
        ..Source::default()
    };
    let group = |semantics, ssrcs: &[u32]| SsrcGroup { semantics, ssrcs: ssrcs.to_vec() };
    let mut groups = vec![group(Semantics::Sim, &[base + 1, base + 2, base + 3])];
    groups.extend((1..=3).map(|n| group(Semantics::Fid, &[base + n, base + n + 3])));
    SourceSet {
        audio: MediaSources { sources: vec![source(base, "a")], groups: Vec::new() },
        video: MediaSources { sources: (1..=6).map(|n| source(base + n, "v")).collect(), groups },
    }
}

/// What the bridge said, as the browser's side of a transport wants it.
fn bridge(ice: &IceTransport) -> LocalTransport {
    let f = &ice.fingerprints[0];
    LocalTransport {
        ufrag: ice.ufrag.clone().unwrap(),
        password: ice.pwd.clone().unwrap(),
        generation: None,
        candidates: ice
            .candidates
            .iter()
            .filter(|c| c.ip.starts_with("127."))
            .map(|c| LocalCandidate {
                id: c.id.clone(),
                foundation: c.foundation.clone(),
                priority: c.priority,
                generation: 0,
                kind: CandidateType::Host,
                address: format!("{}:{}", c.ip, c.port).parse().unwrap(),
                related: None,
            })
            .collect(),
        fingerprint: Fingerprint { hash: f.hash.clone(), value: f.value.clone(), setup: None::<TransportSetup> },
    }
}

// ---- media ---------------------------------------------------------------------------------------------------------------

/// One session's media.
struct Media {
    client: Client,
    publish: Option<u32>,
    opened: bool,
    published: bool,
    /// Messages that were read.
    read: usize,
    audio: Vec<u32>,
    video: Vec<(u32, u32)>,
    /// Names of sources by SSRC.
    names: HashMap<u32, String>,
}

fn media(orders: &Receiver<Order>, seen: &Mutex<Seen>) {
    let mut now: Option<Media> = None;
    let (mut level, mut texts): (i8, Vec<String>) = (-40, Vec::new());
    // What it wants is said again in every session, as clients do.
    let mut wanted: Option<String> = None;
    loop {
        loop {
            match orders.try_recv() {
                Ok(Order::Begin(bridge, publish, answer)) => {
                    let mut client = Client::with(NUMBERS);
                    client.set_remote(&bridge);
                    let _ = answer.send(client.describe());
                    let (audio, video) = (Vec::new(), Vec::new());
                    let names = HashMap::new();
                    now =
                        Some(Media { client, publish, opened: false, published: false, read: 0, audio, video, names });
                    let mut s = seen.lock().unwrap();
                    s.sessions += 1;
                    s.messages.clear();
                    s.asked = 0;
                    s.encodings = publish.map(|b| vec![b + 1, b + 2, b + 3]).unwrap_or_default();
                    texts.clear();
                    texts.extend(wanted.clone());
                }
                Ok(Order::End) => now = None,
                Ok(Order::Text(text)) => {
                    if text.contains("ReceiverVideoConstraints") {
                        wanted = Some(text.clone());
                    }
                    texts.push(text);
                }
                Ok(Order::Keyframe(ssrc)) => {
                    if let Some(m) = &mut now {
                        m.client.ask_keyframe(ssrc);
                    }
                }
                Ok(Order::Level(l)) => level = l,
                Err(std::sync::mpsc::TryRecvError::Empty) => break,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
            }
        }
        if let Some(m) = &mut now {
            m.step(level, &mut texts, seen);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl Media {
    fn step(&mut self, level: i8, texts: &mut Vec<String>, seen: &Mutex<Seen>) {
        let now = Instant::now();
        if let (true, false, Some(base)) = (self.client.connected, self.published, self.publish) {
            self.published = true;
            let encodings = [(base + 1, base + 4, 1), (base + 2, base + 5, 1), (base + 3, base + 6, 2)];
            self.client.publish(Some(base), &encodings);
        }
        if let Some(script) = &mut self.client.script {
            script.level = level;
        }
        self.client.poll(now);
        if self.client.opened && !self.opened {
            self.opened = true;
            self.client.send_text(r#"{"colibriClass":"ClientHello"}"#);
        }
        if self.opened {
            for text in texts.drain(..) {
                self.client.send_text(&text);
            }
        }
        let mut s = seen.lock().unwrap();
        let new: Vec<Value> =
            self.client.messages[self.read..].iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        for v in new {
            let audio = v["colibriClass"] == "AudioSourcesMap";
            if audio || v["colibriClass"] == "VideoSourcesMap" {
                for m in v["mappedSources"].as_array().unwrap() {
                    let of = |key: &str| m[key].as_u64().unwrap_or(0) as u32;
                    let (ssrc, rtx) = (of("ssrc"), of("rtx"));
                    self.names.insert(ssrc, m["source"].as_str().unwrap().to_owned());
                    if audio && !self.audio.contains(&ssrc) {
                        self.audio.push(ssrc);
                        self.client.expect_audio(&self.audio);
                    } else if !audio && self.video.iter().all(|(s, _)| *s != ssrc) {
                        self.video.push((ssrc, rtx));
                        self.client.expect_video(&self.video);
                    }
                }
            }
            s.messages.push(v);
        }
        self.read = self.client.messages.len();
        for (ssrc, got) in self.client.got.drain() {
            let Some(name) = self.names.get(&ssrc) else { continue };
            let flow = s.flows.entry(name.clone()).or_default();
            flow.packets += got.len() as u64;
            flow.gap = flow.gap.max(flow.last.map_or(Duration::ZERO, |last| now - last));
            flow.last = Some(now);
            flow.ssrc = ssrc;
            if self.video.iter().any(|(s, _)| *s == ssrc)
                && let Some(last) = got.last()
            {
                flow.origin = last.origin();
            }
        }
        s.asked = self.client.script.as_ref().map_or(0, |s| s.asked);
    }
}
