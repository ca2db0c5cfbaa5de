//! The last group chat lines of a room, in order: history for a node that is connected, and what a node catches up with
//! after its link was lost.

use std::collections::VecDeque;

use amphi_stanza::Stanza;

pub(super) struct Entry {
    pub(super) seq: u64,
    /// As sent to nodes, without `to`.
    pub(super) live: Stanza,
    /// As stored by the room, with its delay; `None` if it is none for the history.
    pub(super) history: Option<Stanza>,
    /// Name of the node whose visitor wrote it; that node has it already.
    pub(super) origin: Option<String>,
    bytes: usize,
}

pub(super) struct Lines {
    most: usize,
    most_bytes: usize,
    bytes: usize,
    last: u64,
    kept: VecDeque<Entry>,
}

impl Lines {
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self { most, most_bytes, bytes: 0, last: 0, kept: VecDeque::new() }
    }

    /// Number of the newest line; 0 when there was none.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn push(&mut self, live: Stanza, history: Option<Stanza>, origin: Option<String>) {
        self.last += 1;
        let bytes = live.raw().len() + history.as_ref().map_or(0, |h| h.raw().len());
        self.bytes += bytes;
        self.kept.push_back(Entry { seq: self.last, live, history, origin, bytes });
        // The newest is kept whatever its size, or it would not be sent at all.
        while self.kept.len() > 1 && (self.kept.len() > self.most || self.bytes > self.most_bytes) {
            if let Some(e) = self.kept.pop_front() {
                self.bytes -= e.bytes;
            }
        }
    }

    /// Lines after `seq` that are still kept.
    pub(super) fn after(&self, seq: u64) -> impl Iterator<Item = &Entry> {
        let first = self.kept.partition_point(|e| e.seq <= seq);
        self.kept.range(first..)
    }
}
