//! One scenario with everything in it, and every fault at every place of it.

use std::time::Duration;

use amphi_sim::{Loss, Op, Options, PlayError, Schedule, play, play_with};

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn options() -> Options {
    Options { seed: 7, vnodes: 2, clients: 6, stage: 2, ..Options::default() }
}

/// Two on stage, four in the audience of two nodes; chat on both sides, a promotion, a refusal, a demotion, a leave.
fn scenario() -> Vec<(Duration, Op)> {
    vec![
        (ms(100), Op::Come(0)),
        (ms(900), Op::Come(1)),
        (ms(900), Op::Come(2)),
        (ms(700), Op::Come(3)),
        (ms(400), Op::Come(4)),
        (ms(400), Op::Come(5)),
        (ms(1500), Op::Say(0)),
        (ms(300), Op::Say(2)),
        (ms(100), Op::Change(1)),
        (ms(400), Op::Hand(2, true)),
        (ms(700), Op::Decide(true)),
        (ms(100), Op::Say(1)),
        (ms(1200), Op::Hand(3, true)),
        (ms(600), Op::Decide(false)),
        (ms(500), Op::Say(4)),
        (ms(300), Op::Go(1)),
        (ms(800), Op::Demote(1)),
        (ms(900), Op::Say(0)),
        (ms(300), Op::Come(1)),
        (ms(900), Op::Say(3)),
    ]
}

fn report(failed: &[(String, PlayError)]) {
    let lines: Vec<String> = failed.iter().map(|(what, e)| format!("{what}: {}", e.why)).collect();
    assert!(failed.is_empty(), "{} failed\n{}", failed.len(), lines.join("\n"));
}

#[test]
fn without_a_fault() {
    play(&options(), &Schedule(scenario())).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn the_link_breaks_before_any_stanza() {
    let mut failed = Vec::new();
    for k in 0..40 {
        for (vnode, from_main) in [(1, true), (1, false)] {
            for (loss, pause) in [(Loss::Nothing, ms(1500)), (Loss::All, ms(1500)), (Loss::All, ms(12_000))] {
                let played = play_with(&options(), &Schedule(scenario()), |w| {
                    w.cut_at(vnode, from_main, k, loss, pause);
                });
                let what = format!("node {vnode}, from main {from_main}, stanza {k}, lost {loss:?}, {pause:?}");
                failed.extend(played.err().map(|e| (what, e)));
            }
        }
    }
    report(&failed);
}

#[test]
fn any_part_restarts_at_any_step() {
    let mut failed = Vec::new();
    for step in 1..=scenario().len() {
        let faults = [
            Op::Restart(0, ms(700)),
            Op::Restart(1, ms(700)),
            Op::Restart(2, ms(9000)),
            Op::RestartFocus(ms(500)),
            Op::RestartFocus(ms(30_000)),
            Op::CutFocus(0, Loss::Nothing, ms(2000)),
            Op::CutFocus(1, Loss::All, ms(2000)),
            Op::Drop(0, ms(3000)),
            Op::Drop(2, ms(25_000)),
        ];
        for fault in faults {
            let mut list = scenario();
            list.insert(step, (ms(50), fault.clone()));
            failed.extend(play(&options(), &Schedule(list)).err().map(|e| (format!("{fault:?} at step {step}"), e)));
        }
    }
    report(&failed);
}
