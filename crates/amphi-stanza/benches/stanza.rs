//! What one presence costs: reading, forwarding under new addresses, one more receiver, looking something up.
//!
//! `cargo bench -p amphi-stanza`

use amphi_stanza::{Frame, Jid, Limits, Stanza, StreamEvent, StreamReader, ns};
use bytes::Bytes;
use divan::{Bencher, black_box, counter::BytesCount};

/// As a browser in a conference sends it: 1.5 KB.
const PRESENCE: &[u8] = include_bytes!("presence.xml");

fn main() {
    divan::main();
}

fn presence() -> Stanza {
    Stanza::parse(Bytes::from_static(PRESENCE), &Limits::default()).unwrap()
}

#[divan::bench]
fn parse(b: Bencher) {
    let (raw, limits) = (Bytes::from_static(PRESENCE), Limits::default());
    b.counter(BytesCount::new(PRESENCE.len())).bench(|| Stanza::parse(black_box(raw.clone()), &limits).unwrap());
}

#[divan::bench]
fn parse_and_rewrite(b: Bencher) {
    let (raw, limits) = (Bytes::from_static(PRESENCE), Limits::default());
    b.bench(|| {
        let s = Stanza::parse(black_box(raw.clone()), &limits).unwrap();
        s.rewrite().set("from", "standup@conference.meet.example/1a2b3c4d").set("to", "x@meet.example/y").finish()
    });
}

#[divan::bench]
fn frame(b: Bencher) {
    let s = presence();
    b.bench(|| Frame::of(black_box(&s)));
}

#[divan::bench]
fn frame_render(b: Bencher) {
    let frame = Frame::of(&presence());
    b.bench(|| frame.render(black_box("1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d@meet.example/Qx3Zt9LmPw2d")));
}

#[divan::bench]
fn look_up(b: Bencher) {
    let s = presence();
    b.bench(|| {
        let s = black_box(&s);
        let nick = s.child("nick", ns::NICK).map(|n| n.text().len());
        let caps = s.child("c", ns::CAPS).and_then(|c| c.attr("ver").map(|v| v.len()));
        (s.kind(), s.attr("to").map(|t| t.len()), nick, caps)
    });
}

#[divan::bench]
fn stream_reader(b: Bencher) {
    let mut r = StreamReader::new(Limits::default());
    r.push(b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>");
    assert!(matches!(r.next_event(), Ok(Some(StreamEvent::Header(_)))));
    b.bench_local(move || {
        r.push(black_box(PRESENCE));
        r.next_event().unwrap().unwrap()
    });
}

#[divan::bench]
fn stream_reader_of_server(b: Bencher) {
    let presence = String::from_utf8_lossy(PRESENCE).replace(" xmlns='jabber:client'", "");
    let mut r = StreamReader::new(Limits::default());
    r.push(b"<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'>");
    assert!(matches!(r.next_event(), Ok(Some(StreamEvent::Header(_)))));
    b.bench_local(move || {
        r.push(black_box(presence.as_bytes()));
        r.next_event().unwrap().unwrap()
    });
}

#[divan::bench]
fn jid(b: Bencher) {
    b.bench(|| Jid::parse(black_box("1a2b3c4d-5e6f-4a7b-8c9d-0e1f2a3b4c5d@meet.example/Qx3Zt9LmPw2d")).unwrap());
}
