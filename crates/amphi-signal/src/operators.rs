//! What operators ask the focus over HTTP: which bridges there are, and to move endpoints (`spec/focus.md` 8.1, 8.2). Served on
//! the operators' address alone.

use std::sync::Arc;

use amphi_focus::{BridgeStatus, Move, MoveError};
use amphi_stanza::BareJid;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::focus_task::FocusHandle;
use crate::http::{FocusAt, Http, json as answer};

/// Routes of the operators' address.
pub(crate) fn routes() -> Router<Arc<Http>> {
    Router::new()
        .route("/bridges", get(bridges))
        .route("/move-endpoints/move-endpoint", get(move_endpoint))
        .route("/move-endpoints/move-endpoints", get(move_endpoints))
        .route("/move-endpoints/move-fraction", get(move_fraction))
}

/// Status and sentence of an answer that is no success.
type Refusal = (StatusCode, String);

fn here(http: &Http) -> Result<&FocusHandle, Refusal> {
    match &http.focus {
        FocusAt::Here(focus) => Ok(focus),
        _ => Err((StatusCode::NOT_FOUND, "This process has no focus.".to_owned())),
    }
}

async fn bridges(State(http): State<Arc<Http>>) -> Response {
    let focus = match here(&http) {
        Ok(f) => f,
        Err(r) => return r.into_response(),
    };
    let Some((all, (first, again))) = focus.bridges().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "The focus has ended.").into_response();
    };
    let all: Vec<Value> = all.iter().map(bridge).collect();
    answer(StatusCode::OK, &json!({ "bridges": all, "invitations_waiting": first, "reinvitations_waiting": again }))
}

fn bridge(b: &BridgeStatus) -> Value {
    json!({
        "name": b.name,
        "jid": b.jid,
        "region": b.region,
        "relay_id": b.relay_id,
        "version": b.version,
        "stress": b.stress,
        "operational": b.operational,
        "draining": b.draining,
        "held": b.held,
        "graceful_shutdown": b.graceful_shutdown,
        "failing_ice": b.failing_ice,
        "endpoints": b.endpoints,
        "conferences": b.conferences,
        "restart_requests": b.restarts,
        "endpoints_moved": b.moved,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    conference: Option<String>,
    endpoint: Option<String>,
    bridge: Option<String>,
    num_endpoints: Option<String>,
    fraction: Option<String>,
}

fn missing(what: &str) -> Refusal {
    (StatusCode::BAD_REQUEST, format!("{what} is missing or not valid."))
}

fn room(said: Option<&String>) -> Result<Option<BareJid>, Refusal> {
    said.map(|r| BareJid::parse(r).map_err(|_| missing("conference"))).transpose()
}

async fn moved(http: &Http, what: Result<Move, Refusal>) -> Response {
    let (what, focus) = match (what, here(http)) {
        (Ok(w), Ok(f)) => (w, f),
        (Err(r), _) | (_, Err(r)) => return r.into_response(),
    };
    match focus.move_endpoints(what).await {
        Some(Ok((endpoints, conferences))) => {
            answer(StatusCode::OK, &json!({ "movedEndpoints": endpoints, "conferences": conferences }))
        }
        Some(Err(e @ (MoveError::UnknownBridge | MoveError::UnknownConference))) => {
            (StatusCode::NOT_FOUND, e.to_string()).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "The focus has ended.").into_response(),
    }
}

async fn move_endpoint(State(http): State<Arc<Http>>, Query(said): Query<Said>) -> Response {
    let what = match (room(said.conference.as_ref()), said.endpoint) {
        (Ok(Some(room)), Some(endpoint)) => Ok(Move::Endpoint { room, endpoint, bridge: said.bridge }),
        (Ok(None), _) => Err(missing("conference")),
        (Ok(_), None) => Err(missing("endpoint")),
        (Err(r), _) => Err(r),
    };
    moved(&http, what).await
}

async fn move_endpoints(State(http): State<Arc<Http>>, Query(said): Query<Said>) -> Response {
    let count = said.num_endpoints.as_ref().map_or(Some(1), |n| n.parse().ok());
    let what = match (said.bridge, room(said.conference.as_ref()), count) {
        (Some(bridge), Ok(room), Some(count)) => Ok(Move::Endpoints { bridge, room, count }),
        (None, _, _) => Err(missing("bridge")),
        (_, Err(r), _) => Err(r),
        (_, _, None) => Err(missing("numEndpoints")),
    };
    moved(&http, what).await
}

async fn move_fraction(State(http): State<Arc<Http>>, Query(said): Query<Said>) -> Response {
    let fraction =
        said.fraction.as_ref().map_or(Some(0.1), |f| f.parse::<f64>().ok().filter(|f| (0.0..=1.0).contains(f)));
    let what = match (said.bridge, fraction) {
        (Some(bridge), Some(f)) => Ok(Move::Fraction { bridge, per_mille: (f * 1000.0).round() as u32 }),
        (None, _) => Err(missing("bridge")),
        (_, None) => Err(missing("fraction")),
    };
    moved(&http, what).await
}
