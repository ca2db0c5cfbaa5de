//! Reading a parsed element.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use bytestring::ByteString;

use crate::chars::{decode_cdata, decode_text, decode_value};
use crate::index::{Attr, Index, Node, NodeKind, NsRef};
use crate::limits::{Limits, XmlError};
use crate::{BadJid, Jid, Rewrite, escape_into, ns, parse};

/// One complete top-level element: the bytes as received and an index of spans over them.
///
/// Cloning shares both. Of what this program wrote itself only the start tag is indexed, until somebody looks further: most of that is
/// passed on by its address.
#[derive(Clone)]
pub struct Stanza {
    raw: ByteString,
    index: Arc<Tree>,
}

struct Tree {
    /// Start tag and extent of the content, while there is no more.
    head: Option<Index>,
    whole: OnceLock<Index>,
}

impl Tree {
    fn whole(index: Index) -> Arc<Self> {
        Arc::new(Self { head: None, whole: OnceLock::from(index) })
    }
}

/// What this program wrote itself has no limits.
const AUTHORED: Limits = Limits { bytes: usize::MAX >> 1, depth: 1024, attrs: 1024, nodes: usize::MAX >> 1 };

fn index_authored(raw: &str) -> Index {
    match parse::parse(raw, &AUTHORED) {
        Ok(index) => index,
        Err(e) => panic!("authored XML is well-formed: {e}: {raw}"),
    }
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
        Ok(Self { raw, index: Tree::whole(index) })
    }

    /// Takes bytes that this program wrote itself, without limits. What is behind the start tag is parsed when it is looked at; with debug
    /// assertions at once, so that tests find a broken writer where it writes.
    ///
    /// # Panics
    /// If they are not well-formed, now or when they are looked at: the writer is broken then.
    pub fn authored(raw: Bytes) -> Self {
        let raw = match ByteString::try_from(raw) {
            Ok(raw) => raw,
            Err(e) => panic!("authored XML is UTF-8: {e}"),
        };
        if cfg!(debug_assertions) {
            let index = Tree::whole(index_authored(&raw));
            return Self { raw, index };
        }
        Self::deferred(raw)
    }

    fn deferred(raw: ByteString) -> Self {
        let index = match parse::head(&raw, &AUTHORED) {
            Some(head) => Arc::new(Tree { head: Some(head), whole: OnceLock::new() }),
            None => Tree::whole(index_authored(&raw)),
        };
        Self { raw, index }
    }

    fn index(&self) -> &Index {
        self.index.whole.get_or_init(|| index_authored(self.text()))
    }

    /// The top-level element, of which only name, attributes and extent may be asked for: not what is in it.
    pub(crate) fn start(&self) -> Element<'_> {
        let index = self.index.head.as_ref().unwrap_or_else(|| self.index());
        Element { raw: self.text(), index, at: 0 }
    }

    /// The bytes as received.
    pub fn raw(&self) -> &Bytes {
        self.raw.as_bytes()
    }

    pub(crate) fn text(&self) -> &str {
        &self.raw
    }

    /// Text together with its index.
    pub(crate) fn indexed(raw: String, index: Index) -> Self {
        Self { raw: raw.into(), index: Tree::whole(index) }
    }

    /// The top-level element.
    pub fn root(&self) -> Element<'_> {
        Element { raw: self.text(), index: self.index(), at: 0 }
    }

    /// Message, presence, IQ, or something else.
    pub fn kind(&self) -> StanzaKind {
        let root = self.start();
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
        self.start().attr(name)
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
        self.raw.as_bytes().slice(self.start().inner_range())
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
    /// Character data as written, still escaped; of a CDATA section what is between the brackets.
    Text(&'a str),
}

impl<'a> Element<'a> {
    fn node(&self) -> &'a Node {
        &self.index.nodes[self.at as usize]
    }

    /// Local name.
    pub fn name(&self) -> &'a str {
        self.node().name(self.raw)
    }

    /// Namespace; the stream's default counts as `jabber:client`.
    pub fn ns(&self) -> &'a str {
        self.index.ns(self.raw, self.node().ns)
    }

    /// Whether this is `name` in `ns`.
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.name() == name && self.ns() == ns
    }

    /// Value of the attribute written as `name` (prefix included), unescaped.
    pub fn attr(&self, name: &str) -> Option<Cow<'a, str>> {
        self.attr_entries().iter().find(|a| a.name(self.raw) == name).map(|a| value(self.raw, a))
    }

    fn attr_entries(&self) -> &'a [Attr] {
        &self.index.attrs[self.node().attrs()]
    }

    /// All attributes in order, `xmlns` declarations included.
    pub fn attrs(&self) -> Attrs<'a> {
        Attrs { raw: self.raw, entries: self.attr_entries().iter() }
    }

    /// Names and values as written.
    pub(crate) fn raw_attrs(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let raw = self.raw;
        self.attr_entries().iter().map(move |a| (a.name(raw), a.value(raw)))
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
                _ => Child::Text(n.content(raw)),
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
                NodeKind::Text => Some(decode_text(n.content(self.raw))),
                NodeKind::CData => Some(decode_cdata(n.content(self.raw))),
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

    /// The element with the declarations of further out that it relies on, so that it means the same elsewhere in a
    /// stream. The default namespaces of stanzas are not added: there an element follows the stanza that it is put into.
    pub fn standalone(&self) -> Cow<'a, str> {
        let mut add = String::new();
        self.missing_declarations(&mut add);
        if add.is_empty() {
            return Cow::Borrowed(self.outer());
        }
        let (n, at) = (self.node(), self.node().name_end());
        Cow::Owned([&self.raw[n.start as usize..at], &add, &self.raw[at..n.end as usize]].concat())
    }

    /// Where in the text an attribute can be added to the start tag.
    pub(crate) fn name_end(&self) -> usize {
        self.node().name_end()
    }

    /// The prefix of the name.
    pub(crate) fn prefix(&self) -> Option<&'a str> {
        self.node().prefix(self.raw)
    }

    /// The default namespace inside of the element.
    pub(crate) fn default_ns(&self) -> &'a str {
        let around = std::iter::successors(Some(*self), Self::parent);
        let declaring = around.flat_map(|e| e.node().attrs()).find(|i| self.index.attrs[*i].name(self.raw) == "xmlns");
        self.index.ns(self.raw, declaring.map_or(NsRef::DEFAULT, NsRef::of_attr))
    }

    /// Whether the start tag has an attribute of this name.
    pub(crate) fn has_attr(&self, name: &str) -> bool {
        self.attr_entries().iter().any(|a| a.name(self.raw) == name)
    }

    /// The element around this one.
    fn parent(&self) -> Option<Self> {
        (self.at > 0).then(|| Self { at: self.node().parent, ..*self })
    }

    /// Declarations in scope around the element and not on it: prefix (empty for the default namespace) and its name.
    fn outer_scope(&self) -> Vec<(&'a str, &'a str)> {
        let own: Vec<&str> = self.attr_entries().iter().filter_map(|a| a.declares(self.raw)).collect();
        let mut scope: Vec<(&str, &str)> = Vec::new();
        for e in std::iter::successors(self.parent(), Self::parent) {
            for i in e.node().attrs() {
                let Some(prefix) = self.index.attrs[i].declares(self.raw) else { continue };
                if !own.contains(&prefix) && scope.iter().all(|(p, _)| *p != prefix) {
                    scope.push((prefix, self.index.ns(self.raw, NsRef::of_attr(i))));
                }
            }
        }
        scope.retain(|(p, uri)| !(p.is_empty() && matches!(*uri, ns::CLIENT | ns::SERVER)));
        scope
    }

    fn missing_declarations(&self, add: &mut String) {
        let mut scope = self.outer_scope();
        for n in &self.index.nodes[self.at as usize..self.node().next as usize] {
            if scope.is_empty() {
                return;
            }
            if n.kind != NodeKind::Element {
                continue;
            }
            // A declaration deeper inside may hide it for this name; one more further out does no harm.
            let attrs = self.index.attrs[n.attrs()].iter().filter_map(|a| a.prefix(self.raw));
            for prefix in std::iter::once(n.prefix(self.raw).unwrap_or_default()).chain(attrs) {
                if let Some(i) = scope.iter().position(|(p, _)| *p == prefix) {
                    let (prefix, uri) = scope.swap_remove(i);
                    push_declaration(add, prefix, uri);
                }
            }
        }
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
        self.entries.next().map(|a| (a.name(self.raw), value(self.raw, a)))
    }
}

fn value<'a>(raw: &'a str, a: &Attr) -> Cow<'a, str> {
    let v = a.value(raw);
    if a.escaped { Cow::Owned(decode_value(v)) } else { Cow::Borrowed(v) }
}

/// Writes ` xmlns:prefix='uri'`, or ` xmlns='uri'` for the empty prefix.
pub(crate) fn push_declaration(out: &mut String, prefix: &str, uri: &str) {
    out.push_str(if prefix.is_empty() { " xmlns" } else { " xmlns:" });
    out.push_str(prefix);
    out.push_str("='");
    escape_into(out, uri);
    out.push('\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: [&str; 6] = [
        "<iq xmlns='jabber:client' type='get' id='1&amp;2' to='a@b/c'><query xmlns='urn:x'><iq/></query></iq>",
        "<presence to='a@b/c'/>",
        "<message></message>",
        "<x:message xmlns:x='jabber:client' from=\"it's\">text<body xmlns='y'>&lt;</body> tail</x:message >",
        "<a xmlns='urn:&amp;'><b>]]&gt;</b></a>",
        "<m><m><m/></m></m>",
    ];

    #[test]
    fn a_stanza_of_which_only_the_start_is_known_reads_and_rewrites_as_the_whole() {
        for xml in SAMPLES {
            let (late, whole) = (|| Stanza::deferred(xml.into()), Stanza::parse(xml.into(), &AUTHORED).unwrap());
            let first = late();
            assert!(first.index.whole.get().is_none() || first.index.head.is_none(), "{xml}: parsed without need");
            assert_eq!(late().kind(), whole.kind(), "{xml}");
            for name in ["to", "from", "id", "type", "xmlns"] {
                assert_eq!(late().attr(name), whole.attr(name), "{xml}");
            }
            assert_eq!(late().content(), whole.content(), "{xml}");
            assert_eq!(late().rewrite().set("to", "x@y").finish(), whole.rewrite().set("to", "x@y").finish(), "{xml}");
            assert_eq!(late().rewrite().drop_content().finish(), whole.rewrite().drop_content().finish(), "{xml}");
            assert_eq!(late().root().inner(), whole.root().inner(), "{xml}");
            let names = |s: &Stanza| s.children().map(|c| (c.name().to_owned(), c.ns().to_owned())).collect::<Vec<_>>();
            assert_eq!(names(&late()), names(&whole), "{xml}");
        }
    }

    #[test]
    fn attributes_and_forwarding_need_no_more_than_the_start() {
        let s = Stanza::deferred(SAMPLES[0].into());
        assert_eq!(s.to().unwrap().unwrap().as_str(), "a@b/c");
        let _ = (s.kind(), s.id(), s.content(), s.rewrite().set("to", "x@y").set("from", "z@y").finish());
        assert!(s.index.whole.get().is_none());
        assert_eq!(s.children().next().unwrap().name(), "query");
        assert!(s.index.whole.get().is_some());
    }

    #[test]
    #[should_panic(expected = "authored XML is well-formed")]
    fn a_broken_writer_is_found_when_somebody_looks() {
        let _ = Stanza::deferred("<iq to='a@b'><x></iq>".into()).children();
    }
}
