//! What happens on stage, towards every node (`spec/signaling.md` 4.6).

use std::time::Instant;

use amphi_stanza::{Stanza, ns};

use super::node::{Kind, Node};
use super::sync::unavailable;
use super::{Action, MainLinks, Occupant, RoomState};
use crate::wire::{Payload, Update, promotion_notice};

impl MainLinks {
    fn mirrors(&self, o: &Occupant<'_>) -> bool {
        !o.admin && !self.config.recorder_prefixes.iter().any(|p| o.real.as_str().starts_with(p.as_str()))
    }

    /// Somebody entered the stage; `presence` is what it sent.
    pub fn occupant_joined(&mut self, now: Instant, o: &Occupant<'_>, presence: &Stanza) -> Vec<Action> {
        if !self.mirrors(o) {
            return Vec::new();
        }
        // A successor under the same nick: the other one has to be gone before roles are told.
        let other = self.roster.get(o.nick).is_some_and(|m| m.real != *o.real);
        let mut out = if other { self.occupant_left(now, o.nick) } else { Vec::new() };
        self.roster.put(o.nick, o.real.clone(), o.moderator, presence.clone(), self.state.hide_names);
        if o.moderator {
            self.update_nodes(now, Change::Moderators, &mut out);
            self.replay_pending(o, &mut out);
        }
        self.presence_to_nodes(now, o.nick, &mut out);
        out
    }

    /// An occupant sent a new presence, or its role is another one.
    pub fn occupant_updated(&mut self, now: Instant, o: &Occupant<'_>, presence: &Stanza) -> Vec<Action> {
        let mut out = Vec::new();
        let Some(before) = self.roster.get(o.nick).map(|m| m.moderator) else {
            return self.occupant_joined(now, o, presence);
        };
        self.roster.put(o.nick, o.real.clone(), o.moderator, presence.clone(), self.state.hide_names);
        if before != o.moderator {
            self.role_changed(now, o, &mut out);
        }
        self.presence_to_nodes(now, o.nick, &mut out);
        out
    }

    /// An occupant became moderator, or is no longer one.
    pub fn moderator_changed(&mut self, now: Instant, o: &Occupant<'_>) -> Vec<Action> {
        let mut out = Vec::new();
        if self.roster.set_moderator(o.nick, o.moderator) {
            self.role_changed(now, o, &mut out);
        }
        out
    }

    fn role_changed(&mut self, now: Instant, o: &Occupant<'_>, out: &mut Vec<Action>) {
        self.update_nodes(now, Change::Moderators, out);
        if o.moderator {
            self.replay_pending(o, out);
        } else if self.config.repeat_revoked_presence {
            self.repeat_presence(now, o.nick, out);
        }
    }

    /// An occupant left, was kicked, or its connection ended.
    pub fn occupant_left(&mut self, now: Instant, nick: &str) -> Vec<Action> {
        let mut out = Vec::new();
        if self.roster.remove(nick).is_none() {
            return out;
        }
        self.each_node(&mut out, |links, node, out| {
            if !node.reachable() {
                node.missed = true;
            } else if let Some(real) = node.told.remove(nick) {
                links.leave(now, node, nick, real, out);
            }
        });
        out
    }

    fn leave(&mut self, now: Instant, node: &mut Node, nick: &str, real: amphi_stanza::FullJid, out: &mut Vec<Action>) {
        if let Some(to) = self.shadow(&node.addr).and_then(|s| s.occupant(nick).ok()) {
            out.push(Action::Send(unavailable(real.as_str(), to.as_str())));
        }
        node.left.push_back((self.ids + 1, nick.to_owned(), real));
        if node.left.len() > self.config.unconfirmed {
            // Nothing was confirmed for long: the oldest are given up, a node of ours sweeps them anyway.
            node.left.pop_front();
        }
        self.unconfirmed(now, node);
        if node.left.len() * 2 > self.config.unconfirmed && node.check_at.is_some() {
            node.check_at = Some(now);
        }
    }

    /// Calls `f` for every node, taken out of the table meanwhile.
    pub(super) fn each_node(
        &mut self,
        out: &mut Vec<Action>,
        mut f: impl FnMut(&mut Self, &mut Node, &mut Vec<Action>),
    ) {
        let mut nodes = std::mem::take(&mut self.nodes);
        for node in nodes.values_mut() {
            f(self, node, out);
        }
        self.nodes = nodes;
    }

    fn presence_to_nodes(&mut self, now: Instant, nick: &str, out: &mut Vec<Action>) {
        self.each_node(out, |links, node, out| links.presence_to_node(now, node, nick, out));
    }

    fn presence_to_node(&mut self, now: Instant, node: &mut Node, nick: &str, out: &mut Vec<Action>) {
        if !node.reachable() {
            node.missed = true;
            return;
        }
        let Some(to) = self.shadow(&node.addr).and_then(|s| s.occupant(nick).ok()) else { return };
        let told = node.told.get(nick).cloned();
        let Some(m) = self.roster.get(nick) else { return };
        let real = m.real.clone();
        let same = told.as_ref() == Some(&real);
        let password = self.state.settings.password.as_deref();
        let stanza = m.presence_to(to.as_str(), (!same).then_some(password));
        if let Some(old) = told.filter(|_| !same) {
            self.leave(now, node, nick, old, out);
        }
        out.push(Action::Send(stanza));
        node.told.insert(nick.to_owned(), real);
        self.unconfirmed(now, node);
    }

    /// Stock nodes: away and back, in the hope that the role is given anew.
    fn repeat_presence(&mut self, now: Instant, nick: &str, out: &mut Vec<Action>) {
        self.each_node(out, |links, node, out| {
            if node.kind != Kind::Ours && node.reachable() {
                if let Some(real) = node.told.remove(nick) {
                    links.leave(now, node, nick, real, out);
                }
                links.presence_to_node(now, node, nick, out);
            }
        });
    }

    fn replay_pending(&mut self, o: &Occupant<'_>, out: &mut Vec<Action>) {
        let room = self.addr.virtual_room.clone();
        let texts: Vec<String> =
            self.promotions.pending().map(|p| promotion_notice(&room, &p.visitor, p.nick.as_deref(), true)).collect();
        for t in texts {
            out.push(self.json_to(None, o.real, &t));
        }
    }

    /// The room's properties are now these. `answered_by`: MUC host of the node from which a poll answer came, which is
    /// not told of it.
    pub fn room_changed(&mut self, now: Instant, state: RoomState, answered_by: Option<&str>) -> Vec<Action> {
        let mut out = Vec::new();
        let old = std::mem::replace(&mut self.state, state);
        let new = &self.state;
        let files = old.files != new.files;
        let polls = old.polls != new.polls;
        let hidden = old.hide_names != new.hide_names;
        if old.settings != new.settings || files || polls {
            let only_polls = polls && !files && old.settings == new.settings;
            let except = answered_by.filter(|_| only_polls);
            self.update_nodes(now, Change::Room { files, polls, except }, &mut out);
        }
        if hidden {
            self.roster.refilter(self.state.hide_names);
            let nicks: Vec<String> = self.roster.iter().map(|(n, _)| n.to_owned()).collect();
            for n in nicks {
                self.presence_to_nodes(now, &n, &mut out);
            }
        }
        out
    }

    /// What nodes are told of the room now.
    pub fn room_state(&self) -> &RoomState {
        &self.state
    }

    pub(super) fn full_update(&self) -> Update {
        Update {
            settings: self.state.settings.clone(),
            moderators: Some(self.roster.moderators().map(|(n, _)| n.to_owned()).collect()),
            files: self.state.files.clone(),
            polls: self.state.polls.clone(),
            sync: None,
            partial: false,
        }
    }

    /// Nodes of ours get what changed, the others everything: there, missing means nothing.
    fn update_nodes(&mut self, now: Instant, change: Change<'_>, out: &mut Vec<Action>) {
        let full = self.full_update();
        let (files, polls, except) = match change {
            Change::Moderators => (false, false, None),
            Change::Room { files, polls, except } => (files, polls, except),
        };
        // A list that was taken away altogether can only be told by the complete form.
        let vanished = (files && full.files.is_none()) || (polls && full.polls.is_none());
        let mut part = full.clone();
        part.partial = true;
        part.files = part.files.filter(|_| files);
        part.polls = part.polls.filter(|_| polls);
        self.each_node(out, |links, node, out| {
            if !node.reachable() {
                node.missed = true;
                return;
            }
            if except == Some(node.addr.muc.as_str()) {
                return;
            }
            let u = if node.kind == Kind::Ours && !vanished { part.clone() } else { full.clone() };
            out.extend(links.link_iq(&node.addr, Payload::Update(Box::new(u))).map(|(_, s)| Action::Send(s)));
            links.unconfirmed(now, node);
        });
    }

    /// Group chat of an occupant (recorders and transcribers included), as the room broadcasts it. `history`: the form
    /// that the room stores, with its delay; `None` if it stores none.
    pub fn groupchat(
        &mut self,
        now: Instant,
        o: &Occupant<'_>,
        message: &Stanza,
        history: Option<&Stanza>,
    ) -> Vec<Action> {
        let mut out = Vec::new();
        let live = message.rewrite().set("from", o.real).unset("to").stanza();
        let nick = self.addr.room.occupant(o.nick).ok();
        let history = history.zip(nick).map(|(h, n)| h.rewrite().set("from", n).unset("to").stanza());
        self.lines.push(live, history, None);
        self.lines_to_nodes(now, &mut out);
        out
    }

    pub(super) fn lines_to_nodes(&mut self, now: Instant, out: &mut Vec<Action>) {
        self.each_node(out, |links, node, out| {
            if node.down.is_some() {
                node.missed = true;
            } else {
                links.send_lines(now, node, out);
            }
        });
    }

    /// Whether this message of the room is a bounce of something sent to a node: nobody else wants it.
    pub fn is_bounce(&self, stanza: &Stanza) -> bool {
        stanza.ty().as_deref() == Some("error")
            && stanza.child("error", ns::CLIENT).is_some()
            && stanza.from().ok().flatten().is_some_and(|f| self.is_node_muc(f.domain()))
    }
}

enum Change<'a> {
    Moderators,
    Room { files: bool, polls: bool, except: Option<&'a str> },
}
