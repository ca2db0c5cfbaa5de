//! Private messages between occupants (XEP-0045 §7.5, `spec/signaling.md` 4.8).

use amphi_stanza::ns;

use crate::context::{Cx, Request, occupant_jid};
use crate::error::RoomError;
use crate::message::cleaned;
use crate::occupant::Occupant;
use crate::room::{Room, RoomKind};

impl Room {
    pub(crate) fn private_message(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, nick: &str) {
        let Some(from) = self.sender(rq) else {
            return self.private_message_of_outsider(cx, rq, nick);
        };
        let Some(to) = self.roster.get(nick) else { return cx.refuse(rq, &RoomError::NoSuchOccupant) };
        if self.kind == RoomKind::Shadow && from.is_visitor() && !to.traits.admin {
            let from = from.clone();
            return self.visitor_private_message(cx, rq, &from, nick);
        }
        let (from, to) = (from.clone(), to.clone());
        self.deliver_private(cx, rq, &from, &to);
    }

    fn deliver_private(&self, cx: &mut Cx<'_>, rq: &Request<'_>, from: &Occupant, to: &Occupant) {
        let id = self.occupant_id(cx, &from.peer);
        let bytes = cleaned(rq.stanza)
            .set("from", occupant_jid(self.base_for(&to.peer), &from.nick))
            .set("to", &to.peer.jid)
            .append(|w| {
                w.empty("x", ns::MUC_USER);
                w.open_ns("occupant-id", ns::OCCUPANT_ID).attr("id", id).close();
            })
            .finish();
        cx.send(&to.peer, bytes);
    }
}
