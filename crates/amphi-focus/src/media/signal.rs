//! Telling receivers of others' sources (`spec/focus.md` 4.7). Only those are told for whom the bridge does not rewrite;
//! each gets the difference between what it was told and what is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_jingle::{Action, MediaType, SourceSet, json, ns as jns};
use amphi_stanza::{XmlWriter, ns};

use super::features::Features;
use super::offer::{sources_json, sources_xml};
use super::sources::{diff, only};
use super::state::State;
use crate::conference::Conference;
use crate::core::Core;

type Change = Vec<(Arc<str>, SourceSet)>;

impl Conference {
    /// How long changes are held back now.
    fn signaling_delay(&self, core: &Core) -> Duration {
        let delays = core.config.media.signaling_delays.iter().filter(|(n, _)| *n <= self.media.stage);
        delays.max_by_key(|(n, _)| *n).map_or(Duration::ZERO, |(_, d)| *d)
    }

    /// Sources changed: receivers are told now, or soon.
    pub(crate) fn schedule_flushes(&mut self, core: &mut Core, now: Instant) {
        if !std::mem::take(&mut self.media.dirty) || self.media.receivers.is_empty() {
            return;
        }
        let delay = self.signaling_delay(core);
        let receivers: Vec<Box<str>> = self.media.receivers.iter().cloned().collect();
        for nick in receivers {
            let Some(p) = self.media.participants.get_mut(&nick).filter(|p| p.state == State::Active) else { continue };
            if delay.is_zero() {
                self.flush(core, &nick);
            } else if p.extra().flush_at.is_none() {
                let at = now + delay;
                p.extra().flush_at = Some(at);
                self.media.flushes.insert((at, nick));
            }
        }
    }

    /// Receivers whose time has come.
    pub(crate) fn flush_due(&mut self, core: &mut Core, now: Instant) {
        while let Some((at, nick)) = self.media.flushes.first().cloned() {
            if at > now {
                break;
            }
            self.media.flushes.pop_first();
            self.flush(core, &nick);
        }
    }

    /// The member has no session any more that could be told of anything.
    pub(crate) fn stop_receiving(&mut self, nick: &str) {
        self.media.receivers.remove(nick);
        if let Some(x) = self.media.participants.get_mut(nick).and_then(|p| p.extra.as_mut()) {
            if let Some(at) = x.flush_at.take() {
                self.media.flushes.remove(&(at, nick.into()));
            }
            x.signaled.clear();
        }
    }

    /// The member left the room: receivers drop its sources by themselves.
    pub(crate) fn forget_signaled(&mut self, owner: &str) {
        let receivers: Vec<Box<str>> = self.media.receivers.iter().cloned().collect();
        for r in receivers {
            if let Some(x) = self.media.participants.get_mut(&r).and_then(|p| p.extra.as_mut()) {
                x.signaled.remove(owner);
            }
        }
    }

    fn flush(&mut self, core: &mut Core, nick: &str) {
        let Some(p) = self.media.participants.get_mut(nick) else { return };
        let Some(offer) = p.offer.clone() else { return };
        let Some(x) = p.extra.as_mut() else { return };
        if let Some(at) = x.flush_at.take() {
            self.media.flushes.remove(&(at, nick.into()));
        }
        if p.state != State::Active {
            return;
        }
        let (audio, video) = (offer.features.has(Features::AUDIO), offer.features.has(Features::VIDEO));
        let none = Arc::new(SourceSet::default());
        let owners: BTreeSet<Arc<str>> =
            x.signaled.keys().chain(self.media.sources.owners().filter(|o| ***o != *nick)).cloned().collect();
        let (mut removed, mut added): (Change, Change) = (Vec::new(), Vec::new());
        for owner in owners {
            let told = x.signaled.get(&owner).unwrap_or(&none);
            let is = self.media.sources.told(&owner).unwrap_or(&none);
            if Arc::ptr_eq(told, is) {
                continue;
            }
            let (less, more) = diff(&only(told, audio, video), &only(is, audio, video));
            if is.is_empty() {
                x.signaled.remove(&owner);
            } else {
                x.signaled.insert(owner.clone(), is.clone());
            }
            if !less.is_empty() {
                removed.push((owner.clone(), less));
            }
            if !more.is_empty() {
                added.push((owner, more));
            }
        }
        let (sid, node, to) = (format!("{:x}", p.sid), p.node.clone(), p.occupant.clone());
        let max = core.config.media.limits.signal_bytes;
        for (action, change) in [(Action::SourceRemove, removed), (Action::SourceAdd, added)] {
            for part in parts(change, max) {
                core.metrics.source_changes_sent += 1;
                core.tell(&node, &to, |w| write(w, action, &sid, offer.json, &part));
            }
        }
    }
}

/// In pieces that fit into a stanza.
fn parts(change: Change, max: usize) -> Vec<Change> {
    let mut parts: Vec<Change> = Vec::new();
    let mut size = 0;
    for (owner, set) in change {
        // XML is about twice as long as JSON.
        let bytes = owner.len() + 2 * json::set_to_json(&set).to_string().len();
        if parts.is_empty() || size + bytes > max {
            parts.push(Vec::new());
            size = 0;
        }
        size += bytes;
        if let Some(p) = parts.last_mut() {
            p.push((owner, set));
        }
    }
    parts
}

fn write(w: &mut XmlWriter, action: Action, sid: &str, as_json: bool, change: &Change) {
    w.open_ns("jingle", ns::JINGLE).attr("action", action.as_str()).attr("sid", sid);
    let all = || change.iter().map(|(o, s)| (&**o, s));
    if as_json {
        sources_json(w, all());
    } else {
        for ty in [MediaType::Audio, MediaType::Video] {
            if all().all(|(_, s)| s.media(ty).is_empty()) {
                continue;
            }
            w.open("content").attr("creator", "initiator").attr("name", ty).attr("senders", "both");
            w.open_ns("description", jns::RTP).attr("media", ty);
            sources_xml(w, ty, all());
            w.close().close();
        }
    }
    w.close();
}
