//! Refusals of SASL, and their wire form.

use bytes::Bytes;

use amphi_stanza::{Element, XmlWriter, ns};

/// Conditions of RFC 6120 §6.5, and `not-allowed`, which Jitsi's clients know (`spec/signaling.md` 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum SaslCondition {
    Aborted,
    AccountDisabled,
    CredentialsExpired,
    EncryptionRequired,
    IncorrectEncoding,
    InvalidAuthzid,
    InvalidMechanism,
    MalformedRequest,
    MechanismTooWeak,
    NotAllowed,
    NotAuthorized,
    TemporaryAuthFailure,
}

impl SaslCondition {
    const ALL: [Self; 12] = [
        Self::Aborted,
        Self::AccountDisabled,
        Self::CredentialsExpired,
        Self::EncryptionRequired,
        Self::IncorrectEncoding,
        Self::InvalidAuthzid,
        Self::InvalidMechanism,
        Self::MalformedRequest,
        Self::MechanismTooWeak,
        Self::NotAllowed,
        Self::NotAuthorized,
        Self::TemporaryAuthFailure,
    ];

    /// Element name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::AccountDisabled => "account-disabled",
            Self::CredentialsExpired => "credentials-expired",
            Self::EncryptionRequired => "encryption-required",
            Self::IncorrectEncoding => "incorrect-encoding",
            Self::InvalidAuthzid => "invalid-authzid",
            Self::InvalidMechanism => "invalid-mechanism",
            Self::MalformedRequest => "malformed-request",
            Self::MechanismTooWeak => "mechanism-too-weak",
            Self::NotAllowed => "not-allowed",
            Self::NotAuthorized => "not-authorized",
            Self::TemporaryAuthFailure => "temporary-auth-failure",
        }
    }
}

/// Why an attempt to log in failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", .condition.as_str(), .text.as_deref().map(|t| format!(": {t}")).unwrap_or_default())]
pub struct Failure {
    /// Condition.
    pub condition: SaslCondition,
    /// Text for people; Jitsi's clients show it.
    pub text: Option<String>,
}

impl Failure {
    /// A failure without text.
    pub fn new(condition: SaslCondition) -> Self {
        Self { condition, text: None }
    }

    /// `not-allowed` with a text: the answer to a bad token.
    pub fn not_allowed(text: impl Into<String>) -> Self {
        Self::new(SaslCondition::NotAllowed).text(text)
    }

    /// `not-authorized`: wrong credentials.
    pub fn not_authorized() -> Self {
        Self::new(SaslCondition::NotAuthorized)
    }

    /// `malformed-request` with what is wrong.
    pub fn malformed(text: &'static str) -> Self {
        Self::new(SaslCondition::MalformedRequest).text(text)
    }

    /// Adds a text for people.
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Writes `<failure/>`: condition first, then text, no attributes on either (`spec/client.md` 4).
    pub fn write(&self) -> Bytes {
        let mut w = XmlWriter::new();
        w.open_ns("failure", ns::SASL).open(self.condition.as_str()).close();
        if let Some(t) = &self.text {
            w.text_element("text", t);
        }
        w.finish()
    }

    /// Reads `<failure/>`; an unknown condition counts as `not-authorized` (RFC 6120 §6.5).
    pub fn parse(e: Element<'_>) -> Option<Self> {
        if !e.is("failure", ns::SASL) {
            return None;
        }
        let condition = e
            .children()
            .find_map(|c| SaslCondition::ALL.into_iter().find(|k| k.as_str() == c.name()))
            .unwrap_or(SaslCondition::NotAuthorized);
        let text = e.child_named("text").map(|t| t.text().into_owned());
        Some(Self { condition, text })
    }
}

#[cfg(test)]
mod tests {
    use amphi_stanza::Stanza;

    use super::*;

    #[test]
    fn failure_has_exactly_the_shape_that_clients_read() {
        let f = Failure::not_allowed("token <required>");
        assert_eq!(
            f.write(),
            "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-allowed/><text>token &lt;required&gt;</text></failure>"
        );
        assert_eq!(
            Failure::not_authorized().write(),
            "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"
        );
    }

    #[test]
    fn every_condition_survives_the_wire() {
        for c in SaslCondition::ALL {
            let f = Failure::new(c).text("why");
            assert_eq!(Failure::parse(Stanza::authored(f.write()).root()), Some(f));
        }
    }

    #[test]
    fn unknown_condition_counts_as_not_authorized() {
        let s = Stanza::authored("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><odd/></failure>".into());
        assert_eq!(Failure::parse(s.root()), Some(Failure::not_authorized()));
    }
}
