//! Header extensions (RFC 8285): their elements in both forms, and which id stands for which URI.

use crate::packet::AudioLevel;

use super::RtpError;

/// URIs longer than this are refused.
pub const MAX_URI_LEN: usize = 256;

/// How the elements of an extension block are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtensionForm {
    /// Ids 1 to 14, values of 1 to 16 bytes.
    OneByte,
    /// Ids 1 to 255, values of 0 to 255 bytes.
    TwoByte,
}

impl ExtensionForm {
    /// By the profile field of the block.
    pub fn from_profile(profile: u16) -> Option<Self> {
        match profile {
            0xbede => Some(Self::OneByte),
            0x1000..=0x100f => Some(Self::TwoByte),
            _ => None,
        }
    }

    /// The profile field that we write.
    pub fn profile(self) -> u16 {
        match self {
            Self::OneByte => 0xbede,
            Self::TwoByte => 0x1000,
        }
    }
}

/// Elements of an extension block, as (id, value). Ends at the first element that does not fit ([`Self::is_valid`] tells).
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    form: ExtensionForm,
    /// Where `rest` begins in the packet.
    at: usize,
    rest: &'a [u8],
}

/// Id, place in the packet, value.
type Element<'a> = (u8, usize, &'a [u8]);

impl Default for Extensions<'_> {
    fn default() -> Self {
        Self::new(ExtensionForm::OneByte, 0, &[])
    }
}

impl<'a> Extensions<'a> {
    pub(super) fn new(form: ExtensionForm, at: usize, block: &'a [u8]) -> Self {
        Self { form, at, rest: block }
    }

    /// Whether all that is left fits the block.
    pub fn is_valid(&self) -> bool {
        let mut all = self.clone();
        while let Some(step) = all.step() {
            if step.is_err() {
                return false;
            }
        }
        true
    }

    /// The value of an id.
    pub fn get(&self, id: u8) -> Option<&'a [u8]> {
        self.clone().find(|(i, _)| *i == id).map(|(_, value)| value)
    }

    /// The next element with the place of its value in the packet.
    pub fn next_at(&mut self) -> Option<(u8, usize, &'a [u8])> {
        self.step()?.ok()
    }

    fn step(&mut self) -> Option<Result<Element<'a>, RtpError>> {
        loop {
            let (&first, rest) = self.rest.split_first()?;
            if first == 0 || (self.form == ExtensionForm::OneByte && first >> 4 == 0) {
                // Padding. RFC 8285 section 4.2: id 0 with a length is to be ignored, up to the end.
                self.rest = if first == 0 { rest } else { &[] };
                self.at += 1;
                continue;
            }
            let (id, len, head, rest) = match self.form {
                // RFC 8285 section 4.2: id 15 ends the processing.
                ExtensionForm::OneByte if first >> 4 == 15 => {
                    self.rest = &[];
                    return None;
                }
                ExtensionForm::OneByte => (first >> 4, usize::from(first & 0x0f) + 1, 1, rest),
                ExtensionForm::TwoByte => match rest.split_first() {
                    Some((&len, rest)) => (first, usize::from(len), 2, rest),
                    None => {
                        self.rest = &[];
                        return Some(Err(RtpError::Extension));
                    }
                },
            };
            let Some((value, rest)) = rest.split_at_checked(len) else {
                self.rest = &[];
                return Some(Err(RtpError::Extension));
            };
            let at = self.at + head;
            self.at = at + len;
            self.rest = rest;
            return Some(Ok((id, at, value)));
        }
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.next_at().map(|(id, _, value)| (id, value))
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $uri:literal,)*) => {
        /// Extensions that the bridge reads or writes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum ExtensionKind { $($(#[$doc])* $name,)* }

        impl ExtensionKind {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The URI under which it is signaled.
            pub fn uri(self) -> &'static str {
                match self { $(Self::$name => $uri,)* }
            }
        }
    };
}

kinds! {
    /// Audio level of the client (RFC 6464), one byte.
    AudioLevel = "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    /// When the packet was sent, seconds as 6.18 fixed point, three bytes.
    AbsSendTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    /// Transport-wide sequence number, two bytes.
    TransportCc = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    /// Media section (RFC 9143).
    Mid = "urn:ietf:params:rtp-hdrext:sdes:mid",
    /// Simulcast stream (RFC 8852).
    Rid = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    /// Simulcast stream that a retransmission repairs (RFC 8852).
    RepairedRid = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    /// Rotation of the picture, one byte.
    VideoOrientation = "urn:3gpp:video-orientation",
    /// Frames, layers and decode targets of the AV1 RTP specification.
    DependencyDescriptor = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
    /// Which layers are sent, with rates and sizes.
    VideoLayersAllocation = "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00",
    /// Transmission offset (RFC 5450), three bytes.
    TransmissionOffset = "urn:ietf:params:rtp-hdrext:toffset",
}

const KINDS: usize = ExtensionKind::ALL.len();

/// Ids of extensions as they were signaled (RFC 8285 section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionMap {
    /// By kind; 0 is absent.
    ids: [u8; KINDS],
    /// By id, for ids of the one-byte form.
    kinds: [Option<ExtensionKind>; 16],
    others: Vec<(u8, Box<str>)>,
    mixed: bool,
}

impl Default for ExtensionMap {
    fn default() -> Self {
        Self::new()
    }
}

impl ExtensionMap {
    /// Nothing signaled; both forms allowed in one stream.
    pub fn new() -> Self {
        Self { ids: [0; KINDS], kinds: [None; 16], others: Vec::new(), mixed: true }
    }

    /// Whether blocks of both forms may be sent (`extmap-allow-mixed`). Without it a value that needs the two-byte form is left out when all
    /// ids are below 15.
    pub fn set_mixed(&mut self, mixed: bool) {
        self.mixed = mixed;
    }

    /// Whether blocks of both forms may be sent.
    pub fn mixed(&self) -> bool {
        self.mixed
    }

    /// Takes an id and its URI. A known URI that is signaled again gets the new id; an unknown one is kept for [`Self::uri`].
    ///
    /// # Errors
    /// Id 0 or 15, an id that stands for another URI, or a URI that is too long.
    pub fn insert(&mut self, id: u8, uri: &str) -> Result<(), RtpError> {
        if matches!(id, 0 | 15) || uri.len() > MAX_URI_LEN || self.uri(id).is_some_and(|u| u != uri) {
            return Err(RtpError::ExtensionId(id));
        }
        match ExtensionKind::ALL.iter().find(|k| k.uri() == uri) {
            Some(&kind) => {
                let before = self.ids[kind as usize];
                if let Some(slot) = self.kinds.get_mut(usize::from(before)) {
                    *slot = None;
                }
                self.ids[kind as usize] = id;
                if let Some(slot) = self.kinds.get_mut(usize::from(id)) {
                    *slot = Some(kind);
                }
            }
            None => {
                if self.uri(id).is_none() {
                    self.others.push((id, uri.into()));
                }
            }
        }
        Ok(())
    }

    /// As [`Self::insert`] for a known one.
    ///
    /// # Errors
    /// As there.
    pub fn set(&mut self, kind: ExtensionKind, id: u8) -> Result<(), RtpError> {
        self.insert(id, kind.uri())
    }

    /// The id of a kind, if signaled.
    pub fn id(&self, kind: ExtensionKind) -> Option<u8> {
        match self.ids[kind as usize] {
            0 => None,
            id => Some(id),
        }
    }

    /// What an id stands for, if we know it.
    pub fn kind(&self, id: u8) -> Option<ExtensionKind> {
        match self.kinds.get(usize::from(id)) {
            Some(kind) => *kind,
            None => ExtensionKind::ALL.iter().copied().find(|k| self.ids[*k as usize] == id),
        }
    }

    /// The URI of an id, known or not.
    pub fn uri(&self, id: u8) -> Option<&str> {
        match self.kind(id) {
            Some(kind) => Some(kind.uri()),
            None => self.others.iter().find(|(i, _)| *i == id).map(|(_, uri)| &**uri),
        }
    }

    /// All ids with their URIs.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &str)> {
        let known = ExtensionKind::ALL.iter().filter_map(|k| self.id(*k).map(|id| (id, k.uri())));
        known.chain(self.others.iter().map(|(id, uri)| (*id, &**uri)))
    }

    /// Whether some id above 14 was agreed on, so that the peer must know the two-byte form.
    pub(super) fn has_large_ids(&self) -> bool {
        self.ids.iter().copied().chain(self.others.iter().map(|(id, _)| *id)).any(|id| id > 14)
    }
}

/// Values of the known extensions of a packet, read in one pass. A value of the wrong length is taken as absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionValues<'a> {
    /// RFC 6464.
    pub audio_level: Option<AudioLevel>,
    /// Seconds as 6.18 fixed point.
    pub abs_send_time: Option<u32>,
    /// Transport-wide sequence number.
    pub transport_cc: Option<u16>,
    /// Media section.
    pub mid: Option<&'a str>,
    /// Simulcast stream.
    pub rid: Option<&'a str>,
    /// Simulcast stream that is repaired.
    pub repaired_rid: Option<&'a str>,
    /// Rotation and camera.
    pub orientation: Option<u8>,
    /// As is.
    pub dependency_descriptor: Option<&'a [u8]>,
    /// As is.
    pub video_layers_allocation: Option<&'a [u8]>,
    /// Ticks of the RTP clock.
    pub transmission_offset: Option<i32>,
}

impl<'a> ExtensionValues<'a> {
    /// Reads what `map` names.
    pub fn read(elements: Extensions<'a>, map: &ExtensionMap) -> Self {
        let mut out = Self::default();
        for (id, value) in elements {
            let Some(kind) = map.kind(id) else { continue };
            match kind {
                ExtensionKind::AudioLevel => {
                    // RFC 6464 section 3: in the two-byte form a second byte of padding may follow.
                    out.audio_level = value.first().map(|b| AudioLevel { level: b & 0x7f, voice: b & 0x80 != 0 });
                }
                ExtensionKind::AbsSendTime => out.abs_send_time = be24(value),
                ExtensionKind::TransportCc => {
                    out.transport_cc = value.first_chunk::<2>().map(|b| u16::from_be_bytes(*b));
                }
                ExtensionKind::Mid => out.mid = name(value),
                ExtensionKind::Rid => out.rid = name(value),
                ExtensionKind::RepairedRid => out.repaired_rid = name(value),
                ExtensionKind::VideoOrientation => out.orientation = value.first().copied(),
                ExtensionKind::DependencyDescriptor => out.dependency_descriptor = Some(value),
                ExtensionKind::VideoLayersAllocation => out.video_layers_allocation = Some(value),
                ExtensionKind::TransmissionOffset => {
                    out.transmission_offset = be24(value).map(|v| ((v << 8) as i32) >> 8);
                }
            }
        }
        out
    }
}

fn be24(value: &[u8]) -> Option<u32> {
    let [a, b, c] = *value.first_chunk::<3>()?;
    Some(u32::from_be_bytes([0, a, b, c]))
}

fn name(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok().filter(|s| !s.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(of: &[(u8, ExtensionKind)]) -> ExtensionMap {
        let mut map = ExtensionMap::new();
        of.iter().for_each(|(id, kind)| map.set(*kind, *id).unwrap());
        map
    }

    #[test]
    fn two_byte_elements_may_be_empty_and_have_large_ids() {
        let block = [1, 0, 0, 200, 3, 9, 8, 7, 0];
        let all: Vec<_> = Extensions::new(ExtensionForm::TwoByte, 0, &block).collect();
        assert_eq!(all, [(1, &[][..]), (200, &[9, 8, 7][..])]);
    }

    #[test]
    fn a_two_byte_element_without_length_is_not_valid() {
        for block in [&[1][..], &[1, 1], &[1, 255, 0, 0]] {
            let e = Extensions::new(ExtensionForm::TwoByte, 0, block);
            assert!(!e.is_valid());
            assert_eq!(e.count(), 0);
        }
    }

    #[test]
    fn id_fifteen_ends_the_one_byte_form() {
        let block = [0x10, 7, 0xf0, 1, 0x20, 3];
        let e = Extensions::new(ExtensionForm::OneByte, 0, &block);
        assert!(e.is_valid());
        assert_eq!(e.collect::<Vec<_>>(), [(1, &[7][..])]);
    }

    #[test]
    fn ids_and_uris_map_both_ways() {
        let mut m = map(&[(1, ExtensionKind::AudioLevel), (200, ExtensionKind::Mid)]);
        m.insert(7, "urn:of:somebody").unwrap();
        assert_eq!(m.kind(1), Some(ExtensionKind::AudioLevel));
        assert_eq!(m.kind(200), Some(ExtensionKind::Mid));
        assert_eq!((m.kind(7), m.uri(7)), (None, Some("urn:of:somebody")));
        assert_eq!(m.id(ExtensionKind::Mid), Some(200));
        assert_eq!(m.iter().count(), 3);
        assert_eq!(m.insert(1, "urn:other"), Err(RtpError::ExtensionId(1)), "taken");
        assert_eq!(m.insert(7, ExtensionKind::Rid.uri()), Err(RtpError::ExtensionId(7)), "taken by an unknown one");
        assert_eq!(m.insert(0, "urn:other"), Err(RtpError::ExtensionId(0)));
        m.set(ExtensionKind::AudioLevel, 2).unwrap();
        assert_eq!((m.kind(1), m.kind(2)), (None, Some(ExtensionKind::AudioLevel)), "moved");
    }

    #[test]
    fn known_values_are_read_in_one_pass() {
        let m = map(&[
            (1, ExtensionKind::AudioLevel),
            (2, ExtensionKind::TransmissionOffset),
            (3, ExtensionKind::AbsSendTime),
            (5, ExtensionKind::TransportCc),
            (10, ExtensionKind::Mid),
        ]);
        let block = [0x10, 0x85, 0x22, 0xff, 0xff, 0xfe, 0x32, 1, 2, 3, 0x51, 0xab, 0xcd, 0xa1, b'a', b'0', 0x60, 1];
        let v = ExtensionValues::read(Extensions::new(ExtensionForm::OneByte, 0, &block), &m);
        assert_eq!(v.audio_level, Some(AudioLevel { level: 5, voice: true }));
        assert_eq!(v.transmission_offset, Some(-2));
        assert_eq!(v.abs_send_time, Some(0x010203));
        assert_eq!(v.transport_cc, Some(0xabcd));
        assert_eq!(v.mid, Some("a0"));
    }
}
