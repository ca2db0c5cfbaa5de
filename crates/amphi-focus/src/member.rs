//! An occupant of a room, as its presence describes it (`spec/focus.md` 1.5).

use std::sync::Arc;

use amphi_stanza::{Element, Jid, Stanza, ns};

use crate::FocusConfig;
use crate::media::facts::Facts;

/// What the occupant may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Owner,
    Moderator,
    Participant,
    Visitor,
}

/// Occupants that are no people; believed of trusted domains only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Person,
    Recorder,
    Transcriber,
    /// A telephone caller: a user as far as seats are concerned.
    Gateway,
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) jid: Option<Jid>,
    pub(crate) role: Role,
    pub(crate) kind: Kind,
    /// Order of arrival.
    pub(crate) seq: u64,
    /// Name that the person chose (XEP-0172).
    pub(crate) name: Box<str>,
    /// How the person is recognised when it returns; filled in when it comes on stage.
    pub(crate) identity: Box<[Box<str>]>,
    /// Whether that is certain: the address it asked from is the one it came with.
    pub(crate) known: bool,
    /// What its presence says about media.
    pub(crate) facts: Arc<Facts>,
}

impl Member {
    pub(crate) fn read(stanza: &Stanza, config: &FocusConfig, seq: u64) -> Self {
        let item = item(stanza);
        let attr = |name: &str| item.and_then(|i| i.attr(name));
        let jid = attr("jid").and_then(|j| Jid::parse(&j).ok());
        let role = match (attr("affiliation").as_deref(), attr("role").as_deref()) {
            (Some("owner"), _) => Role::Owner,
            (Some("admin"), _) | (_, Some("moderator")) => Role::Moderator,
            (_, Some("participant")) => Role::Participant,
            _ => Role::Visitor,
        };
        let trusted = jid.as_ref().is_some_and(|j| config.trusted_domains.iter().any(|d| d == j.domain()));
        let kind = if trusted { kind(stanza) } else { Kind::Person };
        Self { jid, role, kind, seq, name: name(stanza), identity: Box::default(), known: false, facts: Arc::default() }
    }

    pub(crate) fn is_visitor(&self) -> bool {
        self.role == Role::Visitor
    }

    /// Takes a seat on stage.
    pub(crate) fn is_user(&self) -> bool {
        matches!(self.kind, Kind::Person | Kind::Gateway)
    }
}

/// Characters of a name that are kept.
const MAX_NAME: usize = 80;

fn name(stanza: &Stanza) -> Box<str> {
    let Some(text) = stanza.child("nick", ns::NICK).map(|e| e.text()) else { return Box::default() };
    let text = text.trim();
    let end = text.char_indices().nth(MAX_NAME).map_or(text.len(), |(at, _)| at);
    text[..end].into()
}

/// The first `item` of muc#user.
pub(crate) fn item(stanza: &Stanza) -> Option<Element<'_>> {
    stanza.child("x", ns::MUC_USER)?.child("item", ns::MUC_USER)
}

/// A status code of muc#user is present.
pub(crate) fn has_status(stanza: &Stanza, code: &str) -> bool {
    stanza
        .child("x", ns::MUC_USER)
        .is_some_and(|x| x.children().any(|s| s.name() == "status" && s.attr("code").as_deref() == Some(code)))
}

fn kind(stanza: &Stanza) -> Kind {
    let Some(features) = stanza.children().find(|e| e.name() == "features") else { return Kind::Person };
    let mut kind = Kind::Person;
    for f in features.children().filter(|f| f.name() == "feature") {
        match f.attr("var").as_deref() {
            Some("http://jitsi.org/protocol/jibri") => return Kind::Recorder,
            Some("http://jitsi.org/protocol/transcriber") => return Kind::Transcriber,
            Some("http://jitsi.org/protocol/jigasi") => kind = Kind::Gateway,
            _ => {}
        }
    }
    kind
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(item: &str, more: &str) -> Member {
        let xml = format!(
            "<presence from='r@c/n'><x xmlns='http://jabber.org/protocol/muc#user'><item {item}/></x>{more}</presence>"
        );
        let mut config = FocusConfig::new("meet.example");
        config.trusted_domains.push("recorder.meet.example".into());
        Member::read(&Stanza::authored(xml.into()), &config, 0)
    }

    #[test]
    fn affiliation_outranks_role_and_anything_else_is_a_visitor() {
        assert_eq!(read("affiliation='owner' role='moderator'", "").role, Role::Owner);
        assert_eq!(read("affiliation='none' role='moderator'", "").role, Role::Moderator);
        assert_eq!(read("affiliation='member' role='participant'", "").role, Role::Participant);
        assert_eq!(read("affiliation='none' role='visitor'", "").role, Role::Visitor);
        assert_eq!(read("", "").role, Role::Visitor);
    }

    #[test]
    fn names_are_trimmed_and_bounded() {
        let nick = |n: &str| read("", &format!("<nick xmlns='http://jabber.org/protocol/nick'>{n}</nick>")).name;
        assert_eq!(&*nick(" Ann &amp; Bob "), "Ann & Bob");
        assert_eq!(nick(&"ä".repeat(200)).chars().count(), 80);
        assert_eq!(&*read("", "").name, "");
    }

    #[test]
    fn only_trusted_domains_may_be_recorders() {
        let f = "<features><feature var='http://jitsi.org/protocol/jibri'/></features>";
        assert_eq!(read("jid='recorder@recorder.meet.example/x' role='participant'", f).kind, Kind::Recorder);
        assert_eq!(read("jid='evil@meet.example/x' role='participant'", f).kind, Kind::Person);
    }
}
