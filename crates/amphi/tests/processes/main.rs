//! Our binary as several processes on one machine: what people on stage and in the audience are shown while links between the
//! nodes break and nodes die. Real sockets, real TLS, real time; what the sans-IO cores promise is tested in their crates.

mod client;
#[path = "../ports/mod.rs"]
mod ports;
mod process;
mod proxy;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use client::{Client, Seen, Wish, request};
use process::{Plan, Service};
use proxy::Proxy;

/// Domain of the main node.
pub(crate) const DOMAIN: &str = "meet.example";

/// The stage as somebody sees it, without the focus, which visitors are not shown.
fn stage(seen: &Seen) -> BTreeMap<String, (String, String)> {
    seen.roster
        .iter()
        .filter(|(nick, (role, _))| *nick != "focus" && role != "visitor")
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_breaks_all_the_time_delivers_everything_in_the_end() {
    let plan = Plan { name: "cuts", nodes: &["v1"], stage: 10, open_node_at: 200 };
    let mut service = Service::new(&plan).unwrap();
    // A stream takes some 6 KB until it is up.
    let to_main = Proxy::start(service.at("main").s2s, 10_000).await.unwrap();
    let to_node = Proxy::start(service.at("v1").s2s, 10_000).await.unwrap();
    let through = HashMap::from([("main".to_owned(), to_main.address), ("v1".to_owned(), to_node.address)]);
    service.start(&plan, &through).unwrap();
    let front = service.at("main").front;

    let mut mains = Vec::new();
    for n in 0..4 {
        let (client, vnode) = Client::come(front, "cut", &format!("m{n}"), Wish::Any).await.unwrap();
        assert_eq!(vnode, None);
        mains.push(client);
    }
    let mut visitors = Vec::new();
    for n in 0..3 {
        let (client, vnode) = Client::come(front, "cut", &format!("v{n}"), Wish::Audience).await.unwrap();
        assert_eq!(vnode.as_deref(), Some("v1"));
        visitors.push(client);
    }
    let (mut said, mut asked) = (Vec::new(), Vec::new());
    for round in 0..150 {
        let text = format!("stage {round}");
        mains[round % 2].say(&text);
        said.push(text);
        if round % 5 == 0 {
            let text = format!("audience {round}");
            visitors[round % 3].say(&text);
            asked.push(text);
        }
        mains[1].presence(&format!("round {round}"));
        match round {
            40 => mains[0].affiliate(&mains[1].nick, "owner"),
            60 => mains[0].affiliate(&mains[2].nick, "owner"),
            90 => mains.pop().unwrap().leave().await.unwrap(),
            120 => {
                // Who was on stage is let back.
                let (client, vnode) = Client::come(front, "cut", "m3", Wish::Any).await.unwrap();
                assert_eq!(vnode, None);
                mains.push(client);
            }
            _ => {}
        }
        pause(60).await;
    }
    // Quiet. Five seconds are promised.
    pause(5000).await;
    let cuts = to_main.cuts() + to_node.cuts();
    assert!(cuts >= 10, "only {cuts} cuts");
    println!("{cuts} cuts");

    let truth = stage(&mains[0].seen());
    assert_eq!(truth.len(), 4, "{truth:?}");
    assert_eq!(truth.values().filter(|(role, _)| role == "moderator").count(), 3, "{truth:?}");
    let of = |seen: &Seen, whose: &str| -> Vec<String> {
        seen.chat.iter().filter(|text| text.starts_with(whose)).cloned().collect()
    };
    // Two people who speak at the same time are heard in the order in which the main room heard them.
    let first = mains[0].seen();
    let (stage_talk, audience_talk) = (of(&first, "stage"), of(&first, "audience"));
    for (heard, mut sent) in [(&stage_talk, said), (&audience_talk, asked)] {
        let mut heard = heard.clone();
        heard.sort();
        sent.sort();
        assert_eq!(heard, sent);
    }
    for client in mains[..3].iter().chain(&visitors) {
        let seen = client.seen();
        assert!(!seen.closed && seen.errors.is_empty(), "{seen:?}");
        assert_eq!(stage(&seen), truth, "what {} sees in {}", client.nick, client.room);
        assert_eq!(of(&seen, "stage"), stage_talk, "what {} heard in {}", client.nick, client.room);
        assert_eq!(of(&seen, "audience"), audience_talk, "what {} heard in {}", client.nick, client.room);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_touches_nobody_else_and_is_used_again_when_it_is_back() {
    let plan = Plan { name: "dies", nodes: &["v1", "v2"], stage: 2, open_node_at: 1 };
    let mut service = Service::new(&plan).unwrap();
    service.start(&plan, &HashMap::new()).unwrap();
    let front = service.at("main").front;

    let mut mains = Vec::new();
    for machine in ["m0", "m1"] {
        mains.push(Client::come(front, "fate", machine, Wish::Any).await.unwrap().0);
    }
    let (a, first) = Client::come(front, "fate", "a", Wish::Any).await.unwrap();
    let (b, second) = Client::come(front, "fate", "b", Wish::Any).await.unwrap();
    let (first, second) = (first.expect("no redirect"), second.expect("no redirect"));
    assert_ne!(first, second);
    let before = stage(&mains[0].seen());
    b.until("the stage", |seen| stage(seen) == before).await.unwrap();

    service.kill(&first).unwrap();
    a.until("the end of its connection", |seen| seen.closed).await.unwrap();
    mains[0].say("after the loss");
    for client in [&mains[1], &b] {
        client
            .until("what is said after the loss", |seen| seen.chat.iter().any(|t| t == "after the loss"))
            .await
            .unwrap();
    }
    // Longer than the focus waits before it gives the node up.
    pause(3000).await;
    assert_eq!(
        request(front, "fate", "c", Wish::Any).await.unwrap().as_deref(),
        Some(&*second),
        "a dead node is offered"
    );
    for client in mains.iter().chain([&b]) {
        let seen = client.seen();
        assert!(!seen.closed && seen.errors.is_empty(), "{seen:?}");
        assert_eq!(stage(&seen), before);
    }

    service.run(&first).unwrap();
    let mut again = None;
    for _ in 0..50 {
        if request(front, "fate", "c", Wish::Any).await.unwrap().as_ref() == Some(&first) {
            again = Some(Client::join(front, "fate", Some(&first)).await.unwrap());
            break;
        }
        pause(200).await;
    }
    let again = again.expect("the node that is back is not used");
    again.until("the stage", |seen| stage(seen) == before).await.unwrap();
    again.say("back");
    mains[0].until("what the audience says", |seen| seen.chat.iter().any(|t| t == "back")).await.unwrap();
    b.until("what the other node's audience says", |seen| seen.chat.iter().any(|t| t == "back")).await.unwrap();
}
