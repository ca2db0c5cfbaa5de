//! Order, effective constraints and one allocation (`spec/bridge.md` 4.11, steps 1 to 4).

use std::collections::HashMap;
use std::sync::Arc;

use crate::ids::{LayerIndex, SourceId};
use crate::source::SourceDesc;

use super::{AllocationConfig, Candidates, Settings};

/// A source that a receiver wants, with what it may get of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The source.
    pub source: SourceId,
    /// Effective constraint; not 0.
    pub max_height: i32,
    /// Whether it is on stage.
    pub on_stage: bool,
    /// Layers to choose from.
    pub candidates: Candidates,
}

/// What receivers with equal settings want, best first: everything about them but bandwidth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Sources with a constraint that is not 0, in order of priority.
    pub wanted: Vec<Wanted>,
    /// Effective constraint of every source, in order of priority; 0 for those beyond last-N and those without video.
    pub effective: Vec<(SourceId, i32)>,
    max_oversend: u64,
}

/// What one source gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The source.
    pub source: SourceId,
    /// Its layer; none is suspended.
    pub layer: Option<LayerIndex>,
    /// The layer it would get with unlimited bandwidth.
    pub ideal: Option<LayerIndex>,
}

/// What a receiver gets at some bandwidth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocation {
    /// In order of priority.
    pub targets: Vec<Target>,
    /// What it costs.
    pub bps: u64,
    /// Whether it costs more than there is, knowingly.
    pub oversending: bool,
    /// The lowest bandwidth above the given one where anything could be decided differently; none if nothing is left to want.
    pub next: Option<u64>,
}

impl Plan {
    /// Steps 1 to 3. `sources`: video of all other endpoints, most recent speaker first.
    pub fn new<'a>(
        config: &AllocationConfig,
        settings: &Settings,
        sources: impl IntoIterator<Item = &'a SourceDesc>,
    ) -> Self {
        let sources: Vec<&SourceDesc> = sources.into_iter().collect();
        let mut by_name: HashMap<&str, usize, foldhash::fast::FixedState> = HashMap::default();
        if !settings.on_stage.is_empty() || !settings.selected.is_empty() {
            by_name.extend(sources.iter().enumerate().map(|(at, it)| (&*it.name, at)));
        }
        let mut placed = vec![false; sources.len()];
        let mut order = Vec::with_capacity(sources.len());
        let mut staged = 0;
        for (name, on_stage) in
            settings.on_stage.iter().map(|name| (name, true)).chain(settings.selected.iter().map(|name| (name, false)))
        {
            if let Some(&at) = by_name.get(&**name).filter(|&&at| !placed[at] && sources[at].video_type.is_enabled()) {
                placed[at] = true;
                order.push(at);
                staged += usize::from(on_stage);
            }
        }
        for enabled in [true, false] {
            let rest = (0..sources.len()).filter(|&at| !placed[at] && sources[at].video_type.is_enabled() == enabled);
            order.extend(rest);
        }

        let last_n = effective_last_n(config, settings, sources.len());
        let mut plan = Self {
            wanted: Vec::new(),
            effective: Vec::with_capacity(order.len()),
            max_oversend: config.max_oversend_bps,
        };
        for (place, at) in order.into_iter().enumerate() {
            let source = sources[at];
            let granted = source.video_type.is_enabled() && plan.wanted.len() < last_n;
            let max_height = if granted { settings.max_height(&source.name) } else { 0 };
            plan.effective.push((source.id, max_height));
            if max_height != 0 {
                let on_stage = place < staged;
                let candidates = Candidates::new(config, source, max_height, on_stage);
                plan.wanted.push(Wanted { source: source.id, max_height, on_stage, candidates });
            }
        }
        plan
    }

    /// Step 4.
    pub fn allocate(&self, available: u64) -> Allocation {
        let mut places = Vec::new();
        let Walk { oversending, next } = self.walk(available, &mut places);
        let targets = self.wanted.iter().zip(&places).map(|(wanted, place)| Target {
            source: wanted.source,
            layer: place.map(|at| wanted.candidates.layers[at].0),
            ideal: wanted.candidates.layers.last().map(|layer| layer.0),
        });
        Allocation { targets: targets.collect(), bps: self.cost(&places), oversending, next }
    }

    /// Step 4, as places among the candidates of each wanted source.
    pub(super) fn walk(&self, available: u64, places: &mut Vec<Option<usize>>) -> Walk {
        let mut run = Run { missing: None, oversend: self.max_oversend };
        places.clear();
        places.resize(self.wanted.len(), None);
        let mut remaining = i64::try_from(available).unwrap_or(i64::MAX).min(i64::MAX / 4);
        let mut oversending = false;
        loop {
            let before = remaining;
            for (i, (wanted, place)) in self.wanted.iter().zip(places.iter_mut()).enumerate() {
                if place.is_some_and(|at| at + 1 == wanted.candidates.layers.len()) {
                    continue;
                }
                remaining -= run.improve(wanted, place, remaining, i == 0);
                oversending |= !run.affords(remaining, 0);
                // Others starve before the stage does.
                if wanted.on_stage && place.map_or(-1, |at| at as isize) < wanted.candidates.preferred_place() {
                    break;
                }
            }
            if remaining == before {
                break;
            }
        }
        Walk { oversending, next: run.missing.and_then(|it| available.checked_add(it)) }
    }

    /// What is forwarded with these places.
    pub(super) fn targets(&self, places: &[Option<usize>]) -> Arc<[(SourceId, LayerIndex)]> {
        let target =
            |(wanted, place): (&Wanted, &Option<usize>)| Some((wanted.source, wanted.candidates.layers[(*place)?].0));
        self.wanted.iter().zip(places).filter_map(target).collect()
    }

    /// What it costs.
    pub(super) fn cost(&self, places: &[Option<usize>]) -> u64 {
        let cost = |(wanted, place): (&Wanted, &Option<usize>)| place.map_or(0, |at| wanted.candidates.layers[at].1);
        self.wanted.iter().zip(places).map(cost).sum()
    }

    /// What everything wanted costs.
    pub fn ideal_bps(&self) -> u64 {
        self.wanted.iter().filter_map(|it| it.candidates.layers.last()).map(|layer| layer.1).sum()
    }
}

/// The least of all limits that apply.
fn effective_last_n(config: &AllocationConfig, settings: &Settings, sources: usize) -> usize {
    let by_size =
        config.conference_last_n.iter().filter(|(size, _)| *size <= sources + 1).max_by_key(|(size, _)| *size);
    let limits = [settings.last_n, config.last_n, by_size.map_or(-1, |(_, n)| *n)];
    limits.into_iter().filter_map(|n| usize::try_from(n).ok()).min().unwrap_or(usize::MAX).min(config.video_slots)
}

/// How a run of step 4 ended, besides the places.
pub(super) struct Walk {
    pub(super) oversending: bool,
    pub(super) next: Option<u64>,
}

/// One run of step 4. Every question is "is there so much?"; the least that was missing for a "no" says up to where all answers stay.
struct Run {
    missing: Option<u64>,
    oversend: u64,
}

impl Run {
    fn affords(&mut self, max: i64, price: i64) -> bool {
        let missing = price - max;
        if missing > 0 {
            let missing = missing as u64;
            self.missing = Some(self.missing.map_or(missing, |least| least.min(missing)));
        }
        missing <= 0
    }

    /// Improves one source by a step, or up to what is preferred on stage. Returns the additional cost.
    fn improve(&mut self, wanted: &Wanted, target: &mut Option<usize>, remaining: i64, may_oversend: bool) -> i64 {
        let Candidates { layers, preferred, oversend } = &wanted.candidates;
        let price = |at: usize| layers[at].1 as i64;
        let before = target.map_or(0, price);
        let max = remaining + before;
        match (*target, preferred) {
            (None, Some(preferred)) if wanted.on_stage => {
                for at in 0..=*preferred {
                    if !self.affords(max, price(at)) {
                        break;
                    }
                    *target = Some(at);
                }
            }
            _ => {
                let next = target.map_or(0, |at| at + 1);
                // The reference asks for strictly less.
                if next < layers.len() && self.affords(max, price(next) + 1) {
                    *target = Some(next);
                }
            }
        }
        if let Some(chosen) = *target
            && let Some(better) = (chosen + 1..layers.len()).rev().find(|&at| price(at) <= price(chosen))
        {
            *target = Some(better);
        }
        if let Some(limit) = oversend.filter(|_| may_oversend) {
            let from = target.map_or(0, |at| at + 1);
            if let Some(at) = (from..=limit).find(|&at| self.affords(max + self.oversend as i64, price(at))) {
                *target = Some(at);
            }
        }
        target.map_or(0, price) - before
    }
}
