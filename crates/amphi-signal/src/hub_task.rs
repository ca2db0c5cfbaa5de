//! The shell around a hub: waits for input or a deadline, lets the hub work, and carries out what it wants.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use amphi_room::{Counters, Hub, Input, Output, RoomId};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::mpsc;

use crate::journal::{Draft, Kind as Happened};
use crate::metrics::{NodeLabel, NodeRole};
use crate::node::Node;
use crate::queue::News;
use crate::shard::{Op, ShardMsg, VIRTUAL, shard_of};

/// Input that is taken in before the shards hear of it.
const BATCH: usize = 32;

/// Runs one hub of a node until its senders are gone.
pub(crate) async fn run(node: Arc<Node>, mut hub: Hub, mut rx: mpsc::Receiver<Input>) {
    let mut out = Outbound::new(&node);
    let mut batch = Vec::with_capacity(BATCH);
    let mut stats = Stats { at: None, stale: false, told: Counters::default() };
    loop {
        // What is still to be told to the metrics is told soon, although nothing happens any more.
        let due = [hub.poll_timeout(), stats.due()].into_iter().flatten().min();
        let timer = crate::timer::until(due);
        tokio::select! {
            biased;
            n = rx.recv_many(&mut batch, BATCH) => if n == 0 { return },
            () = timer => {
                if hub.poll_timeout().is_some_and(|at| at <= Instant::now()) {
                    batch.push(Input::Tick);
                }
            }
        }
        for input in batch.drain(..) {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
            hub.handle(Instant::now(), wall, input);
            while let Some(o) = hub.poll_output() {
                out.take(&node, o);
            }
        }
        out.send(&node).await;
        stats.publish(&node, &hub);
    }
}

/// What this hub has told the metrics, so that several hubs of a node add up.
struct Stats {
    at: Option<Instant>,
    /// Something happened since.
    stale: bool,
    told: Counters,
}

/// How often a hub tells its counts at most.
const TELL_EVERY: Duration = Duration::from_millis(500);

impl Stats {
    /// When counts are to be told that were not told yet.
    fn due(&self) -> Option<Instant> {
        self.at.filter(|_| self.stale).map(|at| at + TELL_EVERY)
    }

    fn publish(&mut self, node: &Node, hub: &Hub) {
        let now = Instant::now();
        if self.at.is_some_and(|at| now.duration_since(at) < TELL_EVERY) {
            self.stale = true;
            return;
        }
        self.stale = false;
        self.at = Some(now);
        let (new, old) = (hub.counters(), std::mem::replace(&mut self.told, hub.counters()));
        let m = &node.metrics;
        let diff = |a: usize, b: usize| a as i64 - b as i64;
        let label = NodeLabel { node: node.name.clone() };
        let role = |role| NodeRole { node: node.name.clone(), role };
        m.rooms.get_or_create(&label).inc_by(diff(new.rooms, old.rooms));
        m.queued_joins
            .get_or_create(&label)
            .inc_by(diff(new.waiting_for_turn + new.waiting_for_unlock, old.waiting_for_turn + old.waiting_for_unlock));
        m.in_lobbies.get_or_create(&label).inc_by(diff(new.in_lobbies, old.in_lobbies));
        m.occupants.get_or_create(&role("stage")).inc_by(diff(new.on_stage, old.on_stage));
        m.occupants.get_or_create(&role("visitor")).inc_by(diff(new.visitors, old.visitors));
        m.occupants.get_or_create(&role("moderator")).inc_by(diff(new.moderators, old.moderators));
    }
}

/// What waits to be sent to each shard.
struct Outbound {
    /// Joins to the stage, to the audience, of the focus.
    joins: [Counter; 3],
    shards: Vec<Vec<Op>>,
    virt: Vec<Op>,
    /// For the visitor queue, once the occupants have heard it.
    news: Vec<News>,
    /// Which shards have members of a room: bit 63 is the virtual one.
    rooms: HashMap<RoomId, HashMap<u8, u32>, foldhash::fast::RandomState>,
}

impl Outbound {
    fn new(node: &Node) -> Self {
        let joins = ["stage", "visitor", "focus"]
            .map(|role| node.metrics.joins.get_or_create_owned(&NodeRole { node: node.name.clone(), role }));
        Self {
            joins,
            shards: (0..node.shards.len()).map(|_| Vec::new()).collect(),
            virt: Vec::new(),
            news: Vec::new(),
            rooms: HashMap::default(),
        }
    }

    fn push(&mut self, shard: u8, op: Op) {
        if shard == VIRTUAL {
            self.virt.push(op);
        } else if let Some(list) = self.shards.get_mut(shard as usize) {
            list.push(op);
        }
    }

    fn take(&mut self, node: &Node, o: Output) {
        match o {
            Output::Join { room, conn, group } => {
                let shard = shard_of(conn);
                self.joins[group as usize].inc();
                *self.rooms.entry(room).or_default().entry(shard).or_default() += 1;
                self.push(shard, Op::Join(room, conn, group));
            }
            Output::Leave { room, conn } => {
                let shard = shard_of(conn);
                if let Some(shards) = self.rooms.get_mut(&room)
                    && let Some(n) = shards.get_mut(&shard)
                {
                    *n -= 1;
                    if *n == 0 {
                        shards.remove(&shard);
                    }
                }
                self.push(shard, Op::Leave(room, conn));
            }
            Output::Destroyed { room } => {
                for shard in self.rooms.remove(&room).into_iter().flatten().map(|(s, _)| s) {
                    self.push(shard, Op::Destroyed(room));
                }
            }
            Output::Broadcast(b) => {
                let shards: Vec<u8> = self.rooms.get(&b.room).into_iter().flat_map(HashMap::keys).copied().collect();
                for shard in shards {
                    self.push(shard, Op::Broadcast(b.clone()));
                }
            }
            Output::Send { conn, stanza } => self.push(shard_of(conn), Op::Send(conn, stanza)),
            Output::SendFrames { conn, frames } => self.push(shard_of(conn), Op::Frames(conn, frames)),
            Output::Route(stanza) => {
                if let Some((conn, bytes)) = node.route_out(stanza) {
                    self.push(shard_of(conn), Op::Send(conn, bytes));
                }
            }
            Output::Live { room, shown, state } => {
                if node.news.get().is_some() {
                    self.news.push(News { room, shown, state });
                }
            }
            Output::Promised { room, username, ttl } => {
                let text = format!("A visitor was let onto the stage, as {username}.");
                node.journal
                    .note(Draft::new(Happened::Promoted, text).room(&room).node(&node.name).endpoint(&*username));
                node.promise(room, username, ttl);
            }
            Output::Lobby { room, is_open } => node.note_lobby(room, is_open),
            Output::Refused(reason) => node.metrics.refuse(reason),
            Output::Told { id, result } => node.operators.answer(id, result),
        }
    }

    async fn send(&mut self, node: &Node) {
        if !self.virt.is_empty() {
            node.virt.ops(std::mem::take(&mut self.virt));
        }
        for (i, list) in self.shards.iter_mut().enumerate() {
            if !list.is_empty()
                && let Some(s) = node.shards.get(i as u8)
            {
                s.send(ShardMsg::Ops(std::mem::take(list))).await;
            }
        }
        if let Some(tx) = node.news.get() {
            for n in self.news.drain(..) {
                let _ = tx.send(n);
            }
        }
    }
}
