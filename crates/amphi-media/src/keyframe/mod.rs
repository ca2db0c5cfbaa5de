//! Keyframe requests: merged, throttled, paced (`spec/bridge.md` 4.6.6, 4.9).
//!
//! One [`Keyframes`] stands for all sources that a home shard ingests. Who waits for a keyframe is not kept, for the next keyframe serves
//! them all; kept is only that somebody waits, per encoding, and until when the request may be merged with others. It sends nothing: the
//! caller writes the PLI or FIR that [`Keyframes::poll`] names.

mod quota;
mod record;

use std::time::{Duration, Instant};

use foldhash::HashMap;

use crate::ids::{EndpointId, SourceId};
use quota::Quotas;
use record::Record;

/// Limits of [`Keyframes`].
#[derive(Clone, Copy, Debug)]
pub struct KeyframeConfig {
    /// Requests within this time of the last one to the source wait and are merged; default 300 ms (`edge.keyframe.merge-window`).
    pub merge_window: Duration,
    /// What the window grows to with the audience and with joins; default 1 s.
    pub max_merge_window: Duration,
    /// Audience up to which the window does not grow; default 50. At 100 times of it the window is at its maximum.
    pub small_audience: u32,
    /// Requests of first-time viewers within a second from which on the window is at its maximum; default 50.
    pub join_storm: u32,
    /// Never more requests to a source than one in this time; default 200 ms (`jmt.keyframe.source-wide-min-interval`).
    pub source_interval: Duration,
    /// Time between two requests of one receiver for one encoding, if its RTT is not longer; default 200 ms (`jmt.keyframe.min-interval`).
    pub requester_interval: Duration,
    /// Requests of one receiver for one encoding within `quota_window`; default 3 (`jmt.keyframe.max-requests`).
    pub quota: u8,
    /// See `quota`; default 10 s (`jmt.keyframe.max-request-interval`).
    pub quota_window: Duration,
    /// Upgrades of a small audience wait until the last keyframe is so old; default 2 s.
    pub min_epoch: Duration,
    /// Upgrades of a large audience wait until the last keyframe is so old; default 4 s.
    pub max_epoch: Duration,
    /// A request without a keyframe following is repeated after this time; default 1 s.
    pub retry: Duration,
    /// Repetitions; default 4.
    pub max_retries: u8,
    /// Receivers whose quota is kept; default 8192. Requests of further ones wait for the epoch.
    pub max_requesters: usize,
}

impl Default for KeyframeConfig {
    fn default() -> Self {
        Self {
            merge_window: Duration::from_millis(300),
            max_merge_window: Duration::from_secs(1),
            small_audience: 50,
            join_storm: 50,
            source_interval: Duration::from_millis(200),
            requester_interval: Duration::from_millis(200),
            quota: 3,
            quota_window: Duration::from_secs(10),
            min_epoch: Duration::from_secs(2),
            max_epoch: Duration::from_secs(4),
            retry: Duration::from_secs(1),
            max_retries: 4,
            max_requesters: 8192,
        }
    }
}

/// Why a keyframe is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A receiver sees nothing of the source yet.
    FirstView,
    /// A receiver must go to a lower encoding or spatial layer (it is at temporal layer 0 meanwhile).
    Downgrade,
    /// A receiver could have more: waits for the shared epoch.
    Upgrade,
    /// A receiver's decoder asks: its PLI or FIR.
    Repair,
    /// The bridge itself wants one soon to be there, for example of a new dominant speaker. Needs no requester.
    Prefetch,
}

/// A wish for a keyframe.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Whose.
    pub source: SourceId,
    /// Of which encoding (0..=3).
    pub encoding: u8,
    /// Why.
    pub need: Need,
    /// Who wants it; none: the bridge.
    pub requester: Option<EndpointId>,
    /// Round trip to the requester, if known.
    pub rtt: Option<Duration>,
}

/// What becomes of a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A request leaves at this time at the latest, now if it is not in the future.
    Scheduled(Instant),
    /// It joined a request that is already waiting to leave, or has left so shortly before that its keyframe answers the wish too.
    Merged,
    /// The requester asked too often: it waits for the source's next epoch.
    Deferred(Instant),
}

/// A request to be sent to a source now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Whose keyframe.
    pub source: SourceId,
    /// Encodings wanted, bit 0 for encoding 0. One request to the primary SSRC makes current clients key all of them (`spec/bridge.md` 4.9).
    pub encodings: u8,
}

/// Pending keyframe requests of all sources of a shard.
#[derive(Debug)]
pub struct Keyframes {
    config: KeyframeConfig,
    records: HashMap<SourceId, Record>,
    quotas: Quotas,
    next: Option<Instant>,
}
