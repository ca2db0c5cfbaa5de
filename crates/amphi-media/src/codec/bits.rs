//! Bits in network order, read and written.

/// Reads bits; `None` past the end.
#[derive(Clone, Debug)]
pub(super) struct BitReader<'a> {
    data: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0 }
    }

    /// Where it is, in bits.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Up to 32 bits.
    pub(super) fn bits(&mut self, count: u32) -> Option<u32> {
        let end = self.at + count as usize;
        if end > self.data.len() * 8 {
            return None;
        }
        let mut value = 0u64;
        let first = self.at / 8;
        for byte in self.data.get(first..end.div_ceil(8))? {
            value = value << 8 | u64::from(*byte);
        }
        let unused = (8 - end % 8) % 8;
        self.at = end;
        Some((value >> unused & ((1u64 << count) - 1)) as u32)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        Some(self.bits(1)? == 1)
    }

    /// `ns(n)` of the AV1 specification: a number below `n` in as few bits as that takes.
    pub(super) fn below(&mut self, n: u32) -> Option<u32> {
        let mut width = 0;
        while n >> width != 0 {
            width += 1;
        }
        if width == 0 {
            return Some(0);
        }
        let short = (1u32 << width) - n;
        let value = self.bits(width - 1)?;
        if value < short {
            return Some(value);
        }
        Some((value << 1) - short + self.bits(1)?)
    }
}

/// Writes bits into a buffer; fails when it is full.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> BitWriter<'a> {
    /// Starts at the first bit of `out`, which must be zero.
    pub(super) fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The low `count` bits of `value`.
    pub(super) fn bits(&mut self, value: u32, count: u32) -> Option<()> {
        for i in (0..count).rev() {
            let byte = self.out.get_mut(self.at / 8)?;
            *byte |= ((value >> i & 1) as u8) << (7 - self.at % 8);
            self.at += 1;
        }
        Some(())
    }

    /// Bits of another buffer, from one position up to another.
    pub(super) fn copy(&mut self, from: &[u8], start: usize, end: usize) -> Option<()> {
        let mut reader = BitReader { data: from, at: start };
        let mut left = end.saturating_sub(start);
        while left > 0 {
            let count = left.min(32) as u32;
            self.bits(reader.bits(count)?, count)?;
            left -= count as usize;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_cross_bytes() {
        let mut r = BitReader::new(&[0b1010_0101, 0xff, 0x00, 0xaa, 0x55]);
        assert_eq!(r.bits(3), Some(0b101));
        assert_eq!(r.bits(7), Some(0b001_0111));
        assert_eq!(r.bits(0), Some(0));
        assert_eq!(r.position(), 10);
        assert_eq!(r.bits(30), Some(0x3f00_aa55));
        assert_eq!(r.bits(1), None);
    }

    #[test]
    fn non_symmetric_numbers() {
        // n = 5: 0, 1 and 2 take two bits, 3 and 4 take three.
        let mut r = BitReader::new(&[0b0001_1011, 0b0111_0000]);
        let read: Vec<_> = (0..5).map(|_| r.below(5).unwrap()).collect();
        assert_eq!(read, [0, 1, 2, 3, 4]);
        assert_eq!(BitReader::new(&[]).below(1), Some(0));
    }

    #[test]
    fn what_was_written_is_read() {
        let mut out = [0; 8];
        let mut w = BitWriter::new(&mut out);
        w.bits(0b101, 3).unwrap();
        w.copy(&[0xff, 0x0f, 0xf0, 0x12, 0x34], 4, 39).unwrap();
        assert_eq!(w.position(), 38);
        let mut r = BitReader::new(&out);
        assert_eq!(r.bits(3), Some(5));
        assert_eq!(r.bits(4), Some(0xf));
        assert_eq!(r.bits(31), Some(0x0ff0_1234 >> 1));
        assert!(BitWriter::new(&mut [0]).bits(0, 9).is_none());
    }
}
