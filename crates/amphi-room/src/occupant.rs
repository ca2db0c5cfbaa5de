//! Somebody in a room.

use std::fmt;
use std::sync::Arc;

use amphi_stanza::{FullJid, Jid, Stanza};
use bytes::Bytes;

use crate::Session;
use crate::config::NodeConfig;

/// Role in the room (XEP-0045 §5.1), with the one that Jitsi adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum MucRole {
    /// Not in the room.
    None,
    /// In the audience.
    Visitor,
    /// On stage.
    Participant,
    /// On stage, and may change the room.
    Moderator,
}

impl MucRole {
    /// As written.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Visitor => "visitor",
            Self::Participant => "participant",
            Self::Moderator => "moderator",
        }
    }

    /// Reads it.
    pub(crate) fn parse(s: &str) -> Option<Self> {
        Some(match s {
            "none" => Self::None,
            "visitor" => Self::Visitor,
            "participant" => Self::Participant,
            "moderator" => Self::Moderator,
            _ => return None,
        })
    }
}

impl fmt::Display for MucRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Lasting relation to the room (XEP-0045 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Affiliation {
    /// Banned.
    Outcast,
    /// None.
    None,
    /// May enter a members-only room.
    Member,
    /// May kick and ban.
    Admin,
    /// May change everything.
    Owner,
}

impl Affiliation {
    /// As written.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Outcast => "outcast",
            Self::None => "none",
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// Reads it.
    pub(crate) fn parse(s: &str) -> Option<Self> {
        Some(match s {
            "outcast" => Self::Outcast,
            "none" => Self::None,
            "member" => Self::Member,
            "admin" => Self::Admin,
            "owner" => Self::Owner,
            _ => return None,
        })
    }

    /// The role that somebody with this affiliation has on stage.
    pub(crate) const fn default_role(self) -> MucRole {
        match self {
            Self::Admin | Self::Owner => MucRole::Moderator,
            Self::Outcast | Self::None | Self::Member => MucRole::Participant,
        }
    }
}

impl fmt::Display for Affiliation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One end of a conversation with a room: a real address and, when it is of this node, its connection.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Real address: full, or that of a host or room behind a link.
    pub(crate) jid: Jid,
    /// `None`: behind a link.
    pub(crate) session: Option<Arc<Session>>,
}

impl Peer {
    pub(crate) fn local(session: Arc<Session>) -> Self {
        Self { jid: session.jid.jid().clone(), session: Some(session) }
    }

    pub(crate) fn is_local(&self) -> bool {
        self.session.is_some()
    }

    /// The address of an occupant or of somebody who wants to become one.
    pub(crate) fn full(&self) -> Option<FullJid> {
        self.jid.as_full()
    }

    /// Whether this is an administrator. Only a connection of this node can be one, whatever a link says.
    pub(crate) fn is_admin(&self, cfg: &NodeConfig) -> bool {
        self.session.as_ref().is_some_and(|s| s.admin || cfg.is_admin(&self.jid))
    }

    /// Bare real address.
    pub(crate) fn bare(&self) -> &str {
        self.jid.bare_str()
    }
}

/// What an occupant is, besides its role. Decided on entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traits {
    /// Administrator of the node.
    pub(crate) admin: bool,
    /// Administrator with the nick `focus`.
    pub(crate) focus: bool,
    /// Recorder or transcriber.
    pub(crate) recorder: bool,
    /// Counts against the limit of occupants.
    pub(crate) counted: bool,
    /// Sits on a seat.
    pub(crate) seated: bool,
}

/// Somebody in a room. Small, because a node has many thousands: no parsed stanza, no copies of addresses.
#[derive(Clone, Debug)]
pub(crate) struct Occupant {
    pub(crate) peer: Peer,
    pub(crate) nick: Arc<str>,
    pub(crate) role: MucRole,
    pub(crate) affiliation: Affiliation,
    pub(crate) traits: Traits,
    /// Position in the roster: order of joining, the focus first.
    pub(crate) seq: u64,
    /// Last presence, as received and stripped of what only the server may say.
    pub(crate) presence: Bytes,
    /// `billingid` of the join, by which a browser that comes back is recognised.
    pub(crate) machine: Option<Box<str>>,
}

impl Occupant {
    pub(crate) fn is_visitor(&self) -> bool {
        self.role == MucRole::Visitor
    }

    /// The last presence, indexed again.
    pub(crate) fn stanza(&self) -> Stanza {
        Stanza::authored(self.presence.clone())
    }

    /// The display name in its presence.
    pub(crate) fn display_name(&self) -> Option<String> {
        let s = self.stanza();
        let name = s.child("nick", amphi_stanza::ns::NICK)?.text().trim().to_owned();
        (!name.is_empty()).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::Occupant;

    #[test]
    fn an_occupant_is_small_beside_its_presence() {
        assert!(size_of::<Occupant>() <= 160, "{}", size_of::<Occupant>());
    }
}
