//! What the plane tells control. State of transports is never lost; estimates, rates and messages are dropped (and counted) when control
//! does not keep up.

use amphi_media::ids::{ClassId, ConferenceId, EndpointId, LayerIndex, SourceId};
use amphi_media::source::LayerShape;
use smallvec::SmallVec;

use crate::transport::{Failure, LocalTransport, Restart, SendError};

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
        /// Why.
        reason: Failure,
    },
    /// There was no room for the transport of this endpoint.
    Refused {
        /// Whose.
        endpoint: EndpointId,
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
        /// As it came.
        text: String,
    },
    /// The bridge channel is closed.
    ChannelClosed {
        /// Whose.
        endpoint: EndpointId,
    },
    /// The channel did not take a message.
    SendFailed {
        /// Whose.
        endpoint: EndpointId,
        /// Why.
        reason: SendError,
    },
    /// Answer to [`super::command::Command::RestartIce`].
    Restart {
        /// Whose.
        endpoint: EndpointId,
        /// What became of it.
        result: Restart,
    },
    /// A restart of ICE was done.
    Restarted {
        /// Whose.
        endpoint: EndpointId,
        /// What is told now.
        local: Box<LocalTransport>,
    },
    /// A restart of ICE was given up.
    RestartAbandoned {
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
    /// Media showed other layers, heights or frame rates of an encoding than before: for `SourceDesc::refine`.
    Layering {
        /// Where.
        conference: ConferenceId,
        /// Of what.
        source: SourceId,
        /// Which encoding.
        encoding: u8,
        /// All its layers.
        shapes: Vec<LayerShape>,
    },
    /// Measured rates of a source's layers, about every second if they changed: for `SourceDesc::set_rates`.
    Rates {
        /// Where.
        conference: ConferenceId,
        /// Of what.
        source: SourceId,
        /// Bits per second, with the layers that a layer needs.
        rates: Vec<(LayerIndex, u64)>,
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
