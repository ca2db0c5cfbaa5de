//! Random schedules. `AMPHI_SIM_SEED=n` plays one of them and tells everything; `AMPHI_SIM_RUNS=n` plays so many.

use std::time::Instant;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn whatever_happens_it_settles() {
    if let Some(seed) = number("AMPHI_SIM_SEED") {
        amphi_sim::replay(seed, true).unwrap_or_else(|e| panic!("{e}\n{:#?}", e.schedule));
        return;
    }
    let first = number("AMPHI_SIM_FIRST").unwrap_or(1);
    let runs = number("AMPHI_SIM_RUNS").unwrap_or(300);
    let begin = Instant::now();
    std::panic::set_hook(Box::new(|_| {}));
    let failed: Vec<String> =
        (first..first + runs).filter_map(|seed| amphi_sim::replay(seed, false).err()).map(|e| e.to_string()).collect();
    let _ = std::panic::take_hook();
    eprintln!("{runs} schedules in {:?}", begin.elapsed());
    assert!(failed.is_empty(), "{} of {runs} failed; AMPHI_SIM_SEED=n shows one\n{}", failed.len(), failed.join("\n"));
}
