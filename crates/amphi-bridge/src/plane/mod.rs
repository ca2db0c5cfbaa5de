//! Media plane: sockets, shards, ingress of publishers and fan-out to receivers (`spec/bridge.md` 9.5).
//!
//! ```text
//!  control ──Command──►  Plane  ──►  shards (UDP, SRTP, RTP)  ◄──datagrams, keys──►  transport threads (ICE, DTLS, SCTP)
//!          ◄──Event────────┴─────────────┴────────────────────────────────────────────┘
//! ```
//!
//! Everything here runs on plain threads: one per shard and one or more for transports. Control holds a [`Plane`] and reads [`event::Event`]s.

pub mod command;
mod connect;
mod directory;
pub mod event;
mod home;
mod mailbox;
mod shard;
pub mod socket;
pub mod stats;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use amphi_media::egress::ReceiverConfig;
use crossbeam_channel::Sender;
use tokio::sync::{mpsc, oneshot};

pub use command::{Command, PlaneError};
pub use event::Event;

use crate::transport::{self, Credentials, LocalAddress, Pool, PoolLimits};
use command::{AddConnected, AddEndpoint, Recipients, Role};
use connect::{Handshake, Inputs, TransportOrder, TransportThread};
use directory::{Directory, Place};
use mailbox::{EventSink, Later};
use shard::{Shard, ShardLink, ShardOrder, ShardParts, WAKE};
use socket::Socket;
use stats::PlaneStats;

/// Settings of the plane.
#[derive(Clone, Debug)]
pub struct PlaneConfig {
    /// Media shards: threads that own sockets. 0 (default): one per core, at most 16.
    pub shards: usize,
    /// Threads for ICE, DTLS and SCTP, at most 62. Default 1.
    pub transport_threads: usize,
    /// Whether shards are bound to cores. Default true.
    pub pin: bool,
    /// Where to receive: each shard opens a socket for each. Port 0 is replaced by a free one. Without wildcard addresses.
    pub addresses: Vec<LocalAddress>,
    /// Put in front of all our ufrags (`spec/bridge.md` 2.1). Default none.
    pub ufrag_prefix: String,
    /// `SO_RCVBUF` and `SO_SNDBUF` in bytes. Default 16 MiB.
    pub socket_buffer: usize,
    /// Whether UDP_SEGMENT and UDP_GRO may be used, if the kernel has them. Default true.
    pub offload: bool,
    /// Packets and datagrams that may wait for one thread. Default 16,384.
    pub queue: usize,
    /// Events that may wait for control. Default 65,536.
    pub event_queue: usize,
    /// Endpoints and relays on this bridge. Default 100,000.
    pub max_endpoints: usize,
    /// Conferences on this bridge. Default 10,000.
    pub max_conferences: usize,
    /// Estimate, history and retransmission of receivers.
    pub receiver: ReceiverConfig,
}

impl Default for PlaneConfig {
    fn default() -> Self {
        Self {
            shards: 0,
            transport_threads: 1,
            pin: true,
            addresses: Vec::new(),
            ufrag_prefix: String::new(),
            socket_buffer: 16 << 20,
            offload: true,
            queue: 16_384,
            event_queue: 65_536,
            max_endpoints: 100_000,
            max_conferences: 10_000,
            receiver: ReceiverConfig::default(),
        }
    }
}

/// Most shards: what a word of bits can tell apart, and more than a machine has use for.
const MAX_SHARDS: usize = 64;
/// Characters that a ufrag has for the transport thread.
const MAX_TRANSPORT_THREADS: usize = 62;

/// The plane, as control holds it. Clones are the same plane.
#[derive(Clone)]
pub struct Plane {
    inner: Arc<Inner>,
}

struct Inner {
    addresses: Arc<[LocalAddress]>,
    ufrag_prefix: String,
    shards: Arc<[ShardLink]>,
    transports: Arc<[(Sender<TransportOrder>, Sender<Handshake>)]>,
    /// By transport thread.
    later: Vec<Later<TransportOrder>>,
    directory: Mutex<Directory>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    start: Instant,
}

impl Plane {
    /// Opens the sockets and starts the threads. The receiver gives what happens; it must be read.
    ///
    /// # Errors
    /// No address, a wildcard address, or the system refuses sockets or threads.
    pub fn start(config: PlaneConfig) -> io::Result<(Self, mpsc::Receiver<Event>)> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if config.shards == 0 { cores.min(16) } else { config.shards.min(MAX_SHARDS) };
        let threads = config.transport_threads.clamp(1, MAX_TRANSPORT_THREADS);
        if config.addresses.is_empty() || config.addresses.iter().any(|it| it.base.ip().is_unspecified()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "media needs addresses, and no wildcard ones"));
        }
        let start = Instant::now();
        let mut sockets: Vec<Vec<Socket>> = vec![Vec::new(); count];
        let mut addresses = Vec::new();
        for address in &config.addresses {
            let mut base = address.base;
            for of_shard in &mut sockets {
                let socket = Socket::bind(base, config.socket_buffer, config.offload)?;
                base = socket.local_addr();
                of_shard.push(socket);
            }
            addresses.push(LocalAddress { base, public: address.public });
        }
        let addresses: Arc<[LocalAddress]> = addresses.into();
        let (events, receiver) = mpsc::channel(config.event_queue.max(1));
        let mut links = Vec::new();
        let mut inlets = Vec::new();
        for _ in 0..count {
            let poll = mio::Poll::new()?;
            let waker = mio::Waker::new(poll.registry(), WAKE)?;
            let (link, inlet) = mailbox::mailbox(waker, config.queue);
            links.push(link);
            inlets.push((poll, inlet));
        }
        let shards: Arc<[ShardLink]> = links.into();
        let mut transports = Vec::new();
        let mut inputs = Vec::new();
        let later: Vec<Later<TransportOrder>> = (0..threads).map(|_| Later::default()).collect();
        for later in &later {
            let (orders, orders_in) = crossbeam_channel::unbounded();
            let (datagrams, datagrams_in) = crossbeam_channel::bounded(config.queue);
            transports.push((orders, datagrams));
            inputs.push(Inputs { orders: orders_in, later: later.clone(), datagrams: datagrams_in });
        }
        let transports: Arc<[_]> = transports.into();
        let ours: Vec<(SocketAddr, Socket)> = sockets
            .first()
            .map(|of_first| addresses.iter().map(|it| it.base).zip(of_first.iter().cloned()).collect())
            .unwrap_or_default();
        let mut handles = Vec::new();
        for (index, ((poll, inlet), sockets)) in inlets.into_iter().zip(sockets).enumerate() {
            let parts = ShardParts {
                index,
                poll,
                inlet,
                sockets,
                locals: addresses.clone(),
                shards: shards.clone(),
                transports: transports.clone(),
                ufrag_prefix: config.ufrag_prefix.len(),
                events: EventSink::new(events.clone()),
                receiver: config.receiver.clone(),
            };
            let pin = config.pin && count <= cores;
            let thread = std::thread::Builder::new().name(format!("media-{index}"));
            handles.push(thread.spawn(move || {
                if pin {
                    socket::pin_thread(index);
                }
                Shard::new(parts).run();
            })?);
        }
        for (index, inputs) in inputs.into_iter().enumerate() {
            let thread = TransportThread::new(
                index,
                Pool::new(PoolLimits::default()),
                inputs,
                ours.clone(),
                shards.clone(),
                EventSink::new(events.clone()),
            );
            let builder = std::thread::Builder::new().name(format!("transport-{index}"));
            handles.push(builder.spawn(move || thread.run())?);
        }
        let inner = Inner {
            addresses,
            ufrag_prefix: config.ufrag_prefix,
            directory: Mutex::new(Directory::new(count, threads, config.max_endpoints, config.max_conferences)),
            shards,
            transports,
            later,
            threads: Mutex::new(handles),
            start,
        };
        Ok((Self { inner: Arc::new(inner) }, receiver))
    }

    /// Where it receives: for [`transport::PeerConfig::addresses`].
    pub fn addresses(&self) -> Arc<[LocalAddress]> {
        self.inner.addresses.clone()
    }

    /// Credentials for a new peer: for [`transport::PeerConfig::credentials`]. They say which transport thread it will be on.
    pub fn credentials(&self) -> Credentials {
        let thread = self.directory().next_thread();
        Credentials::random(&self.inner.ufrag_prefix, thread as u8)
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.inner.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a command over. It is carried out later, in order with others about the same conference.
    ///
    /// # Errors
    /// Of commands that add something: what it belongs to is not there, or there is too much. Others have none: what is not there is ignored.
    pub fn send(&self, command: Command) -> Result<(), PlaneError> {
        match command {
            Command::CreateConference(config) => {
                let home = self.directory().add_conference(config.id)?;
                let config = Arc::new(config);
                self.every(|| ShardOrder::CreateConference { config: config.clone(), home });
            }
            Command::ExpireConference(id) => {
                let gone = self.directory().remove_conference(id);
                for (endpoint, place) in gone {
                    self.transport(place.thread, TransportOrder::Pool(transport::Command::Remove { id: endpoint }));
                }
                self.every(|| ShardOrder::ExpireConference(id));
            }
            Command::AddEndpoint(add) => self.add(*add)?,
            Command::AddConnected(add) => {
                let AddConnected { id, conference, role, media, local, remote, keys } = *add;
                let place = self.directory().add(id, conference, role, 0)?;
                self.directory().answered(id);
                self.shard(place.shard, ShardOrder::AddEndpoint { id, conference, role, media: Arc::new(media) });
                let (shard, thread) = (place.shard, place.thread);
                self.every(|| ShardOrder::Bind { local, remote, endpoint: id, shard, thread, proven: true });
                self.shard(place.shard, ShardOrder::Selected { endpoint: id, local, remote });
                self.shard(place.shard, ShardOrder::Keys { endpoint: id, keys });
            }
            Command::AddRelayed { endpoint, relay } => {
                let place = self.directory().add_relayed(endpoint, relay)?;
                self.shard(place.shard, ShardOrder::AddRelayed { endpoint, relay });
            }
            Command::RemoveEndpoint(id) => {
                let Some(place) = self.directory().remove(id) else { return Ok(()) };
                if place.relayed_by.is_none() {
                    self.transport(place.thread, TransportOrder::Pool(transport::Command::Remove { id }));
                }
                let conference = place.conference;
                match place.role {
                    Some(Role::Visitor) => self.shard(place.shard, ShardOrder::RemoveEndpoint { conference, id }),
                    // All shards know its sources.
                    _ => self.every(|| ShardOrder::RemoveEndpoint { conference, id }),
                }
            }
            Command::SetMedia { endpoint, media } => {
                if let Some(place) = self.directory().find(endpoint) {
                    self.shard(place.shard, ShardOrder::SetMedia { endpoint, media: Arc::new(media) });
                }
            }
            Command::SetRemote { endpoint, remote } => {
                let answered = self.directory().answered(endpoint);
                if let Some(place) = answered {
                    let command = transport::Command::SetRemote { id: endpoint, remote };
                    self.transport(place.thread, TransportOrder::Pool(command));
                }
            }
            Command::RestartIce { endpoint } => {
                if let Some(place) = self.directory().find(endpoint) {
                    let command = transport::Command::Restart { id: endpoint };
                    self.transport(place.thread, TransportOrder::Pool(command));
                }
            }
            Command::SetSources { endpoint, sources } => {
                if let Some(place) = self.directory().find(endpoint) {
                    let (sources, conference) = (sources.into(), place.conference);
                    self.every(|| ShardOrder::SetSources { conference, endpoint, sources: Arc::clone(&sources) });
                }
            }
            Command::ForceMute { endpoint, audio, video } => {
                if let Some(place) = self.directory().find(endpoint) {
                    self.shard(place.shard, ShardOrder::ForceMute { endpoint, audio, video });
                }
            }
            Command::Decision { conference, output } => self.decision(conference, output),
            Command::SendMessage { to, text } => self.message(to, text),
            Command::RequestKeyframe { conference, source } => {
                let home = self.directory().home(conference);
                if let Some(home) = home {
                    let need = amphi_media::keyframe::Need::Repair;
                    let wish = amphi_media::keyframe::Wish { source, encoding: 0, need, requester: None, rtt: None };
                    self.shard(home, ShardOrder::Wish { conference, wish });
                }
            }
            Command::QueryConference { conference, reply } => {
                let home = self.directory().home(conference);
                if let Some(home) = home {
                    self.shard(home, ShardOrder::ConferenceStats { conference, reply });
                }
            }
            Command::QueryEndpoint { endpoint, reply } => {
                if let Some(place) = self.directory().find(endpoint) {
                    self.shard(place.shard, ShardOrder::EndpointStats { endpoint, reply });
                }
            }
            Command::Shutdown => {
                self.every(|| ShardOrder::Shutdown);
                for thread in 0..self.inner.transports.len() {
                    self.transport(thread, TransportOrder::Shutdown);
                }
            }
        }
        Ok(())
    }

    /// How the plane is doing. Shards that have ended are left out.
    pub async fn stats(&self) -> PlaneStats {
        let mut answers = Vec::new();
        for link in self.inner.shards.iter() {
            let (reply, answer) = oneshot::channel();
            link.order(ShardOrder::Stats(reply));
            answers.push(answer);
        }
        let mut stats = PlaneStats { up: self.inner.start.elapsed(), ..PlaneStats::default() };
        for answer in answers {
            if let Ok(shard) = answer.await {
                stats.total.add(&shard.counters);
                stats.shards.push(shard);
            }
        }
        stats
    }

    /// Waits for the end of all threads, after [`Command::Shutdown`].
    pub fn join(&self) {
        let threads = std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the media plane panicked");
            }
        }
    }

    fn add(&self, add: AddEndpoint) -> Result<(), PlaneError> {
        let AddEndpoint { id, conference, role, media, peer } = add;
        let ufrag = peer.local().ufrag;
        let thread = transport::demux::thread_of(&ufrag, self.inner.ufrag_prefix.len()).map_or(0, usize::from);
        let place = self.directory().add(id, conference, role, thread)?;
        // The shard first: keys may come at any time after.
        self.about(&place, ShardOrder::AddEndpoint { id, conference, role, media: Arc::new(media) });
        let endpoint = !matches!(role, Role::Relay { .. });
        let order = TransportOrder::Add { id, conference, endpoint, shard: place.shard, peer };
        match self.inner.later.get(place.thread) {
            // Its first datagram wakes the thread.
            Some(later) if place.silent => later.push(order),
            _ => self.transport(place.thread, order),
        }
        Ok(())
    }

    fn decision(&self, conference: amphi_media::ids::ConferenceId, output: amphi_media::conference::Output) {
        use amphi_media::conference::Output;
        let to_home = match &output {
            Output::Send { .. } | Output::Ignored { .. } => return,
            Output::SetClass { receiver, .. }
            | Output::AudioSkip { receiver, .. }
            | Output::AssumedBandwidth { receiver, .. }
            | Output::Spare { relay: receiver, .. } => {
                if let Some(place) = self.directory().find(*receiver) {
                    self.about(&place, ShardOrder::Decision { conference, output });
                }
                return;
            }
            Output::AudioSlots(_) | Output::AudioExempt(_) | Output::PrepareKeyframe(_) => true,
            Output::SlotSsrcs { .. } | Output::Class(_) | Output::ClassGone(_) | Output::DefaultAudioSkip(_) => false,
        };
        if to_home {
            let home = self.directory().home(conference);
            if let Some(home) = home {
                self.shard(home, ShardOrder::Decision { conference, output });
            }
        } else {
            self.every(|| ShardOrder::Decision { conference, output: output.clone() });
        }
    }

    fn message(&self, to: Recipients, text: Arc<str>) {
        match to {
            Recipients::One(id) => {
                if let Some(place) = self.directory().find(id) {
                    self.transport(place.thread, TransportOrder::SendMany { to: Arc::new([id]), text });
                }
            }
            // Each thread takes its own and skips the others.
            Recipients::Some(to) => {
                for thread in 0..self.inner.transports.len() {
                    self.transport(thread, TransportOrder::SendMany { to: to.clone(), text: text.clone() });
                }
            }
            Recipients::Conference(conference) => {
                for thread in 0..self.inner.transports.len() {
                    self.transport(thread, TransportOrder::SendConference { conference, text: text.clone() });
                }
            }
        }
    }

    fn shard(&self, shard: usize, order: ShardOrder) {
        if let Some(link) = self.inner.shards.get(shard) {
            link.order(order);
        }
    }

    /// An order about one endpoint, for its shard.
    fn about(&self, place: &Place, order: ShardOrder) {
        match self.inner.shards.get(place.shard) {
            Some(link) if place.silent => drop(link.order_later(order)),
            _ => self.shard(place.shard, order),
        }
    }

    fn every(&self, mut order: impl FnMut() -> ShardOrder) {
        self.inner.shards.iter().for_each(|link| {
            link.order(order());
        });
    }

    fn transport(&self, thread: usize, order: TransportOrder) {
        if let Some((orders, _)) = self.inner.transports.get(thread) {
            // Fails only when the thread has ended, and then nothing can be done.
            let _ = orders.send(order);
        }
    }
}

/// Addresses of this machine that media may be received on, for configurations that name none: all but loopback and link-local ones.
pub fn usable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unspecified() && ip.segments()[0] & 0xffc0 != 0xfe80,
    }
}
