//! Characters, names and references of XML 1.0, and skipping over plain runs of bytes.

use std::borrow::Cow;

/// 0: not in names; 1: in names but not first; 2: may start a name; 3: look at the character.
const NAME: [u8; 256] = {
    let mut t = [0u8; 256];
    let mut i = 0;
    while i < 256 {
        t[i] = match i as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => 2,
            b'0'..=b'9' | b'-' | b'.' => 1,
            0x80..=0xff => 3,
            _ => 0,
        };
        i += 1;
    }
    t
};

fn name_start_char(c: char) -> bool {
    matches!(c as u32,
        0xC0..=0xD6 | 0xD8..=0xF6 | 0xF8..=0x2FF | 0x370..=0x37D | 0x37F..=0x1FFF | 0x200C..=0x200D
        | 0x2070..=0x218F | 0x2C00..=0x2FEF | 0x3001..=0xD7FF | 0xF900..=0xFDCF | 0xFDF0..=0xFFFD | 0x10000..=0xEFFFF)
}

fn name_char(c: char) -> bool {
    name_start_char(c) || matches!(c as u32, 0xB7 | 0x300..=0x36F | 0x203F..=0x2040)
}

/// `Char` of XML 1.0.
fn legal_char(c: u32) -> bool {
    matches!(c, 0x9 | 0xA | 0xD | 0x20..=0xD7FF | 0xE000..=0xFFFD | 0x10000..=0x10FFFF)
}

/// The end of the name without colon that starts at `from`; `from` itself when there is none.
#[inline]
pub(crate) fn ncname_end(raw: &str, from: usize) -> usize {
    let b = raw.as_bytes();
    let mut at = from;
    while let Some(&c) = b.get(at) {
        match NAME[c as usize] {
            2 => at += 1,
            1 if at > from => at += 1,
            3 => {
                // Everything before was a whole character, so this is a boundary.
                let Some(ch) = raw[at..].chars().next() else { break };
                if !(name_start_char(ch) || (at > from && name_char(ch))) {
                    break;
                }
                at += ch.len_utf8();
            }
            _ => break,
        }
    }
    at
}

/// Bytes at which a scan of text stops; 0xEF may begin U+FFFE or U+FFFF.
const fn stops_text(c: u8) -> bool {
    c < 0x20 || matches!(c, b'<' | b'&' | b']' | 0xef)
}

/// Bytes at which a scan of an attribute value stops, whatever its quotes.
const fn stops_value(c: u8) -> bool {
    c < 0x20 || matches!(c, b'<' | b'&' | b'"' | b'\'' | 0xef)
}

/// Bytes that may not be written as they are.
const fn stops_plain(c: u8) -> bool {
    c < 0x20 || matches!(c, b'<' | b'>' | b'&' | b'"' | b'\'' | 0xef)
}

macro_rules! table {
    ($stops:ident) => {{
        let mut t = [false; 256];
        let mut i = 0;
        while i < 256 {
            t[i] = $stops(i as u8);
            i += 1;
        }
        t
    }};
}

const TEXT: [bool; 256] = table!(stops_text);
const VALUE: [bool; 256] = table!(stops_value);
const PLAIN: [bool; 256] = table!(stops_plain);

/// Skips bytes that are written as they are.
#[inline]
pub(crate) fn skip_plain(b: &[u8], at: usize) -> usize {
    skip(b, at, &PLAIN, stops_plain)
}

/// Skips bytes that need no look in text.
#[inline]
pub(crate) fn skip_text(b: &[u8], at: usize) -> usize {
    skip(b, at, &TEXT, stops_text)
}

/// Skips bytes that need no look in an attribute value.
#[inline]
pub(crate) fn skip_value(b: &[u8], at: usize) -> usize {
    skip(b, at, &VALUE, stops_value)
}

#[inline]
fn skip(b: &[u8], mut at: usize, stops: &[bool; 256], stop: impl Fn(u8) -> bool) -> usize {
    // Most runs are short; long ones go on in blocks that compile to vector compares.
    let short = (at + 16).min(b.len());
    while at < short {
        if stops[b[at] as usize] {
            return at;
        }
        at += 1;
    }
    while let Some(block) = b.get(at..).and_then(|r| r.first_chunk::<16>()) {
        if block.iter().fold(false, |hit, &c| hit | stop(c)) {
            break;
        }
        at += 16;
    }
    while at < b.len() && !stops[b[at] as usize] {
        at += 1;
    }
    at
}

/// The longest number in a character reference; leading zeros count.
const MAX_DIGITS: usize = 8;

/// Decodes the reference at the start of `b`: the character and the length of the reference.
pub(crate) fn decode_reference(b: &[u8]) -> Option<(char, usize)> {
    let end = b.iter().take(MAX_DIGITS + 4).position(|&c| c == b';')?;
    let c = match &b[1..end] {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        [b'#', b'x', hex @ ..] => number(hex, 16)?,
        [b'#', dec @ ..] => number(dec, 10)?,
        _ => return None,
    };
    Some((c, end + 1))
}

fn number(digits: &[u8], radix: u32) -> Option<char> {
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    let mut n = 0u32;
    for &d in digits {
        n = n.checked_mul(radix)?.checked_add((d as char).to_digit(radix)?)?;
    }
    if legal_char(n) { char::from_u32(n) } else { None }
}

/// An attribute value as XML 1.0 §3.3.3 wants it: references replaced, and literal white space becomes a space, after
/// §2.11 made one line feed of CR LF.
pub(crate) fn decode_value(v: &str) -> String {
    decode(v, |c| matches!(c, b'&' | b'\r' | b'\n' | b'\t'), ' ')
}

/// Text with references replaced and line ends as XML 1.0 §2.11 wants them.
pub(crate) fn decode_text(v: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'&', b'\r', v.as_bytes()).is_none() {
        return Cow::Borrowed(v);
    }
    Cow::Owned(decode(v, |c| matches!(c, b'&' | b'\r'), '\n'))
}

/// A CDATA section's text: only line ends are touched.
pub(crate) fn decode_cdata(v: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\r', v.as_bytes()).is_none() {
        return Cow::Borrowed(v);
    }
    Cow::Owned(decode(v, |c| c == b'\r', '\n'))
}

fn decode(v: &str, special: impl Fn(u8) -> bool, white: char) -> String {
    let mut out = String::with_capacity(v.len());
    let mut rest = v;
    while let Some(i) = rest.bytes().position(&special) {
        out.push_str(&rest[..i]);
        let b = &rest.as_bytes()[i..];
        let (c, used) = match b {
            [b'&', ..] => decode_reference(b).unwrap_or(('&', 1)),
            [b'\r', b'\n', ..] => (white, 2),
            _ => (white, 1),
        };
        out.push(c);
        rest = &rest[i + used..];
    }
    out.push_str(rest);
    out
}
