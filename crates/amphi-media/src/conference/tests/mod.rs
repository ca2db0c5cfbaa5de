use super::*;
use crate::allocation::ConstraintsUpdate;
use crate::ids::LayerIndex;
use crate::source::{Signaled, SourceDesc, VideoType};

mod audio;
mod classes;
mod law;
mod messages;
mod slots;
mod sparing;

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
