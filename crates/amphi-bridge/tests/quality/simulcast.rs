//! Simulcast: what a receiver sees on a thin link, and when the link is good again.

use std::time::{Duration, Instant};

use amphi_netem::Conditions;

use super::browser::Microphone;
use super::camera::Camera;
use super::world::{Kind, World};

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const SOURCE: &str = "aaaa-v0";

/// A publisher of simulcast and audio, and viewers who want it on stage and see all of it.
pub(crate) fn call(shards: usize, viewers: usize, camera: Camera) -> World {
    let mut w = World::new(shards);
    let sender = w.join("aaaa", Kind::Participant);
    w.publish(sender, vec![camera], Some(Microphone::new("aaaa-a0", 21, 30)));
    let kinds = [Kind::Visitor, Kind::Participant];
    let viewers: Vec<usize> = (0..viewers).map(|n| w.join(&format!("bbb{n}"), kinds[n % 2])).collect();
    w.open();
    for viewer in &viewers {
        w.stage(*viewer, &[SOURCE], 720);
    }
    w
}

#[track_caller]
pub(crate) fn until_height(w: &mut World, who: usize, seconds: u64, height: u16) -> Duration {
    w.until(&format!("{who} sees {height} lines"), seconds, |it| {
        it.people[who].sources.contains_key(SOURCE) && it.people[who].screen(SOURCE).height() == height
    })
}

#[test]
fn a_viewer_on_a_thin_link_falls_to_a_lower_layer_and_recovers() {
    let mut w = call(1, 2, Camera::simulcast(SOURCE, 31));
    let (thin, other) = (1, 2);
    let delay = MS * 20;
    for it in &mut w.people {
        it.down.set(&Conditions::default().delayed(delay));
        it.up.set(&Conditions::default().delayed(delay));
    }
    for viewer in [thin, other] {
        let took = until_height(&mut w, viewer, 20, 720);
        println!("720 lines after {took:?}");
    }
    w.run(2 * S);
    let begin = Instant::now();
    w.people[thin].down.set(&Conditions::rate(400_000).delayed(delay));
    if std::env::var_os("WATCH").is_some() {
        w.watch(thin, 12 * S);
    }
    let took = until_height(&mut w, thin, 10, 180);
    println!("down to 180 lines after {took:?}");
    w.run(8 * S);
    let now = Instant::now();
    let screen = w.people[thin].screen(SOURCE);
    let freeze = screen.longest_freeze(begin, now);
    let steady = screen.longest_freeze(now - 5 * S, now);
    println!("longest freeze {freeze:?}, of the last 5 s {steady:?}, {} bit/s", screen.rate(now - 5 * S, now));
    assert!(freeze < S, "{freeze:?}");
    assert!(screen.since(now - 5 * S).all(|it| it.height <= 360), "what fits");
    assert!(screen.since(now - 5 * S).count() > 75, "half of the frames at least");
    let begin = Instant::now();
    w.people[thin].down.set(&Conditions::default().delayed(delay));
    let took = until_height(&mut w, thin, 25, 720);
    println!("up to 720 lines after {took:?}");
    w.run(3 * S);
    let now = Instant::now();
    let screen = w.people[thin].screen(SOURCE);
    let freeze = screen.longest_freeze(begin, now);
    println!("longest freeze on the way up {freeze:?}");
    assert!(freeze < S, "{freeze:?}");
    assert!(screen.broken.is_empty(), "{:?}", screen.broken);
    let screen = w.people[other].screen(SOURCE);
    let freeze = screen.longest_freeze(now - 10 * S, now);
    assert!(freeze < 500 * MS, "others are not hurt: {freeze:?}");
    assert!(screen.broken.is_empty(), "{:?}", screen.broken);
    let less = screen.since(begin).filter(|it| it.height < 720).count();
    assert!(less * 5 < screen.since(begin).count(), "{less} of {} are less", screen.since(begin).count());
    w.people.iter().for_each(|it| it.nonces.check());
}
