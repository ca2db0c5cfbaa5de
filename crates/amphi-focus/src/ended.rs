//! Meetings that were ended for everybody, remembered for a while by their unique ids: whoever was away at the end and comes back
//! asks for that meeting, and must hear that it is over instead of finding itself alone in a new one of the same name.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is remembered of the past.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// Ids and the times when they are forgotten, in order of these.
    meetings: VecDeque<(Box<str>, Instant)>,
}

impl Ended {
    pub(crate) fn remember(&mut self, meeting_id: &str, now: Instant, memory: Duration, most: usize) {
        self.forget(now);
        if meeting_id.is_empty() || most == 0 || self.has(meeting_id) {
            return;
        }
        if self.meetings.len() >= most {
            self.meetings.pop_front();
        }
        self.meetings.push_back((meeting_id.into(), now + memory));
    }

    /// Whether that meeting was ended a while ago.
    pub(crate) fn is_over(&mut self, meeting_id: &str, now: Instant) -> bool {
        self.forget(now);
        self.has(meeting_id)
    }

    fn has(&self, meeting_id: &str) -> bool {
        self.meetings.iter().any(|(m, _)| **m == *meeting_id)
    }

    fn forget(&mut self, now: Instant) {
        while self.meetings.front().is_some_and(|(_, until)| *until <= now) {
            self.meetings.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_ended_meeting_is_over_until_it_is_forgotten() {
        let now = Instant::now();
        let mut ended = Ended::default();
        ended.remember("m1", now, MINUTE, 10);
        assert!(ended.is_over("m1", now + MINUTE / 2) && !ended.is_over("m2", now));
        assert!(!ended.is_over("m1", now + MINUTE));
    }

    #[test]
    fn the_oldest_goes_first_and_rooms_without_an_id_count_for_nothing() {
        let now = Instant::now();
        let mut ended = Ended::default();
        for m in ["", "m1", "m2", "m3"] {
            ended.remember(m, now, MINUTE, 2);
        }
        assert!(!ended.is_over("", now) && !ended.is_over("m1", now));
        assert!(ended.is_over("m2", now) && ended.is_over("m3", now));
    }
}
