//! Writing: whatever waits, in as few writes as the socket allows.

use std::io;
use std::time::Instant;

use amphi_xmpp::StreamError;
use amphi_xmpp::sm;

use super::{Conn, Entry, Framing, Link};
use crate::front::ws;
use crate::shard::Shard;

impl Conn {
    /// Writes an element that is not counted, after everything that waits.
    pub(super) fn push_nonza(&self, shard: &Shard, bytes: &[u8]) {
        self.flush(shard);
        let mut scratch = shard.wscratch.borrow_mut();
        scratch.clear();
        self.pack(&mut scratch, bytes);
        self.write(shard, &scratch);
    }

    /// Ends the stream with or without an error. The socket is closed by dropping it afterwards.
    pub(super) fn close_stream(&self, shard: &Shard, error: Option<StreamError>) {
        self.flush(shard);
        let mut scratch = shard.wscratch.borrow_mut();
        scratch.clear();
        let ws = matches!(&*self.link.borrow(), Link::Up(_, Framing::WebSocket(_)));
        if let Some(e) = error {
            self.pack(&mut scratch, &e.write());
        }
        if ws {
            self.pack(&mut scratch, amphi_xmpp::c2s::CLOSE.as_bytes());
            ws::write_header(&mut scratch, ws::CLOSE, 2);
            scratch.extend_from_slice(&1000u16.to_be_bytes());
        } else {
            scratch.extend_from_slice(amphi_xmpp::c2s::STREAM_END.as_bytes());
        }
        self.write(shard, &scratch);
        if let Link::Up(t, _) = &*self.link.borrow() {
            t.shutdown();
        }
    }

    pub(super) fn pack(&self, out: &mut Vec<u8>, bytes: &[u8]) {
        pack(out, bytes, matches!(&*self.link.borrow(), Link::Up(_, Framing::WebSocket(_))));
    }

    fn pack_entry(&self, out: &mut Vec<u8>, e: &Entry, ws: bool) {
        match e {
            Entry::Own(b) => {
                if ws {
                    ws::write_header(out, ws::TEXT, b.len());
                }
                out.extend_from_slice(b);
            }
            Entry::Frame(f) => {
                if ws {
                    ws::write_header(out, ws::TEXT, f.len_with(self.to.len()));
                }
                out.extend_from_slice(&f.head);
                out.extend_from_slice(self.to.as_bytes());
                out.extend_from_slice(&f.tail);
            }
        }
    }

    /// Writes everything that waits, as far as the socket takes it.
    pub(crate) fn flush(&self, shard: &Shard) {
        // The borrow ends here: a hibernated stream that is given up changes the link.
        let up = match &*self.link.borrow() {
            Link::Up(_, f) => Some(matches!(f, Framing::WebSocket(_))),
            _ => None,
        };
        let Some(ws) = up else { return self.check_hibernated(shard) };
        if !self.push_rest(shard) {
            self.check_slow(shard);
            return;
        }
        let mut scratch = shard.wscratch.borrow_mut();
        loop {
            scratch.clear();
            {
                let mut outbox = self.outbox.borrow_mut();
                let mut n = 0;
                for e in outbox.unsent() {
                    self.pack_entry(&mut scratch, e, ws);
                    n += 1;
                    if scratch.len() >= shard.settings.write_chunk {
                        break;
                    }
                }
                if n == 0 {
                    break;
                }
                outbox.mark_sent(n);
                shard.stanzas.add(n as u64);
                if outbox.unsent_len() == 0 && outbox.wants_request(shard.settings.ack_every) {
                    let r = sm::request(self.sm.get().unwrap_or(sm::Version::V3));
                    if ws {
                        ws::write_header(&mut scratch, ws::TEXT, r.len());
                    }
                    scratch.extend_from_slice(&r);
                    outbox.request_sent();
                }
            }
            if !self.write(shard, &scratch) {
                break;
            }
        }
        drop(scratch);
        self.check_slow(shard);
    }

    /// Writes bytes; keeps what the socket does not take. False when the socket is full.
    pub(super) fn write(&self, shard: &Shard, bytes: &[u8]) -> bool {
        let link = self.link.borrow();
        let Link::Up(t, _) = &*link else { return false };
        let mut rest = self.rest.borrow_mut();
        if !rest.is_empty() {
            rest.extend_from_slice(bytes);
            return false;
        }
        let mut at = 0;
        while at < bytes.len() {
            match t.try_write(&bytes[at..]) {
                Ok(n) => {
                    shard.writes.add(1);
                    shard.bytes.add(n as u64);
                    at += n;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    rest.extend_from_slice(&bytes[at..]);
                    if self.stalled.get().is_none() {
                        self.stalled.set(Some(Instant::now()));
                    }
                    self.poke.notify_one();
                    return false;
                }
                // The reader sees the error too and ends the connection.
                Err(_) => return false,
            }
        }
        if t.has_pending() {
            self.poke.notify_one();
        }
        true
    }

    /// Writes what was left of an earlier write. True when nothing is left.
    fn push_rest(&self, shard: &Shard) -> bool {
        let link = self.link.borrow();
        let Link::Up(t, _) = &*link else { return false };
        if t.flush_pending().is_err() {
            return false;
        }
        let mut rest = self.rest.borrow_mut();
        let mut at = 0;
        while at < rest.len() {
            match t.try_write(&rest[at..]) {
                Ok(n) => {
                    shard.writes.add(1);
                    shard.bytes.add(n as u64);
                    at += n;
                }
                Err(_) => break,
            }
        }
        if at == rest.len() {
            *rest = Vec::new();
            self.stalled.set(None);
            true
        } else {
            rest.drain(..at);
            false
        }
    }

    /// A reader that takes nothing while much waits is given up, and so is one that never acknowledges.
    fn check_slow(&self, shard: &Shard) {
        let outbox = self.outbox.borrow();
        let reason = if outbox.bytes() + self.rest.borrow().len() > shard.settings.max_unsent_bytes {
            "slow-reader"
        } else if outbox.unacked() > shard.settings.max_unacked && !self.unlimited {
            "never-acknowledges"
        } else {
            return;
        };
        drop(outbox);
        self.abort(shard, reason);
    }

    /// A hibernated stream is kept while its queue stays within bounds.
    fn check_hibernated(&self, shard: &Shard) {
        let outbox = self.outbox.borrow();
        if outbox.len() > shard.settings.max_unacked || outbox.bytes() > shard.settings.max_unsent_bytes {
            drop(outbox);
            self.end_from_outside(shard, "hibernated-queue");
        }
    }
}

/// Appends an element as it goes on the wire.
pub(super) fn pack(out: &mut Vec<u8>, bytes: &[u8], websocket: bool) {
    if websocket {
        ws::write_header(out, ws::TEXT, bytes.len());
    }
    out.extend_from_slice(bytes);
}
