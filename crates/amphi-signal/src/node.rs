//! One signaling node: its hosts, its connections by address, and the way of a stanza through it.
//!
//! A node owns its routing tables. Several nodes may live in one process, each with an `auth` host of its own; nothing is
//! looked up process-wide.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use amphi_room::{ConnId, Hub, Input, Origin, Session};
use amphi_stanza::{BareJid, Condition, ErrorType, FullJid, Jid, Stanza, StanzaError, StanzaKind, ns};
use amphi_xmpp::c2s::{HostProfile, UrlParams};
use amphi_xmpp::services::{HostServices, RoomHints};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::mpsc;

use crate::backend::Identity;
use crate::hosts::Host;
use crate::journal::Journal;
use crate::links::Links;
use crate::metrics::{Metrics, NodeLabel, NodeRole};
use crate::operator::Questions;
use crate::queue::News;
use crate::shard::{Op, ShardMsg, Shards, VIRTUAL, shard_of};
use crate::tls::ServerTls;
use crate::virt::Virtual;

/// A stream that may be resumed.
#[derive(Clone, Debug)]
pub(crate) struct Parked {
    pub(crate) conn: ConnId,
    pub(crate) jid: FullJid,
}

/// A promise to let somebody come on stage under this name.
#[derive(Clone, Debug)]
struct Promise {
    room: BareJid,
    until: Instant,
}

/// The focus behind its proxy address.
#[derive(Clone, Debug)]
pub struct FocusProxy {
    /// `focus.meet.example`
    pub domain: String,
    /// `focus@auth.meet.example`
    pub target: BareJid,
}

/// A signaling node.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) rooms: Arc<amphi_room::NodeConfig>,
    pub(crate) hosts: HashMap<String, Host>,
    /// Answers for addresses that are no virtual host: components.
    pub(crate) components: HashMap<String, HostServices>,
    pub(crate) focus_proxy: Option<FocusProxy>,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) shards: Arc<Shards>,
    pub(crate) virt: Arc<Virtual>,
    pub(crate) links: OnceLock<Arc<Links>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) hubs: OnceLock<Vec<mpsc::Sender<Input>>>,
    /// Where news for those who wait for a room go.
    pub(crate) news: OnceLock<mpsc::UnboundedSender<News>>,
    pub(crate) journal: Arc<Journal>,
    /// Questions of operators to rooms.
    pub(crate) operators: Questions,
    sessions: RwLock<HashMap<FullJid, ConnId, foldhash::fast::RandomState>>,
    resumptions: Mutex<HashMap<Box<str>, Parked, foldhash::fast::RandomState>>,
    promises: Mutex<HashMap<String, Promise>>,
    /// Rooms that have a lobby now: whoever comes to one needs a name.
    lobbies: RwLock<HashSet<BareJid, foldhash::fast::RandomState>>,
    /// Turn of the focus' connections.
    proxy_turn: AtomicU32,
}

/// Where a stanza goes.
#[derive(Debug)]
pub(crate) enum Routed {
    /// To the hub that owns the room.
    Hub(usize, Box<Input>),
    /// To a connection of this node.
    Conn(ConnId, Bytes),
    /// To another domain.
    Link(Stanza),
    /// Back to the sender.
    Answer(Bytes),
    /// Nowhere: it needs no answer.
    Nothing,
}

impl Routed {
    /// The hub it goes to.
    pub(crate) fn hub(&self) -> Option<usize> {
        match self {
            Self::Hub(i, _) => Some(*i),
            _ => None,
        }
    }
}

/// Parts of a node that are known before it starts.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) rooms: Arc<amphi_room::NodeConfig>,
    pub(crate) hosts: HashMap<String, Host>,
    pub(crate) components: HashMap<String, HostServices>,
    pub(crate) focus_proxy: Option<FocusProxy>,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) journal: Arc<Journal>,
}

impl Node {
    pub(crate) fn new(parts: Parts, shards: Arc<Shards>, virt: Arc<Virtual>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            name: parts.name,
            rooms: parts.rooms,
            hosts: parts.hosts,
            components: parts.components,
            focus_proxy: parts.focus_proxy,
            tls: parts.tls,
            shards,
            virt,
            links: OnceLock::new(),
            metrics,
            hubs: OnceLock::new(),
            news: OnceLock::new(),
            journal: parts.journal,
            operators: Questions::default(),
            sessions: RwLock::default(),
            resumptions: Mutex::default(),
            promises: Mutex::default(),
            lobbies: RwLock::default(),
            proxy_turn: AtomicU32::new(0),
        })
    }

    /// Profile of a virtual host.
    pub(crate) fn profile(&self, name: &str) -> Option<Arc<HostProfile>> {
        self.hosts.get(name).map(|h| h.profile.clone())
    }

    // ---- sessions ------------------------------------------------------------------------------------------------

    /// Whether a domain is ours: a host, a MUC service or a component.
    pub(crate) fn serves(&self, domain: &str) -> bool {
        self.hosts.contains_key(domain) || self.components.contains_key(domain) || self.rooms.muc(domain).is_some()
    }

    /// The connection that an authored stanza is for, if it is one of this node.
    pub(crate) fn route_local(&self, stanza: Stanza) -> Option<(ConnId, Bytes)> {
        let to = stanza.to().ok()??;
        Some((self.session(&to)?, stanza.raw().clone()))
    }

    /// Registers a bound connection. An earlier one with the same address is closed.
    pub(crate) fn bind(&self, conn: ConnId, jid: &FullJid, identity: Identity, params: UrlParams) -> Arc<Session> {
        let session = Arc::new(Session {
            conn,
            jid: jid.clone(),
            room: params.room,
            tenant: params.prefix,
            region: params.region,
            claims: identity.claims,
            admin: identity.admin,
            anonymous: identity.anonymous,
        });
        let old = self.sessions.write().insert(jid.clone(), conn);
        if let Some(old) = old {
            self.kick(old, "conflict");
        }
        session
    }

    /// Ends a connection.
    pub(crate) fn kick(&self, conn: ConnId, reason: &'static str) {
        if shard_of(conn) == VIRTUAL {
            self.virt.remove(conn);
        } else if let Some(s) = self.shards.get(shard_of(conn)).cloned() {
            tokio::spawn(async move { s.send(ShardMsg::Kick(conn, reason)).await });
        }
    }

    /// The message that tells a client its host's services, sent before the bind result (`spec/signaling.md` 2.7).
    pub(crate) fn announcement(&self, session: &Session) -> Option<Bytes> {
        let host = self.hosts.get(session.jid.domain())?;
        let hints = RoomHints {
            rename: session.room.is_some(),
            display_name_required: self.has_lobby(session),
            ..RoomHints::default()
        };
        if host.announce { host.announced.announcement(&session.jid, hints) } else { None }
    }

    /// Whether the room that a connection is for has a lobby.
    fn has_lobby(&self, session: &Session) -> bool {
        let lobbies = self.lobbies.read();
        // Hardly any room has one, and many thousands log in.
        !lobbies.is_empty()
            && amphi_room::address::room_of_session(&self.rooms, session).is_some_and(|r| lobbies.contains(&r))
    }

    /// A room has a lobby now, or none any more.
    pub(crate) fn note_lobby(&self, room: BareJid, is_open: bool) {
        let mut lobbies = self.lobbies.write();
        if is_open {
            lobbies.insert(room);
        } else {
            lobbies.remove(&room);
        }
    }

    /// Whether this is a service: read at any rate, with large stanzas.
    pub(crate) fn unlimited(&self, session: &Session) -> bool {
        let listed = |h: &Host| h.unlimited.iter().any(|user| session.jid.local() == Some(user.as_str()));
        session.admin || self.hosts.get(session.jid.domain()).is_some_and(listed)
    }

    /// How long a broken stream of this session is kept.
    pub(crate) fn hibernation(&self, session: &Session, default: Duration) -> Duration {
        self.hosts.get(session.jid.domain()).map_or(default, |h| {
            let of = h.resume_of.iter().find(|(user, _)| session.jid.local() == Some(user.as_str()));
            of.map_or(h.resume, |(_, time)| *time)
        })
    }

    /// A fresh resumption id.
    pub(crate) fn new_resumption(&self, session: &Session) -> Box<str> {
        let id: Box<str> = uuid::Uuid::new_v4().simple().to_string().into();
        self.resumptions.lock().insert(id.clone(), Parked { conn: session.conn, jid: session.jid.clone() });
        id
    }

    pub(crate) fn forget_resumption(&self, id: &str) {
        self.resumptions.lock().remove(id);
    }

    /// The stream with this resumption id, if it belongs to `localpart` at `host`.
    pub(crate) fn find_resumption(&self, id: &str, localpart: &str, host: &str) -> Option<Parked> {
        self.resumptions.lock().get(id).filter(|p| p.jid.local() == Some(localpart) && p.jid.domain() == host).cloned()
    }

    /// Local part of the stream with this resumption id: the new login gets the same (`spec/signaling.md` 2.4).
    pub(crate) fn localpart_of(&self, id: &str, host: &str) -> Option<String> {
        let map = self.resumptions.lock();
        let p = map.get(id).filter(|p| p.jid.domain() == host)?;
        p.jid.local().map(str::to_owned)
    }

    /// A connection is gone for good.
    pub(crate) async fn session_gone(&self, session: &Arc<Session>, hubs: u64) {
        {
            let mut map = self.sessions.write();
            if map.get(&session.jid) == Some(&session.conn) {
                map.remove(&session.jid);
            }
        }
        self.left_rooms(session, hubs).await;
    }

    /// A connection leaves all its rooms.
    pub(crate) async fn left_rooms(&self, session: &Arc<Session>, hubs: u64) {
        for i in (0..64).filter(|i| hubs & 1 << i != 0) {
            self.to_hub(i, Input::Gone { session: session.clone() }).await;
        }
    }

    /// A session has new attributes.
    pub(crate) async fn session_changed(&self, session: Arc<Session>, hubs: u64) {
        for i in (0..64).filter(|i| hubs & 1 << i != 0) {
            self.to_hub(i, Input::Changed { session: session.clone() }).await;
        }
    }

    // ---- promises ------------------------------------------------------------------------------------------------

    /// Remembers that a room promised a name.
    pub(crate) fn promise(&self, room: BareJid, username: String, ttl: Duration) {
        let now = Instant::now();
        let mut map = self.promises.lock();
        if map.len() > 10_000 {
            map.retain(|_, p| p.until > now);
        }
        map.insert(username, Promise { room, until: now + ttl });
    }

    /// Takes a promised name: once, in time, and for the room in the URL alone.
    pub(crate) fn redeem(&self, username: &str, params: &UrlParams) -> bool {
        let mut map = self.promises.lock();
        let Some(p) = map.get(username) else { return false };
        let (tenant, name) = amphi_room::address::split_tenant(&p.room);
        if p.until < Instant::now() {
            map.remove(username);
            return false;
        }
        if params.room.as_deref() != Some(name) || tenant != params.prefix.as_deref() {
            return false;
        }
        map.remove(username);
        true
    }

    // ---- routing -------------------------------------------------------------------------------------------------

    /// Hub of a room.
    pub(crate) fn hub_of(&self, room: &BareJid) -> usize {
        use std::hash::BuildHasher as _;
        let n = self.hubs.get().map_or(1, Vec::len).max(1);
        (foldhash::fast::FixedState::with_seed(7).hash_one(room.as_str()) % n as u64) as usize
    }

    /// Number of a hub in the process: rooms of different nodes have different ids.
    pub(crate) fn hub_index(&self, hub: usize) -> u16 {
        static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
        let _ = hub;
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether this account is connected.
    pub(crate) fn has_session_of(&self, account: &BareJid) -> bool {
        self.focus_connection(account).is_some()
    }

    /// Bound connections.
    pub(crate) fn session_count(&self) -> usize {
        self.sessions.read().len()
    }

    /// This node's value of a gauge.
    pub(crate) fn gauge(&self, of: &Family<NodeLabel, Gauge>) -> i64 {
        of.get_or_create(&NodeLabel { node: self.name.clone() }).get()
    }

    /// This node's occupants of a role.
    pub(crate) fn occupants(&self, role: &'static str) -> i64 {
        self.metrics.occupants.get_or_create(&NodeRole { node: self.name.clone(), role }).get()
    }

    /// Number of hubs.
    pub(crate) fn hub_count(&self) -> usize {
        self.hubs.get().map_or(0, Vec::len)
    }

    pub(crate) async fn to_hub(&self, hub: usize, input: Input) {
        if let Some(tx) = self.hubs.get().and_then(|h| h.get(hub)) {
            let _ = tx.send(input).await;
        }
    }

    /// Tells all hubs.
    pub(crate) async fn to_all_hubs(&self, input: Input) {
        for i in 0..self.hub_count() {
            self.to_hub(i, input.clone()).await;
        }
    }

    /// Where a stanza from a connection goes.
    pub(crate) fn route_from(&self, session: &Arc<Session>, stanza: Stanza) -> Routed {
        let to = match stanza.to() {
            Ok(Some(to)) => amphi_room::to_real(&self.rooms, &to),
            // RFC 6120 §10.3: to the own account.
            Ok(None) => session.jid.to_bare(),
            Err(_) => {
                return self.refuse(
                    &stanza,
                    "bad-address",
                    &StanzaError::new(ErrorType::Modify, Condition::JidMalformed),
                );
            }
        };
        if let Some(room) = Hub::room_of(&self.rooms, &Origin::Local(session.clone()), &to, &stanza) {
            let input = Input::Stanza { from: Origin::Local(session.clone()), to, stanza };
            return Routed::Hub(self.hub_of(&room), Box::new(input));
        }
        // An IQ to a MUC service itself: disco, ping. It comes back from the address that was asked.
        if self.rooms.has_rooms(to.domain()) && to.local().is_none() {
            let asked = stanza.to().ok().flatten().unwrap_or_else(|| to.clone());
            return match Hub::answer_service(&self.rooms, &asked, &session.jid, &stanza) {
                Some(a) => Routed::Answer(a.raw().clone()),
                None => self.unavailable(&stanza),
            };
        }
        self.route_rest(session, &to, stanza)
    }

    fn route_rest(&self, session: &Arc<Session>, to: &Jid, stanza: Stanza) -> Routed {
        let from = session.jid.as_str();
        if let Some(proxy) = self.focus_proxy.as_ref().filter(|p| p.domain == to.domain()) {
            return self.to_focus(proxy, session, to, &stanza);
        }
        if let Some(host) = self.hosts.get(to.domain()) {
            return match (to.local(), to.resource()) {
                (Some(_), Some(_)) => match self.session(to) {
                    Some(conn) => {
                        Routed::Conn(conn, stanza.rewrite().set("from", from).set("xmlns", ns::CLIENT).finish())
                    }
                    None => self.unavailable(&stanza),
                },
                (Some(_), None) if to.as_str() == session.jid.bare_str() => {
                    self.answer(&host.services, session, &stanza)
                }
                (Some(_), None) => self.unavailable(&stanza),
                (None, _) => self.answer(&host.services, session, &stanza),
            };
        }
        if let Some(component) = self.components.get(to.domain()) {
            return self.answer(component, session, &stanza);
        }
        let stamped = stanza.rewrite().set("from", from).set("to", to).stanza();
        match self.links.get() {
            // A room at the other end takes presence and group chat from a link as that of its main room or of its nodes,
            // which have checked it (`spec/signaling.md` 4.6, 4.7): a client speaks to the room of its own node.
            Some(links) if links.reaches(to.domain()) && is_for_rooms(&stanza) && !session.admin => self.refuse(
                &stanza,
                "room-elsewhere",
                &StanzaError::new(ErrorType::Cancel, Condition::NotAllowed).text("This room is joined at its own node"),
            ),
            Some(links) if links.reaches(to.domain()) => Routed::Link(stamped),
            // mod_s2s_whitelist: the text that operators search for.
            _ => self.refuse(
                &stanza,
                "domain-restricted",
                &StanzaError::new(ErrorType::Cancel, Condition::NotAllowed).text(amphi_xmpp::s2s::RESTRICTED),
            ),
        }
    }

    /// An error for the sender.
    fn refuse(&self, stanza: &Stanza, reason: &'static str, error: &StanzaError) -> Routed {
        self.metrics.refuse(reason);
        match error.answer(stanza) {
            Some(s) => Routed::Answer(s.raw().clone()),
            None => Routed::Nothing,
        }
    }

    fn unavailable(&self, stanza: &Stanza) -> Routed {
        if stanza.kind() == StanzaKind::Presence {
            return Routed::Nothing;
        }
        self.refuse(stanza, "no-such-address", &StanzaError::new(ErrorType::Cancel, Condition::ServiceUnavailable))
    }

    fn answer(&self, services: &HostServices, session: &Session, stanza: &Stanza) -> Routed {
        match services.answer(stanza, &session.jid, unix_now()) {
            Some(b) => Routed::Answer(b),
            None => self.unavailable(stanza),
        }
    }

    fn session(&self, to: &Jid) -> Option<ConnId> {
        self.sessions.read().get(&to.as_full()?).copied()
    }

    // ---- the focus behind its proxy (`spec/signaling.md` 3.2, mod_client_proxy) ---------------------------------------

    fn to_focus(&self, proxy: &FocusProxy, session: &Arc<Session>, to: &Jid, stanza: &Stanza) -> Routed {
        let ty = stanza.ty();
        let from_focus = session.jid.bare_str() == proxy.target.as_str();
        match (stanza.kind(), ty.as_deref()) {
            (StanzaKind::Iq, Some("result" | "error")) if from_focus => {
                let Some(client) = to.resource().and_then(|r| Jid::parse(r).ok()) else { return Routed::Nothing };
                let s = stanza.rewrite().set("from", &proxy.domain).set("to", &client).stanza();
                match self.session(&client) {
                    Some(conn) => Routed::Conn(conn, s.raw().clone()),
                    None => Routed::Nothing,
                }
            }
            (StanzaKind::Iq, Some("get" | "set")) if !from_focus && to.resource().is_none() => {
                if let Some(host) = self.components.get(&proxy.domain)
                    && stanza.children().any(|c| matches!(c.ns(), ns::DISCO_INFO | ns::DISCO_ITEMS | ns::PING))
                {
                    return self.answer(host, session, stanza);
                }
                let Some(conn) = self.focus_connection(&proxy.target) else { return self.unavailable(stanza) };
                let Some(jid) = self.address_of(conn, &proxy.target) else { return self.unavailable(stanza) };
                let s = stanza
                    .rewrite()
                    .set("from", format_args!("{}/{}", proxy.domain, session.jid))
                    .set("to", jid)
                    .finish();
                Routed::Conn(conn, s)
            }
            (StanzaKind::Presence, _) => Routed::Nothing,
            _ => self.refuse(
                stanza,
                "proxy-refused",
                &StanzaError::new(ErrorType::Cancel, Condition::FeatureNotImplemented),
            ),
        }
    }

    fn focus_connection(&self, target: &BareJid) -> Option<ConnId> {
        let sessions = self.sessions.read();
        let all: Vec<ConnId> =
            sessions.iter().filter(|(j, _)| j.bare_str() == target.as_str()).map(|(_, c)| *c).collect();
        let turn = self.proxy_turn.fetch_add(1, Ordering::Relaxed) as usize;
        all.get(turn % all.len().max(1)).copied()
    }

    fn address_of(&self, conn: ConnId, target: &BareJid) -> Option<FullJid> {
        self.sessions
            .read()
            .iter()
            .find(|(j, c)| **c == conn && j.bare_str() == target.as_str())
            .map(|(j, _)| j.clone())
    }

    // ---- carrying out --------------------------------------------------------------------------------------------

    /// Carries a route out; returns what is for the sender itself.
    pub(crate) async fn deliver(&self, routed: Routed) -> Option<Bytes> {
        match routed {
            Routed::Hub(i, input) => self.to_hub(i, *input).await,
            Routed::Conn(conn, bytes) => self.to_conn(conn, bytes).await,
            Routed::Link(stanza) => {
                if let Some(l) = self.links.get() {
                    l.send(stanza);
                }
            }
            Routed::Answer(b) => return Some(b),
            Routed::Nothing => {}
        }
        None
    }

    pub(crate) async fn to_conn(&self, conn: ConnId, bytes: Bytes) {
        if shard_of(conn) == VIRTUAL {
            self.virt.send(conn, bytes);
        } else if let Some(s) = self.shards.get(shard_of(conn)) {
            s.send(ShardMsg::Ops(vec![Op::Send(conn, bytes)])).await;
        }
    }

    /// A stanza that a hub wants routed by its `to`. Returns the operation for a connection, if it is for one.
    pub(crate) fn route_out(&self, stanza: Stanza) -> Option<(ConnId, Bytes)> {
        let Ok(Some(to)) = stanza.to() else { return None };
        if self.hosts.contains_key(to.domain()) {
            let conn = self.session(&to)?;
            return Some((conn, stanza.raw().clone()));
        }
        if let Some(l) = self.links.get() {
            l.send(stanza);
        }
        None
    }

    /// A stanza from a link. Its `from` is the peer's by right.
    pub(crate) async fn take_from_link(&self, stanza: Stanza) {
        let Ok(Some(to)) = stanza.to() else { return };
        if let Some(room) = Hub::room_of(&self.rooms, &Origin::Remote, &to, &stanza) {
            let hub = self.hub_of(&room);
            self.to_hub(hub, Input::Stanza { from: Origin::Remote, to, stanza }).await;
            return;
        }
        if to.resource().is_some()
            && self.hosts.contains_key(to.domain())
            && let Some(conn) = self.session(&to)
        {
            let bytes = stanza.rewrite().set("xmlns", ns::CLIENT).finish();
            self.to_conn(conn, bytes).await;
            return;
        }
        let services = self.hosts.get(to.domain()).map(|h| &h.services).or_else(|| self.components.get(to.domain()));
        let answer = match services {
            Some(s) if to.local().is_none() => match stanza.from() {
                Ok(Some(from)) => from.as_full().and_then(|f| s.answer(&stanza, &f, unix_now())),
                _ => None,
            },
            _ => StanzaError::new(ErrorType::Cancel, Condition::ItemNotFound).answer(&stanza).map(|s| s.raw().clone()),
        };
        if let (Some(bytes), Some(l)) = (answer, self.links.get()) {
            l.send(Stanza::authored(bytes));
        }
    }
}

/// Presence, and messages to all.
fn is_for_rooms(stanza: &Stanza) -> bool {
    stanza.kind() == StanzaKind::Presence || stanza.ty().as_deref() == Some("groupchat")
}

fn unix_now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
