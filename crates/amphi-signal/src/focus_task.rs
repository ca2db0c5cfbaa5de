//! The focus and its connections: in memory to nodes of this process, over TCP to others.
//!
//! The focus is an ordinary client of every node. This task feeds its sans-IO core, carries out what it wants, and lets
//! HTTP handlers ask it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_focus::{
    ConferenceAnswer, ConferenceRequest, Event, Focus, Input, Meeting, NodeId, Output, RequestError, VisitorChange,
};
use amphi_room::Session;
use amphi_stanza::BareJid;
use amphi_stanza::{FullJid, Limits, Stanza, StreamReader};
use amphi_xmpp::c2s::UrlParams;
use amphi_xmpp::client::{ClientConfig, ClientOutput, ClientStream, Input as ClientInput};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::backend::Identity;
use crate::links::Socket;
use crate::metrics::{Kind, Metrics};
use crate::node::Node;
use crate::shard::Shards;
use crate::tls;
use crate::virt;

/// How the focus reaches a node.
pub(crate) enum FocusLink {
    /// A node of this process; the address the focus has there.
    Memory(Arc<Node>, FullJid),
    /// A node elsewhere.
    Tcp {
        /// Host and port.
        address: String,
        /// Login.
        config: Box<ClientConfig>,
    },
}

/// Asks the focus.
#[derive(Clone)]
pub struct FocusHandle {
    tx: mpsc::Sender<Command>,
}

/// Visitors: endpoint and name of each.
type Names = Vec<(Box<str>, Box<str>)>;

enum Command {
    Request(ConferenceRequest, IpAddr, oneshot::Sender<Result<ConferenceAnswer, RequestError>>),
    Meeting(String, Option<String>, oneshot::Sender<Option<Meeting>>),
    Visitors(BareJid, usize, oneshot::Sender<Names>),
    Input(Input),
}

impl FocusHandle {
    /// Makes a conference request as over HTTP.
    ///
    /// # Errors
    /// What the client is to be told.
    pub async fn request(&self, request: ConferenceRequest, peer: IpAddr) -> Result<ConferenceAnswer, RequestError> {
        let (tx, rx) = oneshot::channel();
        if self.tx.send(Command::Request(request, peer, tx)).await.is_err() {
            return Err(RequestError::RoomUnavailable);
        }
        rx.await.unwrap_or(Err(RequestError::RoomUnavailable))
    }

    /// The meeting with a unique id, and whether an occupant is a moderator there.
    pub(crate) async fn meeting(&self, id: String, endpoint: Option<String>) -> Option<Meeting> {
        let (tx, rx) = oneshot::channel();
        self.tx.send(Command::Meeting(id, endpoint, tx)).await.ok()?;
        rx.await.ok()?
    }

    /// Endpoint id and name of the visitors of a conference.
    pub(crate) async fn visitors(&self, room: BareJid, limit: usize) -> Vec<(Box<str>, Box<str>)> {
        let (tx, rx) = oneshot::channel();
        if self.tx.send(Command::Visitors(room, limit, tx)).await.is_err() {
            return Vec::new();
        }
        rx.await.unwrap_or_default()
    }

    /// Gives the focus an input, for operators.
    pub async fn input(&self, input: Input) {
        let _ = self.tx.send(Command::Input(input)).await;
    }
}

enum FromNode {
    Up(NodeId, FullJid, bool),
    Down(NodeId),
    Stanza(NodeId, Stanza),
}

/// Starts the focus and its connections.
pub(crate) async fn start(
    focus: Focus,
    links: Vec<(NodeId, FocusLink)>,
    shards: &Shards,
    metrics: Arc<Metrics>,
    visitors: mpsc::UnboundedSender<VisitorChange>,
) -> FocusHandle {
    let (tx, rx) = mpsc::channel(4096);
    let (events, from_nodes) = mpsc::channel(16 * 1024);
    let mut senders = HashMap::new();
    for (id, link) in links {
        let (out, out_rx) = mpsc::unbounded_channel();
        senders.insert(id.clone(), out);
        match link {
            FocusLink::Memory(node, jid) => {
                shards.run_on(0, memory(id, node, jid, out_rx, events.clone())).await;
            }
            FocusLink::Tcp { address, config } => {
                tokio::spawn(tcp(id, address, *config, out_rx, events.clone()));
            }
        }
    }
    shards.run_on(0, run(focus, rx, from_nodes, senders, metrics, visitors)).await;
    FocusHandle { tx }
}

async fn run(
    mut focus: Focus,
    mut rx: mpsc::Receiver<Command>,
    mut from_nodes: mpsc::Receiver<FromNode>,
    senders: HashMap<NodeId, mpsc::UnboundedSender<Stanza>>,
    metrics: Arc<Metrics>,
    visitors: mpsc::UnboundedSender<VisitorChange>,
) {
    let mut meetings: HashMap<u64, oneshot::Sender<Option<Meeting>>> = HashMap::new();
    let mut lists: HashMap<u64, oneshot::Sender<Names>> = HashMap::new();
    let mut asked: HashMap<u64, oneshot::Sender<Result<ConferenceAnswer, RequestError>>> = HashMap::new();
    let mut next_id = 0u64;
    loop {
        let deadline = focus.poll_timeout();
        let timer = crate::timer::until(deadline);
        let input = tokio::select! {
            c = rx.recv() => match c {
                Some(Command::Request(request, peer, answer)) => {
                    next_id += 1;
                    asked.insert(next_id, answer);
                    Input::ConferenceRequest { id: next_id, request, peer: Some(peer) }
                }
                Some(Command::Meeting(meeting_id, endpoint, answer)) => {
                    next_id += 1;
                    meetings.insert(next_id, answer);
                    Input::FindMeeting { id: next_id, meeting_id, endpoint }
                }
                Some(Command::Visitors(room, limit, answer)) => {
                    next_id += 1;
                    lists.insert(next_id, answer);
                    Input::ListVisitors { id: next_id, room, limit }
                }
                Some(Command::Input(i)) => i,
                None => return,
            },
            Some(e) = from_nodes.recv() => match e {
                FromNode::Up(node, jid, resumed) => Input::Connected { node, jid, resumed },
                FromNode::Down(node) => Input::Disconnected { node },
                FromNode::Stanza(node, stanza) => Input::Stanza { node, stanza },
            },
            () = timer => Input::Tick,
        };
        focus.handle(Instant::now(), input);
        while let Some(o) = focus.poll_output() {
            match o {
                Output::Send { node, stanza } => {
                    if let Some(tx) = senders.get(&node) {
                        let _ = tx.send(Stanza::authored(stanza));
                    }
                }
                Output::Answer { id, result } => {
                    let kind = match &result {
                        Ok(a) if a.vnode.is_some() => "redirected",
                        Ok(a) if a.ready => "stage",
                        Ok(_) => "wait",
                        Err(_) => "error",
                    };
                    metrics.conference_requests.get_or_create(&Kind { kind }).inc();
                    if let Some(tx) = asked.remove(&id) {
                        let _ = tx.send(result);
                    }
                }
                Output::Meeting { id, found } => {
                    if let Some(tx) = meetings.remove(&id) {
                        let _ = tx.send(found);
                    }
                }
                Output::Visitors { id, visitors } => {
                    if let Some(tx) = lists.remove(&id) {
                        let _ = tx.send(visitors);
                    }
                }
                Output::Visitor(change) => {
                    let _ = visitors.send(change);
                }
                Output::Event(e) => log(&e),
            }
        }
    }
}

fn log(e: &Event) {
    match e {
        Event::ConferenceStarted { room, meeting_id } => tracing::info!(%room, meeting_id, "Conference started."),
        Event::ConferenceEnded { room, reason } => tracing::info!(%room, ?reason, "Conference ended."),
        Event::VroomLinked { room, vnode } => tracing::info!(%room, %vnode, "Visitor room linked."),
        Event::VroomFailed { room, vnode, why } => tracing::warn!(%room, %vnode, why, "Visitor room failed."),
        Event::VroomClosed { room, vnode } => tracing::info!(%room, %vnode, "Visitor room closed."),
        Event::NodeLost { node, visitors } => tracing::warn!(%node, visitors, "The focus lost a node."),
        Event::NodeUp { node } => tracing::info!(%node, "The focus is connected to a node."),
        Event::IqFailed { what, why } => tracing::warn!(what, why, "A request of the focus failed."),
        Event::BadStanza { node, why } => tracing::debug!(%node, why, "The focus refused a stanza."),
        Event::MemberJoined { room, node, occupant } => tracing::debug!(%room, %node, %occupant, "Member joined."),
        Event::MemberLeft { room, node, occupant } => tracing::debug!(%room, %node, %occupant, "Member left."),
    }
}

/// A connection to a node of this process: authenticated by being here.
async fn memory(
    id: NodeId,
    node: Arc<Node>,
    jid: FullJid,
    mut out: mpsc::UnboundedReceiver<Stanza>,
    events: mpsc::Sender<FromNode>,
) {
    let conn = node.virt.new_id();
    let mut rx = node.virt.add(conn, jid.as_str());
    let session: Arc<Session> =
        node.bind(conn, &jid, Identity { admin: true, ..Identity::default() }, UrlParams::default());
    let _ = events.send(FromNode::Up(id.clone(), jid, false)).await;
    loop {
        tokio::select! {
            s = out.recv() => {
                let Some(s) = s else { break };
                let routed = node.route_from(&session, s);
                if let Some(answer) = node.deliver(routed).await {
                    let _ = events.send(FromNode::Stanza(id.clone(), Stanza::authored(answer))).await;
                }
            }
            e = rx.recv() => match e {
                Some(virt::Event::Stanza(b)) => {
                    let _ = events.send(FromNode::Stanza(id.clone(), Stanza::authored(b))).await;
                }
                Some(virt::Event::Closed) | None => {
                    let _ = events.send(FromNode::Down(id.clone())).await;
                    break;
                }
            }
        }
    }
    node.virt.remove(conn);
    node.session_gone(&session, u64::MAX).await;
}

/// A connection to a node elsewhere; made again whenever it breaks.
async fn tcp(
    id: NodeId,
    address: String,
    config: ClientConfig,
    mut out: mpsc::UnboundedReceiver<Stanza>,
    events: mpsc::Sender<FromNode>,
) {
    let domain = config.domain.clone();
    let mut core = ClientStream::new(Instant::now(), config);
    let mut first = true;
    loop {
        match TcpStream::connect(&address).await {
            Ok(socket) => {
                let _ = socket.set_nodelay(true);
                first = false;
                core.handle(Instant::now(), ClientInput::Connected);
                connection(&id, &domain, &mut core, Socket::Plain(socket), &mut out, &events).await;
            }
            Err(e) => tracing::debug!(node = %id, error = %e, "The focus cannot reach a node."),
        }
        // `spec/focus.md` 1.1: first connect every second, later after two.
        tokio::time::sleep(Duration::from_secs(if first { 1 } else { 2 })).await;
    }
}

async fn connection(
    id: &NodeId,
    domain: &str,
    core: &mut ClientStream,
    mut io: Socket,
    out: &mut mpsc::UnboundedReceiver<Stanza>,
    events: &mpsc::Sender<FromNode>,
) {
    let limits = Limits { bytes: 10 * 1024 * 1024, nodes: 512 * 1024, ..Limits::default() };
    let mut reader = StreamReader::new(limits);
    let mut buf = vec![0u8; 64 * 1024].into_boxed_slice();
    let mut online = false;
    loop {
        let mut pending = Vec::new();
        while let Some(o) = core.poll_output() {
            match o {
                ClientOutput::Send(b) => pending.extend_from_slice(&b),
                ClientOutput::StartTls => {
                    if io.write(&std::mem::take(&mut pending)).await.is_err() {
                        core.handle(Instant::now(), ClientInput::Closed);
                        continue;
                    }
                    reader.clear();
                    let secured = match tls::client_config(None) {
                        Ok(config) => io.secure_client(config, domain).await,
                        Err(e) => Err(std::io::Error::other(e)),
                    };
                    let input = match secured {
                        Ok(()) => ClientInput::Secured { certificate_ok: true },
                        Err(_) => ClientInput::Closed,
                    };
                    core.handle(Instant::now(), input);
                }
                ClientOutput::Restart => reader.restart(),
                ClientOutput::Online { jid, resumed } => {
                    online = true;
                    // What the focus said to a session that is gone means nothing to the new one, or something else.
                    if !resumed {
                        while out.try_recv().is_ok() {}
                    }
                    let _ = events.send(FromNode::Up(id.clone(), jid, resumed)).await;
                }
                ClientOutput::Stanza(s) => {
                    let _ = events.send(FromNode::Stanza(id.clone(), s)).await;
                }
                ClientOutput::Fresh { .. } => {}
                ClientOutput::Closed { reason, .. } => {
                    let _ = io.write(&pending).await;
                    tracing::warn!(node = %id, %reason, "The focus lost its connection to a node.");
                    if online {
                        let _ = events.send(FromNode::Down(id.clone())).await;
                    }
                    return;
                }
            }
        }
        if !pending.is_empty() && io.write(&pending).await.is_err() {
            core.handle(Instant::now(), ClientInput::Closed);
            continue;
        }
        match reader.next_event() {
            Ok(Some(e)) => {
                core.handle(Instant::now(), ClientInput::Event(e));
                continue;
            }
            Ok(None) => {}
            Err(e) => {
                core.handle(Instant::now(), ClientInput::Invalid(e));
                continue;
            }
        }
        let deadline = core.poll_timeout();
        let timer = crate::timer::until(deadline);
        tokio::select! {
            r = io.read(&mut buf) => match r {
                Ok(n) if n > 0 => {
                    reader.push(&buf[..n]);
                    core.handle(Instant::now(), ClientInput::Received);
                }
                _ => core.handle(Instant::now(), ClientInput::Closed),
            },
            s = out.recv(), if online => {
                let Some(s) = s else { return };
                let _ = core.send(Instant::now(), s);
            }
            () = timer => core.handle(Instant::now(), ClientInput::Tick),
        }
    }
}
