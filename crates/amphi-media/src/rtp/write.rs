//! Headers laid out once and patched per receiver. What may differ per receiver has a place of fixed size, told by [`Layout`].

use super::{ExtensionForm, ExtensionKind, ExtensionMap, FIXED_HEADER_LEN, RtpError};

/// Fixed fields of a header to write. CSRCs are not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeaderFields {
    /// Payload type; the upper bit is ignored.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Sequence number.
    pub seq: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// SSRC.
    pub ssrc: u32,
}

/// Where things are in a header that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    len: u16,
    form: Option<ExtensionForm>,
    /// By kind; 0 is absent.
    values: [u16; ExtensionKind::ALL.len()],
}

impl Layout {
    /// Offset of the byte of marker and payload type.
    pub const PAYLOAD_TYPE: usize = 1;
    /// Offset of the sequence number.
    pub const SEQ: usize = 2;
    /// Offset of the timestamp.
    pub const TIMESTAMP: usize = 4;
    /// Offset of the SSRC.
    pub const SSRC: usize = 8;

    /// Length of the header: where the payload goes.
    pub fn header_len(&self) -> usize {
        usize::from(self.len)
    }

    /// The form that was chosen, if extensions were written.
    pub fn form(&self) -> Option<ExtensionForm> {
        self.form
    }

    /// Offset of the value of an extension, if it was written.
    pub fn value(&self, kind: ExtensionKind) -> Option<usize> {
        match self.values[kind as usize] {
            0 => None,
            at => Some(usize::from(at)),
        }
    }
}

/// Writes a header into the start of `out`. Extensions go in the order given; what the map does not name is left out, as is what fits neither
/// form. The two-byte form is taken if an element needs it (id above 14, no value or more than 16 bytes) and the peer can be expected to know
/// it; else such an element is left out.
///
/// # Errors
/// No room in `out`.
pub fn write_header(
    out: &mut [u8],
    fields: &HeaderFields,
    map: &ExtensionMap,
    extensions: &[(ExtensionKind, &[u8])],
) -> Result<Layout, RtpError> {
    let fixed = out.first_chunk_mut::<FIXED_HEADER_LEN>().ok_or(RtpError::NoRoom)?;
    fixed[0] = 0x80;
    fixed[1] = fields.payload_type & 0x7f | u8::from(fields.marker) << 7;
    fixed[2..4].copy_from_slice(&fields.seq.to_be_bytes());
    fixed[4..8].copy_from_slice(&fields.timestamp.to_be_bytes());
    fixed[8..12].copy_from_slice(&fields.ssrc.to_be_bytes());
    let mut layout = Layout { len: FIXED_HEADER_LEN as u16, form: None, values: [0; ExtensionKind::ALL.len()] };

    let needs_two = |id: u8, value: &[u8]| id > 14 || value.is_empty() || value.len() > 16;
    let two_allowed = map.mixed() || map.has_large_ids();
    let chosen = || {
        extensions.iter().filter_map(|(kind, value)| {
            let id = map.id(*kind)?;
            (value.len() <= 255 && (two_allowed || !needs_two(id, value))).then_some((*kind, id, *value))
        })
    };
    let form = match chosen().any(|(_, id, value)| needs_two(id, value)) {
        true => ExtensionForm::TwoByte,
        false => ExtensionForm::OneByte,
    };
    let mut at = FIXED_HEADER_LEN + 4;
    for (kind, id, value) in chosen() {
        let head = match form {
            ExtensionForm::OneByte => &[id << 4 | (value.len() as u8).wrapping_sub(1)][..],
            ExtensionForm::TwoByte => &[id, value.len() as u8][..],
        };
        let value_at = at + head.len();
        let end = value_at + value.len();
        let place = out.get_mut(at..end).ok_or(RtpError::NoRoom)?;
        let (head_place, value_place) = place.split_at_mut(head.len());
        head_place.copy_from_slice(head);
        value_place.copy_from_slice(value);
        layout.values[kind as usize] = u16::try_from(value_at).map_err(|_| RtpError::NoRoom)?;
        at = end;
    }
    if at == FIXED_HEADER_LEN + 4 {
        return Ok(layout);
    }
    let end = at.next_multiple_of(4);
    out.get_mut(at..end).ok_or(RtpError::NoRoom)?.fill(0);
    layout.len = u16::try_from(end).map_err(|_| RtpError::NoRoom)?;
    layout.form = Some(form);
    let words = (layout.len - FIXED_HEADER_LEN as u16 - 4) / 4;
    out[0] |= 0x10;
    out[FIXED_HEADER_LEN..FIXED_HEADER_LEN + 2].copy_from_slice(&form.profile().to_be_bytes());
    out[FIXED_HEADER_LEN + 2..FIXED_HEADER_LEN + 4].copy_from_slice(&words.to_be_bytes());
    Ok(layout)
}

/// Changes fields of a header in place. Offsets beyond the end change nothing.
pub mod patch {
    use super::Layout;

    /// Writes bytes at an offset.
    #[inline]
    pub fn bytes<const N: usize>(packet: &mut [u8], at: usize, value: [u8; N]) {
        if let Some(place) = packet.get_mut(at..).and_then(|p| p.first_chunk_mut::<N>()) {
            *place = value;
        }
    }

    /// Sequence number.
    #[inline]
    pub fn seq(packet: &mut [u8], seq: u16) {
        bytes(packet, Layout::SEQ, seq.to_be_bytes());
    }

    /// Timestamp.
    #[inline]
    pub fn timestamp(packet: &mut [u8], timestamp: u32) {
        bytes(packet, Layout::TIMESTAMP, timestamp.to_be_bytes());
    }

    /// SSRC.
    #[inline]
    pub fn ssrc(packet: &mut [u8], ssrc: u32) {
        bytes(packet, Layout::SSRC, ssrc.to_be_bytes());
    }

    /// Payload type and marker bit.
    #[inline]
    pub fn payload_type(packet: &mut [u8], payload_type: u8, marker: bool) {
        bytes(packet, Layout::PAYLOAD_TYPE, [payload_type & 0x7f | u8::from(marker) << 7]);
    }

    /// Transport-wide sequence number at the offset of its value.
    #[inline]
    pub fn transport_cc(packet: &mut [u8], at: usize, seq: u16) {
        bytes(packet, at, seq.to_be_bytes());
    }

    /// Absolute send time (seconds as 6.18 fixed point) at the offset of its value.
    #[inline]
    pub fn abs_send_time(packet: &mut [u8], at: usize, time: u32) {
        let [_, a, b, c] = time.to_be_bytes();
        bytes(packet, at, [a, b, c]);
    }
}

/// Appends `padding` bytes of padding (RFC 3550 section 5.1) after the packet of `len` bytes in `out`; returns the new length. 0 changes
/// nothing.
///
/// # Errors
/// No room in `out`.
pub fn pad(out: &mut [u8], len: usize, padding: u8) -> Result<usize, RtpError> {
    let Some(before_last) = usize::from(padding).checked_sub(1) else { return Ok(len) };
    let end = len.checked_add(before_last + 1).ok_or(RtpError::NoRoom)?;
    let place = out.get_mut(len..end).ok_or(RtpError::NoRoom)?;
    place.fill(0);
    place[before_last] = padding;
    out[0] |= 0x20;
    Ok(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Packet;
    use super::*;

    fn fields() -> HeaderFields {
        HeaderFields { payload_type: 100, marker: true, seq: 65_535, timestamp: 7, ssrc: 0xdead_beef }
    }

    #[test]
    fn without_extensions_there_is_no_block() {
        let mut out = [0xff; 64];
        let layout = write_header(&mut out, &fields(), &ExtensionMap::new(), &[(ExtensionKind::Mid, b"a0")]).unwrap();
        assert_eq!((layout.header_len(), layout.form(), layout.value(ExtensionKind::Mid)), (12, None, None));
        let p = Packet::parse(&out[..12]).unwrap();
        assert_eq!((p.header().payload_type, p.header().marker, p.header().seq), (100, true, 65_535));
    }

    #[test]
    fn values_are_where_the_layout_says() {
        let mut map = ExtensionMap::new();
        map.set(ExtensionKind::TransportCc, 5).unwrap();
        map.set(ExtensionKind::AbsSendTime, 3).unwrap();
        map.set(ExtensionKind::Mid, 10).unwrap();
        let mut out = [0xff; 64];
        let values: &[(ExtensionKind, &[u8])] = &[
            (ExtensionKind::TransportCc, &[0, 0]),
            (ExtensionKind::AbsSendTime, &[0, 0, 0]),
            (ExtensionKind::Mid, b"v12"),
        ];
        let layout = write_header(&mut out, &fields(), &map, values).unwrap();
        assert_eq!(layout.form(), Some(ExtensionForm::OneByte));
        patch::transport_cc(&mut out, layout.value(ExtensionKind::TransportCc).unwrap(), 0x1234);
        patch::abs_send_time(&mut out, layout.value(ExtensionKind::AbsSendTime).unwrap(), 0xff01_0203);
        patch::seq(&mut out, 9);
        patch::timestamp(&mut out, 10);
        patch::ssrc(&mut out, 11);
        patch::payload_type(&mut out, 41, false);
        let end = pad(&mut out, layout.header_len() + 3, 4).unwrap();
        let p = Packet::parse(&out[..end]).unwrap();
        let h = p.header();
        assert_eq!((h.seq, h.timestamp, h.ssrc, h.payload_type, h.marker), (9, 10, 11, 41, false));
        assert_eq!(p.extensions().get(5), Some(&[0x12, 0x34][..]));
        assert_eq!(p.extensions().get(3), Some(&[1, 2, 3][..]));
        assert_eq!(p.extensions().get(10), Some(&b"v12"[..]));
        assert_eq!((p.payload().len(), p.padding_len()), (3, 4));
    }

    #[test]
    fn what_needs_two_bytes_is_left_out_for_peers_that_do_not_mix() {
        let mut map = ExtensionMap::new();
        map.set(ExtensionKind::DependencyDescriptor, 11).unwrap();
        map.set(ExtensionKind::TransportCc, 5).unwrap();
        let values: &[(ExtensionKind, &[u8])] =
            &[(ExtensionKind::DependencyDescriptor, &[7; 17]), (ExtensionKind::TransportCc, &[1, 2])];
        let mut out = [0; 64];
        assert_eq!(write_header(&mut out, &fields(), &map, values).unwrap().form(), Some(ExtensionForm::TwoByte));
        map.set_mixed(false);
        let layout = write_header(&mut out, &fields(), &map, values).unwrap();
        assert_eq!(layout.form(), Some(ExtensionForm::OneByte));
        assert_eq!(layout.value(ExtensionKind::DependencyDescriptor), None);
        assert!(layout.value(ExtensionKind::TransportCc).is_some());
    }

    #[test]
    fn a_small_buffer_is_an_error() {
        let mut map = ExtensionMap::new();
        map.set(ExtensionKind::Mid, 1).unwrap();
        for len in 0..20 {
            let mut out = vec![0; len];
            let r = write_header(&mut out, &fields(), &map, &[(ExtensionKind::Mid, b"mid")]);
            assert_eq!(r, Err(RtpError::NoRoom), "{len}");
        }
        let mut out = [0x80; 12];
        assert_eq!(pad(&mut out, 12, 1), Err(RtpError::NoRoom));
        assert_eq!(pad(&mut out, 12, 0), Ok(12));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            ids in proptest::sample::subsequence((1..=255u8).filter(|i| *i != 15).collect::<Vec<_>>(), 10),
            small in any::<bool>(),
            values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..=10),
            seq: u16, timestamp: u32, ssrc: u32, payload_type in 0..128u8, marker: bool,
        ) {
            let mut map = ExtensionMap::new();
            for (n, (kind, id)) in ExtensionKind::ALL.iter().zip(ids).enumerate() {
                map.set(*kind, if small { n as u8 + 1 } else { id }).unwrap();
            }
            let values: Vec<_> = ExtensionKind::ALL.iter().copied().zip(values.iter().map(Vec::as_slice)).collect();
            let mut out = [0xff; 1024];
            let fields = HeaderFields { payload_type, marker, seq, timestamp, ssrc };
            let layout = write_header(&mut out, &fields, &map, &values).unwrap();
            let p = Packet::parse(&out[..layout.header_len()]).unwrap();
            let h = p.header();
            prop_assert_eq!(HeaderFields {
                payload_type: h.payload_type, marker: h.marker, seq: h.seq, timestamp: h.timestamp, ssrc: h.ssrc,
            }, fields);
            let wanted: Vec<_> = values.iter().map(|(k, v)| (map.id(*k).unwrap(), *v)).collect();
            prop_assert_eq!(p.extensions().collect::<Vec<_>>(), wanted);
            let mut at = p.extensions();
            while let Some((id, place, _)) = at.next_at() {
                prop_assert_eq!(layout.value(map.kind(id).unwrap()), Some(place));
            }
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(mut data in proptest::collection::vec(any::<u8>(), 0..200), two: bool) {
            if let Some(first) = data.first_mut() {
                *first = *first & 0x3f | 0x80;
            }
            if let Some(profile) = data.get_mut(12..14) {
                profile.copy_from_slice(if two { &[0x10, 0] } else { &[0xbe, 0xde] });
            }
            if let Ok(p) = Packet::parse(&data) {
                prop_assert_eq!(p.header().len() + p.payload().len() + p.padding_len(), data.len());
                prop_assert!(p.extensions().map(|(_, v)| v.len()).sum::<usize>() < p.header().len());
            }
        }
    }
}
