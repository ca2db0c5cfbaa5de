//! The decisions of one conference: who gets what, and what is said on the bridge channel (`spec/bridge.md` 3, 4.7, 4.8, 4.11).
//!
//! Sans-IO: control feeds [`Input`]s, drains [`Conference::poll_output`] after each and passes deadlines in as [`Input::Tick`]. Receivers with
//! equal wishes form a class; a class is computed at most once per [`ConferenceConfig::coalesce`], whatever happened in between. Packets and
//! JSON are not known here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::allocation::AllocationConfig;

mod io;
mod message;

pub use io::{ChannelKind, Class, Endpoint, Input, Output, Role, To};
pub use message::{AudioSubscription, Incoming, Mapped, Outgoing};

/// How a conference behaves. Names as in `spec/bridge.md` 8.
#[derive(Clone, Debug)]
pub struct ConferenceConfig {
    /// How bandwidth is shared out.
    pub allocation: AllocationConfig,
    /// Our id as relay, told in AddReceiver.
    pub relay_id: Arc<str>,
    /// Least time between two computations of classes.
    pub coalesce: Duration,
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
    /// How often the order of speakers counts anew without a new dominant speaker.
    pub order_interval: Duration,
    /// Classes at a time; a receiver whose wishes would make another one keeps its former ones.
    pub max_classes: usize,
    /// Entries of a list in a message; more are cut off.
    pub max_list: usize,
}

impl Default for ConferenceConfig {
    fn default() -> Self {
        Self {
            allocation: AllocationConfig::default(),
            relay_id: "".into(),
            coalesce: Duration::from_millis(50),
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
            order_interval: Duration::from_secs(3),
            max_classes: 4096,
            max_list: 500,
        }
    }
}

/// The brain of one conference.
#[derive(Debug)]
pub struct Conference {
    config: ConferenceConfig,
    out: VecDeque<Output>,
}

impl Conference {
    /// An empty conference. `secret` is random: SSRCs of slots follow from it.
    pub fn new(config: ConferenceConfig, secret: u64, now: Instant) -> Self {
        let _ = (secret, now);
        Self { config, out: VecDeque::new() }
    }

    /// Takes what happened. Drain [`Self::poll_output`] afterwards.
    pub fn handle(&mut self, now: Instant, input: Input) {
        let _ = (now, input, &self.config);
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Input::Tick`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}
