//! Stream errors (RFC 6120 §4.9): conditions and their wire form, for streams of clients and of servers.

use bytes::Bytes;

use amphi_stanza::{Element, XmlError, XmlWriter, ns};

/// Defined conditions (RFC 6120 §4.9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum StreamCondition {
    BadFormat,
    BadNamespacePrefix,
    Conflict,
    ConnectionTimeout,
    HostGone,
    HostUnknown,
    ImproperAddressing,
    InternalServerError,
    InvalidFrom,
    InvalidNamespace,
    InvalidXml,
    NotAuthorized,
    NotWellFormed,
    PolicyViolation,
    RemoteConnectionFailed,
    Reset,
    ResourceConstraint,
    RestrictedXml,
    SeeOtherHost,
    SystemShutdown,
    UndefinedCondition,
    UnsupportedEncoding,
    UnsupportedFeature,
    UnsupportedStanzaType,
    UnsupportedVersion,
}

impl StreamCondition {
    const ALL: [Self; 25] = [
        Self::BadFormat,
        Self::BadNamespacePrefix,
        Self::Conflict,
        Self::ConnectionTimeout,
        Self::HostGone,
        Self::HostUnknown,
        Self::ImproperAddressing,
        Self::InternalServerError,
        Self::InvalidFrom,
        Self::InvalidNamespace,
        Self::InvalidXml,
        Self::NotAuthorized,
        Self::NotWellFormed,
        Self::PolicyViolation,
        Self::RemoteConnectionFailed,
        Self::Reset,
        Self::ResourceConstraint,
        Self::RestrictedXml,
        Self::SeeOtherHost,
        Self::SystemShutdown,
        Self::UndefinedCondition,
        Self::UnsupportedEncoding,
        Self::UnsupportedFeature,
        Self::UnsupportedStanzaType,
        Self::UnsupportedVersion,
    ];

    /// Element name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadFormat => "bad-format",
            Self::BadNamespacePrefix => "bad-namespace-prefix",
            Self::Conflict => "conflict",
            Self::ConnectionTimeout => "connection-timeout",
            Self::HostGone => "host-gone",
            Self::HostUnknown => "host-unknown",
            Self::ImproperAddressing => "improper-addressing",
            Self::InternalServerError => "internal-server-error",
            Self::InvalidFrom => "invalid-from",
            Self::InvalidNamespace => "invalid-namespace",
            Self::InvalidXml => "invalid-xml",
            Self::NotAuthorized => "not-authorized",
            Self::NotWellFormed => "not-well-formed",
            Self::PolicyViolation => "policy-violation",
            Self::RemoteConnectionFailed => "remote-connection-failed",
            Self::Reset => "reset",
            Self::ResourceConstraint => "resource-constraint",
            Self::RestrictedXml => "restricted-xml",
            Self::SeeOtherHost => "see-other-host",
            Self::SystemShutdown => "system-shutdown",
            Self::UndefinedCondition => "undefined-condition",
            Self::UnsupportedEncoding => "unsupported-encoding",
            Self::UnsupportedFeature => "unsupported-feature",
            Self::UnsupportedStanzaType => "unsupported-stanza-type",
            Self::UnsupportedVersion => "unsupported-version",
        }
    }
}

/// An error that ends a stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", .condition.as_str(), .text.as_deref().map(|t| format!(": {t}")).unwrap_or_default())]
pub struct StreamError {
    /// Condition.
    pub condition: StreamCondition,
    /// Text for people.
    pub text: Option<String>,
    /// Application-specific condition: complete, self-contained XML.
    pub app: Option<String>,
}

impl StreamError {
    /// An error without text.
    pub fn new(condition: StreamCondition) -> Self {
        Self { condition, text: None, app: None }
    }

    /// Adds a text for people.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Writes `<stream:error/>` with its own namespace declarations, so it fits every framing.
    pub fn write(&self) -> Bytes {
        let mut w = XmlWriter::new();
        w.open("stream:error").attr("xmlns:stream", ns::STREAM);
        w.empty(self.condition.as_str(), ns::STREAMS_ERR);
        if let Some(t) = &self.text {
            w.open_ns("text", ns::STREAMS_ERR).attr("xml:lang", "en").text(t).close();
        }
        if let Some(a) = &self.app {
            w.raw(a);
        }
        w.finish()
    }

    /// Reads `<stream:error/>`; an unknown condition counts as `undefined-condition`.
    pub fn parse(e: Element<'_>) -> Option<Self> {
        if !e.is("error", ns::STREAM) {
            return None;
        }
        let condition = e
            .children()
            .filter(|c| c.ns() == ns::STREAMS_ERR)
            .find_map(|c| StreamCondition::ALL.into_iter().find(|k| k.as_str() == c.name()))
            .unwrap_or(StreamCondition::UndefinedCondition);
        let text = e.child("text", ns::STREAMS_ERR).map(|t| t.text().into_owned());
        Some(Self { condition, text, app: None })
    }
}

impl From<&XmlError> for StreamError {
    fn from(e: &XmlError) -> Self {
        let name = e.stream_condition();
        let condition =
            StreamCondition::ALL.into_iter().find(|c| c.as_str() == name).unwrap_or(StreamCondition::BadFormat);
        Self::new(condition).text(e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use amphi_stanza::Stanza;

    use super::*;

    #[test]
    fn every_condition_survives_the_wire() {
        for c in StreamCondition::ALL {
            let e = StreamError::new(c).text("a < b");
            assert_eq!(StreamError::parse(Stanza::authored(e.write()).root()), Some(e));
        }
    }

    #[test]
    fn parser_errors_name_a_condition() {
        assert_eq!(StreamError::from(&XmlError::Limit("bytes")).condition, StreamCondition::PolicyViolation);
        assert_eq!(StreamError::from(&XmlError::Utf8).condition, StreamCondition::UnsupportedEncoding);
    }
}
