//! When whose turn is: a heap of deadlines. A deadline that was moved forward leaves its old entry behind, which is dropped when it comes up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Who is due: slot of the pool, and the stamp by which a later user of the slot is told apart.
pub(super) type Ticket = (u32, u32);

/// Deadlines.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    heap: BinaryHeap<Reverse<(Instant, Ticket)>>,
}

impl Schedule {
    pub(super) fn push(&mut self, at: Instant, ticket: Ticket) {
        self.heap.push(Reverse((at, ticket)));
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, Ticket)> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn due_ones_come_in_the_order_of_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut schedule = Schedule::default();
        for seconds in [3, 1, 2] {
            schedule.push(at(seconds), (seconds as u32, 0));
        }
        assert_eq!(schedule.next(), Some(at(1)));
        assert_eq!(schedule.pop_due(at(0)), None);
        assert_eq!(schedule.pop_due(at(2)), Some((at(1), (1, 0))));
        assert_eq!(schedule.pop_due(at(2)), Some((at(2), (2, 0))));
        assert_eq!(schedule.pop_due(at(2)), None);
    }
}
