//! Who is told something.

use std::sync::Arc;

use crate::ids::EndpointId;

use super::{Conference, Outgoing, Output, Role, To};

impl Conference {
    /// One endpoint or relay, if it has a channel.
    pub(super) fn send(&mut self, to: EndpointId, message: Outgoing) {
        if self.people.get(&to).is_some_and(|it| it.channel) {
            self.out.push_back(Output::Send { to: To::One(to), message });
        }
    }

    /// Several, all of whom have a channel.
    pub(super) fn send_many(&mut self, to: Vec<EndpointId>, message: Outgoing) {
        match to[..] {
            [] => {}
            [one] => self.out.push_back(Output::Send { to: To::One(one), message }),
            _ => self.out.push_back(Output::Send { to: To::Many(to.into()), message }),
        }
    }

    /// All local endpoints, visitors too, but one.
    pub(super) fn send_everybody(&mut self, except: Option<EndpointId>, message: Outgoing) {
        let everybody = self.everybody();
        match except.filter(|it| everybody.contains(it)) {
            Some(except) => {
                self.send_many(everybody.iter().copied().filter(|it| *it != except).collect(), message);
            }
            None if everybody.is_empty() => {}
            None => self.out.push_back(Output::Send { to: To::Many(everybody), message }),
        }
    }

    /// All relays, but those of the mesh that it came from.
    pub(super) fn send_relays(&mut self, except_mesh: Option<&str>, message: Outgoing) {
        let other = |mesh: &str| except_mesh != Some(mesh);
        let mut relays: Vec<EndpointId> = self
            .people
            .values()
            .filter(|it| it.channel && matches!(&it.info.role, Role::Relay { mesh } if other(mesh)))
            .map(|it| it.info.id)
            .collect();
        relays.sort_unstable();
        self.send_many(relays, message);
    }

    /// All local endpoints with a channel.
    pub(super) fn everybody(&mut self) -> Arc<[EndpointId]> {
        let people = &self.people;
        let list = self.everybody.get_or_insert_with(|| {
            let mut all: Vec<EndpointId> =
                people.values().filter(|it| it.channel && it.is_local()).map(|it| it.info.id).collect();
            all.sort_unstable();
            all.into()
        });
        list.clone()
    }
}
