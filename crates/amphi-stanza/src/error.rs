//! Stanza errors (RFC 6120 §8.3): the wire form, in one place.

use crate::{Stanza, XmlWriter, ns};

/// What the receiver of an error may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum ErrorType {
    Auth,
    Cancel,
    Continue,
    Modify,
    Wait,
}

impl ErrorType {
    /// The `type` attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Cancel => "cancel",
            Self::Continue => "continue",
            Self::Modify => "modify",
            Self::Wait => "wait",
        }
    }
}

/// Defined conditions (RFC 6120 §8.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Condition {
    BadRequest,
    Conflict,
    FeatureNotImplemented,
    Forbidden,
    Gone,
    InternalServerError,
    ItemNotFound,
    JidMalformed,
    NotAcceptable,
    NotAllowed,
    NotAuthorized,
    PolicyViolation,
    RecipientUnavailable,
    Redirect,
    RegistrationRequired,
    RemoteServerNotFound,
    RemoteServerTimeout,
    ResourceConstraint,
    ServiceUnavailable,
    SubscriptionRequired,
    UndefinedCondition,
    UnexpectedRequest,
}

impl Condition {
    /// Element name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Conflict => "conflict",
            Self::FeatureNotImplemented => "feature-not-implemented",
            Self::Forbidden => "forbidden",
            Self::Gone => "gone",
            Self::InternalServerError => "internal-server-error",
            Self::ItemNotFound => "item-not-found",
            Self::JidMalformed => "jid-malformed",
            Self::NotAcceptable => "not-acceptable",
            Self::NotAllowed => "not-allowed",
            Self::NotAuthorized => "not-authorized",
            Self::PolicyViolation => "policy-violation",
            Self::RecipientUnavailable => "recipient-unavailable",
            Self::Redirect => "redirect",
            Self::RegistrationRequired => "registration-required",
            Self::RemoteServerNotFound => "remote-server-not-found",
            Self::RemoteServerTimeout => "remote-server-timeout",
            Self::ResourceConstraint => "resource-constraint",
            Self::ServiceUnavailable => "service-unavailable",
            Self::SubscriptionRequired => "subscription-required",
            Self::UndefinedCondition => "undefined-condition",
            Self::UnexpectedRequest => "unexpected-request",
        }
    }
}

/// An error as its receiver sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StanzaError {
    /// What the receiver may do about it.
    pub ty: ErrorType,
    /// Defined condition.
    pub condition: Condition,
    /// Text for people.
    pub text: Option<String>,
    /// Application-specific condition: complete, self-contained XML.
    pub app: Option<String>,
    /// The legacy `code` attribute, which old clients read for the lobby.
    pub code: Option<u16>,
}

impl StanzaError {
    /// An error without text.
    pub fn new(ty: ErrorType, condition: Condition) -> Self {
        Self { ty, condition, text: None, app: None, code: None }
    }

    /// Adds a text for people.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Adds an empty application-specific condition.
    pub fn app(mut self, name: &'static str, ns: &str) -> Self {
        let mut w = XmlWriter::new();
        w.empty(name, ns);
        self.app = Some(w.finish_string());
        self
    }

    /// Writes the `<error/>` element. `by` is the entity that detected the error.
    pub fn write(&self, w: &mut XmlWriter, by: Option<&str>) {
        w.open("error").attr("type", self.ty.as_str()).attr_opt("code", self.code).attr_opt("by", by);
        w.empty(self.condition.as_str(), ns::STANZAS);
        if let Some(t) = &self.text {
            w.open_ns("text", ns::STANZAS).text(t).close();
        }
        if let Some(a) = &self.app {
            w.raw(a);
        }
        w.close();
    }

    /// The error answer to `to`: same kind and id, addresses swapped. `None` if `to` must not be answered (it is an
    /// error itself, a result, or no stanza).
    pub fn answer(&self, to: &Stanza) -> Option<Stanza> {
        let name = match to.root().name() {
            "message" => "message",
            "presence" => "presence",
            "iq" => "iq",
            _ => return None,
        };
        let ty = to.ty();
        if ty.as_deref() == Some("error") || (name == "iq" && ty.as_deref() == Some("result")) {
            return None;
        }
        let mut w = XmlWriter::new();
        w.open_ns(name, ns::CLIENT).attr("type", "error");
        w.attr_opt("id", to.id()).attr_opt("from", to.attr("to")).attr_opt("to", to.attr("from"));
        self.write(&mut w, None);
        Some(w.stanza())
    }
}

impl std::fmt::Display for StanzaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ty.as_str(), self.condition.as_str())?;
        if let Some(t) = &self.text {
            write!(f, ": {t}")?;
        }
        Ok(())
    }
}
