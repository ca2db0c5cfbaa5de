//! What this node tells Prometheus.
//!
//! Handles are resolved once; the hot path only adds to atomics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// One label, `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    /// What was counted.
    pub kind: &'static str,
}

/// One label, `reason`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// Why it happened.
    pub reason: &'static str,
}

/// One label, `node`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NodeLabel {
    /// Name of the node.
    pub node: String,
}

/// Two labels, `node` and `role`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NodeRole {
    /// Name of the node.
    pub node: String,
    /// `stage`, `visitor` or `focus`.
    pub role: &'static str,
}

/// Two labels, `local` and `remote`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LinkLabel {
    /// Our domain.
    pub local: String,
    /// The peer's domain.
    pub remote: String,
}

/// All metrics of the signaling roles of one process.
#[derive(Debug)]
pub struct Metrics {
    /// Stanzas received from clients, by kind.
    pub stanzas_in: Family<Kind, Counter>,
    /// Stanzas written to clients.
    pub stanzas_out: Counter,
    /// Writes to client sockets.
    pub socket_writes: Counter,
    /// Bytes written to client sockets.
    pub socket_bytes: Counter,
    /// Client connections, by transport.
    pub connections: Family<Kind, Gauge>,
    /// Streams that wait for their client to come back.
    pub hibernated: Gauge,
    /// Resumed streams.
    pub resumed: Counter,
    /// Logins, by kind of host.
    pub logins: Family<Kind, Counter>,
    /// Tokens presented on hosts that do not check tokens.
    pub tokens_ignored: Counter,
    /// What was refused or limited, by reason.
    pub refused: Family<Reason, Counter>,
    /// Connections ended by the server, by reason.
    pub closed: Family<Reason, Counter>,
    /// Joins to rooms, by node and role.
    pub joins: Family<NodeRole, Counter>,
    /// Occupants, by node and role.
    pub occupants: Family<NodeRole, Gauge>,
    /// Rooms, by node.
    pub rooms: Family<NodeLabel, Gauge>,
    /// Joins that wait in a queue of their room, by node.
    pub queued_joins: Family<NodeLabel, Gauge>,
    /// State of links: 1 is up.
    pub links: Family<LinkLabel, Gauge>,
    /// Stanzas waiting for a link.
    pub link_queue: Family<LinkLabel, Gauge>,
    /// From a broadcast's arrival at a shard until its last write, in seconds.
    pub fanout_delay: Histogram,
    /// Connections with output that waits for its turn.
    pub fanout_pending: Gauge,
    /// Connections that wait for their handshake.
    pub handshakes_waiting: Gauge,
    /// Conference requests by outcome.
    pub conference_requests: Family<Kind, Counter>,
    /// People who wait until a meeting is live.
    pub queue_waiting: Gauge,
    /// Meetings that became live while people waited.
    pub queue_announcements: Counter,
    /// Requests to a queue service elsewhere, by outcome.
    pub queue_service: Family<Kind, Counter>,
}

impl Metrics {
    /// Registers all metrics.
    pub fn register(registry: &mut Registry) -> Arc<Self> {
        let m = Self {
            stanzas_in: Family::default(),
            stanzas_out: Counter::default(),
            socket_writes: Counter::default(),
            socket_bytes: Counter::default(),
            connections: Family::default(),
            hibernated: Gauge::default(),
            resumed: Counter::default(),
            logins: Family::default(),
            tokens_ignored: Counter::default(),
            refused: Family::default(),
            closed: Family::default(),
            joins: Family::default(),
            occupants: Family::default(),
            rooms: Family::default(),
            queued_joins: Family::default(),
            links: Family::default(),
            link_queue: Family::default(),
            fanout_delay: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            fanout_pending: Gauge::default(),
            handshakes_waiting: Gauge::default(),
            conference_requests: Family::default(),
            queue_waiting: Gauge::default(),
            queue_announcements: Counter::default(),
            queue_service: Family::default(),
        };
        let r = registry.sub_registry_with_prefix("amphi");
        r.register("stanzas_in", "Stanzas received from clients", m.stanzas_in.clone());
        r.register("stanzas_out", "Stanzas written to clients", m.stanzas_out.clone());
        r.register("socket_writes", "Writes to client sockets", m.socket_writes.clone());
        r.register("socket_bytes", "Bytes written to client sockets", m.socket_bytes.clone());
        r.register("connections", "Client connections", m.connections.clone());
        r.register("hibernated", "Streams that wait for their client to come back", m.hibernated.clone());
        r.register("resumed", "Resumed streams", m.resumed.clone());
        r.register("logins", "Logins", m.logins.clone());
        r.register("tokens_ignored", "Tokens presented on hosts that check none", m.tokens_ignored.clone());
        r.register("refused", "Refused or limited", m.refused.clone());
        r.register("closed", "Connections ended by the server", m.closed.clone());
        r.register("joins", "Joins to rooms", m.joins.clone());
        r.register("occupants", "Occupants of rooms", m.occupants.clone());
        r.register("rooms", "Rooms", m.rooms.clone());
        r.register("queued_joins", "Joins waiting in a queue of their room", m.queued_joins.clone());
        r.register("links", "Links to other domains, 1 is up", m.links.clone());
        r.register("link_queue", "Stanzas waiting for a link", m.link_queue.clone());
        r.register("fanout_delay_seconds", "From broadcast to last write", m.fanout_delay.clone());
        r.register("fanout_pending", "Connections with output waiting for its turn", m.fanout_pending.clone());
        r.register("handshakes_waiting", "Connections waiting for their handshake", m.handshakes_waiting.clone());
        r.register("conference_requests", "Conference requests by outcome", m.conference_requests.clone());
        r.register("queue_waiting", "People who wait until a meeting is live", m.queue_waiting.clone());
        r.register(
            "queue_announcements",
            "Meetings that became live while people waited",
            m.queue_announcements.clone(),
        );
        r.register("queue_service_requests", "Requests to a queue service by outcome", m.queue_service.clone());
        Arc::new(m)
    }

    /// Counts something refused or limited.
    pub fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    /// Counts a connection ended by the server.
    pub fn close(&self, reason: &'static str) {
        self.closed.get_or_create(&Reason { reason }).inc();
    }
}

/// A counter of one thread, published now and then: cheaper than an atomic that threads share.
#[derive(Debug, Default)]
pub(crate) struct Local(std::cell::Cell<u64>);

impl Local {
    pub(crate) fn add(&self, n: u64) {
        self.0.set(self.0.get() + n);
    }
    pub(crate) fn publish(&self, to: &Counter<u64, AtomicU64>) {
        let n = self.0.replace(0);
        if n > 0 {
            to.inc_by(n);
        }
    }
}

/// Adds to an atomic gauge for as long as it lives.
pub(crate) struct Counted(Arc<AtomicU64>);

impl Counted {
    pub(crate) fn new(of: &Arc<AtomicU64>) -> Self {
        of.fetch_add(1, Ordering::Relaxed);
        Self(of.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
