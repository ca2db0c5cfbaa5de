//! What a counting sink reports to the bridge: transport-wide feedback from the sequence numbers in the (unencrypted) header extensions every
//! 100 ms, and a receiver report every second, as browsers do. It plays a receiver on a good line: all that came is acknowledged.

use amphi_media::rtcp::{Arrival, ReportBlock, TransportCcFeedback, Writer};
use amphi_media::rtp::Header;
use amphi_media::seq::Unwrap;

/// Between two feedbacks, in microseconds.
pub(crate) const INTERVAL: u64 = 100_000;
/// Feedbacks from one receiver report to the next.
const REPORT_EVERY: u32 = 10;
/// Most bytes of a feedback.
const MAX_LEN: usize = 1_100;
/// Most arrivals that wait to be reported.
const MAX_ARRIVALS: usize = 4_096;
/// Most SSRCs of one sink.
const MAX_STREAMS: usize = 64;

/// One SSRC as it comes.
#[derive(Debug)]
pub(crate) struct Stream {
    ssrc: u32,
    seq: Unwrap<16>,
    first: u64,
    highest: u64,
    received: u64,
    /// At the last report.
    reported: (u64, u64),
}

impl Stream {
    fn expected(&self) -> u64 {
        self.highest - self.first + 1
    }
}

/// The receiving side of one sink.
#[derive(Debug)]
pub(crate) struct Feedback {
    transport_cc: Option<u8>,
    numbers: Unwrap<16>,
    arrivals: Vec<Arrival>,
    next: Option<u64>,
    count: u8,
    round: u32,
    streams: Vec<Stream>,
    ssrc: u32,
}

impl Feedback {
    /// `transport_cc`: number of the header extension. `ssrc`: under which it reports.
    pub(crate) fn new(transport_cc: Option<u8>, ssrc: u32) -> Self {
        Self {
            transport_cc,
            numbers: Unwrap::new(),
            arrivals: Vec::new(),
            next: None,
            count: 0,
            round: 0,
            streams: Vec::new(),
            ssrc,
        }
    }

    /// A sealed RTP packet came. False if its header makes no sense.
    pub(crate) fn take(&mut self, packet: &[u8], micros: u64) -> bool {
        let Ok(header) = Header::parse(packet) else { return false };
        match self.streams.iter().position(|it| it.ssrc == header.ssrc) {
            Some(at) => {
                let stream = &mut self.streams[at];
                let seq = stream.seq.unwrap(header.seq.into());
                stream.highest = stream.highest.max(seq);
                stream.first = stream.first.min(seq);
                stream.received += 1;
            }
            None if self.streams.len() < MAX_STREAMS => {
                let mut unwrap = Unwrap::new();
                let seq = unwrap.unwrap(header.seq.into());
                let (ssrc, reported) = (header.ssrc, (0, 0));
                self.streams.push(Stream { ssrc, seq: unwrap, first: seq, highest: seq, received: 1, reported });
            }
            None => {}
        }
        if let Some(value) = self.transport_cc.and_then(|id| header.extensions(packet).get(id))
            && let Some(number) = value.first_chunk::<2>()
            && self.arrivals.len() < MAX_ARRIVALS
        {
            let seq = self.numbers.unwrap(u16::from_be_bytes(*number).into());
            self.arrivals.push(Arrival { seq, micros: micros as i64 });
        }
        true
    }

    /// Packets that came, and those that should have, over all SSRCs.
    pub(crate) fn totals(&self) -> (u64, u64) {
        self.streams.iter().fold((0, 0), |(r, e), it| (r + it.received.min(it.expected()), e + it.expected()))
    }

    /// The next feedback, plain, into an empty buffer. Nothing is written if nothing came.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>) {
        self.round += 1;
        let mut writer = Writer::new(out);
        if self.round.is_multiple_of(REPORT_EVERY) && !self.streams.is_empty() {
            let blocks: Vec<ReportBlock> = self.streams.iter_mut().take(8).map(block).collect();
            // Eight blocks always fit.
            let _ = writer.receiver_report(self.ssrc, &blocks);
        }
        let Some(media_ssrc) = self.streams.first().map(|it| it.ssrc) else { return };
        self.arrivals.sort_unstable_by_key(|it| it.seq);
        let mut arrivals = self.arrivals.as_slice();
        while let Some(first) = arrivals.first() {
            let base_seq = self.next.unwrap_or(first.seq);
            let feedback = TransportCcFeedback {
                sender_ssrc: self.ssrc,
                media_ssrc,
                base_seq,
                feedback_count: self.count,
                arrivals,
            };
            let taken = writer.transport_cc(&feedback, MAX_LEN).max(1).min(arrivals.len());
            self.count = self.count.wrapping_add(1);
            let last = arrivals[taken - 1].seq + 1;
            self.next = Some(self.next.map_or(last, |it| it.max(last)));
            arrivals = &arrivals[taken..];
            if writer.len() + MAX_LEN > 1_400 {
                // The rest goes with the next one.
                break;
            }
        }
        let done = self.arrivals.len() - arrivals.len();
        self.arrivals.drain(..done);
    }
}

fn block(stream: &mut Stream) -> ReportBlock {
    let (expected, received) = (stream.expected(), stream.received);
    let (new, came) = (expected - stream.reported.0.min(expected), received - stream.reported.1);
    stream.reported = (expected, received);
    let lost = new.saturating_sub(came);
    ReportBlock {
        ssrc: stream.ssrc,
        fraction_lost: (lost * 256).checked_div(new).unwrap_or(0).min(255) as u8,
        cumulative_lost: expected.saturating_sub(received) as i32,
        highest_seq: stream.highest as u32,
        jitter: 90,
        last_sr: 0,
        delay_since_last_sr: 0,
    }
}

#[cfg(test)]
mod tests {
    use amphi_media::rtcp::{Packet, compound};

    use super::*;

    fn packet(seq: u16, number: u16) -> Vec<u8> {
        let mut out = vec![0x90, 100];
        out.extend_from_slice(&seq.to_be_bytes());
        out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0x1b, 0x58, 0xbe, 0xde, 0, 1, 0x51]);
        out.extend_from_slice(&number.to_be_bytes());
        out.push(0);
        out.extend_from_slice(&[0; 100]);
        out
    }

    #[test]
    fn all_that_came_is_reported_and_holes_are_too() {
        let mut feedback = Feedback::new(Some(5), 9);
        let mut seen = Vec::new();
        let mut expected = Vec::new();
        for round in 0..12_u64 {
            for n in 0..30_u64 {
                let seq = round * 30 + n;
                if seq % 7 != 3 {
                    assert!(feedback.take(&packet(seq as u16, (65_400 + seq) as u16), 1_000_000 + seq * 3_000));
                    expected.push((65_400 + seq) as u16);
                }
            }
            let mut out = Vec::new();
            feedback.write(&mut out);
            for it in compound(&out) {
                match it.unwrap() {
                    Packet::TransportCc(it) => {
                        seen.extend(it.statuses().filter(|s| s.arrival.is_some()).map(|s| s.seq));
                    }
                    Packet::ReceiverReport(it) => {
                        let block = it.blocks().next().unwrap();
                        assert_eq!(block.ssrc, 7_000);
                        assert!((30..45).contains(&block.fraction_lost), "one of seven: {}", block.fraction_lost);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!(seen, expected);
        let (received, expected) = feedback.totals();
        assert_eq!((received, expected), (309, 360));
    }
}
