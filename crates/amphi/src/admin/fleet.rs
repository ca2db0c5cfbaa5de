//! Nodes and bridges: their state, their load, and taking them out of service.

use std::sync::Arc;

use amphi_focus::{Input, Move, NodeStatus};
use amphi_signal::NodeFigures;
use amphi_signal::journal::{Draft, Kind};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::{Admin, body, flag};

type Answer = Result<Json<Value>, Refusal>;

// ---- nodes -------------------------------------------------------------------------------------------------------------

fn state_of(f: &NodeStatus) -> &'static str {
    match f {
        _ if !f.connected => "down",
        _ if f.draining => "draining",
        _ if f.visitors + f.pending >= f.capacity => "full",
        _ => "up",
    }
}

fn node_json(here: Option<&NodeFigures>, focus: Option<&NodeStatus>, link: Option<bool>) -> Value {
    let is_main = here.is_some_and(|h| h.is_main);
    let state = match (focus, here) {
        (Some(f), _) => state_of(f),
        (None, Some(h)) if h.focus == Some(false) => "down",
        _ => "up",
    };
    json!({
        "name": here.map(|h| h.name.clone()).or_else(|| focus.map(|f| f.vnode.clone())),
        "kind": if is_main { "main" } else { "visitor" },
        "state": state,
        "here": here.is_some(),
        "domain": here.map(|h| h.domain.clone()),
        "connected": focus.map(|f| f.connected).or_else(|| here.and_then(|h| h.focus)),
        "draining": focus.is_some_and(|f| f.draining),
        "link": link,
        "sessions": here.map(|h| h.sessions),
        "rooms": here.map(|h| h.rooms),
        "stage": here.map(|h| h.stage),
        "visitors": focus.map_or_else(|| here.map(|h| h.audience), |f| Some(i64::from(f.visitors))),
        "pending": focus.map(|f| f.pending),
        "capacity": focus.map(|f| f.capacity),
        "load": focus.map(|f| f64::from(f.visitors + f.pending) / f64::from(f.capacity.max(1))),
        "links": here.map(|h| &h.links),
    })
}

/// Main node first, then visitor nodes by name.
pub(super) fn all_nodes(admin: &Admin) -> Vec<Value> {
    let here = admin.operator.nodes();
    let focus = admin.operator.focus();
    let status = |name: &str| focus.as_ref().and_then(|f| f.nodes.iter().find(|n| n.vnode == name).cloned());
    let main = here.iter().find(|h| h.is_main);
    let link = |name: &str| {
        let domain = &admin.config.visitors.nodes.iter().find(|n| n.name == name)?.muc;
        main?.links.iter().find(|l| l.domain == *domain).map(|l| l.up)
    };
    let mut all: Vec<Value> = here
        .iter()
        .map(|h| node_json(Some(h), status(&h.name).as_ref(), if h.is_main { None } else { link(&h.name) }))
        .collect();
    // Its gauges count breweries too.
    if let (Some(f), Some(main)) = (&focus, all.iter_mut().find(|n| n["kind"] == "main")) {
        main["rooms"] = f.conferences.len().into();
        main["stage"] = f.conferences.iter().map(|c| c.stage).sum::<u32>().into();
    }
    let elsewhere = focus.iter().flat_map(|f| &f.nodes).filter(|n| !here.iter().any(|h| h.name == n.vnode));
    all.extend(elsewhere.map(|f| node_json(None, Some(f), link(&f.vnode))));
    all.sort_by_key(|n| (n["kind"] != "main", n["name"].as_str().unwrap_or_default().to_owned()));
    all
}

pub(super) async fn nodes(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json(json!({ "nodes": all_nodes(&admin) }))
}

fn known_node(admin: &Admin, name: &str) -> Result<Value, Refusal> {
    let mut all = all_nodes(admin).into_iter();
    all.find(|n| n["name"] == name).ok_or_else(|| Refusal::unknown("there is no such node"))
}

pub(super) async fn node(State(admin): State<Arc<Admin>>, Path(name): Path<String>) -> Answer {
    let mut node = known_node(&admin, &name)?;
    let conferences = admin.operator.focus().map(|f| f.conferences.clone()).unwrap_or_default();
    let rooms: Vec<Value> = if node["kind"] == "main" {
        let one = |c: &amphi_focus::ConferenceStatus| json!({ "room": c.room.as_str(), "stage": c.stage, "visitors": c.visitors });
        conferences.iter().map(one).collect()
    } else {
        let there = |c: &amphi_focus::ConferenceStatus| {
            let v = c.vrooms.iter().find(|v| v.vnode == name)?;
            Some(json!({ "room": c.room.as_str(), "visitors": v.visitors, "pending": v.pending, "state": v.state }))
        };
        conferences.iter().filter_map(there).collect()
    };
    node["in_rooms"] = rooms.into();
    Ok(Json(node))
}

async fn drain(admin: &Admin, vnode: String, draining: bool) -> Answer {
    let node = known_node(admin, &vnode)?;
    if node["kind"] == "main" {
        return Err(Refusal::conflict("the main node has no other to take its place; it cannot be drained"));
    }
    if node["connected"].is_null() || admin.operator.focus().is_none() {
        return Err(Refusal::conflict("the focus decides who goes where, and it is not in this process"));
    }
    admin.operator.tell_focus(Input::Drain { vnode: vnode.clone(), draining }).await;
    let what = if draining { "Drained: it gets no new visitors." } else { "In service again." };
    admin.operator.journal().note(Draft::new(Kind::Operator, what).node(&vnode));
    Ok(Json(json!({ "node": vnode, "draining": draining })))
}

pub(super) async fn drain_node(State(admin): State<Arc<Admin>>, Path(node): Path<String>) -> Answer {
    drain(&admin, node, true).await
}

pub(super) async fn undrain_node(State(admin): State<Arc<Admin>>, Path(node): Path<String>) -> Answer {
    drain(&admin, node, false).await
}

// ---- bridges -----------------------------------------------------------------------------------------------------------

/// Bridges by name: those that the focus knows, and the one of this process.
pub(super) fn all_bridges(admin: &Admin) -> Vec<Value> {
    let focus = admin.operator.focus();
    let own = admin.bridge.as_ref();
    let report = own.and_then(|(_, b)| b.report());
    let local = |name: &str| own.filter(|(nick, _)| nick == name).and(report.as_deref());
    let rates = |name: &str| {
        let r = local(name)?;
        Some(
            json!({ "bits_in": r.rates.bits_in, "bits_out": r.rates.bits_out, "packets_in": r.rates.packets_in, "packets_out": r.rates.packets_out }),
        )
    };
    let mut all: Vec<Value> = focus
        .iter()
        .flat_map(|f| &f.bridges)
        .map(|b| {
            let illness = local(&b.name).and_then(|r| r.illness.clone());
            let state = match b {
                _ if illness.is_some() || !b.operational => "ill",
                _ if b.graceful_shutdown => "leaving",
                _ if b.draining || b.held => "draining",
                _ => "up",
            };
            json!({
                "name": b.name,
                "jid": b.jid,
                "state": state,
                "here": local(&b.name).is_some(),
                "region": b.region,
                "relay_id": b.relay_id,
                "version": b.version,
                "stress": b.stress,
                "draining": b.draining || b.held,
                "failing_ice": b.failing_ice,
                "endpoints": b.endpoints,
                "conferences": b.conferences,
                "restart_requests": b.restarts,
                "endpoints_moved": b.moved,
                "illness": illness,
                "rates": rates(&b.name),
            })
        })
        .collect();
    if let (Some((nick, handle)), Some(r)) = (own, &report)
        && !all.iter().any(|b| b["name"] == **nick)
    {
        all.push(json!({
            "name": nick,
            "jid": null,
            "state": if handle.health().is_err() { "ill" } else if r.drain { "draining" } else { "up" },
            "here": true,
            "region": r.identity.region,
            "relay_id": r.identity.relay_id,
            "version": r.identity.version,
            "stress": r.stress,
            "draining": r.drain,
            "failing_ice": false,
            "endpoints": r.figures.local_endpoints,
            "conferences": r.figures.conferences,
            "restart_requests": 0,
            "endpoints_moved": 0,
            "illness": r.illness,
            "rates": rates(nick),
        }));
    }
    all.sort_by_key(|b| b["name"].as_str().unwrap_or_default().to_owned());
    all
}

pub(super) async fn bridges(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json(json!({ "bridges": all_bridges(&admin) }))
}

fn known_bridge(admin: &Admin, name: &str) -> Result<Value, Refusal> {
    let mut all = all_bridges(admin).into_iter();
    all.find(|b| b["name"] == name).ok_or_else(|| Refusal::unknown("there is no such bridge"))
}

pub(super) async fn bridge(State(admin): State<Arc<Admin>>, Path(name): Path<String>) -> Answer {
    let mut bridge = known_bridge(&admin, &name)?;
    let conferences = admin.operator.focus().map(|f| f.conferences.clone()).unwrap_or_default();
    let jid = bridge["jid"].as_str().map(str::to_owned);
    let there = |c: &amphi_focus::ConferenceStatus| {
        let n: u32 = c.bridges.iter().filter(|(b, _)| Some(b) == jid.as_ref()).map(|(_, n)| *n).sum();
        c.bridges
            .iter()
            .any(|(b, _)| Some(b) == jid.as_ref())
            .then(|| json!({ "room": c.room.as_str(), "endpoints": n }))
    };
    bridge["in_rooms"] = conferences.iter().filter_map(there).collect();
    if let Some((_, b)) = admin.bridge.as_ref().filter(|(nick, _)| *nick == name) {
        bridge["stats"] = b.report().map(|r| r.json()).unwrap_or_default();
    }
    Ok(Json(bridge))
}

/// The focus places nothing there any more. With `move`, it also moves away what is there.
pub(super) async fn drain_bridge(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Answer {
    let moves = flag(&body(&headers, bytes).await?, "move")?.unwrap_or(false);
    hold(&admin, &name, true).await?;
    let moved = if moves {
        match admin.operator.move_endpoints(Move::Fraction { bridge: name.clone(), per_mille: 1000 }).await {
            Some(Ok((endpoints, _))) => Some(endpoints),
            Some(Err(e)) => return Err(Refusal::conflict(format!("held, but nothing was moved: {e}"))),
            None => return Err(Refusal::conflict("held, but nothing was moved: the focus is not in this process")),
        }
    } else {
        None
    };
    Ok(Json(json!({ "bridge": name, "draining": true, "moved": moved })))
}

pub(super) async fn undrain_bridge(State(admin): State<Arc<Admin>>, Path(name): Path<String>) -> Answer {
    hold(&admin, &name, false).await?;
    Ok(Json(json!({ "bridge": name, "draining": false, "moved": null })))
}

async fn hold(admin: &Admin, name: &str, hold: bool) -> Result<(), Refusal> {
    known_bridge(admin, name)?;
    let told = admin.operator.tell_focus(Input::HoldBridge { bridge: name.to_owned(), hold }).await;
    match admin.bridge.as_ref().filter(|(nick, _)| nick == name) {
        Some((_, b)) => b.drain(hold).await,
        None if !told => return Err(Refusal::conflict("neither the bridge nor the focus is in this process")),
        None => {}
    }
    let what = if hold { "Drained: nothing new is placed there." } else { "In service again." };
    admin.operator.journal().note(Draft::new(Kind::Operator, what).node(name));
    Ok(())
}
