//! One conference: who is connected, and the glue between what was signaled, the decisions ([`amphi_media::conference`]) and the media plane
//! ([`crate::plane`]). Decides nothing itself. Called by [`super::colibri`] with requests that have been checked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use amphi_jingle::colibri2::{self, ForceMute, MediaSource, Sctp, SctpRole};
use amphi_jingle::{MediaSources, MediaType, Source, WebSocket};
use amphi_media::conference as brain;
use amphi_media::ids::{ConferenceId, EndpointId};
use amphi_media::source::SourceDesc;

use super::channel::Untold;
use super::check::SCTP_PORT;
use super::link::{Allowance, Channels, Link, LinkKind, Relayed, SocketId, numbered};
use super::shared::{Output, Shared};
use super::{describe, formats};
use crate::plane::command::{AddEndpoint, Command, CreateConference, Media, Role};
use crate::plane::event::Event;
use crate::transport::{Peer, PeerConfig};

/// A conference.
#[derive(Debug)]
pub(super) struct Conference {
    /// Number.
    pub id: ConferenceId,
    /// Key of requests.
    pub meeting: Arc<str>,
    /// Name in addresses of WebSockets.
    pub key: Arc<str>,
    /// When it was created.
    pub created: Instant,
    /// When the decisions want to be asked next; as [`super::colibri`] has noted it.
    pub scheduled: Option<Instant>,
    feedback: [u32; 2],
    endpoints: HashMap<Arc<str>, EndpointId>,
    relays: HashMap<Arc<str>, EndpointId>,
    pub(super) links: HashMap<EndpointId, Link>,
    relayed: HashMap<EndpointId, Relayed>,
    brain: brain::Conference,
    meshes: Vec<Arc<str>>,
    pub(super) untold: Untold,
    pub(super) broadcasts: Allowance,
}

impl Conference {
    /// A new conference without anybody.
    pub(super) fn new(now: Instant, shared: &mut Shared, meeting: &str) -> Self {
        let id = shared.conference_id();
        let feedback = [shared.ssrc(), shared.ssrc()];
        shared.plane(Command::CreateConference(CreateConference {
            id,
            feedback_audio: feedback[0],
            feedback_video: feedback[1],
            speech: shared.speech.clone(),
        }));
        let mut config = shared.decisions.clone();
        config.relay_id = shared.settings.identity.relay_id.as_deref().unwrap_or_default().into();
        let mut conference = Self {
            id,
            meeting: meeting.into(),
            key: shared.key().into(),
            created: now,
            scheduled: None,
            feedback,
            endpoints: HashMap::new(),
            relays: HashMap::new(),
            links: HashMap::new(),
            relayed: HashMap::new(),
            brain: brain::Conference::new(config, shared.secret()),
            meshes: Vec::new(),
            untold: Untold::default(),
            broadcasts: Allowance::new(now, shared.settings.limits.broadcast_bytes_per_second),
        };
        conference.drain(shared);
        conference
    }

    // ---- what there is -------------------------------------------------------------------------------------------------

    /// The local endpoint with this id.
    pub(super) fn endpoint(&self, name: &str) -> Option<&Link> {
        self.links.get(self.endpoints.get(name)?)
    }

    /// The relay with this id.
    pub(super) fn relay(&self, name: &str) -> Option<&Link> {
        self.links.get(self.relays.get(name)?)
    }

    /// Endpoints, relayed endpoints and relays.
    pub(super) fn size(&self) -> usize {
        self.links.len() + self.relayed.len()
    }

    /// Relays.
    pub(super) fn relays(&self) -> usize {
        self.relays.len()
    }

    /// Local endpoints.
    pub(super) fn locals(&self) -> impl Iterator<Item = &Link> {
        self.links.values().filter(|l| !l.is_relay())
    }

    /// Endpoints of other bridges.
    pub(super) fn relayed(&self) -> usize {
        self.relayed.len()
    }

    /// Nobody here and no link to another bridge.
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty() && self.relayed.is_empty()
    }

    /// Nobody is here, and this bridge does not join two meshes (`spec/bridge.md` 1.9).
    pub(super) fn is_idle(&self) -> bool {
        let mut mesh = None;
        self.endpoints.is_empty()
            && self.relayed.is_empty()
            && self.links.values().all(|l| match &l.kind {
                LinkKind::Relay { mesh: m } => *mesh.get_or_insert(m) == m,
                LinkKind::Endpoint => false,
            })
    }

    /// When the decisions want to be asked.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.brain.poll_timeout().into_iter().chain(self.untold.at()).min()
    }

    /// The SSRCs that this bridge sends RTCP with.
    pub(super) fn feedback_sources(&self) -> Vec<MediaSource> {
        [(MediaType::Audio, "jvb-a0", self.feedback[0]), (MediaType::Video, "jvb-v0", self.feedback[1])]
            .into_iter()
            .map(|(ty, name, ssrc)| MediaSource {
                ty,
                id: name.to_owned(),
                synthetic: false,
                media: MediaSources {
                    sources: vec![Source { ssrc, name: Some(name.to_owned()), ..Source::default() }],
                    groups: Vec::new(),
                },
            })
            .collect()
    }

    // ---- requests ------------------------------------------------------------------------------------------------------

    /// Creates, changes or expires an endpoint. The request has been checked. The answer lacks a transport if [`Conference::restarts`] says so:
    /// it comes later.
    pub(super) fn modify_endpoint(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        e: &colibri2::Endpoint,
    ) -> colibri2::Endpoint {
        if e.expire {
            if let Some(id) = self.endpoints.get(e.id.as_str()).copied() {
                self.remove(now, shared, id, "endpoint closed");
            }
            return colibri2::Endpoint::expired(&e.id);
        }
        let mut answer = colibri2::Endpoint::new(&e.id);
        let id = if e.create {
            if let Some(old) = self.endpoints.get(e.id.as_str()).copied() {
                self.remove(now, shared, old, "replaced");
            }
            let (id, transport) = self.create_endpoint(now, shared, e);
            answer.transport = Some(transport);
            id
        } else {
            let Some(id) = self.endpoints.get(e.id.as_str()).copied() else { return answer };
            self.set_media(shared, id, &e.media);
            id
        };
        if let Some(ice) = e.transport.as_ref().and_then(|t| t.ice.as_ref()) {
            let remote = Box::new(describe::remote(ice, shared.settings.limits.candidates));
            shared.plane(Command::SetRemote { endpoint: id, remote });
        }
        if let Some(sources) = &e.sources {
            self.set_sources(now, shared, id, sources);
        }
        if let Some(ForceMute { audio, video }) = e.force_mute {
            shared.plane(Command::ForceMute { endpoint: id, audio, video });
        }
        if let Some(n) = e.initial_last_n {
            self.tell_brain(now, shared, brain::Input::InitialLastN { endpoint: id, last_n: n });
        }
        answer
    }

    fn create_endpoint(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        e: &colibri2::Endpoint,
    ) -> (EndpointId, colibri2::Transport) {
        let asked = e.transport.clone().unwrap_or_default();
        let name: Arc<str> = e.id.as_str().into();
        let media = Media { ssrc_rewriting: e.capabilities.ssrc_rewriting, ..shared.media(&e.media) };
        let private = shared.settings.advertise_private || e.capabilities.private_addresses;
        let sctp = asked.sctp.map(|_| crate::transport::SctpRole::Server);
        let role = if e.visitor { Role::Visitor } else { Role::Participant };
        let (link, local) = self.connect(
            now,
            shared,
            name,
            LinkKind::Endpoint,
            e.visitor,
            media,
            role,
            asked.ice_controlling,
            private,
            sctp,
        );
        let id = link.id;
        let mut ice = describe::local(&local);
        ice.web_sockets = self.web_sockets(shared, &link, false);
        self.endpoints.insert(link.name.clone(), id);
        let joined = brain::Endpoint {
            id,
            name: link.name.clone(),
            role: if e.visitor { brain::Role::Visitor } else { brain::Role::Participant },
            ssrc_rewriting: e.capabilities.ssrc_rewriting,
            mid_demux: e.capabilities.rtp_mid_demux && e.capabilities.ssrc_rewriting,
        };
        self.links.insert(id, link);
        shared.totals.joined(e.visitor);
        self.tell_brain(now, shared, brain::Input::Added(joined));
        let sctp = asked.sctp.map(|_| Sctp { role: Some(SctpRole::Server), port: Some(SCTP_PORT) });
        (id, colibri2::Transport { ice: Some(ice), sctp, ..colibri2::Transport::default() })
    }

    #[allow(clippy::too_many_arguments)]
    fn connect(
        &self,
        now: Instant,
        shared: &mut Shared,
        name: Arc<str>,
        kind: LinkKind,
        visitor: bool,
        media: Media,
        role: Role,
        controlling: bool,
        advertise_private: bool,
        sctp: Option<crate::transport::SctpRole>,
    ) -> (Link, crate::transport::LocalTransport) {
        let id = shared.endpoint_id(self.id);
        let peer = Box::new(Peer::new(
            now,
            PeerConfig {
                controlling,
                certificate: shared.peers.certificate.clone(),
                addresses: shared.peers.addresses.clone(),
                advertise_private,
                credentials: (shared.peers.credentials)(),
                sctp,
                limits: shared.peers.limits.clone(),
            },
        ));
        let local = peer.local();
        shared.plane(Command::AddEndpoint(Box::new(AddEndpoint {
            id,
            conference: self.id,
            role,
            media: media.clone(),
            peer,
        })));
        let link = Link {
            id,
            name,
            kind,
            visitor,
            created: now,
            heard: None,
            connected: false,
            mute_since: None,
            failed: None,
            media,
            sources: Vec::new(),
            sctp: sctp.is_some(),
            password: shared.password().into(),
            channels: Channels::default(),
            behind: HashMap::new(),
            allowance: Allowance::new(now, shared.settings.limits.messages_per_second),
        };
        (link, local)
    }

    fn web_sockets(&self, shared: &Shared, link: &Link, relay: bool) -> Vec<WebSocket> {
        let Some(ws) = &shared.settings.web_sockets else { return Vec::new() };
        let bases = if relay && !ws.relay_bases.is_empty() { &ws.relay_bases } else { &ws.bases };
        let path = if relay { "colibri-relay-ws" } else { "colibri-ws" };
        let url = |base: &String| {
            let (server, key, name) = (segment(&ws.server_id), &self.key, segment(&link.name));
            format!("{base}/{path}/{server}/{key}/{name}?pwd={}", link.password)
        };
        bases.iter().map(|base| WebSocket { url: Some(url(base)), active: false }).collect()
    }

    fn set_media(&mut self, shared: &mut Shared, id: EndpointId, media: &[colibri2::Media]) {
        let Some(link) = self.links.get_mut(&id).filter(|_| !media.is_empty()) else { return };
        let before = link.media.clone();
        let relay = link.is_relay();
        formats::add(&mut link.media, media, relay, shared.settings.limits.formats_per_media);
        if link.media != before {
            shared.plane(Command::SetMedia { endpoint: id, media: link.media.clone() });
        }
    }

    fn set_sources(&mut self, now: Instant, shared: &mut Shared, id: EndpointId, signaled: &[MediaSource]) {
        let old = match (self.links.get(&id), self.relayed.get(&id)) {
            (Some(l), _) => &l.sources,
            (None, Some(r)) => &r.sources,
            (None, None) => return,
        };
        let sources: Vec<SourceDesc> = signaled
            .iter()
            .map(|s| {
                let number = numbered(old, &s.id, s.ty == MediaType::Audio).unwrap_or_else(|| shared.source_id());
                formats::source(id, number, s)
            })
            .filter(|s| !s.encodings.is_empty())
            .collect();
        if *old == sources {
            return;
        }
        match (self.links.get_mut(&id), self.relayed.get_mut(&id)) {
            (Some(l), _) => l.sources.clone_from(&sources),
            (None, Some(r)) => r.sources.clone_from(&sources),
            (None, None) => {}
        }
        shared.plane(Command::SetSources { endpoint: id, sources: sources.clone() });
        self.tell_brain(now, shared, brain::Input::Sources { endpoint: id, sources });
    }

    /// Creates, changes or expires a relay. The request has been checked.
    pub(super) fn modify_relay(&mut self, now: Instant, shared: &mut Shared, r: &colibri2::Relay) -> colibri2::Relay {
        let mut answer = colibri2::Relay::new(&r.id);
        if r.expire {
            if let Some(id) = self.relays.get(r.id.as_str()).copied() {
                self.remove(now, shared, id, "relay_closed");
            }
            answer.expire = true;
            return answer;
        }
        let id = if r.create {
            let (id, transport) = self.create_relay(now, shared, r);
            answer.transport = Some(transport);
            id
        } else {
            let Some(id) = self.relays.get(r.id.as_str()).copied() else { return answer };
            self.set_media(shared, id, &r.media);
            id
        };
        if let Some(ice) = r.transport.as_ref().and_then(|t| t.ice.as_ref()) {
            let remote = Box::new(describe::remote(ice, shared.settings.limits.candidates));
            shared.plane(Command::SetRemote { endpoint: id, remote });
            let sctp = self.links.get(&id).is_some_and(|l| l.sctp);
            if let Some(url) = ice.web_sockets.iter().find_map(|w| w.url.clone()).filter(|_| !sctp) {
                shared.out.push_back(Output::Dial { endpoint: id, url });
            }
        }
        for e in &r.endpoints {
            self.modify_relayed(now, shared, id, e);
        }
        answer
    }

    fn create_relay(
        &mut self,
        now: Instant,
        shared: &mut Shared,
        r: &colibri2::Relay,
    ) -> (EndpointId, colibri2::Transport) {
        let asked = r.transport.clone().unwrap_or_default();
        let mesh: Arc<str> = r.mesh_id.as_deref().unwrap_or_default().into();
        let number = self.mesh(&mesh);
        let mut media = Media::default();
        formats::add(&mut media, &r.media, true, shared.settings.limits.formats_per_media);
        let client = asked.sctp.is_some_and(|s| s.role == Some(SctpRole::Client));
        let sctp = asked.sctp.map(|_| match client {
            true => crate::transport::SctpRole::Client,
            false => crate::transport::SctpRole::Server,
        });
        let kind = LinkKind::Relay { mesh: mesh.clone() };
        let role = Role::Relay { mesh: number };
        let name: Arc<str> = r.id.as_str().into();
        let (link, local) =
            self.connect(now, shared, name, kind, false, media, role, asked.ice_controlling, true, sctp);
        let id = link.id;
        let mut ice = describe::local(&local);
        if asked.sctp.is_none() {
            ice.web_sockets = self.web_sockets(shared, &link, true);
        }
        self.relays.insert(link.name.clone(), id);
        let joined = brain::Endpoint {
            id,
            name: link.name.clone(),
            role: brain::Role::Relay { mesh },
            ssrc_rewriting: false,
            mid_demux: false,
        };
        self.links.insert(id, link);
        shared.totals.relays += 1;
        self.tell_brain(now, shared, brain::Input::Added(joined));
        // `spec/bridge.md` 5.2: the opposite of what was asked for.
        let other = if client { SctpRole::Server } else { SctpRole::Client };
        let sctp = asked.sctp.map(|_| Sctp { role: Some(other), port: Some(SCTP_PORT) });
        (id, colibri2::Transport { ice: Some(ice), sctp, ..colibri2::Transport::default() })
    }

    fn mesh(&mut self, mesh: &Arc<str>) -> u32 {
        let at = self.meshes.iter().position(|m| m == mesh).unwrap_or_else(|| {
            self.meshes.push(mesh.clone());
            self.meshes.len() - 1
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// Endpoints behind a relay belong to it: what comes late from another relay does not touch them (`spec/bridge.md` 5.2).
    fn modify_relayed(&mut self, now: Instant, shared: &mut Shared, relay: EndpointId, e: &colibri2::Endpoint) {
        let Some(link) = self.links.get_mut(&relay) else { return };
        let known = link.behind.get(e.id.as_str()).copied();
        if e.expire {
            if let Some(id) = known {
                self.remove(now, shared, id, "gone");
            }
            return;
        }
        let id = match known {
            Some(id) => id,
            None if e.create => {
                let id = shared.endpoint_id(self.id);
                let name: Arc<str> = e.id.as_str().into();
                link.behind.insert(name.clone(), id);
                self.relayed.insert(id, Relayed { name: name.clone(), relay, sources: Vec::new() });
                shared.plane(Command::AddRelayed { endpoint: id, relay });
                let role = brain::Role::Relayed { relay };
                let joined = brain::Endpoint { id, name, role, ssrc_rewriting: false, mid_demux: false };
                self.tell_brain(now, shared, brain::Input::Added(joined));
                id
            }
            None => return,
        };
        // Here absent means empty, unlike for local endpoints (`spec/bridge.md` 5.2).
        self.set_sources(now, shared, id, e.sources.as_deref().unwrap_or_default());
    }

    /// Removes an endpoint, a relay with all behind it, or a relayed endpoint.
    pub(super) fn remove(&mut self, now: Instant, shared: &mut Shared, id: EndpointId, why: &'static str) {
        if let Some(r) = self.relayed.remove(&id) {
            if let Some(link) = self.links.get_mut(&r.relay)
                && link.behind.get(&r.name) == Some(&id)
            {
                link.behind.remove(&r.name);
            }
        } else if let Some(link) = self.links.remove(&id) {
            let index = if link.is_relay() { &mut self.relays } else { &mut self.endpoints };
            if index.get(&link.name) == Some(&id) {
                index.remove(&link.name);
            }
            for behind in link.behind.values() {
                self.relayed.remove(behind);
                shared.forget(*behind);
            }
            self.close_channel(shared, &link, why);
        } else {
            return;
        }
        shared.forget(id);
        shared.plane(Command::RemoveEndpoint(id));
        self.tell_brain(now, shared, brain::Input::Removed(id));
    }

    /// Ends the WebSocket of somebody who goes, and opens it no more.
    fn close_channel(&self, shared: &mut Shared, link: &Link, reason: &'static str) {
        if link.is_relay() {
            shared.out.push_back(Output::HangUp { endpoint: link.id });
        }
        self.close_socket(shared, link.channels.socket, reason);
    }

    pub(super) fn close_socket(&self, shared: &mut Shared, socket: Option<SocketId>, reason: &'static str) {
        if let Some(socket) = socket {
            let code = if reason == "replaced" { 1000 } else { 1001 };
            shared.out.push_back(Output::CloseSocket { socket, code, reason });
        }
    }

    /// Ends everything.
    pub(super) fn expire(&mut self, now: Instant, shared: &mut Shared) {
        for link in self.links.values() {
            let reason = if link.is_relay() { "relay_closed" } else { "endpoint closed" };
            self.close_channel(shared, link, reason);
            shared.forget(link.id);
        }
        for id in self.relayed.keys() {
            shared.forget(*id);
        }
        shared.plane(Command::ExpireConference(self.id));
        shared.totals.conferences_completed += 1;
        shared.totals.conference_seconds += now.saturating_duration_since(self.created).as_secs();
    }

    /// Expires who has not been heard of (`spec/bridge.md` 1.9).
    pub(super) fn scan(&mut self, now: Instant, shared: &mut Shared) {
        let times = &shared.settings.times;
        let dead = |l: &&Link| match l.kind {
            LinkKind::Endpoint => l.is_dead(now, times.never_active, times.inactive),
            LinkKind::Relay { .. } => l.failed.is_some_and(|at| now.saturating_duration_since(at) > times.failed_relay),
        };
        for l in self.links.values_mut() {
            if l.mute_since.is_some_and(|at| now.saturating_duration_since(at) > times.no_channel) {
                l.mute_since = None;
                let count =
                    if l.is_relay() { &mut shared.totals.relays_mute } else { &mut shared.totals.endpoints_mute };
                *count += 1;
            }
        }
        let gone: Vec<EndpointId> = self.links.values().filter(dead).map(|l| l.id).collect();
        for id in gone {
            if let Some(l) = self.links.get(&id) {
                tracing::info!(meeting = %self.meeting, who = %l.name, failed = l.failed.is_some(), "Not heard of any more: expired.");
                shared.totals.endpoints_disconnected += u64::from(!l.is_relay());
            }
            let reason =
                if self.links.get(&id).is_some_and(Link::is_relay) { "relay_closed" } else { "endpoint closed" };
            self.remove(now, shared, id, reason);
        }
    }

    // ---- what happens --------------------------------------------------------------------------------------------------

    /// A deadline of the decisions has come.
    pub(super) fn tick(&mut self, now: Instant, shared: &mut Shared) {
        self.tell_brain(now, shared, brain::Input::Tick);
        self.tell_again(now, shared);
    }

    /// The media plane says something about this conference.
    pub(super) fn plane_event(&mut self, now: Instant, shared: &mut Shared, event: Event) {
        match event {
            Event::Connected { endpoint } => {
                if let Some(l) = self.links.get_mut(&endpoint) {
                    if !l.connected && l.channels.out().is_none() {
                        l.mute_since = Some(now);
                    }
                    l.connected = true;
                    l.failed = None;
                    shared.totals.ice_succeeded += 1;
                }
                self.heard(now, shared, &[endpoint]);
            }
            Event::Failed { endpoint, reason } => self.failed(now, shared, endpoint, &reason.to_string()),
            Event::Refused { endpoint } => self.failed(now, shared, endpoint, "no room for its transport"),
            Event::ChannelOpen { endpoint } => {
                let Some(l) = self.links.get_mut(&endpoint) else { return };
                l.channels.data = true;
                l.mute_since = None;
                self.tell_brain(now, shared, brain::Input::ChannelUp { endpoint, kind: brain::ChannelKind::Data });
            }
            Event::ChannelClosed { endpoint } => {
                let Some(l) = self.links.get_mut(&endpoint) else { return };
                l.channels.data = false;
                if l.channels.out().is_none() {
                    self.tell_brain(now, shared, brain::Input::ChannelDown(endpoint));
                }
            }
            Event::ChannelMessage { endpoint, text } => {
                shared.totals.data_messages_received += 1;
                self.message(now, shared, endpoint, &text, false);
            }
            Event::SendFailed { endpoint, reason } => {
                tracing::debug!(meeting = %self.meeting, ?endpoint, %reason, "A message on a bridge channel was lost.");
                self.missed(now, endpoint);
            }
            Event::Activity { endpoints } => self.heard(now, shared, &endpoints),
            Event::Conference { input, .. } => {
                match &input {
                    brain::Input::Speakers(_) => shared.totals.dominant_speaker_changes += 1,
                    brain::Input::Layers { .. } => shared.totals.layering_changes += 1,
                    _ => {}
                }
                self.tell_brain(now, shared, input);
            }
            Event::RestartAbandoned { endpoint } => {
                tracing::info!(meeting = %self.meeting, ?endpoint, "A restart of ICE came to nothing.");
            }
            Event::Restart { .. } | Event::Restarted { .. } => {}
        }
    }

    fn failed(&mut self, now: Instant, shared: &mut Shared, endpoint: EndpointId, reason: &str) {
        let Some(l) = self.links.get_mut(&endpoint) else { return };
        tracing::info!(meeting = %self.meeting, who = %l.name, reason, "A transport failed.");
        l.connected = false;
        l.failed.get_or_insert(now);
        shared.totals.failed(l.is_relay());
    }

    fn heard(&mut self, now: Instant, shared: &mut Shared, who: &[EndpointId]) {
        let mut participants = Vec::new();
        for id in who {
            if let Some(l) = self.links.get_mut(id) {
                l.heard = Some(now);
                if !l.visitor && !l.is_relay() {
                    participants.push((*id, now));
                }
            }
        }
        if !participants.is_empty() {
            self.tell_brain(now, shared, brain::Input::Activity(participants));
        }
    }

    /// The link whose WebSocket may be opened with this password. Looks at all of the password, wherever it differs.
    pub(super) fn admits(&self, name: &str, password: &str, relay: bool) -> Option<EndpointId> {
        let link = if relay { self.relay(name) } else { self.endpoint(name) }?;
        let (a, b) = (link.password.as_bytes(), password.as_bytes());
        (aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()).then_some(link.id)
    }

    // ---- decisions -----------------------------------------------------------------------------------------------------

    pub(super) fn tell_brain(&mut self, now: Instant, shared: &mut Shared, input: brain::Input) {
        self.brain.handle(now, input);
        self.drain(shared);
    }

    fn drain(&mut self, shared: &mut Shared) {
        while let Some(o) = self.brain.poll_output() {
            self.carry_out(shared, o);
        }
    }

    fn carry_out(&mut self, shared: &mut Shared, o: brain::Output) {
        use brain::Output as O;
        match o {
            O::Send { to, message } => self.send(shared, &to, &message),
            O::Ignored { from, reason } => {
                tracing::debug!(meeting = %self.meeting, ?from, reason, "A message on a bridge channel is ignored.");
            }
            output => shared.plane(Command::Decision { conference: self.id, output }),
        }
    }
}

/// A segment of a path: whatever might end it is escaped.
pub(super) fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(b)),
            _ => {
                let _ = write!(out, "%{b:02X}");
            }
        }
    }
    out
}
