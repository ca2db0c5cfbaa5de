//! What receivers are told of slots for video and of what is forwarded to them. Receivers that must hear the same hear one message.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::ids::{ClassId, EndpointId, SourceId};
use crate::slots::{SlotMap, believed, difference};

use super::{Conference, Mapped, Outgoing};

/// Receivers that believe the same, are to believe the same, and read media ids or not.
struct Group {
    /// Kept, so that its address stays its own while groups are told apart by it.
    _old: SlotMap,
    believes: SlotMap,
    news: Vec<(usize, SourceId)>,
    receivers: Vec<EndpointId>,
}

impl Conference {
    /// Tells receivers what changed in the slots of their class.
    pub(super) fn tell_video(&mut self, receivers: &[EndpointId]) {
        let mut groups: HashMap<(usize, usize, bool), Group, FixedState> = HashMap::default();
        let address = |map: &SlotMap| map.as_ptr() as usize;
        for id in receivers {
            let Some(person) = self.people.get_mut(id).filter(|it| it.channel && it.info.ssrc_rewriting) else {
                continue;
            };
            let receiver = &mut person.receiver;
            let Some(slots) = receiver.class.and_then(|it| self.classes.get(&it)).and_then(|it| it.slots()) else {
                continue;
            };
            if Arc::ptr_eq(&receiver.told, slots) {
                continue;
            }
            let old = receiver.believes.clone();
            let key = (address(&old), address(slots), person.info.mid_demux);
            let group = groups.entry(key).or_insert_with(|| Group {
                believes: believed(&old, slots),
                news: difference(&old, slots),
                receivers: Vec::new(),
                _old: old.clone(),
            });
            receiver.believes = group.believes.clone();
            receiver.told = slots.clone();
            group.receivers.push(*id);
        }
        let mut groups: Vec<_> = groups.into_iter().filter(|(_, group)| !group.news.is_empty()).collect();
        groups.sort_by_key(|(_, group)| group.receivers.first().copied());
        for ((_, _, mid_demux), group) in groups {
            let mapped = self.mapped_video(&group.news, mid_demux);
            self.send_many(group.receivers, Outgoing::VideoSourcesMap(mapped));
        }
    }

    pub(super) fn mapped_video(&self, slots: &[(usize, SourceId)], mid_demux: bool) -> Vec<Mapped> {
        let mapped = |&(slot, id): &(usize, SourceId)| {
            let desc = &self.sources.get(&id)?.desc;
            let ssrcs = self.video_ssrcs.all().get(slot)?;
            Some(Mapped {
                source: desc.name.clone(),
                owner: self.name_of(desc.owner)?.clone(),
                ssrc: ssrcs.ssrc,
                rtx: Some(ssrcs.rtx),
                video_type: Some(desc.video_type),
                mid: mid_demux.then_some(slot as u16),
            })
        };
        slots.iter().filter_map(mapped).collect()
    }

    /// SSRCs of these slots were replaced: everybody is told of them as if they were new.
    pub(super) fn forget_slots(&mut self, video: Option<usize>, audio: Option<usize>) {
        let without = |map: &SlotMap, slot: usize| -> SlotMap {
            map.iter().enumerate().map(|(at, source)| source.filter(|_| at != slot)).collect()
        };
        if let Some(slot) = audio {
            self.audio_told = without(&self.audio_told, slot);
            self.pending.audio = true;
        }
        if let Some(slot) = video {
            let mut receivers = Vec::new();
            for person in self.people.values_mut().filter(|it| it.is_local()) {
                person.receiver.believes = without(&person.receiver.believes, slot);
                person.receiver.told = self.no_slots.clone();
                receivers.push(person.info.id);
            }
            receivers.sort_unstable();
            self.tell_video(&receivers);
        }
    }

    pub(super) fn set_rungs(&mut self, id: ClassId, version: u32, receivers: &[(EndpointId, u16)]) {
        let Some(state) = self.classes.get_mut(&id) else { return };
        // Rungs of an earlier version mean nothing any more; those of the present one will come.
        let Some(class) = state.published.clone().filter(|it| it.version == version) else { return };
        let mut news: Vec<(Arc<[SourceId]>, Vec<EndpointId>)> = Vec::new();
        for &(receiver, rung) in receivers {
            let Some(step) = class.staircase.rungs.get(usize::from(rung)) else { continue };
            let Some(person) = self.people.get_mut(&receiver).filter(|it| it.receiver.class == Some(id)) else {
                continue;
            };
            let set = state.forwarded[usize::from(rung)].get_or_insert_with(|| {
                let mut set: Vec<SourceId> = step.targets.iter().map(|it| it.0).collect();
                set.sort_unstable();
                set.into()
            });
            let knows = &mut person.receiver.forwarded;
            let same = knows.as_ref().map_or(set.is_empty(), |it| Arc::ptr_eq(it, set) || **it == **set);
            *knows = Some(set.clone());
            person.receiver.rung = Some((version, rung));
            if same || !person.channel {
                continue;
            }
            match news.iter_mut().find(|(it, _)| Arc::ptr_eq(it, set)) {
                Some((_, receivers)) => receivers.push(receiver),
                None => news.push((set.clone(), vec![receiver])),
            }
        }
        for (set, receivers) in news {
            let names = self.forwarded_names(&set);
            self.send_many(receivers, Outgoing::ForwardedSources(names));
        }
    }

    pub(super) fn forwarded_names(&self, set: &[SourceId]) -> Arc<[Arc<str>]> {
        set.iter().filter_map(|id| self.sources.get(id)).map(|it| it.desc.name.clone()).collect()
    }
}
