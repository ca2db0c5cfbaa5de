//! The focus and its connections: in memory to nodes of this process, over TCP to others.
//!
//! The focus is an ordinary client of every node. This task feeds its sans-IO core, carries out what it wants, and lets
//! HTTP handlers ask it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_focus::{
    BridgeStatus, ConferenceAnswer, ConferenceRequest, Event, Focus, Input, Meeting, Move, MoveError, NodeId, Output,
    RequestError, VisitorChange,
};
use amphi_stanza::BareJid;
use amphi_stanza::{FullJid, Stanza};
use amphi_xmpp::client::{ClientConfig, ClientEvent};
use tokio::sync::{mpsc, oneshot};

use crate::metrics::{Kind, Metrics};
use crate::node::Node;
use crate::service::{self, Retry};
use crate::shard::Shards;

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

/// Endpoints and conferences.
type Moved = Result<(u32, u32), MoveError>;

/// Bridges, and how many members wait to be invited: for the first time, and again.
type Bridges = (Vec<BridgeStatus>, (usize, usize));

enum Command {
    Request(ConferenceRequest, IpAddr, oneshot::Sender<Result<ConferenceAnswer, RequestError>>),
    Meeting(String, Option<String>, oneshot::Sender<Option<Meeting>>),
    Visitors(BareJid, usize, oneshot::Sender<Names>),
    Move(Move, oneshot::Sender<Moved>),
    Bridges(oneshot::Sender<Bridges>),
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

    /// Moves endpoints to other bridges; `None` when the focus has ended.
    pub(crate) async fn move_endpoints(&self, what: Move) -> Option<Moved> {
        let (tx, rx) = oneshot::channel();
        self.tx.send(Command::Move(what, tx)).await.ok()?;
        rx.await.ok()
    }

    /// Bridges that the focus knows; `None` when the focus has ended.
    pub(crate) async fn bridges(&self) -> Option<Bridges> {
        let (tx, rx) = oneshot::channel();
        self.tx.send(Command::Bridges(tx)).await.ok()?;
        rx.await.ok()
    }

    /// Gives the focus an input, for operators.
    pub async fn input(&self, input: Input) {
        let _ = self.tx.send(Command::Input(input)).await;
    }
}

type FromNode = (NodeId, ClientEvent);

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
                let tell = service::tell(&events, move |e| (id.clone(), e));
                shards.run_on(0, service::memory(node, jid, true, out_rx, tell)).await;
            }
            FocusLink::Tcp { address, config } => {
                // `spec/focus.md` 1.1: first connect every second, later after two.
                let pause = Retry { first: Duration::from_secs(1), later: Duration::from_secs(2) };
                let tell = service::tell(&events, move |e| (id.clone(), e));
                tokio::spawn(service::tcp(address, *config, pause, out_rx, tell));
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
    let mut moves: HashMap<u64, oneshot::Sender<Moved>> = HashMap::new();
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
                Some(Command::Move(what, answer)) => {
                    next_id += 1;
                    moves.insert(next_id, answer);
                    Input::Move { id: next_id, what }
                }
                Some(Command::Bridges(answer)) => {
                    let _ = answer.send((focus.bridges(Instant::now()), focus.invite_queues()));
                    continue;
                }
                Some(Command::Input(i)) => i,
                None => return,
            },
            Some((node, e)) = from_nodes.recv() => match e {
                ClientEvent::Up { jid, resumed } => Input::Connected { node, jid, resumed },
                ClientEvent::Down => Input::Disconnected { node },
                ClientEvent::Stanza(stanza) => Input::Stanza { node, stanza },
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
                Output::Moved { id, result } => {
                    match result {
                        Ok((endpoints, conferences)) => tracing::info!(endpoints, conferences, "Endpoints are moved."),
                        Err(e) => tracing::warn!(error = %e, "Endpoints cannot be moved."),
                    }
                    if let Some(tx) = moves.remove(&id) {
                        let _ = tx.send(result);
                    }
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
        Event::BridgeUp { bridge } => tracing::info!(bridge, "A bridge is there."),
        Event::BridgeDown { bridge } => tracing::warn!(bridge, "A bridge is gone."),
        Event::BridgeSessionFailed { room, bridge } => {
            tracing::warn!(%room, bridge, "A conference left a bridge that failed it.");
        }
        Event::CascadeRepaired { room, links } => tracing::info!(%room, links, "Bridges were linked again."),
        Event::IqFailed { what, why } => tracing::warn!(what, why, "A request of the focus failed."),
        Event::BadStanza { node, why } => tracing::debug!(%node, why, "The focus refused a stanza."),
        Event::MemberJoined { room, node, occupant } => tracing::debug!(%room, %node, %occupant, "Member joined."),
        Event::MemberLeft { room, node, occupant } => tracing::debug!(%room, %node, %occupant, "Member left."),
    }
}
