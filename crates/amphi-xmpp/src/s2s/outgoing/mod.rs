//! The initiating side of a stream between servers: negotiation, a bounded queue while there is no connection, and
//! acknowledgements with resumption so that a lost connection loses no stanza. The caller makes the connections and
//! decides what becomes of stanzas that it gets back.

mod management;
mod negotiation;
mod output;

use std::time::{Duration, Instant};

use amphi_stanza::{Stanza, StreamEvent};

use super::dialback::{DialbackOutcome, DialbackSecret, VerifyRequest};
use super::pair::Pair;
use super::{Input, OutgoingConfig, Purpose, Tls};
use crate::link::{Features, Outbox, Outlet, wire};
use crate::{StreamCondition, StreamError};

pub use output::{FailReason, OutgoingOutput, SendError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing to do, no connection.
    Idle,
    /// `Connect` was asked for.
    Connecting,
    /// Waiting to connect again.
    Pausing(Instant),
    Header,
    Features,
    /// `<starttls/>` was sent.
    AskedTls,
    Handshake,
    /// EXTERNAL was sent.
    External,
    /// The dialback key was sent.
    Dialback,
    /// `<pairs>`, `<enable/>` or `<resume/>` wait for answers.
    Settling,
    Ready,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PairState {
    /// Not yet offered to the peer on this connection.
    New,
    /// Offered.
    Asked,
    Accepted,
    Refused,
}

/// A session that can be resumed.
#[derive(Clone, Debug)]
struct Resumable {
    id: String,
    keep_for: Duration,
}

/// One outbound link: a queue of stanzas and the stream that carries it.
pub struct Outgoing {
    config: OutgoingConfig,
    secret: DialbackSecret,
    phase: Phase,
    secured: bool,
    authenticated: bool,
    stream_id: String,
    features: Features,
    pairs: Vec<(Pair, PairState)>,
    outbox: Outbox,
    bidi: bool,
    /// Stream management is on, on this connection or in the session that waits for one.
    managed: bool,
    session: Option<Resumable>,
    lost_at: Option<Instant>,
    handled: u32,
    awaiting_sm: bool,
    verifications: Vec<(VerifyRequest, bool)>,
    congested: bool,
    unrequested: usize,
    first_unrequested: Option<Instant>,
    ack_asked: Option<Instant>,
    deadline: Option<Instant>,
    retry: Duration,
    /// Attempts in a row that did not come to `Ready`, and when the last one began.
    failures: u32,
    last_attempt: Instant,
    last_sent: Instant,
    last_received: Instant,
    out: Outlet<OutgoingOutput>,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").field("pair", &self.config.pair).field("phase", &self.phase).finish_non_exhaustive()
    }
}

impl Outgoing {
    /// A link without connection; the first stanza or question asks for one.
    pub fn new(now: Instant, config: OutgoingConfig, secret: DialbackSecret) -> Self {
        let pairs = std::iter::once(&config.pair)
            .chain(config.more_pairs.iter().filter(|p| **p != config.pair))
            .map(|p| (p.clone(), PairState::New))
            .collect();
        Self {
            outbox: Outbox::new(config.queue),
            retry: config.retry_first,
            config,
            secret,
            phase: Phase::Idle,
            secured: false,
            authenticated: false,
            stream_id: String::new(),
            features: Features::default(),
            pairs,
            bidi: false,
            managed: false,
            session: None,
            lost_at: None,
            handled: 0,
            awaiting_sm: false,
            verifications: Vec::new(),
            congested: false,
            unrequested: 0,
            first_unrequested: None,
            ack_asked: None,
            deadline: None,
            failures: 0,
            last_attempt: now,
            last_sent: now,
            last_received: now,
            out: Outlet::new(),
        }
    }

    /// The pair of the stream header.
    pub fn pair(&self) -> &Pair {
        &self.config.pair
    }

    /// Whether stanzas flow.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Whether the peer may send stanzas to us on this stream.
    pub fn is_bidi(&self) -> bool {
        self.bidi && self.phase == Phase::Ready
    }

    /// Stanzas that wait or are not acknowledged.
    pub fn queued(&self) -> usize {
        self.outbox.len()
    }

    /// The next output; `None` when there is nothing left.
    pub fn poll_output(&mut self) -> Option<OutgoingOutput> {
        self.out.pop()
    }

    /// Queues a stanza; it goes out at once if it can, else asks for a connection.
    ///
    /// # Errors
    /// Gives the stanza back if it is not for this link or the queue is full.
    pub fn send(&mut self, now: Instant, stanza: Stanza) -> Result<(), SendError> {
        let at = match (stanza.from(), stanza.to()) {
            (Ok(Some(f)), Ok(Some(t))) => self.pairs.iter().position(|(p, _)| p.is(f.domain(), t.domain())),
            _ => None,
        };
        let open = self.config.purpose == Purpose::Stanzas;
        let Some(at) = at.filter(|i| open && self.pairs[*i].1 != PairState::Refused) else {
            return Err(SendError::OtherPair(stanza));
        };
        self.outbox.push(at as u32, stanza).map_err(SendError::Full)?;
        self.want_connection(now);
        self.flush(now);
        Ok(())
    }

    /// Asks the peer, as the authoritative server of `request.pair.from`, about a dialback key. The answer is
    /// [`OutgoingOutput::VerifyResult`].
    pub fn verify(&mut self, now: Instant, request: VerifyRequest) {
        if self.verifications.len() >= self.config.max_verifications {
            return self.out.push(OutgoingOutput::VerifyResult(request, DialbackOutcome::Error));
        }
        self.verifications.push((request, false));
        self.want_connection(now);
        if self.may_verify() {
            self.ask_verifications(now);
        }
    }

    /// Asks for a connection although there is nothing to send yet.
    pub fn connect(&mut self, now: Instant) {
        self.want_connection(now);
    }

    /// Adds a pair to the link.
    pub fn add_pair(&mut self, now: Instant, pair: Pair) {
        match self.pairs.iter_mut().find(|(p, _)| *p == pair) {
            Some((_, PairState::New | PairState::Asked | PairState::Accepted)) => return,
            Some((_, state)) => *state = PairState::New,
            None => self.pairs.push((pair, PairState::New)),
        }
        if self.phase == Phase::Ready {
            self.offer_pairs(now);
        }
    }

    /// While the socket does not take bytes, stanzas wait in the bounded queue instead.
    pub fn set_congested(&mut self, now: Instant, congested: bool) {
        self.congested = congested;
        self.flush(now);
    }

    /// Ends the link in order. What was not acknowledged comes back in [`OutgoingOutput::Failed`].
    pub fn shut(&mut self, now: Instant) {
        if self.connected() {
            if self.managed && self.phase == Phase::Ready {
                let a = wire::ack(self.handled);
                self.send_bytes(now, &a);
            }
            if self.phase != Phase::Handshake {
                self.send_bytes(now, wire::END);
            }
        }
        self.fail(FailReason::Ended);
    }

    /// Feeds one thing that happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Tick => self.tick(now),
            Input::Connected => {
                if self.phase == Phase::Connecting {
                    self.secured = self.config.tls == Tls::Direct;
                    self.last_received = now;
                    self.open(now);
                }
            }
            Input::Secured { certificate_ok } => {
                if self.phase != Phase::Handshake {
                    return;
                }
                self.last_received = now;
                self.secured = true;
                if !certificate_ok && self.config.require_certificate {
                    return self.fail(FailReason::Tls("the certificate is not the peer's"));
                }
                self.open(now);
            }
            Input::Received => self.last_received = now,
            Input::Closed => {
                if self.connected() || self.phase == Phase::Connecting {
                    self.lost(now, FailReason::Unreachable);
                }
            }
            Input::Invalid(e) => {
                if self.connected() {
                    self.violated(now, StreamError::from(&e).condition, "malformed XML");
                }
            }
            Input::Event(e) => {
                if !self.connected() {
                    return;
                }
                self.last_received = now;
                match e {
                    StreamEvent::Header(h) => self.header(now, &h),
                    StreamEvent::Element(s) => self.element(now, s),
                    StreamEvent::End => {
                        self.send_bytes(now, wire::END);
                        self.fail(FailReason::Ended);
                    }
                }
            }
        }
    }

    /// When [`Input::Tick`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let pause = match self.phase {
            Phase::Pausing(t) => Some(t),
            _ => None,
        };
        let ready = self.phase == Phase::Ready;
        let alive = ready.then(|| self.last_sent + self.config.keepalive);
        let dead = self.ack_asked.filter(|_| ready).map(|t| t.max(self.last_received) + self.config.dead_after);
        let ask = self.first_unrequested.filter(|_| ready).map(|t| t + self.config.ack_delay);
        [pause, self.deadline, alive, dead, ask, self.give_up_at()].into_iter().flatten().min()
    }

    fn give_up_at(&self) -> Option<Instant> {
        Some(self.lost_at? + self.session.as_ref()?.keep_for)
    }

    fn tick(&mut self, now: Instant) {
        if self.give_up_at().is_some_and(|t| t <= now) {
            return self.fail(FailReason::Timeout("resumption"));
        }
        if self.deadline.is_some_and(|d| d <= now) {
            return self.lost(now, FailReason::Timeout("negotiation"));
        }
        if matches!(self.phase, Phase::Pausing(t) if t <= now) {
            return self.ask_connection(now);
        }
        if self.phase != Phase::Ready {
            return;
        }
        if self.ack_asked.is_some_and(|t| t.max(self.last_received) + self.config.dead_after <= now) {
            return self.lost(now, FailReason::Timeout("acknowledgement"));
        }
        if self.first_unrequested.is_some_and(|t| t + self.config.ack_delay <= now) {
            self.ask_ack(now);
        }
        if self.last_sent + self.config.keepalive <= now {
            if self.managed { self.ask_ack(now) } else { self.send_bytes(now, b" ") }
        }
    }

    fn connected(&self) -> bool {
        !matches!(self.phase, Phase::Idle | Phase::Connecting | Phase::Pausing(_))
    }

    fn want_connection(&mut self, now: Instant) {
        if self.phase != Phase::Idle {
            return;
        }
        // A caller that sends again at once what a failed attempt gave back must not make us knock without end.
        let pause = match self.failures {
            0 => Duration::ZERO,
            n => self.config.retry_first.saturating_mul(1 << (n - 1).min(16)).min(self.config.retry_max),
        };
        let at = self.last_attempt + pause;
        if at <= now {
            self.ask_connection(now);
        } else {
            self.phase = Phase::Pausing(at);
        }
    }

    fn ask_connection(&mut self, now: Instant) {
        self.phase = Phase::Connecting;
        self.last_attempt = now;
        self.failures = self.failures.saturating_add(1);
        self.deadline = Some(now + self.config.negotiation_timeout);
        self.out.push(OutgoingOutput::Connect);
    }

    fn send_bytes(&mut self, now: Instant, bytes: &[u8]) {
        self.last_sent = now;
        self.out.bytes(bytes);
    }

    /// Forgets everything that belonged to the connection.
    fn reset_connection(&mut self) {
        self.secured = false;
        self.authenticated = false;
        self.awaiting_sm = false;
        self.features = Features::default();
        self.bidi = false;
        self.deadline = None;
        self.ack_asked = None;
        self.first_unrequested = None;
        self.unrequested = 0;
        self.congested = false;
        // A refused pair is no longer one of this link until it is added again.
        for (_, state) in self.pairs.iter_mut().filter(|(_, s)| *s != PairState::Refused) {
            *state = PairState::New;
        }
        for (request, _) in std::mem::take(&mut self.verifications) {
            self.out.push(OutgoingOutput::VerifyResult(request, DialbackOutcome::Error));
        }
    }

    /// The connection is gone through nobody's will: try to resume, if there is a session.
    fn lost(&mut self, now: Instant, reason: FailReason) {
        if self.session.is_none() {
            return self.fail(reason);
        }
        if self.connected() || self.phase == Phase::Connecting {
            self.out.push(OutgoingOutput::Close);
        }
        if self.lost_at.is_none() {
            self.lost_at = Some(now);
            self.retry = self.config.retry_first;
            self.out.push(OutgoingOutput::Interrupted);
        }
        self.reset_connection();
        self.phase = Phase::Pausing(now + self.retry);
        self.retry = (self.retry * 2).min(self.config.retry_max);
    }

    fn fail(&mut self, reason: FailReason) {
        if self.connected() || self.phase == Phase::Connecting {
            self.out.push(OutgoingOutput::Close);
        }
        self.reset_connection();
        self.end_session();
        self.phase = Phase::Idle;
        let (mut unsent, waiting) = self.outbox.take();
        unsent.extend(waiting);
        self.out.push(OutgoingOutput::Failed { reason, unsent });
    }

    fn end_session(&mut self) {
        self.session = None;
        self.managed = false;
        self.lost_at = None;
        self.handled = 0;
        self.retry = self.config.retry_first;
    }

    /// The peer broke the protocol: tell it, and end the session with the stream.
    fn violated(&mut self, now: Instant, condition: StreamCondition, what: &'static str) {
        self.send_bytes(now, &StreamError::new(condition).text(what).write());
        self.send_bytes(now, wire::END);
        self.fail(FailReason::Protocol(what));
    }
}
