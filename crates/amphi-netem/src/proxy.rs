//! A proxy between clients and one server: every client has an address of its own towards the server, and two links. Knows no sockets: who
//! calls it has one for clients and one for each client.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use crate::{Conditions, Link};

/// Which of the two links.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// From clients to the server.
    Up,
    /// From the server to clients.
    Down,
}

#[derive(Debug)]
struct Client {
    up: Link,
    down: Link,
    last: Instant,
}

/// Links of all clients.
#[derive(Debug)]
pub struct Proxy {
    up: Conditions,
    down: Conditions,
    clients: HashMap<SocketAddr, Client>,
    seed: u64,
    most: usize,
}

impl Proxy {
    /// Without clients; there may be `most` at a time.
    pub fn new(up: Conditions, down: Conditions, seed: u64, most: usize) -> Self {
        Self { up, down, clients: HashMap::new(), seed, most }
    }

    /// Changes the conditions of all links in a direction, and of those that come.
    pub fn set(&mut self, direction: Direction, conditions: Conditions) {
        match direction {
            Direction::Up => self.up = conditions,
            Direction::Down => self.down = conditions,
        }
        for it in self.clients.values_mut() {
            match direction {
                Direction::Up => it.up.set(&conditions),
                Direction::Down => it.down.set(&conditions),
            }
        }
    }

    /// A datagram of a client, or for it. A new client is one who sends. `false`: there is no such client, or no room for it.
    pub fn push(&mut self, now: Instant, client: SocketAddr, direction: Direction, datagram: Vec<u8>) -> bool {
        if direction == Direction::Up && !self.clients.contains_key(&client) {
            if self.clients.len() >= self.most {
                return false;
            }
            self.seed = self.seed.wrapping_add(2);
            let (up, down) = (Link::new(&self.up, self.seed), Link::new(&self.down, self.seed + 1));
            self.clients.insert(client, Client { up, down, last: now });
        }
        let Some(it) = self.clients.get_mut(&client) else { return false };
        match direction {
            Direction::Up => {
                it.last = now;
                it.up.push(now, datagram);
            }
            Direction::Down => it.down.push(now, datagram),
        }
        true
    }

    /// The next datagram that has arrived on the other side.
    pub fn pop(&mut self, now: Instant) -> Option<(SocketAddr, Direction, Vec<u8>)> {
        self.clients.iter_mut().find_map(|(address, it)| {
            let up = it.up.pop(now).map(|datagram| (*address, Direction::Up, datagram));
            up.or_else(|| it.down.pop(now).map(|datagram| (*address, Direction::Down, datagram)))
        })
    }

    /// When the next one arrives.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.clients.values().flat_map(|it| [it.up.poll_timeout(), it.down.poll_timeout()]).flatten().min()
    }

    /// Forgets clients who have sent nothing since then, and names them.
    pub fn forget(&mut self, since: Instant) -> Vec<SocketAddr> {
        let gone: Vec<_> = self.clients.iter().filter(|(_, it)| it.last < since).map(|(it, _)| *it).collect();
        gone.iter().for_each(|it| drop(self.clients.remove(it)));
        gone
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn clients_have_links_of_their_own() {
        let (now, ms) = (Instant::now(), Duration::from_millis(1));
        let up = Conditions::default().delayed(ms * 10);
        let mut proxy = Proxy::new(up, Conditions::default(), 1, 2);
        let [a, b, c] = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        assert!(!proxy.push(now, a, Direction::Down, vec![0]), "who has not sent gets nothing");
        assert!(proxy.push(now, a, Direction::Up, vec![1]));
        assert!(proxy.push(now, b, Direction::Up, vec![2]));
        assert!(!proxy.push(now, c, Direction::Up, vec![3]), "no room");
        assert!(proxy.push(now, b, Direction::Down, vec![4]));
        assert_eq!(proxy.pop(now), Some((b, Direction::Down, vec![4])));
        assert_eq!(proxy.pop(now), None);
        assert_eq!(proxy.poll_timeout(), Some(now + ms * 10));
        let mut got = Vec::from_iter(std::iter::from_fn(|| proxy.pop(now + ms * 10)));
        got.sort();
        assert_eq!(got, [(a, Direction::Up, vec![1]), (b, Direction::Up, vec![2])]);
        proxy.set(Direction::Up, Conditions::loss(1.0));
        assert!(proxy.push(now + ms * 20, a, Direction::Up, vec![5]));
        assert_eq!(proxy.pop(now + ms * 99), None);
        assert_eq!(proxy.forget(now + ms * 20), [b]);
    }
}
