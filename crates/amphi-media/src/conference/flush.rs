//! The computation that a change leads to, once for all changes of the last moment.

use std::time::Instant;

use crate::ids::ClassId;

use super::{Conference, Outgoing, Output};

impl Conference {
    pub(super) fn flush(&mut self, now: Instant) {
        self.pending.since = None;
        if std::mem::take(&mut self.pending.audio) {
            self.tell_audio();
        }
        if self.pending.subscriptions || !self.pending.subscribers.is_empty() {
            self.tell_subscriptions();
        }

        let mut entered = Vec::new();
        for id in std::mem::take(&mut self.pending.moving) {
            if let Some(class) = self.enter_class(id) {
                entered.push((id, class));
            }
        }
        let (computed, moved) = self.compute_classes(&entered.iter().map(|it| it.1).collect::<Vec<_>>());
        // Many different wishes are answered later, so that they cost the same share of time.
        let units = 1 + computed / self.config.classes_per_coalesce.max(1);
        self.next_flush = Some(now + self.config.coalesce * u32::try_from(units).unwrap_or(u32::MAX));
        for &(receiver, class) in &entered {
            self.out.push_back(Output::SetClass { receiver, class });
        }
        self.drop_empty();

        let mut receivers: Vec<_> = entered.iter().map(|it| it.0).collect();
        receivers.extend(moved.iter().filter_map(|it| self.classes.get(it)).flat_map(|it| &it.members));
        self.tell_video(&receivers);
        self.tell_upstream();
        self.tell_sparing();
    }

    /// Computes what needs it; returns how many that were, and the classes whose slots changed.
    fn compute_classes(&mut self, entered: &[ClassId]) -> (usize, Vec<ClassId>) {
        let all = std::mem::take(&mut self.pending.all);
        let mut layers = std::mem::take(&mut self.pending.layers);
        layers.sort_unstable();
        layers.dedup();
        let mut dirty: Vec<ClassId> = if all {
            self.classes.keys().copied().collect()
        } else if layers.is_empty() {
            entered.to_vec()
        } else {
            let wants = |id: &&ClassId| layers.iter().any(|it| self.classes[*id].wants(*it));
            self.classes.keys().filter(wants).copied().chain(entered.iter().copied()).collect()
        };
        let stale = |id: &ClassId| {
            self.classes.get(id).is_some_and(|it| {
                !it.members.is_empty()
                    && (it.published.is_none() || all || layers.iter().any(|source| it.wants(*source)))
            })
        };
        dirty.sort_unstable();
        dirty.dedup();
        dirty.retain(stale);
        let computed = dirty.len();
        if computed > 0 {
            let order = self.video_order();
            dirty.retain(|id| self.compute(*id, &order));
        }
        (computed, dirty)
    }

    /// Tells senders, and relays of senders, what is wanted of them now.
    fn tell_upstream(&mut self) {
        let mut changed = std::mem::take(&mut self.pending.upstream);
        changed.sort_unstable();
        changed.dedup();
        for id in changed {
            let Some(source) = self.sources.get_mut(&id) else { continue };
            let max_height = source.counts.max();
            if source.told == Some(max_height) {
                continue;
            }
            source.told = Some(max_height);
            let (owner, name) = (source.desc.owner, source.desc.name.clone());
            match self.relay_of(owner) {
                Some(relay) => {
                    let bridge = self.config.relay_id.clone();
                    self.send(relay, Outgoing::AddReceiver { bridge, source: name, max_height });
                }
                None => self.send(owner, Outgoing::SenderConstraints { source: name, max_height }),
            }
        }
    }
}
