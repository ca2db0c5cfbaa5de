//! Mirrored occupants: who is there, and who is not any more.

use std::time::Instant;

use amphi_stanza::{FullJid, Stanza};

use super::{Shadow, ShadowAction};
use crate::digest::{occupant_hash, presence_hash};

pub(super) struct Remote {
    pub(super) real: FullJid,
    hash: u64,
    /// Synchronisation in which it was last told.
    round: u64,
}

/// What the room does with a presence from the main node, after the actions that come with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteVerdict {
    /// A new occupant: run the join (it is never refused: the main room has admitted it).
    Join,
    /// A change of an occupant: broadcast.
    Update,
    /// Told again what was known: nothing to do.
    Unchanged,
    /// The occupant left: broadcast.
    Left,
    /// Not for this room: an error, a recorder, the leaving of somebody unknown.
    Ignore,
}

impl Shadow {
    /// A presence for `nick` in this room from the real address `real` on the main node. To be called on arrival, also
    /// while the room is locked.
    pub fn remote_presence(
        &mut self,
        now: Instant,
        nick: &str,
        real: &FullJid,
        presence: &Stanza,
    ) -> (RemoteVerdict, Vec<ShadowAction>) {
        let mut out = Vec::new();
        let verdict = match presence.ty().as_deref() {
            None => self.available(nick, real, presence, &mut out),
            Some("unavailable") if self.remotes.get(nick).is_some_and(|r| r.real == *real) => {
                self.drop_remote(nick);
                // The next one with this nick is moderator only if an update says so.
                self.moderators.remove(nick);
                self.stage_left(now);
                RemoteVerdict::Left
            }
            _ => RemoteVerdict::Ignore,
        };
        (verdict, out)
    }

    fn available(
        &mut self,
        nick: &str,
        real: &FullJid,
        presence: &Stanza,
        out: &mut Vec<ShadowAction>,
    ) -> RemoteVerdict {
        if self.config.recorder_prefixes.iter().any(|p| real.as_str().starts_with(p.as_str())) {
            return RemoteVerdict::Ignore;
        }
        let hash = presence_hash(presence);
        let verdict = match self.remotes.get(nick) {
            Some(r) if r.real == *real && r.hash == hash => RemoteVerdict::Unchanged,
            Some(r) if r.real == *real => RemoteVerdict::Update,
            Some(_) => {
                // Its leaving was lost.
                self.drop_remote(nick);
                out.push(ShadowAction::RemoveRemote { nick: nick.to_owned() });
                RemoteVerdict::Join
            }
            None => RemoteVerdict::Join,
        };
        self.no_stage_at = None;
        self.remotes.insert(nick.to_owned(), Remote { real: real.clone(), hash, round: self.round });
        self.by_real.insert(real.clone(), nick.to_owned());
        verdict
    }

    pub(super) fn drop_remote(&mut self, nick: &str) {
        if let Some(r) = self.remotes.remove(nick)
            && self.by_real.get(&r.real).is_some_and(|n| n == nick)
        {
            self.by_real.remove(&r.real);
        }
    }

    pub(super) fn stage_left(&mut self, now: Instant) {
        if self.remotes.is_empty() {
            self.no_stage_at.get_or_insert(now + self.config.without_stage);
        }
    }

    /// Whom the running synchronisation did not name is gone.
    pub(super) fn sweep(&mut self, now: Instant, out: &mut Vec<ShadowAction>) {
        let told = self.round;
        let gone: Vec<String> = self.remotes.iter().filter(|(_, r)| r.round != told).map(|(n, _)| n.clone()).collect();
        if gone.is_empty() {
            return;
        }
        for nick in gone {
            self.drop_remote(&nick);
            out.push(ShadowAction::RemoveRemote { nick });
        }
        self.stage_left(now);
    }

    /// Digest of what is mirrored, to be compared with the main room's.
    pub fn digest(&self) -> u64 {
        self.remotes.iter().fold(0, |d, (nick, r)| {
            d.wrapping_add(occupant_hash(nick, r.real.as_str(), self.moderators.contains(nick), r.hash))
        })
    }

    /// Nick of the mirrored occupant with this real address.
    pub fn nick_of(&self, real: &FullJid) -> Option<&str> {
        self.by_real.get(real).map(String::as_str)
    }
}
