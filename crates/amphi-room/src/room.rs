//! One room: its state, and where each kind of stanza goes. The rules are in the files named after them.

use std::collections::HashMap;
use std::time::Instant;

use amphi_stanza::{BareJid, Jid, Stanza, StanzaKind, ns};
use foldhash::fast::RandomState;

use crate::address::to_virtual;
use crate::config::{MucConfig, MucKind, NodeConfig, Role, is_health_room};
use crate::context::{Cx, Request};
use crate::error::RoomError;
use crate::history::History;
use crate::leave::Leaving;
use crate::live::Live;
use crate::lobby::Lobby;
use crate::metadata::Metadata;
use crate::occupant::{Affiliation, Occupant, Peer};
use crate::presence::Note;
use crate::rate::{LeaveQueue, Pace};
use crate::roster::Roster;
use crate::seats::Seats;
use crate::side::Side;
use crate::waiting::Waiting;
use crate::{RoomId, Session};

/// What the room is on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoomKind {
    /// Authoritative.
    Main,
    /// The audience's mirror of a main room.
    Shadow,
    /// A brewery.
    Internal,
}

/// What owners can change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) password: Option<String>,
    pub(crate) members_only: bool,
    pub(crate) whois_anyone: bool,
    /// Overrides the service's limit.
    pub(crate) max_occupants: Option<u32>,
    /// Set by the main node or a preset: connections without a token may come in.
    pub(crate) allow_unauthenticated: Option<bool>,
}

pub(crate) struct Room {
    pub(crate) id: RoomId,
    /// As on links.
    pub(crate) real: BareJid,
    /// As local connections see it.
    pub(crate) virt: BareJid,
    muc: usize,
    pub(crate) kind: RoomKind,
    pub(crate) health: bool,
    pub(crate) settings: Settings,
    pub(crate) roster: Roster,
    pub(crate) affiliations: HashMap<BareJid, Affiliation, RandomState>,
    pub(crate) subject: Option<Stanza>,
    pub(crate) history: History,
    /// Nobody but the focus may enter yet.
    pub(crate) locked: bool,
    pub(crate) lock_queue: Waiting,
    pub(crate) rate_queue: Waiting,
    pub(crate) joins: Pace,
    pub(crate) leaves: LeaveQueue,
    pub(crate) meeting_id: String,
    /// Milliseconds since the epoch at which the second occupant came.
    pub(crate) created_timestamp: Option<u64>,
    pub(crate) metadata: Metadata,
    pub(crate) seats: Option<Seats>,
    pub(crate) lobby: Option<Lobby>,
    pub(crate) side: Side,
    pub(crate) destroyed: bool,
    pub(crate) live: Live,
}

impl Room {
    pub(crate) fn new(cx: &mut Cx<'_>, id: RoomId, real: BareJid, muc: usize) -> Self {
        let service = &cx.cfg.mucs[muc];
        let kind = match (service.kind, &cx.cfg.role) {
            (MucKind::Internal, _) => RoomKind::Internal,
            (MucKind::Conference, Role::Main(_)) => RoomKind::Main,
            (MucKind::Conference, Role::VisitorNode(_)) => RoomKind::Shadow,
        };
        let virt = to_virtual(cx.cfg, &real).as_bare().unwrap_or_else(|| real.clone());
        let health = is_health_room(&real);
        let side = if health { Side::None } else { Side::new(cx, kind, &real, &virt) };
        Self {
            id,
            health,
            kind,
            muc,
            settings: Settings { whois_anyone: service.public_jids, ..Settings::default() },
            roster: Roster::default(),
            affiliations: HashMap::default(),
            subject: None,
            history: History::default(),
            locked: kind != RoomKind::Internal && !health,
            lock_queue: Waiting::default(),
            rate_queue: Waiting::default(),
            joins: Pace::new(service.joins_per_second),
            leaves: LeaveQueue::new(service.leaves_per_second),
            meeting_id: cx.uuid(),
            created_timestamp: None,
            metadata: Metadata::of_new_room(cx.cfg, kind, health),
            seats: None,
            lobby: None,
            side,
            destroyed: false,
            live: Live::default(),
            virt,
            real,
        }
    }

    pub(crate) fn service<'c>(&self, cfg: &'c NodeConfig) -> &'c MucConfig {
        &cfg.mucs[self.muc]
    }

    /// The room's address as `peer` knows it.
    pub(crate) fn base_for(&self, peer: &Peer) -> &BareJid {
        if peer.is_local() { &self.virt } else { &self.real }
    }

    pub(crate) fn affiliation(&self, cfg: &NodeConfig, jid: &Jid) -> Affiliation {
        let Some(bare) = jid.to_bare().as_bare() else { return Affiliation::None };
        if cfg.admins.contains(&bare) {
            return Affiliation::Owner;
        }
        self.affiliations.get(&bare).copied().unwrap_or(Affiliation::None)
    }

    /// The affiliation of whoever is speaking.
    pub(crate) fn affiliation_of(&self, cfg: &NodeConfig, peer: &Peer) -> Affiliation {
        if peer.is_admin(cfg) { Affiliation::Owner } else { self.affiliation(cfg, &peer.jid) }
    }

    /// The occupant that a stanza is from.
    pub(crate) fn sender(&self, rq: &Request<'_>) -> Option<&Occupant> {
        self.roster.by_real(&rq.peer.jid)
    }

    /// A stanza to the room or to one of its occupants.
    pub(crate) fn handle(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        match rq.stanza.kind() {
            StanzaKind::Presence => self.handle_presence(cx, rq),
            StanzaKind::Message => self.handle_message(cx, rq),
            StanzaKind::Iq => self.handle_iq(cx, rq),
            StanzaKind::Other => {}
        }
    }

    fn handle_presence(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        let ty = rq.stanza.ty();
        if self.kind == RoomKind::Shadow && !rq.peer.is_local() && ty.as_deref() != Some("error") {
            return match rq.to.resource() {
                Some(nick) => self.mirrored_presence(cx, rq, nick),
                None => cx.refuse(rq, &RoomError::NoNick),
            };
        }
        let nick = self.sender(rq).map(|o| o.nick.clone());
        match ty.as_deref() {
            None => {
                let Some(wanted) = rq.to.resource() else { return cx.refuse(rq, &RoomError::NoNick) };
                if rq.stanza.raw().len() > cx.cfg.limits.presence && !rq.peer.is_admin(cx.cfg) {
                    return cx.refuse(rq, &RoomError::TooMuch("The presence is too long"));
                }
                let joins = rq.stanza.child("x", ns::MUC).is_some();
                match nick {
                    Some(n) if *n != *wanted => cx.refuse(rq, &RoomError::NickChange),
                    Some(n) if joins => self.rejoin(cx, rq, &n),
                    Some(n) => self.presence_update(cx, rq, &n),
                    None => self.presence_of_outsider(cx, rq, wanted, joins),
                }
            }
            Some("unavailable") => match nick {
                Some(n) => {
                    let words = self.clean_presence(rq.peer, rq.stanza);
                    self.leave(cx, &n, Some(words), Note::gone(), Leaving::Own);
                }
                None => self.stop_waiting(cx, rq),
            },
            // A bounce: what we send does not arrive any more (XEP-0045 §18.1.2).
            Some("error") => {
                if let Some(n) = nick {
                    let note = Note { gone: true, codes: vec![333], ..Note::default() };
                    self.leave(cx, &n, None, note, Leaving::Lost);
                }
            }
            Some(_) => cx.refuse(rq, &RoomError::Unsupported("A room has no roster")),
        }
    }

    /// A connection's attributes changed.
    pub(crate) fn session_changed(&mut self, session: &std::sync::Arc<Session>) {
        let Some(nick) = self.roster.by_real(session.jid.jid()).map(|o| o.nick.clone()) else { return };
        if let Some(o) = self.roster.get_mut(&nick) {
            o.peer.session = Some(session.clone());
        }
    }

    /// A connection has ended.
    pub(crate) fn session_gone(&mut self, cx: &mut Cx<'_>, session: &std::sync::Arc<Session>) {
        self.lock_queue.remove(session.jid.jid());
        self.rate_queue.remove(session.jid.jid());
        let place = self.roster.by_real(session.jid.jid());
        // A newer connection of the same address may have come before the end of the older one is known.
        if place.is_some_and(|o| o.peer.session.as_ref().is_some_and(|s| s.conn != session.conn)) {
            return;
        }
        if let Some(nick) = place.map(|o| o.nick.clone()) {
            self.leave(cx, &nick, None, Note::gone(), Leaving::Lost);
        } else {
            self.main_session_gone(cx, &session.jid);
        }
    }

    /// When [`Room::tick`] is wanted.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        let joins = (!self.rate_queue.is_empty()).then(|| self.joins.next()).flatten();
        [joins, self.leaves.next(), self.side.timeout()].into_iter().flatten().min()
    }

    pub(crate) fn tick(&mut self, cx: &mut Cx<'_>) {
        self.admit_paced(cx);
        self.announce_paced_leaves(cx);
        self.side_tick(cx);
    }
}
