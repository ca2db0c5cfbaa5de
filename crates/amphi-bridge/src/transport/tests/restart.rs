//! ICE restarts in place (`spec/bridge.md` 2.5).

use std::time::Duration;

use super::world::{Pair, config, remote};
use crate::transport::{Failure, Output, Restart, SctpRole, Setup};

const SOON: Duration = Duration::from_secs(5);

fn connected() -> Pair {
    let mut pair = Pair::new(
        config("192.0.2.1:10000", true, Some(SctpRole::Server)),
        config("192.0.2.2:10000", false, Some(SctpRole::Client)),
    );
    pair.introduce(Setup::Passive, true);
    assert!(pair.until(SOON, |p| p.left.has_channel() && p.right.has_channel()));
    pair
}

fn started(restart: Restart) -> crate::transport::LocalTransport {
    match restart {
        Restart::Started(local) => *local,
        other => panic!("{other:?}"),
    }
}

#[test]
fn before_it_is_established_the_transport_is_kept() {
    let mut pair = Pair::new(config("192.0.2.1:10000", true, None), config("192.0.2.2:10000", false, None));
    let local = pair.left.peer.local();
    assert_eq!(pair.left.peer.restart(pair.now), Restart::KeepExisting(Box::new(local)));
    pair.left.peer.close(pair.now);
    assert_eq!(pair.left.peer.restart(pair.now), Restart::Unavailable);
}

#[test]
fn takes_over_without_a_new_handshake() {
    let mut pair = connected();
    let before = pair.left.peer.local();
    let left = started(pair.left.peer.restart(pair.now));
    assert_eq!(left.generation, Some(1));
    assert_ne!(left.ufrag, before.ufrag);
    assert_eq!(started(pair.left.peer.restart(pair.now)).ufrag, left.ufrag, "the pending one is told again");
    assert_eq!(pair.left.peer.local(), before);

    // The client restarts too, and answers with the generation.
    let right = started(pair.right.peer.restart(pair.now));
    pair.left.peer.set_remote(pair.now, &remote(&right, Setup::Active, false));
    pair.right.peer.set_remote(pair.now, &remote(&left, Setup::Passive, true));
    let restarted = |said: &[Output]| said.iter().any(|output| matches!(output, Output::Restarted(_)));
    assert!(pair.until(SOON, |p| restarted(&p.left.said) && restarted(&p.right.said)));
    assert_eq!(pair.left.peer.local().ufrag, left.ufrag);
    assert_eq!(pair.left.said.iter().filter(|output| matches!(output, Output::Keys(_))).count(), 1);

    pair.run(Duration::from_secs(60));
    assert_eq!(pair.left.failure(), None);
    pair.right.peer.send_channel(pair.now, "still there").unwrap();
    pair.run(SOON);
    assert_eq!(pair.left.messages(), ["still there"]);
    let again = started(pair.left.peer.restart(pair.now));
    assert_eq!(again.generation, Some(2));
}

#[test]
fn answers_of_other_generations_and_untagged_ones_do_nothing() {
    let mut pair = connected();
    started(pair.left.peer.restart(pair.now));
    let right = started(pair.right.peer.restart(pair.now));
    let mut answer = remote(&right, Setup::Active, true);
    for generation in [None, Some(0), Some(2)] {
        answer.generation = generation;
        pair.left.peer.set_remote(pair.now, &answer);
    }
    pair.run(Duration::from_secs(60));
    assert!(!pair.left.said.iter().any(|output| matches!(output, Output::Restarted(_) | Output::RestartAbandoned)));
    assert_eq!(pair.left.failure(), None);
}

#[test]
fn given_up_when_nothing_answers_and_the_former_stays() {
    let mut pair = connected();
    let left = started(pair.left.peer.restart(pair.now));
    let mut answer = remote(&left, Setup::Active, false);
    answer.ufrag = Some("nobody".into());
    pair.left.peer.set_remote(pair.now, &answer);
    pair.run(Duration::from_secs(25));
    assert!(pair.left.said.contains(&Output::RestartAbandoned));
    assert_eq!(pair.left.failure(), None);
    pair.right.peer.send_channel(pair.now, "as before").unwrap();
    pair.run(SOON);
    assert_eq!(pair.left.messages(), ["as before"]);
}

#[test]
fn lost_path_waits_for_the_restart_and_no_longer() {
    let mut pair = connected();
    started(pair.left.peer.restart(pair.now));
    pair.filter = Box::new(|_| false);
    assert!(pair.until(Duration::from_secs(90), |p| p.left.failure().is_some()));
    assert_eq!(pair.left.failure(), Some(&Failure::ConsentLost));
}
