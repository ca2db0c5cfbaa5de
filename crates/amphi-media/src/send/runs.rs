//! From the numbers that a receiver saw back to the streams they came from (`spec/bridge.md` 9.5.2 "Retransmission").

use smallvec::SmallVec;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run<K> {
    first: u64,
    /// Number sent minus number in the stream.
    offset: u64,
    key: K,
}

/// Which stream one outgoing SSRC carried from which number on. A run ends where the next begins.
#[derive(Clone, Debug)]
pub struct Runs<K> {
    runs: SmallVec<[Run<K>; 2]>,
    max: u8,
}

impl<K: Copy + PartialEq> Runs<K> {
    /// Remembers at most `max` runs; 16 is plenty, for packets are kept for a second only.
    pub fn new(max: u8) -> Self {
        Self { runs: SmallVec::new(), max: max.max(1) }
    }

    /// From the outgoing number `first_out` on, the SSRC carries stream `key`, whose packet `stream_seq` is sent under that number. What was
    /// said about higher numbers is void.
    pub fn begin(&mut self, first_out: u64, key: K, stream_seq: u64) {
        let offset = first_out.wrapping_sub(stream_seq);
        self.runs.retain(|run| run.first < first_out);
        if self.runs.last().is_some_and(|run| run.key == key && run.offset == offset) {
            return;
        }
        if self.runs.len() >= usize::from(self.max) {
            self.runs.remove(0);
        }
        self.runs.push(Run { first: first_out, offset, key });
    }

    /// Stream and number in it of what was sent under `out`, which the caller knows to have been sent.
    pub fn find(&self, out: u64) -> Option<(K, u64)> {
        let run = self.runs.iter().rev().find(|run| run.first <= out)?;
        Some((run.key, out.wrapping_sub(run.offset)))
    }

    /// As [`Self::find`] for a number of a NACK, `highest` being the highest number sent. None also for what was not sent yet.
    pub fn find_nacked(&self, highest: u64, seq: u16) -> Option<(K, u64)> {
        let back = (highest as u16).wrapping_sub(seq);
        if back >= 1 << 15 {
            return None;
        }
        self.find(highest.checked_sub(u64::from(back))?)
    }

    /// Forgets everything: the SSRC sends nothing that could be asked for.
    pub fn clear(&mut self) {
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_nacked_number_leads_to_stream_and_number_9_5_2() {
        let mut runs = Runs::new(16);
        runs.begin(65_536, 'a', 1000);
        runs.begin(65_600, 'b', 70_000);
        assert_eq!(runs.find_nacked(65_610, 65_599_u64 as u16), Some(('a', 1063)));
        assert_eq!(runs.find_nacked(65_610, 65_600_u64 as u16), Some(('b', 70_000)));
        assert_eq!(runs.find_nacked(65_610, 65_611_u64 as u16), None, "not sent yet");
        assert_eq!(runs.find_nacked(65_610, 65_535), None, "before the first run");
    }

    #[test]
    fn the_oldest_run_goes_first() {
        let mut runs = Runs::new(2);
        (0..3).for_each(|n| runs.begin(100 + 10 * n, n, 0));
        assert_eq!(runs.find(105), None);
        assert_eq!([runs.find(110), runs.find(125)], [Some((1, 0)), Some((2, 5))]);
        runs.begin(140, 2, 20);
        assert_eq!(runs.find(115), Some((1, 5)), "the same offset is the same run");
    }

    proptest! {
        #[test]
        fn runs_agree_with_a_plain_map(switches in prop::collection::vec((0_u8..3, 0_u64..1000, 1_u64..50), 1..16)) {
            let (mut runs, mut sent, mut out) = (Runs::new(16), HashMap::new(), 65_536_u64);
            for (key, stream_seq, length) in switches {
                runs.begin(out, key, stream_seq);
                for n in 0..length {
                    sent.insert(out, (key, stream_seq + n));
                    out += 1;
                }
            }
            for (number, expected) in sent {
                prop_assert_eq!(runs.find_nacked(out - 1, number as u16), Some(expected));
            }
        }
    }
}
