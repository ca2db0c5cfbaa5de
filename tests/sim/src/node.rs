//! A node: its hub, its connections by address, and the way of a stanza through it, as the IO layer has it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_room::{ConnId, Group, Hub, Input, NodeConfig, Origin, Output, RoomId, Session, to_real};
use amphi_stanza::{Condition, ErrorType, FullJid, Jid, Limits, Stanza, StanzaError, StanzaKind, XmlWriter, ns};
use bytes::Bytes;

use crate::config::{METADATA, VISITORS};

/// Where a stanza goes that leaves a node.
#[derive(Debug)]
pub(crate) enum Leaving {
    /// To a connection.
    Conn(ConnId, Stanza),
    /// To another server.
    Link(Stanza),
}

pub(crate) struct Node {
    pub(crate) cfg: Arc<NodeConfig>,
    pub(crate) hub: Hub,
    /// Restarts so far.
    pub(crate) life: u64,
    pub(crate) up: bool,
    pub(crate) sessions: HashMap<FullJid, ConnId>,
    pub(crate) by_conn: HashMap<ConnId, Arc<Session>>,
    pub(crate) groups: HashMap<RoomId, HashMap<ConnId, Group>>,
    /// One-time names, and until when they are good.
    promises: HashMap<String, Duration>,
    /// Names ever promised.
    pub(crate) promised: Vec<String>,
    out: Vec<Leaving>,
}

/// The time as a node has it.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) start: Instant,
    pub(crate) elapsed: Duration,
    pub(crate) wall: u64,
}

impl Now {
    pub(crate) fn instant(self) -> Instant {
        self.start + self.elapsed
    }
}

fn hub(cfg: &Arc<NodeConfig>, seed: u64, life: u64) -> Hub {
    let mut s = [0; 32];
    s[..8].copy_from_slice(&seed.to_le_bytes());
    s[8..16].copy_from_slice(&life.to_le_bytes());
    s[16..16 + cfg.host.len().min(16)].copy_from_slice(&cfg.host.as_bytes()[..cfg.host.len().min(16)]);
    Hub::new(cfg.clone(), s, life as u16)
}

impl Node {
    pub(crate) fn new(cfg: NodeConfig, seed: u64) -> Self {
        let cfg = Arc::new(cfg);
        Self {
            hub: hub(&cfg, seed, 0),
            cfg,
            life: 0,
            up: true,
            sessions: HashMap::new(),
            by_conn: HashMap::new(),
            groups: HashMap::new(),
            promises: HashMap::new(),
            promised: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Everything is forgotten.
    pub(crate) fn restart(&mut self, seed: u64) {
        self.life += 1;
        self.hub = hub(&self.cfg, seed, self.life);
        self.sessions.clear();
        self.by_conn.clear();
        self.groups.clear();
        self.promises.clear();
        self.out.clear();
    }

    /// Whether an address at this domain lives here.
    pub(crate) fn owns(&self, domain: &str) -> bool {
        self.cfg.serves(domain) || self.cfg.muc(domain).is_some() || self.is_component(domain)
    }

    fn is_component(&self, domain: &str) -> bool {
        self.cfg.main().is_some() && (domain == VISITORS || domain == METADATA)
    }

    /// Registers a connection; returns an older one with the same address.
    pub(crate) fn bind(&mut self, session: Session) -> Option<ConnId> {
        let session = Arc::new(session);
        self.by_conn.insert(session.conn, session.clone());
        self.sessions.insert(session.jid.clone(), session.conn)
    }

    /// Takes a promised name, once and in time.
    pub(crate) fn redeem(&mut self, now: Now, name: &str) -> bool {
        self.promises.remove(name).is_some_and(|until| until >= now.elapsed)
    }

    /// A connection has ended for good.
    pub(crate) fn gone(&mut self, now: Now, conn: ConnId) -> Vec<Leaving> {
        let Some(session) = self.by_conn.remove(&conn) else { return Vec::new() };
        if self.sessions.get(&session.jid) == Some(&conn) {
            self.sessions.remove(&session.jid);
        }
        self.input(now, Input::Gone { session })
    }

    /// Gives the hub an input and carries out what it wants.
    pub(crate) fn input(&mut self, now: Now, input: Input) -> Vec<Leaving> {
        self.hub.handle(now.instant(), now.wall, input);
        while let Some(o) = self.hub.poll_output() {
            self.output(now, o);
        }
        std::mem::take(&mut self.out)
    }

    fn output(&mut self, now: Now, o: Output) {
        match o {
            Output::Refused(_) => {}
            Output::Join { room, conn, group } => {
                self.groups.entry(room).or_default().insert(conn, group);
            }
            Output::Leave { room, conn } => {
                self.groups.entry(room).or_default().remove(&conn);
            }
            Output::Destroyed { room } => {
                let left = self.groups.remove(&room).unwrap_or_default();
                assert!(left.is_empty(), "a destroyed room has members: {left:?}");
            }
            Output::Broadcast(b) => {
                let members = self.groups.get(&b.room).into_iter().flatten();
                let mut members: Vec<ConnId> =
                    members.filter(|(c, g)| b.to.has(**g) && Some(**c) != b.except).map(|(c, _)| *c).collect();
                members.sort();
                for c in members {
                    self.frame(c, &b.frame);
                }
            }
            Output::Send { conn, stanza } => self.deliver(conn, stanza),
            Output::SendFrames { conn, frames } => frames.iter().for_each(|f| self.frame(conn, f)),
            Output::Route(s) => self.route(s),
            // Nobody waits for a room to begin in this world.
            Output::Live { .. } | Output::Lobby { .. } | Output::Told { .. } => {}
            Output::Promised { username, ttl, .. } => {
                self.promised.push(username.clone());
                self.promises.insert(username, now.elapsed + ttl);
            }
        }
    }

    fn frame(&mut self, conn: ConnId, frame: &amphi_stanza::Frame) {
        if let Some(s) = self.by_conn.get(&conn) {
            let bytes = frame.render(s.jid.as_str());
            self.deliver(conn, bytes);
        }
    }

    fn deliver(&mut self, conn: ConnId, bytes: Bytes) {
        let s = Stanza::parse(bytes.clone(), &Limits::default())
            .unwrap_or_else(|e| panic!("a room wrote bad XML: {e}: {}", String::from_utf8_lossy(&bytes)));
        if let Some(session) = self.by_conn.get(&conn) {
            assert_eq!(s.attr("to").as_deref(), Some(session.jid.as_str()), "for somebody else: {s}");
            assert!(s.root().ns() == ns::CLIENT && s.root().attr("xmlns").is_some(), "no client's stanza: {s}");
            self.out.push(Leaving::Conn(conn, s));
        }
    }

    /// What a hub wants routed.
    fn route(&mut self, s: Stanza) {
        let to = s.to().ok().flatten().unwrap_or_else(|| panic!("routed without an address: {s}"));
        if self.cfg.serves(to.domain()) {
            if let Some(conn) = self.session(&to) {
                self.out.push(Leaving::Conn(conn, s));
            }
            return;
        }
        self.out.push(Leaving::Link(s));
    }

    fn session(&self, to: &Jid) -> Option<ConnId> {
        self.sessions.get(&to.as_full()?).copied()
    }

    /// A stanza from a connection.
    pub(crate) fn client_sends(&mut self, now: Now, conn: ConnId, s: Stanza) -> Vec<Leaving> {
        let Some(session) = self.by_conn.get(&conn).cloned() else { return Vec::new() };
        let asked = s.to().ok().flatten().unwrap_or_else(|| session.jid.to_bare());
        let to = to_real(&self.cfg, &asked);
        let from = Origin::Local(session.clone());
        if Hub::room_of(&self.cfg, &from, &to, &s).is_some() {
            return self.input(now, Input::Stanza { from, to, stanza: s });
        }
        if self.cfg.muc(to.domain()).is_some() && to.local().is_none() {
            let answer = Hub::answer_service(&self.cfg, &asked, session.jid.jid(), &s).or_else(|| unavailable(&s));
            return answer.map(|a| Leaving::Conn(conn, a)).into_iter().collect();
        }
        let stamped = s.rewrite().set("from", &session.jid).set("to", &to).stanza();
        if self.cfg.serves(to.domain()) || self.is_component(to.domain()) {
            if let Some(other) = self.session(&to) {
                return vec![Leaving::Conn(other, stamped)];
            }
            return self.answer(&stamped).map(|a| Leaving::Conn(conn, a)).into_iter().collect();
        }
        vec![Leaving::Link(stamped)]
    }

    /// A stanza from another server.
    pub(crate) fn link_sends(&mut self, now: Now, s: Stanza) -> Vec<Leaving> {
        let Some(to) = s.to().ok().flatten() else { return Vec::new() };
        if Hub::room_of(&self.cfg, &Origin::Remote, &to, &s).is_some() {
            let server = s.rewrite().set("xmlns", ns::SERVER).stanza();
            return self.input(now, Input::Stanza { from: Origin::Remote, to, stanza: server });
        }
        if let Some(conn) = self.session(&to) {
            return vec![Leaving::Conn(conn, s)];
        }
        let item_not_found = || StanzaError::new(ErrorType::Cancel, Condition::ItemNotFound).answer(&s);
        let answer = if to.local().is_none() { self.answer(&s) } else { item_not_found() };
        answer.map(Leaving::Link).into_iter().collect()
    }

    /// What a host or component says of itself.
    fn answer(&self, s: &Stanza) -> Option<Stanza> {
        let disco = s.ty().as_deref() == Some("get") && s.child("query", ns::DISCO_INFO).is_some();
        if !disco || s.to().ok()??.local().is_some() {
            return unavailable(s);
        }
        let mut w = XmlWriter::new();
        w.open_ns("iq", ns::CLIENT).attr("type", "result").attr_opt("id", s.id());
        w.attr_opt("from", s.attr("to")).attr_opt("to", s.attr("from")).open_ns("query", ns::DISCO_INFO);
        if self.cfg.main().is_some() {
            for (ty, name) in [("visitors", VISITORS), ("room_metadata", METADATA)] {
                w.open("identity").attr("category", "component").attr("type", ty).attr("name", name).close();
            }
        }
        Some(w.stanza())
    }
}

fn unavailable(s: &Stanza) -> Option<Stanza> {
    if s.kind() == StanzaKind::Presence {
        return None;
    }
    StanzaError::new(ErrorType::Cancel, Condition::ServiceUnavailable).answer(s)
}
