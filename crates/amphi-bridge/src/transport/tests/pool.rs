//! A pool of endpoints, and who gets which datagram.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use amphi_media::ids::EndpointId;
use str0m::config::DtlsVersion;

use super::client::Client;
use super::world::{STEP, address, config};
use crate::transport::{Command, Credentials, Event, Peer, Pool, PoolLimits, Receive, Restart, SctpRole, Setup};

const BRIDGE: &str = "192.0.2.1:10000";

struct Bridge {
    now: Instant,
    pool: Pool,
    /// By the address from which the pool sees them.
    clients: HashMap<SocketAddr, Client>,
    events: Vec<(EndpointId, Event)>,
}

impl Bridge {
    fn new() -> Self {
        let pool = Pool::new(PoolLimits::default());
        Self { now: Instant::now(), pool, clients: HashMap::new(), events: Vec::new() }
    }

    fn join(&mut self, id: u32, at: &str) {
        let mut config = config(BRIDGE, true, Some(SctpRole::Server));
        config.credentials = Credentials::random("b", 1);
        let peer = Box::new(Peer::new(self.now, config));
        let mut client = Client::new(self.now, address(at), DtlsVersion::Dtls12);
        let description = client.describe(Setup::Active);
        client.set_remote(&peer.local(), Setup::Active);
        client.channel = Some(client.open_channel("JVB data channel"));
        self.pool.handle_command(self.now, Command::Add { id: EndpointId(id), peer });
        let remote = Box::new(description);
        self.pool.handle_command(self.now, Command::SetRemote { id: EndpointId(id), remote });
        self.clients.insert(address(at), client);
    }

    fn step(&mut self) {
        self.now += STEP;
        if self.pool.poll_timeout().is_some_and(|at| at <= self.now) {
            self.pool.handle_timeout(self.now);
        }
        for client in self.clients.values_mut() {
            client.tick(self.now);
        }
        for transmit in self.pool.transmits() {
            if let Some(client) = self.clients.get_mut(&transmit.destination) {
                client.receive(self.now, &transmit);
            }
        }
        for client in self.clients.values_mut() {
            for transmit in std::mem::take(&mut client.transmits) {
                let receive =
                    Receive { source: transmit.source, destination: transmit.destination, bytes: &transmit.bytes };
                self.pool.handle_datagram(self.now, receive);
            }
        }
        self.events.extend(self.pool.events());
    }

    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.step();
        }
    }

    fn count(&self, id: u32, what: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(of, event)| *of == EndpointId(id) && what(event)).count()
    }
}

#[test]
fn many_endpoints_connect_on_one_port() {
    let mut bridge = Bridge::new();
    for id in 0..20 {
        bridge.join(id, &format!("198.51.100.{}:4000", id + 1));
    }
    bridge.run(Duration::from_secs(3));
    for id in 0..20 {
        assert_eq!(bridge.count(id, |e| matches!(e, Event::Keys(_))), 1, "{id}");
        assert_eq!(bridge.count(id, |e| matches!(e, Event::ChannelOpen { .. })), 1, "{id}");
        assert_eq!(bridge.count(id, |e| matches!(e, Event::Bound { proven: false, .. })), 1, "{id}");
        assert_eq!(bridge.count(id, |e| matches!(e, Event::Bound { proven: true, .. })), 1, "{id}");
        assert!(bridge.count(id, |e| matches!(e, Event::Activity)) <= 4, "{id}");
    }
    for id in 0..20 {
        let command = Command::Send { id: EndpointId(id), text: format!("to {id}").into() };
        bridge.pool.handle_command(bridge.now, command);
    }
    bridge.run(Duration::from_secs(1));
    for id in 0..20 {
        let client = &bridge.clients[&address(&format!("198.51.100.{}:4000", id + 1))];
        assert_eq!(client.received, [format!("to {id}")]);
    }
}

#[test]
fn tuple_of_a_client_that_is_gone_goes_to_the_next_one_behind_it() {
    let mut bridge = Bridge::new();
    bridge.join(1, "198.51.100.1:4000");
    bridge.run(Duration::from_secs(3));
    // The browser is closed without a word; another comes out of the same NAT port at once.
    bridge.clients.clear();
    bridge.join(2, "198.51.100.1:4000");
    bridge.run(Duration::from_secs(5));
    assert_eq!(bridge.count(1, |e| matches!(e, Event::Unbound { .. })), 1);
    assert_eq!(bridge.count(2, |e| matches!(e, Event::ChannelOpen { .. })), 1);
    assert_eq!(bridge.pool.counters().rebound, 1);
    bridge.run(Duration::from_secs(60));
    assert_eq!(bridge.count(1, |e| matches!(e, Event::Failed(_))), 1);
    assert_eq!(bridge.count(2, |e| matches!(e, Event::Failed(_))), 0);
    assert_eq!(bridge.pool.len(), 1);
}

#[test]
fn forged_source_does_not_take_a_tuple_over() {
    let mut bridge = Bridge::new();
    bridge.join(1, "198.51.100.1:4000");
    bridge.run(Duration::from_secs(3));
    bridge.join(2, "198.51.100.2:4000");
    // The second client's checks claim to come from the first one's address; their answers go there and are not understood.
    for _ in 0..1000 {
        bridge.now += STEP;
        bridge.pool.handle_timeout(bridge.now);
        let second = bridge.clients.get_mut(&address("198.51.100.2:4000")).unwrap();
        second.tick(bridge.now);
        let forged: Vec<_> = std::mem::take(&mut second.transmits);
        let first = bridge.clients.get_mut(&address("198.51.100.1:4000")).unwrap();
        first.tick(bridge.now);
        let own: Vec<_> = std::mem::take(&mut first.transmits);
        for transmit in own.iter().chain(&forged) {
            let receive = Receive {
                source: address("198.51.100.1:4000"),
                destination: transmit.destination,
                bytes: &transmit.bytes,
            };
            bridge.pool.handle_datagram(bridge.now, receive);
        }
        for transmit in bridge.pool.transmits() {
            if let Some(client) = bridge.clients.get_mut(&transmit.destination) {
                client.receive(bridge.now, &transmit);
            }
        }
        bridge.events.extend(bridge.pool.events());
    }
    assert_eq!(bridge.count(1, |e| matches!(e, Event::Unbound { .. })), 0);
    assert_eq!(bridge.count(2, |e| matches!(e, Event::Bound { .. })), 0);
}

#[test]
fn removed_peers_leave_nothing_behind() {
    let mut bridge = Bridge::new();
    for id in 0..3 {
        bridge.join(id, &format!("198.51.100.{}:4000", id + 1));
    }
    bridge.run(Duration::from_secs(3));
    for id in 0..3 {
        bridge.pool.handle_command(bridge.now, Command::Remove { id: EndpointId(id) });
    }
    bridge.run(Duration::from_secs(20));
    assert!(bridge.pool.is_empty());
    assert_eq!(bridge.pool.poll_timeout(), None);
    for id in 0..3 {
        assert_eq!(bridge.count(id, |e| matches!(e, Event::Unbound { .. })), 1);
    }
    assert!(bridge.pool.left_over().iter().all(|size| *size == 0), "{:?}", bridge.pool.left_over());
}

#[test]
fn restart_is_answered_and_its_ufrag_is_known() {
    let mut bridge = Bridge::new();
    bridge.join(1, "198.51.100.1:4000");
    bridge.run(Duration::from_secs(3));
    bridge.pool.handle_command(bridge.now, Command::Restart { id: EndpointId(1) });
    bridge.events.extend(bridge.pool.events());
    let Some((_, Event::Restart(Restart::Started(local)))) = bridge.events.last() else { panic!() };
    assert_eq!(bridge.pool.peer(EndpointId(1)).unwrap().ufrags().filter(|ufrag| *ufrag == local.ufrag).count(), 1);
    assert_eq!(bridge.pool.left_over()[1], 2, "both ufrags are in the index");
    assert_eq!(crate::transport::demux::thread_of(&local.ufrag, 1), Some(1));
}

#[test]
fn idle_peers_wake_rarely() {
    let mut bridge = Bridge::new();
    bridge.join(1, "198.51.100.1:4000");
    bridge.run(Duration::from_secs(30));
    let mut turns = 0;
    let end = bridge.now + Duration::from_secs(100);
    while bridge.now < end {
        if bridge.pool.poll_timeout().is_some_and(|at| at <= bridge.now + STEP) {
            turns += 1;
        }
        bridge.step();
    }
    assert!(turns <= 60, "{turns} turns in 100 s");
}

#[test]
fn above_the_limit_peers_are_refused() {
    let now = Instant::now();
    let mut pool = Pool::new(PoolLimits { peers: 1, ..PoolLimits::default() });
    for id in 0..2 {
        let peer = Box::new(Peer::new(now, config(BRIDGE, true, None)));
        pool.handle_command(now, Command::Add { id: EndpointId(id), peer });
    }
    let events: Vec<_> = pool.events().collect();
    assert_eq!(events, [(EndpointId(1), Event::Refused)]);
}
