//! Constants of the estimator, with the defaults of `spec/bridge.md` 4.10 and 8.

use std::time::Duration;

/// Limits and constants of [`super::Bwe`]. Rates are in bit/s.
#[derive(Clone, Debug)]
pub struct BweConfig {
    /// Estimate at the start; default 2,500,000 (`jmt.bwe.estimator.initial-bw`).
    pub initial: u64,
    /// The estimate is never lower; default 30,000 (`jmt.bwe.estimator.min-bw`).
    pub min: u64,
    /// The estimate is never higher; default 20,000,000 (`jmt.bwe.estimator.max-bw`).
    pub max: u64,
    /// [`super::Bwe::take_change`] tells of changes by more than this part; default 0.15 (`cc.bwe-change-threshold`).
    pub change: f64,
    /// Padding leaves this often; default 15 ms (`cc.padding-period`).
    pub padding_period: Duration,
    /// Padding fills up to this part of the estimate; default 1. From 0.7 on the estimate still can grow, for it may be 1.5 times what
    /// arrives, and the less is sent for nothing.
    pub padding_share: f64,
    /// Time of a probe cluster at least; default 15 ms.
    pub probe_duration: Duration,
    /// Probe packets leave at most this often; default 2 ms.
    pub probe_step: Duration,
    /// Packets of a probe cluster at least; default 5.
    pub probe_packets: u16,
    /// Packets of a probe cluster at most, so that a probe is no attack on a thin link; default 25.
    pub probe_max_packets: u16,
    /// Bytes of the packets that padding and probes are reckoned in; default 1200.
    pub padding_packet: u16,
    /// Feedback about a probe is waited for so long; default 1 s (then the next one may leave after `probe_interval`).
    pub probe_timeout: Duration,
    /// Rates of the first two probes, as multiples of the initial estimate; default 3 and 6.
    pub initial_probes: [f64; 2],
    /// Rate of each further probe, as a multiple of what the last one found; default 2.
    pub further_probe: f64,
    /// Further probes leave while the result is above this part of what was probed; default 0.7.
    pub further_threshold: f64,
    /// While more is wanted than the estimate allows, a probe leaves this often; default 5 s.
    pub probe_interval: Duration,
    /// So long after the last of several decreases, one probe looks whether the path just stood still; default 1 s.
    pub recovery: Duration,
    /// If the estimate fell below this part of what it was; default 0.66.
    pub recovery_below: f64,
    /// Its rate, as a part of what the estimate was; default 0.85.
    pub recovery_probe: f64,
    /// Nothing heard of what was sent for so long: the estimate falls; default 3 s.
    pub silence: Duration,
    /// By this factor, once a second while nothing is heard; default 0.8.
    pub silence_factor: f64,
}

impl Default for BweConfig {
    fn default() -> Self {
        Self {
            initial: 2_500_000,
            min: 30_000,
            max: 20_000_000,
            change: 0.15,
            padding_period: Duration::from_millis(15),
            padding_share: 1.0,
            probe_duration: Duration::from_millis(15),
            probe_step: Duration::from_millis(2),
            probe_packets: 5,
            probe_max_packets: 25,
            padding_packet: 1200,
            probe_timeout: Duration::from_secs(1),
            initial_probes: [3.0, 6.0],
            further_probe: 2.0,
            further_threshold: 0.7,
            probe_interval: Duration::from_secs(5),
            recovery: Duration::from_secs(1),
            recovery_below: 0.66,
            recovery_probe: 0.85,
            silence: Duration::from_secs(3),
            silence_factor: 0.8,
        }
    }
}
