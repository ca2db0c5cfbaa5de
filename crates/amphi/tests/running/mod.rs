//! The real binary on free ports with a folder of its own, and clients that speak to it over plain sockets.
#![allow(dead_code, unreachable_pub, unused_imports)]

mod prosody;
mod ws;
mod xmpp;

#[path = "../ports/mod.rs"]
mod ports;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use prosody::Prosody;
pub use ws::{Ws, WsEvent};
pub use xmpp::{Person, element};

/// How long anything may take that is expected.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Something that people log in to.
pub trait Server {
    /// Logs in: anonymously, or on the `auth` host with the password `secret`.
    fn login(&self, name: &str, host: &str) -> Person;
}

impl Server for Amphi {
    fn login(&self, name: &str, host: &str) -> Person {
        Person::login_as(self.front, name, host, "/xmpp-websocket?room=demo")
    }
}

/// A running Amphi; it ends with this value.
pub struct Amphi {
    child: Child,
    dir: PathBuf,
    pub front: SocketAddr,
    pub c2s: SocketAddr,
    pub s2s: SocketAddr,
    pub admin: SocketAddr,
}

impl Amphi {
    /// Starts with these `key=value` settings; returns when it is healthy.
    pub fn start(settings: &[&str]) -> Self {
        // Somebody else may take one of the free ports before the binary does.
        (0..5).find_map(|_| Self::try_start(settings)).expect("the binary starts")
    }

    /// Kills it and starts another one with these settings in the same folder.
    pub fn again(mut self, settings: &[&str]) -> Self {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let dir = std::mem::take(&mut self.dir);
        (0..5).find_map(|_| Self::try_start_in(dir.clone(), settings)).expect("the binary starts")
    }

    fn try_start(settings: &[&str]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("amphi-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self::try_start_in(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name), settings)
    }

    fn try_start_in(dir: PathBuf, settings: &[&str]) -> Option<Self> {
        let [front, c2s, s2s, admin] = std::array::from_fn(|_| ports::free());
        let mut all: Vec<String> = settings.iter().map(|s| (*s).to_owned()).collect();
        all.push(format!("data_dir={}", dir.display()));
        // These clients have no media.
        all.push("bridge.enabled=false".to_owned());
        for (key, addr) in [("front", front), ("c2s", c2s), ("s2s", s2s), ("admin", admin)] {
            all.push(format!("listen.{key}={addr}"));
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_amphi"))
            .arg("run")
            .args(all.iter().flat_map(|s| ["--set", s.as_str()]))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let mut me = Self { child, dir, front, c2s, s2s, admin };
        if !line.starts_with("http") {
            // Another attempt may want the folder.
            me.dir = PathBuf::new();
            return None;
        }
        // A main node without a focus is up, but not healthy.
        let wanted = if settings.iter().any(|s| s.starts_with("roles=")) { "HTTP/1.1 " } else { "HTTP/1.1 200 " };
        let end = Instant::now() + PATIENCE;
        while !http(me.admin, "GET /about/health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").contains(wanted) {
            assert!(Instant::now() < end, "never healthy");
            std::thread::yield_now();
        }
        Some(me)
    }

    /// Where it keeps what it keeps.
    pub fn folder(&self) -> &std::path::Path {
        &self.dir
    }

    /// Whether the process is still there.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|s| s.is_none())
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Asks the focus to prepare a room, as a browser does.
    pub fn ask(&self, room: &str, machine: &str) -> serde_json::Value {
        let body = format!(
            r#"{{"room":"{room}@conference.localhost","machineUid":"{machine}","properties":{{"visitors-version":"1"}}}}"#
        );
        let head =
            "POST /conference-request/v1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json";
        let end = Instant::now() + PATIENCE;
        loop {
            let text = http(self.front, &format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
            let json = text.split_once("\r\n\r\n").and_then(|(_, b)| serde_json::from_str(b).ok());
            let json: serde_json::Value = json.unwrap_or_else(|| panic!("no JSON: {text}"));
            if json["ready"] == true {
                return json;
            }
            assert!(Instant::now() < end, "never ready: {json}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Amphi {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A socket that never blocks for longer than [`PATIENCE`].
pub fn connect(to: SocketAddr) -> TcpStream {
    let s = TcpStream::connect_timeout(&to, PATIENCE).expect("a connection");
    s.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    s.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    s.set_nodelay(true).expect("no delay");
    s
}

/// Sends a request and reads until the server closes.
pub fn http(to: SocketAddr, request: &str) -> String {
    let mut s = connect(to);
    s.write_all(request.as_bytes()).expect("written");
    rest(&mut s)
}

/// Everything until the server closes the connection. Panics if it does not.
pub fn rest(s: &mut TcpStream) -> String {
    let (mut all, mut buf) = (Vec::new(), [0; 4096]);
    let end = Instant::now() + PATIENCE;
    loop {
        match s.read(&mut buf) {
            Ok(0) => break,
            Ok(n) => all.extend_from_slice(&buf[..n]),
            // Closed with what we sent unread.
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(e) => panic!("still open after {PATIENCE:?} ({e}): {}", String::from_utf8_lossy(&all)),
        }
        assert!(Instant::now() < end, "still open: {}", String::from_utf8_lossy(&all));
    }
    String::from_utf8_lossy(&all).into_owned()
}
