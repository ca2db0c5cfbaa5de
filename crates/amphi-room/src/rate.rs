//! Paces: how fast people come in and are seen leaving, and how much may be said.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_stanza::{Frame, Stanza};

use crate::context::Cx;
use crate::occupant::Occupant;
use crate::presence::Note;
use crate::room::Room;

const SECOND: Duration = Duration::from_secs(1);

/// So many per second; the rest in the next ones.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    per_second: Option<u32>,
    window: Option<Instant>,
    used: u32,
}

impl Pace {
    pub(crate) fn new(per_second: Option<u32>) -> Self {
        Self { per_second: per_second.map(|n| n.max(1)), window: None, used: 0 }
    }

    /// Whether one more may pass now.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let Some(limit) = self.per_second else { return true };
        if self.window.is_none_or(|w| now >= w + SECOND) {
            self.window = Some(now);
            self.used = 0;
        }
        let free = self.used < limit;
        self.used += u32::from(free);
        free
    }

    /// When the next ones may pass.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.window.map(|w| w + SECOND)
    }
}

/// Leaves that are not announced yet.
#[derive(Debug)]
pub(crate) struct LeaveQueue {
    pace: Pace,
    queue: VecDeque<(Occupant, Stanza, Note, Arc<Frame>)>,
}

impl LeaveQueue {
    pub(crate) fn new(per_second: Option<u32>) -> Self {
        Self { pace: Pace::new(per_second), queue: VecDeque::new() }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        if self.queue.is_empty() { None } else { self.pace.next() }
    }
}

impl Room {
    /// Announces that somebody has left, now or when its turn comes. Only the stage is paced: nobody but the focus hears of
    /// visitors.
    pub(crate) fn announce_leave(&mut self, cx: &mut Cx<'_>, o: Occupant, stanza: Stanza, note: Note) {
        let frame = self.presence_frame(cx, &o, &stanza, &note);
        if o.is_visitor() || (self.leaves.queue.is_empty() && self.leaves.pace.take(cx.now)) {
            self.announce(cx, &o, &stanza, &note, frame);
        } else {
            self.leaves.queue.push_back((o, stanza, note, frame));
            if self.leaves.queue.len() > cx.cfg.limits.leave_queue
                && let Some((o, stanza, note, frame)) = self.leaves.queue.pop_front()
            {
                self.announce(cx, &o, &stanza, &note, frame);
            }
        }
    }

    pub(crate) fn announce_paced_leaves(&mut self, cx: &mut Cx<'_>) {
        while !self.leaves.queue.is_empty() && self.leaves.pace.take(cx.now) {
            let Some((o, stanza, note, frame)) = self.leaves.queue.pop_front() else { break };
            self.announce(cx, &o, &stanza, &note, frame);
        }
    }

    /// Somebody takes a nick whose earlier leave nobody has heard of yet: it is told first.
    pub(crate) fn announce_leave_of(&mut self, cx: &mut Cx<'_>, nick: &str) {
        while let Some(i) = self.leaves.queue.iter().position(|(o, ..)| *o.nick == *nick) {
            if let Some((o, stanza, note, frame)) = self.leaves.queue.remove(i) {
                self.announce(cx, &o, &stanza, &note, frame);
            }
        }
    }

    /// Lets in whoever's turn has come.
    pub(crate) fn admit_paced(&mut self, cx: &mut Cx<'_>) {
        while !self.destroyed && !self.rate_queue.is_empty() && self.joins.take(cx.now) {
            let Some(mut join) = self.rate_queue.pop() else { break };
            join.paced = true;
            self.admit(cx, join);
        }
    }
}
