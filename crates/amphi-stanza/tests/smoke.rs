//! Reading, forwarding and framing one stanza.

use amphi_stanza::{Frame, Limits, Stanza, StreamEvent, StreamReader, ns};
use bytes::Bytes;

fn parse(s: &'static str) -> Stanza {
    Stanza::parse(Bytes::from_static(s.as_bytes()), &Limits::default()).unwrap()
}

#[test]
fn forwards_children_untouched_under_a_new_start_tag() {
    let s = parse(
        "<message to='a@b/c' type=\"groupchat\" xmlns='jabber:client'><body>1 &lt; 2</body><nick xmlns='n'>x</nick></message>",
    );
    let out = s.rewrite().set("from", "r@m/n").unset("type").keep(|e| e.name() != "nick").stanza();
    assert_eq!(out.attr("from").unwrap(), "r@m/n");
    assert!(out.ty().is_none());
    assert_eq!(out.root().inner(), "<body>1 &lt; 2</body>");
    assert_eq!(out.child("body", ns::CLIENT).unwrap().text(), "1 < 2");
}

#[test]
fn a_frame_differs_per_receiver_in_its_address_only() {
    let s = parse("<presence from='r@m/n' to='x@y/z'/>");
    let f = Frame::of(&s);
    let whole = Stanza::parse(f.render("q@w/e"), &Limits::default()).unwrap();
    assert_eq!(whole.attr("to").unwrap(), "q@w/e");
    assert_eq!(whole.attr("from").unwrap(), "r@m/n");
    assert_eq!(whole.root().ns(), ns::CLIENT);
}

#[test]
fn a_stream_is_cut_at_any_byte() {
    let text = "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' to='x'>\n<stream:features><a/></stream:features><db:result from='a' to='b'>k</db:result><message from='a@b' to='c@d'><body><![CDATA[a]]]]></body></message> </stream:stream>";
    for step in 1..60 {
        let mut r = StreamReader::new(Limits::default());
        let mut got = Vec::new();
        for chunk in text.as_bytes().chunks(step) {
            r.push(chunk);
            while let Some(e) = r.next_event().unwrap() {
                got.push(match e {
                    StreamEvent::Header(h) => format!("header {}", h.attr("to").unwrap()),
                    StreamEvent::Element(e) => format!(
                        "{} {} {}",
                        e.root().ns(),
                        e.root().name(),
                        e.root().children().next().map(|c| c.text().into_owned()).unwrap_or_default()
                    ),
                    StreamEvent::End => "end".to_owned(),
                });
            }
        }
        assert_eq!(
            got,
            [
                "header x",
                "http://etherx.jabber.org/streams features ",
                "jabber:server:dialback result ",
                "jabber:server message a]]",
                "end"
            ],
            "chunks of {step}"
        );
    }
}
