//! How clients leave: between two cycles, so that they can come back, or at the end of the thread. Either way the server is
//! told, and it is left to the server to close.

use std::{
    sync::{atomic::Ordering, mpsc::Sender},
    time::{Duration, Instant},
};

use mio::Events;

use super::Engine;
use crate::{client::Input, stats::Stats};

/// How long a thread that stops waits for the server to close its side, and for how long without any sign of it.
const FAREWELL: Duration = Duration::from_secs(3);
const FAREWELL_SILENCE: Duration = Duration::from_millis(300);

impl Engine {
    /// Lets everybody leave and hands over what was counted. Who still tries to get in gives up.
    pub(super) fn leave(&mut self, counted: &Sender<Stats>) {
        self.publish();
        self.take_stock();
        self.waiting.clear();
        self.under_way = 0;
        self.http_queue.clear();
        // An answer that is still due would be taken for that of the next cycle.
        self.http.retain(|_, conn| conn.current.is_none());
        (0..self.slots.len()).for_each(|at| self.leave_one(at));
        self.published = 0;
        self.published_accepts = 0;
        // A coordinator that is gone wants no figures.
        let _ = counted.send(std::mem::take(&mut self.sink.stats));
    }

    /// Lets one client leave. It can join again.
    pub(super) fn leave_one(&mut self, at: usize) {
        let now = self.now();
        let Some(slot) = self.slots.get_mut(at) else { return };
        let was_in = slot.client.is_joined();
        slot.client.handle(now, Input::Leave, self.around.rooms[slot.room].scene(), &mut self.sink);
        let told = slot.transport.as_mut().is_some_and(|t| t.write(&self.sink.bytes).is_ok());
        self.sink.bytes.clear();
        self.sink.outputs.clear();
        self.sink.offers.clear();
        if was_in {
            self.around.shared.joined.fetch_sub(1, Ordering::Relaxed);
        }
        if was_in && told {
            // Closing now could reset the connection before the server has read the farewell.
            slot.leaving = true;
            self.around.shared.leaving.fetch_add(1, Ordering::Relaxed);
        } else {
            self.hang_up(at);
        }
    }

    /// Counts what should have come to those in the room and has not.
    fn take_stock(&mut self) {
        for slot in &self.slots {
            let (chat, presence) = slot.client.missing(&self.around.rooms[slot.room].board);
            self.sink.stats.chat.missing += chat;
            self.sink.stats.presence.missing += presence;
        }
    }

    /// Takes stock, lets everybody leave, and waits a little for the server to close.
    pub(super) fn stop(mut self) -> Stats {
        self.take_stock();
        let stats = self.sink.stats.clone();
        let mut open = 0;
        for slot in &mut self.slots {
            slot.client.handle(0, Input::Leave, self.around.rooms[slot.room].scene(), &mut self.sink);
            if let Some(transport) = &mut slot.transport {
                let _ = transport.write(&self.sink.bytes);
                open += 1;
            }
            self.sink.bytes.clear();
            self.sink.outputs.clear();
        }
        let until = Instant::now() + FAREWELL;
        let mut events = Events::with_capacity(4_096);
        while open > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero()
                || self.poll.poll(&mut events, Some(left.min(FAREWELL_SILENCE))).is_err()
                || events.is_empty()
            {
                break;
            }
            for event in &events {
                let Some(slot) = self.slots.get_mut(event.token().0) else { continue };
                let Some(transport) = &mut slot.transport else { continue };
                let _ = transport.flush();
                loop {
                    match transport.read(&mut self.buffer) {
                        Ok(Some((n, more))) if n > 0 => {
                            if !more {
                                break;
                            }
                        }
                        Ok(None) => break,
                        _ => {
                            slot.transport = None;
                            open -= 1;
                            break;
                        }
                    }
                }
            }
        }
        stats
    }
}
