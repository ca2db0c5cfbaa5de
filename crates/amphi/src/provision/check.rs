//! `amphi provision --check`: looks at a running deployment as its users and its own nodes do, and says in words what is wrong and how
//! to mend it. Disturbs nobody: logins end before they take an address, and the meeting it holds has a name of its own.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use rand::Rng as _;
use serde_json::{Value, json};

use super::plan::{Place, Plan};
use super::probe::{self, Person};
use super::secrets;

/// What was found.
#[derive(Default)]
pub(super) struct Findings {
    fine: usize,
    wrong: usize,
}

impl Findings {
    pub(super) fn fine(&mut self, what: impl AsRef<str>) {
        println!("ok     {}", what.as_ref());
        self.fine += 1;
    }

    pub(super) fn wrong(&mut self, what: impl AsRef<str>, fix: impl AsRef<str>) {
        println!("WRONG  {}\n       fix: {}", what.as_ref(), fix.as_ref());
        self.wrong += 1;
    }

    pub(super) fn note(&self, what: impl AsRef<str>) {
        println!("note   {}", what.as_ref());
    }
}

/// Checks everything; whether all is well.
pub(super) async fn run(plan: &Plan, out: &Path) -> bool {
    let mut check = Check { plan, out, found: Findings::default() };
    check.files();
    let door = check.outside().await;
    let mut serving = Vec::new();
    for node in std::iter::once(&plan.main).chain(&plan.visitors) {
        if check.node(node).await {
            serving.push(node.name.as_str());
        }
    }
    if serving.contains(&"main") {
        check.links(&serving).await;
        check.bridges().await;
        check.meeting(&serving).await;
        if let Some(door) = door {
            check.proxied(&door, &serving).await;
        }
    } else {
        check.found.note("the main node does not serve, so links, bridges and a meeting were not tried");
    }
    check.turn().await;
    check.turn_over_tls().await;
    let Findings { fine, wrong } = check.found;
    println!("{fine} checks fine, {wrong} wrong.");
    wrong == 0
}

pub(super) struct Check<'a> {
    pub(super) plan: &'a Plan,
    out: &'a Path,
    pub(super) found: Findings,
}

impl Check<'_> {
    pub(super) fn folder(&self, node: &str) -> PathBuf {
        self.out.join("nodes").join(node)
    }

    fn reach(&self, node: &Place, port: u16) -> SocketAddr {
        if self.plan.is_one_host() { SocketAddr::from((Ipv4Addr::LOCALHOST, port)) } else { node.at(port) }
    }

    /// The front of the main node listens on loopback, behind the proxy.
    fn front(&self, node: &Place) -> SocketAddr {
        if node.name == "main" {
            SocketAddr::from((Ipv4Addr::LOCALHOST, node.front))
        } else {
            self.reach(node, node.front)
        }
    }

    pub(super) fn password(&self, node: &str, name: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.folder(node).join(format!("{name}.password"))).ok()?;
        Some(text.trim_end().to_owned())
    }

    fn certificate(&self, node: &str) -> Option<String> {
        secrets::fingerprint(&self.folder(node).join("tls/certificate.pem")).ok()
    }

    pub(super) fn config(&self, node: &str) -> Option<toml::Table> {
        toml::from_str(&std::fs::read_to_string(self.folder(node).join("amphi.toml")).ok()?).ok()
    }

    // ---- what lies in the folder -------------------------------------------------------------------------------------

    /// Files that contradict each other would fail later, in a way that is harder to read.
    fn files(&mut self) {
        let before = self.found.wrong;
        let again = "provision again with the arguments of before, then install.sh on the host";
        for node in self.plan.nodes() {
            if self.config(&node.name).is_none() {
                let path = self.folder(&node.name).join("amphi.toml");
                self.found.wrong(format!("{} is missing or is not TOML", path.display()), again);
            }
        }
        let pins = self.config("main").unwrap_or_default();
        let pins = pins.get("visitors").and_then(|v| v.get("nodes")).and_then(toml::Value::as_array).cloned();
        for node in &self.plan.visitors {
            let entry =
                pins.iter().flatten().find(|n| n.get("name").and_then(toml::Value::as_str) == Some(&*node.name));
            match entry {
                None => self.found.wrong(format!("nodes/main/amphi.toml has no visitor node {}", node.name), again),
                Some(entry) => {
                    let pinned = entry.get("fingerprint").and_then(toml::Value::as_str);
                    if pinned != self.certificate(&node.name).as_deref() {
                        let what = format!(
                            "the main node pins another certificate for {name} than nodes/{name}/tls has",
                            name = node.name
                        );
                        self.found.wrong(what, again);
                    }
                    let pinned = entry.get("c2s_fingerprint").and_then(toml::Value::as_str);
                    self.login_pin("the focus", &node.name, pinned);
                }
            }
            let own = self.config(&node.name).unwrap_or_default();
            let pinned = own.get("visitors").and_then(|v| v.get("main_fingerprint")).and_then(toml::Value::as_str);
            if pinned != self.certificate("main").as_deref() {
                self.found.wrong(
                    format!("{} pins another certificate for the main node than nodes/main/tls has", node.name),
                    again,
                );
            }
            if self.password(&node.name, "focus") != self.password("main", "focus") {
                self.found.wrong(format!("{} has another focus.password than the main node", node.name), again);
            }
        }
        for bridge in &self.plan.bridges {
            let own = self.config(&bridge.name).unwrap_or_default();
            let pinned = own.get("bridge").and_then(|b| b.get("main_fingerprint")).and_then(toml::Value::as_str);
            self.login_pin(&bridge.name, "main", pinned);
            if self.password(&bridge.name, "jvb") != self.password("main", "jvb") {
                self.found.wrong(format!("{} has another jvb.password than the main node", bridge.name), again);
            }
        }
        if self.found.wrong == before {
            self.found.fine("the files of all nodes fit together");
        }
    }

    /// What somebody pins who logs in at a node.
    fn login_pin(&mut self, who: &str, node: &str, pinned: Option<&str>) {
        let again = "provision again with the arguments of before, then install.sh on the host";
        match pinned {
            None => self.found.wrong(
                format!("{who} logs in at {node} and pins no certificate, so somebody in between could take its password"),
                again,
            ),
            Some(pinned) if Some(pinned) != self.certificate(node).as_deref() => self.found.wrong(
                format!("{who} pins another certificate for its login at {node} than nodes/{node}/tls has, so it does not log in"),
                again,
            ),
            Some(_) => {}
        }
    }

    // ---- one node ----------------------------------------------------------------------------------------------------

    /// Health, the certificate of its links, the focus' login. Whether it serves.
    async fn node(&mut self, node: &Place) -> bool {
        let name = &node.name;
        let front = self.front(node);
        let start = format!(
            "on {}: systemctl status amphi@{name}; journalctl -u amphi@{name} tells why it does not run",
            node.address
        );
        match probe::http(front, "GET", "/about/health", "").await {
            Ok((200, _)) => {
                self.found.fine(format!("{name} is healthy at {front}"));
                self.clock(node, front).await;
            }
            Ok((status, why)) => {
                self.found.wrong(format!("{name} says it is ill ({status}): {}", why.trim()), start);
                return false;
            }
            Err(e) => {
                let fix = if node.address == self.plan.main.address {
                    start
                } else {
                    format!("{start}; if it runs, let {} reach TCP {}", self.plan.main.address, node.front)
                };
                self.found.wrong(format!("{name}: {e:#}"), fix);
                return false;
            }
        }
        self.server_streams(node).await;
        let is_main = name == "main";
        let auth = if is_main { self.plan.auth_domain() } else { "auth.meet.jitsi".to_owned() };
        self.login_certificate(node, &auth).await;
        self.login(node, &auth, "focus").await;
        if is_main && !self.plan.bridges.is_empty() {
            self.login(node, &auth, "jvb").await;
        }
        true
    }

    async fn server_streams(&mut self, node: &Place) {
        let name = &node.name;
        let plan = self.plan;
        let (from, to) = if name == "main" {
            let Some(first) = plan.visitors.first() else { return };
            (plan.muc_of(first), plan.domain.clone())
        } else {
            (plan.muc(), format!("{name}.meet.jitsi"))
        };
        let at = self.reach(node, node.s2s);
        let refused = |why: &str| {
            (
                format!("{name} refuses links from {from} ({why}): the domain is not on its list"),
                format!(
                    "at {name} `domain` must be {}, `muc_prefix` {}, and [visitors] as planned; for Prosody add {from} to s2s_whitelist",
                    plan.domain, plan.muc_prefix
                ),
            )
        };
        match probe::server_stream(at, &from, &to).await {
            Err(e) if format!("{e:#}").contains("policy-violation") => {
                let (what, fix) = refused("policy-violation");
                self.found.wrong(what, fix);
            }
            Err(e) => self.found.wrong(
                format!("links with {name}: {e:#}"),
                format!(
                    "listen.s2s of {name} must be on port {}, and firewalls must let the other nodes in there",
                    node.s2s
                ),
            ),
            Ok(stream) => {
                if let Some(why) = stream.refused {
                    let (what, fix) = refused(&why);
                    self.found.wrong(what, fix);
                }
                if Some(&stream.fingerprint) == self.certificate(name).as_ref() {
                    self.found.fine(format!("{name} shows the certificate that its peers pin"));
                } else {
                    self.found.wrong(
                        format!("{name} shows the certificate {}, and its peers pin another", stream.fingerprint),
                        format!("copy nodes/{name}/tls to the host of {name} and restart it, or provision again with secrets/{name}.pem and .key replaced by the files it uses"),
                    );
                }
            }
        }
    }

    /// The certificate where focus and bridges log in is the one that they pin.
    async fn login_certificate(&mut self, node: &Place, domain: &str) {
        let name = &node.name;
        // What cannot be reached is told by the login.
        let Ok(shown) = probe::login_certificate(self.login_at(node), domain).await else { return };
        if Some(&shown) == self.certificate(name).as_ref() {
            return self.found.fine(format!("{name} shows logins the certificate that they pin"));
        }
        let who = match (name.as_str(), self.plan.bridges.is_empty()) {
            ("main", false) => "bridges",
            ("main", true) => return,
            _ => "the focus",
        };
        self.found.wrong(
            format!("{name} shows logins the certificate {shown}, which {who} did not pin, so no login is made"),
            format!("copy nodes/{name}/tls to the host of {name} and restart it; if {name} shows the right one on its own host, somebody is in between"),
        );
    }

    fn login_at(&self, node: &Place) -> SocketAddr {
        let at = self.reach(node, node.c2s);
        if node.name == "main" { SocketAddr::from((Ipv4Addr::LOCALHOST, at.port())) } else { at }
    }

    async fn login(&mut self, node: &Place, domain: &str, user: &str) {
        let Some(password) = self.password("main", user) else {
            return self.found.wrong(
                format!("nodes/main/{user}.password cannot be read"),
                "provision again, or run the check as the owner of the folder",
            );
        };
        match probe::login(self.login_at(node), domain, user, &password).await {
            Ok(()) => self.found.fine(format!("{user} may log in at {}", node.name)),
            Err(e) => self.found.wrong(
                format!("{user} cannot log in at {}: {e:#}", node.name),
                format!(
                    "{user}.password of {} must be the one of nodes/main, and TCP {} must be open to the main node",
                    node.name, node.c2s
                ),
            ),
        }
    }

    // ---- together ----------------------------------------------------------------------------------------------------

    async fn links(&mut self, serving: &[&str]) {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, self.plan.main.admin));
        let text = match probe::http(at, "GET", "/metrics", "").await {
            Ok((200, text)) => text,
            _ => return self.found.note(format!("metrics of the main node are not to be had at {at}, so its links were not looked at; run this on its host")),
        };
        let mut up: BTreeMap<&str, bool> = BTreeMap::new();
        for line in text.lines().filter(|l| l.starts_with("amphi_links{")) {
            let remote = line.split("remote=\"").nth(1).and_then(|r| r.split('"').next()).unwrap_or_default();
            let value = line.rsplit(' ').next().unwrap_or_default();
            if let Some(node) = self.plan.visitors.iter().find(|n| remote.ends_with(&format!("{}.meet.jitsi", n.name)))
            {
                *up.entry(&node.name).or_default() |= value == "1";
            }
        }
        for node in self.plan.visitors.iter().filter(|n| serving.contains(&n.name.as_str())) {
            if up.get(node.name.as_str()) == Some(&true) {
                self.found.fine(format!("the link between main and {} is up", node.name));
            } else {
                self.found.wrong(
                    format!("the link between main and {} is down", node.name),
                    format!("the two must pin each other's certificates and reach each other on TCP {} and {}; journalctl -u amphi@main names the reason", self.plan.main.s2s, node.s2s),
                );
            }
        }
    }

    async fn bridges(&mut self) {
        if self.plan.bridges.is_empty() {
            return self.found.note("no bridges are planned: people see and hear nothing unless others log in");
        }
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, self.plan.main.admin));
        let answer = probe::http(at, "GET", "/bridges", "").await;
        let text = match answer {
            Ok((200, text)) => text,
            Ok((status, why)) => {
                return self.found.wrong(
                    format!("the focus does not tell its bridges ({status}): {}", why.trim()),
                    "roles of the main node must have \"focus\"",
                );
            }
            Err(e) => {
                return self.found.wrong(
                    format!("the operators' address of the main node: {e:#}"),
                    "run the check on the host of the main node",
                );
            }
        };
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let known = answer["bridges"].as_array().cloned().unwrap_or_default();
        let mut there = Vec::new();
        for bridge in &self.plan.bridges {
            let name = &bridge.name;
            let entry = known.iter().find(|b| b["name"].as_str() == Some(name));
            let Some(entry) = entry else {
                let why = self.bridge_alone(bridge).await;
                self.found.wrong(
                    format!("the focus does not see {name} in the brewery{why}"),
                    format!("on {}: systemctl status amphi@{name}; its jvb.password must be the one of nodes/main, and it must reach TCP {} of {}", bridge.address, self.plan.main.c2s, self.plan.main.address),
                );
                continue;
            };
            if entry["operational"] == false {
                self.found.wrong(
                    format!("{name} is in the brewery and says it is ill"),
                    format!("on {}: curl http://127.0.0.1:{}/about/health tells why", bridge.address, bridge.admin),
                );
            } else if entry["draining"] == true {
                self.found.note(format!("{name} drains: the focus places nobody new there"));
                self.found.fine(format!("{name} is in the brewery"));
            } else {
                self.found.fine(format!("{name} is in the brewery"));
                there.push(bridge);
            }
        }
        self.media(&there).await;
    }

    /// What a bridge that is not in the brewery says itself, where it can be asked.
    async fn bridge_alone(&self, bridge: &Place) -> &'static str {
        if bridge.address != self.plan.main.address {
            return "";
        }
        match probe::http(SocketAddr::from((Ipv4Addr::LOCALHOST, bridge.admin)), "GET", "/about/health", "").await {
            Ok(_) => {
                "; it runs, so it cannot log in (its log names the reason: a password, or a certificate that it does not pin)"
            }
            Err(_) => "; it does not run",
        }
    }

    /// Somebody on stage, somebody in the audience, and a stream with every node, all by way of the front.
    async fn meeting(&mut self, serving: &[&str]) {
        let plan = self.plan;
        let front = self.front(&plan.main);
        let room = format!("amphi-check-{:08x}", rand::rng().random::<u32>());
        let on_stage = match self.seat(front, &room, false).await {
            Ok(None) => match Person::come(front, &plan.domain, &room, None).await {
                Ok(mut person) => match person.join(&format!("{room}@{}", plan.muc())).await {
                    Ok(()) => {
                        self.found.fine("somebody joined a meeting on stage");
                        Some(person)
                    }
                    Err(e) => {
                        self.found.wrong(
                            format!("joining on stage: {e:#}"),
                            "muc_prefix must be the same everywhere; the log of amphi@main tells more",
                        );
                        None
                    }
                },
                Err(e) => return self.stream_failed("main", &e),
            },
            Ok(Some(vnode)) => {
                self.found.wrong(
                    format!("the first person of a meeting was sent to the audience on {vnode}"),
                    "`stage` of the main node leaves no seat",
                );
                None
            }
            Err(e) => {
                return self.found.wrong(
                    format!("a conference request: {e:#}"),
                    "roles of the main node must have \"focus\", or focus.http must name a Jicofo that runs",
                );
            }
        };
        let mut tried = None;
        if !plan.visitors.is_empty() && on_stage.is_some() {
            match self.seat(front, &room, true).await {
                Ok(Some(vnode)) => {
                    match Person::come(front, &format!("{vnode}.meet.jitsi"), &room, Some(&vnode)).await {
                        Ok(mut person) => {
                            match person.join(&format!("{room}@{}.{vnode}.meet.jitsi", plan.muc_prefix)).await {
                                Ok(()) => self.found.fine(format!("somebody joined the audience on {vnode}")),
                                Err(e) => self.found.wrong(format!("joining the audience on {vnode}: {e:#}"), format!("muc_prefix of {vnode} must be the one of the main node, and its link must be up")),
                            }
                            person.leave().await;
                        }
                        Err(e) => self.stream_failed(&vnode, &e),
                    }
                    tried = Some(vnode);
                }
                Ok(None) => self.found.wrong(
                    "somebody who asked for the audience was sent on stage",
                    "the focus is connected with no visitor node: focus.password and TCP to their c2s ports",
                ),
                Err(e) => self
                    .found
                    .wrong(format!("a conference request of a visitor: {e:#}"), "the log of amphi@main tells more"),
            }
        }
        for node in
            plan.visitors.iter().filter(|n| serving.contains(&n.name.as_str()) && tried.as_deref() != Some(&n.name))
        {
            match Person::come(front, &format!("{}.meet.jitsi", node.name), &room, Some(&node.name)).await {
                Ok(person) => {
                    self.found.fine(format!("streams reach {} through the front", node.name));
                    person.leave().await;
                }
                Err(e) => self.stream_failed(&node.name, &e),
            }
        }
        if let Some(person) = on_stage {
            person.leave().await;
        }
    }

    fn stream_failed(&mut self, node: &str, e: &anyhow::Error) {
        let text = format!("{e:#}");
        if text.contains("cannot be tried") {
            return self.found.note(text);
        }
        self.found.wrong(
            format!("a stream with {node} through the front: {text}"),
            format!("`front` of {node} at the main node must be where {node} listens, and a proxy must pass ?vnode={node} and upgrades on"),
        );
    }

    /// Asks the focus for a seat: `None` is the stage, else a visitor node.
    async fn seat(&self, front: SocketAddr, room: &str, visitor: bool) -> anyhow::Result<Option<String>> {
        let body = json!({
            "room": format!("{room}@{}", self.plan.muc()),
            "machineUid": format!("{room}-{visitor}"),
            "properties": { "visitors-version": 1, "visitor": visitor },
        });
        for _ in 0..10 {
            let (status, text) = probe::http(front, "POST", "/conference-request/v1", &body.to_string()).await?;
            if status != 200 {
                anyhow::bail!("{front} answers {status}: {}", text.trim());
            }
            let answer: Value = serde_json::from_str(&text)?;
            if answer["ready"] == true {
                return Ok(answer["vnode"].as_str().map(str::to_owned));
            }
            // Held back for a moment, as in a storm of newcomers, or while a room is made.
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
        anyhow::bail!("the focus is never ready for a meeting")
    }
}
