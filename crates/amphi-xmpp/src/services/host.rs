//! What a host says about itself, with the parts written once that every join needs.

use bytes::Bytes;

use amphi_stanza::{FullJid, XmlWriter, escape_into, ns};

use super::ExternalService;

/// An identity of service discovery. For Jitsi's clients `type` selects a feature and `name` is the component's address
/// (`spec/client.md` 6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `component`, or `server` for facts about the deployment.
    pub category: String,
    /// `room_metadata`, `visitors`, `shard`, ...
    pub ty: String,
    /// Address or value.
    pub name: String,
}

impl Identity {
    /// A component.
    pub fn component(ty: impl Into<String>, address: impl Into<String>) -> Self {
        Self { category: "component".into(), ty: ty.into(), name: address.into() }
    }

    /// A fact about the deployment: `shard`, `region`, `release`.
    pub fn server(ty: impl Into<String>, value: impl Into<String>) -> Self {
        Self { category: "server".into(), ty: ty.into(), name: value.into() }
    }

    pub(super) fn write(&self, w: &mut XmlWriter) {
        w.open("identity").attr("category", &self.category).attr("type", &self.ty).attr("name", &self.name).close();
    }
}

/// An entry of `disco#items`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Address.
    pub jid: String,
    /// Name for people.
    pub name: Option<String>,
}

/// What the announcement says about the room in the client's URL (`spec/signaling.md` 2.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomHints {
    /// The room exists, has a lobby, and display names are checked.
    pub display_name_required: bool,
    /// The URL names a room.
    pub rename: bool,
    /// The room's lobby is disabled by the operator.
    pub lobby_disabled: bool,
}

/// A host's own answers. Make it once per host and share it.
#[derive(Debug)]
pub struct HostServices {
    /// Domain.
    pub(super) host: String,
    pub(super) items: Vec<Item>,
    pub(super) external: Vec<ExternalService>,
    /// Content of the `disco#info` result.
    pub(super) info: String,
    /// `<message from='...' to='`
    announce_head: String,
    /// `'><query ...>` with identities and fixed features; the same with the lobby disabled.
    announce_query: [String; 2],
    has_identities: bool,
}

/// Features of every host, besides those of its components.
const FEATURES: [&str; 4] = [ns::DISCO_INFO, ns::DISCO_ITEMS, ns::PING, ns::EXTDISCO];

const DISPLAY_NAME_REQUIRED: &str = "http://jitsi.org/protocol/lobbyrooms#displayname_required";
const RENAME: &str = "http://jitsi.org/protocol/breakout_rooms#rename";

impl HostServices {
    /// `identities` and `features` are announced at bind and are part of the `disco#info` result; a repeated category and
    /// type is left out (`spec/signaling.md` 2.7: one per pair).
    pub fn new(
        host: impl Into<String>,
        identities: &[Identity],
        features: &[String],
        items: Vec<Item>,
        external: Vec<ExternalService>,
    ) -> Self {
        let host = host.into();
        let mut unique: Vec<&Identity> = Vec::new();
        for i in identities {
            if !unique.iter().any(|u| u.category == i.category && u.ty == i.ty) {
                unique.push(i);
            }
        }
        let feature = |w: &mut XmlWriter, var: &str| {
            w.open("feature").attr("var", var).close();
        };
        let mut info = XmlWriter::new();
        info.open("identity").attr("category", "server").attr("type", "im").attr("name", "Amphi").close();
        unique.iter().for_each(|i| i.write(&mut info));
        let own = FEATURES.iter().copied().filter(|f| !features.iter().any(|x| x == f));
        own.chain(features.iter().map(String::as_str)).for_each(|f| feature(&mut info, f));

        let mut head = String::from("<message xmlns='jabber:client' from='");
        escape_into(&mut head, &host);
        head.push_str("' to='");
        let query = |lobby_disabled: bool| {
            let mut w = XmlWriter::new();
            for i in &unique {
                if lobby_disabled && i.ty == "lobbyrooms" {
                    Identity { ty: "DISABLED_lobbyrooms".into(), ..(*i).clone() }.write(&mut w);
                } else {
                    i.write(&mut w);
                }
            }
            features.iter().for_each(|f| feature(&mut w, f));
            ["'><query xmlns='", ns::DISCO_INFO, "'>", &w.finish_string()].concat()
        };
        Self {
            items,
            external,
            info: info.finish_string(),
            announce_head: head,
            announce_query: [query(false), query(true)],
            has_identities: !unique.is_empty() || !features.is_empty(),
            host,
        }
    }

    /// Domain.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// STUN and TURN services.
    pub fn external(&self) -> &[ExternalService] {
        &self.external
    }

    /// The message that goes out immediately before the bind result (`spec/signaling.md` 2.7); `None` when there is
    /// nothing to announce, because clients wait for one with at least one identity or feature.
    pub fn announcement(&self, to: &FullJid, hints: RoomHints) -> Option<Bytes> {
        if !self.has_identities && !hints.display_name_required && !hints.rename {
            return None;
        }
        let query = &self.announce_query[usize::from(hints.lobby_disabled)];
        let mut out = String::with_capacity(self.announce_head.len() + query.len() + to.as_str().len() + 200);
        out.push_str(&self.announce_head);
        escape_into(&mut out, to.as_str());
        out.push_str(query);
        for var in [(hints.display_name_required, DISPLAY_NAME_REQUIRED), (hints.rename, RENAME)].iter().filter(|h| h.0)
        {
            out.push_str("<feature var='");
            out.push_str(var.1);
            out.push_str("'/>");
        }
        out.push_str("</query></message>");
        Some(out.into())
    }
}
