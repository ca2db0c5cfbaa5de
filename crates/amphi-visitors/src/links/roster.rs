//! Who is on stage, as nodes are told: the last presence of each occupant, filtered.

use std::collections::BTreeMap;

use amphi_stanza::{Element, FullJid, Stanza, XmlWriter, ns};

use crate::digest::{occupant_hash, presence_hash};

/// One mirrored occupant.
pub(super) struct Mirrored {
    pub(super) real: FullJid,
    pub(super) moderator: bool,
    /// As the client sent it.
    presence: Stanza,
    /// As nodes get it, but for its addresses.
    mirrored: Stanza,
    hash: u64,
}

impl Mirrored {
    fn new(real: FullJid, moderator: bool, presence: Stanza, hide_names: bool) -> Self {
        let mirrored = filtered(&presence, hide_names);
        let hash = presence_hash(&mirrored);
        Self { real, moderator, presence, mirrored, hash }
    }

    /// The presence for `to`. `join`: with the element that enters a room, and the password if there is one.
    pub(super) fn presence_to(&self, to: &str, join: Option<Option<&str>>) -> Stanza {
        let r = self.mirrored.rewrite().set("from", &self.real).set("to", to);
        match join {
            None => r.stanza(),
            Some(password) => r
                .append(|w| {
                    w.open_ns("x", ns::MUC);
                    if let Some(p) = password {
                        w.text_element("password", p);
                    }
                    w.close();
                })
                .stanza(),
        }
    }
}

#[derive(Default)]
pub(super) struct Roster {
    occupants: BTreeMap<String, Mirrored>,
    digest: u64,
}

impl Roster {
    pub(super) fn get(&self, nick: &str) -> Option<&Mirrored> {
        self.occupants.get(nick)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Mirrored)> {
        self.occupants.iter().map(|(n, m)| (n.as_str(), m))
    }

    pub(super) fn moderators(&self) -> impl Iterator<Item = (&str, &FullJid)> {
        self.iter().filter(|(_, m)| m.moderator).map(|(n, m)| (n, &m.real))
    }

    /// Sum over all occupants of [`occupant_hash`].
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    fn count(&mut self, nick: &str, add: bool) {
        if let Some(m) = self.occupants.get(nick) {
            let h = occupant_hash(nick, m.real.as_str(), m.moderator, m.hash);
            self.digest = if add { self.digest.wrapping_add(h) } else { self.digest.wrapping_sub(h) };
        }
    }

    /// Puts in or replaces an occupant.
    pub(super) fn put(&mut self, nick: &str, real: FullJid, moderator: bool, presence: Stanza, hide_names: bool) {
        self.count(nick, false);
        self.occupants.insert(nick.to_owned(), Mirrored::new(real, moderator, presence, hide_names));
        self.count(nick, true);
    }

    /// Whether the role was another one before.
    pub(super) fn set_moderator(&mut self, nick: &str, moderator: bool) -> bool {
        if self.occupants.get(nick).is_none_or(|m| m.moderator == moderator) {
            return false;
        }
        self.count(nick, false);
        if let Some(m) = self.occupants.get_mut(nick) {
            m.moderator = moderator;
        }
        self.count(nick, true);
        true
    }

    pub(super) fn remove(&mut self, nick: &str) -> Option<Mirrored> {
        self.count(nick, false);
        self.occupants.remove(nick)
    }

    /// Filters everybody anew.
    pub(super) fn refilter(&mut self, hide_names: bool) {
        for (nick, m) in std::mem::take(&mut self.occupants) {
            self.occupants.insert(nick, Mirrored::new(m.real, m.moderator, m.presence, hide_names));
        }
        self.digest = self
            .occupants
            .iter()
            .fold(0, |d, (n, m)| d.wrapping_add(occupant_hash(n, m.real.as_str(), m.moderator, m.hash)));
    }
}

/// `spec/signaling.md` 3.6: what tells a name, when names are hidden from guests. Visitors are guests.
fn filtered(presence: &Stanza, hide_names: bool) -> Stanza {
    let r = presence.rewrite().unset("from").unset("to").unset("type").unset("id").keep(|c| !c.is("x", ns::MUC));
    if !hide_names {
        return r.stanza();
    }
    let names = |c: &Element<'_>| matches!(c.name(), "nick" | "email" | "stats-id");
    r.keep(move |c| !names(c) && c.name() != "identity")
        .append(|w| {
            for e in presence.children().filter(|c| c.name() == "identity") {
                nameless_identity(w, e);
            }
        })
        .stanza()
}

fn nameless_identity(w: &mut XmlWriter, identity: Element<'_>) {
    w.open("identity");
    for c in identity.children() {
        if c.name() == "user" {
            w.open("user");
            for u in c.children().filter(|u| !matches!(u.name(), "name" | "email")) {
                w.element(u);
            }
            w.close();
        } else {
            w.element(c);
        }
    }
    w.close();
}
