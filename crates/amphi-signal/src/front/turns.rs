//! Who may shake hands now. Connections whose handshake is not over have a place, of which there are many; those that work on
//! it have one of few turns besides. Waiting for the peer's first bytes takes no turn, and a peer that is slow in the middle
//! loses its own, so that nobody is kept out by others who say nothing. Called by the front and by shards that log people in.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::FrontSettings;
use crate::addresses::{Addresses, Exempt, Shares};
use crate::metrics::Metrics;

/// Places and turns of a front.
pub(crate) struct Turns {
    places: Arc<Semaphore>,
    places_of: Shares,
    turns: Arc<Semaphore>,
    turns_of: Shares,
    time: Duration,
    metrics: Arc<Metrics>,
}

/// What new connections pass, on every address that anybody may connect to.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Door {
    /// A place for a new connection, unless there are too many, or too many from its address.
    pub(crate) fn enter(&self, peer: IpAddr) -> Option<Place> {
        if !self.addresses.admit(peer) {
            self.metrics.refuse("address-rate");
            return None;
        }
        self.turns.enter(peer)
    }
}

/// A permit of everybody, and one of the address.
type Permit = (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

impl Turns {
    pub(crate) fn new(s: &FrontSettings, metrics: Arc<Metrics>) -> Arc<Self> {
        let exempt = Exempt::new(&s.trusted_proxies);
        Arc::new(Self {
            places: Arc::new(Semaphore::new(s.waiting)),
            places_of: Shares::new(s.waiting_per_address, exempt.clone()),
            turns: Arc::new(Semaphore::new(s.handshakes)),
            turns_of: Shares::new(s.handshakes_per_address, exempt),
            time: s.turn_time,
            metrics,
        })
    }

    /// A place for a new connection, unless there are too many.
    pub(crate) fn enter(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let Ok(own) = self.places_of.try_acquire(peer) else {
            self.metrics.refuse("address-handshakes");
            return None;
        };
        let Ok(all) = self.places.clone().try_acquire_owned() else {
            self.metrics.refuse("front-queue-full");
            return None;
        };
        self.metrics.handshakes.inc();
        Some(Place { turns: self.clone(), peer, _place: (all, own), turn: None })
    }
}

/// A place, given back when it is dropped; with or without a turn.
pub(crate) struct Place {
    turns: Arc<Turns>,
    peer: IpAddr,
    _place: Permit,
    turn: Option<Permit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.turns.metrics.handshakes.dec();
    }
}

impl Place {
    /// Waits for a turn, unless there is one.
    pub(crate) async fn turn(&mut self) {
        if self.turn.is_some() {
            return;
        }
        let all = &self.turns;
        let waiting = all.turns.available_permits() == 0;
        if waiting {
            all.metrics.handshakes_waiting.inc();
        }
        let own = all.turns_of.acquire(self.peer).await;
        let turn = all.turns.clone().acquire_owned().await;
        if waiting {
            all.metrics.handshakes_waiting.dec();
        }
        // Nobody closes the semaphore.
        self.turn = turn.ok().map(|t| (t, own));
    }

    /// Does some work that waits for the peer now and then. Whoever takes longer than usual goes on without a turn; `None`: it was
    /// not done within `most`.
    pub(crate) async fn work<T>(&mut self, most: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let usual = self.turns.time.min(most);
        if let Ok(done) = timeout(usual, work.as_mut()).await {
            return Some(done);
        }
        self.turn = None;
        timeout(most - usual, work).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    fn turns(handshakes: usize) -> Arc<Turns> {
        let settings = FrontSettings {
            handshakes,
            handshakes_per_address: 1,
            waiting: 4,
            waiting_per_address: 3,
            trusted_proxies: vec![host(9)],
            ..FrontSettings::default()
        };
        Turns::new(&settings, Metrics::register(&mut Registry::default()))
    }

    fn host(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn places_are_bounded_for_each_address_and_for_all() {
        let t = turns(2);
        let mut mine: Vec<Place> = (0..5).filter_map(|_| t.enter(host(1))).collect();
        assert_eq!(mine.len(), 3);
        let others: Vec<Place> = (0..5).filter_map(|_| t.enter(host(2))).collect();
        assert_eq!(others.len(), 1);
        mine.pop();
        assert!(t.enter(host(2)).is_some());
        drop((mine, others));
        let proxied: Vec<Place> = (0..5).filter_map(|_| t.enter(host(9))).collect();
        assert_eq!(proxied.len(), 4, "a proxy speaks for many");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_keeps_neither_its_turn_nor_those_of_other_addresses() {
        let t = turns(2);
        let (mut slow, mut next, mut other) =
            (t.enter(host(1)).unwrap(), t.enter(host(1)).unwrap(), t.enter(host(2)).unwrap());
        slow.turn().await;
        let begin = tokio::time::Instant::now();
        // Its address has no further turn, another one has.
        let stuck = tokio::spawn(async move { slow.work(Duration::from_secs(30), std::future::pending::<()>()).await });
        other.turn().await;
        assert_eq!(begin.elapsed(), Duration::ZERO);
        next.turn().await;
        assert_eq!(begin.elapsed().as_secs(), FrontSettings::default().turn_time.as_secs());
        assert_eq!(stuck.await.unwrap(), None);
        assert_eq!(begin.elapsed().as_secs(), 30);
    }
}
