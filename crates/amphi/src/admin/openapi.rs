//! The OpenAPI document of the admin API: one table of operations, and the shapes of what they answer. A test walks the table and
//! asks the running server.

use amphi_signal::journal::Kind;
use axum::Json;
use serde_json::{Map, Value, json};

use super::BASE;

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum In {
    Path,
    Query,
}

type Parameter = (&'static str, In, &'static str, fn() -> Value);

/// One operation.
struct Operation {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    body: Option<fn() -> Value>,
    /// Name of the schema of the answer.
    answer: &'static str,
    /// Statuses besides 200 and 401.
    refusals: &'static [u16],
}

const ROOM: Parameter = ("room", In::Path, "Name or address of the room", string);
const ID: Parameter = ("id", In::Path, "Endpoint id, which is the nick in the room", string);
const NODE: Parameter = ("node", In::Path, "Name of the node", string);
const BRIDGE: Parameter = ("bridge", In::Path, "Name of the bridge: its nick in the brewery", string);
const LIMIT: Parameter = ("limit", In::Query, "So many at most", count);
const OFFSET: Parameter = ("offset", In::Query, "So many are left out first", count);
const OF_ROOM: Parameter = ("room", In::Query, "Only of this room", string);

fn string() -> Value {
    json!({ "type": "string" })
}
fn count() -> Value {
    json!({ "type": "integer", "minimum": 0, "maximum": super::LARGEST })
}
fn kinds() -> Value {
    let one = Kind::ALL.map(Kind::as_str).join("|");
    json!({ "type": "string", "pattern": format!("^({one})(,({one}))*$") })
}
fn short_text() -> Value {
    json!({ "type": "string", "maxLength": 1000 })
}
fn boolean() -> Value {
    json!({ "type": "boolean" })
}
fn place() -> Value {
    json!({ "type": "string", "enum": ["stage", "audience"] })
}
fn decision_place() -> Value {
    json!({ "type": "string", "enum": ["stage", "audience", "wait", "refused"] })
}
fn reason() -> Value {
    json!({ "type": "object", "properties": { "reason": { "type": ["string", "null"], "maxLength": 1000 } } })
}
fn message() -> Value {
    json!({ "type": "object", "required": ["message"], "properties": {
        "message": { "type": "string", "minLength": 1, "maxLength": 1000 },
        "display_name": { "type": ["string", "null"], "maxLength": 1000 } } })
}
fn grant() -> Value {
    json!({ "type": "object", "properties": { "grant": { "type": ["boolean", "null"], "default": true } } })
}
fn moving() -> Value {
    json!({ "type": "object", "properties": { "move": { "type": ["boolean", "null"], "default": false } } })
}

const OPERATIONS: &[Operation] = &[
    get("/overview", "overview", "The whole process at a glance", &[], "Overview", &[]),
    get(
        "/series",
        "series",
        "Figures of each second of the last ten minutes",
        &[("seconds", In::Query, "Only so many", count)],
        "Series",
        &[400],
    ),
    get("/check", "check", "What is missing or half configured, with the fix", &[], "Check", &[]),
    get(
        "/events",
        "events",
        "The log of events, oldest first",
        &[
            ("after", In::Query, "Only later than this id", count),
            LIMIT,
            ("kind", In::Query, "Only these kinds, with commas between", kinds),
            OF_ROOM,
        ],
        "Events",
        &[400, 404],
    ),
    get(
        "/events/stream",
        "streamEvents",
        "Events as they happen, and a sample each second, as server-sent events",
        &[("kind", In::Query, "Only these kinds of events, with commas between", kinds), OF_ROOM],
        "",
        &[400, 404, 503],
    ),
    get(
        "/decisions",
        "decisions",
        "Where conference requests went and why, newest first",
        &[
            LIMIT,
            OF_ROOM,
            ("machine", In::Query, "Only of this browser", string),
            ("user", In::Query, "Only of this user", string),
            ("peer", In::Query, "Only from this network address", string),
            ("place", In::Query, "Only those that led there", decision_place),
        ],
        "Decisions",
        &[400, 404],
    ),
    get("/webhooks", "webhooks", "Receivers of events, and how they do", &[], "Webhooks", &[]),
    get(
        "/rooms",
        "rooms",
        "Rooms, the largest first",
        &[LIMIT, OFFSET, ("q", In::Query, "Only rooms with this in their address", string)],
        "Rooms",
        &[400],
    ),
    get("/rooms/{room}", "room", "One room, with the hands that are raised", &[ROOM], "Room", &[400, 404]),
    Operation {
        method: "delete",
        path: "/rooms/{room}",
        id: "endRoom",
        summary: "Ends a room for everybody",
        parameters: &[
            ROOM,
            ("silent", In::Query, "Clients come back by themselves", boolean),
            ("reason", In::Query, "For people", short_text),
        ],
        body: None,
        answer: "Done",
        refusals: &[400, 404],
    },
    post(
        "/rooms/{room}/message",
        "sendMessage",
        "A message of the system to everybody on stage",
        &[ROOM],
        Some(message),
        "Done",
        &[400, 404, 415],
    ),
    get(
        "/rooms/{room}/occupants",
        "occupants",
        "People of a room: the stage, then the audience",
        &[ROOM, ("place", In::Query, "Only there", place), LIMIT, OFFSET],
        "Occupants",
        &[400, 404],
    ),
    get("/rooms/{room}/occupants/{id}", "occupant", "Somebody in a room", &[ROOM, ID], "Occupant", &[400, 404]),
    get("/rooms/{room}/occupants/{id}/why", "why", "Why somebody is where it is", &[ROOM, ID], "Why", &[400, 404]),
    post(
        "/rooms/{room}/occupants/{id}/kick",
        "kick",
        "Throws somebody out",
        &[ROOM, ID],
        Some(reason),
        "Done",
        &[400, 404, 409, 415],
    ),
    post(
        "/rooms/{room}/occupants/{id}/promote",
        "promote",
        "Lets a visitor come on stage; a raised hand may be named by its visitor's address",
        &[ROOM, ID],
        None,
        "Done",
        &[400, 404, 409],
    ),
    post(
        "/rooms/{room}/occupants/{id}/demote",
        "demote",
        "Sends somebody from the stage to the audience",
        &[ROOM, ID],
        None,
        "Done",
        &[400, 404, 409],
    ),
    post(
        "/rooms/{room}/occupants/{id}/moderator",
        "moderator",
        "Gives or takes a moderator's rights",
        &[ROOM, ID],
        Some(grant),
        "Done",
        &[400, 404, 409, 415],
    ),
    get("/nodes", "nodes", "The main node and all visitor nodes", &[], "Nodes", &[]),
    get("/nodes/{node}", "node", "One node, with its rooms", &[NODE], "Node", &[400, 404]),
    post(
        "/nodes/{node}/drain",
        "drainNode",
        "A visitor node gets no new visitors",
        &[NODE],
        None,
        "NodeDrained",
        &[400, 404, 409],
    ),
    post(
        "/nodes/{node}/undrain",
        "undrainNode",
        "A visitor node is in service again",
        &[NODE],
        None,
        "NodeDrained",
        &[400, 404, 409],
    ),
    get("/bridges", "bridges", "All bridges", &[], "Bridges", &[]),
    get("/bridges/{bridge}", "bridge", "One bridge, with its rooms", &[BRIDGE], "Bridge", &[400, 404]),
    post(
        "/bridges/{bridge}/drain",
        "drainBridge",
        "Nothing new is placed on a bridge; what is there may be moved away",
        &[BRIDGE],
        Some(moving),
        "BridgeDrained",
        &[400, 404, 409, 415],
    ),
    post(
        "/bridges/{bridge}/undrain",
        "undrainBridge",
        "A bridge is in service again",
        &[BRIDGE],
        None,
        "BridgeDrained",
        &[400, 404, 409],
    ),
    get("/openapi.json", "openapi", "This document", &[], "", &[]),
];

const fn get(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    answer: &'static str,
    refusals: &'static [u16],
) -> Operation {
    Operation { method: "get", path, id, summary, parameters, body: None, answer, refusals }
}

const fn post(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    body: Option<fn() -> Value>,
    answer: &'static str,
    refusals: &'static [u16],
) -> Operation {
    Operation { method: "post", path, id, summary, parameters, body, answer, refusals }
}

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
        404 => "There is no such thing",
        405 => "The path does not know this method",
        409 => "It cannot be done as things are",
        415 => "The body is no JSON",
        _ => "Too much at once; try again",
    }
}

fn operation(o: &Operation) -> Value {
    let parameter = |(name, place, words, schema): &Parameter| {
        json!({
            "name": name, "in": if *place == In::Path { "path" } else { "query" }, "required": *place == In::Path,
            "description": words, "schema": schema(),
        })
    };
    let content = match o.id {
        "streamEvents" => json!({ "text/event-stream": { "schema": { "type": "string" } } }),
        "openapi" => json!({ "application/json": { "schema": { "type": "object" } } }),
        _ => json!({ "application/json": { "schema": { "$ref": format!("#/components/schemas/{}", o.answer) } } }),
    };
    let mut responses = Map::new();
    responses.insert("200".to_owned(), json!({ "description": "Done", "content": content }));
    for status in o.refusals.iter().chain(&[401]) {
        let error = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } });
        responses.insert(status.to_string(), json!({ "description": words(*status), "content": error }));
    }
    let mut v = json!({
        "operationId": o.id,
        "summary": o.summary,
        "parameters": o.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": responses,
    });
    if let Some(body) = o.body {
        v["requestBody"] =
            json!({ "required": o.id == "sendMessage", "content": { "application/json": { "schema": body() } } });
    }
    v
}

/// The document.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for o in OPERATIONS {
        let path = paths.entry(o.path).or_insert_with(|| json!({}));
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
        "servers": [{ "url": BASE }],
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
        let mut ids: Vec<&str> = OPERATIONS.iter().map(|o| o.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), OPERATIONS.len());
    }

    #[test]
    fn what_a_path_names_is_a_parameter() {
        for o in OPERATIONS {
            let named = o.path.matches('{').count();
            assert_eq!(o.parameters.iter().filter(|p| p.1 == In::Path).count(), named, "{}", o.path);
        }
    }
}
