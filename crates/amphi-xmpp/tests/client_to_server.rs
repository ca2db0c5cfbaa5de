//! Our client's stream against our own server side over TCP framing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_stanza::{Limits, StreamEvent, StreamReader};
use amphi_xmpp::c2s::{
    Backend, Framing, HostInfo, HostProfile, Login, Negotiation, NegotiationLimits, Output, ResourcePolicy, Resumption,
    Security, StartTlsPolicy, UrlParams, Verdict,
};
use amphi_xmpp::client::{ClientConfig, ClientOutput, ClientStream, CloseReason, Credentials, Input};
use amphi_xmpp::sasl::{Hash, Mechanism, ScramCredentials};
use amphi_xmpp::sm;

struct Node(Arc<HostProfile>);

impl Backend for Node {
    type Identity = ();
    fn host(&self, name: &str) -> Option<Arc<HostProfile>> {
        (name == self.0.name()).then(|| self.0.clone())
    }
    fn anonymous(&mut self, _: &HostProfile, _: &UrlParams) -> Verdict<()> {
        Verdict::Granted(Login { localpart: "anon".into(), identity: () })
    }
    fn scram(&self, _: &HostProfile, user: &str, hash: Hash) -> Option<ScramCredentials> {
        let iterations = ScramCredentials::DEFAULT_ITERATIONS;
        (user == "focus").then(|| ScramCredentials::derive(hash, "secret", b"salt", iterations))
    }
    fn account(&mut self, _: &HostProfile, user: &str) -> Verdict<()> {
        Verdict::Granted(Login { localpart: user.into(), identity: () })
    }
    fn random(&mut self, out: &mut [u8]) {
        out.fill(7);
    }
    fn decoy_key(&self) -> [u8; 32] {
        [0; 32]
    }
}

/// Does what the client wants; true when it has closed.
fn carry_out(
    client: &mut ClientStream,
    client_reader: &mut StreamReader,
    server_reader: &mut StreamReader,
    log: &mut Vec<String>,
) -> bool {
    while let Some(o) = client.poll_output() {
        match o {
            ClientOutput::Send(b) => server_reader.push(&b),
            ClientOutput::StartTls => {
                client_reader.clear();
                client.handle(Instant::now(), Input::Secured { certificate_ok: true });
            }
            ClientOutput::Restart => client_reader.restart(),
            ClientOutput::Online { jid, resumed } => log.push(format!("online {} {resumed}", jid.as_str())),
            ClientOutput::Fresh { unacked } => log.push(format!("fresh {}", unacked.len())),
            ClientOutput::Stanza(s) => log.push(s.to_string()),
            ClientOutput::Closed { reason, .. } => {
                log.push(format!("closed {reason}"));
                return true;
            }
        }
    }
    false
}

/// Connects once; returns what the client said after login and what the server made of it.
fn connect(client: &mut ClientStream, mechanisms: &[Mechanism], resume: bool) -> Vec<String> {
    let now = Instant::now();
    let mut node = Node(Arc::new(HostProfile::new(HostInfo {
        name: "auth.meet.example".into(),
        mechanisms: mechanisms.to_vec(),
        starttls: StartTlsPolicy::Required,
        sm: Some(Resumption { max: Duration::from_secs(15) }),
        resource: ResourcePolicy::Requested,
    })));
    let mut server =
        Negotiation::new(Framing::Tcp, Security::Plain, UrlParams::default(), NegotiationLimits::default());
    let mut server_reader = StreamReader::new(Limits::default());
    let mut client_reader = StreamReader::new(Limits::default());
    let mut log = Vec::new();
    client.handle(now, Input::Connected);
    loop {
        let mut quiet = true;
        if carry_out(client, &mut client_reader, &mut server_reader, &mut log) {
            return log;
        }
        while let Some(e) = server_reader.next_event().unwrap() {
            quiet = false;
            match e {
                StreamEvent::Header(h) => server.on_header(&mut node, &h),
                StreamEvent::Element(s) if server.is_done() => match sm::SmElement::parse(s.root()) {
                    Some(sm::SmElement::Enable { .. }) => {
                        let max = Duration::from_secs(15);
                        client_reader.push(&sm::enabled(sm::Version::of(s.root()), Some(("sess", max))));
                    }
                    other => log.push(format!("server got {other:?}")),
                },
                StreamEvent::Element(s) => server.on_element(&mut node, &s),
                StreamEvent::End => server.on_end(),
            }
            while let Some(o) = server.poll_output() {
                match o {
                    Output::Send(b) => client_reader.push(&b),
                    Output::StartTls => {
                        server_reader.clear();
                        // Deliver `<proceed/>` before the new stream.
                        while let Some(e) = client_reader.next_event().unwrap() {
                            client.handle(now, Input::Event(e));
                        }
                        server.on_tls();
                    }
                    Output::Restart => server_reader.restart(),
                    Output::Bound(b) => client_reader.push(&b.bind_result),
                    Output::Resume(r) if resume => {
                        client_reader.push(&sm::resumed(r.version, &r.previd, 0));
                    }
                    Output::Resume(r) => server.resume_failed(*r, Some(0)),
                    Output::Close { error } => log.push(format!("server closed {error:?}")),
                }
            }
        }
        while let Ok(Some(e)) = client_reader.next_event() {
            quiet = false;
            client.handle(now, Input::Event(e));
            if carry_out(client, &mut client_reader, &mut server_reader, &mut log) {
                return log;
            }
        }
        if quiet {
            return log;
        }
    }
}

fn focus(password: &str) -> ClientStream {
    let credentials = Credentials::Password { user: "focus".into(), password: password.into() };
    let mut config = ClientConfig::new("auth.meet.example", credentials);
    config.resource = Some("focus".into());
    ClientStream::new(Instant::now(), config)
}

#[test]
fn every_password_mechanism_logs_in_and_the_session_resumes() {
    for m in [Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain] {
        let mut client = focus("secret");
        assert_eq!(connect(&mut client, &[m], true), ["online focus@auth.meet.example/focus false"], "{m:?}");
        client.handle(Instant::now(), Input::Closed);
        while client.poll_output().is_some() {}
        assert_eq!(connect(&mut client, &[m], true), ["online focus@auth.meet.example/focus true"]);
        client.handle(Instant::now(), Input::Closed);
        while client.poll_output().is_some() {}
        assert_eq!(connect(&mut client, &[m], false), ["fresh 0", "online focus@auth.meet.example/focus false"]);
    }
}

#[test]
fn a_wrong_password_is_refused() {
    for m in [Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain] {
        let log = connect(&mut focus("wrong"), &[m], true);
        assert!(log.iter().any(|l| l.starts_with("closed login: refused")), "{m:?}: {log:?}");
    }
    let log = connect(&mut focus("secret"), &[Mechanism::Anonymous], true);
    assert_eq!(log, [["closed ", &CloseReason::NoMechanism.to_string()].concat()]);
}
