//! The accepting side of a stream between servers: negotiation, and the check that every stanza comes from a pair of
//! domains that was authenticated on this stream. The caller verifies certificates and dialback keys, keeps sessions
//! that may be resumed, and routes the stanzas.

mod dialback;
mod management;
mod negotiation;

use std::collections::HashSet;
use std::time::Instant;

use amphi_stanza::{Stanza, StreamEvent};
use bytes::Bytes;

use super::dialback::{DialbackSecret, VerifyRequest};
use super::pair::Pair;
use super::{IncomingConfig, Input, Tls};
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
    /// From now on [`Incoming::send_back`] may be used for the authenticated pairs. It comes once the peer has asked for
    /// it and has resumed its session or begun a new one, so that what an older stream still holds can go first.
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

/// A session whose connection was lost, to be kept for the time the peer was told, or until the peer begins another one
/// for the same pair.
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
    bidi_asked: bool,
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
            bidi_asked: false,
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
        [self.deadline, dead, alive, self.holding.filter(|_| self.phase == Phase::Open)].into_iter().flatten().min()
    }

    fn tick(&mut self, now: Instant) {
        if self.deadline.is_some_and(|d| d <= now) {
            return self.fail(now, StreamCondition::ConnectionTimeout, None);
        }
        if self.ack_asked.is_some_and(|t| t.max(self.last_received) + self.config.dead_after <= now) {
            // The peer is gone: it may come back and resume, so no stream error ends the session.
            return self.close(Some(StreamError::new(StreamCondition::ConnectionTimeout)));
        }
        if self.phase == Phase::Open && self.holding.is_some_and(|t| t <= now) {
            self.stop_holding();
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
}
