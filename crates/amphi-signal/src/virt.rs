//! Connections without a socket of their own: the focus in this process, and BOSH sessions.
//!
//! They take part in rooms like any connection; what is for them goes into a channel instead of a socket.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use amphi_room::ConnId;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::shard::{Members, Op, VIRTUAL};

/// What a virtual connection receives.
#[derive(Debug)]
pub(crate) enum Event {
    /// A stanza.
    Stanza(Bytes),
    /// The connection was ended by the node.
    Closed,
}

struct Receiver {
    tx: mpsc::UnboundedSender<Event>,
    /// Own address, escaped.
    to: String,
}

/// The virtual connections of a process.
#[derive(Default)]
pub(crate) struct Virtual {
    state: Mutex<State>,
    ids: AtomicU64,
}

#[derive(Default)]
struct State {
    conns: HashMap<ConnId, Receiver>,
    members: Members,
}

impl Virtual {
    /// An id for a connection that is about to bind.
    pub(crate) fn new_id(&self) -> ConnId {
        ConnId((self.ids.fetch_add(1, Ordering::Relaxed) + 1) << 8 | u64::from(VIRTUAL))
    }

    /// Registers a connection with its address.
    pub(crate) fn add(&self, conn: ConnId, jid: &str) -> mpsc::UnboundedReceiver<Event> {
        let (tx, rx) = mpsc::unbounded_channel();
        let mut to = String::new();
        amphi_stanza::escape_into(&mut to, jid);
        self.state.lock().conns.insert(conn, Receiver { tx, to });
        rx
    }

    /// Forgets a connection and tells it.
    pub(crate) fn remove(&self, conn: ConnId) {
        if let Some(r) = self.state.lock().conns.remove(&conn) {
            let _ = r.tx.send(Event::Closed);
        }
    }

    /// Delivers one stanza.
    pub(crate) fn send(&self, conn: ConnId, bytes: Bytes) {
        if let Some(r) = self.state.lock().conns.get(&conn) {
            let _ = r.tx.send(Event::Stanza(bytes));
        }
    }

    /// Carries out what a hub wants.
    pub(crate) fn ops(&self, ops: Vec<Op>) {
        let mut state = self.state.lock();
        let state = &mut *state;
        for op in ops {
            match op {
                Op::Join(room, conn, group) => {
                    if state.conns.contains_key(&conn) {
                        state.members.join(room, conn, group);
                    }
                }
                Op::Leave(room, conn) => state.members.leave(room, conn),
                Op::Destroyed(room) => state.members.destroy(room),
                Op::Send(conn, bytes) => {
                    if let Some(r) = state.conns.get(&conn) {
                        let _ = r.tx.send(Event::Stanza(bytes));
                    }
                }
                Op::Frames(conn, frames) => {
                    if let Some(r) = state.conns.get(&conn) {
                        for f in frames {
                            let _ = r.tx.send(Event::Stanza(f.render(&r.to)));
                        }
                    }
                }
                Op::Broadcast(b) => {
                    for id in state.members.of(b.room, b.to).flat_map(|(_, list)| list) {
                        if Some(*id) != b.except
                            && let Some(r) = state.conns.get(id)
                        {
                            let _ = r.tx.send(Event::Stanza(b.frame.render(&r.to)));
                        }
                    }
                }
            }
        }
    }
}
