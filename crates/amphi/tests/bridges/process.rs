//! Our binary as one process with everything but bridges, and one process for each bridge.

use crate::ports;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A meeting service and its bridges. All are killed at the end.
pub(crate) struct Service {
    folder: PathBuf,
    pub(crate) front: SocketAddr,
    c2s: SocketAddr,
    admin: SocketAddr,
    /// HTTP of each bridge.
    http: HashMap<String, SocketAddr>,
    children: HashMap<String, Child>,
}

impl Service {
    /// Starts the service with `media` in its configuration, and these bridges; waits until the focus knows them.
    pub(crate) async fn start(name: &str, stage: u32, media: &str, bridges: &[&str]) -> anyhow::Result<Self> {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bridges-{name}"));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder)?;
        let at: Vec<SocketAddr> = (0..3 + bridges.len()).map(|_| ports::free()).collect();
        let http = bridges.iter().zip(&at[3..]).map(|(b, at)| ((*b).to_owned(), *at)).collect();
        let mut me = Self { folder, front: at[0], c2s: at[1], admin: at[2], http, children: HashMap::new() };
        let data = me.folder.join("data");
        let text = format!(
            "domain = \"localhost\"\nroles = [\"main\", \"front\", \"focus\", \"visitors\"]\nstage = {stage}\ndata_dir = {data:?}\n\
             [listen]\nfront = \"{}\"\nc2s = \"{}\"\nadmin = \"{}\"\n\
             [bridge]\npassword = \"of all bridges\"\n\
             [media]\ncodecs = [\"vp8\"]\noverloaded_at = 1000\n{media}",
            me.front, me.c2s, me.admin
        );
        std::fs::write(me.folder.join("main.toml"), text)?;
        me.run("main")?;
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(me.front).await.is_err() || TcpStream::connect(me.c2s).await.is_err() {
            if Instant::now() > end {
                bail!("the service does not listen: {}", me.log("main"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for b in bridges {
            me.bridge(b)?;
        }
        me.until("all bridges", |all| all.len() == bridges.len()).await?;
        Ok(me)
    }

    /// Starts a bridge.
    pub(crate) fn bridge(&mut self, name: &str) -> anyhow::Result<()> {
        let text = format!(
            "domain = \"localhost\"\nroles = [\"bridge\"]\ndata_dir = {:?}\nvisitors.enabled = false\n[listen]\nadmin = \"off\"\n\
             [log]\nlevel = \"info,amphi_bridge=debug\"\n\
             [bridge]\naddresses = [\"127.0.0.1\"]\nport = 0\nlisten = \"{}\"\nshutdown = true\nnick = \"{name}\"\n\
             relay_id = \"edge-{name}\"\npassword = \"of all bridges\"\nmain_c2s = \"{}\"\n",
            self.folder.join(format!("data-{name}")),
            self.http[name],
            self.c2s,
        );
        std::fs::write(self.folder.join(format!("{name}.toml")), text)?;
        self.run(name)
    }

    fn run(&mut self, name: &str) -> anyhow::Result<()> {
        let log = std::fs::File::create(self.folder.join(format!("{name}.log")))?;
        let child = Command::new(env!("CARGO_BIN_EXE_amphi"))
            .args(["run", "--config"])
            .arg(self.folder.join(format!("{name}.toml")))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.children.insert(name.to_owned(), child);
        Ok(())
    }

    /// Ends a process without asking it.
    pub(crate) fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        let mut child = self.children.remove(name).context("not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Sends a signal to a process.
    pub(crate) fn signal(&self, name: &str, signal: &str) -> anyhow::Result<()> {
        let child = self.children.get(name).context("not running")?;
        Command::new("kill").args(["-s", signal]).arg(child.id().to_string()).status()?;
        Ok(())
    }

    /// Whether a process has ended by itself.
    pub(crate) fn has_ended(&mut self, name: &str) -> bool {
        self.children.get_mut(name).is_none_or(|c| matches!(c.try_wait(), Ok(Some(_))))
    }

    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default()
    }

    /// The focus's bridges and how many endpoints it has on each.
    pub(crate) async fn bridges(&self) -> anyhow::Result<HashMap<String, u64>> {
        let text = http(self.admin, "GET", "/bridges", "").await?;
        let v: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
        let all = v["bridges"].as_array().context("no list")?;
        let of = |b: &Value| Some((b["name"].as_str()?.to_owned(), b["endpoints"].as_u64()?));
        Ok(all.iter().filter_map(of).collect())
    }

    /// Waits until the bridges are as wanted.
    pub(crate) async fn until(
        &self,
        what: &str,
        wanted: impl Fn(&HashMap<String, u64>) -> bool,
    ) -> anyhow::Result<HashMap<String, u64>> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let all = self.bridges().await?;
            if wanted(&all) {
                return Ok(all);
            }
            if Instant::now() > end {
                bail!("never: {what}; bridges: {all:?}; {}", self.log("main"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The bridge that has so many endpoints.
    pub(crate) async fn with(&self, endpoints: u64) -> anyhow::Result<String> {
        let what = format!("a bridge with {endpoints} endpoints");
        let all = self.until(&what, |all| all.values().any(|n| *n == endpoints)).await?;
        all.into_iter().find(|(_, n)| *n == endpoints).map(|(b, _)| b).context(what)
    }

    /// Tells a bridge something over HTTP.
    pub(crate) async fn tell(&self, bridge: &str, path: &str, body: &str) -> anyhow::Result<String> {
        http(self.http[bridge], "POST", path, body).await
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

/// The body of an answer with status 200.
pub(crate) async fn http(at: SocketAddr, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
    let mut socket = TcpStream::connect(at).await?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    if !answer.starts_with("HTTP/1.1 200") {
        bail!("{method} {path}: {answer}");
    }
    Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}
