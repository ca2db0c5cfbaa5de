//! Rooms, their occupants, and what operators do with them. The main node knows the stage, visitor nodes their audience, and the
//! focus all of it: what is in this process is asked first, the focus for the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use amphi_focus::{ConferenceStatus, Input, MemberStatus};
use amphi_room::{Act, Hand, OccupantStatus, RoomStatus, Told};
use amphi_signal::journal::{Draft, Kind};
use amphi_stanza::{BareJid, FullJid, Jid};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::{Admin, Query, body, flag, number, text};

type Answer = Result<Json<Value>, Refusal>;

/// Occupants in one answer at most.
const PAGE: usize = 1000;
/// People of other processes that are looked at.
const MOST_REMOTE: usize = 100_000;

impl Admin {
    fn room(&self, text: &str) -> Result<BareJid, Refusal> {
        let no_room = || Refusal::unknown(format!("there is no such room: {text:?} is not the name or address of one"));
        self.operator.room(text).ok_or_else(no_room)
    }

    fn did(&self, room: &BareJid, endpoint: Option<&str>, what: impl Into<String>) {
        let draft = Draft::new(Kind::Operator, what).room(room);
        self.operator.journal().note(match endpoint {
            Some(id) => draft.endpoint(id),
            None => draft,
        });
    }
}

// ---- rooms -------------------------------------------------------------------------------------------------------------

fn in_focus(admin: &Admin) -> Vec<ConferenceStatus> {
    admin.operator.focus().map(|f| f.conferences.clone()).unwrap_or_default()
}

/// One room, out of what each knows of it.
fn room_json(room: &BareJid, hub: Option<&RoomStatus>, audience: usize, focus: Option<&ConferenceStatus>) -> Value {
    let mut v = json!({
        "room": room.as_str(),
        "name": room.node(),
        "shown": hub.map_or_else(|| room.to_string(), |h| h.shown.to_string()),
        "meeting_id": focus.map(|f| f.meeting_id.clone()).filter(|m| !m.is_empty()).or_else(|| hub.map(|h| h.meeting_id.clone())),
        "created": hub.and_then(|h| h.created),
        "stage": hub.map_or_else(|| focus.map_or(0, |f| f.stage as usize), |h| h.stage),
        "audience": focus.map_or(audience, |f| f.visitors as usize),
        "moderators": hub.map(|h| h.moderators),
        "hands": hub.map(|h| h.hands),
        "has_password": hub.map(|h| h.has_password),
        "members_only": hub.map(|h| h.members_only),
        "waiting": hub.map(|h| h.waiting), "in_lobby": hub.map(|h| h.in_lobby),
        "seats_pending": focus.map(|f| f.seats_pending),
    });
    v["nodes"] = focus
        .map(|f| {
            let one = |r: &amphi_focus::VroomStatus| {
                json!({ "node": r.vnode, "visitors": r.visitors, "pending": r.pending, "state": r.state })
            };
            f.vrooms.iter().map(one).collect()
        })
        .unwrap_or_else(|| json!([]));
    v["bridges"] = focus
        .map(|f| {
            let one = |(bridge, n): &(String, u32)| {
                json!({ "bridge": bridge.rsplit_once('/').map_or(&**bridge, |(_, nick)| nick), "jid": bridge, "endpoints": n })
            };
            f.bridges.iter().map(one).collect()
        })
        .unwrap_or_else(|| json!([]));
    v
}

async fn all(admin: &Admin) -> Vec<Value> {
    let mut main: BTreeMap<BareJid, RoomStatus> = BTreeMap::new();
    let mut audience: BTreeMap<String, usize> = BTreeMap::new();
    for (_, r) in admin.operator.rooms().await {
        if r.is_shadow {
            *audience.entry(r.room.node().to_owned()).or_default() += r.visitors;
        } else {
            main.insert(r.room.clone(), r);
        }
    }
    let focus: BTreeMap<BareJid, ConferenceStatus> = in_focus(admin).into_iter().map(|c| (c.room.clone(), c)).collect();
    let names: std::collections::BTreeSet<&BareJid> = main.keys().chain(focus.keys()).collect();
    let one = |room: &BareJid| {
        room_json(room, main.get(room), audience.get(room.node()).copied().unwrap_or(0), focus.get(room))
    };
    names.into_iter().map(one).collect()
}

fn people(v: &Value) -> u64 {
    v["stage"].as_u64().unwrap_or(0) + v["audience"].as_u64().unwrap_or(0)
}

/// Rooms, the largest first.
pub(super) async fn list(State(admin): State<Arc<Admin>>, query: Query) -> Answer {
    let limit = number(&query, "limit", 100, PAGE)?;
    let offset = number(&query, "offset", 0, usize::MAX)?;
    let mut rooms = all(&admin).await;
    if let Some(q) = query.get("q") {
        let q = q.to_lowercase();
        rooms.retain(|r| r["room"].as_str().is_some_and(|name| name.contains(&q)));
    }
    rooms.sort_by_key(|r| std::cmp::Reverse(people(r)));
    let total = rooms.len();
    let page: Vec<Value> = rooms.into_iter().skip(offset).take(limit).collect();
    Ok(Json(json!({ "total": total, "rooms": page })))
}

async fn describe(admin: &Admin, room: &BareJid) -> Result<Value, Refusal> {
    let hub = match admin.operator.in_room(room, Act::Room).await {
        Ok(Told::Room(status, hands)) => Some((*status, hands)),
        _ => None,
    };
    let focus = in_focus(admin).into_iter().find(|c| c.room == *room);
    if hub.is_none() && focus.is_none() {
        return Err(Refusal::unknown("there is no such room"));
    }
    let mut v = room_json(room, hub.as_ref().map(|h| &h.0), 0, focus.as_ref());
    let hand = |h: &Hand| json!({ "visitor": h.visitor, "node": h.node, "name": h.name });
    v["hands_raised"] = hub.iter().flat_map(|h| &h.1).map(hand).collect();
    Ok(v)
}

pub(super) async fn one(State(admin): State<Arc<Admin>>, Path(room): Path<String>) -> Answer {
    Ok(Json(describe(&admin, &admin.room(&room)?).await?))
}

pub(super) async fn end(State(admin): State<Arc<Admin>>, Path(room): Path<String>, query: Query) -> Answer {
    let room = admin.room(&room)?;
    let silently = match query.get("silent").map(String::as_str) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Refusal::bad("silent is neither true nor false")),
    };
    let reason = query.get("reason").cloned();
    if reason.as_ref().is_some_and(|r| r.chars().count() > 1000) {
        return Err(Refusal::bad("reason is longer than 1000 characters"));
    }
    if !admin.operator.end(&room, silently, reason).await {
        // Somewhere else, perhaps: the focus can leave it, which ends it.
        if !in_focus(&admin).iter().any(|c| c.room == room) {
            return Err(Refusal::unknown("there is no such room"));
        }
        admin.operator.tell_focus(Input::EndConference { room: room.clone() }).await;
    }
    admin.did(&room, None, if silently { "The room was ended silently." } else { "The room was ended." });
    Ok(done())
}

fn done() -> Json<Value> {
    Json(json!({ "done": true }))
}

pub(super) async fn message(
    State(admin): State<Arc<Admin>>,
    Path(room): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let room = admin.room(&room)?;
    let body = body(&headers, bytes).await?;
    let Some(said) = text(&body, "message")?.filter(|t| !t.is_empty()) else {
        return Err(Refusal::bad("message is missing"));
    };
    let act = Act::Say { to: Vec::new(), text: said, name: text(&body, "display_name")? };
    admin.operator.in_room(&room, act).await?;
    admin.did(&room, None, "A message of the system was sent to the stage.");
    Ok(done())
}

// ---- occupants ---------------------------------------------------------------------------------------------------------

/// Where somebody is.
pub(super) enum Found {
    Stage(OccupantStatus),
    /// On a visitor node of this process.
    Audience(String, OccupantStatus),
    /// Where only the focus sees it.
    Remote(MemberStatus),
}

impl Found {
    fn json(&self) -> Value {
        match self {
            Self::Stage(o) => occupant_json(None, o),
            Self::Audience(node, o) => occupant_json(Some(node), o),
            Self::Remote(m) => member_json(m),
        }
    }

    fn jid(&self) -> Option<Jid> {
        match self {
            Self::Stage(o) | Self::Audience(_, o) => Some(o.jid.clone()),
            Self::Remote(m) => m.jid.clone(),
        }
    }

    fn machine(&self) -> Option<&str> {
        match self {
            Self::Stage(o) | Self::Audience(_, o) => o.machine.as_deref(),
            Self::Remote(_) => None,
        }
    }

    fn is_on_stage(&self) -> bool {
        match self {
            Self::Stage(_) => true,
            Self::Audience(..) => false,
            Self::Remote(m) => m.vnode.is_none(),
        }
    }
}

fn occupant_json(node: Option<&str>, o: &OccupantStatus) -> Value {
    json!({
        "id": o.nick,
        "place": if node.is_some() { "audience" } else { "stage" },
        "node": node,
        "jid": o.jid.to_string(),
        "role": o.role,
        "name": o.name,
        "machine": o.machine,
        "user": o.user,
        "region": o.region,
        "service": o.is_service,
        "bridge": null,
    })
}

fn member_json(m: &MemberStatus) -> Value {
    json!({
        "id": m.endpoint,
        "place": if m.vnode.is_some() { "audience" } else { "stage" },
        "node": m.vnode,
        "jid": m.jid.as_ref().map(ToString::to_string),
        "role": if m.vnode.is_some() { "visitor" } else if m.moderator { "moderator" } else { "participant" },
        "name": (!m.name.is_empty()).then_some(&m.name),
        "machine": null,
        "user": null,
        "region": null,
        "service": false,
        "bridge": m.bridge.as_ref().map(|b| b.rsplit_once('/').map_or(&**b, |(_, nick)| nick).to_owned()),
    })
}

pub(super) async fn find(admin: &Admin, room: &BareJid, id: &str) -> Result<Found, Refusal> {
    let op = &admin.operator;
    if let Ok(Told::Occupants(mut list)) = op.in_room(room, Act::Occupant(id.to_owned())).await
        && let Some(o) = list.pop()
    {
        return Ok(Found::Stage(o));
    }
    let nodes: Vec<String> = op.visitor_nodes().map(str::to_owned).collect();
    for node in nodes {
        if let Ok(Told::Occupants(mut list)) = op.in_shadow(&node, room, Act::Occupant(id.to_owned())).await
            && let Some(o) = list.pop().filter(|o| o.role == "visitor")
        {
            return Ok(Found::Audience(node, o));
        }
    }
    match op.member(room, id).await {
        Some(m) => Ok(Found::Remote(m)),
        None => {
            describe(admin, room).await?;
            Err(Refusal::unknown("there is nobody with this id in the room"))
        }
    }
}

pub(super) async fn occupants(State(admin): State<Arc<Admin>>, Path(room): Path<String>, query: Query) -> Answer {
    let room = admin.room(&room)?;
    let limit = number(&query, "limit", 100, PAGE)?;
    let mut skip = number(&query, "offset", 0, usize::MAX)?;
    let (stage, audience) = match query.get("place").map(String::as_str) {
        None => (true, true),
        Some("stage") => (true, false),
        Some("audience") => (false, true),
        Some(_) => return Err(Refusal::bad("place is neither stage nor audience")),
    };
    let status = describe(&admin, &room).await?;
    let op = &admin.operator;
    let mut out: Vec<Value> = Vec::new();
    let mut total = 0;
    let nodes: Vec<String> = op.visitor_nodes().map(str::to_owned).collect();
    // Of nodes in other processes only the focus knows the people.
    let is_all_here = op.has_main() && op.focus().is_none_or(|f| f.nodes.iter().all(|n| nodes.contains(&n.vnode)));
    let known = if is_all_here { Vec::new() } else { op.members(&room, MOST_REMOTE).await.unwrap_or_default() };
    if stage {
        let on_stage: Vec<Value> =
            match op.in_room(&room, Act::Occupants { audience: false, skip: 0, limit: 100_000 }).await {
                Ok(Told::Occupants(list)) => {
                    list.iter().filter(|o| !o.is_service).map(|o| occupant_json(None, o)).collect()
                }
                _ => known.iter().filter(|m| m.vnode.is_none()).map(member_json).collect(),
            };
        total += on_stage.len();
        out.extend(on_stage.iter().skip(skip).take(limit).cloned());
        skip = skip.saturating_sub(on_stage.len());
    }
    if audience {
        for node in &nodes {
            let Ok(Told::Room(here, _)) = op.in_shadow(node, &room, Act::Room).await else { continue };
            total += here.visitors;
            let want = limit - out.len();
            if want > 0 && skip < here.visitors {
                let act = Act::Occupants { audience: true, skip, limit: want };
                if let Ok(Told::Occupants(list)) = op.in_shadow(node, &room, act).await {
                    out.extend(list.iter().map(|o| occupant_json(Some(node), o)));
                }
            }
            skip = skip.saturating_sub(here.visitors);
        }
        let elsewhere = known.iter().filter(|m| m.vnode.as_ref().is_some_and(|v| !nodes.contains(v)));
        let elsewhere: Vec<&MemberStatus> = elsewhere.collect();
        total += elsewhere.len();
        let want = limit - out.len();
        out.extend(elsewhere.into_iter().skip(skip).take(want).map(member_json));
    }
    // The focus knows which bridge carries somebody.
    for o in out.iter_mut().filter(|o| o["bridge"].is_null()) {
        let id = o["id"].as_str().unwrap_or_default().to_owned();
        if let Some(m) = op.member(&room, &id).await {
            o["bridge"] = member_json(&m)["bridge"].clone();
        }
    }
    Ok(Json(json!({ "room": status["room"], "total": total, "occupants": out })))
}

type At = Path<(String, String)>;

pub(super) async fn occupant(State(admin): State<Arc<Admin>>, Path((room, id)): At) -> Answer {
    let room = admin.room(&room)?;
    let found = find(&admin, &room, &id).await?;
    Ok(Json(whole(&admin, &room, &id, &found).await))
}

/// With the bridge, which the focus knows.
async fn whole(admin: &Admin, room: &BareJid, id: &str, found: &Found) -> Value {
    let mut v = found.json();
    if let Some(m) = admin.operator.member(room, id).await {
        v["bridge"] = member_json(&m)["bridge"].clone();
    }
    v
}

/// Why somebody is where it is: what the focus decided about its requests, and whether it was promoted.
pub(super) async fn why(State(admin): State<Arc<Admin>>, Path((room, id)): At) -> Answer {
    let room = admin.room(&room)?;
    let found = find(&admin, &room, &id).await?;
    let (name, jid) = (room.to_string(), found.jid().map(|j| j.to_string()));
    let machine = found.machine();
    let decisions = admin.operator.journal().decisions(20, |d| {
        d.room == name && (machine.is_some() && d.machine.as_deref() == machine || d.jid.is_some() && d.jid == jid)
    });
    let local = found.jid().and_then(|j| j.local().map(str::to_owned));
    let promoted = found.is_on_stage()
        && local.is_some_and(|local| {
            let mine = |e: &amphi_signal::journal::Entry| {
                e.kind == Kind::Promoted && e.room.as_deref() == Some(&*name) && e.endpoint.as_deref() == Some(&*local)
            };
            !admin.operator.journal().events(0, 1, mine).is_empty()
        });
    let answered = decisions.iter().find(|d| d.place == if found.is_on_stage() { "stage" } else { "audience" });
    let text = match (promoted, answered) {
        (true, _) => "On stage because it was promoted from the audience.".to_owned(),
        (false, Some(d)) if found.is_on_stage() => format!("On stage because {}.", d.why),
        (false, Some(d)) => {
            format!("In the audience, at node {}, because {}.", d.node.as_deref().unwrap_or("?"), d.why)
        }
        (false, None) => {
            "Nothing is known: it joined without a conference request that this focus saw, or long ago.".to_owned()
        }
    };
    let occupant = whole(&admin, &room, &id, &found).await;
    Ok(Json(
        json!({ "occupant": occupant, "text": text, "promoted": promoted, "decisions": decisions.iter().map(|d| json!(**d)).collect::<Vec<_>>() }),
    ))
}

pub(super) async fn kick(
    State(admin): State<Arc<Admin>>,
    Path((room, id)): At,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let room = admin.room(&room)?;
    let reason = text(&body(&headers, bytes).await?, "reason")?;
    let act = Act::Kick { nick: id.clone(), reason: reason.clone() };
    match find(&admin, &room, &id).await? {
        Found::Stage(_) => drop(admin.operator.in_room(&room, act).await?),
        Found::Audience(node, _) => drop(admin.operator.in_shadow(&node, &room, act).await?),
        Found::Remote(_) => {
            let kick = Input::Kick { room: room.clone(), endpoint: id.clone(), reason };
            admin.operator.tell_focus(kick).await;
        }
    }
    admin.did(&room, Some(&id), "Thrown out.");
    Ok(done())
}

pub(super) async fn promote(State(admin): State<Arc<Admin>>, Path((room, id)): At) -> Answer {
    let room = admin.room(&room)?;
    // A raised hand is known by the real address of its owner.
    let visitor = match FullJid::parse(&id) {
        Ok(jid) => jid,
        Err(_) => {
            let found = find(&admin, &room, &id).await?;
            if found.is_on_stage() {
                return Err(Refusal::conflict("this person is on stage already"));
            }
            found
                .jid()
                .and_then(|j| j.as_full())
                .ok_or_else(|| Refusal::conflict("the visitor's address is not known here"))?
        }
    };
    admin.operator.in_room(&room, Act::Promote { visitor }).await?;
    admin.did(&room, Some(&id), "Let onto the stage.");
    Ok(done())
}

pub(super) async fn demote(State(admin): State<Arc<Admin>>, Path((room, id)): At) -> Answer {
    let room = admin.room(&room)?;
    if !find(&admin, &room, &id).await?.is_on_stage() {
        return Err(Refusal::conflict("this person is in the audience already"));
    }
    admin.operator.in_room(&room, Act::Demote { nick: id.clone() }).await?;
    admin.did(&room, Some(&id), "Asked to go to the audience.");
    Ok(done())
}

pub(super) async fn moderator(
    State(admin): State<Arc<Admin>>,
    Path((room, id)): At,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let room = admin.room(&room)?;
    let grant = flag(&body(&headers, bytes).await?, "grant")?.unwrap_or(true);
    let found = find(&admin, &room, &id).await?;
    if !found.is_on_stage() {
        return Err(amphi_room::ActError::Visitor.into());
    }
    admin.operator.in_room(&room, Act::Moderator { nick: id.clone(), grant }).await?;
    admin.did(&room, Some(&id), if grant { "Made a moderator." } else { "No longer a moderator." });
    Ok(done())
}
