//! The people who wait for one meeting: when they are told that it is live, and over how long their return is spread.

use std::time::{Duration, Instant};

use bytes::Bytes;

/// When a room counts as live. It must be the focus' reading, or clients go in circles between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveRule {
    /// Unless its metadata says `live: false`.
    UnlessFalse,
    /// Only while its metadata says `live: true`.
    OnlyIfTrue,
}

/// What the room's node knows of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoomState {
    /// Somebody is on stage who is no service.
    pub attended: bool,
    /// `metadata.visitors.live`.
    pub live: Option<bool>,
}

impl RoomState {
    /// Whether visitors may come in.
    pub fn is_live(self, rule: LiveRule) -> bool {
        self.attended
            && match rule {
                LiveRule::UnlessFalse => self.live != Some(false),
                LiveRule::OnlyIfTrue => self.live == Some(true),
            }
    }
}

/// How the return of those who waited is spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Joins a second that this system takes.
    pub joins_per_second: u32,
    /// A few are spread over this time all the same.
    pub min: Duration,
    /// However many they are.
    pub max: Duration,
}

impl Spread {
    /// The time over which so many come back.
    pub fn over(&self, waiting: u32) -> Duration {
        let needed = u64::from(waiting) * 1000 / u64::from(self.joins_per_second.max(1));
        Duration::from_millis(needed).clamp(self.min.min(self.max), self.max)
    }
}

/// Everybody who waits for one room.
#[derive(Debug)]
pub struct Hall {
    rule: LiveRule,
    spread: Spread,
    state: RoomState,
    waiting: u32,
    /// Until then those who were told come back.
    rush: Option<Instant>,
}

impl Hall {
    /// Nobody waits, and nothing is known of the room.
    pub fn new(rule: LiveRule, spread: Spread) -> Self {
        Self { rule, spread, state: RoomState::default(), waiting: 0, rush: None }
    }

    /// How many wait.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// What is known of the room.
    pub fn state(&self) -> RoomState {
        self.state
    }

    /// Whether the room is live.
    pub fn is_live(&self) -> bool {
        self.state.is_live(self.rule)
    }

    /// The room has changed, or is gone (`RoomState::default()`). `Some` when it has become live: everybody who waits is told to
    /// come back within this time.
    pub fn update(&mut self, now: Instant, state: RoomState) -> Option<Duration> {
        let before = self.is_live();
        self.state = state;
        if before || !self.is_live() {
            return None;
        }
        let over = self.spread.over(self.waiting);
        self.rush = Some(now + over);
        Some(over)
    }

    /// Somebody comes to wait. `Some`: the room is live, so it goes on within this time, but not ahead of those who waited.
    pub fn arrive(&mut self, now: Instant) -> Option<Duration> {
        self.waiting += 1;
        if !self.is_live() {
            return None;
        }
        let rest = self.rush.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        Some(rest.max(self.spread.min))
    }

    /// Somebody waits no longer.
    pub fn leave(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }
}

/// What those who wait are told.
pub fn live_message(conference: &str, over: Duration) -> Bytes {
    let ms = u64::try_from(over.as_millis()).unwrap_or(u64::MAX);
    serde_json::json!({ "conference": conference, "status": "live", "randomDelayMs": ms }).to_string().into()
}

/// What moderators are told.
pub fn state_message(conference: &str, waiting: u32) -> Bytes {
    serde_json::json!({ "conference": conference, "visitorsWaiting": waiting }).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPREAD: Spread = Spread { joins_per_second: 100, min: Duration::from_secs(1), max: Duration::from_secs(60) };

    fn state(attended: bool, live: Option<bool>) -> RoomState {
        RoomState { attended, live }
    }

    #[test]
    fn the_return_takes_as_long_as_the_system_needs_for_so_many() {
        for (waiting, seconds) in [(0, 1), (50, 1), (1000, 10), (6000, 60), (u32::MAX, 60)] {
            assert_eq!(SPREAD.over(waiting), Duration::from_secs(seconds), "{waiting}");
        }
        assert_eq!(Spread { joins_per_second: 0, ..SPREAD }.over(10), Duration::from_secs(10));
    }

    #[test]
    fn those_who_wait_are_told_once_when_the_room_becomes_live() {
        let now = Instant::now();
        let mut h = Hall::new(LiveRule::OnlyIfTrue, SPREAD);
        for _ in 0..1000 {
            assert_eq!(h.arrive(now), None);
        }
        h.leave();
        h.arrive(now);
        assert_eq!(h.update(now, state(true, None)), None);
        assert_eq!(h.update(now, state(false, Some(true))), None, "nobody is there");
        assert_eq!(h.update(now, state(true, Some(true))), Some(Duration::from_secs(10)));
        assert_eq!(h.update(now, state(true, Some(true))), None);
        assert_eq!(h.arrive(now + Duration::from_secs(4)), Some(Duration::from_secs(6)), "not ahead of the others");
        assert_eq!(h.arrive(now + Duration::from_secs(30)), Some(Duration::from_secs(1)));
        assert_eq!(h.update(now, RoomState::default()), None);
        assert_eq!(h.arrive(now), None, "the room is gone");
    }

    #[test]
    fn the_reading_decides_about_rooms_that_say_nothing() {
        for (live, unless_false, only_if_true) in
            [(None, true, false), (Some(true), true, true), (Some(false), false, false)]
        {
            let s = state(true, live);
            assert_eq!(
                (s.is_live(LiveRule::UnlessFalse), s.is_live(LiveRule::OnlyIfTrue)),
                (unless_false, only_if_true)
            );
        }
    }
}
