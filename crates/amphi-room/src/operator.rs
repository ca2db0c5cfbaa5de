//! What operators ask of rooms and do in them. They are no occupants and have no address: the IO layer has checked that they
//! may. Every answer is bounded by what was asked.

use std::sync::Arc;

use amphi_stanza::{BareJid, FullJid, Jid, XmlWriter, ns};
use serde_json::json;

use crate::context::Cx;
use crate::occupant::{MucRole, Occupant};
use crate::presence::Note;
use crate::room::{Room, RoomKind};
use crate::side::Side;

/// What an operator asks or does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// The room's state.
    Room,
    /// Its occupants.
    Occupants {
        /// Only the audience, or only the others.
        audience: bool,
        /// So many are left out first.
        skip: usize,
        /// So many at most.
        limit: usize,
    },
    /// One occupant, by its nick.
    Occupant(String),
    /// Throws an occupant out.
    Kick {
        /// Its nick.
        nick: String,
        /// For people.
        reason: Option<String>,
    },
    /// Lets a visitor come on stage, whether its hand is up or not. Main rooms only.
    Promote {
        /// Its real address on its node.
        visitor: FullJid,
    },
    /// Sends an occupant to the audience. Main rooms only.
    Demote {
        /// Its nick.
        nick: String,
    },
    /// Gives or takes a moderator's rights.
    Moderator {
        /// The nick.
        nick: String,
        /// Given or taken.
        grant: bool,
    },
    /// A message of the system to connections (`spec/signaling.md` 3.8).
    Say {
        /// Real addresses; empty for everybody on stage.
        to: Vec<FullJid>,
        /// The text.
        text: String,
        /// Who it is shown to be from.
        name: Option<String>,
    },
    /// Whether this is the room's password.
    Passcode(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// All rooms of the hub.
    Rooms(Vec<RoomStatus>),
    /// The room, and the hands that wait.
    Room(Box<RoomStatus>, Vec<Hand>),
    /// Occupants.
    Occupants(Vec<OccupantStatus>),
    /// It is done.
    Done,
    /// Yes or no.
    Answer(bool),
}

/// Why nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ActError {
    /// There is no such room here.
    #[error("there is no such room")]
    NoSuchRoom,
    /// Nobody has this id.
    #[error("there is nobody with this id in the room")]
    NoSuchOccupant,
    /// The focus and other service accounts stay as they are.
    #[error("this is a service account; it is left alone")]
    ServiceAccount,
    /// This room has no audience.
    #[error("the room has no audience: no visitor node is linked to it")]
    NoAudience,
    /// Visitors hold no rights.
    #[error("a visitor cannot moderate; promote it first")]
    Visitor,
}

/// A room, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomStatus {
    /// Real address.
    pub room: BareJid,
    /// As clients know it.
    pub shown: BareJid,
    /// Mirrors a main room elsewhere.
    pub is_shadow: bool,
    /// Unique id of this meeting.
    pub meeting_id: String,
    /// When the second occupant came, in milliseconds since the epoch.
    pub created: Option<u64>,
    /// People on stage.
    pub stage: usize,
    /// Those among them who moderate.
    pub moderators: usize,
    /// People in the audience, on this node.
    pub visitors: usize,
    /// Hands that wait for a moderator.
    pub hands: usize,
    /// A password is needed.
    pub has_password: bool,
    /// There is a lobby.
    pub members_only: bool,
    /// Joins that wait for the focus.
    pub locked: bool,
    /// Joins that wait.
    pub waiting: usize,
    /// People in the lobby, moderators who look in among them.
    pub in_lobby: usize,
}

/// A raised hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hand {
    /// Real address of the visitor.
    pub visitor: String,
    /// Host of its node.
    pub node: String,
    /// Its name.
    pub name: Option<String>,
}

/// Somebody in a room, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OccupantStatus {
    /// Nick; the endpoint id.
    pub nick: String,
    /// Real address.
    pub jid: Jid,
    /// `visitor`, `participant` or `moderator`.
    pub role: &'static str,
    /// Lasting relation to the room.
    pub affiliation: &'static str,
    /// Name that the person chose.
    pub name: Option<String>,
    /// By which a browser that comes back is recognised.
    pub machine: Option<String>,
    /// The focus and other service accounts.
    pub is_service: bool,
    /// Has its connection on this node.
    pub is_local: bool,
    /// `context.user.id` of its token.
    pub user: Option<String>,
    /// Region of its connection.
    pub region: Option<String>,
}

impl Room {
    pub(crate) fn is_for_people(&self) -> bool {
        self.kind != RoomKind::Internal && !self.health
    }

    fn hands(&self) -> impl Iterator<Item = Hand> {
        let links = match &self.side {
            Side::Main(l) => Some(l),
            _ => None,
        };
        links.into_iter().flat_map(|l| l.promotions().pending()).map(|p| Hand {
            visitor: p.visitor.clone(),
            node: p.node.clone(),
            name: p.nick.clone(),
        })
    }

    pub(crate) fn status(&self) -> RoomStatus {
        RoomStatus {
            room: self.real.clone(),
            shown: self.virt.clone(),
            is_shadow: self.kind == RoomKind::Shadow,
            meeting_id: self.meeting_id.clone(),
            created: self.created_timestamp,
            stage: self.roster.people(),
            moderators: self.moderators().count(),
            visitors: self.roster.visitors(),
            hands: self.hands().count(),
            has_password: self.settings.password.is_some(),
            members_only: self.settings.members_only,
            locked: self.locked,
            waiting: self.lock_queue.len() + self.rate_queue.len(),
            in_lobby: self.lobby.as_ref().map_or(0, |l| l.people.len()),
        }
    }

    pub(crate) fn operate(&mut self, cx: &mut Cx<'_>, act: Act) -> Result<Told, ActError> {
        if !self.is_for_people() {
            return Err(ActError::NoSuchRoom);
        }
        match act {
            Act::Room => Ok(Told::Room(Box::new(self.status()), self.hands().collect())),
            Act::Occupants { audience: false, skip, limit } => {
                Ok(Told::Occupants(self.roster.stage().skip(skip).take(limit).map(seen).collect()))
            }
            Act::Occupants { audience: true, skip, limit } => {
                let visitors = self.roster.all().filter(|o| o.is_visitor());
                Ok(Told::Occupants(visitors.skip(skip).take(limit).map(seen).collect()))
            }
            Act::Occupant(nick) => {
                let o = self.roster.get(&nick).ok_or(ActError::NoSuchOccupant)?;
                Ok(Told::Occupants(vec![seen(o)]))
            }
            Act::Kick { nick, reason } => {
                let nick = self.person(&nick)?;
                if let Some(o) = self.roster.get(&nick) {
                    // As after a moderator's kick (spec/signaling.md 3.4).
                    let bare = o.peer.jid.to_bare();
                    self.affiliations.retain(|j, _| j.as_str() != bare.as_str());
                }
                self.remove(cx, &nick, 307, Note { reason, ..Note::default() });
                Ok(Told::Done)
            }
            Act::Promote { visitor } => {
                let now = cx.now;
                let Side::Main(links) = &mut self.side else { return Err(ActError::NoAudience) };
                let actions = links.invite(now, &visitor).ok_or(ActError::NoAudience)?;
                self.do_main(cx, actions);
                Ok(Told::Done)
            }
            Act::Demote { nick } => {
                self.person(&nick)?;
                let Side::Main(links) = &mut self.side else { return Err(ActError::NoAudience) };
                let actions = links.send_to_audience(&nick).ok_or(ActError::NoSuchOccupant)?;
                self.do_main(cx, actions);
                Ok(Told::Done)
            }
            Act::Moderator { nick, grant } => self.set_moderator(cx, &nick, grant),
            Act::Say { to, text, name } => {
                self.say_as_system(cx, &to, &text, name.as_deref());
                Ok(Told::Done)
            }
            Act::Passcode(given) => Ok(Told::Answer(self.settings.password.as_deref().is_none_or(|p| p == given))),
        }
    }

    /// Somebody who is no service account.
    fn person(&self, nick: &str) -> Result<Arc<str>, ActError> {
        let o = self.roster.get(nick).ok_or(ActError::NoSuchOccupant)?;
        if o.traits.admin { Err(ActError::ServiceAccount) } else { Ok(o.nick.clone()) }
    }

    fn set_moderator(&mut self, cx: &mut Cx<'_>, nick: &str, grant: bool) -> Result<Told, ActError> {
        let nick = self.person(nick)?;
        if self.roster.get(&nick).is_some_and(Occupant::is_visitor) {
            return Err(ActError::Visitor);
        }
        self.roster.set_role(&nick, if grant { MucRole::Moderator } else { MucRole::Participant });
        self.after_role_change(cx, &nick);
        self.show_again(cx, &nick, &Note::default());
        Ok(Told::Done)
    }

    fn say_as_system(&self, cx: &mut Cx<'_>, to: &[FullJid], text: &str, name: Option<&str>) {
        let mut message = json!({ "type": "system_chat_message", "message": text });
        if let Some(name) = name {
            message["displayName"] = name.into();
        }
        let message = message.to_string();
        let everybody = self.roster.stage().filter(|o| !o.traits.admin).map(|o| &o.peer);
        let named = to.iter().filter_map(|j| self.roster.by_real(j.jid())).map(|o| &o.peer);
        let peers: Vec<_> = if to.is_empty() { everybody.collect() } else { named.collect() };
        for peer in peers {
            let mut w = XmlWriter::new();
            w.open_ns("message", ns::CLIENT).attr("from", self.base_for(peer)).attr("to", &peer.jid);
            w.open_ns("json-message", ns::JITMEET).text(&message).close();
            cx.send(peer, w.finish());
        }
    }
}

fn seen(o: &Occupant) -> OccupantStatus {
    let session = o.peer.session.as_deref();
    OccupantStatus {
        nick: o.nick.to_string(),
        jid: o.peer.jid.clone(),
        role: o.role.as_str(),
        affiliation: o.affiliation.as_str(),
        name: o.display_name(),
        machine: o.machine.as_deref().map(str::to_owned),
        is_service: o.traits.admin,
        is_local: o.peer.is_local(),
        user: session.and_then(|s| s.claims.as_deref()).and_then(crate::Claims::user_id),
        region: session.and_then(|s| s.region.clone()),
    }
}
