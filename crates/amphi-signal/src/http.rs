//! HTTP for everything that is not a WebSocket: conference requests, health, metrics, BOSH.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use amphi_focus::ConferenceRequest;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use prometheus_client::registry::Registry;

use crate::bosh;
use crate::focus_task::FocusHandle;
use crate::front::{Peer, head};

/// Where conference requests are answered.
#[derive(Clone)]
pub(crate) enum FocusAt {
    /// Here.
    Here(FocusHandle),
    /// At another HTTP server: `http://127.0.0.1:8888`.
    There(String),
    /// Nowhere: this process neither runs nor knows the focus.
    Nowhere,
}

/// What the handlers need.
pub(crate) struct Http {
    pub(crate) focus: FocusAt,
    /// `None`: metrics are not served.
    pub(crate) registry: Option<Arc<Registry>>,
    pub(crate) health: Arc<dyn Health>,
    pub(crate) cors_origins: Vec<String>,
    pub(crate) trusted_proxies: Vec<IpAddr>,
    pub(crate) request_bytes: usize,
    /// How long a request's body may take.
    pub(crate) body_time: Duration,
    pub(crate) bosh: bosh::Gate,
    pub(crate) name: String,
}

/// Tells whether this process can do its work.
pub(crate) trait Health: Send + Sync {
    /// `Err` with a sentence for the operator when it cannot.
    fn check(&self) -> Result<(), String>;
    /// State as JSON for the health view.
    fn report(&self) -> serde_json::Value;
}

/// Routes of the public front. Metrics are for operators: they are there only where somebody wants it so.
pub(crate) fn front(http: Arc<Http>, more: Option<Router>, metrics_too: bool) -> Router {
    let mut router = common();
    if metrics_too {
        router = router.route("/metrics", get(metrics));
    } else {
        // No room has this name.
        router = router.route("/metrics", any(|| async { StatusCode::NOT_FOUND }));
    }
    let router = router
        .route("/xmpp-websocket", get(keep_alive))
        .route("/{tenant}/xmpp-websocket", get(keep_alive))
        .route("/http-bind", any(bosh::handle))
        .route("/{tenant}/http-bind", any(bosh::handle))
        .layer(middleware::from_fn_with_state(http.clone(), cors))
        .with_state(http);
    match more {
        Some(more) => router.merge(more),
        None => router,
    }
}

/// Routes of the focus' and operators' address.
pub(crate) fn admin(http: Arc<Http>, more: Option<Router>) -> Router {
    let router = common().route("/metrics", get(metrics)).merge(crate::operators::routes());
    let router = router.layer(middleware::from_fn_with_state(http.clone(), cors)).with_state(http);
    // The rest is for operators: no page of another origin may ask for it.
    match more {
        Some(more) => router.merge(more),
        None => router,
    }
}

fn common() -> Router<Arc<Http>> {
    Router::new()
        .route("/conference-request/v1", any(conference_request))
        .route("/{tenant}/conference-request/v1", any(conference_request))
        .route("/about/health", get(health))
        .route("/about/version", get(version))
        .route("/about/status", get(status))
}

/// Clients fetch the WebSocket address as a keep-alive (`spec/client.md` 6.3).
async fn keep_alive() -> &'static str {
    "This is the XMPP WebSocket."
}

async fn health(State(http): State<Arc<Http>>) -> Response {
    match http.health.check() {
        Ok(()) => StatusCode::OK.into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    }
}

async fn status(State(http): State<Arc<Http>>) -> Response {
    json(StatusCode::OK, &http.health.report())
}

async fn version(State(http): State<Arc<Http>>) -> Response {
    json(
        StatusCode::OK,
        &serde_json::json!({ "name": http.name, "version": env!("CARGO_PKG_VERSION"), "os": std::env::consts::OS }),
    )
}

async fn metrics(State(http): State<Arc<Http>>) -> Response {
    let Some(registry) = &http.registry else {
        return (StatusCode::NOT_FOUND, "Metrics are switched off (metrics.enabled).").into_response();
    };
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

pub(crate) fn json(status: StatusCode, v: &serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], v.to_string()).into_response()
}

/// `POST /conference-request/v1` (`spec/focus.md` 2.2).
async fn conference_request(
    State(http): State<Arc<Http>>,
    peer: Option<Extension<Peer>>,
    method: Method,
    headers: HeaderMap,
    request: Request,
) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::OK.into_response();
    }
    if method != Method::POST {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST, OPTIONS")]).into_response();
    }
    let body = match http.body(request, http.request_bytes).await {
        Ok(b) => b,
        Err(refused) => return refused.into_response(),
    };
    let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(head::bearer);
    let peer = peer.map_or(IpAddr::from([127, 0, 0, 1]), |p| p.0.0);
    let lines = headers.get_all("x-forwarded-for").iter().filter_map(|v| v.to_str().ok());
    let peer = head::origin(peer, Some(&lines.collect::<Vec<_>>().join(",")), &http.trusted_proxies);
    let a = http.conference_request(body, bearer, peer).await;
    let status = StatusCode::from_u16(a.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, a.content_type)], a.body).into_response()
}

/// An answer to a conference request, whatever server sends it.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

impl Answer {
    fn text(status: u16, text: impl Into<Bytes>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: text.into() }
    }

    fn json(body: impl Into<Bytes>) -> Self {
        Self { status: 200, content_type: "application/json", body: body.into() }
    }
}

impl Http {
    /// A request's body, within bounds of size and time.
    pub(crate) async fn body(&self, request: Request, most: usize) -> Result<Bytes, (StatusCode, &'static str)> {
        match tokio::time::timeout(self.body_time, axum::body::to_bytes(request.into_body(), most)).await {
            Ok(Ok(b)) => Ok(b),
            Ok(Err(_)) => Err((StatusCode::PAYLOAD_TOO_LARGE, "Bad request: body too large")),
            Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "The body took too long")),
        }
    }

    /// The origin to allow, if it is on the list.
    pub(crate) fn allowed_origin<'o>(&self, origin: Option<&'o str>) -> Option<&'o str> {
        origin.filter(|o| self.cors_origins.iter().any(|a| a == "*" || a == o))
    }

    /// Header with the region of the user.
    pub(crate) fn region_header(&self) -> &str {
        &self.bosh.region_header
    }

    /// Answers a conference request, here or at the focus of another process.
    pub(crate) async fn conference_request(&self, body: Bytes, bearer: Option<String>, peer: IpAddr) -> Answer {
        match &self.focus {
            FocusAt::Here(focus) => {
                let answer = match ConferenceRequest::from_json(&body, bearer.as_deref()) {
                    Ok(r) => focus.request(r, peer).await,
                    Err(e) => Err(e),
                };
                match answer {
                    Ok(a) => Answer::json(a.to_json()),
                    Err(e) => {
                        let (status, text) = e.http();
                        Answer::text(status, text)
                    }
                }
            }
            FocusAt::There(base) => forward(base, body, bearer, peer).await,
            FocusAt::Nowhere => {
                Answer::text(404, "Conference requests are not answered here: this process has no focus.")
            }
        }
    }
}

/// Hands a conference request to the focus of another process.
async fn forward(base: &str, body: Bytes, bearer: Option<String>, peer: IpAddr) -> Answer {
    let host = base.trim_start_matches("http://").trim_end_matches('/');
    let mut req = hyper::Request::post("/conference-request/v1")
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .header("x-forwarded-for", peer.to_string());
    if let Some(b) = bearer {
        req = req.header(header::AUTHORIZATION, format!("Bearer {b}"));
    }
    let Ok(req) = req.body(http_body_util::Full::new(body)) else { return Answer::text(500, "Internal error") };
    match call(host, req, FOCUS_TIME).await {
        Ok((StatusCode::OK, _, bytes)) => Answer::json(bytes),
        Ok((status, _, bytes)) => Answer::text(status.as_u16(), bytes),
        Err(e) => {
            tracing::warn!(error = %e, "The focus is out of reach.");
            Answer::text(502, "The focus is out of reach.")
        }
    }
}

/// How long the focus of another process may take for a conference request, which it may hold back for a while.
const FOCUS_TIME: Duration = Duration::from_secs(30);

/// One HTTP request to another process, which has `most` to answer.
pub(crate) async fn call(
    host: &str,
    req: hyper::Request<http_body_util::Full<Bytes>>,
    most: Duration,
) -> Result<(StatusCode, HeaderMap, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    tokio::time::timeout(most, answer(host, req)).await.map_err(|_| "no answer in time")?
}

/// How long a connection to another process is kept for the next request: shorter than that process keeps it.
const REST: Duration = Duration::from_secs(15);

async fn answer(
    host: &str,
    mut req: hyper::Request<http_body_util::Full<Bytes>>,
) -> Result<(StatusCode, HeaderMap, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    use http_body_util::BodyExt as _;
    use hyper_util::client::legacy::{Client, connect::HttpConnector};
    static CLIENT: LazyLock<Client<HttpConnector, http_body_util::Full<Bytes>>> = LazyLock::new(|| {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Client::builder(hyper_util::rt::TokioExecutor::new())
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .pool_idle_timeout(REST)
            .build(connector)
    });
    *req.uri_mut() = format!("http://{host}{}", req.uri()).parse()?;
    let (parts, body) = CLIENT.request(req).await?.into_parts();
    Ok((parts.status, parts.headers, body.collect().await?.to_bytes()))
}

/// Cross-origin rules: clients may come from another origin than ours (`spec/client.md` 7.1).
async fn cors(State(http): State<Arc<Http>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if preflight { StatusCode::OK.into_response() } else { next.run(request).await };
    let allowed = |o: &HeaderValue| http.allowed_origin(o.to_str().ok()).is_some();
    if let Some(o) = origin.filter(allowed) {
        let h = response.headers_mut();
        h.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, o);
        h.insert(header::VARY, HeaderValue::from_static("Origin"));
        h.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
        h.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Content-Type, Authorization"));
        h.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_process_that_does_not_answer_is_not_waited_for() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (begin, peer) = (tokio::time::Instant::now(), IpAddr::from([127, 0, 0, 1]));
        let answer = forward(&format!("http://{host}"), Bytes::from_static(b"{}"), None, peer).await;
        assert_eq!(answer.status, 502);
        assert_eq!(begin.elapsed().as_secs(), FOCUS_TIME.as_secs());
    }
}
