//! Feedback about single packets, pictures and rates: generic NACK (RFC 4585), FIR (RFC 5104), REMB.

use super::{RtcpError, be32};

/// Generic NACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nack<'a> {
    /// Who misses packets.
    pub sender_ssrc: u32,
    /// Whose packets.
    pub media_ssrc: u32,
    pairs: &'a [[u8; 4]],
}

impl<'a> Nack<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, RtcpError> {
        Ok(Self { sender_ssrc: be32(body, 0)?, media_ssrc: be32(body, 4)?, pairs: words(body, 8) })
    }

    /// Sequence numbers of the packets that are missed: at most 17 for every four bytes.
    pub fn lost(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.pairs.iter().flat_map(|&[a, b, c, d]| {
            let first = u16::from_be_bytes([a, b]);
            let following = u32::from(u16::from_be_bytes([c, d]));
            let mut bits = following << 1 | 1;
            std::iter::from_fn(move || {
                let next = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                (next < 17).then(|| first.wrapping_add(next as u16))
            })
        })
    }
}

/// Full intra request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fir<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    entries: &'a [[u8; 8]],
}

/// Of whom a full picture is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirEntry {
    /// Whose picture.
    pub media_ssrc: u32,
    /// A new number is a new request.
    pub number: u8,
}

impl<'a> Fir<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, RtcpError> {
        // RFC 5104 section 4.3.1.2: the media SSRC of the header is not used.
        let entries = body.get(8..).ok_or(RtcpError::Truncated)?;
        Ok(Self { sender_ssrc: be32(body, 0)?, entries: entries.as_chunks().0 })
    }

    /// All requests of the packet.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = FirEntry> + use<'a> {
        self.entries
            .iter()
            .map(|&[a, b, c, d, number, ..]| FirEntry { media_ssrc: u32::from_be_bytes([a, b, c, d]), number })
    }
}

/// Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remb<'a> {
    /// Who estimates.
    pub sender_ssrc: u32,
    /// Bits per second.
    pub bitrate: u64,
    ssrcs: &'a [[u8; 4]],
}

impl<'a> Remb<'a> {
    pub(super) fn read(body: &'a [u8]) -> Result<Self, RtcpError> {
        let word = be32(body, 12)?;
        let count = (word >> 24) as usize;
        let (exponent, mantissa) = (word >> 18 & 0x3f, u64::from(word & 0x3_ffff));
        let bitrate = if exponent > mantissa.leading_zeros() { u64::MAX } else { mantissa << exponent.min(63) };
        let ssrcs = body.get(16..16 + 4 * count).ok_or(RtcpError::Truncated)?;
        Ok(Self { sender_ssrc: be32(body, 0)?, bitrate, ssrcs: ssrcs.as_chunks().0 })
    }

    /// Streams that the estimate is about.
    pub fn ssrcs(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.ssrcs.iter().map(|b| u32::from_be_bytes(*b))
    }
}

/// Exponent and mantissa, rounded down.
pub(super) fn remb_rate(bitrate: u64) -> u32 {
    let exponent = (64 - bitrate.leading_zeros()).saturating_sub(18);
    exponent << 18 | (bitrate >> exponent) as u32
}

fn words(body: &[u8], from: usize) -> &[[u8; 4]] {
    body.get(from..).unwrap_or_default().as_chunks().0
}
