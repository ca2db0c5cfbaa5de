//! How many occupants a room can have (`spec/signaling.md` 3.3, P 10).

use crate::config::{MucConfig, NodeConfig};
use crate::error::RoomError;
use crate::occupant::Peer;
use crate::room::{Room, RoomKind};

impl Room {
    /// Whether somebody counts against the limit.
    pub(crate) fn is_counted(&self, cfg: &NodeConfig, service: &MucConfig, peer: &Peer) -> bool {
        // Mirrored participants are limited where they are.
        (self.kind != RoomKind::Shadow || peer.is_local())
            && !peer.is_admin(cfg)
            && !service.max_occupants_exempt.has(&peer.jid)
    }
}

pub(crate) fn check(room: &Room, cfg: &NodeConfig, service: &MucConfig, peer: &Peer) -> Result<(), RoomError> {
    let Some(limit) = room.settings.max_occupants.or(service.max_occupants) else { return Ok(()) };
    if room.health || !room.is_counted(cfg, service, peer) || room.roster.counted() < limit as usize {
        return Ok(());
    }
    Err(RoomError::Full)
}
