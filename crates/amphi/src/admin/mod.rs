//! The admin API: what the dashboard, `amphi ctl` and other programs of operators use, on `listen.admin` and behind a token. It
//! turns HTTP into calls of [`Operator`] and decides nothing itself. The document of all operations is in `openapi`.

mod api;
mod check;
mod classic;
mod drained;
mod events;
mod fleet;
mod gate;
mod openapi;
mod operations;
pub mod post;
mod refusal;
mod rooms;
mod samples;
mod webhook;

use std::collections::HashMap;
use std::sync::Arc;

use amphi_bridge::control::BridgeHandle;
use amphi_signal::Operator;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::dashboard;
use drained::Drained;
use gate::Gate;
use refusal::{Refusal, anything_else, wrong_method};
use samples::Samples;
use webhook::Hooks;

/// Where the API is.
pub const BASE: &str = "/admin/v1";

/// Everything that the handlers need.
pub(crate) struct Admin {
    operator: Operator,
    config: Config,
    /// The bridge of this process, with its nick.
    bridge: Option<(String, BridgeHandle)>,
    samples: Samples,
    hooks: Hooks,
    streams: Arc<Semaphore>,
    _drained: Drained,
}

/// The routes of the operators' address. `token`: what operators show.
pub(crate) fn routes(
    config: Config,
    token: &str,
    bridge: Option<(String, BridgeHandle)>,
    operator: Operator,
) -> Router {
    let said = &config.admin.said;
    let admin = Arc::new(Admin {
        samples: Samples::start(operator.clone(), bridge.as_ref().map(|(_, b)| b.clone())),
        hooks: Hooks::start(&config.admin, operator.journal()),
        streams: Arc::new(Semaphore::new(said.streams as usize)),
        _drained: Drained::start(operator.clone(), &config.data_dir),
        operator,
        bridge,
        config,
    });
    let gate = Gate::new(token);
    let api = api::routes().fallback(anything_else).method_not_allowed_fallback(wrong_method);
    let guarded = Router::new().nest(BASE, api).merge(classic::guarded());
    guarded
        .layer(middleware::from_fn_with_state(gate, gate::check))
        .merge(classic::open())
        .with_state(admin)
        .merge(dashboard::routes())
}

/// Parameters of a query; the last of several with one name counts.
type Query = axum::extract::Query<HashMap<String, String>>;

/// Largest number of a query.
const LARGEST: usize = 1_000_000_000;

/// A number of a query, within bounds.
fn number(query: &HashMap<String, String>, name: &str, usual: usize, most: usize) -> Result<usize, Refusal> {
    match query.get(name) {
        None => Ok(usual),
        Some(text) => match text.parse::<usize>() {
            Ok(n) if n <= LARGEST => Ok(n.min(most)),
            Ok(_) => Err(Refusal::bad(format!("{name} is more than {LARGEST}"))),
            Err(_) => Err(Refusal::bad(format!("{name} is not a number"))),
        },
    }
}

/// A JSON body.
async fn body(headers: &HeaderMap, bytes: axum::body::Bytes) -> Result<serde_json::Value, Refusal> {
    let is_json = |v: &axum::http::HeaderValue| v.to_str().is_ok_and(|v| v.starts_with("application/json"));
    if bytes.is_empty() {
        return Ok(serde_json::json!({}));
    }
    if !headers.get("content-type").is_some_and(is_json) {
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is to be application/json"));
    }
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|e| Refusal::bad(format!("the body is no JSON: {e}")))?;
    if value.is_object() { Ok(value) } else { Err(Refusal::bad("the body is no JSON object")) }
}

/// An optional text of a body.
fn text(body: &serde_json::Value, name: &str) -> Result<Option<String>, Refusal> {
    match body.get(name) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(s)) if s.chars().count() <= 1000 => Ok(Some(s.clone())),
        Some(serde_json::Value::String(_)) => Err(Refusal::bad(format!("{name} is longer than 1000 characters"))),
        Some(_) => Err(Refusal::bad(format!("{name} is no text"))),
    }
}

/// An optional flag of a body.
fn flag(body: &serde_json::Value, name: &str) -> Result<Option<bool>, Refusal> {
    match body.get(name) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::Bool(b)) => Ok(Some(*b)),
        Some(_) => Err(Refusal::bad(format!("{name} is neither true nor false"))),
    }
}
