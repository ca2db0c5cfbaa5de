//! Stanzas of authenticated pairs, those that go backwards, and stream management (XEP-0198).

use std::time::Instant;

use amphi_stanza::{Condition, ErrorType, Stanza, StanzaError};

use super::{Incoming, IncomingOutput, Managed, PeerCheck, Phase, Suspended};
use crate::link::{Outbox, wire};
use crate::sm::{self, Version};
use crate::{StreamCondition, StreamError};

impl Incoming {
    pub(super) fn stanza(&mut self, now: Instant, s: Stanza) {
        if self.must_start_tls() || self.phase != Phase::Open {
            return self.fail(now, StreamCondition::NotAuthorized, None);
        }
        let Ok(Some(from)) = s.from() else { return self.fail(now, StreamCondition::ImproperAddressing, Some("from")) };
        if !self.proved_itself(from.domain()) {
            return self.fail(now, StreamCondition::InvalidFrom, None);
        }
        let s = match wire::into_client(s) {
            Ok(s) => s,
            Err(e) => return self.fail_with(now, StreamError::from(&e)),
        };
        let output = match s.to() {
            Ok(Some(to)) if self.pairs.iter().any(|p| p.is(from.domain(), to.domain())) => IncomingOutput::Stanza(s),
            // One bad address of one user must not cost everybody the link.
            Err(_) => {
                self.handled = self.handled.wrapping_add(1);
                let error = StanzaError::new(ErrorType::Modify, Condition::JidMalformed);
                if let Some(answer) = error.answer(&s.rewrite().unset("to").stanza()) {
                    let local = self.local.clone();
                    self.out.push(IncomingOutput::Answer(answer.rewrite().set("from", local).stanza()));
                }
                return;
            }
            _ => return self.fail(now, StreamCondition::ImproperAddressing, Some("to")),
        };
        self.handled = self.handled.wrapping_add(1);
        self.out.push(output);
        if self.holding.is_some() {
            self.stop_holding();
        }
    }

    pub(super) fn management(&mut self, now: Instant, s: &Stanza, check: &dyn PeerCheck) {
        let root = s.root();
        match root.name() {
            "enable" => self.enable(now, s, check),
            "resume" => self.resume_request(now, s, check),
            "r" if matches!(self.managed, Managed::On { .. }) => {
                let a = wire::ack(self.handled);
                self.send(now, &a);
            }
            "a" if matches!(self.managed, Managed::On { .. }) => {
                let Some(h) = wire::read_h(&root) else {
                    return self.fail(now, StreamCondition::PolicyViolation, Some("h"));
                };
                self.ack_asked = None;
                match self.outbox.ack(h) {
                    Ok(_) => self.flush(now),
                    Err(e) => self.fail_with(now, e.stream_error()),
                }
            }
            _ => self.fail(now, StreamCondition::UnsupportedStanzaType, None),
        }
    }

    pub(super) fn refuse_management(&mut self, now: Instant, condition: Condition) {
        self.send(now, &sm::failed(Version::V3, condition, None));
    }

    pub(super) fn enable(&mut self, now: Instant, s: &Stanza, check: &dyn PeerCheck) {
        if self.phase != Phase::Open || matches!(self.managed, Managed::On { .. }) {
            return self.refuse_management(now, Condition::UnexpectedRequest);
        }
        if !self.manages(check) {
            return self.refuse_management(now, Condition::FeatureNotImplemented);
        }
        let resume = matches!(s.attr("resume").as_deref(), Some("true" | "1"));
        let id = resume.then(|| (self.ids)());
        let max = self.config.resume_timeout;
        self.send(now, &sm::enabled(Version::V3, id.as_deref().map(|id| (id, max))));
        self.handled = 0;
        self.outbox.start_counting();
        self.managed = Managed::On { id: id.clone() };
        self.out.push(IncomingOutput::Managed { id });
        self.stop_holding();
    }

    pub(super) fn resume_request(&mut self, now: Instant, s: &Stanza, check: &dyn PeerCheck) {
        // Once stanzas went backwards uncounted, older ones cannot come before them any more.
        if self.phase != Phase::Open || self.bidi || matches!(self.managed, Managed::On { .. }) {
            return self.refuse_management(now, Condition::UnexpectedRequest);
        }
        if !self.manages(check) {
            return self.refuse_management(now, Condition::FeatureNotImplemented);
        }
        let (Some(id), Some(h)) = (s.attr("previd"), wire::read_h(&s.root())) else {
            return self.refuse_management(now, Condition::BadRequest);
        };
        self.phase = Phase::Resuming { h };
        self.deadline = Some(now + self.config.negotiation_timeout);
        self.out.push(IncomingOutput::ResumeRequested { id: id.into_owned() });
    }

    /// The answer to [`IncomingOutput::ResumeRequested`]: the session, or `None` if there is none of this id.
    pub fn resume(&mut self, now: Instant, session: Option<Suspended>) {
        let Phase::Resuming { h } = self.phase else { return };
        self.phase = Phase::Open;
        self.deadline = None;
        let Some(mut session) = session.filter(|s| self.pairs.contains(&s.pair)) else {
            return self.refuse_management(now, Condition::ItemNotFound);
        };
        if let Err(e) = session.outbox.ack(h) {
            return self.fail_with(now, e.stream_error());
        }
        session.outbox.rewind();
        self.send(now, &sm::resumed(Version::V3, &session.id, session.handled));
        self.handled = session.handled;
        self.bidi_asked |= session.bidi;
        self.outbox = session.outbox;
        self.managed = Managed::On { id: Some(session.id) };
        self.out.push(IncomingOutput::Resumed);
        self.flush(now);
        self.stop_holding();
    }

    /// Takes the session out of a stream whose connection was lost, or of one that a resumption replaces; `None` if
    /// there is nothing to resume. The stream sends and accepts nothing any more.
    pub fn suspend(&mut self) -> Option<Suspended> {
        self.phase = Phase::Closed;
        self.deadline = None;
        let Managed::On { id: Some(id) } = std::mem::replace(&mut self.managed, Managed::Off) else { return None };
        let outbox = std::mem::replace(&mut self.outbox, Outbox::new(self.config.queue));
        Some(Suspended { id, pair: self.primary.clone()?, bidi: self.bidi, handled: self.handled, outbox })
    }

    /// Stanzas for the peer that were not sent or not acknowledged, of a stream that cannot be resumed.
    pub fn take_unsent(&mut self) -> Vec<Stanza> {
        let (mut unacked, waiting) = self.outbox.take();
        unacked.extend(waiting);
        unacked
    }

    /// Sends backwards on a stream of which the peer said [`IncomingOutput::Bidi`].
    ///
    /// # Errors
    /// Gives the stanza back if the stream may not carry it (yet) or the queue is full.
    pub fn send_back(&mut self, now: Instant, stanza: Stanza) -> Result<(), Stanza> {
        if !self.bidi || self.phase == Phase::Closed {
            return Err(stanza);
        }
        match (stanza.from(), stanza.to()) {
            (Ok(Some(f)), Ok(Some(t))) if self.pairs.iter().any(|p| p.is(t.domain(), f.domain())) => {}
            _ => return Err(stanza),
        }
        self.outbox.push(0, stanza)?;
        self.flush(now);
        Ok(())
    }

    /// While the socket does not take bytes, stanzas wait in the bounded queue instead.
    pub fn set_congested(&mut self, now: Instant, congested: bool) {
        self.congested = congested;
        self.flush(now);
    }

    pub(super) fn flush(&mut self, now: Instant) {
        if self.phase != Phase::Open || self.congested {
            return;
        }
        let keep = matches!(self.managed, Managed::On { .. });
        while let Some((_, s)) = self.outbox.peek() {
            let bytes = wire::stanza_bytes(s);
            self.outbox.mark_sent(keep);
            self.send(now, &bytes);
            self.unrequested += 1;
            if keep && self.unrequested >= self.config.ack_every {
                self.ask_ack(now);
            }
        }
        if keep && self.unrequested > 0 && self.ack_asked.is_none() {
            self.ask_ack(now);
        }
    }
}
