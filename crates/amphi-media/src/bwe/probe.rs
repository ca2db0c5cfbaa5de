//! Clusters of packets that are sent faster than the estimate, to see whether more would pass.

use super::BweConfig;

/// A cluster on its way.
#[derive(Clone, Copy, Debug)]
struct Cluster {
    rate: f64,
    packets: u16,
    /// Time between two packets in microseconds.
    spacing: f64,
    /// Send times in microseconds: of the first call, of the last so far.
    from: i64,
    to: i64,
    /// Packets that were handed out.
    handed: u16,
    seen: Seen,
}

/// What feedback says of it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    bytes: u32,
    packets: u16,
    first_sent: i64,
    last_sent: i64,
    first_arrival: i64,
    last_arrival: i64,
    /// Sizes of the packet sent last and of the one that arrived first: they are outside of the intervals.
    last_size: u16,
    first_size: u16,
    /// Something sent after the cluster was reported.
    passed: bool,
}

/// Packets that left this much after padding was handed out still belong to it.
const SLACK: i64 = 1_000;
/// Part of the cluster that must arrive.
const PART: f64 = 0.8;
/// A rate of arrival so much higher than that of sending is a mistake.
const MAX_RATIO: f64 = 2.0;
/// Below this part of the sending rate, the path was full, and this much of it can be used.
const FULL: f64 = 0.9;
const UTILIZATION: f64 = 0.95;

/// What a cluster found out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Finding {
    /// Bit/s that pass.
    pub(super) rate: f64,
    /// Whether the path was full, so that more does not pass.
    pub(super) full: bool,
}

/// Plans clusters and judges them.
#[derive(Clone, Debug)]
pub(super) struct Prober {
    cluster: Option<Cluster>,
    /// When the next one may leave, and at which rate if that is known.
    next: Option<i64>,
    wanted: Option<f64>,
    /// Initial probes that left.
    initial: u8,
    /// Decreases that may have been a path that stood still for a moment: the estimate before the first, the time of the last.
    fall: Option<(f64, i64)>,
}

impl Prober {
    pub(super) fn new() -> Self {
        Self { cluster: None, next: None, wanted: None, initial: 0, fall: None }
    }

    /// The demand is known: the first cluster may leave.
    pub(super) fn arm(&mut self, now: i64) {
        self.next.get_or_insert(now);
    }

    /// When [`Self::poll`] has something next; `useful`: more bandwidth would be used.
    pub(super) fn timeout(&self, config: &BweConfig, useful: bool) -> Option<i64> {
        match &self.cluster {
            Some(cluster) if !cluster.sent() => Some(cluster.due(config)),
            Some(cluster) => Some(cluster.to + config.probe_timeout.as_micros() as i64),
            None if useful => {
                let recovery = self.fall.map(|(_, last)| last + config.recovery.as_micros() as i64);
                self.next.map(|next| recovery.map_or(next, |at| next.min(at)))
            }
            None => None,
        }
    }

    /// Starts a cluster if it is time: `estimate` is the present one, `ceiling` what is the most that makes sense.
    pub(super) fn plan(&mut self, config: &BweConfig, now: i64, estimate: f64, ceiling: f64) {
        if self.cluster.is_some() || self.next.is_none() {
            return;
        }
        if let Some((before, last)) = self.fall
            && now - last >= config.recovery.as_micros() as i64
        {
            self.fall = None;
            if estimate < config.recovery_below * before {
                (self.wanted, self.next) = (Some(config.recovery_probe * before), Some(now));
            }
        }
        if self.next.is_none_or(|next| now < next) {
            return;
        }
        self.next = Some(now + config.probe_interval.as_micros() as i64);
        let initial = config.initial_probes.get(usize::from(self.initial)).map(|factor| factor * config.initial as f64);
        let rate = self.wanted.take().or(initial).unwrap_or(config.further_probe * estimate);
        self.initial = self.initial.saturating_add(1);
        let rate = rate.min(ceiling);
        if rate <= estimate * 1.05 {
            return;
        }
        let packet = f64::from(config.padding_packet.max(1)) * 8.0;
        let packets = (rate * config.probe_duration.as_secs_f64() / packet).ceil() as u16;
        self.cluster = Some(Cluster {
            rate,
            packets: packets.max(config.probe_packets).min(config.probe_max_packets).max(1),
            spacing: packet * 1e6 / rate,
            from: now,
            to: now,
            handed: 0,
            seen: Seen {
                bytes: 0,
                packets: 0,
                first_sent: i64::MAX,
                last_sent: i64::MIN,
                first_arrival: i64::MAX,
                last_arrival: i64::MIN,
                last_size: 0,
                first_size: 0,
                passed: false,
            },
        });
    }

    /// Packets of the cluster that are due now.
    pub(super) fn poll(&mut self, config: &BweConfig, now: i64) -> Option<u16> {
        let cluster = self.cluster.as_mut().filter(|cluster| !cluster.sent() && now >= cluster.due(config))?;
        let until = ((now - cluster.from) as f64 / cluster.spacing) as i64 + 1;
        let until = until.clamp(0, i64::from(cluster.packets)) as u16;
        let due = until.saturating_sub(cluster.handed);
        (cluster.handed, cluster.to) = (cluster.handed.max(until), now);
        (due > 0).then_some(due)
    }

    /// Feedback about a packet.
    pub(super) fn on_packet(&mut self, sent: i64, size: u16, arrival: Option<i64>) {
        let Some(cluster) = &mut self.cluster else { return };
        if sent < cluster.from {
            return;
        }
        let seen = &mut cluster.seen;
        if sent > cluster.to + SLACK {
            seen.passed |= cluster.handed >= cluster.packets;
            return;
        }
        let Some(arrival) = arrival else { return };
        seen.bytes += u32::from(size);
        seen.packets = seen.packets.saturating_add(1);
        seen.first_sent = seen.first_sent.min(sent);
        if sent >= seen.last_sent {
            (seen.last_sent, seen.last_size) = (sent, size);
        }
        if arrival < seen.first_arrival {
            (seen.first_arrival, seen.first_size) = (arrival, size);
        }
        seen.last_arrival = seen.last_arrival.max(arrival);
    }

    /// What the cluster found, once it is over; plans the next.
    pub(super) fn judge(&mut self, config: &BweConfig, now: i64) -> Option<Finding> {
        let cluster = self.cluster.as_ref().filter(|cluster| cluster.sent())?;
        let all = cluster.seen.packets >= cluster.packets;
        let over = now >= cluster.to + config.probe_timeout.as_micros() as i64;
        if !all && !cluster.seen.passed && !over {
            return None;
        }
        let finding = cluster.finding();
        let probed = cluster.rate;
        self.cluster = None;
        if let Some(finding) = finding.filter(|finding| finding.rate > config.further_threshold * probed) {
            let further = (usize::from(self.initial) >= config.initial_probes.len())
                .then_some(config.further_probe * finding.rate);
            (self.wanted, self.next) = (further, Some(now));
        } else if usize::from(self.initial) < config.initial_probes.len() {
            // The first one did not pass, so the second would not.
            self.initial = config.initial_probes.len() as u8;
        }
        finding
    }

    /// A decrease of the `estimate`: what was planned is void, and there is some rest, but for one probe.
    pub(super) fn on_decrease(&mut self, config: &BweConfig, now: i64, estimate: f64) {
        self.wanted = None;
        self.fall = Some((self.fall.map_or(estimate, |(before, _)| before.max(estimate)), now));
        if self.next.is_some() {
            self.next = Some(now + config.probe_interval.as_micros() as i64);
        }
    }
}

impl Cluster {
    fn sent(&self) -> bool {
        self.handed >= self.packets
    }

    /// When the next packet is due; not before a step after those that left last, so that timers may be coarse.
    fn due(&self, config: &BweConfig) -> i64 {
        let step = if self.handed == 0 { 0 } else { config.probe_step.as_micros() as i64 };
        (self.to + step).max(self.from + (f64::from(self.handed) * self.spacing).ceil() as i64)
    }

    fn finding(&self) -> Option<Finding> {
        let seen = &self.seen;
        if f64::from(seen.packets) < PART * f64::from(self.packets) {
            return None;
        }
        let rate = |bytes: u32, interval: i64| f64::from(bytes) * 8e6 / interval as f64;
        let (send, arrive) = (seen.last_sent - seen.first_sent, seen.last_arrival - seen.first_arrival);
        if arrive <= 0 || arrive > 1_000_000 || send > 1_000_000 {
            return None;
        }
        let received = rate(seen.bytes - u32::from(seen.first_size), arrive);
        // Sent in one burst, the path alone spaces the packets, and what was planned is what was tried.
        let sent = if send < 1_000 { self.rate } else { rate(seen.bytes - u32::from(seen.last_size), send) };
        if send >= 1_000 && received > MAX_RATIO * sent {
            return None;
        }
        let full = received < FULL * sent;
        Some(Finding { rate: if full { UTILIZATION * received } else { received.min(sent).min(self.rate) }, full })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: i64 = 2_000;

    /// Sends what the prober wants over a path of `capacity`; returns cluster rates and findings.
    fn run(prober: &mut Prober, config: &BweConfig, seconds: i64, capacity: f64, ceiling: f64) -> Vec<(f64, f64)> {
        let (mut found, mut estimate, mut free) = (Vec::new(), config.initial as f64, 0.0_f64);
        let mut arrivals = Vec::new();
        prober.arm(0);
        for now in (0..seconds * 1_000_000).step_by(STEP as usize) {
            prober.plan(config, now, estimate, ceiling);
            if let Some(packets) = prober.poll(config, now) {
                for _ in 0..packets {
                    let size = u32::from(config.padding_packet);
                    free = free.max(now as f64) + f64::from(size) * 8e6 / capacity;
                    arrivals.push((now, size as u16, free as i64 + 20_000));
                }
            }
            let told: Vec<_> = arrivals.extract_if(.., |packet| packet.2 + 20_000 <= now).collect();
            for (sent, size, arrival) in told {
                prober.on_packet(sent, size, Some(arrival));
            }
            let probed = prober.cluster.as_ref().map(|cluster| cluster.rate);
            if let Some(finding) = prober.judge(config, now) {
                estimate = finding.rate.max(if finding.full { 0.0 } else { estimate });
                found.push((probed.unwrap().round(), estimate));
            }
        }
        found
    }

    #[test]
    fn initial_probes_at_3_and_6_times_then_twice_what_was_found_4_10() {
        let config = BweConfig { max: 100_000_000, probe_max_packets: 1000, ..BweConfig::default() };
        let found = run(&mut Prober::new(), &config, 2, 1e9, 100e6);
        assert_eq!(found[..2].iter().map(|found| found.0).collect::<Vec<_>>(), [7_500_000.0, 15_000_000.0]);
        assert!((found[2].0 / 30e6 - 1.0).abs() < 0.2 && found[3].0 > 40e6, "{found:?}");
    }

    #[test]
    fn a_thin_path_is_found_by_the_first_probe_and_ends_the_initial_ones_4_10() {
        let config = BweConfig::default();
        let found = run(&mut Prober::new(), &config, 2, 1e6, 20e6);
        assert_eq!(found.len(), 1);
        assert!((0.8e6..1.05e6).contains(&found[0].1), "{found:?}");
    }

    #[test]
    fn probes_do_not_go_beyond_what_would_be_used() {
        let config = BweConfig::default();
        let found = run(&mut Prober::new(), &config, 8, 1e9, 4e6);
        assert!(!found.is_empty() && found.iter().all(|found| found.0 <= 4e6), "{found:?}");
        assert!(run(&mut Prober::new(), &config, 8, 1e9, 2e6).is_empty(), "nothing to gain");
    }

    #[test]
    fn a_cluster_takes_15_ms_and_at_least_five_packets_4_10() {
        let config = BweConfig::default();
        let cluster = |rate: f64| {
            let mut prober = Prober::new();
            prober.arm(0);
            prober.wanted = Some(rate);
            prober.plan(&config, 0, rate / 2.0, 20e6);
            let steps = (0..200_000).step_by(STEP as usize);
            let steps: Vec<_> = steps.filter_map(|now| prober.poll(&config, now).map(|due| (now, due))).collect();
            (steps.iter().map(|step| step.1).sum::<u16>(), steps.last().unwrap().0 / 1000)
        };
        assert_eq!(cluster(7.5e6), (12, 16), "12 packets of 1200 bytes");
        assert_eq!(cluster(800e3), (5, 48), "12 ms between two packets");
        assert_eq!(cluster(20e6), (25, 12), "no more than 25");
    }

    #[test]
    fn a_lost_cluster_is_given_up_after_a_second_4_10() {
        let (config, mut prober) = (BweConfig::default(), Prober::new());
        prober.arm(0);
        prober.plan(&config, 0, 2.5e6, 20e6);
        (0..20_000).step_by(STEP as usize).for_each(|now| _ = prober.poll(&config, now));
        assert!(prober.cluster.is_some() && prober.judge(&config, 900_000).is_none());
        assert!(prober.judge(&config, 1_100_000).is_none() && prober.cluster.is_none());
        assert_eq!(prober.timeout(&config, true), Some(5_000_000));
    }
}
