//! Numbers that are equal for all receivers: one line of them per SSRC that is sent, whatever sources it carries one after the other
//! (`spec/bridge.md` 4.8). So it is with audio, and with all that relays get. A receiver only skips what it does not want.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::roles::{Role, Roles};
use crate::ids::{EndpointId, SourceId};
use crate::packet::MediaPacket;
use crate::projection::Numbers;
use crate::red::Red;
use crate::send::SentCounters;

/// Numbers of a packet on an SSRC that is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineNumbers {
    /// The SSRC.
    pub ssrc: u32,
    /// Sequence number, unwrapped.
    pub seq: u64,
    /// RTP timestamp.
    pub timestamp: u32,
}

/// An audio packet, as all receivers share it.
#[derive(Debug)]
pub struct AudioPacket {
    /// Who sends it; does not get it back.
    pub owner: EndpointId,
    /// The packet.
    pub packet: Arc<MediaPacket>,
    /// Without redundancy, for receivers that have no RED (`spec/bridge.md` 4.7); none if the packet is none.
    pub primary: Option<Arc<MediaPacket>>,
    /// For receivers without SSRC rewriting.
    pub plain: LineNumbers,
    /// For receivers with SSRC rewriting; none: it has no slot.
    pub slot: Option<LineNumbers>,
}

impl MediaPacket {
    /// A RED packet without its redundancy: the block that it is about, under that one's payload type. None if it cannot be read.
    #[must_use]
    pub fn primary(&self) -> Option<Self> {
        let block = Red::parse(&self.payload).ok()?.primary();
        Some(Self { payload_type: block.payload_type, payload: self.payload.slice_ref(block.data), ..self.clone() })
    }
}

/// Ticks between the last packet of one source and the first of the next on one SSRC: 20 ms of Opus.
const STEP: u32 = 960;

/// The numbers of one SSRC that is sent. Kept as long as anybody may hold keys under which it was used: numbers must never come again.
#[derive(Clone, Debug)]
pub struct Line {
    ssrc: u32,
    source: Option<SourceId>,
    /// Added to the source's numbers.
    seq: u64,
    timestamp: u32,
    /// Lowest number that may be used: where the present source began.
    from: u64,
    last: u64,
    last_timestamp: u32,
    last_at: Option<Instant>,
}

impl Line {
    /// An SSRC on which nothing was sent.
    pub fn new(ssrc: u32) -> Self {
        Self { ssrc, source: None, seq: 0, timestamp: 0, from: 0, last: 0, last_timestamp: 0, last_at: None }
    }

    /// The same, when numbers below `from` may have been used on it.
    pub fn beginning_at(ssrc: u32, from: u64) -> Self {
        Self { from, ..Self::new(ssrc) }
    }

    /// The number after the last one.
    pub fn next(&self) -> u64 {
        self.last.max(self.from) + 1
    }

    /// The next packet of `source`; `seq` unwrapped and each one only once. None if it must not be sent: it is from before the source began
    /// here.
    pub fn number(&mut self, now: Instant, source: SourceId, seq: u64, timestamp: u32) -> Option<LineNumbers> {
        if self.source != Some(source) {
            match self.last_at {
                // Nothing was sent here: the numbers of the source, in as many rollovers as are needed.
                None => (self.seq, self.timestamp) = (self.from.saturating_sub(seq).next_multiple_of(1 << 16), 0),
                Some(at) => {
                    // Continues at the pace of the clock, so that it does not look like a burst after a silence.
                    let elapsed = now.saturating_duration_since(at).as_micros().min(1 << 40) as u64;
                    let step = ((elapsed * 48 / 1000) as u32).max(STEP);
                    self.seq = (self.last + 1).wrapping_sub(seq);
                    self.timestamp = self.last_timestamp.wrapping_add(step).wrapping_sub(timestamp);
                }
            }
            self.source = Some(source);
            self.from = seq.wrapping_add(self.seq);
        }
        let out = seq.wrapping_add(self.seq);
        // Numbers far off are those of a source that began again under the same name.
        if out < self.from || out - self.from >= 1 << 47 {
            return None;
        }
        let timestamp = timestamp.wrapping_add(self.timestamp);
        if out >= self.last {
            (self.last, self.last_timestamp, self.last_at) = (out, timestamp, Some(now));
        }
        Some(LineNumbers { ssrc: self.ssrc, seq: out, timestamp })
    }

    /// A source ended or its numbers begin anew: what comes next continues after the last one.
    pub fn forget(&mut self, source: SourceId) {
        if self.source == Some(source) {
            self.source = None;
        }
    }

    /// Which source it carries, and what is added to its timestamps: for sender reports.
    pub fn carries(&self) -> Option<(SourceId, u32)> {
        self.source.map(|source| (source, self.timestamp))
    }
}

/// What one receiver got of lines.
#[derive(Clone, Debug, Default)]
pub(super) struct LinesSent {
    lines: SmallVec<[SentLine; 4]>,
}

#[derive(Clone, Copy, Debug)]
struct SentLine {
    ssrc: u32,
    /// Taken off, so that the rollover counter is zero when the receiver first hears of the SSRC (RFC 3711 section 3.3.1).
    base: u64,
    /// Numbers of the line from before this one are not sent (any more).
    from: u64,
    /// Highest number sent.
    highest: u64,
    counters: SentCounters,
}

/// A receiver guesses the rollover counter by what is next to the last number (RFC 3711 section 3.3.1). So where more than this was left out for it,
/// because somebody was muted or not among the loudest, its numbers go on after the last one.
const MAX_JUMP: u64 = 1 << 14;
/// Up to so many lines are looked through, as most receivers have; what has more is looked up.
const FEW: usize = 8;

impl LinesSent {
    fn at(&self, roles: &Roles, ssrc: u32) -> Option<usize> {
        match self.lines.len() <= FEW {
            true => self.lines.iter().position(|line| line.ssrc == ssrc),
            false => roles.line(ssrc),
        }
    }

    /// The receiver's numbers for a packet that is sent to it now. None if it must not get it.
    #[inline]
    pub(super) fn number(&mut self, roles: &mut Roles, numbers: &LineNumbers, payload: usize) -> Option<Numbers> {
        let at = match self.at(roles, numbers.ssrc) {
            Some(at) => at,
            None => {
                let at = self.lines.len();
                if !roles.take(numbers.ssrc, Role::Line(at as u32)) {
                    return None;
                }
                self.lines.push(SentLine {
                    ssrc: numbers.ssrc,
                    // Half a rollover ahead of the next: who misses the first packets still guesses right.
                    base: numbers.seq - (numbers.seq & 0x7fff),
                    from: numbers.seq - (numbers.seq & 0x7fff),
                    highest: numbers.seq & 0x7fff,
                    counters: SentCounters::default(),
                });
                at
            }
        };
        let line = &mut self.lines[at];
        if numbers.seq < line.from {
            return None;
        }
        let mut seq = numbers.seq.checked_sub(line.base)?;
        if seq > line.highest + MAX_JUMP {
            line.base = numbers.seq.checked_sub(line.highest + 1)?;
            (line.from, seq) = (numbers.seq, line.highest + 1);
        }
        line.highest = line.highest.max(seq);
        line.counters.on_sent(payload);
        Some(Numbers { seq, timestamp: numbers.timestamp, ..Numbers::default() })
    }

    /// The receiver's numbers of a packet that was sent to it.
    pub(super) fn again(&self, roles: &Roles, numbers: &LineNumbers) -> Option<Numbers> {
        let line = self.lines.get(self.at(roles, numbers.ssrc)?)?;
        let seq = numbers.seq.checked_sub(line.base).filter(|seq| numbers.seq >= line.from && *seq <= line.highest)?;
        Some(Numbers { seq, timestamp: numbers.timestamp, ..Numbers::default() })
    }

    /// The number in the line of a sequence number that the receiver names.
    pub(super) fn find(&self, roles: &Roles, ssrc: u32, seq: u16) -> Option<u64> {
        let line = self.lines.get(self.at(roles, ssrc)?)?;
        let back = (line.highest as u16).wrapping_sub(seq);
        Some(line.highest.checked_sub(u64::from(back))? + line.base).filter(|seq| *seq >= line.from)
    }

    /// What was sent on an SSRC.
    pub(super) fn counters(&self, roles: &Roles, ssrc: u32) -> Option<&SentCounters> {
        Some(&self.lines.get(self.at(roles, ssrc)?)?.counters)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn another_source_continues_where_the_last_one_ended_4_8() {
        let (now, mut line) = (Instant::now(), Line::new(7));
        let first = line.number(now, SourceId(1), 70_000, 5_000).unwrap();
        assert_eq!((first.seq, first.timestamp), (70_000, 5_000));
        let second = line.number(now + 20 * MS, SourceId(2), 66_000, 900_000).unwrap();
        assert_eq!((second.seq, second.timestamp), (70_001, 5_960));
        let late = line.number(now + 20 * MS, SourceId(2), 65_999, 899_040);
        assert_eq!(late, None, "its number is that of another source");
        let third = line.number(now + 40 * MS, SourceId(2), 66_002, 901_920).unwrap();
        assert_eq!((third.seq, third.timestamp), (70_003, 7_880), "loss stays loss");
        let back = line.number(now + 1_040 * MS, SourceId(1), 70_001, 5_960).unwrap();
        assert_eq!((back.seq, back.timestamp), (70_004, 7_880 + 48_000));
    }

    #[test]
    fn a_source_that_begins_anew_does_not_use_numbers_again() {
        let (now, mut line) = (Instant::now(), Line::new(7));
        assert_eq!(line.number(now, SourceId(1), 70_000, 0).unwrap().seq, 70_000);
        line.forget(SourceId(1));
        assert_eq!(line.number(now, SourceId(1), 65_536, 0).unwrap().seq, 70_001);
    }

    #[test]
    fn a_line_that_is_made_anew_begins_above_what_was_used() {
        let now = Instant::now();
        let mut line = Line::new(7);
        line.number(now, SourceId(1), 65_536 * 3 + 70, 0).unwrap();
        let mut again = Line::beginning_at(7, line.next());
        let numbers = again.number(now, SourceId(2), 65_536 + 5, 0).unwrap();
        assert!(numbers.seq > 65_536 * 3 + 70 && numbers.seq as u16 == 5, "{numbers:?}");
        assert_eq!(again.number(now, SourceId(2), 65_536 + 6, 0).unwrap().seq, numbers.seq + 1);
    }

    #[test]
    fn after_much_that_was_left_out_numbers_go_on_where_a_receiver_expects_them() {
        let (mut sent, mut roles) = (LinesSent::default(), Roles::default());
        let numbers = |seq| LineNumbers { ssrc: 7, seq, timestamp: 0 };
        assert_eq!(sent.number(&mut roles, &numbers(65_536 + 10), 10).unwrap().seq, 10);
        assert_eq!(sent.number(&mut roles, &numbers(65_536 + 5_010), 10).unwrap().seq, 5_010, "loss stays loss");
        assert_eq!(sent.number(&mut roles, &numbers(65_536 + 50_000), 10).unwrap().seq, 5_011);
        assert_eq!(sent.number(&mut roles, &numbers(65_536 + 49_999), 10), None, "its number was used");
        assert_eq!(sent.number(&mut roles, &numbers(65_536 + 50_002), 10).unwrap().seq, 5_013);
        assert_eq!(sent.find(&roles, 7, 5_013), Some(65_536 + 50_002));
        assert_eq!(sent.find(&roles, 7, 5_010), None, "from before");
        assert_eq!(sent.again(&roles, &numbers(65_536 + 50_000)).unwrap().seq, 5_011);
        assert_eq!(sent.again(&roles, &numbers(65_536 + 5_010)), None);
    }

    #[test]
    fn a_line_never_begins_just_below_a_rollover() {
        let (mut sent, mut roles) = (LinesSent::default(), Roles::default());
        let numbers = |seq| LineNumbers { ssrc: 7, seq, timestamp: 0 };
        let first = sent.number(&mut roles, &numbers(65_536 + 65_530), 10).unwrap().seq;
        assert!(first < 32_768, "{first}");
        assert_eq!(sent.number(&mut roles, &numbers(65_536 * 2), 10).unwrap().seq, first + 6);
        assert_eq!(sent.find(&roles, 7, first as u16), Some(65_536 + 65_530));
    }

    #[test]
    fn a_late_joiner_begins_without_rollovers() {
        let (mut sent, mut roles) = (LinesSent::default(), Roles::default());
        let numbers = |seq| LineNumbers { ssrc: 7, seq, timestamp: 0 };
        assert_eq!(sent.number(&mut roles, &numbers(65_536 * 5 + 9), 10).unwrap().seq, 9);
        for step in [16_000, 32_000, 48_000, 64_000] {
            assert_eq!(sent.number(&mut roles, &numbers(65_536 * 5 + step), 10).unwrap().seq, step);
        }
        assert_eq!(sent.number(&mut roles, &numbers(65_536 * 6 + 1), 10).unwrap().seq, 65_537);
        assert_eq!(
            sent.number(&mut roles, &numbers(65_536 * 5 - 1), 10),
            None,
            "before the rollover that it knows nothing of"
        );
        assert_eq!(sent.find(&roles, 7, 65_535), Some(65_536 * 6 - 1));
        assert_eq!(sent.find(&roles, 7, 1), Some(65_536 * 6 + 1));
        assert_eq!(sent.find(&roles, 8, 1), None);
        assert_eq!(sent.again(&roles, &numbers(65_536 * 5 + 9)).unwrap().seq, 9);
        assert_eq!(sent.again(&roles, &numbers(65_536 * 6 + 2)), None, "not sent yet");
    }
}
