//! A stock Prosody with WebSocket, anonymous people, and an account for the focus.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::{PATIENCE, Person, Server};

pub struct Prosody {
    child: Child,
    dir: PathBuf,
    front: SocketAddr,
}

impl Prosody {
    /// `None` where the program is not installed.
    pub fn start() -> Option<Self> {
        let found = Command::new("prosodyctl").arg("about").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !found.is_ok_and(|s| s.success()) {
            return None;
        }
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("prosody-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let front = super::ports::free();
        let config = format!(
            r#"
pidfile = "{dir}/prosody.pid"
data_path = "{dir}"
run_as_root = true
log = {{ {{ levels = {{ min = "warn" }}, to = "file", filename = "{dir}/log" }} }}
modules_enabled = {{ "disco", "saslauth", "ping", "websocket" }}
modules_disabled = {{ "s2s", "tls" }}
c2s_ports = {{ }}
c2s_direct_tls_ports = {{ }}
http_ports = {{ {port} }}
http_interfaces = {{ "127.0.0.1" }}
https_ports = {{ }}
http_default_host = "meet.example"
consider_websocket_secure = true
allow_unencrypted_plain_auth = true
c2s_require_encryption = false
admins = {{ "focus@auth.meet.example" }}
VirtualHost "meet.example"
    authentication = "anonymous"
VirtualHost "auth.meet.example"
    authentication = "internal_plain"
Component "conference.meet.example" "muc"
    restrict_room_creation = true
    muc_room_locking = false
    muc_room_default_public_jids = true
"#,
            dir = dir.display(),
            port = front.port()
        );
        let file = dir.join("prosody.cfg.lua");
        std::fs::write(&file, config).expect("written");
        let file = file.display().to_string();
        let registered = Command::new("prosodyctl")
            .args(["--config", &file, "register", "focus", "auth.meet.example", "secret"])
            .stdout(Stdio::null())
            .status();
        assert!(registered.is_ok_and(|s| s.success()), "no account");
        let child =
            Command::new("prosody").args(["-F", "--config", &file]).stdout(Stdio::null()).spawn().expect("it starts");
        let me = Self { child, dir, front };
        let end = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(me.front).is_err() {
            assert!(Instant::now() < end, "it does not listen");
            std::thread::yield_now();
        }
        Some(me)
    }
}

impl Server for Prosody {
    fn login(&self, name: &str, host: &str) -> Person {
        Person::login_as(self.front, name, host, "/xmpp-websocket?room=demo")
    }
}

impl Drop for Prosody {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
