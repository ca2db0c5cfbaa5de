//! Numbers by which the media plane names things. They are given by the control plane, dense and small, and index tables.

/// A conference on this bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConferenceId(pub u32);

/// An endpoint, relayed endpoint or relay on this bridge. Not used again while anything of the earlier one may be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub u32);

/// A media source (`spec/bridge.md` 4.1) on this bridge, own or relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u32);

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// Audio.
    Audio,
    /// Video.
    Video,
}

/// A forwardable quality step of a source: `encoding << 6 | spatial << 3 | temporal`, for AV1 `encoding << 6 | decode target`. Comparable
/// inside one source (`spec/bridge.md` 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerIndex(pub u16);

impl LayerIndex {
    /// From encoding, spatial and temporal layer.
    pub fn new(encoding: u8, spatial: u8, temporal: u8) -> Self {
        Self(u16::from(encoding) << 6 | u16::from(spatial & 7) << 3 | u16::from(temporal & 7))
    }

    /// From encoding and AV1 decode target.
    pub fn av1(encoding: u8, decode_target: u8) -> Self {
        Self(u16::from(encoding) << 6 | u16::from(decode_target & 63))
    }

    /// The encoding: which simulcast stream.
    pub fn encoding(self) -> u8 {
        (self.0 >> 6) as u8
    }

    /// The spatial layer (not for AV1).
    pub fn spatial(self) -> u8 {
        (self.0 >> 3 & 7) as u8
    }

    /// The temporal layer (not for AV1).
    pub fn temporal(self) -> u8 {
        (self.0 & 7) as u8
    }

    /// The decode target (AV1 only).
    pub fn decode_target(self) -> u8 {
        (self.0 & 63) as u8
    }
}

/// Receivers that want the same and exclude the same own sources; they share one staircase and one slot table (`spec/bridge.md` 9.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassId(pub u32);
