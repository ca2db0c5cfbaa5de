//! The log of events, where conference requests went, and both as they happen (server-sent events).

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use amphi_signal::journal::{Entry, Kind};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::refusal::Refusal;
use super::{Admin, Query, number};

/// Entries in one answer at most.
const MOST: usize = 10_000;

/// Which events are wanted.
#[derive(Clone, Default)]
struct Wanted {
    kinds: Vec<Kind>,
    room: Option<String>,
}

impl Wanted {
    fn read(admin: &Admin, query: &HashMap<String, String>) -> Result<Self, Refusal> {
        let kinds = query.get("kind").into_iter().flat_map(|k| k.split(','));
        let kinds =
            kinds.map(|k| Kind::parse(k).ok_or_else(|| Refusal::bad(format!("there is no kind {k:?} of events"))));
        let room = match query.get("room") {
            Some(r) => Some(
                admin
                    .operator
                    .room(r)
                    .ok_or_else(|| Refusal::unknown("room is not the name or address of a room"))?
                    .to_string(),
            ),
            None => None,
        };
        Ok(Self { kinds: kinds.collect::<Result<_, _>>()?, room })
    }

    fn takes(&self, e: &Entry) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&e.kind)) && (self.room.is_none() || self.room == e.room)
    }
}

pub(super) async fn list(State(admin): State<Arc<Admin>>, query: Query) -> Result<Json<Value>, Refusal> {
    let limit = number(&query, "limit", 200, MOST)?;
    let after = number(&query, "after", 0, usize::MAX)? as u64;
    let wanted = Wanted::read(&admin, &query)?;
    let events = admin.operator.journal().events(after, limit, |e| wanted.takes(e));
    Ok(Json(json!({ "events": events.iter().map(|e| json!(**e)).collect::<Vec<_>>() })))
}

pub(super) async fn decisions(State(admin): State<Arc<Admin>>, query: Query) -> Result<Json<Value>, Refusal> {
    let limit = number(&query, "limit", 100, MOST)?;
    let room = Wanted::read(&admin, &query)?.room;
    let same = |given: Option<&String>, found: Option<&String>| given.is_none() || given == found;
    let place = match query.get("place").map(String::as_str) {
        None => None,
        Some(p @ ("stage" | "audience" | "wait" | "refused")) => Some(p),
        Some(_) => return Err(Refusal::bad("place is none of stage, audience, wait and refused")),
    };
    let all = admin.operator.journal().decisions(limit, |d| {
        same(room.as_ref(), Some(&d.room))
            && same(query.get("machine"), d.machine.as_ref())
            && same(query.get("user"), d.user.as_ref())
            && same(query.get("peer"), d.peer.as_ref())
            && place.is_none_or(|p| p == d.place)
    });
    Ok(Json(json!({ "decisions": all.iter().map(|d| json!(**d)).collect::<Vec<_>>() })))
}

struct Stream {
    missed: std::collections::VecDeque<Arc<Entry>>,
    events: Receiver<Arc<Entry>>,
    samples: Receiver<Arc<Value>>,
    wanted: Wanted,
    _permit: OwnedSemaphorePermit,
}

fn event(e: &Entry) -> Event {
    let data = serde_json::to_string(e).unwrap_or_default();
    Event::default().event(e.kind.as_str()).id(e.id.to_string()).data(data)
}

/// Events as they happen, and once a second a sample. A client that comes back with `Last-Event-ID` gets what it missed, as far
/// as it is kept.
pub(super) async fn stream(State(admin): State<Arc<Admin>>, query: Query, headers: HeaderMap) -> Response {
    let wanted = match Wanted::read(&admin, &query) {
        Ok(w) => w,
        Err(r) => return r.into_response(),
    };
    let Ok(permit) = admin.streams.clone().try_acquire_owned() else {
        return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many streams are open (admin.streams)")
            .into_response();
    };
    let events = admin.operator.journal().follow();
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let missed = last.map(|id| admin.operator.journal().events(id, MOST, |e| wanted.takes(e))).unwrap_or_default();
    let state = Stream { missed: missed.into(), events, samples: admin.samples.follow(), wanted, _permit: permit };
    let all = stream::unfold(state, |mut s| async move {
        if let Some(e) = s.missed.pop_front() {
            return Some((Ok::<_, Infallible>(event(&e)), s));
        }
        loop {
            let out = tokio::select! {
                e = s.events.recv() => match e {
                    Ok(e) if s.wanted.takes(&e) => event(&e),
                    Ok(_) => continue,
                    Err(RecvError::Lagged(n)) => Event::default().event("lost").data(json!({ "events": n }).to_string()),
                    Err(RecvError::Closed) => return None,
                },
                v = s.samples.recv() => match v {
                    Ok(v) => Event::default().event("sample").data(v.to_string()),
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return None,
                },
            };
            return Some((Ok(out), s));
        }
    });
    Sse::new(all).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response()
}
