//! Section `[limits]`: bounds on what one peer may use (`spec/signaling.md` 2.6, 2.11). They are checked where the bytes come
//! in; this file only names them and their usual values.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Size, Span};

/// Bounds on what one peer may use.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsFile {
    /// Largest stanza of a client; a larger one ends its stream.
    pub stanza_size: Size,
    /// Largest stanza of a service account such as the focus, and of a server.
    pub privileged_stanza_size: Size,
    /// Nesting of elements in a stanza.
    pub stanza_depth: u32,
    /// Attributes of one element.
    pub stanza_attributes: u32,
    /// Bytes a second that a client stream is read at; more waits in its socket. `0B` for no bound.
    pub client_rate: Size,
    /// Bytes that a client may send at once before `client_rate` applies.
    pub client_burst: Size,
    /// Bytes a second that a server stream is read at. `0B` for no bound.
    pub server_rate: Size,
    /// Client streams of this process.
    pub connections: u32,
    /// Client streams from one address. A campus or a carrier may stand behind one address, so keep it generous.
    pub connections_per_address: u32,
    /// New client streams a second from one address, after a burst of `handshake_burst`; further ones wait.
    pub handshakes_per_address: u32,
    /// New client streams that one address may open at once.
    pub handshake_burst: u32,
    /// New client streams a second of this process; further ones wait.
    pub handshakes: u32,
    /// How long logging in may take before the stream is closed.
    pub login_time: Span,
    /// How long a broken client stream may be resumed.
    pub resume_time: Span,
    /// Stanzas that wait for the acknowledgement of one client; with more, its stream is closed.
    pub unacked_stanzas: u32,
    /// Bytes that wait for one client; with more it is suspended, then disconnected.
    pub unsent_bytes: Size,
    /// Stanzas that wait for one server while its stream is being opened.
    pub unsent_server_stanzas: u32,
    /// Conferences of this process.
    pub rooms: u32,
    /// Messages that one visitor may send in a burst.
    pub audience_chat_burst: u32,
    /// Time after which a visitor has one more message to send.
    pub audience_chat_interval: Span,
    /// Messages a second that the whole audience of one room may send on one node; more are refused.
    pub audience_chat_per_room: u32,
    /// Largest body of a conference request.
    pub request_size: Size,
}

impl Default for LimitsFile {
    fn default() -> Self {
        Self {
            stanza_size: Size::kib(256),
            privileged_stanza_size: Size::mib(10),
            stanza_depth: 64,
            stanza_attributes: 64,
            client_rate: Size::kib(512),
            client_burst: Size::mib(1),
            server_rate: Size(0),
            connections: 200_000,
            connections_per_address: 50_000,
            handshakes_per_address: 2000,
            handshake_burst: 10_000,
            handshakes: 5000,
            login_time: Span::seconds(30),
            resume_time: Span::seconds(60),
            unacked_stanzas: 500,
            unsent_bytes: Size::mib(1),
            unsent_server_stanzas: 32_768,
            rooms: 100_000,
            audience_chat_burst: 5,
            audience_chat_interval: Span::seconds(2),
            audience_chat_per_room: 50,
            request_size: Size::kib(64),
        }
    }
}
