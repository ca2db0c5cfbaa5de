//! The home of a conference: takes what its publishers send, once for all receivers. RTX, duplicates, NACK and statistics; loudest speakers;
//! projection of each stream; keyframe requests and reports to the publishers. What comes out are [`Item`]s for the shards, RTCP for publishers
//! and inputs for the decisions. Runs on the shard that owns the publishers; knows no sockets.

mod carrier;
mod control;
mod media;
mod source;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_media::conference::{Class, Input};
use amphi_media::egress::Line;
use amphi_media::ids::{ClassId, EndpointId, LayerIndex, MediaKind, SourceId};
use amphi_media::keyframe::{KeyframeConfig, Keyframes, Need, Wish};
use amphi_media::slots::{SlotMap, SlotSsrc};
use amphi_media::source::SourceDesc;
use amphi_media::speech::Levels;
use foldhash::{HashMap, HashMapExt};

use super::command::{CreateConference, Media, Role};
use super::shard::{Item, Wants};
use super::stats::{ConferenceStats, Counters};
use carrier::Carrier;
use source::Source;

/// Where packets of an SSRC belong.
#[derive(Clone, Copy, Debug)]
struct Place {
    source: SourceId,
    encoding: u8,
    /// It is the SSRC of retransmissions.
    rtx: bool,
    /// From whose transport they must come.
    carrier: EndpointId,
}

/// SSRCs that one conference may have signaled; more are not taken.
const MAX_SSRCS: usize = 8_192;
/// Lines of numbers, for audio and for relays. When there are more, those that carry nothing are let go, and new ones begin above all numbers that
/// were used there. Signaled sources and slots need fewer.
const MAX_LINES: usize = 2 * MAX_SSRCS;
/// Streams that are not wanted any more run on for so long, since somebody may come back to them.
const LINGER: Duration = Duration::from_secs(2);
/// Time between receiver reports (`spec/bridge.md` 4.9).
const REPORTS: Duration = Duration::from_millis(500);
/// Time between two tellings of layers' rates.
const RATES: Duration = Duration::from_secs(1);
/// A source without audio slot is told again after this time.
const WANTED_AGAIN: Duration = Duration::from_millis(500);

pub(super) struct Home {
    config: Arc<CreateConference>,
    /// Who sends on a transport of its own: participants and relays.
    carriers: HashMap<EndpointId, Carrier>,
    /// Who is behind which relay.
    relayed: HashMap<EndpointId, EndpointId>,
    /// Relays and their meshes.
    meshes: HashMap<EndpointId, u32>,
    muted: HashMap<EndpointId, (bool, bool)>,
    ssrcs: HashMap<u32, Place>,
    /// Sources that wait for an SSRC which another one has.
    waiting: Vec<SourceId>,
    sources: HashMap<SourceId, Source>,
    levels: Levels,
    keyframes: Keyframes,
    lines: HashMap<u32, Line>,
    /// Above all numbers of lines that were let go.
    line_floor: u64,
    audio_ssrcs: Arc<[SlotSsrc]>,
    audio_slots: SlotMap,
    exempt: Arc<[SourceId]>,
    wanted_told: HashMap<SourceId, Instant>,
    /// What each shard has receivers for.
    wants: HashMap<usize, Wants>,
    /// What receivers of each class may be given.
    plans: HashMap<ClassId, Vec<(SourceId, LayerIndex)>>,
    /// In how many plans a layer is.
    planned: HashMap<(SourceId, LayerIndex), u32>,
    generation: u16,
    items: Vec<Item>,
    inputs: Vec<Input>,
    control: Vec<(EndpointId, Vec<u8>)>,
    next_reports: Instant,
    next_rates: Instant,
    counters: Counters,
}

impl Home {
    pub(super) fn new(now: Instant, config: Arc<CreateConference>) -> Self {
        Self {
            levels: Levels::new(config.speech.clone()),
            config,
            carriers: HashMap::new(),
            relayed: HashMap::new(),
            meshes: HashMap::new(),
            muted: HashMap::new(),
            ssrcs: HashMap::new(),
            waiting: Vec::new(),
            sources: HashMap::new(),
            keyframes: Keyframes::new(now, KeyframeConfig::default()),
            lines: HashMap::new(),
            line_floor: 0,
            audio_ssrcs: Arc::new([]),
            audio_slots: Arc::new([]),
            exempt: Arc::new([]),
            wanted_told: HashMap::new(),
            wants: HashMap::new(),
            plans: HashMap::new(),
            planned: HashMap::new(),
            generation: 0,
            items: Vec::new(),
            inputs: Vec::new(),
            control: Vec::new(),
            next_reports: now + REPORTS,
            next_rates: now + RATES,
            counters: Counters::default(),
        }
    }

    /// A participant or a relay came.
    pub(super) fn add(&mut self, now: Instant, id: EndpointId, role: Role, media: Arc<Media>) {
        self.carriers.insert(id, Carrier::new(now, media));
        match role {
            Role::Participant => self.levels.add(id),
            Role::Relay { mesh } => drop(self.meshes.insert(id, mesh)),
            Role::Visitor => {}
        }
    }

    /// Somebody behind a relay.
    pub(super) fn add_relayed(&mut self, id: EndpointId, relay: EndpointId) {
        self.relayed.insert(id, relay);
        self.levels.add(id);
    }

    pub(super) fn set_media(&mut self, id: EndpointId, media: Arc<Media>) {
        if let Some(carrier) = self.carriers.get_mut(&id) {
            carrier.set_media(media);
        }
    }

    /// Drops what somebody behind a relay sends.
    pub(super) fn force_mute(&mut self, id: EndpointId, audio: bool, video: bool) {
        if self.relayed.contains_key(&id) {
            self.muted.insert(id, (audio, video));
        }
    }

    /// Somebody left; with a relay all behind it.
    pub(super) fn remove(&mut self, id: EndpointId) {
        let behind: Vec<EndpointId> =
            self.relayed.iter().filter(|(_, relay)| **relay == id).map(|(it, _)| *it).collect();
        for it in behind.into_iter().chain([id]) {
            self.relayed.remove(&it);
            self.muted.remove(&it);
            self.levels.remove(it);
            self.keyframes.remove_requester(it);
            let gone: Vec<SourceId> = self.sources.iter().filter(|(_, s)| s.owner == it).map(|(id, _)| *id).collect();
            gone.into_iter().for_each(|source| self.remove_source(source));
        }
        self.carriers.remove(&id);
        self.meshes.remove(&id);
    }

    fn remove_source(&mut self, id: SourceId) {
        let Some(source) = self.sources.remove(&id) else { return };
        self.keyframes.remove_source(id);
        self.wanted_told.remove(&id);
        for ssrc in source.encodings.iter().flat_map(|it| [Some(it.ssrc), it.rtx]).flatten() {
            if self.ssrcs.get(&ssrc).is_none_or(|place| place.source != id) {
                continue;
            }
            self.ssrcs.remove(&ssrc);
            if let Some(carrier) = self.carriers.get_mut(&source.carrier) {
                carrier.rtx.forget_ssrc(ssrc);
            }
        }
        let lines = source.encodings.iter().map(|it| it.ssrc).chain(self.audio_ssrcs.iter().map(|it| it.ssrc));
        for ssrc in lines {
            if let Some(line) = self.lines.get_mut(&ssrc) {
                line.forget(id);
            }
        }
        // What it had may be what another one waits for.
        for waiting in std::mem::take(&mut self.waiting) {
            self.claim(waiting);
        }
    }

    /// Gives a source its SSRCs. Who had one first keeps it: nobody takes another one's place by signaling his numbers.
    fn claim(&mut self, id: SourceId) {
        let Some(source) = self.sources.get(&id) else { return };
        let carrier_id = source.carrier;
        let mut refused = false;
        for (encoding, it) in (0u8..).zip(&source.encodings) {
            for (ssrc, rtx) in [(Some(it.ssrc), false), (it.rtx, true)] {
                let Some(ssrc) = ssrc else { continue };
                match self.ssrcs.get(&ssrc) {
                    Some(place) => refused |= place.source != id,
                    None if self.ssrcs.len() >= MAX_SSRCS => refused = true,
                    None => {
                        self.ssrcs.insert(ssrc, Place { source: id, encoding, rtx, carrier: carrier_id });
                        if rtx && let Some(carrier) = self.carriers.get_mut(&carrier_id) {
                            carrier.rtx.pair_ssrc(ssrc, it.ssrc);
                        }
                    }
                }
            }
        }
        if refused {
            self.waiting.push(id);
        }
    }

    /// All sources of somebody.
    pub(super) fn set_sources(&mut self, now: Instant, owner: EndpointId, sources: &[SourceDesc]) {
        let carrier = self.relayed.get(&owner).copied().unwrap_or(owner);
        if !self.carriers.contains_key(&carrier) {
            return;
        }
        let same = |old: &Source, new: &SourceDesc| {
            old.kind == new.kind
                && old.encodings.len() == new.encodings.len()
                && old.encodings.iter().zip(&new.encodings).all(|(a, b)| a.ssrc == b.ssrc && a.rtx == b.rtx)
        };
        let ended: Vec<SourceId> = self
            .sources
            .iter()
            .filter(|(id, old)| old.owner == owner && !sources.iter().any(|new| new.id == **id && same(old, new)))
            .map(|(id, _)| *id)
            .collect();
        ended.into_iter().for_each(|id| self.remove_source(id));
        for desc in sources {
            if self.sources.contains_key(&desc.id) {
                continue;
            }
            let source = Source::new(now, desc, owner, carrier);
            self.sources.insert(desc.id, source);
            self.claim(desc.id);
        }
        // Receivers may have waited for it.
        self.run_streams(now);
    }

    pub(super) fn set_audio_ssrcs(&mut self, audio: Arc<[SlotSsrc]>) {
        self.audio_ssrcs = audio;
    }

    pub(super) fn set_audio_slots(&mut self, slots: SlotMap) {
        self.audio_slots = slots;
    }

    pub(super) fn set_exempt(&mut self, exempt: Arc<[SourceId]>) {
        self.exempt = exempt;
    }

    /// Video sources of somebody.
    pub(super) fn video_of(&self, owner: EndpointId) -> Vec<SourceId> {
        let all = self.sources.iter().filter(|(_, it)| it.owner == owner && it.kind == MediaKind::Video);
        all.map(|(id, _)| *id).collect()
    }

    /// Somebody needs a keyframe.
    pub(super) fn wish(&mut self, now: Instant, wish: Wish) {
        if self.sources.get(&wish.source).is_some_and(|it| it.kind == MediaKind::Video) {
            self.keyframes.wish(now, wish);
            self.ask_keyframes(now);
        }
    }

    /// A relay, or an endpoint that names the source's own SSRC, needs a keyframe.
    pub(super) fn relay_wish(&mut self, now: Instant, requester: EndpointId, ssrc: u32) {
        let Some(place) = self.ssrcs.get(&ssrc).copied().filter(|it| it.carrier != requester) else { return };
        let need = Need::Repair;
        let (source, encoding, requester) = (place.source, place.encoding, Some(requester));
        self.wish(now, Wish { source, encoding, need, requester, rtt: None });
    }

    /// Whether some relay is to get what comes from a carrier, and the carrier's mesh.
    fn relays(&self, carrier: EndpointId) -> (bool, Option<u32>) {
        let mesh = self.meshes.get(&carrier).copied();
        (self.meshes.iter().any(|(_, other)| Some(*other) != mesh), mesh)
    }

    /// What the receivers of a class may be given. Streams of it are run before anybody wants them: one that has seen the last keyframe can
    /// be joined without another one.
    pub(super) fn plan(&mut self, now: Instant, id: ClassId, class: Option<&Class>) {
        let mut layers: Vec<(SourceId, LayerIndex)> = Vec::new();
        for (source, layer) in class.iter().flat_map(|it| &it.staircase.rungs).flat_map(|it| it.targets.iter().copied())
        {
            // Where somebody stays who waits for less.
            let lowest = LayerIndex::new(layer.encoding(), layer.spatial(), 0);
            layers.extend([(source, layer), (source, lowest)]);
        }
        layers.sort_unstable();
        layers.dedup();
        if self.plans.get(&id).is_some_and(|before| *before == layers) {
            return;
        }
        for it in &layers {
            *self.planned.entry(*it).or_default() += 1;
        }
        let before = if class.is_some() { self.plans.insert(id, layers) } else { self.plans.remove(&id) };
        for it in before.into_iter().flatten() {
            if let Some(count) = self.planned.get_mut(&it) {
                *count -= 1;
                if *count == 0 {
                    self.planned.remove(&it);
                }
            }
        }
        self.run_streams(now);
    }

    /// What a shard has receivers for.
    pub(super) fn wants(&mut self, now: Instant, wants: Wants) {
        self.wants.insert(wants.shard, wants);
        self.run_streams(now);
    }

    /// Makes the streams that are wanted or planned, and lets go of others after a while.
    fn run_streams(&mut self, now: Instant) {
        let mut audience: HashMap<(SourceId, LayerIndex), (u64, u32)> = HashMap::new();
        for wants in self.wants.values() {
            for (source, layer, count) in &wants.streams {
                let it = audience.entry((*source, *layer)).or_default();
                it.0 |= 1u64.checked_shl(wants.shard as u32).unwrap_or(0);
                it.1 += count;
            }
        }
        let mut receivers: HashMap<SourceId, u32> = HashMap::new();
        for (id, source) in &mut self.sources {
            source.streams.iter_mut().for_each(|live| (live.shards, live.receivers) = (0, 0));
            for ((_, layer), (shards, count)) in audience.iter().filter(|((source, _), _)| source == id) {
                *receivers.entry(*id).or_default() += count;
                let live = source.stream(*id, *layer, &mut self.generation);
                (live.shards, live.receivers) = (*shards, *count);
            }
        }
        for (id, layer) in self.planned.keys() {
            if let Some(source) =
                self.sources.get_mut(id).filter(|it| usize::from(layer.encoding()) < it.encodings.len())
            {
                source.stream(*id, *layer, &mut self.generation);
            }
        }
        for source in self.sources.values_mut() {
            for live in &mut source.streams {
                match live.receivers != 0 || self.planned.contains_key(&(live.key.source, live.key.target)) {
                    true => live.unwanted = None,
                    false => drop(live.unwanted.get_or_insert(now)),
                }
            }
        }
        for (source, count) in receivers {
            self.keyframes.set_audience(now, source, count);
        }
    }

    /// Shards with receivers.
    pub(super) fn audience(&self) -> impl Iterator<Item = usize> + '_ {
        self.wants.values().filter(|it| it.receivers != 0).map(|it| it.shard)
    }

    pub(super) fn has_output(&self) -> bool {
        !self.items.is_empty() || !self.inputs.is_empty() || !self.control.is_empty()
    }

    pub(super) fn take_items(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.items)
    }

    pub(super) fn take_inputs(&mut self) -> Vec<Input> {
        std::mem::take(&mut self.inputs)
    }

    /// RTCP for publishers, not sealed yet.
    pub(super) fn take_control(&mut self) -> Vec<(EndpointId, Vec<u8>)> {
        std::mem::take(&mut self.control)
    }

    /// What only a home counts.
    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn stats(&self) -> ConferenceStats {
        ConferenceStats {
            receivers: self.wants.values().map(|it| it.receivers as usize).sum(),
            sources: self.sources.len(),
            streams: self.sources.values().map(|it| it.streams.len()).sum(),
            dominant: self.levels.dominant(),
        }
    }

    /// Everything that time brings.
    pub(super) fn tick(&mut self, now: Instant) {
        let change = self.levels.poll(now);
        self.inputs.extend(change.speakers.map(Input::Speakers));
        self.inputs.extend(change.ranked.map(Input::Ranked));
        self.ask_again(now);
        self.ask_keyframes(now);
        self.send_arrivals(now, None);
        if now >= self.next_reports {
            self.next_reports = now + REPORTS;
            self.send_reports(now);
        }
        if now >= self.next_rates {
            self.next_rates = now + RATES;
            let rates: Vec<_> = self
                .sources
                .iter_mut()
                .filter(|(_, it)| it.kind == MediaKind::Video)
                .map(|(id, it)| (*id, it.rates(now)))
                .filter(|(_, rates)| !rates.is_empty())
                .collect();
            if !rates.is_empty() {
                self.inputs.push(Input::Rates(rates));
            }
            for source in self.sources.values_mut() {
                source.streams.retain(|it| it.unwanted.is_none_or(|at| now.saturating_duration_since(at) < LINGER));
            }
        }
    }
}
