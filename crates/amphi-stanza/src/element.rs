//! Reading a parsed element.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use crate::parse::{self, Attr, Index, Limits, Node, NodeKind, NsRef, XmlError};
use crate::{BadJid, Jid, Rewrite, ns};

/// One complete top-level element: the bytes as received and an index of spans over them.
///
/// Cloning shares both.
#[derive(Clone)]
pub struct Stanza {
    raw: ByteString,
    index: Arc<Index>,
}

/// What kind of top-level element this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StanzaKind {
    /// `<message/>`
    Message,
    /// `<presence/>`
    Presence,
    /// `<iq/>`
    Iq,
    /// Stream-level elements: everything that is not a stanza.
    Other,
}

impl Stanza {
    /// Parses one element with nothing but white space around it. An element without `xmlns` is in `jabber:client`.
    ///
    /// # Errors
    /// Whatever is not the restricted XML of RFC 6120 §11, or exceeds a limit.
    pub fn parse(raw: Bytes, limits: &Limits) -> Result<Self, XmlError> {
        let raw = ByteString::try_from(raw).map_err(|_| XmlError::Utf8)?;
        let index = parse::parse(&raw, limits)?;
        Ok(Self { raw, index: Arc::new(index) })
    }

    /// Parses bytes that this program wrote itself, without limits.
    ///
    /// # Panics
    /// If they are not well-formed: the writer is broken then.
    pub fn authored(raw: Bytes) -> Self {
        let limits = Limits { bytes: usize::MAX >> 1, depth: 1024, attrs: 1024, nodes: usize::MAX >> 1 };
        match Self::parse(raw.clone(), &limits) {
            Ok(s) => s,
            Err(e) => panic!("authored XML is well-formed: {e}: {}", String::from_utf8_lossy(&raw)),
        }
    }

    /// The bytes as received.
    pub fn raw(&self) -> &Bytes {
        self.raw.as_bytes()
    }

    pub(crate) fn text(&self) -> &str {
        &self.raw
    }

    /// The top-level element.
    pub fn root(&self) -> Element<'_> {
        Element { raw: self.text(), index: &self.index, at: 0 }
    }

    /// Message, presence, IQ, or something else.
    pub fn kind(&self) -> StanzaKind {
        let root = self.root();
        if !matches!(root.ns(), ns::CLIENT | ns::SERVER) {
            return StanzaKind::Other;
        }
        match root.name() {
            "message" => StanzaKind::Message,
            "presence" => StanzaKind::Presence,
            "iq" => StanzaKind::Iq,
            _ => StanzaKind::Other,
        }
    }

    /// Attribute of the top-level element.
    pub fn attr(&self, name: &str) -> Option<Cow<'_, str>> {
        self.root().attr(name)
    }

    /// The `type` attribute.
    pub fn ty(&self) -> Option<Cow<'_, str>> {
        self.attr("type")
    }

    /// The `id` attribute.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.attr("id")
    }

    /// The `to` attribute as an address; `None` when absent.
    ///
    /// # Errors
    /// If it is not a JID.
    pub fn to(&self) -> Result<Option<Jid>, BadJid> {
        self.attr("to").map(|v| Jid::parse(&v)).transpose()
    }

    /// The `from` attribute as an address; `None` when absent.
    ///
    /// # Errors
    /// If it is not a JID.
    pub fn from(&self) -> Result<Option<Jid>, BadJid> {
        self.attr("from").map(|v| Jid::parse(&v)).transpose()
    }

    /// Child elements of the top-level element.
    pub fn children(&self) -> Children<'_> {
        self.root().children()
    }

    /// First child element with this name and namespace.
    pub fn child(&self, name: &str, ns: &str) -> Option<Element<'_>> {
        self.root().child(name, ns)
    }

    /// The bytes between start and end tag, shared.
    pub fn content(&self) -> Bytes {
        let n = &self.index.nodes[0];
        self.raw.as_bytes().slice(n.content as usize..n.content_end as usize)
    }

    /// Starts a copy with another start tag and other children.
    pub fn rewrite(&self) -> Rewrite<'_> {
        Rewrite::new(self)
    }
}

impl std::fmt::Debug for Stanza {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::fmt::Display for Stanza {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

/// A view of one element.
#[derive(Clone, Copy)]
pub struct Element<'a> {
    raw: &'a str,
    index: &'a Index,
    at: u32,
}

/// A child of an element.
#[derive(Clone, Copy)]
pub enum Child<'a> {
    /// An element.
    Element(Element<'a>),
    /// Character data as written, still escaped.
    Text(&'a str),
}

impl<'a> Element<'a> {
    fn node(&self) -> &'a Node {
        &self.index.nodes[self.at as usize]
    }

    /// Local name.
    pub fn name(&self) -> &'a str {
        self.node().name.of(self.raw)
    }

    /// Namespace; the stream's default counts as `jabber:client`.
    pub fn ns(&self) -> &'a str {
        match self.node().ns {
            NsRef::Default => ns::CLIENT,
            NsRef::Xml => ns::XML,
            NsRef::None => "",
            NsRef::At(s) => s.of(self.raw),
        }
    }

    /// Whether this is `name` in `ns`.
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.name() == name && self.ns() == ns
    }

    /// Value of the attribute written as `name` (prefix included), unescaped.
    pub fn attr(&self, name: &str) -> Option<Cow<'a, str>> {
        self.attr_entries().iter().find(|a| a.name.of(self.raw) == name).map(|a| value(self.raw, a))
    }

    fn attr_entries(&self) -> &'a [Attr] {
        let (first, n) = self.node().attrs;
        &self.index.attrs[first as usize..first as usize + n as usize]
    }

    /// All attributes in order, `xmlns` declarations included.
    pub fn attrs(&self) -> Attrs<'a> {
        Attrs { raw: self.raw, entries: self.attr_entries().iter() }
    }

    pub(crate) fn raw_attrs(&self) -> impl Iterator<Item = (&'a str, std::ops::Range<usize>)> + use<'a> {
        let raw = self.raw;
        self.attr_entries().iter().map(move |a| (a.name.of(raw), a.value.range()))
    }

    /// Child elements in order.
    pub fn children(&self) -> Children<'a> {
        Children { raw: self.raw, index: self.index, at: self.at + 1, end: self.node().next }
    }

    /// Elements and texts in order.
    pub fn nodes(&self) -> impl Iterator<Item = Child<'a>> + use<'a> {
        let (raw, index, end) = (self.raw, self.index, self.node().next);
        let mut at = self.at + 1;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let n = &index.nodes[at as usize];
            let here = at;
            at = n.next;
            Some(match n.kind {
                NodeKind::Element => Child::Element(Element { raw, index, at: here }),
                _ => Child::Text(n.name.of(raw)),
            })
        })
    }

    /// First child element with this name and namespace.
    pub fn child(&self, name: &str, ns: &str) -> Option<Self> {
        self.children().find(|c| c.is(name, ns))
    }

    /// First child element with this name, whatever its namespace.
    pub fn child_named(&self, name: &str) -> Option<Self> {
        self.children().find(|c| c.name() == name)
    }

    /// The character data directly in this element, unescaped.
    pub fn text(&self) -> Cow<'a, str> {
        let end = self.node().next;
        let mut at = self.at + 1;
        let mut out: Option<Cow<'a, str>> = None;
        while at < end {
            let n = &self.index.nodes[at as usize];
            let piece = match n.kind {
                NodeKind::Element => None,
                NodeKind::Text => Some(unescape_text(n.name.of(self.raw))),
                NodeKind::CData => Some(normalise_lines(n.name.of(self.raw))),
            };
            if let Some(p) = piece {
                match &mut out {
                    None => out = Some(p),
                    Some(o) => o.to_mut().push_str(&p),
                }
            }
            at = n.next;
        }
        out.unwrap_or_default()
    }

    /// The element as written, tags included. Self-contained only if it uses no prefix declared further out.
    pub fn outer(&self) -> &'a str {
        &self.raw[self.outer_range()]
    }

    pub(crate) fn outer_range(&self) -> std::ops::Range<usize> {
        let n = self.node();
        n.start as usize..n.end as usize
    }

    /// What stands between start and end tag, as written.
    pub fn inner(&self) -> &'a str {
        &self.raw[self.inner_range()]
    }

    pub(crate) fn inner_range(&self) -> std::ops::Range<usize> {
        let n = self.node();
        n.content as usize..n.content_end as usize
    }
}

impl std::fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.outer())
    }
}

/// Iterator over child elements.
#[derive(Clone)]
pub struct Children<'a> {
    raw: &'a str,
    index: &'a Index,
    at: u32,
    end: u32,
}

impl<'a> Iterator for Children<'a> {
    type Item = Element<'a>;
    fn next(&mut self) -> Option<Element<'a>> {
        while self.at < self.end {
            let n = &self.index.nodes[self.at as usize];
            let here = self.at;
            self.at = n.next;
            if matches!(n.kind, NodeKind::Element) {
                return Some(Element { raw: self.raw, index: self.index, at: here });
            }
        }
        None
    }
}

/// Iterator over attributes: name as written, value unescaped.
pub struct Attrs<'a> {
    raw: &'a str,
    entries: std::slice::Iter<'a, Attr>,
}

impl<'a> Iterator for Attrs<'a> {
    type Item = (&'a str, Cow<'a, str>);
    fn next(&mut self) -> Option<Self::Item> {
        self.entries.next().map(|a| (a.name.of(self.raw), value(self.raw, a)))
    }
}

fn value<'a>(raw: &'a str, a: &Attr) -> Cow<'a, str> {
    let v = a.value.of(raw);
    if !a.escaped {
        return Cow::Borrowed(v);
    }
    // XML 1.0 §3.3.3: literal white space becomes a space, after §2.11 made one line feed of CR LF.
    let mut out = String::with_capacity(v.len());
    let mut rest = v;
    while let Some(i) = memchr::memchr3(b'&', b'\r', b'\n', rest.as_bytes())
        .into_iter()
        .chain(memchr::memchr(b'\t', rest.as_bytes()))
        .min()
    {
        out.push_str(&rest[..i]);
        let b = &rest.as_bytes()[i..];
        let used = match b[0] {
            b'&' => match parse::decode_reference(b) {
                Some((c, n)) => {
                    out.push(c);
                    n
                }
                None => 1,
            },
            b'\r' if b.get(1) == Some(&b'\n') => {
                out.push(' ');
                2
            }
            _ => {
                out.push(' ');
                1
            }
        };
        rest = &rest[i + used..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn unescape_text(v: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'&', b'\r', v.as_bytes()).is_none() {
        return Cow::Borrowed(v);
    }
    let mut out = String::with_capacity(v.len());
    let mut rest = v;
    while let Some(i) = memchr::memchr2(b'&', b'\r', rest.as_bytes()) {
        out.push_str(&rest[..i]);
        let b = &rest.as_bytes()[i..];
        let used = if b[0] == b'&' {
            match parse::decode_reference(b) {
                Some((c, n)) => {
                    out.push(c);
                    n
                }
                None => 1,
            }
        } else {
            out.push('\n');
            if b.get(1) == Some(&b'\n') { 2 } else { 1 }
        };
        rest = &rest[i + used..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn normalise_lines(v: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\r', v.as_bytes()).is_none() {
        return Cow::Borrowed(v);
    }
    Cow::Owned(v.replace("\r\n", "\n").replace('\r', "\n"))
}
