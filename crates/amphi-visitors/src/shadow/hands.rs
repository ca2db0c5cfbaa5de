//! Visitors: raised hands and transcription languages (`spec/signaling.md` 4.9, 4.10), and when the last one has left.

use std::time::Instant;

use amphi_stanza::{FullJid, Stanza, ns};

use super::{Shadow, ShadowAction, VisitorToken};
use crate::wire::{Payload, PromotionRequest, TranscriptionLanguages};

pub(super) struct Visitor {
    pub(super) nick: String,
    pub(super) name: Option<String>,
    token: VisitorToken,
    /// When the hand was raised.
    hand: Option<u64>,
    /// The same, as the main node was told.
    told: Option<u64>,
    /// When the next change may be told.
    free: Option<Instant>,
    language: Option<String>,
}

impl Shadow {
    /// A visitor is in the room. `presence` is its join.
    pub fn visitor_joined(
        &mut self,
        now: Instant,
        visitor: &FullJid,
        nick: &str,
        token: VisitorToken,
        presence: &Stanza,
    ) -> Vec<ShadowAction> {
        self.no_visitors_at = None;
        let old = self.visitors.remove(visitor);
        if let Some(o) = &old {
            self.visitor_nicks.remove(&o.nick);
            self.uncount(o.language.as_deref());
        }
        // Who enters anew without leaving may have lowered its hand by that.
        let (told, free) = old.map_or((None, None), |o| (o.told, o.free));
        let v = Visitor { nick: nick.to_owned(), name: None, token, hand: None, told, free, language: None };
        self.visitors.insert(visitor.clone(), v);
        self.visitor_nicks.insert(nick.to_owned(), visitor.clone());
        self.visitor_presence(now, visitor, presence)
    }

    /// A visitor sent a presence. Only changes are told to the main node.
    pub fn visitor_presence(&mut self, now: Instant, visitor: &FullJid, presence: &Stanza) -> Vec<ShadowAction> {
        let mut out = Vec::new();
        let Some(v) = self.visitors.get_mut(visitor) else { return out };
        let text = |name: &str| presence.children().find(|c| c.name() == name).map(|c| c.text().trim().to_owned());
        v.name = presence.child("nick", ns::NICK).map(|n| n.text().into_owned()).filter(|n| !n.is_empty());
        let hand = text("jitsi_participant_raisedHand").map(|t| t.parse::<u64>().ok().filter(|t| *t > 0));
        if let Some(h) = hand {
            v.hand = h;
        }
        let wants = text("jitsi_participant_requestingTranscription").map(|t| t == "true");
        let language = text("jitsi_participant_translation_language").filter(|l| !l.is_empty() && l.len() <= 35);
        let new = match wants {
            Some(true) => Some(language.unwrap_or_else(|| self.config.default_language.clone())),
            Some(false) => None,
            None => v.language.clone(),
        };
        if new != v.language {
            let old = std::mem::replace(&mut v.language, new.clone());
            self.uncount(old.as_deref());
            if let Some(l) = new {
                *self.languages.entry(l).or_insert(0) += 1;
            }
            self.languages_changed(now, &mut out);
        }
        self.hand_changed(now, visitor, &mut out);
        out
    }

    /// A change is told at once, further ones of the same visitor at most once per period: moderators read them.
    fn hand_changed(&mut self, now: Instant, visitor: &FullJid, out: &mut Vec<ShadowAction>) {
        let Some(v) = self.visitors.get(visitor).filter(|v| v.hand != v.told) else { return };
        match v.free.filter(|t| *t > now) {
            Some(t) => {
                self.hands_due.insert((t, visitor.clone()));
            }
            None => self.tell_hand(now, visitor, out),
        }
    }

    /// Tells the changes whose time has come.
    pub(super) fn tell_due_hands(&mut self, now: Instant, out: &mut Vec<ShadowAction>) {
        while self.hands_due.first().is_some_and(|(t, _)| *t <= now) {
            if let Some((_, visitor)) = self.hands_due.pop_first()
                && self.visitors.get(&visitor).is_some_and(|v| v.hand != v.told)
            {
                self.tell_hand(now, &visitor, out);
            }
        }
    }

    /// A visitor left, or its connection ended.
    pub fn visitor_left(&mut self, now: Instant, visitor: &FullJid) -> Vec<ShadowAction> {
        let mut out = Vec::new();
        let Some(v) = self.visitors.remove(visitor) else { return out };
        self.visitor_nicks.remove(&v.nick);
        self.budget.forget(visitor);
        if let Some(t) = v.free {
            self.hands_due.remove(&(t, visitor.clone()));
        }
        if v.told.is_some() {
            self.tell_lowered(visitor.to_string(), &mut out);
        }
        if v.language.is_some() {
            self.uncount(v.language.as_deref());
            self.languages_changed(now, &mut out);
        }
        if self.visitors.is_empty() {
            self.no_visitors_at = Some(now + self.config.without_visitors);
        }
        out
    }

    fn tell_hand(&mut self, now: Instant, visitor: &FullJid, out: &mut Vec<ShadowAction>) {
        if self.main_down {
            self.hands_missed = true;
            return;
        }
        let Some(v) = self.visitors.get_mut(visitor) else { return };
        v.told = v.hand;
        v.free = Some(now + self.config.hand_every);
        let t = &v.token;
        let open = |id: &Option<String>| id.clone().filter(|_| !self.vpaas);
        let force = if self.vpaas {
            t.moderator
        } else {
            t.user_id.is_some() && self.config.promote_with_token && !t.tenant_mismatch
        };
        let r = PromotionRequest {
            jid: visitor.to_string(),
            time: Some(v.hand.unwrap_or(0)),
            user_id: open(&t.user_id),
            group_id: open(&t.group_id),
            force,
            nick: v.name.clone(),
        };
        out.extend(self.iq_to_component(Payload::PromotionRequest(r)).map(ShadowAction::Send));
    }

    fn tell_lowered(&mut self, jid: String, out: &mut Vec<ShadowAction>) {
        if self.main_down {
            self.hands_missed = true;
            if self.lowered.len() < self.config.held_hands {
                self.lowered.push_back(jid);
            }
            return;
        }
        let r = PromotionRequest { jid, ..PromotionRequest::default() };
        out.extend(self.iq_to_component(Payload::PromotionRequest(r)).map(ShadowAction::Send));
    }

    /// All hands and languages, for a main room that may not know them.
    pub(super) fn tell_everything(&mut self, now: Instant, out: &mut Vec<ShadowAction>) {
        self.hands_missed = false;
        self.hands_due.clear();
        for jid in std::mem::take(&mut self.lowered) {
            self.tell_lowered(jid, out);
        }
        let hands: Vec<FullJid> = self
            .visitors
            .iter()
            .filter(|(_, v)| v.hand.is_some() || v.hand != v.told)
            .map(|(j, _)| j.clone())
            .collect();
        for j in hands {
            self.tell_hand(now, &j, out);
        }
        self.told_languages = TranscriptionLanguages::default();
        self.languages_at = None;
        self.tell_languages(now, out);
    }

    fn uncount(&mut self, language: Option<&str>) {
        if let Some(l) = language
            && let Some(n) = self.languages.get_mut(l)
        {
            *n -= 1;
            if *n == 0 {
                self.languages.remove(l);
            }
        }
    }

    /// Told at once, then at most once per period.
    fn languages_changed(&mut self, now: Instant, out: &mut Vec<ShadowAction>) {
        match self.languages_free.filter(|t| *t > now || self.main_down) {
            Some(t) => self.languages_at = Some(t),
            None if self.main_down => self.languages_at = Some(now),
            None => self.tell_languages(now, out),
        }
    }

    pub(super) fn tell_languages(&mut self, now: Instant, out: &mut Vec<ShadowAction>) {
        let t = TranscriptionLanguages {
            langs: self.languages.keys().take(self.config.languages).cloned().collect(),
            count: self.languages.values().sum(),
        };
        if t == self.told_languages {
            return;
        }
        self.told_languages = t.clone();
        self.languages_free = Some(now + self.config.languages_every);
        out.extend(self.iq_to_component(Payload::Transcription(t)).map(ShadowAction::Send));
    }
}
