//! Bad input against the running binary. Whoever sends it gets an error or loses the stream; two people who chat meanwhile
//! notice nothing.

mod running;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use running::{Amphi, PATIENCE, Person, Ws, WsEvent, connect, element, http, rest};

const ROOM: &str = "talk";

/// Two people on stage.
struct Innocents {
    ana: Person,
    bo: Person,
    said: u32,
}

impl Innocents {
    fn new(a: &Amphi) -> Self {
        let mut ana = Person::login(a, "ana", ROOM);
        ana.join(a, ROOM);
        ana.enable();
        let mut bo = Person::login(a, "bo", ROOM);
        bo.join(a, ROOM);
        bo.enable();
        [&mut ana, &mut bo].into_iter().for_each(|p| p.inbox.clear());
        Self { ana, bo, said: 0 }
    }

    /// Both hear each other, and nothing that is not of the room's own making.
    fn chat(&mut self) {
        self.said += 1;
        let (a, b) = (format!("a{}", self.said), format!("b{}", self.said));
        self.ana.say(ROOM, &a, "hello");
        self.bo.say(ROOM, &b, "hello");
        for p in [&mut self.ana, &mut self.bo] {
            for id in [&a, &b] {
                let heard =
                    |s: &amphi_stanza::Stanza| s.id().as_deref() == Some(id) && s.ty().as_deref() == Some("groupchat");
                // The other one's line may have come first.
                let at = p.inbox.iter().position(heard);
                match at {
                    Some(i) => drop(p.inbox.remove(i)),
                    None => drop(p.wait(heard)),
                }
            }
            for s in p.inbox.drain(..) {
                let from = s.attr("from").unwrap_or_default().into_owned();
                let servers_own = matches!(s.root().name(), "a")
                    || s.root().name() == "presence" && from.starts_with("talk@conference.localhost/")
                    || from.ends_with(".localhost")
                    || s.child("subject", "jabber:client").is_some();
                assert!(servers_own, "{} received {s}", p.name);
                assert_ne!(s.root().child_named("body").map(|b| b.text().into_owned()).as_deref(), Some("evil"));
            }
        }
    }
}

fn attacker(a: &Amphi) -> Person {
    Person::login(a, "eve", ROOM)
}

/// The stream ends with this error.
fn ends_with(p: &mut Person, condition: &str) {
    let (texts, _) = p.ws.until_closed();
    assert!(texts.iter().any(|t| t.contains("error") && t.contains(condition)), "wanted {condition}, got {texts:?}");
}

fn error_of(s: &amphi_stanza::Stanza) -> String {
    assert_eq!(s.ty().as_deref(), Some("error"), "{s}");
    let e = s.root().child_named("error").unwrap_or_else(|| panic!("no error: {s}"));
    e.children().next().map(|c| c.name().to_owned()).unwrap_or_default()
}

// ---- streams ---------------------------------------------------------------------------------------------------------

fn malformed_xml(a: &Amphi) {
    for bad in ["<message xmlns='jabber:client'><a></message>", "<message", "&lt;", "<a/><b/>"] {
        let mut p = attacker(a);
        p.send(bad);
        ends_with(&mut p, "not-well-formed");
    }
    for bad in [
        "<!DOCTYPE x><message xmlns='jabber:client'/>",
        "<message xmlns='jabber:client'><!-- a --></message>",
        "<?pi?><message xmlns='jabber:client'/>",
        "<m xmlns='jabber:client'>&nope;</m>",
    ] {
        let mut p = attacker(a);
        p.send(bad);
        let (texts, _) = p.ws.until_closed();
        assert!(texts.iter().any(|t| t.contains("restricted-xml") || t.contains("not-well-formed")), "{texts:?}");
    }
}

fn oversized_stanza(a: &Amphi) {
    let mut p = attacker(a);
    let body = "x".repeat(64 * 1024);
    let _ = p.ws.frame(0x81, format!("<message xmlns='jabber:client'><body>{body}</body></message>").as_bytes());
    ends_with(&mut p, "policy-violation");
}

fn deep_nesting(a: &Amphi) {
    let mut p = attacker(a);
    p.send(&format!("<message xmlns='jabber:client'>{}{}</message>", "<a>".repeat(500), "</a>".repeat(500)));
    ends_with(&mut p, "policy-violation");
    let mut p = attacker(a);
    let attrs: String = (0..500).map(|n| format!(" a{n}='1'")).collect();
    p.send(&format!("<message xmlns='jabber:client'{attrs}/>"));
    ends_with(&mut p, "policy-violation");
}

fn wrong_namespaces(a: &Amphi) {
    for bad in
        ["<message xmlns='jabber:server' to='talk@conference.localhost'/>", "<thing xmlns='urn:none'/>", "<message/>"]
    {
        let mut p = attacker(a);
        p.send(bad);
        // An error for the stanza or the end of the stream, but no silence.
        p.send("<iq xmlns='jabber:client' type='get' id='after' to='talk@conference.localhost'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>");
        let end = Instant::now() + PATIENCE;
        loop {
            match p.ws.next(end.saturating_duration_since(Instant::now())) {
                WsEvent::Closed(_) => break,
                WsEvent::Text(t) if t.contains("error") && !t.contains("after") => break,
                WsEvent::Text(t) if t.contains("after") => panic!("{bad} was swallowed"),
                WsEvent::Text(_) => {}
                WsEvent::Nothing => panic!("{bad}: nothing"),
            }
        }
    }
    let mut ws = Ws::open(a.front, "/xmpp-websocket?room=talk");
    ws.text("<open xmlns='urn:wrong' to='localhost' version='1.0'/>");
    ws.until_closed();
}

fn not_logged_in(a: &Amphi) {
    let mut ws = Ws::open(a.front, "/xmpp-websocket?room=talk");
    ws.text("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='localhost' version='1.0'/>");
    ws.text(
        "<message xmlns='jabber:client' type='groupchat' to='talk@conference.localhost'><body>evil</body></message>",
    );
    let (texts, _) = ws.until_closed();
    assert!(texts.iter().any(|t| t.contains("not-authorized")), "{texts:?}");
}

fn unknown_host(a: &Amphi) {
    let mut ws = Ws::open(a.front, "/xmpp-websocket?room=talk");
    ws.text("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='evil.example' version='1.0'/>");
    let (texts, _) = ws.until_closed();
    assert!(texts.iter().any(|t| t.contains("host-unknown")), "{texts:?}");
}

// ---- rooms -----------------------------------------------------------------------------------------------------------

fn forged_from(a: &Amphi, others: &Innocents) {
    let mut p = attacker(a);
    p.send(&format!(
        "<message xmlns='jabber:client' from='{}' type='groupchat' id='f' to='talk@conference.localhost'><body>evil</body></message>",
        others.ana.jid
    ));
    match p.ws.next(PATIENCE) {
        WsEvent::Closed(_) => {}
        WsEvent::Text(t) => {
            let s = element(&t);
            assert!(t.contains("error"), "{s}");
        }
        WsEvent::Nothing => panic!("nothing"),
    }
}

fn unknown_rooms(a: &Amphi) {
    let mut p = attacker(a);
    p.send("<presence xmlns='jabber:client' id='p' to='nowhere@conference.localhost/eve00000'><x xmlns='http://jabber.org/protocol/muc'/></presence>");
    assert_eq!(error_of(&p.wait_for("presence")), "not-allowed");
    p.send("<iq xmlns='jabber:client' type='get' id='i' to='nowhere@conference.localhost'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>");
    assert_eq!(error_of(&p.answer("i")), "item-not-found");
    p.say("nowhere", "m", "evil");
    error_of(&p.answer("m"));
    p.send("<iq xmlns='jabber:client' type='set' id='x' to='conference.evil.example'><a xmlns='b'/></iq>");
    assert_eq!(error_of(&p.answer("x")), "not-allowed");
    p.send("<iq xmlns='jabber:client' type='get' id='y' to='@@'><a xmlns='b'/></iq>");
    assert_eq!(error_of(&p.answer("y")), "jid-malformed");
}

fn unknown_promotions(a: &Amphi) {
    // A name that nobody promised is not given.
    let name = "0f0f0f0f-1111-4222-8333-444444444444";
    let p = Person::login_at(a, "eve", "localhost", &format!("/xmpp-websocket?room=talk&customusername={name}"));
    assert!(!p.jid.starts_with(name), "{}", p.jid);
    let mut p = attacker(a);
    p.send("<iq xmlns='jabber:client' type='set' id='v' to='visitors.localhost'><visitors xmlns='jitsi:visitors' room='talk@conference.localhost'><promotion-request jid='x@v1.meet.jitsi/y' time='1'/></visitors></iq>");
    error_of(&p.answer("v"));
    p.send("<message xmlns='jabber:client' type='groupchat' id='w' to='talk@conference.localhost'><json-message xmlns='http://jitsi.org/jitmeet'>{\"type\":\"visitors\",\"action\":\"promotion-response\",\"approved\":true,\"id\":\"nobody\"}</json-message></message>");
    error_of(&p.answer("w"));
    p.send("<iq xmlns='jabber:client' type='set' id='q' to='talk@conference.localhost'><seats xmlns='urn:amphi:seats:0' limit='none'/></iq>");
    error_of(&p.answer("q"));
}

/// Rooms of other nodes are entered there alone: nobody is heard by an audience under the name of somebody on stage, and a
/// login at a visitor node opens no room of the stage.
fn rooms_elsewhere(a: &Amphi, others: &Innocents) {
    let join = |to: &str| {
        format!(
            "<presence xmlns='jabber:client' id='p' to='{to}'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
        )
    };
    let mut p = attacker(a);
    p.send(&join(&format!("talk@conference.v1.meet.jitsi/{}", others.ana.nick())));
    assert_eq!(error_of(&p.wait_for("presence")), "not-allowed");
    p.send("<message xmlns='jabber:client' type='groupchat' id='g' to='talk@conference.v1.meet.jitsi'><body>evil</body></message>");
    assert_eq!(error_of(&p.answer("g")), "not-allowed");
    let mut p = Person::login_at(a, "eve", "v1.meet.jitsi", "/xmpp-websocket?room=talk&vnode=v1");
    let nick = p.nick().to_owned();
    p.send(&join(&format!("talk@conference.localhost/{nick}")));
    assert_eq!(error_of(&p.wait_for("presence")), "not-allowed");
}

/// Sockets that say nothing keep nobody out.
fn silent_crowd(a: &Amphi) {
    let crowd: Vec<_> = (0..60).map(|_| connect(a.front)).collect();
    let begin = Instant::now();
    Person::login(a, "ida", ROOM).leave();
    // They would have been served first, four at a time until their time was over.
    assert!(begin.elapsed() < PATIENCE);
    drop(crowd);
}

/// Strangers at the doors of services and servers are counted like those at the front.
fn strangers(a: &Amphi) {
    for port in [a.c2s, a.s2s] {
        let refused = || metric(a, "amphi_refused_total{reason=\"front-queue-full\"}");
        let before = refused();
        let mut crowd = Vec::new();
        let end = Instant::now() + PATIENCE;
        while refused() == before {
            assert!(Instant::now() < end, "{port} takes any number");
            crowd.extend((0..50).map(|_| connect(port)));
        }
        drop(crowd);
        wait_until("gone", || metric(a, "amphi_handshakes ") == 0);
    }
}

// ---- readers that do not read ----------------------------------------------------------------------------------------

/// Somebody in the room who does not read, or reads and never acknowledges, is given up; the others hear everything.
fn stalled(a: &Amphi, others: &mut Innocents, reads: bool) {
    let mut p = attacker(a);
    p.join(a, ROOM);
    let previd = p.enable();
    p.answers_acks = false;
    let nick = p.nick().to_owned();
    let before = a.resident();
    let text = "y".repeat(24 * 1024);
    let end = Instant::now() + 3 * PATIENCE;
    for n in 0.. {
        assert!(Instant::now() < end, "still in the room");
        let id = format!("s{n}");
        others.ana.say(ROOM, &id, &text);
        others.ana.wait(|s| s.id().as_deref() == Some(&id));
        others.bo.wait(|s| s.id().as_deref() == Some(&id));
        if reads {
            while matches!(p.ws.next(Duration::from_millis(1)), WsEvent::Text(_)) {}
        }
        let left = |s: &amphi_stanza::Stanza| {
            s.ty().as_deref() == Some("unavailable") && s.attr("from").is_some_and(|f| f.ends_with(&nick))
        };
        if others.bo.inbox.iter().any(left) {
            break;
        }
    }
    let grown = a.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes for one reader");
    // It learns that it must log in anew.
    assert_eq!(resume(a, &previd).root().name(), "failed");
}

// ---- sockets ---------------------------------------------------------------------------------------------------------

fn ports(a: &Amphi) -> [SocketAddr; 4] {
    [a.front, a.c2s, a.s2s, a.admin]
}

fn garbage_on_every_port(a: &Amphi) {
    let garbage: Vec<u8> = (0..2000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    for port in ports(a) {
        for bytes in [
            &garbage[..],
            b"\0\0\0\0\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"<<<<>>>>\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        ] {
            let mut s = connect(port);
            let _ = s.write_all(bytes);
            rest(&mut s);
        }
    }
}

fn half_open(a: &Amphi) {
    for port in [a.front, a.c2s, a.s2s] {
        let mut s = connect(port);
        rest(&mut s);
    }
}

fn slow_head(a: &Amphi) {
    for port in [a.front, a.admin] {
        let mut s = connect(port);
        s.write_all(b"GET /xmpp-websocket HTTP/1.1\r\nhost: x\r\n").unwrap();
        s.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let end = Instant::now() + PATIENCE;
        let mut buf = [0; 512];
        loop {
            assert!(Instant::now() < end, "{port}: a head may take for ever");
            if s.write_all(b"a").is_err() {
                break;
            }
            match s.read(&mut buf) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Err(_) => break,
            }
        }
    }
}

/// A body that comes byte by byte, and a second head that is never finished, on connections that were useful before.
fn slow_requests(a: &Amphi) {
    let body = r#"{"room":"@@"}"#;
    let head = format!("POST /conference-request/v1 HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    let dribble = |s: &mut std::net::TcpStream, what: &str| {
        s.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let end = Instant::now() + PATIENCE;
        let mut buf = [0; 512];
        loop {
            assert!(Instant::now() < end, "{what} may take for ever");
            if s.write_all(b" ").is_err() {
                return;
            }
            match s.read(&mut buf) {
                Ok(0) => return,
                Ok(_) => {}
                Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Err(_) => return,
            }
        }
    };
    let mut s = connect(a.front);
    s.write_all(head.replace(&format!("{}\r\n\r\n", body.len()), "15000\r\n\r\n").as_bytes()).unwrap();
    dribble(&mut s, "a body");
    let mut s = connect(a.front);
    s.write_all(b"POST /http-bind HTTP/1.1\r\nhost: x\r\ncontent-length: 15000\r\n\r\n").unwrap();
    dribble(&mut s, "the body of BOSH");
    let mut s = connect(a.front);
    s.write_all([&head, body].concat().as_bytes()).unwrap();
    let mut byte = [0];
    s.read_exact(&mut byte).unwrap();
    s.write_all(b"POST /conference-request/v1 HTTP/1.1\r\nhost:").unwrap();
    dribble(&mut s, "a second head");
}

fn long_head(a: &Amphi) {
    for port in [a.front, a.admin] {
        let mut s = connect(port);
        let _ = s.write_all(b"GET / HTTP/1.1\r\n");
        for n in 0..20_000 {
            if s.write_all(format!("x-{n}: {}\r\n", "z".repeat(50)).as_bytes()).is_err() {
                break;
            }
        }
        let text = rest(&mut s);
        assert!(text.is_empty() || text.contains(" 4"), "{text}");
    }
}

fn bad_frames(a: &Amphi) {
    let bad: [&[u8]; 7] = [
        // Not masked.
        b"\x81\x05hello",
        // Reserved bits and opcodes.
        b"\xf1\x80\0\0\0\0",
        b"\x83\x80\0\0\0\0",
        // A control frame in two parts, and one that is too long.
        b"\x09\x80\0\0\0\0",
        b"\x89\xfe\x01\x00\0\0\0\0",
        // More bytes than there are.
        b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
        // A continuation of nothing.
        b"\x80\x81\0\0\0\0a",
    ];
    for frame in bad {
        let mut p = attacker(a);
        p.ws.socket.write_all(frame).unwrap();
        let (texts, code) = p.ws.until_closed();
        let told = texts.iter().any(|t| t.contains("stream:error"));
        assert!(told || code != Some(1000), "{frame:?}: {texts:?} {code:?}");
    }
    let mut p = attacker(a);
    p.ws.frame(0x81, b"<message xmlns='jabber:client'>\xff\xfe</message>").unwrap();
    p.ws.until_closed();
    let mut p = attacker(a);
    p.ws.frame(0x82, b"binary").unwrap();
    p.ws.until_closed();
}

fn huge_bodies(a: &Amphi) {
    let refused = |t: &str| t.is_empty() || t.contains(" 4") || t.contains("type='terminate'");
    for path in ["/conference-request/v1", "/http-bind"] {
        let mut s = connect(a.front);
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n");
        let _ = s.write_all(format!("{head}content-length: 10000000000\r\n\r\n").as_bytes());
        let block = vec![b' '; 64 * 1024];
        for _ in 0..64 {
            if s.write_all(&block).is_err() {
                break;
            }
        }
        let text = rest(&mut s);
        assert!(refused(&text), "{path}: {text}");
        let mut s = connect(a.front);
        let _ = s.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes());
        for _ in 0..64 {
            if s.write_all(b"10000\r\n").and_then(|()| s.write_all(&block)).and_then(|()| s.write_all(b"\r\n")).is_err()
            {
                break;
            }
        }
        let text = rest(&mut s);
        assert!(refused(&text), "{path}: {text}");
    }
    for body in ["", "{", "[]", "{\"room\":1}", "{\"room\":\"@@\"}", "\u{0}"] {
        let text = http(
            a.front,
            &format!(
                "POST /conference-request/v1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ),
        );
        assert!(text.contains(" 400 "), "{body}: {text}");
    }
}

fn bosh(a: &Amphi, body: &str) -> String {
    http(
        a.front,
        &format!(
            "POST /http-bind?room=talk HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
}

const BOSH_OPEN: &str = "<body xmlns='http://jabber.org/protocol/httpbind' to='localhost' rid='1000' wait='1' hold='1' ver='1.6' xml:lang='en' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0'/>";

fn sid_of(answer: &str) -> String {
    let sid = answer.split("sid='").nth(1).and_then(|t| t.split('\'').next());
    sid.unwrap_or_else(|| panic!("no session: {answer}")).to_owned()
}

/// Sessions that are opened and never log in end once, when their time is over.
fn bosh_without_login(a: &Amphi) {
    for _ in 0..3 {
        sid_of(&bosh(a, BOSH_OPEN));
    }
    let ended = || metric(a, "amphi_closed_total{reason=\"handshake-timeout\"}");
    wait_until("given up", || ended() >= 3);
    wait_until("gone", || metric(a, "amphi_connections{kind=\"bosh\"}") == 0);
    assert_eq!(ended(), 3);
}

/// A session of somebody who is logged in, and the number of its next request.
fn bosh_login(a: &Amphi) -> Result<(String, u64), String> {
    let answer = bosh(a, BOSH_OPEN);
    if answer.starts_with("HTTP/1.1 503") {
        return Err(answer);
    }
    let sid = sid_of(&answer);
    let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>";
    let bind = "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
    let restart = " xmlns:xmpp='urn:xmpp:xbosh' xmpp:restart='true'";
    let mut heard = String::new();
    for (n, (attr, child)) in [("", auth), (restart, ""), ("", bind)].into_iter().enumerate() {
        heard.push_str(&bosh(a, &bosh_body(&sid, 1001 + n as u64, attr, child)));
    }
    assert!(heard.contains("<jid>"), "not logged in: {heard}");
    Ok((sid, 1004))
}

fn bosh_body(sid: &str, rid: u64, attr: &str, child: &str) -> String {
    format!("<body xmlns='http://jabber.org/protocol/httpbind' rid='{rid}' sid='{sid}'{attr}>{child}</body>")
}

/// Who sends much over BOSH is read as slowly as over any other transport.
fn bosh_too_fast(a: &Amphi) {
    let (sid, rid) = bosh_login(a).unwrap();
    let slowed = || metric(a, "amphi_refused_total{reason=\"read-rate\"}");
    let before = slowed();
    let line = format!(
        "<message xmlns='jabber:client' to='nobody@localhost/x'><body>{}</body></message>",
        "z".repeat(40 * 1024)
    );
    for n in 0..3 {
        bosh(a, &bosh_body(&sid, rid + n, "", &line));
    }
    wait_until("slowed down", || slowed() > before);
    let bye = bosh(a, &bosh_body(&sid, rid + 3, " type='terminate'", ""));
    assert!(bye.contains("terminate") && !bye.contains("condition"), "{bye}");
}

/// Sessions need no connection, so they have a bound of their own.
fn bosh_crowd(a: &Amphi) {
    let end = Instant::now() + PATIENCE;
    while bosh_login(a).is_ok() {
        assert!(Instant::now() < end, "sessions without end");
    }
}

fn wrong_rids(a: &Amphi) {
    let answer = bosh(a, BOSH_OPEN);
    let sid = sid_of(&answer);
    let next =
        |rid: u64, sid: &str| format!("<body xmlns='http://jabber.org/protocol/httpbind' rid='{rid}' sid='{sid}'/>");
    let answer = bosh(a, &next(5000, &sid));
    assert!(answer.contains("terminate") && answer.contains("item-not-found"), "{answer}");
    let answer = bosh(a, &next(1001, &sid));
    assert!(answer.contains("terminate"), "{answer}");
    let answer = bosh(a, &next(1, "nobody"));
    assert!(answer.contains("terminate") && answer.contains("item-not-found"), "{answer}");
    for bad in ["<body", "<body xmlns='urn:x'/>", "", "<body xmlns='http://jabber.org/protocol/httpbind' rid='-1'/>"] {
        let answer = bosh(a, bad);
        assert!(answer.contains("terminate") || answer.contains(" 4"), "{bad}: {answer}");
    }
}

// ---- other servers ---------------------------------------------------------------------------------------------------

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' version='1.0'";
const EVIL: &str = "<presence xmlns='jabber:server' from='ann@localhost/x' to='talk@conference.localhost/evil0000'><x xmlns='http://jabber.org/protocol/muc'/></presence>";

fn server_that_nobody_knows(a: &Amphi) {
    let mut s = connect(a.s2s);
    s.write_all(format!("{HEADER} from='evil.example' to='localhost'>").as_bytes()).unwrap();
    s.write_all(EVIL.as_bytes()).unwrap();
    let text = rest(&mut s);
    assert!(text.contains("stream:error"), "{text}");
    // A known domain is not believed either, before it has proved itself.
    let mut s = connect(a.s2s);
    s.write_all(format!("{HEADER} from='v1.meet.jitsi' to='localhost'>{EVIL}").as_bytes()).unwrap();
    let text = rest(&mut s);
    assert!(text.contains("stream:error"), "{text}");
}

#[derive(Debug)]
struct AnyServer;

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// With a certificate of its own making for the name of a node.
fn wrong_certificate(a: &Amphi) {
    let made = rcgen::generate_simple_self_signed(vec!["v1.meet.jitsi".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_client_auth_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut s = connect(a.s2s);
    s.write_all(format!("{HEADER} from='v1.meet.jitsi' to='localhost'>").as_bytes()).unwrap();
    let (mut text, mut buf) = (String::new(), [0; 4096]);
    while !text.contains("features>") {
        let n = s.read(&mut buf).expect("features");
        text.push_str(&String::from_utf8_lossy(&buf[..n]));
        // Whom the server does not talk to at all is refused before TLS.
        if n == 0 || text.contains("stream:error") {
            return;
        }
    }
    s.write_all(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").unwrap();
    text.clear();
    while !text.contains("proceed") {
        let n = s.read(&mut buf).expect("proceed");
        assert!(n > 0, "closed: {text}");
        text.push_str(&String::from_utf8_lossy(&buf[..n]));
    }
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut t = rustls::Stream::new(&mut tls, &mut s);
    let _ = t.write_all(
        format!("{HEADER} from='v1.meet.jitsi' to='localhost'><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>").as_bytes(),
    );
    let _ = t.write_all(EVIL.as_bytes());
    let mut all = Vec::new();
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        match t.read(&mut buf) {
            Ok(0) | Err(_) => break,
            Ok(n) => all.extend_from_slice(&buf[..n]),
        }
    }
    let text = String::from_utf8_lossy(&all);
    assert!(Instant::now() < end, "still open: {text}");
    assert!(!text.contains("<success"), "{text}");
}

// ---- streams that are away -------------------------------------------------------------------------------------------

/// The sum of a metric over all lines that begin like this.
fn metric(a: &Amphi, begin: &str) -> u64 {
    let text = http(a.admin, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let lines = text.lines().filter(|l| l.starts_with(begin));
    lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a client hears that comes back for its stream.
fn resume(a: &Amphi, previd: &str) -> amphi_stanza::Stanza {
    let path = format!("/xmpp-websocket?room={ROOM}&previd={previd}");
    let mut p = Person::authenticate(a.front, "eve", "localhost", &path);
    p.send(&format!("<resume xmlns='urn:xmpp:sm:3' h='0' previd='{previd}'/>"));
    p.wait(|s| matches!(s.root().name(), "resumed" | "failed"))
}

/// Somebody's broken stream waits for its client while others write to it: it is given up, and nothing else happens.
fn hibernated_queue(a: &Amphi, others: &mut Innocents) {
    let mut p = attacker(a);
    let previd = p.enable();
    p.ws.socket.shutdown(std::net::Shutdown::Both).unwrap();
    wait_until("hibernated", || metric(a, "amphi_hibernated ") == 1);
    let gone = |s: &amphi_stanza::Stanza| s.ty().as_deref() == Some("error");
    let end = Instant::now() + PATIENCE;
    while !others.bo.inbox.iter().any(gone) {
        assert!(Instant::now() < end, "the stream is never given up");
        for n in 0..20 {
            let id = format!("h{n}");
            others
                .bo
                .send(&format!("<message xmlns='jabber:client' id='{id}' to='{}'><body>hello</body></message>", p.jid));
        }
        // What says that there is nobody comes before the answer to this.
        others
            .bo
            .send("<iq xmlns='jabber:client' type='get' id='sync' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>");
        others.bo.answer("sync");
    }
    others.bo.inbox.clear();
    assert_eq!(metric(a, "amphi_hibernated "), 0);
    // All shards still take connections, and the old stream is unknown.
    for _ in 0..8 {
        Person::login(a, "ida", ROOM).leave();
    }
    assert_eq!(resume(a, &previd).root().name(), "failed");
}

/// Attacks on one server, after each of which two people still chat. The variable `HOSTILE` picks some by their names.
struct Attacks<'a> {
    a: &'a mut Amphi,
    others: Innocents,
    failed: Vec<String>,
}

impl<'a> Attacks<'a> {
    fn on(a: &'a mut Amphi) -> Self {
        let mut others = Innocents::new(a);
        others.chat();
        Self { a, others, failed: Vec::new() }
    }

    fn attack(&mut self, name: &str, body: &mut dyn FnMut(&Amphi, &mut Innocents)) {
        let only = std::env::var("HOSTILE").ok();
        if only.as_ref().is_some_and(|o| !name.contains(o.as_str())) {
            return;
        }
        let begin = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(|| {
            body(self.a, &mut self.others);
            self.others.chat();
        }));
        eprintln!("{name}: {:?}", begin.elapsed());
        if let Err(e) = done {
            let why = e.downcast_ref::<String>().cloned().or_else(|| e.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            self.failed.push(format!("{name}: {}", why.unwrap_or_default()));
        }
    }

    fn judge(self) {
        assert!(self.a.is_alive(), "the process ended");
        let failed = self.failed;
        assert!(failed.is_empty(), "{} attacks:\n{}", failed.len(), failed.join("\n"));
    }
}

#[test]
fn bad_input_hurts_its_sender_alone() {
    let mut a = Amphi::start(&[
        "limits.login_time=2s",
        "limits.resume_time=1s",
        "limits.stanza_size=32KiB",
        "limits.client_rate=64MiB",
        "limits.unsent_bytes=256KiB",
        "limits.unacked_stanzas=40",
        "links=s2s",
        "log.level=error",
    ]);
    let mut all = Attacks::on(&mut a);
    let mut attack = |name: &str, body: &mut dyn FnMut(&Amphi, &mut Innocents)| all.attack(name, body);
    attack("malformed xml", &mut |a, _| malformed_xml(a));
    attack("oversized stanza", &mut |a, _| oversized_stanza(a));
    attack("deep nesting", &mut |a, _| deep_nesting(a));
    attack("wrong namespaces", &mut |a, _| wrong_namespaces(a));
    attack("not logged in", &mut |a, _| not_logged_in(a));
    attack("unknown host", &mut |a, _| unknown_host(a));
    attack("forged from", &mut |a, o| forged_from(a, o));
    attack("unknown rooms", &mut |a, _| unknown_rooms(a));
    attack("rooms elsewhere", &mut |a, o| rooms_elsewhere(a, o));
    attack("unknown promotions", &mut |a, _| unknown_promotions(a));
    attack("garbage", &mut |a, _| garbage_on_every_port(a));
    attack("half open", &mut |a, _| half_open(a));
    attack("slow head", &mut |a, _| slow_head(a));
    attack("slow requests", &mut |a, _| slow_requests(a));
    attack("long head", &mut |a, _| long_head(a));
    attack("bad frames", &mut |a, _| bad_frames(a));
    attack("huge bodies", &mut |a, _| huge_bodies(a));
    attack("wrong rids", &mut |a, _| wrong_rids(a));
    attack("unknown server", &mut |a, _| server_that_nobody_knows(a));
    attack("wrong certificate", &mut |a, _| wrong_certificate(a));
    attack("stalled reader", &mut |a, o| stalled(a, o, false));
    attack("never acknowledges", &mut |a, o| stalled(a, o, true));
    all.judge();
}

/// Bounds that the usual settings of the other test never reach.
#[test]
fn what_one_peer_uses_is_bounded() {
    let mut a = Amphi::start(&[
        "limits.login_time=2s",
        "limits.resume_time=60s",
        "limits.unacked_stanzas=40",
        "limits.handshakes=4",
        "limits.handshakes_waiting=100",
        "links=s2s",
        "limits.client_rate=16KiB",
        "limits.bosh_sessions=5",
        "log.level=error",
    ]);
    let mut all = Attacks::on(&mut a);
    all.attack("hibernated queue", &mut hibernated_queue);
    all.attack("silent crowd", &mut |a, _| silent_crowd(a));
    all.attack("strangers", &mut |a, _| strangers(a));
    all.attack("BOSH without login", &mut |a, _| bosh_without_login(a));
    all.attack("BOSH too fast", &mut |a, _| bosh_too_fast(a));
    // Last: its sessions stay.
    all.attack("BOSH crowd", &mut |a, _| bosh_crowd(a));
    all.judge();
}
