//! Conference requests, read without the general HTTP server: every join begins with one.
//!
//! Only the plain form is served here: `POST` with a `Content-Length`, on a connection that may bring more of them. As
//! soon as a request looks otherwise, the connection is looked at anew, with what was read of it.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::head::{self, Head};
use crate::http::{Answer, Http};

/// What became of a connection.
pub(super) enum Served {
    /// It is closed.
    Closed,
    /// The next request is another one: its head, and the bytes from its beginning on.
    Other(Box<Head>, BytesMut),
}

/// Whether a request can be served here.
pub(super) fn fits(head: &Head, limit: usize) -> bool {
    head.post
        && !head.special
        && head.content_length.is_some_and(|n| n <= limit)
        && head::split_tenant(&head.path).1 == "/conference-request/v1"
}

/// Serves requests, the first of which has been read, as long as they fit.
pub(super) async fn serve(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    http: &Http,
    peer: IpAddr,
    mut head: Head,
    mut buf: BytesMut,
    head_timeout: Duration,
) -> io::Result<Served> {
    loop {
        let length = head.content_length.unwrap_or_default();
        let whole = head.len + length;
        let body = async {
            while buf.len() < whole && io.read_buf(&mut buf).await? > 0 {}
            io::Result::Ok(())
        };
        // The whole body in one time: a byte now and then does not prolong it.
        tokio::time::timeout(head_timeout, body).await.map_err(|_| io::ErrorKind::TimedOut)??;
        if buf.len() < whole {
            return Ok(Served::Closed);
        }
        buf.advance(head.len);
        let body = buf.split_to(length).freeze();
        let peer = head::origin(peer, head.forwarded_for.as_deref(), &http.trusted_proxies);
        let answer = http.conference_request(body, head.bearer.take(), peer).await;
        io.write_all(&write(&answer, http.allowed_origin(head.origin.as_deref()), head.close)).await?;
        io.flush().await?;
        if head.close {
            io.shutdown().await?;
            return Ok(Served::Closed);
        }
        head = match next_head(io, &mut buf, http.region_header(), head_timeout).await? {
            Some(h) if fits(&h, http.request_bytes) => h,
            Some(h) => return Ok(Served::Other(Box::new(h), buf)),
            None => return Ok(Served::Closed),
        };
    }
}

/// How long a connection may be at rest between requests.
const REST: Duration = Duration::from_secs(120);

/// Reads the next head. The client may take its time to ask again, but not in the middle of asking.
async fn next_head(
    io: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
    region_header: &str,
    head_timeout: Duration,
) -> io::Result<Option<Head>> {
    if buf.is_empty() {
        *buf = BytesMut::new();
        match tokio::time::timeout(REST, io.read_buf(buf)).await {
            Ok(read) => {
                if read? == 0 {
                    return Ok(None);
                }
            }
            Err(_) => return Ok(None),
        }
    }
    tokio::time::timeout(head_timeout, rest_of_head(io, buf, region_header)).await.unwrap_or(Ok(None))
}

async fn rest_of_head(
    io: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
    region_header: &str,
) -> io::Result<Option<Head>> {
    loop {
        match head::parse(buf, region_header) {
            Ok(Some(h)) => return Ok(Some(h)),
            Ok(None) if buf.len() < head::MAX_HEAD => {}
            _ => return Ok(None),
        }
        if io.read_buf(buf).await? == 0 {
            return Ok(None);
        }
    }
}

fn write(answer: &Answer, origin: Option<&str>, close: bool) -> Vec<u8> {
    use std::io::Write as _;
    let reason = match answer.status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        502 => "Bad Gateway",
        _ => "Error",
    };
    let mut out = Vec::with_capacity(256 + answer.body.len());
    let _ = write!(
        out,
        "HTTP/1.1 {} {reason}\r\ncontent-type: {}\r\ncontent-length: {}\r\n",
        answer.status,
        answer.content_type,
        answer.body.len()
    );
    if let Some(o) = origin {
        let _ = write!(out, "access-control-allow-origin: {o}\r\nvary: Origin\r\n");
    }
    out.extend_from_slice(if close { b"connection: close\r\n\r\n" } else { b"\r\n" });
    out.extend_from_slice(&answer.body);
    out
}
