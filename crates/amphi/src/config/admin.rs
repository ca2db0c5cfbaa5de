//! Section `[admin]`: the admin API, its dashboard and its webhooks, on `listen.admin`.

use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::units::Span;

/// The admin API and the dashboard, on `listen.admin`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminFile {
    /// Whether `/admin/v1` and `/dashboard` answer. Health, metrics and conference requests are not part of it.
    pub enabled: bool,
    /// What operators show: `Authorization: Bearer <token>`. Without one, a token is made once and kept in
    /// `data_dir/admin-token`.
    #[serde(skip_serializing)]
    #[schemars(with = "Option<String>")]
    pub token: Option<SecretString>,
    /// File with that token.
    pub token_file: Option<PathBuf>,
    /// Events that are kept for the log; older ones are forgotten.
    pub events: u32,
    /// Answers to conference requests that are kept, to tell why somebody landed where it did.
    pub decisions: u32,
    /// Event streams at one time; further ones are told to try again.
    pub streams: u32,
    /// Events that may wait for one webhook; further ones are dropped and counted.
    pub webhook_queue: u32,
    /// How often an event is sent before it is given up.
    pub webhook_attempts: u32,
    /// Pause before the second attempt; each further one is twice as long.
    pub webhook_backoff: Span,
    /// How long a receiver may take to answer.
    pub webhook_timeout: Span,
    /// Who is told of events over HTTP.
    pub webhooks: Vec<WebhookFile>,
}

impl Default for AdminFile {
    fn default() -> Self {
        Self {
            enabled: true,
            token: None,
            token_file: None,
            events: 2000,
            decisions: 10_000,
            streams: 50,
            webhook_queue: 10_000,
            webhook_attempts: 8,
            webhook_backoff: Span::seconds(1),
            webhook_timeout: Span::seconds(10),
            webhooks: Vec::new(),
        }
    }
}

/// A receiver of events.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookFile {
    /// Where events are posted, `http://` or `https://`.
    pub url: String,
    /// Key of the signature in `Amphi-Signature`.
    #[serde(skip_serializing)]
    #[schemars(with = "Option<String>")]
    pub secret: Option<SecretString>,
    /// File with that key.
    pub secret_file: Option<PathBuf>,
    /// Which events, by name, such as `room-created` or `promoted`; empty for all but `visitor-joined` and `visitor-left`.
    pub events: Vec<String>,
}
