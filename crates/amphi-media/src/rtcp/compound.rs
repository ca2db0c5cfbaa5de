//! The packets of a compound packet, of reduced size or not (RFC 5506).

use super::{
    Bye, Fir, Nack, ReceiverReport, Remb, RtcpError, Sdes, SenderReport, TransportCc, be16, be32, format, packet_type,
};

/// One packet of a compound packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Packet<'a> {
    /// SR.
    SenderReport(SenderReport<'a>),
    /// RR.
    ReceiverReport(ReceiverReport<'a>),
    /// SDES.
    Sdes(Sdes<'a>),
    /// BYE.
    Bye(Bye<'a>),
    /// APP: name and data.
    App {
        /// Subtype.
        subtype: u8,
        /// Who sent it.
        ssrc: u32,
        /// Four characters.
        name: [u8; 4],
        /// Content.
        data: &'a [u8],
    },
    /// XR (RFC 3611), not read.
    ExtendedReport {
        /// Who sent it.
        ssrc: u32,
    },
    /// Picture loss indication.
    Pli {
        /// Who sent it.
        sender_ssrc: u32,
        /// Whose picture was lost.
        media_ssrc: u32,
    },
    /// Full intra request.
    Fir(Fir<'a>),
    /// Generic NACK.
    Nack(Nack<'a>),
    /// Transport-wide feedback.
    TransportCc(TransportCc<'a>),
    /// Receiver estimated maximum bitrate.
    Remb(Remb<'a>),
    /// Something else.
    Unknown {
        /// Packet type.
        packet_type: u8,
        /// Count or format.
        count: u8,
        /// What follows the first word.
        body: &'a [u8],
    },
}

/// Reads the packets of a compound packet. A packet with a sound length and a bad content gives an error and the next follows; a bad length
/// or version ends it with an error.
pub fn compound(data: &[u8]) -> Compound<'_> {
    Compound { rest: data }
}

/// Iterator of [`compound`].
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Packet<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let framed = self.frame();
        if framed.is_err() {
            self.rest = &[];
        }
        Some(framed.and_then(|(packet_type, count, body)| read(packet_type, count, body)))
    }
}

impl<'a> Compound<'a> {
    /// Type, count and body of the next packet, without padding.
    fn frame(&mut self) -> Result<(u8, u8, &'a [u8]), RtcpError> {
        let &[first, packet_type, ..] = self.rest else { return Err(RtcpError::Truncated) };
        if first >> 6 != 2 {
            return Err(RtcpError::Version);
        }
        let len = 4 * usize::from(be16(self.rest, 2)?) + 4;
        let (packet, rest) = self.rest.split_at_checked(len).ok_or(RtcpError::Truncated)?;
        let mut body = packet.get(4..).unwrap_or_default();
        if first & 0x20 != 0 {
            // RFC 3550 section 6.4.1 has it in the last packet only and by multiples of four. Browsers pad their transport-wide feedback to whole
            // words instead, by one to three bytes, wherever it stands.
            let padding = body.last().map_or(0, |b| usize::from(*b));
            if padding == 0 || padding > body.len() {
                return Err(RtcpError::Padding);
            }
            body = body.get(..body.len() - padding).unwrap_or_default();
        }
        self.rest = rest;
        Ok((packet_type, first & 0x1f, body))
    }
}

fn read(packet_type: u8, count: u8, body: &[u8]) -> Result<Packet<'_>, RtcpError> {
    Ok(match (packet_type, count) {
        (packet_type::SENDER_REPORT, _) => Packet::SenderReport(SenderReport::read(count, body)?),
        (packet_type::RECEIVER_REPORT, _) => Packet::ReceiverReport(ReceiverReport::read(count, body)?),
        (packet_type::SDES, _) => Packet::Sdes(Sdes::read(count, body)),
        (packet_type::BYE, _) => Packet::Bye(Bye::read(count, body)?),
        (packet_type::APP, _) => Packet::App {
            subtype: count,
            ssrc: be32(body, 0)?,
            name: be32(body, 4)?.to_be_bytes(),
            data: body.get(8..).unwrap_or_default(),
        },
        (packet_type::EXTENDED_REPORT, _) => Packet::ExtendedReport { ssrc: be32(body, 0)? },
        (packet_type::TRANSPORT_FEEDBACK, format::NACK) => Packet::Nack(Nack::read(body)?),
        (packet_type::TRANSPORT_FEEDBACK, format::TRANSPORT_CC) => Packet::TransportCc(TransportCc::read(body)?),
        (packet_type::PAYLOAD_FEEDBACK, format::PLI) => {
            Packet::Pli { sender_ssrc: be32(body, 0)?, media_ssrc: be32(body, 4)? }
        }
        (packet_type::PAYLOAD_FEEDBACK, format::FIR) => Packet::Fir(Fir::read(body)?),
        (packet_type::PAYLOAD_FEEDBACK, format::APPLICATION) if body.get(8..12) == Some(b"REMB") => {
            Packet::Remb(Remb::read(body)?)
        }
        _ => Packet::Unknown { packet_type, count, body },
    })
}
