//! Section `[media]`: media sessions and the choice of bridges, as the focus sees them (`spec/focus.md` 4 to 6).

use std::time::Duration;

use amphi_focus::{MediaConfig, Strategy, Topology};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Check;
use super::units::Span;

/// Media sessions: what clients are offered, which bridge they get, how bridges are linked. The focus acts upon it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MediaFile {
    /// How a bridge is chosen.
    pub strategy: BridgeStrategy,
    /// Whether the audience gets bridges of its own while there are enough of them.
    pub separate_audience: bool,
    /// How the bridges of a conference are linked.
    pub topology: BridgeTopology,
    /// Bridges of the audience that may hang below one bridge; 0 is no limit.
    pub fan_out: u32,
    /// Whether a conference may have several bridges.
    pub cascade: bool,
    /// Whether bridges of different versions may be in one conference.
    pub mixed_versions: bool,
    /// Whether links between bridges have their channel over SCTP; otherwise over WebSockets.
    pub relay_sctp: bool,
    /// Regions that are near to each other, as `"eu-west eu-central"`.
    pub region_groups: Vec<String>,
    /// Participants of one conference that a bridge takes before others are preferred; 0 is no limit.
    pub bridge_participants: u32,
    /// Load of a bridge, in per cent, at which others are preferred. Above 100 it may be more than full.
    pub overloaded_at: u32,
    /// How long a bridge that failed is not chosen while there is another.
    pub failure_reset: Span,
    /// Whether bridges are asked for their health.
    pub health_checks: bool,
    /// Time between two such questions.
    pub health_interval: Span,
    /// Whether bridges are avoided whose clients fail to connect.
    pub avoid_failing_bridges: bool,
    /// Whether participants are moved away from bridges that are loaded to 90 per cent.
    pub relieve_bridges: bool,
    /// Video codecs that are offered: any of `av1`, `vp8`, `h264`, `vp9`.
    pub codecs: Vec<String>,
    /// Whether redundant audio is offered.
    pub opus_red: bool,
    /// Whether the bridge channel over SCTP is offered.
    pub sctp: bool,
    /// Members that a conference has before anybody gets a media session.
    pub min_participants: u32,
    /// How long the only participant keeps its media session.
    pub alone_timeout: Span,
    /// Sources that one participant may have; the same number of source groups.
    pub sources_per_participant: u32,
    /// Open microphones at one time; further ones stay closed.
    pub audio_senders: u32,
    /// Cameras and screens at one time; further ones stay closed.
    pub video_senders: u32,
    /// Whether the bridge chooses SSRCs for clients that allow it, and tells them of sources itself.
    pub ssrc_rewriting: bool,
    /// Whether transports are restarted in place when clients ask for it.
    pub ice_restart: bool,
    /// Least time between two requests of one client for another session.
    pub restart_interval: Span,
    /// Such requests of one client in a minute.
    pub restarts_per_minute: u32,
    /// Media sessions begun in a second, over all conferences.
    pub invites_per_second: u32,
    /// Media sessions begun again in a second after bridges failed.
    pub reinvites_per_second: u32,
}

/// How a bridge is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BridgeStrategy {
    /// Near to the participant; a further bridge when one is overloaded.
    Region,
    /// In the region of the first participant; a further bridge when one is overloaded.
    IntraRegion,
    /// One bridge for all.
    Single,
    /// Another one for everybody, as far as there are any. For tests.
    Split,
}

/// How the bridges of a conference are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BridgeTopology {
    /// Bridges of the stage each with each; those of the audience hang below as a tree.
    VisitorTree,
    /// Each with each.
    Mesh,
}

impl Default for MediaFile {
    fn default() -> Self {
        Self {
            strategy: BridgeStrategy::Region,
            separate_audience: true,
            topology: BridgeTopology::VisitorTree,
            fan_out: 16,
            cascade: true,
            mixed_versions: false,
            relay_sctp: true,
            region_groups: Vec::new(),
            bridge_participants: 0,
            overloaded_at: 80,
            failure_reset: Span::seconds(60),
            health_checks: true,
            health_interval: Span::seconds(10),
            avoid_failing_bridges: false,
            relieve_bridges: false,
            codecs: ["av1", "vp8", "h264", "vp9"].map(str::to_owned).to_vec(),
            opus_red: false,
            sctp: true,
            min_participants: 2,
            alone_timeout: Span::seconds(20),
            sources_per_participant: 20,
            audio_senders: 999_999,
            video_senders: 999_999,
            ssrc_rewriting: true,
            ice_restart: true,
            restart_interval: Span::seconds(5),
            restarts_per_minute: 5,
            invites_per_second: 1_000,
            reinvites_per_second: 200,
        }
    }
}

impl MediaFile {
    /// As the focus wants it. The brewery and the region are not said here.
    pub fn config(&self) -> MediaConfig {
        let mut c = MediaConfig::default();
        c.strategy = match self.strategy {
            BridgeStrategy::Region => Strategy::Region,
            BridgeStrategy::IntraRegion => Strategy::IntraRegion,
            BridgeStrategy::Single => Strategy::Single,
            BridgeStrategy::Split => Strategy::Split,
        };
        c.visitor_strategy = self.separate_audience.then_some(c.strategy).filter(|s| *s != Strategy::Single);
        c.topology = match self.topology {
            BridgeTopology::VisitorTree => Topology::VisitorTree,
            BridgeTopology::Mesh => Topology::Mesh,
        };
        c.fan_out = self.fan_out;
        c.cascade = self.cascade;
        c.allow_mixed_versions = self.mixed_versions;
        c.relay_sctp = self.relay_sctp;
        let group = |text: &String| text.split([' ', ',']).filter(|r| !r.is_empty()).map(str::to_owned).collect();
        c.region_groups = self.region_groups.iter().map(group).collect();
        c.max_bridge_participants = self.bridge_participants;
        c.stress_threshold = f64::from(self.overloaded_at) / 100.0;
        c.failure_reset = self.failure_reset.0;
        c.health.enabled = self.health_checks;
        c.health.interval = self.health_interval.0;
        c.health.retry_delay = self.health_interval.0 / 2;
        c.ice_failures.enabled = self.avoid_failing_bridges;
        c.redistribution.enabled = self.relieve_bridges;
        let offered = |name: &str| self.codecs.iter().any(|c| c == name);
        c.codecs.av1.enabled = offered("av1");
        c.codecs.vp8.enabled = offered("vp8");
        c.codecs.h264.enabled = offered("h264");
        c.codecs.vp9.enabled = offered("vp9");
        c.codecs.red = self.opus_red.then_some(112);
        c.sctp = self.sctp;
        c.min_participants = self.min_participants;
        c.single_participant_timeout = self.alone_timeout.0;
        c.max_ssrcs = self.sources_per_participant as usize;
        c.max_groups = self.sources_per_participant as usize;
        c.max_audio_senders = self.audio_senders;
        c.max_video_senders = self.video_senders;
        c.ssrc_rewriting = self.ssrc_rewriting;
        c.ice_restart = self.ice_restart;
        c.restart_limits.min_interval = self.restart_interval.0;
        c.restart_limits.max_requests = self.restarts_per_minute;
        c.restart_limits.interval = Duration::from_secs(60);
        c.invites_per_second = self.invites_per_second;
        c.reinvites_per_second = self.reinvites_per_second;
        c
    }
}

impl Check<'_> {
    pub(super) fn media(&mut self) -> MediaFile {
        let said = self.file.media.clone();
        for (n, codec) in said.codecs.iter().enumerate() {
            if !matches!(codec.as_str(), "av1" | "vp8" | "h264" | "vp9") {
                self.wrong(&format!("media.codecs[{n}]"), format!("{codec:?} is none of av1, vp8, h264 and vp9"));
            }
        }
        if said.codecs.is_empty() {
            self.wrong("media.codecs", "at least one");
        }
        if !(1..=1000).contains(&said.overloaded_at) {
            self.wrong("media.overloaded_at", "is a percentage, so from 1 to 1000");
        }
        for (key, n) in [
            ("media.min_participants", said.min_participants),
            ("media.invites_per_second", said.invites_per_second),
            ("media.reinvites_per_second", said.reinvites_per_second),
        ] {
            if n == 0 {
                self.wrong(key, "at least one");
            }
        }
        if said.health_interval.0 < Duration::from_secs(1) {
            self.wrong("media.health_interval", "at least 1s");
        }
        said
    }
}
