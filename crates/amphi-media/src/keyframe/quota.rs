//! How often one receiver may cause a keyframe (`spec/bridge.md` 4.9, limiter 1).

use std::time::{Duration, Instant};

use foldhash::HashMap;

use super::KeyframeConfig;
use crate::ids::{EndpointId, SourceId};

/// Grants that can be kept per receiver and encoding.
const KEPT: usize = 4;

/// Grants of one receiver for one encoding, in milliseconds since the start, newest first; the newest may lie in the future.
type Grants = [Option<u64>; KEPT];

/// Grants of all receivers that caused a request of late.
#[derive(Debug)]
pub(super) struct Quotas {
    start: Instant,
    grants: HashMap<(EndpointId, SourceId, u8), Grants>,
    swept: u64,
}

impl Quotas {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, grants: HashMap::default(), swept: 0 }
    }

    /// Takes one request from the quota; or says from when on there is one again, and takes that one, so that whoever asks all the time gets
    /// what the quota gives and no more.
    pub(super) fn take(
        &mut self,
        config: &KeyframeConfig,
        now: Instant,
        key: (EndpointId, SourceId, u8),
        rtt: Option<Duration>,
    ) -> Result<(), Instant> {
        let clock = now.saturating_duration_since(self.start).as_millis() as u64;
        let window = config.quota_window.as_millis() as u64;
        if self.grants.len() >= config.max_requesters && !self.grants.contains_key(&key) {
            // Once a second at most, so that a full table does not cost a sweep per request.
            if clock >= self.swept + 1000 {
                self.swept = clock;
                self.grants.retain(|_, grants| grants[0].is_some_and(|at| clock < at + window));
            }
            if self.grants.len() >= config.max_requesters {
                return Err(now + config.max_epoch);
            }
        }
        let grants = self.grants.entry(key).or_default();
        if let Some(future) = grants[0].filter(|&at| at > clock) {
            return Err(self.start + Duration::from_millis(future));
        }
        // The maximum of both is meant, see `spec/bridge.md` 10 (13).
        let interval = config.requester_interval.max(rtt.unwrap_or_default() + Duration::from_millis(10));
        let quota = usize::from(config.quota).clamp(1, KEPT);
        let rested = grants[0].map_or(clock, |at| at + interval.as_millis() as u64);
        let free = grants[quota - 1].map_or(clock, |at| at + window);
        let at = rested.max(free).max(clock);
        grants.rotate_right(1);
        grants[0] = Some(at);
        if at > clock { Err(self.start + Duration::from_millis(at)) } else { Ok(()) }
    }

    pub(super) fn forget(&mut self, requester: EndpointId) {
        self.grants.retain(|(endpoint, _, _), _| *endpoint != requester);
    }
}
