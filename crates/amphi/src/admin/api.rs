//! The paths of the API, and what is about the whole process.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{Admin, check, events, fleet, openapi, rooms, samples};

/// Method, path and handler of every operation; a test holds them against the document.
fn table() -> Vec<(&'static str, &'static str, MethodRouter<Arc<Admin>>)> {
    vec![
        ("get", "/overview", get(overview)),
        ("get", "/openapi.json", get(openapi::serve)),
        ("get", "/series", get(samples::serve)),
        ("get", "/check", get(check::serve)),
        ("get", "/events", get(events::list)),
        ("get", "/events/stream", get(events::stream)),
        ("get", "/decisions", get(events::decisions)),
        ("get", "/webhooks", get(webhooks)),
        ("get", "/rooms", get(rooms::list)),
        ("get", "/rooms/{room}", get(rooms::one)),
        ("delete", "/rooms/{room}", delete(rooms::end)),
        ("post", "/rooms/{room}/message", post(rooms::message)),
        ("get", "/rooms/{room}/occupants", get(rooms::occupants)),
        ("get", "/rooms/{room}/occupants/{id}", get(rooms::occupant)),
        ("get", "/rooms/{room}/occupants/{id}/why", get(rooms::why)),
        ("post", "/rooms/{room}/occupants/{id}/kick", post(rooms::kick)),
        ("post", "/rooms/{room}/occupants/{id}/promote", post(rooms::promote)),
        ("post", "/rooms/{room}/occupants/{id}/demote", post(rooms::demote)),
        ("post", "/rooms/{room}/occupants/{id}/moderator", post(rooms::moderator)),
        ("get", "/nodes", get(fleet::nodes)),
        ("get", "/nodes/{node}", get(fleet::node)),
        ("post", "/nodes/{node}/drain", post(fleet::drain_node)),
        ("post", "/nodes/{node}/undrain", post(fleet::undrain_node)),
        ("get", "/bridges", get(fleet::bridges)),
        ("get", "/bridges/{bridge}", get(fleet::bridge)),
        ("post", "/bridges/{bridge}/drain", post(fleet::drain_bridge)),
        ("post", "/bridges/{bridge}/undrain", post(fleet::undrain_bridge)),
    ]
}

pub(super) fn routes() -> Router<Arc<Admin>> {
    table().into_iter().fold(Router::new(), |router, (_, path, handler)| router.route(path, handler))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::operations::OPERATIONS;
    use super::*;

    #[test]
    fn the_document_tells_what_is_served_and_nothing_else() {
        let served: BTreeSet<(&str, &str)> = table().into_iter().map(|(method, path, _)| (method, path)).collect();
        let told: BTreeSet<(&str, &str)> = OPERATIONS.iter().map(|o| (o.method, o.path)).collect();
        assert_eq!(served, told);
    }
}
