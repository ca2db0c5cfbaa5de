//! Wiring: makes the roles that a configuration names, and ends them in order. The only place where the configuration meets
//! the IO crates.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use amphi_focus::{AuthConfig, FocusConfig, LiveReading, NodeId, VnodeConfig};
use amphi_queue::{LiveRule, SessionConfig, Spread};
use amphi_room::{
    AddressList, ChatBudget, LobbyConfig, MainConfig, MucConfig, NodeConfig, Role, RoomLimits, TokenPolicy,
    VisitorNodeConfig,
};
use amphi_signal::journal::JournalLimits;
use amphi_signal::{
    Account, AddressLimit, CertificateSource, FocusProxy, FocusTarget, FrontServer, FrontSettings, HostAuth,
    HostSettings, LinkSettings, NodeSettings, PeerSettings, QueueSettings, Server, ServerSettings, ServiceSettings,
    ServiceToken, ShardSettings, TokenSettings,
};
use amphi_stanza::{FullJid, Limits};
use amphi_xmpp::client::{ClientConfig, Credentials};
use amphi_xmpp::services::{self, ExternalService, Identity};
use anyhow::{Context as _, anyhow};
use secrecy::ExposeSecret as _;

use crate::acme;
use crate::admin;
use crate::bridge::Media;
use crate::config::{
    Certificate, Config, Focus, FocusAuthentication, FocusPlace, Host, Links, Live, Login, Muc, MucKind, NickRule,
    Node, Password, Peer, Promotion, Service, TokenKey, WhereNode,
};
use crate::{page, site};

/// How long clients get to hear of the end before their sockets close.
pub const DRAIN: Duration = Duration::from_secs(10);

/// The running roles of this process.
pub struct App {
    /// The address for people, if this process has one.
    pub url: Option<String>,
    server: Server,
    media: Option<Media>,
    _renewal: Option<acme::Renewal>,
    /// SIGTERM lets conferences on the bridge end first.
    patient: bool,
}

impl App {
    /// Starts everything that the configuration names. When it returns, every listener accepts.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let url = config.url();
        if let Some(acme) = &config.tls.acme {
            acme::prepare(&acme.dir);
        }
        let mut settings = settings(&config)?;
        let mut media = None;
        let alone = settings.nodes.is_empty() && settings.focus.is_none();
        let patient = alone && config.bridge.as_ref().is_some_and(|b| b.said.drain_on_term);
        if let Some(bridge) = &config.bridge {
            let started = Media::start(bridge, alone).await?;
            settings.routes = settings.routes.map(|page| page.merge(started.routes()));
            media = Some(started);
        }
        if config.admin.said.enabled && config.listen.admin.is_some() {
            let token = config.admin.token.obtain().context("the token of the admin API")?;
            let bridge = media.as_ref().map(|m| (m.nick().to_owned(), m.handle()));
            let at = config.listen.admin.map(|a| format!("http://{a}/dashboard")).unwrap_or_default();
            match &config.admin.token {
                Password::Kept(path) => {
                    tracing::info!(token = %path.display(), "The dashboard is at {at}; its token lies in a file.")
                }
                Password::Given(_) => tracing::info!("The dashboard is at {at}."),
            }
            let config = config.clone();
            settings.admin_routes = Some(Box::new(move |op| admin::routes(config, token.expose_secret(), bridge, op)));
        }
        let server = Server::start(settings).await?;
        if let Some(media) = &mut media {
            media.log_in(&server).await?;
        }
        let renewal = match &config.tls.acme {
            Some(said) if config.listen.front.is_some() => Some(acme::start(said.clone()).await?),
            _ => None,
        };
        tracing::info!(
            roles = ?config.roles,
            fingerprint = %format_args!("sha256:{}", server.fingerprint()),
            "Started. Peers pin this fingerprint."
        );
        Ok(Self { url, server, media, _renewal: renewal, patient })
    }

    /// Ends everything: no new connections, the streams closed with a reason, within [`DRAIN`].
    pub async fn drain(self) {
        let ended = async {
            if let Some(media) = &self.media {
                media.leave().await;
            }
            self.server.stop().await;
            if let Some(media) = self.media {
                media.stop().await;
            }
        };
        let _ = tokio::time::timeout(DRAIN, ended).await;
    }

    /// Whether the end waits for conferences: then it has begun, and [`Self::over`] tells when it is complete.
    pub async fn wind_down(&self) -> bool {
        match &self.media {
            Some(media) if self.patient => {
                media.wind_down().await;
                true
            }
            _ => false,
        }
    }

    /// Waits until the bridge says that the process may end: after a shutdown that was asked for over HTTP.
    pub async fn over(&self) {
        match &self.media {
            Some(media) => media.over().await,
            None => std::future::pending().await,
        }
    }
}

/// The fingerprint that peers of this process pin, before it runs. A certificate that is missing is made and kept.
pub fn fingerprint(config: &Config) -> anyhow::Result<String> {
    let tls = Server::certificate(&settings(config)?)?;
    Ok(format!("sha256:{}", tls.fingerprint()))
}

fn settings(c: &Config) -> anyhow::Result<ServerSettings> {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let certificate = match &c.tls.certificate {
        Certificate::Files { chain, key } => CertificateSource::Files { chain: chain.clone(), key: key.clone() },
        Certificate::SelfSigned(dir) => CertificateSource::SelfSigned { dir: dir.clone() },
    };
    let ports = link_ports(c)?;
    let mut nodes = Vec::new();
    if let Some(main) = &c.main {
        nodes.push(main_node(c, main, cores, &ports)?);
    }
    for v in &c.visitors.nodes {
        if let WhereNode::Here { node, listen_c2s, .. } = &v.place {
            nodes.push(visitor_node(c, node, *listen_c2s, cores, &ports)?);
        }
    }
    Ok(ServerSettings {
        // Shards run rooms and the focus too; the rest of the machine is for handshakes, links and the other roles.
        shards: c.shards.unwrap_or((cores * 3 / 4).max(1)),
        shard: ShardSettings {
            negotiation_timeout: c.limits.login_time.0,
            idle_timeout: c.limits.idle_time.0,
            hibernation: c.limits.resume_time.0,
            max_unacked: c.limits.unacked_stanzas as usize,
            max_unsent_bytes: c.limits.unsent_bytes.0 as usize,
            limits: Limits { bytes: c.limits.stanza_size.0 as usize, ..Limits::default() },
            admin_limits: Limits {
                bytes: c.limits.privileged_stanza_size.0 as usize,
                nodes: 512 * 1024,
                ..Limits::default()
            },
            read_rate: u32::try_from(c.limits.client_rate.0).unwrap_or(u32::MAX),
            fanout_share: c.limits.fanout_share,
            ..ShardSettings::default()
        },
        nodes,
        front: front(c)?,
        admin: c.listen.admin,
        admin_routes: None,
        journal: JournalLimits {
            events: c.admin.said.events as usize,
            decisions: c.admin.said.decisions as usize,
            ..JournalLimits::default()
        },
        certificate,
        focus: focus(c)?,
        focus_http: match &c.focus.place {
            FocusPlace::Elsewhere { http } => http.clone(),
            FocusPlace::Here { .. } => None,
        },
        queue: (c.queue.enabled && c.visitors.enabled).then(|| queue(c)),
        queue_service: queue_service(c)?,
        cors_origins: c.listen.cors_origins.clone(),
        routes: Some(pages(c)),
        addresses: AddressLimit {
            rate: c.limits.connects_per_address,
            burst: c.limits.connect_burst_per_address,
            ..AddressLimit::default()
        },
        bosh: [c.limits.bosh_sessions as usize, c.limits.bosh_logins as usize],
        metrics: c.metrics.enabled,
        name: "amphi".to_owned(),
    })
}

/// What people see: our page, or a stock application.
fn pages(c: &Config) -> axum::Router {
    let muc = format!("{}.{}", c.muc_prefix, c.domain);
    let Some(web) = &c.web else { return page::routes(&page::About { domain: c.domain.clone(), muc }) };
    let about = site::About {
        domain: c.domain.clone(),
        muc,
        public_url: c.listen.public_url.clone(),
        visitors: c.visitors.enabled,
        queue: c.queue.enabled && c.visitors.enabled,
        shard: c.announced[0].clone(),
        region: c.announced[1].clone(),
        more: web.config.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
    };
    site::routes(web.root.clone(), about)
}

fn queue(c: &Config) -> QueueSettings {
    let q = &c.queue;
    QueueSettings {
        rule: match c.focus.live {
            Live::OnlyIfTrue => LiveRule::OnlyIfTrue,
            Live::Ignore | Live::UnlessFalse => LiveRule::UnlessFalse,
        },
        spread: Spread { joins_per_second: q.joins_per_second, min: q.min_delay.0, max: q.max_delay.0 },
        state_interval: q.state_interval.0,
        list_interval: q.list_interval.0,
        list_limit: q.list_limit as usize,
        clients: q.clients as usize,
        session: SessionConfig {
            heart_beat: q.heart_beat.0,
            connect_timeout: c.limits.login_time.0,
            subscriptions: q.subscriptions as usize,
            limits: amphi_queue::Limits { frame: q.frame_size.0 as usize, ..amphi_queue::Limits::default() },
        },
    }
}

fn queue_service(c: &Config) -> anyhow::Result<Option<ServiceSettings>> {
    let q = &c.queue;
    let Some(url) = &q.service else { return Ok(None) };
    let token = match &q.service_key_file {
        None => None,
        Some(path) => {
            let pem = std::fs::read(path).with_context(|| format!("queue.service_key_file: {}", path.display()))?;
            let mut token = ServiceToken::rsa(&pem).context("queue.service_key_file is no RSA key")?;
            token.key_id.clone_from(&q.service_key_id);
            token.issuer.clone_from(&q.service_issuer);
            token.audience.clone_from(&q.service_audience);
            token.ttl = q.service_token_ttl.0;
            token.threshold = q.service_token_threshold.0;
            Some(token)
        }
    };
    Ok(Some(ServiceSettings { url: url.clone(), token }))
}

/// Addresses of server streams within this process, by node: where `links = "s2s"` connects to.
fn link_ports(c: &Config) -> anyhow::Result<BTreeMap<String, SocketAddr>> {
    let mut ports = BTreeMap::new();
    if c.main.is_some()
        && let Some(addr) = c.listen.s2s
    {
        ports.insert("main".to_owned(), addr);
    }
    for v in &c.visitors.nodes {
        if let WhereNode::Here { listen_s2s: Some(addr), .. } = &v.place {
            let mut addr = *addr;
            if addr.port() == 0 {
                addr =
                    TcpListener::bind(addr).and_then(|l| l.local_addr()).context("no free port for a server stream")?;
            }
            ports.insert(v.name.clone(), addr);
        }
    }
    Ok(ports)
}

fn front(c: &Config) -> anyhow::Result<Option<FrontServer>> {
    let Some(listen) = c.listen.front else { return Ok(None) };
    let mut there = HashMap::new();
    for v in &c.visitors.nodes {
        if let WhereNode::Elsewhere { front: Some(addr), .. } = &v.place {
            there.insert(v.name.clone(), addr.clone());
        }
    }
    Ok(Some(FrontServer {
        listen,
        settings: FrontSettings {
            region_header: c.listen.region_header.clone(),
            handshakes: c.limits.handshakes as usize,
            handshakes_per_address: c.limits.handshakes_per_address as usize,
            turn_time: c.limits.handshake_turn.0,
            waiting: c.limits.handshakes_waiting as usize,
            waiting_per_address: c.limits.handshakes_waiting_per_address as usize,
            http: c.limits.http_connections as usize,
            http_per_address: c.limits.http_connections_per_address as usize,
            head_timeout: c.limits.login_time.0,
            trusted_proxies: c.listen.trusted_proxies.clone(),
        },
        tls: c.tls.front,
        certificate: c.tls.acme.as_ref().map(|a| CertificateSource::SelfSigned { dir: a.dir.clone() }),
        names: c.tls.acme.as_ref().map_or_else(|| vec![c.domain.clone()], |a| a.domains.clone()),
        metrics: c.metrics.on_front,
        there,
    }))
}

// ---- nodes -------------------------------------------------------------------------------------------------------------

fn main_node(c: &Config, n: &Node, cores: usize, ports: &BTreeMap<String, SocketAddr>) -> anyhow::Result<NodeSettings> {
    let component = |label: &str| c.component(label);
    let mut identities = vec![Identity::component("room_metadata", component("metadata"))];
    if c.visitors.enabled {
        identities.push(Identity::component("visitors", component("visitors")));
    }
    if c.lobby.is_some() {
        identities.push(Identity::component("lobbyrooms", component("lobby")));
    }
    for (ty, value) in ["shard", "region", "release"].into_iter().zip(&c.announced) {
        if let Some(v) = value {
            identities.push(Identity::server(ty, v.clone()));
        }
    }
    let role = Role::Main(MainConfig {
        visitors: c.visitors.enabled.then(|| component("visitors")),
        always_visitors_enabled: c.visitors.enabled,
        queue: c.queue.enabled || c.queue.service.is_some(),
        auto_allow_visitor_promotion: c.promotion == Promotion::Auto,
        visitors_ignore_list: c.visitors.ignore_list.iter().cloned().collect(),
        lobby: c.lobby.as_ref().map(|exempt| LobbyConfig {
            domain: component("lobby"),
            exempt: exempt.iter().map(ToString::to_string).collect(),
        }),
        focus: Some(c.focus.jid.clone()),
    });
    let rooms = NodeConfig {
        metadata: Some(component("metadata")),
        visitor_names: c.visitors.nodes.iter().map(|v| v.name.clone()).collect(),
        ..rooms(c, n, role)
    };
    let here: Vec<(String, Vec<String>)> = c
        .visitors
        .nodes
        .iter()
        .filter(|v| matches!(v.place, WhereNode::Here { .. }))
        .map(|v| (v.name.clone(), vec![v.muc.clone(), v.domain.clone()]))
        .collect();
    let mut components = vec![component("metadata"), component("focus")];
    if c.lobby.is_some() {
        components.push(component("lobby"));
    }
    if c.visitors.enabled {
        components.push(component("visitors"));
    }
    node(c, n, rooms, identities, components, here, cores, ports, c.listen.c2s).map(|s| NodeSettings {
        focus_proxy: Some(FocusProxy { domain: component("focus"), target: c.focus.jid.clone() }),
        ..s
    })
}

fn visitor_node(
    c: &Config,
    n: &Node,
    listen_c2s: Option<SocketAddr>,
    cores: usize,
    ports: &BTreeMap<String, SocketAddr>,
) -> anyhow::Result<NodeSettings> {
    let main = &c.visitors.main_domain;
    let role = Role::VisitorNode(VisitorNodeConfig {
        name: n.name.clone(),
        main_domain: main.clone(),
        main_hosts: c.main.iter().flat_map(|m| m.hosts.iter().map(|h| h.name.clone())).collect(),
        main_muc: format!("{}.{main}", c.muc_prefix),
        main_visitors: c.component("visitors"),
        auto_promoted_with_token: c.visitors.auto_promote_with_token,
    });
    let rooms = rooms(c, n, role);
    let here = match &c.main {
        Some(m) => {
            let mut domains: Vec<String> = m.hosts.iter().map(|h| h.name.clone()).collect();
            domains.extend(m.mucs.iter().map(|m| m.name.clone()));
            domains.push(c.component("visitors"));
            vec![("main".to_owned(), domains)]
        }
        None => Vec::new(),
    };
    node(c, n, rooms, Vec::new(), Vec::new(), here, cores, ports, listen_c2s)
}

#[allow(clippy::too_many_arguments)]
fn node(
    c: &Config,
    n: &Node,
    rooms: NodeConfig,
    identities: Vec<Identity>,
    mut components: Vec<String>,
    here: Vec<(String, Vec<String>)>,
    cores: usize,
    ports: &BTreeMap<String, SocketAddr>,
    c2s: Option<SocketAddr>,
) -> anyhow::Result<NodeSettings> {
    components.extend(n.mucs.iter().map(|m| m.name.clone()));
    let hosts = n
        .hosts
        .iter()
        .map(|h| {
            let people = matches!(h.login, Login::Anonymous | Login::Token(_));
            Ok(HostSettings {
                name: h.name.clone(),
                auth: auth(h)?,
                admins: n.admins.clone(),
                unlimited: match &h.login {
                    Login::Internal(accounts) => {
                        accounts.iter().filter(|a| a.unlimited).map(|a| a.user.clone()).collect()
                    }
                    _ => Vec::new(),
                },
                identities: identities.clone(),
                features: Vec::new(),
                announce: people && !identities.is_empty(),
                external: external(c),
                resume: h.resume_time,
                resume_of: h.resume_of.clone(),
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let memory = c.links == Links::Memory;
    let mut peers = peers(&n.peers, &n.whitelist, &here);
    if !memory {
        for (name, domains) in &here {
            let at = ports.get(name).ok_or_else(|| anyhow!("links = \"s2s\" needs listen.s2s and listen_s2s"))?;
            peers.push(PeerSettings {
                domains: domains.clone(),
                address: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, at.port())).to_string()),
                pins: Vec::new(),
                own: true,
                keep: true,
            });
        }
    }
    Ok(NodeSettings {
        name: n.name.clone(),
        rooms,
        hosts,
        components,
        focus_proxy: None,
        c2s,
        secure_interfaces: c.listen.secure_interfaces.clone(),
        links: LinkSettings {
            login_time: c.limits.login_time.0,
            listen: ports.get(&n.name).copied().filter(|_| !peers.is_empty()),
            peers,
            plain: false,
            memory_bytes: c.limits.link_bytes.0 as usize,
            retry: Duration::from_secs(1),
            dialback_secret: String::new(),
        },
        memory_links: if memory { here } else { Vec::new() },
        hubs: c.hubs.unwrap_or(cores),
    })
}

/// Peers elsewhere: domains at the same place are one peer.
fn peers(known: &BTreeMap<String, Peer>, whitelist: &[String], here: &[(String, Vec<String>)]) -> Vec<PeerSettings> {
    let mut by_place: BTreeMap<String, PeerSettings> = BTreeMap::new();
    for (domain, p) in known {
        let peer = by_place.entry(p.address.clone()).or_insert_with(|| PeerSettings {
            domains: Vec::new(),
            address: Some(p.address.clone()),
            pins: p.fingerprint.iter().cloned().collect(),
            own: false,
            keep: true,
        });
        peer.domains.push(domain.clone());
    }
    let mut all: Vec<PeerSettings> = by_place.into_values().collect();
    let in_process = |d: &String| here.iter().any(|(_, domains)| domains.contains(d));
    for d in whitelist.iter().filter(|d| !known.contains_key(*d) && !in_process(d)) {
        // Only the resolver knows where these are.
        all.push(PeerSettings { domains: vec![d.clone()], address: None, pins: Vec::new(), own: false, keep: false });
    }
    all
}

fn auth(h: &Host) -> anyhow::Result<HostAuth> {
    Ok(match &h.login {
        Login::Anonymous => HostAuth::Anonymous,
        Login::Token(t) => {
            let base = match &t.key {
                TokenKey::Secret(s) => TokenSettings::secret(&t.app_id, s.expose_secret().as_bytes()),
                TokenKey::PublicPem(pem) => {
                    TokenSettings::rsa(&t.app_id, pem.as_bytes()).with_context(|| format!("key of host {}", h.name))?
                }
            };
            HostAuth::Token(TokenSettings {
                issuers: t.accepted_issuers.clone(),
                audiences: t.accepted_audiences.clone(),
                allow_empty: t.allow_empty,
                require_room: t.require_room,
                ..base
            })
        }
        Login::Internal(accounts) => HostAuth::Accounts(
            accounts
                .iter()
                .map(|a| {
                    let password = a.password.obtain().with_context(|| format!("password of {}@{}", a.user, h.name))?;
                    Ok(Account::new(a.user.clone(), password.expose_secret()))
                })
                .collect::<anyhow::Result<_>>()?,
        ),
        Login::SharedSecret(s) => HostAuth::SharedSecret(s.expose_secret().to_owned()),
    })
}

fn rooms(c: &Config, n: &Node, role: Role) -> NodeConfig {
    let token = n.hosts.iter().find_map(|h| match &h.login {
        Login::Token(t) => Some(t),
        _ => None,
    });
    let list = |l: &[amphi_stanza::Jid]| l.iter().map(ToString::to_string).collect::<AddressList>();
    let mucs = n
        .mucs
        .iter()
        .map(|m| {
            muc(c, n, m).map_tokens(token.filter(|_| m.kind == MucKind::Meetings).map(|t| TokenPolicy {
                allow_empty: t.allow_empty,
                verify_domain: t.verify_domain,
                require_room: t.require_room,
                exempt: list(&m.token_whitelist),
                ..TokenPolicy::default()
            }))
        })
        .collect();
    NodeConfig {
        role,
        host: n.domain.clone(),
        hosts: n.hosts.iter().map(|h| h.name.clone()).filter(|h| *h != n.domain).collect(),
        mucs,
        admins: n.admins.iter().cloned().collect(),
        services: services(c),
        limits: RoomLimits {
            history: c.limits.history as usize,
            lobby: c.limits.lobby as usize,
            audience_chat: ChatBudget {
                person_burst: c.limits.audience_chat_burst,
                person_every: c.limits.audience_chat_interval.0,
                room_burst: c.limits.audience_chat_room_burst,
                room_per_second: c.limits.audience_chat_per_room,
                message: c.limits.audience_chat_size.0 as usize,
            },
            ..RoomLimits::default()
        },
        ..NodeConfig::default()
    }
}

/// STUN and TURN for the answer to XEP-0215.
fn external(c: &Config) -> Vec<ExternalService> {
    let service = |s: &Service| ExternalService {
        ty: s.kind.to_owned(),
        transport: Some(s.transport.to_owned()),
        host: s.host.clone(),
        port: Some(s.port),
        credentials: match &s.secret {
            Some(secret) => {
                services::Credentials::Secret { secret: secret.expose_secret().to_owned(), ttl: s.ttl, user: None }
            }
            None => services::Credentials::None,
        },
    };
    c.services.iter().map(service).collect()
}

/// The same for the metadata of rooms.
fn services(c: &Config) -> Vec<amphi_room::ExternalService> {
    let service = |s: &Service| amphi_room::ExternalService {
        kind: s.kind.to_owned(),
        transport: Some(s.transport.to_owned()),
        host: s.host.clone(),
        port: s.port,
        secret: s.secret.as_ref().map(|secret| secret.expose_secret().to_owned()),
        ttl: s.ttl.as_secs(),
    };
    c.services.iter().map(service).collect()
}

trait MapTokens {
    fn map_tokens(self, tokens: Option<TokenPolicy>) -> Self;
}

impl MapTokens for MucConfig {
    fn map_tokens(self, tokens: Option<TokenPolicy>) -> Self {
        Self { tokens, ..self }
    }
}

fn muc(c: &Config, n: &Node, m: &Muc) -> MucConfig {
    let list = |l: &[amphi_stanza::Jid]| l.iter().map(ToString::to_string).collect::<AddressList>();
    let base = match m.kind {
        MucKind::Meetings if m.name == n.muc => MucConfig::conference(&c.muc_prefix, &n.domain),
        MucKind::Meetings => MucConfig { domain: m.name.clone(), ..MucConfig::default() },
        MucKind::Internal => MucConfig::internal(&m.name),
    };
    MucConfig {
        restrict_creation: m.restrict_room_creation,
        access: (!m.filter_whitelist.is_empty()).then(|| list(&m.filter_whitelist)),
        hidden: m.hidden,
        max_occupants: m.max_occupants,
        max_occupants_exempt: list(&m.access_whitelist),
        joins_per_second: m.joins_per_second,
        leaves_per_second: m.leaves_per_second,
        nick_rule: m.nick_rule != NickRule::Any,
        anonymous_strict: m.nick_rule == NickRule::Endpoint,
        password_exempt: list(&m.password_whitelist),
        ..base
    }
}

// ---- focus -------------------------------------------------------------------------------------------------------------

type FocusParts = (FocusConfig, Vec<(NodeId, FocusTarget)>);

fn focus(c: &Config) -> anyhow::Result<Option<FocusParts>> {
    let FocusPlace::Here { main_c2s } = &c.focus.place else { return Ok(None) };
    if !c.roles.focus {
        return Ok(None);
    }
    let f = &c.focus;
    let main = &c.visitors.main_domain;
    let mut config = FocusConfig::new(main.clone());
    config.muc_domain = format!("{}.{main}", c.muc_prefix);
    config.client_proxy = Some(c.component("focus"));
    config.visitors_enabled = c.visitors.enabled;
    config.require_muc_config_flag = f.require_muc_config_flag;
    config.live = match f.live {
        Live::Ignore => LiveReading::Ignore,
        Live::UnlessFalse => LiveReading::UnlessFalse,
        Live::OnlyIfTrue => LiveReading::OnlyIfTrue,
    };
    config.max_participants = c.stage;
    config.media = c.media.config();
    config.media.brewery = c.brewery.as_ref().map(ToString::to_string);
    config.media.local_region = c.announced[1].clone();
    config.max_visitors_per_node = f.max_visitors_per_node;
    config.open_second_node_at = f.open_node_at;
    config.prepare_at_percent = f.link_nodes_at;
    config.vnode_join_latency = f.vnode_join_latency;
    config.notification_interval = f.notification_interval;
    config.initial_timeout = f.initial_timeout;
    config.reply_timeout = f.reply_timeout;
    config.seat_timeout = f.seat_timeout;
    config.return_hold = f.return_hold;
    config.stage_memory = f.stage_memory;
    config.vnode_lost_after = f.vnode_lost_after;
    config.limits.conferences = c.limits.conferences as usize;
    config.limits.admissions_per_second = c.limits.admissions_per_second;
    config.limits.seats_per_peer = c.limits.seats_per_address as usize;
    config.limits.shared_peers.clone_from(&c.listen.trusted_proxies);
    config.limits.admission_burst = c.limits.admission_burst;
    config.limits.request_bytes = c.limits.request_size.0 as usize;
    config.auto_owner = f.auto_owner;
    config.trusted_domains.clone_from(&f.trusted_domains);
    config.auth = match f.authentication {
        FocusAuthentication::None => AuthConfig::None,
        FocusAuthentication::Xmpp => {
            AuthConfig::Xmpp { domain: f.login_domain.clone(), lifetime: f.authentication_lifetime, auto_login: true }
        }
        FocusAuthentication::Jwt => AuthConfig::Jwt { domain: f.login_domain.clone() },
    };
    config.vnodes = c
        .visitors
        .nodes
        .iter()
        .map(|v| VnodeConfig { domain: v.domain.clone(), capacity: v.capacity, ..VnodeConfig::new(&v.name) })
        .collect();

    let mut targets = Vec::new();
    let jid = |domain: &str| FullJid::parse(&format!("{}@{domain}/focus", f.user)).map_err(|e| anyhow!("focus: {e}"));
    match main_c2s {
        None => {
            targets.push((NodeId::Main, FocusTarget::Memory { node: "main".to_owned(), jid: jid(&c.auth_domain())? }));
        }
        Some(main) => {
            let pin = main.fingerprint.as_ref();
            targets.push((NodeId::Main, tcp(f, &c.auth_domain(), &main.address, pin, pin.is_some())?));
        }
    }
    for v in &c.visitors.nodes {
        match &v.place {
            WhereNode::Here { .. } => {
                let jid = jid("auth.meet.jitsi")?;
                targets.push((NodeId::vnode(&v.name), FocusTarget::Memory { node: v.name.clone(), jid }));
            }
            WhereNode::Elsewhere { c2s: Some(address), s2s, c2s_fingerprint, .. } => {
                // A stock node may show clients another certificate than servers, so that one is not insisted upon.
                let pin = c2s_fingerprint.as_ref().or(s2s.fingerprint.as_ref());
                let target = tcp(f, "auth.meet.jitsi", address, pin, c2s_fingerprint.is_some())?;
                targets.push((NodeId::vnode(&v.name), target));
            }
            WhereNode::Elsewhere { c2s: None, .. } => {}
        }
    }
    Ok(Some((config, targets)))
}

fn tcp(f: &Focus, domain: &str, address: &str, pin: Option<&String>, required: bool) -> anyhow::Result<FocusTarget> {
    let password = f.password.obtain().context("password of the focus")?;
    let mut config = ClientConfig::new(
        domain,
        Credentials::Password { user: f.user.clone(), password: password.expose_secret().to_owned() },
    );
    config.resource = Some(f.user.clone());
    // Whoever is in between must not be able to leave TLS out.
    config.tls = if required { amphi_xmpp::s2s::Tls::Required } else { amphi_xmpp::s2s::Tls::IfOffered };
    config.require_certificate = required;
    config.pins.extend(pin.cloned());
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    config.plain_without_tls = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
    Ok(FocusTarget::Tcp { address: address.to_owned(), config: Box::new(config) })
}
