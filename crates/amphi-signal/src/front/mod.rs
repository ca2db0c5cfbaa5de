//! The HTTP front: one address for everything a browser needs.
//!
//! WebSocket upgrades on `/xmpp-websocket` take a path of their own, from the first bytes to a shard, since a join storm
//! is made of them. Everything else goes to the general HTTP server. Requests with `vnode=X` go to that node, wherever
//! it lives.

pub(crate) mod head;
pub(crate) mod ws;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use amphi_xmpp::c2s::UrlParams;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::addresses::Addresses;
use crate::metrics::Metrics;
use crate::node::Node;
use crate::shard::{NewConn, NewFraming, ShardMsg, Shards};
use crate::tls::ServerTls;
use crate::transport::RawTransport;
use head::{Head, Prefixed};

/// Where a node's clients are served.
#[derive(Clone)]
pub(crate) enum Target {
    /// In this process.
    Here(Arc<Node>),
    /// By the HTTP front of another process.
    There(SocketAddr),
}

/// Settings of the front.
#[derive(Clone, Debug)]
pub struct FrontSettings {
    /// Handshakes that run at the same time; further connections wait for their turn.
    pub handshakes: usize,
    /// Connections that may wait for their turn; further ones are closed.
    pub waiting: usize,
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
            waiting: 16 * 1024,
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
    pub(crate) shards: Arc<Shards>,
    pub(crate) router: axum::Router,
    pub(crate) tls: Option<Arc<ServerTls>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) turns: Arc<Semaphore>,
    pub(crate) queue: Arc<Semaphore>,
}

impl Front {
    /// Accepts connections until the listener fails.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    let Ok(place) = self.queue.clone().try_acquire_owned() else {
                        self.metrics.refuse("front-queue-full");
                        continue;
                    };
                    if !self.addresses.admit(peer.ip()) {
                        self.metrics.refuse("address-rate");
                        continue;
                    }
                    let front = self.clone();
                    tokio::spawn(front.connection(socket, peer.ip(), place));
                }
                Err(e) => {
                    // Out of descriptors, most likely: wait for some to come back.
                    tracing::warn!(error = %e, "Accepting a connection failed.");
                    self.metrics.refuse("accept-error");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, socket: TcpStream, peer: IpAddr, place: OwnedSemaphorePermit) {
        let _ = socket.set_nodelay(true);
        self.metrics.handshakes_waiting.inc();
        let turn = self.turns.clone().acquire_owned().await;
        self.metrics.handshakes_waiting.dec();
        let Ok(turn) = turn else { return };
        // The place was for waiting; from here on the number of turns is the bound.
        drop(place);
        match &self.tls {
            None => {
                let mut socket = socket;
                let Ok(Ok(Some((head, buf)))) = tokio::time::timeout(
                    self.settings.head_timeout,
                    head::read(&mut socket, &self.settings.region_header),
                )
                .await
                else {
                    return;
                };
                if self.is_upgrade(&head) {
                    self.upgrade(Socket::Plain(socket), head, buf, peer, turn).await;
                } else {
                    drop(turn);
                    self.http(Prefixed::new(buf.freeze(), socket), peer).await;
                }
            }
            Some(tls) => {
                let handshake = tokio_rustls::TlsAcceptor::from(tls.config()).accept(socket);
                let Ok(Ok(mut stream)) = tokio::time::timeout(self.settings.head_timeout, handshake).await else {
                    self.metrics.refuse("tls-handshake");
                    return;
                };
                let Ok(Ok(Some((head, buf)))) = tokio::time::timeout(
                    self.settings.head_timeout,
                    head::read(&mut stream, &self.settings.region_header),
                )
                .await
                else {
                    return;
                };
                if self.is_upgrade(&head) {
                    self.upgrade(Socket::Tls(Box::new(stream)), head, buf, peer, turn).await;
                } else {
                    drop(turn);
                    self.http(Prefixed::new(buf.freeze(), stream), peer).await;
                }
            }
        }
    }

    fn is_upgrade(&self, head: &Head) -> bool {
        head.upgrade.is_some() && head::split_tenant(&head.path).1 == "/xmpp-websocket"
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
        turn: OwnedSemaphorePermit,
    ) {
        let mut params = UrlParams::parse(&head.query);
        if let Some(t) = head::split_tenant(&head.path).0 {
            params.prefix = Some(t.to_lowercase());
        }
        params.token = params.token.or(head.bearer);
        params.region = head.region;
        params.user_agent = head.user_agent;
        let Some(upgrade) = &head.upgrade else { return };
        if !upgrade.xmpp {
            self.metrics.refuse("no-xmpp-subprotocol");
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 40\r\nconnection: close\r\n\r\nThe WebSocket subprotocol xmpp is wanted").await;
            return;
        }
        let node = match self.target(params.vnode.as_deref()) {
            Some(Target::Here(node)) => node.clone(),
            Some(Target::There(addr)) => {
                drop(turn);
                if let Err(e) = tunnel(socket, *addr, &buf).await {
                    self.metrics.refuse("forward");
                    tracing::debug!(error = %e, node = params.vnode, "Forwarding a WebSocket failed.");
                }
                return;
            }
            None => {
                self.metrics.refuse("unknown-node");
                let _ = socket
                    .write_all(
                        b"HTTP/1.1 404 Not Found\r\ncontent-length: 18\r\nconnection: close\r\n\r\nUnknown signal node",
                    )
                    .await;
                return;
            }
        };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {}\r\nsec-websocket-protocol: xmpp\r\n\r\n",
            ws::accept_key(&upgrade.key)
        );
        if socket.write_all(answer.as_bytes()).await.is_err() || socket.flush().await.is_err() {
            return;
        }
        self.metrics.socket_writes.inc();
        buf.advance(head.len);
        let peer = match head.forwarded_for {
            Some(a) if self.settings.trusted_proxies.contains(&peer) => a,
            _ => peer,
        };
        let Ok(transport) = socket.raw() else { return };
        let shard = self.shards.pick();
        if let Some(s) = self.shards.get(shard) {
            s.send(ShardMsg::Adopt(Box::new(NewConn {
                transport,
                framing: NewFraming::WebSocket,
                early: buf,
                node,
                params,
                permit: Some(turn),
                peer,
            })))
            .await;
        }
    }

    async fn http(&self, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: IpAddr) {
        serve_http(io, self.router.clone(), peer, self.settings.head_timeout).await;
    }
}

/// Serves HTTP on one connection; a head that takes longer than `head_timeout` ends it.
async fn serve_http(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: axum::Router,
    peer: IpAddr,
    head_timeout: Duration,
) {
    let service = hyper::service::service_fn(move |mut req: hyper::Request<hyper::body::Incoming>| {
        req.extensions_mut().insert(Peer(peer));
        tower_call(router.clone(), req)
    });
    let conn = hyper::server::conn::http1::Builder::new()
        .timer(hyper_util::rt::TokioTimer::new())
        .header_read_timeout(head_timeout)
        .serve_connection(hyper_util::rt::TokioIo::new(io), service);
    let _ = conn.await;
}

/// Serves HTTP alone, for administration.
pub(crate) async fn serve_admin(listener: TcpListener, router: axum::Router, head_timeout: Duration) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                tokio::spawn(serve_http(socket, router.clone(), peer.ip(), head_timeout));
            }
            Err(e) => {
                tracing::warn!(error = %e, "Accepting a connection for administration failed.");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Address of the peer of an HTTP request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

async fn tower_call(
    router: axum::Router,
    req: hyper::Request<hyper::body::Incoming>,
) -> Result<axum::response::Response, std::convert::Infallible> {
    use tower::ServiceExt as _;
    router.oneshot(req.map(axum::body::Body::new)).await
}

enum Socket {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

impl Socket {
    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(s) => s.write_all(bytes).await,
            Self::Tls(s) => s.write_all(bytes).await,
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(s) => s.flush().await,
            Self::Tls(s) => s.flush().await,
        }
    }

    fn raw(self) -> io::Result<RawTransport> {
        Ok(match self {
            Self::Plain(s) => RawTransport { socket: s.into_std()?, tls: None },
            Self::Tls(s) => {
                let (socket, mut tls) = s.into_inner();
                tls.set_buffer_limit(Some(64 * 1024));
                RawTransport { socket: socket.into_std()?, tls: Some(Box::new(tls)) }
            }
        })
    }
}

/// Copies bytes both ways between a client and another front; `sent` is what the client has said already.
async fn tunnel(socket: Socket, to: SocketAddr, sent: &[u8]) -> io::Result<()> {
    let mut upstream = TcpStream::connect(to).await?;
    upstream.set_nodelay(true)?;
    upstream.write_all(sent).await?;
    match socket {
        Socket::Plain(mut s) => tokio::io::copy_bidirectional(&mut s, &mut upstream).await?,
        Socket::Tls(mut s) => tokio::io::copy_bidirectional(&mut s, &mut upstream).await?,
    };
    Ok(())
}

/// Binds a listener with a backlog that holds a join storm.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let s = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    s.set_reuse_address(true)?;
    s.set_nonblocking(true)?;
    s.bind(&addr.into())?;
    s.listen(65535)?;
    TcpListener::from_std(s.into())
}
