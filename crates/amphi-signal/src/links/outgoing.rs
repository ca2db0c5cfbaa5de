//! The task of a stream that we opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use amphi_room::PeerState;
use amphi_stanza::{Condition, Stanza, StreamReader};
use amphi_xmpp::s2s::{
    DialbackOutcome, Input, Outgoing, OutgoingConfig, OutgoingOutput, Pair, Purpose, SendError, Tls, VerifyRequest,
};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::socket::Socket;
use super::{Links, PeerSettings};
use crate::metrics::LinkLabel;
use crate::tls;

enum Command {
    Send(Stanza),
    Add(Pair),
}

/// Sends to one stream.
#[derive(Clone)]
pub(super) struct Stream {
    tx: mpsc::UnboundedSender<Command>,
    pairs: Arc<Mutex<Vec<Pair>>>,
    /// Further pairs may be put on it; until the peer refuses one.
    shared: Arc<AtomicBool>,
    waiting: Arc<Waiting>,
}

/// What the task of a stream has not taken yet, since it waits for its socket.
#[derive(Default)]
struct Waiting {
    bytes: AtomicUsize,
    /// Something was given up: the peer is told everything anew.
    overflowed: AtomicBool,
}

/// With fewer stanzas waiting than this, a peer that missed some has caught up.
const CAUGHT_UP: usize = 1024;

impl Stream {
    /// Starts a stream for a pair. `alone`: no further pair is put on it.
    pub(super) fn start(links: Arc<Links>, peer: usize, pair: Pair, keep: bool, alone: bool) -> Self {
        let (tx, rx) = mpsc::unbounded_channel();
        let stream = Self {
            tx,
            pairs: Arc::new(Mutex::new(vec![pair.clone()])),
            shared: Arc::new(AtomicBool::new(!alone)),
            waiting: Arc::default(),
        };
        let config = config(&links, &links.settings.peers[peer], pair, Purpose::Stanzas);
        tokio::spawn(run(links, peer, config, rx, keep, stream.clone()));
        stream
    }

    pub(super) fn carries(&self, pair: &Pair) -> bool {
        self.pairs.lock().contains(pair)
    }

    pub(super) fn shares(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, pair: Pair) {
        self.pairs.lock().push(pair.clone());
        let _ = self.tx.send(Command::Add(pair));
    }

    /// Gives the stanza back if `limit` bytes wait already.
    pub(super) fn send(&self, stanza: Stanza, limit: usize) -> Result<(), Stanza> {
        let n = stanza.raw().len();
        if self.waiting.bytes.fetch_add(n, Ordering::Relaxed) > limit {
            self.waiting.bytes.fetch_sub(n, Ordering::Relaxed);
            self.waiting.overflowed.store(true, Ordering::Relaxed);
            return Err(stanza);
        }
        let _ = self.tx.send(Command::Send(stanza));
        Ok(())
    }
}

fn config(links: &Links, peer: &PeerSettings, pair: Pair, purpose: Purpose) -> OutgoingConfig {
    OutgoingConfig {
        purpose,
        tls: if links.settings.plain { Tls::Off } else { Tls::Required },
        require_certificate: peer.pinned() && !links.settings.plain,
        // A kept link is there again as soon as its peer is.
        retry_max: if peer.keep { links.settings.retry } else { OutgoingConfig::new(pair.clone()).retry_max },
        ..OutgoingConfig::new(pair)
    }
}

/// Asks the peer about a dialback key on a stream of its own.
pub(super) fn verify(links: Arc<Links>, peer: usize, request: VerifyRequest, answer: oneshot::Sender<DialbackOutcome>) {
    tokio::spawn(async move {
        let config = config(&links, &links.settings.peers[peer], request.pair.reversed(), Purpose::Verify);
        let mut core = Outgoing::new(Instant::now(), config, links.secret.clone());
        core.verify(Instant::now(), request);
        let mut conn = Conn::new();
        let mut answer = Some(answer);
        let wait = async {
            while answer.is_some() {
                while let Some(o) = core.poll_output() {
                    match o {
                        OutgoingOutput::VerifyResult(_, outcome) => {
                            if let Some(a) = answer.take() {
                                let _ = a.send(outcome);
                            }
                        }
                        OutgoingOutput::Failed { .. } => return,
                        o => {
                            conn.basic(&links, peer, &mut core, o).await;
                        }
                    }
                }
                if answer.is_some() {
                    conn.wait(&mut core, None).await;
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(30), wait).await;
        conn.socket.close().await;
    });
}

/// The connection under a stream.
struct Conn {
    socket: Socket,
    reader: StreamReader,
    buf: Box<[u8]>,
    connected: bool,
}

impl Conn {
    fn new() -> Self {
        Self {
            socket: Socket::Gone,
            reader: StreamReader::new(limits()),
            buf: vec![0; 16 * 1024].into(),
            connected: false,
        }
    }

    /// Carries out an output that concerns the connection; gives the others back.
    async fn basic(
        &mut self,
        links: &Links,
        peer: usize,
        core: &mut Outgoing,
        o: OutgoingOutput,
    ) -> Option<OutgoingOutput> {
        match o {
            OutgoingOutput::Connect => {
                self.reader = StreamReader::new(limits());
                self.connected = false;
                let p = &links.settings.peers[peer];
                let input = match connect(p).await {
                    Ok(s) => {
                        self.socket = Socket::Plain(s);
                        self.connected = true;
                        Input::Connected
                    }
                    Err(e) => {
                        tracing::debug!(error = %e, domain = p.domains.first(), "No connection to a peer.");
                        Input::Closed
                    }
                };
                core.handle(Instant::now(), input);
            }
            OutgoingOutput::Send(b) => {
                if self.connected && self.socket.write(&b).await.is_err() {
                    self.connected = false;
                    core.handle(Instant::now(), Input::Closed);
                }
            }
            OutgoingOutput::StartTls => {
                self.reader.clear();
                let p = &links.settings.peers[peer];
                let identity = links.tls.as_ref().map(|t| t.identity());
                let done = match tls::client_config(identity) {
                    Ok(c) => self.socket.secure_client(c, &core.pair().to).await,
                    Err(e) => Err(std::io::Error::other(e)),
                };
                let input = match done {
                    Ok(()) => {
                        let fp = self.socket.peer_fingerprint();
                        let ok = p.accepts(fp.as_deref(), links.tls.as_deref());
                        if !ok && p.pinned() {
                            tracing::warn!(
                                domain = p.domains.first(),
                                fingerprint = fp,
                                "The certificate of a peer is not the pinned one."
                            );
                        }
                        Input::Secured { certificate_ok: ok }
                    }
                    Err(e) => {
                        tracing::debug!(error = %e, "TLS with a peer failed.");
                        self.connected = false;
                        Input::Closed
                    }
                };
                core.handle(Instant::now(), input);
            }
            OutgoingOutput::Restart => self.reader.restart(),
            OutgoingOutput::Close => {
                self.socket.close().await;
                self.socket = Socket::Gone;
                self.connected = false;
            }
            other => return Some(other),
        }
        None
    }

    /// Waits for bytes, a deadline or a command.
    async fn wait(
        &mut self,
        core: &mut Outgoing,
        rx: Option<&mut mpsc::UnboundedReceiver<Command>>,
    ) -> Option<Command> {
        let deadline = core.poll_timeout();
        // An event that is complete already comes before any waiting.
        if self.connected {
            match self.reader.next_event() {
                Ok(Some(e)) => {
                    core.handle(Instant::now(), Input::Event(e));
                    return None;
                }
                Ok(None) => {}
                Err(e) => {
                    core.handle(Instant::now(), Input::Invalid(e));
                    return None;
                }
            }
        }
        let command = async {
            match rx {
                Some(rx) => rx.recv().await,
                None => std::future::pending().await,
            }
        };
        let timer = crate::timer::until(deadline);
        let (socket, buf, connected) = (&mut self.socket, &mut self.buf, self.connected);
        let read = async { if connected { socket.read(buf).await } else { std::future::pending().await } };
        tokio::select! {
            c = command => return c,
            () = timer => core.handle(Instant::now(), Input::Tick),
            r = read => match r {
                Ok(n) if n > 0 => {
                    self.reader.push(&self.buf[..n]);
                    core.handle(Instant::now(), Input::Received);
                }
                _ => {
                    self.connected = false;
                    self.socket = Socket::Gone;
                    core.handle(Instant::now(), Input::Closed);
                }
            },
        }
        None
    }
}

pub(super) fn limits() -> amphi_stanza::Limits {
    amphi_stanza::Limits { bytes: 1024 * 1024, ..amphi_stanza::Limits::default() }
}

async fn connect(p: &PeerSettings) -> std::io::Result<TcpStream> {
    let target = match &p.address {
        Some(a) => a.clone(),
        None => format!("{}:5269", p.domains.first().map_or("", |d| d)),
    };
    let s = tokio::time::timeout(Duration::from_secs(10), TcpStream::connect(target)).await??;
    s.set_nodelay(true)?;
    Ok(s)
}

async fn run(
    links: Arc<Links>,
    peer: usize,
    config: OutgoingConfig,
    mut rx: mpsc::UnboundedReceiver<Command>,
    keep: bool,
    stream: Stream,
) {
    // Only what is shared is kept: as long as a sender lived here, the end of all others would not be seen.
    let Stream { pairs, shared, waiting, tx } = stream;
    drop(tx);
    let local = config.pair.from.clone();
    let mut core = Outgoing::new(Instant::now(), config, links.secret.clone());
    let mut conn = Conn::new();
    let mut up = false;
    let remotes = || {
        let mut v: Vec<String> = pairs.lock().iter().map(|p| p.to.clone()).collect();
        v.sort_unstable();
        v.dedup();
        v
    };
    let label = LinkLabel { local: local.clone(), remote: core.pair().to.clone() };
    if keep {
        core.connect(Instant::now());
    }
    loop {
        while let Some(o) = core.poll_output() {
            let Some(o) = conn.basic(&links, peer, &mut core, o).await else { continue };
            match o {
                OutgoingOutput::Ready { resumed } => {
                    if !resumed || !up {
                        up = true;
                        // All domains of the peer hang on the same server: a fresh session concerns all of them.
                        let all = if keep { links.settings.peers[peer].domains.clone() } else { remotes() };
                        links.state(&local, all, PeerState::Up { fresh: !resumed }).await;
                    }
                    tracing::info!(from = local, to = label.remote, resumed, "Link is up.");
                }
                OutgoingOutput::Fresh { unacked, unsent } => {
                    links.bounce(unacked, Condition::RemoteServerTimeout);
                    links.bounce(unsent, Condition::RemoteServerTimeout);
                }
                OutgoingOutput::PairRefused { pair, unsent } => {
                    // A peer that refuses one pair knows of none: the next one gets a stream of its own at once.
                    shared.store(false, Ordering::Relaxed);
                    pairs.lock().retain(|p| *p != pair);
                    links.separate(peer, pair, unsent);
                }
                OutgoingOutput::Stanza(s) => {
                    if let Some(node) = links.node.upgrade() {
                        node.take_from_link(s).await;
                    }
                }
                OutgoingOutput::Failed { reason, unsent } => {
                    if up {
                        tracing::warn!(from = local, to = label.remote, %reason, "Link is down.");
                    } else {
                        tracing::debug!(from = local, to = label.remote, %reason, "No link.");
                    }
                    conn.connected = false;
                    links.bounce(unsent, Condition::RemoteServerTimeout);
                    if up || !keep {
                        let all = if keep { links.settings.peers[peer].domains.clone() } else { remotes() };
                        links.state(&local, all, PeerState::Down).await;
                    }
                    up = false;
                    if keep {
                        tokio::time::sleep(links.settings.retry).await;
                        core.connect(Instant::now());
                    }
                }
                _ => {}
            }
        }
        if let Some(node) = links.node.upgrade() {
            node.metrics.link_queue.get_or_create(&label).set(core.queued() as i64);
        }
        match conn.wait(&mut core, Some(&mut rx)).await {
            Some(Command::Send(s)) => {
                waiting.bytes.fetch_sub(s.raw().len(), Ordering::Relaxed);
                match core.send(Instant::now(), s) {
                    Ok(()) => {}
                    // Its pair was refused after it had been put here; there is a stream of its own for it now.
                    Err(SendError::OtherPair(s)) => links.send(s),
                    Err(SendError::Full(s)) => {
                        waiting.overflowed.store(true, Ordering::Relaxed);
                        links.full(s);
                    }
                }
            }
            Some(Command::Add(pair)) => core.add_pair(Instant::now(), pair),
            None => {}
        }
        if up
            && rx.is_empty()
            && core.queued() < CAUGHT_UP
            && waiting.overflowed.load(Ordering::Relaxed)
            && waiting.overflowed.swap(false, Ordering::Relaxed)
        {
            let all = if keep { links.settings.peers[peer].domains.clone() } else { remotes() };
            links.state(&local, all, PeerState::Up { fresh: true }).await;
        }
    }
}
