//! RTCP: iterators are bounded by the packet, and what is written anew from a packet is read alike.

use amphi_media::rtcp::{Arrival, Packet, PacketStatus, TransportCc, TransportCcFeedback, Writer, compound};

/// A compound packet.
pub fn rtcp(data: &[u8]) {
    let mut out = Vec::new();
    for packet in compound(data).flatten() {
        out.clear();
        let mut writer = Writer::new(&mut out);
        match packet {
            Packet::SenderReport(r) => {
                let blocks: Vec<_> = r.blocks().collect();
                writer.sender_report(r.ssrc, &r.info, &blocks).expect("as many blocks as were read");
                let Some(Ok(Packet::SenderReport(again))) = compound(&out).next() else { panic!("{out:?}") };
                assert_eq!((again.info, again.blocks().collect::<Vec<_>>()), (r.info, blocks));
            }
            Packet::ReceiverReport(r) => {
                let blocks: Vec<_> = r.blocks().collect();
                writer.receiver_report(r.ssrc, &blocks).expect("as many blocks as were read");
                let Some(Ok(Packet::ReceiverReport(again))) = compound(&out).next() else { panic!("{out:?}") };
                assert_eq!(again.blocks().collect::<Vec<_>>(), blocks);
            }
            Packet::Nack(n) => {
                let lost: Vec<_> = n.lost().collect();
                assert!(lost.len() <= data.len() * 17 / 4);
                if lost.is_empty() || writer.nack(n.sender_ssrc, n.media_ssrc, lost.iter().copied()).is_err() {
                    continue;
                }
                let Some(Ok(Packet::Nack(again))) = compound(&out).next() else { panic!("{out:?}") };
                let mut read: Vec<_> = again.lost().collect();
                let mut wanted = lost;
                // Numbers that are named twice in a row are written once.
                for all in [&mut read, &mut wanted] {
                    all.sort_unstable();
                    all.dedup();
                }
                assert_eq!(read, wanted);
            }
            Packet::Remb(r) => {
                let ssrcs: Vec<_> = r.ssrcs().collect();
                writer.remb(r.sender_ssrc, r.bitrate, &ssrcs).expect("as many SSRCs as were read");
                let Some(Ok(Packet::Remb(again))) = compound(&out).next() else { panic!("{out:?}") };
                assert_eq!(again.ssrcs().collect::<Vec<_>>(), ssrcs);
                assert!(again.bitrate <= r.bitrate);
            }
            Packet::TransportCc(t) => transport_cc(&t),
            Packet::Sdes(s) => assert!(s.items().count() <= data.len()),
            Packet::Fir(f) => assert!(f.entries().count() <= data.len()),
            Packet::Bye(b) => assert!(b.ssrcs().count() <= 31),
            _ => {}
        }
    }
}

fn transport_cc(feedback: &TransportCc<'_>) {
    let statuses: Vec<PacketStatus> = feedback.statuses().collect();
    assert_eq!(statuses.len(), usize::from(feedback.count));
    let base_seq = u64::from(feedback.base_seq);
    let arrivals: Vec<_> = statuses
        .iter()
        .zip(base_seq..)
        .filter_map(|(status, seq)| status.arrival.map(|micros| Arrival { seq, micros }))
        .collect();
    let (mut base_seq, mut rest, mut feedback_count) = (base_seq, &arrivals[..], 0u8);
    let mut read = Vec::new();
    while let Some(first) = rest.first() {
        let (sender_ssrc, media_ssrc) = (feedback.sender_ssrc, feedback.media_ssrc);
        let mut out = Vec::new();
        let written = TransportCcFeedback { sender_ssrc, media_ssrc, base_seq, feedback_count, arrivals: rest };
        let taken = Writer::new(&mut out).transport_cc(&written, 1200);
        assert!(taken > 0 && out.len() <= 1200);
        let Some(Ok(Packet::TransportCc(again))) = compound(&out).next() else { panic!("{out:?}") };
        // The reference time wraps around in 24 bits.
        let wrapped = |micros: i64| micros.rem_euclid(64_000 << 24);
        let start = read.len();
        read.extend(again.statuses().filter_map(|s| s.arrival.map(|a| (s.seq, wrapped(a)))));
        assert_eq!(read[start], (first.seq as u16, wrapped(first.micros)));
        base_seq = rest[taken - 1].seq + 1;
        rest = &rest[taken..];
        feedback_count = feedback_count.wrapping_add(1);
    }
    assert_eq!(read.len(), arrivals.len());
    assert!(read.iter().zip(&arrivals).all(|((seq, _), arrival)| *seq == arrival.seq as u16));
}
