//! Section `[focus]`: the keys of `spec/focus.md` 3.1 and 9 that the signaling part of the focus knows.

use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::units::Span;

/// The conference focus.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FocusFile {
    /// Its account on `auth.<domain>` and on every visitor node.
    pub user: String,
    /// Password of that account. Without one, a password is made once and kept in `data_dir`; a focus in a process of its own needs
    /// the same password as its servers.
    #[serde(skip_serializing)]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// File with that password.
    pub password_file: Option<PathBuf>,
    /// Focus in a process of its own: where the main node takes client streams, as `host:port`.
    pub main_c2s: Option<String>,
    /// Focus elsewhere: where the front forwards conference requests, such as `http://192.0.2.7:8888`.
    pub http: Option<String>,
    /// Soft bound on visitors of one conference on one node.
    pub max_visitors_per_node: u32,
    /// A further node is opened for a conference when the used ones have this many visitors each.
    pub open_node_at: u32,
    /// Percentage of the stage at which rooms on visitor nodes are linked ahead of need.
    pub link_nodes_at: u32,
    /// Smallest time between two announcements of the number of visitors.
    pub notification_interval: Span,
    /// How long a visitor who was sent to a node but has not come counts for it.
    pub vnode_join_latency: Span,
    /// Whether only rooms whose metadata says `visitorsEnabled` get an audience.
    pub require_muc_config_flag: bool,
    /// Whether visitors wait until the room's metadata says that it is live.
    pub enable_live_room: bool,
    /// How long a conference without participants is kept after the request that made it.
    pub initial_timeout: Span,
    /// How long a participant stays alone in a media session.
    pub single_participant_timeout: Span,
    /// Participants from which on there are media sessions.
    pub min_participants: u32,
    /// Whether the first participant becomes moderator when nobody else is.
    pub auto_owner: bool,
    /// Who may start a conference.
    pub authentication: FocusAuthentication,
    /// Domain whose people may start a conference, with `authentication = "xmpp"`; `domain` when unset.
    pub login_domain: Option<String>,
    /// How long a login is remembered.
    pub authentication_lifetime: Span,
    /// Room in which bridges announce themselves; `jvbbrewery@internal.auth.<domain>` when unset.
    pub bridge_brewery: Option<String>,
    /// How long answers to requests are waited for.
    pub reply_timeout: Span,
    /// Domains whose members may call themselves recorder, phone gateway or transcriber.
    pub trusted_domains: Vec<String>,
}

impl Default for FocusFile {
    fn default() -> Self {
        Self {
            user: "focus".to_owned(),
            password: None,
            password_file: None,
            main_c2s: None,
            http: None,
            max_visitors_per_node: 20_000,
            open_node_at: 200,
            link_nodes_at: 80,
            notification_interval: Span::seconds(15),
            vnode_join_latency: Span::seconds(60),
            require_muc_config_flag: false,
            enable_live_room: false,
            initial_timeout: Span::seconds(15),
            single_participant_timeout: Span::seconds(20),
            min_participants: 2,
            auto_owner: true,
            authentication: FocusAuthentication::None,
            login_domain: None,
            authentication_lifetime: Span::seconds(86_400),
            bridge_brewery: None,
            reply_timeout: Span::seconds(15),
            trusted_domains: Vec::new(),
        }
    }
}

/// Who may start a conference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FocusAuthentication {
    /// Anybody.
    None,
    /// People who are logged in on `login_domain`.
    Xmpp,
    /// People with a token.
    Jwt,
}
