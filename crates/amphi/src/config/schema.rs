//! A view of the JSON schema of [`File`]: which keys there are, of which kind, with which words. The layers use it to find
//! unknown keys and to read text from the environment; the reference page is written from it.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::File;

/// The schema of the whole file.
pub(crate) fn of_file() -> Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<File>().to_value()
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Boolean,
    List,
    Table,
}

/// One node of the schema.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'a> {
    root: &'a Value,
    node: &'a Value,
}

impl<'a> Shape<'a> {
    pub(crate) fn new(root: &'a Value) -> Self {
        Self { root, node: root }
    }

    /// Follows `$ref`, and leaves the `null` of an optional value aside.
    fn resolved(self) -> Self {
        let mut node = self.node;
        // A schema made from types is a tree of references without cycles; the bound only guards against a mistake here.
        for _ in 0..8 {
            if let Some(name) = node.get("$ref").and_then(Value::as_str) {
                let path = name.trim_start_matches('#');
                let Some(target) = self.root.pointer(path) else { break };
                node = target;
            } else if let Some(options) = node.get("anyOf").and_then(Value::as_array) {
                let Some(some) = options.iter().find(|o| o.get("type").and_then(Value::as_str) != Some("null")) else {
                    break;
                };
                node = some;
            } else {
                break;
            }
        }
        Self { root: self.root, node }
    }

    fn properties(self) -> Option<&'a serde_json::Map<String, Value>> {
        self.resolved().node.get("properties").and_then(Value::as_object)
    }

    /// The named keys of a table.
    pub(crate) fn keys(self) -> impl Iterator<Item = (&'a str, Shape<'a>)> {
        let root = self.root;
        self.properties().into_iter().flatten().map(move |(name, node)| (name.as_str(), Shape { root, node }))
    }

    /// A key of a table, or the shape of every value where the table takes any key.
    pub(crate) fn key(self, name: &str) -> Option<Self> {
        let node = match self.properties() {
            Some(named) => named.get(name)?,
            None => self.resolved().node.get("additionalProperties").filter(|a| a.is_object())?,
        };
        Some(Self { root: self.root, node })
    }

    /// The entries of a list.
    pub(crate) fn entry(self) -> Option<Self> {
        Some(Self { root: self.root, node: self.resolved().node.get("items")? })
    }

    pub(crate) fn kind(self) -> Kind {
        let node = self.resolved().node;
        let name = match node.get("type") {
            Some(Value::String(name)) => name.as_str(),
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).find(|name| *name != "null").unwrap_or("string")
            }
            _ => "string",
        };
        match name {
            "integer" | "number" => Kind::Integer,
            "boolean" => Kind::Boolean,
            "array" => Kind::List,
            "object" => Kind::Table,
            _ => Kind::Text,
        }
    }

    /// The comment of the key.
    pub(crate) fn words(self) -> &'a str {
        let own = self.node.get("description").or_else(|| self.resolved().node.get("description"));
        own.and_then(Value::as_str).unwrap_or_default()
    }

    /// The unit of a text, such as `duration`.
    pub(crate) fn unit(self) -> Option<&'a str> {
        self.resolved().node.get("format").and_then(Value::as_str).filter(|f| matches!(*f, "duration" | "size"))
    }

    /// The values of a choice, each with its comment.
    pub(crate) fn choices(self) -> Vec<(&'a str, &'a str)> {
        let text = |v: &'a Value, key: &str| v.get(key).and_then(Value::as_str).unwrap_or_default();
        let described = self.resolved().node.get("oneOf").and_then(Value::as_array);
        described.into_iter().flatten().map(|v| (text(v, "const"), text(v, "description"))).collect()
    }
}

/// The known key that somebody most likely meant.
pub(crate) fn meant<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (distance(typed, name), name))
        .filter(|(far, name)| *far <= 1.max(name.len() / 3))
        .min_by_key(|(far, _)| *far)
        .map(|(_, name)| name)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_key_and_a_stranger_does_not() {
        let known = ["max_occupants", "history", "name"];
        assert_eq!(meant("max_ocupants", known.into_iter()), Some("max_occupants"));
        assert_eq!(meant("nmae", known.into_iter()), None);
        assert_eq!(meant("hystory", known.into_iter()), Some("history"));
        assert_eq!(meant("colour", known.into_iter()), None);
    }

    #[test]
    fn every_key_has_a_comment() {
        fn walk(shape: Shape<'_>, path: &str) {
            for (name, below) in shape.keys() {
                let path = format!("{path}.{name}");
                assert!(!below.words().is_empty(), "{path} has no comment");
                walk(below.entry().unwrap_or(below), &path);
            }
        }
        let schema = of_file();
        walk(Shape::new(&schema), "");
    }
}
