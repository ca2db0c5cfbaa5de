//! JSON that moderators send and get (`spec/client.md` 15.3, 15.4), inside `<json-message xmlns='http://jitsi.org/jitmeet'/>`.

use amphi_stanza::{FullJid, Stanza, XmlWriter, ns};
use serde::{Deserialize, Serialize};

/// A request of a moderator, sent as group chat without body. The room swallows all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModeratorJson {
    /// The answer to raised hands: `id` or `ids`.
    PromotionResponse {
        /// Whether they may come.
        approved: bool,
        /// Visitors, as named in the request.
        ids: Vec<String>,
    },
    /// Somebody on stage shall become a visitor.
    Demote {
        /// Endpoint id of the target.
        id: String,
        /// Endpoint id of the sender.
        actor: String,
    },
}

#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "type")]
    ty: Option<String>,
    action: Option<String>,
    #[serde(default)]
    approved: bool,
    id: Option<String>,
    #[serde(default)]
    ids: Vec<String>,
    actor: Option<String>,
}

/// Reads a json-message's text. `Ok(None)`: it is something else, not for the visitors feature.
///
/// # Errors
/// Says what is wrong with a message that is for the visitors feature.
pub fn moderator_json(text: &str) -> Result<Option<ModeratorJson>, super::WireError> {
    // The type is looked at first: what belongs to others may have members of any form.
    #[derive(Deserialize)]
    struct Type {
        #[serde(rename = "type")]
        ty: Option<serde_json::Value>,
    }
    match serde_json::from_str::<Type>(text) {
        Ok(t) if t.ty.as_ref().and_then(|t| t.as_str()) == Some("visitors") => {}
        _ => return Ok(None),
    }
    let raw: Raw = serde_json::from_str(text).map_err(|_| super::WireError::Value("json-message"))?;
    debug_assert_eq!(raw.ty.as_deref(), Some("visitors"));
    match raw.action.as_deref() {
        Some("promotion-response") => {
            let mut ids = raw.ids;
            ids.extend(raw.id);
            if ids.is_empty() {
                return Err(super::WireError::Value("id"));
            }
            Ok(Some(ModeratorJson::PromotionResponse { approved: raw.approved, ids }))
        }
        Some("demote-request") => match (raw.id, raw.actor) {
            (Some(id), Some(actor)) => Ok(Some(ModeratorJson::Demote { id, actor })),
            (None, _) => Err(super::WireError::Value("id")),
            (_, None) => Err(super::WireError::Value("actor")),
        },
        _ => Err(super::WireError::Unknown),
    }
}

#[derive(Serialize)]
struct Notice<'a> {
    #[serde(rename = "type")]
    ty: &'static str,
    room: &'a str,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nick: Option<&'a str>,
    from: &'a str,
    on: bool,
}

/// What moderators are told of a raised (`on`) or lowered hand. `room` is the virtual address.
pub fn promotion_notice(room: &str, visitor: &str, nick: Option<&str>, on: bool) -> String {
    let n = Notice { ty: "visitors", room, action: "promotion-request", nick, from: visitor, on };
    serde_json::to_string(&n).unwrap_or_default()
}

/// What a visitor whose hand is up is told of its place in line. Stock clients know no message of this type.
pub fn place_notice(place: u64) -> String {
    serde_json::json!({"type": "visitor-place", "place": place}).to_string()
}

/// What the target of a demotion, and the other moderators, are told.
pub fn demote_request(id: &str, actor: &str) -> String {
    serde_json::json!({"type": "visitors", "action": "demote-request", "id": id, "actor": actor}).to_string()
}

/// A JSON message from the component to one connection.
pub(crate) fn json_message(from: &str, to: &FullJid, ty: Option<&str>, id: &str, json: &str) -> Stanza {
    let mut w = XmlWriter::new();
    w.open_ns("message", ns::CLIENT).attr_opt("type", ty).attr("from", from).attr("to", to).attr("id", id);
    w.open_ns("json-message", ns::JITMEET).text(json).close();
    w.stanza()
}
