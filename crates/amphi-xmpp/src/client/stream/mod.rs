//! One login that outlives its connections. The caller connects, waits and connects again; the stream says what it may
//! expect of the next connection.

mod negotiation;

use std::time::Instant;

use amphi_stanza::{FullJid, Stanza, StreamEvent};

use super::{ClientConfig, ClientOutput, CloseReason, Input, NotSent};
use crate::link::{Features, Outbox, Outlet, wire};
use crate::s2s::Tls;
use crate::sasl::client::Login;
use crate::{StreamCondition, StreamError};

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
    /// There is TLS, with the server's own certificate.
    known: bool,
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
            known: false,
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
                self.known = self.secured;
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
                self.known = certificate_ok;
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
        self.known = false;
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
