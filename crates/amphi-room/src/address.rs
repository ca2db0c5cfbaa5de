//! Tenant addresses (`spec/signaling.md` 1.6), and which room a stanza is about.
//!
//! Clients and the focus write `room@conference.tenant.meet.example` (virtual); rooms and links between servers use
//! `[tenant]room@conference.meet.example` (real). The IO layer maps what comes in; rooms map what goes out to local
//! connections. Links get real addresses always.

use amphi_stanza::{BareJid, Element, Jid, Stanza, StanzaKind, ns};

use crate::Origin;
use crate::config::{Mapper, MucConfig, NodeConfig, Role};

/// The tenant's label between `prefix.` and `.base`, if `domain` has one.
fn tenant_of<'d>(cfg: &NodeConfig, m: &Mapper, domain: &'d str) -> Option<&'d str> {
    let t = domain.strip_prefix(m.prefix.as_str())?.strip_prefix('.')?;
    let t = t.strip_suffix(m.base.as_str())?.strip_suffix('.')?;
    (!t.is_empty() && !t.contains('.') && !is_visitor_node(cfg, m, t)).then_some(t)
}

/// `conference.v1.meet.jitsi` is a node and not a tenant, also when the main domain is `meet.jitsi`.
fn is_visitor_node(cfg: &NodeConfig, m: &Mapper, label: &str) -> bool {
    m.base == cfg.visitor_suffix
        && matches!(cfg.role, Role::Main(_))
        && (cfg.visitor_names.contains(label)
            || label.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())))
}

/// The real form of an address: what clients write with a tenant's domain becomes a room in brackets.
pub fn to_real(cfg: &NodeConfig, jid: &Jid) -> Jid {
    for muc in &cfg.mucs {
        let Some(m) = &muc.mapper else { continue };
        let Some(t) = tenant_of(cfg, m, jid.domain()) else { continue };
        let local = jid.local().map(|l| ["[", t, "]", l].concat());
        return Jid::from_parts(local.as_deref(), &muc.domain, jid.resource()).unwrap_or_else(|_| jid.clone());
    }
    jid.clone()
}

/// The form of an address that local connections see.
pub fn to_virtual(cfg: &NodeConfig, jid: &Jid) -> Jid {
    let Some((_, muc)) = cfg.muc(jid.domain()) else { return jid.clone() };
    let (Some(m), Some(local)) = (&muc.mapper, jid.local()) else { return jid.clone() };
    let Some((t, rest)) = local.strip_prefix('[').and_then(|l| l.split_once(']')) else { return jid.clone() };
    if t.is_empty() || rest.is_empty() {
        return jid.clone();
    }
    let domain = [&m.prefix, ".", t, ".", &m.base].concat();
    Jid::from_parts(Some(rest), &domain, jid.resource()).unwrap_or_else(|_| jid.clone())
}

/// Tenant and name of a real room address: `[acme]demo@...` gives `acme` and `demo`.
pub fn split_tenant(room: &BareJid) -> (Option<&str>, &str) {
    match room.node().strip_prefix('[').and_then(|l| l.split_once(']')) {
        Some((t, name)) if !t.is_empty() && !name.is_empty() => (Some(t), name),
        _ => (None, room.node()),
    }
}

/// The room of a connection's URL: `room=demo&prefix=acme`.
pub fn room_of_session(cfg: &NodeConfig, session: &crate::Session) -> Option<BareJid> {
    let muc = cfg.conference_muc()?;
    let room = session.room.as_deref()?;
    let local = match session.tenant.as_deref() {
        Some(t) if !t.is_empty() && Some(t) != muc.mapper.as_ref().map(|m| m.base.as_str()) => {
            ["[", t, "]", room].concat()
        }
        _ => room.to_owned(),
    };
    BareJid::new(&local, &muc.domain).ok()
}

/// The real address of the room that a stanza is about, whatever it is addressed to; `None` if it is about none.
///
/// `to` is the address in real form. Besides rooms themselves: metadata and visitors components name the room in an
/// attribute, a visitor node's hosts get the main node's control messages, and its MUC host gets the history.
pub(crate) fn room_of(cfg: &NodeConfig, origin: &Origin, to: &Jid, stanza: &Stanza) -> Option<BareJid> {
    if cfg.muc(to.domain()).is_some() && to.local().is_some() {
        return to.to_bare().as_bare();
    }
    if to.local().is_some() {
        return cfg.room_behind(to);
    }
    match &cfg.role {
        // A node's answer to one of our requests: its id names the room.
        Role::Main(main) if stanza.kind() == StanzaKind::Iq && is_answer(stanza) => {
            let ours = to.domain() == cfg.host || main.visitors.as_deref() == Some(to.domain());
            let room = stanza.id().filter(|_| ours)?;
            BareJid::new(amphi_visitors::wire::room_of_link_id(&room)?, &cfg.conference_muc()?.domain).ok()
        }
        Role::Main(main) => {
            if cfg.metadata.as_deref() == Some(to.domain()) {
                let named = stanza.child("room_metadata", ns::JITMEET).and_then(|e| e.attr("room"));
                return room_attr(cfg, named.as_deref()?);
            }
            if main.visitors.as_deref() == Some(to.domain()) && stanza.kind() == StanzaKind::Iq {
                return room_attr(cfg, &visitors_element(stanza)?.attr("room")?);
            }
            None
        }
        Role::VisitorNode(_) => {
            let muc = cfg.conference_muc()?;
            let to_muc = to.domain() == muc.domain;
            if stanza.kind() == StanzaKind::Iq && (to_muc || to.domain() == cfg.host) {
                return room_attr(cfg, &visitors_element(stanza)?.attr("room")?);
            }
            // Replayed history (spec/signaling.md 4.5): `from` names the main room, whose shadow has the same local part.
            if to_muc
                && stanza.kind() == StanzaKind::Message
                && matches!(origin, Origin::Remote)
                && stanza.child("delay", ns::DELAY).is_some()
            {
                return shadow_of(muc, &stanza.from().ok()??);
            }
            None
        }
    }
}

fn is_answer(stanza: &Stanza) -> bool {
    matches!(stanza.ty().as_deref(), Some("result" | "error"))
}

fn visitors_element(stanza: &Stanza) -> Option<Element<'_>> {
    stanza.child("visitors", ns::VISITORS)
}

/// A room named in an attribute, in whichever form, if it is on this node.
fn room_attr(cfg: &NodeConfig, room: &str) -> Option<BareJid> {
    let real = to_real(cfg, &Jid::parse(room).ok()?).to_bare();
    cfg.muc(real.domain())?;
    real.as_bare()
}

/// The room with the same local part on another MUC.
pub(crate) fn shadow_of(muc: &MucConfig, room: &Jid) -> Option<BareJid> {
    BareJid::new(room.local()?, &muc.domain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::VisitorNodeConfig;

    fn jid(s: &str) -> Jid {
        Jid::parse(s).unwrap()
    }

    fn main(base: &str) -> NodeConfig {
        NodeConfig {
            host: base.to_owned(),
            mucs: vec![MucConfig::conference("conference", base), MucConfig::internal("internal.auth.meet.example")],
            ..NodeConfig::default()
        }
    }

    fn node() -> NodeConfig {
        NodeConfig {
            host: "v1.meet.jitsi".to_owned(),
            role: Role::VisitorNode(VisitorNodeConfig {
                name: "v1".to_owned(),
                main_domain: "meet.example".to_owned(),
                main_hosts: Default::default(),
                main_muc: "conference.meet.example".to_owned(),
                main_visitors: "visitors.meet.example".to_owned(),
                auto_promoted_with_token: true,
            }),
            mucs: vec![MucConfig::conference("conference", "v1.meet.jitsi")],
            ..NodeConfig::default()
        }
    }

    #[test]
    fn a_tenant_maps_both_ways() {
        let c = main("meet.example");
        let real = to_real(&c, &jid("demo@conference.acme.meet.example/9f3c1a7e"));
        assert_eq!(real, "[acme]demo@conference.meet.example/9f3c1a7e");
        assert_eq!(to_virtual(&c, &real), "demo@conference.acme.meet.example/9f3c1a7e");
        assert_eq!(to_real(&c, &jid("conference.acme.meet.example")), "conference.meet.example");
    }

    #[test]
    fn what_only_looks_like_a_tenant_is_left_alone() {
        let c = main("meet.example");
        for a in [
            "demo@conference.meet.example",
            "demo@conference-x.meet.example",
            "demo@conferencexacme.meet.example",
            "demo@conference.a.b.meet.example",
            "demo@conference.acme.meetxexample",
            "demo@conference..meet.example".trim_matches(' '),
            "u@meet.example/r",
        ] {
            let Ok(a) = Jid::parse(a) else { continue };
            assert_eq!(to_real(&c, &a), a);
        }
        for a in ["[]demo@conference.meet.example", "[acme]@conference.meet.example", "demo@conference.meet.example"] {
            let a = jid(a);
            assert_eq!(to_virtual(&c, &a), a);
        }
    }

    #[test]
    fn a_visitor_node_is_never_a_tenant() {
        let c = main("meet.jitsi");
        let vnode = jid("demo@conference.v1.meet.jitsi/x");
        assert_eq!(to_real(&c, &vnode), vnode);
        let bare = jid("conference.v12.meet.jitsi");
        assert_eq!(to_real(&c, &bare), bare);
        assert_eq!(to_real(&c, &jid("demo@conference.acme.meet.jitsi")), "[acme]demo@conference.meet.jitsi");
        let named = NodeConfig { visitor_names: ["berlin".to_owned()].into(), ..main("meet.jitsi") };
        let a = jid("demo@conference.berlin.meet.jitsi");
        assert_eq!(to_real(&named, &a), a);
    }

    #[test]
    fn tenants_exist_on_visitor_nodes_too() {
        let c = node();
        let real = to_real(&c, &jid("demo@conference.acme.v1.meet.jitsi"));
        assert_eq!(real, "[acme]demo@conference.v1.meet.jitsi");
        assert_eq!(to_virtual(&c, &real), "demo@conference.acme.v1.meet.jitsi");
    }

    fn about(c: &NodeConfig, to: &str, xml: &str) -> Option<String> {
        let s = Stanza::authored(bytes::Bytes::copy_from_slice(xml.as_bytes()));
        room_of(c, &Origin::Remote, &to_real(c, &jid(to)), &s).map(|r| r.to_string())
    }

    #[test]
    fn components_name_the_room_in_an_attribute() {
        let c = NodeConfig {
            metadata: Some("metadata.meet.example".to_owned()),
            role: Role::Main(crate::config::MainConfig {
                visitors: Some("visitors.meet.example".to_owned()),
                ..Default::default()
            }),
            ..main("meet.example")
        };
        let tenant = Some("[acme]demo@conference.meet.example".to_owned());
        assert_eq!(
            about(
                &c,
                "metadata.meet.example",
                "<message><room_metadata xmlns='http://jitsi.org/jitmeet' room='demo@conference.acme.meet.example'/></message>"
            ),
            tenant
        );
        for room in ["demo@conference.acme.meet.example", "[acme]demo@conference.meet.example"] {
            let xml = ["<iq><visitors xmlns='jitsi:visitors' room='", room, "'/></iq>"].concat();
            assert_eq!(about(&c, "visitors.meet.example", &xml), tenant);
        }
        assert_eq!(about(&c, "demo@conference.acme.meet.example/x", "<presence/>"), tenant);
        assert_eq!(about(&c, "meet.example", "<iq/>"), None);
        assert_eq!(about(&c, "conference.meet.example", "<iq/>"), None);
        assert_eq!(
            about(&c, "visitors.meet.example", "<iq><visitors xmlns='jitsi:visitors' room='a@b.c'/></iq>"),
            None
        );
    }

    #[test]
    fn a_node_finds_the_shadow_of_the_main_room() {
        let c = node();
        let room = Some("[acme]demo@conference.v1.meet.jitsi".to_owned());
        let xml = "<iq><visitors xmlns='jitsi:visitors' room='[acme]demo@conference.v1.meet.jitsi'><connect/></visitors></iq>";
        assert_eq!(about(&c, "conference.v1.meet.jitsi", xml), room);
        assert_eq!(about(&c, "v1.meet.jitsi", xml), room);
        let xml = "<message from='[acme]demo@conference.meet.example/a'><body>x</body><delay xmlns='urn:xmpp:delay'/></message>";
        assert_eq!(about(&c, "conference.v1.meet.jitsi", xml), room);
    }
}
