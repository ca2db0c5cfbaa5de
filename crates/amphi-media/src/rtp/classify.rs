//! What a datagram is, by its first bytes (RFC 7983, RFC 5761). It does not look further: who takes the datagram checks it.

/// Protocols that share a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// STUN (RFC 8489).
    Stun,
    /// DTLS.
    Dtls,
    /// RTP or SRTP.
    Rtp,
    /// RTCP or SRTCP.
    Rtcp,
    /// ZRTP, TURN channel data, or nothing that we know.
    Unknown,
}

/// Tells a datagram by its first two bytes (RFC 7983 section 7).
pub fn classify(datagram: &[u8]) -> Datagram {
    match datagram {
        [0..=3, ..] => Datagram::Stun,
        [20..=63, ..] => Datagram::Dtls,
        [128..=191, 192..=223, ..] => Datagram::Rtcp,
        [128..=191, _, ..] => Datagram::Rtp,
        _ => Datagram::Unknown,
    }
}

/// Whether a packet of the RTP and RTCP range is RTCP: a second byte of 192 to 223 (RFC 5761 section 4).
pub fn is_rtcp(packet: &[u8]) -> bool {
    matches!(packet, [_, 192..=223, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_rfc_7983() {
        assert_eq!(classify(&[0, 1]), Datagram::Stun);
        assert_eq!(classify(&[3]), Datagram::Stun);
        assert_eq!(classify(&[4, 0]), Datagram::Unknown);
        assert_eq!(classify(&[16, 0]), Datagram::Unknown, "ZRTP");
        assert_eq!(classify(&[20, 254]), Datagram::Dtls);
        assert_eq!(classify(&[63, 254]), Datagram::Dtls);
        assert_eq!(classify(&[64, 0]), Datagram::Unknown, "TURN channel");
        assert_eq!(classify(&[128, 111]), Datagram::Rtp);
        assert_eq!(classify(&[191, 0x80 | 100]), Datagram::Rtp);
        assert_eq!(classify(&[192, 100]), Datagram::Unknown);
        assert_eq!(classify(&[128, 200]), Datagram::Rtcp);
        assert_eq!(classify(&[128, 191]), Datagram::Rtp);
        assert_eq!(classify(&[128, 224]), Datagram::Rtp);
        assert_eq!(classify(&[128]), Datagram::Unknown);
        assert_eq!(classify(&[]), Datagram::Unknown);
    }
}
