//! What control asks of the plane. Commands of one conference are carried out in the order in which they were sent; a command about something
//! unknown (already removed) is ignored, because removal and request cross each other all the time.

use std::sync::Arc;

use amphi_media::allocation::Staircase;
use amphi_media::codec::Codec as Video;
use amphi_media::ids::{ClassId, ConferenceId, EndpointId, SourceId};
use amphi_media::rtp::ExtensionMap;
use amphi_media::source::SourceDesc;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::stats::{ConferenceStats, EndpointStats, PlaneStats};
use crate::transport::{Peer, RemoteTransport};

/// One thing that the plane shall do.
#[derive(Debug)]
pub enum Command {
    /// A conference begins.
    CreateConference(CreateConference),
    /// It ends, with all endpoints and relays that are left in it.
    ExpireConference(ConferenceId),
    /// An endpoint or a relay joins.
    AddEndpoint(Box<AddEndpoint>),
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
    /// What the receivers of a class get from now on; replaces the plan with the same number.
    SetPlan {
        /// Where.
        conference: ConferenceId,
        /// Which class.
        class: ClassId,
        /// The staircase and the slots; `None` forgets the class.
        plan: Option<Arc<Plan>>,
    },
    /// Puts receivers into a class. Until then they get no video.
    SetClass {
        /// Of one conference.
        endpoints: Vec<EndpointId>,
        /// The class.
        class: ClassId,
    },
    /// Which sources are heard in the audio slots of a conference. Equal for all receivers with SSRC rewriting.
    SetAudioSlots {
        /// Where.
        conference: ConferenceId,
        /// All slots that are taken.
        slots: Arc<[AudioSlot]>,
    },
    /// Whose audio an endpoint wants (`ReceiverAudioSubscription`, `spec/bridge.md` 3.2).
    SetAudioSubscription {
        /// The receiver.
        endpoint: EndpointId,
        /// What it wants.
        subscription: AudioSubscription,
    },
    /// Limits what receivers are believed to take, whatever the estimate says (`assumedBandwidthBps`); `None` ends that.
    AssumeBandwidth {
        /// The receiver.
        endpoint: EndpointId,
        /// Bits per second.
        bps: Option<u64>,
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
        /// Of what.
        source: SourceId,
    },
    /// How the plane is doing.
    QueryStats(oneshot::Sender<PlaneStats>),
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
    /// How many speakers are forwarded; `None`: all.
    pub loudest: Option<u8>,
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
    /// Whether SSRCs are rewritten for it. Only audio needs to know: video follows the slots of the class' plan.
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

/// What the receivers of one class get, by their bandwidth (`spec/bridge.md` 9.5.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Comes back in [`super::event::Event::RungChanged`], so that control knows which plan a rung is of.
    pub version: u64,
    /// What is sent, by bandwidth.
    pub staircase: Arc<Staircase>,
    /// Where sources are seen. A source of a rung without slot is not sent.
    pub slots: Vec<VideoSlot>,
}

/// Where receivers see a source. Without SSRC rewriting the SSRCs are those of the source itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoSlot {
    /// What is seen.
    pub source: SourceId,
    /// SSRC that is sent.
    pub ssrc: u32,
    /// SSRC of retransmissions that are sent.
    pub rtx: Option<u32>,
}

/// Where receivers hear a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioSlot {
    /// What is heard.
    pub source: SourceId,
    /// SSRC that is sent.
    pub ssrc: u32,
}

/// Whose audio a receiver wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AudioSubscription {
    /// Everybody's.
    #[default]
    All,
    /// Nobody's.
    None,
    /// Of these only.
    Include(Vec<SourceId>),
    /// Of all but these.
    Exclude(Vec<SourceId>),
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
