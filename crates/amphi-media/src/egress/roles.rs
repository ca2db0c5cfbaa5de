//! What each SSRC towards one receiver is for. Slots, lines and retransmissions number their packets independently of each other, so an SSRC that
//! had one role must never get another one under the same keys: numbers would come again (`spec/bridge.md` 9.6).

use foldhash::{HashMap, HashMapExt};

/// SSRCs that one receiver may be sent, in the course of time; what comes after is not sent. Relays need one or two for each encoding.
const MAX_SSRCS: usize = 16_384;

/// What an SSRC is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Slot,
    /// With its place among lines.
    Line(u32),
    Retransmissions,
}

/// Of one receiver.
#[derive(Clone, Debug)]
pub(super) struct Roles(HashMap<u32, Role>);

impl Default for Roles {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl Roles {
    /// Whether an SSRC may be used like this: it has no other role, and there is room if it is new.
    pub(super) fn take(&mut self, ssrc: u32, role: Role) -> bool {
        match self.0.get(&ssrc) {
            Some(before) => *before == role,
            None if self.0.len() < MAX_SSRCS => self.0.insert(ssrc, role).is_none(),
            None => false,
        }
    }

    /// The place of a line.
    pub(super) fn line(&self, ssrc: u32) -> Option<usize> {
        match self.0.get(&ssrc)? {
            Role::Line(at) => Some(*at as usize),
            _ => None,
        }
    }
}
