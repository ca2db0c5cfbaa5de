//! A stock jitsi-meet at the front, in the place of our page (`web.root`): its files with caching, its document for every room, and a
//! `config.js` that says where this deployment is (`spec/client.md` 22). Server-side includes of its document are filled in here, as
//! nginx does it for stock deployments.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

/// What the application is told of this server.
#[derive(Clone, Debug)]
pub(crate) struct About {
    /// The domain that people log in to.
    pub(crate) domain: String,
    /// Its conference service.
    pub(crate) muc: String,
    /// Address for people, without a slash at the end; `None`: whatever the browser came to.
    pub(crate) public_url: Option<String>,
    /// Whether there is an audience.
    pub(crate) visitors: bool,
    /// Whether there is a waiting room.
    pub(crate) queue: bool,
    /// Announced shard and region.
    pub(crate) shard: Option<String>,
    pub(crate) region: Option<String>,
    /// Further keys, by path.
    pub(crate) more: Vec<(String, String)>,
}

struct Site {
    root: PathBuf,
    about: About,
}

/// Deepest include within an include.
const INCLUDES: usize = 4;
/// Largest document with includes.
const DOCUMENT: u64 = 4 << 20;

/// Whatever no other route takes.
pub(crate) fn routes(root: PathBuf, about: About) -> Router {
    Router::new().fallback(anything).with_state(Arc::new(Site { root, about }))
}

async fn anything(State(site): State<Arc<Site>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return StatusCode::NOT_FOUND.into_response();
    }
    let Some(path) = decoded(uri.path()) else { return StatusCode::BAD_REQUEST.into_response() };
    // Tenants ask for these below their own name.
    if path == "/config.js" || path.split('/').skip(2).collect::<Vec<_>>() == ["config.js"] {
        let script = site.config_js(&headers);
        return (
            [(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")],
            script,
        )
            .into_response();
    }
    if let Some(file) = site.file(&path).await {
        return asset(&file, &uri, &headers).await;
    }
    let depth = path.split('/').filter(|p| !p.is_empty()).count();
    let folders = ["libs", "static", "images", "fonts", "sounds", "lang", "css"];
    let of_the_application = folders.iter().any(|f| path.trim_start_matches('/').starts_with(&format!("{f}/")));
    if depth > 2 || of_the_application {
        return StatusCode::NOT_FOUND.into_response();
    }
    match document(&site.root, "index.html", 0).await {
        Some(html) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")], html)
            .into_response(),
        None => {
            tracing::error!(root = %site.root.display(), "web.root has no index.html any more.");
            (StatusCode::SERVICE_UNAVAILABLE, "The page is not there.").into_response()
        }
    }
}

impl Site {
    /// A file below the root that the path names.
    async fn file(&self, path: &str) -> Option<PathBuf> {
        let relative = Path::new(path.trim_start_matches('/'));
        // Neither up nor elsewhere, and nothing hidden.
        let inside =
            relative.components().all(|c| matches!(c, Component::Normal(n) if !n.to_string_lossy().starts_with('.')));
        if !inside || relative.as_os_str().is_empty() || path == "/index.html" {
            return None;
        }
        let whole = self.root.join(relative);
        tokio::fs::metadata(&whole).await.ok().filter(std::fs::Metadata::is_file).map(|_| whole)
    }

    /// The generated `config.js`.
    fn config_js(&self, headers: &HeaderMap) -> String {
        let about = &self.about;
        let host =
            headers.get(header::HOST).and_then(|h| h.to_str().ok()).filter(|h| is_host(h)).unwrap_or(&about.domain);
        let proto = headers.get("x-forwarded-proto").and_then(|h| h.to_str().ok());
        let base = about.public_url.clone().unwrap_or_else(|| {
            let scheme = if proto == Some("https") { "https" } else { "http" };
            format!("{scheme}://{host}")
        });
        let web_socket = base.replacen("http", "ws", 1);
        let name = base.split_once("://").map_or(host, |(_, rest)| rest);
        let mut config = json!({
            "hosts": { "domain": about.domain, "muc": about.muc },
            "bosh": format!("{base}/http-bind"),
            "websocket": format!("{web_socket}/xmpp-websocket"),
            "websocketKeepAliveUrl": format!("{base}/xmpp-websocket"),
            "conferenceRequestUrl": format!("{base}/conference-request/v1"),
            "enableWebsocketResume": true,
            "bridgeChannel": { "preferSctp": true },
            "p2p": { "enabled": false },
            "enableClosePage": false,
            "disableThirdPartyRequests": true,
        });
        if about.visitors {
            config["visitors"] = json!({ "enableMediaOnPromote": { "audio": false, "video": false } });
            if about.queue {
                config["visitors"]["queueService"] = json!(name);
            }
        }
        if about.shard.is_some() || about.region.is_some() {
            config["deploymentInfo"] = json!({ "shard": about.shard, "region": about.region });
        }
        for (path, text) in &about.more {
            put(&mut config, path, serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone())));
        }
        // The document may carry the script inline.
        let text = serde_json::to_string_pretty(&config).unwrap_or_default().replace('<', "\\u003c");
        format!("/* Made by this server; further keys are set in [web.config]. */\nvar config = {text};\n")
    }
}

/// Sets a key below others: `a.b.c`.
fn put(value: &mut Value, path: &str, new: Value) {
    let mut at = value;
    for key in path.split('.') {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[key];
    }
    *at = new;
}

/// What may stand in an address that is made from a request.
fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']'))
}

fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(b) = rest.next() {
        if b != b'%' {
            bytes.push(b);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok().filter(|p| !p.contains('\0'))
}

/// A document with its includes: `<!--#include virtual="title.html" -->`.
async fn document(root: &Path, name: &str, depth: usize) -> Option<Bytes> {
    let relative = Path::new(name.trim_start_matches('/'));
    if !relative.components().all(|c| matches!(c, Component::Normal(_))) {
        return None;
    }
    let mut text = String::new();
    tokio::fs::File::open(root.join(relative)).await.ok()?.take(DOCUMENT).read_to_string(&mut text).await.ok()?;
    let mut html = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("<!--#include virtual=\"") {
        html.push_str(before);
        let Some((name, tail)) = after.split_once("-->") else {
            rest = after;
            break;
        };
        let name = name.split('"').next().unwrap_or_default();
        if depth < INCLUDES
            && let Some(included) = Box::pin(document(root, name, depth + 1)).await
        {
            html.push_str(&String::from_utf8_lossy(&included));
        }
        rest = tail;
        if html.len() as u64 > DOCUMENT {
            return None;
        }
    }
    html.push_str(rest);
    Some(html.into())
}

/// A file, with its compressed form where there is one, and with an answer of its own for who has it already.
async fn asset(path: &Path, uri: &Uri, headers: &HeaderMap) -> Response {
    let text = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let accepted = text(header::ACCEPT_ENCODING);
    let mut chosen = (path.to_owned(), None);
    for (name, suffix) in [("br", "br"), ("gzip", "gz")] {
        let beside = PathBuf::from(format!("{}.{suffix}", path.display()));
        if accepted.split(',').any(|a| a.trim().split(';').next() == Some(name)) && beside.is_file() {
            chosen = (beside, Some(name));
            break;
        }
    }
    let Ok(meta) = tokio::fs::metadata(&chosen.0).await else { return StatusCode::NOT_FOUND.into_response() };
    let changed = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_secs());
    let tag = format!("\"{changed:x}-{:x}{}\"", meta.len(), chosen.1.unwrap_or_default());
    let mut answer = HeaderMap::new();
    let set = |answer: &mut HeaderMap, name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            answer.insert(name, value);
        }
    };
    // The application asks for its libraries with its version in the query.
    let age = if uri.query().is_some_and(|q| q.contains("v=")) {
        "public, max-age=31536000, immutable"
    } else {
        "public, max-age=3600"
    };
    set(&mut answer, header::CONTENT_TYPE, content_type(path));
    set(&mut answer, header::CACHE_CONTROL, age);
    set(&mut answer, header::ETAG, &tag);
    set(&mut answer, header::VARY, "Accept-Encoding");
    set(&mut answer, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if text(header::IF_NONE_MATCH).split(',').any(|t| t.trim() == tag) {
        return (StatusCode::NOT_MODIFIED, answer).into_response();
    }
    set(&mut answer, header::CONTENT_LENGTH, &meta.len().to_string());
    if let Some(encoding) = chosen.1 {
        set(&mut answer, header::CONTENT_ENCODING, encoding);
    }
    let Ok(file) = tokio::fs::File::open(&chosen.0).await else { return StatusCode::NOT_FOUND.into_response() };
    // Piece by piece: libraries are several megabytes, and many people come at once.
    let pieces = futures_util::stream::unfold(file, |mut file| async move {
        let mut piece = vec![0; 64 * 1024];
        match file.read(&mut piece).await {
            Ok(0) => None,
            Ok(n) => {
                piece.truncate(n);
                Some((Ok(Bytes::from(piece)), file))
            }
            Err(e) => Some((Err(e), file)),
        }
    });
    (answer, Body::from_stream(pieces)).into_response()
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|e| e.to_str()).unwrap_or_default() {
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "html" => "text/html; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "ico" => "image/x-icon",
        "json" | "map" | "webmanifest" => "application/json",
        "wasm" => "application/wasm",
        "woff2" => "font/woff2",
        "woff" => "font/woff",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "opus" | "ogg" => "audio/ogg",
        "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("amphi-site-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&root);
            std::fs::create_dir_all(root.join("libs")).unwrap();
            let html = "<head><!--#include virtual=\"title.html\" --><script><!--#include virtual=\"/config.js\" --></script></head>";
            std::fs::write(root.join("index.html"), html).unwrap();
            std::fs::write(root.join("title.html"), "<title>Hello</title>").unwrap();
            std::fs::write(root.join("libs/app.js"), "long").unwrap();
            std::fs::write(root.join("libs/app.js.gz"), "gz").unwrap();
            std::fs::write(root.join(".secret"), "no").unwrap();
            Self(root)
        }

        async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
            let about = About {
                domain: "meet.example".to_owned(),
                muc: "conference.meet.example".to_owned(),
                public_url: Some("https://meet.example".to_owned()),
                visitors: true,
                queue: true,
                shard: None,
                region: None,
                more: vec![
                    ("p2p.enabled".to_owned(), "true".to_owned()),
                    ("subject".to_owned(), "</script>".to_owned()),
                ],
            };
            let mut request = Request::get(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = routes(self.0.clone(), about).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            let (head, body) = answer.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn every_room_gets_the_document_with_its_includes() {
        let root = Root::new("rooms");
        for path in ["/", "/Room", "/tenant/Room", "/index.html"] {
            let (status, headers, body) = root.get(path, &[]).await;
            assert_eq!((status, &headers["cache-control"]), (StatusCode::OK, &HeaderValue::from_static("no-cache")));
            assert!(body.contains("<title>Hello</title>") && !body.contains("#include"), "{path}: {body}");
        }
        for path in ["/libs/none.js", "/a/b/c", "/static/x"] {
            assert_eq!(root.get(path, &[]).await.0, StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[tokio::test]
    async fn config_js_says_where_the_deployment_is() {
        let root = Root::new("config");
        for path in ["/config.js", "/tenant/config.js"] {
            let (_, _, body) = root.get(path, &[]).await;
            let json = body.split("var config = ").nth(1).unwrap().trim().trim_end_matches(';');
            let config: Value = serde_json::from_str(json).unwrap();
            assert_eq!(config["websocket"], "wss://meet.example/xmpp-websocket");
            assert_eq!(config["conferenceRequestUrl"], "https://meet.example/conference-request/v1");
            assert_eq!(config["hosts"]["muc"], "conference.meet.example");
            assert_eq!(config["visitors"]["queueService"], "meet.example");
            assert_eq!((&config["p2p"]["enabled"], &config["subject"]), (&json!(true), &json!("</script>")));
            assert!(!body.contains("</script>"));
        }
    }

    #[tokio::test]
    async fn files_are_cached_compressed_and_told_apart() {
        let root = Root::new("files");
        let (status, headers, body) = root.get("/libs/app.js?v=1", &[("accept-encoding", "gzip, br")]).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "gz"));
        assert!(headers["cache-control"].to_str().unwrap().contains("immutable"));
        let tag = headers["etag"].to_str().unwrap();
        let again = root.get("/libs/app.js?v=1", &[("accept-encoding", "gzip"), ("if-none-match", tag)]).await;
        assert_eq!((again.0, again.2.as_str()), (StatusCode::NOT_MODIFIED, ""));
        let plain = root.get("/libs/app.js", &[]).await;
        assert_eq!((plain.2.as_str(), plain.1["content-length"].to_str().unwrap()), ("long", "4"));
    }

    #[tokio::test]
    async fn nothing_outside_and_nothing_hidden_is_served() {
        let root = Root::new("outside");
        for path in ["/../../etc/passwd", "/libs/%2e%2e/%2e%2e/etc/passwd", "/.secret", "/%2esecret", "/%00", "/%zz"] {
            let (_, _, body) = root.get(path, &[]).await;
            assert!(!body.contains("root:") && body != "no", "{path}: {body}");
        }
    }
}
