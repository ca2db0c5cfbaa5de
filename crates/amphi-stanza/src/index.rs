//! What the parser leaves behind: positions of the parts of a top-level element, in document order.
//!
//! It is kept for as long as the stanza, so entries are small: 40 bytes for an element or text, 16 for an attribute.

use crate::ns;

/// Which namespace an element is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NsRef(u32);

impl NsRef {
    /// The stream's default namespace.
    pub(crate) const DEFAULT: Self = Self(0);
    /// That of the `xml` prefix.
    pub(crate) const XML: Self = Self(1);
    /// None: `xmlns=''`.
    pub(crate) const NONE: Self = Self(2);

    /// The value of an attribute of the index.
    pub(crate) fn of_attr(attr: usize) -> Self {
        Self(attr as u32 + 3)
    }

    /// The declaring attribute.
    pub(crate) fn attr(self) -> Option<usize> {
        self.0.checked_sub(3).map(|i| i as usize)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NodeKind {
    Element,
    Text,
    CData,
}

/// An element or a text, with the positions of its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// Offset of `<`, or of the first byte of the text.
    pub(crate) start: u32,
    /// First byte of the content.
    pub(crate) content: u32,
    /// First byte after the content.
    pub(crate) content_end: u32,
    /// First byte after the end tag.
    pub(crate) end: u32,
    /// Index of the node after this one's subtree.
    pub(crate) next: u32,
    /// Index of the element around this one; 0 also for the top-level element.
    pub(crate) parent: u32,
    /// First attribute.
    pub(crate) first_attr: u32,
    pub(crate) ns: NsRef,
    /// Number of attributes.
    pub(crate) attrs: u16,
    /// Length of the prefix with its colon; 0 when there is none.
    pub(crate) prefix: u16,
    /// Length of the local name.
    pub(crate) name: u16,
    pub(crate) kind: NodeKind,
}

impl Node {
    /// Local name of an element.
    pub(crate) fn name<'a>(&self, raw: &'a str) -> &'a str {
        let at = self.start as usize + 1 + self.prefix as usize;
        &raw[at..at + self.name as usize]
    }

    /// Prefix of an element, without its colon.
    pub(crate) fn prefix<'a>(&self, raw: &'a str) -> Option<&'a str> {
        let at = self.start as usize + 1;
        (self.prefix > 0).then(|| &raw[at..at + self.prefix as usize - 1])
    }

    /// Where an attribute can be added: after the name in the start tag.
    pub(crate) fn name_end(&self) -> usize {
        self.start as usize + 1 + self.prefix as usize + self.name as usize
    }

    /// Content as written.
    pub(crate) fn content<'a>(&self, raw: &'a str) -> &'a str {
        &raw[self.content as usize..self.content_end as usize]
    }

    pub(crate) fn attrs(&self) -> std::ops::Range<usize> {
        self.first_attr as usize..self.first_attr as usize + self.attrs as usize
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Attr {
    pub(crate) name_at: u32,
    pub(crate) value_at: u32,
    pub(crate) value_len: u32,
    pub(crate) name_len: u16,
    /// Length of the prefix with its colon; 0 when there is none. Prefixes longer than fits are refused.
    pub(crate) prefix: u8,
    /// The value has references or white space to normalise.
    pub(crate) escaped: bool,
}

impl Attr {
    /// Name as written, prefix included.
    pub(crate) fn name<'a>(&self, raw: &'a str) -> &'a str {
        &raw[self.name_at as usize..self.name_at as usize + self.name_len as usize]
    }

    /// Value as written.
    pub(crate) fn value<'a>(&self, raw: &'a str) -> &'a str {
        &raw[self.value_at as usize..self.value_at as usize + self.value_len as usize]
    }

    /// Prefix, without its colon.
    pub(crate) fn prefix<'a>(&self, raw: &'a str) -> Option<&'a str> {
        (self.prefix > 0).then(|| &self.name(raw)[..self.prefix as usize - 1])
    }

    /// The prefix that this attribute declares, empty for the default namespace; `None` for other attributes.
    pub(crate) fn declares<'a>(&self, raw: &'a str) -> Option<&'a str> {
        let name = self.name(raw);
        if name == "xmlns" { Some("") } else { name.strip_prefix("xmlns:") }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) nodes: Box<[Node]>,
    pub(crate) attrs: Box<[Attr]>,
    /// Namespace names that were written with references, by attribute.
    pub(crate) decoded: Vec<(u32, Box<str>)>,
}

impl Index {
    /// The namespace name.
    pub(crate) fn ns<'a>(&'a self, raw: &'a str, ns: NsRef) -> &'a str {
        match ns {
            NsRef::DEFAULT => ns::CLIENT,
            NsRef::XML => ns::XML,
            NsRef::NONE => "",
            _ => match ns.attr() {
                Some(i) => attr_ns(raw, &self.attrs, &self.decoded, i),
                None => "",
            },
        }
    }
}

/// The namespace that attribute `i` declares.
pub(crate) fn attr_ns<'a>(raw: &'a str, attrs: &[Attr], decoded: &'a [(u32, Box<str>)], i: usize) -> &'a str {
    let a = &attrs[i];
    if a.escaped
        && let Ok(d) = decoded.binary_search_by_key(&(i as u32), |(k, _)| *k)
    {
        return &decoded[d].1;
    }
    a.value(raw)
}
