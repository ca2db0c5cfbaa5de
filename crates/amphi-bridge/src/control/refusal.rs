//! Why a colibri2 request was refused, and how that is told (`spec/bridge.md` 1.8, `spec/focus.md` 5.7). The wire form of every refusal is here.

use amphi_jingle::colibri2::{ColibriError, ErrorReason};
use amphi_stanza::{Condition, StanzaError};

/// Why a request was refused. Nothing of it was applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not well-formed colibri2, or a value that makes no sense.
    #[error("{0}")]
    Bad(String),
    /// No such meeting, and it was not to be created.
    #[error("no conference with this meeting-id")]
    NoConference,
    /// It was to be created, and is there.
    #[error("a conference with this meeting-id exists")]
    ConferenceExists,
    /// No new conferences before the end.
    #[error("the bridge is shutting down")]
    ShuttingDown,
    /// An endpoint that is not there is to be changed.
    #[error("no endpoint {0}")]
    NoEndpoint(String),
    /// An endpoint or relay that is there is to be created.
    #[error("{0} exists")]
    Exists(String),
    /// A combination that is not done in one request.
    #[error("{0}")]
    Combination(&'static str),
    /// Something that this bridge does not do.
    #[error("{0}")]
    Unsupported(&'static str),
    /// A limit is reached.
    #[error("too many {0}")]
    Full(&'static str),
    /// Nothing that the focus did wrong.
    #[error("{0}")]
    Internal(&'static str),
}

impl Refusal {
    /// The XMPP condition.
    pub fn condition(&self) -> Condition {
        match self {
            Self::Bad(_) => Condition::BadRequest,
            Self::NoConference | Self::NoEndpoint(_) => Condition::ItemNotFound,
            Self::ConferenceExists | Self::Exists(_) => Condition::Conflict,
            Self::ShuttingDown | Self::Full(_) => Condition::ServiceUnavailable,
            Self::Combination(_) | Self::Unsupported(_) => Condition::FeatureNotImplemented,
            Self::Internal(_) => Condition::InternalServerError,
        }
    }

    /// The reason in colibri2; those without one have none in the reference either.
    pub fn reason(&self) -> Option<ErrorReason> {
        match self {
            Self::NoConference => Some(ErrorReason::ConferenceNotFound),
            Self::ConferenceExists => Some(ErrorReason::ConferenceAlreadyExists),
            Self::ShuttingDown => Some(ErrorReason::GracefulShutdown),
            Self::NoEndpoint(_) => Some(ErrorReason::UnknownEndpoint),
            Self::Combination(_) => Some(ErrorReason::FeatureNotImplemented),
            Self::Bad(_) | Self::Exists(_) | Self::Unsupported(_) | Self::Full(_) | Self::Internal(_) => None,
        }
    }

    /// The stanza error.
    pub fn stanza_error(&self) -> StanzaError {
        let endpoint = match self {
            Self::NoEndpoint(id) => Some(id.as_str()),
            _ => None,
        };
        ColibriError::stanza_error(self.condition(), self.reason(), endpoint, Some(&self.to_string()))
    }
}
