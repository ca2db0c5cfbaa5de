//! The schedule of one publisher: a frame of video every 33 ms, an Opus packet every 20 ms, spread as a pacer would. Says what is due; the sender
//! stamps and sends it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::stamp::Stamp;
use super::video::{FPS, Payload, TICKS, Video};

const AUDIO_EVERY: Duration = Duration::from_millis(20);
const AUDIO_TICKS: u32 = 960;
/// Opus at 32 kbit/s.
const AUDIO_BYTES: usize = 80;
/// What a schedule that fell behind does not make good for.
const MAX_BEHIND: Duration = Duration::from_millis(200);

/// What is due.
#[derive(Debug)]
pub(crate) enum Due {
    /// A packet of video with its RTP time.
    Video(Payload, u32),
    /// A packet of audio: number, RTP time, payload.
    Audio(u64, u32, Vec<u8>),
}

/// One publisher.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// The encoder.
    pub(crate) video: Video,
    /// Audio level in dBov.
    pub(crate) level: i8,
    pace: Duration,
    time: u32,
    audio_seq: u64,
    next_video: Instant,
    next_audio: Instant,
    pending: VecDeque<(Instant, Payload, u32)>,
    paused: bool,
}

impl Publisher {
    /// Begins at `now`. `pace`: over what time the packets of a frame are spread.
    pub(crate) fn new(now: Instant, bits_per_second: f64, pace: Duration, level: i8, seed: u64) -> Self {
        Self {
            video: Video::new(bits_per_second, seed),
            level,
            pace,
            time: 5_000,
            audio_seq: 500,
            next_video: now,
            next_audio: now,
            pending: VecDeque::new(),
            paused: false,
        }
    }

    /// Nothing is due any more.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
        // What is left of a frame still goes, so that it is whole.
    }

    /// Begins again.
    pub(crate) fn resume(&mut self, now: Instant) {
        (self.paused, self.next_video, self.next_audio) = (false, now, now);
    }

    /// When something is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let pending = self.pending.front().map(|it| it.0);
        if self.paused {
            return pending;
        }
        Some(pending.map_or(self.next_video, |it| it.min(self.next_video)).min(self.next_audio))
    }

    /// The next of what is due.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Due> {
        if let Some((due, ..)) = self.pending.front()
            && *due <= now
        {
            return self.pending.pop_front().map(|(_, payload, time)| Due::Video(payload, time));
        }
        if self.paused {
            return None;
        }
        for next in [&mut self.next_video, &mut self.next_audio] {
            if now.saturating_duration_since(*next) > MAX_BEHIND {
                *next = now;
            }
        }
        if self.next_audio <= now {
            self.next_audio += AUDIO_EVERY;
            self.audio_seq += 1;
            let mut bytes = vec![0x78; AUDIO_BYTES];
            Stamp { encoding: 255, frame: self.audio_seq as u32, part: 0, parts: 1, micros: 0 }.write(&mut bytes);
            return Some(Due::Audio(self.audio_seq, (self.audio_seq as u32).wrapping_mul(AUDIO_TICKS), bytes));
        }
        if self.next_video <= now {
            let begin = self.next_video;
            self.next_video += Duration::from_micros(1_000_000 / FPS);
            self.time = self.time.wrapping_add(TICKS);
            let frame = self.video.frame();
            let count = frame.len().max(1) as u32;
            for (n, payload) in frame.into_iter().enumerate() {
                self.pending.push_back((begin + self.pace * n as u32 / count, payload, self.time));
            }
            return self.take(now);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_thirty_frames_and_fifty_packets_of_audio() {
        let start = Instant::now();
        let mut publisher = Publisher::new(start, 2e6, Duration::from_millis(5), -30, 1);
        let (mut frames, mut audio) = (0, 0);
        let mut now = start;
        while now < start + Duration::from_secs(1) {
            while let Some(due) = publisher.take(now) {
                match due {
                    Due::Video(it, _) => frames += usize::from(it.marker && it.encoding == 0),
                    Due::Audio(..) => audio += 1,
                }
            }
            now = publisher.deadline().unwrap();
        }
        assert!((30..=31).contains(&frames) && audio == 50, "{frames} {audio}");
    }

    #[test]
    fn a_pause_ends_after_the_frame_under_way() {
        let start = Instant::now();
        let mut publisher = Publisher::new(start, 2e6, Duration::from_millis(10), -30, 1);
        while publisher.take(start).is_some() {}
        publisher.pause();
        let later = start + Duration::from_millis(50);
        let mut rest = Vec::new();
        while let Some(Due::Video(it, _)) = publisher.take(later) {
            rest.push(it);
        }
        assert!(rest.last().unwrap().marker);
        assert!(publisher.deadline().is_none() && publisher.take(later).is_none());
        publisher.resume(later);
        assert!(publisher.take(later).is_some());
    }
}
