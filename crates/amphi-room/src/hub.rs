//! The surface between rooms and the IO layer.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use amphi_stanza::{BareJid, Frame, Jid, Stanza, StanzaKind, ns};
use bytes::Bytes;
use foldhash::fast::RandomState;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::config::{NodeConfig, is_health_room};
use crate::context::{Cx, Memberships, Request};
use crate::destroy::Destroy;
use crate::error::RoomError;
use crate::knock::is_lobby;
use crate::occupant::Peer;
use crate::operator::{Act, ActError, Told};
use crate::room::Room;
use crate::{ConnId, Session, address, disco, token};

/// A room of one hub, for the IO layer's tables. Never reused while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoomId(pub u64);

/// Who sent a stanza.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A connection of this node. Its `from` attribute, if any, is ignored: [`Session::jid`] is the sender.
    Local(Arc<Session>),
    /// A link; the IO layer has checked that `from` belongs to the peer's authenticated domain.
    Remote,
}

/// Whether stanzas to a remote domain can be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// The link is up. `fresh`: the peer lost what was sent before (no stream was resumed), so it must be told again.
    Up {
        /// Nothing sent earlier may be relied upon.
        fresh: bool,
    },
    /// The link is down; what is sent is lost or waits for resumption.
    Down,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A stanza for a room of this hub, or for a component that acts for one.
    Stanza {
        /// Sender.
        from: Origin,
        /// The `to` address in real form (tenant mapped: `[acme]demo@conference.meet.example`).
        to: Jid,
        /// As received.
        stanza: Stanza,
    },
    /// A connection has ended for good: closed by its owner, or not resumed in time. It leaves all its rooms.
    Gone {
        /// The connection.
        session: Arc<Session>,
    },
    /// A session was replaced: same connection id and address, new token or attributes.
    Changed {
        /// The new attributes.
        session: Arc<Session>,
    },
    /// A remote domain became reachable or unreachable.
    Peer {
        /// Domain, for example `conference.v1.meet.jitsi`.
        domain: String,
        /// Its state.
        state: PeerState,
    },
    /// The deadline of [`Hub::poll_timeout`] has come.
    Tick,
    /// An operator asks or does something. Answered by [`Output::Told`], always exactly once.
    Operate {
        /// Chosen by the caller.
        id: u64,
        /// Real address of the room; `None` asks for all rooms.
        room: Option<BareJid>,
        /// What.
        act: Act,
    },
    /// An operator, or a component that acts for the room, ends it.
    Destroy {
        /// Real address.
        room: BareJid,
        /// Another room to go to.
        venue: Option<Jid>,
        /// For people, and matched by clients.
        reason: Option<String>,
    },
}

/// A part of a room's local occupants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// Participants and moderators with a connection on this node.
    Stage,
    /// Visitors.
    Audience,
    /// The focus.
    Focus,
}

/// A set of groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups(u8);

impl Groups {
    /// Everybody.
    pub const ALL: Self = Self(7);

    /// Just one group.
    pub const fn only(g: Group) -> Self {
        Self(1 << g as u8)
    }

    /// This set and one group more.
    pub const fn and(self, g: Group) -> Self {
        Self(self.0 | 1 << g as u8)
    }

    /// Whether `g` is in the set.
    pub const fn has(self, g: Group) -> bool {
        self.0 & 1 << g as u8 != 0
    }
}

/// The same stanza for many local connections.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// The room whose members receive it.
    pub room: RoomId,
    /// Which of them.
    pub to: Groups,
    /// Who gets it in another form, or not at all.
    pub except: Option<ConnId>,
    /// The bytes, with a hole for each receiver's address.
    pub frame: Arc<Frame>,
}

/// What a main room is to those who wait for it (`spec/signaling.md` 4.11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveState {
    /// Somebody is inside who is no administrator.
    pub attended: bool,
    /// `metadata.visitors.live`.
    pub live: Option<bool>,
}

/// One thing to do, in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Count something that was refused, by reason.
    Refused(&'static str),
    /// From now on the connection belongs to a group of the room.
    Join {
        /// Room.
        room: RoomId,
        /// Connection.
        conn: ConnId,
        /// Group.
        group: Group,
    },
    /// The connection no longer belongs to the room.
    Leave {
        /// Room.
        room: RoomId,
        /// Connection.
        conn: ConnId,
    },
    /// Deliver to a part of the room.
    Broadcast(Broadcast),
    /// Deliver one stanza, complete with its `to`, to a connection.
    Send {
        /// Receiver.
        conn: ConnId,
        /// The stanza.
        stanza: Bytes,
    },
    /// Deliver frames (a roster, say) to a connection, each with its address filled in.
    SendFrames {
        /// Receiver.
        conn: ConnId,
        /// Frames in order.
        frames: Vec<Arc<Frame>>,
    },
    /// Route by `to`, in real form: a local connection by its full address, a local component, or a link.
    Route(Stanza),
    /// A visitor was promised to come on stage under this local part: a login that asks for it gets it, once.
    Promised {
        /// The room, in real form.
        room: BareJid,
        /// Local part.
        username: String,
        /// How long the promise holds.
        ttl: std::time::Duration,
    },
    /// What those who wait for a main room need to know has changed. Comes after what tells the occupants.
    Live {
        /// The room, in real form.
        room: BareJid,
        /// The room as clients know it.
        shown: BareJid,
        /// Its state; `None` when the room is gone.
        state: Option<LiveState>,
    },
    /// A room has a lobby now, or none any more.
    Lobby {
        /// The room, in real form.
        room: BareJid,
        /// It has one.
        is_open: bool,
    },
    /// Answers [`Input::Operate`].
    Told {
        /// As asked.
        id: u64,
        /// The answer.
        result: Result<Told, ActError>,
    },
    /// The room is gone; its id is not used again.
    Destroyed {
        /// Room.
        room: RoomId,
    },
}

/// A share of a node's rooms.
///
/// Feed it with [`Hub::handle`], then take everything from [`Hub::poll_output`] before the next input.
pub struct Hub {
    cfg: Arc<NodeConfig>,
    rng: StdRng,
    secret: [u8; 32],
    index: u64,
    next_room: u64,
    rooms: HashMap<BareJid, Room, RandomState>,
    members: Memberships,
    /// What each room asked to be woken at.
    timers: BTreeSet<(Instant, BareJid)>,
    armed: HashMap<BareJid, Instant, RandomState>,
    out: VecDeque<Output>,
}

/// How full a hub is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Rooms.
    pub rooms: usize,
    /// Visitors.
    pub visitors: usize,
    /// Participants and moderators, those who are mirrored here among them.
    pub on_stage: usize,
    /// Moderators among them.
    pub moderators: usize,
    /// People in lobbies, moderators who look in among them.
    pub in_lobbies: usize,
    /// Joins that wait for the focus or the main node.
    pub waiting_for_unlock: usize,
    /// Joins that wait for their turn.
    pub waiting_for_turn: usize,
}

/// Bits of a room's id that say which hub it is of.
const HUB_SHIFT: u32 = 48;

impl Hub {
    /// An empty hub. `seed`: from a good source, once per process and hub; occupant ids and one-time names depend on it.
    /// `index`: the hub's number in the node, so that room ids are unique.
    pub fn new(config: Arc<NodeConfig>, seed: [u8; 32], index: u16) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let secret = rng.random();
        Self {
            cfg: config,
            rng,
            secret,
            index: u64::from(index) << HUB_SHIFT,
            next_room: 0,
            rooms: HashMap::default(),
            members: Memberships::default(),
            timers: BTreeSet::new(),
            armed: HashMap::default(),
            out: VecDeque::new(),
        }
    }

    /// The real address of the room that a stanza is about, so that the IO layer can choose the hub; `None` if it is about
    /// none, and somebody else has to answer. `to`: in real form.
    pub fn room_of(cfg: &NodeConfig, from: &Origin, to: &Jid, stanza: &Stanza) -> Option<BareJid> {
        address::room_of(cfg, from, to, stanza)
    }

    /// The answer to an IQ for a MUC service itself (`conference.acme.meet.example`): disco, ping. `asked`: as the sender
    /// wrote it. `None`: not for one, or nothing to answer. Needs no state, so any worker may answer.
    pub fn answer_service(cfg: &NodeConfig, asked: &Jid, from: &Jid, stanza: &Stanza) -> Option<Stanza> {
        disco::answer_service(cfg, asked, from, stanza)
    }

    /// Takes one thing that happened. `wall`: milliseconds since the epoch.
    pub fn handle(&mut self, now: Instant, wall: u64, input: Input) {
        match input {
            Input::Stanza { from, to, stanza } => self.stanza(now, wall, &from, &to, stanza),
            Input::Gone { session } => {
                for room in self.members.get(&session.conn).cloned().unwrap_or_default() {
                    match self.cfg.room_behind(room.jid()) {
                        Some(room) => self.in_room(now, wall, &room, |r, cx| r.lobby_session_gone(cx, &session)),
                        None => self.in_room(now, wall, &room, |r, cx| r.session_gone(cx, &session)),
                    }
                }
                self.members.remove(&session.conn);
            }
            Input::Changed { session } => {
                for room in self.members.get(&session.conn).cloned().unwrap_or_default() {
                    match self.cfg.room_behind(room.jid()) {
                        Some(room) => self.in_room(now, wall, &room, |r, _| r.lobby_session_changed(&session)),
                        None => self.in_room(now, wall, &room, |r, _| r.session_changed(&session)),
                    }
                }
            }
            Input::Peer { domain, state } => {
                let rooms: Vec<BareJid> = self.rooms.keys().cloned().collect();
                for room in rooms {
                    self.in_room(now, wall, &room, |r, cx| r.peer_state(cx, &domain, state));
                }
            }
            Input::Tick => {
                while let Some((at, room)) = self.timers.first().cloned()
                    && at <= now
                {
                    self.timers.remove(&(at, room.clone()));
                    self.armed.remove(&room);
                    self.in_room(now, wall, &room, Room::tick);
                }
            }
            Input::Operate { id, room, act } => {
                let result = self.operate(now, wall, room, act);
                self.out.push_back(Output::Told { id, result });
            }
            Input::Destroy { room, venue, reason } => {
                self.in_room(now, wall, &room, |r, cx| r.destroy(cx, &Destroy { venue, reason }));
            }
        }
    }

    /// What must be done next, in order; `None` when there is nothing left.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Input::Tick`] is wanted; `None` means never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Counts for metrics. Walks rooms and stages, not audiences.
    pub fn counters(&self) -> Counters {
        let mut c = Counters { rooms: self.rooms.len(), ..Counters::default() };
        for r in self.rooms.values() {
            c.visitors += r.roster.visitors();
            c.on_stage += r.roster.on_stage() - usize::from(r.roster.focus().is_some());
            c.moderators += r.moderators().count();
            c.in_lobbies += r.lobby.as_ref().map_or(0, |l| l.people.len());
            c.waiting_for_unlock += r.lock_queue.len();
            c.waiting_for_turn += r.rate_queue.len();
        }
        c
    }

    /// Rooms for the admin API: real address, id, people on stage, visitors.
    pub fn rooms(&self) -> impl Iterator<Item = (&BareJid, RoomId, usize, usize)> {
        self.rooms.iter().map(|(jid, r)| (jid, r.id, r.roster.on_stage(), r.roster.visitors()))
    }

    fn operate(&mut self, now: Instant, wall: u64, room: Option<BareJid>, act: Act) -> Result<Told, ActError> {
        let Some(room) = room else {
            let all = self.rooms.values().filter(|r| r.is_for_people());
            return Ok(Told::Rooms(all.map(Room::status).collect()));
        };
        let mut result = Err(ActError::NoSuchRoom);
        self.in_room(now, wall, &room, |r, cx| result = r.operate(cx, act));
        result
    }

    fn stanza(&mut self, now: Instant, wall: u64, from: &Origin, to: &Jid, stanza: Stanza) {
        let peer = match from {
            Origin::Local(s) => Peer::local(s.clone()),
            Origin::Remote => match stanza.from() {
                Ok(Some(jid)) => Peer { jid, session: None },
                // The stream answers for this: a stanza between servers has an address.
                _ => return,
            },
        };
        // From here on a stanza is what a client would send, whatever stream it came on.
        let stanza =
            if stanza.root().ns() == ns::SERVER { stanza.rewrite().set("xmlns", ns::CLIENT).stanza() } else { stanza };
        let Some(room) = address::room_of(&self.cfg, from, to, &stanza) else { return };
        let rq = Request { peer: &peer, to, stanza: &stanza };
        if !self.rooms.contains_key(&room) && !self.create(now, wall, &room, &rq) {
            return;
        }
        let direct = to.local().is_some();
        self.in_room(now, wall, &room, |r, cx| {
            if is_lobby(cx.cfg, rq.to) && direct {
                r.handle_lobby(cx, &rq);
            } else if direct {
                r.handle(cx, &rq);
            } else {
                r.handle_for_component(cx, &rq);
            }
        });
    }

    /// A stanza for a room that does not exist. `true` if it exists now.
    fn create(&mut self, now: Instant, wall: u64, room: &BareJid, rq: &Request<'_>) -> bool {
        let cfg = self.cfg.clone();
        let joins = rq.stanza.kind() == StanzaKind::Presence
            && rq.stanza.ty().is_none()
            && rq.to.resource().is_some()
            && rq.peer.full().is_some()
            && rq.stanza.child("x", ns::MUC).is_some();
        let decided = if joins && is_lobby(&cfg, rq.to) {
            // There is a lobby only while its meeting has one; clients then try the meeting itself.
            Err(RoomError::CreationRestricted)
        } else if joins {
            may_create(&cfg, room, rq)
        } else {
            Err(RoomError::NoSuchRoom)
        };
        let Some((muc, _)) = cfg.muc(room.domain()) else { return false };
        match decided {
            Ok(()) => {
                self.next_room += 1;
                let id = RoomId(self.index | self.next_room);
                let mut cx = self.cx(&cfg, now, wall);
                let r = Room::new(&mut cx, id, room.clone(), muc);
                self.rooms.insert(room.clone(), r);
                true
            }
            Err(e) => {
                let silent = rq.stanza.kind() == StanzaKind::Presence && rq.stanza.ty().is_some();
                if !silent {
                    self.cx(&cfg, now, wall).refuse(rq, &e);
                }
                false
            }
        }
    }

    fn cx<'a>(&'a mut self, cfg: &'a NodeConfig, now: Instant, wall: u64) -> Cx<'a> {
        Cx { cfg, now, wall, rng: &mut self.rng, secret: &self.secret, out: &mut self.out, members: &mut self.members }
    }

    /// Runs something in a room; then arms its timer, or takes it away if it is over.
    fn in_room(&mut self, now: Instant, wall: u64, room: &BareJid, f: impl FnOnce(&mut Room, &mut Cx<'_>)) {
        let cfg = self.cfg.clone();
        let Some(r) = self.rooms.get_mut(room) else { return };
        let mut cx = Cx {
            cfg: &cfg,
            now,
            wall,
            rng: &mut self.rng,
            secret: &self.secret,
            out: &mut self.out,
            members: &mut self.members,
        };
        f(r, &mut cx);
        let unused = r.roster.is_empty() && r.lock_queue.is_empty() && r.rate_queue.is_empty();
        if unused && !r.destroyed {
            // The join for which it was made was refused.
            r.end(&mut cx);
        }
        let (over, id, at) = (r.destroyed, r.id, r.timeout());
        if let Some((shown, state)) = r.news_for_waiting() {
            self.out.push_back(Output::Live { room: room.clone(), shown, state });
        }
        if over {
            self.rooms.remove(room);
            self.out.push_back(Output::Destroyed { room: id });
        }
        let at = at.filter(|_| !over);
        let armed = self.armed.get(room).copied();
        if armed == at {
            return;
        }
        if let Some(old) = armed {
            self.timers.remove(&(old, room.clone()));
            self.armed.remove(room);
        }
        if let Some(at) = at {
            self.timers.insert((at, room.clone()));
            self.armed.insert(room.clone(), at);
        }
    }
}

/// Who may create a room (`spec/signaling.md` 3.3).
fn may_create(cfg: &NodeConfig, room: &BareJid, rq: &Request<'_>) -> Result<(), RoomError> {
    let Some((_, service)) = cfg.muc(room.domain()) else { return Err(RoomError::NoSuchRoom) };
    let admin = rq.peer.is_admin(cfg);
    if let Some(access) = &service.access
        && !admin
        && !access.has(&rq.peer.jid)
    {
        return Err(RoomError::NoAccess);
    }
    if is_health_room(room) && rq.to.resource() != Some("focus") {
        return Err(RoomError::HealthRoom);
    }
    token::verify_room(cfg, service, rq.peer, room, None)?;
    // A shadow room without its focus would serve nobody.
    let focus_only = cfg.node().is_some() && service.kind == crate::config::MucKind::Conference;
    if admin || (!focus_only && (!service.restrict_creation || service.creators.has(&rq.peer.jid))) {
        return Ok(());
    }
    Err(RoomError::CreationRestricted)
}
