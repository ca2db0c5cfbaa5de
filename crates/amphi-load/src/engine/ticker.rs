//! Who sends next, and when: something is sent by turns at an even pace.

use crate::client::Nanos;

/// Sends something by turns at an even pace.
#[derive(Clone, Default)]
pub(super) struct Ticker {
    pub(super) who: Vec<usize>,
    turn: usize,
    left: u64,
    every: Nanos,
    next: Nanos,
}

impl Ticker {
    pub(super) fn start(&mut self, now: Nanos, count: u64, rate: f64) {
        self.left = if self.who.is_empty() { 0 } else { count };
        self.every = if rate > 0.0 { (1e9 / rate) as Nanos } else { 0 };
        self.next = now;
    }

    pub(super) fn due(&self) -> Option<Nanos> {
        (self.left > 0).then_some(self.next)
    }

    pub(super) fn take(&mut self, now: Nanos) -> Option<usize> {
        if self.left == 0 || now < self.next {
            return None;
        }
        self.left -= 1;
        self.next += self.every;
        self.turn = (self.turn + 1) % self.who.len();
        Some(self.who[self.turn])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round_at_an_even_pace_and_end() {
        let mut ticker = Ticker { who: vec![7, 9], ..Ticker::default() };
        ticker.start(100, 3, 1e9 / 10.0);
        assert_eq!(ticker.take(99), None);
        assert_eq!((ticker.take(100), ticker.take(100)), (Some(9), None));
        assert_eq!(ticker.due(), Some(110));
        assert_eq!((ticker.take(125), ticker.take(125), ticker.take(125)), (Some(7), Some(9), None));
        assert_eq!(ticker.due(), None);
    }

    #[test]
    fn nobody_sends_nothing() {
        let mut ticker = Ticker::default();
        ticker.start(0, 10, 0.0);
        assert_eq!((ticker.take(0), ticker.due()), (None, None));
    }
}
