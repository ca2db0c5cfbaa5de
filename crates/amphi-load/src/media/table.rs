//! The report for people.

use std::fmt;

use super::report::{BareMedia, Churn, Connects, Cost, Creates, MediaReport};
use crate::report::{latency, mib, row};

impl fmt::Display for MediaReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v = &self.viewers;
        writeln!(f, "conference {} (run {}), {:.1} s", self.place, self.run, self.seconds)?;
        writeln!(
            f,
            "viewers: {} of {} held ({} full, {} sinks asked for), {} served, {} failed, {} not admitted; {} publishers",
            v.held,
            v.full + v.sinks,
            v.full,
            v.sinks,
            v.served,
            v.failed,
            v.not_admitted,
            v.publishers
        )?;
        self.write_joining(f)?;
        self.write_quality(f)?;
        self.write_traffic(f)?;
        self.write_server(f)?;
        if let Some(bare) = &self.bare {
            bare.write(f)?;
        }
        if let Some(creates) = &self.creates {
            creates.write(f)?;
        }
        if let Some(connects) = &self.connects {
            connects.write(f)?;
        }
        if let Some(churn) = &self.churn {
            churn.write(f)?;
        }
        row(f, "generator CPU", self.generator_cpu_seconds, "s")?;
        if !self.errors.is_empty() {
            writeln!(f, "errors:")?;
            self.errors.iter().try_for_each(|(kind, n)| writeln!(f, "  {n:>8}  {kind}"))?;
        }
        match self.ok {
            true => writeln!(f, "ok"),
            false => self.problems.iter().try_for_each(|p| writeln!(f, "FAILED: {p}")),
        }
    }
}

impl MediaReport {
    fn write_joining(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let j = &self.joining;
        writeln!(
            f,
            "joining: {:.1} sinks a second over {:.1} s, {} channels",
            j.connects_per_second, j.seconds, j.channels
        )?;
        latency(f, "join to DTLS done", &j.connect)?;
        latency(f, "offer to DTLS done", &j.handshake)?;
        latency(f, "join to channel", &j.channel)?;
        latency(f, "join to first packet", &j.first_packet)?;
        latency(f, "join to first frame", &j.first_frame)?;
        latency(f, "DTLS done to first frame", &j.keyframe_wait)
    }

    fn write_quality(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let q = &self.quality;
        writeln!(
            f,
            "quality ({} viewers, {} without a picture): {} frames decodable ({} keyframes), {} undecodable, {} incomplete, {} cut, {} freezes, {} switches",
            q.judged, q.blank, q.frames, q.keyframes, q.undecodable, q.incomplete, q.cut, q.freezes, q.switches
        )?;
        writeln!(
            f,
            "  video packets {}, lost {}, late {}; audio packets {}, lost {}; keyframes asked for {}, requests {}, sent {}",
            q.packets, q.lost, q.late, q.audio_packets, q.audio_lost, q.asked, q.requests, q.published_keyframes
        )?;
        latency(f, "forwarding delay, video", &q.delay)?;
        latency(f, "forwarding delay, audio", &q.audio_delay)
    }

    fn write_traffic(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = &self.traffic;
        writeln!(f, "traffic:")?;
        row(f, "packets to viewers", Some(t.packets_per_second), "per second")?;
        row(f, "packets to one viewer", Some(t.packets_per_viewer_second), "per second")?;
        row(f, "bits to viewers", Some(t.bits_per_second / 1e6), "Mbit/s")?;
        writeln!(
            f,
            "  sinks: {} packets, {} lost ({:.4} %), {} opened, {} forged, {} feedbacks; dropped by full receive buffers: {}",
            t.sink_packets,
            t.sink_lost,
            t.sink_loss_percent,
            t.sampled,
            t.forged,
            t.feedbacks,
            t.receive_buffer_errors.map_or("-".to_owned(), |n| n.to_string())
        )
    }

    fn write_server(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.server;
        if s.pids.is_empty() {
            return Ok(());
        }
        writeln!(f, "server:")?;
        row(f, "cores in use", s.cores, "")?;
        row(f, "viewers per core", s.viewers_per_core, "")?;
        row(f, "CPU per viewer", s.us_per_viewer_second, "us/s")?;
        row(f, "CPU per delivered packet", s.us_per_packet, "us")?;
        row(f, "CPU per connection of a sink, all included", s.ms_per_connect, "ms")?;
        row(f, "memory before sinks", mib(s.rss_before), "MiB")?;
        row(f, "memory with all viewers", mib(s.rss_held), "MiB")?;
        row(f, "memory per viewer", s.rss_bytes_per_viewer.map(|b| b / 1_024.0), "KiB")
    }
}

impl BareMedia {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "bare loop ({} sinks):", self.sinks)?;
        for it in &self.turns {
            writeln!(
                f,
                "  bridge {:>7.3} us per packet, bare {:>7.3} us ({} packets in {} sends, {} received), {:>5.1} % of the bare loop",
                it.bridge_us_per_packet.unwrap_or(f64::NAN),
                it.bare.us_per_packet,
                it.bare.packets,
                it.bare.sends,
                it.bare.received,
                it.percent.unwrap_or(f64::NAN)
            )?;
        }
        row(f, "of the bare loop (median)", self.percent, "%")
    }
}

impl Creates {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "creates: {} endpoints in {:.2} s, {:.0} a second, {} refused",
            self.count, self.seconds, self.per_second, self.refused
        )?;
        latency(f, "create", &self.latency)?;
        self.cost.write(f, "create", "creates")
    }
}

impl Connects {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "connects without media: {} sinks in {:.2} s, {:.0} a second, {} failed",
            self.count, self.seconds, self.per_second, self.failed
        )?;
        latency(f, "join to DTLS done", &self.latency)?;
        self.cost.write(f, "connect", "connects")
    }
}

impl Cost {
    fn write(&self, f: &mut fmt::Formatter<'_>, one: &str, many: &str) -> fmt::Result {
        if self.server_ms.is_some() {
            row(f, &format!("server CPU per {one}"), self.server_ms, "ms")?;
            row(f, &format!("{many} a second and server core"), self.per_server_core, "")?;
        }
        row(f, &format!("generator CPU per {one}"), self.generator_ms, "ms")
    }
}

impl Churn {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "churn: {} a second for {:.1} minutes: {} left, {} connected, {} failed",
            self.rate, self.minutes, self.left, self.connected, self.failed
        )?;
        row(f, "memory at the beginning", mib(self.rss_begin), "MiB")?;
        row(f, "memory at the end", mib(self.rss_end), "MiB")?;
        row(f, "memory slope", self.kib_per_minute, "KiB/min")?;
        row(f, "memory per 1,000 joins", self.bytes_per_1000_joins, "bytes")
    }
}
