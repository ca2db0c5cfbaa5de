//! VP9 payloads, from parser to numbers.

use amphi_media::codec::Codec;

/// See the module `projection`.
pub fn vp9(data: &[u8]) {
    crate::projection::projection(Codec::Vp9, data);
}
