//! ICE restarts in place (`spec/bridge.md` 2.5): a second agent waits for its answer, takes over with its first valid pair, and the former
//! one answers for a moment longer. DTLS, SRTP and SCTP do not notice.

use std::time::Instant;

use super::ice::{Agent, Finding};
use super::peer::{Peer, Restart};
use super::{Failure, Output, RemoteTransport};

/// An agent that is to take over.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) agent: Agent,
    started: bool,
    /// When it is given up: from the start of its checks, or from its making if the established agent has lost its pairs.
    deadline: Instant,
}

/// An agent that was taken over from.
#[derive(Debug)]
pub(super) struct Former {
    pub(super) agent: Agent,
    until: Instant,
}

impl Peer {
    /// Starts an ICE restart in place.
    pub fn restart(&mut self, now: Instant) -> Restart {
        let limits = &self.config.limits;
        if self.ended || !limits.restart || limits.restart_timeout.is_zero() {
            return Restart::Unavailable;
        }
        if self.path.is_none() {
            return Restart::KeepExisting(Box::new(self.describe(&self.agent, None)));
        }
        let pending = match self.pending.take() {
            Some(pending) if !pending.started => pending,
            superseded => {
                let before = superseded.as_ref().map_or(self.agent.generation(), |pending| pending.agent.generation());
                let generation = before.wrapping_add(1);
                let agent = Agent::new(now, &self.config, self.agent.credentials().renewed(), generation);
                self.ufrag_changes = self.ufrag_changes.wrapping_add(1);
                Box::new(Pending { agent, started: false, deadline: now + limits.restart_timeout })
            }
        };
        let local = self.describe(&pending.agent, Some(pending.agent.generation()));
        self.pending = Some(pending);
        Restart::Started(Box::new(local))
    }

    /// An update with another generation than the established one's: the answer to the pending restart, or of no meaning.
    pub(super) fn answer_restart(&mut self, now: Instant, generation: u32, remote: &RemoteTransport) {
        let Some(pending) = self.pending.as_mut().filter(|pending| pending.agent.generation() == generation) else {
            return;
        };
        if let (Some(ufrag), Some(password)) = (&remote.ufrag, &remote.password) {
            pending.agent.set_remote_credentials(ufrag, password);
            if !pending.started {
                pending.started = true;
                pending.deadline = now + self.config.limits.restart_timeout;
            }
        }
        for candidate in &remote.candidates {
            pending.agent.add_remote_candidate(candidate);
        }
        pending.agent.handle_timeout(now);
    }

    /// Lets the pending agent take over when it has a pair.
    pub(super) fn poll_pending(&mut self, now: Instant) {
        let mut selected = None;
        if let Some(pending) = &mut self.pending {
            while let Some(finding) = pending.agent.poll() {
                if let Finding::Selected { local, remote } = finding {
                    selected = Some((local, remote));
                }
            }
        }
        let Some((local, remote)) = selected else { return };
        let Some(pending) = self.pending.take() else { return };
        let agent = std::mem::replace(&mut self.agent, pending.agent);
        self.former = Some(Box::new(Former { agent, until: now + self.config.limits.transition }));
        self.ufrag_changes = self.ufrag_changes.wrapping_add(1);
        self.select(local, remote);
        self.push(Output::Restarted(Box::new(self.local())));
    }

    pub(super) fn handle_restart_timeout(&mut self, now: Instant) {
        if let Some(former) = &mut self.former {
            former.agent.handle_timeout(now);
        }
        if self.former.take_if(|former| former.until <= now).is_some() {
            self.ufrag_changes = self.ufrag_changes.wrapping_add(1);
        }
        let lost = self.lost;
        if let Some(pending) = &mut self.pending {
            pending.agent.handle_timeout(now);
        }
        let given_up = self.pending.take_if(|pending| pending.deadline <= now && (pending.started || lost));
        if given_up.is_some() {
            self.ufrag_changes = self.ufrag_changes.wrapping_add(1);
            self.push(Output::RestartAbandoned);
            if lost {
                self.fail(Failure::ConsentLost);
            }
        }
    }

    pub(super) fn restart_timeout(&mut self) -> Option<Instant> {
        let lost = self.lost;
        let former = self.former.as_mut().map(|former| {
            let of_agent = former.agent.poll_timeout();
            of_agent.map_or(former.until, |at| at.min(former.until))
        });
        let pending = self.pending.as_mut().and_then(|pending| {
            let deadline = (pending.started || lost).then_some(pending.deadline);
            deadline.into_iter().chain(pending.agent.poll_timeout()).min()
        });
        former.into_iter().chain(pending).min()
    }
}
