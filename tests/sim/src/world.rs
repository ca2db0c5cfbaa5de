//! The world: what is under way between its parts, what is due when, and one step after the other.

mod focus;
mod links;
mod people;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use amphi_focus::{ConferenceAnswer, Focus, RequestError};
use amphi_room::{ConnId, Input};
use amphi_stanza::Stanza;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::client::Client;
use crate::config::{EPOCH, Options};
use crate::node::{Leaving, Node, Now};
use crate::pipe::Pipe;
use crate::schedule::{Loss, Op};

/// Events of one run; more is a storm.
const MOST_STEPS: u64 = 400_000;

/// Whose connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Client(usize),
    Focus,
    /// Looks at a room when everything is over.
    Probe(usize),
}

/// A client's connection to a node. `None` in a pipe is the end of the stream.
pub(crate) struct Conn {
    pub(crate) owner: Owner,
    pub(crate) node: usize,
    pub(crate) up: Pipe<Option<Stanza>>,
    pub(crate) down: Pipe<Stanza>,
}

/// One direction of a link.
#[derive(Default)]
pub(crate) struct Link {
    pub(crate) pipe: Pipe<Stanza>,
    /// Counts breaks; what was planned for an earlier one is void.
    breaks: u64,
    /// The sender was told that it is down: what is sent is lost.
    down: bool,
    /// Stanzas that have arrived.
    passed: u64,
    /// Breaks before this stanza arrives.
    planned: Option<(u64, Loss, Duration)>,
}

/// What is planned.
#[derive(Debug)]
enum Act {
    Ask { client: usize, attempt: u64, visitor: bool },
    Request { client: usize, attempt: u64, visitor: bool },
    Answered { client: usize, attempt: u64, answer: Result<ConferenceAnswer, RequestError> },
    Unanswered(u64),
    Bind { client: usize, attempt: u64, node: usize, name: Option<String> },
    NotJoined { client: usize, attempt: u64 },
    Lost { client: usize, attempt: u64 },
    Resume(ConnId),
    Expire(ConnId),
    Gone { node: usize, life: u64, conn: ConnId },
    LinkDown { link: (usize, usize), breaks: u64 },
    Repair { link: (usize, usize), breaks: u64, loss: Loss },
    NodeUp(usize),
    FocusUp,
    FocusConnect { node: usize, life: u64, resume: Option<ConnId> },
}

/// A conference with everything around it.
pub struct World {
    pub(crate) o: Options,
    start: Instant,
    pub(crate) elapsed: Duration,
    rng: StdRng,
    pub(crate) steps: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: BTreeMap<(usize, usize), Link>,
    pub(crate) focus: Option<Focus>,
    focus_life: u64,
    /// The focus' connections.
    focus_conns: Vec<Option<ConnId>>,
    /// What the focus sent to a node that it was not connected to: sent on resumption, else dropped.
    focus_held: Vec<Vec<Stanza>>,
    requests: BTreeMap<u64, (usize, u64)>,
    next_request: u64,
    pub(crate) clients: Vec<Client>,
    pub(crate) conns: BTreeMap<ConnId, Conn>,
    next_conn: u64,
    agenda: BTreeMap<(Duration, u64), Act>,
    next_act: u64,
    /// When something may have been lost between servers.
    pub(crate) lossy: Vec<(Duration, Duration)>,
    /// Lines of chat: id, who, when, and the step in which the server had it at the earliest.
    pub(crate) said: Vec<Said>,
    /// Somebody waited for an answer in vain.
    pub(crate) stuck: Vec<String>,
    pub(crate) probes: Vec<Client>,
}

/// A line of chat.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) id: String,
    pub(crate) client: usize,
    pub(crate) attempt: u64,
    pub(crate) at: Duration,
    pub(crate) step: u64,
}

impl World {
    /// A world where everything is up and nobody is there.
    pub fn new(o: Options) -> Self {
        let mut w = Self {
            start: Instant::now(),
            elapsed: Duration::ZERO,
            rng: StdRng::seed_from_u64(o.seed),
            steps: 0,
            nodes: (0..=o.vnodes).map(|i| Node::new(o.node(i), o.seed)).collect(),
            links: (1..=o.vnodes).flat_map(|v| [(0, v), (v, 0)]).map(|l| (l, Link::default())).collect(),
            focus: None,
            focus_life: 0,
            focus_conns: vec![None; o.vnodes + 1],
            focus_held: vec![Vec::new(); o.vnodes + 1],
            requests: BTreeMap::new(),
            next_request: 0,
            clients: (0..o.clients).map(Client::new).collect(),
            conns: BTreeMap::new(),
            next_conn: 0,
            agenda: BTreeMap::new(),
            next_act: 0,
            lossy: Vec::new(),
            said: Vec::new(),
            stuck: Vec::new(),
            probes: Vec::new(),
            o,
        };
        let links: Vec<_> = w.links.keys().copied().collect();
        links.into_iter().for_each(|l| w.tell_link(l, amphi_room::PeerState::Up { fresh: true }));
        w.focus_up();
        w
    }

    pub(crate) fn tell(&self, what: impl FnOnce() -> String) {
        if self.o.verbose {
            eprintln!("{:>9.3} {}", self.elapsed.as_secs_f64(), what());
        }
    }

    pub(crate) fn now(&self) -> Now {
        let wall = EPOCH + self.elapsed.as_millis() as u64;
        Now { start: self.start, elapsed: self.elapsed, wall }
    }

    fn instant(&self) -> Instant {
        self.start + self.elapsed
    }

    /// A time between `min` and `max` milliseconds from now.
    fn soon(&mut self, min: u64, max: u64) -> Duration {
        self.elapsed + Duration::from_millis(self.rng.random_range(min..max.max(min + 1)))
    }

    fn plan(&mut self, at: Duration, act: Act) {
        self.next_act += 1;
        self.agenda.insert((at, self.next_act), act);
    }

    /// Lets time pass, with everything that is due on the way.
    pub fn pass(&mut self, by: Duration) {
        let end = self.elapsed + by;
        while let Some((at, due)) = self.due().filter(|(at, _)| *at <= end) {
            self.steps += 1;
            assert!(self.steps < MOST_STEPS, "a storm: {due:?}");
            self.elapsed = self.elapsed.max(at);
            self.step(due);
            self.check_stage();
        }
        self.elapsed = end;
    }

    /// What comes first.
    fn due(&self) -> Option<(Duration, Due)> {
        let since = |t: Instant| t.saturating_duration_since(self.start);
        let act = self.agenda.first_key_value().map(|(k, _)| (k.0, Due::Act(*k)));
        let links = self.links.iter().filter_map(|(l, x)| Some((x.pipe.next()?, Due::Link(*l))));
        let ups = self.conns.iter().filter_map(|(c, x)| Some((x.up.next()?, Due::Up(*c))));
        let downs = self.conns.iter().filter_map(|(c, x)| Some((x.down.next()?, Due::Down(*c))));
        let hubs = self.nodes.iter().enumerate().filter(|(_, n)| n.up);
        let hubs = hubs.filter_map(|(i, n)| Some((since(n.hub.poll_timeout()?), Due::Hub(i))));
        let focus = self.focus.as_ref().and_then(|f| Some((since(f.poll_timeout()?), Due::Focus)));
        act.into_iter().chain(links).chain(ups).chain(downs).chain(hubs).chain(focus).min_by_key(|(at, _)| *at)
    }

    fn step(&mut self, due: Due) {
        match due {
            Due::Act(key) => {
                if let Some(act) = self.agenda.remove(&key) {
                    self.act(act);
                }
            }
            Due::Link(l) => {
                let Some(x) = self.links.get_mut(&l) else { return };
                if let Some((_, loss, pause)) = x.planned.take_if(|p| p.0 == x.passed) {
                    return self.cut(l, loss, pause);
                }
                x.passed += 1;
                let Some(s) = x.pipe.pop() else { return };
                self.tell(|| format!("link {}>{} {s}", l.0, l.1));
                let now = self.now();
                let out = self.nodes[l.1].link_sends(now, s);
                self.carry(l.1, out);
            }
            Due::Up(c) => self.conn_sends(c),
            Due::Down(c) => self.owner_receives(c),
            Due::Hub(i) => self.hub(i, Input::Tick),
            Due::Focus => self.focus_input(amphi_focus::Input::Tick),
        }
    }

    fn act(&mut self, act: Act) {
        self.tell(|| format!("{act:?}"));
        match act {
            Act::Ask { client, attempt, visitor } => self.ask(client, attempt, visitor),
            Act::Request { client, attempt, visitor } => self.request(client, attempt, visitor),
            Act::Answered { client, attempt, answer } => self.answered(client, attempt, answer),
            Act::Unanswered(id) => self.unanswered(id),
            Act::Bind { client, attempt, node, name } => self.bind_client(client, attempt, node, name),
            Act::NotJoined { client, attempt } => self.not_joined(client, attempt),
            Act::Lost { client, attempt } => self.lost(client, attempt),
            Act::Resume(c) => self.resume(c),
            Act::Expire(c) => self.expire(c),
            Act::Gone { node, life, conn } => {
                if self.nodes[node].life == life {
                    self.node_gone(node, conn);
                }
            }
            Act::LinkDown { link, breaks } => self.link_down(link, breaks),
            Act::Repair { link, breaks, loss } => self.repair(link, breaks, loss),
            Act::NodeUp(i) => self.node_up(i),
            Act::FocusUp => self.focus_up(),
            Act::FocusConnect { node, life, resume } => self.focus_connect(node, life, resume),
        }
    }

    /// Gives a hub an input.
    pub(crate) fn hub(&mut self, node: usize, input: Input) {
        let now = self.now();
        let out = self.nodes[node].input(now, input);
        self.carry(node, out);
    }

    fn node_gone(&mut self, node: usize, conn: ConnId) {
        self.conns.remove(&conn);
        let now = self.now();
        let out = self.nodes[node].gone(now, conn);
        self.carry(node, out);
    }

    /// Sends what leaves a node on its way.
    fn carry(&mut self, node: usize, out: Vec<Leaving>) {
        for l in out {
            match l {
                Leaving::Conn(c, s) => {
                    let due = self.soon(1, 30);
                    if let Some(x) = self.conns.get_mut(&c) {
                        x.down.push(due, s);
                    }
                }
                Leaving::Link(s) => self.onto_link(node, s),
            }
        }
    }

    /// A connection's stanza reaches its node.
    fn conn_sends(&mut self, c: ConnId) {
        let Some(x) = self.conns.get_mut(&c) else { return };
        let (node, owner) = (x.node, x.owner);
        match x.up.pop().flatten() {
            Some(s) => {
                self.tell(|| format!("{owner:?} > {node}: {s}"));
                let now = self.now();
                let out = self.nodes[node].client_sends(now, c, s);
                self.carry(node, out);
            }
            None => self.node_gone(node, c),
        }
    }

    /// A stanza reaches whoever has the connection.
    fn owner_receives(&mut self, c: ConnId) {
        let Some(x) = self.conns.get_mut(&c) else { return };
        let (node, owner) = (x.node, x.owner);
        let Some(s) = x.down.pop() else { return };
        self.tell(|| format!("{owner:?} < {node}: {s}"));
        match owner {
            Owner::Client(i) => self.client_receives(i, c, &s),
            Owner::Focus => {
                if self.focus_conns[node] == Some(c) {
                    self.focus_input(amphi_focus::Input::Stanza { node: Self::node_id(node), stanza: s });
                }
            }
            Owner::Probe(i) => {
                let step = self.steps;
                self.probes[i].receive(step, &s);
            }
        }
    }

    fn new_conn(&mut self, owner: Owner, node: usize) -> ConnId {
        self.next_conn += 1;
        let c = ConnId(self.next_conn);
        self.conns.insert(c, Conn { owner, node, up: Pipe::default(), down: Pipe::default() });
        c
    }

    /// Puts a stanza (or the end) on a connection.
    pub(crate) fn send(&mut self, c: ConnId, s: Option<Stanza>) {
        let due = self.soon(1, 30);
        if let Some(x) = self.conns.get_mut(&c) {
            x.up.push(due, s);
        }
    }

    /// Never more people on stage than seats, besides those who were promoted.
    fn check_stage(&self) {
        let on_stage = self.nodes[0].groups.values().flatten().filter(|(_, g)| **g == amphi_room::Group::Stage);
        let unpromoted = on_stage
            .filter(|(c, _)| match self.conns.get(c).map(|x| x.owner) {
                Some(Owner::Client(i)) => !self.clients[i].promoted,
                _ => false,
            })
            .count();
        assert!(unpromoted <= self.o.stage as usize, "{unpromoted} people on {} seats", self.o.stage);
    }

    /// One direction of the link with a visitor node will break before its `k`th stanza (counted from 0) arrives.
    pub fn cut_at(&mut self, vnode: usize, from_main: bool, k: u64, loss: Loss, pause: Duration) {
        let link = if from_main { (0, vnode) } else { (vnode, 0) };
        if let Some(l) = self.links.get_mut(&link) {
            l.planned = Some((k, loss, pause));
        }
    }

    /// Something of the schedule happens.
    pub fn apply(&mut self, op: &Op) {
        self.tell(|| format!("---- {op:?}"));
        match op {
            Op::Come(c) => self.come(*c),
            Op::Go(c) => self.go(*c),
            Op::Drop(c, d) => self.drop_client(*c, *d),
            Op::Say(c) => self.say(*c),
            Op::Change(c) => self.change(*c),
            Op::Hand(c, up) => self.hand(*c, *up),
            Op::Decide(yes) => self.decide(*yes),
            Op::Demote(n) => self.demote(*n),
            Op::Push(c) => self.push(*c),
            Op::Cut(v, from_main, loss, d) => self.cut(if *from_main { (0, *v) } else { (*v, 0) }, *loss, *d),
            Op::Restart(n, d) => self.restart(*n, *d),
            Op::RestartFocus(d) => self.restart_focus(*d),
            Op::CutFocus(n, loss, d) => self.cut_focus(*n, *loss, *d),
        }
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Due {
    Act((Duration, u64)),
    Link((usize, usize)),
    Up(ConnId),
    Down(ConnId),
    Hub(usize),
    Focus,
}
