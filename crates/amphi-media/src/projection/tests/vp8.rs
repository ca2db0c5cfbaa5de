//! Keyframe groups, and numbers of VP8 (`spec/bridge.md` 4.6.1, 4.6.2).

use super::*;

fn encodings(count: u8) -> Vec<Encoding> {
    let start = Instant::now();
    (0..count).map(|i| Encoding::new(start, Codec::Vp8, 0, i)).collect()
}

/// One frame of each encoding, at the same time; what the stream forwards of each.
fn tick(stream: &mut Stream, all: &mut [Encoding], picture: Picture) -> Vec<bool> {
    all.iter_mut().map(|e| push_all(stream, &e.frame(picture)).iter().any(Option::is_some)).collect()
}

#[test]
fn nothing_is_forwarded_before_a_keyframe() {
    let mut all = encodings(1);
    let mut s = stream(LayerIndex::new(0, 0, 2));
    assert!(s.needs_keyframe());
    assert_eq!(tick(&mut s, &mut all, delta(0)), [false]);
    assert!(s.needs_keyframe());
    assert_eq!(tick(&mut s, &mut all, KEY), [true]);
    assert!(!s.needs_keyframe());
    assert_eq!(tick(&mut s, &mut all, delta(2)), [true]);
}

#[test]
fn keyframes_of_one_group_lead_up_to_the_target() {
    let mut all = encodings(3);
    let mut s = stream(LayerIndex::new(1, 0, 2));
    assert_eq!(tick(&mut s, &mut all, KEY), [true, true, false]);
    assert_eq!(s.encoding(), Some(1));
    assert_eq!(tick(&mut s, &mut all, delta(0)), [false, true, false]);
}

#[test]
fn a_later_group_does_not_lead_down_while_the_target_is_there() {
    let mut all = encodings(2);
    let mut s = stream(LayerIndex::new(1, 0, 2));
    tick(&mut s, &mut all, KEY);
    for _ in 0..12 {
        assert_eq!(tick(&mut s, &mut all, delta(0)), [false, true]);
    }
    assert_eq!(tick(&mut s, &mut all, KEY), [false, true], "more than 300 ms later");
    assert_eq!(tick(&mut s, &mut all, KEY), [false, true], "within 300 ms");
}

#[test]
fn a_silent_target_is_left_for_what_there_is_and_taken_up_again() {
    let mut all = encodings(2);
    let mut s = stream(LayerIndex::new(1, 0, 2));
    tick(&mut s, &mut all, KEY);
    let (low, high) = all.split_at_mut(1);
    for _ in 0..20 {
        assert_eq!(tick(&mut s, low, delta(0)), [false]);
    }
    let low_key = push_all(&mut s, &low[0].frame(KEY));
    assert!(low_key[0].as_ref().is_some_and(|p| p.switch_in && p.encoding == 0));
    for _ in 0..12 {
        assert_eq!(tick(&mut s, low, delta(0)), [true]);
    }
    assert!(!s.needs_keyframe());
    high[0].at = low[0].at;
    assert_eq!(tick(&mut s, high, delta(0)), [false]);
    assert!(s.needs_keyframe(), "the target is there again");
    assert_eq!(tick(&mut s, high, KEY), [true]);
    assert_eq!(tick(&mut s, low, delta(0)), [false]);
}

#[test]
fn a_missed_upgrade_asks_for_a_keyframe_only_after_the_group() {
    let mut all = encodings(2);
    let mut s = stream(LayerIndex::new(1, 0, 2));
    // The keyframe of the target is lost.
    let low = all[0].frame(KEY);
    all[1].frame(KEY);
    assert!(push_all(&mut s, &low)[0].is_some());
    tick(&mut s, &mut all, delta(0));
    assert!(!s.needs_keyframe(), "it may still come");
    for _ in 0..9 {
        tick(&mut s, &mut all, delta(0));
    }
    assert!(s.needs_keyframe());
}

#[test]
fn an_encoding_switch_goes_on_in_all_numbers() {
    let mut all = encodings(2);
    let mut s = stream(LayerIndex::new(1, 0, 2));
    let low = all[0].frame(Picture { packets: 2, ..KEY });
    let first = push_all(&mut s, &low)[1].clone().unwrap();
    assert_eq!((first.picture_id, first.tl0, first.timestamp), (101, 11, low[0].timestamp), "as the source has them");
    all[1].at = 33;
    let high = push_all(&mut s, &all[1].frame(KEY))[0].clone().unwrap();
    assert_eq!((high.seq, high.picture_id, high.tl0), (first.seq + 1, 102, 12));
    assert_eq!(high.timestamp.wrapping_sub(first.timestamp), 3000, "33 ms, but one frame at least");
    assert!(high.switch_in && high.keyframe);
}

#[test]
fn an_unfinished_frame_is_closed_by_a_number_that_stays_free() {
    let mut all = encodings(2);
    let mut s = stream(LayerIndex::new(1, 0, 2));
    let low = all[0].frame(Picture { packets: 3, ..KEY });
    let sent = push_all(&mut s, &low[..2])[1].clone().unwrap();
    let high = push_all(&mut s, &all[1].frame(KEY))[0].clone().unwrap();
    assert_eq!(high.seq, sent.seq + 2);
    assert_eq!(s.push(&low[2]), None, "its number must not be filled");
}

#[test]
fn temporal_layers_above_the_target_leave_no_gap() {
    let mut e = encodings(1).remove(0);
    let mut s = stream(LayerIndex::new(0, 0, 1));
    let mut out = push_all(&mut s, &e.frame(KEY));
    for t in [2, 1, 2, 0, 2, 1, 2, 0] {
        out.extend(push_all(&mut s, &e.frame(Picture { packets: 2, ..delta(t) })));
    }
    let sent: Vec<_> = out.into_iter().flatten().collect();
    assert_eq!(sent.len(), 9);
    for pair in sent.windows(2) {
        assert_eq!(pair[1].seq, pair[0].seq + 1);
        assert!(pair[1].picture_id - pair[0].picture_id <= 1, "picture ids close up");
    }
    assert_eq!(sent[8].picture_id - sent[0].picture_id, 4);
    assert_eq!(sent[8].tl0 - sent[0].tl0, 2);
}

#[test]
fn reordered_packets_get_the_numbers_of_their_places() {
    let mut e = encodings(1).remove(0);
    let mut s = stream(LayerIndex::new(0, 0, 0));
    let base = s.push(&e.frame(KEY)[0]).unwrap().seq;
    // Frames: T0 (2), T2 (1), T0 (2).
    let a = e.frame(Picture { packets: 2, ..delta(0) });
    let b = e.frame(delta(2));
    let c = e.frame(Picture { packets: 2, ..delta(0) });
    let order = [&c[1], &a[1], &b[0], &c[0], &a[0]];
    let out = push_all(&mut s, order);
    // What came before what was missing is known too late to close the gap of the upper layer.
    assert_eq!(seqs(&out), [Some(base + 5), Some(base + 2), None, Some(base + 4), Some(base + 1)]);
    let next = s.push(&e.frame(delta(0))[0]).unwrap();
    assert_eq!(next.seq, base + 6);
    assert_eq!(next.picture_id, 105, "as in the source: the picture left out came late");
}

#[test]
fn late_packets_of_known_frames_close_nothing_twice() {
    let mut e = encodings(1).remove(0);
    let mut s = stream(LayerIndex::new(0, 0, 0));
    let base = s.push(&e.frame(KEY)[0]).unwrap().seq;
    let b = e.frame(Picture { packets: 3, ..delta(2) });
    let c = e.frame(delta(0));
    // The middle one of the upper layer's packets is lost, then comes.
    assert_eq!(seqs(&push_all(&mut s, [&b[0], &b[2], &c[0], &b[1]])), [None, None, Some(base + 1), None]);
}

#[test]
fn losses_leave_gaps_only_where_something_may_be_missing() {
    let mut e = encodings(1).remove(0);
    let mut s = stream(LayerIndex::new(0, 0, 0));
    let base = s.push(&e.frame(KEY)[0]).unwrap().seq;
    let b = e.frame(Picture { packets: 4, ..delta(2) });
    let c = e.frame(delta(0));
    // The tail of what is left out is lost, and nothing else can be: no gap.
    assert_eq!(seqs(&push_all(&mut s, [&b[0], &c[0]])), [None, Some(base + 1)]);
    let d = e.frame(Picture { packets: 2, ..delta(0) });
    let f = e.frame(delta(0));
    assert_eq!(seqs(&push_all(&mut s, [&d[0], &f[0]])), [Some(base + 2), Some(base + 4)], "a real one");
    assert_eq!(s.push(&d[1]).unwrap().seq, base + 3);
    // Tail of one left out, head of one forwarded: at least one of each, and nobody knows about the rest.
    let g = e.frame(Picture { packets: 2, ..delta(2) });
    let h = e.frame(Picture { packets: 2, ..delta(0) });
    assert_eq!(seqs(&push_all(&mut s, [&g[0], &h[1]])), [None, Some(base + 6)]);
    assert_eq!(seqs(&push_all(&mut s, [&g[1], &h[0]])), [None, Some(base + 5)]);
}

#[test]
fn padding_that_was_dropped_leaves_no_gap() {
    let mut e = encodings(1).remove(0);
    let mut s = stream(LayerIndex::new(0, 0, 2));
    let base = s.push(&e.frame(KEY)[0]).unwrap().seq;
    s.skip(0, e.seq);
    e.seq += 1;
    assert_eq!(s.push(&e.frame(delta(0))[0]).unwrap().seq, base + 1);
    let late = e.seq;
    e.seq += 1;
    assert_eq!(s.push(&e.frame(delta(0))[0]).unwrap().seq, base + 3);
    s.skip(0, late);
    assert_eq!(s.push(&e.frame(delta(0))[0]).unwrap().seq, base + 4);
}

#[test]
fn references_that_are_not_known_are_taken_to_be_there() {
    let mut e = encodings(1).remove(0);
    let mut s = stream(LayerIndex::new(0, 0, 2));
    s.push(&e.frame(KEY)[0]);
    let lost = e.frame(delta(1));
    assert!(s.push(&e.frame(delta(2))[0]).is_some());
    assert!(s.push(&lost[0]).is_some(), "it may come later");
}

#[test]
fn a_keyframe_that_was_overtaken_is_none() {
    let mut all = encodings(2);
    let mut s = stream(LayerIndex::new(1, 0, 2));
    push_all(&mut s, &all[0].frame(KEY));
    let key = all[1].frame(KEY);
    let later = all[1].frame(delta(0));
    assert_eq!(seqs(&push_all(&mut s, [&later[0], &key[0]])), [None, None]);
    assert_eq!(s.encoding(), Some(0));
}

#[test]
fn ids_that_begin_anew_are_taken_up_at_a_keyframe() {
    let mut e = encodings(1).remove(0);
    e.picture = 20_000;
    let mut s = stream(LayerIndex::new(0, 0, 2));
    let first = s.push(&e.frame(KEY)[0]).unwrap();
    for _ in 0..600 {
        s.push(&e.frame(delta(0))[0]).unwrap();
    }
    e.picture = 15_000;
    assert_eq!(s.push(&e.frame(delta(0))[0]), None);
    assert!(s.needs_keyframe());
    let again = s.push(&e.frame(KEY)[0]).unwrap();
    assert_eq!((again.picture_id, again.seq), (first.picture_id + 601, first.seq + 601));
}

#[test]
fn a_change_of_codec_waits_for_a_keyframe_and_goes_on() {
    let mut e = encodings(1).remove(0);
    let mut s = stream(LayerIndex::new(0, 0, 2));
    let vp8 = s.push(&e.frame(KEY)[0]).unwrap();
    e.codec = Codec::Vp9;
    assert_eq!(s.push(&e.frame(delta(0))[0]), None);
    let vp9 = s.push(&e.frame(KEY)[0]).unwrap();
    assert_eq!((vp9.seq, vp9.picture_id, vp9.tl0), (vp8.seq + 1, vp8.picture_id + 1, vp8.tl0 + 1));
}

#[test]
fn late_packets_of_the_codec_before_change_nothing() {
    let mut e = encodings(1).remove(0);
    let mut s = stream(LayerIndex::new(0, 0, 2));
    s.push(&e.frame(KEY)[0]).unwrap();
    let late = e.frame(delta(0));
    e.codec = Codec::Vp9;
    s.push(&e.frame(KEY)[0]).unwrap();
    assert_eq!(s.push(&late[0]), None);
    assert!(s.push(&e.frame(delta(0))[0]).is_some());
}
