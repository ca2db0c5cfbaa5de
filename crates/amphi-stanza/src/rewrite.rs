//! Forwarding a stanza with another start tag: splice, not serialise.

use std::borrow::Cow;
use std::fmt::Display;

use bytes::Bytes;

use crate::{Child, Element, Frame, Stanza, XmlWriter, escape_into};

type Keep<'a> = Box<dyn Fn(&Element<'_>) -> bool + 'a>;

/// A copy of a stanza in the making. Attributes not named here are kept, namespace declarations among them, so that
/// children which use a prefix of the start tag stay valid.
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

    fn start_tag(&self, out: &mut String, skip_to: bool) {
        let raw = self.stanza.text();
        let root = self.stanza.root();
        out.push('<');
        out.push_str(root.name());
        let mut has_ns = false;
        for (name, value) in root.raw_attrs() {
            if self.set.iter().any(|(n, _)| *n == name) || (skip_to && name == "to") {
                continue;
            }
            // The root is written without prefix, so its namespace must be the default one.
            if name == "xmlns" {
                has_ns = true;
                push_attr(out, name, root.ns());
                continue;
            }
            out.push(' ');
            out.push_str(name);
            let v = &raw[value];
            let quote = if v.contains('\'') { '"' } else { '\'' };
            out.push('=');
            out.push(quote);
            out.push_str(v);
            out.push(quote);
        }
        for (name, value) in &self.set {
            if let Some(v) = value
                && !(skip_to && *name == "to")
            {
                has_ns |= *name == "xmlns";
                push_attr(out, name, v);
            }
        }
        if !has_ns && !self.set.iter().any(|(n, _)| *n == "xmlns") {
            push_attr(out, "xmlns", root.ns());
        }
    }

    fn body(&self, out: &mut String) {
        out.push_str(&self.prepend);
        let root = self.stanza.root();
        match &self.keep {
            None => out.push_str(root.inner()),
            Some(keep) => {
                for n in root.nodes() {
                    match n {
                        Child::Element(e) if keep(&e) => out.push_str(e.outer()),
                        _ => {}
                    }
                }
            }
        }
        out.push_str(&self.append);
    }

    fn write(&self, skip_to: bool) -> (String, usize) {
        let mut out = String::with_capacity(self.stanza.raw().len() + self.append.len() + self.prepend.len() + 128);
        self.start_tag(&mut out, skip_to);
        let split = out.len();
        out.push('>');
        self.body(&mut out);
        if out.len() == split + 1 {
            out.truncate(split);
            out.push_str("/>");
        } else {
            out.push_str("</");
            out.push_str(self.stanza.root().name());
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
        let (mut out, split) = self.write(true);
        out.insert_str(split, " to='");
        let cut = split + 5;
        out.insert(cut, '\'');
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
