//! What a peer says.

use std::net::SocketAddr;

use super::LocalTransport;

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The local address to send from.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
    /// Payload of the datagram.
    pub bytes: Vec<u8>,
}

/// SRTP protection profile (RFC 5764, 7714).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `SRTP_AEAD_AES_128_GCM`, 0x0007.
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM`, 0x0008: clients that offer it get it, the DTLS library prefers it.
    AeadAes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`, 0x0001.
    Aes128CmSha1,
}

impl Profile {
    /// Length of a master key.
    pub fn key_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::Aes128CmSha1 => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Length of a master salt.
    pub fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            Self::Aes128CmSha1 => 14,
        }
    }
}

/// Our part in the DTLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DtlsRole {
    /// We sent the ClientHello.
    Client,
    /// We answered it.
    Server,
}

/// Master key and salt of one direction.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// Master key, [`Profile::key_len`] bytes.
    pub key: Vec<u8>,
    /// Master salt, [`Profile::salt_len`] bytes.
    pub salt: Vec<u8>,
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPair")
    }
}

/// Keys for SRTP (RFC 5764 section 4.2), given once, after the peer's certificate was found to be the signaled one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The negotiated profile.
    pub profile: Profile,
    /// Our part in the handshake.
    pub role: DtlsRole,
    /// What we protect with.
    pub send: KeyPair,
    /// What we open with.
    pub receive: KeyPair,
}

/// Why a peer ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// No valid pair in time.
    #[error("no path to the other side was found in time")]
    ConnectTimeout,
    /// All pairs were lost (RFC 7675).
    #[error("the other side consents no more")]
    ConsentLost,
    /// The handshake did not end in time.
    #[error("the DTLS handshake took too long")]
    HandshakeTimeout,
    /// The certificate is not the signaled one.
    #[error("the certificate of the other side has another fingerprint")]
    FingerprintMismatch,
    /// No fingerprint with a hash that we know.
    #[error("no fingerprint of a known hash was signaled")]
    NoUsableFingerprint,
    /// The handshake failed.
    #[error("DTLS failed: {0}")]
    Dtls(String),
    /// The handshake ended without a common SRTP profile.
    #[error("no common SRTP profile")]
    NoProfile,
    /// A fault of ours.
    #[error("internal error")]
    Internal,
    /// The other side closed the DTLS association.
    #[error("closed by the other side")]
    ClosedByPeer,
}

/// What a peer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Transmit(Transmit),
    /// First valid pair: DTLS starts. `local` is our base, as in [`Transmit::source`].
    Connected {
        /// Our base.
        local: SocketAddr,
        /// The other side.
        remote: SocketAddr,
    },
    /// The pair to send on from now, media too. Comes after [`Output::Connected`], and again whenever it changes.
    Selected {
        /// Our base.
        local: SocketAddr,
        /// The other side.
        remote: SocketAddr,
    },
    /// The handshake is done.
    Keys(Box<Keys>),
    /// The channel is open, both ways.
    ChannelOpen {
        /// Its label.
        label: String,
        /// Its protocol.
        protocol: String,
    },
    /// A text message on the channel.
    ChannelMessage(String),
    /// The channel or the association is gone; another may be opened.
    ChannelClosed,
    /// The remote side proved that it is there: at most one a second.
    Activity,
    /// A restart was given up, the former agent stays (`spec/bridge.md` 2.5).
    RestartAbandoned,
    /// A restart was done: the former agent will answer for a moment only.
    Restarted(Box<LocalTransport>),
    /// The end; nothing comes after, but what is to be sent.
    Failed(Failure),
}

/// What a peer counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// STUN messages that were not authentic, not for us, or over a limit.
    pub rejected_stun: u64,
    /// DTLS packets dropped: from unproved addresses, or over the limit of early packets.
    pub rejected_dtls: u64,
    /// Data channels refused because there was one (`rejected_data_channels`).
    pub rejected_channels: u64,
    /// Binary messages and messages that are not UTF-8.
    pub ignored_messages: u64,
}
