//! Stream management (XEP-0198) and the flow of stanzas in both directions.

use std::time::{Duration, Instant};

use amphi_stanza::Stanza;

use super::{Outgoing, OutgoingOutput, PairState, Phase, Resumable};
use crate::link::wire;
use crate::s2s::Purpose;
use crate::{StreamCondition, StreamError};

impl Outgoing {
    pub(super) fn enabled(&mut self, now: Instant, s: &Stanza) {
        self.awaiting_sm = false;
        self.managed = true;
        self.handled = 0;
        self.outbox.start_counting();
        let resume = matches!(s.attr("resume").as_deref(), Some("true" | "1"));
        let max = s.attr("max").and_then(|v| v.parse().ok()).map(Duration::from_secs);
        self.session = s.id().filter(|_| resume).map(|id| Resumable {
            id: id.into_owned(),
            keep_for: max.map_or(self.config.resume_timeout, |m| m.min(self.config.resume_timeout)),
        });
        self.settled(now);
    }

    pub(super) fn resumed(&mut self, now: Instant, s: &Stanza) {
        let h = wire::read_h(&s.root());
        let same = self.session.as_ref().is_some_and(|r| s.attr("previd").as_deref() == Some(&r.id));
        let (Some(h), true) = (h, same) else {
            return self.violated(now, StreamCondition::PolicyViolation, "resumed something else");
        };
        if self.outbox.ack(h).is_err() {
            return self.violated(now, StreamCondition::UndefinedCondition, "acknowledged more than was sent");
        }
        self.awaiting_sm = false;
        self.outbox.rewind();
        self.return_refused();
        self.ready(now, true);
    }

    pub(super) fn management_failed(&mut self, now: Instant, s: &Stanza) {
        self.awaiting_sm = false;
        if self.session.is_none() {
            return self.settled(now);
        }
        // XEP-0198 §5: the peer may still tell how far it had come.
        if let Some(h) = wire::read_h(&s.root()) {
            let _ = self.outbox.ack(h);
        }
        self.start_over();
        self.send_bytes(now, &wire::enable());
        self.awaiting_sm = true;
    }

    /// The session is lost on the peer's side.
    pub(super) fn start_over(&mut self) {
        let (unacked, unsent) = self.outbox.take();
        self.end_session();
        self.out.push(OutgoingOutput::Fresh { unacked, unsent });
    }

    pub(super) fn ask_ack(&mut self, now: Instant) {
        self.unrequested = 0;
        self.first_unrequested = None;
        self.ack_asked.get_or_insert(now);
        self.send_bytes(now, &wire::ack_request());
    }

    pub(super) fn flush(&mut self, now: Instant) {
        if self.phase != Phase::Ready || self.congested || self.config.purpose == Purpose::Verify {
            return;
        }
        while let Some((pair, s)) = self.outbox.peek() {
            // A pair that is not accepted yet holds up the others: the order between pairs is kept.
            if self.pairs[pair as usize].1 != PairState::Accepted {
                break;
            }
            let bytes = wire::stanza_bytes(s);
            self.outbox.mark_sent(self.managed);
            self.send_bytes(now, &bytes);
            if self.managed {
                self.unrequested += 1;
                self.first_unrequested.get_or_insert(now);
                if self.unrequested >= self.config.ack_every {
                    self.ask_ack(now);
                }
            }
        }
    }

    pub(super) fn stanza(&mut self, now: Instant, s: Stanza) {
        if !self.bidi || !matches!(self.phase, Phase::Settling | Phase::Ready) {
            return self.violated(now, StreamCondition::NotAuthorized, "a stanza on a stream of the other direction");
        }
        let accepted = match (s.from(), s.to()) {
            (Ok(Some(f)), Ok(Some(t))) => {
                self.pairs.iter().any(|(p, state)| *state == PairState::Accepted && p.is(t.domain(), f.domain()))
            }
            _ => return self.violated(now, StreamCondition::ImproperAddressing, "addresses of a stanza"),
        };
        if !accepted {
            return self.violated(now, StreamCondition::InvalidFrom, "a stanza of another pair");
        }
        match wire::into_client(s) {
            Ok(s) => {
                self.handled = self.handled.wrapping_add(1);
                self.out.push(OutgoingOutput::Stanza(s));
            }
            Err(e) => self.violated(now, StreamError::from(&e).condition, "malformed XML"),
        }
    }
}
