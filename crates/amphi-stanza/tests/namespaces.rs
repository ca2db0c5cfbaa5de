//! What is forwarded or moved means what it meant where it came from.

use amphi_stanza::{Limits, Stanza, StreamEvent, StreamReader, XmlError, XmlWriter, ns};
use bytes::Bytes;

fn parse(s: &str) -> Stanza {
    Stanza::parse(Bytes::copy_from_slice(s.as_bytes()), &Limits::default()).unwrap()
}

#[test]
fn a_namespace_written_with_references_is_decoded() {
    let s = parse("<a xmlns='jabber&#58;client' xmlns:p='u&amp;v'><p:b/></a>");
    assert_eq!(s.root().ns(), ns::CLIENT);
    assert_eq!(s.children().next().unwrap().ns(), "u&v");
    let again = s.rewrite().set("to", "x").stanza();
    assert_eq!(again.children().next().unwrap().ns(), "u&v");
}

#[test]
fn children_of_a_prefixed_root_keep_their_namespace() {
    let s = parse(
        "<c:message xmlns:c='jabber:client' xmlns='other'>t<![CDATA[<]]><body/><c:nick/><x xmlns='own'/></c:message>",
    );
    let out = s.rewrite().set("to", "a@b").stanza();
    assert_eq!((out.root().name(), out.root().ns()), ("message", ns::CLIENT));
    let seen: Vec<_> = out.children().map(|c| (c.name().to_owned(), c.ns().to_owned())).collect();
    let want = [("body", "other"), ("nick", ns::CLIENT), ("x", "own")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(seen, want);
    assert_eq!(out.root().text(), "t<");
}

#[test]
fn setting_the_namespace_moves_what_inherits_it_and_nothing_else() {
    let s = parse("<message xmlns='jabber:server' xmlns:s='jabber:server'><body/><s:b/><x xmlns='x'/></message>");
    let out = s.rewrite().set("xmlns", ns::CLIENT).stanza();
    let seen: Vec<_> = out.children().map(|c| c.ns().to_owned()).collect();
    assert_eq!(seen, [ns::CLIENT, ns::SERVER, "x"]);
}

#[test]
fn an_element_is_copied_with_the_declarations_it_relies_on() {
    let s = parse("<m xmlns:p='u' xmlns:q='v' xmlns:r='w'><x xmlns='d'><y p:k='1'><q:z/></y></x><body/></m>");
    let y = s.children().next().unwrap().children().next().unwrap();
    let mut w = XmlWriter::new();
    w.open_ns("iq", ns::CLIENT).element(y).element(s.child("body", ns::CLIENT).unwrap());
    assert_eq!(
        w.finish_string(),
        "<iq xmlns='jabber:client'><y xmlns='d' xmlns:p='u' xmlns:q='v' p:k='1'><q:z/></y><body/></iq>"
    );
}

fn elements(header: &str, text: &str) -> Vec<Stanza> {
    let mut r = StreamReader::new(Limits::default());
    r.push(header.as_bytes());
    r.push(text.as_bytes());
    let mut out = Vec::new();
    while let Some(e) = r.next_event().unwrap() {
        if let StreamEvent::Element(s) = e {
            out.push(s);
        }
    }
    out
}

#[test]
fn only_declarations_of_the_header_that_an_element_relies_on_are_added() {
    let header =
        "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='u' xmlns:q='v'>";
    let cases = [
        // In attributes, and deep inside.
        ("<a xmlns='d'><b p:k=''/></a>", "<a xmlns:p='u' xmlns='d'><b p:k=''/></a>"),
        ("<a xmlns='d'><b><q:c/></b></a>", "<a xmlns:q='v' xmlns='d'><b><q:c/></b></a>"),
        // Not in text, in values, in other prefixes that end alike.
        ("<a xmlns='d' k='p:k'>&lt;p:k <![CDATA[<q:c/>]]></a>", "<a xmlns='d' k='p:k'>&lt;p:k <![CDATA[<q:c/>]]></a>"),
        ("<a xmlns='d' xmlns:pp='w'><pp:b/></a>", "<a xmlns='d' xmlns:pp='w'><pp:b/></a>"),
        // Shadowed everywhere, or only in one place.
        ("<p:a xmlns='d' xmlns:p='w'/>", "<p:a xmlns='d' xmlns:p='w'/>"),
        ("<a xmlns='d'><p:b xmlns:p='w'/></a>", "<a xmlns='d'><p:b xmlns:p='w'/></a>"),
        ("<a xmlns='d'><p:b xmlns:p='w'/><p:b/></a>", "<a xmlns:p='u' xmlns='d'><p:b xmlns:p='w'/><p:b/></a>"),
        // The default namespace.
        ("<a/>", "<a xmlns='jabber:server'/>"),
        ("<p:a><b/></p:a>", "<p:a xmlns:p='u' xmlns='jabber:server'><b/></p:a>"),
        ("<a xmlns=''/>", "<a xmlns=''/>"),
    ];
    for (text, want) in cases {
        let got = elements(header, text);
        assert_eq!(got[0].to_string(), want, "{text}");
    }
    let clients = elements(
        "<stream:stream xmlns='jabber:client' xmlns:stream='s'>",
        "<iq/><stream:features><a/></stream:features>",
    );
    assert_eq!(clients[0].to_string(), "<iq/>");
    assert_eq!(clients[1].to_string(), "<stream:features xmlns:stream='s'><a/></stream:features>");
}

fn error(limits: Limits, text: &str, chunk: usize) -> Option<XmlError> {
    let mut r = StreamReader::new(limits);
    for c in text.as_bytes().chunks(chunk) {
        r.push(c);
        loop {
            match r.next_event() {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(e) => return Some(e),
            }
        }
    }
    None
}

#[test]
fn limits_of_a_stream_count_from_where_each_element_starts() {
    let limits = Limits { bytes: 60, depth: 3, attrs: 4, nodes: 8 };
    let header = "<s:s xmlns:s='s' xmlns='d'>";
    let fits = format!("{header}{}<a>{}</a>  <a>{}</a>", " ".repeat(500), "x".repeat(53), "y".repeat(53));
    let long = format!("{header}<a>{}</a>", "x".repeat(54));
    let deep = format!("{header}<a><b><c><d></d></c></b></a>");
    let wide = format!("{header}<a q='' r='' t='' u='' v=''/>");
    let many = format!("{header}<a><b/><b/><b/><b/><b/><b/><b/><b/></a>");
    for chunk in [1, 7, 1000] {
        assert_eq!(error(limits, &fits, chunk), None, "chunks of {chunk}");
        assert_eq!(error(limits, &long, chunk), Some(XmlError::Limit("bytes")), "chunks of {chunk}");
        assert_eq!(error(limits, &deep, chunk), Some(XmlError::Limit("depth")), "chunks of {chunk}");
        assert_eq!(error(limits, &wide, chunk), Some(XmlError::Limit("attributes")), "chunks of {chunk}");
        assert_eq!(error(limits, &many, chunk), Some(XmlError::Limit("nodes")), "chunks of {chunk}");
    }
}

#[test]
fn prefixes_in_scope_are_bounded_over_all_depths() {
    let limits = Limits { attrs: 4, ..Limits::default() };
    let raw = "<a xmlns:b='u' xmlns:c='u'><a xmlns:d='u' xmlns:e='u'><a xmlns:f='u'/></a></a>";
    let refused = Stanza::parse(Bytes::from_static(raw.as_bytes()), &limits).unwrap_err();
    assert_eq!(refused, XmlError::Limit("prefixes"));
    let side_by_side = "<a><b xmlns:b='u' xmlns:c='u' xmlns:d='u'/><b xmlns:b='u' xmlns:c='u' xmlns:d='u'/></a>";
    Stanza::parse(Bytes::from_static(side_by_side.as_bytes()), &limits).unwrap();
}

#[test]
fn a_declaration_says_only_what_is_so_anyway() {
    let rest = "<s:s xmlns:s='s'>";
    for good in ["", "<?xml version='1.0'?>", "\n<?xml version=\"1.0\" encoding='utf-8' standalone='yes' ?>\n"] {
        assert_eq!(error(Limits::default(), &format!("{good}{rest}"), 3), None, "{good}");
    }
    for (bad, condition) in [
        ("<?xml version='1.1'?>", "not-well-formed"),
        ("<?xml encoding='utf-8'?>", "not-well-formed"),
        ("<?xml encoding='utf-8' version='1.0'?>", "not-well-formed"),
        ("<?xml version='1.0' encoding='latin1'?>", "unsupported-encoding"),
        ("<?xml-stylesheet href='a'?>", "restricted-xml"),
        ("<?xml version='1.0'?><?xml version='1.0'?>", "restricted-xml"),
        ("<!DOCTYPE a>", "restricted-xml"),
        ("<!-- -->", "restricted-xml"),
    ] {
        let e = error(Limits::default(), &format!("{bad}{rest}"), 3).expect(bad);
        assert_eq!(e.stream_condition(), condition, "{bad}");
    }
}
