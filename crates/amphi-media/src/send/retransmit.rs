//! Whether a packet that a receiver asks for is sent again, and under which number (`spec/bridge.md` 4.4).

use std::time::{Duration, Instant};

use foldhash::{HashMap, HashMapExt};

/// Limits of [`Retransmitter`].
#[derive(Clone, Copy, Debug)]
pub struct RetransmitConfig {
    /// Retransmissions may take this part of the receiver's rate; default 0.5, so that a path with a third of its packets lost is still
    /// served.
    pub share: f64,
    /// The rate is taken to be at least this, in bit/s; default 200,000.
    pub min_rate: u64,
    /// The share that was not used is saved for so long; default 250 ms. What is more would come too late over a path that just got thin.
    pub burst: Duration,
    /// But so many bytes may always be saved; default 16,000, so that the loss of a key picture is made good at once.
    pub burst_bytes: u32,
    /// As long as the round trip is not known, the same packet is not sent again before this time; default 30 ms.
    pub rest: Duration,
}

impl Default for RetransmitConfig {
    fn default() -> Self {
        Self {
            share: 0.5,
            min_rate: 200_000,
            burst: Duration::from_millis(250),
            burst_bytes: 16_000,
            rest: Duration::from_millis(30),
        }
    }
}

/// What happens to a NACKed packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Send,
    /// It was sent so shortly before that the receiver cannot know yet.
    TooSoon,
    /// The receiver asks for more than its share.
    OverBudget,
    /// The receiver is shown something else by now.
    Outdated,
}

/// Times of the last retransmissions are kept in so many places.
const RECENT: usize = 32;

#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    slot: u16,
    seq: u16,
    /// Milliseconds since the start, plus 1; 0 is free.
    at: u32,
}

/// Retransmissions towards one receiver.
#[derive(Clone, Debug)]
pub struct Retransmitter {
    start: Instant,
    recent: [Recent; RECENT],
    /// Bytes that may be sent.
    tokens: f64,
    filled: Instant,
    /// Numbers of each RTX SSRC. The caller bounds how many there are.
    counters: HashMap<u32, u64>,
}

impl Retransmitter {
    /// Nothing sent again so far.
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            recent: [Recent::default(); RECENT],
            tokens: f64::MAX,
            filled: now,
            counters: HashMap::new(),
        }
    }

    /// Judges a NACK of `seq` on the receiver's slot (or other small number for the SSRC). `first_sent` is when the packet was sent first,
    /// `rate` the receiver's bandwidth estimate in bit/s. When it says [`Verdict::Send`], that is remembered and `bytes` are paid.
    #[expect(clippy::too_many_arguments, reason = "numbers of three owners, called in one place")]
    pub fn judge(
        &mut self,
        config: &RetransmitConfig,
        now: Instant,
        slot: u16,
        seq: u16,
        first_sent: Instant,
        bytes: usize,
        rtt: Option<Duration>,
        rate: u64,
    ) -> Verdict {
        let clock = now.saturating_duration_since(self.start).as_millis() as u32;
        let place = usize::from(seq ^ slot.wrapping_mul(11)) % RECENT;
        let recent = self.recent[place];
        let again = (recent.at != 0 && recent.slot == slot && recent.seq == seq)
            .then(|| Duration::from_millis(u64::from(clock.wrapping_sub(recent.at - 1))));
        let too_soon = match rtt {
            Some(rtt) => {
                let since = again.unwrap_or(now.saturating_duration_since(first_sent));
                since < rtt.mul_f64(0.9).min(rtt.saturating_sub(Duration::from_millis(5)))
            }
            None => again.is_some_and(|since| since < config.rest),
        };
        if too_soon {
            return Verdict::TooSoon;
        }
        let per_second = config.share * rate.max(config.min_rate) as f64 / 8.0;
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = self.filled.max(now);
        let most = (per_second * config.burst.as_secs_f64()).max(f64::from(config.burst_bytes));
        self.tokens = (self.tokens + per_second * elapsed).min(most);
        if self.tokens < bytes as f64 {
            return Verdict::OverBudget;
        }
        self.tokens -= bytes as f64;
        self.recent[place] = Recent { slot, seq, at: clock.wrapping_add(1).max(1) };
        Verdict::Send
    }

    /// The next number on an RTX SSRC, unwrapped; the packet carries its low 16 bits.
    pub fn next_seq(&mut self, rtx_ssrc: u32) -> u64 {
        let next = self.counters.entry(rtx_ssrc).or_default();
        *next += 1;
        *next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const RATE: u64 = 1_000_000;

    fn judge(rtx: &mut Retransmitter, now: Instant, seq: u16, sent: Instant, rtt: Option<Duration>) -> Verdict {
        rtx.judge(&RetransmitConfig::default(), now, 0, seq, sent, 1200, rtt, RATE)
    }

    #[test]
    fn without_rtt_everything_is_sent_again_once_in_30_ms_4_4() {
        let now = Instant::now();
        let mut rtx = Retransmitter::new(now);
        let verdicts = [0, 0, 29, 30].map(|ms| judge(&mut rtx, now + MS * ms, 5, now, None));
        assert_eq!(verdicts, [Verdict::Send, Verdict::TooSoon, Verdict::TooSoon, Verdict::Send]);
        assert_eq!(judge(&mut rtx, now, 6, now, None), Verdict::Send, "another one");
    }

    #[test]
    fn a_packet_rests_for_nine_tenths_of_the_rtt_or_5_ms_less_4_4() {
        let start = Instant::now();
        let mut rtx = Retransmitter::new(start);
        // RTT 100 ms: 90 ms is less than 95 ms. RTT 20 ms: 15 ms is less than 18 ms.
        assert_eq!(judge(&mut rtx, start + 89 * MS, 5, start, Some(100 * MS)), Verdict::TooSoon);
        assert_eq!(judge(&mut rtx, start + 90 * MS, 5, start, Some(100 * MS)), Verdict::Send);
        assert_eq!(
            judge(&mut rtx, start + 179 * MS, 5, start, Some(100 * MS)),
            Verdict::TooSoon,
            "since it was sent last"
        );
        assert_eq!(judge(&mut rtx, start + 180 * MS, 5, start, Some(100 * MS)), Verdict::Send);
        assert_eq!(judge(&mut rtx, start + 14 * MS, 6, start, Some(20 * MS)), Verdict::TooSoon);
        assert_eq!(judge(&mut rtx, start + 15 * MS, 6, start, Some(20 * MS)), Verdict::Send);
        assert_eq!(judge(&mut rtx, start, 7, start, Some(3 * MS)), Verdict::Send, "an RTT below 5 ms");
    }

    #[test]
    fn a_receiver_that_nacks_everything_gets_no_more_than_its_share() {
        let start = Instant::now();
        let mut rtx = Retransmitter::new(start);
        let mut bytes = 0;
        for ms in 0..10_000_u32 {
            for seq in 0..20 {
                if judge(&mut rtx, start + MS * ms, seq, start, None) == Verdict::Send {
                    bytes += 1200;
                }
            }
        }
        let (share, burst) = (RATE / 8 / 2 * 10, 16_000);
        assert!(bytes <= share + burst && bytes > share - 2400, "{bytes}");
    }

    #[test]
    fn each_rtx_ssrc_counts_for_itself_4_4() {
        let mut rtx = Retransmitter::new(Instant::now());
        assert_eq!([7, 7, 8, 7].map(|ssrc| rtx.next_seq(ssrc)), [1, 2, 1, 3]);
    }
}
