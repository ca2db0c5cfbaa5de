//! Audio packets of silence are not forwarded (`spec/bridge.md` 4.2 "Silence").

use std::collections::VecDeque;

/// Level of silence (RFC 6464).
const SILENCE: u8 = 127;

/// Dropped numbers that are remembered, so that late packets are numbered right. What is from before all of them is dropped: its number could be
/// that of another packet, and one number must not be used for two (`spec/bridge.md` 9.6).
const REMEMBERED: usize = 64;

/// Drops silence of one audio SSRC and closes the gaps in its numbers.
#[derive(Clone, Debug)]
pub struct SilenceDiscarder {
    limit: u32,
    run: u32,
    highest: Option<u64>,
    shift: u64,
    dropped: VecDeque<u64>,
}

impl SilenceDiscarder {
    /// Forwards the first `limit` packets of each silence; the default of the configuration is 3.
    pub fn new(limit: u32) -> Self {
        Self { limit, run: 0, highest: None, shift: 0, dropped: VecDeque::new() }
    }

    /// Judges a packet: the number under which it goes on, or none when it is dropped. Without a level nothing is known, so it goes on.
    pub fn pass(&mut self, seq: u64, level: Option<u8>) -> Option<u64> {
        let silent = level == Some(SILENCE);
        if self.highest.is_some_and(|highest| seq <= highest) {
            // A late one: numbered as it would have been. If it was taken out, so is its copy.
            if self.dropped.binary_search(&seq).is_ok() {
                return None;
            }
            let forgotten = self.shift > self.dropped.len() as u64;
            if forgotten && self.dropped.front().is_some_and(|oldest| seq < *oldest) {
                return None;
            }
            let later = self.dropped.len() - self.dropped.partition_point(|&dropped| dropped < seq);
            return seq.checked_sub(self.shift - later as u64);
        }
        self.highest = Some(seq);
        self.run = if silent { self.run.saturating_add(1) } else { 0 };
        if self.run > self.limit {
            self.shift += 1;
            if self.dropped.len() >= REMEMBERED {
                self.dropped.pop_front();
            }
            self.dropped.push_back(seq);
            return None;
        }
        seq.checked_sub(self.shift)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn after_three_silent_packets_the_rest_is_dropped_without_a_gap_4_2() {
        let mut audio = SilenceDiscarder::new(3);
        let passed: Vec<_> =
            (100..110).map(|seq| audio.pass(seq, Some(if (102..108).contains(&seq) { 127 } else { 40 }))).collect();
        let some = |range: std::ops::Range<u64>| range.map(Some);
        let expected: Vec<_> = some(100..105).chain([None; 3]).chain(some(105..107)).collect();
        assert_eq!(passed, expected);
    }

    #[test]
    fn packets_without_level_pass_4_2() {
        let mut audio = SilenceDiscarder::new(0);
        assert_eq!(audio.pass(100, None), Some(100));
        assert_eq!(audio.pass(101, Some(127)), None);
        assert_eq!(audio.pass(102, Some(126)), Some(101));
    }

    #[test]
    fn late_packets_get_the_number_of_their_place() {
        let mut audio = SilenceDiscarder::new(0);
        assert_eq!(audio.pass(100, Some(1)), Some(100));
        assert_eq!(audio.pass(102, Some(127)), None);
        assert_eq!(audio.pass(103, Some(1)), Some(102));
        assert_eq!(audio.pass(101, Some(1)), Some(101));
        assert_eq!(audio.pass(102, Some(127)), None, "a copy of what was dropped");
    }

    #[test]
    fn a_packet_from_before_the_remembered_silence_gets_no_number_that_was_used() {
        let mut audio = SilenceDiscarder::new(3);
        let mut used: HashSet<u64> = (1..=100).filter_map(|seq| audio.pass(seq, Some(40))).collect();
        used.extend((102..=201).filter_map(|seq| audio.pass(seq, Some(127))));
        assert_eq!(used.len(), 103);
        let late = audio.pass(101, Some(40));
        assert!(late.is_none_or(|number| !used.contains(&number)), "{late:?} was used");
        assert_eq!(audio.pass(202, Some(40)), Some(105), "what follows goes on");
    }

    proptest! {
        /// Each packet once, in any order, with any silence: no number comes twice.
        #[test]
        fn no_number_is_used_twice_9_6(order in prop::collection::vec((0_u64..600, any::<bool>()), 1..500), limit in 0_u32..4) {
            let (mut audio, mut seen, mut used) = (SilenceDiscarder::new(limit), HashSet::new(), HashSet::new());
            let mut high = 1_000_u64;
            for (back, silent) in order {
                // Mostly forward, sometimes far back.
                high += 1 + back % 2;
                for seq in [high, high - back] {
                    if seen.insert(seq)
                        && let Some(number) = audio.pass(seq, Some(if silent { 127 } else { 40 }))
                    {
                        prop_assert!(used.insert(number), "{} again", number);
                    }
                }
            }
        }
    }
}
