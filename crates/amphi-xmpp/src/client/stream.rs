//! One login that outlives its connections. The caller connects, waits and connects again; the stream says what it may
//! expect of the next connection.

use std::time::Instant;

use amphi_stanza::{FullJid, Stanza, StanzaKind, StreamEvent, XmlWriter, ns};
use bytes::Bytes;

use super::{ClientConfig, Credentials, Input};
use crate::link::{Features, Outbox, Outlet, wire};
use crate::{StreamCondition, StreamError};
use crate::s2s::Tls;
use crate::sasl::Mechanism;
use crate::sasl::client::{ClientError, Login, Step};

/// Id of the bind request; nothing else is on the stream then.
const BIND_ID: &str = "bind";

/// Why a stream ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The connection could not be made or was lost.
    #[error("no connection")]
    Unreachable,
    /// Negotiation or an acknowledgement took too long.
    #[error("timed out: {0}")]
    Timeout(&'static str),
    /// The server has no TLS, or no acceptable certificate.
    #[error("TLS: {0}")]
    Tls(&'static str),
    /// The login was refused, or the server could not prove itself.
    #[error("login: {0}")]
    Login(#[from] ClientError),
    /// The server offers no mechanism that may be used.
    #[error("no usable SASL mechanism")]
    NoMechanism,
    /// The server gave no address.
    #[error("bind refused: {0}")]
    Bind(String),
    /// The server ended the stream with an error.
    #[error("stream error: {0}")]
    StreamError(StreamError),
    /// The server does not keep to the protocol.
    #[error("protocol: {0}")]
    Protocol(&'static str),
    /// The stream ended in order.
    #[error("stream closed")]
    Ended,
}

/// A stanza that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotSent {
    /// There is no session.
    #[error("offline")]
    Offline(Stanza),
    /// The queue is full.
    #[error("queue is full")]
    Full(Stanza),
}

/// What the owner of a client's stream must do, in order.
#[derive(Debug)]
pub enum ClientOutput {
    /// Write these bytes.
    Send(Bytes),
    /// Once everything is written: clear the reader and start TLS as the client, then give [`Input::Secured`].
    StartTls,
    /// The reader must expect a new stream header.
    Restart,
    /// The server has lost the session that was to be resumed: rooms must be joined again. `Online` follows.
    Fresh {
        /// Sent, maybe handled; then those never sent.
        unacked: Vec<Stanza>,
    },
    /// Logged in and bound.
    Online {
        /// Our address.
        jid: FullJid,
        /// Whether the old session continues, with nothing lost.
        resumed: bool,
    },
    /// A stanza from the server.
    Stanza(Stanza),
    /// Write what is pending and close the connection; it may be gone already.
    Closed {
        /// Why.
        reason: CloseReason,
        /// Whether the next connection will try to resume: stanzas may be sent meanwhile.
        resumable: bool,
        /// What was not acknowledged, if nothing will be resumed.
        unacked: Vec<Stanza>,
    },
}

impl From<Bytes> for ClientOutput {
    fn from(b: Bytes) -> Self {
        Self::Send(b)
    }
}

#[derive(Debug)]
enum Phase {
    /// No connection.
    Offline,
    Header,
    Features,
    /// `<starttls/>` was sent.
    AskedTls,
    Handshake,
    Login(Box<Login>),
    Binding,
    /// `<resume/>` was sent.
    Resuming,
    Online,
}

/// A client's stream.
pub struct ClientStream {
    config: ClientConfig,
    phase: Phase,
    secured: bool,
    authenticated: bool,
    features: Features,
    jid: Option<FullJid>,
    /// `<enable/>` was sent.
    enabling: bool,
    managed: bool,
    session: Option<String>,
    handled: u32,
    outbox: Outbox,
    congested: bool,
    unrequested: usize,
    first_unrequested: Option<Instant>,
    ack_asked: Option<Instant>,
    deadline: Option<Instant>,
    last_sent: Instant,
    last_received: Instant,
    out: Outlet<ClientOutput>,
}

impl std::fmt::Debug for ClientStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientStream").field("phase", &self.phase).field("jid", &self.jid).finish_non_exhaustive()
    }
}

impl ClientStream {
    /// A stream without connection; [`Input::Connected`] starts it.
    pub fn new(now: Instant, config: ClientConfig) -> Self {
        Self {
            outbox: Outbox::new(config.queue),
            config,
            phase: Phase::Offline,
            secured: false,
            authenticated: false,
            features: Features::default(),
            jid: None,
            enabling: false,
            managed: false,
            session: None,
            handled: 0,
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

    /// Our address, once bound.
    pub fn jid(&self) -> Option<&FullJid> {
        self.jid.as_ref()
    }

    /// Whether stanzas flow.
    pub fn is_online(&self) -> bool {
        matches!(self.phase, Phase::Online)
    }

    /// The next output; `None` when there is nothing left.
    pub fn poll_output(&mut self) -> Option<ClientOutput> {
        self.out.pop()
    }

    /// Sends a stanza, or keeps it for a connection that resumes.
    ///
    /// # Errors
    /// Gives the stanza back if there is no session or the queue is full.
    pub fn send(&mut self, now: Instant, stanza: Stanza) -> Result<(), NotSent> {
        if !self.is_online() && self.session.is_none() {
            return Err(NotSent::Offline(stanza));
        }
        self.outbox.push(0, stanza).map_err(NotSent::Full)?;
        self.flush(now);
        Ok(())
    }

    /// Ends the session in order.
    pub fn close(&mut self, now: Instant) {
        if self.connected() {
            if self.managed && self.is_online() {
                let a = wire::ack(self.handled);
                self.send_bytes(now, &a);
            }
            if !matches!(self.phase, Phase::Handshake) {
                self.send_bytes(now, wire::END);
            }
        }
        self.end(CloseReason::Ended);
    }

    /// While the socket does not take bytes, stanzas wait in the bounded queue instead.
    pub fn set_congested(&mut self, now: Instant, congested: bool) {
        self.congested = congested;
        self.flush(now);
    }

    /// Feeds one thing that happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Tick => self.tick(now),
            Input::Connected => {
                if self.connected() {
                    return;
                }
                self.secured = self.config.tls == Tls::Direct;
                self.deadline = Some(now + self.config.negotiation_timeout);
                self.last_received = now;
                self.open(now);
            }
            Input::Secured { certificate_ok } => {
                if !matches!(self.phase, Phase::Handshake) {
                    return;
                }
                self.last_received = now;
                self.secured = true;
                if !certificate_ok && self.config.require_certificate {
                    return self.end(CloseReason::Tls("the certificate is not the server's"));
                }
                self.open(now);
            }
            Input::Received => self.last_received = now,
            // Also an attempt that never got as far as a connection.
            Input::Closed => self.lost(CloseReason::Unreachable),
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
                        self.end(CloseReason::Ended);
                    }
                }
            }
        }
    }

    /// When [`Input::Tick`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let online = self.is_online();
        let alive = online.then(|| self.last_sent + self.config.keepalive);
        let dead = self.ack_asked.filter(|_| online).map(|t| t.max(self.last_received) + self.config.dead_after);
        let ask = self.first_unrequested.filter(|_| online).map(|t| t + self.config.ack_delay);
        [self.deadline, alive, dead, ask].into_iter().flatten().min()
    }

    fn tick(&mut self, now: Instant) {
        if self.deadline.is_some_and(|d| d <= now) {
            return self.lost(CloseReason::Timeout("negotiation"));
        }
        if !self.is_online() {
            return;
        }
        if self.ack_asked.is_some_and(|t| t.max(self.last_received) + self.config.dead_after <= now) {
            return self.lost(CloseReason::Timeout("acknowledgement"));
        }
        if self.first_unrequested.is_some_and(|t| t + self.config.ack_delay <= now) {
            self.ask_ack(now);
        }
        if self.last_sent + self.config.keepalive <= now {
            if self.managed { self.ask_ack(now) } else { self.send_bytes(now, b" ") }
        }
    }

    fn connected(&self) -> bool {
        !matches!(self.phase, Phase::Offline)
    }

    fn send_bytes(&mut self, now: Instant, bytes: &[u8]) {
        self.last_sent = now;
        self.out.bytes(bytes);
    }

    fn reset_connection(&mut self) {
        self.phase = Phase::Offline;
        self.secured = false;
        self.authenticated = false;
        self.enabling = false;
        self.features = Features::default();
        self.deadline = None;
        self.ack_asked = None;
        self.first_unrequested = None;
        self.unrequested = 0;
        self.congested = false;
    }

    /// The connection is gone through nobody's will.
    fn lost(&mut self, reason: CloseReason) {
        if self.session.is_none() {
            return self.end(reason);
        }
        self.reset_connection();
        self.out.push(ClientOutput::Closed { reason, resumable: true, unacked: Vec::new() });
    }

    fn end(&mut self, reason: CloseReason) {
        self.reset_connection();
        let unacked = self.forget_session();
        self.out.push(ClientOutput::Closed { reason, resumable: false, unacked });
    }

    fn forget_session(&mut self) -> Vec<Stanza> {
        self.session = None;
        self.managed = false;
        self.handled = 0;
        self.jid = None;
        let (mut unacked, waiting) = self.outbox.take();
        unacked.extend(waiting);
        unacked
    }

    fn violated(&mut self, now: Instant, condition: StreamCondition, what: &'static str) {
        self.send_bytes(now, &StreamError::new(condition).text(what).write());
        self.send_bytes(now, wire::END);
        self.end(CloseReason::Protocol(what));
    }

    fn give_up(&mut self, now: Instant, reason: CloseReason) {
        self.send_bytes(now, wire::END);
        self.end(reason);
    }

    // ---- negotiation -------------------------------------------------------------------------------------------

    fn open(&mut self, now: Instant) {
        let h = wire::Header { xmlns: ns::CLIENT, from: None, to: Some(&self.config.domain), id: None }.write();
        self.send_bytes(now, &h);
        self.phase = Phase::Header;
    }

    fn header(&mut self, now: Instant, h: &Stanza) {
        let root = h.root();
        if !matches!(self.phase, Phase::Header) {
            return self.violated(now, StreamCondition::NotWellFormed, "a second stream header");
        }
        if !root.is("stream", ns::STREAM) || root.attr("xmlns").as_deref() != Some(ns::CLIENT) {
            return self.violated(now, StreamCondition::InvalidNamespace, "not a stream for clients");
        }
        if root.attr("version").and_then(|v| v.split('.').next()?.parse::<u32>().ok()).is_none_or(|m| m < 1) {
            return self.violated(now, StreamCondition::UnsupportedVersion, "no XMPP 1.0");
        }
        self.phase = Phase::Features;
    }

    fn element(&mut self, now: Instant, s: Stanza) {
        let root = s.root();
        if root.is("error", ns::STREAM) {
            return self.stream_error(now, &s);
        }
        if let Phase::Login(login) = &mut self.phase {
            return match login.handle(root) {
                Ok(Step::Send(bytes)) => self.send_bytes(now, &bytes),
                Ok(Step::Done) => {
                    self.authenticated = true;
                    self.out.push(ClientOutput::Restart);
                    self.open(now);
                }
                Err(e) => self.give_up(now, e.into()),
            };
        }
        if s.kind() != StanzaKind::Other {
            return match self.phase {
                Phase::Online => self.stanza(s),
                Phase::Binding => self.bind_result(now, s),
                _ => self.violated(now, StreamCondition::NotAuthorized, "a stanza before bind"),
            };
        }
        match (&self.phase, root.name(), root.ns()) {
            (Phase::Features, "features", ns::STREAM) => self.read_features(now, &s),
            (Phase::AskedTls, "proceed", ns::TLS) => {
                self.phase = Phase::Handshake;
                self.out.push(ClientOutput::StartTls);
            }
            (Phase::AskedTls, "failure", ns::TLS) => self.end(CloseReason::Tls("refused by the server")),
            (Phase::Resuming, "resumed", ns::SM) => self.resumed(now, &s),
            (Phase::Resuming, "failed", ns::SM) => {
                // XEP-0198 §5: the server may still tell how far it had come.
                if let Some(h) = wire::read_h(&root) {
                    let _ = self.outbox.ack(h);
                }
                self.start_over();
                self.bind(now);
            }
            (Phase::Online, "enabled", ns::SM) if self.enabling => {
                self.enabling = false;
                self.managed = true;
                self.handled = 0;
                self.outbox.start_counting();
                let resume = matches!(s.attr("resume").as_deref(), Some("true" | "1"));
                self.session = s.id().filter(|_| resume).map(|id| id.into_owned());
                self.online(now);
            }
            (Phase::Online, "failed", ns::SM) if self.enabling => {
                self.enabling = false;
                self.online(now);
            }
            (Phase::Online, "r", ns::SM) if self.managed => {
                let a = wire::ack(self.handled);
                self.send_bytes(now, &a);
            }
            (Phase::Online, "a", ns::SM) if self.managed => {
                let Some(h) = wire::read_h(&root) else {
                    return self.violated(now, StreamCondition::PolicyViolation, "acknowledgement without a count");
                };
                self.ack_asked = None;
                if self.outbox.ack(h).is_err() {
                    return self.violated(now, StreamCondition::UndefinedCondition, "acknowledged more than was sent");
                }
                self.flush(now);
            }
            _ => self.violated(now, StreamCondition::UnsupportedStanzaType, "unexpected element"),
        }
    }

    fn stream_error(&mut self, now: Instant, s: &Stanza) {
        let error =
            StreamError::parse(s.root()).unwrap_or_else(|| StreamError::new(StreamCondition::UndefinedCondition));
        self.send_bytes(now, wire::END);
        let passing = wire::is_passing(error.condition);
        let reason = CloseReason::StreamError(error);
        if passing { self.lost(reason) } else { self.end(reason) }
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
                    return self.give_up(now, CloseReason::Tls("not offered by the server"));
                }
                (Tls::IfOffered | Tls::Off, _) => {}
            }
        }
        if !self.authenticated {
            return self.log_in(now);
        }
        if let (Some(id), true) = (&self.session, self.features.sm) {
            let mut w = XmlWriter::new();
            w.open_ns("resume", ns::SM).attr("previd", id).attr("h", self.handled);
            let resume = w.finish();
            self.send_bytes(now, &resume);
            self.phase = Phase::Resuming;
            return;
        }
        if self.session.is_some() {
            self.start_over();
        }
        self.bind(now);
    }

    fn log_in(&mut self, now: Instant) {
        let plain = self.secured || self.config.plain_without_tls;
        let offered: Vec<Mechanism> = self
            .features
            .mechanisms
            .iter()
            .filter_map(|m| Mechanism::parse(m))
            .filter(|m| plain || *m != Mechanism::Plain)
            .collect();
        let login = match &self.config.credentials {
            Credentials::Anonymous => offered.contains(&Mechanism::Anonymous).then(Login::anonymous),
            Credentials::Password { user, password } => {
                let nonce = uuid::Uuid::new_v4().simple().to_string();
                Login::with_password(&offered, user, password, &nonce)
            }
        };
        let Some(login) = login else { return self.give_up(now, CloseReason::NoMechanism) };
        let auth = login.auth();
        self.send_bytes(now, &auth);
        self.phase = Phase::Login(Box::new(login));
    }

    fn start_over(&mut self) {
        let unacked = self.forget_session();
        self.out.push(ClientOutput::Fresh { unacked });
    }

    fn bind(&mut self, now: Instant) {
        if !self.features.bind {
            return self.give_up(now, CloseReason::Bind("not offered".to_owned()));
        }
        let mut w = XmlWriter::new();
        w.open("iq").attr("type", "set").attr("id", BIND_ID).open_ns("bind", ns::BIND);
        if let Some(r) = &self.config.resource {
            w.text_element("resource", r);
        }
        let bind = w.finish();
        self.send_bytes(now, &bind);
        self.phase = Phase::Binding;
    }

    fn bind_result(&mut self, now: Instant, s: Stanza) {
        if s.kind() != StanzaKind::Iq || s.id().as_deref() != Some(BIND_ID) {
            // Services may announce themselves before the result of bind (`spec/signaling.md` 2.7).
            self.out.push(ClientOutput::Stanza(s));
            return;
        }
        if s.ty().as_deref() != Some("result") {
            let condition = s.root().child_named("error").and_then(|e| e.children().next().map(|c| c.name()));
            let condition = condition.unwrap_or("no reason").to_owned();
            return self.give_up(now, CloseReason::Bind(condition));
        }
        let jid = s.child("bind", ns::BIND).and_then(|b| b.child("jid", ns::BIND)).map(|j| j.text());
        let Some(jid) = jid.and_then(|j| FullJid::parse(j.trim()).ok()) else {
            return self.give_up(now, CloseReason::Bind("no address".to_owned()));
        };
        self.jid = Some(jid);
        self.phase = Phase::Online;
        if self.config.stream_management && self.features.sm {
            let mut w = XmlWriter::new();
            w.open_ns("enable", ns::SM).attr("resume", "true");
            let enable = w.finish();
            self.send_bytes(now, &enable);
            // Nobody hears of us before the answer, so that nothing is sent uncounted.
            self.enabling = true;
            return;
        }
        self.online(now);
    }

    fn online(&mut self, now: Instant) {
        self.deadline = None;
        if let Some(jid) = self.jid.clone() {
            self.out.push(ClientOutput::Online { jid, resumed: false });
        }
        self.flush(now);
    }

    fn resumed(&mut self, now: Instant, s: &Stanza) {
        let h = wire::read_h(&s.root());
        let same = self.session.as_deref() == s.attr("previd").as_deref();
        let (Some(h), true) = (h, same) else {
            return self.violated(now, StreamCondition::PolicyViolation, "resumed something else");
        };
        if self.outbox.ack(h).is_err() {
            return self.violated(now, StreamCondition::UndefinedCondition, "acknowledged more than was sent");
        }
        self.outbox.rewind();
        self.phase = Phase::Online;
        self.deadline = None;
        if let Some(jid) = self.jid.clone() {
            self.out.push(ClientOutput::Online { jid, resumed: true });
        }
        self.flush(now);
    }

    // ---- stanzas -----------------------------------------------------------------------------------------------

    fn stanza(&mut self, s: Stanza) {
        self.handled = self.handled.wrapping_add(1);
        self.out.push(ClientOutput::Stanza(s));
    }

    fn ask_ack(&mut self, now: Instant) {
        self.unrequested = 0;
        self.first_unrequested = None;
        self.ack_asked.get_or_insert(now);
        self.send_bytes(now, &wire::ack_request());
    }

    fn flush(&mut self, now: Instant) {
        if !self.is_online() || self.enabling || self.congested {
            return;
        }
        while let Some((_, s)) = self.outbox.peek() {
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
}
