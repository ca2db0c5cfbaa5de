//! One direction of a connection: what was put in comes out in order, later; a closed pipe holds what it has.

use std::collections::VecDeque;
use std::time::Duration;

/// A queue of things under way.
#[derive(Debug)]
pub(crate) struct Pipe<T> {
    queue: VecDeque<(Duration, T)>,
    closed: bool,
    /// The longest the queue ever was.
    pub(crate) most: usize,
}

impl<T> Default for Pipe<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), closed: false, most: 0 }
    }
}

impl<T> Pipe<T> {
    /// Puts something in that comes out at `due`, or right after what is before it.
    pub(crate) fn push(&mut self, due: Duration, what: T) {
        let due = self.queue.back().map_or(due, |(last, _)| due.max(*last));
        self.queue.push_back((due, what));
        self.most = self.most.max(self.queue.len());
    }

    /// When the next thing comes out.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.queue.front().filter(|_| !self.closed).map(|(due, _)| *due)
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.queue.pop_front().map(|(_, what)| what)
    }

    /// Nothing comes out any more.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    /// What is inside comes out from `due` on.
    pub(crate) fn open(&mut self, due: Duration) {
        self.closed = false;
        for (at, _) in &mut self.queue {
            *at = due.max(*at);
        }
    }

    /// What is inside is lost.
    pub(crate) fn lose(&mut self) -> usize {
        let n = self.queue.len();
        self.queue.clear();
        n
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }
}
