//! Reports and descriptions: SR, RR, SDES, BYE (RFC 3550 section 6).

use super::{RtcpError, be32};

/// What a sender says about itself in an SR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall clock, seconds since 1900 as 32.32 fixed point.
    pub ntp: u64,
    /// The same moment on the clock of the stream.
    pub rtp_timestamp: u32,
    /// Packets sent.
    pub packets: u32,
    /// Payload bytes sent.
    pub octets: u32,
}

impl SenderInfo {
    /// The middle 32 bits of the wall clock, by which a receiver refers to the report.
    pub fn ntp_middle(&self) -> u32 {
        (self.ntp >> 16) as u32
    }
}

/// How one stream is received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: u32,
    /// Lost since the last report, of 256.
    pub fraction_lost: u8,
    /// Lost in all, less duplicates; 24 bits with sign.
    pub cumulative_lost: i32,
    /// Highest sequence number, with the number of cycles above.
    pub highest_seq: u32,
    /// Interarrival jitter in ticks of the stream's clock.
    pub jitter: u32,
    /// Middle 32 bits of the last SR's wall clock; 0 without one.
    pub last_sr: u32,
    /// Time since that SR came, in 1/65,536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    pub(super) const LEN: usize = 24;

    fn read(b: &[u8; Self::LEN]) -> Self {
        let word = |at: usize| be32(b, at).unwrap_or_default();
        Self {
            ssrc: word(0),
            fraction_lost: b[4],
            cumulative_lost: ((word(4) << 8) as i32) >> 8,
            highest_seq: word(8),
            jitter: word(12),
            last_sr: word(16),
            delay_since_last_sr: word(20),
        }
    }

    pub(super) fn to_bytes(self) -> [u8; Self::LEN] {
        // RFC 3550 section 6.4.1: 24 bits, clamped and not wrapped.
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
        let words = [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest_seq,
            self.jitter,
            self.last_sr,
            self.delay_since_last_sr,
        ];
        let mut out = [0; Self::LEN];
        out.as_chunks_mut::<4>().0.iter_mut().zip(words).for_each(|(b, w)| *b = w.to_be_bytes());
        out
    }
}

fn blocks(count: u8, body: &[u8]) -> Result<&[[u8; ReportBlock::LEN]], RtcpError> {
    let len = usize::from(count) * ReportBlock::LEN;
    Ok(body.get(..len).ok_or(RtcpError::Truncated)?.as_chunks().0)
}

/// SR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport<'a> {
    /// Who sent it.
    pub ssrc: u32,
    /// About what it sends.
    pub info: SenderInfo,
    blocks: &'a [[u8; ReportBlock::LEN]],
}

impl<'a> SenderReport<'a> {
    pub(super) fn read(count: u8, body: &'a [u8]) -> Result<Self, RtcpError> {
        Ok(Self {
            ssrc: be32(body, 0)?,
            info: SenderInfo {
                ntp: u64::from(be32(body, 4)?) << 32 | u64::from(be32(body, 8)?),
                rtp_timestamp: be32(body, 12)?,
                packets: be32(body, 16)?,
                octets: be32(body, 20)?,
            },
            blocks: blocks(count, body.get(24..).ok_or(RtcpError::Truncated)?)?,
        })
    }

    /// About what it receives.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = ReportBlock> + use<'a> {
        self.blocks.iter().map(ReportBlock::read)
    }
}

/// RR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverReport<'a> {
    /// Who sent it.
    pub ssrc: u32,
    blocks: &'a [[u8; ReportBlock::LEN]],
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn read(count: u8, body: &'a [u8]) -> Result<Self, RtcpError> {
        Ok(Self { ssrc: be32(body, 0)?, blocks: blocks(count, body.get(4..).ok_or(RtcpError::Truncated)?)? })
    }

    /// About what it receives.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = ReportBlock> + use<'a> {
        self.blocks.iter().map(ReportBlock::read)
    }
}

/// SDES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sdes<'a> {
    chunks: u8,
    body: &'a [u8],
}

/// An item of a source description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdesItem<'a> {
    /// The source.
    pub ssrc: u32,
    /// Type; [`SdesItem::CNAME`] is the one that matters.
    pub item_type: u8,
    /// Text.
    pub value: &'a [u8],
}

impl SdesItem<'_> {
    /// Canonical name.
    pub const CNAME: u8 = 1;
}

impl<'a> Sdes<'a> {
    pub(super) fn read(chunks: u8, body: &'a [u8]) -> Self {
        Self { chunks, body }
    }

    /// Items of all chunks; ends where one does not fit.
    pub fn items(&self) -> impl Iterator<Item = SdesItem<'a>> + use<'a> {
        let Self { mut chunks, body } = *self;
        let mut at = 0;
        let mut current = None;
        std::iter::from_fn(move || {
            loop {
                let ssrc = match current {
                    Some(ssrc) => ssrc,
                    None => {
                        chunks = chunks.checked_sub(1)?;
                        let ssrc = be32(body, at).ok()?;
                        at += 4;
                        *current.insert(ssrc)
                    }
                };
                match *body.get(at)? {
                    0 => {
                        // The end of a chunk, filled up to a whole word.
                        at = (at + 1).next_multiple_of(4);
                        current = None;
                    }
                    item_type => {
                        let len = usize::from(*body.get(at + 1)?);
                        let value = body.get(at + 2..at + 2 + len)?;
                        at += 2 + len;
                        return Some(SdesItem { ssrc, item_type, value });
                    }
                }
            }
        })
    }
}

/// BYE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bye<'a> {
    ssrcs: &'a [[u8; 4]],
}

impl<'a> Bye<'a> {
    pub(super) fn read(count: u8, body: &'a [u8]) -> Result<Self, RtcpError> {
        let ssrcs = body.get(..4 * usize::from(count)).ok_or(RtcpError::Truncated)?;
        Ok(Self { ssrcs: ssrcs.as_chunks().0 })
    }

    /// Sources that say goodbye.
    pub fn ssrcs(&self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.ssrcs.iter().map(|b| u32::from_be_bytes(*b))
    }
}
