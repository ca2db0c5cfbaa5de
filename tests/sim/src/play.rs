//! Plays schedules, and tells which seed failed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::config::Options;
use crate::schedule::Schedule;
use crate::{World, check};

/// A schedule after which something was wrong.
#[derive(Debug)]
pub struct PlayError {
    /// The world.
    pub options: Options,
    /// What happened.
    pub schedule: Schedule,
    /// What was wrong.
    pub why: String,
}

impl std::fmt::Display for PlayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seed {}: {}", self.options.seed, self.why)
    }
}

impl Options {
    /// The world that a seed says.
    pub fn of_seed(seed: u64) -> Self {
        let mut r = StdRng::seed_from_u64(seed ^ 0x0b71);
        Self {
            seed,
            vnodes: r.random_range(1..=2),
            clients: r.random_range(3..=9),
            stage: r.random_range(1..=4),
            auto_allow: r.random_range(0..4) == 0,
            pace: (r.random_range(0..4) == 0).then(|| r.random_range(2..6)),
            keeps: r.random(),
            ..Self::default()
        }
    }
}

/// Plays a schedule, lets it become quiet, and looks at the result.
///
/// # Errors
/// What was wrong.
pub fn play(options: &Options, schedule: &Schedule) -> Result<(), PlayError> {
    play_with(options, schedule, |_| {})
}

/// As [`play`], in a world that is prepared first.
///
/// # Errors
/// What was wrong.
pub fn play_with(options: &Options, schedule: &Schedule, prepare: impl Fn(&mut World)) -> Result<(), PlayError> {
    let run = || {
        let mut w = World::new(options.clone());
        prepare(&mut w);
        w.pass(Duration::from_secs(1));
        for (pause, op) in &schedule.0 {
            w.pass(*pause);
            w.apply(op);
        }
        // The longest that anything waits for anything, twice.
        w.pass(Duration::from_secs(240));
        check::settled(&mut w)
    };
    let why = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(why)) => why,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            format!("panic: {}", text.unwrap_or_default())
        }
    };
    Err(PlayError { options: options.clone(), schedule: schedule.clone(), why })
}

/// Plays the schedule of a seed.
///
/// # Errors
/// What was wrong.
pub fn replay(seed: u64, verbose: bool) -> Result<(), PlayError> {
    let options = Options { verbose, ..Options::of_seed(seed) };
    let schedule = Schedule::random(&options);
    play(&options, &schedule)
}
