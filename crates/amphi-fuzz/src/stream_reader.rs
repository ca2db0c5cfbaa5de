//! A stream is read alike however it was cut, and its elements mean what they mean in the whole document.

use amphi_stanza::{Limits, Stanza, StreamEvent, StreamReader};

use crate::xml::{Seen, odd_return, seen_by_rxml, seen_by_us};

const LIMITS: Limits = Limits { bytes: 4096, depth: 16, attrs: 16, nodes: 256 };

/// What came out of a stream: events as text, and the error.
struct Read {
    log: Vec<String>,
    elements: Vec<Stanza>,
    ended: bool,
}

fn read(text: &[u8], mut next_chunk: impl FnMut() -> usize) -> Read {
    let mut r = StreamReader::new(LIMITS);
    let mut out = Read { log: Vec::new(), elements: Vec::new(), ended: false };
    let mut rest = text;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(next_chunk().clamp(1, rest.len()));
        rest = after;
        r.push(chunk);
        loop {
            match r.next_event() {
                Ok(None) => break,
                Ok(Some(StreamEvent::Header(s))) => out.log.push(format!("header {s}")),
                Ok(Some(StreamEvent::Element(s))) => {
                    out.log.push(format!("element {s}"));
                    out.elements.push(s);
                }
                Ok(Some(StreamEvent::End)) => {
                    out.log.push("end".to_owned());
                    out.ended = true;
                }
                Err(e) => {
                    assert_eq!(r.next_event().err().as_ref(), Some(&e), "an error stays");
                    out.log.push(format!("{e}"));
                    return out;
                }
            }
        }
    }
    out
}

/// The first byte seeds the cuts; the rest is a stream.
pub fn stream_reader(data: &[u8]) {
    let Some((&seed, text)) = data.split_first() else { return };
    let whole = read(text, || usize::MAX);
    let mut state = u32::from(seed).wrapping_mul(0x9e37_79b9) | 1;
    let cut = read(text, || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        1 + (state >> 16) as usize % (1 + seed as usize % 64)
    });
    assert_eq!(whole.log, cut.log, "cutting changes {}", String::from_utf8_lossy(text));
    if whole.ended {
        let end = text.iter().rposition(|c| *c == b'>').map_or(text.len(), |i| i + 1);
        agrees(text[..end].trim_ascii_start(), &whole.elements);
    }
}

/// What a whole document has between the header and its end is what came out.
fn agrees(text: &[u8], elements: &[Stanza]) {
    // There may be more behind the end, and the reader takes white space between the declaration and what precedes it.
    let Ok(document) = seen_by_rxml(text) else { return };
    let children: Vec<Seen> = document.children.into_iter().flatten().collect();
    let ours: Vec<Seen> = elements.iter().map(|s| seen_by_us(s.root(), &mut Vec::new())).collect();
    // A client's default namespace is not written into its elements.
    let client = document.name.0 == "jabber:client" || text.windows(13).any(|w| w == b"jabber:client");
    if client {
        assert_eq!(children.len(), ours.len());
    } else if !odd_return(text) {
        assert_eq!(children, ours, "{}", String::from_utf8_lossy(text));
    }
}
