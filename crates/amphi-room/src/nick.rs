//! Which nicks are possible (`spec/signaling.md` 3.3, P 11).

use crate::config::MucConfig;
use crate::error::RoomError;
use crate::occupant::Peer;

/// Characters of the local part that make the nick of an anonymous connection.
const OWN: usize = 8;

pub(crate) fn check(service: &MucConfig, peer: &Peer, nick: &str, admin: bool) -> Result<(), RoomError> {
    if !service.nick_rule {
        return Ok(());
    }
    let mut chars = nick.bytes();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphanumeric());
    if !first || !chars.all(|c| c.is_ascii_alphanumeric() || c == b'_') {
        return Err(RoomError::InvalidNick);
    }
    if nick == "focus" && !admin {
        return Err(RoomError::ReservedNick);
    }
    if service.anonymous_strict && peer.session.as_ref().is_some_and(|s| s.anonymous) {
        let own = peer.jid.local().and_then(|l| l.get(..OWN));
        if own != Some(nick) {
            return Err(RoomError::NotOwnNick);
        }
    }
    Ok(())
}
