//! From a member to an offer: its turn, its features, its endpoint, the offer (`spec/focus.md` 4.2, 4.4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_jingle::colibri2::{Endpoint, ForceMute, MediaSource, Sctp, Transport};
use amphi_jingle::{Action, IceTransport, Jingle, MediaType, Reason, SourceMap, StartMuted};
use amphi_stanza::{XmlWriter, ns};

use super::features::{Features, Lookup};
use super::offer::Particulars;
use super::select::{Applicant, InUse, select};
use super::sources::only;
use super::state::{Asked, MediaPurpose, State};
use super::topology::NodeKey;
use crate::NodeId;
use crate::conference::Conference;
use crate::core::Core;
use crate::member::{Kind, Role};

const MAX_RETRY: Duration = Duration::from_secs(60);

impl Conference {
    /// Has somebody invited when its turn comes.
    pub(crate) fn invite(&mut self, core: &mut Core, nick: &str, again: bool) {
        let Some(p) = self.media.participants.get_mut(nick) else { return };
        debug_assert!(p.session.is_none() && !p.has_session(), "one session at a time");
        self.media.next_serial += 1;
        p.serial = self.media.next_serial;
        p.state = State::Queued;
        p.retry_at = None;
        let line = if again { &mut core.media.reinvites } else { &mut core.media.invites };
        line.push(self.room.clone(), nick.into(), p.serial);
    }

    /// Its turn has come.
    pub(crate) fn invite_now(&mut self, core: &mut Core, now: Instant, nick: &str, serial: u32) {
        let Some(p) = self.media.participants.get_mut(nick) else { return };
        if p.serial != serial || p.state != State::Queued {
            return;
        }
        if p.offer.is_some() {
            return self.allocate(core, now, nick);
        }
        p.state = State::Discovering;
        let l = &core.config.media.limits;
        let lookup = match &p.facts.caps {
            Some(ver) => core.media.caps.lookup(ver, (self.room.clone(), nick.into()), l.caps, l.caps_waiting),
            None => Lookup::AskAlone,
        };
        let ver = p.facts.caps.clone();
        match lookup {
            Lookup::Known(f) => self.features_known(core, now, nick, f),
            Lookup::Wait => {}
            Lookup::Ask => self.ask_features(core, now, nick, ver),
            Lookup::AskAlone => self.ask_features(core, now, nick, None),
        }
    }

    /// Asks a member what it can do; for all that have the same hash, or for itself.
    pub(crate) fn ask_features(&mut self, core: &mut Core, now: Instant, nick: &str, ver: Option<Arc<str>>) {
        let Some(p) = self.media.participants.get(nick).filter(|p| p.state == State::Discovering) else { return };
        let purpose = MediaPurpose::Disco { room: self.room.clone(), nick: nick.into(), ver };
        let node = p.facts.caps_node.clone();
        core.ask_media(now, &p.node, &p.occupant, "get", purpose, |w| {
            w.open_ns("query", ns::DISCO_INFO).attr_opt("node", node).close();
        });
    }

    pub(crate) fn features_known(&mut self, core: &mut Core, now: Instant, nick: &str, features: Features) {
        let Some(p) = self.media.participants.get_mut(nick).filter(|p| p.state == State::Discovering) else { return };
        if features.has(Features::AUDIO_MUTE) {
            self.media.mutable.insert(nick.into());
        }
        p.offer = Some(core.media.offers.get(features, &core.config.media));
        self.allocate(core, now, nick);
    }

    /// Whether a stage member must not send something now, and whether its client should begin muted.
    fn muting(&self, core: &Core, nick: &str) -> (ForceMute, StartMuted) {
        let Some(p) = self.media.participants.get(nick) else { return Default::default() };
        if p.visitor {
            return Default::default();
        }
        let moderator = self.main.members.get(nick).is_some_and(|m| matches!(m.role, Role::Owner | Role::Moderator));
        let force = if moderator || p.machine { ForceMute::default() } else { self.media.moderation.force(nick) };
        let c = &core.config.media;
        let many = |max: u32, from: Option<u32>| self.media.stage > from.map_or(max, |f| f.min(max));
        let (audio_from, video_from) = self.media.start_muted_from;
        let first = !p.seen;
        let start = StartMuted {
            audio: force.audio || many(c.max_audio_senders, audio_from) || (first && self.metadata.start_muted.0),
            video: force.video || many(c.max_video_senders, video_from) || (first && self.metadata.start_muted.1),
        };
        (force, start)
    }

    fn used(&self, now: Instant) -> Vec<InUse> {
        let of = |s: &super::state::Session| InUse {
            bridge: s.bridge.clone(),
            count: s.endpoints,
            visitor: s.visitor,
            recent: s.recent.peek(now),
        };
        self.media.sessions.values().map(of).collect()
    }

    /// Chooses a bridge and asks it for an endpoint.
    pub(crate) fn allocate(&mut self, core: &mut Core, now: Instant, nick: &str) {
        let Some(p) = self.media.participants.get(nick) else { return };
        let Some(offer) = p.offer.clone() else { return };
        let (visitor, machine, serial, facts) = (p.visitor, p.machine, p.serial, p.facts.clone());
        let avoid = self.media.avoid.get(nick).cloned();
        let who = Applicant { region: facts.region.as_deref(), visitor, pin: None, avoid: avoid.as_deref() };
        let reachable = core.is_connected(&core.bridge_node());
        let chosen =
            if reachable { select(now, &core.config.media, &core.media.bridges, &self.used(now), &who) } else { None };
        let Some(bridge) = chosen else {
            core.metrics.no_bridge += 1;
            self.media.no_bridge = true;
            self.failed(core, now, nick);
            self.media_changed(core, now);
            return;
        };
        self.media.avoid.remove(nick);
        self.media.no_bridge = false;
        let (key, new) = self.session_on(core, &bridge, visitor);
        if let Some(b) = core.media.bridges.get_mut(&bridge) {
            b.placed(now);
        }
        let (force, _) = self.muting(core, nick);
        let Some(s) = self.media.sessions.get_mut(&key) else { return };
        s.endpoints += 1;
        s.recent.add(now, 1);
        let mut m = self.modify();
        if new {
            m.create = true;
            m.name = Some(self.room.to_string());
        }
        let sctp = offer.data.then(Sctp::default);
        let private = machine && core.config.media.private_addresses;
        let sources = self.media.sources.of(nick).map(|s| MediaSource::from_set(nick, s));
        m.endpoints.push(Endpoint {
            create: true,
            stats_id: facts.stats_id.as_deref().map(str::to_owned),
            visitor,
            diarize: facts.diarize,
            media: offer.media.clone(),
            media_text: Some(offer.media_text.clone()),
            transport: Some(Transport { ice_controlling: true, sctp, ..Transport::default() }),
            sources: Some(sources.unwrap_or_default()),
            force_mute: (force != ForceMute::default()).then_some(force),
            capabilities: amphi_jingle::colibri2::Capabilities { private_addresses: private, ..offer.capabilities },
            ..Endpoint::new(nick)
        });
        if let Some(p) = self.media.participants.get_mut(nick) {
            p.session = Some(key);
            p.state = State::Allocating;
            if force != ForceMute::default() || p.extra.is_some() {
                p.extra().muted = force;
            }
        }
        core.metrics.endpoints_allocated += 1;
        self.ask_bridge(core, now, key, Asked::Allocate { nick: nick.into(), serial }, &m);
        if new {
            self.link_session(core, now, key, visitor);
        }
        if !visitor {
            self.announce(core, now, key, nick, true, new);
        }
        self.media_changed(core, now);
    }

    /// The bridge has an endpoint for a member: sends the offer.
    pub(crate) fn offer(
        &mut self,
        core: &mut Core,
        now: Instant,
        nick: &str,
        transport: &IceTransport,
        sctp_port: Option<u16>,
    ) {
        let (_, start_muted) = self.muting(core, nick);
        let Some(p) = self.media.participants.get(nick) else { return };
        let (Some(offer), Some(s)) = (p.offer.clone(), p.session.and_then(|k| self.media.sessions.get(&k))) else {
            return;
        };
        let f = offer.features;
        let (audio, video) = (f.has(Features::AUDIO), f.has(Features::VIDEO));
        let mut sources = SourceMap::new();
        let mut signaled = std::collections::BTreeMap::new();
        if !s.feedback.is_empty() {
            sources.insert("jvb".to_owned(), only(&s.feedback, audio, video));
        }
        if !offer.rewriting {
            for o in self.media.sources.owners().filter(|o| ***o != *nick) {
                let Some(told) = self.media.sources.told(o) else { continue };
                signaled.insert(o.clone(), told.clone());
                let set = only(told, audio, video);
                if !set.is_empty() {
                    sources.insert(o.to_string(), set);
                }
            }
        }
        sources.retain(|_, s| !s.is_empty());
        let (Some(initiator), sid) = (core.own_jid(&p.node), core.random().max(1)) else { return };
        let (to, node) = (p.occupant.clone(), p.node.clone());
        let purpose = MediaPurpose::Initiate { room: self.room.clone(), nick: nick.into(), sid };
        let sid_text = format!("{sid:x}");
        let particulars = Particulars {
            sid: &sid_text,
            initiator: &initiator,
            transport,
            sctp_port,
            start_muted,
            session_id: &s.id,
            region: s.region.as_deref(),
            sources: &sources,
        };
        core.metrics.jingle_sent += 1;
        core.metrics.session_initiate_sent += 1;
        core.ask_media(now, &node, &to, "set", purpose, |w| offer.write(w, &particulars));
        let rewriting = offer.rewriting;
        let Some(p) = self.media.participants.get_mut(nick) else { return };
        p.old_sid = p.sid;
        p.sid = sid;
        p.state = State::Pending;
        p.seen = true;
        p.failures = 0;
        if !rewriting {
            p.extra().signaled = signaled;
            self.media.receivers.insert(nick.into());
        }
        if let Some(x) = self.media.participants.get_mut(nick).and_then(|p| p.extra.as_mut()) {
            x.generation = 0;
        }
    }

    /// No session could be had: it is tried again later, later each time.
    pub(crate) fn failed(&mut self, core: &mut Core, now: Instant, nick: &str) {
        let Some(p) = self.media.participants.get_mut(nick) else { return };
        p.state = State::Failed;
        let wait = core.config.media.invite_retry * (1 << p.failures.min(6));
        p.failures = p.failures.saturating_add(1);
        let at = now + wait.min(MAX_RETRY);
        p.retry_at = Some(at);
        self.media.retry_at = Some(self.media.retry_at.map_or(at, |r| r.min(at)));
        core.media.starving.insert(self.room.clone());
    }

    /// Tries again with those whose time has come; with all when there is a new bridge.
    pub(crate) fn retry(&mut self, core: &mut Core, now: Instant, all: bool) {
        self.media.retry_at = None;
        let mut due = Vec::new();
        for (nick, p) in self.media.participants.iter().filter(|(_, p)| p.state == State::Failed) {
            match p.retry_at {
                Some(at) if !all && at > now => {
                    self.media.retry_at = Some(self.media.retry_at.map_or(at, |r| r.min(at)));
                }
                _ => due.push((p.serial, nick.clone())),
            }
        }
        due.sort_unstable();
        if self.media.retry_at.is_none() {
            core.media.starving.remove(&self.room);
        }
        for (_, nick) in due {
            self.invite(core, &nick, true);
        }
    }

    /// The client answered the offer with an error.
    pub(crate) fn offer_refused(&mut self, core: &mut Core, now: Instant, nick: &str, sid: u64) {
        if self.media.participants.get(nick).is_none_or(|p| p.sid != sid || p.state != State::Pending) {
            return;
        }
        core.metrics.offers_refused += 1;
        self.end_session(core, now, nick, Some(Reason::new("general-error", "jingle session failed")));
        self.failed(core, now, nick);
    }

    /// Ends whatever session a member has: the endpoint goes, its sources go, and if `tell`, the client is told why.
    pub(crate) fn end_session(&mut self, core: &mut Core, now: Instant, nick: &str, tell: Option<Reason>) {
        self.expire_endpoints(core, now, &[nick.into()]);
        self.close_session(core, nick, tell);
    }

    /// As [`Conference::end_session`], where the bridge needs no word.
    pub(crate) fn close_session(&mut self, core: &mut Core, nick: &str, tell: Option<Reason>) {
        self.stop_receiving(nick);
        if self.media.sources.remove_owner(nick) {
            self.media.dirty = true;
        }
        let Some(p) = self.media.participants.get_mut(nick) else { return };
        let had = p.has_session();
        p.state = State::Waiting;
        p.session = None;
        p.retry_at = None;
        if let (true, Some(reason)) = (had, tell) {
            let mut j = Jingle::new(Action::SessionTerminate, format!("{:x}", p.sid));
            j.reason = Some(reason);
            let (node, to) = (p.node.clone(), p.occupant.clone());
            core.tell(&node, &to, |w| j.write(w));
        }
    }

    /// Ends the session on its bridge and invites again.
    pub(crate) fn reinvite(&mut self, core: &mut Core, now: Instant, nick: &str) {
        self.end_session(core, now, nick, Some(Reason::new("success", "moving")));
        self.invite(core, nick, true);
    }

    /// The moderator's kind of members that mute IQs and moderation leave alone.
    pub(crate) fn is_exempt(&self, nick: &str) -> bool {
        match self.main.members.get(nick) {
            Some(m) if m.is_visitor() => true,
            Some(m) => match m.kind {
                Kind::Person => false,
                Kind::Recorder | Kind::Transcriber => true,
                Kind::Gateway => !self.media.mutable.contains(nick),
            },
            None => true,
        }
    }

    /// The session on a bridge; a new one if there is none.
    fn session_on(&mut self, core: &mut Core, bridge: &Arc<str>, visitor: bool) -> (NodeKey, bool) {
        if let Some((k, _)) = self.media.sessions.iter().find(|(_, s)| s.bridge == *bridge) {
            return (*k, false);
        }
        self.media.next_session += 1;
        let key = self.media.next_session;
        let id = core.uuid();
        let Some(b) = core.media.bridges.get(bridge) else { return (key, false) };
        let session = super::state::Session {
            id,
            bridge: bridge.clone(),
            to: b.jid.clone(),
            relay_id: b.relay_id.clone(),
            region: b.region.clone(),
            visitor,
            endpoints: 0,
            recent: super::window::Window::new(core.config.media.max_bridge_participants_interval),
            feedback: Default::default(),
        };
        self.media.sessions.insert(key, session);
        *core.media.rooms.entry(bridge.clone()).or_default().entry(self.room.clone()).or_default() += 1;
        (key, true)
    }
}

impl Core {
    /// Where bridges are reached.
    pub(crate) fn bridge_node(&self) -> NodeId {
        if self.config.media.service_connection { NodeId::Service } else { NodeId::Main }
    }

    /// Our address on a node.
    pub(crate) fn own_jid(&self, node: &NodeId) -> Option<String> {
        match node {
            NodeId::Vnode(v) => self.nodes.get(v)?.jid.as_ref().map(ToString::to_string),
            _ => self.main.jid.as_ref().map(ToString::to_string),
        }
    }

    /// Sends an IQ whose answer matters.
    pub(crate) fn ask_media(
        &mut self,
        now: Instant,
        node: &NodeId,
        to: &amphi_stanza::Jid,
        ty: &str,
        purpose: MediaPurpose,
        content: impl FnOnce(&mut XmlWriter),
    ) {
        let id = self.media.iqs.ask(now, self.config.reply_timeout, node.clone(), to.clone(), purpose);
        let mut w = XmlWriter::new();
        w.open_ns("iq", ns::CLIENT).attr("type", ty).attr("id", id).attr("to", to);
        content(&mut w);
        self.send(node, w);
    }

    /// Sends an IQ whose answer does not matter.
    pub(crate) fn tell(&mut self, node: &NodeId, to: &amphi_stanza::Jid, content: impl FnOnce(&mut XmlWriter)) {
        self.metrics.jingle_sent += 1;
        let id = self.random();
        let mut w = XmlWriter::new();
        w.open_ns("iq", ns::CLIENT).attr("type", "set").attr("id", format_args!("t{id:x}")).attr("to", to);
        content(&mut w);
        self.send(node, w);
    }
}

/// The name that the bridge's own sources have in offers.
pub(crate) fn feedback_msid(media: MediaType) -> String {
    format!("mixedmslabel mixedlabel{media}0")
}
