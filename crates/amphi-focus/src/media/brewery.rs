//! The room where bridges are found (`spec/focus.md` 1.7), and their health (6.3). What happens to conferences when a
//! bridge goes is said in one place: all that are on it invite again.

use std::sync::Arc;
use std::time::Instant;

use amphi_jingle::ns as jns;
use amphi_stanza::{BareJid, FullJid, Stanza, XmlWriter, ns};

use super::bridge::{Bridge, Check, Stats};
use super::react::Reply;
use super::state::MediaPurpose;
use crate::{Event, Focus, disco};

/// How far the entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    Out,
    Entering,
    In,
}

#[derive(Debug)]
pub(crate) struct Brewery {
    pub(crate) room: Option<BareJid>,
    entry: Entry,
    /// When the entry is given up, or tried again.
    retry_at: Option<Instant>,
}

impl Brewery {
    pub(crate) fn new(room: Option<&str>) -> Self {
        Self { room: room.and_then(|r| BareJid::parse(r).ok()), entry: Entry::Out, retry_at: None }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }
}

impl Focus {
    /// The connection over which bridges are reached is up. `resumed`: nothing was lost.
    pub(crate) fn bridges_connected(&mut self, now: Instant, resumed: bool) {
        if self.core.media.brewery.room.is_none() || resumed {
            return;
        }
        // Bridges serve on without us. Those that are not there any more are gone when we are in again.
        self.core.media.bridges.values_mut().for_each(|b| b.stale = true);
        let node = self.core.bridge_node();
        for purpose in self.core.media.iqs.take_all(&node) {
            self.media_answered(now, purpose, Reply::Lost);
        }
        self.enter_brewery(now);
    }

    fn enter_brewery(&mut self, now: Instant) {
        let node = self.core.bridge_node();
        let Some(me) = self.core.media.brewery.room.as_ref().and_then(|r| r.occupant(&self.core.config.nick).ok())
        else {
            return;
        };
        let mut w = XmlWriter::new();
        w.open_ns("presence", ns::CLIENT).attr("to", &me).empty("x", ns::MUC);
        disco::caps(&mut w, &self.core.caps);
        self.core.send(&node, w);
        self.core.media.brewery.entry = Entry::Entering;
        self.core.media.brewery.retry_at = Some(now + self.core.config.reply_timeout);
    }

    /// A presence from the brewery.
    pub(crate) fn brewery_presence(&mut self, now: Instant, nick: &str, stanza: &Stanza) {
        let ty = stanza.ty();
        let Some(room) = self.core.media.brewery.room.clone() else { return };
        if *nick == *self.core.config.nick {
            match ty.as_deref() {
                None => self.in_brewery(now),
                Some("error" | "unavailable") => {
                    self.core.event(Event::IqFailed { what: "brewery", why: "not in the room".into() });
                    self.core.media.brewery.entry = Entry::Out;
                    self.core.media.brewery.retry_at = Some(now + self.core.config.reply_timeout);
                }
                Some(_) => {}
            }
            return;
        }
        let Ok(jid) = room.occupant(nick) else { return };
        match ty.as_deref() {
            Some("unavailable") => self.bridge_gone(now, jid.as_str()),
            None => {
                if let Some(stats) = Stats::read(stanza) {
                    self.bridge_stats(now, jid, stats);
                }
            }
            Some(_) => {}
        }
    }

    fn in_brewery(&mut self, now: Instant) {
        if self.core.media.brewery.entry == Entry::In {
            return;
        }
        self.core.media.brewery.entry = Entry::In;
        self.core.media.brewery.retry_at = None;
        let gone: Vec<Arc<str>> =
            self.core.media.bridges.iter().filter(|(_, b)| b.stale).map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.bridge_gone(now, &id);
        }
        self.core.media.fed = true;
    }

    fn bridge_stats(&mut self, now: Instant, jid: FullJid, stats: Stats) {
        let config = &self.core.config.media;
        let id: Arc<str> = jid.as_str().into();
        let known = self.core.media.bridges.len();
        let mut fed = false;
        let b = match self.core.media.bridges.entry(id.clone()) {
            std::collections::hash_map::Entry::Occupied(e) => e.into_mut(),
            std::collections::hash_map::Entry::Vacant(e) if known < config.limits.bridges => {
                fed = true;
                self.core.out.push_back(crate::Output::Event(Event::BridgeUp { bridge: jid.nick().to_owned() }));
                e.insert(Bridge::new(now, jid, config))
            }
            std::collections::hash_map::Entry::Vacant(_) => return,
        };
        let before = (b.drain, b.stale, b.healthy);
        let begins_shutdown = b.update(now, stats);
        fed |= (b.drain, b.stale, b.healthy) != before;
        let failed = config.health.enabled && config.health.use_presence && b.healthy == Some(false);
        if config.health.enabled && config.health.use_presence {
            if failed {
                b.set_operational(now, false);
            } else {
                b.set_operational(now, true);
            }
        }
        self.core.media.fed |= fed;
        if begins_shutdown || (failed && before.2 != Some(false)) {
            self.leave_bridge(now, &id);
        }
    }

    fn bridge_gone(&mut self, now: Instant, id: &str) {
        let Some((id, b)) = self.core.media.bridges.remove_entry(id) else { return };
        self.core.metrics.bridges_lost += 1;
        self.core.event(Event::BridgeDown { bridge: b.nick().to_owned() });
        self.leave_bridge(now, &id);
    }

    /// All conferences leave a bridge.
    fn leave_bridge(&mut self, now: Instant, id: &Arc<str>) {
        let rooms: Vec<BareJid> =
            self.core.media.rooms.get(id).map(|r| r.keys().cloned().collect()).unwrap_or_default();
        for room in rooms {
            self.with(now, &room, |c, core| c.bridge_lost(core, now, id));
        }
    }

    // Health

    fn check(&mut self, now: Instant, id: &Arc<str>, again: bool) {
        let node = self.core.bridge_node();
        let Some(b) = self.core.media.bridges.get_mut(id) else { return };
        b.check = Check::Asked { again };
        let jid = b.jid.clone();
        let purpose = MediaPurpose::Health { bridge: id.clone(), again };
        self.core.ask_media(now, &node, &jid, "get", purpose, |w| {
            w.empty("healthcheck", jns::HEALTHCHECK);
        });
    }

    /// A bridge answered a health check, or did not.
    pub(crate) fn checked(&mut self, now: Instant, id: &Arc<str>, again: bool, reply: Reply<'_>) {
        let health = &self.core.config.media.health;
        let (interval, retry) = (health.interval, health.retry_delay);
        let Some(b) = self.core.media.bridges.get_mut(id) else { return };
        b.check = Check::Due(now + interval);
        match reply {
            Reply::Result(_) => b.set_operational(now, true),
            Reply::Timeout if !again => b.check = Check::Retry(now + retry),
            // Nobody is moved: media may go on although the bridge does not answer.
            Reply::Timeout => {
                self.core.metrics.health_timeouts += 1;
                b.set_operational(now, false);
            }
            Reply::Lost => {}
            Reply::Error(stanza) => {
                let condition = amphi_jingle::colibri2::ColibriError::parse(stanza).condition;
                if matches!(condition.as_str(), "internal-server-error" | "service-unavailable") {
                    self.core.metrics.health_failures += 1;
                    b.set_operational(now, false);
                    self.leave_bridge(now, id);
                }
            }
        }
    }

    /// Timers of bridges.
    pub(crate) fn run_bridges(&mut self, now: Instant) {
        if self.core.media.brewery.room.is_none() {
            return;
        }
        let connected = self.core.is_connected(&self.core.bridge_node());
        if connected && self.core.media.brewery.retry_at.is_some_and(|at| at <= now) {
            self.enter_brewery(now);
        }
        let health = self.core.config.media.health.clone();
        if health.enabled && connected {
            let due: Vec<(Arc<str>, bool)> = self
                .core
                .media
                .bridges
                .iter()
                .filter_map(|(id, b)| match b.check {
                    Check::Due(at) if at <= now => Some((id.clone(), false)),
                    Check::Retry(at) if at <= now => Some((id.clone(), true)),
                    _ => None,
                })
                .collect();
            for (id, again) in due {
                if !health.use_presence {
                    self.check(now, &id, again);
                } else if let Some(b) = self.core.media.bridges.get_mut(&id) {
                    b.check = Check::Due(now + health.interval);
                    if b.seen + health.presence_timeout <= now {
                        b.set_operational(now, false);
                    }
                }
            }
        }
        self.relieve(now);
        if std::mem::take(&mut self.core.media.fed) {
            let starving: Vec<BareJid> = self.core.media.starving.iter().cloned().collect();
            for room in starving {
                self.with(now, &room, |c, core| c.retry(core, now, true));
            }
        }
    }

    /// When [`Focus::run_bridges`] has something to do.
    pub(crate) fn bridges_deadline(&self) -> Option<Instant> {
        let media = &self.core.media;
        let due = |b: &Bridge| match b.check {
            Check::Due(at) | Check::Retry(at) => Some(at),
            Check::Asked { .. } => None,
        };
        let connected = self.core.is_connected(&self.core.bridge_node());
        let health = self.core.config.media.health.enabled && connected;
        let checks = media.bridges.values().filter(|_| health).filter_map(due).min();
        let entry = media.brewery.deadline().filter(|_| connected);
        [checks, entry, media.relief_at, media.invites.deadline(), media.reinvites.deadline(), media.iqs.deadline()]
            .into_iter()
            .flatten()
            .min()
    }
}
