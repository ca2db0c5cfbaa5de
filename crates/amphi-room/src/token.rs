//! What a token allows: which rooms, and which affiliation (`spec/signaling.md` 2.5, 3.5.2, 3.6).

use amphi_stanza::{BareJid, XmlWriter};

use crate::address::split_tenant;
use crate::config::{MucConfig, NodeConfig, TokenPolicy};
use crate::error::RoomError;
use crate::lua_pattern;
use crate::occupant::{Affiliation, Peer};
use crate::{Claims, Session};

fn deny(code: &'static str, text: &str) -> RoomError {
    RoomError::Token { code, text: text.to_owned() }
}

/// The room check, before creating and before joining.
pub(crate) fn verify_room(
    cfg: &NodeConfig,
    service: &MucConfig,
    peer: &Peer,
    room: &BareJid,
    allow_unauthenticated: Option<bool>,
) -> Result<(), RoomError> {
    let Some(policy) = &service.tokens else { return Ok(()) };
    // What comes over a link has been checked there.
    let Some(session) = &peer.session else { return Ok(()) };
    if peer.is_admin(cfg) || policy.exempt.has(&peer.jid) {
        return Ok(());
    }
    let Some(claims) = &session.claims else {
        return if policy.allow_empty && allow_unauthenticated != Some(false) {
            Ok(())
        } else {
            Err(deny("authentication-required", "Authentication required"))
        };
    };
    let fits = if policy.verify_domain {
        fits_domain(policy, service, session, claims, room, allow_unauthenticated)?
    } else {
        match claims.room.as_deref() {
            None | Some("*") => true,
            Some(r) => r == room.node() || room.node().strip_suffix(r).is_some_and(|t| t.ends_with(']')),
        }
    };
    if fits { Ok(()) } else { Err(deny("room-name-does-not-match", "Room and token mismatched")) }
}

fn fits_domain(
    policy: &TokenPolicy,
    service: &MucConfig,
    session: &Session,
    claims: &Claims,
    room: &BareJid,
    allow_unauthenticated: Option<bool>,
) -> Result<bool, RoomError> {
    let (tenant, name) = split_tenant(room);
    let candidate = match claims.room.as_deref() {
        Some("*") => Some(name.to_owned()),
        Some(r) if claims.room_is_pattern => lua_pattern::find(r, name)
            .map_err(|_| deny("invalid-regex", "Invalid room pattern in the token"))?
            .map(str::to_owned),
        Some(r) => Some(r.to_lowercase()),
        None if !policy.require_room => Some(name.to_owned()),
        None => None,
    };
    let Some(candidate) = candidate else { return Ok(false) };
    let tenant_mismatch = claims.tenant.is_some() && claims.tenant != session.tenant;
    if tenant_mismatch && allow_unauthenticated == Some(false) {
        return Ok(false);
    }
    let sub = claims.sub.as_deref().unwrap_or_default();
    let Some(mapper) = &service.mapper else {
        return Err(deny("server-missing-config", "The server cannot verify the domain"));
    };
    Ok(match tenant {
        Some(t) => candidate == name && (sub == "*" || sub.eq_ignore_ascii_case(t)),
        None => candidate == name && (sub == "*" || sub.eq_ignore_ascii_case(&mapper.base)),
    })
}

/// The affiliation that a token gives; `None` without a token.
pub(crate) fn affiliation(service: &MucConfig, peer: &Peer) -> Option<Affiliation> {
    if !service.tokens.as_ref().is_some_and(|t| t.affiliation) {
        return None;
    }
    let claims = peer.session.as_ref()?.claims.as_ref()?;
    let named = matches!(claims.user_str("affiliation").as_deref(), Some("owner" | "moderator" | "teacher"));
    let flagged = claims.user_str("moderator").as_deref() == Some("true");
    Some(if named || flagged { Affiliation::Owner } else { Affiliation::Member })
}

/// `<identity/>`: the user of a token, as others see it.
pub(crate) fn write_identity(w: &mut XmlWriter, claims: &Claims) {
    let Some(user) = &claims.user else { return };
    w.open("identity").open("user");
    for (key, _) in user.iter().filter(|(k, _)| is_xml_name(k)) {
        if let Some(value) = claims.user_str(key) {
            write_named(w, key, &value);
        }
    }
    w.close();
    if let Some(g) = &claims.group {
        w.text_element("group", g);
    }
    w.close();
}

/// An element whose name was checked by [`is_xml_name`].
fn write_named(w: &mut XmlWriter, name: &str, value: &str) {
    let mut xml = String::with_capacity(name.len() * 2 + value.len() + 8);
    xml.push('<');
    xml.push_str(name);
    xml.push('>');
    amphi_stanza::escape_into(&mut xml, value);
    xml.push_str("</");
    xml.push_str(name);
    xml.push('>');
    w.raw(&xml);
}

fn is_xml_name(s: &str) -> bool {
    let mut c = s.bytes();
    c.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && c.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}
