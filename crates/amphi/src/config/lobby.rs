//! Section `[lobby]`: the waiting rooms of meetings (`spec/signaling.md` 3.9).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lobbies, where newcomers wait until a moderator lets them in.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LobbyFile {
    /// Whether moderators may give their meeting a lobby. They are at `lobby.<domain>`.
    pub enabled: bool,
    /// Domains or bare addresses that never wait in one. Those of `visitors.ignore_list`, the focus and administrators never do.
    pub whitelist: Vec<String>,
}

impl Default for LobbyFile {
    fn default() -> Self {
        Self { enabled: true, whitelist: Vec::new() }
    }
}
