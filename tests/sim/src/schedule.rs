//! What happens to a world, and when.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::config::Options;

/// One thing that happens. Clients and nodes are numbers; what makes no sense at the moment does nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// A client wants in.
    Come(usize),
    /// A client leaves.
    Go(usize),
    /// A client's connection breaks; it is back after this time, or as a new one if that is too late.
    Drop(usize, Duration),
    /// A client says something.
    Say(usize),
    /// A client changes its presence.
    Change(usize),
    /// A client raises or lowers its hand.
    Hand(usize, bool),
    /// A moderator answers a raised hand.
    Decide(bool),
    /// A moderator sends somebody into the audience.
    Demote(usize),
    /// A client goes on stage without asking anybody.
    Push(usize),
    /// One direction of the link between the main node and a visitor node breaks. `true`: from the main node. What is under
    /// way arrives when it is repaired, or is lost.
    Cut(usize, bool, Loss, Duration),
    /// A node loses everything, and is away for this time.
    Restart(usize, Duration),
    /// The focus loses everything, and is away for this time.
    RestartFocus(Duration),
    /// The focus' connection to a node breaks.
    CutFocus(usize, Loss, Duration),
}

/// What becomes of what is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing is lost: the stream is resumed.
    Nothing,
    /// All of it is lost.
    All,
}

/// Things that happen, each after a pause.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule(pub Vec<(Duration, Op)>);

impl Schedule {
    /// A schedule that a seed says.
    pub fn random(o: &Options) -> Self {
        let mut rng = StdRng::seed_from_u64(o.seed ^ 0x5eed);
        let r = &mut rng;
        let n = r.random_range(10..70);
        let faults = r.random_range(0..4);
        let mut list: Vec<(Duration, Op)> =
            (0..o.clients.min(4)).map(|c| (Duration::from_millis(r.random_range(0..800)), Op::Come(c))).collect();
        for _ in 0..n {
            let pause = match r.random_range(0..10) {
                0 => r.random_range(5_000..20_000),
                1..4 => r.random_range(0..100),
                _ => r.random_range(100..2_000),
            };
            list.push((Duration::from_millis(pause), one(o, r, faults)));
        }
        Self(list)
    }
}

fn one(o: &Options, r: &mut StdRng, faults: u32) -> Op {
    let c = r.random_range(0..o.clients);
    let fault = r.random_range(0..16) < faults;
    if !fault {
        return match r.random_range(0..24) {
            0..6 => Op::Come(c),
            6 => Op::Go(c),
            7..12 => Op::Say(c),
            12..14 => Op::Change(c),
            14..17 => Op::Hand(c, true),
            17 => Op::Hand(c, false),
            18..21 => Op::Decide(r.random_range(0..3) > 0),
            21 => Op::Demote(r.random_range(0..8)),
            22 => Op::Push(c),
            _ => Op::Drop(c, pause(r)),
        };
    }
    let node = r.random_range(1..=o.vnodes);
    let loss = if r.random() { Loss::All } else { Loss::Nothing };
    match r.random_range(0..12) {
        0..5 => Op::Cut(node, r.random(), loss, pause(r)),
        5..7 => Op::Restart(node, pause(r)),
        7 => Op::Restart(0, pause(r)),
        8 => Op::RestartFocus(pause(r)),
        9 => Op::CutFocus(r.random_range(0..=o.vnodes), loss, pause(r)),
        _ => Op::Drop(c, pause(r)),
    }
}

fn pause(r: &mut StdRng) -> Duration {
    Duration::from_millis(match r.random_range(0..4) {
        0 => r.random_range(0..300),
        1..3 => r.random_range(300..6_000),
        _ => r.random_range(6_000..45_000),
    })
}
