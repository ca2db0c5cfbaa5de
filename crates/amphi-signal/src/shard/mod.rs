//! Shards: threads that own client connections.
//!
//! A connection (socket, TLS, framing, stream management, outgoing queue) lives whole on one shard, so nothing about it
//! is locked. Hubs send a shard one message per event, whatever the number of receivers; the shard walks its own members
//! and writes whatever waits for a socket in one go.

mod conn;
mod flush;
mod members;
mod negotiate;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use amphi_room::{Broadcast, ConnId, Group, RoomId};
use amphi_stanza::Frame;
use bytes::{Bytes, BytesMut};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

use crate::metrics::{Kind, Local, Metrics};
use crate::node::Node;
use crate::transport::{RawTransport, Transport};
pub(crate) use conn::Conn;
pub(crate) use members::Members;

/// One thing for a shard to do for hubs.
#[derive(Debug)]
pub(crate) enum Op {
    /// See [`amphi_room::Output::Join`].
    Join(RoomId, ConnId, Group),
    /// See [`amphi_room::Output::Leave`].
    Leave(RoomId, ConnId),
    /// See [`amphi_room::Output::Broadcast`].
    Broadcast(Broadcast),
    /// See [`amphi_room::Output::Send`].
    Send(ConnId, Bytes),
    /// See [`amphi_room::Output::SendFrames`].
    Frames(ConnId, Vec<Arc<Frame>>),
    /// See [`amphi_room::Output::Destroyed`].
    Destroyed(RoomId),
}

/// How stanzas are packed on a socket.
pub(crate) enum NewFraming {
    /// RFC 7395; the upgrade has been answered.
    WebSocket,
    /// RFC 6120.
    Tcp {
        /// The local address counts as protected: no STARTTLS, PLAIN allowed.
        trusted: bool,
    },
}

/// A socket whose stream has not begun. `T`: [`RawTransport`] on its way to a shard, [`Transport`] there.
pub(crate) struct NewConn<T> {
    pub(crate) transport: T,
    pub(crate) framing: NewFraming,
    /// Bytes already read.
    pub(crate) early: BytesMut,
    pub(crate) node: Arc<Node>,
    pub(crate) params: amphi_xmpp::c2s::UrlParams,
    /// Held until the handshake is over.
    pub(crate) place: Option<crate::front::Place>,
    pub(crate) peer: std::net::IpAddr,
}

impl NewConn<RawTransport> {
    /// Registers the socket with this thread.
    fn adopt(self) -> std::io::Result<NewConn<Transport>> {
        let Self { transport, framing, early, node, params, place, peer } = self;
        Ok(NewConn { transport: transport.adopt()?, framing, early, node, params, place, peer })
    }
}

/// A socket that takes over a connection of this shard.
pub(crate) struct Resumption {
    pub(crate) conn: ConnId,
    pub(crate) transport: RawTransport,
    pub(crate) framing: conn::Framing,
    pub(crate) early: BytesMut,
    /// Stanzas that the client has handled.
    pub(crate) h: u32,
    pub(crate) version: amphi_xmpp::sm::Version,
    pub(crate) claims: Option<Arc<amphi_room::Claims>>,
    pub(crate) region: Option<String>,
}

pub(crate) enum ShardMsg {
    Adopt(Box<NewConn<RawTransport>>),
    Resume(Box<Resumption>),
    Ops(Vec<Op>),
    /// End a connection for good.
    Kick(ConnId, &'static str),
    /// Run a task on the shard's thread.
    Run(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// Accept connections on the shard's thread.
    Serve(Arc<crate::front::Front>, std::net::TcpListener),
    /// End all connections: the process ends.
    Shutdown,
}

/// Sends to one shard.
#[derive(Clone)]
pub(crate) struct ShardHandle {
    tx: mpsc::Sender<ShardMsg>,
}

impl ShardHandle {
    pub(crate) async fn send(&self, msg: ShardMsg) {
        // A shard ends only with the process.
        let _ = self.tx.send(msg).await;
    }
}

/// Sends to all shards of the process.
pub(crate) struct Shards {
    handles: Vec<ShardHandle>,
    next: AtomicU64,
    ids: AtomicU64,
}

/// Shard number of connections without a socket of their own; see [`crate::virt`].
pub(crate) const VIRTUAL: u8 = 255;

/// The shard that a connection lives on.
pub(crate) fn shard_of(conn: ConnId) -> u8 {
    (conn.0 & 0xff) as u8
}

impl Shards {
    /// Starts `n` shard threads.
    pub(crate) fn start(n: usize, settings: Arc<ShardSettings>, metrics: &Arc<Metrics>) -> std::io::Result<Arc<Self>> {
        let mut handles = Vec::new();
        let (ready_tx, ready_rx) = std::sync::mpsc::channel();
        for index in 0..n {
            let (tx, rx) = mpsc::channel(settings.inbox);
            handles.push(ShardHandle { tx });
            let (settings, metrics, ready) = (settings.clone(), metrics.clone(), ready_tx.clone());
            std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
                let rt = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                    Ok(rt) => rt,
                    Err(e) => {
                        let _ = ready.send(Err(e));
                        return;
                    }
                };
                let _ = ready.send(Ok(()));
                let local = tokio::task::LocalSet::new();
                local.block_on(&rt, Shard::run(index as u8, rx, settings, metrics));
            })?;
        }
        for _ in 0..n {
            ready_rx.recv().map_err(|_| std::io::Error::other("a shard did not start"))??;
        }
        Ok(Arc::new(Self { handles, next: AtomicU64::new(0), ids: AtomicU64::new(1) }))
    }

    /// Number of shards.
    pub(crate) fn len(&self) -> usize {
        self.handles.len()
    }

    /// A shard by number.
    pub(crate) fn get(&self, shard: u8) -> Option<&ShardHandle> {
        self.handles.get(shard as usize)
    }

    /// Runs a task on the thread of a shard.
    pub(crate) async fn run_on(&self, shard: usize, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(s) = self.handles.get(shard % self.handles.len()) {
            s.send(ShardMsg::Run(Box::pin(task))).await;
        }
    }

    /// The shard for the next new connection.
    pub(crate) fn pick(&self) -> u8 {
        (self.next.fetch_add(1, Ordering::Relaxed) % self.handles.len() as u64) as u8
    }

    /// A connection id on a shard.
    pub(crate) fn new_id(&self, shard: u8) -> ConnId {
        ConnId(self.ids.fetch_add(1, Ordering::Relaxed) << 8 | u64::from(shard))
    }
}

/// Limits and timers of connections.
#[derive(Clone, Debug)]
pub struct ShardSettings {
    /// Messages from hubs that may wait; a hub waits when it is full.
    pub inbox: usize,
    /// Handshake: from the first byte until bind.
    pub negotiation_timeout: Duration,
    /// How long a broken stream is kept for resumption.
    pub hibernation: Duration,
    /// A connection that sends nothing for so long is broken.
    pub idle_timeout: Duration,
    /// Unacknowledged stanzas before an acknowledgement is asked for.
    pub ack_every: u32,
    /// Unacknowledged stanzas at which a connected client is given up.
    pub max_unacked: usize,
    /// Bytes that may wait for a slow reader; more ends the connection.
    pub max_unsent_bytes: usize,
    /// Unsent bytes that are written in one go.
    pub write_chunk: usize,
    /// Size limits of stanzas.
    pub limits: amphi_stanza::Limits,
    /// Size limits for service accounts.
    pub admin_limits: amphi_stanza::Limits,
    /// Bytes per second read from one client; twice that in a burst. Beyond it reading is slowed.
    pub read_rate: u32,
    /// Share of time that broadcasts to an audience may take on a shard under load, in percent.
    pub fanout_share: u32,
}

impl Default for ShardSettings {
    fn default() -> Self {
        let limits = amphi_stanza::Limits::default();
        Self {
            inbox: 4096,
            negotiation_timeout: Duration::from_secs(30),
            hibernation: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(90),
            ack_every: 5,
            max_unacked: 2000,
            max_unsent_bytes: 2 * 1024 * 1024,
            write_chunk: 64 * 1024,
            limits,
            admin_limits: amphi_stanza::Limits { bytes: 10 * 1024 * 1024, nodes: 512 * 1024, ..limits },
            read_rate: 64 * 1024,
            fanout_share: 40,
        }
    }
}

pub(crate) struct Shard {
    pub(crate) index: u8,
    pub(crate) settings: Arc<ShardSettings>,
    pub(crate) metrics: Arc<Metrics>,
    /// Received stanzas: messages, presences, IQs.
    received: [Counter; 3],
    conns: RefCell<HashMap<ConnId, Rc<Conn>, foldhash::fast::RandomState>>,
    members: RefCell<Members>,
    /// Connections to write to as soon as the current batch is taken in.
    prompt: RefCell<Vec<Rc<Conn>>>,
    bulk: flush::Bulk,
    /// Shared by all reads: contents never survive an await.
    scratch: RefCell<Box<[u8]>>,
    /// Shared by all writes.
    wscratch: RefCell<Vec<u8>>,
    now: Cell<Instant>,
    writes: Local,
    bytes: Local,
    stanzas: Local,
}

impl Shard {
    async fn run(index: u8, mut rx: mpsc::Receiver<ShardMsg>, settings: Arc<ShardSettings>, metrics: Arc<Metrics>) {
        let shard = Rc::new(Self {
            index,
            settings,
            received: ["message", "presence", "iq"].map(|kind| metrics.stanzas_in.get_or_create_owned(&Kind { kind })),
            metrics,
            conns: RefCell::default(),
            members: RefCell::default(),
            prompt: RefCell::default(),
            bulk: flush::Bulk::default(),
            scratch: RefCell::new(vec![0; 64 * 1024].into_boxed_slice()),
            wscratch: RefCell::new(Vec::with_capacity(80 * 1024)),
            now: Cell::new(Instant::now()),
            writes: Local::default(),
            bytes: Local::default(),
            stanzas: Local::default(),
        });
        tokio::task::spawn_local(flush::run(shard.clone()));
        tokio::task::spawn_local(sweep(shard.clone()));
        let mut batch = Vec::with_capacity(64);
        while rx.recv_many(&mut batch, 64).await > 0 {
            shard.now.set(Instant::now());
            for msg in batch.drain(..) {
                match msg {
                    ShardMsg::Ops(ops) => ops.into_iter().for_each(|op| shard.op(op)),
                    ShardMsg::Adopt(new) => {
                        if let Ok(new) = new.adopt() {
                            shard.begin(new);
                        }
                    }
                    ShardMsg::Resume(r) => conn::resume(&shard, *r),
                    ShardMsg::Run(task) => {
                        tokio::task::spawn_local(task);
                    }
                    ShardMsg::Serve(front, listener) => {
                        tokio::task::spawn_local(front.serve(shard.clone(), listener));
                    }
                    ShardMsg::Shutdown => {
                        let all: Vec<Rc<Conn>> = shard.conns.borrow().values().cloned().collect();
                        for c in all {
                            c.shut(&shard);
                        }
                    }
                    ShardMsg::Kick(id, reason) => {
                        if let Some(c) = shard.conn(id) {
                            c.end(&shard, reason);
                        }
                    }
                }
            }
            shard.flush_prompt();
        }
    }

    /// Starts the handshake of a new connection.
    pub(crate) fn begin(self: &Rc<Self>, new: NewConn<Transport>) {
        tokio::task::spawn_local(negotiate::run(self.clone(), Box::new(new)));
    }

    pub(crate) fn conn(&self, id: ConnId) -> Option<Rc<Conn>> {
        self.conns.borrow().get(&id).cloned()
    }

    pub(crate) fn insert(&self, conn: Rc<Conn>) {
        self.conns.borrow_mut().insert(conn.id, conn);
    }

    pub(crate) fn remove(&self, id: ConnId) {
        self.conns.borrow_mut().remove(&id);
    }

    fn op(&self, op: Op) {
        match op {
            Op::Join(room, conn, group) => {
                if self.conns.borrow().contains_key(&conn) {
                    self.members.borrow_mut().join(room, conn, group);
                }
            }
            Op::Leave(room, conn) => self.members.borrow_mut().leave(room, conn),
            Op::Destroyed(room) => self.members.borrow_mut().destroy(room),
            Op::Send(conn, bytes) => {
                if let Some(c) = self.conn(conn) {
                    c.push(conn::Entry::Own(bytes));
                    self.prompt(&c);
                }
            }
            Op::Frames(conn, frames) => {
                if let Some(c) = self.conn(conn) {
                    for f in frames {
                        c.push(conn::Entry::Frame(f));
                    }
                    self.prompt(&c);
                }
            }
            Op::Broadcast(b) => self.broadcast(&b),
        }
    }

    fn broadcast(&self, b: &Broadcast) {
        let (members, conns) = (self.members.borrow(), self.conns.borrow());
        for (group, list) in members.of(b.room, b.to) {
            // A small group is served at once; an audience takes its turn so that the stage never waits for it.
            let bulk = group == Group::Audience && list.len() > 64;
            for id in list {
                if Some(*id) == b.except {
                    continue;
                }
                let Some(c) = conns.get(id) else { continue };
                c.push(conn::Entry::Frame(b.frame.clone()));
                if bulk {
                    self.bulk.add(c, self.now.get());
                } else {
                    self.prompt(c);
                }
            }
        }
        self.bulk.wake();
    }

    /// Marks a connection for writing at the end of the current batch.
    pub(crate) fn prompt(&self, c: &Rc<Conn>) {
        if !c.marked.replace(true) {
            self.prompt.borrow_mut().push(c.clone());
        }
    }

    pub(crate) fn flush_prompt(&self) {
        let mut list = std::mem::take(&mut *self.prompt.borrow_mut());
        for c in list.drain(..) {
            c.marked.set(false);
            c.flush(self);
        }
        let mut slot = self.prompt.borrow_mut();
        if slot.is_empty() {
            *slot = list;
        }
    }
}

/// Looks after connections that do nothing: broken ones, and streams nobody resumed.
async fn sweep(shard: Rc<Shard>) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut round = 0u32;
    loop {
        every.tick().await;
        round += 1;
        let now = Instant::now();
        shard.now.set(now);
        shard.writes.publish(&shard.metrics.socket_writes);
        shard.bytes.publish(&shard.metrics.socket_bytes);
        shard.stanzas.publish(&shard.metrics.stanzas_out);
        // A tenth of the connections each second: the walk costs little and is late by ten seconds at most.
        let list: Vec<Rc<Conn>> = shard
            .conns
            .borrow()
            .iter()
            .filter(|(id, _)| (id.0 >> 8) % 10 == u64::from(round % 10))
            .map(|(_, c)| c.clone())
            .collect();
        for c in list {
            c.sweep(&shard, now);
        }
    }
}
