//! What a peer sends: which index a sequence number stands for, whether it is new, and opening it in place.

use std::collections::HashMap;

use super::cipher::{Cipher, ControlCipher};
use super::replay::ReplayWindow;
use super::{MAX_INDEX, MasterKey, Profile, SrtpError};
use crate::rtp::Header;

/// SSRCs of one peer that have state, for RTP and for RTCP each (`spec/bridge.md` 2.4).
pub const MAX_SOURCES: usize = 1024;

/// 1,024 packets: several seconds of audio, a large keyframe of video.
type Window = ReplayWindow<16>;
type ControlWindow = ReplayWindow<2>;
type BySsrc<T> = HashMap<u32, T, foldhash::fast::RandomState>;

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
    sources: BySsrc<Window>,
    control_sources: BySsrc<ControlWindow>,
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
            sources: BySsrc::default(),
            control_sources: BySsrc::default(),
        })
    }

    #[cfg(test)]
    pub(super) fn with_ciphers(profile: Profile, cipher: Cipher, control: Cipher) -> Self {
        let control = ControlCipher::new(control);
        Self { profile, cipher, control, sources: BySsrc::default(), control_sources: BySsrc::default() }
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
    /// Malformed, wrong tag, seen before, too old, or one SSRC too many.
    pub fn open(&mut self, packet: &mut [u8]) -> Result<Opened, SrtpError> {
        let tag_len = self.cipher.tag_len();
        let header = Header::parse(packet).map_err(|_| SrtpError::Malformed)?;
        let len = packet.len().checked_sub(tag_len).filter(|l| *l >= header.len()).ok_or(SrtpError::Malformed)?;
        let source = self.sources.get(&header.ssrc);
        let index = match source {
            Some(window) => {
                let index = estimate(window.highest(), header.seq).ok_or(SrtpError::TooOld)?;
                window.check(index)?;
                index
            }
            None if self.sources.len() >= MAX_SOURCES => return Err(SrtpError::TooManySources),
            // RFC 3711 section 3.3.1: the rollover counter of a stream begins with zero.
            None => u64::from(header.seq),
        };
        let (head, rest) = packet.split_at_mut_checked(header.len()).ok_or(SrtpError::Malformed)?;
        let (payload, tag) = rest.split_at_mut_checked(len - header.len()).ok_or(SrtpError::Malformed)?;
        self.cipher.open(head, payload, tag, header.ssrc, index)?;
        match self.sources.get_mut(&header.ssrc) {
            Some(window) => window.accept(index),
            None => drop(self.sources.insert(header.ssrc, Window::starting_at(index))),
        }
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
        let index = u64::from(index);
        match self.control_sources.get(&ssrc) {
            Some(window) => window.check(index)?,
            None if self.control_sources.len() >= MAX_SOURCES => return Err(SrtpError::TooManySources),
            None => {}
        }
        let len = self.control.open(packet)?;
        match self.control_sources.get_mut(&ssrc) {
            Some(window) => window.accept(index),
            None => drop(self.control_sources.insert(ssrc, ControlWindow::starting_at(index))),
        }
        Ok(OpenedControl { ssrc, len })
    }

    /// Forgets an SSRC that is not signaled any more, so that it does not count towards [`MAX_SOURCES`]. Its old packets could be replayed
    /// afterwards, and its rollover counter begins with zero: only for SSRCs whose packets are dropped anyway.
    pub fn forget(&mut self, ssrc: u32) {
        self.sources.remove(&ssrc);
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
