//! The operators' address of the server that is built, against the OpenAPI document that it serves.

use std::process::Command;

use crate::install;
use crate::run::{root, target_dir};
use crate::tally::Tally;

/// Runs the check; it takes about a minute.
pub(crate) fn run(tally: &mut Tally) {
    let folder = root().join("tests/api");
    let python = match install::python_of("api-python", &folder.join("requirements.txt")) {
        Ok(python) => python,
        Err(error) => return tally.fail("api", &format!("{error:#}")),
    };
    let mut command = Command::new(python);
    command.arg("contract.py").current_dir(folder).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("AMPHI_PROGRAM", target_dir().join("debug/amphi"));
    tally.script("api: what is served and what the document says", command);
}
