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
    /// Bytes a second that a client stream is read at, twice as many in a burst; more waits in its socket.
    pub client_rate: Size,
    /// New client streams a second from one address, after a burst of `connect_burst_per_address`; further ones are refused. A
    /// campus or a carrier may stand behind one address, so keep it generous. This machine and `listen.trusted_proxies` are exempt.
    pub connects_per_address: u32,
    /// New client streams that one address may open at once.
    pub connect_burst_per_address: u32,
    /// TLS handshakes and logins that run at the same time; further ones wait.
    pub handshakes: u32,
    /// Those of one address, this machine and `listen.trusted_proxies` exempt.
    pub handshakes_per_address: u32,
    /// How long a handshake counts as one that runs; a slower one goes on, and the next has its turn.
    pub handshake_turn: Span,
    /// Connections whose handshake is not over, those included that have sent nothing yet; further ones are closed.
    pub handshakes_waiting: u32,
    /// Those of one address, this machine and `listen.trusted_proxies` exempt.
    pub handshakes_waiting_per_address: u32,
    /// Connections of the front for HTTP, without WebSockets; further ones are told to come back.
    pub http_connections: u32,
    /// Those of one address, this machine and `listen.trusted_proxies` exempt.
    pub http_connections_per_address: u32,
    /// BOSH sessions at one time; whoever wants one more is told to come back.
    pub bosh_sessions: u32,
    /// Those of them that are not logged in.
    pub bosh_logins: u32,
    /// How long logging in may take before the stream is closed.
    pub login_time: Span,
    /// Silence of a client after which its connection counts as broken.
    pub idle_time: Span,
    /// How long a broken client stream may be resumed.
    pub resume_time: Span,
    /// Stanzas that wait for the acknowledgement of one client; with more, it is given up.
    pub unacked_stanzas: u32,
    /// Bytes that wait for one slow client; with more, it is disconnected.
    pub unsent_bytes: Size,
    /// Bytes that wait for a link to another node; what is more is given up, and the peer is told everything anew later.
    pub link_bytes: Size,
    /// Percentage of a busy shard's time that broadcasts to audiences may take.
    pub fanout_share: u32,
    /// Messages of a room that newcomers are told.
    pub history: u32,
    /// Messages that one visitor may send at once.
    pub audience_chat_burst: u32,
    /// Time after which a visitor has one more message to send.
    pub audience_chat_interval: Span,
    /// Messages that the audience of one room may send at once on one node.
    pub audience_chat_room_burst: u32,
    /// Messages a second that the audience of one room may send on one node; more are refused.
    pub audience_chat_per_room: u32,
    /// Largest message of a visitor, since everybody gets a copy of it; a larger one is refused. People on stage may write what
    /// fits into a stanza.
    pub audience_chat_size: Size,
    /// People who wait in the lobby of one meeting; the next one is told to come back.
    pub lobby: u32,
    /// Conferences at one time; whoever asks for one more is told to come back.
    pub conferences: u32,
    /// Conference requests admitted a second; further ones are held back, then told to come back.
    pub admissions_per_second: u32,
    /// Conference requests admitted at once after a quiet time.
    pub admission_burst: u32,
    /// Seats on stage that conference requests of one address may hold in one conference before anybody sits down; further ones
    /// are sent to the audience, or told to come back. 0: no bound. This machine and `listen.trusted_proxies` are exempt.
    pub seats_per_address: u32,
    /// Largest body of a conference request.
    pub request_size: Size,
}

impl Default for LimitsFile {
    fn default() -> Self {
        Self {
            stanza_size: Size::kib(256),
            privileged_stanza_size: Size::mib(10),
            client_rate: Size::kib(64),
            connects_per_address: 500,
            connect_burst_per_address: 20_000,
            handshakes: 128,
            handshakes_per_address: 64,
            handshake_turn: Span::seconds(3),
            handshakes_waiting: 16_384,
            handshakes_waiting_per_address: 4096,
            http_connections: 100_000,
            http_connections_per_address: 10_000,
            bosh_sessions: 10_000,
            bosh_logins: 1000,
            login_time: Span::seconds(30),
            idle_time: Span::seconds(90),
            resume_time: Span::seconds(60),
            unacked_stanzas: 2000,
            unsent_bytes: Size::mib(2),
            link_bytes: Size::mib(64),
            fanout_share: 40,
            history: 20,
            audience_chat_burst: 5,
            audience_chat_interval: Span::seconds(2),
            audience_chat_room_burst: 60,
            audience_chat_per_room: 20,
            audience_chat_size: Size::kib(16),
            lobby: 250,
            conferences: 10_000,
            admissions_per_second: 400,
            admission_burst: 400,
            seats_per_address: 50,
            request_size: Size::kib(16),
        }
    }
}
