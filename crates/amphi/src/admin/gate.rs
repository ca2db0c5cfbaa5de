//! Who may come in: whoever shows the token. Compared by digest and in constant time, so that nothing of it leaks.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::refusal::Refusal;

#[derive(Clone)]
pub(super) struct Gate(Arc<Digest>);

impl Gate {
    pub(super) fn new(token: &str) -> Self {
        Self(Arc::new(digest(&SHA256, token.as_bytes())))
    }

    fn opens(&self, shown: &str) -> bool {
        verify_slices_are_equal(self.0.as_ref().as_ref(), digest(&SHA256, shown.as_bytes()).as_ref()).is_ok()
    }
}

/// What the `Authorization` header shows.
fn shown(request: &Request) -> Option<&str> {
    let text = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

pub(super) async fn check(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let why = match shown(&request) {
        Some(token) if gate.opens(token) => return next.run(request).await,
        Some(_) => "this is not the token of this server",
        None => "a token is needed: Authorization: Bearer <token>",
    };
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"amphi\"")];
    (challenge, Refusal::new(StatusCode::UNAUTHORIZED, why)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_opens() {
        let gate = Gate::new("0123456789abcdef");
        assert!(gate.opens("0123456789abcdef"));
        for wrong in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef0"] {
            assert!(!gate.opens(wrong), "{wrong}");
        }
    }

    #[test]
    fn only_a_bearer_counts() {
        let request =
            |value: &str| Request::builder().header("authorization", value).body(axum::body::Body::empty()).unwrap();
        assert_eq!(shown(&request("Bearer abc")), Some("abc"));
        assert_eq!(shown(&request("bearer  abc ")), Some("abc"));
        assert_eq!(shown(&request("Basic abc")), None);
        assert_eq!(shown(&request("Bearer")), None);
    }
}
