use proptest::prelude::*;

use super::*;

fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Writer::new(&mut out));
    out
}

fn only(data: &[u8]) -> Packet<'_> {
    let all: Vec<_> = compound(data).collect::<Result<_, _>>().unwrap();
    assert_eq!(all.len(), 1);
    all[0]
}

fn block(ssrc: u32) -> ReportBlock {
    ReportBlock {
        ssrc,
        fraction_lost: 128,
        cumulative_lost: -5,
        highest_seq: 0x0001_ffff,
        jitter: 90,
        last_sr: 0xaabb_ccdd,
        delay_since_last_sr: 65_536,
    }
}

#[test]
fn a_compound_packet_is_read_as_it_was_written() {
    let info = SenderInfo { ntp: 0x1122_3344_5566_7788, rtp_timestamp: 9, packets: 10, octets: 11 };
    let data = written(|w| {
        w.sender_report(1, &info, &[block(2)]).unwrap();
        w.receiver_report(1, &[block(3), block(4)]).unwrap();
        w.cname(1, "somebody").unwrap();
        w.pli(1, 5);
        w.fir(1, &[FirEntry { media_ssrc: 6, number: 7 }, FirEntry { media_ssrc: 8, number: 9 }]).unwrap();
        w.nack(1, 5, [1]).unwrap();
        w.remb(1, 1_000_000, &[5, 6]).unwrap();
    });
    let all: Vec<_> = compound(&data).collect::<Result<_, _>>().unwrap();
    let [
        Packet::SenderReport(sr),
        Packet::ReceiverReport(rr),
        Packet::Sdes(sdes),
        Packet::Pli { sender_ssrc: 1, media_ssrc: 5 },
        Packet::Fir(fir),
        Packet::Nack(nack),
        Packet::Remb(remb),
    ] = all[..]
    else {
        panic!("{all:?}")
    };
    assert_eq!((sr.ssrc, sr.info, sr.blocks().collect::<Vec<_>>()), (1, info, vec![block(2)]));
    assert_eq!(info.ntp_middle(), 0x3344_5566);
    assert_eq!(rr.blocks().collect::<Vec<_>>(), [block(3), block(4)]);
    assert_eq!(
        sdes.items().collect::<Vec<_>>(),
        [SdesItem { ssrc: 1, item_type: SdesItem::CNAME, value: b"somebody" }]
    );
    assert_eq!(fir.entries().map(|e| (e.media_ssrc, e.number)).collect::<Vec<_>>(), [(6, 7), (8, 9)]);
    assert_eq!((nack.media_ssrc, nack.lost().collect::<Vec<_>>()), (5, vec![1]));
    assert_eq!((remb.bitrate, remb.ssrcs().collect::<Vec<_>>()), (1_000_000, vec![5, 6]));
}

#[test]
fn descriptions_are_filled_up_to_whole_words() {
    for len in 0..=255 {
        let name = "x".repeat(len);
        let data = written(|w| w.cname(7, &name).unwrap());
        assert_eq!(data.len() % 4, 0);
        let Packet::Sdes(sdes) = only(&data) else { panic!() };
        assert_eq!(sdes.items().map(|i| i.value.len()).collect::<Vec<_>>(), [len]);
    }
    let mut out = Vec::new();
    assert_eq!(Writer::new(&mut out).cname(7, &"x".repeat(256)), Err(RtcpError::TooLong));
    assert!(out.is_empty());
}

#[test]
fn several_chunks_of_a_description_are_read() {
    let data = [0x82, 202, 0, 5, 0, 0, 0, 1, 1, 1, b'a', 0, 0, 0, 0, 2, 2, 1, b'b', 1, 1, b'c', 0, 0];
    let Packet::Sdes(sdes) = only(&data) else { panic!() };
    let all: Vec<_> = sdes.items().map(|i| (i.ssrc, i.item_type, i.value)).collect();
    assert_eq!(all, [(1, 1, &b"a"[..]), (2, 2, b"b"), (2, 1, b"c")]);
}

#[test]
fn too_many_report_blocks_are_refused_by_the_writer() {
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    assert_eq!(w.receiver_report(1, &[block(1); 32]), Err(RtcpError::TooLong));
    assert!(w.is_empty());
    w.receiver_report(1, &[block(1); 31]).unwrap();
    assert_eq!(w.len(), 8 + 31 * 24);
}

#[test]
fn cumulative_loss_is_clamped_to_its_24_bits() {
    for (given, read) in [(i32::MAX, 0x7f_ffff), (i32::MIN, -0x80_0000), (-1, -1)] {
        let data = written(|w| w.receiver_report(1, &[ReportBlock { cumulative_lost: given, ..block(1) }]).unwrap());
        let Packet::ReceiverReport(rr) = only(&data) else { panic!() };
        assert_eq!(rr.blocks().next().unwrap().cumulative_lost, read);
    }
}

#[test]
fn unknown_packets_are_passed_over() {
    let mut data = vec![0x83, 199, 0, 1, 1, 2, 3, 4, 0x80, 207, 0, 1, 0, 0, 0, 9, 0x81, 203, 0, 1, 0, 0, 0, 5];
    data.extend_from_slice(&[0x85, 204, 0, 2, 0, 0, 0, 1, b'n', b'a', b'm', b'e']);
    data.extend_from_slice(&[0x9e, 206, 0, 0]);
    let all: Vec<_> = compound(&data).collect::<Result<_, _>>().unwrap();
    assert_eq!(all[0], Packet::Unknown { packet_type: 199, count: 3, body: &[1, 2, 3, 4] });
    assert_eq!(all[1], Packet::ExtendedReport { ssrc: 9 });
    assert!(matches!(all[2], Packet::Bye(bye) if bye.ssrcs().eq([5])));
    assert_eq!(all[3], Packet::App { subtype: 5, ssrc: 1, name: *b"name", data: &[] });
    assert_eq!(all[4], Packet::Unknown { packet_type: 206, count: 30, body: &[] });
}

#[test]
fn a_bad_content_does_not_hide_the_next_packet_but_a_bad_length_does() {
    let mut data = vec![0x81, 201, 0, 1, 0, 0, 0, 1]; // a block that is not there
    data.extend(written(|w| w.pli(1, 2)));
    let all: Vec<_> = compound(&data).collect();
    assert_eq!(all, [Err(RtcpError::Truncated), Ok(Packet::Pli { sender_ssrc: 1, media_ssrc: 2 })]);
    data[3] = 200;
    assert_eq!(compound(&data).collect::<Vec<_>>(), [Err(RtcpError::Truncated)]);
    data[0] = 0x41;
    assert_eq!(compound(&data).collect::<Vec<_>>(), [Err(RtcpError::Version)]);
}

#[test]
fn padding_is_taken_off() {
    let padded = [0xa1, 203, 0, 2, 0, 0, 0, 5, 0, 0, 0, 4];
    let Packet::Bye(bye) = only(&padded) else { panic!() };
    assert_eq!(bye.ssrcs().collect::<Vec<_>>(), [5]);
    for bad in [0, 9, 255] {
        let mut data = padded;
        data[11] = bad;
        assert_eq!(compound(&data).collect::<Vec<_>>(), [Err(RtcpError::Padding)], "{bad}");
    }
    let twice = [padded, padded].concat();
    assert!(compound(&twice).all(|it| matches!(it, Ok(Packet::Bye(_)))));
}

#[test]
fn transport_feedback_that_browsers_pad_by_single_bytes_is_read() {
    // Seven packets of one small delta each: one byte short of whole words.
    let feedback = [
        0xaf, 205, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 25, 0, 7, 0, 0, 0, 2, 0x20, 7, 0xcf, 23, 32, 27, 31, 28, 33, 0, 0,
        3,
    ];
    let Packet::TransportCc(feedback) = only(&feedback) else { panic!() };
    let told: Vec<_> = feedback.statuses().map(|it| (it.seq, it.arrival.is_some())).collect();
    assert_eq!(told, (25..32).map(|seq| (seq, true)).collect::<Vec<_>>());
}

#[test]
fn rates_saturate() {
    let mut data = written(|w| w.remb(1, u64::MAX, &[]).unwrap());
    let Packet::Remb(remb) = only(&data) else { panic!() };
    assert_eq!(remb.bitrate, 0x3_ffff << 46);
    data[17..20].copy_from_slice(&[0xff, 0xff, 0xff]);
    let Packet::Remb(remb) = only(&data) else { panic!() };
    assert_eq!(remb.bitrate, u64::MAX);
}

#[test]
fn a_feedback_as_in_the_draft() {
    // Base 5, seven packets: two small, a lost one, a large one back in time, then a run of three lost.
    let data = [
        0x8f,
        205,
        0,
        6,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        2,
        0,
        5,
        0,
        7,
        0,
        0,
        4,
        9, // reference time 4
        0b1101_0100,
        0b1000_0000, // two-bit: 1 1 0 2 0 0 0
        4,
        8,
        0xff,
        0xfc,
        0,
        0,
    ];
    let Packet::TransportCc(feedback) = only(&data) else { panic!() };
    assert_eq!((feedback.base_seq, feedback.count, feedback.reference_time, feedback.feedback_count), (5, 7, 4, 9));
    let base = 4 * 64_000;
    assert_eq!(feedback.reference_micros(), base);
    let all: Vec<_> = feedback.statuses().map(|s| (s.seq, s.arrival)).collect();
    let wanted = [
        (5, Some(base + 1000)),
        (6, Some(base + 3000)),
        (7, None),
        (8, Some(base + 2000)),
        (9, None),
        (10, None),
        (11, None),
    ];
    assert_eq!(all, wanted);
}

#[test]
fn feedback_that_claims_too_much_is_refused() {
    let run = |count: [u8; 2], chunk: [u8; 2]| {
        let mut data = vec![0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 5];
        data.extend_from_slice(&count);
        data.extend_from_slice(&[0, 0, 0, 0]);
        data.extend_from_slice(&chunk);
        data.extend_from_slice(&[0, 0]);
        compound(&data).next().unwrap().map(|_| ())
    };
    assert_eq!(run([0xff, 0xff], [0x1f, 0xff]), Err(RtcpError::TooManyStatuses(65_535)));
    assert_eq!(run([0x10, 0], [0x1f, 0xff]), Ok(()), "a run of lost packets");
    assert_eq!(run([0x10, 0], [0x3f, 0xff]), Err(RtcpError::Truncated), "no deltas");
    assert_eq!(run([0x10, 0], [0, 0]), Err(RtcpError::Truncated), "runs of nothing");
}

/// Writes all arrivals, and reads them back as (sequence number, ticks).
fn through_feedback(base: u64, arrivals: &[Arrival], max_len: usize) -> Vec<(u16, Option<i64>)> {
    let mut read = Vec::new();
    let (mut base_seq, mut rest, mut feedback_count) = (base, arrivals, 0u8);
    while !rest.is_empty() {
        let mut out = Vec::new();
        let feedback = TransportCcFeedback { sender_ssrc: 1, media_ssrc: 2, base_seq, feedback_count, arrivals: rest };
        let taken = Writer::new(&mut out).transport_cc(&feedback, max_len);
        assert!(taken > 0 && out.len() <= max_len, "{} of {max_len}", out.len());
        let Packet::TransportCc(parsed) = only(&out) else { panic!() };
        assert_eq!(parsed.feedback_count, feedback_count);
        assert_eq!(parsed.statuses().count(), usize::from(parsed.count));
        read.extend(parsed.statuses().map(|s| (s.seq, s.arrival.map(|a| a / TICK_MICROS))));
        base_seq = rest[taken - 1].seq + 1;
        rest = &rest[taken..];
        feedback_count = feedback_count.wrapping_add(1);
    }
    read
}

#[test]
fn long_gaps_split_or_restart_the_feedback() {
    let at = |seq, millis: i64| Arrival { seq, micros: millis * 1000 };
    let read = through_feedback(0, &[at(0, 0), at(20_000, 10), at(20_001, 20_000), at(100_000, 20_001)], 1200);
    let came: Vec<_> = read.iter().filter(|(_, a)| a.is_some()).map(|(s, _)| *s).collect();
    assert_eq!(came, [0, 20_000, 20_001, 100_000u64 as u16]);
    assert_eq!(read.len(), 20_002 + 1, "nothing is said about the 80,000 between");
}

#[test]
fn arrivals_that_were_reported_on_are_passed_over() {
    let at = |seq| Arrival { seq, micros: 0 };
    let mut out = Vec::new();
    let arrivals = [at(3), at(4)];
    let feedback =
        TransportCcFeedback { sender_ssrc: 1, media_ssrc: 2, base_seq: 5, feedback_count: 0, arrivals: &arrivals };
    assert_eq!(Writer::new(&mut out).transport_cc(&feedback, 1200), 2);
    assert!(out.is_empty());
}

proptest! {
    #[test]
    fn feedback_is_read_as_it_was_written(
        first in 0..200_000u64, lead in 0..40u64, start in 0..1_000_000_000i64, max_len in 60..1200usize,
        steps in proptest::collection::vec(
            (prop_oneof![6 => Just(1u64), 2 => 1..20u64, 1 => 1..9000u64],
             prop_oneof![6 => 0..60_000i64, 2 => -9_000..500_000i64, 1 => -20_000_000..20_000_000i64]), 1..300),
    ) {
        let mut arrival = Arrival { seq: first + lead, micros: start + 100_000_000_000 };
        let mut arrivals = vec![arrival];
        for (seq, micros) in steps {
            arrival = Arrival { seq: arrival.seq + seq, micros: arrival.micros + micros };
            arrivals.push(arrival);
        }
        let read = through_feedback(first, &arrivals, max_len);
        let mut wanted = Vec::new();
        let mut next = first;
        for arrival in &arrivals {
            wanted.extend((next..arrival.seq).map(|s| (s as u16, None)));
            // What a reader sees begins anew every 2^24 units of the reference time; here it does not come to that.
            wanted.push((arrival.seq as u16, Some(arrival.micros.div_euclid(TICK_MICROS))));
            next = arrival.seq + 1;
        }
        prop_assert_eq!(read, wanted);
    }

    #[test]
    fn lost_packets_are_read_as_they_were_written(first: u16, steps in proptest::collection::vec(1..40u16, 0..60)) {
        let lost: Vec<u16> = std::iter::once(first)
            .chain(steps.iter().scan(first, |seq, by| {
                *seq = seq.wrapping_add(*by);
                Some(*seq)
            }))
            .collect();
        let data = written(|w| w.nack(1, 2, lost.iter().copied()).unwrap());
        let Packet::Nack(nack) = only(&data) else { panic!() };
        prop_assert_eq!(nack.lost().collect::<Vec<_>>(), lost);
    }

    #[test]
    fn rates_lose_less_than_one_of_131_072(bitrate in 0..u64::MAX >> 1) {
        let data = written(|w| w.remb(1, bitrate, &[]).unwrap());
        let Packet::Remb(remb) = only(&data) else { panic!() };
        prop_assert!(remb.bitrate <= bitrate && bitrate - remb.bitrate <= bitrate >> 17);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(data in proptest::collection::vec(any::<u8>(), 0..200), types in any::<u8>()) {
        let mut data = data;
        if data.len() >= 4 {
            data[0] = data[0] & 0x1f | 0x80;
            data[1] = 199 + types % 9;
            let words = (data.len() / 4 - 1) as u16;
            data[2..4].copy_from_slice(&words.to_be_bytes());
            data.truncate(4 * (usize::from(words) + 1));
        }
        for packet in compound(&data).flatten() {
            match packet {
                Packet::SenderReport(r) => prop_assert!(r.blocks().count() <= 31),
                Packet::ReceiverReport(r) => prop_assert!(r.blocks().count() <= 31),
                Packet::Sdes(s) => prop_assert!(s.items().count() <= data.len()),
                Packet::Bye(b) => prop_assert!(b.ssrcs().count() <= 31),
                Packet::Fir(f) => prop_assert!(f.entries().count() <= data.len()),
                Packet::Nack(n) => prop_assert!(n.lost().count() <= 17 * data.len()),
                Packet::Remb(r) => prop_assert!(r.ssrcs().count() <= 255),
                Packet::TransportCc(t) => prop_assert_eq!(t.statuses().count(), usize::from(t.count)),
                _ => {}
            }
        }
    }
}
