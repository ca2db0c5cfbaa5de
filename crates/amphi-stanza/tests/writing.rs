//! What goes into the writer comes out of the parser.

use amphi_stanza::{Frame, Limits, Stanza, XmlWriter, escape_into, ns};
use bytes::Bytes;
use proptest::prelude::*;

/// The documented replacement of what XML cannot carry.
fn carried(text: &str) -> String {
    let bad =
        |c: char| matches!(c, '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    text.chars().map(|c| if bad(c) { '\u{fffd}' } else { c }).collect()
}

fn any_text() -> impl Strategy<Value = String> {
    let c = prop_oneof![
        any::<char>(),
        proptest::char::range('\u{0}', '\u{7f}'),
        proptest::char::range('\u{fff0}', '\u{ffff}'),
        proptest::sample::select(vec!['<', '>', '&', '\'', '"', ']', '\t', '\n', '\r', '\u{ffef}']),
    ];
    proptest::collection::vec(c, 0..40).prop_map(|v| v.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn text_and_values_come_out_as_they_went_in(text in any_text(), value in any_text(), uri in any_text()) {
        prop_assume!(!matches!(&*uri, ns::XML | "http://www.w3.org/2000/xmlns/"));
        let mut w = XmlWriter::new();
        w.open_ns("m", &uri).attr("k", &value).text(&text).text(&value).text_element("b", &text);
        let s = w.stanza();
        prop_assert_eq!(s.root().ns(), carried(&uri));
        prop_assert_eq!(s.attr("k").unwrap(), carried(&value));
        prop_assert_eq!(s.root().text(), carried(&text) + &carried(&value));
        prop_assert_eq!(s.child_text(), carried(&text));
        // And once more through a rewriting.
        let again = s.rewrite().set("k2", &value).stanza();
        prop_assert_eq!(again.attr("k2").unwrap(), carried(&value));
        prop_assert_eq!(again.attr("k").unwrap(), carried(&value));
        prop_assert_eq!(again.child_text(), carried(&text));
    }

    #[test]
    fn a_frame_differs_in_its_address_only(to in any_text(), old in any_text(), body in any_text(), with_to: bool) {
        let mut w = XmlWriter::new();
        w.open("message").attr("from", &old).attr("id", "'\"");
        if with_to {
            w.attr("to", &old);
        }
        w.text_element("body", &body);
        let s = w.stanza();
        let f = Frame::of(&s);
        let mut escaped = String::new();
        escape_into(&mut escaped, &to);
        let bytes = f.render(&escaped);
        prop_assert_eq!(bytes.len(), f.len_with(escaped.len()));
        let out = Stanza::parse(bytes, &Limits::default()).unwrap();
        prop_assert_eq!(out.attr("to").unwrap(), carried(&to));
        prop_assert_eq!(out.root().inner(), s.root().inner());
        let others = |s: &Stanza| {
            let mut v: Vec<_> = s.root().attrs().filter(|(n, _)| !matches!(*n, "to" | "xmlns")).map(|(n, v)| (n.to_owned(), v.into_owned())).collect();
            v.sort();
            v
        };
        prop_assert_eq!(others(&out), others(&s));
        prop_assert_eq!(out.root().ns(), s.root().ns());
    }
}

trait ChildText {
    fn child_text(&self) -> String;
}

impl ChildText for Stanza {
    fn child_text(&self) -> String {
        self.children().next().map(|c| c.text().into_owned()).unwrap_or_default()
    }
}

#[test]
fn an_authored_frame_has_one_hole() {
    let f = Frame::write(
        "presence",
        |w| {
            w.attr("from", "r@m/n");
        },
        |w| {
            w.empty("x", ns::MUC);
        },
    );
    let s = Stanza::parse(Bytes::from([&f.head[..], b"a@b/c", &f.tail[..]].concat()), &Limits::default()).unwrap();
    assert_eq!(s.attr("to").unwrap(), "a@b/c");
    assert!(s.child("x", ns::MUC).is_some());
}
