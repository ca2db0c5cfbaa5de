//! One DTLS association: crate `dimpl`, with the peer's certificate verified and keys split by direction.

use std::time::{Duration, Instant};

use dimpl::{Config, Dtls, Error, KeyingMaterial, Output, SrtpProfile};

use super::fingerprint::Expected;
use super::{Certificate, DtlsRole, Failure, KeyPair, Keys, PeerLimits, Profile};

/// Longest datagram that we make.
const MTU: usize = 1200;
/// Most records come out of this.
const BUFFER: usize = 2048;
/// Longest record that the library may ask room for.
const MAX_BUFFER: usize = 1 << 16;

const FLIGHT_RTO: Duration = Duration::from_millis(200);
const FLIGHT_RETRIES: usize = 8;

/// The configuration of all associations.
pub(super) fn config(handshake_timeout: Duration) -> Result<Config, Error> {
    Config::builder()
        .mtu(MTU)
        .handshake_timeout(handshake_timeout)
        // The path was just checked, so that what is late is lost: 0.2 s, doubled, fills the 30 s.
        .flight_start_rto(FLIGHT_RTO)
        .flight_retries(FLIGHT_RETRIES)
        // ICE proved the way back already.
        .use_server_cookie(false)
        .build()
}

/// What the association has to say.
#[derive(Debug)]
pub(super) enum Said {
    /// Send this datagram.
    Packet(Vec<u8>),
    /// The handshake is done and the other side is who it should be.
    Ready(Box<Keys>),
    /// Application data.
    Data(Vec<u8>),
}

/// One DTLS association.
pub(super) struct Association {
    dtls: Dtls,
    role: DtlsRole,
    expected: Expected,
    verified: bool,
    connected: bool,
    keys: Option<Box<Keys>>,
    timeout: Option<Instant>,
    deadline: Option<Instant>,
}

impl std::fmt::Debug for Association {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Association")
            .field("role", &self.role)
            .field("connected", &self.connected)
            .finish_non_exhaustive()
    }
}

impl Association {
    pub(super) fn new(
        now: Instant,
        certificate: &Certificate,
        limits: &PeerLimits,
        role: DtlsRole,
        expected: Expected,
    ) -> Result<Self, Failure> {
        let config = certificate.config(limits.handshake_timeout).map_err(|e| Failure::Dtls(e.to_string()))?;
        let with_13 = match role {
            DtlsRole::Server => limits.dtls13_server,
            DtlsRole::Client => limits.dtls13_client,
        };
        let mut dtls = if with_13 {
            Dtls::new_auto(config, certificate.dtls(), now)
        } else {
            Dtls::new_12(config, certificate.dtls(), now)
        };
        dtls.set_active(role == DtlsRole::Client);
        let deadline = Some(now + limits.handshake_timeout);
        Ok(Self { dtls, role, expected, verified: false, connected: false, keys: None, timeout: None, deadline })
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    pub(super) fn handle(&mut self, now: Instant, packet: &[u8], said: &mut Vec<Said>) -> Result<(), Failure> {
        self.dtls.handle_timeout(now).or_else(|e| self.judge(&e))?;
        self.drain(said)?;
        self.dtls.handle_packet(packet).or_else(|e| self.judge(&e))?;
        self.drain(said)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, said: &mut Vec<Said>) -> Result<(), Failure> {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            return Err(Failure::HandshakeTimeout);
        }
        self.timeout = None;
        self.dtls.handle_timeout(now).map_err(|e| match e {
            Error::Timeout(_) => Failure::HandshakeTimeout,
            e => Failure::Dtls(e.to_string()),
        })?;
        self.drain(said)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timeout.into_iter().chain(self.deadline).min()
    }

    /// Sends application data, one datagram.
    pub(super) fn send(&mut self, data: &[u8], said: &mut Vec<Said>) -> Result<(), Failure> {
        // An error here is a full queue; SCTP sends again.
        let _ = self.dtls.send_application_data(data);
        self.drain(said)
    }

    /// Tells the other side that we go, if there is a handshake behind us.
    pub(super) fn close(&mut self, said: &mut Vec<Said>) {
        if self.connected && self.dtls.close().is_ok() {
            let _ = self.drain(said);
        }
    }

    /// A plain fatal alert `bad_certificate`: the library has no way to refuse a certificate. Its number lies above those of the handshake.
    pub(super) fn refusal() -> Vec<u8> {
        vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 2, 2, 42]
    }

    /// Whether an error of the library ends the association. What anybody could have sent must not.
    fn judge(&self, error: &Error) -> Result<(), Failure> {
        match error {
            Error::Timeout(_) => Err(Failure::HandshakeTimeout),
            Error::SecurityError(_) | Error::ConnectionClosed if self.connected => Err(Failure::ClosedByPeer),
            Error::SecurityError(_) | Error::CertificateError(_) | Error::ConnectionClosed => {
                Err(Failure::Dtls(error.to_string()))
            }
            _ => {
                tracing::debug!(%error, "DTLS packet ignored");
                Ok(())
            }
        }
    }

    fn drain(&mut self, said: &mut Vec<Said>) -> Result<(), Failure> {
        let mut small = [0; BUFFER];
        let mut large = Vec::new();
        loop {
            let buffer = if large.is_empty() { small.as_mut_slice() } else { large.as_mut_slice() };
            match self.dtls.poll_output(buffer) {
                Output::Packet(packet) => said.push(Said::Packet(packet.to_vec())),
                Output::BufferTooSmall { needed } if needed <= MAX_BUFFER => large.resize(needed, 0),
                Output::BufferTooSmall { .. } => return Err(Failure::Dtls("record too long".into())),
                Output::Timeout(at) => {
                    self.timeout = Some(at);
                    return Ok(());
                }
                Output::PeerCert(der) => {
                    if !self.expected.matches(der) {
                        return Err(Failure::FingerprintMismatch);
                    }
                    self.verified = true;
                }
                Output::KeyingMaterial(material, profile) => {
                    self.keys = Some(Box::new(split(&material, profile, self.role)?));
                    self.ready(said)?;
                }
                Output::Connected => {
                    self.connected = true;
                    self.deadline = None;
                    self.ready(said)?;
                }
                Output::ApplicationData(data) if self.verified && self.connected => {
                    said.push(Said::Data(data.to_vec()));
                }
                Output::CloseNotify => return Err(Failure::ClosedByPeer),
                _ => {}
            }
        }
    }

    /// Gives the keys out when the handshake is done, and only if the certificate was seen and is the right one.
    fn ready(&mut self, said: &mut Vec<Said>) -> Result<(), Failure> {
        if !self.verified {
            return Err(Failure::FingerprintMismatch);
        }
        if self.connected
            && let Some(keys) = self.keys.take()
        {
            said.push(Said::Ready(keys));
        }
        Ok(())
    }
}

/// Client key, server key, client salt, server salt (RFC 5764 section 4.2).
fn split(material: &KeyingMaterial, profile: SrtpProfile, role: DtlsRole) -> Result<Keys, Failure> {
    let profile = match profile {
        SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
        SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
        SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmSha1,
        _ => return Err(Failure::NoProfile),
    };
    let (key, salt) = (profile.key_len(), profile.salt_len());
    let part =
        |from: usize, length: usize| material.get(from..from + length).map(<[u8]>::to_vec).ok_or(Failure::NoProfile);
    let client = KeyPair { key: part(0, key)?, salt: part(2 * key, salt)? };
    let server = KeyPair { key: part(key, key)?, salt: part(2 * key + salt, salt)? };
    let (send, receive) = match role {
        DtlsRole::Client => (client, server),
        DtlsRole::Server => (server, client),
    };
    Ok(Keys { profile, role, send, receive })
}
