//! What an operator may set. Defaults are those of a deployment with one main node; durations come from
//! `spec/focus.md` 3.1 and 9 unless the field says why not.

use std::net::IpAddr;
use std::time::Duration;

use amphi_stanza::Jid;

use crate::MediaConfig;

/// A visitor node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VnodeConfig {
    /// What clients receive as `vnode`: `v1`.
    pub name: String,
    /// The node's virtual host: `v1.meet.jitsi`. Unmodified clients compute exactly `<name>.meet.jitsi`.
    pub domain: String,
    /// Visitors this node may have, over all conferences; `None` means [`FocusConfig::max_visitors_per_node`].
    pub capacity: Option<u32>,
}

impl VnodeConfig {
    /// A node with the domain that unmodified clients expect.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { domain: format!("{name}.meet.jitsi"), name, capacity: None }
    }
}

/// When a room counts as not live, so that visitors wait (`spec/focus.md` 2.5, `visitors.live` of the room metadata).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveReading {
    /// Every room is live.
    Ignore,
    /// A room is not live only while its metadata says `live: false`.
    UnlessFalse,
    /// A room is live only while its metadata says `live: true`: the reading of the reference with `enable-live-room`.
    OnlyIfTrue,
}

/// Whether the focus asks who somebody is before it creates a room (`spec/focus.md` 2.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthConfig {
    /// Everybody may create rooms.
    None,
    /// Users of `domain` may create rooms.
    Xmpp {
        /// The trusted domain.
        domain: String,
        /// How long a session is valid without being used.
        lifetime: Duration,
        /// Keep sessions when their room ends, so that the user is logged in the next time.
        auto_login: bool,
    },
    /// Users of `domain`, who logged in with a token there.
    Jwt {
        /// The trusted domain.
        domain: String,
    },
}

/// Bounds on what others can make the focus hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Conferences at one time; further ones are answered `ready=false`.
    pub conferences: usize,
    /// Requests of one conference that wait for a room to be joined or linked; further ones are answered `ready=false`.
    pub waiting_requests: usize,
    /// Occupants kept of one room; further ones are not counted.
    pub members: usize,
    /// Identities of recent stage members remembered for one conference.
    pub recent_members: usize,
    /// Meetings that were ended for everybody and are remembered for [`FocusConfig::ended_memory`].
    pub ended_meetings: usize,
    /// Authenticated sessions; the least recently used goes first.
    pub auth_sessions: usize,
    /// Unused seats that requests from one address may hold in one conference; 0 is no limit.
    pub seats_per_peer: usize,
    /// Addresses that stand for many people, such as proxies: neither they nor this machine are bounded as one peer.
    pub shared_peers: Vec<IpAddr>,
    /// Bytes of a conference request's JSON body; the HTTP layer reads no more.
    pub request_bytes: usize,
    /// Conference requests admitted per second over all rooms.
    pub admissions_per_second: u32,
    /// Requests admitted at once after a quiet time.
    pub admission_burst: u32,
    /// How long a request may be held back by the rate; one that would wait longer is answered `ready=false` and comes
    /// back by itself.
    pub admission_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            conferences: 10_000,
            waiting_requests: 20_000,
            members: 200_000,
            recent_members: 1_024,
            ended_meetings: 1_000,
            auth_sessions: 50_000,
            seats_per_peer: 50,
            shared_peers: Vec::new(),
            request_bytes: 16 * 1024,
            admissions_per_second: 400,
            admission_burst: 400,
            admission_wait: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// The address that a request counts for, if it stands for one peer.
    pub(crate) fn one_peer(&self, peer: Option<IpAddr>) -> Option<IpAddr> {
        peer.filter(|p| !p.is_loopback() && !self.shared_peers.contains(p))
    }
}

/// Everything the focus must be told at start.
#[derive(Clone, Debug, PartialEq)]
pub struct FocusConfig {
    /// The main virtual host: `meet.example`. Components are discovered there.
    pub xmpp_domain: String,
    /// The conference component: `conference.meet.example`. Rooms elsewhere, except of tenants and breakout rooms, are
    /// refused.
    pub muc_domain: String,
    /// The component that forwards conference requests: `focus.meet.example`.
    pub client_proxy: Option<String>,
    /// Nick in every room. Clients and servers recognise the focus by `focus` alone.
    pub nick: String,
    /// Domains whose members may say that they are recorders, transcribers or gateways.
    pub trusted_domains: Vec<String>,
    /// Who may create rooms.
    pub auth: AuthConfig,
    /// SIP gateways are there: announced to clients.
    pub sip_gateway: bool,

    /// Visitors at all.
    pub visitors_enabled: bool,
    /// Redirect only in rooms whose metadata says `visitorsEnabled: true`.
    pub require_muc_config_flag: bool,
    /// How `visitors.live` is read.
    pub live: LiveReading,
    /// Seats on stage, unless the room's metadata says `participantsSoftLimit`.
    pub max_participants: u32,
    /// Visitors a node may have over all conferences.
    pub max_visitors_per_node: u32,
    /// A conference gets a further node only when each of its nodes has so many visitors.
    pub open_second_node_at: u32,
    /// Visitor nodes known at start; see also [`crate::Input::NodeAdded`].
    pub vnodes: Vec<VnodeConfig>,
    /// The share of the stage, in per cent, at which a shadow room is prepared; above 100 is never.
    pub prepare_at_percent: u32,
    /// How long a redirected visitor counts for its node before it appears there.
    pub vnode_join_latency: Duration,
    /// How long a node is left alone after a shadow room could not be opened on it.
    pub vnode_retry: Duration,
    /// How long a node's connection may be away before the main node is told to disconnect it.
    pub vnode_lost_after: Duration,
    /// Least time between updates of the audience's size in rooms with more than a thousand people; smaller rooms are
    /// told sooner.
    pub notification_interval: Duration,

    /// How long a seat is kept for a client that was told to come to the stage.
    pub seat_timeout: Duration,
    /// How long the seat of a member that left is kept for its return. Page reloads fit in.
    pub return_hold: Duration,
    /// How long somebody who was on stage is let back there although an audience exists.
    pub stage_memory: Duration,
    /// How long it is remembered that a meeting was ended for everybody.
    pub ended_memory: Duration,

    /// A conference that nobody joined ends after this time.
    pub initial_timeout: Duration,
    /// A conference whose main room became empty ends after this time.
    pub empty_grace: Duration,
    /// How long an answer to an IQ, or a lost connection, is waited for.
    pub reply_timeout: Duration,
    /// How long the first metadata of a room with a presets service is waited for.
    pub metadata_timeout: Duration,
    /// Make the first eligible member an owner, and the next when it leaves.
    pub auto_owner: bool,

    /// Media sessions and bridges.
    pub media: MediaConfig,

    /// Bounds.
    pub limits: Limits,
}

impl FocusConfig {
    /// The defaults for a main domain: `conference.<domain>`, `focus.<domain>`, no visitor nodes, no bridges.
    pub fn new(xmpp_domain: impl Into<String>) -> Self {
        let xmpp_domain = xmpp_domain.into();
        Self {
            muc_domain: format!("conference.{xmpp_domain}"),
            client_proxy: Some(format!("focus.{xmpp_domain}")),
            xmpp_domain,
            nick: "focus".into(),
            trusted_domains: Vec::new(),
            auth: AuthConfig::None,
            sip_gateway: false,
            visitors_enabled: true,
            require_muc_config_flag: false,
            live: LiveReading::UnlessFalse,
            max_participants: 30,
            max_visitors_per_node: 10_000,
            open_second_node_at: 200,
            vnodes: Vec::new(),
            prepare_at_percent: 80,
            vnode_join_latency: Duration::from_secs(60),
            vnode_retry: Duration::from_secs(10),
            vnode_lost_after: Duration::from_secs(15),
            notification_interval: Duration::from_secs(15),
            seat_timeout: Duration::from_secs(60),
            return_hold: Duration::from_secs(10),
            stage_memory: Duration::from_secs(600),
            ended_memory: Duration::from_secs(600),
            initial_timeout: Duration::from_secs(15),
            empty_grace: Duration::from_secs(5),
            reply_timeout: Duration::from_secs(15),
            metadata_timeout: Duration::from_secs(10),
            auto_owner: true,
            media: MediaConfig::default(),
            limits: Limits::default(),
        }
    }

    /// Whether `room` is on the conference component, in its plain or a tenant's form (`spec/signaling.md` 1.6).
    pub(crate) fn is_conference_room(&self, room: &Jid) -> bool {
        let domain = room.domain();
        if domain == self.muc_domain {
            return true;
        }
        // `conference.T.meet.example`: the prefix, one label, the base.
        let Some(prefix) = self.muc_domain.strip_suffix(&self.xmpp_domain).and_then(|p| p.strip_suffix('.')) else {
            return false;
        };
        domain
            .strip_prefix(prefix)
            .and_then(|d| d.strip_prefix('.'))
            .and_then(|d| d.strip_suffix(&self.xmpp_domain))
            .and_then(|d| d.strip_suffix('.'))
            .is_some_and(|tenant| !tenant.is_empty() && !tenant.contains('.'))
    }
}
