//! The first request of a front connection, read just far enough to tell a WebSocket upgrade from the rest.

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Bytes of a request head at most.
pub(super) const MAX_HEAD: usize = 16 * 1024;

/// What the front needs to know of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Length of the head, blank line included.
    pub(crate) len: usize,
    pub(crate) path: String,
    pub(crate) query: String,
    /// Key of a WebSocket upgrade with the subprotocol `xmpp`.
    pub(crate) upgrade: Option<Upgrade>,
    /// `Authorization: Bearer`.
    pub(crate) bearer: Option<String>,
    /// Region header of the proxy.
    pub(crate) region: Option<String>,
    pub(crate) user_agent: Option<String>,
    /// The lines of `X-Forwarded-For`, joined.
    pub(crate) forwarded_for: Option<String>,
    /// The method is `POST`.
    pub(crate) post: bool,
    pub(crate) content_length: Option<usize>,
    /// The body is chunked, compressed or waits for a go-ahead.
    pub(crate) special: bool,
    /// The client wants no further answer on this connection.
    pub(crate) close: bool,
    pub(crate) origin: Option<String>,
}

/// A WebSocket upgrade.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Upgrade {
    pub(crate) key: String,
    /// The subprotocol `xmpp` is among those offered.
    pub(crate) xmpp: bool,
    /// `v12.stomp` is.
    pub(crate) stomp: bool,
}

/// Reads until the head is complete. `None` when the peer closed or sent something that is no request.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    region_header: &str,
) -> io::Result<Option<(Head, BytesMut)>> {
    let mut buf = BytesMut::with_capacity(1024);
    loop {
        if stream.read_buf(&mut buf).await? == 0 {
            return Ok(None);
        }
        match parse(&buf, region_header) {
            Ok(Some(head)) => return Ok(Some((head, buf))),
            Ok(None) if buf.len() < MAX_HEAD => {}
            _ => return Ok(None),
        }
    }
}

pub(super) fn parse(buf: &[u8], region_header: &str) -> Result<Option<Head>, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut req = httparse::Request::new(&mut headers);
    let len = match req.parse(buf)? {
        httparse::Status::Complete(n) => n,
        httparse::Status::Partial => return Ok(None),
    };
    let target = req.path.unwrap_or("/");
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut head = Head { len, path: path.to_owned(), query: query.to_owned(), ..Head::default() };
    let (mut websocket, mut key, mut xmpp, mut stomp) = (false, None, false, false);
    for h in req.headers.iter() {
        let value = String::from_utf8_lossy(h.value);
        match h.name {
            n if n.eq_ignore_ascii_case("upgrade") => websocket = value.eq_ignore_ascii_case("websocket"),
            n if n.eq_ignore_ascii_case("sec-websocket-key") => key = Some(value.into_owned()),
            n if n.eq_ignore_ascii_case("sec-websocket-protocol") => {
                let offers = |name: &str| value.split(',').any(|p| p.trim().eq_ignore_ascii_case(name));
                xmpp |= offers("xmpp");
                stomp |= offers("v12.stomp");
            }
            n if n.eq_ignore_ascii_case("authorization") => head.bearer = bearer(&value),
            n if n.eq_ignore_ascii_case(region_header) => head.region = Some(value.into_owned()),
            n if n.eq_ignore_ascii_case("user-agent") => head.user_agent = Some(value.into_owned()),
            n if n.eq_ignore_ascii_case("x-forwarded-for") => {
                let all = head.forwarded_for.get_or_insert_default();
                all.push(',');
                all.push_str(&value);
            }
            n if n.eq_ignore_ascii_case("content-length") => {
                // What could be read in two ways is left to the general server, which refuses it (RFC 9112 §6.3).
                let digits = value.trim();
                let clear = head.content_length.is_none() && digits.bytes().all(|b| b.is_ascii_digit());
                head.content_length = digits.parse().ok();
                head.special |= !clear || head.content_length.is_none();
            }
            n if ["transfer-encoding", "expect", "content-encoding"].iter().any(|s| n.eq_ignore_ascii_case(s)) => {
                head.special = true;
            }
            n if n.eq_ignore_ascii_case("connection") => head.close = value.eq_ignore_ascii_case("close"),
            n if n.eq_ignore_ascii_case("origin") => head.origin = Some(value.into_owned()),
            _ => {}
        }
    }
    head.post = req.method == Some("POST");
    // HTTP/1.0 has its own rules for keeping connections.
    head.special |= req.version != Some(1);
    if websocket && req.method == Some("GET") {
        head.upgrade = key.map(|key| Upgrade { key, xmpp, stomp });
    }
    Ok(Some(head))
}

/// Who a request comes from. A proxy that is trusted tells whom it has it from, at the end of what it was told itself; the last one
/// that is no such proxy is not believed any more than it says itself.
pub(crate) fn origin(peer: IpAddr, forwarded_for: Option<&str>, trusted: &[IpAddr]) -> IpAddr {
    let mut from = peer;
    for hop in forwarded_for.into_iter().flat_map(|f| f.rsplit(',')).map(str::trim).filter(|h| !h.is_empty()) {
        if !trusted.contains(&from) {
            break;
        }
        let Ok(addr) = hop.parse() else { break };
        from = addr;
    }
    from
}

/// The token of a `Bearer` header; the scheme may be missing, as in the reference.
pub(crate) fn bearer(value: &str) -> Option<String> {
    let v = value.trim();
    let token = match v.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("bearer ") => v[7..].trim(),
        _ => v,
    };
    (!token.is_empty() && !token.contains(' ')).then(|| token.to_owned())
}

/// The tenant in front of a path: `/acme/xmpp-websocket` is `/xmpp-websocket` of tenant `acme`.
pub(crate) fn split_tenant(path: &str) -> (Option<&str>, Cow<'_, str>) {
    for known in
        ["/xmpp-websocket", "/http-bind", "/conference-request/v1", "/visitor/websocket", "/visitors-list/websocket"]
    {
        if let Some(before) = path.strip_suffix(known) {
            let tenant = before.strip_prefix('/').filter(|t| !t.is_empty() && !t.contains('/'));
            if before.is_empty() || tenant.is_some() {
                return (tenant, Cow::Borrowed(known));
            }
        }
    }
    (None, Cow::Borrowed(path))
}

/// A stream with bytes that were read ahead.
pub(crate) struct Prefixed<S> {
    prefix: Bytes,
    inner: S,
}

impl<S> Prefixed<S> {
    pub(crate) fn new(prefix: Bytes, inner: S) -> Self {
        Self { prefix, inner }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        let n = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..n]);
        self.prefix.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        b: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, b)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_is_recognised_and_its_parts_are_found() {
        let text = b"GET /acme/xmpp-websocket?room=Town&vnode=v1 HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: abc\r\nSec-WebSocket-Protocol: foo, xmpp\r\nAuthorization: Bearer t.t.t\r\nx_proxy_region: eu\r\n\r\nrest";
        let h = parse(text, "x_proxy_region").unwrap().unwrap();
        assert_eq!(h.len, text.len() - 4);
        assert_eq!(split_tenant(&h.path), (Some("acme"), "/xmpp-websocket".into()));
        assert_eq!(h.query, "room=Town&vnode=v1");
        assert_eq!(h.upgrade, Some(Upgrade { key: "abc".into(), xmpp: true, stomp: false }));
        assert_eq!((h.bearer.as_deref(), h.region.as_deref()), (Some("t.t.t"), Some("eu")));
        assert!(parse(&text[..100], "x").unwrap().is_none());
        assert!(parse(b"\x16\x03\x01\x02", "x").is_err());
    }

    #[test]
    fn a_plain_post_is_told_from_a_special_one() {
        let head = |more: &str| {
            let text = format!("POST /conference-request/v1?room=a HTTP/1.1\r\nHost: x\r\n{more}\r\n\r\n");
            parse(text.as_bytes(), "r").unwrap().unwrap()
        };
        let h = head("Content-Length: 12\r\nOrigin: https://a.example\r\nConnection: close");
        assert!(h.post && h.close && !h.special);
        assert_eq!((h.content_length, h.origin.as_deref()), (Some(12), Some("https://a.example")));
        assert!(head("Transfer-Encoding: chunked").special);
        for unclear in ["x", "+12", "-1", "", "12\r\nContent-Length: 12", "x\r\nContent-Length: 12", "12, 12"] {
            assert!(head(&format!("Content-Length: {unclear}")).special, "{unclear}");
        }
        assert!(head("Expect: 100-continue").special);
    }

    #[test]
    fn nobody_chooses_an_address_by_what_it_writes_in_a_header() {
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        let trusted = [ip("127.0.0.1"), ip("10.0.0.1")];
        let of = |peer: &str, text: &str| origin(ip(peer), Some(text), &trusted).to_string();
        assert_eq!(of("127.0.0.1", "203.0.113.5"), "203.0.113.5");
        assert_eq!(of("127.0.0.1", "1.2.3.4, 203.0.113.5"), "203.0.113.5");
        assert_eq!(of("127.0.0.1", "1.2.3.4,203.0.113.5,10.0.0.1"), "203.0.113.5");
        assert_eq!(of("203.0.113.9", "1.2.3.4"), "203.0.113.9");
        assert_eq!(of("127.0.0.1", "1.2.3.4, unknown"), "127.0.0.1");
        assert_eq!(of("127.0.0.1", ""), "127.0.0.1");
        assert_eq!(origin(ip("127.0.0.1"), None, &trusted), ip("127.0.0.1"));
        // Of several lines all count, in their order.
        let text = b"GET / HTTP/1.1\r\nX-Forwarded-For: 1.2.3.4\r\nx-forwarded-for: 203.0.113.5\r\n\r\n";
        let head = parse(text, "r").unwrap().unwrap();
        assert_eq!(of("127.0.0.1", head.forwarded_for.as_deref().unwrap()), "203.0.113.5");
    }

    #[test]
    fn a_tenant_is_one_path_segment() {
        assert_eq!(split_tenant("/xmpp-websocket").0, None);
        assert_eq!(split_tenant("/a/b/xmpp-websocket"), (None, "/a/b/xmpp-websocket".into()));
        assert_eq!(split_tenant("/a/conference-request/v1"), (Some("a"), "/conference-request/v1".into()));
    }
}
