//! Transcripts as a stock Prosody 0.12 speaks between servers, on both of our ends, and what hostile peers may say.

mod link;

use std::time::Instant;

use amphi_stanza::{Limits, StreamReader};
use amphi_xmpp::s2s::{
    DialbackOutcome, DialbackSecret, FailReason, Incoming, IncomingConfig, IncomingOutput, Input, Outgoing,
    OutgoingConfig, OutgoingOutput, Pair, Tls, random_ids,
};
use link::{Check, MUC, NODE, World, message};
use proptest::prelude::*;

/// Our visitor node opens a stream to a stock main server.
struct ToProsody {
    now: Instant,
    out: Outgoing,
    reader: StreamReader,
    events: Vec<OutgoingOutput>,
}

impl ToProsody {
    fn new(f: impl FnOnce(&mut OutgoingConfig)) -> Self {
        let now = Instant::now();
        let mut config = OutgoingConfig::new(Pair::new(NODE, MUC).unwrap());
        f(&mut config);
        let mut out = Outgoing::new(now, config, DialbackSecret::new("s3cr3t"));
        out.send(now, message(NODE, MUC, 1)).unwrap();
        assert!(matches!(out.poll_output(), Some(OutgoingOutput::Connect)));
        out.handle(now, Input::Connected);
        Self { now, out, reader: StreamReader::new(Limits::default()), events: Vec::new() }
    }

    fn drain(&mut self) -> String {
        let mut wire = String::new();
        while let Some(o) = self.out.poll_output() {
            match o {
                OutgoingOutput::Send(b) => wire.push_str(std::str::from_utf8(&b).unwrap()),
                OutgoingOutput::StartTls => {
                    self.reader.clear();
                    self.out.handle(self.now, Input::Secured { certificate_ok: true });
                }
                OutgoingOutput::Restart => self.reader.restart(),
                o => self.events.push(o),
            }
        }
        wire
    }

    fn prosody(&mut self, text: &str) -> String {
        let mut wire = self.drain();
        self.reader.push(text.as_bytes());
        loop {
            match self.reader.next_event() {
                Ok(None) => return wire,
                Ok(Some(e)) => self.out.handle(self.now, Input::Event(e)),
                Err(e) => {
                    self.out.handle(self.now, Input::Invalid(e));
                    return wire + &self.drain();
                }
            }
            wire += &self.drain();
        }
    }

    fn up_to_tls(&mut self) {
        self.prosody(HEADER);
        let answer = self.prosody(
            "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
             </stream:features>",
        );
        assert_eq!(answer, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        self.prosody("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        self.prosody(HEADER);
    }
}

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
    xmlns:db='jabber:server:dialback' xml:lang='en' version='1.0' id='5f0c' to='conference.v1.meet.jitsi' \
    from='conference.meet.example' xmlns='jabber:server'>";
const OFFER: &str = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
    <mechanism>EXTERNAL</mechanism></mechanisms><dialback xmlns='urn:xmpp:features:dialback'/>\
    <bidi xmlns='urn:xmpp:features:bidi'/></stream:features>";

#[test]
fn prosody_accepts_us_by_certificate() {
    let mut p = ToProsody::new(|_| {});
    p.up_to_tls();
    let auth = p.prosody(OFFER);
    assert_eq!(
        auth,
        "<bidi xmlns='urn:xmpp:bidi'/><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>\
         Y29uZmVyZW5jZS52MS5tZWV0LmppdHNp</auth>"
    );
    p.prosody("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    p.prosody(HEADER);
    let enable = p.prosody(
        "<stream:features><dialback xmlns='urn:xmpp:features:dialback'/><sm xmlns='urn:xmpp:sm:2'><optional/></sm>\
         <sm xmlns='urn:xmpp:sm:3'><optional/></sm></stream:features>",
    );
    assert_eq!(enable, "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    // Prosody resumes no stream between servers: it names no id.
    let sent = p.prosody("<enabled xmlns='urn:xmpp:sm:3'/>");
    assert!(
        sent.starts_with("<message from='conference.v1.meet.jitsi' to='conference.meet.example' id='1'>"),
        "{sent}"
    );
    assert!(matches!(p.events[..], [OutgoingOutput::Ready { resumed: false }]));
    assert_eq!(p.prosody("<r xmlns='urn:xmpp:sm:3'/>"), "<a xmlns='urn:xmpp:sm:3' h='0'/>");
    p.prosody(
        "<message from='r@conference.meet.example/a' to='r@conference.v1.meet.jitsi' id='7'><body>x</body></message>",
    );
    let Some(OutgoingOutput::Stanza(s)) = p.events.last() else { panic!("{:?}", p.events) };
    assert!(s.child("body", "jabber:client").is_some(), "{s}");
    assert_eq!(p.prosody("<r xmlns='urn:xmpp:sm:3'/>"), "<a xmlns='urn:xmpp:sm:3' h='1'/>");
    // Unacknowledged when the connection is lost: it comes back.
    p.out.handle(p.now, Input::Closed);
    p.drain();
    let Some(OutgoingOutput::Failed { reason: FailReason::Unreachable, unsent }) = p.events.last() else {
        panic!("{:?}", p.events)
    };
    assert_eq!(link::ids(unsent), [1]);
}

#[test]
fn a_refused_certificate_falls_back_to_dialback() {
    let mut p = ToProsody::new(|_| {});
    p.up_to_tls();
    p.prosody(OFFER);
    let key = p.prosody("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>");
    assert!(key.starts_with("<db:result from='conference.v1.meet.jitsi' to='conference.meet.example'>"), "{key}");
    let secret = DialbackSecret::new("s3cr3t");
    assert!(key.contains(&secret.key(&Pair::new(NODE, MUC).unwrap(), "5f0c")), "{key}");
    let sent = p.prosody("<db:result from='conference.meet.example' to='conference.v1.meet.jitsi' type='valid'/>");
    assert!(sent.contains("id='1'"), "{sent}");
    assert!(matches!(p.events[..], [OutgoingOutput::Ready { resumed: false }]));
}

#[test]
fn without_dialback_a_refused_certificate_is_the_end() {
    let mut p = ToProsody::new(|c| c.dialback = false);
    p.up_to_tls();
    p.prosody(OFFER);
    p.prosody("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>");
    assert!(
        matches!(p.events.last(), Some(OutgoingOutput::Failed { reason: FailReason::Auth(c), .. }) if c == "not-authorized")
    );
}

#[test]
fn the_whitelist_of_prosody_is_understood() {
    let mut p = ToProsody::new(|_| {});
    p.prosody(HEADER);
    p.prosody(
        "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>Communication with this domain is restricted</text>\
         </stream:error></stream:stream>",
    );
    let Some(OutgoingOutput::Failed { reason, .. }) = p.events.last() else { panic!("{:?}", p.events) };
    assert_eq!(reason.to_string(), "stream error: policy-violation: Communication with this domain is restricted");
}

#[test]
fn answers_in_the_wrong_order_end_the_attempt() {
    for bad in [
        "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        "<enabled xmlns='urn:xmpp:sm:3'/>",
        "<resumed xmlns='urn:xmpp:sm:3' previd='x' h='0'/>",
        "<db:result from='conference.meet.example' to='conference.v1.meet.jitsi' type='valid'/>",
        "<message from='conference.meet.example' to='conference.v1.meet.jitsi'/>",
        "<a></b>",
        "text",
    ] {
        let mut p = ToProsody::new(|_| {});
        p.prosody(HEADER);
        let answer = p.prosody(bad);
        assert!(answer.contains("<stream:error "), "{bad}: {answer}");
        let Some(OutgoingOutput::Failed { reason: FailReason::Protocol(_), unsent }) = p.events.last() else {
            panic!("{bad}: {:?}", p.events)
        };
        assert_eq!(link::ids(unsent), [1]);
    }
    let mut p = ToProsody::new(|_| {});
    p.prosody(&HEADER.replace("from='conference.meet.example'", "from='evil.example'"));
    assert!(matches!(p.events.last(), Some(OutgoingOutput::Failed { reason: FailReason::Protocol(_), .. })));
}

// ---- a stock server opens a stream to us --------------------------------------------------------------------------

const OPEN: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' \
    from='conference.meet.example' to='conference.v1.meet.jitsi' xml:lang='en' version='1.0' \
    xmlns:stream='http://etherx.jabber.org/streams'>";

#[test]
fn prosody_is_accepted_by_certificate_and_uses_bidi() {
    let (wire, events) = World::talk(
        IncomingConfig::default(),
        &Check::default(),
        &[
            OPEN,
            "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            OPEN,
            "<bidi xmlns='urn:xmpp:bidi'/>",
            "<auth mechanism='EXTERNAL' xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>Y29uZmVyZW5jZS5tZWV0LmV4YW1wbGU=</auth>",
            OPEN,
            "<enable xmlns='urn:xmpp:sm:3'/>",
            "<presence xmlns='jabber:server' from='r@conference.meet.example/a' to='r@conference.v1.meet.jitsi/a'/>\
             <r xmlns='urn:xmpp:sm:3'/>",
            "</stream:stream>",
        ],
    );
    assert!(wire.contains("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"), "{wire}");
    assert!(wire.contains("<enabled xmlns='urn:xmpp:sm:3'/>"), "{wire}");
    assert!(wire.contains("<a xmlns='urn:xmpp:sm:3' h='1'/>"), "{wire}");
    assert!(wire.ends_with("</stream:stream>"), "{wire}");
    assert!(events[0].starts_with("Authenticated"), "{events:?}");
    assert!(events[1].starts_with("Managed { id: None }") && events[2] == "Bidi", "{events:?}");
    assert!(events[3].starts_with("Stanza(<presence ") && events[3].contains("xmlns='jabber:client'"), "{events:?}");
    assert_eq!(events[4], "Close { error: None }");
}

#[test]
fn prosody_without_a_good_certificate_is_asked_for_a_key_and_told_about_ours() {
    let now = Instant::now();
    let check = Check { certificates: Default::default(), ..Check::default() };
    let config = IncomingConfig { tls: Tls::Direct, ..IncomingConfig::default() };
    let mut stream = Incoming::new(now, config, DialbackSecret::new("s3cr3t"), random_ids());
    let mut reader = StreamReader::new(Limits::default());
    let secret = DialbackSecret::new("s3cr3t");
    let ours = secret.key(&Pair::new(NODE, MUC).unwrap(), "abc");
    let verify =
        ["<db:verify id='abc' from='conference.meet.example' to='conference.v1.meet.jitsi'>", &ours, "</db:verify>"];
    let mut wire = String::new();
    let mut events = Vec::new();
    for l in [
        OPEN,
        "<db:result from='conference.meet.example' to='conference.v1.meet.jitsi'>f00d</db:result>",
        &verify.concat(),
        "<message from='r@conference.meet.example/a' to='r@conference.v1.meet.jitsi' type='groupchat'/>",
    ] {
        reader.push(l.as_bytes());
        while let Some(e) = reader.next_event().unwrap() {
            stream.handle(now, Input::Event(e), &check);
            while let Some(o) = stream.poll_output() {
                match o {
                    IncomingOutput::Send(b) => wire.push_str(std::str::from_utf8(&b).unwrap()),
                    IncomingOutput::VerifyDialback(q) => {
                        assert_eq!((q.key.as_str(), &q.pair), ("f00d", &Pair::new(MUC, NODE).unwrap()));
                        stream.dialback_result(now, &q, DialbackOutcome::Valid);
                    }
                    o => events.push(format!("{o:?}")),
                }
            }
        }
    }
    assert!(!wire.contains("EXTERNAL"), "{wire}");
    assert!(
        wire.contains("<db:result from='conference.v1.meet.jitsi' to='conference.meet.example' type='valid'/>"),
        "{wire}"
    );
    assert!(
        wire.contains(
            "<db:verify from='conference.v1.meet.jitsi' to='conference.meet.example' id='abc' type='valid'/>"
        ),
        "{wire}"
    );
    assert!(events[1].starts_with("Stanza(<message"), "{events:?}");
}

const PIECES: &[&str] = &[
    OPEN,
    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    "<bidi xmlns='urn:xmpp:bidi'/>",
    "<auth mechanism='EXTERNAL' xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>Y29uZmVyZW5jZS5tZWV0LmV4YW1wbGU=</auth>",
    "<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    "<db:result from='conference.meet.example' to='conference.v1.meet.jitsi'>k</db:result>",
    "<db:result from='conference.meet.example' to='conference.v1.meet.jitsi' type='valid'/>",
    "<db:verify from='a' to='conference.v1.meet.jitsi' id='1'>k</db:verify>",
    "<pairs xmlns='urn:amphi:s2s:0'><pair from='meet.example' to='conference.v1.meet.jitsi'/><pair/></pairs>",
    "<enable xmlns='urn:xmpp:sm:3' resume='1'/>",
    "<resume xmlns='urn:xmpp:sm:3' previd='x' h='9'/>",
    "<r xmlns='urn:xmpp:sm:3'/>",
    "<a xmlns='urn:xmpp:sm:3' h='0'/>",
    "<a xmlns='urn:xmpp:sm:3' h='4294967295'/>",
    "<message from='a@conference.meet.example' to='b@conference.v1.meet.jitsi'><body/></message>",
    "<message from='a@evil.example' to='b@conference.v1.meet.jitsi'/>",
    "<iq type='get' from='conference.meet.example' to='@'/>",
    "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>",
    "</stream:stream>",
    "<",
    " ",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// Whatever is said in whatever order: no panic, and a stanza passes only behind an authentication for it.
    #[test]
    fn only_the_authenticated_are_heard(direct: bool, pieces in proptest::collection::vec(0..PIECES.len(), 0..24)) {
        let tls = if direct { Tls::Direct } else { Tls::Required };
        let lines: Vec<&str> = pieces.iter().map(|i| PIECES[*i]).collect();
        let (wire, events) = World::talk(IncomingConfig { tls, ..IncomingConfig::default() }, &Check::default(), &lines);
        let authenticated = events.iter().position(|e| e.starts_with("Authenticated"));
        let stanza = events.iter().position(|e| e.starts_with("Stanza"));
        prop_assert!(stanza.is_none() || authenticated.is_some_and(|a| Some(a) < stanza), "{} {:?}", wire, events);
        prop_assert!(events.iter().all(|e| !e.contains("evil.example")), "{:?}", events);
    }
}
