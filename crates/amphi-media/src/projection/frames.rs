//! Frames of one run, as far back as packets of them may still come. Each is decided once.

/// How many frames are remembered.
const HISTORY: usize = 1024;

/// A frame whose first packet was seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// Unwrapped id; VP9: with the spatial layer in the low three bits.
    pub(super) key: u64,
    /// Run of the stream.
    pub(super) run: u32,
    pub(super) accepted: bool,
    pub(super) keyframe: bool,
    pub(super) temporal: u8,
    /// VP8: picture id of the source less that of the stream.
    pub(super) picture_shift: u64,
    /// Dependency descriptor: decode targets that it is part of.
    pub(super) targets: u32,
}

#[derive(Debug)]
pub(super) struct Frames {
    records: Box<[Option<Record>]>,
    run: u32,
    /// First and highest key of the run.
    first: u64,
    top: u64,
    /// What VP8 picture ids of later frames are shifted by.
    pub(super) picture_shift: u64,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self { records: vec![None; HISTORY].into_boxed_slice(), run: 0, first: 0, top: 0, picture_shift: 0 }
    }

    /// Begins a run with the frame `key`; what came before is forgotten.
    pub(super) fn begin(&mut self, key: u64, picture_shift: u64) {
        self.run = self.run.wrapping_add(1);
        (self.first, self.top, self.picture_shift) = (key, key, picture_shift);
    }

    /// The latest frame.
    pub(super) fn top(&self) -> u64 {
        self.top
    }

    /// Whether a frame is of this run and near enough to be decided.
    pub(super) fn is_within(&self, key: u64) -> bool {
        key >= self.first && !self.is_old(key)
    }

    /// Whether a frame is further back than any packet that is still on its way.
    pub(super) fn is_old(&self, key: u64) -> bool {
        key + HISTORY as u64 / 2 <= self.top
    }

    pub(super) fn get(&self, key: u64) -> Option<&Record> {
        self.records[key as usize % HISTORY].as_ref().filter(|r| r.key == key && r.run == self.run)
    }

    /// Remembers a decision; the record with run and picture shift filled in.
    pub(super) fn insert(&mut self, mut record: Record) -> Record {
        record.run = self.run;
        record.picture_shift = self.picture_shift;
        if record.key < self.top {
            // It had a picture id reserved: that which the next known frame leaves for it.
            let later = (record.key + 1..=self.top).take(HISTORY / 2).find_map(|key| self.get(key));
            record.picture_shift = later.map_or(self.picture_shift, |l| l.picture_shift);
        } else {
            self.top = record.key;
            if !record.accepted {
                self.picture_shift = self.picture_shift.wrapping_add(1);
            }
        }
        self.records[record.key as usize % HISTORY] = Some(record);
        record
    }

    /// Whether what a frame of a temporal layer builds upon was accepted, as far as that is known (`spec/bridge.md` 4.6.2).
    pub(super) fn is_decodable(&self, key: u64, temporal: u8) -> bool {
        for back in 1..=32 {
            match key.checked_sub(back).and_then(|k| self.get(k)) {
                None => return true,
                Some(r) if r.keyframe || r.temporal <= temporal => return r.accepted,
                Some(_) => {}
            }
        }
        true
    }
}
