//! Texts of the visitors' list (`spec/signaling.md` 4.11): the whole of it, and its changes.

use bytes::Bytes;
use serde_json::{Value, json};

/// A visitor joined or left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Endpoint id.
    pub id: Box<str>,
    /// Name, may be empty.
    pub name: Box<str>,
    /// Joined, or has a new name; otherwise left.
    pub joined: bool,
}

/// The whole list.
pub fn whole<'a>(visitors: impl IntoIterator<Item = (&'a str, &'a str)>) -> Bytes {
    let list = visitors.into_iter().map(|(id, name)| json!({ "r": id, "n": name }));
    Value::Array(list.collect()).to_string().into()
}

/// Changes in the order in which they happened.
pub fn changes(changes: &[Change]) -> Bytes {
    let list = changes.iter().map(|c| json!({ "r": *c.id, "n": *c.name, "s": if c.joined { "j" } else { "l" } }));
    Value::Array(list.collect()).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_order_is_kept() {
        assert_eq!(whole([("a", "Ann \"A\""), ("b", "")]), r#"[{"n":"Ann \"A\"","r":"a"},{"n":"","r":"b"}]"#);
        assert_eq!(whole([]), "[]");
        let change = |id: &str, joined| Change { id: id.into(), name: "N".into(), joined };
        assert_eq!(
            changes(&[change("a", true), change("a", false)]),
            r#"[{"n":"N","r":"a","s":"j"},{"n":"N","r":"a","s":"l"}]"#
        );
    }
}
