//! The transport threads: each runs a pool of peers (ICE, DTLS, SCTP), fed with datagrams by the shards, and sends through the shards' socket.
//! Says addresses and keys to shards, the rest to control.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_media::ids::{ConferenceId, EndpointId};
use crossbeam_channel::Receiver;
use foldhash::{HashMap, HashMapExt};

use super::event::Event;
use super::mailbox::{EventSink, Later};
use super::shard::{ShardLink, ShardOrder};
use super::socket::Socket;
use crate::transport::{self, Pool, Receive};

/// What a transport thread is told.
pub(super) enum TransportOrder {
    /// A new peer; its media belongs to a shard. `endpoint`: it is no relay.
    Add { id: EndpointId, conference: ConferenceId, endpoint: bool, shard: usize, peer: Box<transport::Peer> },
    /// Anything else for the pool.
    Pool(transport::Command),
    /// A message to many.
    SendMany { to: Arc<[EndpointId]>, text: Arc<str> },
    /// A message to all endpoints of a conference.
    SendConference { conference: ConferenceId, text: Arc<str> },
    /// The end.
    Shutdown,
}

/// A STUN or DTLS datagram.
pub(super) struct Handshake {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) bytes: Box<[u8]>,
}

/// What a transport thread reads from.
pub(super) struct Inputs {
    pub(super) orders: Receiver<TransportOrder>,
    /// Taken before each of the others.
    pub(super) later: Later<TransportOrder>,
    pub(super) datagrams: Receiver<Handshake>,
}

struct Owner {
    shard: usize,
    endpoint: bool,
    conference: ConferenceId,
    open: bool,
}

/// One transport thread.
pub(super) struct TransportThread {
    index: usize,
    pool: Pool,
    inputs: Inputs,
    /// By local address.
    sockets: Vec<(SocketAddr, Socket)>,
    shards: Arc<[ShardLink]>,
    events: EventSink,
    owners: HashMap<EndpointId, Owner>,
    running: bool,
}

/// Inputs of one kind that are taken before others get their turn.
const BURST: usize = 256;
/// Longest sleep, so that events that wait for control are tried again.
const IDLE: Duration = Duration::from_secs(1);

impl TransportThread {
    pub(super) fn new(
        index: usize,
        pool: Pool,
        inputs: Inputs,
        sockets: Vec<(SocketAddr, Socket)>,
        shards: Arc<[ShardLink]>,
        events: EventSink,
    ) -> Self {
        Self { index, pool, inputs, sockets, shards, events, owners: HashMap::new(), running: true }
    }

    /// Until [`TransportOrder::Shutdown`] or the end of all who could say it.
    pub(super) fn run(mut self) {
        while self.running {
            let now = Instant::now();
            let idle = if self.events.waits() { Duration::from_millis(5) } else { IDLE };
            let deadline = self.pool.poll_timeout().map_or(now + idle, |at| at.min(now + idle));
            crossbeam_channel::select! {
                recv(self.inputs.orders) -> order => match order {
                    Ok(order) => self.order(order),
                    Err(_) => return,
                },
                recv(self.inputs.datagrams) -> datagram => match datagram {
                    Ok(datagram) => self.datagram(&datagram),
                    Err(_) => return,
                },
                default(deadline.saturating_duration_since(now)) => self.take_later(),
            }
            for _ in 0..BURST {
                let Ok(order) = self.inputs.orders.try_recv() else { break };
                self.order(order);
            }
            for _ in 0..BURST {
                let Ok(datagram) = self.inputs.datagrams.try_recv() else { break };
                self.datagram(&datagram);
            }
            let now = Instant::now();
            if self.pool.poll_timeout().is_some_and(|at| at <= now) {
                self.pool.handle_timeout(now);
            }
            self.drain();
            self.events.flush();
        }
    }

    fn datagram(&mut self, datagram: &Handshake) {
        self.take_later();
        let receive = Receive { source: datagram.remote, destination: datagram.local, bytes: &datagram.bytes };
        self.pool.handle_datagram(Instant::now(), receive);
    }

    fn take_later(&mut self) {
        for order in self.inputs.later.take() {
            self.carry_out(order);
        }
    }

    fn order(&mut self, order: TransportOrder) {
        self.take_later();
        self.carry_out(order);
    }

    fn carry_out(&mut self, order: TransportOrder) {
        let now = Instant::now();
        match order {
            TransportOrder::Add { id, conference, endpoint, shard, peer } => {
                self.owners.insert(id, Owner { shard, conference, endpoint, open: false });
                self.pool.handle_command(now, transport::Command::Add { id, peer });
            }
            TransportOrder::Pool(command) => {
                let gone = if let transport::Command::Remove { id } = &command { Some(*id) } else { None };
                self.pool.handle_command(now, command);
                if let Some(id) = gone {
                    // What the pool still says of it (unbound addresses) goes to all shards and needs no owner.
                    self.drain();
                    self.owners.remove(&id);
                }
            }
            TransportOrder::SendMany { to, text } => {
                for id in to.iter().filter(|id| self.owners.get(id).is_some_and(|owner| owner.open)) {
                    self.pool.handle_command(now, transport::Command::Send { id: *id, text: text.clone() });
                }
            }
            TransportOrder::SendConference { conference, text } => {
                let open = self
                    .owners
                    .iter()
                    .filter(|(_, owner)| owner.open && owner.endpoint && owner.conference == conference);
                for (id, _) in open {
                    self.pool.handle_command(now, transport::Command::Send { id: *id, text: text.clone() });
                }
            }
            TransportOrder::Shutdown => self.running = false,
        }
    }

    fn drain(&mut self) {
        for transmit in self.pool.transmits() {
            if let Some((_, socket)) = self.sockets.iter().find(|(local, _)| *local == transmit.source) {
                // A datagram that does not go out is repeated by ICE, DTLS or SCTP.
                let _ = socket.send(&transmit.bytes, transmit.destination);
            }
        }
        let mut active = Vec::new();
        for (endpoint, event) in self.pool.events() {
            let owner = self.owners.get_mut(&endpoint);
            match event {
                transport::Event::Bound { local, remote, proven } => {
                    let Some(owner) = owner else { continue };
                    let (shard, thread) = (owner.shard, self.index);
                    for link in self.shards.iter() {
                        link.order(ShardOrder::Bind { local, remote, endpoint, shard, thread, proven });
                    }
                }
                transport::Event::Unbound { local, remote } => {
                    for link in self.shards.iter() {
                        link.order(ShardOrder::Unbind { local, remote, endpoint });
                    }
                }
                transport::Event::Selected { local, remote } => {
                    let Some(link) = owner.and_then(|owner| self.shards.get(owner.shard)) else { continue };
                    link.order(ShardOrder::Selected { endpoint, local, remote });
                }
                transport::Event::Keys(keys) => {
                    let Some(link) = owner.and_then(|owner| self.shards.get(owner.shard)) else { continue };
                    link.order(ShardOrder::Keys { endpoint, keys });
                    self.events.tell(Event::Connected { endpoint });
                }
                transport::Event::Connected { .. } => {}
                transport::Event::ChannelOpen { .. } => {
                    if let Some(owner) = owner {
                        owner.open = true;
                    }
                    self.events.tell(Event::ChannelOpen { endpoint });
                }
                transport::Event::ChannelMessage(text) => self.events.offer(Event::ChannelMessage { endpoint, text }),
                transport::Event::ChannelClosed => {
                    if let Some(owner) = owner {
                        owner.open = false;
                    }
                    self.events.tell(Event::ChannelClosed { endpoint });
                }
                transport::Event::Activity => active.push(endpoint),
                transport::Event::Restart(result) => self.events.tell(Event::Restart { endpoint, result }),
                transport::Event::Restarted(local) => self.events.tell(Event::Restarted { endpoint, local }),
                transport::Event::RestartAbandoned => self.events.tell(Event::RestartAbandoned { endpoint }),
                transport::Event::SendFailed(reason) => self.events.tell(Event::SendFailed { endpoint, reason }),
                transport::Event::Failed(reason) => {
                    if let Some(owner) = self.owners.remove(&endpoint)
                        && let Some(link) = self.shards.get(owner.shard)
                    {
                        link.order(ShardOrder::Disconnected { endpoint });
                    }
                    self.events.tell(Event::Failed { endpoint, reason });
                }
                transport::Event::Refused => {
                    self.owners.remove(&endpoint);
                    self.events.tell(Event::Refused { endpoint });
                }
            }
        }
        if !active.is_empty() {
            self.events.tell(Event::Activity { endpoints: active });
        }
    }
}
