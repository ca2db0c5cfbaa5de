//! What a world is made of.

use std::time::Duration;

use amphi_focus::{FocusConfig, VnodeConfig};
use amphi_room::{MainConfig, MucConfig, NodeConfig, Role, VisitorNodeConfig};

/// The conference of the simulated world.
pub(crate) const ROOM: &str = "demo";
/// Milliseconds since 1970 at the beginning.
pub(crate) const EPOCH: u64 = 1_767_225_600_000;
pub(crate) const MAIN_HOST: &str = "meet.example";
pub(crate) const VISITORS: &str = "visitors.meet.example";
pub(crate) const METADATA: &str = "metadata.meet.example";

/// How big a world is, and how its parts are set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seed of everything that is left to chance.
    pub seed: u64,
    /// Visitor nodes.
    pub vnodes: usize,
    /// Clients.
    pub clients: usize,
    /// Seats on stage.
    pub stage: u32,
    /// A raised hand brings its owner on stage without a moderator.
    pub auto_allow: bool,
    /// Joins and leaves per second of a room; more wait.
    pub pace: Option<u32>,
    /// How long a node keeps a broken connection.
    pub hibernation: Duration,
    /// What the focus sends while a connection is broken goes out when it is resumed.
    pub keeps: bool,
    /// Tell what happens.
    pub verbose: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            vnodes: 2,
            clients: 8,
            stage: 3,
            auto_allow: false,
            pace: None,
            hibernation: Duration::from_secs(20),
            keeps: true,
            verbose: false,
        }
    }
}

impl Options {
    /// Node 0 is the main node.
    pub(crate) fn node(&self, i: usize) -> NodeConfig {
        let paced = |m: MucConfig| MucConfig { joins_per_second: self.pace, leaves_per_second: self.pace, ..m };
        if i == 0 {
            return NodeConfig {
                role: Role::Main(MainConfig {
                    visitors: Some(VISITORS.into()),
                    always_visitors_enabled: true,
                    auto_allow_visitor_promotion: self.auto_allow,
                    ..MainConfig::default()
                }),
                host: MAIN_HOST.into(),
                hosts: vec!["auth.meet.example".into()],
                mucs: vec![paced(MucConfig::conference("conference", MAIN_HOST))],
                metadata: Some(METADATA.into()),
                admins: ["focus@auth.meet.example".parse().expect("an address")].into(),
                ..NodeConfig::default()
            };
        }
        let host = format!("v{i}.meet.jitsi");
        NodeConfig {
            role: Role::VisitorNode(VisitorNodeConfig {
                name: format!("v{i}"),
                main_domain: MAIN_HOST.into(),
                main_hosts: Default::default(),
                main_muc: "conference.meet.example".into(),
                main_visitors: VISITORS.into(),
                auto_promoted_with_token: true,
            }),
            hosts: vec!["auth.meet.jitsi".into()],
            mucs: vec![paced(MucConfig::conference("conference", &host))],
            admins: ["focus@auth.meet.jitsi".parse().expect("an address")].into(),
            host,
            ..NodeConfig::default()
        }
    }

    pub(crate) fn focus(&self) -> FocusConfig {
        let mut c = FocusConfig::new(MAIN_HOST);
        c.max_participants = self.stage;
        c.vnodes = (1..=self.vnodes).map(|n| VnodeConfig::new(format!("v{n}"))).collect();
        // Both nodes get visitors.
        c.open_second_node_at = 2;
        c
    }
}
