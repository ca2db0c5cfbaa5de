//! Dialback (XEP-0220) as receiving and as authoritative server, and our own listing of further pairs.

use std::time::Instant;

use amphi_stanza::{Condition, Stanza};

use super::{Incoming, IncomingOutput, PeerCheck, Phase};
use crate::StreamCondition;
use crate::s2s::dialback::{self, DialbackOutcome, VerifyRequest};
use crate::s2s::pair::{self, Pair};

/// Longest key that is passed on; ours have 64 characters.
const MAX_KEY: usize = 1024;

impl Incoming {
    pub(super) fn dialback_key(&mut self, now: Instant, s: &Stanza, check: &dyn PeerCheck) {
        let root = s.root();
        if DialbackOutcome::of(&root).is_some() {
            return self.fail(now, StreamCondition::PolicyViolation, Some("an answer to no question"));
        }
        let Some(pair) = Pair::of_element(&root) else {
            return self.fail(now, StreamCondition::ImproperAddressing, None);
        };
        let refusal = if !self.config.dialback {
            Some(Condition::NotAllowed)
        } else if !check.serves(&pair.to) {
            Some(Condition::ItemNotFound)
        } else if !check.allowed(&pair.from) {
            Some(Condition::PolicyViolation)
        } else if self.pairs.len() + self.pending.len() >= self.config.max_pairs
            || self.pending.len() >= self.config.max_pending_dialback
        {
            Some(Condition::ResourceConstraint)
        } else {
            None
        };
        if let Some(condition) = refusal {
            self.send(now, &dialback::write_result(&pair, DialbackOutcome::Error, Some(condition)));
            return self.refused(now);
        }
        let key = root.text().trim().to_owned();
        if key.is_empty() || key.len() > MAX_KEY {
            self.send(now, &dialback::write_result(&pair, DialbackOutcome::Invalid, None));
            return self.refused(now);
        }
        if self.pending.iter().any(|p| p.pair == pair) {
            return;
        }
        // A certificate is as good as an answer of the authoritative server (XEP-0344 §3).
        if self.pairs.contains(&pair) || (self.secured && check.certificate_ok(&pair.from)) {
            self.hold(now, check);
            return self.accept_dialback(now, pair);
        }
        self.hold(now, check);
        let request = VerifyRequest { pair, stream_id: self.stream_id.clone(), key };
        self.pending.push(request.clone());
        self.out.push(IncomingOutput::VerifyDialback(request));
    }

    pub(super) fn accept_dialback(&mut self, now: Instant, pair: Pair) {
        self.send(now, &dialback::write_result(&pair, DialbackOutcome::Valid, None));
        if self.remote.is_none() {
            self.remote = Some(pair.from.clone());
        }
        if self.holding.is_some() && self.primary.is_none() {
            self.holding = Some(now + self.config.hold_back);
        }
        self.authenticated(pair);
    }

    /// The answer to [`IncomingOutput::VerifyDialback`].
    pub fn dialback_result(&mut self, now: Instant, request: &VerifyRequest, outcome: DialbackOutcome) {
        if !matches!(self.phase, Phase::Negotiating | Phase::Open | Phase::Resuming { .. }) {
            return;
        }
        let Some(at) = self.pending.iter().position(|p| p == request) else { return };
        let request = self.pending.swap_remove(at);
        if outcome == DialbackOutcome::Valid {
            self.accept_dialback(now, request.pair);
        } else {
            self.send(now, &dialback::write_result(&request.pair, outcome, None));
            self.refused(now);
        }
    }

    /// Somebody asks us, as the authoritative server, about a key we are said to have given.
    pub(super) fn dialback_question(&mut self, now: Instant, s: &Stanza, check: &dyn PeerCheck) {
        let root = s.root();
        if DialbackOutcome::of(&root).is_some() {
            return self.fail(now, StreamCondition::PolicyViolation, Some("an answer to no question"));
        }
        let (Some(asker), Some(id)) = (Pair::of_element(&root), root.attr("id")) else {
            return self.fail(now, StreamCondition::ImproperAddressing, None);
        };
        let (outcome, error) = if !check.serves(&asker.to) {
            (DialbackOutcome::Error, Some(Condition::ItemNotFound))
        } else if self.secret.verify(&asker.reversed(), &id, &root.text()) {
            (DialbackOutcome::Valid, None)
        } else {
            (DialbackOutcome::Invalid, None)
        };
        self.send(now, &dialback::write_verified(s, outcome, error));
    }

    /// Our extension: each further pair is checked against the certificate, as dialback would cost a round trip each.
    pub(super) fn add_pairs(&mut self, now: Instant, s: &Stanza, check: &dyn PeerCheck) {
        if !self.config.pairs || self.phase != Phase::Open {
            return self.fail(now, StreamCondition::NotAuthorized, None);
        }
        let mut accepted = Vec::new();
        for p in pair::read_pairs(s) {
            let known = self.pairs.contains(&p);
            let proved = self.proved_itself(&p.from) || (self.secured && check.certificate_ok(&p.from));
            let room = known || self.pairs.len() < self.config.max_pairs;
            if proved && room && check.allowed(&p.from) && check.serves(&p.to) {
                if self.pairs.insert(p.clone()) {
                    self.out.push(IncomingOutput::Authenticated(p.clone()));
                }
                accepted.push(p);
            }
        }
        let answer = pair::write_pairs(accepted.iter());
        self.send(now, &answer);
    }

    /// Whether this domain is authenticated on this stream, maybe towards another of our domains.
    pub(super) fn proved_itself(&self, from: &str) -> bool {
        self.pairs.iter().any(|p| p.from == from)
    }
}
