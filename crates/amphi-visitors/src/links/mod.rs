//! The main room's side: which nodes mirror it, what each of them has been told, and what is to be sent to whom.
//!
//! One [`MainLinks`] per main room; the room calls it with everything that happens to its occupants, and with what
//! arrives from nodes. It sends nothing itself and knows no connection: every operation returns [`Action`]s in order.

mod audience;
mod lines;
mod mirror;
mod node;
mod places;
mod requests;
mod roster;
mod sync;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use amphi_stanza::{BareJid, FullJid, Stanza};
use uuid::Uuid;

use crate::promotion::{Admission, Applicant, PromotionLimits, Promotions, RoomPolicy};
use crate::wire::{Payload, Settings, SharedFile, TranscriptionLanguages, VisitorsIq, json, link_id, set};

use lines::Lines;
use node::Node;
pub use node::{NodeAddresses, NodeState};
use places::Line;
use roster::Roster;

/// Addresses of a main room and of what acts for it (`spec/signaling.md` 1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MainAddresses {
    /// The room in real form: `[acme]demo@conference.meet.example`.
    pub room: BareJid,
    /// The room as clients address it: `demo@conference.acme.meet.example`.
    pub virtual_room: String,
    /// Main virtual host, `meet.example`.
    pub host: String,
    /// Visitors component, `visitors.meet.example`.
    pub component: String,
    /// Prefix of MUC hosts, the same on all nodes: `conference`.
    pub muc_prefix: String,
    /// What follows the name of a node: `meet.jitsi`.
    pub node_suffix: String,
    /// Bare address of the focus, told to promoted visitors: `focus@auth.meet.example`.
    pub focus: String,
}

/// Bounds and switches of the main side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MainConfig {
    /// Nodes per room. Default 64.
    pub max_nodes: usize,
    /// Group chat lines kept for catching up and for history. Default 100.
    pub lines: usize,
    /// Bytes of kept lines; the oldest go first. Default 1 MiB.
    pub line_bytes: usize,
    /// Occupants that left and whose leaving a node has not confirmed yet; with half as many it is asked to confirm, with
    /// more the oldest are forgotten. Default 1024.
    pub unconfirmed: usize,
    /// How long a node may take to answer an IQ before it is synchronised anew. Doubles up to a minute. Default 10 s.
    pub answer_within: Duration,
    /// After something was sent, how long until a node is asked to confirm it. Default 30 s.
    pub checkpoint_after: Duration,
    /// How long a node may be out of reach before it is given up. Default 2 min.
    pub unreachable_after: Duration,
    /// Visitors named in one answer of a moderator. Default 1000.
    pub ids_per_answer: usize,
    /// Languages for transcription accepted from one node. Default 64.
    pub languages: usize,
    /// Real addresses that begin like this are recorders: not mirrored. Defaults as in `spec/signaling.md` 1.5.
    pub recorder_prefixes: Vec<String>,
    /// To a stock node, a revoked moderator leaves and comes again. Stock nodes of today keep the role even so
    /// (`spec/signaling.md` 4.5) and visitors would see somebody leave, therefore default false.
    pub repeat_revoked_presence: bool,
    /// Promotion.
    pub promotion: PromotionLimits,
}

impl Default for MainConfig {
    fn default() -> Self {
        Self {
            max_nodes: 64,
            lines: 100,
            line_bytes: 1 << 20,
            unconfirmed: 1024,
            answer_within: Duration::from_secs(10),
            checkpoint_after: Duration::from_secs(30),
            unreachable_after: Duration::from_secs(120),
            ids_per_answer: 1000,
            languages: 64,
            recorder_prefixes: ["recorder@recorder.", "jibria@recorder.", "jibrib@recorder."].map(Into::into).into(),
            repeat_revoked_presence: false,
            promotion: PromotionLimits::default(),
        }
    }
}

/// One thing to do, in order.
#[derive(Clone, Debug)]
pub enum Action {
    /// Route by `to`: to a node, the focus, or a connection. Bounces of it must not reach participants.
    Send(Stanza),
    /// Deliver a visitor's group message to every occupant of the main room. `from` is set (in real form), `to` is not.
    Deliver(Stanza),
    /// Deliver a visitor's private message to one occupant. `from` is set, `to` is not.
    DeliverTo {
        /// Nick of the receiver.
        nick: String,
        /// The message.
        stanza: Stanza,
    },
    /// Set `metadata.visitors.transcribingLanguages` and `transcribingCount`; sent on change only.
    Transcribing(TranscriptionLanguages),
    /// A node was out of reach for too long and is forgotten: tell the focus.
    NodeLost {
        /// Its name, `v1`.
        vnode: String,
    },
}

/// Somebody on stage.
#[derive(Clone, Copy, Debug)]
pub struct Occupant<'a> {
    /// Nick in the room: the endpoint id.
    pub nick: &'a str,
    /// Real address.
    pub real: &'a FullJid,
    /// Has role moderator.
    pub moderator: bool,
    /// The focus and other administrators are not mirrored.
    pub admin: bool,
}

/// Properties of the main room that nodes are told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomState {
    /// Password, lobby, meeting id, time of creation, access without token.
    pub settings: Settings,
    /// Shared files; `None` when nothing was ever shared.
    pub files: Option<Vec<SharedFile>>,
    /// The polls' `old-polls` JSON; `None` when there is no poll.
    pub polls: Option<String>,
    /// `hideDisplayNameForGuests`: nodes see no names.
    pub hide_names: bool,
}

/// How far the sender of an IQ to the visitors component is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A local administrator: the focus.
    Admin,
    /// It came over a link, and `from` belongs to the peer's authenticated domain.
    Server,
    /// Anybody else.
    Nobody,
}

/// The links of one main room.
pub struct MainLinks {
    addr: MainAddresses,
    config: MainConfig,
    epoch: String,
    uuid: Box<dyn FnMut() -> Uuid + Send>,
    state: RoomState,
    roster: Roster,
    lines: Lines,
    nodes: BTreeMap<String, Node>,
    promotions: Promotions,
    /// Last id of this life of the room, and what all of its ids are above: an answer to a former life, which a link may
    /// bring late, must not count for this one.
    ids: u64,
    ids_above: u64,
    syncs: u64,
    langs: TranscriptionLanguages,
    places: Line,
}

impl MainLinks {
    /// No nodes yet. `uuid` is the source of one-time names, which must not be guessable.
    pub fn new(config: MainConfig, addr: MainAddresses, mut uuid: Box<dyn FnMut() -> Uuid + Send>) -> Self {
        let vpaas = addr.room.node().starts_with("[vpaas-magic-cookie-");
        let promotions = Promotions::new(config.promotion.clone(), vpaas);
        let lines = Lines::new(config.lines, config.line_bytes);
        let life = uuid();
        let ids = u64::from(life.as_u128() as u32) << 16;
        Self {
            epoch: life.to_string(),
            addr,
            config,
            uuid,
            state: RoomState::default(),
            roster: Roster::default(),
            lines,
            nodes: BTreeMap::new(),
            promotions,
            ids,
            ids_above: ids,
            syncs: 0,
            langs: TranscriptionLanguages::default(),
            places: Line::default(),
        }
    }

    /// Whether any node is connected.
    pub fn any(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// Names of the connected nodes and their states, in order of names.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, NodeState)> {
        self.nodes.iter().map(|(name, n)| (name.as_str(), n.state()))
    }

    /// Whether `domain` is the MUC host of a node of this room: then a message of an unknown sender there may be one of
    /// a visitor, and an error from there is a bounce, to be swallowed.
    pub fn is_node_muc(&self, domain: &str) -> bool {
        self.node_by_muc(domain).is_some()
    }

    /// What metadata and preset say about promotion.
    pub fn set_policy(&mut self, policy: RoomPolicy) {
        self.promotions.set_policy(policy);
    }

    /// Raised hands that wait for a moderator.
    pub fn promotions(&self) -> &Promotions {
        &self.promotions
    }

    /// Decides about a join to the main room. On success with `mark` the room sets the metadata of the endpoint.
    pub fn admission(&mut self, now: Instant, applicant: &Applicant<'_>) -> Admission {
        self.promotions.admission(now, applicant)
    }

    /// Somebody on stage moves to a breakout room, or comes from there: it may come back later.
    pub fn expect_back(&mut self, now: Instant, session: &FullJid) {
        self.promotions.expect_back(now, session);
    }

    /// A session of the main node has ended for good.
    pub fn session_gone(&mut self, now: Instant, session: &FullJid) {
        self.promotions.session_gone(now, session);
    }

    fn node_by_muc(&self, domain: &str) -> Option<&Node> {
        self.nodes.values().find(|n| n.addr.muc == domain)
    }

    fn node_by_host(&self, domain: &str) -> Option<&Node> {
        self.nodes.values().find(|n| n.addr.host == domain)
    }

    /// The room's address on a node.
    fn shadow(&self, node: &NodeAddresses) -> Option<BareJid> {
        BareJid::new(self.addr.room.node(), &node.muc).ok()
    }

    fn next_id(&mut self) -> (u64, String) {
        self.ids += 1;
        (self.ids, link_id(self.ids, &self.addr.room))
    }

    /// An IQ of the main host to the MUC host of a node, and the number in its id.
    fn link_iq(&mut self, node: &NodeAddresses, payload: Payload) -> Option<(u64, Stanza)> {
        let room = self.shadow(node)?;
        let (n, id) = self.next_id();
        Some((n, set(&self.addr.host, &node.muc, &id, &VisitorsIq::new(room, payload))))
    }

    /// A JSON message of the component to every moderator but `except`.
    fn tell_moderators(&mut self, ty: Option<&str>, text: &str, except: Option<&str>, out: &mut Vec<Action>) {
        let to: Vec<FullJid> =
            self.roster.moderators().filter(|(n, _)| Some(*n) != except).map(|(_, r)| r.clone()).collect();
        for real in to {
            out.push(self.json_to(ty, &real, text));
        }
    }

    fn json_to(&mut self, ty: Option<&str>, real: &FullJid, text: &str) -> Action {
        let (_, id) = self.next_id();
        Action::Send(json::json_message(&self.addr.component, real, ty, &id, text))
    }
}
