//! Whole joins with the parts put together as an IO layer does it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use amphi_stanza::{Limits, Stanza};
use amphi_xmpp::bosh::{self, BoshConfig, BoshSession, RequestId};
use amphi_xmpp::c2s::{
    Backend, Bound, Framing, HostInfo, HostProfile, Login, Negotiation, NegotiationLimits, Output, ResourcePolicy,
    Resumption, Security, StartTlsPolicy, UrlParams, Verdict,
};
use amphi_xmpp::sasl::{Hash, Mechanism, ScramCredentials};
use amphi_xmpp::services::{HostServices, Identity, RoomHints};
use amphi_xmpp::sm::{self, Inbound, Outbox, SmElement};

const UUID: &str = "1a2b3c4d-0000-4000-8000-000000000000";

struct Node {
    host: Arc<HostProfile>,
}

impl Node {
    fn new() -> Self {
        Self {
            host: Arc::new(HostProfile::new(HostInfo {
                name: "meet.example".into(),
                mechanisms: vec![Mechanism::Anonymous],
                starttls: StartTlsPolicy::Required,
                sm: Some(Resumption { max: Duration::from_secs(60) }),
                resource: ResourcePolicy::Generated,
            })),
        }
    }
}

impl Backend for Node {
    type Identity = ();
    fn host(&self, name: &str) -> Option<Arc<HostProfile>> {
        (name == self.host.name()).then(|| self.host.clone())
    }
    fn anonymous(&mut self, _: &HostProfile, params: &UrlParams) -> Verdict<()> {
        // Whoever names the stream to resume gets its local part back.
        let localpart = if params.previd.as_deref().is_none_or(|p| p == "ZC") { UUID } else { "other" };
        Verdict::Granted(Login { localpart: localpart.into(), identity: () })
    }
    fn scram(&self, _: &HostProfile, _: &str, _: Hash) -> Option<ScramCredentials> {
        None
    }
    fn account(&mut self, _: &HostProfile, _: &str) -> Verdict<()> {
        unreachable!("no accounts")
    }
    fn random(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
    fn decoy_key(&self) -> [u8; 32] {
        [0; 32]
    }
}

fn services() -> HostServices {
    let metadata = Identity::component("room_metadata", "metadata.meet.example");
    HostServices::new("meet.example", &[metadata], &[], vec![], vec![])
}

fn stanza(xml: impl Into<Bytes>) -> Stanza {
    Stanza::parse(xml.into(), &Limits::default()).unwrap()
}

/// Announcement and bind result, in this order.
fn welcome(bound: &Bound<()>) -> [Bytes; 2] {
    [services().announcement(&bound.jid, RoomHints::default()).unwrap(), bound.bind_result.clone()]
}

const HEADER: &str = "<open to='meet.example' version='1.0' xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";
const AUTH: &str = "<auth mechanism='ANONYMOUS' xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const BIND: &str = "<iq id='b' type='set'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";

/// One BOSH client and its server.
struct Bosh {
    now: Instant,
    node: Node,
    session: Option<BoshSession>,
    negotiation: Option<Negotiation<()>>,
    rid: u64,
}

impl Bosh {
    fn post(&mut self, attrs: &str, inner: &str) -> Vec<String> {
        self.rid += 1;
        let xml = format!(
            "<body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' rid='{}' {attrs}>{inner}</body>",
            self.rid
        );
        let (body, request) = (stanza(xml), RequestId(self.rid));
        match &mut self.session {
            Some(s) => s.handle_request(self.now, request, &body),
            None => {
                self.session = BoshSession::open(self.now, "sid".into(), request, &body, BoshConfig::default()).ok();
            }
        }
        let session = self.session.as_mut().unwrap();
        let mut answers = Vec::new();
        while let Some(output) = session.poll_output() {
            match output {
                bosh::Output::Open(header) | bosh::Output::Restart(header) => {
                    self.negotiation.as_mut().unwrap().on_header(&mut self.node, &header);
                }
                bosh::Output::Element(e) => match &mut self.negotiation {
                    Some(n) => n.on_element(&mut self.node, &e),
                    None => session.push(self.now, e.raw().clone()),
                },
                bosh::Output::Respond { body, .. } => answers.push(String::from_utf8(body.to_vec()).unwrap()),
                bosh::Output::Terminated(e) => answers.push(format!("{e:?}")),
            }
            while let Some(output) = self.negotiation.as_mut().and_then(Negotiation::poll_output) {
                match output {
                    Output::Send(b) => session.push(self.now, b),
                    Output::Bound(b) => {
                        self.negotiation = None;
                        welcome(&b).into_iter().for_each(|e| session.push(self.now, e));
                    }
                    Output::Close { error } => {
                        let condition = error.map(|_| bosh::BoshCondition::RemoteStreamError);
                        session.terminate(self.now, condition);
                    }
                    _ => {}
                }
            }
        }
        answers
    }

    fn new() -> Self {
        let params = UrlParams::parse("room=town");
        Self {
            now: Instant::now(),
            node: Node::new(),
            session: None,
            negotiation: Some(Negotiation::new(
                Framing::Bosh,
                Security::Encrypted,
                params,
                NegotiationLimits::default(),
            )),
            rid: 7,
        }
    }
}

#[test]
fn bosh_client_joins_in_four_requests() {
    let mut c = Bosh::new();
    let out = c.post("to='meet.example' wait='60' hold='1' xmpp:version='1.0'", "");
    assert!(out.len() == 1 && out[0].contains(" sid='sid' ") && out[0].contains("<mechanism>ANONYMOUS"), "{out:?}");
    assert!(c.post("", AUTH)[0].contains("<success"));
    assert!(c.post("xmpp:restart='true' to='meet.example'", "")[0].contains("<bind "));
    let out = c.post("", BIND);
    let (announced, bound) = (out[0].find("room_metadata").unwrap(), out[0].find("<jid>").unwrap());
    assert!(announced < bound, "the announcement comes before the bind result");
    let out = c.post("", "<message to='a@b'/>");
    assert!(out[0].contains("<message xmlns='jabber:client' to='a@b'/>"), "{out:?}");
}

#[test]
fn bosh_client_of_an_unknown_host_gets_a_stream_error_in_a_terminating_body() {
    let mut c = Bosh::new();
    let out = c.post("to='nowhere.example' xmpp:version='1.0'", "");
    assert!(out[0].contains("type='terminate' condition='remote-stream-error'"), "{out:?}");
    assert!(out[0].contains("<host-unknown "), "{out:?}");
    assert_eq!(out[1], "ByServer");
}

/// Runs a WebSocket up to the end of its login.
fn websocket(node: &mut Node, query: &str) -> Negotiation<()> {
    let mut n = Negotiation::new(
        Framing::WebSocket,
        Security::Encrypted,
        UrlParams::parse(query),
        NegotiationLimits::default(),
    );
    n.on_header(node, &stanza(HEADER));
    n.on_element(node, &stanza(AUTH));
    n.on_header(node, &stanza(HEADER));
    while let Some(o) = n.poll_output() {
        assert!(matches!(o, Output::Send(_) | Output::Restart));
    }
    n
}

#[test]
fn broken_websocket_is_resumed_without_loss() {
    let mut node = Node::new();
    let mut n = websocket(&mut node, "room=town");
    n.on_element(&mut node, &stanza(BIND));
    let Some(Output::Bound(bound)) = n.poll_output() else { panic!() };
    drop(n);

    // The welcome is written before the client enables stream management, so it does not count.
    let mut outbox = Outbox::new();
    welcome(&bound).into_iter().for_each(|e| outbox.push(e));
    outbox.mark_sent(2);
    let enable = stanza("<enable resume='true' xmlns='urn:xmpp:sm:3'/>");
    let Some(SmElement::Enable { resume: true, version, .. }) = SmElement::parse(enable.root()) else { panic!() };
    outbox.enable();
    let max = bound.host.sm(Framing::WebSocket).unwrap().max;
    assert_eq!(
        sm::enabled(version, Some(("ZC", max))),
        "<enabled xmlns='urn:xmpp:sm:3' id='ZC' resume='true' max='60'/>"
    );
    let mut inbound = Inbound::default();
    inbound.count();
    for m in ["<m1/>", "<m2/>", "<m3/>"] {
        outbox.push(Bytes::from_static(m.as_bytes()));
    }
    outbox.mark_sent(2);

    // The socket breaks after the client has received one of them.
    let mut n = websocket(&mut node, "room=town&previd=ZC");
    n.on_element(&mut node, &stanza("<resume h='1' previd='ZC' xmlns='urn:xmpp:sm:3'/>"));
    let Some(Output::Resume(r)) = n.poll_output() else { panic!() };
    assert_eq!((r.previd.as_str(), r.localpart.as_str(), r.host.name()), ("ZC", UUID, bound.jid.domain()));
    assert_eq!(outbox.resume(r.h), Ok(1));
    assert_eq!(sm::resumed(r.version, &r.previd, inbound.h), "<resumed xmlns='urn:xmpp:sm:3' h='1' previd='ZC'/>");
    assert_eq!(outbox.unsent().map(|e| &e[..]).collect::<Vec<_>>(), [b"<m2/>", b"<m3/>"]);
}
