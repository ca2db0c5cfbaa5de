//! Raised hands, answers to them, and transcription languages.

use amphi_stanza::{Element, XmlWriter, ns};

use super::WireError;

/// #5: a visitor raised or lowered its hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PromotionRequest {
    /// Real full address of the visitor; opaque to everybody but its node.
    pub jid: String,
    /// When the hand was raised, in milliseconds since 1970. `None` or 0: it is down.
    pub time: Option<u64>,
    /// `context.user.id` of its token.
    pub user_id: Option<String>,
    /// `context.group` of its token.
    pub group_id: Option<String>,
    /// The node vouches for a token that may promote itself.
    pub force: bool,
    /// Display name.
    pub nick: Option<String>,
}

impl PromotionRequest {
    /// Whether the hand is up.
    pub fn raised(&self) -> bool {
        self.time.is_some_and(|t| t > 0)
    }

    pub(crate) fn read(visitors: Element<'_>, e: Element<'_>) -> Result<Self, WireError> {
        let text = |name| e.attr(name).filter(|v| !v.is_empty()).map(|v| v.into_owned());
        Ok(Self {
            jid: text("jid").ok_or(WireError::Value("jid"))?,
            time: text("time").and_then(|t| t.split('.').next().and_then(|t| t.parse().ok())),
            user_id: text("userId"),
            group_id: text("groupId"),
            force: e.attr("forcePromote").as_deref() == Some("true"),
            nick: visitors.child("nick", ns::NICK).map(|n| n.text().into_owned()),
        })
    }

    pub(crate) fn write(&self, w: &mut XmlWriter) {
        w.open("promotion-request").attr("jid", &self.jid).attr_opt("time", self.time);
        w.attr_opt("userId", self.user_id.as_ref()).attr_opt("groupId", self.group_id.as_ref());
        if self.time.is_some() {
            w.attr("forcePromote", self.force);
        }
        w.close();
        if let Some(n) = &self.nick {
            w.open_ns("nick", ns::NICK).text(n).close();
        }
    }
}

/// #7 and #8: the answer to a raised hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromotionResponse {
    /// The visitor, as in the request.
    pub jid: String,
    /// The one-time name with which it enters the main room; present but worthless when refused.
    pub username: String,
    /// Whether it may come.
    pub allow: bool,
}

impl PromotionResponse {
    pub(crate) fn read(e: Element<'_>) -> Result<Self, WireError> {
        Ok(Self {
            jid: e.attr("jid").filter(|v| !v.is_empty()).ok_or(WireError::Value("jid"))?.into_owned(),
            username: e.attr("username").unwrap_or_default().into_owned(),
            allow: e.attr("allow").is_some_and(|a| a.eq_ignore_ascii_case("true")),
        })
    }

    pub(crate) fn write(&self, w: &mut XmlWriter) {
        // Clients dispatch on this element's own namespace (`spec/client.md` 15.3).
        w.open_ns("promotion-response", ns::VISITORS).attr("jid", &self.jid);
        w.attr("username", &self.username).attr("allow", self.allow).close();
    }
}

/// #6: the languages in which the visitors of a node want to read what is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TranscriptionLanguages {
    /// Sorted, each once.
    pub langs: Vec<String>,
    /// How many visitors want one.
    pub count: u64,
}

impl TranscriptionLanguages {
    pub(crate) fn read(e: Element<'_>) -> Result<Self, WireError> {
        let langs = e.attr("langs").unwrap_or_default();
        let mut langs: Vec<String> =
            langs.split(',').map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
        langs.sort();
        langs.dedup();
        let count = match e.attr("count") {
            None => 0,
            Some(c) => c.parse().map_err(|_| WireError::Value("count"))?,
        };
        Ok(Self { langs, count })
    }

    pub(crate) fn write(&self, w: &mut XmlWriter) {
        w.open("transcription-languages").attr("langs", self.langs.join(",")).attr("count", self.count).close();
    }
}
