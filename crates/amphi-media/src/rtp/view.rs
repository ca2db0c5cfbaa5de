//! Strict views over a received packet. [`Header`] reads what is clear before decryption, [`Packet`] all of a packet in plaintext.

use super::{ExtensionForm, Extensions, FIXED_HEADER_LEN, RtpError, be16, be32};

/// The header of a packet, by value, so that the packet may be changed (decrypted in place) meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Sequence number.
    pub seq: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// SSRC.
    pub ssrc: u32,
    /// Whether the payload ends with padding.
    pub padded: bool,
    /// Number of CSRCs, which follow the fixed header.
    pub csrcs: u8,
    /// Profile of the extension block; 0 without one.
    pub extension_profile: u16,
    extensions_at: u32,
    len: u32,
}

impl Header {
    /// Reads the header of a packet, which may be encrypted. The elements of the extension block are not checked.
    ///
    /// # Errors
    /// Another version, or lengths beyond the end.
    pub fn parse(packet: &[u8]) -> Result<Self, RtpError> {
        let fixed: &[u8; FIXED_HEADER_LEN] = packet.first_chunk().ok_or(RtpError::Truncated)?;
        if fixed[0] >> 6 != 2 {
            return Err(RtpError::Version);
        }
        let csrcs = fixed[0] & 0x0f;
        let mut len = FIXED_HEADER_LEN + 4 * usize::from(csrcs);
        let mut extension_profile = 0;
        let mut extensions_at = len;
        if fixed[0] & 0x10 != 0 {
            extension_profile = be16(packet, len)?;
            let words = be16(packet, len + 2)?;
            extensions_at = len + 4;
            len = extensions_at + 4 * usize::from(words);
        }
        if len > packet.len() {
            return Err(RtpError::Truncated);
        }
        Ok(Self {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            seq: be16(fixed, 2)?,
            timestamp: be32(fixed, 4)?,
            ssrc: be32(fixed, 8)?,
            padded: fixed[0] & 0x20 != 0,
            csrcs,
            extension_profile,
            extensions_at: extensions_at as u32,
            len: len as u32,
        })
    }

    /// Length of the header with CSRCs and extension block: where the payload begins.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Never: a header has at least twelve bytes.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Form of the extension elements, if there is a block of a form that we know.
    pub fn extension_form(&self) -> Option<ExtensionForm> {
        ExtensionForm::from_profile(self.extension_profile)
    }

    /// The extension elements of the packet that the header was read from.
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> Extensions<'a> {
        match self.extension_form() {
            Some(form) => {
                let block = packet.get(self.extensions_at as usize..self.len as usize).unwrap_or_default();
                Extensions::new(form, self.extensions_at as usize, block)
            }
            None => Extensions::default(),
        }
    }
}

/// A whole packet in plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    data: &'a [u8],
    header: Header,
    payload_end: usize,
}

impl<'a> Packet<'a> {
    /// Reads a packet; checks padding and every extension element.
    ///
    /// # Errors
    /// Another version, or any length that does not fit.
    pub fn parse(data: &'a [u8]) -> Result<Self, RtpError> {
        let header = Header::parse(data)?;
        let mut payload_end = data.len();
        if header.padded {
            let padding = usize::from(*data.last().ok_or(RtpError::Truncated)?);
            if padding == 0 || padding > data.len() - header.len() {
                return Err(RtpError::Padding);
            }
            payload_end -= padding;
        }
        if !header.extensions(data).is_valid() {
            return Err(RtpError::Extension);
        }
        Ok(Self { data, header, payload_end })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Everything, padding included.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.data
    }

    /// Contributing sources.
    pub fn csrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        let end = FIXED_HEADER_LEN + 4 * usize::from(self.header.csrcs);
        let bytes = self.data.get(FIXED_HEADER_LEN..end).unwrap_or_default();
        bytes.as_chunks::<4>().0.iter().map(|b| u32::from_be_bytes(*b))
    }

    /// Extension elements.
    pub fn extensions(&self) -> Extensions<'a> {
        self.header.extensions(self.data)
    }

    /// Payload without padding.
    pub fn payload(&self) -> &'a [u8] {
        self.data.get(self.payload_range()).unwrap_or_default()
    }

    /// Where the payload is.
    pub fn payload_range(&self) -> std::ops::Range<usize> {
        self.header.len()..self.payload_end
    }

    /// Bytes of padding.
    pub fn padding_len(&self) -> usize {
        self.data.len() - self.payload_end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One CSRC, one-byte extensions 1 (one byte) and 5 (two bytes), payload of three bytes, padding of two.
    const FULL: &[u8] = &[
        0xb1, 0xe4, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 7, // fixed: P, X, one CSRC, marker, 100
        0, 0, 0, 3, // CSRC
        0xbe, 0xde, 0, 2, 0x10, 0x85, 0, 0x51, 0xab, 0xcd, 0, 0, // extensions, padding between and after
        1, 2, 3, 0, 2,
    ];

    #[test]
    fn all_parts_of_a_full_packet() {
        let p = Packet::parse(FULL).unwrap();
        let h = p.header();
        assert!(h.marker && h.padded);
        assert_eq!((h.payload_type, h.seq, h.timestamp, h.ssrc), (100, 0x1234, 9, 7));
        assert_eq!(p.csrcs().collect::<Vec<_>>(), [3]);
        assert_eq!(p.extensions().collect::<Vec<_>>(), [(1, &[0x85][..]), (5, &[0xab, 0xcd][..])]);
        assert_eq!((p.payload(), p.padding_len(), p.payload_range()), (&[1, 2, 3][..], 2, 28..31));
    }

    #[test]
    fn every_truncation_is_refused_or_still_consistent() {
        for end in 0..FULL.len() {
            match Packet::parse(&FULL[..end]) {
                Ok(p) => assert!(p.payload_range().end <= end && p.padding_len() > 0),
                Err(e) => assert!(end < 28 || e == RtpError::Padding, "{end}: {e}"),
            }
        }
    }

    #[test]
    fn padding_must_fit_the_payload() {
        let mut packet = FULL.to_vec();
        *packet.last_mut().unwrap() = 0;
        assert_eq!(Packet::parse(&packet), Err(RtpError::Padding));
        *packet.last_mut().unwrap() = 6;
        assert_eq!(Packet::parse(&packet), Err(RtpError::Padding), "would reach into the header");
        *packet.last_mut().unwrap() = 5;
        assert!(Packet::parse(&packet).unwrap().payload().is_empty(), "padding only");
    }

    #[test]
    fn other_versions_are_refused() {
        for version in [0, 1, 3] {
            let mut packet = FULL.to_vec();
            packet[0] = packet[0] & 0x3f | version << 6;
            assert_eq!(Packet::parse(&packet), Err(RtpError::Version));
        }
    }

    #[test]
    fn elements_beyond_the_block_are_refused() {
        let mut packet = FULL.to_vec();
        packet[23] = 0x5f; // 16 bytes in a block that has four left
        assert_eq!(Packet::parse(&packet), Err(RtpError::Extension));
        assert!(Header::parse(&packet).is_ok(), "the header alone is read, its valid elements too");
        assert_eq!(Header::parse(&packet).unwrap().extensions(&packet).count(), 1);
    }

    #[test]
    fn unknown_extension_profiles_have_no_elements() {
        let mut packet = FULL.to_vec();
        packet[16] = 0xc0;
        let p = Packet::parse(&packet).unwrap();
        assert_eq!(p.extensions().count(), 0);
        assert_eq!(p.payload(), [1, 2, 3]);
    }
}
