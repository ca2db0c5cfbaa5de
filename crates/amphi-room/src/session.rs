//! What a room knows of a connection.

use std::collections::BTreeMap;
use std::fmt;

use amphi_stanza::FullJid;

/// A connection of this node. Chosen by the IO layer; unique while the process lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub u64);

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conn-{:x}", self.0)
    }
}

/// What a verified token says (`spec/signaling.md` 2.5).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Claims {
    /// `room`; `*` is any room.
    pub room: Option<String>,
    /// `context.room.regex`: `room` is a pattern.
    pub room_is_pattern: bool,
    /// `sub`: tenant or domain; `*` is any.
    pub sub: Option<String>,
    /// `iss`.
    pub issuer: Option<String>,
    /// `context.tenant`.
    pub tenant: Option<String>,
    /// `context.user`, as it goes into presence.
    pub user: Option<serde_json::Map<String, serde_json::Value>>,
    /// `context.group`.
    pub group: Option<String>,
    /// `context.features`; `None` when the token does not list features.
    pub features: Option<BTreeMap<String, bool>>,
}

impl Claims {
    /// A string member of `context.user`; numbers and booleans count as their text.
    pub fn user_str(&self, key: &str) -> Option<String> {
        match self.user.as_ref()?.get(key)? {
            serde_json::Value::String(s) => Some(s.clone()),
            serde_json::Value::Number(n) => Some(n.to_string()),
            serde_json::Value::Bool(b) => Some(b.to_string()),
            _ => None,
        }
    }

    /// `context.user.id`.
    pub fn user_id(&self) -> Option<String> {
        self.user_str("id")
    }
}

/// A bound connection. Immutable and shared; a resumed connection keeps it, a refreshed token replaces it.
#[derive(Clone, Debug)]
pub struct Session {
    /// The connection.
    pub conn: ConnId,
    /// Its full address.
    pub jid: FullJid,
    /// `room` of the URL: lower case, without tenant.
    pub room: Option<String>,
    /// `prefix` of the URL: the tenant; `None` when empty or absent.
    pub tenant: Option<String>,
    /// Region of the user, from a proxy header.
    pub region: Option<String>,
    /// Verified token, on hosts that check tokens.
    pub claims: Option<std::sync::Arc<Claims>>,
    /// Listed as administrator: the focus and other service accounts.
    pub admin: bool,
    /// The host gives out local parts itself (anonymous or token login).
    pub anonymous: bool,
}
