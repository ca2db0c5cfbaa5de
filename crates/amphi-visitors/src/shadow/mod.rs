//! The node's side: what makes a room of a visitor node the shadow of a main room (`spec/signaling.md` 4.5 to 4.10).
//!
//! One [`Shadow`] per room of the node; the room asks it about joins, gives it what comes from the main node and from its
//! visitors, and does the [`ShadowAction`]s in order. It keeps no occupants' connections and broadcasts nothing itself.

mod chat;
mod hands;
mod link;
mod remote;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use amphi_stanza::{BareJid, Condition, ErrorType, FullJid, Stanza, StanzaError, ns};

use crate::budget::{AudienceBudget, BudgetLimits};
use crate::wire::{Line, Payload, Settings, SharedFile, Sync, TranscriptionLanguages, VisitorsIq, link_id, set};

use hands::Visitor;
use remote::Remote;
pub use remote::RemoteVerdict;

/// Addresses of a shadow room, of its node and of its main node (`spec/signaling.md` 1.2, 1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowAddresses {
    /// The room in real form: `[acme]demo@conference.v1.meet.jitsi`.
    pub room: BareJid,
    /// The node's host, `v1.meet.jitsi`.
    pub host: String,
    /// The main virtual host, `meet.example`.
    pub main_host: String,
    /// The main MUC host, `conference.meet.example`.
    pub main_muc: String,
    /// The main visitors component, `visitors.meet.example`.
    pub component: String,
}

/// Bounds and switches of the node's side.
#[derive(Clone, Debug, PartialEq)]
pub struct ShadowConfig {
    /// How long the room outlives its last visitor. Default 15 s.
    pub without_visitors: Duration,
    /// How long the room outlives the last main participant, who may only be reconnecting. The reference does not wait.
    /// Default 5 s.
    pub without_stage: Duration,
    /// Visitors' messages kept while the main node is out of reach; more are refused. Default 100.
    pub held: usize,
    /// Bytes of them. Default 256 KiB.
    pub held_bytes: usize,
    /// Raised hands and leavings kept for the time when the main node is reachable again. Default 1000.
    pub held_hands: usize,
    /// Least time between two reports about one visitor's hand. Default 1 s.
    pub hand_every: Duration,
    /// Least time between two requests to be told everything again. Default 30 s.
    pub resync_every: Duration,
    /// Least time between two reports of transcription languages. Default 1 s.
    pub languages_every: Duration,
    /// Languages reported to the main node. Default 64.
    pub languages: usize,
    /// Language of whoever names none (`transcriptions_default_language`). Default `en`.
    pub default_language: String,
    /// A token with a user id lets its holder promote itself (`visitors_auto_promoted_with_token`). Default true.
    pub promote_with_token: bool,
    /// Real addresses that begin like this are recorders: never mirrored. Defaults as in `spec/signaling.md` 1.5.
    pub recorder_prefixes: Vec<String>,
    /// Chat of the audience.
    pub budget: BudgetLimits,
}

impl Default for ShadowConfig {
    fn default() -> Self {
        Self {
            without_visitors: Duration::from_secs(15),
            without_stage: Duration::from_secs(5),
            held: 100,
            held_bytes: 256 << 10,
            held_hands: 1000,
            hand_every: Duration::from_secs(1),
            resync_every: Duration::from_secs(30),
            languages_every: Duration::from_secs(1),
            languages: 64,
            default_language: "en".to_owned(),
            promote_with_token: true,
            recorder_prefixes: ["recorder@recorder.", "jibria@recorder.", "jibrib@recorder."].map(Into::into).into(),
            budget: BudgetLimits::default(),
        }
    }
}

/// Role that the room gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowRole {
    /// Local, of the audience.
    Visitor,
    /// Mirrored from the stage.
    Participant,
    /// Mirrored from the stage, with affiliation owner.
    Moderator,
}

/// What a visitor's token says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VisitorToken {
    /// `context.user.id`.
    pub user_id: Option<String>,
    /// `context.group`.
    pub group_id: Option<String>,
    /// `context.user.moderator`.
    pub moderator: bool,
    /// The tenant of the URL is not the token's.
    pub tenant_mismatch: bool,
}

/// One thing to do, in order.
#[derive(Clone, Debug)]
pub enum ShadowAction {
    /// Route by `to`: to the main node, or to a visitor's connection.
    Send(Stanza),
    /// The room is open: run the queued joins, in order of arrival.
    Unlock,
    /// Adopt password, meeting id, time of creation, access without token.
    Settings(Settings),
    /// Shared files changed: tell visitors.
    Files {
        /// New ones.
        added: Vec<SharedFile>,
        /// Ids of those that are gone.
        removed: Vec<String>,
    },
    /// The polls are now these (`old-polls` JSON); `None`: there are none.
    Polls(Option<String>),
    /// A mirrored occupant's role changed: owner and moderator, or participant without affiliation.
    SetModerator {
        /// Its nick.
        nick: String,
        /// Whether it is moderator.
        moderator: bool,
    },
    /// A mirrored occupant is gone although nobody said so: treat it as left.
    RemoveRemote {
        /// Its nick.
        nick: String,
    },
    /// Group chat for all local occupants; `from` is set, `to` is not. It goes into the room's history as any other.
    Deliver(Stanza),
    /// A private message for one visitor; addresses are set.
    DeliverTo {
        /// Real address.
        visitor: FullJid,
        /// The message.
        stanza: Stanza,
    },
    /// Append to the room's history; `from` is set, `to` is not, the delay element is there.
    History(Stanza),
    /// Destroy the room.
    Destroy {
        /// Why, for people.
        reason: &'static str,
    },
}

/// What makes a room a shadow.
pub struct Shadow {
    addr: ShadowAddresses,
    main_room: Option<BareJid>,
    config: ShadowConfig,
    vpaas: bool,
    connected: bool,
    ended: bool,
    settings: Settings,
    lobby: bool,
    moderators: BTreeSet<String>,
    files: Vec<SharedFile>,
    polls: Option<String>,
    remotes: BTreeMap<String, Remote>,
    by_real: HashMap<FullJid, String>,
    opened: Option<Sync>,
    /// Counts synchronisations here: the numbers in marks begin anew with every life of the main room.
    round: u64,
    epoch: Option<String>,
    line: Option<Line>,
    visitors: HashMap<FullJid, Visitor>,
    visitor_nicks: HashMap<String, FullJid>,
    languages: BTreeMap<String, u64>,
    told_languages: TranscriptionLanguages,
    languages_at: Option<Instant>,
    languages_free: Option<Instant>,
    budget: AudienceBudget,
    main_down: bool,
    held: VecDeque<Stanza>,
    held_bytes: usize,
    lowered: VecDeque<String>,
    hands_missed: bool,
    hands_due: BTreeSet<(Instant, FullJid)>,
    no_visitors_at: Option<Instant>,
    no_stage_at: Option<Instant>,
    resync_free: Option<Instant>,
    resync_at: Option<Instant>,
    ids: u64,
}

impl Shadow {
    /// A locked room, as the focus creates it.
    pub fn new(config: ShadowConfig, addr: ShadowAddresses) -> Self {
        let main_room = BareJid::new(addr.room.node(), &addr.main_muc).ok();
        Self {
            vpaas: addr.room.node().starts_with("[vpaas-magic-cookie-"),
            main_room,
            addr,
            connected: false,
            ended: false,
            settings: Settings::default(),
            lobby: false,
            moderators: BTreeSet::new(),
            files: Vec::new(),
            polls: None,
            remotes: BTreeMap::new(),
            by_real: HashMap::new(),
            opened: None,
            round: 0,
            epoch: None,
            line: None,
            visitors: HashMap::new(),
            visitor_nicks: HashMap::new(),
            languages: BTreeMap::new(),
            told_languages: TranscriptionLanguages::default(),
            languages_at: None,
            languages_free: None,
            budget: AudienceBudget::new(config.budget),
            config,
            main_down: false,
            held: VecDeque::new(),
            held_bytes: 0,
            lowered: VecDeque::new(),
            hands_missed: false,
            hands_due: BTreeSet::new(),
            no_visitors_at: None,
            no_stage_at: None,
            resync_free: None,
            resync_at: None,
            ids: 0,
        }
    }

    /// Whether joins have to wait for `connect`. The focus does not.
    pub fn locked(&self) -> bool {
        !self.connected
    }

    /// What the main room's properties are.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Shared files, as last told.
    pub fn files(&self) -> &[SharedFile] {
        &self.files
    }

    /// The polls, as last told.
    pub fn polls(&self) -> Option<&str> {
        self.polls.as_deref()
    }

    /// Number of visitors.
    pub fn visitors(&self) -> usize {
        self.visitors.len()
    }

    /// Mirrored occupants: nick and real address, in order of nicks.
    pub fn remotes(&self) -> impl Iterator<Item = (&str, &FullJid)> {
        self.remotes.iter().map(|(n, r)| (n.as_str(), &r.real))
    }

    /// Whether somebody local may enter as a visitor.
    ///
    /// # Errors
    /// While the main room has a lobby (`spec/signaling.md` 4.5).
    pub fn admit_visitor(&self) -> Result<ShadowRole, StanzaError> {
        if self.lobby {
            return Err(StanzaError::new(ErrorType::Cancel, Condition::NotAllowed)
                .text("Visitors not allowed while lobby is on!")
                .app("no-visitors-lobby", ns::VISITORS));
        }
        Ok(ShadowRole::Visitor)
    }

    /// Role of the mirrored occupant called `nick`.
    pub fn role_of_remote(&self, nick: &str) -> ShadowRole {
        if self.moderators.contains(nick) { ShadowRole::Moderator } else { ShadowRole::Participant }
    }

    /// When [`Shadow::tick`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let languages = self.languages_at.filter(|_| !self.main_down);
        let resync = self.resync_at.filter(|_| !self.main_down);
        let hands = self.hands_due.first().map(|(t, _)| *t).filter(|_| !self.main_down);
        [self.no_visitors_at, self.no_stage_at, languages, resync, hands].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) -> Vec<ShadowAction> {
        let mut out = Vec::new();
        let due = |t: Option<Instant>| t.is_some_and(|t| t <= now);
        if due(self.no_stage_at) {
            self.end("Conference ended.", &mut out);
            return out;
        }
        if due(self.no_visitors_at) {
            self.end("No visitors.", &mut out);
            return out;
        }
        if !self.main_down {
            self.tell_due_hands(now, &mut out);
        }
        if due(self.languages_at) && !self.main_down {
            self.languages_at = None;
            self.tell_languages(now, &mut out);
        }
        if due(self.resync_at) && !self.main_down {
            self.resync_at = None;
            self.ask_resync(now, &mut out);
        }
        out
    }

    fn end(&mut self, reason: &'static str, out: &mut Vec<ShadowAction>) {
        if !std::mem::replace(&mut self.ended, true) {
            out.push(ShadowAction::Destroy { reason });
        }
    }

    fn iq_to_component(&mut self, payload: Payload) -> Option<Stanza> {
        self.ids += 1;
        let room = self.main_room.clone()?;
        let id = link_id(self.ids, &self.addr.room);
        Some(set(&self.addr.host, &self.addr.component, &id, &VisitorsIq::new(room, payload)))
    }

    fn not_here() -> StanzaError {
        StanzaError::new(ErrorType::Cancel, Condition::ItemNotFound).text("Nobody here has this address")
    }
}
