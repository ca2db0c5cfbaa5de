//! What an operator may set about media sessions and bridges. Defaults come from `spec/focus.md` 4 to 6 and 9 unless the
//! field says why not.

use std::time::Duration;

/// How a bridge is chosen among those that can be (`spec/focus.md` 6.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Everybody of a conference is on one bridge.
    Single,
    /// Bridges near the participant; a further bridge when one is overloaded.
    Region,
    /// Bridges of one region; a further one when one is overloaded.
    IntraRegion,
    /// Every participant on another bridge, as far as there are any. For tests.
    Split,
}

/// How the bridges of a conference are linked (`spec/focus.md` 6.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// Each with each.
    Mesh,
    /// Bridges of the stage each with each; bridges of the audience hang below as a tree.
    VisitorTree,
}

/// Whether bridges are in order (`spec/focus.md` 6.3).
#[derive(Clone, Debug, PartialEq)]
pub struct HealthChecks {
    /// Check at all.
    pub enabled: bool,
    /// Time between two checks of a bridge.
    pub interval: Duration,
    /// Time until the second try after a check that was not answered.
    pub retry_delay: Duration,
    /// Do not ask; believe what a bridge says in its presence.
    pub use_presence: bool,
    /// With `use_presence`: a bridge that was silent for so long has timed out.
    pub presence_timeout: Duration,
}

/// Bridges whose clients fail to connect are avoided (`spec/focus.md` 6.2).
#[derive(Clone, Debug, PartialEq)]
pub struct IceFailures {
    /// Watch at all.
    pub enabled: bool,
    /// Failures of so long a time are counted.
    pub interval: Duration,
    /// Bridges with fewer endpoints are not judged.
    pub min_endpoints: u32,
    /// Share of the endpoints that may fail.
    pub threshold: f64,
    /// How long such a bridge is avoided.
    pub timeout: Duration,
}

/// Endpoints are moved away from overloaded bridges (`spec/focus.md` 6.7).
#[derive(Clone, Debug, PartialEq)]
pub struct Redistribution {
    /// Do it at all.
    pub enabled: bool,
    /// How often it is considered.
    pub interval: Duration,
    /// Stress at which a bridge is relieved.
    pub stress_threshold: f64,
    /// How long a bridge is left alone afterwards.
    pub timeout: Duration,
    /// Endpoints moved at a time.
    pub endpoints: u32,
}

/// A video codec that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoCodec {
    /// Offer it.
    pub enabled: bool,
    /// Payload type.
    pub pt: u8,
    /// Payload type of its retransmissions.
    pub rtx_pt: Option<u8>,
    /// Offer REMB to peers without transport-cc.
    pub remb: bool,
}

impl VideoCodec {
    const fn new(pt: u8, rtx_pt: u8) -> Self {
        Self { enabled: true, pt, rtx_pt: Some(rtx_pt), remb: true }
    }
}

/// A header extension that is offered: its number, or `None`.
pub type Extension = Option<u8>;

/// What is offered (`spec/focus.md` 4.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codecs {
    /// AV1.
    pub av1: VideoCodec,
    /// VP8.
    pub vp8: VideoCodec,
    /// H.264.
    pub h264: VideoCodec,
    /// VP9.
    pub vp9: VideoCodec,
    /// Payload type of Opus.
    pub opus: u8,
    /// Least packet time of Opus in ms.
    pub opus_minptime: u32,
    /// Opus with forward error correction; left out when RED is offered.
    pub opus_fec: bool,
    /// Payload type of redundant audio (RFC 2198); off by default.
    pub red: Option<u8>,
    /// Payload type of telephone events.
    pub telephone_event: Option<u8>,
    /// Audio level.
    pub audio_level: Extension,
    /// Media identification.
    pub mid: Extension,
    /// Transport-wide congestion control.
    pub tcc: Extension,
    /// Video layers allocation.
    pub video_layers_allocation: Extension,
    /// AV1 dependency descriptor.
    pub dependency_descriptor: Extension,
    /// Transmission time offset.
    pub toffset: Extension,
    /// Absolute send time.
    pub abs_send_time: Extension,
    /// Frame marking.
    pub framemarking: Extension,
    /// Video content type.
    pub video_content_type: Extension,
    /// Stream id.
    pub rid: Extension,
    /// Short and long header extensions may be mixed.
    pub extmap_allow_mixed: bool,
}

impl Default for Codecs {
    fn default() -> Self {
        Self {
            av1: VideoCodec::new(41, 42),
            vp8: VideoCodec::new(100, 96),
            h264: VideoCodec::new(107, 99),
            vp9: VideoCodec::new(101, 97),
            opus: 111,
            opus_minptime: 10,
            opus_fec: true,
            red: None,
            telephone_event: Some(126),
            audio_level: Some(1),
            mid: Some(10),
            tcc: Some(5),
            video_layers_allocation: None,
            dependency_descriptor: Some(11),
            toffset: None,
            abs_send_time: Some(3),
            framemarking: None,
            video_content_type: None,
            rid: None,
            extmap_allow_mixed: true,
        }
    }
}

/// How often a client may ask for another session, and separately for a restart of its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartLimits {
    /// Least time between two.
    pub min_interval: Duration,
    /// At most so many...
    pub max_requests: u32,
    /// ...in so long a time.
    pub interval: Duration,
}

/// Bounds on what others can make the media half hold or do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaLimits {
    /// Bridges kept of the brewery; further ones are ignored.
    pub bridges: usize,
    /// Capability hashes whose features are kept.
    pub caps: usize,
    /// Distinct regions and codec lists kept; further ones are not remembered.
    pub names: usize,
    /// Members that wait for one capability hash; further ones are asked by themselves.
    pub caps_waiting: usize,
    /// Jingle requests of one session in ten seconds; further ones are refused. Clients send a handful.
    pub requests_per_ten_seconds: u32,
    /// Bytes of sources in one `source-add` or `source-remove`.
    pub signal_bytes: usize,
    /// Endpoints told to a bridge in one request about a relay.
    pub relay_batch: usize,
    /// Occupants in one whitelist of the moderation of audio and video.
    pub whitelist: usize,
    /// What one Jingle or colibri2 element may carry.
    pub wire: amphi_jingle::Limits,
}

impl Default for MediaLimits {
    fn default() -> Self {
        Self {
            bridges: 2_000,
            caps: 2_048,
            names: 4_096,
            caps_waiting: 100_000,
            requests_per_ten_seconds: 50,
            signal_bytes: 48 * 1024,
            relay_batch: 32,
            whitelist: 10_000,
            wire: amphi_jingle::Limits::default(),
        }
    }
}

/// Everything about media sessions and bridges.
#[derive(Clone, Debug, PartialEq)]
pub struct MediaConfig {
    /// The room where bridges are found: `jvbbrewery@internal-muc.meet.example`. Without one there are no media sessions.
    pub brewery: Option<String>,
    /// Bridges are reached over [`crate::NodeId::Service`] instead of the main node.
    pub service_connection: bool,

    /// How bridges are chosen.
    pub strategy: Strategy,
    /// How bridges are chosen for visitors, who are kept apart from the stage; `None`: as everybody.
    pub visitor_strategy: Option<Strategy>,
    /// How the bridges of a conference are linked.
    pub topology: Topology,
    /// Bridges that may hang below one in the tree of the audience; 0 is no limit. The reference has none.
    pub fan_out: u32,
    /// A conference may have several bridges.
    pub cascade: bool,
    /// Bridges of different versions may be in one conference.
    pub allow_mixed_versions: bool,
    /// Links between bridges have their channel over SCTP, not over WebSockets.
    pub relay_sctp: bool,
    /// Where the focus is.
    pub local_region: Option<String>,
    /// Regions that are near to each other.
    pub region_groups: Vec<Vec<String>>,
    /// Participants of one conference that a bridge takes before others are preferred; 0 is no limit. The reference has 80,
    /// which fits bridges that serve few.
    pub max_bridge_participants: u32,
    /// As above, for participants that came within `max_bridge_participants_interval`; 0 is no limit.
    pub max_bridge_participants_per_interval: u32,
    /// See above.
    pub max_bridge_participants_interval: Duration,
    /// Stress that one participant causes, for bridges that do not say it.
    pub average_participant_stress: f64,
    /// How long a new endpoint counts in addition to what its bridge reports.
    pub rampup_interval: Duration,
    /// Stress at which a bridge is overloaded.
    pub stress_threshold: f64,
    /// A bridge that failed is not chosen for so long, while there is another.
    pub failure_reset: Duration,
    /// Health checks.
    pub health: HealthChecks,
    /// Bridges whose clients fail to connect.
    pub ice_failures: IceFailures,
    /// Relief of overloaded bridges.
    pub redistribution: Redistribution,

    /// What is offered.
    pub codecs: Codecs,
    /// Offer the bridge channel over SCTP.
    pub sctp: bool,
    /// Members a conference has before anybody gets a session.
    pub min_participants: u32,
    /// The session of the only participant is closed after this time.
    pub single_participant_timeout: Duration,
    /// Sources that one participant may have.
    pub max_ssrcs: usize,
    /// Source groups that one participant may have.
    pub max_groups: usize,
    /// Participants that may have their microphones open.
    pub max_audio_senders: u32,
    /// Participants that may send video.
    pub max_video_senders: u32,
    /// Receivers are told the first encoding of a simulcast group alone; the bridge sends all as that one.
    pub strip_simulcast: bool,
    /// Let the bridge choose the SSRCs that capable receivers get, and announce sources itself.
    pub ssrc_rewriting: bool,
    /// With rewriting: let capable receivers tell streams apart by MID.
    pub mid_demux: bool,
    /// Sources in compact JSON for capable receivers.
    pub json_sources: bool,
    /// From so many stage members on, changes of sources are held back for so long; empty is never.
    pub signaling_delays: Vec<(u32, Duration)>,
    /// Restart the transport in place when a client asks for it.
    pub ice_restart: bool,
    /// How often a client may ask for a restart.
    pub restart_limits: RestartLimits,
    /// Members of trusted domains that record or call by telephone are in the bridges' network.
    pub private_addresses: bool,

    /// Sessions begun per second over all conferences; others wait for their turn.
    pub invites_per_second: u32,
    /// Sessions begun again per second, after bridges failed or were relieved. The reference moves all at once.
    pub reinvites_per_second: u32,
    /// A member that could not get a session is tried again after this time; each time it takes twice as long, up to a
    /// minute.
    pub invite_retry: Duration,
    /// Bounds.
    pub limits: MediaLimits,
}

impl Default for MediaConfig {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            brewery: None,
            service_connection: false,
            strategy: Strategy::Region,
            visitor_strategy: Some(Strategy::Region),
            topology: Topology::VisitorTree,
            fan_out: 16,
            cascade: true,
            allow_mixed_versions: false,
            relay_sctp: true,
            local_region: None,
            region_groups: Vec::new(),
            max_bridge_participants: 0,
            max_bridge_participants_per_interval: 0,
            max_bridge_participants_interval: s(60),
            average_participant_stress: 0.01,
            rampup_interval: s(20),
            stress_threshold: 0.8,
            failure_reset: s(60),
            health: HealthChecks {
                enabled: true,
                interval: s(10),
                retry_delay: s(5),
                use_presence: false,
                presence_timeout: s(45),
            },
            ice_failures: IceFailures {
                enabled: false,
                interval: s(120),
                min_endpoints: 30,
                threshold: 0.1,
                timeout: s(600),
            },
            redistribution: Redistribution {
                enabled: false,
                interval: s(60),
                stress_threshold: 0.9,
                timeout: s(180),
                endpoints: 10,
            },
            codecs: Codecs::default(),
            sctp: true,
            min_participants: 2,
            single_participant_timeout: s(20),
            max_ssrcs: 20,
            max_groups: 20,
            max_audio_senders: 999_999,
            max_video_senders: 999_999,
            strip_simulcast: true,
            ssrc_rewriting: true,
            mid_demux: true,
            json_sources: true,
            signaling_delays: Vec::new(),
            ice_restart: true,
            restart_limits: RestartLimits { min_interval: s(5), max_requests: 5, interval: s(60) },
            private_addresses: true,
            invites_per_second: 1_000,
            reinvites_per_second: 200,
            invite_retry: s(5),
            limits: MediaLimits::default(),
        }
    }
}
