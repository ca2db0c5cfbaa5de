//! Bridge channels that this bridge opens: WebSockets to other bridges, when the focus says where (`spec/bridge.md` 3.1).
//! One task per relay keeps one open, with growing pauses, until the relay is gone. What is said on it is not looked at here.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use amphi_media::ids::EndpointId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::websocket::{Line, carry, config};

/// Time for the connection, TLS and the upgrade together.
const PATIENCE: Duration = Duration::from_secs(10);
/// First pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Keeps a channel to the other bridge open. Ends with the bridge; whoever started it ends it with the relay.
pub(super) async fn keep_open(line: Line, endpoint: EndpointId, url: String) {
    // The password is in the query.
    let shown = url.split('?').next().unwrap_or_default().to_owned();
    let mut pause = PAUSES.0;
    while !line.asks.is_closed() {
        match tokio::time::timeout(PATIENCE, connect(&line, &url))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        {
            Ok(ws) => {
                tracing::debug!(url = shown, "A relay's channel is open.");
                pause = PAUSES.0;
                carry(&line, endpoint, ws).await;
            }
            Err(e) => tracing::info!(url = shown, error = %e, "A relay's channel could not be opened; tried again."),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn connect(line: &Line, url: &str) -> io::Result<tokio_tungstenite::WebSocketStream<Box<dyn Io>>> {
    let request = url.into_client_request().map_err(io::Error::other)?;
    let uri = request.uri();
    let is_tls = match uri.scheme_str() {
        Some("wss") => true,
        Some("ws") => false,
        _ => return Err(io::Error::other("neither ws nor wss")),
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let tcp = TcpStream::connect((host.as_str(), uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }))).await?;
    let _ = tcp.set_nodelay(true);
    let io: Box<dyn Io> = if is_tls {
        let name = rustls::pki_types::ServerName::try_from(host).map_err(io::Error::other)?;
        Box::new(TlsConnector::from(tls()?).connect(name, tcp).await?)
    } else {
        Box::new(tcp)
    };
    let (ws, _) =
        client_async_with_config(request, io, Some(config(line.message_bytes))).await.map_err(io::Error::other)?;
    Ok(ws)
}

/// Authorities of this machine, read once.
fn tls() -> io::Result<Arc<rustls::ClientConfig>> {
    static TLS: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    if let Some(have) = TLS.get() {
        return Ok(have.clone());
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TLS.get_or_init(|| Arc::new(config)).clone())
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tokio_tungstenite::tungstenite::Message;

    use super::super::handle::{Ask, ToSocket};
    use super::super::link::SocketId;
    use super::*;

    /// Asks of the bridge until one that is wanted.
    async fn opened(asks: &mut mpsc::Receiver<Ask>, socket: u64) -> mpsc::Sender<ToSocket> {
        loop {
            if let Some(Ask::Opened { to, reply, .. }) = asks.recv().await {
                reply.send(SocketId(socket)).unwrap();
                return to;
            }
        }
    }

    #[tokio::test]
    async fn a_relays_channel_is_opened_carries_text_both_ways_and_comes_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/colibri-relay-ws/x/conference/r1?pwd=secret", listener.local_addr().unwrap());
        let (tx, mut asks) = mpsc::channel(16);
        let line = Line {
            asks: tx,
            message_bytes: 65_536,
            queue: 16,
            ping: Duration::from_secs(15),
            idle: Duration::from_secs(60),
        };
        let task = tokio::spawn(keep_open(line, EndpointId(7), url));
        let (tcp, _) = listener.accept().await.unwrap();
        let mut peer = tokio_tungstenite::accept_async(tcp).await.unwrap();
        let to = opened(&mut asks, 1).await;
        to.send(ToSocket::Text("from here".into())).await.unwrap();
        assert_eq!(peer.next().await.unwrap().unwrap(), Message::text("from here"));
        peer.send(Message::text("from there")).await.unwrap();
        assert!(
            matches!(asks.recv().await, Some(Ask::Message { endpoint: EndpointId(7), text }) if text == "from there")
        );
        drop(peer);
        assert!(matches!(asks.recv().await, Some(Ask::Closed { endpoint: EndpointId(7), socket: SocketId(1) })));
        // The other bridge was started again, say.
        let (tcp, _) = listener.accept().await.unwrap();
        let _peer = tokio_tungstenite::accept_async(tcp).await.unwrap();
        opened(&mut asks, 2).await;
        task.abort();
    }
}
