//! What a node serves, as data: hosts, MUC services, their policies and limits.
//!
//! Built once by the IO layer from its own configuration and shared by all hubs of a node.

use std::collections::BTreeSet;
use std::time::Duration;

use amphi_stanza::{BareJid, Jid};

use crate::seats::SeatLimits;
use crate::services::ExternalService;

/// Everything rooms need to know of the node they live on.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Main node or visitor node.
    pub role: Role,
    /// The virtual host of the node: `meet.example`, or `v1.meet.jitsi`.
    pub host: String,
    /// Further virtual hosts served here: `guest.meet.example`, `auth.meet.example`, ... Connections live on these and on
    /// [`NodeConfig::host`].
    pub hosts: Vec<String>,
    /// MUC services.
    pub mucs: Vec<MucConfig>,
    /// Address of the metadata component, on a main node.
    pub metadata: Option<String>,
    /// Metadata keys that clients may not set, in addition to those of `spec/signaling.md` 3.10.
    pub metadata_blocked_keys: BTreeSet<String>,
    /// TURN and STUN services, which clients get with the first metadata.
    pub services: Vec<ExternalService>,
    /// Administrators: owner of every room, exempt from its gates. The focus must be one.
    pub admins: BTreeSet<BareJid>,
    /// Real addresses that begin so are recorders.
    pub recorder_prefixes: Vec<String>,
    /// Real addresses that begin so are transcribers.
    pub transcriber_prefixes: Vec<String>,
    /// Suffix of visitor nodes' hosts; clients compute `<node>.meet.jitsi` literally.
    pub visitor_suffix: String,
    /// Names of visitor nodes besides `v` followed by digits. A name among them is never taken for a tenant, which matters
    /// when the main domain equals [`NodeConfig::visitor_suffix`].
    pub visitor_names: BTreeSet<String>,
    /// Bounds of a room.
    pub limits: RoomLimits,
}

impl Default for NodeConfig {
    fn default() -> Self {
        let strings = |v: &[&str]| v.iter().map(|s| (*s).to_owned()).collect();
        Self {
            role: Role::Main(MainConfig::default()),
            host: "localhost".to_owned(),
            hosts: Vec::new(),
            mucs: Vec::new(),
            metadata: None,
            metadata_blocked_keys: BTreeSet::new(),
            services: Vec::new(),
            admins: BTreeSet::new(),
            recorder_prefixes: strings(&["recorder@recorder.", "jibria@recorder.", "jibrib@recorder."]),
            transcriber_prefixes: strings(&[
                "transcriber@recorder.",
                "transcribera@recorder.",
                "transcriberb@recorder.",
            ]),
            visitor_suffix: "meet.jitsi".to_owned(),
            visitor_names: BTreeSet::new(),
            limits: RoomLimits::default(),
        }
    }
}

/// What kind of node this is.
#[derive(Clone, Debug)]
pub enum Role {
    /// Authoritative rooms.
    Main(MainConfig),
    /// Shadow rooms for a part of the audience.
    VisitorNode(VisitorNodeConfig),
}

/// Of a main node.
#[derive(Clone, Debug, Default)]
pub struct MainConfig {
    /// Address of the visitors component; `None` serves no audience nodes.
    pub visitors: Option<String>,
    /// Announce in every room that visitors are possible.
    pub always_visitors_enabled: bool,
    /// There is a queue for those who come before a meeting is live, so `metadata.visitorsEnabled` is set.
    pub queue: bool,
    /// A raised hand brings its owner on stage without a moderator.
    pub auto_allow_visitor_promotion: bool,
    /// Bare address of the focus, which promoted visitors are told; `focus@auth.<host>` by default.
    pub focus: Option<BareJid>,
    /// Hosts whose connections pass the visitor gate and need no seat: recorders and the like. They pass lobbies, too.
    pub visitors_ignore_list: BTreeSet<String>,
    /// Where lobbies are; `None`: rooms have none.
    pub lobby: Option<LobbyConfig>,
}

/// The service of lobbies.
#[derive(Clone, Debug, Default)]
pub struct LobbyConfig {
    /// Its address: `lobby.meet.example`.
    pub domain: String,
    /// Who passes lobbies.
    pub exempt: AddressList,
}

/// Of a visitor node.
#[derive(Clone, Debug)]
pub struct VisitorNodeConfig {
    /// Its name: `v1`.
    pub name: String,
    /// Virtual host of the main node: `meet.example`.
    pub main_domain: String,
    /// Further hosts of the main node whose people are mirrored, besides those below [`VisitorNodeConfig::main_domain`].
    pub main_hosts: BTreeSet<String>,
    /// Conference MUC of the main node: `conference.meet.example`.
    pub main_muc: String,
    /// Address of the visitors component of the main node.
    pub main_visitors: String,
    /// A token with a user id raises its hand with `forcePromote`.
    pub auto_promoted_with_token: bool,
}

/// A MUC service.
#[derive(Clone, Debug)]
pub struct MucConfig {
    /// Its address.
    pub domain: String,
    /// Meetings, or the internal rooms of bridges.
    pub kind: MucKind,
    /// Prefix and base of the tenant mapping: `conference` and `meet.example`. `None`: no tenants here.
    pub mapper: Option<Mapper>,
    /// Rooms are created by administrators and [`MucConfig::creators`] alone.
    pub restrict_creation: bool,
    /// Who else may create rooms.
    pub creators: AddressList,
    /// `Some`: presence from other domains is refused.
    pub access: Option<AddressList>,
    /// Outsiders may not query rooms.
    pub hidden: bool,
    /// Occupants see each other's real address.
    pub public_jids: bool,
    /// Occupants a room can have; `None` is no limit.
    pub max_occupants: Option<u32>,
    /// Who comes in all the same and is not counted.
    pub max_occupants_exempt: AddressList,
    /// Joins per second and room; more wait. `None` is no limit.
    pub joins_per_second: Option<u32>,
    /// Leaves announced per second and room; more are announced later. `None` is no limit.
    pub leaves_per_second: Option<u32>,
    /// Nicks are ASCII letters, digits and `_`.
    pub nick_rule: bool,
    /// The nick of a connection whose host gives out local parts must be the first eight characters of it.
    pub anonymous_strict: bool,
    /// Who needs no password.
    pub password_exempt: AddressList,
    /// Token rules; `None`: tokens are not looked at.
    pub tokens: Option<TokenPolicy>,
}

impl Default for MucConfig {
    fn default() -> Self {
        Self {
            domain: String::new(),
            kind: MucKind::Conference,
            mapper: None,
            restrict_creation: true,
            creators: AddressList::default(),
            access: None,
            hidden: true,
            public_jids: true,
            max_occupants: None,
            max_occupants_exempt: AddressList::default(),
            joins_per_second: None,
            leaves_per_second: None,
            nick_rule: true,
            anonymous_strict: false,
            password_exempt: AddressList::default(),
            tokens: None,
        }
    }
}

impl MucConfig {
    /// The conference MUC `<prefix>.<base>` with tenants.
    pub fn conference(prefix: &str, base: &str) -> Self {
        Self {
            domain: [prefix, ".", base].concat(),
            mapper: Some(Mapper { prefix: prefix.to_owned(), base: base.to_owned() }),
            ..Self::default()
        }
    }

    /// The MUC in which bridges and recorders announce themselves.
    pub fn internal(domain: &str) -> Self {
        Self { domain: domain.to_owned(), kind: MucKind::Internal, nick_rule: false, ..Self::default() }
    }
}

/// What a MUC is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MucKind {
    /// Meetings: meeting id, focus lock, metadata, visitors.
    Conference,
    /// Breweries: a plain MUC.
    Internal,
}

/// The two halves of a MUC domain between which a tenant's label stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapper {
    /// `conference`
    pub prefix: String,
    /// `meet.example`
    pub base: String,
}

/// What tokens do in a MUC (`spec/signaling.md` 2.5, 3.5).
#[derive(Clone, Debug)]
pub struct TokenPolicy {
    /// Connections without a token may join.
    pub allow_empty: bool,
    /// `sub` must fit the address of the room.
    pub verify_domain: bool,
    /// A token must name a room.
    pub require_room: bool,
    /// Who is not checked.
    pub exempt: AddressList,
    /// The room's configuration is for token holders.
    pub require_for_moderation: bool,
    /// `context.user` decides the affiliation.
    pub affiliation: bool,
}

impl Default for TokenPolicy {
    fn default() -> Self {
        Self {
            allow_empty: false,
            verify_domain: true,
            require_room: true,
            exempt: AddressList::default(),
            require_for_moderation: false,
            affiliation: true,
        }
    }
}

/// A list of domains and bare addresses.
#[derive(Clone, Debug, Default)]
pub struct AddressList(BTreeSet<String>);

impl AddressList {
    /// Whether the domain or the bare form of `jid` is listed.
    pub fn has(&self, jid: &Jid) -> bool {
        !self.0.is_empty() && (self.0.contains(jid.domain()) || self.0.contains(jid.bare_str()))
    }
}

impl<S: Into<String>> FromIterator<S> for AddressList {
    fn from_iter<I: IntoIterator<Item = S>>(iter: I) -> Self {
        Self(iter.into_iter().map(Into::into).collect())
    }
}

/// Bounds of a room. Every one has a default that no honest meeting reaches.
#[derive(Clone, Debug)]
pub struct RoomLimits {
    /// Joins that wait for the focus, or for the main node; the next one is told to come back.
    pub lock_queue: usize,
    /// Joins that wait for their turn under [`MucConfig::joins_per_second`].
    pub rate_queue: usize,
    /// Messages kept for those who join later.
    pub history: usize,
    /// Bytes of one message kept in the history; a longer one is delivered but not kept, and refused as a subject.
    pub history_message: usize,
    /// Bytes of a presence. Every occupant's last one is kept, so this bounds what an audience costs.
    pub presence: usize,
    /// Leaves that are announced later under [`MucConfig::leaves_per_second`]; with more, the oldest are announced at once.
    pub leave_queue: usize,
    /// People who wait in a lobby; the next one is told to come back.
    pub lobby: usize,
    /// Entries in a room's list of affiliations.
    pub affiliations: usize,
    /// Bytes of a room's metadata.
    pub metadata: usize,
    /// Bytes of a subject, name, description or password.
    pub text: usize,
    /// Chat of the audience.
    pub audience_chat: ChatBudget,
    /// Seats.
    pub seats: SeatLimits,
    /// A shadow room without visitors is destroyed after this time.
    pub no_visitors: Duration,
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self {
            lock_queue: 20_000,
            rate_queue: 20_000,
            history: 20,
            history_message: 16 * 1024,
            presence: 16 * 1024,
            leave_queue: 1000,
            lobby: 250,
            affiliations: 20_000,
            metadata: 64 * 1024,
            text: 4096,
            audience_chat: ChatBudget::default(),
            seats: SeatLimits::default(),
            no_visitors: Duration::from_secs(15),
        }
    }
}

/// How much the audience may say. People on stage are not counted.
#[derive(Clone, Copy, Debug)]
pub struct ChatBudget {
    /// Messages that one visitor may send at once.
    pub person_burst: u32,
    /// How long one visitor's budget takes to grow by one message.
    pub person_every: Duration,
    /// Messages that a room's audience on this node may send at once.
    pub room_burst: u32,
    /// Messages per second of a room's audience on this node.
    pub room_per_second: u32,
    /// Bytes of one message: everybody gets a copy.
    pub message: usize,
}

impl Default for ChatBudget {
    fn default() -> Self {
        Self {
            person_burst: 5,
            person_every: Duration::from_secs(2),
            room_burst: 60,
            room_per_second: 20,
            message: 16 * 1024,
        }
    }
}

impl NodeConfig {
    /// The MUC service at exactly this domain.
    pub fn muc(&self, domain: &str) -> Option<(usize, &MucConfig)> {
        self.mucs.iter().enumerate().find(|(_, m)| m.domain == domain)
    }

    /// The MUC of meetings.
    pub fn conference_muc(&self) -> Option<&MucConfig> {
        self.mucs.iter().find(|m| m.kind == MucKind::Conference)
    }

    /// Whether connections of this domain live on this node.
    pub fn serves(&self, domain: &str) -> bool {
        self.host == domain || self.hosts.iter().any(|h| h == domain)
    }

    /// Whether the bare form of `jid` is an administrator.
    pub fn is_admin(&self, jid: &Jid) -> bool {
        jid.to_bare().as_bare().is_some_and(|b| self.admins.contains(&b))
    }

    /// Whether `jid` is a recorder in a meeting.
    pub fn is_recorder(&self, jid: &Jid) -> bool {
        self.recorder_prefixes.iter().any(|p| jid.as_str().starts_with(p.as_str()))
    }

    /// Whether `jid` is a transcriber in a meeting.
    pub fn is_transcriber(&self, jid: &Jid) -> bool {
        self.transcriber_prefixes.iter().any(|p| jid.as_str().starts_with(p.as_str()))
    }

    /// Of a main node.
    pub fn main(&self) -> Option<&MainConfig> {
        match &self.role {
            Role::Main(m) => Some(m),
            Role::VisitorNode(_) => None,
        }
    }

    /// Whether rooms are addressed at this domain: a MUC's, or that of lobbies.
    pub fn has_rooms(&self, domain: &str) -> bool {
        self.muc(domain).is_some() || self.lobby().is_some_and(|l| l.domain == domain)
    }

    /// The service of lobbies.
    pub fn lobby(&self) -> Option<&LobbyConfig> {
        self.main()?.lobby.as_ref()
    }

    /// The room that a lobby is for, or that a lobby's address stands for. `None`: it is no address of a lobby.
    pub(crate) fn room_behind(&self, lobby: &Jid) -> Option<BareJid> {
        self.lobby().filter(|l| l.domain == lobby.domain())?;
        BareJid::new(lobby.local()?, &self.conference_muc()?.domain).ok()
    }

    /// Of a visitor node.
    pub fn node(&self) -> Option<&VisitorNodeConfig> {
        match &self.role {
            Role::Main(_) => None,
            Role::VisitorNode(v) => Some(v),
        }
    }
}

/// Whether a room address is one of the focus' health checks.
pub(crate) fn is_health_room(room: &BareJid) -> bool {
    room.as_str().starts_with("__jicofo-health-check")
}
