//! Transcripts: what a client sends and what it gets.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use amphi_stanza::{Limits, Stanza, StreamEvent, StreamReader};

use super::*;
use crate::sasl::{self, Failure, Hash, Mechanism, ScramCredentials, client};
use crate::{StreamCondition, StreamError};

const UUID: &str = "1a2b3c4d-0000-4000-8000-000000000000";

#[derive(Clone, Debug, PartialEq)]
struct Who(String);

struct Node {
    hosts: Vec<Arc<HostProfile>>,
    passwords: HashMap<&'static str, &'static str>,
    later: bool,
    counter: u8,
}

impl Node {
    fn new() -> Self {
        let host = |name: &str, mechanisms: &[Mechanism], resource, sm| {
            Arc::new(HostProfile::new(HostInfo {
                name: name.into(),
                mechanisms: mechanisms.into(),
                starttls: StartTlsPolicy::Required,
                sm,
                resource,
            }))
        };
        let sm = Some(Resumption::default());
        Self {
            hosts: vec![
                host("meet.example", &[Mechanism::Anonymous], ResourcePolicy::Generated, sm),
                host(
                    "auth.meet.example",
                    &[Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain],
                    ResourcePolicy::Requested,
                    sm,
                ),
                host("plain.example", &[Mechanism::Anonymous], ResourcePolicy::Generated, None),
            ],
            passwords: [("focus", "s3cret")].into(),
            later: false,
            counter: 0,
        }
    }
}

impl Backend for Node {
    type Identity = Who;

    fn host(&self, name: &str) -> Option<Arc<HostProfile>> {
        self.hosts.iter().find(|h| h.name() == name).cloned()
    }

    fn anonymous(&mut self, _: &HostProfile, params: &UrlParams) -> Verdict<Who> {
        if self.later {
            return Verdict::Later;
        }
        match params.token.as_deref() {
            Some("bad") => Verdict::Refused(Failure::not_allowed("token required")),
            _ => Verdict::Granted(Login { localpart: UUID.into(), identity: Who("guest".into()) }),
        }
    }

    fn scram(&self, _: &HostProfile, user: &str, hash: Hash) -> Option<ScramCredentials> {
        self.passwords
            .get(user)
            .map(|p| ScramCredentials::derive(hash, p, b"salt", ScramCredentials::DEFAULT_ITERATIONS))
    }

    fn account(&mut self, _: &HostProfile, user: &str) -> Verdict<Who> {
        Verdict::Granted(Login { localpart: user.into(), identity: Who(user.into()) })
    }

    fn random(&mut self, out: &mut [u8]) {
        self.counter += 1;
        out.fill(self.counter);
    }

    fn decoy_key(&self) -> [u8; 32] {
        [7; 32]
    }
}

struct Client {
    node: Node,
    n: Negotiation<Who>,
    framing: Framing,
    log: Vec<String>,
    bound: Option<Box<Bound<Who>>>,
    resume: Option<Box<ResumeRequest<Who>>>,
}

fn stanza(xml: &str) -> Stanza {
    Stanza::parse(Bytes::from(xml.to_owned()), &Limits::default()).unwrap()
}

impl Client {
    fn new(framing: Framing, security: Security, query: &str) -> Self {
        let n = Negotiation::new(framing, security, UrlParams::parse(query), NegotiationLimits::default());
        Self { node: Node::new(), n, framing, log: Vec::new(), bound: None, resume: None }
    }

    fn websocket() -> Self {
        Self::new(Framing::WebSocket, Security::Encrypted, "room=town")
    }

    /// A WebSocket whose login is done.
    fn logged_in() -> Self {
        let mut c = Self::websocket();
        c.open("meet.example");
        c.send("<auth mechanism='ANONYMOUS' xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        c.open("meet.example");
        c
    }

    fn drain(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        while let Some(o) = self.n.poll_output() {
            out.push(match o {
                Output::Send(b) => String::from_utf8(b.to_vec()).unwrap(),
                Output::StartTls => "starttls".into(),
                Output::Restart => "restart".into(),
                Output::Bound(b) => {
                    let line = format!("bound {} by {}", b.jid, b.identity.0);
                    self.bound = Some(b);
                    line
                }
                Output::Resume(r) => {
                    let line = format!("resume {} h={} for {}@{}", r.previd, r.h, r.localpart, r.host.name());
                    self.resume = Some(r);
                    line
                }
                Output::Close { error } => match error {
                    None => "close".into(),
                    Some(e) => format!("close {}", e.condition.as_str()),
                },
            });
        }
        self.log.extend(out.iter().cloned());
        out
    }

    fn header(&mut self, xml: &str) -> Vec<String> {
        let h = if self.framing == Framing::Tcp {
            let mut r = StreamReader::new(Limits::default());
            r.push(xml.as_bytes());
            match r.next_event().unwrap().unwrap() {
                StreamEvent::Header(h) => h,
                other => panic!("{other:?}"),
            }
        } else {
            stanza(xml)
        };
        self.n.on_header(&mut self.node, &h);
        self.drain()
    }

    fn open(&mut self, to: &str) -> Vec<String> {
        self.header(&match self.framing {
            Framing::WebSocket => {
                format!("<open to=\"{to}\" version=\"1.0\" xmlns=\"urn:ietf:params:xml:ns:xmpp-framing\"/>")
            }
            Framing::Tcp => format!(
                "<?xml version='1.0'?><stream:stream to='{to}' version='1.0' xmlns='jabber:client' \
                 xmlns:stream='http://etherx.jabber.org/streams'>"
            ),
            Framing::Bosh => format!("<body xmlns='http://jabber.org/protocol/httpbind' to='{to}'/>"),
        })
    }

    fn send(&mut self, xml: &str) -> Vec<String> {
        self.n.on_element(&mut self.node, &stanza(xml));
        self.drain()
    }

    fn auth(&mut self, mechanism: &str, message: &str) -> Vec<String> {
        use base64::Engine as _;
        let m = base64::engine::general_purpose::STANDARD.encode(message);
        self.send(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{m}</auth>"))
    }
}

const FEATURES_HEAD: &str = "<stream:features xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const BIND: &str = "<iq id=\"_bind_auth_2\" type=\"set\"><bind xmlns=\"urn:ietf:params:xml:ns:xmpp-bind\"/></iq>";
const ANONYMOUS: &str = "<auth mechanism=\"ANONYMOUS\" xmlns=\"urn:ietf:params:xml:ns:xmpp-sasl\"/>";

fn failure(condition: &str) -> String {
    format!("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><{condition}/></failure>")
}

fn assert_closed(out: &[String], condition: &str) {
    assert_eq!(out.last().map(String::as_str), Some(&*format!("close {condition}")), "{out:#?}");
    assert!(
        out.iter().any(|l| l.starts_with("<stream:error xmlns:stream='http://etherx.jabber.org/streams'><")
            && l.contains(&format!("<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"))),
        "{out:#?}"
    );
}

#[test]
fn anonymous_user_joins_over_websocket() {
    let mut c = Client::websocket();
    assert_eq!(
        c.open("meet.example"),
        [
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0' xml:lang='en' from='meet.example' \
             id='AQEBAQEBAQEBAQEB'/>"
                .to_owned(),
            format!(
                "{FEATURES_HEAD}<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>ANONYMOUS</mechanism>\
                 </mechanisms></stream:features>"
            ),
        ]
    );
    assert_eq!(c.send(ANONYMOUS), [SUCCESS, "restart"]);
    let out = c.open("meet.example");
    assert!(out[0].starts_with("<open ") && out[0].contains("id='AgICAgICAgICAgIC'"));
    assert_eq!(
        out[1],
        format!(
            "{FEATURES_HEAD}<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><required/></bind>\
             <sm xmlns='urn:xmpp:sm:2'/><sm xmlns='urn:xmpp:sm:3'/></stream:features>"
        )
    );
    assert_eq!(c.send(BIND), [format!("bound {UUID}@meet.example/AwMDAwMD by guest")]);
    let b = c.bound.unwrap();
    assert_eq!(
        b.bind_result,
        format!(
            "<iq xmlns='jabber:client' type='result' id='_bind_auth_2'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
             <jid>{UUID}@meet.example/AwMDAwMD</jid></bind></iq>"
        )
    );
    assert_eq!(b.params.room.as_deref(), Some("town"));
    assert_eq!(b.mechanism, Mechanism::Anonymous);
    assert!(c.n.is_done());
}

#[test]
fn session_is_never_advertised() {
    let c = Client::logged_in();
    assert!(!c.log.iter().any(|l| l.contains("xmpp-session")));
}

#[test]
fn refused_token_has_the_shape_that_clients_read() {
    let mut c = Client::new(Framing::WebSocket, Security::Encrypted, "room=town&token=bad");
    c.open("meet.example");
    assert_eq!(
        c.send(ANONYMOUS),
        ["<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-allowed/><text>token required</text></failure>"]
    );
}

#[test]
fn verdict_may_come_later() {
    let mut c = Client::websocket();
    c.node.later = true;
    c.open("meet.example");
    assert!(c.send(ANONYMOUS).is_empty());
    c.n.decide(Ok(Login { localpart: UUID.into(), identity: Who("late".into()) }));
    assert_eq!(c.drain(), [SUCCESS, "restart"]);
    // A second verdict is one too many.
    c.n.decide(Err(Failure::not_authorized()));
    assert!(c.drain().is_empty());
}

#[test]
fn client_that_does_not_wait_for_the_verdict_is_closed() {
    let mut c = Client::websocket();
    c.node.later = true;
    c.open("meet.example");
    c.send(ANONYMOUS);
    assert_closed(&c.send("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"), "policy-violation");
    c.n.decide(Ok(Login { localpart: UUID.into(), identity: Who("late".into()) }));
    assert!(c.drain().is_empty());
}

#[test]
fn unknown_host_gets_a_header_and_an_error() {
    for to in ["other.example", "user@meet.example", "meet.example/x", "&lt;"] {
        let mut c = Client::websocket();
        let out = c.open(to);
        assert_eq!(
            out[0],
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0' xml:lang='en' id='AQEBAQEBAQEBAQEB'/>"
        );
        assert_closed(&out, "host-unknown");
        assert_eq!(out[2], "<close xmlns=\"urn:ietf:params:xml:ns:xmpp-framing\" />");
    }
}

#[test]
fn host_name_is_normalised() {
    assert!(Client::websocket().open("MEET.Example")[0].contains("from='meet.example'"));
}

#[test]
fn bad_headers_are_errors() {
    for (xml, condition) in [
        ("<open version='1.0' xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>", "improper-addressing"),
        ("<open to='meet.example' xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>", "unsupported-version"),
        ("<open to='meet.example' version='0.9' xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>", "unsupported-version"),
        ("<open to='meet.example' version='x' xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>", "unsupported-version"),
        ("<open to='meet.example' version='1.0' xmlns='urn:odd'/>", "invalid-namespace"),
        ("<open to='meet.example' version='1.0'/>", "invalid-namespace"),
        ("<iq/>", "bad-format"),
    ] {
        let out = Client::websocket().header(xml);
        assert!(out[0].starts_with("<open "), "{xml}");
        assert_closed(&out, condition);
    }
    let mut c = Client::new(Framing::Tcp, Security::Trusted, "");
    let out = c.header(
        "<stream:stream to='auth.meet.example' version='1.0' xmlns='jabber:server' \
         xmlns:stream='http://etherx.jabber.org/streams'>",
    );
    assert_closed(&out, "invalid-namespace");
}

#[test]
fn element_before_the_header_is_an_error_after_a_header() {
    let mut c = Client::websocket();
    let out = c.send("<iq type='get' id='1'/>");
    assert!(out[0].starts_with("<open "));
    assert_closed(&out, "bad-format");
}

#[test]
fn second_header_without_login_is_an_error() {
    let mut c = Client::websocket();
    c.open("meet.example");
    let out = c.open("meet.example");
    assert!(!out[0].starts_with("<open "), "the stream is open already: {out:#?}");
    assert_closed(&out, "bad-format");
}

#[test]
fn host_cannot_change_after_the_login() {
    let mut c = Client::websocket();
    c.open("meet.example");
    c.send(ANONYMOUS);
    assert_closed(&c.open("auth.meet.example"), "not-authorized");
}

#[test]
fn stanzas_before_the_login_are_not_authorized() {
    for xml in ["<iq type='set' id='1'/>", "<message/>", "<presence/>"] {
        let mut c = Client::websocket();
        c.open("meet.example");
        assert_closed(&c.send(xml), "not-authorized");
    }
    for xml in ["<x xmlns='urn:odd'/>", "<enable xmlns='urn:xmpp:sm:3'/>"] {
        let mut c = Client::websocket();
        c.open("meet.example");
        assert_closed(&c.send(xml), "unsupported-stanza-type");
    }
}

#[test]
fn mechanism_must_be_one_that_was_offered() {
    let mut c = Client::websocket();
    c.open("meet.example");
    for m in ["PLAIN", "ODD"] {
        assert_eq!(c.auth(m, "\0a\0b"), [failure("invalid-mechanism")]);
    }
    let out = c.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    assert_eq!(out[0], failure("invalid-mechanism"));
    assert_closed(&out, "policy-violation");
}

#[test]
fn plain_is_not_offered_on_an_unprotected_websocket() {
    let mut c = Client::new(Framing::WebSocket, Security::Plain, "");
    let out = c.open("auth.meet.example");
    assert!(out[1].contains("SCRAM-SHA-1") && !out[1].contains("PLAIN"), "{out:?}");
    assert_eq!(c.auth("PLAIN", "\0focus\0s3cret"), [failure("encryption-required")]);
}

#[test]
fn third_failure_closes_the_stream() {
    let mut c = Client::new(Framing::WebSocket, Security::Encrypted, "");
    c.open("auth.meet.example");
    assert_eq!(c.auth("PLAIN", "\0focus\0wrong"), [failure("not-authorized")]);
    assert_eq!(c.auth("PLAIN", "\0nobody\0wrong"), [failure("not-authorized")]);
    let out = c.auth("PLAIN", "\0focus\0wrong");
    assert_eq!(out[0], failure("not-authorized"));
    assert_closed(&out, "policy-violation");
    assert!(c.auth("PLAIN", "\0focus\0s3cret").is_empty(), "nothing happens after the end");
}

#[test]
fn plain_login_after_a_failure() {
    let mut c = Client::new(Framing::WebSocket, Security::Encrypted, "");
    c.open("auth.meet.example");
    c.auth("PLAIN", "\0focus\0wrong");
    assert_eq!(c.auth("PLAIN", "focus@auth.meet.example\0focus\0s3cret"), [SUCCESS, "restart"]);
}

#[test]
fn malformed_messages_of_a_login() {
    let mut c = Client::new(Framing::WebSocket, Security::Encrypted, "");
    c.open("auth.meet.example");
    let out = c.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>!!</auth>");
    assert_eq!(out, [failure("incorrect-encoding")]);
    assert!(c.auth("PLAIN", "nonsense")[0].contains("<malformed-request/>"));
    let mut c = Client::new(Framing::WebSocket, Security::Encrypted, "");
    c.open("auth.meet.example");
    assert_eq!(c.auth("PLAIN", "boss\0focus\0s3cret"), [failure("invalid-authzid")]);
    assert_eq!(c.auth("PLAIN", "\0focus@other.example\0s3cret"), [failure("not-authorized")]);
}

#[test]
fn first_message_may_come_after_an_empty_challenge() {
    let mut c = Client::new(Framing::WebSocket, Security::Encrypted, "");
    c.open("auth.meet.example");
    assert_eq!(
        c.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>"),
        ["<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"]
    );
    assert_eq!(
        c.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>AGZvY3VzAHMzY3JldA==</response>"),
        [SUCCESS, "restart"]
    );
}

#[test]
fn exchange_can_be_aborted() {
    let mut c = Client::new(Framing::WebSocket, Security::Encrypted, "");
    c.open("auth.meet.example");
    c.auth("SCRAM-SHA-1", "n,,n=focus,r=abc");
    assert_eq!(c.send("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"), [failure("aborted")]);
    c.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>");
    assert_eq!(c.send("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"), [failure("aborted")]);
}

fn scram_login(hash: Hash, user: &str, password: &str) -> (Client, Vec<String>) {
    let mut c = Client::new(Framing::Tcp, Security::Trusted, "");
    c.open("auth.meet.example");
    let mut login = client::Login::scram(hash, user, password, "cnonce");
    let challenge = c.send(std::str::from_utf8(&login.auth()).unwrap()).remove(0);
    let client::Step::Send(response) = login.handle(stanza(&challenge).root()).unwrap() else { panic!() };
    let out = c.send(std::str::from_utf8(&response).unwrap());
    if out.len() == 2 {
        assert_eq!(login.handle(stanza(&out[0]).root()), Ok(client::Step::Done));
    }
    (c, out)
}

#[test]
fn service_account_logs_in_with_scram_and_keeps_its_resource() {
    for hash in [Hash::Sha1, Hash::Sha256] {
        let (mut c, out) = scram_login(hash, "focus", "s3cret");
        assert_eq!(out[1], "restart");
        c.open("auth.meet.example");
        let out = c.send(
            "<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>focus</resource></bind>\
             </iq>",
        );
        assert_eq!(out, ["bound focus@auth.meet.example/focus by focus"]);
    }
}

#[test]
fn unknown_account_and_wrong_password_look_the_same() {
    for (user, password) in [("focus", "wrong"), ("nobody", "s3cret")] {
        let (_, out) = scram_login(Hash::Sha256, user, password);
        assert_eq!(out, [failure("not-authorized")]);
    }
}

#[test]
fn people_do_not_choose_their_resource() {
    let mut c = Client::logged_in();
    let out = c.send(
        "<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>mine</resource></bind></iq>",
    );
    assert_eq!(out, [format!("bound {UUID}@meet.example/AwMDAwMD by guest")]);
}

#[test]
fn tcp_stream_is_protected_before_the_login() {
    let mut c = Client::new(Framing::Tcp, Security::Plain, "");
    assert_eq!(
        c.open("auth.meet.example"),
        [
            "<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams' \
             xmlns='jabber:client' version='1.0' xml:lang='en' from='auth.meet.example' id='AQEBAQEBAQEBAQEB'>"
                .to_owned(),
            format!(
                "{FEATURES_HEAD}<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
                 </stream:features>"
            )
        ]
    );
    assert_eq!(c.auth("PLAIN", "\0focus\0s3cret"), [failure("encryption-required")]);
    assert_eq!(
        c.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
        ["<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "starttls"]
    );
    c.n.on_tls();
    assert_eq!(c.drain(), ["restart"]);
    let out = c.open("auth.meet.example");
    assert!(out[1].contains("<mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism>"));
    assert!(!out[1].contains("starttls"));
    assert_eq!(c.auth("PLAIN", "\0focus\0s3cret"), [SUCCESS, "restart"]);
}

#[test]
fn a_trusted_stream_may_do_without_tls_or_ask_for_it() {
    let mut c = Client::new(Framing::Tcp, Security::Trusted, "");
    let out = c.open("auth.meet.example");
    assert!(out[1].contains("<mechanism>PLAIN</mechanism>"));
    assert!(out[1].contains("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"));
    assert_eq!(
        c.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")[0],
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    );
}

#[test]
fn starttls_where_it_is_not_offered_ends_the_stream() {
    let mut c = Client::new(Framing::Tcp, Security::Encrypted, "");
    let out = c.open("auth.meet.example");
    assert!(out[1].contains("<mechanism>PLAIN</mechanism>") && !out[1].contains("starttls"));
    assert_eq!(
        c.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
        ["<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "</stream:stream>", "close"]
    );
}

#[test]
fn bosh_has_features_without_a_header_and_no_stream_management() {
    let mut c = Client::new(Framing::Bosh, Security::Encrypted, "room=town");
    let out = c.open("meet.example");
    assert_eq!(out.len(), 1);
    assert!(out[0].contains("ANONYMOUS"));
    c.send(ANONYMOUS);
    let out = c.header("<body xmlns='http://jabber.org/protocol/httpbind'/>");
    assert_eq!(
        out,
        [format!("{FEATURES_HEAD}<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><required/></bind></stream:features>")]
    );
    let out = c.send("<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>");
    assert!(out[0].contains("<service-unavailable"));
    assert!(c.send(BIND)[0].starts_with("bound "));
}

#[test]
fn bosh_errors_come_without_header_or_end() {
    let mut c = Client::new(Framing::Bosh, Security::Encrypted, "");
    let out = c.open("nowhere.example");
    assert_eq!(out.len(), 2);
    assert_closed(&out, "host-unknown");
}

#[test]
fn resume_is_handed_to_the_caller() {
    let mut c = Client::logged_in();
    assert_eq!(
        c.send("<resume h=\"9\" previd=\"ZC\" xmlns=\"urn:xmpp:sm:3\"/>"),
        [format!("resume ZC h=9 for {UUID}@meet.example")]
    );
    assert_eq!(c.resume.as_ref().unwrap().params.room.as_deref(), Some("town"));
}

#[test]
fn client_may_bind_after_a_failed_resumption() {
    let mut c = Client::logged_in();
    c.send("<resume h='9' previd='ZC' xmlns='urn:xmpp:sm:2'/>");
    let r = c.resume.take().unwrap();
    c.n.resume_failed(*r, Some(4));
    assert_eq!(
        c.drain(),
        ["<failed xmlns='urn:xmpp:sm:2' h='4'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"]
    );
    assert_eq!(c.send(BIND), [format!("bound {UUID}@meet.example/AwMDAwMD by guest")]);
    assert_eq!(c.bound.unwrap().params.room.as_deref(), Some("town"));
}

#[test]
fn nothing_may_come_while_a_stream_is_being_resumed() {
    let mut c = Client::logged_in();
    c.send("<resume h='9' previd='ZC' xmlns='urn:xmpp:sm:3'/>");
    assert_closed(&c.send(BIND), "policy-violation");
    let r = c.resume.take().unwrap();
    c.n.resume_failed(*r, None);
    assert!(c.drain().is_empty());
}

#[test]
fn stream_management_before_bind_fails_without_harm() {
    let mut c = Client::logged_in();
    for (xml, condition) in [
        ("<enable resume='true' xmlns='urn:xmpp:sm:3'/>", "unexpected-request"),
        ("<r xmlns='urn:xmpp:sm:3'/>", "unexpected-request"),
        ("<resume h='x' previd='ZC' xmlns='urn:xmpp:sm:3'/>", "bad-request"),
    ] {
        let out = c.send(xml);
        assert_eq!(out.len(), 1);
        assert!(out[0].starts_with("<failed xmlns='urn:xmpp:sm:3'>") && out[0].contains(condition), "{out:?}");
    }
    assert!(c.send(BIND)[0].starts_with("bound "));
}

#[test]
fn host_without_stream_management_says_so() {
    let mut c = Client::websocket();
    c.open("plain.example");
    c.send(ANONYMOUS);
    assert!(!c.open("plain.example")[1].contains("urn:xmpp:sm"));
    assert!(c.send("<resume h='1' previd='ZC' xmlns='urn:xmpp:sm:3'/>")[0].contains("<service-unavailable"));
}

#[test]
fn bad_bind_requests_get_an_error_and_another_chance() {
    let mut c = Client::logged_in();
    let bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>";
    for (xml, want) in [
        (format!("<iq type='get' id='1'>{bind}</iq>"), "<error type='modify'><bad-request"),
        (format!("<iq type='set'>{bind}</iq>"), "<error type='modify'><bad-request"),
        ("<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>".into(), "<error type='auth'><not-authorized"),
    ] {
        let out = c.send(&xml);
        assert!(out.len() == 1 && out[0].contains(want), "{xml}: {out:?}");
    }
    assert!(c.send(BIND)[0].starts_with("bound "));
    assert!(c.send(BIND).is_empty(), "the negotiation is over");
}

#[test]
fn unusable_resource_is_refused() {
    let (mut c, _) = scram_login(Hash::Sha1, "focus", "s3cret");
    c.open("auth.meet.example");
    let long = "x".repeat(1024);
    let out = c.send(&format!(
        "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{long}</resource></bind></iq>"
    ));
    assert!(out[0].contains("<bad-request"), "{out:?}");
}

#[test]
fn messages_before_bind_end_the_stream() {
    assert_closed(&Client::logged_in().send("<message to='a@b'/>"), "not-authorized");
    assert_closed(&Client::logged_in().send("<presence/>"), "not-authorized");
    assert_closed(&Client::logged_in().send(ANONYMOUS), "unsupported-stanza-type");
}

#[test]
fn close_is_answered_byte_for_byte_in_every_phase() {
    let close = "<close xmlns=\"urn:ietf:params:xml:ns:xmpp-framing\"/>";
    let want = ["<close xmlns=\"urn:ietf:params:xml:ns:xmpp-framing\" />", "close"];
    assert_eq!(Client::websocket().header(close), want);
    let mut c = Client::websocket();
    c.open("meet.example");
    assert_eq!(c.send(close), want);
    assert_eq!(Client::logged_in().send(close), want);
    let mut c = Client::new(Framing::Tcp, Security::Trusted, "");
    c.open("auth.meet.example");
    c.n.on_end();
    assert_eq!(c.drain(), ["</stream:stream>", "close"]);
}

#[test]
fn long_elements_and_endless_negotiations_are_refused() {
    let mut c = Client::websocket();
    c.open("meet.example");
    let long = "x".repeat(11 * 1024);
    assert_closed(&c.send(&format!("<x xmlns='urn:x'>{long}</x>")), "policy-violation");
    let mut c = Client::logged_in();
    let mut sent = 0;
    while !c.n.is_done() {
        c.send("<r xmlns='urn:xmpp:sm:3'/>");
        sent += 1;
        assert!(sent < 20);
    }
    assert_closed(&c.log, "policy-violation");
}

#[test]
fn caller_can_end_the_stream_once() {
    let mut c = Client::websocket();
    c.n.fail(StreamError::new(StreamCondition::ConnectionTimeout));
    let out = c.drain();
    assert!(out[0].starts_with("<open "));
    assert_closed(&out, "connection-timeout");
    c.n.fail(StreamError::new(StreamCondition::SystemShutdown));
    c.n.on_end();
    assert!(c.drain().is_empty());
}

#[test]
fn offered_mechanisms_are_read_back() {
    let mut c = Client::new(Framing::WebSocket, Security::Encrypted, "");
    let out = c.open("auth.meet.example");
    assert_eq!(sasl::offered(stanza(&out[1]).root()), [Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain]);
}

proptest! {
    /// Whatever comes in whatever order: nothing panics, every element gets an answer or ends the stream, and nobody is
    /// bound without a login.
    #[test]
    fn any_order_is_survived(framing in 0..3usize, plain: bool, ops in proptest::collection::vec(0..16usize, 0..20)) {
        let framing = [Framing::WebSocket, Framing::Tcp, Framing::Bosh][framing];
        let security = if plain { Security::Plain } else { Security::Encrypted };
        let mut c = Client::new(framing, security, "");
        for op in ops {
            let done = c.n.is_done();
            let out = match op {
                0..4 => c.open("meet.example"),
                4..7 => c.send(ANONYMOUS),
                7 => c.auth("SCRAM-SHA-1", "n,,n=focus,r=abc"),
                8 => c.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"),
                9 => c.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
                10 => {
                    c.n.on_tls();
                    c.drain();
                    continue;
                }
                11..13 => c.send(BIND),
                13 => c.send("<resume h='9' previd='ZC' xmlns='urn:xmpp:sm:3'/>"),
                14 => c.send("<message/>"),
                _ => c.send("<x xmlns='urn:x'/>"),
            };
            prop_assert_eq!(done, out.is_empty(), "{:?}", out);
        }
        let log = c.log.join("\n");
        prop_assert!(c.bound.is_none() && c.resume.is_none() || log.contains("<success"));
        prop_assert!(framing != Framing::Tcp || !plain || !log.contains("<success") || log.contains("<proceed"));
    }
}
