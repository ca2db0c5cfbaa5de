//! BOSH over the HTTP front: each session is a virtual connection with a task of its own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_room::Session;
use amphi_stanza::{Limits, Stanza, StanzaKind};
use amphi_xmpp::bosh::{BoshCondition, BoshConfig, BoshSession, Ended, Output, RequestId, terminate_body};
use amphi_xmpp::c2s::{self, Negotiation, NegotiationLimits, Security, UrlParams};
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::backend::{Identity, NodeBackend};
use crate::budget::Budget;
use crate::front::{Peer, Target, head};
use crate::http::Http;
use crate::metrics::{Kind, Metrics};
use crate::node::Node;
use crate::virt;

/// Bytes that may wait for a client that does not ask for them.
const MAX_QUEUED: usize = 2 * 1024 * 1024;

/// Where BOSH sessions live.
pub(crate) struct Gate {
    pub(crate) main: Option<Target>,
    pub(crate) vnodes: HashMap<String, Target>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) config: BoshConfig,
    pub(crate) region_header: String,
    /// How long logging in may take, as on any other transport.
    pub(crate) login_time: Duration,
    /// Bytes a second that a session is read at.
    pub(crate) read_rate: u32,
    /// Places for sessions, and for those that are not logged in.
    pub(crate) places: [Arc<Semaphore>; 2],
    pub(crate) sessions: Arc<Mutex<HashMap<String, mpsc::Sender<Asked>>>>,
}

/// A request of a session and the way back.
pub(crate) struct Asked {
    body: Stanza,
    answer: oneshot::Sender<Bytes>,
}

/// `/http-bind`.
pub(crate) async fn handle(State(http): State<Arc<Http>>, peer: Option<Extension<Peer>>, request: Request) -> Response {
    if request.method() != Method::POST {
        return (StatusCode::OK, "This is the BOSH endpoint.").into_response();
    }
    let gate = &http.bosh;
    let uri = request.uri().clone();
    let headers = request.headers().clone();
    let Ok(bytes) = http.body(request, gate.config.limits.bytes + 4096).await else {
        return answer(terminate_body(BoshCondition::PolicyViolation));
    };
    let mut params = UrlParams::parse(uri.query().unwrap_or(""));
    if let Some(t) = head::split_tenant(uri.path()).0 {
        params.prefix = Some(t.to_lowercase());
    }
    let target = match params.vnode.as_deref() {
        None => gate.main.as_ref(),
        Some(v) => gate.vnodes.get(v),
    };
    let node = match target {
        Some(Target::Here(n)) => n.clone(),
        Some(Target::There(addr)) => {
            // A session holds a request for as long as it was asked to.
            let most = gate.config.wait + Duration::from_secs(10);
            return forward(addr, &uri.to_string(), &headers, bytes, most).await;
        }
        None => return answer(terminate_body(BoshCondition::HostUnknown)),
    };
    let Ok(body) = Stanza::parse(bytes, &gate.config.limits) else {
        gate.metrics.refuse("bosh-body");
        return answer(terminate_body(BoshCondition::BadRequest));
    };
    let tx = match body.attr("sid") {
        Some(sid) => gate.sessions.lock().get(&*sid).cloned(),
        None => {
            let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
            params.token = params.token.or_else(|| text("authorization").as_deref().and_then(head::bearer));
            params.region = text(&gate.region_header);
            params.user_agent = text("user-agent");
            let peer = peer.map_or(IpAddr::from([127, 0, 0, 1]), |p| p.0.0);
            return open(gate, node, params, peer, body).await;
        }
    };
    let Some(tx) = tx else { return answer(terminate_body(BoshCondition::ItemNotFound)) };
    ask(&tx, body).await
}

fn answer(body: Bytes) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, "text/xml; charset=utf-8")], body).into_response()
}

async fn ask(tx: &mpsc::Sender<Asked>, body: Stanza) -> Response {
    let (answer_tx, rx) = oneshot::channel();
    if tx.send(Asked { body, answer: answer_tx }).await.is_err() {
        return answer(terminate_body(BoshCondition::ItemNotFound));
    }
    match rx.await {
        Ok(b) => answer(b),
        Err(_) => answer(terminate_body(BoshCondition::ItemNotFound)),
    }
}

async fn forward(host: &str, path: &str, headers: &HeaderMap, body: Bytes, most: Duration) -> Response {
    let mut req =
        hyper::Request::post(path).header(header::HOST, host).header(header::CONTENT_TYPE, "text/xml; charset=utf-8");
    for name in ["authorization", "user-agent", "x-forwarded-for"] {
        if let Some(v) = headers.get(name) {
            req = req.header(name, v);
        }
    }
    let Ok(req) = req.body(http_body_util::Full::new(body)) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    match crate::http::call(host, req, most).await {
        Ok((status, _, bytes)) => (status, [(header::CONTENT_TYPE, "text/xml; charset=utf-8")], bytes).into_response(),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

async fn open(gate: &Gate, node: Arc<Node>, params: UrlParams, peer: IpAddr, body: Stanza) -> Response {
    let sid = uuid::Uuid::new_v4().simple().to_string();
    let first = RequestId(0);
    let core = match BoshSession::open(Instant::now(), sid.clone(), first, &body, gate.config) {
        Ok(c) => c,
        Err(e) => return answer(terminate_body(e.condition())),
    };
    let place = gate.places[0].clone().try_acquire_owned();
    let (Ok(place), Ok(login)) = (place, gate.places[1].clone().try_acquire_owned()) else {
        gate.metrics.refuse("bosh-full");
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "30")], "Too many BOSH sessions")
            .into_response();
    };
    let (tx, rx) = mpsc::channel(16);
    gate.sessions.lock().insert(sid.clone(), tx);
    let (answer_tx, answer_rx) = oneshot::channel();
    let negotiation =
        Box::new(Negotiation::new(c2s::Framing::Bosh, Security::Encrypted, params, NegotiationLimits::default()));
    let sessions = gate.sessions.clone();
    let metrics = gate.metrics.clone();
    let deadline = tokio::time::Instant::now() + gate.login_time;
    let task = Task {
        core,
        backend: NodeBackend::new(node.clone(), peer),
        node,
        state: Phase::Negotiating(negotiation),
        login: Some(login),
        budget: Budget::new(gate.read_rate, Instant::now()),
        rate: gate.read_rate,
        waiting: [(first, answer_tx)].into_iter().collect(),
        hubs: 0,
    };
    tokio::spawn(async move {
        let gauge = metrics.connections.get_or_create_owned(&Kind { kind: "bosh" });
        let _place = place;
        gauge.inc();
        task.run(rx, deadline, &metrics).await;
        gauge.dec();
        sessions.lock().remove(&sid);
    });
    match answer_rx.await {
        Ok(b) => answer(b),
        Err(_) => answer(terminate_body(BoshCondition::InternalServerError)),
    }
}

enum Phase {
    Negotiating(Box<Negotiation<Identity>>),
    Bound(Arc<Session>, mpsc::UnboundedReceiver<virt::Event>),
    /// Ended by us; the client is yet to hear of it.
    Over,
}

struct Task {
    core: BoshSession,
    backend: NodeBackend,
    node: Arc<Node>,
    state: Phase,
    /// Held until somebody is logged in.
    login: Option<OwnedSemaphorePermit>,
    /// What is left of the read rate.
    budget: Budget,
    rate: u32,
    waiting: HashMap<RequestId, oneshot::Sender<Bytes>>,
    hubs: u64,
}

impl Task {
    async fn run(mut self, mut rx: mpsc::Receiver<Asked>, deadline: tokio::time::Instant, metrics: &Metrics) {
        let mut next = 1u64;
        loop {
            if self.outputs(metrics).await {
                break;
            }
            let now = Instant::now();
            let admin = matches!(&self.state, Phase::Bound(s, _) if s.admin);
            let slow = self.budget.wait(if admin { 0 } else { self.rate }, now);
            let timeout = self.core.poll_timeout();
            let timer = crate::timer::until(timeout);
            let negotiating = matches!(self.state, Phase::Negotiating(_));
            let events = match &mut self.state {
                Phase::Bound(_, events) => Some(events),
                Phase::Negotiating(_) | Phase::Over => None,
            };
            let event = async {
                match events {
                    Some(e) => e.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // What comes too fast waits for its turn.
                () = crate::timer::until(slow.map(|w| now + w)), if slow.is_some() => metrics.refuse("read-rate"),
                a = rx.recv(), if slow.is_none() => {
                    let Some(a) = a else { break };
                    self.budget = self.budget.less(a.body.raw().len());
                    let id = RequestId(next);
                    next += 1;
                    self.waiting.insert(id, a.answer);
                    self.core.handle_request(Instant::now(), id, &a.body);
                }
                e = event => match e {
                    Some(virt::Event::Stanza(b)) => {
                        let now = Instant::now();
                        self.core.push(now, b);
                        if let Phase::Bound(_, events) = &mut self.state {
                            while let Ok(virt::Event::Stanza(b)) = events.try_recv() {
                                self.core.push(now, b);
                            }
                        }
                        if self.core.queued_bytes() > MAX_QUEUED {
                            metrics.close("slow-reader");
                            self.end(BoshCondition::PolicyViolation).await;
                        }
                    }
                    Some(virt::Event::Closed) | None => self.end(BoshCondition::PolicyViolation).await,
                },
                () = timer => self.core.handle_timeout(Instant::now()),
                () = tokio::time::sleep_until(deadline), if negotiating => {
                    metrics.close("handshake-timeout");
                    self.core.terminate(Instant::now(), Some(BoshCondition::PolicyViolation));
                    // A request that is held is answered; one that comes later hears that there is no such session.
                    self.outputs(metrics).await;
                    break;
                }
            }
        }
        self.leave().await;
    }

    /// Ends a session whose client is still to hear of it: it is nobody any more.
    async fn end(&mut self, condition: BoshCondition) {
        self.core.terminate(Instant::now(), Some(condition));
        self.leave().await;
    }

    async fn leave(&mut self) {
        if let Phase::Bound(session, _) = std::mem::replace(&mut self.state, Phase::Over) {
            self.node.virt.remove(session.conn);
            self.node.session_gone(&session, self.hubs).await;
        }
    }

    /// Carries out what the session wants; true when it is over.
    async fn outputs(&mut self, metrics: &Metrics) -> bool {
        let mut over = false;
        while let Some(o) = self.core.poll_output() {
            match o {
                Output::Open(header) | Output::Restart(header) => {
                    if let Phase::Negotiating(n) = &mut self.state {
                        n.on_header(&mut self.backend, &header);
                    }
                    self.negotiated();
                }
                Output::Element(e) => match &mut self.state {
                    Phase::Negotiating(n) => {
                        n.on_element(&mut self.backend, &e);
                        self.negotiated();
                    }
                    Phase::Bound(session, _) => {
                        let session = session.clone();
                        self.stanza(&session, e, metrics).await;
                    }
                    Phase::Over => {}
                },
                Output::Respond { request, body } => {
                    if let Some(tx) = self.waiting.remove(&request)
                        && tx.send(body).is_err()
                    {
                        self.core.request_gone(Instant::now(), request);
                    }
                }
                Output::Terminated(ended) => {
                    if matches!(ended, Ended::Inactive) {
                        metrics.close("idle");
                    }
                    over = true;
                }
            }
        }
        over
    }

    fn negotiated(&mut self) {
        let now = Instant::now();
        let mut bound = None;
        if let Phase::Negotiating(n) = &mut self.state {
            while let Some(o) = n.poll_output() {
                match o {
                    c2s::Output::Send(b) => self.core.push(now, b),
                    c2s::Output::Bound(b) => bound = Some(*b),
                    c2s::Output::Resume(r) => n.resume_failed(*r, None),
                    c2s::Output::Close { error } => {
                        self.core.terminate(now, error.map(|_| BoshCondition::RemoteStreamError));
                    }
                    c2s::Output::StartTls | c2s::Output::Restart => {}
                }
            }
        }
        if let Some(b) = bound {
            let conn = self.node.virt.new_id();
            let events = self.node.virt.add(conn, b.jid.as_str());
            let session = self.node.bind(conn, &b.jid, b.identity, b.params);
            if let Some(a) = self.node.announcement(&session) {
                self.core.push(now, a);
            }
            self.core.push(now, b.bind_result);
            self.state = Phase::Bound(session, events);
            self.login = None;
        }
    }

    async fn stanza(&mut self, session: &Arc<Session>, s: Stanza, metrics: &Metrics) {
        let kind = match s.kind() {
            StanzaKind::Message => "message",
            StanzaKind::Presence => "presence",
            StanzaKind::Iq => "iq",
            StanzaKind::Other => {
                metrics.close("unknown-element");
                self.core.terminate(Instant::now(), Some(BoshCondition::BadRequest));
                return;
            }
        };
        metrics.stanzas_in.get_or_create(&Kind { kind }).inc();
        if kind == "presence" && s.attr("to").is_none() {
            if s.ty().as_deref() == Some("unavailable") {
                self.node.left_rooms(session, std::mem::take(&mut self.hubs)).await;
            }
            return;
        }
        let routed = self.node.route_from(session, s);
        if let Some(h) = routed.hub() {
            self.hubs |= 1 << h;
        }
        if let Some(b) = self.node.deliver(routed).await {
            self.core.push(Instant::now(), b);
        }
    }
}

/// The limits of BOSH elements are those of any client.
pub(crate) fn config(limits: Limits) -> BoshConfig {
    BoshConfig { limits, ..BoshConfig::default() }
}
