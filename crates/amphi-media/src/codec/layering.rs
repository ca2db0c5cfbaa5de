//! The layers of one encoding, as far as they are known (`spec/bridge.md` 4.1).

use smallvec::SmallVec;

use super::Codec;

/// One forwardable quality of an encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Low six bits of the `LayerIndex`.
    pub index: u8,
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// Height in pixels, when it is known.
    pub height: Option<u16>,
    /// Frames in ten seconds: an estimate if media do not tell.
    pub deci_fps: u16,
    /// Whether the sender encodes it at present.
    pub active: bool,
}

/// The layers of one encoding, by rising index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layering {
    /// The codec that was last received.
    pub codec: Codec,
    /// Layers; at least one.
    pub layers: SmallVec<[Layer; 9]>,
}

/// Frame rate of temporal layer `temporal` of `count` layers, if the highest has `highest` frames in ten seconds.
pub(super) fn halved(highest: u16, temporal: u8, count: u8) -> u16 {
    highest >> count.saturating_sub(temporal + 1).min(15)
}

impl Layering {
    /// What is assumed before media: one spatial layer of unknown height, three temporal layers at 7.5, 15 and 30 frames per second.
    pub fn assumed(codec: Codec) -> Self {
        Self { codec, layers: grid(&[None], 3, 300) }
    }

    /// The layer of an index.
    pub fn layer(&self, index: u8) -> Option<&Layer> {
        self.layers.iter().find(|l| l.index == index)
    }

    /// The greatest height that is known.
    pub fn height(&self) -> Option<u16> {
        self.layers.iter().filter_map(|l| l.height).max()
    }
}

/// Every combination of spatial layers (by height) with temporal layers.
pub(super) fn grid(heights: &[Option<u16>], temporal_layers: u8, deci_fps: u16) -> SmallVec<[Layer; 9]> {
    let mut layers = SmallVec::new();
    for (spatial, height) in (0u8..8).zip(heights) {
        for temporal in 0..temporal_layers.clamp(1, 8) {
            layers.push(Layer {
                index: spatial << 3 | temporal,
                spatial,
                temporal,
                height: *height,
                deci_fps: halved(deci_fps, temporal, temporal_layers),
                active: true,
            });
        }
    }
    layers
}
