//! STOMP 1.2 frames: reading them with limits, writing them. The parser is the first thing that strangers reach.

use bytes::Bytes;

/// Bounds of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a frame, its body included. Tokens travel in headers, so not too few.
    pub frame: usize,
    /// Header lines of a frame.
    pub headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frame: 16 * 1024, headers: 32 }
    }
}

/// What a client's frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `CONNECT` or `STOMP`.
    Connect,
    /// `SUBSCRIBE`.
    Subscribe,
    /// `UNSUBSCRIBE`.
    Unsubscribe,
    /// `SEND`.
    Send,
    /// `DISCONNECT`.
    Disconnect,
    /// `ACK` or `NACK`.
    Ack,
    /// `BEGIN`, `COMMIT` or `ABORT`.
    Transaction,
}

/// A frame of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is for.
    pub command: Command,
    headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Frame {
    /// A header; of repeated ones the first counts.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A header whose name comes from HTTP, so its case does not matter.
    pub fn header_any_case(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More than [`Limits::frame`].
    #[error("the frame is too large")]
    TooLarge,
    /// More than [`Limits::headers`].
    #[error("the frame has too many headers")]
    TooManyHeaders,
    /// A line without a colon, or with an empty name.
    #[error("a header is malformed")]
    BadHeader,
    /// A backslash before something else than `r`, `n`, `c` or another one.
    #[error("a header has an undefined escape")]
    BadEscape,
    /// Command or headers are not UTF-8.
    #[error("the frame is not UTF-8")]
    NotUtf8,
    /// `content-length` is no number, or the body does not end where it says.
    #[error("content-length is wrong")]
    BadLength,
    /// No command of STOMP 1.2.
    #[error("the command is unknown")]
    UnknownCommand,
}

/// Collects bytes and takes frames out. Holds memory only while a frame is incomplete.
#[derive(Debug, Default)]
pub struct FrameReader {
    buf: Vec<u8>,
}

impl FrameReader {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// The next complete frame. Line ends between frames are heart-beats and vanish. After an error the rest means nothing.
    ///
    /// # Errors
    /// If the bytes are no frame within the limits.
    pub fn next(&mut self, limits: &Limits) -> Result<Option<Frame>, FrameError> {
        let beats = self.buf.iter().take_while(|b| matches!(b, b'\n' | b'\r')).count();
        let rest = &self.buf[beats..];
        match parse(rest, limits)? {
            Some((frame, len)) => {
                let used = beats + len;
                self.buf.drain(..used);
                if self.buf.is_empty() {
                    self.buf = Vec::new();
                }
                Ok(Some(frame))
            }
            None => {
                if rest.is_empty() {
                    self.buf = Vec::new();
                } else {
                    self.buf.drain(..beats);
                }
                Ok(None)
            }
        }
    }
}

/// One line without its end, and where the next begins.
fn line(buf: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let len = buf.get(at..)?.iter().position(|b| *b == b'\n')?;
    let text = &buf[at..at + len];
    Some((text.strip_suffix(b"\r").unwrap_or(text), at + len + 1))
}

/// A frame at the start of `buf`, and its length. `None`: more bytes are needed.
fn parse(buf: &[u8], limits: &Limits) -> Result<Option<(Frame, usize)>, FrameError> {
    let incomplete = || if buf.len() > limits.frame { Err(FrameError::TooLarge) } else { Ok(None) };
    let Some((word, mut at)) = line(buf, 0) else { return incomplete() };
    let command = command(word)?;
    let escaped = command != Command::Connect;
    let mut headers = Vec::new();
    loop {
        let Some((text, next)) = line(buf, at) else { return incomplete() };
        if next > limits.frame {
            return Err(FrameError::TooLarge);
        }
        at = next;
        if text.is_empty() {
            break;
        }
        if headers.len() == limits.headers {
            return Err(FrameError::TooManyHeaders);
        }
        let text = std::str::from_utf8(text).map_err(|_| FrameError::NotUtf8)?;
        let (name, value) = text.split_once(':').ok_or(FrameError::BadHeader)?;
        if name.is_empty() {
            return Err(FrameError::BadHeader);
        }
        headers.push(if escaped { (unescape(name)?, unescape(value)?) } else { (name.to_owned(), value.to_owned()) });
    }
    let mut frame = Frame { command, headers, body: Vec::new() };
    let len = match frame.header("content-length") {
        Some(n) => {
            let n: usize = n.trim().parse().map_err(|_| FrameError::BadLength)?;
            if n > limits.frame.saturating_sub(at + 1) {
                return Err(FrameError::TooLarge);
            }
            match buf.get(at + n) {
                None => return Ok(None),
                Some(0) => n,
                Some(_) => return Err(FrameError::BadLength),
            }
        }
        None => match buf[at..].iter().position(|b| *b == 0) {
            Some(n) => n,
            None => return incomplete(),
        },
    };
    if at + len + 1 > limits.frame {
        return Err(FrameError::TooLarge);
    }
    frame.body = buf[at..at + len].to_vec();
    Ok(Some((frame, at + len + 1)))
}

fn command(word: &[u8]) -> Result<Command, FrameError> {
    Ok(match word {
        b"CONNECT" | b"STOMP" => Command::Connect,
        b"SUBSCRIBE" => Command::Subscribe,
        b"UNSUBSCRIBE" => Command::Unsubscribe,
        b"SEND" => Command::Send,
        b"DISCONNECT" => Command::Disconnect,
        b"ACK" | b"NACK" => Command::Ack,
        b"BEGIN" | b"COMMIT" | b"ABORT" => Command::Transaction,
        _ => return Err(FrameError::UnknownCommand),
    })
}

fn unescape(text: &str) -> Result<String, FrameError> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('r') => '\r',
                Some('n') => '\n',
                Some('c') => ':',
                Some('\\') => '\\',
                _ => return Err(FrameError::BadEscape),
            },
            c => c,
        });
    }
    Ok(out)
}

/// Writes one frame; values are escaped.
#[derive(Debug)]
pub struct FrameWriter {
    out: Vec<u8>,
    escaped: bool,
}

impl FrameWriter {
    /// Begins a frame.
    pub fn new(command: &str) -> Self {
        let mut out = Vec::with_capacity(192);
        out.extend_from_slice(command.as_bytes());
        out.push(b'\n');
        // STOMP 1.2: for the sake of 1.0 these are not escaped, so what would need it is left out.
        Self { out, escaped: command != "CONNECTED" }
    }

    /// A header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.escape(name);
        self.out.push(b':');
        self.escape(value);
        self.out.push(b'\n');
        self
    }

    fn escape(&mut self, text: &str) {
        for b in text.bytes() {
            match (b, self.escaped) {
                (b'\r', true) => self.out.extend_from_slice(b"\\r"),
                (b'\n', true) => self.out.extend_from_slice(b"\\n"),
                (b':', true) => self.out.extend_from_slice(b"\\c"),
                (b'\\', true) => self.out.extend_from_slice(b"\\\\"),
                (b'\r' | b'\n', false) => {}
                (b, _) => self.out.push(b),
            }
        }
    }

    /// Ends the frame without a body.
    pub fn finish(mut self) -> Bytes {
        self.out.extend_from_slice(b"\n\0");
        self.out.into()
    }

    /// Ends the frame with a body and its length.
    pub fn body(self, content_type: &str, body: &[u8]) -> Bytes {
        let len = body.len().to_string();
        let mut w = self.header("content-type", content_type).header("content-length", &len);
        w.out.push(b'\n');
        w.out.extend_from_slice(body);
        w.out.push(0);
        w.out.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Frame>, FrameError> {
        let mut r = FrameReader::default();
        let mut out = Vec::new();
        r.push(bytes);
        while let Some(f) = r.next(&Limits::default())? {
            out.push(f);
        }
        assert!(out.is_empty() || r.buf.len() < bytes.len());
        Ok(out)
    }

    #[test]
    fn what_the_stock_client_sends_is_read() {
        let f = read(b"CONNECT\nAuthorization:Bearer a:b\\c\naccept-version:1.2,1.1,1.0\nheart-beat:10000,10000\n\n\0")
            .unwrap();
        assert_eq!(f[0].command, Command::Connect);
        assert_eq!(f[0].header_any_case("authorization"), Some("Bearer a:b\\c"), "not unescaped in CONNECT");
        let f = read(b"\n\r\nSUBSCRIBE\r\nid:sub-0\r\ndestination:/a\\cb\\\\\r\n\r\n\0\nUNSUBSCRIBE\nid:sub-0\n\n\0\n")
            .unwrap();
        assert_eq!(f.len(), 2);
        assert_eq!((f[0].header("id"), f[0].header("destination")), (Some("sub-0"), Some("/a:b\\")));
    }

    #[test]
    fn the_first_of_repeated_headers_counts_and_bodies_may_hold_zeros() {
        let f = read(b"SEND\na:1\na:2\ncontent-length:3\n\nx\0y\0").unwrap();
        assert_eq!((f[0].header("a"), f[0].body.as_slice()), (Some("1"), &b"x\0y"[..]));
        assert_eq!(read(b"SEND\n\nbody\0").unwrap()[0].body, b"body");
    }

    #[test]
    fn what_is_no_frame_is_named() {
        let long = [b"SEND\na:".as_slice(), &[b'x'; 20_000]].concat();
        let many = [b"SEND\n".as_slice(), &b"a:b\n".repeat(33), b"\n\0"].concat();
        for (bytes, error) in [
            (&b"HELO\n\n\0"[..], FrameError::UnknownCommand),
            (b"SEND\nno colon\n\n\0", FrameError::BadHeader),
            (b"SEND\n:x\n\n\0", FrameError::BadHeader),
            (b"SEND\na:\\t\n\n\0", FrameError::BadEscape),
            (b"SEND\na:\xff\n\n\0", FrameError::NotUtf8),
            (b"SEND\ncontent-length:-1\n\n\0", FrameError::BadLength),
            (b"SEND\ncontent-length:1\n\nxy\0", FrameError::BadLength),
            (b"SEND\ncontent-length:99999999999\n\nx\0", FrameError::TooLarge),
            (&long, FrameError::TooLarge),
            (&many, FrameError::TooManyHeaders),
        ] {
            assert_eq!(read(bytes), Err(error));
        }
    }

    #[test]
    fn an_unfinished_frame_waits_and_then_fits() {
        let bytes = b"SUBSCRIBE\nid:1\ndestination:/x\n\n\0";
        let mut r = FrameReader::default();
        for b in &bytes[..bytes.len() - 1] {
            r.push(&[*b]);
            assert_eq!(r.next(&Limits::default()), Ok(None));
        }
        r.push(&[0]);
        assert!(r.next(&Limits::default()).unwrap().is_some());
        assert_eq!(r.buf.capacity(), 0, "an idle reader holds nothing");
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_parser_and_chunks_do_not_matter(bytes in proptest::collection::vec(
            prop_oneof![Just(b'\n'), Just(0u8), Just(b':'), Just(b'\\'), Just(b'\r'), any::<u8>()], 0..200), cut in 0usize..200) {
            let bytes = [b"SEND\n".as_slice(), &bytes].concat();
            let whole = read(&bytes);
            let mut r = FrameReader::default();
            let cut = cut.min(bytes.len());
            let mut parts = Vec::new();
            let mut run = |r: &mut FrameReader| -> Result<(), FrameError> {
                while let Some(f) = r.next(&Limits::default())? { parts.push(f); }
                Ok(())
            };
            r.push(&bytes[..cut]);
            let mut result = run(&mut r);
            if result.is_ok() {
                r.push(&bytes[cut..]);
                result = run(&mut r);
            }
            match whole {
                Ok(frames) => { prop_assert_eq!(result, Ok(())); prop_assert_eq!(parts, frames); }
                Err(_) => prop_assert!(result.is_err()),
            }
        }

        #[test]
        fn what_is_written_is_read_back(value in "[^\0]{0,40}") {
            let bytes = FrameWriter::new("SEND").header("a", &value).body("text/plain", value.as_bytes());
            let f = read(&bytes).unwrap();
            prop_assert_eq!(f[0].header("a"), Some(value.as_str()));
            prop_assert_eq!(&f[0].body, value.as_bytes());
        }
    }
}
