//! What the plane tells control. State of transports is never lost; estimates, rates and messages are dropped (and counted) when control
//! does not keep up.

use amphi_media::ids::{ConferenceId, EndpointId, LayerIndex, SourceId};
use bytes::Bytes;
use smallvec::SmallVec;

use super::command::ClassId;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// ICE and DTLS are done: media flows.
    Connected {
        /// Whose.
        endpoint: EndpointId,
    },
    /// The transport will not work (any more): DTLS refused, consent lost for good, or never connected.
    Failed {
        /// Whose.
        endpoint: EndpointId,
        /// Why, for the log.
        reason: String,
    },
    /// The bridge channel (SCTP) is open.
    ChannelOpen {
        /// Whose.
        endpoint: EndpointId,
    },
    /// A text came on the bridge channel.
    ChannelMessage {
        /// From whom.
        endpoint: EndpointId,
        /// As it came; neither UTF-8 nor JSON was checked.
        text: Bytes,
    },
    /// The bridge channel is closed.
    ChannelClosed {
        /// Whose.
        endpoint: EndpointId,
    },
    /// Something authenticated came from these endpoints since the last such event (at most once per second and endpoint).
    Activity {
        /// Who.
        endpoints: Vec<EndpointId>,
    },
    /// Another dominant speaker, or another order of recent ones (`spec/bridge.md` 4.7).
    Speakers {
        /// Where.
        conference: ConferenceId,
        /// Who speaks; `None`: nobody yet.
        dominant: Option<EndpointId>,
        /// Most recent first, without the dominant one.
        recent: SmallVec<[EndpointId; 10]>,
        /// The dominant one fell silent.
        silence: bool,
    },
    /// An audio source is among the loudest and has no slot: receivers with SSRC rewriting do not hear it before
    /// [`super::command::Command::SetAudioSlots`]. Repeated every 500 ms as long as that is so.
    AudioSlotWanted {
        /// Where.
        conference: ConferenceId,
        /// What.
        source: SourceId,
    },
    /// Layers of a source as they are measured: at once when heights or layers changed, otherwise about every second when rates did.
    Layers {
        /// Where.
        conference: ConferenceId,
        /// Of what.
        source: SourceId,
        /// Heights or the set of layers changed, not only rates.
        layering_changed: bool,
        /// All layers, ascending.
        layers: Vec<LayerRate>,
    },
    /// A receiver gets what another rung of its class' plan says: time for its ForwardedSources.
    RungChanged {
        /// Who.
        endpoint: EndpointId,
        /// In which class.
        class: ClassId,
        /// Of which plan.
        version: u64,
        /// Index in `Plan::rungs`; `None`: nothing.
        rung: Option<u16>,
    },
    /// The estimate for a receiver moved by more than 15 %.
    Bandwidth {
        /// Who.
        endpoint: EndpointId,
        /// Bits per second; `None`: not estimated, everything fits.
        bps: Option<u64>,
        /// Round trip in microseconds, if known.
        rtt_us: Option<u32>,
    },
}

/// One layer of a source as it is measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerRate {
    /// Which.
    pub index: LayerIndex,
    /// Pixels; `None`: not known yet.
    pub height: Option<u16>,
    /// Frames per second; `None`: not known.
    pub fps: Option<f32>,
    /// With the layers it depends on, in bits per second; 0: not sent now.
    pub bps: u64,
}
