//! What we send: sealing in place, and sealing a shared payload straight into the send buffer.

use super::cipher::{Cipher, ControlCipher};
use super::{MAX_INDEX, MasterKey, Profile, SrtpError};

/// Seals packets for one peer. Small (the key schedules are apart), immutable for RTP, and without state per SSRC.
///
/// The caller owns the packet indexes: **for one context and SSRC an index must never be used for two different packets**. In both profiles a
/// second use gives away the xor of the payloads, with GCM also the authentication key. So every SSRC that we send has one counter that only
/// grows ([`IndexOrder`] checks that in debug builds); a packet that must be sent again goes out as RTX under an SSRC and number of its own,
/// or as the very bytes that were sealed before (`spec/bridge.md` 9.6).
pub struct Outbound {
    cipher: Cipher,
    control: Box<Control>,
}

struct Control {
    profile: Profile,
    cipher: ControlCipher,
    /// Of the next packet, over all SSRCs, so that it grows for each.
    next: u32,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound")
            .field("profile", &self.control.profile)
            .field("control_index", &self.control.next)
            .finish_non_exhaustive()
    }
}

impl Outbound {
    /// With our key.
    ///
    /// # Errors
    /// The cryptographic library refuses.
    pub fn new(key: &MasterKey) -> Result<Self, SrtpError> {
        // RFC 3711 section 3.2.1 would begin with zero; the stacks of browsers begin with one, and so do we.
        let control = Control { profile: key.profile(), cipher: key.control_cipher()?, next: 1 };
        Ok(Self { cipher: key.cipher()?, control: Box::new(control) })
    }

    #[cfg(test)]
    pub(super) fn with_ciphers(profile: Profile, cipher: Cipher, control: Cipher, next: u32) -> Self {
        let control = Control { profile, cipher: ControlCipher::new(control), next };
        Self { cipher, control: Box::new(control) }
    }

    /// The profile in use.
    pub fn profile(&self) -> Profile {
        self.control.profile
    }

    /// What [`Self::seal`] appends.
    #[inline]
    pub fn tag_len(&self) -> usize {
        self.cipher.tag_len()
    }

    /// Seals the packet at the start of `buf` in place: `header_len` bytes of header, which already hold SSRC and the low 16 bits of `index`,
    /// `payload_len` bytes of payload, then room for the tag. Returns the length of what is to be sent. `index` is rollover counter and
    /// sequence number as one number; see the type about its uniqueness.
    ///
    /// # Errors
    /// No room in `buf`, or an index beyond 48 bits.
    #[inline]
    pub fn seal(
        &self,
        buf: &mut [u8],
        header_len: usize,
        payload_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        check_index(buf, ssrc, index)?;
        let sealed =
            header_len.checked_add(payload_len).and_then(|l| l.checked_add(self.tag_len())).ok_or(SrtpError::NoRoom)?;
        let (header, rest) = buf.get_mut(..sealed).ok_or(SrtpError::NoRoom)?.split_at_mut(header_len);
        let (payload, tag) = rest.split_at_mut(payload_len);
        self.cipher.seal(header, payload, tag, ssrc, index)?;
        Ok(sealed)
    }

    /// As [`Self::seal`], but most of the payload is elsewhere, shared with other receivers: `buf` begins with `head_len` bytes, header
    /// (`header_len`) and those bytes of the payload that differ (the codec's descriptor), and `shared` follows. With GCM and no such bytes,
    /// encrypting is the only pass over the payload; else `shared` is copied before.
    ///
    /// # Errors
    /// No room in `buf`, a head shorter than the header, or an index beyond 48 bits.
    #[inline]
    pub fn seal_from(
        &self,
        buf: &mut [u8],
        header_len: usize,
        head_len: usize,
        shared: &[u8],
        ssrc: u32,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let prefix_len = head_len.checked_sub(header_len).ok_or(SrtpError::NoRoom)?;
        if prefix_len > 0 {
            let end = head_len.checked_add(shared.len()).ok_or(SrtpError::NoRoom)?;
            buf.get_mut(head_len..end).ok_or(SrtpError::NoRoom)?.copy_from_slice(shared);
            return self.seal(buf, header_len, prefix_len + shared.len(), ssrc, index);
        }
        check_index(buf, ssrc, index)?;
        let sealed = header_len
            .checked_add(shared.len())
            .and_then(|l| l.checked_add(self.tag_len()))
            .ok_or(SrtpError::NoRoom)?;
        let (header, rest) = buf.get_mut(..sealed).ok_or(SrtpError::NoRoom)?.split_at_mut(header_len);
        let (payload, tag) = rest.split_at_mut(shared.len());
        self.cipher.seal_from(header, shared, payload, tag, ssrc, index)?;
        Ok(sealed)
    }

    /// Seals the (compound) RTCP packet of `len` bytes at the start of `buf` in place, under an index of our own. Returns the new length.
    ///
    /// # Errors
    /// No room in `buf`, less than a header, or all indexes used up.
    pub fn seal_control(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let index = self.control.next;
        if index >= 1 << 31 {
            return Err(SrtpError::Exhausted);
        }
        let sealed = self.control.cipher.seal(buf, len, index)?;
        self.control.next = index + 1;
        Ok(sealed)
    }

    /// As [`Self::seal_control`], appending to a vector.
    ///
    /// # Errors
    /// As there.
    pub fn seal_control_vec(&mut self, packet: &mut Vec<u8>) -> Result<(), SrtpError> {
        let len = packet.len();
        packet.resize(len + self.control.cipher.trailer_len(), 0);
        let sealed = self.seal_control(packet, len);
        packet.truncate(*sealed.as_ref().unwrap_or(&len));
        sealed.map(drop)
    }
}

#[inline]
fn check_index(header: &[u8], ssrc: u32, index: u64) -> Result<(), SrtpError> {
    debug_assert!(
        crate::rtp::Header::parse(header).is_ok_and(|h| h.ssrc == ssrc && h.seq == index as u16),
        "the header holds the SSRC and sequence number that it is sealed under"
    );
    if index > MAX_INDEX { Err(SrtpError::Exhausted) } else { Ok(()) }
}

/// Checks, in debug builds only, that the indexes of one SSRC of one context only grow. In release builds it is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct IndexOrder {
    #[cfg(debug_assertions)]
    last: Option<u64>,
}

impl IndexOrder {
    /// Nothing sealed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// To be called before an index is used.
    #[inline]
    pub fn assert_next(&mut self, index: u64) {
        #[cfg(debug_assertions)]
        {
            let last = self.last.replace(index);
            assert!(last.is_none_or(|l| l < index), "index {index} after {last:?} would repeat a nonce");
        }
        #[cfg(not(debug_assertions))]
        let _ = index;
    }
}
