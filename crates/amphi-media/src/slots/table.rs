//! Which source is in which slot: least recently used gives way.

use crate::ids::SourceId;

use super::SlotMap;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    source: Option<SourceId>,
    used: u64,
}

/// Sources in slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotTable {
    slots: Vec<Slot>,
    clock: u64,
}

impl SlotTable {
    /// All slots are free.
    pub fn new(count: usize) -> Self {
        Self { slots: vec![Slot::default(); count], clock: 0 }
    }

    /// The slot of a source.
    pub fn slot_of(&self, source: SourceId) -> Option<usize> {
        self.slots.iter().position(|slot| slot.source == Some(source))
    }

    /// All slots.
    pub fn map(&self) -> SlotMap {
        self.slots.iter().map(|slot| slot.source).collect()
    }

    /// Gives every active source a slot, as far as there are slots: `active` is in order of priority, each with the slot that it would like
    /// best. Sources keep the slot that they have. A new one takes the slot it likes if that is free, else the lowest free one, else the one
    /// least recently used among those whose sources are not active. True if something changed.
    pub fn assign(&mut self, active: &[(SourceId, Option<usize>)]) -> bool {
        self.clock += 1;
        let active = &active[..active.len().min(self.slots.len())];
        let mut new = Vec::new();
        for (source, likes) in active {
            match self.slot_of(*source) {
                Some(at) => self.slots[at].used = self.clock,
                None if !new.contains(&(*source, *likes)) => new.push((*source, *likes)),
                None => {}
            }
        }
        let changed = !new.is_empty();
        self.place_liked(&mut new, self.clock);
        for (source, _) in new {
            let free = self.slots.iter().position(|slot| slot.source.is_none());
            let oldest = || {
                (0..self.slots.len())
                    .filter(|&at| self.slots[at].used < self.clock)
                    .min_by_key(|&at| self.slots[at].used)
            };
            if let Some(at) = free.or_else(oldest) {
                self.slots[at] = Slot { source: Some(source), used: self.clock };
            }
        }
        changed
    }

    /// Gives further sources slots, but only free ones: so receivers know in advance what they may get, and nobody loses a slot for it.
    pub fn offer(&mut self, sources: impl IntoIterator<Item = (SourceId, Option<usize>)>) -> bool {
        let mut new: Vec<_> = sources.into_iter().filter(|(source, _)| self.slot_of(*source).is_none()).collect();
        let before = new.len();
        self.place_liked(&mut new, 0);
        let mut changed = new.len() < before;
        for (source, _) in new {
            if self.slot_of(source).is_none() {
                let Some(at) = self.slots.iter().position(|slot| slot.source.is_none()) else { break };
                self.slots[at] = Slot { source: Some(source), used: 0 };
                changed = true;
            }
        }
        changed
    }

    /// Those that can have the slot they like get it, lest another takes it; the others remain in the list.
    fn place_liked(&mut self, new: &mut Vec<(SourceId, Option<usize>)>, used: u64) {
        new.retain(|(source, likes)| {
            let free = likes.filter(|&at| self.slots.get(at).is_some_and(|slot| slot.source.is_none()));
            free.is_none_or(|at| {
                self.slots[at] = Slot { source: Some(*source), used };
                false
            })
        });
    }

    /// The source of a slot was used just now.
    pub fn touch(&mut self, source: SourceId) {
        if let Some(at) = self.slot_of(source) {
            self.clock += 1;
            self.slots[at].used = self.clock;
        }
    }

    /// Slots in use.
    pub fn occupied(&self) -> usize {
        self.slots.iter().filter(|slot| slot.source.is_some()).count()
    }

    /// Frees the slots of sources that are gone. True if there was one.
    pub fn free(&mut self, gone: impl Fn(SourceId) -> bool) -> bool {
        let mut freed = false;
        for slot in &mut self.slots {
            if slot.source.is_some_and(&gone) {
                *slot = Slot::default();
                freed = true;
            }
        }
        freed
    }
}

/// What a receiver that was told `old` must be told to know `new`: slots that hold another source now. Slots that became free are not told.
pub fn difference(old: &[Option<SourceId>], new: &[Option<SourceId>]) -> Vec<(usize, SourceId)> {
    let known = |at: usize| old.get(at).copied().flatten();
    new.iter()
        .enumerate()
        .filter_map(|(at, source)| source.filter(|it| known(at) != Some(*it)).map(|it| (at, it)))
        .collect()
}

/// What a receiver believes that believed `old` and was told the difference to `new`: a slot that is free in `new` keeps its old source, unless
/// that one was told to be elsewhere.
pub fn believed(old: &SlotMap, new: &SlotMap) -> SlotMap {
    let stays = |at: usize| {
        let source = old.get(at).copied().flatten()?;
        (!new.contains(&Some(source))).then_some(source)
    };
    if (0..new.len()).all(|at| new[at].is_some() || stays(at).is_none()) {
        return new.clone();
    }
    new.iter().enumerate().map(|(at, source)| source.or_else(|| stays(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u32]) -> Vec<(SourceId, Option<usize>)> {
        ids.iter().map(|id| (SourceId(*id), None)).collect()
    }

    fn shown(table: &SlotTable) -> Vec<u32> {
        table.map().iter().map(|it| it.map_or(0, |id| id.0)).collect()
    }

    #[test]
    fn sources_keep_slots_and_the_least_recently_used_gives_way() {
        let mut table = SlotTable::new(3);
        assert!(table.assign(&ids(&[1, 2, 3])));
        assert!(!table.assign(&ids(&[3, 1])));
        assert!(table.assign(&ids(&[4, 1])));
        assert_eq!(shown(&table), [1, 4, 3]);
        assert!(table.assign(&ids(&[5, 4])));
        assert_eq!(shown(&table), [1, 4, 5], "3 was used before 1");
    }

    #[test]
    fn slots_of_leavers_are_used_before_fresh_ones() {
        let mut table = SlotTable::new(50);
        table.assign(&ids(&[1, 2, 3]));
        assert!(table.free(|it| it == SourceId(2)));
        assert!(!table.free(|it| it == SourceId(2)));
        table.assign(&ids(&[1, 3, 4]));
        assert_eq!(shown(&table)[..4], [1, 4, 3, 0]);
    }

    #[test]
    fn churn_never_uses_more_slots_than_sources_at_a_time() {
        let mut table = SlotTable::new(50);
        for round in 0..1000u32 {
            table.free(|it| it.0 < round);
            table.assign(&ids(&[round, round + 1, round + 2]));
            assert!(shown(&table)[3..].iter().all(|id| *id == 0));
        }
    }

    #[test]
    fn a_source_gets_the_slot_it_likes_if_free() {
        let mut table = SlotTable::new(4);
        table.assign(&[(SourceId(1), None), (SourceId(2), Some(0)), (SourceId(3), Some(9))]);
        assert_eq!(shown(&table), [2, 1, 3, 0]);
    }

    #[test]
    fn what_is_offered_takes_nothing_from_others() {
        let mut table = SlotTable::new(3);
        table.assign(&ids(&[1, 2]));
        assert!(table.offer(ids(&[1, 3, 4])));
        assert_eq!(shown(&table), [1, 2, 3]);
        assert!(!table.offer(ids(&[4])));
        table.assign(&ids(&[5]));
        assert_eq!(shown(&table), [1, 2, 5], "3 was never used");
    }

    #[test]
    fn more_sources_than_slots_leave_the_last_without() {
        let mut table = SlotTable::new(2);
        table.assign(&ids(&[1, 2, 3]));
        assert_eq!(shown(&table), [1, 2]);
    }

    #[test]
    fn only_what_is_new_is_told() {
        let (a, b, c) = (Some(SourceId(1)), Some(SourceId(2)), Some(SourceId(3)));
        assert_eq!(difference(&[a, b, None], &[a, c, b]), [(1, SourceId(3)), (2, SourceId(2))]);
        assert_eq!(difference(&[a, b], &[a, None]), []);
        assert_eq!(difference(&[], &[None, a]), [(1, SourceId(1))]);
    }

    #[test]
    fn a_free_slot_is_believed_to_hold_what_it_held_unless_that_moved() {
        let (a, b, c) = (Some(SourceId(1)), Some(SourceId(2)), Some(SourceId(3)));
        let map = |slots: &[Option<SourceId>]| -> SlotMap { slots.into() };
        assert_eq!(*believed(&map(&[a, b, c]), &map(&[b, None, None])), [b, None, c]);
        let new = map(&[a, b, None]);
        assert!(std::sync::Arc::ptr_eq(&believed(&map(&[b]), &new), &new), "shared when equal");
    }
}
