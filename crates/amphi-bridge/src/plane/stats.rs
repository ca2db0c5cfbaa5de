//! Counters of the plane (`spec/bridge.md` 7). Kept per shard without sharing, summed when somebody asks.

use std::time::Duration;

use amphi_media::ids::EndpointId;

macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $field:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$doc])* pub $field: u64),* }

        impl $name {
            /// Adds another's counts.
            pub fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.wrapping_add(other.$field);)*
            }

            /// All counts with their names, for metrics.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Counts since the start.
    Counters {
        /// Datagrams received.
        datagrams_received,
        /// Bytes received, without UDP and IP.
        bytes_received,
        /// Datagrams sent.
        datagrams_sent,
        /// Bytes sent, without UDP and IP.
        bytes_sent,
        /// System calls for sending.
        sends,
        /// Datagrams dropped because the socket's buffer was full: audio.
        dropped_audio,
        /// The same: video.
        dropped_video,
        /// Datagrams that could not be sent for another reason (unreachable).
        send_errors,
        /// Datagrams from addresses that nobody has, or that are no STUN, DTLS, RTP or RTCP.
        unknown_datagrams,
        /// RTP and RTCP that did not authenticate or was a replay.
        srtp_failures,
        /// RTP and RTCP that could not be parsed.
        malformed,
        /// RTP and RTCP that was longer than a path takes.
        oversized,
        /// RTP of SSRCs that nobody signaled.
        unknown_ssrc,
        /// RTP of visitors, of force-muted sources, or that lost loudest-N.
        discarded,
        /// RTP packets received and taken.
        rtp_received,
        /// RTP packets sent.
        rtp_sent,
        /// RTCP packets received.
        rtcp_received,
        /// RTCP packets of which not everything was done, because one peer asked for too much.
        rtcp_limited,
        /// RTCP packets sent.
        rtcp_sent,
        /// Retransmissions received.
        rtx_received,
        /// Retransmissions sent.
        rtx_sent,
        /// Packets asked for by receivers.
        nacks_received,
        /// Of those: not in store any more, or never sent.
        nacks_missed,
        /// Packets that publishers were asked to send again.
        nacks_sent,
        /// Keyframe requests by receivers.
        keyframes_asked,
        /// Keyframe requests to publishers.
        keyframes_requested,
        /// Padding sent to probe, in bytes.
        padding_sent,
        /// Messages between threads that did not fit.
        queue_drops,
        /// Events that control did not take in time.
        event_drops,
        /// Addresses that a peer named by a request alone, while another one had them.
        takeovers_refused,
        /// Datagrams handed to the shard that owns their endpoint.
        strays,
        /// Passes of a shard that were broken off by a bug.
        panics,
    }
}

/// Of one shard.
#[derive(Clone, Debug, Default)]
pub struct ShardStats {
    /// Which.
    pub shard: usize,
    /// What happened.
    pub counters: Counters,
    /// Endpoints and relays that it owns.
    pub endpoints: usize,
    /// Time since the start that it worked.
    pub busy: Duration,
    /// Longest pass of its loop since the last question.
    pub longest_pass: Duration,
}

/// Of all.
#[derive(Clone, Debug, Default)]
pub struct PlaneStats {
    /// Sum over the shards.
    pub total: Counters,
    /// One by one.
    pub shards: Vec<ShardStats>,
    /// Time since the start.
    pub up: Duration,
}

/// Of one conference.
#[derive(Clone, Debug, Default)]
pub struct ConferenceStats {
    /// Receivers on all shards.
    pub receivers: usize,
    /// Sources that are signaled.
    pub sources: usize,
    /// Streams (source and layer) that are forwarded now.
    pub streams: usize,
    /// Who speaks.
    pub dominant: Option<EndpointId>,
}

/// Of one endpoint.
#[derive(Clone, Debug, Default)]
pub struct EndpointStats {
    /// Media flows.
    pub connected: bool,
    /// RTP packets received from it.
    pub packets_received: u64,
    /// Bytes of them.
    pub bytes_received: u64,
    /// Packets it sent that did not come.
    pub packets_lost: u64,
    /// RTP packets sent to it.
    pub packets_sent: u64,
    /// Bytes of them.
    pub bytes_sent: u64,
    /// Estimate of its downlink in bits per second.
    pub bandwidth_bps: Option<u64>,
    /// Round trip.
    pub rtt: Option<Duration>,
    /// Where it is on its class' staircase.
    pub rung: Option<u16>,
}
