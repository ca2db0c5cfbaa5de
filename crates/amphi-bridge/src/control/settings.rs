//! Settings of a bridge's control, checked by whoever makes them. Names follow `spec/bridge.md` 8.

use std::net::SocketAddr;
use std::time::Duration;

use amphi_stanza::BareJid;

/// Everything control needs to know.
#[derive(Clone, Debug)]
pub struct BridgeSettings {
    /// How the bridge presents itself.
    pub identity: Identity,
    /// Breweries by login, in the order of the logins.
    pub logins: Vec<Login>,
    /// Where endpoints find their bridge channel over WebSocket; `None` offers SCTP alone.
    pub web_sockets: Option<WebSockets>,
    /// Whether the bridge channel over SCTP is offered.
    pub sctp: bool,
    /// Addresses that stand for one of ours on the other side of a NAT.
    pub mappings: Vec<Mapping>,
    /// Whether private addresses are told to everybody; without it only to endpoints with the capability
    /// `private-address-connectivity`, and to relays. Yes by default.
    pub advertise_private: bool,
    /// Speakers that are forwarded; `None`: all. 3 by default.
    pub loudest: Option<u8>,
    /// Bounds.
    pub limits: BridgeLimits,
    /// Times.
    pub times: BridgeTimes,
    /// What counts as full load.
    pub load: LoadSettings,
    /// Whether a bridge without a public address counts as ill; no by default, for it may serve one machine or one house.
    pub require_public_address: bool,
    /// Whether the bridge starts in drain mode.
    pub drain: bool,
    /// Whether the whole list of statistics is in presence, for monitoring, or only what a focus reads.
    pub all_statistics_in_presence: bool,
}

/// How a bridge presents itself to the focus and to operators.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Version in presence; bridges of one conference must have the same (`spec/bridge.md` 1.3).
    pub version: String,
    /// Release in presence.
    pub release: Option<String>,
    /// Region.
    pub region: Option<String>,
    /// Name for other bridges; without one the bridge is never joined with others.
    pub relay_id: Option<String>,
    /// Whether the version is told in ServerHello.
    pub announce_version: bool,
}

/// A login and what it joins.
#[derive(Clone, Debug)]
pub struct Login {
    /// Breweries.
    pub rooms: Vec<BareJid>,
    /// Nickname in all of them; unique per bridge.
    pub nick: String,
}

/// The bridge channel over WebSocket (`spec/bridge.md` 3.1).
#[derive(Clone, Debug)]
pub struct WebSockets {
    /// Base addresses without a slash at the end: `wss://edge-17.example.com`. One element each in every description.
    pub bases: Vec<String>,
    /// Base addresses for relays; [`WebSockets::bases`] when empty.
    pub relay_bases: Vec<String>,
    /// Second segment of the path, which tells this bridge from others behind the same name.
    pub server_id: String,
    /// Silence after which a ping is sent; 15 s.
    pub ping: Duration,
    /// Silence of the other side after which a socket is closed; 60 s.
    pub idle: Duration,
    /// Sockets at one time.
    pub sockets: usize,
}

/// An address of ours and the one that stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Ours; port 0 means any.
    pub local: SocketAddr,
    /// The public one; port 0 means the local port.
    pub public: SocketAddr,
}

/// Bounds on what peers may use.
#[derive(Clone, Debug)]
pub struct BridgeLimits {
    /// Conferences at one time; 10000.
    pub conferences: usize,
    /// Endpoints and relays of one conference, relayed endpoints too; 100000.
    pub endpoints_per_conference: usize,
    /// Relays of one conference; 200.
    pub relays_per_conference: usize,
    /// Sources of one endpoint; 20.
    pub sources_per_endpoint: usize,
    /// SSRCs of one endpoint; 128.
    pub ssrcs_per_endpoint: usize,
    /// Payload types and header extensions of one endpoint and medium; 64.
    pub formats_per_media: usize,
    /// Candidates that are taken from one update; 64.
    pub candidates: usize,
    /// Bytes of an identifier: meeting, endpoint, source; 128.
    pub id_bytes: usize,
    /// Bytes of one message of a bridge channel; 64 KiB.
    pub message_bytes: usize,
    /// Messages of one bridge channel a second, after twice as many at once; 50.
    pub messages_per_second: u32,
    /// Bytes of messages of participants to everybody that one conference may have copied in a second, the copies counted, after twice as
    /// many at once; 32 MiB.
    pub broadcast_bytes_per_second: u32,
    /// Messages that wait for one WebSocket; a slower one is closed. 500.
    pub socket_queue: usize,
    /// Answers that wait for the media plane; further creations are refused. 10000.
    pub pending: usize,
}

impl Default for BridgeLimits {
    fn default() -> Self {
        Self {
            conferences: 10_000,
            endpoints_per_conference: 100_000,
            relays_per_conference: 200,
            sources_per_endpoint: 20,
            ssrcs_per_endpoint: 128,
            formats_per_media: 64,
            candidates: 64,
            id_bytes: 128,
            message_bytes: 64 * 1024,
            messages_per_second: 50,
            broadcast_bytes_per_second: 32 << 20,
            socket_queue: 500,
            pending: 10_000,
        }
    }
}

/// Times of `spec/bridge.md` 1.3, 1.6, 1.7, 1.9 and 3.2.
#[derive(Clone, Debug)]
pub struct BridgeTimes {
    /// Between presences; 5 s.
    pub presence: Duration,
    /// Between looks for what has expired; 10 s.
    pub expiry_check: Duration,
    /// A conference without endpoints is kept so long; 20 s.
    pub empty_conference: Duration,
    /// An endpoint that was never heard of is kept so long; 2 min.
    pub never_active: Duration,
    /// An endpoint that is silent is kept so long; 1 min.
    pub inactive: Duration,
    /// A relay whose transport has failed is kept so long; 5 min.
    pub failed_relay: Duration,
    /// Whoever is connected for so long without a bridge channel is counted; 30 s.
    pub no_channel: Duration,
    /// A second identical create after so long replaces what the focus gave up; 15 s.
    pub retried_create: Duration,
    /// Between looks at who is connected; 500 ms.
    pub connectivity_check: Duration,
    /// First sign of life of a new endpoint; 15 s.
    pub first_transfer: Duration,
    /// Silence that makes an endpoint inactive; 8 s.
    pub max_inactivity: Duration,
    /// Between messages about the downlink; 10 s.
    pub connection_stats: Duration,
    /// Between health checks; 10 s.
    pub health_check: Duration,
    /// A shard that has not answered for so long is ill; 2 s.
    pub heartbeat: Duration,
    /// A graceful shutdown takes so long at most; 24 h.
    pub graceful: Duration,
    /// Time for the focus to move endpoints away before the end; 1 min.
    pub shutting_down: Duration,
    /// A graceful shutdown ends with so few endpoints; 0.
    pub graceful_endpoints: usize,
}

impl Default for BridgeTimes {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            presence: s(5),
            expiry_check: s(10),
            empty_conference: s(20),
            never_active: s(120),
            inactive: s(60),
            failed_relay: s(300),
            no_channel: s(30),
            retried_create: s(15),
            connectivity_check: Duration::from_millis(500),
            first_transfer: s(15),
            max_inactivity: s(8),
            connection_stats: s(10),
            health_check: s(10),
            heartbeat: s(2),
            graceful: s(24 * 3600),
            shutting_down: s(60),
            graceful_endpoints: 0,
        }
    }
}

/// What counts as full load (`spec/bridge.md` 1.4).
#[derive(Clone, Debug)]
pub struct LoadSettings {
    /// Endpoints that this machine is thought to carry: one of them is worth 1 / so much of stress. 5000.
    pub endpoints: u32,
    /// Share of the machine's or a shard's time that is full load; 0.9.
    pub cpu: f64,
    /// Bits a second that may be sent; `None` is no bound.
    pub egress_bps: Option<u64>,
    /// Packets a second that may be sent; `None` is no bound.
    pub egress_pps: Option<u64>,
    /// Share of memory in use that is full load; 0.95.
    pub memory: f64,
    /// Between samples; 2 s.
    pub interval: Duration,
}

impl Default for LoadSettings {
    fn default() -> Self {
        Self {
            endpoints: 5000,
            cpu: 0.9,
            egress_bps: None,
            egress_pps: None,
            memory: 0.95,
            interval: Duration::from_secs(2),
        }
    }
}

impl Default for BridgeSettings {
    fn default() -> Self {
        Self {
            identity: Identity {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                release: None,
                region: None,
                relay_id: None,
                announce_version: false,
            },
            logins: Vec::new(),
            web_sockets: None,
            sctp: true,
            mappings: Vec::new(),
            advertise_private: true,
            loudest: Some(3),
            limits: BridgeLimits::default(),
            times: BridgeTimes::default(),
            load: LoadSettings::default(),
            require_public_address: false,
            drain: false,
            all_statistics_in_presence: false,
        }
    }
}
