//! What the room metadata says about admission (`spec/focus.md` 3.2). Each message replaces what the one before said,
//! except where the reference keeps the old value.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Most entries kept of a list.
const MAX_LIST: usize = 10_000;

/// The part of a room's metadata that the focus acts upon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoomMetadata {
    pub(crate) lobby: bool,
    /// `visitors.live`.
    pub(crate) live: Option<bool>,
    pub(crate) visitors_enabled: Option<bool>,
    pub(crate) participants_soft_limit: Option<u32>,
    /// Whoever comes begins muted: audio, video.
    pub(crate) start_muted: (bool, bool),
    pub(crate) moderators: BTreeSet<String>,
    /// `None`: everybody may be on stage. Present and empty: nobody is expressly allowed.
    pub(crate) participants: Option<BTreeSet<String>>,
}

impl RoomMetadata {
    /// Reads the text of a `json-message`; `None` if it is no room metadata.
    pub(crate) fn parse(json: &str) -> Option<Map<String, Value>> {
        let Ok(Value::Object(mut o)) = serde_json::from_str(json) else { return None };
        if o.get("type").and_then(Value::as_str) != Some("room_metadata") {
            return None;
        }
        match o.remove("metadata") {
            Some(Value::Object(m)) => Some(m),
            _ => None,
        }
    }

    pub(crate) fn apply(&mut self, m: &Map<String, Value>) {
        self.lobby = m.get("lobbyEnabled").and_then(Value::as_bool).unwrap_or(false);
        self.live = m.get("visitors").and_then(|v| v.get("live")).and_then(Value::as_bool);
        let muted = |what: &str| m.get("startMuted").and_then(|v| v.get(what)).and_then(Value::as_bool) == Some(true);
        self.start_muted = (muted("audio"), muted("video"));
        self.moderators = m.get("moderators").and_then(list).unwrap_or_default();
        self.participants = m.get("participants").and_then(list);
        if let Some(v) = m.get("visitorsEnabled").and_then(Value::as_bool) {
            self.visitors_enabled = Some(v);
        }
        if let Some(v) = m.get("participantsSoftLimit").and_then(Value::as_i64) {
            self.participants_soft_limit = u32::try_from(v).ok().filter(|v| *v > 0);
        }
    }

    /// Somebody is listed as a moderator or participant.
    pub(crate) fn lists(&self, id: Option<&str>) -> bool {
        id.is_some_and(|id| self.moderators.contains(id) || self.participants.as_ref().is_some_and(|p| p.contains(id)))
    }

    /// How many people are listed.
    pub(crate) fn listed(&self) -> u32 {
        (self.moderators.len() + self.participants.as_ref().map_or(0, BTreeSet::len)) as u32
    }
}

fn list(v: &Value) -> Option<BTreeSet<String>> {
    Some(v.as_array()?.iter().take(MAX_LIST).filter_map(crate::token::scalar).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(to: &mut RoomMetadata, json: &str) {
        let text = format!(r#"{{"type":"room_metadata","metadata":{json}}}"#);
        to.apply(&RoomMetadata::parse(&text).unwrap());
    }

    #[test]
    fn lists_are_replaced_and_flags_are_kept_when_absent() {
        let mut m = RoomMetadata::default();
        apply(
            &mut m,
            r#"{"visitorsEnabled":false,"participantsSoftLimit":5,"lobbyEnabled":true,
                "moderators":["a"],"participants":[],"visitors":{"live":false}}"#,
        );
        assert_eq!((m.visitors_enabled, m.participants_soft_limit, m.live), (Some(false), Some(5), Some(false)));
        assert_eq!(m.participants, Some(BTreeSet::new()));
        apply(&mut m, "{}");
        assert_eq!((m.visitors_enabled, m.participants_soft_limit, m.live), (Some(false), Some(5), None));
        assert!(!m.lobby && m.moderators.is_empty() && m.participants.is_none());
        apply(&mut m, r#"{"participantsSoftLimit":-1,"moderators":"x"}"#);
        assert_eq!(m.participants_soft_limit, None);
    }

    #[test]
    fn other_json_is_no_metadata() {
        for t in ["", "[]", "{}", r#"{"type":"av_moderation"}"#, r#"{"type":"room_metadata","metadata":[]}"#] {
            assert!(RoomMetadata::parse(t).is_none(), "{t}");
        }
    }
}
