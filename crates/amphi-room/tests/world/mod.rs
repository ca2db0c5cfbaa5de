//! A small world in virtual time: nodes with their hubs, connections, links between nodes, and peers that a test plays.
#![allow(dead_code, unreachable_pub)]

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_room::{
    Claims, ConnId, ExternalService, Group, Hub, Input, LobbyConfig, MainConfig, MucConfig, NodeConfig, Origin, Output,
    PeerState, Role, RoomId, Session, VisitorNodeConfig, to_real,
};
use amphi_stanza::{FullJid, Jid, Limits, Stanza, ns};
use bytes::Bytes;

pub const EPOCH: u64 = 1_767_225_600_000;

pub fn main_config() -> NodeConfig {
    NodeConfig {
        role: Role::Main(MainConfig {
            visitors: Some("visitors.meet.example".into()),
            always_visitors_enabled: true,
            lobby: Some(LobbyConfig { domain: "lobby.meet.example".into(), exempt: Default::default() }),
            ..MainConfig::default()
        }),
        host: "meet.example".into(),
        hosts: ["guest.meet.example", "auth.meet.example", "recorder.meet.example"].map(String::from).into(),
        mucs: vec![
            MucConfig::conference("conference", "meet.example"),
            MucConfig::internal("internal.auth.meet.example"),
        ],
        metadata: Some("metadata.meet.example".into()),
        admins: ["focus@auth.meet.example", "jvb@auth.meet.example"].map(|j| j.parse().unwrap()).into(),
        ..NodeConfig::default()
    }
}

pub fn node_config(name: &str) -> NodeConfig {
    NodeConfig {
        role: Role::VisitorNode(VisitorNodeConfig {
            name: name.into(),
            main_domain: "meet.example".into(),
            main_hosts: Default::default(),
            main_muc: "conference.meet.example".into(),
            main_visitors: "visitors.meet.example".into(),
            auto_promoted_with_token: true,
        }),
        host: format!("{name}.meet.jitsi"),
        hosts: vec!["auth.meet.jitsi".into()],
        mucs: vec![MucConfig::conference("conference", &format!("{name}.meet.jitsi"))],
        admins: ["focus@auth.meet.jitsi".parse().unwrap()].into(),
        ..NodeConfig::default()
    }
}

pub struct Node {
    pub name: String,
    pub cfg: NodeConfig,
    pub hub: Option<Hub>,
    groups: HashMap<RoomId, HashMap<ConnId, Group>>,
}

impl Node {
    fn owns(&self, domain: &str) -> bool {
        let main = match &self.cfg.role {
            Role::Main(m) => m.visitors.as_deref(),
            Role::VisitorNode(_) => None,
        };
        let lobby = self.cfg.main().and_then(|m| m.lobby.as_ref());
        self.cfg.serves(domain)
            || self.cfg.muc(domain).is_some()
            || self.cfg.metadata.as_deref() == Some(domain)
            || main == Some(domain)
            || lobby.is_some_and(|l| l.domain == domain)
    }
}

pub struct Client {
    pub node: usize,
    pub session: Arc<Session>,
    pub inbox: VecDeque<Stanza>,
}

pub struct Peer {
    pub domains: Vec<String>,
    pub inbox: VecDeque<Stanza>,
}

#[derive(Default)]
pub struct World {
    pub nodes: Vec<Node>,
    pub clients: BTreeMap<String, Client>,
    pub peers: BTreeMap<String, Peer>,
    conns: HashMap<ConnId, String>,
    by_jid: HashMap<(usize, String), String>,
    pub down: HashSet<(usize, usize)>,
    start: Option<Instant>,
    pub elapsed: Duration,
    next_conn: u64,
    /// Outputs seen, for tests that count them.
    pub outputs: u64,
}

impl World {
    pub fn now(&mut self) -> Instant {
        *self.start.get_or_insert_with(Instant::now) + self.elapsed
    }

    fn wall(&self) -> u64 {
        EPOCH + self.elapsed.as_millis() as u64
    }

    pub fn add_node(&mut self, name: &str, cfg: NodeConfig) {
        self.nodes.push(Node { name: name.into(), cfg, hub: None, groups: HashMap::new() });
    }

    pub fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.iter_mut().find(|n| n.name == name).unwrap_or_else(|| panic!("no node {name}"))
    }

    fn hub(&mut self, i: usize) -> &mut Hub {
        let n = &mut self.nodes[i];
        n.hub.get_or_insert_with(|| Hub::new(Arc::new(n.cfg.clone()), [7 + i as u8; 32], i as u16))
    }

    pub fn add_client(&mut self, name: &str, session: Session) {
        let domain = session.jid.domain().to_owned();
        let node =
            self.nodes.iter().position(|n| n.cfg.serves(&domain)).unwrap_or_else(|| panic!("nobody serves {domain}"));
        self.next_conn += 1;
        let session = Arc::new(Session { conn: ConnId(self.next_conn), ..session });
        self.conns.insert(session.conn, name.into());
        self.by_jid.insert((node, session.jid.to_string()), name.into());
        self.clients.insert(name.into(), Client { node, session, inbox: VecDeque::new() });
    }

    /// A client or a peer sends.
    pub fn send(&mut self, name: &str, xml: &str) {
        let stanza = Stanza::parse(Bytes::copy_from_slice(xml.as_bytes()), &Limits::default())
            .unwrap_or_else(|e| panic!("{e}: {xml}"));
        let to = stanza.to().unwrap_or_else(|e| panic!("{e}: {xml}")).unwrap_or_else(|| panic!("no to: {xml}"));
        if let Some(c) = self.clients.get(name) {
            let (node, session) = (c.node, c.session.clone());
            let real = to_real(&self.nodes[node].cfg, &to);
            self.client_sends(node, session, to, real, stanza);
        } else {
            assert!(self.peers.contains_key(name), "nobody is called {name}");
            let node = self.nodes.iter().position(|n| n.owns(to.domain())).expect("somebody owns the address");
            let server = stanza.rewrite().set("xmlns", ns::SERVER).stanza();
            self.input(node, Input::Stanza { from: Origin::Remote, to, stanza: server });
        }
    }

    fn client_sends(&mut self, node: usize, session: Arc<Session>, asked: Jid, real: Jid, stanza: Stanza) {
        let cfg = &self.nodes[node].cfg;
        let from = Origin::Local(session.clone());
        if Hub::room_of(cfg, &from, &real, &stanza).is_some() {
            return self.input(node, Input::Stanza { from, to: real, stanza });
        }
        if let Some(answer) = Hub::answer_service(cfg, &asked, session.jid.jid(), &stanza) {
            let name = self.conns[&session.conn].clone();
            return self.clients.get_mut(&name).unwrap().inbox.push_back(answer);
        }
        // As a router does: the sender's address is put on, and off it goes.
        let routed = stanza.rewrite().set("from", &session.jid).set("to", &real).stanza();
        self.route(node, routed);
    }

    pub fn input(&mut self, node: usize, input: Input) {
        let (now, wall) = (self.now(), self.wall());
        self.hub(node).handle(now, wall, input);
        let mut out = Vec::new();
        while let Some(o) = self.hub(node).poll_output() {
            out.push(o);
        }
        for o in out {
            self.outputs += 1;
            self.output(node, o);
        }
    }

    fn output(&mut self, node: usize, o: Output) {
        match o {
            Output::Join { room, conn, group } => {
                self.nodes[node].groups.entry(room).or_default().insert(conn, group);
            }
            Output::Leave { room, conn } => {
                self.nodes[node].groups.entry(room).or_default().remove(&conn);
            }
            Output::Destroyed { room } => {
                let left = self.nodes[node].groups.remove(&room).unwrap_or_default();
                assert!(left.is_empty(), "a destroyed room has members: {left:?}");
            }
            Output::Broadcast(b) => {
                let mut members: Vec<_> = self.nodes[node]
                    .groups
                    .get(&b.room)
                    .into_iter()
                    .flatten()
                    .filter(|(c, g)| b.to.has(**g) && Some(**c) != b.except)
                    .map(|(c, _)| *c)
                    .collect();
                members.sort();
                for c in members {
                    let to = self.address(c);
                    self.deliver(c, b.frame.render(&to));
                }
            }
            Output::Send { conn, stanza } => self.deliver(conn, stanza),
            Output::SendFrames { conn, frames } => {
                let to = self.address(conn);
                for f in frames {
                    self.deliver(conn, f.render(&to));
                }
            }
            Output::Route(s) => self.route(node, s),
            Output::Promised { .. }
            | Output::Live { .. }
            | Output::Lobby { .. }
            | Output::Told { .. }
            | Output::Refused(_) => {}
        }
    }

    fn address(&self, c: ConnId) -> String {
        self.clients[&self.conns[&c]].session.jid.to_string()
    }

    fn deliver(&mut self, c: ConnId, bytes: Bytes) {
        let s = Stanza::parse(bytes.clone(), &Limits::default())
            .unwrap_or_else(|e| panic!("a room wrote bad XML: {e}: {}", String::from_utf8_lossy(&bytes)));
        let client = self.clients.get_mut(&self.conns[&c]).unwrap();
        let to = s.attr("to").unwrap_or_else(|| panic!("no address: {s}")).into_owned();
        assert_eq!(to, client.session.jid.as_str(), "delivered to somebody else: {s}");
        assert_eq!(s.root().ns(), ns::CLIENT, "not a client's stanza: {s}");
        assert!(s.root().attr("xmlns").is_some(), "no explicit namespace: {s}");
        client.inbox.push_back(s);
    }

    fn route(&mut self, node: usize, s: Stanza) {
        let to = s.to().ok().flatten().unwrap_or_else(|| panic!("routed without address: {s}"));
        if let Some(name) = self.by_jid.get(&(node, to.to_string())).cloned() {
            self.clients.get_mut(&name).unwrap().inbox.push_back(s);
            return;
        }
        if self.nodes[node].cfg.serves(to.domain()) && to.local().is_some() {
            return; // A connection that is gone.
        }
        let target = self.nodes.iter().position(|n| n.owns(to.domain()));
        match target {
            Some(t) if self.down.contains(&(node, t)) => {}
            Some(t) => {
                if let Some(name) = self.by_jid.get(&(t, to.to_string())).cloned() {
                    self.clients.get_mut(&name).unwrap().inbox.push_back(s);
                    return;
                }
                self.input(t, Input::Stanza { from: Origin::Remote, to, stanza: s });
            }
            None => {
                let peer = self.peers.values_mut().find(|p| p.domains.iter().any(|d| d == to.domain()));
                peer.unwrap_or_else(|| panic!("nobody has the domain of {s}")).inbox.push_back(s);
            }
        }
    }

    pub fn gone(&mut self, name: &str) {
        let c = &self.clients[name];
        let (node, session) = (c.node, c.session.clone());
        self.by_jid.remove(&(node, session.jid.to_string()));
        self.input(node, Input::Gone { session });
    }

    pub fn link(&mut self, a: &str, b: &str, state: PeerState) {
        let at = |w: &Self, n: &str| w.nodes.iter().position(|x| x.name == n).expect("a node");
        let (a, b) = (at(self, a), at(self, b));
        for (x, y) in [(a, b), (b, a)] {
            if state == PeerState::Down {
                self.down.insert((x, y));
            } else {
                self.down.remove(&(x, y));
            }
        }
        for (x, y) in [(a, b), (b, a)] {
            let domains: Vec<String> = self.nodes[y].cfg.mucs.iter().map(|m| m.domain.clone()).collect();
            for domain in domains {
                self.input(x, Input::Peer { domain, state });
            }
        }
    }

    /// Lets time pass; deadlines are met exactly.
    pub fn advance(&mut self, by: Duration) {
        let end = self.elapsed + by;
        loop {
            let start = self.now() - self.elapsed;
            let next = (0..self.nodes.len()).filter_map(|i| Some((self.hub(i).poll_timeout()?, i))).min();
            match next {
                Some((at, i)) if at <= start + end => {
                    self.elapsed = self.elapsed.max(at - start);
                    self.input(i, Input::Tick);
                }
                _ => break,
            }
        }
        self.elapsed = end;
    }

    pub fn inbox(&mut self, name: &str) -> &mut VecDeque<Stanza> {
        if let Some(c) = self.clients.get_mut(name) {
            return &mut c.inbox;
        }
        &mut self.peers.get_mut(name).unwrap_or_else(|| panic!("nobody is called {name}")).inbox
    }

    pub fn drain(&mut self) {
        self.clients.values_mut().for_each(|c| c.inbox.clear());
        self.peers.values_mut().for_each(|p| p.inbox.clear());
    }
}

pub fn session(jid: &str) -> Session {
    let jid = FullJid::parse(jid).unwrap();
    Session {
        conn: ConnId(0),
        room: Some("demo".into()),
        tenant: None,
        region: None,
        claims: None,
        admin: jid.local() == Some("focus"),
        anonymous: false,
        jid,
    }
}

pub fn claims(json: &str) -> Claims {
    let v: serde_json::Value = serde_json::from_str(json).unwrap();
    let s = |k: &str| v.get(k).and_then(|x| x.as_str()).map(str::to_owned);
    let c = &v["context"];
    Claims {
        room: s("room"),
        room_is_pattern: c["room"]["regex"].as_bool().unwrap_or(false),
        sub: s("sub"),
        issuer: s("iss"),
        tenant: c["tenant"].as_str().map(str::to_owned),
        user: c["user"].as_object().cloned(),
        group: c["group"].as_str().map(str::to_owned),
        features: c["features"]
            .as_object()
            .map(|f| f.iter().map(|(k, v)| (k.clone(), *v == true || *v == "true")).collect()),
    }
}

pub fn turn() -> ExternalService {
    ExternalService {
        kind: "turns".into(),
        transport: Some("tcp".into()),
        host: "turn.example".into(),
        port: 443,
        secret: Some("secret".into()),
        ttl: 86_400,
    }
}
