//! What receivers want, what publishers are told of it, who is on stage, and what is muted.

use std::time::{Duration, Instant};

use serde_json::json;

use super::browser::Microphone;
use super::camera::Camera;
use super::simulcast::{call, until_height};
use super::world::{Kind, World};

const S: Duration = Duration::from_secs(1);
const SOURCE: &str = "aaaa-v0";

#[test]
fn heights_that_receivers_want_decide_what_they_see_and_what_publishers_send() {
    let mut w = call(1, 2, Camera::simulcast(SOURCE, 31));
    for height in [720, 180, 360, 720] {
        for viewer in [1, 2] {
            w.stage(viewer, &[SOURCE], height);
        }
        for viewer in [1, 2] {
            until_height(&mut w, viewer, 10, height as u16);
        }
        w.until("the publisher is told", 3, |it| it.people[0].camera(SOURCE).wanted == height);
    }
    // The largest wish counts.
    w.stage(1, &[SOURCE], 180);
    until_height(&mut w, 1, 10, 180);
    w.run(S);
    assert_eq!(w.people[0].camera(SOURCE).wanted, 720);
    assert_eq!(w.people[2].screen(SOURCE).height(), 720);
    for viewer in [1, 2] {
        w.stage(viewer, &[SOURCE], 0);
    }
    w.until("nobody wants it", 3, |it| it.people[0].camera(SOURCE).wanted == 0);
    let seen = w.people[1].screen(SOURCE).shown.len();
    w.run(S);
    assert!(w.people[1].screen(SOURCE).shown.len() <= seen + 5, "nothing is sent");
    w.stage(1, &[SOURCE], 360);
    until_height(&mut w, 1, 10, 360);
    for viewer in [1, 2] {
        assert!(w.people[viewer].screen(SOURCE).broken.is_empty(), "{:?}", w.people[viewer].screen(SOURCE).broken);
    }
}

/// Three who send, and one who looks.
fn four() -> World {
    let mut w = World::new(2);
    for (n, name) in ["aaaa", "bbbb", "cccc"].into_iter().enumerate() {
        let it = w.join(name, Kind::Participant);
        let camera = Camera::simulcast(&format!("{name}-v0"), 1_000 * (n as u32 + 1));
        w.publish(it, vec![camera], Some(Microphone::new(&format!("{name}-a0"), 500 + n as u32, 127)));
    }
    w.join("dddd", Kind::Visitor);
    w.open();
    w
}

fn speak(w: &mut World, who: usize) {
    for n in 0..3 {
        w.people[n].microphone.as_mut().unwrap().level = if n == who { 20 } else { 127 };
    }
}

#[test]
fn last_n_gives_the_speakers_first() {
    let mut w = four();
    w.people[3].want(json!({ "lastN": -1, "defaultConstraints": { "maxHeight": 180 } }));
    let all = ["aaaa-v0", "bbbb-v0", "cccc-v0"];
    let begin = Instant::now();
    w.until("all are seen", 15, |it| all.iter().all(|name| it.people[3].sees(name, begin)));
    speak(&mut w, 1);
    w.until("the speaker is told", 15, |it| {
        it.people[3]
            .newest("DominantSpeakerEndpointChangeEvent", |_| true)
            .is_some_and(|it| it["dominantSpeakerEndpoint"] == "bbbb")
    });
    w.people[3].want(json!({ "lastN": 1 }));
    let only = |name: &'static str| {
        move |it: &mut World| {
            it.people[3].newest("ForwardedSources", |_| true).is_some_and(|it| it["forwardedSources"] == json!([name]))
        }
    };
    w.until("only the speaker", 10, only("bbbb-v0"));
    speak(&mut w, 2);
    let took = w.until("the next speaker", 15, only("cccc-v0"));
    println!("another speaker in last-N after {took:?}");
    let now = Instant::now();
    let took = w.until("is seen", 5, |it| it.people[3].sees("cccc-v0", now));
    println!("seen after {took:?}");
    w.people[3].want(json!({ "lastN": 0 }));
    w.until("nobody", 10, |it| {
        it.people[3].newest("ForwardedSources", |_| true).is_some_and(|it| it["forwardedSources"] == json!([]))
    });
    let now = Instant::now() + Duration::from_millis(300);
    w.run(S);
    assert!(all.iter().all(|name| !w.people[3].sees(name, now)));
    for screen in w.people[3].screens.values() {
        assert!(screen.broken.is_empty(), "{:?}", screen.broken);
    }
}

#[test]
fn another_source_on_stage_is_seen_soon() {
    let mut w = four();
    w.stage(3, &["aaaa-v0"], 720);
    w.until("the first", 15, |it| it.people[3].sees("aaaa-v0", Instant::now() - S));
    for (n, name) in [(1, "bbbb-v0"), (2, "cccc-v0"), (0, "aaaa-v0")] {
        speak(&mut w, n);
        w.run(2 * S);
        w.stage(3, &[name], 720);
        let now = Instant::now();
        let took = w.until("on stage", 5, |it| it.people[3].sees(name, now));
        println!("{name} on stage after {took:?}");
        assert!(took < 2 * S);
        w.until("in full height", 10, |it| it.people[3].screen(name).height() == 720);
    }
    for screen in w.people[3].screens.values() {
        assert!(screen.broken.is_empty(), "{:?}", screen.broken);
    }
    w.people[3].nonces.check();
}

#[test]
fn video_that_is_muted_and_goes_on_is_seen_by_all() {
    let mut w = call(2, 2, Camera::simulcast(SOURCE, 31));
    for viewer in [1, 2] {
        until_height(&mut w, viewer, 20, 720);
    }
    let kind = |w: &mut World, kind: &str| {
        w.people[0].say(&json!({ "colibriClass": "SourceVideoTypeMessage", "sourceName": SOURCE, "videoType": kind }));
    };
    for _ in 0..2 {
        w.people[0].camera(SOURCE).on = false;
        kind(&mut w, "none");
        w.until("nothing is forwarded", 5, |it| {
            [1, 2].iter().all(|n| {
                let newest = it.people[*n].newest("ForwardedSources", |_| true);
                newest.is_some_and(|it| it["forwardedSources"] == json!([]))
            })
        });
        w.run(S);
        w.people[0].camera(SOURCE).on = true;
        w.people[0].camera(SOURCE).key = true;
        kind(&mut w, "camera");
        let now = Instant::now();
        let took = w.until("it goes on", 5, |it| [1, 2].iter().all(|n| it.people[*n].sees(SOURCE, now)));
        println!("after unmute: {took:?}");
        assert!(took < 2 * S);
    }
    for viewer in [1, 2] {
        until_height(&mut w, viewer, 15, 720);
        assert!(w.people[viewer].screen(SOURCE).broken.is_empty(), "{:?}", w.people[viewer].screen(SOURCE).broken);
    }
}

#[test]
fn a_screen_is_shared_as_a_second_source_and_sources_come_back_with_other_ssrcs() {
    let mut w = call(2, 2, Camera::simulcast(SOURCE, 31));
    for viewer in [1, 2] {
        until_height(&mut w, viewer, 20, 720);
    }
    let mut desktop = Camera::new("aaaa-v1", super::camera::Codec::Vp8, 5_001, &[(1_080, 1_200_000)]);
    desktop.desktop = true;
    w.people[0].cameras.push(desktop);
    w.signal(0);
    for viewer in [1, 2] {
        w.people[viewer].want(json!({
            "onStageSources": ["aaaa-v1"], "defaultConstraints": { "maxHeight": 180 },
            "constraints": { "aaaa-v1": { "maxHeight": 2160 }, SOURCE: { "maxHeight": 180 } },
        }));
    }
    let both = |w: &mut World, since: Instant| {
        let all = ["aaaa-v1", SOURCE];
        w.until("both are seen", 15, |it| {
            [1, 2].iter().all(|n| all.iter().all(|name| it.people[*n].sees(name, since)))
        });
    };
    both(&mut w, Instant::now());
    let kind = w.people[1].sources["aaaa-v1"].2.clone();
    assert_eq!(kind.as_deref().map(str::to_lowercase), Some("desktop".to_owned()));
    w.until("the camera is small", 10, |it| it.people[1].screen(SOURCE).height() == 180);
    assert_eq!(w.people[1].screen("aaaa-v1").height(), 1_080);
    // Another window: the source ends and comes back with other SSRCs, its numbers begin anew.
    for round in 1..4_u32 {
        let old = w.people[0].cameras.pop().unwrap();
        w.signal(0);
        w.run(Duration::from_millis(300));
        w.people[0].cameras.push(old.renewed(5_001 + 100 * round));
        w.signal(0);
        both(&mut w, Instant::now());
    }
    // The same without the time in between.
    let old = w.people[0].cameras.remove(0);
    w.people[0].cameras.push(old.renewed(9_001));
    w.signal(0);
    both(&mut w, Instant::now());
    for viewer in [1, 2] {
        let it = &w.people[viewer];
        it.nonces.check();
        for screen in it.screens.values() {
            assert!(screen.broken.is_empty(), "{:?}", screen.broken);
        }
        assert!(it.screens.len() <= 4, "slots are used again: {}", it.screens.len());
    }
}
