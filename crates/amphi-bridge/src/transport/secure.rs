//! A peer above its path: when DTLS begins, what its records carry, and SCTP in them.

use std::time::Instant;

use super::peer::Peer;
use super::sctp::{self, Sctp};
use super::{DtlsRole, Failure, Fingerprint, Output, PeerConfig, Receive, Setup, Transmit, dtls};

impl Peer {
    pub(super) fn handle_dtls(&mut self, now: Instant, receive: Receive<'_>) {
        if !self.knows(receive.source) {
            self.counters.rejected_dtls += 1;
            return;
        }
        let Some(association) = &mut self.dtls else {
            let limits = &self.config.limits;
            let bytes = self.early_bytes + receive.bytes.len();
            if self.early.len() >= limits.early_packets || bytes > limits.early_bytes {
                self.counters.rejected_dtls += 1;
                return;
            }
            self.early_bytes = bytes;
            self.early.push_back(receive.bytes.to_vec());
            return;
        };
        let mut said = Vec::new();
        let result = association.handle(now, receive.bytes, &mut said);
        self.after_dtls(now, said, result);
    }

    /// DTLS begins when there is a path to send on and it is known who should be there.
    pub(super) fn start_dtls(&mut self, now: Instant) {
        if self.dtls.is_some() || self.ended || self.path.is_none() {
            return;
        }
        let Some((expected, role)) = &self.expected else { return };
        let PeerConfig { certificate, limits, .. } = &self.config;
        let mut association = match dtls::Association::new(now, certificate, limits, *role, expected.clone()) {
            Ok(association) => association,
            Err(failure) => return self.fail(failure),
        };
        let mut said = Vec::new();
        let mut result = association.handle_timeout(now, &mut said);
        for packet in std::mem::take(&mut self.early) {
            if result.is_ok() {
                result = association.handle(now, &packet, &mut said);
            }
        }
        self.early_bytes = 0;
        self.dtls = Some(Box::new(association));
        self.after_dtls(now, said, result);
    }

    pub(super) fn after_dtls(&mut self, now: Instant, said: Vec<dtls::Said>, result: Result<(), Failure>) {
        // Our last flight goes before the first data, which the other side could not open otherwise.
        let (packets, rest): (Vec<_>, Vec<_>) =
            said.into_iter().partition(|said| matches!(said, dtls::Said::Packet(_)));
        for said in packets.into_iter().chain(rest) {
            match said {
                dtls::Said::Packet(bytes) => self.transmit(bytes),
                dtls::Said::Ready(keys) => {
                    let role = keys.role;
                    self.outputs.push_back(Output::Keys(keys));
                    if let Some(sctp_role) = self.config.sctp {
                        let mut sctp = Box::new(Sctp::new(sctp_role, role, &self.config.limits));
                        let mut said = Vec::new();
                        sctp.drive(now, &mut said);
                        self.sctp = Some(sctp);
                        self.after_sctp(said);
                    }
                }
                dtls::Said::Data(packet) => {
                    self.heard(now);
                    if let Some(sctp) = &mut self.sctp {
                        let mut said = Vec::new();
                        sctp.handle(now, packet, &mut said);
                        self.after_sctp(said);
                    }
                }
            }
        }
        if let Err(failure) = result {
            if failure == Failure::FingerprintMismatch {
                self.transmit(dtls::Association::refusal());
            }
            self.fail(failure);
        }
    }

    pub(super) fn after_sctp(&mut self, said: Vec<sctp::Said>) {
        for said in said {
            match said {
                sctp::Said::Packet(packet) => {
                    let Some(association) = &mut self.dtls else { return };
                    let mut said = Vec::new();
                    let result = association.send(&packet, &mut said);
                    for said in said {
                        if let dtls::Said::Packet(bytes) = said {
                            self.transmit(bytes);
                        }
                    }
                    if let Err(failure) = result {
                        return self.fail(failure);
                    }
                }
                sctp::Said::Open { label, protocol } => self.outputs.push_back(Output::ChannelOpen { label, protocol }),
                sctp::Said::Message(text) => self.outputs.push_back(Output::ChannelMessage(text)),
                sctp::Said::Closed => self.outputs.push_back(Output::ChannelClosed),
            }
        }
    }

    pub(super) fn transmit(&mut self, bytes: Vec<u8>) {
        if let Some((source, destination)) = self.path {
            self.outputs.push_back(Output::Transmit(Transmit { source, destination, bytes }));
        }
    }
}

/// Our part, by what the other side says of itself; server if it does not (`spec/bridge.md` 2.4).
pub(super) fn dtls_role(fingerprints: &[Fingerprint]) -> DtlsRole {
    match fingerprints.iter().find_map(|fingerprint| fingerprint.setup) {
        Some(Setup::Passive) => DtlsRole::Client,
        Some(Setup::Active | Setup::Actpass) | None => DtlsRole::Server,
    }
}
