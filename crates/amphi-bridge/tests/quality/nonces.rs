//! Under one key no index of an SSRC may be used for two different packets (`spec/bridge.md` 9.6): looks at everything that the bridge sends to one peer,
//! before any of it is lost.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Indices that were used under one key.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    /// Highest index of each SSRC.
    highest: HashMap<u32, u64>,
    /// SSRC, whether it is SRTCP, and index, with what was sent.
    used: HashMap<(u32, bool, u64), u64>,
    /// The first bytes of each, for messages.
    heads: HashMap<(u32, bool, u64), Vec<u8>>,
    /// What was sent under a number that had been used.
    pub(crate) repeated: Vec<String>,
    /// SSRCs of RTP.
    pub(crate) ssrcs: HashSet<u32>,
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

impl Nonces {
    /// A datagram from the bridge.
    pub(crate) fn see(&mut self, datagram: &[u8]) {
        if datagram.len() < 16 || !(128..192).contains(&datagram[0]) {
            return;
        }
        let control = (192..224).contains(&datagram[1]);
        let word = |at: usize| u32::from_be_bytes(datagram[at..at + 4].try_into().unwrap());
        let (ssrc, index) = if control {
            // GCM: the index is at the end.
            (word(4), u64::from(word(datagram.len() - 4) & 0x7fff_ffff))
        } else {
            let seq = u64::from(u16::from_be_bytes([datagram[2], datagram[3]]));
            let highest = self.highest.entry(word(8)).or_insert(seq);
            // The index next to the highest one, as a receiver takes it (RFC 3711 3.3.1).
            let near = (*highest & !0xffff) | seq;
            let index = [near.wrapping_sub(0x1_0000), near, near + 0x1_0000]
                .into_iter()
                .filter(|it| *it < 1 << 60)
                .min_by_key(|it| it.abs_diff(*highest))
                .unwrap();
            *highest = (*highest).max(index);
            self.ssrcs.insert(word(8));
            (word(8), index)
        };
        self.heads.entry((ssrc, control, index)).or_insert_with(|| datagram[..datagram.len().min(40)].to_vec());
        let now = digest(datagram);
        if self.used.insert((ssrc, control, index), now).is_some_and(|before| before != now) {
            let before = self.heads.get(&(ssrc, control, index));
            self.repeated.push(format!(
                "SSRC {ssrc}, index {index}, SRTCP: {control}, {} bytes {:02x?} after {before:02x?}",
                datagram.len(),
                &datagram[..datagram.len().min(40)]
            ));
        }
    }

    #[track_caller]
    pub(crate) fn check(&self) {
        assert!(self.repeated.is_empty(), "{} repeated, the first: {:#?}", self.repeated.len(), &self.repeated[..1]);
    }

    /// Packets that were looked at.
    pub(crate) fn count(&self) -> usize {
        self.used.len()
    }
}
