//! Two ends and a network between them, in virtual time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::transport::{
    Certificate, Credentials, Fingerprint, LocalAddress, LocalTransport, Output, Peer, PeerConfig, PeerLimits, Receive,
    RemoteCandidate, RemoteTransport, SctpRole, Setup, Transmit,
};

pub(super) const STEP: Duration = Duration::from_millis(5);

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn certificate() -> Arc<Certificate> {
    Certificate::generate(SystemTime::now()).unwrap()
}

pub(super) fn config(base: &str, controlling: bool, sctp: Option<SctpRole>) -> PeerConfig {
    PeerConfig {
        controlling,
        certificate: certificate(),
        addresses: Arc::from([LocalAddress { base: address(base), public: None }]),
        advertise_private: true,
        credentials: Credentials::random("", 3),
        sctp,
        limits: Arc::new(PeerLimits::default()),
    }
}

/// What control makes of the other side's description.
pub(super) fn remote(local: &LocalTransport, setup: Setup, with_candidates: bool) -> RemoteTransport {
    let candidates = local.candidates.iter().filter(|_| with_candidates).map(|candidate| RemoteCandidate {
        kind: candidate.kind,
        address: candidate.address,
        priority: candidate.priority,
        foundation: candidate.foundation.clone(),
        generation: Some(candidate.generation),
    });
    RemoteTransport {
        ufrag: Some(local.ufrag.clone()),
        password: Some(local.password.clone()),
        generation: local.generation,
        candidates: candidates.collect(),
        fingerprints: vec![Fingerprint { setup: Some(setup), ..local.fingerprint.clone() }],
    }
}

/// A peer with everything that it said but datagrams.
pub(super) struct End {
    pub(super) peer: Peer,
    pub(super) said: Vec<Output>,
    pub(super) sent: Vec<Transmit>,
}

impl End {
    pub(super) fn new(now: Instant, config: PeerConfig) -> Self {
        Self { peer: Peer::new(now, config), said: Vec::new(), sent: Vec::new() }
    }

    pub(super) fn drain(&mut self) -> Vec<Transmit> {
        let mut transmits = Vec::new();
        while let Some(output) = self.peer.poll() {
            match output {
                Output::Transmit(transmit) => transmits.push(transmit),
                Output::Activity => {}
                other => self.said.push(other),
            }
        }
        self.sent.extend(transmits.iter().cloned());
        transmits
    }

    pub(super) fn tick(&mut self, now: Instant) {
        while self.peer.poll_timeout().is_some_and(|at| at <= now) {
            self.peer.handle_timeout(now);
            if self.peer.poll_timeout().is_some_and(|at| at <= now) {
                break;
            }
        }
    }

    pub(super) fn receive(&mut self, now: Instant, transmit: &Transmit) {
        let Transmit { source, destination, bytes } = transmit;
        self.peer.handle(now, Receive { source: *source, destination: *destination, bytes });
    }

    pub(super) fn keys(&self) -> Option<&crate::transport::Keys> {
        self.said.iter().find_map(|output| match output {
            Output::Keys(keys) => Some(&**keys),
            _ => None,
        })
    }

    pub(super) fn failure(&self) -> Option<&crate::transport::Failure> {
        self.said.iter().find_map(|output| match output {
            Output::Failed(failure) => Some(failure),
            _ => None,
        })
    }

    pub(super) fn has_channel(&self) -> bool {
        self.said.iter().any(|output| matches!(output, Output::ChannelOpen { .. }))
    }

    pub(super) fn messages(&self) -> Vec<&str> {
        self.said
            .iter()
            .filter_map(|output| match output {
                Output::ChannelMessage(text) => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }
}

/// What the network does to a datagram.
pub(super) type Filter = Box<dyn FnMut(&mut Transmit) -> bool>;

/// Two peers.
pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) left: End,
    pub(super) right: End,
    /// Datagrams for which it says no are lost; it may change them.
    pub(super) filter: Filter,
}

impl Pair {
    pub(super) fn new(left: PeerConfig, right: PeerConfig) -> Self {
        let now = Instant::now();
        Self { now, left: End::new(now, left), right: End::new(now, right), filter: Box::new(|_| true) }
    }

    /// Both sides learn of each other; `left` is `setup`.
    pub(super) fn introduce(&mut self, setup: Setup, with_candidates: bool) {
        let opposite = if setup == Setup::Active { Setup::Passive } else { Setup::Active };
        let left = remote(&self.left.peer.local(), setup, with_candidates);
        let right = remote(&self.right.peer.local(), opposite, with_candidates);
        self.left.peer.set_remote(self.now, &right);
        self.right.peer.set_remote(self.now, &left);
    }

    pub(super) fn step(&mut self) {
        self.now += STEP;
        self.left.tick(self.now);
        self.right.tick(self.now);
        for mut transmit in self.left.drain() {
            if (self.filter)(&mut transmit) {
                self.right.receive(self.now, &transmit);
            }
        }
        for mut transmit in self.right.drain() {
            if (self.filter)(&mut transmit) {
                self.left.receive(self.now, &transmit);
            }
        }
    }

    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.step();
        }
    }

    /// Runs until `done`; false if it was not within `limit`.
    pub(super) fn until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        while self.now < end {
            if done(self) {
                return true;
            }
            self.step();
        }
        done(self)
    }
}
