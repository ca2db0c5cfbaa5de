//! Errors of a bridge (`spec/focus.md` 5.7). Without the colibri2 element the error is not the bridge's own, but of a
//! server on the way.

use amphi_stanza::{Condition, ErrorType, Stanza, StanzaError, XmlWriter};

use crate::ns;

macro_rules! reasons {
    ($($variant:ident = $text:literal,)*) => {
        /// Why a bridge refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum ErrorReason { $($variant,)* }
        impl ErrorReason {
            /// As it is written.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
            /// Reads it; what is not known is unspecified.
            pub fn parse(s: &str) -> Self {
                match s { $($text => Self::$variant,)* _ => Self::Unspecified }
            }
        }
    };
}
reasons! {
    ConferenceNotFound = "conference_not_found",
    ConferenceAlreadyExists = "conference_already_exists",
    FeatureNotImplemented = "feature_not_implemented",
    GracefulShutdown = "graceful_shutdown",
    UnknownEndpoint = "unknown_endpoint",
    Unspecified = "unspecified",
}

/// An error as the bridge writes it and the focus reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColibriError {
    /// Name of the stanza error condition.
    pub condition: String,
    /// The bridge's own reason; `None`: it gave none, or the error came from a server on the way.
    pub reason: Option<ErrorReason>,
    /// The endpoint that is not known.
    pub endpoint: Option<String>,
    /// Text for people.
    pub text: Option<String>,
}

impl ColibriError {
    /// Reads an IQ of type error.
    pub fn parse(iq: &Stanza) -> Self {
        let mut out = Self { condition: "undefined-condition".to_owned(), reason: None, endpoint: None, text: None };
        let Some(error) = iq.children().find(|e| e.name() == "error") else { return out };
        for c in error.children() {
            match (c.name(), c.ns()) {
                ("error", ns::COLIBRI2) => {
                    out.reason = Some(c.attr("reason").map_or(ErrorReason::Unspecified, |r| ErrorReason::parse(&r)));
                }
                ("endpoint", ns::COLIBRI2) => {
                    out.endpoint = c.attr("id").filter(|id| id.len() <= 1024).map(|v| v.into_owned());
                }
                ("text", amphi_stanza::ns::STANZAS) => out.text = Some(c.text().chars().take(256).collect()),
                (name, amphi_stanza::ns::STANZAS) => out.condition = name.chars().take(64).collect(),
                _ => {}
            }
        }
        out
    }

    /// The error that a bridge answers with.
    pub fn stanza_error(
        condition: Condition,
        reason: Option<ErrorReason>,
        endpoint: Option<&str>,
        text: Option<&str>,
    ) -> StanzaError {
        let ty = match condition {
            Condition::BadRequest => ErrorType::Modify,
            Condition::ServiceUnavailable | Condition::InternalServerError => ErrorType::Wait,
            _ => ErrorType::Cancel,
        };
        let mut e = StanzaError::new(ty, condition);
        e.text = text.map(str::to_owned);
        if let Some(r) = reason {
            let mut w = XmlWriter::new();
            w.open_ns("error", ns::COLIBRI2).attr("reason", r.as_str()).close();
            if let Some(id) = endpoint {
                w.open_ns("endpoint", ns::COLIBRI2).attr("id", id).close();
            }
            e.app = Some(w.finish_string());
        }
        e
    }
}
