//! The meeting page: built before the server, which embeds it, and tested with it.

use std::process::Command;

use anyhow::{Context, bail};

use crate::install;
use crate::run::{cargo, root, target_dir, teed};
use crate::tally::Tally;

/// Oldest Node.js that the build tools take.
const NODE: (u32, u32) = (20, 19);

/// Builds the page into `web/dist`.
pub(crate) fn build() -> anyhow::Result<()> {
    install::debian("node", &["nodejs"])?;
    let version = Command::new("node").arg("--version").output().context("node cannot be started")?.stdout;
    let version = String::from_utf8_lossy(&version);
    if read_version(&version).is_none_or(|v| v < NODE) {
        bail!("the page needs Node.js {}.{} or later, here is {}", NODE.0, NODE.1, version.trim());
    }
    install::npm_in(root().join("web"))?;
    match teed(npm(&["run", "build"]))? {
        (true, _) => Ok(()),
        (false, _) => bail!("the page cannot be built"),
    }
}

fn read_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix('v')?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn npm(args: &[&str]) -> Command {
    let mut command = Command::new("npm");
    command.args(args).current_dir(root().join("web"));
    command
}

/// Unit tests of the page.
pub(crate) fn unit_tests(tally: &mut Tally) {
    tally.step("page: unit tests", npm(&["test"]));
}

/// The page in a browser, against the server that is built.
pub(crate) fn browser_tests(tally: &mut Tally) {
    if let Err(error) = install::debian("chromium", &["chromium"]) {
        return tally.fail("page: browser tests", &format!("{error:#}"));
    }
    tally.step("page: bad links", cargo(&["build", "--package", "amphi-netem"]));
    let mut tests = npm(&["run", "e2e"]);
    tests.env("AMPHI", target_dir().join("debug/amphi")).env("NETEM", target_dir().join("debug/amphi-netem"));
    tally.step("page: browser tests", tests);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(read_version("v20.19.2\n"), Some((20, 19)));
        assert!(read_version("v9.20.0").unwrap() < NODE);
        assert_eq!(read_version("nonsense"), None);
    }
}
