//! The focus itself: takes inputs apart and hands them to the conference they belong to.

use std::collections::VecDeque;
use std::time::Instant;

use amphi_stanza::BareJid;

use crate::{ConferenceAnswer, FocusConfig, Input, Metrics, Output};

/// State of a visitor node, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub vnode: String,
    /// Whether the focus is connected to it.
    pub connected: bool,
    /// Whether new visitors are kept away.
    pub draining: bool,
    /// Visitors present, over all conferences.
    pub visitors: u32,
    /// Visitors redirected and not yet seen.
    pub pending: u32,
    /// Visitors it may have.
    pub capacity: u32,
}

/// State of a conference, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConferenceStatus {
    /// Main room.
    pub room: BareJid,
    /// Users on stage.
    pub stage: u32,
    /// Seats given to clients that have not joined yet.
    pub seats_pending: u32,
    /// Visitors present, over all nodes.
    pub visitors: u32,
    /// Shadow rooms by node, with the visitors present.
    pub vrooms: Vec<(String, u32)>,
}

/// The conference focus. See the crate's documentation for how to drive it.
pub struct Focus {
    config: FocusConfig,
    out: VecDeque<Output>,
    metrics: Metrics,
}

impl Focus {
    /// A focus that is connected to nothing yet. `seed` is the source of its randomness.
    pub fn new(config: FocusConfig, _seed: u64) -> Self {
        Self { config, out: VecDeque::new(), metrics: Metrics::default() }
    }

    /// Feeds one thing that happened. Drain [`Focus::poll_output`] afterwards.
    pub fn handle(&mut self, _now: Instant, input: Input) {
        if let Input::ConferenceRequest { id, request, .. } = input {
            self.metrics.conference_requests += 1;
            let answer = ConferenceAnswer { room: request.room().to_string(), ..ConferenceAnswer::default() };
            self.out.push_back(Output::Answer { id, result: Ok(answer) });
        }
    }

    /// What must happen next, in order; `None` when there is nothing left.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Input::Tick`] is wanted; `None` means never.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The settings.
    pub fn config(&self) -> &FocusConfig {
        &self.config
    }

    /// Counters.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Visitor nodes, by name.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        Vec::new()
    }

    /// Conferences, in no order.
    pub fn conferences(&self) -> Vec<ConferenceStatus> {
        Vec::new()
    }
}
