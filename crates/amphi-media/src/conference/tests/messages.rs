//! The bridge channel: endpoints, visitors, relays.

use super::*;

#[test]
fn a_channel_that_comes_up_hears_everything_in_order() {
    let mut room = Room::new();
    room.participant(1);
    room.participant(2);
    room.feed(Input::Speakers(Speakers { dominant: Some(EndpointId(2)), recent: vec![EndpointId(1)], silence: false }));
    room.wants(1, &[], 180, &[]);
    room.settle(1, 1_000_000);
    room.now += Duration::from_secs(16);
    room.feed(Input::Activity(vec![(EndpointId(1), room.now)]));
    let out = room.feed(Input::ChannelUp { endpoint: EndpointId(1), kind: ChannelKind::WebSocket });
    let kinds: Vec<&str> = told(&out, 1)
        .iter()
        .map(|it| match it {
            Outgoing::ServerHello | Outgoing::RelayHello => "hello",
            Outgoing::SenderConstraints { .. } => "constraints",
            Outgoing::ForwardedSources(_) => "forwarded",
            Outgoing::VideoSourcesMap(_) => "video",
            Outgoing::AudioSourcesMap(_) => "audio",
            Outgoing::Connectivity { active: false, .. } => "inactive",
            Outgoing::DominantSpeaker { .. } => "dominant",
            _ => "?",
        })
        .collect();
    assert_eq!(kinds, ["hello", "constraints", "forwarded", "video", "audio", "inactive", "dominant"]);
    assert_eq!(told(&room.say(1, Incoming::ClientHello), 1), [Outgoing::ServerHello]);
}

#[test]
fn a_participant_that_falls_silent_is_told_to_all_and_a_visitor_is_not() {
    let mut room = Room::new();
    room.participant(1);
    room.visitor(100);
    let status = |active| Outgoing::Connectivity { endpoint: "e1".into(), active };
    room.now += Duration::from_millis(14_000);
    assert_eq!(told(&room.feed(Input::Tick), 100), []);
    room.now += Duration::from_millis(1_500);
    let out = room.feed(Input::Tick);
    assert_eq!((told(&out, 100), told(&out, 1)), (vec![status(false)], vec![status(false)]));
    let now = room.now;
    room.feed(Input::Activity(vec![(EndpointId(1), now)]));
    room.now += Duration::from_millis(500);
    assert_eq!(told(&room.feed(Input::Tick), 100), [status(true)]);
    room.now = now + Duration::from_millis(8_000);
    assert_eq!(told(&room.feed(Input::Tick), 100), []);
    room.now = now + Duration::from_millis(8_600);
    assert_eq!(told(&room.feed(Input::Tick), 100), [status(false)]);
}

#[test]
fn video_types_are_kept_for_sources_to_come_and_told_to_other_bridges() {
    let mut room = Room::new();
    room.add(1, Role::Participant);
    room.add_named(50, "there", Role::Relay { mesh: "0".into() });
    room.up(50);
    let screen = |endpoint: Option<&str>, source: Option<&str>| Incoming::VideoType {
        endpoint: endpoint.map(Into::into),
        source: source.map(Into::into),
        video_type: VideoType::Desktop,
    };
    let passed = Outgoing::VideoType { endpoint: "e1".into(), source: "e1-v0".into(), video_type: VideoType::Desktop };
    assert_eq!(told(&room.say(1, screen(None, None)), 50), std::slice::from_ref(&passed));
    room.feed(Input::Sources { endpoint: EndpointId(1), sources: sources(1) });
    assert_eq!(room.conference.sources[&SourceId(10)].desc.video_type, VideoType::Desktop);
    assert_eq!(told(&room.up(50), 50), [passed], "told again on a new channel");
    room.visitor(100);
    assert!(matches!(room.say(100, screen(None, Some("e1-v0")))[..], [Output::Ignored { .. }]));
    room.participant(2);
    room.say(2, screen(None, Some("e1-v0")));
    room.feed(Input::Sources { endpoint: EndpointId(1), sources: sources(1) });
    assert_eq!(room.conference.sources[&SourceId(10)].desc.video_type, VideoType::Desktop, "what was said stays");
}

#[test]
fn messages_go_where_the_mesh_rule_says() {
    let mut room = Room::new();
    room.participant(1);
    room.visitor(100);
    for (id, name, mesh) in [(50, "b0", "0"), (51, "b1", "0"), (60, "c", "1")] {
        room.add_named(id, name, Role::Relay { mesh: mesh.into() });
        room.up(id);
    }
    room.add_named(500, "far0", Role::Relayed { relay: EndpointId(50) });
    room.add_named(600, "far1", Role::Relayed { relay: EndpointId(60) });
    let reached =
        |out: &[Output]| [1, 100, 50, 51, 60].into_iter().filter(|id| !told(out, *id).is_empty()).collect::<Vec<_>>();
    assert_eq!(reached(&room.say(1, message(None, Some("liar")))), [100, 50, 51, 60]);
    assert_eq!(reached(&room.say(1, message(Some("far1"), None))), [60]);
    assert_eq!(reached(&room.say(1, message(Some("e100"), None))), [100]);
    assert_eq!(reached(&room.say(1, message(Some("nobody"), None))), []);
    assert_eq!(reached(&room.say(50, message(None, Some("far0")))), [1, 100, 60]);
    assert_eq!(reached(&room.say(50, message(Some("e1"), Some("far0")))), [1]);
    assert_eq!(reached(&room.say(50, message(Some("far1"), Some("far0")))), [60], "over two hops");
    assert_eq!(reached(&room.say(51, message(Some("far0"), Some("x")))), [], "not back into the mesh");
    assert_eq!(reached(&room.say(100, message(None, None))), [], "visitors say nothing");
    let out = room.say(1, message(None, Some("liar")));
    assert_eq!(told(&out, 100), [Outgoing::EndpointMessage { from: "e1".into(), fields: "\"x\":1".into() }]);
    let stats = |from: Option<&str>| Incoming::EndpointStats { from: from.map(Into::into), fields: "".into() };
    assert_eq!(reached(&room.say(50, stats(Some("far0")))), [1, 100, 60]);
    assert_eq!(reached(&room.say(51, stats(Some("far0")))), [], "not known on this relay");
}

#[test]
fn statistics_reach_those_who_see_or_hear_the_sender() {
    let mut room = Room::with(ConferenceConfig { stats_filter_threshold: 3, ..Default::default() });
    room.participant(1);
    room.participant(2);
    (100..104).for_each(|id| {
        room.visitor(id);
    });
    room.wants(100, &["e1-v0"], 0, &[]);
    room.wants(101, &[], 0, &[("e1-v0", 180)]);
    room.wants(102, &[], 0, &[("e2-v0", 180)]);
    let stats = || Incoming::EndpointStats { from: None, fields: "".into() };
    let reached = |out: &[Output]| {
        [1, 2, 100, 101, 102, 103].into_iter().filter(|id| !told(out, *id).is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(reached(&room.say(1, stats())), [100, 101]);
    room.feed(Input::Ranked(vec![EndpointId(1)]));
    assert_eq!(reached(&room.say(1, stats())), [2, 100, 101, 102, 103]);
    assert_eq!(reached(&room.say(103, stats())), []);
}

#[test]
fn wishes_pass_between_meshes_and_end_with_the_relay() {
    let mut room = Room::new();
    for (id, name, mesh) in [(50, "b0", "0"), (51, "b1", "0"), (60, "c", "1")] {
        room.add_named(id, name, Role::Relay { mesh: mesh.into() });
        room.up(id);
    }
    room.add_named(500, "far0", Role::Relayed { relay: EndpointId(50) });
    let theirs = vec![desc(500, 5000, "far0-v0", MediaKind::Video)];
    let asks = |max_height| Outgoing::AddReceiver { bridge: "here".into(), source: "far0-v0".into(), max_height };
    let wish = |max_height| Incoming::AddReceiver { bridge: "x".into(), source: "far0-v0".into(), max_height };
    room.say(60, wish(360));
    let out = room.feed(Input::Sources { endpoint: EndpointId(500), sources: theirs });
    assert_eq!(told(&out, 50), [asks(360)], "also what was wished before it was signaled");
    assert_eq!(told(&room.say(51, wish(1080)), 50), [], "its mesh serves it directly");
    room.visitor(100);
    assert_eq!(told(&room.wants(100, &[], 720, &[]), 50), [asks(720)]);
    assert_eq!(told(&room.feed(Input::Removed(EndpointId(100))), 50), [asks(360)]);
    assert_eq!(told(&room.up(50), 50), [asks(360)]);
    assert_eq!(told(&room.feed(Input::Removed(EndpointId(60))), 50), [asks(0)]);
    room.participant(1);
    let own = Incoming::AddReceiver { bridge: "x".into(), source: "e1-v0".into(), max_height: 540 };
    assert_eq!(told(&room.say(51, own), 1), [constraint("e1-v0", 540)]);
}

#[test]
fn who_moves_between_bridges_is_not_removed_by_the_late_end_of_the_old_link() {
    let mut room = Room::new();
    room.add_named(50, "b0", Role::Relay { mesh: "0".into() });
    room.add_named(500, "moving", Role::Relayed { relay: EndpointId(50) });
    room.feed(Input::Sources { endpoint: EndpointId(500), sources: vec![desc(500, 1, "moving-v0", MediaKind::Video)] });
    room.add_named(7, "moving", Role::Participant);
    room.up(7);
    room.feed(Input::Sources { endpoint: EndpointId(7), sources: vec![desc(7, 2, "moving-v0", MediaKind::Video)] });
    room.feed(Input::Removed(EndpointId(500)));
    room.participant(1);
    assert_eq!(told(&room.say(1, message(Some("moving"), None)), 7).len(), 1);
    assert_eq!(told(&room.wants(1, &[], 180, &[]), 7), [constraint("moving-v0", 180)]);
}

#[test]
fn receivers_are_told_their_bandwidth_every_ten_seconds() {
    let mut room = Room::new();
    room.visitor(100);
    let estimate = || Input::Bandwidth(vec![(EndpointId(100), 3_120_000), (EndpointId(999), 1)]);
    assert_eq!(told(&room.feed(estimate()), 100), [Outgoing::ConnectionStats { bandwidth: 3_120_000 }]);
    room.now += Duration::from_millis(9_999);
    assert_eq!(told(&room.feed(estimate()), 100), []);
    room.now += Duration::from_millis(1);
    assert_eq!(told(&room.feed(estimate()), 100).len(), 1);
}
