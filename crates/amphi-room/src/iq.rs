//! IQs to the room, and IQs between occupants, which carry all media signaling (`spec/signaling.md` 3.1).
//!
//! A relayed request gets an id from which the original and the requester can be told again, so nothing is remembered: an
//! answer is only let through to the very connection that asked, even if somebody else has the nick by then.

use amphi_stanza::ns;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::context::{Cx, Request, occupant_jid};
use crate::error::RoomError;
use crate::message::says_lost;
use crate::occupant::Occupant;
use crate::room::{Room, RoomKind};

/// Bytes of the requester's mark in a relayed id.
const MARK: usize = 9;
/// Longest id that is relayed.
const MAX_ID: usize = 1024;

impl Room {
    pub(crate) fn handle_iq(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        match rq.to.resource() {
            None => self.iq_to_room(cx, rq),
            Some(nick) => self.relay_iq(cx, rq, nick),
        }
    }

    fn iq_to_room(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        let set = match rq.stanza.ty().as_deref() {
            Some("get") => false,
            Some("set") => true,
            // Answers to what the room itself asked: clients answer some of it and the room waits for none of it.
            Some("result" | "error") => return,
            _ => return cx.refuse(rq, &RoomError::BadRequest("An IQ is a get, set, result or error")),
        };
        let Some(payload) = rq.stanza.children().next() else {
            return cx.refuse(rq, &RoomError::BadRequest("An IQ has one payload"));
        };
        let done = match (payload.name(), payload.ns(), set) {
            ("query", ns::DISCO_INFO, false) => self.disco_info(cx, rq),
            ("query", ns::DISCO_ITEMS, false) => self.disco_items(cx, rq),
            ("query", ns::MUC_ADMIN, false) => self.admin_get(cx, rq, payload),
            ("query", ns::MUC_ADMIN, true) => self.admin_set(cx, rq, payload),
            ("query", ns::MUC_OWNER, false) => self.owner_get(cx, rq),
            ("query", ns::MUC_OWNER, true) => self.owner_set(cx, rq, payload),
            ("seats", crate::seats::NS, _) => self.seats_iq(cx, rq, payload, set),
            ("ping", ns::PING, false) => {
                cx.result(rq, |_| ());
                Ok(())
            }
            _ => Err(RoomError::Unsupported("The room does not know this request")),
        };
        if let Err(e) = done {
            cx.refuse(rq, &e);
        }
    }

    fn relay_iq(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, nick: &str) {
        let ty = rq.stanza.ty();
        let answer = match ty.as_deref() {
            Some("get" | "set") => false,
            Some("result" | "error") => true,
            _ => return cx.refuse(rq, &RoomError::BadRequest("An IQ is a get, set, result or error")),
        };
        let Some(from) = self.sender(rq).cloned() else { return cx.refuse(rq, &RoomError::NotOccupant) };
        if ty.as_deref() == Some("error") && says_lost(rq.stanza) {
            self.relay(cx, rq, &from, nick, true);
            return self.bounced(cx, rq);
        }
        self.relay(cx, rq, &from, nick, answer);
    }

    fn relay(&self, cx: &mut Cx<'_>, rq: &Request<'_>, from: &Occupant, nick: &str, answer: bool) {
        let Some(to) = self.roster.get(nick) else { return cx.refuse(rq, &RoomError::NoSuchOccupant) };
        let Some(id) = rq.stanza.id() else { return cx.refuse(rq, &RoomError::BadRequest("An IQ has an id")) };
        let id = if answer {
            match self.restored_id(cx, to, &id) {
                Some(id) => id,
                // Not an answer to anything that this occupant asked.
                None => return,
            }
        } else if id.len() > MAX_ID {
            return cx.refuse(rq, &RoomError::BadRequest("The id is too long"));
        } else {
            self.relayed_id(cx, from, &id)
        };
        let bytes = rq
            .stanza
            .rewrite()
            .set("xmlns", ns::CLIENT)
            .set("from", occupant_jid(self.base_for(&to.peer), &from.nick))
            .set("to", &to.peer.jid)
            .set("id", id)
            .finish();
        cx.send(&to.peer, bytes);
    }

    fn mark(&self, cx: &Cx<'_>, of: &Occupant) -> [u8; MARK] {
        let hash = cx.keyed("iq", &[self.real.as_str(), of.peer.jid.as_str()]);
        std::array::from_fn(|i| hash[i])
    }

    fn relayed_id(&self, cx: &Cx<'_>, from: &Occupant, id: &str) -> String {
        let mut bytes = self.mark(cx, from).to_vec();
        bytes.extend_from_slice(id.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn restored_id(&self, cx: &Cx<'_>, to: &Occupant, id: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(id).ok()?;
        let (mark, id) = bytes.split_at_checked(MARK)?;
        (mark == self.mark(cx, to)).then(|| String::from_utf8(id.to_vec()).ok())?
    }

    /// Whether somebody may change the room.
    pub(crate) fn is_owner(&self, cx: &Cx<'_>, rq: &Request<'_>) -> bool {
        use crate::occupant::Affiliation;
        if self.kind == RoomKind::Shadow {
            return rq.peer.is_admin(cx.cfg);
        }
        self.affiliation_of(cx.cfg, rq.peer) == Affiliation::Owner
    }
}
