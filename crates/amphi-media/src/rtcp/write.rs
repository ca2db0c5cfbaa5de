//! Writers of all packets that the bridge originates, one after the other into a buffer: a compound packet.

use super::feedback::remb_rate;
use super::{FirEntry, ReportBlock, RtcpError, SdesItem, SenderInfo, TransportCcFeedback, format, packet_type};

/// Report blocks that fit one packet (a count of five bits).
pub const MAX_REPORT_BLOCKS: usize = 31;

/// Appends packets to a buffer, which is kept and cleared by the caller so that nothing is allocated. An error appends nothing.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Appends to `out`.
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Bytes in the buffer.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// First word, then `body`, then the length. Bodies are whole words.
    fn packet(
        &mut self,
        packet_type: u8,
        count: u8,
        body: impl FnOnce(&mut Vec<u8>) -> Result<(), RtcpError>,
    ) -> Result<(), RtcpError> {
        let start = self.out.len();
        self.out.extend_from_slice(&[0x80 | count & 0x1f, packet_type, 0, 0]);
        let written = body(self.out).and_then(|()| {
            let words = u16::try_from((self.out.len() - start) / 4 - 1).map_err(|_| RtcpError::TooLong)?;
            self.out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
            Ok(())
        });
        if written.is_err() {
            self.out.truncate(start);
        }
        written
    }

    /// SR.
    ///
    /// # Errors
    /// More than [`MAX_REPORT_BLOCKS`].
    pub fn sender_report(&mut self, ssrc: u32, info: &SenderInfo, blocks: &[ReportBlock]) -> Result<(), RtcpError> {
        let count = block_count(blocks)?;
        self.packet(packet_type::SENDER_REPORT, count, |out| {
            out.extend_from_slice(&ssrc.to_be_bytes());
            out.extend_from_slice(&info.ntp.to_be_bytes());
            [info.rtp_timestamp, info.packets, info.octets]
                .iter()
                .for_each(|w| out.extend_from_slice(&w.to_be_bytes()));
            blocks.iter().for_each(|b| out.extend_from_slice(&b.to_bytes()));
            Ok(())
        })
    }

    /// RR.
    ///
    /// # Errors
    /// More than [`MAX_REPORT_BLOCKS`].
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> Result<(), RtcpError> {
        let count = block_count(blocks)?;
        self.packet(packet_type::RECEIVER_REPORT, count, |out| {
            out.extend_from_slice(&ssrc.to_be_bytes());
            blocks.iter().for_each(|b| out.extend_from_slice(&b.to_bytes()));
            Ok(())
        })
    }

    /// SDES with the canonical name of one source.
    ///
    /// # Errors
    /// A name of more than 255 bytes.
    pub fn cname(&mut self, ssrc: u32, cname: &str) -> Result<(), RtcpError> {
        let len = u8::try_from(cname.len()).map_err(|_| RtcpError::TooLong)?;
        self.packet(packet_type::SDES, 1, |out| {
            out.extend_from_slice(&ssrc.to_be_bytes());
            out.extend_from_slice(&[SdesItem::CNAME, len]);
            out.extend_from_slice(cname.as_bytes());
            // At least one zero ends the items; SSRC and item header are six bytes.
            let end = (6 + cname.len() + 1).next_multiple_of(4) - (6 + cname.len());
            out.extend_from_slice(&[0; 4][..end]);
            Ok(())
        })
    }

    /// Picture loss indication.
    pub fn pli(&mut self, sender_ssrc: u32, media_ssrc: u32) {
        self.out.extend_from_slice(&[0x80 | format::PLI, packet_type::PAYLOAD_FEEDBACK, 0, 2]);
        self.out.extend_from_slice(&sender_ssrc.to_be_bytes());
        self.out.extend_from_slice(&media_ssrc.to_be_bytes());
    }

    /// Full intra request to any number of sources.
    ///
    /// # Errors
    /// More than a packet can hold.
    pub fn fir(&mut self, sender_ssrc: u32, entries: &[FirEntry]) -> Result<(), RtcpError> {
        self.packet(packet_type::PAYLOAD_FEEDBACK, format::FIR, |out| {
            out.extend_from_slice(&sender_ssrc.to_be_bytes());
            out.extend_from_slice(&[0; 4]);
            for entry in entries {
                out.extend_from_slice(&entry.media_ssrc.to_be_bytes());
                out.extend_from_slice(&[entry.number, 0, 0, 0]);
            }
            Ok(())
        })
    }

    /// Generic NACK. Sequence numbers should ascend (with wraparound), so that neighbours share a word; nothing is written for none.
    ///
    /// # Errors
    /// More than a packet can hold.
    pub fn nack(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        lost: impl IntoIterator<Item = u16>,
    ) -> Result<(), RtcpError> {
        let mut lost = lost.into_iter().peekable();
        if lost.peek().is_none() {
            return Ok(());
        }
        self.packet(packet_type::TRANSPORT_FEEDBACK, format::NACK, |out| {
            out.extend_from_slice(&sender_ssrc.to_be_bytes());
            out.extend_from_slice(&media_ssrc.to_be_bytes());
            while let Some(first) = lost.next() {
                let mut following = 0u16;
                while let Some(next) = lost.next_if(|next| next.wrapping_sub(first) <= 16) {
                    if let Some(bit) = next.wrapping_sub(first).checked_sub(1) {
                        following |= 1 << bit;
                    }
                }
                out.extend_from_slice(&first.to_be_bytes());
                out.extend_from_slice(&following.to_be_bytes());
            }
            Ok(())
        })
    }

    /// Transport-wide feedback, one packet of at most `max_len` bytes (of 48 at least). Returns how many of the arrivals are done with;
    /// for the others call again with `base_seq` one after the last of those and the next `feedback_count`.
    pub fn transport_cc(&mut self, feedback: &TransportCcFeedback<'_>, max_len: usize) -> usize {
        feedback.write(self.out, max_len)
    }

    /// Receiver estimated maximum bitrate, in bits per second (rounded down to what the format can say).
    ///
    /// # Errors
    /// More than 255 SSRCs.
    pub fn remb(&mut self, sender_ssrc: u32, bitrate: u64, ssrcs: &[u32]) -> Result<(), RtcpError> {
        let count = u8::try_from(ssrcs.len()).map_err(|_| RtcpError::TooLong)?;
        self.packet(packet_type::PAYLOAD_FEEDBACK, format::APPLICATION, |out| {
            out.extend_from_slice(&sender_ssrc.to_be_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(b"REMB");
            out.extend_from_slice(&(u32::from(count) << 24 | remb_rate(bitrate)).to_be_bytes());
            ssrcs.iter().for_each(|s| out.extend_from_slice(&s.to_be_bytes()));
            Ok(())
        })
    }
}

fn block_count(blocks: &[ReportBlock]) -> Result<u8, RtcpError> {
    if blocks.len() > MAX_REPORT_BLOCKS { Err(RtcpError::TooLong) } else { Ok(blocks.len() as u8) }
}
