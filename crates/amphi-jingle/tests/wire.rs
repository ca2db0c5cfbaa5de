//! Forms that peers send, and forms that they must not send.

use amphi_jingle::colibri2::*;
use amphi_jingle::*;
use amphi_stanza::{Condition, Stanza, XmlWriter};

fn parse(xml: &str) -> Stanza {
    Stanza::parse(xml.to_owned().into(), &amphi_stanza::Limits::default()).unwrap()
}

fn jingle(xml: &str) -> Result<Jingle, ParseError> {
    Jingle::parse(parse(xml).root(), &Limits::default())
}

fn modify(inside: &str) -> Result<ConferenceModify, ParseError> {
    let xml = format!("<conference-modify xmlns='jitsi:colibri2' meeting-id='m'>{inside}</conference-modify>");
    ConferenceModify::parse(parse(&xml).root(), &Limits::default())
}

const ACCEPT: &str = "<jingle xmlns='urn:xmpp:jingle:1' action='session-accept' initiator='talk@conference.example.com/focus' \
 responder='a1@example.com/x' sid='5m3c0ffee'>
 <content creator='responder' name='audio' senders='both'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'>
   <payload-type id='111' name='opus' clockrate='48000' channels='2'/>
   <source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='2001' name='a1-a0'><parameter name='msid' value='a1-audio-0-1 7d'/></source></description>
  <transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='cl' pwd='cp' ice-generation='2'>
   <fingerprint xmlns='urn:xmpp:jingle:apps:dtls:0' hash='sha-256' setup='active'>AA:BB</fingerprint><rtcp-mux/></transport></content>
 <content name='video'><initial-last-n xmlns='jitsi:colibri2' value='5'/><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='video'>
   <source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='1' name='a1-v0' videoType='camera'/>
   <source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='2' name='a1-v0'/>
   <ssrc-group xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' semantics='fid'><source ssrc='1'/><source ssrc='2'/></ssrc-group></description></content>
 <content creator='responder' name='data'/>
 <group xmlns='urn:xmpp:jingle:apps:grouping:0' semantics='BUNDLE'><content name='audio'/></group></jingle>";

#[test]
fn a_clients_answer_is_understood() {
    let j = jingle(ACCEPT).unwrap();
    let s = j.sources().unwrap();
    assert_eq!((s.count(), s.group_count()), (3, 1));
    assert_eq!(s.audio.sources[0].msid.as_deref(), Some("a1-audio-0-1 7d"));
    assert_eq!(s.video.groups[0].semantics, Semantics::Fid);
    assert_eq!(j.contents[1].initial_last_n, Some(5));
    let t = j.transport().unwrap();
    assert_eq!((t.ice_generation(), t.fingerprints[0].setup), (Some(2), Some(Setup::Active)));
    let media = MediaSource::from_set("a1", &s);
    assert_eq!(media.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), ["a1-v0", "a1-a0"]);
    assert_eq!(media[0].media.groups.len(), 1);
}

#[test]
fn sources_may_be_outside_of_the_description_and_unknown_groups_are_refused() {
    let with = |inside: &str| {
        jingle(&format!(
            "<jingle xmlns='urn:xmpp:jingle:1' action='addsource' sid='s'><content name='video'>{inside}</content></jingle>"
        ))
    };
    let j = with("<source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='4294967295'/>").unwrap();
    assert_eq!((j.action, j.sources().unwrap().video.sources[0].ssrc), (Action::SourceAdd, u32::MAX));
    for bad in ["0", "4294967296", "-1", "x", ""] {
        assert!(with(&format!("<source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='{bad}'/>")).is_err(), "{bad}");
    }
    let group =
        with("<ssrc-group xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' semantics='ABC'><source ssrc='1'/></ssrc-group>");
    assert_eq!(group.unwrap_err(), ParseError::Unknown("ssrc-group semantics"));
}

#[test]
fn a_request_needs_its_ids_and_unknown_parts_are_ignored() {
    assert!(modify("<endpoint/>").is_err());
    assert!(modify("<relay create='true'/>").is_err());
    assert!(modify("<endpoint id='a'><media type='text'/></endpoint>").is_err());
    assert!(modify("<endpoint id='a'><transport><sctp role='both'/></transport></endpoint>").is_err());
    let m = modify(
        "<endpoint id='a' create='TRUE' later='1'><later/><capability name='later'/><sources/></endpoint><x xmlns='y'/>",
    );
    let m = m.unwrap();
    assert!(m.endpoints[0].create);
    assert_eq!(m.endpoints[0].sources, Some(Vec::new()));
    assert!(!m.create && !m.rtcstats_disabled);
}

#[test]
fn no_list_is_without_bound() {
    let l = Limits::default();
    let many = "<candidate ip='1.2.3.4' port='1' protocol='udp' type='host'/>".repeat(l.candidates + 1);
    let m = modify(&format!(
        "<endpoint id='a'><transport><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1'>{many}</transport></transport></endpoint>"
    ));
    assert_eq!(m.unwrap_err(), ParseError::TooMany("candidates"));
    let many = "<source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='1'/>".repeat(l.sources + 1);
    let m = modify(&format!(
        "<endpoint id='a'><sources><media-source type='video' id='x'>{many}</media-source></sources></endpoint>"
    ));
    assert_eq!(m.unwrap_err(), ParseError::TooMany("sources"));
    assert!(modify(&format!("<endpoint id='{}'/>", "x".repeat(l.value_bytes + 1))).is_err());
}

#[test]
fn errors_of_bridges_are_told_from_errors_on_the_way() {
    let e = ColibriError::stanza_error(
        Condition::ItemNotFound,
        Some(ErrorReason::UnknownEndpoint),
        Some("a<1"),
        Some("who?"),
    );
    let mut w = XmlWriter::new();
    w.open_ns("iq", "jabber:client").attr("type", "error");
    e.write(&mut w, None);
    let read = ColibriError::parse(&w.stanza());
    assert_eq!(read.condition, "item-not-found");
    assert_eq!((read.reason, read.endpoint.as_deref()), (Some(ErrorReason::UnknownEndpoint), Some("a<1")));
    let plain = parse(
        "<iq type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
    );
    assert_eq!(ColibriError::parse(&plain).reason, None);
}

#[test]
fn names_cannot_break_out_of_compact_sources() {
    let mut set = SourceSet::default();
    let name = r#"x","v":"d"},{"s":9,"n":"\"#.to_owned();
    set.audio.sources.push(Source { ssrc: 5, name: Some(name.clone()), ..Source::default() });
    let text = json::to_json([("o\"", &set)]);
    let map = json::from_json(&text, &Limits::default()).unwrap().unwrap();
    assert_eq!(map["o\""].audio.sources.len(), 1);
    assert_eq!(map["o\""].audio.sources[0].name, Some(name));
    assert!(text.starts_with(r#"{"sources":{"o\"":[[],[],[{"#), "{text}");
}
