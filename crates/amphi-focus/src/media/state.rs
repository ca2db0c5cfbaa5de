//! What is kept of media sessions: of all conferences together, of one conference, of one bridge in it, and of one
//! member. A visitor costs one [`Participant`] without extras.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use amphi_jingle::colibri2::{ForceMute, Media};
use amphi_jingle::{MediaType, SourceSet};
use amphi_stanza::{BareJid, FullJid};

use super::brewery::Brewery;
use super::codecs::Preferences;
use super::config::MediaConfig;
use super::facts::{Facts, Names};
use super::features::Caps;
use super::formats::between_bridges;
use super::mute::Moderation;
use super::offer::{Offer, Offers};
use super::select::Bridges;
use super::sources::Sources;
use super::topology::{Cascade, NodeKey};
use super::window::{Bucket, Recent, Window};
use crate::NodeId;
use crate::iq::IqTable;

/// What was asked of a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A new endpoint; the number of the invitation.
    Allocate { nick: Box<str>, serial: u32 },
    /// Everything about an endpoint.
    Update { nick: Box<str>, again: bool },
    /// What a client said of its transport.
    Transport { nick: Box<str> },
    /// A restart of an endpoint's transport.
    IceRestart { nick: Box<str>, sid: u64 },
    /// A link to another session.
    Relay { peer: NodeKey },
    /// Anything else that must not fail.
    Change,
    /// The end of something: whatever the answer, it is gone.
    Expire,
}

/// Whom an answer is for.
#[derive(Clone, Debug)]
pub(crate) enum MediaPurpose {
    Health { bridge: Arc<str>, again: bool },
    Disco { room: BareJid, nick: Box<str>, ver: Option<Arc<str>> },
    Initiate { room: BareJid, nick: Box<str>, sid: u64 },
    Colibri { room: BareJid, session: NodeKey, asked: Asked },
}

/// Members whose turn to be invited comes at a rate.
#[derive(Debug)]
pub(crate) struct Line {
    bucket: Bucket,
    queue: VecDeque<(BareJid, Box<str>, u32)>,
}

impl Line {
    fn new(per_second: u32) -> Self {
        Self { bucket: Bucket::new(per_second), queue: VecDeque::new() }
    }

    pub(crate) fn push(&mut self, room: BareJid, nick: Box<str>, serial: u32) {
        self.queue.push_back((room, nick, serial));
    }

    pub(crate) fn pop(&mut self, now: Instant) -> Option<(BareJid, Box<str>, u32)> {
        if self.queue.is_empty() || !self.bucket.take(now) {
            return None;
        }
        self.queue.pop_front()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.queue.front().and_then(|_| self.bucket.next())
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// What all conferences share.
pub(crate) struct MediaCore {
    pub(crate) bridges: Bridges,
    pub(crate) brewery: Brewery,
    pub(crate) iqs: IqTable<MediaPurpose>,
    pub(crate) caps: Caps,
    pub(crate) names: Names,
    pub(crate) offers: Offers,
    /// What goes between bridges.
    pub(crate) relay_media: Arc<[Media]>,
    pub(crate) invites: Line,
    pub(crate) reinvites: Line,
    /// Conferences on each bridge.
    pub(crate) rooms: HashMap<Arc<str>, BTreeMap<BareJid, u32>>,
    /// Conferences with members that wait for a bridge.
    pub(crate) starving: BTreeSet<BareJid>,
    /// Bridges may be chosen that could not be before.
    pub(crate) fed: bool,
    /// When bridges are looked through for relief.
    pub(crate) relief_at: Option<Instant>,
    /// The service connection is up.
    pub(crate) service_connected: bool,
}

impl MediaCore {
    pub(crate) fn new(config: &MediaConfig, nonce: u32) -> Self {
        let media = |ty| Media { ty, formats: between_bridges(ty, &config.codecs) };
        Self {
            bridges: Bridges::default(),
            brewery: Brewery::new(config.brewery.as_deref()),
            iqs: IqTable::new(nonce),
            caps: Caps::default(),
            names: Names::new(config.limits.names),
            offers: Offers::default(),
            relay_media: Arc::new([media(MediaType::Audio), media(MediaType::Video)]),
            invites: Line::new(config.invites_per_second),
            reinvites: Line::new(config.reinvites_per_second),
            rooms: HashMap::new(),
            starving: BTreeSet::new(),
            fed: false,
            relief_at: None,
            service_connected: false,
        }
    }
}

/// How far a member's session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No session, and none wanted yet.
    Waiting,
    /// To be invited when its turn comes.
    Queued,
    /// Its features are being asked for.
    Discovering,
    /// The bridge is asked for an endpoint.
    Allocating,
    /// The offer is sent.
    Pending,
    /// The offer was accepted.
    Active,
    /// It ended the session, or asked for too many. It gets one when it comes again.
    Ended,
    /// No session could be had; tried again later.
    Failed,
}

/// What stage members, and visitors that are special, need in addition.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    pub(crate) restarts: Recent,
    pub(crate) ice_restarts: Recent,
    /// The last restart in place that the client was told of.
    pub(crate) generation: u32,
    /// What the client was told of others' sources.
    pub(crate) signaled: BTreeMap<Arc<str>, Arc<SourceSet>>,
    /// When it is told of changes.
    pub(crate) flush_at: Option<Instant>,
    /// What the bridge drops of what it sends.
    pub(crate) muted: ForceMute,
    /// Its jingle requests lately.
    pub(crate) requests: Option<Window>,
}

/// A member, and its session if it has one.
#[derive(Debug)]
pub(crate) struct Participant {
    pub(crate) occupant: FullJid,
    pub(crate) node: NodeId,
    pub(crate) visitor: bool,
    /// A recorder or gateway of a trusted domain.
    pub(crate) machine: bool,
    pub(crate) state: State,
    /// It has been invited before.
    pub(crate) seen: bool,
    /// Not seen again yet since its node came back.
    pub(crate) stale: bool,
    pub(crate) failures: u8,
    /// Number of its current invitation.
    pub(crate) serial: u32,
    /// Where its endpoint is.
    pub(crate) session: Option<NodeKey>,
    /// Its Jingle session, and the one before; 0 is none.
    pub(crate) sid: u64,
    pub(crate) old_sid: u64,
    pub(crate) retry_at: Option<Instant>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) offer: Option<Arc<Offer>>,
    pub(crate) extra: Option<Box<Extra>>,
}

impl Participant {
    pub(crate) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_with(Box::default)
    }

    /// An offer is out that is not ended.
    pub(crate) fn has_session(&self) -> bool {
        matches!(self.state, State::Pending | State::Active)
    }
}

/// A conference on one bridge.
#[derive(Debug)]
pub(crate) struct Session {
    /// What clients know it by.
    pub(crate) id: String,
    pub(crate) bridge: Arc<str>,
    pub(crate) to: FullJid,
    pub(crate) relay_id: Option<Arc<str>>,
    pub(crate) region: Option<Arc<str>>,
    /// It was begun for a visitor.
    pub(crate) visitor: bool,
    pub(crate) endpoints: u32,
    pub(crate) recent: Window,
    /// The bridge's own sources.
    pub(crate) feedback: SourceSet,
}

/// The media of one conference.
#[derive(Debug)]
pub(crate) struct RoomMedia {
    pub(crate) participants: HashMap<Box<str>, Participant>,
    pub(crate) sessions: BTreeMap<NodeKey, Session>,
    pub(crate) next_session: NodeKey,
    pub(crate) cascade: Cascade,
    pub(crate) sources: Sources,
    /// Endpoints whose sources changed since receivers were told.
    pub(crate) dirty: bool,
    /// Receivers that are told of sources, and when.
    pub(crate) receivers: BTreeSet<Box<str>>,
    pub(crate) flushes: BTreeSet<(Instant, Box<str>)>,
    pub(crate) next_serial: u32,
    /// Some member waits for others to come.
    pub(crate) waiting: bool,
    pub(crate) single_at: Option<Instant>,
    /// The first time that a member that failed is tried again.
    pub(crate) retry_at: Option<Instant>,
    pub(crate) no_bridge: bool,
    /// Members of the main room.
    pub(crate) stage: u32,
    /// Members of the main room with open microphones.
    pub(crate) audio_senders: u32,
    /// Members of the main room that send video.
    pub(crate) video_senders: u32,
    pub(crate) preferences: Preferences,
    pub(crate) moderation: Moderation,
    /// Bridges that members are being moved away from.
    pub(crate) avoid: HashMap<Box<str>, Arc<str>>,
    /// Gateways that can be muted.
    pub(crate) mutable: HashSet<Box<str>>,
    /// From so many on the next begin muted: audio, video.
    pub(crate) start_muted_from: (Option<u32>, Option<u32>),
    /// What the presence said last that depends on media.
    pub(crate) published: Published,
}

/// What the focus' presence in the main room says about media.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) bridges: usize,
    pub(crate) codecs: String,
    pub(crate) audio_limit: bool,
    pub(crate) video_limit: bool,
    pub(crate) no_bridge: bool,
}

impl RoomMedia {
    pub(crate) fn new(config: &MediaConfig) -> Self {
        Self {
            participants: HashMap::new(),
            sessions: BTreeMap::new(),
            next_session: 0,
            cascade: Cascade::new(config.topology, config.fan_out),
            sources: Sources::new(config.strip_simulcast),
            dirty: false,
            receivers: BTreeSet::new(),
            flushes: BTreeSet::new(),
            next_serial: 0,
            waiting: false,
            single_at: None,
            retry_at: None,
            no_bridge: false,
            stage: 0,
            audio_senders: 0,
            video_senders: 0,
            preferences: Preferences::default(),
            moderation: Moderation::default(),
            avoid: HashMap::new(),
            mutable: HashSet::new(),
            start_muted_from: (None, None),
            published: Published::default(),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let flush = self.flushes.first().map(|(at, _)| *at);
        [self.single_at, self.retry_at, flush].into_iter().flatten().min()
    }

    /// Nicks of those with an endpoint in a session.
    pub(crate) fn on_session(&self, key: NodeKey) -> Vec<Box<str>> {
        let mut nicks: Vec<(u32, Box<str>)> = self
            .participants
            .iter()
            .filter(|(_, p)| p.session == Some(key))
            .map(|(n, p)| (p.serial, n.clone()))
            .collect();
        nicks.sort_unstable();
        nicks.into_iter().map(|(_, n)| n).collect()
    }

    pub(crate) fn session_of(&self, nick: &str) -> Option<(NodeKey, &Session)> {
        let key = self.participants.get(nick)?.session?;
        Some((key, self.sessions.get(&key)?))
    }
}
