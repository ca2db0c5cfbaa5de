//! The accepting side of a stream between servers: negotiation, and the check that every stanza comes from a pair of
//! domains that was authenticated on this stream. The caller verifies certificates and dialback keys, keeps sessions
//! that may be resumed, and routes the stanzas.

use std::collections::HashSet;
use std::time::Instant;

use amphi_stanza::{Condition, ErrorType, Stanza, StanzaError, StanzaKind, StreamEvent, XmlWriter, ns};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

use super::dialback::{self, DialbackOutcome, DialbackSecret, VerifyRequest};
use super::pair::{self, Pair};
use super::{IncomingConfig, Input, PAIRS_NS, RESTRICTED, Tls};
use crate::link::{Outbox, Outlet, wire};
use crate::{StreamCondition, StreamError};

/// What an acceptor must know about its peer and its own node.
pub trait PeerCheck {
    /// Whether the certificate that the peer showed on this connection is acceptable for this domain.
    fn certificate_ok(&self, domain: &str) -> bool;
    /// Whether this domain may talk to us at all (`s2s_whitelist`, `spec/signaling.md` 4.14).
    fn allowed(&self, from: &str) -> bool;
    /// Whether we serve this domain.
    fn serves(&self, domain: &str) -> bool;
    /// Whether stream management is offered to this peer.
    fn stream_management(&self, from: &str) -> bool;
}

/// Source of stream and session ids; they must not be guessable.
pub type StreamIds = Box<dyn FnMut() -> String + Send>;

/// Random ids of 128 bits.
pub fn random_ids() -> StreamIds {
    Box::new(|| uuid::Uuid::new_v4().simple().to_string())
}

/// What the owner of an inbound stream must do, in order.
#[derive(Debug)]
pub enum IncomingOutput {
    /// Write these bytes.
    Send(Bytes),
    /// Once everything is written: clear the reader and start TLS as the server, then give [`Input::Secured`].
    StartTls,
    /// The reader must expect a new stream header.
    Restart,
    /// Ask the authoritative server, then call [`Incoming::dialback_result`].
    VerifyDialback(VerifyRequest),
    /// Stanzas of this pair are accepted from now on.
    Authenticated(Pair),
    /// The peer wants us to use this stream backwards for its authenticated pairs.
    Bidi,
    /// Stream management is on. With an id the peer may resume: see [`Incoming::suspend`].
    Managed {
        /// Id of the session.
        id: Option<String>,
    },
    /// The peer wants to resume this session; answer with [`Incoming::resume`] before the next input. If another
    /// connection still holds the session, it is to be suspended and closed first.
    ResumeRequested {
        /// Id of the session.
        id: String,
    },
    /// The session was resumed.
    Resumed,
    /// A stanza of an authenticated pair, in `jabber:client`.
    Stanza(Stanza),
    /// A stanza error for the peer, to be routed on whatever stream leads there.
    Answer(Stanza),
    /// A stanza given to [`Incoming::send_back`] for which the resumed session has no room.
    NotSent(Stanza),
    /// Write what is pending and close the connection. After this nothing comes any more.
    Close {
        /// The stream error that we sent or received; `None` for an orderly end or a lost connection.
        error: Option<StreamError>,
    },
}

impl From<Bytes> for IncomingOutput {
    fn from(b: Bytes) -> Self {
        Self::Send(b)
    }
}

/// A session whose connection was lost, to be kept for the time the peer was told.
#[derive(Debug)]
pub struct Suspended {
    id: String,
    pair: Pair,
    bidi: bool,
    handled: u32,
    outbox: Outbox,
}

impl Suspended {
    /// Id of the session.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The pair whose stream it was.
    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    /// Gives up the session: the stanzas that went backwards and were not acknowledged, and those not yet sent.
    pub fn expire(mut self) -> Vec<Stanza> {
        let (mut unacked, waiting) = self.outbox.take();
        unacked.extend(waiting);
        unacked
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waiting for a stream header.
    Header,
    /// Features were sent; nobody is authenticated on this connection.
    Negotiating,
    /// `<proceed/>` was sent.
    Tls,
    /// At least one pair is authenticated.
    Open,
    /// Waiting for [`Incoming::resume`]; `h` is what the peer has handled.
    Resuming {
        h: u32,
    },
    Closed,
}

#[derive(Debug)]
enum Managed {
    Off,
    On { id: Option<String> },
}

/// One inbound stream.
pub struct Incoming {
    config: IncomingConfig,
    secret: DialbackSecret,
    ids: StreamIds,
    phase: Phase,
    secured: bool,
    stream_id: String,
    /// `from` and `to` of the header.
    remote: Option<String>,
    local: String,
    /// Proved by EXTERNAL, before the stream restarted.
    external: Option<String>,
    pairs: HashSet<Pair>,
    /// First authenticated pair: the session is its.
    primary: Option<Pair>,
    pending: Vec<VerifyRequest>,
    refusals: u32,
    bidi: bool,
    managed: Managed,
    handled: u32,
    outbox: Outbox,
    unrequested: usize,
    congested: bool,
    /// Until then nothing goes backwards: the peer may be about to resume, and what it missed comes first.
    holding: Option<Instant>,
    out: Outlet<IncomingOutput>,
    deadline: Option<Instant>,
    last_sent: Instant,
    last_received: Instant,
    ack_asked: Option<Instant>,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("phase", &self.phase).field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl Incoming {
    /// A stream on a connection just accepted.
    pub fn new(now: Instant, config: IncomingConfig, secret: DialbackSecret, ids: StreamIds) -> Self {
        Self {
            secured: config.tls == Tls::Direct,
            deadline: Some(now + config.negotiation_timeout),
            outbox: Outbox::new(config.queue),
            config,
            secret,
            ids,
            phase: Phase::Header,
            stream_id: String::new(),
            remote: None,
            local: String::new(),
            external: None,
            pairs: HashSet::new(),
            primary: None,
            pending: Vec::new(),
            refusals: 0,
            bidi: false,
            managed: Managed::Off,
            handled: 0,
            unrequested: 0,
            congested: false,
            holding: None,
            out: Outlet::new(),
            last_sent: now,
            last_received: now,
            ack_asked: None,
        }
    }

    /// The next output; `None` when there is nothing left.
    pub fn poll_output(&mut self) -> Option<IncomingOutput> {
        self.out.pop()
    }

    /// Domain of the peer, as its header says. Not proved unless [`IncomingOutput::Authenticated`] came.
    pub fn remote(&self) -> Option<&str> {
        self.remote.as_deref()
    }

    /// Feeds one thing that happened.
    pub fn handle(&mut self, now: Instant, input: Input, check: &dyn PeerCheck) {
        if self.phase == Phase::Closed {
            return;
        }
        match input {
            Input::Tick => self.tick(now),
            Input::Connected | Input::Received => self.last_received = now,
            Input::Secured { .. } => {
                self.last_received = now;
                if self.phase == Phase::Tls {
                    self.secured = true;
                    self.phase = Phase::Header;
                }
            }
            Input::Closed => self.close(None),
            Input::Invalid(e) => self.fail_with(now, StreamError::from(&e)),
            Input::Event(e) => {
                self.last_received = now;
                match e {
                    StreamEvent::Header(h) => self.header(now, &h, check),
                    StreamEvent::Element(s) => self.element(now, s, check),
                    StreamEvent::End => self.end(now),
                }
            }
        }
    }

    /// When [`Input::Tick`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.phase == Phase::Closed {
            return None;
        }
        let dead = self.ack_asked.map(|t| t.max(self.last_received) + self.config.dead_after);
        let alive = (self.phase == Phase::Open).then(|| self.last_sent + self.config.keepalive);
        [self.deadline, dead, alive, self.holding].into_iter().flatten().min()
    }

    fn tick(&mut self, now: Instant) {
        if self.deadline.is_some_and(|d| d <= now) {
            return self.fail(now, StreamCondition::ConnectionTimeout, None);
        }
        if self.ack_asked.is_some_and(|t| t.max(self.last_received) + self.config.dead_after <= now) {
            // The peer is gone: it may come back and resume, so no stream error ends the session.
            return self.close(Some(StreamError::new(StreamCondition::ConnectionTimeout)));
        }
        if self.holding.is_some_and(|t| t <= now) {
            self.holding = None;
            self.flush(now);
        }
        if self.phase == Phase::Open && self.last_sent + self.config.keepalive <= now {
            match self.managed {
                Managed::On { .. } => self.ask_ack(now),
                Managed::Off => self.send(now, b" "),
            }
        }
    }

    fn send(&mut self, now: Instant, bytes: &[u8]) {
        self.last_sent = now;
        self.out.bytes(bytes);
    }

    fn ask_ack(&mut self, now: Instant) {
        self.unrequested = 0;
        self.ack_asked.get_or_insert(now);
        self.send(now, &wire::ack_request());
    }

    fn close(&mut self, error: Option<StreamError>) {
        self.phase = Phase::Closed;
        self.deadline = None;
        self.out.push(IncomingOutput::Close { error });
    }

    /// A stream error ends the session for good: what it said would only be said again after a resumption.
    fn fail(&mut self, now: Instant, condition: StreamCondition, text: Option<&'static str>) {
        let error = StreamError::new(condition);
        self.fail_with(now, if let Some(t) = text { error.text(t) } else { error });
    }

    fn fail_with(&mut self, now: Instant, error: StreamError) {
        if self.phase == Phase::Header {
            // RFC 6120 §4.9.1.1: the error needs a stream.
            self.write_header(now);
        }
        self.managed = Managed::Off;
        self.send(now, &error.write());
        self.send(now, wire::END);
        self.close(Some(error));
    }

    fn end(&mut self, now: Instant) {
        self.managed_end(now);
        self.send(now, wire::END);
        self.close(None);
    }

    /// XEP-0198 §4: acknowledge before an orderly end, after which nothing can be resumed.
    fn managed_end(&mut self, now: Instant) {
        if matches!(self.managed, Managed::On { .. }) {
            self.send(now, &wire::ack(self.handled));
        }
        self.managed = Managed::Off;
    }

    /// Ends the stream in order.
    pub fn shut(&mut self, now: Instant) {
        if self.phase != Phase::Closed {
            self.end(now);
        }
    }

    /// Ends the stream because this node stops; the peer may come back but cannot resume.
    pub fn shut_down(&mut self, now: Instant) {
        if self.phase != Phase::Closed {
            self.managed_end(now);
            self.fail(now, StreamCondition::SystemShutdown, None);
        }
    }

    // ---- negotiation -------------------------------------------------------------------------------------------

    fn write_header(&mut self, now: Instant) {
        self.stream_id = (self.ids)();
        let from = (!self.local.is_empty()).then_some(self.local.as_str());
        let h = wire::Header { xmlns: ns::SERVER, from, to: self.remote.as_deref(), id: Some(&self.stream_id) }.write();
        self.send(now, &h);
    }

    fn header(&mut self, now: Instant, h: &Stanza, check: &dyn PeerCheck) {
        let root = h.root();
        if self.phase != Phase::Header {
            return self.fail(now, StreamCondition::NotWellFormed, Some("a second stream header"));
        }
        if !root.is("stream", ns::STREAM) {
            return self.fail(now, StreamCondition::InvalidNamespace, None);
        }
        self.local = root.attr("to").and_then(|v| pair::domain(&v)).unwrap_or_default();
        let from = root.attr("from");
        let remote = from.as_deref().and_then(pair::domain);
        let forged = from.is_some() && remote.is_none();
        if self.external.is_some() && remote.is_some() && self.external != remote {
            self.remote = remote;
            return self.fail(now, StreamCondition::InvalidFrom, None);
        }
        // RFC 6120 §4.7.1: before TLS an initiator may keep its name to itself.
        self.remote = remote.or_else(|| self.external.clone());
        if root.attr("xmlns").as_deref() != Some(ns::SERVER) {
            return self.fail(now, StreamCondition::InvalidNamespace, None);
        }
        if forged {
            return self.fail(now, StreamCondition::InvalidFrom, None);
        }
        if !check.serves(&self.local) {
            return self.fail(now, StreamCondition::HostUnknown, None);
        }
        let major = root.attr("version").and_then(|v| v.split('.').next()?.parse::<u32>().ok());
        if major.is_none_or(|m| m < 1) {
            return self.fail(now, StreamCondition::UnsupportedVersion, None);
        }
        self.write_header(now);
        self.phase = Phase::Negotiating;
        if self.remote.as_deref().is_some_and(|r| !check.allowed(r)) {
            return self.fail(now, StreamCondition::PolicyViolation, Some(RESTRICTED));
        }
        self.write_features(now, check);
        if let Some(from) = self.external.clone() {
            self.hold(now, check);
            self.authenticated(Pair { from, to: self.local.clone() });
        }
    }

    fn hold(&mut self, now: Instant, check: &dyn PeerCheck) {
        if self.primary.is_none() && self.manages(check) {
            self.holding = Some(now + self.config.hold_back);
        }
    }

    fn must_start_tls(&self) -> bool {
        self.config.tls == Tls::Required && !self.secured
    }

    fn offers_external(&self, check: &dyn PeerCheck) -> bool {
        self.secured && self.external.is_none() && self.remote.as_deref().is_some_and(|r| check.certificate_ok(r))
    }

    fn manages(&self, check: &dyn PeerCheck) -> bool {
        self.remote.as_deref().is_some_and(|r| check.stream_management(r))
    }

    fn write_features(&mut self, now: Instant, check: &dyn PeerCheck) {
        let mut w = XmlWriter::new();
        w.open("stream:features");
        if !self.secured && matches!(self.config.tls, Tls::Required | Tls::IfOffered) {
            w.open_ns("starttls", ns::TLS);
            if self.must_start_tls() {
                w.open("required").close();
            }
            w.close();
        }
        if !self.must_start_tls() {
            let external = self.offers_external(check);
            if external {
                w.open_ns("mechanisms", ns::SASL).text_element("mechanism", "EXTERNAL").close();
            }
            if self.config.dialback {
                dialback::write_feature(&mut w);
            }
            if self.config.bidi && !self.bidi {
                w.empty("bidi", ns::BIDI_FEATURE);
            }
            // Dialback does not restart the stream, so what comes after it must be offered now.
            if !external {
                if self.config.pairs {
                    w.empty("pairs", PAIRS_NS);
                }
                if self.manages(check) {
                    w.empty("sm", ns::SM);
                }
            }
        }
        let features = w.finish();
        self.send(now, &features);
    }

    fn authenticated(&mut self, pair: Pair) {
        if self.phase == Phase::Negotiating {
            self.phase = Phase::Open;
            self.deadline = None;
        }
        self.primary.get_or_insert_with(|| pair.clone());
        if self.pairs.insert(pair.clone()) {
            self.out.push(IncomingOutput::Authenticated(pair));
        }
    }

    fn element(&mut self, now: Instant, s: Stanza, check: &dyn PeerCheck) {
        if matches!(self.phase, Phase::Header | Phase::Tls | Phase::Resuming { .. }) {
            return self.fail(now, StreamCondition::PolicyViolation, Some("out of turn"));
        }
        if s.kind() != StanzaKind::Other {
            return self.stanza(now, s);
        }
        let root = s.root();
        let (name, xmlns) = (root.name(), root.ns());
        match (name, xmlns) {
            ("error", ns::STREAM) => {
                let error = StreamError::parse(root);
                self.managed = Managed::Off;
                self.send(now, wire::END);
                self.close(error);
            }
            ("starttls", ns::TLS) => self.start_tls(now),
            _ if self.must_start_tls() => self.fail(now, StreamCondition::PolicyViolation, Some("TLS is required")),
            ("auth", ns::SASL) => self.auth(now, &s, check),
            ("abort", ns::SASL) => self.refuse_auth(now, "aborted"),
            ("result", ns::DIALBACK) => self.dialback_key(now, &s, check),
            ("verify", ns::DIALBACK) => self.dialback_question(now, &s, check),
            ("bidi", ns::BIDI) => {
                if self.config.bidi && !self.bidi {
                    self.bidi = true;
                    self.out.push(IncomingOutput::Bidi);
                }
            }
            ("pairs", PAIRS_NS) => self.add_pairs(now, &s, check),
            (_, ns::SM) => self.management(now, &s, check),
            _ => self.fail(now, StreamCondition::UnsupportedStanzaType, None),
        }
    }

    fn start_tls(&mut self, now: Instant) {
        let possible = matches!(self.config.tls, Tls::Required | Tls::IfOffered);
        if self.secured || !possible || self.phase != Phase::Negotiating {
            self.send(now, &wire::empty("failure", ns::TLS));
            self.send(now, wire::END);
            return self.close(None);
        }
        self.send(now, &wire::empty("proceed", ns::TLS));
        self.phase = Phase::Tls;
        // What was said before TLS does not count (RFC 6120 §5.4.3.3).
        self.remote = None;
        self.bidi = false;
        self.pending.clear();
        self.out.push(IncomingOutput::StartTls);
    }

    /// XEP-0178 §3: the certificate proves, the authorization id only repeats.
    fn auth(&mut self, now: Instant, s: &Stanza, check: &dyn PeerCheck) {
        if self.phase != Phase::Negotiating {
            return self.refuse_auth(now, "not-authorized");
        }
        if s.attr("mechanism").as_deref() != Some("EXTERNAL") || !self.offers_external(check) {
            return self.refuse_auth(now, "invalid-mechanism");
        }
        let text = s.root().text();
        let authzid = match text.trim() {
            "" | "=" => self.remote.clone(),
            t => match BASE64.decode(t).ok().and_then(|b| String::from_utf8(b).ok()) {
                Some(d) => pair::domain(&d),
                None => return self.refuse_auth(now, "incorrect-encoding"),
            },
        };
        if authzid.is_none() || authzid != self.remote {
            return self.refuse_auth(now, "invalid-authzid");
        }
        self.external = authzid;
        self.send(now, &wire::empty("success", ns::SASL));
        self.phase = Phase::Header;
        self.out.push(IncomingOutput::Restart);
    }

    fn refuse_auth(&mut self, now: Instant, condition: &'static str) {
        let mut w = XmlWriter::new();
        w.open_ns("failure", ns::SASL).open(condition).close();
        let failure = w.finish();
        self.send(now, &failure);
        self.refused(now);
    }

    fn refused(&mut self, now: Instant) {
        self.refusals += 1;
        if self.refusals >= self.config.max_refusals {
            self.fail(now, StreamCondition::PolicyViolation, Some("too many refused attempts"));
        }
    }

    // ---- dialback ----------------------------------------------------------------------------------------------

    fn dialback_key(&mut self, now: Instant, s: &Stanza, check: &dyn PeerCheck) {
        let root = s.root();
        if DialbackOutcome::of(&root).is_some() {
            return self.fail(now, StreamCondition::PolicyViolation, Some("an answer to no question"));
        }
        let Some(pair) = Pair::of_element(&root) else { return self.fail(now, StreamCondition::ImproperAddressing, None) };
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
        if self.pending.iter().any(|p| p.pair == pair) {
            return;
        }
        // A certificate is as good as an answer of the authoritative server (XEP-0344 §3).
        if self.pairs.contains(&pair) || (self.secured && check.certificate_ok(&pair.from)) {
            self.hold(now, check);
            return self.accept_dialback(now, pair);
        }
        self.hold(now, check);
        let request = VerifyRequest { pair, stream_id: self.stream_id.clone(), key: root.text().trim().to_owned() };
        self.pending.push(request.clone());
        self.out.push(IncomingOutput::VerifyDialback(request));
    }

    fn accept_dialback(&mut self, now: Instant, pair: Pair) {
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
    fn dialback_question(&mut self, now: Instant, s: &Stanza, check: &dyn PeerCheck) {
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
    fn add_pairs(&mut self, now: Instant, s: &Stanza, check: &dyn PeerCheck) {
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
    fn proved_itself(&self, from: &str) -> bool {
        self.pairs.iter().any(|p| p.from == from)
    }

    // ---- stanzas and stream management -------------------------------------------------------------------------

    fn stanza(&mut self, now: Instant, s: Stanza) {
        if self.must_start_tls() || self.phase != Phase::Open {
            return self.fail(now, StreamCondition::NotAuthorized, None);
        }
        let Ok(Some(from)) = s.from() else { return self.fail(now, StreamCondition::ImproperAddressing, Some("from")) };
        if !self.proved_itself(from.domain()) {
            return self.fail(now, StreamCondition::InvalidFrom, None);
        }
        let s = match wire::into_client(s, &self.config.limits) {
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
        if self.holding.take().is_some() {
            self.flush(now);
        }
    }

    fn management(&mut self, now: Instant, s: &Stanza, check: &dyn PeerCheck) {
        let root = s.root();
        match root.name() {
            "enable" => self.enable(now, s, check),
            "resume" => self.resume_request(now, s, check),
            "r" if matches!(self.managed, Managed::On { .. }) => {
                let a = wire::ack(self.handled);
                self.send(now, &a);
            }
            "a" if matches!(self.managed, Managed::On { .. }) => {
                let Some(h) = wire::read_h(&root) else { return self.fail(now, StreamCondition::PolicyViolation, Some("h")) };
                self.ack_asked = None;
                match self.outbox.ack(h) {
                    Ok(_) => self.flush(now),
                    Err(e) => self.fail_with(now, e.stream_error()),
                }
            }
            _ => self.fail(now, StreamCondition::UnsupportedStanzaType, None),
        }
    }

    fn refuse_management(&mut self, now: Instant, condition: &'static str) {
        let mut w = XmlWriter::new();
        w.open_ns("failed", ns::SM).empty(condition, ns::STANZAS);
        let failed = w.finish();
        self.send(now, &failed);
    }

    fn enable(&mut self, now: Instant, s: &Stanza, check: &dyn PeerCheck) {
        if self.phase != Phase::Open || matches!(self.managed, Managed::On { .. }) {
            return self.refuse_management(now, "unexpected-request");
        }
        if !self.manages(check) {
            return self.refuse_management(now, "feature-not-implemented");
        }
        let resume = matches!(s.attr("resume").as_deref(), Some("true" | "1"));
        let id = resume.then(|| (self.ids)());
        let mut w = XmlWriter::new();
        w.open_ns("enabled", ns::SM).attr_opt("id", id.as_ref());
        if resume {
            w.attr("resume", "true").attr("max", self.config.resume_timeout.as_secs());
        }
        let enabled = w.finish();
        self.send(now, &enabled);
        self.handled = 0;
        self.outbox.start_counting();
        self.managed = Managed::On { id: id.clone() };
        self.out.push(IncomingOutput::Managed { id });
        self.holding = None;
        self.flush(now);
    }

    fn resume_request(&mut self, now: Instant, s: &Stanza, check: &dyn PeerCheck) {
        if self.phase != Phase::Open || matches!(self.managed, Managed::On { .. }) {
            return self.refuse_management(now, "unexpected-request");
        }
        if !self.manages(check) {
            return self.refuse_management(now, "feature-not-implemented");
        }
        let (Some(id), Some(h)) = (s.attr("previd"), wire::read_h(&s.root())) else {
            return self.refuse_management(now, "bad-request");
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
            return self.refuse_management(now, "item-not-found");
        };
        if let Err(e) = session.outbox.ack(h) {
            return self.fail_with(now, e.stream_error());
        }
        session.outbox.rewind();
        let mut w = XmlWriter::new();
        w.open_ns("resumed", ns::SM).attr("previd", &session.id).attr("h", session.handled);
        let resumed = w.finish();
        self.send(now, &resumed);
        self.handled = session.handled;
        self.bidi |= session.bidi;
        let held = std::mem::replace(&mut self.outbox, session.outbox).take();
        for s in held.0.into_iter().chain(held.1) {
            if let Err(s) = self.outbox.push(0, s) {
                self.out.push(IncomingOutput::NotSent(s));
            }
        }
        self.holding = None;
        self.managed = Managed::On { id: Some(session.id) };
        self.out.push(IncomingOutput::Resumed);
        self.flush(now);
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
    /// Gives the stanza back if the stream may not carry it or the queue is full.
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

    fn flush(&mut self, now: Instant) {
        if self.phase != Phase::Open || self.congested || self.holding.is_some() {
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
