//! How often one receiver may cause a keyframe (`spec/bridge.md` 4.9, limiter 1).

use std::time::{Duration, Instant};

use foldhash::HashMap;

use super::KeyframeConfig;
use crate::ids::{EndpointId, SourceId};

/// Grants of one receiver for one encoding; at most four are kept.
#[derive(Clone, Copy, Debug, Default)]
struct Grants {
    /// Milliseconds since the start plus 1, newest first; 0 is none.
    at: [u32; 4],
}

/// Grants of all receivers that caused a request of late.
#[derive(Debug)]
pub(super) struct Quotas {
    start: Instant,
    grants: HashMap<(EndpointId, SourceId, u8), Grants>,
    swept: u32,
}

impl Quotas {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, grants: HashMap::default(), swept: 0 }
    }

    /// Takes one request from the quota, or says no and takes nothing.
    pub(super) fn take(
        &mut self,
        config: &KeyframeConfig,
        now: Instant,
        key: (EndpointId, SourceId, u8),
        rtt: Option<Duration>,
    ) -> bool {
        let clock = (now.saturating_duration_since(self.start).as_millis() as u32).wrapping_add(1);
        let window = config.quota_window.as_millis() as u32;
        if self.grants.len() >= config.max_requesters && !self.grants.contains_key(&key) {
            // Once a second at most, so that a full table does not cost a sweep per request.
            if clock.wrapping_sub(self.swept) >= 1000 {
                self.swept = clock;
                self.grants.retain(|_, grants| clock.wrapping_sub(grants.at[0]) < window);
            }
            if self.grants.len() >= config.max_requesters {
                return false;
            }
        }
        let grants = self.grants.entry(key).or_default();
        // The maximum of both is meant, see `spec/bridge.md` 10 (13).
        let interval = config.requester_interval.max(rtt.unwrap_or_default() + Duration::from_millis(10));
        let since = |at: u32| if at == 0 { u32::MAX } else { clock.wrapping_sub(at) };
        let quota = usize::from(config.quota.clamp(1, 4));
        if u128::from(since(grants.at[0])) < interval.as_millis() || since(grants.at[quota - 1]) < window {
            return false;
        }
        grants.at.rotate_right(1);
        grants.at[0] = clock.max(1);
        true
    }

    pub(super) fn forget(&mut self, requester: EndpointId) {
        self.grants.retain(|(endpoint, _, _), _| *endpoint != requester);
    }
}
