//! The main room's side, rule by rule: what a node, the focus or an occupant would see.

mod common;

use std::time::{Duration, Instant};

use amphi_stanza::{Condition, Stanza, ns};
use amphi_visitors::wire::{self, Payload, SharedFile, Support, VisitorsIq};
use amphi_visitors::{Action, MainConfig, MainLinks, NodeState, Occupant, RoomState, Trust};
use common::*;

const MUC1: &str = "conference.v1.meet.jitsi";
const FOCUS: &str = "focus@auth.meet.example/f";

fn focus_iq(children: &str) -> Stanza {
    x(&format!(
        "<iq type='get' from='{FOCUS}' to='visitors.meet.example' id='f1'>\
         <visitors xmlns='jitsi:visitors' room='demo@conference.acme.meet.example'>{children}</visitors></iq>"
    ))
}

fn iqs(actions: &[Action]) -> Vec<Stanza> {
    stanzas(actions).into_iter().filter(|s| s.root().name() == "iq").collect()
}

fn payload(s: &Stanza) -> Payload {
    VisitorsIq::parse(s).unwrap().payload
}

/// A node that has answered everything; `ours` knows the extension.
fn connected(l: &mut MainLinks, now: Instant, vnode: &str, ours: bool) {
    let a = l.connect_vnode(now, vnode);
    answer_all(l, now, &a, ours);
}

fn answer_all(l: &mut MainLinks, now: Instant, actions: &[Action], ours: bool) -> Vec<Action> {
    let mut out = Vec::new();
    for iq in iqs(actions) {
        let r = if ours { wire::result_with(&iq, &Support::default()) } else { stock_result(&iq) };
        out.extend(l.handle_answer(now, &r));
    }
    out
}

fn chat(text: &str) -> Stanza {
    x(&format!("<message type='groupchat' id='m1' to='{ROOM}'><body>{text}</body></message>"))
}

#[test]
fn a_node_is_told_update_history_presences_and_connect_in_this_order() {
    let (now, mut l) = (Instant::now(), links());
    let (ann, bo) = (Person::new("ann"), Person::new("bo"));
    l.occupant_joined(now, &ann.as_moderator(), &presence("Ann"));
    l.occupant_joined(now, &bo.as_user(), &presence("Bo"));
    let history = x(
        "<message type='groupchat'><body>hi</body><delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/></message>",
    );
    l.groupchat(now, &ann.as_moderator(), &chat("hi"), Some(&history));
    let a = l.connect_vnode(now, "v1");
    assert_eq!(
        lines(&a),
        [
            format!("iq set update -> {MUC1}"),
            format!("message groupchat -> {MUC1}"),
            format!("presence -> {SHADOW}/ann"),
            format!("presence -> {SHADOW}/bo"),
            format!("iq set connect -> {MUC1}"),
        ]
    );
    let s = stanzas(&a);
    let Payload::Update(u) = payload(&s[0]) else { panic!() };
    assert_eq!(u.moderators, Some(vec!["ann".to_owned()]));
    assert_eq!(s[0].attr("from").unwrap(), "meet.example");
    assert_eq!(s[1].attr("from").unwrap(), format!("{ROOM}/ann"));
    assert!(s[1].child("delay", ns::DELAY).is_some());
    assert_eq!(s[2].attr("from").unwrap(), "ann-uuid@meet.example/r");
}

#[test]
fn mirrored_presences_carry_the_password_of_the_room_and_not_what_the_client_sent() {
    let (now, mut l) = (Instant::now(), links());
    let mut state = RoomState::default();
    state.settings.password = Some("secret".into());
    l.room_changed(now, state, None);
    let p = x("<presence><x xmlns='http://jabber.org/protocol/muc'><password>guess</password></x></presence>");
    l.occupant_joined(now, &Person::new("ann").as_user(), &p);
    let s = stanzas(&l.connect_vnode(now, "v1"));
    assert_eq!(s[1].child("x", ns::MUC).unwrap().inner(), "<password>secret</password>");
    let Payload::Connect(c, _) = payload(&s[2]) else { panic!() };
    assert_eq!(c.password.as_deref(), Some("secret"));
}

#[test]
fn administrators_and_recorders_are_mirrored_neither_coming_nor_going() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", false);
    let focus = Person::new("focus");
    let recorder = Person { nick: "rec".into(), real: full("recorder@recorder.meet.example/r") };
    assert!(l.occupant_joined(now, &Occupant { admin: true, ..focus.as_user() }, &presence("f")).is_empty());
    assert!(l.occupant_joined(now, &recorder.as_user(), &presence("r")).is_empty());
    assert!(l.occupant_updated(now, &recorder.as_user(), &presence("r2")).is_empty());
    assert!(l.occupant_left(now, "rec").is_empty());
    assert!(l.occupant_left(now, "focus").is_empty());
    // What a recorder says is mirrored.
    assert_eq!(l.groupchat(now, &recorder.as_user(), &chat("x"), None).len(), 1);
}

#[test]
fn a_moderator_is_announced_by_an_update_before_its_presence() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", false);
    let a = l.occupant_joined(now, &Person::new("ann").as_moderator(), &presence("Ann"));
    assert_eq!(lines(&a), [format!("iq set update -> {MUC1}"), format!("presence -> {SHADOW}/ann")]);
}

#[test]
fn leaving_is_told_without_children_and_only_to_nodes_that_knew_the_occupant() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", false);
    l.occupant_joined(now, &Person::new("ann").as_user(), &presence("Ann"));
    let a = l.occupant_left(now, "ann");
    let s = &stanzas(&a)[0];
    assert_eq!((s.ty().unwrap().as_ref(), s.root().inner()), ("unavailable", ""));
    assert_eq!(s.attr("from").unwrap(), "ann-uuid@meet.example/r");
    assert!(l.occupant_left(now, "ann").is_empty());
}

#[test]
fn names_are_hidden_from_nodes_when_they_are_from_guests() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", false);
    let p =
        x("<presence><nick xmlns='http://jabber.org/protocol/nick'>Ann</nick><email>e</email><stats-id>s</stats-id>\
               <identity><user><id>7</id><name>Ann</name><email>e</email></user><group>g</group></identity>\
               <audiomuted>true</audiomuted></presence>");
    l.occupant_joined(now, &Person::new("ann").as_user(), &p);
    let a = l.room_changed(now, RoomState { hide_names: true, ..RoomState::default() }, None);
    let s = &stanzas(&a)[0];
    assert_eq!(
        s.root().inner(),
        "<audiomuted>true</audiomuted><identity><user><id>7</id></user><group>g</group></identity>"
    );
}

#[test]
fn a_revoked_moderator_is_missing_in_the_next_update() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", false);
    let ann = Person::new("ann");
    l.occupant_joined(now, &ann.as_moderator(), &presence("Ann"));
    let a = l.moderator_changed(now, &ann.as_user());
    let Payload::Update(u) = payload(&stanzas(&a)[0]) else { panic!() };
    assert_eq!((u.moderators, u.partial), (Some(vec![]), false));
    assert_eq!(a.len(), 1, "no visitor sees anybody leave");
    assert!(l.moderator_changed(now, &ann.as_user()).is_empty());
}

#[test]
fn if_so_configured_a_revoked_moderator_leaves_a_stock_node_and_comes_again() {
    let config = MainConfig { repeat_revoked_presence: true, ..MainConfig::default() };
    let (now, mut l) = (Instant::now(), links_with(config));
    connected(&mut l, now, "v1", false);
    connected(&mut l, now, "v2", true);
    let ann = Person::new("ann");
    l.occupant_joined(now, &ann.as_moderator(), &presence("Ann"));
    let a = lines(&l.moderator_changed(now, &ann.as_user()));
    assert_eq!(a[2..], [format!("presence unavailable -> {SHADOW}/ann"), format!("presence -> {SHADOW}/ann")]);
}

#[test]
fn a_node_of_ours_gets_only_what_changed_and_a_stock_node_everything() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", true);
    connected(&mut l, now, "v2", false);
    let file = SharedFile { id: "f".into(), json: "{}".into() };
    let state = RoomState { files: Some(vec![file]), polls: Some("[]".into()), ..RoomState::default() };
    l.room_changed(now, state.clone(), None);
    let mut with_password = state;
    with_password.settings.password = Some("p".into());
    let s = stanzas(&l.room_changed(now, with_password.clone(), None));
    let (Payload::Update(ours), Payload::Update(stock)) = (payload(&s[0]), payload(&s[1])) else { panic!() };
    assert!(ours.partial && ours.files.is_none() && ours.polls.is_none());
    assert!(!stock.partial && stock.files.is_some() && stock.polls.is_some());
    assert!(l.room_changed(now, with_password, None).is_empty(), "nothing changed, nothing sent");
}

#[test]
fn a_poll_answer_is_not_told_to_the_node_it_came_from() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", false);
    connected(&mut l, now, "v2", false);
    let a = l.room_changed(now, RoomState { polls: Some("[1]".into()), ..RoomState::default() }, Some(MUC1));
    assert_eq!(lines(&a), ["iq set update -> conference.v2.meet.jitsi"]);
}

#[test]
fn chat_of_the_stage_goes_to_every_node_and_a_stock_node_sees_no_mark() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", false);
    connected(&mut l, now, "v2", true);
    let s = stanzas(&l.groupchat(now, &Person::new("ann").as_user(), &chat("a"), None));
    assert_eq!(s.len(), 2);
    assert_eq!(s[0].attr("to").unwrap(), SHADOW);
    assert_eq!(s[0].attr("from").unwrap(), "ann-uuid@meet.example/r");
    assert_eq!(s[0].root().inner(), "<body>a</body>");
    assert_eq!(wire::line_of(&s[1]).unwrap().seq, 1);
}

#[test]
fn chat_of_a_visitor_goes_to_the_stage_and_to_all_other_nodes() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", false);
    connected(&mut l, now, "v2", false);
    let from = full(&format!("{SHADOW}/c0ffee00"));
    let a = l.groupchat_from_visitor(now, &from, &chat("hello"), None).unwrap();
    assert_eq!(
        lines(&a),
        [format!("deliver from {ROOM}"), "message groupchat -> [acme]demo@conference.v2.meet.jitsi".to_owned()]
    );
    assert_eq!(stanzas(&a)[0].attr("from").unwrap(), ROOM);
}

#[test]
fn a_visitors_message_without_body_is_no_history() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", false);
    let m = x("<message type='groupchat'><json-message xmlns='http://jitsi.org/jitmeet'>{}</json-message></message>");
    l.groupchat_from_visitor(now, &full(&format!("{SHADOW}/c")), &m, Some(&m)).unwrap();
    let a = l.connect_vnode(now, "v2");
    assert!(stanzas(&a).iter().all(|s| s.root().name() != "message"));
}

#[test]
fn who_is_on_no_connected_node_of_this_room_is_no_visitor() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", false);
    for from in ["[acme]demo@conference.v9.meet.jitsi/c", "other@conference.v1.meet.jitsi/c", "a@evil.example/c"] {
        let e = l.groupchat_from_visitor(now, &full(from), &chat("x"), None).unwrap_err();
        assert_eq!(e.condition, Condition::Forbidden, "{from}");
        assert!(l.private_from_visitor(&full(from), "ann", &chat("x")).is_err());
    }
}

#[test]
fn a_private_message_of_a_visitor_names_it_so_that_it_can_be_answered() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", false);
    let m = x("<message type='chat'><body>psst</body><addresses xmlns='http://jabber.org/protocol/address'>\
               <address type='ofrom' jid='forged@x/y'/></addresses></message>");
    let a = l.private_from_visitor(&full(&format!("{SHADOW}/c0ffee00")), "ann", &m).unwrap();
    let [Action::DeliverTo { nick, stanza }] = &a[..] else { panic!() };
    assert_eq!(nick, "ann");
    assert_eq!(stanza.attr("from").unwrap(), ROOM);
    assert_eq!(
        stanza.root().inner(),
        format!(
            "<body>psst</body><addresses xmlns='http://jabber.org/protocol/address'>\
             <address type='ofrom' jid='{SHADOW}/c0ffee00'/></addresses>"
        )
    );
}

#[test]
fn only_the_focus_connects_nodes_and_is_answered_last() {
    let (now, mut l) = (Instant::now(), links());
    let iq = focus_iq("<connect-vnode vnode='v1'/><connect-vnode vnode='v2'/>");
    for t in [Trust::Server, Trust::Nobody] {
        assert_eq!(lines(&l.handle_iq(now, &iq, t)), [format!("iq error error -> {FOCUS}")]);
    }
    let a = lines(&l.handle_iq(now, &iq, Trust::Admin));
    assert_eq!(a.last().unwrap().trim(), format!("iq result -> {FOCUS}"));
    assert_eq!(l.nodes().map(|n| n.0).collect::<Vec<_>>(), ["v1", "v2"]);
    let a = lines(&l.handle_iq(now, &focus_iq("<disconnect-vnode vnode='v1'/>"), Trust::Admin));
    assert_eq!(a[0], format!("iq set disconnect -> {MUC1}"));
    assert_eq!(l.nodes().count(), 1);
}

#[test]
fn names_that_no_node_can_have_and_too_many_nodes_are_refused() {
    let config = MainConfig { max_nodes: 1, ..MainConfig::default() };
    let (now, mut l) = (Instant::now(), links_with(config));
    for bad in ["", "a.b", "evil@x", "V1", "v 1"] {
        let a = l.handle_iq(now, &focus_iq(&format!("<connect-vnode vnode='{bad}'/>")), Trust::Admin);
        assert_eq!(lines(&a), [format!("iq error error -> {FOCUS}")], "{bad}");
    }
    l.connect_vnode(now, "v1");
    assert!(!l.can_connect("v2") && l.can_connect("v1"));
}

#[test]
fn a_repeated_connect_tells_everything_again() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", false);
    l.occupant_joined(now, &Person::new("ann").as_user(), &presence("Ann"));
    let a = lines(&l.connect_vnode(now, "v1"));
    assert_eq!(
        a,
        [format!("iq set update -> {MUC1}"), format!("presence -> {SHADOW}/ann"), format!("iq set connect -> {MUC1}")]
    );
}

#[test]
fn after_a_fresh_link_a_stock_node_is_told_who_has_gone_meanwhile() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", false);
    l.link_up(now, MUC1, true);
    for n in ["ann", "bo"] {
        l.occupant_joined(now, &Person::new(n).as_user(), &presence(n));
    }
    // Told, but perhaps lost: nothing confirmed it.
    l.occupant_left(now, "ann");
    l.link_down(now, MUC1);
    assert!(l.occupant_left(now, "bo").is_empty(), "nothing is sent into a link that is down");
    assert_eq!(l.nodes().next().unwrap().1, NodeState::Down(now));
    let a = lines(&l.link_up(now, MUC1, true));
    assert_eq!(
        a,
        [
            format!("presence unavailable -> {SHADOW}/ann"),
            format!("presence unavailable -> {SHADOW}/bo"),
            format!("iq set update -> {MUC1}"),
            format!("iq set connect -> {MUC1}")
        ]
    );
}

#[test]
fn a_resumed_link_on_which_nothing_was_missed_costs_nothing() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", false);
    l.link_down(now, MUC1);
    assert!(l.link_up(now, MUC1, false).is_empty());
    assert_eq!(l.nodes().next().unwrap().1, NodeState::Connected);
}

#[test]
fn chat_waits_for_the_answer_to_a_synchronisation_and_is_sent_once() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", true);
    let ann = Person::new("ann");
    let epoch = wire::line_of(&stanzas(&l.groupchat(now, &ann.as_user(), &chat("1"), None))[0]).unwrap().epoch;
    l.groupchat(now, &ann.as_user(), &chat("2"), None);
    l.link_down(now, MUC1);
    let a = l.link_up(now, MUC1, true);
    assert!(l.groupchat(now, &ann.as_user(), &chat("3"), None).is_empty());
    let connect = iqs(&a).pop().unwrap();
    let has_one = Support { line: Some(wire::Line { epoch, seq: 1 }) };
    let s = stanzas(&l.handle_answer(now, &wire::result_with(&connect, &has_one)));
    let seqs: Vec<u64> = s.iter().map(|s| wire::line_of(s).unwrap().seq).collect();
    assert_eq!(seqs, [2, 3]);
}

#[test]
fn a_node_that_says_it_has_no_room_is_left_alone_until_the_focus_connects_it() {
    let (now, mut l) = (Instant::now(), links());
    let a = l.connect_vnode(now, "v1");
    let gone = amphi_stanza::StanzaError::new(amphi_stanza::ErrorType::Cancel, Condition::ItemNotFound);
    l.handle_answer(now, &gone.answer(&iqs(&a)[0]).unwrap());
    assert!(l.occupant_joined(now, &Person::new("ann").as_moderator(), &presence("a")).is_empty());
    assert_eq!(l.nodes().next().unwrap().1, NodeState::Stale);
    assert_eq!(l.connect_vnode(now, "v1").len(), 3);
}

#[test]
fn a_late_answer_about_a_former_room_does_not_count() {
    let (now, mut l) = (Instant::now(), links());
    let old = l.connect_vnode(now, "v1");
    let new = l.connect_vnode(now, "v1");
    let gone = amphi_stanza::StanzaError::new(amphi_stanza::ErrorType::Cancel, Condition::ItemNotFound);
    l.handle_answer(now, &gone.answer(&iqs(&old)[1]).unwrap());
    answer_all(&mut l, now, &new, true);
    assert_eq!(l.nodes().next().unwrap().1, NodeState::Connected);
}

#[test]
fn what_is_not_answered_is_told_again_more_and_more_slowly_until_the_node_is_given_up() {
    let (t0, mut l) = (Instant::now(), links());
    l.connect_vnode(t0, "v1");
    let mut at = Vec::new();
    let lost = loop {
        let t = l.poll_timeout().unwrap();
        let a = l.tick(t);
        if let Some(Action::NodeLost { vnode }) = a.last() {
            break (vnode.clone(), t);
        }
        at.push((t - t0).as_secs());
    };
    assert_eq!(at, [10, 30, 70]);
    assert_eq!(lost, ("v1".to_owned(), t0 + Duration::from_secs(130)));
    assert!(!l.any() && l.poll_timeout().is_none());
}

#[test]
fn a_bounce_is_no_answer() {
    let (t0, mut l) = (Instant::now(), links());
    let a = l.connect_vnode(t0, "v1");
    let bounce = amphi_stanza::StanzaError::new(amphi_stanza::ErrorType::Wait, Condition::RemoteServerTimeout);
    let bounce = bounce.answer(&iqs(&a)[1]).unwrap();
    assert!(l.is_bounce(&bounce));
    l.handle_answer(t0, &bounce);
    assert_eq!(l.nodes().next().unwrap().1, NodeState::Stale);
}

#[test]
fn a_node_out_of_reach_is_given_up_and_the_focus_told() {
    let (t0, mut l) = (Instant::now(), links());
    connected(&mut l, t0, "v1", true);
    l.link_down(t0, MUC1);
    assert_eq!(l.poll_timeout(), Some(t0 + Duration::from_secs(120)));
    assert!(l.tick(t0 + Duration::from_secs(119)).is_empty());
    let a = lines(&l.tick(t0 + Duration::from_secs(120)));
    assert_eq!(a, [format!("iq set disconnect -> {MUC1}"), "lost v1".to_owned()]);
}

#[test]
fn after_traffic_a_node_is_asked_to_confirm_once_and_silence_costs_nothing() {
    let (t0, mut l) = (Instant::now(), links());
    connected(&mut l, t0, "v1", true);
    connected(&mut l, t0, "v2", false);
    assert_eq!(l.poll_timeout(), None);
    l.occupant_joined(t0, &Person::new("ann").as_user(), &presence("Ann"));
    let t = l.poll_timeout().unwrap();
    assert_eq!(t, t0 + Duration::from_secs(30));
    let a = l.tick(t);
    assert_eq!(
        lines(&a),
        [format!("iq set checkpoint -> {MUC1}"), "iq get ping -> conference.v2.meet.jitsi".to_owned()]
    );
    answer_all(&mut l, t, &a[..1], true);
    answer_all(&mut l, t, &a[1..], false);
    assert_eq!(l.poll_timeout(), None);
}

#[test]
fn a_node_may_ask_for_everything_but_only_a_connected_one() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", true);
    let ask = |host: &str| {
        let room = amphi_stanza::BareJid::parse(ROOM).unwrap();
        wire::set(host, "visitors.meet.example", "q", &VisitorsIq::new(room, Payload::Resync))
    };
    assert_eq!(l.handle_iq(now, &ask("v1.meet.jitsi"), Trust::Server).len(), 3);
    assert_eq!(l.handle_iq(now, &ask("v1.meet.jitsi"), Trust::Server).len(), 1, "one is under way");
    assert_eq!(lines(&l.handle_iq(now, &ask("v9.meet.jitsi"), Trust::Server)), ["iq error error -> v9.meet.jitsi"]);
}

#[test]
fn transcription_languages_of_all_nodes_are_added_up_and_told_on_change() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", false);
    connected(&mut l, now, "v2", false);
    let mut tell = |host: &str, langs: &str, count: u64| {
        let iq = x(&format!(
            "<iq type='set' from='{host}' to='visitors.meet.example' id='1'><visitors xmlns='jitsi:visitors' room='{ROOM}'>\
             <transcription-languages langs='{langs}' count='{count}'/></visitors></iq>"
        ));
        lines(&l.handle_iq(now, &iq, Trust::Server))[0].clone()
    };
    assert_eq!(tell("v1.meet.jitsi", "fr,en", 3), "transcribing en,fr 3");
    assert_eq!(tell("v2.meet.jitsi", "de,en", 4), "transcribing de,en,fr 7");
    assert!(tell("v2.meet.jitsi", "de,en", 4).starts_with("iq result"));
    let a = lines(&l.disconnect_vnode(now, "v2"));
    assert_eq!(a[0], "transcribing en,fr 3");
}

#[test]
fn the_end_of_the_room_ends_it_on_every_node() {
    let (now, mut l) = (Instant::now(), links());
    connected(&mut l, now, "v1", false);
    connected(&mut l, now, "v2", true);
    let a = lines(&l.destroyed(now));
    assert_eq!(a, [format!("iq set disconnect -> {MUC1}"), "iq set disconnect -> conference.v2.meet.jitsi".to_owned()]);
    assert!(!l.any());
}

#[test]
fn kept_lines_are_bounded_by_number_and_bytes() {
    let config = MainConfig { lines: 10, line_bytes: 2000, ..MainConfig::default() };
    let (now, mut l) = (Instant::now(), links_with(config));
    let ann = Person::new("ann");
    for i in 0..50 {
        l.groupchat(now, &ann.as_user(), &chat(&format!("{i}")), Some(&chat(&format!("{i}"))));
    }
    let count = |l: &mut MainLinks, v: &str| {
        stanzas(&l.connect_vnode(now, v)).iter().filter(|s| s.root().name() == "message").count()
    };
    let few = count(&mut l, "v1");
    assert!((1..10).contains(&few), "{few}");
    l.groupchat(now, &ann.as_user(), &chat(&"x".repeat(5000)), Some(&chat("big")));
    assert_eq!(count(&mut l, "v2"), 1, "the newest is kept whatever its size");
}

#[test]
fn an_answer_to_a_former_life_of_the_room_does_not_count_for_this_one() {
    let now = Instant::now();
    let ann = Person::new("ann");
    let mut former = links_seeded(MainConfig::default(), 1);
    connected(&mut former, now, "v1", true);
    let goodbye = iqs(&former.disconnect_vnode(now, "v1")).remove(0);
    for seed in [0, 2] {
        let mut l = links_seeded(MainConfig::default(), seed);
        connected(&mut l, now, "v1", true);
        // Late, on a link that was slow: the node had no such room any more.
        let late = x(&format!(
            "<iq type='error' id='{}' from='{MUC1}' to='meet.example'><error type='cancel'><item-not-found \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
            goodbye.id().unwrap()
        ));
        assert!(l.handle_answer(now, &late).is_empty());
        assert_eq!(l.occupant_joined(now, &ann.as_user(), &presence("Ann")).len(), 1, "the node hears of ann");
    }
}
