//! H264 payloads, from parser to numbers.

use amphi_media::codec::Codec;

/// See the module `projection`.
pub fn h264(data: &[u8]) {
    crate::projection::projection(Codec::H264, data);
}
