//! Bridges that hold the focus to the rules of colibri2, and clients that hold it to those of Jingle.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use amphi_focus::{FocusConfig, NodeId};
use amphi_jingle::colibri2::{
    ColibriError, ConferenceModified, ConferenceModify, Endpoint, ErrorReason, MediaSource, Relay, Sctp, SctpRole,
    Transport,
};
use amphi_jingle::{
    Action, Fingerprint, IceTransport, Jingle, Limits, MediaSources, MediaType, Setup, Source, SourceSet,
};
use amphi_stanza::{Condition, Stanza, XmlWriter, ns};

use super::{ROOM, USER_NS, World, config};

pub const BREWERY: &str = "jvbbrewery@internal-muc.meet.example";

/// What a web client of today can do.
pub const MODERN: &[&str] = &[
    "urn:xmpp:jingle:apps:rtp:audio",
    "urn:xmpp:jingle:apps:rtp:video",
    "urn:xmpp:jingle:transports:dtls-sctp:1",
    "urn:ietf:rfc:4588",
    "http://jitsi.org/tcc",
    "http://jitsi.org/json-encoded-sources",
    "http://jitsi.org/ssrc-rewriting-1",
];

/// As before, but sources are told by the focus.
pub const JSON: &[&str] = &[
    "urn:xmpp:jingle:apps:rtp:audio",
    "urn:xmpp:jingle:apps:rtp:video",
    "urn:xmpp:jingle:transports:dtls-sctp:1",
    "http://jitsi.org/json-encoded-sources",
];

/// A client of long ago.
pub const OLD: &[&str] = &["urn:xmpp:jingle:apps:rtp:audio", "urn:xmpp:jingle:apps:rtp:video"];

#[derive(Debug, Default)]
pub struct Held {
    pub visitor: bool,
    pub sources: Vec<MediaSource>,
    pub connected: bool,
    pub muted: (bool, bool),
    pub rewriting: bool,
    pub sctp: bool,
}

#[derive(Debug, Default)]
pub struct Link {
    pub mesh: String,
    pub initiator: bool,
    pub setup: Option<Setup>,
    pub remote: BTreeSet<String>,
}

#[derive(Debug, Default)]
pub struct OnBridge {
    pub endpoints: BTreeMap<String, Held>,
    pub relays: BTreeMap<String, Link>,
}

#[derive(Debug, Default)]
pub struct Bridge {
    pub stats: BTreeMap<String, String>,
    pub conferences: BTreeMap<String, OnBridge>,
    pub requests: Vec<ConferenceModify>,
    /// Swallows what it gets.
    pub silent: bool,
    /// It did so once, or refused something: it may know something else than the focus.
    pub lossy: bool,
    pub unhealthy: bool,
    /// Answers the next requests with these.
    pub fail: VecDeque<(Condition, Option<ErrorReason>)>,
    /// Answers without transports.
    pub no_transport: bool,
    /// What it makes of ICE restarts: a generation, or nothing.
    pub ice_generation: Option<u32>,
    pub checks: u32,
}

#[derive(Debug, Default)]
pub struct Client {
    pub node: Option<NodeId>,
    pub room: String,
    pub received: Vec<Jingle>,
    pub mutes: Vec<String>,
    /// The live session.
    pub sid: Option<String>,
    /// The last offer that was refused.
    pub refused: Option<String>,
    pub results: Vec<Stanza>,
    pub errors: Vec<Stanza>,
}

#[derive(Debug)]
pub struct Media {
    pub on: bool,
    pub bridges: BTreeMap<String, Bridge>,
    pub clients: BTreeMap<String, Client>,
    pub features: BTreeMap<String, &'static [&'static str]>,
    pub default_features: &'static [&'static str],
    /// Presence extensions by nick.
    pub more: BTreeMap<String, String>,
    /// Clients accept offers at once.
    pub accept: bool,
    /// Clients refuse offers.
    pub refuse: bool,
    /// Members that do not say what they can.
    pub mute_disco: bool,
    pub discos: u32,
    pub next: u32,
    /// Bridges obey no rule and keep nothing: for measurements.
    pub quick: bool,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            on: false,
            bridges: BTreeMap::new(),
            clients: BTreeMap::new(),
            features: BTreeMap::new(),
            default_features: MODERN,
            more: BTreeMap::new(),
            accept: true,
            refuse: false,
            mute_disco: false,
            discos: 0,
            next: 100,
            quick: false,
        }
    }
}

pub fn media_config(vnodes: u32) -> FocusConfig {
    let mut c = config(vnodes);
    c.media.brewery = Some(BREWERY.into());
    c
}

impl World {
    /// A focus with one bridge.
    pub fn with_media(config: FocusConfig) -> Self {
        let mut w = Self::new(config);
        w.media.on = true;
        w.add_bridge("b1", "eu");
        w
    }

    /// A conference with a bridge and so many members on stage: `n0`, `n1`...
    pub fn with_stage(config: FocusConfig, members: u32) -> Self {
        let mut w = Self::with_media(config);
        assert_eq!(w.go("m0"), "main");
        for i in 0..members {
            w.join(&format!("n{i}"));
        }
        w
    }

    pub fn add_bridge(&mut self, name: &str, region: &str) {
        let stats = [
            ("stress_level", "0.1"),
            ("average_participant_stress", "0.001"),
            ("drain", "false"),
            ("healthy", "true"),
            ("version", "2.3"),
            ("region", region),
            ("relay_id", name),
        ];
        let stats = stats.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.media.bridges.insert(name.to_owned(), Bridge { stats, ..Bridge::default() });
        self.publish_bridge(name);
    }

    pub fn bridge_presence(&self, name: &str) -> String {
        let mut w = XmlWriter::new();
        w.open_ns("presence", ns::CLIENT).attr("from", format!("{BREWERY}/{name}"));
        w.open_ns("stats", "http://jitsi.org/protocol/colibri");
        for (k, v) in &self.media.bridges[name].stats {
            w.open("stat").attr("name", k).attr("value", v).close();
        }
        w.finish_string()
    }

    pub fn publish_bridge(&mut self, name: &str) {
        let text = self.bridge_presence(name);
        self.deliver(&NodeId::Main, &text);
    }

    pub fn set_stat(&mut self, name: &str, stat: &str, value: &str) {
        self.bridge(name).stats.insert(stat.into(), value.into());
        self.publish_bridge(name);
    }

    pub fn remove_bridge(&mut self, name: &str) {
        self.media.bridges.remove(name);
        self.deliver(&NodeId::Main, &format!("<presence type='unavailable' from='{BREWERY}/{name}'/>"));
    }

    pub fn bridge(&mut self, name: &str) -> &mut Bridge {
        self.media.bridges.get_mut(name).unwrap()
    }

    pub fn client(&mut self, nick: &str) -> &mut Client {
        self.media.clients.entry(nick.to_owned()).or_default()
    }

    /// Endpoint ids on a bridge.
    pub fn on(&self, bridge: &str) -> Vec<&str> {
        let b = self.media.bridges.get(bridge);
        b.into_iter()
            .flat_map(|b| b.conferences.values())
            .flat_map(|c| c.endpoints.keys().map(String::as_str))
            .collect()
    }

    /// Links of a bridge with the endpoints behind them.
    pub fn links(&self, bridge: &str) -> BTreeMap<String, Vec<String>> {
        let b = &self.media.bridges[bridge];
        let all = b.conferences.values().flat_map(|c| &c.relays);
        all.map(|(id, l)| (id.clone(), l.remote.iter().cloned().collect())).collect()
    }

    pub fn actions(&self, nick: &str) -> Vec<&'static str> {
        let c = self.media.clients.get(nick);
        c.into_iter().flat_map(|c| c.received.iter().map(|j| j.action.as_str())).collect()
    }

    pub fn offers(&self, nick: &str) -> Vec<&Jingle> {
        let c = self.media.clients.get(nick);
        c.into_iter().flat_map(|c| &c.received).filter(|j| j.action == Action::SessionInitiate).collect()
    }

    pub fn active(&self, nick: &str) -> bool {
        self.media.clients.get(nick).is_some_and(|c| c.sid.is_some())
    }

    pub(crate) fn focus_enters_brewery(&mut self, node: &NodeId) {
        let names: Vec<String> = self.media.bridges.keys().cloned().collect();
        for name in names {
            let text = self.bridge_presence(&name);
            self.queue(node, &text);
        }
        self.queue(
            node,
            &format!("<presence from='{BREWERY}/focus'><x xmlns='{USER_NS}'><status code='110'/></x></presence>"),
        );
    }

    pub(crate) fn presence_of(&self, room: &str, nick: &str, jid: &str, role: &str) -> String {
        let text = super::presence(room, nick, jid, role);
        match self.media.more.get(nick) {
            Some(more) => text.replace("</presence>", &format!("{more}</presence>")),
            None => text,
        }
    }

    /// An IQ of the focus that concerns media. False if it is for somebody else.
    pub(crate) fn media_iq(&mut self, node: &NodeId, st: &Stanza) -> bool {
        if !self.media.on {
            return false;
        }
        let to = st.attr("to").unwrap_or_default().into_owned();
        let (bare, resource) = to.split_once('/').unwrap_or((&to, ""));
        let id = st.id().unwrap_or_default().into_owned();
        if matches!(st.ty().as_deref(), Some("result" | "error")) {
            let error = st.ty().as_deref() == Some("error");
            let c = self.client(resource);
            if error {
                c.errors.push(st.clone())
            } else {
                c.results.push(st.clone())
            }
            return true;
        }
        let Some(child) = st.children().next() else { return false };
        let answer = |content: &str| format!("<iq type='result' id='{id}' from='{to}'>{content}</iq>");
        match child.name() {
            "conference-modify" => {
                assert_eq!(st.ty().as_deref(), Some("get"), "stock bridges are asked with get");
                let m = ConferenceModify::parse(child, &Limits::default()).unwrap();
                self.asked(node, resource, &id, &to, m);
            }
            "healthcheck" => {
                let Some(b) = self.media.bridges.get_mut(resource) else { return true };
                b.checks += 1;
                if b.silent {
                    return true;
                }
                let text =
                    if b.unhealthy { error(&id, &to, Condition::InternalServerError, None, None) } else { answer("") };
                self.queue(node, &text);
            }
            "query" if bare != BREWERY && !resource.is_empty() => {
                self.media.discos += 1;
                if self.media.mute_disco {
                    return true;
                }
                let features = self.media.features.get(resource).copied().unwrap_or(self.media.default_features);
                let features: String = features.iter().map(|f| format!("<feature var='{f}'/>")).collect();
                self.queue(
                    node,
                    &answer(&format!("<query xmlns='http://jabber.org/protocol/disco#info'>{features}</query>")),
                );
            }
            "jingle" => self.jingle(node, bare, resource, &id, &to, Jingle::parse(child, &Limits::default()).unwrap()),
            "mute" => {
                let text = child.outer().to_owned();
                self.client(resource).mutes.push(text);
            }
            _ => return false,
        }
        true
    }

    fn jingle(&mut self, node: &NodeId, room: &str, nick: &str, id: &str, to: &str, j: Jingle) {
        let (accept, refuse) = (self.media.accept, self.media.refuse);
        let c = self.client(nick);
        c.node = Some(node.clone());
        c.room = room.to_owned();
        match j.action {
            Action::SessionInitiate => {
                assert_eq!(c.sid, None, "{nick}: never two sessions at a time");
                if refuse {
                    c.refused = Some(j.sid);
                    let text = error(id, to, Condition::ServiceUnavailable, None, None);
                    return self.queue(node, &text);
                }
                c.sid = Some(j.sid.clone());
            }
            Action::SessionTerminate if c.refused.as_ref() == Some(&j.sid) => {}
            Action::SessionTerminate => {
                assert_eq!(c.sid.take().as_ref(), Some(&j.sid), "{nick}: the session that is live");
            }
            _ => assert_eq!(c.sid.as_ref(), Some(&j.sid), "{nick}: {:?} in a live session", j.action),
        }
        let offered = j.action == Action::SessionInitiate;
        c.received.push(j);
        self.queue(node, &format!("<iq type='result' id='{id}' from='{to}'/>"));
        if offered && accept {
            let sources = self.default_sources(nick);
            let text = self.accept_text(nick, &sources).replace("id='c1'", "id='a1'");
            self.queue(node, &text);
        }
    }

    fn is_visitor(&self, nick: &str) -> bool {
        self.media.clients.get(nick).is_some_and(|c| matches!(c.node, Some(NodeId::Vnode(_))))
    }

    /// What a stage member sends: sound, and pictures in three qualities.
    fn default_sources(&mut self, nick: &str) -> SourceSet {
        if self.is_visitor(nick) {
            return SourceSet::default();
        }
        self.media.next += 10;
        let n = self.media.next;
        let source = |ssrc: u32, kind: &str| Source {
            ssrc,
            name: Some(format!("{nick}-{kind}0")),
            msid: Some(format!("{nick}-{kind}-{n} x")),
            ..Source::default()
        };
        let group = |semantics, ssrcs: &[u32]| amphi_jingle::SsrcGroup { semantics, ssrcs: ssrcs.to_vec() };
        use amphi_jingle::Semantics::{Fid, Sim};
        SourceSet {
            audio: MediaSources { sources: vec![source(n, "a")], groups: vec![] },
            video: MediaSources {
                sources: (1..=6).map(|i| source(n + i, "v")).collect(),
                groups: vec![
                    group(Sim, &[n + 1, n + 2, n + 3]),
                    group(Fid, &[n + 1, n + 4]),
                    group(Fid, &[n + 2, n + 5]),
                    group(Fid, &[n + 3, n + 6]),
                ],
            },
        }
    }

    /// A request with sources in contents.
    pub fn sources_text(&self, nick: &str, action: Action, sources: &SourceSet) -> String {
        let c = &self.media.clients[nick];
        let mut j = Jingle::new(action, c.sid.clone().unwrap_or_else(|| "none".into()));
        for ty in [MediaType::Audio, MediaType::Video] {
            let mut content = amphi_jingle::Content {
                name: ty.as_str().into(),
                creator: Some("responder".into()),
                description: Some(amphi_jingle::Description { media: Some(ty.as_str().into()), ..Default::default() }),
                sources: sources.media(ty).clone(),
                ..Default::default()
            };
            if action == Action::SessionAccept {
                content.transport = Some(transport("client", Setup::Active));
                content.initial_last_n = (ty == MediaType::Video).then_some(5);
            }
            j.contents.push(content);
        }
        self.iq_text(nick, &j)
    }

    fn accept_text(&self, nick: &str, sources: &SourceSet) -> String {
        self.sources_text(nick, Action::SessionAccept, sources)
    }

    pub fn iq_text(&self, nick: &str, j: &Jingle) -> String {
        let room = self.media.clients.get(nick).map_or(ROOM, |c| &c.room);
        let room = if room.is_empty() { ROOM } else { room };
        let mut w = XmlWriter::new();
        w.open_ns("iq", ns::CLIENT).attr("type", "set").attr("id", "c1");
        w.attr("from", format!("{room}/{nick}")).attr("to", format!("{room}/focus"));
        j.write(&mut w);
        w.finish_string()
    }

    /// Sends a request; returns the condition of the error that it got, or `ok`.
    pub fn request(&mut self, nick: &str, text: &str) -> String {
        let count = |l: &[Stanza]| l.iter().filter(|s| matches!(s.id().as_deref(), Some("c1" | "m1"))).count();
        let (r, e) = {
            let c = self.client(nick);
            (count(&c.results), count(&c.errors))
        };
        let node = self.client(nick).node.clone().unwrap_or(NodeId::Main);
        self.deliver(&node, text);
        let c = self.client(nick);
        assert_eq!(count(&c.results) + count(&c.errors), r + e + 1, "answered once");
        if count(&c.errors) > e {
            let e = c.errors.last().unwrap();
            return e.child("error", ns::CLIENT).unwrap().children().next().unwrap().name().to_owned();
        }
        "ok".into()
    }

    pub fn accept(&mut self, nick: &str) -> String {
        let sources = self.default_sources(nick);
        let text = self.accept_text(nick, &sources);
        self.request(nick, &text)
    }

    pub fn bridge_session(&self, nick: &str) -> String {
        self.offers(nick).last().unwrap().bridge_session.clone().unwrap().id.unwrap()
    }

    /// A request about the bridge session.
    pub fn about_session(&mut self, nick: &str, action: Action, session: &str, restart: bool, ice: bool) -> String {
        let sid = self.client(nick).sid.clone().unwrap_or_else(|| "none".into());
        let mut j = Jingle::new(action, sid);
        j.bridge_session =
            Some(amphi_jingle::BridgeSession { id: Some(session.into()), region: None, restart, ice_restart: ice });
        if action == Action::SessionTerminate {
            self.client(nick).sid = None;
        }
        let text = self.iq_text(nick, &j);
        self.request(nick, &text)
    }

    fn asked(&mut self, node: &NodeId, name: &str, id: &str, to: &str, m: ConferenceModify) {
        let quick = self.media.quick;
        let Some(b) = self.media.bridges.get_mut(name) else { return };
        b.lossy |= b.silent;
        if b.silent {
            return;
        }
        if let Some((condition, reason)) = b.fail.pop_front() {
            b.lossy = true;
            let text = error(id, to, condition, reason, None);
            return self.queue(node, &text);
        }
        let done = if quick { Ok(quickly(&m)) } else { b.apply(&m) };
        if !quick {
            b.requests.push(m);
        }
        let text = match done {
            Ok(answer) => {
                let mut w = XmlWriter::new();
                w.open_ns("iq", ns::CLIENT).attr("type", "result").attr("id", id).attr("from", to);
                answer.write(&mut w);
                w.finish_string()
            }
            Err((condition, reason, endpoint)) => error(id, to, condition, reason, endpoint.as_deref()),
        };
        self.queue(node, &text);
    }
}

type Refusal = (Condition, Option<ErrorReason>, Option<String>);

fn quickly(m: &ConferenceModify) -> ConferenceModified {
    let mut answer = ConferenceModified::default();
    for e in &m.endpoints {
        let mut a = Endpoint::new(&*e.id);
        if e.create {
            a.transport = Some(Transport {
                ice: Some(transport("bridge", Setup::Actpass)),
                sctp: Some(Sctp { role: Some(SctpRole::Server), port: Some(5000) }),
                ..Transport::default()
            });
        }
        answer.endpoints.push(a);
    }
    for r in &m.relays {
        let mut a = Relay::new(&*r.id);
        if r.create {
            a.transport = Some(Transport { ice: Some(transport("bridge", Setup::Actpass)), ..Transport::default() });
        }
        answer.relays.push(a);
    }
    answer
}

impl Bridge {
    /// What a stock bridge does (`spec/bridge.md` 1.8).
    fn apply(&mut self, m: &ConferenceModify) -> Result<ConferenceModified, Refusal> {
        let no = |c, r| Err((c, Some(r), None));
        if m.create {
            assert!(m.name.is_some(), "the name is said on creation");
            if self.conferences.contains_key(&m.meeting_id) {
                return no(Condition::Conflict, ErrorReason::ConferenceAlreadyExists);
            }
            self.conferences.insert(m.meeting_id.clone(), OnBridge::default());
        }
        let (ice_generation, lossy) = (self.ice_generation, self.lossy);
        let Some(c) = self.conferences.get_mut(&m.meeting_id) else {
            return no(Condition::ItemNotFound, ErrorReason::ConferenceNotFound);
        };
        let heavy = |e: &Endpoint| e.create || !e.media.is_empty() || e.transport.is_some() || e.sources.is_some();
        assert!(m.endpoints.is_empty() || m.relays.is_empty(), "never endpoints and relays in one request");
        assert!(m.endpoints.len() <= 1 || !m.endpoints.iter().any(heavy), "one endpoint at a time");
        assert!(m.relays.len() <= 1, "one relay at a time");
        let mut answer = quickly(m);
        for (e, a) in m.endpoints.iter().zip(&mut answer.endpoints) {
            if e.expire {
                c.endpoints.remove(&e.id);
                continue;
            }
            if e.create {
                assert!(e.transport.is_some() && e.capabilities.source_names && !e.media.is_empty());
                if c.endpoints.contains_key(&e.id) {
                    return Err((Condition::Conflict, None, None));
                }
                c.endpoints.insert(e.id.clone(), Held { visitor: e.visitor, ..Held::default() });
                if self.no_transport {
                    a.transport = None;
                }
            }
            let Some(h) = c.endpoints.get_mut(&e.id) else {
                if e.force_mute.is_some() && !heavy(e) {
                    continue;
                }
                return Err((Condition::ItemNotFound, Some(ErrorReason::UnknownEndpoint), Some(e.id.clone())));
            };
            if e.create {
                h.rewriting = e.capabilities.ssrc_rewriting;
                h.sctp = e.transport.as_ref().is_some_and(|t| t.sctp.is_some());
                if !h.sctp
                    && let Some(t) = &mut a.transport
                {
                    t.sctp = None;
                }
            }
            if let Some(s) = &e.sources {
                assert!(!h.visitor || s.is_empty(), "visitors have no sources");
                h.sources.clone_from(s);
            }
            if let Some(f) = e.force_mute {
                h.muted = (f.audio, f.video);
            }
            if let Some(t) = &e.transport {
                h.connected |= t.ice.is_some();
                if t.ice_restart {
                    let mut ice = transport("restarted", Setup::Actpass);
                    a.transport = ice_generation.map(|g| {
                        if g > 0 {
                            ice.set_ice_generation(g);
                        }
                        Transport { ice: Some(ice), ..Transport::default() }
                    });
                }
            }
        }
        for r in &m.relays {
            if r.expire {
                c.relays.remove(&r.id);
                continue;
            }
            if r.create {
                if c.relays.contains_key(&r.id) {
                    assert!(lossy, "relay {} twice", r.id);
                    return Err((Condition::Conflict, None, None));
                }
                let t = r.transport.as_ref().expect("a new relay has a transport");
                let link =
                    Link { mesh: r.mesh_id.clone().expect("a mesh"), initiator: t.ice_controlling, ..Link::default() };
                assert_eq!(t.ice_controlling, t.use_unique_port);
                c.relays.insert(r.id.clone(), link);
            }
            let Some(link) = c.relays.get_mut(&r.id) else {
                assert!(lossy, "relay {} is not there", r.id);
                return Err((Condition::BadRequest, None, None));
            };
            if let Some(ice) = r.transport.as_ref().and_then(|t| t.ice.as_ref()) {
                assert!(!r.create);
                link.setup = ice.fingerprints[0].setup;
            }
            for e in &r.endpoints {
                if e.expire {
                    link.remote.remove(&e.id);
                } else {
                    assert!(
                        lossy || e.create || link.remote.contains(&e.id),
                        "{} is announced before it changes",
                        e.id
                    );
                    assert!(e.sources.is_some(), "absent sources would clear them");
                    link.remote.insert(e.id.clone());
                }
            }
        }
        if m.create || m.endpoints.iter().any(|e| e.create) {
            let own = |ty: MediaType, ssrc| MediaSource {
                ty,
                id: format!("jvb-{}0", &ty.as_str()[..1]),
                synthetic: false,
                media: MediaSources { sources: vec![Source { ssrc, ..Source::default() }], groups: vec![] },
            };
            answer.sources = Some(vec![own(MediaType::Audio, 12), own(MediaType::Video, 11)]);
        }
        let empty = c.endpoints.is_empty() && c.relays.is_empty() && !m.create;
        if m.expire || empty {
            self.conferences.remove(&m.meeting_id);
        }
        Ok(answer)
    }
}

pub fn transport(ufrag: &str, setup: Setup) -> IceTransport {
    IceTransport {
        ufrag: Some(ufrag.into()),
        pwd: Some("password".into()),
        rtcp_mux: true,
        fingerprints: vec![Fingerprint {
            hash: "sha-256".into(),
            value: "AA:BB".into(),
            setup: Some(setup),
            cryptex: false,
        }],
        ..IceTransport::default()
    }
}

fn error(id: &str, to: &str, condition: Condition, reason: Option<ErrorReason>, endpoint: Option<&str>) -> String {
    let e = ColibriError::stanza_error(condition, reason, endpoint, None);
    let mut w = XmlWriter::new();
    w.open_ns("iq", ns::CLIENT).attr("type", "error").attr("id", id).attr("from", to);
    e.write(&mut w, None);
    w.finish_string()
}
