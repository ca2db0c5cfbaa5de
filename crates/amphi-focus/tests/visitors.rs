//! Shadow rooms: opening, linking, choosing nodes, counting, losing nodes and getting them back.

mod world;

use amphi_focus::{Event, Input, NodeId, VnodeConfig};
use world::{World, config, s, v};

const CONNECT: &str = "<connect-vnode ";
const DISCONNECT: &str = "<disconnect-vnode ";

#[test]
fn the_first_redirect_waits_until_the_main_node_has_linked_the_shadow_room() {
    let mut w = World::with_first(config(1));
    w.faults.connect_mute = true;
    let a = w.ask_visitor("m1");
    let b = w.ask_visitor("m2");
    assert_eq!((w.place(a), w.place(b)), ("none".into(), "none".into()));
    let iq = w.sent_to(&NodeId::Main).into_iter().rfind(|x| x.contains(CONNECT)).unwrap().to_owned();
    assert!(iq.contains("type='get'") && iq.contains("to='visitors.meet.example'"), "{iq}");
    assert!(iq.contains("room='talk@conference.meet.example'") && iq.contains("vnode='v1'"), "{iq}");
    assert_eq!(w.count_sent(&NodeId::Main, CONNECT), 1);
    assert_eq!(w.count_sent(&v(1), "to='talk@conference.v1.meet.jitsi/focus'"), 1, "only the join");
    let id = world::stanza(&iq).id().unwrap().into_owned();
    w.deliver(&NodeId::Main, &format!("<iq type='result' id='{id}' from='visitors.meet.example'/>"));
    assert_eq!((w.place(a), w.place(b)), ("v1".into(), "v1".into()));
}

#[test]
fn a_tenant_keeps_its_label_in_the_shadow_room() {
    let mut w = World::new(config(1));
    let room = "talk@conference.acme.meet.example";
    let id = w.ask_room(room, "m1", None, r#""visitors-version":1,"visitor":true"#);
    assert_eq!(w.place(id), "v1");
    assert_eq!(w.answer(id).room, room);
    assert!(w.count_sent(&v(1), "to='talk@conference.acme.v1.meet.jitsi/focus'") > 0);
    w.join_room(v(1), "talk@conference.acme.v1.meet.jitsi", "x", "visitor");
    assert_eq!(w.visitors(), 1);
}

#[test]
fn a_refused_connect_sends_visitors_to_another_node() {
    let mut w = World::with_first(config(2));
    w.faults.refuse.insert(v(1));
    let id = w.ask_visitor("m1");
    assert_eq!(w.place(id), "v2");
    assert_eq!(w.focus.metrics().vrooms_failed, 1);
    w.faults.refuse.insert(v(2));
    let mut w = World::with_first(config(2));
    w.faults.connect_error = true;
    let id = w.ask_visitor("m1");
    assert_eq!(w.place(id), "wait", "answered all the same");
    assert_eq!(w.focus.metrics().vrooms_failed, 2);
    w.faults.connect_error = false;
    w.pass(s(11));
    let id = w.ask_visitor("m1");
    assert!(w.place(id).starts_with('v'), "failed nodes are tried again");
}

#[test]
fn a_node_that_never_answers_is_given_up_and_nobody_is_left_without_an_answer() {
    let mut w = World::with_first(config(2));
    w.faults.mute.insert(v(1));
    let id = w.ask_visitor("m1");
    w.pass(s(14));
    assert_eq!(w.place(id), "none");
    w.pass(s(1));
    assert_eq!(w.place(id), "v2");

    let mut w = World::with_first(config(1));
    w.faults.connect_mute = true;
    let id = w.ask_visitor("m1");
    w.pass(s(15));
    assert_eq!(w.place(id), "wait");
    assert_eq!(w.focus.metrics().iq_timeouts, 1);
}

#[test]
fn a_focus_that_is_no_owner_of_the_shadow_room_does_not_use_it() {
    let mut w = World::with_first(config(1));
    w.faults.member_only = true;
    let id = w.ask_visitor("m1");
    assert_eq!(w.place(id), "wait");
    assert_eq!(w.count_sent(&v(1), "type='unavailable'"), 1);
}

#[test]
fn a_second_node_is_opened_when_the_first_has_enough_pending_ones_included() {
    let mut c = config(3);
    c.open_second_node_at = 5;
    let mut w = World::with_first(c);
    let places: Vec<_> = (0..16)
        .map(|i| {
            let id = w.ask_visitor(&format!("m{i}"));
            w.place(id)
        })
        .collect();
    let count = |p: &str| places.iter().filter(|x| *x == p).count();
    assert_eq!((count("v1"), count("v2")), (6, 5));
    assert_eq!(
        (&places[0], &places[5], &places[10], &places[15]),
        (&"v1".into(), &"v2".into(), &"v3".into(), &"v1".into())
    );
}

#[test]
fn redirected_visitors_count_for_a_minute_unless_they_appear() {
    let mut w = World::with_first(config(1));
    w.ask_visitor("m1");
    w.ask_visitor("m2");
    let n = |w: &World| (w.focus.nodes()[0].pending, w.focus.nodes()[0].visitors);
    assert_eq!(n(&w), (2, 0));
    w.join_visitor(1, "x1");
    assert_eq!(n(&w), (1, 1));
    w.pass(s(61));
    assert_eq!(n(&w), (0, 1));
    w.join_visitor(1, "x2");
    assert_eq!(n(&w), (0, 2));
    w.leave_visitor(1, "x1");
    assert_eq!(n(&w), (0, 1));
}

#[test]
fn mirrored_participants_are_no_visitors() {
    let mut w = World::with_first(config(1));
    w.ask_visitor("m1");
    w.join_room(v(1), &World::vroom(1), "n0", "participant");
    assert_eq!(w.visitors(), 0);
}

#[test]
fn draining_nodes_get_no_new_visitors_and_keep_theirs() {
    let mut w = World::with_first(config(2));
    w.ask_visitor("m1");
    w.join_visitor(1, "x1");
    w.handle(Input::Drain { vnode: "v1".into(), draining: true });
    let id = w.ask_visitor("m2");
    assert_eq!(w.place(id), "v2");
    assert_eq!(w.visitors(), 1);
}

#[test]
fn nodes_come_and_go_at_run_time() {
    let mut w = World::with_first(config(0));
    let id = w.ask_visitor("m1");
    assert_eq!(w.place(id), "main");
    w.handle(Input::NodeAdded(VnodeConfig::new("v7")));
    let id = w.ask_visitor("m1");
    assert_eq!(w.place(id), "wait", "not connected yet");
    w.connect(v(7), false);
    let id = w.ask_visitor("m1");
    assert_eq!(w.place(id), "v7");
    w.join_visitor(7, "x1");
    w.handle(Input::NodeRemoved { vnode: "v7".into() });
    assert_eq!((w.visitors(), w.focus.nodes().len()), (0, 0));
    assert!(w.count_sent(&NodeId::Main, DISCONNECT) == 1);
}

#[test]
fn a_lost_node_is_uncounted_and_new_visitors_go_elsewhere() {
    let mut w = World::with_first(config(2));
    for i in 0..3 {
        w.ask_visitor(&format!("m{i}"));
        w.join_visitor(1, &format!("x{i}"));
    }
    w.pass(s(20));
    assert_eq!(w.published(&NodeId::Main), Some(3));
    w.crash(v(1));
    assert!(w.events.contains(&Event::NodeLost { node: v(1), visitors: 3 }));
    assert_eq!((w.visitors(), w.focus.nodes()[0].visitors, w.focus.nodes()[0].pending), (0, 0, 0));
    let id = w.ask_visitor("m9");
    assert_eq!(w.place(id), "v2");
    w.pass(s(5));
    assert_eq!(w.published(&NodeId::Main), Some(0));
    assert!(w.has_conference());
}

#[test]
fn a_lost_node_is_told_nothing_until_it_is_back() {
    let mut w = World::with_first(config(1));
    w.ask_visitor("m1");
    w.join_visitor(1, "x1");
    w.crash(v(1));
    w.clear();
    w.pass(s(120));
    // It would be said to a room that knows nothing of the focus.
    assert_eq!(w.sent_to(&v(1)), Vec::<&str>::new());
}

#[test]
fn requests_that_wait_for_a_node_that_is_lost_go_elsewhere() {
    let mut w = World::with_first(config(2));
    w.faults.mute.insert(v(1));
    let id = w.ask_visitor("m1");
    assert_eq!(w.place(id), "none");
    w.handle(Input::Disconnected { node: v(1) });
    assert_eq!(w.place(id), "v2");
}

#[test]
fn a_resumed_node_goes_on_as_if_nothing_had_happened() {
    let mut w = World::with_first(config(1));
    w.ask_visitor("m1");
    w.join_visitor(1, "x1");
    w.handle(Input::Disconnected { node: v(1) });
    assert_eq!(w.visitors(), 0);
    w.clear();
    w.connect(v(1), true);
    assert_eq!((w.visitors(), w.focus.nodes()[0].visitors), (1, 1));
    assert_eq!(w.count_sent(&NodeId::Main, CONNECT), 0);
    assert_eq!(w.count_sent(&v(1), "protocol/muc'"), 0);
}

#[test]
fn a_node_that_comes_back_empty_is_joined_and_connected_again() {
    for judges in [false, true] {
        let mut w = World::new(config(1));
        w.judges = judges;
        w.go("m0");
        w.join("n0");
        w.ask_visitor("m1");
        w.join_visitor(1, "x1");
        w.crash(v(1));
        w.clear();
        w.pass(s(2));
        w.connect(v(1), false);
        // A stock main node would ignore a second connect while it believes in the first.
        assert_eq!(w.count_sent(&NodeId::Main, DISCONNECT), usize::from(!judges), "judges={judges}");
        assert_eq!(w.count_sent(&NodeId::Main, CONNECT), 1);
        assert_eq!(w.count_sent(&v(1), "protocol/muc'"), 1);
        assert_eq!(w.visitors(), 0);
        assert_eq!(w.go("m2"), "v1", "the audience is still open");
        w.join_visitor(1, "x1");
        assert_eq!(w.visitors(), 1);
    }
}

#[test]
fn a_node_that_stays_away_is_reported_to_the_main_node_once() {
    let mut w = World::with_first(config(1));
    w.ask_visitor("m1");
    w.join_visitor(1, "x1");
    w.crash(v(1));
    w.clear();
    w.pass(s(60));
    assert_eq!(w.count_sent(&NodeId::Main, DISCONNECT), 1);
    w.connect(v(1), false);
    assert_eq!((w.count_sent(&NodeId::Main, DISCONNECT), w.count_sent(&NodeId::Main, CONNECT)), (1, 1));
}

#[test]
fn a_shadow_room_that_its_node_closes_is_forgotten_and_may_be_opened_again() {
    let mut w = World::with_first(config(1));
    w.ask_visitor("m1");
    w.join_visitor(1, "x1");
    w.clear();
    w.deliver(
        &v(1),
        "<presence type='unavailable' from='talk@conference.v1.meet.jitsi/focus'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='none'/><destroy><reason>No visitors.</reason></destroy></x></presence>",
    );
    assert_eq!(w.count_sent(&NodeId::Main, DISCONNECT), 1);
    assert_eq!(w.visitors(), 0);
    assert_eq!(w.go("m2"), "main", "no audience any more");
    let id = w.ask_visitor("m3");
    assert_eq!(w.place(id), "v1");
}

#[test]
fn a_shadow_room_is_prepared_when_the_stage_is_nearly_full_and_is_no_audience_yet() {
    let mut c = config(1);
    c.max_participants = 5;
    c.prepare_at_percent = 80;
    let mut w = World::new(c);
    w.judges = true;
    for i in 0..3 {
        assert_eq!(w.go(&format!("m{i}")), "main");
    }
    assert_eq!(w.count_sent(&NodeId::Main, CONNECT), 0);
    assert_eq!(w.go("m3"), "main");
    assert_eq!(w.count_sent(&NodeId::Main, CONNECT), 1);
    assert_eq!(w.go("m4"), "main", "a prepared room does not send people away");
    w.faults.connect_mute = true;
    assert_eq!(w.go("m5"), "v1", "at once");
}

#[test]
fn nothing_is_prepared_at_a_main_node_that_would_close_its_stage_for_it() {
    let mut c = config(1);
    (c.max_participants, c.prepare_at_percent) = (2, 50);
    let mut w = World::new(c);
    for i in 0..2 {
        assert_eq!(w.go(&format!("m{i}")), "main");
    }
    assert_eq!(w.count_sent(&NodeId::Main, CONNECT), 0);
    assert_eq!(w.go("m2"), "v1");
}

#[test]
fn the_size_of_the_audience_is_published_quickly_when_small() {
    let mut w = World::with_first(config(1));
    w.ask_visitor("m1");
    w.pass(s(5));
    w.clear();
    w.join_visitor(1, "x1");
    w.pass(s(1));
    assert_eq!(w.published(&NodeId::Main), Some(1));
    w.pass(s(2));
    assert_eq!(w.published(&v(1)), Some(1));
    let p = w.sent_to(&NodeId::Main).pop().unwrap();
    assert!(p.contains("support-terminate-restart") && p.contains("visitors-enabled"), "all keys every time: {p}");
    assert!(!p.contains("protocol/muc'"), "an update must not ask for the roster again");
}

#[test]
fn large_audiences_are_published_at_most_every_fifteen_seconds_and_to_the_last_visitor() {
    let mut w = World::with_first(config(1));
    w.ask_visitor("m1");
    for i in 0..1200 {
        w.join_visitor(1, &format!("x{i}"));
    }
    w.pass(s(15));
    assert_eq!(w.published(&NodeId::Main), Some(1200));
    w.clear();
    for i in 0..60 {
        w.join_visitor(1, &format!("y{i}"));
        w.pass(s(1));
    }
    assert!((3..=5).contains(&w.count_sent(&NodeId::Main, "visitor-count")));
    assert!(w.count_sent(&v(1), "visitor-count") <= 3, "the audience hears it less often");
    w.pass(s(30));
    assert_eq!((w.published(&NodeId::Main), w.published(&v(1))), (Some(1260), Some(1260)));
}

#[test]
fn somebody_who_left_a_full_stage_finds_the_seat_free_when_coming_back() {
    for judges in [false, true] {
        let mut c = config(1);
        (c.max_participants, c.return_hold) = (2, s(0));
        let mut w = World::new(c);
        w.judges = judges;
        for i in 0..2 {
            assert_eq!(w.go(&format!("m{i}")), "main");
            w.join(&format!("n{i}"));
        }
        let id = w.ask("m9");
        assert_eq!(w.place(id), "v1");
        w.join_visitor(1, "x1");
        w.leave("n1");
        w.pass(s(2));
        assert_eq!(w.go("m1"), "main", "judges={judges}");
    }
}
