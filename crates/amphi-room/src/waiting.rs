//! Joins that wait: for the focus, for the main node, or for their turn. In order, found by address, bounded by the caller.

use std::collections::{BTreeMap, HashMap};

use amphi_stanza::{Jid, Stanza, ns};
use foldhash::fast::RandomState;

use crate::occupant::Peer;

/// Somebody who wants to come in.
#[derive(Clone, Debug)]
pub(crate) struct Join {
    pub(crate) peer: Peer,
    pub(crate) nick: String,
    pub(crate) stanza: Stanza,
    /// Its turn has come: the pace is not asked again.
    pub(crate) paced: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Waiting {
    joins: BTreeMap<u64, Join>,
    by_jid: HashMap<Jid, u64, RandomState>,
    next: u64,
}

impl Waiting {
    pub(crate) fn len(&self) -> usize {
        self.joins.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.joins.is_empty()
    }

    pub(crate) fn has(&self, jid: &Jid) -> bool {
        self.by_jid.contains_key(jid)
    }

    /// Takes a place at the end, or keeps the one that this address has.
    pub(crate) fn push(&mut self, join: Join) {
        let ticket = *self.by_jid.entry(join.peer.jid.clone()).or_insert_with(|| {
            self.next += 1;
            self.next
        });
        self.joins.insert(ticket, join);
    }

    pub(crate) fn pop(&mut self) -> Option<Join> {
        let (_, join) = self.joins.pop_first()?;
        self.by_jid.remove(&join.peer.jid);
        Some(join)
    }

    pub(crate) fn remove(&mut self, jid: &Jid) -> Option<Join> {
        self.joins.remove(&self.by_jid.remove(jid)?)
    }

    /// Presence that comes after the join and before the entry: it replaces what the join says, but stays a join.
    pub(crate) fn update(&mut self, jid: &Jid, presence: &Stanza) -> bool {
        let Some(join) = self.by_jid.get(jid).and_then(|t| self.joins.get_mut(t)) else { return false };
        let x = join.stanza.child("x", ns::MUC).map(|x| x.standalone()).unwrap_or_default();
        join.stanza = presence
            .rewrite()
            .append(|w| {
                w.raw(&x);
            })
            .stanza();
        true
    }

    pub(crate) fn take_all(&mut self) -> Vec<Join> {
        self.by_jid.clear();
        std::mem::take(&mut self.joins).into_values().collect()
    }
}
