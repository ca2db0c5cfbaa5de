//! The part of HOCON that configurations of Jicofo use: objects, paths as keys, `=`, `:` and `{`, comments, quoted and bare values, lists,
//! `include`, later values over earlier ones, `${VARIABLE}` and `${path}`. Not: joining of strings and objects, lists that are added
//! to (`+=`). What it does not know it refuses with the line.

use std::collections::BTreeMap;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Anything that is neither list nor object; quotes are gone.
    Text(String),
    List(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

/// What cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub(super) struct HoconError {
    pub(super) line: usize,
    pub(super) message: String,
}

/// Values by their whole path, lists and texts alone. `include` lines are told instead of followed.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) values: BTreeMap<String, Value>,
    pub(super) included: Vec<String>,
}

/// How deep objects may be.
const DEPTH: usize = 32;

/// Reads a document.
pub(super) fn read(text: &str) -> Result<Document, HoconError> {
    let mut reader = Reader { rest: text.chars().collect(), at: 0, line: 1, document: Document::default() };
    reader.blank();
    if reader.peek() == Some('{') {
        reader.next();
        reader.object("", 1)?;
    } else {
        reader.members("", 0)?;
    }
    reader.blank();
    if reader.peek().is_some() {
        return Err(reader.wrong("something follows the end of the document"));
    }
    let mut document = reader.document;
    // A second pass, so that a path may name what comes later.
    let known = document.values.clone();
    document.values.retain(|_, value| match value {
        Value::Text(text) => match text.strip_prefix("${").and_then(|t| t.strip_suffix('}')) {
            None => true,
            Some(name) => {
                let (optional, name) = name.strip_prefix('?').map_or((false, name), |name| (true, name));
                match known.get(name) {
                    Some(found) => {
                        *value = found.clone();
                        true
                    }
                    // A variable of the environment that starts Jicofo, which nobody knows here.
                    None => !optional,
                }
            }
        },
        _ => true,
    });
    Ok(document)
}

struct Reader {
    rest: Vec<char>,
    at: usize,
    line: usize,
    document: Document,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.rest.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.next();
        }
    }

    fn starts_with(&self, text: &str) -> bool {
        text.chars().enumerate().all(|(n, c)| self.rest.get(self.at + n) == Some(&c))
    }

    fn wrong(&self, message: &str) -> HoconError {
        HoconError { line: self.line, message: message.to_owned() }
    }

    /// Skips space, commas and comments.
    fn blank(&mut self) {
        while let Some(c) = self.peek() {
            if c.is_whitespace() || c == ',' || c == '\u{feff}' {
                self.next();
            } else if c == '#' || self.starts_with("//") {
                self.rest_of_line();
            } else {
                return;
            }
        }
    }

    fn rest_of_line(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.next();
        }
    }

    /// Skips space within a line.
    fn space(&mut self) {
        while self.peek().is_some_and(|c| c.is_whitespace() && c != '\n') {
            self.next();
        }
    }

    /// After `{`, up to and with `}`.
    fn object(&mut self, path: &str, depth: usize) -> Result<(), HoconError> {
        let start = self.line;
        self.members(path, depth)?;
        match self.next() {
            Some('}') => Ok(()),
            _ => Err(HoconError { line: start, message: "this { has no }".to_owned() }),
        }
    }

    fn members(&mut self, path: &str, depth: usize) -> Result<(), HoconError> {
        if depth > DEPTH {
            return Err(self.wrong("objects are too deep"));
        }
        loop {
            self.blank();
            match self.peek() {
                None | Some('}') => return Ok(()),
                _ => {}
            }
            if self.starts_with("include ") || self.starts_with("include\"") {
                let start = self.at;
                self.rest_of_line();
                let told: String = self.rest[start..self.at].iter().collect();
                self.document.included.push(told.trim_start_matches("include").trim().to_owned());
                continue;
            }
            let key = self.key()?;
            let whole = if path.is_empty() { key } else { format!("{path}.{key}") };
            self.space();
            match self.peek() {
                Some('{') => {
                    self.next();
                    self.object(&whole, depth + 1)?;
                }
                Some('=' | ':') => {
                    self.next();
                    self.space();
                    // The value may stand on the next line.
                    self.blank();
                    if self.peek() == Some('{') {
                        self.next();
                        self.object(&whole, depth + 1)?;
                    } else {
                        let value = self.value(depth)?;
                        self.put(whole, value);
                    }
                }
                Some('+') => return Err(self.wrong("+= is not read; write the whole list")),
                _ => return Err(self.wrong(&format!("after the key {whole} there must be =, : or {{"))),
            }
        }
    }

    /// A text or list replaces what stood there, object or not.
    fn put(&mut self, path: String, value: Value) {
        let below = format!("{path}.");
        self.document.values.retain(|key, _| !key.starts_with(&below));
        self.document.values.insert(path, value);
    }

    /// `a.b."c.d"`, as one path.
    fn key(&mut self) -> Result<String, HoconError> {
        let mut key = String::new();
        loop {
            match self.peek() {
                Some('"') => key.push_str(&self.quoted()?),
                Some(c) if c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '@') => {
                    key.push(c);
                    self.next();
                }
                Some(c) if key.is_empty() => return Err(self.wrong(&format!("{c:?} does not begin a key"))),
                _ => return Ok(key),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, HoconError> {
        if depth > DEPTH {
            return Err(self.wrong("lists are too deep"));
        }
        match self.peek() {
            Some('[') => {
                self.next();
                let mut list = Vec::new();
                loop {
                    self.blank();
                    match self.peek() {
                        Some(']') => {
                            self.next();
                            return Ok(Value::List(list));
                        }
                        None => return Err(self.wrong("a list has no ]")),
                        Some('{') => {
                            self.next();
                            list.push(self.inner_object(depth + 1)?);
                        }
                        Some(_) => list.push(self.value(depth + 1)?),
                    }
                }
            }
            Some('"') => {
                let text = self.quoted()?;
                self.space();
                match self.peek() {
                    None | Some('\n' | ',' | '}' | ']' | '#' | '/' | '\r') => Ok(Value::Text(text)),
                    Some(_) => Err(self.wrong("joining of texts is not read")),
                }
            }
            Some('$') => {
                let start = self.at;
                while self.peek().is_some_and(|c| c != '}' && c != '\n') {
                    self.next();
                }
                if self.next() != Some('}') {
                    return Err(self.wrong("${ has no }"));
                }
                Ok(Value::Text(self.rest[start..self.at].iter().collect()))
            }
            Some(_) => {
                let start = self.at;
                while let Some(c) = self.peek() {
                    if matches!(c, '\n' | ',' | '}' | ']' | '#' | '{' | '"') || self.starts_with("//") {
                        break;
                    }
                    self.next();
                }
                let text: String = self.rest[start..self.at].iter().collect();
                match text.trim() {
                    "" => Err(self.wrong("a value is missing")),
                    text => Ok(Value::Text(text.to_owned())),
                }
            }
            None => Err(self.wrong("a value is missing")),
        }
    }

    /// An object in a list: kept as a value of its own.
    fn inner_object(&mut self, depth: usize) -> Result<Value, HoconError> {
        let outer = std::mem::take(&mut self.document);
        let read = self.object("", depth);
        let inner = std::mem::replace(&mut self.document, outer);
        read?;
        Ok(Value::Object(inner.values))
    }

    fn quoted(&mut self) -> Result<String, HoconError> {
        if self.starts_with("\"\"\"") {
            self.skip(3);
            let mut text = String::new();
            while !self.starts_with("\"\"\"") {
                text.push(self.next().ok_or_else(|| self.wrong("a text has no end"))?);
            }
            self.skip(3);
            return Ok(text);
        }
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => match self.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(c @ ('"' | '\\' | '/')) => text.push(c),
                    Some('u') => {
                        let digits: String = (0..4).filter_map(|_| self.next()).collect();
                        let c = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                        text.push(c.ok_or_else(|| self.wrong("\\u wants four hex digits"))?);
                    }
                    _ => return Err(self.wrong("this backslash means nothing")),
                },
                Some('\n') | None => return Err(self.wrong("a text has no end")),
                Some(c) => text.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(document: &Document, key: &str) -> String {
        match document.values.get(key) {
            Some(Value::Text(text)) => text.clone(),
            other => panic!("{key}: {other:?}"),
        }
    }

    #[test]
    fn the_forms_that_jicofo_is_configured_in_are_read() {
        let d = read(
            "// a comment\njicofo {\n  # another\n  bridge.brewery-jid = \"b@internal.example\"\n  visitors { enabled = true, max-participants = \"40\" }\n\
             \x20 xmpp : {\n    client { port = 5222 // why\n password = ${SECRET}\n host = ${?HOST}\n copy = ${jicofo.visitors.enabled}\n }\n  }\n\
             \x20 bridge { region-groups = [ [ \"a\", b ], [c] ] }\n  conference.initial-timeout = 15 seconds\n}\njicofo.visitors.enabled = false\ninclude \"custom.conf\"\n",
        )
        .unwrap();
        assert_eq!(text(&d, "jicofo.bridge.brewery-jid"), "b@internal.example");
        assert_eq!(text(&d, "jicofo.visitors.max-participants"), "40");
        assert_eq!(text(&d, "jicofo.visitors.enabled"), "false");
        assert_eq!(text(&d, "jicofo.xmpp.client.copy"), "false");
        assert_eq!(text(&d, "jicofo.xmpp.client.password"), "${SECRET}");
        assert_eq!(text(&d, "jicofo.conference.initial-timeout"), "15 seconds");
        assert!(!d.values.contains_key("jicofo.xmpp.client.host"));
        let inner = |names: &[&str]| Value::List(names.iter().map(|n| Value::Text((*n).to_owned())).collect());
        assert_eq!(d.values["jicofo.bridge.region-groups"], Value::List(vec![inner(&["a", "b"]), inner(&["c"])]));
        assert_eq!(d.included, ["\"custom.conf\""]);
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, line) in
            [("a = 1\nb {\n c = 2\n", 2), ("a = [1\n", 2), ("a\n", 1), ("x = 1\na = \"b", 2), ("a += 1", 1), ("}", 1)]
        {
            assert_eq!(read(text).unwrap_err().line, line, "{text}");
        }
        assert!(read(&"a { ".repeat(200)).is_err());
        assert!(read(&format!("a = {}", "[".repeat(200))).is_err());
    }
}
