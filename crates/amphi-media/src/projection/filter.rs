//! What of a source belongs to a target: keyframe groups, temporal and spatial layers, decode targets (`spec/bridge.md` 4.6.1, 4.6.3, 4.6.4).

use std::time::Instant;

use super::StreamConfig;
use super::frames::Frames;
use crate::codec::dependency::{self, Indication};
use crate::codec::{vp8, vp9};
use crate::ids::LayerIndex;

#[derive(Debug)]
pub(super) struct Filter {
    target: LayerIndex,
    config: StreamConfig,
    /// Encoding that is forwarded.
    pub(super) encoding: Option<u8>,
    pub(super) needs_keyframe: bool,
    group: Option<Instant>,
    /// VP9: highest spatial layer forwarded, and whether each was forwarded in its latest base frame.
    spatial: u8,
    forwarded: [bool; 8],
    /// VP9: spatial layers of the latest structure.
    spatial_layers: u8,
    /// VP9: every frame of the target's spatial layer since the keyframe is a reference for upper layers.
    all_referenced: bool,
    /// VP8: highest temporal layer of frames since the keyframe.
    highest_temporal: u8,
    /// Accepted frames of upper temporal layers since one that said that it is a switching point.
    without_sync: u16,
    /// Decode target that is forwarded, and those that the source says are active.
    pub(super) decode_target: u8,
    active: u32,
}

/// After so many frames of upper temporal layers without one marked, it is thought that the sender marks none.
const NEVER_MARKED: u16 = 60;

impl Filter {
    pub(super) fn new(target: LayerIndex, config: StreamConfig) -> Self {
        Self {
            target,
            config,
            encoding: None,
            needs_keyframe: true,
            group: None,
            spatial: 0,
            forwarded: [false; 8],
            spatial_layers: 8,
            all_referenced: true,
            highest_temporal: 0,
            without_sync: 0,
            decode_target: 0,
            active: u32::MAX,
        }
    }

    /// Waits for a keyframe, as in the beginning.
    pub(super) fn reset(&mut self) {
        *self = Self { group: self.group, ..Self::new(self.target, self.config) };
    }

    /// Decides about a keyframe of an encoding. `silent`: nothing comes of the encoding that is forwarded.
    pub(super) fn keyframe(&mut self, now: Instant, encoding: u8, silent: bool) -> bool {
        self.needs_keyframe = false;
        let target = self.target.encoding();
        if self.outside_group(now) {
            self.group = Some(now);
        }
        // What is shown is left for something lower only when nothing comes of it any more: of a group, which answers one request, the rest
        // will follow, and a step down and up again within it would be seen.
        let accepted = encoding <= target && self.encoding.is_none_or(|current| encoding >= current || silent);
        if accepted {
            self.encoding = Some(encoding);
            self.spatial = 0;
            self.forwarded = [true, false, false, false, false, false, false, false];
            self.all_referenced = true;
            self.highest_temporal = 0;
        }
        accepted
    }

    fn outside_group(&self, now: Instant) -> bool {
        self.group.is_none_or(|start| now.saturating_duration_since(start) > self.config.keyframe_group)
    }

    /// Whether a packet that is not a keyframe's is of the encoding that is forwarded.
    pub(super) fn is_current(&mut self, now: Instant, encoding: u8) -> bool {
        let Some(current) = self.encoding else {
            self.needs_keyframe = true;
            return false;
        };
        if encoding > current && encoding <= self.target.encoding() && self.outside_group(now) {
            self.needs_keyframe = true;
        }
        encoding == current
    }

    /// Whether what is forwarded is of the target's encoding.
    pub(super) fn is_settled(&self) -> bool {
        self.encoding == Some(self.target.encoding())
    }

    pub(super) fn vp8(&mut self, frame: &vp8::Descriptor, key: u64, frames: &Frames) -> bool {
        let accepted = !self.is_settled() || frame.temporal <= self.target.temporal();
        if accepted && frame.temporal > 0 {
            self.highest_temporal = self.highest_temporal.max(frame.temporal);
            self.mark(frame.layer_sync);
            return frames.is_decodable(key, frame.temporal);
        }
        accepted
    }

    fn mark(&mut self, sync: bool) {
        self.without_sync = if sync { 0 } else { self.without_sync.saturating_add(1) };
    }

    pub(super) fn vp9_structure(&mut self, frame: &vp9::Descriptor) {
        if let Some(count) = frame.new_spatial_layers {
            self.spatial_layers = count;
        }
    }

    /// Highest spatial layer that is wanted of what there is.
    pub(super) fn vp9_target(&self) -> u8 {
        let wanted = if self.is_settled() { self.target.spatial() } else { 7 };
        wanted.min(self.spatial_layers.saturating_sub(1))
    }

    pub(super) fn vp9(&mut self, frame: &vp9::Descriptor) -> bool {
        let layer = usize::from(frame.spatial & 7);
        let target = self.vp9_target();
        let can_forward = (!frame.inter_picture_predicted || self.forwarded[layer])
            && (!frame.inter_layer_dependent || layer > 0 && self.forwarded[layer - 1]);
        let up = self.spatial < frame.spatial && frame.spatial <= target;
        let down = target <= frame.spatial && frame.spatial < self.spatial;
        if up || down || frame.new_spatial_layers.is_some_and(|count| self.spatial >= count) {
            if can_forward {
                self.spatial = frame.spatial;
            } else {
                self.needs_keyframe = true;
            }
        }
        let wanted = frame.spatial == self.spatial || frame.spatial < self.spatial && !frame.not_reference_for_upper;
        let forward = wanted && can_forward;
        if frame.temporal == 0 {
            self.forwarded[layer] = forward;
        }
        let accepted = forward
            && match self.is_settled() {
                false => true,
                true if self.spatial > target => frame.temporal == 0,
                true => frame.temporal <= self.target.temporal(),
            };
        if accepted && frame.spatial == self.spatial {
            self.all_referenced &= !frame.not_reference_for_upper;
            self.mark(frame.switching_up);
        }
        accepted
    }

    /// Whether a VP9 frame of this layer is the last of its picture that is forwarded.
    pub(super) fn vp9_is_top(&self, frame: &vp9::Descriptor) -> bool {
        frame.spatial == if frame.inter_picture_predicted { self.spatial } else { self.vp9_target() }
    }

    /// The decode target that is wanted of those which are active.
    fn wanted_target(&self, structure: &dependency::Structure) -> Option<u8> {
        let highest = structure.decode_targets - 1;
        let wanted = if self.is_settled() { self.target.decode_target().min(highest) } else { highest };
        let active = self.active & structure.all_targets() & u32::MAX >> (31 - wanted);
        active.checked_ilog2().map(|dt| dt as u8)
    }

    /// Takes which decode targets are active.
    pub(super) fn activate(&mut self, frame: &dependency::Descriptor) {
        if let Some(active) = frame.active {
            self.active = active;
        } else if frame.attached {
            self.active = u32::MAX;
        }
    }

    /// Decides about the decode target of a keyframe whose encoding was accepted.
    pub(super) fn dependency_keyframe(&mut self, frame: &dependency::Descriptor) -> bool {
        match self.wanted_target(&frame.structure) {
            Some(target) if frame.indication(target) != Indication::NotPresent => {
                self.decode_target = target;
                true
            }
            _ => false,
        }
    }

    pub(super) fn dependency(&mut self, frame: &dependency::Descriptor, key: u64, frames: &Frames) -> bool {
        let Some(wanted) = self.wanted_target(&frame.structure) else {
            return false;
        };
        if self.decode_target != wanted {
            let accepted = |back: &u16| {
                key.checked_sub(u64::from(*back))
                    .and_then(|k| frames.get(k))
                    .is_some_and(|reference| reference.accepted)
            };
            if frame.indication(wanted) == Indication::Switch && frame.references().iter().all(accepted) {
                self.decode_target = wanted;
            } else if !frame.structure.has_switch(wanted, self.decode_target) {
                self.needs_keyframe = true;
            }
        }
        frame.indication(self.decode_target) != Indication::NotPresent
    }

    /// Mask of active decode targets for a receiver of what is forwarded.
    pub(super) fn active_mask(&self, structure: &dependency::Structure) -> u32 {
        structure.targets_within(self.decode_target) & self.active & structure.all_targets()
    }

    /// Layers from which a VP8 receiver may change to this stream at the beginning of this frame.
    pub(super) fn vp8_joinable(&self, frame: &vp8::Descriptor) -> u64 {
        let target = self.target.temporal();
        let higher = temporal_from(target);
        if frame.temporal == 0 && self.without_sync > NEVER_MARKED {
            return temporal_from(0);
        }
        // A frame of the highest layer that needs the base layer alone. Encoders let what is between follow in the same way.
        let sync = if frame.layer_sync && frame.temporal > 0 && frame.temporal >= self.highest_temporal {
            temporal_from(0) & !temporal_from(frame.temporal)
        } else {
            0
        };
        higher | sync
    }

    /// The same for VP9, at the beginning of a picture.
    pub(super) fn vp9_joinable(&self, frame: &vp9::Descriptor) -> u64 {
        if self.spatial != self.target.spatial() {
            return 0;
        }
        let higher = temporal_from(self.target.temporal());
        let mut same = higher;
        if frame.switching_up {
            same |= temporal_from(frame.temporal);
        } else if frame.temporal == 0 && self.without_sync > NEVER_MARKED {
            same = temporal_from(0);
        }
        let mut mask = same << (self.spatial * 8);
        if self.all_referenced {
            // What upper layers build upon is forwarded to those who get them.
            for upper in self.spatial + 1..8 {
                mask |= higher << (upper * 8);
            }
        }
        mask
    }

    /// The same for dependency descriptors.
    pub(super) fn dependency_joinable(&self, frame: &dependency::Descriptor, key: u64, frames: &Frames) -> u64 {
        if self.decode_target != self.target.decode_target()
            || frame.indication(self.decode_target) != Indication::Switch
        {
            return 0;
        }
        let references = frame.references().iter();
        let mask = references.fold(frame.structure.all_targets(), |mask, back| {
            let reference = key.checked_sub(u64::from(*back)).and_then(|k| frames.get(k));
            mask & reference.map_or(0, |r| r.targets)
        });
        mask.into()
    }
}

/// Temporal layers from one on, of spatial layer 0.
fn temporal_from(lowest: u8) -> u64 {
    0xff_u64 & 0xff << lowest
}
