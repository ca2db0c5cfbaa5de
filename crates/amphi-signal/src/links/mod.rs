//! Links to other domains: in memory between nodes of one process, streams between servers otherwise.
//!
//! To the rest of a node both are the same: [`Links::send`] takes a stanza, and hubs hear of [`PeerState`]. A sender never
//! waits for a link; what a link cannot hold is given up, and the peer is told everything anew when the link is back.

mod incoming;
mod outgoing;
mod socket;

pub(crate) use socket::Socket;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use amphi_room::{Input, PeerState};
use amphi_stanza::{Condition, ErrorType, Stanza, StanzaError, StanzaKind};
use amphi_xmpp::s2s::{DialbackSecret, Pair, VerifyRequest};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::front::Door;
use crate::metrics::LinkLabel;
use crate::node::Node;
use crate::tls::ServerTls;

/// Another server, and what is known of it.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// Its domains.
    pub domains: Vec<String>,
    /// Where to connect; `None` asks the resolver for the domain, port 5269. Names are resolved at each attempt.
    pub address: Option<String>,
    /// SHA-256 fingerprints of its certificate, any of which is accepted. Empty: no certificate is trusted, dialback decides.
    pub pins: Vec<String>,
    /// The peer has our own certificate: a node of this process, or of a fleet with one certificate.
    pub own: bool,
    /// Keep the link up although there is nothing to send, and try again when it breaks.
    pub keep: bool,
}

impl PeerSettings {
    /// Whether certificates of this peer can be trusted at all.
    fn pinned(&self) -> bool {
        self.own || !self.pins.is_empty()
    }

    /// Whether a certificate is this peer's.
    fn accepts(&self, fingerprint: Option<&str>, ours: Option<&ServerTls>) -> bool {
        let Some(f) = fingerprint else { return false };
        self.pins.iter().any(|p| p == f) || self.own && ours.is_some_and(|t| t.fingerprint() == f)
    }
}

/// Links of one node.
#[derive(Clone, Debug, Default)]
pub struct LinkSettings {
    /// Where to accept streams.
    pub listen: Option<SocketAddr>,
    /// Peers; no other domain is talked to.
    pub peers: Vec<PeerSettings>,
    /// TLS off: for tests on loopback alone.
    pub plain: bool,
    /// Bytes that may wait for an in-memory link, or for the task of a stream.
    pub memory_bytes: usize,
    /// Pause between attempts to reach a peer.
    pub retry: Duration,
    /// How long a peer may take until it is authenticated, TLS included; 30 s when zero.
    pub login_time: Duration,
    /// Secret of the dialback keys; random when empty.
    pub dialback_secret: String,
}

/// The links of a node.
pub(crate) struct Links {
    node: Weak<Node>,
    settings: LinkSettings,
    routes: HashMap<String, Route>,
    streams: Mutex<HashMap<usize, Vec<outgoing::Stream>>>,
    tls: Option<Arc<ServerTls>>,
    secret: DialbackSecret,
    suspended: Mutex<HashMap<String, incoming::Session>>,
}

enum Route {
    Memory(Arc<Memory>),
    /// Index of the peer.
    Stream(usize),
}

struct Memory {
    tx: mpsc::UnboundedSender<Stanza>,
    bytes: AtomicUsize,
    overflowed: AtomicBool,
}

impl Memory {
    /// Whether stanzas get through: not while more waits than may, nor when the other node has ended.
    fn carries(&self) -> bool {
        !self.tx.is_closed() && !self.overflowed.load(Ordering::Relaxed)
    }
}

impl LinkSettings {
    fn login_time(&self) -> Duration {
        if self.login_time.is_zero() { Duration::from_secs(30) } else { self.login_time }
    }
}

impl Links {
    /// Links of `node`: to nodes in this process, and to peers.
    pub(crate) fn start(
        node: &Arc<Node>,
        settings: LinkSettings,
        here: &[(Vec<String>, Arc<Node>)],
        tls: Option<Arc<ServerTls>>,
    ) -> Arc<Self> {
        let mut routes = HashMap::new();
        for (domains, target) in here {
            let (tx, rx) = mpsc::unbounded_channel();
            let memory = Arc::new(Memory { tx, bytes: AtomicUsize::new(0), overflowed: AtomicBool::new(false) });
            for d in domains {
                routes.insert(d.clone(), Route::Memory(memory.clone()));
            }
            tokio::spawn(relay(node.clone(), domains.clone(), target.clone(), memory, rx));
        }
        for (i, p) in settings.peers.iter().enumerate() {
            for d in &p.domains {
                routes.insert(d.clone(), Route::Stream(i));
            }
        }
        let secret = if settings.dialback_secret.is_empty() {
            uuid::Uuid::new_v4().to_string()
        } else {
            settings.dialback_secret.clone()
        };
        let links = Arc::new(Self {
            node: Arc::downgrade(node),
            settings,
            routes,
            streams: Mutex::default(),
            tls,
            secret: DialbackSecret::new(&secret),
            suspended: Mutex::default(),
        });
        let _ = node.links.set(links.clone());
        links
    }

    /// Opens the links that are to be kept up. `local` is the domain that speaks for this node.
    pub(crate) fn open(self: &Arc<Self>, local: &str) {
        for (i, p) in self.settings.peers.iter().enumerate().filter(|(_, p)| p.keep) {
            if let Some(d) = p.domains.first()
                && let Ok(pair) = Pair::new(local, d)
            {
                self.stream(i, &pair, true);
            }
        }
    }

    /// Accepts streams of peers until the listener fails.
    pub(crate) async fn serve(self: Arc<Self>, listener: tokio::net::TcpListener, door: Door) {
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    let Some(place) = door.enter(peer.ip()) else { continue };
                    tokio::spawn(incoming::run(self.clone(), socket, peer, place));
                }
                Err(e) => {
                    tracing::warn!(error = %e, "Accepting a stream between servers failed.");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Every domain that is talked to: if it is reached in memory, whether stanzas get through now; and where its server is.
    pub(crate) fn known(&self) -> impl Iterator<Item = (&str, Option<bool>, Option<&str>)> {
        self.routes.iter().map(|(domain, route)| match route {
            Route::Memory(m) => (domain.as_str(), Some(m.carries()), None),
            Route::Stream(i) => (domain.as_str(), None, self.settings.peers.get(*i).and_then(|p| p.address.as_deref())),
        })
    }

    /// Whether there is a way to this domain.
    pub(crate) fn reaches(&self, domain: &str) -> bool {
        self.routes.contains_key(domain)
    }

    /// The peer of a domain.
    fn peer(&self, domain: &str) -> Option<&PeerSettings> {
        match self.routes.get(domain)? {
            Route::Stream(i) => self.settings.peers.get(*i),
            Route::Memory(_) => None,
        }
    }

    /// Sends a stanza to another domain. What cannot be sent is answered if it was a request, and counted.
    pub(crate) fn send(self: &Arc<Self>, stanza: Stanza) {
        let (Ok(Some(from)), Ok(Some(to))) = (stanza.from(), stanza.to()) else {
            self.refuse("link-address");
            return;
        };
        match self.routes.get(to.domain()) {
            Some(Route::Memory(m)) => {
                let n = stanza.raw().len();
                if m.bytes.fetch_add(n, Ordering::Relaxed) > self.most_bytes() {
                    m.bytes.fetch_sub(n, Ordering::Relaxed);
                    m.overflowed.store(true, Ordering::Relaxed);
                    self.refuse("link-full");
                    return;
                }
                let _ = m.tx.send(stanza);
            }
            Some(Route::Stream(i)) => {
                let Ok(pair) = Pair::new(from.domain(), to.domain()) else { return };
                if let Err(s) = self.stream(*i, &pair, false).send(stanza, self.most_bytes()) {
                    self.full(s);
                }
            }
            None => {
                self.refuse("domain-restricted");
                self.bounce(vec![stanza], Condition::RemoteServerNotFound);
            }
        }
    }

    /// Bytes that may wait for one link.
    fn most_bytes(&self) -> usize {
        self.settings.memory_bytes.max(1 << 20)
    }

    /// Gives up what a link cannot hold.
    fn full(self: &Arc<Self>, stanza: Stanza) {
        self.refuse("link-full");
        self.bounce(vec![stanza], Condition::ResourceConstraint);
    }

    fn refuse(&self, reason: &'static str) {
        if let Some(n) = self.node.upgrade() {
            n.metrics.refuse(reason);
        }
    }

    /// The stream that carries a pair; made if there is none.
    fn stream(self: &Arc<Self>, peer: usize, pair: &Pair, keep: bool) -> outgoing::Stream {
        let mut all = self.streams.lock();
        let list = all.entry(peer).or_default();
        if let Some(s) = list.iter().find(|s| s.carries(pair)) {
            return s.clone();
        }
        // Peers of our own make carry all pairs on the first stream; it gives back those that the peer refuses.
        let keep = keep || self.settings.peers[peer].keep && list.is_empty();
        match list.first().filter(|s| s.shares()) {
            Some(s) => {
                s.add(pair.clone());
                s.clone()
            }
            None => {
                let s = outgoing::Stream::start(self.clone(), peer, pair.clone(), keep, !list.is_empty());
                list.push(s.clone());
                s
            }
        }
    }

    /// A stream of its own for a pair that the peer does not take on a shared one.
    fn separate(self: &Arc<Self>, peer: usize, pair: Pair, unsent: Vec<Stanza>) {
        let s = outgoing::Stream::start(self.clone(), peer, pair, false, true);
        for stanza in unsent {
            if let Err(stanza) = s.send(stanza, self.most_bytes()) {
                self.full(stanza);
            }
        }
        self.streams.lock().entry(peer).or_default().push(s);
    }

    /// Requests that never arrived are answered to local clients; rooms learn of losses by [`PeerState`].
    fn bounce(self: &Arc<Self>, stanzas: Vec<Stanza>, condition: Condition) {
        let Some(node) = self.node.upgrade() else { return };
        for s in stanzas {
            node.metrics.refuse("link-lost");
            let request = s.kind() == StanzaKind::Iq && matches!(s.ty().as_deref(), Some("get" | "set"));
            let Some(answer) = request.then(|| StanzaError::new(ErrorType::Wait, condition).answer(&s)).flatten()
            else {
                continue;
            };
            if let Some((conn, bytes)) = node.route_local(answer) {
                let node = node.clone();
                tokio::spawn(async move { node.to_conn(conn, bytes).await });
            }
        }
    }

    /// Tells hubs and metrics that a domain is reachable, or not.
    async fn state(&self, local: &str, domains: Vec<String>, state: PeerState) {
        let Some(node) = self.node.upgrade() else { return };
        for domain in domains {
            let up = i64::from(matches!(state, PeerState::Up { .. }));
            node.metrics.links.get_or_create(&LinkLabel { local: local.to_owned(), remote: domain.clone() }).set(up);
            node.to_all_hubs(Input::Peer { domain, state }).await;
        }
    }

    /// Asks the server of `request.pair.from` about a dialback key.
    async fn verify(self: &Arc<Self>, request: VerifyRequest) -> Option<amphi_xmpp::s2s::DialbackOutcome> {
        let (tx, rx) = oneshot::channel();
        let peer = match self.routes.get(&request.pair.from)? {
            Route::Stream(i) => *i,
            Route::Memory(_) => return None,
        };
        outgoing::verify(self.clone(), peer, request, tx);
        rx.await.ok()
    }
}

/// Hands the stanzas of an in-memory link to their node.
async fn relay(
    from: Arc<Node>,
    domains: Vec<String>,
    to: Arc<Node>,
    memory: Arc<Memory>,
    mut rx: mpsc::UnboundedReceiver<Stanza>,
) {
    let state = PeerState::Up { fresh: true };
    let links = || from.links.get();
    if let Some(l) = links() {
        l.state(&from.name, domains.clone(), state).await;
    }
    let mut batch = Vec::with_capacity(64);
    while rx.recv_many(&mut batch, 64).await > 0 {
        for s in batch.drain(..) {
            memory.bytes.fetch_sub(s.raw().len(), Ordering::Relaxed);
            to.take_from_link(s).await;
        }
        if rx.is_empty()
            && memory.overflowed.swap(false, Ordering::Relaxed)
            && let Some(l) = links()
        {
            l.state(&from.name, domains.clone(), state).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_memory_is_down_while_too_much_waits_and_when_the_other_node_has_ended() {
        let (tx, rx) = mpsc::unbounded_channel();
        let memory = Memory { tx, bytes: AtomicUsize::new(0), overflowed: AtomicBool::new(false) };
        assert!(memory.carries());
        memory.overflowed.store(true, Ordering::Relaxed);
        assert!(!memory.carries());
        memory.overflowed.store(false, Ordering::Relaxed);
        assert!(memory.carries());
        drop(rx);
        assert!(!memory.carries());
    }
}
