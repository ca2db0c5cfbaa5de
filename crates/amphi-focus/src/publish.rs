//! What the focus says in rooms: conference properties and the size of the audience (`spec/focus.md` 1.4). Each update
//! goes to everybody in the room, so it becomes rarer as the room grows.

use std::time::{Duration, Instant};

use amphi_stanza::{XmlWriter, ns};

use crate::core::Core;
use crate::disco;
use crate::media::state::Published;
use crate::muc::Muc;

const ETHERPAD: &str = "http://jitsi.org/jitmeet/etherpad";

/// Least time between two updates in a conference of this many people.
pub(crate) fn interval(people: u32, max: Duration) -> Duration {
    let seconds = match people {
        0..=20 => 1,
        21..=100 => 2,
        101..=300 => 5,
        301..=1000 => 10,
        _ => return max,
    };
    Duration::from_secs(seconds).min(max)
}

/// When the next update of one room is due. The last change is always published: the trailing edge.
#[derive(Debug, Default)]
pub(crate) struct Publisher {
    sent: Option<(Instant, u32)>,
    due: Option<Instant>,
    /// Something else than the number is to be told.
    changed: bool,
}

impl Publisher {
    /// The number may have changed.
    pub(crate) fn want(&mut self, now: Instant, count: u32, interval: Duration) {
        match self.sent {
            _ if self.changed => {}
            Some((_, sent)) if sent == count => self.due = None,
            Some((at, _)) => self.due = Some((at + interval).max(now)),
            None => self.due = Some(now),
        }
    }

    /// Something else than the number changed. That is rare, and told soon.
    pub(crate) fn changed(&mut self, now: Instant) {
        let at = self.sent.map_or(now, |(at, _)| (at + Duration::from_secs(1)).max(now));
        self.due = Some(self.due.map_or(at, |d| d.min(at)));
        self.changed = true;
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|at| at <= now)
    }

    pub(crate) fn sent(&mut self, now: Instant, count: u32) {
        self.sent = Some((now, count));
        self.due = None;
        self.changed = false;
    }

    /// The last update may not have arrived.
    pub(crate) fn missed(&mut self) {
        self.sent = self.sent.map(|(at, _)| (at, u32::MAX));
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due
    }
}

/// Sends our presence to a room we are in. All properties are sent every time: clients replace the whole set.
pub(crate) fn presence(core: &mut Core, muc: &Muc, etherpad: bool, visitors: u32, media: Option<&Published>) {
    let mut w = XmlWriter::new();
    w.open_ns("presence", ns::CLIENT).attr("to", &muc.me);
    disco::caps(&mut w, &core.caps);
    if etherpad {
        w.open_ns("etherpad", ETHERPAD).text(muc.jid.node()).close();
    }
    w.open_ns("versions", ns::JITMEET);
    w.open("component").attr("name", "focus").text(env!("CARGO_PKG_VERSION")).close().close();
    w.open_ns("conference-properties", ns::FOCUS);
    let mut property = |key: &str, value: &dyn std::fmt::Display| {
        w.open("property").attr("key", key).attr("value", value).close();
    };
    property("support-terminate-restart", &true);
    if core.config.visitors_enabled {
        property("visitors-enabled", &true);
    }
    property("visitor-count", &visitors);
    if let Some(m) = media {
        property("bridge-count", &m.bridges);
        // Never taken back: clients read the list again at every presence and break when it is gone.
        property("visitor-codecs", &m.codecs);
        property("audio-limit-reached", &m.audio_limit);
        property("video-limit-reached", &m.video_limit);
    }
    w.close();
    if media.is_some_and(|m| m.no_bridge) {
        w.empty("bridgeNotAvailable", ns::FOCUS);
    }
    core.send(&muc.node, w);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_spaced_and_the_last_change_is_published() {
        let t = Instant::now();
        let s = Duration::from_secs(1);
        let mut p = Publisher::default();
        p.want(t, 1, s * 15);
        assert!(p.is_due(t));
        p.sent(t, 1);
        p.want(t + s, 2, s * 15);
        p.want(t + s * 2, 3, s * 15);
        assert!(!p.is_due(t + s * 14) && p.is_due(t + s * 15));
        // Back to what everybody knows: nothing to say.
        p.want(t + s * 3, 1, s * 15);
        assert_eq!(p.deadline(), None);
    }

    #[test]
    fn the_interval_grows_with_the_room_up_to_the_limit() {
        let max = Duration::from_secs(15);
        assert_eq!(interval(3, max), Duration::from_secs(1));
        assert_eq!(interval(50_000, max), max);
        assert_eq!(interval(500, Duration::from_secs(4)), Duration::from_secs(4));
    }
}
