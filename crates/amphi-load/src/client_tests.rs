//! A client against a scripted server: what goes over the wire, in virtual time.

use crate::{
    client::{Client, Input, Output, Role, Scene, Sink},
    frame,
    marker::{Carrier, Marker},
    scan,
    script::{Admission, Script},
    stats::Board,
    url::Url,
};

const SECOND: u64 = 1_000_000_000;
const JID: &str = "1a2b3c4d-0000-4000-8000-000000000000@example.org/r1";

struct Peer {
    script: Script,
    board: Board,
    client: Client,
    sink: Sink,
    now: u64,
}

impl Peer {
    fn new(admission: Admission, role: Role) -> Self {
        let url = Url::parse("ws://127.0.0.1:5280/xmpp-websocket").unwrap();
        let mut script = Script::new(url, "example.org", "conference.example.org", "town", admission, 7);
        script.strict_every = 1;
        let client = Client::new(&script, 0, role, Some(0), 42);
        Self { script, board: Board::new(2), client, sink: Sink::default(), now: SECOND }
    }

    fn http(role: Role) -> Self {
        Self::new(Admission::Http(Url::parse("http://127.0.0.1:8888/conference-request/v1").unwrap()), role)
    }

    /// Feeds and returns what the client wrote, unmasked, and what it wants.
    fn feed(&mut self, input: Input<'_>) -> (Vec<String>, Vec<Output>) {
        let scene = Scene { script: &self.script, board: &self.board };
        self.client.handle(self.now, input, scene, &mut self.sink);
        let bytes = std::mem::take(&mut self.sink.bytes);
        (unmask(&bytes), std::mem::take(&mut self.sink.outputs))
    }

    fn tick_at(&mut self, now: u64) -> (Vec<String>, Vec<Output>) {
        self.now = now;
        self.feed(Input::Tick)
    }

    /// One frame from the server; what the client answers.
    fn server(&mut self, xml: &str) -> Vec<String> {
        self.feed(Input::Bytes(&text(xml))).0
    }

    fn upgrade(&mut self) -> Vec<String> {
        let (request, _) = self.feed(Input::Connected);
        let key = request[0].split("Sec-WebSocket-Key: ").nth(1).unwrap().trim_end();
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n",
            frame::accept(key)
        );
        let (mut open, _) = self.feed(Input::Bytes(answer.as_bytes()));
        open.insert(0, request[0].clone());
        open
    }

    /// From the upgrade to the point where the client is bound; returns what it sends then.
    fn bind(&mut self, services: &str) -> Vec<String> {
        self.upgrade();
        self.server("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0'/>");
        let auth = self.server(
            "<stream:features xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'><mechanisms \
             xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism></mechanisms></stream:features>",
        );
        assert!(auth[0].contains("ANONYMOUS"));
        self.server("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        self.server("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0'/>");
        let bind = self.server(
            "<stream:features xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'><bind \
             xmlns='urn:ietf:params:xml:ns:xmpp-bind'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>",
        );
        assert!(bind[0].contains("_bind_auth_2"));
        self.server(services);
        let enable = self.server(&format!(
            "<iq xmlns='jabber:client' type='result' id='_bind_auth_2'><bind \
             xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{JID}</jid></bind></iq>"
        ));
        assert_eq!(enable, ["<enable resume=\"true\" xmlns=\"urn:xmpp:sm:3\"/>"], "nothing else before it is enabled");
        self.server("<enabled xmlns='urn:xmpp:sm:3' resume='true' id='x'/>")
    }

    /// All the way into the main room.
    fn join() -> Self {
        let mut peer = Self::http(Role::Stage);
        peer.feed(Input::Start);
        peer.feed(Input::Answer { status: 200, body: br#"{"ready":true,"properties":{}}"# });
        peer.bind(WITH_METADATA);
        let (_, outputs) = peer.feed(Input::Bytes(&text(OWN_PRESENCE)));
        assert_eq!(outputs, [Output::Joined]);
        peer
    }
}

const WITH_METADATA: &str = "<message xmlns='jabber:client'><query xmlns='http://jabber.org/protocol/disco#info'><identity \
                             category='component' type='room_metadata' name='m'/></query></message>";
const OWN_PRESENCE: &str = "<presence xmlns='jabber:client' from='town@conference.example.org/1a2b3c4d'><x \
                            xmlns='http://jabber.org/protocol/muc#user'><status code='110'/></x></presence>";

fn text(xml: &str) -> Vec<u8> {
    let mut out = vec![0x81];
    match xml.len() {
        n @ 0..=125 => out.push(n as u8),
        n => {
            out.push(126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(xml.as_bytes());
    out
}

fn unmask(bytes: &[u8]) -> Vec<String> {
    if bytes.starts_with(b"GET ") {
        return vec![String::from_utf8(bytes.to_vec()).unwrap()];
    }
    let (mut frames, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let (len, head) = match bytes[at + 1] & 0x7f {
            126 => (usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]])), 4),
            n => (usize::from(n), 2),
        };
        let mask: [u8; 4] = bytes[at + head..at + head + 4].try_into().unwrap();
        let start = at + head + 4;
        let plain: Vec<u8> = bytes[start..start + len].iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect();
        frames.push(String::from_utf8_lossy(&plain).into_owned());
        at = start + len;
    }
    frames
}

fn line(seq: u32) -> String {
    let mut mark = Vec::new();
    Marker { run: 7, carrier: Carrier::Chat, sender: 1, seq, sent: SECOND }.write(&mut mark);
    let mark = String::from_utf8(mark).unwrap();
    format!(
        "<message xmlns='jabber:client' type='groupchat' from='town@conference.example.org/x'><body>{mark}</body></message>"
    )
}

#[test]
fn a_visitor_is_redirected_and_joins_the_room_of_its_node() {
    let mut peer = Peer::http(Role::Audience);
    assert_eq!(peer.feed(Input::Start).1, [Output::Request]);
    assert!(peer.client.request_body(&peer.script).contains("\"visitor\":true"));
    let answer = br#"{"ready":true,"vnode":"v1","focusJid":"focus@auth.meet.jitsi","properties":{"live":"true"}}"#;
    assert_eq!(peer.feed(Input::Answer { status: 200, body: answer }).1, [Output::Connect]);
    assert_eq!(peer.client.place().domain, "v1.meet.jitsi");
    let sent = peer.upgrade();
    assert!(sent[0].starts_with("GET /xmpp-websocket?vnode=v1&room=town HTTP/1.1\r\n"));
    assert!(sent[1].starts_with("<open to=\"v1.meet.jitsi\""));
}

#[test]
fn after_enabling_the_client_queries_what_was_not_announced_and_joins() {
    let mut peer = Peer::http(Role::Stage);
    peer.feed(Input::Start);
    peer.feed(Input::Answer { status: 200, body: br#"{"ready":true}"# });
    let sent = peer.bind("<message xmlns='jabber:client'/>");
    assert_eq!(sent.len(), 3);
    assert!(sent[0].contains("urn:xmpp:extdisco:2") && sent[1].contains("disco#info"));
    assert_eq!(scan::attr_str(sent[2].as_bytes(), "to"), Some("town@conference.example.org/1a2b3c4d"));
    let mut peer = Peer::http(Role::Stage);
    peer.feed(Input::Start);
    peer.feed(Input::Answer { status: 200, body: br#"{"ready":true}"# });
    assert_eq!(peer.bind(WITH_METADATA).len(), 1, "metadata was announced: only the presence");
}

#[test]
fn not_ready_is_asked_again_after_1_2_and_4_seconds() {
    let mut peer = Peer::http(Role::Audience);
    peer.feed(Input::Start);
    let mut now = peer.now;
    for wait in [1, 2, 4] {
        let no = br#"{"ready":false,"properties":{}}"#;
        assert_eq!(peer.feed(Input::Answer { status: 200, body: no }).1, []);
        assert_eq!(peer.client.deadline(), now + wait * SECOND);
        assert_eq!(peer.tick_at(now + wait * SECOND - 1).1, [], "not before its time");
        now += wait * SECOND;
        assert_eq!(peer.tick_at(now).1, [Output::Request]);
    }
    assert_eq!(peer.sink.stats.not_ready, 3);
}

#[test]
fn the_join_is_measured_from_the_first_request() {
    let mut peer = Peer::http(Role::Stage);
    peer.feed(Input::Start);
    peer.feed(Input::Answer { status: 200, body: br#"{"ready":false}"# });
    peer.tick_at(2 * SECOND);
    peer.feed(Input::Answer { status: 200, body: br#"{"ready":true}"# });
    peer.now = 3 * SECOND;
    peer.bind(WITH_METADATA);
    peer.server(OWN_PRESENCE);
    assert_eq!(peer.sink.stats.join.quantile(1.0), Some(2 * SECOND));
    assert_eq!(peer.sink.stats.entry.quantile(1.0), Some(SECOND));
}

#[test]
fn acknowledgements_count_stanzas_only_and_from_enabled_on() {
    let mut peer = Peer::join();
    peer.server("<iq xmlns='jabber:client' type='result' id='room:1'/>");
    let answer = peer.server("<r xmlns='urn:xmpp:sm:3'/>");
    assert_eq!(answer, ["<a h=\"2\" xmlns=\"urn:xmpp:sm:3\"/>"], "own presence and the result");
}

#[test]
fn every_fifth_stanza_asks_for_an_acknowledgement_and_an_impossible_one_is_fatal() {
    let mut peer = Peer::join();
    // Presence and room query are sent; three lines make five.
    assert_eq!(peer.feed(Input::Line).0.len(), 1);
    assert_eq!(peer.feed(Input::Line).0.len(), 1);
    assert_eq!(peer.feed(Input::Line).0[1], "<r xmlns=\"urn:xmpp:sm:3\"/>");
    peer.server("<a xmlns='urn:xmpp:sm:3' h='5'/>");
    assert!(peer.client.is_joined());
    let (_, outputs) = peer.feed(Input::Bytes(&text("<a xmlns='urn:xmpp:sm:3' h='6'/>")));
    assert_eq!(outputs, [Output::Close, Output::Dropped]);
    assert_eq!(peer.sink.stats.malformed, 1);
}

#[test]
fn the_focus_gets_capabilities_pongs_and_errors_but_no_answer_to_a_promotion() {
    let mut peer = Peer::join();
    let iq =
        |payload: &str| format!("<iq xmlns='jabber:client' type='get' id='q\"1' from='town@c/focus'>{payload}</iq>");
    let caps = peer.server(&iq("<query xmlns='http://jabber.org/protocol/disco#info' node='n#v'/>"));
    assert!(caps[0].starts_with("<iq type=\"result\" id=\"q&quot;1\" to=\"town@c/focus\""));
    assert!(caps[0].contains("node=\"n#v\"") && caps[0].contains("http://jitsi.org/visitors-1"));
    assert!(peer.server(&iq("<ping xmlns='urn:xmpp:ping'/>"))[0].contains("type=\"result\""));
    assert!(peer.server(&iq("<x xmlns='y'/>"))[0].contains("service-unavailable"));
    let promotion = "<visitors xmlns='jitsi:visitors'><promotion-response allow='true'/></visitors>";
    assert_eq!(peer.server(&iq(promotion)), [""; 0]);
}

#[test]
fn lost_and_duplicated_lines_are_noticed_and_history_is_not_a_duplicate() {
    let mut peer = Peer::join();
    (0..4).for_each(|_| {
        peer.board.next(Carrier::Chat, 1);
    });
    for seq in [0, 2, 2] {
        peer.server(&line(seq));
    }
    peer.server(
        &line(0).replace("</message>", "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/></message>"),
    );
    let chat = &mut peer.sink.stats.chat;
    chat.missing = peer.client.missing(&peer.board).0;
    assert_eq!((chat.received, chat.duplicated, chat.lost(), peer.sink.stats.history), (2, 1, 2, 1));
}

#[test]
fn frames_may_come_in_any_pieces() {
    let mut peer = Peer::join();
    let mut bytes = text(&line(0));
    bytes.extend(text(&line(1)));
    for byte in bytes {
        peer.feed(Input::Bytes(&[byte]));
    }
    assert_eq!((peer.sink.stats.chat.received, peer.sink.stats.chat.lost()), (2, 0));
}

#[test]
fn malformed_xml_is_counted() {
    let mut peer = Peer::join();
    peer.server("<message xmlns='jabber:client'><body>a</message>");
    assert_eq!(peer.sink.stats.malformed, 1);
}

#[test]
fn a_silent_server_is_pinged_twice_and_then_given_up() {
    let mut peer = Peer::join();
    let silent_since = peer.now;
    assert!(peer.tick_at(silent_since + 10 * SECOND).0[0].contains("urn:xmpp:ping"));
    assert!(peer.tick_at(silent_since + 15 * SECOND).0[0].contains("urn:xmpp:ping"));
    assert_eq!(peer.tick_at(silent_since + 20 * SECOND).1, [Output::Close, Output::Dropped]);
}

#[test]
fn a_refused_connection_is_tried_three_times_more_with_growing_pauses() {
    let mut peer = Peer::http(Role::Stage);
    peer.feed(Input::Start);
    for wait in [1, 2, 4] {
        peer.feed(Input::Answer { status: 200, body: br#"{"ready":true}"# });
        assert_eq!(peer.feed(Input::Refused("connection refused")).1, [Output::Close]);
        let now = peer.now + wait * SECOND;
        assert_eq!(peer.tick_at(now).1, [Output::Request]);
    }
    peer.feed(Input::Answer { status: 200, body: br#"{"ready":true}"# });
    assert_eq!(peer.feed(Input::Refused("connection refused")).1, [Output::Close, Output::Failed]);
    assert_eq!(peer.sink.stats.errors["connection refused"], 4);
}

#[test]
fn a_room_that_does_not_exist_yet_is_asked_for_again_and_a_full_one_is_not() {
    let error = |what: &str| {
        format!(
            "<presence xmlns='jabber:client' type='error' from='town@conference.example.org/1a2b3c4d'><error type='cancel'>{what}</error></presence>"
        )
    };
    let joining = || {
        let mut peer = Peer::http(Role::Stage);
        peer.feed(Input::Start);
        peer.feed(Input::Answer { status: 200, body: br#"{"ready":true}"# });
        peer.bind(WITH_METADATA);
        peer
    };
    let mut peer = joining();
    let closed = "<not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><text>Room creation is restricted</text>";
    assert_eq!(peer.feed(Input::Bytes(&text(&error(closed)))).1, [Output::Close]);
    let again = peer.client.deadline();
    assert_eq!(peer.tick_at(again).1, [Output::Request]);
    let mut peer = joining();
    let full = error("<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>");
    assert_eq!(peer.feed(Input::Bytes(&text(&full))).1, [Output::Close, Output::Failed]);
    assert_eq!(peer.sink.stats.errors["join: service-unavailable"], 1);
}

#[test]
fn without_a_url_the_focus_is_asked_by_iq_and_a_redirect_drops_the_main_connection() {
    let mut peer = Peer::new(Admission::Iq("focus.example.org".into()), Role::Audience);
    assert_eq!(peer.feed(Input::Start).1, [Output::Connect]);
    let sent = peer.bind(WITH_METADATA);
    assert!(sent[0].contains("http://jitsi.org/protocol/focus") && sent[0].contains("to=\"focus.example.org\""));
    let answer = "<iq xmlns='jabber:client' type='result' id='conference:1'><conference \
                  xmlns='http://jitsi.org/protocol/focus' ready='true' vnode='v3'/></iq>";
    let (sent, outputs) = peer.feed(Input::Bytes(&text(answer)));
    assert_eq!(sent[0], "<close xmlns=\"urn:ietf:params:xml:ns:xmpp-framing\"/>");
    assert_eq!(outputs, [Output::Close, Output::Connect]);
    assert_eq!(peer.client.place().room, "town@conference.v3.meet.jitsi");
}

#[test]
fn what_an_old_connection_still_brings_is_not_taken_for_the_new_one() {
    let mut peer = Peer::new(Admission::Iq("focus.example.org".into()), Role::Audience);
    peer.feed(Input::Start);
    peer.bind(WITH_METADATA);
    let mut bytes = text(
        "<iq xmlns='jabber:client' type='result' id='conference:1'><conference \
         xmlns='http://jitsi.org/protocol/focus' ready='true' vnode='v3'/></iq>",
    );
    bytes.extend(text("<r xmlns='urn:xmpp:sm:3'/>"));
    bytes.extend([0x81, 0x20]);
    let (sent, _) = peer.feed(Input::Bytes(&bytes));
    assert!(!sent.iter().any(|s| s.starts_with("<a ")));
    assert!(peer.upgrade()[0].contains("vnode=v3"));
}

#[test]
fn leaving_says_goodbye() {
    let mut peer = Peer::join();
    let (sent, outputs) = peer.feed(Input::Leave);
    assert!(sent[0].contains("unavailable") && sent[1].starts_with("<close"));
    assert_eq!(outputs, [Output::Close]);
}
