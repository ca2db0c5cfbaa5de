//! What a conference is told and what it wants done.

use std::sync::Arc;
use std::time::Instant;

use crate::allocation::Staircase;
use crate::ids::{ClassId, EndpointId, LayerIndex, SourceId};
use crate::slots::{SlotMap, SlotSsrc};
use crate::source::{LayerShape, SourceDesc};
use crate::speech::Speakers;

use super::message::{Incoming, Outgoing};

/// What somebody is to this bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Connected here; sends and receives.
    Participant,
    /// Connected here; only receives.
    Visitor,
    /// Connected to another bridge, known through a relay.
    Relayed {
        /// The relay.
        relay: EndpointId,
    },
    /// Another bridge. What comes from one mesh goes to endpoints and to relays of other meshes.
    Relay {
        /// Its mesh.
        mesh: Arc<str>,
    },
}

/// An endpoint, relayed endpoint or relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Number, not used before.
    pub id: EndpointId,
    /// Endpoint id in messages, as `77aa01ff`; of relays the relay id.
    pub name: Arc<str>,
    /// What it is.
    pub role: Role,
    /// Capability `ssrc-rewriting`.
    pub ssrc_rewriting: bool,
    /// Capability `rtp-mid-demux`.
    pub mid_demux: bool,
}

/// How a channel came up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// A WebSocket: the bridge says hello first.
    WebSocket,
    /// A data channel: the bridge answers the client's hello.
    Data,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Somebody came. The same name again: the newer one counts, the older one's sources are gone.
    Added(Endpoint),
    /// Somebody left; with a relay go its endpoints.
    Removed(EndpointId),
    /// All sources of an endpoint, as signaled now. What media showed of those that stay is kept.
    Sources {
        /// Whose they are.
        endpoint: EndpointId,
        /// All of them.
        sources: Vec<SourceDesc>,
    },
    /// The bridge channel of an endpoint or relay came up, also again: everything is told anew.
    ChannelUp {
        /// Whose it is.
        endpoint: EndpointId,
        /// What it is.
        kind: ChannelKind,
    },
    /// It went down.
    ChannelDown(EndpointId),
    /// A message from an endpoint or relay.
    Message {
        /// From whom.
        from: EndpointId,
        /// What.
        message: Incoming,
    },
    /// Dominant or recent speakers changed ([`crate::speech::SpeechChange::speakers`]).
    Speakers(Speakers),
    /// The loudest changed ([`crate::speech::SpeechChange::ranked`]).
    Ranked(Vec<EndpointId>),
    /// Measured rates of layers, about once a second.
    Rates(Vec<(SourceId, Vec<(LayerIndex, u64)>)>),
    /// Media showed other layers than before, heights or frame rates.
    Layers {
        /// Of this source.
        source: SourceId,
        /// Of this encoding.
        encoding: u8,
        /// All its layers.
        layers: Vec<LayerShape>,
    },
    /// Media showed another height of all layers of an encoding (VP8 keyframes).
    Height {
        /// Of this source.
        source: SourceId,
        /// Of this encoding.
        encoding: u8,
        /// In pixels.
        height: u16,
    },
    /// Rungs that receivers of a class are on. To be told of all receivers of a class after each new version of it, of those that enter it,
    /// and of those whose rung changes. Without it a receiver is not told what is forwarded to it.
    Rungs {
        /// The class.
        class: ClassId,
        /// The version in which the rungs are counted.
        version: u32,
        /// Receivers and their rungs.
        receivers: Vec<(EndpointId, u16)>,
    },
    /// Estimates of the bandwidth towards receivers, every now and then.
    Bandwidth(Vec<(EndpointId, u64)>),
    /// When something last came from participants.
    Activity(Vec<(EndpointId, Instant)>),
    /// An audio source is to be forwarded and has no slot: it gets the one least recently used.
    AudioWanted(SourceId),
    /// How many sources an endpoint gets at first (`initial-last-n`). Without effect once it has said itself what it wants.
    InitialLastN {
        /// Whose.
        endpoint: EndpointId,
        /// Sources at a time; -1 is no limit.
        last_n: i32,
    },
    /// A deadline came.
    Tick,
}

/// A class as the media plane needs it. Replaces the former one of its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Which.
    pub id: ClassId,
    /// Rises with every change.
    pub version: u32,
    /// What its receivers get at which bandwidth.
    pub staircase: Arc<Staircase>,
    /// Video sources in slots, for receivers with `ssrc-rewriting`.
    pub slots: SlotMap,
    /// The endpoint whose sources are left out: its only member's own ones.
    pub excluded: Option<EndpointId>,
}

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// One endpoint or relay.
    One(EndpointId),
    /// Several: the message is serialised once. All have a channel.
    Many(Arc<[EndpointId]>),
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To the bridge channel.
    Send {
        /// To whom.
        to: To,
        /// What.
        message: Outgoing,
    },
    /// SSRCs of all slots: at the start, and again should a signaled SSRC be equal to one of them.
    SlotSsrcs {
        /// Video.
        video: Arc<[SlotSsrc]>,
        /// Audio.
        audio: Arc<[SlotSsrc]>,
    },
    /// A new or changed class.
    Class(Arc<Class>),
    /// A receiver belongs to this class from now on.
    SetClass {
        /// The receiver.
        receiver: EndpointId,
        /// Its class, told before.
        class: ClassId,
    },
    /// A class has no receivers any more.
    ClassGone(ClassId),
    /// Audio sources in slots, for the whole conference.
    AudioSlots(SlotMap),
    /// Audio that receivers without a subscription of their own do not get: synthetic sources.
    DefaultAudioSkip(Arc<[SourceId]>),
    /// Audio that this receiver does not get; none: as by default. Own sources are not listed, nobody gets those.
    AudioSkip {
        /// The receiver.
        receiver: EndpointId,
        /// Sources.
        skip: Option<Arc<[SourceId]>>,
    },
    /// Audio that is forwarded whether loud or not: synthetic, or included by somebody.
    AudioExempt(Arc<[SourceId]>),
    /// Bandwidth to assume for a receiver instead of the estimate (only if the configuration allows it).
    AssumedBandwidth {
        /// The receiver.
        receiver: EndpointId,
        /// Bits per second; none: the estimate.
        bps: Option<u64>,
    },
    /// The cameras of a new dominant speaker will soon be wanted larger: ask for keyframes ahead (`spec/bridge.md` 4.7).
    PrepareKeyframe(EndpointId),
    /// Video that is not sent to a relay; everything else is.
    Spare {
        /// The relay.
        relay: EndpointId,
        /// All sources of which something is left out.
        sources: super::Spared,
    },
    /// A message was not acted on.
    Ignored {
        /// Whose.
        from: EndpointId,
        /// Why.
        reason: &'static str,
    },
}
