//! Cutting a TCP stream into elements.

use bytes::{Buf, Bytes, BytesMut};

use crate::element::push_declaration;
use crate::limits::{Limits, XmlError};
use crate::parse::{Outer, Parsed, parse_within};
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
/// A half-received element costs a scan of its new bytes only; the strict parser runs once it is complete. What comes
/// out, errors included, does not depend on how the bytes were cut on their way. After an error or the end of the stream
/// there is nothing more but the same error, until [`StreamReader::restart`].
#[derive(Debug)]
pub struct StreamReader {
    buf: BytesMut,
    limits: Limits,
    header: Option<Header>,
    scan: Scan,
    declared: bool,
    over: Option<Over>,
}

/// Why there are no more events.
#[derive(Clone, Debug)]
enum Over {
    Ended,
    Failed(XmlError),
}

/// An empty buffer larger than this is given back.
const KEEP: usize = 16 * 1024;

#[derive(Debug)]
struct Header {
    /// Name of the root as written, for the end tag.
    name: String,
    /// The default namespace that elements must carry themselves.
    default_ns: Option<Box<str>>,
    prefixes: Vec<(Box<str>, Box<str>)>,
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
    /// In `<![CDATA[`: how much of that was seen, number of `]` at the end.
    CData { opened: u8, brackets: u8 },
}

#[derive(Debug, Default)]
struct Scan {
    /// Next byte to look at.
    at: usize,
    state: State,
    /// Open elements below the stream's root.
    depth: usize,
}

impl StreamReader {
    /// A reader at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        Self { buf: BytesMut::new(), limits, header: None, scan: Scan::default(), declared: false, over: None }
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
        self.declared = false;
        self.over = None;
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
        match &self.over {
            Some(Over::Failed(e)) => return Err(e.clone()),
            Some(Over::Ended) => return Ok(None),
            None => {}
        }
        let event = self.event();
        match &event {
            Ok(Some(StreamEvent::End)) => self.over = Some(Over::Ended),
            Err(e) => self.over = Some(Over::Failed(e.clone())),
            Ok(_) => {}
        }
        if self.buf.is_empty() && self.buf.capacity() > KEEP {
            self.buf = BytesMut::new();
        }
        event
    }

    fn event(&mut self) -> Result<Option<StreamEvent>, XmlError> {
        loop {
            let Some(cut) = self.scan_one()? else {
                if self.buf.len() > self.limits.bytes {
                    return Err(XmlError::Limit("bytes"));
                }
                return Ok(None);
            };
            let end = std::mem::take(&mut self.scan.at);
            self.scan.state = State::Text;
            let event = match cut {
                Cut::White => None,
                Cut::Declaration => {
                    if std::mem::replace(&mut self.declared, true) {
                        return Err(XmlError::Restricted { at: 0, what: "comment, instruction or DTD" });
                    }
                    xml_declaration(&self.buf[..end])?;
                    None
                }
                Cut::Header => Some(StreamEvent::Header(self.read_header(end)?)),
                Cut::Element => Some(StreamEvent::Element(self.element(end)?)),
                Cut::End => {
                    let name = self.buf[..end].strip_prefix(b"</").and_then(|t| t.strip_suffix(b">"));
                    let name = name.map(|n| n.trim_ascii_end());
                    let expected = self.header.as_ref().map(|h| h.name.as_bytes());
                    if name.is_none() || name != expected {
                        return Err(XmlError::NotWellFormed { at: 0, what: "end tag of another element" });
                    }
                    Some(StreamEvent::End)
                }
            };
            self.buf.advance(end);
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    /// Advances to the end of the next piece, if it is complete.
    fn scan_one(&mut self) -> Result<Option<Cut>, XmlError> {
        // Nothing behind the limit is looked at, so that the error does not depend on how much arrived at once.
        let b = &self.buf[..self.buf.len().min(self.limits.bytes)];
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
                        if b.get(s.at).is_none_or(|c| !matches!(c, b' ' | b'\t' | b'\r' | b'\n')) {
                            return Ok(Some(Cut::White));
                        }
                        continue;
                    }
                    s.at += 1;
                    s.state = State::Lt;
                }
                State::Lt => {
                    s.state = match c {
                        b'/' => State::EndTag,
                        b'?' if self.header.is_none() && s.depth == 0 => State::Pi { question: false },
                        b'!' if s.depth > 0 => State::CData { opened: 1, brackets: 0 },
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
                        return Ok(Some(Cut::Declaration));
                    }
                    *question = c == b'?';
                }
                State::CData { opened, brackets } => {
                    const OPEN: &[u8] = b"![CDATA[";
                    if let Some(&wanted) = OPEN.get(*opened as usize) {
                        if c != wanted {
                            return Err(XmlError::Restricted { at: s.at, what: "comment, instruction or DTD" });
                        }
                        *opened += 1;
                    } else if c == b']' {
                        *brackets = (*brackets + 1).min(2);
                    } else if c == b'>' && *brackets == 2 {
                        s.state = State::Text;
                    } else if *brackets > 0 {
                        *brackets = 0;
                    } else {
                        s.at = memchr::memchr(b']', &b[s.at..]).map_or(b.len(), |i| s.at + i);
                        continue;
                    }
                    s.at += 1;
                }
                State::Tag { quote, slash } => {
                    if *quote != 0 {
                        match memchr::memchr(*quote, &b[s.at..]) {
                            Some(i) => {
                                s.at += i + 1;
                                *quote = 0;
                            }
                            None => s.at = b.len(),
                        }
                        continue;
                    }
                    s.at += 1;
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

    fn read_header(&mut self, end: usize) -> Result<Stanza, XmlError> {
        let text = std::str::from_utf8(&self.buf[..end]).map_err(|_| XmlError::Utf8)?;
        let open = text.strip_suffix('>').unwrap_or(text);
        if open.ends_with('/') {
            return Err(XmlError::NotWellFormed { at: end, what: "stream header is an empty element" });
        }
        let limits = Limits { bytes: self.limits.bytes.saturating_add(1), ..self.limits };
        let s = Stanza::parse(Bytes::from([open, "/>"].concat()), &limits)?;
        let root = s.root();
        let name = &s.text()[1..root.name_end()];
        let mut header = Header { name: name.to_owned(), default_ns: None, prefixes: Vec::new() };
        for (n, v) in root.attrs() {
            if n == "xmlns" {
                header.default_ns = Some(v).filter(|v| *v != ns::CLIENT).map(Into::into);
            } else if let Some(p) = n.strip_prefix("xmlns:")
                && p != "xml"
            {
                header.prefixes.push((p.into(), v.into()));
            }
        }
        self.header = Some(header);
        Ok(s)
    }

    /// Parses an element, first adding to its start tag the declarations of the header that it relies on.
    fn element(&self, end: usize) -> Result<Stanza, XmlError> {
        let Some(h) = &self.header else { return Err(XmlError::NotWellFormed { at: 0, what: "no stream header" }) };
        let text = std::str::from_utf8(&self.buf[..end]).map_err(|_| XmlError::Utf8)?;
        let mut outer = Outer { default: h.default_ns.is_some(), prefixes: &h.prefixes };
        let mut whole: Option<String> = None;
        // At most three rounds: the default namespace is missed early, prefixes all at once.
        loop {
            let now = whole.as_deref().unwrap_or(text);
            let mut add = String::new();
            let name_end = match parse_within(now, &wider(&self.limits, now.len() - text.len()), outer)? {
                Parsed::Whole(index) => return Ok(Stanza::indexed(whole.unwrap_or_else(|| text.to_owned()), index)),
                Parsed::WantsDefault { name_end } => {
                    outer.default = false;
                    push_declaration(&mut add, "", h.default_ns.as_deref().unwrap_or_default());
                    name_end
                }
                Parsed::WantsPrefixes { name_end, prefixes } => {
                    outer.prefixes = &[];
                    for (p, uri) in prefixes.into_iter().map(|i| &h.prefixes[i]) {
                        push_declaration(&mut add, p, uri);
                    }
                    name_end
                }
            };
            whole = Some([&now[..name_end], &add, &now[name_end..]].concat());
        }
    }
}

/// The limits for a text to which we added `bytes` of the header's declarations.
fn wider(limits: &Limits, bytes: usize) -> Limits {
    let attrs = if bytes > 0 { limits.attrs.saturating_mul(2) } else { limits.attrs };
    Limits { bytes: limits.bytes.saturating_add(bytes), attrs, ..*limits }
}

/// Checks `<?xml ...?>`: it may only say what is so anyway (RFC 6120 §11.5, §11.6).
fn xml_declaration(raw: &[u8]) -> Result<(), XmlError> {
    let inside = raw.strip_prefix(b"<?xml").and_then(|r| r.strip_suffix(b"?>"));
    let Some(inside) = inside.filter(|i| i.first().is_some_and(u8::is_ascii_whitespace)) else {
        return Err(XmlError::Restricted { at: 0, what: "comment, instruction or DTD" });
    };
    // Its grammar is that of attributes in a fixed order.
    let element = [b"<xml", inside, b"/>"].concat();
    let s = Stanza::parse(element.into(), &Limits::default())?;
    let order = ["version", "encoding", "standalone"];
    let mut next = 0;
    for (name, value) in s.root().attrs() {
        let place = order[next..].iter().position(|o| *o == name);
        let good = match name {
            "version" => value == "1.0",
            "encoding" if !value.eq_ignore_ascii_case("utf-8") => return Err(XmlError::Utf8),
            "standalone" => matches!(&*value, "yes" | "no"),
            _ => true,
        };
        match place {
            Some(i) if good => next += i + 1,
            _ => return Err(XmlError::NotWellFormed { at: 0, what: "XML declaration" }),
        }
    }
    if s.attr("version").is_none() {
        return Err(XmlError::NotWellFormed { at: 0, what: "XML declaration without version" });
    }
    Ok(())
}

enum Cut {
    White,
    Declaration,
    Header,
    Element,
    End,
}
