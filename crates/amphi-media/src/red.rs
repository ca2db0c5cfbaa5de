//! Opus redundancy (RED, RFC 2198): `spec/bridge.md` 4.7. Reads a payload's blocks, takes the primary one out for receivers without RED, gives
//! back earlier packets that were lost, and writes. Which receiver gets what is decided by `egress`.

/// More blocks than this in one packet are refused; clients send two or three.
pub const MAX_BLOCKS: usize = 9;

/// Longest redundant block: ten bits.
pub const MAX_REDUNDANT_LEN: usize = (1 << 10) - 1;

/// Largest timestamp offset: fourteen bits.
pub const MAX_TIMESTAMP_OFFSET: u16 = (1 << 14) - 1;

/// Why a RED payload is refused, or cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedError {
    /// Shorter than its headers say.
    #[error("RED payload is truncated")]
    Truncated,
    /// More than [`MAX_BLOCKS`].
    #[error("RED payload has too many blocks")]
    TooManyBlocks,
    /// A redundant block that is too long or too old to be written.
    #[error("block does not fit the RED header")]
    Block,
}

/// One block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// Payload type.
    pub payload_type: u8,
    /// How much older than the packet's timestamp; 0 for the primary block.
    pub timestamp_offset: u16,
    /// Content; may be empty.
    pub data: &'a [u8],
}

/// A packet that was sent before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered<'a> {
    /// Its sequence number.
    pub seq: u16,
    /// Its timestamp.
    pub timestamp: u32,
    /// Its payload type.
    pub payload_type: u8,
    /// Its payload.
    pub payload: &'a [u8],
}

/// A RED payload whose lengths were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Red<'a> {
    /// Headers of the redundant blocks, four bytes each.
    headers: &'a [[u8; 4]],
    /// Their contents, one after the other.
    redundant: &'a [u8],
    primary: Block<'a>,
}

impl<'a> Red<'a> {
    /// Reads a payload.
    ///
    /// # Errors
    /// Lengths that do not fit, or too many blocks.
    pub fn parse(payload: &'a [u8]) -> Result<Self, RedError> {
        let mut count = 0;
        let mut redundant_len = 0;
        let primary_type = loop {
            match payload.get(4 * count..) {
                Some([last, ..]) if last & 0x80 == 0 => break *last,
                Some(&[_, _, b, c, ..]) => redundant_len += usize::from(b & 3) << 8 | usize::from(c),
                _ => return Err(RedError::Truncated),
            }
            count += 1;
            if count >= MAX_BLOCKS {
                return Err(RedError::TooManyBlocks);
            }
        };
        let (headers, rest) = payload.split_at_checked(4 * count).ok_or(RedError::Truncated)?;
        let contents = rest.get(1..).ok_or(RedError::Truncated)?;
        let (redundant, data) = contents.split_at_checked(redundant_len).ok_or(RedError::Truncated)?;
        let primary = Block { payload_type: primary_type, timestamp_offset: 0, data };
        Ok(Self { headers: headers.as_chunks().0, redundant, primary })
    }

    /// The block that this packet is about.
    pub fn primary(&self) -> Block<'a> {
        self.primary
    }

    /// The redundant blocks, oldest first.
    pub fn redundant(&self) -> impl ExactSizeIterator<Item = Block<'a>> + use<'a> {
        let mut rest = self.redundant;
        self.headers.iter().map(move |&[a, b, c, d]| {
            let (data, after) = rest.split_at_checked(usize::from(c & 3) << 8 | usize::from(d)).unwrap_or((rest, &[]));
            rest = after;
            let timestamp_offset = u16::from(b) << 6 | u16::from(c >> 2);
            Block { payload_type: a & 0x7f, timestamp_offset, data }
        })
    }

    /// Earlier packets that `is_lost` names and whose content is here, oldest first. `seq` and `timestamp` are those of the packet. The last
    /// redundant block is the packet before this one, and so on backwards; an empty block stands for a packet without content and gives nothing.
    pub fn recover(
        &self,
        seq: u16,
        timestamp: u32,
        mut is_lost: impl FnMut(u16) -> bool,
    ) -> impl Iterator<Item = Recovered<'a>> {
        let count = self.headers.len() as u16;
        self.redundant().zip(0..).filter_map(move |(block, n)| {
            let seq = seq.wrapping_sub(count - n);
            (!block.data.is_empty() && is_lost(seq)).then(|| Recovered {
                seq,
                timestamp: timestamp.wrapping_sub(block.timestamp_offset.into()),
                payload_type: block.payload_type,
                payload: block.data,
            })
        })
    }
}

/// Appends a RED payload.
///
/// # Errors
/// Too many blocks, or a redundant block that is too long or too old; nothing is appended then.
pub fn write(out: &mut Vec<u8>, redundant: &[Block<'_>], primary_type: u8, primary: &[u8]) -> Result<(), RedError> {
    if redundant.len() >= MAX_BLOCKS {
        return Err(RedError::TooManyBlocks);
    }
    if redundant.iter().any(|b| b.data.len() > MAX_REDUNDANT_LEN || b.timestamp_offset > MAX_TIMESTAMP_OFFSET) {
        return Err(RedError::Block);
    }
    for block in redundant {
        let tail = u32::from(block.timestamp_offset) << 10 | block.data.len() as u32;
        out.extend_from_slice(&(u32::from(block.payload_type | 0x80) << 24 | tail).to_be_bytes());
    }
    out.push(primary_type & 0x7f);
    redundant.iter().for_each(|b| out.extend_from_slice(b.data));
    out.extend_from_slice(primary);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn two_before() -> Vec<u8> {
        let mut out = Vec::new();
        let older = Block { payload_type: 111, timestamp_offset: 1920, data: b"older" };
        let before = Block { payload_type: 111, timestamp_offset: 960, data: b"before" };
        write(&mut out, &[older, before], 111, b"now").unwrap();
        out
    }

    #[test]
    fn the_primary_block_is_stripped_out() {
        let payload = two_before();
        let red = Red::parse(&payload).unwrap();
        assert_eq!(red.primary(), Block { payload_type: 111, timestamp_offset: 0, data: b"now" });
        assert_eq!(Red::parse(&[111]).unwrap().primary().data, b"", "DTX");
    }

    #[test]
    fn only_lost_packets_are_recovered() {
        let payload = two_before();
        let red = Red::parse(&payload).unwrap();
        let recover = |lost: &[u16]| red.recover(1, 1000, |s| lost.contains(&s)).collect::<Vec<_>>();
        assert_eq!(recover(&[]), []);
        let older =
            Recovered { seq: 65_535, timestamp: 1000u32.wrapping_sub(1920), payload_type: 111, payload: b"older" };
        let before = Recovered { seq: 0, timestamp: 40, payload_type: 111, payload: b"before" };
        assert_eq!(recover(&[65_535]), [older]);
        assert_eq!(recover(&[0]), [before]);
        assert_eq!(recover(&[65_535, 0, 1]), [older, before]);
    }

    #[test]
    fn hostile_lengths_are_refused() {
        assert_eq!(Red::parse(&[]), Err(RedError::Truncated));
        assert_eq!(Red::parse(&[0x80 | 111, 0, 0, 0]), Err(RedError::Truncated), "no primary header");
        assert_eq!(Red::parse(&[0x80 | 111, 0, 3, 255, 111, 1]), Err(RedError::Truncated), "block beyond the end");
        assert_eq!(Red::parse(&[0xff; 1500]), Err(RedError::TooManyBlocks));
        let mut out = Vec::new();
        let long = Block { payload_type: 111, timestamp_offset: 960, data: &[0; 1024] };
        assert_eq!(write(&mut out, &[long], 111, b""), Err(RedError::Block));
        assert!(out.is_empty());
    }

    #[test]
    fn empty_blocks_keep_the_numbering_of_the_others() {
        let mut out = Vec::new();
        let older = Block { payload_type: 111, timestamp_offset: 1920, data: b"older" };
        let empty = Block { payload_type: 111, timestamp_offset: 960, data: b"" };
        write(&mut out, &[older, empty], 111, b"now").unwrap();
        let seqs: Vec<_> = Red::parse(&out).unwrap().recover(100, 0, |_| true).map(|r| r.seq).collect();
        assert_eq!(seqs, [98]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            blocks in proptest::collection::vec((0..128u8, 0..=MAX_TIMESTAMP_OFFSET, proptest::collection::vec(any::<u8>(), 0..60)), 0..MAX_BLOCKS),
            primary in proptest::collection::vec(any::<u8>(), 0..60), payload_type in 0..128u8,
        ) {
            let blocks: Vec<_> = blocks
                .iter()
                .map(|(pt, offset, data)| Block { payload_type: *pt, timestamp_offset: *offset, data })
                .collect();
            let mut out = Vec::new();
            write(&mut out, &blocks, payload_type, &primary).unwrap();
            let red = Red::parse(&out).unwrap();
            prop_assert_eq!(red.redundant().collect::<Vec<_>>(), blocks);
            prop_assert_eq!((red.primary().payload_type, red.primary().data), (payload_type, &primary[..]));
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(data in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(red) = Red::parse(&data) {
                let read: usize = red.redundant().map(|b| b.data.len() + 4).sum();
                prop_assert_eq!(read + 1 + red.primary().data.len(), data.len());
            }
        }
    }
}
