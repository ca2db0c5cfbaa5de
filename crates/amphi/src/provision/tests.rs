//! What is written: the files of a plan, that they fit, that they stay as they are, and that every configuration is accepted.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::{Plan, PlanError, ProvisionArgs};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: ProvisionArgs,
}

fn args(line: &str) -> ProvisionArgs {
    Line::parse_from(std::iter::once("provision").chain(line.split(' '))).args
}

/// A folder that is gone at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("amphi-provision-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn provision(&self, line: &str) -> bool {
        args(&format!("{line} --out {}", self.0.display())).write().unwrap()
    }

    /// Text of every file by its path.
    fn files(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    let name = entry.path().strip_prefix(&self.0).unwrap().display().to_string();
                    files.insert(name, fs::read_to_string(entry.path()).unwrap());
                }
            }
        }
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn everything_that_a_deployment_needs_is_written() {
    let folder = Folder::new("golden");
    assert!(folder.provision("--domain meet.example.com --visitors 2 --bridges 1 --turn turn.example.com"));
    let files = folder.files();
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "README.md",
            "coturn/amphi.conf",
            "coturn/turnserver.conf",
            "deployment.json",
            "install.sh",
            "mixed/jicofo.conf",
            "mixed/prosody-main.cfg.lua",
            "mixed/prosody-v1.cfg.lua",
            "mixed/prosody-v2.cfg.lua",
            "nginx/meet.example.com.conf",
            "nodes/bridge1/amphi.toml",
            "nodes/bridge1/jvb.password",
            "nodes/main/amphi.toml",
            "nodes/main/focus.password",
            "nodes/main/jvb.password",
            "nodes/main/tls/certificate.pem",
            "nodes/main/tls/key.pem",
            "nodes/main/turn.secret",
            "nodes/v1/amphi.toml",
            "nodes/v1/focus.password",
            "nodes/v1/tls/certificate.pem",
            "nodes/v1/tls/key.pem",
            "nodes/v1/turn.secret",
            "nodes/v2/amphi.toml",
            "nodes/v2/focus.password",
            "nodes/v2/tls/certificate.pem",
            "nodes/v2/tls/key.pem",
            "nodes/v2/turn.secret",
            "secrets/focus",
            "secrets/jvb",
            "secrets/main.key",
            "secrets/main.pem",
            "secrets/turn",
            "secrets/v1.key",
            "secrets/v1.pem",
            "secrets/v2.key",
            "secrets/v2.pem",
            "systemd/60-amphi.conf",
            "systemd/amphi@.service",
        ]
    );
    for (name, _) in files.iter().filter(|(n, _)| {
        n.contains("secret")
            || n.ends_with("key.pem")
            || n.ends_with("password")
            || n.ends_with("jicofo.conf")
            || n.ends_with("turnserver.conf")
    }) {
        let mode = fs::metadata(folder.0.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} is readable for others");
    }
    assert!(files["systemd/amphi@.service"].contains("RestartPreventExitStatus=78"));
    assert_eq!(files["nodes/v1/turn.secret"].trim(), files["secrets/turn"].trim());
    assert!(files["coturn/turnserver.conf"].contains(files["secrets/turn"].trim()));
    let nginx = &files["nginx/meet.example.com.conf"];
    assert!(nginx.contains("    v2 amphi_v2;") && nginx.contains("server 127.0.0.1:52802;"), "{nginx}");
    assert_eq!(nginx.matches('{').count(), nginx.matches('}').count());
    let main = &files["mixed/prosody-main.cfg.lua"];
    assert!(main.contains("[\"conference.v1.meet.jitsi\"] = \"tcp://127.0.0.1:52691\";"), "{main}");
    let node = &files["mixed/prosody-v1.cfg.lua"];
    assert!(node.contains("[\"visitors.meet.example.com\"] = \"tcp://127.0.0.1:5269\";"), "{node}");
    for text in [main, node] {
        assert_eq!(text.matches('{').count(), text.matches('}').count(), "{text}");
    }
}

#[test]
fn nodes_pin_each_other_and_share_passwords() {
    let folder = Folder::new("pins");
    folder.provision("--domain meet.example.com --visitors 2 --bridges 2");
    let files = folder.files();
    let pin =
        |node: &str| super::secrets::fingerprint(&folder.0.join(format!("nodes/{node}/tls/certificate.pem"))).unwrap();
    for node in ["v1", "v2"] {
        for key in ["fingerprint", "c2s_fingerprint"] {
            assert!(files["nodes/main/amphi.toml"].contains(&format!("\n{key} = \"{}\"", pin(node))), "{key}");
        }
        assert!(
            files[&format!("nodes/{node}/amphi.toml")].contains(&format!("main_fingerprint = \"{}\"", pin("main")))
        );
        assert_eq!(files[&format!("nodes/{node}/focus.password")], files["nodes/main/focus.password"]);
    }
    assert_ne!(pin("v1"), pin("v2"));
    assert_eq!(files["nodes/bridge2/jvb.password"], files["nodes/main/jvb.password"]);
    assert!(files["nodes/bridge2/amphi.toml"].contains("port = 10001"));
    assert!(files["nodes/bridge2/amphi.toml"].contains(&format!("\nmain_fingerprint = \"{}\"", pin("main"))));
}

#[test]
fn turn_is_told_on_443_and_shares_it_where_it_is_beside_the_front() {
    let folder = Folder::new("turn-apart");
    folder
        .provision("--domain meet.example.com --visitors 1 --bridges 1 --host main=192.0.2.1 --turn turn.example.com");
    let files = folder.files();
    assert!(files["nodes/main/amphi.toml"].contains("kind = \"turns\"\nhost = \"turn.example.com\"\nport = 443\n"));
    assert!(files["coturn/turnserver.conf"].contains("\ntls-listening-port=443\n"));
    assert!(files["coturn/amphi.conf"].contains("AmbientCapabilities=CAP_NET_BIND_SERVICE"));
    assert!(!files.contains_key("nginx/stream.conf"));

    let folder = Folder::new("turn-beside");
    folder.provision(
        "--domain meet.example.com --visitors 1 --bridges 1 --host main=192.0.2.1 --turn turn.example.com --turn-beside",
    );
    let files = folder.files();
    let turn = &files["coturn/turnserver.conf"];
    assert!(turn.contains("\ntls-listening-port=5349\n") && turn.contains("\nrelay-ip=192.0.2.1\n"), "{turn}");
    let (stream, site) = (&files["nginx/stream.conf"], &files["nginx/meet.example.com.conf"]);
    assert!(stream.contains("listen 443;") && !site.contains("listen 443"), "{stream}{site}");
    assert!(
        stream.contains("turn.example.com 127.0.0.1:4442;")
            && site.contains("listen 127.0.0.1:4443 ssl proxy_protocol;")
    );
    for text in [stream, site] {
        assert_eq!(text.matches('{').count(), text.matches('}').count(), "{text}");
    }
}

#[test]
fn provisioning_again_changes_nothing_and_keeps_secrets_when_nodes_are_added() {
    let folder = Folder::new("again");
    assert!(folder.provision("--domain meet.example.com --visitors 1 --bridges 1"));
    let first = folder.files();
    assert!(folder.provision("--domain meet.example.com --visitors 1 --bridges 1"));
    assert_eq!(folder.files(), first);
    // Without consent nothing is overwritten, with it only what must be.
    assert!(!folder.provision("--domain meet.example.com --visitors 2 --bridges 1"));
    assert_eq!(folder.files()["nodes/main/amphi.toml"], first["nodes/main/amphi.toml"]);
    assert!(folder.provision("--domain meet.example.com --visitors 2 --bridges 1 --yes"));
    let second = folder.files();
    for (name, text) in first
        .iter()
        .filter(|(n, _)| n.starts_with("secrets/") || n.starts_with("nodes/v1") || n.starts_with("nodes/bridge1"))
    {
        assert_eq!(second[name], *text, "{name}");
    }
    assert!(second["nodes/main/amphi.toml"].contains("name = \"v2\""));
}

#[test]
fn hosts_take_nodes_in_turn_and_the_rest_is_beside_the_main_node() {
    let plan = |line: &str| Plan::of(&args(line));
    let p = plan("--domain m.example --visitors 3 --bridges 2 --host main=10.0.0.1 --host visitors=10.0.0.2,10.0.0.3 --host v3=10.0.0.9 --public bridge1=203.0.113.9").unwrap();
    let told: Vec<String> = p.nodes().map(|n| format!("{} {} {}", n.name, n.address, n.media)).collect();
    assert_eq!(
        told,
        [
            "main 10.0.0.1 0",
            "v1 10.0.0.2 0",
            "v2 10.0.0.3 0",
            "v3 10.0.0.9 0",
            "bridge1 10.0.0.1 10000",
            "bridge2 10.0.0.1 10001"
        ]
    );
    assert_eq!(p.bridges[0].public, Some("203.0.113.9".parse().unwrap()));
    assert!(matches!(plan("--domain m.example --host v9=10.0.0.1"), Err(PlanError::Role { .. })));
    assert!(matches!(plan("--domain m.example --host main=here"), Err(PlanError::Form { .. })));
    assert!(matches!(plan("--domain no/domain"), Err(PlanError::Domain(_))));
    assert!(matches!(plan("--domain m.example --visitors 100"), Err(PlanError::Bound(_))));
}

/// Every file goes through the check of the configuration. Paths in it are relative to its folder, so they are made whole here.
#[test]
fn every_configuration_is_accepted() {
    for (name, line) in [
        ("one", "--domain meet.example.com --visitors 3 --bridges 2 --turn turn.example.com"),
        ("none", "--domain meet.example.com --visitors 0 --bridges 0"),
        (
            "many",
            "--domain meet.example.com --visitors 8 --bridges 2 --host main=10.0.0.1 --host visitors=10.0.0.2,10.0.0.3 --host bridges=10.0.0.4,10.0.0.5",
        ),
        (
            "six",
            "--domain meet.example.com --visitors 2 --bridges 1 --host main=2001:db8::1 --host visitors=2001:db8::2 --host bridges=2001:db8::3",
        ),
    ] {
        let folder = Folder::new(name);
        folder.provision(line);
        let mut count = 0;
        for (path, text) in folder.files().into_iter().filter(|(p, _)| p.ends_with("amphi.toml")) {
            let home = folder.0.join(Path::new(&path).parent().unwrap());
            let text = ["focus.password", "jvb.password", "turn.secret", "tls/certificate.pem", "tls/key.pem"]
                .iter()
                .fold(text, |text, file| text.replace(&format!("\"{file}\""), &format!("{:?}", home.join(file))));
            let layers = crate::config::Layers { file: Some((path.clone(), text)), ..Default::default() };
            let checked = layers.join().and_then(|l| crate::config::Config::check(&l));
            assert!(checked.is_ok(), "{path}: {}", checked.unwrap_err());
            count += 1;
        }
        assert!(count >= 1);
    }
}
