//! The initiating side of a stream between servers: negotiation, a bounded queue while there is no connection, and
//! acknowledgements with resumption so that a lost connection loses no stanza. The caller makes the connections and
//! decides what becomes of stanzas that it gets back.

use std::time::{Duration, Instant};

use amphi_stanza::{Stanza, StanzaKind, StreamEvent, XmlWriter, ns};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

use super::dialback::{self, DialbackOutcome, DialbackSecret, VerifyRequest};
use super::pair::{self, Pair};
use super::{Input, OutgoingConfig, PAIRS_NS, Purpose, Tls};
use crate::link::{Features, Outbox, Outlet, wire};
use crate::{StreamCondition, StreamError};

/// Why a link has no stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FailReason {
    /// The connection could not be made or was lost.
    #[error("no connection")]
    Unreachable,
    /// Negotiation, an acknowledgement or resumption took too long.
    #[error("timed out: {0}")]
    Timeout(&'static str),
    /// The peer has no TLS, or no acceptable certificate.
    #[error("TLS: {0}")]
    Tls(&'static str),
    /// Neither EXTERNAL nor dialback convinced the peer.
    #[error("authentication failed: {0}")]
    Auth(String),
    /// The peer ended the stream with an error.
    #[error("stream error: {0}")]
    StreamError(StreamError),
    /// The peer does not keep to the protocol.
    #[error("protocol: {0}")]
    Protocol(&'static str),
    /// The stream ended in order.
    #[error("stream closed")]
    Ended,
}

/// A stanza that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Its addresses are not those of a pair of this link.
    #[error("not a stanza of this link")]
    OtherPair(Stanza),
    /// The queue is full.
    #[error("queue is full")]
    Full(Stanza),
}

/// What the owner of an outbound link must do, in order.
#[derive(Debug)]
pub enum OutgoingOutput {
    /// Make a connection, then give [`Input::Connected`], or [`Input::Closed`] if it fails. An old one is closed.
    Connect,
    /// Write these bytes.
    Send(Bytes),
    /// Once everything is written: clear the reader and start TLS as the client, then give [`Input::Secured`].
    StartTls,
    /// The reader must expect a new stream header.
    Restart,
    /// Stanzas flow; with `resumed`, exactly where they stopped.
    Ready {
        /// Whether an older session continues.
        resumed: bool,
    },
    /// The peer has lost our session: what it had not acknowledged and what waited comes back. A new session follows.
    Fresh {
        /// Sent, maybe handled.
        unacked: Vec<Stanza>,
        /// Never sent.
        unsent: Vec<Stanza>,
    },
    /// The peer does not take this pair on a shared stream; these were for it and were never sent.
    PairRefused {
        /// The pair; it is no longer one of this link.
        pair: Pair,
        /// Its stanzas.
        unsent: Vec<Stanza>,
    },
    /// A stanza that came backwards on a bidirectional stream, in `jabber:client`.
    Stanza(Stanza),
    /// Answer to [`Outgoing::verify`].
    VerifyResult(VerifyRequest, DialbackOutcome),
    /// The connection was lost, the session is kept; `Connect` follows after a pause.
    Interrupted,
    /// Write what is pending and close the connection.
    Close,
    /// The link is down and holds nothing any more. The next stanza starts anew.
    Failed {
        /// Why.
        reason: FailReason,
        /// Sent or not, all that was not acknowledged, in order. Without stream management, what was sent is not here.
        unsent: Vec<Stanza>,
    },
}

impl From<Bytes> for OutgoingOutput {
    fn from(b: Bytes) -> Self {
        Self::Send(b)
    }
}

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

    // ---- connection --------------------------------------------------------------------------------------------

    fn connected(&self) -> bool {
        !matches!(self.phase, Phase::Idle | Phase::Connecting | Phase::Pausing(_))
    }

    fn want_connection(&mut self, now: Instant) {
        if self.phase == Phase::Idle {
            self.ask_connection(now);
        }
    }

    fn ask_connection(&mut self, now: Instant) {
        self.phase = Phase::Connecting;
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

    // ---- negotiation -------------------------------------------------------------------------------------------

    fn open(&mut self, now: Instant) {
        let pair = &self.config.pair;
        let h = wire::Header { xmlns: ns::SERVER, from: Some(&pair.from), to: Some(&pair.to), id: None }.write();
        self.send_bytes(now, &h);
        self.phase = Phase::Header;
    }

    fn header(&mut self, now: Instant, h: &Stanza) {
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

    fn element(&mut self, now: Instant, s: Stanza) {
        let root = s.root();
        if root.is("error", ns::STREAM) {
            return self.stream_error(now, &s);
        }
        if s.kind() != StanzaKind::Other {
            return self.stanza(now, s);
        }
        if root.is("verify", ns::DIALBACK) && self.may_verify() {
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

    fn stream_error(&mut self, now: Instant, s: &Stanza) {
        let error =
            StreamError::parse(s.root()).unwrap_or_else(|| StreamError::new(StreamCondition::UndefinedCondition));
        self.send_bytes(now, wire::END);
        let passing = wire::is_passing(error.condition);
        let reason = FailReason::StreamError(error);
        if passing { self.lost(now, reason) } else { self.fail(reason) }
    }

    fn read_features(&mut self, now: Instant, s: &Stanza) {
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

    fn send_dialback(&mut self, now: Instant) {
        let key = self.secret.key(&self.config.pair, &self.stream_id);
        let result = dialback::write_result_key(&self.config.pair, &key);
        self.send_bytes(now, &result);
        self.phase = Phase::Dialback;
    }

    fn dialback_result(&mut self, now: Instant, s: &Stanza) {
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
    fn settle(&mut self, now: Instant) {
        self.phase = Phase::Settling;
        self.pairs[0].1 = PairState::Accepted;
        self.offer_pairs(now);
        if self.config.stream_management && self.features.sm {
            let mut w = XmlWriter::new();
            match &self.session {
                Some(s) => w.open_ns("resume", ns::SM).attr("previd", &s.id).attr("h", self.handled),
                None => w.open_ns("enable", ns::SM).attr("resume", "true"),
            };
            let request = w.finish();
            self.send_bytes(now, &request);
            self.awaiting_sm = true;
        } else if self.session.is_some() {
            self.start_over();
        }
        self.settled(now);
    }

    fn settled(&mut self, now: Instant) {
        if self.phase == Phase::Settling
            && !self.awaiting_sm
            && self.pairs.iter().all(|(_, state)| *state != PairState::Asked)
        {
            self.ready(now, false);
        }
    }

    fn ready(&mut self, now: Instant, resumed: bool) {
        self.phase = Phase::Ready;
        self.deadline = None;
        self.lost_at = None;
        self.retry = self.config.retry_first;
        self.out.push(OutgoingOutput::Ready { resumed });
        self.offer_pairs(now);
        self.flush(now);
    }

    fn offer_pairs(&mut self, now: Instant) {
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
    fn refuse_pairs(&mut self, which: PairState) {
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
    fn return_refused(&mut self) {
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

    fn pairs_answer(&mut self, now: Instant, s: &Stanza) {
        for p in pair::read_pairs(s) {
            if let Some((_, state)) = self.pairs.iter_mut().find(|(q, st)| *q == p && *st == PairState::Asked) {
                *state = PairState::Accepted;
            }
        }
        self.refuse_pairs(PairState::Asked);
        self.settled(now);
        self.flush(now);
    }

    // ---- stream management -------------------------------------------------------------------------------------

    fn enabled(&mut self, now: Instant, s: &Stanza) {
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

    fn resumed(&mut self, now: Instant, s: &Stanza) {
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

    fn management_failed(&mut self, now: Instant, s: &Stanza) {
        self.awaiting_sm = false;
        if self.session.is_none() {
            return self.settled(now);
        }
        // XEP-0198 §5: the peer may still tell how far it had come.
        if let Some(h) = wire::read_h(&s.root()) {
            let _ = self.outbox.ack(h);
        }
        self.start_over();
        let mut w = XmlWriter::new();
        w.open_ns("enable", ns::SM).attr("resume", "true");
        let enable = w.finish();
        self.send_bytes(now, &enable);
        self.awaiting_sm = true;
    }

    /// The session is lost on the peer's side.
    fn start_over(&mut self) {
        let (unacked, unsent) = self.outbox.take();
        self.end_session();
        self.out.push(OutgoingOutput::Fresh { unacked, unsent });
    }

    fn ask_ack(&mut self, now: Instant) {
        self.unrequested = 0;
        self.first_unrequested = None;
        self.ack_asked.get_or_insert(now);
        self.send_bytes(now, &wire::ack_request());
    }

    fn flush(&mut self, now: Instant) {
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

    // ---- what comes backwards ----------------------------------------------------------------------------------

    fn stanza(&mut self, now: Instant, s: Stanza) {
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
        match wire::into_client(s, &self.config.limits) {
            Ok(s) => {
                self.handled = self.handled.wrapping_add(1);
                self.out.push(OutgoingOutput::Stanza(s));
            }
            Err(e) => self.violated(now, StreamError::from(&e).condition, "malformed XML"),
        }
    }

    fn may_verify(&self) -> bool {
        matches!(self.phase, Phase::External | Phase::Dialback | Phase::Settling | Phase::Ready)
    }

    fn ask_verifications(&mut self, now: Instant) {
        for i in 0..self.verifications.len() {
            if !self.verifications[i].1 {
                self.verifications[i].1 = true;
                let question = dialback::write_verify(&self.verifications[i].0);
                self.send_bytes(now, &question);
            }
        }
    }

    fn verified(&mut self, now: Instant, s: &Stanza) {
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
