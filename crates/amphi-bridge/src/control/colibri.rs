//! All conferences of a bridge, without IO: colibri2 requests, events of the media plane and messages of bridge channels come in, answers,
//! commands and messages go out (`spec/bridge.md` 1.8, 1.9).
//!
//! A request is checked as a whole and then applied as a whole, in the order of arrival; only the answer to an ICE restart waits for somebody.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_jingle::colibri2::{ConferenceModified, ConferenceModify, Transport};
use amphi_media::ids::{ConferenceId, EndpointId};

use super::check;
use super::conference::Conference;
use super::describe;
use super::link::{Link, SocketId};
use super::refusal::Refusal;
use super::shared::{Output, Shared, Totals};
use crate::plane::event::Event;
use crate::transport::Restart;

/// One thing that happened.
#[derive(Debug)]
pub enum Input {
    /// A request; [`Output::Answer`] with the same number follows, always exactly once.
    Request {
        /// Chosen by the caller.
        id: u64,
        /// What is asked.
        request: Box<ConferenceModify>,
    },
    /// The media plane says something.
    Plane(Event),
    /// A WebSocket that [`Colibri::admits`] is open.
    SocketOpened {
        /// For whom.
        endpoint: EndpointId,
        /// Its number, chosen by the caller.
        socket: SocketId,
    },
    /// A message came on it.
    SocketMessage {
        /// Whose.
        endpoint: EndpointId,
        /// Text.
        text: String,
    },
    /// It is closed.
    SocketClosed {
        /// Whose.
        endpoint: EndpointId,
        /// Which.
        socket: SocketId,
    },
    /// The deadline of [`Colibri::poll_timeout`] has come.
    Tick,
}

/// Why a WebSocket is not admitted. What exactly was wrong is nobody's business (`spec/bridge.md` 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such conference or endpoint, or a wrong password")]
pub struct NotAdmitted;

/// Numbers of the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Conferences.
    pub conferences: usize,
    /// Those with a relay.
    pub conferences_with_relay: usize,
    /// Those without any endpoint that sends or is connected.
    pub inactive_conferences: usize,
    /// Those with two endpoints, who may speak directly.
    pub p2p_conferences: usize,
    /// Local and relayed endpoints.
    pub endpoints: usize,
    /// Local endpoints.
    pub local_endpoints: usize,
    /// Local endpoints whose transport is up.
    pub local_active_endpoints: usize,
    /// Local visitors.
    pub visitors: usize,
    /// Local endpoints without sources.
    pub receive_only: usize,
    /// Local endpoints with an audio source.
    pub sending_audio: usize,
    /// Local endpoints with a video source.
    pub sending_video: usize,
    /// Endpoints of other bridges.
    pub relayed_endpoints: usize,
    /// Relays.
    pub relays: usize,
    /// Endpoints of the largest conference.
    pub largest_conference: usize,
}

/// An answer that waits for new credentials.
#[derive(Debug)]
struct Waiting {
    id: u64,
    answer: ConferenceModified,
    until: Instant,
}

/// How long the answer to an ICE restart waits.
const RESTART: Duration = Duration::from_secs(5);

/// All conferences.
pub struct Colibri {
    shared: Shared,
    conferences: HashMap<ConferenceId, Conference>,
    meetings: HashMap<Arc<str>, ConferenceId>,
    keys: HashMap<Arc<str>, ConferenceId>,
    /// When conferences want to be asked.
    schedule: BTreeSet<(Instant, ConferenceId)>,
    next_scan: Option<Instant>,
    waiting: HashMap<EndpointId, VecDeque<Waiting>>,
    refusing: bool,
}

impl std::fmt::Debug for Colibri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Colibri").field("conferences", &self.conferences.len()).finish_non_exhaustive()
    }
}

impl Colibri {
    /// Without conferences.
    pub fn new(shared: Shared) -> Self {
        Self {
            shared,
            conferences: HashMap::new(),
            meetings: HashMap::new(),
            keys: HashMap::new(),
            schedule: BTreeSet::new(),
            next_scan: None,
            waiting: HashMap::new(),
            refusing: false,
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.shared.out.pop_front()
    }

    /// When [`Input::Tick`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = self.schedule.first().map(|(at, _)| *at);
        let waiting = self.waiting.values().filter_map(VecDeque::front).map(|w| w.until).min();
        [next, self.next_scan, waiting].into_iter().flatten().min()
    }

    /// From now on new conferences are refused, or taken again.
    pub fn refuse_conferences(&mut self, refuse: bool) {
        self.refusing = refuse;
    }

    /// What new transports are made of, to change it.
    pub fn shared_mut(&mut self) -> &mut Shared {
        &mut self.shared
    }

    /// Counts since the start.
    pub fn totals(&self) -> Totals {
        self.shared.totals
    }

    /// Feeds one thing that happened.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Request { id, request } => self.request(now, id, &request),
            Input::Plane(event) => self.plane(now, event),
            Input::SocketOpened { endpoint, socket } => {
                let admitted = self.with(now, endpoint, |c, shared| c.socket_opened(now, shared, endpoint, socket));
                if admitted.is_none() {
                    // It expired in between.
                    self.shared.out.push_back(Output::CloseSocket { socket, code: 1001, reason: "endpoint closed" });
                }
            }
            Input::SocketMessage { endpoint, text } => {
                self.shared.totals.socket_messages_received += 1;
                self.with(now, endpoint, |c, shared| c.message(now, shared, endpoint, &text, true));
            }
            Input::SocketClosed { endpoint, socket } => {
                self.with(now, endpoint, |c, shared| c.socket_closed(now, shared, endpoint, socket));
            }
            Input::Tick => self.tick(now),
        }
    }

    /// Whose WebSocket this would be: `conference` and `name` as in the path.
    ///
    /// # Errors
    /// If there is none, or the password is another.
    pub fn admits(&self, conference: &str, name: &str, password: &str, relay: bool) -> Result<EndpointId, NotAdmitted> {
        let id = self.keys.get(conference).ok_or(NotAdmitted)?;
        self.conferences.get(id).and_then(|c| c.admits(name, password, relay)).ok_or(NotAdmitted)
    }

    // ---- requests ------------------------------------------------------------------------------------------------------

    fn request(&mut self, now: Instant, id: u64, m: &ConferenceModify) {
        self.shared.totals.requests += 1;
        if let Err(refusal) = self.check(now, m) {
            self.shared.totals.requests_refused += 1;
            tracing::debug!(meeting = %m.meeting_id, %refusal, "A request is refused.");
            self.shared.out.push_back(Output::Answer { id, result: Err(refusal) });
            return;
        }
        let known = self.meetings.get(m.meeting_id.as_str()).copied();
        let conference = known.unwrap_or_else(|| self.create(now, m));
        let Some(c) = self.conferences.get_mut(&conference) else { return };
        let mut answer = ConferenceModified::default();
        let mut restart = None;
        for e in &m.endpoints {
            answer.endpoints.push(c.modify_endpoint(now, &mut self.shared, e));
            if !e.create && !e.expire && e.transport.as_ref().is_some_and(|t| t.ice_restart) {
                restart = c.endpoint(&e.id).map(|l| l.id);
            }
        }
        for r in &m.relays {
            answer.relays.push(c.modify_relay(now, &mut self.shared, r));
        }
        if m.create || m.endpoints.iter().any(|e| e.create) {
            answer.sources = Some(c.feedback_sources());
        }
        let done = m.expire || (!m.create && c.is_empty());
        match restart {
            Some(endpoint) if !done => {
                self.shared.totals.restarts += 1;
                self.shared.plane(crate::plane::command::Command::RestartIce { endpoint });
                let waiting = Waiting { id, answer, until: now + RESTART };
                self.waiting.entry(endpoint).or_default().push_back(waiting);
            }
            _ => self.shared.out.push_back(Output::Answer { id, result: Ok(Box::new(answer)) }),
        }
        if done {
            self.expire(now, conference);
        } else {
            self.reschedule(conference);
        }
        self.answer_the_gone();
    }

    fn check(&self, now: Instant, m: &ConferenceModify) -> Result<(), Refusal> {
        let settings = &self.shared.settings;
        check::form(m, settings)?;
        let known = self.meetings.get(m.meeting_id.as_str()).and_then(|id| self.conferences.get(id));
        match (m.create, known) {
            (true, Some(_)) => return Err(Refusal::ConferenceExists),
            (false, None) => return Err(Refusal::NoConference),
            (true, None) if self.refusing => return Err(Refusal::ShuttingDown),
            (true, None) if self.conferences.len() >= settings.limits.conferences => {
                return Err(Refusal::Full("conferences"));
            }
            _ => {}
        }
        check::content(now, known, m, settings)
    }

    fn create(&mut self, now: Instant, m: &ConferenceModify) -> ConferenceId {
        let c = Conference::new(now, &mut self.shared, &m.meeting_id);
        tracing::info!(meeting = %m.meeting_id, room = m.name.as_deref().unwrap_or_default(), key = %c.key, "A conference begins.");
        let id = c.id;
        self.meetings.insert(c.meeting.clone(), id);
        self.keys.insert(c.key.clone(), id);
        self.conferences.insert(id, c);
        self.shared.totals.conferences_created += 1;
        self.next_scan.get_or_insert(now + self.shared.settings.times.expiry_check);
        id
    }

    fn expire(&mut self, now: Instant, id: ConferenceId) {
        let Some(mut c) = self.conferences.remove(&id) else { return };
        tracing::info!(meeting = %c.meeting, "A conference ends.");
        if let Some(at) = c.scheduled {
            self.schedule.remove(&(at, id));
        }
        self.meetings.remove(&c.meeting);
        self.keys.remove(&c.key);
        c.expire(now, &mut self.shared);
    }

    /// Restarts of those who are gone are answered as what cannot be done: without a transport.
    fn answer_the_gone(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let gone: Vec<EndpointId> = self.waiting.keys().filter(|e| self.shared.home(**e).is_none()).copied().collect();
        for w in gone.iter().filter_map(|e| self.waiting.remove(e)).flatten() {
            self.shared.out.push_back(Output::Answer { id: w.id, result: Ok(Box::new(w.answer)) });
        }
    }

    fn restarted(&mut self, endpoint: EndpointId, result: Restart) {
        let Some(list) = self.waiting.get_mut(&endpoint) else { return };
        let first = list.pop_front();
        if list.is_empty() {
            self.waiting.remove(&endpoint);
        }
        let Some(Waiting { id, mut answer, .. }) = first else { return };
        if let (Restart::Started(local) | Restart::KeepExisting(local), Some(e)) =
            (result, answer.endpoints.first_mut())
        {
            e.transport = Some(Transport { ice: Some(describe::local(&local)), ..Transport::default() });
        }
        self.shared.out.push_back(Output::Answer { id, result: Ok(Box::new(answer)) });
    }

    // ---- what happens --------------------------------------------------------------------------------------------------

    fn plane(&mut self, now: Instant, event: Event) {
        let conference = match &event {
            Event::Connected { endpoint }
            | Event::Failed { endpoint, .. }
            | Event::Refused { endpoint }
            | Event::ChannelOpen { endpoint }
            | Event::ChannelMessage { endpoint, .. }
            | Event::ChannelClosed { endpoint }
            | Event::SendFailed { endpoint, .. }
            | Event::Restarted { endpoint, .. }
            | Event::RestartAbandoned { endpoint } => self.shared.home(*endpoint),
            Event::Conference { conference, .. } => Some(*conference),
            Event::Restart { .. } | Event::Activity { .. } => None,
        };
        match event {
            Event::Restart { endpoint, result } => self.restarted(endpoint, result),
            Event::Activity { endpoints } => {
                let mut by: HashMap<ConferenceId, Vec<EndpointId>> = HashMap::new();
                for e in endpoints {
                    if let Some(c) = self.shared.home(e) {
                        by.entry(c).or_default().push(e);
                    }
                }
                for (id, endpoints) in by {
                    if let Some(c) = self.conferences.get_mut(&id) {
                        c.plane_event(now, &mut self.shared, Event::Activity { endpoints });
                        self.reschedule(id);
                    }
                }
            }
            event => {
                let Some(id) = conference else { return };
                if let Some(c) = self.conferences.get_mut(&id) {
                    c.plane_event(now, &mut self.shared, event);
                    self.reschedule(id);
                }
            }
        }
    }

    fn with<T>(
        &mut self,
        _now: Instant,
        endpoint: EndpointId,
        act: impl FnOnce(&mut Conference, &mut Shared) -> T,
    ) -> Option<T> {
        let id = self.shared.home(endpoint)?;
        let done = act(self.conferences.get_mut(&id)?, &mut self.shared);
        self.reschedule(id);
        Some(done)
    }

    fn reschedule(&mut self, id: ConferenceId) {
        let Some(c) = self.conferences.get_mut(&id) else { return };
        let next = c.poll_timeout();
        if next == c.scheduled {
            return;
        }
        if let Some(at) = std::mem::replace(&mut c.scheduled, next) {
            self.schedule.remove(&(at, id));
        }
        if let Some(at) = next {
            self.schedule.insert((at, id));
        }
    }

    fn tick(&mut self, now: Instant) {
        while let Some((at, id)) = self.schedule.first().copied().filter(|(at, _)| *at <= now) {
            self.schedule.remove(&(at, id));
            if let Some(c) = self.conferences.get_mut(&id) {
                c.scheduled = None;
                c.tick(now, &mut self.shared);
                // Whoever wants to be asked at once again waits for the next tick.
                let next = c.poll_timeout().map(|next| next.max(now + Duration::from_millis(1)));
                c.scheduled = next;
                if let Some(next) = next {
                    self.schedule.insert((next, id));
                }
            }
        }
        let late: Vec<EndpointId> = self
            .waiting
            .iter()
            .filter(|(_, list)| list.front().is_some_and(|w| w.until <= now))
            .map(|(e, _)| *e)
            .collect();
        for e in late {
            self.restarted(e, Restart::Unavailable);
        }
        if self.next_scan.is_some_and(|at| at <= now) {
            self.scan(now);
        }
    }

    fn scan(&mut self, now: Instant) {
        let all: Vec<ConferenceId> = self.conferences.keys().copied().collect();
        for id in all {
            let Some(c) = self.conferences.get_mut(&id) else { continue };
            c.scan(now, &mut self.shared);
            let age = now.saturating_duration_since(c.created);
            if c.is_idle() && age > self.shared.settings.times.empty_conference {
                self.expire(now, id);
            } else {
                self.reschedule(id);
            }
        }
        self.answer_the_gone();
        let times = &self.shared.settings.times;
        self.next_scan = (!self.conferences.is_empty()).then(|| now + times.expiry_check);
    }

    // ---- numbers -------------------------------------------------------------------------------------------------------

    /// Local endpoints at the moment.
    pub fn local_endpoints(&self) -> usize {
        self.conferences.values().map(|c| c.locals().count()).sum()
    }

    /// Numbers of the moment.
    pub fn figures(&self) -> Figures {
        use amphi_media::ids::MediaKind;
        let mut f = Figures { conferences: self.conferences.len(), ..Figures::default() };
        for c in self.conferences.values() {
            let sends = |l: &Link, kind| l.sources.iter().any(|s| s.kind == kind);
            let (mut local, mut active) = (0, 0);
            for l in c.locals() {
                local += 1;
                active += usize::from(l.connected);
                f.visitors += usize::from(l.visitor);
                f.receive_only += usize::from(l.sources.is_empty());
                f.sending_audio += usize::from(sends(l, MediaKind::Audio));
                f.sending_video += usize::from(sends(l, MediaKind::Video));
            }
            let all = local + c.relayed();
            f.local_endpoints += local;
            f.local_active_endpoints += active;
            f.relayed_endpoints += c.relayed();
            f.endpoints += all;
            f.relays += c.relays();
            f.conferences_with_relay += usize::from(c.relays() > 0);
            f.inactive_conferences += usize::from(active == 0 && c.relayed() == 0);
            f.p2p_conferences += usize::from(all == 2);
            f.largest_conference = f.largest_conference.max(all);
        }
        f
    }
}
