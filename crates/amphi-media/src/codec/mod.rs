//! What packets say about frames and layers: VP8, VP9, AV1 (dependency descriptor), H.264 (`spec/bridge.md` 4.1, 4.6).

/// What the codec's headers of one packet say.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// Whether this is the first packet of its frame (VP9: of its layer's frame).
    pub start: bool,
    /// Whether it is the last.
    pub end: bool,
    /// Whether the frame can be decoded without an earlier one.
    pub keyframe: bool,
}
