//! The elements of stream management, in both versions that clients speak.

use std::time::Duration;

use bytes::Bytes;

use amphi_stanza::{Condition, Element, XmlWriter, ns};

/// Version of stream management; they differ in the namespace alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Version {
    /// `urn:xmpp:sm:2`
    V2,
    /// `urn:xmpp:sm:3`
    #[default]
    V3,
}

impl Version {
    /// Namespace.
    pub fn ns(self) -> &'static str {
        match self {
            Self::V2 => ns::SM2,
            Self::V3 => ns::SM,
        }
    }

    /// The version of an element; [`Version::V3`] for anything that is not of version 2.
    pub fn of(e: Element<'_>) -> Self {
        if e.ns() == ns::SM2 { Self::V2 } else { Self::V3 }
    }
}

/// An element that a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SmElement {
    /// `<enable/>`
    Enable {
        /// The client wants to be able to resume.
        resume: bool,
        /// How long it would like the stream to be kept.
        max: Option<Duration>,
        /// Version; answers use the same.
        version: Version,
    },
    /// `<r/>`
    Request,
    /// `<a/>`
    Ack {
        /// Stanzas handled, modulo 2^32.
        h: u32,
    },
    /// `<resume/>`
    Resume {
        /// Resumption id.
        previd: String,
        /// Stanzas handled, modulo 2^32.
        h: u32,
        /// Version; answers use the same.
        version: Version,
    },
}

impl SmElement {
    /// Reads an element; `None` if it is none of these, or lacks what it needs. A caller that gets `None` for an element
    /// of these namespaces answers [`failed`] with `bad-request`.
    pub fn parse(e: Element<'_>) -> Option<Self> {
        if !matches!(e.ns(), ns::SM | ns::SM2) {
            return None;
        }
        let version = Version::of(e);
        let h = || e.attr("h")?.parse::<u32>().ok();
        match e.name() {
            "enable" => Some(Self::Enable {
                resume: matches!(e.attr("resume").as_deref(), Some("true" | "1")),
                max: e.attr("max").and_then(|m| m.parse().ok()).map(Duration::from_secs),
                version,
            }),
            "r" => Some(Self::Request),
            "a" => Some(Self::Ack { h: h()? }),
            "resume" => Some(Self::Resume {
                previd: e.attr("previd").filter(|p| !p.is_empty() && p.len() <= 256)?.into_owned(),
                h: h()?,
                version,
            }),
            _ => None,
        }
    }
}

/// `<enabled/>`; with an id and the time that the stream is kept if it may be resumed. Clients want both
/// (`spec/client.md` 5).
pub fn enabled(version: Version, resume: Option<(&str, Duration)>) -> Bytes {
    let mut w = XmlWriter::new();
    w.open_ns("enabled", version.ns());
    if let Some((id, max)) = resume {
        w.attr("id", id).attr("resume", "true").attr("max", max.as_secs());
    }
    w.finish()
}

/// `<resumed/>`.
pub fn resumed(version: Version, previd: &str, h: u32) -> Bytes {
    let mut w = XmlWriter::new();
    w.open_ns("resumed", version.ns()).attr("h", h).attr("previd", previd);
    w.finish()
}

/// `<failed/>`; with `h` when the old stream's counter is still known.
pub fn failed(version: Version, condition: Condition, h: Option<u32>) -> Bytes {
    let mut w = XmlWriter::new();
    w.open_ns("failed", version.ns()).attr_opt("h", h).empty(condition.as_str(), ns::STANZAS);
    w.finish()
}

/// `<r/>`.
pub fn request(version: Version) -> Bytes {
    Bytes::from_static(match version {
        Version::V2 => b"<r xmlns='urn:xmpp:sm:2'/>",
        Version::V3 => b"<r xmlns='urn:xmpp:sm:3'/>",
    })
}

/// `<a/>`.
pub fn ack(version: Version, h: u32) -> Bytes {
    let mut w = XmlWriter::new();
    w.open_ns("a", version.ns()).attr("h", h);
    w.finish()
}

#[cfg(test)]
mod tests {
    use amphi_stanza::{Limits, Stanza};

    use super::*;

    fn parse(xml: &str) -> Option<SmElement> {
        SmElement::parse(Stanza::parse(Bytes::from(xml.to_owned()), &Limits::default()).unwrap().root())
    }

    #[test]
    fn both_versions_are_read() {
        assert_eq!(
            parse("<enable resume=\"true\" max='30' xmlns=\"urn:xmpp:sm:3\"/>"),
            Some(SmElement::Enable { resume: true, max: Some(Duration::from_secs(30)), version: Version::V3 })
        );
        assert_eq!(
            parse("<enable xmlns='urn:xmpp:sm:2' resume='0'/>"),
            Some(SmElement::Enable { resume: false, max: None, version: Version::V2 })
        );
        assert_eq!(parse("<r xmlns='urn:xmpp:sm:3'/>"), Some(SmElement::Request));
        assert_eq!(parse("<a xmlns='urn:xmpp:sm:2' h='4294967295'/>"), Some(SmElement::Ack { h: u32::MAX }));
        assert_eq!(
            parse("<resume h='9' previd='ZC' xmlns='urn:xmpp:sm:3'/>"),
            Some(SmElement::Resume { previd: "ZC".into(), h: 9, version: Version::V3 })
        );
    }

    #[test]
    fn incomplete_elements_are_not_read() {
        for bad in [
            "<a xmlns='urn:xmpp:sm:3'/>",
            "<a xmlns='urn:xmpp:sm:3' h='-1'/>",
            "<a xmlns='urn:xmpp:sm:3' h='4294967296'/>",
            "<resume xmlns='urn:xmpp:sm:3' h='1'/>",
            "<resume xmlns='urn:xmpp:sm:3' h='1' previd=''/>",
            "<resume xmlns='urn:xmpp:sm:3' previd='x'/>",
            "<enable xmlns='jabber:client'/>",
            "<odd xmlns='urn:xmpp:sm:3'/>",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn answers_carry_what_clients_need() {
        assert_eq!(
            enabled(Version::V3, Some(("ZC", Duration::from_secs(60)))),
            "<enabled xmlns='urn:xmpp:sm:3' id='ZC' resume='true' max='60'/>"
        );
        assert_eq!(enabled(Version::V2, None), "<enabled xmlns='urn:xmpp:sm:2'/>");
        assert_eq!(resumed(Version::V3, "Z&", 7), "<resumed xmlns='urn:xmpp:sm:3' h='7' previd='Z&amp;'/>");
        assert_eq!(
            failed(Version::V3, Condition::ItemNotFound, Some(3)),
            "<failed xmlns='urn:xmpp:sm:3' h='3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>"
        );
        assert_eq!(ack(Version::V3, 5), "<a xmlns='urn:xmpp:sm:3' h='5'/>");
        assert_eq!(request(Version::V2), "<r xmlns='urn:xmpp:sm:2'/>");
    }
}
