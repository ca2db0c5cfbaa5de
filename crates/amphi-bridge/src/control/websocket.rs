//! Bridge channels over WebSocket (`spec/bridge.md` 3.1): the upgrade, and one task per socket that carries text both ways.
//! Those that this bridge opens itself are in `dial`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper_util::rt::TokioIo;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};

use super::handle::{Ask, BridgeHandle, ToSocket, opened};
use super::settings::WebSockets;
use amphi_media::ids::EndpointId;

struct Gate {
    bridge: BridgeHandle,
    settings: Arc<WebSockets>,
    places: Arc<Semaphore>,
}

/// The routes, for whatever HTTP server people reach. Empty if the bridge offers no WebSockets.
pub fn router(bridge: BridgeHandle) -> Router {
    let Some(settings) = bridge.web_sockets.clone() else { return Router::new() };
    let places = Arc::new(Semaphore::new(settings.sockets.min(Semaphore::MAX_PERMITS)));
    Router::new()
        .route("/colibri-ws/{server}/{conference}/{name}", get(|g, p, q, r| open(g, p, q, r, false)))
        .route("/colibri-relay-ws/{server}/{conference}/{name}", get(|g, p, q, r| open(g, p, q, r, true)))
        .with_state(Arc::new(Gate { bridge, settings, places }))
}

async fn open(
    State(gate): State<Arc<Gate>>,
    Path((server, conference, name)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
    mut request: Request,
    relay: bool,
) -> Response {
    if server != gate.settings.server_id {
        return StatusCode::NOT_FOUND.into_response();
    }
    let head = request.headers();
    let is = |name: header::HeaderName, wanted: &str| {
        let value = head.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        value.split(',').any(|v| v.trim().eq_ignore_ascii_case(wanted))
    };
    let key = head.get(header::SEC_WEBSOCKET_KEY).map(|k| derive_accept_key(k.as_bytes()));
    let Some(accept) = key.filter(|_| is(header::UPGRADE, "websocket") && is(header::SEC_WEBSOCKET_VERSION, "13"))
    else {
        return (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, "websocket")]).into_response();
    };
    let password = query.get("pwd").cloned().unwrap_or_default();
    let Ok(endpoint) = gate.bridge.admit(conference, name, password, relay).await else {
        // The same whatever was wrong.
        return StatusCode::FORBIDDEN.into_response();
    };
    let Ok(place) = gate.places.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")]).into_response();
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrade.await {
            let line = Line {
                asks: gate.bridge.asks.clone(),
                message_bytes: gate.bridge.message_bytes,
                queue: gate.bridge.socket_queue,
                ping: gate.settings.ping,
                idle: gate.settings.idle,
            };
            let config = config(line.message_bytes);
            let ws = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
            carry(&line, endpoint, ws).await;
            drop(place);
        }
    });
    let head = [
        (header::UPGRADE, "websocket".to_owned()),
        (header::CONNECTION, "Upgrade".to_owned()),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, head).into_response()
}

/// What a socket's task needs of its bridge.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) message_bytes: usize,
    /// Messages that may wait for the peer to read.
    pub(super) queue: usize,
    pub(super) ping: Duration,
    pub(super) idle: Duration,
}

/// Bounds of a socket.
pub(super) fn config(message_bytes: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(message_bytes))
        .max_frame_size(Some(message_bytes))
        .read_buffer_size(4096)
        .write_buffer_size(0)
        .max_write_buffer_size(1 << 20)
}

/// Carries text both ways until one side ends.
pub(super) async fn carry<S>(line: &Line, endpoint: EndpointId, mut ws: WebSocketStream<S>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (to, mut out) = mpsc::channel(line.queue);
    let Some(socket) = opened(&line.asks, endpoint, to).await else { return };
    let (ping, idle) = (line.ping, line.idle);
    let mut heard = Instant::now();
    let mut quiet_since = heard;
    loop {
        let now = Instant::now();
        let next = (quiet_since + ping).min(heard + idle);
        tokio::select! {
            message = out.recv() => {
                let sent = match message {
                    Some(ToSocket::Text(text)) => write(&mut ws, idle, Message::Text(Utf8Bytes::from(&*text))).await,
                    Some(ToSocket::Close(code, reason)) => {
                        close(&mut ws, code, reason).await;
                        break;
                    }
                    // The bridge has given the socket up: it did not read, or the bridge is gone.
                    None => {
                        close(&mut ws, 1001, "going away").await;
                        break;
                    }
                };
                quiet_since = now;
                if !sent {
                    break;
                }
            }
            message = ws.next() => {
                heard = now;
                quiet_since = now;
                match message {
                    Some(Ok(Message::Text(text))) => {
                        let text = text.as_str().to_owned();
                        if line.asks.send(Ask::Message { endpoint, text }).await.is_err() {
                            break;
                        }
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                    // Pings are answered by the library; binary messages mean nothing here.
                    Some(Ok(_)) => {}
                }
            }
            () = tokio::time::sleep_until(next) => {
                if now >= heard + idle || Instant::now() >= heard + idle {
                    close(&mut ws, 1001, "idle").await;
                    break;
                }
                quiet_since = Instant::now();
                if !write(&mut ws, idle, Message::Ping(Bytes::new())).await {
                    break;
                }
            }
        }
    }
    let _ = line.asks.send(Ask::Closed { endpoint, socket }).await;
}

/// Whether a message was written within a time: a peer that does not read must not keep its place.
async fn write<S>(ws: &mut WebSocketStream<S>, within: Duration, message: Message) -> bool
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    matches!(tokio::time::timeout(within, ws.send(message)).await, Ok(Ok(())))
}

async fn close<S>(ws: &mut WebSocketStream<S>, code: u16, reason: &'static str)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let frame = CloseFrame { code: CloseCode::from(code), reason: reason.into() };
    // Whoever does not read does not read this either.
    let _ = tokio::time::timeout(Duration::from_secs(2), ws.close(Some(frame))).await;
}
