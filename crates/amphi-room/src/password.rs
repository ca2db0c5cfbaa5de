//! The room's password (`spec/signaling.md` 3.8).

use amphi_stanza::{Stanza, ns};

use crate::config::MucConfig;
use crate::error::RoomError;
use crate::occupant::Peer;
use crate::room::Room;

/// The password in a join.
pub(crate) fn given(stanza: &Stanza) -> Option<String> {
    Some(stanza.child("x", ns::MUC)?.child("password", ns::MUC)?.text().into_owned())
}

impl Room {
    pub(crate) fn check_password(&self, service: &MucConfig, peer: &Peer, stanza: &Stanza) -> Result<(), RoomError> {
        let Some(wanted) = &self.settings.password else { return Ok(()) };
        if service.password_exempt.has(&peer.jid) || given(stanza).as_deref() == Some(wanted.as_str()) {
            return Ok(());
        }
        Err(RoomError::Password)
    }
}
