//! Whatever happens in whatever order: when it is over, everybody has one session on one bridge, every bridge sees the whole
//! stage, and the focus has counted right.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use amphi_focus::{Input, Move, NodeId};
use amphi_jingle::{Action, MediaSources, Source, SourceSet};
use amphi_stanza::Condition;
use proptest::prelude::*;
use world::media::{JSON, MODERN, OLD, media_config};
use world::{ROOM, World, bare, s};

#[derive(Clone, Debug)]
enum Step {
    Join(u8),
    Leave(u8),
    VisitorJoin(u8),
    VisitorLeave(u8),
    Restart(u8),
    AddSource(u8, u16),
    Fail(u8, u8),
    Silent(u8),
    Awake(u8),
    Remove(u8),
    Add(u8),
    Move(u8),
    Moderate(bool),
    Pass(u8),
    NodeAway,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..6).prop_map(Step::Join),
        2 => (0u8..6).prop_map(Step::Leave),
        4 => (0u8..8).prop_map(Step::VisitorJoin),
        2 => (0u8..8).prop_map(Step::VisitorLeave),
        2 => (0u8..6).prop_map(Step::Restart),
        2 => (0u8..6, 500u16..2000).prop_map(|(n, ssrc)| Step::AddSource(n, ssrc)),
        1 => (0u8..4, 0u8..5).prop_map(|(b, e)| Step::Fail(b, e)),
        1 => (0u8..4).prop_map(Step::Silent),
        1 => (0u8..4).prop_map(Step::Awake),
        1 => (0u8..4).prop_map(Step::Remove),
        2 => (0u8..4).prop_map(Step::Add),
        1 => (0u8..6).prop_map(Step::Move),
        1 => any::<bool>().prop_map(Step::Moderate),
        3 => (1u8..40).prop_map(Step::Pass),
        1 => Just(Step::NodeAway),
    ]
}

struct Chaos {
    w: World,
    stage: BTreeSet<String>,
    audience: BTreeSet<String>,
}

impl Chaos {
    fn new() -> Self {
        let mut c = media_config(1);
        c.media.max_bridge_participants = 2;
        c.media.fan_out = 1;
        c.media.restart_limits.max_requests = 1000;
        c.media.restart_limits.min_interval = std::time::Duration::ZERO;
        c.max_participants = 100;
        let mut w = World::with_media(c);
        w.add_bridge("b2", "eu");
        assert_eq!(w.go("m0"), "main");
        // Somebody always stays, so that the conference does.
        w.join("host");
        Self { w, stage: BTreeSet::from(["host".to_owned()]), audience: BTreeSet::new() }
    }

    fn act(&mut self, step: Step) {
        let w = &mut self.w;
        let bridge = |b: u8| format!("b{}", b + 1);
        match step {
            Step::Join(n) => {
                let nick = format!("n{n}");
                if self.stage.insert(nick.clone()) {
                    let features = [MODERN, JSON, OLD][usize::from(n) % 3];
                    w.media.features.insert(nick.clone(), features);
                    w.media.clients.remove(&nick);
                    w.join(&nick);
                }
            }
            Step::Leave(n) => {
                let nick = format!("n{n}");
                if self.stage.remove(&nick) {
                    w.leave(&nick);
                    w.media.clients.remove(&nick);
                }
            }
            Step::VisitorJoin(n) => {
                let nick = format!("x{n}");
                if !self.audience.contains(&nick) {
                    let id = w.ask_visitor(&nick);
                    if w.place(id) == "v1" {
                        w.media.clients.remove(&nick);
                        w.join_visitor(1, &nick);
                        self.audience.insert(nick);
                    }
                }
            }
            Step::VisitorLeave(n) => {
                let nick = format!("x{n}");
                if self.audience.remove(&nick) {
                    w.leave_visitor(1, &nick);
                    w.media.clients.remove(&nick);
                }
            }
            Step::Restart(n) => {
                let nick = format!("n{n}");
                if w.active(&nick) {
                    let id = w.bridge_session(&nick);
                    assert_eq!(w.about_session(&nick, Action::SessionTerminate, &id, true, false), "ok");
                }
            }
            Step::AddSource(n, ssrc) => {
                let nick = format!("n{n}");
                if w.active(&nick) {
                    let s = Source {
                        ssrc: ssrc.into(),
                        name: Some(format!("{nick}-v{ssrc}")),
                        msid: Some(format!("{nick}-{ssrc} z")),
                        ..Source::default()
                    };
                    let set = SourceSet {
                        video: MediaSources { sources: vec![s], groups: vec![] },
                        audio: MediaSources::default(),
                    };
                    let action = if ssrc.is_multiple_of(3) { Action::SourceRemove } else { Action::SourceAdd };
                    let text = w.sources_text(&nick, action, &set);
                    w.request(&nick, &text);
                }
            }
            Step::Fail(b, e) => {
                let condition = [
                    Condition::BadRequest,
                    Condition::Conflict,
                    Condition::ItemNotFound,
                    Condition::ServiceUnavailable,
                    Condition::InternalServerError,
                ][usize::from(e)];
                if let Some(b) = w.media.bridges.get_mut(&bridge(b)) {
                    b.fail.push_back((condition, None));
                }
            }
            Step::Silent(b) => {
                if let Some(b) = w.media.bridges.get_mut(&bridge(b)) {
                    b.silent = true;
                }
            }
            Step::Awake(b) => {
                if let Some(b) = w.media.bridges.get_mut(&bridge(b)) {
                    b.silent = false;
                }
            }
            Step::Remove(b) => {
                if w.media.bridges.contains_key(&bridge(b)) {
                    w.remove_bridge(&bridge(b));
                }
            }
            Step::Add(b) => {
                if !w.media.bridges.contains_key(&bridge(b)) {
                    w.add_bridge(&bridge(b), "eu");
                }
            }
            Step::Move(n) => {
                let what = Move::Endpoint { room: bare(ROOM), endpoint: format!("n{n}"), bridge: None };
                w.handle(Input::Move { id: 1, what });
            }
            Step::Moderate(on) => {
                let text = format!(
                    "<message from='avmoderation.meet.example'><json-message xmlns='http://jitsi.org/jitmeet'>{{\"type\":\"av_moderation\",\"room\":\"{ROOM}\",\"enabled\":{on},\"mediaType\":\"audio\"}}</json-message></message>"
                );
                w.deliver(&NodeId::Main, &text);
            }
            Step::Pass(n) => w.pass(s(n.into())),
            Step::NodeAway => {
                if w.has_conference() && !self.audience.is_empty() {
                    w.handle(Input::Disconnected { node: NodeId::vnode("v1") });
                    w.connect(NodeId::vnode("v1"), false);
                }
            }
        }
    }

    fn settle(&mut self) {
        let w = &mut self.w;
        for b in w.media.bridges.values_mut() {
            b.silent = false;
            b.fail.clear();
        }
        for b in ["b1", "b2"] {
            if !w.media.bridges.contains_key(b) {
                w.add_bridge(b, "eu");
            }
        }
        w.pass(s(300));
        // Enough for sessions to be due.
        for n in ["n98", "n99"] {
            self.stage.insert(n.into());
            w.join(n);
        }
        w.pass(s(300));
    }

    fn check(&self) {
        let w = &self.w;
        let mut homes: BTreeMap<&str, &str> = BTreeMap::new();
        let mut perhaps: BTreeSet<&str> = BTreeSet::new();
        for status in w.focus.bridges(w.now) {
            let name = w.media.bridges.keys().find(|b| **b == status.name).unwrap();
            for e in w.on(name) {
                // What a bridge was not told while it was silent it forgets by itself.
                if w.media.bridges[name].lossy {
                    perhaps.insert(e);
                } else {
                    assert_eq!(homes.insert(e, name), None, "{e} is on two bridges");
                }
            }
            if !w.media.bridges[name].lossy {
                assert_eq!(status.endpoints as usize, w.on(name).len(), "counted right on {name}");
            }
        }
        for nick in self.stage.iter().chain(&self.audience) {
            assert!(w.active(nick), "{nick} has a session");
            let nick = nick.as_str();
            assert!(homes.contains_key(nick) || perhaps.contains(nick), "{nick} has an endpoint");
        }
        let total: u32 = w.focus.bridges(w.now).iter().map(|b| b.endpoints).sum();
        assert_eq!(total as usize, self.stage.len() + self.audience.len());
        // Every bridge in use sees everybody on stage who is elsewhere.
        for (name, b) in w.media.bridges.iter().filter(|(_, b)| !b.lossy) {
            for c in b.conferences.values() {
                let seen: BTreeSet<&String> = c.relays.values().flat_map(|l| &l.remote).collect();
                for nick in &self.stage {
                    assert!(c.endpoints.contains_key(nick) || seen.contains(nick), "{name} sees {nick}: {seen:?}");
                }
                for nick in &seen {
                    assert!(self.stage.contains(*nick), "{name} sees {nick}, who is gone or a visitor");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn in_the_end_all_is_well(steps in proptest::collection::vec(step(), 1..60)) {
        let mut c = Chaos::new();
        for step in steps {
            c.act(step);
        }
        c.settle();
        c.check();
    }
}
