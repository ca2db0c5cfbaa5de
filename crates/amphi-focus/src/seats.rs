//! Seats on stage as the focus counts them: reservations for clients that were told to come, seats kept for members that
//! left a moment ago, and who they were. With a room that judges itself this is book-keeping; towards a stock main node
//! it is the judge (`crate::stage`).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use amphi_stanza::Jid;

/// A seat for somebody who has not come yet.
#[derive(Debug)]
pub(crate) struct Reservation {
    /// Chosen by us; also its name towards the room.
    pub(crate) id: u64,
    pub(crate) expires: Instant,
    pub(crate) identity: Vec<Box<str>>,
    /// Only this address, compared bare, may take it.
    pub(crate) jid: Option<Jid>,
    pub(crate) peer: Option<IpAddr>,
    /// It is this person's for sure. Once somebody without an address took one of several, nobody can say whose the
    /// others are: they still count, but nobody may renew them or give them up.
    pub(crate) certain: bool,
    /// The occupant that the same person still has in the room: both share one seat until it leaves.
    pub(crate) replaces: Option<Box<str>>,
}

/// Reservations and memories of one conference.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    reservations: Vec<Reservation>,
    /// Seats kept for members that left: when each is given up.
    kept: VecDeque<Instant>,
    recent: HashMap<Box<str>, Instant>,
    next_id: u64,
}

impl Ledger {
    /// The live reservation that is the same person's for sure.
    pub(crate) fn of(&mut self, identity: &[Box<str>]) -> Option<&mut Reservation> {
        self.reservations.iter_mut().find(|r| r.certain && r.identity.iter().any(|i| identity.contains(i)))
    }

    /// A seat waits for this person.
    pub(crate) fn has(&self, identity: &[Box<str>]) -> bool {
        self.reservations.iter().any(|r| r.certain && r.identity.iter().any(|i| identity.contains(i)))
    }

    /// Seats that are reserved or kept and not shared with an occupant.
    pub(crate) fn outstanding(&self) -> u32 {
        self.reserved() + self.kept.len() as u32
    }

    /// Seats that are reserved and not shared with an occupant.
    pub(crate) fn reserved(&self) -> u32 {
        self.reservations.iter().filter(|r| r.replaces.is_none()).count() as u32
    }

    pub(crate) fn kept(&self) -> u32 {
        self.kept.len() as u32
    }

    /// Unused reservations of an address.
    pub(crate) fn of_peer(&self, peer: IpAddr) -> usize {
        self.reservations.iter().filter(|r| r.peer == Some(peer)).count()
    }

    /// Reserves a seat; the caller has judged.
    pub(crate) fn reserve(
        &mut self,
        expires: Instant,
        identity: Vec<Box<str>>,
        jid: Option<Jid>,
        peer: Option<IpAddr>,
        replaces: Option<Box<str>>,
    ) -> u64 {
        self.next_id += 1;
        let id = self.next_id;
        self.reservations.push(Reservation { id, expires, identity, jid, peer, certain: true, replaces });
        id
    }

    /// Somebody who returns shares this occupant's seat already.
    pub(crate) fn is_replaced(&self, nick: &str) -> bool {
        self.reservations.iter().any(|r| r.replaces.as_deref() == Some(nick))
    }

    /// Gives a kept seat up for somebody who returns.
    pub(crate) fn use_kept(&mut self) -> bool {
        self.kept.pop_front().is_some()
    }

    pub(crate) fn cancel(&mut self, id: u64) {
        self.reservations.retain(|r| r.id != id);
    }

    /// Somebody came on stage: takes the reservation with its address, else of those that anybody may take the one that
    /// ends first, so that what remains covers whoever is still to come.
    pub(crate) fn take(&mut self, jid: Option<&Jid>, bound_only: bool) -> Option<Reservation> {
        let bound = jid.and_then(|jid| {
            self.reservations.iter().position(|r| r.jid.as_ref().is_some_and(|r| r.bare_str() == jid.bare_str()))
        });
        if let Some(at) = bound {
            return Some(self.reservations.remove(at));
        }
        if bound_only {
            return None;
        }
        let free = self.reservations.iter().enumerate().filter(|(_, r)| r.jid.is_none());
        let (at, _) = free.min_by_key(|(_, r)| r.expires)?;
        let taken = self.reservations.remove(at);
        for r in self.reservations.iter_mut().filter(|r| r.jid.is_none()) {
            r.certain = false;
        }
        Some(taken)
    }

    /// An occupant left the stage. Its seat is kept until `kept`, unless a reservation shares it already.
    pub(crate) fn left(&mut self, nick: &str, identity: &[Box<str>], kept: Option<Instant>) {
        let mut shared = false;
        for r in &mut self.reservations {
            if r.replaces.as_deref() == Some(nick) {
                r.replaces = None;
                shared = true;
            }
        }
        if let Some(until) = kept
            && !shared
            && !identity.is_empty()
        {
            self.kept.push_back(until);
        }
    }

    /// Remembers somebody who is or was on stage. `max` bounds the memory; the oldest goes first.
    pub(crate) fn remember(&mut self, identity: &[Box<str>], now: Instant, max: usize) {
        for i in identity {
            if self.recent.len() >= max.max(1)
                && !self.recent.contains_key(i)
                && let Some(oldest) = self.recent.iter().min_by_key(|(_, at)| **at).map(|(i, _)| i.clone())
            {
                self.recent.remove(&oldest);
            }
            self.recent.insert(i.clone(), now);
        }
    }

    pub(crate) fn forget(&mut self, identity: &[Box<str>]) {
        for i in identity {
            self.recent.remove(i);
        }
    }

    /// Somebody with one of these texts was on stage within `memory`.
    pub(crate) fn remembers(&self, identity: &[Box<str>], now: Instant, memory: Duration) -> bool {
        identity.iter().any(|i| self.recent.get(i).is_some_and(|at| *at + memory > now))
    }

    /// Drops what has expired; returns how many reservations were not used.
    pub(crate) fn expire(&mut self, now: Instant, memory: Duration) -> u64 {
        let before = self.reservations.len();
        self.reservations.retain(|r| r.expires > now);
        while self.kept.front().is_some_and(|until| *until <= now) {
            self.kept.pop_front();
        }
        self.recent.retain(|_, at| *at + memory > now);
        (before - self.reservations.len()) as u64
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.reservations.iter().map(|r| r.expires).chain(self.kept.front().copied()).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(s: &str) -> Vec<Box<str>> {
        vec![s.into()]
    }

    #[test]
    fn a_bound_seat_is_taken_by_its_address_alone() {
        let t = Instant::now();
        let mut l = Ledger::default();
        let ana = Jid::parse("ana@meet.example/x").unwrap();
        let bo = Jid::parse("bo@meet.example/y").unwrap();
        l.reserve(t, who("a"), Some(ana.clone()), None, None);
        assert!(l.take(Some(&bo), false).is_none());
        l.reserve(t, who("h"), None, None, None);
        assert_eq!(l.take(Some(&bo), false).unwrap().identity, who("h"));
        assert_eq!(l.take(Some(&ana), false).unwrap().identity, who("a"));
        assert_eq!(l.outstanding(), 0);
    }

    #[test]
    fn memory_is_bounded_and_ends() {
        let t = Instant::now();
        let s = Duration::from_secs(1);
        let mut l = Ledger::default();
        for i in 0..10u32 {
            l.remember(&who(&i.to_string()), t + s * i, 4);
        }
        assert_eq!(l.recent.len(), 4);
        assert!(l.remembers(&who("9"), t + s * 10, s * 5) && !l.remembers(&who("5"), t + s * 10, s * 60));
        l.expire(t + s * 100, s * 5);
        assert!(l.recent.is_empty());
    }

    #[test]
    fn a_shared_seat_counts_once() {
        let t = Instant::now();
        let mut l = Ledger::default();
        l.reserve(t, who("a"), None, None, Some("n1".into()));
        assert_eq!(l.outstanding(), 0);
        l.left("n1", &who("a"), Some(t));
        assert_eq!((l.reserved(), l.kept()), (1, 0));
    }
}
