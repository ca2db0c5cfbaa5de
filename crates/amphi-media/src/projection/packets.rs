//! Sequence numbers of one run of an encoding: what is left out closes up, what was lost leaves a hole of its own.
//!
//! Every number of the source between the first and the highest has a slot: forwarded, gone (left out, or known to belong to what is left out) or
//! lost. A lost one keeps the number that it would have had, and nothing else ever gets that number.

/// How far back packets are remembered.
pub(super) const HISTORY: usize = 2048;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Gone,
    Lost,
    Forwarded,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Low bits of the source's number.
    seq: u32,
    /// Low bits of the stream's number.
    out: u32,
    state: State,
}

/// What is known about lost packets just before one that arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gap {
    /// The first of them belongs to a frame that is left out.
    pub(super) first: bool,
    /// The last of them does.
    pub(super) last: bool,
    /// All of them do.
    pub(super) all: bool,
}

#[derive(Debug)]
pub(super) struct Packets {
    slots: Box<[Slot]>,
    /// The first number of the source that belongs to the run.
    floor: u64,
    /// The first above all that were seen.
    next: u64,
    /// Source's number less the stream's, from `next` on.
    shift: u64,
    /// The stream's number of the packet that the run began with.
    first_out: u64,
}

impl Packets {
    pub(super) fn new() -> Self {
        Self { slots: vec![Slot::default(); HISTORY].into_boxed_slice(), floor: 0, next: 0, shift: 0, first_out: 0 }
    }

    /// Begins a run: `seq` will get the number `out`, and up to `room` packets before it may still come and get those before.
    pub(super) fn begin(&mut self, seq: u64, room: u64, out: u64) {
        let room = room.min(seq).min(HISTORY as u64 / 2);
        self.shift = seq.wrapping_sub(out);
        self.floor = seq - room;
        (self.next, self.first_out) = (seq, out);
        for lost in self.floor..seq {
            self.put(lost, State::Lost);
        }
    }

    /// The number of the source that comes after the highest so far.
    pub(super) fn expected(&self) -> u64 {
        self.next
    }

    /// Whether a number of the stream is that which the run began with.
    pub(super) fn is_first(&self, out: u64) -> bool {
        out == self.first_out
    }

    fn put(&mut self, seq: u64, state: State) -> u64 {
        let out = seq.wrapping_sub(self.shift);
        self.slots[seq as usize % HISTORY] = Slot { seq: seq as u32, out: out as u32, state };
        if state == State::Gone {
            self.shift = self.shift.wrapping_add(1);
        }
        out
    }

    /// A packet from [`Self::expected`] on; the number that it gets if it is forwarded.
    pub(super) fn next(&mut self, seq: u64, forwarded: bool, gap: Gap) -> u64 {
        let mut missing = seq.saturating_sub(self.next);
        let reach = HISTORY as u64 - 1;
        if missing > reach {
            // Too far back to be of use when they come: their numbers are not kept free.
            self.shift = self.shift.wrapping_add(missing - reach);
            missing = reach;
            self.floor = seq - missing;
        }
        let first = seq - missing;
        for lost in first..seq {
            let gone = gap.all || gap.first && lost == first || gap.last && lost + 1 == seq;
            self.put(lost, if gone { State::Gone } else { State::Lost });
        }
        self.next = seq + 1;
        self.put(seq, if forwarded { State::Forwarded } else { State::Gone })
    }

    /// The number of a packet that comes late; `None` if it is not one that was waited for.
    pub(super) fn late(&self, seq: u64) -> Option<u64> {
        if seq < self.floor || seq >= self.next || self.next - seq > HISTORY as u64 {
            return None;
        }
        let slot = &self.slots[seq as usize % HISTORY];
        if slot.seq != seq as u32 || slot.state != State::Lost {
            return None;
        }
        let near = seq.wrapping_sub(self.shift);
        Some(near.wrapping_add_signed(i64::from(slot.out.wrapping_sub(near as u32) as i32)))
    }

    /// Decides about a packet that [`Self::late`] has a number for.
    pub(super) fn settle(&mut self, seq: u64, forwarded: bool) {
        self.slots[seq as usize % HISTORY].state = if forwarded { State::Forwarded } else { State::Gone };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> Packets {
        let mut p = Packets::new();
        p.begin(70_000, 0, 100);
        assert_eq!(p.next(70_000, true, Gap::default()), 100);
        p
    }

    #[test]
    fn what_is_left_out_closes_up() {
        let mut p = begun();
        p.next(70_001, false, Gap::default());
        p.next(70_002, false, Gap::default());
        assert_eq!(p.next(70_003, true, Gap::default()), 101);
    }

    #[test]
    fn what_was_lost_keeps_its_number_until_it_comes() {
        let mut p = begun();
        assert_eq!(p.next(70_003, true, Gap::default()), 103);
        assert_eq!(p.late(70_001), Some(101));
        p.settle(70_001, true);
        assert_eq!(p.late(70_001), None, "once only");
        assert_eq!(p.late(70_002), Some(102));
        p.settle(70_002, false);
        assert_eq!(p.next(70_004, true, Gap::default()), 104, "a hole that nothing fills");
        assert_eq!(p.late(69_999), None, "before the run");
    }

    #[test]
    fn lost_packets_of_what_is_left_out_take_no_number() {
        let mut p = begun();
        let gap = Gap { first: true, ..Gap::default() };
        assert_eq!(p.next(70_004, true, gap), 103);
        assert_eq!((p.late(70_001), p.late(70_002), p.late(70_003)), (None, Some(101), Some(102)));
        let gap = Gap { all: true, ..Gap::default() };
        assert_eq!(p.next(70_008, true, gap), 104);
        assert_eq!(p.late(70_006), None);
    }

    #[test]
    fn leaps_are_shortened() {
        let mut p = begun();
        let out = p.next(100_000, true, Gap::default());
        assert_eq!(out, 100 + HISTORY as u64);
        assert_eq!(p.late(70_001), None);
        assert_eq!(p.late(99_999), Some(out - 1));
    }
}
