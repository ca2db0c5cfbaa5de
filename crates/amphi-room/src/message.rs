//! Messages to the room: group chat, subjects, JSON for the server itself (`spec/signaling.md` 3.7).

use std::sync::Arc;

use amphi_stanza::{Frame, Rewrite, Stanza, ns};
use amphi_visitors::wire::AMPHI;

use crate::context::{Cx, Request, occupant_jid};
use crate::error::RoomError;
use crate::leave::Leaving;
use crate::occupant::{MucRole, Occupant};
use crate::presence::Note;
use crate::room::{Room, RoomKind};
use crate::{Broadcast, Groups, Output};

/// Error conditions after which an occupant is taken for lost (`spec/signaling.md` 3.1).
const LOST: [&str; 4] = ["recipient-unavailable", "remote-server-not-found", "remote-server-timeout", "gone"];

/// Whether an error says that its sender cannot be reached.
pub(crate) fn says_lost(stanza: &Stanza) -> bool {
    let error = stanza.child("error", ns::CLIENT);
    error.is_some_and(|e| e.children().any(|c| c.ns() == ns::STANZAS && LOST.contains(&c.name())))
}

/// What clients may not say of themselves in a message.
pub(crate) fn is_name(name: &str, namespace: &str) -> bool {
    matches!((name, namespace), ("nick", ns::NICK) | ("display-name", ns::DISPLAY_NAME))
}

fn is_servers_own(name: &str, namespace: &str) -> bool {
    is_name(name, namespace)
        || matches!(namespace, ns::OCCUPANT_ID | ns::STANZA_ID | ns::MUC_USER | ns::DELAY | ns::ADDRESS | AMPHI)
}

/// The message without what clients may not say.
pub(crate) fn cleaned(stanza: &Stanza) -> Rewrite<'_> {
    let r = stanza.rewrite().set("xmlns", ns::CLIENT);
    if stanza.children().any(|e| is_servers_own(e.name(), e.ns())) {
        r.keep(|e| !is_servers_own(e.name(), e.ns()))
    } else {
        r
    }
}

impl Room {
    pub(crate) fn handle_message(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        let ty = rq.stanza.ty();
        if ty.as_deref() == Some("error") {
            if rq.peer.full().is_some_and(|f| self.is_bounce_of_node(&f)) {
                return;
            }
            if self.error_from_main(cx, rq) {
                return;
            }
            return self.bounced(cx, rq);
        }
        match (rq.to.resource(), ty.as_deref()) {
            (None, Some("groupchat")) => self.group_message(cx, rq),
            (None, _) => self.other_message(cx, rq),
            (Some(_), Some("groupchat")) => {
                cx.refuse(rq, &RoomError::BadRequest("Group messages go to the room, not to an occupant"));
            }
            (Some(nick), _) => self.private_message(cx, rq, nick),
        }
    }

    /// An error that came back: whoever cannot be reached is no longer here.
    pub(crate) fn bounced(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        if !says_lost(rq.stanza) {
            return;
        }
        if let Some(nick) = self.sender(rq).map(|o| o.nick.clone()) {
            let note = Note { gone: true, codes: vec![333], ..Note::default() };
            self.leave(cx, &nick, None, note, Leaving::Lost);
        }
    }

    fn group_message(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        let Some(o) = self.sender(rq).cloned() else {
            return self.message_of_outsider(cx, rq);
        };
        // Lines of the stage are numbered on their way to a node, and are sent again after a loss.
        if !o.peer.is_local() && !self.is_news(rq.stanza) {
            return;
        }
        let body = rq.plain("body").is_some();
        if body && !self.may_chat(&o) {
            return cx.refuse(rq, &RoomError::ChatRestricted);
        }
        if !body && rq.plain("subject").is_some() {
            return self.change_subject(cx, rq, &o);
        }
        if !body && let Some(json) = rq.stanza.child("json-message", ns::JITMEET) {
            let text = json.text().into_owned();
            match self.json_message(cx, &o, &text) {
                Ok(Handled::Swallowed) => return,
                Ok(Handled::No) => {}
                Err(e) => return cx.refuse(rq, &e),
            }
        }
        if o.is_visitor() {
            return self.visitor_message(cx, rq, &o);
        }
        let said = cleaned(rq.stanza).stanza();
        let kept = self.say(cx, &o, &said);
        self.mirror_message(cx, &o, &said, kept.as_ref());
    }

    /// Whether somebody may write to all while the chat is restricted (`spec/signaling.md` 3.7).
    fn may_chat(&self, o: &Occupant) -> bool {
        let restricted = self.metadata.get("permissions").and_then(|p| p.get("groupChatRestricted"));
        if restricted != Some(&serde_json::Value::Bool(true)) || o.traits.admin {
            return true;
        }
        let claims = o.peer.session.as_ref().and_then(|s| s.claims.as_ref());
        match claims.and_then(|c| c.features.as_ref()) {
            Some(features) => features.get("send-groupchat") == Some(&true),
            None => o.role == MucRole::Moderator,
        }
    }

    /// Delivers what an occupant says to everybody here, itself included. Returns the form that the history keeps.
    pub(crate) fn say(&mut self, cx: &mut Cx<'_>, o: &Occupant, said: &Stanza) -> Option<Stanza> {
        let id = self.occupant_id(cx, &o.peer);
        let stanza = said
            .rewrite()
            .set("from", occupant_jid(&self.real, &o.nick))
            .unset("to")
            .append(|w| {
                w.open_ns("occupant-id", ns::OCCUPANT_ID).attr("id", id).close();
            })
            .stanza();
        let frame = if self.real == self.virt {
            Frame::of(&stanza)
        } else {
            stanza.rewrite().set("from", occupant_jid(&self.virt, &o.nick)).frame()
        };
        self.broadcast(cx, Groups::ALL, frame);
        self.send_to_remote(cx, &stanza);
        let name = self.history_name(o);
        self.keep(cx, &stanza, name.as_ref().map(|(s, n)| (*s, n.as_str())))
    }

    /// Delivers a message of the room itself, or of somebody who is not an occupant here, to everybody here.
    pub(crate) fn say_as_room(&mut self, cx: &mut Cx<'_>, message: Rewrite<'_>) {
        let stanza = message.set("from", &self.virt).unset("to").stanza();
        self.broadcast(cx, Groups::ALL, Frame::of(&stanza));
        if self.sends_to_remote() {
            let real = stanza.rewrite().set("from", &self.real).stanza();
            self.send_to_remote(cx, &real);
        }
    }

    pub(crate) fn broadcast(&self, cx: &mut Cx<'_>, to: Groups, frame: Frame) {
        cx.push(Output::Broadcast(Broadcast { room: self.id, to, except: None, frame: Arc::new(frame) }));
    }

    fn sends_to_remote(&self) -> bool {
        self.kind != RoomKind::Shadow && self.roster.has_remote()
    }

    fn send_to_remote(&self, cx: &mut Cx<'_>, stanza: &Stanza) {
        if self.sends_to_remote() {
            for r in self.roster.remote() {
                cx.route(stanza.rewrite().set("to", &r.peer.jid).stanza());
            }
        }
    }

    /// Name and its source for the history (`spec/signaling.md` 3.7).
    fn history_name(&self, o: &Occupant) -> Option<(&'static str, String)> {
        let claims = o.peer.session.as_ref().and_then(|s| s.claims.as_ref());
        if let Some(name) = claims.and_then(|c| c.user_str("name")) {
            return Some(("token", name));
        }
        o.display_name().map(|n| ("guest", n))
    }

    fn change_subject(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, o: &Occupant) {
        if o.role != MucRole::Moderator {
            return cx.refuse(rq, &RoomError::SubjectForModerators);
        }
        let limits = &cx.cfg.limits;
        let long = rq.plain("subject").is_some_and(|s| s.inner().len() > limits.text);
        if long || rq.stanza.raw().len() > limits.history_message {
            return cx.refuse(rq, &RoomError::TooMuch("The subject is too long"));
        }
        let id = self.occupant_id(cx, &o.peer);
        let stanza = cleaned(rq.stanza)
            .set("from", occupant_jid(&self.real, &o.nick))
            .unset("to")
            .append(|w| {
                w.open_ns("occupant-id", ns::OCCUPANT_ID).attr("id", id).close();
            })
            .stanza();
        let frame = stanza.rewrite().set("from", occupant_jid(&self.virt, &o.nick)).frame();
        self.broadcast(cx, Groups::ALL, frame);
        self.send_to_remote(cx, &stanza);
        self.subject = Some(stanza);
    }

    /// A message that the server may be meant by.
    fn json_message(&mut self, cx: &mut Cx<'_>, o: &Occupant, text: &str) -> Result<Handled, RoomError> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|_| RoomError::BadRequest("The JSON in the message is not valid"))?;
        match value.get("type").and_then(serde_json::Value::as_str) {
            Some("transcription-result") if !cx.cfg.is_transcriber(&o.peer.jid) => Err(RoomError::Forbidden),
            Some("visitors") => self.visitors_message(cx, o, text),
            _ => Ok(Handled::No),
        }
    }

    /// A message that is not for the group: only invitations make sense.
    fn other_message(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        if let Err(e) = self.invite(cx, rq) {
            cx.refuse(rq, &e);
        }
    }
}

/// Whether somebody inside the server took a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handled {
    /// It goes on to the room.
    No,
    /// It ends here.
    Swallowed,
}
