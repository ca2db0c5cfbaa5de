//! Bounds on one element, and why bytes are refused.

/// Bounds on one top-level element. Exceeding one is an error of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one top-level element, tags included. Never more than 4 GiB.
    pub bytes: usize,
    /// Nesting depth; the top-level element has depth 1.
    pub depth: usize,
    /// Attributes of one element; also the prefix declarations in scope at any place. Never more than 65,535.
    pub attrs: usize,
    /// Elements and texts in one top-level element.
    pub nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 256 * 1024, depth: 64, attrs: 64, nodes: 16 * 1024 }
    }
}

/// Why bytes were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// Not well-formed, or namespaces not well-formed. `at` is a byte offset.
    #[error("not well-formed at byte {at}: {what}")]
    NotWellFormed {
        /// Byte offset.
        at: usize,
        /// What was wrong.
        what: &'static str,
    },
    /// Well-formed, but not allowed in XMPP (RFC 6120 §11.1).
    #[error("restricted XML at byte {at}: {what}")]
    Restricted {
        /// Byte offset.
        at: usize,
        /// What was found.
        what: &'static str,
    },
    /// A limit was exceeded.
    #[error("limit exceeded: {0}")]
    Limit(&'static str),
}

impl XmlError {
    /// The stream error condition (RFC 6120 §4.9.3) that the sender gets.
    pub fn stream_condition(&self) -> &'static str {
        match self {
            Self::Utf8 => "unsupported-encoding",
            Self::NotWellFormed { .. } => "not-well-formed",
            Self::Restricted { .. } => "restricted-xml",
            Self::Limit(_) => "policy-violation",
        }
    }
}
