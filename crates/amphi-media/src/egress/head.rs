//! What receivers' packets begin with: written once per packet and header layout, copied and patched per receiver.

use bytes::Bytes;

use crate::packet::MediaPacket;
use crate::projection::template::{PayloadPatch, patch_descriptor};
use crate::projection::{Numbers, Projected};
use crate::rtp::{ExtensionKind, ExtensionMap, HeaderFields, RtpError, patch, write_header};
use crate::srtp::{Outbound, SrtpError};

/// Room for header, extensions and the bytes of a payload descriptor: a dependency descriptor has at most 255 bytes.
const ROOM: usize = 384;
/// Bytes of a retransmission's payload before the original payload.
const OSN: usize = 2;

/// Header, extensions and the first bytes of the payload, as far as they differ per receiver; the rest of the payload is shared.
#[derive(Clone, Debug)]
pub struct Head {
    bytes: [u8; ROOM],
    header_len: u16,
    len: u16,
    /// Offsets of values; 0 is absent.
    transport_cc: u16,
    abs_send_time: u16,
    descriptor: (u16, u16),
    payload: PayloadPatch,
    marker: bool,
    shared: Bytes,
}

impl Head {
    /// Of a video packet, in a stream's numbers, for receivers that use these extensions.
    ///
    /// # Errors
    /// A header that has no room: a dependency descriptor longer than any encoder writes.
    pub fn video(map: &ExtensionMap, packet: &MediaPacket, projected: &Projected) -> Result<Self, RtpError> {
        let orientation = packet.orientation.map(|it| [it]);
        let mut extensions: [(ExtensionKind, &[u8]); 3] = [(ExtensionKind::Mid, &[]); 3];
        let mut count = 0;
        let mut add = |kind, value| {
            extensions[count] = (kind, value);
            count += 1;
        };
        add(pace_extension(map), pace_value(map));
        if let Some(value) = &orientation {
            add(ExtensionKind::VideoOrientation, value);
        }
        if let Some(written) = &projected.descriptor {
            add(ExtensionKind::DependencyDescriptor, written.as_ref());
        }
        let fields = HeaderFields { marker: projected.marker, ..fields(packet) };
        Self::write(map, &fields, &extensions[..count], PayloadPatch::of(&packet.frame), &packet.payload)
    }

    /// Of an audio packet: without transport-wide number (`spec/bridge.md` 4.3).
    ///
    /// # Errors
    /// None that can happen: the extensions of audio fit.
    pub fn audio(map: &ExtensionMap, packet: &MediaPacket) -> Result<Self, RtpError> {
        let level = packet.audio_level.map(|it| [it.level & 0x7f | u8::from(it.voice) << 7]);
        let mut extensions: [(ExtensionKind, &[u8]); 2] = [(ExtensionKind::Mid, &[]); 2];
        let mut count = 0;
        if let Some(value) = &level {
            extensions[count] = (ExtensionKind::AudioLevel, value);
            count += 1;
        }
        if map.id(ExtensionKind::TransportCc).is_none() {
            extensions[count] = (ExtensionKind::AbsSendTime, &[0; 3]);
            count += 1;
        }
        Self::write(map, &fields(packet), &extensions[..count], PayloadPatch::default(), &packet.payload)
    }

    /// Of a packet for a relay: as it was received, without transport-wide number.
    ///
    /// # Errors
    /// As with [`Self::video`].
    pub fn raw(map: &ExtensionMap, packet: &MediaPacket) -> Result<Self, RtpError> {
        let level = packet.audio_level.map(|it| [it.level & 0x7f | u8::from(it.voice) << 7]);
        let orientation = packet.orientation.map(|it| [it]);
        let mut extensions: [(ExtensionKind, &[u8]); 4] = [(ExtensionKind::Mid, &[]); 4];
        let mut count = 0;
        let mut add = |kind, value| {
            extensions[count] = (kind, value);
            count += 1;
        };
        add(ExtensionKind::AbsSendTime, &[0; 3]);
        if let Some(value) = &level {
            add(ExtensionKind::AudioLevel, value);
        }
        if let Some(value) = &orientation {
            add(ExtensionKind::VideoOrientation, value);
        }
        if let Some(value) = &packet.dependency_descriptor {
            add(ExtensionKind::DependencyDescriptor, value);
        }
        let mut head =
            Self::write(map, &fields(packet), &extensions[..count], PayloadPatch::default(), &packet.payload)?;
        head.descriptor = (0, 0);
        Ok(head)
    }

    fn write(
        map: &ExtensionMap,
        fields: &HeaderFields,
        extensions: &[(ExtensionKind, &[u8])],
        payload: PayloadPatch,
        data: &Bytes,
    ) -> Result<Self, RtpError> {
        let mut bytes = [0; ROOM];
        let layout = write_header(&mut bytes, fields, map, extensions)?;
        let header_len = layout.header_len();
        let prefix = payload.prefix();
        let (first, _) = data.split_at_checked(prefix).ok_or(RtpError::Truncated)?;
        let place = bytes.get_mut(header_len..header_len + prefix).ok_or(RtpError::NoRoom)?;
        place.copy_from_slice(first);
        let value = |kind| layout.value(kind).map_or(0, |at| at as u16);
        let descriptor = extensions.iter().find(|(kind, _)| *kind == ExtensionKind::DependencyDescriptor);
        Ok(Self {
            bytes,
            header_len: header_len as u16,
            len: (header_len + prefix) as u16,
            transport_cc: value(ExtensionKind::TransportCc),
            abs_send_time: value(ExtensionKind::AbsSendTime),
            descriptor: (
                value(ExtensionKind::DependencyDescriptor),
                descriptor.map_or(0, |(_, value)| value.len() as u16),
            ),
            payload,
            marker: fields.marker,
            shared: data.slice(prefix..),
        })
    }

    /// Length of the packet that [`Self::seal`] makes.
    #[inline]
    pub fn sealed_len(&self, out: &Outbound) -> usize {
        usize::from(self.len) + self.shared.len() + out.tag_len()
    }

    /// Length of the payload.
    #[inline]
    pub fn payload_len(&self) -> usize {
        usize::from(self.len - self.header_len) + self.shared.len()
    }

    /// Whether packets carry a transport-wide number.
    #[inline]
    pub fn has_transport_cc(&self) -> bool {
        self.transport_cc != 0
    }

    /// Writes a receiver's packet, sealed, to the start of `buf`. Returns its length. `paced`: transport-wide number or (24 bits) absolute
    /// send time, as the receiver has it.
    ///
    /// # Errors
    /// No room, or an index that is used up.
    #[inline]
    pub fn seal(
        &self,
        out: &Outbound,
        buf: &mut [u8],
        ssrc: u32,
        numbers: &Numbers,
        paced: u32,
    ) -> Result<usize, SrtpError> {
        let (header_len, len) = (usize::from(self.header_len), usize::from(self.len));
        let head = self.bytes.get(..len).ok_or(SrtpError::NoRoom)?;
        let place = buf.get_mut(..len).ok_or(SrtpError::NoRoom)?;
        place.copy_from_slice(head);
        patch::seq(place, numbers.seq as u16);
        patch::timestamp(place, numbers.timestamp);
        patch::ssrc(place, ssrc);
        self.patch_extensions(place, numbers, paced);
        if len > header_len {
            self.payload.apply(&mut place[header_len..], numbers);
        }
        out.seal_from(buf, header_len, len, &self.shared, ssrc, numbers.seq)
    }

    /// Length of the packet that [`Self::seal_rtx`] makes.
    pub fn sealed_rtx_len(&self, out: &Outbound) -> usize {
        self.sealed_len(out) + OSN
    }

    /// As [`Self::seal`], as retransmission (RFC 4588) of the packet that was sent with `numbers`, under a number of its own.
    ///
    /// # Errors
    /// As there.
    #[expect(clippy::too_many_arguments, reason = "two sets of numbers")]
    pub fn seal_rtx(
        &self,
        out: &Outbound,
        buf: &mut [u8],
        rtx_ssrc: u32,
        rtx_payload_type: u8,
        rtx_seq: u64,
        numbers: &Numbers,
        paced: u32,
    ) -> Result<usize, SrtpError> {
        let (header_len, len) = (usize::from(self.header_len), usize::from(self.len));
        let place = buf.get_mut(..len + OSN).ok_or(SrtpError::NoRoom)?;
        place[..header_len].copy_from_slice(&self.bytes[..header_len]);
        place[header_len..header_len + OSN].copy_from_slice(&(numbers.seq as u16).to_be_bytes());
        place[header_len + OSN..].copy_from_slice(&self.bytes[header_len..len]);
        patch::payload_type(place, rtx_payload_type, self.marker);
        patch::seq(place, rtx_seq as u16);
        patch::timestamp(place, numbers.timestamp);
        patch::ssrc(place, rtx_ssrc);
        self.patch_extensions(place, numbers, paced);
        self.payload.apply(&mut place[header_len + OSN..], numbers);
        out.seal_from(buf, header_len, len + OSN, &self.shared, rtx_ssrc, rtx_seq)
    }

    #[inline]
    fn patch_extensions(&self, place: &mut [u8], numbers: &Numbers, paced: u32) {
        if self.transport_cc != 0 {
            patch::transport_cc(place, usize::from(self.transport_cc), paced as u16);
        } else if self.abs_send_time != 0 {
            patch::abs_send_time(place, usize::from(self.abs_send_time), paced);
        }
        let (at, len) = (usize::from(self.descriptor.0), usize::from(self.descriptor.1));
        if at != 0
            && let Some(descriptor) = place.get_mut(at..at + len)
        {
            patch_descriptor(descriptor, numbers);
        }
    }
}

fn fields(packet: &MediaPacket) -> HeaderFields {
    HeaderFields {
        payload_type: packet.payload_type,
        marker: packet.marker,
        seq: packet.seq as u16,
        timestamp: packet.timestamp,
        ssrc: packet.ssrc,
    }
}

/// Transport-wide number if the receiver uses it, else the absolute send time.
fn pace_extension(map: &ExtensionMap) -> ExtensionKind {
    match map.id(ExtensionKind::TransportCc) {
        Some(_) => ExtensionKind::TransportCc,
        None => ExtensionKind::AbsSendTime,
    }
}

fn pace_value(map: &ExtensionMap) -> &'static [u8] {
    match map.id(ExtensionKind::TransportCc) {
        Some(_) => &[0; 2],
        None => &[0; 3],
    }
}
