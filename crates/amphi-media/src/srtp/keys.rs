//! Master keys, as DTLS exports them, and session keys derived from them (RFC 3711 section 4.3).

use std::fmt;

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};

use super::cipher::{Cipher, ControlCipher};
use super::{Inbound, Outbound, Profile, SrtpError};

/// Which side of the DTLS handshake we were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    /// The client; the peer answered `passive`.
    Client,
    /// The server; the peer answered `active`.
    Server,
}

/// Master key and salt of one direction.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    profile: Profile,
    /// Keys of 16 bytes are followed by zeros.
    key: [u8; 32],
    /// Salts of 12 bytes are followed by zeros (RFC 7714 section 11).
    salt: [u8; 14],
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// Labels of RFC 3711 section 4.3.1.
#[derive(Clone, Copy)]
pub(super) enum Label {
    Encryption = 0,
    Authentication = 1,
    Salt = 2,
    ControlEncryption = 3,
    ControlAuthentication = 4,
    ControlSalt = 5,
}

impl MasterKey {
    /// From key and salt as exported.
    ///
    /// # Errors
    /// Lengths that are not those of the profile.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        if key.len() != profile.key_len() {
            return Err(SrtpError::KeyLength(key.len()));
        }
        if salt.len() != profile.salt_len() {
            return Err(SrtpError::KeyLength(salt.len()));
        }
        let mut padded = [0; 14];
        padded[..salt.len()].copy_from_slice(salt);
        let mut padded_key = [0; 32];
        padded_key[..key.len()].copy_from_slice(key);
        Ok(Self { profile, key: padded_key, salt: padded })
    }

    /// The profile that the key is for.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// A session key: the AES-CM pseudo-random function with key derivation rate 0.
    pub(super) fn derive<const N: usize>(&self, label: Label) -> Result<[u8; N], SrtpError> {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        // The label stands above an index of 48 bits that is always 0.
        iv[7] ^= label as u8;
        let algorithm = if self.profile.key_len() == 32 { &AES_256 } else { &AES_128 };
        let key = EncryptingKey::ctr(UnboundCipherKey::new(algorithm, &self.key[..self.profile.key_len()])?)?;
        let mut out = [0; N];
        key.less_safe_encrypt(&mut out, EncryptionContext::Iv128(iv.into()))?;
        Ok(out)
    }

    pub(super) fn cipher(&self) -> Result<Cipher, SrtpError> {
        match self.profile {
            Profile::AeadAes128Gcm => Cipher::gcm(&self.derive::<16>(Label::Encryption)?, self.derive(Label::Salt)?),
            Profile::AeadAes256Gcm => Cipher::gcm(&self.derive::<32>(Label::Encryption)?, self.derive(Label::Salt)?),
            Profile::Aes128CmSha1_80 => {
                let key = self.derive(Label::Encryption)?;
                Cipher::cm(&key, self.derive(Label::Salt)?, &self.derive::<20>(Label::Authentication)?)
            }
        }
    }

    pub(super) fn control_cipher(&self) -> Result<ControlCipher, SrtpError> {
        let cipher = match self.profile {
            Profile::AeadAes128Gcm => {
                Cipher::gcm(&self.derive::<16>(Label::ControlEncryption)?, self.derive(Label::ControlSalt)?)
            }
            Profile::AeadAes256Gcm => {
                Cipher::gcm(&self.derive::<32>(Label::ControlEncryption)?, self.derive(Label::ControlSalt)?)
            }
            Profile::Aes128CmSha1_80 => {
                let key = self.derive(Label::ControlEncryption)?;
                Cipher::cm(&key, self.derive(Label::ControlSalt)?, &self.derive::<20>(Label::ControlAuthentication)?)
            }
        };
        cipher.map(ControlCipher::new)
    }
}

/// Keys of both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyingMaterial {
    /// What the DTLS client seals with.
    pub client: MasterKey,
    /// What the DTLS server seals with.
    pub server: MasterKey,
}

impl KeyingMaterial {
    /// Splits what DTLS exported under `EXTRACTOR-dtls_srtp`: client key, server key, client salt, server salt (RFC 5764 section 4.2).
    ///
    /// # Errors
    /// A length that is not that of the profile.
    pub fn split(profile: Profile, exported: &[u8]) -> Result<Self, SrtpError> {
        let wrong = SrtpError::KeyLength(exported.len());
        if exported.len() != profile.keying_material_len() {
            return Err(wrong);
        }
        let (keys, salts) = exported.split_at_checked(2 * profile.key_len()).ok_or(wrong)?;
        let (client_key, server_key) = keys.split_at_checked(profile.key_len()).ok_or(wrong)?;
        let (client_salt, server_salt) = salts.split_at_checked(profile.salt_len()).ok_or(wrong)?;
        Ok(Self {
            client: MasterKey::new(profile, client_key, client_salt)?,
            server: MasterKey::new(profile, server_key, server_salt)?,
        })
    }

    /// Our two contexts.
    ///
    /// # Errors
    /// The cryptographic library refuses.
    pub fn contexts(&self, role: DtlsRole) -> Result<(Inbound, Outbound), SrtpError> {
        let (ours, theirs) = match role {
            DtlsRole::Client => (&self.client, &self.server),
            DtlsRole::Server => (&self.server, &self.client),
        };
        Ok((Inbound::new(theirs)?, Outbound::new(ours)?))
    }
}
