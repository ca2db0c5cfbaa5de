//! One speaker: its last fifty levels and what they say about speech now, for a moment, for a while (Volfin and Cohen, with the constants of
//! `spec/bridge.md` 4.7).

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::ids::EndpointId;

/// Levels looked at: ten times five.
const HISTORY: usize = 50;
const MEDIUM: usize = 5;
const LONG: usize = 10;
/// A step of the immediate activity, and how far above its own silence a speaker speaks.
const STEP: u8 = 10;
const MEDIUM_THRESHOLD: u8 = 7;
const LONG_THRESHOLD: u8 = 4;
/// Fifteen seconds of levels of 20 ms.
const MINIMUM_WINDOW: u32 = 750;
/// Without a level for so long, a zero takes its place.
const IDLE: Duration = Duration::from_millis(40);

#[derive(Debug)]
pub(super) struct Speaker {
    pub(super) id: EndpointId,
    pub(super) last_level: Option<Instant>,
    /// Ring; `newest` is the place of the last level.
    levels: [u8; HISTORY],
    newest: usize,
    /// Until when missing levels have been filled with zeros.
    filled: Option<Instant>,
    /// The quietest level other than zero: this speaker's silence.
    minimum: u8,
    next_minimum: u8,
    window: u32,
    energy: u8,
}

impl Speaker {
    pub(super) fn new(id: EndpointId) -> Self {
        Self {
            id,
            last_level: None,
            levels: [0; HISTORY],
            newest: 0,
            filled: None,
            minimum: 0,
            next_minimum: 0,
            window: 0,
            energy: 0,
        }
    }

    /// Takes a level (127 loudest).
    pub(super) fn push(&mut self, now: Instant, level: u8) {
        self.fill(now);
        self.put(level);
        self.last_level = Some(now);
        self.filled = Some(now);
        self.track_minimum(level);
    }

    /// Whether a level is speech and not this speaker's silence.
    pub(super) fn speaks(&self, level: u8) -> bool {
        level > 0 && level >= self.minimum.saturating_add(STEP)
    }

    /// Energy after one more level.
    pub(super) fn filter(&mut self, level: u8, alpha_pct: u32) -> u8 {
        let alpha = alpha_pct.min(100);
        let filtered = if self.speaks(level) { u32::from(level) } else { 0 };
        self.energy = ((alpha * filtered + (100 - alpha) * u32::from(self.energy) + 50) / 100) as u8;
        self.energy
    }

    /// Speech activity now, for a moment, for a while.
    pub(super) fn scores(&mut self, now: Instant) -> [f64; 3] {
        self.fill(now);
        let immediate = |age: usize| {
            let level = self.levels[(self.newest + HISTORY - age) % HISTORY];
            if self.speaks(level) { level / STEP } else { 0 }
        };
        let mut long = 0;
        let mut medium_now = 0;
        for k in 0..LONG {
            let medium = (0..MEDIUM).filter(|i| immediate(k * MEDIUM + i) > MEDIUM_THRESHOLD).count() as u8;
            if k == 0 {
                medium_now = medium;
            }
            long += u8::from(medium > LONG_THRESHOLD);
        }
        [IMMEDIATE.of(immediate(0).min(13)), MEDIUM_SCORE.of(medium_now), LONG_SCORE.of(long)]
    }

    fn put(&mut self, level: u8) {
        self.newest = (self.newest + 1) % HISTORY;
        self.levels[self.newest] = level;
    }

    /// One zero for every 40 ms that passed without a level.
    fn fill(&mut self, now: Instant) {
        let Some(from) = self.filled else { return };
        let missing = (now.saturating_duration_since(from).as_millis() / IDLE.as_millis()).min(1 << 20) as u32;
        for _ in 0..missing.min(HISTORY as u32) {
            self.put(0);
        }
        if missing > 0 {
            self.filled = Some(if missing == 1 << 20 { now } else { from + IDLE * missing });
        }
    }

    fn track_minimum(&mut self, level: u8) {
        if level == 0 {
            return;
        }
        if self.minimum == 0 || level < self.minimum {
            (self.minimum, self.next_minimum, self.window) = (level, 0, 0);
            return;
        }
        self.next_minimum = if self.next_minimum == 0 { level } else { self.next_minimum.min(level) };
        self.window += 1;
        if self.window >= MINIMUM_WINDOW {
            // The geometric mean rises slowly, as a minimum should.
            self.minimum = (f64::from(self.minimum) * f64::from(self.next_minimum)).sqrt() as u8;
            (self.next_minimum, self.window) = (0, 0);
        }
    }
}

/// Scores of all values of one kind of activity: `ln C(n,v) + v ln p + (n-v) ln(1-p) - ln lambda + lambda v`, p = 1/2.
struct Scores(Vec<f64>);

impl Scores {
    fn new(n: u32, lambda: f64) -> Self {
        let choose = |v: u32| (1..=v).map(|i| f64::from(n - v + i) / f64::from(i)).product::<f64>();
        let score = |v: u32| choose(v).ln() + f64::from(n) * 0.5f64.ln() - lambda.ln() + lambda * f64::from(v);
        Self((0..=n).map(|v| score(v).max(1e-10)).collect())
    }

    fn of(&self, value: u8) -> f64 {
        self.0[usize::from(value).min(self.0.len() - 1)]
    }
}

static IMMEDIATE: LazyLock<Scores> = LazyLock::new(|| Scores::new(13, 0.78));
static MEDIUM_SCORE: LazyLock<Scores> = LazyLock::new(|| Scores::new(5, 24.0));
static LONG_SCORE: LazyLock<Scores> = LazyLock::new(|| Scores::new(10, 47.0));
