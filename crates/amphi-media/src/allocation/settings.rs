//! What a receiver wants: the state that its ReceiverVideoConstraints messages add up to. Sources are named, since a receiver may want one
//! that is not signaled yet. Equal settings make receivers share a class.

use std::sync::Arc;

use super::AllocationConfig;

/// A partial update (`spec/bridge.md` 3.2): what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConstraintsUpdate {
    /// Sources at a time; -1 is no limit.
    pub last_n: Option<i32>,
    /// Sources before all others, in order.
    pub on_stage: Option<Vec<Arc<str>>>,
    /// Sources before those that speak, in order.
    pub selected: Option<Vec<Arc<str>>>,
    /// Height of what is not listed; -1 is no limit, 0 is off.
    pub default_max_height: Option<i32>,
    /// Heights by source.
    pub max_heights: Option<Vec<(Arc<str>, i32)>>,
    /// Bandwidth to assume instead of the estimate; negative is none.
    pub assumed_bandwidth: Option<i64>,
}

/// What a receiver wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// Sources at a time; -1 is no limit.
    pub last_n: i32,
    /// Sources before all others, in order.
    pub on_stage: Vec<Arc<str>>,
    /// Sources before those that speak, in order.
    pub selected: Vec<Arc<str>>,
    /// Height of what is not listed; -1 is no limit, 0 is off.
    pub default_max_height: i32,
    /// Heights by source, by name.
    pub max_heights: Vec<(Arc<str>, i32)>,
}

impl Settings {
    /// Before the first message.
    pub fn initial(config: &AllocationConfig) -> Self {
        Self {
            last_n: config.initial_last_n,
            on_stage: Vec::new(),
            selected: Vec::new(),
            default_max_height: config.initial_max_height,
            max_heights: Vec::new(),
        }
    }

    /// After a message. `first` is true for the first one: then what is not listed gets the default height, if it says nothing of it.
    pub fn updated(&self, update: ConstraintsUpdate, first: bool, config: &AllocationConfig) -> Self {
        let former = if first { config.default_max_height } else { self.default_max_height };
        let max_heights = match update.max_heights {
            None => self.max_heights.clone(),
            Some(mut heights) => {
                heights.sort_by(|a, b| a.0.cmp(&b.0));
                heights.dedup_by(|a, b| a.0 == b.0);
                heights
            }
        };
        Self {
            last_n: update.last_n.unwrap_or(self.last_n).max(-1),
            on_stage: update.on_stage.unwrap_or_else(|| self.on_stage.clone()),
            selected: update.selected.unwrap_or_else(|| self.selected.clone()),
            default_max_height: update.default_max_height.unwrap_or(former),
            max_heights,
        }
    }

    /// Greatest height wanted of a source.
    pub fn max_height(&self, source: &str) -> i32 {
        let found = self.max_heights.binary_search_by(|(name, _)| (**name).cmp(source));
        found.map_or(self.default_max_height, |at| self.max_heights[at].1)
    }

    /// Whether a source is named on stage or selected.
    pub fn names(&self, source: &str) -> bool {
        self.on_stage.iter().chain(&self.selected).any(|name| **name == *source)
    }
}
