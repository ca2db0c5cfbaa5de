//! Creation, timers, owners, and the end.

mod world;

use amphi_focus::{EndReason, Event, Input, NodeId, RequestError};
use world::{ROOM, World, bare, config, s, v};

fn ended(w: &World) -> Option<EndReason> {
    w.events.iter().find_map(|e| match e {
        Event::ConferenceEnded { reason, .. } => Some(*reason),
        _ => None,
    })
}

#[test]
fn a_conference_that_nobody_joins_ends_and_requests_prolong_it() {
    let mut w = World::new(config(1));
    w.go("m1");
    w.pass(s(10));
    w.go("m1");
    w.pass(s(14));
    assert!(w.has_conference());
    w.pass(s(1));
    assert_eq!(ended(&w), Some(EndReason::NobodyJoined));
    assert!(!w.has_conference());
    assert!(w.sent_to(&NodeId::Main).last().unwrap().contains("type='unavailable'"));
    assert_eq!(w.focus.poll_timeout(), None);
}

#[test]
fn the_first_member_stops_the_timer() {
    let mut w = World::with_first(config(1));
    w.pass(s(1000));
    assert!(w.has_conference());
}

#[test]
fn an_empty_main_room_ends_the_conference_after_a_grace_period_and_disconnects_nodes_first() {
    let mut w = World::with_first(config(2));
    w.ask_visitor("m1");
    w.join_visitor(1, "x1");
    w.leave("n0");
    w.pass(s(4));
    w.join("n0");
    w.pass(s(60));
    assert!(w.has_conference(), "a short absence does not end it");
    w.leave("n0");
    w.clear();
    w.pass(s(5));
    assert_eq!(ended(&w), Some(EndReason::Empty));
    let main = w.sent_to(&NodeId::Main);
    let disconnect = main.iter().position(|x| x.contains("<disconnect-vnode ")).unwrap();
    let leave = main.iter().position(|x| x.contains("type='unavailable'")).unwrap();
    assert!(disconnect < leave);
    assert_eq!(w.count_sent(&v(1), "type='unavailable'"), 1);
    assert_eq!((w.focus.nodes()[0].visitors, w.focus.nodes()[0].pending), (0, 0));
}

#[test]
fn a_main_node_that_does_not_answer_the_last_disconnect_does_not_hold_the_end_up() {
    let mut w = World::with_first(config(1));
    w.ask_visitor("m1");
    w.faults.mute.insert(NodeId::Main);
    w.handle(Input::EndConference { room: bare(ROOM) });
    assert_eq!(w.go("m2"), "wait", "who comes meanwhile comes back later");
    w.pass(s(15));
    assert_eq!(ended(&w), Some(EndReason::Operator));
    w.faults.mute.clear();
    assert_eq!(w.go("m2"), "main");
}

#[test]
fn moving_to_a_breakout_room_keeps_the_conference() {
    let mut w = World::with_first(config(1));
    let room = "b1@breakout.meet.example";
    w.rooms.entry((NodeId::Main, room.into())).or_default().form =
        vec![("muc#roominfo_isbreakout", "true".into()), ("muc#roominfo_breakout_main_room", ROOM.into())];
    w.leave_room(NodeId::Main, ROOM, "n0", "<status>switch_room</status>");
    w.pass(s(10));
    assert!(w.has_conference());
    w.ask_room(room, "m0", None, "");
    w.join_room(NodeId::Main, room, "n0", "participant");
    w.pass(s(120));
    assert_eq!(w.focus.conferences().len(), 2);
    w.leave_room(NodeId::Main, room, "n0", "");
    w.pass(s(60));
    assert!(!w.has_conference());
}

#[test]
fn a_conference_of_visitors_alone_lives_as_long_as_they_do() {
    let mut w = World::new(config(1));
    w.ask_visitor("m1");
    w.join_visitor(1, "x1");
    w.pass(s(100));
    assert!(w.has_conference());
    w.leave_visitor(1, "x1");
    w.pass(s(20));
    assert!(!w.has_conference());
}

#[test]
fn a_room_that_refuses_the_focus_is_an_error_for_everybody_who_waits() {
    let mut w = World::new(config(1));
    w.faults.refuse.insert(NodeId::Main);
    let id = w.ask("m1");
    assert_eq!(w.answers[&id], Err(RequestError::RoomUnavailable));
    assert!(!w.has_conference());
    w.faults.refuse.clear();
    assert_eq!(w.go("m1"), "main");
}

#[test]
fn a_room_that_never_answers_is_an_error_after_the_reply_timeout() {
    let mut w = World::new(config(1));
    w.faults.mute.insert(NodeId::Main);
    let ids = [w.ask("m1"), w.ask("m2")];
    w.pass(s(15));
    for id in ids {
        assert_eq!(w.answers[&id], Err(RequestError::RoomUnavailable));
    }
    assert!(w.sent_to(&NodeId::Main).last().unwrap().contains("type='unavailable'"), "the join is taken back");
}

#[test]
fn losing_ownership_or_the_room_ends_the_conference() {
    let mut w = World::with_first(config(1));
    w.deliver(
        &NodeId::Main,
        "<presence from='talk@conference.meet.example/focus'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='participant'/><status code='110'/></x></presence>",
    );
    assert_eq!(ended(&w), Some(EndReason::NotOwner));
    let mut w = World::with_first(config(1));
    w.deliver(&NodeId::Main, "<presence type='unavailable' from='talk@conference.meet.example/focus'/>");
    assert_eq!(ended(&w), Some(EndReason::RoomGone));
}

#[test]
fn whoever_was_away_when_a_meeting_was_ended_for_all_hears_that_it_is_over() {
    let mut w = World::with_first(config(1));
    let id = w.events.iter().find_map(|e| match e {
        Event::ConferenceStarted { meeting_id, .. } => Some(meeting_id.clone()),
        _ => None,
    });
    let back = format!(r#""visitors-version":1,"meeting-id":"{}""#, id.unwrap());
    let during = w.ask_with("m1", None, &back);
    assert_eq!(w.place(during), "main");
    w.deliver(&NodeId::Main, "<presence type='unavailable' from='talk@conference.meet.example/focus'/>");
    let after = w.ask_with("m1", None, &back);
    assert_eq!(w.answers[&after], Err(RequestError::Ended));
    assert!(!w.has_conference(), "no new one is made for it");
    let anew = w.ask("m1");
    assert_eq!(w.place(anew), "main", "who asks for no meeting in particular gets a new one");
}

#[test]
fn whoever_was_away_when_everybody_else_had_left_may_begin_anew() {
    let mut w = World::with_first(config(1));
    w.leave("n0");
    w.pass(s(5));
    assert_eq!(ended(&w), Some(EndReason::Empty));
    let id = w.ask_with("m1", None, r#""visitors-version":1,"meeting-id":"gone""#);
    assert_eq!(w.place(id), "main");
}

#[test]
fn a_resumed_main_connection_changes_nothing_and_a_fresh_one_ends_conferences() {
    let mut w = World::with_first(config(1));
    w.handle(Input::Disconnected { node: NodeId::Main });
    w.pass(s(14));
    w.connect(NodeId::Main, true);
    w.pass(s(60));
    assert!(w.has_conference());
    w.handle(Input::Disconnected { node: NodeId::Main });
    w.connect(NodeId::Main, false);
    assert_eq!(ended(&w), Some(EndReason::MainLost));
    assert_eq!(w.go("m1"), "main");
}

#[test]
fn a_main_node_that_stays_away_ends_conferences_and_clients_come_back() {
    let mut w = World::with_first(config(1));
    w.handle(Input::Disconnected { node: NodeId::Main });
    let id = w.ask("m1");
    assert_eq!(w.place(id), "none");
    w.pass(s(15));
    assert_eq!(ended(&w), Some(EndReason::MainLost));
    assert_eq!(w.place(id), "wait");
}

#[test]
fn requests_before_the_components_are_known_wait_for_them() {
    let mut w = World::offline(config(1));
    let early = w.ask_visitor("m1");
    w.connect(v(1), false);
    assert_eq!(w.place(early), "none");
    w.connect(NodeId::Main, false);
    assert_eq!(w.place(early), "v1");
}

#[test]
fn the_first_eligible_member_becomes_owner_and_the_next_when_it_leaves() {
    let grant =
        |w: &World, who: &str| w.count_sent(&NodeId::Main, &format!("affiliation='owner' jid='{who}@meet.example'"));
    let mut w = World::with_first(config(1));
    w.join("n1");
    assert_eq!((grant(&w, "n0"), grant(&w, "n1")), (1, 0));
    w.leave("n0");
    assert_eq!(grant(&w, "n1"), 1);
    let mut c = config(1);
    c.auto_owner = false;
    let w = World::with_first(c);
    assert_eq!(grant(&w, "n0"), 0);
}

#[test]
fn an_owner_who_is_there_already_is_enough() {
    let mut w = World::new(config(1));
    w.go("m0");
    w.deliver(
        &NodeId::Main,
        "<presence from='talk@conference.meet.example/boss'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' role='moderator' jid='boss@meet.example/r'/></x></presence>",
    );
    w.join("n1");
    assert_eq!(w.count_sent(&NodeId::Main, "affiliation='owner'"), 0);
}

#[test]
fn rooms_with_presets_wait_for_their_metadata() {
    let mut w = World::new(config(1));
    w.rooms.entry((NodeId::Main, ROOM.into())).or_default().form =
        vec![("muc#roominfo_conference_presets_service_enabled", "1".into())];
    let id = w.ask("m1");
    assert_eq!(w.place(id), "none");
    w.metadata(r#"{"participants":[]}"#);
    assert_eq!(w.place(id), "v1");

    let mut w = World::new(config(1));
    w.rooms.entry((NodeId::Main, ROOM.into())).or_default().form =
        vec![("muc#roominfo_conference_presets_service_enabled", "1".into())];
    let id = w.ask("m1");
    w.pass(s(10));
    assert_eq!(w.place(id), "main", "but not for ever");
}

#[test]
fn members_are_announced_for_sessions_and_taken_back() {
    let mut w = World::with_first(config(1));
    w.ask_visitor("m1");
    w.join_visitor(1, "x1");
    w.leave_visitor(1, "x1");
    let of = |node: NodeId, occupant: &str, joined: bool| {
        let (room, occupant) = (bare(ROOM), amphi_stanza::FullJid::parse(occupant).unwrap());
        if joined { Event::MemberJoined { room, node, occupant } } else { Event::MemberLeft { room, node, occupant } }
    };
    let x1 = "talk@conference.v1.meet.jitsi/x1";
    for e in [of(NodeId::Main, "talk@conference.meet.example/n0", true), of(v(1), x1, true), of(v(1), x1, false)] {
        assert!(w.events.contains(&e), "{e:?}");
    }
}

#[test]
fn rooms_that_were_given_up_while_the_main_node_was_away_are_left_when_the_stream_is_resumed() {
    let mut w = World::with_first(config(1));
    w.handle(Input::Disconnected { node: NodeId::Main });
    w.pass(s(20));
    assert_eq!(ended(&w), Some(EndReason::MainLost));
    w.clear();
    w.connect(NodeId::Main, true);
    assert_eq!(w.count_sent(&NodeId::Main, "to='talk@conference.meet.example/focus' type='unavailable'"), 1);
    assert_eq!(w.go("m1"), "main");
    w.handle(Input::Disconnected { node: NodeId::Main });
    w.pass(s(20));
    w.clear();
    w.connect(NodeId::Main, false);
    assert_eq!(w.count_sent(&NodeId::Main, "type='unavailable'"), 0);
}

#[test]
fn a_resumed_main_node_is_told_the_size_of_the_audience_again() {
    let mut w = World::with_first(config(1));
    w.ask_visitor("m1");
    w.pass(s(3));
    w.handle(Input::Disconnected { node: NodeId::Main });
    w.join_visitor(1, "x1");
    w.pass(s(5));
    w.clear();
    w.connect(NodeId::Main, true);
    w.pass(s(2));
    assert_eq!(w.published(&NodeId::Main), Some(1));
}
