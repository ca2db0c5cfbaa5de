use proptest::prelude::*;

use super::*;

const FRAME: Duration = Duration::from_millis(20);

/// A conference in virtual time: frames of 20 ms, levels by a function of speaker and frame; `None` sends nothing.
struct Room {
    levels: Levels,
    now: Instant,
    frame: u32,
    changes: Vec<(u32, Speakers)>,
}

impl Room {
    fn new(config: SpeechConfig, speakers: u32) -> Self {
        let mut levels = Levels::new(config);
        (1..=speakers).for_each(|id| levels.add(EndpointId(id)));
        Self { levels, now: Instant::now(), frame: 0, changes: Vec::new() }
    }

    /// Returns the verdicts of the last frame.
    fn run(&mut self, frames: u32, level: impl Fn(u32, u32) -> Option<u8>) -> Vec<(u32, Verdict)> {
        let mut verdicts = Vec::new();
        for _ in 0..frames {
            verdicts.clear();
            self.now += FRAME;
            self.frame += 1;
            let ids: Vec<u32> = self.levels.speakers.iter().map(|it| it.id.0).collect();
            for id in ids {
                if let Some(level) = level(id, self.frame) {
                    let level = AudioLevel { level, voice: level < 60 };
                    verdicts.push((id, self.levels.level(self.now, EndpointId(id), level)));
                }
            }
            if self.levels.poll_timeout().is_some_and(|at| at <= self.now)
                && let Some(speakers) = self.levels.poll(self.now).speakers
            {
                self.changes.push((self.frame, speakers));
            }
        }
        verdicts
    }

    fn dominant(&self) -> Option<u32> {
        self.levels.dominant().map(|id| id.0)
    }
}

/// Speech: loud syllables with short pauses, over a noise floor.
fn speech(frame: u32) -> Option<u8> {
    Some(if frame % 25 < 21 { 30 + (frame * 7 % 9) as u8 } else { 90 })
}

const NOISE: Option<u8> = Some(95);

#[test]
fn the_first_who_speaks_is_dominant_at_once() {
    let mut room = Room::new(SpeechConfig::default(), 3);
    room.run(100, |id, _| if id == 2 { Some(40) } else { None });
    assert_eq!(room.dominant(), Some(2));
    assert_eq!(room.changes[0].1, Speakers { dominant: Some(EndpointId(2)), recent: vec![], silence: false });
}

#[test]
fn a_new_speaker_takes_over_within_two_seconds_and_a_cough_does_not() {
    let mut room = Room::new(SpeechConfig::default(), 3);
    // Everybody's noise floor is known.
    room.run(100, |_, _| NOISE);
    room.run(200, |id, frame| if id == 1 { speech(frame) } else { NOISE });
    assert_eq!(room.dominant(), Some(1));
    // A cough of 200 ms.
    room.run(10, |id, frame| if id == 2 { Some(20) } else { speech(frame).filter(|_| id == 1).or(NOISE) });
    room.run(50, |id, frame| if id == 1 { speech(frame) } else { NOISE });
    assert_eq!(room.dominant(), Some(1));
    // 1 falls silent, 3 speaks.
    let at = room.frame;
    room.run(100, |id, frame| if id == 3 { speech(frame) } else { NOISE });
    assert_eq!(room.dominant(), Some(3));
    let last = room.changes.last().unwrap();
    assert!(last.0 - at <= 100);
    assert_eq!(last.1.recent, [EndpointId(1)]);
}

#[test]
fn in_a_conversation_every_turn_is_followed_once_whatever_others_murmur() {
    let mut room = Room::new(SpeechConfig::default(), 4);
    room.run(100, |_, _| NOISE);
    let start = room.frame;
    // Turns of 4 s of 1, 2, 1, 3; the next one begins 300 ms before the last one ends; 4 says "mhm" for 160 ms every second.
    let turns = [1, 2, 1, 3];
    let speaks = move |id: u32, frame: u32| {
        let at = frame - start;
        let turn = |n: usize| n as u32 * 200;
        let own = turns
            .iter()
            .enumerate()
            .any(|(n, it)| *it == id && (turn(n).saturating_sub(15)..turn(n + 1)).contains(&at));
        let murmur = id == 4 && at % 50 < 8;
        if own {
            speech(frame)
        } else if murmur {
            Some(45)
        } else {
            NOISE
        }
    };
    let mut late = Vec::new();
    for (n, id) in turns.into_iter().enumerate() {
        let begun = room.frame;
        while room.dominant() != Some(id) && room.frame < begun + 200 {
            room.run(1, speaks);
        }
        late.push(room.frame - begun);
        room.run(start + (n as u32 + 1) * 200 - room.frame, speaks);
        assert_eq!(room.dominant(), Some(id), "turn {n}");
    }
    assert!(late.iter().all(|frames| *frames <= 75), "within 1.5 s: {late:?}");
    let dominants: Vec<_> =
        room.changes.iter().filter(|(at, _)| *at > start).map(|(_, it)| it.dominant.map(|id| id.0)).collect();
    assert!(dominants.len() <= turns.len(), "{dominants:?}");
}

#[test]
fn who_stops_sending_loses_to_who_speaks() {
    let mut room = Room::new(SpeechConfig::default(), 2);
    room.run(100, |_, _| NOISE);
    room.run(150, |id, frame| if id == 1 { speech(frame) } else { NOISE });
    room.run(100, |id, frame| if id == 2 { speech(frame) } else { None });
    assert_eq!(room.dominant(), Some(2), "missing levels count as silence");
}

#[test]
fn recent_speakers_are_ten_and_leavers_are_forgotten() {
    let mut room = Room::new(SpeechConfig::default(), 14);
    room.run(100, |_, _| NOISE);
    for talker in 1..=14 {
        room.run(150, |id, frame| if id == talker { speech(frame) } else { NOISE });
        assert_eq!(room.dominant(), Some(talker));
    }
    let recent: Vec<u32> = room.changes.last().unwrap().1.recent.iter().map(|id| id.0).collect();
    assert_eq!(recent, [13, 12, 11, 10, 9, 8, 7, 6, 5, 4]);
    room.levels.remove(EndpointId(13));
    let now = room.now + FRAME;
    let speakers = room.levels.poll(now).speakers.unwrap();
    assert_eq!(speakers.recent[0], EndpointId(12));
    assert_eq!(room.levels.poll(now).speakers, None, "told once");
    room.run(1, |id, _| if id == 5 { Some(20) } else { NOISE });
    room.levels.remove(EndpointId(14));
    assert!(room.levels.poll_timeout().unwrap() <= room.now, "to be told at once");
    assert_eq!(room.levels.poll(room.now).speakers.unwrap().dominant, Some(EndpointId(5)), "the loudest follows");
    (1..14).for_each(|id| room.levels.remove(EndpointId(id)));
    assert_eq!(room.levels.poll(room.now).speakers.unwrap(), Speakers::default());
}

#[test]
fn above_ten_senders_three_pass_and_the_dominant_speaker() {
    let mut room = Room::new(SpeechConfig::default(), 11);
    room.run(100, |_, _| NOISE);
    room.run(150, |id, frame| if id == 11 { speech(frame) } else { NOISE });
    // Three shout for a moment.
    let verdicts = room.run(10, |id, _| match id {
        1..=3 => Some(5 + id as u8),
        11 => Some(40),
        _ => NOISE,
    });
    let passed: Vec<u32> = verdicts.iter().filter(|(_, it)| it.route).map(|(id, _)| *id).collect();
    assert_eq!(passed, [1, 2, 3, 11]);
    assert_eq!(verdicts[0].1.rank, Rank(0));
    assert_eq!(verdicts[10].1.rank, Rank::NONE);
    let mut ranked = Vec::new();
    for _ in 0..2 {
        ranked = room.levels.poll(room.now).ranked.unwrap_or(ranked);
    }
    assert_eq!(ranked, [EndpointId(1), EndpointId(2), EndpointId(3)]);
}

#[test]
fn up_to_ten_senders_everybody_passes_but_never_a_visitor() {
    let mut room = Room::new(SpeechConfig::default(), 10);
    let verdicts = room.run(5, |_, _| NOISE);
    assert!(verdicts.iter().all(|(_, it)| it.route));
    let level = AudioLevel { level: 0, voice: true };
    assert_eq!(room.levels.level(room.now, EndpointId(99), level), Verdict { rank: Rank::NONE, route: false });
}

#[test]
fn a_rank_expires_after_150_ms() {
    let mut room = Room::new(SpeechConfig { gate_above: 0, num_loudest: 1, ..Default::default() }, 2);
    room.run(20, |id, _| if id == 1 { Some(10) } else { None });
    let quiet = AudioLevel { level: 60, voice: true };
    let now = room.now + Duration::from_millis(150);
    assert!(!room.levels.level(now, EndpointId(2), quiet).route);
    let verdict = room.levels.level(now + Duration::from_millis(1), EndpointId(2), quiet);
    assert!(verdict.route && verdict.rank == Rank(0));
}

#[test]
fn decisions_sleep_when_nothing_comes() {
    let mut room = Room::new(SpeechConfig::default(), 2);
    room.run(20, |_, frame| speech(frame));
    let mut now = room.now;
    let mut polls = 0;
    while let Some(at) = room.levels.poll_timeout() {
        now = at;
        room.levels.poll(now);
        polls += 1;
        assert!(polls < 100);
    }
    assert!(now - room.now >= Duration::from_secs(14));
}

#[test]
fn silence_is_told_if_wanted() {
    let mut room = Room::new(SpeechConfig { detect_silence: true, ..Default::default() }, 2);
    room.run(100, |_, _| NOISE);
    room.run(100, |id, frame| if id == 1 { speech(frame) } else { NOISE });
    assert!(!room.changes.last().unwrap().1.silence);
    room.run(200, |_, _| NOISE);
    assert!(room.changes.last().unwrap().1.silence);
}

proptest! {
    #[test]
    fn never_more_than_the_loudest_and_the_dominant_pass(levels in prop::collection::vec((1u32..20, 0u8..=127, 0u64..60), 0..400)) {
        let mut gate = Levels::new(SpeechConfig::default());
        (1..20).for_each(|id| gate.add(EndpointId(id)));
        let mut now = Instant::now();
        for (id, level, wait) in levels {
            now += Duration::from_millis(wait);
            let verdict = gate.level(now, EndpointId(id), AudioLevel { level, voice: true });
            prop_assert!(gate.loudest.len() <= 3);
            prop_assert!(gate.loudest.windows(2).all(|it| it[0].energy >= it[1].energy));
            prop_assert_eq!(verdict.route, gate.passes(EndpointId(id)));
            gate.poll(now);
        }
    }
}
