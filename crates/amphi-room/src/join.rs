//! Coming in: the rules in the order of `spec/signaling.md` 3.3, and what the one who comes and the others then see.

use std::sync::Arc;

use amphi_stanza::{Stanza, ns};
use bytes::Bytes;

use crate::context::{Cx, Request};
use crate::error::RoomError;
use crate::max_occupants;
use crate::occupant::{Affiliation, MucRole, Occupant, Peer, Traits};
use crate::presence::{Note, View};
use crate::room::{Room, RoomKind};
use crate::seats::Claim;
use crate::side::Gate;
use crate::waiting::Join;
use crate::{Group, Output, nick, password, token};

/// What the rules decided.
enum Verdict {
    Enter(Entry),
    /// In a queue.
    Waits,
}

/// How somebody comes in.
struct Entry {
    role: MucRole,
    affiliation: Affiliation,
    traits: Traits,
    seat: Claim,
    /// Metadata tells of the promotion.
    mark: bool,
}

impl Room {
    /// Presence of somebody who is not in the room.
    pub(crate) fn presence_of_outsider(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, nick: &str, joins: bool) {
        let mirrored = self.kind == RoomKind::Shadow && !rq.peer.is_local();
        if !joins && !mirrored {
            let waits =
                self.lock_queue.update(&rq.peer.jid, rq.stanza) || self.rate_queue.update(&rq.peer.jid, rq.stanza);
            if !waits {
                cx.refuse(rq, &RoomError::NotInRoom);
            }
            return;
        }
        if rq.peer.full().is_none() {
            return cx.refuse(rq, &RoomError::BadRequest("Only a full address can enter a room"));
        }
        let join = Join { peer: rq.peer.clone(), nick: nick.to_owned(), stanza: rq.stanza.clone(), paced: false };
        self.admit(cx, join);
    }

    /// Lets somebody through the rules.
    pub(crate) fn admit(&mut self, cx: &mut Cx<'_>, join: Join) {
        match self.judge(cx, &join) {
            Ok(Verdict::Enter(entry)) => self.enter(cx, join, entry),
            Ok(Verdict::Waits) => {}
            Err(e) => self.turn_away(cx, &join, &e),
        }
    }

    /// Answers a join with an error.
    pub(crate) fn turn_away(&mut self, cx: &mut Cx<'_>, join: &Join, error: &RoomError) {
        cx.forget_member(&join.peer, &self.real);
        if let Ok(to) = self.real.occupant(&join.nick) {
            cx.refuse(&Request { peer: &join.peer, to: to.jid(), stanza: &join.stanza }, error);
        }
    }

    /// The rules, first refusal wins.
    fn judge(&mut self, cx: &mut Cx<'_>, join: &Join) -> Result<Verdict, RoomError> {
        let service = self.service(cx.cfg);
        let peer = &join.peer;
        let admin = peer.is_admin(cx.cfg);
        let focus = admin && join.nick == "focus";
        if let Some(access) = &service.access
            && !admin
            && !access.has(&peer.jid)
        {
            return Err(RoomError::NoAccess);
        }
        token::verify_room(cx.cfg, service, peer, &self.real, self.settings.allow_unauthenticated)?;
        let mirrored = self.kind == RoomKind::Shadow && !peer.is_local();
        if !mirrored {
            nick::check(service, peer, &join.nick, admin)?;
        }
        max_occupants::check(self, cx.cfg, service, peer)?;
        if !join.paced && !admin && !mirrored && !self.may_come_now(cx) {
            return self.wait_for_turn(cx, join.clone()).map(|()| Verdict::Waits);
        }
        if self.health && join.nick != "focus" {
            return Err(RoomError::HealthRoom);
        }
        if self.locked && !focus {
            return self.wait_for_unlock(cx, join.clone()).map(|()| Verdict::Waits);
        }
        let machine = machine_of(&join.stanza);
        let gate = match self.visitor_gate(cx, peer, admin) {
            // Expected on stage by the focus, audience or not.
            Err(_) if self.is_expected(cx, peer, machine.as_deref()) => Gate::default(),
            // A moderator judges at the lobby.
            Err(_) if self.lobby.is_some() => Gate::default(),
            gate => gate?,
        };
        let shadow_role = self.shadow_role(cx.cfg, peer, &join.nick, admin)?;
        if mirrored {
            self.make_way_for_stage(cx, peer, &join.nick);
        }
        self.check_nick_free(peer, &join.nick)?;
        let let_in = self.is_let_in(cx, peer);
        let knows_password =
            self.settings.password.is_some() && password::given(&join.stanza) == self.settings.password;
        let mut affiliation = self.affiliation_on_entry(cx, peer, shadow_role, knows_password);
        let allowed = admin || mirrored;
        if affiliation == Affiliation::Outcast {
            return Err(RoomError::Banned);
        }
        if self.settings.members_only && !allowed && !gate.promoted {
            affiliation = self.pass_lobby(cx, peer, &join.stanza, affiliation, knows_password)?;
        }
        // Who was let in need not know the password; a wrong one is wrong all the same.
        let excused = let_in && password::given(&join.stanza).is_none();
        if !allowed && !gate.promoted && !excused {
            self.check_password(service, peer, &join.stanza)?;
        }
        let role = shadow_role.unwrap_or_else(|| affiliation.default_role());
        let needs_seat = self.kind == RoomKind::Main && !admin && !gate.ignored && role != MucRole::Visitor;
        let seat = self.claim_seat(cx, peer, machine.as_deref(), needs_seat, gate.promoted || let_in)?;
        let traits = Traits {
            admin,
            focus,
            recorder: cx.cfg.is_recorder(&peer.jid) || cx.cfg.is_transcriber(&peer.jid),
            counted: self.is_counted(cx.cfg, service, peer),
            seated: needs_seat,
        };
        Ok(Verdict::Enter(Entry { role, affiliation, traits, seat, mark: gate.mark }))
    }

    fn may_come_now(&mut self, cx: &Cx<'_>) -> bool {
        self.rate_queue.is_empty() && self.joins.take(cx.now)
    }

    fn wait_for_turn(&mut self, cx: &mut Cx<'_>, join: Join) -> Result<(), RoomError> {
        if self.rate_queue.len() >= cx.cfg.limits.rate_queue && !self.rate_queue.has(&join.peer.jid) {
            return Err(RoomError::QueueFull);
        }
        cx.note_member(&join.peer, &self.real);
        self.rate_queue.push(join);
        Ok(())
    }

    /// Who is on stage is never refused on a node: a visitor that has taken its nick goes.
    fn make_way_for_stage(&mut self, cx: &mut Cx<'_>, peer: &Peer, nick: &str) {
        let holder = self.roster.get(nick).filter(|o| o.is_visitor() && o.peer.bare() != peer.bare());
        if let Some(n) = holder.map(|o| o.nick.clone()) {
            let reason = Some("This nickname belongs to somebody on stage".to_owned());
            self.remove(cx, &n, 307, Note { reason, ..Note::default() });
        }
    }

    fn check_nick_free(&self, peer: &Peer, nick: &str) -> Result<(), RoomError> {
        match self.roster.get(nick) {
            // The same account again: its older connection gives way.
            Some(o) if o.peer.bare() != peer.bare() => Err(RoomError::NickTaken),
            _ => Ok(()),
        }
    }

    fn affiliation_on_entry(
        &mut self,
        cx: &Cx<'_>,
        peer: &Peer,
        shadow_role: Option<MucRole>,
        knows_password: bool,
    ) -> Affiliation {
        match shadow_role {
            // The main node decides who moderates; a shadow room only shows it.
            Some(MucRole::Moderator) => return Affiliation::Owner,
            Some(_) => return self.affiliation_of(cx.cfg, peer),
            None => {}
        }
        let known = self.affiliation_of(cx.cfg, peer);
        let by_token = if self.settings.members_only && known < Affiliation::Member && !knows_password {
            None
        } else {
            token::affiliation(self.service(cx.cfg), peer)
        };
        match by_token {
            Some(a) if a > known && known != Affiliation::Outcast => {
                self.remember_affiliation(cx, &peer.jid, a);
                a
            }
            _ => known,
        }
    }

    /// Comes in.
    fn enter(&mut self, cx: &mut Cx<'_>, join: Join, entry: Entry) {
        let Join { peer, nick, stanza: received, .. } = join;
        self.announce_leave_of(cx, &nick);
        let created = self.roster.is_empty();
        let replaced = self.give_way(cx, &peer, &nick);
        let machine = machine_of(&received).map(Into::into);
        let stanza = self.with_region(&peer, self.clean_presence(&peer, &received));
        let seq = match replaced {
            Some(seq) => seq,
            None => self.roster.next_seq(entry.traits.focus),
        };
        self.take_seat(&entry.seat);
        if entry.mark {
            self.mark_promoted(cx, &nick);
        }
        let nick: Arc<str> = nick.into();
        let o = Occupant {
            nick: nick.clone(),
            role: entry.role,
            affiliation: entry.affiliation,
            traits: entry.traits,
            seq,
            // A copy, exactly as long as it is: the received bytes are part of a larger buffer.
            presence: Bytes::copy_from_slice(stanza.raw()),
            machine,
            peer,
        };
        cx.note_member(&o.peer, &self.real);

        self.send_roster(cx, &o);
        self.send_initial_metadata(cx, &o);
        let own = if created { Note::code(201) } else { Note::default() };
        self.announce_own(cx, &o, &stanza, &own);
        let frame = self.presence_frame(cx, &o, &stanza, &Note::default());
        if let Some(s) = &o.peer.session {
            cx.push(Output::Join { room: self.id, conn: s.conn, group: self.group_of(&o) });
        }
        self.announce(cx, &o, &stanza, &Note::default(), frame.clone());
        self.roster.insert(o.clone());
        if !o.is_visitor() {
            self.roster.set_frame(&nick, frame);
        }
        if self.kind == RoomKind::Main && self.created_timestamp.is_none() && self.roster.len() >= 2 {
            self.created_timestamp = Some(cx.wall);
        }
        self.after_join(cx, &o);
        self.send_history(cx, &o, &received);
        if o.traits.focus && self.kind == RoomKind::Main {
            self.unlock(cx);
        }
    }

    /// A local occupant's group.
    pub(crate) fn group_of(&self, o: &Occupant) -> Group {
        if o.traits.focus {
            Group::Focus
        } else if o.is_visitor() {
            Group::Audience
        } else {
            Group::Stage
        }
    }

    /// An older connection of the same account makes place. The focus does so unseen, because clients end a conference
    /// when the focus leaves; its place in the order is returned.
    fn give_way(&mut self, cx: &mut Cx<'_>, peer: &Peer, nick: &str) -> Option<u64> {
        let old = self.roster.get(nick)?;
        debug_assert_eq!(old.peer.bare(), peer.bare());
        let old_nick = old.nick.clone();
        if !old.traits.focus {
            self.leave(cx, &old_nick, None, Note::gone(), crate::leave::Leaving::Replaced);
            return None;
        }
        let old = self.roster.remove(&old_nick)?;
        self.announce_own(cx, &old, &unavailable(), &Note::gone());
        if let Some(s) = &old.peer.session {
            cx.push(Output::Leave { room: self.id, conn: s.conn });
        }
        cx.forget_member(&old.peer, &self.real);
        Some(old.seq)
    }

    /// Everybody that the newcomer may see, the focus first.
    fn send_roster(&mut self, cx: &mut Cx<'_>, o: &Occupant) {
        if self.kind == RoomKind::Shadow {
            if !o.peer.is_local() {
                return;
            }
            if o.traits.focus {
                return self.send_audience(cx, o);
            }
        }
        match &o.peer.session {
            Some(s) => {
                let frames = self.roster.frames();
                if !frames.is_empty() {
                    cx.push(Output::SendFrames { conn: s.conn, frames });
                }
            }
            None => {
                let note = Note::default();
                for other in self.roster.stage() {
                    let s = other.stanza();
                    let r = self.presence(cx, &self.real, other, &s, &note, View::Others).set("to", &o.peer.jid);
                    let s = r.stanza();
                    cx.route(s);
                }
            }
        }
    }

    /// The focus of a visitor node sees visitors alone (`spec/signaling.md` 4.6).
    fn send_audience(&self, cx: &mut Cx<'_>, focus: &Occupant) {
        let Some(s) = &focus.peer.session else { return };
        let visitors = self.roster.all().filter(|v| v.is_visitor());
        let note = Note::default();
        let frames: Vec<_> = visitors.map(|v| self.presence_frame(cx, v, &v.stanza(), &note)).collect();
        if !frames.is_empty() {
            cx.push(Output::SendFrames { conn: s.conn, frames });
        }
    }

    /// A second join of somebody who is inside: everything once more.
    pub(crate) fn rejoin(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, nick: &Arc<str>) {
        if self.kind == RoomKind::Shadow && !rq.peer.is_local() {
            return self.presence_update(cx, rq, nick);
        }
        let Some(o) = self.roster.get(nick).cloned() else { return };
        let conn = |peer: &Peer| peer.session.as_ref().map(|s| s.conn);
        if conn(&o.peer) != conn(rq.peer) && !o.traits.focus {
            // A new connection of the same address: whoever was here is gone, and others must see that.
            let wanted = nick.clone();
            self.leave(cx, nick, None, Note::gone(), crate::leave::Leaving::Replaced);
            return self.presence_of_outsider(cx, rq, &wanted, true);
        }
        self.send_roster(cx, &o);
        self.presence_update(cx, rq, nick);
        self.send_history(cx, &o, rq.stanza);
    }

    fn with_region(&self, peer: &Peer, stanza: Stanza) -> Stanza {
        let region = peer.session.as_ref().and_then(|s| s.region.as_deref());
        match region {
            Some(r) if stanza.root().child_named("jitsi_participant_region").is_none() => stanza
                .rewrite()
                .append(|w| {
                    w.text_element("jitsi_participant_region", r);
                })
                .stanza(),
            _ => stanza,
        }
    }
}

/// `billingid` of a join, which stays the same in a browser.
fn machine_of(stanza: &Stanza) -> Option<String> {
    let id = stanza.child("x", ns::MUC)?.child_named("billingid")?.text().into_owned();
    (!id.is_empty() && id.len() <= 128).then_some(id)
}

/// Presence of somebody who leaves without a word.
pub(crate) fn unavailable() -> Stanza {
    Stanza::authored(Bytes::from_static(b"<presence xmlns='jabber:client' type='unavailable'/>"))
}
