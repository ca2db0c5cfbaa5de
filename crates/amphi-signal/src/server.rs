//! The signaling roles of a process, started from settings that have been checked.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use amphi_focus::{Focus, FocusConfig, NodeId};
use amphi_room::Hub;
use amphi_stanza::{BareJid, FullJid};
use amphi_xmpp::c2s::{HostInfo, HostProfile, ResourcePolicy, Resumption, StartTlsPolicy, UrlParams};
use amphi_xmpp::client::ClientConfig;
use amphi_xmpp::sasl::Mechanism;
use amphi_xmpp::services::{ExternalService, HostServices, Identity, Item};
use bytes::BytesMut;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::addresses::{AddressLimit, Addresses, Exempt, Shares};
use crate::bosh;
use crate::focus_task::{self, FocusHandle, FocusLink, SharedView};
use crate::front::{self, Door, Front, FrontSettings, Target, Turns};
use crate::hosts::{Host, HostAuth};
use crate::http::{self, FocusAt, Health, Http};
use crate::hub_task;
use crate::journal::{Journal, JournalLimits};
use crate::links::{LinkSettings, Links};
use crate::metrics::{FocusFigures, Metrics};
use crate::node::{FocusProxy, Node, Parts};
use crate::operator::Operator;
use crate::queue::{self, Queue, QueueSettings, Service, ServiceSettings};
use crate::service::ServiceLink;
use crate::shard::{NewConn, NewFraming, ShardMsg, ShardSettings, Shards};
use crate::tls::{CertificateSource, Peers, ServerTls, TlsError};
use crate::transport::RawTransport;
use crate::virt::Virtual;

/// A virtual host.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Domain.
    pub name: String,
    /// How people log in.
    pub auth: HostAuth,
    /// Accounts with an administrator's rights.
    pub admins: Vec<BareJid>,
    /// Accounts that are read at any rate and may send large stanzas, by local part. Administrators always are.
    pub unlimited: Vec<String>,
    /// Components and facts in the answer to service discovery, and announced at login if `announce`.
    pub identities: Vec<Identity>,
    /// Features likewise.
    pub features: Vec<String>,
    /// Push the list at login: hosts for people.
    pub announce: bool,
    /// STUN and TURN.
    pub external: Vec<ExternalService>,
    /// How long a broken stream may be resumed.
    pub resume: Duration,
    /// Accounts for which that is another time, by local part.
    pub resume_of: Vec<(String, Duration)>,
}

/// A signaling node.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// `main`, or the name of a visitor node.
    pub name: String,
    /// Its rooms.
    pub rooms: amphi_room::NodeConfig,
    /// Its virtual hosts; the first speaks for the node.
    pub hosts: Vec<HostSettings>,
    /// Addresses that answer discovery and pings: MUC services and side components.
    pub components: Vec<String>,
    /// The focus' proxy address.
    pub focus_proxy: Option<FocusProxy>,
    /// Client streams over TCP.
    pub c2s: Option<SocketAddr>,
    /// Local addresses on which TCP counts as protected.
    pub secure_interfaces: Vec<IpAddr>,
    /// Links to nodes elsewhere.
    pub links: LinkSettings,
    /// Nodes of this process that are linked in memory: name and the domains that are reached there.
    pub memory_links: Vec<(String, Vec<String>)>,
    /// Workers that share the rooms.
    pub hubs: usize,
}

/// Where the focus finds a node.
#[derive(Clone, Debug)]
pub enum FocusTarget {
    /// In this process, under this address.
    Memory {
        /// Name of the node.
        node: String,
        /// Address of the focus there.
        jid: FullJid,
    },
    /// Elsewhere.
    Tcp {
        /// Host and port.
        address: String,
        /// Login.
        config: Box<ClientConfig>,
    },
}

/// The HTTP front.
#[derive(Clone, Debug)]
pub struct FrontServer {
    /// Address.
    pub listen: SocketAddr,
    /// Limits.
    pub settings: FrontSettings,
    /// HTTPS.
    pub tls: bool,
    /// Certificate of HTTPS, where it is another one than servers see.
    pub certificate: Option<CertificateSource>,
    /// Names for a certificate of HTTPS that is made here.
    pub names: Vec<String>,
    /// Serve `/metrics` here too, for everybody who comes.
    pub metrics: bool,
    /// Fronts of nodes elsewhere, as host and port, by name; `main` is the main node.
    pub there: HashMap<String, String>,
}

/// Makes the paths of the operators' address once there is something to operate.
pub type AdminRoutes = Box<dyn FnOnce(Operator) -> axum::Router + Send>;

/// Everything a process runs.
pub struct ServerSettings {
    /// Threads that own connections.
    pub shards: usize,
    /// Connections.
    pub shard: ShardSettings,
    /// Nodes.
    pub nodes: Vec<NodeSettings>,
    /// HTTP for people.
    pub front: Option<FrontServer>,
    /// HTTP for the focus' requests and for operators.
    pub admin: Option<SocketAddr>,
    /// Further paths there.
    pub admin_routes: Option<AdminRoutes>,
    /// Bounds of the journal.
    pub journal: JournalLimits,
    /// Certificate.
    pub certificate: CertificateSource,
    /// The focus, and where it finds its nodes.
    pub focus: Option<(FocusConfig, Vec<(NodeId, FocusTarget)>)>,
    /// HTTP server of a focus elsewhere.
    pub focus_http: Option<String>,
    /// The visitor queue of this process, where its front and main node are.
    pub queue: Option<QueueSettings>,
    /// A queue service elsewhere that is told when a room of the main node is live.
    pub queue_service: Option<ServiceSettings>,
    /// Origins that may use HTTP; `*` is any.
    pub cors_origins: Vec<String>,
    /// Further paths of the front: the page, and other roles of this process.
    pub routes: Option<axum::Router>,
    /// Connections per address.
    pub addresses: AddressLimit,
    /// BOSH sessions, and those of them that are not logged in.
    pub bosh: [usize; 2],
    /// Serve `/metrics`.
    pub metrics: bool,
    /// Name in `/about/version`.
    pub name: String,
}

/// Starting failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// A certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Threads.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
    /// A name in the settings has no meaning.
    #[error("{0}")]
    Settings(String),
}

/// The running roles of a process.
pub struct Server {
    nodes: HashMap<String, Arc<Node>>,
    shards: Arc<Shards>,
    tls: Arc<ServerTls>,
    focus: Option<FocusHandle>,
    operator: Operator,
    tasks: Vec<tokio::task::AbortHandle>,
}

struct HealthOf {
    nodes: Vec<Arc<Node>>,
    has_focus: bool,
    targets: usize,
    metrics: Arc<Metrics>,
}

impl Health for HealthOf {
    fn check(&self) -> Result<(), String> {
        for n in &self.nodes {
            if let Some(p) = &n.focus_proxy
                && !n.has_session_of(&p.target)
            {
                return Err(format!("node {}: the focus {} is not connected", n.name, p.target));
            }
        }
        Ok(())
    }

    fn report(&self) -> serde_json::Value {
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .map(|n| {
                serde_json::json!({
                    "name": n.name,
                    "domain": n.rooms.host,
                    "main": n.rooms.main().is_some(),
                    "sessions": n.session_count(),
                    "rooms": n.gauge(&self.metrics.rooms),
                    "stage": n.occupants("stage"),
                    "audience": n.occupants("visitor"),
                    "focus": n.focus_proxy.as_ref().map(|p| n.has_session_of(&p.target)),
                })
            })
            .collect();
        serde_json::json!({
            "healthy": self.check().is_ok(),
            "problem": self.check().err(),
            "nodes": nodes,
            "focus": self.has_focus.then_some(self.targets),
            "socketWrites": self.metrics.socket_writes.get(),
            "stanzasOut": self.metrics.stanzas_out.get(),
        })
    }
}

impl Server {
    /// Starts everything; when it returns, all listeners accept.
    ///
    /// # Errors
    /// What keeps a part from starting.
    pub async fn start(settings: ServerSettings) -> Result<Self, StartError> {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let view = SharedView::default();
        if settings.focus.is_some() {
            registry.register_collector(Box::new(FocusFigures(view.clone())));
        }
        let journal = Arc::new(Journal::new(settings.journal));
        let registry = Arc::new(registry);
        let tls = Self::certificate(&settings)?;
        let of_front = settings.front.as_ref();
        let source = of_front.and_then(|f| f.certificate.clone()).unwrap_or_else(|| settings.certificate.clone());
        let names = of_front.map(|f| f.names.clone()).filter(|n| !n.is_empty());
        let front_tls =
            ServerTls::load(source, names.unwrap_or_else(|| vec!["localhost".to_owned()]), Peers::Browsers)?;
        let shard_settings = Arc::new(settings.shard.clone());
        let shards = Shards::start(settings.shards.max(1), shard_settings, &metrics).map_err(StartError::Threads)?;
        let virt = Arc::new(Virtual::default());

        let mut nodes: HashMap<String, Arc<Node>> = HashMap::new();
        let mut order = Vec::new();
        for n in &settings.nodes {
            let node = Node::new(parts(n, &tls, &journal), shards.clone(), virt.clone(), metrics.clone());
            nodes.insert(n.name.clone(), node.clone());
            order.push(node);
        }
        let mut tasks = Vec::new();
        // One bound for whoever has not logged in, whatever door it comes through.
        let of_front = settings.front.as_ref().map(|f| f.settings.clone()).unwrap_or_default();
        let door = Door {
            addresses: Arc::new(Addresses::new(settings.addresses, Exempt::new(&of_front.trusted_proxies))),
            turns: Turns::new(&of_front, metrics.clone()),
            metrics: metrics.clone(),
        };
        // Rooms begin to speak before the queue listens; what they say waits here.
        let main_node = order.iter().find(|n| n.rooms.main().is_some()).cloned();
        let (news, news_rx) = mpsc::unbounded_channel();
        if let Some(n) = main_node.as_ref().filter(|_| settings.queue.is_some() || settings.queue_service.is_some()) {
            let _ = n.news.set(news);
        }
        for (n, node) in settings.nodes.iter().zip(&order) {
            start_hubs(n, node).await;
            let mut here = Vec::new();
            for (name, domains) in &n.memory_links {
                let target =
                    nodes.get(name).ok_or_else(|| StartError::Settings(format!("no node {name} in this process")))?;
                here.push((domains.clone(), target.clone()));
            }
            let links = Links::start(node, n.links.clone(), &here, Some(tls.clone()));
            if let Some(addr) = n.links.listen {
                let listener = front::listen(addr).map_err(|e| StartError::Listen(addr, e))?;
                tasks.push(tokio::spawn(links.clone().serve(listener, door.clone())).abort_handle());
            }
            links.open(&n.rooms.host);
            if let Some(addr) = n.c2s {
                let listener = front::listen(addr).map_err(|e| StartError::Listen(addr, e))?;
                tasks.push(
                    tokio::spawn(serve_c2s(listener, node.clone(), n.secure_interfaces.clone(), door.clone()))
                        .abort_handle(),
                );
            }
        }
        if !tls.is_ephemeral() {
            tasks.push(tokio::spawn(tls.clone().watch()).abort_handle());
        }
        if !front_tls.is_ephemeral() {
            tasks.push(tokio::spawn(front_tls.clone().watch()).abort_handle());
        }

        let (visitors, visitors_rx) = mpsc::unbounded_channel();
        let targets = settings.focus.as_ref().map_or(0, |f| f.1.len());
        let focus = match settings.focus {
            Some((config, targets)) => {
                let mut links = Vec::new();
                for (id, target) in targets {
                    links.push((
                        id,
                        match target {
                            FocusTarget::Memory { node, jid } => {
                                let node = nodes
                                    .get(&node)
                                    .ok_or_else(|| StartError::Settings(format!("no node {node} in this process")))?;
                                FocusLink::Memory(node.clone(), jid)
                            }
                            FocusTarget::Tcp { address, config } => FocusLink::Tcp { address, config },
                        },
                    ));
                }
                let watch =
                    focus_task::Watch { metrics: metrics.clone(), journal: journal.clone(), view: view.clone() };
                let focus = Focus::new(config, rand::random());
                Some(focus_task::start(focus, links, &shards, watch, visitors).await)
            }
            None => None,
        };
        let queue = match (settings.queue, &main_node) {
            (Some(s), Some(node)) if settings.front.is_some() => {
                let queue = Queue::new(s, node.clone(), focus.clone());
                tasks.push(tokio::spawn(queue::changes(queue.clone(), visitors_rx)).abort_handle());
                Some(queue)
            }
            _ => None,
        };
        let service = settings.queue_service.map(|s| Service::new(s, metrics.clone()));
        if queue.is_some() || service.is_some() {
            tasks.push(tokio::spawn(queue::news(news_rx, queue.clone(), service)).abort_handle());
        }
        let focus_at = match (&focus, settings.focus_http) {
            (Some(h), _) => FocusAt::Here(h.clone()),
            (None, Some(base)) => FocusAt::There(base),
            (None, None) => FocusAt::Nowhere,
        };

        let there = settings.front.as_ref().map(|f| f.there.clone()).unwrap_or_default();
        let mut vnodes: HashMap<String, Target> = there
            .iter()
            .filter(|(n, _)| *n != "main")
            .map(|(n, a)| (n.clone(), Target::There(a.as_str().into())))
            .collect();
        let mut main = there.get("main").map(|a| Target::There(a.as_str().into()));
        for node in &order {
            if node.rooms.main().is_some() {
                main = Some(Target::Here(node.clone()));
            } else {
                vnodes.insert(node.name.clone(), Target::Here(node.clone()));
            }
        }
        // A lone visitor node, behind a proxy that picks nodes by host or path, is what requests without `vnode` mean.
        if main.is_none()
            && let [node] = &order[..]
        {
            main = Some(Target::Here(node.clone()));
        }
        let region_header = settings.front.as_ref().map_or_else(String::new, |f| f.settings.region_header.clone());
        let health: Arc<dyn Health> =
            Arc::new(HealthOf { nodes: order.clone(), has_focus: focus.is_some(), targets, metrics: metrics.clone() });
        let operator = Operator::new(order, focus.clone(), view, journal, metrics.clone(), health.clone());
        let app = Arc::new(Http {
            focus: focus_at,
            registry: settings.metrics.then_some(registry),
            health,
            cors_origins: settings.cors_origins,
            trusted_proxies: settings.front.as_ref().map(|f| f.settings.trusted_proxies.clone()).unwrap_or_default(),
            request_bytes: 64 * 1024,
            body_time: settings.shard.negotiation_timeout,
            bosh: bosh::Gate {
                main: main.clone(),
                vnodes: vnodes.clone(),
                metrics: metrics.clone(),
                config: bosh::config(settings.shard.limits),
                region_header,
                login_time: settings.shard.negotiation_timeout,
                read_rate: settings.shard.read_rate,
                places: settings.bosh.map(|n| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)))),
                sessions: Arc::default(),
            },
            name: settings.name,
        });
        if let Some(f) = settings.front {
            let front = Arc::new(Front {
                main,
                vnodes,
                router: http::front(app.clone(), settings.routes, f.metrics),
                app: app.clone(),
                tls: f.tls.then(|| front_tls.clone()),
                metrics: metrics.clone(),
                door,
                http: Arc::new(Semaphore::new(f.settings.http.min(Semaphore::MAX_PERMITS))),
                http_of: Shares::new(f.settings.http_per_address, Exempt::new(&f.settings.trusted_proxies)),
                visitors: queue,
                settings: f.settings,
            });
            let all = front::listen_shared(f.listen, shards.len()).map_err(|e| StartError::Listen(f.listen, e))?;
            for (i, listener) in all.into_iter().enumerate() {
                if let Some(s) = shards.get(i as u8) {
                    s.send(ShardMsg::Serve(front.clone(), listener)).await;
                }
            }
        }
        if let Some(addr) = settings.admin {
            let listener = front::listen(addr).map_err(|e| StartError::Listen(addr, e))?;
            let more = settings.admin_routes.map(|make| make(operator.clone()));
            let router = http::admin(app, more);
            let served = front::serve_admin(listener, router, settings.shard.negotiation_timeout);
            tasks.push(tokio::spawn(served).abort_handle());
        }
        Ok(Self { nodes, shards, tls, focus, operator, tasks })
    }

    /// The certificate that servers see, as [`Server::start`] will use it; made if there is none yet.
    ///
    /// # Errors
    /// If files are missing or broken.
    pub fn certificate(settings: &ServerSettings) -> Result<Arc<ServerTls>, TlsError> {
        let names = settings
            .nodes
            .iter()
            .flat_map(|n| n.hosts.iter().map(|h| h.name.clone()).chain(n.components.iter().cloned()))
            .collect();
        ServerTls::load(settings.certificate.clone(), names, Peers::Servers)
    }

    /// Fingerprint of the certificate that servers see: what a peer pins.
    pub fn fingerprint(&self) -> String {
        self.tls.fingerprint()
    }

    /// The focus, if it runs here.
    pub fn focus(&self) -> Option<&FocusHandle> {
        self.focus.as_ref()
    }

    /// The operator's hand on this process.
    pub fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Names of the nodes that run here.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// Logs a service account in at a node of this process; `None` if there is no such node.
    pub async fn service(&self, node: &str, jid: FullJid) -> Option<ServiceLink> {
        let node = self.nodes.get(node)?.clone();
        Some(ServiceLink::memory(node, jid, false).await)
    }

    /// Runs a task on the thread that carries the links of [`Self::service`]: what they hand to each other wakes no other thread.
    pub async fn run_beside_links(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.shards.run_on(0, task).await;
    }

    /// Stops accepting and closes all streams with `system-shutdown`.
    pub async fn stop(&self) {
        for t in &self.tasks {
            t.abort();
        }
        for i in 0..self.shards.len() {
            if let Some(s) = self.shards.get(i as u8) {
                s.send(ShardMsg::Shutdown).await;
            }
        }
    }
}

fn parts(n: &NodeSettings, tls: &Arc<ServerTls>, journal: &Arc<Journal>) -> Parts {
    let main_services = n.hosts.first().map(|h| Arc::new(services(h)));
    let hosts = n
        .hosts
        .iter()
        .map(|h| {
            let (mechanisms, people) = match &h.auth {
                HostAuth::Anonymous | HostAuth::Token(_) => (vec![Mechanism::Anonymous], true),
                HostAuth::Accounts(_) => (vec![Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain], false),
                HostAuth::SharedSecret(_) => (vec![Mechanism::Plain], false),
            };
            let info = HostInfo {
                name: h.name.clone(),
                mechanisms,
                starttls: StartTlsPolicy::Required,
                sm: Some(Resumption { max: h.resume }),
                resource: if people { ResourcePolicy::Generated } else { ResourcePolicy::Requested },
            };
            let services = services(h);
            let announced = match &main_services {
                Some(m) if people => m.clone(),
                _ => Arc::new(self::services(h)),
            };
            let host = Host {
                profile: Arc::new(HostProfile::new(info)),
                auth: h.auth.clone(),
                services,
                announce: h.announce,
                announced,
                admins: h.admins.clone(),
                unlimited: h.unlimited.clone(),
                resume: h.resume,
                resume_of: h.resume_of.clone(),
            };
            (h.name.clone(), host)
        })
        .collect();
    let components = n
        .components
        .iter()
        .map(|c| (c.clone(), HostServices::new(c.clone(), &[], &[], Vec::new(), Vec::new())))
        .collect();
    Parts {
        name: n.name.clone(),
        rooms: Arc::new(n.rooms.clone()),
        hosts,
        components,
        focus_proxy: n.focus_proxy.clone(),
        tls: Some(tls.clone()),
        journal: journal.clone(),
    }
}

fn services(h: &HostSettings) -> HostServices {
    let items = h
        .identities
        .iter()
        .filter(|i| i.category == "component")
        .map(|i| Item { jid: i.name.clone(), name: None })
        .collect();
    HostServices::new(h.name.clone(), &h.identities, &h.features, items, h.external.clone())
}

async fn start_hubs(n: &NodeSettings, node: &Arc<Node>) {
    let count = n.hubs.clamp(1, 64);
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for _ in 0..count {
        let (tx, rx) = mpsc::channel(4096);
        senders.push(tx);
        receivers.push(rx);
    }
    let _ = node.hubs.set(senders);
    for (i, rx) in receivers.into_iter().enumerate() {
        let hub = Hub::new(node.rooms.clone(), rand::random(), node.hub_index(i));
        // Beside the connections: most of what a room says goes to its own thread.
        node.shards.run_on(i, hub_task::run(node.clone(), hub, rx)).await;
    }
}

/// Accepts client streams over TCP.
async fn serve_c2s(listener: TcpListener, node: Arc<Node>, secure: Vec<IpAddr>, door: Door) {
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => {
                let Some(place) = door.enter(peer.ip()) else { continue };
                let trusted = socket.local_addr().is_ok_and(|a| secure.contains(&a.ip()));
                let Ok(socket) = socket.into_std() else { continue };
                let shard = node.shards.pick();
                let Some(s) = node.shards.get(shard) else { continue };
                s.send(ShardMsg::Adopt(Box::new(NewConn {
                    transport: RawTransport { socket, tls: None },
                    framing: NewFraming::Tcp { trusted },
                    early: BytesMut::new(),
                    node: node.clone(),
                    params: UrlParams::default(),
                    place: Some(place),
                    peer: peer.ip(),
                })))
                .await;
            }
            Err(e) => {
                tracing::warn!(error = %e, "Accepting a client stream failed.");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
