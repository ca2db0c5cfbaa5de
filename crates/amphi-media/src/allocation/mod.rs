//! Which layer of which source a receiver gets (`spec/bridge.md` 4.11, 9.5.2).
//!
//! ```text
//! Settings + sources in speech order ─► Plan (order, effective constraints, candidate layers)
//!                                         ├─► allocate(bandwidth) ─► Allocation
//!                                         └─► Staircase: all allocations over bandwidth, once per class of receivers
//! ```
//!
//! Pure functions: the conference says when they run, a shard looks rungs up.

mod candidates;
mod plan;
mod settings;
mod staircase;

pub use candidates::Candidates;
pub use plan::{Allocation, Plan, Target, Wanted};
pub use settings::{ConstraintsUpdate, Settings};
pub use staircase::{Hysteresis, Rung, Staircase};

/// How bandwidth is shared out. Names as in `spec/bridge.md` 8.
#[derive(Clone, Debug, PartialEq)]
pub struct AllocationConfig {
    /// Height of what is not listed, once a receiver sent constraints without a default (`cc.default-max-height-px`).
    pub default_max_height: i32,
    /// Height of everything before that (`cc.initial-max-height-px`).
    pub initial_max_height: i32,
    /// Sources at a time before a receiver says it (`cc.initial-last-n`).
    pub initial_last_n: i32,
    /// Height up to which a camera on stage is served before others (`cc.onstage-preferred-height-px`).
    pub on_stage_preferred_height: u16,
    /// Frame rate wanted for what is larger than a thumbnail (`cc.onstage-preferred-framerate`).
    pub on_stage_preferred_fps: f32,
    /// Whether a screen on stage may cost more than there is (`cc.allow-oversend-onstage`).
    pub allow_oversend: bool,
    /// By how much (`cc.max-oversend-bitrate`).
    pub max_oversend_bps: u64,
    /// Sources at a time for everybody (`cc.jvb-last-n`); -1 is no limit.
    pub last_n: i32,
    /// Sources at a time by size of the conference: the entry with the greatest size not above it counts (`conference-last-n-limits`).
    pub conference_last_n: Vec<(usize, i32)>,
    /// Slots for video (`ssrc-limit.video`).
    pub video_slots: usize,
    /// Runs of the allocator that one staircase may take; beyond them bandwidth is walked in steps of a hundredth.
    pub max_staircase_runs: usize,
}

impl Default for AllocationConfig {
    fn default() -> Self {
        Self {
            default_max_height: 180,
            initial_max_height: 0,
            initial_last_n: -1,
            on_stage_preferred_height: 360,
            on_stage_preferred_fps: 30.0,
            allow_oversend: true,
            max_oversend_bps: 500_000,
            last_n: -1,
            conference_last_n: Vec::new(),
            video_slots: 50,
            max_staircase_runs: 4096,
        }
    }
}

#[cfg(test)]
mod tests;
