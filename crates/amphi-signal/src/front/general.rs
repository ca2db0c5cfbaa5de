//! The general HTTP server: files, interfaces, whatever is no WebSocket of a client and no conference request.

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

use super::head;

/// How TLS names HTTP/2.
pub(crate) const HTTP_2: &[u8] = b"h2";
/// Requests of one HTTP/2 connection that are answered at the same time.
const STREAMS: u32 = 100;

/// Serves HTTP/2 on one connection. One whose peer has gone without a word ends with a ping.
pub(super) async fn serve_http_2(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: axum::Router,
    peer: IpAddr,
) {
    use axum::http::{HeaderValue, header};
    let service = hyper::service::service_fn(move |mut req: hyper::Request<hyper::body::Incoming>| {
        req.extensions_mut().insert(Peer(peer));
        // HTTP/2 has it in the address of the request (RFC 9113, 8.3.1).
        let host = req.uri().authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok());
        if let Some(host) = host.filter(|_| !req.headers().contains_key(header::HOST)) {
            req.headers_mut().insert(header::HOST, host);
        }
        tower_call(router.clone(), req)
    });
    let conn = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
        .timer(hyper_util::rt::TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(head::MAX_HEAD as u32)
        .keep_alive_interval(Duration::from_secs(60))
        .keep_alive_timeout(Duration::from_secs(20))
        .serve_connection(hyper_util::rt::TokioIo::new(io), service);
    let _ = conn.await;
}

/// Serves HTTP on one connection; a head that takes longer than `head_timeout` ends it.
pub(super) async fn serve_http(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: axum::Router,
    peer: IpAddr,
    head_timeout: Duration,
    keep: bool,
) {
    let service = hyper::service::service_fn(move |mut req: hyper::Request<hyper::body::Incoming>| {
        req.extensions_mut().insert(Peer(peer));
        tower_call(router.clone(), req)
    });
    let conn = hyper::server::conn::http1::Builder::new()
        .timer(hyper_util::rt::TokioTimer::new())
        .header_read_timeout(head_timeout)
        .keep_alive(keep)
        .serve_connection(hyper_util::rt::TokioIo::new(io), service)
        // Bridge channels are WebSockets that other roles of this process serve.
        .with_upgrades();
    let _ = conn.await;
}

/// Serves HTTP alone, for administration.
pub(crate) async fn serve_admin(listener: TcpListener, router: axum::Router, head_timeout: Duration) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                tokio::spawn(serve_http(socket, router.clone(), peer.ip(), head_timeout, true));
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
