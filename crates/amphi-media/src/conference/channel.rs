//! The bridge channel of endpoints (`spec/bridge.md` 3): what is told when it comes up, and what is done with messages.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::allocation::{ConstraintsUpdate, Settings};
use crate::ids::{EndpointId, MediaKind};
use crate::slots::difference;

use super::{ChannelKind, Conference, Incoming, Outgoing, Output, Role};

impl Conference {
    pub(super) fn channel_up(&mut self, id: EndpointId, kind: ChannelKind) {
        let Some(person) = self.people.get_mut(&id) else { return };
        person.channel = true;
        let local = person.is_local();
        let relay = matches!(person.info.role, Role::Relay { .. });
        self.everybody = None;
        if kind == ChannelKind::WebSocket {
            self.send(id, Outgoing::ServerHello);
        }
        if relay {
            self.relay_up(id);
        } else if local {
            self.tell_state(id);
        }
    }

    pub(super) fn channel_down(&mut self, id: EndpointId) {
        if let Some(person) = self.people.get_mut(&id) {
            person.channel = false;
            self.everybody = None;
        }
        self.spare_nothing(id);
    }

    /// Everything that a local endpoint must know: it may have missed all of it.
    fn tell_state(&mut self, id: EndpointId) {
        let Some(person) = self.people.get_mut(&id) else { return };
        let (rewriting, mid_demux) = (person.info.ssrc_rewriting, person.info.mid_demux);
        let forwarded = person.receiver.forwarded.clone();
        let class = person.receiver.class.and_then(|it| self.classes.get(&it));
        let slots = class.and_then(|it| it.slots()).unwrap_or(&self.no_slots).clone();
        person.receiver.believes = slots.clone();
        person.receiver.told = slots.clone();

        for source in person.sources.clone() {
            let Some(source) = self.sources.get_mut(&source).filter(|it| it.desc.kind == MediaKind::Video) else {
                continue;
            };
            let max_height = source.told.unwrap_or_else(|| source.counts.max());
            source.told = Some(max_height);
            let source = source.desc.name.clone();
            self.send(id, Outgoing::SenderConstraints { source, max_height });
        }
        if let Some(set) = forwarded {
            self.send(id, Outgoing::ForwardedSources(self.forwarded_names(&set)));
        }
        if rewriting {
            let video = self.mapped_video(&difference(&[], &slots), mid_demux);
            if !video.is_empty() {
                self.send(id, Outgoing::VideoSourcesMap(video));
            }
            let audio = self.all_audio(id, mid_demux);
            if !audio.is_empty() {
                self.send(id, Outgoing::AudioSourcesMap(audio));
            }
        }
        let inactive =
            self.speech.iter().filter_map(|it| self.people.get(it)).filter(|it| it.inactive && it.is_local());
        for endpoint in inactive.map(|it| it.info.name.clone()).collect::<Vec<_>>() {
            self.send(id, Outgoing::Connectivity { endpoint, active: false });
        }
        if let Some(message) = self.dominant_message() {
            self.send(id, message);
        }
    }

    pub(super) fn message(&mut self, now: Instant, from: EndpointId, message: Incoming) {
        let Some(person) = self.people.get(&from) else { return };
        match &person.info.role {
            Role::Relay { mesh } => {
                let mesh = mesh.clone();
                return self.relay_message(now, from, &mesh, message);
            }
            Role::Relayed { .. } => return self.ignore(from, "a relayed endpoint has no channel here"),
            Role::Participant | Role::Visitor => {}
        }
        let (visitor, name) = (person.is_visitor(), person.info.name.clone());
        match message {
            Incoming::ClientHello => self.send(from, Outgoing::ServerHello),
            Incoming::VideoConstraints(update) => self.constrain(now, from, update),
            Incoming::AudioSubscription(subscription) => self.subscribe(now, from, subscription),
            Incoming::VideoType { .. } | Incoming::EndpointMessage { .. } | Incoming::EndpointStats { .. }
                if visitor =>
            {
                self.ignore(from, "visitors say nothing to others");
            }
            Incoming::VideoType { source, video_type, .. } => {
                let source = source.unwrap_or_else(|| format!("{name}-v0").into());
                self.set_video_type(now, from, source, video_type);
            }
            Incoming::EndpointMessage { to: None, fields, .. } => {
                let message = Outgoing::EndpointMessage { from: name, fields };
                self.send_everybody(Some(from), message.clone());
                self.send_relays(None, message);
            }
            Incoming::EndpointMessage { to: Some(to), fields, .. } => {
                self.send_directed(from, &to, None, Outgoing::EndpointMessage { from: name, fields });
            }
            Incoming::EndpointStats { fields, .. } => self.send_stats(from, name, fields, None),
            Incoming::ServerHello { .. }
            | Incoming::Connectivity { .. }
            | Incoming::SyntheticSending { .. }
            | Incoming::AddReceiver { .. } => self.ignore(from, "only bridges say that"),
        }
    }

    /// To a local endpoint, or to the relay that it is behind, unless that is of the mesh that the message came from.
    pub(super) fn send_directed(&mut self, from: EndpointId, to: &str, from_mesh: Option<&str>, message: Outgoing) {
        let Some(&to) = self.names.get(to) else { return self.ignore(from, "no such endpoint") };
        match self.relay_of(to) {
            None => self.send(to, message),
            Some(relay) if from_mesh.is_some() && self.mesh_of(relay).map(|it| &**it) == from_mesh => {
                self.ignore(from, "the endpoint is in the mesh that this came from");
            }
            Some(relay) => self.send(relay, message),
        }
    }

    /// Statistics go to those who see or hear the endpoint, and to other bridges.
    pub(super) fn send_stats(&mut self, from: EndpointId, name: Arc<str>, fields: Bytes, from_mesh: Option<&str>) {
        let message = Outgoing::EndpointStats { from: name, fields };
        // Every relay has an entry in the other map.
        let endpoints = self.people.len() - self.relay_wants.len();
        if endpoints <= self.config.stats_filter_threshold || self.is_speaker(from) {
            self.send_everybody(Some(from), message.clone());
        } else {
            let sources = self.people.get(&from).map(|it| it.sources.clone()).unwrap_or_default();
            let shown = |id: &_| self.sources.get(id).map(|it| &*it.desc.name);
            let mut wanting: Vec<_> = self
                .classes
                .values()
                .filter(|class| {
                    let named = |id: &_| shown(id).is_some_and(|name| class.key.settings.names(name));
                    sources.iter().any(|id| class.wants(*id) || named(id))
                })
                .flat_map(|class| &class.members)
                .copied()
                .filter(|id| *id != from && self.people.get(id).is_some_and(|it| it.channel))
                .collect();
            wanting.sort_unstable();
            self.send_many(wanting, message.clone());
        }
        self.send_relays(from_mesh, message);
    }

    pub(super) fn initial_last_n(&mut self, now: Instant, id: EndpointId, last_n: i32) {
        let Some(receiver) = self.people.get_mut(&id).map(|person| &mut person.receiver) else { return };
        if !receiver.configured && receiver.settings.last_n != last_n {
            let settings = Settings { last_n: last_n.max(-1), ..Settings::clone(&receiver.settings) };
            receiver.settings = Arc::new(settings);
            self.move_soon(now, id);
        }
    }

    fn constrain(&mut self, now: Instant, id: EndpointId, mut update: ConstraintsUpdate) {
        let limit = self.config.max_list;
        update.on_stage.as_mut().into_iter().chain(update.selected.as_mut()).for_each(|list| list.truncate(limit));
        update.max_heights.iter_mut().for_each(|list| list.truncate(limit));
        let Some(person) = self.people.get_mut(&id) else { return };
        let receiver = &mut person.receiver;
        if let (Some(limit), Some(asked)) = (self.config.assumed_bandwidth_limit, update.assumed_bandwidth) {
            let bps = u64::try_from(asked).ok().map(|it| it.min(limit));
            if receiver.assumed != bps {
                receiver.assumed = bps;
                self.out.push_back(Output::AssumedBandwidth { receiver: id, bps });
            }
        }
        let first = !std::mem::replace(&mut receiver.configured, true);
        let settings = receiver.settings.updated(update, first, &self.config.allocation);
        if settings != *receiver.settings {
            receiver.settings = Arc::new(settings);
            self.move_soon(now, id);
        }
    }
}
