//! Who gets to be an owner of the main room (`spec/focus.md` 4.3): authenticated users, or without authentication the
//! first eligible member and, when it leaves, the next.

use std::collections::HashSet;
use std::time::Instant;

use amphi_stanza::{Jid, ns};

use crate::conference::{Conference, Phase};
use crate::core::Core;
use crate::iq::What;
use crate::member::{Kind, Role};

#[derive(Debug, Default)]
pub(crate) struct Owner {
    elected: Option<Box<str>>,
    /// Nicks that were granted ownership.
    granted: HashSet<Box<str>>,
}

impl Owner {
    pub(crate) fn left(&mut self, nick: &str) {
        self.granted.remove(nick);
        if self.elected.as_deref() == Some(nick) {
            self.elected = None;
        }
    }
}

impl Conference {
    /// Grants what is due. Called whenever members or sessions changed.
    pub(crate) fn elect_owner(&mut self, core: &mut Core, now: Instant) {
        if self.phase != Phase::Started || self.health {
            return;
        }
        if core.auth.enabled() {
            let due: Vec<(Box<str>, Jid)> = self
                .main
                .members
                .iter()
                .filter(|(nick, m)| m.role != Role::Owner && !self.owner.granted.contains(*nick))
                .filter_map(|(nick, m)| Some((nick.clone(), m.jid.clone()?)))
                .filter(|(_, jid)| core.auth.is_authenticated(jid))
                .collect();
            for (nick, jid) in due {
                self.grant(core, now, nick, &jid);
            }
            return;
        }
        if !core.config.auto_owner || self.breakout_main.is_some() || self.owner.elected.is_some() {
            return;
        }
        let eligible = self.main.members.iter().filter(|(_, m)| m.kind == Kind::Person && !m.is_visitor());
        // An owner is one already; otherwise whoever came first. Without an address nothing can be granted.
        let Some((nick, member)) =
            eligible.filter(|(_, m)| m.jid.is_some()).min_by_key(|(_, m)| (m.role != Role::Owner, m.seq))
        else {
            return;
        };
        let (nick, jid, role) = (nick.clone(), member.jid.clone(), member.role);
        self.owner.elected = Some(nick.clone());
        if let Some(jid) = jid
            && role != Role::Owner
        {
            self.grant(core, now, nick, &jid);
        }
    }

    fn grant(&mut self, core: &mut Core, now: Instant, nick: Box<str>, jid: &Jid) {
        let purpose = self.main.purpose(What::GrantOwner);
        core.ask(now, &self.main.node, &self.main.jid, "set", purpose, |w| {
            w.open_ns("query", ns::MUC_ADMIN).open("item");
            w.attr("affiliation", "owner").attr("jid", jid.bare_str()).close().close();
        });
        self.owner.granted.insert(nick);
    }
}
