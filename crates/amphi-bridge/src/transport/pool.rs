//! All peers of one transport thread: who gets a datagram, whose turn it is, and what they say, in batches.
//!
//! The thread that owns a pool owns its sockets and clock too: it gives datagrams and commands in, and after that drains
//! [`Pool::transmits`] and [`Pool::events`]. Shards learn 5-tuples, pairs and keys from events, control the rest.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use amphi_media::ids::EndpointId;
use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::demux::{self, Kind};
use super::schedule::{Schedule, Ticket};
use super::{Command, Event, Failure, Heard, Output, Peer, PoolCounters, PoolLimits, Receive, Transmit};

/// STUN transactions by which answers find their peer, per peer. The agent waits for 9 per pair.
const TRANSACTIONS: usize = 18;
/// A peer that is due at once gets its turn after this, so that none can hold the thread.
const SOONEST: Duration = Duration::from_millis(1);

/// Runs a peer. Should one of the protocol libraries panic on what somebody sent, it takes that one peer along, not the thread.
fn guarded<T>(run: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).ok()
}

type Tuple = (SocketAddr, SocketAddr);

#[derive(Debug)]
struct Entry {
    id: EndpointId,
    peer: Box<Peer>,
    stamp: u32,
    /// The earliest entry of this peer in the schedule.
    scheduled: Option<Instant>,
    ufrags: SmallVec<[Box<str>; 1]>,
    ufrag_changes: u32,
    bound: SmallVec<[Tuple; 1]>,
    transactions: VecDeque<[u8; 12]>,
}

#[derive(Clone, Copy, Debug)]
struct Binding {
    slot: u32,
    heard: Instant,
    /// The peer answered a check of ours from there.
    proven: bool,
}

/// All peers of one transport thread.
#[derive(Debug)]
pub struct Pool {
    limits: PoolLimits,
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    stamp: u32,
    ids: HashMap<EndpointId, u32, RandomState>,
    ufrags: HashMap<Box<str>, u32, RandomState>,
    bindings: HashMap<Tuple, Binding, RandomState>,
    transactions: HashMap<[u8; 12], u32, RandomState>,
    schedule: Schedule,
    transmits: Vec<Transmit>,
    events: Vec<(EndpointId, Event)>,
    counters: PoolCounters,
}

impl Pool {
    /// A pool without peers.
    pub fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            slots: Vec::new(),
            free: Vec::new(),
            stamp: 0,
            ids: HashMap::default(),
            ufrags: HashMap::default(),
            bindings: HashMap::default(),
            transactions: HashMap::default(),
            schedule: Schedule::default(),
            transmits: Vec::new(),
            events: Vec::new(),
            counters: PoolCounters::default(),
        }
    }

    /// Does what control wants. Commands for peers that are gone do nothing: their end was told.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Add { id, peer } => self.add(now, id, peer),
            Command::SetRemote { id, remote } => {
                self.with(now, id, |peer| {
                    peer.set_remote(now, &remote);
                    None
                });
            }
            Command::Restart { id } => self.with(now, id, |peer| Some(Event::Restart(peer.restart(now)))),
            Command::Send { id, text } => {
                self.with(now, id, |peer| peer.send_channel(now, &text).err().map(Event::SendFailed));
            }
            Command::Remove { id } => {
                let Some(slot) = self.ids.get(&id).copied() else { return };
                self.with(now, id, |peer| {
                    peer.close(now);
                    None
                });
                self.remove(slot);
            }
        }
    }

    fn add(&mut self, now: Instant, id: EndpointId, peer: Box<Peer>) {
        if let Some(slot) = self.ids.get(&id).copied() {
            self.remove(slot);
        }
        if self.ids.len() >= self.limits.peers {
            self.events.push((id, Event::Refused));
            return;
        }
        self.stamp = self.stamp.wrapping_add(1);
        let entry = Entry {
            id,
            // Differs from the peer's count, so that the index is made below.
            ufrag_changes: peer.ufrag_changes.wrapping_sub(1),
            peer,
            stamp: self.stamp,
            scheduled: None,
            ufrags: SmallVec::new(),
            bound: SmallVec::new(),
            transactions: VecDeque::new(),
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(entry);
                slot
            }
            None => {
                self.slots.push(Some(entry));
                (self.slots.len() - 1) as u32
            }
        };
        self.ids.insert(id, slot);
        self.settle(now, slot);
    }

    fn entry(&mut self, slot: u32) -> Option<&mut Entry> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    fn with(&mut self, now: Instant, id: EndpointId, act: impl FnOnce(&mut Peer) -> Option<Event>) {
        let Some(slot) = self.ids.get(&id).copied() else { return };
        let Some(entry) = self.entry(slot) else { return };
        match guarded(|| act(&mut entry.peer)) {
            Some(event) => self.events.extend(event.map(|event| (id, event))),
            None => return self.broken(slot),
        }
        self.settle(now, slot);
    }

    /// Takes a STUN or DTLS datagram. What is nobody's is dropped.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Receive<'_>) {
        let tuple = (datagram.destination, datagram.source);
        let by_tuple = self.bindings.get(&tuple).map(|binding| binding.slot);
        let slot = match demux::classify(datagram.bytes) {
            Kind::Stun => match demux::stun_local_ufrag(datagram.bytes) {
                Some(ufrag) => self.ufrags.get(ufrag).copied(),
                None => demux::stun_transaction(datagram.bytes)
                    .and_then(|transaction| self.transactions.get(&transaction).copied())
                    .or(by_tuple),
            },
            Kind::Dtls => by_tuple,
            Kind::Rtp | Kind::Rtcp | Kind::Other => None,
        };
        let Some((slot, entry)) = slot.and_then(|slot| Some((slot, self.slots.get_mut(slot as usize)?.as_mut()?)))
        else {
            self.counters.unroutable += 1;
            return;
        };
        match guarded(|| entry.peer.handle(now, datagram)) {
            Some(Heard::Nothing) => {}
            Some(heard) => self.bind(now, slot, tuple, heard),
            None => return self.broken(slot),
        }
        self.settle(now, slot);
    }

    /// An authentic STUN message of this peer came on this 5-tuple (`spec/bridge.md` 2.1).
    fn bind(&mut self, now: Instant, slot: u32, tuple: Tuple, heard: Heard) {
        let proven = heard == Heard::Response;
        match self.bindings.get_mut(&tuple) {
            Some(binding) if binding.slot == slot => {
                binding.heard = now;
                if proven && !binding.proven {
                    binding.proven = true;
                    if let Some(id) = self.entry(slot).map(|entry| entry.id) {
                        self.events.push((id, Event::Bound { local: tuple.0, remote: tuple.1, proven }));
                    }
                }
                return;
            }
            Some(binding) => {
                let held = now.saturating_duration_since(binding.heard) < self.limits.binding_hold;
                if held && heard == Heard::Request {
                    return;
                }
                let former = binding.slot;
                self.counters.rebound += 1;
                self.unbind(former, tuple);
            }
            None => {}
        }
        self.bindings.insert(tuple, Binding { slot, heard: now, proven });
        let limit = self.limits.bindings.max(1);
        let Some(entry) = self.entry(slot) else { return };
        entry.bound.push(tuple);
        let id = entry.id;
        let oldest = (entry.bound.len() > limit).then(|| entry.bound[0]);
        self.events.push((id, Event::Bound { local: tuple.0, remote: tuple.1, proven }));
        if let Some(oldest) = oldest {
            self.unbind(slot, oldest);
        }
    }

    fn unbind(&mut self, slot: u32, tuple: Tuple) {
        self.bindings.remove(&tuple);
        let Some(entry) = self.entry(slot) else { return };
        entry.bound.retain(|bound| *bound != tuple);
        let id = entry.id;
        self.events.push((id, Event::Unbound { local: tuple.0, remote: tuple.1 }));
    }

    /// After a peer was touched: what it says, its ufrags, its next turn.
    fn settle(&mut self, now: Instant, slot: u32) {
        let Some(entry) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let mut failed = false;
        while let Some(output) = entry.peer.poll() {
            let event = match output {
                Output::Transmit(transmit) => {
                    if demux::is_stun_request(&transmit.bytes)
                        && let Some(transaction) = demux::stun_transaction(&transmit.bytes)
                    {
                        if entry.transactions.len() >= TRANSACTIONS
                            && let Some(oldest) = entry.transactions.pop_front()
                        {
                            self.transactions.remove(&oldest);
                        }
                        entry.transactions.push_back(transaction);
                        self.transactions.insert(transaction, slot);
                    }
                    self.transmits.push(transmit);
                    continue;
                }
                Output::Connected { local, remote } => Event::Connected { local, remote },
                Output::Selected { local, remote } => Event::Selected { local, remote },
                Output::Keys(keys) => Event::Keys(keys),
                Output::ChannelOpen { label, protocol } => Event::ChannelOpen { label, protocol },
                Output::ChannelMessage(text) => Event::ChannelMessage(text),
                Output::ChannelClosed => Event::ChannelClosed,
                Output::Activity => Event::Activity,
                Output::RestartAbandoned => Event::RestartAbandoned,
                Output::Restarted(local) => Event::Restarted(local),
                Output::Failed(failure) => {
                    failed = true;
                    Event::Failed(failure)
                }
            };
            self.events.push((entry.id, event));
        }
        if failed {
            self.remove(slot);
            return;
        }
        if entry.ufrag_changes != entry.peer.ufrag_changes {
            entry.ufrag_changes = entry.peer.ufrag_changes;
            for ufrag in entry.ufrags.drain(..) {
                self.ufrags.remove(&ufrag);
            }
            entry.ufrags = entry.peer.ufrags().map(Box::from).collect();
            for ufrag in &entry.ufrags {
                self.ufrags.insert(ufrag.clone(), slot);
            }
        }
        if let Some(due) = entry.peer.poll_timeout() {
            let due = due.max(now + SOONEST);
            if entry.scheduled.is_none_or(|scheduled| due < scheduled) {
                entry.scheduled = Some(due);
                let ticket: Ticket = (slot, entry.stamp);
                self.schedule.push(due, ticket);
            }
        }
    }

    fn remove(&mut self, slot: u32) {
        let Some(entry) = self.slots.get_mut(slot as usize).and_then(Option::take) else { return };
        self.free.push(slot);
        self.ids.remove(&entry.id);
        for ufrag in &entry.ufrags {
            self.ufrags.remove(ufrag);
        }
        for transaction in &entry.transactions {
            self.transactions.remove(transaction);
        }
        for tuple in &entry.bound {
            self.bindings.remove(tuple);
            self.events.push((entry.id, Event::Unbound { local: tuple.0, remote: tuple.1 }));
        }
        let counters = entry.peer.counters();
        let sums = &mut self.counters.peers;
        sums.rejected_stun += counters.rejected_stun;
        sums.rejected_dtls += counters.rejected_dtls;
        sums.rejected_channels += counters.rejected_channels;
        sums.ignored_messages += counters.ignored_messages;
    }

    /// A peer's code failed: it goes, the others stay.
    fn broken(&mut self, slot: u32) {
        self.counters.broken += 1;
        if let Some(entry) = self.entry(slot) {
            let id = entry.id;
            self.events.push((id, Event::Failed(Failure::Internal)));
        }
        self.remove(slot);
    }

    /// Lets those peers work whose time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, (slot, stamp))) = self.schedule.pop_due(now) {
            let Some(entry) = self.entry(slot) else { continue };
            if entry.stamp != stamp || entry.scheduled != Some(at) {
                continue;
            }
            entry.scheduled = None;
            if entry.peer.poll_timeout().is_some_and(|due| due <= now)
                && guarded(|| entry.peer.handle_timeout(now)).is_none()
            {
                self.broken(slot);
                continue;
            }
            self.settle(now, slot);
        }
    }

    /// When [`Pool::handle_timeout`] is to be called at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.schedule.next()
    }

    /// Datagrams to send, in order.
    pub fn transmits(&mut self) -> std::vec::Drain<'_, Transmit> {
        self.transmits.drain(..)
    }

    /// What happened, in order.
    pub fn events(&mut self) -> std::vec::Drain<'_, (EndpointId, Event)> {
        self.events.drain(..)
    }

    /// A peer, to look at.
    pub fn peer(&self, id: EndpointId) -> Option<&Peer> {
        let slot = self.ids.get(&id)?;
        self.slots.get(*slot as usize)?.as_ref().map(|entry| &*entry.peer)
    }

    /// Peers in the pool.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Entries of the indices: ids, ufrags, 5-tuples, transactions.
    #[cfg(test)]
    pub(super) fn left_over(&self) -> [usize; 4] {
        [self.ids.len(), self.ufrags.len(), self.bindings.len(), self.transactions.len()]
    }

    /// What was counted.
    pub fn counters(&self) -> PoolCounters {
        self.counters
    }
}
