//! Audio levels: the loudest speakers, who is dominant, who spoke recently (`spec/bridge.md` 4.7).
//!
//! One [`Levels`] per conference lives on the conference's home shard. It is fed the level of every audio packet of participants and relayed
//! endpoints, says whether the packet is worth forwarding, and is polled every 300 ms. Visitors are never added. Knows no packets and no names.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ids::EndpointId;
use crate::packet::AudioLevel;

mod speaker;

use speaker::Speaker;

/// How levels become decisions.
#[derive(Clone, Debug)]
pub struct SpeechConfig {
    /// How many of the loudest are forwarded.
    pub num_loudest: usize,
    /// With at most this many senders everybody is forwarded.
    pub gate_above: usize,
    /// Whether the dominant speaker is forwarded also when it is not among the loudest.
    pub always_route_dominant: bool,
    /// How long a rank lasts without a packet.
    pub energy_expire: Duration,
    /// Weight of the newest level in the energy, in percent.
    pub energy_alpha_pct: u32,
    /// Former dominant speakers that are remembered, besides the dominant one.
    pub recent_speakers: usize,
    /// How often the dominant speaker is decided.
    pub decision_interval: Duration,
    /// Whether silence is told.
    pub detect_silence: bool,
    /// How long nobody speaks until that is silence.
    pub silence_timeout: Duration,
    /// A speaker that was silent for so long does not compete any more.
    pub forget_after: Duration,
    /// No decisions after so long without any level.
    pub sleep_after: Duration,
}

impl Default for SpeechConfig {
    fn default() -> Self {
        Self {
            num_loudest: 3,
            gate_above: 10,
            always_route_dominant: true,
            energy_expire: Duration::from_millis(150),
            energy_alpha_pct: 50,
            recent_speakers: 10,
            decision_interval: Duration::from_millis(300),
            detect_silence: false,
            silence_timeout: Duration::from_secs(3),
            forget_after: Duration::from_secs(3600),
            sleep_after: Duration::from_secs(15),
        }
    }
}

/// Place among the loudest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(pub u8);

impl Rank {
    /// Not among the loudest.
    pub const NONE: Self = Self(u8::MAX);
}

/// What is to be done with an audio packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Place of its speaker.
    pub rank: Rank,
    /// Whether it is forwarded. Synthetic sources and those that somebody asked for by name are forwarded in any case: the caller knows them.
    pub route: bool,
}

/// Who speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Speakers {
    /// The dominant speaker.
    pub dominant: Option<EndpointId>,
    /// Former ones, the last one first, without the dominant one.
    pub recent: Vec<EndpointId>,
    /// Nobody speaks (only if detection is configured).
    pub silence: bool,
}

/// What a poll found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpeechChange {
    /// The dominant speaker or the recent ones changed.
    pub speakers: Option<Speakers>,
    /// Who was among the loudest since the last poll, if that is not the same as before.
    pub ranked: Option<Vec<EndpointId>>,
}

#[derive(Clone, Copy, Debug)]
struct Loud {
    speaker: EndpointId,
    energy: u8,
    at: Instant,
}

/// Levels of all speakers of one conference.
#[derive(Debug)]
pub struct Levels {
    config: SpeechConfig,
    /// By id. A conference has tens of senders: a search in a sorted vector beats hashing.
    speakers: Vec<Speaker>,
    loudest: Vec<Loud>,
    ranked: Vec<EndpointId>,
    told_ranked: Vec<EndpointId>,
    dominant: Option<EndpointId>,
    recent: VecDeque<EndpointId>,
    told: Speakers,
    next_decision: Option<Instant>,
    last_level: Option<Instant>,
    last_voice: Option<Instant>,
}

impl Levels {
    /// Nobody speaks yet.
    pub fn new(config: SpeechConfig) -> Self {
        Self {
            config,
            speakers: Vec::new(),
            loudest: Vec::new(),
            ranked: Vec::new(),
            told_ranked: Vec::new(),
            dominant: None,
            recent: VecDeque::new(),
            told: Speakers::default(),
            next_decision: None,
            last_level: None,
            last_voice: None,
        }
    }

    /// An endpoint that may send audio: participant or relayed, not a visitor. Twice is once.
    pub fn add(&mut self, speaker: EndpointId) {
        if let Err(at) = self.find(speaker) {
            self.speakers.insert(at, Speaker::new(speaker));
        }
    }

    /// The endpoint left, or became a visitor.
    pub fn remove(&mut self, speaker: EndpointId) {
        if let Ok(at) = self.find(speaker) {
            self.speakers.remove(at);
        }
        self.loudest.retain(|it| it.speaker != speaker);
        self.ranked.retain(|it| *it != speaker);
        self.recent.retain(|it| *it != speaker);
        if self.dominant == Some(speaker) {
            self.dominant = self.loudest.first().map(|it| it.speaker);
        }
        // That may have changed what is told: a poll is due.
        self.next_decision = self.last_level.or(self.next_decision);
    }

    /// Takes the level of one audio packet. Endpoints that were not added have no rank and are not forwarded.
    pub fn level(&mut self, now: Instant, speaker: EndpointId, level: AudioLevel) -> Verdict {
        let Ok(at) = self.find(speaker) else { return Verdict { rank: Rank::NONE, route: false } };
        let loudness = 127 - level.level.min(127);
        let it = &mut self.speakers[at];
        it.push(now, loudness);
        let energy = it.filter(loudness, self.config.energy_alpha_pct);
        if it.speaks(loudness) {
            self.last_voice = Some(now);
        }
        self.last_level = Some(now);
        self.next_decision.get_or_insert(now + self.config.decision_interval);
        if self.dominant.is_none() && loudness > 0 {
            // The first active speaker becomes dominant at once. Its own silence is not known yet, so any sound counts.
            self.dominant = Some(speaker);
            self.next_decision = Some(now);
        }
        let rank = self.rank(now, speaker, energy);
        let open = self.speakers.len() <= self.config.gate_above;
        let dominant = self.config.always_route_dominant && self.dominant == Some(speaker);
        Verdict { rank, route: open || rank != Rank::NONE || dominant }
    }

    /// Whether packets of this endpoint pass at the moment: for packets that carry no level.
    pub fn passes(&self, speaker: EndpointId) -> bool {
        self.find(speaker).is_ok()
            && (self.speakers.len() <= self.config.gate_above
                || self.loudest.iter().any(|it| it.speaker == speaker)
                || (self.config.always_route_dominant && self.dominant == Some(speaker)))
    }

    /// The dominant speaker.
    pub fn dominant(&self) -> Option<EndpointId> {
        self.dominant
    }

    /// When [`Self::poll`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_decision
    }

    /// Decides, if it is time; says what changed since the last poll.
    pub fn poll(&mut self, now: Instant) -> SpeechChange {
        if self.next_decision.is_some_and(|at| at <= now) {
            self.decide(now);
            let awake = self.last_level.is_some_and(|at| now.saturating_duration_since(at) < self.config.sleep_after);
            self.next_decision = awake.then(|| now + self.config.decision_interval);
        }
        let silent = |at: Instant| now.saturating_duration_since(at) >= self.config.silence_timeout;
        let recent = self.recent.iter().copied().filter(|it| Some(*it) != self.dominant);
        let speakers = Speakers {
            dominant: self.dominant,
            recent: recent.take(self.config.recent_speakers).collect(),
            silence: self.config.detect_silence && self.last_voice.is_none_or(silent),
        };
        let speakers = (speakers != self.told).then(|| {
            self.told.clone_from(&speakers);
            speakers
        });
        self.expire(now);
        self.ranked.sort_unstable();
        self.ranked.dedup();
        let ranked = (self.ranked != self.told_ranked).then(|| {
            self.told_ranked.clone_from(&self.ranked);
            self.ranked.clone()
        });
        self.ranked.clear();
        self.ranked.extend(self.loudest.iter().map(|it| it.speaker));
        SpeechChange { speakers, ranked }
    }

    fn find(&self, speaker: EndpointId) -> Result<usize, usize> {
        self.speakers.binary_search_by_key(&speaker, |it| it.id)
    }

    fn expire(&mut self, now: Instant) {
        let limit = self.config.energy_expire;
        self.loudest.retain(|it| now.saturating_duration_since(it.at) <= limit);
    }

    /// Puts the speaker where its energy belongs. Among equals the earlier one stays in front.
    fn rank(&mut self, now: Instant, speaker: EndpointId, energy: u8) -> Rank {
        self.expire(now);
        self.loudest.retain(|it| it.speaker != speaker);
        let place = self.loudest.iter().position(|it| it.energy < energy).unwrap_or(self.loudest.len());
        if place >= self.config.num_loudest {
            return Rank::NONE;
        }
        self.loudest.insert(place, Loud { speaker, energy, at: now });
        self.loudest.truncate(self.config.num_loudest);
        if !self.ranked.contains(&speaker) {
            self.ranked.push(speaker);
        }
        Rank(place as u8)
    }

    fn decide(&mut self, now: Instant) {
        let forget = self.config.forget_after;
        let present = |it: &Speaker| it.last_level.is_some_and(|at| now.saturating_duration_since(at) < forget);
        let Some(dominant) = self.dominant.and_then(|id| self.find(id).ok()) else {
            self.dominant = None;
            return;
        };
        self.remember(self.speakers[dominant].id);
        let [d1, d2, d3] = self.speakers[dominant].scores(now);
        let mut best: Option<(f64, EndpointId)> = None;
        for (at, it) in self.speakers.iter_mut().enumerate() {
            if at == dominant || !present(it) {
                continue;
            }
            let [s1, s2, s3] = it.scores(now);
            let [c1, c2, c3] = [(s1 / d1).ln(), (s2 / d2).ln(), (s3 / d3).ln()];
            if c1 > C1 && c2 > C2 && c3 > C3 && best.is_none_or(|(best, _)| c2 > best) {
                best = Some((c2, it.id));
            }
        }
        if let Some((_, id)) = best {
            self.dominant = Some(id);
            self.remember(id);
        }
    }

    fn remember(&mut self, speaker: EndpointId) {
        if self.recent.front() != Some(&speaker) {
            self.recent.retain(|it| *it != speaker);
            self.recent.push_front(speaker);
            self.recent.truncate(self.config.recent_speakers + 1);
        }
    }
}

/// By how much (logarithm of the ratio) a candidate must exceed the dominant speaker: now, for a moment, for a while.
const C1: f64 = 3.0;
const C2: f64 = 2.0;
const C3: f64 = 0.0;

#[cfg(test)]
mod tests;
