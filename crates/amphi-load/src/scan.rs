//! A cheap look at one received frame: which element it is, which attributes its root has. It relies on one element
//! per frame (RFC 7395 3.3) and checks nothing; `strict` does that for a sample of the clients.

use memchr::memmem;

/// What a frame is, by the name of its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `iq`
    Iq,
    /// `presence`
    Presence,
    /// `message`
    Message,
    /// `open` of the framing
    Open,
    /// `close` of the framing
    Close,
    /// stream features
    Features,
    /// stream error
    StreamError,
    /// SASL success
    Success,
    /// SASL failure
    Failure,
    /// stream management enabled
    Enabled,
    /// stream management refused
    Failed,
    /// request for an acknowledgement
    AckRequest,
    /// acknowledgement
    Ack,
    /// anything else
    Other,
}

impl Kind {
    /// Stanzas are what stream management counts.
    pub(crate) fn is_stanza(self) -> bool {
        matches!(self, Self::Iq | Self::Presence | Self::Message)
    }
}

/// The kind of a frame.
pub(crate) fn kind(frame: &[u8]) -> Kind {
    match root_name(frame) {
        b"iq" => Kind::Iq,
        b"presence" => Kind::Presence,
        b"message" => Kind::Message,
        b"open" => Kind::Open,
        b"close" => Kind::Close,
        b"stream:features" | b"features" => Kind::Features,
        b"stream:error" | b"error" => Kind::StreamError,
        b"success" => Kind::Success,
        b"failure" => Kind::Failure,
        b"enabled" => Kind::Enabled,
        b"failed" => Kind::Failed,
        b"r" => Kind::AckRequest,
        b"a" => Kind::Ack,
        _ => Kind::Other,
    }
}

fn root_name(frame: &[u8]) -> &[u8] {
    let start = match frame.iter().position(|b| !b.is_ascii_whitespace()) {
        Some(at) if frame[at] == b'<' => at + 1,
        _ => return b"",
    };
    let len = frame[start..].iter().position(|&b| b.is_ascii_whitespace() || b == b'/' || b == b'>');
    &frame[start..start + len.unwrap_or(0)]
}

/// The raw (still escaped) value of an attribute of the root.
pub(crate) fn attr<'a>(frame: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut rest = &frame[memchr::memchr(b'<', frame)? + 1..];
    rest = &rest[rest.iter().position(|&b| b.is_ascii_whitespace() || b == b'>')?..];
    loop {
        rest = &rest[rest.iter().position(|b| !b.is_ascii_whitespace())?..];
        if matches!(rest[0], b'>' | b'/') {
            return None;
        }
        let eq = memchr::memchr(b'=', rest)?;
        let found = &rest[..eq];
        rest = &rest[eq + 1..];
        rest = &rest[rest.iter().position(|b| !b.is_ascii_whitespace())?..];
        let quote = rest[0];
        if quote != b'\'' && quote != b'"' {
            return None;
        }
        let end = memchr::memchr(quote, &rest[1..])?;
        if found.trim_ascii_end() == name.as_bytes() {
            return Some(&rest[1..=end]);
        }
        rest = &rest[end + 2..];
    }
}

/// The attribute of the root as text.
pub(crate) fn attr_str<'a>(frame: &'a [u8], name: &str) -> Option<&'a str> {
    std::str::from_utf8(attr(frame, name)?).ok()
}

/// Is this text anywhere in the frame?
pub(crate) fn has(frame: &[u8], text: &str) -> bool {
    memmem::find(frame, text.as_bytes()).is_some()
}

/// Does any element carry this attribute with this value, in either kind of quotes?
pub(crate) fn has_attr(frame: &[u8], name: &str, value: &str) -> bool {
    let mut at = 0;
    while let Some(found) = memmem::find(&frame[at..], name.as_bytes()) {
        let after = &frame[at + found + name.len()..];
        if after.len() >= value.len() + 3
            && after[0] == b'='
            && matches!(after[1], b'\'' | b'"')
            && &after[2..2 + value.len()] == value.as_bytes()
            && after[2 + value.len()] == after[1]
        {
            return true;
        }
        at += found + name.len();
    }
    false
}

/// The text between `before` and the next `<`.
pub(crate) fn text_after<'a>(frame: &'a [u8], before: &str) -> Option<&'a str> {
    let start = memmem::find(frame, before.as_bytes())? + before.len();
    let end = memchr::memchr(b'<', &frame[start..])?;
    std::str::from_utf8(&frame[start..start + end]).ok()
}

/// The root of the first element of this name inside the frame, from its `<` on.
pub(crate) fn child<'a>(frame: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let mut at = 1;
    while let Some(found) = memmem::find(&frame[at..], name.as_bytes()) {
        let start = at + found;
        let after = frame.get(start + name.len());
        if frame[start - 1] == b'<' && after.is_some_and(|b| b.is_ascii_whitespace() || matches!(b, b'/' | b'>')) {
            return Some(&frame[start - 1..]);
        }
        at = start + name.len();
    }
    None
}

/// The defined condition of the first error in the frame, for counting errors by kind.
pub(crate) fn condition(frame: &[u8]) -> &str {
    const CONDITIONS: [&str; 24] = [
        "not-allowed",
        "service-unavailable",
        "resource-constraint",
        "not-authorized",
        "registration-required",
        "forbidden",
        "conflict",
        "item-not-found",
        "feature-not-implemented",
        "bad-request",
        "not-acceptable",
        "policy-violation",
        "remote-server-not-found",
        "remote-server-timeout",
        "recipient-unavailable",
        "internal-server-error",
        "jid-malformed",
        "system-shutdown",
        "connection-timeout",
        "host-unknown",
        "not-well-formed",
        "see-other-host",
        "gone",
        "undefined-condition",
    ];
    CONDITIONS.into_iter().find(|c| child(frame, c).is_some()).unwrap_or("unknown-condition")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_the_name_of_the_root() {
        for (frame, want) in [
            (&b"<iq type='get'/>"[..], Kind::Iq),
            (b"<presence/>", Kind::Presence),
            (b"<presence>", Kind::Presence),
            (b"<r xmlns='urn:xmpp:sm:3'/>", Kind::AckRequest),
            (b"<stream:features xmlns='x'/>", Kind::Features),
            (b"<iqs/>", Kind::Other),
            (b"", Kind::Other),
            (b"text", Kind::Other),
            (b"<", Kind::Other),
        ] {
            assert_eq!(kind(frame), want, "{}", String::from_utf8_lossy(frame));
        }
    }

    #[test]
    fn attributes_of_the_root_only() {
        let frame = br#"<iq id="a'b" to = 'x>y' type='get'><q from='other'/></iq>"#;
        assert_eq!(attr(frame, "id"), Some(&b"a'b"[..]));
        assert_eq!(attr(frame, "to"), Some(&b"x>y"[..]));
        assert_eq!(attr(frame, "type"), Some(&b"get"[..]));
        assert_eq!(attr(frame, "from"), None);
        assert_eq!(attr(b"<iq/>", "id"), None);
        assert_eq!(attr(b"<iq id=", "id"), None);
        assert_eq!(attr(b"<iq id='x", "id"), None);
    }

    #[test]
    fn children_attributes_and_text_are_found() {
        let frame = br#"<p><x><status code="110"/><status-x/></x><jid>a@b/c</jid></p>"#;
        assert!(has_attr(frame, "code", "110"));
        assert!(!has_attr(frame, "code", "11"));
        assert_eq!(text_after(frame, "<jid>"), Some("a@b/c"));
        assert!(child(frame, "status").is_some_and(|c| attr(c, "code") == Some(b"110")));
        assert!(child(frame, "stat").is_none());
    }
}
