//! One bound connection: reading, writing, stream management, hibernation.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_room::{ConnId, Session};
use amphi_stanza::{Condition, Frame, Stanza, StanzaKind, StreamEvent, StreamReader, XmlError, ns};
use amphi_xmpp::sm::{self, Outbox, SmElement};
use amphi_xmpp::{StreamCondition, StreamError};
use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::negotiate::condition;
use super::{Resumption, Shard};
use crate::front::ws::{self, WsEvent, WsReader};
use crate::metrics::Kind;
use crate::node::Node;
use crate::transport::Transport;

/// How stanzas are packed on this connection's socket.
pub(crate) enum Framing {
    /// One element per WebSocket message.
    WebSocket(WsReader),
    /// A stream of elements.
    Tcp(Box<StreamReader>),
}

impl Framing {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::WebSocket(_) => "websocket",
            Self::Tcp(_) => "tcp",
        }
    }
}

/// One stanza in an outgoing queue.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// Shared with other receivers; our address goes into the hole.
    Frame(Arc<Frame>),
    /// For this connection alone.
    Own(Bytes),
}

impl sm::Entry for Entry {
    fn len(&self) -> usize {
        match self {
            Self::Frame(f) => f.head.len() + f.tail.len() + 80,
            Self::Own(b) => b.len(),
        }
    }
}

/// Where the stream is.
enum Link {
    /// A socket, and what it did not take yet.
    Up(Transport, Framing),
    /// No socket; resumable until then.
    Hibernated(Instant),
    /// Over.
    Gone,
}

/// A bound connection of a shard.
pub(crate) struct Conn {
    pub(crate) id: ConnId,
    pub(crate) node: Arc<Node>,
    session: RefCell<Arc<Session>>,
    /// Own full address, escaped.
    to: Box<str>,
    link: RefCell<Link>,
    /// Counts changes of the link.
    epoch: Cell<u32>,
    outbox: RefCell<Outbox<Entry>>,
    /// Resumption id, when stream management is on with resumption.
    sm_id: RefCell<Option<Box<str>>>,
    /// Version of stream management, once it is on.
    sm: Cell<Option<sm::Version>>,
    /// Stanzas received since stream management was enabled.
    inbound: Cell<u32>,
    /// Bytes of an entry that the socket took in part.
    rest: RefCell<Vec<u8>>,
    pub(super) marked: Cell<bool>,
    pub(super) marked_bulk: Cell<bool>,
    /// Wakes the reader: there is output to wait for, or the connection has ended.
    poke: Notify,
    /// Given up by the server: its reader ends without waiting for the socket to say so.
    dead: Cell<bool>,
    last_read: Cell<Instant>,
    /// Since when the socket takes nothing.
    stalled: Cell<Option<Instant>>,
    /// Hubs that have heard of this session.
    hubs: Cell<u64>,
    /// Tokens of the read rate.
    budget: Cell<i64>,
    budget_at: Cell<Instant>,
}

/// What a freshly bound stream hands over.
pub(crate) struct Bound {
    pub(crate) session: Arc<Session>,
    pub(crate) node: Arc<Node>,
    pub(crate) transport: Transport,
    pub(crate) framing: Framing,
    pub(crate) early: BytesMut,
    /// Sent before anything else: the service announcement and the bind result.
    pub(crate) first: Vec<Bytes>,
}

/// Starts the life of a bound connection; returns when its socket is gone.
pub(crate) async fn run(shard: Rc<Shard>, b: Bound) {
    let now = Instant::now();
    let kind = b.framing.kind();
    let mut to = String::new();
    amphi_stanza::escape_into(&mut to, b.session.jid.as_str());
    let conn = Rc::new(Conn {
        id: b.session.conn,
        node: b.node,
        session: RefCell::new(b.session),
        to: to.into(),
        link: RefCell::new(Link::Up(b.transport, b.framing)),
        epoch: Cell::new(0),
        outbox: RefCell::default(),
        sm_id: RefCell::default(),
        sm: Cell::new(None),
        inbound: Cell::new(0),
        rest: RefCell::default(),
        marked: Cell::new(false),
        marked_bulk: Cell::new(false),
        poke: Notify::new(),
        dead: Cell::new(false),
        last_read: Cell::new(now),
        stalled: Cell::new(None),
        hubs: Cell::new(0),
        budget: Cell::new(i64::from(shard.settings.read_rate) * 2),
        budget_at: Cell::new(now),
    });
    shard.insert(conn.clone());
    let gauge = shard.metrics.connections.get_or_create_owned(&Kind { kind });
    gauge.inc();
    for bytes in b.first {
        conn.push(Entry::Own(bytes));
    }
    conn.flush(&shard);
    read_loop(&shard, &conn, b.early).await;
    gauge.dec();
}

/// Gives a broken stream its new socket.
pub(crate) fn resume(shard: &Rc<Shard>, r: Resumption) {
    let Some(conn) = shard.conn(r.conn) else { return };
    let Ok(transport) = r.transport.adopt() else { return };
    let (Some(previd), Some(version)) = (conn.sm_id.borrow().clone(), conn.sm.get()) else { return };
    if conn.outbox.borrow_mut().resume(r.h).is_err() {
        // More acknowledged than was sent: the old stream stays as it is, for a client that counts right.
        shard.metrics.refuse("resume-count");
        let mut bytes = Vec::new();
        let failed = sm::failed(version, Condition::ItemNotFound, Some(conn.inbound.get()));
        pack(&mut bytes, &failed, matches!(r.framing, Framing::WebSocket(_)));
        let _ = transport.try_write(&bytes);
        transport.shutdown();
        return;
    }
    if let Link::Hibernated(_) = &*conn.link.borrow() {
        shard.metrics.hibernated.dec();
    }
    let kind = r.framing.kind();
    // A socket that we took for alive is closed here: its reader ends when it sees that the link is not its own any more.
    if let Link::Up(old, _) = &*conn.link.borrow() {
        old.shutdown();
    }
    conn.set_link(Link::Up(transport, r.framing));
    conn.rest.borrow_mut().clear();
    conn.poke.notify_waiters();
    conn.last_read.set(Instant::now());
    conn.stalled.set(None);
    shard.metrics.resumed.inc();
    if r.claims.is_some() || r.region.is_some() {
        let mut s = (**conn.session.borrow()).clone();
        s.claims = r.claims.or(s.claims);
        s.region = r.region.or(s.region);
        let s = Arc::new(s);
        *conn.session.borrow_mut() = s.clone();
        let (node, hubs) = (conn.node.clone(), conn.hubs.get());
        tokio::task::spawn_local(async move { node.session_changed(s, hubs).await });
    }
    let mut scratch = shard.wscratch.borrow_mut();
    scratch.clear();
    conn.pack(&mut scratch, &sm::resumed(version, &previd, conn.inbound.get()));
    conn.write(shard, &scratch);
    drop(scratch);
    conn.flush(shard);
    let shard = shard.clone();
    tokio::task::spawn_local(async move {
        let gauge = shard.metrics.connections.get_or_create_owned(&Kind { kind });
        gauge.inc();
        read_loop(&shard, &conn, r.early).await;
        gauge.dec();
    });
}

/// Why a socket's reader stops.
enum Stop {
    /// The socket is dead; the stream may be resumed.
    Broken,
    /// The stream is over: closed by the client, or a protocol error already answered.
    Final,
}

async fn read_loop(shard: &Rc<Shard>, conn: &Rc<Conn>, early: BytesMut) {
    let mut buf = early;
    // The link that this reader serves: resumption may replace it under our feet.
    let mine = conn.epoch.get();
    let stop = loop {
        match conn.consume(shard, &mut buf).await {
            Ok(()) => {}
            Err(stop) => break stop,
        }
        if buf.is_empty() {
            buf = BytesMut::new();
        }
        if conn.epoch.get() != mine {
            return;
        }
        if let Some(wait) = conn.throttle(shard) {
            shard.metrics.refuse("read-rate");
            tokio::time::sleep(wait).await;
        }
        // The reference into `link` must not live across the await: the socket is looked up again at each turn.
        if let Err(stop) = conn.fill(shard, &mut buf, mine).await {
            break stop;
        }
        if conn.epoch.get() != mine {
            return;
        }
    };
    if conn.epoch.get() != mine {
        return;
    }
    match stop {
        Stop::Broken if conn.sm_id.borrow().is_some() => conn.hibernate(shard),
        _ => conn.finish(shard).await,
    }
}

impl Conn {
    /// Changes the link; a reader of the old one sees that its time is over.
    fn set_link(&self, link: Link) {
        self.epoch.set(self.epoch.get().wrapping_add(1));
        self.dead.set(false);
        *self.link.borrow_mut() = link;
    }

    /// Queues a stanza for writing.
    pub(crate) fn push(&self, e: Entry) {
        self.outbox.borrow_mut().push(e);
    }

    /// Waits for bytes (and for room to write, if something waits), then reads.
    async fn fill(&self, shard: &Shard, buf: &mut BytesMut, mine: u32) -> Result<(), Stop> {
        loop {
            if self.dead.get() {
                return Err(Stop::Broken);
            }
            let ready = {
                let link = self.link.borrow();
                let Link::Up(t, _) = &*link else { return Err(Stop::Final) };
                t.socket()
            };
            let want_write = !self.rest.borrow().is_empty() || self.pending_tls();
            let poked = self.poke.notified();
            tokio::select! {
                r = ready.ready(Transport::interest(want_write)) => { if r.is_err() { return Err(Stop::Broken); } }
                () = poked => {}
            }
            if self.epoch.get() != mine {
                return Ok(());
            }
            if want_write {
                self.flush(shard);
            }
            if self.dead.get() {
                return Err(Stop::Broken);
            }
            let link = self.link.borrow();
            let Link::Up(t, _) = &*link else { return Err(Stop::Final) };
            let mut scratch = shard.scratch.borrow_mut();
            match t.try_read(&mut scratch) {
                Ok(0) => return Err(Stop::Broken),
                Ok(n) => {
                    buf.extend_from_slice(&scratch[..n]);
                    self.last_read.set(Instant::now());
                    self.budget.set(self.budget.get() - n as i64);
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Stop::Broken),
            }
        }
    }

    fn pending_tls(&self) -> bool {
        matches!(&*self.link.borrow(), Link::Up(t, _) if t.has_pending())
    }

    /// How long to wait until this client may be read again.
    fn throttle(&self, shard: &Shard) -> Option<Duration> {
        let rate = i64::from(shard.settings.read_rate);
        if self.budget.get() > 0 || self.session.borrow().admin || rate == 0 {
            return None;
        }
        let now = Instant::now();
        let earned = now.duration_since(self.budget_at.get()).as_millis() as i64 * rate / 1000;
        self.budget_at.set(now);
        let budget = (self.budget.get() + earned).min(rate * 2);
        self.budget.set(budget);
        (budget <= 0).then(|| Duration::from_millis((-budget * 1000 / rate) as u64 + 20))
    }

    fn limits(&self, shard: &Shard) -> amphi_stanza::Limits {
        if self.session.borrow().admin { shard.settings.admin_limits } else { shard.settings.limits }
    }

    /// Handles all complete elements in the buffer, then writes what they produced.
    async fn consume(&self, shard: &Shard, buf: &mut BytesMut) -> Result<(), Stop> {
        let limits = self.limits(shard);
        loop {
            match self.next_element(buf, &limits) {
                Ok(Some(Incoming::Element(s))) => self.element(shard, s).await?,
                Ok(Some(Incoming::Ping(p))) => {
                    let mut scratch = shard.wscratch.borrow_mut();
                    scratch.clear();
                    ws::write_header(&mut scratch, ws::PONG, p.len());
                    scratch.extend_from_slice(&p);
                    self.write(shard, &scratch);
                }
                Ok(Some(Incoming::Closed)) => return Err(Stop::Broken),
                Ok(Some(Incoming::Ended)) => {
                    self.close_stream(shard, None);
                    return Err(Stop::Final);
                }
                Ok(None) => break,
                Err(e) => {
                    shard.metrics.close("bad-xml");
                    self.close_stream(shard, Some(StreamError::new(condition(&e))));
                    return Err(Stop::Final);
                }
            }
        }
        self.flush(shard);
        Ok(())
    }

    fn next_element(&self, buf: &mut BytesMut, limits: &amphi_stanza::Limits) -> Result<Option<Incoming>, XmlError> {
        let mut link = self.link.borrow_mut();
        let Link::Up(_, framing) = &mut *link else { return Ok(Some(Incoming::Ended)) };
        match framing {
            Framing::WebSocket(r) => loop {
                match r.next(buf, limits.bytes) {
                    Ok(Some(WsEvent::Text(t))) => {
                        return Stanza::parse(t.freeze(), limits).map(|s| Some(Incoming::Element(s)));
                    }
                    Ok(Some(WsEvent::Ping(p))) => return Ok(Some(Incoming::Ping(p))),
                    Ok(Some(WsEvent::Pong)) => {}
                    Ok(Some(WsEvent::Close)) => return Ok(Some(Incoming::Closed)),
                    Ok(None) => return Ok(None),
                    Err(e) if e.0 == 1009 => return Err(XmlError::Limit("bytes")),
                    Err(_) => return Err(XmlError::NotWellFormed { at: 0, what: "WebSocket frame" }),
                }
            },
            Framing::Tcp(r) => {
                r.set_limits(*limits);
                if !buf.is_empty() {
                    r.push(buf);
                    buf.clear();
                }
                Ok(match r.next_event()? {
                    Some(StreamEvent::Element(s)) => Some(Incoming::Element(s)),
                    Some(StreamEvent::End) => Some(Incoming::Ended),
                    Some(StreamEvent::Header(_)) => {
                        return Err(XmlError::NotWellFormed { at: 0, what: "second stream header" });
                    }
                    None => None,
                })
            }
        }
    }

    async fn element(&self, shard: &Shard, s: Stanza) -> Result<(), Stop> {
        let kind = s.kind();
        if kind == StanzaKind::Other {
            return self.nonza(shard, &s);
        }
        if self.sm.get().is_some() {
            self.inbound.set(self.inbound.get().wrapping_add(1));
        }
        match kind {
            StanzaKind::Message => shard.received[0].inc(),
            StanzaKind::Presence => shard.received[1].inc(),
            _ => shard.received[2].inc(),
        };
        let session = self.session.borrow().clone();
        if kind == StanzaKind::Presence && s.attr("to").is_none() {
            // Unavailable without an address is goodbye (client.md 13); anything else concerns nobody.
            if s.ty().as_deref() == Some("unavailable") {
                let hubs = self.hubs.replace(0);
                self.node.left_rooms(&session, hubs).await;
            }
            return Ok(());
        }
        let routed = self.node.route_from(&session, s);
        if let Some(hub) = routed.hub() {
            self.hubs.set(self.hubs.get() | 1 << hub);
        }
        if let Some(answer) = self.node.deliver(routed).await {
            self.push(Entry::Own(answer));
        }
        Ok(())
    }

    fn nonza(&self, shard: &Shard, s: &Stanza) -> Result<(), Stop> {
        let root = s.root();
        if root.is("close", ns::FRAMING) {
            self.close_stream(shard, None);
            return Err(Stop::Final);
        }
        let version = sm::Version::of(root);
        match SmElement::parse(root) {
            Some(SmElement::Enable { resume, .. }) => {
                if self.sm.get().is_some() {
                    self.push_nonza(shard, &sm::failed(version, Condition::UnexpectedRequest, None));
                    return Ok(());
                }
                // What was written before is not counted.
                self.flush(shard);
                self.sm.set(Some(version));
                let session = self.session.borrow().clone();
                let max = self.node.hibernation(&session, shard.settings.hibernation);
                let id = resume.then(|| self.node.new_resumption(&session));
                self.outbox.borrow_mut().enable();
                self.push_nonza(shard, &sm::enabled(version, id.as_deref().map(|id| (id, max))));
                *self.sm_id.borrow_mut() = id;
            }
            Some(SmElement::Request) => {
                self.push_nonza(shard, &sm::ack(version, self.inbound.get()));
            }
            Some(SmElement::Ack { h }) => {
                let acked = self.outbox.borrow_mut().ack(h);
                if let Err(e) = acked {
                    shard.metrics.close("ack-too-high");
                    self.close_stream(shard, Some(e.stream_error()));
                    return Err(Stop::Final);
                }
            }
            Some(SmElement::Resume { .. }) => {
                self.push_nonza(shard, &sm::failed(version, Condition::UnexpectedRequest, None));
            }
            _ => {
                shard.metrics.close("unknown-element");
                self.close_stream(shard, Some(StreamError::new(StreamCondition::UnsupportedStanzaType)));
                return Err(Stop::Final);
            }
        }
        Ok(())
    }

    /// Writes an element that is not counted, after everything that waits.
    fn push_nonza(&self, shard: &Shard, bytes: &[u8]) {
        self.flush(shard);
        let mut scratch = shard.wscratch.borrow_mut();
        scratch.clear();
        self.pack(&mut scratch, bytes);
        self.write(shard, &scratch);
    }

    /// Ends the stream with or without an error. The socket is closed by dropping it afterwards.
    fn close_stream(&self, shard: &Shard, error: Option<StreamError>) {
        self.flush(shard);
        let mut scratch = shard.wscratch.borrow_mut();
        scratch.clear();
        let ws = matches!(&*self.link.borrow(), Link::Up(_, Framing::WebSocket(_)));
        if let Some(e) = error {
            self.pack(&mut scratch, &e.write());
        }
        if ws {
            self.pack(&mut scratch, amphi_xmpp::c2s::CLOSE.as_bytes());
            ws::write_header(&mut scratch, ws::CLOSE, 2);
            scratch.extend_from_slice(&1000u16.to_be_bytes());
        } else {
            scratch.extend_from_slice(amphi_xmpp::c2s::STREAM_END.as_bytes());
        }
        self.write(shard, &scratch);
        if let Link::Up(t, _) = &*self.link.borrow() {
            t.shutdown();
        }
    }

    fn pack(&self, out: &mut Vec<u8>, bytes: &[u8]) {
        pack(out, bytes, matches!(&*self.link.borrow(), Link::Up(_, Framing::WebSocket(_))));
    }

    fn pack_entry(&self, out: &mut Vec<u8>, e: &Entry, ws: bool) {
        match e {
            Entry::Own(b) => {
                if ws {
                    ws::write_header(out, ws::TEXT, b.len());
                }
                out.extend_from_slice(b);
            }
            Entry::Frame(f) => {
                if ws {
                    ws::write_header(out, ws::TEXT, f.len_with(self.to.len()));
                }
                out.extend_from_slice(&f.head);
                out.extend_from_slice(self.to.as_bytes());
                out.extend_from_slice(&f.tail);
            }
        }
    }

    /// Writes everything that waits, as far as the socket takes it.
    pub(crate) fn flush(&self, shard: &Shard) {
        let ws = match &*self.link.borrow() {
            Link::Up(_, f) => matches!(f, Framing::WebSocket(_)),
            _ => {
                self.check_hibernated(shard);
                return;
            }
        };
        if !self.push_rest(shard) {
            self.check_slow(shard);
            return;
        }
        let mut scratch = shard.wscratch.borrow_mut();
        loop {
            scratch.clear();
            {
                let mut outbox = self.outbox.borrow_mut();
                let mut n = 0;
                for e in outbox.unsent() {
                    self.pack_entry(&mut scratch, e, ws);
                    n += 1;
                    if scratch.len() >= shard.settings.write_chunk {
                        break;
                    }
                }
                if n == 0 {
                    break;
                }
                outbox.mark_sent(n);
                shard.stanzas.add(n as u64);
                if outbox.unsent_len() == 0 && outbox.wants_request(shard.settings.ack_every) {
                    let r = sm::request(self.sm.get().unwrap_or(sm::Version::V3));
                    if ws {
                        ws::write_header(&mut scratch, ws::TEXT, r.len());
                    }
                    scratch.extend_from_slice(&r);
                    outbox.request_sent();
                }
            }
            if !self.write(shard, &scratch) {
                break;
            }
        }
        drop(scratch);
        self.check_slow(shard);
    }

    /// Writes bytes; keeps what the socket does not take. False when the socket is full.
    fn write(&self, shard: &Shard, bytes: &[u8]) -> bool {
        let link = self.link.borrow();
        let Link::Up(t, _) = &*link else { return false };
        let mut rest = self.rest.borrow_mut();
        if !rest.is_empty() {
            rest.extend_from_slice(bytes);
            return false;
        }
        let mut at = 0;
        while at < bytes.len() {
            match t.try_write(&bytes[at..]) {
                Ok(n) => {
                    shard.writes.add(1);
                    shard.bytes.add(n as u64);
                    at += n;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    rest.extend_from_slice(&bytes[at..]);
                    if self.stalled.get().is_none() {
                        self.stalled.set(Some(Instant::now()));
                    }
                    self.poke.notify_one();
                    return false;
                }
                // The reader sees the error too and ends the connection.
                Err(_) => return false,
            }
        }
        if t.has_pending() {
            self.poke.notify_one();
        }
        true
    }

    /// Writes what was left of an earlier write. True when nothing is left.
    fn push_rest(&self, shard: &Shard) -> bool {
        let link = self.link.borrow();
        let Link::Up(t, _) = &*link else { return false };
        if t.flush_pending().is_err() {
            return false;
        }
        let mut rest = self.rest.borrow_mut();
        let mut at = 0;
        while at < rest.len() {
            match t.try_write(&rest[at..]) {
                Ok(n) => {
                    shard.writes.add(1);
                    shard.bytes.add(n as u64);
                    at += n;
                }
                Err(_) => break,
            }
        }
        if at == rest.len() {
            *rest = Vec::new();
            self.stalled.set(None);
            true
        } else {
            rest.drain(..at);
            false
        }
    }

    /// A reader that takes nothing while much waits is given up, and so is one that never acknowledges.
    fn check_slow(&self, shard: &Shard) {
        let outbox = self.outbox.borrow();
        let reason = if outbox.bytes() + self.rest.borrow().len() > shard.settings.max_unsent_bytes {
            "slow-reader"
        } else if outbox.unacked() > shard.settings.max_unacked && !self.session.borrow().admin {
            "never-acknowledges"
        } else {
            return;
        };
        drop(outbox);
        self.abort(shard, reason);
    }

    /// A hibernated stream is kept while its queue stays within bounds.
    fn check_hibernated(&self, shard: &Shard) {
        let outbox = self.outbox.borrow();
        if outbox.len() > shard.settings.max_unacked || outbox.bytes() > shard.settings.max_unsent_bytes {
            drop(outbox);
            self.end_from_outside(shard, "hibernated-queue");
        }
    }

    /// Breaks the socket for good: the reader finishes.
    fn abort(&self, shard: &Shard, reason: &'static str) {
        if self.sm_id.borrow_mut().take().is_none() && matches!(&*self.link.borrow(), Link::Gone) {
            return;
        }
        // Once: the reader may see the end later than the next write finds the same reason.
        if self.dead.replace(true) {
            return;
        }
        shard.metrics.close(reason);
        if let Link::Up(t, _) = &*self.link.borrow() {
            t.abort();
        }
        self.poke.notify_one();
    }

    /// Tells the client that the server ends. Its stream cannot be resumed: nothing survives the process.
    pub(crate) fn shut(&self, shard: &Shard) {
        if let Link::Up(..) = &*self.link.borrow() {
        } else {
            return;
        }
        self.close_stream(shard, Some(StreamError::new(StreamCondition::SystemShutdown)));
    }

    /// Ends the connection on behalf of the server.
    pub(crate) fn end(&self, shard: &Shard, reason: &'static str) {
        match &*self.link.borrow() {
            Link::Up(..) => {}
            _ => {
                self.end_from_outside(shard, reason);
                return;
            }
        }
        self.close_stream(shard, Some(StreamError::new(StreamCondition::PolicyViolation)));
        self.abort(shard, reason);
    }

    fn hibernate(&self, shard: &Rc<Shard>) {
        let patience = self.node.hibernation(&self.session.borrow(), shard.settings.hibernation);
        self.set_link(Link::Hibernated(Instant::now() + patience));
        *self.rest.borrow_mut() = Vec::new();
        shard.metrics.hibernated.inc();
    }

    fn end_from_outside(&self, shard: &Shard, reason: &'static str) {
        if matches!(&*self.link.borrow(), Link::Gone) {
            return;
        }
        if let Link::Hibernated(_) = &*self.link.borrow() {
            shard.metrics.hibernated.dec();
        }
        shard.metrics.close(reason);
        self.set_link(Link::Gone);
        self.forget(shard);
        let (node, session, hubs) = (self.node.clone(), self.session.borrow().clone(), self.hubs.replace(0));
        tokio::task::spawn_local(async move { node.session_gone(&session, hubs).await });
    }

    async fn finish(&self, shard: &Shard) {
        if matches!(&*self.link.borrow(), Link::Gone) {
            return;
        }
        self.set_link(Link::Gone);
        self.forget(shard);
        let (session, hubs) = (self.session.borrow().clone(), self.hubs.replace(0));
        self.node.session_gone(&session, hubs).await;
    }

    fn forget(&self, shard: &Shard) {
        shard.remove(self.id);
        if let Some(id) = self.sm_id.borrow_mut().take() {
            self.node.forget_resumption(&id);
        }
        *self.outbox.borrow_mut() = Outbox::default();
        *self.rest.borrow_mut() = Vec::new();
    }

    /// Called every ten seconds.
    pub(super) fn sweep(&self, shard: &Shard, now: Instant) {
        enum Do {
            Nothing,
            Expire,
            Break,
        }
        let todo = match &*self.link.borrow() {
            Link::Hibernated(until) if *until <= now => Do::Expire,
            Link::Up(..)
                if now.duration_since(self.last_read.get()) > shard.settings.idle_timeout
                    && !self.session.borrow().admin =>
            {
                Do::Break
            }
            Link::Up(..) if self.stalled.get().is_some_and(|t| now.duration_since(t) > shard.settings.idle_timeout) => {
                Do::Break
            }
            _ => Do::Nothing,
        };
        match todo {
            Do::Nothing => {}
            Do::Expire => self.end_from_outside(shard, "not-resumed"),
            Do::Break => {
                shard.metrics.close("idle");
                if let Link::Up(t, _) = &*self.link.borrow() {
                    t.abort();
                }
                self.poke.notify_one();
            }
        }
    }
}

enum Incoming {
    Element(Stanza),
    Ping(BytesMut),
    /// The socket's peer closed without closing the stream.
    Closed,
    /// The stream was closed.
    Ended,
}

/// Appends an element as it goes on the wire.
fn pack(out: &mut Vec<u8>, bytes: &[u8], websocket: bool) {
    if websocket {
        ws::write_header(out, ws::TEXT, bytes.len());
    }
    out.extend_from_slice(bytes);
}
