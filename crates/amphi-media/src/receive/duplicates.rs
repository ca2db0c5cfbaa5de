//! Packets that came before: a window of sequence numbers per media SSRC (`spec/bridge.md` 4.2 "Duplicates").

/// Sequence numbers that are remembered; the reference remembers 1500.
const WINDOW: u64 = 2048;
const WORDS: usize = (WINDOW / 64) as usize;

/// What is known about a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Not seen before: to be forwarded.
    New,
    /// Seen before: to be dropped.
    Duplicate,
    /// Older than the window, so it cannot be known; to be dropped, for no receiver waits for it any more.
    Old,
}

/// One bit per sequence number of the last 2048.
#[derive(Clone, Debug)]
pub struct DuplicateFilter {
    highest: Option<u64>,
    seen: Box<[u64; WORDS]>,
}

impl Default for DuplicateFilter {
    fn default() -> Self {
        Self { highest: None, seen: Box::new([0; WORDS]) }
    }
}

impl DuplicateFilter {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Judges and remembers an unwrapped sequence number.
    pub fn check(&mut self, seq: u64) -> Freshness {
        match self.highest {
            None => self.highest = Some(seq),
            Some(highest) if seq > highest => {
                if seq - highest >= WINDOW {
                    self.seen.fill(0);
                } else {
                    (highest + 1..=seq).for_each(|between| self.seen[word(between)] &= !bit(between));
                }
                self.highest = Some(seq);
            }
            Some(highest) if highest - seq >= WINDOW => return Freshness::Old,
            Some(_) => {}
        }
        if self.seen[word(seq)] & bit(seq) != 0 {
            return Freshness::Duplicate;
        }
        self.seen[word(seq)] |= bit(seq);
        Freshness::New
    }
}

fn word(seq: u64) -> usize {
    (seq % WINDOW / 64) as usize
}

fn bit(seq: u64) -> u64 {
    1 << (seq % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_second_copy_is_a_duplicate_4_2() {
        let mut filter = DuplicateFilter::new();
        assert_eq!(filter.check(100), Freshness::New);
        assert_eq!(filter.check(102), Freshness::New);
        assert_eq!(filter.check(101), Freshness::New, "late");
        assert_eq!(filter.check(101), Freshness::Duplicate);
        assert_eq!(filter.check(100), Freshness::Duplicate);
    }

    #[test]
    fn at_least_1500_numbers_are_remembered_4_2() {
        let mut filter = DuplicateFilter::new();
        assert_eq!(filter.check(10), Freshness::New);
        assert_eq!(filter.check(10 + 1500), Freshness::New);
        assert_eq!(filter.check(10), Freshness::Duplicate);
        assert_eq!(filter.check(11 + WINDOW), Freshness::New);
        assert_eq!(filter.check(10), Freshness::Old);
    }

    proptest! {
        #[test]
        fn no_number_passes_twice(seqs in prop::collection::vec(0_u64..6000, 1..400)) {
            let (mut filter, mut passed, mut highest) = (DuplicateFilter::new(), HashSet::new(), 0);
            for seq in seqs {
                highest = highest.max(seq);
                match filter.check(seq) {
                    Freshness::New => prop_assert!(passed.insert(seq)),
                    Freshness::Duplicate => prop_assert!(passed.contains(&seq)),
                    Freshness::Old => prop_assert!(highest - seq >= WINDOW),
                }
            }
        }
    }
}
