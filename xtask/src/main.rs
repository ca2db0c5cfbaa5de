//! The project's chores. `cargo xtask test` installs what the tests need and runs them all; `cargo xtask check` is the fast
//! part of it, for while one works, `cargo xtask api` the operators' address against its OpenAPI document, `cargo xtask interop` the part with foreign clients and servers, `cargo xtask deploy` the lints of packages and a
//! provisioned deployment (`--namespaces`: that alone, with a large audience), and `cargo xtask browser` the
//! part with a browser. `cargo xtask run` builds the page and the server and starts it; `cargo xtask page` builds the page alone.

mod api;
mod deploy;
mod install;
mod interop;
mod licences;
mod page;
mod peers;
mod run;
mod tally;

use std::process::ExitCode;

use anyhow::bail;

use crate::run::{cargo, root};
use crate::tally::Tally;

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
    if task == "run" {
        return start();
    }
    let outcome = std::env::set_current_dir(root()).map_err(Into::into).and_then(|()| match task.as_str() {
        "check" => check(),
        "licences" => {
            let mut tally = Tally::default();
            licences::check(&mut tally);
            Ok(tally)
        }
        "interop" => {
            let mut tally = Tally::default();
            interop::build_and_run(&mut tally);
            Ok(tally)
        }
        "deploy" => deploy(std::env::args().nth(2).as_deref() == Some("--namespaces")),
        "api" => {
            let mut tally = Tally::default();
            tally.step("api: the server", cargo(&["build", "--package", "amphi"]));
            api::run(&mut tally);
            Ok(tally)
        }
        "page" => page::build().map(|()| Tally::default()),
        "browser" => browser(),
        "test" => test(),
        _ => {
            bail!("usage: cargo xtask run | page | check | licences | api | deploy [--namespaces] | interop | browser | test")
        }
    });
    match outcome {
        Ok(_) if task == "page" => ExitCode::SUCCESS,
        Ok(tally) => {
            tally.tell();
            if tally.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Builds everything and starts the server; further arguments are the server's.
fn start() -> ExitCode {
    // Where one is stays where one is: paths among the arguments are meant from here. Without the page there is still a server.
    if let Err(error) = page::build() {
        eprintln!("xtask: {error:#}; going on without the meeting page");
    }
    let manifest = root().join("Cargo.toml");
    let mut server = cargo(&["run", "--release", "--manifest-path"]);
    server.arg(manifest).arg("--");
    server.args(std::env::args().skip(2));
    match server.status() {
        Ok(status) => status.code().and_then(|c| u8::try_from(c).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("xtask: cargo cannot be started: {error}");
            ExitCode::from(2)
        }
    }
}

/// The page in a browser.
fn browser() -> anyhow::Result<Tally> {
    page::build()?;
    let mut tally = Tally::default();
    tally.step("browser: the server", cargo(&["build", "--package", "amphi"]));
    page::unit_tests(&mut tally);
    page::browser_tests(&mut tally);
    Ok(tally)
}

/// What is installed elsewhere: image, packages, chart, and what `amphi provision` writes.
fn deploy(namespaces: bool) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    tally.step("deploy: the server", cargo(&["build", "--package", "amphi"]));
    deploy::run(&mut tally, namespaces);
    Ok(tally)
}

/// Format, lints, unit tests, licences.
fn check() -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    tally.step("format", cargo(&["fmt", "--all", "--check"]));
    tally.step("lints", cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]));
    tally.cargo_tests("unit tests", cargo(&["test", "--workspace", "--no-fail-fast", "--lib", "--bins"]));
    licences::check(&mut tally);
    Ok(tally)
}

/// Everything.
fn test() -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    // First, since the server embeds it.
    match page::build() {
        Ok(()) => page::unit_tests(&mut tally),
        Err(error) => tally.fail("page", &format!("{error:#}")),
    }
    tally.step("format", cargo(&["fmt", "--all", "--check"]));
    tally.step("lints", cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]));
    // Fuzz corpora are replayed by plain tests of the crates that own them.
    tally.cargo_tests("tests", cargo(&["test", "--workspace", "--no-fail-fast"]));
    let mut documentation = cargo(&["doc", "--workspace", "--no-deps"]);
    documentation.env("RUSTDOCFLAGS", "-D warnings");
    tally.step("documentation", documentation);
    licences::check(&mut tally);
    // The tests of the server have built it; building it alone would build its dependencies again, with other features.
    api::run(&mut tally);
    deploy::run(&mut tally, false);
    interop::run(&mut tally);
    page::browser_tests(&mut tally);
    Ok(tally)
}
