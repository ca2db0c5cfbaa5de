//! A media shard: one thread that owns its sockets and the endpoints that were placed on it. It opens and demultiplexes what comes, runs the
//! homes of its conferences (see [`super::home`]) and fans packets out to its receivers. Nothing in it is shared and nothing waits.

mod fanout;
mod feedback;
mod ingress;
mod member;
mod orders;
mod out;
mod room;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_media::conference::{Input, Output};
use amphi_media::egress::{AudioPacket, RawPacket, ReceiverConfig, StreamPacket};
use amphi_media::ids::{ConferenceId, EndpointId, LayerIndex, MediaKind, SourceId};
use amphi_media::keyframe::Wish;
use amphi_media::rtcp::SenderInfo;
use amphi_media::source::SourceDesc;
use crossbeam_channel::Sender;
use foldhash::{HashMap, HashMapExt};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::command::{CreateConference, Media, Role};
use super::connect::{Handshake, TransportOrder};
use super::event::Event;
use super::home::Home;
use super::mailbox::{EventSink, Inlet, Mailbox};
use super::socket::{Inbox, Socket};
use super::stats::{ConferenceStats, EndpointStats, ShardStats};
use crate::transport::{Keys, LocalAddress};
use ingress::Addresses;
use member::{Layouts, Members};
use out::Out;
use room::Room;

/// The way to a shard.
pub(super) type ShardLink = Mailbox<ShardOrder, ShardPacket>;

/// What a shard is told and must not miss.
pub(super) enum ShardOrder {
    /// Datagrams on this 5-tuple are an endpoint's, which another shard may own. `proven`: it answered a check from there.
    Bind { local: SocketAddr, remote: SocketAddr, endpoint: EndpointId, shard: usize, thread: usize, proven: bool },
    /// They are not any more.
    Unbind { local: SocketAddr, remote: SocketAddr, endpoint: EndpointId },
    /// Where to send to.
    Selected { endpoint: EndpointId, local: SocketAddr, remote: SocketAddr },
    /// Keys of an own endpoint.
    Keys { endpoint: EndpointId, keys: Box<Keys> },
    /// The transport of an own endpoint has ended.
    Disconnected { endpoint: EndpointId },
    /// A conference, whose home is a shard.
    CreateConference { config: Arc<CreateConference>, home: usize },
    /// The end of a conference.
    ExpireConference(ConferenceId),
    /// A new endpoint of this shard.
    AddEndpoint { id: EndpointId, conference: ConferenceId, role: Role, media: Arc<Media> },
    /// For the home: an endpoint behind a relay.
    AddRelayed { endpoint: EndpointId, relay: EndpointId },
    /// Somebody leaves a conference: an own endpoint, or one whose sources are known here.
    RemoveEndpoint { conference: ConferenceId, id: EndpointId },
    /// What was signaled for an own endpoint.
    SetMedia { endpoint: EndpointId, media: Arc<Media> },
    /// All sources of somebody in a conference.
    SetSources { conference: ConferenceId, endpoint: EndpointId, sources: Arc<[SourceDesc]> },
    /// For the owner.
    ForceMute { endpoint: EndpointId, audio: bool, video: bool },
    /// A decision of the conference.
    Decision { conference: ConferenceId, output: Output },
    /// For the home: what a shard has receivers for.
    Wants(Wants),
    /// For the home: somebody needs a keyframe.
    Wish { conference: ConferenceId, wish: Wish },
    /// Counters.
    Stats(oneshot::Sender<ShardStats>),
    /// Of a conference whose home this is.
    ConferenceStats { conference: ConferenceId, reply: oneshot::Sender<ConferenceStats> },
    /// Of an own endpoint.
    EndpointStats { endpoint: EndpointId, reply: oneshot::Sender<EndpointStats> },
    /// The end.
    Shutdown,
}

/// What the receivers of one shard need of a conference.
#[derive(Clone, Debug, Default)]
pub(super) struct Wants {
    pub(super) conference: Option<ConferenceId>,
    pub(super) shard: usize,
    /// Receivers on the shard.
    pub(super) receivers: u32,
    /// Streams with the number of their receivers.
    pub(super) streams: Vec<(SourceId, LayerIndex, u32)>,
}

/// What a shard is handed and may miss.
pub(super) enum ShardPacket {
    /// A datagram of an own endpoint that came to another shard's socket.
    Stray { local: usize, remote: SocketAddr, bytes: Box<[u8]> },
    /// Packets of a conference whose home is another shard.
    Batch { conference: ConferenceId, items: Arc<[Item]> },
}

/// One thing for the receivers of a conference.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// A packet of a video source, in all streams that forward it.
    Video(SmallVec<[Arc<StreamPacket>; 3]>),
    /// An audio packet.
    Audio(Arc<AudioPacket>),
    /// A packet for relays.
    Raw(Arc<RawPacket>),
    /// A sender report of an encoding.
    Report(Arc<Report>),
}

/// A sender report of a publisher.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) source: SourceId,
    /// As received.
    pub(super) ssrc: u32,
    pub(super) info: SenderInfo,
    pub(super) kind: MediaKind,
    /// SSRCs of lines that carry the encoding, and what is added to timestamps there.
    pub(super) lines: SmallVec<[(u32, u32); 2]>,
}

/// What a shard is made of.
pub(super) struct ShardParts {
    pub(super) index: usize,
    pub(super) poll: mio::Poll,
    pub(super) inlet: Inlet<ShardOrder, ShardPacket>,
    pub(super) sockets: Vec<Socket>,
    pub(super) locals: Arc<[LocalAddress]>,
    pub(super) shards: Arc<[ShardLink]>,
    pub(super) transports: Arc<[(Sender<TransportOrder>, Sender<Handshake>)]>,
    pub(super) ufrag_prefix: usize,
    pub(super) events: EventSink,
    pub(super) receiver: ReceiverConfig,
}

/// Token of the waker; sockets have their index.
pub(super) const WAKE: mio::Token = mio::Token(usize::MAX);

/// Calls of `recvmmsg` per socket before others get their turn.
const RECEIVES: usize = 4;
/// Orders taken in one pass: however many wait, media gets its turn.
const ORDERS: usize = 4_096;
/// Packets of other shards taken in one pass.
const PACKETS: usize = 4_096;
/// Pace of everything that is due in homes (NACK, feedback, keyframe requests, reports).
const HOME_TICK: Duration = Duration::from_millis(10);
/// Pace without homes.
const IDLE_TICK: Duration = Duration::from_millis(100);

/// The thread.
pub(super) struct Shard {
    parts: ShardParts,
    /// Out of its place only while it is read from.
    inbox: Option<Inbox>,
    /// Sockets that may have more than was taken.
    more: Vec<bool>,
    addresses: Addresses,
    members: Members,
    layouts: Layouts,
    rooms: HashMap<ConferenceId, Room>,
    homes: HashMap<ConferenceId, Home>,
    out: Out,
    running: bool,
    next_tick: Instant,
    busy: Duration,
    longest: Duration,
}

impl Shard {
    pub(super) fn new(parts: ShardParts) -> Self {
        let now = Instant::now();
        Self {
            inbox: Some(Inbox::new()),
            more: vec![true; parts.sockets.len()],
            addresses: Addresses::default(),
            members: Members::default(),
            layouts: Layouts::default(),
            rooms: HashMap::new(),
            homes: HashMap::new(),
            out: Out::new(parts.sockets.clone()),
            running: true,
            next_tick: now,
            busy: Duration::ZERO,
            longest: Duration::ZERO,
            parts,
        }
    }

    /// Until [`ShardOrder::Shutdown`].
    pub(super) fn run(mut self) {
        for (index, socket) in self.parts.sockets.iter().enumerate() {
            let fd = socket.fd();
            let mut source = mio::unix::SourceFd(&fd);
            if let Err(error) =
                self.parts.poll.registry().register(&mut source, mio::Token(index), mio::Interest::READABLE)
            {
                tracing::error!(%error, shard = self.parts.index, "cannot wait for the socket");
                return;
            }
        }
        let mut ready = mio::Events::with_capacity(64);
        while self.running {
            let timeout = match self.has_more() {
                true => Duration::ZERO,
                false => self.next_deadline().saturating_duration_since(Instant::now()),
            };
            if let Err(error) = self.parts.poll.poll(&mut ready, Some(timeout))
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                tracing::error!(%error, shard = self.parts.index, "cannot poll");
                return;
            }
            for event in ready.iter().filter(|event| event.token() != WAKE) {
                if let Some(more) = self.more.get_mut(event.token().0) {
                    *more = true;
                }
            }
            let begun = Instant::now();
            // What panics costs what was being handled, not the bridge.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.pass(begun))).is_err() {
                self.recover();
            }
            let took = begun.elapsed();
            self.busy += took;
            self.longest = self.longest.max(took);
        }
    }

    /// Makes whole again what a pass that was broken off may have left open.
    fn recover(&mut self) {
        tracing::error!(shard = self.parts.index, "a pass of a media shard panicked");
        self.out.counters.panics += 1;
        self.out.run.clear();
        self.inbox.get_or_insert_with(Inbox::new);
        self.more.fill(true);
    }

    /// Whether something waits that the last pass did not get to.
    fn has_more(&self) -> bool {
        let inlet = &self.parts.inlet;
        self.more.contains(&true) || self.parts.events.waits() || !inlet.orders.is_empty() || !inlet.packets.is_empty()
    }

    fn next_deadline(&self) -> Instant {
        self.members.next_timer().map_or(self.next_tick, |at| at.min(self.next_tick))
    }

    /// One pass: orders, what came, what is due, what goes out.
    fn pass(&mut self, now: Instant) {
        self.out.begin();
        self.parts.inlet.looking();
        for _ in 0..ORDERS {
            let Ok(order) = self.parts.inlet.orders.try_recv() else { break };
            self.order(now, order);
        }
        for _ in 0..PACKETS {
            let Ok(packet) = self.parts.inlet.packets.try_recv() else { break };
            match packet {
                ShardPacket::Stray { local, remote, mut bytes } => self.media(now, local, remote, &mut bytes, true),
                ShardPacket::Batch { conference, items } => self.fan_out(now, conference, &items),
            }
        }
        for index in 0..self.more.len() {
            if self.more[index] {
                self.receive(now, index);
            }
        }
        self.publish(now);
        if now >= self.next_tick {
            self.tick(now);
        }
        self.member_timers(now);
        self.report_rungs();
        self.parts.events.flush();
    }

    /// Hands on what the homes made of what came.
    fn publish(&mut self, now: Instant) {
        let ready: SmallVec<[ConferenceId; 8]> =
            self.homes.iter().filter(|(_, home)| home.has_output()).map(|(id, _)| *id).collect();
        for conference in ready {
            let Some(home) = self.homes.get_mut(&conference) else { continue };
            for input in home.take_inputs() {
                self.parts.events.offer(Event::Conference { conference, input });
            }
            for (carrier, mut packet) in home.take_control() {
                if let Some(member) = self.members.by_id(carrier) {
                    self.out.control(member, &mut packet);
                }
            }
            let items = home.take_items();
            if items.is_empty() {
                continue;
            }
            let Some(home) = self.homes.get(&conference) else { continue };
            let remote: SmallVec<[usize; 16]> = home.audience().filter(|shard| *shard != self.parts.index).collect();
            let items: Arc<[Item]> = items.into();
            for shard in remote {
                let sent = self
                    .parts
                    .shards
                    .get(shard)
                    .is_some_and(|link| link.packet(ShardPacket::Batch { conference, items: items.clone() }));
                self.out.counters.queue_drops += u64::from(!sent);
            }
            self.fan_out(now, conference, &items);
        }
    }

    fn tick(&mut self, now: Instant) {
        self.next_tick = now + if self.homes.is_empty() { IDLE_TICK } else { HOME_TICK };
        for home in self.homes.values_mut() {
            home.tick(now);
        }
        let index = self.parts.index;
        for (id, room) in &mut self.rooms {
            for wish in room.wishes(now, &mut self.members) {
                match self.homes.get_mut(id) {
                    Some(home) => home.wish(now, wish),
                    None => {
                        let order = ShardOrder::Wish { conference: *id, wish };
                        self.parts.shards.get(room.home).map(|link| link.order(order));
                    }
                }
            }
            if let Some(wants) = room.wants(now, index, &self.members) {
                match self.homes.get_mut(id) {
                    Some(home) => home.wants(now, wants),
                    None => {
                        self.parts.shards.get(room.home).map(|link| link.order(ShardOrder::Wants(wants)));
                    }
                }
            }
        }
        self.publish(now);
    }

    /// Tells which receivers are on another rung than before.
    fn report_rungs(&mut self) {
        for (conference, room) in &mut self.rooms {
            for (class, version, receivers) in room.take_rungs() {
                let input = Input::Rungs { class, version, receivers };
                self.parts.events.tell(Event::Conference { conference: *conference, input });
            }
            if !room.bandwidths.is_empty() {
                let input = Input::Bandwidth(std::mem::take(&mut room.bandwidths));
                self.parts.events.offer(Event::Conference { conference: *conference, input });
            }
        }
    }
}
