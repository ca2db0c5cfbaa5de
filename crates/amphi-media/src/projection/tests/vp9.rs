//! Spatial layers of VP9 (`spec/bridge.md` 4.6.3).

use super::*;

fn encoding() -> Encoding {
    Encoding::new(Instant::now(), Codec::Vp9, 0, 0)
}

/// A picture of three spatial layers, as one gets with full SVC, or (`k_svc`) with dependencies in key pictures only.
fn picture(e: &mut Encoding, key: bool, temporal: u8, k_svc: bool) -> Vec<MediaPacket> {
    let between = key || !k_svc;
    let p =
        Picture { key, temporal, sync: temporal == 0, upper_reference: between, structure: key.then_some(3), ..KEY };
    let mut packets = e.frame(p);
    packets[0].marker = false;
    for spatial in 1..3 {
        let upper_reference = between && spatial < 2;
        let p = Picture { spatial, inter_layer: between, structure: None, upper_reference, ..p };
        packets.extend(e.layer(p, spatial == 2));
    }
    packets
}

fn layers(stream: &mut Stream, packets: &[MediaPacket]) -> Vec<u8> {
    let sent = packets.iter().filter(|p| stream.push(p).is_some());
    sent.map(|p| p.frame.spatial).collect()
}

#[test]
fn all_layers_below_are_forwarded_where_they_are_references() {
    let mut e = encoding();
    let mut s = stream(LayerIndex::new(0, 1, 2));
    assert_eq!(layers(&mut s, &picture(&mut e, true, 0, true)), [0, 1]);
    assert_eq!(layers(&mut s, &picture(&mut e, false, 0, true)), [1], "K-SVC");
    let mut s = stream(LayerIndex::new(0, 1, 2));
    assert_eq!(layers(&mut s, &picture(&mut e, true, 0, false)), [0, 1]);
    assert_eq!(layers(&mut s, &picture(&mut e, false, 0, false)), [0, 1], "full SVC");
}

#[test]
fn the_marker_ends_the_highest_layer_that_is_forwarded() {
    let mut e = encoding();
    let mut s = stream(LayerIndex::new(0, 1, 2));
    for (key, expected) in [(true, vec![false, true]), (false, vec![true])] {
        let out = push_all(&mut s, &picture(&mut e, key, 0, true));
        let markers: Vec<_> = out.iter().flatten().map(|p| p.marker).collect();
        assert_eq!(markers, expected);
    }
}

#[test]
fn numbers_close_up_but_picture_ids_stay() {
    let mut e = encoding();
    let mut s = stream(LayerIndex::new(0, 0, 0));
    let mut sent = Vec::new();
    for (key, temporal) in [(true, 0), (false, 2), (false, 1), (false, 2), (false, 0)] {
        sent.extend(push_all(&mut s, &picture(&mut e, key, temporal, true)).into_iter().flatten());
    }
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[1].seq, sent[0].seq + 1);
    assert_eq!(sent[1].picture_id, sent[0].picture_id + 4);
    assert_eq!(sent[1].tl0, sent[0].tl0 + 1);
}

#[test]
fn a_layer_whose_key_picture_was_lost_is_not_taken_up_before_the_next() {
    let mut e = encoding();
    let mut s = stream(LayerIndex::new(0, 2, 2));
    let key = picture(&mut e, true, 0, true);
    assert_eq!(layers(&mut s, &key[..2]), [0, 1]);
    assert_eq!(layers(&mut s, &picture(&mut e, false, 0, true)), [1], "K-SVC: nothing leads up");
    assert!(s.needs_keyframe());
    assert_eq!(layers(&mut s, &picture(&mut e, true, 0, true)), [0, 1, 2]);
    assert!(!s.needs_keyframe());
}

#[test]
fn a_layer_that_depends_on_what_is_below_alone_is_taken_up_at_once() {
    let mut e = encoding();
    let mut s = stream(LayerIndex::new(0, 1, 2));
    let key = picture(&mut e, true, 0, false);
    assert_eq!(layers(&mut s, &key[..1]), [0]);
    // An upper layer that is not predicted from the picture before.
    let mut packets = e.frame(delta(0));
    packets.extend(e.layer(Picture { key: true, spatial: 1, inter_layer: true, ..KEY }, true));
    assert_eq!(layers(&mut s, &packets), [0, 1]);
    assert!(!s.needs_keyframe());
}

#[test]
fn fewer_layers_in_a_new_structure() {
    let mut e = encoding();
    let mut s = stream(LayerIndex::new(0, 2, 2));
    layers(&mut s, &picture(&mut e, true, 0, true));
    let out = push_all(&mut s, &e.frame(Picture { structure: Some(1), ..KEY }));
    assert!(out[0].as_ref().is_some_and(|p| p.marker));
    assert_eq!(layers(&mut s, &e.frame(delta(0))), [0]);
}

#[test]
fn the_rest_of_a_keyframe_whose_first_packet_is_late_has_room_before() {
    let mut e = encoding();
    let mut s = stream(LayerIndex::new(0, 0, 2));
    let before = e.frame(delta(0));
    let key = e.frame(Picture { packets: 3, ..KEY });
    let out = push_all(&mut s, [&before[0], &key[1], &key[0], &key[2]]);
    let base = out[1].as_ref().unwrap().seq;
    assert_eq!(seqs(&out), [None, Some(base), Some(base - 1), Some(base + 1)]);
    assert_eq!(s.push(&before[0]), None);
}

#[test]
fn joinable_says_from_where_one_may_change() {
    let mut e = encoding();
    let joinable = |s: &mut Stream, packets: &[MediaPacket]| {
        push_all(s, packets).into_iter().flatten().map(|p| p.joinable).next().unwrap_or(0)
    };
    let bit = |spatial: u8, temporal: u8| 1u64 << (spatial * 8 + temporal);
    for k_svc in [true, false] {
        let mut s = stream(LayerIndex::new(0, 1, 1));
        joinable(&mut s, &picture(&mut e, true, 0, k_svc));
        let base = joinable(&mut s, &picture(&mut e, false, 0, k_svc));
        assert_eq!(base & bit(1, 2), bit(1, 2), "down in frame rate");
        assert_eq!(base & bit(1, 0), bit(1, 0), "up, at a switching point");
        assert_eq!(base & bit(0, 2), 0, "up in size");
        assert_eq!(base & bit(2, 2) != 0, !k_svc, "down in size: only if the layer was forwarded to those above");
        let upper = joinable(&mut s, &picture(&mut e, false, 1, k_svc));
        assert_eq!(upper & bit(1, 0), 0, "up in the middle");
    }
}
