//! What receivers are told of slots and of forwarded sources.

use super::*;

#[test]
fn own_sources_are_never_wanted_or_mapped() {
    let mut room = Room::new();
    room.participant(1);
    assert_eq!(told(&room.wants(1, &["e1-v0"], 720, &[]), 1), []);
    let out = room.participant(2);
    assert_eq!(video_maps(&told(&out, 2)), [], "told before");
    assert_eq!(video_maps(&told(&out, 1)).iter().map(|it| &*it.0).collect::<Vec<_>>(), ["e2-v0"]);
    let audio = |id| {
        told(&out, id).iter().any(|it| matches!(it, Outgoing::AudioSourcesMap(list) if list[0].owner == "e2".into()))
    };
    assert!(audio(1) && !audio(2));
    assert_eq!(video_maps(&told(&room.up(2), 2)).iter().map(|it| &*it.0).collect::<Vec<_>>(), ["e1-v0"]);
}

#[test]
fn slots_are_the_same_for_all_and_are_used_again() {
    let mut room = Room::new();
    room.participant(1);
    room.participant(2);
    room.visitor(100);
    let out = room.wants(100, &[], 180, &[]);
    assert_eq!(video_maps(&told(&out, 100)), [], "what is known is not told again");
    let first = video_maps(&told(&room.up(100), 100));
    assert_eq!(first.len(), 2);
    assert_eq!(video_maps(&told(&room.up(1), 1)), [first[1].clone()]);
    assert_eq!(told(&room.feed(Input::Removed(EndpointId(2))), 100), [], "an end is not told");
    let out = room.participant(3);
    assert_eq!(video_maps(&told(&out, 100)), [("e3-v0".to_owned(), first[1].1)], "the slot is used again");
}

#[test]
fn beyond_fifty_sources_the_least_recently_used_slot_gives_way() {
    let mut room = Room::new();
    (1..=60).for_each(|id| {
        room.participant(id);
    });
    room.visitor(100);
    room.wants(100, &[], 0, &[]);
    let known = video_maps(&told(&room.up(100), 100));
    assert_eq!(known.len(), 50);
    let out = room.wants(100, &["e60-v0"], 0, &[("e60-v0", 180)]);
    let news = video_maps(&told(&out, 100));
    assert_eq!(news.len(), 1);
    assert_eq!(news[0].0, "e60-v0");
    assert!(known.iter().any(|it| it.1 == news[0].1));
    let back = room.wants(100, &["e60-v0"], 0, &[("e60-v0", 180), ("e1-v0", 180)]);
    assert!(video_maps(&told(&back, 100)).len() <= 1);
}

#[test]
fn a_signaled_ssrc_that_a_slot_has_moves_the_slot() {
    let mut room = Room::new();
    room.participant(1);
    room.visitor(100);
    let before = video_maps(&told(&room.up(100), 100))[0].1;
    room.add(2, Role::Participant);
    let mut theirs = desc(2, 20, "e2-v0", MediaKind::Video);
    theirs.encodings[0].ssrc = before;
    let out = room.feed(Input::Sources { endpoint: EndpointId(2), sources: vec![theirs] });
    assert!(
        out.iter()
            .any(|it| matches!(it, Output::SlotSsrcs { video, .. } if video.iter().all(|slot| slot.ssrc != before)))
    );
    let maps = video_maps(&told(&out, 100));
    assert!(maps.iter().any(|it| it.0 == "e1-v0") && maps.iter().all(|it| it.1 != before));
}

#[test]
fn forwarded_sources_are_told_once_per_set_and_only_of_the_present_version() {
    let mut room = Room::new();
    room.participant(1);
    room.participant(2);
    room.visitor(100);
    room.wants(100, &["e1-v0"], 180, &[]);
    let rates = |kbps: u64| {
        let all = |id| {
            (SourceId(id), (0..3).map(|tid| (LayerIndex::new(0, 0, tid), kbps * (u64::from(tid) + 1) * 1000)).collect())
        };
        Input::Rates(vec![all(10), all(20)])
    };
    room.feed(rates(100));
    let stale = room.conference.classes[&room.class_of(100)].published.clone().unwrap();
    assert_eq!(told(&room.settle(100, 10_000_000), 100), [forwarded(&["e1-v0", "e2-v0"])]);
    assert_eq!(told(&room.settle(100, 9_000_000), 100), []);
    assert_eq!(told(&room.settle(100, 110_000), 100), [forwarded(&["e1-v0"])]);
    room.now += Duration::from_secs(1);
    room.feed(rates(200));
    let out =
        room.feed(Input::Rungs { class: stale.id, version: stale.version, receivers: vec![(EndpointId(100), 0)] });
    assert_eq!(told(&out, 100), []);
    assert_eq!(told(&room.settle(100, 110_000), 100), [forwarded(&[])]);
    assert_eq!(told(&room.up(100), 100)[0], forwarded(&[]), "told again on a new channel");
}
