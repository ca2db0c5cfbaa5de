//! One direction of a bad network. Datagrams go in with the time, and come out when they have arrived, or never.

use std::time::Instant;

use str0m_netem::{Input, Netem, Output};

use crate::Conditions;

/// One direction between two hosts.
pub struct Link {
    netem: Netem<Vec<u8>>,
    seed: u64,
    sent: u64,
    arrived: u64,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("sent", &self.sent).field("arrived", &self.arrived).finish_non_exhaustive()
    }
}

impl Link {
    /// What is lost follows from `seed`.
    pub fn new(conditions: &Conditions, seed: u64) -> Self {
        Self { netem: Netem::new(conditions.config(seed)), seed, sent: 0, arrived: 0 }
    }

    /// Changes the conditions; what is under way stays so.
    pub fn set(&mut self, conditions: &Conditions) {
        self.seed = self.seed.wrapping_add(1);
        self.netem.set_config(conditions.config(self.seed));
    }

    /// A datagram is sent.
    pub fn push(&mut self, now: Instant, datagram: Vec<u8>) {
        self.sent += 1;
        self.netem.handle_input(Input::Packet(now, datagram));
    }

    /// The next datagram that has arrived.
    pub fn pop(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.netem.handle_input(Input::Timeout(now));
        match self.netem.poll_output()? {
            Output::Packet(datagram) => {
                self.arrived += 1;
                Some(datagram)
            }
            Output::Timeout(_) => None,
        }
    }

    /// When the next one arrives.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.netem.is_empty()).then(|| self.netem.poll_timeout())
    }

    /// Datagrams that were sent, and of those the ones that arrived.
    pub fn counts(&self) -> (u64, u64) {
        (self.sent, self.arrived)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sends 1,000 bytes every millisecond for so long; numbers and times (ms) of what arrived.
    fn run(link: &mut Link, start: Instant, ms: u32) -> Vec<(u32, u32)> {
        let mut got = Vec::new();
        for at in 0..ms + 2_000 {
            let now = start + MS * at;
            if at < ms {
                let mut datagram = vec![0; 1_000];
                datagram[..4].copy_from_slice(&at.to_be_bytes());
                link.push(now, datagram);
            }
            while let Some(it) = link.pop(now) {
                got.push((u32::from_be_bytes(it[..4].try_into().unwrap()), at));
            }
        }
        got
    }

    #[test]
    fn a_perfect_link_only_delays() {
        let mut link = Link::new(&Conditions::default().delayed(MS * 20), 1);
        let got = run(&mut link, Instant::now(), 100);
        assert!(got.iter().enumerate().all(|(n, it)| *it == (n as u32, n as u32 + 20)), "{got:?}");
        assert_eq!(link.counts(), (100, 100));
        assert_eq!(link.poll_timeout(), None);
    }

    #[test]
    fn loss_is_as_much_as_was_asked_for() {
        let mut link = Link::new(&Conditions::loss(0.05), 7);
        let got = run(&mut link, Instant::now(), 10_000).len();
        assert!((9_400..9_600).contains(&got), "{got}");
    }

    #[test]
    fn a_limited_rate_queues_and_then_drops() {
        // 8 Mbit/s are offered.
        let mut link = Link::new(&Conditions { rate: 4_000_000, queue: 50_000, ..Conditions::default() }, 1);
        let got = run(&mut link, Instant::now(), 1_000);
        assert!((500..560).contains(&got.len()), "{}", got.len());
        let longest = got.iter().map(|(sent, at)| at - sent).max().unwrap();
        assert!((90..=105).contains(&longest), "50 kB at 4 Mbit/s: {longest}");
        assert!(got.windows(2).all(|it| it[0].0 < it[1].0), "in order");
    }

    #[test]
    fn datagrams_overtake_each_other() {
        let conditions = Conditions { reorder: 10, ..Conditions::default().delayed(MS * 10) };
        let got = run(&mut Link::new(&conditions, 1), Instant::now(), 100);
        let overtaken = got.windows(2).filter(|it| it[0].0 > it[1].0).count();
        assert!((5..15).contains(&overtaken), "{overtaken}");
        assert_eq!(got.len(), 100);
    }
}
