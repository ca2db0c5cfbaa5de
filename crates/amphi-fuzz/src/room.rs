//! Stanzas of several occupants, and of other servers, into the rooms of a node: no panic, what comes out is well-formed
//! and addressed, and one input does not cause more than the room's size explains.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_room::{
    ConnId, Hub, Input, MainConfig, MucConfig, NodeConfig, Origin, Output, PeerState, Role, RoomId, Session,
    VisitorNodeConfig, to_real,
};
use amphi_stanza::{BareJid, FullJid, Jid, Limits, Stanza, ns};
use bytes::Bytes;

/// Outputs that any input may cause, whoever is there.
const FEW: usize = 64;
/// Local people; the first is the focus.
const PEOPLE: u64 = 6;

/// The first byte chooses the kind of node; every line is one input: who, what, and the rest of it.
pub fn room(data: &[u8]) {
    let Some((&mode, text)) = data.split_first() else { return };
    let mut w = World::new(mode);
    for line in text.split(|b| *b == b'\n').take(200) {
        w.line(line);
    }
    w.pass(Duration::from_secs(600));
}

struct World {
    main: bool,
    cfg: Arc<NodeConfig>,
    hub: Hub,
    now: Instant,
    wall: u64,
    people: Vec<Arc<Session>>,
    groups: HashMap<RoomId, Vec<ConnId>>,
}

fn config(main: bool) -> NodeConfig {
    let (host, auth) = if main { ("meet.example", "auth.meet.example") } else { ("v1.meet.jitsi", "auth.meet.jitsi") };
    let role = if main {
        Role::Main(MainConfig {
            visitors: Some("visitors.meet.example".into()),
            always_visitors_enabled: true,
            lobby: Some(amphi_room::LobbyConfig { domain: "lobby.meet.example".into(), ..Default::default() }),
            ..MainConfig::default()
        })
    } else {
        Role::VisitorNode(VisitorNodeConfig {
            name: "v1".into(),
            main_domain: "meet.example".into(),
            main_hosts: Default::default(),
            main_muc: "conference.meet.example".into(),
            main_visitors: "visitors.meet.example".into(),
            auto_promoted_with_token: true,
        })
    };
    NodeConfig {
        role,
        host: host.into(),
        hosts: vec![auth.into()],
        mucs: vec![MucConfig::conference("conference", host), MucConfig::internal(&["internal.", auth].concat())],
        metadata: main.then(|| "metadata.meet.example".into()),
        admins: BareJid::new("focus", auth).into_iter().collect(),
        ..NodeConfig::default()
    }
}

impl World {
    fn new(mode: u8) -> Self {
        let main = mode & 1 == 0;
        let cfg = Arc::new(config(main));
        let person = |n: u64| {
            let host = if n == 0 { &cfg.hosts[0] } else { &cfg.host };
            let local = if n == 0 { "focus".to_owned() } else { format!("p{n}") };
            Arc::new(Session {
                conn: ConnId(n),
                jid: FullJid::parse(&[&local, "@", host, "/r"].concat()).expect("an address"),
                room: Some("demo".into()),
                tenant: (mode & 2 != 0).then(|| "acme".into()),
                region: (mode & 4 != 0).then(|| "here".into()),
                claims: None,
                admin: n == 0,
                anonymous: true,
            })
        };
        let people = (0..PEOPLE).map(person).collect();
        let hub = Hub::new(cfg.clone(), [mode; 32], 0);
        Self { main, cfg, hub, now: Instant::now(), wall: 1_767_225_600_000, people, groups: HashMap::new() }
    }

    fn room(&self, nick: &str) -> String {
        let domain = if self.main { "conference.meet.example" } else { "conference.v1.meet.jitsi" };
        if nick.is_empty() { format!("demo@{domain}") } else { format!("demo@{domain}/{nick}") }
    }

    fn line(&mut self, line: &[u8]) {
        let [who, what, rest @ ..] = line else { return };
        let who = u64::from(*who) % 8;
        if who == 7 {
            return self.control(*what, rest);
        }
        let xml = if *what == b'<' { line[1..].to_vec() } else { self.grammar(*what, rest, who).into_bytes() };
        let Ok(s) = Stanza::parse(Bytes::from(xml), &Limits::default()) else { return };
        let Ok(Some(to)) = s.to() else { return };
        let (from, to) = if who < PEOPLE {
            (Origin::Local(self.people[who as usize].clone()), to_real(&self.cfg, &to))
        } else {
            (Origin::Remote, to)
        };
        if Hub::room_of(&self.cfg, &from, &to, &s).is_some() {
            self.input(Input::Stanza { from, to, stanza: s });
        } else if let Origin::Local(session) = &from
            && let Some(answer) = Hub::answer_service(&self.cfg, &to, session.jid.jid(), &s)
        {
            well_formed(answer.raw());
        }
    }

    /// A stanza of the usual kinds, with a part of the input in it.
    fn grammar(&self, what: u8, rest: &[u8], who: u64) -> String {
        let text: String =
            String::from_utf8_lossy(rest).chars().filter(|c| !"<>&'\"".contains(*c) && *c >= ' ').collect();
        let nick = if who == 0 { "focus".to_owned() } else { format!("n{who}") };
        let remote = if self.main { "x1@v1.meet.jitsi/r" } else { "x1@meet.example/r" };
        let from = if who == 6 { format!(" from='{remote}'") } else { String::new() };
        let (room, me) = (self.room(""), self.room(&nick));
        // Orders between servers come from the host itself.
        let host = if self.main { "v1.meet.jitsi" } else { "meet.example" };
        let sender = if who == 6 { format!(" from='{host}'") } else { String::new() };
        let iq = |ty: &str, to: &str, child: String| format!("<iq type='{ty}' id='i' to='{to}'{sender}>{child}</iq>");
        let muc = "http://jabber.org/protocol/muc";
        let json = |v: &str| {
            format!(
                "<message type='groupchat' to='{room}'{from}><json-message xmlns='http://jitsi.org/jitmeet'>{v}</json-message></message>"
            )
        };
        match what % 20 {
            0 | 1 => format!("<presence to='{me}'{from}><x xmlns='{muc}'><billingid>{text}</billingid></x></presence>"),
            2 => format!("<presence to='{me}' type='unavailable'{from}/>"),
            3 => format!("<presence to='{me}'{from}><nick xmlns='{}'>{text}</nick></presence>", ns::NICK),
            4 => format!(
                "<presence to='{me}'{from}><jitsi_participant_raisedHand>{text}</jitsi_participant_raisedHand></presence>"
            ),
            5 | 6 => format!("<message type='groupchat' id='m' to='{room}'{from}><body>{text}</body></message>"),
            7 => format!("<message type='chat' to='{}'{from}><body>p</body></message>", self.room(&text)),
            8 => format!("<message type='groupchat' to='{room}'{from}><subject>{text}</subject></message>"),
            9 => iq("set", &room, format!("<query xmlns='{muc}#admin'><item nick='{text}' role='none'/></query>")),
            10 => iq(
                "set",
                &room,
                format!("<query xmlns='{muc}#admin'><item jid='{text}@meet.example' affiliation='owner'/></query>"),
            ),
            11 => iq("get", &room, format!("<query xmlns='{muc}#owner'/>")),
            12 => iq(
                "set",
                &room,
                format!(
                    "<query xmlns='{muc}#owner'><x xmlns='jabber:x:data' type='submit'><field var='muc#roomconfig_roomsecret'><value>{text}</value></field></x></query>"
                ),
            ),
            13 => iq("get", &room, "<query xmlns='http://jabber.org/protocol/disco#info'/>".into()),
            14 => {
                iq("set", &room, format!("<seats xmlns='urn:amphi:seats:0' limit='2'><reserve id='{text}'/></seats>"))
            }
            15 => iq(
                "get",
                "visitors.meet.example",
                format!(
                    "<visitors xmlns='jitsi:visitors' room='demo@conference.meet.example'><connect-vnode vnode='{text}'/></visitors>"
                ),
            ),
            16 => iq(
                "set",
                "visitors.meet.example",
                format!(
                    "<visitors xmlns='jitsi:visitors' room='demo@conference.meet.example'><promotion-request jid='{text}@v1.meet.jitsi/r' time='5'/></visitors>"
                ),
            ),
            17 => iq(
                "set",
                "conference.v1.meet.jitsi",
                format!(
                    "<visitors xmlns='jitsi:visitors' room='demo@conference.v1.meet.jitsi'><connect meetingId='{text}' createdTimestamp='1'/></visitors>"
                ),
            ),
            18 => json(
                &format!(
                    "{{\"type\":\"visitors\",\"action\":\"promotion-response\",\"approved\":true,\"id\":\"{text}\"}}"
                )
                .replace('"', "&quot;"),
            ),
            _ => format!(
                "<message to='metadata.meet.example'{from}><room_metadata xmlns='http://jitsi.org/jitmeet' room='demo@conference.meet.example'>{{&quot;key&quot;:&quot;visitors&quot;,&quot;data&quot;:{{&quot;live&quot;:true}}}}</room_metadata></message>"
            ),
        }
    }

    fn control(&mut self, what: u8, rest: &[u8]) {
        let n = u64::from(rest.first().copied().unwrap_or(0));
        match what % 5 {
            0 => self.pass(Duration::from_secs(n)),
            1 => {
                let session = self.people[n as usize % PEOPLE as usize].clone();
                self.input(Input::Gone { session });
            }
            2 | 3 => {
                let domain = if self.main { "conference.v1.meet.jitsi" } else { "conference.meet.example" }.to_owned();
                let state = match n % 3 {
                    0 => PeerState::Down,
                    1 => PeerState::Up { fresh: true },
                    _ => PeerState::Up { fresh: false },
                };
                self.input(Input::Peer { domain, state });
            }
            _ => {
                if let Ok(room) = self.room("").parse() {
                    self.input(Input::Destroy { room, venue: None, reason: Some("over".into()) });
                }
            }
        }
    }

    fn pass(&mut self, by: Duration) {
        let end = self.now + by;
        let mut ticks = 0;
        while let Some(at) = self.hub.poll_timeout().filter(|at| *at <= end) {
            ticks += 1;
            assert!(ticks < 10_000, "a hub that spins");
            self.wall += at.saturating_duration_since(self.now).as_millis() as u64;
            self.now = self.now.max(at);
            self.input(Input::Tick);
        }
        self.wall += end.saturating_duration_since(self.now).as_millis() as u64;
        self.now = end;
    }

    fn input(&mut self, input: Input) {
        self.hub.handle(self.now, self.wall, input);
        let there = self.groups.values().map(Vec::len).sum::<usize>() + PEOPLE as usize;
        let (mut outputs, most) = (0, FEW * (there + 4));
        while let Some(o) = self.hub.poll_output() {
            outputs += 1;
            assert!(outputs < most, "{outputs} outputs");
            self.output(o);
        }
    }

    fn output(&mut self, o: Output) {
        match o {
            Output::Join { room, conn, .. } => {
                let g = self.groups.entry(room).or_default();
                g.retain(|c| *c != conn);
                g.push(conn);
            }
            Output::Leave { room, conn } => {
                let g = self.groups.entry(room).or_default();
                assert!(g.contains(&conn), "somebody leaves who was not there");
                g.retain(|c| *c != conn);
            }
            Output::Destroyed { room } => {
                let left = self.groups.remove(&room).unwrap_or_default();
                assert!(left.is_empty(), "a room is gone with people in it");
            }
            Output::Broadcast(b) => well_formed(&b.frame.render("a@b/c")),
            Output::SendFrames { frames, .. } => frames.iter().for_each(|f| well_formed(&f.render("a@b/c"))),
            Output::Send { conn, stanza } => {
                well_formed(&stanza);
                let to = Stanza::authored(stanza).to().ok().flatten();
                assert_eq!(to.as_ref(), Some(self.people[conn.0 as usize].jid.jid()));
            }
            Output::Route(s) => {
                well_formed(s.raw());
                let to: Option<Jid> = s.to().expect("an address");
                assert!(to.is_some() && s.attr("from").is_some(), "not addressed: {s}");
            }
            Output::Promised { username, .. } => assert!(!username.is_empty()),
            Output::Live { shown, .. } => assert!(!shown.as_str().is_empty()),
            Output::Lobby { .. } | Output::Told { .. } | Output::Refused(_) => {}
        }
    }
}

fn well_formed(bytes: &Bytes) {
    let limits = Limits { bytes: usize::MAX >> 1, ..Limits::default() };
    if let Err(e) = Stanza::parse(bytes.clone(), &limits) {
        panic!("sent {}: {e}", String::from_utf8_lossy(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_reaches_rooms_of_both_kinds() {
        for (file, people) in [("join_chat_leave", 2), ("node_join", 3)] {
            let path = [env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/room/", file].concat();
            let data = std::fs::read(path).unwrap();
            let mut w = World::new(data[0]);
            data[1..].split(|b| *b == b'\n').for_each(|l| w.line(l));
            assert_eq!(w.groups.values().map(Vec::len).sum::<usize>(), people, "{file}");
        }
    }
}
