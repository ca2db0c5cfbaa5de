//! Writing XML that we author: names are literals, values are escaped by type.

use std::fmt::{Display, Write};

use bytes::Bytes;

use crate::{Element, Stanza, chars};

/// Writes one or more elements.
///
/// ```
/// use amphi_stanza::XmlWriter;
/// let mut w = XmlWriter::new();
/// w.open("message").attr("to", "a@b/c<").open("body").text("1 < 2").close().close();
/// assert_eq!(&w.finish()[..], b"<message to='a@b/c&lt;'><body>1 &lt; 2</body></message>");
/// ```
#[derive(Default)]
pub struct XmlWriter {
    out: String,
    open: Vec<&'static str>,
    in_tag: bool,
}

/// Appends `text` with the five special characters replaced, fit for attribute values and for text.
///
/// Characters that XML cannot carry at all are replaced by U+FFFD; tab, line feed and carriage return become
/// references, so that attribute values keep them.
pub fn escape_into(out: &mut String, text: &str) {
    let (mut from, mut i) = (0, 0);
    let b = text.as_bytes();
    loop {
        i = chars::skip_plain(b, i);
        let Some(c) = b.get(i) else { break };
        let rep = match c {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'\'' => "&apos;",
            b'\t' => "&#9;",
            b'\n' => "&#10;",
            b'\r' => "&#13;",
            0..=0x1f => "\u{fffd}",
            // U+FFFE, U+FFFF
            0xef if matches!(b[i..], [0xef, 0xbf, 0xbe | 0xbf, ..]) => {
                out.push_str(&text[from..i]);
                out.push('\u{fffd}');
                i += 3;
                from = i;
                continue;
            }
            _ => {
                i += 1;
                continue;
            }
        };
        out.push_str(&text[from..i]);
        out.push_str(rep);
        i += 1;
        from = i;
    }
    out.push_str(&text[from..]);
}

struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, s: &str) -> std::fmt::Result {
        escape_into(self.0, s);
        Ok(())
    }
}

impl XmlWriter {
    /// An empty writer.
    pub fn new() -> Self {
        Self { out: String::with_capacity(256), open: Vec::new(), in_tag: false }
    }

    fn end_tag_head(&mut self) {
        if self.in_tag {
            self.out.push('>');
            self.in_tag = false;
        }
    }

    /// Opens `<name`; attributes may follow.
    pub fn open(&mut self, name: &'static str) -> &mut Self {
        self.end_tag_head();
        self.out.push('<');
        self.out.push_str(name);
        self.open.push(name);
        self.in_tag = true;
        self
    }

    /// Opens `<name xmlns='ns'`.
    pub fn open_ns(&mut self, name: &'static str, ns: &str) -> &mut Self {
        self.open(name).attr("xmlns", ns)
    }

    /// Adds an attribute to the element just opened; the value is escaped.
    ///
    /// # Panics
    /// If content was already written to the element.
    pub fn attr(&mut self, name: &str, value: impl Display) -> &mut Self {
        assert!(self.in_tag, "attribute after content");
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("='");
        let _ = write!(Escaping(&mut self.out), "{value}");
        self.out.push('\'');
        self
    }

    /// Adds an attribute if there is a value.
    pub fn attr_opt(&mut self, name: &str, value: Option<impl Display>) -> &mut Self {
        match value {
            Some(v) => self.attr(name, v),
            None => self,
        }
    }

    /// Adds escaped text.
    pub fn text(&mut self, text: impl Display) -> &mut Self {
        self.end_tag_head();
        let _ = write!(Escaping(&mut self.out), "{text}");
        self
    }

    /// Adds XML that has passed the strict parser or was written by this writer.
    pub fn raw(&mut self, xml: &str) -> &mut Self {
        if !xml.is_empty() {
            self.end_tag_head();
            self.out.push_str(xml);
        }
        self
    }

    /// Copies an element, with the declarations of further out that it relies on ([`Element::standalone`]).
    pub fn element(&mut self, e: Element<'_>) -> &mut Self {
        self.raw(&e.standalone())
    }

    /// An element with nothing in it: `<name xmlns='ns'/>`.
    pub fn empty(&mut self, name: &'static str, ns: &str) -> &mut Self {
        self.open_ns(name, ns).close()
    }

    /// `<name>text</name>`.
    pub fn text_element(&mut self, name: &'static str, text: impl Display) -> &mut Self {
        self.open(name).text(text).close()
    }

    /// Closes the innermost open element.
    ///
    /// # Panics
    /// If there is none.
    pub fn close(&mut self) -> &mut Self {
        let Some(name) = self.open.pop() else { panic!("close without open") };
        if self.in_tag {
            self.out.push_str("/>");
            self.in_tag = false;
        } else {
            self.out.push_str("</");
            self.out.push_str(name);
            self.out.push('>');
        }
        self
    }

    /// Number of elements still open.
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Closes what is open and returns the text.
    pub fn finish_string(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }

    /// Closes what is open and returns the bytes.
    pub fn finish(self) -> Bytes {
        Bytes::from(self.finish_string())
    }

    /// Closes what is open and returns the one element written, parsed.
    pub fn stanza(self) -> Stanza {
        Stanza::authored(self.finish())
    }
}
