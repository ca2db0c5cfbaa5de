//! The checked configuration: what the rest of the program sees. Names are valid, addresses parsed, files read, usual values
//! filled in, contradictions refused. Made from a [`Layered`] file by [`Config::check`]; changes nothing on disk.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use amphi_signal::journal::Kind;
use amphi_stanza::{BareJid, Jid};
use secrecy::SecretString;

use super::acme::Acme;
use super::admin::AdminFile;
use super::bridge_check::Bridge;
use super::check::Check;
use super::error::ConfigError;
use super::file::{Links, LogFile, MetricsFile, Promotion};
use super::focus::{FocusAuthentication, Live};
use super::layers::Layered;
use super::limits::LimitsFile;
use super::media::MediaFile;
use super::nodes::Node;
use super::queue::QueueFile;
use super::secret::Password;
use super::services::Service;
use super::web::Web;

/// A configuration that holds together.
#[derive(Clone, Debug)]
pub struct Config {
    /// What this process is.
    pub roles: Roles,
    /// How nodes of this process are joined.
    pub links: Links,
    /// Main domain.
    pub domain: String,
    /// First label of conference addresses.
    pub muc_prefix: String,
    /// Seats on stage.
    pub stage: u32,
    /// What a raised hand does.
    pub promotion: Promotion,
    /// Where state is kept.
    pub data_dir: PathBuf,
    /// Announced to clients: shard, region, release.
    pub announced: [Option<String>; 3],
    /// Threads that own connections; `None` for three for every four cores.
    pub shards: Option<usize>,
    /// Workers of a node; `None` for one per core.
    pub hubs: Option<usize>,
    /// Addresses to listen on.
    pub listen: Listen,
    /// Certificates.
    pub tls: Tls,
    /// The main node, when this process runs it.
    pub main: Option<Node>,
    /// The audience.
    pub visitors: Visitors,
    /// Who never waits in a lobby; `None`: there are no lobbies.
    pub lobby: Option<Vec<Jid>>,
    /// The visitor queue.
    pub queue: QueueFile,
    /// The focus.
    pub focus: Focus,
    /// Media sessions, as the focus handles them.
    pub media: MediaFile,
    /// Where bridges announce themselves; `None` where there are none.
    pub brewery: Option<BareJid>,
    /// The media bridge, when this process runs it.
    pub bridge: Option<Bridge>,
    /// STUN and TURN servers.
    pub services: Vec<Service>,
    /// The stock web application.
    pub web: Option<Web>,
    /// The admin API.
    pub admin: Admin,
    /// Bounds on peers.
    pub limits: LimitsFile,
    /// Log output.
    pub log: LogFile,
    /// Metrics.
    pub metrics: MetricsFile,
}

/// The admin API.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Its switches and bounds.
    pub said: AdminFile,
    /// What operators show.
    pub token: Password,
    /// Receivers of events.
    pub webhooks: Vec<Webhook>,
}

/// A receiver of events.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where.
    pub url: String,
    /// Key of the signature.
    pub secret: SecretString,
    /// Which events; empty for the usual ones.
    pub events: Vec<Kind>,
}

/// What a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// The main node.
    pub main: bool,
    /// The way in over HTTP: conference requests, and requests for nodes elsewhere.
    pub front: bool,
    /// The focus.
    pub focus: bool,
    /// The media bridge.
    pub bridge: bool,
    /// Visitor nodes by name.
    pub nodes: Vec<String>,
}

/// Addresses to listen on. `None` where a role does not need one, or where it is `off`.
#[derive(Clone, Debug)]
pub struct Listen {
    /// HTTP of the main node, of the front, and of visitor nodes in this process.
    pub front: Option<SocketAddr>,
    /// Client streams.
    pub c2s: Option<SocketAddr>,
    /// Server streams; only with peers elsewhere, or with `links = "s2s"`.
    pub s2s: Option<SocketAddr>,
    /// Administration.
    pub admin: Option<SocketAddr>,
    /// Local addresses that count as encrypted.
    pub secure_interfaces: Vec<IpAddr>,
    /// Address for people, without a slash at its end.
    pub public_url: Option<String>,
    /// Proxies.
    pub trusted_proxies: Vec<IpAddr>,
    /// Header with the region of a user.
    pub region_header: String,
    /// Origins that may ask.
    pub cors_origins: Vec<String>,
}

/// Certificates and where TLS is used.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate.
    pub certificate: Certificate,
    /// HTTPS on the front.
    pub front: bool,
    /// Where the certificate of HTTPS comes from, if not from there.
    pub acme: Option<Acme>,
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// PEM files, both readable.
    Files {
        /// Chain.
        chain: PathBuf,
        /// Private key.
        key: PathBuf,
    },
    /// Made once and kept in this folder.
    SelfSigned(PathBuf),
}

/// The audience.
#[derive(Clone, Debug)]
pub struct Visitors {
    /// Whether there is one.
    pub enabled: bool,
    /// Domain of the main node.
    pub main_domain: String,
    /// Nodes that this process runs or speaks with.
    pub nodes: Vec<VisitorNode>,
    /// Domains whose people need no approval.
    pub ignore_list: Vec<String>,
    /// Tokens that name a user promote.
    pub auto_promote_with_token: bool,
}

/// A visitor node.
#[derive(Clone, Debug)]
pub struct VisitorNode {
    /// `v1`.
    pub name: String,
    /// `v1.meet.jitsi`.
    pub domain: String,
    /// `conference.v1.meet.jitsi`.
    pub muc: String,
    /// Visitors that it may have.
    pub capacity: Option<u32>,
    /// In this process or not.
    pub place: WhereNode,
}

/// Where a visitor node is.
#[derive(Clone, Debug)]
pub enum WhereNode {
    /// Run by this process.
    Here {
        /// Its hosts and services.
        node: Box<Node>,
        /// Own address for client streams.
        listen_c2s: Option<SocketAddr>,
        /// Own address for server streams.
        listen_s2s: Option<SocketAddr>,
    },
    /// Another process.
    Elsewhere {
        /// Its HTTP: host and port.
        front: Option<String>,
        /// Where it takes server streams.
        s2s: Peer,
        /// Where the focus logs in: host and port.
        c2s: Option<String>,
        /// SHA-256 of the certificate that it shows there.
        c2s_fingerprint: Option<String>,
    },
}

/// Where a server is, and how to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Host and port.
    pub address: String,
    /// SHA-256 of its certificate, as lower-case hex digits.
    pub fingerprint: Option<String>,
}

/// The focus.
#[derive(Clone, Debug)]
pub struct Focus {
    /// Its bare address on the main node.
    pub jid: BareJid,
    /// Local part on every node.
    pub user: String,
    /// Password on every node.
    pub password: Password,
    /// Where it is, and how it is reached.
    pub place: FocusPlace,
    /// Soft bound on visitors of a conference and node.
    pub max_visitors_per_node: u32,
    /// Visitors on each used node at which a further one is opened.
    pub open_node_at: u32,
    /// Percentage of the stage at which nodes are linked.
    pub link_nodes_at: u32,
    /// Between announcements of the count.
    pub notification_interval: Duration,
    /// How long a visitor under way is counted.
    pub vnode_join_latency: Duration,
    /// Only flagged rooms get an audience.
    pub require_muc_config_flag: bool,
    /// When visitors wait for the room to be live.
    pub live: Live,
    /// For a conference that nobody joins.
    pub initial_timeout: Duration,
    /// First participant becomes moderator.
    pub auto_owner: bool,
    /// Who may start a conference.
    pub authentication: FocusAuthentication,
    /// Domain of those who may.
    pub login_domain: String,
    /// How long a login counts.
    pub authentication_lifetime: Duration,
    /// For a client that was told to come.
    pub seat_timeout: Duration,
    /// For somebody who left.
    pub return_hold: Duration,
    /// For somebody who was on stage.
    pub stage_memory: Duration,
    /// For a node that is away.
    pub vnode_lost_after: Duration,
    /// For answers.
    pub reply_timeout: Duration,
    /// Domains of recorders and gateways.
    pub trusted_domains: Vec<String>,
}

/// Where the focus is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FocusPlace {
    /// In this process. `main_c2s`: where the main node is when it is not.
    Here {
        /// The main node's client streams.
        main_c2s: Option<Peer>,
    },
    /// Another process, which logs in over TCP. `http`: where conference requests go.
    Elsewhere {
        /// Base URL.
        http: Option<String>,
    },
}

impl Config {
    /// Checks everything; tells all mistakes at once.
    pub fn check(layered: &Layered) -> Result<Self, ConfigError> {
        let mut check = Check { file: &layered.file, places: &layered.places, mistakes: Vec::new() };
        match check.config() {
            Some(config) if check.mistakes.is_empty() => Ok(config),
            _ => Err(ConfigError(check.mistakes)),
        }
    }

    /// The auth host of the main node.
    pub fn auth_domain(&self) -> String {
        format!("auth.{}", self.visitors.main_domain)
    }

    /// A side component of the main node, such as `focus` or `visitors`.
    pub fn component(&self, label: &str) -> String {
        format!("{label}.{}", self.visitors.main_domain)
    }

    /// The URL to show to people.
    pub fn url(&self) -> Option<String> {
        if let Some(url) = &self.listen.public_url {
            return Some(format!("{url}/"));
        }
        let address = self.listen.front?;
        let scheme = if self.tls.front { "https" } else { "http" };
        match address.ip() {
            ip if ip.is_unspecified() || ip == IpAddr::V4(Ipv4Addr::LOCALHOST) => {
                Some(format!("{scheme}://localhost:{}/", address.port()))
            }
            _ => Some(format!("{scheme}://{address}/")),
        }
    }
}
