//! Audio: slots of the whole conference, subscriptions of receivers, and who speaks.

use std::sync::Arc;
use std::time::Instant;

use crate::ids::{EndpointId, MediaKind, SourceId};
use crate::slots::difference;
use crate::source::VideoType;
use crate::speech::Speakers;

use super::{AudioSubscription, Conference, Mapped, Outgoing, Output};

impl Conference {
    /// A source without a slot is to be heard.
    pub(super) fn audio_wanted(&mut self, now: Instant, id: SourceId) {
        let audio = self.sources.get(&id).is_some_and(|it| it.desc.kind == MediaKind::Audio);
        if audio && self.audio.assign(&[(id, None)]) {
            self.pending.audio = true;
            self.soon(now);
        }
    }

    pub(super) fn set_ranked(&mut self, ranked: Vec<EndpointId>) {
        for id in ranked.iter().filter_map(|id| self.people.get(id)).flat_map(|it| &it.sources) {
            self.audio.touch(*id);
        }
        self.ranked = ranked;
    }

    pub(super) fn set_speakers(&mut self, now: Instant, speakers: Speakers) {
        let dominant = speakers.dominant.filter(|id| self.speech.contains(id));
        let new = dominant.filter(|it| Some(*it) != self.speakers.dominant);
        // The last speaker first; whoever is not mentioned keeps the place.
        let recent: Vec<EndpointId> =
            dominant.iter().chain(&speakers.recent).copied().filter(|id| self.speech.contains(id)).collect();
        let mut order = recent.clone();
        order.extend(self.speech.iter().filter(|id| !recent.contains(id)));
        if order != self.speech {
            self.speech = order;
            self.pending.all = true;
            self.soon(now);
        }
        self.speakers = speakers;
        if let Some(message) = self.dominant_message() {
            self.send_everybody(None, message);
        }
        let on_stage = |source: &Arc<str>| {
            let desc = self.source_names.get(source).and_then(|id| self.sources.get(id)).map(|it| &it.desc);
            desc.is_some_and(|it| it.video_type == VideoType::Camera)
        };
        if let Some(new) = new.filter(|_| self.people.len() > 2)
            && self.classes.values().any(|it| it.key.settings.on_stage.iter().any(on_stage))
        {
            self.out.push_back(Output::PrepareKeyframe(new));
        }
    }

    pub(super) fn dominant_message(&self) -> Option<Outgoing> {
        let name = |id: &EndpointId| self.name_of(*id).cloned();
        Some(Outgoing::DominantSpeaker {
            dominant: name(self.speakers.dominant.as_ref()?)?,
            previous: self.speakers.recent.iter().filter_map(name).collect(),
            silence: self.speakers.silence,
        })
    }

    /// Whether an endpoint is among those that speak.
    pub(super) fn is_speaker(&self, id: EndpointId) -> bool {
        self.speakers.dominant == Some(id) || self.speakers.recent.contains(&id) || self.ranked.contains(&id)
    }

    /// Tells the media plane and the receivers what changed in audio slots.
    pub(super) fn tell_audio(&mut self) {
        let map = self.audio.map();
        if map == self.audio_told {
            return;
        }
        let news = difference(&self.audio_told, &map);
        self.audio_told = map.clone();
        self.out.push_back(Output::AudioSlots(map));
        if news.is_empty() {
            return;
        }
        // Nobody is told of own sources: owners hear of the others in a message of their own.
        let owner = |id: &SourceId| self.sources.get(id).map(|it| it.desc.owner);
        let owners: Vec<EndpointId> = news.iter().filter_map(|it| owner(&it.1)).collect();
        let everybody = self.everybody();
        for mid_demux in [false, true] {
            let fits = |id: &EndpointId| {
                self.people.get(id).is_some_and(|it| it.info.ssrc_rewriting && it.info.mid_demux == mid_demux)
            };
            let receivers: Vec<EndpointId> = everybody.iter().copied().filter(fits).collect();
            let (apart, together): (Vec<_>, Vec<_>) = receivers.into_iter().partition(|id| owners.contains(id));
            if !together.is_empty() {
                let mapped = self.mapped_audio(&news, None, mid_demux);
                self.send_many(together, Outgoing::AudioSourcesMap(mapped));
            }
            for receiver in apart {
                let mapped = self.mapped_audio(&news, Some(receiver), mid_demux);
                if !mapped.is_empty() {
                    self.send(receiver, Outgoing::AudioSourcesMap(mapped));
                }
            }
        }
    }

    /// All audio slots, as told to a receiver whose channel came up.
    pub(super) fn all_audio(&self, receiver: EndpointId, mid_demux: bool) -> Vec<Mapped> {
        self.mapped_audio(&difference(&[], &self.audio_told), Some(receiver), mid_demux)
    }

    fn mapped_audio(&self, slots: &[(usize, SourceId)], but_of: Option<EndpointId>, mid_demux: bool) -> Vec<Mapped> {
        let mapped = |&(slot, id): &(usize, SourceId)| {
            let desc = &self.sources.get(&id).filter(|it| Some(it.desc.owner) != but_of)?.desc;
            Some(Mapped {
                source: desc.name.clone(),
                owner: self.name_of(desc.owner)?.clone(),
                ssrc: self.audio_ssrcs.all().get(slot)?.ssrc,
                rtx: None,
                video_type: None,
                mid: mid_demux.then_some(slot as u16),
            })
        };
        slots.iter().filter_map(mapped).collect()
    }

    pub(super) fn subscribe(&mut self, now: Instant, id: EndpointId, subscription: AudioSubscription) {
        if subscription.entries() > self.config.max_audio_list {
            return self.ignore(id, "too many sources in the audio subscription");
        }
        let Some(person) = self.people.get_mut(&id) else { return };
        person.receiver.audio = (!subscription.is_default()).then(|| Arc::new(subscription));
        self.pending.subscribers.push(id);
        self.soon(now);
    }

    /// Tells the media plane who does not get which audio, and which audio passes whether loud or not.
    pub(super) fn tell_subscriptions(&mut self) {
        let all = std::mem::take(&mut self.pending.subscriptions);
        let mut changed = std::mem::take(&mut self.pending.subscribers);
        if all {
            changed = self.people.values().filter(|it| it.receiver.audio.is_some()).map(|it| it.info.id).collect();
        }
        changed.sort_unstable();
        changed.dedup();

        let mut synthetic: Vec<SourceId> = self.audio_sources().filter(|(_, _, s)| *s).map(|(id, ..)| id).collect();
        synthetic.sort_unstable();
        let mut exempt = synthetic.clone();
        // Of visitors only the own hearing depends on what they include: they are too many to decide for everybody.
        let participants = self.speech.iter().filter_map(|id| self.people.get(id));
        let included = participants.filter_map(|it| it.receiver.audio.as_ref()).flat_map(|it| it.included());
        exempt.extend(included.filter_map(|name| self.source_names.get(name)));
        exempt.sort_unstable();
        exempt.dedup();
        if synthetic[..] != *self.default_skip {
            self.default_skip = synthetic.into();
            self.out.push_back(Output::DefaultAudioSkip(self.default_skip.clone()));
        }
        if exempt[..] != *self.exempt {
            self.exempt = exempt.into();
            self.out.push_back(Output::AudioExempt(self.exempt.clone()));
        }
        for id in changed {
            let Some(person) = self.people.get(&id) else { continue };
            let skip = person.receiver.audio.clone().map(|subscription| {
                let unwanted =
                    |(_, name, synthetic): &(SourceId, &Arc<str>, bool)| !subscription.wants(name, *synthetic);
                let mut skip: Vec<SourceId> = self.audio_sources().filter(unwanted).map(|(id, ..)| id).collect();
                skip.sort_unstable();
                Arc::<[SourceId]>::from(skip)
            });
            if let Some(person) = self.people.get_mut(&id).filter(|it| it.receiver.skip != skip) {
                person.receiver.skip.clone_from(&skip);
                self.out.push_back(Output::AudioSkip { receiver: id, skip });
            }
        }
    }

    fn audio_sources(&self) -> impl Iterator<Item = (SourceId, &Arc<str>, bool)> + '_ {
        let audio = self.sources.values().filter(|it| it.desc.kind == MediaKind::Audio);
        audio.map(|it| (it.desc.id, &it.desc.name, it.desc.synthetic))
    }
}
