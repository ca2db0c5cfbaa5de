//! What all tests need: addresses of the specification's examples, and stanzas from text.
#![allow(dead_code, unreachable_pub, missing_docs)]

use amphi_stanza::{BareJid, FullJid, Limits, Stanza};
use amphi_visitors::{
    Action, MainAddresses, MainConfig, MainLinks, Occupant, Shadow, ShadowAction, ShadowAddresses, ShadowConfig,
};
use bytes::Bytes;
use uuid::Uuid;

pub const ROOM: &str = "[acme]demo@conference.meet.example";
pub const SHADOW: &str = "[acme]demo@conference.v1.meet.jitsi";
pub const VISITOR: &str = "c0ffee00-1@v1.meet.jitsi/Ab";

pub fn x(s: &str) -> Stanza {
    Stanza::parse(Bytes::copy_from_slice(s.as_bytes()), &Limits::default()).unwrap()
}

pub fn full(s: &str) -> FullJid {
    FullJid::parse(s).unwrap()
}

pub fn main_addresses() -> MainAddresses {
    MainAddresses {
        room: BareJid::parse(ROOM).unwrap(),
        virtual_room: "demo@conference.acme.meet.example".into(),
        host: "meet.example".into(),
        component: "visitors.meet.example".into(),
        muc_prefix: "conference".into(),
        node_suffix: "meet.jitsi".into(),
        focus: "focus@auth.meet.example".into(),
    }
}

pub fn links_with(config: MainConfig) -> MainLinks {
    links_seeded(config, 0)
}

/// Another `seed` is another life of the room.
pub fn links_seeded(config: MainConfig, seed: u128) -> MainLinks {
    let mut n = seed;
    let uuid = move || {
        n += 1;
        Uuid::from_u128(n)
    };
    MainLinks::new(config, main_addresses(), Box::new(uuid))
}

pub fn links() -> MainLinks {
    links_with(MainConfig::default())
}

pub fn shadow_with(config: ShadowConfig) -> Shadow {
    shadow_on("v1", config)
}

pub fn shadow_on(node: &str, config: ShadowConfig) -> Shadow {
    let addr = ShadowAddresses {
        room: BareJid::parse(&SHADOW.replace("v1", node)).unwrap(),
        host: format!("{node}.meet.jitsi"),
        main_host: "meet.example".into(),
        main_muc: "conference.meet.example".into(),
        component: "visitors.meet.example".into(),
    };
    Shadow::new(config, addr)
}

pub fn shadow() -> Shadow {
    shadow_with(ShadowConfig::default())
}

pub struct Person {
    pub nick: String,
    pub real: FullJid,
}

impl Person {
    pub fn new(nick: &str) -> Self {
        Self { nick: nick.into(), real: full(&format!("{nick}-uuid@meet.example/r")) }
    }
    pub fn as_user(&self) -> Occupant<'_> {
        Occupant { nick: &self.nick, real: &self.real, moderator: false, admin: false }
    }
    pub fn as_moderator(&self) -> Occupant<'_> {
        Occupant { moderator: true, ..self.as_user() }
    }
}

pub fn presence(name: &str) -> Stanza {
    x(&format!(
        "<presence><x xmlns='http://jabber.org/protocol/muc'/><nick xmlns='http://jabber.org/protocol/nick'>{name}</nick></presence>"
    ))
}

/// What an action makes visible, short: kind, receiver, and what it is.
pub fn line(a: &Action) -> String {
    match a {
        Action::Send(s) => sent(s),
        Action::Deliver(s) => format!("deliver from {}", s.attr("from").unwrap()),
        Action::DeliverTo { nick, .. } => format!("deliver to {nick}"),
        Action::Transcribing(t) => format!("transcribing {} {}", t.langs.join(","), t.count),
        Action::NodeLost { vnode } => format!("lost {vnode}"),
    }
}

pub fn sent(s: &Stanza) -> String {
    let to = s.attr("to").unwrap_or_default();
    let what = match s.root().name() {
        "iq" => match s.children().next() {
            Some(c) if c.name() == "visitors" => c.children().next().unwrap().name().to_owned(),
            Some(c) => c.name().to_owned(),
            None => String::new(),
        },
        _ => String::new(),
    };
    let ty = s.ty().unwrap_or_default();
    format!("{} {ty} {what} -> {to}", s.root().name()).replace("  ", " ").replace("  ", " ")
}

pub fn lines(a: &[Action]) -> Vec<String> {
    a.iter().map(line).collect()
}

pub fn stanzas(a: &[Action]) -> Vec<Stanza> {
    a.iter()
        .filter_map(|a| match a {
            Action::Send(s) => Some(s.clone()),
            _ => None,
        })
        .collect()
}

pub fn shadow_stanzas(a: &[ShadowAction]) -> Vec<Stanza> {
    a.iter()
        .filter_map(|a| match a {
            ShadowAction::Send(s) => Some(s.clone()),
            _ => None,
        })
        .collect()
}

/// The answer of a stock node to an IQ: an empty result.
pub fn stock_result(iq: &Stanza) -> Stanza {
    amphi_visitors::wire::result(iq)
}

pub fn json_of(s: &Stanza) -> serde_json::Value {
    serde_json::from_str(&s.child("json-message", "http://jitsi.org/jitmeet").unwrap().text()).unwrap()
}
