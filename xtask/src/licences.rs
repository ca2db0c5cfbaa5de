//! Licences and banned crates: by cargo-deny where it is installed, otherwise by the same lists read from `deny.toml`.

use std::collections::BTreeSet;

use anyhow::{Context, bail};

use crate::run::{cargo, root};
use crate::tally::Tally;

/// One check: everything we link has a licence of the list, and nothing is banned.
pub(crate) fn check(tally: &mut Tally) {
    if cargo(&["deny", "--version"]).output().is_ok_and(|output| output.status.success()) {
        // Advisories need a database from elsewhere; they are looked at when dependencies change.
        tally.step("licences", cargo(&["deny", "--offline", "check", "licenses", "bans", "sources"]));
        return;
    }
    println!("== licences");
    match offences() {
        Ok(offences) if offences.is_empty() => tally.pass(1),
        Ok(offences) => tally.fail("licences", &offences.join("; ")),
        Err(error) => tally.fail("licences", &format!("{error:#}")),
    }
}

fn offences() -> anyhow::Result<Vec<String>> {
    let rules: toml::Table = toml::from_str(&std::fs::read_to_string(root().join("deny.toml"))?)?;
    let allowed: BTreeSet<&str> = rules["licenses"]["allow"]
        .as_array()
        .context("licenses.allow of deny.toml")?
        .iter()
        .filter_map(toml::Value::as_str)
        .collect();
    let banned: BTreeSet<&str> = rules["bans"]["deny"]
        .as_array()
        .context("bans.deny of deny.toml")?
        .iter()
        .filter_map(|entry| entry["crate"].as_str())
        .collect();
    // What the binary is made of, on any platform, without what only tests need.
    let mut command = cargo(&["tree", "--package", "amphi", "--locked", "--all-features", "--target", "all"]);
    command.args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}|{l}"]);
    let output = command.output()?;
    if !output.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    }
    let mut found = BTreeSet::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (package, licence) = line.split_once('|').context("a line of cargo tree")?;
        let name = package.split(' ').next().unwrap_or_default();
        // Cargo marks what it has printed before.
        let licence = licence.trim_end_matches("(*)").trim_end();
        if banned.contains(name) {
            found.insert(format!("{name} is banned"));
        }
        if licence.is_empty() {
            found.insert(format!("{name} names no licence"));
        } else if !permits(licence, &allowed) {
            found.insert(format!("{name} has licence {licence}"));
        }
    }
    Ok(found.into_iter().collect())
}

/// An SPDX expression, with `/` for `OR` as old manifests write it. `OR` binds weaker than `AND`.
fn permits(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words: Vec<&str> = spaced.split_whitespace().rev().collect();
    any_of(&mut words, allowed)
}

fn any_of(words: &mut Vec<&str>, allowed: &BTreeSet<&str>) -> bool {
    let mut fine = all_of(words, allowed);
    while words.last() == Some(&"OR") {
        words.pop();
        fine |= all_of(words, allowed);
    }
    fine
}

fn all_of(words: &mut Vec<&str>, allowed: &BTreeSet<&str>) -> bool {
    let mut fine = one(words, allowed);
    while words.last() == Some(&"AND") {
        words.pop();
        fine &= one(words, allowed);
    }
    fine
}

fn one(words: &mut Vec<&str>, allowed: &BTreeSet<&str>) -> bool {
    match words.pop() {
        Some("(") => {
            let fine = any_of(words, allowed);
            words.pop();
            fine
        }
        Some(name) => {
            // An exception only grants more.
            if words.last() == Some(&"WITH") {
                words.truncate(words.len().saturating_sub(2));
            }
            allowed.contains(name)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_spdx_does() {
        let allowed = BTreeSet::from(["MIT", "Apache-2.0", "ISC"]);
        for fine in
            ["MIT", "GPL-3.0 OR MIT", "MIT/Unlicense", "(MIT OR GPL-2.0) AND ISC", "Apache-2.0 WITH LLVM-exception"]
        {
            assert!(permits(fine, &allowed), "{fine}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "MIT AND (GPL-2.0 OR LGPL-3.0)", ""] {
            assert!(!permits(bad, &allowed), "{bad}");
        }
    }
}
