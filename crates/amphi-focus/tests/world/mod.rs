//! A main node and visitor nodes as far as the focus can tell: rooms that answer joins, forms and IQs, in virtual time.
#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod media;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use amphi_focus::{
    ConferenceAnswer, ConferenceRequest, Event, Focus, FocusConfig, Input, NodeId, Output, RequestError, VnodeConfig,
};
use amphi_stanza::{BareJid, FullJid, Jid, Limits, Stanza, XmlWriter};

pub const ROOM: &str = "talk@conference.meet.example";
pub const USER_NS: &str = "http://jabber.org/protocol/muc#user";

pub fn s(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[derive(Default)]
pub struct Room {
    /// Nick to address and role; without the focus.
    pub members: BTreeMap<String, (String, String)>,
    pub focus: bool,
    pub form: Vec<(&'static str, String)>,
    pub limit: Option<u32>,
    pub reserved: BTreeMap<String, Option<String>>,
}

/// What the nodes do wrong.
#[derive(Default)]
pub struct Faults {
    /// Nodes that swallow what they get.
    pub mute: BTreeSet<NodeId>,
    /// Rooms that refuse the focus.
    pub refuse: BTreeSet<NodeId>,
    pub connect_error: bool,
    pub connect_mute: bool,
    pub member_only: bool,
}

pub struct World {
    pub focus: Focus,
    pub now: Instant,
    pub rooms: HashMap<(NodeId, String), Room>,
    pub faults: Faults,
    /// The main room judges seats.
    pub judges: bool,
    pub answers: HashMap<u64, Result<ConferenceAnswer, RequestError>>,
    pub events: Vec<Event>,
    /// Answers and news about visitors.
    pub told: Vec<Output>,
    pub sent: Vec<(NodeId, String)>,
    pub next: u64,
    /// Bridges and clients, for tests of media.
    pub media: media::Media,
    inbox: VecDeque<Input>,
}

pub fn config(vnodes: u32) -> FocusConfig {
    let mut c = FocusConfig::new("meet.example");
    c.vnodes = (1..=vnodes).map(|n| VnodeConfig::new(format!("v{n}"))).collect();
    c.trusted_domains.push("recorder.meet.example".into());
    // Preparing ahead has tests of its own.
    c.prepare_at_percent = 1000;
    c
}

pub fn stanza(xml: &str) -> Stanza {
    Stanza::parse(xml.to_owned().into(), &Limits::default()).unwrap()
}

pub fn v(n: u32) -> NodeId {
    NodeId::vnode(&format!("v{n}"))
}

impl World {
    /// A focus that is connected to everything in its configuration.
    pub fn new(config: FocusConfig) -> Self {
        let mut w = Self::offline(config);
        w.connect(NodeId::Main, false);
        for n in w.focus.config().vnodes.clone() {
            w.connect(NodeId::vnode(&n.name), false);
        }
        w
    }

    pub fn offline(config: FocusConfig) -> Self {
        Self {
            focus: Focus::new(config, 7),
            now: Instant::now(),
            rooms: HashMap::new(),
            faults: Faults::default(),
            judges: false,
            answers: HashMap::new(),
            events: Vec::new(),
            told: Vec::new(),
            sent: Vec::new(),
            next: 0,
            media: media::Media::default(),
            inbox: VecDeque::new(),
        }
    }

    pub fn connect(&mut self, node: NodeId, resumed: bool) {
        let jid = match &node {
            NodeId::Main | NodeId::Service => "focus@auth.meet.example/focus".to_owned(),
            NodeId::Vnode(_) => "focus@auth.meet.jitsi/focus".to_owned(),
        };
        self.handle(Input::Connected { node, jid: FullJid::parse(&jid).unwrap(), resumed });
    }

    /// The node is gone with everything on it.
    pub fn crash(&mut self, node: NodeId) {
        self.rooms.retain(|(n, _), _| *n != node);
        self.handle(Input::Disconnected { node });
    }

    pub fn handle(&mut self, input: Input) {
        self.inbox.push_back(input);
        while let Some(input) = self.inbox.pop_front() {
            self.focus.handle(self.now, input);
            while let Some(o) = self.focus.poll_output() {
                match o {
                    Output::Send { node, stanza } => {
                        let stanza = Stanza::authored(stanza);
                        self.sent.push((node.clone(), stanza.to_string()));
                        if !self.faults.mute.contains(&node) {
                            self.receive(node, &stanza);
                        }
                    }
                    Output::Answer { id, result } => {
                        assert!(self.answers.insert(id, result).is_none(), "request {id} was answered twice");
                    }
                    Output::Event(e) => self.events.push(e),
                    o => self.told.push(o),
                }
            }
        }
    }

    /// Lets time pass, with all deadlines on the way.
    pub fn pass(&mut self, d: Duration) {
        let end = self.now + d;
        let mut rounds = 0;
        while let Some(at) = self.focus.poll_timeout().filter(|at| *at <= end) {
            rounds += 1;
            assert!(rounds < 100_000, "the focus spins");
            self.now = at.max(self.now);
            self.handle(Input::Tick);
        }
        self.now = end;
    }

    pub(crate) fn queue(&mut self, node: &NodeId, xml: &str) {
        self.inbox.push_back(Input::Stanza { node: node.clone(), stanza: stanza(xml) });
    }

    pub fn deliver(&mut self, node: &NodeId, xml: &str) {
        self.handle(Input::Stanza { node: node.clone(), stanza: stanza(xml) });
    }

    fn receive(&mut self, node: NodeId, st: &Stanza) {
        let to = st.attr("to").map(|t| t.into_owned());
        match st.root().name() {
            "presence" => {
                let Some(to) = to.and_then(|t| FullJid::parse(&t).ok()) else { return };
                let room = to.to_bare().to_string();
                if st.ty().as_deref() == Some("unavailable") {
                    if let Some(r) = self.rooms.get_mut(&(node.clone(), room)) {
                        r.focus = false;
                    }
                } else if room == media::BREWERY {
                    self.focus_enters_brewery(&node);
                } else if st.child("x", "http://jabber.org/protocol/muc").is_some() {
                    self.focus_joins(node, &room);
                }
            }
            "iq" if self.media_iq(&node, st) => {}
            "iq" if matches!(st.ty().as_deref(), Some("get" | "set")) => self.iq(node, st),
            _ => {}
        }
    }

    fn focus_joins(&mut self, node: NodeId, room: &str) {
        if self.faults.refuse.contains(&node) {
            self.queue(
                &node,
                &format!(
                    "<presence type='error' from='{room}/focus'><error type='cancel'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
                ),
            );
            return;
        }
        let r = self.rooms.entry((node.clone(), room.to_owned())).or_default();
        r.focus = true;
        let members: Vec<_> = r.members.iter().map(|(n, (j, ro))| (n.clone(), j.clone(), ro.clone())).collect();
        for (nick, jid, role) in members {
            let text = self.presence_of(room, &nick, &jid, &role);
            self.queue(&node, &text);
        }
        let affiliation = if self.faults.member_only { "none" } else { "owner" };
        self.queue(
            &node,
            &format!(
                "<presence from='{room}/focus'><x xmlns='{USER_NS}'><item affiliation='{affiliation}' role='moderator'/><status code='110'/></x></presence>"
            ),
        );
    }

    fn iq(&mut self, node: NodeId, st: &Stanza) {
        let (id, to) = (st.id().unwrap().into_owned(), st.attr("to").unwrap().into_owned());
        let result = |content: &str| format!("<iq type='result' id='{id}' from='{to}'>{content}</iq>");
        let error = format!(
            "<iq type='error' id='{id}' from='{to}'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        );
        let child = st.children().next().unwrap();
        let answer = match (child.name(), child.ns()) {
            ("query", "http://jabber.org/protocol/disco#info") => result(
                "<query xmlns='http://jabber.org/protocol/disco#info'>
                 <identity category='server' type='im' name='x'/>
                 <identity category='component' type='visitors' name='visitors.meet.example'/>
                 <identity category='component' type='av_moderation' name='avmoderation.meet.example'/>
                 <identity category='component' type='breakout_rooms' name='breakout.meet.example'/>
                 <identity category='component' type='room_metadata' name='metadata.meet.example'/></query>",
            ),
            ("query", "http://jabber.org/protocol/muc#owner") if st.ty().as_deref() == Some("get") => {
                let mut w = XmlWriter::new();
                w.open_ns("query", "http://jabber.org/protocol/muc#owner");
                w.open_ns("x", "jabber:x:data").attr("type", "form");
                if let Some(r) = self.rooms.get(&(node.clone(), to.clone())) {
                    for (var, value) in &r.form {
                        w.open("field").attr("var", var).text_element("value", value).close();
                    }
                }
                result(&w.finish_string())
            }
            ("query", _) => result(""),
            ("visitors", _) if child.child("connect-vnode", "jitsi:visitors").is_some() => {
                if self.faults.connect_mute {
                    return;
                }
                if self.faults.connect_error { error } else { result("") }
            }
            ("visitors", _) => result(""),
            ("seats", "urn:amphi:seats:0") if self.judges => {
                let content = self.seats(&to, child);
                result(&content)
            }
            _ => error,
        };
        self.queue(&node, &answer);
    }

    /// The room's side of the seats protocol.
    fn seats(&mut self, room: &str, e: amphi_stanza::Element<'_>) -> String {
        let r = self.rooms.get_mut(&(NodeId::Main, room.to_owned())).unwrap();
        match e.attr("limit").as_deref() {
            Some("none") => (r.limit, r.reserved) = (None, BTreeMap::new()),
            Some(n) => r.limit = Some(n.parse().unwrap()),
            None => {}
        }
        let mut w = XmlWriter::new();
        w.open_ns("seats", "urn:amphi:seats:0");
        for c in e.children() {
            let id = c.attr("id").unwrap().into_owned();
            if c.name() == "cancel" {
                r.reserved.remove(&id);
                continue;
            }
            let free = (r.members.len() + r.reserved.len()) < r.limit.unwrap_or(u32::MAX) as usize;
            if free || r.reserved.contains_key(&id) {
                r.reserved.insert(id.clone(), c.attr("jid").map(|j| j.into_owned()));
                w.open("granted").attr("id", &id).attr("ttl", 60).close();
            } else {
                w.open("refused").attr("id", &id).close();
            }
        }
        w.finish_string()
    }

    // People

    /// An HTTP request from somebody with this machine uid.
    pub fn ask_with(&mut self, uid: &str, token: Option<&str>, properties: &str) -> u64 {
        self.ask_room(ROOM, uid, token, properties)
    }

    pub fn ask_room(&mut self, room: &str, uid: &str, token: Option<&str>, properties: &str) -> u64 {
        let body = format!(r#"{{"room":"{room}","machineUid":"{uid}","properties":{{{properties}}}}}"#);
        let request = ConferenceRequest::from_json(body.as_bytes(), token).unwrap();
        self.next += 1;
        let id = self.next;
        self.handle(Input::ConferenceRequest { id, request, peer: None });
        id
    }

    pub fn ask(&mut self, uid: &str) -> u64 {
        self.ask_with(uid, None, r#""visitors-version":1"#)
    }

    pub fn ask_visitor(&mut self, uid: &str) -> u64 {
        self.ask_with(uid, None, r#""visitors-version":1,"visitor":true"#)
    }

    pub fn answer(&self, id: u64) -> &ConferenceAnswer {
        self.answers.get(&id).expect("answered").as_ref().expect("no error")
    }

    /// `main`, a node, `wait` (not ready), `not-live`, `none` (not answered), or `error`.
    pub fn place(&self, id: u64) -> String {
        match self.answers.get(&id) {
            None => "none".into(),
            Some(Err(_)) => "error".into(),
            Some(Ok(a)) if a.properties.get("live").is_some_and(|l| l == "false") => "not-live".into(),
            Some(Ok(a)) if !a.ready => "wait".into(),
            Some(Ok(a)) => a.vnode.clone().unwrap_or_else(|| "main".into()),
        }
    }

    /// Asks and tells the place.
    pub fn go(&mut self, uid: &str) -> String {
        let id = self.ask(uid);
        self.place(id)
    }

    pub fn join_room(&mut self, node: NodeId, room: &str, nick: &str, role: &str) {
        let jid = format!("{nick}@meet.example/r");
        let r = self.rooms.entry((node.clone(), room.to_owned())).or_default();
        r.members.insert(nick.to_owned(), (jid.clone(), role.to_owned()));
        r.reserved.pop_first();
        if r.focus {
            let text = self.presence_of(room, nick, &jid, role);
            self.deliver(&node, &text);
        }
    }

    /// Joins the main room as a participant.
    pub fn join(&mut self, nick: &str) {
        self.join_room(NodeId::Main, ROOM, nick, "participant");
    }

    pub fn leave_room(&mut self, node: NodeId, room: &str, nick: &str, more: &str) {
        self.rooms.get_mut(&(node.clone(), room.to_owned())).unwrap().members.remove(nick);
        self.deliver(
            &node,
            &format!(
                "<presence type='unavailable' from='{room}/{nick}'><x xmlns='{USER_NS}'><item affiliation='none' role='none'/></x>{more}</presence>"
            ),
        );
    }

    pub fn leave(&mut self, nick: &str) {
        self.leave_room(NodeId::Main, ROOM, nick, "");
    }

    pub fn vroom(n: u32) -> String {
        format!("talk@conference.v{n}.meet.jitsi")
    }

    pub fn join_visitor(&mut self, n: u32, nick: &str) {
        self.join_room(v(n), &Self::vroom(n), nick, "visitor");
    }

    pub fn leave_visitor(&mut self, n: u32, nick: &str) {
        self.leave_room(v(n), &Self::vroom(n), nick, "");
    }

    pub fn metadata(&mut self, json: &str) {
        self.deliver(
            &NodeId::Main,
            &format!(
                "<message from='metadata.meet.example'><json-message xmlns='http://jitsi.org/jitmeet' room='{ROOM}'>{{\"type\":\"room_metadata\",\"metadata\":{json}}}</json-message></message>"
            ),
        );
    }

    /// A conference with one person in it.
    pub fn with_first(config: FocusConfig) -> Self {
        let mut w = Self::new(config);
        assert_eq!(w.go("m0"), "main");
        w.join("n0");
        w
    }

    // What was sent

    pub fn clear(&mut self) {
        self.sent.clear();
        self.events.clear();
    }

    pub fn sent_to(&self, node: &NodeId) -> Vec<&str> {
        self.sent.iter().filter(|(n, _)| n == node).map(|(_, s)| s.as_str()).collect()
    }

    pub fn count_sent(&self, node: &NodeId, part: &str) -> usize {
        self.sent_to(node).iter().filter(|s| s.contains(part)).count()
    }

    /// The audience's size in the last presence that was sent to the main room.
    pub fn published(&self, node: &NodeId) -> Option<u32> {
        let last = self.sent_to(node).into_iter().rfind(|s| s.contains("visitor-count"))?;
        let at = last.find("visitor-count' value='")? + "visitor-count' value='".len();
        last[at..].split('\'').next()?.parse().ok()
    }

    pub fn visitors(&self) -> u32 {
        self.focus.conferences().iter().map(|c| c.visitors).sum()
    }

    pub fn has_conference(&self) -> bool {
        !self.focus.conferences().is_empty()
    }
}

pub fn presence(room: &str, nick: &str, jid: &str, role: &str) -> String {
    format!(
        "<presence from='{room}/{nick}'><x xmlns='{USER_NS}'><item affiliation='none' role='{role}' jid='{jid}'/></x></presence>"
    )
}

pub fn bare(s: &str) -> BareJid {
    BareJid::parse(s).unwrap()
}

pub fn jid(s: &str) -> Jid {
    Jid::parse(s).unwrap()
}

/// An unsigned token of a user.
pub fn token(user: &str, group: &str) -> String {
    use base64::Engine;
    let claims = format!(r#"{{"context":{{"user":{{"id":"{user}"}},"group":"{group}"}}}}"#);
    format!("Bearer e30.{}.x", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims))
}
