//! Numbers that wrap around, made into numbers that do not.

/// Makes a wrapping counter of `BITS` bits (RTP sequence numbers, picture ids, transport-cc numbers) into one of 64 bits. The first value is
/// placed one whole cycle above zero, so that what came before it by reordering stays positive.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwrap<const BITS: u32> {
    highest: Option<u64>,
}

impl<const BITS: u32> Unwrap<BITS> {
    const CYCLE: u64 = 1 << BITS;

    /// Nothing seen yet.
    pub fn new() -> Self {
        Self { highest: None }
    }

    /// The value nearest to the highest so far; remembers it if it is higher.
    pub fn unwrap(&mut self, value: u64) -> u64 {
        let full = self.peek(value);
        if self.highest.is_none_or(|highest| full > highest) {
            self.highest = Some(full);
        }
        full
    }

    /// As [`Self::unwrap`], but remembers nothing.
    pub fn peek(&self, value: u64) -> u64 {
        let value = value & (Self::CYCLE - 1);
        let Some(highest) = self.highest else {
            return value + Self::CYCLE;
        };
        let forward = value.wrapping_sub(highest) & (Self::CYCLE - 1);
        if forward < Self::CYCLE / 2 { highest + forward } else { (highest + forward).saturating_sub(Self::CYCLE) }
    }

    /// The highest so far.
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_wrap_forwards_and_backwards() {
        let mut seq = Unwrap::<16>::new();
        assert_eq!(seq.unwrap(65_535), 131_071);
        assert_eq!(seq.unwrap(0), 131_072);
        assert_eq!(seq.unwrap(65_534), 131_070, "reordered, before the wrap");
        assert_eq!(seq.unwrap(3), 131_075);
        assert_eq!(seq.highest(), Some(131_075));
    }

    #[test]
    fn before_the_first_value_is_still_positive() {
        let mut seq = Unwrap::<16>::new();
        assert_eq!(seq.unwrap(0), 65_536);
        assert_eq!(seq.unwrap(65_535), 65_535);
    }
}
