//! VP9 payload descriptor (RFC 9628 section 4.2).

use smallvec::SmallVec;

/// Scalability structure of a VP9 descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Number of spatial layers.
    pub spatial_layers: u8,
    /// Width and height of each, if told.
    pub sizes: SmallVec<[(u16, u16); 4]>,
    /// Number of temporal layers in the group of pictures, if told.
    pub temporal_layers: Option<u8>,
}

/// A VP9 payload descriptor with picture id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Picture id; of 15 bits if [`Self::long_picture_id`], else of 7.
    pub picture_id: u16,
    /// Whether the picture id has 15 bits.
    pub long_picture_id: bool,
    /// Where the picture id is in the payload.
    pub picture_id_at: u16,
    /// TL0PICIDX, if present (non-flexible mode with layer indices).
    pub tl0: Option<u8>,
    /// Where TL0PICIDX is in the payload.
    pub tl0_at: u16,
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// P: predicted from an earlier picture.
    pub inter_picture_predicted: bool,
    /// U: later pictures of higher temporal layers do not depend on such pictures before this one.
    pub switching_up: bool,
    /// D: depends on the spatial layer below in the same picture.
    pub inter_layer_dependent: bool,
    /// Z: the frame is no reference for upper spatial layers.
    pub not_reference_for_upper: bool,
    /// Number of spatial layers in a new scalability structure.
    pub new_spatial_layers: Option<u8>,
}

/// What one payload says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The descriptor, if it has a picture id.
    pub descriptor: Option<Descriptor>,
    /// B: first packet of a layer's frame.
    pub start: bool,
    /// E: last packet of a layer's frame.
    pub end: bool,
    /// P is not set: a key picture, or an upper layer in it.
    pub keyframe: bool,
    /// Scalability structure.
    pub structure: Option<Structure>,
}

/// Reads a payload; `None` if it is cut short.
pub fn parse(payload: &[u8]) -> Option<Payload> {
    let flags = *payload.first()?;
    let has = |bit: u8| flags & bit != 0;
    let flexible = has(0x10);
    let mut at = 1;
    let mut picture = None;
    if has(0x80) {
        let byte = *payload.get(at)?;
        let long = byte & 0x80 != 0;
        let id = if long { u16::from(byte & 0x7f) << 8 | u16::from(*payload.get(at + 1)?) } else { byte.into() };
        picture = Some((id, long, at as u16));
        at += 1 + usize::from(long);
    }
    let (mut layers, mut tl0) = (0, None);
    if has(0x20) {
        layers = *payload.get(at)?;
        at += 1;
        if !flexible {
            tl0 = Some((*payload.get(at)?, at as u16));
            at += 1;
        }
    }
    if flexible && has(0x40) {
        // P_DIFF: at most three, the lowest bit says whether another follows (section 4.2.1).
        for _ in 0..3 {
            let diff = *payload.get(at)?;
            at += 1;
            if diff & 1 == 0 {
                break;
            }
        }
    }
    let structure = if has(0x02) { Some(structure(payload.get(at..)?)?) } else { None };
    let descriptor = picture.map(|(picture_id, long_picture_id, picture_id_at)| Descriptor {
        picture_id,
        long_picture_id,
        picture_id_at,
        tl0: tl0.map(|(v, _)| v),
        tl0_at: tl0.map_or(0, |(_, at)| at),
        spatial: layers >> 1 & 7,
        temporal: layers >> 5,
        inter_picture_predicted: has(0x40),
        switching_up: layers & 0x10 != 0,
        inter_layer_dependent: layers & 1 != 0,
        not_reference_for_upper: has(0x01),
        new_spatial_layers: structure.as_ref().map(|s| s.spatial_layers),
    });
    Some(Payload { descriptor, start: has(0x08), end: has(0x04), keyframe: !has(0x40), structure })
}

fn structure(data: &[u8]) -> Option<Structure> {
    let flags = *data.first()?;
    let mut at = 1;
    let mut be16 = || {
        let value = data.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
        at += 2;
        value
    };
    let spatial_layers = (flags >> 5) + 1;
    let mut sizes = SmallVec::new();
    if flags & 0x10 != 0 {
        for _ in 0..spatial_layers {
            sizes.push((be16()?, be16()?));
        }
    }
    let mut temporal_layers = None;
    if flags & 0x08 != 0 {
        let pictures = *data.get(at)?;
        at += 1;
        let mut highest = 0;
        for _ in 0..pictures {
            let byte = *data.get(at)?;
            highest = highest.max(byte >> 5);
            at += 1 + usize::from(byte >> 2 & 3);
        }
        data.get(..at)?;
        temporal_layers = (pictures > 0).then_some(highest + 1);
    }
    Some(Structure { spatial_layers, sizes, temporal_layers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_picture_with_structure() {
        // I, L, B, V; picture id 0x1234; layers 0; TL0 9; three sizes; group of pictures with two temporal layers.
        let mut payload = vec![0x80 | 0x20 | 0x08 | 0x02, 0x92, 0x34, 0x00, 9, 0x58];
        for (w, h) in [(320u16, 180u16), (640, 360), (1280, 720)] {
            payload.extend_from_slice(&w.to_be_bytes());
            payload.extend_from_slice(&h.to_be_bytes());
        }
        payload.extend_from_slice(&[2, 0x04, 2, 0x24, 1, 0xaa]);
        let read = parse(&payload).unwrap();
        let s = read.structure.unwrap();
        assert_eq!((s.spatial_layers, s.sizes[2], s.temporal_layers), (3, (1280, 720), Some(2)));
        let d = read.descriptor.unwrap();
        assert_eq!((d.picture_id, d.picture_id_at, d.tl0, d.tl0_at), (0x1234, 1, Some(9), 4));
        assert!(read.keyframe && read.start && !read.end);
        for n in 0..payload.len() - 1 {
            assert_eq!(parse(&payload[..n]), None, "{n}");
        }
    }

    #[test]
    fn layer_indices_in_flexible_mode() {
        // I, P, L, F, E, Z; short picture id; T2 U S1 D; two references.
        let read = parse(&[0x80 | 0x40 | 0x20 | 0x10 | 0x04 | 0x01, 0x11, 0x53, 0x03, 0x04, 0]).unwrap();
        let d = read.descriptor.unwrap();
        assert_eq!((d.picture_id, d.long_picture_id, d.temporal, d.spatial, d.tl0), (0x11, false, 2, 1, None));
        assert!(d.switching_up && d.inter_layer_dependent && d.not_reference_for_upper && d.inter_picture_predicted);
        assert!(read.end && !read.start && !read.keyframe);
    }
}
