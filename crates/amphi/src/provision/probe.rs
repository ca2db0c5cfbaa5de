//! Looks at one server as a peer or a client would: HTTP, the certificate of its server streams, a login, a WebSocket. Each tells what it
//! saw or, in words, what went wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use amphi_stanza::{XmlWriter, ns};
use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Largest answer that is read.
const ANSWER: usize = 4 << 20;

/// Bounds something in time.
pub(super) async fn within<T>(what: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(PATIENCE, what).await.unwrap_or_else(|_| Err(anyhow!("no answer within {PATIENCE:?}")))
}

/// Connects over TCP.
pub(super) async fn connect(at: SocketAddr) -> anyhow::Result<TcpStream> {
    match tokio::time::timeout(Duration::from_secs(5), TcpStream::connect(at)).await {
        Err(_) => bail!("no answer from {at}: a firewall drops the packets, or the host is down"),
        Ok(Err(e)) if e.kind() == std::io::ErrorKind::ConnectionRefused => bail!("nothing listens on {at}"),
        Ok(other) => other.with_context(|| at.to_string()),
    }
}

/// What bytes go through.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A way in: the front of a node itself, or HTTPS of the domain as people come.
#[derive(Clone)]
pub(super) struct Door {
    at: SocketAddr,
    host: String,
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl From<SocketAddr> for Door {
    fn from(at: SocketAddr) -> Self {
        Self { at, host: at.to_string(), tls: None }
    }
}

impl Door {
    /// HTTPS. `trusting`: whatever the certificate is, for looking further when it is wrong.
    pub(super) fn https(at: SocketAddr, domain: &str, trusting: bool) -> anyhow::Result<Self> {
        let config = if trusting { any_certificate()? } else { public_certificates()? };
        Ok(Self { at, host: domain.to_owned(), tls: Some(Arc::new(config)) })
    }

    /// Its certificate in DER, after a handshake that accepts it.
    pub(super) async fn certificate(&self) -> anyhow::Result<Vec<u8>> {
        within(async {
            let stream = self.tls().await?;
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            chain.first().map(|c| c.to_vec()).context("no certificate")
        })
        .await
    }

    pub(super) async fn tls(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        let config = self.tls.clone().context("this way in has no TLS")?;
        let tcp = connect(self.at).await?;
        let name = ServerName::try_from(self.host.clone()).context("a name for TLS")?;
        TlsConnector::from(config).connect(name, tcp).await.map_err(|e| anyhow!(certificate_words(&e, &self.host)))
    }

    async fn open(&self) -> anyhow::Result<Box<dyn Io>> {
        if self.tls.is_some() { Ok(Box::new(self.tls().await?)) } else { Ok(Box::new(connect(self.at).await?)) }
    }
}

/// What is wrong with a certificate, for people.
fn certificate_words(error: &std::io::Error, domain: &str) -> String {
    use rustls::CertificateError as E;
    match error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            E::Expired | E::ExpiredContext { .. } => "its certificate has expired".to_owned(),
            E::NotValidYet | E::NotValidYetContext { .. } => {
                "its certificate is not valid yet; a clock may be wrong".to_owned()
            }
            E::NotValidForName | E::NotValidForNameContext { .. } => {
                format!("its certificate is for other names than {domain}")
            }
            E::UnknownIssuer => "its certificate comes from no authority that browsers know, or the file lacks the \
                                 authority's own certificates"
                .to_owned(),
            other => format!("its certificate is wrong: {other}"),
        },
        _ => format!("TLS: {error}"),
    }
}

/// Status and body of a request.
pub(super) async fn http(at: impl Into<Door>, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, String)> {
    let (head, body) = asked(&at.into(), method, path, body).await?;
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    Ok((status.context("the answer is not HTTP")?, body))
}

/// By how many seconds a server's clock is ahead of ours, from the time of its answers.
pub(super) async fn clock(at: SocketAddr) -> anyhow::Result<i64> {
    let (head, _) = asked(&at.into(), "GET", "/about/health", "").await?;
    ahead(&head, SystemTime::now()).context("no time in the answer")
}

fn ahead(head: &str, now: SystemTime) -> Option<i64> {
    let date = head.lines().find_map(|l| l.split_once(':').filter(|(k, _)| k.eq_ignore_ascii_case("date")))?.1;
    let there = httpdate::parse_http_date(date.trim()).ok()?;
    Some(match there.duration_since(now) {
        Ok(ahead) => ahead.as_secs() as i64,
        Err(behind) => -(behind.duration().as_secs() as i64),
    })
}

/// Head and body of an answer.
async fn asked(door: &Door, method: &str, path: &str, body: &str) -> anyhow::Result<(String, String)> {
    within(async {
        let mut stream = door.open().await?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            door.host,
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        let read = (&mut stream).take(ANSWER as u64).read_to_end(&mut answer).await;
        // Many servers end without telling TLS so.
        if answer.is_empty() {
            read?;
        }
        let answer = String::from_utf8_lossy(&answer);
        if !answer.starts_with("HTTP/") {
            bail!("{} does not speak HTTP", door.host);
        }
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            unchunked(body)
        } else {
            body.to_owned()
        };
        Ok((head.to_owned(), body))
    })
    .await
}

fn unchunked(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(chunk) = rest.get(..size).filter(|_| size > 0) else { break };
        text.push_str(chunk);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    text
}

/// What a server stream shows.
pub(super) struct ServerStream {
    /// `sha256:` and hex digits.
    pub(super) fingerprint: String,
    /// Why the stream was ended after TLS, if it was.
    pub(super) refused: Option<String>,
}

/// Opens a server stream as a domain, up to the features behind TLS.
pub(super) async fn server_stream(at: SocketAddr, from: &str, to: &str) -> anyhow::Result<ServerStream> {
    within(async {
        let mut tls = secured(at, "jabber:server", Some(from), to).await?;
        let fingerprint = shown(&tls)?;
        tls.write_all(open("jabber:server", Some(from), to).as_bytes()).await?;
        let answer =
            until(&mut tls, &["</stream:features>", "<stream:features/>", "</stream:error>", "</stream:stream>"])
                .await?;
        let refused = answer.contains("<stream:error").then(|| words(&answer));
        Ok(ServerStream { fingerprint, refused })
    })
    .await
}

/// `sha256:` and hex digits of the certificate that a server shows.
fn shown(tls: &TlsStream<TcpStream>) -> anyhow::Result<String> {
    let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
    chain.first().map(|c| format!("sha256:{}", amphi_signal::fingerprint(c))).context("no certificate")
}

/// The certificate that a node shows where service accounts log in.
pub(super) async fn login_certificate(at: SocketAddr, domain: &str) -> anyhow::Result<String> {
    within(async { shown(&secured(at, "jabber:client", None, domain).await?) }).await
}

/// Logs a service account in, up to the end of SASL, so that nobody else is disturbed.
pub(super) async fn login(at: SocketAddr, domain: &str, user: &str, password: &str) -> anyhow::Result<()> {
    within(async {
        let mut tls = secured(at, "jabber:client", None, domain).await?;
        tls.write_all(open("jabber:client", None, domain).as_bytes()).await?;
        let features = until(&mut tls, &["</stream:features>", "</stream:error>"]).await?;
        if features.contains("<stream:error") {
            bail!("the stream to {domain} is refused ({}): the server does not serve this domain", words(&features));
        }
        let mut w = XmlWriter::new();
        w.open_ns("auth", ns::SASL)
            .attr("mechanism", "PLAIN")
            .text(STANDARD.encode(format!("\0{user}\0{password}")))
            .close();
        tls.write_all(w.finish_string().as_bytes()).await?;
        let answer = until(&mut tls, &["<success", "</failure>", "</stream:error>"]).await?;
        if !answer.contains("<success") {
            bail!("{user}@{domain} is refused ({})", words(&answer));
        }
        Ok(())
    })
    .await
}

/// The condition of an error, as it stands in the XML.
fn words(xml: &str) -> String {
    let known = [
        "policy-violation",
        "host-unknown",
        "not-authorized",
        "not-allowed",
        "invalid-mechanism",
        "account-disabled",
        "internal-server-error",
        "resource-constraint",
    ];
    known.iter().find(|k| xml.contains(**k)).map_or_else(|| xml.chars().take(200).collect(), |k| (*k).to_owned())
}

fn open(ns: &str, from: Option<&str>, to: &str) -> String {
    let mut w = XmlWriter::new();
    w.open_ns("stream:stream", ns).attr("xmlns:stream", "http://etherx.jabber.org/streams").attr("version", "1.0");
    w.attr("to", to).attr_opt("from", from).text("").close();
    // The element stays open for as long as the stream does.
    let whole = w.finish_string();
    whole.trim_end_matches("</stream:stream>").trim_end_matches("/>").trim_end_matches('>').to_owned() + ">"
}

async fn secured(at: SocketAddr, ns: &str, from: Option<&str>, to: &str) -> anyhow::Result<TlsStream<TcpStream>> {
    let mut tcp = connect(at).await?;
    tcp.write_all(open(ns, from, to).as_bytes()).await?;
    let features = until(&mut tcp, &["</stream:features>", "</stream:error>"]).await?;
    if features.contains("<stream:error") {
        bail!("the stream to {to} is refused ({})", words(&features));
    }
    if !features.contains("urn:ietf:params:xml:ns:xmpp-tls") {
        bail!("{at} offers no TLS");
    }
    let mut w = XmlWriter::new();
    w.open_ns("starttls", "urn:ietf:params:xml:ns:xmpp-tls").close();
    tcp.write_all(w.finish_string().as_bytes()).await?;
    until(&mut tcp, &["<proceed"]).await?;
    let config = any_certificate()?;
    let name = ServerName::try_from(to.to_owned()).context("a name for TLS")?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.with_context(|| format!("TLS with {at}"))
}

async fn until(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), ends: &[&str]) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut chunk = [0; 4096];
    loop {
        if ends.iter().any(|end| text.contains(end)) {
            return Ok(text);
        }
        let n = stream.read(&mut chunk).await?;
        if n == 0 {
            bail!("the server closed the connection{}", if text.is_empty() { "" } else { " early" });
        }
        if text.len() > 256 * 1024 {
            bail!("the server says too much");
        }
        text.push_str(&String::from_utf8_lossy(&chunk[..n]));
    }
}

fn any_certificate() -> anyhow::Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(provider)))
        .with_no_client_auth())
}

/// Authorities of this machine.
fn public_certificates() -> anyhow::Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        bail!("this machine knows no authorities; install ca-certificates");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Takes every certificate: what is asked is which one it is.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A person's stream over WebSocket, logged in.
pub(super) struct Person {
    socket: WebSocketStream<Box<dyn Io>>,
    nick: String,
}

impl Person {
    /// Logs in on a domain, anonymously; `vnode` names the node in the address, as clients do.
    pub(super) async fn come(
        front: impl Into<Door>,
        domain: &str,
        room: &str,
        vnode: Option<&str>,
    ) -> anyhow::Result<Self> {
        let door = front.into();
        within(async {
            let front = &door.host;
            let query = vnode.map(|v| format!("&vnode={v}")).unwrap_or_default();
            let mut ask = format!("ws://{front}/xmpp-websocket?room={room}{query}").into_client_request()?;
            ask.headers_mut().insert("sec-websocket-protocol", "xmpp".parse()?);
            let stream = door.open().await?;
            let (socket, _) = tokio_tungstenite::client_async(ask, stream).await.context("the WebSocket")?;
            let mut me = Self { socket, nick: String::new() };
            let mut w = XmlWriter::new();
            w.open_ns("open", ns::FRAMING).attr("to", domain).attr("version", "1.0").close();
            let open = w.finish_string();
            let features = me.ask(&open, &["features", "error", "<close"]).await?;
            if features.contains("host-unknown") {
                bail!("{front} does not serve {domain}");
            }
            if !features.contains("ANONYMOUS") {
                bail!("{domain} wants a login; a person without one cannot be tried");
            }
            let mut w = XmlWriter::new();
            w.open_ns("auth", ns::SASL).attr("mechanism", "ANONYMOUS").close();
            let answer = me.ask(&w.finish_string(), &["<success", "<failure"]).await?;
            if answer.contains("<failure") {
                bail!("{domain} lets nobody in without a token; a person without one cannot be tried");
            }
            me.ask(&open, &["features"]).await?;
            let mut w = XmlWriter::new();
            w.open_ns("iq", ns::CLIENT).attr("type", "set").attr("id", "bind").empty("bind", ns::BIND).close();
            let bound = me.ask(&w.finish_string(), &["<jid>", "type='error'", "type=\"error\""]).await?;
            let jid = bound.split("<jid>").nth(1).context("no address at the end of the login")?;
            me.nick = jid.chars().take(8).collect();
            Ok(me)
        })
        .await
    }

    /// Joins a room and waits for its own presence.
    pub(super) async fn join(&mut self, room: &str) -> anyhow::Result<()> {
        let to = format!("{room}/{}", self.nick);
        let mut w = XmlWriter::new();
        w.open_ns("presence", ns::CLIENT).attr("to", &to).empty("x", ns::MUC).close();
        let frame = w.finish_string();
        within(async {
            self.socket.send(Message::text(frame)).await?;
            loop {
                let text = self.next().await?;
                if !text.contains(&to) || !text.starts_with("<presence") {
                    continue;
                }
                if text.contains("type='error'") || text.contains("type=\"error\"") {
                    bail!("{room} refuses: {}", words(&text));
                }
                return Ok(());
            }
        })
        .await
    }

    /// Ends the stream.
    pub(super) async fn leave(mut self) {
        let mut w = XmlWriter::new();
        w.open_ns("close", ns::FRAMING).close();
        let _ = self.socket.send(Message::text(w.finish_string())).await;
        let _ = self.socket.close(None).await;
    }

    async fn ask(&mut self, frame: &str, ends: &[&str]) -> anyhow::Result<String> {
        self.socket.send(Message::text(frame)).await?;
        loop {
            let text = self.next().await?;
            if ends.iter().any(|end| text.contains(end)) {
                return Ok(text);
            }
        }
    }

    async fn next(&mut self) -> anyhow::Result<String> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
                Some(Ok(_)) => {}
                Some(Err(e)) => return Err(e.into()),
                None => bail!("the server closed the WebSocket"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_stream_stays_open() {
        let head = open("jabber:server", Some("a.example"), "b.example");
        assert!(head.starts_with("<stream:stream ") && head.ends_with("'>") | head.ends_with("\">"), "{head}");
        assert!(!head.contains("/>") && !head.contains("</"), "{head}");
    }

    #[test]
    fn a_clock_that_is_ahead_or_behind_is_seen_in_the_time_of_an_answer() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let head = |date: &str| format!("HTTP/1.1 200 OK\r\nDate: {date}\r\nserver: x");
        assert_eq!(ahead(&head("Sun, 06 Nov 1994 08:49:37 GMT"), now), Some(0));
        assert_eq!(ahead(&head("Sun, 06 Nov 1994 08:50:37 GMT"), now), Some(60));
        assert_eq!(ahead(&head("Sun, 06 Nov 1994 08:49:30 GMT"), now), Some(-7));
        assert_eq!(ahead(&head("yesterday"), now), None);
        assert_eq!(ahead("HTTP/1.1 200 OK", now), None);
    }

    #[test]
    fn chunks_are_joined() {
        assert_eq!(unchunked("4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n"), "Wikipedia");
    }
}
