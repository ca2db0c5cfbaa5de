//! Which connections of a shard belong to which group of which room.

use std::collections::HashMap;

use amphi_room::{ConnId, Group, Groups, RoomId};

/// Membership tables of one shard. Joining, leaving and finding a group take constant time.
#[derive(Default)]
pub(crate) struct Members {
    rooms: HashMap<RoomId, [Vec<ConnId>; 3], foldhash::fast::RandomState>,
    /// Where each membership stands, so that leaving needs no search.
    places: HashMap<(RoomId, ConnId), (Group, u32), foldhash::fast::RandomState>,
}

const GROUPS: [Group; 3] = [Group::Stage, Group::Audience, Group::Focus];

impl Members {
    /// Puts a connection into a group; it leaves another group of the same room.
    pub(crate) fn join(&mut self, room: RoomId, conn: ConnId, group: Group) {
        self.leave(room, conn);
        let list = &mut self.rooms.entry(room).or_default()[group as usize];
        self.places.insert((room, conn), (group, list.len() as u32));
        list.push(conn);
    }

    /// Removes a connection from a room.
    pub(crate) fn leave(&mut self, room: RoomId, conn: ConnId) {
        let Some((group, at)) = self.places.remove(&(room, conn)) else { return };
        let Some(groups) = self.rooms.get_mut(&room) else { return };
        let list = &mut groups[group as usize];
        list.swap_remove(at as usize);
        if let Some(moved) = list.get(at as usize)
            && let Some(place) = self.places.get_mut(&(room, *moved))
        {
            place.1 = at;
        }
        if groups.iter().all(Vec::is_empty) {
            self.rooms.remove(&room);
        }
    }

    /// Forgets a room.
    pub(crate) fn destroy(&mut self, room: RoomId) {
        for conn in self.rooms.remove(&room).into_iter().flatten().flatten() {
            self.places.remove(&(room, conn));
        }
    }

    /// The members of some groups, the stage first.
    pub(crate) fn of(&self, room: RoomId, to: Groups) -> impl Iterator<Item = (Group, &[ConnId])> {
        let groups = self.rooms.get(&room);
        GROUPS.into_iter().filter(move |g| to.has(*g)).filter_map(move |g| Some((g, &groups?[g as usize][..])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(m: &Members, room: RoomId, to: Groups) -> Vec<u64> {
        let mut v: Vec<u64> = m.of(room, to).flat_map(|(_, l)| l.iter().map(|c| c.0)).collect();
        v.sort_unstable();
        v
    }

    #[test]
    fn a_connection_is_in_one_group_of_a_room_until_it_leaves() {
        let (mut m, r, s) = (Members::default(), RoomId(1), RoomId(2));
        for i in 0..5 {
            m.join(r, ConnId(i), Group::Audience);
        }
        m.join(s, ConnId(0), Group::Stage);
        m.join(r, ConnId(1), Group::Stage);
        m.leave(r, ConnId(0));
        m.leave(r, ConnId(0));
        assert_eq!(ids(&m, r, Groups::only(Group::Audience)), [2, 3, 4]);
        assert_eq!(ids(&m, r, Groups::ALL), [1, 2, 3, 4]);
        assert_eq!(ids(&m, s, Groups::ALL), [0]);
        for i in 1..5 {
            m.leave(r, ConnId(i));
        }
        assert!(m.rooms.len() == 1 && m.places.len() == 1);
        m.destroy(s);
        assert!(m.rooms.is_empty() && m.places.is_empty());
    }
}
