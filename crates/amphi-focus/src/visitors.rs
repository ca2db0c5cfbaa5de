//! Who is in the audience, by name, for those who may see the list (`spec/signaling.md` 4.11). Costs nothing while nobody
//! watches.

use crate::conference::{Conference, Phase};
use crate::core::Core;
use crate::link::{Link, Vroom};
use crate::member::{Kind, Member, Role};
use crate::{Meeting, Output, VisitorChange};

fn visitors(v: &Vroom) -> impl Iterator<Item = (&Box<str>, &Member)> {
    v.muc.members.iter().filter(|(_, m)| m.is_visitor())
}

impl Conference {
    /// This conference, if it has this unique id.
    pub(crate) fn as_meeting(&self, meeting_id: &str, endpoint: Option<&str>) -> Option<Meeting> {
        if self.phase != Phase::Started || self.meeting_id != meeting_id || self.health {
            return None;
        }
        let moderator = endpoint
            .and_then(|e| self.main.members.get(e))
            .is_some_and(|m| matches!(m.role, Role::Owner | Role::Moderator) && m.kind == Kind::Person);
        Some(Meeting { room: self.room.clone(), moderator })
    }

    /// Endpoint id and name of the visitors that are present.
    pub(crate) fn listed(&self, limit: usize) -> Vec<(Box<str>, Box<str>)> {
        let rooms = self.vrooms.values().filter(|v| !matches!(v.link, Link::Away { .. }));
        rooms.flat_map(visitors).take(limit).map(|(nick, m)| (nick.clone(), m.name.clone())).collect()
    }

    /// A visitor came, left or has another name.
    pub(crate) fn tell_visitor(&self, core: &mut Core, nick: &str, name: &str, joined: bool) {
        if self.watched {
            let meeting_id = self.meeting_id.clone();
            let change = VisitorChange { meeting_id, id: nick.into(), name: name.into(), joined };
            core.out.push_back(Output::Visitor(change));
        }
    }

    /// All visitors of a node come or go at once: its connection was lost, or resumed.
    pub(crate) fn tell_all_visitors(&self, core: &mut Core, vnode: &str, joined: bool) {
        if let Some(v) = self.vrooms.get(vnode).filter(|_| self.watched) {
            for (nick, m) in visitors(v) {
                self.tell_visitor(core, nick, &m.name, joined);
            }
        }
    }
}
