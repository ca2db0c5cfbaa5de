//! The rates at which packets are sent and arrive.

/// Time of one bucket in microseconds.
const BUCKET: i64 = 50_000;
const BUCKETS: usize = 40;
/// Buckets that are looked at: 500 ms, and further back up to 2 s while there are too few packets.
const WINDOW: usize = 10;
const PACKETS: u32 = 20;
/// Buckets of the short window.
const SHORT: i64 = 4;
/// A receiver's clock that jumps by more begins anew.
const JUMP: i64 = 5_000_000;

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    bytes: u32,
    packets: u16,
    /// Last arrival in it, in microseconds since its begin.
    last: u16,
}

/// Time over which the rate of sending is averaged, in microseconds.
const SENDING: f64 = 300_000.0;

/// The rate at which packets that feedback tells of were sent, lost or not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sending {
    rate: f64,
    last: i64,
}

impl Sending {
    pub(super) fn on_packet(&mut self, sent: i64, size: u16) {
        let elapsed = (sent - self.last).max(0) as f64;
        self.last = self.last.max(sent);
        self.rate = self.rate * (-elapsed / SENDING).exp() + f64::from(size) * 8e6 / SENDING;
    }

    /// Bit/s at the time of the newest packet.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }
}

/// Bytes by time of arrival, in a ring of buckets: the window of a robust throughput estimator without keeping packets.
#[derive(Clone, Debug)]
pub(super) struct Throughput {
    buckets: [Bucket; BUCKETS],
    /// First and last arrival, and the number of the newest bucket.
    first: i64,
    last: i64,
    newest: i64,
    started: bool,
}

impl Throughput {
    pub(super) fn new() -> Self {
        Self { buckets: [Bucket::default(); BUCKETS], first: 0, last: 0, newest: 0, started: false }
    }

    pub(super) fn on_packet(&mut self, arrival: i64, size: u16) {
        let number = arrival.div_euclid(BUCKET);
        if !self.started || (arrival - self.last).abs() > JUMP {
            *self = Self { first: arrival, last: arrival, newest: number, started: true, ..Self::new() };
        }
        while self.newest < number {
            self.newest += 1;
            self.buckets[place(self.newest)] = Bucket::default();
        }
        if self.newest - number >= BUCKETS as i64 {
            return;
        }
        self.last = self.last.max(arrival);
        self.first = self.first.min(arrival);
        let bucket = &mut self.buckets[place(number)];
        bucket.bytes = bucket.bytes.saturating_add(u32::from(size));
        bucket.packets = bucket.packets.saturating_add(1);
        bucket.last = bucket.last.max((arrival - number * BUCKET) as u16);
    }

    /// Bit/s of the last 200 ms: rough, but of now.
    pub(super) fn recent(&self) -> Option<f64> {
        self.rate()?;
        let newest = self.last - self.newest * BUCKET;
        let bytes: u64 = (0..SHORT).map(|back| u64::from(self.buckets[place(self.newest - back)].bytes)).sum();
        Some(bytes as f64 * 8e6 / ((SHORT - 1) * BUCKET + newest.max(1)) as f64)
    }

    /// Bit/s; none before half a second of packets.
    pub(super) fn rate(&self) -> Option<f64> {
        if self.last - self.first < BUCKET * WINDOW as i64 {
            return None;
        }
        // The oldest bucket with packets is where time begins; its bytes came before that.
        let (mut bytes, mut packets, mut begin, mut since) = (0_u64, 0_u32, self.last, 0);
        for back in 0..BUCKETS as i64 {
            if back > WINDOW as i64 && packets >= PACKETS || (self.newest - back + 1) * BUCKET <= self.first {
                break;
            }
            let number = self.newest - back;
            let bucket = self.buckets[place(number)];
            if bucket.packets > 0 {
                begin = number * BUCKET + i64::from(bucket.last);
                since = bytes;
                bytes += u64::from(bucket.bytes);
                packets += u32::from(bucket.packets);
            }
        }
        let span = self.last - begin;
        (span > 0).then(|| since as f64 * 8e6 / span as f64)
    }
}

fn place(number: i64) -> usize {
    number.rem_euclid(BUCKETS as i64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_frames_is_found_within_a_tenth() {
        for fps in [5, 15, 30, 60] {
            let mut throughput = Throughput::new();
            assert_eq!(throughput.rate(), None);
            for n in 0..fps * 5 {
                for packet in 0..4 {
                    throughput.on_packet(7_000_000 + n * 1_000_000 / fps + packet * 500, 1000);
                }
            }
            let (rate, real) = (throughput.rate().unwrap(), (fps * 32_000) as f64);
            assert!((rate / real - 1.0).abs() < 0.1, "{fps}: {rate} of {real}");
        }
    }

    #[test]
    fn jumps_of_the_receivers_clock_begin_anew() {
        let mut throughput = Throughput::new();
        (0..100).for_each(|n| throughput.on_packet(n * 10_000, 1000));
        throughput.on_packet(i64::MAX / 4, 1000);
        assert_eq!(throughput.rate(), None);
        throughput.on_packet(0, 1000);
        assert_eq!(throughput.rate(), None);
    }
}
