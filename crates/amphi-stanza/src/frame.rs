//! A stanza for many receivers: shared bytes with a hole for the address.

use bytes::Bytes;

use crate::{Stanza, XmlWriter};

/// `head` + receiver's address + `tail`: the start tag up to `to='`, the hole, and the rest from the closing quote on.
///
/// The same two slices serve every receiver of a broadcast; nothing per receiver is parsed, escaped or allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Up to and including `to='`.
    pub head: Bytes,
    /// From the closing quote on.
    pub tail: Bytes,
}

impl Frame {
    /// Makes a frame of a stanza: every attribute but `to` is kept.
    pub fn of(stanza: &Stanza) -> Self {
        stanza.rewrite().frame()
    }

    /// Makes a frame of one authored element: calls `write` with a writer in which the start tag is open.
    pub fn write(name: &'static str, attrs: impl FnOnce(&mut XmlWriter), content: impl FnOnce(&mut XmlWriter)) -> Self {
        let mut w = XmlWriter::new();
        w.open(name);
        attrs(&mut w);
        content(&mut w);
        let stanza = w.stanza();
        Self::of(&stanza)
    }

    /// Bytes for one receiver. `to` must be escaped already, which a JID with ASCII letters, digits and `-._@/` is.
    pub fn render(&self, to: &str) -> Bytes {
        let mut v = Vec::with_capacity(self.head.len() + to.len() + self.tail.len());
        v.extend_from_slice(&self.head);
        v.extend_from_slice(to.as_bytes());
        v.extend_from_slice(&self.tail);
        v.into()
    }

    /// Length of the bytes for a receiver whose escaped address has `to` bytes.
    pub fn len_with(&self, to: usize) -> usize {
        self.head.len() + to + self.tail.len()
    }
}
