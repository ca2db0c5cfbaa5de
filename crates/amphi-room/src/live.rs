//! What those who wait outside are told of a main room: whether it is attended and live (`spec/signaling.md` 4.11). It only
//! notices changes; who waits, and what live means, is decided elsewhere.

use amphi_stanza::BareJid;
use serde_json::Value;

use crate::hub::LiveState;
use crate::room::{Room, RoomKind};

/// What was read, and what was told.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// `metadata.visitors.live`; read when the metadata changes, since this is looked at after every stanza.
    said: Option<bool>,
    told: Option<LiveState>,
}

impl Room {
    /// The metadata key `visitors` has changed.
    pub(crate) fn read_live(&mut self) {
        self.live.said = self.metadata.get("visitors").and_then(|v| v.get("live")).and_then(Value::as_bool);
    }

    /// The room's address for clients and its state, if it has changed since the last call. A room that nobody attended has
    /// nothing to tell, so most breakout rooms and empty ones stay silent.
    pub(crate) fn news_for_waiting(&mut self) -> Option<(BareJid, Option<LiveState>)> {
        if self.kind != RoomKind::Main || self.health {
            return None;
        }
        if self.destroyed {
            return self.live.told.take().map(|_| (self.virt.clone(), None));
        }
        let state = LiveState { attended: self.roster.people() > 0, live: self.live.said };
        if self.live.told.unwrap_or_default() == state {
            return None;
        }
        self.live.told = Some(state);
        Some((self.virt.clone(), Some(state)))
    }
}
