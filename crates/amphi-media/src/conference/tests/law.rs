//! Laws that hold whatever happens.

use proptest::prelude::*;

use super::*;

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
