//! Two servers in memory: an `Outgoing` and the `Incoming`s of its successive connections, joined by byte queues that
//! deliver in chunks, in virtual time.
#![allow(dead_code, unreachable_pub)]

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use amphi_stanza::{Limits, Stanza, StreamReader, XmlWriter, ns};
use amphi_xmpp::s2s::{
    DialbackOutcome, DialbackSecret, FailReason, Incoming, IncomingConfig, IncomingOutput, Input, Outgoing,
    OutgoingConfig, OutgoingOutput, Pair, PeerCheck, Suspended, random_ids,
};

pub const MAIN: &str = "meet.example";
pub const MUC: &str = "conference.meet.example";
pub const NODE: &str = "conference.v1.meet.jitsi";

pub fn pair() -> Pair {
    Pair::new(MAIN, NODE).unwrap()
}

pub fn message(from: &str, to: &str, id: usize) -> Stanza {
    let mut w = XmlWriter::new();
    w.open_ns("message", ns::CLIENT).attr("from", from).attr("to", to).attr("id", id).text_element("body", "hé");
    w.stanza()
}

/// What the acceptor thinks of its peer.
#[derive(Clone)]
pub struct Check {
    pub certificates: HashSet<&'static str>,
    pub allowed: HashSet<&'static str>,
    pub served: HashSet<&'static str>,
    pub management: bool,
}

impl Default for Check {
    fn default() -> Self {
        Self {
            certificates: [MAIN, MUC].into(),
            allowed: [MAIN, MUC].into(),
            served: [NODE, "v1.meet.jitsi"].into(),
            management: true,
        }
    }
}

impl PeerCheck for Check {
    fn certificate_ok(&self, domain: &str) -> bool {
        self.certificates.contains(domain)
    }
    fn allowed(&self, from: &str) -> bool {
        self.allowed.contains(from)
    }
    fn serves(&self, domain: &str) -> bool {
        self.served.contains(domain)
    }
    fn stream_management(&self, _: &str) -> bool {
        self.management
    }
}

/// The accepting end of one connection.
pub struct Acceptor {
    pub stream: Incoming,
    pub reader: StreamReader,
}

pub struct World {
    pub now: Instant,
    pub check: Check,
    pub certificate_ok: bool,
    pub dialback: DialbackOutcome,
    pub incoming_config: IncomingConfig,
    pub secret: DialbackSecret,
    pub out: Outgoing,
    pub out_reader: StreamReader,
    pub inc: Option<Acceptor>,
    /// Connections that were cut without the acceptor noticing.
    pub zombies: Vec<Acceptor>,
    pub sessions: HashMap<String, Suspended>,
    pub to_inc: VecDeque<u8>,
    pub to_out: VecDeque<u8>,
    pub chunk: usize,
    /// Bytes until the connection is cut.
    pub cuts: VecDeque<(usize, bool)>,
    /// Ids of stanzas as received, in order.
    pub received: Vec<usize>,
    pub received_back: Vec<usize>,
    /// Stanzas that wait for a bidirectional stream.
    pub back: VecDeque<Stanza>,
    pub authenticated: Vec<Pair>,
    pub failed: Vec<(FailReason, Vec<usize>)>,
    pub fresh: Vec<(Vec<usize>, Vec<usize>)>,
    pub refused: Vec<(Pair, Vec<usize>)>,
    pub ready: Vec<bool>,
    pub verified: Vec<DialbackOutcome>,
    pub closed: Vec<Option<String>>,
    pub log: String,
    pub bidi: bool,
    /// Sends again what a failed link gave back.
    pub resend: bool,
    pub connects: usize,
}

pub fn ids(v: &[Stanza]) -> Vec<usize> {
    v.iter().map(id).collect()
}

pub fn id(s: &Stanza) -> usize {
    s.id().unwrap().parse().unwrap()
}

impl World {
    pub fn new(config: OutgoingConfig, incoming_config: IncomingConfig) -> Self {
        let now = Instant::now();
        let secret = DialbackSecret::new("s3cr3t");
        Self {
            now,
            check: Check::default(),
            certificate_ok: true,
            dialback: DialbackOutcome::Valid,
            incoming_config,
            out: Outgoing::new(now, config, secret.clone()),
            secret,
            out_reader: StreamReader::new(Limits::default()),
            inc: None,
            zombies: Vec::new(),
            sessions: HashMap::new(),
            to_inc: VecDeque::new(),
            to_out: VecDeque::new(),
            chunk: 1 << 16,
            cuts: VecDeque::new(),
            received: Vec::new(),
            received_back: Vec::new(),
            back: VecDeque::new(),
            authenticated: Vec::new(),
            failed: Vec::new(),
            fresh: Vec::new(),
            refused: Vec::new(),
            ready: Vec::new(),
            verified: Vec::new(),
            closed: Vec::new(),
            log: String::new(),
            bidi: false,
            resend: false,
            connects: 0,
        }
    }

    pub fn send(&mut self, n: usize) {
        self.out.send(self.now, message(MAIN, &format!("room@{NODE}"), n)).unwrap();
    }

    /// Runs until nothing moves without time passing.
    pub fn run(&mut self) {
        for _ in 0..1_000_000 {
            if !(self.drain_out() | self.drain_inc() | self.deliver()) {
                return;
            }
        }
        panic!("never quiet: {}", &self.log[self.log.len().saturating_sub(2000)..]);
    }

    /// Lets time pass up to the initiator's next deadline.
    pub fn tick_out(&mut self) {
        if let Some(t) = self.out.poll_timeout() {
            self.now = self.now.max(t);
            self.out.handle(self.now, Input::Tick);
        }
        self.run();
    }

    pub fn tick_inc(&mut self) {
        if let Some(a) = &mut self.inc
            && let Some(t) = a.stream.poll_timeout()
        {
            self.now = self.now.max(t);
            a.stream.handle(self.now, Input::Tick, &self.check);
        }
        self.run();
    }

    pub fn pass(&mut self, d: Duration) {
        self.now += d;
    }

    fn drain_out(&mut self) -> bool {
        let mut any = false;
        while let Some(o) = self.out.poll_output() {
            any = true;
            match o {
                OutgoingOutput::Connect => {
                    self.connects += 1;
                    self.to_inc.clear();
                    self.to_out.clear();
                    self.out_reader = StreamReader::new(Limits::default());
                    self.bidi = false;
                    let stream =
                        Incoming::new(self.now, self.incoming_config.clone(), self.secret.clone(), random_ids());
                    let new = Acceptor { stream, reader: StreamReader::new(Limits::default()) };
                    if let Some(old) = self.inc.replace(new) {
                        self.zombies.push(old);
                    }
                    self.out.handle(self.now, Input::Connected);
                }
                OutgoingOutput::Send(b) => {
                    self.log.push_str(&format!("> {}\n", String::from_utf8_lossy(&b)));
                    self.to_inc.extend(b);
                }
                OutgoingOutput::StartTls => {
                    self.out_reader.clear();
                    self.out.handle(self.now, Input::Secured { certificate_ok: self.certificate_ok });
                }
                OutgoingOutput::Restart => self.out_reader.restart(),
                OutgoingOutput::Ready { resumed } => self.ready.push(resumed),
                OutgoingOutput::Fresh { unacked, unsent } => self.fresh.push((ids(&unacked), ids(&unsent))),
                OutgoingOutput::PairRefused { pair, unsent } => self.refused.push((pair, ids(&unsent))),
                OutgoingOutput::Stanza(s) => self.received_back.push(id(&s)),
                OutgoingOutput::VerifyResult(_, outcome) => self.verified.push(outcome),
                OutgoingOutput::Interrupted => {}
                OutgoingOutput::Close => self.out_closed(),
                OutgoingOutput::Failed { reason, unsent } => {
                    self.failed.push((reason, ids(&unsent)));
                    if self.resend {
                        for s in unsent {
                            self.out.send(self.now, s).unwrap();
                        }
                    }
                }
            }
        }
        any
    }

    /// The initiator closes: what it wrote still arrives.
    fn out_closed(&mut self) {
        let Some(a) = &mut self.inc else { return };
        let bytes: Vec<u8> = self.to_inc.drain(..).collect();
        a.reader.push(&bytes);
        self.read_inc();
        self.to_out.clear();
        if let Some(mut a) = self.inc.take() {
            a.stream.handle(self.now, Input::Closed, &self.check);
            self.keep(a);
        }
    }

    fn keep(&mut self, mut a: Acceptor) {
        match a.stream.suspend() {
            Some(s) => {
                self.sessions.insert(s.id().to_owned(), s);
            }
            None => a.stream.take_unsent().into_iter().rev().for_each(|s| self.back.push_front(s)),
        }
    }

    fn drain_inc(&mut self) -> bool {
        let mut any = false;
        while let Some(a) = &mut self.inc {
            let Some(o) = a.stream.poll_output() else {
                if !self.bidi {
                    break;
                }
                let Some(s) = self.back.pop_front() else { break };
                match a.stream.send_back(self.now, s) {
                    Ok(()) => any = true,
                    Err(s) => {
                        self.back.push_front(s);
                        break;
                    }
                }
                continue;
            };
            any = true;
            match o {
                IncomingOutput::Send(b) => {
                    self.log.push_str(&format!("< {}\n", String::from_utf8_lossy(&b)));
                    self.to_out.extend(b);
                }
                IncomingOutput::StartTls => {
                    a.reader.clear();
                    a.stream.handle(self.now, Input::Secured { certificate_ok: false }, &self.check);
                }
                IncomingOutput::Restart => a.reader.restart(),
                IncomingOutput::VerifyDialback(q) => {
                    assert_eq!(self.secret.key(&q.pair, &q.stream_id), q.key);
                    a.stream.dialback_result(self.now, &q, self.dialback);
                }
                IncomingOutput::Authenticated(p) => self.authenticated.push(p),
                IncomingOutput::Bidi => self.bidi = true,
                IncomingOutput::Managed { id } => {
                    if id.is_some() {
                        for z in std::mem::take(&mut self.zombies) {
                            self.keep(z);
                        }
                        // A new session of the same pair: the older ones are never resumed.
                        for (_, s) in self.sessions.drain() {
                            for s in s.expire().into_iter().rev() {
                                self.back.push_front(s);
                            }
                        }
                    }
                }
                IncomingOutput::ResumeRequested { id } => {
                    // The new connection stays where it is while the old ones are put away.
                    let new = self.inc.take();
                    for z in std::mem::take(&mut self.zombies) {
                        self.keep(z);
                    }
                    self.inc = new;
                    let Some(a) = &mut self.inc else { unreachable!() };
                    let session = self.sessions.remove(&id);
                    a.stream.resume(self.now, session);
                }
                IncomingOutput::Resumed => {}
                IncomingOutput::Stanza(s) => self.received.push(id(&s)),
                IncomingOutput::Answer(s) => self.log.push_str(&format!("answer {s}\n")),
                IncomingOutput::Close { error } => {
                    self.closed.push(error.map(|e| e.condition.as_str().to_owned()));
                    let a = self.inc.take().unwrap();
                    self.keep(a);
                    while let Some(b) = (!self.to_out.is_empty()).then(|| self.to_out.drain(..).collect::<Vec<_>>()) {
                        self.out_reader.push(&b);
                        self.read_out();
                    }
                    self.out.handle(self.now, Input::Closed);
                    return true;
                }
            }
        }
        any
    }

    fn deliver(&mut self) -> bool {
        let a = self.to_inc.len().min(self.chunk);
        let b = self.to_out.len().min(self.chunk);
        if a + b == 0 {
            return false;
        }
        if let Some((left, noticed)) = self.cuts.front().copied() {
            if left <= a + b {
                // The last bytes before the cut still arrive.
                self.deliver_bytes(left.min(a), left.saturating_sub(a));
                self.cuts.pop_front();
                self.cut(noticed);
                return true;
            }
            self.cuts[0].0 = left - a - b;
        }
        self.deliver_bytes(a, b);
        true
    }

    fn deliver_bytes(&mut self, a: usize, b: usize) {
        let there: Vec<u8> = self.to_inc.drain(..a.min(self.to_inc.len())).collect();
        let back: Vec<u8> = self.to_out.drain(..b.min(self.to_out.len())).collect();
        if let Some(acceptor) = &mut self.inc {
            acceptor.reader.push(&there);
            self.read_inc();
        }
        self.out_reader.push(&back);
        self.read_out();
    }

    fn read_inc(&mut self) {
        while let Some(a) = &mut self.inc {
            match a.reader.next_event() {
                Ok(None) => return,
                Ok(Some(e)) => a.stream.handle(self.now, Input::Event(e), &self.check),
                Err(e) => {
                    a.stream.handle(self.now, Input::Invalid(e), &self.check);
                    self.drain_inc();
                    return;
                }
            }
            self.drain_inc();
        }
    }

    fn read_out(&mut self) {
        loop {
            match self.out_reader.next_event() {
                Ok(None) => return,
                Ok(Some(e)) => self.out.handle(self.now, Input::Event(e)),
                Err(e) => return self.out.handle(self.now, Input::Invalid(e)),
            }
            self.drain_out();
        }
    }

    /// The connection is gone; the acceptor may not notice.
    pub fn cut(&mut self, noticed: bool) {
        self.to_inc.clear();
        self.to_out.clear();
        if let Some(mut a) = self.inc.take() {
            if noticed {
                a.stream.handle(self.now, Input::Closed, &self.check);
                self.keep(a);
            } else {
                self.zombies.push(a);
            }
        }
        self.out.handle(self.now, Input::Closed);
    }

    /// Bytes that some peer sends to a fresh acceptor, and what it answers.
    pub fn talk(config: IncomingConfig, check: &Check, lines: &[&str]) -> (String, Vec<String>) {
        let now = Instant::now();
        let mut stream = Incoming::new(now, config, DialbackSecret::new("s3cr3t"), random_ids());
        let mut reader = StreamReader::new(Limits::default());
        let (mut wire, mut events) = (String::new(), Vec::new());
        for l in lines {
            reader.push(l.as_bytes());
            loop {
                match reader.next_event() {
                    Ok(None) => break,
                    Ok(Some(e)) => stream.handle(now, Input::Event(e), check),
                    Err(e) => stream.handle(now, Input::Invalid(e), check),
                }
                let mut closed = false;
                while let Some(o) = stream.poll_output() {
                    match o {
                        IncomingOutput::Send(b) => wire.push_str(std::str::from_utf8(&b).unwrap()),
                        IncomingOutput::StartTls => {
                            reader.clear();
                            stream.handle(now, Input::Secured { certificate_ok: false }, check);
                        }
                        IncomingOutput::Restart => reader.restart(),
                        IncomingOutput::ResumeRequested { .. } => stream.resume(now, None),
                        o => {
                            closed |= matches!(o, IncomingOutput::Close { .. });
                            events.push(format!("{o:?}"));
                        }
                    }
                }
                if closed {
                    return (wire, events);
                }
            }
        }
        (wire, events)
    }
}
