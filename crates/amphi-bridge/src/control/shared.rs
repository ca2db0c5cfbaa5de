//! What all conferences of a bridge share: settings, numbers that are given once, where outputs go, and counts.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use amphi_jingle::colibri2::{ConferenceModified, Media};
use amphi_media::conference::ConferenceConfig;
use amphi_media::ids::{ConferenceId, EndpointId, SourceId};
use amphi_media::speech::SpeechConfig;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::formats;
use super::link::SocketId;
use super::refusal::Refusal;
use super::settings::BridgeSettings;
use crate::plane::command::{self, Command};
use crate::transport::{Certificate, Credentials, LocalAddress, PeerLimits};

/// What transports are made of.
pub struct Peers {
    /// Certificate of new transports.
    pub certificate: Arc<Certificate>,
    /// Where we can be reached.
    pub addresses: Arc<[LocalAddress]>,
    /// Credentials whose ufrag names the thread that will own the transport.
    pub credentials: Box<dyn FnMut() -> Credentials + Send>,
    /// Bounds.
    pub limits: Arc<PeerLimits>,
}

/// One thing to do, in order. Nearly all are commands, so that a box around those would only cost.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Output {
    /// The answer to a request.
    Answer {
        /// As the request was numbered.
        id: u64,
        /// What was done, or why nothing was.
        result: Result<Box<ConferenceModified>, Refusal>,
    },
    /// For the media plane.
    Plane(Command),
    /// A message on a WebSocket.
    Socket {
        /// Which.
        socket: SocketId,
        /// JSON, shared by all receivers.
        text: Arc<str>,
    },
    /// A WebSocket must be closed.
    CloseSocket {
        /// Which.
        socket: SocketId,
        /// Close code.
        code: u16,
        /// Reason.
        reason: &'static str,
    },
    /// A WebSocket to another bridge must be opened; [`super::colibri::Input::SocketOpened`] tells when it is.
    Dial {
        /// The relay.
        endpoint: EndpointId,
        /// Address.
        url: String,
    },
    /// A relay is gone: its WebSocket is no longer opened.
    HangUp {
        /// The relay.
        endpoint: EndpointId,
    },
}

macro_rules! totals {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// Counts since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Totals { $($(#[$doc])* pub $field: u64,)* }
    };
}
totals! {
    /// Conferences that were created.
    conferences_created,
    /// And have ended.
    conferences_completed,
    /// Seconds that those lasted.
    conference_seconds,
    /// Participants and visitors.
    endpoints,
    /// Visitors.
    visitors,
    /// Relays.
    relays,
    /// Transports that came up.
    ice_succeeded,
    /// Transports of endpoints that did not come up, or broke.
    transports_failed,
    /// The same of relays.
    relays_failed,
    /// Endpoints that were expired because nothing was heard.
    endpoints_disconnected,
    /// Endpoints that were connected and opened no bridge channel.
    endpoints_mute,
    /// The same of relays.
    relays_mute,
    /// New dominant speakers.
    dominant_speaker_changes,
    /// Changes of layers that media showed.
    layering_changes,
    /// Messages on data channels.
    data_messages_received,
    /// The same that were sent.
    data_messages_sent,
    /// Messages on WebSockets.
    socket_messages_received,
    /// The same that were sent.
    socket_messages_sent,
    /// Messages that were too long, too many, or made no sense.
    messages_refused,
    /// Endpoints that were told everything once more, because a message was lost on a full data channel.
    channels_told_again,
    /// Requests.
    requests,
    /// Requests that were refused.
    requests_refused,
    /// ICE restarts that were asked for.
    restarts,
}

impl Totals {
    pub(super) fn joined(&mut self, visitor: bool) {
        self.endpoints += 1;
        self.visitors += u64::from(visitor);
    }

    pub(super) fn failed(&mut self, relay: bool) {
        if relay { self.relays_failed += 1 } else { self.transports_failed += 1 }
    }
}

/// What all conferences share.
pub struct Shared {
    /// Settings.
    pub settings: Arc<BridgeSettings>,
    /// How conferences decide.
    pub decisions: ConferenceConfig,
    /// How speakers are told apart.
    pub speech: SpeechConfig,
    /// What transports are made of.
    pub peers: Peers,
    /// What is to be done.
    pub out: VecDeque<Output>,
    /// Counts.
    pub totals: Totals,
    /// Whose numbers are in use, and in which conference.
    homes: HashMap<EndpointId, ConferenceId>,
    /// What lists of formats mean, for those that come again and again.
    formats: Vec<(Arc<[Media]>, command::Media)>,
    conferences: u32,
    endpoints: u32,
    sources: u32,
    random: StdRng,
}

/// As many lists as [`amphi_jingle::colibri2::KnownMedia`] knows.
const FORMATS: usize = 64;

const KEY_CHARS: &[u8; 16] = b"0123456789abcdef";
const PASSWORD_CHARS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

impl Shared {
    /// Nothing yet. Everything that must not be guessed follows from `seed`.
    pub fn new(settings: Arc<BridgeSettings>, decisions: ConferenceConfig, peers: Peers, seed: [u8; 32]) -> Self {
        let mut speech = SpeechConfig::default();
        match settings.loudest {
            Some(n) => speech.num_loudest = usize::from(n),
            None => speech.gate_above = usize::MAX,
        }
        Self {
            settings,
            decisions,
            speech,
            peers,
            out: VecDeque::new(),
            totals: Totals::default(),
            homes: HashMap::new(),
            formats: Vec::new(),
            conferences: 0,
            endpoints: 0,
            sources: 0,
            random: StdRng::from_seed(seed),
        }
    }

    /// Where an endpoint is.
    pub fn home(&self, endpoint: EndpointId) -> Option<ConferenceId> {
        self.homes.get(&endpoint).copied()
    }

    /// Endpoints, relayed endpoints and relays.
    pub fn members(&self) -> usize {
        self.homes.len()
    }

    /// What an endpoint that is signaled like this can do.
    pub(super) fn media(&mut self, signaled: &Arc<[Media]>) -> command::Media {
        if let Some((_, known)) = self.formats.iter().find(|(of, _)| Arc::ptr_eq(of, signaled)) {
            return known.clone();
        }
        let mut media = command::Media::default();
        formats::add(&mut media, signaled, false, self.settings.limits.formats_per_media);
        if self.formats.len() < FORMATS {
            self.formats.push((signaled.clone(), media.clone()));
        }
        media
    }

    pub(super) fn plane(&mut self, c: Command) {
        self.out.push_back(Output::Plane(c));
    }

    pub(super) fn forget(&mut self, endpoint: EndpointId) {
        self.homes.remove(&endpoint);
    }

    pub(super) fn conference_id(&mut self) -> ConferenceId {
        self.conferences = self.conferences.wrapping_add(1);
        ConferenceId(self.conferences)
    }

    pub(super) fn endpoint_id(&mut self, conference: ConferenceId) -> EndpointId {
        loop {
            // Numbers come back after four billion; those that are still in use are left out.
            self.endpoints = self.endpoints.wrapping_add(1);
            let id = EndpointId(self.endpoints);
            if let Entry::Vacant(free) = self.homes.entry(id) {
                free.insert(conference);
                return id;
            }
        }
    }

    pub(super) fn source_id(&mut self) -> SourceId {
        self.sources = self.sources.wrapping_add(1);
        SourceId(self.sources)
    }

    /// An SSRC: not 0.
    pub(super) fn ssrc(&mut self) -> u32 {
        self.random.random_range(1..=u32::MAX)
    }

    pub(super) fn secret(&mut self) -> u64 {
        self.random.random()
    }

    /// Name of a conference in addresses of WebSockets.
    pub(super) fn key(&mut self) -> String {
        self.text(KEY_CHARS, 16)
    }

    /// Password of WebSockets (`spec/bridge.md` 3.1).
    pub(super) fn password(&mut self) -> String {
        self.text(PASSWORD_CHARS, 24)
    }

    fn text(&mut self, of: &[u8], n: usize) -> String {
        (0..n).map(|_| char::from(of[self.random.random_range(0..of.len())])).collect()
    }
}
