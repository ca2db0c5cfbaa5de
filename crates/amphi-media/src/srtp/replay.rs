//! Which of the latest packet indexes were seen (RFC 3711 section 3.3.2).

use super::SrtpError;

/// A window of `64 * WORDS` indexes, ending at the highest.
#[derive(Clone, Debug)]
pub(super) struct ReplayWindow<const WORDS: usize> {
    highest: u64,
    /// A ring of bits: index modulo size.
    seen: [u64; WORDS],
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    const SIZE: u64 = 64 * WORDS as u64;

    /// Whose first index is this one.
    pub(super) fn starting_at(index: u64) -> Self {
        let mut window = Self { highest: index, seen: [0; WORDS] };
        window.set(index);
        window
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    fn bit(index: u64) -> (usize, u64) {
        let at = index % Self::SIZE;
        ((at / 64) as usize, 1 << (at % 64))
    }

    fn set(&mut self, index: u64) {
        let (word, bit) = Self::bit(index);
        self.seen[word] |= bit;
    }

    /// Whether an index may be taken.
    pub(super) fn check(&self, index: u64) -> Result<(), SrtpError> {
        if index > self.highest {
            return Ok(());
        }
        if self.highest - index >= Self::SIZE {
            return Err(SrtpError::TooOld);
        }
        let (word, bit) = Self::bit(index);
        if self.seen[word] & bit != 0 { Err(SrtpError::Replay) } else { Ok(()) }
    }

    /// Takes an index that [`Self::check`] allowed.
    pub(super) fn accept(&mut self, index: u64) {
        if index > self.highest {
            if index - self.highest >= Self::SIZE {
                self.seen = [0; WORDS];
            } else {
                for skipped in self.highest + 1..index {
                    let (word, bit) = Self::bit(skipped);
                    self.seen[word] &= !bit;
                }
            }
            self.highest = index;
        }
        self.set(index);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_window_knows_what_a_set_knows(steps in proptest::collection::vec((any::<bool>(), 0..200u64), 1..400)) {
            let mut window = ReplayWindow::<2>::starting_at(1000);
            let mut seen = BTreeSet::from([1000]);
            for (forward, by) in steps {
                let highest = *seen.last().unwrap();
                let index = if forward { highest + by } else { highest - by };
                let wanted = match highest.checked_sub(index) {
                    Some(behind) if behind >= 128 => Err(SrtpError::TooOld),
                    _ if seen.contains(&index) => Err(SrtpError::Replay),
                    _ => Ok(()),
                };
                prop_assert_eq!(window.check(index), wanted);
                if wanted.is_ok() {
                    window.accept(index);
                    seen.insert(index);
                }
                prop_assert_eq!(window.highest(), *seen.last().unwrap());
            }
        }
    }
}
