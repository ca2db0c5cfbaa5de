//! Servers for the interop tests: ours and stock Prosody, each in a folder of its own, on free ports, ended by its process id.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::interop::{ACCOUNT, OURS, PASSWORD, THEIRS};
use crate::run::{root, target_dir, teed};

const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(20);

/// Where a server listens, on 127.0.0.1.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) http: u16,
    pub(crate) c2s: u16,
    pub(crate) s2s: u16,
    pub(crate) admin: u16,
}

impl Ports {
    /// Ports that nobody uses now.
    pub(crate) fn free() -> anyhow::Result<Self> {
        // All are held until all are known, so that they differ.
        let held = [(); 4].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let mut ports = held.iter().map(|listener| match listener {
            Ok(listener) => listener.local_addr().map(|a| a.port()).context("a free port"),
            Err(error) => bail!("no free port: {error}"),
        });
        let mut next = || ports.next().context("a free port")?;
        Ok(Self { http: next()?, c2s: next()?, s2s: next()?, admin: next()? })
    }
}

/// A running server. Dropped, it is killed.
pub(crate) struct Peer {
    name: &'static str,
    child: Child,
}

impl Peer {
    /// Our server, ready when its health address says so.
    pub(crate) fn amphi(folder: &Path, ports: Ports, theirs: Ports) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let config = format!(
            r#"domain = "{OURS}"
data_dir = {data:?}

[listen]
front = "127.0.0.1:{http}"
c2s = "127.0.0.1:{c2s}"
s2s = "127.0.0.1:{s2s}"
admin = "127.0.0.1:{admin}"
# So that clients on this machine are asked for STARTTLS.
secure_interfaces = []

[[hosts]]
name = "auth.{OURS}"
accounts = [{{ user = "{ACCOUNT}", password = "{PASSWORD}" }}]

[bridge]
listen = "127.0.0.1:0"
port = 0

[visitors]
whitelist = ["auth.{THEIRS}"]
overrides = {{ "auth.{THEIRS}" = "tcp://127.0.0.1:{theirs}" }}
"#,
            data = folder.join("data"),
            http = ports.http,
            c2s = ports.c2s,
            s2s = ports.s2s,
            admin = ports.admin,
            theirs = theirs.s2s,
        );
        let file = folder.join("amphi.toml");
        fs::write(&file, config)?;
        let mut command = Command::new(target_dir().join("debug/amphi"));
        command.args(["run", "--config"]).arg(&file);
        let mut peer = Self::start("amphi", command, folder)?;
        let healthy = || answers_ok(ports.admin, "/about/health");
        peer.wait("/about/health does not answer 200", folder, healthy)?;
        Ok(peer)
    }

    /// Stock Prosody, ready when it takes connections and has the service account.
    pub(crate) fn prosody(folder: &Path, ports: Ports, ours: Ports) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        certificate(folder)?;
        let plugins = root().join("tests/interop/prosody");
        let mut config = fs::read_to_string(plugins.join("prosody.cfg.lua"))?;
        for (word, value) in [
            ("data", folder.display().to_string()),
            ("plugins", plugins.display().to_string()),
            ("domain", THEIRS.to_owned()),
            ("c2s_port", ports.c2s.to_string()),
            ("s2s_port", ports.s2s.to_string()),
            ("http_port", ports.http.to_string()),
            (
                "s2s_overrides",
                format!(
                    r#"["{OURS}"] = {{ "127.0.0.1", {s2s} }}, ["conference.{OURS}"] = {{ "127.0.0.1", {s2s} }}"#,
                    s2s = ours.s2s
                ),
            ),
        ] {
            config = config.replace(&format!("{{{word}}}"), &value);
        }
        let file = folder.join("prosody.cfg.lua");
        fs::write(&file, config)?;
        let mut command = Command::new("prosody");
        command.arg("-F").arg("--config").arg(&file);
        let mut peer = Self::start("prosody", command, folder)?;
        let open = || TcpStream::connect((Ipv4Addr::LOCALHOST, ports.c2s)).is_ok();
        peer.wait("it does not listen", folder, open)?;
        let mut register = Command::new("prosodyctl");
        register.arg("--config").arg(&file).args(["register", ACCOUNT, &format!("auth.{THEIRS}"), PASSWORD]);
        if !teed(register)?.0 {
            bail!("prosodyctl cannot make an account");
        }
        Ok(peer)
    }

    fn start(name: &'static str, mut command: Command, folder: &Path) -> anyhow::Result<Self> {
        let log = File::create(folder.join("output"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        println!("started {name}, process {}", child.id());
        Ok(Self { name, child })
    }

    fn wait(&mut self, otherwise: &str, folder: &Path, ready: impl Fn() -> bool) -> anyhow::Result<()> {
        let end = Instant::now() + START;
        while !ready() {
            let gone = self.child.try_wait()?;
            if gone.is_some() || Instant::now() > end {
                let output = fs::read_to_string(folder.join("output")).unwrap_or_default();
                let what = gone.map_or_else(|| otherwise.to_owned(), |status| format!("it ended with {status}"));
                bail!("{}: {what}; its last words: {}", self.name, last_lines(&output, 5));
            }
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Asks the server to end, and waits until it has, with a good exit code.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().context("kill")?;
        let end = Instant::now() + END;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return match status.success() {
                    true => Ok(()),
                    false => bail!("{} ended with {status}", self.name),
                };
            }
            sleep(Duration::from_millis(50));
        }
        bail!("{} has not ended {END:?} after SIGTERM", self.name)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Already ended is fine too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn certificate(folder: &Path) -> anyhow::Result<()> {
    let mut openssl = Command::new("openssl");
    openssl
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &format!("/CN={THEIRS}")])
        .args(["-addext", &format!("subjectAltName=DNS:{THEIRS},DNS:auth.{THEIRS}"), "-keyout"])
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("certificate.pem"));
    let output = openssl.output().context("openssl")?;
    if !output.status.success() {
        bail!("openssl: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn answers_ok(port: u16, path: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.split(' ').nth(1) == Some("200"))
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}
