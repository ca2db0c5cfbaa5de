//! From the stream header to `Ready`: TLS, EXTERNAL or dialback, pairs; and questions about dialback keys, which may be
//! asked as soon as the stream is protected.

use std::time::Instant;

use amphi_stanza::{Stanza, StanzaKind, XmlWriter, ns};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{FailReason, Outgoing, OutgoingOutput, PairState, Phase};
use crate::link::{Features, wire};
use crate::s2s::dialback::{self, DialbackOutcome};
use crate::s2s::pair::{self, Pair};
use crate::s2s::{PAIRS_NS, Purpose, Tls};
use crate::{StreamCondition, StreamError};

impl Outgoing {
    pub(super) fn open(&mut self, now: Instant) {
        let pair = &self.config.pair;
        let h = wire::Header { xmlns: ns::SERVER, from: Some(&pair.from), to: Some(&pair.to), id: None }.write();
        self.send_bytes(now, &h);
        self.phase = Phase::Header;
    }

    pub(super) fn header(&mut self, now: Instant, h: &Stanza) {
        let root = h.root();
        if self.phase != Phase::Header {
            return self.violated(now, StreamCondition::NotWellFormed, "a second stream header");
        }
        if !root.is("stream", ns::STREAM) || root.attr("xmlns").as_deref() != Some(ns::SERVER) {
            return self.violated(now, StreamCondition::InvalidNamespace, "not a stream between servers");
        }
        if root.attr("version").and_then(|v| v.split('.').next()?.parse::<u32>().ok()).is_none_or(|m| m < 1) {
            return self.violated(now, StreamCondition::UnsupportedVersion, "no XMPP 1.0");
        }
        // RFC 6120 §4.7.1: an answer from somebody else is not for us. An empty one goes before a stream error.
        if root.attr("from").is_some_and(|f| pair::domain(&f).as_deref() != Some(&self.config.pair.to)) {
            return self.violated(now, StreamCondition::InvalidFrom, "another server answers");
        }
        self.stream_id = root.attr("id").unwrap_or_default().into_owned();
        self.phase = Phase::Features;
    }

    pub(super) fn element(&mut self, now: Instant, s: Stanza) {
        let root = s.root();
        if root.is("error", ns::STREAM) {
            return self.stream_error(now, &s);
        }
        if s.kind() != StanzaKind::Other {
            return self.stanza(now, s);
        }
        if root.is("verify", ns::DIALBACK) && self.verifications.iter().any(|(_, asked)| *asked) {
            return self.verified(now, &s);
        }
        match (self.phase, root.name(), root.ns()) {
            (Phase::Features, "features", ns::STREAM) => self.read_features(now, &s),
            (Phase::AskedTls, "proceed", ns::TLS) => {
                self.phase = Phase::Handshake;
                self.out.push(OutgoingOutput::StartTls);
            }
            (Phase::AskedTls, "failure", ns::TLS) => self.fail(FailReason::Tls("refused by the peer")),
            (Phase::External, "success", ns::SASL) => {
                self.authenticated = true;
                self.out.push(OutgoingOutput::Restart);
                self.open(now);
            }
            (Phase::External, "failure", ns::SASL) => {
                let condition = root.children().next().map_or("", |c| c.name()).to_owned();
                if self.config.dialback && self.features.dialback {
                    self.send_dialback(now);
                } else {
                    self.send_bytes(now, wire::END);
                    self.fail(FailReason::Auth(condition));
                }
            }
            (Phase::Dialback, "result", ns::DIALBACK) => self.dialback_result(now, &s),
            (Phase::Settling | Phase::Ready, "pairs", PAIRS_NS) => self.pairs_answer(now, &s),
            (Phase::Settling, "enabled", ns::SM) if self.awaiting_sm => self.enabled(now, &s),
            (Phase::Settling, "resumed", ns::SM) if self.awaiting_sm => self.resumed(now, &s),
            (Phase::Settling, "failed", ns::SM) if self.awaiting_sm => self.management_failed(now, &s),
            (Phase::Ready, "r", ns::SM) if self.managed => {
                let a = wire::ack(self.handled);
                self.send_bytes(now, &a);
            }
            (Phase::Ready, "a", ns::SM) if self.managed => {
                let Some(h) = wire::read_h(&root) else {
                    return self.violated(now, StreamCondition::PolicyViolation, "acknowledgement without a count");
                };
                self.ack_asked = None;
                if self.outbox.ack(h).is_err() {
                    return self.violated(now, StreamCondition::UndefinedCondition, "acknowledged more than was sent");
                }
                self.flush(now);
            }
            // Features may be announced again, as some servers do after dialback.
            (Phase::Dialback | Phase::Settling | Phase::Ready, "features", ns::STREAM) => {}
            _ => self.violated(now, StreamCondition::UnsupportedStanzaType, "unexpected element"),
        }
    }

    pub(super) fn stream_error(&mut self, now: Instant, s: &Stanza) {
        let error =
            StreamError::parse(s.root()).unwrap_or_else(|| StreamError::new(StreamCondition::UndefinedCondition));
        self.send_bytes(now, wire::END);
        let passing = wire::is_passing(error.condition);
        let reason = FailReason::StreamError(error);
        if passing { self.lost(now, reason) } else { self.fail(reason) }
    }

    pub(super) fn read_features(&mut self, now: Instant, s: &Stanza) {
        self.features = Features::read(s).unwrap_or_default();
        if !self.secured {
            match (self.config.tls, self.features.starttls) {
                (Tls::Required | Tls::IfOffered, true) => {
                    self.send_bytes(now, &wire::empty("starttls", ns::TLS));
                    self.phase = Phase::AskedTls;
                    return;
                }
                (Tls::Required | Tls::Direct, _) => {
                    self.send_bytes(now, wire::END);
                    return self.fail(FailReason::Tls("not offered by the peer"));
                }
                (Tls::IfOffered | Tls::Off, _) => {}
            }
        }
        if self.authenticated {
            return self.settle(now);
        }
        if self.config.purpose == Purpose::Verify {
            self.phase = Phase::Ready;
            self.failures = 0;
            self.deadline = None;
            return self.ask_verifications(now);
        }
        if self.config.bidi && self.features.bidi {
            self.send_bytes(now, &wire::empty("bidi", ns::BIDI));
            self.bidi = true;
        }
        if self.config.external && self.features.has_mechanism("EXTERNAL") {
            let mut w = XmlWriter::new();
            w.open_ns("auth", ns::SASL).attr("mechanism", "EXTERNAL").text(BASE64.encode(&self.config.pair.from));
            let auth = w.finish();
            self.send_bytes(now, &auth);
            self.phase = Phase::External;
        } else if self.config.dialback {
            // RFC 6120 says nothing of servers that do not announce dialback; those that know it answer.
            self.send_dialback(now);
        } else {
            self.send_bytes(now, wire::END);
            return self.fail(FailReason::Auth("no common mechanism".to_owned()));
        }
        self.ask_verifications(now);
    }

    pub(super) fn send_dialback(&mut self, now: Instant) {
        let key = self.secret.key(&self.config.pair, &self.stream_id);
        let result = dialback::write_result_key(&self.config.pair, &key);
        self.send_bytes(now, &result);
        self.phase = Phase::Dialback;
    }

    pub(super) fn dialback_result(&mut self, now: Instant, s: &Stanza) {
        let root = s.root();
        if Pair::of_element(&root).is_none_or(|p| p.reversed() != self.config.pair) {
            return self.violated(now, StreamCondition::InvalidFrom, "dialback result of another pair");
        }
        match DialbackOutcome::of(&root) {
            Some(DialbackOutcome::Valid) => {
                self.authenticated = true;
                self.settle(now);
            }
            Some(other) => {
                let condition = root.child_named("error").and_then(|e| e.children().next().map(|c| c.name()));
                let what = if other == DialbackOutcome::Invalid { "invalid" } else { "error" };
                let text = condition.map_or_else(|| ["dialback: ", what].concat(), |c| ["dialback: ", c].concat());
                self.send_bytes(now, wire::END);
                self.fail(FailReason::Auth(text));
            }
            None => self.violated(now, StreamCondition::UnsupportedStanzaType, "a dialback key on a stream we opened"),
        }
    }

    /// Authenticated: list the pairs and turn on acknowledgements, in one go.
    pub(super) fn settle(&mut self, now: Instant) {
        self.phase = Phase::Settling;
        self.pairs[0].1 = PairState::Accepted;
        self.offer_pairs(now);
        if self.config.stream_management && self.features.sm {
            let request = match &self.session {
                Some(s) => wire::resume(&s.id, self.handled),
                None => wire::enable(),
            };
            self.send_bytes(now, &request);
            self.awaiting_sm = true;
        } else if self.session.is_some() {
            self.start_over();
        }
        self.settled(now);
    }

    pub(super) fn settled(&mut self, now: Instant) {
        if self.phase == Phase::Settling
            && !self.awaiting_sm
            && self.pairs.iter().all(|(_, state)| *state != PairState::Asked)
        {
            self.ready(now, false);
        }
    }

    pub(super) fn ready(&mut self, now: Instant, resumed: bool) {
        self.phase = Phase::Ready;
        self.deadline = None;
        self.failures = 0;
        self.lost_at = None;
        self.retry = self.config.retry_first;
        self.out.push(OutgoingOutput::Ready { resumed });
        self.offer_pairs(now);
        self.flush(now);
    }

    pub(super) fn offer_pairs(&mut self, now: Instant) {
        if self.pairs.iter().all(|(_, state)| *state != PairState::New) {
            return;
        }
        if !self.features.pairs {
            return self.refuse_pairs(PairState::New);
        }
        let asked = pair::write_pairs(self.pairs.iter().filter(|(_, s)| *s == PairState::New).map(|(p, _)| p));
        self.send_bytes(now, &asked);
        for (_, state) in self.pairs.iter_mut().filter(|(_, s)| *s == PairState::New) {
            *state = PairState::Asked;
        }
    }

    /// The pairs in this state are not for this stream.
    pub(super) fn refuse_pairs(&mut self, which: PairState) {
        for i in 0..self.pairs.len() {
            if self.pairs[i].1 == which {
                self.pairs[i].1 = PairState::Refused;
                let unsent = self.outbox.take_waiting(i as u32);
                let pair = self.pairs[i].0.clone();
                self.out.push(OutgoingOutput::PairRefused { pair, unsent });
            }
        }
    }

    /// After a resumption, a pair that the peer took before and refuses now must not hold up the others.
    pub(super) fn return_refused(&mut self) {
        for i in 0..self.pairs.len() {
            if self.pairs[i].1 == PairState::Refused {
                let unsent = self.outbox.take_waiting(i as u32);
                if !unsent.is_empty() {
                    let pair = self.pairs[i].0.clone();
                    self.out.push(OutgoingOutput::PairRefused { pair, unsent });
                }
            }
        }
    }

    pub(super) fn pairs_answer(&mut self, now: Instant, s: &Stanza) {
        for p in pair::read_pairs(s) {
            if let Some((_, state)) = self.pairs.iter_mut().find(|(q, st)| *q == p && *st == PairState::Asked) {
                *state = PairState::Accepted;
            }
        }
        self.refuse_pairs(PairState::Asked);
        self.settled(now);
        self.flush(now);
    }

    pub(super) fn may_verify(&self) -> bool {
        matches!(self.phase, Phase::External | Phase::Dialback | Phase::Settling | Phase::Ready)
    }

    pub(super) fn ask_verifications(&mut self, now: Instant) {
        for i in 0..self.verifications.len() {
            if !self.verifications[i].1 {
                self.verifications[i].1 = true;
                let question = dialback::write_verify(&self.verifications[i].0);
                self.send_bytes(now, &question);
            }
        }
    }

    pub(super) fn verified(&mut self, now: Instant, s: &Stanza) {
        let root = s.root();
        let (Some(pair), Some(outcome)) = (Pair::of_element(&root), DialbackOutcome::of(&root)) else {
            return self.violated(now, StreamCondition::ImproperAddressing, "a dialback answer without addresses");
        };
        let id = root.attr("id").unwrap_or_default();
        let found = self.verifications.iter().position(|(v, asked)| *asked && v.pair == pair && v.stream_id == id);
        // An answer nobody waits for any more changes nothing.
        if let Some(i) = found {
            let (request, _) = self.verifications.swap_remove(i);
            self.out.push(OutgoingOutput::VerifyResult(request, outcome));
        }
    }
}
