//! The audience by name: who may be found, the list, and its changes.

mod world;

use amphi_focus::{Event, Input, Meeting, NodeId, Output, VisitorChange};
use world::{World, bare, config, s, v};

const ROOM: &str = "talk@conference.meet.example";

fn meeting_id(w: &World) -> String {
    let id = w.events.iter().find_map(|e| match e {
        Event::ConferenceStarted { meeting_id, .. } => Some(meeting_id.clone()),
        _ => None,
    });
    id.unwrap()
}

fn find(w: &mut World, meeting_id: &str, endpoint: &str) -> Option<Meeting> {
    w.handle(Input::FindMeeting { id: 1, meeting_id: meeting_id.into(), endpoint: Some(endpoint.into()) });
    match w.told.pop() {
        Some(Output::Meeting { id: 1, found }) => found,
        o => panic!("{o:?}"),
    }
}

fn list(w: &mut World, limit: usize) -> Vec<(String, String)> {
    w.handle(Input::ListVisitors { id: 2, room: bare(ROOM), limit });
    let Some(Output::Visitors { id: 2, visitors }) = w.told.pop() else { panic!("no list") };
    let mut all: Vec<_> = visitors.into_iter().map(|(id, n)| (id.to_string(), n.to_string())).collect();
    all.sort();
    all
}

fn changes(w: &mut World) -> Vec<String> {
    let mut all: Vec<_> = w
        .told
        .drain(..)
        .map(|o| match o {
            Output::Visitor(VisitorChange { id, name, joined, .. }) => {
                format!("{}{id} {name}", if joined { '+' } else { '-' })
            }
            o => panic!("{o:?}"),
        })
        .collect();
    all.sort();
    all
}

fn named(w: &mut World, nick: &str, name: &str) {
    let room = World::vroom(1);
    let p = world::presence(&room, nick, &format!("{nick}@meet.example/r"), "visitor");
    let p =
        p.replace("</presence>", &format!("<nick xmlns='http://jabber.org/protocol/nick'>{name}</nick></presence>"));
    w.deliver(&v(1), &p);
}

fn with_audience() -> World {
    let mut w = World::with_first(config(1));
    w.ask_visitor("m1");
    w.join_visitor(1, "x1");
    named(&mut w, "x1", "Ann");
    w
}

#[test]
fn a_meeting_is_found_by_its_id_and_only_moderators_on_stage_count_as_such() {
    let mut w = with_audience();
    w.join_room(NodeId::Main, ROOM, "mod", "moderator");
    let id = meeting_id(&w);
    assert_eq!(find(&mut w, &id, "mod"), Some(Meeting { room: bare(ROOM), moderator: true }));
    for other in ["x1", "nobody", "focus"] {
        assert!(!find(&mut w, &id, other).unwrap().moderator, "{other}");
    }
    assert_eq!(find(&mut w, "other", "mod"), None);
}

#[test]
fn the_list_has_visitors_of_connected_nodes_with_their_names() {
    let mut w = with_audience();
    w.join_visitor(1, "x2");
    assert_eq!(list(&mut w, 10), [("x1".into(), "Ann".into()), ("x2".into(), String::new())]);
    assert_eq!(list(&mut w, 1).len(), 1);
    w.crash(v(1));
    assert!(list(&mut w, 10).is_empty());
}

#[test]
fn changes_are_told_while_somebody_watches() {
    let mut w = with_audience();
    assert!(w.told.is_empty());
    w.handle(Input::WatchVisitors { room: bare(ROOM), on: true });
    w.join_visitor(1, "x2");
    named(&mut w, "x2", "Bob");
    named(&mut w, "x2", "Bob");
    assert_eq!(changes(&mut w), ["+x2 ", "+x2 Bob"]);
    w.leave_visitor(1, "x2");
    assert_eq!(changes(&mut w), ["-x2 Bob"]);
    w.crash(v(1));
    assert_eq!(changes(&mut w), ["-x1 Ann"], "a lost node takes its visitors along");
    w.pass(s(1));
    w.handle(Input::WatchVisitors { room: bare(ROOM), on: false });
    w.connect(v(1), false);
    w.join_visitor(1, "x3");
    assert!(w.told.is_empty());
}
