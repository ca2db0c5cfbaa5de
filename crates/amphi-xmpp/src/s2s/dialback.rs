//! Dialback (XEP-0220): keys, and the elements both ends write.

use amphi_stanza::{Condition, Element, Stanza, StanzaError, XmlWriter, ns};
use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use subtle::ConstantTimeEq;

use super::Pair;

/// The secret behind our dialback keys. Nodes that serve the same domains share it.
#[derive(Clone)]
pub struct DialbackSecret(hmac::Key);

impl std::fmt::Debug for DialbackSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DialbackSecret")
    }
}

impl DialbackSecret {
    /// A secret from any text.
    pub fn new(secret: &str) -> Self {
        // XEP-0185 §3: the hexadecimal form of the digest is the key.
        let digest = digest::digest(&digest::SHA256, secret.as_bytes());
        Self(hmac::Key::new(hmac::HMAC_SHA256, hex(digest.as_ref()).as_bytes()))
    }

    /// The key for a stream from `pair.from` to `pair.to` whose receiver gave it this id (XEP-0185 §3).
    pub fn key(&self, pair: &Pair, stream_id: &str) -> String {
        let text = [pair.to.as_str(), pair.from.as_str(), stream_id].join(" ");
        hex(hmac::sign(&self.0, text.as_bytes()).as_ref())
    }

    /// Whether `key` is ours for this stream.
    pub fn verify(&self, pair: &Pair, stream_id: &str, key: &str) -> bool {
        self.key(pair, stream_id).as_bytes().ct_eq(key.trim().as_bytes()).into()
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[(b >> 4) as usize] as char, DIGITS[(b & 15) as usize] as char]).collect()
}

/// What became of a dialback key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialbackOutcome {
    /// The authoritative server knows the key.
    Valid,
    /// It does not.
    Invalid,
    /// It could not be asked.
    Error,
}

impl DialbackOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Error => "error",
        }
    }

    /// The `type` of an answer; `None` if the element is a question.
    pub(crate) fn of(e: &Element<'_>) -> Option<Self> {
        Some(match &*e.attr("type")? {
            "valid" => Self::Valid,
            "invalid" => Self::Invalid,
            _ => Self::Error,
        })
    }
}

/// A key that somebody showed us, to be verified by the server that is authoritative for `pair.from`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyRequest {
    /// Whom the key is to authenticate, towards us.
    pub pair: Pair,
    /// Id of the stream on which it was shown.
    pub stream_id: String,
    /// The key.
    pub key: String,
}

/// `<db:result>` with a key: the initiator wants to be authenticated.
pub(crate) fn write_result_key(pair: &Pair, key: &str) -> Bytes {
    let mut w = XmlWriter::new();
    w.open("db:result").attr("from", &pair.from).attr("to", &pair.to).text(key);
    w.finish()
}

/// Answer to the `<db:result>` of this pair.
pub(crate) fn write_result(pair: &Pair, outcome: DialbackOutcome, error: Option<Condition>) -> Bytes {
    let mut w = XmlWriter::new();
    w.open("db:result").attr("from", &pair.to).attr("to", &pair.from).attr("type", outcome.as_str());
    write_error(&mut w, outcome, error);
    w.finish()
}

/// `<db:verify>` asking about a key.
pub(crate) fn write_verify(q: &VerifyRequest) -> Bytes {
    let mut w = XmlWriter::new();
    w.open("db:verify").attr("from", &q.pair.to).attr("to", &q.pair.from).attr("id", &q.stream_id).text(&q.key);
    w.finish()
}

/// Answer to a `<db:verify>`; addresses as received.
pub(crate) fn write_verified(question: &Stanza, outcome: DialbackOutcome, error: Option<Condition>) -> Bytes {
    let mut w = XmlWriter::new();
    w.open("db:verify").attr_opt("from", question.attr("to")).attr_opt("to", question.attr("from"));
    w.attr_opt("id", question.id()).attr("type", outcome.as_str());
    write_error(&mut w, outcome, error);
    w.finish()
}

/// XEP-0220 §2.4: what the condition of an error is.
fn write_error(w: &mut XmlWriter, outcome: DialbackOutcome, error: Option<Condition>) {
    if outcome == DialbackOutcome::Error {
        let condition = error.unwrap_or(Condition::RemoteServerNotFound);
        StanzaError::new(amphi_stanza::ErrorType::Cancel, condition).write(w, None);
    }
}

/// `<dialback><errors/></dialback>` among the features.
pub(crate) fn write_feature(w: &mut XmlWriter) {
    w.open_ns("dialback", ns::DIALBACK_FEATURE).open("errors").close().close();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_standard() {
        // The example of XEP-0185 §3.
        let secret = DialbackSecret::new("s3cr3tf0rd14lb4ck");
        let pair = Pair::new("example.org", "xmpp.example.com").unwrap();
        let key = secret.key(&pair, "D60000229F");
        assert_eq!(key, "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643");
        assert!(secret.verify(&pair, "D60000229F", &key));
        assert!(!secret.verify(&pair, "D60000229E", &key));
        assert!(!secret.verify(&pair.reversed(), "D60000229F", &key));
    }
}
