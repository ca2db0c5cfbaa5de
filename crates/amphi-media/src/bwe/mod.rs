//! Estimate of the bandwidth towards a receiver: delay, loss, probing (`spec/bridge.md` 4.10).
//!
//! Send-side congestion control after Google's: packets are grouped by send time, the trend of their delay drives an AIMD rate, a loss model
//! bounds it, probes lift it. One [`Bwe`] per receiver; it works when feedback comes and when [`Bwe::poll_timeout`] passes, and has no part
//! in sending ordinary packets. There is no pacer and no congestion window.

mod aimd;
mod config;
mod delay;
mod loss;
mod probe;
#[cfg(test)]
mod simulation;
mod throughput;

pub use config::BweConfig;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::send::Acked;
use aimd::Aimd;
use delay::DelayTrend;
use loss::LossModel;
use probe::Prober;
use throughput::{Sending, Throughput};

/// What the allocator makes of the estimate: it decides whether more bandwidth is of any use, thus about padding and probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Rate of the chosen layers in bit/s.
    pub target: u64,
    /// Rate of the ideal layers in bit/s; above `target` if some source is below its ideal.
    pub ideal: u64,
}

/// What to send now on top of media: retransmissions of recent packets or padding-only packets, all with transport-wide numbers. Packets of
/// about [`BweConfig::padding_packet`] bytes are meant; `packets` of them, and more only if they are so small that `bytes` is not reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// At least so many bytes, as they are on the wire: a sixth less than `packets` full ones, so that not one too many leaves for it.
    pub bytes: u32,
    /// So many packets.
    pub packets: u16,
    /// Whether it belongs to a probe cluster (then do not skip it) or only fills what media leaves unused.
    pub probe: bool,
}

/// Below this part of the estimate little is sent.
const IDLE: f64 = 0.65;
/// So much of what is sent is all of it, as far as can be measured.
const ALL: f64 = 0.85;

/// Feedback without transport-wide numbers is trusted only when there were none for so long.
const REPORTS_AFTER: i64 = 2_000_000;

/// A round trip that was told longer ago says nothing about the next.
const RTT_AGE: i64 = 10_000_000;

/// Bandwidth estimate towards one receiver.
#[derive(Clone, Debug)]
pub struct Bwe {
    config: Arc<BweConfig>,
    start: Instant,
    trend: DelayTrend,
    throughput: Throughput,
    sending: Sending,
    aimd: Aimd,
    loss: LossModel,
    prober: Prober,
    rtt: Option<Duration>,
    rtt_told: Option<i64>,
    demand: Demand,
    estimate: f64,
    told: f64,
    /// Microseconds since the start.
    heard: Option<i64>,
    silence_checked: i64,
    padded: i64,
    /// Bytes of padding that were not handed out yet.
    owed: f64,
    /// Bytes that were sent faster than the estimate: a queue holds them somewhere. Reckoned while padding may be sent.
    ahead: f64,
    ahead_at: i64,
}

impl Bwe {
    /// At the configured initial estimate.
    pub fn new(now: Instant, config: Arc<BweConfig>) -> Self {
        let (initial, min, max) = (config.initial as f64, config.min as f64, config.max as f64);
        let initial = initial.clamp(min, max.max(min));
        Self {
            start: now,
            trend: DelayTrend::new(),
            throughput: Throughput::new(),
            sending: Sending::default(),
            aimd: Aimd::new(initial, min, max.max(min)),
            loss: LossModel::new(initial),
            prober: Prober::new(),
            rtt: None,
            rtt_told: None,
            demand: Demand::default(),
            estimate: initial,
            told: initial,
            heard: None,
            silence_checked: 0,
            padded: 0,
            owed: 0.0,
            ahead: 0.0,
            ahead_at: 0,
            config,
        }
    }

    /// Transport-wide feedback came: packets in the order of their numbers, from [`crate::send::SendHistory::resolve`].
    pub fn on_feedback(&mut self, now: Instant, packets: impl Iterator<Item = Acked>) {
        let clock = self.clock(now);
        let (mut any, mut newest) = (false, i64::MIN);
        for packet in packets {
            any = true;
            let sent = self.clock(packet.sent);
            newest = newest.max(sent);
            let arrival = packet.arrival.map(|arrival| arrival.min(i64::MAX as u64 / 4) as i64);
            if !packet.was_lost {
                self.sending.on_packet(sent, packet.size);
            }
            self.loss.on_packet(sent, packet.size, arrival.is_none(), packet.was_lost);
            self.prober.on_packet(sent, packet.size, arrival);
            if let Some(arrival) = arrival {
                self.throughput.on_packet(arrival, packet.size);
                self.trend.on_packet(clock, sent, arrival);
            }
        }
        if !any {
            return;
        }
        self.heard = Some(clock);
        // Feedback is a round trip too, longer by the time for which it was collected; good until a report tells the real one.
        if self.rtt.is_none() && clock > newest {
            self.rtt = Some(Duration::from_micros((clock - newest) as u64));
        }
        let arriving = self.throughput.rate();
        // When little is sent, little arrives: that says nothing about what the path could carry.
        let idle = self.sending.rate() < IDLE * self.estimate;
        let limits = !idle || arriving.is_none_or(|arriving| arriving < ALL * self.sending.rate());
        let sudden = self.trend.take_sudden() && limits;
        if sudden && let Some(arriving) = self.throughput.recent() {
            self.aimd.update(clock, delay::Usage::Over, Some(arriving), self.rtt);
            self.prober.on_decrease(&self.config, clock, self.estimate);
        }
        let usage = Some(self.trend.usage()).filter(|usage| *usage != delay::Usage::Over || limits);
        if usage.is_some_and(|usage| self.aimd.update(clock, usage, arriving, self.rtt)) {
            self.prober.on_decrease(&self.config, clock, self.estimate);
        }
        if let Some(finding) = self.prober.judge(&self.config, clock) {
            self.on_finding(clock, finding);
        }
        self.estimate = self
            .loss
            .update(clock, self.aimd.rate(), arriving, idle)
            .clamp(self.config.min as f64, self.config.max as f64);
    }

    /// A probe below the estimate says nothing against it unless the path was full.
    fn on_finding(&mut self, clock: i64, finding: probe::Finding) {
        let overused = self.trend.usage() == delay::Usage::Over;
        if finding.full && finding.rate < self.aimd.rate() || finding.rate > self.aimd.rate() && !overused {
            self.aimd.set(clock, finding.rate);
            if finding.rate > self.estimate {
                self.loss.set(self.aimd.rate());
            }
        }
    }

    /// A receiver report told a round trip. What was known before counts for seven eighths, unless it is old.
    pub fn on_rtt(&mut self, now: Instant, rtt: Duration) {
        let clock = self.clock(now);
        let recent = self.rtt_told.replace(clock).is_some_and(|told| clock - told < RTT_AGE);
        self.rtt = Some(self.rtt.filter(|_| recent).map_or(rtt, |before| (before * 7 + rtt) / 8));
    }

    /// A receiver report told the part of packets lost, in 1/256. It counts only while there is no transport-wide feedback: below 2 % the
    /// estimate grows by 8 %, above 10 % it falls by half of the loss.
    pub fn on_loss(&mut self, now: Instant, fraction_lost: u8) {
        let clock = self.clock(now);
        if self.heard.is_some_and(|heard| clock - heard < REPORTS_AFTER) {
            return;
        }
        let lost = f64::from(fraction_lost) / 256.0;
        let factor = match lost {
            lost if lost < 0.02 => 1.08,
            lost if lost > 0.1 => 1.0 - lost / 2.0,
            _ => 1.0,
        };
        self.force(clock, self.estimate * factor);
    }

    /// The allocator chose other layers, or their rates changed.
    pub fn set_demand(&mut self, now: Instant, demand: Demand) {
        let clock = self.clock(now);
        if demand.ideal > 0 {
            self.prober.arm(clock);
        }
        if self.padding_rate() == 0.0 {
            (self.padded, self.owed) = (clock, 0.0);
        }
        self.demand = demand;
    }

    /// A packet with a transport-wide number leaves.
    #[inline]
    pub fn on_sent(&mut self, now: Instant, bytes: usize) {
        if self.is_useful() {
            self.catch_up(self.clock(now));
            self.ahead += bytes as f64;
        }
    }

    /// The estimate in bit/s.
    pub fn estimate(&self) -> u64 {
        self.estimate as u64
    }

    /// The estimate, if it moved by more than [`BweConfig::change`] since this told it last.
    pub fn take_change(&mut self) -> Option<u64> {
        if (self.estimate - self.told).abs() <= self.config.change * self.told {
            return None;
        }
        self.told = self.estimate;
        Some(self.estimate())
    }

    /// The rate at which packets arrive at the receiver in bit/s, once there is half a second of them.
    pub fn arriving(&self) -> Option<u64> {
        self.throughput.rate().map(|rate| rate as u64)
    }

    /// Whether loss, and not delay, limits the estimate.
    pub fn is_loss_limited(&self) -> bool {
        self.loss.is_limiting()
    }

    /// Smoothed round trip, if known.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// When [`Self::poll`] wants to be called next. A receiver with all that it wants has one check in [`BweConfig::silence`], and none
    /// before its first feedback.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let silence = self.heard.map(|heard| heard.max(self.silence_checked) + self.config.silence.as_micros() as i64);
        let probe = self.prober.timeout(&self.config, self.is_useful());
        let padding = (self.padding_rate() > 0.0).then(|| self.padded + self.config.padding_period.as_micros() as i64);
        let next = [silence, probe, padding].into_iter().flatten().min()?;
        Some(self.start + Duration::from_micros(next.max(0) as u64))
    }

    /// Does what time brings. `last_sent` is when the last packet with a transport-wide number left. What it returns is to be sent at once.
    pub fn poll(&mut self, now: Instant, last_sent: Option<Instant>) -> Option<Padding> {
        let clock = self.clock(now);
        self.check_silence(clock, last_sent.map(|sent| self.clock(sent)));
        if self.is_useful() {
            let ceiling = (2 * self.demand.ideal.min(self.config.max)).min(self.config.max) as f64;
            self.prober.plan(&self.config, clock, self.estimate, ceiling);
        }
        if let Some(finding) = self.prober.judge(&self.config, clock) {
            self.on_finding(clock, finding);
        }
        if let Some(packets) = self.prober.poll(&self.config, clock) {
            return Some(self.padding(packets, true));
        }
        self.pad(clock)
    }

    /// Bandwidth above the estimate would be used.
    fn is_useful(&self) -> bool {
        self.demand.ideal as f64 > self.estimate
    }

    /// Bit/s of padding (`spec/bridge.md` 4.10 "Padding").
    fn padding_rate(&self) -> f64 {
        let (target, ideal) = (self.demand.target as f64, self.demand.ideal as f64);
        if ideal <= target || ideal <= self.estimate {
            return 0.0;
        }
        (ideal - target).min(self.config.padding_share * self.estimate - target).max(0.0)
    }

    fn pad(&mut self, clock: i64) -> Option<Padding> {
        let rate = self.padding_rate();
        let period = self.config.padding_period.as_micros() as i64;
        let elapsed = clock - self.padded;
        if rate == 0.0 || elapsed < period {
            return None;
        }
        self.padded = clock;
        // After a burst, a key picture most often, padding would keep the queue full and the repair of what it dropped out.
        self.catch_up(clock);
        if self.ahead > self.estimate / 8.0 * period as f64 / 1e6 {
            self.owed = 0.0;
            return None;
        }
        // Late calls are not made up for beyond a few periods: it would be a burst.
        self.owed += rate / 8.0 * elapsed.min(4 * period) as f64 / 1e6;
        let packet = f64::from(self.config.padding_packet.max(1));
        let packets = (self.owed / packet) as u16;
        self.owed -= f64::from(packets) * packet;
        (packets > 0).then(|| self.padding(packets, false))
    }

    fn catch_up(&mut self, clock: i64) {
        let passed = (clock - self.ahead_at).max(0) as f64 / 1e6;
        (self.ahead, self.ahead_at) = ((self.ahead - self.estimate / 8.0 * passed).max(0.0), clock);
    }

    fn padding(&self, packets: u16, probe: bool) -> Padding {
        let packet = u32::from(self.config.padding_packet);
        Padding { bytes: u32::from(packets) * (packet - packet / 6), packets, probe }
    }

    /// Something was sent and nothing is heard: the estimate falls step by step.
    fn check_silence(&mut self, clock: i64, last_sent: Option<i64>) {
        let Some(heard) = self.heard else { return };
        let limit = self.config.silence.as_micros() as i64;
        if clock < heard.max(self.silence_checked) + limit {
            return;
        }
        if last_sent.is_some_and(|sent| sent > heard) {
            // From the second time on once a second.
            self.silence_checked = clock + 1_000_000 - limit;
            self.force(clock, self.estimate * self.config.silence_factor);
        } else {
            self.silence_checked = clock;
        }
    }

    fn force(&mut self, clock: i64, rate: f64) {
        self.aimd.set(clock, rate);
        self.loss.set(self.aimd.rate());
        self.estimate = self.aimd.rate();
    }

    fn clock(&self, at: Instant) -> i64 {
        at.saturating_duration_since(self.start).as_micros() as i64
    }
}
