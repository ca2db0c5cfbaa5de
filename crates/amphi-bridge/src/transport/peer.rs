//! The transport of one endpoint or relay.

use std::net::SocketAddr;
use std::time::Instant;

use super::{LocalTransport, Output, PeerConfig, RemoteTransport};

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

/// The transport of one endpoint or relay: ICE agent, DTLS, SCTP.
#[derive(Debug)]
pub struct Peer {}

impl Peer {
    /// A peer that waits for the other side's description.
    pub fn new(now: Instant, config: PeerConfig) -> Self {
        let _ = (now, config);
        Self {}
    }

    /// What to tell the other side. While a restart is pending this is still the established transport.
    pub fn local(&self) -> LocalTransport {
        LocalTransport {
            ufrag: String::new(),
            password: String::new(),
            generation: None,
            candidates: Vec::new(),
            fingerprint: super::Fingerprint { hash: String::new(), value: String::new(), setup: None },
        }
    }

    /// The other side's description or an update of it (`spec/bridge.md` 2.2, 2.5).
    pub fn set_remote(&mut self, now: Instant, remote: &RemoteTransport) {
        let _ = (now, remote);
    }

    /// Takes a STUN or DTLS datagram.
    pub fn handle(&mut self, now: Instant, receive: Receive<'_>) {
        let _ = (now, receive);
    }

    /// Lets timers run.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When [`Peer::handle_timeout`] is to be called.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        None
    }

    /// The next thing to do or to know; drain after every call.
    pub fn poll(&mut self) -> Option<Output> {
        None
    }

    /// Sends a text message on the channel.
    pub fn send_channel(&mut self, now: Instant, text: &str) -> Result<(), SendError> {
        let _ = (now, text);
        Err(SendError::NotOpen)
    }

    /// Starts an ICE restart in place.
    pub fn restart(&mut self, now: Instant) -> Restart {
        let _ = now;
        Restart::Unavailable
    }

    /// Closes: the other side is told if it can be.
    pub fn close(&mut self, now: Instant) {
        let _ = now;
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        Counters::default()
    }
}
