//! A bridge's control: requests of a focus, messages of endpoints and events of the media plane, good and bad, in any order. Every request is
//! answered exactly once, answers are well-formed and understood again, one input causes bounded output, and time passing leaves nothing behind.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use amphi_bridge::control::settings::{BridgeSettings, WebSockets};
use amphi_bridge::control::{Colibri, Input, Output, Peers, Shared, SocketId, message};
use amphi_bridge::plane::{Command, Event};
use amphi_bridge::transport::{Certificate, Credentials, Failure, LocalAddress, PeerLimits, Restart};
use amphi_jingle::Limits;
use amphi_jingle::colibri2::{ConferenceModified, ConferenceModify};
use amphi_media::conference::ConferenceConfig;
use amphi_media::ids::EndpointId;
use amphi_stanza::{Limits as XmlLimits, Stanza, XmlWriter};
use bytes::Bytes;

/// Outputs that one input may cause among so few.
const MANY: usize = 4000;

/// Every line is one thing that happens: what, to whom, and the rest of it.
pub fn colibri(data: &[u8]) {
    let mut w = World::new();
    for line in data.split(|b| *b == b'\n').take(200) {
        w.line(line);
    }
    w.pass(Duration::from_secs(3600));
    assert!(w.open.is_empty(), "requests were not answered: {:?}", w.open);
    assert!(w.relays > 0 || w.colibri.figures().local_endpoints == 0, "endpoints that nobody hears of stay");
}

/// One message of a bridge channel, in either form.
pub fn channel(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = message::parse(text);
}

struct World {
    now: Instant,
    colibri: Colibri,
    open: HashSet<u64>,
    next: u64,
    added: Vec<EndpointId>,
    relays: usize,
}

impl World {
    fn new() -> Self {
        static CERTIFICATE: OnceLock<Arc<Certificate>> = OnceLock::new();
        let certificate =
            CERTIFICATE.get_or_init(|| Certificate::generate(SystemTime::now()).expect("a certificate")).clone();
        let address = LocalAddress { base: ([10, 0, 0, 5], 10_000).into(), public: None };
        let mut settings = BridgeSettings::default();
        settings.identity.relay_id = Some("here".into());
        settings.web_sockets = Some(WebSockets {
            bases: vec!["wss://x".into()],
            relay_bases: Vec::new(),
            server_id: "s".into(),
            ping: Duration::from_secs(15),
            idle: Duration::from_secs(60),
            sockets: 10,
        });
        let peers = Peers {
            certificate,
            addresses: Arc::new([address]),
            credentials: Box::new(|| Credentials::random("", 0)),
            limits: Arc::new(PeerLimits::default()),
        };
        Self {
            now: Instant::now(),
            colibri: Colibri::new(Shared::new(Arc::new(settings), ConferenceConfig::default(), peers, [1; 32])),
            open: HashSet::new(),
            next: 0,
            added: Vec::new(),
            relays: 0,
        }
    }

    fn feed(&mut self, input: Input) {
        self.colibri.handle(self.now, input);
        let mut count = 0;
        while let Some(o) = self.colibri.poll_output() {
            count += 1;
            assert!(count < MANY, "output without end");
            match o {
                Output::Answer { id, result } => {
                    assert!(self.open.remove(&id), "answered twice");
                    match result {
                        Ok(done) => {
                            let mut w = XmlWriter::new();
                            done.write(&mut w);
                            let read = Stanza::parse(w.finish(), &XmlLimits::default()).expect("well-formed");
                            ConferenceModified::parse(read.root(), &Limits::default()).expect("understood");
                        }
                        Err(refusal) => assert!(!refusal.to_string().is_empty()),
                    }
                }
                Output::Plane(Command::AddEndpoint(a)) => self.added.push(a.id),
                Output::Socket { text, .. } => {
                    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}")
                }
                Output::Plane(Command::SendMessage { text, .. }) => {
                    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
                }
                Output::Plane(_) | Output::CloseSocket { .. } | Output::Dial { .. } | Output::HangUp { .. } => {}
            }
        }
        self.relays = self.colibri.figures().relays;
    }

    fn line(&mut self, line: &[u8]) {
        let [what, who, rest @ ..] = line else { return };
        let n = usize::from(*who);
        let endpoint = self.added.get(n % self.added.len().max(1)).copied().unwrap_or(EndpointId(0));
        let text = || String::from_utf8_lossy(rest).into_owned();
        match what % 12 {
            0..=4 => {
                let Ok(s) = Stanza::parse(Bytes::copy_from_slice(rest), &XmlLimits::default()) else { return };
                let Ok(request) = ConferenceModify::parse(s.root(), &Limits::default()) else { return };
                self.next += 1;
                self.open.insert(self.next);
                self.feed(Input::Request { id: self.next, request: Box::new(request) });
            }
            5 => self.feed(Input::Plane(match n % 5 {
                0 => Event::Connected { endpoint },
                1 => Event::ChannelOpen { endpoint },
                2 => Event::ChannelClosed { endpoint },
                3 => Event::Failed { endpoint, reason: Failure::ConsentLost },
                _ => Event::Restart { endpoint, result: Restart::Unavailable },
            })),
            6 | 7 => self.feed(Input::Plane(Event::ChannelMessage { endpoint, text: text() })),
            8 => self.feed(Input::SocketOpened { endpoint, socket: SocketId(n as u64) }),
            9 => self.feed(Input::SocketMessage { endpoint, text: text() }),
            10 => self.feed(Input::SocketClosed { endpoint, socket: SocketId(n as u64) }),
            _ => self.pass(Duration::from_secs(n as u64)),
        }
    }

    fn pass(&mut self, by: Duration) {
        let end = self.now + by;
        for round in 0.. {
            assert!(round < 200_000, "somebody spins");
            let Some(at) = self.colibri.poll_timeout().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            self.feed(Input::Tick);
        }
        self.now = end;
    }
}
