//! Who is here: endpoints, relayed endpoints, relays.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::allocation::Settings;
use crate::ids::{ClassId, EndpointId, SourceId};
use crate::slots::SlotMap;
use crate::source::VideoType;

use super::{AudioSubscription, Conference, Endpoint, Output, Role};

/// What a relay wants, by name of the source.
pub(super) type RelayWants = HashMap<Arc<str>, i32>;

/// An endpoint, relayed endpoint or relay.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) info: Endpoint,
    pub(super) channel: bool,
    pub(super) created: Instant,
    pub(super) last_activity: Option<Instant>,
    pub(super) inactive: bool,
    pub(super) sources: Vec<SourceId>,
    /// Video types said before the source was signaled.
    pub(super) early_types: Vec<(Arc<str>, VideoType)>,
    /// Another one of its name came later.
    pub(super) superseded: bool,
    pub(super) receiver: Receiver,
}

/// The receiving side of a local endpoint.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) settings: Arc<Settings>,
    /// Whether it ever said what it wants.
    pub(super) configured: bool,
    /// Whether it waits for another class.
    pub(super) moving: bool,
    pub(super) class: Option<ClassId>,
    /// Place among the members of the class.
    pub(super) place: usize,
    /// Rung and the version in which it counts.
    pub(super) rung: Option<(u32, u16)>,
    /// What it was told to get.
    pub(super) forwarded: Option<Arc<[SourceId]>>,
    /// What it believes of slots for video, and the map of a class that it was told last.
    pub(super) believes: SlotMap,
    pub(super) told: SlotMap,
    pub(super) audio: Option<Arc<AudioSubscription>>,
    pub(super) skip: Option<Arc<[SourceId]>>,
    pub(super) assumed: Option<u64>,
    pub(super) stats_sent: Option<Instant>,
    /// Whether it has video sources of its own, which are left out of what it gets.
    pub(super) sends_video: bool,
}

/// Video types kept for sources that are not signaled yet.
const MAX_EARLY_TYPES: usize = 16;

impl Person {
    pub(super) fn is_local(&self) -> bool {
        matches!(self.info.role, Role::Participant | Role::Visitor)
    }

    pub(super) fn is_visitor(&self) -> bool {
        self.info.role == Role::Visitor
    }

    pub(super) fn remember_type(&mut self, source: Arc<str>, video_type: VideoType) {
        self.early_types.retain(|(name, _)| *name != source);
        if self.early_types.len() == MAX_EARLY_TYPES {
            self.early_types.remove(0);
        }
        self.early_types.push((source, video_type));
    }
}

impl Conference {
    pub(super) fn added(&mut self, now: Instant, info: Endpoint) {
        let id = info.id;
        if self.people.contains_key(&id) {
            return;
        }
        if !matches!(info.role, Role::Relay { .. })
            && let Some(older) = self.names.insert(info.name.clone(), id)
        {
            // It moved here from another bridge, or back, and the older one's end is still on its way.
            self.set_sources(now, older, Vec::new());
            if let Some(older) = self.people.get_mut(&older) {
                older.superseded = true;
            }
            self.speech.retain(|it| *it != older);
        }
        match info.role {
            Role::Participant | Role::Relayed { .. } => self.speech.push(id),
            Role::Relay { .. } => {
                self.relay_wants.insert(id, RelayWants::new());
            }
            Role::Visitor => {}
        }
        if info.role == Role::Participant {
            self.next_check.get_or_insert(now + self.config.check_interval);
        }
        let local = matches!(info.role, Role::Participant | Role::Visitor);
        let receiver = Receiver {
            settings: self.initial_settings.clone(),
            configured: false,
            moving: false,
            class: None,
            place: 0,
            rung: None,
            forwarded: None,
            believes: self.no_slots.clone(),
            told: self.no_slots.clone(),
            audio: None,
            skip: None,
            assumed: None,
            stats_sent: None,
            sends_video: false,
        };
        let person = Person {
            info,
            channel: false,
            created: now,
            last_activity: None,
            inactive: false,
            sources: Vec::new(),
            early_types: Vec::new(),
            superseded: false,
            receiver,
        };
        self.people.insert(id, person);
        if local {
            self.move_soon(now, id);
        }
    }

    pub(super) fn removed(&mut self, now: Instant, id: EndpointId) {
        let Some(person) = self.people.get(&id) else { return };
        if let Role::Relay { .. } = person.info.role {
            let behind = |it: &&Person| it.info.role == Role::Relayed { relay: id };
            let endpoints: Vec<EndpointId> = self.people.values().filter(behind).map(|it| it.info.id).collect();
            endpoints.into_iter().for_each(|it| self.removed(now, it));
            self.forget_relay(now, id);
        }
        self.set_sources(now, id, Vec::new());
        self.leave_class(now, id);
        let Some(person) = self.people.remove(&id) else { return };
        if self.names.get(&person.info.name) == Some(&id) {
            self.names.remove(&person.info.name);
        }
        self.speech.retain(|it| *it != id);
        self.ranked.retain(|it| *it != id);
        self.everybody = None;
        if person.receiver.audio.is_some() {
            self.pending.subscribers.push(id);
            self.soon(now);
        }
    }

    pub(super) fn name_of(&self, id: EndpointId) -> Option<&Arc<str>> {
        self.people.get(&id).map(|it| &it.info.name)
    }

    /// The mesh of a relay.
    pub(super) fn mesh_of(&self, relay: EndpointId) -> Option<&Arc<str>> {
        match &self.people.get(&relay)?.info.role {
            Role::Relay { mesh } => Some(mesh),
            _ => None,
        }
    }

    /// The relay that an endpoint is behind.
    pub(super) fn relay_of(&self, endpoint: EndpointId) -> Option<EndpointId> {
        match self.people.get(&endpoint)?.info.role {
            Role::Relayed { relay } => Some(relay),
            _ => None,
        }
    }

    pub(super) fn ignore(&mut self, from: EndpointId, reason: &'static str) {
        self.out.push_back(Output::Ignored { from, reason });
    }
}
