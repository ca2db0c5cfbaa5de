//! Whether a stanza has everything that an expectation names. More may be there.
#![allow(unreachable_pub)]

use std::collections::HashMap;

use amphi_stanza::Element;

/// Values that an expectation has given a name: `id="$a"`.
pub type Names = HashMap<String, String>;

fn value_fits(wanted: &str, got: &str, names: &mut Names) -> bool {
    if wanted == "*" {
        return true;
    }
    match wanted.strip_prefix('$') {
        Some(name) => *names.entry(name.to_owned()).or_insert_with(|| got.to_owned()) == got,
        None => wanted == got,
    }
}

/// Why `got` does not fit, or nothing.
pub fn mismatch(want: Element<'_>, got: Element<'_>, names: &mut Names) -> Option<String> {
    if (want.name(), want.ns()) != (got.name(), got.ns()) {
        return Some(format!("<{} xmlns='{}'> is not <{} xmlns='{}'>", got.name(), got.ns(), want.name(), want.ns()));
    }
    for (name, value) in want.attrs() {
        match name {
            "xmlns" => {}
            "x-no-child" => {
                if let Some(n) = value.split(' ').find(|n| got.child_named(n).is_some()) {
                    return Some(format!("<{}> has a child {n}", got.name()));
                }
            }
            "x-no-attr" => {
                if let Some(n) = value.split(' ').find(|n| got.attr(n).is_some()) {
                    return Some(format!("<{}> has an attribute {n}", got.name()));
                }
            }
            "x-children" => {
                let n = got.children().count().to_string();
                if n != value {
                    return Some(format!("<{}> has {n} children, not {value}", got.name()));
                }
            }
            "x-contains" => {
                if !got.text().contains(&*value) {
                    return Some(format!("<{}> says {:?}, without {value:?}", got.name(), got.text()));
                }
            }
            _ => match got.attr(name) {
                Some(g) if value_fits(&value, &g, names) => {}
                other => return Some(format!("<{}> has {name}={other:?}, not {value:?}", got.name())),
            },
        }
    }
    let text = want.text();
    if !text.trim().is_empty() && !value_fits(text.trim(), got.text().trim(), names) {
        return Some(format!("<{}> says {:?}, not {text:?}", got.name(), got.text()));
    }
    for w in want.children() {
        let mut why = format!("<{}> has no <{}>", got.name(), w.name());
        let found = got.children().any(|g| match mismatch(w, g, &mut names.clone()) {
            None => {
                mismatch(w, g, names);
                true
            }
            Some(m) => {
                if g.name() == w.name() {
                    why = m;
                }
                false
            }
        });
        if !found {
            return Some(why);
        }
    }
    None
}
