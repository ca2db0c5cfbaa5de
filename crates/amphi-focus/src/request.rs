//! A conference request, from JSON or from an IQ (`spec/focus.md` 2.1 to 2.3).

use std::collections::BTreeMap;

use amphi_stanza::{BareJid, Element, Jid};
use serde::Deserialize;
use serde_json::Value;

use crate::RequestError;
use crate::token::{self, Hints};

/// Longest value that is kept of a request.
const MAX_VALUE: usize = 1024;
/// Most properties that are kept of a request.
const MAX_PROPERTIES: usize = 64;

/// A client asks the focus to prepare a room.
#[derive(Clone, Debug)]
pub struct ConferenceRequest {
    /// The room in virtual form, as the client wrote it.
    pub(crate) room_text: String,
    /// The room.
    pub(crate) room: BareJid,
    /// Identifies the browser, not the user.
    pub(crate) machine_uid: Option<String>,
    /// An authenticated session, from an earlier answer.
    pub(crate) session_id: Option<String>,
    /// What the token claims; unverified.
    pub(crate) hints: Hints,
    /// Options, as text.
    pub(crate) properties: BTreeMap<String, String>,
    /// Address of the requester; HTTP requests have none.
    pub(crate) from: Option<Jid>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    room: Option<String>,
    machine_uid: Option<String>,
    session_id: Option<String>,
    #[serde(default)]
    properties: Option<serde_json::Map<String, Value>>,
}

impl ConferenceRequest {
    /// Reads the body of `POST /conference-request/v1`. `bearer` is the value of the `Authorization` header, with or
    /// without the `Bearer` prefix. Unknown members are ignored, property values may be any scalar.
    ///
    /// # Errors
    /// [`RequestError::BadRequest`] if it is not such a body, or has no valid room.
    pub fn from_json(body: &[u8], bearer: Option<&str>) -> Result<Self, RequestError> {
        let body: Body = serde_json::from_slice(body).map_err(|_| RequestError::BadRequest("malformed body"))?;
        let room = body.room.ok_or(RequestError::BadRequest("no room"))?;
        let mut properties = BTreeMap::new();
        for (name, value) in body.properties.unwrap_or_default() {
            if let Some(value) = token::scalar(&value) {
                put(&mut properties, &name, &value);
            }
        }
        let token = bearer.map(|b| {
            let b = b.trim();
            match b.get(..7) {
                Some(prefix) if prefix.eq_ignore_ascii_case("bearer ") => b[7..].trim(),
                _ => b,
            }
        });
        Self::new(&room, body.machine_uid, body.session_id, token, properties, None)
    }

    /// Reads `<conference xmlns='http://jitsi.org/protocol/focus'/>`. `from` is the requester behind the proxy.
    pub(crate) fn from_element(e: Element<'_>, from: Jid) -> Result<Self, RequestError> {
        let room = e.attr("room").ok_or(RequestError::BadRequest("no room"))?;
        let mut properties = BTreeMap::new();
        for p in e.children().filter(|p| p.name() == "property") {
            if let (Some(name), Some(value)) = (p.attr("name"), p.attr("value")) {
                put(&mut properties, &name, &value);
            }
        }
        let owned = |name: &str| e.attr(name).map(|v| v.into_owned());
        Self::new(&room, owned("machine-uid"), owned("session-id"), e.attr("token").as_deref(), properties, Some(from))
    }

    fn new(
        room: &str,
        machine_uid: Option<String>,
        session_id: Option<String>,
        token: Option<&str>,
        properties: BTreeMap<String, String>,
        from: Option<Jid>,
    ) -> Result<Self, RequestError> {
        // A room with a resource, without a local part, or with two `@` is none.
        let jid = BareJid::parse(room).map_err(|_| RequestError::BadRequest("invalid room"))?;
        let kept = |v: Option<String>| v.filter(|v| !v.is_empty() && v.len() <= MAX_VALUE);
        Ok(Self {
            room_text: room.to_owned(),
            room: jid,
            machine_uid: kept(machine_uid),
            session_id: kept(session_id),
            hints: token.map(token::hints).unwrap_or_default(),
            properties,
            from,
        })
    }

    /// The room asked for.
    pub fn room(&self) -> &BareJid {
        &self.room
    }

    /// The client knows what a redirect is.
    pub(crate) fn supports_visitors(&self) -> bool {
        self.properties.contains_key("visitors-version")
    }

    /// The client wants to be a visitor.
    pub(crate) fn wants_visitor(&self) -> bool {
        self.properties.get("visitor").is_some_and(|v| v == "true")
    }

    /// Texts by which the same user or browser is recognised later: each with a letter for its kind.
    pub(crate) fn identity(&self) -> Vec<Box<str>> {
        let jid = self.from.as_ref().map(|j| format!("j{}", j.bare_str()));
        let machine = self.machine_uid.as_ref().map(|m| format!("m{m}"));
        let session = self.session_id.as_ref().map(|s| format!("s{s}"));
        let user = self.hints.user.as_ref().map(|u| format!("u{u}"));
        [jid, machine, session, user].into_iter().flatten().map(String::into_boxed_str).collect()
    }
}

fn put(properties: &mut BTreeMap<String, String>, name: &str, value: &str) {
    if properties.len() < MAX_PROPERTIES && name.len() <= MAX_VALUE && value.len() <= MAX_VALUE {
        properties.insert(name.to_owned(), value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn property_values_of_any_scalar_kind_are_read_as_text() {
        let r = ConferenceRequest::from_json(
            br#"{"room":"Talk@conference.meet.example","machineUid":"8f","new":[1],
                "properties":{"visitors-version":1,"visitor":true,"x":"y","rtcstatsEnabled":false,"deep":{"a":1}}}"#,
            Some("Bearer e30.e30.x"),
        )
        .unwrap();
        assert_eq!(r.room.as_str(), "talk@conference.meet.example");
        assert_eq!(r.room_text, "Talk@conference.meet.example");
        assert!(r.supports_visitors() && r.wants_visitor());
        assert_eq!(r.properties["rtcstatsEnabled"], "false");
        assert!(!r.properties.contains_key("deep"));
    }

    #[test]
    fn bodies_without_a_valid_room_are_bad_requests() {
        for body in [
            "",
            "[]",
            "{}",
            "{\"room\":7}",
            "{\"room\":\"\"}",
            "{\"room\":\"talk\"}",
            "{\"room\":\"a@b@c\"}",
            "{\"room\":\"a@b/c\"}",
            "{\"room\":\"@b\"}",
            "{\"room\":\"a@b\"",
        ] {
            let e = ConferenceRequest::from_json(body.as_bytes(), None).unwrap_err();
            assert_eq!(e.http().0, 400, "{body}");
            assert!(e.http().1.starts_with("Bad request: "), "{body}");
        }
    }

    #[test]
    fn members_that_are_null_count_as_absent() {
        let body = br#"{"room":"a@b.c","machineUid":null,"sessionId":"","properties":null}"#;
        let r = ConferenceRequest::from_json(body, None).unwrap();
        assert!(r.machine_uid.is_none() && r.session_id.is_none());
        assert!(r.identity().is_empty());
    }
}
