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
use record::{ENCODINGS, Pending, Record};

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
    /// Requests of one receiver for one encoding within `quota_window`, 4 at most; default 3 (`jmt.keyframe.max-requests`).
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
    /// Receivers whose quota is kept; default 8192. Requests of further ones wait for `max_epoch`.
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
    /// The requester asked too often: the request leaves at this time at the latest, when its quota allows it.
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

impl Keyframes {
    /// Nothing pending.
    pub fn new(start: Instant, config: KeyframeConfig) -> Self {
        Self { config, records: HashMap::default(), quotas: Quotas::new(start), next: None }
    }

    /// Receivers of a source, for the merge window and the epoch. Not telling it means a small audience.
    pub fn set_audience(&mut self, now: Instant, source: SourceId, receivers: u32) {
        self.records.entry(source).or_insert_with(|| Record::new(now)).audience = receivers;
    }

    /// Somebody wants a keyframe of a source that is here. [`Self::poll`] afterwards: it may be due now.
    ///
    /// Order of the checks (`spec/bridge.md` 10 (13)): a wish that can be merged costs the requester nothing; only one that makes a request
    /// to the source is counted against its quota.
    pub fn wish(&mut self, now: Instant, wish: Wish) -> Outcome {
        let config = self.config;
        let encoding = usize::from(wish.encoding).min(ENCODINGS - 1);
        let record = self.records.entry(wish.source).or_insert_with(|| Record::new(now));
        if wish.need == Need::FirstView {
            record.on_join(now, wish.requester.map_or(u32::MAX, |requester| requester.0));
        }
        let window = record.window(&config);
        let soon = record.last(encoding).map_or(now, |last| now.max(last + window));
        let epoch = record.last(encoding).map_or(now, |last| now.max(last + record.epoch(&config)));
        let wanted = if wish.need == Need::Upgrade { epoch } else { soon };
        let pending = record.pending[encoding];
        if pending.is_some_and(|pending| pending.due <= wanted) {
            return Outcome::Merged;
        }
        // A repetition of a request that left and was not answered yet: it is under way.
        if pending.is_some_and(|pending| pending.tries > 0) && record.sent.is_some_and(|sent| now < sent + window) {
            return Outcome::Merged;
        }
        let granted = match wish.requester {
            None => Ok(()),
            Some(requester) => self.quotas.take(&config, now, (requester, wish.source, encoding as u8), wish.rtt),
        };
        let due = granted.map_or_else(|later| wanted.max(later), |()| wanted);
        let due = pending.map_or(due, |pending| pending.due.min(due));
        // A source that does not answer is asked as often as ever only for a wish that counts.
        let tries = pending.filter(|_| granted.is_err()).map_or(0, |pending| pending.tries);
        record.pending[encoding] = Some(Pending { due, tries });
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
        if granted.is_ok() { Outcome::Scheduled(due) } else { Outcome::Deferred(due) }
    }

    /// A keyframe of the encoding began to arrive: whoever waited for it is served.
    pub fn on_keyframe(&mut self, now: Instant, source: SourceId, encoding: u8) {
        if let Some(record) = self.records.get_mut(&source) {
            let encoding = usize::from(encoding).min(ENCODINGS - 1);
            record.keyframe[encoding] = Some(now);
            record.pending[encoding] = None;
            self.reschedule();
        }
    }

    /// Nobody waits for this encoding any more: requests are never sent for what nobody needs.
    pub fn withdraw(&mut self, source: SourceId, encoding: u8) {
        if let Some(record) = self.records.get_mut(&source) {
            record.pending[usize::from(encoding).min(ENCODINGS - 1)] = None;
            self.reschedule();
        }
    }

    /// The source is gone.
    pub fn remove_source(&mut self, source: SourceId) {
        self.records.remove(&source);
        self.reschedule();
    }

    /// The endpoint is gone.
    pub fn remove_requester(&mut self, requester: EndpointId) {
        self.quotas.forget(requester);
    }

    /// When [`Self::poll`] has something next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// A request that is due; call it until it returns none.
    pub fn poll(&mut self, now: Instant) -> Option<Due> {
        if self.next.is_none_or(|next| next > now) {
            return None;
        }
        let config = self.config;
        let mut due = None;
        for (source, record) in &mut self.records {
            if due.is_none() && record.due().is_some_and(|at| at <= now) {
                due = record.send(&config, now).map(|encodings| Due { source: *source, encodings });
            }
        }
        self.reschedule();
        due
    }

    fn reschedule(&mut self) {
        self.next = self.records.values().filter_map(Record::due).min();
    }
}

#[cfg(test)]
mod tests;
