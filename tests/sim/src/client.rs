//! A client, as `spec/client.md` describes it: asks the focus where to go, goes there, joins, and keeps a picture of the room.

use std::collections::{BTreeMap, BTreeSet};

use amphi_room::ConnId;
use amphi_stanza::{Stanza, XmlWriter, ns};
use serde_json::Value;

use crate::config::ROOM;

/// How far a client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Does not want in, or waits to try again.
    Off,
    /// Has asked the focus.
    Asking,
    /// On its way to a node.
    Connecting,
    /// Has sent its join.
    Joining,
    Joined,
}

/// What a client knows of somebody in the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) real: String,
    pub(crate) moderator: bool,
    /// What it says of itself.
    pub(crate) says: String,
}

/// What a client has heard of one chat line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) live: u32,
    pub(crate) history: u32,
}

/// What a client wants done.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    /// The whole way again, after this many milliseconds. `visitor`: into the audience, if there is a choice.
    Again { ms: u64, visitor: bool, why: String },
    /// Onto the stage, under this name.
    Stage(String),
    /// Into the audience.
    Audience,
    /// A raised hand was refused: down with it.
    LowerHand { refused: String },
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) index: usize,
    /// Wants to be in the conference.
    pub(crate) wants: bool,
    /// Was demoted, or likes it there.
    pub(crate) prefers_audience: bool,
    pub(crate) state: State,
    pub(crate) conn: Option<ConnId>,
    pub(crate) node: usize,
    pub(crate) nick: String,
    /// Counts tries: what was started for an earlier one is void.
    pub(crate) attempt: u64,
    /// Refusals in a row.
    pub(crate) refused: u32,
    /// When it joined, in steps of the world; chat before that is not its own.
    pub(crate) joined_at: u64,
    pub(crate) view: BTreeMap<String, Seen>,
    pub(crate) visitors: Option<u32>,
    pub(crate) heard: BTreeMap<String, Heard>,
    pub(crate) bounced: BTreeSet<String>,
    pub(crate) moderator: bool,
    /// Hands that wait for this moderator's answer.
    pub(crate) hands: BTreeSet<String>,
    pub(crate) hand: bool,
    pub(crate) version: u32,
    pub(crate) said: u32,
    /// Came on stage by a promise at least once.
    pub(crate) promoted: bool,
    /// Names of refusals, worth nothing.
    pub(crate) worthless: Vec<String>,
}

impl Client {
    pub(crate) fn new(index: usize) -> Self {
        Self {
            index,
            wants: false,
            prefers_audience: false,
            state: State::Off,
            conn: None,
            node: 0,
            nick: String::new(),
            attempt: 0,
            refused: 0,
            joined_at: 0,
            view: BTreeMap::new(),
            visitors: None,
            heard: BTreeMap::new(),
            bounced: BTreeSet::new(),
            moderator: false,
            hands: BTreeSet::new(),
            hand: false,
            version: 0,
            said: 0,
            promoted: false,
            worthless: Vec::new(),
        }
    }

    pub(crate) fn name(&self) -> String {
        format!("c{}", self.index)
    }

    /// The same browser every time.
    pub(crate) fn machine(&self) -> String {
        format!("machine{}", self.index)
    }

    pub(crate) fn is_in(&self) -> bool {
        self.state == State::Joined
    }

    /// Address of the room where the client is.
    pub(crate) fn room(&self) -> String {
        room_on(self.node)
    }

    /// A new try: nothing of the earlier one counts.
    pub(crate) fn forget(&mut self) {
        self.attempt += 1;
        self.state = State::Off;
        self.conn = None;
        self.forget_room();
    }

    fn forget_room(&mut self) {
        self.view.clear();
        self.visitors = None;
        self.heard.clear();
        self.bounced.clear();
        self.moderator = false;
        self.hands.clear();
    }

    /// The presence with everything this client says of itself; `join`: with the request to come in.
    pub(crate) fn presence(&self, join: bool) -> Stanza {
        let mut w = XmlWriter::new();
        w.open_ns("presence", ns::CLIENT).attr("to", format_args!("{}/{}", self.room(), self.nick));
        if join {
            w.open_ns("x", ns::MUC).text_element("billingid", self.machine()).close();
        }
        w.open("version").text(self.version).close();
        if self.hand {
            w.open("jitsi_participant_raisedHand").text(1000 + self.version).close();
        } else {
            w.open("jitsi_participant_raisedHand").close();
        }
        w.open_ns("nick", ns::NICK).text(self.name()).close();
        w.stanza()
    }

    pub(crate) fn goodbye(&self) -> Stanza {
        let mut w = XmlWriter::new();
        w.open_ns("presence", ns::CLIENT).attr("type", "unavailable");
        w.attr("to", format_args!("{}/{}", self.room(), self.nick));
        w.stanza()
    }

    /// A line of chat, and its id.
    pub(crate) fn chat(&mut self) -> (String, Stanza) {
        self.said += 1;
        let id = format!("c{}-{}", self.index, self.said);
        let mut w = XmlWriter::new();
        w.open_ns("message", ns::CLIENT).attr("type", "groupchat").attr("id", &id).attr("to", self.room());
        w.text_element("body", &id);
        let s = w.stanza();
        (id, s)
    }

    /// A JSON message into the room.
    pub(crate) fn json(&self, value: &Value) -> Stanza {
        let mut w = XmlWriter::new();
        w.open_ns("message", ns::CLIENT).attr("type", "groupchat").attr("to", self.room()).attr("id", "j");
        w.open_ns("json-message", ns::JITMEET).text(value).close();
        w.stanza()
    }

    /// Takes a stanza. `step`: the world's count of events.
    pub(crate) fn receive(&mut self, step: u64, s: &Stanza) -> Option<Want> {
        assert!(!s.to_string().contains("urn:amphi:visitors:"), "what only servers say reaches a client: {s}");
        match s.root().name() {
            "presence" => self.on_presence(step, s),
            "message" => self.on_message(s),
            "iq" => self.on_iq(s),
            _ => None,
        }
    }

    fn on_presence(&mut self, step: u64, s: &Stanza) -> Option<Want> {
        let from = s.from().ok()??;
        if from.bare_str() != self.room() {
            return None;
        }
        let nick = from.resource()?.to_owned();
        if s.ty().as_deref() == Some("error") {
            return if self.state == State::Joining { Some(self.on_refusal(s)) } else { None };
        }
        let user = s.child("x", ns::MUC_USER);
        let own = user
            .is_some_and(|x| x.children().any(|c| c.name() == "status" && c.attr("code").as_deref() == Some("110")))
            && nick == self.nick;
        if s.ty().as_deref() == Some("unavailable") {
            self.view.remove(&nick);
            if own && matches!(self.state, State::Joined | State::Joining) {
                return Some(Want::Again { ms: 2000, visitor: false, why: format!("put out: {s}") });
            }
            // `spec/client.md` 11.4: without a focus there is no conference.
            return (nick == "focus" && self.is_in()).then(|| Want::Again {
                ms: 1000,
                visitor: false,
                why: "the focus left".into(),
            });
        }
        let item = user?.child("item", ns::MUC_USER)?;
        if nick == "focus" {
            let properties = s.child("conference-properties", ns::FOCUS);
            let count = properties
                .iter()
                .flat_map(|p| p.children())
                .find(|p| p.attr("key").as_deref() == Some("visitor-count"));
            self.visitors = count.and_then(|p| p.attr("value")?.parse().ok()).or(self.visitors);
        }
        let seen = Seen {
            real: item.attr("jid").unwrap_or_default().into_owned(),
            moderator: item.attr("role").as_deref() == Some("moderator"),
            says: says(s),
        };
        if own {
            self.moderator = seen.moderator;
            if self.state == State::Joining {
                self.state = State::Joined;
                self.joined_at = step;
                self.refused = 0;
            }
        }
        self.view.insert(nick, seen);
        None
    }

    /// `spec/client.md` 10.3.
    fn on_refusal(&mut self, s: &Stanza) -> Want {
        self.refused += 1;
        let ms = 500 * u64::from(self.refused.min(8));
        let full = s.root().child_named("error").is_some_and(|e| e.child("service-unavailable", ns::STANZAS).is_some());
        Want::Again { ms, visitor: full && self.node == 0, why: format!("refused: {s}") }
    }

    fn on_message(&mut self, s: &Stanza) -> Option<Want> {
        if s.ty().as_deref() == Some("error") {
            self.bounced.extend(s.id().map(|i| i.into_owned()));
            return None;
        }
        if let Some(json) = s.child("json-message", ns::JITMEET) {
            return self.on_json(&serde_json::from_str(&json.text()).ok()?);
        }
        let id = s.child("body", ns::CLIENT)?.text().into_owned();
        let heard = self.heard.entry(id).or_default();
        if s.child("delay", ns::DELAY).is_some() {
            heard.history += 1
        } else {
            heard.live += 1
        }
        None
    }

    fn on_json(&mut self, v: &Value) -> Option<Want> {
        if v["type"] != "visitors" {
            return None;
        }
        match v["action"].as_str()? {
            "promotion-request" => {
                let from = v["from"].as_str()?.to_owned();
                if v["on"] == true {
                    self.hands.insert(from);
                } else {
                    self.hands.remove(&from);
                }
                None
            }
            "demote-request" if v["id"].as_str() == Some(&self.nick) => Some(Want::Audience),
            _ => None,
        }
    }

    fn on_iq(&mut self, s: &Stanza) -> Option<Want> {
        let from = s.from().ok()??;
        let p = s.child("visitors", ns::VISITORS)?.child("promotion-response", ns::VISITORS)?;
        if s.ty().as_deref() != Some("set") || from.as_str() != self.room() {
            return None;
        }
        let name = p.attr("username").unwrap_or_default().into_owned();
        if p.attr("allow").is_some_and(|a| a.eq_ignore_ascii_case("true")) {
            return Some(Want::Stage(name));
        }
        self.worthless.push(name.clone());
        Some(Want::LowerHand { refused: name })
    }
}

/// What somebody says of itself in a presence, without what servers put in.
pub(crate) fn says(s: &Stanza) -> String {
    let own = |name: &str| matches!(name, "version" | "jitsi_participant_raisedHand" | "nick");
    s.children().filter(|c| own(c.name())).map(|c| format!("{}={};", c.name(), c.text())).collect()
}

/// The conference's room on a node.
pub(crate) fn room_on(node: usize) -> String {
    match node {
        0 => format!("{ROOM}@conference.meet.example"),
        n => format!("{ROOM}@conference.v{n}.meet.jitsi"),
    }
}
