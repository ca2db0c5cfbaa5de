//! Sources of everybody: signaled, refined by media, measured.

use std::sync::Arc;
use std::time::Instant;

use crate::ids::{EndpointId, LayerIndex, MediaKind, SourceId};
use crate::source::{SourceDesc, VideoType};

use super::demand::HeightCounts;
use super::{Conference, Outgoing, Role};

/// A source and what is wanted of it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) desc: SourceDesc,
    /// The slot that it gets in all classes, if it has one.
    pub(super) home: Option<usize>,
    pub(super) counts: HeightCounts,
    /// The greatest height that its sender or relay was told.
    pub(super) told: Option<i32>,
    rates_at: Option<Instant>,
}

impl Conference {
    /// Takes the full set of sources of an endpoint. Visitors and relays have none.
    pub(super) fn set_sources(&mut self, now: Instant, owner: EndpointId, sources: Vec<SourceDesc>) {
        let Some(person) = self.people.get(&owner) else { return };
        if person.is_visitor() || person.superseded || matches!(person.info.role, Role::Relay { .. }) {
            return;
        }
        let had = person.sources.clone();
        let mut has = Vec::with_capacity(sources.len());
        let mut changed = false;
        for id in &had {
            if !sources.iter().any(|it| it.id == *id) {
                self.remove_source(*id);
                changed = true;
            }
        }
        for mut desc in sources {
            if has.contains(&desc.id) || self.sources.get(&desc.id).is_some_and(|it| it.desc.owner != owner) {
                continue;
            }
            has.push(desc.id);
            desc.owner = owner;
            let Some(old) = self.sources.get_mut(&desc.id) else {
                self.add_source(desc);
                changed = true;
                continue;
            };
            desc.inherit(&old.desc);
            // What the sender said on its channel counts more than what was signaled at the start.
            desc.video_type = old.desc.video_type;
            if desc != old.desc {
                let old = std::mem::replace(&mut old.desc, desc);
                self.count_ssrcs(&old, false);
                let id = old.id;
                if let Some(new) = self.sources.get(&id).map(|it| it.desc.clone()) {
                    if new.name != old.name {
                        self.source_names.remove(&old.name);
                        self.source_names.insert(new.name.clone(), id);
                    }
                    self.count_ssrcs(&new, true);
                }
                changed = true;
            }
        }
        if !changed {
            return;
        }
        let has_video = |list: &[SourceId], it: &Self| {
            list.iter().any(|id| it.sources.get(id).is_some_and(|it| it.desc.kind == MediaKind::Video))
        };
        let sends_video = has_video(&has, self);
        if let Some(person) = self.people.get_mut(&owner) {
            person.sources = has;
            if person.is_local() && person.receiver.sends_video != sends_video {
                person.receiver.sends_video = sends_video;
                self.move_soon(now, owner);
            }
        }
        self.pending.all = true;
        self.pending.subscriptions = true;
        self.soon(now);
    }

    fn add_source(&mut self, mut desc: SourceDesc) {
        let id = desc.id;
        if let Some(person) = self.people.get_mut(&desc.owner)
            && let Some(at) = person.early_types.iter().position(|(name, _)| *name == desc.name)
        {
            desc.video_type = person.early_types.remove(at).1;
        }
        self.source_names.insert(desc.name.clone(), id);
        self.count_ssrcs(&desc, true);
        let mut counts = HeightCounts::default();
        let mut home = None;
        match desc.kind {
            MediaKind::Video => {
                home = self.homes.iter().position(Option::is_none);
                if let Some(at) = home {
                    self.homes[at] = Some(id);
                }
                for (relay, wants) in &self.relay_wants {
                    if let Some(height) = wants.get(&desc.name).filter(|_| self.concerns(*relay, desc.owner)) {
                        counts.add(*height);
                    }
                }
                self.pending.upstream.push(id);
                self.pending.sparing = true;
            }
            MediaKind::Audio => {
                let ahead = self.audio.occupied() < self.config.audio_slots_ahead;
                if ahead && !desc.synthetic && self.audio.offer([(id, None)]) {
                    self.pending.audio = true;
                }
            }
        }
        self.sources.insert(id, Source { desc, home, counts, told: None, rates_at: None });
    }

    fn remove_source(&mut self, id: SourceId) {
        let Some(source) = self.sources.remove(&id) else { return };
        if self.source_names.get(&source.desc.name) == Some(&id) {
            self.source_names.remove(&source.desc.name);
        }
        self.forget_refusals(&source.desc.name);
        self.count_ssrcs(&source.desc, false);
        if let Some(home) = source.home {
            self.homes[home] = None;
        }
        if self.audio.free(|it| it == id) {
            self.pending.audio = true;
        }
        // The numbers of what is wanted of it are gone with it.
        self.classes.values_mut().for_each(|class| class.forget(id));
    }

    /// Keeps signaled SSRCs and those of slots apart.
    fn count_ssrcs(&mut self, desc: &SourceDesc, add: bool) {
        for ssrc in desc.ssrcs() {
            if !add {
                if let Some(count) = self.ssrcs.get_mut(&ssrc) {
                    *count -= 1;
                    if *count == 0 {
                        self.ssrcs.remove(&ssrc);
                    }
                }
                continue;
            }
            *self.ssrcs.entry(ssrc).or_default() += 1;
            let (signaled, video, audio) = (&self.ssrcs, &mut self.video_ssrcs, &mut self.audio_ssrcs);
            let in_video = video.avoid(ssrc, |it| signaled.contains_key(&it) || audio.find(it).is_some());
            let in_audio = audio.avoid(ssrc, |it| signaled.contains_key(&it) || video.find(it).is_some());
            if in_video.is_some() || in_audio.is_some() {
                self.tell_ssrcs();
                self.forget_slots(in_video, in_audio);
            }
        }
    }

    /// What a source shows, as its sender or relay says.
    pub(super) fn set_video_type(&mut self, now: Instant, owner: EndpointId, name: Arc<str>, video_type: VideoType) {
        let Some(person) = self.people.get(&owner) else { return };
        let own = |id: &&SourceId| self.sources.get(*id).is_some_and(|it| it.desc.name == name);
        let found = person.sources.iter().find(own).copied();
        let from_mesh = self.relay_of(owner).and_then(|relay| self.mesh_of(relay)).cloned();
        let endpoint = person.info.name.clone();
        match found.and_then(|id| self.sources.get_mut(&id)) {
            Some(source) if source.desc.video_type == video_type => return,
            Some(source) => {
                source.desc.video_type = video_type;
                self.pending.all = true;
                self.soon(now);
            }
            None => {
                if let Some(person) = self.people.get_mut(&owner) {
                    person.remember_type(name.clone(), video_type);
                }
            }
        }
        self.send_relays(from_mesh.as_deref(), Outgoing::VideoType { endpoint, source: name, video_type });
    }

    pub(super) fn set_rates(&mut self, now: Instant, rates: Vec<(SourceId, Vec<(LayerIndex, u64)>)>) {
        for (id, rates) in rates {
            let Some(source) = self.sources.get_mut(&id) else { continue };
            let old = source
                .rates_at
                .is_none_or(|at| now.saturating_duration_since(at) >= self.config.max_between_calculations);
            let threshold = if old { 0.0 } else { self.config.rate_threshold };
            if source.desc.set_rates(&rates, threshold) {
                source.rates_at = Some(now);
                self.pending.layers.push(id);
                self.soon(now);
            }
        }
    }

    pub(super) fn refine(&mut self, now: Instant, id: SourceId, change: impl FnOnce(&mut SourceDesc) -> bool) {
        if self.sources.get_mut(&id).is_some_and(|it| change(&mut it.desc)) {
            self.pending.layers.push(id);
            self.soon(now);
            self.spare_soon(now);
        }
    }

    /// All video, the last speaker's first.
    pub(super) fn video_order(&self) -> Vec<SourceId> {
        let of = |id: &EndpointId| self.people.get(id).map(|it| &it.sources[..]).unwrap_or_default();
        let video = |id: &&SourceId| self.sources.get(*id).is_some_and(|it| it.desc.kind == MediaKind::Video);
        self.speech.iter().flat_map(of).filter(video).copied().collect()
    }
}
