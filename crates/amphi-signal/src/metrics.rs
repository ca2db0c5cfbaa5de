//! What this node tells Prometheus.
//!
//! Handles are resolved once; the hot path only adds to atomics.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use amphi_focus::{BridgeStatus, NodeStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// One label, `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Kind {
    /// What was counted.
    pub(crate) kind: &'static str,
}

/// One label, `reason`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    /// Why it happened.
    pub(crate) reason: &'static str,
}

/// One label, `node`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct NodeLabel {
    /// Name of the node.
    pub(crate) node: String,
}

/// Two labels, `node` and `role`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct NodeRole {
    /// Name of the node.
    pub(crate) node: String,
    /// `stage`, `visitor` or `focus`.
    pub(crate) role: &'static str,
}

/// Two labels, `local` and `remote`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct LinkLabel {
    /// Our domain.
    pub(crate) local: String,
    /// The peer's domain.
    pub(crate) remote: String,
}

/// All metrics of the signaling roles of one process.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Stanzas received from clients, by kind.
    pub(crate) stanzas_in: Family<Kind, Counter>,
    /// Stanzas written to clients.
    pub(crate) stanzas_out: Counter,
    /// Writes to client sockets.
    pub(crate) socket_writes: Counter,
    /// Bytes written to client sockets.
    pub(crate) socket_bytes: Counter,
    /// Client connections, by transport.
    pub(crate) connections: Family<Kind, Gauge>,
    /// Streams that wait for their client to come back.
    pub(crate) hibernated: Gauge,
    /// Resumed streams.
    pub(crate) resumed: Counter,
    /// Logins, by kind of host.
    pub(crate) logins: Family<Kind, Counter>,
    /// Tokens presented on hosts that do not check tokens.
    pub(crate) tokens_ignored: Counter,
    /// What was refused or limited, by reason.
    pub(crate) refused: Family<Reason, Counter>,
    /// Connections ended by the server, by reason.
    pub(crate) closed: Family<Reason, Counter>,
    /// Joins to rooms, by node and role.
    pub(crate) joins: Family<NodeRole, Counter>,
    /// Occupants, by node and role.
    pub(crate) occupants: Family<NodeRole, Gauge>,
    /// Rooms, by node.
    pub(crate) rooms: Family<NodeLabel, Gauge>,
    /// People in lobbies.
    pub(crate) in_lobbies: Family<NodeLabel, Gauge>,
    /// Joins that wait in a queue of their room, by node.
    pub(crate) queued_joins: Family<NodeLabel, Gauge>,
    /// State of links: 1 is up.
    pub(crate) links: Family<LinkLabel, Gauge>,
    /// Stanzas waiting for a link.
    pub(crate) link_queue: Family<LinkLabel, Gauge>,
    /// From a broadcast's arrival at a shard until its last write, in seconds.
    pub(crate) fanout_delay: Histogram,
    /// Connections with output that waits for its turn.
    pub(crate) fanout_pending: Gauge,
    /// Connections whose handshake is not over.
    pub(crate) handshakes: Gauge,
    /// Connections that wait for their handshake.
    pub(crate) handshakes_waiting: Gauge,
    /// Conference requests by outcome.
    pub(crate) conference_requests: Family<Kind, Counter>,
    /// People who wait until a meeting is live.
    pub(crate) queue_waiting: Gauge,
    /// Rooms that the queue knows.
    pub(crate) queue_rooms: Gauge,
    /// Meetings that became live while people waited.
    pub(crate) queue_announcements: Counter,
    /// Requests to a queue service elsewhere, by outcome.
    pub(crate) queue_service: Family<Kind, Counter>,
}

impl Metrics {
    /// Registers all metrics.
    pub(crate) fn register(registry: &mut Registry) -> Arc<Self> {
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
            in_lobbies: Family::default(),
            queued_joins: Family::default(),
            links: Family::default(),
            link_queue: Family::default(),
            fanout_delay: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            fanout_pending: Gauge::default(),
            handshakes: Gauge::default(),
            handshakes_waiting: Gauge::default(),
            conference_requests: Family::default(),
            queue_waiting: Gauge::default(),
            queue_rooms: Gauge::default(),
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
        r.register("in_lobbies", "People in lobbies", m.in_lobbies.clone());
        r.register("queued_joins", "Joins waiting in a queue of their room", m.queued_joins.clone());
        r.register("links", "Links to other domains, 1 is up", m.links.clone());
        r.register("link_queue", "Stanzas waiting for a link", m.link_queue.clone());
        r.register("fanout_delay_seconds", "From broadcast to last write", m.fanout_delay.clone());
        r.register("fanout_pending", "Connections with output waiting for its turn", m.fanout_pending.clone());
        r.register("handshakes", "Connections whose handshake is not over", m.handshakes.clone());
        r.register("handshakes_waiting", "Connections waiting for their handshake", m.handshakes_waiting.clone());
        r.register("conference_requests", "Conference requests by outcome", m.conference_requests.clone());
        r.register("queue_waiting", "People who wait until a meeting is live", m.queue_waiting.clone());
        r.register("queue_rooms", "Rooms that are live, waited for or watched", m.queue_rooms.clone());
        r.register(
            "queue_announcements",
            "Meetings that became live while people waited",
            m.queue_announcements.clone(),
        );
        r.register("queue_service_requests", "Requests to a queue service by outcome", m.queue_service.clone());
        Arc::new(m)
    }

    /// The counter of what is refused or limited for a reason.
    pub(crate) fn refusals(&self, reason: &'static str) -> Counter {
        self.refused.get_or_create(&Reason { reason }).clone()
    }

    /// Counts something refused or limited.
    pub(crate) fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    /// Counts a connection ended by the server.
    pub(crate) fn close(&self, reason: &'static str) {
        self.closed.get_or_create(&Reason { reason }).inc();
    }
}

/// Name, help, and how to read it.
type Figure<T> = (&'static str, &'static str, fn(&T) -> f64);

/// What the focus tells Prometheus: its counters, its nodes and its bridges.
#[derive(Debug)]
pub(crate) struct FocusFigures(pub(crate) crate::focus_task::SharedView);

impl Collector for FocusFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let view = self.0.lock().clone();
        for (name, help, value) in view.metrics.each() {
            let counter = ConstCounter::new(value);
            let name = ["amphi_focus_", name].concat();
            counter.encode(encoder.encode_descriptor(&name, help.trim(), None, counter.metric_type())?)?;
        }
        let plain = [
            ("conferences", "Conferences", view.conferences.len()),
            ("invitations_waiting", "Members that wait for their first invitation", view.invitations.0),
            ("reinvitations_waiting", "Members that wait to be invited again", view.invitations.1),
        ];
        for (name, help, value) in plain {
            let gauge = ConstGauge::new(value as f64);
            let name = ["amphi_focus_", name].concat();
            gauge.encode(encoder.encode_descriptor(&name, help, None, gauge.metric_type())?)?;
        }
        let nodes: [Figure<NodeStatus>; 5] = [
            ("node_visitors", "Visitors of a node", |n| f64::from(n.visitors)),
            ("node_pending", "Visitors on their way to a node", |n| f64::from(n.pending)),
            ("node_capacity", "Visitors that a node may have", |n| f64::from(n.capacity)),
            ("node_connected", "The focus is connected to the node", |n| f64::from(u8::from(n.connected))),
            ("node_draining", "The node gets no new visitors", |n| f64::from(u8::from(n.draining))),
        ];
        for (name, help, value) in nodes {
            let all = view.nodes.iter().map(|n| (n.vnode.clone(), value(n)));
            family(&mut encoder, name, help, "node", all)?;
        }
        let bridges: [Figure<BridgeStatus>; 5] = [
            ("bridge_stress", "Load of a bridge; 1 is full", |b| b.stress),
            ("bridge_endpoints", "Endpoints of this focus on a bridge", |b| f64::from(b.endpoints)),
            ("bridge_operational", "The bridge can be chosen", |b| f64::from(u8::from(b.operational))),
            ("bridge_draining", "The bridge is chosen only if there is no other", |b| {
                f64::from(u8::from(b.draining || b.held))
            }),
            ("bridge_failing_ice", "Too many clients cannot connect to it", |b| f64::from(u8::from(b.failing_ice))),
        ];
        for (name, help, value) in bridges {
            let all = view.bridges.iter().map(|b| (b.name.clone(), value(b)));
            family(&mut encoder, name, help, "bridge", all)?;
        }
        Ok(())
    }
}

/// One gauge for each of several things.
fn family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &'static str,
    all: impl Iterator<Item = (String, f64)>,
) -> Result<(), std::fmt::Error> {
    let name = ["amphi_focus_", name].concat();
    let mut descriptor = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
    for (value, n) in all {
        let labels = [(label, value)];
        ConstGauge::new(n).encode(descriptor.encode_family(&labels)?)?;
    }
    Ok(())
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
