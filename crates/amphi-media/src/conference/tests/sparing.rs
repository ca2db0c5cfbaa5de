use super::*;
use crate::source::{Semantics, SsrcGroup};

const RELAY: EndpointId = EndpointId(9);

/// A participant with three encodings, and a relay whose channel is up.
fn room(wanted_only: bool) -> Room {
    let mut room = Room::with(ConferenceConfig { relay_id: "here".into(), wanted_only, ..Default::default() });
    room.participant(1);
    room.feed(Input::Sources { endpoint: EndpointId(1), sources: vec![camera()] });
    room.add(9, Role::Relay { mesh: "1".into() });
    room
}

/// 180, 360 and 720 lines.
fn camera() -> SourceDesc {
    let ssrcs = vec![1, 2, 3];
    SourceDesc::new(
        EndpointId(1),
        Signaled {
            id: SourceId(10),
            name: "e1-v0".into(),
            kind: MediaKind::Video,
            video_type: None,
            groups: vec![SsrcGroup { semantics: Semantics::Sim, ssrcs: ssrcs.clone() }],
            ssrcs,
            synthetic: false,
        },
    )
}

fn spared(out: &[Output]) -> Option<Vec<(u32, u8)>> {
    out.iter().rev().find_map(|it| match it {
        Output::Spare { relay: RELAY, sources } => Some(sources.iter().map(|(id, n)| (id.0, *n)).collect()),
        _ => None,
    })
}

fn wish(room: &mut Room, source: &str, max_height: i32) -> Vec<Output> {
    let (bridge, source) = ("there".into(), source.into());
    room.say(9, Incoming::AddReceiver { bridge, source, max_height })
}

fn hello(room: &mut Room, version: &str) -> Vec<Output> {
    room.say(9, Incoming::ServerHello { version: Some(version.into()) })
}

#[test]
fn a_bridge_of_our_kind_gets_what_it_wants() {
    let mut room = room(true);
    let name = room.conference.sources[&SourceId(10)].desc.name.clone();
    let up = room.up(9);
    let said: Vec<&Outgoing> = up
        .iter()
        .filter_map(|it| match it {
            Output::Send { to: To::One(RELAY), message } => Some(message),
            _ => None,
        })
        .collect();
    assert_eq!(said.last(), Some(&&Outgoing::RelayHello), "after the wishes: {said:?}");
    assert_eq!(spared(&hello(&mut room, WISHES_TOLD)), None, "what it has not spoken of is sent");
    assert_eq!(spared(&wish(&mut room, &name, 0)), Some(vec![(10, 0)]));
    assert_eq!(spared(&wish(&mut room, &name, 180)), Some(vec![(10, 1)]));
    assert_eq!(spared(&wish(&mut room, &name, 200)), Some(vec![(10, 2)]), "what suffices and all below");
    assert_eq!(spared(&wish(&mut room, &name, 720)), Some(vec![]));
    wish(&mut room, &name, 0);
    // Another source of the name is not refused before that is said.
    room.feed(Input::Sources { endpoint: EndpointId(1), sources: Vec::new() });
    let again = room.feed(Input::Sources { endpoint: EndpointId(1), sources: vec![camera()] });
    assert_ne!(spared(&again), Some(vec![(10, 0)]));
    wish(&mut room, &name, 0);
    assert_eq!(spared(&room.feed(Input::ChannelDown(RELAY))), Some(vec![]), "without a channel it gets everything");
}

#[test]
fn others_get_everything() {
    for (ours, version) in [(true, "2.3.180"), (false, WISHES_TOLD)] {
        let mut room = room(ours);
        let name = room.conference.sources[&SourceId(10)].desc.name.clone();
        let up = room.up(9);
        let says = |it: &Output| matches!(it, Output::Send { message: Outgoing::RelayHello, .. });
        assert_eq!(up.iter().any(says), ours);
        hello(&mut room, version);
        assert_eq!(spared(&wish(&mut room, &name, 0)), None);
        assert_eq!(spared(&wish(&mut room, &name, 180)), None);
    }
}
