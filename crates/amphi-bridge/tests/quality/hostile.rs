//! Bad input: whoever sends it, nobody else is hurt, and nothing in the bridge breaks.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use serde_json::json;

use super::browser::Microphone;
use super::camera::Camera;
use super::simulcast::{call, until_height};
use super::world::{Kind, World};

const S: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const SOURCE: &str = "aaaa-v0";

struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next(256) as u8).collect()
    }
}

/// These viewers see everything without a long wait since then, and the bridge is whole.
#[track_caller]
fn unhurt(w: &mut World, since: Instant, viewers: &[usize]) {
    let now = Instant::now();
    for viewer in viewers {
        let it = &w.people[*viewer];
        let screen = it.screen(SOURCE);
        let freeze = screen.longest_freeze(since, now);
        assert!(freeze < 1_200 * MS, "{} waits for {freeze:?}", it.name);
        assert!(screen.broken.is_empty(), "{:?}", screen.broken);
        it.nonces.check();
    }
    assert_eq!(w.counters().panics, 0);
}

#[test]
fn truncated_replayed_and_forged_packets_of_a_publisher() {
    let mut w = call(2, 2, Camera::simulcast(SOURCE, 31));
    for viewer in [1, 2] {
        until_height(&mut w, viewer, 20, 720);
    }
    let begin = Instant::now();
    let before = w.counters();
    let mut random = Random(1);
    for round in 0..60 {
        let sent = &w.people[0].sent;
        let mut rtp: Vec<Vec<u8>> = Vec::new();
        for _ in 0..10 {
            rtp.push(sent[random.next(sent.len())].clone());
        }
        for (n, mut it) in rtp.into_iter().enumerate() {
            match (round + n) % 5 {
                // Again.
                0 => {}
                1 => it.truncate(random.next(it.len())),
                // Another payload, or tag.
                2 => {
                    let at = random.next(it.len());
                    it[at] ^= 1 << random.next(8);
                }
                // Extension lengths beyond the packet, CSRCs that are not there.
                3 if it.len() > 16 => {
                    it[0] |= 0x1f;
                    it[14] = 0xff;
                    it[15] = 0xff;
                }
                // Another's number, with wrong keys.
                _ if it.len() > 12 => it[8..12].copy_from_slice(&35_u32.to_be_bytes()),
                _ => {}
            }
            w.people[0].send_raw(&it);
        }
        w.run(20 * MS);
    }
    w.run(S);
    let after = w.counters();
    assert!(after.srtp_failures > before.srtp_failures + 50, "{after:#?}");
    unhurt(&mut w, begin, &[1, 2]);
}

#[test]
fn strangers_get_no_answer_until_they_prove_themselves() {
    let mut w = call(1, 1, Camera::simulcast(SOURCE, 31));
    until_height(&mut w, 1, 20, 720);
    let begin = Instant::now();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let mut random = Random(2);
    // What members sent, from another address: STUN with the right names and everything else.
    let all: Vec<Vec<u8>> = w.people.iter().flat_map(|it| it.sent.iter().take(300).cloned()).collect();
    let bridge = w.bridge();
    let (mut sent, mut got) = (0_usize, 0_usize);
    let mut buffer = [0; 2_048];
    for (n, datagram) in all.iter().enumerate() {
        let mut datagram = datagram.clone();
        if datagram[0] < 4 && n % 2 == 0 {
            // A broken integrity.
            let last = datagram.len() - 1;
            datagram[last] ^= 1;
            let at = random.next(datagram.len());
            datagram[at] ^= 0x10;
        } else if datagram[0] < 4 {
            // Not as it was: what is replayed from elsewhere is a matter of ICE.
            continue;
        }
        sent += datagram.len();
        stranger.send_to(&datagram, bridge).unwrap();
        for _ in 0..2 {
            let len = 1 + random.next(1_200);
            let mut garbage = random.bytes(len);
            garbage[0] = [0, 0, 22, 0x80, 0x90, garbage[0]][random.next(6)];
            sent += garbage.len();
            stranger.send_to(&garbage, bridge).unwrap();
        }
        if n % 10 == 0 {
            w.run(2 * MS);
        }
        while let Ok((len, _)) = stranger.recv_from(&mut buffer) {
            got += len;
        }
    }
    w.run(500 * MS);
    while let Ok((len, _)) = stranger.recv_from(&mut buffer) {
        got += len;
    }
    println!("strangers sent {sent} bytes and got {got}");
    assert!(got * 20 < sent, "no more than refusals: {got} of {sent}");
    unhurt(&mut w, begin, &[1]);
}

#[test]
fn ssrcs_of_others_and_floods_of_sources() {
    let mut w = call(2, 2, Camera::simulcast(SOURCE, 31));
    for viewer in [1, 2] {
        until_height(&mut w, viewer, 20, 720);
    }
    let begin = Instant::now();
    // A participant signals the publisher's SSRCs as his own, and sends on them.
    let mut thief = Camera::simulcast("bbb1-v0", 31);
    thief.encodings.iter_mut().for_each(|it| it.height = 180);
    w.publish(2, vec![thief], Some(Microphone::new("bbb1-a0", 21, 30)));
    w.run(2 * S);
    unhurt(&mut w, begin, &[1]);
    // Packets of SSRCs that nobody signaled.
    let begin = Instant::now();
    let before = w.counters().unknown_ssrc;
    w.people[2].cameras = (0..6).map(|n| Camera::simulcast(&format!("bbb1-v{n}"), 60_000 + 100 * n)).collect();
    w.people[2].declare();
    w.run(2 * S);
    assert!(w.counters().unknown_ssrc > before + 500);
    unhurt(&mut w, begin, &[1]);
    // As many sources as he may have, coming and going.
    for round in 0..10_u32 {
        w.people[2].cameras =
            (0..4).map(|n| Camera::simulcast(&format!("bbb1-v{n}"), 100_000 + 1_000 * round + 100 * n)).collect();
        w.signal(2);
        w.run(50 * MS);
    }
    w.people[2].cameras.clear();
    w.people[2].microphone = None;
    w.signal(2);
    w.run(S);
    unhurt(&mut w, begin, &[1]);
}

#[test]
fn a_payload_type_that_changes_in_the_middle_of_a_stream() {
    let mut w = call(1, 2, Camera::simulcast(SOURCE, 31));
    for viewer in [1, 2] {
        until_height(&mut w, viewer, 20, 720);
    }
    // VP8 that calls itself VP9, AV1, retransmission, audio.
    for payload_type in [98, 45, 97, 111] {
        w.people[0].camera(SOURCE).payload_type = Some(payload_type);
        w.run(500 * MS);
        w.people[0].camera(SOURCE).payload_type = None;
        w.people[0].camera(SOURCE).key = true;
        let now = Instant::now();
        w.until("it goes on", 5, |it| [1, 2].iter().all(|n| it.people[*n].sees(SOURCE, now)));
    }
    let begin = Instant::now();
    w.run(S);
    let now = Instant::now();
    for viewer in [1, 2] {
        assert!(w.people[viewer].screen(SOURCE).longest_freeze(begin, now) < 500 * MS);
        w.people[viewer].nonces.check();
    }
    assert_eq!(w.counters().panics, 0);
}

#[test]
fn who_sends_no_feedback_is_served_and_hurts_nobody() {
    let mut w = call(1, 2, Camera::simulcast(SOURCE, 31));
    until_height(&mut w, 2, 20, 720);
    w.people[1].silent = true;
    let begin = Instant::now();
    w.run(6 * S);
    unhurt(&mut w, begin, &[2]);
    let now = Instant::now();
    let screen = w.people[1].screen(SOURCE);
    assert!(screen.since(now - 2 * S).count() > 10, "less and less, but something");
    assert!(screen.broken.is_empty(), "{:?}", screen.broken);
}

#[test]
fn keyframe_requests_in_a_flood_reach_the_publisher_at_the_throttle() {
    let mut w = call(2, 2, Camera::simulcast(SOURCE, 31));
    for viewer in [1, 2] {
        until_height(&mut w, viewer, 20, 720);
    }
    w.run(2 * S);
    let ssrc = w.people[1].sources[SOURCE].0;
    let (asked, begin) = (w.people[0].camera(SOURCE).asked, Instant::now());
    let before = w.counters();
    while begin.elapsed() < 10 * S {
        w.people[1].ask_keyframe(ssrc);
        w.run(10 * MS);
    }
    let after = w.counters();
    let came = w.people[0].camera(SOURCE).asked - asked;
    let asked = after.keyframes_asked - before.keyframes_asked;
    println!("asked {asked} times in 10 s, {came} reached the publisher");
    assert!(asked > 100, "{asked}");
    assert!(came <= 8, "{came}");
    unhurt(&mut w, begin, &[1, 2]);
}

#[test]
fn no_number_is_used_twice_whatever_is_switched() {
    let mut w = World::new(2);
    let names = ["aaaa", "bbbb", "cccc"];
    for (n, name) in names.into_iter().enumerate() {
        let it = w.join(name, Kind::Participant);
        let camera = Camera::simulcast(&format!("{name}-v0"), 1_000 * (n as u32 + 1));
        w.publish(it, vec![camera], Some(Microphone::new(&format!("{name}-a0"), 500 + n as u32, 30)));
    }
    let viewers = [w.join("dddd", Kind::Visitor), w.join("eeee", Kind::Visitor), w.join("ffff", Kind::Plain)];
    w.open();
    let mut random = Random(3);
    let seconds = std::env::var("AMPHI_LONG").ok().and_then(|it| it.parse().ok()).unwrap_or(20);
    let begin = Instant::now();
    let mut renewed = 10_000;
    while begin.elapsed() < Duration::from_secs(seconds) {
        for viewer in viewers {
            match random.next(6) {
                0 => {
                    let last_n = random.next(4) as i64 - 1;
                    w.people[viewer].want(json!({ "lastN": last_n, "defaultConstraints": { "maxHeight": 180 } }));
                }
                1 | 2 => {
                    let name = format!("{}-v0", names[random.next(3)]);
                    let height = [0, 180, 360, 720][random.next(4)];
                    w.people[viewer].want(json!({
                        "lastN": -1, "onStageSources": [name], "defaultConstraints": { "maxHeight": 180 },
                        "constraints": { name: { "maxHeight": height } },
                    }));
                }
                3 => {
                    let loss = amphi_netem::Conditions::loss(random.next(15) as f32 / 100.0);
                    w.people[viewer].down.set(&loss);
                }
                4 => {
                    let rate = [0, 300_000, 800_000, 2_000_000][random.next(4)];
                    w.people[viewer].down.set(&amphi_netem::Conditions::rate(rate));
                }
                _ => {}
            }
        }
        if random.next(4) == 0 {
            let n = random.next(3);
            renewed += 100;
            let camera = w.people[n].cameras[0].renewed(renewed);
            w.people[n].cameras = vec![camera];
            w.signal(n);
        }
        w.run(Duration::from_millis(150 + random.next(200) as u64));
    }
    for viewer in viewers {
        let it = &w.people[viewer];
        println!("{}: {} packets on {} SSRCs", it.name, it.nonces.count(), it.nonces.ssrcs.len());
        assert!(it.nonces.count() > 500);
        it.nonces.check();
        for screen in it.screens.values() {
            assert!(screen.broken.is_empty(), "{:?}", screen.broken);
        }
    }
    assert_eq!(w.counters().panics, 0);
}
