//! What a datagram is and whose: the part of routing that needs no state. Shards call it on everything they receive.
//!
//! STUN requests go to the transport thread that [`thread_of`] finds in their local ufrag. STUN answers go to all threads: the one that asked knows
//! them. DTLS goes to the thread that bound its 5-tuple ([`Event::Bound`](super::Event::Bound)); of unbound 5-tuples it is
//! dropped, as is anything else.

pub use super::credentials::thread_of;

/// What a datagram is (RFC 7983).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// First byte 0 to 3.
    Stun,
    /// First byte 20 to 63.
    Dtls,
    /// First byte 128 to 191, payload type byte not of RTCP.
    Rtp,
    /// First byte 128 to 191, second 192 to 223.
    Rtcp,
    /// Anything else, and what is too short.
    Other,
}

/// What a datagram is.
pub fn classify(bytes: &[u8]) -> Kind {
    match bytes {
        [0..=3, ..] if bytes.len() >= 20 => Kind::Stun,
        [20..=63, ..] if bytes.len() >= 13 => Kind::Dtls,
        [128..=191, 192..=223, ..] if bytes.len() >= 8 => Kind::Rtcp,
        [128..=191, ..] if bytes.len() >= 12 => Kind::Rtp,
        _ => Kind::Other,
    }
}

const MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const USERNAME: u16 = 0x0006;

/// Whether a STUN message is a Binding request.
pub fn is_stun_request(bytes: &[u8]) -> bool {
    bytes.len() >= 20 && bytes[..2] == [0, 1] && bytes[4..8] == MAGIC
}

/// The transaction of a STUN message.
pub fn stun_transaction(bytes: &[u8]) -> Option<[u8; 12]> {
    bytes.get(8..20)?.try_into().ok()
}

/// The local ufrag of a STUN Binding request: the left part of USERNAME. None of other messages, and of those without.
pub fn stun_local_ufrag(bytes: &[u8]) -> Option<&str> {
    if !is_stun_request(bytes) {
        return None;
    }
    let mut rest = bytes.get(20..)?;
    while let [t0, t1, l0, l1, body @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let value = body.get(..length)?;
        if u16::from_be_bytes([*t0, *t1]) == USERNAME {
            let (left, _) = std::str::from_utf8(value).ok()?.split_once(':')?;
            return Some(left);
        }
        rest = body.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_rfc_7983() {
        let with = |first: u8, second: u8| {
            let mut bytes = [0; 32];
            bytes[0] = first;
            bytes[1] = second;
            classify(&bytes)
        };
        assert_eq!(with(0, 1), Kind::Stun);
        assert_eq!(with(4, 1), Kind::Other);
        assert_eq!(with(22, 254), Kind::Dtls);
        assert_eq!(with(64, 0), Kind::Other);
        assert_eq!(with(0x80, 111), Kind::Rtp);
        assert_eq!(with(0x80, 0x80 | 111), Kind::Rtp);
        assert_eq!(with(0x80, 200), Kind::Rtcp);
        assert_eq!(classify(&[]), Kind::Other);
        assert_eq!(classify(&[0x80]), Kind::Other);
        assert_eq!(classify(&[22; 12]), Kind::Other);
    }

    #[test]
    fn local_ufrag_is_the_left_part_of_username_wherever_it_stands() {
        let mut bytes = vec![0, 1, 0, 24];
        bytes.extend(MAGIC);
        bytes.extend([7; 12]);
        bytes.extend([0, 0x24, 0, 4, 1, 2, 3, 4]);
        bytes.extend([0, 6, 0, 9]);
        bytes.extend(b"abcd:efgh\0\0\0");
        assert_eq!(stun_local_ufrag(&bytes), Some("abcd"));
        assert_eq!(stun_transaction(&bytes), Some([7; 12]));
        for length in 0..bytes.len() - 3 {
            assert_eq!(stun_local_ufrag(&bytes[..length]), None, "cut at {length}");
        }
        bytes[1] = 0x11;
        assert_eq!(stun_local_ufrag(&bytes), None);
        bytes[0] = 1;
        bytes[1] = 1;
        assert_eq!(stun_local_ufrag(&bytes), None, "a response has no request's ufrag");
    }
}
