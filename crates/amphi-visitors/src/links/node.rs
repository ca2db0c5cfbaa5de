//! One node as its main room knows it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use amphi_stanza::FullJid;

use crate::wire::TranscriptionLanguages;

/// Hosts of a node (`spec/signaling.md` 1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddresses {
    /// Virtual host of the audience, `v1.meet.jitsi`.
    pub host: String,
    /// MUC host, `conference.v1.meet.jitsi`.
    pub muc: String,
}

impl NodeAddresses {
    /// Hosts of the node called `vnode`; `None` if that cannot be a part of a host name.
    pub fn new(vnode: &str, prefix: &str, suffix: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if vnode.is_empty() || vnode.len() > 63 || !vnode.bytes().all(plain) {
            return None;
        }
        Some(Self { host: format!("{vnode}.{suffix}"), muc: format!("{prefix}.{vnode}.{suffix}") })
    }
}

/// How the link to a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Told everything, and it has confirmed the last synchronisation.
    Connected,
    /// A synchronisation is under way, or the node has no room for it yet.
    Stale,
    /// Not reachable since then.
    Down(Instant),
}

/// What runs on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Has not answered yet.
    Unknown,
    /// Knows the common protocol.
    Stock,
    /// Knows our extension.
    Ours,
}

/// An IQ whose answer is awaited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    /// Number in its id.
    pub(super) n: u64,
    /// When it counts as lost.
    pub(super) due: Instant,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) addr: NodeAddresses,
    pub(super) kind: Kind,
    /// Since when the link is reported down.
    pub(super) down: Option<Instant>,
    /// Whether the link was ever reported up.
    pub(super) was_up: bool,
    /// The link was lost since the focus connected the node: perhaps the node, too, and its room.
    pub(super) lost: bool,
    /// Something happened while the link was down.
    pub(super) missed: bool,
    /// The node said that it has no room for us: only a new connect-vnode helps.
    pub(super) roomless: bool,
    /// Whom the node believes to be there: nick and the real address it was told.
    pub(super) told: BTreeMap<String, FullJid>,
    /// Who left, with the number of the first IQ whose answer confirms it.
    pub(super) left: VecDeque<(u64, String, FullJid)>,
    /// Last chat line sent.
    pub(super) cursor: u64,
    /// Last line that went as history: it and all before are not sent as chat.
    pub(super) base: u64,
    /// History was sent, or lost, and its arrival is not confirmed.
    pub(super) owed_history: bool,
    /// Number of the `update` that began the last synchronisation: answers to earlier IQs are about another room.
    pub(super) since: u64,
    /// The `connect` that ends the running synchronisation. Chat waits for its answer, which says what the node has.
    pub(super) syncing: Option<Awaited>,
    /// The checkpoint whose answer is awaited.
    pub(super) checking: Option<Awaited>,
    /// When to send a checkpoint.
    pub(super) check_at: Option<Instant>,
    /// Synchronisations in a row that were not answered.
    pub(super) tries: u32,
    /// Since when no answer came although one was due.
    pub(super) silent: Option<Instant>,
    pub(super) langs: TranscriptionLanguages,
}

impl Node {
    pub(super) fn new(addr: NodeAddresses) -> Self {
        Self {
            addr,
            kind: Kind::Unknown,
            down: None,
            was_up: false,
            lost: false,
            missed: false,
            roomless: false,
            told: BTreeMap::new(),
            left: VecDeque::new(),
            cursor: 0,
            base: 0,
            owed_history: false,
            since: 0,
            syncing: None,
            checking: None,
            check_at: None,
            tries: 0,
            silent: None,
            langs: TranscriptionLanguages::default(),
        }
    }

    pub(super) fn state(&self) -> NodeState {
        match self.down {
            Some(t) => NodeState::Down(t),
            None if self.syncing.is_some() || self.roomless => NodeState::Stale,
            None => NodeState::Connected,
        }
    }

    /// Whether anything may be sent.
    pub(super) fn reachable(&self) -> bool {
        self.down.is_none() && !self.roomless
    }

    /// The next thing that happens by itself. A node that is down or roomless is only given up.
    pub(super) fn timeout(&self, unreachable: std::time::Duration) -> Option<Instant> {
        let give_up = [self.down, self.silent].into_iter().flatten().min().map(|t| t + unreachable);
        let due = [self.syncing.map(|a| a.due), self.checking.map(|a| a.due), self.check_at];
        let own = due.into_iter().flatten().min().filter(|_| self.reachable());
        [give_up, own].into_iter().flatten().min()
    }

    /// Everything sent before the IQ with number `n` has arrived.
    pub(super) fn confirm(&mut self, n: u64) {
        while self.left.front().is_some_and(|(mark, ..)| *mark <= n) {
            self.left.pop_front();
        }
        self.silent = None;
        self.tries = 0;
    }
}
