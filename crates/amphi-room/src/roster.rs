//! The occupants of a room, found by nick, by real address and in order of arrival.
//!
//! The audience is only ever looked up, never walked, except when the focus asks for all of it by joining.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use amphi_stanza::{Frame, Jid};
use foldhash::fast::RandomState;

use crate::occupant::{MucRole, Occupant};

/// Presence of somebody on stage, ready for any local receiver.
#[derive(Clone, Debug)]
struct Seen {
    nick: Arc<str>,
    frame: Arc<Frame>,
}

#[derive(Debug, Default)]
pub(crate) struct Roster {
    by_nick: HashMap<Arc<str>, Occupant, RandomState>,
    by_real: HashMap<Jid, Arc<str>, RandomState>,
    /// Everybody but the audience, in order: the focus first, then as they came.
    stage: BTreeMap<u64, Seen>,
    /// The frames of `stage`, for joiners; rebuilt when somebody on stage changes.
    frames: Option<Vec<Arc<Frame>>>,
    /// Occupants behind links.
    remote: BTreeMap<u64, Arc<str>>,
    focus: Option<Arc<str>>,
    next_seq: u64,
    visitors: usize,
    counted: usize,
    seated: usize,
    people: usize,
}

impl Roster {
    pub(crate) fn get(&self, nick: &str) -> Option<&Occupant> {
        self.by_nick.get(nick)
    }

    pub(crate) fn get_mut(&mut self, nick: &str) -> Option<&mut Occupant> {
        self.by_nick.get_mut(nick)
    }

    pub(crate) fn by_real(&self, real: &Jid) -> Option<&Occupant> {
        self.by_nick.get(self.by_real.get(real)?)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_nick.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_nick.is_empty()
    }

    /// People in the audience here.
    pub(crate) fn visitors(&self) -> usize {
        self.visitors
    }

    /// Everybody else, the focus included.
    pub(crate) fn on_stage(&self) -> usize {
        self.stage.len()
    }

    /// Those that count against the limit of occupants.
    pub(crate) fn counted(&self) -> usize {
        self.counted
    }

    /// Those that sit on seats.
    pub(crate) fn seated(&self) -> usize {
        self.seated
    }

    /// People on stage: neither administrators nor visitors.
    pub(crate) fn people(&self) -> usize {
        self.people
    }

    pub(crate) fn focus(&self) -> Option<&Occupant> {
        self.by_nick.get(self.focus.as_ref()?)
    }

    /// Everybody but the audience, in order.
    pub(crate) fn stage(&self) -> impl Iterator<Item = &Occupant> {
        self.stage.values().filter_map(|s| self.by_nick.get(&s.nick))
    }

    /// Everybody. Walks the audience.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Occupant> {
        self.by_nick.values()
    }

    /// Occupants behind links, in order.
    pub(crate) fn remote(&self) -> impl Iterator<Item = &Occupant> {
        self.remote.values().filter_map(|n| self.by_nick.get(n))
    }

    pub(crate) fn has_remote(&self) -> bool {
        !self.remote.is_empty()
    }

    /// A place in the order for somebody who enters.
    pub(crate) fn next_seq(&mut self, focus: bool) -> u64 {
        if focus {
            return 0;
        }
        self.next_seq += 1;
        self.next_seq
    }

    pub(crate) fn insert(&mut self, o: Occupant) {
        self.by_real.insert(o.peer.jid.clone(), o.nick.clone());
        if !o.peer.is_local() {
            self.remote.insert(o.seq, o.nick.clone());
        }
        if o.traits.focus {
            self.focus = Some(o.nick.clone());
        }
        self.visitors += usize::from(o.is_visitor());
        self.counted += usize::from(o.traits.counted);
        self.seated += usize::from(o.traits.seated);
        self.people += usize::from(is_person(&o));
        self.by_nick.insert(o.nick.clone(), o);
    }

    pub(crate) fn remove(&mut self, nick: &str) -> Option<Occupant> {
        let o = self.by_nick.remove(nick)?;
        self.by_real.remove(&o.peer.jid);
        if self.stage.remove(&o.seq).is_some() {
            self.frames = None;
        }
        if !o.peer.is_local() {
            self.remote.remove(&o.seq);
        }
        if o.traits.focus {
            self.focus = None;
        }
        self.visitors -= usize::from(o.is_visitor());
        self.counted -= usize::from(o.traits.counted);
        self.seated -= usize::from(o.traits.seated);
        self.people -= usize::from(is_person(&o));
        Some(o)
    }

    /// Changes the role. The frame of a new stage occupant must follow.
    pub(crate) fn set_role(&mut self, nick: &str, role: MucRole) {
        let Some(o) = self.by_nick.get_mut(nick) else { return };
        self.visitors -= usize::from(o.role == MucRole::Visitor);
        self.visitors += usize::from(role == MucRole::Visitor);
        self.people -= usize::from(is_person(o));
        o.role = role;
        self.people += usize::from(is_person(o));
        if role == MucRole::Visitor && self.stage.remove(&o.seq).is_some() {
            self.frames = None;
        }
    }

    /// Keeps the presence of somebody on stage for joiners.
    pub(crate) fn set_frame(&mut self, nick: &str, frame: Arc<Frame>) {
        let Some(o) = self.by_nick.get(nick) else { return };
        self.stage.insert(o.seq, Seen { nick: o.nick.clone(), frame });
        self.frames = None;
    }

    /// The stage's presences in order, for one joiner: shared bytes, one vector of handles.
    pub(crate) fn frames(&mut self) -> Vec<Arc<Frame>> {
        self.frames.get_or_insert_with(|| self.stage.values().map(|s| s.frame.clone()).collect()).clone()
    }
}

fn is_person(o: &Occupant) -> bool {
    !o.traits.admin && !o.is_visitor()
}
