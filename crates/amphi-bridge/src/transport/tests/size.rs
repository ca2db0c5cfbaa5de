//! What a connected peer costs. `cargo test --release -p amphi-bridge size -- --ignored --nocapture` prints it.

use std::time::{Duration, Instant};

use super::world::{Pair, config};
use crate::transport::{Peer, PeerLimits, SctpRole, Setup};

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
#[ignore = "prints sizes and times"]
fn cost_of_a_peer() {
    let certificate = super::world::certificate();
    for dtls13 in [false, true] {
        let count = 1000;
        let before = resident();
        let start = Instant::now();
        let mut pairs = Vec::new();
        for _ in 0..count {
            let mut server = config("192.0.2.1:10000", true, Some(SctpRole::Server));
            let mut client = config("192.0.2.2:10000", false, Some(SctpRole::Client));
            server.certificate = certificate.clone();
            client.certificate = certificate.clone();
            client.limits = std::sync::Arc::new(PeerLimits { dtls13_client: dtls13, ..PeerLimits::default() });
            pairs.push(Pair::new(server, client));
        }
        println!("certificates: {:?}", start.elapsed());
        let made = resident();
        let start = Instant::now();
        for pair in &mut pairs {
            pair.introduce(Setup::Active, true);
            let done = pair.until(Duration::from_secs(5), |p| p.left.has_channel() && p.right.has_channel());
            assert!(done, "{:?} {:?}", pair.left.said, pair.right.said);
            for end in [&mut pair.left, &mut pair.right] {
                end.sent = Vec::new();
                end.said = Vec::new();
            }
        }
        let took = start.elapsed();
        let connected = resident();
        let start = Instant::now();
        for pair in &mut pairs {
            pair.run(Duration::from_secs(20));
            for end in [&mut pair.left, &mut pair.right] {
                end.sent = Vec::new();
            }
        }
        println!("20 s of idling, both sides of each: {:?}", start.elapsed() / count);
        println!(
            "DTLS 1.{}: Peer {} B inline; {} B before, {} B connected, {} B idle; connect, both sides: {:?}",
            if dtls13 { 3 } else { 2 },
            size_of::<Peer>(),
            (made - before) / (2 * count as usize),
            (connected - before) / (2 * count as usize),
            (resident() - before) / (2 * count as usize),
            took / count,
        );
    }
}
