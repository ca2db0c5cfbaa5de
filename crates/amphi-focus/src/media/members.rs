//! Members come, change and go (`spec/focus.md` 4.1).

use std::sync::Arc;
use std::time::Instant;

use amphi_jingle::Reason;

use super::facts::Facts;
use super::state::{Participant, State};
use crate::NodeId;
use crate::conference::{Conference, Phase};
use crate::core::Core;
use crate::member::{Kind, Member};

impl Conference {
    /// Media sessions are given here.
    pub(crate) fn has_media(&self, core: &Core) -> bool {
        core.config.media.brewery.is_some() && !self.health
    }

    fn member(&self, node: &NodeId, nick: &str) -> Option<&Member> {
        match node {
            NodeId::Main => self.main.members.get(nick),
            NodeId::Vnode(v) => self.vrooms.get(v)?.muc.members.get(nick),
            NodeId::Service => None,
        }
    }

    /// Somebody is in the main room or in a shadow room.
    pub(crate) fn media_joined(&mut self, core: &mut Core, now: Instant, node: &NodeId, nick: &str) {
        if !self.has_media(core) {
            return;
        }
        let Some(m) = self.member(node, nick) else { return };
        let (facts, visitor, machine) = (m.facts.clone(), m.is_visitor(), m.kind != Kind::Person);
        let occupant = match node {
            NodeId::Vnode(v) => self.vrooms.get(v).map(|v| v.muc.occupant(nick)),
            _ => Some(self.main.occupant(nick)),
        };
        let Some(occupant) = occupant else { return };
        if let Some(p) = self.media.participants.get_mut(nick) {
            if p.node == *node && p.stale {
                // The node was away, and the member did not notice.
                p.stale = false;
                let unsure = p.state == State::Pending;
                self.media_updated(core, now, node, nick);
                if unsure {
                    // The offer, or its answer, may have been lost on the way.
                    self.reinvite(core, now, nick);
                }
                return;
            }
            // The same endpoint id comes from elsewhere: a bridge can have it once only, and the last one is right.
            let old = p.node.clone();
            self.media_left(core, now, &old, nick);
        }
        let p = Participant {
            occupant,
            node: node.clone(),
            visitor,
            machine,
            state: State::Waiting,
            seen: false,
            stale: false,
            failures: 0,
            serial: 0,
            session: None,
            sid: 0,
            old_sid: 0,
            retry_at: None,
            facts: Arc::default(),
            offer: None,
            extra: None,
        };
        self.media.participants.insert(nick.into(), p);
        if *node == NodeId::Main {
            self.media.stage += 1;
        }
        self.set_facts(nick, facts);
        self.media.single_at = None;
        let n = self.media.participants.len() as u32;
        if n < core.config.media.min_participants {
            self.media.waiting = true;
        } else if std::mem::take(&mut self.media.waiting) {
            let mut waiting: Vec<Box<str>> = self
                .media
                .participants
                .iter()
                .filter(|(_, p)| p.state == State::Waiting)
                .map(|(n, _)| n.clone())
                .collect();
            waiting.sort_unstable_by_key(|n| **n == *nick);
            for n in waiting {
                self.invite(core, &n, false);
            }
        } else {
            self.invite(core, nick, false);
        }
        self.media_changed(core, now);
    }

    /// A member's presence changed.
    pub(crate) fn media_updated(&mut self, core: &mut Core, now: Instant, node: &NodeId, nick: &str) {
        let Some(facts) = self.member(node, nick).map(|m| m.facts.clone()) else { return };
        if self.media.participants.get(nick).is_some_and(|p| p.node == *node && p.facts != facts) {
            self.set_facts(nick, facts);
            self.media_changed(core, now);
        }
    }

    fn set_facts(&mut self, nick: &str, facts: Arc<Facts>) {
        let media = &mut self.media;
        let Some(p) = media.participants.get_mut(nick) else { return };
        let old = std::mem::replace(&mut p.facts, facts);
        let new = &p.facts;
        if p.node == NodeId::Main {
            media.audio_senders = media.audio_senders + u32::from(new.audio) - u32::from(old.audio);
            media.video_senders = media.video_senders + u32::from(new.video) - u32::from(old.video);
        }
        if p.visitor && old.codecs != new.codecs {
            if let Some(c) = &old.codecs {
                media.preferences.remove(c);
            }
            if let Some(c) = &new.codecs {
                media.preferences.add(c);
            }
        }
    }

    /// A member left. Receivers notice by themselves; the bridge is told.
    pub(crate) fn media_left(&mut self, core: &mut Core, now: Instant, node: &NodeId, nick: &str) {
        if self.media.participants.get(nick).is_none_or(|p| p.node != *node) {
            return;
        }
        self.forget(core, now, vec![nick.into()]);
    }

    /// Members are gone.
    fn forget(&mut self, core: &mut Core, now: Instant, nicks: Vec<Box<str>>) {
        self.expire_endpoints(core, now, &nicks);
        for nick in &nicks {
            self.set_facts(nick, Arc::default());
            self.media.sources.remove_owner(nick);
            self.forget_signaled(nick);
            self.stop_receiving(nick);
            self.media.avoid.remove(nick);
            self.media.mutable.remove(nick);
            if let Some(p) = self.media.participants.remove(nick)
                && p.node == NodeId::Main
            {
                self.media.stage -= 1;
            }
        }
        match self.media.participants.len() {
            0 => self.expire_all(core, now),
            1 if core.config.media.min_participants > 1 && !self.media.sessions.is_empty() => {
                self.media.single_at = Some(now + core.config.media.single_participant_timeout);
            }
            _ => {}
        }
        self.media_changed(core, now);
    }

    /// The connection to a node is back as a new one, or a shadow room is entered again: whoever does not come again is gone.
    pub(crate) fn media_node_unsure(&mut self, vnode: &Arc<str>) {
        let of = |p: &&mut Participant| matches!(&p.node, NodeId::Vnode(v) if v == vnode);
        self.media.participants.values_mut().filter(of).for_each(|p| p.stale = true);
    }

    /// All members of the shadow room are known again.
    pub(crate) fn media_node_sure(&mut self, core: &mut Core, now: Instant, vnode: &Arc<str>) {
        self.forget_of_node(core, now, vnode, |p| p.stale);
    }

    /// The shadow room is gone.
    pub(crate) fn media_node_gone(&mut self, core: &mut Core, now: Instant, vnode: &Arc<str>) {
        self.forget_of_node(core, now, vnode, |_| true);
    }

    fn forget_of_node(&mut self, core: &mut Core, now: Instant, vnode: &Arc<str>, which: fn(&Participant) -> bool) {
        let of = |p: &Participant| matches!(&p.node, NodeId::Vnode(v) if v == vnode) && which(p);
        let mut gone: Vec<Box<str>> =
            self.media.participants.iter().filter(|(_, p)| of(p)).map(|(n, _)| n.clone()).collect();
        if !gone.is_empty() {
            gone.sort_unstable();
            self.forget(core, now, gone);
        }
    }

    /// Timers of media.
    pub(crate) fn media_tick(&mut self, core: &mut Core, now: Instant) {
        if self.phase != Phase::Started {
            return;
        }
        if self.media.single_at.is_some_and(|at| at <= now) {
            self.media.single_at = None;
            let alone: Vec<Box<str>> = self.media.participants.keys().cloned().collect();
            for nick in alone {
                self.end_session(core, now, &nick, Some(Reason::new("expired", "Idle session timeout")));
                if let Some(p) = self.media.participants.get_mut(&nick) {
                    p.state = State::Waiting;
                }
            }
            self.media.waiting = true;
            self.expire_all(core, now);
            self.media_changed(core, now);
        }
        if self.media.retry_at.is_some_and(|at| at <= now) {
            self.retry(core, now, false);
        }
        self.flush_due(core, now);
    }

    /// The conference is over.
    pub(crate) fn media_stop(&mut self, core: &mut Core, now: Instant) {
        core.media.starving.remove(&self.room);
        let all: Vec<Box<str>> = self.media.participants.keys().cloned().collect();
        for nick in &all {
            if let Some(p) = self.media.participants.get_mut(nick) {
                p.session = None;
                p.state = State::Ended;
            }
        }
        self.expire_all(core, now);
        self.media.participants.clear();
        self.media.receivers.clear();
        self.media.flushes.clear();
        (self.media.single_at, self.media.retry_at) = (None, None);
    }
}
