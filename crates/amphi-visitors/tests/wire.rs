//! Wire forms: what is written is what the specification shows, and is read back the same.

mod common;

use amphi_stanza::{BareJid, Condition, Stanza};
use amphi_visitors::wire::{
    self, Checkpoint, Line, ModeratorJson, Payload, PromotionRequest, PromotionResponse, Settings, SharedFile, Support,
    Sync, TranscriptionLanguages, Update, VisitorsIq, WireError,
};
use common::{ROOM, SHADOW, x};
use proptest::prelude::*;

fn iq(room: &str, payload: Payload) -> VisitorsIq {
    VisitorsIq::new(BareJid::parse(room).unwrap(), payload)
}

fn written(from: &str, to: &str, id: &str, v: &VisitorsIq) -> String {
    let s = wire::set(from, to, id, v);
    assert_eq!(VisitorsIq::parse(&s).unwrap(), *v, "reads what it wrote: {s}");
    s.to_string().replace(" xmlns='jabber:client'", "")
}

fn sync() -> Sync {
    Sync { epoch: "e1".into(), n: 7, digest: 0xabcd }
}

#[test]
fn an_update_is_written_as_in_the_specification() {
    let u = Update {
        settings: Settings {
            password: None,
            lobby: Some(false),
            meeting_id: Some("5b0c".into()),
            created: Some(1_767_225_600_000),
            allow_unauthenticated: None,
        },
        moderators: Some(vec!["9f3c1a7e".into(), "77aa01bc".into()]),
        files: Some(vec![SharedFile { id: "f1".into(), json: r#"{"fileId":"f1","fileName":"a.pdf"}"#.into() }]),
        polls: Some(r#"{"command":"old-polls","type":"polls","polls":[]}"#.into()),
        sync: None,
        partial: false,
    };
    let text = written("meet.example", "conference.v1.meet.jitsi", "u1", &iq(SHADOW, Payload::Update(Box::new(u))));
    assert_eq!(
        text.replace("&quot;", "\""),
        "<iq type='set' from='meet.example' to='conference.v1.meet.jitsi' id='u1'>\
         <visitors xmlns='jitsi:visitors' room='[acme]demo@conference.v1.meet.jitsi'>\
         <update password='' lobby='false' meetingId='5b0c' createdTimestamp='1767225600000'>\
         <moderators><item epId='9f3c1a7e'/><item epId='77aa01bc'/></moderators>\
         <files><file id='f1'>{\"fileId\":\"f1\",\"fileName\":\"a.pdf\"}</file></files>\
         <polls>{\"command\":\"old-polls\",\"type\":\"polls\",\"polls\":[]}</polls>\
         </update></visitors></iq>"
    );
}

#[test]
fn connect_and_disconnect_are_written_as_in_the_specification() {
    let s = Settings { password: Some("p&q".into()), lobby: Some(true), ..Settings::default() };
    let text = written("meet.example", "conference.v1.meet.jitsi", "c", &iq(SHADOW, Payload::Connect(s, None)));
    assert!(text.contains("<connect password='p&amp;q' lobby='true'/>"), "{text}");
    let text = written("meet.example", "conference.v1.meet.jitsi", "d", &iq(SHADOW, Payload::Disconnect));
    assert!(text.contains("<disconnect password=''/>"), "{text}");
}

#[test]
fn a_promotion_request_is_written_as_in_the_specification() {
    let r = PromotionRequest {
        jid: "c0ffee00-1@v1.meet.jitsi/Ab".into(),
        time: Some(1_767_225_600_000),
        user_id: Some("u-17".into()),
        group_id: Some("g-2".into()),
        force: false,
        nick: Some("Ann".into()),
    };
    assert_eq!(
        written("v1.meet.jitsi", "visitors.meet.example", "p7", &iq(ROOM, Payload::PromotionRequest(r))),
        "<iq type='set' from='v1.meet.jitsi' to='visitors.meet.example' id='p7'>\
         <visitors xmlns='jitsi:visitors' room='[acme]demo@conference.meet.example'>\
         <promotion-request jid='c0ffee00-1@v1.meet.jitsi/Ab' time='1767225600000' userId='u-17' groupId='g-2' \
         forcePromote='false'/>\
         <nick xmlns='http://jabber.org/protocol/nick'>Ann</nick></visitors></iq>"
    );
}

#[test]
fn a_lowered_hand_of_somebody_who_left_has_only_the_address() {
    let r = PromotionRequest { jid: "a@v1.meet.jitsi/b".into(), ..PromotionRequest::default() };
    let text = written("v1.meet.jitsi", "visitors.meet.example", "p", &iq(ROOM, Payload::PromotionRequest(r)));
    assert!(text.contains("<promotion-request jid='a@v1.meet.jitsi/b'/></visitors>"), "{text}");
}

#[test]
fn a_promotion_response_carries_its_own_namespace_for_the_client() {
    let r = PromotionResponse { jid: "a@v1.meet.jitsi/b".into(), username: "0b6d".into(), allow: true };
    let mut v = iq(SHADOW, Payload::PromotionResponse(r));
    v.focus = Some("focus@auth.meet.example".into());
    assert_eq!(
        written("visitors.meet.example", "v1.meet.jitsi", "r1", &v),
        "<iq type='set' from='visitors.meet.example' to='v1.meet.jitsi' id='r1'>\
         <visitors xmlns='jitsi:visitors' room='[acme]demo@conference.v1.meet.jitsi' focusjid='focus@auth.meet.example'>\
         <promotion-response xmlns='jitsi:visitors' jid='a@v1.meet.jitsi/b' username='0b6d' allow='true'/>\
         </visitors></iq>"
    );
}

#[test]
fn allow_is_read_in_any_case() {
    let s = x("<iq type='set' id='1'><visitors xmlns='jitsi:visitors' room='r@m'>\
               <promotion-response jid='a@b/c' username='u' allow='TRUE'/></visitors></iq>");
    let Payload::PromotionResponse(r) = VisitorsIq::parse(&s).unwrap().payload else { panic!() };
    assert!(r.allow);
}

#[test]
fn transcription_languages_are_written_as_in_the_specification() {
    let t = TranscriptionLanguages { langs: vec!["en".into(), "fr".into()], count: 7 };
    let text = written("v1.meet.jitsi", "visitors.meet.example", "t", &iq(ROOM, Payload::Transcription(t)));
    assert!(text.contains("<transcription-languages langs='en,fr' count='7'/>"), "{text}");
}

#[test]
fn the_focus_may_connect_and_disconnect_several_nodes_in_one_request() {
    let s = x("<iq type='get' from='focus@auth.meet.example/f' to='visitors.meet.example' id='1'>\
               <visitors xmlns='jitsi:visitors' room='demo@conference.acme.meet.example'>\
               <connect-vnode xmlns='jitsi:visitors' vnode='v1'/><disconnect-vnode vnode='v2'/></visitors></iq>");
    let v = VisitorsIq::parse(&s).unwrap();
    assert_eq!(v.room, "demo@conference.acme.meet.example");
    assert_eq!(v.payload, Payload::Vnodes(vec![("v1".into(), true), ("v2".into(), false)]));
    written("a", "b", "1", &v);
}

#[test]
fn our_extension_is_read_back_and_keeps_the_standard_part_readable() {
    let u = Update { sync: Some(sync()), partial: true, moderators: Some(vec![]), ..Update::default() };
    written("a", "b", "1", &iq(SHADOW, Payload::Update(Box::new(u))));
    let text = written("a", "b", "2", &iq(SHADOW, Payload::Connect(Settings::default(), Some(sync()))));
    assert!(text.contains("<connect password=''><sync xmlns='urn:amphi:visitors:0' epoch='e1' n='7'"), "{text}");
    written("a", "b", "3", &iq(SHADOW, Payload::Checkpoint(Checkpoint { epoch: "e".into(), digest: u64::MAX })));
    written("a", "b", "4", &iq(ROOM, Payload::Resync));
}

#[test]
fn a_result_of_ours_tells_the_last_line_and_a_stock_one_nothing() {
    let q = x("<iq type='set' from='meet.example' to='conference.v1.meet.jitsi' id='vl3/demo'/>");
    let s = Support { line: Some(Line { epoch: "e".into(), seq: 9 }) };
    let r = wire::result_with(&q, &s);
    assert_eq!(r.attr("to").unwrap(), "meet.example");
    assert_eq!(r.id().unwrap(), "vl3/demo");
    assert_eq!(wire::support_of(&r), Some(s));
    assert_eq!(wire::support_of(&wire::result_with(&q, &Support::default())), Some(Support::default()));
    assert_eq!(wire::support_of(&wire::result(&q)), None);
}

#[test]
fn the_id_of_a_link_iq_names_the_room() {
    let room = BareJid::parse(ROOM).unwrap();
    assert_eq!(wire::room_of_link_id(&wire::link_id(12, &room)), Some("[acme]demo"));
    for id in ["", "vl", "vlx/demo", "12/demo", "vl/demo"] {
        assert_eq!(wire::room_of_link_id(id), None, "{id}");
    }
}

#[test]
fn what_is_no_request_of_this_protocol_is_left_to_others() {
    for s in [
        "<message type='set'><visitors xmlns='jitsi:visitors' room='r@m'/></message>",
        "<iq type='result' id='1'><visitors xmlns='jitsi:visitors' room='r@m'/></iq>",
        "<iq type='set' id='1'><visitors xmlns='other' room='r@m'/></iq>",
    ] {
        assert_eq!(VisitorsIq::parse(&x(s)), Err(WireError::NotVisitors), "{s}");
    }
}

#[test]
fn bad_requests_say_what_is_wrong() {
    let parse = |inner: &str, room: &str| {
        VisitorsIq::parse(&x(&format!(
            "<iq type='set' id='1'><visitors xmlns='jitsi:visitors' {room}>{inner}</visitors></iq>"
        )))
    };
    assert_eq!(parse("<connect/>", ""), Err(WireError::Room));
    assert_eq!(parse("<connect/>", "room='r@m/n'"), Err(WireError::Room));
    assert_eq!(parse("<dance/>", "room='r@m'"), Err(WireError::Unknown));
    assert_eq!(parse("<promotion-request time='1'/>", "room='r@m'"), Err(WireError::Value("jid")));
    assert_eq!(parse("<transcription-languages count='-1'/>", "room='r@m'"), Err(WireError::Value("count")));
    let bad = parse("<connect><sync xmlns='urn:amphi:visitors:0' epoch='' n='1' digest='0'/></connect>", "room='r@m'");
    assert_eq!(bad, Err(WireError::Value("epoch")));
    assert_eq!(WireError::Unknown.stanza_error().condition, Condition::FeatureNotImplemented);
}

#[test]
fn numbers_that_another_peer_writes_with_a_fraction_are_read() {
    let s = x("<iq type='set' id='1'><visitors xmlns='jitsi:visitors' room='r@m'>\
               <connect createdTimestamp='1767225600000.0' lobby='maybe'/></visitors></iq>");
    let Payload::Connect(c, _) = VisitorsIq::parse(&s).unwrap().payload else { panic!() };
    assert_eq!((c.created, c.lobby), (Some(1_767_225_600_000), None));
}

#[test]
fn a_line_mark_is_taken_off_before_a_client_sees_it() {
    let s = x("<message><body>a</body><line xmlns='urn:amphi:visitors:0' epoch='e' seq='4'/></message>");
    assert_eq!(wire::line_of(&s), Some(Line { epoch: "e".into(), seq: 4 }));
    assert_eq!(wire::without_line(&s).root().inner(), "<body>a</body>");
}

#[test]
fn moderators_messages_are_read_and_others_left_alone() {
    let read = |t| wire::moderator_json(t);
    assert_eq!(
        read(r#"{"type":"visitors","action":"promotion-response","approved":true,"id":"a@b/c"}"#),
        Ok(Some(ModeratorJson::PromotionResponse { approved: true, ids: vec!["a@b/c".into()] }))
    );
    assert_eq!(
        read(r#"{"type":"visitors","action":"promotion-response","approved":false,"ids":["a","b"]}"#),
        Ok(Some(ModeratorJson::PromotionResponse { approved: false, ids: vec!["a".into(), "b".into()] }))
    );
    assert_eq!(
        read(r#"{"type":"visitors","action":"demote-request","id":"e1","actor":"e2"}"#),
        Ok(Some(ModeratorJson::Demote { id: "e1".into(), actor: "e2".into() }))
    );
    for other in [r#"{"type":"polls","id":7}"#, "not json", r#"{"type":7}"#, "[]", r#"{"id":"x"}"#] {
        assert_eq!(read(other), Ok(None), "{other}");
    }
    for bad in [
        r#"{"type":"visitors","action":"promotion-response","approved":true}"#,
        r#"{"type":"visitors","action":"promotion-response","id":7}"#,
        r#"{"type":"visitors","action":"demote-request","id":"x"}"#,
        r#"{"type":"visitors","action":"dance"}"#,
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_notice_to_moderators_is_the_one_of_the_specification() {
    assert_eq!(
        wire::promotion_notice("demo@conference.acme.meet.example", "c0ffee00-1@v1.meet.jitsi/Ab", Some("Ann"), true),
        r#"{"type":"visitors","room":"demo@conference.acme.meet.example","action":"promotion-request","nick":"Ann","from":"c0ffee00-1@v1.meet.jitsi/Ab","on":true}"#
    );
}

#[test]
fn arbitrary_text_survives_every_field() {
    let odd = "a<b>&'\"\u{e9}\n\t]]>";
    let u = Update {
        settings: Settings { password: Some(odd.into()), meeting_id: Some(odd.into()), ..Settings::default() },
        moderators: Some(vec![odd.into()]),
        files: Some(vec![SharedFile { id: odd.into(), json: odd.into() }]),
        polls: Some(odd.into()),
        ..Update::default()
    };
    let s: Stanza = wire::set("a", "b", "i", &iq(SHADOW, Payload::Update(Box::new(u.clone()))));
    assert_eq!(VisitorsIq::parse(&s).unwrap().payload, Payload::Update(Box::new(u)));
}

fn element() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "connect-vnode",
        "disconnect-vnode",
        "update",
        "connect",
        "disconnect",
        "promotion-request",
        "promotion-response",
        "transcription-languages",
        "checkpoint",
        "resync",
        "sync",
        "moderators",
        "item",
        "files",
        "file",
        "polls",
        "nick",
        "partial",
    ]);
    let attrs = prop::sample::select(vec![
        "vnode",
        "password",
        "lobby",
        "meetingId",
        "createdTimestamp",
        "epId",
        "id",
        "jid",
        "time",
        "userId",
        "groupId",
        "forcePromote",
        "username",
        "allow",
        "langs",
        "count",
        "epoch",
        "n",
        "digest",
        "allowUnauthenticatedAccess",
    ]);
    let values =
        prop::sample::select(vec!["", "0", "-1", "1", "true", "false", "a,b,,a", "99999999999999999999", "ff", "x y"]);
    let spaces =
        prop::sample::select(vec!["jitsi:visitors", "urn:amphi:visitors:0", "http://jabber.org/protocol/nick"]);
    let leaf = (
        names.clone(),
        spaces.clone(),
        prop::collection::btree_map(attrs.clone(), values.clone(), 0..6),
        Just(String::new()),
    );
    let write = |(name, ns, attrs, inner): (&str, &str, std::collections::BTreeMap<&str, &str>, String)| {
        let attrs: String = attrs.iter().map(|(k, v)| format!(" {k}='{v}'")).collect();
        format!("<{name} xmlns='{ns}'{attrs}>{inner}</{name}>")
    };
    leaf.prop_map(write).prop_recursive(3, 24, 4, move |inner| {
        let inner = prop::collection::vec(inner, 0..4).prop_map(|v| v.concat());
        (names.clone(), spaces.clone(), prop::collection::btree_map(attrs.clone(), values.clone(), 0..6), inner)
            .prop_map(write)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_understood_is_written_so_that_it_is_understood_the_same(
        ty in prop::sample::select(vec!["get", "set"]),
        inner in prop::collection::vec(element(), 0..4),
    ) {
        let s = x(&format!(
            "<iq type='{ty}' id='1'><visitors xmlns='jitsi:visitors' room='{ROOM}'>{}</visitors></iq>", inner.concat()
        ));
        if let Ok(v) = VisitorsIq::parse(&s) {
            prop_assert_eq!(VisitorsIq::parse(&wire::set("a", "b", "1", &v)).unwrap(), v);
        }
    }
}
