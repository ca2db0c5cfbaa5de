use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use amphi_stanza::{Limits, Stanza, StanzaKind};

use super::*;

const NS: &str = "http://jabber.org/protocol/httpbind";

fn body(inner: &str) -> Stanza {
    Stanza::parse(Bytes::from(inner.replace("BOSH", NS)), &Limits::default()).unwrap()
}

struct Peer {
    t0: Instant,
    now: Instant,
    session: BoshSession,
}

impl Peer {
    /// A session with rid 100 answered with features.
    fn created() -> Self {
        let mut p = Self::opened("wait='30' hold='1'");
        assert!(matches!(p.session.poll_output(), Some(Output::Open(_))));
        p.session.push(p.now, Bytes::from_static(b"<features/>"));
        assert!(p.answers()[0].1.contains("<features/>"));
        p
    }

    fn opened(attrs: &str) -> Self {
        let now = Instant::now();
        let b = body(&format!("<body xmlns='BOSH' rid='100' to='meet.example' {attrs}/>"));
        let session = BoshSession::open(now, "s1".into(), RequestId(100), &b, BoshConfig::default()).unwrap();
        Self { t0: now, now, session }
    }

    fn at(&mut self, secs: u64) {
        self.now = self.t0 + Duration::from_secs(secs);
        self.session.handle_timeout(self.now);
    }

    /// Sends a request whose HTTP id is `request`.
    fn send_as(&mut self, request: u64, rid: u64, attrs: &str, inner: &str) {
        let b = body(&format!("<body xmlns='BOSH' sid='s1' rid='{rid}' {attrs}>{inner}</body>"));
        self.session.handle_request(self.now, RequestId(request), &b);
    }

    fn send(&mut self, rid: u64, inner: &str) {
        self.send_as(rid, rid, "", inner);
    }

    /// Drains everything as text lines.
    fn out(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.session.poll_output())
            .map(|o| match o {
                Output::Open(_) => "open".into(),
                Output::Restart(_) => "restart".into(),
                Output::Element(e) => format!("element {e}"),
                Output::Respond { request, body } => {
                    format!("answer {} {}", request.0, String::from_utf8_lossy(&body).replace(NS, "BOSH"))
                }
                Output::Terminated(e) => format!("ended {e:?}"),
            })
            .collect()
    }

    fn answers(&mut self) -> Vec<(u64, String)> {
        std::iter::from_fn(|| self.session.poll_output())
            .filter_map(|o| match o {
                Output::Respond { request, body } => Some((request.0, String::from_utf8_lossy(&body).into_owned())),
                _ => None,
            })
            .collect()
    }
}

const EMPTY: &str = "<body xmlns='BOSH'/>";

#[test]
fn first_answer_carries_the_session_and_the_features() {
    let mut p = Peer::opened("wait='300' hold='5' ver='1.6' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0'");
    assert_eq!(p.out(), ["open"]);
    p.session.push(p.now, Bytes::from_static(b"<a/>"));
    p.session.push(p.now, Bytes::from_static(b"<b/>"));
    assert_eq!(
        p.out(),
        ["answer 100 <body xmlns='BOSH' sid='s1' from='meet.example' wait='60' hold='1' requests='2' inactivity='60' \
          polling='5' ver='1.6' secure='true' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0' xmpp:restartlogic='true' \
          xmlns:stream='http://etherx.jabber.org/streams'><a/><b/></body>"]
    );
}

#[test]
fn requests_that_cannot_open_a_session_are_refused() {
    let open = |xml: &str| {
        BoshSession::open(Instant::now(), "s".into(), RequestId(1), &body(xml), BoshConfig::default())
            .map(|_| ())
            .map_err(BoshError::condition)
    };
    assert_eq!(open("<body xmlns='jabber:client' rid='1' to='x'/>"), Err(BoshCondition::BadRequest));
    assert_eq!(open("<body xmlns='BOSH' to='x'/>"), Err(BoshCondition::BadRequest));
    assert_eq!(open("<body xmlns='BOSH' rid='-1' to='x'/>"), Err(BoshCondition::BadRequest));
    assert_eq!(open("<body xmlns='BOSH' rid='9007199254740991' to='x'/>"), Err(BoshCondition::BadRequest));
    assert_eq!(open("<body xmlns='BOSH' rid='18446744073709551616' to='x'/>"), Err(BoshCondition::BadRequest));
    assert_eq!(open("<body xmlns='BOSH' rid='1'/>"), Err(BoshCondition::ImproperAddressing));
    assert_eq!(
        terminate_body(BoshCondition::ItemNotFound),
        format!("<body xmlns='{NS}' type='terminate' condition='item-not-found'/>")
    );
}

#[test]
fn request_is_held_until_there_is_something_to_say() {
    let mut p = Peer::created();
    p.send(101, "");
    assert!(p.out().is_empty());
    p.at(5);
    p.session.push(p.now, Bytes::from_static(b"<m1/>"));
    p.session.push(p.now, Bytes::from_static(b"<m2/>"));
    assert_eq!(p.out(), ["answer 101 <body xmlns='BOSH'><m1/><m2/></body>"]);
    p.session.push(p.now, Bytes::from_static(b"<m3/>"));
    assert!(p.out().is_empty());
    assert_eq!(p.session.queued_bytes(), 5);
    p.send(102, "");
    assert_eq!(p.out(), ["answer 102 <body xmlns='BOSH'><m3/></body>"]);
    assert_eq!(p.session.queued_bytes(), 0);
}

#[test]
fn held_request_is_answered_empty_when_its_time_is_over() {
    let mut p = Peer::created();
    p.send(101, "");
    assert!(p.out().is_empty());
    assert_eq!(p.session.poll_timeout(), Some(p.t0 + Duration::from_secs(30)));
    p.at(29);
    assert!(p.out().is_empty());
    p.at(30);
    assert_eq!(p.out(), [format!("answer 101 {EMPTY}")]);
}

#[test]
fn second_request_releases_the_first() {
    let mut p = Peer::created();
    p.send(101, "");
    p.send(102, "<message/>");
    assert_eq!(p.out(), ["element <message xmlns='jabber:client'/>".to_owned(), format!("answer 101 {EMPTY}")]);
}

#[test]
fn answer_to_the_elements_of_a_request_goes_into_the_released_one() {
    let mut p = Peer::created();
    p.send(101, "");
    p.send(102, "<iq/>");
    assert!(matches!(p.session.poll_output(), Some(Output::Element(_))));
    p.session.push(p.now, Bytes::from_static(b"<r/>"));
    assert_eq!(p.out(), ["answer 101 <body xmlns='BOSH'><r/></body>"]);
}

#[test]
fn requests_are_handled_in_the_order_of_their_ids() {
    let mut p = Peer::created();
    p.send(102, "<two xmlns='x'/>");
    assert!(p.out().is_empty());
    p.send(101, "<one xmlns='x'/>");
    assert_eq!(
        p.out(),
        ["element <one xmlns='x'/>".to_owned(), "element <two xmlns='x'/>".into(), format!("answer 101 {EMPTY}")]
    );
}

#[test]
fn id_beyond_the_window_ends_the_session() {
    let mut p = Peer::created();
    p.send(103, "");
    assert_eq!(
        p.out(),
        [
            "answer 103 <body xmlns='BOSH' type='terminate' condition='item-not-found'/>",
            "ended Violation(ItemNotFound)"
        ]
    );
    p.send(101, "");
    assert_eq!(p.out(), ["answer 101 <body xmlns='BOSH' type='terminate' condition='item-not-found'/>"]);
}

#[test]
fn repeated_request_gets_the_same_answer_and_is_not_handled_twice() {
    let mut p = Peer::created();
    p.send(101, "<message/>");
    p.session.push(p.now, Bytes::from_static(b"<m/>"));
    assert_eq!(p.out(), ["element <message xmlns='jabber:client'/>", "answer 101 <body xmlns='BOSH'><m/></body>"]);
    p.send_as(900, 101, "", "<message/>");
    assert_eq!(p.out(), ["answer 900 <body xmlns='BOSH'><m/></body>"]);
}

#[test]
fn answer_that_is_no_longer_kept_ends_the_session() {
    let mut p = Peer::created();
    for rid in 101..104 {
        p.send(rid, "");
        p.session.push(p.now, Bytes::from_static(b"<m/>"));
        p.out();
    }
    p.send_as(900, 101, "", "");
    assert_eq!(p.out()[1], "ended Violation(ItemNotFound)");
}

#[test]
fn repeated_pending_request_takes_the_place_of_the_first() {
    let mut p = Peer::created();
    p.send(101, "");
    p.send_as(900, 101, "", "");
    assert_eq!(p.out(), [format!("answer 101 {EMPTY}")]);
    p.session.push(p.now, Bytes::from_static(b"<m/>"));
    assert_eq!(p.out(), ["answer 900 <body xmlns='BOSH'><m/></body>"]);
}

#[test]
fn elements_wait_for_a_client_whose_connection_broke() {
    let mut p = Peer::created();
    p.send(101, "");
    assert!(p.out().is_empty());
    p.session.request_gone(p.now, RequestId(101));
    p.session.push(p.now, Bytes::from_static(b"<m/>"));
    assert!(p.out().is_empty());
    p.at(10);
    p.send_as(900, 101, "", "");
    assert_eq!(p.out(), ["answer 900 <body xmlns='BOSH'><m/></body>"]);
}

#[test]
fn session_without_requests_ends() {
    let mut p = Peer::created();
    assert_eq!(p.session.poll_timeout(), Some(p.t0 + Duration::from_secs(60)));
    p.at(59);
    p.send(101, "");
    p.at(60);
    assert!(p.out().is_empty());
    p.session.request_gone(p.now, RequestId(101));
    p.at(119);
    assert!(p.out().is_empty());
    p.at(120);
    assert_eq!(p.out(), ["ended Inactive"]);
    assert_eq!(p.session.poll_timeout(), None);
}

#[test]
fn terminating_request_delivers_its_elements_first() {
    let mut p = Peer::created();
    p.send(101, "");
    p.send_as(102, 102, "type='terminate'", "<presence type='unavailable' xmlns='jabber:client'/>");
    assert_eq!(
        p.out(),
        [
            "element <presence type='unavailable' xmlns='jabber:client'/>".to_owned(),
            format!("answer 101 {EMPTY}"),
            "answer 102 <body xmlns='BOSH' type='terminate'/>".into(),
            "ended ByClient".into()
        ]
    );
}

#[test]
fn server_ends_a_session_with_a_stream_error() {
    let mut p = Peer::created();
    p.send(101, "");
    p.session.push(p.now, Bytes::from_static(b"<error/>"));
    p.session.terminate(p.now, Some(BoshCondition::RemoteStreamError));
    assert_eq!(
        p.out(),
        [
            "answer 101 <body xmlns='BOSH' type='terminate' condition='remote-stream-error'><error/></body>",
            "ended ByServer"
        ]
    );
}

#[test]
fn end_waits_for_the_next_request() {
    let mut p = Peer::created();
    p.session.terminate(p.now, Some(BoshCondition::SystemShutdown));
    assert!(p.out().is_empty());
    p.send(101, "<message/>");
    assert_eq!(
        p.out(),
        ["answer 101 <body xmlns='BOSH' type='terminate' condition='system-shutdown'/>", "ended ByServer"]
    );
}

#[test]
fn end_without_a_next_request_comes_by_inactivity() {
    let mut p = Peer::created();
    p.session.terminate(p.now, None);
    assert!(p.out().is_empty());
    p.at(60);
    assert_eq!(p.out(), ["ended Inactive"]);
}

#[test]
fn restart_is_an_attribute_whatever_its_prefix() {
    let mut p = Peer::created();
    p.send_as(101, 101, "xmlns:x='urn:xmpp:xbosh' x:restart='true' to='meet.example'", "");
    assert_eq!(p.out(), ["restart"]);
    p.send_as(102, 102, "xmlns:xmpp='urn:odd' xmpp:restart='true'", "");
    assert_eq!(p.out(), [format!("answer 101 {EMPTY}")]);
}

#[test]
fn children_are_self_contained() {
    let mut p = Peer::created();
    p.send_as(
        101,
        101,
        "xmlns:stream='http://etherx.jabber.org/streams' xmlns:q='urn:q'",
        "<message to='a@b'><body>hi</body></message><stream:error><q:x/></stream:error>\
         <auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    );
    let mut got = Vec::new();
    while let Some(Output::Element(e)) = p.session.poll_output() {
        got.push((e.kind(), e.root().ns().to_owned(), e.root().children().next().map(|c| c.ns().to_owned())));
    }
    assert_eq!(
        got,
        [
            (StanzaKind::Message, "jabber:client".to_owned(), Some("jabber:client".to_owned())),
            (StanzaKind::Other, "http://etherx.jabber.org/streams".into(), Some("urn:q".into())),
            (StanzaKind::Other, "urn:ietf:params:xml:ns:xmpp-sasl".into(), None),
        ]
    );
}

#[test]
fn a_long_namespace_of_the_body_is_not_copied_into_many_children() {
    let mut p = Peer::created();
    p.send_as(101, 101, &format!("xmlns:q='urn:{}'", "q".repeat(2000)), "<q:x/><q:x/>");
    assert_eq!(
        p.out(),
        ["answer 101 <body xmlns='BOSH' type='terminate' condition='bad-request'/>", "ended Violation(BadRequest)"]
    );
}

#[test]
fn text_between_elements_is_a_bad_request() {
    let mut p = Peer::created();
    p.send(101, " <message/> x");
    assert_eq!(
        p.out(),
        ["answer 101 <body xmlns='BOSH' type='terminate' condition='bad-request'/>", "ended Violation(BadRequest)"]
    );
}

#[test]
fn request_without_id_is_a_bad_request() {
    let mut p = Peer::created();
    let b = body("<body xmlns='BOSH' sid='s1'/>");
    p.session.handle_request(p.now, RequestId(7), &b);
    assert_eq!(p.out()[0], "answer 7 <body xmlns='BOSH' type='terminate' condition='bad-request'/>");
}

#[test]
fn client_that_polls_is_answered_at_once_but_not_too_often() {
    let mut p = Peer::opened("wait='60' hold='0'");
    assert_eq!(p.out(), ["open"]);
    p.session.push(p.now, Bytes::from_static(b"<f/>"));
    assert_eq!(p.out().len(), 1);
    p.send(101, "");
    assert_eq!(p.out(), [format!("answer 101 {EMPTY}")]);
    p.at(5);
    p.send(102, "");
    assert_eq!(p.out(), [format!("answer 102 {EMPTY}")]);
    p.at(9);
    p.send(103, "");
    assert_eq!(p.out()[1], "ended Violation(PolicyViolation)");
}

#[test]
fn long_queue_is_spread_over_answers() {
    let mut p = Peer::created();
    p.session.push(p.now, Bytes::from(vec![b'a'; 200 * 1024]));
    p.session.push(p.now, Bytes::from(vec![b'b'; 200 * 1024]));
    p.send(101, "");
    assert_eq!(p.answers().len(), 1);
    assert_eq!(p.session.queued_bytes(), 200 * 1024);
    p.send(102, "");
    assert_eq!(p.answers().len(), 1);
    assert_eq!(p.session.queued_bytes(), 0);
}

/// A client that follows the rules over a bad network.
struct Faulty {
    peer: Peer,
    next_rid: u64,
    next_http: u64,
    /// Requests without an answer that the client has seen: id, HTTP request, and the elements in it.
    pending: Vec<(u64, u64, String)>,
    /// What the answers said, by id.
    answers: std::collections::BTreeMap<u64, String>,
    http: std::collections::HashMap<u64, u64>,
    sent: Vec<String>,
    handled: Vec<String>,
    pushed: String,
}

impl Faulty {
    fn new() -> Self {
        Self {
            peer: Peer::created(),
            next_rid: 101,
            next_http: 1000,
            pending: Vec::new(),
            answers: Default::default(),
            http: Default::default(),
            sent: Vec::new(),
            handled: Vec::new(),
            pushed: String::new(),
        }
    }

    fn post(&mut self, rid: u64, inner: &str) -> u64 {
        self.next_http += 1;
        self.http.insert(self.next_http, rid);
        self.peer.send_as(self.next_http, rid, "", inner);
        self.next_http
    }

    fn fresh(&mut self, full: bool) -> (u64, String) {
        let rid = self.next_rid;
        self.next_rid += 1;
        let inner = if full { format!("<e xmlns='x' n='{rid}'/>") } else { String::new() };
        if full {
            self.sent.push(format!("element {inner}"));
        }
        (rid, inner)
    }

    fn send(&mut self, full: bool) {
        if self.pending.len() < 2 {
            let (rid, inner) = self.fresh(full);
            let http = self.post(rid, &inner);
            self.pending.push((rid, http, inner));
        }
    }

    /// Sends two requests that overtake each other.
    fn send_swapped(&mut self) {
        if self.pending.is_empty() {
            let (a, b) = (self.fresh(true), self.fresh(true));
            let hb = self.post(b.0, &b.1);
            let ha = self.post(a.0, &a.1);
            self.pending = vec![(a.0, ha, a.1), (b.0, hb, b.1)];
        }
    }

    fn push(&mut self) {
        let m = format!("<m n='{}'/>", self.pushed.len());
        self.pushed.push_str(&m);
        self.peer.session.push(self.peer.now, m.into());
    }

    /// The connection of a request breaks before (`noticed`) or after its answer was written; the client repeats it.
    fn repeat(&mut self, i: usize, noticed: bool) {
        if let Some((rid, http, inner)) = self.pending.get(i).cloned() {
            if noticed {
                self.peer.session.request_gone(self.peer.now, RequestId(http));
            }
            self.http.remove(&http);
            self.pending[i].1 = self.post(rid, &inner);
        }
    }

    /// Takes what the server says; answers are lost if `lose`.
    fn drain(&mut self, lose: bool) {
        for line in self.peer.out() {
            if line.starts_with("element ") {
                self.handled.push(line);
            } else if let Some(rest) = line.strip_prefix("answer ") {
                let (http, body) = rest.split_once(' ').unwrap();
                let http: u64 = http.parse().unwrap();
                let Some(rid) = self.http.remove(&http) else { continue };
                assert!(!body.contains("terminate"), "{body}");
                if !lose && self.pending.iter().any(|p| p.1 == http) {
                    self.pending.retain(|p| p.0 != rid);
                    let inner = body.replace("<body xmlns='BOSH'/>", "").replace("<body xmlns='BOSH'>", "");
                    self.answers.insert(rid, inner.replace("</body>", ""));
                }
            } else {
                panic!("{line}");
            }
        }
    }
}

proptest! {
    /// Over a network that breaks connections, loses answers and swaps requests, every element of either side arrives
    /// exactly once and in order.
    #[test]
    fn nothing_is_lost_or_doubled(ops in proptest::collection::vec((0..8usize, any::<bool>(), any::<bool>()), 0..60)) {
        let mut f = Faulty::new();
        for (op, a, b) in ops {
            match op {
                0 | 1 => f.send(a),
                2 => f.send_swapped(),
                3 | 4 => f.push(),
                5 => f.repeat(usize::from(a), b),
                6 => {
                    let t = f.peer.now + Duration::from_secs(7);
                    f.peer.now = t;
                    f.peer.session.handle_timeout(t);
                }
                _ => {}
            }
            // Losing is only told apart from a slow answer when the client repeats.
            f.drain(op == 7 && a);
            for i in 0..f.pending.len() {
                let http = f.pending[i].1;
                if !f.http.contains_key(&http) {
                    f.repeat(i, false);
                    f.drain(false);
                    break;
                }
            }
            prop_assert!(f.pending.len() <= 2);
        }
        for _ in 0..100 {
            f.send(false);
            f.drain(false);
        }
        prop_assert_eq!(&f.sent, &f.handled);
        prop_assert_eq!(f.answers.values().map(String::as_str).collect::<String>(), f.pushed);
    }
}
