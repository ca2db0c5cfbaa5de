//! WebSocket framing, server side (RFC 6455): reading masked frames in place, writing headers.
//!
//! Text messages only (or binary ones in their place), no extensions. A message may come in fragments; together they must stay under the stanza limit.

use bytes::{Buf, BytesMut};

/// What a complete frame or message means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum WsEvent {
    /// A complete text message.
    Text(BytesMut),
    /// Answer with a pong of the same payload.
    Ping(BytesMut),
    /// Nothing to do.
    Pong,
    /// The peer closes.
    Close,
}

/// Why the connection must be closed; the number is the close code (RFC 6455 §7.4.1).
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("WebSocket protocol error {0}: {1}")]
pub(crate) struct WsError(pub(crate) u16, pub(crate) &'static str);

/// Reads frames. Holds bytes only while a frame or message is incomplete.
#[derive(Debug, Default)]
pub(crate) struct WsReader {
    fragments: Option<BytesMut>,
    /// Binary messages are taken as text.
    binary: bool,
}

impl WsReader {
    /// One that takes binary messages as if they were text: STOMP clients send either.
    pub(crate) fn with_binary() -> Self {
        Self { fragments: None, binary: true }
    }

    /// Takes the next event out of `buf`; `None` when more bytes are needed.
    pub(crate) fn next(&mut self, buf: &mut BytesMut, limit: usize) -> Result<Option<WsEvent>, WsError> {
        loop {
            let Some(head) = buf.get(..2) else { return Ok(None) };
            let (fin, rsv, opcode) = (head[0] & 0x80 != 0, head[0] & 0x70, head[0] & 0x0f);
            let masked = head[1] & 0x80 != 0;
            if rsv != 0 {
                return Err(WsError(1002, "reserved bits"));
            }
            if !masked {
                return Err(WsError(1002, "frame is not masked"));
            }
            let (len, at) = match head[1] & 0x7f {
                126 => match buf.get(2..4) {
                    Some(b) => (u64::from(u16::from_be_bytes([b[0], b[1]])), 4),
                    None => return Ok(None),
                },
                127 => match buf.get(2..10) {
                    Some(b) => (u64::from_be_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]), 10),
                    None => return Ok(None),
                },
                n => (u64::from(n), 2),
            };
            let control = opcode & 0x8 != 0;
            if control && (len > 125 || !fin) {
                return Err(WsError(1002, "control frame"));
            }
            let have = self.fragments.as_ref().map_or(0, BytesMut::len) as u64;
            if !control && len.saturating_add(have) > limit as u64 {
                return Err(WsError(1009, "message too big"));
            }
            let len = len as usize;
            if buf.len() < at + 4 + len {
                return Ok(None);
            }
            let key = [buf[at], buf[at + 1], buf[at + 2], buf[at + 3]];
            buf.advance(at + 4);
            let mut payload = buf.split_to(len);
            unmask(&mut payload, key);
            let opcode = if opcode == 0x2 && self.binary { 0x1 } else { opcode };
            return Ok(Some(match (opcode, fin) {
                (0x8, _) => WsEvent::Close,
                (0x9, _) => WsEvent::Ping(payload),
                (0xa, _) => WsEvent::Pong,
                (0x1, true) if self.fragments.is_none() => WsEvent::Text(payload),
                (0x1, false) if self.fragments.is_none() => {
                    self.fragments = Some(payload);
                    continue;
                }
                (0x0, fin) => {
                    let Some(mut whole) = self.fragments.take() else {
                        return Err(WsError(1002, "continuation without start"));
                    };
                    whole.extend_from_slice(&payload);
                    if fin {
                        WsEvent::Text(whole)
                    } else {
                        self.fragments = Some(whole);
                        continue;
                    }
                }
                (0x1, _) => return Err(WsError(1002, "message inside a message")),
                (0x2, _) => return Err(WsError(1003, "binary message")),
                _ => return Err(WsError(1002, "unknown opcode")),
            }));
        }
    }
}

fn unmask(payload: &mut [u8], key: [u8; 4]) {
    let wide = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let mut chunks = payload.chunks_exact_mut(8);
    for c in &mut chunks {
        let v = u64::from_ne_bytes([c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]]) ^ wide;
        c.copy_from_slice(&v.to_ne_bytes());
    }
    for (i, b) in chunks.into_remainder().iter_mut().enumerate() {
        *b ^= key[i & 3];
    }
}

/// Appends the header of an unmasked, unfragmented frame.
pub(crate) fn write_header(out: &mut Vec<u8>, opcode: u8, len: usize) {
    out.push(0x80 | opcode);
    if len < 126 {
        out.push(len as u8);
    } else if let Ok(n) = u16::try_from(len) {
        out.push(126);
        out.extend_from_slice(&n.to_be_bytes());
    } else {
        out.push(127);
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
}

/// Opcode of a text message.
pub(crate) const TEXT: u8 = 1;
/// Opcode of a pong.
pub(crate) const PONG: u8 = 0xa;
/// Opcode of a close frame.
pub(crate) const CLOSE: u8 = 8;

/// The value of `Sec-WebSocket-Accept` for a key (RFC 6455 §4.2.2).
pub(crate) fn accept_key(key: &str) -> String {
    use base64::Engine as _;
    use sha1::{Digest as _, Sha1};
    let mut h = Sha1::new();
    h.update(key.as_bytes());
    h.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64::engine::general_purpose::STANDARD.encode(h.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut v = vec![first];
        if payload.len() < 126 {
            v.push(0x80 | payload.len() as u8);
        } else {
            v.push(0x80 | 126);
            v.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        }
        let key = [1, 2, 3, 4];
        v.extend_from_slice(&key);
        v.extend(payload.iter().enumerate().map(|(i, b)| b ^ key[i & 3]));
        v
    }

    fn all(bytes: &[u8]) -> Result<Vec<WsEvent>, WsError> {
        let (mut r, mut buf, mut out) = (WsReader::default(), BytesMut::new(), Vec::new());
        for b in bytes {
            buf.extend_from_slice(&[*b]);
            while let Some(e) = r.next(&mut buf, 1000)? {
                out.push(e);
            }
        }
        Ok(out)
    }

    #[test]
    fn the_key_of_the_rfc_is_accepted() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn messages_arrive_whole_whatever_the_chunks() {
        let long = vec![b'x'; 300];
        let mut bytes = frame(0x81, b"hello");
        bytes.extend(frame(0x01, b"a"));
        bytes.extend(frame(0x89, b"p"));
        bytes.extend(frame(0x80, &long));
        bytes.extend(frame(0x88, b""));
        let mut joined = BytesMut::from(&b"a"[..]);
        joined.extend_from_slice(&long);
        assert_eq!(
            all(&bytes).unwrap(),
            [
                WsEvent::Text(BytesMut::from(&b"hello"[..])),
                WsEvent::Ping(BytesMut::from(&b"p"[..])),
                WsEvent::Text(joined),
                WsEvent::Close
            ]
        );
    }

    #[test]
    fn what_breaks_the_protocol_is_named() {
        assert_eq!(all(&[0x81, 0x01, b'x']).unwrap_err().0, 1002);
        assert_eq!(all(&frame(0x82, b"x")).unwrap_err().0, 1003);
        assert_eq!(all(&frame(0xc1, b"x")).unwrap_err().0, 1002);
        assert_eq!(all(&frame(0x80, b"x")).unwrap_err().0, 1002);
        let mut big = frame(0x01, &[b'x'; 900]);
        big.extend(frame(0x80, &[b'x'; 200]));
        assert_eq!(all(&big).unwrap_err().0, 1009);
    }
}
