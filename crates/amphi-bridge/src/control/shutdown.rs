//! Drain mode and the orderly end of a bridge (`spec/bridge.md` 1.7). Decides only what is told and whether new conferences are taken; whoever
//! owns the process asks when it is over.

use std::time::{Duration, Instant};

use super::settings::BridgeTimes;

/// Where the bridge is on its way to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not on the way.
    Running,
    /// Takes no new conference; what is there goes on.
    Graceful,
    /// The focus is moving what is left away.
    ShuttingDown,
    /// The process may end.
    Over,
}

/// The state.
#[derive(Clone, Debug)]
pub struct Shutdown {
    /// Only told to the focus: it places nothing new here.
    pub drain: bool,
    phase: Phase,
    deadline: Option<Instant>,
    graceful: Duration,
    delay: Duration,
    endpoints: usize,
}

impl Shutdown {
    /// Running.
    pub fn new(times: &BridgeTimes, drain: bool) -> Self {
        Self {
            drain,
            phase: Phase::Running,
            deadline: None,
            graceful: times.graceful,
            delay: times.shutting_down,
            endpoints: times.graceful_endpoints,
        }
    }

    /// Where it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether new conferences are refused.
    pub fn refuses_conferences(&self) -> bool {
        self.phase != Phase::Running
    }

    /// When [`Shutdown::tick`] is wanted at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// An operator wants the end: gracefully, or with only the time that moving endpoints takes. There is no way back.
    pub fn begin(&mut self, now: Instant, graceful: bool) {
        match (graceful, self.phase) {
            (true, Phase::Running) => {
                self.phase = Phase::Graceful;
                self.deadline = Some(now + self.graceful);
            }
            (false, Phase::Running | Phase::Graceful) => self.move_away(now),
            _ => {}
        }
    }

    /// Looks again, with so many local endpoints. Returns whether the phase changed.
    pub fn tick(&mut self, now: Instant, endpoints: usize) -> bool {
        let due = self.deadline.is_some_and(|d| d <= now);
        match self.phase {
            Phase::Graceful if due || endpoints <= self.endpoints => self.move_away(now),
            Phase::ShuttingDown if due => {
                self.phase = Phase::Over;
                self.deadline = None;
            }
            _ => return false,
        }
        true
    }

    fn move_away(&mut self, now: Instant) {
        self.phase = Phase::ShuttingDown;
        self.deadline = Some(now + self.delay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graceful_end_waits_for_the_last_endpoint_and_then_for_the_focus() {
        let now = Instant::now();
        let mut s = Shutdown::new(&BridgeTimes::default(), false);
        s.begin(now, true);
        assert!(!s.tick(now, 5));
        assert!(s.refuses_conferences());
        assert!(s.tick(now, 0));
        assert_eq!(s.phase(), Phase::ShuttingDown);
        assert!(!s.tick(now + Duration::from_secs(59), 0));
        assert!(s.tick(now + Duration::from_secs(60), 0));
        assert_eq!(s.phase(), Phase::Over);
    }

    #[test]
    fn a_graceful_end_has_a_longest_time_and_may_be_hurried() {
        let now = Instant::now();
        let mut s = Shutdown::new(&BridgeTimes::default(), false);
        s.begin(now, true);
        assert!(s.tick(now + Duration::from_secs(24 * 3600), 7));
        assert_eq!(s.phase(), Phase::ShuttingDown);
        let mut s = Shutdown::new(&BridgeTimes::default(), false);
        s.begin(now, true);
        s.begin(now, false);
        s.begin(now, true);
        assert_eq!(s.phase(), Phase::ShuttingDown);
    }
}
