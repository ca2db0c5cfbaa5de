//! What others send must not hurt.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::world::{End, Pair, address, config, remote};
use crate::transport::{Credentials, Failure, Heard, PeerLimits, Receive, SctpRole, Setup, Transmit};

const SOON: Duration = Duration::from_secs(5);

fn pair() -> Pair {
    Pair::new(
        config("192.0.2.1:10000", true, Some(SctpRole::Server)),
        config("192.0.2.2:10000", false, Some(SctpRole::Client)),
    )
}

#[test]
fn wrong_fingerprint_yields_no_keys_in_either_role() {
    for setup in [Setup::Active, Setup::Passive] {
        let mut pair = pair();
        let mut right = remote(&pair.right.peer.local(), setup, true);
        right.fingerprints[0].value = pair.left.peer.local().fingerprint.value;
        let opposite = if setup == Setup::Active { Setup::Passive } else { Setup::Active };
        let left = remote(&pair.left.peer.local(), opposite, true);
        pair.left.peer.set_remote(pair.now, &right);
        pair.right.peer.set_remote(pair.now, &left);
        pair.run(SOON);
        assert_eq!(pair.left.failure(), Some(&Failure::FingerprintMismatch));
        assert_eq!(pair.left.keys(), None);
        assert!(!pair.left.has_channel());
        assert!(matches!(pair.right.failure(), Some(Failure::Dtls(_))), "told by an alert: {:?}", pair.right.failure());
    }
}

#[test]
fn no_known_hash_is_refused() {
    let mut pair = pair();
    let mut right = remote(&pair.right.peer.local(), Setup::Active, true);
    right.fingerprints[0].hash = "md5".into();
    pair.left.peer.set_remote(pair.now, &right);
    pair.left.drain();
    assert_eq!(pair.left.failure(), Some(&Failure::NoUsableFingerprint));
}

#[test]
fn weaker_hashes_are_verified_by_their_own_function() {
    let mut pair = pair();
    let mut right = remote(&pair.right.peer.local(), Setup::Active, true);
    right.fingerprints[0].hash = "sha-1".into();
    right.fingerprints[0].value = "00:".repeat(19) + "00";
    let left = remote(&pair.left.peer.local(), Setup::Passive, true);
    pair.left.peer.set_remote(pair.now, &right);
    pair.right.peer.set_remote(pair.now, &left);
    pair.run(SOON);
    assert_eq!(pair.left.failure(), Some(&Failure::FingerprintMismatch));
}

/// Somebody who knows the ufrags but not our password.
fn forger(pair: &Pair) -> End {
    let mut config = config("198.51.100.66:6666", false, None);
    let right = pair.right.peer.local();
    config.credentials = Credentials { ufrag: right.ufrag, ..config.credentials };
    let mut forger = End::new(pair.now, config);
    let mut left = remote(&pair.left.peer.local(), Setup::Passive, true);
    left.password = Some("not the password of left".into());
    forger.peer.set_remote(pair.now, &left);
    forger
}

#[test]
fn stun_with_a_wrong_password_is_not_answered_and_changes_nothing() {
    for connected in [false, true] {
        let mut pair = pair();
        pair.introduce(Setup::Passive, false);
        if connected {
            pair.introduce(Setup::Passive, true);
        }
        let mut forger = forger(&pair);
        pair.run(if connected { SOON } else { Duration::ZERO });
        pair.left.sent.clear();
        let selected = pair.left.said.len();
        let mut forged = 0;
        for _ in 0..100 {
            pair.now += Duration::from_millis(50);
            forger.tick(pair.now);
            for transmit in forger.drain() {
                forged += 1;
                let Transmit { source, destination, bytes } = &transmit;
                let receive = Receive { source: *source, destination: *destination, bytes };
                assert_eq!(pair.left.peer.handle(pair.now, receive), Heard::Nothing);
            }
            pair.left.drain();
        }
        assert!(forged > 3);
        let to_forger = pair.left.sent.iter().filter(|t| t.destination == address("198.51.100.66:6666")).count();
        assert_eq!(to_forger, 0);
        assert_eq!(pair.left.said.len(), selected);
        assert_eq!(pair.left.peer.counters().rejected_stun, forged);
    }
}

#[test]
fn dtls_from_an_unproved_address_is_dropped() {
    let mut pair = pair();
    pair.introduce(Setup::Passive, true);
    pair.run(SOON);
    let packet = pair.right.sent.iter().find(|t| t.bytes[0] == 22).unwrap().clone();
    let before = pair.left.sent.len();
    pair.left.receive(pair.now, &Transmit { source: address("198.51.100.66:6666"), ..packet });
    pair.left.drain();
    assert_eq!(pair.left.peer.counters().rejected_dtls, 1);
    assert_eq!(pair.left.sent.len(), before);
}

#[test]
fn nothing_is_sent_where_nobody_proved_to_be() {
    let mut pair = pair();
    pair.introduce(Setup::Active, false);
    pair.run(SOON);
    assert!(pair.left.sent.is_empty() && pair.right.sent.is_empty(), "neither has candidates of the other");
    let mut right = remote(&pair.right.peer.local(), Setup::Passive, false);
    right.candidates.clear();
    pair.left.peer.set_remote(pair.now, &remote(&pair.right.peer.local(), Setup::Passive, true));
    assert!(pair.until(SOON, |p| p.left.keys().is_some() && p.right.keys().is_some()));
    for end in [&pair.left, &pair.right] {
        let first_dtls = end.sent.iter().position(|t| t.bytes[0] > 3).unwrap();
        assert!(first_dtls > 0, "checks come first");
    }
}

#[test]
fn remote_addresses_are_bounded() {
    let mut pair = pair();
    pair.introduce(Setup::Passive, true);
    pair.run(SOON);
    let size = |pair: &Pair| format!("{:?}", pair.left.peer).len();
    let check = pair.right.sent.iter().rfind(|t| t.bytes[..2] == [0, 1]).unwrap().clone();
    let mut sizes = Vec::new();
    // A client whose authentic check comes from ever other ports.
    for port in 20_000..20_400 {
        let mut from = check.source;
        from.set_port(port);
        let receive = Receive { source: from, destination: check.destination, bytes: &check.bytes };
        pair.left.peer.handle(pair.now, receive);
        pair.left.drain();
        sizes.push(size(&pair));
    }
    assert!(sizes[30] > sizes[0]);
    assert!(sizes[399] <= sizes[100] + 4, "nothing but counters grows above the limit");
    assert!(pair.left.peer.counters().rejected_stun > 300);
    pair.run(Duration::from_secs(60));
    assert_eq!(pair.left.failure(), None);
}

#[test]
fn mapped_addresses_are_bounded() {
    let mut pair = pair();
    // To the left side's checks the right side answers that it sees ever other addresses: the left side's checks change their port.
    let mut port = 30_000_u16;
    pair.filter = Box::new(move |transmit| {
        if transmit.source == address("192.0.2.1:10000") && transmit.bytes[..2] == [0, 1] {
            port += 1;
            transmit.source.set_port(port);
        }
        if transmit.destination.port() >= 30_000 {
            transmit.destination.set_port(10_000);
        }
        true
    });
    pair.introduce(Setup::Passive, true);
    pair.run(Duration::from_secs(150));
    let candidates = format!("{:?}", pair.left.peer).matches("Candidate(prflx").count();
    assert!((2..=PeerLimits::default().mapped_addresses).contains(&candidates), "{candidates}");
}

#[test]
fn garbage_truncated_and_replayed_datagrams_do_nothing() {
    let mut random = StdRng::seed_from_u64(7);
    let mut pair = pair();
    pair.introduce(Setup::Passive, true);
    let mut recorded: Vec<Transmit> = Vec::new();
    // Between the steps of the handshake the left side gets bad copies of everything that went before.
    for _ in 0..600 {
        pair.step();
        recorded.append(&mut pair.right.sent);
        for _ in 0..4 {
            let mut bad = match recorded.len() {
                0 => Transmit {
                    source: address("192.0.2.2:10000"),
                    destination: address("192.0.2.1:10000"),
                    bytes: (0..random.random_range(0..200)).map(|_| random.random()).collect(),
                },
                n => recorded[random.random_range(0..n)].clone(),
            };
            match random.random_range(0..4) {
                0 => {}
                1 => bad.bytes.truncate(random.random_range(0..=bad.bytes.len())),
                2 => {
                    for _ in 0..random.random_range(1..8) {
                        let length = bad.bytes.len();
                        if length > 0 {
                            bad.bytes[random.random_range(0..length)] = random.random();
                        }
                    }
                }
                _ => bad.bytes = (0..random.random_range(0..200)).map(|_| random.random()).collect(),
            }
            // Handshake records before the keys could be anybody's: DTLS may fail, but by a change that keeps the record whole only.
            let in_handshake = pair.left.keys().is_none() && bad.bytes.first().is_some_and(|b| (20..64).contains(b));
            if !in_handshake {
                pair.left.receive(pair.now, &bad);
            }
        }
    }
    assert_eq!(pair.left.failure(), None);
    assert!(pair.left.has_channel() && pair.right.has_channel());
    pair.right.peer.send_channel(pair.now, "alive").unwrap();
    pair.run(SOON);
    assert_eq!(pair.left.messages().last(), Some(&"alive"));
}

#[test]
fn changed_handshakes_never_panic_nor_give_unequal_keys() {
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut pair = pair();
        pair.filter = Box::new(move |transmit| {
            if transmit.bytes[0] > 3 && random.random_range(0..4) == 0 {
                let at = random.random_range(0..transmit.bytes.len());
                transmit.bytes[at] ^= 1 << random.random_range(0..8);
            }
            true
        });
        pair.introduce(if seed % 2 == 0 { Setup::Active } else { Setup::Passive }, true);
        pair.run(Duration::from_secs(10));
        if let (Some(left), Some(right)) = (pair.left.keys(), pair.right.keys()) {
            assert_eq!((&left.send, &left.receive), (&right.receive, &right.send));
        }
    }
}

#[test]
fn early_dtls_packets_wait_for_the_description_and_are_bounded() {
    let mut pair = pair();
    let left = remote(&pair.left.peer.local(), Setup::Passive, true);
    let right = remote(&pair.right.peer.local(), Setup::Active, true);
    pair.right.peer.set_remote(pair.now, &left);
    // Left knows the credentials but no fingerprint yet.
    let without = crate::transport::RemoteTransport { fingerprints: Vec::new(), ..right.clone() };
    pair.left.peer.set_remote(pair.now, &without);
    pair.run(Duration::from_secs(3));
    let hello = pair.right.sent.iter().find(|t| t.bytes[0] == 22).expect("right began the handshake").clone();
    for _ in 0..200 {
        pair.left.receive(pair.now, &hello);
    }
    assert!(pair.left.peer.counters().rejected_dtls > 50);
    assert!(!pair.left.sent.iter().any(|t| t.bytes[0] > 3));
    let only = crate::transport::RemoteTransport { fingerprints: right.fingerprints, ..Default::default() };
    pair.left.peer.set_remote(pair.now, &only);
    assert!(pair.until(SOON, |p| p.left.keys().is_some() && p.right.keys().is_some()));
}
