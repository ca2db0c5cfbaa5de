//! Service accounts, such as the focus and bridges, as ordinary clients of a node: in memory where the node is in this process, over TCP
//! elsewhere. What they say and do is not known here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_room::Session;
use amphi_stanza::{FullJid, Limits, Stanza, StreamReader};
use amphi_xmpp::c2s::UrlParams;
use amphi_xmpp::client::{ClientConfig, ClientEvent, ClientOutput, ClientStream, CloseReason, Input};
use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::backend::Identity;
use crate::links::Socket;
use crate::node::Node;
use crate::tls;
use crate::virt;

/// The login of a service account. It lasts until [`ServiceLink::out`] is dropped.
#[derive(Debug)]
pub struct ServiceLink {
    /// Stanzas to the node. What is sent to a session that is gone is dropped.
    pub out: mpsc::UnboundedSender<Stanza>,
    /// What happens.
    pub events: mpsc::Receiver<ClientEvent>,
}

/// Events of a service account that may wait; its connection is not read meanwhile.
const EVENTS: usize = 16 * 1024;

/// A connection that served is made again after so long: what may be resumed is not kept for ever.
const AGAIN: Duration = Duration::from_millis(100);

/// How long to wait before a connection is made again, when the last attempt came to nothing.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Before there was any.
    pub first: Duration,
    /// Later.
    pub later: Duration,
}

impl ServiceLink {
    /// Logs in at a node elsewhere, again and again.
    pub fn tcp(address: String, config: ClientConfig, retry: Retry) -> Self {
        Self::tcp_counting(address, config, retry, Counter::default())
    }

    /// As [`Self::tcp`]. `untrusted`: logins that were not made, since the node showed another certificate than the pinned one.
    pub fn tcp_counting(address: String, config: ClientConfig, retry: Retry, untrusted: Counter) -> Self {
        let (out, out_rx) = mpsc::unbounded_channel();
        let (events_tx, events) = mpsc::channel(EVENTS);
        tokio::spawn(tcp(address, config, retry, out_rx, tell(&events_tx, |e| e), untrusted));
        Self { out, events }
    }

    pub(crate) async fn memory(node: Arc<Node>, jid: FullJid, admin: bool) -> Self {
        let (out, out_rx) = mpsc::unbounded_channel();
        let (events_tx, events) = mpsc::channel(EVENTS);
        let shards = node.shards.clone();
        shards.run_on(0, memory(node, jid, admin, out_rx, tell(&events_tx, |e| e))).await;
        Self { out, events }
    }
}

/// Where events go, in the form that the receiver wants.
pub(crate) struct Tell<T, F> {
    tx: mpsc::Sender<T>,
    form: F,
}

pub(crate) fn tell<T, F: Fn(ClientEvent) -> T>(tx: &mpsc::Sender<T>, form: F) -> Tell<T, F> {
    Tell { tx: tx.clone(), form }
}

impl<T, F: Fn(ClientEvent) -> T> Tell<T, F> {
    async fn send(&self, e: ClientEvent) {
        let _ = self.tx.send((self.form)(e)).await;
    }
}

/// A connection to a node of this process: authenticated by being here.
pub(crate) async fn memory<T: Send, F: Fn(ClientEvent) -> T + Send + Sync>(
    node: Arc<Node>,
    jid: FullJid,
    admin: bool,
    mut out: mpsc::UnboundedReceiver<Stanza>,
    events: Tell<T, F>,
) {
    let conn = node.virt.new_id();
    let mut rx = node.virt.add(conn, jid.as_str());
    let session: Arc<Session> = node.bind(conn, &jid, Identity { admin, ..Identity::default() }, UrlParams::default());
    events.send(ClientEvent::Up { jid, resumed: false }).await;
    loop {
        tokio::select! {
            s = out.recv() => {
                let Some(s) = s else { break };
                let routed = node.route_from(&session, s);
                if let Some(answer) = node.deliver(routed).await {
                    events.send(ClientEvent::Stanza(Stanza::authored(answer))).await;
                }
            }
            e = rx.recv() => match e {
                Some(virt::Event::Stanza(b)) => events.send(ClientEvent::Stanza(Stanza::authored(b))).await,
                Some(virt::Event::Closed) | None => {
                    events.send(ClientEvent::Down).await;
                    break;
                }
            }
        }
    }
    node.virt.remove(conn);
    node.session_gone(&session, u64::MAX).await;
}

/// A connection to a node elsewhere; made again whenever it breaks.
pub(crate) async fn tcp<T: Send, F: Fn(ClientEvent) -> T + Send + Sync>(
    address: String,
    config: ClientConfig,
    retry: Retry,
    mut out: mpsc::UnboundedReceiver<Stanza>,
    events: Tell<T, F>,
    untrusted: Counter,
) {
    let (domain, pins) = (config.domain.clone(), config.pins.clone());
    let mut core = ClientStream::new(Instant::now(), config);
    let mut first = true;
    while !out.is_closed() {
        let mut served = false;
        match TcpStream::connect(&address).await {
            Ok(socket) => {
                let _ = socket.set_nodelay(true);
                first = false;
                core.handle(Instant::now(), Input::Connected);
                let known = Known { domain: &domain, pins: &pins, untrusted: &untrusted };
                served = connection(&address, known, &mut core, Socket::Plain(socket), &mut out, &events).await;
            }
            Err(e) => tracing::debug!(node = %address, error = %e, "A node is out of reach."),
        }
        let wait = match (first, served) {
            (true, _) => retry.first,
            (_, true) => retry.later.min(AGAIN),
            (_, false) => retry.later,
        };
        tokio::time::sleep(wait).await;
    }
}

/// What is known of a node before it is talked to.
struct Known<'a> {
    domain: &'a str,
    pins: &'a [String],
    untrusted: &'a Counter,
}

/// Serves a connection until its end; whether it was ever online.
async fn connection<T: Send, F: Fn(ClientEvent) -> T + Send + Sync>(
    address: &str,
    Known { domain, pins, untrusted }: Known<'_>,
    core: &mut ClientStream,
    mut io: Socket,
    out: &mut mpsc::UnboundedReceiver<Stanza>,
    events: &Tell<T, F>,
) -> bool {
    let limits = Limits { bytes: 10 * 1024 * 1024, nodes: 512 * 1024, ..Limits::default() };
    let mut reader = StreamReader::new(limits);
    let mut buf = vec![0u8; 64 * 1024].into_boxed_slice();
    let mut online = false;
    let mut shown = None;
    loop {
        let mut pending = Vec::new();
        while let Some(o) = core.poll_output() {
            match o {
                ClientOutput::Send(b) => pending.extend_from_slice(&b),
                ClientOutput::StartTls => {
                    if io.write(&std::mem::take(&mut pending)).await.is_err() {
                        core.handle(Instant::now(), Input::Closed);
                        continue;
                    }
                    reader.clear();
                    let secured = match tls::client_config(None) {
                        Ok(config) => io.secure_client(config, domain).await,
                        Err(e) => Err(std::io::Error::other(e)),
                    };
                    let input = match secured {
                        Ok(()) => {
                            shown = io.peer_fingerprint();
                            Input::Secured { certificate_ok: shown.as_ref().is_some_and(|f| pins.contains(f)) }
                        }
                        Err(_) => Input::Closed,
                    };
                    core.handle(Instant::now(), input);
                }
                ClientOutput::Restart => reader.restart(),
                ClientOutput::Online { jid, resumed } => {
                    online = true;
                    // What was said to a session that is gone means nothing to the new one, or something else.
                    if !resumed {
                        while out.try_recv().is_ok() {}
                    }
                    events.send(ClientEvent::Up { jid, resumed }).await;
                }
                ClientOutput::Stanza(s) => {
                    events.send(ClientEvent::Stanza(s)).await;
                }
                ClientOutput::Fresh { .. } => {}
                ClientOutput::Closed { reason, .. } => {
                    let _ = io.write(&pending).await;
                    // What to pin, for whoever is told that the certificate is not known.
                    let named = |f: &String| ["sha256:", f].concat();
                    let certificate = shown.as_ref().map_or_else(String::new, named);
                    if matches!(reason, CloseReason::Tls(_)) && shown.is_some_and(|f| !pins.contains(&f)) {
                        untrusted.inc();
                        let pinned = pins.iter().map(named).collect::<Vec<_>>().join(", ");
                        tracing::error!(
                            node = %address, %domain, shown = certificate, pinned,
                            "No login: the node shows another certificate than the pinned one. If it has a new one, pin that; \
                             otherwise somebody is in between."
                        );
                    } else {
                        tracing::warn!(node = %address, %reason, certificate, "The connection to a node was lost.");
                    }
                    if online {
                        events.send(ClientEvent::Down).await;
                    }
                    return online;
                }
            }
        }
        if !pending.is_empty() && io.write(&pending).await.is_err() {
            core.handle(Instant::now(), Input::Closed);
            continue;
        }
        match reader.next_event() {
            Ok(Some(e)) => {
                core.handle(Instant::now(), Input::Event(e));
                continue;
            }
            Ok(None) => {}
            Err(e) => {
                core.handle(Instant::now(), Input::Invalid(e));
                continue;
            }
        }
        let deadline = core.poll_timeout();
        let timer = crate::timer::until(deadline);
        tokio::select! {
            r = io.read(&mut buf) => match r {
                Ok(n) if n > 0 => {
                    reader.push(&buf[..n]);
                    core.handle(Instant::now(), Input::Received);
                }
                _ => core.handle(Instant::now(), Input::Closed),
            },
            s = out.recv(), if online => {
                let Some(s) = s else { return online };
                let _ = core.send(Instant::now(), s);
            }
            () = timer => core.handle(Instant::now(), Input::Tick),
        }
    }
}
