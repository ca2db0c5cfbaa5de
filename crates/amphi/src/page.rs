//! What people see at the front: the meeting page at `/` and at every room's path, the health view at `/health-view`. The files
//! come from `web/dist` and are part of the binary; a binary that was built without them shows the health view at `/` and says
//! how to get the page.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Files of the page by path. Compressed forms stand beside them, as `.br` and `.gz`.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page.rs"));

const HEALTH: &str = include_str!("../assets/health.html");
const INDEX: &str = "/index.html";
/// The element of the document that takes what the page has to know.
const PLACE: &str = r#"id="amphi-config">{}<"#;
/// Everything comes from here; WebSockets may lead to bridges elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    media-src 'self' blob: mediastream:; connect-src 'self' ws: wss:; manifest-src 'self'; base-uri 'none'; form-action 'self'";
const HTML: &str = "text/html; charset=utf-8";

/// What the page is told of this server.
#[derive(Debug, serde::Serialize)]
pub(crate) struct About {
    /// The domain that people log in to.
    pub(crate) domain: String,
    /// Address of the conference service.
    pub(crate) muc: String,
}

struct Site {
    /// The document with [`About`] in it; `None` where the page was not built.
    index: Option<Bytes>,
    /// The health view at `/`, where the page was not built.
    health: Bytes,
}

/// Routes of the page: two of their own, and whatever no other route takes.
pub(crate) fn routes(about: &About) -> Router {
    let index = file(INDEX).and_then(|f| document(f, about));
    if index.is_none() {
        tracing::warn!("This program was built without the meeting page; `cargo xtask page` makes it.");
    }
    let note = "<p class=\"lead\">The meeting page is not part of this program. With Node.js installed, <code>cargo xtask run</code> \
        builds and serves it.</p>\n  <section class=\"tiles\"";
    let health = Bytes::from(HEALTH.replacen("<section class=\"tiles\"", note, 1));
    Router::new()
        .route("/", get(home))
        .route("/health-view", get(|| async { ([(header::CONTENT_TYPE, HTML)], HEALTH) }))
        .fallback(anything)
        .with_state(Arc::new(Site { index, health }))
}

/// Whether the page is part of this program.
pub(crate) fn is_built() -> bool {
    file(INDEX).is_some()
}

pub(crate) fn file(path: &str) -> Option<&'static [u8]> {
    FILES.binary_search_by(|(name, _)| (*name).cmp(path)).ok().map(|at| FILES[at].1)
}

fn document(html: &[u8], about: &About) -> Option<Bytes> {
    let html = std::str::from_utf8(html).ok()?;
    // A `<` could end the element early.
    let json = serde_json::to_string(about).ok()?.replace('<', "\\u003c");
    Some(Bytes::from(html.replacen(PLACE, &format!(r#"id="amphi-config">{json}<"#), 1)))
}

async fn home(State(site): State<Arc<Site>>) -> Response {
    match &site.index {
        Some(index) => page(index.clone()),
        None => ([(header::CONTENT_TYPE, HTML)], site.health.clone()).into_response(),
    }
}

fn page(index: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HTML),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, index).into_response()
}

/// Files of the page, and its document for `/<room>` and `/<tenant>/<room>`.
async fn anything(State(site): State<Arc<Site>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    if method != Method::GET && method != Method::HEAD {
        return StatusCode::NOT_FOUND.into_response();
    }
    if path != INDEX
        && let Some(bytes) = file(path)
    {
        return asset(path, bytes, &headers);
    }
    let is_room = !path.starts_with("/assets/") && (1..=2).contains(&path.split('/').filter(|p| !p.is_empty()).count());
    match &site.index {
        Some(index) if is_room => page(index.clone()),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

pub(crate) fn asset(path: &str, bytes: &'static [u8], headers: &HeaderMap) -> Response {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let accepts = |name: &str| accepted.split(',').any(|a| a.trim().split(';').next() == Some(name));
    let compressed = [("br", ".br"), ("gzip", ".gz")]
        .into_iter()
        .filter(|(name, _)| accepts(name))
        .find_map(|(name, suffix)| file(&format!("{path}{suffix}")).map(|b| (name, b)));
    // Names in `/assets/` change with their content.
    let age = if path.starts_with("/assets/") { "public, max-age=31536000, immutable" } else { "public, max-age=3600" };
    let common = [
        (header::CONTENT_TYPE, content_type(path)),
        (header::CACHE_CONTROL, age),
        (header::VARY, "Accept-Encoding"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    match compressed {
        Some((encoding, bytes)) => (common, [(header::CONTENT_ENCODING, encoding)], bytes).into_response(),
        None => (common, bytes).into_response(),
    }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "json" | "webmanifest" => "application/json",
        "html" => HTML,
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_says_where_the_server_is_and_nothing_ends_it_early() {
        let html = br#"<script type="application/json" id="amphi-config">{}</script>"#;
        let about = About { domain: "</script>".to_owned(), muc: "conference.x".to_owned() };
        let text = document(html, &about).unwrap();
        let text = std::str::from_utf8(&text).unwrap();
        assert_eq!(text.matches("</script>").count(), 1);
        let json = text.split("amphi-config\">").nth(1).unwrap().split("</script>").next().unwrap();
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!((&value["domain"], &value["muc"]), (&"</script>".into(), &"conference.x".into()));
    }

    #[test]
    fn files_are_found_by_their_path() {
        assert!(FILES.is_sorted_by_key(|(name, _)| *name));
        assert!(file("/no-such-file").is_none());
        if let Some((name, bytes)) = FILES.first() {
            assert_eq!(file(name), Some(*bytes));
        }
    }
}
