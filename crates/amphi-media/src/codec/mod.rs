//! What packets say about frames and layers: VP8, VP9, AV1 (dependency descriptor), H.264 (`spec/bridge.md` 4.1, 4.6).
//!
//! A [`Parser`] per received SSRC makes a [`Frame`] of each packet and keeps what it learns about the encoding's layers ([`Layering`]). It decides
//! nothing; `projection` does.

mod bits;
pub mod dependency;
pub mod h264;
mod layering;
mod parser;
#[cfg(test)]
pub(crate) mod sample;
pub mod vp8;
pub mod vp9;

pub use layering::{Layer, Layering};
pub use parser::{ParseError, Parser};

/// How video is encoded, by the encoding name of its payload type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Audio, and video that is forwarded without a look into it.
    #[default]
    Other,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// The AV1 RTP specification.
    Av1,
    /// RFC 6184.
    H264,
}

impl Codec {
    /// By encoding name as in SDP, in any case.
    pub fn from_name(name: &str) -> Self {
        [("VP8", Self::Vp8), ("VP9", Self::Vp9), ("AV1", Self::Av1), ("H264", Self::H264)]
            .into_iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map_or(Self::Other, |(_, codec)| codec)
    }
}

/// What the codec's headers of one packet say.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// How it is encoded.
    pub codec: Codec,
    /// Whether this is the first packet of its frame (VP9, AV1: of its layer's frame).
    pub start: bool,
    /// Whether it is the last.
    pub end: bool,
    /// Whether the frame can be decoded without an earlier one (an upper spatial layer of a key picture: with the layers below alone). VP8, AV1
    /// and H.264 tell it on the first packet of the frame only.
    pub keyframe: bool,
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// Whether this packet changed the [`Layering`] of its encoding: heights, layers, active decode targets, codec.
    pub layering_changed: bool,
    /// The parsed header that carries ids and layers.
    pub headers: Headers,
}

/// The header by which a packet is projected (`spec/bridge.md` 4.6, table of contexts).
#[derive(Clone, Debug, Default)]
pub enum Headers {
    /// None that is understood.
    #[default]
    None,
    /// VP8 with picture id and temporal layer.
    Vp8(vp8::Descriptor),
    /// VP9 with picture id.
    Vp9(vp9::Descriptor),
    /// Any codec with a dependency descriptor.
    Dependency(dependency::Descriptor),
}

impl Frame {
    /// Whether a receiver of the layer (low six bits of a `LayerIndex`) gets this packet in the long run: what the layer's bitrate is made of.
    pub fn counts_for(&self, layer: u8) -> bool {
        let (spatial, temporal) = (layer >> 3 & 7, layer & 7);
        match &self.headers {
            Headers::None => true,
            Headers::Vp8(_) => self.temporal <= temporal,
            Headers::Vp9(d) => {
                self.temporal <= temporal
                    && (self.spatial == spatial || self.spatial < spatial && !d.not_reference_for_upper)
            }
            Headers::Dependency(d) => d.indication(layer) != dependency::Indication::NotPresent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codecs_are_named_as_in_sdp() {
        assert_eq!(Codec::from_name("vp8"), Codec::Vp8);
        assert_eq!(Codec::from_name("AV1"), Codec::Av1);
        assert_eq!(Codec::from_name("opus"), Codec::Other);
    }
}
