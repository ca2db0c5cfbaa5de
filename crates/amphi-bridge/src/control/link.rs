//! What control keeps of one endpoint or relay that is connected to this bridge: its numbers, what was signaled, its bridge channels, when it was
//! last heard of.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amphi_media::ids::{EndpointId, SourceId};
use amphi_media::source::SourceDesc;

use crate::plane::command::Media;

/// Number of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u64);

/// What a link is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkKind {
    /// An endpoint that sends and receives, or only receives.
    Endpoint,
    /// Another bridge.
    Relay {
        /// Label of the mesh.
        mesh: Arc<str>,
    },
}

/// The bridge channels of a link (`spec/bridge.md` 3.1).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Channels {
    /// SCTP is open.
    pub data: bool,
    /// A WebSocket is open.
    pub socket: Option<SocketId>,
    /// The last message came over the WebSocket.
    pub last_was_socket: bool,
}

/// Which of them a message leaves on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// SCTP.
    Data,
    /// This WebSocket.
    Socket(SocketId),
}

impl Channels {
    /// The one that last brought a message; else SCTP; else the WebSocket.
    pub(super) fn out(&self) -> Option<Via> {
        match self.socket {
            Some(id) if self.last_was_socket || !self.data => Some(Via::Socket(id)),
            _ => self.data.then_some(Via::Data),
        }
    }
}

/// An endpoint or relay with a transport of its own.
#[derive(Debug)]
pub(super) struct Link {
    /// Number.
    pub id: EndpointId,
    /// Endpoint id, or relay id.
    pub name: Arc<str>,
    /// What it is for.
    pub kind: LinkKind,
    /// Only receives.
    pub visitor: bool,
    /// When it was created.
    pub created: Instant,
    /// When something authentic last came.
    pub heard: Option<Instant>,
    /// ICE and DTLS are done.
    pub connected: bool,
    /// Since when, until it was noticed that there is no bridge channel, or that there is one.
    pub mute_since: Option<Instant>,
    /// The transport has failed.
    pub failed: Option<Instant>,
    /// What was signaled for RTP.
    pub media: Media,
    /// All sources.
    pub sources: Vec<SourceDesc>,
    /// Whether SCTP was agreed on.
    pub sctp: bool,
    /// Password of WebSockets.
    pub password: Box<str>,
    /// Bridge channels.
    pub channels: Channels,
    /// Of a relay: who is behind it.
    pub behind: HashMap<Arc<str>, EndpointId>,
    /// Messages that it may send now.
    pub allowance: Allowance,
}

impl Link {
    /// Whether it is a relay.
    pub(super) fn is_relay(&self) -> bool {
        matches!(self.kind, LinkKind::Relay { .. })
    }

    /// Created long ago by a focus that did not wait for the answer, and never used (`spec/bridge.md` 1.8, Idempotency).
    pub(super) fn is_given_up(&self, now: Instant, after: Duration) -> bool {
        self.heard.is_none() && now.saturating_duration_since(self.created) > after
    }

    /// Whether an endpoint is to be expired (`spec/bridge.md` 1.9).
    pub(super) fn is_dead(&self, now: Instant, never: Duration, inactive: Duration) -> bool {
        match self.heard {
            _ if self.failed.is_some() => true,
            None => now.saturating_duration_since(self.created) > never,
            Some(at) => now.saturating_duration_since(at) > inactive,
        }
    }
}

/// The number that a source of this name has: it keeps it as long as its name stays.
pub(super) fn numbered(sources: &[SourceDesc], name: &str, audio: bool) -> Option<SourceId> {
    let is_audio = |s: &SourceDesc| s.kind == amphi_media::ids::MediaKind::Audio;
    sources.iter().find(|s| &*s.name == name && is_audio(s) == audio).map(|s| s.id)
}

/// An endpoint of another bridge.
#[derive(Debug)]
pub(super) struct Relayed {
    /// Endpoint id.
    pub name: Arc<str>,
    /// The relay that it is behind.
    pub relay: EndpointId,
    /// All sources.
    pub sources: Vec<SourceDesc>,
}

/// A bucket that fills at a steady rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    /// Full.
    pub(super) fn new(now: Instant, per_second: u32) -> Self {
        Self { left: f64::from(per_second) * 2.0, at: now }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant, per_second: u32) -> bool {
        self.take_many(now, per_second, 1)
    }

    /// Takes so many, if there are so many.
    pub(super) fn take_many(&mut self, now: Instant, per_second: u32, count: usize) -> bool {
        let rate = f64::from(per_second);
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + passed * rate).min(rate * 2.0);
        if self.left < count as f64 {
            return false;
        }
        self.left -= count as f64;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_leave_where_the_last_one_came() {
        let mut c = Channels::default();
        assert_eq!(c.out(), None);
        c.socket = Some(SocketId(7));
        assert_eq!(c.out(), Some(Via::Socket(SocketId(7))));
        c.data = true;
        assert_eq!(c.out(), Some(Via::Data));
        c.last_was_socket = true;
        assert_eq!(c.out(), Some(Via::Socket(SocketId(7))));
        c.socket = None;
        assert_eq!(c.out(), Some(Via::Data));
    }

    #[test]
    fn an_allowance_is_spent_and_grows_again() {
        let now = Instant::now();
        let mut a = Allowance::new(now, 2);
        assert_eq!((0..6).filter(|_| a.take(now, 2)).count(), 4);
        assert!(a.take(now + Duration::from_millis(500), 2));
        assert!(!a.take(now + Duration::from_millis(500), 2));
    }
}
