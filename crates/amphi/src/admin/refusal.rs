//! Answers that are no success: a status and a sentence, as JSON.

use amphi_room::ActError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// A status and a sentence.
#[derive(Debug)]
pub(super) struct Refusal(StatusCode, String);

impl Refusal {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self(status, why.into())
    }

    pub(super) fn bad(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    pub(super) fn unknown(why: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, why)
    }

    /// It cannot be done as things are.
    pub(super) fn conflict(why: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, why)
    }
}

impl From<ActError> for Refusal {
    fn from(e: ActError) -> Self {
        match e {
            ActError::NoSuchRoom | ActError::NoSuchOccupant => Self::unknown(e.to_string()),
            ActError::ServiceAccount | ActError::NoAudience | ActError::Visitor => Self::conflict(e.to_string()),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}

/// For paths that are none.
pub(super) async fn anything_else() -> Refusal {
    Refusal::unknown("there is no such operation; GET /admin/v1/openapi.json lists all")
}

/// For methods that a path does not know.
pub(super) async fn wrong_method() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not know that method")
}
