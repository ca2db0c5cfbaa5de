//! Other bridges (`spec/bridge.md` 5.4): what they say, what they want, what passes on to bridges of other meshes.

use std::sync::Arc;
use std::time::Instant;

use crate::ids::{EndpointId, MediaKind};
use crate::source::VideoType;

use super::{Conference, Incoming, Outgoing};

/// Sources that one relay may name in AddReceiver.
const MAX_WANTS: usize = 4096;

impl Conference {
    /// The channel to a relay is up: what we want of it, and what our sources show.
    pub(super) fn relay_up(&mut self, relay: EndpointId) {
        let mesh = self.mesh_of(relay).cloned();
        let bridge = self.config.relay_id.clone();
        let mut messages = Vec::new();
        let mut ids: Vec<_> = self.sources.keys().copied().collect();
        ids.sort_unstable();
        for id in ids {
            let Some(source) = self.sources.get(&id).filter(|it| it.desc.kind == MediaKind::Video) else { continue };
            let (owner, name, video_type) = (source.desc.owner, source.desc.name.clone(), source.desc.video_type);
            let behind = self.relay_of(owner);
            if behind == Some(relay) {
                let max_height = source.counts.max();
                if max_height != 0 || self.config.wanted_only {
                    messages.push(Outgoing::AddReceiver { bridge: bridge.clone(), source: name, max_height });
                }
                if let Some(source) = self.sources.get_mut(&id) {
                    source.told = Some(max_height);
                }
                continue;
            }
            let same_mesh = behind.is_some_and(|it| self.mesh_of(it) == mesh.as_ref());
            if !same_mesh && video_type != VideoType::Camera {
                let Some(endpoint) = self.name_of(owner).cloned() else { continue };
                messages.push(Outgoing::VideoType { endpoint, source: name, video_type });
            }
        }
        messages.into_iter().for_each(|message| self.send(relay, message));
        self.say_who_we_are(relay);
    }

    /// What a relay wanted is wanted no more.
    pub(super) fn forget_relay(&mut self, now: Instant, relay: EndpointId) {
        self.sparing.remove(&relay);
        for (name, height) in self.relay_wants.remove(&relay).unwrap_or_default() {
            let Some(id) = self.source_names.get(&name).copied() else { continue };
            if let Some(source) = self.sources.get(&id)
                && self.concerns(relay, source.desc.owner)
            {
                self.recount(now, id, height, 0);
            }
        }
    }

    /// Whether a relay's wishes for an endpoint's sources come here: not for its own, nor for those of its mesh, which it gets without us.
    pub(super) fn concerns(&self, relay: EndpointId, owner: EndpointId) -> bool {
        self.relay_of(owner).is_none_or(|behind| behind != relay && self.mesh_of(behind) != self.mesh_of(relay))
    }

    pub(super) fn relay_message(&mut self, now: Instant, relay: EndpointId, mesh: &str, message: Incoming) {
        // Whoever a relay speaks for is known through it.
        let known = |it: &Self, name: &str| it.names.get(name).copied().filter(|id| it.relay_of(*id) == Some(relay));
        match message {
            Incoming::EndpointMessage { from: None, .. } | Incoming::EndpointStats { from: None, .. } => {
                self.ignore(relay, "it says not from whom");
            }
            Incoming::EndpointMessage { to: None, from: Some(from), fields } => {
                let message = Outgoing::EndpointMessage { from, fields };
                self.send_everybody(None, message.clone());
                self.send_relays(Some(mesh), message);
            }
            Incoming::EndpointMessage { to: Some(to), from: Some(from), fields } => {
                self.send_directed(relay, &to, Some(mesh), Outgoing::EndpointMessage { from, fields });
            }
            Incoming::EndpointStats { from: Some(from), fields } => match known(self, &from) {
                Some(id) => self.send_stats(id, from, fields, Some(mesh)),
                None => self.ignore(relay, "statistics of an unknown endpoint"),
            },
            Incoming::Connectivity { endpoint, active } => {
                let message = Outgoing::Connectivity { endpoint, active };
                self.send_everybody(None, message.clone());
                self.send_relays(Some(mesh), message);
            }
            Incoming::SyntheticSending { source, sending, timestamp } => {
                let message = Outgoing::SyntheticSending { source, sending, timestamp };
                self.send_everybody(None, message.clone());
                self.send_relays(Some(mesh), message);
            }
            Incoming::VideoType { endpoint: Some(endpoint), source: Some(source), video_type } => {
                match known(self, &endpoint) {
                    Some(id) => self.set_video_type(now, id, source, video_type),
                    None => self.ignore(relay, "video type of an unknown endpoint"),
                }
            }
            Incoming::VideoType { .. } => self.ignore(relay, "it says not whose source"),
            Incoming::AddReceiver { source, max_height, .. } => self.add_receiver(now, relay, source, max_height),
            Incoming::ServerHello { version } => self.relay_hello(now, relay, version.as_deref()),
            Incoming::ClientHello | Incoming::VideoConstraints(_) | Incoming::AudioSubscription(_) => {
                self.ignore(relay, "only clients say that");
            }
        }
    }

    fn add_receiver(&mut self, now: Instant, relay: EndpointId, name: Arc<str>, max_height: i32) {
        let Some(wants) = self.relay_wants.get_mut(&relay) else { return };
        if wants.len() >= MAX_WANTS && !wants.contains_key(&name) {
            return self.ignore(relay, "it wants too many sources");
        }
        self.relay_wish(now, relay, &name, max_height == 0, MAX_WANTS);
        let Some(wants) = self.relay_wants.get_mut(&relay) else { return };
        let former = if max_height == 0 { wants.remove(&name) } else { wants.insert(name.clone(), max_height) };
        let Some(id) = self.source_names.get(&name).copied() else { return };
        if self.sources.get(&id).is_some_and(|it| self.concerns(relay, it.desc.owner)) {
            self.recount(now, id, former.unwrap_or(0), max_height);
        }
    }

    fn recount(&mut self, now: Instant, id: crate::ids::SourceId, old: i32, new: i32) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.counts.remove(old);
            source.counts.add(new);
            self.pending.upstream.push(id);
            self.soon(now);
        }
    }
}
