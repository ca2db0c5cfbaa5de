//! A client on a WebSocket: logs in, joins, and keeps what it receives.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use amphi_stanza::{Limits, Stanza};
use bytes::Bytes;

use super::{Amphi, PATIENCE, Ws, WsEvent};

/// An element from text.
pub fn element(xml: &str) -> Stanza {
    let limits = Limits { bytes: 1 << 24, ..Limits::default() };
    Stanza::parse(Bytes::copy_from_slice(xml.as_bytes()), &limits).unwrap_or_else(|e| panic!("{e}: {xml}"))
}

pub struct Person {
    pub name: String,
    pub ws: Ws,
    pub jid: String,
    pub inbox: VecDeque<Stanza>,
    /// Stanzas received since stream management is on; requests for it are answered.
    received: Option<u32>,
    pub answers_acks: bool,
}

const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";

impl Person {
    /// Connected and logged in on the host of the main node.
    pub fn login(a: &Amphi, name: &str, room: &str) -> Self {
        Self::login_at(a, name, "localhost", &format!("/xmpp-websocket?room={room}"))
    }

    pub fn login_at(a: &Amphi, name: &str, host: &str, path: &str) -> Self {
        Self::login_as(a.front, name, host, path)
    }

    pub fn login_as(front: SocketAddr, name: &str, host: &str, path: &str) -> Self {
        let mut me = Self::authenticate(front, name, host, path);
        me.send(&format!(
            "<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
              <resource>{name}</resource></bind></iq>"
        ));
        let bound = me.wait(|s| s.id().as_deref() == Some("bind"));
        let jid = bound.root().child_named("bind").and_then(|b| b.child_named("jid")).expect("an address");
        me.jid = jid.text().into_owned();
        // What hosts say of themselves at this point.
        me.inbox.clear();
        me
    }

    /// Logged in, with nothing bound or resumed.
    pub fn authenticate(front: SocketAddr, name: &str, host: &str, path: &str) -> Self {
        let ws = Ws::open(front, path);
        let mut me = Self {
            name: name.to_owned(),
            ws,
            jid: String::new(),
            inbox: VecDeque::new(),
            received: None,
            answers_acks: true,
        };
        let open = format!("<open xmlns='{FRAMING}' to='{host}' version='1.0'/>");
        me.send(&open);
        me.wait_for("features");
        let (mechanism, response) = if host.starts_with("auth.") {
            // What SASL PLAIN says for the user of this name and the password `secret`.
            let plain = [b"\0", name.as_bytes(), b"\0secret"].concat();
            ("PLAIN", base64(&plain))
        } else {
            ("ANONYMOUS", String::new())
        };
        me.send(&format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{mechanism}'>{response}</auth>"));
        me.wait_for("success");
        me.send(&open);
        me.wait_for("features");
        me
    }

    /// Ends the stream, and waits until the server has.
    pub fn leave(&mut self) {
        let _ = self.ws.frame(0x81, format!("<close xmlns='{FRAMING}'/>").as_bytes());
        let _ = self.ws.frame(0x88, &1000u16.to_be_bytes());
        while matches!(self.ws.next(PATIENCE), WsEvent::Text(_)) {}
    }

    /// Switches stream management on; returns the id under which the stream can be resumed.
    pub fn enable(&mut self) -> String {
        self.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
        let enabled = self.wait_for("enabled");
        self.received = Some(0);
        enabled.attr("id").unwrap_or_default().into_owned()
    }

    pub fn nick(&self) -> &str {
        &self.jid[..8]
    }

    /// Asks the focus and joins the room on stage.
    pub fn join(&mut self, a: &Amphi, room: &str) {
        a.ask(room, &self.name);
        self.send(&format!(
            "<presence xmlns='jabber:client' to='{room}@conference.localhost/{}'><x xmlns='http://jabber.org/protocol/muc'>\
             <billingid>{}</billingid></x></presence>",
            self.nick(),
            self.name
        ));
        let nick = self.nick().to_owned();
        let own = self.wait(|s| {
            let from = s.from().ok().flatten();
            s.root().name() == "presence" && from.is_some_and(|f| f.resource() == Some(&nick))
        });
        assert_eq!(own.ty(), None, "{} did not get in: {own}", self.name);
    }

    pub fn send(&mut self, xml: &str) {
        self.ws.text(xml);
    }

    pub fn say(&mut self, room: &str, id: &str, text: &str) {
        self.send(&format!(
            "<message xmlns='jabber:client' type='groupchat' id='{id}' to='{room}@conference.localhost'><body>{text}</body></message>"
        ));
    }

    /// The next stanza, `None` when there is none in time or the stream has ended.
    pub fn next(&mut self, end: Instant) -> Option<Stanza> {
        loop {
            let s = match self.ws.next(end.saturating_duration_since(Instant::now())) {
                WsEvent::Text(t) => element(&t),
                _ => return None,
            };
            match (s.root().name(), &mut self.received) {
                ("r", Some(n)) => {
                    let n = *n;
                    if self.answers_acks {
                        self.send(&format!("<a xmlns='urn:xmpp:sm:3' h='{n}'/>"));
                    }
                }
                ("message" | "presence" | "iq", received) => {
                    if let Some(n) = received {
                        *n += 1;
                    }
                    return Some(s);
                }
                _ => return Some(s),
            }
        }
    }

    /// Waits for a stanza; what comes before it goes into the inbox.
    pub fn wait(&mut self, wanted: impl Fn(&Stanza) -> bool) -> Stanza {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.next(end) {
                Some(s) if wanted(&s) => return s,
                Some(s) => self.inbox.push_back(s),
                None => panic!("{} waits in vain; received {:?}", self.name, self.inbox),
            }
        }
    }

    pub fn wait_for(&mut self, name: &str) -> Stanza {
        self.wait(|s| s.root().name() == name)
    }

    /// The answer to an IQ or the error to a stanza with this id.
    pub fn answer(&mut self, id: &str) -> Stanza {
        self.wait(|s| s.id().as_deref() == Some(id) && matches!(s.ty().as_deref(), Some("error" | "result")))
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for c in bytes.chunks(3) {
        let n = u32::from(c[0]) << 16 | u32::from(*c.get(1).unwrap_or(&0)) << 8 | u32::from(*c.get(2).unwrap_or(&0));
        for i in 0..4 {
            let digit = ALPHABET[(n >> (18 - 6 * i) & 63) as usize] as char;
            out.push(if i <= c.len() { digit } else { '=' });
        }
    }
    out
}
