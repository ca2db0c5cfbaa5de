//! The reference page of the configuration, written from the comments and defaults of the types. `amphi config reference`
//! prints it, `docs/reference/config.md` is a copy, and a test keeps the copy current.

use std::fmt::Write;

use serde_json::Value;

use super::schema::{self, Kind, Shape};
use super::{AccountFile, BridgeLoginFile, File, HostFile, MucFile, NodeFile, ServiceFile, WebhookFile};

const HEAD: &str = "\
<!-- Written by `amphi config reference`; change the comments in crates/amphi/src/config instead. -->

# Configuration reference

One TOML file, every key optional: `amphi run --config amphi.toml`. Later layers win:

1. the defaults below,
2. the file,
3. the environment: `AMPHI__FOCUS__USER=focus` is `focus.user`; entries of lists by number, `AMPHI__MUCS__0__MAX_OCCUPANTS=10`,
4. the command line: `--set focus.user=focus`, `--set mucs.0.max_occupants=10`.

`amphi config check amphi.toml` tells every mistake with its line. Durations are written `\"500ms\"`, `\"30s\"`, `\"5m\"`, `\"1h\"`,
`\"7d\"`; sizes `\"512B\"`, `\"256KiB\"`, `\"10MiB\"`, `\"1GiB\"`. Paths are relative to the folder that the server is started in. For
every secret there is a key that ends in `_file`, which names a file with the secret alone.
";

/// The page, in Markdown.
pub fn markdown() -> String {
    let schema = schema::of_file();
    let root = Shape::new(&schema);
    let defaults = serde_json::to_value(File::default()).unwrap_or_default();
    let mut page = HEAD.to_owned();
    table(&mut page, "Top level", "", root, &defaults);
    for (name, shape) in root.keys().filter(|(_, shape)| shape.kind() == Kind::Table) {
        table(&mut page, &format!("`[{name}]`"), shape.words(), shape, &defaults[name]);
        // Tables with keys of their own, such as `[tls.acme]`.
        let below = shape.keys().filter(|(_, s)| s.kind() == Kind::Table && s.keys().next().is_some());
        for (below, shape) in below {
            table(&mut page, &format!("`[{name}.{below}]`"), shape.words(), shape, &defaults[name][below]);
        }
        lists_of_tables(&mut page, name, shape);
    }
    lists_of_tables(&mut page, "", root);
    page
}

/// The sections `[[a.b]]` below a table, and below their entries.
fn lists_of_tables(page: &mut String, path: &str, shape: Shape<'_>) {
    for (name, list) in shape.keys() {
        let Some(entry) = list.entry().filter(|entry| entry.kind() == Kind::Table) else { continue };
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        table(page, &format!("`[[{path}]]`"), list.words(), entry, &defaults_of_entry(name));
        lists_of_tables(page, &path, entry);
    }
}

fn defaults_of_entry(list: &str) -> Value {
    let written = match list {
        "hosts" => serde_json::to_value(HostFile::default()),
        "accounts" => serde_json::to_value(AccountFile::default()),
        "mucs" => serde_json::to_value(MucFile::default()),
        "logins" => serde_json::to_value(BridgeLoginFile::default()),
        "services" => serde_json::to_value(ServiceFile::default()),
        "webhooks" => serde_json::to_value(WebhookFile::default()),
        "nodes" => serde_json::to_value(NodeFile::default()),
        _ => Ok(Value::Null),
    };
    written.unwrap_or_default()
}

fn table(page: &mut String, title: &str, words: &str, shape: Shape<'_>, defaults: &Value) {
    let _ = write!(page, "\n## {title}\n\n");
    if !words.is_empty() {
        let _ = write!(page, "{}\n\n", one_line(words));
    }
    page.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    for (name, key) in shape.keys() {
        let is_section = key.kind() == Kind::Table && key.keys().next().is_some();
        let is_sections = key.entry().is_some_and(|entry| entry.kind() == Kind::Table);
        if is_section {
            continue;
        }
        let default = match &defaults[name] {
            Value::Null => "unset".to_owned(),
            Value::Array(list) if is_sections && !list.is_empty() => {
                let names = list.iter().filter_map(|entry| entry["name"].as_str());
                names.map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
            }
            value => format!("`{value}`"),
        };
        let _ = writeln!(page, "| `{name}` | {} | {default} | {} |", kind(key, is_sections), meaning(key));
    }
}

fn kind(shape: Shape<'_>, is_sections: bool) -> String {
    match shape.kind() {
        _ if is_sections => "list of tables".to_owned(),
        Kind::Text => {
            shape.unit().unwrap_or_else(|| if shape.choices().is_empty() { "text" } else { "choice" }).to_owned()
        }
        Kind::Integer => "integer".to_owned(),
        Kind::Boolean => "boolean".to_owned(),
        Kind::List => "list".to_owned(),
        Kind::Table => "table of texts".to_owned(),
    }
}

fn meaning(shape: Shape<'_>) -> String {
    let mut text = one_line(shape.words());
    for (value, words) in shape.choices() {
        let _ = write!(text, " `{value}`: {}", one_line(words));
    }
    text.replace('|', "\\|")
}

fn one_line(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/config.md");
        let committed = std::fs::read_to_string(path).unwrap();
        assert!(
            committed == markdown(),
            "docs/reference/config.md is stale: cargo run -- config reference > docs/reference/config.md"
        );
    }

    #[test]
    fn keys_choices_and_units_are_told() {
        let page = markdown();
        assert!(page.contains("## `[[hosts.accounts]]`"), "{page}");
        assert!(page.contains("| `resume_time` | duration | `\"1m\"` |"), "{page}");
        assert!(page.contains("`memory`: Indexed stanzas over bounded queues."), "{page}");
        assert!(page.contains("| `nodes` | list of tables | `v1`, `v2` |"), "{page}");
    }
}
