//! One HTTP request to an `http://` or `https://` address: what webhooks send, and what `amphi ctl` asks. Certificates are checked
//! against the roots of the operating system.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

/// Largest answer that is read whole.
const LARGEST: usize = 64 * 1024 * 1024;

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body.
    pub body: Bytes,
}

/// An address, taken apart.
#[derive(Debug, PartialEq, Eq)]
struct Target<'a> {
    is_tls: bool,
    authority: &'a str,
    host: &'a str,
    port: u16,
    path: &'a str,
}

fn target(url: &str) -> io::Result<Target<'_>> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "not an http:// or https:// address");
    let (is_tls, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err(wrong()),
    };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (authority, if is_tls { 443 } else { 80 }),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(wrong());
    }
    Ok(Target { is_tls, authority, host, port, path: if path.is_empty() { "/" } else { path } })
}

fn tls() -> io::Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Sends a request; the answer's body is still to come.
///
/// # Errors
/// If the server cannot be reached, or does not speak HTTP.
pub async fn open(
    method: &str,
    url: &str,
    headers: &[(&str, String)],
    body: String,
) -> io::Result<hyper::Response<Incoming>> {
    let t = target(url)?;
    let mut request = hyper::Request::builder().method(method).uri(t.path).header("host", t.authority);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(io::Error::other)?;
    let socket = TcpStream::connect((t.host, t.port)).await?;
    socket.set_nodelay(true)?;
    if t.is_tls {
        let name = ServerName::try_from(t.host.to_owned()).map_err(io::Error::other)?;
        let socket = tokio_rustls::TlsConnector::from(tls()?).connect(name, socket).await?;
        exchange(TokioIo::new(socket), request).await
    } else {
        exchange(TokioIo::new(socket), request).await
    }
}

async fn exchange<T>(io: TokioIo<T>, request: hyper::Request<Full<Bytes>>) -> io::Result<hyper::Response<Incoming>>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(io::Error::other)
}

/// Sends a request and reads the answer.
///
/// # Errors
/// As [`open`], and if the answer ends early or is larger than 64 MiB.
pub async fn request(method: &str, url: &str, headers: &[(&str, String)], body: String) -> io::Result<Answer> {
    let answer = open(method, url, headers, body).await?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), LARGEST).collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let t = target("http://127.0.0.1:8888/a?b").unwrap();
        assert_eq!((t.is_tls, t.host, t.port, t.path), (false, "127.0.0.1", 8888, "/a?b"));
        let t = target("https://[::1]").unwrap();
        assert_eq!((t.is_tls, t.host, t.port, t.path), (true, "::1", 443, "/"));
        let t = target("http://[::1]:80/x").unwrap();
        assert_eq!((t.host, t.port, t.authority), ("::1", 80, "[::1]:80"));
        for wrong in ["", "ftp://a", "http://", "http://a:b", "http:///x"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }
}
