//! The last packets of a stream, shared by all who may ask for them again (`spec/bridge.md` 4.4, 9.5.2).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Limits of [`Store`].
#[derive(Clone, Copy, Debug)]
pub struct StoreConfig {
    /// How long a packet is kept; default 1 s (`edge.rtx.shared-cache-ms`).
    pub age: Duration,
    /// Sequence numbers that are kept; default 2048.
    pub packets: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { age: Duration::from_secs(1), packets: 2048 }
    }
}

/// Packets of one stream by their number in it.
#[derive(Debug)]
pub struct Store<T> {
    config: StoreConfig,
    first: u64,
    ring: VecDeque<Option<(Instant, Arc<T>)>>,
}

impl<T> Store<T> {
    /// Empty.
    pub fn new(config: StoreConfig) -> Self {
        Self { config, first: 0, ring: VecDeque::new() }
    }

    /// Keeps a packet. A late one finds its place; one that is older than everything kept is not kept.
    pub fn push(&mut self, now: Instant, seq: u64, packet: Arc<T>) {
        self.expire(now);
        let window = self.config.packets.max(1) as u64;
        let end = self.first + self.ring.len() as u64;
        if self.ring.is_empty() || seq >= end.saturating_add(window) {
            self.ring.clear();
            self.first = seq;
        }
        let Some(index) = seq.checked_sub(self.first) else { return };
        while self.ring.len() as u64 <= index {
            self.ring.push_back(None);
        }
        self.ring[index as usize] = Some((now, packet));
        while self.ring.len() as u64 > window {
            self.pop();
        }
    }

    /// The packet with this number and when it was kept, if it is still here.
    pub fn get(&self, now: Instant, seq: u64) -> Option<(Instant, &Arc<T>)> {
        let (at, packet) = self.ring.get(usize::try_from(seq.checked_sub(self.first)?).ok()?)?.as_ref()?;
        (now.saturating_duration_since(*at) <= self.config.age).then_some((*at, packet))
    }

    /// Packets with their numbers, newest first: material for padding.
    pub fn newest(&self) -> impl Iterator<Item = (u64, &Arc<T>)> {
        let first = self.first;
        let numbered = self.ring.iter().enumerate().rev();
        numbered.filter_map(move |(n, slot)| slot.as_ref().map(|(_, packet)| (first + n as u64, packet)))
    }

    /// Lets go of packets that are too old; [`Self::push`] does it too, so this is for streams that paused.
    pub fn expire(&mut self, now: Instant) {
        while let Some(front) = self.ring.front() {
            if front.as_ref().is_some_and(|(at, _)| now.saturating_duration_since(*at) <= self.config.age) {
                return;
            }
            self.pop();
        }
    }

    /// Sequence numbers held, holes included.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    fn pop(&mut self) {
        self.ring.pop_front();
        self.first += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn store() -> Store<u64> {
        Store::new(StoreConfig::default())
    }

    fn get(store: &Store<u64>, now: Instant, seq: u64) -> Option<u64> {
        store.get(now, seq).map(|(_, packet)| **packet)
    }

    #[test]
    fn packets_of_the_last_second_are_found_by_number_9_5_2() {
        let (now, mut store) = (Instant::now(), store());
        (0..10).for_each(|n| store.push(now + 200 * MS * n as u32, 100 + n, Arc::new(n)));
        let now = now + 1800 * MS;
        assert_eq!(get(&store, now, 109), Some(9));
        assert_eq!(get(&store, now, 104), Some(4), "1 s old");
        assert_eq!(get(&store, now, 103), None);
        assert_eq!(get(&store, now + 201 * MS, 104), None, "without a push that lets go of it");
        assert_eq!(get(&store, now, 110), None);
        assert_eq!(store.len(), 6);
    }

    #[test]
    fn late_packets_find_their_place_and_holes_stay_empty() {
        let (now, mut store) = (Instant::now(), store());
        [100, 103, 101, 99].into_iter().for_each(|n| store.push(now, n, Arc::new(n)));
        assert_eq!(
            [100, 101, 102, 103, 99].map(|n| get(&store, now, n)),
            [Some(100), Some(101), None, Some(103), None]
        );
        assert_eq!(store.newest().map(|(seq, _)| seq).collect::<Vec<_>>(), [103, 101, 100]);
    }

    #[test]
    fn the_number_of_packets_is_bounded_and_jumps_cost_nothing() {
        let (now, mut store) = (Instant::now(), store());
        (0..5000).for_each(|n| store.push(now, n, Arc::new(n)));
        assert_eq!(store.len(), 2048);
        store.push(now, u64::MAX / 2, Arc::new(1));
        assert_eq!((store.len(), get(&store, now, u64::MAX / 2)), (1, Some(1)));
        store.expire(now + 1001 * MS);
        assert!(store.is_empty());
    }
}
