//! What a session gives to its caller, what an operator may change, and why a session is refused.

use std::time::Duration;

use bytes::Bytes;

use amphi_stanza::{Limits, Stanza};

use super::BoshCondition;

/// A pending HTTP request. Chosen by the IO layer, unique within a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub u64);

/// What an operator may change, and bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoshConfig {
    /// Longest time that a request is held. 60 s; a client may ask for less.
    pub wait: Duration,
    /// A session without a pending request ends after this. 60 s.
    pub inactivity: Duration,
    /// Shortest time between empty requests of a client that does not let its requests be held. 5 s.
    pub polling: Duration,
    /// Requests that a client may have pending, which is also the window of request ids and the number of answers kept.
    /// 2.
    pub requests: u32,
    /// Bytes of elements in one answer, unless a single element is longer. 256 KiB.
    pub answer_bytes: usize,
    /// Limits of one element.
    pub limits: Limits,
}

impl Default for BoshConfig {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(60),
            inactivity: Duration::from_secs(60),
            polling: Duration::from_secs(5),
            requests: 2,
            answer_bytes: 256 * 1024,
            limits: Limits::default(),
        }
    }
}

/// Why a request cannot open a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoshError {
    /// Not a `<body/>` of the right namespace.
    #[error("not a body")]
    NotABody,
    /// `rid` is missing or not a number that leaves room to count.
    #[error("request id")]
    Rid,
    /// No `to`.
    #[error("no host")]
    NoHost,
}

impl BoshError {
    /// The condition that the client gets, with [`super::terminate_body`].
    pub fn condition(self) -> BoshCondition {
        match self {
            Self::NotABody | Self::Rid => BoshCondition::BadRequest,
            Self::NoHost => BoshCondition::ImproperAddressing,
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The client said so: final, as `<close/>` is on a WebSocket.
    ByClient,
    /// [`BoshSession::terminate`](super::BoshSession::terminate) was called and the client knows of it.
    ByServer,
    /// The client broke the protocol and was told.
    Violation(BoshCondition),
    /// No request for too long.
    Inactive,
}

/// What must happen next.
#[derive(Debug)]
pub enum Output {
    /// The session begins: this body is the stream header.
    Open(Stanza),
    /// An element of the client.
    Element(Stanza),
    /// The stream restarts: this body is the new header.
    Restart(Stanza),
    /// Answer a request: status 200, `text/xml; charset=utf-8`.
    Respond {
        /// Which one.
        request: RequestId,
        /// The body.
        body: Bytes,
    },
    /// The session is over; drop it once the answers before this were sent.
    Terminated(Ended),
}
