//! One media thread: a poll loop over sockets and timers of its clients. Offers come in, answers go out to whoever brought the offer.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use amphi_bridge::plane::socket::{Inbox, Socket};
use amphi_bridge::transport::{Certificate, PeerLimits};
use amphi_media::srtp::Profile;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use super::counts::{Counted, Live};
use super::description::{Answer, Bridge, Numbers, Sources, own_address};
use super::person::{Around, Course, Person};
use super::publisher::Publisher;
use super::signaling::{Session, Signaling};
use super::sink::Sink;

const WAKER: Token = Token(usize::MAX);
/// Clients on one socket, where each has an address of its own.
const SHARED: usize = 250;
/// Receive buffer of such a socket, and of a socket with one client.
const SHARED_BUFFER: usize = 64 << 20;
const OWN_BUFFER: usize = 2 << 20;
/// Socket calls before timers are looked at.
const TURN: usize = 64;

/// What a client does with its media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Publishes.
    Publisher,
    /// Is judged.
    Viewer,
    /// Counts.
    Sink,
}

/// What publishers send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    /// Bits per second over all encodings.
    pub(crate) bits_per_second: f64,
    /// Over what time the packets of a frame are spread.
    pub(crate) pace: Duration,
    /// Number of the run: SSRCs come from it.
    pub(crate) run: u32,
}

/// An offer for a client.
#[derive(Debug)]
pub(crate) struct Offered {
    /// Number of the client.
    pub(crate) index: u32,
    /// Its part.
    pub(crate) part: Part,
    /// Start of its join.
    pub(crate) started: Instant,
    /// The bridge.
    pub(crate) bridge: Bridge,
    /// Formats.
    pub(crate) numbers: Numbers,
    /// To whom to answer.
    pub(crate) session: Session,
}

/// What a thread is told.
pub(crate) enum Order {
    /// Connect.
    Offer(Box<Offered>),
    /// Take this client away; signaling is told after that, so that what the other side then closes is nobody's failure.
    Leave(u32),
    /// Let this client join, once it has left as it was told before.
    Join(u32),
    /// Publishers stop or go on.
    Pause(bool),
    /// Tell where connected sinks are.
    Sinks(Sender<Vec<(SocketAddr, Profile)>>),
    /// Hand over what was counted, and begin anew.
    Take(Sender<Counted>),
    /// Take all away, return.
    Stop,
}

/// The mailbox of a thread.
pub(crate) struct Mailbox {
    orders: Mutex<VecDeque<Order>>,
    waker: Waker,
}

impl Mailbox {
    /// Hands an order over.
    pub(crate) fn send(&self, order: Order) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push_back(order);
        // A failed wake only delays the order until the next event.
        let _ = self.waker.wake();
    }
}

enum Client {
    Person(Box<Person>),
    Sink(Box<Sink>),
}

impl Client {
    fn tick(&mut self, around: &mut Around<'_>) -> bool {
        match self {
            Self::Person(it) => it.tick(around),
            Self::Sink(it) => it.tick(around),
        }
        true
    }
}

struct Member {
    client: Client,
    index: u32,
    port: usize,
    place: usize,
    local: Ipv4Addr,
    scheduled: Instant,
    generation: u32,
}

struct Port {
    socket: Socket,
    members: Vec<Option<usize>>,
    used: usize,
    /// Where members are told apart by their addresses: the number of this port among those.
    shared: Option<u16>,
}

/// A thread's clients and sockets.
pub(crate) struct Engine {
    poll: Poll,
    mailbox: Arc<Mailbox>,
    signaling: Arc<dyn Signaling>,
    live: Arc<Live>,
    base: Instant,
    program: Program,
    members: Slab<Member>,
    by_index: HashMap<u32, usize>,
    ports: Slab<Port>,
    timers: BinaryHeap<Reverse<(Instant, usize, u32)>>,
    generations: u32,
    /// Out of its place only while it is read from.
    inbox: Option<Inbox>,
    counted: Counted,
    certificate: Arc<Certificate>,
    limits: Arc<PeerLimits>,
    paused: bool,
}

impl Engine {
    /// A thread without clients.
    pub(crate) fn new(
        signaling: Arc<dyn Signaling>,
        live: Arc<Live>,
        base: Instant,
        program: Program,
    ) -> anyhow::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let limits = PeerLimits { send_queue: 64 << 10, receive_queue: 256 << 10, ..PeerLimits::default() };
        Ok(Self {
            poll,
            mailbox: Arc::new(Mailbox { orders: Mutex::default(), waker }),
            signaling,
            live,
            base,
            program,
            members: Slab::new(),
            by_index: HashMap::new(),
            ports: Slab::new(),
            timers: BinaryHeap::new(),
            generations: 0,
            inbox: Some(Inbox::new()),
            counted: Counted::default(),
            certificate: Certificate::generate(SystemTime::now())?,
            limits: Arc::new(limits),
            paused: false,
        })
    }

    /// Where orders go.
    pub(crate) fn mailbox(&self) -> Arc<Mailbox> {
        Arc::clone(&self.mailbox)
    }

    /// Runs until told to stop; returns what was counted.
    pub(crate) fn run(mut self) -> Counted {
        let mut events = Events::with_capacity(1_024);
        loop {
            while let Some(order) = self.next_order() {
                match order {
                    Order::Offer(offered) => self.offer(*offered),
                    Order::Leave(index) => {
                        self.leave(index);
                        self.signaling.leave(index);
                    }
                    Order::Join(index) => self.signaling.join(index),
                    Order::Pause(paused) => self.pause(paused),
                    Order::Sinks(to) => self.sinks(&to),
                    // A coordinator that is gone wants nothing.
                    Order::Take(to) => drop(to.send(std::mem::take(&mut self.counted))),
                    Order::Stop => {
                        let all: Vec<u32> = self.by_index.keys().copied().collect();
                        all.into_iter().for_each(|index| self.leave(index));
                        return self.counted;
                    }
                }
            }
            self.tick_due();
            let wait = self.timers.peek().map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
            if let Err(e) = self.poll.poll(&mut events, wait)
                && e.kind() != io::ErrorKind::Interrupted
            {
                self.counted.error(format!("poll: {e}"));
                self.live.broken.store(true, Ordering::Relaxed);
                return self.counted;
            }
            for event in &events {
                if event.token() != WAKER {
                    self.receive(event.token().0);
                }
            }
        }
    }

    fn next_order(&self) -> Option<Order> {
        self.mailbox.orders.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    // Sockets

    fn receive(&mut self, port: usize) {
        let Some(mut inbox) = self.inbox.take() else { return };
        for turn in 0.. {
            let Some(it) = self.ports.get(port) else { break };
            if let Err(e) = inbox.receive(&it.socket) {
                if e.kind() != io::ErrorKind::WouldBlock {
                    self.counted.error(format!("receive: {e}"));
                }
                break;
            }
            let more = inbox.full();
            let now = Instant::now();
            for burst in inbox.bursts() {
                let Some(port) = self.ports.get(port) else { break };
                let place = if port.shared.is_some() { burst.to.map_or(SHARED, place_of) } else { 0 };
                let Some(key) = port.members.get(place).copied().flatten() else { continue };
                self.with(key, now, |client, around| match client {
                    Client::Sink(sink) => sink.handle(around, burst.from, burst.data, burst.segment),
                    Client::Person(person) => {
                        burst.data.chunks(burst.segment).for_each(|it| person.handle(around, burst.from, it));
                        true
                    }
                });
            }
            if !more {
                break;
            }
            if turn % TURN == TURN - 1 {
                self.tick_due();
            }
        }
        self.inbox = Some(inbox);
    }

    /// Does something with a client and its socket, and sees to its next deadline.
    fn with(&mut self, key: usize, now: Instant, act: impl FnOnce(&mut Client, &mut Around<'_>) -> bool) {
        let Some(member) = self.members.get_mut(key) else { return };
        let Some(port) = self.ports.get(member.port) else { return };
        let local = member.local;
        let mut broken = None;
        let mut send = |bytes: &[u8], to: SocketAddr| {
            if let Err(e) = port.socket.send_from(bytes, local, to) {
                broken = Some(e);
            }
        };
        let mut around = Around { now, base: self.base, live: &self.live, counted: &mut self.counted, send: &mut send };
        let moved = act(&mut member.client, &mut around);
        if let Some(e) = broken.filter(|e| e.kind() != io::ErrorKind::WouldBlock) {
            self.counted.error(format!("send: {e}"));
        }
        if !moved {
            return;
        }
        let due = match &mut member.client {
            Client::Person(it) => Some(it.deadline()),
            Client::Sink(it) => it.deadline(),
        };
        if let Some(due) = due.filter(|due| *due < member.scheduled) {
            member.scheduled = due;
            self.timers.push(Reverse((due, key, member.generation)));
        }
    }

    fn tick_due(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((due, key, generation))) = self.timers.peek() {
            if due > now {
                return;
            }
            self.timers.pop();
            let Some(member) = self.members.get_mut(key) else { continue };
            if member.generation != generation || member.scheduled != due {
                continue;
            }
            member.scheduled = far(now);
            self.with(key, now, |client, around| client.tick(around));
        }
    }

    // Clients

    fn offer(&mut self, offered: Offered) {
        self.leave(offered.index);
        self.live.offers.fetch_add(1, Ordering::Relaxed);
        let (index, session) = (offered.index, offered.session.clone());
        match self.connect(offered) {
            Ok(answer) => self.signaling.answer(index, session, answer),
            Err(e) => {
                self.counted.error(format!("offer: {e}"));
                self.live.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn connect(&mut self, offered: Offered) -> anyhow::Result<Answer> {
        let now = Instant::now();
        let (own, here) = own_address(offered.bridge.address)?;
        let IpAddr::V4(own) = own else { anyhow::bail!("not IPv4") };
        let (port, place, local) = self.place(own, here && offered.part == Part::Sink)?;
        let address = SocketAddr::from((local, self.ports[port].socket.local_addr().port()));
        let course = Course { started: offered.started, offered: now, connected: None };
        let (bridge, numbers) = (&offered.bridge, offered.numbers);
        let made = match offered.part {
            Part::Sink => {
                let (sink, answer) =
                    Sink::new(course, address, bridge, numbers, &self.certificate, &self.limits, offered.index);
                Ok((Client::Sink(Box::new(sink)), answer))
            }
            Part::Viewer => Person::new(course, address, bridge, numbers, None)
                .map(|(it, answer)| (Client::Person(Box::new(it)), answer)),
            Part::Publisher => {
                // The first one is loudest.
                let level = if offered.index == 0 { -25 } else { -60 };
                let Program { bits_per_second, pace, run } = self.program;
                let mut publisher = Publisher::new(now, bits_per_second, pace, level, u64::from(offered.index) + 1);
                if self.paused {
                    publisher.pause();
                }
                let sources = Sources::of(offered.index, run);
                Person::new(course, address, bridge, numbers, Some((publisher, sources)))
                    .map(|(it, answer)| (Client::Person(Box::new(it)), answer))
            }
        };
        let (client, answer) = match made {
            Ok(made) => made,
            Err(e) => {
                self.free(port, place);
                return Err(e);
            }
        };
        self.generations = self.generations.wrapping_add(1);
        let generation = self.generations;
        let key = self.members.insert(Member {
            client,
            index: offered.index,
            port,
            place,
            local,
            scheduled: far(now),
            generation,
        });
        self.ports[port].members[place] = Some(key);
        self.by_index.insert(offered.index, key);
        self.with(key, now, |client, around| client.tick(around));
        Ok(answer)
    }

    /// A free place: port, place in it, address.
    fn place(&mut self, own: Ipv4Addr, shared: bool) -> anyhow::Result<(usize, usize, Ipv4Addr)> {
        if !shared {
            let socket = Socket::bind_many(own, OWN_BUFFER)?;
            let port = self.add_port(Port { socket, members: vec![None], used: 1, shared: None })?;
            return Ok((port, 0, own));
        }
        let free = self.ports.iter().find(|(_, it)| it.shared.is_some() && it.used < SHARED).map(|(key, _)| key);
        let key = match free {
            Some(key) => key,
            None => {
                let number = self.ports.len() as u16;
                let socket = Socket::bind_many(Ipv4Addr::UNSPECIFIED, SHARED_BUFFER)?;
                self.add_port(Port { socket, members: vec![None; SHARED], used: 0, shared: Some(number) })?
            }
        };
        let port = &mut self.ports[key];
        let place = port.members.iter().position(Option::is_none).unwrap_or(0);
        port.used += 1;
        Ok((key, place, address_of(port.shared.unwrap_or(0), place)))
    }

    fn add_port(&mut self, port: Port) -> anyhow::Result<usize> {
        let fd = port.socket.fd();
        let key = self.ports.insert(port);
        self.poll.registry().register(&mut SourceFd(&fd), Token(key), Interest::READABLE)?;
        Ok(key)
    }

    fn free(&mut self, port: usize, place: usize) {
        let Some(it) = self.ports.get_mut(port) else { return };
        it.members[place] = None;
        it.used -= 1;
        if it.shared.is_none() {
            let fd = it.socket.fd();
            let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
            self.ports.remove(port);
        }
    }

    fn leave(&mut self, index: u32) {
        let Some(key) = self.by_index.remove(&index) else { return };
        let now = Instant::now();
        // A farewell goes out while the socket is there.
        self.with(key, now, |client, around| {
            if let Client::Sink(sink) = client {
                sink.leave(around);
            }
            false
        });
        let Some(member) = self.members.try_remove(key) else { return };
        debug_assert_eq!(member.index, index);
        if let Client::Person(person) = member.client {
            let mut around = Around {
                now,
                base: self.base,
                live: &self.live,
                counted: &mut self.counted,
                send: &mut |_: &[u8], _: SocketAddr| {},
            };
            person.leave(&mut around);
        }
        self.free(member.port, member.place);
    }

    fn pause(&mut self, paused: bool) {
        self.paused = paused;
        let now = Instant::now();
        let keys: Vec<usize> = self.members.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.with(key, now, |client, _| {
                if let Client::Person(it) = client {
                    it.pause(now, paused);
                }
                true
            });
        }
    }

    fn sinks(&self, to: &Sender<Vec<(SocketAddr, Profile)>>) {
        let sinks = self.members.iter().filter_map(|(_, it)| match &it.client {
            Client::Sink(sink) => Some((sink.local(), sink.profile()?)),
            Client::Person(_) => None,
        });
        // A coordinator that is gone wants no list.
        let _ = to.send(sinks.collect());
    }
}

fn far(now: Instant) -> Instant {
    now + Duration::from_secs(86_400)
}

/// A loopback address for a place on a shared port. The third number differs from port to port only for the eye.
fn address_of(port: u16, place: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 1, (port % 250) as u8, place as u8 + 1)
}

fn place_of(address: Ipv4Addr) -> usize {
    usize::from(address.octets()[3]).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_its_place() {
        for place in 0..SHARED {
            let address = address_of(7, place);
            assert!(address.is_loopback());
            assert_eq!(place_of(address), place);
        }
        assert!(place_of(Ipv4Addr::UNSPECIFIED) >= SHARED);
    }
}
