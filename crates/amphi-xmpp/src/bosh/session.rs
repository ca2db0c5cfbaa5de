//! One session: order of requests, which of them is answered when, and the last answers for those who ask again.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use amphi_stanza::{Stanza, ns};

use super::body::{self, Attributes, Creation};
use super::{BoshCondition, BoshConfig, BoshError, Ended, Output, RequestId};

struct Held {
    /// `None`: its HTTP connection is gone; the client is expected to send it again.
    request: Option<RequestId>,
    rid: u64,
    deadline: Instant,
}

enum Closing {
    No,
    /// Answers still go out, then [`Output::Terminated`].
    Yes(Ended, Option<BoshCondition>),
    Done,
}

/// One session. Drain [`BoshSession::poll_output`] after every call; what is pushed meanwhile goes into the same answer.
pub struct BoshSession {
    config: BoshConfig,
    sid: String,
    host: String,
    wait: Duration,
    hold: usize,
    /// The id that is handled next.
    next_rid: u64,
    /// Requests that came before their predecessor.
    early: BTreeMap<u64, (RequestId, Stanza)>,
    held: VecDeque<Held>,
    /// Last answers, for requests that are repeated.
    answered: VecDeque<(u64, Bytes)>,
    queue: VecDeque<Bytes>,
    queued: usize,
    /// No request is pending since.
    idle_since: Option<Instant>,
    last_empty: Option<Instant>,
    /// The first answer was given.
    created: bool,
    now: Instant,
    closing: Closing,
    out: VecDeque<Output>,
}

/// Largest request id: what a double holds exactly (XEP-0124 §7.1).
const MAX_RID: u64 = (1 << 53) - 1;

impl BoshSession {
    /// Opens a session with the first request, one without `sid`. `sid` is random and unguessable: it is all that
    /// protects the session.
    ///
    /// # Errors
    /// If the request cannot open a session; answer it with [`super::terminate_body`].
    pub fn open(
        now: Instant,
        sid: String,
        request: RequestId,
        body: &Stanza,
        config: BoshConfig,
    ) -> Result<Self, BoshError> {
        let root = body.root();
        if !root.is("body", ns::BOSH) {
            return Err(BoshError::NotABody);
        }
        let rid = rid(body).filter(|r| *r < MAX_RID - 1_000_000).ok_or(BoshError::Rid)?;
        let host = body.attr("to").filter(|t| !t.is_empty()).ok_or(BoshError::NoHost)?.into_owned();
        let asked = |name: &str| body.attr(name).and_then(|v| v.trim().parse::<u64>().ok());
        let wait = asked("wait").map_or(config.wait, |w| Duration::from_secs(w).min(config.wait));
        let hold = if wait.is_zero() { 0 } else { asked("hold").unwrap_or(1).min(1) as usize };
        let mut s = Self {
            config: BoshConfig { requests: config.requests.max(1), ..config },
            sid,
            host,
            wait,
            hold,
            next_rid: rid + 1,
            early: BTreeMap::new(),
            held: VecDeque::new(),
            answered: VecDeque::new(),
            queue: VecDeque::new(),
            queued: 0,
            idle_since: None,
            last_empty: None,
            created: false,
            now,
            closing: Closing::No,
            out: VecDeque::new(),
        };
        s.hold_request(rid, request);
        s.out.push_back(Output::Open(body.clone()));
        s.elements(body);
        Ok(s)
    }

    /// The `sid`.
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// Takes a request with this session's `sid`.
    pub fn handle_request(&mut self, now: Instant, request: RequestId, body: &Stanza) {
        self.now = now;
        if matches!(self.closing, Closing::Done) {
            return self.respond(request, super::terminate_body(BoshCondition::ItemNotFound));
        }
        if !body.root().is("body", ns::BOSH) {
            return self.violation(request, BoshCondition::BadRequest);
        }
        let Some(rid) = rid(body) else { return self.violation(request, BoshCondition::BadRequest) };
        if rid < self.next_rid {
            return self.repeated(rid, request);
        }
        // XEP-0124 §11: ids beyond the window end the session.
        if rid >= self.next_rid + u64::from(self.config.requests) {
            return self.violation(request, BoshCondition::ItemNotFound);
        }
        if rid > self.next_rid {
            self.idle_since = None;
            if let Some((old, _)) = self.early.insert(rid, (request, body.clone())) {
                self.respond(old, empty());
            }
            return;
        }
        self.accept(rid, request, body);
        while let Some((request, body)) = self.early.remove(&self.next_rid) {
            self.accept(self.next_rid, request, &body);
        }
    }

    /// The HTTP connection of a request broke before it was answered. What would have been its answer waits for the
    /// client to ask again.
    pub fn request_gone(&mut self, now: Instant, request: RequestId) {
        self.now = now;
        self.early.retain(|_, (r, _)| *r != request);
        if let Some(h) = self.held.iter_mut().find(|h| h.request == Some(request)) {
            h.request = None;
        }
        self.note_idle();
    }

    /// Queues a complete, self-contained element for the client.
    pub fn push(&mut self, now: Instant, element: Bytes) {
        self.now = now;
        self.queued += element.len();
        self.queue.push_back(element);
    }

    /// Bytes that wait for a request. The caller ends sessions whose queue is too long.
    pub fn queued_bytes(&self) -> usize {
        self.queued
    }

    /// Ends the session after what is queued; the client learns of it with its pending or its next request.
    pub fn terminate(&mut self, now: Instant, condition: Option<BoshCondition>) {
        self.now = now;
        if matches!(self.closing, Closing::No) {
            self.closing = Closing::Yes(Ended::ByServer, condition);
        }
    }

    /// When [`BoshSession::handle_timeout`] is wanted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let held = self.held.iter().filter(|h| h.request.is_some()).map(|h| h.deadline).min();
        let idle = self.idle_since.map(|t| t + self.config.inactivity);
        held.into_iter().chain(idle).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if self.idle_since.is_some_and(|t| now >= t + self.config.inactivity) && !matches!(self.closing, Closing::Done)
        {
            self.closing = Closing::Done;
            self.queue.clear();
            self.queued = 0;
            self.idle_since = None;
            self.out.push_back(Output::Terminated(Ended::Inactive));
        }
    }

    /// What must happen next.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(o) = self.out.pop_front() {
            return Some(o);
        }
        match self.closing {
            Closing::Done => None,
            Closing::Yes(ended, condition) => self.close(ended, condition),
            Closing::No => self.answer_next(),
        }
    }

    /// Handles a request whose turn it is.
    fn accept(&mut self, rid: u64, request: RequestId, body: &Stanza) {
        self.next_rid = rid + 1;
        self.hold_request(rid, request);
        if !matches!(self.closing, Closing::No) {
            return;
        }
        let root = body.root();
        let terminates = body.ty().as_deref() == Some("terminate");
        let restarts = body::xbosh_attr(root, "restart").as_deref() == Some("true");
        let is_empty = body.children().next().is_none();
        if is_empty && !terminates && !restarts && self.hold == 0 {
            // XEP-0124 §12: polling too often.
            if self.last_empty.is_some_and(|t| self.now < t + self.config.polling) {
                self.closing = Closing::Yes(
                    Ended::Violation(BoshCondition::PolicyViolation),
                    Some(BoshCondition::PolicyViolation),
                );
                return;
            }
            self.last_empty = Some(self.now);
        }
        if restarts {
            self.out.push_back(Output::Restart(body.clone()));
        }
        self.elements(body);
        if terminates && matches!(self.closing, Closing::No) {
            self.closing = Closing::Yes(Ended::ByClient, None);
        }
    }

    fn elements(&mut self, body: &Stanza) {
        let root = body.root();
        let bad = Closing::Yes(Ended::Violation(BoshCondition::BadRequest), Some(BoshCondition::BadRequest));
        if body::has_text(root) {
            self.closing = bad;
            return;
        }
        for child in root.children() {
            match body::unwrap_child(root, child, &self.config.limits) {
                Ok(e) => self.out.push_back(Output::Element(e)),
                Err(_) => {
                    self.closing = bad;
                    return;
                }
            }
        }
    }

    fn hold_request(&mut self, rid: u64, request: RequestId) {
        self.idle_since = None;
        self.held.push_back(Held { request: Some(request), rid, deadline: self.now + self.wait });
    }

    /// A request that was handled before: its answer was lost, or its connection.
    fn repeated(&mut self, rid: u64, request: RequestId) {
        if let Some(h) = self.held.iter_mut().find(|h| h.rid == rid) {
            h.deadline = self.now + self.wait;
            if let Some(old) = h.request.replace(request) {
                self.respond(old, empty());
            }
            self.idle_since = None;
            return;
        }
        match self.answered.iter().find(|(r, _)| *r == rid) {
            Some((_, body)) => {
                let body = body.clone();
                self.respond(request, body);
                if self.idle_since.is_some() {
                    self.idle_since = Some(self.now);
                }
            }
            None => self.violation(request, BoshCondition::ItemNotFound),
        }
    }

    /// Answers this request with an error, and ends the session.
    fn violation(&mut self, request: RequestId, condition: BoshCondition) {
        self.respond(request, super::terminate_body(condition));
        if matches!(self.closing, Closing::No) {
            self.closing = Closing::Yes(Ended::Violation(condition), Some(condition));
        }
    }

    fn respond(&mut self, request: RequestId, body: Bytes) {
        self.out.push_back(Output::Respond { request, body });
    }

    /// Answers the oldest pending request if there is something to say, if too many are pending, or if it waited long
    /// enough.
    fn answer_next(&mut self) -> Option<Output> {
        let excess = self.held.len() > self.hold;
        let oldest = self.held.front()?;
        if oldest.request.is_none() && excess && self.held.len() > 1 {
            // Its answer, should the client ask again, is empty: the elements go to a request that is pending.
            self.finish(0, false);
            return self.answer_next();
        }
        let i = self.held.iter().position(|h| h.request.is_some())?;
        if self.queue.is_empty() && !(excess && self.created) && self.now < self.held[i].deadline {
            return None;
        }
        self.finish(i, true)
    }

    /// Answers a pending request, with what is queued if `with_queue`.
    fn finish(&mut self, i: usize, with_queue: bool) -> Option<Output> {
        let elements = if with_queue { self.take_queue() } else { Vec::new() };
        self.answer(i, None, &elements)
    }

    fn answer(&mut self, i: usize, terminate: Option<Option<BoshCondition>>, elements: &[Bytes]) -> Option<Output> {
        let held = self.held.remove(i)?;
        let creation = (!self.created).then(|| Creation {
            sid: &self.sid,
            from: &self.host,
            wait: self.wait.as_secs(),
            hold: self.hold as u32,
            requests: self.config.requests,
            inactivity: self.config.inactivity.as_secs(),
            polling: self.config.polling.as_secs(),
        });
        let body = body::answer(&Attributes { terminate, creation }, elements);
        self.created = true;
        self.answered.push_back((held.rid, body.clone()));
        while self.answered.len() > self.config.requests as usize {
            self.answered.pop_front();
        }
        self.note_idle();
        held.request.map(|request| Output::Respond { request, body })
    }

    fn take_queue(&mut self) -> Vec<Bytes> {
        let mut out = Vec::with_capacity(self.queue.len());
        let mut bytes = 0;
        while let Some(e) = self.queue.front() {
            bytes += e.len();
            if !out.is_empty() && bytes > self.config.answer_bytes {
                break;
            }
            out.extend(self.queue.pop_front());
        }
        self.queued -= out.iter().map(Bytes::len).sum::<usize>();
        if self.queue.is_empty() {
            self.queue.shrink_to_fit();
        }
        out
    }

    fn close(&mut self, ended: Ended, condition: Option<BoshCondition>) -> Option<Output> {
        // The client ends the session with its newest request: older ones get what is queued, or nothing.
        let by_client = ended == Ended::ByClient;
        while let Some(h) = self.held.front() {
            if h.request.is_none() && self.held.len() > 1 {
                self.held.pop_front();
                continue;
            }
            if h.request.is_none() {
                break;
            }
            let last = self.held.len() == 1;
            let elements = self.take_queue();
            let more = !self.queue.is_empty();
            let terminate = ((last || !by_client) && !more).then_some(condition);
            return self.answer(0, terminate, &elements);
        }
        let told = !matches!(ended, Ended::ByServer)
            || (self.queue.is_empty() && self.answered.back().is_some_and(|(_, b)| is_terminate(b)));
        if !told {
            // The next request will learn of it, or the session ends for inactivity.
            self.note_idle();
            return None;
        }
        let early = std::mem::take(&mut self.early);
        for (request, _) in early.into_values() {
            self.respond(request, super::terminate_body(condition.unwrap_or(BoshCondition::ItemNotFound)));
        }
        self.closing = Closing::Done;
        self.idle_since = None;
        self.out.push_back(Output::Terminated(ended));
        self.out.pop_front()
    }

    fn note_idle(&mut self) {
        let pending = self.held.iter().any(|h| h.request.is_some()) || !self.early.is_empty();
        if pending {
            self.idle_since = None;
        } else if self.idle_since.is_none() && !matches!(self.closing, Closing::Done) {
            self.idle_since = Some(self.now);
        }
    }
}

fn rid(body: &Stanza) -> Option<u64> {
    body.attr("rid")?.trim().parse().ok().filter(|r| *r <= MAX_RID)
}

fn empty() -> Bytes {
    body::answer(&Attributes::default(), &[])
}

fn is_terminate(body: &Bytes) -> bool {
    let tag = body.split(|b| *b == b'>').next().unwrap_or_default();
    tag.windows(b" type='terminate'".len()).any(|w| w == b" type='terminate'")
}

impl std::fmt::Debug for BoshSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BoshSession")
            .field("host", &self.host)
            .field("pending", &self.held.len())
            .finish_non_exhaustive()
    }
}
