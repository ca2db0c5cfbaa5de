//! Between coordinator and threads: commands one way, live counters the other.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::Sender,
    },
};

use mio::Waker;

use crate::{client::Role, stats::Stats};

/// What the coordinator tells a thread.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Let these clients join, at this pace.
    Join(Group, Pace),
    /// Let the stage of this thread send lines: so many, at this many a second.
    Lines(u64, f64),
    /// Let the stage of this thread change presences.
    Presences(u64, f64),
    /// Let each of the audience's speakers of this thread send so many lines a second; 0 stops it.
    AudienceChat(f64),
    /// Let this client join now.
    JoinOne(usize),
    /// Let this client leave; it can join again.
    LeaveOne(usize),
    /// Let this client send a stanza.
    Say(usize, Vec<u8>),
    /// Let everybody leave, and hand over what was counted since the last time; clients can join again.
    Leave(Sender<Stats>),
    /// Leave, close, return.
    Stop,
}

/// Who joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// All of this role.
    Role(Role),
    /// The first member of every room.
    Openers,
    /// All but those.
    Others,
}

/// How fast clients start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Joins started per second by this thread; 0: as fast as `concurrency` allows.
    pub(crate) rate: f64,
    /// Most joins under way at once in this thread.
    pub(crate) concurrency: usize,
}

/// What coordinator and threads share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Joins started.
    pub(crate) started: AtomicU64,
    /// Clients that came into the room, those that left since included.
    pub(crate) entered: AtomicU64,
    /// Clients in the room.
    pub(crate) joined: AtomicU64,
    /// Clients that have given up.
    pub(crate) failed: AtomicU64,
    /// Clients that lost their connection in the room.
    pub(crate) dropped: AtomicU64,
    /// Connections of clients that left, not closed by the server so far.
    pub(crate) leaving: AtomicU64,
    /// New marked stanzas received.
    pub(crate) delivered: AtomicU64,
    /// Scheduled lines and presences that were sent.
    pub(crate) sent: AtomicU64,
    /// Mean size of a delivered line, without framing.
    pub(crate) line_bytes: AtomicU64,
    /// Offers of media whose answers the focus took.
    pub(crate) accepted: AtomicU64,
    /// When the last client joined, on the clock of the run.
    pub(crate) last_join: AtomicU64,
    /// A thread has ended early.
    pub(crate) broken: AtomicBool,
}

impl Shared {
    /// Clients whose way into the room has ended, one way or the other.
    pub(crate) fn settled(&self) -> u64 {
        [&self.joined, &self.failed, &self.dropped].iter().map(|n| n.load(Ordering::Relaxed)).sum()
    }
}

/// The mailbox of a thread.
#[derive(Debug)]
pub(crate) struct Mailbox {
    pub(super) commands: Mutex<VecDeque<Command>>,
    pub(super) waker: Waker,
}

impl Mailbox {
    /// Hands a command over.
    pub(crate) fn send(&self, command: Command) {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner).push_back(command);
        // A failed wake only delays the command until the next event.
        let _ = self.waker.wake();
    }
}
