//! Telling a node everything, finding out what it has, and giving it up (`spec/signaling.md` 4.5, 4.13).
//!
//! One synchronisation is the leaving of those who are gone, `update`, history, presences, `connect`; its marks let a node of ours drop whom it was not told
//! again. Chat waits for the answer, which says which line such a node has last. A stock node is told by name who left.

use std::time::{Duration, Instant};

use amphi_stanza::{Stanza, XmlWriter, ns};

use super::lines::Entry;
use super::node::{Awaited, Kind, Node};
use super::{Action, MainLinks, NodeAddresses};
use crate::wire::{Checkpoint, Line, Payload, Sync, Update, support_of};

impl MainLinks {
    /// The focus wants `vnode` to mirror the room. Repeated for a connected node it means that the node's room is new:
    /// everything is told again.
    ///
    /// Returns nothing to do if the name cannot be one, or too many nodes are connected: see
    /// [`MainLinks::can_connect`].
    pub fn connect_vnode(&mut self, now: Instant, vnode: &str) -> Vec<Action> {
        let mut out = Vec::new();
        if !self.can_connect(vnode) {
            return out;
        }
        let Some(addr) = NodeAddresses::new(vnode, &self.addr.muc_prefix, &self.addr.node_suffix) else { return out };
        let known = self.nodes.remove(vnode);
        // A stock node would store the history twice, so it gets it only if its room was lost. One of ours knows.
        let history = known.as_ref().is_none_or(|n| n.kind == Kind::Ours || n.roomless || n.lost || n.silent.is_some());
        let mut node = known.unwrap_or_else(|| Node::new(addr));
        // The focus has a connection to it, so it is worth a try, whatever was reported of the link.
        node.down = None;
        node.roomless = false;
        node.owed_history |= history;
        node.lost = false;
        self.sync(now, &mut node, history, &mut out);
        self.nodes.insert(vnode.to_owned(), node);
        self.promotions.activate();
        out
    }

    /// Whether `vnode` is a name that a node can have, and there is room for it.
    pub fn can_connect(&self, vnode: &str) -> bool {
        NodeAddresses::new(vnode, &self.addr.muc_prefix, &self.addr.node_suffix).is_some()
            && (self.nodes.contains_key(vnode) || self.nodes.len() < self.config.max_nodes)
    }

    /// The focus no longer uses `vnode`.
    pub fn disconnect_vnode(&mut self, now: Instant, vnode: &str) -> Vec<Action> {
        let mut out = Vec::new();
        if let Some(node) = self.forget(vnode, &mut out) {
            out.extend(self.link_iq(&node.addr, Payload::Disconnect).map(|(_, s)| Action::Send(s)));
        }
        self.line_changed(now, &mut out);
        out
    }

    /// The main room is gone.
    pub fn destroyed(&mut self, now: Instant) -> Vec<Action> {
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        names.iter().flat_map(|n| self.disconnect_vnode(now, n)).collect()
    }

    fn forget(&mut self, vnode: &str, out: &mut Vec<Action>) -> Option<Node> {
        let node = self.nodes.remove(vnode)?;
        for p in self.promotions.node_gone(&node.addr.host) {
            self.tell_hand(&p.visitor, p.nick.as_deref(), false, None, out);
        }
        if self.nodes.is_empty() {
            self.promotions.deactivate();
        }
        self.sum_languages(out);
        Some(node)
    }

    /// The link to the MUC host of a node came up. A loss is reported by [`MainLinks::link_down`] before; without that, the
    /// first report after connect-vnode counts as the opening of the link, in which nothing was lost. `fresh`: nothing sent earlier may be relied upon.
    pub fn link_up(&mut self, now: Instant, domain: &str, fresh: bool) -> Vec<Action> {
        let mut out = Vec::new();
        let Some(vnode) = self.vnode_of(domain) else { return out };
        let Some(mut node) = self.nodes.remove(&vnode) else { return out };
        let first = !node.was_up && node.down.is_none();
        node.was_up = true;
        node.down = None;
        node.lost |= fresh;
        if node.roomless {
            // Its room comes with the focus, who says so.
        } else if node.missed || (fresh && !(first && node.syncing.is_some())) {
            // Without a loss, what was sent before arrives; a stock node would store a second history as well.
            let history = fresh && node.owed_history && node.kind != Kind::Stock;
            self.sync(now, &mut node, history, &mut out);
        } else {
            node.silent = None;
            for a in [&mut node.syncing, &mut node.checking].into_iter().flatten() {
                a.due = now + self.config.answer_within;
            }
        }
        self.nodes.insert(vnode, node);
        out
    }

    /// The link to the MUC host of a node was lost. From now on nothing is sent to it.
    pub fn link_down(&mut self, now: Instant, domain: &str) -> Vec<Action> {
        if let Some(vnode) = self.vnode_of(domain)
            && let Some(node) = self.nodes.get_mut(&vnode)
        {
            node.down.get_or_insert(now);
            node.lost = true;
        }
        Vec::new()
    }

    fn vnode_of(&self, domain: &str) -> Option<String> {
        self.nodes.iter().find(|(_, n)| n.addr.muc == domain).map(|(name, _)| name.clone())
    }

    /// When [`MainLinks::tick`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let nodes = self.nodes.values().filter_map(|n| n.timeout(self.config.unreachable_after));
        nodes.chain(self.places.due).min()
    }

    /// Does what is due: asks nodes, tells them again, gives them up.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        let mut out = Vec::new();
        if self.places.due.is_some_and(|t| t <= now) {
            self.tell_places(now, &mut out);
        }
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        for vnode in names {
            let Some(mut node) = self.nodes.remove(&vnode) else { continue };
            let lost = [node.down, node.silent].into_iter().flatten().min();
            if lost.is_some_and(|t| now >= t + self.config.unreachable_after) {
                self.nodes.insert(vnode.clone(), node);
                // Should it be alive after all, its visitors must not wait in a room that nobody tells anything.
                out.extend(self.disconnect_vnode(now, &vnode));
                out.push(Action::NodeLost { vnode });
                continue;
            }
            if node.reachable() {
                let late = [node.syncing, node.checking].into_iter().flatten().any(|a| a.due <= now);
                if late {
                    node.silent.get_or_insert(now);
                    node.tries += 1;
                    let history = node.owed_history && node.kind == Kind::Ours;
                    self.sync(now, &mut node, history, &mut out);
                } else if node.check_at.is_some_and(|t| t <= now) {
                    self.check(now, &mut node, &mut out);
                }
            }
            self.nodes.insert(vnode, node);
        }
        out
    }

    /// The answer to one of the IQs that were sent to a node: `result` or `error`. Its id names the room, see
    /// [`crate::wire::room_of_link_id`].
    pub fn handle_answer(&mut self, now: Instant, iq: &Stanza) -> Vec<Action> {
        let mut out = Vec::new();
        let Some(n) = iq.id().and_then(|id| id.strip_prefix("vl")?.split_once('/')?.0.parse::<u64>().ok()) else {
            return out;
        };
        if n <= self.ids_above || n > self.ids {
            return out;
        }
        let Ok(Some(from)) = iq.from() else { return out };
        let Some(vnode) = self.vnode_of(from.domain()) else { return out };
        let Some(mut node) = self.nodes.remove(&vnode) else { return out };
        self.answered(now, &mut node, n, iq, &mut out);
        self.nodes.insert(vnode, node);
        out
    }

    fn answered(&mut self, now: Instant, node: &mut Node, n: u64, iq: &Stanza, out: &mut Vec<Action>) {
        let error = iq.child("error", ns::CLIENT);
        if let Some(e) = error {
            let is = |name| e.child(name, ns::STANZAS).is_some();
            if is("remote-server-not-found") || is("remote-server-timeout") {
                // A bounce, no answer: the node has not seen it. The deadline stays.
                return;
            }
            if is("item-not-found") && node.kind != Kind::Stock {
                if n < node.since {
                    return;
                }
                node.roomless = true;
                node.told.clear();
                node.left.clear();
                node.syncing = None;
                node.checking = None;
                node.check_at = None;
                node.silent = None;
                return;
            }
        }
        node.confirm(n);
        if node.checking.is_some_and(|a| a.n <= n) {
            node.checking = None;
        }
        let support = support_of(iq);
        match (&support, error) {
            (Some(_), _) => node.kind = Kind::Ours,
            // Ours say so in every answer to what a synchronisation sends; a ping, which only known nodes get, tells nothing.
            (None, None) if node.kind == Kind::Unknown || (node.syncing.is_some() && n >= node.since) => {
                node.kind = Kind::Stock;
            }
            _ => {}
        }
        if node.syncing.is_none_or(|a| a.n != n) {
            return;
        }
        node.syncing = None;
        node.owed_history = false;
        if let Some(s) = support {
            let has = s.line.filter(|l| l.epoch == self.epoch).map_or(0, |l| l.seq);
            node.cursor = has.clamp(node.base, self.lines.last());
        }
        self.send_lines(now, node, out);
    }

    /// Tells a node everything.
    pub(super) fn sync(&mut self, now: Instant, node: &mut Node, history: bool, out: &mut Vec<Action>) {
        self.syncs += 1;
        let sync = Sync { epoch: self.epoch.clone(), n: self.syncs, digest: self.roster.digest() };
        let Some(shadow) = self.shadow(&node.addr) else { return };
        node.since = self.ids + 1;
        // Who left goes first: a node takes the role of a nick with it, which the update may give to a successor.
        let gone = std::mem::take(&mut node.left).into_iter().map(|(_, n, r)| (n, r));
        let stale = node.told.iter().filter(|(n, r)| self.roster.get(n).is_none_or(|m| m.real != **r));
        let gone: Vec<_> = gone.chain(stale.map(|(n, r)| (n.clone(), r.clone()))).collect();
        let mark = self.ids + 1;
        for (nick, real) in gone {
            // Whoever came back with the same address is present, below.
            if self.roster.get(&nick).is_some_and(|m| m.real == real) {
                continue;
            }
            if let Ok(to) = shadow.occupant(&nick) {
                out.push(Action::Send(unavailable(real.as_str(), to.as_str())));
            }
            node.left.push_back((mark, nick, real));
        }
        let update = Update { sync: Some(sync.clone()), ..self.full_update() };
        out.extend(self.link_iq(&node.addr, Payload::Update(Box::new(update))).map(|(_, s)| Action::Send(s)));
        if history {
            for e in self.lines.after(0) {
                if let Some(h) = &e.history {
                    out.push(Action::Send(self.marked(node, h, e, &node.addr.muc)));
                }
            }
            node.base = self.lines.last();
            node.cursor = node.base;
        }
        node.told.clear();
        let password = self.state.settings.password.as_deref();
        for (nick, m) in self.roster.iter() {
            if let Ok(to) = shadow.occupant(nick) {
                out.push(Action::Send(m.presence_to(to.as_str(), Some(password))));
                node.told.insert(nick.to_owned(), m.real.clone());
            }
        }
        let connect = Payload::Connect(self.state.settings.clone(), Some(sync));
        let Some((n, iq)) = self.link_iq(&node.addr, connect) else { return };
        out.push(Action::Send(iq));
        node.syncing = Some(Awaited { n, due: now + self.patience(node.tries) });
        node.missed = false;
        node.checking = None;
        node.check_at = None;
    }

    fn patience(&self, tries: u32) -> Duration {
        let most = self.config.answer_within.max(Duration::from_secs(60));
        self.config.answer_within.saturating_mul(1 << tries.min(8)).min(most)
    }

    /// Asks a node to confirm what it was sent.
    fn check(&mut self, now: Instant, node: &mut Node, out: &mut Vec<Action>) {
        node.check_at = None;
        if node.kind == Kind::Unknown {
            return self.sync(now, node, false, out);
        }
        let due = now + self.patience(node.tries);
        let (n, iq) = if node.kind == Kind::Ours {
            let c = Checkpoint { epoch: self.epoch.clone(), digest: self.roster.digest() };
            let Some(iq) = self.link_iq(&node.addr, Payload::Checkpoint(c)) else { return };
            iq
        } else {
            let (n, id) = self.next_id();
            let mut w = XmlWriter::new();
            w.open_ns("iq", ns::CLIENT).attr("type", "get").attr("from", &self.addr.host).attr("to", &node.addr.muc);
            w.attr("id", id).empty("ping", ns::PING);
            (n, w.stanza())
        };
        out.push(Action::Send(iq));
        node.checking = Some(Awaited { n, due });
    }

    /// Something was sent that has to be confirmed sooner or later.
    pub(super) fn unconfirmed(&self, now: Instant, node: &mut Node) {
        if node.syncing.is_none() && node.checking.is_none() {
            node.check_at.get_or_insert(now + self.config.checkpoint_after);
        }
    }

    /// Sends the lines that a node does not have.
    pub(super) fn send_lines(&self, now: Instant, node: &mut Node, out: &mut Vec<Action>) {
        if node.syncing.is_some() || !node.reachable() || node.cursor >= self.lines.last() {
            return;
        }
        let Some(shadow) = self.shadow(&node.addr) else { return };
        for e in self.lines.after(node.cursor) {
            if e.origin.as_deref() != Some(node.addr.host.as_str()) {
                out.push(Action::Send(self.marked(node, &e.live, e, shadow.as_str())));
            }
        }
        node.cursor = self.lines.last();
        self.unconfirmed(now, node);
    }

    fn marked(&self, node: &Node, line: &Stanza, entry: &Entry, to: &str) -> Stanza {
        let r = line.rewrite().set("to", to);
        if node.kind == Kind::Stock {
            return r.stanza();
        }
        let mark = Line { epoch: self.epoch.clone(), seq: entry.seq };
        let own = entry.origin.as_deref() == Some(node.addr.host.as_str());
        r.append(|w| mark.write(w, own)).stanza()
    }

    /// A node of ours found that it has missed something.
    pub(super) fn resync(&mut self, now: Instant, host: &str, out: &mut Vec<Action>) {
        let Some(vnode) = self.nodes.iter().find(|(_, n)| n.addr.host == host).map(|(v, _)| v.clone()) else { return };
        let Some(mut node) = self.nodes.remove(&vnode) else { return };
        let history = node.owed_history;
        if node.reachable() && node.syncing.is_none() {
            self.sync(now, &mut node, history, out);
        }
        self.nodes.insert(vnode, node);
    }
}

pub(super) fn unavailable(from: &str, to: &str) -> Stanza {
    let mut w = XmlWriter::new();
    w.open_ns("presence", ns::CLIENT).attr("type", "unavailable").attr("from", from).attr("to", to);
    w.stanza()
}
