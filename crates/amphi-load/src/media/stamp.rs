//! The end of every generated payload: which packet it is, and when it was handed to the sender. A viewer on the same clock reads the delay from
//! it.

/// Length of a stamp.
pub(crate) const STAMP_LEN: usize = 20;
const MAGIC: [u8; 4] = *b"amLd";

/// What a payload says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Encoding, lowest first; 255: audio.
    pub(crate) encoding: u8,
    /// Number of the frame within the encoding.
    pub(crate) frame: u32,
    /// Number of the packet within the frame.
    pub(crate) part: u8,
    /// Packets of the frame.
    pub(crate) parts: u8,
    /// Microseconds on the clock of the run.
    pub(crate) micros: u64,
}

impl Stamp {
    /// Appends it.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[self.encoding, self.part, self.parts, 0]);
        out.extend_from_slice(&self.frame.to_be_bytes());
        out.extend_from_slice(&self.micros.to_be_bytes());
    }

    /// Sets the time in a payload that ends with a stamp.
    pub(crate) fn set_time(payload: &mut [u8], micros: u64) {
        if let Some(place) = payload.last_chunk_mut::<8>() {
            *place = micros.to_be_bytes();
        }
    }

    /// Reads it from the end of a payload.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let end = payload.last_chunk::<STAMP_LEN>()?;
        let (head, rest) = end.split_first_chunk::<8>()?;
        let (frame, micros) = rest.split_first_chunk::<4>()?;
        (head[..4] == MAGIC).then_some(Self {
            encoding: head[4],
            part: head[5],
            parts: head[6],
            frame: u32::from_be_bytes(*frame),
            micros: u64::from_be_bytes(micros.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_from_the_end_of_a_payload() {
        let stamp = Stamp { encoding: 2, frame: 70_000, part: 3, parts: 9, micros: 0 };
        let mut payload = vec![1, 2, 3];
        stamp.write(&mut payload);
        Stamp::set_time(&mut payload, 1 << 40);
        assert_eq!(Stamp::read(&payload), Some(Stamp { micros: 1 << 40, ..stamp }));
        assert_eq!(Stamp::read(&payload[..20]), None);
        assert_eq!(Stamp::read(b"short"), None);
    }
}
