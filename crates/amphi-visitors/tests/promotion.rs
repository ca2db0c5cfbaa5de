//! Raised hands, answers, names, and the gate.

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use amphi_stanza::{Condition, FullJid, Stanza, ns};
use amphi_visitors::wire::{self, Payload, PromotionRequest, PromotionResponse, Support, VisitorsIq};
use amphi_visitors::{
    Action, Admission, Applicant, MainConfig, MainLinks, PromotionLimits, Refusal, RoomPolicy, Trust,
};
use common::*;

const NODE: &str = "v1.meet.jitsi";

fn with(promotion: PromotionLimits) -> MainLinks {
    let mut l = links_with(MainConfig { promotion, ..MainConfig::default() });
    l.connect_vnode(Instant::now(), "v1");
    l
}

fn request(jid: &str, time: Option<u64>, force: bool) -> PromotionRequest {
    PromotionRequest {
        jid: jid.into(),
        time,
        user_id: Some("u1".into()),
        group_id: None,
        force,
        nick: Some("Ann".into()),
    }
}

fn send(l: &mut MainLinks, now: Instant, host: &str, r: PromotionRequest) -> Vec<Action> {
    let room = amphi_stanza::BareJid::parse(ROOM).unwrap();
    let iq = wire::set(host, "visitors.meet.example", "p", &VisitorsIq::new(room, Payload::PromotionRequest(r)));
    l.handle_iq(now, &iq, Trust::Server)
}

fn responses(a: &[Action]) -> Vec<(String, PromotionResponse)> {
    stanzas(a)
        .iter()
        .filter_map(|s| match VisitorsIq::parse(s).ok()?.payload {
            Payload::PromotionResponse(r) => Some((s.attr("to").unwrap().into_owned(), r)),
            _ => None,
        })
        .collect()
}

fn notices(a: &[Action]) -> Vec<(String, bool)> {
    stanzas(a)
        .iter()
        .filter(|s| s.root().name() == "message")
        .map(|s| {
            assert_eq!(s.attr("from").unwrap(), "visitors.meet.example");
            (s.attr("to").unwrap().into_owned(), json_of(s)["on"].as_bool().unwrap())
        })
        .collect()
}

fn join(l: &mut MainLinks, session: &str) -> Admission {
    join_at(l, Instant::now(), &full(session), None)
}

fn join_at(l: &mut MainLinks, now: Instant, session: &FullJid, previous: Option<&FullJid>) -> Admission {
    let a = Applicant { session, previous, user_id: None, group_id: None, visitor_role: false, admin: false };
    l.admission(now, &a)
}

fn json(approved: bool, id: &str) -> String {
    serde_json::json!({"type":"visitors","action":"promotion-response","approved":approved,"id":id}).to_string()
}

#[test]
fn a_raised_hand_is_told_to_all_moderators_once_and_also_to_later_ones() {
    let (now, mut l) = (Instant::now(), with(PromotionLimits::default()));
    let (ann, bo, cy) = (Person::new("ann"), Person::new("bo"), Person::new("cy"));
    l.occupant_joined(now, &ann.as_moderator(), &presence("a"));
    l.occupant_joined(now, &bo.as_user(), &presence("b"));
    let a = send(&mut l, now, NODE, request(VISITOR, Some(5), false));
    assert_eq!(notices(&a), [("ann-uuid@meet.example/r".to_owned(), true)]);
    let text = json_of(&stanzas(&a)[0]);
    assert_eq!(text["room"], "demo@conference.acme.meet.example");
    assert_eq!((text["nick"].as_str(), text["from"].as_str()), (Some("Ann"), Some(VISITOR)));
    assert!(notices(&send(&mut l, now, NODE, request(VISITOR, Some(5), false))).is_empty(), "a repetition is no news");
    let a = l.occupant_joined(now, &cy.as_moderator(), &presence("c"));
    assert_eq!(notices(&a.into_iter().filter(|a| line(a).starts_with("message")).collect::<Vec<_>>()).len(), 1);
    let a = l.moderator_changed(now, &bo.as_moderator());
    assert!(lines(&a).contains(&"message -> bo-uuid@meet.example/r".to_owned()), "{:?}", lines(&a));
}

#[test]
fn a_lowered_hand_is_withdrawn_and_not_replayed() {
    let (now, mut l) = (Instant::now(), with(PromotionLimits::default()));
    l.occupant_joined(now, &Person::new("ann").as_moderator(), &presence("a"));
    send(&mut l, now, NODE, request(VISITOR, Some(5), false));
    let a = send(&mut l, now, NODE, PromotionRequest { jid: VISITOR.into(), ..PromotionRequest::default() });
    assert_eq!(notices(&a), [("ann-uuid@meet.example/r".to_owned(), false)]);
    assert_eq!(json_of(&stanzas(&a)[0])["nick"], "Ann");
    assert_eq!(l.promotions().pending().count(), 0);
    let a = send(&mut l, now, NODE, PromotionRequest { jid: VISITOR.into(), ..PromotionRequest::default() });
    assert!(notices(&a).is_empty());
}

#[test]
fn approval_sends_a_name_to_the_visitors_node_and_tells_the_other_moderators() {
    let (now, mut l) = (Instant::now(), with(PromotionLimits::default()));
    let (ann, bo) = (Person::new("ann"), Person::new("bo"));
    l.occupant_joined(now, &ann.as_moderator(), &presence("a"));
    l.occupant_joined(now, &bo.as_moderator(), &presence("b"));
    send(&mut l, now, NODE, request(VISITOR, Some(5), false));
    let a = l.moderator_message(now, &ann.as_moderator(), &json(true, VISITOR)).unwrap().unwrap();
    assert_eq!(notices(&a[..1]), [("bo-uuid@meet.example/r".to_owned(), false)]);
    let (to, r) = responses(&a).pop().unwrap();
    assert_eq!((to.as_str(), r.jid.as_str(), r.allow), (NODE, VISITOR, true));
    assert!(l.promotions().pending().next().is_none());
    let session = format!("{}@meet.example/x", r.username);
    assert_eq!(join(&mut l, &session), Admission::Promoted { mark: true });
    assert_eq!(join(&mut l, &session), Admission::Promoted { mark: true }, "the same session may enter again");
    let other = format!("{}@meet.example/other", r.username);
    assert_eq!(join(&mut l, &other), Admission::Refuse(Refusal::NotPromoted), "another one may not");
}

#[test]
fn a_denied_visitors_name_opens_nothing() {
    let (now, mut l) = (Instant::now(), with(PromotionLimits::default()));
    let ann = Person::new("ann");
    send(&mut l, now, NODE, request(VISITOR, Some(5), false));
    let a = l.moderator_message(now, &ann.as_moderator(), &json(false, VISITOR)).unwrap().unwrap();
    let (_, r) = responses(&a).pop().unwrap();
    assert!(!r.allow && !r.username.is_empty());
    assert_eq!(join(&mut l, &format!("{}@meet.example/x", r.username)), Admission::Refuse(Refusal::NotPromoted));
}

#[test]
fn a_name_that_is_not_used_in_time_opens_nothing() {
    let (t0, mut l) = (Instant::now(), with(PromotionLimits { auto_allow: false, ..PromotionLimits::default() }));
    send(&mut l, t0, NODE, request(VISITOR, Some(5), false));
    let a = l.moderator_message(t0, &Person::new("ann").as_moderator(), &json(true, VISITOR)).unwrap().unwrap();
    let session = full(&format!("{}@meet.example/x", responses(&a)[0].1.username));
    let late = join_at(&mut l, t0 + Duration::from_secs(60), &session, None);
    assert_eq!(late, Admission::Refuse(Refusal::NotPromoted));
}

#[test]
fn a_name_in_use_survives_for_a_session_that_continues_the_first() {
    let (t0, mut l) = (Instant::now(), with(PromotionLimits::default()));
    send(&mut l, t0, NODE, request(VISITOR, Some(5), false));
    let a = l.moderator_message(t0, &Person::new("ann").as_moderator(), &json(true, VISITOR)).unwrap().unwrap();
    let name = responses(&a)[0].1.username.clone();
    let first = full(&format!("{name}@meet.example/1"));
    let second = full(&format!("{name}@meet.example/2"));
    join_at(&mut l, t0, &first, None);
    let later = t0 + Duration::from_secs(3600);
    assert_eq!(join_at(&mut l, later, &first, None), Admission::Promoted { mark: true }, "used names do not expire");
    l.session_gone(later, &first);
    assert_eq!(join_at(&mut l, later, &second, None), Admission::Refuse(Refusal::NotPromoted));
    assert_eq!(join_at(&mut l, later, &second, Some(&first)), Admission::Promoted { mark: true });
    l.session_gone(later, &second);
    let too_late = later + Duration::from_secs(61);
    assert_eq!(join_at(&mut l, too_late, &first, Some(&second)), Admission::Refuse(Refusal::NotPromoted));
}

#[test]
fn all_may_be_admitted_at_once_and_unknown_ids_among_them_are_ignored() {
    let (now, mut l) = (Instant::now(), with(PromotionLimits::default()));
    let ids: Vec<String> = (0..3).map(|i| format!("u{i}@v1.meet.jitsi/r")).collect();
    for id in &ids {
        send(&mut l, now, NODE, request(id, Some(5), false));
    }
    let mut all = ids.clone();
    all.push("nobody@v1.meet.jitsi/r".into());
    let text =
        serde_json::json!({"type":"visitors","action":"promotion-response","approved":true,"ids":all}).to_string();
    let a = l.moderator_message(now, &Person::new("ann").as_moderator(), &text).unwrap().unwrap();
    let got = responses(&a);
    assert_eq!(got.iter().map(|(_, r)| r.jid.clone()).collect::<Vec<_>>(), ids);
    let names: BTreeSet<_> = got.iter().map(|(_, r)| r.username.clone()).collect();
    assert_eq!(names.len(), 3, "everybody gets a name of its own");
    let e = l.moderator_message(now, &Person::new("ann").as_moderator(), &text).unwrap_err();
    assert_eq!(e.condition, Condition::ItemNotFound, "nobody is left");
}

#[test]
fn only_moderators_answer_and_other_json_passes() {
    let (now, mut l) = (Instant::now(), with(PromotionLimits::default()));
    send(&mut l, now, NODE, request(VISITOR, Some(5), false));
    let e = l.moderator_message(now, &Person::new("bo").as_user(), &json(true, VISITOR)).unwrap_err();
    assert_eq!(e.condition, Condition::Forbidden);
    assert_eq!(l.promotions().pending().count(), 1);
    assert!(l.moderator_message(now, &Person::new("bo").as_user(), r#"{"type":"x"}"#).unwrap().is_none());
}

#[test]
fn requests_of_nodes_that_are_not_connected_are_refused() {
    let (now, mut l) = (Instant::now(), with(PromotionLimits { auto_allow: true, ..PromotionLimits::default() }));
    for host in ["v9.meet.jitsi", "conference.v1.meet.jitsi", "evil.example"] {
        let a = send(&mut l, now, host, request(VISITOR, Some(5), true));
        assert_eq!(lines(&a), [format!("iq error error -> {host}")]);
    }
}

#[test]
fn a_node_speaks_for_its_own_visitors_only() {
    let (now, mut l) = (Instant::now(), with(PromotionLimits { auto_allow: true, ..PromotionLimits::default() }));
    for jid in ["a@v2.meet.jitsi/x", "a@v1.meet.jitsi", "a@meet.example/x", "@"] {
        let a = send(&mut l, now, NODE, request(jid, Some(5), true));
        assert_eq!(lines(&a), [format!("iq error error -> {NODE}")], "{jid}");
    }
}

#[test]
fn a_visitor_raises_its_hand_is_admitted_and_enters_with_its_name() {
    let (now, mut l, mut s) = (Instant::now(), with(PromotionLimits::default()), shadow());
    let ann = Person::new("ann");
    l.occupant_joined(now, &ann.as_moderator(), &presence("a"));
    let hand = x("<presence><jitsi_participant_raisedHand>1767225600000</jitsi_participant_raisedHand></presence>");
    let up = s.visitor_joined(now, &full(VISITOR), "c0ffee00", amphi_visitors::VisitorToken::default(), &hand);
    let told = l.handle_iq(now, &shadow_stanzas(&up)[0], Trust::Server);
    let from = json_of(&stanzas(&told)[0])["from"].as_str().unwrap().to_owned();
    let answer = l.moderator_message(now, &ann.as_moderator(), &json(true, &from)).unwrap().unwrap();
    let iq = stanzas(&answer).into_iter().find(|s| s.root().name() == "iq").unwrap();
    let to_visitor = shadow_stanzas(&s.handle_iq(now, &iq)).swap_remove(0);
    assert_eq!(to_visitor.attr("to").unwrap(), VISITOR);
    let v = VisitorsIq::parse(&to_visitor).unwrap();
    assert_eq!(v.focus.as_deref(), Some("focus@auth.meet.example"));
    let Payload::PromotionResponse(r) = v.payload else { panic!() };
    assert_eq!(join(&mut l, &format!("{}@meet.example/x", r.username)), Admission::Promoted { mark: true });
    let left = s.visitor_left(now, &full(VISITOR));
    assert!(notices(&l.handle_iq(now, &shadow_stanzas(&left)[0], Trust::Server)).is_empty(), "already withdrawn");
}

#[test]
fn a_visitor_that_asks_again_has_one_name_at_a_time() {
    let now = Instant::now();
    let mut l = with(PromotionLimits { names: 2, ..PromotionLimits::default() });
    let names: Vec<_> = (0..10)
        .flat_map(|n| responses(&send(&mut l, now, NODE, request(VISITOR, Some(n + 1), true))))
        .map(|(_, r)| r.username)
        .collect();
    assert_eq!(names.len(), 10);
    assert_eq!(responses(&send(&mut l, now, NODE, request("u2@v1.meet.jitsi/r", Some(5), true))).len(), 1);
    let old = join(&mut l, &format!("{}@meet.example/r", names[0]));
    assert!(matches!(old, Admission::Refuse(_)), "{old:?}");
    let new = join(&mut l, &format!("{}@meet.example/r", names[9]));
    assert!(!matches!(new, Admission::Refuse(_)), "{new:?}");
}

#[test]
fn promotion_is_automatic_by_option_by_metadata_and_for_listed_tokens() {
    let now = Instant::now();
    let auto = |l: &mut MainLinks, force| responses(&send(l, now, NODE, request(VISITOR, Some(5), force))).len() == 1;
    let mut l = with(PromotionLimits { auto_allow: true, ..PromotionLimits::default() });
    assert!(auto(&mut l, false));
    let list = |ids: &[&str]| Some(ids.iter().map(|s| (*s).to_owned()).collect::<BTreeSet<_>>());
    for (policy, force, want) in [
        (RoomPolicy::default(), false, false),
        (RoomPolicy { auto_promote: true, ..RoomPolicy::default() }, false, true),
        (RoomPolicy::default(), true, true),
        (RoomPolicy { moderators: list(&["u1"]), ..RoomPolicy::default() }, true, true),
        (RoomPolicy { moderators: list(&["u1"]), ..RoomPolicy::default() }, false, false),
        (RoomPolicy { moderators: list(&["u2"]), ..RoomPolicy::default() }, true, false),
        (RoomPolicy { moderators: list(&["u2"]), all_moderators: true, ..RoomPolicy::default() }, true, true),
    ] {
        let mut l = with(PromotionLimits::default());
        l.set_policy(policy.clone());
        assert_eq!(auto(&mut l, force), want, "{policy:?} {force}");
    }
}

#[test]
fn waiting_hands_and_names_are_bounded() {
    let now = Instant::now();
    let mut l = with(PromotionLimits { pending: 2, ..PromotionLimits::default() });
    for i in 0..3 {
        let a = send(&mut l, now, NODE, request(&format!("u{i}@v1.meet.jitsi/r"), Some(5), false));
        assert_eq!(lines(&a).last().unwrap().contains("error"), i == 2);
    }
    let mut l = with(PromotionLimits { names: 2, auto_allow: true, ..PromotionLimits::default() });
    for i in 0..3 {
        let a = send(&mut l, now, NODE, request(&format!("u{i}@v1.meet.jitsi/r"), Some(5), false));
        assert_eq!(responses(&a).len() == 1, i < 2);
    }
    let later = now + Duration::from_secs(61);
    assert_eq!(responses(&send(&mut l, later, NODE, request(VISITOR, Some(5), false))).len(), 1, "unused names expire");
}

#[test]
fn when_a_node_goes_its_hands_go_and_moderators_are_told() {
    let (now, mut l) = (Instant::now(), with(PromotionLimits::default()));
    l.occupant_joined(now, &Person::new("ann").as_moderator(), &presence("a"));
    send(&mut l, now, NODE, request(VISITOR, Some(5), false));
    let a = l.disconnect_vnode(now, "v1");
    assert_eq!(notices(&a[..1]), [("ann-uuid@meet.example/r".to_owned(), false)]);
}

fn refusal(l: &mut MainLinks, session: &str) -> (Condition, String) {
    match join(l, session) {
        Admission::Refuse(r) => {
            let e = r.stanza_error();
            (e.condition, e.app.unwrap())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_gate_is_open_before_there_is_an_audience_and_closed_after() {
    let mut l = links();
    assert_eq!(join(&mut l, "a@meet.example/r"), Admission::Pass);
    l.connect_vnode(Instant::now(), "v1");
    let (condition, app) = refusal(&mut l, "a@meet.example/r");
    assert_eq!(condition, Condition::NotAllowed);
    assert_eq!(app, "<promotion-not-allowed xmlns='jitsi:visitors'/>");
    l.disconnect_vnode(Instant::now(), "v1");
    assert_eq!(join(&mut l, "a@meet.example/r"), Admission::Pass);
}

#[test]
fn administrators_ignored_hosts_and_listed_users_are_not_held_up() {
    let now = Instant::now();
    let mut l =
        with(PromotionLimits { ignore_hosts: vec!["recorder.meet.example".into()], ..PromotionLimits::default() });
    l.set_policy(RoomPolicy {
        moderators: Some(["m".to_owned()].into()),
        participants: Some(["p".to_owned(), "g".to_owned()].into()),
        ..RoomPolicy::default()
    });
    assert_eq!(join(&mut l, "recorder@recorder.meet.example/r"), Admission::Pass);
    let session = full("a@meet.example/r");
    let plain = Applicant {
        session: &session,
        previous: None,
        user_id: None,
        group_id: None,
        visitor_role: false,
        admin: false,
    };
    for a in [
        Applicant { admin: true, ..plain },
        Applicant { user_id: Some("m"), ..plain },
        Applicant { user_id: Some("p"), ..plain },
        Applicant { group_id: Some("g"), ..plain },
    ] {
        assert_eq!(l.admission(now, &a), Admission::Pass, "{a:?}");
    }
    let a = Applicant { user_id: Some("x"), ..plain };
    assert_eq!(l.admission(now, &a), Admission::Refuse(Refusal::NotPromoted));
}

#[test]
fn automatic_promotion_opens_the_gate_unless_the_room_is_not_live() {
    let mut l = with(PromotionLimits::default());
    l.set_policy(RoomPolicy { auto_promote: true, live: Some(false), ..RoomPolicy::default() });
    assert_eq!(join(&mut l, "a@meet.example/r"), Admission::Refuse(Refusal::NotPromoted));
    l.set_policy(RoomPolicy { auto_promote: true, live: None, ..RoomPolicy::default() });
    assert_eq!(join(&mut l, "a@meet.example/r"), Admission::Pass);
}

#[test]
fn a_room_with_a_list_of_participants_is_not_opened_by_others_unless_it_has_a_lobby() {
    let mut l = links();
    l.set_policy(RoomPolicy { participants: Some(BTreeSet::new()), ..RoomPolicy::default() });
    assert_eq!(refusal(&mut l, "a@meet.example/r").1, "<not-live-room xmlns='jitsi:visitors'/>");
    l.set_policy(RoomPolicy { participants: Some(BTreeSet::new()), members_only: true, ..RoomPolicy::default() });
    assert_eq!(join(&mut l, "a@meet.example/r"), Admission::Pass);
}

#[test]
fn who_moves_to_a_breakout_room_may_come_back() {
    let (now, mut l) = (Instant::now(), with(PromotionLimits::default()));
    let s = full("a@meet.example/r");
    l.expect_back(now, &s);
    assert_eq!(join_at(&mut l, now, &s, None), Admission::Promoted { mark: true });
}

#[test]
fn demotion_is_delivered_to_the_target_and_the_other_moderators() {
    let (now, mut l) = (Instant::now(), links());
    let (ann, bo, cy, di) = (Person::new("ann"), Person::new("bo"), Person::new("cy"), Person::new("di"));
    l.occupant_joined(now, &ann.as_moderator(), &presence("a"));
    l.occupant_joined(now, &bo.as_user(), &presence("b"));
    l.occupant_joined(now, &cy.as_moderator(), &presence("c"));
    l.occupant_joined(now, &di.as_user(), &presence("d"));
    let text = |id: &str, actor: &str| {
        serde_json::json!({"type":"visitors","action":"demote-request","id":id,"actor":actor}).to_string()
    };
    let a = l.moderator_message(now, &ann.as_moderator(), &text("bo", "ann")).unwrap().unwrap();
    let s: Vec<Stanza> = stanzas(&a);
    let to: Vec<_> = s.iter().map(|s| s.attr("to").unwrap().into_owned()).collect();
    assert_eq!(to, ["bo-uuid@meet.example/r", "cy-uuid@meet.example/r"]);
    assert!(s.iter().all(|s| s.ty().unwrap() == "chat" && s.attr("from").unwrap() == "visitors.meet.example"));
    assert!(s[0].child("json-message", ns::JITMEET).is_some());
    assert_eq!(json_of(&s[0])["id"], "bo");
    let e = l.moderator_message(now, &ann.as_moderator(), &text("bo", "cy")).unwrap_err();
    assert_eq!(e.condition, Condition::BadRequest, "actor is the sender");
    let e = l.moderator_message(now, &ann.as_moderator(), &text("nobody", "ann")).unwrap_err();
    assert_eq!(e.condition, Condition::ItemNotFound);
    assert!(l.moderator_message(now, &di.as_user(), &text("bo", "di")).is_err());
}

/// What visitors are told of their places.
fn places(a: &[Action]) -> Vec<(String, u64)> {
    let read = |s: &Stanza| match VisitorsIq::parse(s).ok()?.payload {
        Payload::Places(p) => Some(p.list),
        _ => None,
    };
    stanzas(a).iter().filter_map(read).flatten().collect()
}

fn place(name: &str, n: u64) -> (String, u64) {
    (format!("{name}@v1.meet.jitsi/r"), n)
}

/// Links with one node, which knows the extension or not, and one moderator.
fn line_of(ours: bool, limits: PromotionLimits) -> (Instant, MainLinks) {
    let (now, mut l) = (Instant::now(), links_with(MainConfig { promotion: limits, ..MainConfig::default() }));
    for iq in stanzas(&l.connect_vnode(now, "v1")) {
        let r = if ours { wire::result_with(&iq, &Support::default()) } else { wire::result(&iq) };
        l.handle_answer(now, &r);
    }
    l.occupant_joined(now, &Person::new("ann").as_moderator(), &presence("a"));
    (now, l)
}

fn raise(l: &mut MainLinks, now: Instant, name: &str) -> Vec<Action> {
    send(l, now, NODE, request(&format!("{name}@v1.meet.jitsi/r"), Some(5), false))
}

#[test]
fn those_in_line_hear_their_places_as_the_line_moves_and_not_more_often_than_a_second() {
    let (now, mut l) = line_of(true, PromotionLimits::default());
    assert_eq!(places(&raise(&mut l, now, "x")), [place("x", 1)]);
    assert!(places(&raise(&mut l, now, "y")).is_empty(), "so soon after the first");
    assert!(places(&raise(&mut l, now, "z")).is_empty());
    let due = l.poll_timeout().expect("they are owed an answer");
    assert_eq!(due, now + Duration::from_secs(1));
    assert_eq!(places(&l.tick(due)), [place("y", 2), place("z", 3)], "the first one has not moved");
    let ann = Person::new("ann");
    let later = due + Duration::from_secs(5);
    let a = l.moderator_message(later, &ann.as_moderator(), &json(true, "x@v1.meet.jitsi/r")).unwrap().unwrap();
    assert_eq!(places(&a), [place("y", 1), place("z", 2)]);
    assert!(places(&l.tick(later + Duration::from_secs(5))).is_empty(), "nothing new");
}

#[test]
fn places_are_told_to_nodes_that_know_them_and_to_the_head_of_the_line() {
    let (now, mut l) = line_of(false, PromotionLimits::default());
    assert!(places(&raise(&mut l, now, "x")).is_empty());
    let (now, mut l) = line_of(true, PromotionLimits { places: 2, ..PromotionLimits::default() });
    for name in ["x", "y", "z"] {
        raise(&mut l, now, name);
    }
    assert_eq!(places(&l.tick(now + Duration::from_secs(1))), [place("y", 2)]);
}
