//! What goes into the focus and what comes out of it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use amphi_stanza::{BareJid, FullJid, Stanza};
use bytes::Bytes;

use crate::{ConferenceAnswer, ConferenceRequest, RequestError, VnodeConfig};

/// A signaling node, as the focus is connected to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeId {
    /// The main node.
    Main,
    /// A visitor node, by the name that clients receive.
    Vnode(Arc<str>),
    /// Where bridges are, if that is not the main node.
    Service,
}

impl NodeId {
    /// A visitor node.
    pub fn vnode(name: &str) -> Self {
        Self::Vnode(name.into())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Main => f.write_str("main"),
            Self::Vnode(name) => f.write_str(name),
            Self::Service => f.write_str("service"),
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The connection to a node is bound. `resumed`: the stream was resumed, nothing was lost (XEP-0198).
    Connected {
        /// Which node.
        node: NodeId,
        /// Own address there.
        jid: FullJid,
        /// Whether the earlier session goes on.
        resumed: bool,
    },
    /// The connection to a node broke. It may be resumed.
    Disconnected {
        /// Which node.
        node: NodeId,
    },
    /// A stanza came from a node.
    Stanza {
        /// Which node.
        node: NodeId,
        /// As received.
        stanza: Stanza,
    },
    /// A conference request came over HTTP. It is answered by [`Output::Answer`] with the same id, always exactly once.
    ConferenceRequest {
        /// Chosen by the caller.
        id: u64,
        /// See [`ConferenceRequest::from_json`].
        request: ConferenceRequest,
        /// Address of the client, if known.
        peer: Option<IpAddr>,
    },
    /// A visitor node may be used from now on, once it is connected. A known name gets the new settings.
    NodeAdded(VnodeConfig),
    /// A visitor node is gone for good; its shadow rooms are given up.
    NodeRemoved {
        /// Its name.
        vnode: String,
    },
    /// No new visitors for a node, or again new ones. Its present visitors stay.
    Drain {
        /// Its name.
        vnode: String,
        /// Whether new visitors are kept away.
        draining: bool,
    },
    /// An operator ends a conference. Unknown rooms are ignored.
    EndConference {
        /// The main room.
        room: BareJid,
    },
    /// Asks which conference has this unique id, and what an occupant of its main room may do there. Answered by
    /// [`Output::Meeting`].
    FindMeeting {
        /// Chosen by the caller.
        id: u64,
        /// Unique id of the meeting.
        meeting_id: String,
        /// Nick of an occupant.
        endpoint: Option<String>,
    },
    /// Asks for the visitors of a conference. Answered by [`Output::Visitors`].
    ListVisitors {
        /// Chosen by the caller.
        id: u64,
        /// The main room.
        room: BareJid,
        /// So many at most.
        limit: usize,
    },
    /// From now on each visitor that comes or goes is told by [`Output::Visitor`], or not any more. Unknown rooms are ignored.
    WatchVisitors {
        /// The main room.
        room: BareJid,
        /// Whether to tell.
        on: bool,
    },
    /// An operator moves endpoints to other bridges. Answered by [`Output::Moved`].
    Move {
        /// Chosen by the caller.
        id: u64,
        /// Which.
        what: Move,
    },
    /// An operator holds a bridge: as if it were draining, whatever it says itself; or lets it go again. Unknown bridges are
    /// ignored.
    HoldBridge {
        /// Its address or its nick.
        bridge: String,
        /// Whether it is held.
        hold: bool,
    },
    /// An operator throws somebody out, on stage or in the audience. Unknown rooms and endpoints are ignored.
    Kick {
        /// The main room.
        room: BareJid,
        /// Endpoint id.
        endpoint: String,
        /// For people.
        reason: Option<String>,
    },
    /// The deadline of [`crate::Focus::poll_timeout`] has come.
    Tick,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send a stanza to a node. Dropped by the caller when the node is not connected.
    Send {
        /// Which node.
        node: NodeId,
        /// One stanza.
        stanza: Bytes,
    },
    /// Answer a request that came over HTTP.
    Answer {
        /// As in [`Input::ConferenceRequest`].
        id: u64,
        /// Body of the 200 answer, or the error.
        result: Result<ConferenceAnswer, RequestError>,
    },
    /// Answers [`Input::FindMeeting`].
    Meeting {
        /// As asked.
        id: u64,
        /// The conference, if there is one.
        found: Option<Meeting>,
    },
    /// Answers [`Input::ListVisitors`].
    Visitors {
        /// As asked.
        id: u64,
        /// Endpoint id and name of each, in no order.
        visitors: Vec<(Box<str>, Box<str>)>,
    },
    /// A visitor of a watched conference.
    Visitor(VisitorChange),
    /// Answers [`Input::Move`].
    Moved {
        /// As asked.
        id: u64,
        /// How many endpoints, of how many conferences.
        result: Result<(u32, u32), MoveError>,
    },
    /// Something worth telling.
    Event(Event),
}

/// Which endpoints are moved to other bridges (`spec/focus.md` 8.1). A bridge is named by its address or its nick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// One, if it is on `bridge` when that is given.
    Endpoint {
        /// The main room.
        room: BareJid,
        /// Endpoint id.
        endpoint: String,
        /// Where it must be.
        bridge: Option<String>,
    },
    /// Some of a bridge.
    Endpoints {
        /// The bridge.
        bridge: String,
        /// Only of this conference.
        room: Option<BareJid>,
        /// How many.
        count: u32,
    },
    /// A share of all that are on a bridge.
    Fraction {
        /// The bridge.
        bridge: String,
        /// The share in thousandths.
        per_mille: u32,
    },
}

/// Why nothing was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// There is no such bridge.
    #[error("unknown bridge")]
    UnknownBridge,
    /// There is no such conference.
    #[error("unknown conference")]
    UnknownConference,
}

/// State of a bridge, for operators.
#[derive(Clone, Debug, PartialEq)]
pub struct BridgeStatus {
    /// Address in the brewery.
    pub jid: String,
    /// Nick there.
    pub name: String,
    /// Where it is.
    pub region: Option<String>,
    /// What other bridges know it by.
    pub relay_id: Option<String>,
    /// Version and release.
    pub version: Option<String>,
    /// Load; 1 is full.
    pub stress: f64,
    /// Can be chosen.
    pub operational: bool,
    /// Is chosen only if there is no other.
    pub draining: bool,
    /// Held by an operator, like one that is draining.
    pub held: bool,
    /// Goes when it is empty.
    pub graceful_shutdown: bool,
    /// Too many of its clients cannot connect.
    pub failing_ice: bool,
    /// Endpoints that this focus has there.
    pub endpoints: u32,
    /// Conferences that this focus has there.
    pub conferences: u32,
    /// Clients that asked for another session because of it.
    pub restarts: u64,
    /// Endpoints that were moved away.
    pub moved: u64,
}

/// A conference, as found by its unique id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// The main room.
    pub room: BareJid,
    /// The occupant that was asked about is a moderator on stage.
    pub moderator: bool,
}

/// A visitor came, left, or has another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisitorChange {
    /// Unique id of the meeting.
    pub meeting_id: String,
    /// Endpoint id.
    pub id: Box<str>,
    /// Name; empty if it has none.
    pub name: Box<str>,
    /// Present, perhaps with a new name; otherwise gone.
    pub joined: bool,
}

pub(crate) const NOT_LIVE: &str = "the meeting is not live yet";

/// Where a conference request leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To the main room.
    Stage,
    /// To a visitor node.
    Audience,
    /// The client is to ask again.
    Wait,
    /// The client gets an error.
    Refused,
}

/// What became of a conference request, and why: so that an operator can tell why somebody landed where it did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Main room.
    pub room: BareJid,
    /// The browser.
    pub machine: Option<String>,
    /// What the token claims, unverified.
    pub user: Option<String>,
    /// Real address, when it asked over XMPP.
    pub from: Option<String>,
    /// Network address, when it asked over HTTP.
    pub peer: Option<IpAddr>,
    /// Where it leads.
    pub place: Place,
    /// Why, in words.
    pub why: &'static str,
    /// The visitor node.
    pub vnode: Option<Arc<str>>,
}

/// Why a conference ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Nobody joined in time.
    NobodyJoined,
    /// The last member left the main room.
    Empty,
    /// The main room was destroyed, or the focus was removed from it.
    RoomGone,
    /// The focus is not an owner of the main room any more.
    NotOwner,
    /// The main room could not be joined.
    JoinFailed,
    /// The main node lost its connection and did not resume it.
    MainLost,
    /// An operator ended it.
    Operator,
}

impl EndReason {
    /// For operators.
    pub const fn words(self) -> &'static str {
        match self {
            Self::NobodyJoined => "nobody joined in time",
            Self::Empty => "everybody left",
            Self::RoomGone => "the room was destroyed",
            Self::NotOwner => "the focus is not an owner of the room any more",
            Self::JoinFailed => "the focus could not join the room",
            Self::MainLost => "the main node was lost",
            Self::Operator => "an operator ended it",
        }
    }
}

/// Something that an operator, or the media half, may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A conference request was answered.
    Decided(Box<Decision>),
    /// The main room was joined.
    ConferenceStarted {
        /// Main room.
        room: BareJid,
        /// Unique id of this meeting.
        meeting_id: String,
    },
    /// A conference is over.
    ConferenceEnded {
        /// Main room.
        room: BareJid,
        /// Why.
        reason: EndReason,
    },
    /// A member that may get a media session is in the main room or in a shadow room. This is where sessions are invited.
    MemberJoined {
        /// Main room.
        room: BareJid,
        /// Where the member is.
        node: NodeId,
        /// Its occupant address, in the main room or in the shadow room.
        occupant: FullJid,
    },
    /// A member left.
    MemberLeft {
        /// Main room.
        room: BareJid,
        /// Where the member was.
        node: NodeId,
        /// Its occupant address.
        occupant: FullJid,
    },
    /// A shadow room is joined and linked to its main room.
    VroomLinked {
        /// Main room.
        room: BareJid,
        /// Node.
        vnode: Arc<str>,
    },
    /// A shadow room could not be opened; visitors are sent elsewhere.
    VroomFailed {
        /// Main room.
        room: BareJid,
        /// Node.
        vnode: Arc<str>,
        /// What went wrong.
        why: String,
    },
    /// A shadow room is gone.
    VroomClosed {
        /// Main room.
        room: BareJid,
        /// Node.
        vnode: Arc<str>,
    },
    /// The connection to a node was lost; so many visitors are not counted any more.
    NodeLost {
        /// Node.
        node: NodeId,
        /// Visitors it had.
        visitors: u32,
    },
    /// A node is connected.
    NodeUp {
        /// Node.
        node: NodeId,
    },
    /// A bridge is there.
    BridgeUp {
        /// Nick in the brewery.
        bridge: String,
    },
    /// A bridge is gone.
    BridgeDown {
        /// Nick in the brewery.
        bridge: String,
    },
    /// A conference left a bridge that failed it; everybody there is invited again.
    BridgeSessionFailed {
        /// Main room.
        room: BareJid,
        /// Address of the bridge.
        bridge: String,
    },
    /// Bridges of a conference that lost each other were linked again.
    CascadeRepaired {
        /// Main room.
        room: BareJid,
        /// Links made.
        links: usize,
    },
    /// A peer answered an IQ with an error, or not at all, where the focus can go on without.
    IqFailed {
        /// What was asked.
        what: &'static str,
        /// The error.
        why: String,
    },
    /// A stanza was refused.
    BadStanza {
        /// From which node.
        node: NodeId,
        /// What was wrong.
        why: String,
    },
}
