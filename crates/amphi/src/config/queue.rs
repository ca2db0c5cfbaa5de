//! Section `[queue]`: where visitors wait until their meeting is live (`spec/signaling.md` 4.11).

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Size, Span};

/// Where visitors wait until their meeting is live. Pages find it by `visitors.queueService` in their configuration, which is
/// the host name of this front.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueFile {
    /// Whether the front serves `/visitor/websocket` and `/visitors-list/websocket`.
    pub enabled: bool,
    /// Joins a second over which the return of those who waited is spread. Stay below what the nodes take and below
    /// `limits.admissions_per_second`.
    pub joins_per_second: u32,
    /// Shortest time over which a return is spread.
    pub min_delay: Span,
    /// Longest time over which a return is spread.
    pub max_delay: Span,
    /// How often moderators hear that another number of people waits.
    pub state_interval: Span,
    /// How long changes of the visitors' list are collected before they are sent.
    pub list_interval: Span,
    /// Visitors in the list at most.
    pub list_limit: u32,
    /// Connections at one time; whoever comes later is told to try again.
    pub clients: u32,
    /// Subscriptions of one connection.
    pub subscriptions: u32,
    /// Largest frame of a client. Tokens travel in frames.
    pub frame_size: Size,
    /// How often each side says that it is still there.
    pub heart_beat: Span,
    /// Base URL of another queue service, such as `http://queue.internal:8080`: it is told with `POST <url>/golive` when a
    /// meeting is live. Only `http`; put a proxy in between for more.
    pub service: Option<String>,
    /// PEM file with the RSA key that signs tokens for that service. Without it no token is sent.
    pub service_key_file: Option<PathBuf>,
    /// Name of that key: `kid` of the tokens.
    pub service_key_id: String,
    /// `iss` of the tokens.
    pub service_issuer: String,
    /// `aud` of the tokens.
    pub service_audience: String,
    /// How long a token is valid.
    pub service_token_ttl: Span,
    /// A token that is valid for less than this is replaced.
    pub service_token_threshold: Span,
}

impl Default for QueueFile {
    fn default() -> Self {
        Self {
            enabled: true,
            joins_per_second: 300,
            min_delay: Span::seconds(1),
            max_delay: Span::seconds(600),
            state_interval: Span::seconds(2),
            list_interval: Span::seconds(2),
            list_limit: 20_000,
            clients: 300_000,
            subscriptions: 4,
            frame_size: Size::kib(16),
            heart_beat: Span::seconds(30),
            service: None,
            service_key_file: None,
            service_key_id: "jitsi".to_owned(),
            service_issuer: "jitsi".to_owned(),
            service_audience: "jitsi".to_owned(),
            service_token_ttl: Span::seconds(3600),
            service_token_threshold: Span::seconds(600),
        }
    }
}
