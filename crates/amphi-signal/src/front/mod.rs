//! The HTTP front: one address for everything a browser needs.
//!
//! Connections are accepted, and shake hands, on the thread of a shard, where they stay: moving one costs more than its first
//! request. WebSocket upgrades on `/xmpp-websocket` take a path of their own, since a join storm is made of them. So do those of the visitor queue, of which very many stay for long. Everything else goes to the general HTTP server. Requests with `vnode=X` go to that node, wherever
//! it lives.

mod general;
pub(crate) mod head;
mod request;
mod socket;
mod turns;
pub(crate) mod ws;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use amphi_queue::Endpoint;
use amphi_xmpp::c2s::UrlParams;
use bytes::{Buf, BytesMut};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::addresses::Shares;
use crate::http::Http;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::queue::{self, Queue};
use crate::shard::{NewConn, NewFraming, Shard};
use crate::tls::ServerTls;
use crate::transport::Transport;
pub(crate) use general::{HTTP_2, Peer, serve_admin};
use head::{Head, Prefixed};
use socket::Socket;
pub(crate) use turns::{Door, Place, Turns};

/// Where a node's clients are served.
#[derive(Clone)]
pub(crate) enum Target {
    /// In this process.
    Here(Arc<Node>),
    /// By the HTTP front of another process, at a host and port. A name is looked up for each connection: it may move.
    There(Arc<str>),
}

/// Settings of the front.
#[derive(Clone, Debug)]
pub struct FrontSettings {
    /// Handshakes that run at the same time; further connections wait for their turn.
    pub handshakes: usize,
    /// Handshakes of one address that run at the same time.
    pub handshakes_per_address: usize,
    /// How long a handshake is counted as running; a slower one goes on, and others have their turn.
    pub turn_time: Duration,
    /// Connections whose handshake is not over; further ones are closed.
    pub waiting: usize,
    /// Those of one address.
    pub waiting_per_address: usize,
    /// Connections for HTTP; further ones are told to come back.
    pub http: usize,
    /// Those of one address.
    pub http_per_address: usize,
    /// How long a connection may take to send its first request.
    pub head_timeout: Duration,
    /// Header in which the proxy tells the region of the user.
    pub region_header: String,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
}

impl Default for FrontSettings {
    fn default() -> Self {
        Self {
            handshakes: 128,
            handshakes_per_address: 64,
            turn_time: Duration::from_secs(3),
            waiting: 16 * 1024,
            waiting_per_address: 4 * 1024,
            http: 100_000,
            http_per_address: 10_000,
            head_timeout: Duration::from_secs(30),
            region_header: "x_proxy_region".to_owned(),
            trusted_proxies: vec![IpAddr::from([127, 0, 0, 1]), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)],
        }
    }
}

/// Everything the front shares between its connections.
pub(crate) struct Front {
    pub(crate) settings: FrontSettings,
    pub(crate) main: Option<Target>,
    pub(crate) vnodes: HashMap<String, Target>,
    pub(crate) router: axum::Router,
    pub(crate) app: Arc<Http>,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) door: Door,
    /// Places for connections that are no WebSockets.
    pub(crate) http: Arc<Semaphore>,
    pub(crate) http_of: Shares,
    pub(crate) visitors: Option<Arc<Queue>>,
}

impl Front {
    /// Accepts connections on a shard's thread, where they stay.
    pub(crate) async fn serve(self: Arc<Self>, shard: Rc<Shard>, listener: std::net::TcpListener) {
        let Ok(listener) = TcpListener::from_std(listener) else { return };
        loop {
            if let Some((socket, peer, place)) = self.accept(&listener).await {
                tokio::task::spawn_local(self.clone().connection(shard.clone(), socket, peer, place));
            }
        }
    }

    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, IpAddr, Place)> {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let place = self.door.enter(peer.ip())?;
                Some((socket, peer.ip(), place))
            }
            Err(e) => {
                // Out of descriptors, most likely: wait for some to come back.
                tracing::warn!(error = %e, "Accepting a connection failed.");
                self.metrics.refuse("accept-error");
                tokio::time::sleep(Duration::from_millis(50)).await;
                None
            }
        }
    }

    /// Answers the conference requests that a connection begins with. The first other request is what is left, for proxies put everything on the
    /// connections that they keep; it is a new one at the door.
    async fn requests(
        &self,
        io: &mut Socket,
        peer: IpAddr,
        head: Head,
        buf: BytesMut,
        place: Place,
    ) -> Option<(Head, BytesMut, Place)> {
        if !request::fits(&head, self.app.request_bytes) {
            return Some((head, buf, place));
        }
        drop(place);
        let Some(_place) = self.http_place(peer) else {
            refuse_http(io).await;
            return None;
        };
        let served = request::serve(io, &self.app, peer, head, buf, self.settings.head_timeout).await;
        let Ok(request::Served::Other(head, buf)) = served else { return None };
        Some((*head, buf, self.door.turns.enter(peer)?))
    }

    /// A place for a connection that is no WebSocket, unless there are too many, or too many from its address.
    fn http_place(&self, peer: IpAddr) -> Option<impl Sized + use<>> {
        match (self.http_of.try_acquire(peer), self.http.clone().try_acquire_owned()) {
            (Ok(own), Ok(all)) => Some((own, all)),
            _ => {
                self.metrics.refuse("http-full");
                None
            }
        }
    }

    async fn connection(self: Arc<Self>, shard: Rc<Shard>, socket: TcpStream, peer: IpAddr, mut place: Place) {
        let begun = match &self.tls {
            Some(tls) => Box::pin(self.secure(tls, socket, &mut place)).await,
            None => self.first_head(Socket::Plain(socket)).await,
        };
        let Some((mut socket, first)) = begun else { return };
        // WebSockets stay with HTTP/1.1, for which browsers open connections of their own.
        let Some((head, buf)) = first else {
            drop(place);
            if let Some(_place) = self.http_place(peer) {
                general::serve_http_2(socket, self.router.clone(), peer).await;
            }
            return;
        };
        let Some((head, buf, mut place)) = Box::pin(self.requests(&mut socket, peer, head, buf, place)).await else {
            return;
        };
        if let Some(endpoint) = self.queue_endpoint(&head) {
            drop(place);
            Box::pin(self.enqueue(socket, endpoint, head, buf)).await;
            return;
        }
        if !self.is_upgrade(&head) {
            drop(place);
            Box::pin(self.http(socket, peer, head, buf)).await;
            return;
        }
        place.turn().await;
        if let Some(new) = Box::pin(self.upgrade(socket, head, buf, peer, place)).await {
            shard.begin(new);
        }
    }

    /// Reads the head of the first request.
    async fn first_head(&self, mut socket: Socket) -> Option<(Socket, Option<(Head, BytesMut)>)> {
        let head = head::read(&mut socket, &self.settings.region_header);
        let head = tokio::time::timeout(self.settings.head_timeout, head).await.ok()?.ok()??;
        Some((socket, Some(head)))
    }

    /// Shakes hands, and reads the head of the first request unless the client speaks HTTP/2.
    async fn secure(
        &self,
        tls: &ServerTls,
        socket: TcpStream,
        place: &mut Place,
    ) -> Option<(Socket, Option<(Head, BytesMut)>)> {
        let most = self.settings.head_timeout;
        // A turn is worth something only when there is something to answer.
        let hello = tokio_rustls::LazyConfigAcceptor::new(rustls::server::Acceptor::default(), socket);
        let Ok(Ok(hello)) = tokio::time::timeout(most, hello).await else {
            self.metrics.refuse("tls-handshake");
            return None;
        };
        place.turn().await;
        let begun = async {
            let Ok(stream) = hello.into_stream(tls.config()).await else {
                self.metrics.refuse("tls-handshake");
                return None;
            };
            if stream.get_ref().1.alpn_protocol() == Some(HTTP_2) {
                return Some((Socket::Tls(Box::new(stream)), None));
            }
            self.first_head(Socket::Tls(Box::new(stream))).await
        };
        place.work(most, begun).await.flatten()
    }

    fn is_upgrade(&self, head: &Head) -> bool {
        head.upgrade.is_some() && head::split_tenant(&head.path).1 == "/xmpp-websocket"
    }

    /// The part of the visitor queue that an upgrade is for. It is served where the main node is.
    fn queue_endpoint(&self, head: &Head) -> Option<Endpoint> {
        head.upgrade.as_ref()?;
        let endpoint = Endpoint::of_path(&head::split_tenant(&head.path).1)?;
        (self.visitors.is_some() || matches!(self.main, Some(Target::There(_)))).then_some(endpoint)
    }

    /// Opens a connection of the visitor queue. It gets a task of its own, so that this one ends.
    async fn enqueue(&self, mut socket: Socket, endpoint: Endpoint, head: Head, mut buf: BytesMut) {
        let Some(queue) = self.visitors.clone() else {
            if let Some(Target::There(addr)) = &self.main {
                let addr = addr.clone();
                let metrics = self.metrics.clone();
                tokio::spawn(async move {
                    if let Err(e) = tunnel(socket, &addr, &buf).await {
                        metrics.refuse("forward");
                        tracing::debug!(error = %e, "Forwarding a connection of the visitor queue failed.");
                    }
                });
            }
            return;
        };
        let Some(upgrade) = head.upgrade else { return };
        let Ok(place) = queue.places.clone().try_acquire_owned() else {
            self.metrics.refuse("queue-full");
            let _ = socket.write_all(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 30\r\ncontent-length: 17\r\nconnection: close\r\n\r\nThe queue is full").await;
            return;
        };
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {}\r\n",
            ws::accept_key(&upgrade.key)
        );
        if upgrade.stomp {
            answer.push_str("sec-websocket-protocol: v12.stomp\r\n");
        }
        answer.push_str("\r\n");
        if socket.write_all(answer.as_bytes()).await.is_err() || socket.flush().await.is_err() {
            return;
        }
        buf.advance(head.len);
        // A copy of its own size: the buffer of the request is not kept while somebody waits.
        let early = if buf.is_empty() { BytesMut::new() } else { BytesMut::from(&buf[..]) };
        drop(buf);
        socket.keep_alive();
        tokio::spawn(queue::serve(queue, endpoint, socket, early, head.bearer, place));
    }

    /// Which node a request is for.
    pub(crate) fn target(&self, vnode: Option<&str>) -> Option<&Target> {
        match vnode {
            None => self.main.as_ref(),
            Some(v) => self.vnodes.get(v),
        }
    }

    async fn upgrade(
        &self,
        mut socket: Socket,
        head: Head,
        mut buf: BytesMut,
        peer: IpAddr,
        place: Place,
    ) -> Option<NewConn<Transport>> {
        let mut params = UrlParams::parse(&head.query);
        if let Some(t) = head::split_tenant(&head.path).0 {
            params.prefix = Some(t.to_lowercase());
        }
        params.token = params.token.or(head.bearer);
        params.region = head.region;
        params.user_agent = head.user_agent;
        let upgrade = head.upgrade.as_ref()?;
        if !upgrade.xmpp {
            self.metrics.refuse("no-xmpp-subprotocol");
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 40\r\nconnection: close\r\n\r\nThe WebSocket subprotocol xmpp is wanted").await;
            return None;
        }
        let node = match self.target(params.vnode.as_deref()) {
            Some(Target::Here(node)) => node.clone(),
            Some(Target::There(addr)) => {
                drop(place);
                if let Err(e) = tunnel(socket, addr, &buf).await {
                    self.metrics.refuse("forward");
                    tracing::debug!(error = %e, node = params.vnode, "Forwarding a WebSocket failed.");
                }
                return None;
            }
            None => {
                self.metrics.refuse("unknown-node");
                let _ = socket
                    .write_all(
                        b"HTTP/1.1 404 Not Found\r\ncontent-length: 18\r\nconnection: close\r\n\r\nUnknown signal node",
                    )
                    .await;
                return None;
            }
        };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {}\r\nsec-websocket-protocol: xmpp\r\n\r\n",
            ws::accept_key(&upgrade.key)
        );
        if socket.write_all(answer.as_bytes()).await.is_err() || socket.flush().await.is_err() {
            return None;
        }
        self.metrics.socket_writes.inc();
        buf.advance(head.len);
        let peer = head::origin(peer, head.forwarded_for.as_deref(), &self.settings.trusted_proxies);
        Some(NewConn {
            transport: socket.into_transport(),
            framing: NewFraming::WebSocket,
            early: buf,
            node,
            params,
            place: Some(place),
            peer,
        })
    }

    async fn http(&self, mut io: Socket, peer: IpAddr, head: Head, buf: BytesMut) {
        let Some(_place) = self.http_place(peer) else { return refuse_http(&mut io).await };
        // A proxy would put somebody's WebSocket on a connection that it keeps, and what serves the rest cannot take one.
        let keep =
            head.upgrade.is_some() || head.forwarded_for.is_none() && !self.settings.trusted_proxies.contains(&peer);
        let io = Prefixed::new(buf.freeze(), io);
        general::serve_http(io, self.router.clone(), peer, self.settings.head_timeout, keep).await;
    }
}

/// Tells a connection that there is no place for it.
async fn refuse_http(io: &mut Socket) {
    let full = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 30\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let _ = tokio::time::timeout(Duration::from_secs(5), io.write_all(full)).await;
}

/// Copies bytes both ways between a client and another front; `sent` is what the client has said already.
async fn tunnel(mut socket: Socket, to: &str, sent: &[u8]) -> io::Result<()> {
    let mut upstream = tokio::time::timeout(Duration::from_secs(10), TcpStream::connect(to)).await??;
    upstream.set_nodelay(true)?;
    upstream.write_all(sent).await?;
    tokio::io::copy_bidirectional(&mut socket, &mut upstream).await?;
    Ok(())
}

/// Binds a listener with a backlog that holds a join storm.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::from_std(bind(addr, false)?)
}

/// Binds a listener for each of `n` threads; the kernel spreads connections over them.
pub(crate) fn listen_shared(addr: SocketAddr, n: usize) -> io::Result<Vec<std::net::TcpListener>> {
    // A second process on the same address must fail as ever: the first listener is bound alone for a moment.
    drop(bind(addr, false)?);
    (0..n).map(|_| bind(addr, true)).collect()
}

fn bind(addr: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let s = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    s.set_reuse_address(true)?;
    if shared {
        s.set_reuse_port(true)?;
    }
    s.set_nonblocking(true)?;
    // What is accepted inherits it.
    s.set_tcp_nodelay(true)?;
    s.bind(&addr.into())?;
    s.listen(65535)?;
    Ok(s.into())
}
