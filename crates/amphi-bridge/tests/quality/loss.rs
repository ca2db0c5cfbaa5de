//! Loss both ways, reordering, delay: what is repaired, and how fast.

use std::time::{Duration, Instant};

use amphi_netem::Conditions;

use super::camera::Camera;
use super::simulcast::{call, until_height};
use super::world::World;

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const SOURCE: &str = "aaaa-v0";

#[test]
fn five_percent_of_loss_both_ways_are_repaired_by_retransmission() {
    let mut w = call(2, 2, Camera::simulcast(SOURCE, 31));
    for viewer in [1, 2] {
        until_height(&mut w, viewer, 20, 720);
    }
    let lossy = Conditions::loss(0.05).delayed(MS * 15);
    for it in &mut w.people {
        it.down.set(&lossy);
        it.up.set(&lossy);
    }
    // The estimate may try what there is.
    w.run(2 * S);
    // The clients ask five times at most, and only for the newest hundred packets: a machine that stands still for as long as that
    // makes holes that no bridge could fill. So one stretch of a few has to be whole.
    let whole = (0..4).any(|_| stretch(&mut w));
    assert!(whole, "holes in each of four stretches");
    for viewer in [1, 2] {
        let screen = w.people[viewer].screen(SOURCE);
        assert!(screen.broken.is_empty(), "{:?}", screen.broken);
        w.people[viewer].nonces.check();
    }
    let counters = w.counters();
    println!(
        "rtx sent {}, received {}, nacks to publishers {}",
        counters.rtx_sent, counters.rtx_received, counters.nacks_sent
    );
    assert!(counters.rtx_sent > 50 && counters.rtx_received > 25 && counters.nacks_sent > 25, "{counters:#?}");
}

/// Whether both viewers see eight seconds without a hole, at full height.
fn stretch(w: &mut World) -> bool {
    let begin = Instant::now();
    w.run(8 * S);
    let now = Instant::now();
    [1, 2].iter().all(|viewer| {
        let screen = w.people[*viewer].screen(SOURCE);
        let freeze = screen.longest_freeze(begin, now);
        let frames = screen.since(begin).count();
        println!(
            "viewer {viewer}: {frames} frames in 8 s, longest freeze {freeze:?}, {} packets given up so far, {} lines",
            screen.given_up,
            screen.height()
        );
        // Loss alone is no reason for less than 720 lines.
        frames > 225 && freeze < 600 * MS && screen.since(begin).all(|it| it.height == 720)
    })
}

#[test]
fn reordering_is_not_loss() {
    let mut w = call(1, 1, Camera::simulcast(SOURCE, 31));
    until_height(&mut w, 1, 20, 720);
    for it in &mut w.people {
        let conditions = Conditions { reorder: 10, ..Conditions::default().delayed(MS * 10) };
        it.down.set(&conditions);
        it.up.set(&conditions);
    }
    w.run(S);
    let begin = Instant::now();
    w.run(4 * S);
    let screen = w.people[1].screen(SOURCE);
    assert!(screen.since(begin).count() > 110, "{}", screen.since(begin).count());
    assert!(screen.broken.is_empty(), "{:?}", screen.broken);
    assert!(screen.since(begin).all(|it| it.height == 720));
}

#[test]
fn the_estimate_is_near_what_the_link_carries() {
    let mut w = call(1, 1, Camera::simulcast(SOURCE, 31));
    until_height(&mut w, 1, 20, 720);
    w.people[1].down.set(&Conditions::rate(1_200_000).delayed(MS * 20));
    w.run(6 * S);
    let mut seen = Vec::new();
    for _ in 0..20 {
        w.run(500 * MS);
        seen.push(w.endpoint(1).bandwidth_bps.unwrap());
    }
    seen.sort_unstable();
    println!("estimates of 1.2 Mbit/s: {seen:?}");
    let middle = seen[seen.len() / 2];
    assert!((450_000..1_300_000).contains(&middle), "{seen:?}");
    let now = Instant::now();
    let screen = w.people[1].screen(SOURCE);
    assert!(screen.since(now - 5 * S).all(|it| it.height <= 720));
    assert!(screen.longest_freeze(now - 5 * S, now) < S);
    assert!(screen.since(now - 5 * S).any(|it| it.height >= 360), "more than the least");
    let rtt = w.endpoint(1).rtt.unwrap();
    assert!((15 * MS..600 * MS).contains(&rtt), "{rtt:?}");
}
