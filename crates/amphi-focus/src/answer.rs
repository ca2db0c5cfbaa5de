//! The answer to a conference request, and the errors, each with both wire forms (`spec/focus.md` 2.1, 2.2, 2.7).

use std::collections::BTreeMap;

use amphi_stanza::{Condition, ErrorType, StanzaError, XmlWriter, ns};
use serde::Serialize;

/// What a client is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConferenceAnswer {
    /// The room, as the client wrote it.
    pub room: String,
    /// Whether to go there now; otherwise the client asks again by itself, later and later.
    pub ready: bool,
    /// Account of the focus on the node where the client goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub focus_jid: Option<String>,
    /// The authenticated session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Who the authenticated user is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The visitor node to go to; absent on stage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vnode: Option<String>,
    /// Properties; present even when empty, clients do not check.
    pub properties: BTreeMap<&'static str, String>,
}

impl ConferenceAnswer {
    /// The body of the HTTP answer, status 200.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and booleans always serialise")
    }

    /// Writes `<conference/>` of the IQ result.
    pub(crate) fn write(&self, w: &mut XmlWriter) {
        w.open_ns("conference", ns::FOCUS).attr("room", &self.room).attr("ready", self.ready);
        w.attr_opt("focusjid", self.focus_jid.as_ref())
            .attr_opt("session-id", self.session_id.as_ref())
            .attr_opt("identity", self.identity.as_ref())
            .attr_opt("vnode", self.vnode.as_ref());
        for (name, value) in &self.properties {
            w.open("property").attr("name", name).attr("value", value).close();
        }
        w.close();
    }
}

/// Why a conference request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The request cannot be understood.
    #[error("{0}")]
    BadRequest(&'static str),
    /// Only authenticated users create rooms.
    #[error("authentication required")]
    NotAuthorized,
    /// The session is unknown; the client forgets it and asks again.
    #[error("invalid-session")]
    InvalidSession,
    /// The session belongs to another machine, or the machine is not named.
    #[error("{0}")]
    NotAcceptable(&'static str),
    /// The meeting that the client was in was ended for everybody.
    #[error("the meeting has ended")]
    Ended,
    /// The room could not be joined.
    #[error("the room could not be joined")]
    RoomUnavailable,
}

impl RequestError {
    /// Status and text of the HTTP answer.
    pub fn http(&self) -> (u16, String) {
        match self {
            Self::NotAuthorized => (403, "Error".to_owned()),
            // Clients look for `400 invalid-session` behind the first character.
            Self::InvalidSession | Self::NotAcceptable(_) => (400, "Bad request: 400 invalid-session".to_owned()),
            Self::Ended => (410, self.to_string()),
            Self::BadRequest(_) | Self::RoomUnavailable => (400, format!("Bad request: {self}")),
        }
    }

    /// The body of the HTTP answer, as JSON for callers that want it; clients read the text of [`RequestError::http`].
    pub fn to_json(&self) -> Vec<u8> {
        let (status, text) = self.http();
        serde_json::to_vec(&serde_json::json!({ "status": status, "error": text })).expect("a number and a string")
    }

    /// The error of the IQ answer.
    pub fn stanza_error(&self) -> StanzaError {
        let e = match self {
            Self::BadRequest(_) => StanzaError::new(ErrorType::Modify, Condition::BadRequest),
            Self::NotAuthorized => StanzaError::new(ErrorType::Auth, Condition::NotAuthorized),
            Self::InvalidSession => {
                StanzaError::new(ErrorType::Modify, Condition::NotAcceptable).app("session-invalid", ns::FOCUS)
            }
            Self::NotAcceptable(_) => StanzaError::new(ErrorType::Modify, Condition::NotAcceptable),
            Self::Ended => StanzaError::new(ErrorType::Cancel, Condition::Gone),
            Self::RoomUnavailable => StanzaError::new(ErrorType::Wait, Condition::InternalServerError),
        };
        e.text(self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_are_left_out_and_properties_are_not() {
        let a = ConferenceAnswer { room: "a@b".into(), ready: true, ..ConferenceAnswer::default() };
        assert_eq!(a.to_json(), br#"{"room":"a@b","ready":true,"properties":{}}"#);
    }

    #[test]
    fn an_invalid_session_is_found_by_clients_in_both_forms() {
        let (status, text) = RequestError::InvalidSession.http();
        assert_eq!(status, 400);
        assert!(text.find("400 invalid-session").is_some_and(|at| at > 0));
        let mut w = XmlWriter::new();
        RequestError::InvalidSession.stanza_error().write(&mut w, None);
        let xml = w.finish_string();
        assert!(xml.contains("<not-acceptable ") && xml.contains("<session-invalid "), "{xml}");
    }
}
