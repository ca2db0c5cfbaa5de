//! Running other programs, with their output passed on as it comes.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that started this program.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// Whether a program can be started at all.
pub(crate) fn is_installed(program: &str) -> bool {
    let probe = Command::new("sh").args(["-c", "command -v \"$0\"", program]).stdout(Stdio::null()).status();
    probe.is_ok_and(|status| status.success())
}

/// Runs a program, passes its output on and returns it with whether the program succeeded.
pub(crate) fn teed(mut command: Command) -> anyhow::Result<(bool, String)> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{name} cannot be started"))?;
    let output = child.stdout.take().context("no output to read")?;
    let mut whole = String::new();
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        // A reader that went away must not end the tests.
        let _ = writeln!(std::io::stdout(), "{line}");
        whole.push_str(&line);
        whole.push('\n');
    }
    Ok((child.wait()?.success(), whole))
}
