//! What a configuration file may say: the root of the tree and its small sections. Every key is optional, and the comments
//! here are the reference page. Nothing is checked beyond its type; [`super::Config`] does that.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::acme::AcmeFile;
use super::admin::AdminFile;
use super::bridge::BridgeFile;
use super::focus::FocusFile;
use super::hosts::{HostFile, MucFile};
use super::limits::LimitsFile;
use super::lobby::LobbyFile;
use super::media::MediaFile;
use super::queue::QueueFile;
use super::services::ServiceFile;
use super::visitors::VisitorsFile;
use super::web::WebFile;

/// The whole file.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// What this process is: any of `main`, `front`, `focus`, `bridge`, `visitors` (every visitor node without an address of its own),
    /// or visitor nodes by name (`v1`). `all` is all of them.
    pub roles: Vec<String>,
    /// How nodes of this process speak with each other: in memory, or over server-to-server streams as if they were apart.
    pub links: Links,
    /// The domain that people log in to; every other address is made from it.
    pub domain: String,
    /// First label of the conference addresses. It must be the same on the main node and on every visitor node.
    pub muc_prefix: String,
    /// Seats on stage; whoever comes later is offered a seat in the audience.
    pub stage: u32,
    /// What happens when a visitor raises a hand.
    pub promotion: Promotion,
    /// Folder for what must survive a restart: self-signed certificates and generated passwords.
    pub data_dir: PathBuf,
    /// Bare addresses of administrators, besides the focus.
    pub admins: Vec<String>,
    /// Name of this shard, announced to clients.
    pub shard_name: Option<String>,
    /// Region of this shard, announced to clients.
    pub region_name: Option<String>,
    /// Release of this shard, announced to clients.
    pub release_number: Option<String>,
    /// Threads that own connections, run rooms and the focus; three for every four cores when unset, at least one.
    pub shards: Option<u32>,
    /// Hubs that share the rooms of a node, each on the thread of a shard; one per core when unset.
    pub hubs: Option<u32>,
    /// Addresses to listen on.
    pub listen: ListenFile,
    /// Certificates and where TLS is used.
    pub tls: TlsFile,
    /// Virtual hosts. An entry with the name of a usual host changes the keys that it sets; any other name adds a host. The usual
    /// hosts are `<domain>` and `auth.<domain>` on the main node, `<node>.meet.jitsi` and `auth.meet.jitsi` on each visitor node.
    pub hosts: Vec<HostFile>,
    /// Conference services. An entry with the name of a usual one changes the keys that it sets; any other name adds one. The usual
    /// ones are `<muc_prefix>.<domain>` and `internal.auth.<domain>` on the main node, `<muc_prefix>.<node>.meet.jitsi` on each
    /// visitor node.
    pub mucs: Vec<MucFile>,
    /// STUN and TURN servers that clients are told of.
    pub services: Vec<ServiceFile>,
    /// A stock web application instead of our page.
    pub web: WebFile,
    /// The audience: its nodes, and who may come back from it.
    pub visitors: VisitorsFile,
    /// Lobbies, where newcomers wait until a moderator lets them in.
    pub lobby: LobbyFile,
    /// Where visitors wait until their meeting is live.
    pub queue: QueueFile,
    /// The conference focus.
    pub focus: FocusFile,
    /// Media sessions and the choice of bridges.
    pub media: MediaFile,
    /// The media bridge.
    pub bridge: BridgeFile,
    /// The admin API and the dashboard.
    pub admin: AdminFile,
    /// Bounds on what one peer may use.
    pub limits: LimitsFile,
    /// Log output, on standard error.
    pub log: LogFile,
    /// Prometheus metrics.
    pub metrics: MetricsFile,
}

impl Default for File {
    fn default() -> Self {
        Self {
            roles: vec!["all".to_owned()],
            links: Links::Memory,
            domain: "localhost".to_owned(),
            muc_prefix: "conference".to_owned(),
            stage: 30,
            promotion: Promotion::Approve,
            data_dir: "data".into(),
            admins: Vec::new(),
            shard_name: None,
            region_name: None,
            release_number: None,
            shards: None,
            hubs: None,
            listen: ListenFile::default(),
            tls: TlsFile::default(),
            hosts: Vec::new(),
            mucs: Vec::new(),
            services: Vec::new(),
            web: WebFile::default(),
            visitors: VisitorsFile::default(),
            lobby: LobbyFile::default(),
            queue: QueueFile::default(),
            focus: FocusFile::default(),
            media: MediaFile::default(),
            bridge: BridgeFile::default(),
            admin: AdminFile::default(),
            limits: LimitsFile::default(),
            log: LogFile::default(),
            metrics: MetricsFile::default(),
        }
    }
}

/// How nodes of one process are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Links {
    /// Indexed stanzas over bounded queues.
    Memory,
    /// Server-to-server streams over TCP and TLS.
    S2s,
}

/// What a raised hand in the audience does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Promotion {
    /// A moderator decides.
    Approve,
    /// The visitor comes on stage at once.
    Auto,
}

/// Addresses to listen on, as `address:port`; `off` closes one.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenFile {
    /// HTTP: page, WebSocket, BOSH, conference requests.
    pub front: String,
    /// XMPP client streams over TCP: focus, bridges, recorders.
    pub c2s: String,
    /// XMPP server streams: visitor nodes that are not in this process.
    pub s2s: String,
    /// Administration, health and metrics.
    pub admin: String,
    /// Local addresses on which a client stream may log in without TLS, which is offered all the same.
    pub secure_interfaces: Vec<String>,
    /// Address under which people reach the front, such as `https://meet.example.com`; printed at start.
    pub public_url: Option<String>,
    /// Addresses of reverse proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
    /// Request header with the region of the user.
    pub region_header: String,
    /// Origins whose pages may use BOSH and conference requests; `*` is any.
    pub cors_origins: Vec<String>,
}

impl Default for ListenFile {
    fn default() -> Self {
        Self {
            front: "0.0.0.0:5280".to_owned(),
            c2s: "127.0.0.1:5222".to_owned(),
            s2s: "0.0.0.0:5269".to_owned(),
            admin: "127.0.0.1:8888".to_owned(),
            secure_interfaces: vec!["127.0.0.1".to_owned(), "::1".to_owned()],
            public_url: None,
            trusted_proxies: vec!["127.0.0.1".to_owned(), "::1".to_owned()],
            region_header: "x_proxy_region".to_owned(),
            cors_origins: vec!["*".to_owned()],
        }
    }
}

/// Certificates. Without files, a self-signed certificate is made once and kept in `data_dir`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsFile {
    /// PEM file with the certificate chain.
    pub certificate: Option<PathBuf>,
    /// PEM file with the private key.
    pub key: Option<PathBuf>,
    /// Whether the front speaks HTTPS itself, with HTTP/2. Leave it off behind a proxy that does.
    pub front: bool,
    /// Certificates that come by themselves.
    pub acme: AcmeFile,
}

/// Log output.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogFile {
    /// `error`, `warn`, `info`, `debug` or `trace`, also per target: `info,amphi_signal=debug`.
    pub level: String,
    /// Lines for people or for machines.
    pub format: LogFormat,
}

impl Default for LogFile {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Readable lines.
    Text,
    /// One JSON object a line.
    Json,
}

/// Prometheus metrics.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsFile {
    /// Whether `/metrics` on the admin address answers.
    pub enabled: bool,
    /// Whether the public front answers `/metrics` too: everybody sees the figures then, unless a proxy closes that path.
    pub on_front: bool,
}

impl Default for MetricsFile {
    fn default() -> Self {
        Self { enabled: true, on_front: false }
    }
}
