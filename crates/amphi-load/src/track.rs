//! What one client has seen of one sender's numbered lines: tells lost, duplicated and late deliveries apart with a
//! window of 64 numbers, so that a client costs a few bytes per sender however many lines there are.

/// What a delivery turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The next number, or one beyond it: this many in between have not come.
    New {
        /// Numbers that were jumped over.
        skipped: u32,
    },
    /// A number that had been jumped over: the order was not kept, but it is not lost.
    Late,
    /// Seen before (or too far back to tell).
    Duplicate,
    /// Sent before this client was in the room: it may or may not come.
    BeforeJoin,
}

/// Numbers of one sender as one client saw them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Track {
    floor: u32,
    next: u32,
    window: u64,
}

impl Track {
    /// Starts with the number that the sender will use next.
    pub(crate) fn new(floor: u32) -> Self {
        Self { floor, next: floor, window: 0 }
    }

    /// Enters a delivery.
    pub(crate) fn see(&mut self, seq: u32) -> Seen {
        if seq < self.floor {
            return Seen::BeforeJoin;
        }
        if seq >= self.next {
            let skipped = seq - self.next;
            self.window = self.window.checked_shl(skipped.saturating_add(1)).unwrap_or(0) | 1;
            self.next = seq + 1;
            return Seen::New { skipped };
        }
        let back = self.next - 1 - seq;
        let bit = 1u64.checked_shl(back).unwrap_or(0);
        if bit == 0 || self.window & bit != 0 {
            return Seen::Duplicate;
        }
        self.window |= bit;
        Seen::Late
    }

    /// How many of the sender's `sent` lines are still due at the end, not counting those that were skipped.
    pub(crate) fn missing(&self, sent: u32) -> u32 {
        sent.saturating_sub(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_late_and_duplicate_deliveries_are_told_apart() {
        let mut t = Track::new(5);
        assert_eq!(t.see(4), Seen::BeforeJoin);
        assert_eq!(t.see(5), Seen::New { skipped: 0 });
        assert_eq!(t.see(8), Seen::New { skipped: 2 });
        assert_eq!(t.see(7), Seen::Late);
        assert_eq!(t.see(7), Seen::Duplicate);
        assert_eq!(t.see(8), Seen::Duplicate);
        assert_eq!(t.missing(9), 0);
        assert_eq!(t.missing(12), 3);
    }

    #[test]
    fn a_long_jump_forgets_the_window() {
        let mut t = Track::new(0);
        t.see(0);
        assert_eq!(t.see(1_000), Seen::New { skipped: 999 });
        assert_eq!(t.see(999), Seen::Late);
        assert_eq!(t.see(0), Seen::Duplicate);
    }
}
