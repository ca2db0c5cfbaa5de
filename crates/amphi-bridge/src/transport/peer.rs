//! The transport of one endpoint or relay.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::demux::{self, Kind};
use super::fingerprint::Expected;
use super::ice::{Agent, Finding};
use super::restart::{Former, Pending};
use super::sctp::Sctp;
use super::{
    Counters, DtlsRole, Failure, Fingerprint, LocalTransport, Output, PeerConfig, RemoteTransport, Setup, dtls, secure,
};

pub use super::ice::Heard;

/// How often [`Output::Activity`] comes at most.
const ACTIVITY: Duration = Duration::from_secs(1);
/// An output queue with more room than this is given back when it is empty.
const KEEP_OUTPUTS: usize = 8;

/// A datagram that came.
#[derive(Clone, Copy, Debug)]
pub struct Receive<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// The address of ours to which it came.
    pub destination: SocketAddr,
    /// Payload of the datagram.
    pub bytes: &'a [u8],
}

/// What became of a wish to restart ICE (`spec/bridge.md` 2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restart {
    /// A new agent waits for the answer: its description, with `generation`.
    Started(Box<LocalTransport>),
    /// Not established yet: the description as it was, without `generation`.
    KeepExisting(Box<LocalTransport>),
    /// Can not be done; the answer has no transport.
    Unavailable,
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// There is no open channel.
    #[error("the channel is not open")]
    NotOpen,
    /// Too much waits already: the other side does not read.
    #[error("the send queue is full")]
    Full,
    /// Longer than the limit.
    #[error("the message is too long")]
    TooLong,
}

/// The transport of one endpoint or relay: ICE agent, DTLS, SCTP.
#[derive(Debug)]
pub struct Peer {
    pub(super) config: PeerConfig,
    pub(super) agent: Agent,
    pub(super) pending: Option<Box<Pending>>,
    pub(super) former: Option<Box<Former>>,
    /// Counts changes of the ufrags that are listened to.
    pub(super) ufrag_changes: u32,
    /// The pair to send on; none before the first valid one.
    pub(super) path: Option<(SocketAddr, SocketAddr)>,
    /// The established agent has no pair any more, but a restart is pending.
    pub(super) lost: bool,
    pub(super) expected: Option<(Expected, DtlsRole)>,
    pub(super) early: VecDeque<Vec<u8>>,
    pub(super) early_bytes: usize,
    pub(super) dtls: Option<Box<dtls::Association>>,
    pub(super) sctp: Option<Box<Sctp>>,
    pub(super) outputs: VecDeque<Output>,
    connect_deadline: Option<Instant>,
    activity: Option<Instant>,
    pub(super) ended: bool,
    pub(super) counters: Counters,
}

impl Peer {
    /// A peer that waits for the other side's description.
    pub fn new(now: Instant, config: PeerConfig) -> Self {
        let agent = Agent::new(now, &config, config.credentials.clone(), 0);
        Self {
            config,
            agent,
            pending: None,
            former: None,
            ufrag_changes: 0,
            path: None,
            lost: false,
            expected: None,
            early: VecDeque::new(),
            early_bytes: 0,
            dtls: None,
            sctp: None,
            outputs: VecDeque::new(),
            connect_deadline: None,
            activity: None,
            ended: false,
            counters: Counters::default(),
        }
    }

    /// What to tell the other side. While a restart is pending this is still the established transport.
    pub fn local(&self) -> LocalTransport {
        self.describe(&self.agent, (self.agent.generation() > 0).then(|| self.agent.generation()))
    }

    pub(super) fn describe(&self, agent: &Agent, generation: Option<u32>) -> LocalTransport {
        LocalTransport {
            ufrag: agent.credentials().ufrag.clone(),
            password: agent.credentials().password.clone(),
            generation,
            candidates: agent.candidates(&self.config.addresses, self.config.advertise_private),
            fingerprint: Fingerprint {
                hash: "sha-256".into(),
                value: self.config.certificate.fingerprint().into(),
                setup: Some(Setup::Actpass),
            },
        }
    }

    /// The other side's description or an update of it (`spec/bridge.md` 2.2, 2.5).
    pub fn set_remote(&mut self, now: Instant, remote: &RemoteTransport) {
        if self.ended {
            return;
        }
        match remote.generation {
            Some(generation) if generation != self.agent.generation() => self.answer_restart(now, generation, remote),
            _ if self.path.is_none() => {
                if let (Some(ufrag), Some(password)) = (&remote.ufrag, &remote.password) {
                    self.agent.set_remote_credentials(ufrag, password);
                    self.connect_deadline.get_or_insert(now + self.config.limits.connect_timeout);
                }
                for candidate in &remote.candidates {
                    self.agent.add_remote_candidate(candidate);
                }
                self.agent.handle_timeout(now);
            }
            // Updates of an established transport are not taken.
            _ => {}
        }
        if self.dtls.is_none() && !remote.fingerprints.is_empty() {
            match Expected::strongest(&remote.fingerprints) {
                Some(expected) => self.expected = Some((expected, secure::dtls_role(&remote.fingerprints))),
                None => return self.fail(Failure::NoUsableFingerprint),
            }
        }
        self.after_ice(now);
    }

    /// Takes a STUN or DTLS datagram, and says whether it was an authentic STUN message.
    pub fn handle(&mut self, now: Instant, receive: Receive<'_>) -> Heard {
        if self.ended {
            return Heard::Nothing;
        }
        let receive = Receive { destination: self.base_of(receive.destination), ..receive };
        match demux::classify(receive.bytes) {
            Kind::Stun => self.handle_stun(now, receive),
            Kind::Dtls => {
                self.handle_dtls(now, receive);
                Heard::Nothing
            }
            Kind::Rtp | Kind::Rtcp | Kind::Other => Heard::Nothing,
        }
    }

    /// The base to which a datagram came. Sockets on a wildcard address do not know more than the family.
    fn base_of(&self, destination: SocketAddr) -> SocketAddr {
        let mut of_family =
            self.config.addresses.iter().map(|a| a.base).filter(|b| b.is_ipv4() == destination.is_ipv4());
        match (of_family.next(), of_family.next()) {
            (Some(only), None) => only,
            _ => destination,
        }
    }

    fn handle_stun(&mut self, now: Instant, receive: Receive<'_>) -> Heard {
        let heard = match demux::stun_local_ufrag(receive.bytes) {
            Some(ufrag) => {
                let agents = [
                    Some(&mut self.agent),
                    self.pending.as_mut().map(|p| &mut p.agent),
                    self.former.as_mut().map(|f| &mut f.agent),
                ];
                match agents.into_iter().flatten().find(|agent| agent.credentials().ufrag == ufrag) {
                    Some(agent) => agent.handle(now, receive),
                    None => Heard::Nothing,
                }
            }
            None => {
                let mut heard = self.agent.handle(now, receive);
                if heard == Heard::Nothing
                    && let Some(pending) = &mut self.pending
                {
                    heard = pending.agent.handle(now, receive);
                }
                if heard == Heard::Nothing
                    && let Some(former) = &mut self.former
                {
                    heard = former.agent.handle(now, receive);
                }
                heard
            }
        };
        match heard {
            Heard::Nothing => self.counters.rejected_stun += 1,
            Heard::Request | Heard::Response => self.heard(now),
        }
        self.after_ice(now);
        heard
    }

    pub(super) fn heard(&mut self, now: Instant) {
        if self.activity.is_none_or(|last| now.saturating_duration_since(last) >= ACTIVITY) {
            self.activity = Some(now);
            self.outputs.push_back(Output::Activity);
        }
    }

    /// Whether authentic STUN messages came from there.
    pub(super) fn knows(&self, source: SocketAddr) -> bool {
        self.agent.knows(source)
            || self.pending.as_ref().is_some_and(|p| p.agent.knows(source))
            || self.former.as_ref().is_some_and(|f| f.agent.knows(source))
    }

    /// Sends what the agents have to send, and takes their findings.
    pub(super) fn after_ice(&mut self, now: Instant) {
        let agents = [
            Some(&mut self.agent),
            self.pending.as_mut().map(|p| &mut p.agent),
            self.former.as_mut().map(|f| &mut f.agent),
        ];
        for agent in agents.into_iter().flatten() {
            while let Some(transmit) = agent.poll_transmit() {
                self.outputs.push_back(Output::Transmit(transmit));
            }
        }
        if let Some(former) = &mut self.former {
            while former.agent.poll().is_some() {}
        }
        while let Some(finding) = self.agent.poll() {
            match finding {
                Finding::Selected { local, remote } => self.select(local, remote),
                Finding::Lost if self.path.is_none() => {}
                Finding::Lost if self.pending.is_some() => self.lost = true,
                Finding::Lost => return self.fail(Failure::ConsentLost),
            }
        }
        self.poll_pending(now);
        if let Some((_, remote)) = self.path
            && let Some((local, remote)) = self.agent.instead_of(now, remote, self.config.limits.path_silence)
        {
            self.select(local, remote);
        }
        self.start_dtls(now);
    }

    pub(super) fn select(&mut self, local: SocketAddr, remote: SocketAddr) {
        self.lost = false;
        let before = self.path.replace((local, remote));
        if before == self.path {
            return;
        }
        let first = before.is_none();
        if first {
            self.connect_deadline = None;
            self.outputs.push_back(Output::Connected { local, remote });
        }
        self.outputs.push_back(Output::Selected { local, remote });
    }

    pub(super) fn push(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        if !self.ended {
            self.end();
            self.outputs.push_back(Output::Failed(failure));
        }
    }

    fn end(&mut self) {
        self.counters = self.counters();
        self.ended = true;
        self.dtls = None;
        self.sctp = None;
        self.pending = None;
        self.former = None;
        self.early = VecDeque::new();
    }

    /// Lets timers run.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ended {
            return;
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.connect_deadline) {
            return self.fail(Failure::ConnectTimeout);
        }
        if due(self.agent.poll_timeout()) {
            self.agent.handle_timeout(now);
        }
        self.handle_restart_timeout(now);
        self.after_ice(now);
        if let Some(association) = &mut self.dtls
            && due(association.poll_timeout())
        {
            let mut said = Vec::new();
            let result = association.handle_timeout(now, &mut said);
            self.after_dtls(now, said, result);
        }
        if let Some(sctp) = &mut self.sctp
            && due(sctp.poll_timeout())
        {
            let mut said = Vec::new();
            sctp.handle_timeout(now, &mut said);
            self.after_sctp(said);
        }
    }

    /// When [`Peer::handle_timeout`] is to be called; none if nothing is waited for.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let dtls = self.dtls.as_ref().and_then(|association| association.poll_timeout());
        let sctp = self.sctp.as_ref().and_then(|sctp| sctp.poll_timeout());
        [self.connect_deadline, self.agent.poll_timeout(), self.restart_timeout(), dtls, sctp]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next thing to do or to know; drain after every call.
    pub fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() && self.outputs.capacity() > KEEP_OUTPUTS {
            self.outputs = VecDeque::new();
        }
        output
    }

    /// Sends a text message on the channel.
    pub fn send_channel(&mut self, now: Instant, text: &str) -> Result<(), SendError> {
        let sctp = self.sctp.as_mut().ok_or(SendError::NotOpen)?;
        let mut said = Vec::new();
        let result = sctp.send(now, text, &mut said);
        self.after_sctp(said);
        result
    }

    /// Closes: the other side is told if it can be. Only [`Output::Transmit`] follows.
    pub fn close(&mut self, now: Instant) {
        let _ = now;
        if self.ended {
            return;
        }
        let mut said = Vec::new();
        if let Some(association) = &mut self.dtls {
            association.close(&mut said);
        }
        for said in said {
            if let dtls::Said::Packet(bytes) = said {
                self.transmit(bytes);
            }
        }
        self.end();
    }

    /// Whether the handshake is done.
    pub fn is_ready(&self) -> bool {
        self.dtls.as_ref().is_some_and(|association| association.is_connected())
    }

    /// Whether it failed or was closed.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters;
        if let Some(sctp) = &self.sctp {
            counters.rejected_channels += sctp.rejected;
            counters.ignored_messages += sctp.ignored;
        }
        counters
    }

    /// The ufrags of ours by which the other side may name us, for the index of the pool.
    pub(super) fn ufrags(&self) -> impl Iterator<Item = &str> {
        let agents =
            [Some(&self.agent), self.pending.as_ref().map(|p| &p.agent), self.former.as_ref().map(|f| &f.agent)];
        agents.into_iter().flatten().map(|agent| agent.credentials().ufrag.as_str())
    }
}
