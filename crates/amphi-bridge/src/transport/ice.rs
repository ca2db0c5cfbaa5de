//! One ICE agent with its credentials: crate `is`, bounded.
//!
//! The agent of the library grows with every address that the (authenticated) other side sends from or claims to see us at; here those are
//! counted, and what goes over a limit never reaches it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use is::stun::{StunMessage, StunPacket};
use is::{Candidate, CandidateKind, IceAgent, IceAgentEvent, IceConnectionState, IceCreds, Protocol};
use smallvec::SmallVec;

use super::config::{HIDDEN, is_private};
use super::hmac::Sha1Hmac;
use super::{
    CandidateType, Credentials, LocalAddress, LocalCandidate, PeerConfig, PeerLimits, Receive, RemoteCandidate,
    Transmit,
};

static HMAC: Sha1Hmac = Sha1Hmac;

/// Buffer of outgoing STUN messages. Ours are of 100 to 150 bytes; the user name has up to 256 of the other side's ufrag.
const STUN_BUFFER: usize = 576;
const MTU_WARN: usize = 1500;

/// What a STUN message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Not authentic, not for this agent, or over a limit.
    Nothing,
    /// An authentic request.
    Request,
    /// An authentic answer to a check of ours: the path works both ways.
    Response,
}

/// What the agent found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// The pair to send on.
    Selected { local: SocketAddr, remote: SocketAddr },
    /// No pair is left.
    Lost,
}

/// An address from which authentic STUN came.
#[derive(Clone, Copy, Debug)]
struct Source {
    remote: SocketAddr,
    /// To which of our addresses it came last.
    local: SocketAddr,
    heard: Instant,
    /// Whether it answered a check: only there anything but STUN may be sent.
    proved: bool,
}

/// One ICE agent.
#[derive(Debug)]
pub(super) struct Agent {
    agent: IceAgent,
    credentials: Credentials,
    generation: u32,
    limits: Arc<PeerLimits>,
    sources: SmallVec<[Source; 2]>,
    mapped: SmallVec<[SocketAddr; 2]>,
    remote_candidates: usize,
}

impl Agent {
    pub(super) fn new(now: Instant, config: &PeerConfig, credentials: Credentials, generation: u32) -> Self {
        let creds = IceCreds { ufrag: credentials.ufrag.clone(), pass: credentials.password.clone() };
        let mut agent = IceAgent::with_hmac(creds, &HMAC);
        agent.set_controlling(config.controlling);
        agent.set_mtu(STUN_BUFFER..=MTU_WARN);
        agent.set_max_stun_rto(config.limits.consent_interval);
        let both_families = config.addresses.iter().any(|a| a.base.is_ipv6());
        agent.set_local_preference(move |candidate: &Candidate, same_kind: usize| {
            let behind = 2 * same_kind as u32 + u32::from(both_families && candidate.addr().is_ipv4());
            65_535_u32.saturating_sub(behind)
        });
        for address in config.addresses.iter() {
            if let Ok(candidate) = Candidate::host(address.base, Protocol::Udp) {
                agent.add_local_candidate(candidate);
            }
            if let Some(public) = address.public.filter(|public| *public != address.base)
                && let Ok(candidate) = Candidate::server_reflexive(public, address.base, Protocol::Udp)
            {
                agent.add_local_candidate(candidate);
            }
        }
        agent.handle_timeout(now);
        Self {
            agent,
            credentials,
            generation,
            limits: config.limits.clone(),
            sources: SmallVec::new(),
            mapped: SmallVec::new(),
            remote_candidates: 0,
        }
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    pub(super) fn has_remote_credentials(&self) -> bool {
        self.agent.remote_credentials().is_some()
    }

    /// Our candidates as they are signaled.
    pub(super) fn candidates(&self, addresses: &[LocalAddress], advertise_private: bool) -> Vec<LocalCandidate> {
        let mut candidates = Vec::new();
        for candidate in self.agent.local_candidates() {
            let address = candidate.addr();
            let (kind, related) = match candidate.kind() {
                CandidateKind::Host => (CandidateType::Host, None),
                CandidateKind::ServerReflexive => (CandidateType::ServerReflexive, Some(candidate.local())),
                CandidateKind::PeerReflexive | CandidateKind::Relayed => continue,
            };
            let hidden = |ip| !advertise_private && is_private(ip);
            if kind == CandidateType::Host && hidden(address.ip()) {
                continue;
            }
            let related = related.map(|related| if hidden(related.ip()) { HIDDEN } else { related });
            // Equal for candidates of one type, base and protocol (RFC 8445 section 5.1.1.3).
            let base = addresses.iter().position(|a| a.base == candidate.local()).unwrap_or_default();
            let foundation = (2 * base + usize::from(kind == CandidateType::ServerReflexive) + 1).to_string();
            candidates.push(LocalCandidate {
                id: candidate_id(&self.credentials.ufrag, candidates.len()),
                foundation,
                priority: candidate.prio(),
                generation: self.generation,
                kind,
                address,
                related,
            });
        }
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.priority));
        candidates
    }

    pub(super) fn set_remote_credentials(&mut self, ufrag: &str, password: &str) {
        self.agent.set_remote_credentials(IceCreds { ufrag: ufrag.into(), pass: password.into() });
    }

    /// Adds a candidate of the other side; those of other generations and over the limit are left out.
    pub(super) fn add_remote_candidate(&mut self, candidate: &RemoteCandidate) {
        let other_generation = candidate.generation.is_some_and(|generation| generation != self.generation);
        if other_generation || self.remote_candidates >= self.limits.remote_candidates || candidate.address.port() == 0
        {
            return;
        }
        self.remote_candidates += 1;
        let kind = match candidate.kind {
            CandidateType::Host => CandidateKind::Host,
            CandidateType::ServerReflexive => CandidateKind::ServerReflexive,
            CandidateType::PeerReflexive => CandidateKind::PeerReflexive,
            CandidateType::Relayed => CandidateKind::Relayed,
        };
        self.agent.add_remote_candidate(Candidate::from_parts(
            candidate.foundation.clone(),
            1,
            Protocol::Udp,
            candidate.priority.clamp(1, (1 << 31) - 1),
            candidate.address,
            kind,
            None,
            None,
            None,
        ));
    }

    /// Whether the other side sent authentic STUN messages from there.
    pub(super) fn knows(&self, source: SocketAddr) -> bool {
        self.sources.iter().any(|known| known.remote == source)
    }

    /// Where to send if nothing was heard from `selected` for `silence`, but from another proved address since: a client behind a NAT that
    /// gave it another port. The library waits for the selected pair to fail.
    pub(super) fn instead_of(
        &self,
        now: Instant,
        selected: SocketAddr,
        silence: Duration,
    ) -> Option<(SocketAddr, SocketAddr)> {
        let last = self.sources.iter().find(|source| source.remote == selected)?.heard;
        if now.saturating_duration_since(last) < silence {
            return None;
        }
        let others = self.sources.iter().filter(|source| source.proved && source.heard > last);
        others.max_by_key(|source| source.heard).map(|source| (source.local, source.remote))
    }

    /// Takes a STUN message.
    pub(super) fn handle(&mut self, now: Instant, receive: Receive<'_>) -> Heard {
        let Ok(message) = StunMessage::parse(receive.bytes) else { return Heard::Nothing };
        let known = self.knows(receive.source);
        if !known && self.sources.len() >= self.limits.remote_addresses {
            return Heard::Nothing;
        }
        let heard = if message.is_binding_request() { Heard::Request } else { Heard::Response };
        let new_mapped = message
            .mapped_address()
            .filter(|mapped| message.is_successful_binding_response() && !self.mapped.contains(mapped));
        if new_mapped.is_some() && self.mapped.len() >= self.limits.mapped_addresses {
            return Heard::Nothing;
        }
        let packet =
            StunPacket { proto: Protocol::Udp, source: receive.source, destination: receive.destination, message };
        if !self.agent.handle_packet(now, packet) {
            return Heard::Nothing;
        }
        self.note(now, &receive, heard);
        self.mapped.extend(new_mapped);
        // The triggered check is not to wait for the next tick.
        self.agent.handle_timeout(now);
        heard
    }

    fn note(&mut self, now: Instant, receive: &Receive<'_>, heard: Heard) {
        let answered = heard == Heard::Response;
        match self.sources.iter_mut().find(|known| known.remote == receive.source) {
            Some(known) => {
                known.local = receive.destination;
                known.heard = now;
                known.proved |= answered;
            }
            None => self.sources.push(Source {
                remote: receive.source,
                local: receive.destination,
                heard: now,
                proved: answered,
            }),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.agent.handle_timeout(now);
    }

    /// Without remote credentials there is nothing to do in time.
    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        if self.has_remote_credentials() { self.agent.poll_timeout() } else { None }
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        let transmit = self.agent.poll_transmit()?;
        Some(Transmit { source: transmit.source, destination: transmit.destination, bytes: transmit.contents.into() })
    }

    pub(super) fn poll(&mut self) -> Option<Finding> {
        loop {
            match self.agent.poll_event()? {
                IceAgentEvent::NominatedSend { source, destination, .. } => {
                    return Some(Finding::Selected { local: source, remote: destination });
                }
                IceAgentEvent::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                    return Some(Finding::Lost);
                }
                _ => {}
            }
        }
    }
}

fn candidate_id(ufrag: &str, index: usize) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (ufrag, index).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
