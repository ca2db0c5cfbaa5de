//! Installing what the interop tests need, where it is missing: Debian packages, npm packages, a Python environment. Says
//! what it does, and what to do where it cannot.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::run::{is_installed, root, target_dir, teed};

/// Makes sure that a program is there, from Debian's package of the given name.
pub(crate) fn debian(program: &str, packages: &[&str]) -> anyhow::Result<()> {
    if is_installed(program) {
        return Ok(());
    }
    apt(program, packages)
}

/// Installs packages of Debian for what is no program.
pub(crate) fn debian_package(wanted: &str, packages: &[&str]) -> anyhow::Result<()> {
    apt(wanted, packages)
}

fn apt(wanted: &str, packages: &[&str]) -> anyhow::Result<()> {
    let list = packages.join(" ");
    if !is_installed("apt-get") {
        bail!("{wanted} is missing; install {list} with this system's package tool");
    }
    println!("installing {list}");
    let update = Command::new("apt-get").args(["update", "-qq"]).status()?;
    if !update.success() {
        println!("apt-get update failed; trying with the lists at hand");
    }
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(packages);
    // A freshly installed server must not be started: the tests run their own.
    install.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1");
    match teed(install)? {
        (true, _) => Ok(()),
        (false, _) => bail!("{wanted} is missing and {list} could not be installed; as root: apt-get install {list}"),
    }
}

/// Makes sure that a program written in Go is there, built from its module at a version; returns the folder that it may be in.
pub(crate) fn go(program: &str, module: &str) -> anyhow::Result<PathBuf> {
    let folder = target_dir().join("go-tools");
    if is_installed(program) || folder.join(program).is_file() {
        return Ok(folder);
    }
    if !is_installed("go") {
        bail!("{program} is missing, and so is Go to build it; install either");
    }
    println!("building {module}");
    let mut install = Command::new("go");
    install.args(["install", module]).env("GOBIN", &folder).env("GOFLAGS", "-trimpath");
    if teed(install)?.0 { Ok(folder) } else { bail!("{program} is missing, and go install {module} failed") }
}

/// The npm packages of the interop tests; returns their folder.
pub(crate) fn npm() -> anyhow::Result<PathBuf> {
    npm_in(root().join("tests/interop/npm"))
}

/// The npm packages of a folder, as its lock file says; returns the folder.
pub(crate) fn npm_in(folder: PathBuf) -> anyhow::Result<PathBuf> {
    debian("node", &["nodejs"])?;
    debian("npm", &["npm"])?;
    let mark = folder.join("node_modules/.package-lock.json");
    if is_newer(&mark, &folder.join("package-lock.json")) {
        return Ok(folder);
    }
    println!("installing npm packages of {}", folder.display());
    let mut install = Command::new("npm");
    install.args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(&folder);
    match teed(install)? {
        (true, _) => Ok(folder),
        (false, _) => bail!("npm ci failed in {}", folder.display()),
    }
}

/// A Python with the packages of the interop tests.
pub(crate) fn python() -> anyhow::Result<PathBuf> {
    python_of("interop-python", &root().join("tests/interop/python/requirements.txt"))
}

/// A Python of its own, below the target folder, with the packages of a list.
pub(crate) fn python_of(name: &str, wanted: &Path) -> anyhow::Result<PathBuf> {
    debian("python3", &["python3", "python3-venv"])?;
    let folder = target_dir().join(name);
    let python = folder.join("bin/python");
    let mark = folder.join("requirements.txt");
    if is_newer(&mark, wanted) {
        return Ok(python);
    }
    println!("making a Python environment in {}", folder.display());
    let venv = || -> anyhow::Result<bool> {
        Ok(teed({
            let mut venv = Command::new("python3");
            venv.args(["-m", "venv", "--clear"]).arg(&folder);
            venv
        })?
        .0)
    };
    // Debian keeps venv in a package of its own.
    if !venv()? {
        apt("python3 -m venv", &["python3-venv"])?;
        if !venv()? {
            bail!("python3 -m venv failed");
        }
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]).arg(wanted);
    if !teed(pip)?.0 {
        bail!("pip could not install {}", wanted.display());
    }
    std::fs::copy(wanted, &mark).context("the mark of a finished environment")?;
    Ok(python)
}

fn is_newer(mark: &Path, source: &Path) -> bool {
    let time = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    time(mark).is_some_and(|made| time(source).is_some_and(|changed| made >= changed))
}
