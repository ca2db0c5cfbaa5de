//! What ties a room to the rooms that mirror it, or that it mirrors; and the hooks through which the rest of the room tells
//! it what happens. The rules are in `amphi-visitors`.

use std::sync::Arc;
use std::time::Instant;

use amphi_stanza::{BareJid, Stanza, ns};
use amphi_visitors::{MainLinks, Shadow};
use bytes::Bytes;

use crate::PeerState;
use crate::config::{NodeConfig, Role};
use crate::context::{Cx, Request};
use crate::error::RoomError;
use crate::leave::Leaving;
use crate::message::Handled;
use crate::occupant::{MucRole, Occupant, Peer};
use crate::room::{Room, RoomKind};

pub(crate) enum Side {
    /// Neither mirrors nor is mirrored.
    None,
    /// A main room.
    Main(Box<MainLinks>),
    /// A room of a visitor node.
    Shadow(Box<Shadow>),
}

/// What the visitor gate says of a join.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gate {
    /// The room's password is taken as given, and no seat is asked for.
    pub(crate) promoted: bool,
    /// Metadata tells everybody of the promotion.
    pub(crate) mark: bool,
    /// In the ignore list: needs no seat and is not counted.
    pub(crate) ignored: bool,
}

impl Side {
    pub(crate) fn new(cx: &mut Cx<'_>, kind: RoomKind, real: &BareJid, virt: &BareJid) -> Self {
        match (&cx.cfg.role, kind) {
            (Role::Main(m), RoomKind::Main) if m.visitors.is_some() => {
                Self::Main(Box::new(crate::main_side::links(cx, m, real, virt)))
            }
            (Role::VisitorNode(v), RoomKind::Shadow) => {
                Self::Shadow(Box::new(crate::node_side::shadow(cx.cfg, v, real)))
            }
            _ => Self::None,
        }
    }

    pub(crate) fn timeout(&self) -> Option<Instant> {
        match self {
            Self::None => None,
            Self::Main(l) => l.poll_timeout(),
            Self::Shadow(s) => s.poll_timeout(),
        }
    }
}

impl Room {
    pub(crate) fn side_tick(&mut self, cx: &mut Cx<'_>) {
        match &mut self.side {
            Side::None => {}
            Side::Main(l) => {
                let actions = l.tick(cx.now);
                self.do_main(cx, actions);
            }
            Side::Shadow(s) => {
                let actions = s.tick(cx.now);
                self.do_shadow(cx, actions);
            }
        }
    }

    /// A remote domain became reachable, or is not any more.
    pub(crate) fn peer_state(&mut self, cx: &mut Cx<'_>, domain: &str, state: PeerState) {
        match &mut self.side {
            Side::None => {}
            Side::Main(l) => {
                let actions = match state {
                    PeerState::Up { fresh } => l.link_up(cx.now, domain, fresh),
                    PeerState::Down => l.link_down(cx.now, domain),
                };
                self.do_main(cx, actions);
            }
            Side::Shadow(s) => {
                if cx.cfg.node().is_none_or(|n| n.main_muc != domain) {
                    return;
                }
                let actions = match state {
                    PeerState::Up { fresh } => s.main_up(cx.now, fresh),
                    PeerState::Down => s.main_down(cx.now),
                };
                self.do_shadow(cx, actions);
            }
        }
    }

    /// Whether somebody may come in, as far as the audience is concerned (`spec/signaling.md` 3.3, P 7).
    pub(crate) fn visitor_gate(&mut self, cx: &mut Cx<'_>, peer: &Peer, admin: bool) -> Result<Gate, RoomError> {
        if self.health {
            return Ok(Gate::default());
        }
        match &mut self.side {
            Side::Main(links) => crate::main_side::gate(cx, links, peer, admin),
            _ => Ok(Gate { ignored: crate::main_side::is_ignored(cx.cfg, peer), ..Gate::default() }),
        }
    }

    /// The role that a shadow room gives; `None` in other rooms and for administrators.
    pub(crate) fn shadow_role(
        &self,
        cfg: &NodeConfig,
        peer: &Peer,
        nick: &str,
        admin: bool,
    ) -> Result<Option<MucRole>, RoomError> {
        use amphi_visitors::ShadowRole as R;
        let Side::Shadow(s) = &self.side else { return Ok(None) };
        if admin {
            return Ok(None);
        }
        let role = if peer.is_local() || cfg.serves(peer.jid.domain()) {
            s.admit_visitor().map_err(RoomError::Stanza)?
        } else {
            s.role_of_remote(nick)
        };
        Ok(Some(match role {
            R::Visitor => MucRole::Visitor,
            R::Participant => MucRole::Participant,
            R::Moderator => MucRole::Moderator,
        }))
    }

    /// Somebody has come in.
    pub(crate) fn after_join(&mut self, cx: &mut Cx<'_>, o: &Occupant) {
        match &self.side {
            Side::None => {}
            Side::Main(_) => self.main_joined(cx, o),
            Side::Shadow(_) => self.shadow_joined(cx, o),
        }
    }

    /// An occupant sends another presence, which nobody has seen yet. `before`: the last one.
    pub(crate) fn before_presence_change(&mut self, cx: &mut Cx<'_>, nick: &Arc<str>, stanza: &Stanza, before: &Bytes) {
        if stanza.raw() == before {
            return;
        }
        self.start_muted(cx, nick, stanza);
        match &self.side {
            Side::None => {}
            Side::Main(_) => self.main_updated(cx, nick, stanza),
            Side::Shadow(_) => self.shadow_updated(cx, nick, stanza),
        }
    }

    /// Somebody has left.
    pub(crate) fn after_leave(&mut self, cx: &mut Cx<'_>, o: &Occupant, leaving: Leaving) {
        match &self.side {
            Side::None => {}
            Side::Main(_) => self.main_left(cx, o, leaving),
            Side::Shadow(_) => self.shadow_left(cx, o),
        }
    }

    /// The room is over.
    pub(crate) fn after_end(&mut self, cx: &mut Cx<'_>) {
        if let Side::Main(links) = &mut self.side {
            let actions = links.destroyed(cx.now);
            self.do_main(cx, actions);
        }
    }

    /// Password, meeting id or the like are others now.
    pub(crate) fn after_settings(&mut self, cx: &mut Cx<'_>) {
        if matches!(self.side, Side::Main(_)) {
            self.policy_changed();
            self.tell_room_state(cx);
        }
    }

    /// Roles or affiliations changed.
    pub(crate) fn after_role_change(&mut self, cx: &mut Cx<'_>, nick: &str) {
        if matches!(self.side, Side::Main(_)) {
            self.main_role_changed(cx, nick);
        }
    }

    /// What somebody on stage said goes to the nodes. `kept`: as the history has it.
    pub(crate) fn mirror_message(&mut self, cx: &mut Cx<'_>, o: &Occupant, said: &Stanza, kept: Option<&Stanza>) {
        if matches!(self.side, Side::Main(_)) {
            self.main_said(cx, o, said, kept);
        }
    }

    /// A JSON message of type `visitors`.
    pub(crate) fn visitors_message(&mut self, cx: &mut Cx<'_>, o: &Occupant, text: &str) -> Result<Handled, RoomError> {
        match &self.side {
            Side::Main(_) => self.main_moderator_message(cx, o, text),
            _ => Ok(Handled::No),
        }
    }

    /// Group chat of somebody who is not in the room: a visitor's, on its way to or from the main room.
    pub(crate) fn message_of_outsider(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        match &self.side {
            Side::Main(_) if !rq.peer.is_local() => self.main_chat_of_visitor(cx, rq),
            Side::Shadow(_) if !rq.peer.is_local() => self.shadow_chat_from_main(cx, rq),
            _ => cx.refuse(rq, &RoomError::NotOccupant),
        }
    }

    /// Private message of somebody who is not in the room.
    pub(crate) fn private_message_of_outsider(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, nick: &str) {
        match &self.side {
            Side::Main(_) if !rq.peer.is_local() => self.main_private_of_visitor(cx, rq, nick),
            _ => cx.refuse(rq, &RoomError::NotOccupant),
        }
    }

    /// An IQ or a replayed message to a component or host that acts for this room.
    pub(crate) fn handle_for_component(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        if cx.cfg.metadata.as_deref() == Some(rq.to.domain()) {
            return self.handle_metadata(cx, rq);
        }
        let history = rq.stanza.child("delay", ns::DELAY).is_some();
        match &self.side {
            Side::Main(_) => self.main_iq(cx, rq),
            Side::Shadow(_) if history => self.shadow_history(cx, rq),
            Side::Shadow(_) => self.shadow_iq(cx, rq),
            Side::None => cx.refuse(rq, &RoomError::Unsupported("This room has no visitors")),
        }
    }
}
