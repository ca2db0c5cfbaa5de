//! The bounded queue of stanzas of one direction, for ends that connect again: those that wait, and those that were
//! sent but not acknowledged (XEP-0198). What a connection of a client holds is in [`crate::sm`].

use std::collections::VecDeque;

use amphi_stanza::Stanza;

use crate::sm::SmError;

/// Bounds on the stanzas that wait for a connection or for an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Stanzas; 32768 as in the reference (`spec/signaling.md` 4.14).
    pub stanzas: usize,
    /// Bytes; 16 MiB.
    pub bytes: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { stanzas: 32_768, bytes: 16 * 1024 * 1024 }
    }
}

/// Stanzas in the order of sending. The first `sent` of them are on the wire and unacknowledged.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: VecDeque<(u32, Stanza)>,
    sent: usize,
    bytes: usize,
    /// Stanzas acknowledged so far, modulo 2^32.
    acked: u32,
    limits: QueueLimits,
}

impl Outbox {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self { queue: VecDeque::new(), sent: 0, bytes: 0, acked: 0, limits }
    }

    /// Adds a stanza; `tag` is whatever the owner wants to know about it later. Gives it back when the queue is full.
    pub(crate) fn push(&mut self, tag: u32, stanza: Stanza) -> Result<(), Stanza> {
        let len = stanza.raw().len();
        if self.queue.len() >= self.limits.stanzas || self.bytes + len > self.limits.bytes {
            return Err(stanza);
        }
        self.bytes += len;
        self.queue.push_back((tag, stanza));
        Ok(())
    }

    /// The next stanza that was not sent.
    pub(crate) fn peek(&self) -> Option<(u32, &Stanza)> {
        self.queue.get(self.sent).map(|(t, s)| (*t, s))
    }

    /// Takes note that what [`Outbox::peek`] shows was sent; `keep` it until it is acknowledged, or forget it.
    pub(crate) fn mark_sent(&mut self, keep: bool) {
        if keep {
            self.sent += 1;
        } else {
            debug_assert_eq!(self.sent, 0, "a queue either keeps what it sends or does not");
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some((_, s)) = self.queue.pop_front() {
            self.bytes -= s.raw().len();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// The peer has handled `h` stanzas since stream management was enabled.
    pub(crate) fn ack(&mut self, h: u32) -> Result<usize, SmError> {
        let n = h.wrapping_sub(self.acked) as usize;
        if n > self.sent {
            return Err(SmError::TooHigh { h, sent: self.acked.wrapping_add(self.sent as u32) });
        }
        for _ in 0..n {
            self.pop_front();
        }
        self.sent -= n;
        self.acked = h;
        Ok(n)
    }

    /// Stream management starts: counting begins at zero.
    pub(crate) fn start_counting(&mut self) {
        self.acked = 0;
    }

    /// Everything unacknowledged is to be sent again, in order, before what waits.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Takes everything out: sent but unacknowledged, and never sent.
    pub(crate) fn take(&mut self) -> (Vec<Stanza>, Vec<Stanza>) {
        let waiting = self.queue.split_off(self.sent).into_iter().map(|(_, s)| s).collect();
        let unacked = self.queue.drain(..).map(|(_, s)| s).collect();
        self.sent = 0;
        self.bytes = 0;
        (unacked, waiting)
    }

    /// Takes out the stanzas with this tag that were never sent.
    pub(crate) fn take_waiting(&mut self, tag: u32) -> Vec<Stanza> {
        let mut out = Vec::new();
        for (t, s) in self.queue.split_off(self.sent) {
            if t == tag {
                self.bytes -= s.raw().len();
                out.push(s);
            } else {
                self.queue.push_back((t, s));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(n: usize) -> Stanza {
        Stanza::authored(Bytes::from(["<message id='", &n.to_string(), "'/>"].concat()))
    }

    fn filled(n: usize) -> Outbox {
        let mut o = Outbox::new(QueueLimits { stanzas: 4, bytes: 1000 });
        for i in 0..n {
            o.push(0, message(i)).unwrap();
        }
        o
    }

    #[test]
    fn an_acknowledgement_drops_what_it_covers() {
        let mut o = filled(3);
        o.mark_sent(true);
        o.mark_sent(true);
        assert_eq!(o.ack(1), Ok(1));
        assert_eq!(o.len(), 2);
        o.rewind();
        assert_eq!(o.peek().unwrap().1.id().unwrap(), "1");
    }

    #[test]
    fn acknowledging_the_unsent_is_an_error() {
        let mut o = filled(3);
        o.mark_sent(true);
        assert_eq!(o.ack(2), Err(SmError::TooHigh { h: 2, sent: 1 }));
        // An acknowledgement that goes back is one that is far too high.
        o.ack(1).unwrap();
        assert!(o.ack(0).is_err());
    }

    #[test]
    fn the_counter_wraps() {
        let mut o = filled(2);
        o.acked = u32::MAX;
        o.mark_sent(true);
        o.mark_sent(true);
        assert_eq!(o.ack(1), Ok(2));
        assert_eq!(o.len(), 0);
    }

    #[test]
    fn a_full_queue_gives_the_stanza_back() {
        let mut o = filled(4);
        assert!(o.push(0, message(4)).is_err());
        o.mark_sent(false);
        assert!(o.push(0, message(5)).is_ok());
        let mut o = Outbox::new(QueueLimits { stanzas: 10, bytes: 20 });
        o.push(0, message(1)).unwrap();
        assert!(o.push(0, message(2)).is_err());
    }
}
