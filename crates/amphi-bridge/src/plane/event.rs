//! What the plane tells control. State of transports is never lost; estimates, rates and messages are dropped (and counted) when control
//! does not keep up.

use amphi_media::conference::Input;
use amphi_media::ids::{ConferenceId, EndpointId};

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
    /// Something that media told and the decisions of a conference are to know: `Speakers`, `Ranked`, `Rates`, `Layers`, `Height`, `Rungs`,
    /// `Bandwidth`, `AudioWanted`.
    Conference {
        /// Where.
        conference: ConferenceId,
        /// What.
        input: Input,
    },
}
