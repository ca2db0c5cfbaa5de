//! The media plane over loopback sockets, with browsers around it: what they send must arrive as a decoder wants it.

mod client;
mod stage;

use std::time::Duration;

use amphi_bridge::plane::Event;
use amphi_bridge::plane::command::{Codec, Command, Role};
use amphi_media::conference::Output;
use amphi_media::ids::{EndpointId, LayerIndex};
use client::{Got, OPUS, RED};
use stage::{CLASS, Stage, audio_slots, media, payload_type, video_slots};

/// Sequence numbers without holes, frames complete, picture ids one after the other, a keyframe first.
#[track_caller]
fn decodable(got: &[Got]) {
    let mut sorted = got.to_vec();
    sorted.sort_by_key(|it| it.seq);
    assert!(sorted[0].vp8().key, "begins with a keyframe: {:?}", sorted[0].vp8());
    for pair in sorted.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        let (x, y) = (a.vp8(), b.vp8());
        if !a.marker && y.key && a.origin() != b.origin() && a.seq + 2 == b.seq {
            // Left unfinished for the keyframe of a better encoding (`spec/bridge.md` 4.6.2).
            continue;
        }
        assert_eq!(
            a.seq + 1,
            b.seq,
            "no hole and nothing twice: {} {x:?} {}, {} {y:?}",
            a.origin(),
            a.marker,
            b.origin()
        );
        if a.marker {
            assert!(y.start, "a frame begins after one ended");
            assert_eq!((x.picture_id + 1) & 0x7fff, y.picture_id);
            assert!(b.timestamp.wrapping_sub(a.timestamp) < 90_000, "time goes on: {} {}", a.timestamp, b.timestamp);
            assert_ne!(a.timestamp, b.timestamp);
            let step = y.tl0.wrapping_sub(x.tl0);
            assert!(step == u8::from(y.temporal == 0), "tl0 {} {} at layer {}", x.tl0, y.tl0, y.temporal);
        } else {
            assert!(!y.start, "a frame ends with its marker");
            assert_eq!((x.picture_id, x.tl0, a.timestamp), (y.picture_id, y.tl0, b.timestamp));
        }
    }
}

/// A publisher and receivers, connected, with one encoding on show.
fn call(shards: usize, roles: &[(Role, bool)], encodings: &[(u32, u32, usize)]) -> Stage {
    let mut stage = Stage::new(shards);
    let publisher = stage.join(Role::Participant, true);
    stage.clients[publisher].publish(Some(21), encodings);
    let (_, video) = stage.signal(publisher);
    stage.show(&[(video, LayerIndex::new(0, 0, 2))]);
    for (role, rewriting) in roles {
        let client = stage.join(*role, *rewriting);
        stage.classify(client);
    }
    stage.until("everybody is connected", |it| it.clients.iter().all(|client| client.connected));
    stage
}

#[test]
fn audio_and_video_of_a_publisher_reach_receivers_on_all_shards() {
    let roles = [(Role::Visitor, true), (Role::Visitor, true), (Role::Participant, true), (Role::Visitor, true)];
    let mut stage = call(2, &roles, &[(31, 41, 3)]);
    let (video, audio) = (video_slots()[0].0, audio_slots()[0]);
    stage.until("media", |it| {
        it.clients[1..].iter().all(|client| {
            client.got.get(&video).is_some_and(|it| it.len() > 150)
                && client.got.get(&audio).is_some_and(|it| it.len() > 30)
        })
    });
    for client in &stage.clients[1..] {
        decodable(&client.got[&video]);
        assert!(client.got[&video].iter().all(|it| it.transport_cc.is_some() && it.origin() == 31));
        let numbers: Vec<u16> = client.got[&video].iter().filter_map(|it| it.transport_cc).collect();
        // Between them may be padding.
        assert!(numbers.windows(2).all(|it| (1..64).contains(&it[1].wrapping_sub(it[0]))), "{numbers:?}");
        let audio = &client.got[&audio];
        assert!(audio.windows(2).all(|it| it[0].seq + 1 == it[1].seq), "audio without holes");
        assert!(audio.windows(2).all(|it| it[0].timestamp.wrapping_add(960) == it[1].timestamp));
        assert!(audio.iter().all(|it| it.transport_cc.is_none() && it.level == Some(-30)));
    }
    assert!(stage.clients[0].got.is_empty(), "nobody hears himself");
    let stats = stage.stats();
    assert_eq!((stats.total.srtp_failures, stats.total.malformed, stats.total.queue_drops), (0, 0, 0));
}

#[test]
fn redundant_audio_is_passed_on_and_stripped_for_receivers_without_it_4_7() {
    let mut stage = Stage::new(2);
    let mut with_red = media(true);
    with_red.payload_types.push(payload_type(RED, Codec::Red, 48_000, false));
    let publisher = stage.join_with(Role::Participant, with_red.clone());
    stage.clients[publisher].publish(Some(21), &[]);
    stage.clients[publisher].script.as_mut().unwrap().red = true;
    stage.signal(publisher);
    let knows = stage.join_with(Role::Visitor, with_red);
    let not = stage.join(Role::Visitor, true);
    [knows, not].into_iter().for_each(|it| stage.classify(it));
    let slot = audio_slots()[0];
    stage.until("audio", |it| it.clients[1..].iter().all(|it| it.got.get(&slot).is_some_and(|it| it.len() > 30)));
    for got in &stage.clients[knows].got[&slot] {
        assert_eq!((got.payload_type, got.payload.len()), (RED, 4 + 1 + 80 + 80));
    }
    let stripped = &stage.clients[not].got[&slot];
    assert!(stripped.windows(2).all(|it| it[0].seq + 1 == it[1].seq));
    for got in stripped {
        assert_eq!((got.payload_type, got.payload.len(), got.payload[0]), (OPUS, 80, 0x78));
        let number = u64::from_be_bytes(got.payload[1..9].try_into().unwrap());
        assert_eq!(got.seq as u16, number as u16, "the block that the packet is about");
    }
}

#[test]
fn receivers_without_rewriting_see_the_publishers_own_numbers() {
    let mut stage = call(1, &[], &[(31, 41, 2)]);
    let plain = stage.join(Role::Participant, false);
    stage.clients[plain].expect_audio(&[21]);
    stage.clients[plain].expect_video(&[(31, 41)]);
    stage.classify(plain);
    stage.until("media under the original SSRCs", |it| {
        let got = &it.clients[plain].got;
        got.get(&31).is_some_and(|it| it.len() > 60) && got.get(&21).is_some_and(|it| it.len() > 20)
    });
    decodable(&stage.clients[plain].got[&31]);
}

#[test]
fn what_a_receiver_lost_is_sent_again() {
    let mut stage = call(1, &[(Role::Visitor, true)], &[(31, 41, 3)]);
    let slot = video_slots()[0];
    let mut count = 0;
    stage.clients[1].lose = Box::new(move |datagram| {
        let media = datagram.len() > 12 && datagram[8..12] == slot.0.to_be_bytes();
        count += usize::from(media);
        media && count % 17 == 9
    });
    stage.until("enough", |it| it.clients[1].got.get(&slot.0).is_some_and(|it| it.len() > 400));
    stage.clients[1].lose = Box::new(|_| false);
    stage.run(Duration::from_millis(600));
    let stats = stage.stats().total;
    assert!(stats.rtx_sent >= 20, "{stats:#?}");
    decodable(&stage.clients[1].got[&slot.0]);
}

#[test]
fn a_receivers_keyframe_request_reaches_the_publisher() {
    let mut stage = call(2, &[(Role::Visitor, true), (Role::Visitor, true)], &[(31, 41, 2)]);
    let slot = video_slots()[0].0;
    stage.until("media", |it| it.clients[1..].iter().all(|it| it.got.get(&slot).is_some_and(|it| it.len() > 100)));
    stage.run(Duration::from_millis(500));
    for client in [1, 2] {
        let before = stage.clients[0].script.as_ref().unwrap().asked;
        stage.clients[client].ask_keyframe(slot);
        stage.until("a request", |it| it.clients[0].script.as_ref().unwrap().asked > before);
        stage.run(Duration::from_millis(1_200));
        assert!(stage.clients[0].script.as_ref().unwrap().asked <= before + 2, "they are not repeated without need");
    }
}

#[test]
fn simulcast_switches_at_keyframes_and_numbers_go_on() {
    let mut stage = call(2, &[(Role::Visitor, true), (Role::Visitor, true)], &[(31, 41, 1), (32, 42, 2), (33, 43, 4)]);
    let slot = video_slots()[0].0;
    let source = amphi_media::ids::SourceId(1);
    let last =
        |stage: &Stage, client: usize| stage.clients[client].got.get(&slot).and_then(|it| it.last()).map(Got::origin);
    for (encoding, ssrc) in [(0, 31), (2, 33), (1, 32), (2, 33), (0, 31)] {
        stage.show(&[(source, LayerIndex::new(encoding, 0, 2))]);
        stage.until("another encoding", |it| (1..=2).all(|client| last(it, client) == Some(ssrc)));
        stage.run(Duration::from_millis(300));
    }
    for client in &stage.clients[1..] {
        decodable(&client.got[&slot]);
    }
    assert!(stage.said.iter().any(|it| matches!(
        it,
        Event::Conference { input: amphi_media::conference::Input::Rungs { class: CLASS, receivers, .. }, .. }
            if !receivers.is_empty()
    )));
}

#[test]
fn temporal_layers_are_left_out_without_holes() {
    let mut stage = call(1, &[(Role::Visitor, true)], &[(31, 41, 2)]);
    let slot = video_slots()[0].0;
    let source = amphi_media::ids::SourceId(1);
    let layers = [0, 1, 2].map(|temporal| (source, LayerIndex::new(0, 0, temporal)));
    stage.show_of(&[layers[2]], &layers);
    stage.until("media", |it| it.clients[1].got.get(&slot).is_some_and(|it| it.len() > 50));
    stage.clients[0].script.as_mut().unwrap().keyframe = true;
    stage.run(Duration::from_millis(1_500));
    let before = stage.clients[0].script.as_ref().unwrap().keyframes;
    stage.show_of(&[layers[0]], &layers);
    stage.until("the lowest layer alone", |it| {
        let got = &it.clients[1].got[&slot];
        got.len() > 80 && got[got.len() - 16..].iter().all(|it| it.vp8().temporal == 0)
    });
    stage.show_of(&[layers[2]], &layers);
    stage.until("all layers", |it| it.clients[1].got[&slot].iter().rev().take(16).any(|it| it.vp8().temporal == 2));
    stage.run(Duration::from_millis(500));
    decodable(&stage.clients[1].got[&slot]);
    let after = stage.clients[0].script.as_ref().unwrap().keyframes;
    assert_eq!(before, after, "temporal switches need no keyframe");
}

#[test]
fn who_never_sends_feedback_is_served_too() {
    let mut stage = call(1, &[(Role::Visitor, true)], &[(31, 41, 2)]);
    stage.clients[1].mute = true;
    let slot = video_slots()[0].0;
    stage.until("media", |it| it.clients[1].got.get(&slot).is_some_and(|it| it.len() > 300));
    decodable(&stage.clients[1].got[&slot]);
}

#[test]
fn garbage_and_forged_packets_harm_nobody() {
    let mut stage = call(2, &[(Role::Visitor, true), (Role::Visitor, true)], &[(31, 41, 2)]);
    let slot = video_slots()[0].0;
    let bridge = stage.plane.addresses()[0].base;
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut random = 1_u32;
    for round in 0..400_u32 {
        let len = 1 + round as usize * 7 % 1_400;
        let mut bytes: Vec<u8> = (0..len)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            })
            .collect();
        // RTP of the publisher's SSRC, RTCP, STUN, DTLS, anything.
        let kind = [[0x80, 96], [0x80, 201], [0, 1], [22, 254], [bytes[0], 0]][round as usize % 5];
        bytes[..kind.len().min(len)].copy_from_slice(&kind[..kind.len().min(len)]);
        if len > 12 && round % 5 == 0 {
            bytes[8..12].copy_from_slice(&31_u32.to_be_bytes());
        }
        stranger.send_to(&bytes, bridge).unwrap();
        stage.clients[1].send_raw(&bytes, bridge);
        stage.clients[0].send_raw(&bytes, bridge);
        if round % 8 == 0 {
            stage.run(Duration::from_millis(1));
        }
    }
    stage.until("media", |it| it.clients[1..].iter().all(|it| it.got.get(&slot).is_some_and(|it| it.len() > 200)));
    for client in &stage.clients[1..] {
        decodable(&client.got[&slot]);
    }
    assert!(stage.stats().total.srtp_failures > 0);
    assert!(stage.clients.iter().all(|it| it.rtc.is_alive()));
}

#[test]
fn a_visitor_cannot_speak() {
    let mut stage = call(1, &[(Role::Visitor, true), (Role::Visitor, true)], &[(31, 41, 1)]);
    stage.clients[1].publish(Some(51), &[(61, 71, 1)]);
    stage.signal(1);
    stage.run(Duration::from_millis(700));
    assert!(stage.stats().total.discarded > 30);
    let heard: Vec<u32> = stage.clients[2].got.keys().copied().collect();
    assert!(heard.iter().all(|ssrc| [video_slots()[0].0, audio_slots()[0]].contains(ssrc)), "{heard:?}");
}

#[test]
fn who_was_muted_by_force_for_long_is_heard_when_that_ends() {
    let mut stage = call(1, &[(Role::Visitor, true)], &[(31, 41, 1)]);
    let audio = audio_slots()[0];
    stage.until("audio", |it| it.clients[1].got.get(&audio).is_some_and(|it| it.len() > 20));
    let mute = |audio| Command::ForceMute { endpoint: EndpointId(0), audio, video: false };
    stage.plane.send(mute(true)).unwrap();
    stage.run(Duration::from_millis(200));
    // Twenty minutes of packets, of which one in ten thousand is sent.
    let discarded = stage.stats().total.discarded;
    for packet in 1..=6 {
        stage.clients[0].script.as_mut().unwrap().audio_seq += 10_000;
        stage.until("dropped", |it| it.stats().total.discarded >= discarded + packet);
    }
    stage.plane.send(mute(false)).unwrap();
    let before = stage.clients[1].got[&audio].len();
    stage.until("audio again", |it| it.clients[1].got[&audio].len() > before + 20);
    assert_eq!(stage.stats().total.srtp_failures, 0);
}

#[test]
fn packets_that_fit_no_path_are_not_forwarded() {
    let mut stage = call(1, &[(Role::Visitor, true)], &[(31, 41, 2)]);
    let slot = video_slots()[0].0;
    stage.until("media", |it| it.clients[1].got.get(&slot).is_some_and(|it| it.len() > 20));
    stage.clients[0].script.as_mut().unwrap().payload = 1_600;
    stage.until("refused", |it| it.stats().total.oversized > 20);
    stage.clients[0].script.as_mut().unwrap().payload = 900;
    let before = stage.clients[1].got[&slot].len();
    stage.until("media again", |it| it.clients[1].got[&slot].len() > before + 20);
    assert!(stage.clients[1].got[&slot].iter().all(|it| it.payload.len() < 1_500));
}

#[test]
fn two_sources_with_one_ssrc_do_not_take_it_from_each_other() {
    let mut stage = call(1, &[], &[(31, 41, 2)]);
    let plain = stage.join(Role::Participant, false);
    stage.clients[plain].expect_video(&[(31, 41)]);
    stage.classify(plain);
    let second = stage.join(Role::Participant, true);
    stage.clients[second].publish(None, &[(31, 41, 1)]);
    stage.until("media", |it| {
        it.clients[second].connected && it.clients[plain].got.get(&31).is_some_and(|it| it.len() > 50)
    });
    let (_, other) = stage.signal(second);
    stage.show(&[(amphi_media::ids::SourceId(1), LayerIndex::new(0, 0, 2)), (other, LayerIndex::new(0, 0, 2))]);
    stage.run(Duration::from_millis(300));
    let before = stage.clients[plain].got[&31].len();
    stage.until("it goes on", |it| it.clients[plain].got[&31].len() > before + 60);
    decodable(&stage.clients[plain].got[&31]);
    // And the second one's turn comes.
    stage.plane.send(Command::RemoveEndpoint(EndpointId(0))).unwrap();
    stage.run(Duration::from_millis(200));
    stage.clients[second].script.as_mut().unwrap().keyframe = true;
    stage.decide(Output::SetClass { receiver: EndpointId(plain as u32), class: CLASS });
    let before = stage.clients[plain].got[&31].len();
    stage.until("the other's", |it| it.clients[plain].got[&31].len() > before + 30);
}

#[test]
fn a_request_with_a_false_sender_address_takes_nothing_from_a_peer_of_another_thread() {
    let mut stage = Stage::with_threads(1, 2);
    let publisher = stage.join(Role::Participant, true);
    stage.clients[publisher].publish(Some(21), &[(31, 41, 1)]);
    let (_, video) = stage.signal(publisher);
    stage.show(&[(video, LayerIndex::new(0, 0, 2))]);
    let attacker = stage.join(Role::Visitor, true);
    stage.classify(attacker);
    let (requests, caught) = std::sync::mpsc::channel();
    stage.clients[attacker].lose_sent = Box::new(move |datagram| {
        if datagram[..2] == [0, 1] {
            let _ = requests.send(datagram.to_vec());
        }
        false
    });
    let slot = video_slots()[0].0;
    stage.until("media", |it| it.clients[attacker].got.get(&slot).is_some_and(|it| it.len() > 30));
    let request = caught.try_iter().last().unwrap();
    let bridge = stage.plane.addresses()[0].base;
    stage.clients[publisher].send_raw(&request, bridge);
    stage.until("refused", |it| it.stats().total.takeovers_refused > 0);
    let before = stage.clients[attacker].got[&slot].len();
    stage.until("media goes on", |it| it.clients[attacker].got[&slot].len() > before + 60);
}

#[test]
fn messages_go_both_ways_on_the_channel() {
    let mut stage = call(1, &[(Role::Visitor, true)], &[(31, 41, 1)]);
    stage.until("open", |it| {
        it.clients[1].opened && it.said.iter().any(|e| matches!(e, Event::ChannelOpen { endpoint } if endpoint.0 == 1))
    });
    stage.text(1, "hello");
    stage.clients[1].send_text("hi");
    stage.until("messages", |it| {
        it.clients[1].messages == ["hello"]
            && it
                .said
                .iter()
                .any(|e| matches!(e, Event::ChannelMessage { endpoint, text } if endpoint.0 == 1 && text == "hi"))
    });
}

#[test]
fn relays_get_all_encodings_in_their_own_numbers_and_ask_for_what_they_lost() {
    let mut stage = call(2, &[(Role::Visitor, true)], &[(31, 41, 2), (32, 42, 3)]);
    let relay = stage.join(Role::Relay { mesh: 1 }, false);
    stage.clients[relay].expect_audio(&[21]);
    stage.clients[relay].expect_video(&[(31, 41), (32, 42)]);
    let mut count = 0;
    stage.clients[relay].lose = Box::new(move |datagram| {
        let media = datagram.len() > 12 && datagram[8..12] == 32_u32.to_be_bytes();
        count += usize::from(media);
        media && count % 23 == 9
    });
    stage.until("raw media", |it| {
        let got = &it.clients[relay].got;
        [(21, 30), (31, 100), (32, 200)].iter().all(|(ssrc, n)| got.get(ssrc).is_some_and(|it| it.len() > *n))
    });
    stage.clients[relay].lose = Box::new(|_| false);
    stage.run(Duration::from_millis(600));
    for (ssrc, first) in [(31, 1_000), (32, 2_000)] {
        let mut got: Vec<u64> = stage.clients[relay].got[&ssrc].iter().map(|it| it.seq).collect();
        got.sort_unstable();
        assert!(got[0] >= first, "as received");
        assert!(got.windows(2).all(|it| it[0] + 1 == it[1]), "complete: {got:?}");
    }
    let before = stage.clients[0].script.as_ref().unwrap().asked;
    stage.clients[relay].ask_keyframe(32);
    stage.until("its request reaches the publisher", |it| it.clients[0].script.as_ref().unwrap().asked > before);
}

#[test]
fn publishers_behind_a_relay_are_seen_and_their_mesh_does_not_get_them_back() {
    let mut stage = Stage::new(2);
    let relay = stage.join(Role::Relay { mesh: 1 }, false);
    let same_mesh = stage.join(Role::Relay { mesh: 1 }, false);
    let other_mesh = stage.join(Role::Relay { mesh: 2 }, false);
    let behind = EndpointId(50);
    stage.plane.send(Command::AddRelayed { endpoint: behind, relay: EndpointId(relay as u32) }).unwrap();
    stage.clients[relay].publish(Some(21), &[(31, 41, 1), (32, 42, 2)]);
    let (_, video) = stage.signal_as(behind, relay);
    stage.show(&[(video, LayerIndex::new(1, 0, 2))]);
    for client in [same_mesh, other_mesh] {
        stage.clients[client].expect_audio(&[21]);
        stage.clients[client].expect_video(&[(31, 41), (32, 42)]);
    }
    let visitor = stage.join(Role::Visitor, true);
    stage.classify(visitor);
    let (slot, audio) = (video_slots()[0].0, audio_slots()[0]);
    stage.until("media", |it| {
        let visitor = &it.clients[visitor].got;
        visitor.get(&slot).is_some_and(|it| it.last().is_some_and(|it| it.origin() == 32) && it.len() > 100)
            && visitor.get(&audio).is_some_and(|it| it.len() > 20)
            && it.clients[other_mesh].got.get(&32).is_some_and(|it| it.len() > 50)
    });
    decodable(&stage.clients[visitor].got[&slot]);
    assert!(stage.clients[same_mesh].connected && stage.clients[same_mesh].got.is_empty());
    assert!(stage.clients[relay].script.as_ref().unwrap().asked > 0, "keyframe requests go over the relay");
    stage.plane.send(Command::RemoveEndpoint(behind)).unwrap();
    stage.run(Duration::from_millis(200));
    let count = stage.clients[visitor].got[&slot].len();
    stage.run(Duration::from_millis(300));
    assert_eq!(stage.clients[visitor].got[&slot].len(), count, "gone");
}

#[test]
fn what_was_lost_on_the_way_from_another_bridge_is_asked_for_again() {
    let mut stage = Stage::new(2);
    let relay = stage.join(Role::Relay { mesh: 1 }, false);
    let behind = EndpointId(50);
    stage.plane.send(Command::AddRelayed { endpoint: behind, relay: EndpointId(relay as u32) }).unwrap();
    let mut count = 0;
    stage.clients[relay].lose_sent = Box::new(move |datagram| {
        let media = datagram.len() > 12 && datagram[8..12] == 31_u32.to_be_bytes();
        count += usize::from(media);
        media && count % 19 == 11
    });
    stage.clients[relay].publish(Some(21), &[(31, 41, 2)]);
    let (_, video) = stage.signal_as(behind, relay);
    stage.show(&[(video, LayerIndex::new(0, 0, 2))]);
    let visitor = stage.join(Role::Visitor, true);
    stage.classify(visitor);
    let slot = video_slots()[0].0;
    stage.until("enough", |it| it.clients[visitor].got.get(&slot).is_some_and(|it| it.len() > 300));
    stage.clients[relay].lose_sent = Box::new(|_| false);
    stage.run(Duration::from_millis(600));
    decodable(&stage.clients[visitor].got[&slot]);
    assert!(stage.stats().total.rtx_received >= 10, "{:#?}", stage.stats().total);
}

#[test]
fn a_relay_that_dies_and_one_that_never_answers_hurt_nobody() {
    let mut stage = call(2, &[(Role::Visitor, true)], &[(31, 41, 2)]);
    let slot = video_slots()[0].0;
    // One works at first, and somebody is behind it.
    let dies = stage.join(Role::Relay { mesh: 1 }, false);
    stage.clients[dies].expect_video(&[(31, 41)]);
    let behind = EndpointId(50);
    stage.plane.send(Command::AddRelayed { endpoint: behind, relay: EndpointId(dies as u32) }).unwrap();
    stage.clients[dies].publish(Some(22), &[(51, 61, 1)]);
    stage.signal_as(behind, dies);
    // The other is signaled and nothing more.
    let never = stage.join(Role::Relay { mesh: 2 }, false);
    stage.clients[never].dead = true;
    stage.until("the relay works", |it| it.clients[dies].got.get(&31).is_some_and(|it| it.len() > 50));
    stage.clients[dies].dead = true;
    stage.clients[1].got.clear();
    stage.until("media goes on", |it| it.clients[1].got.get(&slot).is_some_and(|it| it.len() > 300));
    let got = &stage.clients[1].got[&slot];
    assert!(got.windows(2).all(|it| it[0].seq + 1 == it[1].seq), "without a hole");
    // To an address that never proved itself go connectivity checks alone.
    let sent = stage.clients[never].waiting();
    assert!(sent.iter().all(|it| it[0] < 4), "{:?}", sent.iter().map(|it| it[0]).collect::<Vec<_>>());
    // Both can be removed, and others behind new ones take their place.
    for gone in [dies, never] {
        stage.plane.send(Command::RemoveEndpoint(EndpointId(gone as u32))).unwrap();
    }
    let again = stage.join(Role::Relay { mesh: 1 }, false);
    stage.clients[again].expect_video(&[(31, 41)]);
    stage.until("the next relay works", |it| it.clients[again].got.get(&31).is_some_and(|it| it.len() > 50));
}

#[test]
fn a_relay_is_spared_what_nobody_behind_it_wants() {
    let mut stage = call(2, &[(Role::Visitor, true)], &[(31, 41, 1), (32, 42, 2)]);
    let [some, all] = [0, 1].map(|_| stage.join(Role::Relay { mesh: 1 }, false));
    for relay in [some, all] {
        stage.clients[relay].expect_audio(&[21]);
        stage.clients[relay].expect_video(&[(31, 41), (32, 42)]);
    }
    let count = |it: &Stage, client: usize, ssrc: u32| it.clients[client].got.get(&ssrc).map_or(0, Vec::len);
    stage.until("everything", |it| [some, all].iter().all(|c| [31, 32, 21].iter().all(|s| count(it, *c, *s) > 20)));
    let relay = EndpointId(some as u32);
    let source = amphi_media::ids::SourceId(1);
    for (limit, gone, left) in [(1, vec![32], vec![31, 21]), (0, vec![31, 32], vec![21])] {
        stage.decide(Output::Spare { relay, sources: [(source, limit)].into() });
        stage.run(Duration::from_millis(200));
        let before: Vec<usize> = gone.iter().map(|ssrc| count(&stage, some, *ssrc)).collect();
        let (more, others) = (left.iter().map(|s| count(&stage, some, *s)).max().unwrap(), count(&stage, all, 32));
        stage.until("the rest", |it| {
            left.iter().all(|s| count(it, some, *s) > more + 20) && count(it, all, 32) > others + 40
        });
        let after: Vec<usize> = gone.iter().map(|ssrc| count(&stage, some, *ssrc)).collect();
        assert_eq!(before, after, "left out");
    }
    stage.decide(Output::Spare { relay, sources: [].into() });
    let before = count(&stage, some, 32);
    stage.until("everything again", |it| count(it, some, 32) > before + 40);
}
