//! A WebSocket client that can also do what it must not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{PATIENCE, connect};

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WsEvent {
    /// A text frame.
    Text(String),
    /// The end, with the code of the close frame if there was one.
    Closed(Option<u16>),
    /// Nothing in time.
    Nothing,
}

pub struct Ws {
    pub socket: TcpStream,
    buf: Vec<u8>,
    closed: Option<Option<u16>>,
}

impl Ws {
    /// Connects and upgrades.
    pub fn open(to: SocketAddr, path: &str) -> Self {
        let mut socket = connect(to);
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: xmpp\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).expect("written");
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            assert_eq!(socket.read(&mut byte).expect("an answer"), 1, "closed during the upgrade");
            head.push(byte[0]);
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        Self { socket, buf: Vec::new(), closed: None }
    }

    /// Sends a masked frame. `head`: FIN and opcode.
    pub fn frame(&mut self, head: u8, payload: &[u8]) -> std::io::Result<()> {
        let mut f = vec![head];
        match payload.len() {
            n @ 0..126 => f.push(0x80 | n as u8),
            n @ 126..=0xffff => {
                f.push(0x80 | 126);
                f.extend_from_slice(&(n as u16).to_be_bytes());
            }
            n => {
                f.push(0x80 | 127);
                f.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        let mask = [0x12, 0x34, 0x56, 0x78];
        f.extend_from_slice(&mask);
        f.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]));
        self.socket.write_all(&f)
    }

    pub fn text(&mut self, text: &str) {
        self.frame(0x81, text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}"));
    }

    /// The next text, the end, or nothing within `wait`.
    pub fn next(&mut self, wait: Duration) -> WsEvent {
        let end = Instant::now() + wait;
        loop {
            if let Some(e) = self.parse() {
                return e;
            }
            if let Some(code) = self.closed {
                return WsEvent::Closed(code);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return WsEvent::Nothing;
            }
            self.socket.set_read_timeout(Some(left)).expect("a timeout");
            let mut buf = [0; 16 * 1024];
            match self.socket.read(&mut buf) {
                Ok(0) => self.closed = Some(None),
                Ok(n) => self.buf.extend_from_slice(&buf[..n]),
                Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Err(_) => self.closed = Some(None),
            }
        }
    }

    fn parse(&mut self) -> Option<WsEvent> {
        loop {
            let (&head, &len) = (self.buf.first()?, self.buf.get(1)?);
            let (start, len) = match len {
                n @ 0..126 => (2, usize::from(n)),
                126 => (4, usize::from(u16::from_be_bytes(self.buf.get(2..4)?.try_into().ok()?))),
                127 => (10, u64::from_be_bytes(self.buf.get(2..10)?.try_into().ok()?) as usize),
                _ => panic!("a server does not mask"),
            };
            let payload = self.buf.get(start..start + len)?.to_vec();
            self.buf.drain(..start + len);
            match head & 0x0f {
                1 => return Some(WsEvent::Text(String::from_utf8(payload).expect("UTF-8"))),
                8 => {
                    let code = payload.get(..2).map(|c| u16::from_be_bytes([c[0], c[1]]));
                    self.closed = Some(code);
                    return Some(WsEvent::Closed(code));
                }
                9 => {
                    let _ = self.frame(0x8a, &payload);
                }
                _ => {}
            }
        }
    }

    /// Texts until the end. Panics if there is none.
    pub fn until_closed(&mut self) -> (Vec<String>, Option<u16>) {
        let mut texts = Vec::new();
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            match self.next(PATIENCE) {
                WsEvent::Text(t) => texts.push(t),
                WsEvent::Closed(code) => return (texts, code),
                WsEvent::Nothing => break,
            }
        }
        panic!("still open; received {texts:?}")
    }
}
