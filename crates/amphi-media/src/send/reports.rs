//! Sender reports towards a receiver, and the round trip that its receiver reports tell (`spec/bridge.md` 4.9).

use std::time::{Duration, Instant};

use crate::rtcp::SenderInfo;

/// Round trips above this are not believed.
const MAX_RTT: Duration = Duration::from_secs(7);

/// What was sent on one SSRC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentCounters {
    packets: u32,
    octets: u32,
}

impl SentCounters {
    /// A packet with so many bytes of payload left.
    #[inline]
    pub fn on_sent(&mut self, payload: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload as u32);
    }

    /// A publisher's report as the receiver shall see it: `timestamp_offset` (sent minus received) added, counts replaced by ours. None if
    /// nothing was sent on this SSRC.
    pub fn map(&self, report: SenderInfo, timestamp_offset: u32) -> Option<SenderInfo> {
        (self.packets != 0).then_some(SenderInfo {
            ntp: report.ntp,
            rtp_timestamp: report.rtp_timestamp.wrapping_add(timestamp_offset),
            packets: self.packets,
            octets: self.octets,
        })
    }
}

const KEPT: usize = 8;

/// The last sender reports sent to one receiver. They carry the publishers' NTP times, so the round trip is found by looking up when each
/// was sent.
#[derive(Clone, Debug)]
pub struct SentReports {
    start: Instant,
    /// Middle 32 bits of the NTP time, milliseconds * 16 since the start.
    sent: [(u32, u32); KEPT],
    count: u32,
}

impl SentReports {
    /// Nothing sent yet.
    pub fn new(start: Instant) -> Self {
        Self { start, sent: [(0, 0); KEPT], count: 0 }
    }

    /// A sender report with this NTP time leaves.
    pub fn on_sent(&mut self, now: Instant, ntp: u64) {
        self.sent[self.count as usize % KEPT] = ((ntp >> 16) as u32, self.clock(now));
        self.count = self.count.wrapping_add(1);
    }

    /// The round trip that a report block tells; none when it refers to no report that is known, or tells more than 7 s.
    pub fn rtt(&self, now: Instant, last_sr: u32, delay_since_last_sr: u32) -> Option<Duration> {
        if last_sr == 0 {
            return None;
        }
        let known = &self.sent[..KEPT.min(self.count as usize)];
        let (_, at) = known.iter().find(|(middle, _)| *middle == last_sr)?;
        let elapsed = Duration::from_micros(u64::from(self.clock(now).wrapping_sub(*at)) * 1000 / 16);
        let rtt = elapsed.checked_sub(short_ntp(delay_since_last_sr))?;
        (rtt <= MAX_RTT).then_some(rtt)
    }

    /// In 1/16 ms, good for three days.
    fn clock(&self, now: Instant) -> u32 {
        (now.saturating_duration_since(self.start).as_micros() * 16 / 1000) as u32
    }
}

/// The round trip from a report block about reports with our own NTP time; `now` is the middle 32 bits of the present (RFC 3550 6.4.1).
pub fn rtt_by_clock(now: u32, last_sr: u32, delay_since_last_sr: u32) -> Option<Duration> {
    let rtt = now.wrapping_sub(last_sr).wrapping_sub(delay_since_last_sr);
    let rtt = short_ntp(rtt);
    (last_sr != 0 && rtt <= MAX_RTT).then_some(rtt)
}

fn short_ntp(value: u32) -> Duration {
    Duration::from_nanos(u64::from(value) * 1_000_000_000 / 65_536)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn reports_are_mapped_and_counts_are_ours_4_9() {
        let report = SenderInfo { ntp: 5, rtp_timestamp: u32::MAX, packets: 1000, octets: 100_000 };
        let mut counters = SentCounters::default();
        assert_eq!(counters.map(report, 11), None, "nothing sent on the SSRC");
        counters.on_sent(100);
        counters.on_sent(50);
        assert_eq!(counters.map(report, 11), Some(SenderInfo { ntp: 5, rtp_timestamp: 10, packets: 2, octets: 150 }));
    }

    #[test]
    fn the_round_trip_is_told_by_reports_of_whatever_clock() {
        let start = Instant::now();
        let mut reports = SentReports::new(start);
        reports.on_sent(start + 1000 * MS, 0x1111_2222_3333_4444);
        reports.on_sent(start + 2000 * MS, 0x9999_8888_7777_6666);
        assert_eq!(reports.rtt(start + 1600 * MS, 0x2222_3333, 32_768), Some(100 * MS));
        assert_eq!(reports.rtt(start + 1600 * MS, 0x2222_3334, 32_768), None, "no such report");
        assert_eq!(reports.rtt(start + 1600 * MS, 0x2222_3333, 65_536), None, "negative");
        assert_eq!(reports.rtt(start + 1600 * MS, 0, 0), None);
    }

    #[test]
    fn round_trips_above_7_s_are_discarded_4_9() {
        let start = Instant::now();
        let mut reports = SentReports::new(start);
        reports.on_sent(start, 0x1111_2222_3333_4444);
        assert_eq!(reports.rtt(start + 7000 * MS, 0x2222_3333, 0), Some(7000 * MS));
        assert_eq!(reports.rtt(start + 7001 * MS, 0x2222_3333, 0), None);
        assert_eq!(rtt_by_clock(0x0010_0000, 0x000f_0000, 0x8000), Some(500 * MS));
        assert_eq!(rtt_by_clock(0x0010_0000, 0x0001_0000, 0), None);
    }
}
