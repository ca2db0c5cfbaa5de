//! Several bridges in one conference, each a process of its own: stage and audience on different ones, trees of three, bridges that die, that
//! are drained and that are shut down. Signaling is the real one; media is that of browsers, without pictures.

#[path = "../../../amphi-bridge/tests/plane/client.rs"]
#[allow(dead_code)]
mod client;
mod person;
#[path = "../ports/mod.rs"]
mod ports;
mod process;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use person::{Flow, Person, until};
use process::Service;
use serde_json::json;

/// A conference: so many on stage, so many in the audience, everybody with media of everybody on stage.
async fn meeting(service: &Service, room: &str, stage: usize, audience: usize) -> Vec<Person> {
    let mut all = Vec::new();
    for n in 0..stage + audience {
        let person = Person::join(service.front, room, &format!("{room}-{n}"), n >= stage).await.unwrap();
        all.push(person);
    }
    for p in &all {
        p.wants(720);
    }
    media_for(&all, service).await;
    all
}

/// Sources that somebody must receive.
fn wanted(all: &[Person], of: &Person) -> Vec<String> {
    let others = all.iter().filter(|o| !o.visitor && o.nick != of.nick);
    others.flat_map(|o| [o.audio(), o.video()]).collect()
}

fn describe(all: &[Person], service: &Service) -> String {
    let of = |p: &Person| {
        let flows: HashMap<String, u64> =
            p.look(|s| s.flows.iter().map(|(name, f)| (name.clone(), f.packets)).collect());
        let last: Vec<String> = p.look(|s| s.messages.iter().rev().take(6).map(ToString::to_string).collect());
        format!("\n{} visitor={} wants {:?} has {flows:?}, {last:?}", p.nick, p.visitor, wanted(all, p))
    };
    format!("{}\n{}", all.iter().map(of).collect::<String>(), service.log("main"))
}

/// From now on everybody gets all media.
async fn media_for(all: &[Person], service: &Service) {
    all.iter().for_each(|p| p.look(|s| s.flows.values_mut().for_each(|f| f.packets = 0)));
    let flows = |p: &Person| {
        let want = wanted(all, p);
        p.look(|s| want.iter().all(|name| s.flows.get(name).is_some_and(|f| f.packets > 15)))
    };
    until("media for everybody", || all.iter().all(flows), || describe(all, service)).await;
}

/// Longest silence of anything that anybody must receive, from now until all of it flows again after something was done.
async fn gap(all: &[Person], service: &mut Service, act: impl AsyncFnOnce(&mut Service)) -> Duration {
    for p in all {
        p.look(|s| s.flows.values_mut().for_each(|f| f.gap = Duration::ZERO));
    }
    let (from, sessions) = (Instant::now(), all.iter().map(|p| p.look(|s| s.sessions)).sum::<usize>());
    act(service).await;
    // Sessions begin anew, and then everything is there again.
    let moved = || all.iter().map(|p| p.look(|s| s.sessions)).sum::<usize>() > sessions;
    until("somebody is moved", moved, || describe(all, service)).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    media_for(all, service).await;
    let now = Instant::now();
    let of = |f: &Flow| f.gap.max(f.last.map_or(now - from, |last| now - last));
    let longest = |p: &Person| {
        let want = wanted(all, p);
        p.look(|s| want.iter().filter_map(|name| s.flows.get(name)).map(of).max()).unwrap_or_default()
    };
    all.iter().map(longest).max().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stage_and_audience_on_two_bridges_have_all_that_they_have_on_one() {
    let service = Service::start("two", 2, "", &["b1", "b2"]).await.unwrap();
    let all = meeting(&service, "two", 2, 3).await;
    let [a, b, v, ..] = &all[..] else { unreachable!() };
    let placed = service.bridges().await.unwrap();
    let mut counts: Vec<u64> = placed.values().copied().collect();
    counts.sort_unstable();
    assert_eq!(counts, [2, 3], "the stage is on one, the audience on the other");

    // Layers follow what the audience wants, each for itself.
    let origin = |p: &Person, of: &Person| p.look(|s| s.flows.get(&of.video()).map_or(0, |f| f.origin));
    let encoding = |of: &Person, n: usize| of.look(|s| s.encodings[n]);
    let state = || describe(&all, &service);
    until("the best encoding", || all[2..].iter().all(|p| origin(p, a) == encoding(a, 2)), state).await;
    v.wants(180);
    until("the smallest encoding", || origin(v, a) == encoding(a, 0), state).await;
    assert_eq!(origin(&all[3], a), encoding(a, 2), "others keep theirs");
    // What nobody beyond the relay wants need not be sent: the publisher learns of it.
    let limit = |p: &Person| {
        p.look(|s| s.message("SenderSourceConstraints").and_then(|m| m["maxHeight"].as_u64()).unwrap_or(0))
    };
    until("a limit of 720", || limit(a) == 720, state).await;
    for p in &all {
        p.wants(180);
    }
    until("a limit of 180", || limit(a) == 180, state).await;
    v.wants(720);
    until("a limit of 720 again", || limit(a) == 720, state).await;

    // Keyframe requests cross the relay.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let before = b.look(|s| s.asked);
    v.ask_keyframe(&b.video());
    until("a keyframe request", || b.look(|s| s.asked) > before, state).await;

    // Both bridges find the same speaker.
    let speaker = |p: &Person, of: &Person| {
        p.look(|s| {
            s.message("DominantSpeakerEndpointChangeEvent")
                .is_some_and(|m| m["dominantSpeakerEndpoint"] == of.nick.as_str())
        })
    };
    for (loud, quiet) in [(a, b), (b, a)] {
        loud.speaks(-10);
        quiet.speaks(-90);
        until("a dominant speaker", || all.iter().all(|p| speaker(p, loud)), state).await;
    }

    // Messages to everybody reach the other bridge; those to one reach that one.
    a.text(&json!({ "colibriClass": "EndpointMessage", "to": "", "msgPayload": { "to": "all" } }));
    let has = |p: &Person, to: &str| {
        p.look(|s| s.messages.iter().any(|m| m["msgPayload"]["to"] == to && m["from"].is_string()))
    };
    until("a message to all", || has(b, "all") && all[2..].iter().all(|p| has(p, "all")), state).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bridges_of_stage_members_are_linked_both_ways() {
    let service = Service::start("split", 3, "strategy = \"split\"\n", &["b1", "b2", "b3"]).await.unwrap();
    let all = meeting(&service, "split", 3, 1).await;
    let [a, b, ..] = &all[..] else { unreachable!() };
    let state = || describe(&all, &service);
    a.text(&json!({ "colibriClass": "EndpointMessage", "to": b.nick, "msgPayload": { "to": "one" } }));
    let has = |p: &Person| p.look(|s| s.messages.iter().any(|m| m["msgPayload"]["to"] == "one"));
    until("a message over a relay", || has(b), state).await;
    assert!(!all.iter().any(|p| p.nick != b.nick && has(p)), "for nobody else");
}

/// Two on stage; below their bridge one with two of the audience, and below that a leaf with one. Returns the three bridges.
async fn tree(name: &str) -> (Service, Vec<Person>, [String; 3]) {
    let media = "bridge_participants = 2\nfan_out = 1\n";
    let service = Service::start(name, 2, media, &["b1", "b2", "b3"]).await.unwrap();
    let mut all = meeting(&service, name, 2, 0).await;
    let root = service.with(2).await.unwrap();
    for n in 0..3 {
        all.push(Person::join(service.front, name, &format!("{name}-v{n}"), true).await.unwrap());
    }
    all.iter().for_each(|p| p.wants(720));
    media_for(&all, &service).await;
    let leaf = service.with(1).await.unwrap();
    let middle = ["b1", "b2", "b3"].into_iter().find(|b| *b != root && *b != leaf).unwrap().to_owned();
    (service, all, [root, middle, leaf])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_of_three_outlives_each_of_them() {
    for (n, what) in ["root", "middle", "leaf"].into_iter().enumerate() {
        let (mut service, all, bridges) = tree(&format!("tree-{what}")).await;
        let longest = gap(&all, &mut service, async |s| s.kill(&bridges[n]).unwrap()).await;
        println!("the {what} died: {longest:?}");
        assert!(longest < Duration::from_secs(5), "the {what}: {longest:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_is_there_again_at_once_has_forgotten_everything_and_that_is_noticed() {
    let mut service = Service::start("again", 2, "", &["b1", "b2"]).await.unwrap();
    let all = meeting(&service, "again", 2, 2).await;
    let used = service.bridges().await.unwrap();
    assert!(used.values().all(|n| *n == 2), "{used:?}");
    for name in ["b1", "b2"] {
        let longest = gap(&all, &mut service, async |s| {
            s.kill(name).unwrap();
            s.bridge(name).unwrap();
        })
        .await;
        println!("{name} was started again: {longest:?}");
        service.until("both bridges", |all| all.len() == 2).await.unwrap();
        assert!(longest < Duration::from_secs(5), "{longest:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_is_back_soon_after_a_bridge_died() {
    let mut service = Service::start("dies", 2, "", &["b1", "b2", "b3"]).await.unwrap();
    let all = meeting(&service, "dies", 2, 3).await;
    let audience = service.with(3).await.unwrap();
    let stage_sessions = || all[..2].iter().map(|p| p.look(|s| s.sessions)).sum::<usize>();
    let before = stage_sessions();
    let longest = gap(&all, &mut service, async |s| s.kill(&audience).unwrap()).await;
    println!("the audience's bridge died: {longest:?}");
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    assert_eq!(stage_sessions(), before, "the stage stays where it is");

    let stage = service.with(2).await.unwrap();
    let audience_sessions = || all[2..].iter().map(|p| p.look(|s| s.sessions)).sum::<usize>();
    let before = audience_sessions();
    let longest = gap(&all, &mut service, async |s| s.kill(&stage).unwrap()).await;
    println!("the stage's bridge died: {longest:?}");
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    assert_eq!(audience_sessions(), before, "the audience stays where it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_moves_nobody_and_the_end_of_a_bridge_moves_all() {
    let mut service = Service::start("drain", 2, "", &["b1", "b2", "b3"]).await.unwrap();
    let all = meeting(&service, "drain", 2, 2).await;
    let sessions = || all.iter().map(|p| p.look(|s| s.sessions)).sum::<usize>();
    let before = sessions();
    let used: Vec<String> =
        service.bridges().await.unwrap().into_iter().filter(|(_, n)| *n > 0).map(|(b, _)| b).collect();
    service.tell(&used[0], "/colibri/drain/enable", "").await.unwrap();
    service.tell(&used[1], "/colibri/shutdown", r#"{"graceful-shutdown":true}"#).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    media_for(&all, &service).await;
    assert_eq!(sessions(), before, "nobody is moved");

    // Now it must be left: its endpoints go, and the process ends when its time is over.
    let leaving = used[1].clone();
    let longest = gap(&all, &mut service, async |s| {
        s.tell(&leaving, "/colibri/shutdown", r#"{"graceful-shutdown":false}"#).await.unwrap();
    })
    .await;
    println!("a bridge was shut down: {longest:?}");
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    let left = service.bridges().await.unwrap();
    assert!(left.get(&leaving).is_none_or(|n| *n == 0), "{left:?}");
    assert!(!service.has_ended("main"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_hangs_hurts_only_those_on_it() {
    let service = Service::start("hangs", 2, "", &["b1", "b2"]).await.unwrap();
    let all = meeting(&service, "hangs", 2, 3).await;
    let audience = service.with(3).await.unwrap();
    all.iter().for_each(|p| p.look(|s| s.flows.values_mut().for_each(|f| f.gap = Duration::ZERO)));
    service.signal(&audience, "STOP").unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    for p in &all[..2] {
        let want = wanted(&all, p);
        let gaps: Vec<Duration> = p.look(|s| want.iter().map(|name| s.flows[name].gap).collect());
        assert!(gaps.iter().all(|g| *g < Duration::from_secs(1)), "{gaps:?}");
        assert_eq!(p.look(|s| s.sessions), 1);
    }
    service.signal(&audience, "CONT").unwrap();
    media_for(&all, &service).await;
}
