//! The `<body/>` wrapper: its conditions, how it is written, and how elements are taken out of it.

use bytes::Bytes;

use amphi_stanza::{Child, Element, Limits, Stanza, XmlError, XmlWriter, escape_into, ns};

/// Why a session ends (XEP-0124 §17.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum BoshCondition {
    BadRequest,
    HostGone,
    HostUnknown,
    ImproperAddressing,
    InternalServerError,
    ItemNotFound,
    PolicyViolation,
    RemoteConnectionFailed,
    RemoteStreamError,
    SystemShutdown,
    UndefinedCondition,
}

impl BoshCondition {
    /// The `condition` attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::HostGone => "host-gone",
            Self::HostUnknown => "host-unknown",
            Self::ImproperAddressing => "improper-addressing",
            Self::InternalServerError => "internal-server-error",
            Self::ItemNotFound => "item-not-found",
            Self::PolicyViolation => "policy-violation",
            Self::RemoteConnectionFailed => "remote-connection-failed",
            Self::RemoteStreamError => "remote-stream-error",
            Self::SystemShutdown => "system-shutdown",
            Self::UndefinedCondition => "undefined-condition",
        }
    }
}

/// The answer to a request that belongs to no session (any more), or that cannot be read.
pub fn terminate_body(condition: BoshCondition) -> Bytes {
    answer(&Attributes { terminate: Some(Some(condition)), ..Attributes::default() }, &[])
}

/// What the start tag of an answer says.
#[derive(Default)]
pub(super) struct Attributes<'a> {
    /// The session ends; with or without an error.
    pub(super) terminate: Option<Option<BoshCondition>>,
    /// The session begins.
    pub(super) creation: Option<Creation<'a>>,
}

/// Attributes of the first answer (XEP-0124 §7.2, XEP-0206 §3).
pub(super) struct Creation<'a> {
    pub(super) sid: &'a str,
    pub(super) from: &'a str,
    pub(super) wait: u64,
    pub(super) hold: u32,
    pub(super) requests: u32,
    pub(super) inactivity: u64,
    pub(super) polling: u64,
}

/// Writes an answer around complete elements.
pub(super) fn answer(attributes: &Attributes<'_>, elements: &[Bytes]) -> Bytes {
    let mut w = XmlWriter::new();
    w.open_ns("body", ns::BOSH);
    if let Some(c) = &attributes.creation {
        w.attr("sid", c.sid).attr("from", c.from).attr("wait", c.wait).attr("hold", c.hold);
        w.attr("requests", c.requests).attr("inactivity", c.inactivity).attr("polling", c.polling);
        w.attr("ver", "1.6").attr("secure", "true");
        w.attr("xmlns:xmpp", ns::XBOSH).attr("xmpp:version", "1.0").attr("xmpp:restartlogic", "true");
        w.attr("xmlns:stream", ns::STREAM);
    }
    if let Some(condition) = attributes.terminate {
        w.attr("type", "terminate").attr_opt("condition", condition.map(BoshCondition::as_str));
    }
    let tag = w.finish_string();
    if elements.is_empty() {
        return tag.into();
    }
    let open = &tag.as_bytes()[..tag.len() - "/>".len()];
    let mut out = Vec::with_capacity(tag.len() + elements.iter().map(Bytes::len).sum::<usize>() + 8);
    out.extend_from_slice(open);
    out.push(b'>');
    elements.iter().for_each(|e| out.extend_from_slice(e));
    out.extend_from_slice(b"</body>");
    out.into()
}

/// Value of an attribute in the namespace `urn:xmpp:xbosh`, whatever its prefix.
pub(super) fn xbosh_attr(body: Element<'_>, name: &str) -> Option<String> {
    body.attrs().filter(|(_, v)| v == ns::XBOSH).find_map(|(decl, _)| {
        let prefix = decl.strip_prefix("xmlns:")?;
        body.attrs()
            .find(|(n, _)| n.strip_prefix(prefix).and_then(|r| r.strip_prefix(':')) == Some(name))
            .map(|(_, v)| v.into_owned())
    })
}

/// Whether there is text between the elements.
pub(super) fn has_text(body: Element<'_>) -> bool {
    body.nodes().any(|n| matches!(n, Child::Text(t) if !t.trim().is_empty()))
}

/// Bytes of namespace declarations that a child may take from its body.
const MAX_DECLARATIONS: usize = 1024;

/// Takes a child out of a body as a self-contained element. One without a namespace of its own is in `jabber:client`
/// (XEP-0206 §2), and prefixes that the body declares are declared on it.
pub(super) fn unwrap_child(body: Element<'_>, child: Element<'_>, limits: &Limits) -> Result<Stanza, XmlError> {
    let outer = child.outer();
    let name_end = outer[1..].find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>')).map_or(1, |i| i + 1);
    let mut declarations = String::new();
    let mut declare = |name: &str, uri: &str| {
        declarations.push(' ');
        declarations.push_str(name);
        declarations.push_str("='");
        escape_into(&mut declarations, uri);
        declarations.push('\'');
    };
    if child.attr("xmlns").is_none() {
        declare("xmlns", ns::CLIENT);
    }
    for (decl, uri) in body.attrs() {
        let Some(prefix) = decl.strip_prefix("xmlns:") else { continue };
        let used = outer.match_indices(prefix).any(|(i, _)| outer[i + prefix.len()..].starts_with(':'));
        if used && child.attr(decl).is_none() {
            declare(decl, &uri);
        }
    }
    // Every child has a copy of them: a long one would make much of little.
    if declarations.len() > MAX_DECLARATIONS {
        return Err(XmlError::Limit("declarations"));
    }
    let whole = [&outer[..name_end], &declarations, &outer[name_end..]].concat();
    Stanza::parse(whole.into(), limits)
}
