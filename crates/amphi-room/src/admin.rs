//! Roles and affiliations: kick, ban, grant, revoke (XEP-0045 §8, §9; `spec/signaling.md` 3.4, 3.5.5).

use std::sync::Arc;

use amphi_stanza::{Element, Jid, ns};

use crate::context::{Cx, Request};
use crate::error::RoomError;
use crate::leave::Leaving;
use crate::occupant::{Affiliation, MucRole, Occupant};
use crate::presence::Note;
use crate::room::{Room, RoomKind};

/// Items of one request; more are refused.
const MAX_ITEMS: usize = 256;

/// One change.
#[derive(Debug)]
struct Item {
    nick: Option<Arc<str>>,
    jid: Option<Jid>,
    affiliation: Option<Affiliation>,
    role: Option<MucRole>,
    reason: Option<String>,
}

/// Who asks.
struct Actor {
    affiliation: Affiliation,
    role: MucRole,
    nick: Option<String>,
    admin: bool,
}

impl Room {
    pub(crate) fn admin_get(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, query: Element<'_>) -> Result<(), RoomError> {
        let Some(item) = query.child("item", ns::MUC_ADMIN) else {
            return Err(RoomError::BadRequest("The request has no item"));
        };
        let own = self.affiliation_of(cx.cfg, rq.peer);
        let moderator = self.sender(rq).is_some_and(|o| o.role == MucRole::Moderator);
        if own < Affiliation::Admin && !moderator {
            return Err(RoomError::Forbidden);
        }
        if let Some(a) = item.attr("affiliation").as_deref().and_then(Affiliation::parse) {
            cx.result(rq, |w| {
                w.open_ns("query", ns::MUC_ADMIN);
                for (jid, _) in self.affiliations.iter().filter(|(_, x)| **x == a) {
                    w.open("item").attr("affiliation", a).attr("jid", jid).close();
                }
                w.close();
            });
            return Ok(());
        }
        if let Some(r) = item.attr("role").as_deref().and_then(MucRole::parse) {
            // The audience is not listed: it is long, and known to the focus.
            cx.result(rq, |w| {
                w.open_ns("query", ns::MUC_ADMIN);
                for o in self.roster.stage().filter(|o| o.role == r) {
                    w.open("item").attr("affiliation", o.affiliation).attr("role", r).attr("nick", &o.nick);
                    w.attr("jid", &o.peer.jid).close();
                }
                w.close();
            });
            return Ok(());
        }
        Err(RoomError::BadRequest("The item has neither affiliation nor role"))
    }

    pub(crate) fn admin_set(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, query: Element<'_>) -> Result<(), RoomError> {
        let items: Vec<_> = query.children().filter(|e| e.is("item", ns::MUC_ADMIN)).collect();
        if items.is_empty() || items.len() > MAX_ITEMS {
            return Err(RoomError::BadRequest("The request has no item, or too many"));
        }
        // Before anything else, and for all items (spec/signaling.md 3.4).
        if self.kind != RoomKind::Internal && items.iter().any(|i| names_focus(*i)) {
            return Err(RoomError::FocusGuard);
        }
        let actor = self.actor(cx, rq)?;
        // Item by item; the answer to the first that fails ends it (spec/signaling.md 3.5.5).
        for i in items {
            let item = self.read_item(i)?;
            self.apply(cx, &actor, item)?;
        }
        cx.result(rq, |_| ());
        Ok(())
    }

    fn actor(&self, cx: &Cx<'_>, rq: &Request<'_>) -> Result<Actor, RoomError> {
        let admin = rq.peer.is_admin(cx.cfg);
        let occupant = self.sender(rq);
        if occupant.is_none() && !admin {
            return Err(RoomError::NotOccupant);
        }
        Ok(Actor {
            affiliation: self.affiliation_of(cx.cfg, rq.peer),
            role: occupant.map_or(MucRole::None, |o| o.role),
            nick: occupant.map(|o| o.nick.to_string()),
            admin,
        })
    }

    fn read_item(&self, i: Element<'_>) -> Result<Item, RoomError> {
        let jid = i.attr("jid").map(|j| Jid::parse(&j)).transpose();
        let jid = jid.map_err(|_| RoomError::BadRequest("The item's address is none"))?.map(|j| j.to_bare());
        let parse = |name: &str| i.attr(name);
        let affiliation = parse("affiliation")
            .map(|a| Affiliation::parse(&a).ok_or(RoomError::BadRequest("There is no such affiliation")))
            .transpose()?;
        let role = parse("role")
            .map(|r| MucRole::parse(&r).ok_or(RoomError::BadRequest("There is no such role")))
            .transpose()?;
        let nick = i.attr("nick").map(|n| Arc::from(&*n));
        let reason = i.child("reason", ns::MUC_ADMIN).map(|r| r.text().chars().take(1000).collect());
        Ok(Item { nick, jid, affiliation, role, reason })
    }

    fn apply(&mut self, cx: &mut Cx<'_>, actor: &Actor, item: Item) -> Result<(), RoomError> {
        match (item.affiliation, item.role) {
            (Some(a), None) => self.change_affiliation(cx, actor, item, a),
            (None, Some(r)) => self.change_role(cx, actor, item, r),
            _ => Err(RoomError::BadRequest("An item changes the affiliation or the role")),
        }
    }

    fn change_affiliation(
        &mut self,
        cx: &mut Cx<'_>,
        actor: &Actor,
        item: Item,
        to: Affiliation,
    ) -> Result<(), RoomError> {
        let jid = match (&item.jid, &item.nick) {
            (Some(j), _) => j.clone(),
            (None, Some(n)) => self.roster.get(n).ok_or(RoomError::NoSuchOccupant)?.peer.jid.to_bare(),
            (None, None) => return Err(RoomError::BadRequest("The item names nobody")),
        };
        let now = self.affiliation(cx.cfg, &jid);
        let by_admin_of_room =
            actor.affiliation == Affiliation::Admin && now < Affiliation::Admin && to < Affiliation::Admin;
        if actor.affiliation != Affiliation::Owner && !by_admin_of_room {
            return Err(RoomError::Forbidden);
        }
        // Administrators of the node are owners whatever the room's list says.
        if cx.cfg.is_admin(&jid) && !actor.admin && to != Affiliation::Owner {
            return Err(RoomError::Forbidden);
        }
        if !self.remember_affiliation(cx, &jid, to) {
            return Err(RoomError::TooMuch("The room's list of affiliations is full"));
        }
        let to = self.affiliation(cx.cfg, &jid);
        let holders: Vec<Arc<str>> = self
            .with_bare(&jid)
            .into_iter()
            .filter(|n| self.roster.get(n).is_some_and(|o| o.affiliation != to))
            .collect();
        for nick in holders {
            let note = Note { actor: actor.nick.clone(), reason: item.reason.clone(), ..Note::default() };
            match to {
                Affiliation::Outcast => self.remove(cx, &nick, 301, note),
                Affiliation::None if self.settings.members_only => self.remove(cx, &nick, 321, note),
                _ => self.show_affiliation(cx, &nick, to, &note),
            }
        }
        if to >= Affiliation::Member {
            self.membership_given(cx, actor.nick.as_deref(), &jid);
        }
        Ok(())
    }

    /// Occupants with this bare real address. Only the stage is searched: visitors are anonymous, one address each, and are
    /// found by kicking their nick.
    fn with_bare(&self, jid: &Jid) -> Vec<Arc<str>> {
        self.roster.stage().filter(|o| o.peer.bare() == jid.as_str()).map(|o| o.nick.clone()).collect()
    }

    /// Writes the list. `false` when it is full.
    pub(crate) fn remember_affiliation(&mut self, cx: &Cx<'_>, jid: &Jid, a: Affiliation) -> bool {
        let Some(bare) = jid.to_bare().as_bare() else { return true };
        if a == Affiliation::None {
            self.affiliations.remove(&bare);
        } else if self.affiliations.len() < cx.cfg.limits.affiliations || self.affiliations.contains_key(&bare) {
            self.affiliations.insert(bare, a);
        } else {
            return false;
        }
        true
    }

    fn show_affiliation(&mut self, cx: &mut Cx<'_>, nick: &Arc<str>, to: Affiliation, note: &Note) {
        let Some(o) = self.roster.get_mut(nick) else { return };
        o.affiliation = to;
        if !o.is_visitor() {
            self.roster.set_role(nick, to.default_role());
        }
        self.after_role_change(cx, nick);
        self.show_again(cx, nick, note);
    }

    fn change_role(&mut self, cx: &mut Cx<'_>, actor: &Actor, item: Item, to: MucRole) -> Result<(), RoomError> {
        let Some(nick) = item.nick else { return Err(RoomError::BadRequest("A role is given to a nick")) };
        let Some(o) = self.roster.get(&nick) else { return Err(RoomError::NoSuchOccupant) };
        let moderator = actor.role == MucRole::Moderator || actor.admin;
        // XEP-0045 §8.2: nobody throws out somebody of higher affiliation.
        let above = o.affiliation >= Affiliation::Admin && o.affiliation > actor.affiliation;
        if !moderator || above || (o.traits.admin && !actor.admin) {
            return Err(RoomError::Forbidden);
        }
        let note = Note { actor: actor.nick.clone(), reason: item.reason, ..Note::default() };
        match to {
            MucRole::None => {
                // A kick also takes the affiliation (spec/signaling.md 3.4).
                let jid = o.peer.jid.to_bare();
                self.affiliations.retain(|j, _| j.as_str() != jid.as_str());
                self.remove(cx, &nick, 307, note);
                Ok(())
            }
            MucRole::Visitor => Err(RoomError::Unsupported("People go to the audience by joining it")),
            MucRole::Participant | MucRole::Moderator => {
                if o.is_visitor() {
                    return Err(RoomError::Unsupported("Visitors come on stage by joining it"));
                }
                if to == MucRole::Moderator && actor.affiliation < Affiliation::Admin {
                    return Err(RoomError::Forbidden);
                }
                if to == MucRole::Participant && o.affiliation >= Affiliation::Admin {
                    return Err(RoomError::Forbidden);
                }
                self.roster.set_role(&nick, to);
                self.after_role_change(cx, &nick);
                self.show_again(cx, &nick, &note);
                Ok(())
            }
        }
    }

    /// Throws somebody out.
    pub(crate) fn remove(&mut self, cx: &mut Cx<'_>, nick: &Arc<str>, code: u16, mut note: Note) {
        note.gone = true;
        note.codes.push(code);
        note.affiliation = Some(if code == 301 { Affiliation::Outcast } else { Affiliation::None });
        self.leave(cx, nick, None, note, Leaving::Removed);
    }

    /// Moderators on stage that are not administrators.
    pub(crate) fn moderators(&self) -> impl Iterator<Item = &Occupant> {
        self.roster.stage().filter(|o| o.role == MucRole::Moderator && !o.traits.admin)
    }
}

/// Whether an item is about the focus: its nick, or an account of that name.
fn names_focus(i: Element<'_>) -> bool {
    i.attr("nick").as_deref() == Some("focus")
        || i.attr("jid").and_then(|j| Jid::parse(&j).ok()).is_some_and(|j| j.local() == Some("focus"))
}
