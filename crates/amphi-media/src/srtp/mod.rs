//! SRTP and SRTCP (RFC 3711, RFC 7714) on keys of a DTLS handshake. [`Inbound`] opens what a peer sends and keeps rollover counters and replay
//! windows; [`Outbound`] seals what we send and keeps nothing per stream: the caller numbers its packets. Used by the media shards, one pair
//! per endpoint; no key ever changes.

mod cipher;
mod inbound;
mod keys;
mod outbound;
mod replay;
mod sources;

pub use inbound::{Inbound, Opened, OpenedControl};
pub use keys::{DtlsRole, KeyingMaterial, MasterKey};
pub use outbound::{IndexOrder, Outbound};
pub use sources::MAX_SOURCES;

/// The longest authentication tag of RTP that any profile appends.
pub const MAX_TAG_LEN: usize = 16;

/// The most that any profile appends to RTCP: tag, index and E flag.
pub const MAX_CONTROL_TRAILER_LEN: usize = 20;

/// Packet indexes are below this (RFC 3711 section 3.3.1).
pub const MAX_INDEX: u64 = (1 << 48) - 1;

/// A protection profile that DTLS-SRTP negotiates (RFC 5764, RFC 7714).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// AES-128 in Galois/counter mode: preferred, several times cheaper (`spec/bridge.md` 2.4).
    AeadAes128Gcm,
    /// AES-256 in Galois/counter mode: what browsers and DTLS libraries agree on if both offer it. Little dearer.
    AeadAes256Gcm,
    /// AES-128 in counter mode with HMAC-SHA1 of 80 bits.
    Aes128CmSha1_80,
}

impl Profile {
    /// In our order of preference.
    pub const PREFERRED: [Self; 3] = [Self::AeadAes128Gcm, Self::AeadAes256Gcm, Self::Aes128CmSha1_80];

    /// Number in the `use_srtp` extension of DTLS.
    pub const fn id(self) -> u16 {
        match self {
            Self::AeadAes128Gcm => 0x0007,
            Self::AeadAes256Gcm => 0x0008,
            Self::Aes128CmSha1_80 => 0x0001,
        }
    }

    /// By the number in the `use_srtp` extension of DTLS.
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            0x0007 => Some(Self::AeadAes128Gcm),
            0x0008 => Some(Self::AeadAes256Gcm),
            0x0001 => Some(Self::Aes128CmSha1_80),
            _ => None,
        }
    }

    /// Length of a master key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::Aes128CmSha1_80 => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Length of a master salt.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            Self::Aes128CmSha1_80 => 14,
        }
    }

    /// How much keying material to export from DTLS.
    pub const fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    /// What sealing appends to RTP.
    pub const fn tag_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
            Self::Aes128CmSha1_80 => 10,
        }
    }

    /// What sealing appends to RTCP.
    pub const fn control_trailer_len(self) -> usize {
        self.tag_len() + 4
    }
}

/// Why a packet is not opened or sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// Not an RTP or RTCP header, or too short for header and tag.
    #[error("packet is malformed or truncated")]
    Malformed,
    /// The tag is wrong.
    #[error("authentication failed")]
    Authentication,
    /// Seen already.
    #[error("packet is a replay")]
    Replay,
    /// Too far behind the newest to tell whether it is a replay.
    #[error("packet is older than the replay window")]
    TooOld,
    /// All indexes of a key are used up.
    #[error("packet index is exhausted")]
    Exhausted,
    /// The buffer has no room for the tag, or lengths do not fit it.
    #[error("no room in the buffer")]
    NoRoom,
    /// Keying material of the wrong length.
    #[error("keying material has {0} bytes")]
    KeyLength(usize),
    /// The cryptographic library refused.
    #[error("cryptographic operation failed")]
    Crypto,
}

impl From<aws_lc_rs::error::Unspecified> for SrtpError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::Crypto
    }
}

#[cfg(test)]
mod tests;
