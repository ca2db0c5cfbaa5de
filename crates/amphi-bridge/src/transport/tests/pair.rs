//! Relays: a peer against a peer, both roles of everything.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::world::{Pair, address, config};
use crate::transport::{DtlsRole, Output, PeerLimits, SctpRole, Setup};

const SOON: Duration = Duration::from_secs(5);

fn relays() -> Pair {
    Pair::new(
        config("192.0.2.1:10000", true, Some(SctpRole::Client)),
        config("192.0.2.2:10000", false, Some(SctpRole::Server)),
    )
}

#[test]
fn both_sides_have_the_same_keys_in_both_dtls_roles() {
    for setup in [Setup::Active, Setup::Passive] {
        let mut pair = relays();
        pair.introduce(setup, true);
        assert!(pair.until(SOON, |p| p.left.keys().is_some() && p.right.keys().is_some()));
        let (left, right) = (pair.left.keys().unwrap(), pair.right.keys().unwrap());
        assert_eq!(left.profile, right.profile);
        assert_eq!(left.send, right.receive);
        assert_eq!(left.receive, right.send);
        assert_ne!(left.send, left.receive);
        assert_eq!(left.send.key.len(), left.profile.key_len());
        assert_eq!(left.send.salt.len(), left.profile.salt_len());
        assert_eq!(left.role == DtlsRole::Client, setup == Setup::Active);
        assert_ne!(left.role, right.role);
    }
}

#[test]
fn channel_carries_text_both_ways_whoever_opened_it() {
    for setup in [Setup::Active, Setup::Passive] {
        let mut pair = relays();
        pair.introduce(setup, true);
        let at_once = Duration::from_millis(500);
        assert!(pair.until(at_once, |p| p.left.has_channel() && p.right.has_channel()), "without a retransmission");
        let open =
            Output::ChannelOpen { label: "default".into(), protocol: "http://jitsi.org/protocols/colibri".into() };
        assert!(pair.left.said.contains(&open));
        assert!(pair.right.said.contains(&open));
        let long = "x".repeat(60_000);
        for text in ["from left", "", &long] {
            pair.left.peer.send_channel(pair.now, text).unwrap();
            pair.right.peer.send_channel(pair.now, text).unwrap();
        }
        assert!(pair.until(SOON, |p| p.left.messages().len() == 3 && p.right.messages().len() == 3));
        assert_eq!(pair.left.messages(), ["from left", "", &long]);
        assert_eq!(pair.right.messages(), ["from left", "", &long]);
    }
}

#[test]
fn first_pair_is_told_once_and_selected() {
    let mut pair = relays();
    pair.introduce(Setup::Active, true);
    pair.run(SOON);
    let (local, remote) = (address("192.0.2.1:10000"), address("192.0.2.2:10000"));
    assert!(pair.left.said.contains(&Output::Selected { local, remote }));
    let connected = pair.left.said.iter().filter(|output| matches!(output, Output::Connected { .. })).count();
    assert_eq!(connected, 1);
    assert!(pair.left.peer.is_ready() && pair.right.peer.is_ready());
}

#[test]
fn both_controlling_is_resolved() {
    let mut pair = Pair::new(config("192.0.2.1:10000", true, None), config("192.0.2.2:10000", true, None));
    pair.introduce(Setup::Active, true);
    assert!(pair.until(SOON, |p| p.left.keys().is_some() && p.right.keys().is_some()));
}

#[test]
fn ipv6_works_beside_ipv4() {
    let mut left = config("[2001:db8::1]:10000", true, None);
    let mut both = left.addresses.to_vec();
    both.push(crate::transport::LocalAddress {
        base: address("192.0.2.1:10000"),
        public: Some(address("203.0.113.1:10000")),
    });
    left.addresses = both.into();
    let mut pair = Pair::new(left, config("[2001:db8::2]:10000", false, None));
    let candidates = pair.left.peer.local().candidates;
    assert_eq!(candidates.len(), 3);
    assert_eq!(candidates[2].kind.as_str(), "srflx");
    assert_eq!(candidates[2].related, Some(address("192.0.2.1:10000")));
    pair.introduce(Setup::Active, true);
    assert!(pair.until(SOON, |p| p.left.keys().is_some() && p.right.keys().is_some()));
}

#[test]
fn private_addresses_are_told_only_if_wished() {
    let mut left = config("10.0.0.5:10000", true, None);
    left.addresses = std::sync::Arc::from([crate::transport::LocalAddress {
        base: address("10.0.0.5:10000"),
        public: Some(address("203.0.113.1:10000")),
    }]);
    left.advertise_private = false;
    let pair = Pair::new(left, config("192.0.2.2:10000", false, None));
    let candidates = pair.left.peer.local().candidates;
    assert_eq!(candidates.len(), 1);
    assert_eq!(candidates[0].address, address("203.0.113.1:10000"));
    assert_eq!(candidates[0].related, Some(address("0.0.0.0:9")));
}

#[test]
fn handshake_survives_loss() {
    let mut pair = relays();
    let mut random = StdRng::seed_from_u64(1);
    pair.filter = Box::new(move |_| random.random_range(0..4) != 0);
    pair.introduce(Setup::Active, true);
    let done = pair.until(Duration::from_secs(60), |p| p.left.has_channel() && p.right.has_channel());
    assert!(done, "{:?} {:?}", pair.left.said, pair.right.said);
}

#[test]
fn consent_loss_ends_the_peer() {
    let mut pair = relays();
    pair.introduce(Setup::Active, true);
    pair.run(Duration::from_secs(60));
    assert_eq!(pair.left.failure(), None);
    pair.filter = Box::new(|_| false);
    pair.run(Duration::from_secs(20));
    assert_eq!(pair.left.failure(), None, "a short outage is survived");
    assert!(pair.until(Duration::from_secs(40), |p| p.left.failure().is_some() && p.right.failure().is_some()));
    assert_eq!(pair.left.failure(), Some(&crate::transport::Failure::ConsentLost));
}

#[test]
fn close_tells_the_other_side() {
    let mut pair = relays();
    pair.introduce(Setup::Active, true);
    pair.run(SOON);
    pair.left.peer.close(pair.now);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.right.failure(), Some(&crate::transport::Failure::ClosedByPeer));
    assert_eq!(pair.left.failure(), None);
}

#[test]
fn without_a_path_it_ends_in_time() {
    let mut pair = relays();
    pair.filter = Box::new(|_| false);
    pair.introduce(Setup::Active, true);
    pair.run(PeerLimits::default().connect_timeout + Duration::from_secs(1));
    assert_eq!(pair.left.failure(), Some(&crate::transport::Failure::ConnectTimeout));
}

#[test]
fn handshake_that_is_not_answered_ends_in_time() {
    let mut pair = relays();
    pair.filter = Box::new(|transmit| transmit.bytes[0] < 4);
    pair.introduce(Setup::Active, true);
    pair.run(PeerLimits::default().handshake_timeout + Duration::from_secs(2));
    assert_eq!(pair.left.failure(), Some(&crate::transport::Failure::HandshakeTimeout));
    assert_eq!(pair.right.failure(), Some(&crate::transport::Failure::HandshakeTimeout));
    assert_eq!(pair.left.keys(), None);
}

#[test]
fn dtls_1_3_is_spoken_where_it_is_offered() {
    let mut left = config("192.0.2.1:10000", true, Some(SctpRole::Client));
    left.limits = std::sync::Arc::new(PeerLimits { dtls13_client: true, ..PeerLimits::default() });
    let mut pair = Pair::new(left, config("192.0.2.2:10000", false, Some(SctpRole::Server)));
    pair.introduce(Setup::Active, true);
    assert!(pair.until(SOON, |p| p.left.has_channel() && p.right.has_channel()));
    let (left, right) = (pair.left.keys().unwrap(), pair.right.keys().unwrap());
    assert_eq!((&left.send, &left.receive), (&right.receive, &right.send));
    let hello_13 = pair.right.sent.iter().any(|t| t.bytes[0] & 0xe0 == 0x20);
    assert!(hello_13, "records with the unified header of DTLS 1.3");
}

#[test]
fn send_queue_is_bounded() {
    let mut pair = relays();
    pair.introduce(Setup::Active, true);
    pair.run(SOON);
    pair.filter = Box::new(|_| false);
    let text = "x".repeat(50_000);
    let results: Vec<_> = (0..20).map(|_| pair.left.peer.send_channel(pair.now, &text)).collect();
    assert!(results[0].is_ok());
    assert_eq!(results[19], Err(crate::transport::SendError::Full));
    let too_long = "x".repeat(PeerLimits::default().message + 1);
    assert_eq!(pair.left.peer.send_channel(pair.now, &too_long), Err(crate::transport::SendError::TooLong));
}
