//! Cutting a TCP stream into elements.

use bytes::{Buf, Bytes, BytesMut};

use crate::parse::{Limits, XmlError};
use crate::{Stanza, ns};

/// What came out of a stream.
#[derive(Clone, Debug)]
pub enum StreamEvent {
    /// The stream header: its start tag as an empty element, so that attributes can be read.
    Header(Stanza),
    /// One complete top-level element. It carries the stream's default namespace and whatever prefix of the header it
    /// uses, so it is self-contained.
    Element(Stanza),
    /// `</stream:stream>`.
    End,
}

/// Collects bytes of one direction of a TCP stream and cuts them into [`StreamEvent`]s.
///
/// A half-received element costs a scan of its new bytes only; the strict parser runs once it is complete.
#[derive(Debug)]
pub struct StreamReader {
    buf: BytesMut,
    limits: Limits,
    header: Option<Header>,
    scan: Scan,
}

#[derive(Debug)]
struct Header {
    /// Name of the root as written, for the end tag.
    name: String,
    default_ns: String,
    prefixes: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Between top-level elements or in text.
    #[default]
    Text,
    /// Seen `<`.
    Lt,
    /// In a start tag; `slash`: the last byte was `/`.
    Tag { quote: u8, slash: bool },
    /// In an end tag.
    EndTag,
    /// In `<?...?>`; only allowed before the header.
    Pi { question: bool },
    /// In `<![CDATA[`, number of `]` seen at the end.
    CData { start: usize, brackets: u8 },
}

#[derive(Debug, Default)]
struct Scan {
    /// Next byte to look at.
    at: usize,
    state: State,
    /// Open elements below the stream's root.
    depth: usize,
    /// Offset of the `<` of the tag being scanned.
    tag_start: usize,
}

impl StreamReader {
    /// A reader at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        Self { buf: BytesMut::new(), limits, header: None, scan: Scan::default() }
    }

    /// Appends received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// Changes the limits, for a peer that has proved who it is.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Expects a new header: after SASL or TLS.
    pub fn restart(&mut self) {
        self.header = None;
        self.scan = Scan::default();
    }

    /// Bytes waiting for the rest of their element.
    pub fn buffered(&self) -> usize {
        self.buf.len()
    }

    /// Drops what was received but not yet read. STARTTLS must do this, lest plain text be taken for protected.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.restart();
    }

    /// The next event, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// What makes the stream unusable: it must be closed with [`XmlError::stream_condition`].
    pub fn next_event(&mut self) -> Result<Option<StreamEvent>, XmlError> {
        loop {
            let Some(cut) = self.scan_one()? else {
                if self.buf.len() > self.limits.bytes {
                    return Err(XmlError::Limit("bytes"));
                }
                return Ok(None);
            };
            let end = self.scan.at;
            self.scan.at = 0;
            self.scan.state = State::Text;
            match cut {
                Cut::Skip => self.buf.advance(end),
                Cut::Header => {
                    let raw = self.buf.split_to(end).freeze();
                    return self.read_header(&raw).map(|s| Some(StreamEvent::Header(s)));
                }
                Cut::Element => {
                    let raw = self.buf.split_to(end).freeze();
                    return self.element(raw).map(|s| Some(StreamEvent::Element(s)));
                }
                Cut::End => {
                    let raw = self.buf.split_to(end).freeze();
                    let text = std::str::from_utf8(&raw).map_err(|_| XmlError::Utf8)?;
                    let name = text.trim().trim_start_matches("</").trim_end_matches('>').trim();
                    let expected = self.header.as_ref().map(|h| h.name.as_str());
                    if expected != Some(name) {
                        return Err(XmlError::NotWellFormed { at: 0, what: "end tag of another element" });
                    }
                    return Ok(Some(StreamEvent::End));
                }
            }
        }
    }

    /// Advances to the end of the next piece, if it is complete.
    fn scan_one(&mut self) -> Result<Option<Cut>, XmlError> {
        let b = &self.buf[..];
        let s = &mut self.scan;
        while s.at < b.len() {
            let c = b[s.at];
            match &mut s.state {
                State::Text => {
                    if s.depth > 0 {
                        match memchr::memchr(b'<', &b[s.at..]) {
                            Some(i) => s.at += i,
                            None => {
                                s.at = b.len();
                                return Ok(None);
                            }
                        }
                    } else if c != b'<' {
                        // White space keeps a connection alive; anything else between stanzas is an error.
                        if !matches!(c, b' ' | b'\t' | b'\r' | b'\n') {
                            return Err(XmlError::NotWellFormed { at: s.at, what: "text between stanzas" });
                        }
                        s.at += 1;
                        if s.at == b.len() || b[s.at] == b'<' {
                            return Ok(Some(Cut::Skip));
                        }
                        continue;
                    }
                    s.tag_start = s.at;
                    s.at += 1;
                    s.state = State::Lt;
                }
                State::Lt => {
                    s.state = match c {
                        b'/' => State::EndTag,
                        b'?' if self.header.is_none() && s.depth == 0 => State::Pi { question: false },
                        b'!' if s.depth > 0 => State::CData { start: s.at, brackets: 0 },
                        b'!' | b'?' => {
                            return Err(XmlError::Restricted { at: s.at, what: "comment, instruction or DTD" });
                        }
                        _ => State::Tag { quote: 0, slash: false },
                    };
                    s.at += 1;
                }
                State::Pi { question } => {
                    s.at += 1;
                    if c == b'>' && *question {
                        return Ok(Some(Cut::Skip));
                    }
                    *question = c == b'?';
                }
                State::CData { start, brackets } => {
                    let i = s.at - *start;
                    const OPEN: &[u8] = b"![CDATA[";
                    if i < OPEN.len() {
                        if c != OPEN[i] {
                            return Err(XmlError::Restricted { at: s.at, what: "comment, instruction or DTD" });
                        }
                    } else if c == b']' {
                        *brackets = (*brackets + 1).min(2);
                    } else if c == b'>' && *brackets == 2 {
                        s.state = State::Text;
                    } else {
                        *brackets = 0;
                    }
                    s.at += 1;
                }
                State::Tag { quote, slash } => {
                    s.at += 1;
                    if *quote != 0 {
                        if c == *quote {
                            *quote = 0;
                        }
                        continue;
                    }
                    match c {
                        b'"' | b'\'' => {
                            *quote = c;
                            *slash = false;
                        }
                        b'/' => *slash = true,
                        b'>' => {
                            let empty = *slash;
                            s.state = State::Text;
                            if self.header.is_none() {
                                return Ok(Some(Cut::Header));
                            }
                            if !empty {
                                s.depth += 1;
                                if s.depth > self.limits.depth {
                                    return Err(XmlError::Limit("depth"));
                                }
                            } else if s.depth == 0 {
                                return Ok(Some(Cut::Element));
                            }
                        }
                        _ => *slash = false,
                    }
                }
                State::EndTag => {
                    s.at += 1;
                    if c == b'>' {
                        s.state = State::Text;
                        if s.depth == 0 {
                            return Ok(Some(Cut::End));
                        }
                        s.depth -= 1;
                        if s.depth == 0 {
                            return Ok(Some(Cut::Element));
                        }
                    }
                }
            }
        }
        Ok(None)
    }

    fn read_header(&mut self, raw: &[u8]) -> Result<Stanza, XmlError> {
        let text = std::str::from_utf8(raw).map_err(|_| XmlError::Utf8)?;
        let open = text.trim_end();
        let empty = match open.strip_suffix("/>") {
            Some(_) => return Err(XmlError::NotWellFormed { at: 0, what: "stream header is an empty element" }),
            None => format!("{}/>", open.strip_suffix('>').unwrap_or(open)),
        };
        let s = Stanza::parse(Bytes::from(empty), &self.limits)?;
        let root = s.root();
        let name = text
            .trim_start()
            .trim_start_matches('<')
            .split(|c: char| c.is_ascii_whitespace() || c == '>')
            .next()
            .unwrap_or_default();
        let mut header = Header { name: name.to_owned(), default_ns: String::new(), prefixes: Vec::new() };
        for (n, v) in root.attrs() {
            if n == "xmlns" {
                header.default_ns = v.into_owned();
            } else if let Some(p) = n.strip_prefix("xmlns:") {
                header.prefixes.push((p.to_owned(), v.into_owned()));
            }
        }
        self.header = Some(header);
        Ok(s)
    }

    /// Parses an element, first adding to its start tag the declarations of the header that it relies on.
    fn element(&self, raw: Bytes) -> Result<Stanza, XmlError> {
        let Some(h) = &self.header else { return Err(XmlError::NotWellFormed { at: 0, what: "no stream header" }) };
        let text = std::str::from_utf8(&raw).map_err(|_| XmlError::Utf8)?;
        let start = text.len() - text.trim_start().len();
        let text = &text[start..];
        let tag_end = tag_end(text).ok_or(XmlError::NotWellFormed { at: 0, what: "no tag" })?;
        let name_end =
            text[1..].find(|c: char| c.is_ascii_whitespace() || matches!(c, '>' | '/')).map_or(tag_end, |i| i + 1);
        let tag = &text[..tag_end];
        let mut add = String::new();
        if h.default_ns != ns::CLIENT
            && !h.default_ns.is_empty()
            && !text[1..name_end].contains(':')
            && !declares(tag, "xmlns")
        {
            push_decl(&mut add, "xmlns", &h.default_ns);
        }
        for (p, uri) in &h.prefixes {
            if uses_prefix(text, p) && !declares(tag, &format!("xmlns:{p}")) {
                push_decl(&mut add, &format!("xmlns:{p}"), uri);
            }
        }
        if add.is_empty() {
            return Stanza::parse(raw.slice(start..), &self.limits);
        }
        let mut whole = String::with_capacity(text.len() + add.len());
        whole.push_str(&text[..name_end]);
        whole.push_str(&add);
        whole.push_str(&text[name_end..]);
        Stanza::parse(Bytes::from(whole), &self.limits)
    }
}

fn push_decl(out: &mut String, name: &str, uri: &str) {
    out.push(' ');
    out.push_str(name);
    out.push_str("='");
    crate::escape_into(out, uri);
    out.push('\'');
}

/// Offset of the end of the first start tag's content (`>` or `/>`).
fn tag_end(text: &str) -> Option<usize> {
    let mut quote = 0;
    for (i, &c) in text.as_bytes().iter().enumerate() {
        match c {
            b'"' | b'\'' if quote == 0 => quote = c,
            c if c == quote => quote = 0,
            b'>' if quote == 0 => return Some(i),
            _ => {}
        }
    }
    None
}

/// Whether a start tag has an attribute of exactly this name.
fn declares(tag: &str, name: &str) -> bool {
    let b = tag.as_bytes();
    let mut quote = 0;
    let mut i = 0;
    while i < b.len() {
        match b[i] {
            c @ (b'"' | b'\'') if quote == 0 => quote = c,
            c if c == quote => quote = 0,
            c if quote == 0 && c.is_ascii_whitespace() => {
                if let Some(rest) = tag[i + 1..].strip_prefix(name)
                    && rest.trim_start().starts_with('=')
                {
                    return true;
                }
            }
            _ => {}
        }
        i += 1;
    }
    false
}

/// Whether `prefix:` occurs where a name may begin. May be true without need; then a declaration more does no harm.
fn uses_prefix(text: &str, prefix: &str) -> bool {
    let mut rest = text;
    while let Some(i) = rest.find(prefix) {
        let before = rest[..i].bytes().last();
        let after = &rest[i + prefix.len()..];
        if after.starts_with(':') && before.is_none_or(|c| matches!(c, b'<' | b'/' | b' ' | b'\t' | b'\n' | b'\r')) {
            return true;
        }
        rest = after;
    }
    false
}

enum Cut {
    Skip,
    Header,
    Element,
    End,
}
