//! The wire forms that every stream needs: header, stream management elements, and stanzas between the
//! namespaces of clients and of servers.

use amphi_stanza::{Element, Limits, Stanza, XmlError, XmlWriter, ns};
use bytes::Bytes;

use crate::StreamCondition;
use crate::sm::{self, Version};

/// `</stream:stream>`.
pub(crate) const END: &[u8] = b"</stream:stream>";

/// The attributes of a stream header.
#[derive(Default)]
pub(crate) struct Header<'a> {
    pub(crate) xmlns: &'a str,
    pub(crate) from: Option<&'a str>,
    pub(crate) to: Option<&'a str>,
    pub(crate) id: Option<&'a str>,
}

impl Header<'_> {
    /// The start tag, which stays open.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut w = XmlWriter::new();
        w.open_ns("stream:stream", self.xmlns).attr("xmlns:stream", ns::STREAM);
        if self.xmlns == ns::SERVER {
            // XEP-0220 §2.1.1: the prefix tells that dialback is understood.
            w.attr("xmlns:db", ns::DIALBACK);
        }
        w.attr_opt("from", self.from).attr_opt("to", self.to).attr_opt("id", self.id);
        w.attr("version", "1.0").attr("xml:lang", "en");
        let tag = w.finish_string();
        let mut out = b"<?xml version='1.0'?>".to_vec();
        out.extend_from_slice(tag.trim_end_matches("/>").as_bytes());
        out.push(b'>');
        out
    }
}

/// Whether a stream error says that the server may soon be there again, maybe with our session.
pub(crate) fn is_passing(condition: StreamCondition) -> bool {
    matches!(
        condition,
        StreamCondition::ConnectionTimeout
            | StreamCondition::Reset
            | StreamCondition::SystemShutdown
            | StreamCondition::ResourceConstraint
    )
}

/// An element without content in a namespace of its own.
pub(crate) fn empty(name: &'static str, xmlns: &str) -> Bytes {
    let mut w = XmlWriter::new();
    w.empty(name, xmlns);
    w.finish()
}

/// `<r/>` (XEP-0198 §4).
pub(crate) fn ack_request() -> Bytes {
    sm::request(Version::V3)
}

/// `<a h=''/>`.
pub(crate) fn ack(h: u32) -> Bytes {
    sm::ack(Version::V3, h)
}

/// `<enable/>`: we always want to be able to resume.
pub(crate) fn enable() -> Bytes {
    let mut w = XmlWriter::new();
    w.open_ns("enable", ns::SM).attr("resume", "true");
    w.finish()
}

/// `<resume/>`.
pub(crate) fn resume(previd: &str, h: u32) -> Bytes {
    let mut w = XmlWriter::new();
    w.open_ns("resume", ns::SM).attr("previd", previd).attr("h", h);
    w.finish()
}

/// The `h` of an element of stream management.
pub(crate) fn read_h(e: &Element<'_>) -> Option<u32> {
    e.attr("h")?.parse().ok()
}

/// The bytes of a stanza inside a stream whose default namespace is that of its stanzas: without an own declaration.
pub(crate) fn stanza_bytes(s: &Stanza) -> Bytes {
    s.rewrite().unset("xmlns").finish()
}

/// A stanza received between servers as it travels inside a node: in `jabber:client`, as are its children that lean on
/// the stream's namespace.
///
/// # Errors
/// If the copy is not well-formed, which would be a fault of ours.
pub(crate) fn into_client(s: Stanza) -> Result<Stanza, XmlError> {
    if s.root().ns() != ns::SERVER {
        return Ok(s);
    }
    // The reader has applied its limits already.
    let limits = Limits { bytes: usize::MAX >> 1, depth: usize::MAX, attrs: usize::MAX, nodes: usize::MAX };
    Stanza::parse(s.rewrite().set("xmlns", ns::CLIENT).finish(), &limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(s: &'static str) -> Stanza {
        Stanza::parse(Bytes::from_static(s.as_bytes()), &Limits::default()).unwrap()
    }

    #[test]
    fn a_header_is_an_open_tag() {
        let h = Header { xmlns: ns::SERVER, from: Some("a.example"), to: Some("b'.example"), id: None }.write();
        let text = String::from_utf8(h).unwrap();
        assert!(text.ends_with("xml:lang='en'>"), "{text}");
        assert!(text.contains("to='b&apos;.example'"), "{text}");
        assert!(text.contains("xmlns:db='jabber:server:dialback'"), "{text}");
    }

    #[test]
    fn children_of_a_servers_stanza_come_in_the_clients_namespace() {
        let s = parse("<message xmlns='jabber:server' from='a' to='b'><body>x</body></message>");
        let s = into_client(s).unwrap();
        assert!(s.child("body", ns::CLIENT).is_some());
        let back = stanza_bytes(&s);
        assert_eq!(&back[..], b"<message from='a' to='b'><body>x</body></message>");
    }
}
