//! The project's chores. `cargo xtask test` installs what the tests need and runs them all; `cargo xtask check` is the fast
//! part of it, for while one works, and `cargo xtask interop` the part with foreign clients and servers.

mod install;
mod interop;
mod licences;
mod peers;
mod run;
mod tally;

use std::process::ExitCode;

use anyhow::bail;

use crate::run::{cargo, root};
use crate::tally::Tally;

fn main() -> ExitCode {
    let task = std::env::args().nth(1).unwrap_or_default();
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
        "test" => test(),
        _ => bail!("usage: cargo xtask check | licences | interop | test"),
    });
    match outcome {
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
    tally.step("format", cargo(&["fmt", "--all", "--check"]));
    tally.step("lints", cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]));
    // Fuzz corpora are replayed by plain tests of the crates that own them.
    tally.cargo_tests("tests", cargo(&["test", "--workspace", "--no-fail-fast"]));
    let mut documentation = cargo(&["doc", "--workspace", "--no-deps"]);
    documentation.env("RUSTDOCFLAGS", "-D warnings");
    tally.step("documentation", documentation);
    licences::check(&mut tally);
    // The tests of the server have built it; building it alone would build its dependencies again, with other features.
    interop::run(&mut tally);
    Ok(tally)
}
