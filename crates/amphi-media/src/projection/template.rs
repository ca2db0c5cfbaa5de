//! Where the numbers are in a packet: a head is built once per stream packet and patched for each receiver.

use super::Numbers;
use crate::codec::{Frame, Headers, dependency};

/// Where a payload descriptor has numbers. Offsets are from the beginning of the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayloadPatch {
    /// Picture id: offset, and how many bits it has (7 or 15).
    pub picture_id: Option<(u16, u8)>,
    /// Offset of TL0PICIDX.
    pub tl0: Option<u16>,
}

impl PayloadPatch {
    /// The places in a packet's payload.
    pub fn of(frame: &Frame) -> Self {
        let (long, picture_id_at, tl0) = match &frame.headers {
            Headers::Vp8(d) => (d.long_picture_id, d.picture_id_at, d.tl0.map(|_| d.tl0_at)),
            Headers::Vp9(d) => (d.long_picture_id, d.picture_id_at, d.tl0.map(|_| d.tl0_at)),
            Headers::None | Headers::Dependency(_) => return Self::default(),
        };
        Self { picture_id: Some((picture_id_at, if long { 15 } else { 7 })), tl0 }
    }

    /// How many bytes of the payload must be copied before they are patched.
    pub fn prefix(&self) -> usize {
        let picture = self.picture_id.map_or(0, |(at, bits)| usize::from(at) + if bits == 15 { 2 } else { 1 });
        picture.max(self.tl0.map_or(0, |at| usize::from(at) + 1))
    }

    /// Writes the numbers; `payload` begins with at least [`Self::prefix`] bytes of the payload.
    #[inline]
    pub fn apply(&self, payload: &mut [u8], numbers: &Numbers) {
        match self.picture_id {
            Some((at, 15)) => {
                if let Some(place) = payload.get_mut(usize::from(at)..usize::from(at) + 2) {
                    place.copy_from_slice(&(numbers.picture_id | 0x8000).to_be_bytes());
                }
            }
            Some((at, _)) => {
                if let Some(place) = payload.get_mut(usize::from(at)) {
                    *place = (numbers.picture_id & 0x7f) as u8;
                }
            }
            None => {}
        }
        if let Some(place) = self.tl0.and_then(|at| payload.get_mut(usize::from(at))) {
            *place = numbers.tl0;
        }
    }
}

/// Sets a receiver's frame number and template ids in the bytes of `Projected::descriptor`.
#[inline]
pub fn patch_descriptor(descriptor: &mut [u8], numbers: &Numbers) {
    dependency::patch(descriptor, numbers.frame_number, numbers.template_shift);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Codec, Parser};

    #[test]
    fn numbers_are_written_where_the_parser_found_them() {
        let mut payload = [0x90, 0xe0, 0x81, 0x02, 0x07, 0x20, 0x11];
        let frame = Parser::new().parse(Codec::Vp8, &payload, None, false).unwrap();
        let patch = PayloadPatch::of(&frame);
        assert_eq!(patch, PayloadPatch { picture_id: Some((2, 15)), tl0: Some(4) });
        assert_eq!(patch.prefix(), 5);
        let numbers = Numbers { picture_id: 0x7abc, tl0: 0x55, ..Numbers::default() };
        patch.apply(&mut payload[..5], &numbers);
        assert_eq!(payload, [0x90, 0xe0, 0xfa, 0xbc, 0x55, 0x20, 0x11]);

        let mut payload = [0xa0, 0x11, 0x00, 0x09, 0xff];
        let frame = Parser::new().parse(Codec::Vp9, &payload, None, false).unwrap();
        PayloadPatch::of(&frame).apply(&mut payload, &numbers);
        assert_eq!(payload, [0xa0, 0x3c, 0x00, 0x55, 0xff], "a picture id of seven bits stays one");
    }
}
