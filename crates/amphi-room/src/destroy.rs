//! The end of a room (XEP-0045 §10.9).

use amphi_stanza::{Jid, XmlWriter, ns};

use crate::context::{Cx, occupant_jid};
use crate::occupant::Occupant;
use crate::room::{Room, RoomKind};

/// Why, and where to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Destroy {
    /// Another room to go to.
    pub(crate) venue: Option<Jid>,
    /// For people, and matched by clients.
    pub(crate) reason: Option<String>,
}

impl Destroy {
    /// Just a reason.
    pub(crate) fn reason(text: impl Into<String>) -> Self {
        Self { venue: None, reason: Some(text.into()) }
    }

    pub(crate) fn write(&self, w: &mut XmlWriter) {
        w.open("destroy").attr_opt("jid", self.venue.as_ref());
        if let Some(r) = &self.reason {
            w.text_element("reason", r);
        }
        w.close();
    }
}

impl Room {
    /// Tells every occupant, each from its own occupant address, and ends the room.
    pub(crate) fn destroy(&mut self, cx: &mut Cx<'_>, d: &Destroy) {
        if self.destroyed {
            return;
        }
        self.destroyed = true;
        for o in self.roster.all() {
            // Mirrored participants learn it in the main room.
            if self.kind != RoomKind::Shadow || o.peer.is_local() {
                self.tell_destroyed(cx, o, d);
            }
            self.forget(cx, o);
        }
        self.end(cx);
    }

    fn tell_destroyed(&self, cx: &mut Cx<'_>, o: &Occupant, d: &Destroy) {
        let mut w = XmlWriter::new();
        w.open_ns("presence", ns::CLIENT).attr("type", "unavailable");
        w.attr("from", occupant_jid(self.base_for(&o.peer), &o.nick)).attr("to", &o.peer.jid);
        w.open_ns("x", ns::MUC_USER);
        w.open("item").attr("affiliation", "none").attr("role", "none").close();
        d.write(&mut w);
        w.open("status").attr("code", 110).close();
        cx.send(&o.peer, w.finish());
    }

    /// The room is over: nobody is in it any more.
    pub(crate) fn end(&mut self, cx: &mut Cx<'_>) {
        self.destroyed = true;
        self.turn_all_away(cx);
        self.close_lobby(cx, None);
        self.after_end(cx);
    }
}
