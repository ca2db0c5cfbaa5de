//! The room's metadata: a JSON object that moderators change key by key and everybody gets (`spec/signaling.md` 3.10).

use std::sync::Arc;

use amphi_stanza::{Element, Frame, Stanza, XmlWriter, ns};
use serde_json::{Map, Value};

use crate::config::NodeConfig;
use crate::context::{Cx, Request};
use crate::error::RoomError;
use crate::occupant::{MucRole, Occupant};
use crate::room::{Room, RoomKind};
use crate::{Broadcast, Group, Groups, Output};

/// Keys that clients never set.
const BLOCKED: [&str; 13] = [
    "allownersEnabled",
    "asyncTranscription",
    "audioTranslationAvailable",
    "audioTranslationRequests",
    "conferencePresetsServiceEnabled",
    "dialinEnabled",
    "moderators",
    "participants",
    "participantsSoftLimit",
    "services",
    "transcriberType",
    "transcription",
    "visitorsEnabled",
];

/// Keys that only administrators see.
const ADMIN_ONLY: [&str; 3] = ["participants", "moderators", "audioTranslationRequests"];

#[derive(Clone, Debug, Default)]
pub(crate) struct Metadata {
    on: bool,
    map: Map<String, Value>,
}

impl Metadata {
    pub(crate) fn of_new_room(cfg: &NodeConfig, kind: RoomKind, health: bool) -> Self {
        let mut map = Map::new();
        if cfg.main().is_some_and(|m| m.visitors.is_some() && m.always_visitors_enabled && m.queue) {
            map.insert("visitorsEnabled".to_owned(), Value::Bool(true));
        }
        Self { on: cfg.metadata.is_some() && kind == RoomKind::Main && !health, map }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key)
    }

    /// What a receiver sees.
    fn text(&self, admin: bool, services: Option<Value>) -> String {
        let mut map = self.map.clone();
        if !admin {
            for k in ADMIN_ONLY {
                map.remove(k);
            }
            if let Some(Value::Object(t)) = map.get_mut("transcription") {
                t.remove("httpHeaders");
            }
        }
        if let Some(s) = services {
            map.insert("services".to_owned(), s);
        }
        let mut whole = Map::new();
        whole.insert("type".to_owned(), Value::from("room_metadata"));
        whole.insert("metadata".to_owned(), Value::Object(map));
        Value::Object(whole).to_string()
    }
}

fn services(cfg: &NodeConfig, wall: u64) -> Option<Value> {
    if cfg.services.is_empty() {
        return None;
    }
    let list = cfg.services.iter().map(|s| {
        let pairs = s.attributes(wall).into_iter().map(|(k, v)| (k.to_owned(), Value::String(v)));
        Value::Object(pairs.collect())
    });
    Some(Value::Array(list.collect()))
}

impl Room {
    fn metadata_message(&self, cfg: &NodeConfig, room: &str, text: &str) -> Stanza {
        let mut w = XmlWriter::new();
        w.open_ns("message", ns::CLIENT).attr("from", cfg.metadata.as_deref().unwrap_or_default());
        w.open_ns("json-message", ns::JITMEET).attr("room", room).text(text).close();
        w.stanza()
    }

    /// To somebody who comes in, just before its own presence.
    pub(crate) fn send_initial_metadata(&self, cx: &mut Cx<'_>, o: &Occupant) {
        if !self.metadata.on {
            return;
        }
        let services = if o.traits.admin { None } else { services(cx.cfg, cx.wall) };
        let text = self.metadata.text(o.traits.admin, services);
        let message = self.metadata_message(cx.cfg, self.base_for(&o.peer).as_str(), &text);
        cx.send(&o.peer, message.rewrite().set("to", &o.peer.jid).finish());
    }

    /// To everybody, after a change.
    fn broadcast_metadata(&self, cx: &mut Cx<'_>) {
        let text = self.metadata.text(false, None);
        let message = self.metadata_message(cx.cfg, self.virt.as_str(), &text);
        let frame = Arc::new(Frame::of(&message));
        let to = Groups::only(Group::Stage);
        cx.push(Output::Broadcast(Broadcast { room: self.id, to, except: None, frame }));
        if let Some(focus) = self.roster.focus() {
            let text = self.metadata.text(true, None);
            let message = self.metadata_message(cx.cfg, self.base_for(&focus.peer).as_str(), &text);
            let bytes = message.rewrite().set("to", &focus.peer.jid).finish();
            let peer = focus.peer.clone();
            cx.send(&peer, bytes);
        }
        for r in self.roster.remote() {
            let message = self.metadata_message(cx.cfg, self.real.as_str(), &text);
            cx.route(message.rewrite().set("to", &r.peer.jid).stanza());
        }
    }

    /// The server's own change. Tells everybody if it is one.
    pub(crate) fn set_metadata(&mut self, cx: &mut Cx<'_>, key: &str, value: Value) {
        if !self.metadata.on || self.metadata.map.get(key) == Some(&value) {
            return;
        }
        self.metadata.map.insert(key.to_owned(), value);
        self.metadata_changed(cx, key);
    }

    fn metadata_changed(&mut self, cx: &mut Cx<'_>, key: &str) {
        self.broadcast_metadata(cx);
        if key == "visitors" || key == "moderators" || key == "participants" {
            self.policy_changed();
        }
        if key == "visitors" {
            self.read_live();
        }
    }

    /// `metadata.visitors[key]`, the rest of the object kept.
    pub(crate) fn set_visitors_metadata(&mut self, cx: &mut Cx<'_>, change: impl FnOnce(&mut Map<String, Value>)) {
        let mut visitors = match self.metadata.get("visitors") {
            Some(Value::Object(m)) => m.clone(),
            _ => Map::new(),
        };
        change(&mut visitors);
        self.set_metadata(cx, "visitors", Value::Object(visitors));
    }

    /// A message to the metadata component.
    pub(crate) fn handle_metadata(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>) {
        let Some(e) = rq.stanza.child("room_metadata", ns::JITMEET) else { return };
        if let Err(err) = self.change_metadata(cx, rq, e) {
            cx.refuse(rq, &err);
        }
    }

    fn change_metadata(&mut self, cx: &mut Cx<'_>, rq: &Request<'_>, e: Element<'_>) -> Result<(), RoomError> {
        let Some(o) = self.sender(rq) else { return Err(RoomError::NotOccupant) };
        if !rq.peer.session.as_ref().is_some_and(|s| s.room.is_some() || s.admin) {
            return Err(RoomError::BadRequest("The connection names no room"));
        }
        let (role, admin) = (o.role, o.traits.admin);
        let features = rq.peer.session.as_ref().and_then(|s| s.claims.as_ref()).and_then(|c| c.features.clone());
        let json: Value =
            serde_json::from_str(&e.text()).map_err(|_| RoomError::BadRequest("The JSON is not valid"))?;
        let Some(key) = json.get("key").and_then(Value::as_str) else {
            return Err(RoomError::BadRequest("The key is missing"));
        };
        let data = match json.get("data") {
            None | Some(Value::Null) => return Err(RoomError::BadRequest("The data is missing")),
            Some(d) => d.clone(),
        };
        let moderator = role == MucRole::Moderator;
        let data = if key == "recording" {
            // Whoever may transcribe changes these two fields; a moderator without a list of features, all.
            match features {
                None if moderator => data,
                Some(f) if f.get("transcription") == Some(&true) => {
                    let Value::Object(d) = data else { return Err(RoomError::BadRequest("The data is no object")) };
                    let known = ["isTranscribingEnabled", "isRecordingRequested"];
                    Value::Object(d.into_iter().filter(|(k, _)| known.contains(&k.as_str())).collect())
                }
                _ => return Err(RoomError::Forbidden),
            }
        } else if moderator {
            data
        } else {
            return Err(RoomError::Forbidden);
        };
        if !admin && (BLOCKED.contains(&key) || cx.cfg.metadata_blocked_keys.contains(key)) {
            return Err(RoomError::Forbidden);
        }
        let mut next = self.metadata.map.clone();
        next.insert(key.to_owned(), data);
        if next == self.metadata.map {
            return Ok(());
        }
        if Value::Object(next.clone()).to_string().len() > cx.cfg.limits.metadata {
            return Err(RoomError::TooMuch("The room's metadata is full"));
        }
        self.metadata.map = next;
        self.metadata_changed(cx, key);
        Ok(())
    }

    /// A moderator's `<startmuted/>` becomes metadata.
    pub(crate) fn start_muted(&mut self, cx: &mut Cx<'_>, nick: &str, stanza: &Stanza) {
        if !self.metadata.on {
            return;
        }
        if self.roster.get(nick).is_none_or(|o| o.role != MucRole::Moderator) {
            return;
        }
        let Some(e) = stanza.child("startmuted", ns::START_MUTED) else { return };
        let flag = |name: &str| Value::Bool(e.attr(name).as_deref() == Some("true"));
        let mut map = Map::new();
        map.insert("audio".to_owned(), flag("audio"));
        map.insert("video".to_owned(), flag("video"));
        let value = Value::Object(map);
        // Nobody is told that nothing is muted who has not heard of muting.
        let off = value.get("audio") == Some(&Value::Bool(false)) && value.get("video") == Some(&Value::Bool(false));
        if off && self.metadata.get("startMuted").is_none() {
            return;
        }
        self.set_metadata(cx, "startMuted", value);
    }
}
