//! One bound connection: reading, writing, stream management, hibernation.

mod incoming;
mod outgoing;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_room::{ConnId, Session};
use amphi_stanza::{Condition, Frame, StreamReader};
use amphi_xmpp::sm::{self, Outbox};
use amphi_xmpp::{StreamCondition, StreamError};
use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::{Resumption, Shard};
use crate::budget::Budget;
use crate::front::ws::WsReader;
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

/// Streams that are kept for no longer than this, those of services, end when their time is over; others when they are looked at next.
const EXACT: Duration = Duration::from_secs(15);

/// A bound connection of a shard.
pub(crate) struct Conn {
    pub(crate) id: ConnId,
    pub(crate) node: Arc<Node>,
    session: RefCell<Arc<Session>>,
    /// A service: rates and sizes of people are not for it.
    unlimited: bool,
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
    /// What is left of the read rate.
    budget: Cell<Budget>,
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
        unlimited: b.node.unlimited(&b.session),
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
        budget: Cell::new(Budget::new(shard.settings.read_rate, now)),
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
    let Ok(transport) = r.transport.adopt() else { return };
    let websocket = matches!(r.framing, Framing::WebSocket(_));
    let refuse = |reason, h| {
        shard.metrics.refuse(reason);
        let mut bytes = Vec::new();
        outgoing::pack(&mut bytes, &sm::failed(r.version, Condition::ItemNotFound, h), websocket);
        let _ = transport.try_write(&bytes);
        transport.shutdown();
    };
    let known = shard.conn(r.conn).and_then(|c| {
        let previd = c.sm_id.borrow().clone()?;
        Some((c.clone(), previd, c.sm.get()?))
    });
    // It may have ended while the new socket was on its way here.
    let Some((conn, previd, version)) = known else { return refuse("resume-gone", None) };
    if conn.outbox.borrow_mut().resume(r.h).is_err() {
        // More acknowledged than was sent: the old stream stays as it is, for a client that counts right.
        return refuse("resume-count", Some(conn.inbound.get()));
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
        match conn.consume(shard, &mut buf, mine).await {
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

    /// Breaks the socket for good: the reader finishes, and the stream cannot be resumed.
    fn abort(&self, shard: &Shard, reason: &'static str) {
        match self.sm_id.borrow_mut().take() {
            Some(id) => self.node.forget_resumption(&id),
            None if matches!(&*self.link.borrow(), Link::Gone) => return,
            None => {}
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
        // The borrow ends here: what follows changes the link.
        let up = matches!(&*self.link.borrow(), Link::Up(..));
        if !up {
            self.end_from_outside(shard, reason);
            return;
        }
        self.close_stream(shard, Some(StreamError::new(StreamCondition::PolicyViolation)));
        self.abort(shard, reason);
    }

    fn hibernate(self: &Rc<Self>, shard: &Rc<Shard>) {
        let patience = self.node.hibernation(&self.session.borrow(), shard.settings.hibernation);
        self.set_link(Link::Hibernated(Instant::now() + patience));
        *self.rest.borrow_mut() = Vec::new();
        shard.metrics.hibernated.inc();
        if patience <= EXACT {
            let (shard, me, epoch) = (shard.clone(), Rc::downgrade(self), self.epoch.get());
            tokio::task::spawn_local(async move {
                tokio::time::sleep(patience).await;
                if let Some(conn) = me.upgrade().filter(|c| c.epoch.get() == epoch) {
                    conn.end_from_outside(&shard, "not-resumed");
                }
            });
        }
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
