//! One conference: its main room, its shadow rooms, and the requests that wait for either. How seats are judged is in
//! `stage`, shadow rooms are in `link`, timers and the end in `lifecycle`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use amphi_stanza::{BareJid, FullJid, Stanza};
use serde_json::{Map, Value};

use crate::admission::{Decision, Facts, Why, because, decide};
use crate::core::{Core, Waiting};
use crate::iq::{Answered, Purpose, What};
use crate::link::Vroom;
use crate::media::RoomMedia;
use crate::metadata::RoomMetadata;
use crate::muc::{Change, Form, Muc, Step};
use crate::owner::Owner;
use crate::publish::{self, Publisher};
use crate::stage::Stage;
use crate::surface::NOT_LIVE;
use crate::{ConferenceStatus, EndReason, Event, LiveReading, NodeId, Place, VroomStatus};

/// How far a conference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The main room is being joined.
    Joining,
    /// The room is asked whether it judges seats itself.
    Probing,
    /// The first metadata is awaited until then.
    AwaitingMetadata(Instant),
    Started,
    /// The main node disconnects the shadow rooms; until then.
    Stopping(Instant),
    Done,
}

pub(crate) struct Conference {
    pub(crate) room: BareJid,
    pub(crate) main: Muc,
    pub(crate) phase: Phase,
    pub(crate) vrooms: BTreeMap<Arc<str>, Vroom>,
    pub(crate) metadata: RoomMetadata,
    pub(crate) has_metadata: bool,
    pub(crate) stage: Stage,
    pub(crate) owner: Owner,
    pub(crate) publisher: Publisher,
    /// Requests that wait for the main room.
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) form: Form,
    pub(crate) meeting_id: String,
    pub(crate) breakout_main: Option<BareJid>,
    pub(crate) health: bool,
    /// Ends if nobody has joined until then.
    pub(crate) start_deadline: Option<Instant>,
    /// Ends if the main room is still empty then.
    pub(crate) empty_deadline: Option<Instant>,
    pub(crate) end_reason: EndReason,
    /// No shadow room is prepared before this time.
    pub(crate) prepare_after: Option<Instant>,
    /// Somebody wants to hear of every visitor.
    pub(crate) watched: bool,
    pub(crate) media: RoomMedia,
    /// The deadline that the focus has noted for this conference.
    pub(crate) noted: Option<Instant>,
}

impl Conference {
    /// Goes into the main room.
    pub(crate) fn create(core: &mut Core, now: Instant, room: &BareJid, me: FullJid) -> Self {
        let health = room.node().starts_with("__jicofo-health-check");
        let main = Muc::enter(core, now, room, None, room.clone(), me);
        Self {
            room: room.clone(),
            main,
            phase: Phase::Joining,
            vrooms: BTreeMap::new(),
            metadata: RoomMetadata::default(),
            has_metadata: false,
            stage: Stage::default(),
            owner: Owner::default(),
            publisher: Publisher::default(),
            waiting: Vec::new(),
            form: Form::default(),
            meeting_id: String::new(),
            breakout_main: None,
            health,
            start_deadline: Some(now + core.config.initial_timeout),
            empty_deadline: None,
            end_reason: EndReason::Empty,
            prepare_after: None,
            watched: false,
            media: RoomMedia::new(&core.config.media),
            noted: None,
        }
    }

    pub(crate) fn not_live(&self, reading: LiveReading) -> bool {
        match reading {
            LiveReading::Ignore => false,
            LiveReading::UnlessFalse => self.metadata.live == Some(false),
            LiveReading::OnlyIfTrue => self.metadata.live != Some(true),
        }
    }

    /// Nothing in this room speaks against visitors.
    pub(crate) fn allows_visitors(&self, core: &Core) -> bool {
        !self.health
            && !self.metadata.lobby
            && self.breakout_main.is_none()
            && match self.metadata.visitors_enabled {
                Some(enabled) => enabled,
                None => !core.config.require_muc_config_flag,
            }
    }

    /// A request for this room. It is answered now, or when the room is joined, linked, or given up.
    pub(crate) fn request(&mut self, core: &mut Core, now: Instant, w: Waiting) {
        if self.start_deadline.is_some() {
            self.start_deadline = Some(now + core.config.initial_timeout);
        }
        let number = |name: &str| w.request.properties.get(name).and_then(|v| v.parse().ok());
        let from = &mut self.media.start_muted_from;
        *from = (from.0.or_else(|| number("startAudioMuted")), from.1.or_else(|| number("startVideoMuted")));
        match self.phase {
            Phase::Started => self.evaluate(core, now, w),
            Phase::Stopping(_) | Phase::Done => core.defer(w),
            _ if self.waiting.len() >= core.config.limits.waiting_requests => core.defer(w),
            _ => self.waiting.push(w),
        }
    }

    pub(crate) fn facts(&self, core: &Core, now: Instant, w: &Waiting) -> Facts {
        let hints = &w.request.hints;
        let preferred = self.metadata.lists(hints.user.as_deref()) || self.metadata.lists(hints.group.as_deref());
        let identity = w.request.identity();
        Facts {
            supported: w.request.supports_visitors(),
            requested: w.request.wants_visitor(),
            not_live: self.not_live(core.config.live),
            preferred,
            allowed: self.metadata.participants.is_none() || preferred,
            visitors: core.visitors_possible(),
            room_allows_visitors: self.allows_visitors(core),
            audience_open: self.vrooms.values().any(|v| v.used),
            returning: self.stage.ledger.has(&identity)
                || self.stage.ledger.remembers(&identity, now, core.config.stage_memory),
        }
    }

    fn evaluate(&mut self, core: &mut Core, now: Instant, mut w: Waiting) {
        let facts = self.facts(core, now, &w);
        let supported = facts.visitors && self.visitors_announced(core);
        w.answer.properties.insert("visitors-supported", supported.to_string());
        let decision = decide(facts);
        w.because = because(facts);
        if !matches!(decision, Decision::Stage(_)) {
            self.give_up_seat(&w);
        }
        match decision {
            Decision::NotLive => {
                core.metrics.not_live += 1;
                core.decided(&w, Place::Wait, NOT_LIVE, None);
                w.answer.properties.insert("live", "false".into());
                core.reply(w.reply, Ok(w.answer));
            }
            Decision::Stage(full) => self.send_to_stage(core, now, w, full),
            Decision::Audience(why) => self.send_to_audience(core, now, w, why),
        }
    }

    /// `visitors-supported` of the answer (`spec/focus.md` 2.5, step 6).
    fn visitors_announced(&self, core: &Core) -> bool {
        !self.health && (self.metadata.visitors_enabled == Some(true) || !core.config.require_muc_config_flag)
    }

    /// Sends a client to the main room.
    pub(crate) fn admit(&mut self, core: &mut Core, now: Instant, mut w: Waiting) {
        core.metrics.admitted_to_stage += 1;
        if self.stage.ledger.remembers(&w.request.identity(), now, core.config.stage_memory) {
            core.metrics.returned_to_stage += 1;
        }
        w.answer.ready = true;
        core.decided(&w, Place::Stage, w.because, None);
        core.reply(w.reply, Ok(w.answer));
    }

    pub(crate) fn send_to_audience(&mut self, core: &mut Core, now: Instant, mut w: Waiting, why: Why) {
        w.why = Some(why);
        self.redirect(core, now, w);
    }

    /// A presence from the main room.
    pub(crate) fn on_main_presence(&mut self, core: &mut Core, now: Instant, nick: &str, stanza: &Stanza) {
        let change = self.main.presence(core, now, nick, stanza);
        match change {
            Change::Nothing => {}
            Change::Refused(why) => {
                core.event(Event::IqFailed { what: "room entry", why });
                self.stop(core, now, EndReason::JoinFailed);
            }
            Change::Gone if self.phase == Phase::Joining => self.stop(core, now, EndReason::JoinFailed),
            Change::Gone => self.stop(core, now, EndReason::RoomGone),
            Change::NotOwner => self.stop(core, now, EndReason::NotOwner),
            Change::Joined(nick) if self.is_live() => self.member_joined(core, now, &nick),
            Change::Updated if self.is_live() => {
                self.elect_owner(core, now);
                self.media_updated(core, now, &NodeId::Main, nick);
            }
            Change::Renamed if self.is_live() => self.media_updated(core, now, &NodeId::Main, nick),
            Change::Left { nick, member, switch_room, kicked } if self.is_live() => {
                self.member_left(core, now, &nick, member, switch_room, kicked);
            }
            Change::Joined(_) | Change::Updated | Change::Renamed | Change::Left { .. } => {}
        }
    }

    fn is_live(&self) -> bool {
        self.phase == Phase::Started
    }

    /// An answer that concerns this conference.
    pub(crate) fn on_answer(&mut self, core: &mut Core, now: Instant, purpose: Purpose, answered: Answered) {
        if purpose.vnode.is_some() {
            self.on_vroom_answer(core, now, purpose, answered);
            return;
        }
        if purpose.serial != self.main.serial {
            return;
        }
        match purpose.what {
            What::OwnerForm | What::OwnerSubmit => match self.main.answer(core, now, &purpose.what, answered) {
                Step::Waiting => {}
                Step::Ready(form) => self.joined(core, now, *form),
                Step::Failed(why) => {
                    core.event(Event::IqFailed { what: purpose.what.name(), why });
                    self.stop(core, now, EndReason::JoinFailed);
                }
            },
            What::SeatsProbe => {
                self.stage.probed(answered.as_ref().ok());
                if self.phase == Phase::Probing {
                    self.await_metadata(core, now);
                }
            }
            What::Seats(ids) => self.on_seats(core, now, ids, answered),
            What::StopDisconnect => {
                if matches!(self.phase, Phase::Stopping(_)) {
                    self.finish(core, now);
                }
            }
            what => {
                if let Err(why) = answered {
                    core.event(Event::IqFailed { what: what.name(), why });
                }
            }
        }
    }

    /// The main room is ours.
    fn joined(&mut self, core: &mut Core, now: Instant, form: Form) {
        if self.metadata.visitors_enabled.is_none() {
            self.metadata.visitors_enabled = form.visitors_enabled;
        }
        if self.metadata.participants_soft_limit.is_none() {
            self.metadata.participants_soft_limit = form.participants_soft_limit;
        }
        self.breakout_main = form.breakout_main.clone();
        if let Some(main) = &self.breakout_main {
            *core.breakouts.entry(main.clone()).or_default() += 1;
        }
        self.meeting_id = form.meeting_id.clone().unwrap_or_else(|| core.uuid());
        self.form = form;
        if self.health || self.breakout_main.is_some() {
            self.stage.probed(None);
            self.await_metadata(core, now);
        } else {
            self.phase = Phase::Probing;
            self.probe_seats(core, now);
        }
    }

    fn await_metadata(&mut self, core: &mut Core, now: Instant) {
        if self.form.presets && !self.has_metadata {
            self.phase = Phase::AwaitingMetadata(now + core.config.metadata_timeout);
        } else {
            self.start(core, now);
        }
    }

    pub(crate) fn start(&mut self, core: &mut Core, now: Instant) {
        self.phase = Phase::Started;
        if !self.health {
            core.metrics.conferences_created += 1;
            core.event(Event::ConferenceStarted { room: self.room.clone(), meeting_id: self.meeting_id.clone() });
        }
        self.publish_main(core, now);
        if self.start_deadline.is_some() {
            self.start_deadline = Some(now + core.config.initial_timeout);
        }
        for nick in self.main.by_arrival() {
            self.member_joined(core, now, &nick);
        }
        for w in std::mem::take(&mut self.waiting) {
            self.request(core, now, w);
        }
    }

    /// New metadata; everything it says is taken over at once, also before the join is complete.
    pub(crate) fn on_metadata(&mut self, core: &mut Core, now: Instant, metadata: &Map<String, Value>) {
        self.metadata.apply(metadata);
        self.has_metadata = true;
        if matches!(self.phase, Phase::AwaitingMetadata(_)) {
            self.start(core, now);
        }
    }

    /// Visitors that are present on nodes we are connected to.
    pub(crate) fn visitors(&self) -> u32 {
        self.vrooms.values().map(Vroom::present).sum()
    }

    pub(crate) fn publish_main(&mut self, core: &mut Core, now: Instant) {
        let visitors = self.visitors();
        let media = self.has_media(core).then_some(&self.media.published);
        publish::presence(core, &self.main, !self.health, visitors, media);
        self.publisher.sent(now, visitors);
    }

    pub(crate) fn joined_event(&self, muc_node: &NodeId, occupant: FullJid) -> Event {
        Event::MemberJoined { room: self.room.clone(), node: muc_node.clone(), occupant }
    }

    pub(crate) fn left_event(&self, muc_node: &NodeId, occupant: FullJid) -> Event {
        Event::MemberLeft { room: self.room.clone(), node: muc_node.clone(), occupant }
    }

    pub(crate) fn status(&self) -> ConferenceStatus {
        ConferenceStatus {
            room: self.room.clone(),
            stage: self.users(),
            seats_pending: self.stage.ledger.reserved(),
            visitors: self.visitors(),
            meeting_id: self.meeting_id.clone(),
            vrooms: self
                .vrooms
                .iter()
                .map(|(v, r)| VroomStatus {
                    vnode: v.to_string(),
                    visitors: r.present(),
                    pending: r.pending.total(),
                    state: r.link.as_str(),
                })
                .collect(),
            bridges: self.media.sessions.values().map(|s| (s.bridge.to_string(), s.endpoints)).collect(),
        }
    }
}
