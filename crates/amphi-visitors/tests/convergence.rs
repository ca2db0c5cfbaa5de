//! Whatever happens on stage and to the links: when it is quiet again, every node has what the main room has.

mod common;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use amphi_stanza::{FullJid, Stanza, ns};
use amphi_visitors::wire::{self, Payload, VisitorsIq};
use amphi_visitors::{
    Action, MainConfig, MainLinks, Occupant, RemoteVerdict, Shadow, ShadowAction, ShadowConfig, ShadowRole, Trust,
};
use common::{ROOM, full, links_seeded, links_with, shadow_on, x};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Join(u8, bool),
    Update(u8, u8),
    Leave(u8),
    Role(u8, bool),
    Say(u8),
    /// A visitor of node 0 or 1 speaks, and main hears it.
    VisitorSays(u8),
    Deliver(u8, u8),
    /// The link breaks; `true`: what was under way is lost.
    Break(u8, bool),
    /// Both ends are told.
    Notice(u8),
    Repair(u8),
    /// The node forgets everything; the focus connects it again.
    Restart(u8),
    Wait(u16),
}

fn op() -> impl Strategy<Value = Op> {
    let who = 0..5u8;
    let node = 0..2u8;
    prop_oneof![
        4 => (who.clone(), any::<bool>()).prop_map(|(w, m)| Op::Join(w, m)),
        4 => (who.clone(), any::<u8>()).prop_map(|(w, v)| Op::Update(w, v)),
        3 => who.clone().prop_map(Op::Leave),
        2 => (who.clone(), any::<bool>()).prop_map(|(w, m)| Op::Role(w, m)),
        4 => who.prop_map(Op::Say),
        1 => node.clone().prop_map(Op::VisitorSays),
        5 => (node.clone(), 1..20u8).prop_map(|(n, k)| Op::Deliver(n, k)),
        2 => (node.clone(), any::<bool>()).prop_map(|(n, f)| Op::Break(n, f)),
        2 => node.clone().prop_map(Op::Notice),
        3 => node.clone().prop_map(Op::Repair),
        1 => node.prop_map(Op::Restart),
        2 => (0..40u16).prop_map(Op::Wait),
    ]
}

/// A stock node: knows update, presence, connect and messages, answers every IQ, keeps moderators for ever.
#[derive(Default)]
struct Stock {
    occupants: BTreeMap<String, (FullJid, String)>,
    moderators: BTreeSet<String>,
    log: Vec<String>,
    connected: bool,
}

/// A node of ours: the shadow, and a room that does as it is told.
struct Ours {
    shadow: Shadow,
    occupants: BTreeMap<String, (FullJid, String)>,
    moderators: BTreeSet<String>,
    log: Vec<String>,
    unlocked: bool,
}

enum Peer {
    Ours(Box<Ours>),
    Stock(Stock),
}

struct Link {
    name: &'static str,
    peer: Peer,
    to_node: VecDeque<Stanza>,
    to_main: VecDeque<Stanza>,
    broken: Option<bool>,
    noticed: bool,
    ever_lossy: bool,
}

fn content(s: &Stanza) -> String {
    s.children().filter(|c| !c.is("x", ns::MUC)).map(|c| c.outer().to_owned()).collect()
}

fn body(s: &Stanza) -> String {
    s.child("body", ns::CLIENT).unwrap().text().into_owned()
}

fn ours(name: &str) -> Peer {
    let config = ShadowConfig { without_stage: Duration::from_secs(1_000_000), ..ShadowConfig::default() };
    Peer::Ours(Box::new(Ours {
        shadow: shadow_on(name, config),
        occupants: BTreeMap::new(),
        moderators: BTreeSet::new(),
        log: Vec::new(),
        unlocked: false,
    }))
}

impl Ours {
    fn act(&mut self, actions: Vec<ShadowAction>) -> Vec<Stanza> {
        let mut out = Vec::new();
        for a in actions {
            match a {
                ShadowAction::Send(s) => out.push(s),
                ShadowAction::Unlock => self.unlocked = true,
                ShadowAction::SetModerator { nick, moderator } => {
                    if moderator {
                        self.moderators.insert(nick);
                    } else {
                        self.moderators.remove(&nick);
                    }
                }
                ShadowAction::RemoveRemote { nick } => {
                    assert!(self.occupants.remove(&nick).is_some());
                    self.moderators.remove(&nick);
                }
                ShadowAction::Deliver(s) | ShadowAction::History(s) => {
                    assert!(wire::line_of(&s).is_none(), "marks do not reach clients");
                    self.log.push(body(&s));
                }
                ShadowAction::Destroy { reason } => panic!("destroyed: {reason}"),
                _ => {}
            }
        }
        out
    }

    fn receive(&mut self, now: Instant, s: &Stanza) -> Vec<Stanza> {
        let from = s.from().unwrap().unwrap();
        let to = s.to().unwrap().unwrap();
        let mut out = Vec::new();
        match s.root().name() {
            "presence" => {
                let (nick, real) = (to.resource().unwrap().to_owned(), from.as_full().unwrap());
                let (verdict, actions) = self.shadow.remote_presence(now, &nick, &real, s);
                out = self.act(actions);
                match verdict {
                    RemoteVerdict::Join | RemoteVerdict::Update => {
                        if verdict == RemoteVerdict::Join && self.shadow.role_of_remote(&nick) == ShadowRole::Moderator
                        {
                            self.moderators.insert(nick.clone());
                        }
                        self.occupants.insert(nick, (real, content(s)));
                    }
                    RemoteVerdict::Left => {
                        self.occupants.remove(&nick);
                        self.moderators.remove(&nick);
                    }
                    RemoteVerdict::Unchanged => assert_eq!(self.occupants[&nick].1, content(s)),
                    RemoteVerdict::Ignore => {}
                }
            }
            "message" if to.local().is_none() => {
                let actions = self.shadow.main_history(&from, s);
                out = self.act(actions);
            }
            "message" => {
                let actions = self.shadow.main_groupchat(&from, s);
                out = self.act(actions);
            }
            _ if s.child("visitors", ns::VISITORS).is_some() => {
                let actions = self.shadow.handle_iq(now, s);
                out = self.act(actions);
            }
            _ if s.ty().as_deref() == Some("get") => out.push(wire::result(s)),
            _ => {}
        }
        out
    }
}

impl Stock {
    fn receive(&mut self, s: &Stanza) -> Vec<Stanza> {
        let to = s.to().unwrap().unwrap();
        match s.root().name() {
            "presence" => {
                let real = s.from().unwrap().unwrap().as_full().unwrap();
                let nick = to.resource().unwrap().to_owned();
                let holder = self.occupants.get(&nick).map(|(r, _)| r.clone());
                if s.ty().is_some() {
                    if holder.as_ref() == Some(&real) {
                        self.occupants.remove(&nick);
                    }
                } else if holder.is_none_or(|h| h == real) {
                    self.occupants.insert(nick, (real, content(s)));
                }
                // Otherwise a conflict, which bounces to a participant and is dropped there.
                vec![]
            }
            "message" => {
                self.log.push(body(s));
                vec![]
            }
            _ => {
                if !matches!(s.ty().as_deref(), Some("get" | "set")) {
                    return vec![];
                }
                if let Ok(v) = VisitorsIq::parse(s) {
                    match v.payload {
                        Payload::Update(u) => self.moderators.extend(u.moderators.unwrap_or_default()),
                        Payload::Connect(..) => self.connected = true,
                        other => panic!("unknown to a stock node: {other:?}"),
                    }
                }
                vec![wire::result(s)]
            }
        }
    }
}

struct World {
    now: Instant,
    links: MainLinks,
    stage: BTreeMap<u8, (FullJid, bool, u8)>,
    generation: u32,
    said: Vec<(String, Option<usize>)>,
    nodes: Vec<Link>,
}

impl World {
    fn new() -> Self {
        let config =
            MainConfig { unreachable_after: Duration::from_secs(1_000_000), lines: 1000, ..MainConfig::default() };
        let link = |name, peer| Link {
            name,
            peer,
            to_node: VecDeque::new(),
            to_main: VecDeque::new(),
            broken: None,
            noticed: false,
            ever_lossy: false,
        };
        let mut w = Self {
            now: Instant::now(),
            links: links_with(config),
            stage: BTreeMap::new(),
            generation: 0,
            said: Vec::new(),
            nodes: vec![link("v1", ours("v1")), link("v2", Peer::Stock(Stock::default()))],
        };
        for v in ["v1", "v2"] {
            let a = w.links.connect_vnode(w.now, v);
            w.act(a);
            let a = w.links.link_up(w.now, &format!("conference.{v}.meet.jitsi"), true);
            assert!(a.is_empty(), "the opening of the link loses nothing");
        }
        w
    }

    fn act(&mut self, actions: Vec<Action>) {
        for a in actions {
            match a {
                Action::Send(s) => {
                    let to = s.to().unwrap().unwrap();
                    let Some(n) = self.nodes.iter_mut().find(|n| to.domain().contains(n.name)) else { continue };
                    if n.broken != Some(true) {
                        n.to_node.push_back(s);
                    }
                }
                Action::NodeLost { vnode } => panic!("gave up {vnode}"),
                _ => {}
            }
        }
    }

    fn back(&mut self, i: usize, stanzas: Vec<Stanza>) {
        let n = &mut self.nodes[i];
        if n.broken != Some(true) {
            n.to_main.extend(stanzas);
        }
    }

    fn occupant(&self, who: u8) -> Option<(String, FullJid, bool)> {
        self.stage.get(&who).map(|(r, m, _)| (format!("n{who}"), r.clone(), *m))
    }

    fn presence(v: u8) -> Stanza {
        x(&format!("<presence><x xmlns='{}'/><v xmlns='t'>{v}</v></presence>", ns::MUC))
    }

    fn deliver(&mut self, i: usize, most: usize) -> bool {
        let mut any = false;
        for _ in 0..most {
            if self.nodes[i].broken.is_some() {
                break;
            }
            if let Some(s) = self.nodes[i].to_node.pop_front() {
                any = true;
                let now = self.now;
                let out = match &mut self.nodes[i].peer {
                    Peer::Ours(o) => o.receive(now, &s),
                    Peer::Stock(o) => o.receive(&s),
                };
                self.back(i, out);
            }
            if let Some(s) = self.nodes[i].to_main.pop_front() {
                any = true;
                let a = match s.ty().as_deref() {
                    Some("result" | "error") => self.links.handle_answer(self.now, &s),
                    _ => self.links.handle_iq(self.now, &s, Trust::Server),
                };
                self.act(a);
            }
        }
        any
    }

    fn advance(&mut self, to: Instant) {
        loop {
            let mut next = self.links.poll_timeout();
            for n in &self.nodes {
                if let Peer::Ours(o) = &n.peer {
                    next = [next, o.shadow.poll_timeout()].into_iter().flatten().min();
                }
            }
            let Some(t) = next.filter(|t| *t <= to) else { break };
            self.now = self.now.max(t);
            let a = self.links.tick(self.now);
            self.act(a);
            for i in 0..self.nodes.len() {
                let now = self.now;
                if let Peer::Ours(o) = &mut self.nodes[i].peer {
                    let a = o.shadow.tick(now);
                    let out = o.act(a);
                    self.back(i, out);
                }
            }
        }
        self.now = self.now.max(to);
    }

    fn repair(&mut self, i: usize) {
        let Some(fresh) = self.nodes[i].broken.take() else { return };
        self.nodes[i].noticed = false;
        let domain = format!("conference.{}.meet.jitsi", self.nodes[i].name);
        let a = self.links.link_up(self.now, &domain, fresh);
        self.act(a);
        let now = self.now;
        if let Peer::Ours(o) = &mut self.nodes[i].peer {
            let a = o.shadow.main_up(now, fresh);
            let out = o.act(a);
            self.back(i, out);
        }
    }

    fn run(&mut self, op: Op) {
        let now = self.now;
        match op {
            Op::Join(w, m) => {
                if self.stage.contains_key(&w) {
                    return;
                }
                self.generation += 1;
                let real = full(&format!("u{w}@meet.example/{}", self.generation));
                self.stage.insert(w, (real.clone(), m, 0));
                let nick = format!("n{w}");
                let o = Occupant { nick: &nick, real: &real, moderator: m, admin: false };
                let a = self.links.occupant_joined(now, &o, &Self::presence(0));
                self.act(a);
            }
            Op::Update(w, v) => {
                let Some((nick, real, moderator)) = self.occupant(w) else { return };
                self.stage.get_mut(&w).unwrap().2 = v;
                let o = Occupant { nick: &nick, real: &real, moderator, admin: false };
                let a = self.links.occupant_updated(now, &o, &Self::presence(v));
                self.act(a);
            }
            Op::Leave(w) => {
                if self.stage.remove(&w).is_some() {
                    let a = self.links.occupant_left(now, &format!("n{w}"));
                    self.act(a);
                }
            }
            Op::Role(w, moderator) => {
                let Some((nick, real, _)) = self.occupant(w) else { return };
                self.stage.get_mut(&w).unwrap().1 = moderator;
                let o = Occupant { nick: &nick, real: &real, moderator, admin: false };
                let a = self.links.moderator_changed(now, &o);
                self.act(a);
            }
            Op::Say(w) => {
                let Some((nick, real, moderator)) = self.occupant(w) else { return };
                let text = format!("line {}", self.said.len());
                let m = x(&format!("<message type='groupchat' id='a'><body>{text}</body></message>"));
                self.said.push((text, None));
                let o = Occupant { nick: &nick, real: &real, moderator, admin: false };
                let a = self.links.groupchat(now, &o, &m, Some(&m));
                self.act(a);
            }
            Op::VisitorSays(i) => {
                let text = format!("line {}", self.said.len());
                let m = x(&format!("<message type='groupchat' id='a'><body>{text}</body></message>"));
                let i = i as usize;
                self.said.push((text, Some(i)));
                let from = full(&format!("[acme]demo@conference.{}.meet.jitsi/vis", self.nodes[i].name));
                let a = self.links.groupchat_from_visitor(now, &from, &m, Some(&m)).unwrap();
                assert!(a.iter().any(|a| matches!(a, Action::Deliver(s) if s.attr("from").unwrap() == ROOM)));
                self.act(a);
            }
            Op::Deliver(i, k) => {
                self.deliver(i as usize, k as usize);
            }
            Op::Break(i, lossy) => {
                let n = &mut self.nodes[i as usize];
                if n.broken.is_none() {
                    n.broken = Some(lossy);
                    n.ever_lossy |= lossy;
                    if lossy {
                        n.to_node.clear();
                        n.to_main.clear();
                    }
                }
            }
            Op::Notice(i) => {
                let n = &mut self.nodes[i as usize];
                if n.broken.is_some() && !std::mem::replace(&mut n.noticed, true) {
                    let domain = format!("conference.{}.meet.jitsi", n.name);
                    if let Peer::Ours(o) = &mut n.peer {
                        o.shadow.main_down(now);
                    }
                    let a = self.links.link_down(now, &domain);
                    self.act(a);
                }
            }
            Op::Repair(i) => self.repair(i as usize),
            Op::Restart(i) => {
                let n = &mut self.nodes[i as usize];
                n.to_node.clear();
                n.to_main.clear();
                n.peer = match n.peer {
                    Peer::Ours(_) => ours(n.name),
                    Peer::Stock(_) => Peer::Stock(Stock::default()),
                };
                n.broken = Some(true);
                n.noticed = true;
                n.ever_lossy = true;
                let (name, domain) = (n.name, format!("conference.{}.meet.jitsi", n.name));
                let a = self.links.link_down(now, &domain);
                self.act(a);
                n_up(self, i as usize);
                let a = self.links.connect_vnode(now, name);
                self.act(a);
                self.repair(i as usize);
            }
            Op::Wait(s) => self.advance(now + Duration::from_secs(s.into())),
        }
    }

    fn quiet(&mut self) {
        for i in 0..self.nodes.len() {
            self.repair(i);
        }
        for _ in 0..40 {
            while (0..self.nodes.len()).any(|i| self.deliver(i, 1000)) {}
            self.advance(self.now + Duration::from_secs(61));
        }
    }

    fn check(&self) {
        let stage: BTreeMap<String, (FullJid, String)> = self
            .stage
            .iter()
            .map(|(w, (r, _, v))| (format!("n{w}"), (r.clone(), content(&Self::presence(*v)))))
            .collect();
        let moderators: BTreeSet<String> =
            self.stage.iter().filter(|(_, (_, m, _))| *m).map(|(w, _)| format!("n{w}")).collect();
        for (i, n) in self.nodes.iter().enumerate() {
            let said: Vec<&String> = self.said.iter().filter(|(_, o)| *o != Some(i)).map(|(t, _)| t).collect();
            match &n.peer {
                Peer::Ours(o) => {
                    assert!(o.unlocked);
                    assert_eq!(o.occupants, stage, "roster of our node");
                    assert_eq!(o.moderators, moderators, "moderators of our node");
                    let got: Vec<&String> =
                        o.log.iter().filter(|t| !self.said.contains(&((*t).clone(), Some(i)))).collect();
                    assert_eq!(got, said, "chat of our node");
                }
                Peer::Stock(o) => {
                    assert!(o.connected);
                    assert_eq!(o.occupants, stage, "roster of a stock node");
                    assert!(o.moderators.is_superset(&moderators), "moderators of a stock node");
                    let got: Vec<&String> =
                        o.log.iter().filter(|t| !self.said.contains(&((*t).clone(), Some(i)))).collect();
                    if n.ever_lossy {
                        let mut rest = said.iter();
                        assert!(got.iter().all(|g| rest.any(|s| s == g)), "in order, nothing twice: {got:?}");
                    } else {
                        assert_eq!(got, said, "chat of a stock node");
                    }
                }
            }
        }
    }
}

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|c| c.parse().ok()).unwrap_or(96);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// The link to a restarted node is up before the focus asks to connect it.
fn n_up(w: &mut World, i: usize) {
    w.nodes[i].broken = Some(false);
}

proptest! {
    #![proptest_config(config())]
    #[test]
    fn when_it_is_quiet_every_node_has_what_the_main_room_has(ops in prop::collection::vec(op(), 1..80)) {
        let mut w = World::new();
        for op in ops {
            w.run(op);
        }
        w.quiet();
        w.check();
        // And what is said from now on arrives.
        w.run(Op::Join(0, false));
        w.run(Op::Say(0));
        w.quiet();
        w.check();
    }
}

#[test]
fn when_the_main_room_lost_its_memory_a_node_of_ours_drops_who_did_not_come_back() {
    let mut w = World::new();
    w.run(Op::Join(0, true));
    w.run(Op::Join(1, false));
    w.quiet();
    w.check();
    w.links = links_seeded(MainConfig::default(), 1000);
    w.stage.clear();
    w.run(Op::Join(1, true));
    w.run(Op::Say(1));
    let a = w.links.connect_vnode(w.now, "v1");
    w.act(a);
    w.quiet();
    let Peer::Ours(o) = &w.nodes[0].peer else { panic!() };
    assert_eq!(o.occupants.keys().collect::<Vec<_>>(), ["n1"]);
    assert_eq!(o.moderators.iter().collect::<Vec<_>>(), ["n1"]);
    assert_eq!(o.log, ["line 0"]);
}
