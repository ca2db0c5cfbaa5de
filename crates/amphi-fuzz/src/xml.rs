//! The strict parser and `rxml` accept the same elements and see the same in them.
//!
//! Intended differences, all of them refusals of ours: an XML declaration before an element (the stream reader takes
//! it), the reserved names of "Namespaces in XML" §3 that must not be declared, a second `xmlns` attribute, and limits.

use std::collections::BTreeMap;

use amphi_stanza::{Child, Element, Limits, Stanza, XmlError, ns};
use bytes::Bytes;
use rxml::{Event, Options, Parse, Parser, WithOptions};

/// An element as both parsers must see it. An undeclared default namespace has no name here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Namespace and local name.
    pub(crate) name: (String, String),
    /// Attributes but declarations, by namespace and local name.
    pub(crate) attrs: BTreeMap<(String, String), String>,
    /// All character data directly in the element.
    pub(crate) text: String,
    /// Children in order; `None` stands for text between them.
    pub(crate) children: Vec<Option<Self>>,
}

impl Seen {
    fn push_text(&mut self, text: &str) {
        if !text.is_empty() {
            self.text.push_str(text);
            if !matches!(self.children.last(), Some(None)) {
                self.children.push(None);
            }
        }
    }
}

/// What `rxml` sees in a document.
///
/// # Errors
/// What it refuses.
pub(crate) fn seen_by_rxml(mut raw: &[u8]) -> Result<Seen, String> {
    let mut p = Parser::with_options(Options { max_token_length: raw.len() + 16, context: None });
    let mut open: Vec<Seen> = Vec::new();
    let mut done = None;
    loop {
        match p.parse(&mut raw, true).map_err(|e| format!("{e:?}"))? {
            None => return done.ok_or_else(|| "no element".to_owned()),
            Some(Event::XmlDeclaration(..)) => {}
            Some(Event::StartElement(_, (ns, name), attrs)) => open.push(Seen {
                name: (ns.as_str().to_owned(), name.as_str().to_owned()),
                attrs: attrs
                    .into_iter()
                    .map(|((ns, name), v)| ((ns.as_str().to_owned(), name.as_str().to_owned()), v))
                    .collect(),
                text: String::new(),
                children: Vec::new(),
            }),
            Some(Event::Text(_, t)) => {
                if let Some(e) = open.last_mut() {
                    e.push_text(&t);
                }
            }
            Some(Event::EndElement(_)) => {
                let e = open.pop().expect("ends what began");
                match open.last_mut() {
                    Some(outer) => outer.children.push(Some(e)),
                    None => done = Some(e),
                }
            }
        }
    }
}

/// What we see in an element; `scope` has the declarations around it, innermost last.
pub(crate) fn seen_by_us<'a>(e: Element<'a>, scope: &mut Vec<(&'a str, String)>) -> Seen {
    let outside = scope.len();
    for (name, value) in e.attrs() {
        if name == "xmlns" {
            scope.push(("", value.into_owned()));
        } else if let Some(prefix) = name.strip_prefix("xmlns:") {
            scope.push((prefix, value.into_owned()));
        }
    }
    let resolve = |scope: &[(&str, String)], prefix: &str| {
        let found = scope.iter().rev().find(|(p, _)| *p == prefix).map(|(_, uri)| uri.clone());
        found.or_else(|| (prefix == "xml").then(|| ns::XML.to_owned()))
    };
    let mut attrs = BTreeMap::new();
    for (name, value) in e.attrs() {
        let key = match name.split_once(':') {
            Some(("xmlns", _)) => continue,
            Some((p, local)) => (resolve(scope, p).expect("prefix is declared"), local.to_owned()),
            None if name == "xmlns" => continue,
            None => (String::new(), name.to_owned()),
        };
        assert!(attrs.insert(key, value.into_owned()).is_none(), "duplicate attribute in {e:?}");
    }
    let unnamed = e.ns() == ns::CLIENT && resolve(scope, "").is_none() && !e.outer()[1..].starts_with(&prefixed(e));
    let ns = if unnamed { String::new() } else { e.ns().to_owned() };
    let mut seen = Seen { name: (ns, e.name().to_owned()), attrs, text: String::new(), children: Vec::new() };
    for n in e.nodes() {
        match n {
            Child::Element(c) => {
                let c = seen_by_us(c, scope);
                seen.children.push(Some(c));
            }
            Child::Text("") => {}
            Child::Text(_) if matches!(seen.children.last(), Some(None)) => {}
            Child::Text(_) => seen.children.push(None),
        }
    }
    seen.text = e.text().into_owned();
    scope.truncate(outside);
    seen
}

/// The beginning of the tag, if the name has a prefix; otherwise something that no tag begins with.
fn prefixed(e: Element<'_>) -> String {
    let name = e.outer()[1..].split([' ', '\t', '\r', '\n', '/', '>']).next().unwrap_or_default();
    if name.contains(':') { name.to_owned() } else { "<".to_owned() }
}

fn is_intended(e: &XmlError, text: &[u8]) -> bool {
    // Character data outside of the element is none of XML's, but passes `rxml` when it is a CDATA section.
    if text.trim_ascii_start().starts_with(b"<![CDATA[") {
        return true;
    }
    match e {
        XmlError::Limit(_) => true,
        XmlError::NotWellFormed { what, .. } => match *what {
            "reserved namespace" | "reserved or empty prefix declaration" => true,
            "duplicate attribute" => text.windows(5).filter(|w| w == b"xmlns").count() > 1,
            _ => false,
        },
        _ => false,
    }
}

/// One element: accepted by both or by none, with the same content, and the same again after rewriting it.
pub fn xml(data: &[u8]) {
    let ours = Stanza::parse(Bytes::copy_from_slice(data), &Limits::default());
    let text = trimmed(data);
    if text.starts_with(b"<?") {
        assert!(ours.is_err(), "an instruction was accepted");
        return;
    }
    match (ours, seen_by_rxml(text)) {
        (Ok(s), Ok(theirs)) => {
            let ours = seen_by_us(s.root(), &mut Vec::new());
            if !odd_return(text) {
                assert_eq!(ours, theirs, "{s}");
            }
            rewritten(&s);
        }
        (Err(e), Ok(_)) => {
            assert!(is_intended(&e, text), "refused: {e}: {}", String::from_utf8_lossy(text));
        }
        // U+FDF0 to U+FFFD may be in a name (XML 1.0 §2.3), but not for `rxml`.
        (Ok(_), Err(_)) if text.windows(3).any(|w| matches!(w, [0xef, 0xb7, 0xb0..=0xff] | [0xef, 0xb8..=0xbf, _])) => {
        }
        // A carriage return at the beginning of an attribute's value is one that `rxml` refuses.
        (Ok(_), Err(_)) if text.contains(&b'\r') => {}
        (Ok(s), Err(e)) => panic!("accepted: {s}: {e}"),
        (Err(_), Err(_)) => {}
    }
}

/// Without the white space of XML around it, which has no form feed.
fn trimmed(text: &[u8]) -> &[u8] {
    let is_space = |c: &u8| matches!(c, b' ' | b'\t' | b'\r' | b'\n');
    let begin = text.iter().position(|c| !is_space(c)).unwrap_or(text.len());
    let end = text.iter().rposition(|c| !is_space(c)).map_or(begin, |i| i + 1);
    &text[begin..end]
}

/// Whether there is a carriage return that `rxml` takes otherwise than XML 1.0 §2.11: one without a line feed is lost, and one after a bracket
/// in a CDATA section is kept.
pub(crate) fn odd_return(text: &[u8]) -> bool {
    let odd = |i: usize| text.get(i + 1) != Some(&b'\n') || i > 0 && text[i - 1] == b']';
    text.iter().enumerate().any(|(i, c)| *c == b'\r' && odd(i))
}

/// What is forwarded means what was received.
fn rewritten(s: &Stanza) {
    let named = |e: Element<'_>| {
        let mut scope = vec![("", ns::CLIENT.to_owned())];
        let seen = seen_by_us(e, &mut scope);
        (seen.name, seen.attrs, seen.text, seen.children)
    };
    let before = named(s.root());
    assert_eq!(before, named(s.rewrite().stanza().root()), "rewriting changes {s}");
    let kept = s.rewrite().keep(|_| true).stanza();
    let elements = |children: Vec<Option<Seen>>| children.into_iter().flatten().collect::<Vec<_>>();
    let children = elements(before.3);
    assert_eq!(children, elements(named(kept.root()).3), "keeping all children changes {s}");
    // Each child on its own.
    for (c, seen) in s.children().zip(&children) {
        let alone = Stanza::authored(Bytes::from(c.standalone().into_owned().into_bytes()));
        let mut scope = vec![("", ns::CLIENT.to_owned())];
        let moved = seen_by_us(alone.root(), &mut scope);
        if has_server_ns(seen) {
            // Follows the stanza that it is put into.
            continue;
        }
        assert_eq!(&moved, seen, "a child alone changes: {s}");
    }
    // A frame has every attribute but `to`, and one hole.
    let rendered = Stanza::authored(amphi_stanza::Frame::of(s).render("a@b/c"));
    let without = |attrs: &BTreeMap<(String, String), String>| {
        let mut attrs = attrs.clone();
        attrs.remove(&(String::new(), "to".to_owned()));
        attrs
    };
    let after = named(rendered.root());
    assert_eq!(rendered.attr("to").as_deref(), Some("a@b/c"));
    assert_eq!((&before.0, without(&before.1)), (&after.0, without(&after.1)), "a frame changes {s}");
    assert_eq!(children, elements(after.3));
}

fn has_server_ns(e: &Seen) -> bool {
    e.name.0 == ns::SERVER || e.children.iter().flatten().any(has_server_ns)
}
