//! Lints of what is installed elsewhere: container image, Debian package, Helm chart, and the files that `amphi provision` writes.

use std::process::Command;

use crate::install;
use crate::run::{root, target_dir};
use crate::tally::Tally;

/// Runs the lints with the server that is built. Tools that are not installed are named, and what needs them is skipped.
pub(crate) fn lint(tally: &mut Tally) {
    let folder = root().join("tests/deploy");
    let python = match install::python_of("deploy-python", &folder.join("requirements.txt")) {
        Ok(python) => python,
        Err(error) => return tally.fail("deploy", &format!("{error:#}")),
    };
    // What it checks is skipped aloud where it cannot be had.
    if let Err(error) = install::debian("nginx", &["nginx-light"]) {
        println!("{error:#}");
    }
    let mut command = Command::new(python);
    command.arg("lint.py").current_dir(&folder).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("AMPHI_PROGRAM", target_dir().join("debug/amphi"));
    tally.script("deploy: images, packages, chart, provisioned files", command);
}
