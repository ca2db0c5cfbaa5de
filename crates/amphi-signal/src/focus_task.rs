//! The focus and its connections: in memory to nodes of this process, over TCP to others.
//!
//! The focus is an ordinary client of every node. This task feeds its sans-IO core, carries out what it wants, and lets
//! HTTP handlers ask it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_focus::{
    BridgeStatus, ConferenceAnswer, ConferenceRequest, ConferenceStatus, Event, Focus, Input, Meeting, MemberStatus,
    Move, MoveError, NodeId, NodeStatus, Output, RequestError, VisitorChange,
};
use amphi_stanza::BareJid;
use amphi_stanza::{FullJid, Stanza};
use amphi_xmpp::client::{ClientConfig, ClientEvent};
use tokio::sync::{mpsc, oneshot};

use crate::journal::{Draft, Journal, Kind as Happened};
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

/// What the focus last said of itself.
#[derive(Clone, Debug, Default)]
pub struct FocusView {
    /// Counters.
    pub metrics: amphi_focus::Metrics,
    /// The main node is connected and its components are known.
    pub ready: bool,
    /// Visitor nodes.
    pub nodes: Vec<NodeStatus>,
    /// Conferences.
    pub conferences: Vec<ConferenceStatus>,
    /// Bridges.
    pub bridges: Vec<BridgeStatus>,
    /// Members that wait to be invited: for the first time, and again.
    pub invitations: (usize, usize),
}

/// Where the focus publishes its view.
pub(crate) type SharedView = Arc<parking_lot::Mutex<Arc<FocusView>>>;

/// How often at most.
const VIEW_EVERY: Duration = Duration::from_millis(500);

enum Command {
    Members(BareJid, usize, oneshot::Sender<Option<Vec<MemberStatus>>>),
    Member(BareJid, String, oneshot::Sender<Option<MemberStatus>>),
    Request(ConferenceRequest, IpAddr, oneshot::Sender<Result<ConferenceAnswer, RequestError>>),
    Meeting(String, Option<String>, oneshot::Sender<Option<Meeting>>),
    Visitors(BareJid, usize, oneshot::Sender<Names>),
    Move(Move, oneshot::Sender<Moved>),
    Bridges(oneshot::Sender<Bridges>),
    Input(Input),
}

#[cfg(test)]
impl FocusHandle {
    /// A handle of no focus, and what it was told.
    pub(crate) fn pair() -> (Self, impl FnMut() -> Option<Input>) {
        let (tx, mut rx) = mpsc::channel(16);
        let told = move || match rx.try_recv() {
            Ok(Command::Input(i)) => Some(i),
            _ => None,
        };
        (Self { tx }, told)
    }
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

    /// Members of a conference, the stage first; `None` if there is no such conference.
    pub(crate) async fn members(&self, room: BareJid, limit: usize) -> Option<Vec<MemberStatus>> {
        let (tx, rx) = oneshot::channel();
        self.tx.send(Command::Members(room, limit, tx)).await.ok()?;
        rx.await.ok()?
    }

    /// A member of a conference.
    pub(crate) async fn member(&self, room: BareJid, endpoint: String) -> Option<MemberStatus> {
        let (tx, rx) = oneshot::channel();
        self.tx.send(Command::Member(room, endpoint, tx)).await.ok()?;
        rx.await.ok()?
    }

    /// Gives the focus an input, for operators.
    pub async fn input(&self, input: Input) {
        let _ = self.tx.send(Command::Input(input)).await;
    }
}

type FromNode = (NodeId, ClientEvent);

/// Who hears of what the focus does.
pub(crate) struct Watch {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) view: SharedView,
}

impl Watch {
    fn publish(&self, focus: &Focus) {
        *self.view.lock() = Arc::new(FocusView {
            metrics: *focus.metrics(),
            ready: focus.is_ready(),
            nodes: focus.nodes(),
            conferences: focus.conferences(),
            bridges: focus.bridges(Instant::now()),
            invitations: focus.invite_queues(),
        });
    }
}

/// Starts the focus and its connections, on one thread.
pub(crate) async fn start(
    focus: Focus,
    links: Vec<(NodeId, FocusLink)>,
    shards: &Shards,
    watch: Watch,
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
                let untrusted = watch.metrics.refusals("login-certificate");
                shards.run_on(0, service::tcp(address, *config, pause, out_rx, tell, untrusted)).await;
            }
        }
    }
    shards.run_on(0, run(focus, rx, from_nodes, senders, watch, visitors)).await;
    FocusHandle { tx }
}

async fn run(
    mut focus: Focus,
    mut rx: mpsc::Receiver<Command>,
    mut from_nodes: mpsc::Receiver<FromNode>,
    senders: HashMap<NodeId, mpsc::UnboundedSender<Stanza>>,
    watch: Watch,
    visitors: mpsc::UnboundedSender<VisitorChange>,
) {
    let mut meetings: HashMap<u64, oneshot::Sender<Option<Meeting>>> = HashMap::new();
    let mut lists: HashMap<u64, oneshot::Sender<Names>> = HashMap::new();
    let mut asked: HashMap<u64, oneshot::Sender<Result<ConferenceAnswer, RequestError>>> = HashMap::new();
    let mut moves: HashMap<u64, oneshot::Sender<Moved>> = HashMap::new();
    let mut next_id = 0u64;
    let mut view_due = Some(Instant::now());
    let mut told_at = Instant::now();
    loop {
        if view_due.is_some_and(|at| at <= Instant::now()) {
            watch.publish(&focus);
            (view_due, told_at) = (None, Instant::now());
        }
        let deadline = [focus.poll_timeout(), view_due].into_iter().flatten().min();
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
                Some(Command::Members(room, limit, answer)) => {
                    let _ = answer.send(focus.members(&room, limit));
                    continue;
                }
                Some(Command::Member(room, endpoint, answer)) => {
                    let _ = answer.send(focus.member(&room, &endpoint));
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
            () = timer => {
                if focus.poll_timeout().is_none_or(|at| at > Instant::now()) {
                    continue;
                }
                Input::Tick
            }
        };
        focus.handle(Instant::now(), input);
        view_due.get_or_insert(told_at + VIEW_EVERY);
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
                    watch.metrics.conference_requests.get_or_create(&Kind { kind }).inc();
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
                Output::Event(e) => {
                    log(&e);
                    note(&watch.journal, &e);
                }
            }
        }
    }
}

/// Notes what operators may want to know.
fn note(journal: &Journal, e: &Event) {
    let draft = match e {
        Event::Decided(d) => return journal.decided(d),
        Event::MemberJoined { node: NodeId::Vnode(_), .. } | Event::MemberLeft { node: NodeId::Vnode(_), .. }
            if !journal.is_watched() =>
        {
            return;
        }
        Event::BadStanza { .. } => return,
        Event::ConferenceStarted { room, meeting_id } => {
            Draft::new(Happened::RoomCreated, format!("Meeting {meeting_id} started.")).room(room)
        }
        Event::ConferenceEnded { room, reason } => {
            Draft::new(Happened::RoomEnded, format!("The meeting ended: {}.", reason.words())).room(room)
        }
        Event::VroomLinked { room, vnode } => {
            Draft::new(Happened::NodeLinked, "The shadow room is linked and takes visitors.").room(room).node(vnode)
        }
        Event::VroomFailed { room, vnode, why } => {
            Draft::new(Happened::Trouble, format!("The shadow room could not be opened: {why}.")).room(room).node(vnode)
        }
        Event::VroomClosed { room, vnode } => {
            Draft::new(Happened::NodeUnlinked, "The shadow room is gone.").room(room).node(vnode)
        }
        Event::NodeLost { node, visitors } => {
            Draft::new(Happened::NodeDown, format!("The focus lost the node, with {visitors} visitors.")).node(node)
        }
        Event::NodeUp { node } => Draft::new(Happened::NodeUp, "The focus is connected to the node.").node(node),
        Event::BridgeUp { bridge } => Draft::new(Happened::BridgeUp, "The bridge is there.").node(bridge),
        Event::BridgeDown { bridge } => Draft::new(Happened::BridgeDown, "The bridge is gone.").node(bridge),
        Event::BridgeSessionFailed { room, bridge } => {
            Draft::new(Happened::BridgeDown, "The bridge failed the meeting, which left it.").room(room).node(bridge)
        }
        Event::CascadeRepaired { room, links } => {
            Draft::new(Happened::Trouble, format!("{links} links between bridges were made again.")).room(room)
        }
        Event::IqFailed { what, why } => {
            Draft::new(Happened::Trouble, format!("A request of the focus ({what}) failed: {why}."))
        }
        Event::MemberJoined { room, node, occupant } => {
            let kind = if *node == NodeId::Main { Happened::Joined } else { Happened::VisitorJoined };
            Draft::new(kind, if *node == NodeId::Main { "Came on stage." } else { "Came into the audience." })
                .room(room)
                .node(node)
                .endpoint(occupant.nick())
        }
        Event::MemberLeft { room, node, occupant } => {
            let kind = if *node == NodeId::Main { Happened::Left } else { Happened::VisitorLeft };
            Draft::new(kind, if *node == NodeId::Main { "Left the stage." } else { "Left the audience." })
                .room(room)
                .node(node)
                .endpoint(occupant.nick())
        }
    };
    journal.note(draft);
}

fn log(e: &Event) {
    match e {
        Event::Decided(d) => {
            tracing::debug!(room = %d.room, place = ?d.place, why = d.why, vnode = d.vnode.as_deref(), "Request decided.");
        }
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
