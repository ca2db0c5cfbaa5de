//! What media threads count: live figures that the course of a run looks at, and sums that are handed over at the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

use super::quality;
use crate::histogram::Histogram;

/// Live figures of all threads.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Offers that came.
    pub(crate) offers: AtomicU64,
    /// Clients whose DTLS handshake is done, those that left since not counted.
    pub(crate) connected: AtomicU64,
    /// The same over the whole run.
    pub(crate) connects: AtomicU64,
    /// Clients whose connection failed or broke.
    pub(crate) failed: AtomicU64,
    /// Open channels over the whole run.
    pub(crate) channels: AtomicU64,
    /// Clients that got their first packet, over the whole run.
    pub(crate) served: AtomicU64,
    /// RTP packets that viewers got.
    pub(crate) packets: AtomicU64,
    /// Their bytes, with SRTP and without UDP.
    pub(crate) bytes: AtomicU64,
    /// Datagrams of the bare loop that sinks got.
    pub(crate) bare_packets: AtomicU64,
    /// UDP port of the bare loop.
    pub(crate) bare_port: AtomicU16,
    /// When the last client connected, in nanoseconds on the clock of the run.
    pub(crate) last_connect: AtomicU64,
    /// A thread ended before its time.
    pub(crate) broken: AtomicBool,
}

impl Live {
    /// A figure.
    pub(crate) fn get(&self, of: impl Fn(&Self) -> &AtomicU64) -> u64 {
        of(self).load(Ordering::Relaxed)
    }
}

/// Sums.
#[derive(Clone, Default)]
pub(crate) struct Counted {
    /// From the start of a join to the end of the DTLS handshake.
    pub(crate) connect: Histogram,
    /// From the offer to the end of the DTLS handshake.
    pub(crate) handshake: Histogram,
    /// From the start of a join to the open channel.
    pub(crate) channel: Histogram,
    /// From the start of a join to the first media packet: sinks.
    pub(crate) first_packet: Histogram,
    /// From the start of a join to the first decoded frame: full viewers.
    pub(crate) first_frame: Histogram,
    /// From the end of the DTLS handshake to the first decoded frame.
    pub(crate) keyframe_wait: Histogram,
    /// From publisher to viewer, every packet of every full viewer.
    pub(crate) delay: Histogram,
    /// The same, audio.
    pub(crate) audio_delay: Histogram,
    /// Between two frames that can be decoded.
    pub(crate) video: quality::Counts,
    /// Full viewers that are judged.
    pub(crate) judged: u64,
    /// Of those, without any decoded frame.
    pub(crate) blank: u64,
    /// Audio packets that full viewers got, and those they should have got.
    pub(crate) audio: (u64, u64),
    /// RTP packets that sinks got, and those they should have got.
    pub(crate) sunk: (u64, u64),
    /// Packets that sinks opened.
    pub(crate) sampled: u64,
    /// Of those, not authentic.
    pub(crate) forged: u64,
    /// Packets of sinks that were not RTP.
    pub(crate) strange: u64,
    /// Feedback packets of sinks.
    pub(crate) feedbacks: u64,
    /// Keyframe requests that full viewers sent.
    pub(crate) asked: u64,
    /// Keyframe requests that publishers got.
    pub(crate) requests: u64,
    /// Keyframes that publishers sent.
    pub(crate) keyframes: u64,
    /// Packets and bytes of payload that publishers sent.
    pub(crate) published: (u64, u64),
    /// Errors by kind.
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Counted {
    /// Counts an error.
    pub(crate) fn error(&mut self, kind: impl Into<String>) {
        *self.errors.entry(kind.into()).or_default() += 1;
    }

    /// Takes over what a viewer saw.
    pub(crate) fn see(&mut self, it: &quality::Counts) {
        let sum = &mut self.video;
        sum.packets += it.packets;
        sum.lost += it.lost;
        sum.late += it.late;
        sum.frames += it.frames;
        sum.keyframes += it.keyframes;
        sum.incomplete += it.incomplete;
        sum.undecodable += it.undecodable;
        sum.cut += it.cut;
        sum.freezes += it.freezes;
        sum.switches += it.switches;
    }

    /// Adds another thread's.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.connect.merge(&other.connect);
        self.handshake.merge(&other.handshake);
        self.channel.merge(&other.channel);
        self.first_packet.merge(&other.first_packet);
        self.first_frame.merge(&other.first_frame);
        self.keyframe_wait.merge(&other.keyframe_wait);
        self.delay.merge(&other.delay);
        self.audio_delay.merge(&other.audio_delay);
        self.see(&other.video);
        for (mine, theirs) in [
            (&mut self.judged, other.judged),
            (&mut self.blank, other.blank),
            (&mut self.audio.0, other.audio.0),
            (&mut self.audio.1, other.audio.1),
            (&mut self.sunk.0, other.sunk.0),
            (&mut self.sunk.1, other.sunk.1),
            (&mut self.sampled, other.sampled),
            (&mut self.forged, other.forged),
            (&mut self.strange, other.strange),
            (&mut self.feedbacks, other.feedbacks),
            (&mut self.asked, other.asked),
            (&mut self.requests, other.requests),
            (&mut self.keyframes, other.keyframes),
            (&mut self.published.0, other.published.0),
            (&mut self.published.1, other.published.1),
        ] {
            *mine += theirs;
        }
        for (kind, n) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += n;
        }
    }
}
