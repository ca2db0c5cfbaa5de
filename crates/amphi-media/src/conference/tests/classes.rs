//! Classes of receivers and what is wanted of senders.

use super::*;

#[test]
fn equal_visitors_share_a_class_and_a_participant_has_its_own() {
    let mut room = Room::new();
    room.participant(1);
    room.participant(2);
    for id in 100..110 {
        room.visitor(id);
        room.wants(id, &["e1-v0"], 180, &[("e1-v0", 720)]);
    }
    assert!((101..110).all(|id| room.class_of(id) == room.class_of(100)));
    assert_ne!(room.class_of(1), room.class_of(2));
    let out = room.wants(110, &["e1-v0"], 180, &[("e1-v0", 720)]);
    assert_eq!(out, [], "nobody");
    room.add(110, Role::Visitor);
    room.add(111, Role::Visitor);
    let out = room.wants(110, &["e1-v0"], 180, &[("e1-v0", 720)]);
    let class = room.class_of(100);
    assert_eq!(out, [Output::SetClass { receiver: EndpointId(110), class }], "joining computes nothing");
}

#[test]
fn ten_thousand_visitors_make_one_class_and_hear_one_message() {
    let mut room = Room::new();
    room.participant(1);
    for id in 1000..11_000 {
        let info = Endpoint {
            id: EndpointId(id),
            name: format!("v{id}").into(),
            role: Role::Visitor,
            ssrc_rewriting: true,
            mid_demux: false,
        };
        room.conference.handle(room.now, Input::Added(info));
        room.conference.handle(room.now, Input::ChannelUp { endpoint: EndpointId(id), kind: ChannelKind::Data });
        let wishes = ConstraintsUpdate { default_max_height: Some(360), ..Default::default() };
        let message = Incoming::VideoConstraints(wishes);
        room.conference.handle(room.now, Input::Message { from: EndpointId(id), message });
    }
    let out = room.feed(Input::Tick);
    assert_eq!(room.conference.classes.len(), 2, "the participant's own, and theirs");
    assert!(out.iter().filter(|it| matches!(it, Output::Class(_))).count() <= 3);
    let out = room.participant(2);
    let maps: Vec<_> = out
        .iter()
        .filter_map(|it| match it {
            Output::Send { to: To::Many(to), message: Outgoing::VideoSourcesMap(_) } => Some(to.len()),
            _ => None,
        })
        .collect();
    assert_eq!(maps, [10_000]);
}

#[test]
fn a_class_is_told_before_its_receivers_and_gone_after_the_last() {
    let mut room = Room::new();
    room.participant(1);
    room.visitor(100);
    let before = room.class_of(100);
    let out = room.wants(100, &[], 180, &[]);
    let after = room.class_of(100);
    let place = |wanted: &dyn Fn(&Output) -> bool| out.iter().position(wanted).unwrap();
    let class = place(&|it| matches!(it, Output::Class(class) if class.id == after));
    let set = place(&|it| *it == Output::SetClass { receiver: EndpointId(100), class: after });
    let gone = place(&|it| *it == Output::ClassGone(before));
    assert!(class < set && set < gone);
    assert!(room.feed(Input::Removed(EndpointId(100))).contains(&Output::ClassGone(after)));
    assert_eq!(room.conference.classes.len(), 1);
}

#[test]
fn senders_are_told_the_greatest_height_that_anybody_wants() {
    let mut room = Room::new();
    assert!(told(&room.participant(1), 1).contains(&constraint("e1-v0", 0)));
    room.participant(2);
    room.visitor(100);
    room.visitor(101);
    assert_eq!(told(&room.wants(100, &[], 180, &[]), 1), [constraint("e1-v0", 180)]);
    assert_eq!(told(&room.wants(101, &["e1-v0"], 0, &[("e1-v0", -1)]), 1), [constraint("e1-v0", -1)]);
    assert_eq!(told(&room.wants(2, &[], 360, &[]), 1), []);
    assert_eq!(told(&room.feed(Input::Removed(EndpointId(101))), 1), [constraint("e1-v0", 360)]);
    assert_eq!(told(&room.wants(2, &[], 0, &[]), 1), [constraint("e1-v0", 180)]);
    assert_eq!(told(&room.feed(Input::Removed(EndpointId(100))), 1), [constraint("e1-v0", 0)]);
}

#[test]
fn too_many_different_wishes_keep_the_former_ones() {
    let mut room = Room::with(ConferenceConfig { max_classes: 3, ..Default::default() });
    room.participant(1);
    for id in 100..103 {
        room.visitor(id);
        room.wants(id, &[], 180 + id as i32, &[]);
    }
    assert!(room.conference.classes.len() <= 3);
    let class = room.class_of(102);
    let out = room.wants(102, &[], 999, &[]);
    assert!(matches!(out[..], [Output::Ignored { .. }]));
    assert_eq!(room.class_of(102), class);
}

#[test]
fn many_changes_at_once_are_computed_once() {
    let mut room = Room::new();
    room.participant(1);
    room.visitor(100);
    room.now += Duration::from_secs(1);
    room.conference.handle(room.now, Input::Tick);
    room.drain();
    room.out.clear();
    room.wants(100, &[], 180, &[]);
    let mut computed = 0;
    for step in 1..=5u64 {
        let rates = (0..3).map(|tid| (LayerIndex::new(0, 0, tid), step * 100_000)).collect();
        room.conference.handle(room.now, Input::Rates(vec![(SourceId(10), rates)]));
        while let Some(out) = room.conference.poll_output() {
            computed += u32::from(matches!(out, Output::Class(_)));
        }
    }
    assert_eq!(computed, 0);
    let out = room.feed(Input::Tick);
    assert_eq!(out.iter().filter(|it| matches!(it, Output::Class(_))).count(), 1);
}

#[test]
fn many_different_wishes_are_computed_less_often() {
    let mut room = Room::with(ConferenceConfig { classes_per_coalesce: 4, ..Default::default() });
    room.participant(1);
    for id in 100..110 {
        room.visitor(id);
        room.wants(id, &[], 180 + id as i32, &[]);
    }
    room.participant(2);
    let before = room.now;
    room.conference.handle(room.now, Input::AudioWanted(SourceId(11)));
    room.feed(Input::Message {
        from: EndpointId(100),
        message: Incoming::VideoConstraints(ConstraintsUpdate { last_n: Some(1), ..Default::default() }),
    });
    assert!(room.now - before >= Duration::from_millis(100), "twelve classes are three times four");
}
