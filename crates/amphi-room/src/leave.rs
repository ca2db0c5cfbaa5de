//! Going: by itself, thrown out, or lost; and what follows for the room.

use std::sync::Arc;

use amphi_stanza::Stanza;

use crate::Output;
use crate::context::Cx;
use crate::join::unavailable;
use crate::occupant::{Occupant, Peer};
use crate::presence::Note;
use crate::room::Room;

/// How somebody leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// By its own presence.
    Own,
    /// The connection ended, or what was sent to it came back.
    Lost,
    /// Kicked or banned.
    Removed,
    /// A newer connection of the same account takes the place.
    Replaced,
}

impl Room {
    /// Takes somebody out of the room and tells everybody. `words`: what it says itself.
    pub(crate) fn leave(
        &mut self,
        cx: &mut Cx<'_>,
        nick: &Arc<str>,
        words: Option<Stanza>,
        note: Note,
        leaving: Leaving,
    ) {
        let Some(o) = self.roster.remove(nick) else { return };
        let stanza = words.unwrap_or_else(unavailable);
        // Whoever is lost is told nothing: there is nobody to tell.
        if leaving != Leaving::Lost || !o.peer.is_local() {
            self.announce_own(cx, &o, &stanza, &note);
        }
        self.forget(cx, &o);
        if leaving == Leaving::Own && self.waits_for_session_end() {
            cx.note_member(&o.peer, &self.real);
        }
        self.keep_seat(cx, &o, leaving);
        self.announce_leave(cx, o.clone(), stanza, note);
        self.after_leave(cx, &o, leaving);
        if self.roster.is_empty() && leaving != Leaving::Replaced && !self.destroyed {
            self.end(cx);
        }
    }

    /// The connection no longer belongs to the room.
    pub(crate) fn forget(&self, cx: &mut Cx<'_>, o: &Occupant) {
        if let Some(s) = &o.peer.session {
            cx.push(Output::Leave { room: self.id, conn: s.conn });
        }
        cx.forget_member(&o.peer, &self.real);
    }

    /// Confirms to somebody who only waited that it is not in the room.
    pub(crate) fn confirm_absence(&self, cx: &mut Cx<'_>, peer: &Peer, nick: &str) {
        let mut w = amphi_stanza::XmlWriter::new();
        let Ok(from) = self.base_for(peer).occupant(nick) else { return };
        w.open_ns("presence", amphi_stanza::ns::CLIENT).attr("type", "unavailable");
        w.attr("from", from).attr("to", &peer.jid).open_ns("x", amphi_stanza::ns::MUC_USER);
        w.open("item").attr("affiliation", "none").attr("role", "none").close();
        w.open("status").attr("code", 110).close();
        cx.send(peer, w.finish());
    }
}
