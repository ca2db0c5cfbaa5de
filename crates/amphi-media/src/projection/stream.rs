//! One source at one quality: what is forwarded of it, in numbers without holes.

use std::time::Duration;

use super::Projected;
use crate::ids::LayerIndex;
use crate::packet::MediaPacket;

/// Limits and delays of a [`super::Stream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamConfig {
    /// Keyframes of several encodings within this time are answers to one request (`spec/bridge.md` 4.6.1): 300 ms.
    pub keyframe_group: Duration,
    /// An encoding of which nothing came for this time is left for a lower one at a keyframe: 500 ms.
    pub silence: Duration,
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self { keyframe_group: Duration::from_millis(300), silence: Duration::from_millis(500) }
    }
}

/// A source at a target layer. Takes every packet of the source in order of arrival.
#[derive(Debug)]
pub struct Stream {
    target: LayerIndex,
}

impl Stream {
    /// Nothing forwarded yet.
    pub fn new(target: LayerIndex, config: StreamConfig) -> Self {
        unreachable!("{config:?}{target:?}")
    }

    /// The target.
    pub fn target(&self) -> LayerIndex {
        self.target
    }

    /// Decides about a packet; what is forwarded gets the stream's numbers.
    pub fn push(&mut self, packet: &MediaPacket) -> Option<Projected> {
        unreachable!("{packet:?}")
    }

    /// A packet that never comes (padding alone): its number does not stay free.
    pub fn skip(&mut self, encoding: u8, seq: u64) {
        unreachable!("{encoding}{seq}")
    }

    /// Whether it cannot go on without a keyframe of the source. To be asked after each packet; requests are merged elsewhere (`keyframe`).
    pub fn needs_keyframe(&self) -> bool {
        unreachable!()
    }
}
