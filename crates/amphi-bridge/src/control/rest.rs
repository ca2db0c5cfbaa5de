//! HTTP for operators (`spec/bridge.md` 1.5).

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use super::handle::BridgeHandle;
use super::stats::Report;

/// Prefix of all metrics.
const PREFIX: &str = "jitsi_jvb_";

struct Rest {
    bridge: BridgeHandle,
    shutdown: bool,
    untrusted: Counter,
}

/// The routes. `shutdown`: whether the end may be begun here. `untrusted`: logins that were not made, since a node showed another
/// certificate than the pinned one.
pub fn router(bridge: BridgeHandle, shutdown: bool, untrusted: Counter) -> Router {
    Router::new()
        .route("/about/health", get(health))
        .route("/about/version", get(version))
        .route("/colibri/stats", get(stats))
        .route("/metrics", get(metrics))
        .route("/colibri/drain", get(is_drained))
        .route("/colibri/drain/enable", post(|s: State<Arc<Rest>>| drain(s, true)))
        .route("/colibri/drain/disable", post(|s: State<Arc<Rest>>| drain(s, false)))
        .route("/colibri/shutdown", post(begin_shutdown))
        .with_state(Arc::new(Rest { bridge, shutdown, untrusted }))
}

async fn health(State(rest): State<Arc<Rest>>) -> Response {
    match rest.bridge.health() {
        Ok(()) => StatusCode::OK.into_response(),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
    }
}

async fn version(State(rest): State<Arc<Rest>>) -> Response {
    let version = rest.bridge.report().map(|r| r.identity.version.clone());
    json(&json!({ "name": "amphi", "version": version, "os": std::env::consts::OS }))
}

async fn stats(State(rest): State<Arc<Rest>>) -> Response {
    json(&rest.bridge.report().map_or_else(|| json!({}), |r| r.json()))
}

async fn is_drained(State(rest): State<Arc<Rest>>) -> Response {
    json(&json!({ "drain": rest.bridge.report().is_some_and(|r| r.drain) }))
}

async fn drain(State(rest): State<Arc<Rest>>, drain: bool) -> Response {
    rest.bridge.drain(drain).await;
    StatusCode::OK.into_response()
}

async fn begin_shutdown(State(rest): State<Arc<Rest>>, body: axum::body::Bytes) -> Response {
    if !rest.shutdown {
        return (StatusCode::NOT_FOUND, "Shutdown over HTTP is switched off.").into_response();
    }
    let asked: Option<Value> = serde_json::from_slice(&body).ok();
    let Some(graceful) = asked.as_ref().and_then(|v| v.get("graceful-shutdown")).and_then(Value::as_bool) else {
        return (StatusCode::BAD_REQUEST, "Write {\"graceful-shutdown\":true} or false.").into_response();
    };
    rest.bridge.shutdown(graceful).await;
    StatusCode::OK.into_response()
}

async fn metrics(State(rest): State<Arc<Rest>>) -> Response {
    let mut registry = Registry::default();
    if let Some(report) = rest.bridge.report() {
        registry.register_collector(Box::new(Metrics(report)));
    }
    let help = "Logins not made, since a node showed another certificate than the pinned one";
    registry.register([PREFIX, "untrusted_logins"].concat(), help, rest.untrusted.clone());
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// A report as metrics.
#[derive(Debug)]
pub struct Metrics(pub Arc<Report>);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, help, value) in self.0.gauges() {
            let gauge = ConstGauge::new(value);
            let name = [PREFIX, name].concat();
            gauge.encode(encoder.encode_descriptor(&name, help, None, gauge.metric_type())?)?;
        }
        for (name, help, value) in self.0.counters() {
            counter(&mut encoder, &[PREFIX, name].concat(), help, value)?;
        }
        // What the reference has no name for.
        for (name, value) in self.0.plane.total.each() {
            counter(&mut encoder, &[PREFIX, "media_", name].concat(), "Count of the media plane", value)?;
        }
        Ok(())
    }
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> Result<(), std::fmt::Error> {
    let counter = ConstCounter::new(value);
    counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
}

fn json(v: &Value) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], v.to_string()).into_response()
}
