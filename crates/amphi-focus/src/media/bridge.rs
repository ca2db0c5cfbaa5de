//! One bridge as the focus knows it: what it says in the brewery, what became of requests to it, and how loaded it is
//! (`spec/focus.md` 1.7, 6.1, 6.2).

use std::sync::Arc;
use std::time::Instant;

use amphi_jingle::ns;
use amphi_stanza::{FullJid, Stanza};

use super::config::MediaConfig;
use super::window::Window;

/// What a presence in the brewery says; what it leaves out stays as it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stats {
    pub(crate) stress: Option<f64>,
    pub(crate) participant_stress: Option<f64>,
    pub(crate) healthy: Option<bool>,
    pub(crate) drain: Option<bool>,
    pub(crate) graceful: Option<bool>,
    pub(crate) shutting_down: Option<bool>,
    pub(crate) version: Option<String>,
    pub(crate) release: Option<String>,
    pub(crate) region: Option<String>,
    pub(crate) relay_id: Option<String>,
}

const MAX_VALUE: usize = 256;

impl Stats {
    /// Reads `<stats/>`; `None` if there is none: this is no bridge then.
    pub(crate) fn read(presence: &Stanza) -> Option<Self> {
        let stats = presence.child("stats", ns::COLIBRI)?;
        let mut s = Self::default();
        for stat in stats.children().filter(|c| c.name() == "stat") {
            let (Some(name), Some(value)) = (stat.attr("name"), stat.attr("value")) else { continue };
            if value.len() > MAX_VALUE {
                continue;
            }
            let number = || value.parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0);
            let flag = || Some(value.eq_ignore_ascii_case("true"));
            let text = || Some(value.trim().to_owned()).filter(|v| !v.is_empty());
            match &*name {
                "stress_level" => s.stress = number(),
                "average_participant_stress" => s.participant_stress = number(),
                "healthy" => s.healthy = flag(),
                "drain" => s.drain = flag(),
                "graceful_shutdown" => s.graceful = flag(),
                "shutting_down" => s.shutting_down = flag(),
                "version" => s.version = text(),
                "release" => s.release = text(),
                "region" => s.region = text(),
                "relay_id" => s.relay_id = text(),
                _ => {}
            }
        }
        Some(s)
    }
}

/// How a bridge's health check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// The next one is due then.
    Due(Instant),
    /// Asked; the second time after the first was not answered.
    Asked { again: bool },
    /// Not answered; to be asked again then.
    Retry(Instant),
}

#[derive(Debug)]
pub(crate) struct Bridge {
    /// Occupant address in the brewery: where requests go.
    pub(crate) jid: FullJid,
    pub(crate) stress: f64,
    participant_stress: Option<f64>,
    pub(crate) version: Option<String>,
    release: Option<String>,
    pub(crate) region: Option<Arc<str>>,
    pub(crate) relay_id: Option<Arc<str>>,
    pub(crate) drain: bool,
    /// An operator wants nothing placed here.
    pub(crate) held: bool,
    pub(crate) graceful: bool,
    pub(crate) shutting_down: bool,
    pub(crate) healthy: Option<bool>,
    pub(crate) seen: Instant,
    operational: bool,
    failed_at: Option<Instant>,
    /// Endpoints that this focus has there.
    pub(crate) endpoints: u32,
    recent: Window,
    ice_failures: Window,
    failing_ice_until: Option<Instant>,
    pub(crate) check: Check,
    /// Relieved of endpoints at that time.
    pub(crate) relieved: Option<Instant>,
    /// Asked by clients for another session.
    pub(crate) restarts: u64,
    /// Endpoints moved away.
    pub(crate) moved: u64,
    /// Not seen since the connection to the brewery came back.
    pub(crate) stale: bool,
}

impl Bridge {
    pub(crate) fn new(now: Instant, jid: FullJid, config: &MediaConfig) -> Self {
        Self {
            jid,
            stress: 0.0,
            participant_stress: None,
            version: None,
            release: None,
            region: None,
            relay_id: None,
            // Until it says otherwise.
            drain: true,
            held: false,
            graceful: false,
            shutting_down: false,
            healthy: None,
            seen: now,
            operational: true,
            failed_at: None,
            endpoints: 0,
            recent: Window::new(config.rampup_interval),
            ice_failures: Window::new(config.ice_failures.interval),
            failing_ice_until: None,
            check: Check::Due(now + config.health.interval),
            relieved: None,
            restarts: 0,
            moved: 0,
            stale: false,
        }
    }

    pub(crate) fn nick(&self) -> &str {
        self.jid.nick()
    }

    /// Takes what a presence says. True if the bridge has just begun to shut down.
    pub(crate) fn update(&mut self, now: Instant, s: Stats) -> bool {
        self.seen = now;
        self.stale = false;
        if let Some(v) = s.stress {
            self.stress = v;
        }
        self.participant_stress = s.participant_stress.or(self.participant_stress);
        self.healthy = s.healthy.or(self.healthy);
        self.drain = s.drain.unwrap_or(self.drain);
        self.graceful |= s.graceful.unwrap_or(false);
        self.version = s.version.or_else(|| self.version.take());
        self.release = s.release.or_else(|| self.release.take());
        for (new, old) in [(s.region, &mut self.region), (s.relay_id, &mut self.relay_id)] {
            if let Some(v) = new
                && old.as_deref() != Some(&*v)
            {
                *old = Some(v.into());
            }
        }
        let begins = s.shutting_down == Some(true) && !self.shutting_down;
        self.shutting_down |= begins;
        begins
    }

    /// Version and release.
    pub(crate) fn full_version(&self) -> Option<String> {
        let version = self.version.as_ref()?;
        Some(self.release.as_ref().map_or_else(|| version.clone(), |r| format!("{version}-{r}")))
    }

    pub(crate) fn set_operational(&mut self, now: Instant, operational: bool) {
        self.operational = operational;
        if !operational {
            self.failed_at = Some(now);
        }
    }

    /// Whether it is well by its own account, however lately it failed.
    pub(crate) fn says_operational(&self) -> bool {
        self.operational
    }

    pub(crate) fn is_operational(&self, now: Instant, config: &MediaConfig) -> bool {
        self.operational && self.failed_at.is_none_or(|at| at + config.failure_reset <= now)
    }

    /// Reported stress, with endpoints that are too new to be in the report.
    pub(crate) fn corrected_stress(&self, now: Instant, config: &MediaConfig) -> f64 {
        let each = self.participant_stress.unwrap_or(config.average_participant_stress);
        let stress = self.stress + f64::from(self.recent.peek(now)) * each;
        if self.is_failing_ice(now) { stress.max(config.stress_threshold + 0.01) } else { stress }
    }

    pub(crate) fn is_overloaded(&self, now: Instant, config: &MediaConfig) -> bool {
        self.corrected_stress(now, config) >= config.stress_threshold
    }

    /// An endpoint is placed here.
    pub(crate) fn placed(&mut self, now: Instant) {
        self.endpoints += 1;
        self.recent.add(now, 1);
    }

    /// Endpoints are gone.
    pub(crate) fn removed(&mut self, n: u32) {
        self.endpoints -= n.min(self.endpoints);
    }

    /// A client could not connect.
    pub(crate) fn ice_failed(&mut self, now: Instant, config: &MediaConfig) {
        let c = &config.ice_failures;
        self.ice_failures.add(now, 1);
        let many = f64::from(self.ice_failures.count(now)) > f64::from(self.endpoints) * c.threshold;
        if c.enabled && self.endpoints >= c.min_endpoints && many {
            self.failing_ice_until = Some(now + c.timeout);
        }
    }

    pub(crate) fn is_failing_ice(&self, now: Instant) -> bool {
        self.failing_ice_until.is_some_and(|at| at > now)
    }

    /// Less loaded first: operational, then in graceful shutdown, then the rest; then by stress.
    pub(crate) fn rank(&self, now: Instant, config: &MediaConfig) -> (u8, f64) {
        let priority = match (self.is_operational(now, config), self.graceful) {
            (true, false) => 1,
            (true, true) => 2,
            (false, _) => 3,
        };
        (priority, self.corrected_stress(now, config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn stats(stats: &str) -> Stats {
        let xml = format!("<presence><stats xmlns='http://jitsi.org/protocol/colibri'>{stats}</stats></presence>");
        Stats::read(&Stanza::authored(xml.into())).unwrap()
    }

    #[test]
    fn what_is_left_out_stays_and_shutdown_is_for_good() {
        let now = Instant::now();
        let config = MediaConfig::default();
        let mut b = Bridge::new(now, FullJid::parse("a@b/c").unwrap(), &config);
        assert!(b.drain);
        b.update(
            now,
            stats("<stat name='drain' value='false'/><stat name='stress_level' value='0.5'/><stat name='version' value='1'/>"),
        );
        b.update(now, stats("<stat name='release' value='r'/><stat name='stress_level' value='NaN'/>"));
        assert_eq!((b.drain, b.stress, b.full_version().as_deref()), (false, 0.5, Some("1-r")));
        assert!(b.update(now, stats("<stat name='shutting_down' value='true'/>")));
        assert!(!b.update(now, stats("<stat name='shutting_down' value='true'/>")));
        b.update(now, stats("<stat name='shutting_down' value='false'/>"));
        assert!(b.shutting_down);
    }

    #[test]
    fn new_endpoints_count_until_they_are_reported() {
        let now = Instant::now();
        let config = MediaConfig::default();
        let mut b = Bridge::new(now, FullJid::parse("a@b/c").unwrap(), &config);
        (0..90).for_each(|_| b.placed(now));
        assert!(b.is_overloaded(now, &config));
        assert!(!b.is_overloaded(now + Duration::from_secs(20), &config));
        b.set_operational(now, false);
        b.set_operational(now, true);
        assert!(!b.is_operational(now, &config) && b.is_operational(now + config.failure_reset, &config));
    }
}
