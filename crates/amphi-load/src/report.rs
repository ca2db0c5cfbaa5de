//! What a run found: one structure with stable keys for machines, one table for people.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

mod cycles;

pub use cycles::{Cycle, Rooms, Storm};

use crate::{bare::Turn, histogram::Latency, stats::Deliveries};

/// The whole report.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Nothing lost, duplicated or malformed, everybody joined and stayed.
    pub ok: bool,
    /// What was wrong, in words.
    pub problems: Vec<String>,
    /// Number of the run, as in its markers.
    pub run: String,
    /// Room.
    pub room: String,
    /// URL of the main node.
    pub url: String,
    /// Joining.
    pub joins: Joins,
    /// Chat lines.
    pub chat: Fanout,
    /// Presence changes.
    pub presence: Fanout,
    /// A sender's own lines as it got them back.
    pub echo: Latency,
    /// Offers of media.
    pub offers: Option<Offers>,
    /// What the server used.
    pub server: Server,
    /// What the generator used.
    pub generator: Generator,
    /// Comparison with bare writes.
    pub bare: Option<Comparison>,
    /// Many rooms that fill and empty.
    pub rooms: Option<Rooms>,
    /// All at once.
    pub storm: Option<Storm>,
    /// Errors by kind, those included after which a client tried again.
    pub errors: BTreeMap<String, u64>,
    /// Traffic and protocol counts.
    pub traffic: Traffic,
    /// Samples over time.
    pub samples: Vec<Sample>,
}

/// Joining.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Joins {
    /// Participants asked for.
    pub stage: u64,
    /// Visitors asked for.
    pub audience: u64,
    /// Clients that were in the room.
    pub joined: u64,
    /// Clients that gave up.
    pub failed: u64,
    /// Clients that lost their connection afterwards.
    pub dropped: u64,
    /// Connections the server refused.
    pub refused_connections: u64,
    /// Answers with `ready=false`.
    pub not_ready: u64,
    /// Further attempts.
    pub retries: u64,
    /// From the first start to the last join of the audience.
    pub seconds: f64,
    /// Audience joins per second.
    pub per_second: f64,
    /// From the first conference request to the own presence.
    pub latency: Latency,
    /// From the answer that let the client in to the own presence.
    pub entry: Latency,
    /// Clients by node (empty name: main node).
    pub nodes: BTreeMap<String, u64>,
}

/// Deliveries of one kind.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Fanout {
    /// Sent by clients of this run.
    pub sent: u64,
    /// Received, over all receivers.
    pub received: u64,
    /// Never came.
    pub lost: u64,
    /// Came twice.
    pub duplicated: u64,
    /// Came after a later one of the same sender.
    pub out_of_order: u64,
    /// Mean size without framing.
    pub mean_bytes: Option<f64>,
    /// From sending to receipt, over all receivers.
    pub latency: Latency,
    /// From sending to receipt by the last receiver, over all lines.
    pub last: Latency,
}

impl Fanout {
    /// The figures of a carrier.
    pub(crate) fn new(sent: u64, d: &Deliveries) -> Self {
        Self {
            sent,
            received: d.received,
            lost: d.lost(),
            duplicated: d.duplicated,
            out_of_order: d.late,
            mean_bytes: (d.received > 0).then(|| d.bytes as f64 / d.received as f64),
            latency: d.latency.summary(),
            last: d.last_histogram().summary(),
        }
    }
}

/// Offers of media that were accepted without any media.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Offers {
    /// Offers that came.
    pub received: u64,
    /// Answers that the focus took.
    pub accepted: u64,
    /// From the own presence to the offer.
    pub offer: Latency,
    /// From the own presence to the focus' result.
    pub accept: Latency,
}

/// What the server used.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Server {
    /// Processes.
    pub pids: Vec<u32>,
    /// CPU time while the audience joined.
    pub join_cpu_seconds: Option<f64>,
    /// CPU per join of the audience.
    pub cpu_ms_per_join: Option<f64>,
    /// The same without the cost of holding those already there.
    pub net_cpu_ms_per_join: Option<f64>,
    /// Net, first 1,000 joins.
    pub net_cpu_ms_per_join_first_1000: Option<f64>,
    /// Net, last 1,000 joins.
    pub net_cpu_ms_per_join_last_1000: Option<f64>,
    /// CPU in use while nothing happens, per cent of a core.
    pub idle_cpu_percent: Option<f64>,
    /// The same per visitor, in microseconds per second.
    pub holding_us_per_visitor_second: Option<f64>,
    /// CPU per delivered line, everything that went on meanwhile included.
    pub cpu_us_per_chat_delivery: Option<f64>,
    /// The same without the cost of holding (too low where holding is mostly pings: who hears something does not ping).
    pub net_cpu_us_per_chat_delivery: Option<f64>,
    /// CPU per delivered presence.
    pub cpu_us_per_presence_delivery: Option<f64>,
    /// The same without the cost of holding.
    pub net_cpu_us_per_presence_delivery: Option<f64>,
    /// Resident memory before the audience.
    pub rss_start: Option<u64>,
    /// Resident memory after about 1,000 visitors.
    pub rss_1000: Option<u64>,
    /// Resident memory with the whole audience.
    pub rss_end: Option<u64>,
    /// Growth per visitor beyond the first 1,000 (beyond none in a smaller audience).
    pub rss_bytes_per_visitor: Option<f64>,
    /// Kernel memory of TCP sockets with the whole audience, both ends and other programs included.
    pub socket_memory_end: Option<u64>,
    /// Its growth per visitor.
    pub socket_memory_bytes_per_visitor: Option<f64>,
}

/// What the generator used.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Generator {
    /// CPU time, whole run.
    pub cpu_seconds: Option<f64>,
    /// CPU time while the audience joined.
    pub join_cpu_seconds: Option<f64>,
    /// CPU per join.
    pub cpu_ms_per_join: Option<f64>,
    /// Resident memory with the whole audience.
    pub rss_end: Option<u64>,
    /// Threads.
    pub threads: usize,
    /// Length of the run.
    pub seconds: f64,
}

/// Counts of the protocol.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Traffic {
    /// Stanzas received.
    pub stanzas: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// WebSocket connections opened.
    pub connects: u64,
    /// Acknowledgements sent.
    pub acks: u64,
    /// Pings sent.
    pub pings: u64,
    /// Capability queries answered.
    pub disco_answers: u64,
    /// Marked lines replayed as history.
    pub history: u64,
    /// Frames parsed strictly.
    pub checked: u64,
    /// Malformed frames.
    pub malformed: u64,
    /// Marked stanzas that came to another room than they were sent to.
    pub strays: u64,
}

/// The server against bare writes.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// Sockets.
    pub sockets: u64,
    /// Size of a frame.
    pub frame_bytes: u64,
    /// Turns, in order.
    pub turns: Vec<ComparisonTurn>,
    /// Median of the ratios: CPU per delivery of the server to CPU per bare write.
    pub ratio: Option<f64>,
}

/// One turn of each.
#[derive(Clone, Debug, Serialize)]
pub struct ComparisonTurn {
    /// CPU per delivery of the server, everything included.
    pub server_us_per_delivery: Option<f64>,
    /// CPU per bare write.
    pub bare_us_per_write: f64,
    /// The first by the second.
    pub ratio: Option<f64>,
    /// The turn of the bare loop.
    pub bare: Turn,
}

/// What was used at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Seconds since the run began.
    pub t: f64,
    /// What went on.
    pub phase: &'static str,
    /// Joins so far.
    pub joins: u64,
    /// Clients in the room.
    pub joined: u64,
    /// Deliveries so far.
    pub delivered: u64,
    /// CPU time of the server so far.
    pub server_cpu: Option<f64>,
    /// Resident memory of the server.
    pub server_rss: Option<u64>,
    /// Kernel memory of all TCP sockets.
    pub socket_memory: Option<u64>,
    /// CPU time of the generator so far.
    pub generator_cpu: Option<f64>,
    /// Resident memory of the generator.
    pub generator_rss: Option<u64>,
}

struct Shown<T>(Option<T>);

impl fmt::Display for Shown<f64> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(n) => f.pad(&format!("{n:.3}")),
            None => f.pad("-"),
        }
    }
}

pub(crate) fn mib(bytes: Option<u64>) -> Option<f64> {
    bytes.map(|b| b as f64 / f64::from(1 << 20))
}

pub(crate) fn latency(f: &mut fmt::Formatter<'_>, name: &str, l: &Latency) -> fmt::Result {
    if l.count == 0 {
        return Ok(());
    }
    let (p50, p90, p99, max) = (Shown(l.p50_ms), Shown(l.p90_ms), Shown(l.p99_ms), Shown(l.max_ms));
    writeln!(f, "  {name:<24} p50 {p50:>10}  p90 {p90:>10}  p99 {p99:>10}  max {max:>10} ms  (n {})", l.count)
}

pub(crate) fn row(f: &mut fmt::Formatter<'_>, name: &str, value: Option<f64>, unit: &str) -> fmt::Result {
    match value {
        Some(_) => writeln!(f, "  {name:<44} {:>12} {unit}", Shown(value)),
        None => Ok(()),
    }
}

fn fanout(f: &mut fmt::Formatter<'_>, name: &str, d: &Fanout) -> fmt::Result {
    if d.sent == 0 {
        return Ok(());
    }
    writeln!(
        f,
        "{name}: sent {}, delivered {}, lost {}, duplicated {}, out of order {}",
        d.sent, d.received, d.lost, d.duplicated, d.out_of_order
    )?;
    latency(f, "every receiver", &d.latency)?;
    latency(f, "last receiver", &d.last)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let j = &self.joins;
        writeln!(f, "room {} at {} (run {})", self.room, self.url, self.run)?;
        writeln!(
            f,
            "joins: {} of {} joined, {} failed, {} dropped; refused {}, not ready {}, retries {}; {:.1} a second over {:.1} s",
            j.joined,
            j.stage + j.audience,
            j.failed,
            j.dropped,
            j.refused_connections,
            j.not_ready,
            j.retries,
            j.per_second,
            j.seconds
        )?;
        for (node, n) in &j.nodes {
            writeln!(f, "  {:<24} {n}", if node.is_empty() { "main node" } else { node })?;
        }
        latency(f, "join", &j.latency)?;
        latency(f, "join after admission", &j.entry)?;
        if let Some(storm) = &self.storm {
            storm.write(f)?;
        }
        if let Some(rooms) = &self.rooms {
            rooms.write(f)?;
        }
        fanout(f, "chat", &self.chat)?;
        fanout(f, "presence", &self.presence)?;
        latency(f, "own echo", &self.echo)?;
        if let Some(offers) = &self.offers {
            writeln!(f, "offers: {} received, {} accepted", offers.received, offers.accepted)?;
            latency(f, "offer after entry", &offers.offer)?;
            latency(f, "accepted after entry", &offers.accept)?;
        }
        let s = &self.server;
        if !s.pids.is_empty() {
            writeln!(f, "server:")?;
            row(f, "CPU per join", s.cpu_ms_per_join, "ms")?;
            row(f, "CPU per join, net", s.net_cpu_ms_per_join, "ms")?;
            row(f, "CPU per join, net, first 1,000", s.net_cpu_ms_per_join_first_1000, "ms")?;
            row(f, "CPU per join, net, last 1,000", s.net_cpu_ms_per_join_last_1000, "ms")?;
            row(f, "CPU at rest", s.idle_cpu_percent, "% of a core")?;
            row(f, "CPU per visitor held", s.holding_us_per_visitor_second, "us/s")?;
            row(f, "CPU per chat delivery", s.cpu_us_per_chat_delivery, "us")?;
            row(f, "CPU per chat delivery, net", s.net_cpu_us_per_chat_delivery, "us")?;
            row(f, "CPU per presence delivery", s.cpu_us_per_presence_delivery, "us")?;
            row(f, "CPU per presence delivery, net", s.net_cpu_us_per_presence_delivery, "us")?;
            row(f, "memory before / with the audience", mib(s.rss_start), "MiB")?;
            row(f, "", mib(s.rss_end), "MiB")?;
            row(f, "memory per visitor", s.rss_bytes_per_visitor.map(|b| b / 1_024.0), "KiB")?;
            row(
                f,
                "socket memory per visitor (both ends)",
                s.socket_memory_bytes_per_visitor.map(|b| b / 1_024.0),
                "KiB",
            )?;
        }
        if let Some(bare) = &self.bare {
            writeln!(f, "bare writes ({} sockets, {} bytes):", bare.sockets, bare.frame_bytes)?;
            for turn in &bare.turns {
                writeln!(
                    f,
                    "  server {:>9} us per delivery, bare {:>9.3} us per write, ratio {}",
                    Shown(turn.server_us_per_delivery),
                    turn.bare_us_per_write,
                    Shown(turn.ratio)
                )?;
            }
            row(f, "ratio (median)", bare.ratio, "")?;
        }
        let g = &self.generator;
        writeln!(f, "generator: {} threads, {:.1} s", g.threads, g.seconds)?;
        row(f, "CPU", g.cpu_seconds, "s")?;
        row(f, "CPU per join", g.cpu_ms_per_join, "ms")?;
        row(f, "memory with the audience", mib(g.rss_end), "MiB")?;
        if !self.errors.is_empty() {
            writeln!(f, "errors:")?;
            for (kind, n) in &self.errors {
                writeln!(f, "  {n:>8}  {kind}")?;
            }
        }
        match self.ok {
            true => writeln!(f, "ok"),
            false => self.problems.iter().try_for_each(|p| writeln!(f, "FAILED: {p}")),
        }
    }
}
