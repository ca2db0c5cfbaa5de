//! The speed at which conference requests are admitted: a token bucket and a short queue. What would wait too long is
//! told to come back, so a storm is spread over time instead of being dropped. One address fills no more than half of the queue.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::Limits;
use crate::core::Waiting;

#[derive(Debug)]
pub(crate) struct Pace {
    rate: f64,
    burst: f64,
    wait: Duration,
    tokens: f64,
    filled: Option<Instant>,
    queue: VecDeque<(Instant, Waiting, Option<IpAddr>)>,
    /// How many of them are from each address.
    peers: HashMap<IpAddr, usize>,
}

impl Pace {
    pub(crate) fn new(limits: &Limits) -> Self {
        let burst = f64::from(limits.admission_burst.max(1));
        Self {
            rate: f64::from(limits.admissions_per_second.max(1)),
            burst,
            wait: limits.admission_wait,
            tokens: burst,
            filled: None,
            queue: VecDeque::new(),
            peers: HashMap::new(),
        }
    }

    /// Takes a request in; gives it back if it would have to wait too long.
    /// `peer`: the address that it counts for.
    pub(crate) fn push(&mut self, now: Instant, w: Waiting, peer: Option<IpAddr>) -> Option<Waiting> {
        // What the bucket holds does not have to wait.
        let tokens = self.tokens.max(0.0);
        let most = self.rate * self.wait.as_secs_f64();
        if self.queue.len() as f64 - tokens >= most {
            return Some(w);
        }
        if let Some(p) = peer {
            let of_peer = self.peers.entry(p).or_default();
            if *of_peer as f64 - tokens >= (most / 2.0).max(1.0) {
                return Some(w);
            }
            *of_peer += 1;
        }
        self.queue.push_back((now, w, peer));
        None
    }

    fn front(&mut self) -> Option<Waiting> {
        let (_, w, peer) = self.queue.pop_front()?;
        if let Some(p) = peer
            && let Some(n) = self.peers.get_mut(&p)
        {
            *n -= 1;
            if *n == 0 {
                self.peers.remove(&p);
            }
        }
        Some(w)
    }

    /// The next request whose turn it is.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Waiting> {
        let since = self.filled.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.tokens = (self.tokens + since.as_secs_f64() * self.rate).min(self.burst);
        self.filled = Some(now);
        if self.queue.is_empty() || self.tokens < 1.0 - 1e-6 {
            return None;
        }
        self.tokens -= 1.0;
        self.front()
    }

    /// The next request that has waited too long; for times when nobody can be admitted.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<Waiting> {
        let (at, ..) = self.queue.front()?;
        if *at + self.wait > now { None } else { self.front() }
    }

    /// When the next request is due: by the rate, or by its patience when `blocked`.
    pub(crate) fn deadline(&self, blocked: bool) -> Option<Instant> {
        let (at, ..) = self.queue.front()?;
        if blocked {
            return Some(*at + self.wait);
        }
        let missing = (1.0 - self.tokens).max(0.0);
        Some(self.filled.unwrap_or(*at) + Duration::from_secs_f64(missing / self.rate))
    }
}
