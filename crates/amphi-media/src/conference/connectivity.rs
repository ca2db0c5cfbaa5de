//! Which participants seem to be gone (`spec/bridge.md` 3.2, EndpointConnectivityStatusChangeEvent), and what receivers are told of their
//! bandwidth.

use std::time::Instant;

use crate::ids::EndpointId;

use super::{Conference, Outgoing, Role};

impl Conference {
    pub(super) fn set_activity(&mut self, activity: &[(EndpointId, Instant)]) {
        for (id, at) in activity {
            if let Some(person) = self.people.get_mut(id) {
                person.last_activity = person.last_activity.max(Some(*at));
            }
        }
    }

    pub(super) fn check_connectivity(&mut self, now: Instant) {
        if self.next_check.is_none_or(|at| at > now) {
            return;
        }
        let (first, silent) = (self.config.first_transfer_timeout, self.config.max_inactivity);
        let mut changed = Vec::new();
        let mut participants = false;
        for id in &self.speech {
            let Some(person) = self.people.get_mut(id).filter(|it| it.info.role == Role::Participant) else { continue };
            participants = true;
            let inactive = match person.last_activity {
                None => now.saturating_duration_since(person.created) >= first,
                Some(at) => now.saturating_duration_since(at) > silent,
            };
            if inactive != person.inactive {
                person.inactive = inactive;
                changed.push((person.info.name.clone(), !inactive));
            }
        }
        for (endpoint, active) in changed {
            let message = Outgoing::Connectivity { endpoint, active };
            self.send_everybody(None, message.clone());
            self.send_relays(None, message);
        }
        self.next_check = participants.then(|| now + self.config.check_interval);
    }

    pub(super) fn set_bandwidth(&mut self, now: Instant, estimates: &[(EndpointId, u64)]) {
        let Some(interval) = self.config.connection_stats else { return };
        for &(id, bandwidth) in estimates {
            let Some(person) = self.people.get_mut(&id).filter(|it| it.channel) else { continue };
            let sent = &mut person.receiver.stats_sent;
            if sent.is_none_or(|at| now.saturating_duration_since(at) >= interval) {
                *sent = Some(now);
                self.send(id, Outgoing::ConnectionStats { bandwidth });
            }
        }
    }
}
