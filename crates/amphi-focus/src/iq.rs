//! IQs that wait for an answer. An answer counts only when it comes from the address that was asked.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_stanza::{BareJid, Jid, Stanza};

use crate::NodeId;

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Components,
    OwnerForm,
    OwnerSubmit,
    SeatsProbe,
    /// Reservations that the room judges.
    Seats(Vec<u64>),
    Connect,
    Disconnect,
    /// The last disconnect of a conference that ends.
    StopDisconnect,
    GrantOwner,
    Kick,
}

impl What {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Components => "components",
            Self::OwnerForm => "room form",
            Self::OwnerSubmit => "room configuration",
            Self::SeatsProbe | Self::Seats(_) => "seats",
            Self::Connect => "connect-vnode",
            Self::Disconnect | Self::StopDisconnect => "disconnect-vnode",
            Self::GrantOwner => "owner grant",
            Self::Kick => "kick",
        }
    }
}

/// Whom the answer is for.
#[derive(Clone, Debug)]
pub(crate) struct Purpose {
    /// The conference, or none for the focus itself.
    pub(crate) room: Option<BareJid>,
    /// The shadow room.
    pub(crate) vnode: Option<Arc<str>>,
    /// Which life of the room: answers to an earlier one are void.
    pub(crate) serial: u64,
    pub(crate) what: What,
}

/// An answer: the result stanza, or the name of the error.
pub(crate) type Answered = Result<Stanza, String>;

#[derive(Debug)]
struct Open<P> {
    node: NodeId,
    to: Jid,
    purpose: P,
}

/// All open IQs. The timeout is the same for all, so they expire in order.
#[derive(Debug)]
pub(crate) struct IqTable<P = Purpose> {
    open: HashMap<u64, Open<P>>,
    order: VecDeque<(Instant, u64)>,
    nonce: u32,
    next: u64,
}

impl<P> IqTable<P> {
    /// `nonce` keeps ids of different lives of the process apart.
    pub(crate) fn new(nonce: u32) -> Self {
        Self { open: HashMap::new(), order: VecDeque::new(), nonce, next: 0 }
    }

    /// Registers a question; returns the id of the stanza.
    pub(crate) fn ask(&mut self, now: Instant, timeout: Duration, node: NodeId, to: Jid, purpose: P) -> String {
        self.next += 1;
        self.open.insert(self.next, Open { node, to, purpose });
        self.order.push_back((now + timeout, self.next));
        format!("{:x}-{}", self.nonce, self.next)
    }

    /// What this is the answer to.
    pub(crate) fn take(&mut self, node: &NodeId, stanza: &Stanza) -> Option<P> {
        let id = stanza.id()?;
        let (nonce, n) = id.split_once('-')?;
        if u32::from_str_radix(nonce, 16) != Ok(self.nonce) {
            return None;
        }
        let n: u64 = n.parse().ok()?;
        let from = stanza.from().ok()??;
        let open = self.open.get(&n)?;
        if open.node != *node || open.to != from {
            return None;
        }
        self.open.remove(&n).map(|o| o.purpose)
    }

    /// The next question that was not answered in time.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<P> {
        self.expired_from(now).map(|(_, purpose)| purpose)
    }

    /// As [`IqTable::expired`], with the node that was silent.
    pub(crate) fn expired_from(&mut self, now: Instant) -> Option<(NodeId, P)> {
        self.trim();
        let (deadline, id) = *self.order.front()?;
        if deadline > now {
            return None;
        }
        self.order.pop_front();
        self.open.remove(&id).map(|o| (o.node, o.purpose))
    }

    /// All questions to a node whose connection is lost for good, in their order.
    pub(crate) fn take_all(&mut self, node: &NodeId) -> Vec<P> {
        let mut ids: Vec<u64> = self.open.iter().filter(|(_, o)| o.node == *node).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.open.remove(&id)).map(|o| o.purpose).collect()
    }

    /// The next question to a node whose connection is lost for good.
    pub(crate) fn lost(&mut self, node: &NodeId) -> Option<P> {
        let id = *self.open.iter().filter(|(_, o)| o.node == *node).map(|(id, _)| id).min()?;
        self.open.remove(&id).map(|o| o.purpose)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.order.iter().find(|(_, id)| self.open.contains_key(id)).map(|(at, _)| *at)
    }

    /// Answered ones at the front are in nobody's way.
    pub(crate) fn trim(&mut self) {
        while self.order.front().is_some_and(|(_, id)| !self.open.contains_key(id)) {
            self.order.pop_front();
        }
    }
}

impl IqTable {
    /// Whose answer this is.
    pub(crate) fn answer(&mut self, node: &NodeId, stanza: &Stanza) -> Option<(Purpose, Answered)> {
        let purpose = self.take(node, stanza)?;
        let answered = if stanza.ty().as_deref() == Some("error") {
            let error = stanza.children().find(|e| e.name() == "error");
            Err(error.and_then(|e| e.children().next()).map_or("error", |c| c.name()).to_owned())
        } else {
            Ok(stanza.clone())
        };
        Some((purpose, answered))
    }
}
