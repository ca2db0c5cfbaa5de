//! How the plane's threads hand things to each other. Orders (commands, keys, wishes between shards) are never lost: their number is bounded
//! by what control and transports do. Packets are lost (and counted by the sender) when the reader does not keep up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use tokio::sync::mpsc;

use super::event::Event;

/// The writing end. Clones write into the same mailbox.
pub(super) struct Mailbox<O, P> {
    orders: Sender<O>,
    packets: Sender<P>,
    wake: Arc<Wake>,
}

impl<O, P> Clone for Mailbox<O, P> {
    fn clone(&self) -> Self {
        Self { orders: self.orders.clone(), packets: self.packets.clone(), wake: self.wake.clone() }
    }
}

/// The reading end.
pub(super) struct Inlet<O, P> {
    pub(super) orders: Receiver<O>,
    pub(super) packets: Receiver<P>,
    wake: Arc<Wake>,
}

struct Wake {
    /// Set when the reader was woken and has not looked yet: one system call for many messages.
    woken: AtomicBool,
    waker: mio::Waker,
}

/// A mailbox whose reader sleeps in the poll that `waker` belongs to. `room`: packets that may wait.
pub(super) fn mailbox<O, P>(waker: mio::Waker, room: usize) -> (Mailbox<O, P>, Inlet<O, P>) {
    let (orders, orders_in) = crossbeam_channel::unbounded();
    let (packets, packets_in) = crossbeam_channel::bounded(room);
    let wake = Arc::new(Wake { woken: AtomicBool::new(false), waker });
    (Mailbox { orders, packets, wake: wake.clone() }, Inlet { orders: orders_in, packets: packets_in, wake })
}

impl<O, P> Mailbox<O, P> {
    /// Hands an order over. `false` if the reader has ended.
    pub(super) fn order(&self, order: O) -> bool {
        let sent = self.orders.send(order).is_ok();
        self.wake.wake();
        sent
    }

    /// Hands an order over that nobody waits for: the reader, which never sleeps for long, comes to it with whatever is next.
    pub(super) fn order_later(&self, order: O) -> bool {
        self.orders.send(order).is_ok()
    }

    /// Hands a packet over. `false` if there was no room.
    pub(super) fn packet(&self, packet: P) -> bool {
        let sent = match self.packets.try_send(packet) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        };
        self.wake.wake();
        sent
    }
}

impl Wake {
    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            // Fails only when the eventfd is gone, and then so is the reader.
            let _ = self.waker.wake();
        }
    }
}

impl<O, P> Inlet<O, P> {
    /// To be called before the mailbox is emptied: what comes from now on wakes again.
    pub(super) fn looking(&self) {
        self.wake.woken.store(false, Ordering::Release);
        std::sync::atomic::fence(Ordering::SeqCst);
    }
}

/// Orders for a thread that nobody waits for. They are taken before whatever comes next, so that the thread is not woken for each.
pub(super) struct Later<O> {
    orders: Arc<Mutex<Vec<O>>>,
}

impl<O> Clone for Later<O> {
    fn clone(&self) -> Self {
        Self { orders: self.orders.clone() }
    }
}

impl<O> Default for Later<O> {
    fn default() -> Self {
        Self { orders: Arc::default() }
    }
}

impl<O> Later<O> {
    /// Hands an order over.
    pub(super) fn push(&self, order: O) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order);
    }

    /// All of them, in order.
    pub(super) fn take(&self) -> Vec<O> {
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Events of one thread that may wait for control beyond those in the channel.
const MAX_BACKLOG: usize = 1 << 18;

/// The way to control, of one thread.
pub(super) struct EventSink {
    sender: mpsc::Sender<Event>,
    backlog: std::collections::VecDeque<Event>,
    pub(super) drops: u64,
}

impl EventSink {
    pub(super) fn new(sender: mpsc::Sender<Event>) -> Self {
        Self { sender, backlog: std::collections::VecDeque::new(), drops: 0 }
    }

    /// Tells something that must not be lost: waits here if control is behind. Such events are few per endpoint; only when control has
    /// stopped reading altogether, the newest are lost.
    pub(super) fn tell(&mut self, event: Event) {
        if self.backlog.len() >= MAX_BACKLOG {
            self.drops += 1;
            return self.flush();
        }
        if !self.backlog.is_empty() {
            self.backlog.push_back(event);
            return self.flush();
        }
        match self.sender.try_send(event) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(event)) => self.backlog.push_back(event),
        }
    }

    /// Tells something that will be told again, or that a peer sends too often.
    pub(super) fn offer(&mut self, event: Event) {
        if !self.backlog.is_empty() || self.sender.try_send(event).is_err() {
            self.drops += 1;
        }
    }

    /// Tries again what waits. To be called once per pass.
    pub(super) fn flush(&mut self) {
        while let Some(event) = self.backlog.pop_front() {
            match self.sender.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Closed(_)) => self.backlog.clear(),
                Err(mpsc::error::TrySendError::Full(event)) => {
                    self.backlog.push_front(event);
                    return;
                }
            }
        }
    }

    /// Whether something waits.
    pub(super) fn waits(&self) -> bool {
        !self.backlog.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity() -> Event {
        Event::Activity { endpoints: Vec::new() }
    }

    #[test]
    fn packets_are_refused_when_there_is_no_room_and_orders_are_not() {
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let (mailbox, inlet) = mailbox::<u8, u8>(waker, 1);
        assert!(mailbox.packet(1));
        assert!(!mailbox.packet(2));
        assert!(mailbox.order(3) && mailbox.order(4));
        inlet.looking();
        assert_eq!(inlet.orders.try_iter().collect::<Vec<_>>(), [3, 4]);
        assert_eq!(inlet.packets.try_iter().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn events_that_must_not_be_lost_wait_and_keep_their_order() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut sink = EventSink::new(sender);
        let connected = |n| Event::Connected { endpoint: amphi_media::ids::EndpointId(n) };
        sink.offer(activity());
        sink.tell(connected(1));
        sink.offer(activity());
        sink.tell(connected(2));
        assert_eq!(sink.drops, 1);
        assert!(matches!(receiver.try_recv(), Ok(Event::Activity { .. })));
        for n in [1, 2] {
            sink.flush();
            assert!(matches!(receiver.try_recv(), Ok(Event::Connected { endpoint }) if endpoint.0 == n));
        }
        assert!(!sink.waits());
    }
}
