//! The operator's dashboard at `/dashboard` of the operators' address: a page of files that know no secret. All that it shows it
//! asks of the admin API, with the token that the operator types in.

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use crate::page;

const INDEX: &str = "/dashboard.html";
/// Everything comes from here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/dashboard") }))
        .route("/dashboard", get(index))
        .route("/dashboard/{*place}", get(index))
        .route("/assets/{*file}", get(asset))
        .route("/favicon.svg", get(asset))
}

async fn index() -> Response {
    let Some(html) = page::file(INDEX) else {
        let text = "This program was built without the dashboard; with Node.js installed, `cargo xtask page` makes it.";
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, html).into_response()
}

async fn asset(uri: Uri, headers: HeaderMap) -> Response {
    match page::file(uri.path()) {
        Some(bytes) => page::asset(uri.path(), bytes, &headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
