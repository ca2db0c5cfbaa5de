//! Retransmissions of a publisher (RFC 4588), turned back into the packets that they repeat.

use thiserror::Error;

/// Bytes of a retransmission's payload before the original payload: the original sequence number.
pub const RTX_HEADER: usize = 2;

/// Signaled pairs of one publisher above which more are refused: 3 encodings of 50 sources are 150.
const MAX_SSRCS: usize = 256;

/// What a retransmission was before. Its payload is what follows the first [`RTX_HEADER`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original {
    /// SSRC of the media.
    pub ssrc: u32,
    /// Payload type of the media (`apt`).
    pub payload_type: u8,
    /// Sequence number of the original.
    pub seq: u16,
}

/// Why a packet on an RTX stream is not media. All of them mean: drop it and count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RtxError {
    /// No payload: sent to probe the bandwidth.
    #[error("retransmission without payload")]
    Empty,
    /// One byte only, so no sequence number fits.
    #[error("retransmission cut short")]
    Short,
    /// The SSRC was not signaled in a pair with a media SSRC.
    #[error("retransmission on an SSRC without a media SSRC")]
    UnknownSsrc,
    /// The payload type has no `apt`.
    #[error("retransmission with a payload type without associated type")]
    UnknownPayloadType,
}

/// The signaled pairs of one publisher: RTX SSRC to media SSRC, RTX payload type to media payload type.
#[derive(Clone, Debug, Default)]
pub struct RtxMap {
    ssrcs: Vec<(u32, u32)>,
    types: Vec<(u8, u8)>,
}

impl RtxMap {
    /// Without pairs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces what `rtx` repeats. False when there are too many already.
    pub fn pair_ssrc(&mut self, rtx: u32, media: u32) -> bool {
        if let Some(pair) = self.ssrcs.iter_mut().find(|pair| pair.0 == rtx) {
            pair.1 = media;
            return true;
        }
        if self.ssrcs.len() >= MAX_SSRCS {
            return false;
        }
        self.ssrcs.push((rtx, media));
        true
    }

    /// Forgets the pair of `rtx`.
    pub fn forget_ssrc(&mut self, rtx: u32) {
        self.ssrcs.retain(|pair| pair.0 != rtx);
    }

    /// Adds or replaces the `apt` of the payload type `rtx`.
    pub fn pair_type(&mut self, rtx: u8, media: u8) {
        match self.types.iter_mut().find(|pair| pair.0 == rtx & 127) {
            Some(pair) => pair.1 = media & 127,
            None => self.types.push((rtx & 127, media & 127)),
        }
    }

    /// Whether packets of this payload type are retransmissions.
    pub fn is_rtx(&self, payload_type: u8) -> bool {
        self.types.iter().any(|pair| pair.0 == payload_type)
    }

    /// The media SSRC that `rtx` repeats.
    pub fn media_ssrc(&self, rtx: u32) -> Option<u32> {
        self.ssrcs.iter().find(|pair| pair.0 == rtx).map(|pair| pair.1)
    }

    /// Reads a retransmission; `payload` without padding (`spec/bridge.md` 4.2 "RTX in").
    pub fn original(&self, ssrc: u32, payload_type: u8, payload: &[u8]) -> Result<Original, RtxError> {
        let seq = match *payload {
            [] => return Err(RtxError::Empty),
            [_] => return Err(RtxError::Short),
            [_, _] => return Err(RtxError::Empty),
            [high, low, ..] => u16::from_be_bytes([high, low]),
        };
        let ssrc = self.media_ssrc(ssrc).ok_or(RtxError::UnknownSsrc)?;
        let payload_type = self
            .types
            .iter()
            .find(|pair| pair.0 == payload_type)
            .map(|pair| pair.1)
            .ok_or(RtxError::UnknownPayloadType)?;
        Ok(Original { ssrc, payload_type, seq })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> RtxMap {
        let mut map = RtxMap::new();
        assert!(map.pair_ssrc(20, 10));
        map.pair_type(97, 96);
        map
    }

    #[test]
    fn original_numbers_come_from_payload_and_signaling_4_2() {
        assert_eq!(map().original(20, 97, &[0x12, 0x34, 9]), Ok(Original { ssrc: 10, payload_type: 96, seq: 0x1234 }));
    }

    #[test]
    fn empty_retransmissions_are_padding_4_2() {
        assert_eq!(map().original(20, 97, &[]), Err(RtxError::Empty));
        assert_eq!(map().original(20, 97, &[1, 2]), Err(RtxError::Empty));
        assert_eq!(map().original(20, 97, &[1]), Err(RtxError::Short));
    }

    #[test]
    fn what_was_not_signaled_is_refused() {
        assert_eq!(map().original(21, 97, &[1, 2, 3]), Err(RtxError::UnknownSsrc));
        assert_eq!(map().original(20, 98, &[1, 2, 3]), Err(RtxError::UnknownPayloadType));
        let mut map = map();
        map.forget_ssrc(20);
        assert_eq!(map.original(20, 97, &[1, 2, 3]), Err(RtxError::UnknownSsrc));
    }

    #[test]
    fn pairs_are_bounded_and_can_be_replaced() {
        let mut map = map();
        for ssrc in 100..100 + MAX_SSRCS as u32 - 1 {
            assert!(map.pair_ssrc(ssrc, 1));
        }
        assert!(!map.pair_ssrc(1, 1));
        assert!(map.pair_ssrc(20, 11), "one that is there");
        assert_eq!(map.media_ssrc(20), Some(11));
        assert!(map.is_rtx(97) && !map.is_rtx(96));
    }
}
