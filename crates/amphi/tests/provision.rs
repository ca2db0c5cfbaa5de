//! A deployment as `amphi provision` writes it, started as its page says, on ports of its own: the check is content while everything
//! runs, and names what does not.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

struct Deployment {
    folder: PathBuf,
    offset: u16,
    running: Vec<(String, Child)>,
}

impl Deployment {
    fn new(name: &str, line: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        let me = Self { folder, offset: free_offset(), running: Vec::new() };
        let offset = me.offset.to_string();
        let mut command = amphi(Path::new("."));
        command.arg("provision").args(line.split(' ')).args(["--port-offset", &offset, "--out"]).arg(&me.folder);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", words(&output));
        me
    }

    fn start(&mut self, node: &str, settings: &[&str]) {
        let log = std::fs::File::create(self.folder.join(format!("{node}.log"))).unwrap();
        let mut command = amphi(&self.folder.join("nodes").join(node));
        command.args(["run", "--config", "amphi.toml"]).stdout(log.try_clone().unwrap()).stderr(log);
        for setting in settings {
            command.args(["--set", setting]);
        }
        self.running.push((node.to_owned(), command.spawn().unwrap()));
    }

    fn kill(&mut self, node: &str) {
        let at = self.running.iter().position(|(name, _)| name == node).unwrap();
        let (_, mut child) = self.running.remove(at);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks a node to end; it has half a minute.
    fn terminate(&mut self, node: &str) -> std::process::ExitStatus {
        let at = self.running.iter().position(|(name, _)| name == node).unwrap();
        let child = &mut self.running[at].1;
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                self.running.remove(at);
                return status;
            }
            assert!(Instant::now() < end, "{node} does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self, node: &str) -> String {
        std::fs::read_to_string(self.folder.join(format!("{node}.log"))).unwrap_or_default()
    }

    /// Waits until a node counts something.
    fn until_metric(&self, port: u16, name: &str) {
        use std::io::{Read as _, Write as _};
        let end = Instant::now() + Duration::from_secs(90);
        loop {
            let mut text = String::new();
            if let Ok(mut socket) = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port + self.offset)) {
                let asked = socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
                let _ = asked.and_then(|()| socket.read_to_string(&mut text));
            }
            let line = text.lines().find_map(|l| l.strip_prefix(name));
            if line.is_some_and(|value| value.trim() != "0") {
                return;
            }
            assert!(Instant::now() < end, "{name} is not counted: {text}");
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    fn check(&self) -> Output {
        amphi(Path::new(".")).args(["provision", "--check", "--out"]).arg(&self.folder).output().unwrap()
    }

    /// Checks until the outcome is as wanted; nodes take a moment to find each other, and to miss each other.
    fn until(&self, what: &str, wanted: impl Fn(&Output) -> bool) -> String {
        let end = Instant::now() + Duration::from_secs(90);
        loop {
            let output = self.check();
            if wanted(&output) {
                return words(&output);
            }
            let log = |node: &str| std::fs::read_to_string(self.folder.join(format!("{node}.log"))).unwrap_or_default();
            assert!(Instant::now() < end, "{what}: {}\nmain: {}\nv2: {}", words(&output), log("main"), log("v2"));
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A server that is healthy in the year 2001.
struct Clock(u16, Option<std::thread::JoinHandle<()>>);

impl Clock {
    fn start(port: u16) -> Self {
        use std::io::{Read as _, Write as _};
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        let thread = std::thread::spawn(move || {
            for socket in listener.incoming() {
                let Ok(mut socket) = socket else { return };
                let mut head = [0; 4];
                if socket.read(&mut head).unwrap_or(0) == 0 || &head == b"stop" {
                    return;
                }
                let mut rest = Vec::new();
                let _ = socket.set_read_timeout(Some(Duration::from_millis(50)));
                let _ = socket.read_to_end(&mut rest);
                let _ = socket.write_all(
                    b"HTTP/1.1 200 OK\r\ndate: Mon, 01 Jan 2001 00:00:00 GMT\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                );
            }
        });
        Self(port, Some(thread))
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        use std::io::Write as _;
        let told = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.0)).and_then(|mut s| s.write_all(b"stop"));
        if let (Ok(()), Some(thread)) = (told, self.1.take()) {
            let _ = thread.join();
        }
    }
}

fn amphi(at: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_amphi"));
    command.current_dir(at).stdin(Stdio::null());
    command
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// An offset with which every port of the deployments here is free.
fn free_offset() -> u16 {
    let tcp = [5222, 5269, 5280, 8888, 8080, 52_221, 52_222, 52_691, 52_692, 52_801, 52_802, 8901, 8902];
    for _ in 0..200 {
        let offset = 1000 + rand::random::<u16>() % 11_000;
        let held: Result<Vec<TcpListener>, _> =
            tcp.iter().map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port + offset))).collect();
        if held.is_ok() && UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 10_000 + offset)).is_ok() {
            return offset;
        }
    }
    panic!("no free ports");
}

#[test]
fn a_provisioned_deployment_holds_meetings_and_the_check_names_what_breaks() {
    let mut deployment = Deployment::new("provisioned", "--domain meet.example.com --visitors 2 --bridges 1");
    for node in ["main", "v1", "v2", "bridge1"] {
        deployment.start(node, &[]);
    }
    let words = deployment.until("all runs", |o| o.status.success());
    for fine in [
        "somebody joined a meeting on stage",
        "somebody joined the audience on v",
        "the link between main and v2 is up",
        "bridge1 is in the brewery",
        "bridge1 answers over UDP at ",
        "v1 shows the certificate that its peers pin",
        "v1 shows logins the certificate that they pin",
        "main shows logins the certificate that they pin",
        "focus may log in at v2",
    ] {
        assert!(words.contains(fine), "{fine} is missing: {words}");
    }

    let told = |wrong: &'static str| move |o: &Output| o.status.code() == Some(1) && self::words(o).contains(wrong);
    deployment.kill("v2");
    let words = deployment.until("a dead node", told("WRONG  v2: nothing listens on 127.0.0.1:"));
    assert!(words.contains("systemctl status amphi@v2"), "{words}");
    deployment.start("v2", &["tls.certificate=../v1/tls/certificate.pem", "tls.key=../v1/tls/key.pem"]);
    deployment.until("another certificate", told("WRONG  v2 shows the certificate sha256:"));
    deployment.until("another certificate for logins", told("WRONG  v2 shows logins the certificate sha256:"));
    // The focus says so too, and counts.
    deployment.until_metric(8888, "amphi_refused_total{reason=\"login-certificate\"}");
    let log = deployment.log("main");
    assert!(log.contains("No login: the node shows another certificate than the pinned one."), "{log}");
    deployment.kill("v2");
    deployment.start("v2", &["focus.password_file=../bridge1/jvb.password"]);
    deployment.until(
        "another password",
        told("WRONG  focus cannot log in at v2: focus@auth.meet.jitsi is refused (not-authorized)"),
    );
    deployment.kill("v2");
    deployment.start("v2", &["muc_prefix=muc"]);
    deployment
        .until("a domain that is not on the list", told("WRONG  v2 refuses links from conference.meet.example.com"));
    deployment.kill("v2");
    deployment.start("v2", &["listen.s2s=off"]);
    deployment.until("no server streams", told("WRONG  links with v2: nothing listens on"));
    deployment.kill("v2");
    // Whoever answers there has another time.
    let clock = Clock::start(deployment.offset + 52_802);
    deployment.until("a wrong clock", told("behind the one of this machine"));
    drop(clock);
    deployment.start("v2", &[]);
    deployment.until("all runs again", |o| o.status.success());

    deployment.kill("bridge1");
    deployment.until("a dead bridge", told("WRONG  the focus does not see bridge1 in the brewery; it does not run"));
    deployment.start("bridge1", &["bridge.password_file=../main/focus.password"]);
    deployment.until("a bridge with another password", told("in the brewery; it runs, so it cannot log in"));
    deployment.kill("bridge1");
    let wrong = format!("bridge.main_fingerprint=sha256:{}", "5a".repeat(32));
    deployment.start("bridge1", &[&wrong]);
    deployment.until("a bridge that pins another certificate", told("in the brewery; it runs, so it cannot log in"));
    deployment.until_metric(8080, "jitsi_jvb_untrusted_logins_total");
    let log = deployment.log("bridge1");
    assert!(log.contains("No login: the node shows another certificate than the pinned one."), "{log}");
    deployment.kill("bridge1");
    // A bridge without endpoints has nobody to wait for.
    deployment.start("bridge1", &["bridge.drain_on_term=true", "bridge.shutting_down=1s"]);
    deployment.until("all runs once more", |o| o.status.success());
    assert!(deployment.terminate("bridge1").success());
    deployment.kill("main");
    deployment.until("a dead main node", told("WRONG  main: nothing listens on"));
}

#[test]
fn a_wrong_configuration_ends_with_78_so_that_nobody_starts_it_again() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("wrong-configuration");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in [
        ("key", "stag = 5\n"),
        ("syntax", "domain = \n"),
        ("value", "stage = 0\n"),
        ("file", "[focus]\npassword_file = \"nowhere\"\n"),
        ("certificate", "[tls]\ncertificate = \"nowhere.pem\"\nkey = \"nowhere.key\"\n"),
        ("root", "[web]\nroot = \"nowhere\"\n"),
    ] {
        let file = format!("{name}.toml");
        std::fs::write(folder.join(&file), text).unwrap();
        for command in [["run", "--config"].as_slice(), &["config", "check"], &["fingerprint", "--config"]] {
            let output = amphi(&folder).args(command).arg(&file).output().unwrap();
            assert_eq!(output.status.code(), Some(78), "{command:?} {name}: {}", words(&output));
        }
    }
    let output = amphi(&folder).args(["run", "--config", "missing.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let unit = include_str!("../../../deploy/systemd/amphi@.service");
    assert!(unit.contains("\nRestartPreventExitStatus=78\n"));
}

#[test]
fn wrong_arguments_are_told_with_what_would_be_right() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("wrong-arguments");
    for (line, wanted) in [
        ("provision --domain no/domain", "is not a domain such as meet.example.com"),
        (
            "provision --domain a.example --host v9=10.0.0.1",
            "there is no such node; there are main, visitors, bridges, v1, v2, bridge1",
        ),
        ("provision --domain a.example --host main=here", "is not like visitors=10.0.0.11,10.0.0.12"),
    ] {
        let output = amphi(Path::new(".")).args(line.split(' ')).arg("--out").arg(&folder).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(words(&output).contains(wanted), "{line}: {}", words(&output));
        assert!(!folder.exists());
    }
    let output = amphi(Path::new(".")).args(["provision", "--check", "--out"]).arg(&folder).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("name the folder that `amphi provision` wrote"), "{}", words(&output));
}
