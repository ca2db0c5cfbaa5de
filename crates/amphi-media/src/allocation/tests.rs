use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::ids::{EndpointId, LayerIndex, MediaKind, SourceId};
use crate::source::{Semantics, Signaled, SourceDesc, SsrcGroup, VideoType};

/// VP8 simulcast of 180, 360 and 720 lines, three temporal layers each: 200 kbps, 500 kbps, 2 Mbps at most.
const CAMERA: [[u64; 3]; 3] = [[50, 100, 200], [150, 300, 500], [500, 1000, 2000]];

fn source(id: u32, video_type: VideoType, kbps: &[[u64; 3]]) -> SourceDesc {
    let ssrcs: Vec<u32> = (0..kbps.len() as u32).map(|eid| id * 10 + eid).collect();
    let signaled = Signaled {
        id: SourceId(id),
        name: format!("{id}-v0").into(),
        kind: MediaKind::Video,
        video_type: Some(video_type),
        groups: vec![SsrcGroup { semantics: Semantics::Sim, ssrcs: ssrcs.clone() }],
        ssrcs,
        synthetic: false,
    };
    let mut desc = SourceDesc::new(EndpointId(id), signaled);
    let rates: Vec<_> = kbps
        .iter()
        .enumerate()
        .flat_map(|(eid, layers)| {
            layers.iter().enumerate().map(move |(tid, kbps)| (LayerIndex::new(eid as u8, 0, tid as u8), kbps * 1000))
        })
        .collect();
    desc.set_rates(&rates, 0.0);
    desc
}

fn camera(id: u32) -> SourceDesc {
    source(id, VideoType::Camera, &CAMERA)
}

fn names(ids: &[u32]) -> Vec<Arc<str>> {
    ids.iter().map(|id| format!("{id}-v0").into()).collect()
}

fn settings(on_stage: &[u32], selected: &[u32], default: i32, heights: &[(u32, i32)]) -> Settings {
    let config = AllocationConfig::default();
    let update = ConstraintsUpdate {
        on_stage: Some(names(on_stage)),
        selected: Some(names(selected)),
        default_max_height: Some(default),
        max_heights: Some(heights.iter().map(|(id, height)| (format!("{id}-v0").into(), *height)).collect()),
        ..ConstraintsUpdate::default()
    };
    Settings::initial(&config).updated(update, true, &config)
}

/// Source, encoding and temporal layer of what is forwarded.
fn got(plan: &Plan, kbps: u64) -> Vec<(u32, u8, u8)> {
    let targets = plan.allocate(kbps * 1000).targets;
    targets.iter().filter_map(|it| it.layer.map(|layer| (it.source.0, layer.encoding(), layer.temporal()))).collect()
}

#[test]
fn tiles_are_served_in_turn_by_order_of_speech() {
    let sources: Vec<_> = (1..=4).map(camera).collect();
    let plan = Plan::new(&AllocationConfig::default(), &settings(&[], &[], 180, &[]), &sources);
    assert_eq!(got(&plan, 50), [], "the reference asks for more than a layer costs");
    assert_eq!(got(&plan, 51), [(1, 0, 0)]);
    assert_eq!(got(&plan, 151), [(1, 0, 0), (2, 0, 0), (3, 0, 0)]);
    assert_eq!(got(&plan, 301), [(1, 0, 1), (2, 0, 1), (3, 0, 0), (4, 0, 0)]);
    assert_eq!(got(&plan, 10_000), [(1, 0, 2), (2, 0, 2), (3, 0, 2), (4, 0, 2)], "never above 180 lines");
    assert_eq!(plan.ideal_bps(), 800_000);
}

#[test]
fn larger_tiles_skip_slow_large_layers() {
    let sources = [camera(1), camera(2)];
    let plan = Plan::new(&AllocationConfig::default(), &settings(&[], &[], 720, &[]), &sources);
    // Below 360 lines every frame rate comes into question, from 360 on only 30 per second.
    let layers: Vec<_> = plan.wanted[0].candidates.layers.iter().map(|it| (it.0.encoding(), it.0.temporal())).collect();
    assert_eq!(layers, [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2)]);
    assert_eq!(got(&plan, 1000), [(1, 1, 2), (2, 0, 2)]);
    assert_eq!(got(&plan, 4001), [(1, 2, 2), (2, 2, 2)]);
}

#[test]
fn encodings_without_temporal_layers_are_not_slow() {
    // H.264, or VP8 of a simple sender: of the three layers assumed, only the lowest ever comes.
    let it = source(1, VideoType::Camera, &[[200, 0, 0], [500, 0, 0], [2000, 0, 0]]);
    let plan = Plan::new(&AllocationConfig::default(), &settings(&[1], &[], 180, &[(1, 720)]), &[it]);
    assert_eq!(got(&plan, 501), [(1, 1, 0)]);
    assert_eq!(got(&plan, 2001), [(1, 2, 0)]);
}

#[test]
fn on_a_stage_with_little_bandwidth_the_others_starve() {
    let sources: Vec<_> = (1..=3).map(camera).collect();
    let plan = Plan::new(&AllocationConfig::default(), &settings(&[3], &[], 180, &[(3, 720)]), &sources);
    assert_eq!(plan.wanted.iter().map(|it| it.source.0).collect::<Vec<_>>(), [3, 1, 2]);
    assert_eq!(got(&plan, 50), [(3, 0, 0)]);
    assert_eq!(got(&plan, 499), [(3, 0, 2)], "not yet 360 lines: nobody else gets anything");
    assert_eq!(got(&plan, 551), [(3, 1, 2), (1, 0, 0)]);
    assert_eq!(got(&plan, 2_401), [(3, 2, 2), (1, 0, 2), (2, 0, 2)]);
}

#[test]
fn a_screen_on_stage_may_cost_more_than_there_is() {
    let screen = || source(9, VideoType::Desktop, &[[400, 600, 900], [800, 1500, 2500]]);
    let sources = [camera(1), screen()];
    let wanting = settings(&[9], &[], 180, &[(9, 1080)]);
    let plan = Plan::new(&AllocationConfig::default(), &wanting, &sources);
    // The cheapest layer of the greatest height costs 800 kbps: from 300 kbps on it is sent, below that a cheaper one.
    let poor = plan.allocate(299_000);
    assert_eq!((poor.targets[0].layer, poor.oversending), (Some(LayerIndex::new(0, 0, 1)), true));
    let allocation = plan.allocate(300_000);
    assert_eq!((allocation.targets[0].layer, allocation.bps), (Some(LayerIndex::new(1, 0, 0)), 800_000));
    assert_eq!(allocation.targets[1].layer, None, "nothing is left for others");
    assert!(plan.allocate(5_000_000).targets.iter().all(|it| it.layer == it.ideal));
    let strict = AllocationConfig { allow_oversend: false, ..AllocationConfig::default() };
    assert_eq!(got(&Plan::new(&strict, &wanting, &sources), 300), []);
}

#[test]
fn a_higher_layer_that_costs_less_is_taken_instead() {
    let sources = [source(1, VideoType::Camera, &[[50, 100, 200], [150, 300, 500], [300, 350, 400]])];
    let plan = Plan::new(&AllocationConfig::default(), &settings(&[], &[], 720, &[]), &sources);
    assert_eq!(got(&plan, 501), [(1, 2, 2)]);
    assert_eq!(plan.allocate(501_000).bps, 400_000);
}

#[test]
fn last_n_counts_only_what_has_video() {
    let mut sources: Vec<_> = (1..=5).map(camera).collect();
    sources[0].video_type = VideoType::None;
    sources[2].video_type = VideoType::Disabled;
    let mut wanting = settings(&[1], &[5], 180, &[(2, 0)]);
    wanting.last_n = 2;
    let plan = Plan::new(&AllocationConfig::default(), &wanting, &sources);
    let effective: Vec<_> = plan.effective.iter().map(|(id, height)| (id.0, *height)).collect();
    assert_eq!(
        effective,
        [(5, 180), (2, 0), (4, 180), (1, 0), (3, 0)],
        "a source that is not wanted does not count either"
    );
    let limited = AllocationConfig { last_n: 1, ..AllocationConfig::default() };
    assert_eq!(Plan::new(&limited, &wanting, &sources).wanted.len(), 1);
    let by_size = AllocationConfig { conference_last_n: vec![(3, 4), (6, 1), (7, 0)], ..AllocationConfig::default() };
    assert_eq!(Plan::new(&by_size, &wanting, &sources).wanted.len(), 1);
}

#[test]
fn nothing_measured_yet_is_sent_at_once() {
    let sources = [source(1, VideoType::Camera, &[[0; 3]; 3])];
    let plan = Plan::new(&AllocationConfig::default(), &settings(&[1], &[], 180, &[(1, 360)]), &sources);
    assert_eq!(got(&plan, 30), [(1, 1, 2)]);
}

#[test]
fn before_the_first_message_nothing_is_wanted_and_after_it_thumbnails() {
    let config = AllocationConfig::default();
    let sources = [camera(1)];
    let initial = Settings::initial(&config);
    assert!(Plan::new(&config, &initial, &sources).wanted.is_empty());
    let first = initial.updated(ConstraintsUpdate { last_n: Some(-1), ..Default::default() }, true, &config);
    assert_eq!(Plan::new(&config, &first, &sources).effective, [(SourceId(1), 180)]);
    let off = first.updated(ConstraintsUpdate { default_max_height: Some(0), ..Default::default() }, false, &config);
    let kept = off.updated(ConstraintsUpdate { last_n: Some(3), ..Default::default() }, false, &config);
    assert_eq!((kept.default_max_height, kept.last_n), (0, 3), "what is absent stays");
}

#[test]
fn a_rung_is_left_only_when_bandwidth_moved_by_more_than_fifteen_percent() {
    let mut held = Hysteresis::new(1_000_000);
    assert!(!held.update(1_150_000));
    assert!(!held.update(850_000));
    assert!(held.update(849_999));
    assert_eq!(held.used(), 849_999);
    assert!(held.update(1_000_000));
    assert!(Hysteresis::default().update(1), "from nothing to something");
}

fn any_source(id: u32) -> impl Strategy<Value = SourceDesc> {
    let types = [VideoType::Camera, VideoType::Camera, VideoType::Desktop, VideoType::DesktopHighFps, VideoType::None];
    let rates = prop::collection::vec(prop::array::uniform3(prop_oneof![Just(0), 1u64..3000]), 1..4);
    (prop::sample::select(types.to_vec()), rates, any::<bool>()).prop_map(move |(video_type, rates, unknown)| {
        let mut desc = source(id, video_type, &rates);
        if unknown {
            let shapes: Vec<_> = desc.encodings[0].layers.iter().map(|it| it.index).collect();
            for layer in desc.encodings.iter_mut().flat_map(|it| &mut it.layers).filter(|it| shapes.contains(&it.index))
            {
                layer.fps = None;
            }
        }
        desc
    })
}

fn any_case() -> impl Strategy<Value = (Settings, Vec<SourceDesc>)> {
    let height = || prop::sample::select(vec![-1, 0, 180, 360, 720, 1080]);
    let sources = (1u32..9).prop_flat_map(|n| (1..=n).map(any_source).collect::<Vec<_>>());
    let stage = prop::collection::vec(1u32..9, 0..3);
    let selected = prop::collection::vec(1u32..9, 0..3);
    let heights = prop::collection::vec((1u32..9, height()), 0..5);
    (sources, stage, selected, height(), heights, -1i32..8).prop_map(
        |(sources, stage, selected, default, heights, n)| {
            let mut settings = settings(&stage, &selected, default, &heights);
            settings.last_n = n;
            (settings, sources)
        },
    )
}

proptest! {
    #[test]
    fn the_staircase_is_the_allocation((settings, sources) in any_case(), probes in prop::collection::vec(0u64..30_000_000, 40)) {
        let config = AllocationConfig::default();
        let plan = Plan::new(&config, &settings, &sources);
        let stairs = Staircase::new(&plan, config.max_staircase_runs);
        let edges = stairs.rungs.iter().flat_map(|it| [it.at.saturating_sub(1), it.at, it.at + 1]);
        for bandwidth in probes.into_iter().chain(edges).chain([u64::MAX]) {
            let allocation = plan.allocate(bandwidth);
            let targets: Vec<_> = allocation.targets.iter().filter_map(|it| Some((it.source, it.layer?))).collect();
            let rung = &stairs.rungs[stairs.rung(bandwidth)];
            prop_assert_eq!(&targets[..], &*rung.targets, "at {}", bandwidth);
            prop_assert_eq!((allocation.bps, allocation.oversending), (rung.bps, rung.oversending));
        }
        for pair in stairs.rungs.windows(2) {
            prop_assert!(pair[0].at < pair[1].at);
        }
    }

    #[test]
    fn nothing_is_spent_that_is_not_there_unless_a_screen_is_on_stage((settings, sources) in any_case(), kbps in 0u64..20_000) {
        let plan = Plan::new(&AllocationConfig { allow_oversend: false, ..Default::default() }, &settings, &sources);
        let allocation = plan.allocate(kbps * 1000);
        prop_assert!(allocation.bps <= kbps * 1000 && !allocation.oversending);
    }
}
