//! The OpenAPI document of what is served on the operators' address: the tables of `operations`, and the shapes of what they answer.
//! Tests walk the document and ask the running server.

use axum::Json;
use serde_json::{Map, Value, json};

use super::BASE;
use super::operations::{Answer, CONTROL, In, OPERATIONS, Operation, Parameter, Told, decision_place, place};

/// An object of which these members are always there.
fn object(members: Value) -> Value {
    let names: Vec<String> = members.as_object().into_iter().flatten().map(|(n, _)| n.clone()).collect();
    json!({ "type": "object", "required": names, "properties": members })
}

fn list(of: &str) -> Value {
    json!({ "type": "array", "items": { "$ref": format!("#/components/schemas/{of}") } })
}

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let maybe_text = json!({ "type": ["string", "null"] });
    let n = json!({ "type": "integer" });
    let maybe_n = json!({ "type": ["integer", "null"] });
    let x = json!({ "type": "number" });
    let maybe_x = json!({ "type": ["number", "null"] });
    let b = json!({ "type": "boolean" });
    let maybe_b = json!({ "type": ["boolean", "null"] });
    let any_list = json!({ "type": "array", "items": { "type": "object" } });
    let maybe_list = json!({ "type": ["array", "null"], "items": { "type": "object" } });
    let pair = object(json!({ "total": n, "up": n }));
    let room = object(json!({
        "room": text, "name": text, "shown": text, "meeting_id": maybe_text, "created": maybe_n, "stage": n, "audience": n,
        "moderators": maybe_n, "hands": maybe_n, "has_password": maybe_b, "members_only": maybe_b, "waiting": maybe_n, "in_lobby": maybe_n,
        "seats_pending": maybe_n,
        "nodes": { "type": "array", "items": object(json!({ "node": text, "visitors": n, "pending": n, "state": text })) },
        "bridges": { "type": "array", "items": object(json!({ "bridge": text, "jid": text, "endpoints": n })) },
    }));
    let node = object(json!({
        "name": text, "kind": { "type": "string", "enum": ["main", "visitor"] },
        "state": { "type": "string", "enum": ["up", "down", "draining", "full"] },
        "here": b, "domain": maybe_text, "connected": maybe_b, "draining": b, "link": maybe_b, "sessions": maybe_n, "rooms": maybe_n,
        "stage": maybe_n, "visitors": maybe_n, "pending": maybe_n, "capacity": maybe_n, "load": maybe_x, "links": maybe_list,
    }));
    let bridge = object(json!({
        "name": text, "jid": maybe_text, "state": { "type": "string", "enum": ["up", "ill", "leaving", "draining"] },
        "here": b, "region": maybe_text, "relay_id": maybe_text, "version": maybe_text, "stress": x, "draining": b, "failing_ice": b,
        "endpoints": n, "conferences": n, "restart_requests": n, "endpoints_moved": n, "illness": maybe_text,
        "rates": { "type": ["object", "null"] },
    }));
    let event = json!({ "type": "object", "required": ["id", "at", "kind", "text"], "properties": {
        "id": n, "at": n, "kind": text, "text": text, "room": text, "node": text, "endpoint": text } });
    let decision = json!({ "type": "object", "required": ["id", "at", "room", "place", "why"], "properties": {
        "id": n, "at": n, "room": text, "place": decision_place(), "why": text, "node": text, "machine": text, "user": text,
        "jid": text, "peer": text } });
    json!({
        "Error": object(json!({ "error": text })),
        "Done": object(json!({ "done": b })),
        "Overview": object(json!({
            "version": text, "domain": text, "roles": { "type": "array", "items": text }, "healthy": b, "problem": maybe_text,
            "url": maybe_text, "rooms": n, "stage": n, "audience": n, "sessions": n, "nodes": pair, "bridges": pair,
            "focus": { "type": ["object", "null"] },
        })),
        "Sample": object(json!({
            "at": n, "joins_stage": x, "joins_audience": x, "stage": n, "audience": n, "rooms": n, "sessions": n, "stanzas_out": x,
            "fanout_p50": maybe_x, "fanout_p99": maybe_x, "bits_in": maybe_x, "bits_out": maybe_x, "nodes": any_list,
            "bridges": any_list,
        })),
        "Series": object(json!({ "interval": n, "samples": list("Sample") })),
        "Finding": object(json!({
            "level": { "type": "string", "enum": ["error", "warning", "note"] }, "about": text, "text": text, "fix": text,
        })),
        "Check": object(json!({ "ok": b, "findings": list("Finding") })),
        "Event": event,
        "Events": object(json!({ "events": list("Event") })),
        "Decision": decision,
        "Decisions": object(json!({ "decisions": list("Decision") })),
        "Webhook": object(json!({
            "url": text, "events": { "type": "array", "items": text }, "delivered": n, "failed": n, "dropped": n, "queued": n,
            "trouble": maybe_text,
        })),
        "Webhooks": object(json!({ "webhooks": list("Webhook") })),
        "Room": room,
        "Rooms": object(json!({ "total": n, "rooms": list("Room") })),
        "Occupant": object(json!({
            "id": text, "place": place(), "node": maybe_text, "jid": maybe_text, "role": text, "name": maybe_text,
            "machine": maybe_text, "user": maybe_text, "region": maybe_text, "service": b, "bridge": maybe_text,
        })),
        "Occupants": object(json!({ "room": text, "total": n, "occupants": list("Occupant") })),
        "Why": object(json!({
            "occupant": { "$ref": "#/components/schemas/Occupant" }, "text": text, "promoted": b, "decisions": list("Decision"),
        })),
        "People": { "type": "array", "items": object(json!({ "jid": text, "email": maybe_text, "display_name": maybe_text })) },
        "Node": node,
        "Nodes": object(json!({ "nodes": list("Node") })),
        "NodeDrained": object(json!({ "node": text, "draining": b })),
        "Bridge": bridge,
        "Bridges": object(json!({ "bridges": list("Bridge") })),
        "BridgeDrained": object(json!({ "bridge": text, "draining": b, "moved": maybe_n })),
    })
}

fn words(status: u16) -> &'static str {
    match status {
        400 => "The request makes no sense",
        401 => "No token, or not the right one",
        403 => "It is not allowed",
        404 => "There is no such thing",
        405 => "The path does not know this method",
        409 => "It cannot be done as things are",
        408 => "The body took too long",
        410 => "The meeting has ended",
        413 => "The body is too large",
        502 | 503 => "It cannot be asked now; try again",
        415 => "The body is no JSON",
        _ => "Too much at once; try again",
    }
}

fn operation(o: &Operation) -> Value {
    let parameter = |(name, place, words, schema): &Parameter| {
        json!({
            "name": name, "in": if *place == In::Path { "path" } else { "query" }, "required": *place != In::Query,
            "description": words, "schema": schema(),
        })
    };
    let as_json = |schema: Value| json!({ "application/json": { "schema": schema } });
    let mut done = json!({ "description": "Done" });
    match o.answer {
        Answer::Json(name) => done["content"] = as_json(json!({ "$ref": format!("#/components/schemas/{name}") })),
        Answer::Object => done["content"] = as_json(json!({ "type": "object" })),
        Answer::Text(media) => done["content"] = json!({ media: { "schema": { "type": "string" } } }),
        Answer::Nothing => {}
    }
    let mut responses = Map::new();
    responses.insert("200".to_owned(), done);
    for status in o.refusals.iter().chain(o.guarded.then_some(&401)) {
        let error = match o.told {
            Told::Json => as_json(json!({ "$ref": "#/components/schemas/Error" })),
            Told::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
        };
        responses.insert(status.to_string(), json!({ "description": words(*status), "content": error }));
    }
    let mut v = json!({
        "operationId": o.id,
        "summary": o.summary,
        "parameters": o.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": responses,
    });
    if let Some(body) = o.body {
        v["requestBody"] = json!({ "required": !o.may_be_empty, "content": as_json(body()) });
    }
    if !o.guarded {
        v["security"] = json!([]);
    }
    v
}

/// The document.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    let below = OPERATIONS.iter().map(|o| (BASE, o));
    for (base, o) in below.chain(CONTROL.iter().map(|o| ("", o))) {
        let path = paths.entry([base, o.path].concat()).or_insert_with(|| json!({}));
        path[o.method] = operation(o);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Amphi admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Rooms, people, nodes and bridges of an Amphi server, for operators.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

pub(super) async fn serve() -> Json<Value> {
    Json(document())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere_and_ids_are_unique() {
        fn walk(v: &Value, root: &Value) {
            match v {
                Value::Object(o) => {
                    if let Some(Value::String(r)) = o.get("$ref") {
                        assert!(root.pointer(r.trim_start_matches('#')).is_some(), "{r}");
                    }
                    o.values().for_each(|v| walk(v, root));
                }
                Value::Array(a) => a.iter().for_each(|v| walk(v, root)),
                _ => {}
            }
        }
        let d = document();
        walk(&d, &d);
        let all = || OPERATIONS.iter().chain(CONTROL);
        let mut ids: Vec<&str> = all().map(|o| o.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all().count());
    }

    #[test]
    fn what_a_path_names_is_a_parameter() {
        for o in OPERATIONS.iter().chain(CONTROL) {
            let named = o.path.matches('{').count();
            assert_eq!(o.parameters.iter().filter(|p| p.1 == In::Path).count(), named, "{}", o.path);
        }
    }
}
