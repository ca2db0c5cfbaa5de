//! The second stage at work: reads a [`File`] key by key, fills in what is usual, and collects every mistake. Called by
//! [`Config::check`] only; the scalar values are read in [`super::scalars`], hosts and services in [`super::nodes`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use amphi_signal::journal::Kind;
use amphi_stanza::BareJid;
use secrecy::ExposeSecret as _;

use super::checked::{
    Admin, Certificate, Config, Focus, FocusPlace, Listen, Peer, Roles, Tls, VisitorNode, Visitors, Webhook, WhereNode,
};
use super::error::Mistake;
use super::file::{File, Links};
use super::layers::Places;
use super::nodes::{Node, Usual};
use super::queue::QueueFile;
use super::secret::Password;
use super::visitors::NodeFile;

/// The second stage at work.
pub(super) struct Check<'a> {
    pub(super) file: &'a File,
    pub(super) places: &'a Places,
    pub(super) mistakes: Vec<Mistake>,
}

impl Check<'_> {
    pub(super) fn wrong(&mut self, key: &str, message: impl Into<String>) {
        // An entry that two nodes share is complained about once.
        let mistake = self.places.mistake(key, message);
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    pub(super) fn config(&mut self) -> Option<Config> {
        let file = self.file;
        let domain = self.domain("domain", &file.domain)?;
        let main_domain = match &file.visitors.main_domain {
            Some(name) => self.domain("visitors.main_domain", name)?,
            None => domain.clone(),
        };
        self.label("muc_prefix", &file.muc_prefix);
        if file.stage == 0 {
            self.wrong("stage", "at least one seat is needed");
        }
        self.entries();
        let roles = self.roles();
        let focus_password =
            match self.secret("focus.password", file.focus.password.as_ref(), file.focus.password_file.as_deref()) {
                Some(password) => Password::Given(password),
                None => Password::Kept(file.data_dir.join("passwords").join("focus")),
            };
        let main = roles.main.then(|| {
            Node::check(
                self,
                &Usual {
                    name: "main",
                    domain: &domain,
                    auth_domain: &format!("auth.{domain}"),
                    internal_muc: Some(&format!("internal.auth.{domain}")),
                    muc: &format!("{}.{domain}", file.muc_prefix),
                    main_domain: &main_domain,
                    focus_password: &focus_password,
                },
            )
        });
        let visitors = self.visitors(&roles, &main_domain, &focus_password);
        let focus = self.focus(&roles, &main_domain, focus_password)?;
        let tls = self.tls();
        let listen = self.listen(&roles, &visitors);
        let brewery = if file.bridge.enabled || roles.bridge { self.brewery(&main_domain) } else { None };
        let bridge = if roles.bridge { self.bridge(&roles, &main_domain, &listen) } else { None };
        let mut config = Config {
            roles,
            links: file.links,
            domain,
            muc_prefix: file.muc_prefix.clone(),
            stage: file.stage,
            promotion: file.promotion,
            data_dir: file.data_dir.clone(),
            announced: [file.shard_name.clone(), file.region_name.clone(), file.release_number.clone()],
            shards: self.threads("shards", file.shards),
            hubs: self.threads("hubs", file.hubs),
            listen,
            tls,
            main,
            visitors,
            lobby: file.lobby.enabled.then(|| self.addresses("lobby.whitelist", &file.lobby.whitelist)),
            queue: self.queue(),
            focus,
            media: self.media(),
            brewery,
            bridge,
            services: self.services(),
            web: self.web(),
            admin: self.admin(),
            limits: file.limits.clone(),
            log: file.log.clone(),
            metrics: file.metrics.clone(),
        };
        self.peers(&mut config);
        self.addresses_differ(&config);
        self.log_level(&file.log.level);
        Some(config)
    }

    /// `info,amphi_signal=debug`: one level for everything, others for targets.
    fn log_level(&mut self, text: &str) {
        for part in text.split(',') {
            let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim();
            if level.parse::<tracing_subscriber::filter::LevelFilter>().is_err() {
                self.wrong("log.level", format!("{level:?} is none of off, error, warn, info, debug and trace"));
            }
        }
    }

    /// Names that `[[hosts]]`, `[[mucs]]` and `[[visitors.nodes]]` share.
    fn entries(&mut self) {
        let file = self.file;
        let known: BTreeSet<&str> = file.visitors.nodes.iter().map(|n| n.name.as_str()).chain(["main"]).collect();
        let mut seen = BTreeSet::new();
        let entries = file.hosts.iter().enumerate().map(|(n, h)| (format!("hosts[{n}]"), &h.name, h.node.as_deref()));
        let mucs = file.mucs.iter().enumerate().map(|(n, m)| (format!("mucs[{n}]"), &m.name, m.node.as_deref()));
        for (key, name, node) in entries.chain(mucs) {
            if name.is_empty() {
                self.wrong(&key, "name is missing");
            } else if !seen.insert((name, node)) {
                self.wrong(&format!("{key}.name"), format!("{name} is there twice"));
            }
            if let Some(node) = node.filter(|node| !known.contains(node)) {
                self.wrong(&format!("{key}.node"), format!("there is no node {node}"));
            }
        }
        let mut names = BTreeSet::new();
        for (n, node) in file.visitors.nodes.iter().enumerate() {
            let key = format!("visitors.nodes[{n}].name");
            if !names.insert(&node.name) {
                self.wrong(&key, format!("{} is there twice", node.name));
            } else if matches!(node.name.as_str(), "all" | "main" | "front" | "focus" | "bridge" | "visitors") {
                self.wrong(&key, format!("{} is the name of a role", node.name));
            } else {
                self.label(&key, &node.name);
            }
        }
    }

    fn roles(&mut self) -> Roles {
        let file = self.file;
        let mut roles = Roles::default();
        let mut nodes = BTreeSet::new();
        let local = || file.visitors.nodes.iter().filter(|n| n.s2s.is_none()).map(|n| n.name.clone());
        for (n, role) in file.roles.iter().enumerate() {
            match role.as_str() {
                "all" => {
                    (roles.main, roles.front, roles.focus, roles.bridge) = (true, true, true, file.bridge.enabled);
                    nodes.extend(local());
                }
                "main" => roles.main = true,
                "front" => roles.front = true,
                "focus" => roles.focus = true,
                "bridge" => roles.bridge = true,
                "visitors" => nodes.extend(local()),
                name if file.visitors.nodes.iter().any(|node| node.name == name) => {
                    nodes.insert(name.to_owned());
                }
                name => self.wrong(
                    &format!("roles[{n}]"),
                    format!("{name:?} is neither a role (all, main, front, focus, bridge, visitors) nor a node of [visitors]"),
                ),
            }
        }
        if file.visitors.enabled {
            roles.nodes = nodes.into_iter().collect();
        }
        if file.roles.is_empty() || roles == Roles::default() {
            self.wrong("roles", "this process would do nothing");
        }
        if roles.front && !roles.main {
            self.wrong("roles", "front needs main in the same process");
        }
        roles
    }

    fn visitors(&mut self, roles: &Roles, main_domain: &str, focus_password: &Password) -> Visitors {
        let file = self.file;
        let said = &file.visitors;
        let alone = roles.nodes.len() == 1 && !roles.main;
        let mut nodes = Vec::new();
        for (n, node) in said.nodes.iter().enumerate().filter(|_| said.enabled) {
            let key = format!("visitors.nodes[{n}]");
            let domain = format!("{}.meet.jitsi", node.name);
            let muc = format!("{}.{domain}", file.muc_prefix);
            let place = if roles.nodes.contains(&node.name) {
                let usual = Usual {
                    name: &node.name,
                    domain: &domain,
                    auth_domain: "auth.meet.jitsi",
                    internal_muc: None,
                    muc: &muc,
                    main_domain,
                    focus_password,
                };
                let plan = Box::new(Node::check(self, &usual));
                let (listen_c2s, listen_s2s) = self.node_listens(&key, node, alone);
                WhereNode::Here { node: plan, listen_c2s, listen_s2s }
            } else if roles.main || roles.focus {
                match self.node_elsewhere(&key, node, roles) {
                    Some(place) => place,
                    None => continue,
                }
            } else {
                // A process of visitor nodes alone has nothing to do with other nodes.
                continue;
            };
            nodes.push(VisitorNode { name: node.name.clone(), domain, muc, capacity: node.capacity, place });
        }
        Visitors {
            enabled: said.enabled,
            main_domain: main_domain.to_owned(),
            nodes,
            ignore_list: self.domains("visitors.ignore_list", &said.ignore_list),
            auto_promote_with_token: said.auto_promote_with_token,
        }
    }

    fn node_listens(&mut self, key: &str, node: &NodeFile, alone: bool) -> (Option<SocketAddr>, Option<SocketAddr>) {
        let listen = &self.file.listen;
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let c2s = match (&node.listen_c2s, alone) {
            (Some(text), _) => self.address(&format!("{key}.listen_c2s"), text),
            (None, true) => self.address("listen.c2s", &listen.c2s),
            (None, false) => None,
        };
        let s2s = match (&node.listen_s2s, alone) {
            (Some(text), _) => self.address(&format!("{key}.listen_s2s"), text),
            (None, true) => self.address("listen.s2s", &listen.s2s),
            (None, false) => (self.file.links == Links::S2s).then_some(free),
        };
        (c2s, s2s)
    }

    fn node_elsewhere(&mut self, key: &str, node: &NodeFile, roles: &Roles) -> Option<WhereNode> {
        let Some(s2s) = &node.s2s else {
            self.wrong(key, format!("node {} is not run by this process, so its s2s address is needed", node.name));
            return None;
        };
        let address = self.host_port(&format!("{key}.s2s"), s2s)?;
        let fingerprint = self.fingerprint(&format!("{key}.fingerprint"), node.fingerprint.as_deref());
        let front = node.front.as_ref().and_then(|text| self.host_port(&format!("{key}.front"), text));
        let c2s = node.c2s.as_ref().and_then(|text| self.host_port(&format!("{key}.c2s"), text));
        let c2s_fingerprint = self.fingerprint(&format!("{key}.c2s_fingerprint"), node.c2s_fingerprint.as_deref());
        if roles.front && node.front.is_none() {
            self.wrong(key, format!("node {} is elsewhere, so the front needs its front address", node.name));
        }
        if roles.focus && node.c2s.is_none() {
            self.wrong(key, format!("node {} is elsewhere, so the focus needs its c2s address", node.name));
        }
        Some(WhereNode::Elsewhere { front, s2s: Peer { address, fingerprint }, c2s, c2s_fingerprint })
    }

    fn focus(&mut self, roles: &Roles, main_domain: &str, password: Password) -> Option<Focus> {
        let said = &self.file.focus;
        let Ok(jid) = BareJid::new(&said.user, &format!("auth.{main_domain}")) else {
            self.wrong("focus.user", format!("{:?} is not a local part", said.user));
            return None;
        };
        let fingerprint = self.fingerprint("focus.main_fingerprint", said.main_fingerprint.as_deref());
        let main_c2s = said.main_c2s.as_ref().and_then(|text| self.host_port("focus.main_c2s", text));
        let main_c2s = main_c2s.map(|address| Peer { address, fingerprint });
        if roles.focus && !roles.main && said.main_c2s.is_none() {
            self.wrong("focus.main_c2s", "is needed: this process runs the focus and not the main node");
        }
        if roles.focus && said.http.is_some() {
            self.wrong("focus.http", "contradicts roles: the focus is in this process");
        }
        let http = said.http.as_ref().and_then(|url| self.url("focus.http", url));
        if said.link_nodes_at > 100 {
            self.wrong("focus.link_nodes_at", "is a percentage, so 100 at most");
        }
        if said.max_visitors_per_node == 0 {
            self.wrong(
                "focus.max_visitors_per_node",
                "at least one; to have no audience, set visitors.enabled = false",
            );
        }
        let login_domain = match &said.login_domain {
            Some(name) => self.domain("focus.login_domain", name)?,
            None => main_domain.to_owned(),
        };
        Some(Focus {
            jid,
            user: said.user.clone(),
            password,
            place: if roles.focus { FocusPlace::Here { main_c2s } } else { FocusPlace::Elsewhere { http } },
            max_visitors_per_node: said.max_visitors_per_node,
            open_node_at: said.open_node_at,
            link_nodes_at: said.link_nodes_at,
            notification_interval: said.notification_interval.0,
            vnode_join_latency: said.vnode_join_latency.0,
            require_muc_config_flag: said.require_muc_config_flag,
            live: said.live,
            initial_timeout: said.initial_timeout.0,
            auto_owner: said.auto_owner,
            authentication: said.authentication,
            login_domain,
            authentication_lifetime: said.authentication_lifetime.0,
            seat_timeout: said.seat_timeout.0,
            return_hold: said.return_hold.0,
            stage_memory: said.stage_memory.0,
            vnode_lost_after: said.vnode_lost_after.0,
            reply_timeout: said.reply_timeout.0,
            trusted_domains: self.domains("focus.trusted_domains", &said.trusted_domains),
        })
    }

    fn admin(&mut self) -> Admin {
        let said = self.file.admin.clone();
        let token = match self.secret("admin.token", said.token.as_ref(), said.token_file.as_deref()) {
            Some(token) => {
                if token.expose_secret().len() < 16 {
                    self.wrong("admin.token", "is too easy to guess: 16 characters at least");
                }
                Password::Given(token)
            }
            None => Password::Kept(self.file.data_dir.join("admin-token")),
        };
        for (key, n) in [("streams", said.streams), ("webhook_attempts", said.webhook_attempts)] {
            if n == 0 {
                self.wrong(&format!("admin.{key}"), "at least one");
            }
        }
        let mut webhooks = Vec::new();
        for (n, hook) in said.webhooks.iter().enumerate() {
            let key = |name: &str| format!("admin.webhooks[{n}].{name}");
            let url = self.url(&key("url"), &hook.url);
            let secret = self.secret(&key("secret"), hook.secret.as_ref(), hook.secret_file.as_deref());
            let mut events = Vec::new();
            for (i, name) in hook.events.iter().enumerate() {
                match Kind::parse(name) {
                    Some(kind) => events.push(kind),
                    None => self.wrong(
                        &format!("{}[{i}]", key("events")),
                        format!("{name:?} is none of {}", Kind::ALL.map(Kind::as_str).join(", ")),
                    ),
                }
            }
            match (url, secret) {
                (Some(url), Some(secret)) => webhooks.push(Webhook { url, secret, events }),
                (Some(_), None) if hook.secret_file.is_none() => {
                    self.wrong(&key("secret"), "is missing: a receiver could not tell our events from anybody's");
                }
                _ => {}
            }
        }
        Admin { said, token, webhooks }
    }

    fn queue(&mut self) -> QueueFile {
        let said = self.file.queue.clone();
        if said.joins_per_second == 0 {
            self.wrong("queue.joins_per_second", "at least one");
        }
        if said.min_delay.0 > said.max_delay.0 {
            self.wrong("queue.min_delay", "is more than queue.max_delay");
        }
        if said.frame_size.0 < 1024 {
            self.wrong("queue.frame_size", "at least 1KiB");
        }
        match &said.service {
            Some(url) if url.starts_with("https://") => {
                self.wrong("queue.service", "only http:// is spoken; put a proxy in between");
            }
            Some(url) => {
                self.url("queue.service", url);
            }
            None if said.service_key_file.is_some() => self.wrong("queue.service_key_file", "needs queue.service too"),
            None => {}
        }
        if let Some(path) = &said.service_key_file {
            self.read("queue.service_key_file", path);
        }
        said
    }

    fn tls(&mut self) -> Tls {
        let said = &self.file.tls;
        let certificate = match (&said.certificate, &said.key) {
            (Some(chain), Some(key)) => {
                self.read("tls.certificate", chain);
                self.read("tls.key", key);
                Certificate::Files { chain: chain.clone(), key: key.clone() }
            }
            (None, None) => Certificate::SelfSigned(self.file.data_dir.join("tls")),
            (Some(_), None) => {
                self.wrong("tls.certificate", "needs tls.key too");
                Certificate::SelfSigned(PathBuf::new())
            }
            (None, Some(_)) => {
                self.wrong("tls.key", "needs tls.certificate too");
                Certificate::SelfSigned(PathBuf::new())
            }
        };
        Tls { certificate, front: said.front, acme: self.acme() }
    }

    fn listen(&mut self, roles: &Roles, visitors: &Visitors) -> Listen {
        let file = self.file;
        let said = &file.listen;
        let signaling = roles.main || !roles.nodes.is_empty();
        let elsewhere = visitors.nodes.iter().any(|n| matches!(n.place, WhereNode::Elsewhere { .. }));
        let open = !file.visitors.whitelist.is_empty() || elsewhere || file.links == Links::S2s;
        let front = self.address("listen.front", &said.front).filter(|_| signaling);
        let c2s = self.address("listen.c2s", &said.c2s).filter(|_| roles.main);
        let s2s = self.address("listen.s2s", &said.s2s).filter(|_| roles.main && open);
        let admin = self.address("listen.admin", &said.admin);
        let public_url = said.public_url.as_ref().and_then(|url| self.url("listen.public_url", url));
        let secure_interfaces = self.ip_addresses("listen.secure_interfaces", &said.secure_interfaces);
        let trusted_proxies = self.ip_addresses("listen.trusted_proxies", &said.trusted_proxies);
        Listen {
            front,
            c2s,
            s2s,
            admin,
            secure_interfaces,
            public_url,
            trusted_proxies,
            region_header: said.region_header.clone(),
            cors_origins: said.cors_origins.clone(),
        }
    }

    /// Fills in which servers each node of this process may speak with, and where they are.
    fn peers(&mut self, config: &mut Config) {
        let file = self.file;
        let mut overrides = BTreeMap::new();
        for (name, text) in &file.visitors.overrides {
            let key = format!("visitors.overrides.{name}");
            if let (Some(name), Some(peer)) = (self.domain(&key, name), self.override_of(&key, text)) {
                overrides.insert(name, peer);
            }
        }
        let whitelist = self.domains("visitors.whitelist", &file.visitors.whitelist);
        let main_domain = config.visitors.main_domain.clone();
        let muc_prefix = &config.muc_prefix;
        // `spec/signaling.md` 4.14: which hosts of each side speak over a link.
        let of_main: Vec<String> = [
            main_domain.clone(),
            format!("{muc_prefix}.{main_domain}"),
            format!("visitors.{main_domain}"),
            format!("polls.{main_domain}"),
        ]
        .into_iter()
        .chain(config.main.iter().flat_map(|node| node.hosts.iter().map(|h| h.name.clone())))
        .collect();
        let mut of_nodes = Vec::new();
        for node in &config.visitors.nodes {
            let hosts = [node.muc.clone(), node.domain.clone(), format!("polls.{}", node.domain)];
            if let WhereNode::Elsewhere { s2s, .. } = &node.place {
                for host in &hosts {
                    overrides.entry(host.clone()).or_insert_with(|| s2s.clone());
                }
            }
            of_nodes.extend(hosts);
        }
        if !config.roles.main && !config.roles.nodes.is_empty() {
            let fingerprint = self.fingerprint("visitors.main_fingerprint", file.visitors.main_fingerprint.as_deref());
            match &file.visitors.main_s2s {
                Some(text) => {
                    if let Some(address) = self.host_port("visitors.main_s2s", text) {
                        let peer = Peer { address, fingerprint };
                        for host in &of_main {
                            overrides.entry(host.clone()).or_insert_with(|| peer.clone());
                        }
                    }
                }
                None if overrides.contains_key(&main_domain) => {}
                None => {
                    self.wrong("visitors.main_s2s", "is needed: this process runs a visitor node and not the main node")
                }
            }
        }
        if let Some(main) = &mut config.main {
            main.whitelist = merged(&of_nodes, &whitelist);
            main.peers = overrides.clone();
        }
        for node in &mut config.visitors.nodes {
            if let WhereNode::Here { node, .. } = &mut node.place {
                node.whitelist = merged(&of_main, &whitelist);
                node.peers = overrides.clone();
            }
        }
    }

    fn addresses_differ(&mut self, config: &Config) {
        let listen = &config.listen;
        let mut all = vec![
            ("listen.front".to_owned(), listen.front),
            ("listen.c2s".to_owned(), listen.c2s),
            ("listen.s2s".to_owned(), listen.s2s),
            ("listen.admin".to_owned(), listen.admin),
        ];
        for node in &config.visitors.nodes {
            if let WhereNode::Here { listen_c2s, listen_s2s, .. } = &node.place {
                all.push((format!("node {} c2s", node.name), *listen_c2s));
                all.push((format!("node {} s2s", node.name), *listen_s2s));
            }
        }
        if let Some(bridge) = &config.bridge {
            all.push(("bridge.listen".to_owned(), bridge.listen));
            all.push(("bridge.web_socket_listen".to_owned(), bridge.web_socket_listen));
        }
        let mut taken: BTreeMap<u16, (String, IpAddr)> = BTreeMap::new();
        for (key, address) in all {
            let Some(address) = address.filter(|a| a.port() != 0) else { continue };
            if let Some((other, ip)) = taken.get(&address.port())
                && (*ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified())
            {
                self.wrong(&key, format!("{address} is taken by {other}"));
            }
            taken.insert(address.port(), (key, address.ip()));
        }
    }
}

fn merged(a: &[String], b: &[String]) -> Vec<String> {
    a.iter().chain(b).cloned().collect::<BTreeSet<_>>().into_iter().collect()
}
