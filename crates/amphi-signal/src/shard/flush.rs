//! Writing to an audience: in turns, so that one event per socket write is the exception and not the rule.
//!
//! A broadcast to a large group only marks its receivers. A walker then visits the marked connections in order and
//! writes everything that waits for each. After a walk it rests for a time that is proportional to what the walk took:
//! a single line reaches everybody at once, while lines that come faster than the walk collect and share writes.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Conn, Shard};

/// Connections written between two looks at other work.
const STRIDE: usize = 64;

#[derive(Default)]
pub(super) struct Bulk {
    queue: RefCell<VecDeque<Rc<Conn>>>,
    /// When the oldest event of the queue arrived.
    since: Cell<Option<Instant>>,
    wake: Notify,
}

impl Bulk {
    /// Marks a connection for the next walk.
    pub(super) fn add(&self, c: &Rc<Conn>, now: Instant) {
        if !c.marked_bulk.replace(true) {
            self.queue.borrow_mut().push_back(c.clone());
            if self.since.get().is_none() {
                self.since.set(Some(now));
            }
        }
    }

    pub(super) fn wake(&self) {
        if !self.queue.borrow().is_empty() {
            self.wake.notify_one();
        }
    }
}

/// The walker of a shard.
pub(super) async fn run(shard: Rc<Shard>) {
    loop {
        shard.bulk.wake.notified().await;
        let begun = Instant::now();
        let since = shard.bulk.since.take();
        let mut todo = std::mem::take(&mut *shard.bulk.queue.borrow_mut());
        let n = todo.len();
        shard.metrics.fanout_pending.inc_by(n as i64);
        let mut busy = Duration::ZERO;
        while !todo.is_empty() {
            let t = Instant::now();
            for c in todo.drain(..STRIDE.min(todo.len())) {
                c.marked_bulk.set(false);
                c.flush(&shard);
            }
            busy += t.elapsed();
            tokio::task::yield_now().await;
        }
        shard.metrics.fanout_pending.dec_by(n as i64);
        if let Some(since) = since {
            shard.metrics.fanout_delay.observe(since.elapsed().as_secs_f64());
        }
        // Rest: the walk may take `fanout_share` percent of the time.
        let share = f64::from(shard.settings.fanout_share.clamp(1, 100)) / 100.0;
        let rest = busy.mul_f64((1.0 - share) / share).min(Duration::from_millis(500));
        let until = begun + busy + rest;
        if n > STRIDE && rest > Duration::from_millis(1) && until > Instant::now() {
            tokio::time::sleep_until(until.into()).await;
        }
        shard.bulk.wake();
    }
}
