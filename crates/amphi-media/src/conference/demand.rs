//! What is wanted of one source: how many want which height, so that the greatest is known without asking everybody (`spec/bridge.md` 4.11,
//! step 6).

use smallvec::SmallVec;

/// Numbers of those that want a height. Each class of receivers counts once, however many members it has, and each relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HeightCounts {
    /// By falling height; few heights are in use.
    counts: SmallVec<[(u32, u32); 4]>,
}

/// No limit is above all heights.
fn key(height: i32) -> u32 {
    u32::try_from(height).unwrap_or(u32::MAX)
}

impl HeightCounts {
    /// One more wants this. Not wanting anything (0) is not counted.
    pub(super) fn add(&mut self, height: i32) {
        if height == 0 {
            return;
        }
        match self.counts.binary_search_by(|(it, _)| key(height).cmp(it)) {
            Ok(at) => self.counts[at].1 += 1,
            Err(at) => self.counts.insert(at, (key(height), 1)),
        }
    }

    /// One less wants it.
    pub(super) fn remove(&mut self, height: i32) {
        if let Ok(at) = self.counts.binary_search_by(|(it, _)| key(height).cmp(it)) {
            self.counts[at].1 -= 1;
            if self.counts[at].1 == 0 {
                self.counts.remove(at);
            }
        }
    }

    /// The greatest height wanted: -1 is no limit, 0 is nobody.
    pub(super) fn max(&self) -> i32 {
        self.counts.first().map_or(0, |(height, _)| i32::try_from(*height).unwrap_or(-1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naive(wishes: &[i32]) -> i32 {
        if wishes.contains(&-1) { -1 } else { wishes.iter().copied().max().unwrap_or(0) }
    }

    proptest! {
        #[test]
        fn the_greatest_counted_is_the_greatest_wanted(
            steps in proptest::collection::vec((any::<bool>(), prop::sample::select(vec![-1, 0, 180, 360, 720, 1080, 2160])), 0..200)
        ) {
            let (mut counts, mut wishes) = (HeightCounts::default(), Vec::new());
            for (add, height) in steps {
                if add {
                    counts.add(height);
                    wishes.push(height);
                } else if let Some(at) = wishes.iter().position(|it| *it == height) {
                    counts.remove(height);
                    wishes.swap_remove(at);
                }
                prop_assert_eq!(counts.max(), naive(&wishes));
            }
        }
    }
}
