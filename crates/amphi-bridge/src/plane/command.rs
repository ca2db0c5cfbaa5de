//! What control asks of the plane. Commands of one conference are carried out in the order in which they were sent; a command about something
//! unknown (already removed) is ignored, because removal and request cross each other all the time.

use std::net::SocketAddr;
use std::sync::Arc;

use amphi_media::codec::Codec as Video;
use amphi_media::conference::Output;
use amphi_media::ids::{ConferenceId, EndpointId, SourceId};
use amphi_media::rtp::ExtensionMap;
use amphi_media::source::SourceDesc;
use amphi_media::speech::SpeechConfig;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::stats::{ConferenceStats, EndpointStats};
use crate::transport::{Keys, Peer, RemoteTransport};

/// One thing that the plane shall do.
#[derive(Debug)]
pub enum Command {
    /// A conference begins.
    CreateConference(CreateConference),
    /// It ends, with all endpoints and relays that are left in it.
    ExpireConference(ConferenceId),
    /// An endpoint or a relay joins.
    AddEndpoint(Box<AddEndpoint>),
    /// An endpoint whose transport is elsewhere joins: address and keys are known, media flows at once. Loads and measurements use it.
    AddConnected(Box<AddConnected>),
    /// What it may send and receive was signaled again.
    SetMedia {
        /// Whom.
        endpoint: EndpointId,
        /// Replaces what was signaled before.
        media: Media,
    },
    /// An endpoint that is connected to another bridge, behind a relay of this one. Its sources follow by [`Command::SetSources`].
    AddRelayed {
        /// Its number.
        endpoint: EndpointId,
        /// The relay it is behind.
        relay: EndpointId,
    },
    /// An endpoint, relayed endpoint or relay leaves; with a relay all that is behind it.
    RemoveEndpoint(EndpointId),
    /// The other side's ICE and DTLS parameters, or more candidates of it.
    SetRemote {
        /// Whose.
        endpoint: EndpointId,
        /// What it signaled.
        remote: Box<RemoteTransport>,
    },
    /// New ICE credentials in place (`spec/bridge.md` 2.5); media goes on over the old pair until the new one works.
    RestartIce {
        /// Whose. [`super::event::Event::Restart`] answers.
        endpoint: EndpointId,
    },
    /// All sources of an endpoint (own or relayed). Sources that are not in the list any more end; sources with other SSRCs than before are new.
    SetSources {
        /// Whose.
        endpoint: EndpointId,
        /// All of them.
        sources: Vec<SourceDesc>,
    },
    /// Drops an endpoint's audio or video on arrival.
    ForceMute {
        /// Whose.
        endpoint: EndpointId,
        /// Audio is dropped.
        audio: bool,
        /// Video is dropped.
        video: bool,
    },
    /// Something that the decisions of a conference (`amphi_media::conference`) want done with media: `SlotSsrcs`, `Class`, `SetClass`,
    /// `ClassGone`, `AudioSlots`, `DefaultAudioSkip`, `AudioSkip`, `AudioExempt`, `AssumedBandwidth`, `PrepareKeyframe`. What is not for the
    /// plane (`Send`, `Ignored`) is ignored.
    Decision {
        /// Where.
        conference: ConferenceId,
        /// What.
        output: Output,
    },
    /// A message on the bridge channels (SCTP) of some endpoints. Those without an open channel are skipped.
    SendMessage {
        /// To whom.
        to: Recipients,
        /// The text, shared by all.
        text: Arc<str>,
    },
    /// A keyframe of a source is wanted by somebody outside (another bridge, the dominant speaker's prefetch).
    RequestKeyframe {
        /// Where.
        conference: ConferenceId,
        /// Of what.
        source: SourceId,
    },
    /// How one conference is doing.
    QueryConference {
        /// Which.
        conference: ConferenceId,
        /// The answer; dropped if there is no such conference.
        reply: oneshot::Sender<ConferenceStats>,
    },
    /// How one endpoint is doing.
    QueryEndpoint {
        /// Which.
        endpoint: EndpointId,
        /// The answer; dropped if there is no such endpoint.
        reply: oneshot::Sender<EndpointStats>,
    },
    /// Ends all threads of the plane.
    Shutdown,
}

/// Numbers and rules of a new conference.
#[derive(Clone, Debug)]
pub struct CreateConference {
    /// Its number.
    pub id: ConferenceId,
    /// Sender SSRC of RTCP about audio that starts here (`spec/bridge.md` 1.8).
    pub feedback_audio: u32,
    /// The same for video, and for padding.
    pub feedback_video: u32,
    /// Levels, loudest and dominant speakers.
    pub speech: SpeechConfig,
}

/// A new endpoint or relay.
#[derive(Debug)]
pub struct AddEndpoint {
    /// Its number.
    pub id: EndpointId,
    /// Where.
    pub conference: ConferenceId,
    /// What it is.
    pub role: Role,
    /// What it may send and receive.
    pub media: Media,
    /// Its transport, made by control with credentials of [`super::Plane::credentials`] and addresses of [`super::Plane::addresses`].
    pub peer: Box<Peer>,
}

/// A new endpoint without a transport of ours.
#[derive(Debug)]
pub struct AddConnected {
    /// Its number.
    pub id: EndpointId,
    /// Where.
    pub conference: ConferenceId,
    /// What it is.
    pub role: Role,
    /// What it may send and receive.
    pub media: Media,
    /// One of [`super::Plane::addresses`].
    pub local: SocketAddr,
    /// Where it is.
    pub remote: SocketAddr,
    /// What DTLS would have made.
    pub keys: Box<Keys>,
}

/// What an endpoint is to the plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends and receives.
    Participant,
    /// Receives only: what it sends is dropped but feedback (`spec/bridge.md` 6).
    Visitor,
    /// Another bridge (`spec/bridge.md` 5).
    Relay {
        /// What came from a mesh is not sent into the same mesh.
        mesh: u32,
    },
}

/// What was signaled for RTP with one peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// It takes audio.
    pub accepts_audio: bool,
    /// It takes video.
    pub accepts_video: bool,
    /// Whether SSRCs are rewritten for it: it sees slots in place of the sources' own SSRCs.
    pub ssrc_rewriting: bool,
    /// Payload types.
    pub payload_types: SmallVec<[PayloadType; 16]>,
    /// Header extensions.
    pub extensions: ExtensionMap,
}

/// One payload type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadType {
    /// Its number, 0 to 127.
    pub number: u8,
    /// What it carries.
    pub codec: Codec,
    /// Ticks of RTP time per second.
    pub clock_rate: u32,
    /// `nack`.
    pub nack: bool,
    /// `nack pli`.
    pub pli: bool,
    /// `ccm fir`.
    pub fir: bool,
    /// `transport-cc`.
    pub transport_cc: bool,
}

/// What a payload type carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Opus.
    Opus,
    /// Redundancy (RFC 2198) around Opus.
    Red,
    /// Video; `Codec::Other` is forwarded without being understood.
    Video(Video),
    /// Retransmission (RFC 4588) of another payload type.
    Rtx {
        /// Of which one.
        apt: u8,
    },
    /// Audio of another kind; forwarded without being understood.
    OtherAudio,
}

/// To whom a message goes.
#[derive(Clone, Debug)]
pub enum Recipients {
    /// One endpoint.
    One(EndpointId),
    /// Some.
    Some(Arc<[EndpointId]>),
    /// All endpoints (not relays) of a conference.
    Conference(ConferenceId),
}

/// Why the plane did not do it.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlaneError {
    /// There is no such endpoint (any more).
    #[error("no such endpoint")]
    UnknownEndpoint,
    /// There is no such conference (any more).
    #[error("no such conference")]
    UnknownConference,
    /// The plane has no room for more.
    #[error("too many {0}")]
    Full(&'static str),
    /// The plane's threads have ended or do not take commands.
    #[error("the media plane is not running")]
    Stopped,
}
