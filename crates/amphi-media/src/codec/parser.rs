//! From payloads to [`Frame`]s, for one received SSRC.

use super::dependency::{self, DescriptorError};
use super::layering::{Layer, Layering, grid, halved};
use super::{Codec, Frame, Headers, h264, vp8, vp9};

/// Why a packet's headers could not be read. Such a packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The payload ends within its header.
    #[error("payload is cut short")]
    Short,
    /// The dependency descriptor cannot be read.
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
}

impl ParseError {
    /// Whether later packets cannot be read either until a keyframe comes.
    pub fn needs_keyframe(self) -> bool {
        self == Self::Descriptor(DescriptorError::UnknownTemplate)
    }
}

/// Reads the packets of one SSRC.
#[derive(Clone, Debug)]
pub struct Parser {
    layering: Layering,
    descriptors: dependency::Reader,
    /// Active decode targets, and the frame that told them.
    active: Option<(u32, u16)>,
    /// Whether the last packet ended its frame: tells where frames start if payloads do not.
    ended: bool,
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl Parser {
    /// Nothing received.
    pub fn new() -> Self {
        Self {
            layering: Layering::assumed(Codec::Other),
            descriptors: dependency::Reader::new(),
            active: None,
            ended: true,
        }
    }

    /// What is known about the layers of this encoding.
    pub fn layering(&self) -> &Layering {
        &self.layering
    }

    /// Reads one packet, in order of arrival. `dd` is the dependency descriptor extension, `marker` the RTP marker bit.
    ///
    /// # Errors
    /// If it cannot be read; then nothing was learnt from it.
    pub fn parse(
        &mut self,
        codec: Codec,
        payload: &[u8],
        dd: Option<&[u8]>,
        marker: bool,
    ) -> Result<Frame, ParseError> {
        let mut frame = match codec {
            Codec::Other => Frame { start: true, end: marker, ..Frame::default() },
            Codec::Vp8 => self.vp8(payload, dd, marker)?,
            Codec::Vp9 => self.vp9(payload, dd, marker)?,
            Codec::Av1 | Codec::H264 => match dd {
                Some(dd) => self.dependency(codec, dd)?,
                None if codec == Codec::Av1 => self.av1(payload, marker)?,
                None => self.h264(payload, marker)?,
            },
        };
        frame.codec = codec;
        self.ended = frame.end;
        Ok(frame)
    }
}

impl Parser {
    fn vp8(&mut self, payload: &[u8], dd: Option<&[u8]>, marker: bool) -> Result<Frame, ParseError> {
        let read = vp8::parse(payload).ok_or(ParseError::Short)?;
        let mut frame = match (read.descriptor, dd) {
            (Some(descriptor), _) => {
                let temporal = descriptor.temporal;
                Frame { temporal, headers: Headers::Vp8(descriptor), ..Frame::default() }
            }
            (None, Some(dd)) => return self.dependency(Codec::Vp8, dd),
            (None, None) => Frame::default(),
        };
        (frame.start, frame.end, frame.keyframe) = (read.start, marker, read.keyframe);
        let mut layers = None;
        if let Some((_, height)) = read.size.filter(|(_, h)| *h > 0) {
            layers = Some(grid(&[Some(height)], 3, 300));
        } else if self.layering.codec != Codec::Vp8 {
            layers = Some(grid(&[None], 3, 300));
        }
        frame.layering_changed = self.relayer(Codec::Vp8, layers);
        Ok(frame)
    }

    fn vp9(&mut self, payload: &[u8], dd: Option<&[u8]>, marker: bool) -> Result<Frame, ParseError> {
        let read = vp9::parse(payload).ok_or(ParseError::Short)?;
        let mut frame = match (read.descriptor, dd) {
            (Some(d), _) => {
                Frame { spatial: d.spatial, temporal: d.temporal, headers: Headers::Vp9(d), ..Frame::default() }
            }
            (None, Some(dd)) => return self.dependency(Codec::Vp9, dd),
            (None, None) => Frame::default(),
        };
        (frame.start, frame.end, frame.keyframe) = (read.start, read.end || marker, read.keyframe);
        let mut layers = None;
        if let Some(structure) = &read.structure {
            // A structure without sizes takes nothing back.
            let known = |s: u8| self.layering.layer(s << 3).filter(|_| structure.sizes.is_empty())?.height;
            let height =
                |s: u8| structure.sizes.get(usize::from(s)).map(|(_, h)| *h).filter(|h| *h > 0).or_else(|| known(s));
            let heights: [Option<u16>; 8] = std::array::from_fn(|s| height(s as u8));
            let heights = &heights[..usize::from(structure.spatial_layers)];
            layers = Some(grid(heights, structure.temporal_layers.unwrap_or(3), 300));
        } else if self.layering.codec != Codec::Vp9 {
            layers = Some(grid(&[None], 3, 300));
        }
        frame.layering_changed = self.relayer(Codec::Vp9, layers);
        Ok(frame)
    }

    fn dependency(&mut self, codec: Codec, dd: &[u8]) -> Result<Frame, ParseError> {
        let descriptor = self.descriptors.read(dd)?;
        let structure = &descriptor.structure;
        // A structure makes all targets active (appendix A.4); later masks hold until the next one.
        let newer = self.active.is_none_or(|(_, at)| descriptor.frame_number.wrapping_sub(at) < 0x8000);
        if newer && (descriptor.attached || descriptor.active.is_some() || self.layering.codec != codec) {
            self.active = Some((descriptor.active.unwrap_or(structure.all_targets()), descriptor.frame_number));
        }
        let mut layers = None;
        let current = self.descriptors.structure().is_some_and(|s| s == structure);
        if newer && current && (descriptor.attached || descriptor.active.is_some() || self.layering.codec != codec) {
            let active = self.active.map_or(u32::MAX, |(mask, _)| mask);
            let temporal_layers = structure.layers.iter().map(|(_, t)| t + 1).max().unwrap_or(1);
            let layer = |(index, &(spatial, temporal)): (usize, &(u8, u8))| Layer {
                index: index as u8,
                spatial,
                temporal,
                height: structure.resolutions.get(usize::from(spatial)).map(|(_, h)| *h),
                deci_fps: halved(300, temporal, temporal_layers),
                active: active >> index & 1 == 1,
            };
            layers = Some(structure.layers.iter().enumerate().map(layer).collect());
        }
        let frame = Frame {
            start: descriptor.start,
            end: descriptor.end,
            keyframe: descriptor.attached,
            spatial: descriptor.spatial,
            temporal: descriptor.temporal,
            layering_changed: self.relayer(codec, layers),
            headers: Headers::Dependency(descriptor),
            ..Frame::default()
        };
        Ok(frame)
    }

    fn av1(&mut self, payload: &[u8], marker: bool) -> Result<Frame, ParseError> {
        // Aggregation header: Z (continues an element), Y, W, N (first packet of a coded video sequence).
        let header = *payload.first().ok_or(ParseError::Short)?;
        let keyframe = header & 0x08 != 0;
        let start = keyframe || self.ended && header & 0x80 == 0;
        let layering_changed = self.single(Codec::Av1);
        Ok(Frame { start, end: marker, keyframe, layering_changed, ..Frame::default() })
    }

    fn h264(&mut self, payload: &[u8], marker: bool) -> Result<Frame, ParseError> {
        let read = h264::parse(payload).ok_or(ParseError::Short)?;
        let layering_changed = self.single(Codec::H264);
        let start = read.start || self.ended;
        Ok(Frame { start, end: marker, keyframe: read.keyframe, layering_changed, ..Frame::default() })
    }

    /// Codecs that are forwarded without layers.
    fn single(&mut self, codec: Codec) -> bool {
        let layers = (self.layering.codec != codec).then(|| grid(&[None], 1, 300));
        self.relayer(codec, layers)
    }

    /// Takes what was learnt about layers; whether it is news.
    fn relayer(&mut self, codec: Codec, layers: Option<smallvec::SmallVec<[Layer; 9]>>) -> bool {
        let Some(layers) = layers else {
            return false;
        };
        let learnt = Layering { codec, layers };
        let changed = self.layering != learnt;
        self.layering = learnt;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vp8_keyframes_tell_the_height() {
        let mut p = Parser::new();
        let key = [0x90, 0xe0, 0x81, 2, 7, 0x20, 0x10, 2, 0, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1];
        let frame = p.parse(Codec::Vp8, &key, None, true).unwrap();
        assert!(frame.layering_changed && frame.keyframe);
        assert_eq!((p.layering().height(), p.layering().layers.len()), (Some(360), 3));
        assert_eq!(p.layering().layers.iter().map(|l| l.deci_fps).collect::<Vec<_>>(), [75, 150, 300]);
        assert!(!p.parse(Codec::Vp8, &key, None, true).unwrap().layering_changed, "no news");
        assert_eq!(p.parse(Codec::Vp8, &[0x90], None, true).unwrap_err(), ParseError::Short);
    }

    #[test]
    fn vp9_structures_tell_layers_and_sizes() {
        let mut p = Parser::new();
        let with_sizes = [0xaa, 0x92, 0x34, 0, 9, 0x30, 1, 64, 0, 180, 2, 128, 1, 104, 0];
        assert!(p.parse(Codec::Vp9, &with_sizes, None, true).unwrap().layering_changed);
        assert_eq!(p.layering().layers.iter().map(|l| l.index).collect::<Vec<_>>(), [0, 1, 2, 8, 9, 10]);
        assert_eq!(p.layering().layer(8).and_then(|l| l.height), Some(360));
        let without = [0xaa, 0x92, 0x35, 0, 9, 0x20, 0];
        assert!(!p.parse(Codec::Vp9, &without, None, true).unwrap().layering_changed);
        assert_eq!(p.layering().height(), Some(360));
    }

    #[test]
    fn another_codec_begins_with_what_is_assumed() {
        let mut p = Parser::new();
        p.parse(Codec::Vp8, &[0x90, 0xe0, 0x81, 2, 7, 0x20, 0x10, 2, 0, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1], None, true)
            .unwrap();
        let frame = p.parse(Codec::H264, &[0x67, 1], None, false).unwrap();
        assert!(frame.layering_changed && frame.keyframe && frame.start);
        assert_eq!(p.layering().height(), None);
        assert!(!p.parse(Codec::H264, &[0x65, 1], None, true).unwrap().start);
        assert!(p.parse(Codec::H264, &[0x41, 1], None, true).unwrap().start);
    }

    #[test]
    fn av1_without_descriptor_tells_where_sequences_begin() {
        let mut p = Parser::new();
        let frame = p.parse(Codec::Av1, &[0x18, 1], None, true).unwrap();
        assert!(frame.keyframe && frame.start && frame.end);
        assert!(!p.parse(Codec::Av1, &[0x90, 1], None, true).unwrap().start, "a fragment");
    }
}
