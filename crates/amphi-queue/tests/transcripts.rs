//! Conversations with a STOMP client, in virtual time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_queue::{Input, Output, Session, SessionConfig};

struct Client {
    now: Instant,
    session: Session,
    /// Subscriptions whose destination contains this are refused.
    forbidden: &'static str,
    log: Vec<String>,
    open: bool,
}

impl Client {
    fn new() -> Self {
        Self::with(SessionConfig::default())
    }

    fn with(config: SessionConfig) -> Self {
        let now = Instant::now();
        Self { now, session: Session::new(now, Arc::new(config)), forbidden: "secret", log: Vec::new(), open: true }
    }

    fn connected() -> Self {
        let mut c = Self::new();
        c.say("CONNECT\naccept-version:1.2\nheart-beat:10000,10000\n\n\0");
        c.log.clear();
        c
    }

    fn say(&mut self, text: &str) -> &mut Self {
        self.session.handle(self.now, Input::Received(text.as_bytes()));
        self.drain();
        self
    }

    fn pass(&mut self, seconds: u64) -> &mut Self {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(at) = self.session.poll_timeout().filter(|at| *at <= end) {
            self.now = at;
            self.session.handle(at, Input::Tick);
            self.drain();
        }
        self.now = end;
        self
    }

    fn drain(&mut self) {
        while let Some(o) = self.session.poll_output() {
            match o {
                Output::Send(b) => self.log.push(String::from_utf8(b.to_vec()).unwrap()),
                Output::Connect { authorization } if authorization.as_deref() == Some("Bearer bad") => {
                    self.session.refuse(self.now, "not authorized", "The token is not valid");
                }
                Output::Connect { .. } => self.session.accept(self.now),
                Output::Subscribe { destination, .. } if destination.contains(self.forbidden) => {
                    self.session.refuse(self.now, "forbidden", "Not for you");
                }
                Output::Subscribe { id, .. } => {
                    self.log.push(format!("[subscribed {id}]"));
                    self.session.grant(self.now, &id);
                }
                Output::Unsubscribe { id } => self.log.push(format!("[unsubscribed {id}]")),
                Output::Close => self.open = false,
            }
        }
    }

    fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }
}

fn is_error(c: &mut Client, words: &str) {
    let said = c.said();
    let last = said.last().unwrap();
    assert!(last.starts_with("ERROR\nversion:1.2\n") && last.contains(words) && last.ends_with('\0'), "{said:?}");
    assert!(!c.open);
}

#[test]
fn a_visitor_waits_is_told_and_leaves() {
    let mut c = Client::new();
    c.say("CONNECT\naccept-version:1.2,1.1,1.0\nheart-beat:10000,10000\n\n\0");
    assert_eq!(c.said(), ["CONNECTED\nversion:1.2\nheart-beat:30000,30000\nserver:amphi\n\n\0"]);
    c.say("SUBSCRIBE\nid:sub-0\ndestination:/topic.a@b\n\n\0");
    assert_eq!(c.said(), ["[subscribed sub-0]"]);
    c.session.message(c.now, "sub-0", b"{\"status\":\"live\"}");
    c.drain();
    assert_eq!(
        c.said(),
        [
            "MESSAGE\nsubscription:sub-0\nmessage-id:1\ndestination:/topic.a@b\ncontent-type:application/json\ncontent-length:17\n\n{\"status\":\"live\"}\0"
        ]
    );
    c.say("UNSUBSCRIBE\nid:sub-0\n\n\0DISCONNECT\nreceipt:close-1\n\n\0");
    assert_eq!(c.said(), ["[unsubscribed sub-0]", "RECEIPT\nreceipt-id:close-1\n\n\0"]);
    assert!(!c.open);
    c.session.message(c.now, "sub-0", b"late");
    assert_eq!(c.session.poll_output(), None);
}

#[test]
fn silence_is_filled_with_heart_beats_and_ends_when_it_is_the_clients() {
    let mut c = Client::connected();
    c.pass(29);
    assert!(c.said().is_empty());
    c.pass(1);
    assert_eq!(c.said(), ["\n"]);
    c.say("\n").pass(59);
    assert!(c.open);
    c.pass(1);
    is_error(&mut c, "No heart-beat came");
}

#[test]
fn a_client_without_heart_beats_may_be_silent() {
    let mut c = Client::new();
    c.say("STOMP\naccept-version:1.2\n\n\0").said();
    assert_eq!(c.session.poll_timeout(), None);
    let mut c = Client::new();
    c.say("STOMP\naccept-version:1.2\nheart-beat:0,60000\n\n\0").said();
    c.pass(120);
    assert_eq!(c.said(), ["\n", "\n"], "as often as the slower side wants");
}

#[test]
fn what_breaks_the_conversation_ends_it_with_a_reason() {
    for (text, words) in [
        ("SEND\ndestination:/x\n\nhi\0", "Nothing can be sent here"),
        ("CONNECT\naccept-version:1.2\n\n\0", "CONNECT was sent twice"),
        ("SUBSCRIBE\nid:1\n\n\0", "SUBSCRIBE needs an id and a destination"),
        ("SUBSCRIBE\nid:1\ndestination:/x\nack:client\n\n\0", "ack must be auto"),
        ("SUBSCRIBE\nid:1\ndestination:/x\n\n\0SUBSCRIBE\nid:1\ndestination:/y\n\n\0", "The id is in use"),
        ("SUBSCRIBE\nid:1\ndestination:/secret\n\n\0", "Not for you"),
        ("UNSUBSCRIBE\n\n\0", "UNSUBSCRIBE needs an id"),
        ("BEGIN\ntransaction:1\n\n\0", "There are no transactions"),
        ("HELLO\n\n\0", "the command is unknown"),
    ] {
        let mut c = Client::connected();
        c.say(text);
        is_error(&mut c, words);
        c.say("SUBSCRIBE\nid:2\ndestination:/z\n\n\0");
        assert!(c.said().is_empty(), "nothing is heard after the end");
    }
}

#[test]
fn a_connection_begins_with_connect_in_a_known_version_and_in_time() {
    let mut c = Client::new();
    c.say("SUBSCRIBE\nid:1\ndestination:/x\n\n\0");
    is_error(&mut c, "CONNECT comes first");
    let mut c = Client::new();
    c.say("CONNECT\naccept-version:1.0,1.1\n\n\0");
    is_error(&mut c, "Supported protocol versions are 1.2");
    let mut c = Client::new();
    c.say("CONNECT\naccept-version:1.2\nheart-beat:soon\n\n\0");
    is_error(&mut c, "heart-beat is not two numbers");
    let mut c = Client::new();
    c.pass(30);
    is_error(&mut c, "CONNECT did not come in time");
    let mut c = Client::new();
    c.say("CONNECT\naccept-version:1.2\nAuthorization:Bearer bad\n\n\0SUBSCRIBE\nid:1\ndestination:/x\n\n\0");
    is_error(&mut c, "The token is not valid");
}

#[test]
fn receipts_come_when_the_subscription_is_in_force_and_names_the_refused_frame() {
    let mut c = Client::connected();
    c.say("SUBSCRIBE\nid:1\ndestination:/x\nreceipt:r\n\n\0");
    assert_eq!(c.said(), ["[subscribed 1]", "RECEIPT\nreceipt-id:r\n\n\0"]);
    c.say("SEND\ndestination:/x\nreceipt:q\n\n\0");
    is_error(&mut c, "receipt-id:q\n");
}

#[test]
fn subscriptions_are_bounded() {
    let mut c = Client::connected();
    for i in 0..4 {
        c.say(&format!("SUBSCRIBE\nid:{i}\ndestination:/x\n\n\0"));
    }
    assert!(c.open);
    c.say("UNSUBSCRIBE\nid:0\n\n\0SUBSCRIBE\nid:5\ndestination:/x\n\n\0");
    assert!(c.open);
    c.say("SUBSCRIBE\nid:6\ndestination:/x\n\n\0");
    is_error(&mut c, "too many subscriptions");
}
