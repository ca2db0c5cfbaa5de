//! VP8 payload descriptor (RFC 7741 section 4.2) and what the payload header of a key frame says (section 4.3).

/// A VP8 payload descriptor with picture id and temporal layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Picture id; of 15 bits if [`Self::long_picture_id`], else of 7.
    pub picture_id: u16,
    /// Whether the picture id has 15 bits.
    pub long_picture_id: bool,
    /// Where the picture id is in the payload.
    pub picture_id_at: u16,
    /// TL0PICIDX, if present.
    pub tl0: Option<u8>,
    /// Where TL0PICIDX is in the payload.
    pub tl0_at: u16,
    /// Temporal layer.
    pub temporal: u8,
    /// Y: the frame depends on the base layer alone.
    pub layer_sync: bool,
}

/// What one payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The descriptor, if it has the fields that projection needs.
    pub descriptor: Option<Descriptor>,
    /// S bit with partition 0: first packet of the frame.
    pub start: bool,
    /// Whether a key frame starts here.
    pub keyframe: bool,
    /// Width and height, on the first packet of a key frame.
    pub size: Option<(u16, u16)>,
}

/// Reads a payload; `None` if it is cut short.
pub fn parse(payload: &[u8]) -> Option<Payload> {
    let first = *payload.first()?;
    let start = first & 0x10 != 0 && first & 0x07 == 0;
    let (mut at, mut picture, mut tl0, mut layer) = (1, None, None, None);
    if first & 0x80 != 0 {
        let flags = *payload.get(1)?;
        at = 2;
        if flags & 0x80 != 0 {
            let byte = *payload.get(at)?;
            let long = byte & 0x80 != 0;
            let id = if long { u16::from(byte & 0x7f) << 8 | u16::from(*payload.get(at + 1)?) } else { byte.into() };
            picture = Some((id, long, at as u16));
            at += 1 + usize::from(long);
        }
        if flags & 0x40 != 0 {
            tl0 = Some((*payload.get(at)?, at as u16));
            at += 1;
        }
        if flags & 0x30 != 0 {
            let byte = *payload.get(at)?;
            if flags & 0x20 != 0 {
                layer = Some((byte >> 6, byte & 0x20 != 0));
            }
            at += 1;
        }
    }
    let descriptor = match (picture, layer) {
        (Some((picture_id, long_picture_id, picture_id_at)), Some((temporal, layer_sync))) => Some(Descriptor {
            picture_id,
            long_picture_id,
            picture_id_at,
            tl0: tl0.map(|(v, _)| v),
            tl0_at: tl0.map_or(0, |(_, at)| at),
            temporal,
            layer_sync,
        }),
        _ => None,
    };
    // Payload header: the P bit of the first byte is 0 in key frames.
    let header = payload.get(at..).unwrap_or_default();
    let keyframe = start && header.first().is_some_and(|b| b & 1 == 0);
    let size = match header {
        [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] if keyframe => {
            Some((u16::from_le_bytes([*w0, *w1]) & 0x3fff, u16::from_le_bytes([*h0, *h1]) & 0x3fff))
        }
        _ => None,
    };
    Some(Payload { descriptor, start, keyframe, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_packet_of_a_keyframe() {
        let payload =
            [0x90, 0xe0, 0x81, 0x02, 0x07, 0x20, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01, 0xff];
        let read = parse(&payload).unwrap();
        assert_eq!(
            read.descriptor,
            Some(Descriptor {
                picture_id: 0x102,
                long_picture_id: true,
                picture_id_at: 2,
                tl0: Some(7),
                tl0_at: 4,
                temporal: 0,
                layer_sync: true
            })
        );
        assert!(read.start && read.keyframe);
        assert_eq!(read.size, Some((640, 360)));
    }

    #[test]
    fn short_picture_id_and_continuation() {
        let read = parse(&[0x80, 0xa0, 0x55, 0x80, 0x00]).unwrap();
        let d = read.descriptor.unwrap();
        assert_eq!((d.picture_id, d.long_picture_id, d.temporal, d.tl0), (0x55, false, 2, None));
        assert!(!read.start && !read.keyframe);
    }

    #[test]
    fn without_extension_there_is_no_descriptor() {
        let read = parse(&[0x10, 0x01]).unwrap();
        assert_eq!(read.descriptor, None);
        assert!(read.start && !read.keyframe);
    }

    #[test]
    fn every_truncation_is_refused_or_read() {
        let payload = [0x90, 0xf0, 0x81, 0x02, 0x07, 0x20, 0x10];
        for n in 0..6 {
            assert_eq!(parse(&payload[..n]), None, "{n}");
        }
        assert!(parse(&payload).is_some());
    }
}
