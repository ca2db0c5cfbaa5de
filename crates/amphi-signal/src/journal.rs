//! What happened, for operators: a bounded log of events, another of where conference requests went, and a live stream of both.
//! Whoever reads the stream too slowly loses its oldest entries and is told so; nobody who writes ever waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use amphi_focus::{Decision, Place};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast;

/// Bounds of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalLimits {
    /// Events that are kept. Default 2000.
    pub events: usize,
    /// Decisions that are kept. Default 10,000.
    pub decisions: usize,
    /// Entries that a reader of the stream may be behind. Default 4096.
    pub behind: usize,
}

impl Default for JournalLimits {
    fn default() -> Self {
        Self { events: 2000, decisions: 10_000, behind: 4096 }
    }
}

/// What kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A conference started.
    RoomCreated,
    /// A conference ended.
    RoomEnded,
    /// Somebody came on stage.
    Joined,
    /// Somebody left the stage.
    Left,
    /// Somebody came into the audience.
    VisitorJoined,
    /// Somebody left the audience.
    VisitorLeft,
    /// A visitor was let onto the stage.
    Promoted,
    /// A visitor node can be used.
    NodeUp,
    /// A visitor node cannot be used.
    NodeDown,
    /// A shadow room takes visitors.
    NodeLinked,
    /// A shadow room is gone.
    NodeUnlinked,
    /// A bridge is there.
    BridgeUp,
    /// A bridge is gone, or failed a conference.
    BridgeDown,
    /// An operator did something.
    Operator,
    /// Something went wrong on the way.
    Trouble,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 15] = [
        Self::RoomCreated,
        Self::RoomEnded,
        Self::Joined,
        Self::Left,
        Self::VisitorJoined,
        Self::VisitorLeft,
        Self::Promoted,
        Self::NodeUp,
        Self::NodeDown,
        Self::NodeLinked,
        Self::NodeUnlinked,
        Self::BridgeUp,
        Self::BridgeDown,
        Self::Operator,
        Self::Trouble,
    ];

    /// As written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoomCreated => "room-created",
            Self::RoomEnded => "room-ended",
            Self::Joined => "joined",
            Self::Left => "left",
            Self::VisitorJoined => "visitor-joined",
            Self::VisitorLeft => "visitor-left",
            Self::Promoted => "promoted",
            Self::NodeUp => "node-up",
            Self::NodeDown => "node-down",
            Self::NodeLinked => "node-linked",
            Self::NodeUnlinked => "node-unlinked",
            Self::BridgeUp => "bridge-up",
            Self::BridgeDown => "bridge-down",
            Self::Operator => "operator",
            Self::Trouble => "trouble",
        }
    }

    /// Reads it.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == name)
    }
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Counts up from 1 while the process lives.
    pub id: u64,
    /// Milliseconds since the epoch.
    pub at: u64,
    /// What happened.
    pub kind: Kind,
    /// In words.
    pub text: String,
    /// The room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// The node or bridge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
}

/// Where a conference request went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DecisionEntry {
    /// Counts up from 1 while the process lives.
    pub id: u64,
    /// Milliseconds since the epoch.
    pub at: u64,
    /// The main room.
    pub room: String,
    /// `stage`, `audience`, `wait` or `refused`.
    pub place: &'static str,
    /// Why, in words.
    pub why: &'static str,
    /// The visitor node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The user that its token names, unverified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Address it asked from, over XMPP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jid: Option<String>,
    /// Network address, over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

#[derive(Debug, Default)]
struct Kept {
    next: u64,
    events: VecDeque<Arc<Entry>>,
    next_decision: u64,
    decisions: VecDeque<Arc<DecisionEntry>>,
}

/// The journal of a process.
#[derive(Debug)]
pub struct Journal {
    limits: JournalLimits,
    kept: Mutex<Kept>,
    stream: broadcast::Sender<Arc<Entry>>,
}

/// An event before it has a number and a time.
#[derive(Clone, Debug)]
pub struct Draft {
    kind: Kind,
    text: String,
    room: Option<String>,
    node: Option<String>,
    endpoint: Option<String>,
}

impl Draft {
    /// Something that happened, in words.
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), room: None, node: None, endpoint: None }
    }

    /// In this room.
    #[must_use]
    pub fn room(self, room: impl ToString) -> Self {
        Self { room: Some(room.to_string()), ..self }
    }

    /// At this node or bridge.
    #[must_use]
    pub fn node(self, node: impl ToString) -> Self {
        Self { node: Some(node.to_string()), ..self }
    }

    /// By or to this endpoint.
    #[must_use]
    pub fn endpoint(self, endpoint: impl Into<String>) -> Self {
        Self { endpoint: Some(endpoint.into()), ..self }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

impl Journal {
    /// An empty one.
    pub fn new(limits: JournalLimits) -> Self {
        let (stream, _) = broadcast::channel(limits.behind.max(16));
        Self { limits, kept: Mutex::default(), stream }
    }

    /// Whether anybody reads along.
    pub fn is_watched(&self) -> bool {
        self.stream.receiver_count() > 0
    }

    /// Notes something.
    pub fn note(&self, d: Draft) {
        let mut kept = self.kept.lock();
        kept.next += 1;
        let Draft { kind, text, room, node, endpoint } = d;
        let entry = Arc::new(Entry { id: kept.next, at: now(), kind, text, room, node, endpoint });
        // Thousands of visitors would push everything else out.
        if !matches!(kind, Kind::VisitorJoined | Kind::VisitorLeft) {
            if kept.events.len() >= self.limits.events {
                kept.events.pop_front();
            }
            kept.events.push_back(entry.clone());
        }
        // Under the lock, so that the stream is in order.
        let _ = self.stream.send(entry);
    }

    pub(crate) fn decided(&self, d: &Decision) {
        let mut kept = self.kept.lock();
        kept.next_decision += 1;
        let entry = DecisionEntry {
            id: kept.next_decision,
            at: now(),
            room: d.room.to_string(),
            place: match d.place {
                Place::Stage => "stage",
                Place::Audience => "audience",
                Place::Wait => "wait",
                Place::Refused => "refused",
            },
            why: d.why,
            node: d.vnode.as_deref().map(str::to_owned),
            machine: d.machine.clone(),
            user: d.user.clone(),
            jid: d.from.clone(),
            peer: d.peer.map(|p| p.to_string()),
        };
        if kept.decisions.len() >= self.limits.decisions {
            kept.decisions.pop_front();
        }
        kept.decisions.push_back(Arc::new(entry));
    }

    /// Events after number `after`, the newest `limit` of them that `wanted` takes, oldest first.
    pub fn events(&self, after: u64, limit: usize, wanted: impl Fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        let kept = self.kept.lock();
        let newest = kept.events.iter().rev().take_while(|e| e.id > after).filter(|e| wanted(e)).take(limit);
        let mut all: Vec<_> = newest.cloned().collect();
        all.reverse();
        all
    }

    /// Decisions, newest first.
    pub fn decisions(&self, limit: usize, wanted: impl Fn(&DecisionEntry) -> bool) -> Vec<Arc<DecisionEntry>> {
        let kept = self.kept.lock();
        kept.decisions.iter().rev().filter(|d| wanted(d)).take(limit).cloned().collect()
    }

    /// Events from now on.
    pub fn follow(&self) -> broadcast::Receiver<Arc<Entry>> {
        self.stream.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_bounded_and_keeps_the_newest() {
        let j = Journal::new(JournalLimits { events: 3, ..JournalLimits::default() });
        for n in 0..5 {
            j.note(Draft::new(Kind::Joined, n.to_string()));
        }
        j.note(Draft::new(Kind::VisitorJoined, "v"));
        let texts =
            |after, limit| -> Vec<String> { j.events(after, limit, |_| true).iter().map(|e| e.text.clone()).collect() };
        assert_eq!(texts(0, 10), ["2", "3", "4"]);
        assert_eq!(texts(4, 10), ["4"]);
        assert_eq!(texts(0, 2), ["3", "4"]);
    }

    #[test]
    fn names_are_the_same_in_json_and_in_the_configuration() {
        for k in Kind::ALL {
            assert_eq!(serde_json::to_value(k).unwrap(), k.as_str());
            assert_eq!(Kind::parse(k.as_str()), Some(k));
        }
        assert_eq!(Kind::parse("no-such"), None);
    }

    #[test]
    fn a_reader_sees_what_comes_after_it() {
        let j = Journal::new(JournalLimits::default());
        j.note(Draft::new(Kind::NodeUp, "before"));
        let mut r = j.follow();
        j.note(Draft::new(Kind::NodeUp, "after").node("v1"));
        let e = r.try_recv().unwrap();
        assert_eq!((e.text.as_str(), e.node.as_deref(), e.id), ("after", Some("v1"), 2));
        assert!(r.try_recv().is_err());
    }
}
