//! An ordered pair of domains: who speaks to whom.

use amphi_stanza::{BadJid, Element, Jid, Stanza, XmlWriter};

use super::PAIRS_NS;

/// Stanzas from one domain to another. Each ordered pair is authenticated for itself (RFC 6120 §4.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    /// The domain that sends.
    pub from: String,
    /// The domain that receives.
    pub to: String,
}

/// A domain without local part or resource, normalised.
pub(crate) fn domain(s: &str) -> Option<String> {
    let j = Jid::parse(s).ok()?;
    (j.local().is_none() && j.resource().is_none()).then(|| j.domain().to_owned())
}

impl Pair {
    /// A pair of domains, normalised.
    ///
    /// # Errors
    /// If one of them is not a domain.
    pub fn new(from: &str, to: &str) -> Result<Self, BadJid> {
        let from = Jid::from_parts(None, from, None)?.domain().to_owned();
        let to = Jid::from_parts(None, to, None)?.domain().to_owned();
        Ok(Self { from, to })
    }

    /// The pair of the other direction.
    pub fn reversed(&self) -> Self {
        Self { from: self.to.clone(), to: self.from.clone() }
    }

    /// Whether a stanza with these domains belongs to this pair.
    pub(crate) fn is(&self, from: &str, to: &str) -> bool {
        self.from == from && self.to == to
    }

    /// From the attributes `from` and `to` of an element.
    pub(crate) fn of_element(e: &Element<'_>) -> Option<Self> {
        Some(Self { from: domain(&e.attr("from")?)?, to: domain(&e.attr("to")?)? })
    }
}

/// `<pairs>` with these pairs.
pub(crate) fn write_pairs<'a>(pairs: impl Iterator<Item = &'a Pair>) -> bytes::Bytes {
    let mut w = XmlWriter::new();
    w.open_ns("pairs", PAIRS_NS);
    for p in pairs {
        w.open("pair").attr("from", &p.from).attr("to", &p.to).close();
    }
    w.finish()
}

/// The pairs in a `<pairs>` element; malformed ones are left out and therefore not accepted.
pub(crate) fn read_pairs(e: &Stanza) -> impl Iterator<Item = Pair> + '_ {
    e.children().filter(|c| c.is("pair", PAIRS_NS)).filter_map(|c| Pair::of_element(&c))
}
