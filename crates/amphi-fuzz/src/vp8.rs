//! VP8 payloads, from parser to numbers.

use amphi_media::codec::Codec;

/// See the module `projection`.
pub fn vp8(data: &[u8]) {
    crate::projection::projection(Codec::Vp8, data);
}
