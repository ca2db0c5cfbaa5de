//! IQs to the visitors component about this room (`spec/signaling.md` 4.4).

use std::collections::BTreeSet;
use std::time::Instant;

use amphi_stanza::{Condition, ErrorType, Stanza, StanzaError};

use super::{Action, MainLinks, Trust};
use crate::wire::{Payload, TranscriptionLanguages, VisitorsIq, WireError, result};

impl MainLinks {
    /// Answers a request to the visitors component whose `room` attribute is this room. Every request is answered.
    pub fn handle_iq(&mut self, now: Instant, iq: &Stanza, trust: Trust) -> Vec<Action> {
        let mut out = Vec::new();
        // The result goes last: when the focus has it, everything is on its way.
        let answer = match self.request(now, iq, trust, &mut out) {
            Ok(()) => Some(result(iq)),
            Err(e) => e.answer(iq),
        };
        out.extend(answer.map(Action::Send));
        out
    }

    fn request(&mut self, now: Instant, iq: &Stanza, trust: Trust, out: &mut Vec<Action>) -> Result<(), StanzaError> {
        let parsed = VisitorsIq::parse(iq).map_err(|e| e.stanza_error())?;
        if let Payload::Vnodes(list) = parsed.payload {
            if trust != Trust::Admin {
                return Err(forbidden("Only the focus connects nodes"));
            }
            // All or nothing: a focus that is told of an error must know what holds.
            if let Some((bad, _)) = list.iter().find(|(v, connect)| *connect && !self.can_connect(v)) {
                return Err(StanzaError::new(ErrorType::Cancel, Condition::NotAcceptable)
                    .text(format!("{bad} is no name of a node, or too many are connected")));
            }
            for (vnode, connect) in list {
                out.extend(if connect { self.connect_vnode(now, &vnode) } else { self.disconnect_vnode(now, &vnode) });
            }
            return Ok(());
        }
        if trust != Trust::Server {
            return Err(forbidden("Only nodes send this"));
        }
        let from = iq.from().ok().flatten().filter(|f| f.local().is_none());
        let host = from.as_ref().map(|f| f.domain().to_owned()).unwrap_or_default();
        if parsed.room != self.addr.room || self.node_by_host(&host).is_none() {
            return Err(forbidden("This node is not connected to the room"));
        }
        match parsed.payload {
            Payload::PromotionRequest(r) => self.raised_hand(now, &host, r, out),
            Payload::Transcription(t) => self.languages(&host, t, out),
            Payload::Resync => {
                self.resync(now, &host, out);
                Ok(())
            }
            _ => Err(WireError::Unknown.stanza_error()),
        }
    }

    fn languages(&mut self, host: &str, t: TranscriptionLanguages, out: &mut Vec<Action>) -> Result<(), StanzaError> {
        if t.langs.len() > self.config.languages || t.langs.iter().any(|l| l.len() > 35) {
            return Err(StanzaError::new(ErrorType::Modify, Condition::PolicyViolation).text("Too many languages"));
        }
        if let Some(n) = self.nodes.values_mut().find(|n| n.addr.host == host) {
            n.langs = t;
        }
        self.sum_languages(out);
        Ok(())
    }

    pub(super) fn sum_languages(&mut self, out: &mut Vec<Action>) {
        let langs: BTreeSet<&str> =
            self.nodes.values().flat_map(|n| n.langs.langs.iter().map(String::as_str)).collect();
        let count = self.nodes.values().fold(0u64, |c, n| c.saturating_add(n.langs.count));
        let sum = TranscriptionLanguages { langs: langs.into_iter().map(str::to_owned).collect(), count };
        if sum != self.langs {
            self.langs = sum.clone();
            out.push(Action::Transcribing(sum));
        }
    }
}

fn forbidden(text: &str) -> StanzaError {
    StanzaError::new(ErrorType::Auth, Condition::Forbidden).text(text)
}
