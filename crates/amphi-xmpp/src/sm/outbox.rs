//! The outgoing queue of one connection, and the count of what came in.
//!
//! Without stream management an entry is dropped once written; with it, once acknowledged. An empty outbox holds no heap
//! memory: there is one per connection, and most are empty most of the time.

use std::collections::VecDeque;

use amphi_stanza::{XmlWriter, ns};

use crate::{StreamCondition, StreamError};

/// Something in an outgoing queue.
pub trait Entry {
    /// Bytes on the wire, for accounting.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether stream management counts it: stanzas count, everything else does not and is dropped once written.
    fn counts(&self) -> bool {
        true
    }
}

impl Entry for bytes::Bytes {
    fn len(&self) -> usize {
        Self::len(self)
    }
}

/// A peer that acknowledges what it cannot have received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmError {
    /// More stanzas acknowledged than were sent.
    #[error("{h} stanzas acknowledged, but {sent} were sent")]
    TooHigh {
        /// What the peer said.
        h: u32,
        /// What was sent.
        sent: u32,
    },
    /// Acknowledgement on a stream without stream management.
    #[error("stream management is not enabled")]
    NotEnabled,
}

impl SmError {
    /// The error that the peer's stream is closed with (XEP-0198 §4).
    pub fn stream_error(&self) -> StreamError {
        match self {
            Self::TooHigh { h, sent } => {
                let mut w = XmlWriter::new();
                w.open_ns("handled-count-too-high", ns::SM).attr("h", h).attr("send-count", sent);
                let app = Some(w.finish_string());
                StreamError { app, ..StreamError::new(StreamCondition::UndefinedCondition).text(self.to_string()) }
            }
            Self::NotEnabled => StreamError::new(StreamCondition::UnsupportedStanzaType).text(self.to_string()),
        }
    }
}

/// The outgoing queue of one connection.
#[derive(Debug)]
pub struct Outbox<E> {
    /// First the written and unacknowledged, then the unsent.
    entries: VecDeque<E>,
    /// How many at the front were written.
    written: u32,
    /// Stanzas acknowledged, modulo 2^32: the counter of the entry before the front.
    acked: u32,
    /// Bytes of all entries.
    bytes: usize,
    on: bool,
    /// An `<r/>` is on its way.
    requested: bool,
}

impl<E> Default for Outbox<E> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), written: 0, acked: 0, bytes: 0, on: false, requested: false }
    }
}

impl<E: Entry> Outbox<E> {
    /// An empty queue, without stream management.
    pub fn new() -> Self {
        Self::default()
    }

    /// Turns stream management on: what is marked as sent from now on is kept and counted. Both sides count from
    /// `<enabled/>` on, so whatever was written before it must have been marked, and what is unsent must follow it.
    pub fn enable(&mut self) {
        self.on = true;
        self.acked = 0;
    }

    /// Whether stream management is on.
    pub fn is_enabled(&self) -> bool {
        self.on
    }

    /// Appends an entry.
    pub fn push(&mut self, entry: E) {
        self.bytes += entry.len();
        self.entries.push_back(entry);
    }

    /// What is still to be written, in order.
    pub fn unsent(&self) -> impl Iterator<Item = &E> {
        self.entries.range(self.written as usize..)
    }

    /// Tells that the first `n` unsent entries were written. More than there are counts as all.
    pub fn mark_sent(&mut self, n: usize) {
        let n = n.min(self.unsent_len());
        if !self.on {
            self.drop_front(n);
            return;
        }
        // Elements that do not count may stand anywhere among the n.
        let from = self.written as usize;
        let mut kept = n;
        let mut at = from;
        for _ in 0..n {
            if self.entries.get(at).is_some_and(|e| !e.counts()) {
                if let Some(e) = self.entries.remove(at) {
                    self.bytes -= e.len();
                }
                kept -= 1;
            } else {
                at += 1;
            }
        }
        self.written += kept as u32;
        self.shrink();
    }

    /// Takes an acknowledgement; returns how many entries it dropped. It also answers an outstanding `<r/>`.
    ///
    /// # Errors
    /// An acknowledgement of what was not sent; the stream must be closed with [`SmError::stream_error`]. Nothing has
    /// changed then.
    pub fn ack(&mut self, h: u32) -> Result<usize, SmError> {
        if !self.on {
            return Err(SmError::NotEnabled);
        }
        let n = h.wrapping_sub(self.acked);
        if n > self.written {
            return Err(SmError::TooHigh { h, sent: self.acked.wrapping_add(self.written) });
        }
        self.requested = false;
        self.acked = h;
        self.written -= n;
        self.drop_front(n as usize);
        Ok(n as usize)
    }

    /// The stream goes on over a new transport: what the peer has is dropped, the rest is unsent again.
    ///
    /// # Errors
    /// As [`Outbox::ack`].
    pub fn resume(&mut self, h: u32) -> Result<usize, SmError> {
        let n = self.ack(h)?;
        self.written = 0;
        Ok(n)
    }

    /// Written and not acknowledged.
    pub fn unacked(&self) -> usize {
        self.written as usize
    }

    /// Not written yet.
    pub fn unsent_len(&self) -> usize {
        self.entries.len() - self.written as usize
    }

    /// All entries, written and unsent.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is neither anything to write nor anything to keep.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all entries.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All entries in order, the written ones first: for a stream that is given up.
    pub fn drain(&mut self) -> impl Iterator<Item = E> + use<E> {
        self.written = 0;
        self.bytes = 0;
        self.requested = false;
        std::mem::take(&mut self.entries).into_iter()
    }

    /// Whether an `<r/>` is due: `every` stanzas are unacknowledged and none is outstanding.
    pub fn wants_request(&self, every: u32) -> bool {
        self.on && !self.requested && self.written >= every.max(1)
    }

    /// An `<r/>` was written.
    pub fn request_sent(&mut self) {
        self.requested = true;
    }

    /// Whether an `<r/>` is outstanding.
    pub fn is_requested(&self) -> bool {
        self.requested
    }

    fn drop_front(&mut self, n: usize) {
        for e in self.entries.drain(..n) {
            self.bytes -= e.len();
        }
        self.shrink();
    }

    /// Gives memory back once it is no longer used.
    fn shrink(&mut self) {
        if self.entries.is_empty() {
            self.entries.shrink_to_fit();
        } else if self.entries.capacity() > 64 && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }
}

/// Stanzas received on a stream with stream management, modulo 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inbound {
    /// What `<a h=''/>` says.
    pub h: u32,
}

impl Inbound {
    /// Counts a stanza that was handled.
    pub fn count(&mut self) {
        self.h = self.h.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Item(u32, bool);
    impl Entry for Item {
        fn len(&self) -> usize {
            self.0 as usize % 7 + 1
        }
        fn counts(&self) -> bool {
            self.1
        }
    }

    fn unsent(o: &Outbox<Item>) -> Vec<u32> {
        o.unsent().map(|i| i.0).collect()
    }

    fn enabled_with(n: u32) -> Outbox<Item> {
        let mut o = Outbox::new();
        o.enable();
        (0..n).for_each(|i| o.push(Item(i, true)));
        o
    }

    #[test]
    fn without_stream_management_written_entries_are_dropped() {
        let mut o = Outbox::new();
        (0..3).for_each(|i| o.push(Item(i, true)));
        o.mark_sent(2);
        assert_eq!((unsent(&o), o.len(), o.unacked()), (vec![2], 1, 0));
        assert_eq!(o.ack(1), Err(SmError::NotEnabled));
        o.mark_sent(5);
        assert!(o.is_empty());
        assert_eq!((o.bytes(), o.entries.capacity()), (0, 0));
    }

    #[test]
    fn written_entries_stay_until_acknowledged_and_come_again_after_resumption() {
        let mut o = enabled_with(5);
        o.mark_sent(4);
        assert_eq!(o.ack(1), Ok(1));
        assert_eq!((o.unacked(), o.unsent_len()), (3, 1));
        assert_eq!(o.resume(2), Ok(1));
        assert_eq!(unsent(&o), [2, 3, 4]);
        o.mark_sent(3);
        assert_eq!(o.ack(5), Ok(3));
        assert_eq!(o.entries.capacity(), 0, "an empty outbox holds no heap");
    }

    #[test]
    fn acknowledging_too_much_or_going_back_is_an_error_and_changes_nothing() {
        let mut o = enabled_with(3);
        o.mark_sent(2);
        let e = o.ack(3).unwrap_err();
        assert_eq!(e, SmError::TooHigh { h: 3, sent: 2 });
        assert_eq!(
            e.stream_error().write(),
            "<stream:error xmlns:stream='http://etherx.jabber.org/streams'>\
             <undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>3 stanzas acknowledged, but 2 were sent</text>\
             <handled-count-too-high xmlns='urn:xmpp:sm:3' h='3' send-count='2'/></stream:error>"
        );
        assert_eq!(o.ack(2), Ok(2));
        assert!(o.ack(1).is_err());
        assert!(o.resume(1).is_err());
        assert_eq!(unsent(&o), [2]);
    }

    #[test]
    fn counter_wraps() {
        let mut o = enabled_with(0);
        o.acked = u32::MAX - 1;
        (0..4).for_each(|i| o.push(Item(i, true)));
        o.mark_sent(4);
        assert_eq!(o.ack(u32::MAX), Ok(1));
        assert!(o.ack(3).is_err());
        assert_eq!(o.ack(1), Ok(2));
        assert_eq!(o.ack(2), Ok(1));
    }

    #[test]
    fn one_request_is_outstanding_at_most() {
        let mut o = enabled_with(9);
        o.mark_sent(4);
        assert!(!o.wants_request(5));
        o.mark_sent(1);
        assert!(o.wants_request(5));
        o.request_sent();
        o.mark_sent(4);
        assert!(!o.wants_request(5));
        o.ack(2).unwrap();
        assert!(o.wants_request(5));
    }

    #[test]
    fn what_does_not_count_is_gone_once_written() {
        let mut o = enabled_with(0);
        for (i, c) in [(0, false), (1, true), (2, false), (3, false), (4, true)] {
            o.push(Item(i, c));
        }
        o.mark_sent(4);
        assert_eq!((o.unacked(), unsent(&o)), (1, vec![4]));
        o.mark_sent(1);
        assert_eq!(o.ack(2), Ok(2));
    }

    #[test]
    fn an_outbox_is_small() {
        assert!(size_of::<Outbox<bytes::Bytes>>() <= 56, "{}", size_of::<Outbox<bytes::Bytes>>());
    }

    #[derive(Clone, Debug)]
    enum Op {
        Push(bool),
        Sent(usize),
        Ack(u32),
        Resume(u32),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => any::<bool>().prop_map(Op::Push),
            2 => (0..6usize).prop_map(Op::Sent),
            2 => (0..6u32).prop_map(Op::Ack),
            1 => (0..6u32).prop_map(Op::Resume),
        ]
    }

    proptest! {
        /// The model: a list of everything that still matters, each with whether it was written.
        #[test]
        fn outbox_behaves_as_a_naive_list(on: bool, start: u32, ops in proptest::collection::vec(op(), 0..80)) {
            let mut o = Outbox::new();
            if on {
                o.enable();
                o.acked = start;
            }
            let mut model: Vec<(Item, bool)> = Vec::new();
            let mut acked = start;
            let mut next = 0;
            for op in ops {
                match op {
                    Op::Push(counts) => {
                        o.push(Item(next, counts));
                        model.push((Item(next, counts), false));
                        next += 1;
                    }
                    Op::Sent(n) => {
                        o.mark_sent(n);
                        let mut left = n;
                        for m in &mut model {
                            if !m.1 && left > 0 {
                                m.1 = true;
                                left -= 1;
                            }
                        }
                        model.retain(|(i, sent)| !sent || (on && i.1));
                    }
                    Op::Ack(n) | Op::Resume(n) => {
                        let resume = matches!(op, Op::Resume(_));
                        let h = acked.wrapping_add(n);
                        let got = if resume { o.resume(h) } else { o.ack(h) };
                        let sent = model.iter().filter(|m| m.1).count();
                        if !on {
                            prop_assert_eq!(got, Err(SmError::NotEnabled));
                        } else if n as usize > sent {
                            let is_too_high = matches!(got, Err(SmError::TooHigh { .. }));
                            prop_assert!(is_too_high);
                        } else {
                            prop_assert_eq!(got, Ok(n as usize));
                            model.drain(..n as usize);
                            acked = h;
                            if resume {
                                model.iter_mut().for_each(|m| m.1 = false);
                            }
                        }
                    }
                }
                prop_assert_eq!(o.unsent().cloned().collect::<Vec<_>>(),
                    model.iter().filter(|m| !m.1).map(|m| m.0.clone()).collect::<Vec<_>>());
                prop_assert_eq!(o.unacked(), model.iter().filter(|m| m.1).count());
                prop_assert_eq!(o.bytes(), model.iter().map(|m| m.0.len()).sum::<usize>());
                prop_assert!(!o.is_empty() || o.entries.capacity() == 0);
            }
        }
    }
}
