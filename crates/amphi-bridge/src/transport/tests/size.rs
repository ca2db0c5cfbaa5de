//! What a connected peer costs in memory and time. Each is a process of its own:
//! `cargo test -p amphi-bridge transport::tests::size::dtls_1_2 -- --ignored --nocapture` prints it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::world::{Pair, certificate, config};
use crate::transport::{Peer, PeerLimits, SctpRole, Setup};

const COUNT: u32 = 1000;
const IDLE: Duration = Duration::from_secs(60);

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn measure(dtls13: bool) {
    let certificate = certificate();
    let limits = Arc::new(PeerLimits { dtls13_client: dtls13, ..PeerLimits::default() });
    let connect = || {
        let mut server = config("192.0.2.1:10000", true, Some(SctpRole::Server));
        let mut client = config("192.0.2.2:10000", false, Some(SctpRole::Client));
        server.certificate = certificate.clone();
        client.certificate = certificate.clone();
        client.limits = limits.clone();
        let mut pair = Pair::new(server, client);
        let start = Instant::now();
        // The endpoint's side is the DTLS server, the browser's the client.
        pair.introduce(Setup::Passive, true);
        assert!(pair.until(Duration::from_secs(5), |p| p.left.has_channel() && p.right.has_channel()));
        let took = start.elapsed();
        for end in [&mut pair.left, &mut pair.right] {
            end.sent = Vec::new();
            end.said = Vec::new();
        }
        (pair, took)
    };
    drop(connect());
    let before = resident();
    let (mut pairs, mut took) = (Vec::new(), Duration::ZERO);
    for _ in 0..COUNT {
        let (pair, of_this) = connect();
        pairs.push(pair);
        took += of_this;
    }
    let connected = (resident() - before) / (2 * COUNT as usize);
    let start = Instant::now();
    for pair in &mut pairs {
        let end = pair.now + IDLE;
        while pair.now < end {
            let next = [&mut pair.left, &mut pair.right].into_iter().filter_map(|end| end.peer.poll_timeout()).min();
            pair.now = next.unwrap_or(end).max(pair.now);
            pair.step();
        }
        assert!(pair.left.failure().is_none() && pair.right.failure().is_none());
    }
    println!("idling costs {:?} a second and peer", start.elapsed() / (2 * COUNT * IDLE.as_secs() as u32));
    println!("{} B inline, {connected} B connected; connect, both sides: {:?}", size_of::<Peer>(), took / COUNT);
}

#[test]
#[ignore = "prints sizes and times"]
fn dtls_1_2() {
    measure(false);
}

#[test]
#[ignore = "prints sizes and times"]
fn dtls_1_3() {
    measure(true);
}
