//! The node's side, rule by rule.

mod common;

use std::time::{Duration, Instant};

use amphi_stanza::{BareJid, Condition, Jid, Stanza, ns};
use amphi_visitors::wire::{
    self, Checkpoint, Line, Payload, Places, PromotionResponse, Settings, SharedFile, Sync, Update, VisitorsIq,
};
use amphi_visitors::{BudgetLimits, RemoteVerdict, Shadow, ShadowAction, ShadowConfig, ShadowRole, VisitorToken};
use common::*;

fn order(payload: Payload) -> Stanza {
    let room = BareJid::parse(SHADOW).unwrap();
    wire::set("meet.example", "conference.v1.meet.jitsi", "vl1/[acme]demo", &VisitorsIq::new(room, payload))
}

fn connect(s: &mut Shadow, now: Instant) -> Vec<ShadowAction> {
    s.handle_iq(now, &order(Payload::Connect(Settings::default(), None)))
}

fn open() -> (Instant, Shadow) {
    let (now, mut s) = (Instant::now(), shadow());
    connect(&mut s, now);
    (now, s)
}

fn moderators(ids: &[&str]) -> Update {
    Update { moderators: Some(ids.iter().map(|s| (*s).to_owned()).collect()), ..Update::default() }
}

fn update(s: &mut Shadow, now: Instant, u: Update) -> Vec<ShadowAction> {
    s.handle_iq(now, &order(Payload::Update(Box::new(u))))
}

fn remote(s: &mut Shadow, now: Instant, p: &Person, what: &str) -> RemoteVerdict {
    s.remote_presence(now, &p.nick, &p.real, &presence(what)).0
}

fn visit(s: &mut Shadow, now: Instant) {
    s.visitor_joined(now, &full(VISITOR), "c0ffee00", VisitorToken::default(), &presence("Ann"));
}

fn hand(value: &str) -> Stanza {
    x(&format!("<presence><jitsi_participant_raisedHand>{value}</jitsi_participant_raisedHand></presence>"))
}

fn requests(a: &[ShadowAction]) -> Vec<Payload> {
    shadow_stanzas(a)
        .iter()
        .map(|s| {
            assert_eq!(s.attr("from").unwrap(), "v1.meet.jitsi");
            assert_eq!(s.attr("to").unwrap(), "visitors.meet.example");
            let v = VisitorsIq::parse(s).unwrap();
            assert_eq!(v.room, ROOM);
            v.payload
        })
        .collect()
}

fn raised(a: &[ShadowAction]) -> Vec<bool> {
    requests(a)
        .iter()
        .map(|p| match p {
            Payload::PromotionRequest(r) => r.raised(),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn destroyed(a: &[ShadowAction]) -> Option<&'static str> {
    a.iter().find_map(|a| match a {
        ShadowAction::Destroy { reason } => Some(*reason),
        _ => None,
    })
}

#[test]
fn only_connect_opens_the_room() {
    let (now, mut s) = (Instant::now(), shadow());
    update(&mut s, now, Update::default());
    assert!(s.locked());
    let a = connect(&mut s, now);
    assert!(a.iter().any(|a| matches!(a, ShadowAction::Unlock)));
    assert!(!s.locked());
    assert!(!connect(&mut s, now).iter().any(|a| matches!(a, ShadowAction::Unlock)), "once");
}

#[test]
fn every_order_is_answered_and_only_the_main_node_gives_orders() {
    let (now, mut s) = (Instant::now(), shadow());
    let answer = |a: &[ShadowAction]| shadow_stanzas(a).pop().unwrap();
    let r = answer(&connect(&mut s, now));
    assert_eq!((r.ty().unwrap().as_ref(), r.attr("to").unwrap().as_ref()), ("result", "meet.example"));
    assert!(wire::support_of(&r).is_some());
    let forged = order(Payload::Disconnect).rewrite().set("from", "evil.example").stanza();
    let a = s.handle_iq(now, &forged);
    assert_eq!(answer(&a).ty().unwrap(), "error");
    assert!(destroyed(&a).is_none());
    let odd = x(&format!(
        "<iq type='set' from='meet.example' to='x' id='1'><visitors xmlns='jitsi:visitors' room='{SHADOW}'><dance/></visitors></iq>"
    ));
    assert_eq!(answer(&s.handle_iq(now, &odd)).ty().unwrap(), "error");
}

#[test]
fn properties_of_the_main_room_are_adopted_once() {
    let (now, mut s) = (Instant::now(), shadow());
    let settings = Settings {
        password: Some("p".into()),
        lobby: Some(true),
        meeting_id: Some("m".into()),
        created: Some(5),
        allow_unauthenticated: None,
    };
    let u = Update { settings: settings.clone(), ..Update::default() };
    let a = update(&mut s, now, u.clone());
    assert!(matches!(&a[0], ShadowAction::Settings(g) if *g == settings));
    assert_eq!(s.settings(), &settings);
    assert_eq!(update(&mut s, now, u).len(), 1, "only the result");
}

#[test]
fn nobody_of_the_audience_enters_while_the_main_room_has_a_lobby() {
    let (now, mut s) = open();
    assert_eq!(s.admit_visitor().unwrap(), ShadowRole::Visitor);
    let lobby = |on| Update { settings: Settings { lobby: Some(on), ..Settings::default() }, ..Update::default() };
    update(&mut s, now, lobby(true));
    let e = s.admit_visitor().unwrap_err();
    assert_eq!(
        (e.condition, e.text.as_deref()),
        (Condition::NotAllowed, Some("Visitors not allowed while lobby is on!"))
    );
    assert_eq!(e.app.unwrap(), "<no-visitors-lobby xmlns='jitsi:visitors'/>");
    update(&mut s, now, lobby(false));
    assert!(s.admit_visitor().is_ok());
}

#[test]
fn the_list_of_moderators_is_complete_so_that_revoking_works() {
    let (now, mut s) = open();
    let (ann, bo) = (Person::new("ann"), Person::new("bo"));
    update(&mut s, now, moderators(&["ann"]));
    assert_eq!(remote(&mut s, now, &ann, "a"), RemoteVerdict::Join);
    remote(&mut s, now, &bo, "b");
    assert_eq!(s.role_of_remote("ann"), ShadowRole::Moderator);
    assert_eq!(s.role_of_remote("bo"), ShadowRole::Participant);
    let a = update(&mut s, now, moderators(&["bo", "absent"]));
    let changes: Vec<_> = a
        .iter()
        .filter_map(|a| match a {
            ShadowAction::SetModerator { nick, moderator } => Some((nick.as_str(), *moderator)),
            _ => None,
        })
        .collect();
    assert_eq!(changes, [("ann", false), ("bo", true)]);
}

#[test]
fn a_moderator_who_left_leaves_no_role_to_the_next_with_that_nick() {
    let (now, mut s) = open();
    let ann = Person::new("ann");
    update(&mut s, now, moderators(&["ann"]));
    remote(&mut s, now, &ann, "a");
    let gone = x("<presence type='unavailable'/>");
    assert_eq!(s.remote_presence(now, "ann", &ann.real, &gone).0, RemoteVerdict::Left);
    assert_eq!(s.role_of_remote("ann"), ShadowRole::Participant);
}

#[test]
fn presences_of_the_stage_are_told_apart() {
    let (now, mut s) = open();
    let ann = Person::new("ann");
    assert_eq!(remote(&mut s, now, &ann, "a"), RemoteVerdict::Join);
    assert_eq!(remote(&mut s, now, &ann, "a"), RemoteVerdict::Unchanged);
    assert_eq!(remote(&mut s, now, &ann, "b"), RemoteVerdict::Update);
    let error = x("<presence type='error'/>");
    assert_eq!(s.remote_presence(now, "ann", &ann.real, &error).0, RemoteVerdict::Ignore, "a bounce removes nobody");
    let stranger = full("x@meet.example/y");
    let gone = x("<presence type='unavailable'/>");
    assert_eq!(s.remote_presence(now, "ann", &stranger, &gone).0, RemoteVerdict::Ignore);
    let (v, a) = s.remote_presence(now, "ann", &stranger, &presence("c"));
    assert_eq!(v, RemoteVerdict::Join);
    assert!(matches!(&a[..], [ShadowAction::RemoveRemote { nick }] if nick == "ann"), "its leaving was lost");
    let rec = Person { nick: "rec".into(), real: full("recorder@recorder.meet.example/r") };
    assert_eq!(remote(&mut s, now, &rec, "r"), RemoteVerdict::Ignore);
}

#[test]
fn who_is_not_told_again_in_a_synchronisation_is_gone() {
    let (now, mut s) = open();
    let (ann, bo) = (Person::new("ann"), Person::new("bo"));
    remote(&mut s, now, &ann, "a");
    remote(&mut s, now, &bo, "b");
    let sync = Sync { epoch: "e".into(), n: 3, digest: 0 };
    update(&mut s, now, Update { sync: Some(sync.clone()), ..Update::default() });
    remote(&mut s, now, &ann, "a");
    let a = s.handle_iq(now, &order(Payload::Connect(Settings::default(), Some(sync))));
    assert!(a.iter().any(|a| matches!(a, ShadowAction::RemoveRemote { nick } if nick == "bo")));
    assert_eq!(s.remotes().map(|r| r.0).collect::<Vec<_>>(), ["ann"]);
}

#[test]
fn a_stock_main_room_sweeps_nobody() {
    let (now, mut s) = open();
    remote(&mut s, now, &Person::new("ann"), "a");
    update(&mut s, now, Update::default());
    connect(&mut s, now);
    assert_eq!(s.remotes().count(), 1);
}

#[test]
fn a_wrong_digest_makes_the_node_ask_and_not_too_often() {
    let (now, mut s) = open();
    let sync = Sync { epoch: "e".into(), n: 1, digest: 0 };
    update(&mut s, now, Update { sync: Some(sync.clone()), ..Update::default() });
    s.handle_iq(now, &order(Payload::Connect(Settings::default(), Some(sync))));
    let check = |digest| order(Payload::Checkpoint(Checkpoint { epoch: "e".into(), digest }));
    let asks = |a: &[ShadowAction]| {
        a.iter().any(
            |a| matches!(a, ShadowAction::Send(q) if VisitorsIq::parse(q).is_ok_and(|v| v.payload == Payload::Resync)),
        )
    };
    assert!(!asks(&s.handle_iq(now, &check(0))));
    assert!(asks(&s.handle_iq(now, &check(1))));
    assert!(!asks(&s.handle_iq(now, &check(1))));
    let t = s.poll_timeout().unwrap();
    assert_eq!(t, now + Duration::from_secs(30));
    assert!(asks(&s.tick(t)));
}

#[test]
fn files_and_polls_are_told_as_differences_and_missing_ones_are_gone_unless_partial() {
    let (now, mut s) = open();
    let file = |id: &str| SharedFile { id: id.into(), json: "{}".into() };
    let u = Update { files: Some(vec![file("1"), file("2")]), polls: Some("p".into()), ..Update::default() };
    update(&mut s, now, u);
    let a = update(&mut s, now, Update { partial: true, ..Update::default() });
    assert_eq!(a.len(), 1);
    let a = update(&mut s, now, Update { files: Some(vec![file("2"), file("3")]), ..Update::default() });
    assert!(matches!(&a[0], ShadowAction::Files { added, removed } if *added == [file("3")] && *removed == ["1"]));
    assert!(matches!(&a[1], ShadowAction::Polls(None)));
}

#[test]
fn a_visitors_chat_carries_its_true_name_to_everybody_here_and_to_the_main_room() {
    let (now, mut s) = open();
    visit(&mut s, now);
    let m = x(
        "<message type='groupchat' id='m1'><body>hello</body><nick xmlns='http://jabber.org/protocol/nick'>Boss</nick>\
               <display-name xmlns='http://jitsi.org/protocol/display-name' source='token'>Boss</display-name></message>",
    );
    let a = s.visitor_groupchat(now, &full(VISITOR), &m).unwrap();
    let [ShadowAction::Deliver(here), ShadowAction::Send(there)] = &a[..] else { panic!("{a:?}") };
    let inner = "<body>hello</body><nick xmlns='http://jabber.org/protocol/nick'>Ann</nick>\
                 <display-name xmlns='http://jitsi.org/protocol/display-name' source='visitor'>Ann</display-name>";
    for m in [here, there] {
        assert_eq!(m.root().inner(), inner);
        assert_eq!(m.attr("from").unwrap(), format!("{SHADOW}/c0ffee00"));
        assert_eq!(m.id().unwrap(), "m1");
    }
    assert_eq!((here.attr("to"), there.attr("to").as_deref()), (None, Some(ROOM)));
}

#[test]
fn a_visitor_without_name_is_anonymous() {
    let (now, mut s) = open();
    s.visitor_joined(now, &full(VISITOR), "c", VisitorToken::default(), &x("<presence/>"));
    let a = s.visitor_groupchat(now, &full(VISITOR), &x("<message><body>a</body></message>")).unwrap();
    let ShadowAction::Deliver(m) = &a[0] else { panic!() };
    assert_eq!(m.child("nick", ns::NICK).unwrap().text(), "anonymous");
}

#[test]
fn a_visitor_who_writes_too_fast_gets_an_error_and_strangers_cannot_write() {
    let budget = BudgetLimits { person_burst: 1, ..BudgetLimits::default() };
    let (now, mut s) = (Instant::now(), shadow_with(ShadowConfig { budget, ..ShadowConfig::default() }));
    visit(&mut s, now);
    let m = x("<message><body>a</body></message>");
    s.visitor_groupchat(now, &full(VISITOR), &m).unwrap();
    assert_eq!(s.visitor_groupchat(now, &full(VISITOR), &m).unwrap_err().condition, Condition::PolicyViolation);
    assert_eq!(s.visitor_groupchat(now, &full("x@y/z"), &m).unwrap_err().condition, Condition::ItemNotFound);
}

#[test]
fn while_the_main_node_is_out_of_reach_chat_waits_and_is_bounded() {
    let (now, mut s) = (Instant::now(), shadow_with(ShadowConfig { held: 2, ..ShadowConfig::default() }));
    visit(&mut s, now);
    s.main_down(now);
    let m = x("<message><body>a</body></message>");
    for _ in 0..2 {
        let a = s.visitor_groupchat(now, &full(VISITOR), &m).unwrap();
        assert!(matches!(&a[..], [ShadowAction::Deliver(_)]), "seen here at once");
    }
    assert_eq!(s.visitor_groupchat(now, &full(VISITOR), &m).unwrap_err().condition, Condition::RemoteServerTimeout);
    assert_eq!(shadow_stanzas(&s.main_up(now, false)).len(), 2);
}

#[test]
fn private_messages_go_to_the_stage_only() {
    let (now, mut s) = open();
    visit(&mut s, now);
    s.visitor_joined(now, &full("b@v1.meet.jitsi/r"), "beef", VisitorToken::default(), &presence("Bo"));
    remote(&mut s, now, &Person::new("ann"), "a");
    let m = x("<message type='chat'><body>psst</body></message>");
    let a = s.visitor_private(now, &full(VISITOR), "ann", &m).unwrap();
    let [ShadowAction::Send(p)] = &a[..] else { panic!() };
    assert_eq!(p.attr("to").unwrap(), format!("{ROOM}/ann"));
    assert_eq!(p.attr("from").unwrap(), format!("{SHADOW}/c0ffee00"));
    let e = s.visitor_private(now, &full(VISITOR), "beef", &m).unwrap_err();
    assert_eq!(e.text.unwrap(), "Private messaging between visitors is disabled on visitor nodes");
    assert_eq!(s.visitor_private(now, &full(VISITOR), "nobody", &m).unwrap_err().condition, Condition::ItemNotFound);
}

#[test]
fn the_answer_of_the_stage_reaches_the_visitor_from_the_shadow_room() {
    let (now, mut s) = open();
    visit(&mut s, now);
    let ann = Person::new("ann");
    remote(&mut s, now, &ann, "a");
    let m = x("<message type='chat'><body>yes</body></message>");
    let a = s.main_private(&ann.real, "c0ffee00", &m).unwrap();
    let [ShadowAction::DeliverTo { visitor, stanza }] = &a[..] else { panic!() };
    assert_eq!(visitor, &full(VISITOR));
    assert_eq!(stanza.attr("from").unwrap(), format!("{SHADOW}/ann"));
    assert!(s.main_private(&full("x@y/z"), "c0ffee00", &m).is_err());
}

#[test]
fn group_chat_of_main_is_delivered_from_who_said_it_and_each_line_once() {
    let (now, mut s) = open();
    let ann = Person::new("ann");
    remote(&mut s, now, &ann, "a");
    let marked = |seq| {
        let mark = Line { epoch: "e".into(), seq };
        x(&format!(
            "<message type='groupchat'><body>a</body><line xmlns='urn:amphi:visitors:0' epoch='{}' seq='{}'/></message>",
            mark.epoch, mark.seq
        ))
    };
    let from: Jid = ann.real.clone().into();
    let mut said = |from: &Jid, seq| s.main_groupchat(from, &marked(seq)).pop();
    let Some(ShadowAction::Deliver(m)) = said(&from, 1) else { panic!() };
    assert_eq!((m.attr("from").unwrap().as_ref(), m.root().inner()), (&*format!("{SHADOW}/ann"), "<body>a</body>"));
    assert!(said(&from, 1).is_none());
    let relayed = Jid::parse(ROOM).unwrap();
    let Some(ShadowAction::Deliver(m)) = said(&relayed, 2) else { panic!() };
    assert_eq!(m.attr("from").unwrap(), SHADOW);
    assert!(said(&from, 2).is_none());
}

#[test]
fn history_of_an_open_room_is_news_unless_a_visitor_here_wrote_it() {
    let (_, mut s) = open();
    let from = Jid::parse(ROOM).unwrap();
    let line = |seq, own| {
        x(&format!(
            "<message type='groupchat'><body>a</body><delay xmlns='urn:xmpp:delay'/>\
             <line xmlns='urn:amphi:visitors:0' epoch='e' seq='{seq}'{own}/></message>"
        ))
    };
    assert_eq!(s.main_history(&from, &line(1, "")).len(), 1);
    assert!(s.main_history(&from, &line(2, " own='true'")).is_empty());
    // It counts as heard all the same.
    assert!(s.main_history(&from, &line(2, "")).is_empty());
    assert_eq!(s.main_history(&from, &line(3, "")).len(), 1);
}

#[test]
fn history_of_a_stock_main_room_counts_until_the_room_is_open() {
    let (now, mut s) = (Instant::now(), shadow());
    let from = Jid::parse(&format!("{ROOM}/ann")).unwrap();
    let m = x("<message type='groupchat'><body>a</body><delay xmlns='urn:xmpp:delay' stamp='x'/></message>");
    let a = s.main_history(&from, &m);
    let [ShadowAction::History(h)] = &a[..] else { panic!() };
    assert_eq!(h.attr("from").unwrap(), format!("{SHADOW}/ann"));
    assert!(s.main_history(&Jid::parse("other@conference.meet.example/ann").unwrap(), &m).is_empty());
    connect(&mut s, now);
    assert!(s.main_history(&from, &m).is_empty());
}

#[test]
fn a_raised_hand_is_told_on_change_only_and_withdrawn_by_zero_empty_and_leaving() {
    let (now, mut s) = open();
    visit(&mut s, now);
    let v = full(VISITOR);
    let mut at = now;
    let mut say = |p: &Stanza| {
        at += Duration::from_secs(1);
        raised(&s.visitor_presence(at, &v, p))
    };
    assert_eq!(say(&hand("1767225600000")), [true]);
    assert!(say(&hand("1767225600000")).is_empty());
    assert!(say(&x("<presence/>")).is_empty(), "not mentioned is not changed");
    assert_eq!(say(&hand("0")), [false]);
    assert!(say(&hand("")).is_empty());
    assert_eq!(say(&hand("5")), [true]);
    assert_eq!(say(&hand("")), [false]);
    assert_eq!(say(&hand("6")), [true]);
    let a = s.visitor_left(now, &v);
    let [Payload::PromotionRequest(r)] = &requests(&a)[..] else { panic!() };
    assert_eq!((r.jid.as_str(), r.time), (VISITOR, None));
    assert!(s.visitor_left(now, &v).is_empty());
}

#[test]
fn a_hand_that_goes_up_and_down_quickly_is_told_once_a_second_and_truly_in_the_end() {
    let (now, mut s) = open();
    visit(&mut s, now);
    let v = full(VISITOR);
    assert_eq!(raised(&s.visitor_presence(now, &v, &hand("1"))), [true]);
    for i in 0..100 {
        assert!(s.visitor_presence(now, &v, &hand(if i % 2 == 0 { "0" } else { "7" })).is_empty());
    }
    s.visitor_presence(now, &v, &hand("0"));
    let t = s.poll_timeout().unwrap();
    assert_eq!(t, now + Duration::from_secs(1));
    assert_eq!(raised(&s.tick(t)), [false]);
    assert_eq!(s.poll_timeout(), None);
    s.visitor_presence(t, &v, &hand("9"));
    assert!(s.visitor_left(t, &v).is_empty(), "it was told as down");
    assert!(s.poll_timeout().is_some_and(|e| e == t + Duration::from_secs(15)), "nothing of it is left");
}

#[test]
fn who_enters_anew_without_leaving_has_its_hand_down() {
    let (now, mut s) = open();
    visit(&mut s, now);
    s.visitor_presence(now, &full(VISITOR), &hand("1"));
    let later = now + Duration::from_secs(5);
    let a = s.visitor_joined(later, &full(VISITOR), "other", VisitorToken::default(), &presence("Ann"));
    assert_eq!(raised(&a), [false]);
    assert_eq!(s.visitors(), 1);
}

#[test]
fn who_leaves_with_the_hand_down_is_not_mentioned() {
    let (now, mut s) = open();
    visit(&mut s, now);
    assert!(s.visitor_left(now, &full(VISITOR)).is_empty());
}

#[test]
fn tokens_promote_by_force_only_where_they_may() {
    let force = |token: VisitorToken, config: ShadowConfig| {
        let (now, mut s) = (Instant::now(), shadow_with(config));
        let a = s.visitor_joined(now, &full(VISITOR), "c", token, &hand("5"));
        let Payload::PromotionRequest(r) = requests(&a).pop().unwrap() else { panic!() };
        (r.force, r.user_id)
    };
    let token = VisitorToken { user_id: Some("u".into()), ..VisitorToken::default() };
    let off = ShadowConfig { promote_with_token: false, ..ShadowConfig::default() };
    assert_eq!(force(token.clone(), ShadowConfig::default()), (true, Some("u".into())));
    assert!(!force(token.clone(), off).0);
    assert!(!force(VisitorToken { tenant_mismatch: true, ..token }, ShadowConfig::default()).0);
    assert_eq!(force(VisitorToken::default(), ShadowConfig::default()), (false, None));
}

#[test]
fn hands_that_changed_while_the_main_node_was_out_of_reach_are_told_afterwards() {
    let (now, mut s) = open();
    visit(&mut s, now);
    let other = full("b@v1.meet.jitsi/r");
    s.visitor_joined(now, &other, "b", VisitorToken::default(), &hand("7"));
    s.main_down(now);
    assert!(s.visitor_presence(now, &full(VISITOR), &hand("5")).is_empty());
    assert!(s.visitor_left(now, &other).is_empty());
    let told = raised(&s.main_up(now, false));
    assert_eq!(told.iter().filter(|r| **r).count(), 1);
    assert_eq!(told.len(), 2);
}

#[test]
fn a_new_life_of_the_main_room_is_told_all_hands() {
    let (now, mut s) = open();
    visit(&mut s, now);
    s.visitor_presence(now, &full(VISITOR), &hand("5"));
    let mut cycle = |epoch: &str| {
        let sync = Sync { epoch: epoch.into(), n: 1, digest: 0 };
        update(&mut s, now, Update { sync: Some(sync.clone()), ..Update::default() });
        let a = s.handle_iq(now, &order(Payload::Connect(Settings::default(), Some(sync))));
        a.iter()
            .filter(|a| matches!(a, ShadowAction::Send(q) if matches!(VisitorsIq::parse(q), Ok(v) if matches!(v.payload, Payload::PromotionRequest(_)))))
            .count()
    };
    assert_eq!([cycle("a"), cycle("a"), cycle("b")], [0, 0, 1]);
}

#[test]
fn languages_are_summed_and_reported_at_most_once_a_second() {
    let (now, mut s) = open();
    let p = |lang: &str| {
        x(&format!(
            "<presence><jitsi_participant_requestingTranscription>true</jitsi_participant_requestingTranscription>\
             <jitsi_participant_translation_language>{lang}</jitsi_participant_translation_language></presence>"
        ))
    };
    let people: Vec<_> = (0..3).map(|i| full(&format!("u{i}@v1.meet.jitsi/r"))).collect();
    let a = s.visitor_joined(now, &people[0], "0", VisitorToken::default(), &p("fr"));
    let Payload::Transcription(t) = requests(&a).pop().unwrap() else { panic!() };
    assert_eq!((t.langs.join(","), t.count), ("fr".to_owned(), 1));
    assert!(s.visitor_joined(now, &people[1], "1", VisitorToken::default(), &p("")).is_empty());
    assert!(s.visitor_joined(now, &people[2], "2", VisitorToken::default(), &p("fr")).is_empty());
    let t = s.poll_timeout().unwrap();
    assert_eq!(t, now + Duration::from_secs(1));
    let a = s.tick(t);
    let Payload::Transcription(sum) = requests(&a).pop().unwrap() else { panic!() };
    assert_eq!((sum.langs.join(","), sum.count), ("en,fr".to_owned(), 3));
    let later = t + Duration::from_secs(5);
    let Payload::Transcription(sum) = requests(&s.visitor_left(later, &people[1])).pop().unwrap() else { panic!() };
    assert_eq!((sum.langs.join(","), sum.count), ("fr".to_owned(), 2));
}

#[test]
fn an_answer_to_a_raised_hand_goes_to_the_visitor_from_its_room() {
    let (now, mut s) = open();
    visit(&mut s, now);
    let answer = |jid: &str| {
        let r = PromotionResponse { jid: jid.into(), username: "n".into(), allow: true };
        let mut v = VisitorsIq::new(BareJid::parse(SHADOW).unwrap(), Payload::PromotionResponse(r));
        v.focus = Some("focus@auth.meet.example".into());
        wire::set("visitors.meet.example", "v1.meet.jitsi", "r1", &v)
    };
    let out = shadow_stanzas(&s.handle_iq(now, &answer(VISITOR)));
    assert_eq!(out[0].attr("from").unwrap(), SHADOW);
    assert_eq!(out[0].attr("to").unwrap(), VISITOR);
    let v = VisitorsIq::parse(&out[0]).unwrap();
    assert_eq!(v.focus.as_deref(), Some("focus@auth.meet.example"));
    assert!(matches!(v.payload, Payload::PromotionResponse(r) if r.allow && r.username == "n"));
    assert_eq!(out[1].ty().unwrap(), "result");
    assert_eq!(out[1].attr("to").unwrap(), "visitors.meet.example");
    let out = shadow_stanzas(&s.handle_iq(now, &answer("nobody@v1.meet.jitsi/x")));
    assert_eq!((out.len(), out[0].ty().unwrap().as_ref()), (1, "error"));
    let forged = answer(VISITOR).rewrite().set("from", "meet.example").stanza();
    assert_eq!(shadow_stanzas(&s.handle_iq(now, &forged))[0].ty().unwrap(), "error");
}

#[test]
fn the_room_ends_without_visitors_unless_one_comes_in_time() {
    let (now, mut s) = open();
    visit(&mut s, now);
    assert_eq!(s.poll_timeout(), None);
    s.visitor_left(now, &full(VISITOR));
    visit(&mut s, now);
    assert_eq!(s.poll_timeout(), None, "a join cancels it");
    s.visitor_left(now, &full(VISITOR));
    assert_eq!(s.poll_timeout(), Some(now + Duration::from_secs(15)));
    assert!(s.tick(now + Duration::from_secs(14)).is_empty());
    assert_eq!(destroyed(&s.tick(now + Duration::from_secs(15))), Some("No visitors."));
    assert_eq!(s.poll_timeout(), None);
}

#[test]
fn the_room_ends_without_a_stage_unless_somebody_comes_back() {
    let (now, mut s) = open();
    visit(&mut s, now);
    let ann = Person::new("ann");
    let gone = x("<presence type='unavailable'/>");
    remote(&mut s, now, &ann, "a");
    s.remote_presence(now, "ann", &ann.real, &gone);
    remote(&mut s, now, &ann, "a");
    assert_eq!(s.poll_timeout(), None);
    s.remote_presence(now, "ann", &ann.real, &gone);
    assert_eq!(destroyed(&s.tick(now + Duration::from_secs(5))), Some("Conference ended."));
}

#[test]
fn disconnect_ends_the_room_at_once_and_is_answered() {
    let (now, mut s) = open();
    let a = s.handle_iq(now, &order(Payload::Disconnect));
    assert_eq!(destroyed(&a), Some("Conference ended."));
    assert_eq!(shadow_stanzas(&a)[0].ty().unwrap(), "result");
    assert!(destroyed(&s.handle_iq(now, &order(Payload::Disconnect))).is_none(), "once");
}

#[test]
fn a_visitor_hears_its_place_in_line_and_nobody_elses() {
    let (now, mut s) = open();
    visit(&mut s, now);
    let room = BareJid::parse(SHADOW).unwrap();
    let list = vec![("gone@v1.meet.jitsi/x".to_owned(), 1), (VISITOR.to_owned(), 2)];
    let iq = VisitorsIq::new(room, Payload::Places(Places { list }));
    let told = |from: &str, s: &mut Shadow| {
        let a = s.handle_iq(now, &wire::set(from, "v1.meet.jitsi", "vl1/[acme]demo", &iq));
        shadow_stanzas(&a).into_iter().filter(|s| s.root().name() == "message").collect::<Vec<_>>()
    };
    assert!(told("evil.example", &mut s).is_empty());
    let [m] = &told("visitors.meet.example", &mut s)[..] else { panic!("one message") };
    assert_eq!((m.attr("to").unwrap().as_ref(), m.attr("from").unwrap().as_ref()), (VISITOR, SHADOW));
    assert_eq!(json_of(m), serde_json::json!({"type": "visitor-place", "place": 2}));
}
