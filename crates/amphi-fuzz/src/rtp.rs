//! RTP packets: what is read is inside the packet, and a header written anew from it says the same.

use amphi_media::red::Red;
use amphi_media::rtp::{
    ExtensionKind, ExtensionMap, ExtensionValues, Header, HeaderFields, Packet, RtpError, classify, write_header,
};

/// A packet, of which the payload is taken as RED too.
pub fn rtp(data: &[u8]) {
    classify(data);
    red(data);
    let mut map = ExtensionMap::new();
    for (kind, id) in ExtensionKind::ALL.iter().zip(1..) {
        map.set(*kind, id).expect("distinct ids below 15");
    }
    if let Ok(header) = Header::parse(data) {
        ExtensionValues::read(header.extensions(data), &map);
    }
    let Ok(packet) = Packet::parse(data) else { return };
    let header = packet.header();
    assert_eq!(header.len() + packet.payload().len() + packet.padding_len(), data.len());
    assert_eq!(packet.csrcs().count(), usize::from(header.csrcs));
    red(packet.payload());

    let mut elements = packet.extensions();
    while let Some((_, at, value)) = elements.next_at() {
        assert_eq!(&data[at..at + value.len()], value);
    }
    let known: Vec<_> = packet.extensions().filter_map(|(id, value)| map.kind(id).map(|kind| (kind, value))).collect();
    let fields = HeaderFields {
        payload_type: header.payload_type,
        marker: header.marker,
        seq: header.seq,
        timestamp: header.timestamp,
        ssrc: header.ssrc,
    };
    let mut out = vec![0; 2 * data.len() + 64];
    let layout = match write_header(&mut out, &fields, &map, &known) {
        Ok(layout) => layout,
        // Many small elements take more room in the two-byte form than the length field can say.
        Err(error) => return assert!(error == RtpError::NoRoom && data.len() > 30_000),
    };
    let again = Packet::parse(&out[..layout.header_len()]).expect("a header of ours");
    let read: Vec<_> = again.extensions().filter_map(|(id, value)| map.kind(id).map(|kind| (kind, value))).collect();
    assert_eq!(read, known);
    assert_eq!((again.header().seq, again.header().ssrc), (fields.seq, fields.ssrc));
}

fn red(payload: &[u8]) {
    if let Ok(red) = Red::parse(payload) {
        let len: usize = red.redundant().map(|b| b.data.len() + 4).sum();
        assert_eq!(len + 1 + red.primary().data.len(), payload.len());
        assert!(red.recover(0, 0, |_| true).count() <= red.redundant().len());
    }
}
