//! What operators see of the members of a conference, and the one thing they do to them from here: throwing somebody out
//! (XEP-0045 8.2). Promotion and demotion belong to the main room.

use std::time::Instant;

use amphi_stanza::ns;

use crate::conference::Conference;
use crate::core::Core;
use crate::iq::What;
use crate::link::Link;
use crate::member::{Member, Role};
use crate::{MemberStatus, NodeId};

impl Conference {
    fn seen(&self, endpoint: &str, vnode: Option<&str>, m: &Member) -> MemberStatus {
        let session = self.media.participants.get(endpoint).and_then(|p| p.session);
        MemberStatus {
            endpoint: endpoint.to_owned(),
            vnode: vnode.map(str::to_owned),
            jid: m.jid.clone(),
            name: m.name.to_string(),
            moderator: matches!(m.role, Role::Owner | Role::Moderator),
            bridge: session.and_then(|s| self.media.sessions.get(&s)).map(|s| s.bridge.to_string()),
        }
    }

    /// The stage, then the audience, up to `limit`.
    pub(crate) fn member_status(&self, limit: usize) -> Vec<MemberStatus> {
        let stage = self.main.members.iter().map(|(nick, m)| self.seen(nick, None, m));
        let present = self.vrooms.iter().filter(|(_, v)| !matches!(v.link, Link::Away { .. }));
        let audience = present.flat_map(|(name, v)| {
            let visitors = v.muc.members.iter().filter(|(_, m)| m.is_visitor());
            visitors.map(move |(nick, m)| self.seen(nick, Some(name), m))
        });
        stage.chain(audience).take(limit).collect()
    }

    pub(crate) fn one_member(&self, endpoint: &str) -> Option<MemberStatus> {
        if let Some(m) = self.main.members.get(endpoint) {
            return Some(self.seen(endpoint, None, m));
        }
        let visitor = |m: &&Member| m.is_visitor();
        let mut all = self.vrooms.iter();
        all.find_map(|(name, v)| Some(self.seen(endpoint, Some(name), v.muc.members.get(endpoint).filter(visitor)?)))
    }

    /// Throws somebody out of the room that it is in.
    pub(crate) fn kick(&self, core: &mut Core, now: Instant, endpoint: &str, reason: Option<&str>) {
        let in_audience = self.vrooms.iter().find(|(_, v)| v.muc.members.get(endpoint).is_some_and(Member::is_visitor));
        let (node, muc) = match in_audience {
            Some((name, v)) => (NodeId::Vnode(name.clone()), &v.muc),
            None if self.main.members.contains_key(endpoint) => (NodeId::Main, &self.main),
            None => return,
        };
        core.ask(now, &node, &muc.jid, "set", muc.purpose(What::Kick), |w| {
            w.open_ns("query", ns::MUC_ADMIN).open("item").attr("nick", endpoint).attr("role", "none");
            if let Some(reason) = reason {
                w.text_element("reason", reason);
            }
            w.close().close();
        });
    }
}
