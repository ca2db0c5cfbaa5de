//! One client as a state machine: from the conference request to the room, and what it does there. Sans-IO: bytes and
//! answers in, bytes and wishes out; the engine owns sockets, timers and the clock. The order of steps is that of the web
//! client (spec/client.md 1 to 10).

use std::sync::Arc;

use serde::Deserialize;

use crate::{
    frame::{self, Opcode},
    http,
    marker::{Carrier, Marker},
    scan::{self, Kind},
    script::{Admission, Persona, Place, Script},
    stats::{Board, Stats},
    strict,
    track::Track,
};

/// A moment or a length of time in nanoseconds, on the clock of the run.
pub(crate) type Nanos = u64;

const SECOND: Nanos = 1_000_000_000;
/// How long a client waits for the answer to a ping (spec/client.md 6.3).
const PING_PATIENCE: Nanos = 5 * SECOND;

/// What a client wants to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Participant.
    Stage,
    /// Visitor.
    Audience,
}

/// What happens to a client.
#[derive(Debug)]
pub(crate) enum Input<'a> {
    /// Begin to join.
    Start,
    /// The answer to the conference request.
    Answer {
        /// HTTP status.
        status: u16,
        /// JSON.
        body: &'a [u8],
    },
    /// No answer to the conference request, for this reason.
    AnswerLost(&'a str),
    /// The transport that was asked for stands.
    Connected,
    /// The transport could not be had.
    Refused(&'a str),
    /// Bytes from the transport.
    Bytes(&'a [u8]),
    /// The transport is gone.
    Closed(&'a str),
    /// The time of [`Client::deadline`] has come.
    Tick,
    /// Send a chat line.
    Line,
    /// Send a changed presence.
    Presence,
    /// Leave for good.
    Leave,
}

/// What a client wants from the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Send the conference request.
    Request,
    /// Connect to [`Client::place`].
    Connect,
    /// Send what is written, then close the transport.
    Close,
    /// The client is in the room.
    Joined,
    /// The client has given up joining.
    Failed,
    /// The client was in the room and lost its connection.
    Dropped,
}

/// Where bytes, wishes and counts of a call go; one per thread, its buffers are reused.
#[derive(Default)]
pub(crate) struct Sink {
    /// Bytes for the transport.
    pub(crate) bytes: Vec<u8>,
    /// Wishes in order.
    pub(crate) outputs: Vec<Output>,
    /// Counters.
    pub(crate) stats: Stats,
    scratch: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Asking,
    Backoff,
    Connecting,
    Upgrading,
    Opening,
    Authenticating,
    Reopening,
    Binding,
    OpeningSession,
    Enabling,
    AskingByIq,
    Joining,
    Joined,
    Left,
    Failed,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Asking | Self::AskingByIq => "conference request",
            Self::Backoff => "waiting to ask again",
            Self::Connecting => "connect",
            Self::Upgrading => "websocket upgrade",
            Self::Opening => "stream open",
            Self::Authenticating => "authentication",
            Self::Reopening => "stream restart",
            Self::Binding => "bind",
            Self::OpeningSession => "session",
            Self::Enabling => "stream management",
            Self::Joining => "join",
            Self::Joined => "room",
            Self::Left => "left",
            Self::Failed => "failed",
        }
    }
}

/// What belongs to one connection and is forgotten with it.
#[derive(Debug, Default)]
struct Stream {
    partial: Vec<u8>,
    fragments: Vec<u8>,
    key: String,
    managed: bool,
    offers_management: bool,
    offers_session: bool,
    metadata_announced: bool,
    received: u32,
    sent: u32,
    acked: u32,
    ping_sent: Nanos,
    pings_missed: u8,
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    index: u32,
    role: Role,
    /// Number on the board when this client sends lines.
    sender: Option<u32>,
    state: State,
    place: Arc<Place>,
    stream: Box<Stream>,
    nick: [u8; 8],
    tracks: Box<[Track]>,
    rng: u64,
    started: Nanos,
    admitted: Nanos,
    deadline: Nanos,
    heard: Nanos,
    not_ready: u8,
    attempts: u8,
    connected: bool,
    /// Counts connections, so that what an old one still brings is not taken for the new one's.
    epoch: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    #[serde(default)]
    ready: bool,
    vnode: Option<String>,
    #[serde(default)]
    properties: serde_json::Map<String, serde_json::Value>,
}

/// All that a call may look at besides the client itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    /// Common to the run.
    pub(crate) script: &'a Script,
    /// What was sent so far.
    pub(crate) board: &'a Board,
}

impl Client {
    /// A client that has not begun. `seed` must differ between clients.
    pub(crate) fn new(script: &Script, index: u32, role: Role, sender: Option<u32>, seed: u64) -> Self {
        Self {
            index,
            role,
            sender,
            state: State::Idle,
            place: script.place(None),
            stream: Box::default(),
            nick: *b"00000000",
            tracks: Box::default(),
            rng: seed | 1,
            started: 0,
            admitted: 0,
            deadline: Nanos::MAX,
            heard: 0,
            not_ready: 0,
            attempts: 0,
            connected: false,
            epoch: 0,
        }
    }

    /// When [`Input::Tick`] is wanted.
    pub(crate) fn deadline(&self) -> Nanos {
        self.deadline
    }

    /// Where [`Output::Connect`] goes.
    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.place
    }

    /// What the client wants to be.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Is it in the room?
    pub(crate) fn is_joined(&self) -> bool {
        self.state == State::Joined
    }

    /// Body of the conference request.
    pub(crate) fn request_body(&self, script: &Script) -> String {
        script.request_body(self.machine(), self.role == Role::Audience)
    }

    /// Lines and presences that should have come and have not.
    pub(crate) fn missing(&self, board: &Board) -> (u64, u64) {
        if self.is_joined() { board.missing(&self.tracks) } else { (0, 0) }
    }

    /// Feeds one thing that happened.
    pub(crate) fn handle(&mut self, now: Nanos, input: Input<'_>, scene: Scene<'_>, sink: &mut Sink) {
        match input {
            Input::Start => {
                self.started = now;
                self.begin(now, scene, sink);
            }
            Input::Answer { status, body } if self.state == State::Asking => match status {
                200 => match serde_json::from_slice::<Verdict>(body) {
                    Ok(verdict) => {
                        let live = verdict.properties.get("live").is_none_or(|v| v != "false" && v != false);
                        self.admit(now, verdict.ready, live, verdict.vnode.as_deref(), scene, sink);
                    }
                    Err(_) => self.fail("conference request: answer is not JSON", sink),
                },
                status => self.fail(&format!("conference request: HTTP {status}"), sink),
            },
            Input::AnswerLost(why) if self.state == State::Asking => {
                sink.stats.refused += 1;
                self.retry(now, &format!("conference request: {why}"), scene, sink);
            }
            Input::Connected if self.state == State::Connecting => self.upgrade(sink),
            Input::Refused(why) if self.state == State::Connecting => {
                sink.stats.refused += 1;
                self.retry(now, why, scene, sink);
            }
            Input::Bytes(bytes) if self.connected => {
                sink.stats.bytes_in += bytes.len() as u64;
                self.heard = now;
                self.read(now, bytes, scene, sink);
            }
            Input::Closed(why) if self.connected => {
                self.connected = false;
                match self.state {
                    State::Left | State::Failed | State::Idle | State::Backoff => {}
                    State::Joined => self.drop_out(why, sink),
                    state => self.retry(now, &format!("closed during {}: {why}", state.name()), scene, sink),
                }
            }
            Input::Tick if now >= self.deadline => self.tick(now, scene, sink),
            Input::Line => self.send_line(now, scene, sink),
            Input::Presence => self.send_presence(now, scene, sink),
            Input::Leave => self.leave(sink),
            _ => {}
        }
    }

    fn begin(&mut self, now: Nanos, scene: Scene<'_>, sink: &mut Sink) {
        self.deadline = self.started + scene.script.join_timeout;
        match &scene.script.admission {
            Admission::Http(_) => {
                self.state = State::Asking;
                sink.outputs.push(Output::Request);
            }
            Admission::Iq(_) => self.connect(scene.script.place(None), sink),
            Admission::None { audience_node } => {
                self.admitted = now;
                let node = audience_node.as_deref().filter(|_| self.role == Role::Audience);
                self.connect(scene.script.place(node), sink);
            }
        }
    }

    fn connect(&mut self, place: Arc<Place>, sink: &mut Sink) {
        self.place = place;
        *self.stream = Stream::default();
        self.epoch = self.epoch.wrapping_add(1);
        self.state = State::Connecting;
        self.connected = true;
        sink.outputs.push(Output::Connect);
    }

    /// Acts on the focus' answer, in the order of spec/client.md 7.3.
    fn admit(&mut self, now: Nanos, ready: bool, live: bool, vnode: Option<&str>, scene: Scene<'_>, sink: &mut Sink) {
        if !live {
            return self.fail("conference request: not live", sink);
        }
        if !ready {
            sink.stats.not_ready += 1;
            let wait = SECOND << self.not_ready.min(7);
            self.not_ready += 1;
            self.state = State::Backoff;
            self.deadline = (now + wait.min(120 * SECOND)).min(self.started + scene.script.join_timeout);
            return;
        }
        self.admitted = now;
        match vnode.filter(|v| !v.is_empty()) {
            Some(vnode) => {
                if self.connected {
                    self.close_stream(sink);
                    sink.outputs.push(Output::Close);
                }
                self.connect(scene.script.place(Some(vnode)), sink);
            }
            None if self.connected => self.enter(scene, sink),
            None => self.connect(scene.script.place(None), sink),
        }
    }

    fn tick(&mut self, now: Nanos, scene: Scene<'_>, sink: &mut Sink) {
        match self.state {
            State::Joined => self.check_alive(now, scene, sink),
            State::Left | State::Failed | State::Idle => self.deadline = Nanos::MAX,
            _ if now >= self.started + scene.script.join_timeout => {
                self.fail(&format!("timeout during {}", self.state.name()), sink);
            }
            State::Backoff if self.connected => self.ask_by_iq(now, scene, sink),
            State::Backoff => self.begin(now, scene, sink),
            _ => self.deadline = self.started + scene.script.join_timeout,
        }
    }

    /// Tries the whole way once more, later, as long as attempts are left.
    fn retry(&mut self, now: Nanos, why: &str, scene: Scene<'_>, sink: &mut Sink) {
        if self.attempts >= scene.script.retries {
            return self.fail(why, sink);
        }
        sink.stats.error(why);
        sink.stats.retries += 1;
        if self.connected {
            self.connected = false;
            sink.outputs.push(Output::Close);
        }
        self.state = State::Backoff;
        self.deadline = (now + (SECOND << self.attempts)).min(self.started + scene.script.join_timeout);
        self.attempts += 1;
    }

    fn fail(&mut self, why: &str, sink: &mut Sink) {
        sink.stats.error(why);
        if self.connected {
            self.connected = false;
            sink.outputs.push(Output::Close);
        }
        self.state = State::Failed;
        self.deadline = Nanos::MAX;
        *self.stream = Stream::default();
        sink.outputs.push(Output::Failed);
    }

    fn drop_out(&mut self, why: &str, sink: &mut Sink) {
        sink.stats.error(&format!("dropped: {why}"));
        if self.connected {
            self.connected = false;
            sink.outputs.push(Output::Close);
        }
        self.state = State::Failed;
        self.deadline = Nanos::MAX;
        sink.outputs.push(Output::Dropped);
    }

    /// A failure of the connection, before or after joining.
    fn broken(&mut self, now: Nanos, why: &str, scene: Scene<'_>, sink: &mut Sink) {
        match self.state {
            State::Joined => self.drop_out(why, sink),
            State::Left | State::Failed => {}
            _ => self.retry(now, why, scene, sink),
        }
    }

    // Bytes and frames

    fn upgrade(&mut self, sink: &mut Sink) {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.random().to_be_bytes());
        nonce[8..].copy_from_slice(&self.random().to_be_bytes());
        self.stream.key = frame::key(nonce);
        self.state = State::Upgrading;
        let place = &self.place;
        let scheme = if place.url.tls { "https" } else { "http" };
        for part in [
            "GET ",
            &place.target,
            " HTTP/1.1\r\nHost: ",
            &place.url.authority(),
            "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n",
            "User-Agent: amphi-load\r\nOrigin: ",
            scheme,
            "://",
            &place.url.authority(),
            "\r\nSec-WebSocket-Key: ",
            &self.stream.key,
            "\r\n\r\n",
        ] {
            sink.bytes.extend_from_slice(part.as_bytes());
        }
    }

    fn read(&mut self, now: Nanos, bytes: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        let epoch = self.epoch;
        if self.stream.partial.is_empty() {
            let used = self.consume(now, bytes, scene, sink);
            if self.connected && self.epoch == epoch {
                self.stream.partial.extend_from_slice(&bytes[used..]);
            }
            return;
        }
        let mut data = std::mem::take(&mut self.stream.partial);
        data.extend_from_slice(bytes);
        let used = self.consume(now, &data, scene, sink);
        if self.connected && self.epoch == epoch && used < data.len() {
            data.drain(..used);
            self.stream.partial = data;
        }
    }

    /// Handles every whole frame at the start of `data`; returns how many bytes that was.
    fn consume(&mut self, now: Nanos, data: &[u8], scene: Scene<'_>, sink: &mut Sink) -> usize {
        let mut used = 0;
        if self.state == State::Upgrading {
            match self.upgraded(now, data, scene, sink) {
                Some(len) => used = len,
                None => return 0,
            }
        }
        let epoch = self.epoch;
        while self.connected && self.epoch == epoch {
            match frame::decode(&data[used..]) {
                Ok(None) => break,
                Ok(Some((fin, opcode, payload, len))) => {
                    let payload = &data[used + payload.start..used + payload.end];
                    used += len;
                    self.frame(now, fin, opcode, payload, scene, sink);
                }
                Err(_) => {
                    sink.stats.malformed += 1;
                    self.broken(now, "malformed WebSocket frame", scene, sink);
                }
            }
        }
        used
    }

    fn upgraded(&mut self, now: Nanos, data: &[u8], scene: Scene<'_>, sink: &mut Sink) -> Option<usize> {
        let Some(len) = memchr::memmem::find(data, b"\r\n\r\n") else {
            if data.len() > 16 << 10 {
                self.retry(now, "websocket upgrade: head too long", scene, sink);
            }
            return None;
        };
        let head = String::from_utf8_lossy(&data[..len]);
        match http::status(&head) {
            Some(101) if head.contains(&frame::accept(&self.stream.key)) => {
                sink.stats.connects += 1;
                self.stream.key = String::new();
                self.state = State::Opening;
                self.open(sink);
                return Some(len + 4);
            }
            Some(101) => self.fail("websocket upgrade: wrong accept key", sink),
            Some(status) => {
                sink.stats.refused += 1;
                self.retry(now, &format!("websocket upgrade: HTTP {status}"), scene, sink);
            }
            None => self.fail("websocket upgrade: not HTTP", sink),
        }
        None
    }

    fn frame(&mut self, now: Nanos, fin: bool, opcode: Opcode, payload: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        match opcode {
            Opcode::Ping => self.write(sink, Opcode::Pong, payload),
            Opcode::Pong => {}
            Opcode::Close => {
                self.write(sink, Opcode::Close, payload.get(..2).unwrap_or_default());
                let code = payload.get(..2).map_or(1005, |c| u16::from_be_bytes([c[0], c[1]]));
                self.broken(now, &format!("server closed the WebSocket ({code})"), scene, sink);
            }
            Opcode::Text if fin && self.stream.fragments.is_empty() => self.element(now, payload, scene, sink),
            Opcode::Text | Opcode::Continuation => {
                if self.stream.fragments.len() + payload.len() > frame::MAX_MESSAGE {
                    return self.broken(now, "fragmented message too long", scene, sink);
                }
                self.stream.fragments.extend_from_slice(payload);
                if fin {
                    let whole = std::mem::take(&mut self.stream.fragments);
                    self.element(now, &whole, scene, sink);
                }
            }
        }
    }

    fn element(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        if scene.script.strict_every > 0 && self.index.is_multiple_of(scene.script.strict_every) {
            sink.stats.checked += 1;
            if let Err(why) = strict::check(xml) {
                sink.stats.malformed += 1;
                sink.stats
                    .error(&format!("malformed XML: {why}: {}", String::from_utf8_lossy(&xml[..xml.len().min(200)])));
            }
        }
        let kind = scan::kind(xml);
        if kind.is_stanza() {
            sink.stats.stanzas += 1;
            if self.stream.managed {
                self.stream.received = self.stream.received.wrapping_add(1);
            }
        }
        match kind {
            Kind::Message => self.message(now, xml, scene, sink),
            Kind::Presence => self.presence(now, xml, scene, sink),
            Kind::Iq => self.iq(now, xml, scene, sink),
            Kind::AckRequest => {
                sink.stats.acks += 1;
                let answer = format!("<a h=\"{}\" xmlns=\"urn:xmpp:sm:3\"/>", self.stream.received);
                self.write(sink, Opcode::Text, answer.as_bytes());
            }
            Kind::Ack => self.acknowledged(now, xml, scene, sink),
            Kind::Open => {}
            Kind::Features => self.features(now, xml, scene, sink),
            Kind::Success if self.state == State::Authenticating => {
                self.state = State::Reopening;
                self.open(sink);
            }
            Kind::Failure => self.fail(&format!("authentication: {}", scan::condition(xml)), sink),
            Kind::Enabled if self.state == State::Enabling => {
                self.stream.managed = true;
                self.online(now, scene, sink);
            }
            Kind::Failed if self.state == State::Enabling => self.online(now, scene, sink),
            Kind::StreamError => {
                self.broken(now, &format!("stream error: {}", scan::condition(xml)), scene, sink);
            }
            Kind::Close => self.broken(now, "server closed the stream", scene, sink),
            _ => sink.stats.error("unexpected element"),
        }
    }

    // Negotiation

    fn open(&mut self, sink: &mut Sink) {
        let place = Arc::clone(&self.place);
        self.send(sink, |out| {
            crate::script::Xml(out)
                .raw("<open to=\"")
                .esc(&place.domain)
                .raw("\" version=\"1.0\" xmlns=\"urn:ietf:params:xml:ns:xmpp-framing\"/>");
        });
    }

    fn features(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        match self.state {
            State::Opening if scan::has(xml, ">ANONYMOUS<") => {
                self.state = State::Authenticating;
                self.write(
                    sink,
                    Opcode::Text,
                    br#"<auth mechanism="ANONYMOUS" xmlns="urn:ietf:params:xml:ns:xmpp-sasl"/>"#,
                );
            }
            State::Opening => self.fail("authentication: ANONYMOUS is not offered", sink),
            State::Reopening if scan::child(xml, "bind").is_some() => {
                self.stream.offers_management = scan::has(xml, "urn:xmpp:sm:3");
                self.stream.offers_session = scan::child(xml, "session").is_some();
                self.state = State::Binding;
                let bind: &[u8] = br#"<iq id="_bind_auth_2" type="set" xmlns="jabber:client"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>"#;
                self.write(sink, Opcode::Text, bind);
            }
            State::Reopening => self.broken(now, "bind is not offered", scene, sink),
            _ => {}
        }
    }

    fn bound(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        let Some(jid) = scan::text_after(xml, "<jid>") else {
            return self.fail("bind: no JID in the answer", sink);
        };
        let head = &jid.as_bytes()[..jid.len().min(8)];
        if head.len() == 8 && head.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            self.nick.copy_from_slice(head);
        } else {
            let digits = format!("{:08x}", self.random() as u32);
            self.nick.copy_from_slice(digits.as_bytes());
        }
        if !self.stream.offers_session {
            return self.manage(now, scene, sink);
        }
        self.state = State::OpeningSession;
        let session: &[u8] = br#"<iq id="_session_auth_2" type="set" xmlns="jabber:client"><session xmlns="urn:ietf:params:xml:ns:xmpp-session"/></iq>"#;
        self.write(sink, Opcode::Text, session);
    }

    fn manage(&mut self, now: Nanos, scene: Scene<'_>, sink: &mut Sink) {
        if !self.stream.offers_management {
            return self.online(now, scene, sink);
        }
        self.state = State::Enabling;
        self.write(sink, Opcode::Text, br#"<enable resume="true" xmlns="urn:xmpp:sm:3"/>"#);
    }

    fn online(&mut self, now: Nanos, scene: Scene<'_>, sink: &mut Sink) {
        let iq_first = matches!(scene.script.admission, Admission::Iq(_)) && self.place.vnode.is_none();
        if scene.script.queries && !self.stream.metadata_announced {
            let place = Arc::clone(&self.place);
            for (id, query) in [
                ("services:1", "<services xmlns=\"urn:xmpp:extdisco:2\"/>"),
                ("disco:1", "<query xmlns=\"http://jabber.org/protocol/disco#info\"/>"),
            ] {
                self.send_stanza(sink, |out| {
                    let mut xml = crate::script::Xml(out);
                    xml.raw("<iq type=\"get\" to=\"").esc(&place.domain).raw("\" id=\"").raw(id);
                    xml.raw("\" xmlns=\"jabber:client\">").raw(query).raw("</iq>");
                });
            }
        }
        if iq_first { self.ask_by_iq(now, scene, sink) } else { self.enter(scene, sink) }
    }

    fn ask_by_iq(&mut self, _now: Nanos, scene: Scene<'_>, sink: &mut Sink) {
        let Admission::Iq(focus) = &scene.script.admission else { return };
        self.state = State::AskingByIq;
        self.deadline = self.started + scene.script.join_timeout;
        let (machine, visitor) = (self.machine(), self.role == Role::Audience);
        self.send_stanza(sink, |out| scene.script.request_iq(out, "conference:1", focus, machine, visitor));
    }

    fn enter(&mut self, scene: Scene<'_>, sink: &mut Sink) {
        self.state = State::Joining;
        self.write_presence(true, None, scene, sink);
    }

    fn joined(&mut self, now: Nanos, scene: Scene<'_>, sink: &mut Sink) {
        self.state = State::Joined;
        self.tracks = scene.board.tracks();
        self.deadline = self.next_check(now, scene);
        sink.stats.join.record(now - self.started);
        sink.stats.entry.record(now.saturating_sub(self.admitted));
        *sink.stats.nodes.entry(self.place.vnode.clone().unwrap_or_default()).or_default() += 1;
        if scene.script.queries {
            let place = Arc::clone(&self.place);
            self.send_stanza(sink, |out| {
                let mut xml = crate::script::Xml(out);
                xml.raw("<iq type=\"get\" to=\"").esc(&place.room).raw("\" id=\"room:1\" xmlns=\"jabber:client\">");
                xml.raw("<query xmlns=\"http://jabber.org/protocol/disco#info\"/></iq>");
            });
        }
        sink.outputs.push(Output::Joined);
    }

    // Stanzas

    fn message(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        match self.state {
            State::Joined => self.marked(now, xml, scene, sink),
            State::Binding | State::OpeningSession | State::Enabling => {
                self.stream.metadata_announced |= scan::has_attr(xml, "type", "room_metadata");
            }
            _ => {}
        }
        if scan::attr(xml, "type") == Some(b"error") {
            sink.stats.error(&format!("message error: {}", scan::condition(xml)));
        }
    }

    fn presence(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        match self.state {
            State::Joined => {
                self.marked(now, xml, scene, sink);
                if scan::attr(xml, "type") == Some(b"unavailable") && self.is_own(xml) {
                    let why =
                        if scan::child(xml, "destroy").is_some() { "room destroyed" } else { "removed from the room" };
                    self.drop_out(why, sink);
                }
            }
            State::Joining if self.is_own(xml) || scan::attr(xml, "type") == Some(b"error") => {
                match scan::attr(xml, "type") {
                    None if scan::has_attr(xml, "code", "110") => self.joined(now, scene, sink),
                    Some(b"error") => {
                        let why = format!("join: {}", scan::condition(xml));
                        // spec/client.md 10.3: the room may not have been created yet; the request is repeated.
                        if scan::has(xml, "Room creation is restricted")
                            || scan::child(xml, "room-does-not-exist").is_some()
                        {
                            self.retry(now, &why, scene, sink);
                        } else {
                            self.fail(&why, sink);
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn is_own(&self, xml: &[u8]) -> bool {
        let (room, Some(from)) = (self.place.room.as_bytes(), scan::attr(xml, "from")) else { return false };
        from.len() == room.len() + 9 && from.starts_with(room) && from[room.len()] == b'/' && from.ends_with(&self.nick)
    }

    fn marked(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        let Some(mark) = Marker::find(xml).filter(|m| m.run == scene.script.run) else { return };
        if scan::child(xml, "delay").is_some() {
            sink.stats.history += 1;
            return;
        }
        if scan::attr(xml, "type") == Some(b"error") || scan::attr(xml, "type") == Some(b"unavailable") {
            return;
        }
        if sink.stats.see(scene.board, &mut self.tracks, &mark, xml.len(), now)
            && mark.carrier == Carrier::Chat
            && self.sender == Some(mark.sender)
        {
            sink.stats.echo.record(now.saturating_sub(mark.sent));
        }
    }

    fn iq(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        match scan::attr(xml, "type") {
            Some(b"get" | b"set") => self.asked(xml, scene, sink),
            Some(b"result") => match (self.state, scan::attr_str(xml, "id")) {
                (State::Binding, Some("_bind_auth_2")) => self.bound(now, xml, scene, sink),
                (State::OpeningSession, Some("_session_auth_2")) => self.manage(now, scene, sink),
                (State::AskingByIq, Some("conference:1")) => {
                    let conference = scan::child(xml, "conference").unwrap_or(b"<none/>");
                    let ready = scan::attr(conference, "ready") == Some(b"true");
                    let live = !scan::has(xml, "name='live' value='false'")
                        && !scan::has(xml, "name=\"live\" value=\"false\"");
                    let vnode = scan::attr_str(conference, "vnode").map(str::to_owned);
                    self.admit(now, ready, live, vnode.as_deref(), scene, sink);
                }
                _ => {}
            },
            Some(b"error") => {
                let id = scan::attr_str(xml, "id").unwrap_or_default();
                let why = |what: &str| format!("{what}: {}", scan::condition(xml));
                match id {
                    "_bind_auth_2" => self.fail(&why("bind"), sink),
                    "_session_auth_2" => self.fail(&why("session"), sink),
                    "conference:1" => self.fail(&why("conference request"), sink),
                    "services:1" | "disco:1" | "room:1" => sink.stats.error(&why("query refused")),
                    _ => sink.stats.error(&why("iq error")),
                }
            }
            _ => {}
        }
    }

    /// Answers a request as the client would.
    fn asked(&mut self, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        let to = scan::attr(xml, "from").unwrap_or_default().to_vec();
        let id = scan::attr(xml, "id").unwrap_or_default().to_vec();
        if scan::has(xml, "http://jabber.org/protocol/disco#info") {
            sink.stats.disco_answers += 1;
            let node = scan::child(xml, "query").and_then(|q| scan::attr(q, "node"));
            self.send_stanza(sink, |out| scene.script.disco_answer(out, &to, &id, node));
            return;
        }
        // spec/client.md 15.3: the client never answers the answer to a raised hand.
        if scan::has(xml, "promotion-response") {
            return;
        }
        let known = scan::has(xml, "urn:xmpp:ping") || scan::has(xml, "urn:xmpp:jingle:1");
        self.send_stanza(sink, |out| {
            let mut answer = crate::script::Xml(out);
            answer.raw("<iq type=\"").raw(if known { "result" } else { "error" });
            answer.raw("\" id=\"").escaped(&id);
            if !to.is_empty() {
                answer.raw("\" to=\"").escaped(&to);
            }
            answer.raw("\" xmlns=\"jabber:client\"");
            if known {
                answer.raw("/>");
            } else {
                answer.raw(
                    "><error type=\"cancel\"><service-unavailable xmlns=\"urn:ietf:params:xml:ns:xmpp-stanzas\"/>",
                );
                answer.raw("</error></iq>");
            }
        });
    }

    fn acknowledged(&mut self, now: Nanos, xml: &[u8], scene: Scene<'_>, sink: &mut Sink) {
        let h = scan::attr_str(xml, "h").and_then(|h| h.parse::<u32>().ok());
        match h {
            Some(h) if h >= self.stream.acked && h <= self.stream.sent => self.stream.acked = h,
            // spec/client.md 5: an impossible count kills acknowledgements in the client.
            _ => {
                sink.stats.malformed += 1;
                let why = format!("impossible acknowledgement: {:?} of {}", h, self.stream.sent);
                self.broken(now, &why, scene, sink);
            }
        }
    }

    // In the room

    fn next_check(&self, from: Nanos, scene: Scene<'_>) -> Nanos {
        if scene.script.ping_after == 0 { Nanos::MAX } else { from + scene.script.ping_after }
    }

    /// Pings when nothing was heard for long, gives up after two pings without anything heard (spec/client.md 6.3).
    fn check_alive(&mut self, now: Nanos, scene: Scene<'_>, sink: &mut Sink) {
        let stream = &mut self.stream;
        if stream.ping_sent > 0 && self.heard < stream.ping_sent {
            stream.pings_missed += 1;
            if stream.pings_missed >= 2 {
                return self.drop_out("two pings without an answer", sink);
            }
        } else {
            stream.pings_missed = 0;
            if now < self.heard + scene.script.ping_after {
                stream.ping_sent = 0;
                self.deadline = self.next_check(self.heard, scene);
                return;
            }
        }
        self.stream.ping_sent = now;
        self.deadline = now + PING_PATIENCE;
        sink.stats.pings += 1;
        let place = Arc::clone(&self.place);
        self.send_stanza(sink, |out| {
            let mut xml = crate::script::Xml(out);
            xml.raw("<iq type=\"get\" to=\"").esc(&place.domain).raw("\" id=\"ping:1\" xmlns=\"jabber:client\">");
            xml.raw("<ping xmlns=\"urn:xmpp:ping\"/></iq>");
        });
    }

    fn mark(&self, now: Nanos, carrier: Carrier, scene: Scene<'_>) -> Option<Marker> {
        let sender = self.sender.filter(|_| self.is_joined())?;
        let seq = scene.board.next(carrier, sender);
        Some(Marker { run: scene.script.run, carrier, sender, seq, sent: now })
    }

    fn send_line(&mut self, now: Nanos, scene: Scene<'_>, sink: &mut Sink) {
        let Some(mark) = self.mark(now, Carrier::Chat, scene) else {
            return sink.stats.error("line not sent: not in the room");
        };
        let place = Arc::clone(&self.place);
        self.send_stanza(sink, |out| scene.script.line(out, &place.room, &mark));
    }

    fn send_presence(&mut self, now: Nanos, scene: Scene<'_>, sink: &mut Sink) {
        let Some(mark) = self.mark(now, Carrier::Presence, scene) else {
            return sink.stats.error("presence not sent: not in the room");
        };
        self.write_presence(false, Some(&mark), scene, sink);
    }

    fn write_presence(&mut self, join: bool, mark: Option<&Marker>, scene: Scene<'_>, sink: &mut Sink) {
        let place = Arc::clone(&self.place);
        let nick = self.nick;
        let nick = std::str::from_utf8(&nick).unwrap_or("00000000");
        let stage = self.role == Role::Stage;
        let name = format!("{} {}", if stage { "Speaker" } else { "Visitor" }, self.index);
        let who = Persona { name: &name, stats_id: "Cathryn-P4c", machine: self.machine(), sources: stage };
        self.send_stanza(sink, |out| scene.script.presence(out, (&place.room, nick), &who, join, mark));
    }

    fn leave(&mut self, sink: &mut Sink) {
        if self.state == State::Joined {
            // spec/client.md 13: what a client sends when its page is closed.
            self.send(sink, |out| out.extend_from_slice(br#"<presence type="unavailable" xmlns="jabber:client"/>"#));
        }
        if self.connected && !matches!(self.state, State::Connecting | State::Upgrading) {
            self.close_stream(sink);
        }
        if self.connected {
            sink.outputs.push(Output::Close);
        }
        self.connected = false;
        self.state = State::Left;
        self.deadline = Nanos::MAX;
    }

    fn close_stream(&mut self, sink: &mut Sink) {
        self.write(sink, Opcode::Text, br#"<close xmlns="urn:ietf:params:xml:ns:xmpp-framing"/>"#);
        self.write(sink, Opcode::Close, &1000u16.to_be_bytes());
    }

    // Writing

    fn send_stanza(&mut self, sink: &mut Sink, write: impl FnOnce(&mut Vec<u8>)) {
        self.send(sink, write);
        if self.stream.managed {
            self.stream.sent = self.stream.sent.wrapping_add(1);
            if self.stream.sent.is_multiple_of(5) {
                self.write(sink, Opcode::Text, br#"<r xmlns="urn:xmpp:sm:3"/>"#);
            }
        }
    }

    fn send(&mut self, sink: &mut Sink, write: impl FnOnce(&mut Vec<u8>)) {
        let mut payload = std::mem::take(&mut sink.scratch);
        payload.clear();
        write(&mut payload);
        self.write(sink, Opcode::Text, &payload);
        sink.scratch = payload;
    }

    fn write(&mut self, sink: &mut Sink, opcode: Opcode, payload: &[u8]) {
        let mask = (self.random() as u32).to_be_bytes();
        let before = sink.bytes.len();
        frame::encode(&mut sink.bytes, opcode, payload, mask);
        sink.stats.bytes_out += (sink.bytes.len() - before) as u64;
    }

    fn machine(&self) -> u64 {
        u64::from(self.index) + 1
    }

    /// xorshift64*: masks and nonces need to differ, not to be secret.
    fn random(&mut self) -> u64 {
        self.rng ^= self.rng >> 12;
        self.rng ^= self.rng << 25;
        self.rng ^= self.rng >> 27;
        self.rng.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
