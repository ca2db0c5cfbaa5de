//! SSRCs of slots: a function of the conference's secret and the slot's number, apart from each other and from what is signaled.

use std::sync::Arc;

use crate::ids::MediaKind;

/// The SSRCs of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSsrc {
    /// Of media.
    pub ssrc: u32,
    /// Of retransmissions (video only; audio has the number too, but never uses it).
    pub rtx: u32,
}

/// The SSRCs of all slots of one kind.
#[derive(Clone, Debug)]
pub struct SlotSsrcs {
    secret: u64,
    kind: MediaKind,
    slots: Arc<[SlotSsrc]>,
    /// How many draws a slot took: rises when a signaled SSRC turns out to be equal.
    draws: Vec<u32>,
}

impl SlotSsrcs {
    /// Draws the SSRCs of `count` slots; `taken` says which are signaled by somebody.
    pub fn new(secret: u64, kind: MediaKind, count: usize, taken: impl Fn(u32) -> bool) -> Self {
        let mut it = Self { secret, kind, slots: Arc::new([]), draws: vec![0; count] };
        let mut slots: Vec<SlotSsrc> = Vec::with_capacity(count);
        for k in 0..count {
            let slot = it.draw(k, |ssrc| taken(ssrc) || slots.iter().any(|s| s.ssrc == ssrc || s.rtx == ssrc));
            slots.push(slot);
        }
        it.slots = slots.into();
        it
    }

    /// By number of slot.
    pub fn all(&self) -> &Arc<[SlotSsrc]> {
        &self.slots
    }

    /// The slot that has an SSRC, and whether it is the one of retransmissions.
    pub fn find(&self, ssrc: u32) -> Option<(usize, bool)> {
        let at = self.slots.iter().position(|slot| slot.ssrc == ssrc || slot.rtx == ssrc)?;
        Some((at, self.slots[at].ssrc != ssrc))
    }

    /// Somebody signaled this SSRC: if a slot has it, the slot gets others. Returns the slot.
    pub fn avoid(&mut self, ssrc: u32, taken: impl Fn(u32) -> bool) -> Option<usize> {
        let (at, _) = self.find(ssrc)?;
        let others = self.slots.clone();
        let slot = self.draw(at, |it| it == ssrc || taken(it) || others.iter().any(|s| s.ssrc == it || s.rtx == it));
        self.slots = others.iter().enumerate().map(|(k, old)| if k == at { slot } else { *old }).collect();
        Some(at)
    }

    fn draw(&mut self, slot: usize, taken: impl Fn(u32) -> bool) -> SlotSsrc {
        loop {
            let draw = u64::from(self.draws[slot]);
            self.draws[slot] = self.draws[slot].wrapping_add(1);
            let kind = u64::from(self.kind == MediaKind::Video);
            let hash = mix(self.secret ^ mix((slot as u64) << 33 | kind << 32 | draw));
            let (ssrc, rtx) = (hash as u32, (hash >> 32) as u32);
            if ssrc != 0 && rtx != 0 && ssrc != rtx && !taken(ssrc) && !taken(rtx) {
                return SlotSsrc { ssrc, rtx };
            }
        }
    }
}

/// Finaliser of splitmix64: spreads every bit over all.
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_the_same_for_everybody_and_apart_from_what_is_signaled() {
        let free = SlotSsrcs::new(7, MediaKind::Video, 50, |_| false);
        assert_eq!(free.all(), SlotSsrcs::new(7, MediaKind::Video, 50, |_| false).all());
        assert_ne!(free.all()[0], SlotSsrcs::new(8, MediaKind::Video, 50, |_| false).all()[0]);
        assert_ne!(free.all()[0], SlotSsrcs::new(7, MediaKind::Audio, 50, |_| false).all()[0]);
        let mut ssrcs: Vec<u32> = free.all().iter().flat_map(|slot| [slot.ssrc, slot.rtx]).collect();
        ssrcs.sort_unstable();
        ssrcs.dedup();
        assert_eq!(ssrcs.len(), 100);
        let signaled = free.all()[3].rtx;
        let avoiding = SlotSsrcs::new(7, MediaKind::Video, 50, |ssrc| ssrc == signaled);
        assert_eq!(avoiding.find(signaled), None);
        assert_eq!(avoiding.all()[4], free.all()[4], "the others stay");
    }

    #[test]
    fn a_slot_gives_way_to_an_ssrc_signaled_later() {
        let mut slots = SlotSsrcs::new(7, MediaKind::Audio, 50, |_| false);
        let before = slots.all().clone();
        assert_eq!(slots.avoid(before[9].ssrc, |_| false), Some(9));
        assert_eq!(slots.find(before[9].ssrc), None);
        assert_eq!(slots.avoid(before[9].ssrc, |_| false), None);
        assert_eq!(slots.all()[8], before[8]);
    }
}
