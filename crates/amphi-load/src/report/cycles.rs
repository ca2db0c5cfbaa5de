//! What is told about rooms that fill and empty, and about storms.

use std::fmt;

use serde::Serialize;

use super::{Shown, latency, mib};
use crate::histogram::Latency;

/// Many rooms that fill and empty.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rooms {
    /// Rooms at once.
    pub rooms: u64,
    /// People in each.
    pub people: u64,
    /// Resident memory of the server before the first cycle.
    pub rss_start: Option<u64>,
    /// What each cycle found.
    pub cycles: Vec<Cycle>,
    /// Floor of memory after the last cycle by that after the first.
    pub floor_ratio: Option<f64>,
}

/// One cycle: all join, everybody on stage sends a line, all leave.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Cycle {
    /// Its number, from 1.
    pub cycle: u32,
    /// People who wanted in.
    pub people: u64,
    /// People who were in.
    pub joined: u64,
    /// People who gave up.
    pub failed: u64,
    /// People who lost their connection.
    pub dropped: u64,
    /// Connections that the server refused.
    pub refused_connections: u64,
    /// From the first start to the last join.
    pub join_seconds: f64,
    /// Joins per second.
    pub joins_per_second: f64,
    /// From the first conference request to the own presence.
    pub latency: Latency,
    /// Lines sent.
    pub lines: u64,
    /// Deliveries that there must be when everybody sends a line.
    pub expected: u64,
    /// Deliveries that came, each counted once.
    pub received: u64,
    /// Never came.
    pub lost: u64,
    /// Came twice.
    pub duplicated: u64,
    /// Came to another room.
    pub strays: u64,
    /// From sending to receipt, over all receivers.
    pub delivery: Latency,
    /// Connections that the server had not closed after their clients had left.
    pub unclosed: u64,
    /// Rooms of the server beyond those before the first cycle, when the pause was over.
    pub rooms_left: Option<u64>,
    /// From the end of leaving until the rooms were gone.
    pub emptied_seconds: Option<f64>,
    /// CPU time of the server per join, holding included.
    pub cpu_ms_per_join: Option<f64>,
    /// Most resident memory of the server while people were in.
    pub rss_peak: Option<u64>,
    /// Least resident memory of the server after all had left.
    pub rss_floor: Option<u64>,
}

impl Rooms {
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rooms: {} of {} people, {} cycles", self.rooms, self.people, self.cycles.len())?;
        for c in &self.cycles {
            c.write(f)?;
        }
        row_of_memory(f, self)
    }
}

fn row_of_memory(f: &mut fmt::Formatter<'_>, rooms: &Rooms) -> fmt::Result {
    if rooms.rss_start.is_none() {
        return Ok(());
    }
    writeln!(f, "  memory before {} MiB, floor ratio {}", Shown(mib(rooms.rss_start)), Shown(rooms.floor_ratio))
}

impl Cycle {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  cycle {}: {} of {} joined, ", self.cycle, self.joined, self.people)?;
        write!(f, "{:.1} a second over {:.2} s; ", self.joins_per_second, self.join_seconds)?;
        writeln!(f, "failed {}, dropped {}, refused {}", self.failed, self.dropped, self.refused_connections)?;
        latency(f, "  join", &self.latency)?;
        write!(f, "    lines {}, deliveries {} of {}, ", self.lines, self.received, self.expected)?;
        writeln!(f, "lost {}, duplicated {}, in a wrong room {}", self.lost, self.duplicated, self.strays)?;
        latency(f, "  delivery", &self.delivery)?;
        if self.rss_peak.is_some() {
            write!(f, "    memory peak {}, floor {} MiB; ", Shown(mib(self.rss_peak)), Shown(mib(self.rss_floor)))?;
            writeln!(f, "CPU per join {} ms", Shown(self.cpu_ms_per_join))?;
        }
        match (self.rooms_left, self.emptied_seconds) {
            (_, Some(seconds)) => writeln!(f, "    rooms gone after {seconds:.1} s")?,
            (Some(left), None) => writeln!(f, "    rooms left after the pause: {left}")?,
            (None, None) => {}
        }
        Ok(())
    }
}

/// All at once.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Storm {
    /// Joins started at once.
    pub at_once: u64,
    /// Most WebSockets of them that were connecting at the same time.
    pub most_connecting: u64,
    /// Connections that the server refused.
    pub refused_connections: u64,
    /// Connections that the generator could not open.
    pub own_errors: u64,
    /// Until all were in (of several cycles the slowest); none if somebody never was.
    pub all_in_seconds: Option<f64>,
    /// From the start of a connection until it stood at TCP.
    pub connect: Latency,
    /// From the first conference request to the own presence, stage included.
    pub join: Latency,
}

impl Storm {
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "storm: {} at once, ", self.at_once)?;
        match self.all_in_seconds {
            Some(seconds) => write!(f, "all in after {seconds:.2} s; ")?,
            None => write!(f, "not all in; ")?,
        }
        write!(f, "refused {}, errors of the generator {}, ", self.refused_connections, self.own_errors)?;
        writeln!(f, "most connecting {}", self.most_connecting)?;
        latency(f, "connect", &self.connect)
    }
}
