//! The tables of operations: those of the admin API, and the control paths that are served beside it. `openapi` makes the document of
//! them; tests hold the routes against them.

use amphi_signal::journal::Kind;
use serde_json::{Value, json};

use self::Answer::{Json, Text};

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum In {
    Path,
    Query,
    /// A query that must have it.
    Needed,
}

pub(super) type Parameter = (&'static str, In, &'static str, fn() -> Value);

/// What the answer of success is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// JSON, as the schema of this name says.
    Json(&'static str),
    /// JSON, an object of any members.
    Object,
    /// Text of this media type.
    Text(&'static str),
    /// A status alone.
    Nothing,
}

/// How refusals are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// `{"error": "..."}`.
    Json,
    /// A sentence.
    Text,
}

/// One operation.
pub(super) struct Operation {
    pub(super) method: &'static str,
    /// Below [`BASE`](super::BASE), or the whole path of a control path.
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Parameter],
    pub(super) body: Option<fn() -> Value>,
    /// Whether it makes sense without a body.
    pub(super) may_be_empty: bool,
    pub(super) answer: Answer,
    /// Statuses besides 200 and 401.
    pub(super) refusals: &'static [u16],
    pub(super) told: Told,
    /// Whether the token is needed.
    pub(super) guarded: bool,
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
pub(super) fn place() -> Value {
    json!({ "type": "string", "enum": ["stage", "audience"] })
}
pub(super) fn decision_place() -> Value {
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

/// Below [`BASE`](super::BASE).
pub(super) const OPERATIONS: &[Operation] = &[
    get("/overview", "overview", "The whole process at a glance", &[], Json("Overview"), &[]),
    get(
        "/series",
        "series",
        "Figures of each second of the last ten minutes",
        &[("seconds", In::Query, "Only so many", count)],
        Json("Series"),
        &[400],
    ),
    get("/check", "check", "What is missing or half configured, with the fix", &[], Json("Check"), &[]),
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
        Json("Events"),
        &[400, 404],
    ),
    get(
        "/events/stream",
        "streamEvents",
        "Events as they happen, and a sample each second, as server-sent events",
        &[("kind", In::Query, "Only these kinds of events, with commas between", kinds), OF_ROOM],
        Text("text/event-stream"),
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
        Json("Decisions"),
        &[400, 404],
    ),
    get("/webhooks", "webhooks", "Receivers of events, and how they do", &[], Json("Webhooks"), &[]),
    get(
        "/rooms",
        "rooms",
        "Rooms, the largest first",
        &[LIMIT, OFFSET, ("q", In::Query, "Only rooms with this in their address", string)],
        Json("Rooms"),
        &[400],
    ),
    get("/rooms/{room}", "room", "One room, with the hands that are raised", &[ROOM], Json("Room"), &[400, 404]),
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
        may_be_empty: true,
        answer: Json("Done"),
        refusals: &[400, 404],
        told: Told::Json,
        guarded: true,
    },
    Operation {
        may_be_empty: false,
        ..post(
            "/rooms/{room}/message",
            "sendMessage",
            "A message of the system to everybody on stage",
            &[ROOM],
            Some(message),
            Json("Done"),
            &[400, 404, 415],
        )
    },
    get(
        "/rooms/{room}/occupants",
        "occupants",
        "People of a room: the stage, then the audience",
        &[ROOM, ("place", In::Query, "Only there", place), LIMIT, OFFSET],
        Json("Occupants"),
        &[400, 404],
    ),
    get("/rooms/{room}/occupants/{id}", "occupant", "Somebody in a room", &[ROOM, ID], Json("Occupant"), &[400, 404]),
    get(
        "/rooms/{room}/occupants/{id}/why",
        "why",
        "Why somebody is where it is",
        &[ROOM, ID],
        Json("Why"),
        &[400, 404],
    ),
    post(
        "/rooms/{room}/occupants/{id}/kick",
        "kick",
        "Throws somebody out",
        &[ROOM, ID],
        Some(reason),
        Json("Done"),
        &[400, 404, 409, 415],
    ),
    post(
        "/rooms/{room}/occupants/{id}/promote",
        "promote",
        "Lets a visitor come on stage; a raised hand may be named by its visitor's address",
        &[ROOM, ID],
        None,
        Json("Done"),
        &[400, 404, 409],
    ),
    post(
        "/rooms/{room}/occupants/{id}/demote",
        "demote",
        "Sends somebody from the stage to the audience",
        &[ROOM, ID],
        None,
        Json("Done"),
        &[400, 404, 409],
    ),
    post(
        "/rooms/{room}/occupants/{id}/moderator",
        "moderator",
        "Gives or takes a moderator's rights",
        &[ROOM, ID],
        Some(grant),
        Json("Done"),
        &[400, 404, 409, 415],
    ),
    get("/nodes", "nodes", "The main node and all visitor nodes", &[], Json("Nodes"), &[]),
    get("/nodes/{node}", "node", "One node, with its rooms", &[NODE], Json("Node"), &[400, 404]),
    post(
        "/nodes/{node}/drain",
        "drainNode",
        "A visitor node gets no new visitors",
        &[NODE],
        None,
        Json("NodeDrained"),
        &[400, 404, 409],
    ),
    post(
        "/nodes/{node}/undrain",
        "undrainNode",
        "A visitor node is in service again",
        &[NODE],
        None,
        Json("NodeDrained"),
        &[400, 404, 409],
    ),
    get("/bridges", "bridges", "All bridges", &[], Json("Bridges"), &[]),
    get("/bridges/{bridge}", "bridge", "One bridge, with its rooms", &[BRIDGE], Json("Bridge"), &[400, 404]),
    post(
        "/bridges/{bridge}/drain",
        "drainBridge",
        "Nothing new is placed on a bridge; what is there may be moved away",
        &[BRIDGE],
        Some(moving),
        Json("BridgeDrained"),
        &[400, 404, 409, 415],
    ),
    post(
        "/bridges/{bridge}/undrain",
        "undrainBridge",
        "A bridge is in service again",
        &[BRIDGE],
        None,
        Json("BridgeDrained"),
        &[400, 404, 409],
    ),
    get("/openapi.json", "openapi", "This document", &[], Answer::Object, &[]),
];

const NAMED: Parameter = ("room", In::Needed, "Name or address of the room", room_name);
const TENANT: Parameter = ("subdomain", In::Query, "Tenant of the room", string);
const PREFIX: Parameter = ("prefix", In::Query, "Another name of `subdomain`", string);
const OF_BRIDGE: Parameter = ("bridge", In::Needed, "Name of the bridge", string);

fn room_name() -> Value {
    json!({ "type": "string", "minLength": 1 })
}
fn address() -> Value {
    json!({ "type": "string", "pattern": "^[a-z0-9]{1,64}@[a-z0-9]{1,32}(\\.[a-z0-9]{1,32}){0,3}$" })
}
fn full_address() -> Value {
    json!({ "type": "string", "pattern": "^[a-z0-9]{1,64}@[a-z0-9]{1,32}(\\.[a-z0-9]{1,32}){0,3}/[a-z0-9]{1,64}$" })
}
fn share() -> Value {
    json!({ "type": "number", "minimum": 0, "maximum": 1, "default": 0.1 })
}
fn passcode() -> Value {
    json!({ "type": "object", "required": ["passcode"], "properties": { "passcode": { "type": ["string", "integer"] } } })
}
fn somebody() -> Value {
    let one =
        |name: &str| json!({ "required": [name], "properties": { name: { "type": "string", "maxLength": 1000 } } });
    json!({ "type": "object", "oneOf": [one("participantId"), one("number")], "properties": {
        "participantId": { "type": ["string", "null"], "maxLength": 1000 }, "number": { "type": ["string", "null"], "maxLength": 1000 } } })
}
fn chat_message() -> Value {
    json!({ "type": "object", "required": ["room", "connectionJIDs", "message"], "properties": {
        "room": { "type": "string", "minLength": 1, "maxLength": 1000 },
        "connectionJIDs": { "type": "array", "maxItems": 10_000, "items": full_address() },
        "message": { "type": "string", "maxLength": 1000 },
        "displayName": { "type": ["string", "null"], "maxLength": 1000 } } })
}
fn conference() -> Value {
    json!({ "type": "object", "required": ["room"], "properties": {
        "room": address(),
        "machineUid": { "type": ["string", "null"] }, "sessionId": { "type": ["string", "null"] },
        "properties": { "type": ["object", "null"] } } })
}

/// Control paths that programs know from stock servers, on the same address (`spec/signaling.md` 3.19, `spec/focus.md` 2.2 and 8).
pub(super) const CONTROL: &[Operation] = &[
    open("/about/health", "health", "Whether this process can do its work", &[], Answer::Nothing, &[503]),
    open("/about/version", "version", "Name and version", &[], Answer::Object, &[]),
    open("/about/status", "status", "State of this process", &[], Answer::Object, &[]),
    open("/metrics", "metrics", "Figures for Prometheus", &[], Text("application/openmetrics-text"), &[404]),
    Operation {
        method: "post",
        body: Some(conference),
        may_be_empty: false,
        ..open(
            "/conference-request/v1",
            "conferenceRequest",
            "Asks for a place in a conference",
            &[],
            Answer::Object,
            &[400, 403, 404, 408, 410, 413, 429, 502, 503],
        )
    },
    open("/bridges", "focusBridges", "Bridges of the focus", &[], Answer::Object, &[404, 503]),
    open(
        "/move-endpoints/move-endpoint",
        "moveEndpoint",
        "Moves somebody to another bridge",
        &[
            ("conference", In::Needed, "Address of the room", address),
            ("endpoint", In::Needed, "Endpoint id", string),
            ("bridge", In::Query, "Where to; any other when left out", string),
        ],
        Answer::Object,
        &[400, 404, 503],
    ),
    open(
        "/move-endpoints/move-endpoints",
        "moveEndpoints",
        "Moves so many away from a bridge",
        &[
            OF_BRIDGE,
            ("conference", In::Query, "Only of this room", address),
            ("numEndpoints", In::Query, "How many", count),
        ],
        Answer::Object,
        &[400, 404, 503],
    ),
    open(
        "/move-endpoints/move-fraction",
        "moveFraction",
        "Moves a share of its endpoints away from a bridge",
        &[OF_BRIDGE, ("fraction", In::Query, "Share", share)],
        Answer::Object,
        &[400, 404, 503],
    ),
    Operation {
        told: Told::Json,
        ..open("/room-size", "roomSize", "How many are on stage", &[NAMED, TENANT, PREFIX], Answer::Object, &[400, 404])
    },
    open("/sessions", "sessions", "How many are logged in", &[], Text("text/plain"), &[]),
    open("/room-census", "roomCensus", "Rooms of the main node", &[], Answer::Object, &[]),
    Operation {
        told: Told::Json,
        ..open("/colibri/stats", "colibriStats", "Statistics of the bridge here", &[], Answer::Object, &[404])
    },
    get("/room", "roomPeople", "Who is on stage", &[NAMED, TENANT, PREFIX], Json("People"), &[400, 404]),
    get("/room-info", "roomInfo", "What protects a room", &[NAMED, TENANT, PREFIX], Answer::Object, &[400, 404]),
    Operation {
        method: "put",
        body: Some(passcode),
        may_be_empty: false,
        ..get(
            "/room-info",
            "checkPasscode",
            "Whether this is the room's passcode",
            &[NAMED, TENANT, PREFIX],
            Answer::Object,
            &[400, 404, 415],
        )
    },
    post(
        "/end-meeting",
        "endMeeting",
        "Ends a room for everybody",
        &[
            ("conference", In::Needed, "Name or address of the room", room_name),
            TENANT,
            PREFIX,
            ("silent-reconnect", In::Query, "Clients come back by themselves", boolean),
        ],
        None,
        Answer::Nothing,
        &[400, 404],
    ),
    Operation {
        method: "put",
        body: Some(somebody),
        may_be_empty: false,
        ..get(
            "/kick-participant",
            "kickParticipant",
            "Throws somebody out",
            &[NAMED, TENANT, PREFIX],
            Answer::Nothing,
            &[400, 404, 409, 415],
        )
    },
    Operation {
        may_be_empty: false,
        ..post(
            "/send-system-chat-message",
            "sendSystemChatMessage",
            "A message of the system to some of a room",
            &[],
            Some(chat_message),
            Answer::Nothing,
            &[400, 404, 409, 415],
        )
    },
];

/// What anybody on this address may ask; refused in words.
const fn open(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    answer: Answer,
    refusals: &'static [u16],
) -> Operation {
    Operation { told: Told::Text, guarded: false, ..get(path, id, summary, parameters, answer, refusals) }
}

const fn get(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    answer: Answer,
    refusals: &'static [u16],
) -> Operation {
    Operation {
        method: "get",
        path,
        id,
        summary,
        parameters,
        body: None,
        may_be_empty: true,
        answer,
        refusals,
        told: Told::Json,
        guarded: true,
    }
}

const fn post(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    body: Option<fn() -> Value>,
    answer: Answer,
    refusals: &'static [u16],
) -> Operation {
    Operation { method: "post", body, ..get(path, id, summary, parameters, answer, refusals) }
}
