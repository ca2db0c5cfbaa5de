//! Writing and announcing presence: who sees whom, and what the room adds.

use std::sync::Arc;

use amphi_stanza::{BareJid, Element, Frame, Rewrite, Stanza, XmlWriter, ns};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use crate::context::{Cx, Request, occupant_jid};
use crate::occupant::{Affiliation, MucRole, Occupant, Peer};
use crate::room::{Room, RoomKind};
use crate::{Broadcast, Group, Groups, Output};

/// What a presence says besides its sender's own words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note {
    /// The occupant has left.
    pub(crate) gone: bool,
    /// Status codes, without those of self-presence.
    pub(crate) codes: Vec<u16>,
    /// Nick of whoever did it.
    pub(crate) actor: Option<String>,
    /// Why.
    pub(crate) reason: Option<String>,
    /// The affiliation to show, where it is no longer in force: a destroyed room has none.
    pub(crate) affiliation: Option<Affiliation>,
    /// `<destroy/>` and its content.
    pub(crate) destroy: Option<crate::destroy::Destroy>,
}

impl Note {
    pub(crate) fn gone() -> Self {
        Self { gone: true, ..Self::default() }
    }

    pub(crate) fn code(code: u16) -> Self {
        Self { codes: vec![code], ..Self::default() }
    }
}

/// Whether the receiver is the occupant itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Own,
    Others,
    /// A moderator in a lobby, who sees real addresses whatever the room says.
    Moderator,
}

/// Which children of a client's presence the room takes away: what only the server may say, and the join request.
pub(crate) fn is_servers_own(name: &str, namespace: &str) -> bool {
    matches!(namespace, ns::MUC | ns::MUC_USER | ns::OCCUPANT_ID | ns::DELAY)
        || (name == "permissions" && namespace == ns::JITMEET)
}

impl Room {
    /// The occupant id (XEP-0421): stable for a person in a room, and of no use elsewhere.
    pub(crate) fn occupant_id(&self, cx: &Cx<'_>, o: &Peer) -> String {
        URL_SAFE_NO_PAD.encode(cx.keyed("occupant-id", &[self.real.as_str(), o.bare()]))
    }

    /// `stanza` as presence of `o`, from the room at `base`.
    pub(crate) fn presence<'s>(
        &self,
        cx: &Cx<'_>,
        base: &BareJid,
        o: &Occupant,
        stanza: &'s Stanza,
        note: &Note,
        view: View,
    ) -> Rewrite<'s> {
        let r = stanza.rewrite().set("xmlns", ns::CLIENT).set("from", occupant_jid(base, &o.nick));
        let r = if note.gone { r.set("type", "unavailable") } else { r.unset("type") };
        let id = self.occupant_id(cx, &o.peer);
        // muc#user comes first: clients stop at the first `x` (spec/client.md 10.2).
        r.prepend(|w| self.user_x(w, o, note, view)).append(|w| {
            w.open_ns("occupant-id", ns::OCCUPANT_ID).attr("id", id).close();
        })
    }

    fn user_x(&self, w: &mut XmlWriter, o: &Occupant, note: &Note, view: View) {
        w.open_ns("x", ns::MUC_USER).open("item");
        w.attr("affiliation", note.affiliation.unwrap_or(o.affiliation));
        w.attr("role", if note.gone { MucRole::None } else { o.role });
        if self.settings.whois_anyone || view != View::Others {
            if note.gone {
                w.attr("jid", o.peer.bare());
            } else {
                w.attr("jid", &o.peer.jid);
            }
        }
        if let Some(a) = &note.actor {
            w.open("actor").attr("nick", a).close();
        }
        if let Some(r) = &note.reason {
            w.text_element("reason", r);
        }
        w.close();
        if let Some(d) = &note.destroy {
            d.write(w);
        }
        let mut status = |code: u16| {
            w.open("status").attr("code", code).close();
        };
        note.codes.iter().copied().for_each(&mut status);
        if view == View::Own {
            status(110);
            if !note.gone && self.settings.whois_anyone {
                status(100);
            }
        }
        w.close();
    }

    /// Local groups that see the presence of `o`, apart from itself (`spec/signaling.md` 4.5, 4.6).
    pub(crate) fn watchers(&self, o: &Occupant) -> Groups {
        match self.kind {
            RoomKind::Main | RoomKind::Internal => Groups::ALL,
            RoomKind::Shadow if o.is_visitor() => Groups::only(Group::Focus),
            RoomKind::Shadow => Groups::only(Group::Audience),
        }
    }

    /// The presence of `o` as others see it, with a hole for the receiver.
    pub(crate) fn presence_frame(&self, cx: &Cx<'_>, o: &Occupant, stanza: &Stanza, note: &Note) -> Arc<Frame> {
        Arc::new(self.presence(cx, &self.virt, o, stanza, note, View::Others).frame())
    }

    /// Tells everybody who may know, except the occupant itself.
    pub(crate) fn announce(&self, cx: &mut Cx<'_>, o: &Occupant, stanza: &Stanza, note: &Note, frame: Arc<Frame>) {
        let to = self.watchers(o);
        // Nobody in the groups: nothing to say. The focus is the only one who sees visitors.
        if to != Groups::only(Group::Focus) || self.roster.focus().is_some() {
            let except = o.peer.session.as_ref().map(|s| s.conn);
            cx.push(Output::Broadcast(Broadcast { room: self.id, to, except, frame }));
        }
        // On a node nothing goes back to those who are mirrored from the main room (spec/signaling.md 4.6).
        if self.kind == RoomKind::Shadow || !self.roster.has_remote() {
            return;
        }
        for r in self.roster.remote().filter(|r| r.nick != o.nick) {
            let s = self.presence(cx, &self.real, o, stanza, note, View::Others).set("to", &r.peer.jid).stanza();
            cx.route(s);
        }
    }

    /// Tells the occupant itself.
    pub(crate) fn announce_own(&self, cx: &mut Cx<'_>, o: &Occupant, stanza: &Stanza, note: &Note) {
        if self.kind == RoomKind::Shadow && !o.peer.is_local() {
            return;
        }
        let base = self.base_for(&o.peer);
        let bytes = self.presence(cx, base, o, stanza, note, View::Own).set("to", &o.peer.jid).finish();
        cx.send(&o.peer, bytes);
    }

    /// An occupant changed its presence.
    pub(crate) fn presence_update(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, nick: &Arc<str>) {
        let stanza = self.clean_presence(rq.peer, rq.stanza);
        let Some(o) = self.roster.get_mut(nick) else { return };
        let before = std::mem::replace(&mut o.presence, Bytes::copy_from_slice(stanza.raw()));
        self.before_presence_change(cx, nick, &stanza, &before);
        self.show(cx, nick, &stanza, &Note::default());
    }

    /// Announces the current state of an occupant to all who may see it, itself included.
    pub(crate) fn show(&mut self, cx: &mut Cx<'_>, nick: &Arc<str>, stanza: &Stanza, note: &Note) {
        let Some(o) = self.roster.get(nick) else { return };
        let frame = self.presence_frame(cx, o, stanza, note);
        let visitor = o.is_visitor();
        self.announce(cx, o, stanza, note, frame.clone());
        self.announce_own(cx, o, stanza, note);
        if !visitor {
            let frame = if note.codes.is_empty() && note.actor.is_none() && note.reason.is_none() {
                frame
            } else {
                self.presence_frame(cx, o, stanza, &Note::default())
            };
            self.roster.set_frame(nick, frame);
        }
    }

    /// Announces an occupant again after the room changed something about it.
    pub(crate) fn show_again(&mut self, cx: &mut Cx<'_>, nick: &Arc<str>, note: &Note) {
        let Some(stanza) = self.roster.get(nick).map(Occupant::stanza) else { return };
        self.show(cx, nick, &stanza, note);
    }

    /// A client's presence without what only the server may say, and with what the server says of its user.
    pub(crate) fn clean_presence(&self, peer: &Peer, stanza: &Stanza) -> Stanza {
        let claims = peer.session.as_ref().and_then(|s| s.claims.clone());
        // Behind a link the other server has seen to identities already.
        let local = peer.is_local();
        let unwanted = move |e: &Element<'_>| is_servers_own(e.name(), e.ns()) || (local && e.name() == "identity");
        let clean = !stanza.children().any(|e| unwanted(&e));
        let identity = claims.as_ref().filter(|c| c.user.is_some());
        if clean && identity.is_none() {
            return stanza.clone();
        }
        let r = stanza.rewrite().keep(move |e| !unwanted(e));
        match identity {
            Some(c) => r.append(|w| crate::token::write_identity(w, c)).stanza(),
            None => r.stanza(),
        }
    }
}
