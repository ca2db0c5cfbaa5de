//! Messages of bridge channels: what comes in, what goes out over which channel, and what is told once more (`spec/bridge.md` 3).

use std::collections::HashSet;
use std::time::{Duration, Instant};

use amphi_media::conference as brain;
use amphi_media::ids::EndpointId;

use super::conference::Conference;
use super::link::{SocketId, Via};
use super::message;
use super::shared::{Output, Shared};
use crate::plane::command::{Command, Recipients};

/// After a message was lost because a channel was full, everything is told once more so much later.
const AGAIN: Duration = Duration::from_secs(1);

/// Endpoints that may have missed what they must know.
#[derive(Debug, Default)]
pub(super) struct Untold {
    who: HashSet<EndpointId>,
    at: Option<Instant>,
}

impl Untold {
    /// When they are to be told.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }
}

impl Conference {
    /// A message on a bridge channel.
    pub(super) fn message(&mut self, now: Instant, shared: &mut Shared, from: EndpointId, text: &str, socket: bool) {
        let Some(l) = self.links.get_mut(&from) else { return };
        let limits = &shared.settings.limits;
        l.channels.last_was_socket = socket;
        // Other bridges speak for all their endpoints.
        if !l.is_relay() && !l.allowance.take(now, limits.messages_per_second) {
            shared.totals.messages_refused += 1;
            return;
        }
        if text.len() > limits.message_bytes {
            shared.totals.messages_refused += 1;
            return;
        }
        if socket {
            l.heard = Some(now);
        }
        let message = match message::parse(text) {
            Ok(message) => message,
            Err(e) => {
                shared.totals.messages_refused += 1;
                tracing::debug!(meeting = %self.meeting, who = %l.name, error = %e, "A message on a bridge channel is ignored.");
                return;
            }
        };
        if !self.affords(now, shared, &message, text.len()) {
            shared.totals.messages_refused += 1;
            tracing::debug!(meeting = %self.meeting, "A message to everybody is ignored: there were too many bytes of them.");
            return;
        }
        self.tell_brain(now, shared, brain::Input::Message { from, message });
    }

    /// A WebSocket for an endpoint or relay is open. The password was right. A second one replaces the first.
    pub(super) fn socket_opened(&mut self, now: Instant, shared: &mut Shared, who: EndpointId, socket: SocketId) {
        let Some(l) = self.links.get_mut(&who) else { return };
        let old = l.channels.socket.replace(socket);
        l.channels.last_was_socket = true;
        l.mute_since = None;
        self.close_socket(shared, old, "replaced");
        self.tell_brain(now, shared, brain::Input::ChannelUp { endpoint: who, kind: brain::ChannelKind::WebSocket });
    }

    /// It is closed.
    pub(super) fn socket_closed(&mut self, now: Instant, shared: &mut Shared, who: EndpointId, socket: SocketId) {
        let Some(l) = self.links.get_mut(&who).filter(|l| l.channels.socket == Some(socket)) else { return };
        l.channels.socket = None;
        if l.channels.out().is_none() {
            self.tell_brain(now, shared, brain::Input::ChannelDown(who));
        }
    }

    /// Whether the conference may have these bytes copied to everybody.
    fn affords(&mut self, now: Instant, shared: &Shared, message: &brain::Incoming, bytes: usize) -> bool {
        if !matches!(message, brain::Incoming::EndpointMessage { to: None, .. }) {
            return true;
        }
        let receivers = self.links.values().filter(|l| l.channels.out().is_some()).count();
        let copies = bytes.saturating_mul(receivers);
        self.broadcasts.take_many(now, shared.settings.limits.broadcast_bytes_per_second, copies)
    }

    /// A message to an endpoint was lost because its channel was full. It may have been one that matters.
    pub(super) fn missed(&mut self, now: Instant, endpoint: EndpointId) {
        if self.links.get(&endpoint).is_some_and(|l| l.channels.data) {
            self.untold.who.insert(endpoint);
            self.untold.at.get_or_insert(now + AGAIN);
        }
    }

    /// Tells those who missed something all that they must know.
    pub(super) fn tell_again(&mut self, now: Instant, shared: &mut Shared) {
        if self.untold.at.is_none_or(|at| at > now) {
            return;
        }
        for endpoint in std::mem::take(&mut self.untold).who {
            if self.links.get(&endpoint).is_some_and(|l| l.channels.data) {
                shared.totals.channels_told_again += 1;
                self.tell_brain(now, shared, brain::Input::ChannelUp { endpoint, kind: brain::ChannelKind::Data });
            }
        }
    }

    pub(super) fn send(&mut self, shared: &mut Shared, to: &brain::To, message: &brain::Outgoing) {
        let identity = &shared.settings.identity;
        let version = identity.announce_version.then_some(identity.version.as_str());
        let text = message::write(message, version);
        let all = match to {
            brain::To::One(id) => std::slice::from_ref(id),
            brain::To::Many(ids) => ids,
        };
        let mut data = Vec::new();
        for id in all {
            match self.links.get(id).and_then(|l| l.channels.out()) {
                Some(Via::Data) => data.push(*id),
                Some(Via::Socket(socket)) => {
                    shared.totals.socket_messages_sent += 1;
                    shared.out.push_back(Output::Socket { socket, text: text.clone() });
                }
                None => {}
            }
        }
        shared.totals.data_messages_sent += data.len() as u64;
        let to = match (&data[..], to) {
            ([], _) => return,
            ([one], _) => Recipients::One(*one),
            // The list as it came, if it is all of it.
            (list, brain::To::Many(ids)) if list.len() == ids.len() => Recipients::Some(ids.clone()),
            _ => Recipients::Some(data.into()),
        };
        shared.plane(Command::SendMessage { to, text });
    }
}
