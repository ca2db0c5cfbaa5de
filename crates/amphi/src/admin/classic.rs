//! The control paths that programs of operators know from stock servers (`spec/signaling.md` 3.19, `spec/bridge.md` 1.5), with their
//! answers. What only counts is open, as there; what tells of people or changes something needs the token.

use std::collections::HashMap;
use std::sync::Arc;

use amphi_room::{Act, ActError, RoomStatus, Told};
use amphi_signal::journal::{Draft, Kind};
use amphi_stanza::{BareJid, FullJid};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::{Admin, Query, body, text};

pub(super) fn open() -> Router<Arc<Admin>> {
    Router::new()
        .route("/room-size", get(room_size))
        .route("/sessions", get(sessions))
        .route("/room-census", get(room_census))
        .route("/colibri/stats", get(colibri_stats))
}

pub(super) fn guarded() -> Router<Arc<Admin>> {
    Router::new()
        .route("/room", get(room))
        .route("/room-info", get(room_info).put(check_passcode))
        .route("/end-meeting", post(end_meeting))
        .route("/kick-participant", put(kick_participant))
        .route("/send-system-chat-message", post(system_chat_message))
}

type Answer = Result<Response, Refusal>;

/// The room that a query names: `room`, with its tenant as `subdomain` or `prefix`.
fn named(admin: &Admin, query: &HashMap<String, String>, key: &str) -> Result<BareJid, Refusal> {
    let name = query.get(key).filter(|r| !r.is_empty());
    let name = name.ok_or_else(|| Refusal::bad(format!("{key} is missing")))?;
    let tenant = query.get("subdomain").or_else(|| query.get("prefix")).filter(|t| !t.is_empty());
    let full = match tenant {
        Some(t) if !name.contains('@') => format!("[{t}]{name}"),
        _ => name.clone(),
    };
    admin.operator.room(&full).ok_or_else(|| Refusal::unknown(format!("{key} is not the name of a room")))
}

async fn status(admin: &Admin, room: &BareJid) -> Result<RoomStatus, Refusal> {
    match admin.operator.in_room(room, Act::Room).await? {
        Told::Room(status, _) => Ok(*status),
        _ => Err(ActError::NoSuchRoom.into()),
    }
}

async fn room_size(State(admin): State<Arc<Admin>>, query: Query) -> Answer {
    let status = status(&admin, &named(&admin, &query, "room")?).await?;
    Ok(Json(json!({ "participants": status.stage })).into_response())
}

async fn room(State(admin): State<Arc<Admin>>, query: Query) -> Answer {
    let room = named(&admin, &query, "room")?;
    let act = Act::Occupants { audience: false, skip: 0, limit: 10_000 };
    let Told::Occupants(all) = admin.operator.in_room(&room, act).await? else {
        return Err(ActError::NoSuchRoom.into());
    };
    let one =
        |o: &amphi_room::OccupantStatus| json!({ "jid": o.jid.to_string(), "email": null, "display_name": o.name });
    let all: Vec<Value> = all.iter().filter(|o| !o.is_service).map(one).collect();
    Ok(Json(all).into_response())
}

async fn sessions(State(admin): State<Arc<Admin>>) -> Response {
    admin.operator.totals().sessions.to_string().into_response()
}

async fn room_census(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let rooms = admin.operator.rooms().await;
    let one = |r: &RoomStatus| json!({ "room_name": r.room.as_str(), "participants": r.stage, "created_time": r.created, "leaked": false });
    let all: Vec<Value> = rooms.iter().filter(|(_, r)| !r.is_shadow).map(|(_, r)| one(r)).collect();
    Json(json!({ "room_census": all }))
}

async fn colibri_stats(State(admin): State<Arc<Admin>>) -> Answer {
    match &admin.bridge {
        Some((_, b)) => Ok(Json(b.report().map_or_else(|| json!({}), |r| r.json())).into_response()),
        None => Err(Refusal::unknown("there is no bridge in this process")),
    }
}

async fn room_info(State(admin): State<Arc<Admin>>, query: Query) -> Answer {
    let status = status(&admin, &named(&admin, &query, "room")?).await?;
    let info = json!({ "conference": status.room.as_str(), "passcodeProtected": status.has_password, "lobbyEnabled": status.members_only });
    Ok(Json(info).into_response())
}

async fn check_passcode(State(admin): State<Arc<Admin>>, query: Query, headers: HeaderMap, bytes: Bytes) -> Answer {
    let body = body(&headers, bytes).await?;
    let passcode = match &body["passcode"] {
        Value::String(s) => s.clone(),
        Value::Number(n) => n.to_string(),
        _ => return Err(Refusal::bad("passcode is missing")),
    };
    let room = named(&admin, &query, "room")?;
    let valid = admin.operator.in_room(&room, Act::Passcode(passcode)).await? == Told::Answer(true);
    Ok(Json(json!({ "valid": valid })).into_response())
}

async fn end_meeting(State(admin): State<Arc<Admin>>, query: Query) -> Answer {
    let room = named(&admin, &query, "conference")?;
    let silently = query.get("silent-reconnect").is_some_and(|v| v == "true");
    if !admin.operator.end(&room, silently, None).await {
        return Err(ActError::NoSuchRoom.into());
    }
    admin.operator.journal().note(Draft::new(Kind::Operator, "The room was ended.").room(&room));
    Ok(StatusCode::OK.into_response())
}

async fn kick_participant(State(admin): State<Arc<Admin>>, query: Query, headers: HeaderMap, bytes: Bytes) -> Answer {
    let body = body(&headers, bytes).await?;
    let (id, number) = (text(&body, "participantId")?, text(&body, "number")?);
    let room = named(&admin, &query, "room")?;
    let nick = match (id, number) {
        (Some(id), None) => id,
        // A telephone caller: its gateway names it by the number.
        (None, Some(number)) => {
            let act = Act::Occupants { audience: false, skip: 0, limit: 10_000 };
            let Told::Occupants(all) = admin.operator.in_room(&room, act).await? else {
                return Err(ActError::NoSuchRoom.into());
            };
            let caller = all.into_iter().find(|o| o.name.as_ref().is_some_and(|n| n.starts_with(&number)));
            caller.map(|o| o.nick).ok_or(ActError::NoSuchOccupant)?
        }
        _ => return Err(Refusal::bad("exactly one of participantId and number is needed")),
    };
    admin.operator.in_room(&room, Act::Kick { nick: nick.clone(), reason: None }).await?;
    admin.operator.journal().note(Draft::new(Kind::Operator, "Thrown out.").room(&room).endpoint(nick));
    Ok(StatusCode::OK.into_response())
}

async fn system_chat_message(State(admin): State<Arc<Admin>>, headers: HeaderMap, bytes: Bytes) -> Answer {
    let body = body(&headers, bytes).await?;
    let room = text(&body, "room")?.ok_or_else(|| Refusal::bad("room is missing"))?;
    let room = admin.operator.room(&room).ok_or_else(|| Refusal::unknown("room is not the name of a room"))?;
    let Some(list) = body["connectionJIDs"].as_array().filter(|l| l.len() <= 10_000) else {
        return Err(Refusal::bad("connectionJIDs is missing"));
    };
    let to: Option<Vec<FullJid>> = list.iter().map(|j| FullJid::parse(j.as_str()?).ok()).collect();
    let to = to.ok_or_else(|| Refusal::bad("connectionJIDs has something in it that is no full address"))?;
    let said = text(&body, "message")?.ok_or_else(|| Refusal::bad("message is missing"))?;
    status(&admin, &room).await?;
    if !to.is_empty() {
        admin.operator.in_room(&room, Act::Say { to, text: said, name: text(&body, "displayName")? }).await?;
    }
    Ok(StatusCode::OK.into_response())
}
