//! The visitor queue: people who wait until a meeting is live, moderators who see how many, and the list of visitors
//! (`spec/signaling.md` 4.11).
//!
//! A room says when it is live, on the main node; the focus knows the visitors of all nodes. Both are brought to STOMP
//! connections here. What is said on those, and when, is decided in `amphi-queue`. One small task serves each connection; those
//! that wait for one room share one [`watch`] value, so that a person who waits costs a socket, a task and no queue.

mod connection;
mod golive;
mod list;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_queue::{Hall, LiveRule, RoomState, SessionConfig, Spread};
use amphi_room::LiveState;
use amphi_stanza::{BareJid, Jid};
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::focus_task::FocusHandle;
use crate::metrics::Metrics;
use crate::node::Node;

pub(crate) use connection::serve;
pub(crate) use golive::Service;
pub use golive::{ServiceSettings, ServiceToken};
use list::Lists;
pub(crate) use list::changes;

/// Settings of the queue.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// When a room counts as live: as the focus reads it.
    pub rule: LiveRule,
    /// Over how long those who waited come back.
    pub spread: Spread,
    /// Moderators hear of another number of people no more often than this.
    pub state_interval: Duration,
    /// Changes of the visitors' list are collected for this long.
    pub list_interval: Duration,
    /// Visitors in the list at most.
    pub list_limit: usize,
    /// Connections at one time.
    pub clients: usize,
    /// STOMP.
    pub session: SessionConfig,
}

/// News of a room, from its hub.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) room: BareJid,
    pub(crate) shown: BareJid,
    pub(crate) state: Option<LiveState>,
}

/// One room and those who wait for it.
#[derive(Debug)]
pub(crate) struct Waiting {
    hall: Mutex<Hall>,
    /// How long the return takes, while the room is live.
    live: watch::Sender<Option<Duration>>,
    count: watch::Sender<u32>,
}

/// The queue of a process.
pub(crate) struct Queue {
    pub(crate) settings: QueueSettings,
    pub(crate) session: Arc<SessionConfig>,
    pub(crate) node: Arc<Node>,
    pub(crate) focus: Option<FocusHandle>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) places: Arc<Semaphore>,
    pub(crate) lists: Lists,
    rooms: Mutex<HashMap<BareJid, Arc<Waiting>, RandomState>>,
}

impl Queue {
    pub(crate) fn new(settings: QueueSettings, node: Arc<Node>, focus: Option<FocusHandle>) -> Arc<Self> {
        Arc::new(Self {
            session: Arc::new(settings.session.clone()),
            places: Arc::new(Semaphore::new(settings.clients.min(Semaphore::MAX_PERMITS))),
            lists: Lists::default(),
            metrics: node.metrics.clone(),
            rooms: Mutex::default(),
            node,
            focus,
            settings,
        })
    }

    /// The real address of a room that may be waited for. `text`: as a client writes it.
    pub(crate) fn room(&self, text: &str) -> Option<BareJid> {
        let cfg = &self.node.rooms;
        let room = amphi_room::to_real(cfg, &Jid::parse(text).ok()?).as_bare()?;
        let (_, service) = cfg.muc(room.domain())?;
        (service.kind == amphi_room::MucKind::Conference).then_some(room)
    }

    fn with_room<T>(&self, room: &BareJid, f: impl FnOnce(&Arc<Waiting>) -> T) -> T {
        let mut rooms = self.rooms.lock();
        let found = rooms.entry(room.clone()).or_insert_with(|| {
            self.metrics.queue_rooms.inc();
            Arc::new(Waiting {
                hall: Mutex::new(Hall::new(self.settings.rule, self.settings.spread)),
                live: watch::Sender::new(None),
                count: watch::Sender::new(0),
            })
        });
        f(found)
    }

    /// A room has changed, or is gone.
    fn changed(&self, room: &BareJid, state: Option<LiveState>) {
        let state = state.map_or_else(RoomState::default, |s| RoomState { attended: s.attended, live: s.live });
        let (waiting, live, over, people) = self.with_room(room, |w| {
            let mut hall = w.hall.lock();
            let over = hall.update(Instant::now(), state);
            (w.clone(), hall.is_live(), over, hall.waiting())
        });
        match over {
            Some(over) => {
                if people > 0 {
                    self.metrics.queue_announcements.inc();
                    tracing::info!(%room, waiting = people, ?over, "A meeting is live; those who wait are told.");
                }
                waiting.live.send_replace(Some(over));
            }
            None if !live => {
                waiting.live.send_if_modified(|v| {
                    *v = None;
                    false
                });
            }
            None => {}
        }
        self.tidy(room);
    }

    /// Forgets a room of which nothing is known and for which nobody waits.
    fn tidy(&self, room: &BareJid) {
        let mut rooms = self.rooms.lock();
        let Some(w) = rooms.get(room) else { return };
        let unknown = {
            let hall = w.hall.lock();
            hall.waiting() == 0 && hall.state() == RoomState::default()
        };
        if unknown && w.count.receiver_count() == 0 {
            rooms.remove(room);
            self.metrics.queue_rooms.dec();
        }
    }

    /// Somebody comes to wait. The time is `Some` if the room is live.
    pub(crate) fn arrive(self: &Arc<Self>, room: BareJid) -> (Ticket, Option<Duration>) {
        let (waiting, rx, over) = self.with_room(&room, |w| {
            let mut hall = w.hall.lock();
            let over = hall.arrive(Instant::now());
            w.count.send_replace(hall.waiting());
            (w.clone(), w.live.subscribe(), over)
        });
        self.metrics.queue_waiting.inc();
        (Ticket { queue: self.clone(), room, waiting, rx }, over)
    }

    /// Somebody wants to know how many wait.
    pub(crate) fn watch(self: &Arc<Self>, room: BareJid) -> Watching {
        let rx = self.with_room(&room, |w| w.count.subscribe());
        Watching { queue: self.clone(), room, rx: Some(rx) }
    }
}

/// A place in the queue, given back when it is dropped.
pub(crate) struct Ticket {
    queue: Arc<Queue>,
    room: BareJid,
    waiting: Arc<Waiting>,
    rx: watch::Receiver<Option<Duration>>,
}

impl Ticket {
    /// Waits until the room becomes live.
    pub(crate) async fn called(&mut self) -> Duration {
        loop {
            if self.rx.changed().await.is_err() {
                // The sender lives as long as this ticket.
                return std::future::pending().await;
            }
            if let Some(over) = *self.rx.borrow_and_update() {
                return over;
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let left = {
            let mut hall = self.waiting.hall.lock();
            hall.leave();
            self.waiting.count.send_replace(hall.waiting());
            hall.waiting()
        };
        self.queue.metrics.queue_waiting.dec();
        if left == 0 {
            self.queue.tidy(&self.room);
        }
    }
}

/// A look at how many wait. Its room is forgotten when it was the last that kept it.
pub(crate) struct Watching {
    queue: Arc<Queue>,
    room: BareJid,
    rx: Option<watch::Receiver<u32>>,
}

impl Watching {
    /// The number.
    pub(crate) fn people(&mut self) -> u32 {
        self.rx.as_mut().map_or(0, |rx| *rx.borrow_and_update())
    }

    /// Waits until it is another.
    pub(crate) async fn changed(&mut self) {
        let changed = match &mut self.rx {
            Some(rx) => rx.changed().await.is_ok(),
            None => false,
        };
        if !changed {
            std::future::pending().await
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.rx = None;
        self.queue.tidy(&self.room);
    }
}

/// Brings the news of rooms to those who wait, and to a queue service elsewhere.
pub(crate) async fn news(
    mut rx: mpsc::UnboundedReceiver<News>,
    queue: Option<Arc<Queue>>,
    service: Option<Arc<Service>>,
) {
    let mut service = service.map(golive::Told::new);
    while let Some(n) = rx.recv().await {
        if let Some(q) = &queue {
            q.changed(&n.room, n.state);
        }
        if let Some(s) = &mut service {
            s.news(&n);
        }
    }
}
