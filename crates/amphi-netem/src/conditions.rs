//! What is wrong with a link, and how it is written on a command line: `delay=20ms jitter=5ms loss=5 reorder=40 rate=400k queue=30k`.

use std::str::FromStr;
use std::time::Duration;

use str0m_netem::{Bitrate, DataSize, NetemConfig, Probability, RandomLoss};

/// What is wrong with a link. The default is a perfect one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// One way.
    pub delay: Duration,
    /// At most so much more or less, evenly.
    pub jitter: Duration,
    /// Part of the datagrams that are lost, 0 to 1, each by itself.
    pub loss: f32,
    /// Every so manieth datagram overtakes the one before it; 0: none.
    pub reorder: u32,
    /// Bits per second; 0: no limit.
    pub rate: u64,
    /// Bytes that wait for a limited rate; what comes when it is full is lost. 0: what the rate sends in 300 ms.
    pub queue: usize,
}

/// Why conditions could not be read.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no condition of a link: delay=20ms jitter=5ms loss=5 reorder=40 rate=400k queue=30k")]
pub struct ConditionsError(String);

impl Conditions {
    /// Nothing but a limit of the rate.
    pub fn rate(bps: u64) -> Self {
        Self { rate: bps, ..Self::default() }
    }

    /// Nothing but loss.
    pub fn loss(part: f32) -> Self {
        Self { loss: part, ..Self::default() }
    }

    /// The same, with this delay.
    #[must_use]
    pub fn delayed(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    pub(crate) fn config(&self, seed: u64) -> NetemConfig {
        let mut config = NetemConfig::new()
            .latency(self.delay)
            .jitter(self.jitter)
            .loss(RandomLoss::new(Probability::new(self.loss.clamp(0.0, 1.0))))
            .seed(seed);
        if self.reorder > 0 {
            config = config.reorder_gap(self.reorder);
        }
        if self.rate > 0 {
            let queue = if self.queue > 0 { self.queue } else { (self.rate * 3 / 80) as usize };
            config = config
                .link(Bitrate::bps(self.rate), DataSize::bytes(i64::try_from(queue.max(3_000)).unwrap_or(i64::MAX)));
        }
        config
    }
}

impl FromStr for Conditions {
    type Err = ConditionsError;

    fn from_str(text: &str) -> Result<Self, ConditionsError> {
        let mut it = Self::default();
        for word in text.split([' ', ',']).filter(|it| !it.is_empty()) {
            let wrong = || ConditionsError(word.to_owned());
            let (name, value) = word.split_once('=').ok_or_else(wrong)?;
            let (number, factor) = match value.strip_suffix(['k', 'K']) {
                Some(number) => (number, 1e3),
                None => value.strip_suffix('M').map_or((value, 1.0), |number| (number, 1e6)),
            };
            let number = number.trim_end_matches("ms").trim_end_matches('%');
            let number = number.parse::<f64>().ok().filter(|it| (0.0..1e9).contains(it)).ok_or_else(wrong)? * factor;
            match name {
                "delay" => it.delay = Duration::from_secs_f64(number / 1e3),
                "jitter" => it.jitter = Duration::from_secs_f64(number / 1e3),
                "loss" => it.loss = (number / 100.0) as f32,
                "reorder" => it.reorder = number as u32,
                "rate" => it.rate = number as u64,
                "queue" => it.queue = number as usize,
                _ => return Err(wrong()),
            }
        }
        Ok(it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_from_a_line() {
        let it: Conditions = "delay=20ms jitter=5 loss=5% reorder=40 rate=400k,queue=30k".parse().unwrap();
        let ms = Duration::from_millis;
        let want = Conditions { delay: ms(20), jitter: ms(5), loss: 0.05, reorder: 40, rate: 400_000, queue: 30_000 };
        assert_eq!(it, want);
        assert_eq!("".parse(), Ok(Conditions::default()));
        for wrong in ["rate", "rate=x", "rate=-1", "speed=3", "loss=1e99"] {
            assert_eq!(wrong.parse::<Conditions>(), Err(ConditionsError(wrong.to_owned())));
        }
    }
}
