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

use amphi_stanza::{Condition, Element, ErrorType, FullJid, Jid, Stanza, StanzaError, StanzaKind, XmlWriter, ns};

use super::framing::{Framing, Security};
use super::{Backend, HostProfile, Login, ResourcePolicy, UrlParams, Verdict};
use crate::sasl::{self, Failure, Mechanism, SaslCondition, ScramCredentials, ScramServer};
use crate::sm::SmElement;
use crate::{StreamCondition, StreamError, sm};

/// Bounds on a stream that has not proved who it is. The caller adds a time limit for the whole negotiation (30 s) and
/// gives its reader `element_bytes` as limit until [`Output::Bound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NegotiationLimits {
    /// Bytes of one element. 10 KiB; a token is not among them, it comes in the URL.
    pub element_bytes: usize,
    /// Headers and elements altogether. 16.
    pub steps: u32,
    /// Failed logins before the stream is closed. 3.
    pub failures: u32,
}

impl Default for NegotiationLimits {
    fn default() -> Self {
        Self { element_bytes: 10 * 1024, steps: 16, failures: 3 }
    }
}

/// A stream that has its address.
#[derive(Debug)]
pub struct Bound<I> {
    /// Its address. If another stream has it, that one is closed with `conflict` (RFC 6120 §7.7.2.2).
    pub jid: FullJid,
    /// Its host.
    pub host: Arc<HostProfile>,
    /// What the login found out.
    pub identity: I,
    /// What the URL said.
    pub params: UrlParams,
    /// How the user logged in.
    pub mechanism: Mechanism,
    /// The answer to bind. Not sent yet: the service announcement goes out before it (`spec/signaling.md` 2.7).
    pub bind_result: Bytes,
}

/// A request to resume an earlier stream.
#[derive(Debug)]
pub struct ResumeRequest<I> {
    /// Host.
    pub host: Arc<HostProfile>,
    /// Local part that this login gave; ids are valid only under the same one.
    pub localpart: String,
    /// Resumption id.
    pub previd: String,
    /// Stanzas that the client has handled.
    pub h: u32,
    /// Which version of stream management the client speaks; the answer must use the same.
    pub version: sm::Version,
    /// What the new login found out; it replaces the old (a refreshed token).
    pub identity: I,
    /// What the new URL said.
    pub params: UrlParams,
}

/// What must happen next.
#[derive(Debug)]
pub enum Output<I> {
    /// Send one complete element (or a TCP stream's header or end). Consecutive ones belong into one write.
    Send(Bytes),
    /// Start TLS after what was sent; drop what was received in clear, then call [`Negotiation::on_tls`].
    StartTls,
    /// A header comes next.
    Restart,
    /// Done: write the announcement, then `bind_result`, and drop the negotiation.
    Bound(Box<Bound<I>>),
    /// Resume, and drop the negotiation; or call [`Negotiation::resume_failed`].
    Resume(Box<ResumeRequest<I>>),
    /// Close the transport once everything was sent. The stream error, if any, is among it.
    Close {
        /// Why, if something went wrong.
        error: Option<StreamError>,
    },
}

enum State<I> {
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
    framing: Framing,
    security: Security,
    limits: NegotiationLimits,
    params: UrlParams,
    state: State<I>,
    host: Option<Arc<HostProfile>>,
    header_sent: bool,
    steps: u32,
    failures: u32,
    out: VecDeque<Output<I>>,
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

    /// The verdict after [`Verdict::Later`].
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

    fn end(&mut self) {
        if let Some(end) = self.framing.end() {
            self.send(end);
        }
        self.state = State::Done;
        self.out.push_back(Output::Close { error: None });
    }

    fn close(&mut self, error: StreamError) {
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

    fn send(&mut self, bytes: Bytes) {
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

    fn before_login<B: Backend<Identity = I>>(&mut self, backend: &mut B, element: &Stanza) {
        let e = element.root();
        if e.is("auth", ns::SASL) {
            return self.auth(backend, e);
        }
        if e.is("starttls", ns::TLS) {
            return self.starttls();
        }
        if e.is("abort", ns::SASL) {
            return self.refuse(Failure::new(SaslCondition::Aborted));
        }
        self.unexpected(element);
    }

    /// An element that has no place here before the login.
    fn unexpected(&mut self, element: &Stanza) {
        let condition = match element.kind() {
            StanzaKind::Other if element.root().ns() == ns::SASL => StreamCondition::NotAuthorized,
            StanzaKind::Other => StreamCondition::UnsupportedStanzaType,
            _ => StreamCondition::NotAuthorized,
        };
        self.close(StreamError::new(condition));
    }

    fn starttls(&mut self) {
        let offered = HostProfile::wants_tls(self.framing, self.security)
            && self.host.as_ref().is_some_and(|h| h.info().starttls == super::StartTlsPolicy::Required);
        let mut w = XmlWriter::new();
        if offered {
            w.empty("proceed", ns::TLS);
            self.send(w.finish());
            self.state = State::Tls;
            self.out.push_back(Output::StartTls);
        } else {
            // RFC 6120 §5.4.2.2: failure, then the stream ends.
            w.empty("failure", ns::TLS);
            self.send(w.finish());
            self.end();
        }
    }

    fn auth<B: Backend<Identity = I>>(&mut self, backend: &mut B, e: Element<'_>) {
        if HostProfile::wants_tls(self.framing, self.security) {
            return self.refuse(Failure::new(SaslCondition::EncryptionRequired));
        }
        let offered = self.host.as_ref().map(|h| &h.info().mechanisms[..]).unwrap_or_default();
        let mechanism = e.attr("mechanism").and_then(|m| Mechanism::parse(&m)).filter(|m| offered.contains(m));
        let Some(mechanism) = mechanism else {
            return self.refuse(Failure::new(SaslCondition::InvalidMechanism));
        };
        if mechanism == Mechanism::Plain && self.security == Security::Plain {
            return self.refuse(Failure::new(SaslCondition::EncryptionRequired));
        }
        match sasl::decode(e) {
            Err(f) => self.refuse(f),
            Ok(None) if mechanism != Mechanism::Anonymous => {
                // RFC 6120 §6.4.3: the mechanism's first message was not sent along; ask for it.
                self.send(sasl::encode("challenge", None, None));
                self.state = State::EmptyChallenge(mechanism);
            }
            Ok(message) => self.authenticate(backend, mechanism, message),
        }
    }

    /// The message in a response; `Err(None)` if this is not one.
    fn response(&self, e: Element<'_>) -> Result<Vec<u8>, Option<Failure>> {
        if e.is("abort", ns::SASL) {
            return Err(Some(Failure::new(SaslCondition::Aborted)));
        }
        if !e.is("response", ns::SASL) {
            return Err(None);
        }
        Ok(sasl::decode(e).map_err(Some)?.unwrap_or_default())
    }

    fn authenticate<B: Backend<Identity = I>>(&mut self, backend: &mut B, m: Mechanism, message: Option<Vec<u8>>) {
        let Some(host) = self.host.clone() else { return self.refuse(Failure::not_authorized()) };
        let message = message.unwrap_or_default();
        let verdict = match m {
            // RFC 4505: the message is a trace for logs; nobody needs it here.
            Mechanism::Anonymous => backend.anonymous(&host, &self.params),
            Mechanism::Plain => match sasl::plain(&message) {
                Err(f) => return self.refuse(f),
                Ok(p) => match account(&host, &p.user, p.authzid.as_deref()) {
                    Err(f) => return self.refuse(f),
                    Ok(user) => backend.plain(&host, &user, &p.password),
                },
            },
            Mechanism::External => match sasl::external(&message) {
                Err(f) => return self.refuse(f),
                Ok(authzid) => backend.external(&host, authzid.as_deref()),
            },
            Mechanism::ScramSha1 | Mechanism::ScramSha256 => {
                let Some(hash) = m.scram_hash() else { return self.refuse(Failure::not_authorized()) };
                let nonce = random_id(backend, 18);
                let decoy_key = backend.decoy_key();
                let started = ScramServer::start(&message, &nonce, |user| {
                    account(&host, user, None)
                        .ok()
                        .and_then(|u| backend.scram(&host, &u, hash))
                        .filter(|c| c.hash == hash)
                        .unwrap_or_else(|| ScramCredentials::decoy(hash, user, &decoy_key))
                });
                match started {
                    Err(f) => return self.refuse(f),
                    Ok((machine, challenge)) => {
                        self.send(sasl::encode("challenge", None, Some(challenge.as_bytes())));
                        self.state = State::Scram(m, Box::new(machine));
                        return;
                    }
                }
            }
        };
        self.verdict(m, verdict, None);
    }

    fn scram_response<B: Backend<Identity = I>>(
        &mut self,
        backend: &mut B,
        m: Mechanism,
        machine: ScramServer,
        e: Element<'_>,
    ) {
        let message = match self.response(e) {
            Ok(message) => message,
            Err(Some(f)) => return self.refuse(f),
            Err(None) => return self.close(StreamError::new(StreamCondition::NotAuthorized)),
        };
        let Some(host) = self.host.clone() else { return self.refuse(Failure::not_authorized()) };
        match machine.finish(&message) {
            Err(f) => self.refuse(f),
            Ok((who, last)) => match account(&host, &who.user, who.authzid.as_deref()) {
                Err(f) => self.refuse(f),
                Ok(user) => {
                    let verdict = backend.account(&host, &user);
                    self.verdict(m, verdict, Some(Bytes::from(last)));
                }
            },
        }
    }

    fn verdict(&mut self, m: Mechanism, verdict: Verdict<I>, success: Option<Bytes>) {
        match verdict {
            Verdict::Granted(login) => self.logged_in(m, login, success),
            Verdict::Refused(f) => self.refuse(f),
            Verdict::Later => self.state = State::Deciding(m, success),
        }
    }

    fn logged_in(&mut self, m: Mechanism, login: Login<I>, success: Option<Bytes>) {
        self.send(sasl::encode("success", None, success.as_deref()));
        self.out.push_back(Output::Restart);
        self.state = State::Reopening(m, login);
    }

    fn refuse(&mut self, failure: Failure) {
        self.failures += 1;
        self.send(failure.write());
        if self.failures >= self.limits.failures {
            self.close(StreamError::new(StreamCondition::PolicyViolation).text("too many failed logins"));
        } else {
            self.state = State::LoggingIn;
        }
    }

    fn after_login<B: Backend<Identity = I>>(
        &mut self,
        backend: &mut B,
        element: &Stanza,
        m: Mechanism,
        login: Login<I>,
    ) {
        let e = element.root();
        if matches!(e.ns(), ns::SM | ns::SM2) {
            return self.sm_before_bind(e, m, login);
        }
        match element.kind() {
            StanzaKind::Iq => self.bind(backend, element, m, login),
            StanzaKind::Other => self.close(StreamError::new(StreamCondition::UnsupportedStanzaType)),
            // RFC 6120 §7.1: nothing may be sent before the address is known.
            _ => self.close(StreamError::new(StreamCondition::NotAuthorized).text("bind first")),
        }
    }

    fn sm_before_bind(&mut self, e: Element<'_>, m: Mechanism, login: Login<I>) {
        let version = sm::Version::of(e);
        let Some(host) = self.host.clone() else { return self.close(StreamError::new(StreamCondition::HostUnknown)) };
        let offered = host.sm(self.framing).is_some();
        match SmElement::parse(e) {
            Some(SmElement::Resume { previd, h, version }) if offered => {
                self.state = State::Resuming(m, login.localpart.clone());
                let params = std::mem::take(&mut self.params);
                self.out.push_back(Output::Resume(Box::new(ResumeRequest {
                    host,
                    localpart: login.localpart,
                    previd,
                    h,
                    version,
                    identity: login.identity,
                    params,
                })));
            }
            parsed => {
                // XEP-0198 §3: enabling before bind, or a stream without stream management.
                let condition = match parsed {
                    _ if !offered => Condition::ServiceUnavailable,
                    Some(_) => Condition::UnexpectedRequest,
                    None => Condition::BadRequest,
                };
                self.send(sm::failed(version, condition, None));
                self.state = State::Binding(m, login);
            }
        }
    }

    fn bind<B: Backend<Identity = I>>(&mut self, backend: &mut B, iq: &Stanza, m: Mechanism, login: Login<I>) {
        let refused = |s: &mut Self, login: Login<I>, e: StanzaError| {
            if let Some(answer) = e.answer(iq) {
                s.send(answer.raw().clone());
            }
            s.state = State::Binding(m, login);
        };
        let Some(bind) = iq.child("bind", ns::BIND) else {
            return refused(
                self,
                login,
                StanzaError::new(ErrorType::Auth, Condition::NotAuthorized).text("bind first"),
            );
        };
        let Some(id) = iq.id().filter(|_| iq.ty().as_deref() == Some("set")) else {
            return refused(self, login, StanzaError::new(ErrorType::Modify, Condition::BadRequest));
        };
        let Some(host) = self.host.clone() else { return self.close(StreamError::new(StreamCondition::HostUnknown)) };
        let asked = bind.child("resource", ns::BIND).map(|r| r.text().into_owned()).filter(|r| !r.is_empty());
        let resource = match asked {
            Some(r) if host.info().resource == ResourcePolicy::Requested => r,
            _ => random_id(backend, 6),
        };
        let jid = Jid::from_parts(Some(&login.localpart), host.name(), Some(&resource)).ok().and_then(|j| j.as_full());
        let Some(jid) = jid else {
            // RFC 6120 §7.7.2.1: the resource cannot be used.
            return refused(self, login, StanzaError::new(ErrorType::Modify, Condition::BadRequest).text("resource"));
        };
        let mut w = XmlWriter::new();
        w.open_ns("iq", ns::CLIENT).attr("type", "result").attr("id", id);
        w.open_ns("bind", ns::BIND).text_element("jid", &jid);
        self.out.push_back(Output::Bound(Box::new(Bound {
            jid,
            host,
            identity: login.identity,
            params: std::mem::take(&mut self.params),
            mechanism: m,
            bind_result: w.finish(),
        })));
    }
}

/// The account that a name means: the name itself, or `name@host`. An identity to act as must be the same account.
fn account(host: &HostProfile, user: &str, authzid: Option<&str>) -> Result<String, Failure> {
    let own = |name: &str| {
        let jid = match name.split_once('@') {
            Some((local, domain)) => Jid::from_parts(Some(local), domain, None),
            None => Jid::from_parts(Some(name), host.name(), None),
        };
        jid.ok().filter(|j| j.domain() == host.name()).and_then(|j| j.local().map(str::to_owned))
    };
    let user = own(user).ok_or_else(Failure::not_authorized)?;
    match authzid {
        Some(a) if own(a).as_ref() != Some(&user) => Err(Failure::new(SaslCondition::InvalidAuthzid)),
        _ => Ok(user),
    }
}

fn random_id<B: Backend>(backend: &mut B, bytes: usize) -> String {
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
