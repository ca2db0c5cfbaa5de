//! Whether a colibri2 request can be done as a whole (`spec/bridge.md` 1.8). Asked before anything is applied, so that a refused request leaves
//! everything as it was.

use std::time::Instant;

use amphi_jingle::colibri2::{ConferenceModify, Endpoint, MediaSource, Relay, Sctp, SctpRole};
use amphi_stanza::BareJid;

use super::conference::Conference;
use super::refusal::Refusal;
use super::settings::BridgeSettings;

/// Port of SCTP over DTLS.
pub(super) const SCTP_PORT: u16 = 5000;

/// Checks what can be seen without knowing the conference.
pub(super) fn form(m: &ConferenceModify, s: &BridgeSettings) -> Result<(), Refusal> {
    id("meeting-id", &m.meeting_id, s)?;
    if let Some(name) = &m.name
        && BareJid::parse(name).is_err()
    {
        return Err(Refusal::Bad("name is not the address of a room".into()));
    }
    if !m.endpoints.is_empty() && !m.relays.is_empty() {
        return Err(Refusal::Combination("endpoints and relays in one request"));
    }
    let rich = |e: &Endpoint| e.create || !e.media.is_empty() || e.transport.is_some() || e.sources.is_some();
    if m.endpoints.len() > 1 && m.endpoints.iter().any(rich) {
        return Err(Refusal::Combination("several endpoints in one request that are not just expired or muted"));
    }
    // Stock focuses expire several relays at once (`spec/bridge.md` 1.8, Idempotency).
    if m.relays.len() > 1 && !m.relays.iter().all(|r| r.expire) {
        return Err(Refusal::Combination("several relays in one request that are not just expired"));
    }
    if m.connects.as_ref().is_some_and(|c| c.iter().any(|c| !c.expire)) {
        return Err(Refusal::Unsupported("this bridge exports nothing"));
    }
    Ok(())
}

/// Checks all endpoints and relays against the conference, which is `None` if it is about to be created.
pub(super) fn content(
    now: Instant,
    c: Option<&Conference>,
    m: &ConferenceModify,
    s: &BridgeSettings,
) -> Result<(), Refusal> {
    // A batch of mere expiries and mutes is answered even for those who are gone.
    let light = m.endpoints.iter().all(is_light);
    for e in &m.endpoints {
        endpoint(now, c, e, light, s)?;
    }
    for r in &m.relays {
        relay(c, r, s)?;
    }
    Ok(())
}

/// Only expired, or only muted.
pub(super) fn is_light(e: &Endpoint) -> bool {
    !e.create
        && (e.expire
            || (e.force_mute.is_some()
                && e.media.is_empty()
                && e.transport.is_none()
                && e.sources.is_none()
                && e.initial_last_n.is_none()))
}

fn endpoint(
    now: Instant,
    c: Option<&Conference>,
    e: &Endpoint,
    light: bool,
    s: &BridgeSettings,
) -> Result<(), Refusal> {
    id("endpoint id", &e.id, s)?;
    let have = c.and_then(|c| c.endpoint(&e.id));
    if e.create {
        if have.is_some_and(|have| !have.is_given_up(now, s.times.retried_create)) {
            return Err(Refusal::Exists(format!("endpoint {}", e.id)));
        }
        let Some(t) = &e.transport else {
            return Err(Refusal::Bad("a new endpoint needs a transport".into()));
        };
        if !e.capabilities.source_names {
            return Err(Refusal::Bad("endpoints without the capability source-names are not served".into()));
        }
        if let Some(sctp) = &t.sctp {
            endpoint_sctp(sctp, s)?;
        }
        if c.map_or(0, Conference::size) >= s.limits.endpoints_per_conference {
            return Err(Refusal::Full("endpoints in this conference"));
        }
    } else if have.is_none() && !e.expire && !light {
        return Err(Refusal::NoEndpoint(e.id.clone()));
    }
    let visitor = if e.create { e.visitor } else { have.is_some_and(|have| have.visitor) };
    if let Some(sources) = &e.sources {
        if visitor && !sources.is_empty() {
            return Err(Refusal::Bad("visitors have no sources".into()));
        }
        all_sources(sources, s)?;
    }
    if let Some(t) = &e.transport
        && let Some(ice) = &t.ice
        && ice.ufrag.is_some() != ice.pwd.is_some()
    {
        return Err(Refusal::Bad("ufrag and pwd come together".into()));
    }
    Ok(())
}

fn endpoint_sctp(sctp: &Sctp, s: &BridgeSettings) -> Result<(), Refusal> {
    if !s.sctp {
        return Err(Refusal::Unsupported("SCTP is switched off"));
    }
    if sctp.role == Some(SctpRole::Client) {
        return Err(Refusal::Unsupported("endpoints are clients of SCTP, so the bridge is the server"));
    }
    port(sctp)
}

fn port(sctp: &Sctp) -> Result<(), Refusal> {
    match sctp.port {
        None | Some(SCTP_PORT) => Ok(()),
        Some(_) => Err(Refusal::Bad("the SCTP port is 5000".into())),
    }
}

fn relay(c: Option<&Conference>, r: &Relay, s: &BridgeSettings) -> Result<(), Refusal> {
    if s.identity.relay_id.is_none() {
        // Expiring what cannot be there is no mistake (`spec/focus.md` 11.1).
        return if r.expire { Ok(()) } else { Err(Refusal::Unsupported("this bridge has no relay id")) };
    }
    id("relay id", &r.id, s)?;
    let have = c.and_then(|c| c.relay(&r.id));
    if r.create {
        if have.is_some() {
            return Err(Refusal::Exists(format!("relay {}", r.id)));
        }
        let Some(t) = &r.transport else {
            return Err(Refusal::Bad("a new relay needs a transport".into()));
        };
        match &t.sctp {
            Some(sctp) if s.sctp => port(sctp)?,
            Some(_) => return Err(Refusal::Unsupported("SCTP is switched off")),
            None if s.web_sockets.is_none() => {
                return Err(Refusal::Internal("neither SCTP nor WebSockets can carry the relay's channel"));
            }
            None => {}
        }
        if c.map_or(0, Conference::relays) >= s.limits.relays_per_conference {
            return Err(Refusal::Full("relays in this conference"));
        }
    } else if have.is_none() && !r.expire {
        // Deliberately not item-not-found (`spec/bridge.md` 5.2).
        return Err(Refusal::Bad(format!("no relay {}", r.id)));
    }
    for e in &r.endpoints {
        id("endpoint id", &e.id, s)?;
        all_sources(e.sources.as_deref().unwrap_or_default(), s)?;
    }
    if c.map_or(0, Conference::size) + r.endpoints.len() > s.limits.endpoints_per_conference {
        return Err(Refusal::Full("endpoints in this conference"));
    }
    Ok(())
}

fn all_sources(sources: &[MediaSource], s: &BridgeSettings) -> Result<(), Refusal> {
    if sources.len() > s.limits.sources_per_endpoint {
        return Err(Refusal::Bad("too many sources".into()));
    }
    let mut ssrcs: Vec<u32> = Vec::new();
    for (n, source) in sources.iter().enumerate() {
        id("media-source id", &source.id, s)?;
        if sources[..n].iter().any(|other| other.id == source.id) {
            return Err(Refusal::Bad(format!("media-source {} is there twice", source.id)));
        }
        ssrcs.extend(source.media.sources.iter().map(|x| x.ssrc));
    }
    if ssrcs.len() > s.limits.ssrcs_per_endpoint {
        return Err(Refusal::Bad("too many SSRCs".into()));
    }
    let count = ssrcs.len();
    ssrcs.sort_unstable();
    ssrcs.dedup();
    if ssrcs.len() != count {
        return Err(Refusal::Bad("an SSRC is there twice".into()));
    }
    Ok(())
}

fn id(what: &'static str, text: &str, s: &BridgeSettings) -> Result<(), Refusal> {
    if text.is_empty() || text.len() > s.limits.id_bytes || text.chars().any(char::is_control) {
        return Err(Refusal::Bad(format!("{what} is not an identifier")));
    }
    Ok(())
}
