//! Estimate of the bandwidth towards a receiver: delay, loss, probing (`spec/bridge.md` 4.10).
//!
//! Send-side congestion control after Google's: packets are grouped by send time, the trend of their delay drives an AIMD rate, a loss model
//! bounds it, probes lift it. One [`Bwe`] per receiver; it works when feedback comes and when [`Bwe::poll_timeout`] passes, and has no part
//! in sending ordinary packets. There is no pacer and no congestion window.

mod config;

pub use config::BweConfig;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::send::Acked;

/// What the allocator makes of the estimate: it decides whether more bandwidth is of any use, thus about padding and probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Rate of the chosen layers in bit/s.
    pub target: u64,
    /// Rate of the ideal layers in bit/s; above `target` if some source is below its ideal.
    pub ideal: u64,
}

/// What to send now on top of media: retransmissions of recent packets or padding-only packets, all with transport-wide numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding {
    /// Bytes to send, as they are on the wire. What is left over below a packet's size comes again with the next call if not sent.
    pub bytes: u32,
    /// In at least so many packets.
    pub packets: u16,
    /// Whether it belongs to a probe cluster (then do not skip it) or only fills what media leaves unused.
    pub probe: bool,
}

/// Bandwidth estimate towards one receiver.
#[derive(Debug)]
pub struct Bwe {
    config: Arc<BweConfig>,
    rtt: Option<Duration>,
    estimate: u64,
}

impl Bwe {
    /// At the configured initial estimate.
    pub fn new(now: Instant, config: Arc<BweConfig>) -> Self {
        let _ = now;
        Self { rtt: None, estimate: config.initial, config }
    }

    /// Transport-wide feedback came: packets in the order of their numbers, from [`crate::send::SendHistory::resolve`].
    pub fn on_feedback(&mut self, now: Instant, packets: impl Iterator<Item = Acked>) {
        let _ = (now, packets);
    }

    /// A receiver report told a round trip.
    pub fn on_rtt(&mut self, now: Instant, rtt: Duration) {
        let _ = now;
        self.rtt = Some(rtt);
    }

    /// A receiver report told the part of packets lost, in 1/256. It counts only while there is no transport-wide feedback.
    pub fn on_loss(&mut self, now: Instant, fraction_lost: u8) {
        let _ = (now, fraction_lost);
    }

    /// The allocator chose other layers, or their rates changed.
    pub fn set_demand(&mut self, now: Instant, demand: Demand) {
        let _ = (now, demand);
    }

    /// The estimate in bit/s.
    pub fn estimate(&self) -> u64 {
        self.estimate
    }

    /// The estimate, if it moved by more than [`BweConfig::change`] since this told it last.
    pub fn take_change(&mut self) -> Option<u64> {
        None
    }

    /// Smoothed round trip, if known.
    pub fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// When [`Self::poll`] wants to be called next. None for a receiver at rest: its media needs no timer.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let _ = &self.config;
        None
    }

    /// Does what time brings. `last_sent` is when the last packet with a transport-wide number left. What it returns is to be sent at once.
    pub fn poll(&mut self, now: Instant, last_sent: Option<Instant>) -> Option<Padding> {
        let _ = (now, last_sent);
        None
    }
}
