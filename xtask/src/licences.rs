//! Licences and banned crates: by cargo-deny where it is installed, otherwise by the same lists read from `deny.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

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
    let mut command: Command = cargo(&["metadata", "--format-version", "1", "--locked"]);
    let output = command.output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let mut found = Vec::new();
    for package in linked(&metadata) {
        let name = package["name"].as_str().unwrap_or_default();
        if banned.contains(name) {
            found.push(format!("{name} is banned"));
        }
        match package["license"].as_str() {
            Some(licence) if permits(licence, &allowed) => {}
            Some(licence) => found.push(format!("{name} has licence {licence}")),
            None => found.push(format!("{name} names no licence")),
        }
    }
    Ok(found)
}

/// The packages that end up in the binary: everything that it reaches without development dependencies.
fn linked(metadata: &Value) -> Vec<&Value> {
    let list = |value: &'static str| metadata[value].as_array().into_iter().flatten();
    let packages: BTreeMap<&str, &Value> = list("packages").filter_map(|p| Some((p["id"].as_str()?, p))).collect();
    let nodes: BTreeMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .collect();
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = packages.iter().filter(|(_, p)| p["name"] == "amphi").map(|(id, _)| *id).collect();
    while let Some(id) = open.pop() {
        if !reached.insert(id) {
            continue;
        }
        for dependency in nodes.get(id).and_then(|node| node["deps"].as_array()).into_iter().flatten() {
            let kinds = dependency["dep_kinds"].as_array();
            if kinds.is_none_or(|kinds| kinds.iter().any(|kind| kind["kind"] != "dev")) {
                open.extend(dependency["pkg"].as_str());
            }
        }
    }
    reached.into_iter().filter_map(|id| packages.get(id).copied()).collect()
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
