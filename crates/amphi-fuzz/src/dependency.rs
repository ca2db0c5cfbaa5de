//! Dependency descriptors, from parser to numbers.

use amphi_media::codec::Codec;

/// See the module `projection`.
pub fn dependency(data: &[u8]) {
    crate::projection::projection(Codec::Av1, data);
}
