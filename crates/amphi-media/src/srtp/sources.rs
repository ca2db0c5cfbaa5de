//! SSRCs of one peer: what was seen of each. Only so many have a window; of those that were not heard for longest the highest index is kept, so that
//! they can come back with their rollover counter and without replays (RFC 3711 section 3.3.1, 3.3.2).

use std::collections::HashMap;

use super::SrtpError;
use super::replay::ReplayWindow;

/// SSRCs of one peer that have a window, for RTP and for RTCP each (`spec/bridge.md` 2.4).
pub const MAX_SOURCES: usize = 1024;
/// SSRCs of which the highest index is kept; then some of them are forgotten.
const MAX_RETIRED: usize = 16 * MAX_SOURCES;

type BySsrc<T> = HashMap<u32, T, foldhash::fast::RandomState>;

#[derive(Debug)]
struct Source<const WORDS: usize> {
    window: ReplayWindow<WORDS>,
    /// What the clock said when it was heard last.
    heard: u64,
}

/// Of one direction and kind of packets. Windows have `64 * WORDS` indexes.
#[derive(Debug, Default)]
pub(super) struct Sources<const WORDS: usize> {
    live: BySsrc<Source<WORDS>>,
    retired: BySsrc<u64>,
    /// Packets accepted.
    clock: u64,
}

impl<const WORDS: usize> Sources<WORDS> {
    /// SSRCs that have a window.
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// The index of a packet, if it may be taken. `guess` makes it of the highest so far, if there is any.
    pub(super) fn index(&self, ssrc: u32, guess: impl FnOnce(Option<u64>) -> Option<u64>) -> Result<u64, SrtpError> {
        if let Some(source) = self.live.get(&ssrc) {
            let index = guess(Some(source.window.highest())).ok_or(SrtpError::TooOld)?;
            return source.window.check(index).map(|()| index);
        }
        let highest = self.retired.get(&ssrc).copied();
        let index = guess(highest).ok_or(SrtpError::TooOld)?;
        if highest.is_some_and(|highest| index <= highest) { Err(SrtpError::TooOld) } else { Ok(index) }
    }

    /// Takes an authentic packet whose index [`Self::index`] gave.
    pub(super) fn accept(&mut self, ssrc: u32, index: u64) {
        self.clock += 1;
        if let Some(source) = self.live.get_mut(&ssrc) {
            source.heard = self.clock;
            return source.window.accept(index);
        }
        if self.live.len() >= MAX_SOURCES {
            self.retire();
        }
        self.retired.remove(&ssrc);
        self.live.insert(ssrc, Source { window: ReplayWindow::starting_at(index), heard: self.clock });
    }

    /// Makes room for one more.
    fn retire(&mut self) {
        let longest = self.live.iter().min_by_key(|(_, source)| source.heard).map(|(ssrc, _)| *ssrc);
        let Some((ssrc, source)) = longest.and_then(|ssrc| self.live.remove_entry(&ssrc)) else { return };
        if self.retired.len() >= MAX_RETIRED
            && let Some(any) = self.retired.keys().next().copied()
        {
            self.retired.remove(&any);
        }
        self.retired.insert(ssrc, source.window.highest());
    }
}
