//! What a peer sends: which index a sequence number stands for, whether it is new, and opening it in place.

use super::cipher::{Cipher, ControlCipher};
use super::sources::Sources;
use super::{MAX_INDEX, MasterKey, Profile, SrtpError};
use crate::rtp::Header;

/// An RTP packet that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its header.
    pub header: Header,
    /// Length of header and payload; the tag is beyond.
    pub len: usize,
    /// Rollover counter and sequence number, as one number.
    pub index: u64,
}

/// An RTCP packet that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedControl {
    /// SSRC of its sender, under which it was sealed.
    pub ssrc: u32,
    /// Length of the plaintext; index and tag are beyond.
    pub len: usize,
}

/// Opens packets of one peer. State of an SSRC exists only once a packet of it was authenticated.
pub struct Inbound {
    profile: Profile,
    cipher: Cipher,
    control: ControlCipher,
    /// 1,024 packets: several seconds of audio, a large keyframe of video.
    sources: Sources<16>,
    control_sources: Sources<2>,
}

impl std::fmt::Debug for Inbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbound")
            .field("profile", &self.profile)
            .field("sources", &self.sources.len())
            .field("control_sources", &self.control_sources.len())
            .finish_non_exhaustive()
    }
}

impl Inbound {
    /// With the key that the peer seals with.
    ///
    /// # Errors
    /// The cryptographic library refuses.
    pub fn new(key: &MasterKey) -> Result<Self, SrtpError> {
        Ok(Self {
            profile: key.profile(),
            cipher: key.cipher()?,
            control: key.control_cipher()?,
            sources: Sources::default(),
            control_sources: Sources::default(),
        })
    }

    #[cfg(test)]
    pub(super) fn with_ciphers(profile: Profile, cipher: Cipher, control: Cipher) -> Self {
        let control = ControlCipher::new(control);
        Self { profile, cipher, control, sources: Sources::default(), control_sources: Sources::default() }
    }

    /// The profile in use.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// SSRCs that have state for RTP.
    pub fn sources(&self) -> usize {
        self.sources.len()
    }

    /// Opens an RTP packet in place. On an error the packet's bytes are unspecified and no state has changed.
    ///
    /// A caller that discards packets unopened must open at least one of 32,767 that follow each other in an SSRC: else the rollover counter is
    /// guessed wrongly from then on (`spec/bridge.md` 4.2).
    ///
    /// # Errors
    /// Malformed, wrong tag, seen before or too old.
    pub fn open(&mut self, packet: &mut [u8]) -> Result<Opened, SrtpError> {
        let tag_len = self.cipher.tag_len();
        let header = Header::parse(packet).map_err(|_| SrtpError::Malformed)?;
        let len = packet.len().checked_sub(tag_len).filter(|l| *l >= header.len()).ok_or(SrtpError::Malformed)?;
        let index = self.sources.index(header.ssrc, |highest| match highest {
            Some(highest) => estimate(highest, header.seq),
            // RFC 3711 section 3.3.1: the rollover counter of a stream begins with zero.
            None => Some(u64::from(header.seq)),
        })?;
        let (head, rest) = packet.split_at_mut_checked(header.len()).ok_or(SrtpError::Malformed)?;
        let (payload, tag) = rest.split_at_mut_checked(len - header.len()).ok_or(SrtpError::Malformed)?;
        self.cipher.open(head, payload, tag, header.ssrc, index)?;
        self.sources.accept(header.ssrc, index);
        Ok(Opened { header, len, index })
    }

    /// Opens a (compound) RTCP packet in place. On an error the packet's bytes are unspecified and no state has changed.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_control(&mut self, packet: &mut [u8]) -> Result<OpenedControl, SrtpError> {
        if packet.first().is_none_or(|b| b >> 6 != 2) {
            return Err(SrtpError::Malformed);
        }
        let (ssrc, index) = self.control.ssrc_and_index(packet)?;
        let index = self.control_sources.index(ssrc, |_| Some(u64::from(index)))?;
        let len = self.control.open(packet)?;
        self.control_sources.accept(ssrc, index);
        Ok(OpenedControl { ssrc, len })
    }
}

/// The index that a sequence number most likely stands for (RFC 3711 section 3.3.1); none before the very first rollover or after the last.
pub(super) fn estimate(highest: u64, seq: u16) -> Option<u64> {
    let last = highest as u16;
    let roc = highest >> 16;
    let roc = if last < 0x8000 {
        if seq.saturating_sub(last) > 0x8000 { roc.checked_sub(1)? } else { roc }
    } else if last - 0x8000 > seq {
        roc + 1
    } else {
        roc
    };
    Some(roc << 16 | u64::from(seq)).filter(|index| *index <= MAX_INDEX)
}
