//! The strict parser: one pass over the bytes, one `Vec` of spans.
//!
//! It accepts exactly the XML that RFC 6120 §11 allows in a stream: elements, attributes, text, CDATA, the five
//! predefined entities and character references. Comments, processing instructions, document types and custom entities
//! are errors, as are control characters, undeclared prefixes and duplicate attributes.

use crate::ns;

/// Bounds on one top-level element. Exceeding one is an error of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one top-level element, tags included.
    pub bytes: usize,
    /// Nesting depth; the top-level element has depth 1.
    pub depth: usize,
    /// Attributes of one element.
    pub attrs: usize,
    /// Elements and texts in one top-level element.
    pub nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 256 * 1024, depth: 64, attrs: 64, nodes: 16 * 1024 }
    }
}

/// Why bytes were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// Not well-formed, or namespaces not well-formed. `at` is a byte offset.
    #[error("not well-formed at byte {at}: {what}")]
    NotWellFormed {
        /// Byte offset.
        at: usize,
        /// What was wrong.
        what: &'static str,
    },
    /// Well-formed, but not allowed in XMPP (RFC 6120 §11.1).
    #[error("restricted XML at byte {at}: {what}")]
    Restricted {
        /// Byte offset.
        at: usize,
        /// What was found.
        what: &'static str,
    },
    /// A limit was exceeded.
    #[error("limit exceeded: {0}")]
    Limit(&'static str),
}

impl XmlError {
    /// The stream error condition (RFC 6120 §4.9.3) that the sender gets.
    pub fn stream_condition(&self) -> &'static str {
        match self {
            Self::Utf8 => "unsupported-encoding",
            Self::NotWellFormed { .. } => "not-well-formed",
            Self::Restricted { .. } => "restricted-xml",
            Self::Limit(_) => "policy-violation",
        }
    }
}

/// A half-open range of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) at: u32,
    pub(crate) len: u32,
}

impl Span {
    fn new(from: usize, to: usize) -> Self {
        Self { at: from as u32, len: (to - from) as u32 }
    }
    pub(crate) fn of(self, raw: &str) -> &str {
        &raw[self.at as usize..(self.at + self.len) as usize]
    }
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.at as usize..(self.at + self.len) as usize
    }
}

/// Where a namespace name is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NsRef {
    /// The stream's default namespace.
    Default,
    /// The `xml` prefix.
    Xml,
    /// `xmlns=''`.
    None,
    /// A span of the raw bytes.
    At(Span),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum NodeKind {
    Element,
    Text,
    CData,
}

/// An element or a text, with the positions of its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    /// Offset of `<`, or of the first byte of the text.
    pub(crate) start: u32,
    /// Local name of an element; content of a text.
    pub(crate) name: Span,
    /// Namespace of an element.
    pub(crate) ns: NsRef,
    /// First attribute and number of attributes.
    pub(crate) attrs: (u32, u16),
    /// First byte of the content.
    pub(crate) content: u32,
    /// First byte after the content.
    pub(crate) content_end: u32,
    /// First byte after the end tag.
    pub(crate) end: u32,
    /// Index of the node after this one's subtree.
    pub(crate) next: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Attr {
    /// Name as written, prefix included.
    pub(crate) name: Span,
    pub(crate) value: Span,
    /// The value has references or white space to normalise.
    pub(crate) escaped: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) nodes: Vec<Node>,
    pub(crate) attrs: Vec<Attr>,
}

/// 0: not in names; 1: in names but not first; 2: may start a name; 3: look at the character.
const NAME: [u8; 256] = {
    let mut t = [0u8; 256];
    let mut i = 0;
    while i < 256 {
        t[i] = match i as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => 2,
            b'0'..=b'9' | b'-' | b'.' => 1,
            0x80..=0xff => 3,
            _ => 0,
        };
        i += 1;
    }
    t
};

fn name_start_char(c: char) -> bool {
    matches!(c as u32,
        0xC0..=0xD6 | 0xD8..=0xF6 | 0xF8..=0x2FF | 0x370..=0x37D | 0x37F..=0x1FFF | 0x200C..=0x200D
        | 0x2070..=0x218F | 0x2C00..=0x2FEF | 0x3001..=0xD7FF | 0xF900..=0xFDCF | 0xFDF0..=0xFFFD | 0x10000..=0xEFFFF)
}

fn name_char(c: char) -> bool {
    name_start_char(c) || matches!(c as u32, 0xB7 | 0x300..=0x36F | 0x203F..=0x2040)
}

/// `Char` of XML 1.0, for code points above the control range checked elsewhere.
fn legal_char(c: u32) -> bool {
    matches!(c, 0x9 | 0xA | 0xD | 0x20..=0xD7FF | 0xE000..=0xFFFD | 0x10000..=0x10FFFF)
}

struct Parser<'a> {
    raw: &'a str,
    b: &'a [u8],
    at: usize,
    limits: Limits,
    index: Index,
    /// Open elements: node index, name as written.
    open: Vec<(u32, Span)>,
    /// Prefix declarations in scope: depth, prefix (empty for the default), name.
    scope: Vec<(usize, Span, NsRef)>,
}

/// Parses exactly one element with nothing but white space around it.
pub(crate) fn parse(raw: &str, limits: &Limits) -> Result<Index, XmlError> {
    if raw.len() > limits.bytes {
        return Err(XmlError::Limit("bytes"));
    }
    let mut p = Parser {
        raw,
        b: raw.as_bytes(),
        at: 0,
        limits: *limits,
        index: Index { nodes: Vec::with_capacity(16), attrs: Vec::with_capacity(16) },
        open: Vec::with_capacity(8),
        scope: Vec::with_capacity(8),
    };
    p.skip_white();
    if p.at >= p.b.len() || p.b[p.at] != b'<' {
        return Err(p.bad("no element"));
    }
    p.start_tag()?;
    while !p.open.is_empty() {
        p.content()?;
    }
    p.skip_white();
    if p.at != p.b.len() {
        return Err(p.bad("text after the element"));
    }
    Ok(p.index)
}

impl Parser<'_> {
    fn bad(&self, what: &'static str) -> XmlError {
        XmlError::NotWellFormed { at: self.at, what }
    }

    fn skip_white(&mut self) -> bool {
        let from = self.at;
        while matches!(self.b.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.at > from
    }

    /// A name without colon. Leaves `at` behind it.
    fn ncname(&mut self) -> Result<Span, XmlError> {
        let from = self.at;
        loop {
            let Some(&c) = self.b.get(self.at) else { return Err(self.bad("unfinished name")) };
            match NAME[c as usize] {
                2 => self.at += 1,
                1 if self.at > from => self.at += 1,
                3 => {
                    // `at` is on a character boundary: everything before it was a whole character.
                    let ch = self.raw[self.at..].chars().next().unwrap_or('\0');
                    if name_start_char(ch) || (self.at > from && name_char(ch)) {
                        self.at += ch.len_utf8();
                    } else {
                        break;
                    }
                }
                _ => break,
            }
        }
        if self.at == from { Err(self.bad("no name")) } else { Ok(Span::new(from, self.at)) }
    }

    /// `prefix:local` or `local`; the prefix is empty when there is none.
    fn qname(&mut self) -> Result<(Span, Span, Span), XmlError> {
        let from = self.at;
        let first = self.ncname()?;
        if self.b.get(self.at) == Some(&b':') {
            self.at += 1;
            let local = self.ncname()?;
            Ok((Span::new(from, self.at), first, local))
        } else {
            Ok((first, Span { at: first.at, len: 0 }, first))
        }
    }

    fn start_tag(&mut self) -> Result<(), XmlError> {
        let start = self.at;
        self.at += 1;
        match self.b.get(self.at) {
            Some(b'!' | b'?') => return Err(XmlError::Restricted { at: start, what: "comment, instruction or DTD" }),
            None => return Err(self.bad("unfinished tag")),
            _ => {}
        }
        if self.open.len() >= self.limits.depth {
            return Err(XmlError::Limit("depth"));
        }
        if self.index.nodes.len() >= self.limits.nodes {
            return Err(XmlError::Limit("nodes"));
        }
        let depth = self.open.len();
        let (qname, prefix, local) = self.qname()?;
        let first_attr = self.index.attrs.len();
        let empty = loop {
            let white = self.skip_white();
            match self.b.get(self.at) {
                None => return Err(self.bad("unfinished tag")),
                Some(b'>') => {
                    self.at += 1;
                    break false;
                }
                Some(b'/') => {
                    self.at += 1;
                    if self.b.get(self.at) != Some(&b'>') {
                        return Err(self.bad("'/' without '>'"));
                    }
                    self.at += 1;
                    break true;
                }
                Some(_) if !white => return Err(self.bad("no space before attribute")),
                Some(_) => self.attribute(depth)?,
            }
            if self.index.attrs.len() - first_attr > self.limits.attrs {
                return Err(XmlError::Limit("attributes"));
            }
        };
        self.check_attrs(first_attr)?;
        let ns = self.resolve(prefix)?;
        let node = self.index.nodes.len() as u32;
        let content = self.at as u32;
        self.index.nodes.push(Node {
            kind: NodeKind::Element,
            start: start as u32,
            name: local,
            ns,
            attrs: (first_attr as u32, (self.index.attrs.len() - first_attr) as u16),
            content,
            content_end: content,
            end: content,
            next: node + 1,
        });
        if empty {
            self.leave_scope(depth);
        } else {
            self.open.push((node, qname));
        }
        Ok(())
    }

    fn attribute(&mut self, depth: usize) -> Result<(), XmlError> {
        let (name, prefix, local) = self.qname()?;
        self.skip_white();
        if self.b.get(self.at) != Some(&b'=') {
            return Err(self.bad("no '=' after attribute name"));
        }
        self.at += 1;
        self.skip_white();
        let quote = match self.b.get(self.at) {
            Some(&q @ (b'"' | b'\'')) => q,
            _ => return Err(self.bad("attribute value without quotes")),
        };
        self.at += 1;
        let from = self.at;
        let mut escaped = false;
        loop {
            match self.b.get(self.at) {
                None => return Err(self.bad("unfinished attribute value")),
                Some(&c) if c == quote => break,
                Some(b'<') => return Err(self.bad("'<' in attribute value")),
                Some(b'&') => {
                    escaped = true;
                    self.reference()?;
                }
                Some(b'\t' | b'\n' | b'\r') => {
                    escaped = true;
                    self.at += 1;
                }
                Some(0..=0x1f) => return Err(self.bad("control character")),
                Some(0xef) => self.check_noncharacter()?,
                Some(_) => self.at += 1,
            }
        }
        let value = Span::new(from, self.at);
        self.at += 1;
        let p = prefix.of(self.raw);
        if p == "xmlns" || (p.is_empty() && name.of(self.raw) == "xmlns") {
            self.declare(depth, p, local, value)?;
        }
        self.index.attrs.push(Attr { name, value, escaped });
        Ok(())
    }

    fn declare(&mut self, depth: usize, prefix: &str, local: Span, value: Span) -> Result<(), XmlError> {
        let uri = value.of(self.raw);
        let name = if uri.is_empty() { NsRef::None } else { NsRef::At(value) };
        if uri == "http://www.w3.org/2000/xmlns/" {
            return Err(self.bad("reserved namespace"));
        }
        if prefix == "xmlns" {
            let declared = local.of(self.raw);
            if declared == "xmlns" || uri.is_empty() || ((declared == "xml") != (uri == ns::XML)) {
                return Err(self.bad("reserved or empty prefix declaration"));
            }
            self.scope.push((depth, local, name));
        } else {
            if uri == ns::XML {
                return Err(self.bad("reserved namespace"));
            }
            self.scope.push((depth, Span { at: local.at, len: 0 }, name));
        }
        Ok(())
    }

    /// Duplicates, by written name and by resolved name.
    fn check_attrs(&self, first: usize) -> Result<(), XmlError> {
        let attrs = &self.index.attrs[first..];
        for (i, a) in attrs.iter().enumerate() {
            let an = a.name.of(self.raw);
            let a_colon = memchr::memchr(b':', an.as_bytes());
            if let Some(c) = a_colon
                && &an[..c] != "xmlns"
            {
                self.lookup(&an[..c]).ok_or_else(|| self.bad("undeclared prefix"))?;
            }
            for b in &attrs[..i] {
                let bn = b.name.of(self.raw);
                if an == bn {
                    return Err(self.bad("duplicate attribute"));
                }
                if let (Some(x), Some(y)) = (a_colon, memchr::memchr(b':', bn.as_bytes()))
                    && an[x..] == bn[y..]
                    && &an[..x] != "xmlns"
                    && &bn[..y] != "xmlns"
                    && self.ns_text(self.lookup(&an[..x])) == self.ns_text(self.lookup(&bn[..y]))
                {
                    return Err(self.bad("duplicate attribute"));
                }
            }
        }
        Ok(())
    }

    fn ns_text(&self, ns: Option<NsRef>) -> Option<&str> {
        match ns? {
            NsRef::At(s) => Some(s.of(self.raw)),
            NsRef::Xml => Some(ns::XML),
            _ => None,
        }
    }

    fn lookup(&self, prefix: &str) -> Option<NsRef> {
        if let Some((_, _, ns)) = self.scope.iter().rev().find(|(_, p, _)| p.of(self.raw) == prefix) {
            return Some(*ns);
        }
        match prefix {
            "" => Some(NsRef::Default),
            "xml" => Some(NsRef::Xml),
            _ => None,
        }
    }

    fn resolve(&self, prefix: Span) -> Result<NsRef, XmlError> {
        let p = prefix.of(self.raw);
        if p == "xmlns" {
            return Err(self.bad("reserved prefix"));
        }
        self.lookup(p).ok_or_else(|| self.bad("undeclared prefix"))
    }

    fn leave_scope(&mut self, depth: usize) {
        while self.scope.last().is_some_and(|(d, _, _)| *d >= depth) {
            self.scope.pop();
        }
    }

    /// Text up to the next tag, then the tag.
    fn content(&mut self) -> Result<(), XmlError> {
        let from = self.at;
        loop {
            match self.b.get(self.at) {
                None => return Err(self.bad("unfinished element")),
                Some(b'<') => break,
                Some(b'&') => self.reference()?,
                Some(b']') if self.b[self.at..].starts_with(b"]]>") => return Err(self.bad("']]>' in text")),
                Some(b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(0..=0x1f) => return Err(self.bad("control character")),
                Some(0xef) => self.check_noncharacter()?,
                Some(_) => self.at += 1,
            }
        }
        if self.at > from {
            self.push_text(NodeKind::Text, from, from, self.at, self.at)?;
        }
        match self.b.get(self.at + 1) {
            Some(b'/') => self.end_tag(),
            Some(b'!') if self.b[self.at..].starts_with(b"<![CDATA[") => self.cdata(),
            _ => self.start_tag(),
        }
    }

    fn push_text(&mut self, kind: NodeKind, start: usize, from: usize, to: usize, end: usize) -> Result<(), XmlError> {
        if self.index.nodes.len() >= self.limits.nodes {
            return Err(XmlError::Limit("nodes"));
        }
        let next = self.index.nodes.len() as u32 + 1;
        self.index.nodes.push(Node {
            kind,
            start: start as u32,
            name: Span::new(from, to),
            ns: NsRef::None,
            attrs: (0, 0),
            content: from as u32,
            content_end: to as u32,
            end: end as u32,
            next,
        });
        Ok(())
    }

    fn cdata(&mut self) -> Result<(), XmlError> {
        let start = self.at;
        self.at += 9;
        let from = self.at;
        loop {
            match self.b.get(self.at) {
                None => return Err(self.bad("unfinished CDATA")),
                Some(b']') if self.b[self.at..].starts_with(b"]]>") => break,
                Some(b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(0..=0x1f) => return Err(self.bad("control character")),
                Some(0xef) => self.check_noncharacter()?,
                Some(_) => self.at += 1,
            }
        }
        let to = self.at;
        self.at += 3;
        self.push_text(NodeKind::CData, start, from, to, self.at)
    }

    fn end_tag(&mut self) -> Result<(), XmlError> {
        let close = self.at;
        self.at += 2;
        let (name, _, _) = self.qname()?;
        self.skip_white();
        if self.b.get(self.at) != Some(&b'>') {
            return Err(self.bad("unfinished end tag"));
        }
        let Some((node, open)) = self.open.pop() else { return Err(self.bad("end tag without start tag")) };
        if open.of(self.raw) != name.of(self.raw) {
            return Err(self.bad("end tag of another element"));
        }
        self.at += 1;
        let next = self.index.nodes.len() as u32;
        let n = &mut self.index.nodes[node as usize];
        n.content_end = close as u32;
        n.end = self.at as u32;
        n.next = next;
        self.leave_scope(self.open.len());
        Ok(())
    }

    /// U+FFFE and U+FFFF (EF BF BE, EF BF BF) are not characters of XML.
    fn check_noncharacter(&mut self) -> Result<(), XmlError> {
        if matches!(self.b[self.at..], [0xef, 0xbf, 0xbe | 0xbf, ..]) {
            return Err(self.bad("not a character"));
        }
        self.at += 1;
        Ok(())
    }

    /// One of the five entities or a character reference.
    fn reference(&mut self) -> Result<(), XmlError> {
        match decode_reference(&self.b[self.at..]) {
            Some((_, len)) => {
                self.at += len;
                Ok(())
            }
            None if self.b.get(self.at + 1) == Some(&b'#') => Err(self.bad("bad character reference")),
            None => Err(XmlError::Restricted { at: self.at, what: "entity" }),
        }
    }
}

/// Decodes the reference at the start of `b`: the character and the length of the reference.
pub(crate) fn decode_reference(b: &[u8]) -> Option<(char, usize)> {
    let end = b.iter().take(12).position(|&c| c == b';')?;
    let c = match &b[1..end] {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        [b'#', b'x', hex @ ..] => number(hex, 16)?,
        [b'#', dec @ ..] => number(dec, 10)?,
        _ => return None,
    };
    Some((c, end + 1))
}

fn number(digits: &[u8], radix: u32) -> Option<char> {
    if digits.is_empty() {
        return None;
    }
    let mut n = 0u32;
    for &d in digits {
        n = n.checked_mul(radix)?.checked_add((d as char).to_digit(radix)?)?;
    }
    if legal_char(n) { char::from_u32(n) } else { None }
}
