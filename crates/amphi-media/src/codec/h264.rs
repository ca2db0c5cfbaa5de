//! H.264 payloads (RFC 6184), as far as key frames are concerned: where sequence parameters or an IDR picture begin.

/// What one payload says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// Sequence parameters or the beginning of an IDR picture's slice are in it.
    pub keyframe: bool,
    /// Sequence parameters or an access unit delimiter: nothing of the same frame comes before.
    pub start: bool,
}

impl Payload {
    fn unit(&mut self, kind: u8) {
        self.keyframe |= matches!(kind, 5 | 7);
        self.start |= matches!(kind, 7 | 9);
    }
}

/// Reads a payload; `None` if it is cut short.
pub fn parse(payload: &[u8]) -> Option<Payload> {
    let mut read = Payload::default();
    match *payload.first()? & 0x1f {
        // STAP-A (section 5.7.1).
        24 => {
            let mut rest = &payload[1..];
            while !rest.is_empty() {
                let (size, tail) = rest.split_first_chunk::<2>()?;
                let size = usize::from(u16::from_be_bytes(*size));
                read.unit(*tail.get(..size)?.first()? & 0x1f);
                rest = &tail[size..];
            }
        }
        // FU-A (section 5.8): the type is in the second byte, which also says whether this is the first fragment.
        28 => {
            let header = *payload.get(1)?;
            if header & 0x80 != 0 {
                read.unit(header & 0x1f);
            }
        }
        kind => read.unit(kind),
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_in_every_packetization() {
        let key = |payload: &[u8]| parse(payload).map(|p| p.keyframe);
        assert_eq!(key(&[0x67, 1]), Some(true), "sequence parameters");
        assert_eq!(key(&[0x65, 1]), Some(true), "IDR");
        assert_eq!(key(&[0x41, 1]), Some(false));
        assert_eq!(key(&[0x78, 0, 2, 0x67, 1, 0, 1, 0x68]), Some(true), "STAP-A");
        assert_eq!(key(&[0x78, 0, 1, 0x68, 0, 1, 0x41]), Some(false));
        assert_eq!(key(&[0x7c, 0x85, 1]), Some(true), "FU-A, first");
        assert_eq!(key(&[0x7c, 0x05, 1]), Some(false), "FU-A, later");
        assert_eq!(key(&[0x7c, 0x81, 1]), Some(false));
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        for payload in [&[][..], &[0x7c], &[0x78, 0], &[0x78, 0, 5, 0x67], &[0x78, 0, 0]] {
            assert_eq!(parse(payload), None, "{payload:?}");
        }
    }
}
