//! What a focus and endpoints see of conferences, over real XML and in virtual time; the media plane is played by the test.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use amphi_jingle::Limits;
use amphi_jingle::colibri2::{ColibriError, ConferenceModified, ConferenceModify};
use amphi_media::conference::ConferenceConfig;
use amphi_media::ids::EndpointId;
use amphi_stanza::{Limits as XmlLimits, Stanza};
use bytes::Bytes;

use super::settings::{BridgeSettings, WebSockets};
use super::{Colibri, Input, Output, Peers, Shared, SocketId};
use crate::plane::command::{AddEndpoint, Command, Role};
use crate::plane::event::Event;
use crate::transport::{Certificate, Credentials, LocalAddress, PeerLimits, Restart, SendError};

struct World {
    now: Instant,
    colibri: Colibri,
    commands: Vec<Command>,
    texts: Vec<(SocketId, String)>,
    closed: Vec<(SocketId, u16, &'static str)>,
    dialing: Vec<EndpointId>,
    last: u64,
}

fn settings() -> BridgeSettings {
    let mut s = BridgeSettings::default();
    s.identity.relay_id = Some("edge-17.example.com".into());
    s.web_sockets = Some(WebSockets {
        bases: vec!["wss://edge-17.example.com".into()],
        relay_bases: Vec::new(),
        server_id: "edge-17".into(),
        ping: Duration::from_secs(15),
        idle: Duration::from_secs(60),
        sockets: 100,
    });
    s
}

fn world_with(settings: BridgeSettings) -> World {
    let addresses: Arc<[LocalAddress]> = Arc::new([LocalAddress {
        base: "10.0.0.5:10000".parse().unwrap(),
        public: Some("203.0.113.9:10000".parse().unwrap()),
    }]);
    let peers = Peers {
        certificate: Certificate::generate(SystemTime::now()).unwrap(),
        addresses,
        credentials: Box::new(|| Credentials::random("", 0)),
        limits: Arc::new(PeerLimits::default()),
    };
    let shared = Shared::new(Arc::new(settings), ConferenceConfig::default(), peers, [7; 32]);
    World {
        now: Instant::now(),
        colibri: Colibri::new(shared),
        commands: Vec::new(),
        texts: Vec::new(),
        closed: Vec::new(),
        dialing: Vec::new(),
        last: 0,
    }
}

fn world() -> World {
    world_with(settings())
}

fn iq(xml: &str) -> Stanza {
    let text = format!(
        "<iq xmlns='jabber:client' type='get' id='q9' from='jvbbrewery@internal.x/focus' to='jvb@auth.x/r'>{xml}</iq>"
    );
    Stanza::parse(Bytes::from(text), &XmlLimits::default()).unwrap()
}

const TRANSPORT: &str = "<transport ice-controlling='true'><sctp/></transport>";

fn endpoint(id: &str, more: &str) -> String {
    format!(
        "<endpoint id='{id}' create='true' {more}><media type='audio'><payload-type xmlns='urn:xmpp:jingle:apps:rtp:1' id='111' name='opus' clockrate='48000' channels='2'/></media>\
         {TRANSPORT}<sources/><capability name='source-names'/><capability name='ssrc-rewriting'/></endpoint>"
    )
}

fn modify(attrs: &str, content: &str) -> String {
    format!("<conference-modify xmlns='jitsi:colibri2' meeting-id='m1' {attrs}>{content}</conference-modify>")
}

impl World {
    fn pump(&mut self) -> Vec<(u64, Result<ConferenceModified, String>)> {
        let mut answers = Vec::new();
        while let Some(o) = self.colibri.poll_output() {
            match o {
                Output::Answer { id, result } => answers.push((
                    id,
                    result
                        .map(|a| *a)
                        .map_err(|refusal| refusal.stanza_error().answer(&iq("<x xmlns='y'/>")).unwrap().to_string()),
                )),
                Output::Plane(c) => self.commands.push(c),
                Output::Socket { socket, text } => self.texts.push((socket, text.to_string())),
                Output::CloseSocket { socket, code, reason } => self.closed.push((socket, code, reason)),
                Output::Dial { endpoint, .. } => self.dialing.push(endpoint),
                Output::HangUp { endpoint } => self.dialing.retain(|d| *d != endpoint),
            }
        }
        answers
    }

    fn feed(&mut self, input: Input) -> Vec<(u64, Result<ConferenceModified, String>)> {
        self.colibri.handle(self.now, input);
        self.pump()
    }

    /// Sends a request; answers that come at once.
    fn send(&mut self, xml: &str) -> Option<Result<ConferenceModified, String>> {
        let iq = iq(xml);
        let request = iq.children().next().unwrap();
        let request = Box::new(ConferenceModify::parse(request, &Limits::default()).unwrap());
        self.last += 1;
        let mut answers = self.feed(Input::Request { id: self.last, request });
        assert!(answers.len() <= 1 && answers.iter().all(|(id, _)| *id == self.last));
        answers.pop().map(|(_, a)| a)
    }

    #[track_caller]
    fn ok(&mut self, xml: &str) -> ConferenceModified {
        self.send(xml).expect("answered at once").unwrap_or_else(|e| panic!("{e}"))
    }

    /// Condition, reason and endpoint of a refusal.
    #[track_caller]
    fn refused(&mut self, xml: &str) -> (String, Option<String>, Option<String>) {
        let before = self.commands.len();
        let error = self.send(xml).expect("answered at once").expect_err("refused");
        assert_eq!(self.commands.len(), before, "something was applied");
        let parsed = ColibriError::parse(&Stanza::parse(Bytes::from(error), &XmlLimits::default()).unwrap());
        assert!(parsed.text.is_some(), "a text for people");
        (parsed.condition, parsed.reason.map(|r| r.as_str().to_owned()), parsed.endpoint)
    }

    #[track_caller]
    fn refused_as(&mut self, xml: &str, condition: &str, reason: Option<&str>) {
        let (c, r, _) = self.refused(xml);
        assert_eq!((c.as_str(), r.as_deref()), (condition, reason), "{xml}");
    }

    fn added(&self) -> Vec<&AddEndpoint> {
        self.commands.iter().filter_map(|c| if let Command::AddEndpoint(a) = c { Some(&**a) } else { None }).collect()
    }

    fn id_of(&self, n: usize) -> EndpointId {
        self.added()[n].id
    }

    fn pass(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.colibri.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.feed(Input::Tick);
        }
        self.now = end;
    }

    fn exists(&mut self) -> bool {
        self.send(&modify("", "")).unwrap().is_ok()
    }
}

fn with_meeting() -> World {
    let mut w = world();
    w.ok(&modify("create='true' name='talk@conference.x'", &endpoint("a", "")));
    w
}

// ---- creation ----------------------------------------------------------------------------------------------------------

#[test]
fn a_new_endpoint_is_told_transport_channel_and_feedback_sources() {
    let mut w = world();
    let a = w.ok(&modify("create='true' name='talk@conference.x'", &endpoint("77aa01ff", "stats-id='Lin'")));
    let sources = a.sources.unwrap();
    assert_eq!(sources.iter().map(|s| s.id.as_str()).collect::<Vec<_>>(), ["jvb-a0", "jvb-v0"]);
    let t = a.endpoints[0].transport.as_ref().unwrap();
    let ice = t.ice.as_ref().unwrap();
    assert!(ice.ufrag.as_ref().unwrap().len() >= 4 && ice.pwd.as_ref().unwrap().len() >= 22 && ice.rtcp_mux);
    assert_eq!(ice.fingerprints.len(), 1);
    assert_eq!(ice.fingerprints[0].setup, Some(amphi_jingle::Setup::Actpass));
    let kinds: Vec<_> = ice.candidates.iter().map(|c| (c.ty.as_str(), c.ip.as_str())).collect();
    assert_eq!(kinds, [("host", "10.0.0.5"), ("srflx", "203.0.113.9")]);
    assert!(ice.web_sockets[0].url.as_ref().unwrap().starts_with("wss://edge-17.example.com/colibri-ws/edge-17/"));
    assert_eq!(t.sctp.unwrap().port, Some(5000));
    assert!(matches!(w.commands[0], Command::CreateConference(_)));
    assert_eq!(w.added()[0].role, Role::Participant);
    assert!(w.added()[0].media.accepts_audio && !w.added()[0].media.accepts_video && w.added()[0].media.ssrc_rewriting);
}

#[test]
fn every_further_creation_repeats_the_feedback_sources_and_updates_have_no_transport() {
    let mut w = with_meeting();
    let first = w.ok(&modify("", &endpoint("b", "muc-role='visitor'"))).sources.unwrap();
    let second = w.ok(&modify("", &endpoint("c", ""))).sources.unwrap();
    assert_eq!(first, second);
    assert_eq!(w.added()[1].role, Role::Visitor);
    let update = w.ok(&modify("", "<endpoint id='a'><transport><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='Zq1x' pwd='cX0cX0cX0cX0cX0cX0cX0c'/></transport></endpoint>"));
    assert!(update.endpoints[0].transport.is_none() && update.sources.is_none());
    assert!(
        matches!(w.commands.last(), Some(Command::SetRemote { remote, .. }) if remote.ufrag.as_deref() == Some("Zq1x"))
    );
}

#[test]
fn private_addresses_are_for_those_who_can_use_them() {
    let mut s = settings();
    s.advertise_private = false;
    let mut w = world_with(s);
    let kinds = |a: &ConferenceModified| {
        let ice = a.endpoints[0].transport.as_ref().unwrap().ice.as_ref().unwrap();
        ice.candidates.iter().map(|c| c.ip.clone()).collect::<Vec<_>>()
    };
    let a = w.ok(&modify("create='true'", &endpoint("a", "")));
    assert_eq!(kinds(&a), ["203.0.113.9"]);
    let near = endpoint("b", "").replace("</endpoint>", "<capability name='private-address-connectivity'/></endpoint>");
    assert_eq!(kinds(&w.ok(&modify("", &near))), ["10.0.0.5", "203.0.113.9"]);
}

// ---- errors ------------------------------------------------------------------------------------------------------------

#[test]
fn conferences_are_created_once_and_known_afterwards() {
    let mut w = with_meeting();
    w.refused_as(&modify("create='true'", &endpoint("b", "")), "conflict", Some("conference_already_exists"));
    let other = |attrs: &str| format!("<conference-modify xmlns='jitsi:colibri2' meeting-id='m2' {attrs}/>");
    w.refused_as(&other(""), "item-not-found", Some("conference_not_found"));
    w.refused_as(&other("expire='true'"), "item-not-found", Some("conference_not_found"));
    w.refused_as(&other("create='true' name='no room@@'"), "bad-request", None);
    w.colibri.refuse_conferences(true);
    w.refused_as(&other("create='true'"), "service-unavailable", Some("graceful_shutdown"));
    w.ok(&modify("", &endpoint("b", "")));
}

#[test]
fn combinations_that_are_not_done_are_refused() {
    let mut w = with_meeting();
    w.ok(&modify("", &endpoint("b", "")));
    let feature = |w: &mut World, xml: &str| {
        w.refused_as(&modify("", xml), "feature-not-implemented", Some("feature_not_implemented"))
    };
    feature(&mut w, "<endpoint id='a' expire='true'/><relay id='r' expire='true'/>");
    feature(&mut w, "<relay id='r'/><relay id='s' expire='true'/>");
    feature(&mut w, &(endpoint("c", "") + &endpoint("d", "")));
    feature(&mut w, "<endpoint id='a'><sources/></endpoint><endpoint id='b' expire='true'/>");
    feature(&mut w, "<endpoint id='a'><transport/></endpoint><endpoint id='b' expire='true'/>");
    w.refused_as(
        &modify("", "<connects><connect url='wss://x' protocol='mediajson' type='recorder' create='true'/></connects>"),
        "feature-not-implemented",
        None,
    );
    w.ok(&modify("", "<connects/>"));
}

#[test]
fn endpoints_are_refused_for_what_is_missing_or_wrong() {
    let mut w = with_meeting();
    w.refused_as(&modify("", &endpoint("a", "")), "conflict", None);
    w.refused_as(
        &modify("", "<endpoint id='b' create='true'><capability name='source-names'/></endpoint>"),
        "bad-request",
        None,
    );
    w.refused_as(&modify("", &format!("<endpoint id='b' create='true'>{TRANSPORT}</endpoint>")), "bad-request", None);
    let sctp = |attrs: &str| endpoint("b", "").replace("<sctp/>", &format!("<sctp {attrs}/>"));
    w.refused_as(&modify("", &sctp("role='client'")), "feature-not-implemented", None);
    w.refused_as(&modify("", &sctp("port='5001'")), "bad-request", None);
    let (condition, reason, id) = w.refused(&modify("", "<endpoint id='zz'><sources/></endpoint>"));
    assert_eq!(
        (condition.as_str(), reason.as_deref(), id.as_deref()),
        ("item-not-found", Some("unknown_endpoint"), Some("zz"))
    );
    w.ok(&modify("", &endpoint("v", "muc-role='visitor'")));
    let source = "<media-source type='audio' id='v-a0'><source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='1'/></media-source>";
    w.refused_as(&modify("", &format!("<endpoint id='v'><sources>{source}</sources></endpoint>")), "bad-request", None);
    w.ok(&modify("", "<endpoint id='v'><sources/></endpoint>"));
    w.refused_as(
        &modify("", &format!("<endpoint id='a'><sources>{source}{source}</sources></endpoint>")),
        "bad-request",
        None,
    );
    let mut s = settings();
    s.sctp = false;
    world_with(s).refused_as(&modify("create='true'", &endpoint("b", "")), "feature-not-implemented", None);
}

#[test]
fn a_refused_creation_leaves_no_conference() {
    let mut w = world();
    w.refused(&modify("create='true'", "<endpoint id='b' create='true'/>"));
    assert!(!w.exists());
}

#[test]
fn relays_are_refused_for_what_is_missing_or_wrong() {
    let relay = |more: &str, content: &str| modify("", &format!("<relay id='edge-23' {more}>{content}</relay>"));
    let mut w = with_meeting();
    w.refused_as(&relay("create='true'", ""), "bad-request", None);
    w.refused_as(&relay("", "<endpoints/>"), "bad-request", None);
    w.refused_as(&relay("create='true'", "<transport><sctp port='1'/></transport>"), "bad-request", None);
    w.ok(&relay("create='true' mesh-id='0'", "<transport><sctp role='client'/></transport>"));
    w.refused_as(&relay("create='true'", "<transport><sctp/></transport>"), "conflict", None);
    let mut s = settings();
    s.identity.relay_id = None;
    let mut w = world_with(s);
    w.ok(&modify("create='true'", &endpoint("a", "")));
    w.refused_as(&relay("create='true'", "<transport><sctp/></transport>"), "feature-not-implemented", None);
    w.ok(&relay("expire='true'", ""));
    let mut s = settings();
    s.web_sockets = None;
    let mut w = world_with(s);
    w.ok(&modify("create='true'", &endpoint("a", "")));
    w.refused_as(&relay("create='true'", "<transport/>"), "internal-server-error", None);
}

#[test]
fn limits_are_told_as_such() {
    let mut s = settings();
    s.limits.endpoints_per_conference = 1;
    s.limits.conferences = 1;
    let mut w = world_with(s);
    w.ok(&modify("create='true'", &endpoint("a", "")));
    w.refused_as(&modify("", &endpoint("b", "")), "service-unavailable", None);
    let other = format!(
        "<conference-modify xmlns='jitsi:colibri2' meeting-id='m2' create='true'>{}</conference-modify>",
        endpoint("a", "")
    );
    w.refused_as(&other, "service-unavailable", None);
    let long = "x".repeat(200);
    w.refused_as(&modify("", &endpoint(&long, "")), "bad-request", None);
}

// ---- batches, idempotency ----------------------------------------------------------------------------------------------

#[test]
fn batches_of_mutes_and_expiries_are_done_even_for_those_who_are_gone() {
    let mut w = with_meeting();
    w.ok(&modify("", &endpoint("b", "")));
    let a = w.ok(&modify("", "<endpoint id='a'><force-mute audio='true'/></endpoint><endpoint id='gone'><force-mute audio='true' video='true'/></endpoint>"));
    assert_eq!(a.endpoints.len(), 2);
    assert!(a.endpoints.iter().all(|e| !e.expire && e.transport.is_none()));
    let mutes = w.commands.iter().filter(|c| matches!(c, Command::ForceMute { audio: true, video: false, .. })).count();
    assert_eq!(mutes, 1);
    let a = w.ok(&modify("", "<endpoint id='a' expire='true'/><endpoint id='gone' expire='true'/>"));
    assert!(a.endpoints.iter().all(|e| e.expire));
    assert!(w.exists());
    w.ok(&modify("", "<relay id='r' expire='true'/><relay id='s' expire='true'/>"));
    w.ok(&modify("", "<endpoint id='b' expire='true'/>"));
    assert!(!w.exists(), "an empty conference ends with the request that emptied it");
}

#[test]
fn a_relays_websocket_is_opened_until_the_relay_or_its_conference_is_gone() {
    let relay = "<relay id='r1' create='true'><transport/></relay>";
    let dial = "<relay id='r1'><transport><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='u' pwd='p'>\
                <web-socket xmlns='http://jitsi.org/protocol/colibri' url='ws://192.0.2.1/colibri-relay-ws/x/m/r1?pwd=p'/></transport></transport></relay>";
    for end in ["<relay id='r1' expire='true'/>", ""] {
        let mut w = with_meeting();
        w.ok(&modify("", relay));
        w.ok(&modify("", dial));
        assert_eq!(w.dialing.len(), 1);
        w.ok(&modify(if end.is_empty() { "expire='true'" } else { "" }, end));
        assert!(w.dialing.is_empty(), "{end}");
    }
}

#[test]
fn an_expired_conference_answers_first_and_is_gone() {
    let mut w = with_meeting();
    w.ok(&modify("expire='true'", ""));
    assert!(matches!(w.commands.last(), Some(Command::ExpireConference(_))));
    assert!(!w.exists());
    w.ok(&modify("create='true'", &endpoint("a", "")));
}

#[test]
fn a_creating_request_without_anybody_keeps_the_conference_for_a_while() {
    let mut w = world();
    w.ok(&modify("create='true'", ""));
    w.pass(Duration::from_secs(19));
    w.pass(Duration::from_secs(15));
    assert!(!w.exists());
}

#[test]
fn a_creation_that_the_focus_gave_up_is_replaced_by_the_next_one() {
    let mut w = with_meeting();
    w.pass(Duration::from_secs(16));
    w.ok(&modify("", &endpoint("a", "")));
    let removed = w.commands.iter().filter(|c| matches!(c, Command::RemoveEndpoint(_))).count();
    assert_eq!((removed, w.added().len()), (1, 2));
    // But not when somebody uses it.
    let id = w.id_of(1);
    w.feed(Input::Plane(Event::Connected { endpoint: id }));
    w.pass(Duration::from_secs(16));
    w.refused_as(&modify("", &endpoint("a", "")), "conflict", None);
}

// ---- sources -----------------------------------------------------------------------------------------------------------

#[test]
fn sources_keep_their_numbers_by_name_and_an_empty_list_clears() {
    let mut w = with_meeting();
    let sources = |ssrc: u32| {
        modify(
            "",
            &format!(
                "<endpoint id='a'><sources><media-source type='video' id='a-v0'><source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='{ssrc}'/><source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='{}'/><ssrc-group xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' semantics='FID'><source ssrc='{ssrc}'/><source ssrc='{}'/></ssrc-group></media-source></sources></endpoint>",
                ssrc + 1,
                ssrc + 1
            ),
        )
    };
    let told = |w: &World| {
        w.commands
            .iter()
            .filter_map(|c| if let Command::SetSources { sources, .. } = c { Some(sources.clone()) } else { None })
            .collect::<Vec<_>>()
    };
    w.ok(&sources(10));
    w.ok(&sources(10));
    assert_eq!(told(&w).len(), 1, "nothing new is not told");
    w.ok(&sources(20));
    let all = told(&w);
    assert_eq!(all[0][0].id, all[1][0].id);
    assert_eq!((all[1][0].encodings[0].ssrc, all[1][0].encodings[0].rtx), (20, Some(21)));
    w.ok(&modify("", "<endpoint id='a'><sources/></endpoint>"));
    assert!(told(&w)[2].is_empty());
}

#[test]
fn endpoints_behind_a_relay_belong_to_it_and_go_with_it() {
    let mut w = with_meeting();
    let relay = |id: &str, more: &str, content: &str| modify("", &format!("<relay id='{id}' {more}>{content}</relay>"));
    let far = "<endpoints><endpoint id='far' create='true'><sources><media-source type='audio' id='far-a0'><source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='5'/></media-source></sources></endpoint></endpoints>";
    let a = w.ok(&relay(
        "r1",
        "create='true' mesh-id='0'",
        &format!("<transport ice-controlling='true'><sctp role='client'/></transport>{far}"),
    ));
    let t = a.relays[0].transport.as_ref().unwrap();
    assert_eq!(t.sctp.unwrap().role, Some(amphi_jingle::colibri2::SctpRole::Server), "the opposite of what was asked");
    assert!(t.ice.as_ref().unwrap().web_sockets.is_empty());
    // The same endpoint comes over another relay before it left the first one.
    w.ok(&relay("r2", "create='true' mesh-id='1'", &format!("<transport><sctp role='server'/></transport>{far}")));
    w.ok(&relay("r1", "", "<endpoints><endpoint id='far' expire='true'/></endpoints>"));
    assert_eq!(w.colibri.figures().relayed_endpoints, 1, "a late expiry does not touch the newer one");
    // Absent sources are none here.
    w.ok(&relay("r2", "", "<endpoints><endpoint id='far'/></endpoints>"));
    assert!(
        matches!(w.commands.last(), Some(Command::SetSources { sources, .. }) if sources.is_empty())
            || w.commands.iter().rev().any(|c| matches!(c, Command::SetSources { sources, .. } if sources.is_empty()))
    );
    w.ok(&relay("r2", "expire='true'", ""));
    assert_eq!((w.colibri.figures().relayed_endpoints, w.colibri.figures().relays), (0, 1));
}

#[test]
fn a_relay_without_sctp_gets_a_web_socket_of_its_own() {
    let mut w = with_meeting();
    let a = w.ok(&modify("", "<relay id='r1' create='true'><transport/></relay>"));
    let ice = a.relays[0].transport.as_ref().unwrap().ice.clone().unwrap();
    assert!(ice.web_sockets[0].url.as_ref().unwrap().contains("/colibri-relay-ws/edge-17/"));
}

// ---- ICE restart -------------------------------------------------------------------------------------------------------

#[test]
fn the_answer_to_a_restart_waits_for_new_credentials() {
    let mut w = with_meeting();
    let id = w.id_of(0);
    let restart = modify("", "<endpoint id='a'><transport ice-restart='true'/></endpoint>");
    let mut local = w.added()[0].peer.local();
    assert!(w.send(&restart).is_none());
    assert!(matches!(w.commands.last(), Some(Command::RestartIce { .. })));
    local.generation = Some(1);
    let answers = w.feed(Input::Plane(Event::Restart { endpoint: id, result: Restart::Started(Box::new(local)) }));
    let a = answers[0].1.as_ref().unwrap();
    assert_eq!(a.endpoints[0].transport.as_ref().unwrap().ice.as_ref().unwrap().ice_generation(), Some(1));
    // Unavailable, gone, and no answer at all: without a transport.
    assert!(w.send(&restart).is_none());
    let answers = w.feed(Input::Plane(Event::Restart { endpoint: id, result: Restart::Unavailable }));
    assert!(answers[0].1.as_ref().unwrap().endpoints[0].transport.is_none());
    assert!(w.send(&restart).is_none());
    w.now += Duration::from_secs(6);
    assert!(w.feed(Input::Tick)[0].1.as_ref().unwrap().endpoints[0].transport.is_none());
    assert!(w.send(&restart).is_none());
    let request = iq(&modify("expire='true'", ""));
    let request = Box::new(ConferenceModify::parse(request.children().next().unwrap(), &Limits::default()).unwrap());
    assert_eq!(w.feed(Input::Request { id: 999, request }).len(), 2, "both are answered");
}

// ---- expiry ------------------------------------------------------------------------------------------------------------

#[test]
fn who_is_not_heard_of_is_expired() {
    let mut w = with_meeting();
    w.ok(&modify("", &endpoint("b", "")));
    w.ok(&modify("", &endpoint("c", "")));
    let (b, c) = (w.id_of(1), w.id_of(2));
    w.feed(Input::Plane(Event::Connected { endpoint: b }));
    w.pass(Duration::from_secs(50));
    w.feed(Input::Plane(Event::Activity { endpoints: vec![b] }));
    w.feed(Input::Plane(Event::Failed { endpoint: c, reason: crate::transport::Failure::ConsentLost }));
    w.pass(Duration::from_secs(11));
    assert_eq!(w.colibri.local_endpoints(), 2, "a failed transport goes at the next look");
    w.pass(Duration::from_secs(70));
    assert_eq!(w.colibri.local_endpoints(), 0, "one silent for a minute, one never heard of for two");
    w.pass(Duration::from_secs(30));
    assert!(!w.exists());
}

#[test]
fn a_bridge_that_joins_two_meshes_stays_without_endpoints() {
    let mut w = with_meeting();
    for (id, mesh) in [("r1", "0"), ("r2", "1")] {
        w.ok(&modify(
            "",
            &format!("<relay id='{id}' create='true' mesh-id='{mesh}'><transport><sctp/></transport></relay>"),
        ));
    }
    w.ok(&modify("", "<endpoint id='a' expire='true'/>"));
    w.pass(Duration::from_secs(600));
    assert!(w.exists());
    w.ok(&modify("", "<relay id='r2' expire='true'/>"));
    w.pass(Duration::from_secs(60));
    assert!(!w.exists());
}

// ---- bridge channel ----------------------------------------------------------------------------------------------------

fn place(a: &ConferenceModified) -> (String, String, String) {
    let ice = a.endpoints[0].transport.as_ref().unwrap().ice.as_ref().unwrap();
    let url = ice.web_sockets[0].url.clone().unwrap();
    let (path, password) = url.split_once("?pwd=").unwrap();
    let parts: Vec<&str> = path.rsplit('/').collect();
    (parts[1].to_owned(), parts[0].to_owned(), password.to_owned())
}

#[test]
fn a_web_socket_needs_the_right_conference_endpoint_and_password() {
    let mut w = world();
    let a = w.ok(&modify("create='true'", &endpoint("a", "")));
    let (key, name, password) = place(&a);
    assert_eq!(password.len(), 24);
    assert!(w.colibri.admits(&key, &name, &password, false).is_ok());
    for (k, n, p, relay) in [
        ("zz", "a", &*password, false),
        (&*key, "b", &*password, false),
        (&*key, "a", "", false),
        (&*key, "a", &*password, true),
    ] {
        assert!(w.colibri.admits(k, n, p, relay).is_err());
    }
}

#[test]
fn hello_comes_first_on_a_web_socket_and_a_second_one_replaces_the_first() {
    let mut w = with_meeting();
    let id = w.id_of(0);
    w.feed(Input::SocketOpened { endpoint: id, socket: SocketId(1) });
    assert_eq!(w.texts[0], (SocketId(1), r#"{"colibriClass":"ServerHello"}"#.to_owned()));
    w.feed(Input::SocketOpened { endpoint: id, socket: SocketId(2) });
    assert_eq!(w.closed, [(SocketId(1), 1000, "replaced")]);
    w.feed(Input::SocketClosed { endpoint: id, socket: SocketId(1) });
    w.texts.clear();
    w.feed(Input::SocketMessage { endpoint: id, text: r#"{"colibriClass":"ClientHello"}"#.into() });
    assert_eq!(w.texts[0].0, SocketId(2), "the late end of the first one changes nothing");
    w.ok(&modify("", "<endpoint id='a' expire='true'/>"));
    assert_eq!(w.closed[1], (SocketId(2), 1001, "endpoint closed"));
}

#[test]
fn on_a_data_channel_hello_is_an_answer_and_messages_go_to_others() {
    let mut w = with_meeting();
    w.ok(&modify("", &endpoint("b", "")));
    let (a, b) = (w.id_of(0), w.id_of(1));
    for e in [a, b] {
        w.feed(Input::Plane(Event::ChannelOpen { endpoint: e }));
    }
    let sent = |w: &World| {
        w.commands
            .iter()
            .filter_map(|c| if let Command::SendMessage { text, .. } = c { Some(text.to_string()) } else { None })
            .collect::<Vec<_>>()
    };
    assert!(!sent(&w).iter().any(|t| t.contains("ServerHello")));
    w.feed(Input::Plane(Event::ChannelMessage { endpoint: a, text: r#"{"colibriClass":"ClientHello"}"#.into() }));
    assert!(sent(&w).iter().any(|t| t.contains("ServerHello")));
    let text = r#"{"colibriClass":"EndpointMessage","to":"b","msgPayload":{"x":1}}"#;
    w.feed(Input::Plane(Event::ChannelMessage { endpoint: a, text: text.into() }));
    let last = sent(&w).pop().unwrap();
    assert!(last.contains(r#""from":"a""#) && last.contains(r#""msgPayload""#), "{last}");
    // Nonsense leaves the channel open, and a flood is held back.
    for text in ["", "{", "[]", r#"{"colibriClass":"Nonsense"}"#] {
        w.feed(Input::Plane(Event::ChannelMessage { endpoint: a, text: text.into() }));
    }
    let before = sent(&w).len();
    for _ in 0..500 {
        w.feed(Input::Plane(Event::ChannelMessage { endpoint: a, text: text.into() }));
    }
    assert!(sent(&w).len() - before <= 100, "{}", sent(&w).len() - before);
}

#[test]
fn long_messages_to_everybody_are_bounded_by_the_bytes_of_all_copies() {
    let mut w = with_meeting();
    for n in 0..200 {
        w.ok(&modify("", &endpoint(&format!("v{n}"), "muc-role='visitor'")));
    }
    for n in 0..201 {
        let endpoint = w.id_of(n);
        w.feed(Input::Plane(Event::ChannelOpen { endpoint }));
    }
    let text = format!(r#"{{"colibriClass":"EndpointMessage","msgPayload":"{}"}}"#, "x".repeat(60_000));
    let sent = |w: &World| {
        let long = |c: &&Command| matches!(c, Command::SendMessage { text, .. } if text.len() > 60_000);
        w.commands.iter().filter(long).count()
    };
    let endpoint = w.id_of(0);
    for _ in 0..10 {
        w.feed(Input::Plane(Event::ChannelMessage { endpoint, text: text.clone() }));
    }
    // 200 copies of 60 KB are 12 MB; 64 MiB may go at once.
    assert_eq!(sent(&w), 5);
    w.pass(Duration::from_secs(1));
    w.feed(Input::Plane(Event::ChannelMessage { endpoint, text: text.clone() }));
    assert_eq!(sent(&w), 6, "and then so many a second");
}

#[test]
fn whoever_missed_a_message_on_a_full_channel_is_told_everything_once_more() {
    let mut w = with_meeting();
    let endpoint = w.id_of(0);
    w.ok(&modify("", "<endpoint id='a'><sources><media-source type='video' id='a-v0'><source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='7'/></media-source></sources></endpoint>"));
    w.feed(Input::Plane(Event::ChannelOpen { endpoint }));
    let told = |w: &World| {
        let told =
            |c: &&Command| matches!(c, Command::SendMessage { text, .. } if text.contains("SenderSourceConstraints"));
        w.commands.iter().filter(told).count()
    };
    let before = told(&w);
    assert!(before > 0);
    for _ in 0..3 {
        w.feed(Input::Plane(Event::SendFailed { endpoint, reason: SendError::Full }));
    }
    assert_eq!(told(&w), before, "not at once: the channel is full");
    w.pass(Duration::from_secs(1));
    assert_eq!(told(&w), before + 1);
    w.pass(Duration::from_secs(10));
    assert_eq!(told(&w), before + 1, "once");
}

// ---- rate --------------------------------------------------------------------------------------------------------------

#[test]
fn five_hundred_creations_a_second_are_a_small_part_of_a_core() {
    let mut w = with_meeting();
    let requests: Vec<_> = (0..500)
        .map(|n| {
            let xml = iq(&modify("", &endpoint(&format!("v{n}"), "muc-role='visitor'")));
            ConferenceModify::parse(xml.children().next().unwrap(), &Limits::default()).unwrap()
        })
        .collect();
    let start = Instant::now();
    for (n, r) in requests.into_iter().enumerate() {
        let answers = w.feed(Input::Request { id: n as u64, request: Box::new(r) });
        assert!(answers[0].1.is_ok());
    }
    let took = start.elapsed();
    println!("500 creations took {took:?}");
    assert_eq!(w.added().len(), 501);
    // Generous: an unoptimised build on a busy machine.
    assert!(took < Duration::from_secs(5), "{took:?}");
}
