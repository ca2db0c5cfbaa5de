//! What is told a sender about the reception of one of its SSRCs: loss, jitter, time since its last report (RFC 3550 6.4.1, A.3, A.8).

use std::time::{Duration, Instant};

use crate::rtcp::ReportBlock;

/// The numbers of a report block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reception {
    /// Part of the packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start; 24 bits in the packet, already clamped to them. Below zero with duplicates.
    pub cumulative_lost: i32,
    /// Highest sequence number, with cycles above 16 bits.
    pub highest_seq: u32,
    /// Jitter in units of the RTP clock.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report, or 0.
    pub last_sr: u32,
    /// Time since the last sender report in 1/65536 s, or 0.
    pub delay_since_last_sr: u32,
}

impl Reception {
    /// As block of a report.
    pub fn block(&self, ssrc: u32) -> ReportBlock {
        ReportBlock {
            ssrc,
            fraction_lost: self.fraction_lost,
            cumulative_lost: self.cumulative_lost,
            highest_seq: self.highest_seq,
            jitter: self.jitter,
            last_sr: self.last_sr,
            delay_since_last_sr: self.delay_since_last_sr,
        }
    }
}

/// Reception of one SSRC.
#[derive(Clone, Debug)]
pub struct ReceiveStatistics {
    clock_rate: u32,
    base: u64,
    highest: Option<u64>,
    received: u64,
    reported_expected: u64,
    reported_received: u64,
    last: Option<(Instant, u32)>,
    jitter: f64,
    sender_report: Option<(Instant, u32)>,
    /// Bytes received, for statistics.
    bytes: u64,
}

impl ReceiveStatistics {
    /// Nothing received yet; `clock_rate` of the payload type in Hz.
    pub fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate: clock_rate.max(1),
            base: 0,
            highest: None,
            received: 0,
            reported_expected: 0,
            reported_received: 0,
            last: None,
            jitter: 0.0,
            sender_report: None,
            bytes: 0,
        }
    }

    /// A packet of this SSRC came, before any RTX decapsulation; `seq` unwrapped.
    pub fn on_packet(&mut self, now: Instant, seq: u64, timestamp: u32, bytes: usize) {
        self.received += 1;
        self.bytes += bytes as u64;
        match self.highest {
            None => (self.base, self.highest) = (seq, Some(seq)),
            Some(highest) if seq > highest => self.highest = Some(seq),
            Some(_) => return, // Late: says nothing about the jitter of the path.
        }
        if let Some((at, before)) = self.last.replace((now, timestamp)) {
            let elapsed = now.saturating_duration_since(at).as_secs_f64() * f64::from(self.clock_rate);
            let difference = (elapsed - f64::from(timestamp.wrapping_sub(before) as i32)).abs();
            // A stream that restarts with other timestamps is not jitter.
            if difference < f64::from(self.clock_rate) * 5.0 {
                self.jitter += (difference - self.jitter) / 16.0;
            }
        }
    }

    /// A sender report of this SSRC came, with this NTP time.
    pub fn on_sender_report(&mut self, now: Instant, ntp: u64) {
        self.sender_report = Some((now, (ntp >> 16) as u32));
    }

    /// The report block due now, or none if nothing came since the last one (`spec/bridge.md` 4.9).
    pub fn report(&mut self, now: Instant) -> Option<Reception> {
        let highest = self.highest?;
        let (expected, received) = ((highest + 1).saturating_sub(self.base), self.received);
        let newly_received = received - self.reported_received;
        if newly_received == 0 {
            return None;
        }
        let newly_expected = expected - self.reported_expected;
        let newly_lost = newly_expected.saturating_sub(newly_received);
        (self.reported_expected, self.reported_received) = (expected, received);
        let lost = (expected as i64).wrapping_sub(received as i64).clamp(-0x80_0000, 0x7f_ffff);
        let (last_sr, delay) = match self.sender_report {
            Some((at, middle)) => (middle, fixed_16_16(now.saturating_duration_since(at))),
            None => (0, 0),
        };
        Some(Reception {
            fraction_lost: (newly_lost * 256).checked_div(newly_expected).unwrap_or(0).min(255) as u8,
            cumulative_lost: lost as i32,
            highest_seq: highest as u32,
            jitter: self.jitter as u32,
            last_sr,
            delay_since_last_sr: delay,
        })
    }

    /// Packets received.
    pub fn packets(&self) -> u64 {
        self.received
    }

    /// Bytes received.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// A duration in 1/65536 s, as NTP's short form has it.
pub(crate) fn fixed_16_16(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos() * 65_536 / 1_000_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn loss_is_told_for_the_interval_and_in_total_rfc_3550_a_3() {
        let (now, mut statistics) = (Instant::now(), ReceiveStatistics::new(90_000));
        for seq in (65_536..65_546).filter(|seq| seq % 2 == 0) {
            statistics.on_packet(now, seq, 0, 100);
        }
        let report = statistics.report(now).unwrap();
        assert_eq!((report.fraction_lost, report.cumulative_lost), ((4 * 256 / 9) as u8, 4));
        assert_eq!(report.highest_seq, 65_544);
        (65_545..65_550).for_each(|seq| statistics.on_packet(now, seq, 0, 100));
        let report = statistics.report(now).unwrap();
        assert_eq!((report.fraction_lost, report.cumulative_lost), (0, 4));
        assert_eq!((statistics.packets(), statistics.bytes()), (10, 1000));
    }

    #[test]
    fn an_ssrc_without_packets_since_the_last_report_is_left_out_4_9() {
        let (now, mut statistics) = (Instant::now(), ReceiveStatistics::new(90_000));
        assert_eq!(statistics.report(now), None);
        statistics.on_packet(now, 65_536, 0, 100);
        assert!(statistics.report(now).is_some());
        assert_eq!(statistics.report(now), None);
    }

    #[test]
    fn duplicates_make_the_loss_negative_and_harm_nothing() {
        let (now, mut statistics) = (Instant::now(), ReceiveStatistics::new(90_000));
        (0..3).for_each(|_| statistics.on_packet(now, 65_536, 0, 100));
        let report = statistics.report(now).unwrap();
        assert_eq!((report.fraction_lost, report.cumulative_lost), (0, -2));
    }

    #[test]
    fn jitter_converges_to_the_mean_deviation_rfc_3550_a_8() {
        let (start, mut statistics) = (Instant::now(), ReceiveStatistics::new(90_000));
        for n in 0_u32..400 {
            let late = if n % 2 == 0 { 0 } else { 5 };
            statistics.on_packet(start + MS * (n * 20 + late), 65_536 + u64::from(n), n * 1800, 100);
        }
        let jitter = statistics.report(start).unwrap().jitter;
        assert!((445..=450).contains(&jitter), "5 ms are 450 units: {jitter}");
    }

    #[test]
    fn the_time_since_the_senders_report_is_told() {
        let (now, mut statistics) = (Instant::now(), ReceiveStatistics::new(90_000));
        statistics.on_sender_report(now, 0x0123_4567_89ab_cdef);
        statistics.on_packet(now, 65_536, 0, 100);
        let report = statistics.report(now + 500 * MS).unwrap();
        assert_eq!((report.last_sr, report.delay_since_last_sr), (0x4567_89ab, 32_768));
        let block = report.block(7);
        assert_eq!((block.ssrc, block.last_sr, block.highest_seq), (7, 0x4567_89ab, 65_536));
    }
}
