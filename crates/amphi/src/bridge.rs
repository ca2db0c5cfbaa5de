//! Wiring of the media bridge: its sockets first, then its control, then its logins, so that the focus never hears of a bridge that cannot be
//! reached (`spec/bridge.md` 1.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use amphi_bridge::control::settings::{
    BridgeLimits, BridgeSettings, BridgeTimes, Identity, LoadSettings, Login, Mapping, WebSockets,
};
use amphi_bridge::control::{BridgeHandle, NodeLink, Parts, Peers, addresses, prepare, rest, websocket};
use amphi_bridge::plane::{Plane, PlaneConfig};
use amphi_bridge::transport::{Certificate, PeerLimits};
use amphi_media::conference::ConferenceConfig;
use amphi_signal::{Retry, Server, ServiceLink};
use amphi_stanza::{FullJid, Stanza};
use amphi_xmpp::client::{ClientConfig, ClientEvent, Credentials};
use anyhow::Context as _;
use prometheus_client::metrics::counter::Counter;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::config::{Bridge, BridgeLogin, BridgePlace};

/// `spec/bridge.md` 1.2.
const RETRY: Retry = Retry { first: Duration::from_secs(5), later: Duration::from_secs(1) };

/// The running bridge of this process.
pub(crate) struct Media {
    handle: BridgeHandle,
    nick: String,
    plane: Plane,
    /// The login at the main node of this process, until there is one.
    waiting: Option<Waiting>,
    /// What runs it, until there is a node of this process beside which it can.
    running: Option<Running>,
    tasks: Vec<tokio::task::AbortHandle>,
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Waiting {
    jid: FullJid,
    events: mpsc::Sender<ClientEvent>,
    out: mpsc::UnboundedReceiver<Stanza>,
}

impl Media {
    /// Opens sockets and starts control. `alone`: no signaling role shares this process.
    pub(crate) async fn start(b: &Bridge, alone: bool) -> anyhow::Result<Self> {
        let port = b.said.port;
        let ips = match &b.addresses[..] {
            [] => addresses::usual(&addresses::of_machine(), b.loopback),
            given => given.to_vec(),
        };
        let bound: Vec<SocketAddr> = ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        let mappings: Vec<Mapping> = b
            .mappings
            .iter()
            .map(|(own, public)| {
                let any = match public {
                    SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                    SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                };
                Mapping { local: SocketAddr::new(own.unwrap_or(any), 0), public: *public }
            })
            .collect();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (plane, events) = Plane::start(PlaneConfig {
            shards: b.shards.unwrap_or((cores / 2).max(1)),
            transport_threads: b.said.transport_threads as usize,
            // Bound to cores only where nobody else wants them.
            pin: alone,
            addresses: addresses::with_mappings(&bound, &mappings),
            max_endpoints: b.said.max_endpoints as usize,
            max_conferences: b.said.conferences as usize,
            ..PlaneConfig::default()
        })
        .with_context(|| format!("bridge.port: media on {bound:?}"))?;
        let untrusted = Counter::default();
        let (links, waiting) = links(b, &untrusted)?;
        let of_peers = plane.clone();
        let (handle, running) = prepare(Parts {
            settings: settings(b, mappings),
            decisions: ConferenceConfig { wanted_only: b.said.relay_wanted_only, ..ConferenceConfig::default() },
            peers: Peers {
                certificate: Certificate::generate(SystemTime::now()).context("certificate of the bridge")?,
                addresses: plane.addresses(),
                credentials: Box::new(move || of_peers.credentials()),
                limits: Arc::new(PeerLimits::default()),
            },
            plane: Box::new(plane.clone()),
            events,
            links,
        });
        let running: Running = Box::pin(running);
        let running = if waiting.is_some() {
            Some(running)
        } else {
            tokio::spawn(running);
            None
        };
        let mut me = Self { nick: b.nick.clone(), handle, plane, waiting, running, tasks: Vec::new() };
        if let Some(at) = b.listen {
            me.serve("bridge.listen", at, rest::router(me.handle.clone(), b.said.shutdown, untrusted)).await?;
        }
        if let Some(at) = b.web_socket_listen {
            me.serve("bridge.web_socket_listen", at, websocket::router(me.handle.clone())).await?;
        }
        Ok(me)
    }

    async fn serve(&mut self, key: &str, at: SocketAddr, router: axum::Router) -> anyhow::Result<()> {
        let listener = TcpListener::bind(at).await.with_context(|| format!("{key}: {at}"))?;
        let served = async move {
            if let Err(e) = axum::serve(listener, router).await {
                tracing::error!(error = %e, "HTTP of the bridge has ended.");
            }
        };
        self.tasks.push(tokio::spawn(served).abort_handle());
        Ok(())
    }

    /// Its nick in breweries.
    pub(crate) fn nick(&self) -> &str {
        &self.nick
    }

    /// Who asks it.
    pub(crate) fn handle(&self) -> BridgeHandle {
        self.handle.clone()
    }

    /// Paths for the front.
    pub(crate) fn routes(&self) -> axum::Router {
        websocket::router(self.handle.clone())
    }

    /// Logs in at the main node of this process, whose thread also runs control: a request and its answer stay on it.
    pub(crate) async fn log_in(&mut self, server: &Server) -> anyhow::Result<()> {
        if let Some(running) = self.running.take() {
            server.run_beside_links(running).await;
        }
        let Some(Waiting { jid, events, mut out }) = self.waiting.take() else { return Ok(()) };
        let mut link = server.service("main", jid).await.context("the main node is not in this process")?;
        let carried = async move {
            loop {
                tokio::select! {
                    s = out.recv() => match s {
                        Some(s) => drop(link.out.send(s)),
                        None => return,
                    },
                    e = link.events.recv() => match e {
                        Some(e) => drop(events.send(e).await),
                        None => return,
                    },
                }
            }
        };
        server.run_beside_links(carried).await;
        Ok(())
    }

    /// Waits until a shutdown that was asked for over HTTP is complete.
    pub(crate) async fn over(&self) {
        self.handle.over().await;
    }

    /// Begins a graceful shutdown: nobody new comes, and [`Self::over`] returns when the last endpoint has left.
    pub(crate) async fn wind_down(&self) {
        self.handle.shutdown(true).await;
    }

    /// Leaves the breweries.
    pub(crate) async fn leave(&self) {
        self.handle.leave().await;
    }

    /// Ends everything.
    pub(crate) async fn stop(self) {
        for t in &self.tasks {
            t.abort();
        }
        let _ = self.plane.send(amphi_bridge::plane::Command::Shutdown);
        let _ = tokio::task::spawn_blocking(move || self.plane.join()).await;
    }
}

/// `untrusted`: counts logins that are not made for a wrong certificate.
fn links(b: &Bridge, untrusted: &Counter) -> anyhow::Result<(Vec<NodeLink>, Option<Waiting>)> {
    let mut links = Vec::new();
    let mut waiting = None;
    match &b.place {
        BridgePlace::Here(jid) => {
            let (out, out_rx) = mpsc::unbounded_channel();
            let (events, events_rx) = mpsc::channel(4096);
            links.push(NodeLink { out, events: events_rx });
            waiting = Some(Waiting { jid: jid.clone(), events, out: out_rx });
        }
        BridgePlace::Elsewhere(login) => links.push(tcp(login, &b.nick, untrusted)?),
    }
    for login in &b.logins {
        links.push(tcp(login, &b.nick, untrusted)?);
    }
    Ok((links, waiting))
}

fn tcp(login: &BridgeLogin, nick: &str, untrusted: &Counter) -> anyhow::Result<NodeLink> {
    let password = login.password.obtain().context("password of the bridge")?;
    let mut config = ClientConfig::new(
        login.domain.clone(),
        Credentials::Password { user: login.user.clone(), password: password.expose_secret().to_owned() },
    );
    config.resource = Some(nick.to_owned());
    config.require_certificate = login.fingerprint.is_some();
    if config.require_certificate {
        // Whoever is in between must not be able to leave TLS out.
        config.tls = amphi_xmpp::s2s::Tls::Required;
    }
    config.pins.extend(login.fingerprint.clone());
    let host = login.address.rsplit_once(':').map_or(&*login.address, |(host, _)| host);
    config.plain_without_tls = matches!(host, "127.0.0.1" | "localhost" | "[::1]");
    let ServiceLink { out, events } =
        ServiceLink::tcp_counting(login.address.clone(), config, RETRY, untrusted.clone());
    Ok(NodeLink { out, events })
}

fn settings(b: &Bridge, mappings: Vec<Mapping>) -> BridgeSettings {
    let said = &b.said;
    let login = |rooms: &[amphi_stanza::BareJid]| Login { rooms: rooms.to_vec(), nick: b.nick.clone() };
    let first = match &b.place {
        BridgePlace::Here(_) => login(std::slice::from_ref(&b.brewery)),
        BridgePlace::Elsewhere(l) => login(&l.breweries),
    };
    BridgeSettings {
        identity: Identity {
            version: said.version.clone().unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
            release: said.release.clone(),
            region: b.region.clone(),
            relay_id: said.relay_id.clone(),
            announce_version: false,
        },
        logins: std::iter::once(first).chain(b.logins.iter().map(|l| login(&l.breweries))).collect(),
        web_sockets: b.web_socket_url.as_ref().map(|url| WebSockets {
            bases: vec![url.clone()],
            relay_bases: Vec::new(),
            server_id: b.server_id.clone(),
            ping: Duration::from_secs(15),
            idle: Duration::from_secs(60),
            sockets: said.max_endpoints as usize,
        }),
        sctp: true,
        mappings,
        advertise_private: said.private_addresses,
        loudest: u8::try_from(said.loudest).ok().filter(|n| *n > 0),
        limits: BridgeLimits {
            conferences: said.conferences as usize,
            endpoints_per_conference: said.endpoints_per_conference as usize,
            ..BridgeLimits::default()
        },
        times: BridgeTimes {
            presence: said.presence_interval.0,
            inactive: said.inactive.0,
            graceful: said.graceful_shutdown.0,
            shutting_down: said.shutting_down.0,
            ..BridgeTimes::default()
        },
        load: LoadSettings {
            endpoints: said.endpoints,
            egress_bps: said.egress_mbps.map(|n| u64::from(n) * 1_000_000),
            ..LoadSettings::default()
        },
        require_public_address: said.require_public_address,
        drain: said.drain,
        all_statistics_in_presence: false,
    }
}
