//! The plan of a deployment: which nodes there are, on which hosts, on which ports. Made from arguments, kept beside the files that
//! come of it, read again by the check.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use amphi_stanza::Jid;
use serde::{Deserialize, Serialize};

use super::ProvisionArgs;

/// What was asked for cannot be planned.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// `--domain` is missing or wrong.
    #[error("--domain {0:?} is not a domain such as meet.example.com")]
    Domain(String),
    /// `--host` or `--public` is not `ROLE=ADDRESS`.
    #[error("{option} {text:?} is not like {example}")]
    Form {
        /// The option.
        option: &'static str,
        /// What was given.
        text: String,
        /// What would be right.
        example: &'static str,
    },
    /// The role is none that there is.
    #[error("{option} {role}: there is no such node; there are {known}")]
    Role {
        /// The option.
        option: &'static str,
        /// The role that was given.
        role: String,
        /// The roles that there are.
        known: String,
    },
    /// A number is out of bounds.
    #[error("{0}")]
    Bound(&'static str),
}

/// A deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Main domain.
    pub domain: String,
    /// First label of conference addresses.
    pub muc_prefix: String,
    /// Seats on stage.
    pub stage: u32,
    /// Host of the TURN server, if there is one.
    pub turn: Option<String>,
    /// Whether it is on the host of the main node, where nginx splits port 443 by name.
    #[serde(default)]
    pub turn_beside: bool,
    /// Main node with front and focus.
    pub main: Place,
    /// Visitor nodes.
    pub visitors: Vec<Place>,
    /// Bridges.
    pub bridges: Vec<Place>,
}

/// One node, its host and its ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// `main`, `v1`, `bridge1`.
    pub name: String,
    /// Address by which other hosts reach it.
    pub address: IpAddr,
    /// Public address of a bridge behind a NAT.
    pub public: Option<IpAddr>,
    /// HTTP: WebSocket, BOSH, conference requests; a bridge has none.
    pub front: u16,
    /// Client streams; a bridge has none.
    pub c2s: u16,
    /// Server streams; a bridge has none.
    pub s2s: u16,
    /// Health and metrics of a node; health, statistics and drain of a bridge. On loopback.
    pub admin: u16,
    /// UDP for media; only a bridge has it.
    pub media: u16,
}

impl Place {
    /// Where other hosts reach a port.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.address, port)
    }
}

impl Plan {
    /// Plans what the arguments ask for.
    pub fn of(args: &ProvisionArgs) -> Result<Self, PlanError> {
        let domain = args.domain.clone().unwrap_or_default();
        let parsed = Jid::parse(&domain).ok().filter(|j| j.local().is_none() && j.resource().is_none());
        let Some(parsed) = parsed.filter(|_| domain.contains('.') || domain == "localhost") else {
            return Err(PlanError::Domain(domain));
        };
        if args.visitors > 99 {
            return Err(PlanError::Bound("--visitors is 99 at most; ports are made from the number of the node"));
        }
        if args.bridges > 99 {
            return Err(PlanError::Bound("--bridges is 99 at most"));
        }
        if args.port_offset > 12_000 {
            return Err(PlanError::Bound("--port-offset is 12000 at most"));
        }
        if args.turn_beside && args.turn.as_deref() == args.domain.as_deref() {
            return Err(PlanError::Bound(
                "--turn needs a name of its own, such as turn.meet.example.com: port 443 is split by it",
            ));
        }
        if args.stage == 0 {
            return Err(PlanError::Bound("--stage is at least 1"));
        }
        let label = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !label(&args.muc_prefix) {
            return Err(PlanError::Bound("--muc-prefix is one label: lower-case letters, digits and hyphens"));
        }
        let visitors: Vec<String> = (1..=args.visitors).map(|n| format!("v{n}")).collect();
        let bridges: Vec<String> = (1..=args.bridges).map(|n| format!("bridge{n}")).collect();
        let hosts = Hosts::read("--host", &args.hosts, &visitors, &bridges)?;
        let public = Hosts::read("--public", &args.public, &[], &bridges)?;
        let offset = args.port_offset;
        let node = |name: &str, n: u16, k: usize, group: &str| Place {
            name: name.to_owned(),
            address: hosts.of(name, group, k).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            public: None,
            front: offset + if n == 0 { 5280 } else { 52_800 + n },
            c2s: offset + if n == 0 { 5222 } else { 52_220 + n },
            s2s: offset + if n == 0 { 5269 } else { 52_690 + n },
            admin: offset + if n == 0 { 8888 } else { 8900 + n },
            media: 0,
        };
        let main = node("main", 0, 0, "main");
        let visitors = (1..).zip(&visitors).map(|(n, name)| node(name, n, usize::from(n) - 1, "visitors")).collect();
        let mut beside: BTreeMap<IpAddr, u16> = BTreeMap::new();
        let bridges = bridges
            .iter()
            .enumerate()
            .map(|(k, name)| {
                let address = hosts.of(name, "bridges", k).unwrap_or(main.address);
                // Ports count on a host, so that the usual port is used wherever there is one bridge.
                let n = beside.entry(address).or_default();
                let own = *n;
                *n += 1;
                Place {
                    name: name.clone(),
                    address,
                    public: public.of(name, "bridges", k),
                    front: 0,
                    c2s: 0,
                    s2s: 0,
                    admin: offset + 8080 + own,
                    media: offset + 10_000 + own,
                }
            })
            .collect();
        Ok(Self {
            domain: parsed.domain().to_owned(),
            muc_prefix: args.muc_prefix.clone(),
            stage: args.stage,
            turn: args.turn.clone(),
            turn_beside: args.turn_beside,
            main,
            visitors,
            bridges,
        })
    }

    /// All nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Place> {
        std::iter::once(&self.main).chain(&self.visitors).chain(&self.bridges)
    }

    /// Nodes by host, in the order of the hosts.
    pub fn hosts(&self) -> BTreeMap<IpAddr, Vec<&Place>> {
        let mut hosts: BTreeMap<IpAddr, Vec<&Place>> = BTreeMap::new();
        for node in self.nodes() {
            hosts.entry(node.address).or_default().push(node);
        }
        hosts
    }

    /// Whether everything is on one host.
    pub fn is_one_host(&self) -> bool {
        self.hosts().len() == 1
    }

    /// Whether the front is for this machine alone, so that nobody asks DNS.
    pub fn is_local(&self) -> bool {
        self.main.address.is_loopback()
    }

    /// Auth host of the main node.
    pub fn auth_domain(&self) -> String {
        format!("auth.{}", self.domain)
    }

    /// Conference service of the main node.
    pub fn muc(&self) -> String {
        format!("{}.{}", self.muc_prefix, self.domain)
    }

    /// Conference service of a visitor node.
    pub fn muc_of(&self, node: &Place) -> String {
        format!("{}.{}.meet.jitsi", self.muc_prefix, node.name)
    }
}

/// `ROLE=ADDRESS[,ADDRESS...]`, by role.
struct Hosts(BTreeMap<String, Vec<IpAddr>>);

impl Hosts {
    fn read(
        option: &'static str,
        texts: &[String],
        visitors: &[String],
        bridges: &[String],
    ) -> Result<Self, PlanError> {
        let example = if option == "--host" { "visitors=10.0.0.11,10.0.0.12" } else { "bridge1=203.0.113.9" };
        let form = |text: &String| PlanError::Form { option, text: text.clone(), example };
        let mut hosts: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
        for text in texts {
            let (role, addresses) = text.split_once('=').ok_or_else(|| form(text))?;
            let group = if option == "--host" { ["main", "visitors", "bridges"].as_slice() } else { &["bridges"] };
            if !group.contains(&role) && !visitors.iter().chain(bridges).any(|n| n == role) {
                let mut known: Vec<&str> = group.to_vec();
                known.extend(visitors.iter().chain(bridges).map(String::as_str));
                return Err(PlanError::Role { option, role: role.to_owned(), known: known.join(", ") });
            }
            for address in addresses.split(',') {
                let address: IpAddr = address.trim().parse().map_err(|_| form(text))?;
                if address.is_unspecified() {
                    return Err(form(text));
                }
                hosts.entry(role.to_owned()).or_default().push(address);
            }
        }
        Ok(Self(hosts))
    }

    /// Address of the `k`th node of a group: its own, or the group's in turn.
    fn of(&self, name: &str, group: &str, k: usize) -> Option<IpAddr> {
        if let Some(own) = self.0.get(name).and_then(|own| own.first()) {
            return Some(*own);
        }
        let all = self.0.get(group).filter(|all| !all.is_empty());
        match all {
            Some(all) => Some(all[k % all.len()]),
            // What nobody placed is beside the main node.
            None => self.0.get("main").and_then(|own| own.first()).copied().filter(|_| group == "visitors"),
        }
    }
}
