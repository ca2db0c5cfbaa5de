//! Speakers, audio slots, subscriptions.

use super::*;

#[test]
fn the_last_speaker_comes_first_and_all_hear_of_it() {
    let mut room = Room::new();
    (1..=4).for_each(|id| {
        room.participant(id);
    });
    room.visitor(100);
    room.say(100, Incoming::VideoConstraints(ConstraintsUpdate { last_n: Some(1), ..Default::default() }));
    room.wants(1, &["e2-v0"], 180, &[]);
    let speakers = Speakers { dominant: Some(EndpointId(3)), recent: vec![EndpointId(2)], silence: false };
    let out = room.feed(Input::Speakers(speakers));
    let event = Outgoing::DominantSpeaker { dominant: "e3".into(), previous: vec!["e2".into()], silence: false };
    assert!(told(&out, 100).contains(&event) && told(&out, 3).contains(&event));
    assert!(out.contains(&Output::PrepareKeyframe(EndpointId(3))), "somebody has a camera on stage");
    assert!(told(&out, 1).contains(&constraint("e1-v0", 0)), "nobody shows it any more");
    assert_eq!(told(&room.settle(100, 1_000_000), 100), [forwarded(&["e3-v0"])]);
}

#[test]
fn audio_subscriptions_say_what_is_skipped() {
    let mut room = Room::new();
    room.participant(1);
    room.participant(2);
    let mut theirs = sources(3);
    theirs.push(SourceDesc { synthetic: true, ..desc(3, 39, "e3-a0.fr", MediaKind::Audio) });
    room.add(3, Role::Participant);
    let out = room.feed(Input::Sources { endpoint: EndpointId(3), sources: theirs });
    assert!(out.contains(&Output::DefaultAudioSkip(Arc::new([SourceId(39)]))));
    assert!(out.contains(&Output::AudioExempt(Arc::new([SourceId(39)]))));
    room.visitor(100);
    let subscribe = |all, include: &[&str], exclude: &[&str]| {
        let list = |it: &[&str]| it.iter().map(|it| (*it).into()).collect();
        Incoming::AudioSubscription(AudioSubscription::new(all, list(include), list(exclude)))
    };
    let skip = |list: Option<&[u32]>, receiver| Output::AudioSkip {
        receiver: EndpointId(receiver),
        skip: list.map(|it| it.iter().map(|id| SourceId(*id)).collect()),
    };
    assert_eq!(room.say(100, subscribe(true, &["e3-a0.fr"], &["e1-a0"])), [skip(Some(&[11]), 100)]);
    assert_eq!(room.say(100, subscribe(true, &[], &[])), [skip(None, 100)]);
    let out = room.say(100, subscribe(false, &["e2-a0"], &[]));
    assert_eq!(out, [skip(Some(&[11, 31, 39]), 100)], "a visitor's wish exempts nobody from being loud");
    let out = room.say(1, subscribe(true, &["e2-a0"], &[]));
    assert!(out.contains(&Output::AudioExempt(Arc::new([SourceId(21), SourceId(39)]))));
    assert!(room.feed(Input::Removed(EndpointId(1))).contains(&Output::AudioExempt(Arc::new([SourceId(39)]))));
    let many: Vec<String> = (0..101).map(|i| i.to_string()).collect();
    let many: Vec<&str> = many.iter().map(|it| &**it).collect();
    assert!(matches!(room.say(100, subscribe(true, &many, &[]))[..], [Output::Ignored { .. }]));
}

#[test]
fn audio_slots_are_given_ahead_then_when_heard_and_the_quietest_gives_way() {
    let mut room = Room::with(ConferenceConfig { audio_slots: 3, audio_slots_ahead: 2, ..Default::default() });
    (1..=4).for_each(|id| {
        room.participant(id);
    });
    let slots = |out: &[Output]| {
        out.iter().rev().find_map(|it| match it {
            Output::AudioSlots(map) => Some(map.iter().map(|it| it.map_or(0, |id| id.0)).collect::<Vec<_>>()),
            _ => None,
        })
    };
    assert_eq!(slots(&room.feed(Input::AudioWanted(SourceId(31)))), Some(vec![11, 21, 31]));
    assert_eq!(slots(&room.feed(Input::AudioWanted(SourceId(31)))), None);
    room.feed(Input::Ranked(vec![EndpointId(1)]));
    let out = room.feed(Input::AudioWanted(SourceId(41)));
    assert_eq!(slots(&out), Some(vec![11, 41, 31]));
    let maps = |id| told(&out, id).into_iter().filter(|it| matches!(it, Outgoing::AudioSourcesMap(_))).count();
    assert_eq!((maps(1), maps(4)), (1, 0), "not of the own source");
    assert_eq!(slots(&room.feed(Input::AudioWanted(SourceId(10)))), None, "video");
}
