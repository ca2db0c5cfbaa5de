//! What the main node orders: update, connect, disconnect, checkpoint, answers to raised hands; and the link itself.

use std::collections::BTreeSet;
use std::time::Instant;

use amphi_stanza::{Condition, ErrorType, FullJid, Stanza, StanzaError};

use super::{Shadow, ShadowAction};
use crate::wire::{
    Checkpoint, Payload, Settings, Support, Sync, Update, VisitorsIq, WireError, json, link_id, place_notice, result,
    result_with, set,
};

impl Shadow {
    /// A visitors IQ for this room from the main node. Every request is answered.
    pub fn handle_iq(&mut self, now: Instant, iq: &Stanza) -> Vec<ShadowAction> {
        let mut out = Vec::new();
        match self.order(now, iq, &mut out) {
            Ok(true) => out.push(ShadowAction::Send(result_with(iq, &Support { line: self.line.clone() }))),
            Ok(false) => out.push(ShadowAction::Send(result(iq))),
            Err(e) => out.extend(e.answer(iq).map(ShadowAction::Send)),
        }
        out
    }

    /// Does what is ordered; whether the answer says what this node has.
    fn order(&mut self, now: Instant, iq: &Stanza, out: &mut Vec<ShadowAction>) -> Result<bool, StanzaError> {
        let parsed = VisitorsIq::parse(iq).map_err(|e| e.stanza_error())?;
        let from = iq.from().ok().flatten();
        let from = from.as_ref().map(|f| f.as_str()).unwrap_or_default();
        let response = matches!(parsed.payload, Payload::PromotionResponse(_) | Payload::Places(_));
        if from != if response { &self.addr.component } else { &self.addr.main_host } {
            return Err(StanzaError::new(ErrorType::Auth, Condition::Forbidden).text("Only the main node sends this"));
        }
        if parsed.room != self.addr.room {
            return Err(Self::not_here());
        }
        match &parsed.payload {
            Payload::Update(u) => self.update(u, out),
            Payload::Connect(s, sync) => self.connect(now, s, sync.as_ref(), out),
            Payload::Disconnect => self.end("Conference ended.", out),
            Payload::Checkpoint(c) => self.checkpoint(now, c, out),
            Payload::PromotionResponse(r) => {
                let visitor = FullJid::parse(&r.jid).ok().filter(|j| self.visitors.contains_key(j));
                let Some(visitor) = visitor else { return Err(Self::not_here()) };
                self.ids += 1;
                let id = link_id(self.ids, &self.addr.room);
                out.push(ShadowAction::Send(set(self.addr.room.as_str(), visitor.as_str(), &id, &parsed)));
                return Ok(false);
            }
            Payload::Places(p) => {
                for (jid, n) in &p.list {
                    let visitor = FullJid::parse(jid).ok().filter(|j| self.visitors.contains_key(j));
                    // Whoever is gone has lowered its hand by that; the main node hears of it.
                    let Some(visitor) = visitor else { continue };
                    self.ids += 1;
                    let id = link_id(self.ids, &self.addr.room);
                    let text = place_notice(*n);
                    let told = json::json_message(self.addr.room.as_str(), &visitor, None, &id, &text);
                    out.push(ShadowAction::Send(told));
                }
                return Ok(false);
            }
            _ => return Err(WireError::Unknown.stanza_error()),
        }
        Ok(true)
    }

    fn adopt(&mut self, s: &Settings, out: &mut Vec<ShadowAction>) {
        if let Some(l) = s.lobby {
            self.lobby = l;
        }
        let mut s = s.clone();
        s.lobby = Some(self.lobby);
        s.allow_unauthenticated = s.allow_unauthenticated.or(self.settings.allow_unauthenticated);
        if s != self.settings {
            self.settings = s.clone();
            out.push(ShadowAction::Settings(s));
        }
    }

    fn update(&mut self, u: &Update, out: &mut Vec<ShadowAction>) {
        self.adopt(&u.settings, out);
        if let Some(list) = &u.moderators {
            let new: BTreeSet<String> = list.iter().cloned().collect();
            let old = std::mem::replace(&mut self.moderators, new);
            for nick in old.symmetric_difference(&self.moderators).filter(|n| self.remotes.contains_key(*n)) {
                let moderator = self.moderators.contains(nick);
                out.push(ShadowAction::SetModerator { nick: nick.clone(), moderator });
            }
        }
        if u.files.is_some() || !u.partial {
            let new = u.files.clone().unwrap_or_default();
            let added: Vec<_> = new.iter().filter(|f| !self.files.contains(f)).cloned().collect();
            let removed: Vec<_> =
                self.files.iter().filter(|f| !new.iter().any(|n| n.id == f.id)).map(|f| f.id.clone()).collect();
            self.files = new;
            if !added.is_empty() || !removed.is_empty() {
                out.push(ShadowAction::Files { added, removed });
            }
        }
        if (u.polls.is_some() || !u.partial) && u.polls != self.polls {
            self.polls = u.polls.clone();
            out.push(ShadowAction::Polls(u.polls.clone()));
        }
        if let Some(s) = &u.sync {
            self.opened = Some(s.clone());
            self.round += 1;
        }
    }

    fn connect(&mut self, now: Instant, s: &Settings, sync: Option<&Sync>, out: &mut Vec<ShadowAction>) {
        self.adopt(s, out);
        if let Some(sync) = sync {
            if self.opened.as_ref() == Some(sync) {
                self.sweep(now, out);
            } else {
                // The update that opens this synchronisation is lost: nobody can say who is gone.
                self.ask_resync(now, out);
            }
            let new_life = self.epoch.as_ref().is_some_and(|e| *e != sync.epoch);
            self.epoch = Some(sync.epoch.clone());
            if new_life {
                // The main room has forgotten who raised a hand.
                self.tell_everything(now, out);
            }
        }
        if !self.connected {
            self.connected = true;
            out.push(ShadowAction::Unlock);
        }
        if let Some(sync) = sync
            && self.digest() != sync.digest
        {
            self.ask_resync(now, out);
        }
    }

    fn checkpoint(&mut self, now: Instant, c: &Checkpoint, out: &mut Vec<ShadowAction>) {
        if self.epoch.as_ref() != Some(&c.epoch) || c.digest != self.digest() {
            self.ask_resync(now, out);
        }
    }

    /// Asks for a synchronisation, now or as soon as it may be asked again.
    pub(super) fn ask_resync(&mut self, now: Instant, out: &mut Vec<ShadowAction>) {
        if let Some(free) = self.resync_free.filter(|t| *t > now) {
            self.resync_at = Some(free);
            return;
        }
        self.resync_free = Some(now + self.config.resync_every);
        out.extend(self.iq_to_component(Payload::Resync).map(ShadowAction::Send));
    }

    /// The link to the main node was lost: visitors' messages wait.
    pub fn main_down(&mut self, _now: Instant) -> Vec<ShadowAction> {
        self.main_down = true;
        Vec::new()
    }

    /// The link to the main node is up. `fresh`: nothing sent earlier may be relied upon.
    pub fn main_up(&mut self, now: Instant, fresh: bool) -> Vec<ShadowAction> {
        let mut out = Vec::new();
        self.main_down = false;
        self.held_bytes = 0;
        out.extend(self.held.drain(..).map(ShadowAction::Send));
        if fresh || self.hands_missed {
            self.tell_everything(now, &mut out);
        } else if self.languages_at.is_some_and(|t| t <= now) {
            self.languages_at = None;
            self.tell_languages(now, &mut out);
        }
        out
    }
}
