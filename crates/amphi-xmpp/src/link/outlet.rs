//! Outputs in order, with neighbouring writes joined.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Joined writes stay below this, so that one burst does not become one huge buffer.
const JOIN: usize = 32 * 1024;

/// A queue of outputs of type `T`. Bytes are collected and become one output when something else follows or when they
/// are asked for.
pub(crate) struct Outlet<T> {
    queue: VecDeque<T>,
    pending: BytesMut,
}

impl<T: From<Bytes>> Outlet<T> {
    pub(crate) fn new() -> Self {
        Self { queue: VecDeque::new(), pending: BytesMut::new() }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        if !self.pending.is_empty() && self.pending.len() + bytes.len() > JOIN {
            self.flush();
        }
        self.pending.extend_from_slice(bytes);
    }

    pub(crate) fn push(&mut self, output: T) {
        self.flush();
        self.queue.push_back(output);
    }

    fn flush(&mut self) {
        if !self.pending.is_empty() {
            self.queue.push_back(self.pending.split().freeze().into());
        }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.queue.is_empty() {
            self.flush();
        }
        self.queue.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Out {
        Send(Bytes),
        Mark,
    }
    impl From<Bytes> for Out {
        fn from(b: Bytes) -> Self {
            Self::Send(b)
        }
    }

    #[test]
    fn writes_are_joined_and_keep_their_place_among_events() {
        let mut o = Outlet::new();
        o.bytes(b"a");
        o.bytes(b"b");
        o.push(Out::Mark);
        o.bytes(b"c");
        assert_eq!(o.pop(), Some(Out::Send(Bytes::from_static(b"ab"))));
        assert_eq!(o.pop(), Some(Out::Mark));
        assert_eq!(o.pop(), Some(Out::Send(Bytes::from_static(b"c"))));
        assert_eq!(o.pop(), None);
    }
}
