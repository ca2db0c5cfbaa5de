//! Forwarding a stanza with another start tag: splice, not serialise.

use std::borrow::Cow;
use std::fmt::Display;

use bytes::Bytes;

use crate::element::push_declaration;
use crate::{Element, Frame, Stanza, XmlWriter, escape_into, ns};

type Keep<'a> = Box<dyn Fn(&Element<'_>) -> bool + 'a>;

/// A copy of a stanza in the making. Attributes not named here are kept, namespace declarations among them, so that
/// children which use a prefix of the start tag stay valid.
///
/// The start tag is written without prefix and with its namespace as `xmlns`. Setting `xmlns` moves the stanza with all
/// that inherits its namespace, as from `jabber:server` to `jabber:client`; unsetting it leaves the default of the stream
/// that it is written to. Whatever names another namespace keeps it.
pub struct Rewrite<'a> {
    stanza: &'a Stanza,
    set: Vec<(&'a str, Option<Cow<'a, str>>)>,
    keep: Option<Keep<'a>>,
    prepend: String,
    append: String,
}

impl<'a> Rewrite<'a> {
    pub(crate) fn new(stanza: &'a Stanza) -> Self {
        Self { stanza, set: Vec::new(), keep: None, prepend: String::new(), append: String::new() }
    }

    /// Sets an attribute of the start tag.
    pub fn set(mut self, name: &'a str, value: impl Display) -> Self {
        self.set.retain(|(n, _)| *n != name);
        self.set.push((name, Some(Cow::Owned(value.to_string()))));
        self
    }

    /// Removes an attribute of the start tag.
    pub fn unset(mut self, name: &'a str) -> Self {
        self.set.retain(|(n, _)| *n != name);
        self.set.push((name, None));
        self
    }

    /// Keeps only the child elements for which `keep` is true.
    pub fn keep(mut self, keep: impl Fn(&Element<'_>) -> bool + 'a) -> Self {
        self.keep = Some(match self.keep.take() {
            None => Box::new(keep),
            Some(before) => Box::new(move |e| before(e) && keep(e)),
        });
        self
    }

    /// Drops all children.
    pub fn drop_content(self) -> Self {
        self.keep(|_| false)
    }

    /// Writes children before the kept ones.
    pub fn prepend(mut self, write: impl FnOnce(&mut XmlWriter)) -> Self {
        let mut w = XmlWriter::new();
        write(&mut w);
        self.prepend.push_str(&w.finish_string());
        self
    }

    /// Writes children after the kept ones.
    pub fn append(mut self, write: impl FnOnce(&mut XmlWriter)) -> Self {
        let mut w = XmlWriter::new();
        write(&mut w);
        self.append.push_str(&w.finish_string());
        self
    }

    fn sets(&self, name: &str) -> bool {
        self.set.iter().any(|(n, _)| *n == name)
    }

    /// The name as it is written again: without prefix, except where the namespace cannot be a default one.
    fn push_name(&self, out: &mut String) {
        let root = self.stanza.start();
        if root.ns() == ns::XML {
            out.push_str("xml:");
        }
        out.push_str(root.name());
    }

    fn start_tag(&self, out: &mut String, skip_to: bool) {
        let root = self.stanza.start();
        let reserved = root.ns() == ns::XML;
        out.push('<');
        self.push_name(out);
        for (name, value) in root.raw_attrs() {
            if self.sets(name) || (skip_to && name == "to") {
                continue;
            }
            // The root is written without prefix, so its namespace must be the default one.
            if name == "xmlns" && !reserved {
                push_attr(out, name, root.ns());
                continue;
            }
            out.push(' ');
            out.push_str(name);
            let quote = if memchr::memchr(b'\'', value.as_bytes()).is_some() { '"' } else { '\'' };
            out.push('=');
            out.push(quote);
            out.push_str(value);
            out.push(quote);
        }
        for (name, value) in &self.set {
            if let Some(v) = value
                && !(skip_to && *name == "to")
            {
                push_attr(out, name, v);
            }
        }
        if !self.sets("xmlns") && !root.has_attr("xmlns") && !reserved {
            push_attr(out, "xmlns", root.ns());
        }
    }

    /// The default namespace of the children, if they relied on another one than the root's own. That is so when the
    /// root was written with a prefix; they get a declaration of their own then.
    fn foreign_default(&self) -> Option<&str> {
        self.stanza.start().prefix().filter(|p| *p != "xml")?;
        let root = self.stanza.root();
        Some(root.default_ns()).filter(|d| *d != root.ns())
    }

    fn child(&self, out: &mut String, e: &Element<'_>) {
        match self.foreign_default() {
            Some(uri) if !e.has_attr("xmlns") => {
                let (raw, all, at) = (self.stanza.text(), e.outer_range(), e.name_end());
                out.push_str(&raw[all.start..at]);
                push_declaration(out, "", uri);
                out.push_str(&raw[at..all.end]);
            }
            _ => out.push_str(e.outer()),
        }
    }

    fn body(&self, out: &mut String) {
        out.push_str(&self.prepend);
        match &self.keep {
            None if self.foreign_default().is_none() => out.push_str(self.stanza.start().inner()),
            None => {
                let root = self.stanza.root();
                // Texts stay where they are, CDATA brackets included.
                let mut from = root.inner_range().start;
                for e in root.children() {
                    out.push_str(&self.stanza.text()[from..e.outer_range().start]);
                    self.child(out, &e);
                    from = e.outer_range().end;
                }
                out.push_str(&self.stanza.text()[from..root.inner_range().end]);
            }
            Some(keep) => self.stanza.root().children().filter(|e| keep(e)).for_each(|e| self.child(out, &e)),
        }
        out.push_str(&self.append);
    }

    /// The whole, and where in its start tag an attribute can be added.
    fn write(&self, hole: bool) -> (String, usize) {
        let mut out = String::with_capacity(self.stanza.raw().len() + self.append.len() + self.prepend.len() + 128);
        self.start_tag(&mut out, hole);
        if hole {
            out.push_str(" to='");
        }
        let split = out.len();
        if hole {
            out.push('\'');
        }
        let tag_end = out.len();
        out.push('>');
        self.body(&mut out);
        if out.len() == tag_end + 1 {
            out.truncate(tag_end);
            out.push_str("/>");
        } else {
            out.push_str("</");
            self.push_name(&mut out);
            out.push('>');
        }
        (out, split)
    }

    /// The bytes.
    pub fn finish(self) -> Bytes {
        Bytes::from(self.write(false).0)
    }

    /// The copy, parsed.
    pub fn stanza(self) -> Stanza {
        Stanza::authored(self.finish())
    }

    /// The bytes with a hole where `to` belongs; a `to` set before is ignored.
    pub fn frame(self) -> Frame {
        let (out, cut) = self.write(true);
        let all = Bytes::from(out);
        Frame { head: all.slice(..cut), tail: all.slice(cut..) }
    }
}

fn push_attr(out: &mut String, name: &str, value: &str) {
    out.push(' ');
    out.push_str(name);
    out.push_str("='");
    escape_into(out, value);
    out.push('\'');
}
