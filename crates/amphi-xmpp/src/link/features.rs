//! What the other side offers in `<stream:features/>`.

use amphi_stanza::{Stanza, ns};

/// The features an initiator acts upon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    pub(crate) starttls: bool,
    pub(crate) mechanisms: Vec<String>,
    pub(crate) dialback: bool,
    pub(crate) bidi: bool,
    pub(crate) sm: bool,
    pub(crate) bind: bool,
    pub(crate) pairs: bool,
}

impl Features {
    /// Reads `<stream:features/>`; `None` if it is something else.
    pub(crate) fn read(s: &Stanza) -> Option<Self> {
        if !s.root().is("features", ns::STREAM) {
            return None;
        }
        let mut f = Self::default();
        for c in s.children() {
            match (c.name(), c.ns()) {
                ("starttls", ns::TLS) => f.starttls = true,
                ("mechanisms", ns::SASL) => {
                    f.mechanisms = c
                        .children()
                        .filter(|m| m.is("mechanism", ns::SASL))
                        .take(32)
                        .map(|m| m.text().trim().to_owned())
                        .collect();
                }
                ("dialback", ns::DIALBACK_FEATURE) => f.dialback = true,
                ("bidi", ns::BIDI_FEATURE) => f.bidi = true,
                ("sm", ns::SM) => f.sm = true,
                ("bind", ns::BIND) => f.bind = true,
                ("pairs", crate::s2s::PAIRS_NS) => f.pairs = true,
                _ => {}
            }
        }
        Some(f)
    }

    /// Whether this SASL mechanism is offered.
    pub(crate) fn has_mechanism(&self, name: &str) -> bool {
        self.mechanisms.iter().any(|m| m == name)
    }
}
