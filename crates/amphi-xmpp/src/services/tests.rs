use std::time::Duration;

use bytes::Bytes;

use amphi_stanza::{FullJid, Limits, Stanza};

use super::*;

fn services() -> HostServices {
    HostServices::new(
        "meet.example",
        &[
            Identity::server("shard", "s<1>"),
            Identity::component("lobbyrooms", "lobby.meet.example"),
            Identity::component("room_metadata", "metadata.meet.example"),
            Identity::component("room_metadata", "second.meet.example"),
        ],
        &["urn:own".to_owned()],
        vec![Item { jid: "conference.meet.example".into(), name: None }],
        vec![
            ExternalService {
                ty: "turns".into(),
                transport: Some("tcp".into()),
                host: "turn.example".into(),
                port: Some(443),
                credentials: Credentials::Secret {
                    secret: "s3cret".into(),
                    ttl: Duration::from_secs(86_400),
                    user: Some("amphi".into()),
                },
            },
            ExternalService {
                ty: "stun".into(),
                transport: None,
                host: "turn.example".into(),
                port: Some(3478),
                credentials: Credentials::None,
            },
        ],
    )
}

fn ana() -> FullJid {
    FullJid::parse("ana@meet.example/r1").unwrap()
}

fn ask(xml: &str) -> Option<String> {
    let iq = Stanza::parse(Bytes::from(xml.to_owned()), &Limits::default()).unwrap();
    let answer = services().answer(&iq, &ana(), 1_767_139_200)?;
    Stanza::authored(answer.clone());
    Some(String::from_utf8(answer.to_vec()).unwrap())
}

fn get(to: &str, inner: &str) -> String {
    ask(&format!("<iq type='get' id='1' to='{to}'>{inner}</iq>")).unwrap()
}

#[test]
fn announcement_has_identities_first_and_each_kind_once() {
    let got = services().announcement(&ana(), RoomHints { rename: true, ..RoomHints::default() }).unwrap();
    assert_eq!(
        got,
        "<message xmlns='jabber:client' from='meet.example' to='ana@meet.example/r1'>\
         <query xmlns='http://jabber.org/protocol/disco#info'>\
         <identity category='server' type='shard' name='s&lt;1&gt;'/>\
         <identity category='component' type='lobbyrooms' name='lobby.meet.example'/>\
         <identity category='component' type='room_metadata' name='metadata.meet.example'/>\
         <feature var='urn:own'/>\
         <feature var='http://jitsi.org/protocol/breakout_rooms#rename'/></query></message>"
    );
    Stanza::authored(got);
}

#[test]
fn announcement_tells_of_the_lobby() {
    let hints = RoomHints { display_name_required: true, lobby_disabled: true, rename: false };
    let got = services().announcement(&ana(), hints).unwrap();
    let got = std::str::from_utf8(&got).unwrap();
    assert!(got.contains("type='DISABLED_lobbyrooms' name='lobby.meet.example'"));
    assert!(got.contains("<feature var='http://jitsi.org/protocol/lobbyrooms#displayname_required'/>"));
    assert!(!got.contains("#rename"));
}

#[test]
fn nothing_to_announce_is_no_message() {
    let s = HostServices::new("auth.meet.example", &[], &[], vec![], vec![]);
    assert_eq!(s.announcement(&ana(), RoomHints::default()), None);
}

#[test]
fn ping_to_host_and_account_is_answered() {
    assert_eq!(
        get("meet.example", "<ping xmlns='urn:xmpp:ping'/>"),
        "<iq xmlns='jabber:client' type='result' id='1' from='meet.example' to='ana@meet.example/r1'/>"
    );
    assert!(get("ana@meet.example", "<ping xmlns='urn:xmpp:ping'/>").contains("type='result'"));
    assert_eq!(
        ask("<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>").unwrap(),
        "<iq xmlns='jabber:client' type='result' id='1' to='ana@meet.example/r1'/>"
    );
}

#[test]
fn disco_info_of_the_host_has_what_was_announced() {
    let got = get("meet.example", "<query xmlns='http://jabber.org/protocol/disco#info'/>");
    assert!(got.contains("<query xmlns='http://jabber.org/protocol/disco#info'><identity category='server' type='im'"));
    for want in [
        "<identity category='component' type='room_metadata' name='metadata.meet.example'/>",
        "<feature var='urn:xmpp:ping'/>",
        "<feature var='urn:own'/>",
    ] {
        assert!(got.contains(want), "{want} in {got}");
    }
    assert!(!got.contains("second.meet.example"));
}

#[test]
fn disco_of_an_unknown_node_is_not_found() {
    for ns in ["info", "items"] {
        let got =
            get("meet.example", &format!("<query xmlns='http://jabber.org/protocol/disco#{ns}' node='commands'/>"));
        assert!(got.contains("type='error'") && got.contains("<item-not-found"), "{got}");
    }
}

#[test]
fn disco_of_the_account_tells_nothing_of_the_host() {
    let got = get("ana@meet.example", "<query xmlns='http://jabber.org/protocol/disco#info'/>");
    assert!(got.contains("category='account'") && !got.contains("metadata"), "{got}");
    let got = get("ana@meet.example", "<query xmlns='http://jabber.org/protocol/disco#items'/>");
    assert!(got.ends_with("<query xmlns='http://jabber.org/protocol/disco#items'/></iq>"), "{got}");
}

#[test]
fn disco_items_lists_components() {
    let got = get("meet.example", "<query xmlns='http://jabber.org/protocol/disco#items'/>");
    assert!(got.contains("<item jid='conference.meet.example'/>"));
}

#[test]
fn turn_services_come_in_the_version_that_was_asked_for() {
    for v in ["1", "2"] {
        let got = get("meet.example", &format!("<services xmlns='urn:xmpp:extdisco:{v}'/>"));
        assert!(got.contains(&format!(
            "<services xmlns='urn:xmpp:extdisco:{v}'><service type='turns' transport='tcp' host='turn.example' \
             port='443' username='1767225600:amphi' password='"
        )));
        assert!(got.contains("expires='2026-01-01T00:00:00Z' restricted='1'/>"));
        assert!(got.contains("<service type='stun' host='turn.example' port='3478'/>"));
    }
    let got = get("meet.example", "<services xmlns='urn:xmpp:extdisco:2' type='stun'/>");
    assert!(!got.contains("turns") && got.contains("<service type='stun'"), "{got}");
}

#[test]
fn credentials_of_one_service() {
    let ask =
        |inner: &str| get("meet.example", &format!("<credentials xmlns='urn:xmpp:extdisco:2'>{inner}</credentials>"));
    let got = ask("<service type='turns' host='turn.example' port='443'/>");
    assert!(got.contains("<credentials xmlns='urn:xmpp:extdisco:2'><service type='turns'") && !got.contains("'stun'"));
    assert!(ask("<service type='turn' host='turn.example'/>").contains("<item-not-found"));
    assert!(ask("<service type='turns' host='turn.example' port='444'/>").contains("<item-not-found"));
    assert!(ask("<service host='turn.example'/>").contains("<bad-request"));
    assert!(ask("").contains("<bad-request"));
}

#[test]
fn session_request_succeeds_and_second_bind_does_not() {
    let got = ask("<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>").unwrap();
    assert!(got.contains("type='result'"));
    let got = ask("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>").unwrap();
    assert!(got.contains("<error type='cancel'><not-allowed"), "{got}");
}

#[test]
fn whatever_is_unknown_is_unavailable() {
    for (ty, xml) in [
        ("get", "<query xmlns='jabber:iq:roster'/>"),
        ("set", "<enable xmlns='urn:xmpp:carbons:2'/>"),
        ("set", "<ping xmlns='urn:xmpp:ping'/>"),
        ("get", "<services xmlns='urn:xmpp:extdisco:2'/>"),
    ] {
        let got = ask(&format!("<iq type='{ty}' id='1'>{xml}</iq>")).unwrap();
        assert_eq!(
            got,
            "<iq xmlns='jabber:client' type='error' id='1' to='ana@meet.example/r1'><error type='cancel'>\
             <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        );
    }
}

#[test]
fn malformed_requests_get_an_error_and_answers_get_nothing() {
    let ping = "<ping xmlns='urn:xmpp:ping'/>";
    for bad in [
        format!("<iq type='get'>{ping}</iq>"),
        "<iq type='get' id='1'/>".into(),
        format!("<iq type='get' id='1'>{ping}{ping}</iq>"),
        format!("<iq type='odd' id='1'>{ping}</iq>"),
        format!("<iq id='1'>{ping}</iq>"),
    ] {
        assert!(ask(&bad).unwrap().contains("<bad-request"), "{bad}");
    }
    assert!(ask(&format!("<iq type='get' id='1' to='a@'>{ping}</iq>")).unwrap().contains("<jid-malformed"));
    assert_eq!(ask("<iq type='result' id='1'/>"), None);
    assert_eq!(ask("<iq type='error' id='1'/>"), None);
    assert_eq!(ask("<message/>"), None);
}
