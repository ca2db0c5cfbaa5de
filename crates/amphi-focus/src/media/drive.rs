//! Media of all conferences: whose turn it is to be invited, whose answer came, and who is moved (`spec/focus.md` 6.7, 8.1).

use std::sync::Arc;
use std::time::Instant;

use amphi_stanza::{BareJid, Stanza};

use super::features::Features;
use super::react::Reply;
use super::state::MediaPurpose;
use crate::{BridgeStatus, Focus, Move, MoveError, NodeId, Output};

impl Focus {
    /// An answer to something that was asked for media's sake. False if it is for somebody else.
    pub(crate) fn media_answer(&mut self, now: Instant, node: &NodeId, stanza: &Stanza) -> bool {
        let Some(purpose) = self.core.media.iqs.take(node, stanza) else { return false };
        let error = stanza.ty().as_deref() == Some("error");
        self.media_answered(now, purpose, if error { Reply::Error(stanza) } else { Reply::Result(stanza) });
        true
    }

    pub(crate) fn media_answered(&mut self, now: Instant, purpose: MediaPurpose, reply: Reply<'_>) {
        match purpose {
            MediaPurpose::Health { bridge, again } => self.checked(now, &bridge, again, reply),
            MediaPurpose::Disco { room, nick, ver } => self.disco_answered(now, &room, &nick, ver, reply),
            MediaPurpose::Initiate { room, nick, sid } => {
                // No answer counts as a good one: some clients are slow.
                if matches!(reply, Reply::Error(_)) {
                    self.with(now, &room, |c, core| c.offer_refused(core, now, &nick, sid));
                }
            }
            MediaPurpose::Colibri { room, session, asked } => {
                self.with(now, &room, |c, core| c.on_bridge_answer(core, now, session, asked, reply));
            }
        }
    }

    fn disco_answered(&mut self, now: Instant, room: &BareJid, nick: &str, ver: Option<Arc<str>>, reply: Reply<'_>) {
        let answer = match reply {
            Reply::Result(s) => Some(s),
            _ => None,
        };
        let features = answer.map_or(Features::ASSUMED, Features::read);
        let (waiting, certain) = match &ver {
            Some(ver) => self.core.media.caps.answered(ver, answer),
            None => (Vec::new(), None),
        };
        self.with(now, room, |c, core| c.features_known(core, now, nick, features));
        for (room, nick) in waiting {
            // What one client says of others is believed only if it can be verified.
            self.with(now, &room, |c, core| match certain {
                Some(f) => c.features_known(core, now, &nick, f),
                None => c.ask_features(core, now, &nick, None),
            });
        }
    }

    /// Invites those whose turn it is.
    pub(crate) fn run_invites(&mut self, now: Instant) {
        loop {
            let media = &mut self.core.media;
            let Some((room, nick, serial)) = media.invites.pop(now).or_else(|| media.reinvites.pop(now)) else { break };
            self.with(now, &room, |c, core| c.invite_now(core, now, &nick, serial));
        }
    }

    /// Questions that were not answered in time.
    pub(crate) fn run_media_timeouts(&mut self, now: Instant) {
        while let Some((node, purpose)) = self.core.media.iqs.expired_from(now) {
            self.core.metrics.iq_timeouts += 1;
            let reply = if self.core.is_connected(&node) { Reply::Timeout } else { Reply::Lost };
            self.media_answered(now, purpose, reply);
        }
        self.core.media.iqs.trim();
    }

    /// Relieves overloaded bridges.
    pub(crate) fn relieve(&mut self, now: Instant) {
        let c = self.core.config.media.redistribution.clone();
        if !c.enabled {
            return;
        }
        match self.core.media.relief_at {
            Some(at) if at > now => return,
            None => {
                self.core.media.relief_at = Some(now + c.interval);
                return;
            }
            Some(_) => self.core.media.relief_at = Some(now + c.interval),
        }
        let config = &self.core.config.media;
        let bridges = &mut self.core.media.bridges;
        if !bridges.values().any(|b| b.is_operational(now, config) && !b.is_overloaded(now, config)) {
            return;
        }
        let mut due = Vec::new();
        for (id, b) in bridges.iter_mut() {
            let rested = b.relieved.is_none_or(|at| at + c.timeout <= now);
            if rested && b.corrected_stress(now, config) >= c.stress_threshold {
                b.relieved = Some(now);
                due.push(id.clone());
            }
        }
        due.sort_unstable();
        for id in due {
            let (n, _) = self.move_away(now, &id, None, c.endpoints);
            self.core.metrics.endpoints_redistributed += u64::from(n);
        }
    }

    /// Moves endpoints away from a bridge, first those of the conferences that have most there. Returns how many endpoints
    /// of how many conferences.
    fn move_away(&mut self, now: Instant, bridge: &Arc<str>, room: Option<&BareJid>, count: u32) -> (u32, u32) {
        let rooms = self.core.media.rooms.get(bridge);
        let mut rooms: Vec<(u32, BareJid)> = rooms
            .map(|r| r.keys().filter(|r| room.is_none_or(|only| only == *r)).cloned().collect::<Vec<_>>())
            .unwrap_or_default()
            .into_iter()
            .map(|r| (self.endpoints_on(&r, bridge), r))
            .collect();
        rooms.sort_by(|(n, a), (m, b)| m.cmp(n).then_with(|| a.cmp(b)));
        let (mut moved, mut conferences) = (0, 0);
        for (_, room) in rooms {
            if moved >= count {
                break;
            }
            let mut n = 0;
            self.with(now, &room, |c, core| n = c.move_from(core, now, bridge, count - moved));
            moved += n;
            conferences += u32::from(n > 0);
        }
        (moved, conferences)
    }

    /// An operator moves endpoints.
    pub(crate) fn move_endpoints(&mut self, now: Instant, id: u64, what: Move) {
        let result = self.moved(now, what);
        self.core.out.push_back(Output::Moved { id, result });
    }

    pub(crate) fn hold_bridge(&mut self, bridge: &str, hold: bool) {
        let all = self.core.media.bridges.iter_mut();
        for (_, b) in all.filter(|(id, b)| ***id == *bridge || b.nick() == bridge) {
            b.held = hold;
        }
    }

    fn moved(&mut self, now: Instant, what: Move) -> Result<(u32, u32), MoveError> {
        let bridge_id = |bridge: &str| -> Result<Arc<str>, MoveError> {
            let found = self.core.media.bridges.iter().find(|(id, b)| ***id == *bridge || b.nick() == bridge);
            found.map(|(id, _)| id.clone()).ok_or(MoveError::UnknownBridge)
        };
        match what {
            Move::Endpoint { room, endpoint, bridge } => {
                let bridge = bridge.as_deref().map(bridge_id).transpose()?;
                if !self.has_conference(&room) {
                    return Err(MoveError::UnknownConference);
                }
                let mut done = false;
                self.with(now, &room, |c, core| {
                    let there = c
                        .media
                        .session_of(&endpoint)
                        .is_some_and(|(_, s)| bridge.as_ref().is_none_or(|b| *b == s.bridge));
                    done = there && c.move_endpoint(core, now, &endpoint);
                });
                Ok((u32::from(done), u32::from(done)))
            }
            Move::Endpoints { bridge, room, count } => {
                let bridge = bridge_id(&bridge)?;
                if room.as_ref().is_some_and(|r| !self.has_conference(r)) {
                    return Err(MoveError::UnknownConference);
                }
                Ok(self.move_away(now, &bridge, room.as_ref(), count))
            }
            Move::Fraction { bridge, per_mille } => {
                let bridge = bridge_id(&bridge)?;
                let n = self.core.media.bridges.get(&bridge).map_or(0, |b| b.endpoints);
                let count = (u64::from(n) * u64::from(per_mille.min(1000)) + 500) / 1000;
                Ok(self.move_away(now, &bridge, None, count as u32))
            }
        }
    }

    /// Bridges, in no order, as of `now`.
    pub fn bridges(&self, now: Instant) -> Vec<BridgeStatus> {
        let config = &self.core.config.media;
        let status = |(jid, b): (&Arc<str>, &super::bridge::Bridge)| BridgeStatus {
            jid: jid.to_string(),
            name: b.nick().to_owned(),
            region: b.region.as_deref().map(str::to_owned),
            relay_id: b.relay_id.as_deref().map(str::to_owned),
            version: b.full_version(),
            stress: b.corrected_stress(now, config),
            operational: b.is_operational(now, config),
            draining: b.drain,
            held: b.held,
            graceful_shutdown: b.graceful || b.shutting_down,
            failing_ice: b.is_failing_ice(now),
            endpoints: b.endpoints,
            conferences: self.core.media.rooms.get(jid).map_or(0, |r| r.len() as u32),
            restarts: b.restarts,
            moved: b.moved,
        };
        self.core.media.bridges.iter().map(status).collect()
    }

    /// Members that wait for their turn to be invited: for the first time, and again.
    pub fn invite_queues(&self) -> (usize, usize) {
        (self.core.media.invites.len(), self.core.media.reinvites.len())
    }
}
