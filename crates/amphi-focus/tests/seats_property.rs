//! Whatever happens in whatever order, no more seats are given than there are, and nobody is left without an answer.

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use amphi_focus::{Input, NodeId, VnodeConfig};
use proptest::prelude::*;
use world::{World, config, v};

const SEATS: usize = 5;

#[derive(Clone, Debug)]
enum Step {
    Ask(u8),
    AskVisitor(u8),
    Join(u8),
    Leave(u8),
    Pass(u16),
    Lose,
    Back(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..24u8).prop_map(Step::Ask),
        1 => (0..24u8).prop_map(Step::AskVisitor),
        6 => (0..24u8).prop_map(Step::Join),
        2 => (0..24u8).prop_map(Step::Leave),
        3 => (1..40_000u16).prop_map(Step::Pass),
        1 => Just(Step::Lose),
        1 => any::<bool>().prop_map(Step::Back),
    ]
}

/// Plays the steps. Whatever is wrong panics.
fn play(steps: &[Step], judges: bool) {
    let mut c = config(0);
    c.max_participants = SEATS as u32;
    c.vnodes.push(VnodeConfig::new("v1"));
    // An end in between would begin another conference; that is not what is looked at here.
    c.initial_timeout = Duration::from_secs(1_000_000);
    c.empty_grace = Duration::from_secs(1_000_000);
    let mut w = World::new(c);
    w.judges = judges;
    // What the outside knows: promises by person, people present.
    let mut promised: BTreeMap<u8, Instant> = BTreeMap::new();
    let mut present: BTreeSet<u8> = BTreeSet::new();
    let mut asked = Vec::new();
    for step in steps.iter().cloned() {
        match step {
            Step::Ask(p) if !present.contains(&p) => {
                let id = w.ask(&format!("m{p}"));
                asked.push(id);
                if w.place(id) == "main" {
                    promised.insert(p, w.now + Duration::from_secs(60));
                } else {
                    promised.remove(&p);
                }
            }
            Step::AskVisitor(p) if !present.contains(&p) => {
                asked.push(w.ask_visitor(&format!("m{p}")));
                promised.remove(&p);
            }
            // Only those come who were told to.
            Step::Join(p) if promised.contains_key(&p) => {
                promised.remove(&p);
                present.insert(p);
                w.join(&format!("n{p}"));
            }
            Step::Leave(p) if present.remove(&p) => w.leave(&format!("n{p}")),
            Step::Pass(ms) => {
                w.pass(Duration::from_millis(u64::from(ms)));
                let now = w.now;
                promised.retain(|_, until| *until > now);
                // The model room forgets what nobody took, as the real one does.
                if promised.is_empty()
                    && let Some(r) = w.rooms.get_mut(&(NodeId::Main, world::ROOM.into()))
                {
                    r.reserved.clear();
                }
            }
            Step::Lose => w.crash(v(1)),
            Step::Back(resumed) => w.connect(v(1), resumed),
            _ => {}
        }
        assert!(promised.len() + present.len() <= SEATS, "{} + {}", promised.len(), present.len());
    }
    w.handle(Input::Disconnected { node: NodeId::Main });
    w.pass(Duration::from_secs(60));
    for id in asked {
        assert!(w.answers.contains_key(&id), "request {id} has no answer");
    }
    for n in w.focus.nodes() {
        assert_eq!((n.visitors, n.pending), (0, 0));
    }
}

/// Worlds that are played: `AMPHI_CASES`, or as many as take a few seconds.
fn cases() -> u32 {
    std::env::var("AMPHI_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn seats_granted_and_present_never_exceed_the_stage(steps in prop::collection::vec(step(), 1..80), judges: bool) {
        play(&steps, judges);
    }
}

#[test]
fn a_seat_of_somebody_who_came_and_left_is_not_given_twice() {
    use Step::{Ask, Join, Leave};
    let steps = [Ask(2), Ask(13), Join(3), Ask(3), Join(13), Ask(0), Ask(1), Leave(13), Ask(13), Ask(4)];
    play(&steps, true);
}
