//! Bridges: how they are chosen, how their failures are met, how they are linked.

mod world;

use amphi_focus::{FocusConfig, Input, Move, MoveError, NodeId, Output};
use amphi_jingle::colibri2::ErrorReason;
use amphi_jingle::{Action, Setup};
use amphi_stanza::Condition;
use world::media::{JSON, media_config};
use world::{ROOM, World, bare, s, v};

fn visitors(w: &mut World, from: u32, n: u32) {
    for i in from..from + n {
        let id = w.ask_visitor(&format!("mv{i}"));
        assert_eq!(w.place(id), "v1");
        w.join_visitor(1, &format!("x{i}"));
    }
}

/// The bridge that an endpoint is on; exactly one.
fn place(w: &World, nick: &str) -> String {
    let on: Vec<_> = w.media.bridges.keys().filter(|b| w.on(b).contains(&nick)).cloned().collect();
    assert!(on.len() < 2, "{nick} is on {on:?}");
    on.first().cloned().unwrap_or_default()
}

#[test]
fn errors_of_an_allocation_are_met_as_the_table_says() {
    // Condition, reason; whether others keep their sessions; whether the bridge can be used at once.
    let cases = [
        (Condition::BadRequest, None, true, true),
        (Condition::ItemNotFound, Some(ErrorReason::ConferenceNotFound), false, true),
        (Condition::ItemNotFound, None, true, true),
        (Condition::Conflict, None, false, true),
        (Condition::Conflict, Some(ErrorReason::ConferenceAlreadyExists), false, true),
        (Condition::ServiceUnavailable, Some(ErrorReason::GracefulShutdown), false, true),
        (Condition::ServiceUnavailable, None, false, false),
        (Condition::InternalServerError, Some(ErrorReason::Unspecified), false, false),
    ];
    for (condition, reason, kept, usable) in cases {
        let mut w = World::with_stage(media_config(0), 2);
        w.bridge("b1").fail.push_back((condition, reason));
        w.join("n2");
        let case = format!("{condition:?} {reason:?}");
        assert_eq!(w.offers("n0").len() == 1 && w.active("n0"), kept, "{case}");
        assert_eq!(w.focus.metrics().bridges_removed, u64::from(!kept), "{case}");
        if usable {
            w.pass(s(6));
            assert!(w.active("n2"), "{case}");
        } else {
            assert!(!w.active("n2"), "{case}");
            // It is the only one: a health check that finds it well is enough.
            w.pass(s(30));
        }
        assert!(w.active("n0") && w.active("n1") && w.active("n2"), "{case}");
        assert_eq!(w.on("b1").len(), 3, "{case}");
        if !kept {
            let reason = w.client("n0").received.iter().find_map(|j| j.reason.clone()).unwrap();
            assert_eq!((reason.condition.as_str(), reason.text.as_deref()), ("success", Some("moving")));
        }
    }
}

#[test]
fn a_bridge_that_does_not_answer_is_left_for_another() {
    let mut w = World::with_stage(media_config(0), 2);
    w.bridge("b1").silent = true;
    w.add_bridge("b2", "eu");
    w.set_stat("b2", "stress_level", "0.5");
    w.join("n2");
    assert!(!w.active("n2"));
    w.pass(s(16));
    for n in ["n0", "n1", "n2"] {
        assert!(w.active(n) && w.on("b2").contains(&n), "{n}");
    }
    // What the old bridge still has, it is told to give up; it is not used again for a while.
    w.bridge("b1").silent = false;
    w.join("n3");
    assert_eq!(place(&w, "n3"), "b2");
}

#[test]
fn updates_that_are_not_answered_are_repeated_and_then_the_bridge_is_left() {
    let mut c = media_config(0);
    c.media.health.enabled = false;
    let mut w = World::with_stage(c, 2);
    w.add_bridge("b2", "eu");
    w.bridge("b1").silent = true;
    let text = w.sources_text("n0", Action::SourceRemove, &{
        let mut set = amphi_jingle::SourceSet::default();
        let ssrc = w.media.bridges["b1"].conferences.values().next().unwrap().endpoints["n0"]
            .sources
            .iter()
            .find(|m| m.id == "n0-a0")
            .unwrap()
            .media
            .sources[0]
            .ssrc;
        set.audio.sources.push(amphi_jingle::Source { ssrc, ..Default::default() });
        set
    });
    assert_eq!(w.request("n0", &text), "ok");
    w.pass(s(16));
    assert_eq!(w.focus.metrics().colibri_repeated, 1);
    assert_eq!(w.offers("n0").len(), 1);
    w.pass(s(16));
    assert_eq!(w.offers("n0").len(), 2);
    // What the silent one still has it will forget by itself.
    assert!(w.on("b2").contains(&"n0") && w.on("b2").contains(&"n1"));
}

#[test]
fn an_endpoint_that_the_bridge_forgot_is_made_again() {
    let mut w = World::with_stage(media_config(0), 3);
    w.bridge("b1").conferences.values_mut().next().unwrap().endpoints.remove("n0");
    let info = w.offers("n0")[0].clone();
    let text = w.iq_text("n0", &amphi_jingle::Jingle { action: Action::TransportInfo, json_sources: None, ..info });
    assert_eq!(w.request("n0", &text), "ok");
    assert_eq!((w.offers("n0").len(), w.offers("n1").len()), (2, 1));
    assert!(w.active("n0") && w.on("b1").contains(&"n0"));
    let status = w.focus.bridges(w.now);
    assert_eq!(status[0].endpoints, 3, "counted right");
}

#[test]
fn a_bridge_that_leaves_is_left_and_members_wait_for_another() {
    let mut w = World::with_stage(media_config(1), 2);
    visitors(&mut w, 0, 2);
    w.remove_bridge("b1");
    w.pass(s(2));
    let last = w.sent_to(&NodeId::Main).into_iter().rfind(|x| x.contains("conference-properties")).unwrap().to_owned();
    assert!(last.contains("<bridgeNotAvailable xmlns='http://jitsi.org/protocol/focus'/>"), "{last}");
    assert!(!w.active("n0") && !w.active("x0"));
    w.add_bridge("b2", "eu");
    assert_eq!(w.on("b2").len(), 4, "at once");
    assert!(["n0", "n1", "x0", "x1"].iter().all(|n| w.active(n)));
    w.pass(s(3));
    let last = w.sent_to(&NodeId::Main).into_iter().rfind(|x| x.contains("conference-properties")).unwrap();
    assert!(!last.contains("bridgeNotAvailable"));
}

#[test]
fn health_checks_keep_away_from_silent_bridges_and_leave_sick_ones() {
    let mut w = World::with_stage(media_config(0), 2);
    w.pass(s(31));
    assert_eq!(w.bridge("b1").checks, 3);
    // Silent: checked twice, then not chosen, but nobody is moved.
    w.bridge("b1").silent = true;
    w.pass(s(46));
    assert!(!w.focus.bridges(w.now)[0].operational);
    assert_eq!(w.offers("n0").len(), 1);
    w.bridge("b1").silent = false;
    w.pass(s(90));
    assert!(w.focus.bridges(w.now)[0].operational);
    w.add_bridge("b2", "eu");
    w.bridge("b1").unhealthy = true;
    w.pass(s(11));
    assert!(w.on("b2").contains(&"n0") && w.on("b2").contains(&"n1"));
    assert_eq!(w.on("b1").len(), 0);
}

#[test]
fn presence_can_say_that_a_bridge_is_sick() {
    let mut c = media_config(0);
    c.media.health.use_presence = true;
    let mut w = World::with_stage(c, 2);
    w.add_bridge("b2", "eu");
    w.set_stat("b1", "healthy", "false");
    assert!(w.on("b2").contains(&"n0") && w.on("b1").is_empty());
    w.set_stat("b1", "healthy", "true");
    w.pass(s(61));
    assert!(w.focus.bridges(w.now).iter().all(|b| !b.operational), "both have been silent");
    assert_eq!(w.bridge("b1").checks, 0);
}

#[test]
fn bridges_that_shut_down_are_left_and_those_that_drain_are_not() {
    let mut w = World::with_stage(media_config(0), 2);
    w.add_bridge("b2", "eu");
    w.set_stat("b1", "drain", "true");
    w.set_stat("b1", "graceful_shutdown", "true");
    assert_eq!(w.on("b1").len(), 2);
    w.set_stat("b1", "shutting_down", "true");
    assert_eq!((w.on("b1").len(), w.on("b2").len()), (0, 2));
}

fn cascade(bridges: u32) -> FocusConfig {
    let mut c = media_config(1);
    c.media.max_bridge_participants = 2;
    c.media.fan_out = bridges;
    c
}

#[test]
fn the_audience_gets_bridges_of_its_own_that_see_the_stage() {
    let mut w = World::with_stage(cascade(16), 2);
    w.add_bridge("b2", "eu");
    w.add_bridge("b3", "eu");
    visitors(&mut w, 0, 4);
    let (a, b) = (place(&w, "x0"), place(&w, "x2"));
    assert!(a != "b1" && b != "b1" && a != b, "{a} {b}");
    // Both see the stage over b1, which sees no visitors.
    for x in [&a, &b] {
        assert_eq!(w.links(x)["b1"], ["n0", "n1"]);
        assert_eq!(w.links("b1")[x.as_str()], Vec::<String>::new());
        let link = |on: &str, to: &str| {
            let l = &w.media.bridges[on].conferences.values().next().unwrap().relays[to];
            (l.mesh.clone(), l.initiator, l.setup)
        };
        let (mesh, initiator, setup) = link("b1", x);
        assert_ne!(mesh, "0");
        assert_eq!((initiator, setup), (true, Some(Setup::Active)));
        assert_eq!(link(x, "b1"), (mesh, false, Some(Setup::Passive)));
    }
    // A new member of the stage is announced; what it sends too; and that it is gone.
    w.join("n2");
    let new = place(&w, "n2");
    for x in [&a, &b] {
        let seen: Vec<String> = w.links(x).into_values().flatten().collect();
        assert!(seen.contains(&"n2".to_owned()), "{x} {seen:?} {new}");
    }
    w.leave("n1");
    for x in [&a, &b] {
        let seen: Vec<String> = w.links(x).into_values().flatten().collect();
        assert!(!seen.contains(&"n1".to_owned()), "{x} {seen:?}");
    }
    // The last visitor of a bridge takes it along.
    w.leave_visitor(1, "x0");
    w.leave_visitor(1, "x1");
    assert!(w.bridge(&a).conferences.is_empty());
    assert!(!w.links("b1").contains_key(&a));
}

#[test]
fn bridges_of_the_stage_are_a_mesh() {
    let mut w = World::with_stage(cascade(16), 2);
    for b in ["b2", "b3"] {
        w.add_bridge(b, "eu");
    }
    for n in ["n2", "n3", "n4", "n5"] {
        w.join(n);
    }
    let homes: Vec<String> = (0..6).map(|i| place(&w, &format!("n{i}"))).collect();
    for b in ["b1", "b2", "b3"] {
        let links = w.links(b);
        assert_eq!(links.len(), 2, "{b}");
        for (to, remote) in links {
            let there: Vec<String> = (0..6).filter(|i| homes[*i] == to).map(|i| format!("n{i}")).collect();
            assert_eq!(remote, there, "{b} over {to}");
        }
    }
    let meshes: Vec<String> =
        w.bridge("b1").conferences.values().next().unwrap().relays.values().map(|l| l.mesh.clone()).collect();
    assert_eq!(meshes, ["0", "0"]);
}

#[test]
fn what_a_lost_bridge_separates_is_joined_again() {
    // A chain: each bridge has at most one below.
    let mut w = World::with_stage(cascade(1), 2);
    for b in ["b2", "b3", "b4"] {
        w.add_bridge(b, "eu");
    }
    visitors(&mut w, 0, 6);
    let chain = [place(&w, "x0"), place(&w, "x2"), place(&w, "x4")];
    assert_eq!(w.links(&chain[1]).len(), 2);
    assert_eq!(w.links(&chain[2])[&chain[1]], ["n0", "n1"]);
    w.remove_bridge(&chain[0].clone());
    assert_eq!(w.focus.metrics().cascade_repairs, 1);
    assert_eq!(w.links(&chain[1])["b1"], ["n0", "n1"]);
    assert_eq!(w.links(&chain[2])[&chain[1]], ["n0", "n1"]);
    assert_eq!(w.offers("x2").len(), 1, "only the lost bridge's members move");
    assert_eq!(w.offers("x0").len(), 2);
    assert!(w.active("x0") && w.active("x1"));
    w.join("n2");
    let seen: Vec<String> = w.links(&chain[2]).into_values().flatten().collect();
    assert!(seen.contains(&"n2".to_owned()), "{seen:?}");
}

#[test]
fn a_stage_bridge_that_comes_after_the_visitors_does_not_pull_them_into_its_mesh() {
    let mut c = media_config(1);
    c.media.min_participants = 1;
    let mut w = World::with_media(c);
    w.add_bridge("b2", "eu");
    visitors(&mut w, 0, 1);
    assert!(w.active("x0"));
    w.join("n0");
    let (audience, stage) = (place(&w, "x0"), place(&w, "n0"));
    assert_ne!(audience, stage);
    let mesh = &w.media.bridges[&stage].conferences.values().next().unwrap().relays[&audience].mesh;
    assert_ne!(mesh, "0");
    assert_eq!(w.links(&audience)[&stage], ["n0"]);
}

#[test]
fn a_large_stage_is_announced_in_pieces() {
    let mut c = cascade(16);
    c.media.max_bridge_participants = 0;
    c.media.limits.relay_batch = 4;
    c.max_participants = 100;
    let mut w = World::with_stage(c, 11);
    w.add_bridge("b2", "eu");
    visitors(&mut w, 0, 1);
    assert_eq!(w.links("b2")["b1"].len(), 11);
    let largest = w.bridge("b2").requests.iter().flat_map(|m| &m.relays).map(|r| r.endpoints.len()).max();
    assert_eq!(largest, Some(4));
}

#[test]
fn a_relay_that_cannot_be_used_takes_its_session_along() {
    let mut w = World::with_stage(cascade(16), 2);
    w.add_bridge("b2", "eu");
    // The first is the allocation, the second the relay.
    let id = w.ask_visitor("mv0");
    assert_eq!(w.place(id), "v1");
    w.bridge("b1").fail.push_back((Condition::InternalServerError, None));
    w.join_visitor(1, "x0");
    w.pass(s(10));
    // The stage's bridge failed: everybody there was moved, and the visitor sees the stage wherever it is.
    for n in ["n0", "n1", "x0"] {
        assert!(w.active(n), "{n}");
    }
    let home = place(&w, "x0");
    let seen: Vec<String> = w.links(&home).into_values().flatten().collect();
    for n in ["n0", "n1"] {
        assert!(place(&w, n) == home || seen.contains(&n.to_owned()), "{n}: {seen:?}");
    }
}

fn moved(w: &mut World, what: Move) -> Result<(u32, u32), MoveError> {
    w.handle(Input::Move { id: 1, what });
    match w.told.pop() {
        Some(Output::Moved { id: 1, result }) => result,
        o => panic!("{o:?}"),
    }
}

#[test]
fn operators_move_endpoints() {
    let mut w = World::with_stage(media_config(0), 4);
    w.add_bridge("b2", "eu");
    let unknown = Move::Endpoints { bridge: "b9".into(), room: None, count: 1 };
    assert_eq!(moved(&mut w, unknown), Err(MoveError::UnknownBridge));
    let other = Move::Endpoint { room: bare("x@conference.meet.example"), endpoint: "n0".into(), bridge: None };
    assert_eq!(moved(&mut w, other), Err(MoveError::UnknownConference));
    let one = |bridge: &str| Move::Endpoint { room: bare(ROOM), endpoint: "n0".into(), bridge: Some(bridge.into()) };
    assert_eq!(moved(&mut w, one("b2")), Ok((0, 0)));
    assert_eq!(moved(&mut w, one("b1")), Ok((1, 1)));
    assert_eq!((place(&w, "n0"), w.active("n0")), ("b2".into(), true));
    assert_eq!(moved(&mut w, Move::Fraction { bridge: "b1".into(), per_mille: 500 }), Ok((2, 1)));
    assert_eq!(w.on("b1").len(), 1);
    let all = Move::Endpoints { bridge: "b1".into(), room: Some(bare(ROOM)), count: 9 };
    assert_eq!(moved(&mut w, all), Ok((1, 1)));
    assert!(w.bridge("b1").conferences.is_empty() && w.on("b2").len() == 4);
}

#[test]
fn overloaded_bridges_are_relieved() {
    let mut c = media_config(0);
    c.media.redistribution.enabled = true;
    c.media.redistribution.endpoints = 1;
    let mut w = World::with_stage(c, 3);
    w.add_bridge("b2", "eu");
    w.set_stat("b1", "stress_level", "0.95");
    w.pass(s(61));
    assert_eq!((w.on("b1").len(), w.on("b2").len()), (2, 1));
    w.pass(s(100));
    assert_eq!(w.on("b2").len(), 1, "it rests a while");
    w.pass(s(100));
    assert_eq!(w.on("b2").len(), 2);
    assert_eq!(w.focus.metrics().endpoints_redistributed, 2);
}

#[test]
fn bridges_whose_clients_cannot_connect_are_avoided() {
    let mut c = media_config(0);
    c.media.ice_failures.enabled = true;
    c.media.ice_failures.min_endpoints = 3;
    let mut w = World::with_stage(c, 4);
    let id = w.bridge_session("n0");
    w.about_session("n0", Action::SessionTerminate, &id, true, false);
    assert!(w.focus.bridges(w.now)[0].failing_ice);
    w.pass(s(700));
    assert!(!w.focus.bridges(w.now)[0].failing_ice);
}

#[test]
fn a_new_connection_keeps_sessions_of_bridges_that_are_still_there() {
    let mut c = media_config(0);
    c.media.service_connection = true;
    let mut w = World::with_media(c);
    w.media.on = true;
    w.connect(NodeId::Service, false);
    w.go("m0");
    w.join("n0");
    w.join("n1");
    assert!(w.active("n0"));
    w.add_bridge("b2", "eu");
    w.handle(Input::Disconnected { node: NodeId::Service });
    w.join("n2");
    assert!(!w.active("n2"), "no bridge can be reached");
    w.pass(s(40));
    assert_eq!(w.offers("n0").len(), 1);
    w.media.bridges.remove("b2");
    w.connect(NodeId::Service, false);
    w.pass(s(6));
    assert!(w.active("n2"));
    assert_eq!(w.offers("n0").len(), 1);
    assert_eq!(w.focus.bridges(w.now).len(), 1, "the other is gone");
}

#[test]
fn a_room_that_refuses_us_is_entered_later() {
    let mut w = World::new(media_config(0));
    let text = format!("<presence type='error' from='{}/focus'/>", world::media::BREWERY);
    w.deliver(&NodeId::Main, &text);
    w.clear();
    w.pass(s(16));
    assert!(w.count_sent(&NodeId::Main, "jvbbrewery@internal-muc.meet.example/focus") >= 1);
}

#[test]
fn failures_are_met_at_a_rate() {
    let mut c = media_config(0);
    c.media.reinvites_per_second = 5;
    c.max_participants = 100;
    let mut w = World::with_stage(c, 20);
    w.add_bridge("b2", "eu");
    w.remove_bridge("b1");
    let now = w.on("b2").len();
    assert!((5..=6).contains(&now), "{now}");
    w.pass(s(1));
    let later = w.on("b2").len();
    assert!((9..=12).contains(&later), "{later}");
    w.pass(s(5));
    assert_eq!(w.on("b2").len(), 20);
}

#[test]
fn visitors_are_not_sources_and_old_visitors_are_told_of_the_stage() {
    let mut w = World::with_stage(media_config(1), 2);
    w.media.default_features = JSON;
    visitors(&mut w, 0, 1);
    let told = w.offers("x0")[0].json_sources.clone().unwrap();
    assert_eq!(told.keys().collect::<Vec<_>>(), ["jvb", "n0", "n1"]);
    w.join("n2");
    let j = w.client("x0").received.last().unwrap().clone();
    assert_eq!(j.action, Action::SourceAdd);
    assert_eq!(j.json_sources.unwrap().keys().collect::<Vec<_>>(), ["n2"]);
    assert_eq!(w.client("x0").node, Some(v(1)));
}

#[test]
fn the_end_of_the_conference_is_told_to_all_bridges() {
    let mut w = World::with_stage(cascade(16), 2);
    w.add_bridge("b2", "eu");
    visitors(&mut w, 0, 1);
    w.handle(Input::EndConference { room: bare(ROOM) });
    assert!(w.bridge("b1").conferences.is_empty() && w.bridge("b2").conferences.is_empty());
    let status = w.focus.bridges(w.now);
    assert!(status.iter().all(|b| b.endpoints == 0 && b.conferences == 0), "{status:?}");
}
