//! What a change costs in a conference of 30 senders and 10,000 visitors.
//!
//! `cargo bench -p amphi-media --bench decisions`

use std::alloc::System;
use std::time::{Duration, Instant};

use amphi_media::allocation::{AllocationConfig, ConstraintsUpdate, Plan, Settings, Staircase};
use amphi_media::conference::{
    ChannelKind, Conference, ConferenceConfig, Endpoint, Incoming, Input, Outgoing, Output, Role,
};
use amphi_media::ids::{ClassId, EndpointId, LayerIndex, MediaKind, SourceId};
use amphi_media::packet::AudioLevel;
use amphi_media::source::{Semantics, Signaled, SourceDesc, SsrcGroup};
use amphi_media::speech::{Levels, Speakers, SpeechConfig};
use divan::{AllocProfiler, Bencher, black_box};

#[global_allocator]
static ALLOC: AllocProfiler<System> = AllocProfiler::new(System);

const SENDERS: u32 = 30;
const VISITORS: u32 = 10_000;

fn main() {
    divan::main();
}

fn camera(id: u32) -> SourceDesc {
    let ssrcs = vec![id * 10, id * 10 + 1, id * 10 + 2];
    let signaled = Signaled {
        id: SourceId(id),
        name: format!("{id:08x}-v0").into(),
        kind: MediaKind::Video,
        video_type: None,
        groups: vec![SsrcGroup { semantics: Semantics::Sim, ssrcs: ssrcs.clone() }],
        ssrcs,
        synthetic: false,
    };
    let mut desc = SourceDesc::new(EndpointId(id), signaled);
    desc.set_rates(&rates(id), 0.0);
    desc
}

fn rates(id: u32) -> Vec<(LayerIndex, u64)> {
    let layers = (0..3u8).flat_map(|eid| (0..3u8).map(move |tid| LayerIndex::new(eid, 0, tid)));
    layers
        .enumerate()
        .map(|(i, layer)| (layer, [40, 80, 200, 120, 240, 600, 400, 900, 2400][i] * 1000 + u64::from(id) * 137))
        .collect()
}

/// As a client on a stage view sends it.
fn stage(speaker: u32) -> Incoming {
    let name = format!("{speaker:08x}-v0");
    Incoming::VideoConstraints(ConstraintsUpdate {
        last_n: Some(-1),
        on_stage: Some(vec![name.as_str().into()]),
        selected: Some(vec![]),
        default_max_height: Some(180),
        max_heights: Some(vec![(name.into(), 720)]),
        assumed_bandwidth: Some(-1),
    })
}

struct Hall {
    conference: Conference,
    now: Instant,
}

impl Hall {
    fn empty() -> Self {
        let mut hall = Self { conference: Conference::new(ConferenceConfig::default(), 7), now: Instant::now() };
        for id in 1..=SENDERS {
            hall.add(id, Role::Participant);
            hall.feed(Input::Sources { endpoint: EndpointId(id), sources: vec![camera(id)] });
            hall.feed(Input::Message { from: EndpointId(id), message: stage(1) });
        }
        hall.settle();
        hall
    }

    fn full() -> Self {
        let mut hall = Self::empty();
        for id in 0..VISITORS {
            hall.join(1000 + id);
        }
        hall.settle();
        hall
    }

    fn join(&mut self, id: u32) {
        self.add(id, Role::Visitor);
        self.feed(Input::Message { from: EndpointId(id), message: stage(1) });
    }

    fn add(&mut self, id: u32, role: Role) {
        let info = Endpoint {
            id: EndpointId(id),
            name: format!("{id:08x}").into(),
            role,
            ssrc_rewriting: true,
            mid_demux: false,
        };
        self.feed(Input::Added(info));
        self.feed(Input::ChannelUp { endpoint: EndpointId(id), kind: ChannelKind::Data });
    }

    fn feed(&mut self, input: Input) -> Vec<Output> {
        self.conference.handle(self.now, input);
        std::iter::from_fn(|| self.conference.poll_output()).collect()
    }

    /// Lets what waits be computed.
    fn settle(&mut self) -> Vec<Output> {
        self.now += Duration::from_millis(100);
        self.feed(Input::Tick)
    }
}

/// One visitor more, up to its class: every other one is there already.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn join_of_10_000_visitors(b: Bencher) {
    b.with_inputs(Hall::empty).bench_local_values(|mut hall| {
        for id in 0..VISITORS {
            hall.join(1000 + id);
        }
        hall.settle();
        hall
    });
}

/// Another one speaks: order, classes, staircases, slots, demand, messages.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn speaker_change_before_10_000_visitors(b: Bencher) {
    b.with_inputs(Hall::full).bench_local_values(|mut hall| {
        let speakers = Speakers { dominant: Some(EndpointId(9)), recent: vec![EndpointId(1)], silence: false };
        let mut out = hall.feed(Input::Speakers(speakers));
        out.extend(hall.settle());
        assert!(out.iter().any(|it| matches!(it, Output::Send { message: Outgoing::DominantSpeaker { .. }, .. })));
        (hall, out)
    });
}

/// Then all clients put the new one on stage: 10,000 messages, one new class, 10,000 rungs.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn stage_change_of_10_000_visitors(b: Bencher) {
    b.with_inputs(Hall::full).bench_local_values(|mut hall| {
        for id in 0..VISITORS {
            hall.feed(Input::Message { from: EndpointId(1000 + id), message: stage(9) });
        }
        let out = hall.settle();
        let moved = out.iter().filter(|it| matches!(it, Output::SetClass { .. })).count();
        assert!(moved > 0);
        (hall, out)
    });
}

/// All receivers of one class report their rung after a new staircase.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn rungs_of_10_000_visitors(b: Bencher) {
    b.with_inputs(|| {
        let mut hall = Hall::empty();
        let mut newest: Option<(ClassId, u32)> = None;
        for id in 0..VISITORS {
            hall.join(1000 + id);
        }
        for out in hall.settle() {
            if let Output::Class(class) = out {
                newest = Some((class.id, class.version));
            }
        }
        let speakers = Speakers { dominant: Some(EndpointId(9)), recent: vec![EndpointId(1)], silence: false };
        hall.feed(Input::Speakers(speakers));
        for out in hall.settle() {
            if let Output::Class(class) = out {
                newest = (class.excluded.is_none()).then_some((class.id, class.version)).or(newest);
            }
        }
        let (class, version) = newest.expect("a class of visitors");
        let receivers = (0..VISITORS).map(|id| (EndpointId(1000 + id), (id % 7) as u16)).collect();
        (hall, Input::Rungs { class, version, receivers })
    })
    .bench_local_values(|(mut hall, input)| {
        let out = hall.feed(input);
        (hall, out)
    });
}

#[divan::bench(args = [5, 30, 100])]
fn staircase(b: Bencher, sources: u32) {
    let config = AllocationConfig::default();
    let Incoming::VideoConstraints(update) = stage(1) else { return };
    let settings = Settings::initial(&config).updated(update, true, &config);
    let sources: Vec<_> = (1..=sources).map(camera).collect();
    b.bench_local(|| Staircase::new(&Plan::new(&config, &settings, black_box(&sources)), config.max_staircase_runs));
}

#[divan::bench]
fn rung(b: Bencher) {
    let config = AllocationConfig::default();
    let Incoming::VideoConstraints(update) = stage(1) else { return };
    let settings = Settings::initial(&config).updated(update, true, &config);
    let sources: Vec<_> = (1..=30).map(camera).collect();
    let stairs = Staircase::new(&Plan::new(&config, &settings, &sources), config.max_staircase_runs);
    b.bench_local(|| stairs.rung(black_box(1_234_567)));
}

/// One audio packet of one of 30 senders.
#[divan::bench]
fn level(b: Bencher) {
    let mut levels = Levels::new(SpeechConfig::default());
    (1..=SENDERS).for_each(|id| levels.add(EndpointId(id)));
    let (start, mut i) = (Instant::now(), 0u32);
    b.bench_local(|| {
        i += 1;
        let now = start + Duration::from_micros(u64::from(i) * 666);
        levels.level(now, EndpointId(i % SENDERS + 1), AudioLevel { level: (i * 31 % 90) as u8, voice: true })
    });
}

/// A decision about 30 speakers, every 300 ms.
#[divan::bench]
fn decision(b: Bencher) {
    let mut levels = Levels::new(SpeechConfig::default());
    (1..=SENDERS).for_each(|id| levels.add(EndpointId(id)));
    let mut now = Instant::now();
    b.bench_local(|| {
        now += Duration::from_millis(300);
        for id in 1..=SENDERS {
            levels.level(now, EndpointId(id), AudioLevel { level: (id * 3) as u8, voice: true });
        }
        levels.poll(now)
    });
}
