//! Datagrams to one destination that leave with one system call: all of one size but the last, which may be shorter (`spec/bridge.md` 9.5.2,
//! equal-size rule).

/// Most datagrams in a run: the limit of UDP_SEGMENT in older kernels.
pub const MAX_SEGMENTS: usize = 64;
/// Most bytes in a run: what fits into one IP packet, with room for headers.
pub const MAX_RUN: usize = 65_000;
/// Room for one more datagram of any size that we send.
const SPARE: usize = 2_048;

/// A buffer that datagrams are sealed into, one after the other. One per thread is enough.
#[derive(Debug)]
pub struct Run {
    data: Box<[u8]>,
    len: usize,
    segment: usize,
    count: usize,
    closed: bool,
}

impl Default for Run {
    fn default() -> Self {
        Self::new()
    }
}

impl Run {
    /// Empty.
    pub fn new() -> Self {
        Self { data: vec![0; MAX_RUN + SPARE].into_boxed_slice(), len: 0, segment: 0, count: 0, closed: false }
    }

    /// Whether a datagram of `size` bytes can join those that are here.
    #[inline]
    pub fn takes(&self, size: usize) -> bool {
        self.count == 0
            || (!self.closed && size <= self.segment && self.count < MAX_SEGMENTS && self.len + size <= MAX_RUN)
    }

    /// Where the next datagram is to be written.
    #[inline]
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.data[self.len..]
    }

    /// A datagram of `size` bytes was written; [`Self::takes`] had been asked.
    #[inline]
    pub fn commit(&mut self, size: usize) {
        if self.count == 0 {
            self.segment = size;
        }
        self.closed = size < self.segment;
        self.len += size;
        self.count += 1;
    }

    /// All datagrams.
    pub fn bytes(&self) -> &[u8] {
        &self.data[..self.len]
    }

    /// Size of all but the last.
    pub fn segment(&self) -> usize {
        self.segment
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Begins anew.
    #[inline]
    pub fn clear(&mut self) {
        (self.len, self.segment, self.count, self.closed) = (0, 0, 0, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(sizes: &[usize]) -> usize {
        let mut run = Run::new();
        let mut count = 0;
        for size in sizes {
            if !run.takes(*size) {
                break;
            }
            run.commit(*size);
            count += 1;
        }
        assert_eq!(run.bytes().len(), sizes[..count].iter().sum::<usize>());
        count
    }

    #[test]
    fn equal_sizes_and_one_shorter_end_make_a_run() {
        assert_eq!(taken(&[100, 100, 100, 40, 40]), 4);
        assert_eq!(taken(&[100, 100, 101]), 2);
        assert_eq!(taken(&[40, 100]), 1);
    }

    #[test]
    fn a_run_stays_below_what_the_kernel_takes() {
        assert_eq!(taken(&[100; 80]), MAX_SEGMENTS);
        assert_eq!(taken(&[1_200; 64]), MAX_RUN / 1_200);
    }
}
