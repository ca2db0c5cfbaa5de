//! A client's stream against a server that speaks from a script.

use std::time::{Duration, Instant};

use amphi_stanza::{Limits, Stanza, StreamReader, XmlWriter, ns};
use amphi_xmpp::client::{
    ClientConfig, ClientOutput, ClientStream, CloseReason, Credentials, Input, NotSent, QueueLimits,
};
use amphi_xmpp::sasl::client::ClientError;
use amphi_xmpp::sasl::{Hash, ScramCredentials, ScramServer, decode, encode};

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams' id='1' from='auth.meet.example' version='1.0'>";
const TLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>";
const BOUND: &str = "<iq type='result' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                     <jid>focus@auth.meet.example/focus</jid></bind></iq>";
const AFTER: &str = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>\
                     <session xmlns='urn:ietf:params:xml:ns:xmpp-session'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";

fn mechanisms(list: &[&str]) -> String {
    let mut w = XmlWriter::new();
    w.open("stream:features").open_ns("mechanisms", ns::SASL);
    for m in list {
        w.text_element("mechanism", m);
    }
    w.finish_string()
}

fn password() -> ClientConfig {
    let credentials = Credentials::Password { user: "focus".into(), password: "secret".into() };
    ClientConfig { resource: Some("focus".into()), ..ClientConfig::new("auth.meet.example", credentials) }
}

fn anonymous() -> ClientConfig {
    ClientConfig::new("auth.meet.example", Credentials::Anonymous)
}

struct Talk {
    now: Instant,
    client: ClientStream,
    reader: StreamReader,
    events: Vec<ClientOutput>,
    certificate_ok: bool,
}

impl Talk {
    fn new(config: ClientConfig) -> Self {
        let now = Instant::now();
        let reader = StreamReader::new(Limits::default());
        Self { now, client: ClientStream::new(now, config), reader, events: Vec::new(), certificate_ok: true }
    }

    fn connect(&mut self) -> String {
        self.reader = StreamReader::new(Limits::default());
        self.client.handle(self.now, Input::Connected);
        self.drain()
    }

    fn drain(&mut self) -> String {
        let mut wire = String::new();
        while let Some(o) = self.client.poll_output() {
            match o {
                ClientOutput::Send(b) => wire.push_str(std::str::from_utf8(&b).unwrap()),
                ClientOutput::StartTls => {
                    self.reader.clear();
                    self.client.handle(self.now, Input::Secured { certificate_ok: self.certificate_ok });
                }
                ClientOutput::Restart => self.reader.restart(),
                o => self.events.push(o),
            }
        }
        wire
    }

    /// The server says this; the answer is what the client writes.
    fn server(&mut self, text: &str) -> String {
        let mut wire = String::new();
        for b in text.as_bytes().chunks(5) {
            self.reader.push(b);
            loop {
                match self.reader.next_event() {
                    Ok(None) => break,
                    Ok(Some(e)) => self.client.handle(self.now, Input::Event(e)),
                    Err(e) => self.client.handle(self.now, Input::Invalid(e)),
                }
                wire += &self.drain();
                if matches!(self.events.last(), Some(ClientOutput::Closed { .. })) {
                    return wire;
                }
            }
        }
        wire
    }

    fn online(config: ClientConfig) -> Self {
        let mut t = Self::new(config);
        t.connect();
        t.log_in();
        t.server(BOUND);
        t.server("<enabled xmlns='urn:xmpp:sm:3' id='sess' resume='true'/>");
        assert!(matches!(t.events[..], [ClientOutput::Online { resumed: false, .. }]), "{:?}", t.events);
        t.events.clear();
        t
    }

    fn log_in(&mut self) -> String {
        self.server(HEADER);
        self.server(&mechanisms(&["ANONYMOUS"]));
        self.server(SUCCESS);
        self.server(HEADER);
        self.server(AFTER)
    }

    fn send(&mut self, id: usize) -> String {
        self.client.send(self.now, message(id)).unwrap();
        self.drain()
    }

    fn reason(&self) -> &CloseReason {
        match self.events.last() {
            Some(ClientOutput::Closed { reason, .. }) => reason,
            o => panic!("not closed: {o:?}"),
        }
    }
}

fn message(id: usize) -> Stanza {
    let mut w = XmlWriter::new();
    w.open_ns("message", ns::CLIENT).attr("to", "r@conference.meet.example").attr("id", id);
    w.stanza()
}

fn ids(v: &[Stanza]) -> Vec<String> {
    v.iter().map(|s| s.id().unwrap().into_owned()).collect()
}

#[test]
fn plain_is_for_a_server_whose_certificate_is_known() {
    for (certificate_ok, told) in [(true, true), (false, false)] {
        let mut t = Talk::new(ClientConfig { require_certificate: false, ..password() });
        t.certificate_ok = certificate_ok;
        t.connect();
        t.server(HEADER);
        t.server(&["<stream:features>", TLS, "</stream:features>"].concat());
        t.server("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        t.server(HEADER);
        let answer = t.server(&mechanisms(&["PLAIN"]));
        assert_eq!(answer.contains("AGZvY3VzAHNlY3JldA=="), told, "{answer}");
        if !told {
            assert_eq!(*t.reason(), CloseReason::NoMechanism);
        }
    }
    // A proof that keeps the password is for any.
    let mut t = Talk::new(ClientConfig { require_certificate: false, ..password() });
    t.certificate_ok = false;
    t.connect();
    t.server(HEADER);
    t.server(&["<stream:features>", TLS, "</stream:features>"].concat());
    t.server("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    t.server(HEADER);
    assert!(t.server(&mechanisms(&["PLAIN", "SCRAM-SHA-1"])).contains("mechanism='SCRAM-SHA-1'"));
}

#[test]
fn login_over_tls_with_scram_and_bind() {
    let mut t = Talk::new(password());
    let open = t.connect();
    assert!(open.contains("to='auth.meet.example'") && open.contains("xmlns='jabber:client'"), "{open}");
    t.server(HEADER);
    let answer = t.server(&["<stream:features>", TLS, "</stream:features>"].concat());
    assert_eq!(answer, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    let answer = t.server("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    assert!(answer.contains("<stream:stream"), "{answer}");
    t.server(HEADER);
    let auth = t.server(&mechanisms(&["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "X-ODD"]));
    assert!(auth.contains("mechanism='SCRAM-SHA-256'"), "{auth}");
    let auth = Stanza::authored(auth.into());
    let cred = ScramCredentials::derive(Hash::Sha256, "secret", b"salt", ScramCredentials::DEFAULT_ITERATIONS);
    let first = decode(auth.root()).unwrap().unwrap();
    let (server, challenge) = ScramServer::start(&first, "snonce", |_| cred).unwrap();
    let challenge = encode("challenge", None, Some(challenge.as_bytes()));
    let response = t.server(std::str::from_utf8(&challenge).unwrap());
    let response = decode(Stanza::authored(response.into()).root()).unwrap().unwrap();
    let (who, last) = server.finish(&response).unwrap();
    assert_eq!(who.user, "focus");
    let success = encode("success", None, Some(last.as_bytes()));
    let open = t.server(std::str::from_utf8(&success).unwrap());
    assert!(open.contains("<stream:stream"), "{open}");
    t.server(HEADER);
    let bind = t.server(AFTER);
    assert!(bind.contains("<resource>focus</resource>"), "{bind}");
    assert_eq!(t.server(BOUND), "<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
    assert!(t.events.is_empty(), "not online before stream management is settled");
    t.server("<enabled xmlns='urn:xmpp:sm:3'/>");
    let ClientOutput::Online { jid, resumed: false } = &t.events[0] else { panic!("{:?}", t.events) };
    assert_eq!(jid.as_str(), "focus@auth.meet.example/focus");
}

#[test]
fn the_password_is_never_sent_in_the_clear() {
    let mut t = Talk::new(password());
    t.connect();
    t.server(HEADER);
    let answer = t.server(&mechanisms(&["PLAIN"]));
    assert!(!answer.contains("auth"), "{answer}");
    assert_eq!(*t.reason(), CloseReason::NoMechanism);
    // Unless it was said that the network is trusted.
    let mut t = Talk::new(ClientConfig { plain_without_tls: true, ..password() });
    t.connect();
    t.server(HEADER);
    assert!(t.server(&mechanisms(&["PLAIN"])).contains("mechanism='PLAIN'>AGZvY3VzAHNlY3JldA=="));
}

#[test]
fn a_server_that_knows_no_password_gets_no_stream() {
    let mut t = Talk::new(password());
    t.connect();
    t.server(HEADER);
    t.server(&mechanisms(&["SCRAM-SHA-1"]));
    t.server(SUCCESS);
    assert!(matches!(t.reason(), CloseReason::Login(ClientError::Server(_))));
}

#[test]
fn a_refused_login_says_why() {
    let mut t = Talk::new(anonymous());
    t.connect();
    t.server(HEADER);
    t.server(&mechanisms(&["ANONYMOUS"]));
    t.server("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>");
    assert!(matches!(t.reason(), CloseReason::Login(ClientError::Refused(_))));
    assert!(matches!(t.client.send(t.now, message(1)), Err(NotSent::Offline(_))));
}

#[test]
fn stanzas_before_the_result_of_bind_are_passed_on() {
    let mut t = Talk::new(anonymous());
    t.connect();
    t.log_in();
    t.server("<message from='meet.example'><services xmlns='x'/></message>");
    assert!(matches!(t.events[..], [ClientOutput::Stanza(_)]));
    t.server(
        "<iq type='error' id='bind'><error type='cancel'><not-allowed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
              </error></iq>",
    );
    assert_eq!(*t.reason(), CloseReason::Bind("not-allowed".to_owned()));
}

#[test]
fn a_lost_connection_is_resumed_and_the_unacknowledged_sent_again() {
    let mut t = Talk::online(anonymous());
    t.server("<message id='a'/><presence/>");
    assert_eq!(t.server("<r xmlns='urn:xmpp:sm:3'/>"), "<a xmlns='urn:xmpp:sm:3' h='2'/>");
    assert!(t.send(1).contains("<message to='r@conference.meet.example' id='1'/>"));
    t.send(2);
    t.server("<a xmlns='urn:xmpp:sm:3' h='1'/>");
    t.client.handle(t.now, Input::Closed);
    assert_eq!(t.drain(), "");
    assert!(matches!(t.events.last(), Some(ClientOutput::Closed { resumable: true, .. })));
    assert_eq!(t.send(3), "", "kept for the next connection");
    // An attempt that fails changes nothing.
    t.client.handle(t.now, Input::Closed);
    t.drain();
    assert!(matches!(t.events.last(), Some(ClientOutput::Closed { resumable: true, .. })));
    t.events.clear();
    t.connect();
    assert_eq!(t.log_in(), "<resume xmlns='urn:xmpp:sm:3' previd='sess' h='2'/>");
    let again = t.server("<resumed xmlns='urn:xmpp:sm:3' previd='sess' h='1'/>");
    let at = |id| again.find(id).unwrap_or_else(|| panic!("{again}"));
    assert!(at("id='2'") < at("id='3'") && !again.contains("id='1'"), "{again}");
    assert!(matches!(t.events[..], [ClientOutput::Online { resumed: true, .. }]));
}

#[test]
fn a_session_that_the_server_lost_is_started_anew_on_the_same_connection() {
    let mut t = Talk::online(anonymous());
    t.send(1);
    t.send(2);
    t.client.handle(t.now, Input::Closed);
    t.drain();
    t.events.clear();
    t.connect();
    t.log_in();
    let bind = t.server(
        "<failed xmlns='urn:xmpp:sm:3' h='1'>\
                         <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
    );
    assert!(bind.contains("<bind "), "{bind}");
    let ClientOutput::Fresh { unacked } = &t.events[0] else { panic!("{:?}", t.events) };
    assert_eq!(ids(unacked), ["2"]);
    t.server(BOUND);
    t.server(
        "<failed xmlns='urn:xmpp:sm:3'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
    );
    assert!(matches!(t.events[1], ClientOutput::Online { resumed: false, .. }));
}

#[test]
fn an_orderly_end_and_a_hard_error_return_what_was_not_acknowledged() {
    for end in
        ["</stream:stream>", "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"]
    {
        let mut t = Talk::online(anonymous());
        t.send(1);
        assert!(t.server(end).ends_with("</stream:stream>"));
        let Some(ClientOutput::Closed { resumable: false, unacked, .. }) = t.events.last() else {
            panic!("{:?}", t.events)
        };
        assert_eq!(ids(unacked), ["1"]);
    }
    // A server that restarts may still have the session.
    let mut t = Talk::online(anonymous());
    t.server("<stream:error><system-shutdown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>");
    assert!(matches!(t.events.last(), Some(ClientOutput::Closed { resumable: true, .. })));
}

#[test]
fn a_dead_server_is_noticed() {
    let mut t = Talk::online(anonymous());
    let start = t.now;
    t.now = t.client.poll_timeout().unwrap();
    t.client.handle(t.now, Input::Tick);
    assert_eq!((t.now - start, t.drain().as_str()), (Duration::from_secs(30), "<r xmlns='urn:xmpp:sm:3'/>"));
    while t.events.is_empty() {
        t.now = t.client.poll_timeout().unwrap();
        t.client.handle(t.now, Input::Tick);
        t.drain();
    }
    assert_eq!((*t.reason()).clone(), CloseReason::Timeout("acknowledgement"));
    assert_eq!(t.now - start, Duration::from_secs(90));
}

#[test]
fn negotiation_has_a_deadline() {
    let mut t = Talk::new(anonymous());
    t.connect();
    t.now = t.client.poll_timeout().unwrap();
    t.client.handle(t.now, Input::Tick);
    t.drain();
    assert_eq!(*t.reason(), CloseReason::Timeout("negotiation"));
    assert_eq!(t.client.poll_timeout(), None);
}

#[test]
fn the_queue_is_bounded() {
    let queue = QueueLimits { stanzas: 2, bytes: 10_000 };
    let mut t = Talk::online(ClientConfig { queue, ..anonymous() });
    t.send(1);
    t.send(2);
    assert!(matches!(t.client.send(t.now, message(3)), Err(NotSent::Full(_))));
    t.server("<a xmlns='urn:xmpp:sm:3' h='2'/>");
    t.send(4);
}

#[test]
fn nonsense_ends_the_stream_with_an_error() {
    for bad in [
        "<enabled xmlns='urn:xmpp:sm:3'/>",
        "<a xmlns='urn:xmpp:sm:3' h='7'/>",
        "<a xmlns='urn:xmpp:sm:3' h='x'/>",
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        "<odd xmlns='x'/>",
        "<a></b>",
        "text",
    ] {
        let mut t = Talk::online(anonymous());
        let answer = t.server(bad);
        assert!(answer.contains("<stream:error ") && answer.ends_with("</stream:stream>"), "{bad}: {answer}");
        assert!(matches!(t.reason(), CloseReason::Protocol(_)), "{bad}");
    }
}
