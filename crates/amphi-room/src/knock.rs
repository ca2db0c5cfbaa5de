//! Inside the lobby: a small room of its own kind. Moderators see everybody who waits; those who wait see themselves, and
//! hear moderators (`spec/signaling.md` 3.9). The stanzas here are those for `<room>@lobby.<domain>`.

use std::sync::Arc;

use amphi_stanza::{Element, Jid, Stanza, StanzaKind, XmlWriter, ns};
use bytes::Bytes;

use crate::context::{Cx, Request, occupant_jid};
use crate::error::RoomError;
use crate::join::unavailable;
use crate::lobby::Lobby;
use crate::message::cleaned;
use crate::occupant::{Affiliation, MucRole, Occupant, Peer, Traits};
use crate::presence::{Note, View};
use crate::rate::Pace;
use crate::room::Room;
use crate::{Output, Session, nick, token};

/// Somebody in the lobby.
#[derive(Debug)]
pub(crate) struct Knocker {
    pub(crate) occupant: Occupant,
    /// What it may still send: moderators read it all.
    pace: Pace,
}

impl Room {
    /// A stanza to the lobby or to somebody in it.
    pub(crate) fn handle_lobby(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        let ty = rq.stanza.ty();
        if ty.as_deref() == Some("error") || (rq.stanza.kind() == StanzaKind::Iq && ty.as_deref() == Some("result")) {
            return;
        }
        let done = match (rq.stanza.kind(), &self.lobby) {
            _ if !rq.peer.is_local() => Err(RoomError::NoAccess),
            (StanzaKind::Presence, None) if ty.is_some() => Ok(()),
            // Clients then try the meeting itself again: the lobby may have been switched off a moment ago.
            (StanzaKind::Presence, None) => Err(RoomError::CreationRestricted),
            (_, None) => Err(RoomError::NoSuchRoom),
            (StanzaKind::Presence, _) => self.lobby_presence(cx, rq, ty.as_deref()),
            (StanzaKind::Message, _) => self.lobby_message(cx, rq, ty.as_deref() == Some("groupchat")),
            (StanzaKind::Iq, _) => self.lobby_iq(cx, rq, ty.as_deref() == Some("set")),
            (StanzaKind::Other, _) => Ok(()),
        };
        if let Err(e) = done {
            cx.refuse(rq, &e);
        }
    }

    /// Whoever moderates the meeting does so in its lobby.
    fn moderates(&self, cx: &Cx<'_>, peer: &Peer) -> bool {
        self.affiliation_of(cx.cfg, peer) == Affiliation::Owner
            || self.roster.by_real(&peer.jid).is_some_and(|o| o.role == MucRole::Moderator)
    }

    fn lobby_presence(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, ty: Option<&str>) -> Result<(), RoomError> {
        let Some(lobby) = &self.lobby else { return Err(RoomError::NoSuchRoom) };
        let here = lobby.by_real(&rq.peer.jid).map(|k| k.occupant.nick.clone());
        match (ty, here) {
            (Some("unavailable"), Some(nick)) => {
                let words = self.clean_presence(rq.peer, rq.stanza);
                self.leave_lobby(cx, &nick, Some(words), Note::gone());
                Ok(())
            }
            (Some("unavailable"), None) => Ok(()),
            (Some(_), _) => Err(RoomError::Unsupported("A room has no roster")),
            (None, here) => {
                let Some(wanted) = rq.to.resource() else { return Err(RoomError::NoNick) };
                if rq.stanza.raw().len() > cx.cfg.limits.presence {
                    return Err(RoomError::TooMuch("The presence is too long"));
                }
                match here {
                    Some(n) if *n != *wanted => Err(RoomError::NickChange),
                    Some(n) => self.show_in_lobby(cx, rq, &n),
                    None if rq.stanza.child("x", ns::MUC).is_none() => Err(RoomError::NotInRoom),
                    None => self.knock(cx, rq, wanted),
                }
            }
        }
    }

    /// Somebody comes into the lobby.
    fn knock(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, wanted: &str) -> Result<(), RoomError> {
        let (peer, service) = (rq.peer, self.service(cx.cfg));
        token::verify_room(cx.cfg, service, peer, &self.real, self.settings.allow_unauthenticated)?;
        nick::check(service, peer, wanted, peer.is_admin(cx.cfg))?;
        if self.affiliation_of(cx.cfg, peer) == Affiliation::Outcast {
            return Err(RoomError::Banned);
        }
        let moderates = self.moderates(cx, peer);
        let Some(lobby) = &self.lobby else { return Err(RoomError::NoSuchRoom) };
        let holder = lobby.by_nick(wanted).map(|k| k.occupant.peer.bare() == peer.bare());
        match holder {
            Some(false) => return Err(RoomError::NickTaken),
            // The same account again: its older connection gives way.
            Some(true) => self.leave_lobby(cx, &Arc::from(wanted), None, Note::gone()),
            None => {}
        }
        if !moderates && self.knocking(cx) >= cx.cfg.limits.lobby {
            cx.push(Output::Refused("lobby-full"));
            return Err(RoomError::QueueFull);
        }
        let stanza = self.clean_presence(peer, rq.stanza);
        let o = Occupant {
            peer: peer.clone(),
            nick: wanted.into(),
            role: MucRole::Participant,
            affiliation: Affiliation::None,
            traits: Traits::default(),
            seq: 0,
            presence: Bytes::copy_from_slice(stanza.raw()),
            machine: None,
        };
        let Some(lobby) = &mut self.lobby else { return Err(RoomError::NoSuchRoom) };
        cx.note_member(peer, &lobby.jid);
        let pace = Pace::new(Some(cx.cfg.limits.audience_chat.person_burst));
        lobby.people.push(Knocker { occupant: o.clone(), pace });
        let Some(lobby) = &self.lobby else { return Err(RoomError::NoSuchRoom) };
        if moderates {
            for k in &lobby.people {
                if !self.moderates(cx, &k.occupant.peer) {
                    self.send_lobby_presence(cx, lobby, &k.occupant, &k.occupant.stanza(), &Note::default(), peer);
                }
            }
        }
        self.announce_in_lobby(cx, lobby, &o, &stanza, &Note::default());
        Ok(())
    }

    /// People who wait, moderators not counted.
    pub(crate) fn knocking(&self, cx: &Cx<'_>) -> usize {
        let people = self.lobby.iter().flat_map(|l| &l.people);
        people.filter(|k| !self.moderates(cx, &k.occupant.peer)).count()
    }

    /// Another presence of somebody in the lobby.
    fn show_in_lobby(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, nick: &Arc<str>) -> Result<(), RoomError> {
        self.pace_in_lobby(cx, rq.peer)?;
        let stanza = self.clean_presence(rq.peer, rq.stanza);
        let Some(lobby) = &mut self.lobby else { return Ok(()) };
        let Some(k) = lobby.people.iter_mut().find(|k| k.occupant.nick == *nick) else { return Ok(()) };
        k.occupant.presence = Bytes::copy_from_slice(stanza.raw());
        let o = k.occupant.clone();
        if let Some(lobby) = &self.lobby {
            self.announce_in_lobby(cx, lobby, &o, &stanza, &Note::default());
        }
        Ok(())
    }

    /// To the occupant itself, and to moderators when it waits or leaves.
    fn announce_in_lobby(&self, cx: &mut Cx<'_>, lobby: &Lobby, o: &Occupant, stanza: &Stanza, note: &Note) {
        self.send_lobby_presence(cx, lobby, o, stanza, note, &o.peer);
        // Moderators do not wait, so the others need not know of them.
        if self.moderates(cx, &o.peer) && !note.gone {
            return;
        }
        for k in lobby.people.iter().filter(|k| k.occupant.nick != o.nick) {
            if self.moderates(cx, &k.occupant.peer) {
                self.send_lobby_presence(cx, lobby, o, stanza, note, &k.occupant.peer);
            }
        }
    }

    fn send_lobby_presence(
        &self,
        cx: &mut Cx<'_>,
        lobby: &Lobby,
        o: &Occupant,
        stanza: &Stanza,
        note: &Note,
        to: &Peer,
    ) {
        let affiliation = self.affiliation_of(cx.cfg, &o.peer);
        let role = if self.moderates(cx, &o.peer) { MucRole::Moderator } else { MucRole::Participant };
        let o = Occupant { affiliation, role, ..o.clone() };
        let view = if o.peer.jid == to.jid { View::Own } else { View::Moderator };
        let bytes = self.presence(cx, &lobby.jid, &o, stanza, note, view).set("to", &to.jid).finish();
        cx.send(to, bytes);
    }

    fn leave_lobby(&mut self, cx: &mut Cx<'_>, nick: &Arc<str>, words: Option<Stanza>, note: Note) {
        let Some(lobby) = &mut self.lobby else { return };
        let Some(i) = lobby.people.iter().position(|k| k.occupant.nick == *nick) else { return };
        let o = lobby.people.remove(i).occupant;
        cx.forget_member(&o.peer, &lobby.jid);
        if let Some(lobby) = &self.lobby {
            self.announce_in_lobby(cx, lobby, &o, &words.unwrap_or_else(unavailable), &note);
        }
    }

    /// The connection of somebody in the lobby has ended.
    pub(crate) fn lobby_session_gone(&mut self, cx: &mut Cx<'_>, session: &Arc<Session>) {
        let here = self.lobby.as_ref().and_then(|l| l.by_real(session.jid.jid())).map(|k| &k.occupant);
        let same = here.filter(|o| o.peer.session.as_ref().is_some_and(|s| s.conn == session.conn));
        if let Some(nick) = same.map(|o| o.nick.clone()) {
            self.leave_lobby(cx, &nick, None, Note::gone());
        }
    }

    /// The connection of somebody in the lobby has other attributes.
    pub(crate) fn lobby_session_changed(&mut self, session: &Arc<Session>) {
        let people = self.lobby.iter_mut().flat_map(|l| &mut l.people);
        for k in people.filter(|k| k.occupant.peer.jid == *session.jid.jid()) {
            k.occupant.peer.session = Some(session.clone());
        }
    }

    /// Whoever waits may not flood the moderators.
    fn pace_in_lobby(&mut self, cx: &Cx<'_>, peer: &Peer) -> Result<(), RoomError> {
        if self.moderates(cx, peer) {
            return Ok(());
        }
        let people = self.lobby.iter_mut().flat_map(|l| &mut l.people);
        let mut own = people.filter(|k| k.occupant.peer.jid == peer.jid);
        if own.next().is_none_or(|k| k.pace.take(cx.now)) {
            Ok(())
        } else {
            Err(RoomError::TooMuch("You are sending too fast"))
        }
    }

    /// What moderators and those who wait say to each other.
    fn lobby_message(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, group: bool) -> Result<(), RoomError> {
        let sender = self.lobby.as_ref().and_then(|l| l.by_real(&rq.peer.jid)).map(|k| k.occupant.clone());
        let Some(from) = sender else { return Err(RoomError::NotOccupant) };
        if rq.stanza.raw().len() > cx.cfg.limits.audience_chat.message {
            return Err(RoomError::TooMuch("The message is too long"));
        }
        self.pace_in_lobby(cx, rq.peer)?;
        let moderates = self.moderates(cx, rq.peer);
        let Some(lobby) = &self.lobby else { return Err(RoomError::NoSuchRoom) };
        let may_hear = |k: &&Knocker| moderates || self.moderates(cx, &k.occupant.peer);
        let receivers: Vec<Peer> = match (rq.to.resource(), group) {
            (None, true) => lobby.people.iter().filter(may_hear).map(|k| k.occupant.peer.clone()).collect(),
            (Some(nick), false) => {
                // For those who wait there is nobody else.
                let to = lobby.by_nick(nick).filter(may_hear).ok_or(RoomError::NoSuchOccupant)?;
                vec![to.occupant.peer.clone()]
            }
            _ => return Err(RoomError::BadRequest("Group messages go to the room, others to an occupant")),
        };
        let id = self.occupant_id(cx, &from.peer);
        let said = cleaned(rq.stanza)
            .set("from", occupant_jid(&lobby.jid, &from.nick))
            .append(|w| {
                if !group {
                    w.empty("x", ns::MUC_USER);
                }
                w.open_ns("occupant-id", ns::OCCUPANT_ID).attr("id", id).close();
            })
            .stanza();
        for to in receivers {
            cx.send(&to, said.rewrite().set("to", &to.jid).finish());
        }
        Ok(())
    }

    fn lobby_iq(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, set: bool) -> Result<(), RoomError> {
        let Some(payload) = rq.stanza.children().next() else {
            return Err(RoomError::BadRequest("An IQ has one payload"));
        };
        if rq.to.resource().is_some() {
            return Err(RoomError::Unsupported("In a lobby nobody is asked anything"));
        }
        match (payload.name(), payload.ns(), set) {
            ("query", ns::DISCO_INFO, false) => {
                let inside = self.lobby.as_ref().is_some_and(|l| l.by_real(&rq.peer.jid).is_some());
                if !inside && !rq.peer.is_admin(cx.cfg) {
                    return Err(RoomError::Forbidden);
                }
                cx.result(rq, describe);
                Ok(())
            }
            ("ping", ns::PING, false) => {
                cx.result(rq, |_| ());
                Ok(())
            }
            ("query", ns::MUC_ADMIN, true) => self.turn_back(cx, rq, payload),
            _ => Err(RoomError::Unsupported("The lobby does not know this request")),
        }
    }

    /// Moderators refuse people by throwing them out.
    fn turn_back(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, query: Element<'_>) -> Result<(), RoomError> {
        let Some(lobby) = &self.lobby else { return Err(RoomError::NoSuchRoom) };
        let actor = lobby.by_real(&rq.peer.jid).map(|k| k.occupant.nick.clone());
        let Some(actor) = actor else { return Err(RoomError::NotOccupant) };
        if !self.moderates(cx, rq.peer) {
            return Err(RoomError::Forbidden);
        }
        let items: Vec<_> = query.children().filter(|e| e.is("item", ns::MUC_ADMIN)).collect();
        if items.is_empty() || items.len() > cx.cfg.limits.lobby {
            return Err(RoomError::BadRequest("The request has no item, or too many"));
        }
        let in_meeting = self.roster.by_real(&rq.peer.jid).map(|o| o.nick.clone());
        for i in items {
            if i.attr("role").as_deref() != Some("none") {
                return Err(RoomError::Unsupported("In a lobby people are refused, or let in by an invitation"));
            }
            let Some(lobby) = &self.lobby else { return Err(RoomError::NoSuchRoom) };
            let named = i.attr("nick").and_then(|n| lobby.by_nick(&n)).map(|k| &k.occupant);
            let o = named.ok_or(RoomError::NoSuchOccupant)?.clone();
            if self.moderates(cx, &o.peer) {
                return Err(RoomError::Forbidden);
            }
            if let Some(actor) = &in_meeting {
                self.tell_decision(cx, actor, &o.nick, false);
            }
            let reason = i.child("reason", ns::MUC_ADMIN).map(|r| r.text().chars().take(1000).collect());
            let note = Note { gone: true, codes: vec![307], actor: Some(actor.to_string()), reason, ..Note::default() };
            self.leave_lobby(cx, &o.nick, None, note);
        }
        cx.result(rq, |_| ());
        Ok(())
    }
}

fn describe(w: &mut XmlWriter) {
    w.open_ns("query", ns::DISCO_INFO);
    w.open("identity").attr("category", "conference").attr("type", "text").attr("name", "Lobby").close();
    for var in [ns::MUC, ns::DISCO_INFO, ns::OCCUPANT_ID, "muc_temporary", "muc_open", "muc_hidden", "muc_nonanonymous"]
    {
        w.open("feature").attr("var", var).close();
    }
    w.close();
}

/// Whether this is an address of a lobby.
pub(crate) fn is_lobby(cfg: &crate::NodeConfig, jid: &Jid) -> bool {
    cfg.lobby().is_some_and(|l| l.domain == jid.domain())
}
