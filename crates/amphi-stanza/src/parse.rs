//! The strict parser: one pass over the bytes, two arrays of positions.
//!
//! It accepts the XML that RFC 6120 §11 allows in a stream: elements, attributes, text, CDATA, the five predefined
//! entities and character references. Comments, processing instructions, document types and custom entities are
//! errors, as are control characters, undeclared prefixes and duplicate attributes.

use std::cell::RefCell;

use crate::chars::{self, decode_reference, ncname_end};
use crate::index::{Attr, Index, Node, NodeKind, NsRef, attr_ns};
use crate::limits::{Limits, XmlError};
use crate::ns;

const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// What an element may lean on: declarations of the stream header.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outer<'a> {
    /// There is a default namespace that the element must carry itself.
    pub(crate) default: bool,
    pub(crate) prefixes: &'a [(Box<str>, Box<str>)],
}

/// What came of it.
pub(crate) enum Parsed {
    Whole(Index),
    /// The start tag ends its name at `name_end` and lacks the default namespace. Nothing behind it was looked at.
    WantsDefault {
        name_end: usize,
    },
    /// Well-formed, if these prefixes of the header are added at `name_end`.
    WantsPrefixes {
        name_end: usize,
        prefixes: Vec<usize>,
    },
}

struct Open {
    node: u32,
    /// Default namespace outside of the element.
    default: NsRef,
    /// Prefix declarations in scope outside of it.
    scope: u32,
}

struct Binding {
    prefix_at: u32,
    prefix_len: u32,
    ns: NsRef,
}

/// Buffers kept between calls, so that a parse allocates only what it returns.
#[derive(Default)]
struct Scratch {
    nodes: Vec<Node>,
    attrs: Vec<Attr>,
    open: Vec<Open>,
    /// Prefix declarations in scope, innermost last.
    scope: Vec<Binding>,
    /// Prefixed attributes of the tag at hand: resolved namespace, attribute.
    qualified: Vec<(NsRef, u32)>,
}

/// Buffers larger than this many entries are not kept.
const KEEP: usize = 4096;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

struct Parser<'a> {
    raw: &'a str,
    b: &'a [u8],
    at: usize,
    limits: &'a Limits,
    s: &'a mut Scratch,
    /// Default namespace in scope.
    default: NsRef,
    decoded: Vec<(u32, Box<str>)>,
    outer: Outer<'a>,
    wanted: Vec<usize>,
}

/// Parses exactly one element with nothing but white space around it.
pub(crate) fn parse(raw: &str, limits: &Limits) -> Result<Index, XmlError> {
    match parse_within(raw, limits, Outer::default())? {
        Parsed::Whole(index) => Ok(index),
        _ => Err(XmlError::NotWellFormed { at: 0, what: "undeclared prefix" }),
    }
}

/// Start tag and extent of an element that is known to be well-formed; `None` if it does not look like one.
pub(crate) fn head(raw: &str, limits: &Limits) -> Option<Index> {
    if raw.len() > u32::MAX as usize || !raw.starts_with('<') || !raw.ends_with('>') {
        return None;
    }
    SCRATCH.with_borrow_mut(|s| {
        let mut p = Parser::new(raw, limits, Outer::default(), s);
        p.start_tag().ok()?;
        let mut root = p.s.nodes[0];
        if p.s.open.is_empty() {
            // An empty element: there is nothing more.
            return (p.at == raw.len()).then(|| p.index());
        }
        root.content_end = raw.rfind("</").filter(|at| *at >= root.content as usize)? as u32;
        root.end = raw.len() as u32;
        p.s.nodes[0] = root;
        Some(p.index())
    })
}

/// The same for an element of a stream.
pub(crate) fn parse_within(raw: &str, limits: &Limits, outer: Outer<'_>) -> Result<Parsed, XmlError> {
    if raw.len() > limits.bytes.min(u32::MAX as usize) {
        return Err(XmlError::Limit("bytes"));
    }
    SCRATCH.with_borrow_mut(|s| {
        let mut p = Parser::new(raw, limits, outer, s);
        let parsed = p.document();
        if s.nodes.capacity().max(s.attrs.capacity()) > KEEP {
            *s = Scratch::default();
        }
        parsed
    })
}

impl<'a> Parser<'a> {
    fn new(raw: &'a str, limits: &'a Limits, outer: Outer<'a>, s: &'a mut Scratch) -> Self {
        s.nodes.clear();
        s.attrs.clear();
        s.open.clear();
        s.scope.clear();
        Parser {
            raw,
            b: raw.as_bytes(),
            at: 0,
            limits,
            s,
            default: NsRef::DEFAULT,
            decoded: Vec::new(),
            outer,
            wanted: Vec::new(),
        }
    }

    fn index(&mut self) -> Index {
        Index {
            nodes: self.s.nodes.as_slice().into(),
            attrs: self.s.attrs.as_slice().into(),
            decoded: std::mem::take(&mut self.decoded),
        }
    }

    #[cold]
    fn bad(&self, what: &'static str) -> XmlError {
        XmlError::NotWellFormed { at: self.at, what }
    }

    fn document(&mut self) -> Result<Parsed, XmlError> {
        self.skip_white();
        if self.b.get(self.at) != Some(&b'<') {
            return Err(self.bad("no element"));
        }
        self.start_tag()?;
        let root = self.s.nodes[0];
        let name_end = root.name_end();
        let own_default = || self.s.attrs[root.attrs()].iter().any(|a| a.name(self.raw) == "xmlns");
        if self.outer.default && !own_default() {
            return Ok(Parsed::WantsDefault { name_end });
        }
        while !self.s.open.is_empty() {
            self.content()?;
        }
        self.skip_white();
        if self.at != self.b.len() {
            return Err(self.bad("text after the element"));
        }
        if !self.wanted.is_empty() {
            return Ok(Parsed::WantsPrefixes { name_end, prefixes: std::mem::take(&mut self.wanted) });
        }
        Ok(Parsed::Whole(self.index()))
    }

    #[inline]
    fn skip_white(&mut self) -> bool {
        let from = self.at;
        while matches!(self.b.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.at > from
    }

    /// Reads `prefix:local` or `local`. Gives the lengths of the prefix with its colon, and of the whole.
    #[inline]
    fn qname(&mut self) -> Result<(usize, usize), XmlError> {
        let from = self.at;
        let mut prefix = 0;
        let mut end = ncname_end(self.raw, from);
        if end == from {
            return Err(self.bad("no name"));
        }
        if self.b.get(end) == Some(&b':') {
            let local = end + 1;
            prefix = local - from;
            end = ncname_end(self.raw, local);
            if end == local {
                return Err(self.bad("no name"));
            }
        }
        if end - from > u16::MAX as usize || prefix > u8::MAX as usize {
            return Err(XmlError::Limit("name"));
        }
        self.at = end;
        Ok((prefix, end - from))
    }

    fn start_tag(&mut self) -> Result<(), XmlError> {
        let start = self.at;
        self.at += 1;
        match self.b.get(self.at) {
            Some(b'!' | b'?') => return Err(XmlError::Restricted { at: start, what: "comment, instruction or DTD" }),
            None => return Err(self.bad("unfinished tag")),
            _ => {}
        }
        if self.s.open.len() >= self.limits.depth {
            return Err(XmlError::Limit("depth"));
        }
        if self.s.nodes.len() >= self.limits.nodes {
            return Err(XmlError::Limit("nodes"));
        }
        let outside = Open { node: self.s.nodes.len() as u32, default: self.default, scope: self.s.scope.len() as u32 };
        let (prefix, name) = self.qname()?;
        let first_attr = self.s.attrs.len();
        let mut qualified = false;
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
                Some(_) => {
                    if self.s.attrs.len() - first_attr >= self.limits.attrs.min(u16::MAX as usize) {
                        return Err(XmlError::Limit("attributes"));
                    }
                    qualified |= self.attribute(first_attr)?;
                }
            }
        };
        if qualified {
            self.check_qualified(first_attr)?;
        }
        let ns = match prefix {
            0 => self.default,
            n => self.resolve(&self.raw[start + 1..start + n])?,
        };
        let content = self.at as u32;
        let parent = self.parent();
        self.s.nodes.push(Node {
            start: start as u32,
            content,
            content_end: content,
            end: content,
            next: outside.node + 1,
            parent,
            first_attr: first_attr as u32,
            ns,
            attrs: (self.s.attrs.len() - first_attr) as u16,
            prefix: prefix as u16,
            name: (name - prefix) as u16,
            kind: NodeKind::Element,
        });
        if empty {
            self.leave(&outside);
        } else {
            self.s.open.push(outside);
        }
        Ok(())
    }

    fn parent(&self) -> u32 {
        self.s.open.last().map_or(0, |o| o.node)
    }

    /// Restores what was in scope outside of an element.
    #[inline]
    fn leave(&mut self, outside: &Open) {
        self.default = outside.default;
        self.s.scope.truncate(outside.scope as usize);
    }

    /// Reads one attribute; true if its prefix has to be resolved when all declarations of the tag are known.
    #[inline]
    fn attribute(&mut self, first: usize) -> Result<bool, XmlError> {
        let name_at = self.at;
        let (prefix, name_len) = self.qname()?;
        let name = &self.raw[name_at..self.at];
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
            self.at = chars::skip_value(self.b, self.at);
            match self.b.get(self.at) {
                None => return Err(self.bad("unfinished attribute value")),
                Some(&c) if c == quote => break,
                Some(b'"' | b'\'') => self.at += 1,
                Some(b'<') => return Err(self.bad("'<' in attribute value")),
                Some(b'&') => {
                    escaped = true;
                    self.reference()?;
                }
                Some(b'\t' | b'\n' | b'\r') => {
                    escaped = true;
                    self.at += 1;
                }
                Some(0xef) => self.check_noncharacter()?,
                Some(_) => return Err(self.bad("control character")),
            }
        }
        let value_len = (self.at - from) as u32;
        self.at += 1;
        if self.s.attrs[first..].iter().any(|a| a.name(self.raw) == name) {
            return Err(self.bad("duplicate attribute"));
        }
        let declares = if prefix == 0 { name == "xmlns" } else { prefix == 6 && name.starts_with("xmlns:") };
        self.s.attrs.push(Attr {
            name_at: name_at as u32,
            value_at: from as u32,
            value_len,
            name_len: name_len as u16,
            prefix: prefix as u8,
            escaped,
        });
        if declares {
            self.declare(name_at + prefix, name_at + name_len)?;
        }
        Ok(prefix > 0 && !declares)
    }

    /// Takes the attribute just read as a declaration of the prefix at this place, or of the default namespace.
    fn declare(&mut self, prefix_at: usize, prefix_end: usize) -> Result<(), XmlError> {
        let i = self.s.attrs.len() - 1;
        let a = self.s.attrs[i];
        if a.escaped {
            self.decoded.push((i as u32, chars::decode_value(a.value(self.raw)).into()));
        }
        let uri = attr_ns(self.raw, &self.s.attrs, &self.decoded, i);
        if uri == XMLNS {
            return Err(self.bad("reserved namespace"));
        }
        if a.prefix == 0 {
            if uri == ns::XML {
                return Err(self.bad("reserved namespace"));
            }
            self.default = if uri.is_empty() { NsRef::NONE } else { NsRef::of_attr(i) };
            return Ok(());
        }
        let prefix = &self.raw[prefix_at..prefix_end];
        if prefix == "xmlns" || uri.is_empty() || ((prefix == "xml") != (uri == ns::XML)) {
            return Err(self.bad("reserved or empty prefix declaration"));
        }
        if prefix != "xml" {
            if self.s.scope.len() >= self.limits.attrs {
                return Err(XmlError::Limit("prefixes"));
            }
            self.s.scope.push(Binding {
                prefix_at: prefix_at as u32,
                prefix_len: prefix.len() as u32,
                ns: NsRef::of_attr(i),
            });
        }
        Ok(())
    }

    /// Resolves prefixes of attributes. Two with one local name must differ in namespace, not only in prefix.
    fn check_qualified(&mut self, first: usize) -> Result<(), XmlError> {
        self.s.qualified.clear();
        for i in first..self.s.attrs.len() {
            let a = self.s.attrs[i];
            let Some(prefix) = a.prefix(self.raw) else { continue };
            if prefix == "xmlns" {
                continue;
            }
            let ns = self.resolve(prefix)?;
            // A prefix of the header is looked at again when its declaration is in place.
            if ns == NsRef::DEFAULT {
                continue;
            }
            let local = |a: &Attr| &a.name(self.raw)[a.prefix as usize..];
            for &(other, j) in &self.s.qualified {
                if local(&self.s.attrs[j as usize]) == local(&a) && self.uri(other) == self.uri(ns) {
                    return Err(self.bad("duplicate attribute"));
                }
            }
            self.s.qualified.push((ns, i as u32));
        }
        Ok(())
    }

    fn uri(&self, ns: NsRef) -> &str {
        ns.attr().map_or(ns::XML, |i| attr_ns(self.raw, &self.s.attrs, &self.decoded, i))
    }

    fn resolve(&mut self, prefix: &str) -> Result<NsRef, XmlError> {
        let same = |b: &&Binding| &self.raw[b.prefix_at as usize..(b.prefix_at + b.prefix_len) as usize] == prefix;
        if let Some(b) = self.s.scope.iter().rev().find(same) {
            return Ok(b.ns);
        }
        if prefix == "xml" {
            return Ok(NsRef::XML);
        }
        if let Some(i) = self.outer.prefixes.iter().position(|(p, _)| **p == *prefix) {
            if !self.wanted.contains(&i) {
                self.wanted.push(i);
            }
            return Ok(NsRef::DEFAULT);
        }
        Err(self.bad("undeclared prefix"))
    }

    /// Text up to the next tag, then the tag.
    fn content(&mut self) -> Result<(), XmlError> {
        let from = self.at;
        loop {
            self.at = chars::skip_text(self.b, self.at);
            match self.b.get(self.at) {
                None => return Err(self.bad("unfinished element")),
                Some(b'<') => break,
                Some(b'&') => self.reference()?,
                Some(b']') if self.b[self.at..].starts_with(b"]]>") => return Err(self.bad("']]>' in text")),
                Some(b']' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(0xef) => self.check_noncharacter()?,
                Some(_) => return Err(self.bad("control character")),
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
        if self.s.nodes.len() >= self.limits.nodes {
            return Err(XmlError::Limit("nodes"));
        }
        let next = self.s.nodes.len() as u32 + 1;
        let parent = self.parent();
        self.s.nodes.push(Node {
            start: start as u32,
            content: from as u32,
            content_end: to as u32,
            end: end as u32,
            next,
            parent,
            first_attr: 0,
            ns: NsRef::NONE,
            attrs: 0,
            prefix: 0,
            name: 0,
            kind,
        });
        Ok(())
    }

    fn cdata(&mut self) -> Result<(), XmlError> {
        let start = self.at;
        self.at += 9;
        let from = self.at;
        loop {
            self.at = chars::skip_text(self.b, self.at);
            match self.b.get(self.at) {
                None => return Err(self.bad("unfinished CDATA section")),
                Some(b']') if self.b[self.at..].starts_with(b"]]>") => break,
                Some(b']' | b'<' | b'&' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(0xef) => self.check_noncharacter()?,
                Some(_) => return Err(self.bad("control character")),
            }
        }
        let to = self.at;
        self.at += 3;
        self.push_text(NodeKind::CData, start, from, to, self.at)
    }

    fn end_tag(&mut self) -> Result<(), XmlError> {
        let close = self.at;
        let Some(open) = self.s.open.pop() else { return Err(self.bad("end tag without start tag")) };
        let next = self.s.nodes.len() as u32;
        let n = &mut self.s.nodes[open.node as usize];
        let name = &self.b[n.start as usize + 1..n.name_end()];
        self.at += 2;
        if !self.b[self.at..].starts_with(name) {
            return Err(self.bad("end tag of another element"));
        }
        self.at += name.len();
        while matches!(self.b.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        if self.b.get(self.at) != Some(&b'>') {
            return Err(self.bad("end tag of another element"));
        }
        self.at += 1;
        n.content_end = close as u32;
        n.end = self.at as u32;
        n.next = next;
        self.leave(&open);
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
