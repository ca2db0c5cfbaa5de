//! Our binary as several processes, each with a configuration of its own, joined by nothing but addresses and fingerprints.

use crate::ports;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::DOMAIN;

/// Addresses of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) front: SocketAddr,
    pub(crate) c2s: SocketAddr,
    pub(crate) s2s: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// A meeting service of several processes: main node with the front, focus, visitor nodes. All are killed at the end.
pub(crate) struct Service {
    folder: PathBuf,
    pub(crate) ports: HashMap<String, Ports>,
    children: HashMap<String, Child>,
}

/// What differs between the services of the tests.
pub(crate) struct Plan<'a> {
    pub(crate) name: &'a str,
    pub(crate) nodes: &'a [&'a str],
    /// Seats on stage.
    pub(crate) stage: u32,
    /// Visitors on a node at which the next one is used too.
    pub(crate) open_node_at: u32,
}

impl Service {
    /// Finds free addresses; nothing is started yet.
    pub(crate) fn new(plan: &Plan<'_>) -> anyhow::Result<Self> {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(plan.name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let names: Vec<&str> = ["main", "focus"].iter().chain(plan.nodes).copied().collect();
        let addresses: Vec<SocketAddr> = (0..names.len() * 4).map(|_| ports::free()).collect();
        let ports = names
            .iter()
            .zip(addresses.chunks_exact(4))
            .map(|(name, a)| ((*name).to_owned(), Ports { front: a[0], c2s: a[1], s2s: a[2], admin: a[3] }))
            .collect();
        Ok(Self { folder, ports, children: HashMap::new() })
    }

    /// Starts everything and waits until the focus is connected to all. `s2s` says where processes reach the server streams of
    /// another one, when not at its own address.
    pub(crate) fn start(&mut self, plan: &Plan<'_>, s2s: &HashMap<String, SocketAddr>) -> anyhow::Result<()> {
        let names: Vec<String> = self.ports.keys().cloned().collect();
        let none = HashMap::new();
        for name in &names {
            self.configure(name, plan, s2s, &none)?;
        }
        let mut pins = HashMap::new();
        for name in &names {
            let output = self.amphi("fingerprint", name).output()?;
            pins.insert(name.clone(), String::from_utf8(output.stdout)?.trim().to_owned());
        }
        for name in &names {
            self.configure(name, plan, s2s, &pins)?;
        }
        for name in &names {
            self.run(name)?;
        }
        self.until("focus", |log| names.iter().filter(|n| *n != "focus").all(|n| log.contains(&format!("node={n}"))))?;
        for node in plan.nodes {
            self.until(node, |log| log.contains("Link is up"))?;
        }
        self.until("main", |log| log.matches("Link is up").count() == plan.nodes.len())
    }

    /// Waits until a process has logged something.
    fn until(&self, name: &str, wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let end = Instant::now() + Duration::from_secs(20);
        while !wanted(&self.log(name)) {
            if Instant::now() > end {
                bail!("{name} is not ready; its log: {}", self.log(name));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    pub(crate) fn at(&self, name: &str) -> Ports {
        self.ports[name]
    }

    /// Starts a process.
    pub(crate) fn run(&mut self, name: &str) -> anyhow::Result<()> {
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join(format!("{name}.log")))?;
        let child = self.amphi("run", name).stdout(log.try_clone()?).stderr(log).spawn()?;
        self.children.insert(name.to_owned(), child);
        let admin = self.at(name).admin;
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(admin).is_err() {
            if Instant::now() > end {
                bail!("{name} does not listen; its log: {}", self.log(name));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Ends a process without asking it.
    pub(crate) fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let mut child = self.children.remove(name).context("not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// What a process has logged.
    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default()
    }

    fn amphi(&self, command: &str, name: &str) -> Command {
        let mut amphi = Command::new(env!("CARGO_BIN_EXE_amphi"));
        amphi.arg(command).arg("--config").arg(self.folder.join(format!("{name}.toml"))).stdin(Stdio::null());
        amphi
    }

    fn configure(
        &self,
        name: &str,
        plan: &Plan<'_>,
        s2s: &HashMap<String, SocketAddr>,
        pins: &HashMap<String, String>,
    ) -> anyhow::Result<()> {
        let own = self.at(name);
        let reach = |other: &str| s2s.get(other).copied().unwrap_or_else(|| self.at(other).s2s);
        let pin = |key: &str, other: &str| pins.get(other).map(|p| format!("{key} = \"{p}\"\n")).unwrap_or_default();
        let (roles, focus, main) = match name {
            "main" => (
                "\"main\", \"front\"".to_owned(),
                format!("http = \"http://{}\"\n", self.at("focus").admin),
                String::new(),
            ),
            "focus" => ("\"focus\"".to_owned(), format!("main_c2s = \"{}\"\n", self.at("main").c2s), String::new()),
            node => {
                let main = format!("main_s2s = \"{}\"\n{}", reach("main"), pin("main_fingerprint", "main"));
                (format!("\"{node}\""), String::new(), main)
            }
        };
        let mut text = format!(
            "domain = \"{DOMAIN}\"\nroles = [{roles}]\nstage = {stage}\ndata_dir = {data:?}\n\
             [listen]\nfront = \"{front}\"\nc2s = \"{c2s}\"\ns2s = \"{s2s}\"\nadmin = \"{admin}\"\n\
             [bridge]\nenabled = false\n\
             [limits]\naudience_chat_burst = 1000\naudience_chat_room_burst = 1000\n\
             [focus]\npassword = \"the same for all\"\nopen_node_at = {open}\nvnode_lost_after = \"2s\"\nreturn_hold = \"0s\"\n{focus}\
             [visitors]\n{main}",
            stage = plan.stage,
            data = self.folder.join(format!("data-{name}")),
            front = own.front,
            c2s = own.c2s,
            s2s = own.s2s,
            admin = own.admin,
            open = plan.open_node_at,
        );
        for node in plan.nodes {
            let there = self.at(node);
            text += &format!(
                "[[visitors.nodes]]\nname = \"{node}\"\ns2s = \"{}\"\nfront = \"{}\"\nc2s = \"{}\"\n{}",
                reach(node),
                there.front,
                there.c2s,
                pin("fingerprint", node),
            );
        }
        std::fs::write(self.folder.join(format!("{name}.toml")), text)?;
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for child in self.children.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
