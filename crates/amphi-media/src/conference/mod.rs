//! The decisions of one conference: who gets what, and what is said on the bridge channel (`spec/bridge.md` 3, 4.7, 4.8, 4.11).
//!
//! Sans-IO: control feeds [`Input`]s, drains [`Conference::poll_output`] after each and passes deadlines in as [`Input::Tick`]. Receivers with
//! equal wishes form a class; a class is computed at most once per [`ConferenceConfig::coalesce`], whatever happened in between. Packets and
//! JSON are not known here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;

use crate::allocation::{AllocationConfig, Settings};
use crate::ids::{ClassId, EndpointId, MediaKind, SourceId};
use crate::slots::{SlotMap, SlotSsrcs, SlotTable};
use crate::speech::Speakers;

mod audience;
mod audio;
mod channel;
mod classes;
mod connectivity;
mod demand;
mod flush;
mod io;
mod maps;
mod message;
mod people;
mod relays;
mod sources;
mod sparing;

use classes::{ClassKey, ClassState};
use people::{Person, RelayWants};
use sources::Source;
use sparing::Sparings;

pub use io::{ChannelKind, Class, Endpoint, Input, Output, Role, To};
pub use message::{AudioSubscription, Incoming, Mapped, Outgoing};
pub use sparing::{Spared, WISHES_TOLD};

/// How a conference behaves. Names as in `spec/bridge.md` 8.
#[derive(Clone, Debug)]
pub struct ConferenceConfig {
    /// How bandwidth is shared out.
    pub allocation: AllocationConfig,
    /// Our id as relay, told in AddReceiver.
    pub relay_id: Arc<str>,
    /// Whether bridges of our kind are sent only what somebody behind them wants, and told that we tell all our wishes.
    pub wanted_only: bool,
    /// Least time between two computations of classes; longer, in proportion, when more than [`Self::classes_per_coalesce`] had to be computed.
    pub coalesce: Duration,
    /// Classes whose computation fits into a small part of [`Self::coalesce`].
    pub classes_per_coalesce: usize,
    /// How long rates of layers may be out of date (`cc.max-time-between-calculations`).
    pub max_between_calculations: Duration,
    /// How much a layer's rate must change to be noticed at once.
    pub rate_threshold: f64,
    /// Slots for audio (`ssrc-limit.audio`).
    pub audio_slots: usize,
    /// Audio sources that get a slot when they are signaled; further ones when they are heard.
    pub audio_slots_ahead: usize,
    /// With at most this many endpoints everybody gets all statistics (`stats-filter-threshold`).
    pub stats_filter_threshold: usize,
    /// How long a new endpoint may be silent (`ep-connection-status.first-transfer-timeout`).
    pub first_transfer_timeout: Duration,
    /// How long an endpoint may be silent (`ep-connection-status.max-inactivity-limit`).
    pub max_inactivity: Duration,
    /// How often that is looked at (`ep-connection-status.check-interval`).
    pub check_interval: Duration,
    /// How often receivers are told their bandwidth (`connection-stats.interval`); none is never.
    pub connection_stats: Option<Duration>,
    /// Greatest bandwidth that a client may have assumed (`cc.assumed-bandwidth-limit`); none: it may not.
    pub assumed_bandwidth_limit: Option<u64>,
    /// Classes at a time; a receiver whose wishes would make another one keeps its former ones.
    pub max_classes: usize,
    /// Entries of a list in a message; more are cut off.
    pub max_list: usize,
    /// Entries of an audio subscription; one with more is refused.
    pub max_audio_list: usize,
}

impl Default for ConferenceConfig {
    fn default() -> Self {
        Self {
            allocation: AllocationConfig::default(),
            relay_id: "".into(),
            wanted_only: false,
            coalesce: Duration::from_millis(50),
            classes_per_coalesce: 64,
            max_between_calculations: Duration::from_secs(5),
            rate_threshold: 0.1,
            audio_slots: 50,
            audio_slots_ahead: 20,
            stats_filter_threshold: 20,
            first_transfer_timeout: Duration::from_secs(15),
            max_inactivity: Duration::from_secs(8),
            check_interval: Duration::from_millis(500),
            connection_stats: Some(Duration::from_secs(10)),
            assumed_bandwidth_limit: None,
            max_classes: 4096,
            max_list: 200,
            max_audio_list: 100,
        }
    }
}

/// Maps by numbers that are ours: fast, and in the same order in every run.
type Numbered<K, V> = HashMap<K, V, FixedState>;

/// The brain of one conference.
#[derive(Debug)]
pub struct Conference {
    config: ConferenceConfig,
    out: VecDeque<Output>,
    people: Numbered<EndpointId, Person>,
    /// The newest of each name.
    names: HashMap<Arc<str>, EndpointId>,
    sources: Numbered<SourceId, Source>,
    source_names: HashMap<Arc<str>, SourceId>,
    /// Signaled SSRCs and how often.
    ssrcs: Numbered<u32, u32>,
    /// Participants and relayed endpoints, the last speaker first.
    speech: Vec<EndpointId>,
    speakers: Speakers,
    ranked: Vec<EndpointId>,
    classes: Numbered<ClassId, ClassState>,
    by_key: HashMap<ClassKey, ClassId>,
    next_class: u32,
    video_ssrcs: SlotSsrcs,
    audio_ssrcs: SlotSsrcs,
    /// Slots that video sources get in all classes, as long as there are no more sources than slots.
    homes: Vec<Option<SourceId>>,
    audio: SlotTable,
    audio_told: SlotMap,
    default_skip: Arc<[SourceId]>,
    exempt: Arc<[SourceId]>,
    /// What relays want of sources, by name: also of those not signaled yet.
    relay_wants: Numbered<EndpointId, RelayWants>,
    /// What relays are spared.
    sparing: Sparings,
    /// All local endpoints with a channel, while nothing changed.
    everybody: Option<Arc<[EndpointId]>>,
    initial_settings: Arc<Settings>,
    no_slots: SlotMap,
    pending: Pending,
    next_flush: Option<Instant>,
    next_check: Option<Instant>,
}

/// What the next flush has to do.
#[derive(Debug, Default)]
struct Pending {
    /// Since when there is something.
    since: Option<Instant>,
    /// Sources, their order, or whether they have video changed: all classes.
    all: bool,
    /// Layers or rates of these changed: the classes that want them.
    layers: Vec<SourceId>,
    /// Receivers whose wishes changed.
    moving: Vec<EndpointId>,
    /// Classes that may have lost their last member.
    left: Vec<ClassId>,
    /// Sources of which something else may be wanted.
    upstream: Vec<SourceId>,
    /// Audio slots.
    audio: bool,
    /// Which audio sources there are: all subscriptions are looked at.
    subscriptions: bool,
    /// Receivers whose subscription changed.
    subscribers: Vec<EndpointId>,
    /// What relays are spared may have changed.
    sparing: bool,
}

impl Conference {
    /// An empty conference. `secret` is random: SSRCs of slots follow from it.
    pub fn new(config: ConferenceConfig, secret: u64) -> Self {
        let video_ssrcs = SlotSsrcs::new(secret, MediaKind::Video, config.allocation.video_slots, |_| false);
        let audio_ssrcs =
            SlotSsrcs::new(secret, MediaKind::Audio, config.audio_slots, |ssrc| video_ssrcs.find(ssrc).is_some());
        let audio = SlotTable::new(config.audio_slots);
        let mut it = Self {
            out: VecDeque::new(),
            people: Numbered::default(),
            names: HashMap::new(),
            sources: Numbered::default(),
            source_names: HashMap::new(),
            ssrcs: Numbered::default(),
            speech: Vec::new(),
            speakers: Speakers::default(),
            ranked: Vec::new(),
            classes: Numbered::default(),
            by_key: HashMap::new(),
            next_class: 0,
            initial_settings: Arc::new(Settings::initial(&config.allocation)),
            no_slots: Arc::new([]),
            homes: vec![None; config.allocation.video_slots],
            audio_told: audio.map(),
            audio,
            default_skip: Arc::new([]),
            exempt: Arc::new([]),
            relay_wants: Numbered::default(),
            sparing: Sparings::new(),
            everybody: None,
            pending: Pending::default(),
            next_flush: None,
            next_check: None,
            video_ssrcs,
            audio_ssrcs,
            config,
        };
        it.tell_ssrcs();
        it
    }

    /// Takes what happened. Drain [`Self::poll_output`] afterwards.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Added(endpoint) => self.added(now, endpoint),
            Input::Removed(endpoint) => self.removed(now, endpoint),
            Input::Sources { endpoint, sources } => self.set_sources(now, endpoint, sources),
            Input::ChannelUp { endpoint, kind } => self.channel_up(endpoint, kind),
            Input::ChannelDown(endpoint) => self.channel_down(endpoint),
            Input::Message { from, message } => self.message(now, from, message),
            Input::Speakers(speakers) => self.set_speakers(now, speakers),
            Input::Ranked(ranked) => self.set_ranked(ranked),
            Input::Rates(rates) => self.set_rates(now, rates),
            Input::Layers { source, encoding, layers } => {
                self.refine(now, source, |desc| desc.refine(encoding, &layers));
            }
            Input::Height { source, encoding, height } => {
                self.refine(now, source, |desc| desc.set_height(encoding, height));
            }
            Input::Rungs { class, version, receivers } => self.set_rungs(class, version, &receivers),
            Input::Bandwidth(estimates) => self.set_bandwidth(now, &estimates),
            Input::Activity(activity) => self.set_activity(&activity),
            Input::AudioWanted(source) => self.audio_wanted(now, source),
            Input::InitialLastN { endpoint, last_n } => self.initial_last_n(now, endpoint, last_n),
            Input::Tick => {}
        }
        self.check_connectivity(now);
        if self.flush_at().is_some_and(|at| at <= now) {
            self.flush(now);
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Input::Tick`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.flush_at(), self.next_check].into_iter().flatten().min()
    }

    /// A change waits until [`ConferenceConfig::coalesce`] after the last flush.
    fn flush_at(&self) -> Option<Instant> {
        let since = self.pending.since?;
        Some(self.next_flush.map_or(since, |next| since.max(next)))
    }

    fn soon(&mut self, now: Instant) {
        self.pending.since.get_or_insert(now);
    }

    fn tell_ssrcs(&mut self) {
        let (video, audio) = (self.video_ssrcs.all().clone(), self.audio_ssrcs.all().clone());
        self.out.push_back(Output::SlotSsrcs { video, audio });
    }
}

#[cfg(test)]
mod tests;
