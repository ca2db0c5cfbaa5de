//! Requests of one conference to its bridges, and what comes back (`spec/focus.md` 5). Requests to one bridge leave in the
//! order of the changes; nothing is sent after the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use amphi_jingle::colibri2::{ConferenceModified, ConferenceModify, Endpoint, ForceMute, MediaSource, Transport};
use amphi_jingle::{Action, Content, IceTransport, Jingle, MediaType, Reason, SourceSet};

use super::invite::feedback_msid;
use super::react::{Mark, Reaction, Reply, to_allocation, to_change};
use super::state::{Asked, MediaPurpose, State};
use super::topology::NodeKey;
use crate::conference::Conference;
use crate::core::Core;
use crate::{Event, FocusConfig};

/// Endpoints expired in one request.
const BATCH: usize = 100;

impl Conference {
    pub(crate) fn modify(&self) -> ConferenceModify {
        ConferenceModify::new(self.meeting_id.clone())
    }

    pub(crate) fn ask_bridge(
        &self,
        core: &mut Core,
        now: Instant,
        session: NodeKey,
        asked: Asked,
        m: &ConferenceModify,
    ) {
        let Some(s) = self.media.sessions.get(&session) else { return };
        let purpose = MediaPurpose::Colibri { room: self.room.clone(), session, asked };
        let node = core.bridge_node();
        core.metrics.colibri_requests += 1;
        // Stock bridges are asked with `get`.
        core.ask_media(now, &node, &s.to, "get", purpose, |w| m.write(w));
    }

    /// A bridge answered, or did not.
    pub(crate) fn on_bridge_answer(
        &mut self,
        core: &mut Core,
        now: Instant,
        session: NodeKey,
        asked: Asked,
        reply: Reply<'_>,
    ) {
        if !self.media.sessions.contains_key(&session) || asked == Asked::Expire {
            return;
        }
        let reaction = match &asked {
            Asked::Allocate { nick, serial } => {
                let current =
                    self.media.participants.get(nick).is_some_and(|p| {
                        p.serial == *serial && p.session == Some(session) && p.state == State::Allocating
                    });
                match to_allocation(reply) {
                    // Whoever it was for is gone. Only silence says something of the bridge itself.
                    _ if !current && !matches!(reply, Reply::Timeout) => Reaction::Ignore,
                    r => r,
                }
            }
            Asked::Update { again, .. } => to_change(reply, !*again, true),
            Asked::Transport { .. } | Asked::IceRestart { .. } => to_change(reply, false, true),
            Asked::Relay { .. } | Asked::Expire | Asked::Change => to_change(reply, false, false),
        };
        let reaction = match (&asked, reaction) {
            // A link that may not be there leaves a part of the audience without media.
            (Asked::Relay { .. }, Reaction::Ignore) => Reaction::SessionFailed(Mark::Nothing),
            // One client's restart is no reason to give the bridge up.
            (Asked::IceRestart { .. }, Reaction::SessionFailed(_)) if matches!(reply, Reply::Timeout) => {
                Reaction::Ignore
            }
            (Asked::IceRestart { .. }, Reaction::GiveUp) => Reaction::Ignore,
            (_, r) => r,
        };
        match reaction {
            Reaction::Ignore => {
                if let Asked::IceRestart { nick, sid } = &asked {
                    self.ice_restarted(core, now, nick, *sid, None);
                }
            }
            Reaction::Done => {
                if let Reply::Result(stanza) = reply {
                    let wire = core.config.media.limits.wire;
                    let parsed = stanza.children().next().map(|c| ConferenceModified::parse(c, &wire));
                    match parsed {
                        Some(Ok(m)) => self.bridge_did(core, now, session, &asked, &m),
                        _ => self.bridge_babbled(core, now, session, &asked),
                    }
                }
            }
            Reaction::Again => {
                core.metrics.colibri_repeated += 1;
                if let Asked::Update { nick, .. } = &asked {
                    self.update_endpoint(core, now, nick, None, None, true);
                }
            }
            Reaction::GiveUp => match &asked {
                Asked::Allocate { nick, .. } => {
                    core.metrics.allocations_failed += 1;
                    self.end_session(core, now, nick, None);
                    self.failed(core, now, nick);
                }
                Asked::Update { nick, .. } | Asked::Transport { nick } => {
                    if self.media.participants.get(nick).is_some_and(|p| p.session == Some(session)) {
                        core.metrics.endpoints_refused += 1;
                        let why = Reason::new("failed-application", "the bridge refuses what was said of the media");
                        self.end_session(core, now, nick, Some(why));
                        self.failed(core, now, nick);
                    }
                }
                Asked::Relay { .. } | Asked::Change | Asked::Expire | Asked::IceRestart { .. } => {}
            },
            Reaction::SessionFailed(mark) => {
                core.metrics.allocations_failed += u64::from(matches!(asked, Asked::Allocate { .. }));
                self.mark(core, now, session, mark);
                self.fail_session(core, now, session);
            }
            Reaction::EndpointLost(id) => {
                if self.media.participants.get(&*id).is_some_and(|p| p.session == Some(session)) {
                    core.metrics.endpoints_lost += 1;
                    self.reinvite(core, now, &id);
                }
            }
        }
        self.media_changed(core, now);
    }

    fn mark(&self, core: &mut Core, now: Instant, session: NodeKey, mark: Mark) {
        let bridge = self.media.sessions.get(&session).map(|s| s.bridge.clone());
        if let Some(b) = bridge.and_then(|b| core.media.bridges.get_mut(&b)) {
            match mark {
                Mark::Nothing => {}
                Mark::NotOperational => b.set_operational(now, false),
                Mark::GracefulShutdown => b.graceful = true,
            }
        }
    }

    /// The answer cannot be read.
    fn bridge_babbled(&mut self, core: &mut Core, now: Instant, session: NodeKey, asked: &Asked) {
        core.event(Event::IqFailed { what: "colibri2", why: "an answer that cannot be read".into() });
        match asked {
            Asked::Allocate { nick, .. } => {
                self.mark(core, now, session, Mark::NotOperational);
                self.end_session(core, now, nick, None);
                self.failed(core, now, nick);
            }
            Asked::Expire | Asked::Change | Asked::Update { .. } | Asked::Transport { .. } => {}
            Asked::IceRestart { nick, sid } => self.ice_restarted(core, now, nick, *sid, None),
            Asked::Relay { .. } => self.fail_session(core, now, session),
        }
    }

    fn bridge_did(&mut self, core: &mut Core, now: Instant, session: NodeKey, asked: &Asked, m: &ConferenceModified) {
        if let (Some(sources), Some(s)) = (&m.sources, self.media.sessions.get_mut(&session)) {
            s.feedback = feedback(sources);
        }
        let transport = |id: &str| m.endpoints.iter().find(|e| e.id == id).and_then(|e| e.transport.as_ref());
        match asked {
            Asked::Allocate { nick, .. } => {
                let t = transport(nick);
                let wants_sctp =
                    self.media.participants.get(nick).and_then(|p| p.offer.as_ref()).is_some_and(|o| o.data);
                let port = t.and_then(|t| t.sctp).and_then(|s| s.port);
                match t.and_then(|t| t.ice.as_ref()) {
                    Some(ice) if port.is_some() || !wants_sctp => {
                        let mut ice = ice.clone();
                        ice.rtcp_mux = true;
                        self.offer(core, now, nick, &ice, port);
                    }
                    _ => {
                        core.metrics.allocations_failed += 1;
                        core.event(Event::IqFailed { what: "colibri2", why: "no transport, or no SCTP".into() });
                        self.end_session(core, now, nick, None);
                        self.failed(core, now, nick);
                    }
                }
            }
            Asked::IceRestart { nick, sid } => {
                let t = transport(nick).cloned();
                self.ice_restarted(core, now, nick, *sid, t.and_then(|t| t.ice));
            }
            Asked::Relay { peer } => self.relay_created(core, now, session, *peer, m),
            Asked::Update { .. } | Asked::Transport { .. } | Asked::Change | Asked::Expire => {}
        }
    }

    /// What the bridge made of a client's wish to restart its transport; nothing: it refused.
    fn ice_restarted(&mut self, core: &mut Core, now: Instant, nick: &str, sid: u64, ice: Option<IceTransport>) {
        let Some(p) = self.media.participants.get_mut(nick).filter(|p| p.sid == sid && p.has_session()) else { return };
        let Some(ice) = ice else {
            core.metrics.ice_restarts_failed += 1;
            self.reinvite(core, now, nick);
            return;
        };
        let Some(generation) = ice.ice_generation().filter(|g| *g > 0) else {
            core.metrics.ice_restarts_not_needed += 1;
            return;
        };
        if generation <= p.extra().generation {
            return;
        }
        p.extra().generation = generation;
        core.metrics.ice_restarts_relayed += 1;
        let mut j = Jingle::new(Action::TransportInfo, format!("{sid:x}"));
        j.contents.push(Content {
            name: "audio".into(),
            creator: Some("initiator".into()),
            transport: Some(ice),
            ..Content::default()
        });
        let (node, to) = (p.node.clone(), p.occupant.clone());
        core.tell(&node, &to, |w| j.write(w));
    }

    /// Tells the bridge all of an endpoint's sources, and what else there is.
    pub(crate) fn update_endpoint(
        &mut self,
        core: &mut Core,
        now: Instant,
        nick: &str,
        transport: Option<IceTransport>,
        initial_last_n: Option<i32>,
        again: bool,
    ) {
        let Some((key, _)) = self.media.session_of(nick) else { return };
        let sources = self.media.sources.of(nick).map(|s| MediaSource::from_set(nick, s)).unwrap_or_default();
        let stats_id = self.media.participants.get(nick).and_then(|p| p.facts.stats_id.as_deref().map(str::to_owned));
        let mut m = self.modify();
        m.endpoints.push(Endpoint {
            stats_id,
            transport: transport.map(|ice| Transport { ice: Some(ice), ..Transport::default() }),
            sources: Some(sources),
            initial_last_n,
            ..Endpoint::new(nick)
        });
        // What holds the transport cannot be made again from what is known here: it is not repeated.
        let repeatable = m.endpoints[0].transport.is_none() && !again;
        self.ask_bridge(core, now, key, Asked::Update { nick: nick.into(), again: !repeatable }, &m);
    }

    /// Tells the bridge of a new transport alone.
    pub(crate) fn update_transport(&mut self, core: &mut Core, now: Instant, nick: &str, ice: IceTransport) {
        let Some((key, _)) = self.media.session_of(nick) else { return };
        let mut m = self.modify();
        let transport = Some(Transport { ice: Some(ice), ..Transport::default() });
        m.endpoints.push(Endpoint { transport, ..Endpoint::new(nick) });
        self.ask_bridge(core, now, key, Asked::Transport { nick: nick.into() }, &m);
    }

    /// Asks the bridge to restart a transport.
    pub(crate) fn restart_ice(&mut self, core: &mut Core, now: Instant, nick: &str, sid: u64) {
        let Some((key, _)) = self.media.session_of(nick) else { return };
        let mut m = self.modify();
        let transport = Some(Transport { ice_restart: true, ..Transport::default() });
        m.endpoints.push(Endpoint { transport, ..Endpoint::new(nick) });
        self.ask_bridge(core, now, key, Asked::IceRestart { nick: nick.into(), sid }, &m);
    }

    /// Sets what bridges drop of what endpoints send, where that is new.
    pub(crate) fn force_mute(&mut self, core: &mut Core, now: Instant, wanted: &[(Box<str>, ForceMute)]) {
        let mut by_session: BTreeMap<NodeKey, ConferenceModify> = BTreeMap::new();
        for (nick, mute) in wanted {
            let m = self.modify();
            let Some(p) = self.media.participants.get_mut(nick) else { continue };
            let Some(key) = p.session else { continue };
            if p.extra.as_ref().map_or(ForceMute::default(), |x| x.muted) == *mute {
                continue;
            }
            p.extra().muted = *mute;
            let e = Endpoint { force_mute: Some(*mute), ..Endpoint::new(&**nick) };
            by_session.entry(key).or_insert(m).endpoints.push(e);
        }
        for (key, m) in by_session {
            self.ask_bridge(core, now, key, Asked::Change, &m);
        }
    }

    /// The endpoints of these members go. A session without endpoints ends.
    pub(crate) fn expire_endpoints(&mut self, core: &mut Core, now: Instant, nicks: &[Box<str>]) {
        let mut by_session: BTreeMap<NodeKey, Vec<Box<str>>> = BTreeMap::new();
        for nick in nicks {
            if let Some(key) = self.media.participants.get_mut(nick).and_then(|p| p.session.take()) {
                by_session.entry(key).or_default().push(nick.clone());
            }
        }
        for (key, nicks) in by_session {
            let Some(s) = self.media.sessions.get_mut(&key) else { continue };
            let n = nicks.len() as u32;
            s.endpoints -= n.min(s.endpoints);
            if let Some(b) = core.media.bridges.get_mut(&s.bridge) {
                b.removed(n);
            }
            let last = s.endpoints == 0;
            // With the session its relays go, and with them all that others knew of it over a direct link.
            let staged: Vec<Box<str>> = nicks.iter().filter(|n| self.is_on_stage(n)).cloned().collect();
            self.retract(core, now, key, &staged, last);
            if last {
                self.expire_session(core, now, key);
                continue;
            }
            for batch in nicks.chunks(BATCH) {
                let mut m = self.modify();
                m.endpoints = batch.iter().map(|n| Endpoint::expired(&**n)).collect();
                self.ask_bridge(core, now, key, Asked::Expire, &m);
            }
        }
    }

    pub(crate) fn is_on_stage(&self, nick: &str) -> bool {
        self.media.participants.get(nick).is_some_and(|p| !p.visitor)
    }

    /// The conference ends on one bridge. Others are linked around it.
    pub(crate) fn expire_session(&mut self, core: &mut Core, now: Instant, key: NodeKey) {
        let mut m = self.modify();
        m.expire = true;
        self.ask_bridge(core, now, key, Asked::Expire, &m);
        self.unlink_session(core, now, key);
        let Some(s) = self.media.sessions.remove(&key) else { return };
        if let Some(b) = core.media.bridges.get_mut(&s.bridge) {
            b.removed(s.endpoints);
        }
        if let Some(rooms) = core.media.rooms.get_mut(&s.bridge) {
            rooms.remove(&self.room);
            if rooms.is_empty() {
                core.media.rooms.remove(&s.bridge);
            }
        }
    }

    /// Nobody is left, or the conference ends: it ends on all bridges. No link is made again.
    pub(crate) fn expire_all(&mut self, core: &mut Core, now: Instant) {
        self.media.cascade = super::topology::Cascade::new(core.config.media.topology, core.config.media.fan_out);
        let keys: Vec<NodeKey> = self.media.sessions.keys().copied().collect();
        for key in keys {
            self.expire_session(core, now, key);
        }
    }

    /// A session cannot go on: its members are invited again, at a rate.
    pub(crate) fn fail_session(&mut self, core: &mut Core, now: Instant, key: NodeKey) {
        let Some(s) = self.media.sessions.get(&key) else { return };
        core.metrics.bridges_removed += 1;
        core.event(Event::BridgeSessionFailed { room: self.room.clone(), bridge: s.bridge.to_string() });
        let nicks = self.media.on_session(key);
        let staged: Vec<Box<str>> = nicks.iter().filter(|n| self.is_on_stage(n)).cloned().collect();
        self.retract(core, now, key, &staged, true);
        self.expire_session(core, now, key);
        core.metrics.participants_moved += nicks.len() as u64;
        for nick in nicks {
            let state = self.media.participants.get(&nick).map(|p| p.state);
            self.close_session(core, &nick, Some(Reason::new("success", "moving")));
            match state {
                Some(State::Ended) | None => {}
                Some(_) => self.invite(core, &nick, true),
            }
        }
        self.media_changed(core, now);
    }

    /// A bridge is gone, or must not be used any more.
    pub(crate) fn bridge_lost(&mut self, core: &mut Core, now: Instant, bridge: &Arc<str>) {
        let key = self.media.sessions.iter().find(|(_, s)| s.bridge == *bridge).map(|(k, _)| *k);
        if let Some(key) = key {
            self.fail_session(core, now, key);
        }
    }

    /// Moves up to `count` endpoints away from a bridge; returns how many.
    pub(crate) fn move_from(&mut self, core: &mut Core, now: Instant, bridge: &Arc<str>, count: u32) -> u32 {
        let Some(key) = self.media.sessions.iter().find(|(_, s)| s.bridge == *bridge).map(|(k, _)| *k) else {
            return 0;
        };
        let nicks: Vec<_> = self.media.on_session(key).into_iter().take(count as usize).collect();
        for nick in &nicks {
            self.move_endpoint(core, now, nick);
        }
        nicks.len() as u32
    }

    /// Moves one endpoint to whatever bridge is chosen now, but not the same if there is another.
    pub(crate) fn move_endpoint(&mut self, core: &mut Core, now: Instant, nick: &str) -> bool {
        let Some(bridge) = self.media.session_of(nick).map(|(_, s)| s.bridge.clone()) else { return false };
        core.metrics.participants_moved += 1;
        if let Some(b) = core.media.bridges.get_mut(&bridge) {
            b.moved += 1;
        }
        self.media.avoid.insert(nick.into(), bridge);
        self.reinvite(core, now, nick);
        self.media_changed(core, now);
        true
    }
}

/// The bridge's own sources as clients get them.
fn feedback(sources: &[MediaSource]) -> SourceSet {
    let mut set = SourceSet::default();
    for m in sources {
        let to = set.media_mut(m.ty);
        for s in &m.media.sources {
            let name = s.name.clone().or_else(|| Some(m.id.clone()));
            to.sources.push(amphi_jingle::Source { name, msid: Some(feedback_msid(m.ty)), ..s.clone() });
        }
    }
    for ty in [MediaType::Audio, MediaType::Video] {
        set.media_mut(ty).sources.truncate(4);
    }
    set
}

/// Whether clients are told of a limit.
pub(crate) fn limits_reached(audio: u32, video: u32, config: &FocusConfig) -> (bool, bool) {
    (audio >= config.media.max_audio_senders, video >= config.media.max_video_senders)
}
