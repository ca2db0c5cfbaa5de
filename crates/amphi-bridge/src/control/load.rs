//! How busy the bridge is (`spec/bridge.md` 1.4): the most used of its means, smoothed over some seconds, and what one more endpoint costs.
//! Measures nothing itself.

use std::time::{Duration, Instant};

use super::settings::LoadSettings;

/// What was measured since the last sample. Shares are from 0 to 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sample {
    /// The machine's time that was not idle, other machines' on the same host included.
    pub cpu: f64,
    /// The busiest shard's time.
    pub shard: f64,
    /// Memory in use.
    pub memory: f64,
    /// Bits sent so far.
    pub bits: u64,
    /// Packets sent so far.
    pub packets: u64,
    /// Local endpoints.
    pub endpoints: usize,
}

/// The load.
#[derive(Clone, Debug)]
pub struct Load {
    settings: LoadSettings,
    stress: f64,
    last: Option<(Instant, Sample)>,
    per_endpoint: f64,
}

/// Weight of what was is halved in so long.
const HALF_LIFE: Duration = Duration::from_secs(4);
/// With fewer endpoints the machine's own noise would be shared out among them.
const ENOUGH: usize = 100;

impl Load {
    /// At rest.
    pub fn new(settings: LoadSettings) -> Self {
        let per_endpoint = 1.0 / f64::from(settings.endpoints.max(1));
        Self { settings, stress: 0.0, last: None, per_endpoint }
    }

    /// 1 is full.
    pub fn stress(&self) -> f64 {
        self.stress
    }

    /// What the focus reckons with for an endpoint it has just placed: as configured, or as it is measured once there are enough.
    pub fn per_endpoint(&self) -> f64 {
        self.per_endpoint
    }

    /// Takes a sample.
    pub fn sample(&mut self, now: Instant, s: Sample) {
        let l = &self.settings;
        let mut used = (s.cpu / l.cpu).max(s.shard / l.cpu).max(s.endpoints as f64 / f64::from(l.endpoints.max(1)));
        if s.memory >= l.memory * 0.9 {
            // Memory in use says nothing of load until it gets short.
            used = used.max(s.memory / l.memory);
        }
        let Some((at, before)) = self.last.replace((now, s)) else {
            self.stress = used;
            return;
        };
        let passed = now.saturating_duration_since(at).as_secs_f64();
        if passed > 0.0 {
            let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / passed;
            if let Some(budget) = l.egress_bps.filter(|b| *b > 0) {
                used = used.max(rate(s.bits, before.bits) / budget as f64);
            }
            if let Some(budget) = l.egress_pps.filter(|b| *b > 0) {
                used = used.max(rate(s.packets, before.packets) / budget as f64);
            }
        }
        let keep = 0.5f64.powf(passed / HALF_LIFE.as_secs_f64());
        self.stress = self.stress * keep + used * (1.0 - keep);
        let configured = 1.0 / f64::from(l.endpoints.max(1));
        self.per_endpoint = match s.endpoints {
            n if n >= ENOUGH => (self.stress / n as f64).clamp(configured / 10.0, configured * 10.0),
            _ => configured,
        };
    }
}

/// Reads how long the machine was busy, and for how long at all, from the text of `/proc/stat`. Stolen time is busy.
pub fn cpu_times(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find(|l| l.starts_with("cpu "))?;
    let n: Vec<u64> = line.split_whitespace().skip(1).take(8).map_while(|f| f.parse().ok()).collect();
    let [user, nice, system, idle, iowait, irq, softirq, steal] = n[..] else { return None };
    let busy = user.wrapping_add(nice).wrapping_add(system).wrapping_add(irq).wrapping_add(softirq).wrapping_add(steal);
    Some((busy, busy.wrapping_add(idle).wrapping_add(iowait)))
}

/// Share of memory in use, from the text of `/proc/meminfo`.
pub fn memory_share(meminfo: &str) -> Option<f64> {
    let field = |name: &str| {
        let line = meminfo.lines().find(|l| l.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()
    };
    let (total, available) = (field("MemTotal:")?, field("MemAvailable:")?);
    (total > 0).then(|| 1.0 - available.min(total) as f64 / total as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(settings: LoadSettings) -> Load {
        Load::new(settings)
    }

    #[test]
    fn stress_is_the_most_used_of_all_means() {
        let now = Instant::now();
        let mut l = load(LoadSettings { egress_bps: Some(1_000_000), ..LoadSettings::default() });
        l.sample(now, Sample { cpu: 0.45, ..Sample::default() });
        assert!((l.stress() - 0.5).abs() < 1e-9);
        l.sample(now + Duration::from_secs(100), Sample { cpu: 0.1, bits: 90_000_000, ..Sample::default() });
        assert!((l.stress() - 0.9).abs() < 0.01, "{}", l.stress());
        l.sample(now + Duration::from_secs(200), Sample { endpoints: 5000, bits: 90_000_000, ..Sample::default() });
        assert!((l.stress() - 1.0).abs() < 0.01, "{}", l.stress());
    }

    #[test]
    fn a_short_peak_is_smoothed() {
        let now = Instant::now();
        let mut l = load(LoadSettings::default());
        l.sample(now, Sample::default());
        l.sample(now + Duration::from_secs(2), Sample { cpu: 0.9, ..Sample::default() });
        assert!(l.stress() > 0.2 && l.stress() < 0.4, "{}", l.stress());
    }

    #[test]
    fn an_endpoint_costs_what_is_measured_once_there_are_enough() {
        let now = Instant::now();
        let mut l = load(LoadSettings::default());
        assert!((l.per_endpoint() - 0.0002).abs() < 1e-9);
        l.sample(now, Sample { cpu: 0.9, endpoints: 99, ..Sample::default() });
        assert!((l.per_endpoint() - 0.0002).abs() < 1e-9);
        l.sample(now + Duration::from_secs(60), Sample { cpu: 0.45, endpoints: 500, ..Sample::default() });
        assert!((l.per_endpoint() - 0.001).abs() < 1e-5, "{}", l.per_endpoint());
    }

    #[test]
    fn the_system_is_read() {
        let stat = "cpu  10 1 5 100 4 1 1 2 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(cpu_times(stat), Some((20, 124)));
        assert_eq!(cpu_times("cpu  1 2\n"), None);
        let m = memory_share("MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  250 kB\n").unwrap();
        assert!((m - 0.75).abs() < 1e-9);
    }
}
