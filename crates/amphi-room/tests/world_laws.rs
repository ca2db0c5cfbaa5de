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
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

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
