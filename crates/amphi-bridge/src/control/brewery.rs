//! The bridge as an occupant of its breweries (`spec/bridge.md` 1.2, 1.3): joins, publishes its statistics, and takes requests from other
//! occupants. One [`Brewery`] per login. It knows nothing of conferences: what it cannot answer itself comes out as a [`Request`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use amphi_stanza::{BareJid, Condition, ErrorType, FullJid, Jid, Stanza, StanzaError, StanzaKind, XmlWriter, ns};

use super::settings::Login;

/// Namespace of `stats`.
pub const COLIBRI: &str = "http://jitsi.org/protocol/colibri";
/// Namespace of `conference-modify`.
pub const COLIBRI2: &str = "jitsi:colibri2";
/// Namespace of `healthcheck`.
pub const HEALTH: &str = "http://jitsi.org/protocol/healthcheck";
/// Namespace of version queries.
pub const VERSION: &str = "jabber:iq:version";

const FEATURES: [&str; 6] =
    [ns::DISCO_INFO, ns::PING, HEALTH, "urn:xmpp:jingle:apps:dtls:0", "urn:xmpp:jingle:transports:ice-udp:1", VERSION];

/// A room that could not be joined, or that threw us out, is tried again after so long.
const REJOIN: Duration = Duration::from_secs(5);

/// Names and values of statistics.
pub type StatList = [(&'static str, String)];

/// A request that somebody else answers.
#[derive(Debug)]
pub enum Request {
    /// `conference-modify`; the whole IQ.
    Colibri(Stanza),
    /// Are we well? The whole IQ.
    Health(Stanza),
}

struct Room {
    jid: BareJid,
    me: FullJid,
    joined: bool,
    /// When to join (again).
    join_at: Option<Instant>,
}

/// The breweries of one login.
pub struct Brewery {
    rooms: Vec<Room>,
    nick: String,
    name: String,
    version: String,
    online: bool,
    ids: u64,
    out: VecDeque<Stanza>,
}

impl std::fmt::Debug for Brewery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Brewery").field("nick", &self.nick).field("online", &self.online).finish_non_exhaustive()
    }
}

impl Brewery {
    /// Not connected yet. A room whose occupant address would be invalid is left out.
    pub fn new(login: &Login, name: &str, version: &str) -> Self {
        let rooms = login
            .rooms
            .iter()
            .filter_map(|jid| {
                let me = jid.occupant(&login.nick).ok()?;
                Some(Room { jid: jid.clone(), me, joined: false, join_at: None })
            })
            .collect();
        Self {
            rooms,
            nick: login.nick.clone(),
            name: name.to_owned(),
            version: version.to_owned(),
            online: false,
            ids: 0,
            out: VecDeque::new(),
        }
    }

    /// Whether the login is connected.
    pub fn is_online(&self) -> bool {
        self.online
    }

    /// Rooms that are configured, and those that are joined.
    pub fn rooms(&self) -> (usize, usize) {
        (self.rooms.len(), self.rooms.iter().filter(|r| r.joined).count())
    }

    /// The next stanza for the node.
    pub fn poll_output(&mut self) -> Option<Stanza> {
        self.out.pop_front()
    }

    /// When [`Brewery::tick`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.rooms.iter().filter_map(|r| r.join_at).filter(|_| self.online).min()
    }

    /// The login is bound. After anything but a resumption all rooms are joined.
    pub fn connected(&mut self, now: Instant, resumed: bool, stats: &StatList) {
        self.online = true;
        if resumed {
            return;
        }
        for r in &mut self.rooms {
            r.joined = false;
            r.join_at = Some(now);
        }
        self.tick(now, stats);
    }

    /// The connection is gone; it may be resumed.
    pub fn disconnected(&mut self) {
        self.online = false;
    }

    /// Joins what is due.
    pub fn tick(&mut self, now: Instant, stats: &StatList) {
        if !self.online {
            return;
        }
        for r in &mut self.rooms {
            if r.join_at.is_some_and(|at| at <= now) {
                // If no answer comes, another attempt is a presence update for those who are in.
                r.join_at = Some(now + REJOIN);
                self.out.push_back(presence(&r.me, true, stats));
            }
        }
    }

    /// Publishes statistics in all joined rooms.
    pub fn publish(&mut self, stats: &StatList) {
        if !self.online {
            return;
        }
        for r in self.rooms.iter().filter(|r| r.joined) {
            // A second `x` would be another join (`spec/bridge.md` 1.2).
            self.out.push_back(presence(&r.me, false, stats));
        }
    }

    /// Leaves all rooms, before the end.
    pub fn leave(&mut self) {
        for r in &mut self.rooms {
            if std::mem::take(&mut r.joined) && self.online {
                let mut w = XmlWriter::new();
                w.open_ns("presence", ns::CLIENT).attr("type", "unavailable").attr("to", &r.me).close();
                self.out.push_back(w.stanza());
            }
            r.join_at = None;
        }
    }

    /// Takes a stanza; gives back what others must answer.
    pub fn handle(&mut self, now: Instant, s: Stanza) -> Option<Request> {
        match s.kind() {
            StanzaKind::Presence => self.presence(now, &s),
            StanzaKind::Iq => return self.iq(s),
            _ => {}
        }
        None
    }

    fn presence(&mut self, now: Instant, s: &Stanza) {
        let Ok(Some(from)) = s.from() else { return };
        let Some(room) = self.rooms.iter_mut().find(|r| r.jid.as_str() == from.bare_str()) else { return };
        let mine = from.as_str() == room.me.as_str();
        match s.ty().as_deref() {
            Some("error") => {
                let why = s.child("error", ns::CLIENT).map(|e| e.outer().to_owned()).unwrap_or_default();
                tracing::warn!(room = %room.jid, why, "The brewery does not let us in.");
                room.joined = false;
                room.join_at = Some(now + REJOIN);
            }
            Some("unavailable") if mine => {
                tracing::warn!(room = %room.jid, "The bridge is out of its brewery.");
                room.joined = false;
                room.join_at = Some(now + REJOIN);
            }
            None if mine => {
                let status = |code: &str| {
                    s.child("x", ns::MUC_USER).is_some_and(|x| {
                        x.children().any(|c| c.name() == "status" && c.attr("code").as_deref() == Some(code))
                    })
                };
                if !room.joined {
                    tracing::info!(me = %room.me, "The bridge is in its brewery.");
                }
                room.joined = true;
                room.join_at = None;
                if status("201") {
                    let jid = room.jid.clone();
                    self.configure(&jid);
                }
            }
            _ => {}
        }
    }

    /// A room that we created is locked until it is configured; everybody may see real addresses (`spec/bridge.md` 1.2).
    fn configure(&mut self, room: &BareJid) {
        self.ids += 1;
        let mut w = XmlWriter::new();
        w.open_ns("iq", ns::CLIENT)
            .attr("type", "set")
            .attr("to", room)
            .attr("id", format_args!("config-{}", self.ids));
        w.open_ns("query", ns::MUC_OWNER).open_ns("x", ns::DATA_FORMS).attr("type", "submit");
        for (var, value) in [("FORM_TYPE", ns::MUC_ROOMCONFIG), ("muc#roomconfig_whois", "anyone")] {
            w.open("field").attr("var", var).text_element("value", value).close();
        }
        w.close().close().close();
        self.out.push_back(w.stanza());
    }

    fn iq(&mut self, s: Stanza) -> Option<Request> {
        if !matches!(s.ty().as_deref(), Some("get" | "set")) {
            return None;
        }
        let from = s.from().ok().flatten();
        let child = s.children().next();
        // The server of the login may ask whether we live.
        if child.is_some_and(|c| c.is("ping", ns::PING)) {
            self.out.push_back(result(&s, |_| {}));
            return None;
        }
        let known = from.as_ref().is_some_and(|f| self.rooms.iter().any(|r| r.jid.as_str() == f.bare_str()));
        if !known {
            self.refuse(&s, Condition::Forbidden, "not an occupant of a brewery of this bridge");
            return None;
        }
        let Some(child) = child else {
            self.refuse(&s, Condition::BadRequest, "nothing is asked");
            return None;
        };
        match (child.name(), child.ns()) {
            ("conference-modify", COLIBRI2) => Some(Request::Colibri(s)),
            ("healthcheck", HEALTH) => Some(Request::Health(s)),
            ("query", VERSION) => {
                let answer = result(&s, |w| {
                    w.open_ns("query", VERSION)
                        .text_element("name", &self.name)
                        .text_element("version", &self.version)
                        .text_element("os", std::env::consts::OS)
                        .close();
                });
                self.out.push_back(answer);
                None
            }
            ("query", ns::DISCO_INFO) => {
                let node = child.attr("node").map(std::borrow::Cow::into_owned);
                let answer = result(&s, |w| {
                    w.open_ns("query", ns::DISCO_INFO).attr_opt("node", node.as_deref());
                    w.open("identity")
                        .attr("category", "component")
                        .attr("type", "generic")
                        .attr("name", &self.name)
                        .close();
                    for f in FEATURES {
                        w.open("feature").attr("var", f).close();
                    }
                    w.close();
                });
                self.out.push_back(answer);
                None
            }
            ("query", ns::DISCO_ITEMS) => {
                self.out.push_back(result(&s, |w| {
                    w.empty("query", ns::DISCO_ITEMS);
                }));
                None
            }
            (name, COLIBRI) if name.contains("shutdown") => {
                self.refuse(&s, Condition::ServiceUnavailable, "use the HTTP interface");
                None
            }
            _ => {
                self.refuse(&s, Condition::ServiceUnavailable, "this bridge does not know the request");
                None
            }
        }
    }

    fn refuse(&mut self, s: &Stanza, condition: Condition, text: &str) {
        if let Some(e) = StanzaError::new(ErrorType::Cancel, condition).text(text).answer(s) {
            self.out.push_back(unsigned(&e));
        }
    }

    /// Answers a health check.
    pub fn health(&mut self, asked: &Stanza, health: &Result<(), String>) {
        match health {
            Ok(()) => self.out.push_back(result(asked, |_| {})),
            Err(why) => self.refuse(asked, Condition::InternalServerError, why),
        }
    }

    /// Sends an answer made elsewhere.
    pub fn answer(&mut self, s: Stanza) {
        self.out.push_back(s);
    }
}

/// A result for a request: back to whom it came from. The node knows who we are.
pub fn result(asked: &Stanza, content: impl FnOnce(&mut XmlWriter)) -> Stanza {
    let mut w = XmlWriter::new();
    w.open_ns("iq", ns::CLIENT)
        .attr("type", "result")
        .attr_opt("id", asked.id())
        .attr_opt("to", asked.from().ok().flatten());
    content(&mut w);
    w.close();
    w.stanza()
}

/// Without `from`: requests come to our real address or to the occupant's, and only the node knows which one it takes.
pub fn unsigned(s: &Stanza) -> Stanza {
    s.rewrite().unset("from").stanza()
}

fn presence(me: &FullJid, join: bool, stats: &StatList) -> Stanza {
    let mut w = XmlWriter::new();
    w.open_ns("presence", ns::CLIENT).attr("to", Jid::from(me.clone()));
    if join {
        w.empty("x", ns::MUC);
    }
    w.open_ns("stats", COLIBRI);
    for (name, value) in stats {
        w.open("stat").attr("name", name).attr("value", value).close();
    }
    w.close().close();
    w.stanza()
}

#[cfg(test)]
mod tests {
    use amphi_stanza::Limits;
    use bytes::Bytes;

    use super::*;

    fn parse(xml: &str) -> Stanza {
        Stanza::parse(Bytes::copy_from_slice(xml.as_bytes()), &Limits::default()).unwrap()
    }

    fn brewery() -> Brewery {
        let rooms = vec![BareJid::parse("jvbbrewery@internal.auth.x").unwrap()];
        Brewery::new(&Login { rooms, nick: "edge-17".into() }, "amphi", "1.2")
    }

    fn all(b: &mut Brewery) -> Vec<String> {
        std::iter::from_fn(|| b.poll_output()).map(|s| s.to_string()).collect()
    }

    const JOINED: &str = "<presence xmlns='jabber:client' from='jvbbrewery@internal.auth.x/edge-17' to='jvb@auth.x/r'>\
        <x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' role='moderator'/><status code='110'/><status code='201'/></x></presence>";

    #[test]
    fn joins_with_statistics_configures_a_new_room_and_updates_without_another_join() {
        let (mut b, now) = (brewery(), Instant::now());
        let stats = [("stress_level", "0.1".to_owned())];
        b.connected(now, false, &stats);
        let [join] = &all(&mut b)[..] else { panic!("one join") };
        assert!(
            join.contains("http://jabber.org/protocol/muc'") && join.contains("name='stress_level' value='0.1'"),
            "{join}"
        );
        assert!(b.handle(now, parse(JOINED)).is_none());
        let [config] = &all(&mut b)[..] else { panic!("one form") };
        assert!(config.contains("muc#roomconfig_whois") && config.contains("anyone"), "{config}");
        b.publish(&stats);
        let [update] = &all(&mut b)[..] else { panic!("one update") };
        assert!(!update.contains("protocol/muc'") && update.contains("<stats"), "{update}");
        assert_eq!(b.poll_timeout(), None);
    }

    #[test]
    fn a_resumed_stream_joins_nothing_and_a_kick_joins_again_later() {
        let (mut b, now) = (brewery(), Instant::now());
        b.connected(now, false, &[]);
        b.handle(now, parse(JOINED));
        all(&mut b);
        b.disconnected();
        b.connected(now, true, &[]);
        assert!(all(&mut b).is_empty());
        let out = JOINED.replace("<presence ", "<presence type='unavailable' ");
        b.handle(now, parse(&out));
        assert_eq!(b.poll_timeout(), Some(now + REJOIN));
        b.tick(now + REJOIN, &[]);
        assert_eq!(all(&mut b).len(), 1);
    }

    #[test]
    fn requests_come_from_breweries_alone() {
        let (mut b, now) = (brewery(), Instant::now());
        b.connected(now, false, &[]);
        all(&mut b);
        let modify = |from: &str, ty: &str| {
            parse(&format!(
                "<iq xmlns='jabber:client' type='{ty}' id='a' from='{from}' to='jvb@auth.x/r'><conference-modify xmlns='jitsi:colibri2' meeting-id='m'/></iq>"
            ))
        };
        assert!(b.handle(now, modify("evil@x/y", "get")).is_none());
        assert!(all(&mut b)[0].contains("<forbidden"));
        for ty in ["get", "set"] {
            assert!(matches!(b.handle(now, modify("jvbbrewery@internal.auth.x/focus", ty)), Some(Request::Colibri(_))));
        }
        assert!(b.handle(now, modify("jvbbrewery@internal.auth.x/focus", "result")).is_none());
        assert!(all(&mut b).is_empty());
    }

    #[test]
    fn version_and_features_are_told() {
        let (mut b, now) = (brewery(), Instant::now());
        let ask = |q: &str| {
            parse(&format!(
                "<iq xmlns='jabber:client' type='get' id='v' from='jvbbrewery@internal.auth.x/focus' to='jvb@auth.x/r'><query xmlns='{q}'/></iq>"
            ))
        };
        b.handle(now, ask(VERSION));
        b.handle(now, ask(ns::DISCO_INFO));
        b.handle(now, ask("urn:unknown"));
        let out = all(&mut b);
        assert!(
            out[0].contains("<version>1.2</version>") && out[0].contains("to='jvbbrewery@internal.auth.x/focus'"),
            "{}",
            out[0]
        );
        assert!(out[1].contains(HEALTH) && out[1].contains("urn:xmpp:jingle:apps:dtls:0"));
        assert!(out[2].contains("<service-unavailable"));
    }
}
