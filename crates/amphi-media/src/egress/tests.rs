//! What a receiver may ask for.

use std::time::Instant;

use super::{Asked, LineNumbers, Receiver, ReceiverConfig};
use crate::rtcp::{Packet, Writer, compound};
use crate::srtp::{MasterKey, Outbound, Profile};

fn receiver(transport_cc: bool) -> Receiver {
    let outbound = Outbound::new(&MasterKey::new(Profile::AeadAes128Gcm, &[7; 16], &[8; 12]).unwrap()).unwrap();
    Receiver::new(Instant::now(), outbound, transport_cc, [(96, 97)], ReceiverConfig::default())
}

#[test]
fn a_remb_is_not_believed_above_what_is_ever_estimated() {
    let mut receiver = receiver(false);
    // 2^46 times 2^17.
    let remb = [0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 46 << 2 | 2, 0, 0, 0, 0, 0, 9];
    receiver.on_control(Instant::now(), &remb, &mut Vec::new());
    assert_eq!(receiver.bandwidth(), Some(ReceiverConfig::default().bwe.max));
}

/// 28 bytes that claim the loss of `count` packets.
fn loss(count: u16) -> Vec<u8> {
    let mut packet = vec![0x8f, 205, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1];
    packet.extend(count.to_be_bytes());
    packet.extend([0; 4]);
    for _ in 0..4 {
        packet.extend(8_191_u16.to_be_bytes());
    }
    packet
}

#[test]
fn one_datagram_of_feedback_is_about_some_thousand_packets_at_most() {
    assert_eq!(receiver(true).on_control(Instant::now(), &loss(4_097), &mut Vec::new()), 1);
    assert!(matches!(compound(&loss(1_000)).next(), Some(Ok(Packet::TransportCc(it))) if it.count == 1_000));
    let all: Vec<u8> = (0..50).flat_map(|_| loss(1_000)).collect();
    assert_eq!(receiver(true).on_control(Instant::now(), &all, &mut Vec::new()), 46);
}

#[test]
fn one_datagram_asks_for_a_thousand_packets_at_most() {
    let mut all = Vec::new();
    for _ in 0..5 {
        Writer::new(&mut all).nack(1, 7, 0..1_000).unwrap();
    }
    let mut asked = Vec::new();
    assert_eq!(receiver(true).on_control(Instant::now(), &all, &mut asked), 4);
    assert_eq!(asked.len(), 1_024);
}

#[test]
fn one_datagram_asks_for_one_keyframe_of_an_ssrc() {
    let (now, mut receiver) = (Instant::now(), receiver(true));
    receiver.slot(7, None).unwrap();
    let (mut all, mut asked) = (Vec::new(), Vec::new());
    for ssrc in [7, 7, 8, 7, 8] {
        Writer::new(&mut all).pli(1, ssrc);
    }
    assert_eq!(receiver.on_control(now, &all, &mut asked), 3);
    assert_eq!(asked, [Asked::Keyframe { slot: 0 }, Asked::LineKeyframe { ssrc: 8 }]);
    // And of so many SSRCs.
    all.clear();
    (0..120).for_each(|ssrc| Writer::new(&mut all).pli(1, ssrc));
    assert_eq!(receiver.on_control(now, &all, &mut asked), 56);
}

#[test]
fn an_ssrc_has_one_role_for_ever() {
    let mut receiver = receiver(true);
    let numbers = |ssrc| LineNumbers { ssrc, seq: 65_540, timestamp: 0 };
    assert!(receiver.slot(1, Some(2)).is_some());
    assert_eq!(receiver.rtx_seq(2), Some(1));
    assert!(receiver.number(&numbers(3)).is_some());
    for ssrc in [2, 3] {
        assert!(receiver.slot(ssrc, None).is_none(), "{ssrc}");
    }
    for ssrc in [1, 3] {
        assert_eq!(receiver.rtx_seq(ssrc), None, "{ssrc}");
    }
    for ssrc in [1, 2] {
        assert!(receiver.number(&numbers(ssrc)).is_none(), "{ssrc}");
    }
    assert!(receiver.slot(1, None).is_some() && receiver.number(&numbers(3)).is_some());
    assert_eq!(receiver.rtx_seq(2), Some(2));
}

#[test]
fn a_relay_is_sent_lines_and_retransmissions_of_thousands_who_come_and_go() {
    let mut relay = receiver(false);
    for ssrc in 0..8_000 {
        let numbers = LineNumbers { ssrc, seq: 65_536, timestamp: 0 };
        assert!(relay.number(&numbers).is_some(), "{ssrc}");
        assert_eq!(relay.rtx_seq(100_000 + ssrc), Some(1), "{ssrc}");
    }
    assert_eq!(relay.number(&LineNumbers { ssrc: 5, seq: 65_537, timestamp: 0 }).unwrap().seq, 1);
}
