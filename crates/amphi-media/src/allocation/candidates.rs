//! Which layers of a source come into question under a constraint (`spec/bridge.md` 4.11, step 3).

use smallvec::SmallVec;

use crate::ids::LayerIndex;
use crate::source::{Layer, SourceDesc};

use super::AllocationConfig;

/// Layers to choose from, from worst to best.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidates {
    /// Layer and what it costs.
    pub layers: SmallVec<[(LayerIndex, u64); 9]>,
    /// Place of the one up to which a source on stage goes before others.
    pub preferred: Option<usize>,
    /// Place of the one up to which more may be sent than there is bandwidth.
    pub oversend: Option<usize>,
}

/// Above this height a source is more than a thumbnail.
const THUMBNAIL: i32 = 180;
/// Rates beyond this are not believed; sums of all sources stay far from overflow.
const MAX_BPS: u64 = 1 << 40;

impl Candidates {
    /// For a source with a constraint (-1 is no limit).
    pub fn new(config: &AllocationConfig, source: &SourceDesc, max_height: i32, on_stage: bool) -> Self {
        if source.video_type.is_screen() {
            Self::screen(config, source, max_height, on_stage)
        } else {
            Self::camera(config, source, max_height)
        }
    }

    /// As the allocation loop compares: place of the preferred layer, -1 if none.
    pub(super) fn preferred_place(&self) -> isize {
        self.preferred.map_or(-1, |at| at as isize)
    }

    fn camera(config: &AllocationConfig, source: &SourceDesc, max_height: i32) -> Self {
        let Some(lowest) = source.layers().map(|layer| layer.height).min() else { return Self::default() };
        let silent = source.layers().all(|layer| layer.cost() == 0);
        // A thumbnail has no preference: no height is below it and every frame rate is enough.
        let preference = (!(0..=THUMBNAIL).contains(&max_height))
            .then_some((config.on_stage_preferred_height, config.on_stage_preferred_fps));
        let comes = |layer: &&Layer| silent || layer.cost() > 0;
        // Of what comes: sources with fewer temporal layers than are assumed before media are no slower for it.
        let fastest = source.layers().filter(comes).filter_map(|layer| layer.fps).fold(f32::MIN, f32::max);
        let keep = |layer: &Layer| {
            let below = preference.is_some_and(|(height, _)| layer.height < height);
            let fast = preference.is_none_or(|(_, fps)| layer.fps.is_none_or(|it| it >= fps.min(fastest)));
            below || (fits(layer, max_height) && fast) || layer.height == lowest
        };
        let kept: SmallVec<[&Layer; 9]> = source.layers().filter(comes).filter(|layer| keep(layer)).collect();
        let up_to = preference.map_or(0, |(height, _)| height).max(lowest);
        let preferred = kept.iter().rposition(|layer| layer.height <= up_to);
        Self { layers: priced(&kept), preferred, oversend: None }
    }

    fn screen(config: &AllocationConfig, source: &SourceDesc, max_height: i32, on_stage: bool) -> Self {
        let mut active: SmallVec<[&Layer; 9]> = source.layers().filter(|layer| layer.cost() > 0).collect();
        if active.is_empty() {
            active = source.layers().collect();
        }
        let mut kept: SmallVec<[&Layer; 9]> = active.iter().copied().filter(|layer| fits(layer, max_height)).collect();
        if kept.is_empty() {
            let lowest = active.iter().map(|layer| layer.height).min();
            kept = active.iter().copied().filter(|layer| Some(layer.height) == lowest).collect();
            if !on_stage && kept.first().is_some_and(|layer| layer.fps.is_none()) {
                // Encodings of equal size and unknown frame rate are qualities: the least is enough.
                kept.truncate(1);
            }
        }
        let oversend = (on_stage && config.allow_oversend)
            .then(|| {
                let highest = kept.iter().map(|layer| layer.height).max();
                let tallest = kept.iter().enumerate().filter(|(_, layer)| Some(layer.height) == highest);
                tallest.min_by_key(|(_, layer)| layer.cost()).map(|(at, _)| at)
            })
            .flatten();
        Self { layers: priced(&kept), preferred: kept.len().checked_sub(1), oversend }
    }
}

fn fits(layer: &Layer, max_height: i32) -> bool {
    max_height < 0 || i32::from(layer.height) <= max_height
}

fn priced(layers: &[&Layer]) -> SmallVec<[(LayerIndex, u64); 9]> {
    layers.iter().map(|layer| (layer.index, layer.cost().min(MAX_BPS))).collect()
}
