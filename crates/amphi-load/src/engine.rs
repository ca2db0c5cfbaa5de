//! One thread of the generator: a poll loop over its share of the clients and a small pool of kept HTTP connections for
//! conference requests. It owns sockets, timers and the clock; what clients do is in `client`.

mod control;
mod departure;
mod requests;
mod ticker;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

pub(crate) use control::{Command, Group, Mailbox, Pace, Shared};
use ticker::Ticker;

use mio::{Events, Poll, Token, Waker};
use rustls::ClientConfig;
use slab::Slab;

use crate::{
    accept::{self, Invitation},
    client::{Client, Input, Nanos, Output, Role, Sink},
    seats::{RoomScene, Seat},
    stats::Stats,
    transport::{Progress, Transport, is_own_fault, refusal},
    url::Url,
};

const WAKER: Token = Token(usize::MAX - 1);
const HTTP_BASE: usize = 1 << 40;
const READ_BUFFER: usize = 256 << 10;

/// What every thread gets besides its clients.
#[derive(Clone)]
pub(crate) struct Surroundings {
    /// Rooms of the run.
    pub(crate) rooms: Arc<[RoomScene]>,
    /// Live counters.
    pub(crate) shared: Arc<Shared>,
    /// Zero of the clock.
    pub(crate) base: Instant,
    /// Source addresses, used in turn.
    pub(crate) sources: Arc<[IpAddr]>,
    /// TLS of `wss` and `https`.
    pub(crate) tls: Arc<ClientConfig>,
    /// Most HTTP connections per thread.
    pub(crate) http_connections: usize,
    /// Who takes offers of media; without anybody they are accepted as they are, and nobody ever connects.
    pub(crate) offers: Option<OfferTaker>,
}

/// An offer of media to a client.
#[derive(Debug)]
pub(crate) struct Offer {
    /// Number of the client in its thread.
    pub(crate) at: usize,
    /// When it began to join.
    pub(crate) started: Nanos,
    /// Its name in the room.
    pub(crate) nick: String,
    /// The stanza.
    pub(crate) iq: Vec<u8>,
}

/// Takes offers.
pub(crate) type OfferTaker = Arc<dyn Fn(Offer) + Send + Sync>;

struct Slot {
    client: Client,
    room: usize,
    opener: bool,
    /// Its client has left; the server has yet to close.
    leaving: bool,
    /// When the connection was begun that does not stand yet.
    dialed: Option<Nanos>,
    transport: Option<Transport>,
    /// Deadline that stands in the heap.
    scheduled: Nanos,
    /// Counts transports, so that a loop over one notices that it was replaced.
    generation: u32,
}

struct HttpConn {
    transport: Transport,
    /// The client whose request is under way.
    current: Option<usize>,
    input: Vec<u8>,
    used: bool,
}

/// One thread's clients and sockets.
pub(crate) struct Engine {
    around: Surroundings,
    poll: Poll,
    mailbox: Arc<Mailbox>,
    slots: Vec<Slot>,
    timers: BinaryHeap<Reverse<(Nanos, usize)>>,
    sink: Sink,
    buffer: Vec<u8>,
    http: Slab<HttpConn>,
    http_queue: VecDeque<usize>,
    resolved: HashMap<(String, u16), SocketAddr>,
    waiting: VecDeque<usize>,
    pace: Pace,
    next_start: Nanos,
    under_way: usize,
    connecting: u64,
    next_source: usize,
    lines: Ticker,
    presences: Ticker,
    chat: Ticker,
    /// Deliveries that are in the shared counter already.
    published: u64,
    /// Accepted offers that are in the shared counter already.
    published_accepts: u64,
}

impl Engine {
    /// A thread for these clients.
    pub(crate) fn new(around: Surroundings, seats: Vec<Seat>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let (mut lines, mut chat) = (Ticker::default(), Ticker::default());
        let mut slots = Vec::with_capacity(seats.len());
        for (at, Seat { client, room, opener, speaks }) in seats.into_iter().enumerate() {
            match client.role() {
                Role::Stage => lines.who.push(at),
                Role::Audience if speaks => chat.who.push(at),
                Role::Audience => {}
            }
            slots.push(Slot {
                client,
                room,
                opener,
                leaving: false,
                dialed: None,
                transport: None,
                scheduled: Nanos::MAX,
                generation: 0,
            });
        }
        let presences = lines.clone();
        Ok(Self {
            around,
            poll,
            mailbox: Arc::new(Mailbox { commands: Mutex::default(), waker }),
            slots,
            timers: BinaryHeap::new(),
            sink: Sink::default(),
            buffer: vec![0; READ_BUFFER],
            http: Slab::new(),
            http_queue: VecDeque::new(),
            resolved: HashMap::new(),
            waiting: VecDeque::new(),
            pace: Pace { rate: 0.0, concurrency: 1 },
            next_start: 0,
            under_way: 0,
            connecting: 0,
            next_source: 0,
            lines,
            presences,
            chat,
            published: 0,
            published_accepts: 0,
        })
    }

    /// Where commands go.
    pub(crate) fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }

    /// Runs until told to stop; returns what was counted.
    pub(crate) fn run(mut self) -> Stats {
        let mut events = Events::with_capacity(4_096);
        loop {
            loop {
                let command = self.mailbox.commands.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                match command {
                    Some(Command::Stop) => return self.stop(),
                    Some(command) => self.obey(command),
                    None => break,
                }
            }
            self.start_due();
            self.send_due();
            self.tick_due();
            let timeout = self.next_due().map(|due| Duration::from_nanos(due.saturating_sub(self.now())));
            if let Err(e) = self.poll.poll(&mut events, timeout) {
                if e.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                self.sink.stats.error(&format!("poll: {e}"));
                self.around.shared.broken.store(true, Ordering::Relaxed);
                return self.stop();
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    Token(n) if n >= HTTP_BASE => self.http_ready(n - HTTP_BASE, event.is_writable()),
                    Token(n) => self.ready(
                        n,
                        event.is_writable(),
                        event.is_readable() || event.is_read_closed() || event.is_error(),
                        event.is_read_closed(),
                    ),
                }
                self.publish();
            }
        }
    }

    /// Makes deliveries known at once: who waits for them must not take a long batch for silence.
    fn publish(&mut self) {
        self.around.shared.accepted.fetch_add(self.sink.stats.accepted - self.published_accepts, Ordering::Relaxed);
        self.published_accepts = self.sink.stats.accepted;
        let delivered = self.sink.stats.chat.received + self.sink.stats.presence.received;
        if delivered == self.published {
            return;
        }
        self.around.shared.delivered.fetch_add(delivered - self.published, Ordering::Relaxed);
        self.published = delivered;
        let chat = &self.sink.stats.chat;
        if let Some(mean) = chat.bytes.checked_div(chat.received) {
            self.around.shared.line_bytes.store(mean, Ordering::Relaxed);
        }
    }

    fn now(&self) -> Nanos {
        self.around.base.elapsed().as_nanos() as Nanos
    }

    fn obey(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Join(group, pace) => {
                let wanted = |slot: &Slot| match group {
                    Group::Role(role) => slot.client.role() == role,
                    Group::Openers => slot.opener,
                    Group::Others => !slot.opener,
                };
                self.waiting.extend((0..self.slots.len()).filter(|&at| wanted(&self.slots[at])));
                self.pace = pace;
                self.next_start = now;
            }
            Command::Lines(count, rate) => self.lines.start(now, count, rate),
            Command::Presences(count, rate) => self.presences.start(now, count, rate),
            Command::AudienceChat(each) => {
                let rate = each * self.chat.who.len() as f64;
                self.chat.start(now, if rate > 0.0 { u64::MAX } else { 0 }, rate);
            }
            Command::JoinOne(at) if at < self.slots.len() => {
                self.around.shared.started.fetch_add(1, Ordering::Relaxed);
                self.feed(at, Input::Start);
            }
            Command::Say(at, stanza) if at < self.slots.len() => self.feed(at, Input::Say(&stanza)),
            Command::JoinOne(_) | Command::Say(..) => {}
            Command::LeaveOne(at) => self.leave_one(at),
            Command::Leave(counted) => self.leave(&counted),
            Command::Stop => {}
        }
    }

    fn next_due(&self) -> Option<Nanos> {
        let timer = self.timers.peek().map(|Reverse((due, _))| *due);
        let start = (!self.waiting.is_empty() && self.under_way < self.pace.concurrency).then_some(self.next_start);
        [timer, start, self.lines.due(), self.presences.due(), self.chat.due()].into_iter().flatten().min()
    }

    fn start_due(&mut self) {
        while !self.waiting.is_empty() && self.under_way < self.pace.concurrency {
            let now = self.now();
            if now < self.next_start {
                return;
            }
            if self.pace.rate > 0.0 {
                self.next_start += (1e9 / self.pace.rate) as Nanos;
            }
            let Some(at) = self.waiting.pop_front() else { return };
            self.under_way += 1;
            self.around.shared.started.fetch_add(1, Ordering::Relaxed);
            self.feed(at, Input::Start);
        }
    }

    fn send_due(&mut self) {
        let now = self.now();
        while let Some(at) = self.lines.take(now) {
            self.feed(at, Input::Line);
            self.around.shared.sent.fetch_add(1, Ordering::Relaxed);
        }
        while let Some(at) = self.presences.take(now) {
            self.feed(at, Input::Presence);
            self.around.shared.sent.fetch_add(1, Ordering::Relaxed);
        }
        while let Some(at) = self.chat.take(now) {
            self.feed(at, Input::Line);
        }
    }

    fn tick_due(&mut self) {
        let now = self.now();
        while let Some(&Reverse((due, at))) = self.timers.peek() {
            if due > now {
                return;
            }
            self.timers.pop();
            if self.slots[at].scheduled == due {
                self.slots[at].scheduled = Nanos::MAX;
                self.feed(at, Input::Tick);
            }
        }
    }

    /// Feeds a client and does what it wants.
    fn feed(&mut self, at: usize, input: Input<'_>) {
        let now = self.now();
        let slot = &mut self.slots[at];
        let scene = self.around.rooms[slot.room].scene();
        slot.client.handle(now, input, scene, &mut self.sink);
        self.settle(at);
    }

    fn settle(&mut self, at: usize) {
        let mut broken = None;
        if !self.sink.bytes.is_empty() {
            if let Some(transport) = &mut self.slots[at].transport {
                broken = transport.write(&self.sink.bytes).err().map(|e| refusal(&e));
            }
            self.sink.bytes.clear();
        }
        if !self.sink.outputs.is_empty() {
            let outputs = std::mem::take(&mut self.sink.outputs);
            for output in &outputs {
                self.carry_out(at, *output);
            }
        }
        let slot = &mut self.slots[at];
        let deadline = slot.client.deadline();
        if deadline < slot.scheduled {
            slot.scheduled = deadline;
            self.timers.push(Reverse((deadline, at)));
        }
        if let Some(why) = broken.filter(|_| self.slots[at].transport.is_some()) {
            self.hang_up(at);
            self.feed(at, Input::Closed(&why));
        }
    }

    fn carry_out(&mut self, at: usize, output: Output) {
        let shared = Arc::clone(&self.around.shared);
        match output {
            Output::Request => {
                self.http_queue.push_back(at);
                self.http_pump();
            }
            Output::Connect => {
                let place = Arc::clone(self.slots[at].client.place());
                // A connection that its client has left, and that the server keeps, is in the way now.
                self.hang_up(at);
                match self.dial(&place.url, Token(at)) {
                    Ok(transport) => {
                        let now = self.now();
                        let slot = &mut self.slots[at];
                        slot.transport = Some(transport);
                        slot.generation += 1;
                        slot.dialed = Some(now);
                        self.connecting += 1;
                        let most = &mut self.sink.stats.most_connecting;
                        *most = self.connecting.max(*most);
                    }
                    Err(e) => self.undialed(at, &e),
                }
            }
            Output::Close => self.hang_up(at),
            Output::Joined => {
                self.under_way = self.under_way.saturating_sub(1);
                shared.entered.fetch_add(1, Ordering::Relaxed);
                shared.joined.fetch_add(1, Ordering::Relaxed);
                shared.last_join.fetch_max(self.now(), Ordering::Relaxed);
            }
            Output::Failed => {
                self.under_way = self.under_way.saturating_sub(1);
                shared.failed.fetch_add(1, Ordering::Relaxed);
            }
            Output::Offer => {
                let Some(iq) = self.sink.offers.pop_front() else { return };
                self.offered(at, iq);
            }
            Output::Dropped => {
                shared.joined.fetch_sub(1, Ordering::Relaxed);
                shared.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn offered(&mut self, at: usize, iq: Vec<u8>) {
        let client = &self.slots[at].client;
        if let Some(taker) = &self.around.offers {
            return taker(Offer { at, started: client.started(), nick: client.nick().to_owned(), iq });
        }
        let Some(session) = Invitation::read(&iq) else {
            return self.sink.stats.error("session-initiate: not understood");
        };
        let mut answer = Vec::new();
        accept::write(&mut answer, &session, accept::Transport::CANNED, client.nick(), None);
        self.feed(at, Input::Say(&answer));
    }

    fn room(&self, at: usize) -> &RoomScene {
        &self.around.rooms[self.slots[at].room]
    }

    fn undialed(&mut self, at: usize, e: &io::Error) {
        self.feed(at, Input::Undialed { why: &refusal(e), own: is_own_fault(e) });
    }

    /// The connection of a slot stands or has come to nothing.
    fn dialed(&mut self, at: usize) -> Option<Nanos> {
        let began = self.slots[at].dialed.take()?;
        self.connecting = self.connecting.saturating_sub(1);
        Some(began)
    }

    fn hang_up(&mut self, at: usize) {
        self.dialed(at);
        if std::mem::take(&mut self.slots[at].leaving) {
            self.around.shared.leaving.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(mut transport) = self.slots[at].transport.take() {
            // What still waits is lost with the connection; the peer sees it close either way.
            let _ = transport.flush();
            self.slots[at].generation += 1;
        }
    }

    fn dial(&mut self, url: &Url, token: Token) -> io::Result<Transport> {
        let key = (url.host.clone(), url.port);
        let to = match self.resolved.get(&key) {
            Some(to) => *to,
            None => {
                let found = (url.host.as_str(), url.port).to_socket_addrs()?.next();
                let to = found.ok_or_else(|| io::Error::other("host has no address"))?;
                self.resolved.insert(key, to);
                to
            }
        };
        let tls = url.tls.then_some((&self.around.tls, url.host.as_str()));
        let sources = self.around.sources.len();
        // A source without free ports is passed over as long as another one has some.
        for _ in 1..sources {
            self.next_source = (self.next_source + 1) % sources;
            let from = Some(self.around.sources[self.next_source]);
            match Transport::connect(to, from, tls, self.poll.registry(), token) {
                Err(e) if matches!(e.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse) => {}
                done => return done,
            }
        }
        let from = (sources > 0).then(|| {
            self.next_source = (self.next_source + 1) % sources;
            self.around.sources[self.next_source]
        });
        Transport::connect(to, from, tls, self.poll.registry(), token)
    }

    fn ready(&mut self, at: usize, writable: bool, readable: bool, ended: bool) {
        let Some(transport) = self.slots.get_mut(at).and_then(|s| s.transport.as_mut()) else { return };
        match transport.progress(writable) {
            Progress::Refused(why) => {
                self.hang_up(at);
                return self.feed(at, Input::Refused(&why));
            }
            Progress::Connected => {
                if let Some(began) = self.dialed(at) {
                    let took = self.now().saturating_sub(began);
                    self.sink.stats.connect.record(took);
                }
                self.feed(at, Input::Connected);
            }
            Progress::Same => {}
        }
        let generation = self.slots[at].generation;
        if writable
            && let Some(transport) = &mut self.slots[at].transport
            && let Err(e) = transport.flush()
        {
            self.hang_up(at);
            return self.feed(at, Input::Closed(&refusal(&e)));
        }
        if !readable {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        while self.slots[at].generation == generation
            && let Some(transport) = &mut self.slots[at].transport
        {
            match transport.read(&mut buffer) {
                Ok(None) => break,
                Ok(Some((0, _))) => {
                    self.hang_up(at);
                    self.feed(at, Input::Closed("connection closed"));
                }
                Ok(Some((n, more))) => {
                    self.feed(at, Input::Bytes(&buffer[..n]));
                    // The end that came with these bytes is told only once.
                    if !more && !ended {
                        break;
                    }
                }
                Err(e) => {
                    self.hang_up(at);
                    self.feed(at, Input::Closed(&refusal(&e)));
                }
            }
        }
        self.buffer = buffer;
    }
}
