//! Who is where: which shard owns an endpoint's media, which thread its transport, which shard is home of a conference.

use amphi_media::ids::{ConferenceId, EndpointId};
use foldhash::{HashMap, HashMapExt};

use super::command::{PlaneError, Role};

/// Where an endpoint, relayed endpoint or relay is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) conference: ConferenceId,
    pub(super) shard: usize,
    /// Means nothing for relayed endpoints.
    pub(super) thread: usize,
    /// None: it is behind a relay.
    pub(super) role: Option<Role>,
    pub(super) relayed_by: Option<EndpointId>,
    /// A visitor whose client has said nothing yet: nobody waits for what is done about it.
    pub(super) silent: bool,
}

/// All places.
pub(super) struct Directory {
    endpoints: HashMap<EndpointId, Place>,
    homes: HashMap<ConferenceId, usize>,
    /// Per shard: what it carries. A publisher's packets are taken in once and sent many times, so a home counts as much as some receivers.
    loads: Vec<usize>,
    threads: Vec<usize>,
    max_endpoints: usize,
    max_conferences: usize,
}

/// What a conference weighs, in receivers.
const HOME: usize = 4;

impl Directory {
    pub(super) fn new(shards: usize, threads: usize, max_endpoints: usize, max_conferences: usize) -> Self {
        Self {
            endpoints: HashMap::new(),
            homes: HashMap::new(),
            loads: vec![0; shards],
            threads: vec![0; threads],
            max_endpoints,
            max_conferences,
        }
    }

    /// The transport thread with the fewest peers.
    pub(super) fn next_thread(&self) -> usize {
        least(&self.threads)
    }

    pub(super) fn add_conference(&mut self, id: ConferenceId) -> Result<usize, PlaneError> {
        if self.homes.len() >= self.max_conferences {
            return Err(PlaneError::Full("conferences"));
        }
        let home = least(&self.loads);
        if let Some(before) = self.homes.insert(id, home) {
            self.release(before, HOME);
        }
        self.loads[home] += HOME;
        Ok(home)
    }

    pub(super) fn home(&self, id: ConferenceId) -> Option<usize> {
        self.homes.get(&id).copied()
    }

    /// Everybody who was in it and has a transport.
    pub(super) fn remove_conference(&mut self, id: ConferenceId) -> Vec<(EndpointId, Place)> {
        if let Some(home) = self.homes.remove(&id) {
            self.release(home, HOME);
        }
        let gone: Vec<_> =
            self.endpoints.iter().filter(|(_, it)| it.conference == id).map(|(id, it)| (*id, *it)).collect();
        for (id, _) in &gone {
            self.remove(*id);
        }
        gone.into_iter().filter(|(_, it)| it.relayed_by.is_none()).collect()
    }

    pub(super) fn add(
        &mut self,
        id: EndpointId,
        conference: ConferenceId,
        role: Role,
        thread: usize,
    ) -> Result<Place, PlaneError> {
        let home = self.home(conference).ok_or(PlaneError::UnknownConference)?;
        if self.endpoints.len() >= self.max_endpoints {
            return Err(PlaneError::Full("endpoints"));
        }
        self.remove(id);
        // Who publishes is at home; who only receives is where there is room.
        let shard = if role == Role::Visitor { least(&self.loads) } else { home };
        let place =
            Place { conference, shard, thread, role: Some(role), relayed_by: None, silent: role == Role::Visitor };
        self.loads[shard] += 1;
        if let Some(count) = self.threads.get_mut(thread) {
            *count += 1;
        }
        self.endpoints.insert(id, place);
        Ok(place)
    }

    pub(super) fn add_relayed(&mut self, id: EndpointId, relay: EndpointId) -> Result<Place, PlaneError> {
        let carrier = self.find(relay).ok_or(PlaneError::UnknownEndpoint)?;
        if self.endpoints.len() >= self.max_endpoints {
            return Err(PlaneError::Full("endpoints"));
        }
        self.remove(id);
        let place = Place { role: None, relayed_by: Some(relay), silent: false, ..carrier };
        self.endpoints.insert(id, place);
        Ok(place)
    }

    pub(super) fn find(&self, id: EndpointId) -> Option<Place> {
        self.endpoints.get(&id).copied()
    }

    /// The client has answered.
    pub(super) fn answered(&mut self, id: EndpointId) -> Option<Place> {
        let place = self.endpoints.get_mut(&id)?;
        place.silent = false;
        Some(*place)
    }

    /// Forgets somebody, with a relay all behind it.
    pub(super) fn remove(&mut self, id: EndpointId) -> Option<Place> {
        let place = self.endpoints.remove(&id)?;
        if place.relayed_by.is_none() {
            self.release(place.shard, 1);
            if let Some(count) = self.threads.get_mut(place.thread) {
                *count = count.saturating_sub(1);
            }
        }
        if matches!(place.role, Some(Role::Relay { .. })) {
            self.endpoints.retain(|_, it| it.relayed_by != Some(id));
        }
        Some(place)
    }

    fn release(&mut self, shard: usize, weight: usize) {
        if let Some(load) = self.loads.get_mut(shard) {
            *load = load.saturating_sub(weight);
        }
    }
}

fn least(loads: &[usize]) -> usize {
    loads.iter().enumerate().min_by_key(|(_, load)| **load).map_or(0, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_are_at_home_and_visitors_where_there_is_room() {
        let mut directory = Directory::new(4, 2, 1_000, 10);
        let home = directory.add_conference(ConferenceId(1)).unwrap();
        for n in 0..3 {
            assert_eq!(directory.add(EndpointId(n), ConferenceId(1), Role::Participant, 0).unwrap().shard, home);
        }
        let mut counts = [0; 4];
        for n in 10..110 {
            counts[directory.add(EndpointId(n), ConferenceId(1), Role::Visitor, 1).unwrap().shard] += 1;
        }
        assert_eq!(counts.iter().sum::<usize>(), 100);
        assert!(counts.iter().all(|count| *count >= 18), "{counts:?}");
        assert_eq!(directory.next_thread(), 0);
        assert_eq!(directory.remove_conference(ConferenceId(1)).len(), 103);
        assert_eq!(directory.loads, [0; 4]);
        assert_eq!(directory.threads, [0; 2]);
    }

    #[test]
    fn with_a_relay_go_those_behind_it() {
        let mut directory = Directory::new(1, 1, 1_000, 10);
        directory.add_conference(ConferenceId(1)).unwrap();
        directory.add(EndpointId(1), ConferenceId(1), Role::Relay { mesh: 0 }, 0).unwrap();
        directory.add_relayed(EndpointId(2), EndpointId(1)).unwrap();
        assert!(directory.find(EndpointId(2)).is_some());
        directory.remove(EndpointId(1));
        assert!(directory.find(EndpointId(2)).is_none());
        assert_eq!(directory.add_relayed(EndpointId(2), EndpointId(1)).unwrap_err(), PlaneError::UnknownEndpoint);
    }

    #[test]
    fn there_is_a_limit() {
        let mut directory = Directory::new(1, 1, 1, 1);
        assert_eq!(
            directory.add(EndpointId(1), ConferenceId(1), Role::Visitor, 0).unwrap_err(),
            PlaneError::UnknownConference
        );
        directory.add_conference(ConferenceId(1)).unwrap();
        assert!(directory.add_conference(ConferenceId(2)).is_err());
        directory.add(EndpointId(1), ConferenceId(1), Role::Visitor, 0).unwrap();
        assert!(directory.add(EndpointId(2), ConferenceId(1), Role::Visitor, 0).is_err());
    }
}
