//! The rate that the loss allows: what share of it a path loses anyway, and what comes from sending too much.
//!
//! After the second version of the loss-based estimator of libwebrtc: candidates around the present estimate are judged by how likely they
//! make the loss that was seen, given a path that loses an inherent part of all packets and everything above its capacity. Left out are its
//! experiments that are off by default (probe integration, bound by link capacity, padding states); the acknowledged rate is a candidate only
//! while loss is high, since with a forwarding bridge it is often low because little is to be sent.

/// An observation covers at least this send time, in microseconds.
const SPAN: i64 = 250_000;
const OBSERVATIONS: usize = 15;
const MIN_OBSERVATIONS: usize = 3;
const CANDIDATES: [f64; 3] = [1.02, 1.0, 0.95];
/// An observation counts this much less than the next.
const FADING: f64 = 0.9;
const INHERENT_MIN: f64 = 1e-3;
const INHERENT_START: f64 = 0.01;
/// Inherent loss is at most this, plus 100 kbit/s divided by the rate.
const INHERENT_OFFSET: f64 = 0.05;
const BALANCE: f64 = 100_000.0;
const NEWTON_STEP: f64 = 0.75;
const BIAS: f64 = 0.0002;
const LOG_BIAS: f64 = 0.02;
/// High rates are preferred while less than this is lost.
const PREFERENCE_BELOW: f64 = 0.15;
const PREFERENCE_SMOOTHING: f64 = 0.002;
/// Growth while loss limits, as a multiple of what arrives; less in the time after a decrease.
const RAMP: f64 = 1.5;
const RAMP_HELD: f64 = 1.2;
/// Growth in one window of [`WINDOW`].
const GROWTH: f64 = 1.3;
const WINDOW: i64 = 300_000;
/// Loss does not take the estimate below this part of what arrives.
const FLOOR: f64 = 0.85;
/// After a decrease the estimate is held so long; twice as long after each further one, up to the maximum.
const HOLD: i64 = 300_000;
const HOLD_MAX: i64 = 10_000_000;

#[derive(Clone, Copy, Debug, Default)]
struct Observation {
    bytes: u32,
    lost: u32,
    /// Bit/s at which it was sent.
    rate: f32,
}

/// Loss towards one receiver.
#[derive(Clone, Debug)]
pub(super) struct LossModel {
    ring: [Observation; OBSERVATIONS],
    count: u32,
    open: Observation,
    /// Send time at which the open observation began and at which its last packet left.
    open_from: Option<i64>,
    open_to: i64,
    rate: f64,
    inherent: f64,
    limiting: bool,
    window: (i64, f64),
    held: (i64, f64),
    hold: i64,
}

impl LossModel {
    pub(super) fn new(rate: f64) -> Self {
        Self {
            ring: [Observation::default(); OBSERVATIONS],
            count: 0,
            open: Observation::default(),
            open_from: None,
            open_to: 0,
            rate,
            inherent: INHERENT_START,
            limiting: false,
            window: (0, f64::MAX),
            held: (i64::MIN, f64::MAX),
            hold: HOLD,
        }
    }

    /// Whether loss, not delay, limits.
    pub(super) fn is_limiting(&self) -> bool {
        self.limiting
    }

    /// Found out otherwise.
    pub(super) fn set(&mut self, rate: f64) {
        self.rate = rate;
        self.limiting = false;
        self.held = (i64::MIN, f64::MAX);
        self.window = (i64::MIN, f64::MAX);
    }

    pub(super) fn on_packet(&mut self, sent: i64, size: u16, lost: bool, was_lost: bool) {
        let size = u32::from(size);
        if was_lost {
            // Only late: what was counted as lost is taken back, if it still can be.
            self.open.lost = self.open.lost.saturating_sub(size);
            return;
        }
        self.open_from.get_or_insert(sent);
        self.open_to = self.open_to.max(sent);
        self.open.bytes = self.open.bytes.saturating_add(size);
        if lost {
            self.open.lost = self.open.lost.saturating_add(size);
        }
    }

    /// The rate that loss allows, at most that which delay allows. `arriving` is the rate of arrival; `idle`: far less is sent than could be, so
    /// that it is no measure of what passes.
    pub(super) fn update(&mut self, now: i64, delay: f64, arriving: Option<f64>, idle: bool) -> f64 {
        if self.close() {
            self.reestimate(now, delay, arriving, idle);
        }
        if !self.limiting {
            self.rate = delay;
        }
        self.rate.min(delay)
    }

    fn close(&mut self) -> bool {
        let Some(from) = self.open_from.filter(|from| self.open_to - from >= SPAN) else { return false };
        let span = (self.open_to - from) as f64;
        self.open.rate = (f64::from(self.open.bytes) * 8e6 / span) as f32;
        self.ring[self.count as usize % OBSERVATIONS] = self.open;
        self.count = self.count.wrapping_add(1);
        // A pause between two observations is not part of either.
        (self.open, self.open_from) = (Observation::default(), None);
        self.count as usize >= MIN_OBSERVATIONS
    }

    /// Observations with their weights, newest first.
    fn observations(&self) -> impl Iterator<Item = (f64, f64, f64, f64)> + '_ {
        let held = (self.count as usize).min(OBSERVATIONS);
        let newest = self.count as usize + OBSERVATIONS - 1;
        (0..held).scan(1.0, move |weight, back| {
            let Observation { bytes, lost, rate } = self.ring[(newest - back) % OBSERVATIONS];
            let (lost, bytes) = (f64::from(lost.min(bytes)) / 1000.0, f64::from(bytes) / 1000.0);
            let item = (*weight, bytes - lost, lost, f64::from(rate));
            *weight *= FADING;
            Some(item)
        })
    }

    fn average_loss(&self) -> f64 {
        let (all, lost) = self
            .observations()
            .fold((0.0, 0.0), |(all, gone), (w, came, lost, _)| (all + w * (came + lost), gone + w * lost));
        if all > 0.0 { lost / all } else { 0.0 }
    }

    fn reestimate(&mut self, now: i64, delay: f64, arriving: Option<f64>, idle: bool) {
        let loss = self.average_loss();
        let present = self.rate.min(delay);
        let instant = if loss > INHERENT_OFFSET { BALANCE / (loss - INHERENT_OFFSET) } else { f64::MAX };
        let ceiling = if self.limiting && now < self.window.0 { self.window.1.max(present) } else { f64::MAX };
        let acked = arriving.filter(|&rate| !idle && rate < present && loss > PREFERENCE_BELOW / 2.0);
        let candidates = CANDIDATES.iter().map(|factor| factor * present).chain(acked).chain([delay]);
        let mut best = (f64::NEG_INFINITY, present, self.inherent);
        for rate in candidates {
            let rate = rate.min(ceiling).min(delay);
            let inherent = self.newton(rate);
            let value = self.likelihood(rate, inherent, loss);
            if value > best.0 {
                best = (value, rate, inherent);
            }
        }
        let (_, mut rate, inherent) = best;
        self.inherent = inherent;
        // More is lost than the path alone explains: no time to grow.
        if rate > present && loss > inherent {
            rate = present;
        }
        if let Some(arriving) = arriving.filter(|_| rate > present && self.limiting) {
            let ramp = if now < self.held.0 { RAMP_HELD } else { RAMP };
            rate = rate.min((arriving * ramp).max(present));
        }
        // What arrives does pass, however much is lost of what is above it. A little less while packets still are lost, so that a full queue
        // drains; but not again and again for loss of the past.
        let newest = self.observations().next().map_or(0.0, |(_, came, lost, _)| lost / (came + lost).max(1e-3));
        let floor = if newest > INHERENT_OFFSET { FLOOR } else { 1.0 };
        rate = rate.min(instant).max((floor * arriving.unwrap_or(0.0)).min(present));
        if now < self.held.0 {
            rate = rate.min(self.held.1);
        }
        if rate < present {
            if !(self.limiting && now < self.held.0) {
                self.hold = if self.limiting { (self.hold * 2).min(HOLD_MAX) } else { HOLD };
            }
            self.held = (now + self.hold, rate);
        }
        if now >= self.window.0 || rate < present {
            self.window = (now + WINDOW, rate * GROWTH);
        }
        self.limiting = rate < delay * 0.999;
        self.rate = rate;
    }

    /// Loss of packets sent at `sent` over a path of `rate` that loses `inherent` anyway.
    fn loss(inherent: f64, rate: f64, sent: f64) -> f64 {
        let excess = if sent > rate { (1.0 - inherent) * (sent - rate) / sent } else { 0.0 };
        (inherent + excess).clamp(1e-6, 1.0 - 1e-6)
    }

    /// One step towards the inherent loss that explains best what was seen.
    fn newton(&self, rate: f64) -> f64 {
        let start = self.feasible(self.inherent, rate);
        let (mut first, mut second) = (0.0, 0.0);
        for (weight, came, lost, sent) in self.observations() {
            let p = Self::loss(start, rate, sent);
            first += weight * (lost / p - came / (1.0 - p));
            second -= weight * (lost / (p * p) + came / ((1.0 - p) * (1.0 - p)));
        }
        if second > -1e-9 {
            return start;
        }
        self.feasible(start - NEWTON_STEP * first / second, rate)
    }

    fn feasible(&self, inherent: f64, rate: f64) -> f64 {
        inherent.min((INHERENT_OFFSET + BALANCE / rate.max(1.0)).min(1.0)).max(INHERENT_MIN)
    }

    fn likelihood(&self, rate: f64, inherent: f64, loss: f64) -> f64 {
        let distance = PREFERENCE_BELOW - loss;
        let preference = distance / (PREFERENCE_SMOOTHING + distance.abs());
        let kbps = rate / 1000.0;
        let bias = preference * (BIAS * kbps + LOG_BIAS * (1.0 + kbps).ln());
        self.observations()
            .map(|(weight, came, lost, sent)| {
                let p = Self::loss(inherent, rate, sent);
                weight * (lost * p.ln() + came * (1.0 - p).ln() + bias * (came + lost))
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `rate` for `seconds` over a path that carries `capacity` and loses `inherent`; returns the estimate at the end.
    fn run(model: &mut LossModel, from: i64, seconds: i64, capacity: f64, inherent: f64, delay: f64) -> f64 {
        let (mut now, mut owed, mut estimate) = (from, 0.0, model.rate.min(delay));
        let mut n = 0_u64;
        while now < from + seconds * 1_000_000 {
            let p = LossModel::loss(inherent, capacity, estimate);
            for _ in 0..(estimate / 8.0 / 1000.0 / 10.0).ceil() as u32 {
                n += 1;
                owed += p;
                let lost = owed >= 1.0;
                owed -= if lost { 1.0 } else { 0.0 };
                model.on_packet(now, 1000, lost, false);
            }
            now += 100_000;
            estimate = model.update(now, delay, Some(estimate * (1.0 - p)), false);
        }
        assert!(n > 0);
        estimate
    }

    #[test]
    fn loss_that_the_path_always_has_does_not_limit_4_10() {
        let mut model = LossModel::new(2e6);
        let estimate = run(&mut model, 0, 30, f64::MAX, 0.03, 2e6);
        assert!(estimate > 1.9e6, "{estimate}");
    }

    #[test]
    fn loss_from_sending_too_much_limits_to_what_passes_4_10() {
        let mut model = LossModel::new(2e6);
        let estimate = run(&mut model, 0, 10, 1e6, 0.0, 2e6);
        assert!((0.6e6..1.2e6).contains(&estimate), "{estimate}");
        assert!(model.is_limiting());
        let estimate = run(&mut model, 10_000_000, 20, 5e6, 0.0, 2e6);
        assert!(estimate > 1.9e6, "recovers: {estimate}");
    }

    #[test]
    fn packets_that_are_only_late_are_not_lost() {
        let mut model = LossModel::new(2e6);
        for n in 0..1000_i64 {
            model.on_packet(n * 10_000, 1000, true, false);
            model.on_packet(n * 10_000, 1000, false, true);
            model.update(n * 10_000, 2e6, Some(1e6), false);
        }
        assert!(!model.is_limiting());
    }
}
