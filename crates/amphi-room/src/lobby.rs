//! The lobby of a meeting: whether there is one, who passes it, who is let in (`spec/signaling.md` 3.9). It belongs to the main
//! room, so that a membership and what it opens are one step; what goes on among those who wait is in `knock.rs`.

use std::sync::Arc;

use amphi_stanza::{BareJid, Condition, Element, ErrorType, Jid, Stanza, StanzaError, XmlWriter, ns};
use serde_json::{Value, json};

use crate::Output;
use crate::context::{Cx, Request, occupant_jid};
use crate::destroy::Destroy;
use crate::error::RoomError;
use crate::knock::Knocker;
use crate::main_side::is_ignored;
use crate::occupant::{Affiliation, MucRole, Peer};
use crate::presence::Note;
use crate::room::{Room, RoomKind};

/// Said to those who wait when there is no lobby any more; with the address of the meeting it means that they may come in.
const CLOSED: &str = "Lobby room closed.";
/// Invitations of one message; more are refused.
const MAX_INVITES: usize = 256;

/// An open lobby.
#[derive(Debug)]
pub(crate) struct Lobby {
    /// Its address, the same inside and outside: lobbies are not mapped to tenants' domains.
    pub(crate) jid: BareJid,
    /// Those who wait, and moderators who look.
    pub(crate) people: Vec<Knocker>,
}

impl Lobby {
    pub(crate) fn by_real(&self, jid: &Jid) -> Option<&Knocker> {
        self.people.iter().find(|k| k.occupant.peer.jid == *jid)
    }

    pub(crate) fn by_nick(&self, nick: &str) -> Option<&Knocker> {
        self.people.iter().find(|k| *k.occupant.nick == *nick)
    }
}

/// Refuses a newcomer: it may wait in the lobby.
fn to_lobby(lobby: &BareJid) -> RoomError {
    let mut w = XmlWriter::new();
    w.open_ns("lobbyroom", ns::JITMEET).text(lobby.as_str()).close();
    let error = StanzaError::new(ErrorType::Auth, Condition::RegistrationRequired);
    let error = StanzaError { app: Some(w.finish_string()), code: Some(407), ..error };
    RoomError::Lobby { error, lobby: Some(lobby.clone()) }
}

/// Refuses a newcomer without a name: moderators must see who knocks.
fn nameless() -> RoomError {
    let mut w = XmlWriter::new();
    w.open_ns("displayname-required", ns::JITMEET).attr("lobby", "true").close();
    let error = StanzaError::new(ErrorType::Modify, Condition::NotAcceptable);
    RoomError::Lobby { error: StanzaError { app: Some(w.finish_string()), code: Some(406), ..error }, lobby: None }
}

fn has_name(stanza: &Stanza) -> bool {
    stanza.child("nick", ns::NICK).is_some_and(|n| !n.text().trim().is_empty())
}

impl Room {
    /// What a newcomer is who has passed the lobby, or why it has not. `known`: its affiliation so far.
    pub(crate) fn pass_lobby(
        &mut self,
        cx: &Cx<'_>,
        peer: &Peer,
        stanza: &Stanza,
        known: Affiliation,
        knows_password: bool,
    ) -> Result<Affiliation, RoomError> {
        let Some(lobby) = cx.cfg.lobby().filter(|_| self.kind == RoomKind::Main) else {
            return if known < Affiliation::Member { Err(RoomError::MembersOnly) } else { Ok(known) };
        };
        if knows_password || lobby.exempt.has(&peer.jid) || is_ignored(cx.cfg, peer) {
            if known < Affiliation::Member {
                self.remember_affiliation(cx, &peer.jid, Affiliation::Member);
            }
            return Ok(known.max(Affiliation::Member));
        }
        if self.lobby.is_some() && !has_name(stanza) {
            return Err(nameless());
        }
        match &self.lobby {
            _ if known >= Affiliation::Member => Ok(known),
            Some(l) => Err(to_lobby(&l.jid)),
            None => Err(RoomError::MembersOnly),
        }
    }

    /// Whether a moderator has let somebody in: it needs neither password nor seat.
    pub(crate) fn is_let_in(&self, cx: &Cx<'_>, peer: &Peer) -> bool {
        self.lobby.is_some() && self.affiliation_of(cx.cfg, peer) >= Affiliation::Member
    }

    /// Somebody has changed the configuration: the lobby follows whether the room is for members only.
    pub(crate) fn lobby_follows(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        let actor = self.sender(rq).map(|o| (o.nick.clone(), o.traits.focus));
        if actor.as_ref().is_some_and(|(_, is_focus)| *is_focus) {
            return;
        }
        let is_open = self.lobby.is_some();
        if self.settings.members_only == is_open {
            return;
        }
        if is_open {
            let venue = Some(self.virt.jid().clone());
            self.close_lobby(cx, venue);
        } else if !self.open_lobby(cx) {
            return;
        }
        if let Some((nick, _)) = actor {
            self.tell_of_lobby(cx, &nick, &json!({ "event": "LOBBY-ENABLED", "value": !is_open }));
        }
    }

    fn open_lobby(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some(cfg) = cx.cfg.lobby().filter(|_| self.kind == RoomKind::Main && !self.health) else { return false };
        let Ok(jid) = BareJid::new(self.real.node(), &cfg.domain) else { return false };
        self.lobby = Some(Lobby { jid, people: Vec::new() });
        // Whoever is inside stays, and may come back.
        let inside = self.roster.stage().filter(|o| o.affiliation == Affiliation::None && !o.traits.admin);
        let inside: Vec<Arc<str>> = inside.map(|o| o.nick.clone()).collect();
        for nick in inside {
            let Some(o) = self.roster.get_mut(&nick) else { continue };
            o.affiliation = Affiliation::Member;
            let jid = o.peer.jid.clone();
            self.remember_affiliation(cx, &jid, Affiliation::Member);
            self.show_again(cx, &nick, &Note::default());
        }
        self.set_metadata(cx, "lobbyEnabled", Value::Bool(true));
        cx.push(Output::Lobby { room: self.real.clone(), is_open: true });
        true
    }

    /// Ends the lobby. `venue`: where those who wait may go.
    pub(crate) fn close_lobby(&mut self, cx: &mut Cx<'_>, venue: Option<Jid>) {
        let Some(lobby) = self.lobby.take() else { return };
        let end = Destroy { venue, reason: Some(CLOSED.to_owned()) };
        for Knocker { occupant: o, .. } in &lobby.people {
            let mut w = XmlWriter::new();
            w.open_ns("presence", ns::CLIENT).attr("type", "unavailable");
            w.attr("from", occupant_jid(&lobby.jid, &o.nick)).attr("to", &o.peer.jid).open_ns("x", ns::MUC_USER);
            w.open("item").attr("affiliation", "none").attr("role", "none").close();
            end.write(&mut w);
            w.open("status").attr("code", 110).close();
            cx.send(&o.peer, w.finish());
            cx.forget_member(&o.peer, &lobby.jid);
        }
        cx.push(Output::Lobby { room: self.real.clone(), is_open: false });
        if !self.destroyed {
            self.set_metadata(cx, "lobbyEnabled", Value::Bool(false));
        }
    }

    /// Tells the meeting what somebody in it did about the lobby.
    pub(crate) fn tell_of_lobby(&mut self, cx: &mut Cx<'_>, actor: &str, what: &Value) {
        let Some(o) = self.roster.get(actor).cloned() else { return };
        let mut what = what.clone();
        what["type"] = "lobby-notify".into();
        let mut w = XmlWriter::new();
        w.open_ns("message", ns::CLIENT).attr("type", "groupchat").open_ns("json-message", ns::JITMEET);
        w.text(what.to_string()).close();
        let stanza = w.stanza();
        self.say(cx, &o, &stanza);
    }

    /// What became of somebody who waited.
    pub(crate) fn tell_decision(&mut self, cx: &mut Cx<'_>, actor: &str, nick: &str, is_granted: bool) {
        let Some(lobby) = &self.lobby else { return };
        let Some(k) = lobby.by_nick(nick) else { return };
        let event = if is_granted { "LOBBY-ACCESS-GRANTED" } else { "LOBBY-ACCESS-DENIED" };
        let mut what = json!({ "event": event, "value": occupant_jid(&lobby.jid, nick).as_str() });
        if let Some(name) = k.occupant.display_name() {
            what["name"] = name.into();
        }
        self.tell_of_lobby(cx, actor, &what);
    }

    /// Somebody who waits has become a member by other means than an invitation: it is told to come in.
    pub(crate) fn membership_given(&mut self, cx: &mut Cx<'_>, actor: Option<&str>, jid: &Jid) {
        let Some(lobby) = &self.lobby else { return };
        let waits = |k: &&Knocker| k.occupant.peer.bare() == jid.bare_str();
        let found = lobby.people.iter().find(waits).map(|k| k.occupant.clone());
        let Some(o) = found.filter(|o| self.roster.by_real(&o.peer.jid).is_none()) else { return };
        self.send_invitation(cx, &o.peer.jid, self.virt.jid().clone(), None);
        if let Some(actor) = actor {
            self.tell_decision(cx, actor, &o.nick, true);
        }
    }

    /// Invitations in a message to the room: in a room for members they let people in (`spec/signaling.md` 3.9).
    pub(crate) fn invite(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) -> Result<(), RoomError> {
        let x = rq.stanza.child("x", ns::MUC_USER);
        let invites: Vec<Element<'_>> =
            x.into_iter().flat_map(|x| x.children()).filter(|e| e.is("invite", ns::MUC_USER)).collect();
        if invites.is_empty() {
            return Err(RoomError::BadRequest("The room takes group messages and invitations"));
        }
        if invites.len() > MAX_INVITES {
            return Err(RoomError::TooMuch("Too many invitations in one message"));
        }
        let Some(o) = self.sender(rq).cloned() else { return Err(RoomError::NotOccupant) };
        if self.kind == RoomKind::Shadow || (self.settings.members_only && o.role != MucRole::Moderator) {
            return Err(RoomError::Forbidden);
        }
        for i in invites {
            let to = i.attr("to").and_then(|t| Jid::parse(&t).ok());
            let Some(to) = to else { return Err(RoomError::BadRequest("The invitation has no address")) };
            if self.settings.members_only
                && self.affiliation(cx.cfg, &to) == Affiliation::None
                && !self.remember_affiliation(cx, &to, Affiliation::Member)
            {
                return Err(RoomError::TooMuch("The room's list of members is full"));
            }
            let reason = i.child("reason", ns::MUC_USER).map(|r| r.text().into_owned());
            self.send_invitation(cx, &to, o.peer.jid.clone(), reason.as_deref());
            let waits = self.lobby.as_ref().and_then(|l| l.by_real(&to)).map(|k| k.occupant.nick.clone());
            if let Some(nick) = waits {
                self.tell_decision(cx, &o.nick, &nick, true);
            }
        }
        Ok(())
    }

    /// An invitation as its receiver sees it. It never has the password in it: a member needs none.
    fn send_invitation(&self, cx: &mut Cx<'_>, to: &Jid, from: Jid, reason: Option<&str>) {
        // The receiver is on this node if anywhere, so it gets the form that local connections know.
        let mut w = XmlWriter::new();
        w.open_ns("message", ns::CLIENT).attr("from", &self.virt).attr("to", to).open_ns("x", ns::MUC_USER);
        w.open("invite").attr("from", from);
        if let Some(r) = reason {
            w.text_element("reason", r);
        }
        w.close();
        let stanza = w.stanza();
        cx.route(stanza);
    }
}
