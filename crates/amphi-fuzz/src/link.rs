//! The messages between a main room and its visitor rooms, good and bad, in any order, over a link that breaks: no panic,
//! everything sent is addressed, answers are bounded, and what is sent to and fro comes to rest.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use amphi_room::PeerState;
use amphi_stanza::{BareJid, FullJid, Limits, Stanza};
use amphi_visitors::{
    Action, MainAddresses, MainConfig, MainLinks, Occupant, RemoteVerdict, Shadow, ShadowAction, ShadowAddresses,
    ShadowConfig, Trust, VisitorToken,
};
use bytes::Bytes;

/// Actions that one input may cause in so small a room.
const MANY: usize = 600;
const MUC: &str = "conference.v1.meet.jitsi";

/// Every line is one thing that happens: what, to whom, and the rest of it.
pub fn link(data: &[u8]) {
    let mut w = World::new();
    for line in data.split(|b| *b == b'\n').take(200) {
        w.line(line);
    }
    w.pass(Duration::from_secs(600));
    w.deliver(10_000);
    assert!(w.to_node.is_empty() && w.to_main.is_empty(), "the two do not stop talking");
}

struct World {
    now: Instant,
    links: MainLinks,
    shadow: Shadow,
    /// Who is on stage, by number: whether a moderator.
    stage: [Option<bool>; 4],
    to_node: VecDeque<Stanza>,
    to_main: VecDeque<Stanza>,
    up: bool,
    told: bool,
}

fn parse(xml: &[u8]) -> Option<Stanza> {
    Stanza::parse(Bytes::copy_from_slice(xml), &Limits::default()).ok()
}

fn authored(xml: String) -> Stanza {
    Stanza::authored(Bytes::from(xml))
}

fn full(s: &str) -> FullJid {
    FullJid::parse(s).expect("an address")
}

fn clean(rest: &[u8]) -> String {
    String::from_utf8_lossy(rest).chars().filter(|c| !"<>&'\"".contains(*c) && *c >= ' ').collect()
}

impl World {
    fn new() -> Self {
        let room = |s: &str| BareJid::parse(s).expect("an address");
        let main = MainAddresses {
            room: room("demo@conference.meet.example"),
            virtual_room: "demo@conference.meet.example".into(),
            host: "meet.example".into(),
            component: "visitors.meet.example".into(),
            muc_prefix: "conference".into(),
            node_suffix: "meet.jitsi".into(),
            focus: "focus@auth.meet.example".into(),
        };
        let node = ShadowAddresses {
            room: room("demo@conference.v1.meet.jitsi"),
            host: "v1.meet.jitsi".into(),
            main_host: "meet.example".into(),
            main_muc: "conference.meet.example".into(),
            component: "visitors.meet.example".into(),
        };
        let mut n = 0;
        let uuid = move || {
            n += 1;
            uuid::Uuid::from_u128(n)
        };
        Self {
            now: Instant::now(),
            links: MainLinks::new(MainConfig::default(), main, Box::new(uuid)),
            shadow: Shadow::new(ShadowConfig::default(), node),
            stage: [None; 4],
            to_node: VecDeque::new(),
            to_main: VecDeque::new(),
            up: true,
            told: true,
        }
    }

    fn main(&mut self, actions: Vec<Action>) {
        assert!(actions.len() < MANY, "{} actions", actions.len());
        for a in actions {
            match a {
                Action::Send(s) => {
                    addressed(&s);
                    if s.to().ok().flatten().is_some_and(|t| t.domain() == MUC) && self.up {
                        self.to_node.push_back(s);
                    }
                }
                Action::Deliver(s) | Action::DeliverTo { stanza: s, .. } => assert!(s.attr("from").is_some(), "{s}"),
                Action::Transcribing(_) => {}
                Action::NodeLost { vnode } => assert!(!vnode.is_empty()),
            }
        }
    }

    fn node(&mut self, actions: Vec<ShadowAction>) {
        assert!(actions.len() < MANY, "{} actions", actions.len());
        for a in actions {
            match a {
                ShadowAction::Send(s) => {
                    addressed(&s);
                    let away = s.to().ok().flatten().is_some_and(|t| t.domain().ends_with("meet.example"));
                    if away && self.up {
                        self.to_main.push_back(s);
                    }
                }
                ShadowAction::Deliver(s) | ShadowAction::History(s) => {
                    assert!(amphi_visitors::wire::line_of(&s).is_none(), "a mark reaches clients: {s}");
                }
                ShadowAction::DeliverTo { stanza, .. } => addressed(&stanza),
                _ => {}
            }
        }
    }

    fn occupant<T>(&mut self, n: u8, act: impl FnOnce(&mut MainLinks, Instant, &Occupant<'_>) -> T) -> T {
        let (nick, real) = (format!("n{n}"), full(&format!("p{n}@meet.example/r")));
        let moderator = self.stage[n as usize].unwrap_or(false);
        act(&mut self.links, self.now, &Occupant { nick: &nick, real: &real, moderator, admin: false })
    }

    fn line(&mut self, line: &[u8]) {
        let [what, who, rest @ ..] = line else { return };
        let (n, text) = (*who % 4, clean(rest));
        let visitor = full(&format!("w{n}@v1.meet.jitsi/r"));
        let chat = |body: &str| {
            authored(format!("<message xmlns='jabber:client' type='groupchat'><body>{body}</body></message>"))
        };
        match what % 20 {
            0 | 1 => {
                self.stage[n as usize].get_or_insert(who & 4 != 0);
                let p = authored(format!("<presence xmlns='jabber:client'><v>{text}</v></presence>"));
                let a = self.occupant(n, |l, now, o| l.occupant_updated(now, o, &p));
                self.main(a);
            }
            2 => {
                self.stage[n as usize] = None;
                let a = self.links.occupant_left(self.now, &format!("n{n}"));
                self.main(a);
            }
            3 => {
                if let Some(m) = &mut self.stage[n as usize] {
                    *m = !*m;
                    let a = self.occupant(n, |l, now, o| l.moderator_changed(now, o));
                    self.main(a);
                }
            }
            4 => {
                let a = self.occupant(n, |l, now, o| l.groupchat(now, o, &chat(&text), None));
                self.main(a);
            }
            5 => {
                let a = self.links.connect_vnode(self.now, if text.is_empty() { "v1" } else { &text });
                self.main(a);
            }
            6 => {
                let a = self.links.disconnect_vnode(self.now, "v1");
                self.main(a);
            }
            7 => self.change_link(*who),
            8 | 9 => self.deliver(usize::from(*who)),
            10 => self.pass(Duration::from_secs(u64::from(*who))),
            11 => {
                let p = authored(format!(
                    "<presence xmlns='jabber:client'><jitsi_participant_raisedHand>{text}</jitsi_participant_raisedHand></presence>"
                ));
                let nick = format!("w{n}");
                let a = self.shadow.visitor_joined(self.now, &visitor, &nick, VisitorToken::default(), &p);
                self.node(a);
            }
            12 => {
                let a = self.shadow.visitor_left(self.now, &visitor);
                self.node(a);
            }
            13 => {
                if let Ok(a) = self.shadow.visitor_groupchat(self.now, &visitor, &chat(&text)) {
                    self.node(a);
                }
            }
            14 => {
                let approved =
                    format!(r#"{{"type":"visitors","action":"promotion-response","approved":true,"id":"{visitor}"}}"#);
                let json = if text.is_empty() { approved } else { String::from_utf8_lossy(rest).into_owned() };
                if let Ok(Some(a)) = self.occupant(n, |l, now, o| l.moderator_message(now, o, &json)) {
                    self.main(a);
                }
            }
            15 => {
                if let Ok(a) = self.shadow.visitor_private(self.now, &visitor, &format!("n{n}"), &chat(&text)) {
                    self.node(a);
                }
            }
            16 | 17 => {
                if let Some(s) = parse(rest) {
                    self.node_takes(&s);
                }
            }
            _ => {
                if let Some(s) = parse(rest) {
                    self.main_takes(&s);
                }
            }
        }
    }

    fn change_link(&mut self, how: u8) {
        if how.is_multiple_of(3) {
            self.up = false;
            (self.to_node, self.to_main) = Default::default();
            if how & 8 != 0 {
                self.tell(PeerState::Down);
            }
            return;
        }
        let fresh = !self.up || !self.told;
        self.up = true;
        self.tell(PeerState::Up { fresh });
    }

    fn tell(&mut self, state: PeerState) {
        self.told = state != PeerState::Down;
        let (a, b) = match state {
            PeerState::Down => (self.links.link_down(self.now, MUC), self.shadow.main_down(self.now)),
            PeerState::Up { fresh } => (self.links.link_up(self.now, MUC, fresh), self.shadow.main_up(self.now, fresh)),
        };
        self.main(a);
        self.node(b);
    }

    fn deliver(&mut self, most: usize) {
        for _ in 0..most {
            let (a, b) = (self.to_node.pop_front(), self.to_main.pop_front());
            if a.is_none() && b.is_none() {
                return;
            }
            a.iter().for_each(|s| self.node_takes(s));
            b.iter().for_each(|s| self.main_takes(s));
        }
    }

    /// As the node's room takes what comes from the main node.
    fn node_takes(&mut self, s: &Stanza) {
        let (Ok(Some(from)), Ok(Some(to))) = (s.from(), s.to()) else { return };
        match s.root().name() {
            "presence" => {
                let (Some(real), Some(nick)) = (from.as_full(), to.resource()) else { return };
                let (verdict, a) = self.shadow.remote_presence(self.now, nick, &real, s);
                self.node(a);
                if verdict == RemoteVerdict::Join {
                    self.shadow.role_of_remote(nick);
                }
            }
            "message" if to.local().is_none() => {
                let a = self.shadow.main_history(&from, s);
                self.node(a);
            }
            "message" => {
                let a = self.shadow.main_groupchat(&from, s);
                self.node(a);
            }
            "iq" if matches!(s.ty().as_deref(), Some("get" | "set")) => {
                let a = self.shadow.handle_iq(self.now, s);
                self.node(a);
            }
            _ => {}
        }
    }

    /// As the main room takes what comes from a node.
    fn main_takes(&mut self, s: &Stanza) {
        let (Ok(Some(from)), Ok(Some(_))) = (s.from(), s.to()) else { return };
        let a = match (s.root().name(), s.ty().as_deref()) {
            ("iq", Some("result" | "error")) => self.links.handle_answer(self.now, s),
            ("iq", Some("get" | "set")) => self.links.handle_iq(self.now, s, Trust::Server),
            ("message", Some("groupchat")) => match from.as_full() {
                Some(f) if self.links.is_visitor(&f) => {
                    self.links.groupchat_from_visitor(self.now, &f, s, None).unwrap_or_default()
                }
                _ => return,
            },
            _ => return,
        };
        self.main(a);
    }

    fn pass(&mut self, by: Duration) {
        let end = self.now + by;
        for round in 0.. {
            assert!(round < 10_000, "somebody spins");
            let next = [self.links.poll_timeout(), self.shadow.poll_timeout()].into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            let a = self.links.tick(self.now);
            self.main(a);
            let a = self.shadow.tick(self.now);
            self.node(a);
            self.deliver(100);
        }
        self.now = end;
    }
}

fn addressed(s: &Stanza) {
    let again = Stanza::parse(s.raw().clone(), &Limits { bytes: usize::MAX >> 1, ..Limits::default() });
    assert!(again.is_ok(), "not well-formed: {s}");
    assert!(s.to().is_ok_and(|t| t.is_some()) && s.attr("from").is_some(), "not addressed: {s}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_links_the_rooms() {
        let path = [env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/link/join_update_leave"].concat();
        let data = std::fs::read(path).unwrap();
        let mut w = World::new();
        data.split(|b| *b == b'\n').for_each(|l| w.line(l));
        assert!(!w.shadow.locked());
    }
}
