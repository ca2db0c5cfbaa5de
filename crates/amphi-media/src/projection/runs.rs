//! Which of a receiver's numbers came from which stream: what a NACK is answered by.

use super::{Offsets, StreamKey, Subscription};

/// Where a number came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The stream.
    pub stream: StreamKey,
    /// Sequence number in the stream.
    pub seq: u64,
    /// What made the receiver's numbers.
    pub offsets: Offsets,
    /// The receiver's sequence number, unwrapped.
    pub out: u64,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    start: u64,
    /// The first number that was not used by it any more.
    end: u64,
    stream: StreamKey,
    offsets: Offsets,
}

/// How many runs are kept: earlier ones are of no use to a NACK unless a receiver switches several times in a second.
const KEPT: usize = 8;

/// The latest runs of one [`Subscription`].
#[derive(Clone, Debug, Default)]
pub struct Runs {
    runs: [Option<Run>; KEPT],
    next: u8,
}

impl Runs {
    /// Nothing sent yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// To be called after a packet whose `Numbers::joined` is set.
    pub fn begin(&mut self, subscription: &Subscription) {
        let Some((stream, offsets, start, end_before)) = subscription.run() else {
            return;
        };
        let next = usize::from(self.next);
        if let Some(before) = &mut self.runs[(next + KEPT - 1) % KEPT] {
            before.end = before.end.min(end_before);
        }
        self.runs[next] = Some(Run { start, end: u64::MAX, stream, offsets });
        self.next = ((next + 1) % KEPT) as u8;
    }

    /// Where a sequence number of a NACK came from; `None` if it was not sent, must not be sent, or is too old. What the stream lost itself has
    /// an origin too: a number of the stream that nothing has.
    pub fn origin(&self, subscription: &Subscription, seq: u16) -> Option<Origin> {
        let last = subscription.last_seq()?;
        let back = (last as u16).wrapping_sub(seq);
        let out = last.checked_sub(back.into()).filter(|_| back < 0x8000)?;
        let run = self.runs.iter().flatten().find(|run| (run.start..run.end).contains(&out))?;
        Some(Origin { stream: run.stream, seq: out.wrapping_sub(run.offsets.seq), offsets: run.offsets, out })
    }
}
