//! The client side of WebSocket framing (RFC 6455): masked frames out, unmasked frames in, and the opening handshake.
//! Sans-IO; incomplete input is kept until the rest comes, and only then costs memory.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha1::{Digest, Sha1};

/// Longest message that is accepted from a server.
pub(crate) const MAX_MESSAGE: usize = 4 << 20;

/// What a frame carries (RFC 6455 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// Rest of a fragmented message.
    Continuation,
    /// Text message.
    Text,
    /// The peer closes.
    Close,
    /// To be answered by a pong.
    Ping,
    /// Answer to a ping.
    Pong,
}

/// What is wrong with what a server sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadFrame {
    /// Reserved bits, an unknown opcode, a masked frame, or a fragment out of place.
    Protocol,
    /// Longer than [`MAX_MESSAGE`].
    TooLong,
}

/// Appends one masked frame.
pub(crate) fn encode(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: [u8; 4]) {
    let code = match opcode {
        Opcode::Continuation => 0,
        Opcode::Text => 1,
        Opcode::Close => 8,
        Opcode::Ping => 9,
        Opcode::Pong => 10,
    };
    out.push(0x80 | code);
    match payload.len() {
        n @ 0..=125 => out.push(0x80 | n as u8),
        n @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
}

/// One frame at the start of `data`: (fin, opcode, payload range, length of the frame). `None`: incomplete.
#[allow(clippy::type_complexity)]
pub(crate) fn decode(data: &[u8]) -> Result<Option<(bool, Opcode, std::ops::Range<usize>, usize)>, BadFrame> {
    if data.len() < 2 {
        return Ok(None);
    }
    let opcode = match data[0] & 0x7f {
        0 => Opcode::Continuation,
        1 => Opcode::Text,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => return Err(BadFrame::Protocol),
    };
    if data[1] & 0x80 != 0 {
        return Err(BadFrame::Protocol);
    }
    let (len, head) = match data[1] {
        126 if data.len() < 4 => return Ok(None),
        126 => (u64::from(u16::from_be_bytes([data[2], data[3]])), 4),
        127 if data.len() < 10 => return Ok(None),
        127 => (u64::from_be_bytes(data[2..10].try_into().unwrap_or_default()), 10),
        n => (u64::from(n), 2),
    };
    if len > MAX_MESSAGE as u64 {
        return Err(BadFrame::TooLong);
    }
    let end = head + len as usize;
    if data.len() < end {
        return Ok(None);
    }
    Ok(Some((data[0] & 0x80 != 0, opcode, head..end, end)))
}

/// The key of a handshake.
pub(crate) fn key(nonce: [u8; 16]) -> String {
    STANDARD.encode(nonce)
}

/// What the server has to answer to a key (RFC 6455 4.2.2).
pub(crate) fn accept(key: &str) -> String {
    let mut sha = Sha1::new();
    sha.update(key.as_bytes());
    sha.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(sha.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_that_of_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn frames_of_every_length_class_are_masked_and_measured() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut out = Vec::new();
            encode(&mut out, Opcode::Text, &payload, [1, 2, 3, 4]);
            assert_eq!(out[1] & 0x80, 0x80, "client frames are masked");
            let head = out.len() - len - 4;
            let unmasked: Vec<u8> =
                out[head + 4..].iter().zip([1, 2, 3, 4].iter().cycle()).map(|(b, m)| b ^ m).collect();
            assert_eq!(unmasked, payload);
            // The same frame without its mask, as a server sends it, decodes in one piece only when it is complete.
            let mut plain = out[..head].to_vec();
            plain[1] &= 0x7f;
            plain.extend_from_slice(&payload);
            assert_eq!(decode(&plain).unwrap(), Some((true, Opcode::Text, head..head + len, head + len)));
            assert_eq!(decode(&plain[..plain.len() - 1]).unwrap(), None);
        }
    }

    #[test]
    fn masked_reserved_and_endless_frames_are_refused() {
        assert_eq!(decode(&[0x81, 0x80, 0, 0, 0, 0]), Err(BadFrame::Protocol));
        assert_eq!(decode(&[0xc1, 0]), Err(BadFrame::Protocol));
        assert_eq!(decode(&[0x83, 0]), Err(BadFrame::Protocol));
        assert_eq!(decode(&[0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0]), Err(BadFrame::TooLong));
    }
}
