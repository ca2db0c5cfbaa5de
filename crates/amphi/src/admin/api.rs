//! The paths of the API, and what is about the whole process.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{Admin, check, events, fleet, openapi, rooms, samples};

pub(super) fn routes() -> Router<Arc<Admin>> {
    Router::new()
        .route("/overview", get(overview))
        .route("/openapi.json", get(openapi::serve))
        .route("/series", get(samples::serve))
        .route("/check", get(check::serve))
        .route("/events", get(events::list))
        .route("/events/stream", get(events::stream))
        .route("/decisions", get(events::decisions))
        .route("/webhooks", get(webhooks))
        .route("/rooms", get(rooms::list))
        .route("/rooms/{room}", get(rooms::one).delete(rooms::end))
        .route("/rooms/{room}/message", post(rooms::message))
        .route("/rooms/{room}/occupants", get(rooms::occupants))
        .route("/rooms/{room}/occupants/{id}", get(rooms::occupant))
        .route("/rooms/{room}/occupants/{id}/why", get(rooms::why))
        .route("/rooms/{room}/occupants/{id}/kick", post(rooms::kick))
        .route("/rooms/{room}/occupants/{id}/promote", post(rooms::promote))
        .route("/rooms/{room}/occupants/{id}/demote", post(rooms::demote))
        .route("/rooms/{room}/occupants/{id}/moderator", post(rooms::moderator))
        .route("/nodes", get(fleet::nodes))
        .route("/nodes/{node}", get(fleet::node))
        .route("/nodes/{node}/drain", post(fleet::drain_node))
        .route("/nodes/{node}/undrain", post(fleet::undrain_node))
        .route("/bridges", get(fleet::bridges))
        .route("/bridges/{bridge}", get(fleet::bridge))
        .route("/bridges/{bridge}/drain", post(fleet::drain_bridge))
        .route("/bridges/{bridge}/undrain", post(fleet::undrain_bridge))
}

async fn overview(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let t = admin.operator.totals();
    let focus = admin.operator.focus();
    let nodes = fleet::all_nodes(&admin);
    let bridges = fleet::all_bridges(&admin);
    let up = |list: &[Value]| list.iter().filter(|n| n["state"] == "up").count();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "domain": admin.config.domain,
        "roles": roles(&admin),
        "healthy": admin.operator.health().is_ok(),
        "problem": admin.operator.health().err(),
        "url": admin.config.url(),
        "rooms": t.rooms,
        "stage": t.people[0],
        "audience": focus.as_ref().map_or(t.people[1], |f| f.nodes.iter().map(|n| i64::from(n.visitors)).sum()),
        "sessions": t.sessions,
        "nodes": { "total": nodes.len(), "up": up(&nodes) },
        "bridges": { "total": bridges.len(), "up": up(&bridges) },
        "focus": focus.as_ref().map(|f| json!({
            "ready": f.ready,
            "invitations_waiting": f.invitations.0,
            "reinvitations_waiting": f.invitations.1,
        })),
    }))
}

fn roles(admin: &Admin) -> Vec<String> {
    let r = &admin.config.roles;
    let named = [(r.main, "main"), (r.front, "front"), (r.focus, "focus"), (r.bridge, "bridge")];
    let named = named.into_iter().filter(|(is, _)| *is).map(|(_, name)| name.to_owned());
    named.chain(r.nodes.iter().cloned()).collect()
}

async fn webhooks(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json(json!({ "webhooks": admin.hooks.status() }))
}
