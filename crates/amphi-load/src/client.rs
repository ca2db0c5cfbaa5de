//! One client as a state machine: from the conference request to the room, and what it does there. Sans-IO: bytes and
//! answers in, bytes and wishes out; the engine owns sockets, timers and the clock. The order of steps is that of the web
//! client (spec/client.md 1 to 10).

mod negotiate;
mod room;
mod wire;

use std::{collections::VecDeque, sync::Arc};

use serde::Deserialize;

use crate::{
    script::{Admission, Place, Script},
    stats::{Board, Stats},
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
    /// A connection could not even be begun, for the transport or the conference request.
    Undialed {
        /// Reason.
        why: &'a str,
        /// The generator's machine is at fault, not the peer.
        own: bool,
    },
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
    /// Send this stanza.
    Say(&'a [u8]),
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
    /// The focus offers media; the stanza is in [`Sink::offers`].
    Offer,
}

/// Where bytes, wishes and counts of a call go; one per thread, its buffers are reused.
#[derive(Default)]
pub(crate) struct Sink {
    /// Bytes for the transport.
    pub(crate) bytes: Vec<u8>,
    /// Wishes in order.
    pub(crate) outputs: Vec<Output>,
    /// Offers of media, in the order of their wishes.
    pub(crate) offers: VecDeque<Vec<u8>>,
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
    entered: Nanos,
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
            entered: 0,
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

    /// When it began to join.
    pub(crate) fn started(&self) -> Nanos {
        self.started
    }

    /// Its name in the room.
    pub(crate) fn nick(&self) -> &str {
        std::str::from_utf8(&self.nick).unwrap_or("00000000")
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
                (self.attempts, self.not_ready) = (0, 0);
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
            Input::Undialed { why, own } if matches!(self.state, State::Connecting | State::Asking) => {
                let count = if own { &mut sink.stats.own_errors } else { &mut sink.stats.refused };
                *count += 1;
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
            Input::Say(stanza) if matches!(self.state, State::Joining | State::Joined) => {
                self.send_stanza(sink, |out| out.extend_from_slice(stanza));
            }
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
}
