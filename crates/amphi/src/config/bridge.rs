//! Section `[bridge]`: the media bridge (`spec/bridge.md` 8).

use std::path::PathBuf;

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::units::Span;

/// The media bridge: takes the audio and video of people on stage and forwards it to everybody. Browsers send and receive on one UDP port.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BridgeFile {
    /// Whether there are bridges: `all` in `roles` includes one, and the focus uses those that announce themselves.
    pub enabled: bool,
    /// UDP port for media, on every address of `addresses`. 0 takes a free one.
    pub port: u16,
    /// Addresses of this machine that media may use. Empty: all of its network interfaces, or loopback where there is no other. Loopback
    /// is added when the front listens on loopback alone.
    pub addresses: Vec<String>,
    /// Public addresses that stand for those of this machine behind a NAT, as `203.0.113.9`, `203.0.113.9:10000`, or
    /// `10.0.0.5=203.0.113.9` when there are several.
    pub public_addresses: Vec<String>,
    /// Whether clients are told private addresses of this machine.
    pub private_addresses: bool,
    /// Threads that forward media, each with a socket of its own; half of the cores when unset, at least one.
    pub shards: Option<u32>,
    /// Threads that make connections: ICE, DTLS, SCTP.
    pub transport_threads: u32,
    /// HTTP for operators: health, statistics, metrics, drain mode. `off` closes it.
    pub listen: String,
    /// Whether `/colibri/shutdown` on that address is answered.
    pub shutdown: bool,
    /// Base address of bridge channels over WebSocket, such as `wss://meet.example.com`; below it is `/colibri-ws/`. Unset:
    /// `listen.public_url` when the front is in this process. Without either, bridge channels use SCTP alone.
    pub web_socket_url: Option<String>,
    /// Where bridge channels over WebSocket are taken when the front is not in this process and `web_socket_url` is set.
    pub web_socket_listen: String,
    /// Tells this bridge from others behind the same `web_socket_url`. Unset: the nickname.
    pub server_id: Option<String>,
    /// Account on `auth.<domain>`.
    pub user: String,
    /// Its password. Unset: the one that the main node keeps in `data_dir`; a bridge in a process of its own needs the same password.
    #[serde(skip_serializing)]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// File with that password.
    pub password_file: Option<PathBuf>,
    /// Bridge in a process of its own: where the main node takes client streams, as `host:port`.
    pub main_c2s: Option<String>,
    /// SHA-256 fingerprint of the certificate that the main node shows there; as `focus.main_fingerprint`.
    pub main_fingerprint: Option<String>,
    /// Room in which bridges announce themselves to the focus: a name on `internal.auth.<domain>`, or a whole address.
    pub brewery: String,
    /// Name in that room, which no other bridge has. Unset: `bridge-` and the name of this machine.
    pub nick: Option<String>,
    /// Further signaling nodes whose focus uses this bridge too.
    pub logins: Vec<BridgeLoginFile>,
    /// Version that the focus sees, for company with other bridges: all bridges of a conference must have the same. Unset: that of
    /// this program.
    pub version: Option<String>,
    /// Release that the focus sees.
    pub release: Option<String>,
    /// Region of this bridge. Unset: `region_name`.
    pub region: Option<String>,
    /// Name of this bridge for other bridges, unique in the world. Without one, a conference is never spread over it and others.
    pub relay_id: Option<String>,
    /// Whether other bridges of this kind are sent only the sources and encodings that somebody behind them wants. Others get everything.
    pub relay_wanted_only: bool,
    /// Endpoints that this machine is thought to carry; with them its load counts as full.
    pub endpoints: u32,
    /// Megabits a second that this machine may send, for its load; no bound when unset.
    pub egress_mbps: Option<u32>,
    /// Speakers whose audio is forwarded at one time; 0 for all.
    pub loudest: u32,
    /// Whether the focus is told to place nothing new here.
    pub drain: bool,
    /// Whether SIGTERM lets conferences end first, for `graceful_shutdown` at most; a second signal ends the process. Only in a process of
    /// its own.
    pub drain_on_term: bool,
    /// Whether a bridge without a public address counts as ill.
    pub require_public_address: bool,
    /// Main node: how long a bridge whose connection broke may take to come back; then its endpoints are moved to others.
    pub resume_time: Span,
    /// Time between reports to the focus.
    pub presence_interval: Span,
    /// Silence after which an endpoint is given up.
    pub inactive: Span,
    /// Longest time of a graceful shutdown.
    pub graceful_shutdown: Span,
    /// Time that the focus has to move endpoints away before the end.
    pub shutting_down: Span,
    /// Conferences at one time.
    pub conferences: u32,
    /// Endpoints and relays of one conference.
    pub endpoints_per_conference: u32,
    /// Endpoints and relays of all conferences; their memory is taken as they come.
    pub max_endpoints: u32,
}

impl Default for BridgeFile {
    fn default() -> Self {
        Self {
            enabled: true,
            port: 10_000,
            addresses: Vec::new(),
            public_addresses: Vec::new(),
            private_addresses: true,
            shards: None,
            transport_threads: 1,
            listen: "127.0.0.1:8080".to_owned(),
            shutdown: false,
            web_socket_url: None,
            web_socket_listen: "0.0.0.0:9090".to_owned(),
            server_id: None,
            user: "jvb".to_owned(),
            password: None,
            password_file: None,
            main_c2s: None,
            main_fingerprint: None,
            brewery: "jvbbrewery".to_owned(),
            nick: None,
            logins: Vec::new(),
            version: None,
            release: None,
            region: None,
            relay_id: None,
            relay_wanted_only: true,
            endpoints: 5000,
            egress_mbps: None,
            loudest: 3,
            drain: false,
            drain_on_term: false,
            require_public_address: false,
            resume_time: Span::seconds(1),
            presence_interval: Span::seconds(5),
            inactive: Span::seconds(60),
            graceful_shutdown: Span::seconds(86_400),
            shutting_down: Span::seconds(60),
            conferences: 10_000,
            endpoints_per_conference: 100_000,
            max_endpoints: 100_000,
        }
    }
}

/// One more signaling node.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BridgeLoginFile {
    /// Where it takes client streams, as `host:port`.
    pub address: String,
    /// SHA-256 fingerprint of the certificate that it shows there; as `focus.main_fingerprint`.
    pub fingerprint: Option<String>,
    /// Domain of the account, such as `auth.example.com`.
    pub domain: String,
    /// Local part of the account.
    pub user: String,
    /// Password.
    #[serde(skip_serializing)]
    #[schemars(with = "Option<String>")]
    pub password: Option<SecretString>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// Whole addresses of the rooms to join.
    pub breweries: Vec<String>,
}
