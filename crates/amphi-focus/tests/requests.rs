//! Requests over XMPP, errors, malformed input, and everything else a peer may ask the focus.

mod world;

use std::time::Duration;

use amphi_focus::{AuthConfig, FocusConfig, NodeId};
use world::{World, config, stanza};

const FROM: &str = "focus.meet.example/ana@meet.example/x";

fn conference_iq(w: &mut World, from: &str, conference: &str) -> String {
    w.clear();
    w.deliver(
        &NodeId::Main,
        &format!("<iq type='set' id='q1' from='{from}' to='focus@auth.meet.example/focus'>{conference}</iq>"),
    );
    w.sent_to(&NodeId::Main).into_iter().find(|x| x.contains("id='q1'")).unwrap_or_default().to_owned()
}

fn ask(attrs: &str) -> String {
    format!(
        "<conference xmlns='http://jitsi.org/protocol/focus' {attrs}><property name='visitors-version' value='1'/></conference>"
    )
}

#[test]
fn a_request_through_the_proxy_is_answered_to_the_proxy() {
    let mut w = World::new(config(1));
    let answer = conference_iq(&mut w, FROM, &ask("room='talk@conference.meet.example' machine-uid='m1'"));
    let a = stanza(&answer);
    assert_eq!(a.ty().as_deref(), Some("result"));
    assert_eq!(a.attr("to").as_deref(), Some(FROM));
    assert_eq!(a.attr("from").as_deref(), Some("focus@auth.meet.example/focus"));
    let c = a.child("conference", "http://jitsi.org/protocol/focus").unwrap();
    assert_eq!(c.attr("ready").as_deref(), Some("true"));
    assert_eq!(c.attr("room").as_deref(), Some("talk@conference.meet.example"));
    assert_eq!(c.attr("focusjid").as_deref(), Some("focus@auth.meet.example"));
    assert!(answer.contains("name='authentication' value='false'"));
}

#[test]
fn a_seat_that_was_asked_for_over_xmpp_belongs_to_that_address() {
    let mut c = config(1);
    c.max_participants = 2;
    let mut w = World::new(c);
    conference_iq(&mut w, FROM, &ask("room='talk@conference.meet.example'"));
    // Somebody else who skips the request does not take it.
    w.join("bo");
    assert_eq!((w.focus.conferences()[0].stage, w.focus.conferences()[0].seats_pending), (1, 1));
    w.join("ana");
    assert_eq!((w.focus.conferences()[0].stage, w.focus.conferences()[0].seats_pending), (2, 0));
}

#[test]
fn malformed_requests_get_an_error() {
    let mut w = World::new(config(1));
    for attrs in [
        "",
        "room=''",
        "room='talk'",
        "room='a@b@conference.meet.example'",
        "room='talk@conference.meet.example/x'",
        "room='talk@conference.evil.example'",
        "room='jvbbrewery@internal.auth.meet.example'",
        "room='talk@conference.a.b.meet.example'",
    ] {
        let answer = conference_iq(&mut w, FROM, &ask(attrs));
        assert!(answer.contains("type='error'") && answer.contains("<bad-request "), "{attrs}: {answer}");
    }
    assert!(!w.has_conference());
    let answer = conference_iq(&mut w, "focus.meet.example/@@", &ask("room='talk@conference.meet.example'"));
    assert!(answer.contains("<bad-request "), "{answer}");
}

fn secure() -> FocusConfig {
    let mut c = config(1);
    c.auth = AuthConfig::Xmpp { domain: "meet.example".into(), lifetime: Duration::from_secs(3600), auto_login: true };
    c
}

#[test]
fn with_authentication_strangers_create_no_rooms_but_enter_open_ones() {
    let mut w = World::new(secure());
    let guest = "focus.meet.example/g@guest.meet.example/x";
    let room = "room='talk@conference.meet.example' machine-uid='m1'";
    let answer = conference_iq(&mut w, guest, &ask(room));
    assert!(answer.contains("<not-authorized "), "{answer}");
    let answer = conference_iq(&mut w, FROM, &ask(room));
    assert!(answer.contains("identity='ana@meet.example'") && answer.contains("session-id='"), "{answer}");
    assert!(answer.contains("name='authentication' value='true'"));
    let answer = conference_iq(&mut w, guest, &ask("room='talk@conference.meet.example' machine-uid='m2'"));
    assert!(answer.contains("ready='true'"), "{answer}");
    let answer = conference_iq(&mut w, guest, &ask(&format!("{room} session-id='nope'")));
    assert!(answer.contains("<session-invalid ") && answer.contains("<not-acceptable "), "{answer}");
}

#[test]
fn authenticated_members_become_owners_and_nobody_else() {
    let mut w = World::new(secure());
    conference_iq(
        &mut w,
        "focus.meet.example/ana@meet.example/r",
        &ask("room='talk@conference.meet.example' machine-uid='m'"),
    );
    w.join("bo");
    w.join("ana");
    assert_eq!(w.count_sent(&NodeId::Main, "affiliation='owner' jid='ana@meet.example'"), 1);
    assert_eq!(w.count_sent(&NodeId::Main, "affiliation='owner' jid='bo@meet.example'"), 0);
}

#[test]
fn over_http_an_invalid_session_has_the_text_that_clients_look_for() {
    let mut w = World::new(secure());
    let body = br#"{"room":"talk@conference.meet.example","machineUid":"m","sessionId":"nope"}"#;
    let request = amphi_focus::ConferenceRequest::from_json(body, None).unwrap();
    w.handle(amphi_focus::Input::ConferenceRequest { id: 100, request, peer: None });
    let e = w.answers[&100].clone().unwrap_err();
    assert_eq!(e.http(), (400, "Bad request: 400 invalid-session".to_owned()));
    let id = w.ask("m");
    assert_eq!(w.answers[&id].clone().unwrap_err().http().0, 403);
}

#[test]
fn questions_are_answered_and_unknown_ones_get_an_error() {
    let mut w = World::new(config(1));
    for (content, expected) in [
        ("<query xmlns='http://jabber.org/protocol/disco#info'/>", "https://jitsi.org/meet/jicofo/terminate-restart"),
        ("<query xmlns='http://jabber.org/protocol/disco#items'/>", "type='result'"),
        ("<ping xmlns='urn:xmpp:ping'/>", "type='result'"),
        ("<query xmlns='jabber:iq:version'/>", "<version>"),
        ("<jingle xmlns='urn:xmpp:jingle:1'/>", "<service-unavailable "),
        ("", "<service-unavailable "),
    ] {
        w.clear();
        w.deliver(&NodeId::Main, &format!("<iq type='get' id='g1' from='a@b/c' to='f@d/e'>{content}</iq>"));
        let answer = w.sent_to(&NodeId::Main)[0].to_owned();
        assert!(answer.contains(expected) && answer.contains("to='a@b/c'") && answer.contains("id='g1'"), "{answer}");
    }
}

#[test]
fn the_proxy_may_subscribe_and_others_may_not() {
    let mut w = World::new(config(1));
    w.clear();
    w.deliver(&NodeId::Main, "<presence type='subscribe' from='focus.meet.example'/>");
    assert_eq!(w.count_sent(&NodeId::Main, "type='subscribed'"), 1);
    w.deliver(&NodeId::Main, "<presence type='subscribe' from='eve@meet.example'/>");
    assert_eq!(w.count_sent(&NodeId::Main, "type='unsubscribed'"), 1);
}

#[test]
fn metadata_and_answers_count_only_from_whom_they_must_come() {
    let mut w = World::with_first(config(1));
    w.deliver(
        &NodeId::Main,
        "<message from='eve@meet.example/x'><json-message xmlns='http://jitsi.org/jitmeet' room='talk@conference.meet.example'>{\"type\":\"room_metadata\",\"metadata\":{\"participants\":[]}}</json-message></message>",
    );
    assert_eq!(w.go("m1"), "main");
    w.faults.connect_mute = true;
    let id = w.ask_visitor("m2");
    let iq = w.sent_to(&NodeId::Main).into_iter().rfind(|x| x.contains("connect-vnode")).unwrap().to_owned();
    let iq = stanza(&iq).id().unwrap().into_owned();
    w.deliver(&NodeId::Main, &format!("<iq type='result' id='{iq}' from='eve@meet.example/x'/>"));
    w.deliver(&world::v(1), &format!("<iq type='result' id='{iq}' from='visitors.meet.example'/>"));
    assert_eq!(w.place(id), "none");
    w.deliver(&NodeId::Main, &format!("<iq type='result' id='{iq}' from='visitors.meet.example'/>"));
    assert_eq!(w.place(id), "v1");
}

#[test]
fn odd_stanzas_break_nothing() {
    let mut w = World::with_first(config(1));
    for xml in [
        "<presence/>",
        "<presence from='@'/>",
        "<presence from='talk@conference.meet.example'/>",
        "<presence from='talk@conference.meet.example/y'/>",
        "<presence type='unavailable' from='talk@conference.meet.example/nobody'/>",
        "<presence type='error' from='talk@conference.meet.example/n0'/>",
        "<presence from='other@conference.meet.example/n0'/>",
        "<iq/>",
        "<iq type='set' id='1'/>",
        "<iq type='result' id='zz-zz' from='a@b'/>",
        "<iq type='set' id='1' from='a@b/c'><conference xmlns='http://jitsi.org/protocol/focus'/></iq>",
        "<iq type='get' id='1' from='a@b/c'><login-url xmlns='http://jitsi.org/protocol/focus'/></iq>",
        "<iq type='set' id='1' from='a@b/c'><logout xmlns='http://jitsi.org/protocol/focus'/></iq>",
        "<message from='metadata.meet.example'><json-message xmlns='http://jitsi.org/jitmeet'>{</json-message></message>",
        "<message from='metadata.meet.example'><json-message xmlns='http://jitsi.org/jitmeet' room='@'>{}</json-message></message>",
        "<message/>",
        "<other xmlns='x'/>",
    ] {
        w.deliver(&NodeId::Main, xml);
        w.deliver(&world::v(1), xml);
        w.deliver(&world::v(9), xml);
    }
    assert!(w.has_conference());
    assert_eq!(w.go("m1"), "main");
}
