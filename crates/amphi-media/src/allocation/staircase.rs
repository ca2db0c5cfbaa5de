//! The allocation as a function of bandwidth: it has steps, so all its values are computed once and looked up (`spec/bridge.md` 9.5.2).

use std::sync::Arc;

use crate::ids::{LayerIndex, SourceId};

use super::Plan;
use super::plan::Walk;

/// One step: from this bandwidth on, up to the next rung.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Bandwidth from which it holds; 0 for the first.
    pub at: u64,
    /// What is forwarded, in order of priority. Sources that are not here are suspended.
    pub targets: Arc<[(SourceId, LayerIndex)]>,
    /// What it costs.
    pub bps: u64,
    /// Whether that is knowingly more than there may be.
    pub oversending: bool,
}

/// All rungs, from bandwidth 0 upwards; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staircase {
    /// By rising bandwidth.
    pub rungs: Vec<Rung>,
    /// What the last rung costs and what probing aims at.
    pub ideal_bps: u64,
}

impl Default for Staircase {
    /// Nothing at any bandwidth.
    fn default() -> Self {
        Self { rungs: vec![Rung { at: 0, targets: Arc::new([]), bps: 0, oversending: false }], ideal_bps: 0 }
    }
}

impl Staircase {
    /// All allocations of a plan. After `max_runs` runs of the allocator bandwidth is walked in steps of a hundredth instead of from change to
    /// change: then a rung may begin up to a hundredth too late.
    pub fn new(plan: &Plan, max_runs: usize) -> Self {
        let mut rungs: Vec<Rung> = Vec::new();
        let (mut places, mut last) = (Vec::new(), Vec::new());
        let mut at = 0u64;
        for run in 0.. {
            let Walk { oversending, next } = plan.walk(at, &mut places);
            if rungs.last().is_none_or(|rung| rung.oversending != oversending) || places != last {
                rungs.push(Rung { at, targets: plan.targets(&places), bps: plan.cost(&places), oversending });
                std::mem::swap(&mut places, &mut last);
            }
            let Some(next) = next else { break };
            at = if run < max_runs { next } else { next.max(at + at / 100) };
        }
        Self { rungs, ideal_bps: plan.ideal_bps() }
    }

    /// Index of the rung that holds at a bandwidth.
    pub fn rung(&self, available: u64) -> usize {
        self.rungs.partition_point(|rung| rung.at <= available).saturating_sub(1)
    }
}

/// The bandwidth that one receiver's rung is looked up with. It follows the estimate only when that moved by more than 15 %
/// (`cc.bwe-change-threshold`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hysteresis {
    used: u64,
}

impl Hysteresis {
    /// Begins at an estimate.
    pub fn new(estimate: u64) -> Self {
        Self { used: estimate }
    }

    /// The bandwidth to look up with.
    pub fn used(self) -> u64 {
        self.used
    }

    /// Takes a new estimate. True if it counts: then look the rung up again.
    pub fn update(&mut self, estimate: u64) -> bool {
        let moved = u128::from(estimate.abs_diff(self.used)) * 100 > u128::from(self.used) * 15;
        if moved {
            self.used = estimate;
        }
        moved
    }
}
