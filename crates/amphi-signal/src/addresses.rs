//! Connections per address: a limit that one host hits when it misbehaves, and a campus behind one address does not.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// New connections that one address may open.
#[derive(Clone, Copy, Debug)]
pub struct AddressLimit {
    /// Per second, in the long run.
    pub rate: u32,
    /// At once.
    pub burst: u32,
    /// Addresses that are remembered; beyond it the longest unused are forgotten.
    pub remembered: usize,
}

impl Default for AddressLimit {
    fn default() -> Self {
        Self { rate: 500, burst: 20_000, remembered: 100_000 }
    }
}

/// Addresses that are no peer of their own: this machine, and proxies that are trusted.
#[derive(Clone, Default)]
pub(crate) struct Exempt(Vec<IpAddr>);

impl Exempt {
    pub(crate) fn new(proxies: &[IpAddr]) -> Self {
        Self(proxies.to_vec())
    }

    fn has(&self, addr: IpAddr) -> bool {
        addr.is_loopback() || self.0.contains(&addr)
    }
}

/// Token buckets per address.
pub(crate) struct Addresses {
    limit: AddressLimit,
    exempt: Exempt,
    buckets: Mutex<HashMap<IpAddr, (f64, Instant), foldhash::fast::RandomState>>,
}

impl Addresses {
    pub(crate) fn new(limit: AddressLimit, exempt: Exempt) -> Self {
        Self { limit, exempt, buckets: Mutex::default() }
    }

    /// Whether this address may open one connection more now.
    pub(crate) fn admit(&self, addr: IpAddr) -> bool {
        self.admit_at(addr, Instant::now())
    }

    fn admit_at(&self, addr: IpAddr, now: Instant) -> bool {
        if self.exempt.has(addr) {
            return true;
        }
        let key = network(addr);
        let (rate, burst) = (f64::from(self.limit.rate), f64::from(self.limit.burst));
        let mut buckets = self.buckets.lock();
        if buckets.len() >= self.limit.remembered {
            // A full bucket says nothing that a new one would not say.
            buckets.retain(|_, (n, at)| *n + now.duration_since(*at).as_secs_f64() * rate < burst);
            if buckets.len() >= self.limit.remembered {
                return true;
            }
        }
        let (n, at) = buckets.entry(key).or_insert((burst, now));
        *n = (*n + now.duration_since(*at).as_secs_f64() * rate).min(burst);
        *at = now;
        if *n >= 1.0 {
            *n -= 1.0;
            true
        } else {
            false
        }
    }
}

/// What each address may have at one time of something.
pub(crate) struct Shares {
    each: usize,
    exempt: Exempt,
    in_use: Mutex<HashMap<IpAddr, Arc<Semaphore>, foldhash::fast::RandomState>>,
}

impl Shares {
    pub(crate) fn new(each: usize, exempt: Exempt) -> Self {
        Self { each: each.min(Semaphore::MAX_PERMITS), exempt, in_use: Mutex::default() }
    }

    fn of(&self, addr: IpAddr) -> Option<Arc<Semaphore>> {
        if self.exempt.has(addr) {
            return None;
        }
        let mut all = self.in_use.lock();
        if all.len() == all.capacity() {
            // Whoever has anything holds its semaphore.
            all.retain(|_, s| Arc::strong_count(s) > 1);
        }
        Some(all.entry(network(addr)).or_insert_with(|| Arc::new(Semaphore::new(self.each))).clone())
    }

    /// One more, if the address has not too many: `None` inside is for an exempt one.
    pub(crate) fn try_acquire(&self, addr: IpAddr) -> Result<Option<OwnedSemaphorePermit>, TryAcquireError> {
        self.of(addr).map(Semaphore::try_acquire_owned).transpose()
    }

    /// One more, as soon as the address has not too many.
    pub(crate) async fn acquire(&self, addr: IpAddr) -> Option<OwnedSemaphorePermit> {
        self.of(addr)?.acquire_owned().await.ok()
    }
}

/// One customer has a whole /64 in IPv6.
fn network(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V6(a) => IpAddr::V6((u128::from(a) & !0xffff_ffff_ffff_ffff).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let (t, campus, proxy) = (Instant::now(), IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 9]));
        let a = Addresses::new(AddressLimit { rate: 10, burst: 100, remembered: 2 }, Exempt::new(&[proxy]));
        assert_eq!((0..200).filter(|_| a.admit_at(campus, t)).count(), 100);
        assert_eq!((0..200).filter(|_| a.admit_at(campus, t + Duration::from_secs(2))).count(), 20);
        assert!(a.admit_at(IpAddr::from([192, 0, 2, 2]), t));
        assert!((0..500).all(|_| a.admit_at(IpAddr::from([127, 0, 0, 1]), t) && a.admit_at(proxy, t)));
    }
}
