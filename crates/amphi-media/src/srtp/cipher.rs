//! The two transforms with their session keys. Everything here is told the packet index; whether a packet may be taken is decided elsewhere.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use super::SrtpError;

/// E flag in the word of the SRTCP index.
const ENCRYPTED: u32 = 1 << 31;
/// First two words of RTCP, which stay in the clear.
const CONTROL_HEADER_LEN: usize = 8;
const GCM_TAG_LEN: usize = 16;
const CM_TAG_LEN: usize = 10;

/// Session keys of RTP.
pub(super) enum Cipher {
    /// RFC 7714. The key schedule is on the heap of the library, some 600 bytes.
    Gcm { key: LessSafeKey, salt: [u8; 12] },
    /// RFC 3711. About one and a half kilobyte, so it has its own place.
    Cm(Box<CounterMode>),
}

/// AES counter mode and HMAC-SHA1, both with their keys expanded.
pub(super) struct CounterMode {
    key: EncryptingKey,
    authentication: hmac::Key,
    salt: [u8; 14],
}

impl Cipher {
    /// AES-128 or AES-256, by the length of the key.
    pub(super) fn gcm(key: &[u8], salt: [u8; 12]) -> Result<Self, SrtpError> {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        Ok(Self::Gcm { key: LessSafeKey::new(UnboundKey::new(algorithm, key)?), salt })
    }

    pub(super) fn cm(key: &[u8; 16], salt: [u8; 14], authentication: &[u8]) -> Result<Self, SrtpError> {
        let key = EncryptingKey::ctr(UnboundCipherKey::new(&AES_128, key)?)?;
        let authentication = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, authentication);
        Ok(Self::Cm(Box::new(CounterMode { key, authentication, salt })))
    }

    #[inline]
    pub(super) fn tag_len(&self) -> usize {
        match self {
            Self::Gcm { .. } => GCM_TAG_LEN,
            Self::Cm(_) => CM_TAG_LEN,
        }
    }

    /// Seals `payload` in place, after `header`; `tag` has the length of a tag.
    #[inline]
    pub(super) fn seal(
        &self,
        header: &[u8],
        payload: &mut [u8],
        tag: &mut [u8],
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        match self {
            Self::Gcm { key, salt } => {
                Ok(key.seal_in_place_scatter(gcm_nonce(salt, ssrc, index), Aad::from(header), payload, &[], tag)?)
            }
            Self::Cm(cm) => {
                cm.apply(payload, ssrc, index)?;
                cm.tag(&[header, payload, &roc(index)], tag)
            }
        }
    }

    /// As [`Self::seal`], reading the payload elsewhere. `out` is as long as `payload`.
    #[inline]
    pub(super) fn seal_from(
        &self,
        header: &[u8],
        payload: &[u8],
        out: &mut [u8],
        tag: &mut [u8],
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        match self {
            Self::Gcm { key, salt } => {
                let nonce = gcm_nonce(salt, ssrc, index);
                Ok(key.seal_out_of_place_scatter(nonce, Aad::from(header), payload, out, &[], tag)?)
            }
            Self::Cm(_) => {
                out.copy_from_slice(payload);
                self.seal(header, out, tag, ssrc, index)
            }
        }
    }

    /// Opens `payload` in place. On an error its content is unspecified.
    #[inline]
    pub(super) fn open(
        &self,
        header: &[u8],
        payload: &mut [u8],
        tag: &[u8],
        ssrc: u32,
        index: u64,
    ) -> Result<(), SrtpError> {
        match self {
            Self::Gcm { key, salt } => {
                let nonce = gcm_nonce(salt, ssrc, index);
                key.open_in_place_separate_tag(nonce, Aad::from(header), tag, payload)
                    .map_err(|_| SrtpError::Authentication)?;
                Ok(())
            }
            Self::Cm(cm) => {
                cm.verify(&[header, payload, &roc(index)], tag)?;
                cm.apply(payload, ssrc, index)
            }
        }
    }
}

/// Rollover counter, as it is authenticated.
fn roc(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// RFC 7714 section 8.1: two zero bytes, SSRC, rollover counter, sequence number, all xored with the salt. For SRTCP (section 9.1) the index
/// of 31 bits stands where the last four bytes of that are, which is the same for an index below 2^48.
#[inline]
fn gcm_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[6..12].copy_from_slice(&index.to_be_bytes()[2..]);
    for (n, s) in nonce.iter_mut().zip(salt) {
        *n ^= s;
    }
    Nonce::assume_unique_for_key(nonce)
}

impl CounterMode {
    /// En- or decrypts. RFC 3711 section 4.1.1: salt x 2^16, SSRC x 2^64 and index x 2^16 xored. No allocation; the schedule is kept.
    fn apply(&self, data: &mut [u8], ssrc: u32, index: u64) -> Result<(), SrtpError> {
        let mut iv = [0; 16];
        iv[4..8].copy_from_slice(&ssrc.to_be_bytes());
        iv[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
        for (n, s) in iv.iter_mut().zip(&self.salt) {
            *n ^= s;
        }
        self.key.less_safe_encrypt(data, EncryptionContext::Iv128(iv.into()))?;
        Ok(())
    }

    fn sign(&self, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.authentication);
        parts.iter().for_each(|p| context.update(p));
        context.sign()
    }

    fn tag(&self, parts: &[&[u8]], tag: &mut [u8]) -> Result<(), SrtpError> {
        let signed = self.sign(parts);
        tag.copy_from_slice(signed.as_ref().get(..tag.len()).ok_or(SrtpError::Crypto)?);
        Ok(())
    }

    fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> Result<(), SrtpError> {
        let signed = self.sign(parts);
        let wanted = signed.as_ref().get(..tag.len()).ok_or(SrtpError::Crypto)?;
        verify_slices_are_equal(wanted, tag).map_err(|_| SrtpError::Authentication)
    }
}

/// Session keys of RTCP.
pub(super) struct ControlCipher(Cipher);

impl ControlCipher {
    pub(super) fn new(cipher: Cipher) -> Self {
        Self(cipher)
    }

    /// What is appended.
    pub(super) fn trailer_len(&self) -> usize {
        self.0.tag_len() + 4
    }

    /// Sender and index of a protected packet, nothing of it verified yet.
    pub(super) fn ssrc_and_index(&self, packet: &[u8]) -> Result<(u32, u32), SrtpError> {
        if packet.len() < CONTROL_HEADER_LEN + self.trailer_len() {
            return Err(SrtpError::Malformed);
        }
        let ssrc = packet.get(4..8).and_then(|b| b.first_chunk()).ok_or(SrtpError::Malformed)?;
        let word_at = match &self.0 {
            Cipher::Gcm { .. } => packet.len() - 4,
            Cipher::Cm(_) => packet.len() - 4 - CM_TAG_LEN,
        };
        let word = packet.get(word_at..).and_then(|b| b.first_chunk()).ok_or(SrtpError::Malformed)?;
        Ok((u32::from_be_bytes(*ssrc), u32::from_be_bytes(*word) & !ENCRYPTED))
    }

    /// Seals a packet of `len` bytes in place, with the E flag; returns the new length.
    pub(super) fn seal(&self, buf: &mut [u8], len: usize, index: u32) -> Result<usize, SrtpError> {
        let sealed = len.checked_add(self.trailer_len()).ok_or(SrtpError::NoRoom)?;
        let (packet, trailer) = buf.get_mut(..sealed).ok_or(SrtpError::NoRoom)?.split_at_mut(len);
        let (header, body) = packet.split_first_chunk_mut::<CONTROL_HEADER_LEN>().ok_or(SrtpError::Malformed)?;
        let [_, _, _, _, ssrc @ ..] = *header;
        let ssrc = u32::from_be_bytes(ssrc);
        let word = (index | ENCRYPTED).to_be_bytes();
        match &self.0 {
            Cipher::Gcm { key, salt } => {
                let (tag, word_place) = trailer.split_at_mut(GCM_TAG_LEN);
                word_place.copy_from_slice(&word);
                let aad = Aad::from(control_aad(header, word));
                key.seal_in_place_scatter(gcm_nonce(salt, ssrc, index.into()), aad, body, &[], tag)?;
            }
            Cipher::Cm(cm) => {
                let (word_place, tag) = trailer.split_at_mut(4);
                word_place.copy_from_slice(&word);
                cm.apply(body, ssrc, index.into())?;
                cm.tag(&[header, body, &word], tag)?;
            }
        }
        Ok(sealed)
    }

    /// Opens a packet in place; returns its length without the trailer. A clear E flag means that it was authenticated only.
    pub(super) fn open(&self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let len = packet.len().checked_sub(self.trailer_len()).ok_or(SrtpError::Malformed)?;
        let (clear, trailer) = packet.split_at_mut_checked(len).ok_or(SrtpError::Malformed)?;
        let (header, body) = clear.split_first_chunk_mut::<CONTROL_HEADER_LEN>().ok_or(SrtpError::Malformed)?;
        let [_, _, _, _, ssrc @ ..] = *header;
        let ssrc = u32::from_be_bytes(ssrc);
        match &self.0 {
            Cipher::Gcm { key, salt } => {
                let (tag, word) = trailer.split_first_chunk_mut::<GCM_TAG_LEN>().ok_or(SrtpError::Malformed)?;
                let word: [u8; 4] = *word.first_chunk().ok_or(SrtpError::Malformed)?;
                let index = u32::from_be_bytes(word);
                let nonce = gcm_nonce(salt, ssrc, u64::from(index & !ENCRYPTED));
                if index & ENCRYPTED != 0 {
                    key.open_in_place_separate_tag(nonce, Aad::from(control_aad(header, word)), tag, body)
                        .map_err(|_| SrtpError::Authentication)?;
                } else {
                    // RFC 7714 section 9.3: all of it and the word are associated data. They become neighbours by moving the tag.
                    let tag = *tag;
                    let (aad, _) = packet.split_at_mut_checked(len + 4).ok_or(SrtpError::Malformed)?;
                    aad.last_chunk_mut::<4>().ok_or(SrtpError::Malformed)?.copy_from_slice(&word);
                    key.open_in_place_separate_tag(nonce, Aad::from(&*aad), &tag, &mut [])
                        .map_err(|_| SrtpError::Authentication)?;
                }
            }
            Cipher::Cm(cm) => {
                let (word, tag) = trailer.split_first_chunk::<4>().ok_or(SrtpError::Malformed)?;
                cm.verify(&[header, body, word], tag)?;
                let index = u32::from_be_bytes(*word);
                if index & ENCRYPTED != 0 {
                    cm.apply(body, ssrc, u64::from(index & !ENCRYPTED))?;
                }
            }
        }
        Ok(len)
    }
}

/// RFC 7714 section 9.2.
fn control_aad(header: &[u8; CONTROL_HEADER_LEN], word: [u8; 4]) -> [u8; 12] {
    let mut aad = [0; 12];
    aad[..8].copy_from_slice(header);
    aad[8..].copy_from_slice(&word);
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_stream_of_rfc_3711_b_2() {
        let key = [0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c];
        let salt: [u8; 14] = std::array::from_fn(|n| 0xf0 + n as u8);
        let Cipher::Cm(cm) = Cipher::cm(&key, salt, &[0; 20]).unwrap() else { unreachable!() };
        let mut stream = vec![0; 0xff02 * 16];
        cm.apply(&mut stream, 0, 0).unwrap();
        let block = |n: usize| u128::from_be_bytes(stream[16 * n..][..16].try_into().unwrap());
        assert_eq!(block(0), 0xE03EAD0935C95E80E166B16DD92B4EB4);
        assert_eq!(block(1), 0xD23513162B02D0F72A43A2FE4A5F97AB);
        assert_eq!(block(2), 0x41E95B3BB0A2E8DD477901E4FCA894C0);
        assert_eq!(block(0xfeff), 0xEC8CDF7398607CB0F2D21675EA9EA1E4);
        assert_eq!(block(0xff00), 0x362B7C3C6773516318A077D7FC5073AE);
        assert_eq!(block(0xff01), 0x6A2CC3787889374FBEB4C81B17BA6C44);
    }
}
