//! A client before it has an address: no panic, an end after bounded steps, what we answer is well-formed, and nobody is
//! bound who has not logged in.

use std::sync::Arc;

use amphi_stanza::{Limits, Stanza, StreamEvent, StreamReader};
use amphi_xmpp::c2s::{
    Backend, Framing, HostInfo, HostProfile, Login, Negotiation, NegotiationLimits, Output, ResourcePolicy, Resumption,
    Security, StartTlsPolicy, UrlParams, Verdict,
};
use amphi_xmpp::sasl::{Failure, Hash, Mechanism, ScramCredentials};
use bytes::Bytes;

struct Node {
    host: Arc<HostProfile>,
    later: bool,
    granted: bool,
}

impl Node {
    fn login(&mut self, localpart: &str) -> Verdict<()> {
        if self.later {
            return Verdict::Later;
        }
        self.granted = true;
        Verdict::Granted(Login { localpart: localpart.into(), identity: () })
    }
}

impl Backend for Node {
    type Identity = ();

    fn host(&self, name: &str) -> Option<Arc<HostProfile>> {
        (name == self.host.name()).then(|| self.host.clone())
    }
    fn anonymous(&mut self, _: &HostProfile, params: &UrlParams) -> Verdict<()> {
        match params.token.as_deref() {
            Some("bad") => Verdict::Refused(Failure::not_allowed("token required")),
            _ => self.login("1a2b3c4d-0000-4000-8000-000000000000"),
        }
    }
    fn scram(&self, _: &HostProfile, user: &str, hash: Hash) -> Option<ScramCredentials> {
        (user == "focus")
            .then(|| ScramCredentials::derive(hash, "s3cret", b"salt", ScramCredentials::DEFAULT_ITERATIONS))
    }
    fn account(&mut self, _: &HostProfile, user: &str) -> Verdict<()> {
        self.login(user)
    }
    fn random(&mut self, out: &mut [u8]) {
        out.fill(7);
    }
    fn decoy_key(&self) -> [u8; 32] {
        [7; 32]
    }
}

/// The first byte chooses framing, protection and mechanisms. Over TCP the rest is the stream; over WebSocket and BOSH
/// every line is one element.
pub fn c2s(data: &[u8]) {
    let Some((&mode, text)) = data.split_first() else { return };
    let framing = [Framing::WebSocket, Framing::Tcp, Framing::Bosh][mode as usize % 3];
    let security = [Security::Encrypted, Security::Plain, Security::Trusted][mode as usize / 3 % 3];
    let accounts = [Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain];
    let host = HostProfile::new(HostInfo {
        name: "meet.example".into(),
        mechanisms: if mode & 0x40 == 0 {
            [Mechanism::Anonymous].as_slice().into()
        } else {
            accounts.as_slice().into()
        },
        starttls: StartTlsPolicy::Required,
        sm: Some(Resumption::default()),
        resource: if mode & 0x20 == 0 { ResourcePolicy::Generated } else { ResourcePolicy::Requested },
    });
    let limits = NegotiationLimits::default();
    let mut client = Client {
        n: Negotiation::new(framing, security, UrlParams::parse("room=town"), limits),
        node: Node { host: Arc::new(host), later: mode & 0x80 != 0, granted: false },
        reader: StreamReader::new(Limits { bytes: limits.element_bytes, ..Limits::default() }),
        framing,
    };
    if framing == Framing::Tcp { client.stream(text) } else { client.elements(text, &limits) }
}

struct Client {
    n: Negotiation<()>,
    node: Node,
    reader: StreamReader,
    framing: Framing,
}

impl Client {
    fn stream(&mut self, text: &[u8]) {
        self.reader.push(text);
        loop {
            match self.reader.next_event() {
                Ok(None) => return,
                Ok(Some(StreamEvent::Header(s))) => self.n.on_header(&mut self.node, &s),
                Ok(Some(StreamEvent::Element(s))) => self.n.on_element(&mut self.node, &s),
                Ok(Some(StreamEvent::End)) => self.n.on_end(),
                Err(e) => self.n.fail((&e).into()),
            }
            if self.drain() {
                return;
            }
        }
    }

    fn elements(&mut self, text: &[u8], limits: &NegotiationLimits) {
        let limits = Limits { bytes: limits.element_bytes, ..Limits::default() };
        for line in text.split(|c| *c == b'\n') {
            match Stanza::parse(Bytes::copy_from_slice(line), &limits) {
                Ok(s) if matches!(s.root().name(), "open" | "body") => self.n.on_header(&mut self.node, &s),
                Ok(s) if s.root().name() == "close" => self.n.on_end(),
                Ok(s) => self.n.on_element(&mut self.node, &s),
                Err(e) => self.n.fail((&e).into()),
            }
            if self.drain() {
                return;
            }
        }
    }

    /// True if the negotiation is over.
    fn drain(&mut self) -> bool {
        let mut left = 64;
        while let Some(o) = self.n.poll_output() {
            left -= 1;
            assert!(left > 0, "no end of outputs");
            match o {
                Output::Send(b) => well_formed(self.framing, &b),
                Output::StartTls => {
                    // As a peer that sends the rest under TLS.
                    self.n.on_tls();
                    self.reader.restart();
                }
                Output::Restart => self.reader.restart(),
                Output::Bound(b) => {
                    assert!(self.node.granted, "bound without login");
                    assert_eq!(b.jid.domain(), "meet.example");
                    well_formed(self.framing, &b.bind_result);
                    return true;
                }
                Output::Resume(r) => {
                    assert!(self.node.granted, "resumed without login");
                    self.n.resume_failed(*r, Some(3));
                }
                Output::Close { .. } => return true,
            }
        }
        // The backend's answer came before the next element.
        if self.node.later && !self.node.granted {
            self.node.granted = true;
            self.n.decide(Ok(Login { localpart: "later".into(), identity: () }));
            return self.drain();
        }
        false
    }
}

fn well_formed(framing: Framing, bytes: &[u8]) {
    let limits = Limits { bytes: usize::MAX >> 1, ..Limits::default() };
    if framing == Framing::WebSocket {
        if let Err(e) = Stanza::parse(Bytes::copy_from_slice(bytes), &limits) {
            panic!("sent {}: {e}", String::from_utf8_lossy(bytes));
        }
        return;
    }
    let mut r = StreamReader::new(limits);
    if !bytes.starts_with(b"<?xml") && !bytes.starts_with(b"<stream:stream") {
        r.push(b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>");
    }
    r.push(bytes);
    loop {
        match r.next_event() {
            Ok(Some(StreamEvent::End)) | Ok(None) => break,
            Ok(Some(_)) => {}
            Err(e) => panic!("sent {}: {e}", String::from_utf8_lossy(bytes)),
        }
    }
    assert_eq!(r.buffered(), 0, "sent {}", String::from_utf8_lossy(bytes));
}
