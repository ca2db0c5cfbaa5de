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
        while buf.len() < head.len + length {
            let read = tokio::time::timeout(head_timeout, io.read_buf(&mut buf)).await;
            if read.map_err(|_| io::ErrorKind::TimedOut)?? == 0 {
                return Ok(Served::Closed);
            }
        }
        buf.advance(head.len);
        let body = buf.split_to(length).freeze();
        let peer = head.forwarded_for.filter(|_| http.trusts(peer)).unwrap_or(peer);
        let answer = http.conference_request(body, head.bearer.take(), peer).await;
        io.write_all(&write(&answer, http.allowed_origin(head.origin.as_deref()), head.close)).await?;
        if head.close {
            io.shutdown().await?;
            return Ok(Served::Closed);
        }
        head = match next_head(io, &mut buf, http.region_header()).await? {
            Some(h) if fits(&h, http.request_bytes) => h,
            Some(h) => return Ok(Served::Other(Box::new(h), buf)),
            None => return Ok(Served::Closed),
        };
    }
}

/// Reads the next head, however long the client takes to ask again: a connection at rest costs next to nothing.
async fn next_head(
    io: &mut (impl AsyncRead + Unpin),
    buf: &mut BytesMut,
    region_header: &str,
) -> io::Result<Option<Head>> {
    loop {
        if !buf.is_empty() {
            match head::parse(buf, region_header) {
                Ok(Some(h)) => return Ok(Some(h)),
                Ok(None) if buf.len() < head::MAX_HEAD => {}
                _ => return Ok(None),
            }
        } else {
            *buf = BytesMut::new();
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
