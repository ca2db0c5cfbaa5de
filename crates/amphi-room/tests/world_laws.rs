//! Laws of a room: after any order of joins, leaves, kicks and presences, everybody's view is the room's, and a newcomer
//! finds exactly what the others see.

mod world;

use std::collections::BTreeMap;

use amphi_stanza::{Stanza, ns};
use proptest::prelude::*;
use world::World;

const ROOM: &str = "demo@conference.meet.example";

#[derive(Clone, Copy, Debug)]
enum Op {
    Join(usize),
    Leave(usize),
    Gone(usize),
    Update(usize, u8),
    Kick(usize),
    Owner(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let who = 0..6usize;
    let op = prop_oneof![
        4 => who.clone().prop_map(Op::Join),
        1 => who.clone().prop_map(Op::Leave),
        1 => who.clone().prop_map(Op::Gone),
        3 => (who.clone(), any::<u8>()).prop_map(|(w, n)| Op::Update(w, n)),
        1 => who.clone().prop_map(Op::Kick),
        1 => who.prop_map(Op::Owner),
    ];
    proptest::collection::vec(op, 1..60)
}

/// Nick to role and what it says: what presences add up to.
type View = BTreeMap<String, (String, String)>;

fn apply(view: &mut View, s: &Stanza) {
    if s.root().name() != "presence" {
        return;
    }
    let from = s.from().unwrap().unwrap();
    let nick = from.resource().unwrap().to_owned();
    match s.ty().as_deref() {
        Some("unavailable") => {
            view.remove(&nick);
        }
        None => {
            let x = s.child("x", ns::MUC_USER).expect("an item");
            let role = x.child("item", ns::MUC_USER).unwrap().attr("role").unwrap().into_owned();
            let says = s.root().child_named("says").map(|e| e.text().into_owned()).unwrap_or_default();
            view.insert(nick, (role, says));
        }
        Some(_) => {}
    }
}

/// Reads what a client has received; a client that has left knows nothing.
fn read(w: &mut World, name: &str, view: &mut View) {
    for s in std::mem::take(w.inbox(name)) {
        apply(view, &s);
        let own =
            s.child("x", ns::MUC_USER).is_some_and(|x| x.children().any(|c| c.attr("code").as_deref() == Some("110")));
        if s.ty().as_deref() == Some("unavailable") && own {
            view.clear();
        }
    }
}

struct Play {
    w: World,
    views: BTreeMap<String, View>,
    /// Generation of each person's connection, and whether it is inside.
    people: Vec<(usize, bool)>,
}

impl Play {
    fn new() -> Self {
        let mut w = World::default();
        w.add_node("main", world::main_config());
        w.add_client("focus", world::session("focus@auth.meet.example/focus"));
        w.send("focus", &join("focus"));
        Self { w, views: BTreeMap::new(), people: vec![(0, false); 6] }
    }

    fn name(&self, i: usize) -> String {
        format!("p{i}g{}", self.people[i].0)
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Join(i) => {
                let name = self.name(i);
                if !self.w.clients.contains_key(&name) {
                    self.w.add_client(&name, world::session(&format!("{name}@meet.example/r")));
                }
                self.w.send(&name, &join(&format!("p{i}")));
                self.people[i].1 = true;
            }
            Op::Leave(i) if self.people[i].1 => {
                let xml = format!("<presence type='unavailable' to='{ROOM}/p{i}'/>");
                self.w.send(&self.name(i), &xml);
                self.people[i].1 = false;
            }
            Op::Gone(i) if self.people[i].1 => {
                let name = self.name(i);
                self.w.gone(&name);
                self.w.inbox(&name).clear();
                self.views.remove(&name);
                self.people[i] = (self.people[i].0 + 1, false);
            }
            Op::Update(i, n) if self.people[i].1 => {
                let xml = format!("<presence to='{ROOM}/p{i}'><says>{n}</says></presence>");
                self.w.send(&self.name(i), &xml);
            }
            Op::Kick(i) => {
                self.admin(&format!("<item nick='p{i}' role='none'/>"));
                self.people[i].1 = false;
            }
            Op::Owner(i) => self.admin(&format!("<item jid='{}@meet.example' affiliation='owner'/>", self.name(i))),
            _ => {}
        }
        let names: Vec<String> = self.w.clients.keys().cloned().collect();
        for n in names {
            read(&mut self.w, &n, self.views.entry(n.clone()).or_default());
        }
    }

    fn admin(&mut self, item: &str) {
        let xml = format!("<iq type='set' id='a' to='{ROOM}'><query xmlns='{}'>{item}</query></iq>", ns::MUC_ADMIN);
        self.w.send("focus", &xml);
    }
}

fn join(nick: &str) -> String {
    format!("<presence to='{ROOM}/{nick}'><x xmlns='{}'/></presence>", ns::MUC)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn every_view_is_the_room(ops in ops()) {
        let mut p = Play::new();
        for op in ops {
            p.run(op);
        }
        // A newcomer's roster is the truth to compare with.
        p.w.add_client("late", world::session("late@meet.example/r"));
        p.w.send("late", &join("late"));
        let mut truth = View::new();
        read(&mut p.w, "late", &mut truth);
        let inside: Vec<usize> = (0..6).filter(|i| p.people[*i].1).collect();
        prop_assert_eq!(truth.len(), inside.len() + 2);
        let mut names: Vec<String> = inside.iter().map(|i| p.name(*i)).collect();
        names.push("focus".into());
        for n in names {
            let mut view = p.views.remove(&n).unwrap_or_default();
            read(&mut p.w, &n, &mut view);
            prop_assert_eq!(&view, &truth, "{}", n);
        }
    }
}

/// A visitor's join costs the same whether ten or ten thousand are there.
#[test]
fn a_visitors_join_is_a_fixed_number_of_outputs() {
    let mut w = World::default();
    w.add_node("main", world::main_config());
    w.add_node("v1", world::node_config("v1"));
    w.add_client("focus", world::session("focus@auth.meet.example/f"));
    w.add_client("vfocus", world::session("focus@auth.meet.jitsi/f"));
    w.send("focus", &join("focus"));
    w.send("vfocus", &join("focus").replace("meet.example", "v1.meet.jitsi"));
    w.send(
        "focus",
        "<iq type='get' id='v' to='visitors.meet.example'><visitors xmlns='jitsi:visitors' room='demo@conference.meet.example'><connect-vnode vnode='v1'/></visitors></iq>",
    );
    let mut costs = Vec::new();
    for i in 0..2000 {
        let name = format!("v{i}");
        w.add_client(&name, world::session(&format!("{name}@v1.meet.jitsi/r")));
        let before = w.outputs;
        w.send(&name, &join(&name).replace("meet.example", "v1.meet.jitsi"));
        costs.push(w.outputs - before);
        w.drain();
    }
    assert!(costs.iter().all(|c| *c == costs[0]), "{costs:?}");
    // Roster, own presence, group, the focus, subject.
    assert_eq!(costs[0], 5);
}

/// Hostile input costs its sender an error at most.
#[test]
fn odd_stanzas_do_no_harm() {
    let mut w = World::default();
    w.add_node("main", world::main_config());
    w.add_node("v1", world::node_config("v1"));
    w.add_client("focus", world::session("focus@auth.meet.example/focus"));
    w.add_client("eve", world::session("eve@meet.example/r"));
    w.add_client("ann", world::session("ann@meet.example/r"));
    w.send("focus", &join("focus"));
    w.send("ann", &join("ann"));
    w.send("focus", &format!("<iq type='set' id='o' to='{ROOM}'><query xmlns='{}'><item jid='ann@meet.example' affiliation='owner'/></query></iq>", ns::MUC_ADMIN));
    let form =
        "<x xmlns='jabber:x:data' type='submit'><field var='muc#roomconfig_membersonly'><value>1</value></field></x>";
    w.send("eve", &join("eve"));
    w.send("ann", &format!("<iq type='set' id='l' to='{ROOM}'><query xmlns='{}'>{form}</query></iq>", ns::MUC_OWNER));
    let kinds = ["message", "presence", "iq"];
    let types = ["", "get", "set", "result", "error", "groupchat", "chat", "unavailable", "subscribe", "probe", "odd"];
    let tos = [
        ROOM,
        "demo@conference.meet.example/focus",
        "demo@conference.meet.example/eve",
        "demo@conference.meet.example/other",
        "metadata.meet.example",
        "visitors.meet.example",
        "conference.meet.example",
        "new@conference.meet.example/eve",
        "demo@lobby.meet.example",
        "demo@lobby.meet.example/eve",
        "demo@lobby.meet.example/other",
        "new@lobby.meet.example/eve",
        "lobby.meet.example",
    ];
    let payloads = [
        "",
        "<x xmlns='http://jabber.org/protocol/muc'/>",
        "<query xmlns='http://jabber.org/protocol/muc#admin'><item/></query>",
        "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'><field/></x></query>",
        "<query xmlns='http://jabber.org/protocol/disco#info' node='a'/>",
        "<seats xmlns='urn:amphi:seats:0' limit='-1'><reserve/></seats>",
        "<room_metadata xmlns='http://jitsi.org/jitmeet' room='demo@conference.meet.example'>[[[</room_metadata>",
        "<visitors xmlns='jitsi:visitors' room='demo@conference.meet.example'><connect-vnode vnode='v1'/></visitors>",
        "<visitors xmlns='jitsi:visitors' room='demo@conference.meet.example'><promotion-request jid='x'/></visitors>",
        "<json-message xmlns='http://jitsi.org/jitmeet'>{\"type\":\"visitors\",\"action\":7}</json-message>",
        "<error type='wait'><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
        "<body>x</body><subject>y</subject>",
    ];
    for k in kinds {
        for t in types {
            for to in tos {
                for p in payloads {
                    for id in ["", " id='i'"] {
                        let ty = if t.is_empty() { String::new() } else { format!(" type='{t}'") };
                        w.send("eve", &format!("<{k} to='{to}'{ty}{id}>{p}</{k}>"));
                        w.drain();
                    }
                }
            }
        }
    }
    // The focus is still there, and Eve may come in again.
    let named = "<x xmlns='http://jabber.org/protocol/muc'/><nick xmlns='http://jabber.org/protocol/nick'>Eve</nick>";
    w.send("eve", &format!("<presence to='{ROOM}/eve'>{named}</presence>"));
    assert!(w.inbox("eve").iter().any(|s| s.attr("from").as_deref() == Some("demo@conference.meet.example/focus")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever happens on stage, a visitor sees the stage as it is: nothing missing, nobody too many.
    #[test]
    fn the_audience_sees_the_stage(ops in ops()) {
        let mut p = Play::new();
        let main = p.w.node("main");
        if let amphi_room::Role::Main(m) = &mut main.cfg.role {
            m.auto_allow_visitor_promotion = true;
        }
        main.hub = None;
        p.w.send("focus", &join("focus"));
        p.w.add_node("v1", world::node_config("v1"));
        p.w.add_client("vfocus", world::session("focus@auth.meet.jitsi/f"));
        p.w.send("vfocus", &join("focus").replace("meet.example", "v1.meet.jitsi"));
        p.w.add_client("vic", world::session("vic@v1.meet.jitsi/r"));
        p.w.send("vic", &join("vic").replace("meet.example", "v1.meet.jitsi"));
        let half = ops.len() / 2;
        for (i, op) in ops.into_iter().enumerate() {
            if i == half {
                p.w.send(
                    "focus",
                    "<iq type='get' id='v' to='visitors.meet.example'><visitors xmlns='jitsi:visitors' room='demo@conference.meet.example'><connect-vnode vnode='v1'/></visitors></iq>",
                );
            }
            p.run(op);
        }
        let mut truth = View::new();
        p.w.add_client("late", world::session("late@meet.example/r"));
        p.w.send("late", &join("late"));
        read(&mut p.w, "late", &mut truth);
        let mut seen = p.views.remove("vic").unwrap_or_default();
        read(&mut p.w, "vic", &mut seen);
        // A newcomer in the audience sees the same as one who was there all the time.
        p.w.add_client("val", world::session("val@v1.meet.jitsi/r"));
        p.w.send("val", &join("val").replace("meet.example", "v1.meet.jitsi"));
        let mut fresh = View::new();
        read(&mut p.w, "val", &mut fresh);
        for (view, own) in [(&mut seen, "vic"), (&mut fresh, "val")] {
            prop_assert!(view.remove(own).is_some(), "{} is not inside", own);
            prop_assert_eq!(&*view, &truth, "{}", own);
        }
        // The focus of the node sees the audience and none of the stage.
        let mut focus = p.views.remove("vfocus").unwrap_or_default();
        read(&mut p.w, "vfocus", &mut focus);
        let nicks: Vec<&str> = focus.keys().map(String::as_str).collect();
        prop_assert_eq!(nicks, ["focus", "val", "vic"]);
    }
}
