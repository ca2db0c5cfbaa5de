//! What visitors send to the stage, and what moderators send about visitors (`spec/signaling.md` 4.7 to 4.9).

use std::time::Instant;

use amphi_stanza::{Condition, ErrorType, FullJid, Stanza, StanzaError, ns};

use super::{Action, MainLinks, Occupant};
use crate::promotion::{Answer, Requested};
use crate::wire::{
    ModeratorJson, Payload, PromotionRequest, PromotionResponse, VisitorsIq, WireError, demote_request, moderator_json,
    promotion_notice, set,
};

impl MainLinks {
    /// Whether `from` may speak for a visitor: same room, on a connected node.
    pub fn is_visitor(&self, from: &FullJid) -> bool {
        from.local() == Some(self.addr.room.node()) && self.is_node_muc(from.domain())
    }

    /// Group chat of a visitor, after the room's filters. To the stage and to every other node. `history` as in
    /// [`MainLinks::groupchat`].
    ///
    /// # Errors
    /// If the sender is no visitor of a connected node.
    pub fn groupchat_from_visitor(
        &mut self,
        now: Instant,
        from: &FullJid,
        message: &Stanza,
        history: Option<&Stanza>,
    ) -> Result<Vec<Action>, StanzaError> {
        if !self.is_visitor(from) {
            return Err(not_a_visitor());
        }
        let live = message.rewrite().set("from", &self.addr.room).unset("to").keep(ours_not).stanza();
        let mut out = vec![Action::Deliver(live.clone())];
        // Messages without body are no history (the reference keeps them, which is its accident).
        let history = history.filter(|h| h.child("body", ns::CLIENT).is_some());
        let history = history.map(|h| h.rewrite().set("from", &self.addr.room).unset("to").keep(ours_not).stanza());
        let origin = self.node_by_muc(from.domain()).map(|n| n.addr.host.clone());
        self.lines.push(live, history, origin);
        self.lines_to_nodes(now, &mut out);
        Ok(out)
    }

    /// A private message of a visitor to the occupant `nick`, which exists.
    ///
    /// # Errors
    /// If the sender is no visitor of a connected node.
    pub fn private_from_visitor(
        &self,
        from: &FullJid,
        nick: &str,
        message: &Stanza,
    ) -> Result<Vec<Action>, StanzaError> {
        if !self.is_visitor(from) {
            return Err(not_a_visitor());
        }
        let stanza = message
            .rewrite()
            .set("from", &self.addr.room)
            .unset("to")
            .keep(|c| !c.is("addresses", ns::ADDRESS))
            .append(|w| {
                w.open_ns("addresses", ns::ADDRESS);
                w.open("address").attr("type", "ofrom").attr("jid", from).close().close();
            })
            .stanza();
        Ok(vec![Action::DeliverTo { nick: nick.to_owned(), stanza }])
    }

    /// The text of a json-message that an occupant sent to the room. `Ok(None)`: not for this feature, go on with it.
    /// Otherwise it is swallowed.
    ///
    /// # Errors
    /// What the sender is told; the message is swallowed, too.
    pub fn moderator_message(
        &mut self,
        now: Instant,
        o: &Occupant<'_>,
        text: &str,
    ) -> Result<Option<Vec<Action>>, StanzaError> {
        let request = match moderator_json(text) {
            Ok(None) => return Ok(None),
            Ok(Some(r)) => r,
            Err(e) => return Err(e.stanza_error()),
        };
        if !o.moderator {
            return Err(StanzaError::new(ErrorType::Auth, Condition::Forbidden).text("Only moderators can do this"));
        }
        match request {
            ModeratorJson::PromotionResponse { approved, ids } => self.decide(now, o, approved, &ids).map(Some),
            ModeratorJson::Demote { id, actor } => self.demote(o, &id, &actor).map(Some),
        }
    }

    fn decide(
        &mut self,
        now: Instant,
        o: &Occupant<'_>,
        approved: bool,
        ids: &[String],
    ) -> Result<Vec<Action>, StanzaError> {
        if ids.len() > self.config.ids_per_answer {
            return Err(StanzaError::new(ErrorType::Modify, Condition::PolicyViolation).text("Too many ids"));
        }
        let mut out = Vec::new();
        for id in ids {
            let answer = self.promotions.answer(now, id, approved, || (self.uuid)().to_string());
            if let Some(a) = answer {
                self.tell_hand(&a.pending.visitor, a.pending.nick.as_deref(), false, Some(o.nick), &mut out);
                self.respond(a, &mut out);
            }
        }
        if out.is_empty() {
            return Err(StanzaError::new(ErrorType::Cancel, Condition::ItemNotFound)
                .text("Nobody waits for an answer under this id"));
        }
        self.line_changed(now, &mut out);
        Ok(out)
    }

    /// Sends the decision to the visitor's node.
    fn respond(&mut self, a: Answer, out: &mut Vec<Action>) {
        let Some(node) = self.node_by_host(&a.pending.node).map(|n| n.addr.clone()) else { return };
        let Some(room) = self.shadow(&node) else { return };
        let (_, id) = self.next_id();
        let response = PromotionResponse { jid: a.pending.visitor, username: a.username, allow: a.allow };
        let iq =
            VisitorsIq { room, focus: Some(self.addr.focus.clone()), payload: Payload::PromotionResponse(response) };
        out.push(Action::Send(set(&self.addr.component, &node.host, &id, &iq)));
    }

    pub(super) fn tell_hand(
        &mut self,
        visitor: &str,
        nick: Option<&str>,
        on: bool,
        except: Option<&str>,
        out: &mut Vec<Action>,
    ) {
        let text = promotion_notice(&self.addr.virtual_room, visitor, nick, on);
        self.tell_moderators(None, &text, except, out);
    }

    /// #5, from the node whose host is `node`.
    pub(super) fn raised_hand(
        &mut self,
        now: Instant,
        node: &str,
        r: PromotionRequest,
        out: &mut Vec<Action>,
    ) -> Result<(), StanzaError> {
        // A node speaks for its own visitors only.
        if FullJid::parse(&r.jid).map_or(true, |j| j.domain() != node) {
            return Err(StanzaError::new(ErrorType::Modify, Condition::BadRequest).text("Not a visitor of this node"));
        }
        let (visitor, nick) = (r.jid.clone(), r.nick.clone());
        match self.promotions.request(now, node, r, || (self.uuid)().to_string()) {
            Requested::Same => {}
            Requested::Raised => {
                let kept = self.promotions.pending().find(|p| p.visitor == visitor).and_then(|p| p.nick.clone());
                self.tell_hand(&visitor, kept.as_deref(), true, None, out);
            }
            Requested::Lowered(nick) => self.tell_hand(&visitor, nick.as_deref(), false, None, out),
            Requested::Approved(username) => {
                let pending = crate::promotion::Pending { visitor, node: node.to_owned(), nick };
                self.respond(Answer { pending, username, allow: true }, out);
            }
            Requested::Full => {
                return Err(StanzaError::new(ErrorType::Wait, Condition::ResourceConstraint)
                    .text("Too many visitors wait to be promoted"));
            }
        }
        self.line_changed(now, out);
        Ok(())
    }

    /// An operator lets a visitor come on stage, with or without a raised hand. `None` if its node is not connected, or no
    /// more names can be given out.
    pub fn invite(&mut self, now: Instant, visitor: &FullJid) -> Option<Vec<Action>> {
        let node = self.node_by_host(visitor.domain())?.addr.clone();
        self.shadow(&node)?;
        let waited = self.promotions.pending().any(|p| p.visitor == visitor.as_str());
        let answer = self.promotions.invite(now, visitor.as_str(), &node.host, || (self.uuid)().to_string())?;
        let mut out = Vec::new();
        if waited {
            self.tell_hand(&answer.pending.visitor, answer.pending.nick.as_deref(), false, None, &mut out);
        }
        self.respond(answer, &mut out);
        self.line_changed(now, &mut out);
        Some(out)
    }

    /// An operator sends somebody from the stage into the audience. `None` if nobody on stage has this id.
    pub fn send_to_audience(&mut self, id: &str) -> Option<Vec<Action>> {
        let target = self.roster.get(id).map(|m| m.real.clone())?;
        let text = demote_request(id, id);
        let mut out = vec![self.json_to(Some("chat"), &target, &text)];
        let others: Vec<FullJid> = self.roster.moderators().filter(|(n, _)| *n != id).map(|(_, r)| r.clone()).collect();
        for real in others {
            out.push(self.json_to(Some("chat"), &real, &text));
        }
        Some(out)
    }

    /// A moderator sends somebody from the stage into the audience.
    fn demote(&mut self, o: &Occupant<'_>, id: &str, actor: &str) -> Result<Vec<Action>, StanzaError> {
        if actor != o.nick {
            return Err(WireError::Value("actor").stanza_error_cancel());
        }
        let Some(target) = self.roster.get(id).map(|m| m.real.clone()) else {
            return Err(
                StanzaError::new(ErrorType::Cancel, Condition::ItemNotFound).text("Nobody on stage has this id")
            );
        };
        let text = demote_request(id, actor);
        let mut out = vec![self.json_to(Some("chat"), &target, &text)];
        let others: Vec<FullJid> =
            self.roster.moderators().filter(|(n, _)| *n != o.nick && *n != id).map(|(_, r)| r.clone()).collect();
        for real in others {
            out.push(self.json_to(Some("chat"), &real, &text));
        }
        Ok(out)
    }
}

impl WireError {
    fn stanza_error_cancel(&self) -> StanzaError {
        StanzaError::new(ErrorType::Cancel, Condition::BadRequest).text(self.to_string())
    }
}

fn ours_not(c: &amphi_stanza::Element<'_>) -> bool {
    c.ns() != crate::wire::AMPHI
}

fn not_a_visitor() -> StanzaError {
    StanzaError::new(ErrorType::Auth, Condition::Forbidden).text("Not a visitor of a connected node")
}
