//! Who goes where: the decision table, seats, and bursts.

mod world;

use amphi_focus::{LiveReading, NodeId};
use world::{World, config, s, token};

const V: &str = r#""visitors-version":1"#;

#[test]
fn the_first_goes_to_the_main_room_and_is_told_what_clients_need() {
    let mut w = World::new(config(1));
    let id = w.ask("m1");
    let a = w.answer(id);
    assert!(a.ready);
    assert_eq!(a.focus_jid.as_deref(), Some("focus@auth.meet.example"));
    assert_eq!(a.vnode, None);
    assert_eq!(a.properties["authentication"], "false");
    assert_eq!(a.properties["visitors-supported"], "true");
    assert!(w.count_sent(&NodeId::Main, "muc#roomconfig_whois") == 1);
}

#[test]
fn row_not_live_and_requested_waits_and_creates_nothing() {
    let mut c = config(1);
    c.live = LiveReading::OnlyIfTrue;
    let mut w = World::new(c);
    let id = w.ask_visitor("m1");
    assert_eq!(w.place(id), "not-live");
    assert!(!w.answer(id).ready);
    assert!(!w.has_conference());
}

#[test]
fn row_not_live_and_not_listed_waits_and_listed_goes_to_the_main_room() {
    let mut w = World::with_first(config(1));
    w.metadata(r#"{"visitors":{"live":false},"participants":["u1"]}"#);
    let a = w.ask_with("m1", Some(&token("u2", "g")), V);
    let b = w.ask_with("m2", Some(&token("u1", "g")), V);
    let c = w.ask_visitor("m3");
    assert_eq!((w.place(a), w.place(b), w.place(c)), ("not-live".into(), "main".into(), "not-live".into()));
    w.metadata(r#"{"visitors":{"live":true},"participants":["u1"]}"#);
    let d = w.ask_with("m1", Some(&token("u2", "g")), V);
    assert_eq!(w.place(d), "v1");
}

#[test]
fn a_room_without_a_word_about_live_is_live_unless_the_stock_reading_is_chosen() {
    let mut w = World::new(config(1));
    let id = w.ask_visitor("m1");
    assert_eq!(w.place(id), "v1");
    let mut c = config(1);
    c.live = LiveReading::OnlyIfTrue;
    let mut w = World::with_first(c);
    let id = w.ask_visitor("m1");
    assert_eq!(w.place(id), "not-live");
    w.metadata(r#"{"visitors":{"live":true}}"#);
    let id = w.ask_visitor("m1");
    assert_eq!(w.place(id), "v1");
}

#[test]
fn row_requested_goes_to_a_node_even_when_listed() {
    let mut w = World::with_first(config(1));
    w.metadata(r#"{"moderators":["u1"]}"#);
    let id = w.ask_with("m1", Some(&token("u1", "g")), r#""visitors-version":"1","visitor":"true""#);
    assert_eq!(w.place(id), "v1");
    assert_eq!(w.answer(id).focus_jid.as_deref(), Some("focus@auth.meet.jitsi"));
}

#[test]
fn row_not_listed_goes_to_a_node_and_an_empty_list_lists_nobody() {
    let mut w = World::with_first(config(1));
    w.metadata(r#"{"participants":[]}"#);
    assert_eq!(w.go("m1"), "v1");
    assert_eq!(w.focus.metrics().redirected_not_listed, 1);
}

#[test]
fn row_listed_goes_to_the_main_room_by_user_or_group_although_the_stage_is_full() {
    for judges in [false, true] {
        let mut c = config(1);
        c.max_participants = 1;
        let mut w = World::new(c);
        w.judges = judges;
        assert_eq!(w.go("m0"), "main");
        w.join("n0");
        w.metadata(r#"{"participants":["u1","g7"],"moderators":["u3"]}"#);
        for (user, group, place) in [("u1", "x", "main"), ("u9", "g7", "main"), ("u3", "", "main"), ("u8", "g8", "v1")]
        {
            let id = w.ask_with(user, Some(&token(user, group)), V);
            assert_eq!(w.place(id), place, "{user} {group} judges={judges}");
        }
    }
}

#[test]
fn row_open_room_goes_to_the_main_room_until_the_stage_is_full_then_to_a_node() {
    for judges in [false, true] {
        let mut c = config(1);
        c.max_participants = 3;
        let mut w = World::new(c);
        w.judges = judges;
        let places: Vec<_> = (0..5).map(|i| w.go(&format!("m{i}"))).collect();
        assert_eq!(places, ["main", "main", "main", "v1", "v1"], "judges={judges}");
        assert_eq!(w.focus.metrics().redirected_stage_full, 1);
        assert_eq!(w.focus.metrics().redirected_audience_open, 1);
    }
}

#[test]
fn row_open_room_with_an_audience_sends_everybody_else_there() {
    let mut w = World::with_first(config(1));
    let id = w.ask_visitor("m1");
    assert_eq!(w.place(id), "v1");
    assert_eq!(w.go("m2"), "v1");
}

#[test]
fn the_metadata_overrides_the_size_of_the_stage() {
    let mut w = World::with_first(config(1));
    w.metadata(r#"{"participantsSoftLimit":2}"#);
    assert_eq!(w.go("m1"), "main");
    assert_eq!(w.go("m2"), "v1");
}

#[test]
fn lobby_switched_off_visitors_and_old_clients_mean_the_main_room() {
    let mut c = config(1);
    c.max_participants = 1;
    let mut w = World::with_first(c.clone());
    w.metadata(r#"{"lobbyEnabled":true}"#);
    assert_eq!(w.go("m1"), "main");
    w.metadata(r#"{"visitorsEnabled":false}"#);
    assert_eq!(w.go("m2"), "main");
    w.metadata(r#"{"visitorsEnabled":true}"#);
    let old = w.ask_with("m3", None, "");
    assert_eq!(w.place(old), "main");
    assert_eq!(w.go("m4"), "v1");

    c.require_muc_config_flag = true;
    let mut w = World::with_first(c.clone());
    let id = w.ask("m1");
    assert_eq!((w.place(id), w.answer(id).properties["visitors-supported"].as_str()), ("main".into(), "false"));
    w.metadata(r#"{"visitorsEnabled":true}"#);
    assert_eq!(w.go("m2"), "v1");

    c.visitors_enabled = false;
    let mut w = World::with_first(c);
    assert_eq!(w.go("m1"), "main");
}

#[test]
fn breakout_and_health_rooms_have_no_audience() {
    let mut c = config(1);
    c.max_participants = 0;
    let mut w = World::new(c);
    let room = "b1@breakout.meet.example";
    w.rooms.entry((NodeId::Main, room.into())).or_default().form =
        vec![("muc#roominfo_isbreakout", "1".into()), ("muc#roominfo_breakout_main_room", world::ROOM.into())];
    let id = w.ask_room(room, "m1", None, V);
    assert_eq!(w.place(id), "main");
    let id = w.ask_room("__jicofo-health-check-17@conference.meet.example", "m2", None, V);
    assert_eq!(w.place(id), "main");
    assert_eq!(w.focus.metrics().conferences_created, 1, "health checks are not counted");
}

#[test]
fn without_nodes_everybody_goes_to_the_main_room() {
    let mut c = config(0);
    c.max_participants = 1;
    let mut w = World::with_first(c);
    assert_eq!(w.go("m1"), "main");
}

#[test]
fn when_no_node_has_room_clients_come_back() {
    let mut c = config(1);
    c.max_participants = 1;
    c.vnodes[0].capacity = Some(1);
    let mut w = World::with_first(c);
    assert_eq!(w.go("m1"), "v1");
    assert_eq!(w.go("m2"), "wait");
    w.pass(s(61));
    assert_eq!(w.go("m2"), "v1", "the first never came");
}

#[test]
fn a_burst_of_a_hundred_fills_thirty_seats_exactly() {
    for judges in [false, true] {
        let mut w = World::new(config(2));
        w.judges = judges;
        // All arrive while the room is still being joined.
        w.faults.mute.insert(NodeId::Main);
        let ids: Vec<_> = (0..100).map(|i| w.ask(&format!("m{i}"))).collect();
        assert!(ids.iter().all(|id| w.place(*id) == "none"));
        w.faults.mute.clear();
        w.rooms.entry((NodeId::Main, world::ROOM.into())).or_default().focus = true;
        w.deliver(
            &NodeId::Main,
            "<presence from='talk@conference.meet.example/focus'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' role='moderator'/><status code='110'/></x></presence>",
        );
        let main = ids.iter().filter(|id| w.place(**id) == "main").count();
        let node = ids.iter().filter(|id| w.place(**id) == "v1").count();
        assert_eq!((main, node), (30, 70), "judges={judges}");
    }
}

#[test]
fn unused_seats_are_given_to_others_after_a_minute() {
    let mut c = config(0);
    c.max_participants = 2;
    c.vnodes.push(amphi_focus::VnodeConfig::new("v1"));
    let mut w = World::with_first(c);
    // The node is away, so nobody opens an audience.
    w.handle(amphi_focus::Input::Disconnected { node: world::v(1) });
    assert_eq!(w.go("m1"), "main");
    assert_eq!(w.go("m2"), "wait");
    w.pass(s(59));
    assert_eq!(w.go("m2"), "wait");
    w.pass(s(2));
    assert_eq!(w.go("m2"), "main");
    assert_eq!(w.focus.metrics().seats_expired, 1);
}

#[test]
fn the_same_person_asking_again_keeps_its_seat_and_takes_no_second() {
    let mut c = config(1);
    c.max_participants = 2;
    let mut w = World::with_first(c);
    for _ in 0..5 {
        assert_eq!(w.go("m1"), "main");
    }
    assert_eq!(w.focus.conferences()[0].seats_pending, 1);
    assert_eq!(w.go("m2"), "v1");
}

#[test]
fn who_was_on_stage_returns_there_although_an_audience_exists() {
    for judges in [false, true] {
        let mut c = config(1);
        c.max_participants = 2;
        let mut w = World::new(c);
        w.judges = judges;
        assert_eq!((w.go("m0"), w.go("m1")), ("main".into(), "main".into()));
        w.join("n0");
        w.join("n1");
        assert_eq!(w.go("m2"), "v1");
        w.leave("n1");
        assert_eq!(w.go("m3"), "v1", "a newcomer does not take the seat");
        assert_eq!(w.go("m1"), "main", "judges={judges}");
        assert_eq!(w.focus.metrics().returned_to_stage, 1);
    }
}

#[test]
fn who_has_a_seat_and_asks_again_keeps_it_although_an_audience_was_opened_meanwhile() {
    let mut c = config(1);
    c.max_participants = 2;
    let mut w = World::with_first(c);
    assert_eq!((w.go("m1"), w.go("m2"), w.go("m1")), ("main".into(), "v1".into(), "main".into()));
}

#[test]
fn somebody_kicked_is_a_newcomer() {
    let mut c = config(1);
    c.max_participants = 2;
    let mut w = World::with_first(c);
    assert_eq!(w.go("m1"), "main");
    w.join("n1");
    assert_eq!(w.go("m2"), "v1");
    w.rooms.get_mut(&(NodeId::Main, world::ROOM.into())).unwrap().members.remove("n1");
    w.deliver(
        &NodeId::Main,
        "<presence type='unavailable' from='talk@conference.meet.example/n1'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='none'/><status code='307'/></x></presence>",
    );
    assert_eq!(w.go("m1"), "v1");
}

#[test]
fn recorders_take_no_seat() {
    let mut c = config(1);
    c.max_participants = 2;
    let mut w = World::with_first(c);
    w.deliver(
        &NodeId::Main,
        "<presence from='talk@conference.meet.example/rec'><features><feature var='http://jitsi.org/protocol/jibri'/></features><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant' jid='recorder@recorder.meet.example/x'/></x></presence>",
    );
    assert_eq!(w.focus.conferences()[0].stage, 1);
    assert_eq!(w.go("m1"), "main");
    assert_eq!(w.go("m2"), "v1");
}

#[test]
fn a_storm_is_paced_and_everybody_is_answered() {
    let mut c = config(1);
    c.limits.admissions_per_second = 10;
    c.limits.admission_burst = 10;
    c.limits.admission_wait = s(2);
    let mut w = World::with_first(c);
    w.pass(s(2));
    let ids: Vec<_> = (1..=100).map(|i| w.ask_visitor(&format!("m{i}"))).collect();
    let count = |w: &World, place: &str| ids.iter().filter(|id| w.place(**id) == place).count();
    assert_eq!(count(&w, "v1"), 10);
    assert_eq!(count(&w, "wait"), 70, "what would wait longer than two seconds comes back by itself");
    w.pass(s(1));
    assert_eq!(count(&w, "v1"), 20);
    w.pass(s(1));
    assert_eq!((count(&w, "v1"), count(&w, "none")), (30, 0));
}

#[test]
fn a_client_that_becomes_a_visitor_gives_its_seat_up() {
    let mut c = config(1);
    c.max_participants = 2;
    let mut w = World::with_first(c);
    assert_eq!(w.go("m1"), "main");
    let id = w.ask_visitor("m1");
    assert_eq!(w.place(id), "v1");
    assert_eq!(w.focus.conferences()[0].seats_pending, 0);
}

/// Where somebody new who asks from this address is sent.
fn ask_from(w: &mut World, id: u64, ip: &str) -> String {
    let body = format!(r#"{{"room":"{}","machineUid":"p{id}","properties":{{{V}}}}}"#, world::ROOM);
    let request = amphi_focus::ConferenceRequest::from_json(body.as_bytes(), None).unwrap();
    w.handle(amphi_focus::Input::ConferenceRequest { id, request, peer: Some(ip.parse().unwrap()) });
    w.place(id)
}

#[test]
fn one_address_cannot_hold_the_whole_stage_when_that_is_limited() {
    let mut c = config(1);
    c.limits.seats_per_peer = 2;
    let mut w = World::with_first(c);
    let mut ask = |id: u64, ip: &str| ask_from(&mut w, id, ip);
    assert_eq!(ask(101, "192.0.2.1"), "main");
    assert_eq!(ask(102, "192.0.2.1"), "main");
    assert_eq!(ask(103, "192.0.2.1"), "v1");
}

#[test]
fn one_address_leaves_half_of_the_queue_to_others() {
    let mut c = config(1);
    (c.limits.admissions_per_second, c.limits.admission_burst, c.limits.admission_wait) = (10, 1, s(2));
    c.limits.shared_peers = vec!["192.0.2.9".parse().unwrap()];
    let mut w = World::with_first(c);
    let mut ask = |id: u64, ip: &str| ask_from(&mut w, id, ip);
    let told_to_wait = (100..140).filter(|id| ask(*id, "192.0.2.1") == "wait").count();
    assert!((28..=31).contains(&told_to_wait), "{told_to_wait} of 40");
    assert_ne!(ask(200, "192.0.2.2"), "wait");
    // A proxy speaks for many.
    assert!((300..306).all(|id| ask(id, "192.0.2.9") != "wait"));
}

#[test]
fn the_room_is_told_the_limit_and_asked_in_batches() {
    let mut c = config(1);
    c.max_participants = 40;
    let mut w = World::new(c);
    w.judges = true;
    assert_eq!(w.go("m0"), "main");
    w.join("n0");
    let seats = |w: &World| -> Vec<String> {
        let sent = w.sent_to(&NodeId::Main).into_iter();
        sent.filter(|x| x.contains("<seats ") && x.contains("type='set'")).map(str::to_owned).collect()
    };
    let first = seats(&w);
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(first[0].contains("limit='40'") && first[0].contains("<reserve id='q1' machine='m0'/>"), "{first:?}");
    // While an answer is awaited, questions are collected; no stanza asks for more than 64.
    w.clear();
    w.faults.mute.insert(NodeId::Main);
    let ids: Vec<_> = (1..=100).map(|i| w.ask(&format!("m{i}"))).collect();
    assert_eq!(seats(&w).len(), 1);
    w.faults.mute.clear();
    w.pass(s(15));
    assert_eq!(seats(&w)[1..].iter().map(|x| x.matches("<reserve ").count()).collect::<Vec<_>>(), [64, 35]);
    assert!(ids.iter().all(|id| w.place(*id) != "none"));
    // Without an audience there is nothing to enforce.
    w.clear();
    w.metadata(r#"{"lobbyEnabled":true}"#);
    assert!(seats(&w)[0].contains("limit='none'"));
}
