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
    /// SHA-256 fingerprint of the certificate that the main node shows there, as `sha256:` and hex digits: the focus logs in nowhere
    /// else. Without it any certificate is taken, and a password is never sent in clear, unless the address is this machine.
    pub main_fingerprint: Option<String>,
    /// Focus elsewhere: where the front forwards conference requests, such as `http://192.0.2.7:8888`.
    pub http: Option<String>,
    /// Visitors that a node may have over all conferences.
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
    /// When visitors have to wait for the room to be live.
    pub live: Live,
    /// How long a conference that nobody joined is kept.
    pub initial_timeout: Span,
    /// Whether the first participant becomes moderator when nobody else is.
    pub auto_owner: bool,
    /// Who may start a conference.
    pub authentication: FocusAuthentication,
    /// Domain whose people may start a conference, with `authentication = "xmpp"`; `domain` when unset.
    pub login_domain: Option<String>,
    /// How long a login is remembered.
    pub authentication_lifetime: Span,
    /// How long a seat on stage is kept for a client that was told to come.
    pub seat_timeout: Span,
    /// How long the seat of somebody who left is kept; page reloads fit in.
    pub return_hold: Span,
    /// How long somebody who was on stage is let back there although there is an audience.
    pub stage_memory: Span,
    /// How long a node may be away before the main node is told to forget it.
    pub vnode_lost_after: Span,
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
            main_fingerprint: None,
            http: None,
            max_visitors_per_node: 10_000,
            open_node_at: 200,
            link_nodes_at: 80,
            notification_interval: Span::seconds(15),
            vnode_join_latency: Span::seconds(60),
            require_muc_config_flag: false,
            live: Live::UnlessFalse,
            initial_timeout: Span::seconds(15),
            auto_owner: true,
            authentication: FocusAuthentication::None,
            login_domain: None,
            authentication_lifetime: Span::seconds(86_400),
            seat_timeout: Span::seconds(60),
            return_hold: Span::seconds(10),
            stage_memory: Span::seconds(600),
            vnode_lost_after: Span::seconds(15),
            reply_timeout: Span::seconds(15),
            trusted_domains: Vec::new(),
        }
    }
}

/// How `visitors.live` of the room's metadata is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Live {
    /// Nobody waits.
    Ignore,
    /// They wait while the metadata says that the room is not live.
    UnlessFalse,
    /// They wait until the metadata says that the room is live.
    OnlyIfTrue,
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
