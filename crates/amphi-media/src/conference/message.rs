//! Messages of the bridge channel, typed (`spec/bridge.md` 3.2). Their JSON is written and read elsewhere; what endpoints say to each other is
//! carried as opaque bytes.

use std::sync::Arc;

use bytes::Bytes;

use crate::allocation::ConstraintsUpdate;
use crate::source::VideoType;

/// From a client or another bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A client asks whether the channel works.
    ClientHello,
    /// Another bridge says who it is.
    ServerHello {
        /// Its version.
        version: Option<Arc<str>>,
    },
    /// What a client wants to receive; also LastNChangedEvent.
    VideoConstraints(ConstraintsUpdate),
    /// Which audio a client wants.
    AudioSubscription(AudioSubscription),
    /// What a source shows; `source` is absent in the legacy form: the first video source of the sender.
    VideoType {
        /// From a relay: whose source it is.
        endpoint: Option<Arc<str>>,
        /// Name of the source.
        source: Option<Arc<str>>,
        /// What it shows.
        video_type: VideoType,
    },
    /// From endpoint to endpoint.
    EndpointMessage {
        /// Receiver; none is everybody.
        to: Option<Arc<str>>,
        /// As a relay says; what a client says here is ignored.
        from: Option<Arc<str>>,
        /// The other fields of the JSON object, without braces, `colibriClass` and `from`.
        fields: Bytes,
    },
    /// Statistics of an endpoint for others.
    EndpointStats {
        /// As a relay says; what a client says here is ignored.
        from: Option<Arc<str>>,
        /// The other fields of the JSON object, without braces, `colibriClass` and `from`.
        fields: Bytes,
    },
    /// From a relay: an endpoint of its bridge lost or found its connection.
    Connectivity {
        /// The endpoint.
        endpoint: Arc<str>,
        /// Whether it is there.
        active: bool,
    },
    /// From a relay: a synthetic source begins or ends.
    SyntheticSending {
        /// The source.
        source: Arc<str>,
        /// Whether it sends.
        sending: bool,
        /// RTP time.
        timestamp: u32,
    },
    /// From a relay: what its receivers want of a source.
    AddReceiver {
        /// Relay id of that bridge, as it says.
        bridge: Arc<str>,
        /// The source.
        source: Arc<str>,
        /// Greatest height; -1 is no limit, 0 is none.
        max_height: i32,
    },
}

/// Which audio a client wants: not what is excluded, and of the rest what is included, or everything that is not synthetic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AudioSubscription {
    all: bool,
    /// Sorted.
    include: Vec<Arc<str>>,
    /// Sorted.
    exclude: Vec<Arc<str>>,
}

impl AudioSubscription {
    /// `all`: everything that is not synthetic; `include`: wanted also if synthetic, loud or not; `exclude`: never wanted.
    pub fn new(all: bool, mut include: Vec<Arc<str>>, mut exclude: Vec<Arc<str>>) -> Self {
        include.sort_unstable();
        exclude.sort_unstable();
        Self { all, include, exclude }
    }

    /// Whether a source is wanted.
    pub fn wants(&self, source: &str, synthetic: bool) -> bool {
        let listed = |list: &[Arc<str>]| list.binary_search_by(|name| (**name).cmp(source)).is_ok();
        !listed(&self.exclude) && (listed(&self.include) || (self.all && !synthetic))
    }

    /// Whether nothing differs from no subscription.
    pub fn is_default(&self) -> bool {
        self.all && self.include.is_empty() && self.exclude.is_empty()
    }

    /// Sources asked for by name.
    pub fn included(&self) -> &[Arc<str>] {
        &self.include
    }

    /// Entries of both lists.
    pub fn entries(&self) -> usize {
        self.include.len() + self.exclude.len()
    }
}

/// One source in a slot, as told to a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Name of the source.
    pub source: Arc<str>,
    /// Name of the endpoint that sends it.
    pub owner: Arc<str>,
    /// SSRC of the slot.
    pub ssrc: u32,
    /// SSRC of its retransmissions, for video.
    pub rtx: Option<u32>,
    /// What it shows, for video.
    pub video_type: Option<VideoType>,
    /// Number of the slot, for receivers that tell slots apart by media id: `a3` or `v3`.
    pub mid: Option<u16>,
}

/// To clients and other bridges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// The channel works. The version, if it is announced, is added by whoever writes it.
    ServerHello,
    /// To a relay: the same, with [`super::WISHES_TOLD`] as version. Other bridges take note of another version and go on.
    RelayHello,
    /// To a sender: the greatest height that anybody wants.
    SenderConstraints {
        /// Its source.
        source: Arc<str>,
        /// -1 is no limit, 0 is nobody.
        max_height: i32,
    },
    /// Video that a receiver gets at present.
    ForwardedSources(Arc<[Arc<str>]>),
    /// Which video source is in which slot; only what changed.
    VideoSourcesMap(Vec<Mapped>),
    /// Which audio source is in which slot; only what changed.
    AudioSourcesMap(Vec<Mapped>),
    /// Who speaks and who spoke.
    DominantSpeaker {
        /// Who speaks.
        dominant: Arc<str>,
        /// Who spoke, the last one first.
        previous: Vec<Arc<str>>,
        /// Whether nobody does.
        silence: bool,
    },
    /// An endpoint lost or found its connection.
    Connectivity {
        /// The endpoint.
        endpoint: Arc<str>,
        /// Whether it is there.
        active: bool,
    },
    /// Estimate of a receiver's bandwidth.
    ConnectionStats {
        /// Bits per second.
        bandwidth: u64,
    },
    /// A synthetic source begins or ends.
    SyntheticSending {
        /// The source.
        source: Arc<str>,
        /// Whether it sends.
        sending: bool,
        /// RTP time.
        timestamp: u32,
    },
    /// To a relay: what a source shows.
    VideoType {
        /// Whose source.
        endpoint: Arc<str>,
        /// The source.
        source: Arc<str>,
        /// What it shows.
        video_type: VideoType,
    },
    /// To a relay: what is wanted of a source behind it. Frame rates are not limited.
    AddReceiver {
        /// Our relay id.
        bridge: Arc<str>,
        /// The source.
        source: Arc<str>,
        /// -1 is no limit, 0 is none.
        max_height: i32,
    },
    /// From endpoint to endpoint.
    EndpointMessage {
        /// The sender.
        from: Arc<str>,
        /// As it came.
        fields: Bytes,
    },
    /// Statistics of an endpoint.
    EndpointStats {
        /// The sender.
        from: Arc<str>,
        /// As it came.
        fields: Bytes,
    },
}
