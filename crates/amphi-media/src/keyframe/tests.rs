//! Rules of keyframe requests, in virtual time.

use super::*;

const MS: Duration = Duration::from_millis(1);
const SOURCE: SourceId = SourceId(1);

fn wish(need: Need, requester: u32) -> Wish {
    Wish { source: SOURCE, encoding: 0, need, requester: Some(EndpointId(requester)), rtt: None }
}

fn all(keyframes: &mut Keyframes, now: Instant) -> usize {
    std::iter::from_fn(|| keyframes.poll(now)).count()
}

fn new() -> (Instant, Keyframes) {
    let start = Instant::now();
    (start, Keyframes::new(start, KeyframeConfig::default()))
}

#[test]
fn the_first_request_leaves_at_once_and_those_within_300_ms_are_merged_4_9() {
    let (start, mut keyframes) = new();
    assert_eq!(keyframes.wish(start, wish(Need::FirstView, 1)), Outcome::Scheduled(start));
    assert_eq!(keyframes.poll(start), Some(Due { source: SOURCE, encodings: 1 }));
    for n in 2..30 {
        keyframes.wish(start + MS * n, wish(Need::FirstView, n));
    }
    assert_eq!(all(&mut keyframes, start + 299 * MS), 0);
    keyframes.on_keyframe(start + 299 * MS, SOURCE, 0);
    assert_eq!((keyframes.poll(start + 300 * MS), keyframes.poll_timeout()), (None, None), "all are served");
}

#[test]
fn a_wish_after_the_keyframe_waits_for_the_end_of_the_window_4_9() {
    let (start, mut keyframes) = new();
    keyframes.wish(start, wish(Need::Repair, 1));
    assert_eq!(all(&mut keyframes, start), 1);
    keyframes.on_keyframe(start + 50 * MS, SOURCE, 0);
    assert_eq!(keyframes.wish(start + 60 * MS, wish(Need::FirstView, 2)), Outcome::Scheduled(start + 350 * MS));
    assert_eq!(keyframes.wish(start + 70 * MS, wish(Need::Downgrade, 3)), Outcome::Merged);
    assert_eq!(all(&mut keyframes, start + 349 * MS), 0);
    assert_eq!(all(&mut keyframes, start + 350 * MS), 1);
}

#[test]
fn merged_wishes_cost_no_quota_10_13() {
    let (start, mut keyframes) = new();
    // The audience keeps a request pending all the time; receiver 7 joins in a hundred times.
    for n in 0..100 {
        let now = start + MS * (n * 300);
        keyframes.wish(now, wish(Need::FirstView, 1000 + n));
        assert_eq!(keyframes.wish(now, wish(Need::Repair, 7)), Outcome::Merged);
        assert_eq!(all(&mut keyframes, now), 1);
    }
    let now = start + 40_000 * MS;
    keyframes.on_keyframe(now - 1000 * MS, SOURCE, 0);
    assert_eq!(keyframes.wish(now, wish(Need::Repair, 7)), Outcome::Scheduled(now));
}

#[test]
fn three_requests_in_10_s_at_least_200_ms_or_the_rtt_apart_4_9() {
    let (start, mut keyframes) = new();
    let slow = Wish { rtt: Some(400 * MS), ..wish(Need::Repair, 1) };
    let ask = |keyframes: &mut Keyframes, at: Instant| {
        let outcome = keyframes.wish(at, slow);
        all(keyframes, at);
        keyframes.on_keyframe(at, SOURCE, 0);
        outcome
    };
    assert_eq!(ask(&mut keyframes, start), Outcome::Scheduled(start));
    // Due after the window of 300 ms, but the round trip says 410 ms: the maximum of both (10 (13)).
    assert_eq!(ask(&mut keyframes, start + 305 * MS), Outcome::Deferred(start + 410 * MS));
    assert_eq!(ask(&mut keyframes, start + 2000 * MS), Outcome::Scheduled(start + 2000 * MS));
    assert_eq!(ask(&mut keyframes, start + 4000 * MS), Outcome::Deferred(start + 10_000 * MS), "the fourth");
    assert_eq!(ask(&mut keyframes, start + 11_000 * MS), Outcome::Scheduled(start + 11_000 * MS));
}

#[test]
fn a_requester_asking_a_hundred_times_a_second_harms_nobody() {
    let (start, mut keyframes) = new();
    let mut sent = Vec::new();
    for n in 0..6000 {
        let now = start + 10 * MS * n;
        keyframes.wish(now, wish([Need::Repair, Need::FirstView, Need::Downgrade][n as usize % 3], 1));
        for _ in 0..all(&mut keyframes, now) {
            sent.push(now);
            keyframes.on_keyframe(now + 5 * MS, SOURCE, 0);
        }
    }
    assert!((15..=19).contains(&sent.len()), "3 in 10 s, for 60 s: {}", sent.len());
    // Meanwhile another receiver is served as fast as ever.
    let now = start + 60_000 * MS;
    all(&mut keyframes, now);
    keyframes.on_keyframe(now, SOURCE, 0);
    keyframes.wish(now + MS, wish(Need::FirstView, 2));
    assert_eq!(all(&mut keyframes, now + 301 * MS), 1);
}

#[test]
fn upgrades_wait_for_a_shared_epoch_and_a_keyframe_spares_the_request_4_6_6() {
    let (start, mut keyframes) = new();
    keyframes.on_keyframe(start, SOURCE, 0);
    keyframes.wish(start, wish(Need::FirstView, 1));
    all(&mut keyframes, start);
    keyframes.on_keyframe(start, SOURCE, 0);
    assert_eq!(keyframes.wish(start + 100 * MS, wish(Need::Upgrade, 2)), Outcome::Scheduled(start + 2000 * MS));
    assert_eq!(keyframes.wish(start + 1500 * MS, wish(Need::Upgrade, 3)), Outcome::Merged);
    assert_eq!(all(&mut keyframes, start + 1999 * MS), 0);
    assert_eq!(all(&mut keyframes, start + 2000 * MS), 1);
    keyframes.on_keyframe(start + 2050 * MS, SOURCE, 0);
    keyframes.wish(start + 2100 * MS, wish(Need::Upgrade, 4));
    // A downgrade is faster and takes the upgrade along.
    assert_eq!(keyframes.wish(start + 2200 * MS, wish(Need::Downgrade, 5)), Outcome::Scheduled(start + 2350 * MS));
    assert_eq!(all(&mut keyframes, start + 2350 * MS), 1);
    keyframes.on_keyframe(start + 2400 * MS, SOURCE, 0);
    assert_eq!(keyframes.poll_timeout(), None);
}

#[test]
fn window_and_epoch_grow_with_the_audience_4_9() {
    let (start, mut keyframes) = new();
    keyframes.set_audience(start, SOURCE, 5000);
    keyframes.wish(start, wish(Need::FirstView, 1));
    all(&mut keyframes, start);
    keyframes.on_keyframe(start, SOURCE, 0);
    assert_eq!(keyframes.wish(start, wish(Need::Upgrade, 2)), Outcome::Scheduled(start + 4000 * MS));
    assert_eq!(keyframes.wish(start, wish(Need::FirstView, 3)), Outcome::Scheduled(start + 1000 * MS));
}

#[test]
fn a_join_storm_asks_for_one_keyframe_a_second_4_9() {
    let (start, mut keyframes) = new();
    let mut sent = 0;
    for n in 0..5000_u32 {
        let now = start + MS * n;
        keyframes.wish(now, wish(Need::FirstView, n));
        for _ in 0..all(&mut keyframes, now) {
            sent += 1;
            keyframes.on_keyframe(now, SOURCE, 0);
        }
    }
    assert!((5..=7).contains(&sent), "{sent}");
}

#[test]
fn unanswered_requests_are_repeated_a_few_times_and_withdrawn_ones_not() {
    let (start, mut keyframes) = new();
    keyframes.wish(start, wish(Need::FirstView, 1));
    let mut times = Vec::new();
    while let Some(due) = keyframes.poll_timeout() {
        if keyframes.poll(due).is_some() {
            times.push((due - start).as_secs());
        }
    }
    assert_eq!(times, [0, 1, 3, 6, 10]);
    let now = start + 60_000 * MS;
    keyframes.wish(now, wish(Need::FirstView, 1));
    keyframes.withdraw(SOURCE, 0);
    assert_eq!(all(&mut keyframes, now), 0);
}

#[test]
fn one_request_asks_for_all_encodings_that_somebody_waits_for_4_9() {
    let (start, mut keyframes) = new();
    keyframes.wish(start, wish(Need::FirstView, 1));
    keyframes.wish(start, Wish { encoding: 2, ..wish(Need::FirstView, 2) });
    assert_eq!(keyframes.poll(start), Some(Due { source: SOURCE, encodings: 0b101 }));
    assert_eq!(keyframes.poll(start), None);
    // Another encoding within the window waits as well, for the client keys all of them.
    let other = Wish { encoding: 1, ..wish(Need::FirstView, 3) };
    assert_eq!(keyframes.wish(start + 10 * MS, other), Outcome::Scheduled(start + 300 * MS));
}

#[test]
fn the_bridge_itself_needs_no_quota_and_the_table_of_requesters_is_bounded() {
    let start = Instant::now();
    let mut keyframes = Keyframes::new(start, KeyframeConfig { max_requesters: 10, ..KeyframeConfig::default() });
    for n in 0..100 {
        let now = start + 400 * MS * n;
        let own = Wish { requester: None, ..wish(Need::Prefetch, 0) };
        assert_eq!(keyframes.wish(now, own), Outcome::Scheduled(now));
        all(&mut keyframes, now);
        keyframes.on_keyframe(now, SOURCE, 0);
    }
    let now = start + 60_000 * MS;
    for n in 0..100 {
        let outcome = keyframes.wish(now, Wish { source: SourceId(100 + n), ..wish(Need::Repair, n) });
        let full = Outcome::Deferred(now + 4000 * MS);
        assert_eq!(outcome, if n < 10 { Outcome::Scheduled(now) } else { full });
    }
    keyframes.remove_requester(EndpointId(0));
    keyframes.remove_source(SourceId(100));
}
