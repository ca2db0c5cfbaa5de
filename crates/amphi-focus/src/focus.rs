//! The focus itself: takes inputs apart, hands them to the conference they belong to, and keeps its timers.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_stanza::{BareJid, FullJid, Jid, XmlWriter, ns};

use crate::conference::{Conference, Phase};
use crate::core::{Components, Core, ReplyTo, Waiting};
use crate::iq::{Answered, Purpose, What};
use crate::pace::Pace;
use crate::surface::NOT_LIVE;
use crate::{
    ConferenceAnswer, EndReason, Event, FocusConfig, Input, LiveReading, Metrics, NodeId, Output, Place, RequestError,
    disco,
};

/// How often missing components are asked for.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// State of a visitor node, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub vnode: String,
    /// Whether the focus is connected to it.
    pub connected: bool,
    /// Whether new visitors are kept away.
    pub draining: bool,
    /// Visitors present, over all conferences.
    pub visitors: u32,
    /// Visitors redirected and not yet seen.
    pub pending: u32,
    /// Visitors it may have.
    pub capacity: u32,
}

/// A shadow room, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VroomStatus {
    /// Its node.
    pub vnode: String,
    /// Visitors present.
    pub visitors: u32,
    /// Visitors redirected and not yet seen.
    pub pending: u32,
    /// `entering`, `linking`, `linked`, `away` or `unlinking`.
    pub state: &'static str,
}

/// Somebody in a conference, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Nick in its room; the endpoint id.
    pub endpoint: String,
    /// The visitor node; `None` on stage.
    pub vnode: Option<String>,
    /// Real address.
    pub jid: Option<Jid>,
    /// Name that the person chose.
    pub name: String,
    /// May moderate.
    pub moderator: bool,
    /// Address of the bridge that carries its media.
    pub bridge: Option<String>,
}

/// State of a conference, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConferenceStatus {
    /// Main room.
    pub room: BareJid,
    /// Unique id of this meeting.
    pub meeting_id: String,
    /// Users on stage.
    pub stage: u32,
    /// Seats given to clients that have not joined yet.
    pub seats_pending: u32,
    /// Visitors present, over all nodes.
    pub visitors: u32,
    /// Shadow rooms, by node.
    pub vrooms: Vec<VroomStatus>,
    /// Addresses of its bridges, with its endpoints there.
    pub bridges: Vec<(String, u32)>,
}

/// The conference focus. See the crate's documentation for how to drive it.
pub struct Focus {
    pub(crate) core: Core,
    conferences: HashMap<BareJid, Conference>,
    timers: BTreeSet<(Instant, BareJid)>,
    pace: Pace,
}

impl Focus {
    /// A focus that is connected to nothing yet. `seed` is the source of its randomness.
    pub fn new(config: FocusConfig, seed: u64) -> Self {
        let pace = Pace::new(&config.limits);
        Self { core: Core::new(config, seed), conferences: HashMap::new(), timers: BTreeSet::new(), pace }
    }

    /// Feeds one thing that happened. Drain [`Focus::poll_output`] afterwards.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Connected { node: NodeId::Main, jid, resumed } => self.main_connected(now, jid, resumed),
            Input::Connected { node: NodeId::Service, resumed, .. } => {
                self.core.media.service_connected = true;
                if self.core.config.media.service_connection {
                    self.bridges_connected(now, resumed);
                }
                self.core.event(Event::NodeUp { node: NodeId::Service });
            }
            Input::Connected { node: NodeId::Vnode(name), jid, resumed } => {
                self.vnode_connected(now, &name, jid, resumed);
            }
            Input::Disconnected { node } => self.disconnected(now, &node),
            Input::Stanza { node, stanza } => self.stanza(now, &node, &stanza),
            Input::ConferenceRequest { id, request, peer } => {
                let answer = ConferenceAnswer { room: request.room_text.clone(), ..ConferenceAnswer::default() };
                self.request(now, Waiting { reply: ReplyTo::Http(id), request, peer, answer, why: None, because: "" });
            }
            Input::NodeAdded(vnode) => self.core.nodes.add(&vnode, &self.core.config),
            Input::NodeRemoved { vnode } => self.node_removed(now, &vnode),
            Input::Drain { vnode, draining } => {
                if let Some(n) = self.core.nodes.get_mut(&vnode) {
                    n.draining = draining;
                }
            }
            Input::EndConference { room } => self.with(now, &room, |c, core| c.stop(core, now, EndReason::Operator)),
            Input::FindMeeting { id, meeting_id, endpoint } => {
                let found = self.conferences.values().find_map(|c| c.as_meeting(&meeting_id, endpoint.as_deref()));
                self.core.out.push_back(Output::Meeting { id, found });
            }
            Input::ListVisitors { id, room, limit } => {
                let visitors = self.conferences.get(&room).map(|c| c.listed(limit)).unwrap_or_default();
                self.core.out.push_back(Output::Visitors { id, visitors });
            }
            Input::WatchVisitors { room, on } => {
                if let Some(c) = self.conferences.get_mut(&room) {
                    c.watched = on;
                }
            }
            Input::Move { id, what } => self.move_endpoints(now, id, what),
            Input::HoldBridge { bridge, hold } => self.hold_bridge(&bridge, hold),
            Input::Kick { room, endpoint, reason } => self.with(now, &room, |c, core| {
                c.kick(core, now, &endpoint, reason.as_deref());
            }),
            Input::Tick => {}
        }
        self.run_timers(now);
        self.admit(now);
        self.run_bridges(now);
        self.run_media_timeouts(now);
        self.run_invites(now);
    }

    /// What must happen next, in order; `None` when there is nothing left.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.out.pop_front()
    }

    /// When [`Input::Tick`] is wanted; `None` means never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let config = &self.core.config;
        let main = self.core.main.lost_at.map(|at| at + config.reply_timeout);
        let nodes = self.core.nodes.iter().filter_map(|(_, n)| Some(n.lost_at? + config.vnode_lost_after)).min();
        [
            self.timers.first().map(|(at, _)| *at),
            self.core.iqs.deadline(),
            self.pace.deadline(self.blocked()),
            main,
            nodes,
            self.core.main.ask_again.filter(|_| self.core.main.connected),
            self.bridges_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The settings.
    pub fn config(&self) -> &FocusConfig {
        &self.core.config
    }

    /// Counters.
    pub fn metrics(&self) -> &Metrics {
        &self.core.metrics
    }

    /// Whether the main node is connected and its components are known.
    pub fn is_ready(&self) -> bool {
        !self.blocked()
    }

    /// Visitor nodes, by name.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        self.core.nodes.status()
    }

    /// Conferences, in no order.
    pub fn conferences(&self) -> Vec<ConferenceStatus> {
        self.conferences.values().filter(|c| !c.health).map(Conference::status).collect()
    }

    /// So many members of a conference at most, the stage first; `None` if there is no such conference.
    pub fn members(&self, room: &BareJid, limit: usize) -> Option<Vec<MemberStatus>> {
        Some(self.conferences.get(room)?.member_status(limit))
    }

    /// A member of a conference by its endpoint id.
    pub fn member(&self, room: &BareJid, endpoint: &str) -> Option<MemberStatus> {
        self.conferences.get(room)?.one_member(endpoint)
    }

    /// Lets a conference act, then notes its next deadline, or forgets it when it is over.
    pub(crate) fn with(&mut self, now: Instant, room: &BareJid, act: impl FnOnce(&mut Conference, &mut Core)) {
        let Some(c) = self.conferences.get_mut(room) else { return };
        act(c, &mut self.core);
        c.settle(&mut self.core, now);
        let next = if c.phase == Phase::Done { None } else { c.deadline(&self.core) };
        if c.noted != next {
            if let Some(at) = c.noted {
                self.timers.remove(&(at, room.clone()));
            }
            if let Some(at) = next {
                self.timers.insert((at, room.clone()));
            }
            c.noted = next;
        }
        if c.phase == Phase::Done {
            self.conferences.remove(room);
        }
    }

    pub(crate) fn has_conference(&self, room: &BareJid) -> bool {
        self.conferences.contains_key(room)
    }

    /// Endpoints of a conference on a bridge.
    pub(crate) fn endpoints_on(&self, room: &BareJid, bridge: &str) -> u32 {
        let sessions = self.conferences.get(room).map(|c| c.media.sessions.values());
        sessions.into_iter().flatten().filter(|s| *s.bridge == *bridge).map(|s| s.endpoints).sum()
    }

    fn with_all(&mut self, now: Instant, mut act: impl FnMut(&mut Conference, &mut Core)) {
        let rooms: Vec<_> = self.conferences.keys().cloned().collect();
        for room in rooms {
            self.with(now, &room, &mut act);
        }
    }

    // Connections

    pub(crate) fn initial_presence(&mut self, node: &NodeId) {
        let mut w = XmlWriter::new();
        w.open_ns("presence", ns::CLIENT);
        disco::caps(&mut w, &self.core.caps);
        self.core.send(node, w);
    }

    fn main_connected(&mut self, now: Instant, jid: FullJid, resumed: bool) {
        if !resumed {
            // Whatever the focus had there is gone; clients will ask again.
            self.core.main.connected = false;
            self.with_all(now, |c, core| {
                c.stop(core, now, EndReason::MainLost);
                if c.phase != Phase::Done {
                    c.finish(core, now);
                }
            });
            while self.core.iqs.lost(&NodeId::Main).is_some() {}
        }
        let main = &mut self.core.main;
        main.jid = Some(jid);
        main.connected = true;
        main.lost_at = None;
        if !resumed {
            main.ready = false;
            main.components = Components::default();
            self.initial_presence(&NodeId::Main);
            self.ask_components(now);
        }
        if !self.core.config.media.service_connection {
            self.bridges_connected(now, resumed);
        }
        self.core.back(&NodeId::Main, resumed);
        if resumed {
            self.with_all(now, |c, core| {
                c.publisher.missed();
                c.audience_changed(core, now);
            });
        }
        self.core.event(Event::NodeUp { node: NodeId::Main });
    }

    fn ask_components(&mut self, now: Instant) {
        self.core.main.ask_again = None;
        let Ok(domain) = Jid::parse(&self.core.config.xmpp_domain) else {
            self.core.main.ready = true;
            return;
        };
        let purpose = Purpose { room: None, vnode: None, serial: 0, what: What::Components };
        self.core.ask(now, &NodeId::Main, &domain, "get", purpose, |w| {
            w.empty("query", ns::DISCO_INFO);
        });
    }

    pub(crate) fn components(&mut self, now: Instant, answered: Answered) {
        let main = &mut self.core.main;
        main.ready = true;
        match answered {
            Ok(stanza) => {
                let mut found = Components::default();
                let query = stanza.child("query", ns::DISCO_INFO);
                for i in query.iter().flat_map(|q| q.children()).filter(|i| i.name() == "identity") {
                    let (Some(category), Some(ty), Some(name)) = (i.attr("category"), i.attr("type"), i.attr("name"))
                    else {
                        continue;
                    };
                    let (true, Ok(address)) = (category == "component", Jid::parse(&name)) else { continue };
                    match &*ty {
                        "visitors" => found.visitors = Some(address),
                        "av_moderation" => found.av_moderation = Some(address),
                        "room_metadata" => found.room_metadata = Some(address),
                        "breakout_rooms" => found.breakout_rooms = Some(address),
                        _ => {}
                    }
                }
                main.components = found;
            }
            Err(why) => self.core.event(Event::IqFailed { what: What::Components.name(), why }),
        }
        let c = &self.core.main.components;
        if c.visitors.is_none() || c.room_metadata.is_none() {
            self.core.main.ask_again = Some(now + ASK_AGAIN);
        }
        self.with_all(now, |_, _| {});
    }

    fn vnode_connected(&mut self, now: Instant, name: &Arc<str>, jid: FullJid, resumed: bool) {
        let node = NodeId::Vnode(name.clone());
        let Some(n) = self.core.nodes.get_mut(name) else { return };
        let was_connected = n.connected;
        if was_connected && !resumed {
            self.disconnected(now, &node);
        }
        let Some(n) = self.core.nodes.get_mut(name) else { return };
        n.connected = true;
        n.jid = Some(jid);
        n.lost_at = None;
        n.retry_at = None;
        if !resumed {
            while self.core.iqs.lost(&node).is_some() {}
            self.initial_presence(&node);
        }
        self.core.back(&node, resumed);
        self.core.event(Event::NodeUp { node });
        self.with_all(now, |c, core| c.node_back(core, now, name, resumed));
    }

    fn disconnected(&mut self, now: Instant, node: &NodeId) {
        match node {
            NodeId::Main => {
                if !self.core.main.connected {
                    return;
                }
                self.core.main.connected = false;
                self.core.main.lost_at = Some(now);
                self.core.metrics.xmpp_disconnects += 1;
                self.core.event(Event::NodeLost { node: NodeId::Main, visitors: 0 });
            }
            NodeId::Service => {
                if std::mem::take(&mut self.core.media.service_connected) {
                    self.core.metrics.xmpp_disconnects += 1;
                    self.core.event(Event::NodeLost { node: NodeId::Service, visitors: 0 });
                }
            }
            NodeId::Vnode(name) => {
                let Some(n) = self.core.nodes.get_mut(name).filter(|n| n.connected) else { return };
                n.connected = false;
                n.lost_at = Some(now);
                self.core.metrics.xmpp_disconnects += 1;
                let mut visitors = 0;
                self.with_all(now, |c, core| visitors += c.node_lost(core, now, name));
                self.core.event(Event::NodeLost { node: node.clone(), visitors });
            }
        }
    }

    fn node_removed(&mut self, now: Instant, vnode: &str) {
        let Some(n) = self.core.nodes.get_mut(vnode) else { return };
        n.draining = true;
        let name: Arc<str> = vnode.into();
        self.with_all(now, |c, core| {
            if c.vrooms.contains_key(&name) {
                c.vroom_closed(core, now, &name);
            }
        });
        self.core.nodes.remove(vnode);
        self.core.back(&NodeId::Vnode(name), false);
    }

    // Requests

    fn is_breakout(&self, room: &BareJid) -> bool {
        self.core.main.components.breakout_rooms.as_ref().is_some_and(|b| b.domain() == room.domain())
    }

    /// A request arrived: what can be said at once is said, the rest waits for its turn.
    pub(crate) fn request(&mut self, now: Instant, mut w: Waiting) {
        self.core.metrics.conference_requests += 1;
        let room = w.request.room.clone();
        let breakout = self.is_breakout(&room);
        if !breakout && !self.core.config.is_conference_room(&room) {
            self.core.decided(&w, Place::Refused, "this is not the address of a conference room", None);
            self.core.reply(w.reply, Err(RequestError::BadRequest("not a conference room")));
            return;
        }
        if w.request.properties.get("meeting-id").is_some_and(|m| self.core.ended.is_over(m, now)) {
            self.core.decided(&w, Place::Refused, "the meeting that the client was in has ended", None);
            return self.core.reply(w.reply, Err(RequestError::Ended));
        }
        let properties = &mut w.answer.properties;
        properties.insert("authentication", self.core.auth.enabled().to_string());
        if self.core.auth.external() {
            properties.insert("externalAuth", "true".into());
        }
        if self.core.config.sip_gateway {
            properties.insert("sipGatewayEnabled", "true".into());
        }
        w.answer.focus_jid = self.core.main.jid.as_ref().map(|j| j.bare_str().to_owned());
        let exists = self.conferences.contains_key(&room);
        if !breakout && self.core.auth.enabled() {
            let open = exists || self.core.breakouts.contains_key(&room);
            let fresh = self.core.uuid();
            match self.core.auth.check(now, &w.request, open, fresh) {
                Ok(Some((id, identity))) => {
                    w.answer.session_id = Some(id);
                    w.answer.identity = Some(identity);
                    self.with(now, &room, |c, core| c.elect_owner(core, now));
                }
                Ok(None) => {}
                Err(e) => {
                    self.core.decided(&w, Place::Refused, "the user is not authenticated", None);
                    return self.core.reply(w.reply, Err(e));
                }
            }
        }
        // A crowd that waits for the host costs nothing: no conference, no admission.
        let live = self.core.config.live;
        let not_live = match self.conferences.get(&room) {
            Some(c) => c.phase == Phase::Started && c.not_live(live),
            None => live == LiveReading::OnlyIfTrue,
        };
        if not_live && w.request.supports_visitors() && w.request.wants_visitor() {
            self.core.metrics.not_live += 1;
            w.answer.properties.insert("live", "false".into());
            w.answer.properties.insert("visitors-supported", self.core.visitors_possible().to_string());
            self.core.decided(&w, Place::Wait, NOT_LIVE, None);
            return self.core.reply(w.reply, Ok(w.answer));
        }
        let peer = self.core.config.limits.one_peer(w.peer);
        if let Some(w) = self.pace.push(now, w, peer) {
            self.core.defer(w);
        }
    }

    /// Nobody can be admitted now.
    fn blocked(&self) -> bool {
        !self.core.main.connected || !self.core.main.ready
    }

    fn admit(&mut self, now: Instant) {
        if self.blocked() {
            while let Some(w) = self.pace.overdue(now) {
                self.core.defer(w);
            }
            return;
        }
        while let Some(w) = self.pace.pop(now) {
            let room = w.request.room.clone();
            if !self.conferences.contains_key(&room) {
                let me = room.occupant(&self.core.config.nick);
                let (Ok(me), true) = (me, self.conferences.len() < self.core.config.limits.conferences) else {
                    self.core.defer(w);
                    continue;
                };
                self.core.metrics.conference_requests_new += 1;
                let c = Conference::create(&mut self.core, now, &room, me);
                self.conferences.insert(room.clone(), c);
            }
            self.with(now, &room, |c, core| c.request(core, now, w));
        }
    }

    // Timers

    fn run_timers(&mut self, now: Instant) {
        while let Some(purpose) = self.core.iqs.expired(now) {
            self.core.metrics.iq_timeouts += 1;
            self.answered(now, purpose, Err("no answer".to_owned()));
        }
        self.core.iqs.trim();
        let timeout = self.core.config.reply_timeout;
        if self.core.main.lost_at.is_some_and(|at| at + timeout <= now) {
            self.core.main.lost_at = None;
            self.with_all(now, |c, core| c.stop(core, now, EndReason::MainLost));
        }
        if self.core.main.connected && self.core.main.ask_again.is_some_and(|at| at <= now) {
            self.ask_components(now);
        }
        let lost_after = self.core.config.vnode_lost_after;
        let gone: Vec<Arc<str>> = self
            .core
            .nodes
            .iter()
            .filter(|(_, n)| n.lost_at.is_some_and(|at| at + lost_after <= now))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(n) = self.core.nodes.get_mut(&name) {
                n.lost_at = None;
            }
            self.with_all(now, |c, core| c.node_gone(core, now, &name));
        }
        while let Some((at, room)) = self.timers.first().cloned() {
            if at > now {
                break;
            }
            self.timers.remove(&(at, room.clone()));
            if let Some(c) = self.conferences.get_mut(&room) {
                c.noted = None;
            }
            self.with(now, &room, |c, core| c.tick(core, now));
            // A deadline that its tick did not move would be due for ever.
            if let Some(c) = self.conferences.get(&room)
                && c.noted.is_some_and(|next| next <= now)
            {
                debug_assert!(false, "deadline not moved in {:?}", c.phase);
                break;
            }
        }
    }
}
