//! Who of the audience may come onto the stage: raised hands, one-time names, and the gate at the main room's door
//! (`spec/signaling.md` 4.9). Owned by [`crate::MainLinks`], which writes what is decided here.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use amphi_stanza::{Condition, ErrorType, FullJid, StanzaError, ns};

use crate::wire::PromotionRequest;

/// Bounds and switches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromotionLimits {
    /// Raised hands that wait for an answer, per room; more are refused. Default 500.
    pub pending: usize,
    /// One-time names given out or in use, per room. Default 1000.
    pub names: usize,
    /// Visitors at the head of the line that are told their places; those behind them wait without a number. Default 99.
    pub places: usize,
    /// Smallest time between two times at which places are told. Default 1 s.
    pub places_every: Duration,
    /// How long a name may stay unused. Default 60 s.
    pub name_ttl: Duration,
    /// Bytes of a display name shown to moderators; longer ones are cut. Default 200.
    pub nick_bytes: usize,
    /// Every raised hand is approved at once (`auto_allow_visitor_promotion`). Default false.
    pub auto_allow: bool,
    /// Hosts whose users are never held up (`visitors_ignore_list`): recorders and the like. Default empty.
    pub ignore_hosts: Vec<String>,
}

impl Default for PromotionLimits {
    fn default() -> Self {
        Self {
            pending: 500,
            names: 1000,
            places: 99,
            places_every: Duration::from_secs(1),
            name_ttl: Duration::from_secs(60),
            nick_bytes: 200,
            auto_allow: false,
            ignore_hosts: Vec::new(),
        }
    }
}

/// What the room's metadata and preset say; replaced whole when it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomPolicy {
    /// `metadata.visitors.autoPromote`.
    pub auto_promote: bool,
    /// `metadata.visitors.live`.
    pub live: Option<bool>,
    /// User and group ids that may promote themselves with a token; `None`: the room has no such list.
    pub moderators: Option<BTreeSet<String>>,
    /// User and group ids allowed on stage; `None`: the room has no such list.
    pub participants: Option<BTreeSet<String>>,
    /// Every user with a token counts as listed moderator.
    pub all_moderators: bool,
    /// The room has a lobby.
    pub members_only: bool,
}

/// Somebody who wants to enter the main room.
#[derive(Clone, Copy, Debug)]
pub struct Applicant<'a> {
    /// Real address of the session.
    pub session: &'a FullJid,
    /// The address that this session continues, if the host has proof (`previd`): a name in use goes over to it.
    pub previous: Option<&'a FullJid>,
    /// `context.user.id`.
    pub user_id: Option<&'a str>,
    /// `context.group`.
    pub group_id: Option<&'a str>,
    /// `context.user.role` is `visitor`.
    pub visitor_role: bool,
    /// The focus and other administrators are not held up.
    pub admin: bool,
}

/// The gate's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Goes on with the join as it is.
    Pass,
    /// Comes with a valid name: the room's password is put into the join. `mark`: tell everybody through
    /// `metadata.visitors.promoted`.
    Promoted {
        /// Whether to set the metadata.
        mark: bool,
    },
    /// Stays outside.
    Refuse(Refusal),
}

/// Why somebody stays outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The audience is in use, and this user was not promoted.
    #[error("Visitor needs to be allowed by a moderator")]
    NotPromoted,
    /// The token is one of a visitor, and there is no stage yet.
    #[error("No main participants yet")]
    NoMainParticipants,
    /// Only listed participants may open this room.
    #[error("The room is not live yet")]
    NotLive,
}

impl Refusal {
    /// What the client gets.
    pub fn stanza_error(self) -> StanzaError {
        let app = match self {
            Self::NotPromoted => "promotion-not-allowed",
            Self::NoMainParticipants => "no-main-participants",
            Self::NotLive => "not-live-room",
        };
        StanzaError::new(ErrorType::Cancel, Condition::NotAllowed).text(self.to_string()).app(app, ns::VISITORS)
    }
}

/// What became of a promotion request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// Approved at once, under this name.
    Approved(String),
    /// Waits for a moderator, who has to be told.
    Raised,
    /// No longer waits; moderators have to be told. The display name it waited under.
    Lowered(Option<String>),
    /// Nothing changed.
    Same,
    /// Too many wait already.
    Full,
}

/// A raised hand that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Real address of the visitor.
    pub visitor: String,
    /// Its node's host, `v1.meet.jitsi`.
    pub node: String,
    /// Display name.
    pub nick: Option<String>,
}

/// A decision about a raised hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose hand it was.
    pub pending: Pending,
    /// The name that goes with the answer; it only opens the door when `allow`.
    pub username: String,
    /// The decision.
    pub allow: bool,
}

enum Name {
    /// Given out, not used yet.
    Issued { until: Instant, visitor: String },
    /// Used by a session, which keeps it.
    Held(FullJid),
    /// That session has ended; for a while, one that continues it gets the name.
    Left { session: FullJid, until: Instant },
}

/// Raised hands and names of one main room.
pub struct Promotions {
    limits: PromotionLimits,
    vpaas: bool,
    active: bool,
    policy: RoomPolicy,
    pending: VecDeque<Pending>,
    names: HashMap<String, Name>,
}

impl Promotions {
    /// Nobody waits. `vpaas`: the room belongs to a hosted tenant (`spec/signaling.md` 1.5).
    pub fn new(limits: PromotionLimits, vpaas: bool) -> Self {
        Self {
            limits,
            vpaas,
            active: false,
            policy: RoomPolicy::default(),
            pending: VecDeque::new(),
            names: HashMap::new(),
        }
    }

    /// Replaces what metadata and preset say.
    pub fn set_policy(&mut self, policy: RoomPolicy) {
        self.policy = policy;
    }

    /// Whether the audience is in use.
    pub fn active(&self) -> bool {
        self.active
    }

    /// A node was connected.
    pub fn activate(&mut self) {
        self.active = true;
    }

    /// The last node was disconnected: the maps go. Names that sessions on stage hold stay with them.
    pub fn deactivate(&mut self) {
        self.active = false;
        self.pending.clear();
        self.names.retain(|_, n| !matches!(n, Name::Issued { .. }));
    }

    /// Hands that wait, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = &Pending> {
        self.pending.iter()
    }

    fn listed(&self, list: &Option<BTreeSet<String>>, user: Option<&str>, group: Option<&str>) -> bool {
        let Some(list) = list else { return false };
        user.is_some_and(|u| list.contains(u)) || group.is_some_and(|g| list.contains(g))
    }

    fn auto(&self, r: &PromotionRequest) -> bool {
        self.limits.auto_allow
            || self.policy.auto_promote
            || (r.force
                && (self.vpaas
                    || self.policy.moderators.is_none()
                    || self.policy.all_moderators
                    || self.listed(&self.policy.moderators, r.user_id.as_deref(), r.group_id.as_deref())))
    }

    fn expire(&mut self, now: Instant) {
        self.names.retain(|_, n| match n {
            Name::Issued { until, .. } | Name::Left { until, .. } => *until > now,
            Name::Held(_) => true,
        });
    }

    /// Gives out a name; `false` when there are too many. One that the visitor has not used opens nothing any more.
    fn issue(&mut self, now: Instant, visitor: &str, name: &str) -> bool {
        self.expire(now);
        self.names.retain(|_, n| !matches!(n, Name::Issued { visitor: v, .. } if v == visitor));
        if self.names.len() >= self.limits.names {
            return false;
        }
        self.names
            .insert(name.to_owned(), Name::Issued { until: now + self.limits.name_ttl, visitor: visitor.to_owned() });
        true
    }

    /// A visitor of `node` raised or lowered its hand. `name` makes a fresh one-time name.
    pub fn request(
        &mut self,
        now: Instant,
        node: &str,
        r: PromotionRequest,
        name: impl FnOnce() -> String,
    ) -> Requested {
        let at = self.pending.iter().position(|p| p.visitor == r.jid && p.node == node);
        if !r.raised() {
            return match at.and_then(|i| self.pending.remove(i)) {
                Some(p) => Requested::Lowered(p.nick),
                None => Requested::Same,
            };
        }
        if self.auto(&r) {
            if let Some(i) = at {
                self.pending.remove(i);
            }
            let name = name();
            return if self.issue(now, &r.jid, &name) { Requested::Approved(name) } else { Requested::Full };
        }
        let nick = r.nick.map(|n| cut(n, self.limits.nick_bytes));
        match at {
            Some(i) if self.pending[i].nick == nick => Requested::Same,
            Some(i) => {
                self.pending[i].nick = nick;
                Requested::Raised
            }
            None if self.pending.len() >= self.limits.pending => Requested::Full,
            None => {
                self.pending.push_back(Pending { visitor: r.jid, node: node.to_owned(), nick });
                Requested::Raised
            }
        }
    }

    /// A moderator decides about `visitor`. `None` if nobody waits under this id, or no more names can be given out.
    /// A denied visitor's name opens nothing.
    pub fn answer(
        &mut self,
        now: Instant,
        visitor: &str,
        allow: bool,
        name: impl FnOnce() -> String,
    ) -> Option<Answer> {
        let at = self.pending.iter().position(|p| p.visitor == visitor)?;
        let username = name();
        if allow && !self.issue(now, visitor, &username) {
            return None;
        }
        let pending = self.pending.remove(at)?;
        Some(Answer { pending, username, allow })
    }

    /// An operator invites a visitor, whether its hand is up or not. `None` while the audience is not in use, or when no more
    /// names can be given out.
    pub fn invite(&mut self, now: Instant, visitor: &str, node: &str, name: impl FnOnce() -> String) -> Option<Answer> {
        let username = name();
        if !self.active || !self.issue(now, visitor, &username) {
            return None;
        }
        let at = self.pending.iter().position(|p| p.visitor == visitor && p.node == node);
        let pending = at.and_then(|i| self.pending.remove(i)).unwrap_or_else(|| Pending {
            visitor: visitor.to_owned(),
            node: node.to_owned(),
            nick: None,
        });
        Some(Answer { pending, username, allow: true })
    }

    /// Somebody on stage moves between main and breakout room and may come back. Such a place does not depend on a node.
    pub fn expect_back(&mut self, now: Instant, session: &FullJid) {
        if let Some(local) = session.local()
            && (self.names.len() < self.limits.names || self.names.contains_key(local))
        {
            self.expire(now);
            self.names.insert(local.to_owned(), Name::Held(session.clone()));
        }
    }

    /// A node is lost or disconnected: its visitors no longer wait. Returns them, so that moderators are told.
    pub fn node_gone(&mut self, node: &str) -> Vec<Pending> {
        let (gone, kept) = std::mem::take(&mut self.pending).into_iter().partition(|p| p.node == node);
        self.pending = kept;
        gone.into()
    }

    /// A session has ended. What it held opens nothing any more but for a session that continues it, if that comes soon.
    pub fn session_gone(&mut self, now: Instant, session: &FullJid) {
        self.expire(now);
        if let Some(local) = session.local()
            && matches!(self.names.get(local), Some(Name::Held(s)) if s == session)
        {
            let left = Name::Left { session: session.clone(), until: now + self.limits.name_ttl };
            self.names.insert(local.to_owned(), left);
        }
    }

    /// Uses the name that the session's local part is, if it is one.
    fn redeem(&mut self, now: Instant, a: &Applicant<'_>) -> bool {
        self.expire(now);
        let Some(local) = a.session.local() else { return false };
        match self.names.get_mut(local) {
            None => false,
            Some(Name::Held(by)) if by == a.session => true,
            Some(name @ (Name::Held(_) | Name::Left { .. })) => {
                let (Name::Held(by) | Name::Left { session: by, .. }) = &*name else { return false };
                let continued = a.previous.is_some_and(|p| p == by);
                if continued {
                    *name = Name::Held(a.session.clone());
                }
                continued
            }
            Some(name) => {
                *name = Name::Held(a.session.clone());
                true
            }
        }
    }

    /// Decides about a join to the main room (`spec/signaling.md` 4.9, "Return admission"). A name is used up by it: no
    /// other session enters with it, the same one may enter again.
    pub fn admission(&mut self, now: Instant, a: &Applicant<'_>) -> Admission {
        if a.admin {
            return Admission::Pass;
        }
        let promoted = self.redeem(now, a);
        let pass = if promoted { Admission::Promoted { mark: false } } else { Admission::Pass };
        let p = &self.policy;
        if self.limits.auto_allow
            || (p.auto_promote && p.live != Some(false))
            || self.limits.ignore_hosts.iter().any(|h| h == a.session.domain())
            || self.listed(&p.moderators, a.user_id, a.group_id)
            || self.listed(&p.participants, a.user_id, a.group_id)
        {
            return pass;
        }
        if self.active {
            return if promoted { Admission::Promoted { mark: true } } else { Admission::Refuse(Refusal::NotPromoted) };
        }
        if self.vpaas && a.visitor_role {
            return Admission::Refuse(Refusal::NoMainParticipants);
        }
        if p.participants.is_some() && !p.members_only {
            return Admission::Refuse(Refusal::NotLive);
        }
        pass
    }
}

fn cut(mut s: String, most: usize) -> String {
    if s.len() > most {
        let end = (0..=most).rev().find(|i| s.is_char_boundary(*i)).unwrap_or(0);
        s.truncate(end);
    }
    s
}
