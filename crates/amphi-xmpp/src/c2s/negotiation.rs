//! The life of a client stream from its first header to a bound address.
//!
//! ```text
//! header ─► features ─► [STARTTLS ─► header ─► features] ─► SASL ─► header ─► features ─► bind | resume
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use amphi_stanza::{Condition, Jid, Stanza, ns};

use super::{Backend, Framing, HostProfile, Login, NegotiationLimits, Output, ResumeRequest, Security, UrlParams};
use crate::sasl::{Failure, Mechanism, ScramServer};
use crate::{StreamCondition, StreamError, sm};

pub(super) enum State<I> {
    /// A header is wanted; not logged in.
    Opening,
    /// Features were sent.
    LoggingIn,
    /// `<proceed/>` was sent.
    Tls,
    /// A challenge was sent.
    Scram(Mechanism, Box<ScramServer>),
    /// ANONYMOUS needs no message, the others may send theirs after an empty challenge.
    EmptyChallenge(Mechanism),
    /// The backend is thinking.
    Deciding(Mechanism, Option<Bytes>),
    /// Logged in; a header is wanted.
    Reopening(Mechanism, Login<I>),
    /// Logged in; bind or resume is wanted.
    Binding(Mechanism, Login<I>),
    /// The caller is resuming.
    Resuming(Mechanism, String),
    /// Bound or closed.
    Done,
}

/// A client stream before it has an address. Feed it headers and elements in order; drain
/// [`Negotiation::poll_output`] after each.
pub struct Negotiation<I> {
    pub(super) framing: Framing,
    pub(super) security: Security,
    pub(super) limits: NegotiationLimits,
    pub(super) params: UrlParams,
    pub(super) state: State<I>,
    pub(super) host: Option<Arc<HostProfile>>,
    pub(super) header_sent: bool,
    pub(super) steps: u32,
    pub(super) failures: u32,
    pub(super) out: VecDeque<Output<I>>,
}

impl<I> Negotiation<I> {
    /// A stream whose transport was just accepted.
    pub fn new(framing: Framing, security: Security, params: UrlParams, limits: NegotiationLimits) -> Self {
        Self {
            framing,
            security,
            limits,
            params,
            state: State::Opening,
            host: None,
            header_sent: false,
            steps: 0,
            failures: 0,
            out: VecDeque::new(),
        }
    }

    /// What must happen next.
    pub fn poll_output(&mut self) -> Option<Output<I>> {
        self.out.pop_front()
    }

    /// The host, once known.
    pub fn host(&self) -> Option<&Arc<HostProfile>> {
        self.host.as_ref()
    }

    /// Whether the stream is bound or closed: nothing may be fed any more.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Takes a stream header: `<open/>`, the start tag of `<stream:stream>`, or the body that opens or restarts a BOSH
    /// session.
    pub fn on_header<B: Backend<Identity = I>>(&mut self, backend: &mut B, header: &Stanza) {
        if self.is_done() || !self.step(header) {
            return;
        }
        if header.root().is("close", ns::FRAMING) {
            return self.end();
        }
        if !matches!(self.state, State::Opening | State::Reopening(..)) {
            return self.close(StreamError::new(StreamCondition::BadFormat).text("header in the stream"));
        }
        self.header_sent = false;
        let id = random_id(backend, 12);
        if let Err(e) = self.framing.check_header(header) {
            return self.open_and_fail(&id, e);
        }
        let name = header.attr("to").map(|t| Jid::parse(&t));
        let host = match &name {
            // XEP-0206 §5: a restart need not repeat the host.
            None if self.framing == Framing::Bosh && self.host.is_some() => self.host.clone(),
            None => {
                return self.open_and_fail(&id, StreamError::new(StreamCondition::ImproperAddressing).text("no host"));
            }
            Some(Ok(j)) if j.local().is_none() && j.resource().is_none() => backend.host(j.domain()),
            Some(_) => None,
        };
        let Some(host) = host else {
            return self.open_and_fail(&id, StreamError::new(StreamCondition::HostUnknown));
        };
        if self.host.as_ref().is_some_and(|h| h.name() != host.name()) {
            let e = StreamError::new(StreamCondition::NotAuthorized).text("another host than before");
            return self.open_and_fail(&id, e);
        }
        let (features, state) = match std::mem::replace(&mut self.state, State::Done) {
            State::Opening => (host.features_before(self.framing, self.security), State::LoggingIn),
            State::Reopening(m, login) => (host.features_after(self.framing), State::Binding(m, login)),
            other => return self.state = other,
        };
        self.state = state;
        if let Some(h) = host.header(self.framing, &id) {
            self.send(h);
        }
        self.header_sent = true;
        self.host = Some(host);
        self.send(features);
    }

    /// Takes an element.
    pub fn on_element<B: Backend<Identity = I>>(&mut self, backend: &mut B, element: &Stanza) {
        if self.is_done() || !self.step(element) {
            return;
        }
        let e = element.root();
        if e.is("close", ns::FRAMING) {
            return self.end();
        }
        if e.is("error", ns::STREAM) {
            return self.end();
        }
        match std::mem::replace(&mut self.state, State::Done) {
            State::LoggingIn => self.before_login(backend, element),
            State::Scram(m, machine) => self.scram_response(backend, m, *machine, e),
            State::EmptyChallenge(m) => match self.response(e) {
                Ok(message) => self.authenticate(backend, m, Some(message)),
                Err(Some(f)) => self.refuse(f),
                Err(None) => self.unexpected(element),
            },
            State::Binding(m, login) => self.after_login(backend, element, m, login),
            State::Opening | State::Reopening(..) | State::Tls => {
                self.close(StreamError::new(StreamCondition::BadFormat).text("stream header is wanted"));
            }
            // Not even an abort: the verdict of the first attempt could be taken for that of the next.
            State::Deciding(..) | State::Resuming(..) => {
                self.close(StreamError::new(StreamCondition::PolicyViolation).text("wait for the answer"));
            }
            State::Done => {}
        }
    }

    /// TLS is up: the stream begins anew.
    pub fn on_tls(&mut self) {
        if matches!(self.state, State::Tls) {
            self.security = Security::Encrypted;
            self.header_sent = false;
            self.state = State::Opening;
            self.out.push_back(Output::Restart);
        }
    }

    /// The verdict after [`Verdict::Later`](super::Verdict::Later).
    pub fn decide(&mut self, verdict: Result<Login<I>, Failure>) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Deciding(m, success) => match verdict {
                Ok(login) => self.logged_in(m, login, success),
                Err(f) => self.refuse(f),
            },
            other => self.state = other,
        }
    }

    /// The stream that [`Output::Resume`] asked for is gone. `h` is how many stanzas of the old stream were handled, if
    /// that is still known. The client may bind instead, with the identity that came with the request.
    pub fn resume_failed(&mut self, request: ResumeRequest<I>, h: Option<u32>) {
        if let State::Resuming(m, localpart) = std::mem::replace(&mut self.state, State::Done) {
            self.send(sm::failed(request.version, Condition::ItemNotFound, h));
            self.params = request.params;
            self.state = State::Binding(m, Login { localpart, identity: request.identity });
        }
    }

    /// The client has ended the stream: `</stream:stream>`, or a BOSH session that terminates.
    pub fn on_end(&mut self) {
        if !self.is_done() {
            self.end();
        }
    }

    /// Ends the stream with an error: XML that cannot be read, shutdown, the caller's time limit
    /// ([`StreamCondition::ConnectionTimeout`]).
    pub fn fail(&mut self, error: StreamError) {
        if !self.is_done() {
            self.close(error);
        }
    }

    pub(super) fn end(&mut self) {
        if let Some(end) = self.framing.end() {
            self.send(end);
        }
        self.state = State::Done;
        self.out.push_back(Output::Close { error: None });
    }

    pub(super) fn close(&mut self, error: StreamError) {
        if !self.header_sent {
            let host = self.host.as_ref().map_or("", |h| h.name());
            if let Some(h) = self.framing.header(host, "0") {
                self.send(h);
            }
        }
        self.send(error.write());
        if let Some(end) = self.framing.end() {
            self.send(end);
        }
        self.state = State::Done;
        self.out.push_back(Output::Close { error: Some(error) });
    }

    fn open_and_fail(&mut self, id: &str, error: StreamError) {
        let host = self.host.as_ref().map_or("", |h| h.name());
        if let Some(h) = self.framing.header(host, id) {
            self.send(h);
        }
        self.header_sent = true;
        self.close(error);
    }

    pub(super) fn send(&mut self, bytes: Bytes) {
        self.out.push_back(Output::Send(bytes));
    }

    /// Counts what was received; false if the stream was closed for it.
    fn step(&mut self, element: &Stanza) -> bool {
        self.steps += 1;
        if element.raw().len() > self.limits.element_bytes {
            self.close(StreamError::new(StreamCondition::PolicyViolation).text("element is too long before login"));
            return false;
        }
        if self.steps > self.limits.steps {
            self.close(StreamError::new(StreamCondition::PolicyViolation).text("too many steps"));
            return false;
        }
        true
    }
}

pub(super) fn random_id<B: Backend>(backend: &mut B, bytes: usize) -> String {
    let mut buf = [0; 24];
    let buf = &mut buf[..bytes.min(24)];
    backend.random(buf);
    URL_SAFE_NO_PAD.encode(buf)
}

impl<I> std::fmt::Debug for Negotiation<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Negotiation")
            .field("framing", &self.framing)
            .field("security", &self.security)
            .field("host", &self.host.as_ref().map(|h| h.name()))
            .finish_non_exhaustive()
    }
}
