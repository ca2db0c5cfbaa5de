//! The strict parser against `rxml`: the same elements accepted, the same seen in them, whatever the input.

#[path = "../../amphi-fuzz/src/stream_reader.rs"]
#[allow(dead_code, unreachable_pub)]
mod stream_reader;
#[path = "../../amphi-fuzz/src/xml.rs"]
#[allow(dead_code, unreachable_pub)]
mod xml;

use proptest::prelude::*;
use proptest::sample::select;

const NAMES: &[&str] = &[
    "a",
    "b",
    "message",
    "p:a",
    "q:a",
    "q:b",
    "xml:a",
    "é",
    "a.b-c_1",
    "\u{10000}",
    "a\u{b7}",
    "p:é",
    ":a",
    "a:",
    "p:q:a",
    "1a",
    "-a",
    "xmlns:a",
    "xmlns",
    "P:a",
    "\u{37e}",
];
const ATTRS: &[&str] = &[
    "to",
    "from",
    "k",
    "p:k",
    "q:k",
    "xmlns",
    "xmlns",
    "xmlns:p",
    "xmlns:p",
    "xmlns:q",
    "xmlns:xml",
    "xmlns:xmlns",
    "xml:lang",
    "xml:k",
    "é",
    ":k",
    "k:",
    "p:1",
];
const URIS: &[&str] = &[
    "u",
    "v",
    "",
    "jabber:client",
    "jabber:server",
    "u&#x76;",
    "u&amp;v",
    "u\tv",
    " u",
    "http://www.w3.org/2000/xmlns/",
    "http://www.w3.org/XML/1998/namespace",
    "http://www.w3.org/XML/1998/namespac&#101;",
    "é",
];
const TEXTS: &[&str] = &[
    "x",
    " ",
    "\t",
    "\n",
    "\r",
    "\r\n",
    "\r\r\n",
    "]",
    "]]",
    "]]>",
    "]]&gt;",
    ">",
    "<",
    "&",
    "&amp;",
    "&lt;",
    "&gt;",
    "&quot;",
    "&apos;",
    "&nbsp;",
    "&#13;",
    "&#xD;",
    "&#x0;",
    "&#1;",
    "&#xD800;",
    "&#xFFFE;",
    "&#xfffd;",
    "&#x10FFFF;",
    "&#x110000;",
    "&#00000010;",
    "&#000000010;",
    "&#x0000000a;",
    "&#;",
    "&#x;",
    "&#X41;",
    "&#+1;",
    "&#4294967377;",
    "&amp",
    "&;",
    "'",
    "\"",
    "é",
    "\u{fffd}",
    "\u{ffef}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{feff}",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{1}",
    "\u{0}",
    "\u{1fffe}",
    "🎥",
    "<![CDATA[",
    "<![CDATA[]]>",
    "<![CDATA[<&]]]]>",
    "<![CDATA[a]>b]]>",
    "<![CDATA[\r\n]]>",
    "<![cdata[]]>",
    "<!-- -->",
    "<?p i?>",
    "<!DOCTYPE a>",
    "sixteen bytes or more of plain text",
];

fn attr() -> impl Strategy<Value = String> {
    let value = prop_oneof![4 => select(URIS).prop_map(str::to_owned), 2 => text()];
    (
        select(&[" ", " ", " ", "\n", "  ", ""][..]),
        select(ATTRS),
        select(&["=", "=", "=", " = ", ""][..]),
        value,
        any::<u8>(),
    )
        .prop_map(|(space, name, eq, value, quote)| {
            let q = ["'", "\"", "'", "\"", "'", "\"", "'", ""][quote as usize % 8];
            format!("{space}{name}{eq}{q}{value}{q}")
        })
}

/// Text that is mostly legal, since one wrong piece spoils the whole.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![30 => select(&["x", "é", " ", "&amp;", "&#65;", "🎥", "\r\n", "plain text of some length", "]"][..]), 1 => select(TEXTS)];
    proptest::collection::vec(piece, 0..4).prop_map(|v| v.concat())
}

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => select(&NAMES[..9]), 1 => select(NAMES)]
}

fn element() -> impl Strategy<Value = String> {
    let leaf = (name(), proptest::collection::vec(attr(), 0..3)).prop_map(|(n, a)| format!("<{n}{}/>", a.concat()));
    leaf.prop_recursive(4, 24, 4, |inner| {
        let content = proptest::collection::vec(prop_oneof![inner, text()], 0..4);
        (name(), proptest::collection::vec(attr(), 0..4), content, select(&["", "", "", " ", "x"][..]))
            .prop_map(|(n, a, c, end)| format!("<{n}{}>{}</{n}{end}>", a.concat(), c.concat()))
    })
}

/// Wrapped so that the usual prefixes are declared.
fn declared() -> impl Strategy<Value = String> {
    (
        element(),
        select(&["", " xmlns='d'", " xmlns='jabber:client'", " xmlns='jabber:server'"][..]),
        select(&["m", "p:m", "q:m"][..]),
    )
        .prop_map(|(e, d, n)| format!("<{n} xmlns:p='u' xmlns:q='v'{d}>{e}</{n}>"))
}

fn mutate(mut b: Vec<u8>, edits: &[(u16, u8, u8)]) -> Vec<u8> {
    for &(at, what, with) in edits {
        if b.is_empty() {
            break;
        }
        let at = at as usize % b.len();
        match what % 5 {
            0 => drop(b.remove(at)),
            1 => b[at] = with,
            2 => b.insert(at, b"<>/='\"&;:]! \t\rx\x80\xef\xbf"[with as usize % 18]),
            3 => {
                let t = TEXTS[with as usize % TEXTS.len()];
                b.splice(at..at, t.bytes());
            }
            _ => b.truncate(at + 1),
        }
    }
    b
}

fn edits() -> impl Strategy<Value = Vec<(u16, u8, u8)>> {
    proptest::collection::vec((any::<u16>(), any::<u8>(), any::<u8>()), 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn accepts_and_sees_what_rxml_does(e in prop_oneof![element(), declared()], edits in edits()) {
        xml::xml(&mutate(e.into_bytes(), &edits));
    }

    #[test]
    fn a_stream_is_read_alike_however_it_is_cut(
        header in select(&[
            "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='u' xmlns:q='v'>",
            "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='a&amp;b'>",
            "<?xml version='1.0'?><s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns:p='u' xmlns:q='v'>",
            "<?xml version='1.0' encoding='UTF-8'?>\n<stream xmlns='' xmlns:p='u' >",
        ][..]),
        elements in proptest::collection::vec((element(), select(&["", "", " ", "\n", "x"][..])), 0..5),
        end in select(&["</stream:stream>", "</s:stream >", "</stream>", ""][..]),
        edits in edits(),
        seed: u8,
    ) {
        let mut data = vec![seed];
        let body: String = elements.iter().flat_map(|(e, s)| [e.as_str(), s]).collect();
        data.extend(mutate([header, &body, end].concat().into_bytes(), &edits));
        stream_reader::stream_reader(&data);
    }
}

#[test]
fn every_single_piece_is_judged_as_by_rxml() {
    for t in TEXTS {
        xml::xml(format!("<a>{t}</a>").as_bytes());
        xml::xml(format!("<a k='{t}'/>").as_bytes());
        xml::xml(format!("<a>sixteen bytes and more{t} and more</a>").as_bytes());
    }
    for n in NAMES {
        xml::xml(format!("<{n} xmlns:p='u' xmlns:q='v'/>").as_bytes());
        xml::xml(format!("<m xmlns:p='u' xmlns:q='v'><{n}></{n} ></m>").as_bytes());
    }
    for (a, u) in ATTRS.iter().flat_map(|a| URIS.iter().map(move |u| (a, u))) {
        xml::xml(format!("<a xmlns:p='u' {a}='{u}'/>").as_bytes());
        xml::xml(format!("<a xmlns:p='u' xmlns:q='v'><b p:k='' {a}='{u}'><p:c/><c/></b></a>").as_bytes());
    }
    for raw in [
        "",
        " ",
        "a",
        "<a/>b",
        "<a/><b/>",
        "<a",
        "<a>",
        "</a>",
        "<>",
        "< a/>",
        "<a/ >",
        "<a></b>",
        "<a b/>",
        "<a b=c/>",
        "<a b='c'd='e'/>",
    ] {
        xml::xml(raw.as_bytes());
    }
}
