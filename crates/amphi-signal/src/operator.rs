//! What the admin API may see and do: nodes, rooms and their occupants, the focus, its nodes and bridges. No HTTP here, and no
//! right is checked: whoever has an [`Operator`] is one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use amphi_focus::{Input as FocusInput, MemberStatus, Move, MoveError};
use amphi_room::{Act, ActError, Input, RoomStatus, Told};
use amphi_stanza::{BareJid, Jid};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::sync::oneshot;

use crate::focus_task::{FocusHandle, FocusView, SharedView};
use crate::http::Health;
use crate::journal::Journal;
use crate::metrics::{LinkLabel, Metrics, NodeRole};
use crate::node::Node;

type Answer = Result<Told, ActError>;

/// Questions to rooms that are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    next: AtomicU64,
    open: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
}

impl Questions {
    pub(crate) fn answer(&self, id: u64, result: Answer) {
        if let Some(tx) = self.open.lock().remove(&id) {
            let _ = tx.send(result);
        }
    }

    fn open(&self) -> (u64, oneshot::Receiver<Answer>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (tx, rx) = oneshot::channel();
        self.open.lock().insert(id, tx);
        (id, rx)
    }
}

/// A node of this process, as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct NodeFigures {
    /// `main`, or the name of a visitor node.
    pub name: String,
    /// Its domain.
    pub domain: String,
    /// Whether it has the authoritative rooms.
    pub is_main: bool,
    /// Bound connections.
    pub sessions: usize,
    /// Rooms.
    pub rooms: i64,
    /// People on stage, those who are mirrored among them.
    pub stage: i64,
    /// People in the audience.
    pub audience: i64,
    /// Joins that ever happened: stage, audience.
    pub joins: [u64; 2],
    /// Whether the focus is connected; `None` where it does not have to be.
    pub focus: Option<bool>,
    /// Links to other domains.
    pub links: Vec<LinkFigures>,
}

/// A link to another domain.
#[derive(Clone, Debug, Serialize)]
pub struct LinkFigures {
    /// The peer's domain.
    pub domain: String,
    /// Whether stanzas get through.
    pub up: bool,
    /// In this process.
    pub in_memory: bool,
    /// Where the peer's server is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// Numbers of the whole process that only grow.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Joins: stage, audience.
    pub joins: [u64; 2],
    /// People now: stage, audience.
    pub people: [i64; 2],
    /// Rooms with authority.
    pub rooms: i64,
    /// Bound connections.
    pub sessions: usize,
    /// Stanzas written.
    pub stanzas_out: u64,
    /// Broadcasts by delay: upper bound in seconds (infinity for the last), and how many so far were at most that.
    pub fanout: Vec<(f64, u64)>,
}

struct Inner {
    nodes: Vec<Arc<Node>>,
    focus: Option<FocusHandle>,
    view: SharedView,
    journal: Arc<Journal>,
    metrics: Arc<Metrics>,
    health: Arc<dyn Health>,
    /// The histogram alone: it can be read in its text form only.
    fanout: Registry,
}

/// The operator's hand on a running process.
#[derive(Clone)]
pub struct Operator(Arc<Inner>);

impl Operator {
    pub(crate) fn new(
        nodes: Vec<Arc<Node>>,
        focus: Option<FocusHandle>,
        view: SharedView,
        journal: Arc<Journal>,
        metrics: Arc<Metrics>,
        health: Arc<dyn Health>,
    ) -> Self {
        let mut fanout = Registry::default();
        fanout.register("f", "", metrics.fanout_delay.clone());
        Self(Arc::new(Inner { nodes, focus, view, journal, metrics, health, fanout }))
    }

    /// What happened.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.0.journal
    }

    /// What the focus last said of itself; `None` if it runs elsewhere.
    pub fn focus(&self) -> Option<Arc<FocusView>> {
        self.0.focus.as_ref().map(|_| self.0.view.lock().clone())
    }

    /// Whether this process can do its work; otherwise a sentence.
    ///
    /// # Errors
    /// What is wrong.
    pub fn health(&self) -> Result<(), String> {
        self.0.health.check()
    }

    /// Nodes of this process.
    pub fn nodes(&self) -> Vec<NodeFigures> {
        self.0.nodes.iter().map(|n| self.node_figures(n)).collect()
    }

    fn node_figures(&self, n: &Arc<Node>) -> NodeFigures {
        let m = &self.0.metrics;
        let joins = |role| m.joins.get_or_create(&NodeRole { node: n.name.clone(), role }).get();
        let state = |remote: &str| {
            [&n.name, &n.rooms.host].into_iter().any(|local| {
                let label = LinkLabel { local: local.clone(), remote: remote.to_owned() };
                m.links.get(&label).is_some_and(|g| g.get() == 1)
            })
        };
        let mut links: Vec<LinkFigures> = n
            .links
            .get()
            .into_iter()
            .flat_map(|l| {
                l.known().map(|(domain, in_memory, address)| LinkFigures {
                    domain: domain.to_owned(),
                    up: in_memory.unwrap_or_else(|| state(domain)),
                    in_memory: in_memory.is_some(),
                    address: address.map(str::to_owned),
                })
            })
            .collect();
        links.sort_by(|a, b| a.domain.cmp(&b.domain));
        NodeFigures {
            name: n.name.clone(),
            domain: n.rooms.host.clone(),
            is_main: n.rooms.main().is_some(),
            sessions: n.session_count(),
            rooms: n.gauge(&m.rooms),
            stage: n.occupants("stage"),
            audience: n.occupants("visitor"),
            joins: [joins("stage"), joins("visitor")],
            focus: n.focus_proxy.as_ref().map(|p| n.has_session_of(&p.target)),
            links,
        }
    }

    /// Numbers of the whole process.
    pub fn totals(&self) -> Totals {
        let mut t =
            Totals { stanzas_out: self.0.metrics.stanzas_out.get(), fanout: self.fanout(), ..Totals::default() };
        for n in self.0.nodes.iter().map(|n| self.node_figures(n)) {
            t.joins[1] += n.joins[1];
            t.people[1] += n.audience;
            t.sessions += n.sessions;
            // Visitor nodes show the stage again.
            if n.is_main {
                t.joins[0] += n.joins[0];
                t.people[0] += n.stage;
                t.rooms += n.rooms;
            }
        }
        // The gauges count breweries too; the focus knows what is a meeting.
        if let Some(f) = self.focus() {
            t.people[0] = f.conferences.iter().map(|c| i64::from(c.stage)).sum();
            t.rooms = f.conferences.len() as i64;
        }
        t
    }

    fn fanout(&self) -> Vec<(f64, u64)> {
        let mut text = String::new();
        if prometheus_client::encoding::text::encode(&mut text, &self.0.fanout).is_err() {
            return Vec::new();
        }
        let bucket = |line: &str| {
            let (bound, count) = line.strip_prefix("f_bucket{le=\"")?.split_once("\"} ")?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, count.trim().parse().ok()?))
        };
        text.lines().filter_map(bucket).collect()
    }

    /// The address of a room that an operator wrote: in full, or its name alone, which is one of the main service here.
    pub fn room(&self, text: &str) -> Option<BareJid> {
        let text = text.to_lowercase();
        if text.contains('@') {
            let jid = Jid::parse(&text).ok()?;
            let main = self.main();
            let real = main.map_or_else(|| jid.clone(), |n| amphi_room::to_real(&n.rooms, &jid));
            return real.as_bare();
        }
        let muc = &self.main()?.rooms.conference_muc()?.domain;
        BareJid::new(&text, muc).ok()
    }

    fn main(&self) -> Option<&Arc<Node>> {
        self.0.nodes.iter().find(|n| n.rooms.main().is_some())
    }

    /// Whether the main node is in this process.
    pub fn has_main(&self) -> bool {
        self.main().is_some()
    }

    async fn ask(&self, node: &Node, hub: usize, room: Option<BareJid>, act: Act) -> Answer {
        let (id, rx) = node.operators.open();
        node.to_hub(hub, Input::Operate { id, room, act }).await;
        let answer = rx.await;
        answer.unwrap_or(Err(ActError::NoSuchRoom))
    }

    /// All rooms of the nodes of this process, each with the name of its node.
    pub async fn rooms(&self) -> Vec<(String, RoomStatus)> {
        let mut all = Vec::new();
        for node in &self.0.nodes {
            for hub in 0..node.hub_count() {
                if let Ok(Told::Rooms(list)) = self.ask(node, hub, None, Act::Room).await {
                    all.extend(list.into_iter().map(|r| (node.name.clone(), r)));
                }
            }
        }
        all
    }

    /// Asks or does something in a room of the main node.
    ///
    /// # Errors
    /// Why nothing was done.
    pub async fn in_room(&self, room: &BareJid, act: Act) -> Result<Told, ActError> {
        let Some(node) = self.main() else { return Err(ActError::NoSuchRoom) };
        self.ask(node, node.hub_of(room), Some(room.clone()), act).await
    }

    /// The same in the shadow room at a visitor node of this process.
    ///
    /// # Errors
    /// Why nothing was done; also if the node is not in this process.
    pub async fn in_shadow(&self, vnode: &str, room: &BareJid, act: Act) -> Result<Told, ActError> {
        let node = self.0.nodes.iter().find(|n| n.name == vnode && n.rooms.main().is_none());
        let Some((node, shadow)) = node.and_then(|n| Some((n, shadow_of(n, room)?))) else {
            return Err(ActError::NoSuchRoom);
        };
        let hub = node.hub_of(&shadow);
        self.ask(node, hub, Some(shadow), act).await
    }

    /// Names of the visitor nodes of this process.
    pub fn visitor_nodes(&self) -> impl Iterator<Item = &str> {
        self.0.nodes.iter().filter(|n| n.rooms.main().is_none()).map(|n| n.name.as_str())
    }

    /// Ends a room. `false` if there is none. `silently`: clients come back by themselves.
    pub async fn end(&self, room: &BareJid, silently: bool, reason: Option<String>) -> bool {
        let Some(node) = self.main() else { return false };
        if self.in_room(room, Act::Room).await.is_err() {
            return false;
        }
        let (venue, usual) = if silently {
            let shown = amphi_room::to_virtual(&node.rooms, room.jid());
            (Some(shown), "The meeting has been terminated silently")
        } else {
            (None, "The meeting has been terminated")
        };
        let reason = reason.or_else(|| Some(usual.to_owned()));
        node.to_hub(node.hub_of(room), Input::Destroy { room: room.clone(), venue, reason }).await;
        true
    }

    /// Members of a conference as the focus knows them, wherever their nodes are.
    pub async fn members(&self, room: &BareJid, limit: usize) -> Option<Vec<MemberStatus>> {
        self.0.focus.as_ref()?.members(room.clone(), limit).await
    }

    /// A member of a conference as the focus knows it.
    pub async fn member(&self, room: &BareJid, endpoint: &str) -> Option<MemberStatus> {
        self.0.focus.as_ref()?.member(room.clone(), endpoint.to_owned()).await
    }

    /// Tells the focus something; `false` if it runs elsewhere.
    pub async fn tell_focus(&self, input: FocusInput) -> bool {
        match &self.0.focus {
            Some(f) => {
                f.input(input).await;
                true
            }
            None => false,
        }
    }

    /// Moves endpoints to other bridges; `None` without a focus here.
    pub async fn move_endpoints(&self, what: Move) -> Option<Result<(u32, u32), MoveError>> {
        self.0.focus.as_ref()?.move_endpoints(what).await
    }
}

/// The room of a visitor node that mirrors a main room.
fn shadow_of(node: &Node, room: &BareJid) -> Option<BareJid> {
    let main = &node.rooms.node()?.main_domain;
    let prefix = room.domain().strip_suffix(main.as_str())?;
    BareJid::new(room.node(), &[prefix, &node.rooms.host].concat()).ok()
}
