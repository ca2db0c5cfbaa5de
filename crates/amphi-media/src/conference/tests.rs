use proptest::prelude::*;

use super::*;
use crate::allocation::ConstraintsUpdate;
use crate::ids::LayerIndex;
use crate::source::{Signaled, SourceDesc, VideoType};

/// A conference in virtual time: every input is followed by the flush that it leads to.
struct Room {
    conference: Conference,
    now: Instant,
    out: Vec<Output>,
}

impl Room {
    fn new() -> Self {
        Self::with(ConferenceConfig { relay_id: "here".into(), ..Default::default() })
    }

    fn with(config: ConferenceConfig) -> Self {
        let mut room = Self { conference: Conference::new(config, 7), now: Instant::now(), out: Vec::new() };
        room.drain();
        room
    }

    fn drain(&mut self) {
        while let Some(out) = self.conference.poll_output() {
            self.out.push(out);
        }
    }

    /// Feeds an input and lets time pass until nothing waits. Returns what came out.
    fn feed(&mut self, input: Input) -> Vec<Output> {
        self.out.clear();
        self.conference.handle(self.now, input);
        self.drain();
        while let Some(at) = self.conference.flush_at() {
            self.now = self.now.max(at);
            self.conference.handle(self.now, Input::Tick);
            self.drain();
        }
        std::mem::take(&mut self.out)
    }

    fn add(&mut self, id: u32, role: Role) -> Vec<Output> {
        self.add_named(id, &format!("e{id}"), role)
    }

    fn add_named(&mut self, id: u32, name: &str, role: Role) -> Vec<Output> {
        let info = Endpoint { id: EndpointId(id), name: name.into(), role, ssrc_rewriting: true, mid_demux: false };
        self.feed(Input::Added(info))
    }

    fn up(&mut self, id: u32) -> Vec<Output> {
        self.feed(Input::ChannelUp { endpoint: EndpointId(id), kind: ChannelKind::Data })
    }

    fn say(&mut self, id: u32, message: Incoming) -> Vec<Output> {
        self.feed(Input::Message { from: EndpointId(id), message })
    }

    /// A participant with a channel, a camera (source id * 10) and a microphone (source id * 10 + 1).
    fn participant(&mut self, id: u32) -> Vec<Output> {
        self.add(id, Role::Participant);
        self.up(id);
        self.feed(Input::Sources { endpoint: EndpointId(id), sources: sources(id) })
    }

    fn visitor(&mut self, id: u32) -> Vec<Output> {
        let mut out = self.add(id, Role::Visitor);
        out.extend(self.up(id));
        out
    }

    fn wants(&mut self, id: u32, on_stage: &[&str], default: i32, heights: &[(&str, i32)]) -> Vec<Output> {
        self.say(
            id,
            Incoming::VideoConstraints(ConstraintsUpdate {
                on_stage: Some(on_stage.iter().map(|it| (*it).into()).collect()),
                default_max_height: Some(default),
                max_heights: Some(heights.iter().map(|(name, height)| ((*name).into(), *height)).collect()),
                ..Default::default()
            }),
        )
    }

    fn class_of(&self, id: u32) -> ClassId {
        self.conference.people[&EndpointId(id)].receiver.class.unwrap()
    }

    /// The media plane reports the rung of a receiver at a bandwidth.
    fn settle(&mut self, id: u32, bps: u64) -> Vec<Output> {
        let class = self.conference.classes[&self.class_of(id)].published.clone().unwrap();
        let rung = class.staircase.rung(bps) as u16;
        self.feed(Input::Rungs { class: class.id, version: class.version, receivers: vec![(EndpointId(id), rung)] })
    }
}

fn desc(owner: u32, id: u32, name: &str, kind: MediaKind) -> SourceDesc {
    let signaled = Signaled {
        id: SourceId(id),
        name: name.into(),
        kind,
        video_type: None,
        ssrcs: vec![id * 100 + 1],
        groups: vec![],
        synthetic: false,
    };
    SourceDesc::new(EndpointId(owner), signaled)
}

fn sources(id: u32) -> Vec<SourceDesc> {
    vec![
        desc(id, id * 10, &format!("e{id}-v0"), MediaKind::Video),
        desc(id, id * 10 + 1, &format!("e{id}-a0"), MediaKind::Audio),
    ]
}

/// Messages to one endpoint, in order.
fn told(out: &[Output], id: u32) -> Vec<Outgoing> {
    let to_it = |to: &To| match to {
        To::One(it) => *it == EndpointId(id),
        To::Many(list) => list.contains(&EndpointId(id)),
    };
    out.iter()
        .filter_map(|it| match it {
            Output::Send { to, message } if to_it(to) => Some(message.clone()),
            _ => None,
        })
        .collect()
}

fn video_maps(messages: &[Outgoing]) -> Vec<(String, u32)> {
    let maps = messages.iter().filter_map(|it| match it {
        Outgoing::VideoSourcesMap(list) => Some(list),
        _ => None,
    });
    maps.flatten().map(|it| (it.source.to_string(), it.ssrc)).collect()
}

fn constraint(source: &str, max_height: i32) -> Outgoing {
    Outgoing::SenderConstraints { source: source.into(), max_height }
}

fn message(to: Option<&str>, from: Option<&str>) -> Incoming {
    Incoming::EndpointMessage { to: to.map(Into::into), from: from.map(Into::into), fields: "\"x\":1".into() }
}

fn forwarded(names: &[&str]) -> Outgoing {
    Outgoing::ForwardedSources(names.iter().map(|it| (*it).into()).collect())
}

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
            Outgoing::ServerHello => "hello",
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

#[derive(Clone, Debug)]
enum Step {
    Participant(u32),
    Visitor(u32),
    Remove(u32),
    Up(u32),
    Down(u32),
    Wants(u32, u32, i32, i32),
    Mute(u32, bool),
    Speaks(u32),
    Pass(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let height = || prop::sample::select(vec![-1, 0, 180, 720]);
    prop_oneof![
        (1u32..9).prop_map(Step::Participant),
        (100u32..110).prop_map(Step::Visitor),
        prop_oneof![1u32..9, 100u32..110].prop_map(Step::Remove),
        prop_oneof![1u32..9, 100u32..110].prop_map(Step::Up),
        prop_oneof![1u32..9, 100u32..110].prop_map(Step::Down),
        (prop_oneof![1u32..9, 100u32..110], 1u32..9, height(), height())
            .prop_map(|(a, b, c, d)| Step::Wants(a, b, c, d)),
        (1u32..9, any::<bool>()).prop_map(|(a, b)| Step::Mute(a, b)),
        (1u32..9).prop_map(Step::Speaks),
        (0u64..200).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// Whatever happens: counts equal a naive maximum over all receivers, and no receiver believes one SSRC to be of two sources, or a source
    /// in a slot of its class to be elsewhere.
    #[test]
    fn what_is_wanted_is_the_maximum_over_receivers_and_maps_are_what_was_told(steps in prop::collection::vec(any_step(), 0..80)) {
        let mut config = ConferenceConfig::default();
        config.allocation.video_slots = 4;
        config.allocation.last_n = 3;
        let mut conference = Conference::new(config, 1);
        let mut now = Instant::now();
        let mut believes: HashMap<EndpointId, HashMap<u32, String>> = HashMap::new();
        let mut classes: HashMap<ClassId, Arc<Class>> = HashMap::new();
        let mut ids: HashMap<u32, u32> = HashMap::new();
        let mut next = 1000;
        let mut inputs: Vec<Input> = Vec::new();
        for step in steps.into_iter().chain([Step::Pass(1000)]) {
            let id = |it: &u32| EndpointId(ids.get(it).copied().unwrap_or(0));
            let said = |from, message| Input::Message { from, message };
            match step {
                Step::Participant(n) | Step::Visitor(n) if !ids.contains_key(&n) => {
                    next += 1;
                    ids.insert(n, next);
                    let role = if n < 100 { Role::Participant } else { Role::Visitor };
                    let it = EndpointId(next);
                    inputs.push(Input::Added(Endpoint { id: it, name: format!("e{n}").into(), role, ssrc_rewriting: true, mid_demux: false }));
                    if n < 100 {
                        inputs.push(Input::Sources { endpoint: it, sources: vec![desc(next, next, &format!("e{n}-v0"), MediaKind::Video)] });
                    }
                }
                Step::Remove(n) => {
                    inputs.push(Input::Removed(id(&n)));
                    ids.remove(&n);
                }
                Step::Up(n) => {
                    believes.remove(&id(&n));
                    inputs.push(Input::ChannelUp { endpoint: id(&n), kind: ChannelKind::Data });
                }
                Step::Down(n) => inputs.push(Input::ChannelDown(id(&n))),
                Step::Wants(n, stage, height, default) => inputs.push(said(id(&n), Incoming::VideoConstraints(ConstraintsUpdate {
                    on_stage: Some(vec![format!("e{stage}-v0").into()]),
                    max_heights: Some(vec![(format!("e{stage}-v0").into(), height)]),
                    default_max_height: Some(default),
                    ..Default::default()
                }))),
                Step::Mute(n, mute) => inputs.push(said(id(&n), Incoming::VideoType {
                    endpoint: None,
                    source: None,
                    video_type: if mute { VideoType::None } else { VideoType::Camera },
                })),
                Step::Speaks(n) => inputs.push(Input::Speakers(Speakers { dominant: Some(id(&n)), ..Default::default() })),
                Step::Pass(ms) => {
                    now += Duration::from_millis(ms);
                    inputs.push(Input::Tick);
                }
                _ => {}
            }
            for input in inputs.drain(..) {
                conference.handle(now, input);
                while let Some(out) = conference.poll_output() {
                    match out {
                        Output::Class(class) => {
                            classes.insert(class.id, class);
                        }
                        Output::ClassGone(id) => prop_assert!(classes.remove(&id).is_some()),
                        Output::SetClass { class, .. } => prop_assert!(classes.contains_key(&class)),
                        Output::Send { to, message: Outgoing::VideoSourcesMap(list) } => {
                            let to = match &to {
                                To::One(one) => std::slice::from_ref(one),
                                To::Many(many) => many,
                            };
                            for id in to {
                                let map = believes.entry(*id).or_default();
                                for it in &list {
                                    // A client clears the slot where the source was before.
                                    map.retain(|_, source| **source != *it.source);
                                }
                                map.extend(list.iter().map(|it| (it.ssrc, it.source.to_string())));
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        prop_assert!(conference.pending.since.is_none());
        for source in conference.sources.values() {
            let wishes = conference.people.values().filter_map(|it| it.receiver.class).map(|class| {
                let state = &conference.classes[&class];
                let order = conference.video_order();
                let others = order.iter().map(|id| &conference.sources[id].desc).filter(|it| Some(it.owner) != state.key.excluded);
                let plan = crate::allocation::Plan::new(&conference.config.allocation, &state.key.settings, others);
                plan.effective.iter().find(|it| it.0 == source.desc.id).map_or(0, |it| it.1)
            });
            let wishes: Vec<i32> = wishes.collect();
            let naive = if wishes.contains(&-1) { -1 } else { wishes.into_iter().max().unwrap_or(0) };
            prop_assert_eq!(source.counts.max(), naive);
            prop_assert_eq!(source.told, Some(naive));
        }
        for person in conference.people.values().filter(|it| it.is_local()) {
            let class = person.receiver.class.unwrap();
            let published = conference.classes[&class].published.as_ref().unwrap();
            prop_assert_eq!(Some(published), classes.get(&class));
            prop_assert!(published.slots.iter().flatten().all(|id| conference.sources[id].desc.owner != person.info.id));
            if !person.channel {
                continue;
            }
            let empty = HashMap::new();
            let map = believes.get(&person.info.id).unwrap_or(&empty);
            for (slot, source) in published.slots.iter().enumerate() {
                if let Some(source) = source {
                    let name = conference.sources[source].desc.name.to_string();
                    prop_assert_eq!(map.get(&conference.video_ssrcs.all()[slot].ssrc), Some(&name));
                }
            }
        }
    }
}
