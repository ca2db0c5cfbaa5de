//! Interop: foreign clients against our server, the same clients against stock Prosody (so that a wrong expectation shows),
//! and stock Prosody as a peer of our server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::install;
use crate::peers::{Peer, Ports};
use crate::run::{cargo, root, target_dir};
use crate::tally::Tally;

/// Domains of the servers under test.
pub(crate) const OURS: &str = "meet.example";
pub(crate) const THEIRS: &str = "peer.example";
/// Service account of both servers.
pub(crate) const ACCOUNT: &str = "jvb";
pub(crate) const PASSWORD: &str = "interop-password";

struct Tools {
    npm: PathBuf,
    python: PathBuf,
}

/// Builds the server and runs all interop tests.
pub(crate) fn build_and_run(tally: &mut Tally) {
    tally.step("interop: the server", cargo(&["build", "--package", "amphi"]));
    run(tally);
}

/// Runs all interop tests against the server that is built. Logs stay under the target folder.
pub(crate) fn run(tally: &mut Tally) {
    println!("== interop: what the tests need");
    let tools = match tools() {
        Ok(tools) => tools,
        Err(error) => return tally.fail("interop", &format!("{error:#}")),
    };
    let work = target_dir().join("interop");
    let _ = fs::remove_dir_all(&work);
    if let Err(error) = scenarios(tally, &tools, &work) {
        tally.fail("interop", &format!("{error:#}; logs are in {}", work.display()));
    }
}

fn tools() -> anyhow::Result<Tools> {
    install::debian("prosody", &["prosody"])?;
    install::debian("openssl", &["openssl"])?;
    Ok(Tools { npm: install::npm()?, python: install::python()? })
}

fn scenarios(tally: &mut Tally, tools: &Tools, work: &Path) -> anyhow::Result<()> {
    let ours = Ports::free()?;
    let theirs = Ports::free()?;

    let prosody = Peer::prosody(&work.join("prosody"), theirs, ours)?;
    clients(tally, tools, "stock Prosody", THEIRS, theirs, Some("none"));

    let amphi = Peer::amphi(&work.join("amphi"), ours, theirs).context("our server does not start")?;
    tally.pass(1);
    clients(tally, tools, "our server", OURS, ours, None);
    let mut queue = script(Path::new("node"), &tools.npm, "queue.mjs");
    environment(&mut queue, OURS, ours, None);
    tally.script("interop: queue.mjs against our server", queue);
    let mut media = script(&tools.python, &root().join("tests/interop/python"), "media.py");
    environment(&mut media, OURS, ours, None);
    tally.script("interop: media.py (aiortc) against our server", media);

    let mut peer = script(&tools.python, &root().join("tests/interop/python"), "peer.py");
    environment(&mut peer, THEIRS, theirs, Some("none"));
    peer.env("AMPHI_REMOTE_DOMAIN", OURS);
    tally.script("interop: stock Prosody as a peer of our server", peer);

    println!("== interop: our server ends when told to");
    match amphi.end() {
        Ok(()) => tally.pass(1),
        Err(error) => tally.fail("interop: our server ends when told to", &format!("{error:#}")),
    }
    prosody.end()
}

fn clients(tally: &mut Tally, tools: &Tools, server: &str, domain: &str, ports: Ports, focus: Option<&str>) {
    let node = Path::new("node");
    let python = root().join("tests/interop/python");
    for (name, program, folder) in [
        ("strophe.mjs", node, tools.npm.as_path()),
        ("xmpp-client.mjs", node, tools.npm.as_path()),
        ("service.py", tools.python.as_path(), python.as_path()),
    ] {
        let mut command = script(program, folder, name);
        environment(&mut command, domain, ports, focus);
        tally.script(&format!("interop: {name} against {server}"), command);
    }
}

fn script(program: &Path, folder: &Path, name: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(name).current_dir(folder).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn environment(command: &mut Command, domain: &str, ports: Ports, focus: Option<&str>) {
    command
        .env("AMPHI_URL", format!("http://127.0.0.1:{}", ports.http))
        .env("AMPHI_C2S", format!("127.0.0.1:{}", ports.c2s))
        .env("AMPHI_DOMAIN", domain)
        .env("AMPHI_ACCOUNT", ACCOUNT)
        .env("AMPHI_PASSWORD", PASSWORD);
    if let Some(focus) = focus {
        command.env("AMPHI_FOCUS", focus);
    }
}
