//! Layers of a configuration: defaults < file < environment < command line. Puts them into one [`File`] and remembers where
//! each key came from, so that every later complaint can say it. Reads no environment and no file itself.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value as Schema;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::File;
use super::error::{ConfigError, Mistake, Place};
use super::schema::{self, Kind, Shape};

/// Prefix of environment variables that are settings: `AMPHI__FOCUS__USER` is `focus.user`.
pub const VARIABLE_PREFIX: &str = "AMPHI__";

/// The layers above the defaults, lowest first.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Name and text of the file.
    pub file: Option<(String, String)>,
    /// Environment variables; those without [`VARIABLE_PREFIX`] are left alone.
    pub environment: Vec<(String, String)>,
    /// `key=value` texts of the command line.
    pub settings: Vec<String>,
}

/// A configuration whose keys and types are right, with the origin of each key.
#[derive(Clone, Debug)]
pub struct Layered {
    /// What it says.
    pub file: File,
    /// Where each key was set.
    pub places: Places,
}

/// Where keys were set.
#[derive(Clone, Debug, Default)]
pub struct Places(BTreeMap<String, Place>);

impl Places {
    /// Where a key was set: itself, or else the nearest table around it that was.
    pub fn of(&self, key: &str) -> Place {
        let mut rest = key;
        loop {
            if let Some(place) = self.0.get(rest) {
                return place.clone();
            }
            match rest.rfind(['.', '[']) {
                Some(end) => rest = &rest[..end],
                None => return Place::Unset,
            }
        }
    }

    /// A mistake about a key.
    pub fn mistake(&self, key: &str, message: impl Into<String>) -> Mistake {
        Mistake { place: self.of(key), key: key.to_owned(), message: message.into() }
    }
}

impl Layers {
    /// Puts the layers together.
    pub fn join(&self) -> Result<Layered, ConfigError> {
        let schema = schema::of_file();
        let mut joined =
            Joined { schema: &schema, table: Table::new(), places: Places::default(), mistakes: Vec::new() };
        if let Some((name, text)) = &self.file {
            joined.file(name, text)?;
        }
        for (name, text) in &self.environment {
            if let Some(key) = name.strip_prefix(VARIABLE_PREFIX) {
                let path: Vec<String> = key.split("__").map(str::to_ascii_lowercase).collect();
                joined.set(&path, text, &Place::Variable(name.clone()));
            }
        }
        for setting in &self.settings {
            let place = Place::Argument(format!("--set {setting}"));
            match setting.split_once('=') {
                Some((key, text)) => {
                    let path: Vec<String> = key.trim().split('.').map(str::to_owned).collect();
                    joined.set(&path, text.trim(), &place);
                }
                None => joined.mistakes.push(Mistake {
                    place,
                    key: String::new(),
                    message: "write section.key=value".to_owned(),
                }),
            }
        }
        joined.finish()
    }
}

struct Joined<'a> {
    schema: &'a Schema,
    table: Table,
    places: Places,
    mistakes: Vec<Mistake>,
}

impl Joined<'_> {
    fn file(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let unreadable = |error: &toml::de::Error| {
            let place = error.span().map_or(Place::Unset, |span| line_of(name, text, &span));
            ConfigError(vec![Mistake { place, key: String::new(), message: error.message().to_owned() }])
        };
        let spanned = DeTable::parse(text).map_err(|e| unreadable(&e))?;
        self.table = toml::from_str(text).map_err(|e| unreadable(&e))?;
        let mut walk = Walk { name, text, places: &mut self.places.0, mistakes: &mut self.mistakes };
        walk.table(spanned.get_ref(), "", Shape::new(self.schema));
        Ok(())
    }

    /// Sets one key from text. The schema decides how the text is read.
    fn set(&mut self, path: &[String], text: &str, place: &Place) {
        let key = key_of(path);
        let refuse = |message: String| Mistake { place: place.clone(), key: key.clone(), message };
        let shape = match shape_at(Shape::new(self.schema), path) {
            Ok(shape) => shape,
            Err(message) => return self.mistakes.push(refuse(message)),
        };
        let value = match read(shape.kind(), text) {
            Ok(value) => value,
            Err(message) => return self.mistakes.push(refuse(message)),
        };
        match put(&mut self.table, path, value) {
            Ok(()) => {
                self.places.0.insert(key, place.clone());
            }
            Err(message) => self.mistakes.push(refuse(message)),
        }
    }

    fn finish(self) -> Result<Layered, ConfigError> {
        let Self { table, places, mut mistakes, .. } = self;
        if mistakes.is_empty() {
            match serde_path_to_error::deserialize(Value::Table(table)) {
                Ok(file) => return Ok(Layered { file, places }),
                Err(error) => {
                    let key = match error.path().to_string() {
                        root if root == "." => String::new(),
                        key => key,
                    };
                    mistakes.push(places.mistake(&key, error.inner().message().trim_end()));
                }
            }
        }
        Err(ConfigError(mistakes))
    }
}

/// Notes where each key of a file stands, and which are unknown.
struct Walk<'a> {
    name: &'a str,
    text: &'a str,
    places: &'a mut BTreeMap<String, Place>,
    mistakes: &'a mut Vec<Mistake>,
}

impl Walk<'_> {
    fn table(&mut self, table: &DeTable<'_>, path: &str, shape: Shape<'_>) {
        for (name, value) in table.iter() {
            let key = if path.is_empty() { name.get_ref().to_string() } else { format!("{path}.{}", name.get_ref()) };
            let place = line_of(self.name, self.text, &name.span());
            match shape.key(name.get_ref()) {
                Some(below) => {
                    self.places.insert(key.clone(), place);
                    self.value(value, &key, below);
                }
                None => self.mistakes.push(Mistake { place, key, message: unknown(name.get_ref(), shape) }),
            }
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, key: &str, shape: Shape<'_>) {
        match value.get_ref() {
            // A table where the key takes something else is a mistake of type, which reading it will tell.
            DeValue::Table(table) if shape.kind() == Kind::Table => self.table(table, key, shape),
            DeValue::Array(list) => {
                for (n, entry) in list.iter().enumerate() {
                    let key = format!("{key}[{n}]");
                    self.places.insert(key.clone(), line_of(self.name, self.text, &entry.span()));
                    if let Some(shape) = shape.entry() {
                        self.value(entry, &key, shape);
                    }
                }
            }
            _ => {}
        }
    }
}

fn unknown(name: &str, shape: Shape<'_>) -> String {
    match schema::meant(name, shape.keys().map(|(known, _)| known)) {
        Some(known) => format!("unknown key; did you mean {known}?"),
        None => "unknown key".to_owned(),
    }
}

/// `["hosts", "0", "auth"]` as `hosts[0].auth`, the form of all other messages.
fn key_of(path: &[String]) -> String {
    let mut key = String::new();
    for step in path {
        if step.bytes().all(|b| b.is_ascii_digit()) && !key.is_empty() {
            key.push_str(&format!("[{step}]"));
        } else {
            if !key.is_empty() {
                key.push('.');
            }
            key.push_str(step);
        }
    }
    key
}

fn shape_at<'a>(root: Shape<'a>, path: &[String]) -> Result<Shape<'a>, String> {
    let mut shape = root;
    for step in path {
        shape = match shape.kind() {
            Kind::List if step.parse::<usize>().is_ok() => shape.entry().ok_or("unknown key")?,
            Kind::Table => shape.key(step).ok_or_else(|| unknown(step, shape))?,
            _ => return Err("unknown key".to_owned()),
        };
    }
    Ok(shape)
}

fn read(kind: Kind, text: &str) -> Result<Value, String> {
    let parsed = || toml::from_str::<Table>(&format!("value = {text}")).ok()?.remove("value");
    match kind {
        // Text needs no quotes here, but who writes them as in the file means the same.
        Kind::Text if text.len() > 1 && (text.starts_with('"') && text.ends_with('"')) => {
            Ok(parsed().filter(Value::is_str).unwrap_or_else(|| Value::String(text.to_owned())))
        }
        Kind::Text => Ok(Value::String(text.to_owned())),
        Kind::Integer => text.parse().map(Value::Integer).map_err(|_| format!("{text:?} is not a whole number")),
        Kind::Boolean => text.parse().map(Value::Boolean).map_err(|_| format!("{text:?} is neither true nor false")),
        // A list of texts may be written without brackets and quotes: v1,v2.
        Kind::List if !text.trim_start().starts_with('[') => {
            let entries = text.split(',').map(str::trim).filter(|e| !e.is_empty());
            Ok(Value::Array(entries.map(|e| Value::String(e.to_owned())).collect()))
        }
        Kind::List => parsed().filter(Value::is_array).ok_or_else(|| format!("{text:?} is not a TOML list")),
        Kind::Table => parsed().filter(Value::is_table).ok_or_else(|| format!("{text:?} is not a TOML table")),
    }
}

/// Puts a value at its path. An index may replace an entry of a list or add one behind the last.
fn put(table: &mut Table, path: &[String], value: Value) -> Result<(), String> {
    let [first, rest @ ..] = path else { return Err("unknown key".to_owned()) };
    if rest.is_empty() {
        table.insert(first.clone(), value);
        return Ok(());
    }
    let is_list = rest[0].parse::<usize>().is_ok();
    let below = table.entry(first.clone()).or_insert_with(|| match is_list {
        true => Value::Array(Vec::new()),
        false => Value::Table(Table::new()),
    });
    match below {
        Value::Table(below) => put(below, rest, value),
        Value::Array(list) => {
            let n: usize = rest[0].parse().map_err(|_| "a list; name an entry by its number, from 0".to_owned())?;
            if n > list.len() {
                return Err(format!("there is no entry {n}; the next would be {}", list.len()));
            }
            if rest.len() == 1 {
                match n < list.len() {
                    true => list[n] = value,
                    false => list.push(value),
                }
                return Ok(());
            }
            if n == list.len() {
                list.push(Value::Table(Table::new()));
            }
            match &mut list[n] {
                Value::Table(entry) => put(entry, &rest[1..], value),
                _ => Err(format!("entry {n} is not a table")),
            }
        }
        _ => Err(format!("{first} is not a table")),
    }
}

fn line_of(name: &str, text: &str, span: &Range<usize>) -> Place {
    let before = text.get(..span.start).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    Place::Line {
        file: name.to_owned(),
        line: before.bytes().filter(|b| *b == b'\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Layers {
        Layers { file: Some(("amphi.toml".to_owned(), text.to_owned())), ..Layers::default() }
    }

    fn complaint(layers: &Layers) -> String {
        layers.join().unwrap_err().to_string()
    }

    #[test]
    fn nothing_at_all_is_a_valid_configuration() {
        let layered = Layers::default().join().unwrap();
        assert_eq!(layered.file.domain, "localhost");
        assert_eq!(layered.file.visitors.nodes.len(), 2);
    }

    #[test]
    fn an_unknown_key_names_its_line_and_what_was_meant() {
        let text = "stage = 5\n\n[[mucs]]\nname = \"a.example\"\n  max_ocupants = 4\n";
        assert_eq!(
            complaint(&file(text)),
            "amphi.toml:5:3: mucs[0].max_ocupants: unknown key; did you mean max_occupants?"
        );
    }

    #[test]
    fn all_unknown_keys_are_told_at_once() {
        let lines = complaint(&file("stag = 1\n[listn]\nx = 1\n"));
        assert_eq!(lines.lines().count(), 2, "{lines}");
    }

    #[test]
    fn a_wrong_type_and_a_wrong_unit_name_their_line() {
        assert_eq!(
            complaint(&file("# head\nstage = \"many\"\n")),
            "amphi.toml:2:1: stage: invalid type: string \"many\", expected u32"
        );
        let unit = complaint(&file("[limits]\nresume_time = \"30\"\n"));
        assert!(unit.starts_with("amphi.toml:2:1: limits.resume_time: \"30\" is not a duration"), "{unit}");
    }

    #[test]
    fn broken_toml_names_its_line() {
        let error = complaint(&file("stage = 3\nlinks = \n"));
        assert!(error.starts_with("amphi.toml:2:"), "{error}");
    }

    #[test]
    fn each_layer_wins_over_the_one_below() {
        let mut layers = file("stage = 1\ndomain = \"file.example\"\n[focus]\nuser = \"one\"\n");
        layers.environment = vec![
            ("AMPHI__STAGE".to_owned(), "2".to_owned()),
            ("AMPHI__FOCUS__USER".to_owned(), "two".to_owned()),
            ("AMPHI_URL".to_owned(), "left alone".to_owned()),
        ];
        layers.settings = vec!["stage=3".to_owned()];
        let Layered { file, places } = layers.join().unwrap();
        assert_eq!((file.stage, file.focus.user.as_str(), file.domain.as_str()), (3, "two", "file.example"));
        assert_eq!(places.of("stage"), Place::Argument("--set stage=3".to_owned()));
        assert_eq!(places.of("focus.user"), Place::Variable("AMPHI__FOCUS__USER".to_owned()));
        assert!(matches!(places.of("domain"), Place::Line { line: 2, .. }));
        assert_eq!(places.of("limits.rooms"), Place::Unset);
    }

    #[test]
    fn text_is_read_as_the_key_wants_it() {
        let layers = Layers {
            settings: [
                "roles=main,v1",
                "tls.front=true",
                "mucs=[{name = \"a.example\"}]",
                "mucs.0.max_occupants=7",
                "mucs.1.name=b.example",
                "visitors.overrides={\"c.example\" = \"tcp://192.0.2.1:5269\"}",
                "release_number=4211",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..Layers::default()
        };
        let file = layers.join().unwrap().file;
        assert_eq!(file.roles, ["main", "v1"]);
        assert!(file.tls.front);
        assert_eq!((file.mucs[0].max_occupants, file.mucs[1].name.as_str()), (Some(7), "b.example"));
        assert_eq!(file.visitors.overrides["c.example"], "tcp://192.0.2.1:5269");
        assert_eq!(file.release_number.as_deref(), Some("4211"));
    }

    #[test]
    fn mistakes_outside_the_file_name_the_variable_or_argument() {
        let layers = Layers {
            environment: vec![("AMPHI__STAG".to_owned(), "2".to_owned())],
            settings: vec!["stage=few".to_owned(), "stage".to_owned(), "mucs.3.name=x".to_owned()],
            ..Layers::default()
        };
        let text = complaint(&layers);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "environment AMPHI__STAG: stag: unknown key; did you mean stage?");
        assert_eq!(lines[1], "argument --set stage=few: stage: \"few\" is not a whole number");
        assert!(lines[2].contains("section.key=value"), "{text}");
        assert!(lines[3].contains("no entry 3"), "{text}");
    }
}
