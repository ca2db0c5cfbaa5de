//! Classes of receivers: equal wishes, equal own sources left out, one computation (`spec/bridge.md` 9.5.2). To join a class that exists costs
//! the same however many sources and members there are.

use std::sync::Arc;
use std::time::Instant;

use crate::allocation::{Plan, Settings, Staircase};
use crate::ids::{ClassId, EndpointId, SourceId};
use crate::slots::{SlotMap, SlotTable};

use super::{Class, Conference, Output};

/// What makes receivers equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClassKey {
    pub(super) settings: Arc<Settings>,
    pub(super) excluded: Option<EndpointId>,
}

/// A class and what it was last told to be.
#[derive(Debug)]
pub(super) struct ClassState {
    pub(super) key: ClassKey,
    pub(super) members: Vec<EndpointId>,
    /// What is wanted of each source, by source, without those of which nothing is.
    effective: Vec<(SourceId, i32)>,
    table: SlotTable,
    pub(super) published: Option<Arc<Class>>,
    /// Per rung what is forwarded on it, as far as somebody was on it.
    pub(super) forwarded: Vec<Option<Arc<[SourceId]>>>,
}

impl ClassState {
    fn new(key: ClassKey, table: SlotTable) -> Self {
        Self { key, members: Vec::new(), effective: Vec::new(), table, published: None, forwarded: Vec::new() }
    }

    /// Whether members get this source, or would with more bandwidth.
    pub(super) fn wants(&self, source: SourceId) -> bool {
        self.effective.binary_search_by_key(&source, |(it, _)| *it).is_ok()
    }

    pub(super) fn forget(&mut self, source: SourceId) {
        self.effective.retain(|(it, _)| *it != source);
    }

    pub(super) fn slots(&self) -> Option<&SlotMap> {
        self.published.as_ref().map(|it| &it.slots)
    }
}

impl Conference {
    /// The receiver's wishes changed: at the next flush it gets the class that fits.
    pub(super) fn move_soon(&mut self, now: Instant, id: EndpointId) {
        if let Some(person) = self.people.get_mut(&id).filter(|it| !it.receiver.moving) {
            person.receiver.moving = true;
            self.pending.moving.push(id);
        }
        self.soon(now);
    }

    /// Puts a receiver into the class of its wishes. Returns the class if it is another one.
    pub(super) fn enter_class(&mut self, id: EndpointId) -> Option<ClassId> {
        let person = self.people.get_mut(&id)?;
        let receiver = &mut person.receiver;
        receiver.moving = false;
        let excluded = receiver.sends_video.then_some(id);
        let key = ClassKey { settings: receiver.settings.clone(), excluded };
        let former = receiver.class;
        let class = match self.by_key.get(&key) {
            Some(class) => *class,
            None if former.is_some() && self.classes.len() >= self.config.max_classes => {
                if let Some(class) = former.and_then(|it| self.classes.get(&it)) {
                    receiver.settings = class.key.settings.clone();
                }
                self.ignore(id, "too many different constraints in this conference");
                return None;
            }
            None => {
                let class = ClassId(self.next_class);
                self.next_class = self.next_class.wrapping_add(1);
                self.by_key.insert(key.clone(), class);
                // Its first receiver shall not have to learn slots anew.
                let learnt = former.and_then(|it| self.classes.get(&it)).map(|it| it.table.clone());
                let mut table = learnt.unwrap_or_else(|| SlotTable::new(self.config.allocation.video_slots));
                if excluded.is_some() {
                    table.free(|it| self.sources.get(&it).is_none_or(|source| source.desc.owner == id));
                }
                self.classes.insert(class, ClassState::new(key, table));
                class
            }
        };
        if former == Some(class) {
            return None;
        }
        self.take_out(id);
        let state = self.classes.get_mut(&class)?;
        let receiver = &mut self.people.get_mut(&id)?.receiver;
        // One copy of equal settings.
        receiver.settings = state.key.settings.clone();
        receiver.class = Some(class);
        receiver.place = state.members.len();
        receiver.rung = None;
        state.members.push(id);
        Some(class)
    }

    pub(super) fn leave_class(&mut self, now: Instant, id: EndpointId) {
        self.take_out(id);
        self.soon(now);
    }

    fn take_out(&mut self, id: EndpointId) {
        let Some(receiver) = self.people.get_mut(&id).map(|it| &mut it.receiver) else { return };
        let Some(class) = receiver.class.take() else { return };
        let place = receiver.place;
        let Some(state) = self.classes.get_mut(&class) else { return };
        state.members.swap_remove(place);
        if let Some(moved) = state.members.get(place).and_then(|it| self.people.get_mut(it)) {
            moved.receiver.place = place;
        }
        if state.members.is_empty() {
            self.pending.left.push(class);
        }
    }

    /// Computes a class. Returns true if its slots changed.
    pub(super) fn compute(&mut self, id: ClassId, order: &[SourceId]) -> bool {
        let Some(state) = self.classes.get_mut(&id) else { return false };
        let sources = &self.sources;
        let others = order.iter().filter_map(|it| sources.get(it)).map(|it| &it.desc);
        let others = others.filter(|it| Some(it.owner) != state.key.excluded);
        let plan = Plan::new(&self.config.allocation, &state.key.settings, others);
        let staircase = Staircase::new(&plan, self.config.allocation.max_staircase_runs);

        let likes = |it: SourceId| (it, sources.get(&it).and_then(|source| source.home));
        let active: Vec<_> = plan.wanted.iter().map(|it| likes(it.source)).collect();
        let rest = plan.effective.iter().filter(|(it, height)| {
            *height == 0 && sources.get(it).is_some_and(|source| source.desc.video_type.is_enabled())
        });
        let mut moved = state.table.free(|it| !sources.contains_key(&it));
        moved |= state.table.assign(&active);
        moved |= state.table.offer(rest.map(|(it, _)| likes(*it)));

        let mut effective: Vec<_> = plan.wanted.iter().map(|it| (it.source, it.max_height)).collect();
        effective.sort_unstable();
        let old = std::mem::replace(&mut state.effective, effective.clone());

        let former = state.published.as_deref();
        let slots = former.filter(|_| !moved).map_or_else(|| state.table.map(), |it| it.slots.clone());
        let staircase = match former {
            Some(it) if *it.staircase == staircase => it.staircase.clone(),
            _ => Arc::new(staircase),
        };
        let same = former.is_some_and(|it| Arc::ptr_eq(&it.staircase, &staircase) && Arc::ptr_eq(&it.slots, &slots));
        if !same {
            let version = former.map_or(0, |it| it.version.wrapping_add(1));
            state.forwarded = vec![None; staircase.rungs.len()];
            let class = Arc::new(Class { id, version, staircase, slots, excluded: state.key.excluded });
            state.published = Some(class.clone());
            self.out.push_back(Output::Class(class));
        }
        self.count(&old, &effective);
        moved
    }

    /// Removes classes without members.
    pub(super) fn drop_empty(&mut self) {
        for id in std::mem::take(&mut self.pending.left) {
            if self.classes.get(&id).is_some_and(|it| it.members.is_empty()) {
                let Some(state) = self.classes.remove(&id) else { continue };
                self.by_key.remove(&state.key);
                self.count(&state.effective, &[]);
                if state.published.is_some() {
                    self.out.push_back(Output::ClassGone(id));
                }
            }
        }
    }

    /// A class wanted `old` and wants `new`, both by source.
    fn count(&mut self, old: &[(SourceId, i32)], new: &[(SourceId, i32)]) {
        let absent = |list: &[(SourceId, i32)], it: &(SourceId, i32)| list.binary_search(it).is_err();
        for it in old.iter().filter(|it| absent(new, it)) {
            if let Some(source) = self.sources.get_mut(&it.0) {
                source.counts.remove(it.1);
                self.pending.upstream.push(it.0);
            }
        }
        for it in new.iter().filter(|it| absent(old, it)) {
            if let Some(source) = self.sources.get_mut(&it.0) {
                source.counts.add(it.1);
                self.pending.upstream.push(it.0);
            }
        }
    }
}
